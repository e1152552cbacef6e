//! Moves out: a keyspace as the commands that make it, for `redis-cli --pipe` and whatever else reads requests
//! of Redis' protocol.
//!
//! Every command is final and none answers more than a line. A string becomes `SET`, with `PXAT` if it expires; a
//! hash becomes `HSET`s of some fields each, `PEXPIREAT`, and for fields that expire `HPEXPIREAT`, which
//! Redis has since 7.4 and Valkey since 9. What clients of memcached keep with a string has no words there.

use crate::clock;
use crate::config::{MemoryPolicy, SettingValue};
use crate::durability::{self, LoadError, Status};
use crate::hash::{self, OpenHash};
use crate::keyspace::{Keyspace, View};
use crate::object::Value;
use nuthatch_storage::data_dir::{DataDir, Recovered};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Keys that the scan comes by at a time.
const KEYS_A_STEP: usize = 256;
/// Fields that one command names at most, and bytes of them after which it ends.
const FIELDS_A_COMMAND: u64 = 512;
const BYTES_A_COMMAND: usize = 1 << 20;

/// Everything that a directory holds, which stays as it is.
pub fn recover(data: &DataDir, threads: usize) -> Result<(Keyspace, Recovered), LoadError> {
    let policy = MemoryPolicy::from_text("noeviction").expect("a policy of that name");
    let keyspace = Keyspace::new(threads, u64::MAX, &policy, |_, _| {});
    let keyspace = keyspace.expect("settings that are allowed");
    let loaded = durability::load(&keyspace, data, threads, &Status::default(), &|| true);
    // Loading has made the changes at their own times.
    clock::forget_time();
    Ok((keyspace, loaded?.recovered))
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Keys that hold a string.
    pub strings: u64,
    /// Of these, those that clients of memcached have written: their flags are lost.
    pub stamped: u64,
    /// Keys that hold a hash.
    pub hashes: u64,
    /// The fields of these.
    pub fields: u64,
    /// Commands in all.
    pub commands: u64,
}

/// Writes all keys that exist at `now_ms`.
pub fn export(keyspace: &Keyspace, now_ms: u64, out: &mut impl Write) -> io::Result<Exported> {
    let mut exporter = Exporter {
        out,
        exported: Exported::default(),
    };
    let mut cursor = 0;
    loop {
        let mut written = Ok(());
        cursor = keyspace.scan(cursor, KEYS_A_STEP, |view| {
            if written.is_ok() {
                written = exporter.key(&view, now_ms);
            }
        });
        written?;
        if cursor == 0 {
            break;
        }
    }
    exporter.out.flush()?;
    Ok(exporter.exported)
}

struct Exporter<'a, W> {
    out: &'a mut W,
    exported: Exported,
}

/// Words of a command that are not written yet.
#[derive(Debug, Default)]
struct Words {
    bytes: Vec<u8>,
    count: u64,
}

impl Words {
    fn of(words: &[&[u8]]) -> Self {
        let mut all = Self::default();
        words.iter().for_each(|word| all.push(word));
        all
    }

    fn push(&mut self, word: &[u8]) {
        write_word(&mut self.bytes, word).expect("memory takes all");
        self.count += 1;
    }

    fn is_full(&self, words_a_field: u64) -> bool {
        self.count >= FIELDS_A_COMMAND * words_a_field || self.bytes.len() >= BYTES_A_COMMAND
    }
}

fn write_word(out: &mut impl Write, word: &[u8]) -> io::Result<()> {
    write!(out, "${}\r\n", word.len())?;
    out.write_all(word)?;
    out.write_all(b"\r\n")
}

