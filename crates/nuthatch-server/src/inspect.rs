//! What the files of a data directory hold, as lines to read: headers, frames or blocks, and their records.
//!
//! Nothing is claimed, and nothing written: also the directory of a running server can be looked at, whose last
//! file may then end in the middle of what is being written. Keys and values are escaped, so that no byte of them
//! reaches a terminal as more than a letter.

use nuthatch_storage::disk::Disk;
use nuthatch_storage::log::{Reading, SegmentReader};
use nuthatch_storage::record::{Field, Record, Stamp};
use nuthatch_storage::snapshot::{SnapshotPart, SnapshotReader};
use nuthatch_storage::{FileKind, Sequence, StorageError};
use std::fmt;
use std::io::{self, Write};

/// Bytes of a value, and fields of a hash, that are shown.
const SHOWN_BYTES: usize = 64;
const SHOWN_FIELDS: usize = 8;

/// What is to be shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// Only the keys of records, one a line.
    pub keys_only: bool,
    /// So many records, of all files together; `None` for all.
    pub limit: Option<u64>,
}

/// Why not all was shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file is at fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Whoever is shown it has gone away.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Shows a file.
pub fn inspect(
    disk: &dyn Disk,
    kind: FileKind,
    at: Sequence,
    detail: &mut Detail,
    out: &mut impl Write,
) -> Result<(), InspectError> {
    match kind {
        FileKind::Snapshot => snapshot(disk, at, detail, out),
        FileKind::Segment => segment(disk, at, detail, out),
    }
}

fn snapshot(
    disk: &dyn Disk,
    at: Sequence,
    detail: &mut Detail,
    out: &mut impl Write,
) -> Result<(), InspectError> {
    let mut reader = SnapshotReader::open(disk, at)?;
    if !detail.keys_only {
        let (file, begun) = (reader.file(), Time(reader.time_ms()));
        writeln!(out, "{file}: snapshot begun at record {at}, {begun}")?;
    }
    while detail.limit != Some(0) {
        let start = reader.offset();
        match reader.read()? {
            SnapshotPart::Records(bytes) => {
                if !detail.keys_only {
                    writeln!(out, "  block at byte {start}: {} bytes", bytes.len())?;
                }
                records(reader.file(), start, &bytes, detail, out)?;
            }
            SnapshotPart::End { until, records } => {
                if !detail.keys_only {
                    writeln!(
                        out,
                        "  end at byte {start}: {records} records; needs the log up to record {until}"
                    )?;
                }
                break;
            }
        }
    }
    Ok(())
}

fn segment(
    disk: &dyn Disk,
    first: Sequence,
    detail: &mut Detail,
    out: &mut impl Write,
) -> Result<(), InspectError> {
    let mut reader = SegmentReader::open(disk, first)?;
    let header = *reader.header();
    if !detail.keys_only {
        let anew = match header.begins_anew {
            true => ", begins anew",
            false => "",
        };
        let (file, created) = (reader.file(), Time(header.created_ms));
        writeln!(
            out,
            "{file}: log from record {first}{anew}, created {created}, {} bytes",
            reader.len()
        )?;
    }
    let mut bytes = Vec::new();
    while detail.limit != Some(0) {
        let start = reader.offset();
        bytes.clear();
        match reader.read(&mut bytes)? {
            Reading::Frame(frame) => {
                if !detail.keys_only {
                    let kind = match (frame.is_seal, frame.goes_on) {
                        (true, _) => "seal",
                        (false, true) => "frame that goes on",
                        (false, false) => "frame",
                    };
                    writeln!(
                        out,
                        "  {kind} at byte {start}: {} records from {}, {} bytes, {}, synced to byte {}",
                        frame.count,
                        frame.first,
                        frame.length,
                        Time(frame.time_ms),
                        frame.synced_bytes
                    )?;
                }
                records(reader.file(), start, &bytes, detail, out)?;
            }
            Reading::End => {
                if !detail.keys_only {
                    writeln!(out, "  end at byte {start}")?;
                }
                break;
            }
            Reading::Invalid => {
                return Err(InspectError::Storage(StorageError::Damaged {
                    file: reader.file().to_owned(),
                    offset: start,
                    what: "what follows is no frame of this log, and may be the end that a crash has torn",
                }));
            }
        }
    }
    Ok(())
}

