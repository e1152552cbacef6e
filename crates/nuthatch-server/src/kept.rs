//! Bytes that wait between events: requests that cannot be run yet, replies that a socket does not
//! take yet.
//!
//! What is taken from the front is forgotten where it lies, and moved away once it is half of all, so
//! that many small steps through a long queue cost its length, not its square. What is empty holds no
//! memory.

/// See the module's text.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    /// Bytes at the front that have been taken; all of `bytes` never are.
    taken: usize,
}

impl Kept {
    /// Bytes that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory that it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// What waits.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Takes `count` bytes from the front.
    ///
    /// # Panics
    ///
    /// If fewer wait.
    pub fn take_front(&mut self, count: usize) {
        assert!(count <= self.len(), "{count} bytes of {} taken", self.len());
        self.taken += count;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        } else if self.taken >= self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Makes room for as many bytes as will wait if there come to be `total`.
    pub fn reserve(&mut self, total: usize) {
        self.bytes.reserve_exact(total.saturating_sub(self.len()));
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Has `write` append bytes.
    pub fn append_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        write(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn what_is_taken_in_any_steps_is_what_was_appended() {
        for step in [1, 2, 3, 7, 100, 1000] {
            let mut kept = Kept::default();
            let (mut appended, mut taken) = (Vec::new(), Vec::new());
            for round in 0..100_u8 {
                let bytes = vec![round; usize::from(round)];
                kept.extend(&bytes);
                appended.extend(bytes);
                let count = kept.len().min(step);
                taken.extend_from_slice(&kept.as_slice()[..count]);
                kept.take_front(count);
                assert_eq!(kept.len(), appended.len() - taken.len());
            }
            while !kept.is_empty() {
                let count = kept.len().min(step);
                taken.extend_from_slice(&kept.as_slice()[..count]);
                kept.take_front(count);
                assert!(kept.capacity() <= 2 * appended.len());
            }
            assert_eq!(taken, appended);
            assert_eq!(kept.capacity(), 0, "what is empty holds no memory");
        }
    }
}