impl<W: Write> Exporter<'_, W> {
    /// Writes a command of these words, and of those gathered, if there are any.
    fn command(&mut self, words: &[&[u8]], gathered: &mut Words) -> io::Result<()> {
        let count = words.len() as u64 + gathered.count;
        write!(self.out, "*{count}\r\n")?;
        for word in words {
            write_word(self.out, word)?;
        }
        self.out.write_all(&gathered.bytes)?;
        gathered.bytes.clear();
        gathered.count = 0;
        self.exported.commands += 1;
        Ok(())
    }

    fn key(&mut self, view: &View<'_>, now_ms: u64) -> io::Result<()> {
        let key = view.key;
        // The keyspace may have been filled as of an earlier time.
        if !hash::is_live(view.deadline_ms(), now_ms) {
            return Ok(());
        }
        let deadline = view.deadline_ms().map(|ms| ms.to_string());
        match view.value {
            Value::String(string) => {
                self.exported.strings += 1;
                self.exported.stamped += u64::from(view.stamp().is_some());
                let mut end = match &deadline {
                    None => Words::default(),
                    Some(ms) => Words::of(&[b"PXAT", ms.as_bytes()]),
                };
                self.command(&[b"SET", key, string], &mut end)
            }
            Value::Hash(hash) => {
                let is_any = self.hash(key, &hash.open(), now_ms)?;
                match deadline {
                    Some(ms) if is_any => {
                        let words: [&[u8]; 3] = [b"PEXPIREAT", key, ms.as_bytes()];
                        self.command(&words, &mut Words::default())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Writes a hash's fields. Returns whether any of them exists.
    fn hash(&mut self, key: &[u8], hash: &OpenHash<'_>, now_ms: u64) -> io::Result<bool> {
        let mut pairs = Words::default();
        let mut names_by_deadline: BTreeMap<u64, Vec<Words>> = BTreeMap::new();
        let mut fields = 0;
        let mut written = Ok(());
        hash.each_live(now_ms, |field| {
            if written.is_err() {
                return;
            }
            fields += 1;
            pairs.push(field.name);
            pairs.push(field.value);
            if let Some(ms) = field.deadline_ms {
                let names = names_by_deadline.entry(ms).or_default();
                if names.last().is_none_or(|names| names.is_full(1)) {
                    names.push(Words::default());
                }
                names.last_mut().expect("one with room").push(field.name);
            }
            if pairs.is_full(2) {
                written = self.command(&[b"HSET", key], &mut pairs);
            }
        });
        written?;
        if pairs.count > 0 {
            self.command(&[b"HSET", key], &mut pairs)?;
        }
        // The fields are there by now.
        for (ms, commands) in names_by_deadline {
            let ms = ms.to_string();
            for mut names in commands {
                let count = names.count.to_string();
                let words: [&[u8]; 5] = [
                    b"HPEXPIREAT",
                    key,
                    ms.as_bytes(),
                    b"FIELDS",
                    count.as_bytes(),
                ];
                self.command(&words, &mut names)?;
            }
        }
        self.exported.hashes += u64::from(fields > 0);
        self.exported.fields += fields;
        Ok(fields > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Exported, export};
    use crate::config::{MemoryPolicy, SettingValue};
    use crate::hash::FieldView;
    use crate::keyspace::{Effect, Keyspace};
    use crate::stamp::Stamp;

    const LATER_MS: u64 = 4_000_000_000_000;
    const NOW_MS: u64 = 3_999_999_999_000;

    fn keyspace() -> Keyspace {
        let policy = MemoryPolicy::from_text("noeviction").expect("a policy");
        Keyspace::new(1, 1 << 30, &policy, |_, _| {}).expect("a keyspace")
    }

    fn apply(keyspace: &Keyspace, effect: Effect<'_>) {
        keyspace.apply(effect).expect("room");
    }

    fn put(keyspace: &Keyspace, key: &[u8], value: &[u8], deadline_ms: Option<u64>) {
        let parts: &[&[u8]] = &[value];
        apply(
            keyspace,
            Effect::Put {
                key,
                parts,
                deadline_ms,
            },
        );
    }

    fn field<'a>(name: &'a str, value: &'a str, deadline_ms: Option<u64>) -> FieldView<'a> {
        FieldView {
            name: name.as_bytes(),
            value: value.as_bytes(),
            deadline_ms,
        }
    }

    /// The commands, each as its words, in the order of their text.
    fn commands(keyspace: &Keyspace) -> (Vec<Vec<Vec<u8>>>, Exported) {
        let mut out = Vec::new();
        let exported = export(keyspace, NOW_MS, &mut out).expect("memory takes all");
        let (mut commands, mut rest) = (Vec::new(), &*out);
        fn number(rest: &mut &[u8], mark: u8) -> usize {
            let end = rest
                .windows(2)
                .position(|pair| pair == b"\r\n")
                .expect("a line");
            assert_eq!(rest[0], mark);
            let text = std::str::from_utf8(&rest[1..end]).expect("digits");
            *rest = &rest[end + 2..];
            text.parse().expect("a number")
        }
        while !rest.is_empty() {
            let count = number(&mut rest, b'*');
            let word = |_| {
                let length = number(&mut rest, b'$');
                let (word, after) = rest.split_at(length);
                rest = after.strip_prefix(b"\r\n").expect("the end of a word");
                word.to_vec()
            };
            commands.push((0..count).map(word).collect::<Vec<_>>());
        }
        assert_eq!(commands.len() as u64, exported.commands);
        commands.sort();
        (commands, exported)
    }

    fn words(words: &[&[u8]]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.to_vec()).collect()
    }

    #[test]
    fn strings_are_set_with_their_deadlines() {
        let keyspace = keyspace();
        put(&keyspace, b"a", b"1", None);
        put(&keyspace, b"b\r\n", b"\0\r\n\xff", Some(LATER_MS));
        put(&keyspace, b"", b"", None);
        // Over by the time of the export, though not by the clock's.
        put(&keyspace, b"over", b"1", Some(NOW_MS));
        let parts: &[&[u8]] = &[b"of memcached"];
        apply(
            &keyspace,
            Effect::PutStamped {
                key: b"m",
                parts,
                stamp: Stamp {
                    cas: 7,
                    flags: 3,
                    ..Stamp::default()
                },
                deadline_ms: None,
            },
        );
        let (commands, exported) = commands(&keyspace);
        let expected = [
            words(&[b"SET", b"", b""]),
            words(&[b"SET", b"a", b"1"]),
            words(&[b"SET", b"b\r\n", b"\0\r\n\xff", b"PXAT", b"4000000000000"]),
            words(&[b"SET", b"m", b"of memcached"]),
        ];
        assert_eq!(commands, expected);
        assert_eq!(
            (exported.strings, exported.stamped, exported.hashes),
            (4, 1, 0)
        );
    }

    #[test]
    fn hashes_are_set_with_the_deadlines_of_their_fields_and_their_own() {
        let keyspace = keyspace();
        let fields = [
            field("a", "1", None),
            field("b", "2", Some(LATER_MS)),
            field("c", "3", Some(LATER_MS)),
            field("d", "4", Some(LATER_MS + 1)),
            field("e", "5", Some(NOW_MS)),
        ];
        apply(
            &keyspace,
            Effect::HashSet {
                key: b"h",
                fields: &fields,
            },
        );
        apply(
            &keyspace,
            Effect::Expire {
                key: b"h",
                deadline_ms: Some(LATER_MS + 2),
            },
        );
        let all_over = [field("a", "1", Some(NOW_MS))];
        apply(
            &keyspace,
            Effect::HashSet {
                key: b"over",
                fields: &all_over,
            },
        );
        apply(
            &keyspace,
            Effect::Expire {
                key: b"over",
                deadline_ms: Some(LATER_MS),
            },
        );
        let (commands, exported) = commands(&keyspace);
        let hpexpireat = |ms: &[u8], names: &[&[u8]]| {
            let count = names.len().to_string();
            let head: [&[u8]; 5] = [b"HPEXPIREAT", b"h", ms, b"FIELDS", count.as_bytes()];
            words(&[&head, names].concat())
        };
        let expected = [
            hpexpireat(b"4000000000000", &[b"b", b"c"]),
            hpexpireat(b"4000000000001", &[b"d"]),
            words(&[
                b"HSET", b"h", b"a", b"1", b"b", b"2", b"c", b"3", b"d", b"4",
            ]),
            words(&[b"PEXPIREAT", b"h", b"4000000000002"]),
        ];
        assert_eq!(commands, expected);
        assert_eq!((exported.hashes, exported.fields), (1, 4));
    }

    #[test]
    fn a_large_hash_takes_several_commands_of_bounded_length() {
        let keyspace = keyspace();
        let names: Vec<String> = (0..2_000).map(|n| format!("f{n}")).collect();
        let value = "x".repeat(4_000);
        let fields: Vec<_> = names
            .iter()
            .map(|name| field(name, &value, Some(LATER_MS)))
            .collect();
        apply(
            &keyspace,
            Effect::HashSet {
                key: b"h",
                fields: &fields,
            },
        );
        let (commands, exported) = commands(&keyspace);
        assert_eq!(exported.fields, 2_000);
        let (mut set, mut expiring) = (0, 0);
        for command in &commands {
            let bytes = command.iter().map(Vec::len).sum::<usize>();
            assert!(bytes < (1 << 20) + 10_000, "{bytes} bytes");
            match &*command[0] {
                b"HSET" => set += (command.len() - 2) / 2,
                b"HPEXPIREAT" => {
                    assert_eq!(command[4], (command.len() - 5).to_string().into_bytes());
                    assert!(command.len() <= 5 + 512);
                    expiring += command.len() - 5;
                }
                other => panic!("{}", other.escape_ascii()),
            }
        }
        assert_eq!((set, expiring), (2_000, 2_000));
        assert!(commands.len() >= 8 + 4, "{}", commands.len());
    }
}
