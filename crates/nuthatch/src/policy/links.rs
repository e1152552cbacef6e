//! Intrusive doubly linked lists over entry ids: what most policies order their entries with.
//!
//! All lists of one policy share one array of nodes, 8 bytes an entry: an entry is in at most one
//! list, and which one is packed into the top bits of its two links (2 bits each, 15 lists at
//! most; ids stay below 2^30). Every operation is O(1) but `iter`, `clear` and `validate`.

use super::EntryId;
use crate::slab::prefetch;

const ID_BITS: u32 = 30;
const ID_MASK: u32 = (1 << ID_BITS) - 1;
/// The id that ends a list.
const NIL: u32 = ID_MASK;
/// The list number of an entry that is in no list.
const NO_LIST: u8 = 15;

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u32,
    next: u32,
}

impl Node {
    const UNLINKED: Self = Self {
        prev: NIL | ((NO_LIST as u32 >> 2) << ID_BITS),
        next: NIL | ((NO_LIST as u32 & 3) << ID_BITS),
    };

    fn new(list: u8, prev: u32, next: u32) -> Self {
        Self {
            prev: prev | (u32::from(list >> 2) << ID_BITS),
            next: next | (u32::from(list & 3) << ID_BITS),
        }
    }

    fn set_prev(&mut self, prev: u32) {
        self.prev = self.prev & !ID_MASK | prev;
    }

    fn set_next(&mut self, next: u32) {
        self.next = self.next & !ID_MASK | next;
    }

    fn list(self) -> u8 {
        ((self.prev >> ID_BITS) << 2 | self.next >> ID_BITS) as u8
    }

    fn prev(self) -> u32 {
        self.prev & ID_MASK
    }

    fn next(self) -> u32 {
        self.next & ID_MASK
    }
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    front: u32,
    back: u32,
    len: usize,
}

const EMPTY: Ends = Ends {
    front: NIL,
    back: NIL,
    len: 0,
};

/// Lists of entries, numbered from 0, that share one array of nodes.
///
/// ```
/// use nuthatch::policy::Links;
/// let mut links = Links::new(2);
/// links.push_back(0, 7);
/// links.push_back(0, 3);
/// links.move_to_back(1, 7);
/// assert_eq!(links.pop_front(0), Some(3));
/// assert_eq!(links.list_of(7), Some(1));
/// ```
#[derive(Debug)]
pub struct Links {
    nodes: Vec<Node>,
    lists: Vec<Ends>,
}

impl Links {
    /// `lists` empty lists, 15 at most.
    ///
    /// # Panics
    /// If more than 15 lists are asked for.
    pub fn new(lists: usize) -> Self {
        assert!(
            lists <= NO_LIST as usize,
            "at most 15 lists share their nodes"
        );
        Self {
            nodes: Vec::new(),
            lists: vec![EMPTY; lists],
        }
    }

    /// Makes room for ids below `slots`, exactly. Ids above grow the array on their own.
    #[cold]
    pub fn reserve(&mut self, slots: usize) {
        if slots > self.nodes.len() {
            self.nodes.reserve_exact(slots - self.nodes.len());
            self.nodes.resize(slots, Node::UNLINKED);
        }
    }

    #[inline]
    fn grow_to(&mut self, id: EntryId) {
        if id as usize >= self.nodes.len() {
            self.reserve(id as usize + 1);
        }
    }

    /// Entries in `list`.
    pub fn len(&self, list: u8) -> usize {
        self.lists[list as usize].len
    }

    /// Whether `list` has no entry.
    pub fn is_empty(&self, list: u8) -> bool {
        self.len(list) == 0
    }

    /// The list that holds `id`, if any.
    pub fn list_of(&self, id: EntryId) -> Option<u8> {
        let list = self.nodes.get(id as usize)?.list();
        (list != NO_LIST).then_some(list)
    }

    /// The first entry of `list`.
    pub fn front(&self, list: u8) -> Option<EntryId> {
        Self::id(self.lists[list as usize].front)
    }

    /// The last entry of `list`.
    pub fn back(&self, list: u8) -> Option<EntryId> {
        Self::id(self.lists[list as usize].back)
    }

    /// The first two entries of `list`. Has the second one's links loaded, which the removal of the
    /// first will write.
    #[inline]
    pub fn first_two(&self, list: u8) -> [Option<EntryId>; 2] {
        let front = self.front(list);
        let second = front.and_then(|id| self.next(id));
        if let Some(id) = second {
            prefetch(&raw const self.nodes[id as usize]);
        }
        [front, second]
    }

    /// The entry behind `id` in its list.
    pub fn next(&self, id: EntryId) -> Option<EntryId> {
        #[cfg(test)]
        super::steps::take();
        Self::id(self.nodes[id as usize].next())
    }

    /// The entry before `id` in its list.
    pub fn prev(&self, id: EntryId) -> Option<EntryId> {
        #[cfg(test)]
        super::steps::take();
        Self::id(self.nodes[id as usize].prev())
    }

    /// Appends `id`, which must be in no list, to `list`.
    #[inline]
    pub fn push_back(&mut self, list: u8, id: EntryId) {
        #[cfg(test)]
        super::steps::take();
        self.grow_to(id);
        debug_assert!(
            self.list_of(id).is_none(),
            "entry {id} is in a list already"
        );
        let ends = &mut self.lists[list as usize];
        let old = std::mem::replace(&mut ends.back, id);
        ends.len += 1;
        self.nodes[id as usize] = Node::new(list, old, NIL);
        if old == NIL {
            ends.front = id;
        } else {
            self.nodes[old as usize].set_next(id);
        }
    }

