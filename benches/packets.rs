//! What the rules cost per packet: two pods of one node, both isolated, talk through its forward
//! hook. Not a criterion bench: what is compared are rulesets, in turn and many times over, in one
//! process on one fabric, because between two runs the machine differs by more than the rulesets do.
//!
//! Everything of a measurement happens on one processor: a packet goes through both pods and the
//! node before the call that sends it returns, so that figures are those of one processor, senders
//! and receivers included.

use netsim_benches::{NODE, listed, object, on_nodes, options};
use netsim_enforcer::kernel::{Kernel, Ownership};
use netsim_enforcer::render::render;
use netsim_enforcer::ruleset::Ruleset;
use netsim_enforcer::transaction::{Op, Transaction, replace};
use netsim_shared::compile::{Address, Compiled};
use netsim_shared::evaluate::{Outcome, Party, evaluate};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::netns::{Fabric, Layout, Place, Wiring};
use netsim_testkit::synthetic::Synthetic;
use nix::libc::linger;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, sendmmsg,
    setsockopt, socket,
};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{IoSlice, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pods of the cluster.
const CLUSTER: usize = 10_000;
/// Policies of the clusters, 10 to a namespace.
const POLICIES: [usize; 4] = [10, 100, 1_000, 5_000];
/// How often each ruleset has its turn.
const ROUNDS: usize = 9;
/// The ports that the policies of the bench allow.
const PORT: u16 = 7_001;
/// Packets of one measurement.
const PACKETS: usize = 200_000;
/// Packets of one in which each is a connection of its own.
const NEW: usize = 60_000;
/// Connections that packets of the others take turns through.
const FLOWS: usize = 1_024;
/// TCP connections of one measurement.
const CONNECTIONS: usize = 3_000;
/// Packets of one system call.
const BATCH: usize = 64;

/// What is measured.
const KINDS: [&str; 4] = ["unanswered, many flows", "answered flows", "each packet a new flow", "TCP connections"];

/// Datagrams that are written by hand, so that each can have the source port that it wants without
/// a socket of its own.
struct Datagrams {
    socket: OwnedFd,
    packets: Vec<[u8; 26]>,
}

impl Datagrams {
    /// For the calling thread's namespace; `ports` are source and destination of each packet in turn.
    fn new(to: IpAddr, ports: impl Iterator<Item = (u16, u16)>) -> Self {
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp);
        let socket = socket.expect("a raw socket");
        connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0))).expect("a way to the pod");
        let packet = |(source, destination): (u16, u16)| {
            let mut bytes = [0; 26];
            bytes[0..2].copy_from_slice(&source.to_be_bytes());
            bytes[2..4].copy_from_slice(&destination.to_be_bytes());
            // The length; a checksum of 0 is none.
            bytes[5] = 26;
            bytes
        };
        Datagrams { socket, packets: ports.map(packet).collect() }
    }

    /// Sends so many, from the first one on; how long that took.
    fn send(&self, count: usize) -> Duration {
        let slices: Vec<[IoSlice; 1]> = self.packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let nowhere = [None::<SockaddrStorage>; BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let start = Instant::now();
        let mut left = count;
        while left > 0 {
            for batch in slices.chunks(BATCH) {
                let batch = &batch[..batch.len().min(left)];
                if !batch.is_empty() {
                    sendmmsg(self.socket.as_raw_fd(), &mut headers, batch, nowhere, [], MsgFlags::empty())
                        .expect("room to send");
                    left -= batch.len();
                }
            }
        }
        start.elapsed()
    }
}

/// Ends of connections, in turn.
fn flows() -> impl Iterator<Item = (u16, u16)> {
    (10_000..).take(FLOWS).map(|port| (port, PORT))
}

/// Keeps the calling thread, and with it the way of its packets, on one processor.
fn stay() {
    let mut first = CpuSet::new();
    first.set(0).expect("a first processor");
    sched_setaffinity(Pid::from_raw(0), &first).expect("the right to stay on a processor");
}

/// How many packets arrived in the calling thread's namespace.
fn arrived() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("the list of interfaces");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("an interface");
    line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).expect("a count")
}

struct Bench {
    node: Place,
    client: Place,
    server: Place,
}

impl Bench {
    fn address(place: &Place) -> IpAddr {
        place.address(Family::V4).expect("pods have an address")
    }

