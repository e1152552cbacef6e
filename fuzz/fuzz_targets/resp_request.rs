//! Any bytes come to the same requests, and to the same error, wherever they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_wire::resp::{Limits, RequestParser, Status};

/// The requests that a stream has when it arrives in pieces of these lengths, in turn, and what it
/// ends with if that is an error.
fn read(stream: &[u8], lengths: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let limits = Limits {
        max_args: 1_000,
        max_bulk_bytes: 10_000,
        max_inline_bytes: 1_000,
    };
    let mut parser = RequestParser::new(limits);
    let (mut requests, mut begin, mut end) = (Vec::new(), 0, 0);
    let mut lengths = lengths.iter().cycle();
    loop {
        end = match lengths.next() {
            Some(length) => (end + usize::from(*length) + 1).min(stream.len()),
            None => stream.len(),
        };
        loop {
            let buffer = &stream[begin..end];
            match parser.parse(buffer) {
                Ok(Status::Complete { consumed }) => {
                    assert!(0 < consumed && consumed <= buffer.len());
                    let args = parser.args(buffer);
                    requests.push(args.iter().map(<[u8]>::to_vec).collect());
                    begin += consumed;
                }
                Ok(Status::Incomplete { wanted }) => {
                    assert!(wanted > buffer.len(), "more is wanted than is there");
                    break;
                }
                Err(error) => return (requests, Some(error.to_string())),
            }
        }
        if end == stream.len() {
            return (requests, None);
        }
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (lengths, stream) = input;
    let whole = read(stream, &[]);
    let pieces = read(stream, lengths);
    assert_eq!(pieces, whole);
});
