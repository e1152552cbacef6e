//! Plain records and a plain model of what they do.

use nuthatch_storage::data_dir::{DataDir, Recovered, RecoverySink};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::simulated::SimulatedDisk;
use nuthatch_storage::record::{Record, RecordWriter};
use nuthatch_storage::{Sequence, StorageError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What keys hold.
pub(crate) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// Applies records to what keys hold, and counts them.
pub(crate) fn apply(values: &mut Values, mut records: &[u8]) -> u64 {
    let mut count = 0;
    while !records.is_empty() {
        match Record::take(&mut records).expect("records are whole") {
            Record::Put { key, value, .. } => drop(values.insert(key.into(), value.into())),
            Record::Delete { key } => drop(values.remove(key)),
            other => panic!("no test writes {other:?}"),
        }
        count += 1;
    }
    count
}

/// A record that puts `value` at `key`.
pub(crate) fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    RecordWriter::new(&mut out).put(key, &[value], false, None);
    out
}

/// Takes what is recovered, and watches over the order of the calls.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) values: Values,
    pub(crate) snapshot_records: u64,
    pub(crate) log_records: u64,
    pub(crate) total_bytes: Option<u64>,
    pub(crate) progress_bytes: u64,
}

impl RecoverySink for Sink {
    fn begin(&mut self, total_bytes: u64) {
        assert_eq!(self.total_bytes.replace(total_bytes), None, "begun once");
    }

    fn snapshot_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        assert_eq!(self.log_records, 0, "the snapshot comes before the log");
        self.snapshot_records += apply(&mut self.values, &records);
        Ok(())
    }

    fn log_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        self.log_records += apply(&mut self.values, &records);
        Ok(())
    }

    fn progress(&mut self, bytes: u64) {
        assert!(bytes >= self.progress_bytes, "progress goes forward");
        self.progress_bytes = bytes;
        let total_bytes = self.total_bytes.expect("begun before");
        assert!(bytes <= total_bytes, "no more is read than was said");
    }
}

/// Recovers a directory.
pub(crate) fn recover(disk: &SimulatedDisk) -> Result<(DataDir, Recovered, Values), StorageError> {
    open(Arc::new(disk.clone()))
}

/// As `recover`, of any disk.
pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<(DataDir, Recovered, Values), StorageError> {
    let dir = DataDir::open(disk)?;
    let mut sink = Sink::default();
    let recovered = dir.recover(&mut sink)?;
    assert_eq!(sink.snapshot_records, recovered.snapshot_records);
    assert_eq!(sink.log_records, recovered.log_records);
    Ok((dir, recovered, sink.values))
}

/// Everything that was ever written, in order.
#[derive(Debug, Default)]
pub(crate) struct History {
    records: Vec<Vec<u8>>,
    /// Where groups end.
    ends: Vec<Sequence>,
}

impl History {
    pub(crate) fn next(&self) -> Sequence {
        self.records.len() as Sequence
    }

    pub(crate) fn group(&mut self, records: Vec<Vec<u8>>) {
        self.records.extend(records);
        self.ends.push(self.next());
    }

    /// Forgets what comes after `next`.
    pub(crate) fn truncate(&mut self, next: Sequence) {
        self.records.truncate(usize::try_from(next).unwrap());
        self.ends.retain(|&end| end <= next);
    }

    pub(crate) fn is_between_groups(&self, sequence: Sequence) -> bool {
        sequence == 0 || self.ends.contains(&sequence)
    }

    /// The records from `from` on.
    pub(crate) fn since(&self, from: Sequence) -> &[Vec<u8>] {
        &self.records[usize::try_from(from).unwrap()..]
    }

    /// What keys hold after the first `sequence` records.
    pub(crate) fn values(&self, sequence: Sequence) -> Values {
        let mut values = Values::new();
        for record in &self.records[..usize::try_from(sequence).unwrap()] {
            apply(&mut values, record);
        }
        values
    }
}