fn records(
    file: &str,
    offset: u64,
    mut bytes: &[u8],
    detail: &mut Detail,
    out: &mut impl Write,
) -> Result<(), InspectError> {
    while !bytes.is_empty() && detail.limit != Some(0) {
        let record = Record::take(&mut bytes).map_err(|error| StorageError::Damaged {
            file: file.to_owned(),
            offset,
            what: error.what,
        })?;
        match record.key() {
            _ if !detail.keys_only => writeln!(out, "    {}", Line(&record))?,
            Some(key) => writeln!(out, "{}", Quoted(key))?,
            None => {}
        }
        detail.limit = detail.limit.map(|limit| limit - 1);
    }
    Ok(())
}

/// A record as a line.
struct Line<'a>(&'a Record<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = match *self.0 {
            Record::Put {
                key,
                value,
                is_changed,
                deadline_ms,
            } => {
                let changed = if is_changed { " (changed in part)" } else { "" };
                write!(f, "put {} = {}{changed}", Quoted(key), Shortened(value))?;
                deadline_ms
            }
            Record::PutStamped {
                key,
                value,
                stamp,
                deadline_ms,
            } => {
                write!(f, "put {} = {}, ", Quoted(key), Shortened(value))?;
                write_stamp(f, stamp)?;
                deadline_ms
            }
            Record::PutHash {
                key,
                fields,
                deadline_ms,
            } => {
                write!(f, "put hash {} = ", Quoted(key))?;
                write_fields(f, fields.iter())?;
                deadline_ms
            }
            Record::HashSet { key, fields } => {
                write!(f, "set in hash {}: ", Quoted(key))?;
                return write_fields(f, fields.iter());
            }
            Record::HashDelete { key, names } => {
                write!(f, "delete from hash {}: ", Quoted(key))?;
                return write_names(f, names.iter());
            }
            Record::HashExpire {
                key,
                names,
                deadline_ms,
            } => {
                write!(f, "expire in hash {}: ", Quoted(key))?;
                write_names(f, names.iter())?;
                return write_when(f, deadline_ms);
            }
            Record::Delete { key } => return write!(f, "delete {}", Quoted(key)),
            Record::Expire { key, deadline_ms } => {
                write!(f, "expire {}", Quoted(key))?;
                return write_when(f, deadline_ms);
            }
            Record::Clear => return f.write_str("clear: delete all keys"),
        };
        match deadline {
            None => Ok(()),
            Some(ms) => write!(f, ", expires {}", Time(ms)),
        }
    }
}

fn write_when(f: &mut fmt::Formatter<'_>, deadline_ms: Option<u64>) -> fmt::Result {
    match deadline_ms {
        None => f.write_str(", never"),
        Some(ms) => write!(f, ", {}", Time(ms)),
    }
}

fn write_stamp(f: &mut fmt::Formatter<'_>, stamp: Stamp) -> fmt::Result {
    write!(f, "cas {}, flags {}", stamp.cas, stamp.flags)?;
    if stamp.is_stale {
        f.write_str(", stale")?;
    }
    if stamp.is_claimed {
        f.write_str(", claimed")?;
    }
    match stamp.accessed_s {
        None => Ok(()),
        Some(seconds) => write!(f, ", accessed {}", Time(u64::from(seconds) * 1_000)),
    }
}

fn write_fields<'a>(
    f: &mut fmt::Formatter<'_>,
    fields: impl Iterator<Item = Field<'a>>,
) -> fmt::Result {
    write_list(f, fields, |f, field| {
        write!(f, "{}: {}", Shortened(field.name), Shortened(field.value))?;
        match field.deadline_ms {
            None => Ok(()),
            Some(ms) => write!(f, " until {}", Time(ms)),
        }
    })
}

