//! The server's web side: the dashboard and its API, `/metrics`, health checks. It runs on the control
//! thread and only reads.
//!
//! Who may see what. A page that some site shows in a browser must not reach this server through the
//! browser (DNS rebinding), so a server on a loopback address answers only to names of that address.
//! A server on any other address shows keys and clients only to whoever knows `http-password`; without
//! one, protected mode leaves it the health checks and `/metrics`, which name no key.
//!
//! Slow and greedy clients cost a bounded number of connections, of bytes and of seconds.

mod access;
mod api;
mod assets;
pub mod metrics;

pub use api::{
    BigKeyRow, BigKeyShare, BigKeysView, ClientRow, ClientsView, CommandRow, CommandsView,
    DurabilityView, HistoryView, HotKeyRow, HotKeysView, Overview, SettingRow, SettingsView,
    SlowLogRow, SlowLogView, Totals,
};

use crate::durability::Condition;
use crate::server::Server;
use access::Refusal;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Metrics;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time; what comes beyond them is closed at once.
const MAX_CONNECTIONS: usize = 256;
/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last: a reader that is too slow for its reply ends here.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 16 * 1024;
/// How long to wait before accepting again when the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a page of this server may do: load what this server has, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers requests until it is dropped.
pub async fn serve(server: Arc<Server>, listener: std::net::TcpListener) -> io::Result<()> {
    let metrics = Arc::new(Metrics::new(Arc::clone(&server)));
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let is_local = address.ip().is_loopback();
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let site = Site {
            server: Arc::clone(&server),
            metrics: Arc::clone(&metrics),
            is_local,
        };
        tokio::spawn(async move {
            converse(site, stream).await;
            drop(place);
        });
    }
}

/// What requests are answered from.
#[derive(Debug)]
struct Site {
    server: Arc<Server>,
    metrics: Arc<Metrics>,
    /// Whether it listens on a loopback address.
    is_local: bool,
}

async fn converse(site: Site, stream: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&site, &request);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended early"),
        Err(_) => tracing::debug!("an HTTP connection lasted too long"),
    }
}

/// A reply before the headers that all replies have.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl Answer {
    fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            body: body.into(),
        }
    }

    fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            ..Self::new("text/plain; charset=utf-8", text.into() + "\n")
        }
    }

    fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new("application/json", body),
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

fn answer(site: &Site, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let allowed = access::check(&site.server.config(), request, site.is_local);
    let refusal = allowed.as_ref().err().copied();
    let answer = match refusal {
        Some(refusal) => Answer::text(refusal.status(), refusal.to_string()),
        None if !matches!(*request.method(), Method::GET | Method::HEAD) => Answer::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are answered",
        ),
        None => route(site, path, request.uri().query().unwrap_or("")),
    };
    let length = answer.body.len();
    let body = if *request.method() == Method::HEAD {
        Bytes::new()
    } else {
        answer.body
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, answer.content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if refusal == Some(Refusal::Password) {
        let challenge = HeaderValue::from_static("Basic realm=\"nuthatch\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn route(site: &Site, path: &str, query: &str) -> Answer {
    let server = &*site.server;
    match path {
        "/healthz" => Answer::text(StatusCode::OK, "ok"),
        "/readyz" => readiness(server),
        "/metrics" => match site.metrics.encode() {
            Ok(text) => Answer::new(metrics::CONTENT_TYPE, text),
            Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        "/api/overview" => Answer::json(&api::overview(server)),
        "/api/history" => Answer::json(&api::history(server, query)),
        "/api/commands" => Answer::json(&api::commands(server)),
        "/api/durability" => Answer::json(&api::durability(server)),
        "/api/clients" => Answer::json(&api::clients(server)),
        "/api/slow-log" => Answer::json(&api::slow_log(server)),
        "/api/hot-keys" => Answer::json(&api::hot_keys(server)),
        "/api/big-keys" => Answer::json(&api::big_keys(server)),
        "/api/settings" => Answer::json(&api::settings(server)),
        path => match assets::find(path) {
            Some(asset) => Answer::new(asset.content_type, asset.text),
            None => Answer::text(StatusCode::NOT_FOUND, "there is nothing here"),
        },
    }
}

fn readiness(server: &Server) -> Answer {
    let figures = server.durability_figures();
    if figures.is_loading {
        let state = Condition::of(&figures).state;
        return Answer::text(StatusCode::SERVICE_UNAVAILABLE, state);
    }
    if server.is_ready() {
        Answer::text(StatusCode::OK, "ready")
    } else {
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready")
    }
}
