//! Any bytes come to the same keys of an RDB file, and the same error, however they arrive; and what a file
//! holds is bounded by what it has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_wire::rdb::file::{Content, Event, FileReader};
use std::io::{BufRead, BufReader};

/// What LZF makes of a byte at most.
const MAX_EXPANSION: u64 = 264;

fn read(file: impl BufRead, file_bytes: u64) -> (Vec<Event>, String) {
    let mut events = Vec::new();
    let mut reader = match FileReader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (events, error.to_string()),
    };
    loop {
        let next = reader.next();
        assert!(reader.offset() <= file_bytes, "nothing is read twice");
        match next {
            Ok(Some(event)) => {
                check(&event, file_bytes);
                events.push(event);
            }
            Ok(None) => {
                assert_eq!(reader.offset(), file_bytes, "it was read to its end");
                return (events, String::new());
            }
            Err(error) => return (events, error.to_string()),
        }
    }
}

fn check(event: &Event, file_bytes: u64) {
    let (key_bytes, fields) = match event {
        Event::Entry(entry) => match &entry.content {
            Content::Hash(fields) => (entry.key.len(), fields.as_slice()),
            Content::String(string) => (entry.key.len() + string.len(), &[][..]),
            Content::Other(_) => (entry.key.len(), &[][..]),
        },
        Event::Fields(fields) => {
            assert!(!fields.is_empty(), "a part has something");
            (0, fields.as_slice())
        }
    };
    let fields = fields
        .iter()
        .map(|field| field.name.len() + field.value.len());
    let bytes = key_bytes + fields.sum::<usize>();
    assert!(bytes as u64 <= MAX_EXPANSION * file_bytes);
}

fuzz_target!(|file: &[u8]| {
    let file_bytes = file.len() as u64;
    let (events, error) = read(file, file_bytes);
    assert!(!error.contains(['\r', '\n']));
    for buffer_bytes in [1, 13] {
        let arriving = BufReader::with_capacity(buffer_bytes, file);
        assert!(read(arriving, file_bytes) == (events.clone(), error.clone()));
    }
});
