//! Metrics, health and status over HTTP.

use super::http::{self, Answer, Body, Endless, TEXT, respond};
use super::metrics::{Metrics, TextFormat};
use super::readiness::Readiness;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Why nothing can be served.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot serve metrics and health on `{}`: {}; ", self.address, self.source)?;
        f.write_str(match self.source.kind() {
            ErrorKind::AddrInUse => "another process of this node listens there: give another port",
            ErrorKind::AddrNotAvailable => "the node has no such address: give one of its own, or 127.0.0.1",
            ErrorKind::PermissionDenied => "ports below 1024 need a capability: give a higher one",
            _ => "give another address",
        })
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Tells that the loop of the process goes round. A handle: clones share the last beat.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    start: Instant,
    /// Milliseconds from the start to the last beat.
    last: Arc<AtomicU64>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }
}

impl Heartbeat {
    /// The loop has gone round, now.
    pub fn beat(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// How long ago the last one was; before the first one, how old the process is.
    pub fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// What the `status` command shows. A handle: clones share the value.
#[derive(Debug, Clone, Default)]
pub struct Status {
    value: Arc<RwLock<Option<Value>>>,
}

impl Status {
    /// Replaces it.
    pub fn set(&self, status: &impl Serialize) -> Result<(), serde_json::Error> {
        let value = serde_json::to_value(status)?;
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// What was set last, if anything was.
    pub fn get(&self) -> Option<Value> {
        self.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All that is served.
#[derive(Debug, Clone)]
pub struct Observed {
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/status`.
    pub status: Status,
    /// `/healthz`.
    pub heartbeat: Heartbeat,
    /// How old the last beat may be.
    pub heartbeat_limit: Duration,
}

/// Takes the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves until `end`.
pub async fn serve(listener: TcpListener, observed: Observed, end: impl Future<Output = ()>) {
    http::serve(listener, observed, end).await;
}

impl Answer for Observed {
    const WHAT: &'static str = "metrics and health";

    async fn answer(&self, request: &Request<Incoming>, _: &Endless) -> Response<Body> {
        self.page(request).unwrap_or_else(|| {
            let pages = format!("there are {PAGES}\n");
            respond(StatusCode::NOT_FOUND, TEXT, pages)
        })
    }
}

/// What there is.
pub const PAGES: &str = "/metrics, /healthz, /readyz and /status";

impl Observed {
    /// A page; `None` when there is none of that path.
    pub fn page(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let page = match request.uri().path() {
            "/metrics" => metrics,
            "/healthz" => healthz,
            "/readyz" => readyz,
            "/status" => status,
            _ => return None,
        };
        Some(page(self, request.headers()))
    }
}

fn metrics(observed: &Observed, headers: &HeaderMap) -> Response<Body> {
    // A client may send several headers as well as several values in one.
    let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = TextFormat::preferred(&accept.join(","));
    observed.metrics.ready.set(observed.readiness.is_ready().into());
    match observed.metrics.encode(format) {
        Ok(text) => respond(StatusCode::OK, format.content_type(), text),
        Err(error) => {
            respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("the metrics cannot be written: {error}\n"))
        }
    }
}

fn healthz(observed: &Observed, _: &HeaderMap) -> Response<Body> {
    let (age, limit) = (observed.heartbeat.age(), observed.heartbeat_limit);
    if age < limit {
        respond(StatusCode::OK, TEXT, "ok\n".to_owned())
    } else {
        let (age, limit) = (age.as_secs_f32(), limit.as_secs_f32());
        let text = format!("the loop of the agent was last seen {age:.1} s ago, which is more than {limit:.1} s\n");
        respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
    }
}

fn readyz(observed: &Observed, _: &HeaderMap) -> Response<Body> {
    let reasons = observed.readiness.reasons();
    if reasons.is_empty() {
        respond(StatusCode::OK, TEXT, "ok\n".to_owned())
    } else {
        respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n")
    }
}

fn status(observed: &Observed, _: &HeaderMap) -> Response<Body> {
    match observed.status.get() {
        Some(status) => respond(StatusCode::OK, "application/json", format!("{status}\n")),
        None => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the agent is starting\n".to_owned()),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
