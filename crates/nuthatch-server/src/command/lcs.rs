//! `LCS`: the longest common subsequence of two strings.
//!
//! The textbook's table, row by row. Of the lengths only two rows are kept; what the way back needs of
//! the others is one bit per cell, a 32nd of what Redis keeps. Redis' limit on the table is kept,
//! for it bounds the time as well.

use super::arguments::{Options, integer, is_word};
use super::{Categories, Command, Flags, Group, Keys};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use nuthatch_wire::resp::{Args, Reply};
use std::ops::Range;

pub(super) const COMMANDS: &[Command] = &[Command::new("lcs", -3, lcs)
    .flags(Flags::READONLY)
    .keys(Keys::Range {
        first: 1,
        last: 2,
        step: 1,
    })
    .categories(Categories::STRING)
    .complexity("O(N*M) for strings of N and M bytes")
    .docs(
        Group::String,
        "7.0.0",
        "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        "Returns the longest sequence of bytes that two strings have in common.",
    )];

#[derive(Debug, Default)]
struct LcsOptions {
    len: bool,
    idx: bool,
    min_match_len: i64,
    with_match_len: bool,
}

impl LcsOptions {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut read = Self::default();
        let mut options = Options::new(args, 3);
        while let Some(option) = options.next() {
            if is_word(option, "IDX") {
                read.idx = true;
            } else if is_word(option, "LEN") {
                read.len = true;
            } else if is_word(option, "WITHMATCHLEN") {
                read.with_match_len = true;
            } else if is_word(option, "MINMATCHLEN") {
                read.min_match_len = integer(options.value()?)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if read.len && read.idx {
            return Err("ERR If you want both the length and indexes, please just use IDX.".into());
        }
        Ok(read)
    }
}

fn lcs(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let string = |key| {
        let found = ctx.read_string(key, <[u8]>::to_vec);
        let found = found.map_err(|_| "ERR The specified keys must contain string values")?;
        Ok::<_, CommandError>(found.unwrap_or_default())
    };
    let (a, b) = (string(args.at(1))?, string(args.at(2))?);
    let options = LcsOptions::read(args)?;
    let max = ctx.config.proto_max_bulk_len.0;
    let cells = (a.len() as u64 + 1) * (b.len() as u64 + 1);
    if cells.saturating_mul(4) > max {
        return Err(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len".into(),
        );
    }
    let table = Table::of(&a, &b);
    if options.idx {
        write_matches(ctx.reply, &table, &options);
    } else if options.len {
        ctx.reply.integer(table.len() as i64);
    } else {
        ctx.reply.bulk(&table.subsequence());
    }
    Ok(())
}

fn write_matches(reply: &mut Reply, table: &Table<'_>, options: &LcsOptions) {
    let mut matches = table.matches();
    matches.retain(|found| found.a.len() as i64 >= options.min_match_len);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.len());
    for found in matches {
        reply.array(2 + usize::from(options.with_match_len));
        for range in [&found.a, &found.b] {
            reply.array(2);
            reply.integer(range.start as i64);
            reply.integer(range.end as i64 - 1);
        }
        if options.with_match_len {
            reply.integer(found.a.len() as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(table.len() as i64);
}

/// Bytes of both strings that follow one another in both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Match {
    a: Range<usize>,
    b: Range<usize>,
}

/// What is known of all pairs of beginnings of two strings.
#[derive(Debug)]
struct Table<'s> {
    a: &'s [u8],
    b: &'s [u8],
    len: u32,
    /// For each cell, a row for each byte of `a`: whether leaving off the last byte of `a` leaves more in
    /// common than leaving off that of `b`.
    prefers_shorter_a: Vec<u64>,
}

impl<'s> Table<'s> {
    fn of(a: &'s [u8], b: &'s [u8]) -> Self {
        let mut prefers_shorter_a = vec![0_u64; (a.len() * b.len()).div_ceil(64)];
        let mut above = vec![0_u32; b.len() + 1];
        let mut row = above.clone();
        for (i, &from_a) in a.iter().enumerate() {
            for (j, &from_b) in b.iter().enumerate() {
                row[j + 1] = if from_a == from_b {
                    above[j] + 1
                } else {
                    let (shorter_a, shorter_b) = (above[j + 1], row[j]);
                    if shorter_a > shorter_b {
                        let cell = i * b.len() + j;
                        prefers_shorter_a[cell / 64] |= 1 << (cell % 64);
                    }
                    shorter_a.max(shorter_b)
                };
            }
            std::mem::swap(&mut above, &mut row);
        }
        Self {
            a,
            b,
            len: above[b.len()],
            prefers_shorter_a,
        }
    }

