//! Asking an agent.

use crate::observe::socket::encoded;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use netsim_shared::diagnostic::Diagnostic;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::Failure;

/// Asks for a page.
///
/// # Errors
/// What went wrong on the way.
pub async fn get<S>(stream: S, host: &str, path: &str) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: &dyn Display| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Empty::<Bytes>::new());
    sender.send_request(request.map_err(|e| text(&e))?).await.map_err(|e| text(&e))
}

/// The whole text of an answer.
///
/// # Errors
/// What went wrong on the way.
pub async fn text(response: Response<Incoming>) -> Result<(StatusCode, String), String> {
    let code = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

/// Asks the agent behind a socket, and gives back the answer as it begins.
///
/// # Errors
/// That no agent answers there, and why.
pub async fn ask(
    socket: &Path,
    page: &str,
    parameters: &[(&str, &str)],
    patience: Duration,
) -> Result<Response<Incoming>, Failure> {
    let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let path = if query.is_empty() { page.to_owned() } else { format!("{page}?{}", query.join("&")) };
    let asked = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| (error.to_string(), error.kind()))?;
        get(stream, "agent", &path).await.map_err(|error| (error, ErrorKind::Other))
    };
    let asked = tokio::time::timeout(patience, asked).await;
    let asked = asked.unwrap_or_else(|_| Err(("it did not answer in time".to_owned(), ErrorKind::TimedOut)));
    asked.map_err(|(error, kind)| {
        let error = Diagnostic::error(format!("no agent answers at `{}`: {error}", socket.display()));
        let help = match kind {
            ErrorKind::PermissionDenied => "only the user that the agent runs as may ask it: be root",
            _ => "is it running on this node? give --socket if it was started with another one",
        };
        Failure(vec![error.help(help).to_string()])
    })
}
