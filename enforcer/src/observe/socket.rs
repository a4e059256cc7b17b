//! What the agent tells root of its node, over a socket in the file system: what the TCP port tells, and what names pods
//! and policies besides: denied flows, and what this node would do with a connection.
//!
//! Nobody but its owner may ever connect: the socket has its permissions before it has a name, and a name before it
//! listens.

use super::http::{self, Answer, Body, Endless, TEXT, answer, respond};
use super::server::{Observed, PAGES};
use crate::explain::{Questions, Words};
use crate::flows::{Feed, Flow, summary};
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How many connections may wait to be taken.
const BACKLOG: i32 = 64;

/// Why there is no socket. The agent enforces without.
#[derive(Debug)]
pub enum SocketError {
    /// Somebody answers there.
    Taken(PathBuf),
    /// There is something else of that name.
    NotASocket(PathBuf),
    /// Others could connect to it.
    Open(PathBuf),
    /// The file system or the kernel refuses it.
    Refused(PathBuf, io::Error),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketError::Taken(path) => write!(
                f,
                "another process answers at `{}`: is a second agent running? give another --socket",
                path.display()
            ),
            SocketError::NotASocket(path) => {
                write!(f, "`{}` is there and is no socket: give another --socket", path.display())
            }
            SocketError::Open(path) => {
                write!(
                    f,
                    "the socket `{}` would be open to others: this system ignores its permissions",
                    path.display()
                )
            }
            SocketError::Refused(path, error) => {
                write!(f, "cannot make the socket `{}`: {error}; ", path.display())?;
                f.write_str(match error.kind() {
                    ErrorKind::PermissionDenied => "this takes the right to write to its directory",
                    ErrorKind::ReadOnlyFilesystem => "mount something writable there, or give another --socket",
                    ErrorKind::InvalidInput => "the path of a socket has at most 107 bytes",
                    _ => "give another --socket, or --socket none",
                })
            }
        }
    }
}

impl std::error::Error for SocketError {}

/// A socket with its name, which goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: StdListener,
    name: Name,
}

/// The name of a socket: a file of ours, as long as nobody has put another in its place.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    file: (u64, u64),
}

impl Drop for Name {
    fn drop(&mut self) {
        let is_ours = |there: fs::Metadata| (there.dev(), there.ino()) == self.file;
        // Numbers of files are used again: nobody answers at ours any more.
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) && StdStream::connect(&self.path).is_err() {
            // What stays is replaced by the next agent.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the socket, and its directory if there is none. One that nobody listens to any more is replaced.
///
/// # Errors
/// When that cannot be done, or somebody listens there.
pub fn bind(path: &Path) -> Result<Socket, SocketError> {
    let refused = |error: io::Error| SocketError::Refused(path.to_owned(), error);
    let errno = |error: rustix::io::Errno| refused(error.into());
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(refused)?;
    }
    make_room(path)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(errno)?;
    // The file that it will be gets the permissions that it has now.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(errno)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).map_err(errno)?).map_err(errno)?;
    let file = fs::symlink_metadata(path).map_err(refused)?;
    let name = Name { path: path.to_owned(), file: (file.dev(), file.ino()) };
    if file.mode() & 0o077 != 0 {
        return Err(SocketError::Open(path.to_owned()));
    }
    rustix::net::listen(&socket, BACKLOG).map_err(errno)?;
    let listener = StdListener::from(socket);
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(Socket { listener, name })
}

/// Takes away a socket of a process that ended, and nothing else.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let refused = |error: io::Error| SocketError::Refused(path.to_owned(), error);
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    if !there.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(refused),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(error)),
        Ok(_) => Err(SocketError::Taken(path.to_owned())),
    }
}

/// All that is told over the socket.
#[derive(Debug, Clone)]
pub struct Told {
    /// What the TCP port tells.
    pub observed: Observed,
    /// `/flows`.
    pub flows: Feed,
    /// `/explain`.
    pub questions: Questions,
}

/// Answers until `end`, and takes the socket away.
///
/// # Errors
/// When the socket cannot be waited for.
pub async fn serve(socket: Socket, told: Told, end: impl Future<Output = ()>) -> io::Result<()> {
    let Socket { listener, name } = socket;
    http::serve(UnixListener::from_std(listener)?, told, end).await;
    drop(name);
    Ok(())
}

