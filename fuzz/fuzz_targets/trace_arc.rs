//! Any bytes are a trace of the ARC paper's text format, or a typed error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_fuzz::check_trace;
use nuthatch_lab::trace::Format;

/// A line may ask for a million blocks, each a request: more lines only take more memory.
const LINES: usize = 3;

fuzz_target!(|bytes: &[u8]| {
    let len: usize = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .take(LINES)
        .map(<[u8]>::len)
        .sum();
    check_trace(Format::Arc, &bytes[..len], None);
});
