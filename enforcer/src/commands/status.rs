//! `netsim-enforcer status`: what the agent of this node says of itself.

use super::{DIFFERS, Failure, OK};
use crate::args::{Output, Status};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks and prints.
///
/// # Errors
/// When no agent answers.
pub fn run(args: &Status) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(args)).await });
    let status = asked.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
    let status = status.map_err(|error| {
        Failure(vec![
            format!("error: no agent answers at {}: {error}", args.address),
            "  = help: is it running? give --address if it was started with another --listen".to_owned(),
        ])
    })?;
    let ready = status.get("ready").and_then(Value::as_bool).unwrap_or(false);
    match args.output {
        Output::Json => println!("{status:#}"),
        Output::Text => print(&status, ready),
    }
    Ok(if ready { OK } else { DIFFERS })
}

async fn ask(args: &Status) -> Result<Value, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(args.address).await.map_err(|e| text(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    tokio::spawn(connection);
    let request = Request::get("/status").header("host", args.address.to_string()).body(Empty::<Bytes>::new());
    let response = sender.send_request(request.map_err(|e| text(&e))?).await.map_err(|e| text(&e))?;
    let code = response.status();
    let body = response.into_body().collect().await.map_err(|e| text(&e))?.to_bytes();
    if code != StatusCode::OK {
        return Err(format!("{code}: {}", String::from_utf8_lossy(&body).trim()));
    }
    serde_json::from_slice(&body).map_err(|e| text(&e))
}

fn print(status: &Value, ready: bool) {
    let list = |key: &str| -> Vec<String> {
        let items = status.get(key).and_then(Value::as_array).into_iter().flatten();
        items.map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
    };
    println!("{}", if ready { "ready" } else { "NOT READY" });
    list("reasons").iter().for_each(|reason| println!("  {reason}"));
    let Some(fields) = status.as_object() else { return };
    for (key, value) in fields.iter().filter(|(key, _)| !["ready", "reasons", "findings"].contains(&key.as_str())) {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(_) => list(key).join(" "),
            Value::Object(map) => map.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        println!("{:<22} {value}", key.replace('_', " "));
    }
    for finding in list("findings") {
        println!("note: {finding}");
    }
}
