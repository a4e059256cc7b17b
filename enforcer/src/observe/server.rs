//! Metrics, health and status over HTTP.

use super::metrics::{Metrics, TextFormat};
use super::readiness::Readiness;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::Value;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long the head of a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last: whoever does not read an answer is let go then.
const LIFETIME: Duration = Duration::from_secs(300);
/// How many connections there may be; further ones are closed at once.
const CONNECTIONS: usize = 128;
/// How long to wait when connections cannot be taken, for example without file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

const TEXT: &str = "text/plain; charset=utf-8";

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

/// Serves until `end`. Each connection is a task of its own, so that none waits for another.
pub async fn serve(listener: TcpListener, observed: Observed, end: impl Future<Output = ()>) {
    let mut end = pin!(end);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut end => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS => {
                    connections.spawn(connection(stream, observed.clone()));
                }
                Ok((_, peer)) => tracing::warn!(%peer, "too many connections for metrics and health: one was closed"),
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection for metrics and health");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, observed: Observed) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&observed, request.method(), request.uri().path(), request.headers());
        async { Ok::<_, Infallible>(answer) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(LIFETIME, serving).await {
        Ok(Ok(())) => {}
        // What is wrong with a client is its own concern.
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics and health ended early"),
        Err(_) => tracing::debug!("a connection for metrics and health lasted too long"),
    }
}

fn answer(observed: &Observed, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let page = match path {
        "/metrics" => metrics,
        "/healthz" => healthz,
        "/readyz" => readyz,
        "/status" => status,
        _ => {
            let pages = "there are /metrics, /healthz, /readyz and /status\n";
            return respond(StatusCode::NOT_FOUND, TEXT, pages.to_owned());
        }
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    page(observed, headers)
}

fn metrics(observed: &Observed, headers: &HeaderMap) -> Response<Full<Bytes>> {
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

fn healthz(observed: &Observed, _: &HeaderMap) -> Response<Full<Bytes>> {
    let (age, limit) = (observed.heartbeat.age(), observed.heartbeat_limit);
    if age < limit {
        respond(StatusCode::OK, TEXT, "ok\n".to_owned())
    } else {
        let (age, limit) = (age.as_secs_f32(), limit.as_secs_f32());
        let text = format!("the loop of the agent was last seen {age:.1} s ago, which is more than {limit:.1} s\n");
        respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
    }
}

fn readyz(observed: &Observed, _: &HeaderMap) -> Response<Full<Bytes>> {
    let reasons = observed.readiness.reasons();
    if reasons.is_empty() {
        respond(StatusCode::OK, TEXT, "ok\n".to_owned())
    } else {
        respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n")
    }
}

fn status(observed: &Observed, _: &HeaderMap) -> Response<Full<Bytes>> {
    match observed.status.get() {
        Some(status) => respond(StatusCode::OK, "application/json", format!("{status}\n")),
        None => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the agent is starting\n".to_owned()),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
