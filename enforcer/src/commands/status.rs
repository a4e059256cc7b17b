//! `netsim-enforcer status`: what the agent of this node says of itself.

use super::{DIFFERS, Failure, OK, client, print};
use crate::args::{Output, Status};
use hyper::StatusCode;
use netsim_shared::diagnostic::Diagnostic;
use serde_json::{Value, json};
use std::net::SocketAddr;
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
    let (code, body) = runtime.block_on(async {
        match args.address {
            Some(address) => ask_at(address).await,
            None => {
                let response = client::ask(&args.socket.socket, "/status", &[], PATIENCE).await?;
                client::text(response).await.map_err(Failure::new)
            }
        }
    })?;
    let status = match code {
        StatusCode::OK => serde_json::from_str(&body).map_err(|_| Failure::new("what answers is no agent"))?,
        // As long as it has nothing to show.
        StatusCode::SERVICE_UNAVAILABLE => json!({"ready": false, "reasons": [body.trim()]}),
        other => return Err(Failure::new(format!("what answers is no agent: it says {other}"))),
    };
    let ready = status.get("ready").and_then(Value::as_bool).unwrap_or(false);
    print(&match args.output {
        Output::Json => format!("{status:#}\n"),
        Output::Text => text(&status, ready),
    })?;
    Ok(if ready { OK } else { DIFFERS })
}

/// Asks where everybody may.
async fn ask_at(address: SocketAddr) -> Result<(StatusCode, String), Failure> {
    let asked = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        client::text(client::get(stream, &address.to_string(), "/status").await?).await
    };
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    asked.unwrap_or_else(|_| Err("it did not answer in time".to_owned())).map_err(|error| {
        let error = Diagnostic::error(format!("no agent answers at {address}: {error}"));
        Failure(vec![error.help("is it running, and was it started with this --listen?").to_string()])
    })
}

fn text(status: &Value, ready: bool) -> String {
    let list = |key: &str| -> Vec<String> {
        let items = status.get(key).and_then(Value::as_array).into_iter().flatten();
        items.map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
    };
    let mut lines = vec![if ready { "ready" } else { "NOT READY" }.to_owned()];
    lines.extend(list("reasons").iter().map(|reason| format!("  {reason}")));
    let fields = status.as_object().into_iter().flatten();
    for (key, value) in
        fields.filter(|(key, _)| !["ready", "reasons", "findings", "unresolved_names"].contains(&key.as_str()))
    {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(_) => list(key).join(" "),
            Value::Object(map) => map.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        lines.push(format!("{:<22} {value}", key.replace('_', " ")).trim_end().to_owned());
    }
    lines.extend(list("unresolved_names").iter().map(|name| format!("denied: {name}")));
    lines.extend(list("findings").iter().map(|finding| format!("note: {finding}")));
    lines.join("\n") + "\n"
}
