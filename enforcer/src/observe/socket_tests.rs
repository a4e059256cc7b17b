//! Over a real socket, with the standard library as the client.

use super::*;
use crate::explain::{Explanation, KernelState, Verdict};
use crate::flows::{End, PodRef, Reason, Verdict as Fate};
use crate::observe::{Heartbeat, Metrics, Readiness, Status};
use jiff::Timestamp;
use k8s_openapi::jiff;
use netsim_shared::policy::Direction;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("netsim-socket-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("made/agent.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// A served socket; it ends with the test.
struct Server {
    scratch: Scratch,
    told: Told,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let told = Told {
            observed: Observed {
                metrics: Metrics::new(),
                readiness: Readiness::new(),
                status: Status::default(),
                heartbeat: Heartbeat::default(),
                heartbeat_limit: Duration::from_secs(3600),
            },
            flows: Feed::default(),
            questions: Questions::default(),
        };
        let (scratch, (end, ended), served) = (Scratch::new(), oneshot::channel(), told.clone());
        let socket = bind(&scratch.socket()).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(socket, served, async { _ = ended.await })).unwrap();
        });
        Server { scratch, told, end: Some(end), thread: Some(thread) }
    }

    fn open(&self, path: &str) -> BufReader<StdStream> {
        let mut stream = StdStream::connect(self.scratch.socket()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        BufReader::new(stream)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut text = String::new();
        self.open(path).read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn end(&mut self) {
        _ = self.end.take().map(|end| end.send(()));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn flow(number: u64) -> Flow {
    let end = |ip: &str, name: &str| End {
        ip: ip.parse().unwrap(),
        pod: Some(PodRef { namespace: "x".into(), name: name.into(), uid: Box::default(), labels: BTreeMap::new() }),
    };
    Flow {
        first: Timestamp::UNIX_EPOCH,
        last: Timestamp::UNIX_EPOCH,
        node: "node-1".into(),
        verdict: Fate::Denied,
        reason: Reason::Policy,
        direction: Direction::Ingress,
        source: end("10.0.0.1", "web"),
        destination: end("10.0.0.2", "db"),
        protocol: "TCP".into(),
        port: Some(5432),
        packets: number,
        isolated_by: vec!["x/closed".into()],
    }
}

/// The packets of the lines of an answer, and how many were missed where it says so.
fn numbers(lines: impl Iterator<Item = String>) -> Vec<(&'static str, u64)> {
    let read = |line: String| {
        let value: serde_json::Value = serde_json::from_str(&line).ok()?;
        let number = |key: &str| value.get(key).and_then(serde_json::Value::as_u64);
        number("missed").map(|n| ("missed", n)).or_else(|| number("packets").map(|n| ("flow", n)))
    };
    lines.filter_map(read).collect()
}

#[test]
fn only_its_owner_may_connect_and_nothing_stays_behind() {
    let mut server = Server::start();
    let path = server.scratch.socket();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(server.get("/readyz"), (503, "agent: is starting\n".to_owned()));
    assert_eq!(server.get("/nowhere").0, 404);
    assert!(server.get("/nowhere").1.contains("/flows, /explain, /metrics"));
    server.end();
    assert!(!path.exists());
}

#[test]
fn a_second_one_takes_nothing_away_and_a_dead_one_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let first = bind(&path).unwrap();
    let error = bind(&path).unwrap_err();
    assert!(error.to_string().starts_with("another process answers at `"), "{error}");
    StdStream::connect(&path).unwrap();
    // As after a SIGKILL: the file is there and nobody listens.
    let Socket { listener, name } = first;
    drop(listener);
    let second = bind(&path).unwrap();
    // Whoever is late takes nothing of others away.
    drop(name);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[test]
fn what_is_in_the_way_is_told_and_left_alone() {
    let scratch = Scratch::new();
    let file = scratch.0.join("file");
    fs::write(&file, "precious").unwrap();
    let error = bind(&file).unwrap_err().to_string();
    assert_eq!(error, format!("`{}` is there and is no socket: give another --socket", file.display()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let error = bind(&file.join("agent.sock")).unwrap_err().to_string();
    assert!(error.starts_with("cannot make the socket `"), "{error}");
    let error = bind(&scratch.0.join("x".repeat(120))).unwrap_err().to_string();
    assert!(error.starts_with("cannot make the socket `"), "{error}");
}

#[test]
fn the_flows_of_before_and_those_that_come() {
    let server = Server::start();
    (1..=2).for_each(|n| server.told.flows.publish(flow(n)));
    let (status, body) = server.get("/flows");
    assert_eq!(status, 200);
    assert_eq!(numbers(body.lines().map(str::to_owned)), [("flow", 1), ("flow", 2)]);
    let mut lines = server.open("/flows?follow=true").lines().map_while(Result::ok);
    assert_eq!(numbers(lines.by_ref().take_while(|line| !line.contains("\"packets\":2"))), [("flow", 1)]);
    server.told.flows.publish(flow(3));
    assert!(lines.any(|line| line.contains("\"packets\":3")));
    let (_, body) = server.get("/flows?summary=true");
    assert_eq!(numbers(body.lines().map(str::to_owned)), [("flow", 6)]);
    for wrong in ["follow=maybe", "since=1h", "follow=true&summary=true", "follow=%zz"] {
        assert_eq!(server.get(&format!("/flows?{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn a_reader_that_does_not_read_blocks_nobody_and_is_told_what_it_missed() {
    const MANY: u64 = 100_000;
    let server = Server::start();
    let slow = server.open("/flows?follow=true");
    let mut quick = server.open("/flows?follow=true").lines().map_while(Result::ok);
    // What the quick one has seen, both have subscribed to.
    server.told.flows.publish(flow(0));
    assert!(quick.any(|line| line.contains("\"packets\":0")));
    (1..=MANY).for_each(|n| server.told.flows.publish(flow(n)));
    assert_eq!(server.get("/readyz").0, 503);
    // But for the last one, which ends the test. Each is told or counted once.
    let last = format!("\"packets\":{MANY},");
    let lines = slow.lines().map_while(Result::ok).take_while(|line| !line.contains(&last));
    let sum: u64 = numbers(lines).into_iter().map(|(kind, number)| if kind == "missed" { number } else { 1 }).sum();
    assert_eq!(sum, MANY);
}

fn explanation() -> Explanation {
    Explanation {
        node: "node-1".to_owned(),
        mode: "enforce".to_owned(),
        verdict: Verdict::Allowed,
        certain: true,
        doubts: Vec::new(),
        connections: Vec::new(),
        kernel: KernelState { as_programmed: Some(true), generation: 7, differences: Vec::new() },
        notes: Vec::new(),
    }
}

#[test]
fn questions_are_handed_on_and_answered() {
    let server = Server::start();
    let mut questions = server.told.questions.take().unwrap();
    assert!(server.told.questions.take().is_none(), "one answers");
    let answering = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let asked = questions.blocking_recv().unwrap();
        seen.push(asked.words);
        asked.reply.send(Ok(explanation())).unwrap();
        let asked = questions.blocking_recv().unwrap();
        seen.push(asked.words);
        asked.reply.send(Err(crate::explain::AskError::Question("which?".to_owned()))).unwrap();
        seen
    });
    let (status, body) = server.get("/explain?source=x/web&destination=fd00::2&port=53&protocol=udp");
    assert_eq!((status, serde_json::from_str::<Explanation>(&body).unwrap()), (200, explanation()));
    assert_eq!(server.get("/explain?source=x%2Fweb&destination=x/db:80"), (400, "which?\n".to_owned()));
    let words = |source: &str, destination: &str| Words { source: source.into(), destination: destination.into() };
    let seen = answering.join().unwrap();
    assert_eq!(seen, [words("x/web", "[fd00::2]:53/udp"), words("x/web", "x/db:80")]);
    for wrong in ["", "source=a", "source=a&destination=b&protocol=tcp", "source=a&source=b", "who=a"] {
        let (status, body) = server.get(&format!("/explain?{wrong}"));
        assert!(status == 400 && body.contains("/explain?source="), "{wrong}: {body}");
    }
}

#[test]
fn words_survive_the_way() {
    for word in ["x/web", "[fd00::1]:80/UDP", "a b+c%", "ä"] {
        let query = format!("a={}&b=1", encoded(word));
        assert_eq!(parameters(&query).unwrap()[0], ("a".to_owned(), word.to_owned()));
    }
    assert!(parameters("a=%f").is_err() && parameters("a=%ff").is_err() && parameters("a=%+1").is_err());
}
