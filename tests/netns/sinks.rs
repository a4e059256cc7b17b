//! Where denied connections are told, by the program as it is shipped: falcosidekick and Events on pods. And which text
//! of a policy the kernel holds.

use crate::cluster::{Agent, Cluster, PATIENCE, policy};
use libtest_mimic::Trial;
use netsim_shared::net::Family;
use netsim_testkit::netns::Wiring;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 3] = [
        ("a_denied_connection_is_told_to_falcosidekick_and_on_the_pod", told),
        ("a_flood_is_one_event_an_interval", flood),
        ("the_generation_that_the_kernel_holds", generation),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("sinks::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

/// Nobody may reach pod-2-1 on other ports than this.
fn only(port: u16) -> Value {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": port}]}],
    });
    policy("x", "only", spec)
}

fn running(options: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(2, 2, Wiring::Routed, &[&["--flow-interval", "200ms"], options].concat());
    cluster.api.apply(only(80));
    cluster.start_agents();
    cluster
}

/// Datagrams from pod-1-2 to pod-2-1, which it is denied.
fn send(cluster: &Cluster, port: u16, count: usize) {
    let (from, to) = (cluster.pod("pod-1-2"), cluster.at("pod-2-1", Family::V4, port));
    let address = from.address(Family::V4).expect("an address");
    from.exec(|| {
        let socket = UdpSocket::bind((address, 0)).expect("a socket");
        (0..count).for_each(|_| _ = socket.send_to(b"hello", to));
    });
}

/// A server that takes whatever is posted.
fn falcosidekick() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                loop {
                    let (mut length, mut line) = (0, String::new());
                    while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                        let lower = line.to_lowercase();
                        if let Some(value) = lower.strip_prefix("content-length:") {
                            length = value.trim().parse().expect("a length");
                        }
                        line.clear();
                    }
                    let mut body = vec![0; length];
                    if length == 0 || stream.read_exact(&mut body).is_err() {
                        return;
                    }
                    _ = sender.send(serde_json::from_slice(&body).expect("JSON"));
                    _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                }
            });
        }
    });
    (url, receiver)
}

fn told() {
    let (url, came) = falcosidekick();
    let cluster = running(&["--falcosidekick", &url]);
    send(&cluster, 81, 3);
    let payload = came.recv_timeout(PATIENCE).expect("something is posted");
    assert_eq!(
        (&payload["rule"], &payload["hostname"]),
        (&json!("Ingress denied by network policy"), &json!("node-2"))
    );
    let fields = &payload["output_fields"];
    let said = ["k8s.ns.name", "k8s.pod.name", "netsim.peer.pod.name", "netsim.policies", "fd.l4proto"]
        .map(|field| fields[field].as_str().unwrap_or_default().to_owned());
    assert_eq!(said, ["x", "pod-2-1", "pod-1-2", "x/only", "udp"]);
    assert_eq!(fields["fd.sport"], 81);

    cluster.api.wait_for_objects("an event", "events", |events| events.len() == 1);
    let (event, pods) = (&cluster.api.objects("events")[0], cluster.api.objects("pods"));
    let bound = pods.iter().find(|pod| pod["metadata"]["name"] == "pod-2-1").expect("the pod");
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("Pod"), &json!("pod-2-1")));
    assert!(bound["metadata"]["uid"].is_string(), "{bound}");
    assert_eq!(event["regarding"]["uid"], bound["metadata"]["uid"]);
    assert_eq!((&event["reason"], &event["type"]), (&json!("ConnectionDenied"), &json!("Warning")));
    let note = event["note"].as_str().expect("a note");
    assert!(note.ends_with(" from x/pod-1-2 to UDP 81 denied by ingress policy x/only"), "{note}");
    let agent = &cluster.agents["node-2"];
    agent.wait_metric("netsim_enforcer_flow_sink_sent_total", 2.0);
    assert_eq!(agent.metric("netsim_enforcer_flow_sink_failures_total"), 0.0);
    let (_, metrics) = cluster.agents["node-1"].get("/metrics");
    assert!(metrics.contains("netsim_enforcer_flow_sink_sent_total{sink=\"events\"} 0"), "{metrics}");
}

