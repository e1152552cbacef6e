//! What asks a running server: `nuthatch top`, which draws, waits and listens to keys, and `nuthatch
//! health`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue, terminal};
use nuthatch_server::top::{Source, TopError};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How often the picture is drawn anew.
const PERIOD: Duration = Duration::from_secs(1);
/// Columns of what is printed once.
const ONCE_WIDTH: usize = 120;

/// The commands, as the command line declares them.
pub(super) fn commands() -> [Command; 2] {
    let address = Arg::new("address")
        .long("address")
        .value_name("HOST:PORT")
        .default_value("127.0.0.1:6380")
        .help("The server's http-bind and http-port");
    let top = Command::new("top")
        .about("Show what a running server does, once a second; q ends it")
        .arg(address.clone())
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Print one picture and end, for scripts"),
        )
        .after_help(
            "The variable NUTHATCH_HTTP_PASSWORD is the password, if the server asks for one.",
        );
    let health = Command::new("health")
        .about("Tell whether a running server is ready, also by the exit code")
        .arg(address);
    [top, health]
}

fn source(matches: &ArgMatches) -> Source {
    let address = matches.get_one::<String>("address");
    Source {
        address: address.expect("it has a default").clone(),
        password: std::env::var("NUTHATCH_HTTP_PASSWORD").unwrap_or_default(),
    }
}

/// Runs `health`.
pub(super) fn health(matches: &ArgMatches) -> Result<(), String> {
    source(matches).check().map_err(|error| error.to_string())?;
    writeln!(io::stdout(), "ready").map_err(|error| error.to_string())
}

/// Runs `top`.
pub(super) fn run(matches: &ArgMatches) -> Result<(), String> {
    let source = source(matches);
    if matches.get_flag("once") {
        let picture = source.picture().map_err(|error| error.to_string())?;
        let text = picture.lines(ONCE_WIDTH, usize::MAX).join("\n");
        return writeln!(io::stdout(), "{text}").map_err(|error| error.to_string());
    }
    // The first answer is asked for before the screen is taken, so that a mistake is read in peace.
    source.picture().map_err(|error| error.to_string())?;
    let screen = Screen::take().map_err(|error| error.to_string())?;
    let ended = watch(&source);
    drop(screen);
    ended.map_err(|error| error.to_string())
}

/// The terminal's other screen, which is left when this is dropped.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let left = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        if let Err(error) = left.and_then(|()| terminal::disable_raw_mode()) {
            eprintln!("nuthatch: the terminal could not be set back: {error}");
        }
    }
}

fn watch(source: &Source) -> io::Result<()> {
    loop {
        let drawn = Instant::now();
        draw(source.picture())?;
        while let Some(left) = PERIOD.checked_sub(drawn.elapsed()) {
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) => {
                    let is_interrupt = key.code == KeyCode::Char('c')
                        && key.modifiers.contains(KeyModifiers::CONTROL);
                    if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Event::Resize(..) => break,
                _ => {}
            }
        }
    }
}

fn draw(picture: Result<nuthatch_server::top::Picture, TopError>) -> io::Result<()> {
    let (width, height) = terminal::size()?;
    let lines = match picture {
        Ok(picture) => picture.lines(width.into(), height.into()),
        Err(error) => vec![format!("{error}; asking again")],
    };
    let mut out = io::stdout().lock();
    for (row, line) in lines.iter().enumerate() {
        let row = u16::try_from(row).unwrap_or(u16::MAX);
        queue!(
            out,
            cursor::MoveTo(0, row),
            Print(line),
            Clear(ClearType::UntilNewLine)
        )?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    out.flush()
}
