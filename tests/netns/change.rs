//! Change under live flows: what is denied is cut at the commit, what stays allowed is not disturbed,
//! and no packet gets through in between.

use crate::cluster::{Cluster, namespace, pod, policy};
use libtest_mimic::Trial;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::netns::{Flow, Outcome, Packets, Place, Probe, Wiring};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Messages that a flow sends after a change before it is believed that none comes through.
const ENOUGH: usize = 60;
/// How long a flow that is allowed again may take: a TCP connection waits for its timer, which has
/// doubled a few times by then.
const RECOVERY: Duration = Duration::from_secs(15);
/// The longest pause of a flow that nothing was done to, on a busy machine.
const UNDISTURBED: Duration = Duration::from_millis(600);

const FLOWS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

type Test = fn(Wiring);

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, Test); 10] = [
        ("a_new_policy_cuts_at_once_and_its_end_lets_go_on", a_new_policy_cuts),
        ("replies_of_a_cut_flow_are_cut_too", replies_are_cut),
        ("a_stream_of_replies_that_stays_allowed_goes_on", replies_go_on),
        ("a_policy_that_shrinks_cuts_what_it_no_longer_allows", shrinking),
        ("labels_of_a_pod_and_of_a_namespace_count_at_once", labels),
        ("a_reused_address_inherits_nothing", reuse),
        ("a_pod_is_closed_until_it_is_programmed", closed_until_programmed),
        ("a_service_is_judged_by_its_pod_port", service),
        ("the_node_reaches_its_own_pods", own_node),
        ("pods_of_one_bridge_have_no_other_way", no_other_way),
    ];
    let with = |wiring: Wiring| {
        tests.map(move |(name, test)| {
            let name = format!("change::{wiring:?}::{name}").to_lowercase();
            Trial::test(name, move || {
                test(wiring);
                Ok(())
            })
        })
    };
    Wiring::ALL.into_iter().flat_map(with).collect()
}

fn flow(cluster: &Cluster, from: &str, to: &str, family: Family, port: u16, protocol: Protocol) -> Flow {
    cluster.pod(to).listen(protocol, port);
    cluster.fabric.flow(&cluster.pod(from), cluster.at(to, family, port), protocol).start()
}

/// Nothing that was sent after the change arrived at the server.
fn assert_cut(flow: &Flow, since: Instant, what: &str) {
    flow.wait_until_sent(since, ENOUGH);
    let late = flow.at_server().iter().filter(|arrival| arrival.sent > since).count();
    assert_eq!(late, 0, "{what}: {late} messages came through after the commit");
}

fn assert_resumes(flow: &Flow, since: Instant, what: &str) {
    assert!(flow.wait_at_server(since, RECOVERY).is_some(), "{what}: does not go on ({:?})", flow.broken());
}

fn a_new_policy_cuts(wiring: Wiring) {
    let cluster = Cluster::running(2, 2, wiring, &[]);
    let deny =
        || policy("x", "deny", json!({"podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"]}));
    let mut flows = Vec::new();
    for family in Family::ALL {
        for protocol in FLOWS {
            // From the other node, and from the same one.
            for from in ["pod-1-1", "pod-2-2"] {
                let what = format!("{from} -> pod-2-1 {protocol} {family}");
                flows.push((what, flow(&cluster, from, "pod-2-1", family, 80, protocol)));
            }
        }
    }
    let others: Vec<Flow> = FLOWS.map(|p| flow(&cluster, "pod-1-1", "pod-2-2", Family::V4, 81, p)).into();
    let started = Instant::now();
    let cut = cluster.change(&["node-2"], |api| api.apply(deny()));
    flows.iter().for_each(|(what, flow)| assert_cut(flow, cut, what));
    let resumed = cluster.change(&["node-2"], |api| api.delete("networkpolicies", "x", "deny"));
    flows.iter().for_each(|(what, flow)| assert_resumes(flow, resumed, what));
    for other in &others {
        let gap = other.longest_gap(started);
        assert!(gap < UNDISTURBED, "a flow that stayed allowed had a pause of {gap:?}");
    }
}

