//! Any bytes are either records, and then what is written from them reads back as the same records, or a typed
//! error. And reading them one by one, without a look inside, finds the same ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_storage::record::{Record, RecordWriter, count, take_record};

fuzz_target!(|bytes: &[u8]| {
    let Some(records) = read(bytes) else { return };
    assert_eq!(count(bytes), Ok(records.len() as u64));
    let mut written = Vec::new();
    for record in &records {
        RecordWriter::new(&mut written).record(*record);
    }
    assert_eq!(read(&written), Some(records));
});

fn read(mut rest: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let mut outside = rest;
        records.push(Record::take(&mut rest).ok()?);
        take_record(&mut outside).expect("it was read with what is in it");
        assert_eq!(outside.len(), rest.len());
    }
    Some(records)
}
