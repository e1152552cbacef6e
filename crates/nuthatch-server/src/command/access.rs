//! What a command does to the keys that it names, in the words of Redis' key specifications.
//!
//! Permissions of keys (`%R~`, `%W~`) and `COMMAND GETKEYSANDFLAGS` follow from it.

use super::{Command, Entry, Flags, is_word};
use nuthatch_wire::resp::Args;

bitflags::bitflags! {
    /// What a command does to a key.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        /// It reads the key or what is known of it, and changes nothing.
        const RO = 1;
        /// It reads and changes.
        const RW = 1 << 1;
        /// It replaces what is there.
        const OW = 1 << 2;
        /// It removes.
        const RM = 1 << 3;
        /// It tells, copies or moves the value.
        const ACCESS = 1 << 4;
        /// It changes the value.
        const UPDATE = 1 << 5;
        /// It adds to the value.
        const INSERT = 1 << 6;
        /// It removes from the value, or the key.
        const DELETE = 1 << 7;
        /// What it does depends on its other arguments.
        const VARIABLE = 1 << 8;
    }
}

/// `GET`: tells the value.
pub const READS: Access = Access::RO.union(Access::ACCESS);
/// `EXPIRE`, `HSET`: changes the value without telling it.
pub const UPDATES: Access = Access::RW.union(Access::UPDATE);
/// `INCR`: changes the value and tells it.
pub const READS_AND_UPDATES: Access = READS_AND_WRITES.union(Access::UPDATE);
/// `MSET`: replaces the value.
pub const OVERWRITES: Access = Access::OW.union(Access::UPDATE);
/// `SETNX`: makes a key that was not there.
pub const CREATES: Access = Access::OW.union(Access::INSERT);
/// `APPEND`: adds to the value.
pub const INSERTS: Access = Access::RW.union(Access::INSERT);
/// `DEL`: removes the key.
pub const REMOVES: Access = Access::RM.union(Access::DELETE);
/// `HDEL`: removes from the value.
pub const DELETES: Access = Access::RW.union(Access::DELETE);
/// `GETDEL`: tells the value and removes it.
pub const READS_AND_DELETES: Access = READS_AND_WRITES.union(Access::DELETE);

const READS_AND_WRITES: Access = Access::RW.union(Access::ACCESS);

impl Access {
    const NAMES: [(Self, &'static str); 8] = [
        (Self::RO, "RO"),
        (Self::RW, "RW"),
        (Self::OW, "OW"),
        (Self::RM, "RM"),
        (Self::ACCESS, "access"),
        (Self::UPDATE, "update"),
        (Self::INSERT, "insert"),
        (Self::DELETE, "delete"),
    ];

    /// The words for it; that it varies is none.
    pub fn names(self) -> impl ExactSizeIterator<Item = &'static str> + use<> {
        let names: Vec<_> = Self::NAMES
            .iter()
            .filter(|(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
            .collect();
        names.into_iter()
    }

    /// Whether it needs the right to read the key.
    pub fn reads(self) -> bool {
        self.contains(Self::ACCESS)
    }

    /// Whether it needs the right to write the key.
    pub fn writes(self) -> bool {
        self.intersects(Self::UPDATE.union(Self::INSERT).union(Self::DELETE))
    }
}

impl Command {
    /// What it does to its first key and to its others, as declared or as its flags say.
    pub fn declared_access(&self) -> (Access, Access) {
        let implied = if self.flags.contains(Flags::WRITE) {
            UPDATES
        } else if self.flags.contains(Flags::NO_LOOK) {
            Access::RO
        } else {
            READS
        };
        self.access.unwrap_or((implied, implied))
    }
}

impl Entry {
    /// The positions of the keys of a request, and what it does to each.
    pub fn keys_and_access(&self, args: Args<'_>) -> impl Iterator<Item = (usize, Access)> + use<> {
        let (mut first, rest) = self.command.declared_access();
        if first.contains(Access::VARIABLE) {
            first = match self.command.name {
                "set" => set_access(args),
                _ => bitfield_access(args),
            };
        }
        let positions = self.command.keys.positions(args).enumerate();
        positions.map(move |(index, position)| (position, if index == 0 { first } else { rest }))
    }
}

/// `SET` without `GET` and without a comparison tells nothing of what was there.
fn set_access(args: Args<'_>) -> Access {
    let tells = |option: &[u8]| is_word(option, "GET") || is_word(option, "IFEQ");
    if args.from(3.min(args.len())).iter().any(tells) {
        READS_AND_UPDATES
    } else {
        OVERWRITES
    }
}

/// `BITFIELD` with nothing but `GET` changes nothing.
fn bitfield_access(args: Args<'_>) -> Access {
    let changes = |option: &[u8]| is_word(option, "SET") || is_word(option, "INCRBY");
    if args.from(2.min(args.len())).iter().any(changes) {
        READS_AND_UPDATES
    } else {
        READS
    }
}
