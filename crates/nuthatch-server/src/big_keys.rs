//! The keys that take most memory, found by a scan that never ends and never takes long.
//!
//! The control thread looks at a few thousand keys at a time. When a pass has seen all, it rests and
//! begins anew. What a pass has found is shown together with what the pass before found, so that there
//! is always something to see; who asks gets sizes as they are then, for each key found is looked up
//! again.

use crate::keyspace::{Keyspace, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Keys of each pass that are kept.
const KEPT: usize = 64;
/// Keys looked at in one step.
const KEYS_PER_STEP: usize = 2000;
/// Milliseconds between the end of a pass and the next one's beginning.
const REST_MS: u64 = 10_000;
/// Powers of two of bytes by which keys are counted.
const SIZES: usize = 40;

/// A key that takes much memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigKey {
    /// The key.
    pub key: Vec<u8>,
    /// The name of its type.
    pub type_name: &'static str,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// Keys and their bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// How many.
    pub keys: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What one pass has found.
#[derive(Clone, Debug, Default)]
struct Pass {
    /// The largest first.
    largest: Vec<BigKey>,
    by_type: BTreeMap<&'static str, Share>,
    /// Keys of at least 2^n and less than 2^(n+1) bytes.
    by_size: Vec<Share>,
}

impl Pass {
    fn see(&mut self, view: &View<'_>) {
        let bytes = view.weight_bytes();
        let type_name = view.value.type_name();
        let share = self.by_type.entry(type_name).or_default();
        share.keys += 1;
        share.bytes += bytes;
        self.by_size.resize(SIZES, Share::default());
        let share = &mut self.by_size[(bytes.max(1).ilog2() as usize).min(SIZES - 1)];
        share.keys += 1;
        share.bytes += bytes;
        let is_full = self.largest.len() == KEPT;
        if is_full
            && self
                .largest
                .last()
                .is_some_and(|least| least.bytes >= bytes)
        {
            return;
        }
        // A scan may come by a key twice.
        if self.largest.iter().any(|known| known.key == view.key) {
            return;
        }
        if is_full {
            self.largest.pop();
        }
        let place = self.largest.partition_point(|known| known.bytes >= bytes);
        let found = BigKey {
            key: view.key.to_vec(),
            type_name,
            bytes,
        };
        self.largest.insert(place, found);
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct BigKeys {
    cursor: u64,
    running: Pass,
    last: Option<Pass>,
    rests_until_ms: u64,
}

/// What is known of keys' sizes.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// The largest first.
    pub largest: Vec<BigKey>,
    /// By type, in the last whole pass.
    pub by_type: BTreeMap<&'static str, Share>,
    /// Keys of at least 2^n and less than 2^(n+1) bytes, in the last whole pass.
    pub by_size: Vec<Share>,
    /// Whether a pass has seen all keys.
    pub is_complete: bool,
}

impl BigKeys {
    /// Looks at some more keys.
    pub fn step(&mut self, keyspace: &Keyspace, now_ms: u64) {
        if now_ms < self.rests_until_ms {
            return;
        }
        let running = &mut self.running;
        self.cursor = keyspace.scan(self.cursor, KEYS_PER_STEP, |view| running.see(&view));
        if self.cursor == 0 {
            self.last = Some(std::mem::take(&mut self.running));
            self.rests_until_ms = now_ms + REST_MS;
        }
    }

    /// What is known, with sizes as they are now.
    pub fn sizes(&self, keyspace: &Keyspace) -> Sizes {
        let mut largest: Vec<BigKey> = Vec::new();
        let passes = self.last.iter().chain([&self.running]);
        for found in passes.flat_map(|pass| &pass.largest) {
            if largest.iter().any(|known| known.key == found.key) {
                continue;
            }
            largest.extend(keyspace.peek(&found.key, |view| BigKey {
                key: found.key.clone(),
                type_name: view.value.type_name(),
                bytes: view.weight_bytes(),
            }));
        }
        largest.sort_by(|one, other| {
            let by_bytes = other.bytes.cmp(&one.bytes);
            by_bytes.then_with(|| one.key.cmp(&other.key))
        });
        largest.truncate(KEPT);
        let last = self.last.as_ref();
        let shown = last.unwrap_or(&self.running);
        Sizes {
            largest,
            by_type: shown.by_type.clone(),
            by_size: shown.by_size.clone(),
            is_complete: last.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BigKeys, KEPT, KEYS_PER_STEP, REST_MS};
    use crate::config::MemoryPolicy;
    use crate::keyspace::{Effect, Keyspace};

    fn keyspace() -> Keyspace {
        Keyspace::new(1, 1 << 30, &MemoryPolicy::default(), |_, _| {}).unwrap()
    }

    fn put(keyspace: &Keyspace, key: &str, bytes: usize) {
        let effect = Effect::Put {
            key: key.as_bytes(),
            parts: &[&vec![b'x'; bytes]],
            deadline_ms: None,
        };
        keyspace.apply(effect).unwrap();
    }

    fn pass(big_keys: &mut BigKeys, keyspace: &Keyspace, now_ms: u64) {
        big_keys.step(keyspace, now_ms);
        while big_keys.cursor != 0 {
            big_keys.step(keyspace, now_ms);
        }
    }

    #[test]
    fn the_largest_keys_are_found_and_sizes_are_of_now() {
        let keyspace = keyspace();
        for n in 0..3 * KEYS_PER_STEP {
            put(&keyspace, &format!("small-{n}"), n % 50);
        }
        for n in 1..=3 {
            put(&keyspace, &format!("big-{n}"), n * 10_000);
        }
        let mut big_keys = BigKeys::default();
        assert!(!big_keys.sizes(&keyspace).is_complete);
        pass(&mut big_keys, &keyspace, 1);
        let names = |big_keys: &BigKeys| {
            let sizes = big_keys.sizes(&keyspace);
            let largest = sizes.largest.iter().take(3);
            largest
                .map(|found| String::from_utf8(found.key.clone()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&big_keys), ["big-3", "big-2", "big-1"]);
        put(&keyspace, "big-1", 100_000);
        keyspace.apply(Effect::Delete { key: b"big-2" }).unwrap();
        assert_eq!(names(&big_keys)[..2], ["big-1", "big-3"]);
        let sizes = big_keys.sizes(&keyspace);
        assert!(sizes.is_complete && sizes.largest.len() <= KEPT);
        let strings = sizes.by_type["string"];
        assert!(strings.keys >= 3 * KEYS_PER_STEP as u64 + 3);
        let by_size: u64 = sizes.by_size.iter().map(|share| share.bytes).sum();
        assert_eq!(by_size, strings.bytes);
    }

    #[test]
    fn a_pass_is_followed_by_a_rest() {
        let keyspace = keyspace();
        let mut big_keys = BigKeys::default();
        pass(&mut big_keys, &keyspace, 1);
        put(&keyspace, "new", 1000);
        big_keys.step(&keyspace, REST_MS);
        assert!(big_keys.sizes(&keyspace).largest.is_empty());
        big_keys.step(&keyspace, REST_MS + 1);
        assert_eq!(big_keys.sizes(&keyspace).largest[0].key, b"new");
    }
}
