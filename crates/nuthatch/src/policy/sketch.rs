//! How often was this key asked for lately? A 4-bit count-min sketch that forgets.
//!
//! G. Einziger, R. Friedman, B. Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
//! Transactions on Storage 13(4), 2017. Four counters stand for a key; its estimate is the least of
//! them, so keys that share a counter can only make it too high. Once a sample's worth of
//! increments has been counted every counter is halved, so the past fades by half each time.
//!
//! A key's four counters lie in one block of 64 bytes, one in each quarter of it: an increment or an
//! estimate costs one cache line. Every increment raises all four. Raising only those at the minimum
//! (conservative update; Estan and Varghese, SIGCOMM 2002) errs less and yet chooses worse: in a
//! loop it lets all keys tie, where chance collisions would break the ties. Ageing passes over all
//! blocks, once per `sample` increments: O(1) amortised, 16 counters an instruction.

/// Rows of the sketch: counters per key.
const ROWS: usize = 4;
/// The counters' ceiling.
const MAX_COUNT: u8 = 15;
/// The words that hold one row's counters within a block.
const ROW_WORDS: usize = 2;
/// All counters of a word, each without its lowest bit's neighbour from above.
const HALVED: u64 = 0x7777_7777_7777_7777;

/// 128 counters of 4 bits, 32 to a row.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block([u64; ROWS * ROW_WORDS]);

/// Approximate, fading access frequencies of keys, known by their hashes.
///
/// ```
/// use nuthatch::policy::FrequencySketch;
/// let mut sketch = FrequencySketch::new(1000, 4.0);
/// sketch.increment(0xfeed_f00d);
/// sketch.increment(0xfeed_f00d);
/// assert_eq!(sketch.estimate(0xfeed_f00d), 2);
/// sketch.age();
/// assert_eq!(sketch.estimate(0xfeed_f00d), 1);
/// ```
#[derive(Clone, Debug)]
pub struct FrequencySketch {
    blocks: Vec<Block>,
    bytes_per_entry: f64,
    sample_per_entry: u64,
    /// Increments counted since the last ageing, and half of those before.
    increments: u64,
    /// Increments after which the sketch ages.
    sample: u64,
}

impl FrequencySketch {
    /// The sketch for a cache of `entries` entries, of `bytes_per_entry` bytes for each: 8 is what
    /// Caffeine takes and all but exact; 1 still tells the often asked-for from the rest. It ages
    /// every ten increments an entry.
    pub fn new(entries: usize, bytes_per_entry: f64) -> Self {
        let mut sketch = Self {
            blocks: Vec::new(),
            bytes_per_entry,
            sample_per_entry: 10,
            increments: 0,
            sample: 0,
        };
        sketch.resize(entries);
        sketch
    }

    /// Ages every `increments` increments for each entry instead of every ten.
    #[must_use]
    pub fn sample_per_entry(mut self, increments: u64, entries: usize) -> Self {
        self.sample_per_entry = increments;
        self.resize(entries);
        self
    }

    /// Fits the sketch to a cache of `entries` entries. Allocates if the number of blocks changes;
    /// estimates survive (those of keys whose old blocks merge may rise).
    pub fn resize(&mut self, entries: usize) {
        self.sample = (entries as u64).max(1) * self.sample_per_entry.max(1);
        // A smaller sample may be full already; the next increment ages it.
        self.increments = self.increments.min(self.sample - 1);
        let bytes = entries as f64 * self.bytes_per_entry;
        let blocks = (bytes / size_of::<Block>() as f64).ceil().max(1.0) as usize;
        let old = self.blocks.len();
        if blocks == old {
            return;
        }
        let mut resized = vec![Block([0; ROWS * ROW_WORDS]); blocks];
        // A key's block is its hash scaled to the number of blocks, so the keys of a new block come
        // from the old blocks that cover the same range of hashes.
        for (index, block) in resized.iter_mut().enumerate().filter(|_| old > 0) {
            let first = index * old / blocks;
            let last = ((index + 1) * old - 1) / blocks;
            for source in &self.blocks[first..=last] {
                block.merge(source);
            }
        }
        self.blocks = resized;
    }

