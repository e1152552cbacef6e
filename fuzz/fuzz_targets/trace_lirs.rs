//! Any bytes are a trace of the LIRS paper's text format, or a typed error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_fuzz::check_trace;
use nuthatch_lab::trace::Format;

fuzz_target!(|bytes: &[u8]| check_trace(Format::Lirs, bytes, None));