    /// Puts `id`, which must be in no list, first in `list`.
    pub fn push_front(&mut self, list: u8, id: EntryId) {
        match self.front(list) {
            Some(front) => self.insert_before(front, id),
            None => self.push_back(list, id),
        }
    }

    /// Puts `id`, which must be in no list, right before `at` in the list of `at`.
    ///
    /// # Panics
    /// If `at` is in no list.
    pub fn insert_before(&mut self, at: EntryId, id: EntryId) {
        #[cfg(test)]
        super::steps::take();
        self.grow_to(id);
        debug_assert!(
            self.list_of(id).is_none(),
            "entry {id} is in a list already"
        );
        let list = self.list_of(at).expect("`at` is in a list");
        let node = &mut self.nodes[at as usize];
        let prev = node.prev();
        node.set_prev(id);
        self.nodes[id as usize] = Node::new(list, prev, at);
        let ends = &mut self.lists[list as usize];
        ends.len += 1;
        if prev == NIL {
            ends.front = id;
        } else {
            self.nodes[prev as usize].set_next(id);
        }
    }

    /// Takes the first entry off `list`.
    #[inline]
    pub fn pop_front(&mut self, list: u8) -> Option<EntryId> {
        #[cfg(test)]
        super::steps::take();
        let ends = &mut self.lists[list as usize];
        let id = Self::id(ends.front)?;
        let node = std::mem::replace(&mut self.nodes[id as usize], Node::UNLINKED);
        ends.front = node.next();
        ends.len -= 1;
        if ends.front == NIL {
            ends.back = NIL;
        } else {
            self.nodes[ends.front as usize].set_prev(NIL);
        }
        Some(id)
    }

    /// Takes the last entry off `list`.
    pub fn pop_back(&mut self, list: u8) -> Option<EntryId> {
        let id = self.back(list)?;
        self.remove(id);
        Some(id)
    }

    /// Takes `id` out of its list and returns which one that was; `None` if it was in none.
    pub fn remove(&mut self, id: EntryId) -> Option<u8> {
        #[cfg(test)]
        super::steps::take();
        let node = self.nodes.get_mut(id as usize)?;
        let node = std::mem::replace(node, Node::UNLINKED);
        let list = node.list();
        if list == NO_LIST {
            return None;
        }
        let (prev, next) = (node.prev(), node.next());
        let ends = &mut self.lists[list as usize];
        ends.len -= 1;
        if prev == NIL {
            ends.front = next;
        } else {
            self.nodes[prev as usize].set_next(next);
        }
        if next == NIL {
            ends.back = prev;
        } else {
            self.nodes[next as usize].set_prev(prev);
        }
        Some(list)
    }

    /// Moves `id`, from whichever list it is in (or none), to the end of `list`.
    pub fn move_to_back(&mut self, list: u8, id: EntryId) {
        self.remove(id);
        self.push_back(list, id);
    }

    /// Puts `to`, which must be in no list, in the place of `from`, which leaves, and returns which
    /// list that is; `None`, and nothing changes, if `from` was in none.
    #[inline]
    pub fn replace(&mut self, from: EntryId, to: EntryId) -> Option<u8> {
        #[cfg(test)]
        super::steps::take();
        let list = self.list_of(from)?;
        self.grow_to(to);
        debug_assert!(
            self.list_of(to).is_none(),
            "entry {to} is in a list already"
        );
        let node = std::mem::replace(&mut self.nodes[from as usize], Node::UNLINKED);
        self.nodes[to as usize] = node;
        let ends = &mut self.lists[list as usize];
        match node.prev() {
            NIL => ends.front = to,
            prev => self.nodes[prev as usize].set_next(to),
        }
        match node.next() {
            NIL => ends.back = to,
            next => self.nodes[next as usize].set_prev(to),
        }
        Some(list)
    }

    /// The entries of `list`, first to last.
    pub fn iter(&self, list: u8) -> impl Iterator<Item = EntryId> + '_ {
        std::iter::successors(self.front(list), |&id| self.next(id))
    }

    /// Empties every list and forgets every entry. O(nodes).
    pub fn clear(&mut self) {
        self.nodes.fill(Node::UNLINKED);
        self.lists.fill(EMPTY);
    }

    /// Recounts every list from scratch.
    ///
    /// # Panics
    /// If a link, a length or a list number is wrong.
    pub fn validate(&self) {
        let mut linked = 0;
        for list in 0..self.lists.len() as u8 {
            let mut len = 0;
            let mut prev = None;
            for id in self.iter(list) {
                assert_eq!(self.list_of(id), Some(list), "entry {id} knows its list");
                assert_eq!(self.prev(id), prev, "entry {id} knows its predecessor");
                prev = Some(id);
                len += 1;
                assert!(len <= self.nodes.len(), "list {list} has no cycle");
            }
            assert_eq!(self.back(list), prev, "list {list} knows its last entry");
            assert_eq!(self.len(list), len, "list {list} knows its length");
            linked += len;
        }
        let marked = self
            .nodes
            .iter()
            .filter(|node| node.list() != NO_LIST)
            .count();
        assert_eq!(linked, marked, "every linked entry is reachable");
    }

    fn id(raw: u32) -> Option<EntryId> {
        (raw != NIL).then_some(raw)
    }
}
