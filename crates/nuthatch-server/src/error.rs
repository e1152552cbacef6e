//! What a command answers when it cannot do what it was asked. The texts are Redis' own, for clients
//! match on them.

use std::borrow::Cow;

/// Why a command failed. Its text is the reply, code first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The key holds another kind of value.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// An argument or a value is no integer of 64 bits.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// An argument or a value is no floating-point number.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// Options contradict each other, or are unknown.
    #[error("ERR syntax error")]
    Syntax,
    /// Too many or too few arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    /// The key does not exist.
    #[error("ERR no such key")]
    NoSuchKey,
    /// A time to live is zero, negative or beyond 64 bits of milliseconds.
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(Cow<'static, str>),
    /// An offset is beyond what a string may hold.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    /// A write needs room and nothing may be evicted.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// Any other.
    #[error("{0}")]
    Other(Cow<'static, str>),
}

impl From<&'static str> for CommandError {
    fn from(text: &'static str) -> Self {
        Self::Other(Cow::Borrowed(text))
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self::Other(Cow::Owned(text))
    }
}

/// What a command's handler returns: its reply is written already, or the error is the reply.
pub type CommandResult = Result<(), CommandError>;
