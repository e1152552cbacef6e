//! A near cache at work: a service whose products lie in a SQLite database, with Redis in front of that and a
//! cache in process in front of both, run as two processes that share database and Redis.
//!
//! `cargo run -p near-cache-service` starts all of it and runs until Ctrl-C. With `--demo` it sends the
//! requests itself, tells what came of them, and fails where that is not what it claims.
//!
//! `service.rs` is what a service of one's own would copy; the rest sets the stage.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "this is the program that people run")]

mod database;
mod demo;
mod service;
mod stage;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use database::Database;
use service::Service;
use stage::Stage;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What a process says when it serves; the address follows.
const GREETING: &str = "serving on http://";

/// A service with a database, Redis and a near cache, run as two processes.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Use this server or cluster rather than start a redis-server: redis://host:port or
    /// redis+cluster://host:port,host:port
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// How many products the database has
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    products: u32,
    /// Send requests to both processes, tell what came of them, and end; fail if it is not as claimed
    #[arg(long)]
    demo: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as one process, with a database that exists and a Redis that runs
    Serve(ServeArguments),
}

#[derive(Debug, Args)]
struct ServeArguments {
    /// The SQLite database
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    /// The server or cluster: redis://host:port or redis+cluster://host:port,host:port
    #[arg(long, value_name = "URL")]
    redis: String,
    /// What keys begin with in Redis; all processes with the same database need the same
    #[arg(long, value_name = "NAME", default_value = "products")]
    namespace: String,
    /// Where to listen; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    /// End when standard input does, so as not to outlive who holds its other end
    #[arg(long)]
    until_stdin_ends: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Serve(serve_arguments)) => serve(serve_arguments).await,
        None => run(arguments.redis, arguments.products, arguments.demo).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("near-cache-service: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves as one process until a signal, or the end of standard input.
async fn serve(arguments: ServeArguments) -> Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(io::stderr)
        .init();
    let database = Database::open(&arguments.database)
        .with_context(|| format!("cannot open {}", arguments.database.display()))?;
    let cache = service::near_cache(&arguments.redis, &arguments.namespace)
        .await
        .with_context(|| format!("no near cache with {}", arguments.redis))?;
    let router = service::router(Arc::new(Service::new(cache, database)));
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let end = end_signal()?;
    let input = arguments.until_stdin_ends.then(stdin_ends);
    println!("{GREETING}{}", listener.local_addr()?);
    let until = async move {
        match input {
            Some(input) => tokio::select! {
                () = end => {}
                _ = input => {}
            },
            None => end.await,
        }
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(until)
        .await
        .context("serving failed")
}

/// Starts everything, and runs until a signal, or until the demonstration is over.
async fn run(redis: Option<String>, products: u32, is_demo: bool) -> Result<()> {
    let mut end = pin!(end_signal()?);
    let mut stage = tokio::select! {
        stage = Stage::set_up(redis, products) => stage?,
        () = &mut end => bail!("asked to end before anything served"),
    };
    println!("{stage}");
    let result = if is_demo {
        tokio::select! {
            result = demo::play(stage.addresses(), products) => result,
            error = stage.broken() => Err(error),
            () = &mut end => Err(anyhow!("asked to end before the demonstration was over")),
        }
    } else {
        println!("{}", stage.suggestions());
        tokio::select! {
            error = stage.broken() => Err(error),
            () = &mut end => Ok(()),
        }
    };
    stage.take_down().await;
    result
}

/// Ends with the first signal that asks this process to end.
fn end_signal() -> Result<impl Future<Output = ()>> {
    let handle = |kind| signal(kind).context("signals cannot be waited for");
    let mut interrupt = handle(SignalKind::interrupt())?;
    let mut terminate = handle(SignalKind::terminate())?;
    let mut hangup = handle(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Ends with standard input, of which nothing is wanted.
fn stdin_ends() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // An error is an end, too.
        let _read = io::copy(&mut io::stdin(), &mut io::sink());
        let _heard = sender.send(());
    });
    receiver
}
