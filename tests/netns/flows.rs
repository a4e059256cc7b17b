//! Denied connections are told, with names, and never at the cost of enforcement.

use crate::cluster::{Cluster, PATIENCE, pod, policy};
use libtest_mimic::Trial;
use netsim_enforcer::kernel::{Kernel, Ownership};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::netns::{Outcome, Packets, Place, Probe, Wiring};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 7] = [
        ("a_denied_connection_is_told_once_with_names", told_once),
        ("a_flood_is_put_together_and_disturbs_nobody", flood),
        ("replies_of_a_cut_connection_are_told_as_that_connection", replies),
        ("a_pod_that_is_not_known_yet_is_told_as_such", unknown_pod),
        ("where_the_log_group_is_taken_denials_are_only_counted", taken),
        ("without_the_log_denials_are_only_counted", not_logged),
        ("audited_connections_become_policies", audited),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("flows::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

/// A cluster whose agents write what they deny to one file.
struct Told {
    cluster: Cluster,
    file: PathBuf,
}

impl Told {
    fn new(options: &[&str]) -> Told {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("netsim-flows-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = std::env::temp_dir().join(name);
        let log = ["--flow-log", file.to_str().expect("a path")];
        let cluster = Cluster::new(2, 2, Wiring::Routed, &[&log, options].concat());
        cluster.api.apply(only_first());
        Told { cluster, file }
    }

    fn running(options: &[&str]) -> Told {
        let mut told = Told::new(options);
        told.cluster.start_agents();
        told
    }

    fn flows(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).expect("the file");
        // The last line may be on its way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until something is told.
    fn wait(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(flow) = self.flows().into_iter().find(|flow| wanted(flow)) {
                return flow;
            }
            assert!(Instant::now() < deadline, "it is not told: {:#?}", self.flows());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.file);
    }
}

/// Only pod-1-1 may reach pod-2-1, on TCP 80.
fn only_first() -> Value {
    policy(
        "x",
        "only-first",
        json!({
            "podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "pod-1-1"}}}], "ports": [{"port": 80}]}],
        }),
    )
}

/// Sends datagrams, and does not care.
fn send(from: &Place, to: SocketAddr, count: usize) {
    let address = from.address(if to.is_ipv4() { Family::V4 } else { Family::V6 }).expect("both families");
    from.exec(|| {
        let socket = UdpSocket::bind((address, 0)).expect("a socket");
        for _ in 0..count {
            _ = socket.send_to(b"hello", to);
        }
    });
}

fn port(flow: &Value) -> u64 {
    flow["port"].as_u64().unwrap_or_default()
}

fn told_once() {
    let told = Told::running(&["--flow-interval", "300ms"]);
    let agent = &told.cluster.agents["node-2"];
    for (family, port_number) in Family::ALL.into_iter().zip([81, 82]) {
        send(&told.cluster.pod("pod-1-2"), told.cluster.at("pod-2-1", family, port_number), 1);
        let flow = told.wait(|flow| port(flow) == u64::from(port_number));
        let expected = json!({
            "first": flow["first"], "last": flow["first"], "node": "node-2", "verdict": "denied", "reason": "policy",
            "direction": "ingress", "protocol": "UDP", "port": port_number, "packets": 1, "isolated_by": ["x/only-first"],
            "source": {
                "ip": told.cluster.pod("pod-1-2").address(family),
                "pod": {"namespace": "x", "name": "pod-1-2", "uid": flow["source"]["pod"]["uid"], "labels": {"app": "pod-1-2"}},
            },
            "destination": {
                "ip": told.cluster.pod("pod-2-1").address(family),
                "pod": {"namespace": "x", "name": "pod-2-1", "uid": flow["destination"]["pod"]["uid"], "labels": {"app": "pod-2-1"}},
            },
        });
        let without_uids = |mut flow: Value| {
            for end in ["source", "destination"] {
                flow[end]["pod"].as_object_mut().map(|pod| pod.remove("uid"));
            }
            flow
        };
        assert_eq!(without_uids(flow), without_uids(expected));
    }
    agent.wait_metric("netsim_enforcer_policy_denied_packets_total", 2.0);
    let (_, metrics) = agent.get("/metrics");
    let line =
        r#"netsim_enforcer_policy_denied_packets_total{direction="ingress",namespace="x",policy="only-first"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
    // The counters are read every five seconds: several windows have passed, and nothing came twice.
    assert_eq!((told.flows().len(), agent.metric("netsim_enforcer_denied_flows_total")), (2, 2.0));
    told.cluster.change(&["node-2"], |api| api.delete("networkpolicies", "x", "only-first"));
    let deadline = Instant::now() + PATIENCE;
    while agent.get("/metrics").1.contains("only-first") {
        assert!(Instant::now() < deadline, "the policy is gone, and its metric is not");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn flood() {
    const PACKETS: usize = 30_000;
    let told = Told::running(&["--flow-interval", "500ms"]);
    let (agent, sender) = (&told.cluster.agents["node-2"], told.cluster.pod("pod-1-2"));
    let to = told.cluster.at("pod-2-1", Family::V4, 81);
    let node = told.cluster.fabric.node("node-2");
    let arrived = node.count(&Packets::any().from(sender.addresses()[0]).port(Protocol::Udp, 81));
    let begun = Instant::now();
    send(&sender, to, PACKETS / 2);
    // Meanwhile policies count as ever.
    let server = told.cluster.pod("pod-2-2");
    server.listen(Protocol::Tcp, 80);
    let deny = || policy("x", "deny", json!({"podSelector": {"matchLabels": {"app": "pod-2-2"}}}));
    let probe = || {
        told.cluster.fabric.probe(&Probe::tcp(&told.cluster.pod("pod-1-1"), told.cluster.at("pod-2-2", Family::V4, 80)))
    };
    assert_eq!(probe(), Outcome::Reached);
    told.cluster.change(&["node-2"], |api| api.apply(deny()));
    assert_eq!(probe(), Outcome::Lost);
    send(&sender, to, PACKETS / 2);
    let seconds = begun.elapsed().as_secs() + 1;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let exact = |count: u64| count as f64;
    // All are counted, however many were logged; the probe is another policy's.
    let of_policy = || {
        let (_, text) = agent.get("/metrics");
        let line = text
            .lines()
            .find(|l| l.starts_with("netsim_enforcer_policy_denied_packets_total") && l.contains("only-first"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    let deadline = Instant::now() + PATIENCE;
    while of_policy() < exact(arrived.packets()) {
        assert!(Instant::now() < deadline, "{} of {} packets are counted", of_policy(), arrived.packets());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(of_policy(), exact(arrived.packets()));
    assert!(arrived.packets() > 1000, "{}", arrived.packets());
    let flows: Vec<Value> = told.flows().into_iter().filter(|flow| port(flow) == 81).collect();
    let packets: u64 = flows.iter().filter_map(|flow| flow["packets"].as_u64()).sum();
    let windows = begun.elapsed().as_secs() * 2 + 3;
    assert!(packets <= 100 * (seconds + 2), "{packets} packets were logged in {seconds} seconds");
    assert!(flows.len() > 1 && flows.len() as u64 <= windows, "{} entries in {windows} windows", flows.len());
    // A connection that nobody floods is still told at once.
    send(&told.cluster.pod("pod-1-2"), told.cluster.at("pod-2-1", Family::V4, 83), 1);
    told.wait(|flow| port(flow) == 83);
}

fn replies() {
    let told = Told::running(&["--flow-interval", "300ms"]);
    let (client, server) = (told.cluster.pod("pod-1-1"), told.cluster.pod("pod-2-2"));
    server.listen(Protocol::Udp, 80);
    let to = told.cluster.at("pod-2-2", Family::V4, 80);
    let stream = told.cluster.fabric.flow(&client, to, Protocol::Udp).server_sends().start();
    let deny =
        policy("x", "deny", json!({"podSelector": {"matchLabels": {"app": "pod-1-1"}}, "policyTypes": ["Egress"]}));
    told.cluster.change(&["node-1"], |api| api.apply(deny));
    // Told again and again, as the server goes on sending.
    told.wait(|flow| flow["packets"].as_u64() > Some(5));
    drop(stream);
    for flow in told.flows() {
        let ends = (&flow["source"]["pod"]["name"], &flow["destination"]["pod"]["name"], port(&flow));
        assert_eq!(ends, (&json!("pod-1-1"), &json!("pod-2-2"), 80), "{flow}");
        assert_eq!((&flow["direction"], &flow["isolated_by"]), (&json!("egress"), &json!(["x/deny"])), "{flow}");
    }
}

fn unknown_pod() {
    let told = Told::running(&[]);
    let addresses: [IpAddr; 1] = [[10, 244, 2, 77].into()];
    let new = told.cluster.fabric.add_pod("pod-2-7", "node-2", addresses);
    let to = |port| told.cluster.at("pod-1-1", Family::V4, port);
    send(&new, to(81), 1);
    let flow = told.wait(|flow| port(flow) == 81);
    let said = (&flow["reason"], &flow["direction"], &flow["source"], &flow["isolated_by"]);
    assert_eq!(said, (&json!("unknown-pod"), &json!("egress"), &json!({"ip": "10.244.2.77"}), &json!([])));
    let object = pod("x", "pod-2-7", json!({"app": "pod-2-7"}), "node-2", &addresses);
    told.cluster.change(&["node-2"], |api| api.apply(object));
    told.cluster.pod("pod-1-1").listen(Protocol::Tcp, 80);
    assert_eq!(told.cluster.fabric.probe(&Probe::tcp(&new, to(80))), Outcome::Reached);
}

fn taken() {
    let mut told = Told::new(&[]);
    let node = told.cluster.fabric.node("node-2");
    let kernel = Kernel::open(Some(node.netns_path()), "others", Ownership::Shared).expect("a kernel");
    let reader = kernel.log_reader(4712).wait().expect("a log group");
    told.cluster.start_agents();
    let agent = &told.cluster.agents["node-2"];
    agent.wait_message("denied connections are counted but not told");
    send(&told.cluster.pod("pod-1-2"), told.cluster.at("pod-2-1", Family::V4, 81), 3);
    agent.wait_metric("netsim_enforcer_denied_packets_total", 3.0);
    assert_eq!(agent.metric("netsim_enforcer_denied_flows_total"), 0.0);
    // When it is free again, it is used.
    drop(reader);
    agent.wait_message("denied connections are told again");
    send(&told.cluster.pod("pod-1-2"), told.cluster.at("pod-2-1", Family::V4, 82), 1);
    told.wait(|flow| port(flow) == 82);
}

fn not_logged() {
    let told = Told::running(&["--log-denied=false"]);
    let agent = &told.cluster.agents["node-2"];
    send(&told.cluster.pod("pod-1-2"), told.cluster.at("pod-2-1", Family::V4, 81), 3);
    agent.wait_metric("netsim_enforcer_policy_denied_packets_total", 3.0);
    assert_eq!(agent.metric("netsim_enforcer_denied_flows_total"), 0.0);
    let table = agent_table(&told.cluster.fabric.node("node-2"));
    assert!(table.contains("deny_ingress") && !table.contains("log prefix"), "{table}");
}

fn agent_table(node: &Place) -> String {
    let mut command = std::process::Command::new("nft");
    command.args(["list", "table", "inet", "netsim"]).stdout(std::process::Stdio::piped());
    let child = node.spawn(&mut command).expect("nft");
    String::from_utf8(child.wait_with_output().expect("its end").stdout).expect("text")
}

fn audited() {
    let told = Told::running(&["--audit"]);
    let server = told.cluster.pod("pod-2-1");
    server.listen(Protocol::Tcp, 81);
    let probe = Probe::tcp(&told.cluster.pod("pod-1-2"), told.cluster.at("pod-2-1", Family::V4, 81));
    assert_eq!(told.cluster.fabric.probe(&probe), Outcome::Reached);
    let flow = told.wait(|flow| port(flow) == 81);
    let said = (&flow["verdict"], &flow["isolated_by"], &flow["protocol"]);
    assert_eq!(said, (&json!("audited"), &json!(["x/only-first"]), &json!("TCP")));
    // What `netsim suggest --flows` makes of it.
    let text = std::fs::read_to_string(&told.file).expect("the file");
    let read = netsim_shared::suggest::flows::read(&text, netsim_shared::suggest::flows::Denied::LeftOut);
    let words: Vec<String> = read.flows.iter().map(|flow| format!("{} > {}", flow.source, flow.destination)).collect();
    assert_eq!(words, ["x/pod/pod-1-2 > x/pod/pod-2-1:81"]);
}
