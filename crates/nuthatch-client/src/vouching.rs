//! Which entries in process may still be believed: who vouches for them, and until when.
//!
//! An entry came from a node, which has promised to tell when it changes. The promise holds for one
//! connection: if that breaks, or the entry's slot moves to another node, or everything is flushed, nobody
//! would tell. And it is worth as much as the connection is alive: a node that is cut off tells nothing
//! either. So an entry carries a [`Voucher`], and a hit asks two things, neither of which it changes:
//!
//! - *Is the node heard of?* What the node had to tell when a ping was sent has arrived when its answer
//!   does. So the node vouches until the staleness bound after the ping was **sent**, not answered.
//! - *Is the slot's generation still the entry's?* It is raised when the slot's promise is broken, which
//!   drops all entries of the slot at once, at the cost of one addition.
//!
//! **Order.** A node's time is read before the slot's generation, and written after it when a new
//! connection takes over. So who reads a time that a new connection has won also reads the generation that
//! dropped the entries of the old one.

#[cfg(not(nuthatch_loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

// The model replaces them by loom's. Not under `cfg(loom)`, which the runtime takes as meant for itself.
#[cfg(nuthatch_loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Nodes beyond as many vouch for nothing; a cluster has a thousand at most.
const NODES: u16 = if cfg!(nuthatch_loom) { 2 } else { 1_024 };

/// Who vouches for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voucher {
    node: u16,
    slot: u16,
    generation: u32,
}

impl Voucher {
    /// Nobody: the entry's deadline alone bounds its staleness.
    pub(crate) const NOBODY: Self = Self {
        node: u16::MAX,
        slot: 0,
        generation: 0,
    };
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Vouching {
    /// By node: until when it vouches; 0 for never.
    until_ns: Box<[AtomicU64]>,
    /// By slot: its generation.
    generations: Box<[AtomicU32]>,
}

impl Vouching {
    /// For as many slots; one for a server that is alone.
    pub(crate) fn new(slots: u16) -> Self {
        Self {
            until_ns: (0..NODES).map(|_| AtomicU64::new(0)).collect(),
            generations: (0..slots).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// What an entry of `slot` that is now asked of `node` will carry. To be taken before the connection
    /// that asks is chosen: then the answer of an older connection comes with an older generation.
    pub(crate) fn voucher(&self, node: u16, slot: u16) -> Voucher {
        if node >= NODES {
            return Voucher::NOBODY;
        }
        Voucher {
            node,
            slot,
            // Acquire: pairs with the Release in `drop_slot`.
            generation: self.generations[usize::from(slot)].load(Ordering::Acquire),
        }
    }

    /// Whether an entry with this voucher may be believed now.
    #[inline]
    pub(crate) fn vouches(&self, voucher: Voucher, now_ns: u64) -> bool {
        if voucher == Voucher::NOBODY {
            return true;
        }
        // Acquire: pairs with the Release in `extend`, so that a time won by a new connection comes with
        // the generations that were raised before.
        let until_ns = self.until_ns[usize::from(voucher.node)].load(Ordering::Acquire);
        until_ns > now_ns
            && self.generations[usize::from(voucher.slot)].load(Ordering::Relaxed)
                == voucher.generation
    }

    /// The node vouches until then.
    pub(crate) fn extend(&self, node: u16, until_ns: u64) {
        if let Some(until) = self.until_ns.get(usize::from(node)) {
            // Release: pairs with the Acquire in `vouches`.
            until.store(until_ns, Ordering::Release);
        }
    }

    /// Until when the node vouches.
    pub(crate) fn until_ns(&self, node: u16) -> u64 {
        self.until_ns
            .get(usize::from(node))
            .map_or(0, |until| until.load(Ordering::Relaxed))
    }

    /// Drops all entries of a slot.
    pub(crate) fn drop_slot(&self, slot: u16) {
        // Release: pairs with the Acquire in `voucher`.
        self.generations[usize::from(slot)].fetch_add(1, Ordering::Release);
    }
}

#[cfg(all(test, not(nuthatch_loom)))]
mod tests {
    use super::{NODES, Voucher, Vouching};

    #[test]
    fn an_entry_is_believed_while_its_node_is_heard_of_and_its_slot_stays() {
        let vouching = Vouching::new(16_384);
        let voucher = vouching.voucher(3, 99);
        assert!(!vouching.vouches(voucher, 0), "nothing was heard yet");
        vouching.extend(3, 1_000);
        assert!(vouching.vouches(voucher, 999));
        assert!(!vouching.vouches(voucher, 1_000), "the time is over");
        vouching.extend(3, 2_000);
        assert!(vouching.vouches(voucher, 1_500), "heard of again");
        vouching.drop_slot(98);
        assert!(vouching.vouches(voucher, 1_500), "another slot");
        vouching.drop_slot(99);
        assert!(!vouching.vouches(voucher, 1_500));
        assert!(
            vouching.vouches(vouching.voucher(3, 99), 1_500),
            "a new one"
        );
        assert!(
            !vouching.vouches(vouching.voucher(4, 7), 1_500),
            "another node"
        );
        assert_eq!((vouching.until_ns(3), vouching.until_ns(4)), (2_000, 0));
    }

    #[test]
    fn nobody_vouches_for_nodes_beyond_the_last() {
        let vouching = Vouching::new(1);
        let voucher = vouching.voucher(NODES, 0);
        assert_eq!(voucher, Voucher::NOBODY);
        vouching.extend(NODES, 1);
        assert!(vouching.vouches(voucher, 5), "its deadline alone counts");
    }
}

/// Every interleaving of a reader with a connection that is lost and made anew.
#[cfg(all(test, nuthatch_loom))]
mod model {
    use super::Vouching;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    #[test]
    fn model_an_entry_of_a_lost_connection_is_not_believed_by_the_next_ones_word() {
        loom::model(|| {
            let vouching = Arc::new(Vouching::new(1));
            let entry = vouching.voucher(0, 0);
            // Its node has not been heard of for too long.
            vouching.extend(0, 5);
            let reconnect = {
                let vouching = Arc::clone(&vouching);
                thread::spawn(move || {
                    vouching.extend(0, 0);
                    vouching.drop_slot(0);
                    vouching.extend(0, 20);
                })
            };
            assert!(!vouching.vouches(entry, 10));
            reconnect.join().expect("no panic");
            assert!(!vouching.vouches(entry, 10));
            assert!(vouching.vouches(vouching.voucher(0, 0), 10));
        });
    }

    #[test]
    fn model_an_answer_of_a_lost_connection_does_not_carry_the_next_ones_generation() {
        loom::model(|| {
            let vouching = Arc::new(Vouching::new(1));
            let connection = Arc::new(Mutex::new(Some(1)));
            vouching.extend(0, 20);
            let reconnect = {
                let (vouching, connection) = (Arc::clone(&vouching), Arc::clone(&connection));
                thread::spawn(move || {
                    *connection.lock().expect("a lock") = None;
                    vouching.drop_slot(0);
                    *connection.lock().expect("a lock") = Some(2);
                })
            };
            let voucher = vouching.voucher(0, 0);
            let asked = *connection.lock().expect("a lock");
            reconnect.join().expect("no panic");
            if asked == Some(1) {
                assert!(!vouching.vouches(voucher, 10));
            }
        });
    }
}
