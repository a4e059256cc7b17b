//! HTTP/1.1, as far as clients of an API server need it: a thread a connection.

use super::answer::Answer;
use super::state::State;
use super::traffic::{self, Traffic};
use super::watch::{Cut, Next, Watch};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The longest request head in bytes, against a client gone wrong.
const MAX_HEAD: u64 = 64 * 1024;

/// Takes connections until told to stop, then closes them all and waits for their threads.
pub fn accept(listener: &TcpListener, state: &Arc<State>) {
    let mut connections: Vec<(Option<TcpStream>, JoinHandle<()>)> = Vec::new();
    for stream in listener.incoming() {
        if state.is_stopping() {
            break;
        }
        let Ok(stream) = stream else { continue };
        connections.retain(|(_, thread)| !thread.is_finished());
        let handle = stream.try_clone().ok();
        let state = Arc::clone(state);
        connections.push((handle, thread::spawn(move || connection(stream, &state))));
    }
    for (stream, thread) in connections {
        // Its thread sees the end of the stream. Without a handle nothing would wake the thread, so
        // nobody waits for it.
        if let Some(stream) = stream {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// Answers the requests of one connection until either side ends it.
fn connection(stream: TcpStream, state: &State) {
    // Small answers would wait for an acknowledgement otherwise.
    let _ = stream.set_nodelay(true);
    let Ok(write) = stream.try_clone() else { return };
    let mut write = BufWriter::new(Paced { inner: write, state });
    let mut read = BufReader::new(stream);
    while let Ok(Some(request)) = read_request(&mut read) {
        state.wait_thawed();
        if state.is_stopping() {
            break;
        }
        let sent = match state.answer(&request) {
            Answer::Nothing => break,
            Answer::Full { status, body } => {
                let text = state.spelled(body.to_string());
                // Compressed outside of the lock.
                let packed = request.gzip.then(|| traffic::packed(&text)).flatten();
                let sent = packed.as_deref().unwrap_or(text.as_bytes());
                state.lock().traffic.list(Traffic::resource(&request.target), text.len(), sent.len());
                let retry_after = body["details"]["retryAfterSeconds"].as_u64();
                whole(&mut write, status, "application/json", packed.is_some(), retry_after, sent)
            }
            Answer::Text { status, text } => whole(&mut write, status, "text/plain", false, None, text.as_bytes()),
            Answer::Watch(watch) => stream_watch(&mut write, state, *watch),
        };
        if sent.is_err() || request.close {
            break;
        }
    }
    // The clone kept by `accept` would hold the connection open.
    let _ = read.get_ref().shutdown(Shutdown::Both);
}

fn whole(
    write: &mut impl Write,
    status: u16,
    kind: &str,
    packed: bool,
    retry_after: Option<u64>,
    body: &[u8],
) -> io::Result<()> {
    let retry_after = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\n{}{retry_after}Content-Length: {}\r\n\r\n",
        reason_phrase(status),
        if packed { "Content-Encoding: gzip\r\n" } else { "" },
        body.len()
    );
    write.write_all(head.as_bytes())?;
    write.write_all(body)?;
    write.flush()
}

/// Sends a watch line by line, a chunk each.
fn stream_watch(write: &mut impl Write, state: &State, mut watch: Watch) -> io::Result<()> {
    let sent = chunks(write, state, &mut watch);
    state.change(|shared| watch.close(shared));
    sent
}

fn chunks(write: &mut impl Write, state: &State, watch: &mut Watch) -> io::Result<()> {
    write.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    write.flush()?;
    loop {
        match watch.next(state) {
            Next::Line(line) => {
                if let Some(cut) = watch.cut(state) {
                    return half_a_line(write, line.as_bytes(), cut);
                }
                let line = state.spelled(line);
                state.lock().traffic.event(watch.plural(), line.len() + 1);
                write!(write, "{:x}\r\n{line}\n\r\n", line.len() + 1)?;
                write.flush()?;
            }
            Next::End => {
                write.write_all(b"0\r\n\r\n")?;
                return write.flush();
            }
            Next::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Sends the first half of a line, and ends.
fn half_a_line(write: &mut impl Write, line: &[u8], cut: Cut) -> io::Result<()> {
    let half = &line[..line.len() / 2];
    let promised = if cut == Cut::InOrder { half.len() } else { line.len() + 1 };
    write!(write, "{promised:x}\r\n")?;
    write.write_all(half)?;
    if cut == Cut::InOrder {
        write.write_all(b"\r\n0\r\n\r\n")?;
        return write.flush();
    }
    write.flush()?;
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// Sends as slowly as a test wants.
struct Paced<'s, W> {
    inner: W,
    state: &'s State,
}

impl<W: Write> Write for Paced<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let dribble = self.state.lock().faults.dribble;
        let Some((most, pause)) = dribble else { return self.inner.write(bytes) };
        if self.state.is_stopping() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        thread::sleep(pause);
        self.inner.write(&bytes[..bytes.len().min(most)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What a client asks for.
pub struct Request {
    pub method: String,
    pub target: String,
    /// Its `Content-Type`.
    pub content: String,
    /// Its `Accept`.
    pub accept: String,
    /// It takes compressed answers.
    gzip: bool,
    pub body: Vec<u8>,
    /// The client ends the connection after the answer.
    close: bool,
}

/// Reads one request. `None` is the end of the connection.
fn read_request(read: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = read.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let (mut close, mut length, mut content) = (false, 0u64, String::new());
    let (mut accept, mut gzip) = (String::new(), false);
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "connection" => close = value.trim().eq_ignore_ascii_case("close"),
            "accept" => accept = value.trim().to_owned(),
            "accept-encoding" => gzip = value.split(',').any(|coding| coding.trim() == "gzip"),
            "content-type" => content = value.trim().to_owned(),
            "content-length" => {
                length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
            }
            _ => {}
        }
    }
    let mut body = Vec::new();
    read.by_ref().take(length).read_to_end(&mut body)?;
    Ok(Some(Request { method, target, content, accept, gzip, body, close }))
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
