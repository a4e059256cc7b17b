//! `netsim-enforcer flows`: the connections that this node denied lately.

use super::{CANNOT, Failure, OK, client};
use crate::args::{Flows, Output};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// How long the agent may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks and prints.
///
/// # Errors
/// When no agent answers.
pub fn run(args: &Flows) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    runtime.block_on(async {
        let parameters: &[(&str, &str)] = match (args.follow, args.summary) {
            (true, _) => &[("follow", "true")],
            (_, true) => &[("summary", "true")],
            _ => &[],
        };
        let response = client::ask(&args.socket.socket, "/flows", parameters, PATIENCE).await?;
        if response.status() != StatusCode::OK {
            let (code, text) = client::text(response).await.map_err(Failure::new)?;
            return Err(Failure::new(format!("the agent says {code}: {}", text.trim())));
        }
        read(args, response.into_body()).await
    })
}

/// Reads lines as they come, and prints those that are asked for.
async fn read(args: &Flows, mut body: Incoming) -> Result<u8, Failure> {
    let (mut rest, mut shown) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::new(format!("the agent's answer broke off: {error}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        rest.extend_from_slice(&bytes);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = rest.drain(..whole).collect();
        let mut out = String::new();
        for line in String::from_utf8_lossy(&lines).lines() {
            if let Some(line) = show(args, line)? {
                out += &line;
                out.push('\n');
                shown += 1;
            }
        }
        let mut stdout = std::io::stdout();
        match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that has seen enough, as `head` has.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(OK),
            Err(error) => return Err(Failure::new(error)),
            Ok(()) => {}
        }
    }
    if args.follow {
        eprintln!("the agent has ended");
        return Ok(CANNOT);
    }
    if shown == 0 && args.output == Output::Text && !args.summary {
        let of = if args.namespace.is_some() || args.pod.is_some() { " of these pods" } else { "" };
        super::print(&format!("no denied connection{of} is remembered\n"))?;
    }
    Ok(OK)
}

/// A line as it is printed; `None` when it is not asked for.
fn show(args: &Flows, line: &str) -> Result<Option<String>, Failure> {
    let flow: Value =
        serde_json::from_str(line).map_err(|_| Failure::new(format!("what answers is no agent: `{line}`")))?;
    let missed = flow.get("missed").and_then(Value::as_u64);
    if missed.is_none() && !is_wanted(args, &flow) {
        return Ok(None);
    }
    Ok(Some(match (args.output, missed) {
        _ if args.summary => line.to_owned(),
        (Output::Json, _) => line.to_owned(),
        (Output::Text, Some(missed)) => format!("… {missed} more came faster than they were read, and are not shown"),
        (Output::Text, None) => text(&flow),
    }))
}

/// Whether one of its ends is asked for.
fn is_wanted(args: &Flows, flow: &Value) -> bool {
    let ends = ["source", "destination"].map(|end| pod(flow, end));
    let namespace = args.namespace.as_deref().is_none_or(|wanted| ends.iter().flatten().any(|(ns, _)| *ns == wanted));
    let named = args
        .pod
        .as_ref()
        .is_none_or(|(ns, name)| ends.iter().flatten().any(|pod| *pod == (ns.as_str(), name.as_str())));
    namespace && named
}

/// Namespace and name of the pod at an end: an object, or in a summary a word.
fn pod<'f>(flow: &'f Value, end: &str) -> Option<(&'f str, &'f str)> {
    let end = flow.get(end)?;
    if let Some(word) = end.as_str() {
        return word.split_once('/');
    }
    let pod = end.get("pod")?;
    Some((pod.get("namespace")?.as_str()?, pod.get("name")?.as_str()?))
}

/// A flow on a line.
fn text(flow: &Value) -> String {
    let word = |key: &str| flow.get(key).and_then(Value::as_str).unwrap_or_default();
    let end = |key: &str| {
        let ip = flow.get(key).and_then(|end| end.get("ip")).and_then(Value::as_str).unwrap_or_default();
        pod(flow, key).map_or_else(|| ip.to_owned(), |(namespace, name)| format!("{namespace}/{name} ({ip})"))
    };
    let port = flow.get("port").and_then(Value::as_u64).map(|port| format!(" {port}")).unwrap_or_default();
    let packets = flow.get("packets").and_then(Value::as_u64).unwrap_or_default();
    let isolated_by = flow.get("isolated_by").and_then(Value::as_array).into_iter().flatten();
    let isolated_by: Vec<&str> = isolated_by.filter_map(Value::as_str).collect();
    let why = match (word("reason"), isolated_by.as_slice()) {
        ("no-connection", _) => "it belongs to no connection".to_owned(),
        ("unknown-pod", _) => "no pod is known to have the address".to_owned(),
        ("nameless-address", _) => "link-local, multicast or broadcast".to_owned(),
        (_, []) => "isolated".to_owned(),
        (_, policies) => format!("isolated by {}", policies.join(", ")),
    };
    format!(
        "{}  {} {}  {} → {}  {}{port}  ×{packets}  {why}",
        seconds(word("last")),
        word("verdict"),
        word("direction"),
        end("source"),
        end("destination"),
        word("protocol"),
    )
}

/// A time without what is less than a second.
fn seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"first":"2026-01-02T03:04:05.6Z","last":"2026-01-02T03:04:07.25Z","node":"node-1","verdict":"denied",
        "reason":"policy","direction":"ingress","source":{"ip":"10.0.0.1","pod":{"namespace":"x","name":"web","labels":{}}},
        "destination":{"ip":"10.0.0.2","pod":{"namespace":"y","name":"db","labels":{}}},"protocol":"TCP","port":5432,
        "packets":3,"isolated_by":["y/closed","y/more"]}"#;

    fn args(namespace: Option<&str>, pod: Option<(&str, &str)>) -> Flows {
        Flows {
            follow: false,
            summary: false,
            namespace: namespace.map(str::to_owned),
            pod: pod.map(|(ns, name)| (ns.to_owned(), name.to_owned())),
            output: Output::Text,
            socket: crate::args::SocketArgs { socket: "unused".into() },
        }
    }

    #[test]
    fn a_flow_is_a_line() {
        let shown = show(&args(None, None), LINE).unwrap().unwrap();
        assert_eq!(
            shown,
            "2026-01-02T03:04:07Z  denied ingress  x/web (10.0.0.1) → y/db (10.0.0.2)  TCP 5432  ×3  \
             isolated by y/closed, y/more"
        );
        let missed = show(&args(Some("z"), None), r#"{"missed":7}"#).unwrap().unwrap();
        assert!(missed.contains("7 more"), "{missed}");
        assert!(show(&args(None, None), "hello").is_err());
    }

    #[test]
    fn either_end_may_be_asked_for() {
        let wanted = |namespace, pod| show(&args(namespace, pod), LINE).unwrap().is_some();
        assert!(wanted(Some("x"), None) && wanted(Some("y"), None) && !wanted(Some("z"), None));
        assert!(wanted(None, Some(("y", "db"))) && !wanted(None, Some(("x", "db"))));
        assert!(wanted(Some("x"), Some(("y", "db"))));
    }
}