fn replies_are_cut(wiring: Wiring) {
    let cluster = Cluster::running(2, 1, wiring, &[]);
    let (client, server) = (cluster.pod("pod-1-1"), cluster.pod("pod-2-1"));
    server.listen(Protocol::Udp, 80);
    let to = cluster.at("pod-2-1", Family::V4, 80);
    let stream = cluster.fabric.flow(&client, to, Protocol::Udp).server_sends().start();
    let sending = server.count(&Packets::any());
    // Egress of the client: what the server sends is a reply on both nodes.
    let deny =
        policy("x", "deny", json!({"podSelector": {"matchLabels": {"app": "pod-1-1"}}, "policyTypes": ["Egress"]}));
    let cut = cluster.change(&["node-1"], |api| api.apply(deny));
    let local = stream.local();
    let arriving = client.count(&Packets::any().from(to.ip()).port(Protocol::Udp, local.port()));
    drop(sending);
    // The server goes on sending; its packets are seen by the client's node and go no further.
    let node = cluster.fabric.node("node-1");
    let passing = node.count(&Packets::any().from(to.ip()));
    let deadline = Instant::now() + Duration::from_secs(10);
    while passing.packets() < 50 {
        assert!(Instant::now() < deadline, "the server stopped sending");
        std::thread::yield_now();
    }
    assert_eq!(arriving.packets(), 0, "replies of a denied flow arrive");
    assert!(stream.at_client().iter().all(|arrival| arrival.received <= cut + Duration::from_millis(50)));
}

fn replies_go_on(wiring: Wiring) {
    let cluster = Cluster::running(2, 2, wiring, &[]);
    let ports = json!([{"port": 80, "protocol": "UDP"}]);
    let only_80 = json!({"podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}]});
    let only_to_80 = json!({"podSelector": {"matchLabels": {"app": "pod-1-1"}}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]});
    cluster.change(&["node-2"], |api| api.apply(policy("x", "only-80", only_80)));
    cluster.change(&["node-1"], |api| api.apply(policy("x", "only-to-80", only_to_80)));
    cluster.pod("pod-2-1").listen(Protocol::Udp, 80);
    let to = cluster.at("pod-2-1", Family::V4, 80);
    let stream = cluster.fabric.flow(&cluster.pod("pod-1-1"), to, Protocol::Udp).server_sends().start();
    // Something else is denied on both nodes: every connection is judged again, and the next packet
    // of this one is a reply.
    let others = json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["pod-1-2", "pod-2-2"]}]}});
    let since = cluster.change(&["node-1", "node-2"], |api| api.apply(policy("x", "others", others)));
    let deadline = since + Duration::from_secs(10);
    while stream.at_client().iter().filter(|arrival| arrival.received > since).count() < ENOUGH {
        assert!(Instant::now() < deadline, "the stream does not go on");
        std::thread::yield_now();
    }
}

fn shrinking(wiring: Wiring) {
    let cluster = Cluster::running(2, 1, wiring, &[]);
    let allow = |ports: &[u16]| {
        let ports: Vec<_> = ports
            .iter()
            .flat_map(|port| ["TCP", "UDP"].map(|protocol| json!({"port": port, "protocol": protocol})))
            .collect();
        policy(
            "x",
            "allow",
            json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}], "ports": ports}]}),
        )
    };
    cluster.change(&["node-1", "node-2"], |api| api.apply(allow(&[80, 81])));
    let cut: Vec<Flow> = FLOWS.map(|p| flow(&cluster, "pod-1-1", "pod-2-1", Family::V4, 81, p)).into();
    let kept: Vec<Flow> = FLOWS.map(|p| flow(&cluster, "pod-1-1", "pod-2-1", Family::V6, 80, p)).into();
    let started = Instant::now();
    let at = cluster.change(&["node-2"], |api| api.apply(allow(&[80])));
    cut.iter().for_each(|flow| assert_cut(flow, at, "port 81"));
    for flow in &kept {
        assert!(flow.longest_gap(started) < UNDISTURBED, "port 80 had a pause of {:?}", flow.longest_gap(started));
    }
    let again = cluster.change(&["node-2"], |api| api.apply(allow(&[80, 81])));
    cut.iter().for_each(|flow| assert_resumes(flow, again, "port 81"));
}

fn labels(wiring: Wiring) {
    let cluster = Cluster::running(2, 1, wiring, &[]);
    let from = json!([{"podSelector": {"matchLabels": {"role": "client"}}, "namespaceSelector": {"matchLabels": {"team": "x"}}}]);
    let allow = policy(
        "x",
        "allow",
        json!({"podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"], "ingress": [{"from": from}]}),
    );
    cluster.change(&["node-2"], |api| api.apply(allow));
    let addresses = cluster.pod("pod-1-1").addresses();
    let client = |labels| pod("x", "pod-1-1", labels, "node-1", &addresses);
    cluster.change(&["node-2"], |api| api.apply(client(json!({"role": "client"}))));
    let flow = flow(&cluster, "pod-1-1", "pod-2-1", Family::V4, 80, Protocol::Udp);
    let cut = cluster.change(&["node-2"], |api| api.apply(client(json!({"role": "other"}))));
    assert_cut(&flow, cut, "another label");
    let again = cluster.change(&["node-2"], |api| api.apply(client(json!({"role": "client"}))));
    assert_resumes(&flow, again, "the label again");
    let cut = cluster.change(&["node-2"], |api| api.apply(namespace("x", json!({"team": "other"}))));
    assert_cut(&flow, cut, "another label of the namespace");
    let again = cluster.change(&["node-2"], |api| api.apply(namespace("x", json!({"team": "x"}))));
    assert_resumes(&flow, again, "the namespace's label again");
}

