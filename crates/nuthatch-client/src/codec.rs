//! Values as bytes: how they are kept on the remote server.

use std::error::Error;
use std::sync::Arc;

/// Why a value could not be written as bytes or read from them.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// Writes values as bytes and reads them back.
///
/// Bytes that do not decode count as a miss: another program, or an older version of this one, has
/// written what this one cannot read.
pub trait Codec<V>: Send + Sync + 'static {
    /// Appends the value's bytes.
    ///
    /// # Errors
    /// Where the value has no such bytes.
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value with these bytes.
    ///
    /// # Errors
    /// Where they are no value's.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// Bytes and text, kept as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

macro_rules! byte_values {
    ($($type:ty),*) => {$(
        impl Codec<$type> for Bytes {
            fn encode(&self, value: &$type, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend_from_slice(value.as_ref());
                Ok(())
            }

            fn decode(&self, bytes: &[u8]) -> Result<$type, CodecError> {
                Ok(bytes.into())
            }
        }
    )*};
}
byte_values!(Vec<u8>, Box<[u8]>, Arc<[u8]>);

macro_rules! text_values {
    ($($type:ty),*) => {$(
        impl Codec<$type> for Bytes {
            fn encode(&self, value: &$type, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend_from_slice(value.as_bytes());
                Ok(())
            }

            fn decode(&self, bytes: &[u8]) -> Result<$type, CodecError> {
                Ok(std::str::from_utf8(bytes)?.into())
            }
        }
    )*};
}
text_values!(String, Box<str>, Arc<str>);

/// Any value that serde knows, as JSON: readable by every language and by people.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for Json {
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(serde_json::to_writer(out, value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Any value that serde knows, in the [postcard](https://postcard.jamesmunns.com/wire-format) format:
/// short and quick, for Rust alone. It does not tell types apart, so put it in [`Versioned`].
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for Postcard {
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(postcard::to_io(value, out).map(drop)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let (value, rest) = postcard::take_from_bytes(bytes)?;
        if rest.is_empty() {
            Ok(value)
        } else {
            Err(format!("{} bytes too many", rest.len()).into())
        }
    }
}

/// A codec whose bytes begin with a version, so that values of other versions are not misread while two
/// versions of a program run side by side: they count as misses, and are loaded and written anew.
///
/// ```
/// use nuthatch_client::codec::{Bytes, Codec, Versioned};
/// let (old, new) = (Versioned::new(1, Bytes), Versioned::new(2, Bytes));
/// let mut bytes = Vec::new();
/// old.encode(&"nut".to_owned(), &mut bytes)?;
/// let text: String = old.decode(&bytes)?;
/// assert_eq!(text, "nut");
/// let other: Result<String, _> = new.decode(&bytes);
/// assert_eq!(other.unwrap_err().to_string(), "a value of version 1, not 2");
/// # Ok::<(), nuthatch_client::codec::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Versioned<C> {
    version: u16,
    inner: C,
}

impl<C> Versioned<C> {
    /// `inner`, with the version in two bytes before it, the high one first.
    pub fn new(version: u16, inner: C) -> Self {
        Self { version, inner }
    }
}

impl<V, C: Codec<V>> Codec<V> for Versioned<C> {
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&self.version.to_be_bytes());
        self.inner.encode(value, out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let (version, rest) = bytes
            .split_first_chunk()
            .ok_or("a value without a version")?;
        let version = u16::from_be_bytes(*version);
        if version != self.version {
            return Err(format!("a value of version {version}, not {}", self.version).into());
        }
        self.inner.decode(rest)
    }
}
