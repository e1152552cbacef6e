//! Who may ask for what.

use crate::config::Config;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use nuthatch_wire::memcached::base64;
use std::net::IpAddr;

/// Paths that everybody may ask for: they tell whether the server lives, and no more.
const HEALTH: &[&str] = &["/healthz", "/readyz"];

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It was sent to a name that is not this server's.
    #[error("this server answers requests to localhost only, not to the name that was asked for")]
    Host,
    /// It came without the password.
    #[error("this needs the password of the setting http-password")]
    Password,
    /// Nobody but this machine may see it, as long as there is no password.
    #[error(
        "the dashboard is shown on an address that others can reach only if http-password is set, \
         or protected-mode is off"
    )]
    Protected,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Password => StatusCode::UNAUTHORIZED,
            Self::Protected => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether a request may be answered by a server that listens on a loopback address, or on another.
pub(super) fn check<B>(
    config: &Config,
    request: &Request<B>,
    is_local: bool,
) -> Result<(), Refusal> {
    let path = request.uri().path();
    if is_local && !is_to_loopback(request) {
        return Err(Refusal::Host);
    }
    if HEALTH.contains(&path) {
        return Ok(());
    }
    let password = config.http_password.0.as_bytes();
    if !password.is_empty() {
        return match sent_password(request) {
            Some(sent) if is_equal(&sent, password) => Ok(()),
            _ => Err(Refusal::Password),
        };
    }
    if !is_local && config.protected_mode.0 && path != "/metrics" {
        return Err(Refusal::Protected);
    }
    Ok(())
}

/// Whether the request names this machine as its host. A request without a host comes from no
/// browser.
fn is_to_loopback<B>(request: &Request<B>) -> bool {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => match request.headers().get(HOST).map(|host| host.to_str()) {
            Some(Ok(host)) => host,
            Some(Err(_)) => return false,
            None => return true,
        },
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address = address.unwrap_or(name).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The password of Basic authentication (RFC 7617), whatever the user is called.
fn sent_password<B>(request: &Request<B>) -> Option<Vec<u8>> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut decoded = Vec::new();
    if !base64::decode(credentials.trim().as_bytes(), &mut decoded) {
        return None;
    }
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Compares in a time that depends on the lengths alone.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::{Refusal, check};
    use crate::config::Config;
    use hyper::Request;

    fn ask(
        config: &Config,
        path: &str,
        headers: &[(&str, &str)],
        is_local: bool,
    ) -> Option<Refusal> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(config, &request.body(()).unwrap(), is_local).err()
    }

    #[test]
    fn a_loopback_server_answers_to_loopback_names_only() {
        let config = Config::default();
        let to = |host| ask(&config, "/", &[("host", host)], true);
        for host in [
            "localhost",
            "LOCALHOST:6380",
            "127.0.0.1:6380",
            "127.8.8.8",
            "[::1]:6380",
            "[::1]",
        ] {
            assert_eq!(to(host), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:6380",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "[",
        ] {
            assert_eq!(to(host), Some(Refusal::Host), "{host}");
        }
        assert_eq!(ask(&config, "/", &[], true), None);
        assert_eq!(
            ask(&config, "/", &[("host", "cache.example")], false),
            Some(Refusal::Protected)
        );
    }

    #[test]
    fn other_addresses_show_keys_only_with_a_password_or_without_protection() {
        let mut config = Config::default();
        let open = ["/healthz", "/readyz", "/metrics"];
        for path in open {
            assert_eq!(ask(&config, path, &[], false), None, "{path}");
        }
        for path in ["/", "/api/hot-keys", "/nothing"] {
            assert_eq!(
                ask(&config, path, &[], false),
                Some(Refusal::Protected),
                "{path}"
            );
        }
        config.set("protected-mode", "no").unwrap();
        assert_eq!(ask(&config, "/", &[], false), None);
    }

    #[test]
    fn a_password_is_asked_for_everywhere_but_in_health_checks() {
        let mut config = Config::default();
        config.set("http-password", "open: sesame").unwrap();
        for is_local in [true, false] {
            assert_eq!(ask(&config, "/healthz", &[], is_local), None);
            assert_eq!(
                ask(&config, "/metrics", &[], is_local),
                Some(Refusal::Password)
            );
            let with = |value| ask(&config, "/", &[("authorization", value)], is_local);
            assert_eq!(with("Basic YW55Om9wZW46IHNlc2FtZQ=="), None);
            assert_eq!(with("basic YW55Om9wZW46IHNlc2FtZQ=="), None);
            for wrong in [
                "Basic YW55Om9wZW4=",
                "Basic !!!",
                "Basic",
                "Bearer x",
                "Basic YW55",
            ] {
                assert_eq!(with(wrong), Some(Refusal::Password), "{wrong}");
            }
        }
    }
}
