//! `SLOWLOG` and `LATENCY`: what took long.

use super::{Command, Entry, Flags, Group, HELP, integer, table};
use crate::context::Context;
use crate::error::CommandResult;
use crate::info::command_times;
use crate::stats::WorkerStats;
use nuthatch_wire::resp::{Args, Reply};

const FLAGS: Flags = Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE);

/// Commands that `SLOWLOG GET` tells if it is not asked for a number.
const TOLD_COMMANDS: usize = 10;

const fn slow(
    name: &'static str,
    arity: i8,
    handler: super::Handler,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, arity, handler)
        .flags(FLAGS)
        .docs(Group::Server, "2.2.12", syntax, summary)
}

const fn spikes(
    name: &'static str,
    arity: i8,
    handler: super::Handler,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, arity, handler)
        .flags(FLAGS.union(Flags::NOSCRIPT))
        .tips(&[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ])
        .docs(Group::Server, "2.8.13", syntax, summary)
}

pub(super) const COMMANDS: &[Command] = &[
    Command::container(
        "slowlog",
        &[
            slow(
                "get",
                -2,
                get,
                "[count]",
                "Returns the newest commands of the slow log.",
            )
            .complexity("O(N) for N commands")
            .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
            slow("len", 2, len, "", "Counts the commands of the slow log.").tips(&[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ]),
            slow("reset", 2, reset, "", "Empties the slow log.")
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
            HELP.group(Group::Server, "6.2.0"),
        ],
    )
    .docs(Group::Server, "2.2.12", "", "Commands of the slow log."),
    Command::container(
        "latency",
        &[
            spikes("doctor", 2, doctor, "", "Says what the spikes mean."),
            spikes("graph", 3, graph, "event", "Draws the spikes of an event."),
            spikes(
                "histogram",
                -2,
                histogram,
                "[command [command ...]]",
                "Returns how long commands took, as counts by time.",
            )
            .group(Group::Server, "7.0.0"),
            spikes(
                "history",
                3,
                history,
                "event",
                "Returns the spikes of an event.",
            ),
            spikes(
                "latest",
                2,
                latest,
                "",
                "Returns the latest spike of each event.",
            ),
            spikes(
                "reset",
                -2,
                reset_spikes,
                "[event [event ...]]",
                "Forgets the spikes of events, or all.",
            )
            .tips(&["request_policy:all_nodes", "response_policy:agg_sum"]),
            HELP.group(Group::Server, "2.8.13"),
        ],
    )
    .docs(Group::Server, "2.8.13", "", "Commands of latency spikes."),
];

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let count = match args.len() {
        2 => TOLD_COMMANDS as i64,
        3 => integer(args.at(2))?,
        _ => return Err(crate::error::CommandError::Arity("slowlog|get".into())),
    };
    if count < -1 {
        return Err("ERR count should be greater than or equal to -1".into());
    }
    // A count that is negative here is -1, which stands for all.
    let max = usize::try_from(count).unwrap_or(usize::MAX);
    let commands = ctx.server.slow_log.newest(max);
    ctx.reply.array(commands.len());
    for command in commands {
        ctx.reply.array(6);
        for number in [command.id, command.time_s, command.duration_us] {
            ctx.reply.integer(number.cast_signed());
        }
        ctx.reply.array(command.args.len());
        for arg in &command.args {
            ctx.reply.bulk(arg);
        }
        ctx.reply.bulk(command.address.as_bytes());
        ctx.reply.bulk(command.name.as_bytes());
    }
    Ok(())
}

fn len(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.integer(ctx.server.slow_log.len() as i64);
    Ok(())
}

fn reset(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.server.slow_log.clear();
    ctx.reply.ok();
    Ok(())
}

fn latest(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let all = ctx.server.latency.all();
    ctx.reply.array(all.len());
    for (event, history) in all {
        let last = history.spikes.back().expect("a history has a spike");
        ctx.reply.array(6);
        ctx.reply.bulk(event.as_bytes());
        for number in [
            last.time_s,
            last.duration_ms,
            history.max_ms,
            history.sum_ms,
            history.count,
        ] {
            ctx.reply.integer(number.cast_signed());
        }
    }
    Ok(())
}

