//! libCacheSim's `oracleGeneral` format: 24-byte little-endian records, without a header.
//!
//! | offset | type | field                                                                     |
//! | -----: | ---- | -------------------------------------------------------------------------- |
//! |      0 | u32  | seconds, of any epoch                                                      |
//! |      4 | u64  | object                                                                     |
//! |     12 | u32  | bytes; 0 is read as 1                                                      |
//! |     16 | i64  | position of the object's next request, from 1; negative or the greatest i64 for none |
//!
//! The next request's position is only used to notice files of another format, in which it would
//! lie in the past.

use super::{Feed, Request, Sink, TraceError, whole};
use std::io::{self, Read};

const RECORD_BYTES: usize = 24;

/// Reads a whole trace, not compressed.
pub fn read_oracle_general(input: impl Read) -> Result<Vec<Request>, TraceError> {
    whole(|to| feed(input, to))
}

pub(super) fn feed<S: Sink>(
    mut input: impl Read,
    feed: &mut Feed<'_, S>,
) -> Result<(), TraceError> {
    let mut record = [0; RECORD_BYTES];
    while read_record(&mut input, &mut record)
        .map_err(|error| TraceError::reading(error, feed.requests))?
    {
        let request = parse(&record, feed)?;
        feed.take(request);
    }
    Ok(())
}

/// Fills `record`; whether there was one more.
fn read_record(input: &mut impl Read, record: &mut [u8; RECORD_BYTES]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < RECORD_BYTES {
        match input.read(&mut record[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn parse<S: Sink>(
    record: &[u8; RECORD_BYTES],
    feed: &mut Feed<'_, S>,
) -> Result<Request, TraceError> {
    let u32_at = |at: usize| u32::from_le_bytes(*record[at..].first_chunk().expect("in bounds"));
    let object = u64::from_le_bytes(*record[4..].first_chunk().expect("in bounds"));
    let next = i64::from_le_bytes(*record[16..].first_chunk().expect("in bounds"));
    let index = feed.requests;
    if u64::try_from(next).is_ok_and(|next| next <= index) {
        return Err(TraceError::Malformed {
            index,
            reason: "its object's next request lies in the past",
        });
    }
    let time_s = feed
        .since_start(u64::from(u32_at(0)))
        .ok_or(TraceError::Malformed {
            index,
            reason: "its time is before that of the request before it",
        })?;
    Ok(Request {
        key: feed.sink.number(object),
        time_s,
        size: u32_at(12).max(1),
        ttl_s: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time_s: u32, object: u64, size: u32, next: i64) -> Vec<u8> {
        [
            &time_s.to_le_bytes()[..],
            &object.to_le_bytes(),
            &size.to_le_bytes(),
            &next.to_le_bytes(),
        ]
        .concat()
    }

    #[test]
    fn objects_are_renumbered_and_time_starts_at_zero() {
        let bytes = [
            record(70, 900, 10, 3),
            record(70, 5, 0, -1),
            record(75, 900, 11, i64::MAX),
        ]
        .concat();
        let request = |key, time_s, size| Request {
            key,
            time_s,
            size,
            ttl_s: 0,
        };
        assert_eq!(
            read_oracle_general(bytes.as_slice()).unwrap(),
            [request(0, 0, 10), request(1, 0, 1), request(0, 5, 11)]
        );
    }

    #[test]
    fn a_part_of_a_record_is_a_truncated_trace() {
        let bytes = [record(0, 1, 1, -1), record(0, 2, 1, -1)].concat();
        for len in (25..48).chain(1..24) {
            let error = read_oracle_general(&bytes[..len]).unwrap_err();
            let whole = len as u64 / 24;
            assert!(
                matches!(error, TraceError::Truncated { requests } if requests == whole),
                "{len} bytes: {error}"
            );
        }
    }

    #[test]
    fn records_of_another_format_are_malformed() {
        let past = [record(0, 1, 1, 2), record(0, 1, 1, 1)].concat();
        let backwards = [record(9, 1, 1, -1), record(8, 2, 1, -1)].concat();
        for bytes in [past, backwards] {
            let error = read_oracle_general(bytes.as_slice()).unwrap_err();
            assert!(
                matches!(error, TraceError::Malformed { index: 1, .. }),
                "{error}"
            );
        }
    }
}
