//! `BITOP`: strings combined bit by bit.

use crate::command::is_word;
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use nuthatch_wire::resp::Args;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    Diff,
    Diff1,
    AndOr,
    One,
}

impl Operation {
    const NAMES: [(&'static str, Self); 8] = [
        ("AND", Self::And),
        ("OR", Self::Or),
        ("XOR", Self::Xor),
        ("NOT", Self::Not),
        ("DIFF", Self::Diff),
        ("DIFF1", Self::Diff1),
        ("ANDOR", Self::AndOr),
        ("ONE", Self::One),
    ];

    /// The operation of this name, if it works on so many strings.
    fn read(name: &[u8], sources: usize) -> Result<Self, CommandError> {
        let found = Self::NAMES.iter().find(|(word, _)| is_word(name, word));
        let &(word, operation) = found.ok_or(CommandError::Syntax)?;
        match operation {
            Self::Not if sources != 1 => {
                Err("ERR BITOP NOT must be called with a single source key.".into())
            }
            Self::Diff | Self::Diff1 | Self::AndOr if sources < 2 => Err(format!(
                "ERR BITOP {word} must be called with at least two source keys."
            )
            .into()),
            _ => Ok(operation),
        }
    }
}

/// Strings combined one after another; each is as if it went on with zeros to the length of the
/// longest.
#[derive(Debug)]
struct Combination {
    operation: Operation,
    sources: usize,
    result: Vec<u8>,
    /// The first string, where the others are combined apart from it.
    first: Vec<u8>,
    /// Bits that more than one string has set, for [`Operation::One`].
    repeated: Vec<u8>,
}

impl Combination {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            sources: 0,
            result: Vec::new(),
            first: Vec::new(),
            repeated: Vec::new(),
        }
    }

    fn add(&mut self, string: &[u8]) {
        self.sources += 1;
        let keeps_first = matches!(
            self.operation,
            Operation::Diff | Operation::Diff1 | Operation::AndOr
        );
        if self.sources == 1 && keeps_first {
            string.clone_into(&mut self.first);
            return;
        }
        if self.sources == 1 {
            string.clone_into(&mut self.result);
            return;
        }
        let common = self.result.len().min(string.len());
        if self.result.len() < string.len() {
            self.result.resize(string.len(), 0);
        }
        let pairs = || string.iter().enumerate();
        match self.operation {
            Operation::And => {
                for (byte, other) in self.result.iter_mut().zip(string) {
                    *byte &= other;
                }
                self.result[common..].fill(0);
            }
            Operation::Or | Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                for (byte, other) in self.result.iter_mut().zip(string) {
                    *byte |= other;
                }
            }
            Operation::Xor => {
                for (byte, other) in self.result.iter_mut().zip(string) {
                    *byte ^= other;
                }
            }
            Operation::One => {
                self.repeated.resize(self.result.len(), 0);
                for (index, other) in pairs() {
                    self.repeated[index] |= self.result[index] & other;
                    self.result[index] |= other;
                }
            }
            Operation::Not => unreachable!("NOT has one source"),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.result.len().max(self.first.len());
        self.result.resize(length, 0);
        self.first.resize(length, 0);
        self.repeated.resize(length, 0);
        let bytes = self.result.iter_mut();
        match self.operation {
            Operation::And | Operation::Or | Operation::Xor => {}
            Operation::Not => bytes.for_each(|byte| *byte = !*byte),
            Operation::Diff => {
                for (byte, first) in bytes.zip(&self.first) {
                    *byte = first & !*byte;
                }
            }
            Operation::Diff1 => {
                for (byte, first) in bytes.zip(&self.first) {
                    *byte &= !first;
                }
            }
            Operation::AndOr => {
                for (byte, first) in bytes.zip(&self.first) {
                    *byte &= first;
                }
            }
            Operation::One => {
                for (byte, repeated) in bytes.zip(&self.repeated) {
                    *byte &= !repeated;
                }
            }
        }
        self.result
    }
}

pub(super) fn bitop(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (name, target, sources) = (args.at(1), args.at(2), args.from(3));
    let mut combination = Combination::new(Operation::read(name, sources.len())?);
    for key in sources.iter() {
        let found = ctx.read_string(key, |string| combination.add(string))?;
        if found.is_none() {
            combination.add(b"");
        }
    }
    let result = combination.finish();
    if result.is_empty() {
        ctx.delete(target, Event::generic("del"))?;
    } else {
        ctx.put(target, &result, None, Event::string("set"))?;
    }
    ctx.reply.integer(result.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Combination, Operation};
    use fastrand::Rng;

    #[test]
    fn every_bit_is_what_the_bits_of_the_sources_say() {
        let mut random = Rng::with_seed(11);
        for _ in 0..2_000 {
            let sources: Vec<Vec<u8>> = (0..random.usize(2..6))
                .map(|_| (0..random.usize(0..5)).map(|_| random.u8(..)).collect())
                .collect();
            let longest = sources.iter().map(Vec::len).max().unwrap();
            for (name, operation) in Operation::NAMES {
                let sources = if operation == Operation::Not {
                    &sources[..1]
                } else {
                    &sources[..]
                };
                let mut combination = Combination::new(operation);
                sources.iter().for_each(|source| combination.add(source));
                let result = combination.finish();
                if operation != Operation::Not {
                    assert_eq!(result.len(), longest, "{name}");
                }
                for bit in 0..8 * result.len() {
                    let set: Vec<bool> = sources
                        .iter()
                        .map(|s| super::super::bit_at(s, bit))
                        .collect();
                    let others = set[1..].contains(&true);
                    let ones = set.iter().filter(|set| **set).count();
                    let expected = match operation {
                        Operation::And => ones == set.len(),
                        Operation::Or => ones > 0,
                        Operation::Xor => ones % 2 == 1,
                        Operation::Not => ones == 0,
                        Operation::Diff => set[0] && !others,
                        Operation::Diff1 => !set[0] && others,
                        Operation::AndOr => set[0] && others,
                        Operation::One => ones == 1,
                    };
                    assert_eq!(
                        super::super::bit_at(&result, bit),
                        expected,
                        "{name} {sources:?}"
                    );
                }
            }
        }
    }
}
