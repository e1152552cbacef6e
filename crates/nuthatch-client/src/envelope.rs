//! How a value lies on the server: the codec's bytes as they are, unless compression or negative caching is
//! asked for.
//!
//! - **Compressed** values are zstd frames (RFC 8878), which begin with a magic number. Values whose own bytes
//!   begin with it are compressed whatever their length, so a frame is always one of ours. Without compression
//!   no bytes are looked into.
//! - **Absence** is a value of its own, [`ABSENT`]: "the loader has found nothing". Where negative caching is
//!   on, a value with just these bytes is refused.

use crate::codec::{Codec, CodecError};
use crate::error::RemoteError;
use std::sync::Arc;

/// What says that there is nothing.
pub(crate) const ABSENT: &[u8] = b"\0nuthatch: absent\0";

/// What zstd frames begin with.
#[cfg(feature = "compression")]
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Compresses values of this length on.
#[cfg(feature = "compression")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compression {
    /// Shorter values are kept as they are.
    pub(crate) threshold_bytes: usize,
    /// zstd's level.
    pub(crate) level: i32,
}

/// What lies on the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored<V> {
    Value(V),
    Absent,
}

/// Why bytes are no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("longer than the {max} bytes that are allowed")]
    TooLong { max: usize },
    #[error("not a value: {0}")]
    Undecodable(CodecError),
}

/// See the module's text.
pub(crate) struct Envelope<V> {
    pub(crate) codec: Arc<dyn Codec<V>>,
    pub(crate) max_value_bytes: usize,
    pub(crate) negative: bool,
    #[cfg(feature = "compression")]
    pub(crate) compression: Option<Compression>,
}

impl<V: 'static> Envelope<V> {
    /// The bytes to send for a value.
    pub(crate) fn seal(&self, value: &V) -> Result<Vec<u8>, RemoteError> {
        let mut bytes = Vec::new();
        self.codec
            .encode(value, &mut bytes)
            .and_then(|()| self.compressed(bytes))
            .map_err(|error| RemoteError::Encode(Arc::new(error)))
            .and_then(|bytes| {
                let (len, max) = (bytes.len(), self.max_value_bytes);
                if len > max {
                    return Err(RemoteError::ValueTooLarge { len, max });
                }
                if self.negative && bytes == ABSENT {
                    let error: CodecError = "these bytes stand for the absence of a value".into();
                    return Err(RemoteError::Encode(Arc::new(error)));
                }
                Ok(bytes)
            })
    }

    /// What the bytes that lie on the server are.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Stored<V>, Unreadable> {
        if bytes.len() > self.max_value_bytes {
            let max = self.max_value_bytes;
            return Err(Unreadable::TooLong { max });
        }
        if self.negative && bytes == ABSENT {
            return Ok(Stored::Absent);
        }
        let value = match self.decompressed(bytes)? {
            Some(plain) => self.codec.decode(&plain),
            None => self.codec.decode(bytes),
        };
        value.map(Stored::Value).map_err(Unreadable::Undecodable)
    }

    #[cfg(feature = "compression")]
    fn compressed(&self, plain: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        let Some(compression) = self.compression else {
            return Ok(plain);
        };
        let looks_compressed = plain.starts_with(&ZSTD_MAGIC);
        if plain.len() < compression.threshold_bytes && !looks_compressed {
            return Ok(plain);
        }
        let frame = zstd::bulk::compress(&plain, compression.level)?;
        // What does not get shorter is kept as it is.
        Ok(if frame.len() < plain.len() || looks_compressed {
            frame
        } else {
            plain
        })
    }

    #[cfg(feature = "compression")]
    fn decompressed(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        use std::io::Read;

        if self.compression.is_none() || !bytes.starts_with(&ZSTD_MAGIC) {
            return Ok(None);
        }
        // A short frame may stand for gigabytes, so no more is unpacked than any value may have before it
        // is compressed.
        let max = self.max_value_bytes.saturating_mul(MAX_RATIO);
        let mut plain = Vec::new();
        zstd::stream::read::Decoder::new(bytes)
            .and_then(|decoder| decoder.take(max as u64 + 1).read_to_end(&mut plain))
            .map_err(|error| Unreadable::Undecodable(error.into()))?;
        if plain.len() > max {
            return Err(Unreadable::TooLong { max });
        }
        Ok(Some(plain))
    }

    #[cfg(not(feature = "compression"))]
    fn compressed(&self, plain: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        Ok(plain)
    }

    #[cfg(not(feature = "compression"))]
    fn decompressed(&self, _bytes: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(None)
    }
}