fn reuse(wiring: Wiring) {
    let cluster = Cluster::running(2, 1, wiring, &[]);
    let only_old = json!({"podSelector": {"matchLabels": {"app": "closed"}}, "policyTypes": ["Ingress"]});
    cluster.api.apply(policy("x", "closed", only_old));
    let addresses = cluster.pod("pod-2-1").addresses();
    let flow = flow(&cluster, "pod-1-1", "pod-2-1", Family::V4, 80, Protocol::Udp);
    // The pod goes, and its address comes back with a pod that is closed.
    cluster.change(&["node-2"], |api| api.delete("pods", "x", "pod-2-1"));
    cluster.fabric.remove_pod("pod-2-1");
    let server = cluster.fabric.add_pod("new", "node-2", addresses.iter().copied());
    server.listen(Protocol::Udp, 80);
    let arriving = server.count(&Packets::any().port(Protocol::Udp, 80));
    let since = Instant::now();
    flow.wait_until_sent(since, ENOUGH);
    assert_eq!(arriving.packets(), 0, "before the new pod is known");
    cluster.change(&["node-2"], |api| api.apply(pod("x", "new", json!({"app": "closed"}), "node-2", &addresses)));
    flow.wait_until_sent(Instant::now(), ENOUGH);
    assert_eq!(arriving.packets(), 0, "the new pod inherits what the old one was allowed");
    // And the other way round: a pod that is open is open at the address of one that was closed.
    cluster.change(&["node-2"], |api| api.apply(pod("x", "new", json!({"app": "open"}), "node-2", &addresses)));
    assert!(flow.wait_at_server(since, RECOVERY).is_some());
}

fn closed_until_programmed(wiring: Wiring) {
    let cluster = Cluster::running(2, 1, wiring, &[]);
    let allow = json!({
        "podSelector": {"matchLabels": {"app": "late"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "pod-1-1"}}}]}],
    });
    cluster.api.apply(policy("x", "late", allow));
    let addresses = [IpAddr::from([10, 244, 2, 77])];
    let late = cluster.fabric.add_pod("late", "node-2", addresses);
    late.listen(Protocol::Tcp, 80);
    let to = late.at(Family::V4, 80);
    let denied = [cluster.pod("pod-2-1"), cluster.fabric.outside()];
    let arriving: Vec<_> = denied
        .iter()
        .map(|place| {
            late.count(&Packets::any().from(place.address(Family::V4).expect("an address")).port(Protocol::Tcp, 80))
        })
        .collect();
    let storm = cluster.fabric.storm(denied.iter().map(|place| Probe::tcp(place, to))).start();
    let allowed =
        cluster.fabric.storm([Probe::tcp(&cluster.pod("pod-1-1"), to)]).patience(Duration::from_millis(50)).start();
    assert!(allowed.wait_tries(Instant::now(), 50));
    assert!(allowed.tries().iter().all(|t| t.outcome == Outcome::Lost), "open before it is known");
    let known =
        cluster.change(&["node-2"], |api| api.apply(pod("x", "late", json!({"app": "late"}), "node-2", &addresses)));
    assert!(allowed.wait_outcome(known, |outcome| outcome == Outcome::Reached).is_some());
    assert!(storm.wait_tries(known, 100));
    assert!(storm.stop().iter().all(|t| t.outcome == Outcome::Lost));
    let arrived: u64 = arriving.iter().map(|counter| counter.packets()).sum();
    assert_eq!(arrived, 0, "packets of denied peers arrived");
}

