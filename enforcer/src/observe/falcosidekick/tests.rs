//! Against a server that takes what falcosidekick takes, and nothing else.

use super::*;
use crate::flows::{End, Feed, Flow, PodRef, Reason, Verdict};
use crate::observe::Metrics;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use netsim_shared::policy::Direction;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// `types.FalcoPayload` of falcosidekick, and nothing beside it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FalcoPayload {
    #[serde(default)]
    uuid: String,
    output: String,
    priority: String,
    rule: String,
    time: String,
    output_fields: HashMap<String, Scalar>,
    source: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    hostname: String,
}

/// What values of output fields are: text or numbers, nothing nested.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
}

/// What it calls priorities.
const PRIORITIES: [&str; 8] =
    ["Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"];

impl FalcoPayload {
    /// What `newFalcoPayload` and `Check` want of it.
    fn check(&self) -> Result<(), String> {
        let time: Timestamp = self.time.parse().map_err(|error| format!("{error}"))?;
        let text = |field: &str| !matches!(self.output_fields.get(field), Some(Scalar::Number(_)));
        let checks = [
            (PRIORITIES.contains(&&*self.priority), "priority"),
            (!self.rule.is_empty(), "rule"),
            (time > Timestamp::UNIX_EPOCH && self.time.ends_with('Z'), "time"),
            (!self.output_fields.is_empty(), "output_fields"),
            (text("k8s.ns.name") && text("k8s.pod.name"), "k8s"),
            (!self.hostname.is_empty() && !self.tags.is_empty(), "where"),
            (!self.output.is_empty() && !self.source.is_empty() && self.uuid.is_empty(), "others"),
        ];
        checks.into_iter().find(|(right, _)| !right).map_or(Ok(()), |(_, what)| Err(format!("{what}: {self:?}")))
    }
}

/// What the server does next; with nothing left, it takes what is right.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Refuses(u16),
    Hangs,
}

