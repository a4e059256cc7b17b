//! Over real connections, with the standard library as the client.

use super::super::http::CONNECTIONS;
use super::super::metrics::{ByDirection, ByKind, ByResult, CommitResult};
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A server on a thread of its own; it ends with the test.
struct Server {
    address: SocketAddr,
    observed: Observed,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let observed = Observed {
            metrics: Metrics::new(),
            readiness: Readiness::new(),
            status: Status::default(),
            heartbeat: Heartbeat::default(),
            heartbeat_limit: Duration::from_secs(3600),
        };
        Self::start_with(observed)
    }

    fn start_with(observed: Observed) -> Self {
        let (end, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let served = observed.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, served, async { _ = ended.await }).await;
            });
        });
        Self { address: told.recv().unwrap(), observed, end: Some(end), thread: Some(thread) }
    }

    /// Sends bytes and reads all that comes back.
    fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn request(&self, method: &str, path: &str, headers: &str) -> Answer {
        let text = self.send(&format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.request("GET", path, "");
        (answer.status, answer.body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.end.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// The text format, read strictly: the types by family, and the values by sample.
fn parse(text: &str, open: bool) -> (BTreeMap<String, String>, BTreeMap<String, f64>) {
    let (mut types, mut helped, mut values) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let body = if open { text.strip_suffix("# EOF\n").expect("no end") } else { text };
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{line}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(rest.split_once(' ').unwrap().0.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(open && name.ends_with(unit), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert!(name.starts_with("netsim_enforcer_"), "{line}");
            let family = |ending: &str| types.get(name.strip_suffix(ending)?).map(String::as_str);
            let belongs = match types.get(name).map(String::as_str) {
                Some("counter") => !open && name.ends_with("_total"),
                Some(kind) => kind == "gauge",
                None if name.ends_with("_total") => open && family("_total") == Some("counter"),
                None => ["_bucket", "_sum", "_count"].iter().any(|ending| family(ending) == Some("histogram")),
            };
            assert!(belongs, "{line}");
            assert_eq!(values.insert(sample.to_owned(), value.parse().unwrap()), None, "{line}");
        }
    }
    assert!(types.keys().eq(helped.iter()), "every family has a type and a help");
    (types, values)
}

#[test]
fn prometheus_can_scrape_both_formats() {
    let server = Server::start();
    let metrics = &server.observed.metrics;
    metrics.will_watch("pods");
    metrics.events.get_or_create(&ByKind { kind: "pods" }).inc_by(3);
    metrics.commits.get_or_create(&ByResult { result: CommitResult::Refused }).inc();
    metrics.denied_packets.get_or_create(&ByDirection { direction: "ingress" }).inc_by(5);
    metrics.commit_duration.observe(0.003);
    metrics.transaction_ops.observe(20.0);
    metrics.synced(42);
    server.observed.readiness.started();

    let mut families = Vec::new();
    for (accept, content_type, open) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "accept: application/openmetrics-text;version=1.0.0\r\n",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
    ] {
        let answer = server.request("GET", "/metrics", accept);
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains(&format!("content-type: {content_type}")), "{}", answer.head);
        let (types, values) = parse(&answer.body, open);
        let value = |sample: &str| values[&format!("netsim_enforcer_{sample}")];
        assert_eq!(value(concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), 1.0);
        assert_eq!(value("ready"), 1.0);
        assert_eq!(value("programmed_generation"), 42.0);
        assert!(value("last_sync_timestamp_seconds") > 1.7e9);
        assert_eq!(value("events_total{kind=\"pods\"}"), 3.0);
        assert_eq!(value("watch_failing{kind=\"pods\"}"), 0.0);
        assert_eq!(value("watch_restarts_total{kind=\"pods\"}"), 0.0);
        assert_eq!(value("unreadable_objects_total{kind=\"pods\"}"), 0.0);
        assert_eq!(value("commits_total{result=\"ok\"}"), 0.0);
        assert_eq!(value("commits_total{result=\"refused\"}"), 1.0);
        assert_eq!(value("commits_total{result=\"unknown\"}"), 0.0);
        assert_eq!(value("denied_packets_total{direction=\"ingress\"}"), 5.0);
        assert_eq!(value("denied_packets_total{direction=\"egress\"}"), 0.0);
        assert_eq!(value("commit_duration_seconds_count"), 1.0);
        assert_eq!(value("commit_duration_seconds_bucket{le=\"+Inf\"}"), 1.0);
        assert_eq!(value("event_to_commit_seconds_count"), 0.0);
        assert_eq!(value("transaction_ops_sum"), 20.0);
        for name in ["updates_unchanged", "drift", "repairs", "conntrack_sweeps"] {
            assert_eq!(value(&format!("{name}_total")), 0.0);
        }
        for name in
            ["compiled_pods", "local_pods", "policies", "peer_sets", "table_sets", "table_elements", "table_chains"]
        {
            assert_eq!(value(name), 0.0);
        }
        families.push(types.len());
    }
    assert_eq!(families[0], families[1]);
}

#[test]
fn readiness_comes_with_its_reasons() {
    let server = Server::start();
    let readiness = &server.observed.readiness;
    assert_eq!(server.get("/readyz"), (503, "agent: is starting\n".to_owned()));
    readiness.set("pods", ["first list not complete"]);
    readiness.set("node", ["br_netfilter is not loaded"]);
    readiness.started();
    let reasons = "node: br_netfilter is not loaded\npods: first list not complete\n";
    assert_eq!(server.get("/readyz"), (503, reasons.to_owned()));
    assert!(server.get("/metrics").1.contains("\nnetsim_enforcer_ready 0\n"));
    readiness.clear("pods");
    readiness.clear("node");
    assert_eq!(server.get("/readyz?verbose"), (200, "ok\n".to_owned()));
    assert!(server.get("/metrics").1.contains("\nnetsim_enforcer_ready 1\n"));
}

#[test]
fn health_is_a_heart_that_beats() {
    let server = Server::start();
    server.observed.heartbeat.beat();
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    let late = Server::start_with(Observed { heartbeat_limit: Duration::ZERO, ..server.observed.clone() });
    let (status, text) = late.get("/healthz");
    assert_eq!(status, 503);
    assert!(text.starts_with("the loop of the agent was last seen 0."), "{text}");
}

#[test]
fn the_status_is_what_was_set() {
    let server = Server::start();
    assert_eq!(server.get("/status"), (503, "the agent is starting\n".to_owned()));
    server.observed.status.set(&BTreeMap::from([("generation", 7)])).unwrap();
    let answer = server.request("GET", "/status", "");
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"generation\":7}\n"));
}

