//! `CONFIG`: settings read and changed while the server runs.

use super::{Command, Flags, Group, HELP};
use crate::config::{self, Rule, SETTINGS, SettingError};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::glob;
use nuthatch_wire::resp::Args;
use std::collections::BTreeMap;

const FLAGS: Flags = Flags::ADMIN
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE);

const fn sub(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler).flags(FLAGS)
}

pub(super) const COMMANDS: &[Command] = &[Command::container(
    "config",
    &[
        sub("get", -3, get).complexity("O(N) for N settings").docs(
            Group::Server,
            "2.0.0",
            "parameter [parameter ...]",
            "Returns the values of settings whose names match a pattern.",
        ),
        sub("set", -4, set)
            .complexity("O(N) for N settings")
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .docs(
                Group::Server,
                "2.0.0",
                "parameter value [parameter value ...]",
                "Changes settings, all of them or none.",
            ),
        sub("resetstat", 2, resetstat)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .docs(
                Group::Server,
                "2.0.0",
                "",
                "Sets the counts that INFO tells back to 0.",
            ),
        sub("rewrite", 2, rewrite)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .docs(
                Group::Server,
                "2.8.0",
                "",
                "Writes the settings to the file that they were read from.",
            ),
        HELP.group(Group::Server, "5.0.0"),
    ],
)
.docs(Group::Server, "2.0.0", "", "Commands of settings.")];

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let patterns = || args.from(2).iter();
    let is_wanted = |name: &str| {
        patterns().any(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes()))
    };
    let mut found = BTreeMap::new();
    for info in SETTINGS.iter().filter(|info| is_wanted(info.name)) {
        let value = ctx.config.get(info.name).expect("listed settings exist");
        found.insert(info.name, value);
    }
    for &(old, new) in config::ALIASES.iter().filter(|(old, _)| is_wanted(old)) {
        let value = ctx.config.get(new).expect("aliases are of settings");
        found.insert(old, value);
    }
    let foreign = ctx.server.foreign_settings.lock();
    for setting in config::FOREIGN.iter().filter(|known| is_wanted(known.name)) {
        let set = foreign.get(setting.name).map(String::as_str);
        found.insert(setting.name, set.unwrap_or(setting.value).to_owned());
    }
    ctx.reply.map(found.len());
    for (name, value) in found {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn failed(name: &str, why: &str) -> CommandError {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}").into()
}

fn set(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("config|set".into()));
    }
    let mut seen: Vec<&str> = Vec::new();
    let (mut changes, mut without_effect) = (Vec::new(), Vec::new());
    for index in (2..args.len()).step_by(2) {
        let given = String::from_utf8_lossy(args.at(index));
        let name = known_name(&given).ok_or_else(|| {
            let given = given.escape_default();
            format!("ERR Unknown option or number of arguments for CONFIG SET - '{given}'")
        })?;
        if seen.contains(&name) {
            return Err(failed(&given, "duplicate parameter"));
        }
        seen.push(name);
        let value = std::str::from_utf8(args.at(index + 1))
            .map_err(|_| failed(name, "argument must be text"))?;
        match config::foreign(name) {
            Some(setting) if setting.rule == Rule::NoEffect => without_effect.push((name, value)),
            Some(setting) if setting.value == value => {}
            Some(_) => return Err(failed(name, "can't set immutable config")),
            None if ctx.config.get(name).as_deref() == Some(value) => {}
            None => changes.push((name, value)),
        }
    }
    ctx.server
        .set_config(changes)
        .map_err(|error| match error {
            SettingError::Unknown { name, .. } => failed(&name, "unknown setting"),
            SettingError::Value { name, allowed, .. } => {
                failed(name, &format!("argument must be {allowed}"))
            }
            SettingError::Fixed { name } => failed(name, "can't set immutable config"),
            SettingError::Contradiction(text) => format!("ERR CONFIG SET failed - {text}").into(),
        })?;
    let mut foreign = ctx.server.foreign_settings.lock();
    foreign.extend(
        without_effect
            .into_iter()
            .map(|(name, value)| (name, value.to_owned())),
    );
    ctx.reply.ok();
    Ok(())
}

/// Today's name of a setting, ours or Redis'.
fn known_name(given: &str) -> Option<&'static str> {
    let lower = given.to_ascii_lowercase();
    let alias = config::ALIASES.iter().find(|(old, _)| *old == lower);
    alias
        .map(|(_, new)| *new)
        .or_else(|| Some(config::info(&lower).ok()?.name))
        .or_else(|| Some(config::foreign(&lower)?.name))
}

fn resetstat(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.server.reset_stats();
    ctx.reply.ok();
    Ok(())
}

fn rewrite(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let path = ctx
        .server
        .config_file
        .get()
        .ok_or("ERR The server is running without a config file")?;
    config::rewrite(path, ctx.config).map_err(|error| {
        tracing::warn!(%error, "the settings could not be written");
        format!("ERR Rewriting config file: {error}")
    })?;
    ctx.reply.ok();
    Ok(())
}
