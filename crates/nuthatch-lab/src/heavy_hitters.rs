//! Which keys alone have a noticeable share of a stream's requests: a vote for each bucket of hashes
//! (Boyer and Moore, "MJRTY: A Fast Majority Vote Algorithm", 1981). A key with more requests than
//! all others of its bucket wins it, and with thousands of buckets the others have few.
//!
//! Only each eighth request or so votes, as a heavy hitter has thousands of them.

/// Buckets, by the low bits of a hash.
const BUCKETS: usize = 1 << 12;
/// One request out of so many votes.
const EACH_VOTE: u32 = 8;
/// 2^64 over the golden ratio: its multiples are evenly spread, and follow no period of a trace.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A key that many requests are for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeavyHitter {
    /// The key's hash.
    pub hash: u64,
    /// About how many requests are for it.
    pub requests: f64,
    /// About how many bytes they ask for.
    pub bytes: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    hash: u64,
    /// Votes for the hash less those against it.
    lead: u32,
    /// Votes for the hash since it won the bucket, and their bytes.
    requests: u32,
    bytes: u64,
}

/// Finds the heavy hitters of a stream.
#[derive(Clone, Debug)]
pub struct HeavyHitters {
    buckets: Box<[Bucket]>,
    place: u64,
}

impl Default for HeavyHitters {
    fn default() -> Self {
        Self {
            buckets: vec![Bucket::default(); BUCKETS].into(),
            place: 0,
        }
    }
}

impl HeavyHitters {
    /// Takes the next request.
    pub fn take(&mut self, hash: u64, size: u32) {
        self.place = self.place.wrapping_add(GOLDEN);
        if self.place < u64::MAX / u64::from(EACH_VOTE) {
            self.vote(hash, size);
        }
    }

    fn vote(&mut self, hash: u64, size: u32) {
        let bucket = &mut self.buckets[hash as usize % BUCKETS];
        if bucket.hash != hash && bucket.lead > 0 {
            bucket.lead -= 1;
            return;
        }
        if bucket.hash != hash {
            *bucket = Bucket {
                hash,
                ..Bucket::default()
            };
        }
        bucket.lead += 1;
        bucket.requests = bucket.requests.saturating_add(1);
        bucket.bytes += u64::from(size);
    }

    /// The keys that at least so many requests are for.
    pub fn above(&self, requests: f64) -> impl Iterator<Item = HeavyHitter> {
        let each = f64::from(EACH_VOTE);
        let all = self.buckets.iter().map(move |bucket| HeavyHitter {
            hash: bucket.hash,
            requests: f64::from(bucket.requests) * each,
            bytes: bucket.bytes as f64 * each,
        });
        all.filter(move |each| each.requests >= requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::key_hash;

    #[test]
    fn a_key_of_one_percent_is_found_among_many_and_no_other_is() {
        let mut hitters = HeavyHitters::default();
        for index in 0..1_000_000 {
            // Keys of a loop, of a thousand requests in all each, and each 97th request the same one.
            let key = if index % 97 == 0 {
                7
            } else {
                1000 + index % 1009
            };
            hitters.take(key_hash(key), 3);
        }
        let found: Vec<_> = hitters.above(5000.0).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].hash, key_hash(7));
        let requests = 1e6 / 97.0;
        assert!(
            (found[0].requests / requests - 1.0).abs() < 0.1,
            "{found:?}"
        );
        assert_eq!(found[0].bytes, 3.0 * found[0].requests);
    }
}