impl Answer for Told {
    const WHAT: &'static str = "the agent's socket";

    async fn answer(&self, request: &Request<Incoming>, endless: &Endless) -> Response<Body> {
        let parameters = match parameters(request.uri().query().unwrap_or_default()) {
            Ok(parameters) => parameters,
            Err(wrong) => return respond(StatusCode::BAD_REQUEST, TEXT, format!("{wrong}\n")),
        };
        match request.uri().path() {
            "/flows" => self.flows(&parameters, endless),
            "/explain" => self.explain(&parameters).await,
            _ => self.observed.page(request).unwrap_or_else(|| {
                let pages = format!("there are /flows, /explain, {PAGES}\n");
                respond(StatusCode::NOT_FOUND, TEXT, pages)
            }),
        }
    }
}

impl Told {
    fn flows(&self, parameters: &[(String, String)], endless: &Endless) -> Response<Body> {
        let on = |name: &str| parameters == [(name.to_owned(), "true".to_owned())];
        let (follow, summed) = (on("follow"), on("summary"));
        let off = |(name, value): &(String, String)| ["follow", "summary"].contains(&name.as_str()) && value == "false";
        if !follow && !summed && !parameters.iter().all(off) {
            let forms = "/flows takes follow=true or summary=true\n";
            return respond(StatusCode::BAD_REQUEST, TEXT, forms.to_owned());
        }
        let subscription = self.flows.subscribe();
        let recent: Vec<Bytes> = if summed {
            summary(subscription.recent.iter().map(Arc::as_ref)).iter().map(line).collect()
        } else {
            subscription.recent.iter().map(|flow| line(&**flow)).collect()
        };
        let recent = stream::iter(recent);
        let body = if follow {
            endless.set();
            StreamBody::new(recent.chain(coming(subscription.coming)).map(frame)).boxed_unsync()
        } else {
            StreamBody::new(recent.map(frame)).boxed_unsync()
        };
        answer(StatusCode::OK, "application/x-ndjson", body)
    }

    async fn explain(&self, parameters: &[(String, String)]) -> Response<Body> {
        let words = match Words::read(parameters) {
            Ok(words) => words,
            Err(wrong) => return respond(StatusCode::BAD_REQUEST, TEXT, format!("{wrong}\n")),
        };
        match self.questions.ask(words).await {
            Ok(answer) => match serde_json::to_string(&answer) {
                Ok(text) => respond(StatusCode::OK, "application/json", text + "\n"),
                Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            },
            Err(error) if error.is_of_the_asker() => respond(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")),
            Err(error) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n")),
        }
    }
}

fn frame(line: Bytes) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(line))
}

/// The flows that come, each when it comes; what a reader was too slow for is a line with their number.
fn coming(receiver: Receiver<Arc<Flow>>) -> impl stream::Stream<Item = Bytes> + Send {
    stream::unfold(receiver, |mut receiver| async move {
        let line = match receiver.recv().await {
            Ok(flow) => line(&*flow),
            Err(RecvError::Lagged(missed)) => Bytes::from(format!("{}\n", json!({"missed": missed}))),
            Err(RecvError::Closed) => return None,
        };
        Some((line, receiver))
    })
}

fn line(flow: &impl Serialize) -> Bytes {
    // All of it is text and numbers, which can be written.
    let text = serde_json::to_string(flow).unwrap_or_else(|error| json!({"unwritable": error.to_string()}).to_string());
    Bytes::from(text + "\n")
}

/// The parameters of a query, in order.
fn parameters(query: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(name)?, decoded(value)?))
    };
    pairs.map(read).collect()
}

/// A part of a query without its percent signs.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            continue;
        }
        let digits = after.split_at_checked(2).and_then(|(digits, after)| {
            rest = after;
            let digits = std::str::from_utf8(digits).ok().filter(|text| text.chars().all(|c| c.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(digits.ok_or_else(|| format!("`{text}` has a percent sign without two digits after it"))?);
    }
    String::from_utf8(bytes).map_err(|_| format!("`{text}` is no UTF-8"))
}

/// A word as a query carries it.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:[]".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
