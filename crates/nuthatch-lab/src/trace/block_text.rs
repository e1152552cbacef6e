//! Text formats of the traces that the ARC and LIRS papers were measured on: lists of disk blocks.
//!
//! *ARC* (`.lis`): four numbers a line, of which the first two count: the first block asked for,
//! and how many blocks from there on. Each block is a request. *LIRS* (`.trc`): one block a line;
//! lines that begin with `*` mark phases and say nothing about blocks. Both skip blank lines.

use super::{Feed, Request, Sink, TraceError, whole};
use std::io::BufRead;

/// More blocks than any line of the published traces asks for; a line that asks for more is
/// damaged, and must not fill the memory.
const MAX_BLOCKS: u64 = 1 << 14;

/// Reads a whole trace in the text format of the ARC paper's traces.
pub fn read_arc(input: impl BufRead) -> Result<Vec<Request>, TraceError> {
    whole(|feed| feed_arc(input, feed))
}

pub(super) fn feed_arc<S: Sink>(
    input: impl BufRead,
    feed: &mut Feed<'_, S>,
) -> Result<(), TraceError> {
    feed_lines(input, feed, |words, feed| {
        let [first, blocks, rest @ ..] = words else {
            return Err("a line holds four numbers");
        };
        if rest.len() > 2 {
            return Err("a line holds four numbers");
        }
        let first = number(first)?;
        let blocks = number(blocks)?;
        if blocks > MAX_BLOCKS {
            return Err("a line asks for at most 16,384 blocks");
        }
        let end = first
            .checked_add(blocks)
            .ok_or("a block's number is too large")?;
        (first..end).for_each(|block| feed.key(block));
        Ok(())
    })
}

/// Reads a whole trace in the text format of the LIRS paper's traces.
pub fn read_lirs(input: impl BufRead) -> Result<Vec<Request>, TraceError> {
    whole(|feed| feed_lirs(input, feed))
}

pub(super) fn feed_lirs<S: Sink>(
    input: impl BufRead,
    feed: &mut Feed<'_, S>,
) -> Result<(), TraceError> {
    feed_lines(input, feed, |words, feed| match words {
        [mark, ..] if mark.starts_with('*') => Ok(()),
        [block] => {
            feed.key(number(block)?);
            Ok(())
        }
        _ => Err("a line holds one number"),
    })
}

fn number(word: &str) -> Result<u64, &'static str> {
    word.parse().map_err(|_| "a block is a whole number")
}

/// Hands the words of each line that has any to `take`.
fn feed_lines<S: Sink>(
    input: impl BufRead,
    feed: &mut Feed<'_, S>,
    mut take: impl FnMut(&[&str], &mut Feed<'_, S>) -> Result<(), &'static str>,
) -> Result<(), TraceError> {
    for (line, bytes) in (1..).zip(input.split(b'\n')) {
        let bytes = bytes.map_err(|error| TraceError::reading(error, feed.requests))?;
        let wrong = |reason| TraceError::Line { line, reason };
        let text = str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8 text"))?;
        let words: Vec<_> = text.split_whitespace().collect();
        if !words.is_empty() {
            take(&words, feed).map_err(wrong)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(requests: Result<Vec<Request>, TraceError>) -> Vec<u64> {
        requests
            .unwrap()
            .iter()
            .map(|request| request.key)
            .collect()
    }

    fn wrong_line(requests: Result<Vec<Request>, TraceError>) -> (u64, &'static str) {
        match requests {
            Err(TraceError::Line { line, reason }) => (line, reason),
            other => panic!("read as {other:?}"),
        }
    }

    #[test]
    fn a_line_of_the_arc_format_asks_for_a_run_of_blocks() {
        let text = b"100 3 0 0\n\n102 2 0 1\r\n100 1 0 2";
        assert_eq!(keys(read_arc(&text[..])), [0, 1, 2, 2, 3, 0]);
    }

    #[test]
    fn a_line_of_the_lirs_format_asks_for_one_block() {
        assert_eq!(keys(read_lirs(&b"7\n*\n8\n\n7\n* end\n"[..])), [0, 1, 0]);
    }

    #[test]
    fn text_of_another_format_is_told_by_its_line() {
        assert_eq!(
            wrong_line(read_arc(&b"1 1 0 0\n2\n"[..])),
            (2, "a line holds four numbers")
        );
        assert_eq!(wrong_line(read_arc(&b"1 1 0 0 9\n"[..])).0, 1);
        assert_eq!(
            wrong_line(read_arc(&b"a b c d\n"[..])),
            (1, "a block is a whole number")
        );
        assert_eq!(
            wrong_line(read_lirs(&b"1\n\n1 2\n"[..])),
            (3, "a line holds one number")
        );
        assert_eq!(
            wrong_line(read_lirs(&b"-1\n"[..])),
            (1, "a block is a whole number")
        );
        assert_eq!(
            wrong_line(read_lirs(&b"1\n\xFF\n"[..])),
            (2, "it is not UTF-8 text")
        );
    }

    #[test]
    fn a_run_of_absurd_length_is_refused() {
        assert_eq!(wrong_line(read_arc(&b"0 4294967295 0 0\n"[..])).0, 1);
        assert_eq!(
            wrong_line(read_arc(&b"18446744073709551615 2 0 0\n"[..])).0,
            1
        );
    }
}