fn service(wiring: Wiring) {
    let cluster = Cluster::running(2, 2, wiring, &[]);
    let allow = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 8080}]}],
        "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 8080}]}]});
    cluster.change(&["node-1", "node-2"], |api| api.apply(policy("x", "allow", allow)));
    cluster.pod("pod-2-1").listen(Protocol::Tcp, 8080);
    cluster.pod("pod-1-2").listen(Protocol::Tcp, 8080);
    let backends = ["pod-2-1", "pod-1-2"].map(|pod| cluster.at(pod, Family::V4, 8080));
    for (n, backend) in backends.into_iter().enumerate() {
        let vip = SocketAddr::from(([10, 96, 0, u8::try_from(n).expect("a few")], 80));
        let _service = cluster.fabric.node("node-1").service(Protocol::Tcp, vip, &[backend]);
        assert_eq!(cluster.fabric.probe(&Probe::tcp(&cluster.pod("pod-1-1"), vip)), Outcome::Reached, "{vip}");
        let wrong = SocketAddr::new(vip.ip(), 81);
        let _other = cluster.fabric.node("node-1").service(Protocol::Tcp, wrong, &[SocketAddr::new(backend.ip(), 81)]);
        assert_eq!(cluster.fabric.probe(&Probe::tcp(&cluster.pod("pod-1-1"), wrong)), Outcome::Lost, "{wrong}");
    }
}

fn own_node(wiring: Wiring) {
    let cluster = Cluster::running(2, 1, wiring, &[]);
    let deny = policy("x", "deny", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    cluster.change(&["node-1", "node-2"], |api| api.apply(deny));
    cluster.pod("pod-1-1").listen(Protocol::Tcp, 80);
    for family in Family::ALL {
        let pod = cluster.at("pod-1-1", family, 80);
        assert_eq!(cluster.fabric.probe(&Probe::tcp(&cluster.fabric.node("node-1"), pod)), Outcome::Reached);
        assert_eq!(cluster.fabric.probe(&Probe::tcp(&cluster.fabric.node("node-2"), pod)), Outcome::Lost);
        let node = cluster.fabric.node("node-1");
        let back = Probe::tcp(&cluster.pod("pod-1-1"), node.at(family, 9));
        assert!(cluster.fabric.probe(&back).passed(), "a pod reaches its own node");
    }
}

fn no_other_way(wiring: Wiring) {
    let cluster = Cluster::running(1, 3, wiring, &[]);
    let server = cluster.pod("pod-1-1");
    server.listen(Protocol::Udp, 80);
    server.listen(Protocol::Tcp, 80);
    let closed = json!({"podSelector": {"matchLabels": {"app": "pod-1-1"}}, "policyTypes": ["Ingress"]});
    cluster.change(&["node-1"], |api| api.apply(policy("x", "closed", closed)));
    let mute = json!({"podSelector": {"matchLabels": {"app": "pod-1-2"}}, "policyTypes": ["Egress"]});
    cluster.change(&["node-1"], |api| api.apply(policy("x", "mute", mute)));
    let arriving = server.count(&Packets::any().and("udp dport 80"));
    let to_open = cluster.pod("pod-1-3").count(&Packets::any().and("udp dport 80"));
    let interface =
        |place: &Place| place.exec(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6").expect("a list"));
    let by_link = |place: &Place| -> Vec<(IpAddr, u32)> {
        let lines = interface(place);
        let of_line = |line: &str| {
            let mut words = line.split_whitespace();
            let (address, index) = (words.next()?, words.next()?);
            let address = u128::from_str_radix(address, 16).ok()?;
            Some((std::net::Ipv6Addr::from(address).into(), u32::from_str_radix(index, 16).ok()?))
        };
        lines.lines().filter(|line| line.starts_with("fe80")).filter_map(of_line).collect()
    };
    let sender = cluster.pod("pod-1-2");
    for (address, _) in by_link(&server) {
        for (own, index) in by_link(&sender) {
            sender.exec(|| {
                let socket = std::net::UdpSocket::bind(scoped(own, 0, index)).expect("a socket");
                _ = socket.send_to(b"by link", scoped(address, 80, index));
                _ = socket.send_to(b"with another's source", cluster.at("pod-1-3", Family::V6, 80));
            });
        }
    }
    sender.exec(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.set_broadcast(true).expect("an option");
        for to in ["224.0.0.1:80", "255.255.255.255:80"] {
            _ = socket.send_to(b"to many", to);
        }
    });
    // What was sent before this has long gone its way.
    let flow = flow(&cluster, "pod-1-3", "pod-1-2", Family::V4, 81, Protocol::Udp);
    flow.wait_until_sent(Instant::now(), ENOUGH);
    assert_eq!((arriving.packets(), to_open.packets()), (0, 0), "a way around");
}

fn scoped(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) => std::net::SocketAddrV6::new(v6, port, 0, interface).into(),
        IpAddr::V4(_) => SocketAddr::new(address, port),
    }
}