    /// Counts one access of the key with this hash.
    #[inline]
    pub fn increment(&mut self, hash: u64) {
        let (block, places) = self.locate(hash);
        self.increments += u64::from(self.blocks[block].increment(places));
        self.age_if_due();
    }

    /// Counts `count` accesses of the key with this hash at once.
    pub fn add(&mut self, hash: u64, count: u8) {
        let (block, places) = self.locate(hash);
        self.increments += u64::from(self.blocks[block].add(places, count));
        self.age_if_due();
    }

    #[inline]
    fn age_if_due(&mut self) {
        while self.increments >= self.sample {
            self.age();
        }
    }

    /// How often the key with this hash was counted of late: never too low (but for fading and the
    /// ceiling), at most 15.
    #[inline]
    pub fn estimate(&self, hash: u64) -> u8 {
        let (block, places) = self.locate(hash);
        self.blocks[block].least(places)
    }

    /// Increments after which the sketch ages.
    pub fn sample(&self) -> u64 {
        self.sample
    }

    /// Has the cache line loaded that holds the counters of this hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let (block, _) = self.locate(hash);
        crate::slab::prefetch(&self.blocks[block]);
    }

    /// Halves every counter.
    #[cold]
    pub fn age(&mut self) {
        for block in &mut self.blocks {
            for word in &mut block.0 {
                *word = (*word >> 1) & HALVED;
            }
        }
        self.increments /= 2;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.blocks.fill(Block([0; ROWS * ROW_WORDS]));
        self.increments = 0;
    }

    /// Bytes of its counters.
    pub fn bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    /// Checks the sketch's invariants.
    ///
    /// # Panics
    /// If ageing is overdue or there are no counters.
    pub fn validate(&self) {
        assert!(!self.blocks.is_empty(), "a sketch has counters");
        assert!(
            self.increments < self.sample,
            "a full sample ages the sketch"
        );
    }

    /// The index of the key's block and the bits that choose its counters there.
    #[inline]
    fn locate(&self, hash: u64) -> (usize, u32) {
        let spread = spread(hash);
        let block = ((spread >> 32) * self.blocks.len() as u64) >> 32;
        (block as usize, spread as u32)
    }
}

impl Block {
    /// The word and the shift within it of the key's counter in `row`.
    #[inline]
    fn place(row: usize, places: u32) -> (usize, u32) {
        let counter = (places >> (5 * row)) & 31;
        (
            row * ROW_WORDS + (counter as usize >> 4),
            (counter & 15) * 4,
        )
    }

    #[inline]
    fn least(&self, places: u32) -> u8 {
        (0..ROWS).fold(MAX_COUNT, |least, row| {
            let (word, shift) = Self::place(row, places);
            least.min((self.0[word] >> shift) as u8 & MAX_COUNT)
        })
    }

    /// Adds one to the key's counters and returns whether one of them rose. [`add`](Self::add) with
    /// half of its work.
    #[inline]
    fn increment(&mut self, places: u32) -> bool {
        let mut rose = 0;
        for row in 0..ROWS {
            let (word, shift) = Self::place(row, places);
            let below = u64::from((self.0[word] >> shift) as u8 & MAX_COUNT != MAX_COUNT);
            self.0[word] += below << shift;
            rose |= below;
        }
        rose != 0
    }

    /// Adds to the key's counters and returns the most that one of them rose.
    #[inline]
    fn add(&mut self, places: u32, count: u8) -> u8 {
        (0..ROWS).fold(0, |most, row| {
            let (word, shift) = Self::place(row, places);
            let rise = count.min(MAX_COUNT - ((self.0[word] >> shift) as u8 & MAX_COUNT));
            self.0[word] += u64::from(rise) << shift;
            most.max(rise)
        })
    }

