//! The traces that come with the laboratory, so that it has something to show without any file.
//!
//! They are recorded from real programs by `scripts/record-traces`; `traces/README.md` says what
//! each of them is.

use crate::trace::{Trace, TraceError, read_ctr};

/// Name and content of each.
const FILES: &[(&str, &[u8])] = &[
    (
        "build-files",
        include_bytes!("../traces/build-files.ctr.zst"),
    ),
    (
        "source-names",
        include_bytes!("../traces/source-names.ctr.zst"),
    ),
    (
        "sqlite-pages",
        include_bytes!("../traces/sqlite-pages.ctr.zst"),
    ),
];

/// Reads all of them.
pub fn traces() -> Result<Vec<Trace>, TraceError> {
    FILES
        .iter()
        .map(|(name, bytes)| Ok(Trace::new(*name, read_ctr(*bytes)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_recorded_trace_is_bundled_and_can_be_read() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
        let files = fs::read_dir(directory)
            .unwrap()
            .map(|file| file.unwrap().file_name());
        let mut recorded: Vec<_> = files
            .filter_map(|file| Some(file.to_str()?.strip_suffix(".ctr.zst")?.to_owned()))
            .collect();
        recorded.sort();
        let mut bundled: Vec<_> = traces()
            .unwrap()
            .iter()
            .map(|trace| trace.name().to_owned())
            .collect();
        bundled.sort();
        assert_eq!(bundled, recorded);
    }
}