#[test]
fn wrong_requests_are_told_so() {
    let server = Server::start();
    let (status, pages) = server.get("/");
    assert_eq!(status, 404);
    assert!(pages.contains("/readyz"), "{pages}");
    for method in ["POST", "DELETE", "NONSENSE"] {
        let answer = server.request(method, "/metrics", "");
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    let head = server.request("HEAD", "/readyz", "");
    assert_eq!((head.status, head.body.as_str()), (503, ""));
    assert!(server.send("this is not HTTP\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    let refused = server.send(&long);
    assert!(refused.starts_with("HTTP/1.1 414 "), "{refused}");
}

#[test]
fn slow_clients_block_nobody() {
    let server = Server::start();
    let mut slow: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HTT").unwrap();
    }
    assert_eq!(server.get("/readyz").0, 503);
    // And one who is slow is served all the same.
    slow[0].write_all(b"P/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    slow[0].read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn too_many_connections_are_closed_and_those_before_go_on() {
    let server = Server::start();
    let mut first = TcpStream::connect(server.address).unwrap();
    let mut held: Vec<TcpStream> = (1..CONNECTIONS).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let mut surplus = TcpStream::connect(server.address).unwrap();
    assert_eq!(surplus.read(&mut [0; 1]).unwrap(), 0);
    first.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    first.read_to_string(&mut response).unwrap();
    assert!(response.ends_with("agent: is starting\n"), "{response}");
    held.clear();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(bind(server.address)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot serve metrics and health on `{}`: Address already in use (os error 98); another process of this \
             node listens there: give another port",
            server.address
        )
    );
}
