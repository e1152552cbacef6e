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
        write(*record, &mut written);
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

fn write(record: Record<'_>, out: &mut Vec<u8>) {
    let mut writer = RecordWriter::new(out);
    match record {
        Record::Put {
            key,
            value,
            is_changed,
            deadline_ms,
        } => writer.put(key, &[value], is_changed, deadline_ms),
        Record::PutStamped {
            key,
            value,
            stamp,
            deadline_ms,
        } => writer.put_stamped(key, &[value], stamp, deadline_ms),
        Record::PutHash {
            key,
            fields,
            deadline_ms,
        } => {
            let fields: Vec<_> = fields.iter().collect();
            writer.put_hash(key, fields.into_iter(), deadline_ms);
        }
        Record::HashSet { key, fields } => {
            let fields: Vec<_> = fields.iter().collect();
            writer.hash_set(key, fields.into_iter());
        }
        Record::HashDelete { key, names } => {
            writer.hash_delete(key, &names.iter().collect::<Vec<_>>());
        }
        Record::HashExpire {
            key,
            names,
            deadline_ms,
        } => writer.hash_expire(key, &names.iter().collect::<Vec<_>>(), deadline_ms),
        Record::Delete { key } => writer.delete(key),
        Record::Expire { key, deadline_ms } => writer.expire(key, deadline_ms),
        Record::Clear => writer.clear(),
    }
}
