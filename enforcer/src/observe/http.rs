//! What all that is served over HTTP/1 has in common: how many connections there may be, how long each may last, and
//! that none waits for another.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

/// How long the head of a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last: whoever does not read an answer is let go then.
const LIFETIME: Duration = Duration::from_secs(300);
/// How many connections there may be; further ones are closed at once.
pub const CONNECTIONS: usize = 128;
/// How long to wait when connections cannot be taken, for example without file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Text for people.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// The body of an answer: a text, or one that is still being written.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Where connections come from.
pub trait Listen: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Tells that an answer of a connection goes on for as long as somebody reads it.
#[derive(Debug, Clone, Default)]
pub struct Endless(Arc<AtomicBool>);

impl Endless {
    /// It does.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who answers requests.
pub trait Answer: Clone + Send + 'static {
    /// What is served, for the log.
    const WHAT: &'static str;
    /// The answer to one.
    fn answer(&self, request: &Request<Incoming>, endless: &Endless) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `end`. Each connection is a task of its own, so that none waits for another.
pub async fn serve<A: Answer + Sync>(listener: impl Listen, answers: A, end: impl Future<Output = ()>) {
    let mut end = pin!(end);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut end => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.next() => match accepted {
                Ok(stream) if connections.len() < CONNECTIONS => {
                    connections.spawn(connection(stream, answers.clone()));
                }
                Ok(_) => tracing::warn!("too many connections for {}: one was closed", A::WHAT),
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection for {}", A::WHAT);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn connection<A: Answer + Sync>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answers: A) {
    let endless = Endless::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (answers, endless) = (answers.clone(), endless.clone());
        async move {
            if matches!(*request.method(), Method::GET | Method::HEAD) {
                return Ok::<_, Infallible>(answers.answer(&request, &endless).await);
            }
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            Ok(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let too_long = async {
        tokio::time::sleep(LIFETIME).await;
        while endless.is_set() {
            tokio::time::sleep(LIFETIME).await;
        }
    };
    tokio::select! {
        served = serving => match served {
            Ok(()) => {}
            // What is wrong with a client is its own concern.
            Err(error) => tracing::debug!(%error, "a connection for {} ended early", A::WHAT),
        },
        () = too_long => tracing::debug!("a connection for {} lasted too long", A::WHAT),
    }
}

/// An answer that is there as a whole.
pub fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    answer(status, content_type, Full::new(Bytes::from(body)).boxed_unsync())
}

/// An answer with any body.
pub fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
