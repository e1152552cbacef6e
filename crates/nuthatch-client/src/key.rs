//! Keys as the remote server knows them: a namespace, a colon, and the key's own bytes.

use std::hash::Hash;
use std::sync::Arc;

/// A key that can be written as bytes and read back, since the server names the keys that have changed.
///
/// Different keys must give different bytes, and `decode` must undo `encode`. What other programs write
/// under keys that do not decode is not this cache's.
///
/// ```
/// use nuthatch_client::RemoteKey;
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Sku { shop: u32, item: u32 }
///
/// impl RemoteKey for Sku {
///     fn encode(&self, out: &mut Vec<u8>) {
///         out.extend_from_slice(format!("{}/{}", self.shop, self.item).as_bytes());
///     }
///
///     fn decode(bytes: &[u8]) -> Option<Self> {
///         let (shop, item) = std::str::from_utf8(bytes).ok()?.split_once('/')?;
///         Some(Self { shop: shop.parse().ok()?, item: item.parse().ok()? })
///     }
/// }
/// ```
pub trait RemoteKey: Clone + Eq + Hash + Send + Sync + 'static {
    /// Appends the key's bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The key with these bytes, if there is one.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! text_keys {
    ($($type:ty),*) => {$(
        impl RemoteKey for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                std::str::from_utf8(bytes).ok().map(Self::from)
            }
        }
    )*};
}
text_keys!(String, Box<str>, Arc<str>);

macro_rules! byte_keys {
    ($($type:ty),*) => {$(
        impl RemoteKey for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self);
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                Some(Self::from(bytes))
            }
        }
    )*};
}
byte_keys!(Vec<u8>, Box<[u8]>, Arc<[u8]>);

macro_rules! number_keys {
    ($($type:ty),*) => {$(
        /// In decimal.
        impl RemoteKey for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.to_string().as_bytes());
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                std::str::from_utf8(bytes).ok()?.parse().ok()
            }
        }
    )*};
}
number_keys!(u16, u32, u64, u128, usize, i16, i32, i64, i128, isize);

/// What all keys of one cache begin with on the server.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    prefix: Arc<[u8]>,
}

impl Namespace {
    /// `name` and a colon; nothing where the name is empty.
    pub(crate) fn new(name: &str) -> Self {
        let mut prefix = name.as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b':');
        }
        Self {
            prefix: prefix.into(),
        }
    }

    /// What keys begin with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The key as the server knows it.
    pub(crate) fn remote<K: RemoteKey>(&self, key: &K) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.prefix.len() + 32);
        bytes.extend_from_slice(&self.prefix);
        key.encode(&mut bytes);
        bytes
    }

    /// The key that the server knows by these bytes, if it is one of this cache.
    pub(crate) fn local<K: RemoteKey>(&self, bytes: &[u8]) -> Option<K> {
        K::decode(bytes.strip_prefix(&*self.prefix)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Namespace, RemoteKey};
    use std::fmt::Debug;
    use std::sync::Arc;

    fn there_and_back<K: RemoteKey + Debug>(key: K) {
        for name in ["", "users", "a:b"] {
            let namespace = Namespace::new(name);
            let bytes = namespace.remote(&key);
            assert_eq!(namespace.local(&bytes), Some(key.clone()));
        }
    }

    #[test]
    fn keys_come_back_from_the_server_as_they_went() {
        there_and_back("nut".to_owned());
        there_and_back(String::new());
        there_and_back(Arc::<str>::from("käse"));
        there_and_back(vec![0_u8, 255, 10]);
        there_and_back(u64::MAX);
        there_and_back(i32::MIN);
    }

    #[test]
    fn keys_of_others_are_not_ours() {
        let namespace = Namespace::new("users");
        assert_eq!(namespace.local::<u64>(b"users:7"), Some(7));
        for other in [&b"users:seven"[..], b"user:7", b"users7", b"7", b"users:"] {
            assert_eq!(namespace.local::<u64>(other), None, "{other:?}");
        }
        assert_eq!(namespace.local::<String>(b"users:\xff"), None);
    }
}
