//! Comma-separated values: a key a line, and, if there are more columns, its time, size and TTL.
//!
//! What a column is, is said by the caller, else by the first line if it names one of its columns
//! `key`, else by the number of columns: one is the key; three are time, key, size; four end with
//! the TTL. Keys are any text in UTF-8. Times are seconds of any epoch, and may have a fraction, which is
//! cut off; a size of 0 is read as 1. A line without fields is skipped.

use super::{Feed, Request, Sink, TraceError, whole};
use csv::{ByteRecord, ReaderBuilder};
use std::io::Read;
use std::str::FromStr;
use thiserror::Error;

/// Later times are no times.
const MOST_SECONDS: u64 = 1_000_000_000_000_000;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// What is asked for.
    Key,
    /// Seconds.
    Time,
    /// Bytes.
    Size,
    /// Seconds that it may be cached for.
    Ttl,
    /// Something else.
    Other,
}

impl Column {
    fn of(name: &str) -> Self {
        match name.trim().to_ascii_lowercase().as_str() {
            "key" | "id" | "obj_id" | "object" | "lbn" | "lba" | "url" => Self::Key,
            "time" | "time_s" | "timestamp" | "clock_time" => Self::Time,
            "size" | "obj_size" | "bytes" => Self::Size,
            "ttl" | "ttl_s" => Self::Ttl,
            _ => Self::Other,
        }
    }
}

/// What each column holds, from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Column>);

/// Why a list of column names is no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{names:?} must name one column \"key\", and \"time\", \"size\" and \"ttl\" once at most")]
pub struct ColumnError {
    /// The list.
    names: String,
}

impl FromStr for Columns {
    type Err = ColumnError;

    /// Reads names with commas in between; a name that means nothing skips its column.
    fn from_str(names: &str) -> Result<Self, ColumnError> {
        Self::named(names.split(',')).ok_or_else(|| ColumnError {
            names: names.to_owned(),
        })
    }
}

impl Columns {
    fn named<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let columns: Vec<_> = names.map(Column::of).collect();
        let count = |wanted| columns.iter().filter(|&&column| column == wanted).count();
        let right = count(Column::Key) == 1
            && [Column::Time, Column::Size, Column::Ttl]
                .into_iter()
                .all(|each| count(each) <= 1);
        right.then_some(Self(columns))
    }

    fn of_first_line(record: &ByteRecord) -> Option<Self> {
        let names: Option<Vec<_>> = record
            .iter()
            .map(|name| str::from_utf8(name).ok())
            .collect();
        Self::named(names?.into_iter())
    }

    fn by_number(columns: usize) -> Option<Self> {
        const ALL: [Column; 4] = [Column::Time, Column::Key, Column::Size, Column::Ttl];
        match columns {
            1 => Some(Self(vec![Column::Key])),
            3 | 4 => Some(Self(ALL[..columns].to_vec())),
            _ => None,
        }
    }
}

/// Reads a whole trace. `columns` overrides what the first line and the number of columns say;
/// the first line is skipped all the same if it names a column `key`.
pub fn read_csv(input: impl Read, columns: Option<&Columns>) -> Result<Vec<Request>, TraceError> {
    whole(|to| feed(input, columns, to))
}

pub(super) fn feed<S: Sink>(
    input: impl Read,
    columns: Option<&Columns>,
    feed: &mut Feed<'_, S>,
) -> Result<(), TraceError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(input);
    let mut columns = columns.cloned();
    let mut record = ByteRecord::new();
    let mut first = true;
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| failure(error, feed.requests))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |reason| TraceError::Line { line, reason };
        let names = if std::mem::take(&mut first) {
            Columns::of_first_line(&record)
        } else {
            None
        };
        if names.is_some() {
            columns = columns.or(names);
            continue;
        }
        if columns.is_none() {
            columns = Columns::by_number(record.len());
        }
        let Columns(columns) = columns
            .as_ref()
            .ok_or_else(|| wrong("it does not tell which column is the key: name the columns"))?;
        let request = parse(&record, columns, feed).map_err(wrong)?;
        feed.take(request);
    }
    Ok(())
}

fn failure(error: csv::Error, requests: u64) -> TraceError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(error) => TraceError::reading(error, requests),
        _ => TraceError::Line {
            line,
            reason: "it is not comma-separated values",
        },
    }
}

