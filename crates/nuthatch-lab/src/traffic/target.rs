//! Servers as a command line names them: `redis://user:password@host:port?protocol=3`,
//! `memcached+unix:///path`.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

const RESP_PORT: u16 = 6379;
const MEMCACHED_PORT: u16 = 11211;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The protocol of Redis, version 2.
    Resp2,
    /// Its version 3.
    Resp3,
    /// memcached's classic text protocol.
    Memcached,
}

/// A server. It displays without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) protocol: Protocol,
    pub(super) address: Address,
    pub(super) credentials: Option<Credentials>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    /// `None` is the default user.
    pub(super) user: Option<String>,
    pub(super) password: String,
}

/// A text that names no server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// It does not begin with a scheme that there is.
    #[error(
        "{0:?} names no server; there are redis://host:port, redis+unix:///path, \
         memcached://host:port and memcached+unix:///path"
    )]
    Scheme(String),
    /// The host is missing.
    #[error("{0:?} lacks a host, as in redis://127.0.0.1:6379")]
    Host(String),
    /// The port is no port.
    #[error("{0:?} is not a port from 1 to 65535")]
    Port(String),
    /// The path of the socket is missing.
    #[error("{0:?} lacks the socket's path, as in redis+unix:///run/redis.sock")]
    Path(String),
    /// There is something behind the port.
    #[error("{0:?} behind the port means nothing: there is one database")]
    Database(String),
    /// The part behind the question mark is not understood.
    #[error("{0:?} is neither protocol=2 nor protocol=3")]
    Option(String),
    /// memcached's text protocol knows neither versions nor users.
    #[error("memcached takes no {0}")]
    NotForMemcached(&'static str),
    /// A user without a password, or percent signs that encode nothing.
    #[error("the credentials are not user:password, with % and @ , : / as %25 %40 %2C %3A %2F")]
    Credentials,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let unknown = || TargetError::Scheme(without_credentials(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
        let (family, is_unix) = match scheme.strip_suffix("+unix") {
            Some(family) => (family, true),
            None => (scheme, false),
        };
        let (place, option) = match rest.split_once('?') {
            Some((place, option)) => (place, Some(option)),
            None => (rest, None),
        };
        let protocol = match (family, option) {
            ("redis", None | Some("protocol=2")) => Protocol::Resp2,
            ("redis", Some("protocol=3")) => Protocol::Resp3,
            ("redis", Some(option)) => return Err(TargetError::Option(option.to_owned())),
            ("memcached", None) => Protocol::Memcached,
            ("memcached", Some(_)) => return Err(TargetError::NotForMemcached("options")),
            _ => return Err(unknown()),
        };
        // The password may hold an @ that is not encoded; a host may not.
        let (credentials, place) = match place.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials.parse()?), place),
            None => (None, place),
        };
        if protocol == Protocol::Memcached && credentials.is_some() {
            return Err(TargetError::NotForMemcached("credentials"));
        }
        let address = if is_unix {
            Address::unix(place)?
        } else {
            Address::tcp(place, protocol)?
        };
        Ok(Self {
            protocol,
            address,
            credentials,
        })
    }
}

impl Address {
    fn unix(path: &str) -> Result<Self, TargetError> {
        if !path.starts_with('/') {
            return Err(TargetError::Path(path.to_owned()));
        }
        Ok(Self::Unix(path.into()))
    }

    fn tcp(place: &str, protocol: Protocol) -> Result<Self, TargetError> {
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        if !database.is_empty() {
            return Err(TargetError::Database(database.to_owned()));
        }
        // The colons of an IPv6 address stand in brackets.
        let port_at = authority.rfind(':').filter(|&colon| {
            let bracket = authority.rfind(']');
            bracket.is_none_or(|bracket| bracket < colon)
        });
        let (host, port) = match port_at {
            Some(colon) => {
                let text = &authority[colon + 1..];
                let port = text.parse().ok().filter(|&port: &u16| port != 0);
                let port = port.ok_or_else(|| TargetError::Port(text.to_owned()))?;
                (&authority[..colon], port)
            }
            None if protocol == Protocol::Memcached => (authority, MEMCACHED_PORT),
            None => (authority, RESP_PORT),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() {
            return Err(TargetError::Host(place.to_owned()));
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl FromStr for Credentials {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (user, password) = text.split_once(':').ok_or(TargetError::Credentials)?;
        let decoded = |text| percent_decoded(text).ok_or(TargetError::Credentials);
        let user = decoded(user)?;
        Ok(Self {
            user: (!user.is_empty()).then_some(user),
            password: decoded(password)?,
        })
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// What an error may show of a text that may hold a password.
fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
        _ => text.to_owned(),
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.protocol {
            Protocol::Resp2 | Protocol::Resp3 => "redis",
            Protocol::Memcached => "memcached",
        };
        let credentials = match &self.credentials {
            Some(Credentials { user, .. }) => {
                format!("{}:***@", user.as_deref().unwrap_or_default())
            }
            None => String::new(),
        };
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => {
                write!(f, "{family}://{credentials}[{host}]:{port}")?;
            }
            Address::Tcp { host, port } => write!(f, "{family}://{credentials}{host}:{port}")?,
            Address::Unix(path) => write!(f, "{family}+unix://{credentials}{}", path.display())?,
        }
        match self.protocol {
            Protocol::Resp3 => f.write_str("?protocol=3"),
            Protocol::Resp2 | Protocol::Memcached => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_server_is_named_by_what_it_speaks_and_where_it_listens() {
        for text in [
            "redis://127.0.0.1:6380",
            "redis://[::1]:6380",
            "redis://cache.example:6379?protocol=3",
            "redis+unix:///run/redis.sock",
            "memcached://127.0.0.1:11212",
            "memcached+unix:///run/memcached.sock",
        ] {
            assert_eq!(target(text).to_string(), text);
        }
        for (text, full) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://localhost/", "redis://localhost:6379"),
            ("redis://[::1]?protocol=2", "redis://[::1]:6379"),
            ("memcached://localhost", "memcached://localhost:11211"),
        ] {
            assert_eq!(target(text).to_string(), full);
        }
    }

    #[test]
    fn a_password_is_decoded_and_never_shown() {
        let full = target("redis://user:s%2Fecr%40t@host:1");
        assert_eq!(
            full.credentials,
            Some(Credentials {
                user: Some("user".to_owned()),
                password: "s/ecr@t".to_owned()
            })
        );
        assert_eq!(full.to_string(), "redis://user:***@host:1");
        assert_eq!(
            target("redis://:word@host:1").to_string(),
            "redis://:***@host:1"
        );
        let wrong = "rediss://user:secret@host:1".parse::<Target>().unwrap_err();
        assert!(!wrong.to_string().contains("secret"), "{wrong}");
    }

    #[test]
    fn a_text_that_names_no_server_says_what_is_wrong_with_it() {
        for (text, expected) in [
            ("127.0.0.1:6379", "redis://host:port"),
            ("http://host", "memcached://host:port"),
            ("redis://", "lacks a host"),
            ("redis://:6379", "lacks a host"),
            ("redis://host:0", "not a port"),
            ("redis://host:65536", "not a port"),
            ("redis://host:", "not a port"),
            ("redis://host/3", "one database"),
            ("redis://host?protocol=4", "protocol=3"),
            ("redis://secret@host", "user:password"),
            ("redis://:%zz@host", "%25"),
            ("redis+unix://run/a.sock", "socket's path"),
            ("memcached://user:word@host", "no credentials"),
            ("memcached://host?protocol=3", "no options"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