    fn len(&self) -> usize {
        self.len as usize
    }

    /// The places of the bytes in common, from the last to the first.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if self.a[i - 1] == self.b[j - 1] {
                    (i, j) = (i - 1, j - 1);
                    return Some((i, j));
                }
                let cell = (i - 1) * self.b.len() + (j - 1);
                if self.prefers_shorter_a[cell / 64] & 1 << (cell % 64) == 0 {
                    j -= 1;
                } else {
                    i -= 1;
                }
            }
            None
        })
    }

    fn subsequence(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.places().map(|(i, _)| self.a[i]).collect();
        bytes.reverse();
        bytes
    }

    /// Places that follow one another in both, joined; from the last to the first.
    fn matches(&self) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        for (i, j) in self.places() {
            match matches.last_mut() {
                Some(last) if last.a.start == i + 1 && last.b.start == j + 1 => {
                    (last.a.start, last.b.start) = (i, j);
                }
                _ => matches.push(Match {
                    a: i..i + 1,
                    b: j..j + 1,
                }),
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::{Match, Table};
    use fastrand::Rng;

    /// The length by its definition, without a table.
    fn plain_len(a: &[u8], b: &[u8]) -> usize {
        match (a, b) {
            ([], _) | (_, []) => 0,
            ([x, a @ ..], [y, b @ ..]) if x == y => 1 + plain_len(a, b),
            ([_, shorter_a @ ..], [_, shorter_b @ ..]) => {
                plain_len(shorter_a, b).max(plain_len(a, shorter_b))
            }
        }
    }

    #[test]
    fn the_subsequence_is_the_longest_and_its_matches_make_it_up() {
        let mut random = Rng::with_seed(7);
        for _ in 0..300 {
            let mut string = |most| -> Vec<u8> {
                let len = random.usize(0..=most);
                (0..len).map(|_| random.u8(b'a'..=b'd')).collect()
            };
            let (a, b) = (string(12), string(10));
            let table = Table::of(&a, &b);
            let found = table.subsequence();
            assert_eq!(found.len(), table.len());
            assert_eq!(found.len(), plain_len(&a, &b), "{a:?} {b:?}");
            let mut joined = (Vec::new(), Vec::new());
            let mut end = (0, 0);
            for Match { a: in_a, b: in_b } in table.matches().into_iter().rev() {
                assert!(in_a.start >= end.0 && in_b.start >= end.1, "in order");
                end = (in_a.end, in_b.end);
                joined.0.extend_from_slice(&a[in_a]);
                joined.1.extend_from_slice(&b[in_b]);
            }
            assert_eq!(joined, (found.clone(), found));
        }
    }

    #[test]
    fn of_equally_long_ones_the_choice_is_that_of_redis() {
        let table = Table::of(b"ohmytext", b"mynewtext");
        assert_eq!(table.subsequence(), b"mytext");
        let matches = [(4..8, 5..9), (2..4, 0..2)].map(|(a, b)| Match { a, b });
        assert_eq!(table.matches(), matches);
        assert_eq!(Table::of(b"ab", b"ba").subsequence(), b"b");
    }
}
