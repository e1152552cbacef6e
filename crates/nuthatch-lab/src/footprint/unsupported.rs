//! Machines whose instructions and registers the laboratory does not know.

use super::{Effort, FootprintError, FootprintRow, Subject};
use crate::caches::CacheSpec;
use std::process::Command;

/// Refuses.
pub fn perform(_cache: &CacheSpec, _subject: Subject) -> Result<(), FootprintError> {
    Err(FootprintError::Unsupported)
}

/// Refuses.
pub fn measure(
    _performance: Command,
    _cache: &CacheSpec,
    _subject: Subject,
    _effort: Effort,
) -> Result<FootprintRow, FootprintError> {
    Err(FootprintError::Unsupported)
}