fn write_names<'a>(
    f: &mut fmt::Formatter<'_>,
    names: impl Iterator<Item = &'a [u8]>,
) -> fmt::Result {
    write_list(f, names, |f, name| write!(f, "{}", Shortened(name)))
}

fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    mut list: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("{")?;
    for (index, element) in list.by_ref().take(SHOWN_FIELDS).enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(f, element)?;
    }
    match list.count() {
        0 => f.write_str("}"),
        more => write!(f, ", .. {more} more}}"),
    }
}

/// Bytes in quotes, with all that is no printable ASCII escaped.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The beginning of a value, and how long it is if that is not all.
struct Shortened<'a>(&'a [u8]);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_BYTES) {
            Some(shown) if shown.len() < self.0.len() => {
                write!(f, "{}.. ({} bytes)", Quoted(shown), self.0.len())
            }
            _ => write!(f, "{}", Quoted(self.0)),
        }
    }
}

/// A time as date and hour in UTC, from milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0 / 1_000, self.0 % 1_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // In years that begin in March a leap day is the last day. Eras are of 400 years, from March of year 0.
        let day = days + 719_468;
        let (era, day) = (day / 146_097, day % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next_year) = match month {
            0..10 => (month + 3, 0),
            _ => (month - 9, 1),
        };
        let year = 400 * era + year + next_year;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Shortened, Time};
    use nuthatch_storage::record::{Field, Record, RecordWriter, Stamp};

    #[test]
    fn times_are_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_704_067_199_000, "2023-12-31T23:59:59.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Time(ms).to_string(), text);
        }
        assert!(Time(u64::MAX).to_string().ends_with('Z'));
    }

    #[test]
    fn records_are_lines_without_a_byte_that_is_no_letter() {
        let mut bytes = Vec::new();
        let mut writer = RecordWriter::new(&mut bytes);
        let field = |name: &'static [u8], deadline_ms| Field {
            name,
            value: b"v\n",
            deadline_ms,
        };
        let stamp = Stamp {
            cas: 7,
            flags: 3,
            is_stale: true,
            is_claimed: true,
            accessed_s: Some(60),
        };
        writer.put(b"k\x1b[0m", &[b"\"v\""], true, Some(1_000));
        writer.put_stamped(b"k", &[b"v"], stamp, None);
        let many = std::iter::repeat_n(field(b"f", None), 10);
        writer.put_hash(b"k", many, Some(2_000));
        writer.hash_set(b"k", [field(b"f", Some(3_000))].into_iter());
        writer.hash_delete(b"k", &[b"a", b"b"]);
        writer.hash_expire(b"k", &[b"a"], None);
        writer.delete(b"k");
        writer.expire(b"k", Some(4_000));
        writer.clear();
        let mut lines = Vec::new();
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let record = Record::take(&mut rest).expect("a record");
            lines.push(Line(&record).to_string());
        }
        let field = r#""f": "v\n""#;
        let expected = [
            r#"put "k\x1b[0m" = "\"v\"" (changed in part), expires 1970-01-01T00:00:01.000Z"#,
            r#"put "k" = "v", cas 7, flags 3, stale, claimed, accessed 1970-01-01T00:01:00.000Z"#,
            &format!(
                "put hash \"k\" = {{{}, .. 2 more}}, expires 1970-01-01T00:00:02.000Z",
                [field; 8].join(", ")
            ),
            r#"set in hash "k": {"f": "v\n" until 1970-01-01T00:00:03.000Z}"#,
            r#"delete from hash "k": {"a", "b"}"#,
            r#"expire in hash "k": {"a"}, never"#,
            r#"delete "k""#,
            r#"expire "k", 1970-01-01T00:00:04.000Z"#,
            "clear: delete all keys",
        ];
        assert_eq!(lines, expected);
        let long = Shortened(&[b'x'; 100]).to_string();
        assert_eq!(long, format!("\"{}\".. (100 bytes)", "x".repeat(64)));
    }
}
