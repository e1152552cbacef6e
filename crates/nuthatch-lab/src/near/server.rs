//! The server that is read from, as the measurement itself sees it: what it is filled with, and how many
//! requests it counts.

use super::{NearError, REQUEST_TIMEOUT};
use crate::traffic::{Target, TargetError};
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion};
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// Keys that are written or removed with one request.
const BATCH: usize = 1_000;
/// What the measurement itself sends, which is not counted.
const OURS: [&str; 2] = ["info", "set"];
/// How long the server may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, as a command line names it. It displays without its password.
#[derive(Clone, Debug)]
pub struct Address {
    shown: Target,
    url: String,
    info: ConnectionInfo,
}

/// A text that names no server that can be measured.
#[derive(Debug, Error)]
pub enum AddressError {
    /// It names no server at all.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It names one of another protocol.
    #[error(
        "{0} does not speak the protocol of Redis, as redis://host:port and redis+unix:///path do"
    )]
    Protocol(Target),
    /// The client does not understand it.
    #[error("{0}")]
    Client(redis::RedisError),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shown: Target = text.parse()?;
        if !text.starts_with("redis") {
            return Err(AddressError::Protocol(shown));
        }
        Ok(Self {
            shown,
            url: text.to_owned(),
            info: text.into_connection_info().map_err(AddressError::Client)?,
        })
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

/// A connection to it that no contender uses.
pub struct Server {
    address: Address,
    connection: Connection,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        f.debug_struct("Server")
            .field("address", &address)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn connect(address: &Address) -> Result<Self, NearError> {
        let address = address.clone();
        let connection = connect(&address.info)?;
        Ok(Self {
            address,
            connection,
        })
    }

    /// The address as the near cache takes it.
    pub(super) fn url(&self) -> &str {
        &self.address.url
    }

    /// A client of the `redis` crate.
    pub(super) fn client(&self, protocol: ProtocolVersion) -> Result<Client, NearError> {
        let info = self.address.info.clone();
        let settings = info.redis_settings().clone().set_protocol(protocol);
        Ok(Client::open(info.set_redis_settings(settings))?)
    }

    /// Another connection.
    pub(super) fn connection(&self) -> Result<Connection, NearError> {
        connect(&self.address.info)
    }

    /// Writes the keys; `written` is told how many each time.
    pub(super) fn write(
        &mut self,
        names: &[String],
        value: &[u8],
        written: impl Fn(u64),
    ) -> Result<(), NearError> {
        for names in names.chunks(BATCH) {
            let mut pipeline = Pipeline::with_capacity(names.len());
            for name in names {
                pipeline.cmd("SET").arg(name).arg(value).ignore();
            }
            pipeline.exec(&mut self.connection)?;
            written(names.len() as u64);
        }
        Ok(())
    }

    /// Removes the keys.
    pub(super) fn remove(&mut self, names: &[String]) -> Result<(), NearError> {
        for names in names.chunks(BATCH) {
            redis::cmd("DEL").arg(names).exec(&mut self.connection)?;
        }
        Ok(())
    }

    /// Requests that the server has counted so far, but for writes and questions like this one; `None` if it
    /// does not count.
    pub(super) fn requests(&mut self) -> Result<Option<u64>, NearError> {
        let mut info = redis::cmd("INFO");
        let text: String = info.arg("commandstats").query(&mut self.connection)?;
        Ok(counted(&text))
    }
}

fn connect(info: &ConnectionInfo) -> Result<Connection, NearError> {
    let client = Client::open(info.clone())?;
    let connection = client.get_connection_with_timeout(REQUEST_TIMEOUT)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// The calls that a section of command statistics tells, but ours.
fn counted(text: &str) -> Option<u64> {
    let mut known = false;
    let mut sum = 0;
    for line in text.lines() {
        let Some((name, rest)) = line
            .strip_prefix("cmdstat_")
            .and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        let calls = rest
            .split(',')
            .find_map(|field| field.strip_prefix("calls="));
        known = true;
        if !OURS.contains(&name) {
            sum += calls?.trim().parse::<u64>().ok()?;
        }
    }
    known.then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::{Address, counted};

    #[test]
    fn requests_are_summed_but_for_ours() {
        let text = "# Commandstats\r\ncmdstat_get:calls=7,usec=9,usec_per_call=1.2\r\n\
                    cmdstat_set:calls=100,usec=1\r\ncmdstat_client|tracking:calls=1,usec=3\r\n\
                    cmdstat_info:calls=4,usec=3\r\n";
        assert_eq!(counted(text), Some(8));
        assert_eq!(
            counted("# Commandstats\r\n"),
            None,
            "a server that does not count"
        );
        assert_eq!(counted("cmdstat_get:usec=1\r\n"), None, "nor here");
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address: Address = "redis://me:word@127.0.0.1:1".parse().expect("an address");
        assert_eq!(address.to_string(), "redis://me:***@127.0.0.1:1");
        for (text, expected) in [
            ("127.0.0.1:6379", "redis://host:port"),
            ("memcached://127.0.0.1", "does not speak"),
            ("redis://127.0.0.1:x", "not a port"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
