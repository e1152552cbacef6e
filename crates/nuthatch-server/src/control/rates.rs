//! How much is done per second: counts sampled by the control thread, averaged over the last samples.

use crate::server::Server;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Samples that a rate is averaged over.
const SAMPLES: usize = 16;

/// Rates at present, for whoever asks.
#[derive(Debug, Default)]
pub struct Rates {
    /// Commands run per second.
    pub commands_per_s: AtomicU64,
    /// Bytes read from clients per second.
    pub read_bytes_per_s: AtomicU64,
    /// Bytes written to clients per second.
    pub written_bytes_per_s: AtomicU64,
}

/// The counts at one moment: commands, bytes read, bytes written.
type Counts = [u64; 3];

/// Takes samples and publishes the [`Rates`] that follow.
#[derive(Debug, Default)]
pub struct RateSampler {
    last: Option<(Instant, Counts)>,
    /// Per second, the newest at `next - 1`.
    samples: [[f64; 3]; SAMPLES],
    next: usize,
}

impl RateSampler {
    /// Takes a sample.
    pub fn sample(&mut self, server: &Server, now: Instant) {
        let counts = [
            server.commands_run(),
            server.total(|stats| stats.read_bytes.get()),
            server.total(|stats| stats.written_bytes.get()),
        ];
        let rates = self.add(now, counts);
        let published = [
            &server.rates.commands_per_s,
            &server.rates.read_bytes_per_s,
            &server.rates.written_bytes_per_s,
        ];
        for (rate, published) in rates.into_iter().zip(published) {
            published.store(rate, Ordering::Relaxed);
        }
    }

    /// The rates after one more sample.
    fn add(&mut self, now: Instant, counts: Counts) -> Counts {
        if let Some((then, before)) = self.last {
            let elapsed_s = now.duration_since(then).as_secs_f64().max(1e-6);
            for (index, count) in counts.into_iter().enumerate() {
                // Counts go back to 0 when statistics are reset.
                let difference = count.saturating_sub(before[index]);
                self.samples[self.next][index] = difference as f64 / elapsed_s;
            }
            self.next = (self.next + 1) % SAMPLES;
        }
        self.last = Some((now, counts));
        std::array::from_fn(|index| {
            let sum: f64 = self.samples.iter().map(|sample| sample[index]).sum();
            (sum / SAMPLES as f64).round() as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{RateSampler, SAMPLES};
    use std::time::{Duration, Instant};

    #[test]
    fn a_steady_flow_has_its_rate_and_a_reset_is_no_flow() {
        let mut sampler = RateSampler::default();
        let mut now = Instant::now();
        let mut rates = [0; 3];
        for sample in 0..=SAMPLES as u64 {
            rates = sampler.add(now, [sample * 10, sample * 100, 0]);
            now += Duration::from_millis(100);
        }
        assert_eq!(rates, [100, 1000, 0]);
        assert_eq!(sampler.add(now, [0; 3]), [94, 938, 0]);
    }
}