    /// Lifts each counter to the other block's.
    fn merge(&mut self, other: &Self) {
        for (word, &from) in self.0.iter_mut().zip(&other.0) {
            *word = (0..16).fold(0, |merged, nibble| {
                let mask = u64::from(MAX_COUNT) << (nibble * 4);
                merged | (*word & mask).max(from & mask)
            });
        }
    }
}

/// A hash whose high and low bits both depend on all of `hash`'s: within a shard, or within a
/// sample of all keys, some bits are the same in every hash.
#[inline]
pub(super) fn spread(hash: u64) -> u64 {
    let product = u128::from(hash) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::{FrequencySketch, spread};

    /// A well-mixed hash for the key `n`.
    fn hash(n: u64) -> u64 {
        spread(spread(n + 1).rotate_left(32))
    }

    #[test]
    fn estimates_are_never_below_the_true_count() {
        let mut sketch = FrequencySketch::new(500, 2.0);
        for key in 0..500 {
            sketch.add(hash(key), (key % 8) as u8);
        }
        for key in 0..500 {
            assert!(
                u64::from(sketch.estimate(hash(key))) >= key % 8,
                "key {key}"
            );
        }
        sketch.validate();
    }

    #[test]
    fn eight_bytes_an_entry_are_all_but_exact() {
        let mut sketch = FrequencySketch::new(2000, 8.0);
        let wrong = |sketch: &FrequencySketch| {
            let count = |key| u64::from(sketch.estimate(hash(key)));
            (0..4000)
                .filter(|&key| count(key) != if key < 2000 { key % 5 } else { 0 })
                .count()
        };
        for key in 0..2000 {
            sketch.add(hash(key), (key % 5) as u8);
        }
        assert!(
            wrong(&sketch) <= 200,
            "{} of 4000 estimates err",
            wrong(&sketch)
        );
    }

    #[test]
    fn counters_stop_at_fifteen() {
        let mut sketch = FrequencySketch::new(100, 4.0);
        for _ in 0..40 {
            sketch.increment(7);
        }
        sketch.add(8, 200);
        assert_eq!((sketch.estimate(7), sketch.estimate(8)), (15, 15));
        sketch.validate();
    }

    #[test]
    fn a_full_sample_halves_every_counter() {
        let mut sketch = FrequencySketch::new(4, 64.0).sample_per_entry(5, 4);
        sketch.add(1, 9);
        sketch.add(2, 10);
        assert_eq!((sketch.estimate(1), sketch.estimate(2)), (9, 10));
        sketch.increment(3);
        assert_eq!([1, 2, 3].map(|key| sketch.estimate(key)), [4, 5, 0]);
        sketch.validate();
        sketch.add(1, 10);
        assert_eq!(
            sketch.estimate(1),
            7,
            "half of the last sample counts towards the next"
        );
    }

    #[test]
    fn resizing_keeps_what_was_counted() {
        for (from, to) in [(100, 200), (100, 133), (133, 100), (400, 100), (64, 1000)] {
            let mut sketch = FrequencySketch::new(from, 8.0);
            for key in 0..50 {
                sketch.add(hash(key), 1 + (key % 7) as u8);
            }
            sketch.resize(to);
            for key in 0..50 {
                let estimate = u64::from(sketch.estimate(hash(key)));
                assert!(estimate > key % 7, "key {key}, {from} to {to}: {estimate}");
            }
            sketch.validate();
        }
    }

    #[test]
    fn keys_that_share_their_low_or_high_bits_spread_over_all_blocks() {
        for shift in [0, 40] {
            let mut sketch = FrequencySketch::new(4096, 8.0);
            for key in 0..4096_u64 {
                sketch.increment(key << shift);
            }
            let exact = (0..4096_u64)
                .filter(|key| sketch.estimate(key << shift) == 1)
                .count();
            assert!(exact > 3900, "shift {shift}: {exact} of 4096");
        }
    }

    #[test]
    fn clearing_forgets() {
        let mut sketch = FrequencySketch::new(10, 8.0);
        sketch.add(5, 5);
        sketch.clear();
        assert_eq!(sketch.estimate(5), 0);
        assert_eq!(sketch.bytes(), 128);
    }
}
