//! What the command line says of itself: shells' completions and manual pages.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use std::io::{self, Write};

/// The commands, as the command line declares them.
pub(super) fn commands() -> [Command; 2] {
    [
        Command::new("completions")
            .about("Print completions for a shell")
            .arg(
                Arg::new("shell")
                    .required(true)
                    .value_parser(value_parser!(Shell))
                    .help("The shell that reads them"),
            ),
        Command::new("man").about("Print a manual page").arg(
            Arg::new("command")
                .value_name("COMMAND")
                .help("The command that it is about; nuthatch itself without one"),
        ),
    ]
}

/// Prints completions.
pub(super) fn completions(matches: &ArgMatches, mut command: Command) -> Result<(), String> {
    let shell = *matches.get_one::<Shell>("shell").expect("clap asks for it");
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "nuthatch", &mut text);
    print(&text)
}

/// Prints a manual page.
pub(super) fn man(matches: &ArgMatches, mut command: Command) -> Result<(), String> {
    command.build();
    let page = match matches.get_one::<String>("command") {
        None => command,
        Some(name) => {
            let found = command.find_subcommand(name);
            let found = found.ok_or_else(|| format!("there is no command '{name}'"))?;
            found.clone().display_name(format!("nuthatch-{name}"))
        }
    };
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(page).render(&mut text);
    rendered.map_err(|error| error.to_string())?;
    print(&text)
}

fn print(text: &[u8]) -> Result<(), String> {
    match io::stdout().write_all(text) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| error.to_string()),
    }
}
