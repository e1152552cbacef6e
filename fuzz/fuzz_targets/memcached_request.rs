//! Any bytes come to the same requests of memcached's, wherever they are cut, and each one's error is a
//! line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_wire::memcached::{Limits, Parsed, RequestParser};

/// What a stream comes to when it arrives in pieces of these lengths, in turn: requests and errors as
/// text, with the bytes that were skipped before each.
fn read(stream: &[u8], lengths: &[u8]) -> Vec<(usize, String)> {
    let limits = Limits {
        max_value_bytes: 1_000,
        max_line_bytes: 4_000,
    };
    let mut parser = RequestParser::new(limits);
    let (mut results, mut begin, mut end, mut skipped) = (Vec::new(), 0, 0, 0);
    let mut lengths = lengths.iter().cycle();
    loop {
        end = match lengths.next() {
            Some(length) => (end + usize::from(*length) + 1).min(stream.len()),
            None => stream.len(),
        };
        loop {
            let buffer = &stream[begin..end];
            match parser.parse(buffer) {
                Parsed::Whole { consumed, request } => {
                    assert!(0 < consumed && consumed <= buffer.len());
                    if let Err(refusal) = &request {
                        let text = refusal.error.to_string();
                        assert!(!text.is_empty() && !text.contains(['\r', '\n']));
                    }
                    results.push((skipped, format!("{request:?}")));
                    skipped = 0;
                    begin += consumed;
                }
                Parsed::Skipped { consumed } => {
                    assert!(0 < consumed && consumed <= buffer.len());
                    skipped += consumed;
                    begin += consumed;
                }
                Parsed::Incomplete { wanted } => {
                    assert!(wanted > buffer.len(), "more is wanted than is there");
                    break;
                }
                Parsed::Hopeless => {
                    results.push((skipped, "hopeless".to_owned()));
                    return results;
                }
            }
        }
        if end == stream.len() {
            results.push((skipped, String::new()));
            return results;
        }
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (lengths, stream) = input;
    assert_eq!(read(stream, lengths), read(stream, &[]));
});