fn flood() {
    let cluster = running(&["--pod-event-interval", "60m"]);
    let agent = &cluster.agents["node-2"];
    let deadline = Instant::now() + PATIENCE;
    while agent.metric("netsim_enforcer_denied_flows_total") < 6.0 {
        send(&cluster, 81, 1000);
        assert!(Instant::now() < deadline, "the flood is not told");
    }
    cluster.api.wait_for_objects("an event", "events", |events| !events.is_empty());
    agent.wait_metric("netsim_enforcer_flow_sink_sent_total", 1.0);
    assert_eq!(cluster.api.objects("events").len(), 1);
    drop(cluster);

    let cluster = running(&["--pod-event-interval", "1s"]);
    let deadline = Instant::now() + PATIENCE;
    while cluster.api.objects("events").len() < 4 {
        send(&cluster, 81, 100);
        assert!(Instant::now() < deadline, "what came later is not told");
    }
    let events = cluster.api.objects("events");
    let mut times: Vec<k8s_openapi::jiff::Timestamp> =
        events.iter().map(|event| event["eventTime"].as_str().expect("a time").parse().expect("a time")).collect();
    times.sort();
    for pair in times.windows(2) {
        let between = Duration::try_from(pair[1].duration_since(pair[0])).expect("in their order");
        assert!(between >= Duration::from_millis(990), "{times:?}");
    }
}

fn generation() {
    let cluster = running(&[]);
    let shown = |agent: &Agent| {
        let (_, text) = agent.get("/metrics");
        let front = "netsim_enforcer_policy_programmed_generation{";
        text.lines().filter(|line| line.starts_with(front)).map(str::to_owned).collect::<Vec<_>>()
    };
    let [one, two] = ["node-1", "node-2"].map(|node| &cluster.agents[node]);
    let line = |generation: u32| {
        let labels = r#"kind="networkpolicies",namespace="x",policy="only""#;
        format!("netsim_enforcer_policy_programmed_generation{{{labels}}} {generation}")
    };
    let until = |lines: &[String]| {
        let deadline = Instant::now() + PATIENCE;
        while shown(two) != lines {
            assert!(Instant::now() < deadline, "{:?}, not {lines:?}", shown(two));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // What is in the log is in the kernel, and in the metrics a moment later.
    until(&[line(1)]);
    assert_eq!(shown(one), [""; 0]);
    cluster.change(&["node-2"], |api| api.apply(only(443)));
    until(&[line(2)]);
    // Another text that says the same needs no commit.
    let before = two.programmed();
    let mut same = only(443);
    same["spec"]["ingress"][0]["ports"][0]["protocol"] = "TCP".into();
    cluster.api.apply(same);
    until(&[line(3)]);
    assert_eq!(two.programmed(), before);
    // Of one that cannot be read, the stand-in is in force.
    let mut unreadable = only(443);
    unreadable["spec"]["ingress"] = json!([{"form": []}]);
    cluster.change(&["node-2"], |api| api.apply(unreadable));
    until(&[line(4)]);
    assert_eq!(two.metric("netsim_enforcer_unreadable_objects_total"), 1.0);
    // It goes with the pod that it binds, and with itself.
    let labels = |app: &str| {
        let pods = cluster.api.objects("pods");
        let mut pod = pods.into_iter().find(|pod| pod["metadata"]["name"] == "pod-2-1").expect("the pod");
        pod["metadata"]["labels"]["app"] = app.into();
        pod
    };
    cluster.api.apply(labels("another"));
    until(&[]);
    cluster.api.apply(labels("pod-2-1"));
    until(&[line(4)]);
    cluster.api.delete("networkpolicies", "x", "only");
    until(&[]);
}