struct Server {
    address: SocketAddr,
    moods: Arc<Mutex<VecDeque<Mood>>>,
    came: mpsc::UnboundedReceiver<FalcoPayload>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answered = Result<http::Response<Full<Bytes>>, Infallible>;

async fn answer(
    request: http::Request<Incoming>,
    moods: Arc<Mutex<VecDeque<Mood>>>,
    tell: mpsc::UnboundedSender<FalcoPayload>,
) -> Answered {
    let answer =
        |status: u16, text: &'static str| Ok(http::Response::builder().status(status).body(Full::from(text)).unwrap());
    assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/"));
    assert!(!request.headers().contains_key("authorization"), "{:?}", request.headers());
    assert_eq!(request.headers()["content-type"], "application/json");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mood = moods.lock().unwrap().pop_front();
    match mood {
        Some(Mood::Hangs) => std::future::pending().await,
        Some(Mood::Refuses(status)) => return answer(status, "not now\n"),
        None => {}
    }
    let payload: Result<FalcoPayload, String> = serde_json::from_slice(&body).map_err(|error| error.to_string());
    match payload.and_then(|payload| payload.check().map(|()| payload)) {
        Ok(payload) => _ = tell.send(payload),
        Err(error) => {
            eprintln!("{error}");
            return answer(400, "Please send a valid request body\n");
        }
    }
    answer(200, "")
}

impl Server {
    async fn start(moods: &[Mood]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), moods, None)
    }

    fn on(listener: TcpListener, moods: &[Mood], tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().unwrap();
        let moods = Arc::new(Mutex::new(moods.iter().copied().collect::<VecDeque<_>>()));
        let (tell, came) = mpsc::unbounded_channel();
        let their_moods = moods.clone();
        let task = tokio::spawn(async move {
            // They end with the server.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, tls.clone(), their_moods.clone(), tell.clone()));
            }
        });
        Server { address, moods, came, task }
    }

    async fn next(&mut self) -> FalcoPayload {
        timeout(Duration::from_secs(20), self.came.recv()).await.expect("something comes").unwrap()
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    moods: Arc<Mutex<VecDeque<Mood>>>,
    tell: mpsc::UnboundedSender<FalcoPayload>,
) {
    let service = service_fn(move |request| answer(request, moods.clone(), tell.clone()));
    match tls {
        None => _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => {
            let Ok(stream) = tls.accept(stream).await else { return };
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    }
}

const QUICK: Pace = Pace {
    gap: Duration::from_millis(1),
    patience: Duration::from_millis(200),
    give_up: Duration::from_secs(10),
    longest: Duration::from_millis(20),
    left_out: Duration::from_millis(50),
};

/// A sender at work.
struct At {
    feed: Feed,
    metrics: OfSink,
}

fn at(address: SocketAddr, pace: Pace) -> At {
    to(Target { url: format!("http://{address}").parse().unwrap(), ca: None }, pace)
}

fn to(target: Target, pace: Pace) -> At {
    let (feed, metrics) = (Feed::default(), Metrics::new().sink("falcosidekick"));
    let sender = Sender::new(target, "n1", pace, metrics.clone()).unwrap();
    tokio::spawn(sender.run(feed.subscribe()));
    At { feed, metrics }
}

impl At {
    /// Messages that were taken, tries that failed, flows that were lost.
    fn counts(&self) -> [u64; 3] {
        [&self.metrics.sent, &self.metrics.errors, &self.metrics.lost].map(|counter| counter.get())
    }

    /// Waits until they are so.
    async fn until(&self, counts: [u64; 3]) {
        let waiting = async {
            while self.counts() != counts {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(20), waiting).await.is_ok(), "{:?}, not {counts:?}", self.counts());
    }
}

fn flow(port: u16) -> Flow {
    let pod = |name: &str| PodRef {
        namespace: "x".into(),
        name: name.into(),
        uid: format!("u-{name}").into(),
        labels: BTreeMap::from([("app".into(), name.into()), ("tier".into(), "back".into())]),
    };
    let at = |nanoseconds: i128| Timestamp::from_nanosecond(1_700_000_000_000_000_000 + nanoseconds).unwrap();
    Flow {
        first: at(0),
        last: at(1_000_000_001),
        node: "n1".into(),
        verdict: Verdict::Denied,
        reason: Reason::Policy,
        direction: Direction::Ingress,
        source: End { ip: [10, 0, 0, 1].into(), pod: Some(pod("web")) },
        destination: End { ip: [10, 0, 0, 2].into(), pod: Some(pod("db")) },
        protocol: "TCP".into(),
        port: Some(port),
        packets: 3,
        isolated_by: vec!["x/all".into(), "x/db".into()],
    }
}

fn port(payload: &FalcoPayload) -> u16 {
    match &payload.output_fields["fd.sport"] {
        Scalar::Number(number) => u16::try_from(number.as_u64().unwrap()).unwrap(),
        Scalar::Text(text) => panic!("{text}"),
    }
}

#[test]
fn a_flow_is_an_event_of_falco() {
    let expected = json!({
        "output": "22:13:21.000000001: Notice TCP 5432 from x/web to x/db was denied at ingress (node=n1 source=10.0.0.1 \
                   destination=10.0.0.2 packets=3 reason=policy isolated_by=x/all,x/db)",
        "priority": "Notice",
        "rule": "Ingress denied by network policy",
        "time": "2023-11-14T22:13:21.000000001Z",
        "source": "netsim",
        "hostname": "n1",
        "tags": ["ingress", "kubernetes", "network", "netsim"],
        "output_fields": {
            "evt.time": 1_700_000_001_000_000_001_u64,
            "fd.cip": "10.0.0.1",
            "fd.sip": "10.0.0.2",
            "fd.sport": 5432,
            "fd.l4proto": "tcp",
            "k8s.ns.name": "x",
            "k8s.pod.name": "db",
            "k8s.pod.uid": "u-db",
            "k8s.pod.labels": "app:db, tier:back",
            "netsim.direction": "ingress",
            "netsim.first": "2023-11-14T22:13:20Z",
            "netsim.last": "2023-11-14T22:13:21.000000001Z",
            "netsim.packets": 3,
            "netsim.peer.ip": "10.0.0.1",
            "netsim.peer.ns.name": "x",
            "netsim.peer.pod.name": "web",
            "netsim.policies": "x/all,x/db",
            "netsim.reason": "policy",
            "netsim.verdict": "denied",
        },
    });
    assert_eq!(serde_json::to_value(Payload::of(&flow(5432))).unwrap(), expected);
}

#[test]
fn whatever_a_flow_is_like_falcosidekick_takes_it() {
    let (mut flows, bare) = (Vec::new(), End { ip: "fd00::1".parse().unwrap(), pod: None });
    for verdict in [Verdict::Denied, Verdict::Audited] {
        for reason in [Reason::Policy, Reason::UnknownPod, Reason::NamelessAddress, Reason::NoConnection] {
            for direction in Direction::ALL {
                let like = Flow { verdict, reason, direction, ..flow(1) };
                let long = vec!["x/ü".repeat(100).into(); 100];
                flows.push(Flow { protocol: "ICMPv6".into(), port: None, isolated_by: long, ..like.clone() });
                flows.push(Flow { source: bare.clone(), destination: bare.clone(), isolated_by: vec![], ..like });
            }
        }
    }
    let mut rules = BTreeSet::new();
    let payloads = flows.iter().map(Payload::of).chain([Payload::left_out(7, "n1", Timestamp::now())]);
    for payload in payloads {
        let text = serde_json::to_string(&payload).unwrap();
        // Above that falcosidekick cuts fields of more than 512 bytes, wherever that is in a character.
        assert!(text.len() < 4096, "{text}");
        let read: FalcoPayload = serde_json::from_str(&text).unwrap();
        read.check().unwrap();
        rules.insert(read.rule);
    }
    assert_eq!(rules.len(), 11, "{rules:?}");
}

#[tokio::test]
async fn flows_arrive_in_their_order() {
    let mut server = Server::start(&[]).await;
    let at = at(server.address, QUICK);
    (1..=20).for_each(|n| at.feed.publish(flow(n)));
    for n in 1..=20 {
        assert_eq!(port(&server.next().await), n);
    }
    at.until([20, 0, 0]).await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_left_out_and_told() {
    let mut server = Server::start(&[Mood::Refuses(400)]).await;
    let at = at(server.address, QUICK);
    at.feed.publish(flow(1));
    let told = server.next().await;
    assert_eq!(
        (&*told.rule, &told.output_fields["netsim.left_out"]),
        ("Denied flows left out", &Scalar::Number(1.into()))
    );
    at.feed.publish(flow(2));
    assert_eq!(port(&server.next().await), 2);
    at.until([2, 1, 1]).await;
}

#[tokio::test]
async fn what_is_busy_silent_or_away_is_tried_again() {
    let mut server = Server::start(&[Mood::Refuses(503), Mood::Hangs, Mood::Refuses(429)]).await;
    let at = at(server.address, QUICK);
    at.feed.publish(flow(1));
    assert_eq!(port(&server.next().await), 1);
    at.until([1, 3, 0]).await;
    assert!(server.moods.lock().unwrap().is_empty());
    // It goes, and comes back at the same place.
    let address = server.address;
    server.task.abort();
    _ = (&mut server.task).await;
    drop(server);
    at.feed.publish(flow(2));
    at.feed.publish(flow(3));
    let mut server = Server::on(TcpListener::bind(address).await.unwrap(), &[], None);
    assert_eq!([port(&server.next().await), port(&server.next().await)], [2, 3]);
    assert_eq!(at.counts()[2], 0);
}

#[tokio::test]
async fn what_is_away_for_too_long_is_left_out_and_told_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let at = at(address, Pace { give_up: Duration::from_millis(30), ..QUICK });
    at.feed.publish(flow(1));
    at.feed.publish(flow(2));
    let waiting = async {
        while at.counts()[2] < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("two are given up");
    let mut server = Server::on(TcpListener::bind(address).await.unwrap(), &[], None);
    assert_eq!(server.next().await.output_fields["netsim.left_out"], Scalar::Number(2.into()));
    assert!(at.counts()[1] >= 2);
}

#[tokio::test]
async fn a_flood_is_sent_at_a_pace_and_its_rest_is_counted() {
    let mut server = Server::start(&[Mood::Hangs]).await;
    let at = at(server.address, QUICK);
    at.feed.publish(flow(1));
    // What is on its way is no longer in the feed.
    while !server.moods.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let many = 5000;
    (0..many).for_each(|_| at.feed.publish(flow(2)));
    let (mut sent, mut left_out) = (0, 0);
    while sent + left_out < many + 1 {
        let payload = server.next().await;
        match payload.output_fields.get("netsim.left_out") {
            Some(Scalar::Number(number)) => left_out += number.as_u64().unwrap(),
            Some(Scalar::Text(text)) => panic!("{text}"),
            None => sent += 1,
        }
    }
    assert_eq!(sent + left_out, many + 1, "{sent} {left_out}");
    assert_eq!(at.counts()[2], left_out);
    assert!(left_out > 1000 && sent > 1000, "{sent} {left_out}");
}

/// A CA in a file, and a server's side of TLS with a certificate that it has signed.
struct Ca {
    path: PathBuf,
    tls: TlsAcceptor,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let path = std::env::temp_dir().join(format!("netsim-ca-{}-{name}.pem", std::process::id()));
        std::fs::write(&path, ca.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Ca { path, tls: TlsAcceptor::from(Arc::new(config)) }
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test]
async fn https_goes_to_whom_the_ca_vouches_for_and_to_nobody_else() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = Server::on(listener, &[], Some(ours.tls.clone()));
    let url: Uri = format!("https://{}", server.address).parse().unwrap();
    let right = to(Target { url: url.clone(), ca: Some(ours.path.clone()) }, QUICK);
    right.feed.publish(flow(1));
    assert_eq!(port(&server.next().await), 1);
    let wrong = to(Target { url, ca: Some(theirs.path.clone()) }, Pace { give_up: Duration::ZERO, ..QUICK });
    wrong.feed.publish(flow(2));
    let waiting = async {
        while wrong.counts()[2] < 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("it is given up");
    right.feed.publish(flow(3));
    assert_eq!(port(&server.next().await), 3);
    assert_eq!(wrong.counts()[0], 0);
}

#[tokio::test]
async fn wrong_certificates_are_told_at_the_start() {
    let new = |url: &str, ca: &str| {
        let target = Target { url: url.parse().unwrap(), ca: Some(ca.into()) };
        let sender = Sender::new(target, "n1", QUICK, Metrics::new().sink("falcosidekick"));
        sender.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let missing = new("https://127.0.0.1:1", "/nowhere/ca.pem");
    assert!(missing.starts_with("cannot use the certificates in `/nowhere/ca.pem`: "), "{missing}");
    assert!(missing.contains("No such file"), "{missing}");
    let empty = new("https://127.0.0.1:1", "/dev/null");
    assert!(empty.starts_with("cannot use the certificates in `/dev/null`: "), "{empty}");
    let plain = new("http://127.0.0.1:1", "/dev/null");
    assert_eq!(plain, "cannot use the certificates in `/dev/null`: the URL does not begin with https");
}