fn parse<S: Sink>(
    record: &ByteRecord,
    columns: &[Column],
    feed: &mut Feed<'_, S>,
) -> Result<Request, &'static str> {
    if record.len() != columns.len() {
        return Err("it has more or fewer columns than expected");
    }
    // Most are, and all fields at once are looked at in less time than each of them.
    let is_text = |field| str::from_utf8(field).is_ok();
    if !record.as_slice().is_ascii() && !record.iter().all(is_text) {
        return Err("it is not UTF-8 text");
    }
    let mut request = Request {
        key: 0,
        time_s: feed.made_up_s(),
        size: 1,
        ttl_s: 0,
    };
    for (column, field) in columns.iter().zip(record) {
        match column {
            Column::Key => request.key = feed.sink.text(field),
            Column::Time => {
                let time_s = whole_seconds(field).ok_or("its time is not a number of seconds")?;
                let since = feed.since_start(time_s);
                request.time_s = since.ok_or("its time is before that of the line before it")?;
            }
            Column::Size => {
                let size: Option<u32> = number(field);
                request.size = size.ok_or("its size is not a number below 2^32")?.max(1);
            }
            Column::Ttl => {
                request.ttl_s = number(field).ok_or("its TTL is not a number of seconds")?;
            }
            Column::Other => {}
        }
    }
    Ok(request)
}

fn number<N: FromStr>(field: &[u8]) -> Option<N> {
    str::from_utf8(field).ok()?.trim().parse().ok()
}

fn whole_seconds(field: &[u8]) -> Option<u64> {
    if let Some(seconds) = number(field).filter(|&seconds| seconds < MOST_SECONDS) {
        return Some(seconds);
    }
    let seconds: f64 = number(field)?;
    (0.0..MOST_SECONDS as f64)
        .contains(&seconds)
        .then_some(seconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: u64, time_s: u32, size: u32, ttl_s: u32) -> Request {
        Request {
            key,
            time_s,
            size,
            ttl_s,
        }
    }

    fn read(text: &str) -> Result<Vec<Request>, TraceError> {
        read_csv(text.as_bytes(), None)
    }

    fn wrong_line(text: &str) -> u64 {
        match read(text) {
            Err(TraceError::Line { line, .. }) => line,
            other => panic!("read as {other:?}"),
        }
    }

    #[test]
    fn one_column_is_the_key() {
        let expected = [
            request(0, 0, 1, 0),
            request(1, 0, 1, 0),
            request(0, 0, 1, 0),
        ];
        assert_eq!(read("/a\n/b?x=1\n/a").unwrap(), expected);
        assert_eq!(
            read("key\r\n\r\n/a\r\n\"/b,c\"\r\n/a\r\n").unwrap(),
            expected
        );
    }

    #[test]
    fn columns_are_told_by_number_or_by_name() {
        let expected = [request(0, 0, 10, 0), request(1, 2, 1, 0)];
        assert_eq!(read("1000.5,a,10\n1002,b,0\n").unwrap(), expected);
        assert_eq!(
            read("op,size,key,time\nGET,10,a,7\nGET,0,b,9\n").unwrap(),
            expected
        );
        assert_eq!(read("7,a,10,60\n").unwrap(), [request(0, 0, 10, 60)]);
    }

    #[test]
    fn the_caller_can_name_the_columns() {
        let columns = "key,size".parse().unwrap();
        let expected = [request(0, 0, 5, 0)];
        assert_eq!(read_csv(&b"a,5\n"[..], Some(&columns)).unwrap(), expected);
        assert_eq!(
            read_csv(&b"id,bytes\na,5\n"[..], Some(&columns)).unwrap(),
            expected
        );
        assert!("time,size".parse::<Columns>().is_err(), "no key");
        assert!("key,id".parse::<Columns>().is_err(), "two keys");
    }

    #[test]
    fn what_makes_no_sense_is_told_by_its_line() {
        assert_eq!(wrong_line("a,5\n"), 1, "two columns without names");
        assert_eq!(wrong_line("1,a,1\n1,a\n"), 2, "a column is missing");
        assert_eq!(wrong_line("1,a,1\nx,a,1\n"), 2, "no time");
        assert_eq!(wrong_line("1,a,1\n1,a,-1\n"), 2, "no size");
        assert_eq!(wrong_line("1,a,1\n1,a,4294967296\n"), 2, "too large a size");
        assert_eq!(wrong_line("1,a,1,1\n1,a,1,x\n"), 2, "no TTL");
        assert_eq!(wrong_line("5,a,1\n4,a,1\n"), 2, "time runs backwards");
        assert_eq!(wrong_line("NaN,a,1\n"), 1, "no time");
        let binary = read_csv(&b"a\nb\xFF\n"[..], None);
        assert!(matches!(binary, Err(TraceError::Line { line: 2, .. })));
    }

    #[test]
    fn an_empty_file_is_an_empty_trace() {
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("key\n").unwrap(), []);
    }
}
