//! Any bytes are a trace of the project's own format, or a typed error.
//!
//! A mutated zstd frame rarely decompresses, so the bytes are also read as what is inside the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_fuzz::check_trace;
use nuthatch_lab::trace::Format;
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    check_trace(Format::Ctr, bytes, None);
    check_trace(Format::Ctr, &framed(bytes), None);
});

fn framed(records: &[u8]) -> Vec<u8> {
    let mut frame = zstd::Encoder::new(Vec::new(), 1).expect("the level exists");
    frame.include_checksum(true).expect("zstd has checksums");
    frame
        .set_pledged_src_size(Some(records.len() as u64))
        .expect("nothing is compressed yet");
    frame.write_all(records).expect("a vector takes all");
    frame.finish().expect("a vector takes all")
}
