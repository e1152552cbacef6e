//! The command line. Every setting is a flag of `serve` and of `config`, made from the table of
//! settings.
#![expect(clippy::print_stdout, reason = "this is the program that people run")]

mod check;
mod documents;
mod export;
mod import;
mod inspect;
mod top;

use clap::{Arg, ArgMatches, Command};
use nuthatch_server::config::{
    Config, Layers, LogFormat, LogLevel, Origin, SETTINGS, example_file,
};
use nuthatch_server::launch::{self, Launched};
use nuthatch_server::reference;
use nuthatch_server::supervisor::Supervisor;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// Exit code of a mistake of the user's.
const MISTAKE: u8 = 2;

/// Runs the program with these arguments.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Prints help to stdout and mistakes to stderr.
            let code = if error.use_stderr() { MISTAKE } else { 0 };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches),
        Some(("config", matches)) => match matches.subcommand() {
            Some(("check", matches)) => check_settings(matches),
            Some(("show", matches)) => show(matches),
            Some(("example", _)) => example(),
            _ => unreachable!("clap asks for a subcommand"),
        },
        Some(("commands", _)) => {
            print!("{}", reference::page());
            Ok(())
        }
        Some(("check", matches)) => check::run(matches),
        Some(("import", matches)) => import::run(matches),
        Some(("export", matches)) => export::run(matches),
        Some(("inspect", matches)) => inspect::run(matches),
        Some(("top", matches)) => top::run(matches),
        Some(("health", matches)) => top::health(matches),
        Some(("completions", matches)) => documents::completions(matches, command()),
        Some(("man", matches)) => documents::man(matches, command()),
        _ => unreachable!("clap asks for a subcommand"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("nuthatch: {text}");
            ExitCode::from(MISTAKE)
        }
    }
}

fn command() -> Command {
    Command::new("nuthatch")
        .about("A cache server for the clients of Redis, Valkey and memcached")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(
            Command::new("serve").about("Serve clients until a signal ends it"),
        ))
        .subcommand(
            Command::new("config")
                .about("Look at settings without serving")
                .subcommand_required(true)
                .subcommand(with_settings(Command::new("check").about(
                    "Check the settings of file, environment and flags; print what is wrong",
                )))
                .subcommand(with_settings(
                    Command::new("show").about("Print all settings and where they come from"),
                ))
                .subcommand(
                    Command::new("example").about("Print a file with every setting to begin with"),
                ),
        )
        .subcommand(
            Command::new("commands")
                .about("Print the reference of all commands that clients may send, as Markdown"),
        )
        .subcommand(check::command())
        .subcommand(import::command())
        .subcommand(export::command())
        .subcommand(inspect::command())
        .subcommands(top::commands())
        .subcommands(documents::commands())
}

fn with_settings(command: Command) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env_hint()
        .help("Read settings from this file (default: nuthatch.toml, if there is one)")
        .value_parser(clap::value_parser!(PathBuf));
    let flags = SETTINGS.iter().map(|info| {
        Arg::new(info.name)
            .long(info.name)
            .value_name("VALUE")
            .allow_hyphen_values(true)
            .help(format!(
                "{} [{}]",
                info.help.trim().replace('\n', ""),
                info.allowed
            ))
    });
    command.arg(file).args(flags)
}

/// Room for the note on the environment, which clap prints only with a feature that reads it itself.
trait EnvHint {
    fn env_hint(self) -> Self;
}

impl EnvHint for Arg {
    fn env_hint(self) -> Self {
        self.long_help(
            "Read settings from this file; the variable NUTHATCH_CONFIG names one too. Without \
             either, nuthatch.toml is read if there is one. Every setting is also a variable: \
             NUTHATCH_MAXMEMORY for maxmemory.",
        )
    }
}

/// Reads all layers.
fn settings(matches: &ArgMatches) -> Result<Layers, String> {
    let mut layers = Layers::default();
    for info in SETTINGS {
        if let Some(text) = matches.get_one::<String>(info.name) {
            layers
                .set(Origin::Flag, info.name, text)
                .map_err(|error| error.to_string())?;
        }
    }
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        // What is no text is none of ours, or caught as a setting's wrong value.
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    });
    layers
        .read_environment(variables)
        .map_err(|error| error.to_string())?;
    let named = matches
        .get_one::<PathBuf>("config")
        .cloned()
        .or_else(|| std::env::var_os("NUTHATCH_CONFIG").map(PathBuf::from));
    let unnamed = || Some(PathBuf::from("nuthatch.toml")).filter(|path| path.exists());
    if let Some(path) = named.or_else(unnamed) {
        layers.read_file(&path).map_err(|error| error.to_string())?;
    }
    layers.config().check().map_err(|error| error.to_string())?;
    Ok(layers)
}

fn check_settings(matches: &ArgMatches) -> Result<(), String> {
    settings(matches)?;
    println!("The settings are right.");
    Ok(())
}

fn show(matches: &ArgMatches) -> Result<(), String> {
    for (name, value, origin) in settings(matches)?.describe() {
        let value = if value.is_empty() { "\"\"" } else { &value };
        println!("{name} = {value}  # {}", origin.name());
    }
    Ok(())
}

fn example() -> Result<(), String> {
    print!("{}", example_file());
    Ok(())
}

fn serve(matches: &ArgMatches) -> Result<(), String> {
    let layers = settings(matches)?;
    let config = layers.config();
    start_log(config);
    let launched = launch::launch(config.clone()).map_err(|error| error.to_string())?;
    if let Some(path) = layers.file() {
        // CONFIG REWRITE finds it also if the working directory has changed by then.
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        launched
            .server()
            .config_file
            .set(path)
            .expect("the file is set once");
    }
    launched.server().set_origins(layers.origins());
    greet(&launched);
    let address = std::env::var_os("NOTIFY_SOCKET");
    let supervisor =
        Supervisor::at(address.as_deref()).map_err(|error| format!("NOTIFY_SOCKET: {error}"))?;
    let launched = launched.with_supervisor(supervisor);
    launched.run().map_err(|error| error.to_string())
}

fn start_log(config: &Config) {
    let level = match config.loglevel {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr);
    match config.logformat {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn greet(launched: &Launched) {
    let server = launched.server();
    let config = server.config();
    let megabytes = server
        .max_memory_bytes
        .load(std::sync::atomic::Ordering::Relaxed)
        >> 20;
    println!("Nuthatch {}", env!("CARGO_PKG_VERSION"));
    for line in launched.addresses() {
        println!("  {line}");
    }
    println!("  memory      {megabytes} MiB at most");
    println!(
        "  policy      {}",
        config.get("maxmemory-policy").unwrap_or_default()
    );
    println!("  threads     {}", server.workers().len());
    if let Some(url) = launched.dashboard() {
        println!("  dashboard   {url}");
    }
    if let Some(port) = launched.first_port() {
        println!("Connect with: redis-cli -p {port}");
    }
}
