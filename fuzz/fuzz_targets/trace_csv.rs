//! Any bytes are a trace of comma-separated values, or a typed error, whatever the columns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_fuzz::check_trace;
use nuthatch_lab::trace::{Columns, Format};

fuzz_target!(|input: (&str, &[u8])| {
    let (names, bytes) = input;
    check_trace(Format::Csv, bytes, None);
    if let Ok(columns) = names.parse::<Columns>() {
        check_trace(Format::Csv, bytes, Some(&columns));
    }
});
