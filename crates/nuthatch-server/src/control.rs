//! The control thread: signals, upkeep, memory's bound, samples of what happens, HTTP. It never runs
//! behind clients' traffic.

pub mod memory;
pub mod rates;

use crate::history::Look;
use crate::http;
use crate::server::Server;
use crate::{clock, field_expiry};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// How often upkeep is done.
const UPKEEP_PERIOD: Duration = Duration::from_millis(100);
/// In one of so many times, memory is freed that readers might still look at, too.
const THOROUGH_ONE_IN: u64 = 10;

/// How often a sample is taken.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

/// All that the control thread needs of the system. It is taken before the first client can connect, for
/// clients might leave no file for it.
#[derive(Debug)]
pub struct Control {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Control {
    /// Asks the system for it.
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(entered);
        Ok(Self {
            runtime,
            terminate,
            interrupt,
        })
    }

    /// Does what is not clients' business until the server ends. `ready` is called once clients are served.
    pub fn run(self, server: &Arc<Server>, http: Option<TcpListener>, ready: impl FnOnce()) {
        let (terminate, interrupt) = (self.terminate, self.interrupt);
        self.runtime
            .block_on(serve(server, http, terminate, interrupt, ready));
    }
}

async fn serve(
    server: &Arc<Server>,
    http: Option<TcpListener>,
    mut terminate: Signal,
    mut interrupt: Signal,
    ready: impl FnOnce(),
) {
    let mut ready = Some(ready);
    let mut upkeep = tokio::time::interval(UPKEEP_PERIOD);
    let mut sample = tokio::time::interval(SAMPLE_PERIOD);
    // After a pause of the whole machine the next sample is long, not followed by empty ones.
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let Some(listener) = http {
        let server = Arc::clone(server);
        tokio::spawn(async move {
            if let Err(error) = http::serve(server, listener).await {
                tracing::error!(%error, "the dashboard and /metrics are not served");
            }
        });
    }
    let mut sampler = rates::RateSampler::default();
    let mut rounds: u64 = 0;
    while !server.is_ending.load(Ordering::Relaxed) {
        tokio::select! {
            _ = terminate.recv() => end(server, "SIGTERM"),
            _ = interrupt.recv() => end(server, "SIGINT"),
            _ = upkeep.tick() => {
                rounds += 1;
                if server.is_ready() && let Some(ready) = ready.take() {
                    ready();
                }
                if let Some(durability) = &server.durability {
                    durability.keep_up(clock::now_ms());
                }
                if server.may_expire() {
                    if rounds.is_multiple_of(THOROUGH_ONE_IN) {
                        server.keyspace.cache().maintain();
                    } else {
                        server.keyspace.cache().clear_expired();
                    }
                    field_expiry::request(server, clock::now_ms());
                }
                let max_tracked_keys = server.config().tracking_table_max_keys;
                server.observers.keep_up(clock::now_ms(), max_tracked_keys);
                server.follow_pause();
                server.govern_memory();
                sampler.sample(server, Instant::now());
                // The search would remove what has expired, where that is to stay for the time being.
                if server.is_expiring.load(Ordering::Relaxed) && !server.is_loading() {
                    server.big_keys.lock().step(&server.keyspace, clock::now_ms());
                }
            }
            _ = sample.tick() => take_sample(server),
        }
    }
}

fn take_sample(server: &Server) {
    let look = Look::at(server, clock::now_ms());
    server.history.lock().record(look);
    for worker in server.workers() {
        worker.hot_keys.fade(SAMPLE_PERIOD.as_secs_f64());
    }
}

fn end(server: &Server, signal: &str) {
    match &server.durability {
        Some(durability) if durability.needs_save_to_end() && !durability.is_closing() => {
            tracing::info!(
                signal,
                "writing a last snapshot; another signal ends the server without"
            );
            durability.begin_closing(false);
        }
        _ => {
            tracing::info!(signal, "ending");
            server.end();
        }
    }
}
