//! Keeps a measurement alive when a cache panics: what the others gave is not lost with it.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use thiserror::Error;

/// A cache panicked while it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{cache} panicked in {place}: {message}")]
pub struct Panicked {
    /// The cache.
    pub cache: String,
    /// What it was measured at.
    pub place: String,
    /// What it said.
    pub message: String,
}

/// Does the work on a cache, at a place that is named in the error. Work that panicked may have left
/// anything behind in what it shares with others; a measurement shares nothing but what it only reads.
pub fn contained<T>(cache: &str, place: &str, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panicked {
        cache: cache.to_owned(),
        place: place.to_owned(),
        message: message(payload.as_ref()),
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_names_cache_and_place() {
        let entries = 3;
        let error = contained("lru", "evict, 2 threads", || -> u32 {
            panic!("no room for {entries}")
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "lru panicked in evict, 2 threads: no room for 3"
        );
        let error = contained("lru", "evict", || -> u32 { panic!("plain") });
        assert_eq!(error.unwrap_err().message, "plain");
        assert_eq!(contained("lru", "evict", || 7), Ok(7));
    }
}
