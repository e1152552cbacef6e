//! What a key holds: a string, a hash, in the item or beside it.
//!
//! An item's tag says what its bytes are. What grows large and is changed in place is an [`Object`].

use crate::error::CommandError;
use crate::hash::{FlatBuffer, FlatHash, HashRef, SharedHash};
use crate::stamp;
use nuthatch::{Item, ItemValue};
use std::sync::Arc;

/// A key and its value.
pub type Entry = Item<Object>;

/// The tag of an item whose bytes are a string and nothing else, and of one that holds an object. A
/// string with a [`Stamp`](stamp::Stamp) has a tag of its own.
pub const STRING: u8 = 0;
/// The tag of an item whose bytes are a string too, one that was changed in a part. `OBJECT ENCODING`
/// tells them apart, as in Redis.
pub const CHANGED_STRING: u8 = 2;
/// The tag of an item whose bytes are a flat hash.
pub const HASH: u8 = 1;

/// What a key holds besides bytes.
#[derive(Debug)]
pub enum Object {
    /// An indexed hash.
    Hash(Arc<SharedHash>),
}

impl Object {
    /// Bytes that it takes besides its place in the item.
    pub fn weight_bytes(&self) -> u64 {
        match self {
            Self::Hash(hash) => hash.weight_bytes(),
        }
    }
}

/// The value of a key, in place.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A string.
    String(&'a [u8]),
    /// A hash.
    Hash(HashRef<'a>),
}

impl<'a> Value<'a> {
    /// The value of an item.
    #[inline]
    pub fn of(item: &'a Entry) -> Self {
        match item.value() {
            ItemValue::Bytes(bytes) if item.tag() == HASH => {
                Self::Hash(HashRef::Flat(FlatHash::from_bytes(bytes)))
            }
            ItemValue::Bytes(bytes) if stamp::is_stamped(item.tag()) => {
                Self::String(stamp::without_stamp(item.tag(), bytes))
            }
            ItemValue::Bytes(bytes) => Self::String(bytes),
            ItemValue::Object(Object::Hash(hash)) => Self::Hash(HashRef::Indexed(hash)),
        }
    }

    /// The name of the type, as `TYPE` prints it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Hash(_) => "hash",
        }
    }

    /// The string, if it is one.
    #[inline]
    pub fn string(&self) -> Result<&'a [u8], CommandError> {
        match *self {
            Self::String(bytes) => Ok(bytes),
            Self::Hash(_) => Err(CommandError::WrongType),
        }
    }

    /// The hash, if it is one.
    #[inline]
    pub fn hash(&self) -> Result<HashRef<'a>, CommandError> {
        match *self {
            Self::Hash(hash) => Ok(hash),
            Self::String(_) => Err(CommandError::WrongType),
        }
    }

    /// A copy that shares nothing with it.
    pub fn to_copy(&self) -> ValueCopy {
        match *self {
            Self::String(bytes) => ValueCopy::String(bytes.into()),
            Self::Hash(hash) => ValueCopy::Hash(hash.to_flat()),
        }
    }
}

/// A value outside of the keyspace: copied out of it ([`Value::to_copy`]), or to be put there
/// ([`Context::put_copy`](crate::context::Context::put_copy)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueCopy {
    /// A string.
    String(Vec<u8>),
    /// A hash.
    Hash(FlatBuffer),
}
