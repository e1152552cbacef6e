//! What one file has, and what of it a crash may keep.
//!
//! Until a sync has succeeded, every sector that was written since the last one reaches the disk by itself,
//! or not. Where one did not, the file has what was there before (also before a cut), zeros, random bytes,
//! or what another place has. The length may be any between the settled part and the longest that there was.

use std::ops::Range;

use fastrand::Rng;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Content {
    /// As processes read it.
    bytes: Vec<u8>,
    /// So many leading bytes survive every crash, but for those in `dropped`.
    settled: usize,
    /// What was cut off since the last sync; a crash may bring it back.
    cut: Vec<Tail>,
    /// What the system gave up writing when a sync failed: no later sync makes these last.
    dropped: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Tail {
    at: usize,
    bytes: Vec<u8>,
}

/// What is on the disk where nothing arrived.
#[derive(Clone, Copy)]
enum Stale {
    Zeros,
    Garbage,
    /// A copy of another place of the file, as from a block that was in use before.
    Elsewhere,
    /// What was there before it was cut off.
    Before,
}

impl Stale {
    fn any(rng: &mut Rng) -> Self {
        [Self::Zeros, Self::Garbage, Self::Elsewhere, Self::Before][rng.usize(0..4)]
    }
}

impl Tail {
    fn end(&self) -> usize {
        self.at + self.bytes.len()
    }
}

impl Content {
    pub(super) fn settled(bytes: Vec<u8>) -> Self {
        Self {
            settled: bytes.len(),
            bytes,
            ..Self::default()
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.bytes.len() {
            let bytes = self.bytes.split_off(len);
            self.cut.push(Tail { at: len, bytes });
            self.settled = self.settled.min(len);
            self.dropped.retain_mut(|range| {
                range.end = range.end.min(len);
                range.start < range.end
            });
        } else {
            self.bytes.resize(len, 0);
        }
    }

    pub(super) fn sync(&mut self) {
        self.settled = self.bytes.len();
        self.cut.clear();
    }

    /// As a sync that failed: some sectors count as written from now on, and are not.
    pub(super) fn sync_in_vain(&mut self, rng: &mut Rng) {
        let dropped = sectors(self.settled..self.bytes.len()).filter(|_| rng.bool());
        self.dropped.extend(dropped);
    }

    /// The process has ended and the system has not: some of what was dropped is forgotten also by the
    /// system's memory, so the next process reads what the disk has.
    pub(super) fn kill(&mut self, rng: &mut Rng) {
        for range in std::mem::take(&mut self.dropped) {
            if rng.bool() {
                let stale = self.stale(range.clone(), Stale::any(rng), rng);
                self.bytes[range].copy_from_slice(&stale);
            } else {
                self.dropped.push(range);
            }
        }
    }

    /// What a crash leaves.
    pub(super) fn crash(&self, rng: &mut Rng) -> Self {
        let longest = self
            .cut
            .iter()
            .map(Tail::end)
            .max()
            .unwrap_or(0)
            .max(self.bytes.len());
        let len = match rng.u8(0..4) {
            0 => self.settled,
            1 => self.bytes.len(),
            2 => longest,
            _ => rng.usize(self.settled..=longest),
        };
        let written = [0.0, 0.1, 0.5, 0.9, 1.0][rng.usize(0..5)];
        // The same everywhere or another in each sector, so that a cut can be undone as a whole.
        let same = rng.bool().then(|| Stale::any(rng));
        let mut left = self.bytes[..self.settled].to_vec();
        for sector in sectors(self.settled..len) {
            if rng.f64() < written {
                let end = sector.end.min(self.bytes.len());
                left.extend_from_slice(self.bytes.get(sector.start..end).unwrap_or(&[]));
                left.resize(sector.end, 0);
            } else {
                let what = same.unwrap_or_else(|| Stale::any(rng));
                left.extend(self.stale(sector, what, rng));
            }
        }
        for range in &self.dropped {
            let range = range.start.min(len)..range.end.min(len);
            let stale = self.stale(range.clone(), Stale::any(rng), rng);
            left[range].copy_from_slice(&stale);
        }
        Self::settled(left)
    }

    /// What is on the disk where nothing arrived.
    fn stale(&self, range: Range<usize>, what: Stale, rng: &mut Rng) -> Vec<u8> {
        let len = range.len();
        match what {
            Stale::Garbage => std::iter::repeat_with(|| rng.u8(..)).take(len).collect(),
            Stale::Elsewhere if self.bytes.len() >= len => {
                let start = rng.usize(0..=self.bytes.len() - len);
                self.bytes[start..start + len].to_vec()
            }
            Stale::Before => {
                let covers = |tail: &&Tail| tail.at <= range.start && tail.end() >= range.end;
                let before = self.cut.iter().find(covers);
                before.map_or_else(
                    || vec![0; len],
                    |tail| tail.bytes[range.start - tail.at..range.end - tail.at].to_vec(),
                )
            }
            Stale::Zeros | Stale::Elsewhere => vec![0; len],
        }
    }

    pub(super) fn flip(&mut self, bit: u64) {
        let byte = usize::try_from(bit / 8).expect("a place in memory");
        self.bytes[byte] ^= 1 << (bit % 8);
    }
}

/// The parts of a range that lie in one sector each.
fn sectors(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let end = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(range.end);
        let sector = start..end;
        start = end;
        (!sector.is_empty()).then_some(sector)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: u64 = 400;

    /// What crashes leave of `content`, by many seeds.
    fn left(content: &Content) -> impl Iterator<Item = Vec<u8>> {
        (0..SEEDS).map(|seed| content.crash(&mut Rng::with_seed(seed)).bytes)
    }

    /// 1,000 bytes that are synced, then 5,000 that are not.
    fn half_synced() -> Content {
        let mut content = Content::default();
        content.append(&[1; 1_000]);
        content.sync();
        content.append(&[2; 5_000]);
        content
    }

    #[test]
    fn what_is_synced_survives_every_crash() {
        let content = half_synced();
        assert!(left(&content).all(|bytes| bytes[..1_000] == [1; 1_000]));
        let mut content = half_synced();
        content.sync();
        assert!(left(&content).all(|bytes| bytes == content.bytes));
    }

    #[test]
    fn every_loss_that_a_disk_allows_happens() {
        let all: Vec<_> = left(&half_synced()).collect();
        let has = |what: &str, happens: &dyn Fn(&[u8]) -> bool| {
            assert!(all.iter().any(|bytes| happens(&bytes[1_000..])), "{what}");
        };
        has("nothing arrived", &<[u8]>::is_empty);
        has("all arrived", &|tail| tail == [2; 5_000]);
        has("a part arrived", &|tail| {
            tail.len() < 5_000 && tail.iter().all(|byte| *byte == 2)
        });
        has("the length arrived without data", &|tail| {
            tail.len() == 5_000 && tail.iter().all(|byte| *byte != 2)
        });
        has("zeros instead of a sector", &|tail| {
            tail.contains(&0) && tail.contains(&2)
        });
        has("garbage instead of a sector", &|tail| {
            tail.iter().any(|byte| *byte > 2)
        });
        has("a later sector without an earlier", &|tail| {
            tail.len() == 5_000 && tail[..24] != [2; 24] && tail[4_800..] == [2; 200]
        });
    }

    #[test]
    fn a_cut_is_undone_by_a_crash_until_it_is_synced() {
        let mut content = half_synced();
        content.sync();
        content.truncate(2_000);
        let whole = half_synced().bytes;
        assert!(left(&content).any(|bytes| bytes == whole));
        assert!(left(&content).any(|bytes| bytes == whole[..2_000]));
        assert!(left(&content).all(|bytes| bytes[..2_000] == whole[..2_000]));
        content.append(&[3; 100]);
        assert!(left(&content).any(|bytes| bytes.ends_with(&[3; 100])));
        content.sync();
        assert!(left(&content).all(|bytes| bytes == content.bytes));
    }

    #[test]
    fn what_a_failed_sync_dropped_does_not_survive_though_a_later_sync_succeeds() {
        let mut lost = 0;
        for seed in 0..SEEDS {
            let mut rng = Rng::with_seed(seed);
            let mut content = half_synced();
            content.sync_in_vain(&mut rng);
            assert_eq!(content.bytes, half_synced().bytes, "it is still read");
            content.append(&[4; 600]);
            content.sync();
            let left = content.crash(&mut rng).bytes;
            assert_eq!(left.len(), 6_600);
            assert_eq!(left[..1_000], [1; 1_000]);
            assert_eq!(left[6_000..], [4; 600]);
            lost += u64::from(left[1_000..6_000] != [2; 5_000]);
        }
        assert!(lost > SEEDS / 2);
    }

    #[test]
    fn what_was_dropped_and_then_cut_off_harms_nothing_after_it() {
        let mut rng = Rng::with_seed(1);
        let mut content = half_synced();
        content.sync_in_vain(&mut rng);
        content.truncate(1_000);
        content.append(&[5; 5_000]);
        content.sync();
        assert!(left(&content).all(|bytes| bytes == content.bytes));
    }

    #[test]
    fn end_of_the_process_shows_the_next_one_what_was_dropped_or_not() {
        let (mut shown, mut hidden) = (false, false);
        for seed in 0..SEEDS {
            let mut rng = Rng::with_seed(seed);
            let mut content = half_synced();
            content.kill(&mut rng);
            assert_eq!(content.bytes, half_synced().bytes, "nothing was dropped");
            content.sync_in_vain(&mut rng);
            let dropped = !content.dropped.is_empty();
            content.kill(&mut rng);
            let changed = content.bytes != half_synced().bytes;
            shown |= dropped && changed;
            hidden |= dropped && !changed;
        }
        assert!(shown && hidden);
    }
}
