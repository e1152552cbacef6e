//! Durations of their own for single entries, and the arithmetic of deadlines.

use std::time::Duration;

/// Says how long each entry lives. Every method is asked with no lock held, or under none but the
/// shard's own for writes; it should be quick and must not use the cache.
///
/// `None` means that this entry has no duration of its own. The cache's time to live and time to
/// idle apply besides; the earliest deadline counts.
///
/// ```
/// use nuthatch::{Cache, Clock, Expiry};
/// use std::time::Duration;
///
/// struct ByLength;
/// impl Expiry<u64, String> for ByLength {
///     fn after_create(&self, _key: &u64, value: &String) -> Option<Duration> {
///         Some(Duration::from_secs(value.len() as u64))
///     }
/// }
///
/// let (clock, hands) = Clock::manual();
/// let cache = Cache::builder().capacity(10).clock(clock).expiry(ByLength).build()?;
/// cache.insert(1, "abc".to_owned());
/// hands.advance(Duration::from_secs(2));
/// assert!(cache.contains_key(&1));
/// hands.advance(Duration::from_secs(1));
/// assert!(!cache.contains_key(&1));
/// # Ok::<(), nuthatch::BuildError>(())
/// ```
pub trait Expiry<K, V>: Send + Sync {
    /// How long a new entry lives.
    fn after_create(&self, key: &K, value: &V) -> Option<Duration>;

    /// How long an entry lives whose value was replaced; `remaining` is what the old value had
    /// left. As a new one, unless defined otherwise.
    fn after_update(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = remaining;
        self.after_create(key, value)
    }

    /// How long an entry lives that was hit; `remaining` is what it had left. As before, unless
    /// defined otherwise.
    fn after_read(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = (key, value);
        remaining
    }
}

/// When `duration` after `now_ns` is over, in nanoseconds; `None`, never, if that is beyond what
/// the number can tell (584 years).
pub(crate) fn deadline_ns(now_ns: u64, duration: Duration) -> Option<u64> {
    let duration_ns = u64::try_from(duration.as_nanos()).ok()?;
    now_ns
        .checked_add(duration_ns)
        .filter(|&ns| ns < crate::Clock::END_OF_TIME_NS)
}

/// Shortens durations at random, by up to a fraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter {
    fraction: f64,
    seed: u64,
}

impl Jitter {
    /// `None` unless `fraction` is at least 0 and less than 1.
    pub(crate) fn new(fraction: f64, seed: u64) -> Option<Self> {
        (0.0..1.0)
            .contains(&fraction)
            .then_some(Self { fraction, seed })
    }

    /// `duration` less a random part of it. The choice depends on the seed and on `salt` alone.
    pub(crate) fn shorten(&self, duration: Duration, salt: u64) -> Duration {
        if self.fraction == 0.0 {
            return duration;
        }
        // SplitMix64's finalizer (Steele, Lea, Flood 2014).
        let mut random = salt ^ self.seed;
        random = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ random >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((random ^ random >> 31) >> 11) as f64 / (1_u64 << 53) as f64;
        duration.mul_f64(1.0 - self.fraction * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::{Jitter, deadline_ns};
    use std::time::Duration;

    #[test]
    fn a_zero_duration_is_over_at_once_and_an_enormous_one_never() {
        assert_eq!(deadline_ns(5, Duration::ZERO), Some(5));
        assert_eq!(deadline_ns(5, Duration::MAX), None);
        assert_eq!(deadline_ns(u64::MAX - 2, Duration::from_nanos(1)), None);
    }

    #[test]
    fn jitter_shortens_by_up_to_its_fraction_and_spreads() {
        let whole = Duration::from_secs(100);
        let jitter = Jitter::new(0.5, 42).expect("a fraction");
        let shortened: Vec<_> = (0..1000).map(|salt| jitter.shorten(whole, salt)).collect();
        assert!(shortened.iter().all(|&d| d > whole / 2 && d <= whole));
        let early = shortened.iter().filter(|&&d| d < whole * 3 / 4).count();
        assert!(
            (350..650).contains(&early),
            "{early} of 1000 lose more than half of it"
        );
        assert_eq!(Jitter::new(0.0, 1).expect("none").shorten(whole, 7), whole);
        for wrong in [-0.1, 1.0, f64::NAN] {
            assert!(Jitter::new(wrong, 0).is_none());
        }
    }
}