/// How many times longer than `max_value_bytes` a value may be before it is compressed.
#[cfg(feature = "compression")]
const MAX_RATIO: usize = 64;

#[cfg(test)]
mod tests {
    use super::{ABSENT, Envelope, Stored, Unreadable};
    use crate::codec::Bytes;
    use crate::error::RemoteError;
    use std::sync::Arc;

    fn plain() -> Envelope<Vec<u8>> {
        Envelope {
            codec: Arc::new(Bytes),
            max_value_bytes: 1_000,
            negative: false,
            #[cfg(feature = "compression")]
            compression: None,
        }
    }

    #[test]
    fn bytes_pass_through_untouched() {
        let envelope = plain();
        for value in [&b""[..], b"nut", ABSENT, b"\x28\xB5\x2F\xFD", &[7; 1_000]] {
            let bytes = envelope.seal(&value.to_vec()).expect("short enough");
            assert_eq!(bytes, value);
            assert_eq!(
                envelope.open(&bytes).unwrap(),
                Stored::Value(value.to_vec())
            );
        }
    }

    #[test]
    fn what_is_too_long_is_refused_both_ways() {
        let envelope = plain();
        let refused = envelope.seal(&vec![0; 1_001]);
        assert!(
            matches!(
                refused,
                Err(RemoteError::ValueTooLarge {
                    len: 1_001,
                    max: 1_000
                })
            ),
            "{refused:?}"
        );
        let unreadable = envelope.open(&[0; 1_001]);
        assert!(matches!(
            unreadable,
            Err(Unreadable::TooLong { max: 1_000 })
        ));
    }

    #[test]
    fn absence_is_told_from_every_value() {
        let envelope = Envelope {
            negative: true,
            ..plain()
        };
        assert_eq!(envelope.open(ABSENT).unwrap(), Stored::Absent);
        assert!(matches!(
            envelope.seal(&ABSENT.to_vec()),
            Err(RemoteError::Encode(_))
        ));
        assert_eq!(envelope.open(b"").unwrap(), Stored::Value(Vec::new()));
    }

    #[cfg(feature = "compression")]
    mod compression {
        use super::super::{Compression, Envelope, Stored, Unreadable, ZSTD_MAGIC};
        use super::plain;

        fn compressing() -> Envelope<Vec<u8>> {
            Envelope {
                compression: Some(Compression {
                    threshold_bytes: 100,
                    level: 3,
                }),
                ..plain()
            }
        }

        #[test]
        fn long_values_get_shorter_and_come_back() {
            let envelope = compressing();
            let random: Vec<u8> = (0..200_u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect();
            let magic = [&ZSTD_MAGIC[..], b"not a frame"].concat();
            for (value, shorter) in [
                (vec![7; 900], true),
                (vec![7; 50_000], true),
                (vec![7; 99], false),
                (random, false),
                (magic.clone(), false),
                (ZSTD_MAGIC.to_vec(), false),
            ] {
                let bytes = envelope.seal(&value).expect("short enough");
                assert_eq!(
                    bytes.len() < value.len(),
                    shorter,
                    "{} of {}",
                    bytes.len(),
                    value.len()
                );
                assert_eq!(envelope.open(&bytes).unwrap(), Stored::Value(value));
            }
            assert_ne!(envelope.seal(&magic).expect("short enough"), magic);
        }

        #[test]
        fn a_frame_that_unpacks_to_too_much_or_is_broken_is_no_value() {
            let envelope = compressing();
            let bomb = zstd::bulk::compress(&vec![0; 1_000_000], 19).expect("compresses");
            assert!(bomb.len() < 1_000);
            assert!(matches!(
                envelope.open(&bomb),
                Err(Unreadable::TooLong { max: 64_000 })
            ));
            let bytes = envelope.seal(&vec![7; 900]).expect("short enough");
            for len in 4..bytes.len() {
                let broken = envelope.open(&bytes[..len]);
                assert!(
                    matches!(broken, Err(Unreadable::Undecodable(_))),
                    "{len}: {broken:?}"
                );
            }
        }
    }
}