fn history(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let history = ctx.server.latency.history(args.at(2)).unwrap_or_default();
    ctx.reply.array(history.spikes.len());
    for spike in history.spikes {
        ctx.reply.array(2);
        ctx.reply.integer(spike.time_s.cast_signed());
        ctx.reply.integer(spike.duration_ms.cast_signed());
    }
    Ok(())
}

fn reset_spikes(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let names = args.from(2);
    let is_named =
        |event: &str| names.is_empty() || names.iter().any(|name| super::is_word(name, event));
    let reset = ctx.server.latency.reset(is_named);
    ctx.reply.integer(reset as i64);
    Ok(())
}

fn graph(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let event = args.at(2);
    let name = String::from_utf8_lossy(event);
    let history = ctx
        .server
        .latency
        .history(event)
        .ok_or_else(|| format!("ERR No samples available for event '{name}'"))?;
    let text = history.graph(&name, ctx.now_ms() / 1000);
    ctx.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn doctor(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let threshold_ms = ctx.config.latency_monitor_threshold;
    let all = ctx.server.latency.all();
    let mut text = String::new();
    if threshold_ms == 0 {
        text += "Spikes are not watched for: set latency-monitor-threshold to the milliseconds \
                 from which on an event is one.\n";
    }
    if all.is_empty() {
        text += "There were no spikes.\n";
    }
    for (event, history) in all {
        let mean_ms = history.sum_ms / history.count;
        text += &format!(
            "{event}: {} spikes, mean {mean_ms} ms, longest {} ms.\n",
            history.count, history.max_ms
        );
        text += match event {
            "command" => {
                "  Commands that take time in proportion to their data are slow while the data is \
                 large: SLOWLOG GET names them.\n"
            }
            _ => {
                "  Commands of this kind are short: the processor was busy elsewhere, or a command \
                 that holds the same keys was slow.\n"
            }
        };
    }
    ctx.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn histogram(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let table = table();
    let mut wanted: Vec<&Entry> = Vec::new();
    if args.len() == 2 {
        wanted.extend(table.entries());
    }
    for name in args.from(2).iter() {
        if let Some(entry) = table.find(name) {
            wanted.push(entry);
            wanted.extend(entry.subcommands.iter().map(|&id| table.entry(id)));
        }
    }
    let times = wanted
        .iter()
        .map(|entry| (entry, command_times(ctx.server, entry.id)));
    let times: Vec<_> = times.filter(|(_, times)| times.count() > 0).collect();
    ctx.reply.map(times.len());
    for (entry, times) in times {
        ctx.reply.bulk(entry.full_name.as_bytes());
        ctx.reply.map(2);
        ctx.reply.bulk(b"calls");
        // Of quick commands only some are timed; all are counted.
        let calls = |stats: &WorkerStats| stats.commands[entry.id as usize].calls.get();
        ctx.reply
            .integer(ctx.server.total(calls).max(1).cast_signed());
        ctx.reply.bulk(b"histogram_usec");
        cumulative(ctx.reply, times.buckets());
    }
    Ok(())
}

/// Counts of what took up to each power of two of microseconds.
fn cumulative(reply: &mut Reply, buckets: impl Iterator<Item = (u64, u64)>) {
    let mut counts: Vec<(u64, u64)> = Vec::new();
    let mut sum = 0;
    for (upper_ns, count) in buckets {
        sum += count;
        let upper_us = upper_ns.div_ceil(1000).next_power_of_two();
        match counts.last_mut() {
            Some(last) if last.0 == upper_us => last.1 = sum,
            _ => counts.push((upper_us, sum)),
        }
    }
    reply.map(counts.len());
    for (upper_us, count) in counts {
        reply.integer(upper_us.cast_signed());
        reply.integer(count.cast_signed());
    }
}
