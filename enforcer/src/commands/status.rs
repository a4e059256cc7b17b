//! `netsim-enforcer status`: what the agent of this node says of itself.

use super::{DIFFERS, Failure, OK, client, print};
use crate::args::{Output, Status};
use hyper::StatusCode;
use netsim_shared::diagnostic::Diagnostic;
use serde_json::{Value, json};
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
        let error = Diagnostic::error(format!("no agent answers at {}: {error}", args.address));
        Failure(vec![error.help("is it running? give --address if it was started with another --listen").to_string()])
    })?;
    let ready = status.get("ready").and_then(Value::as_bool).unwrap_or(false);
    print(&match args.output {
        Output::Json => format!("{status:#}\n"),
        Output::Text => text(&status, ready),
    })?;
    Ok(if ready { OK } else { DIFFERS })
}

async fn ask(args: &Status) -> Result<Value, String> {
    let stream = TcpStream::connect(args.address).await.map_err(|error| error.to_string())?;
    let response = client::get(stream, &args.address.to_string(), "/status").await?;
    let (code, body) = client::text(response).await?;
    match code {
        StatusCode::OK => serde_json::from_str(&body).map_err(|_| "what does is something else".to_owned()),
        // As long as it has nothing to show.
        StatusCode::SERVICE_UNAVAILABLE => Ok(json!({"ready": false, "reasons": [body.trim()]})),
        other => Err(format!("what does is something else, and says {other}")),
    }
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
