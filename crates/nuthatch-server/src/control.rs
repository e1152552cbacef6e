//! The control thread: signals, upkeep, memory's bound. It never runs behind clients' traffic.

pub mod memory;
pub mod rates;

use crate::server::Server;
use crate::{clock, field_expiry};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How often upkeep is done.
const UPKEEP_PERIOD: Duration = Duration::from_millis(100);
/// In one of so many times, memory is freed that readers might still look at, too.
const THOROUGH_ONE_IN: u64 = 10;

/// Does what is not clients' business until the server ends.
pub fn run(server: &Arc<Server>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(server))
}

async fn serve(server: &Arc<Server>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut upkeep = tokio::time::interval(UPKEEP_PERIOD);
    let mut governor = memory::Governor::default();
    let mut sampler = rates::RateSampler::default();
    let mut rounds: u64 = 0;
    while !server.is_ending.load(Ordering::Relaxed) {
        tokio::select! {
            _ = terminate.recv() => end(server, "SIGTERM"),
            _ = interrupt.recv() => end(server, "SIGINT"),
            _ = upkeep.tick() => {
                rounds += 1;
                if server.is_expiring.load(Ordering::Relaxed) {
                    if rounds.is_multiple_of(THOROUGH_ONE_IN) {
                        server.keyspace.cache().maintain();
                    } else {
                        server.keyspace.cache().clear_expired();
                    }
                    field_expiry::request(server, clock::now_ms());
                }
                governor.govern(server);
                sampler.sample(server, Instant::now());
            }
        }
    }
    Ok(())
}

fn end(server: &Server, signal: &str) {
    tracing::info!(signal, "ending");
    server.end();
}