    /// The node forgets all connections.
    fn forget(&self) {
        let done = self.node.exec(|| Command::new("conntrack").arg("-F").output());
        let done = done.expect("the program `conntrack` (package conntrack)");
        assert!(done.status.success(), "conntrack: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Packets a second from the client to the server, counted where they arrive.
    fn datagrams(&self, count: usize, ports: impl Iterator<Item = (u16, u16)> + Send, answered: bool) -> f64 {
        self.forget();
        let (client, server) = (Self::address(&self.client), Self::address(&self.server));
        let sender = self.client.exec(|| Datagrams::new(server, ports));
        if answered {
            // There, back, and there again: then the connection is a lasting one.
            let back = self.server.exec(|| Datagrams::new(client, flows().map(|(source, port)| (port, source))));
            self.client.exec(|| sender.send(FLOWS));
            self.server.exec(|| back.send(FLOWS));
            self.client.exec(|| sender.send(FLOWS));
        }
        let before = self.server.exec(arrived);
        let took = self.client.exec(|| {
            stay();
            sender.send(count)
        });
        let came = self.server.exec(arrived) - before;
        let wanted = u64::try_from(count).expect("a count");
        assert!(came >= wanted - wanted / 100, "{came} of {wanted} packets arrived");
        rate(count, took)
    }

    /// TCP connections a second, each opened, accepted, closed by the server and reset.
    fn connections(&self) -> f64 {
        self.forget();
        let to = SocketAddr::new(Self::address(&self.server), PORT);
        let listener = self.server.exec(|| TcpListener::bind(to)).expect("a port to listen on");
        let done = AtomicBool::new(false);
        let took = std::thread::scope(|scope| {
            scope.spawn(|| {
                stay();
                while !done.load(Ordering::Relaxed) {
                    drop(listener.accept());
                }
            });
            let took = self.client.exec(|| {
                stay();
                let start = Instant::now();
                for _ in 0..CONNECTIONS {
                    let mut stream = TcpStream::connect(to).expect("a connection");
                    setsockopt(&stream, Linger, &linger { l_onoff: 1, l_linger: 0 }).expect("a socket");
                    // One after another: a queue that overflows would be measured instead.
                    assert_eq!(stream.read(&mut [0]).expect("the server closes first"), 0);
                }
                start.elapsed()
            });
            done.store(true, Ordering::Relaxed);
            // Wakes the other one.
            self.client.exec(|| drop(TcpStream::connect(to)));
            took
        });
        rate(CONNECTIONS, took)
    }

    fn measure(&self) -> [f64; 4] {
        [
            self.datagrams(PACKETS, flows(), false),
            self.datagrams(PACKETS, flows(), true),
            self.datagrams(NEW, (0..=u16::MAX).filter(|p| *p > 1_024).map(|p| (p, PORT)), false),
            self.connections(),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of packets, far below 2^52")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Both pods are isolated, the client in what it opens and the server in what it takes; what the
/// bench sends is allowed by one rule each.
fn own_policies(client: &str, server: &str) -> [Value; 2] {
    let policy = |namespace: &str, name: &str, direction: &str, peers: &str, other: &str| {
        let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": other } });
        let ports = json!([{ "port": PORT, "protocol": "UDP" }, { "port": PORT, "protocol": "TCP" }]);
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "namespace": namespace, "name": name },
            "spec": {
                "podSelector": {},
                "policyTypes": [if direction == "egress" { "Egress" } else { "Ingress" }],
                direction: [{ peers: [{ "namespaceSelector": selector }], "ports": ports }],
            },
        })
    };
    [policy(client, "bench-client", "egress", "to", server), policy(server, "bench-server", "ingress", "from", client)]
}

fn cluster(policies: usize) -> Synthetic {
    on_nodes(Synthetic::new(CLUSTER, policies / 10, 10), netsim_benches::PODS_OF_NODE)
}

/// The pods that talk: the first two of the node. Their addresses are the same whatever the policies.
fn talkers(cluster: &Synthetic) -> [Value; 2] {
    let mut of_node = cluster.pods().filter(|pod| pod["spec"]["nodeName"] == NODE);
    [(); 2].map(|()| of_node.next().expect("two pods on the node"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn ruleset(policies: usize) -> Ruleset {
    let cluster = cluster(policies);
    let pods = talkers(&cluster);
    let [client, server] = [0, 1].map(|i| text(&pods[i]["metadata"]["namespace"]));
    let state = listed(&cluster, own_policies(client, server).into_iter().map(object).collect());
    let compiled = state.compiled().expect("everything is listed");
    let [from, to] = [0, 1].map(|i| party(compiled, &pods[i]));
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let decision = evaluate(compiled, from, to, protocol, PORT, Family::V4);
        assert!(decision.is_some_and(|d| d.outcome == Outcome::Allowed), "the bench's own packets are denied");
        let decision = evaluate(compiled, from, to, protocol, PORT + 1, Family::V4);
        assert!(decision.is_some_and(|d| d.outcome == Outcome::Denied), "the bench's pods are not isolated");
    }
    let ruleset = render(compiled, &options(), &[], 1);
    println!("{policies} policies: {} elements", ruleset.sets.values().map(|s| s.elements.len()).sum::<usize>());
    ruleset
}

fn party(compiled: &Compiled, pod: &Value) -> Party {
    let address: IpAddr = text(&pod["status"]["podIP"]).parse().expect("an address");
    let id = compiled.at_address(address).expect("a pod with its address");
    let known = compiled.entry(id).map(|entry| *entry.endpoint.addresses.get(Family::V4));
    assert_eq!(known, Some(Address::Known(address)));
    Party::Endpoint(id)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The rulesets that take turns.
enum Variant {
    Nothing,
    Conntrack,
    Ours(usize, Ruleset),
}

impl Variant {
    fn name(&self) -> String {
        match self {
            Variant::Nothing => "no rules".to_owned(),
            Variant::Conntrack => "a chain with conntrack".to_owned(),
            Variant::Ours(policies, _) => format!("{policies} policies"),
        }
    }
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    netsim_testkit::netns::enter();
    let pods = talkers(&cluster(POLICIES[0]));
    let mut layout = Layout::new().node(NODE, Wiring::Routed);
    for (name, pod) in ["client", "server"].into_iter().zip(&pods) {
        layout = layout.pod(name, NODE, [text(&pod["status"]["podIP"]).parse().expect("an address")]);
    }
    let fabric = Fabric::build(&layout);
    let bench = Bench { node: fabric.node(NODE), client: fabric.pod("client"), server: fabric.pod("server") };
    // What arrives is counted by the interface and goes no further: nobody says that nobody listens.
    for place in [&bench.client, &bench.server] {
        place.nft("table inet sink { chain c { type filter hook prerouting priority -450; meta l4proto udp drop; }; }");
    }
    let kernel = Kernel::open(Some(bench.node.netns_path()), "netsim", Ownership::Owned);
    let kernel = kernel.unwrap_or_else(|error| panic!("{error}"));
    let commit = |transaction| _ = kernel.commit(transaction).wait().unwrap_or_else(|error| panic!("{error}"));
    let mut variants = vec![Variant::Nothing, Variant::Conntrack];
    variants.extend(POLICIES.map(|policies| Variant::Ours(policies, ruleset(policies))));
    let mut rates: Vec<[Vec<f64>; 4]> = variants.iter().map(|_| Default::default()).collect();
    for round in 0..ROUNDS {
        for i in 0..variants.len() {
            // Nobody is always the first, nor always behind the same one.
            let turn = if round % 2 == 0 { i + round } else { 2 * variants.len() + round - i } % variants.len();
            match &variants[turn] {
                Variant::Nothing => {}
                Variant::Conntrack => bench.node.nft(
                    "table inet empty { chain forward { type filter hook forward priority -10; ct state new counter accept; }; }",
                ),
                Variant::Ours(_, ruleset) => commit(replace(false, ruleset)),
            }
            for (all, one) in rates[turn].iter_mut().zip(bench.measure()) {
                all.push(one);
            }
            match &variants[turn] {
                Variant::Nothing => {}
                Variant::Conntrack => bench.node.nft("delete table inet empty"),
                Variant::Ours(..) => commit(Transaction { ops: vec![Op::DeleteTable] }),
            }
        }
    }
    for (kind, what) in KINDS.iter().enumerate() {
        println!("\n{what}, a second: median of {ROUNDS} rounds; median of the ratios within a round");
        for (variant, measured) in variants.iter().zip(&rates) {
            let against = |other: usize| {
                median(measured[kind].iter().zip(&rates[other][kind]).map(|(one, base)| one / base).collect())
            };
            println!(
                "  {:<24} {:>10.0}   {:.2} of no rules   {:.2} of conntrack",
                variant.name(),
                median(measured[kind].clone()),
                against(0),
                against(1),
            );
        }
    }
}
