//! What an agent says that its node would do, against what the node does.

use crate::cluster::{Cluster, PATIENCE, policy, program};
use libtest_mimic::Trial;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::dns::DnsServer;
use netsim_testkit::netns::{Probe, Prober, Wiring};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 6] = [
        ("what_an_agent_explains_is_what_packets_do", every_pair),
        ("who_edited_the_table_is_seen_at_once", edited),
        ("what_is_old_is_said_to_be", stale),
        ("an_address_of_a_name_is_allowed_by_its_rule", named),
        ("the_simulator_is_asked_as_well", simulated),
        ("denied_connections_are_asked_for_on_their_node", denied),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("explain::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

/// Only pod-1-1 may reach pod-2-1, on TCP 80; pod-1-2 may go to pod-2-2 and to what is outside, on UDP 80 and 81.
fn policies() -> [Value; 3] {
    let only_first = json!({
        "podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "pod-1-1"}}}], "ports": [{"port": 80}]}],
    });
    let udp = json!([{"protocol": "UDP", "port": 80, "endPort": 81}]);
    let some = json!({
        "podSelector": {"matchLabels": {"app": "pod-1-2"}}, "policyTypes": ["Egress"],
        "egress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "pod-2-2"}}}], "ports": udp},
            {"to": [{"ipBlock": {"cidr": "172.31.0.0/16"}}]},
        ],
    });
    let none = json!({"podSelector": {"matchLabels": {"app": "pod-1-2"}}, "policyTypes": ["Ingress"]});
    [policy("x", "only-first", only_first), policy("x", "some", some), policy("x", "none", none)]
}

fn running(wiring: Wiring, options: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(2, 2, wiring, options);
    policies().into_iter().for_each(|policy| cluster.api.apply(policy));
    cluster.start_agents();
    cluster
}

/// What the agent of a node says: exit code, and answer.
fn explain(cluster: &Cluster, node: &str, source: &str, destination: &str, more: &[&str]) -> (i32, Value, String) {
    let mut command = program();
    command.args(["explain", source, destination, "-o", "json", "--socket"]).arg(cluster.socket(node)).args(more);
    let output = command.output().expect("the program");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().expect("an exit code"), json, text)
}

/// The same, asked without a program in between.
fn ask(cluster: &Cluster, node: &str, source: &str, destination: &str) -> Value {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(cluster.socket(node)).expect("the agent listens");
    let path = format!("/explain?source={source}&destination={destination}");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200 "), "{source} -> {destination}: {answer}");
    serde_json::from_str(body).expect("JSON")
}

/// Somebody who connects, or is connected to.
struct End {
    word: String,
    address: IpAddr,
    place: netsim_testkit::netns::Place,
    is_pod: bool,
}

fn ends(cluster: &Cluster, family: Family) -> Vec<End> {
    let pods = ["pod-1-1", "pod-1-2", "pod-2-1", "pod-2-2"].map(|name| (cluster.pod(name), true));
    let others = [cluster.fabric.node("node-1"), cluster.fabric.node("node-2"), cluster.fabric.outside()];
    let end = |(place, is_pod): (netsim_testkit::netns::Place, bool)| {
        let address = place.address(family)?;
        let word = if is_pod { format!("x/{}", place.name()) } else { address.to_string() };
        Some(End { word, address, place, is_pod })
    };
    pods.into_iter().chain(others.map(|place| (place, false))).filter_map(end).collect()
}

fn every_pair() {
    for wiring in Wiring::ALL {
        let cluster = running(wiring, &[]);
        let (mut probes, mut asked) = (Vec::new(), Vec::new());
        for family in Family::ALL {
            let ends = ends(&cluster, family);
            for (a, b) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
                if !a.is_pod && !b.is_pod {
                    continue;
                }
                for (port, protocol) in [(80, Protocol::Tcp), (81, Protocol::Tcp), (81, Protocol::Udp)] {
                    let to = SocketAddr::new(b.address, port);
                    probes.push(Probe::new(&a.place, to, protocol).source(a.address));
                    let word = if b.word.contains(':') { format!("[{}]", b.word) } else { b.word.clone() };
                    asked.push((family, a.word.clone(), format!("{word}:{port}/{protocol}")));
                }
            }
        }
        let outcomes = Prober::default().confirm_lost().run(&probes);
        let (mut wrong, mut denied) = (Vec::new(), 0);
        for ((family, source, destination), outcome) in asked.iter().zip(&outcomes) {
            let mut passes = true;
            for node in ["node-1", "node-2"] {
                let answer = ask(&cluster, node, source, destination);
                let connections = answer["connections"].as_array().expect("connections");
                let of_family = connections.iter().find(|c| c["family"] == family.to_string());
                let connection = of_family.unwrap_or_else(|| panic!("{source} -> {destination}: {answer}"));
                assert!(answer["certain"] == true, "{node}: {source} -> {destination}: {answer:#}");
                assert_eq!(answer["kernel"]["as_programmed"], true);
                let verdict = connection["verdict"].as_str().expect("a verdict");
                assert!(["allowed", "denied", "elsewhere"].contains(&verdict), "{answer:#}");
                passes &= verdict != "denied";
                // What no rule judges is allowed; what one does is told with its chain.
                if verdict == "denied" {
                    let sides = connection["sides"].as_array().expect("sides");
                    let denying = sides.iter().find(|side| side["kernel"]["allowed"] == false).expect("who denies");
                    assert!(denying["kernel"]["chain"].is_string() && denying["policies"]["allowed"] == false);
                }
            }
            denied += usize::from(!passes);
            if passes != outcome.passed() {
                wrong.push(format!(
                    "{source} -> {destination} ({family}): explained {passes}, in the kernel {outcome:?}"
                ));
            }
        }
        assert!(wrong.is_empty(), "{wiring:?}:\n{}", wrong.join("\n"));
        assert!(denied > 20 && denied < asked.len() - 20, "{denied} of {} are denied", asked.len());
    }
}

fn edited() {
    let cluster = running(Wiring::Routed, &["--own-table", "false", "--verify-interval", "60m"]);
    let ask = |to: &str| explain(&cluster, "node-2", "x/pod-1-1", to, &[]);
    let (code, answer, err) = ask("x/pod-2-1:80");
    assert_eq!((code, &answer["verdict"]), (0, &json!("allowed")), "{answer:#}{err}");
    let (code, answer, _) = ask("x/pod-2-1:81");
    assert_eq!((code, &answer["verdict"]), (1, &json!("denied")), "{answer:#}");
    assert_eq!(answer["connections"][0]["sides"][1]["policies"]["isolated_by"], json!(["x/only-first"]));
    let near = &answer["connections"][0]["sides"][1]["policies"]["near"][0];
    assert_eq!((&near["policy"], &near["path"]), (&json!("x/only-first"), &json!("spec.ingress[0].ports")));
    cluster.fabric.node("node-2").nft("insert rule inet netsim forward accept");
    let (code, answer, _) = ask("x/pod-2-1:81");
    assert_eq!((code, &answer["certain"]), (3, &json!(false)), "{answer:#}");
    assert_eq!(answer["kernel"]["as_programmed"], false);
    let lines = answer["kernel"]["differences"].to_string();
    assert!(lines.contains("chain `forward`"), "{lines}");
    cluster.fabric.node("node-2").nft("delete table inet netsim");
    let (code, answer, _) = ask("x/pod-2-1:80");
    assert_eq!((code, &answer["kernel"]["differences"]), (3, &json!(["the table is gone"])), "{answer:#}");
    // Asking changed nothing, and the other node is as it was.
    assert!(cluster.agents["node-2"].metric("netsim_enforcer_drift_total") < 0.5);
    assert_eq!(explain(&cluster, "node-1", "x/pod-1-1", "x/pod-2-1:80", &[]).0, 0);
}

fn stale() {
    let cluster = running(Wiring::Routed, &[]);
    assert_eq!(explain(&cluster, "node-2", "x/pod-1-1", "x/pod-2-1:80", &[]).0, 0);
    cluster.api.stop_serving();
    cluster.agents["node-2"].wait_status(503);
    let (code, answer, _) = explain(&cluster, "node-2", "x/pod-1-1", "x/pod-2-1:80", &[]);
    assert_eq!((code, &answer["verdict"]), (3, &json!("allowed")), "{answer:#}");
    assert!(answer["doubts"].to_string().contains("watch: "), "{answer:#}");
    // Who asks for what is not there is told so, and nobody answers where nobody is.
    let (code, _, err) = explain(&cluster, "node-2", "x/pod-1-1", "x/pod-2-9:80", &[]);
    assert!(code == 2 && err.contains("no pod `pod-2-9` in namespace `x`"), "{err}");
    let (code, _, err) = explain(&cluster, "node-3", "x/pod-1-1", "x/pod-2-1:80", &[]);
    assert!(code == 2 && err.contains("no agent answers at"), "{err}");
}

fn named() {
    const NODE: &str = "node-1";
    let dns = DnsServer::start();
    let mut cluster = Cluster::new(1, 1, Wiring::Bridged, &["--dns-server", &dns.address().to_string()]);
    cluster.api.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
    cluster.api.apply(json!({
        "apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
        "metadata": {"namespace": "x", "name": "outside"},
        "spec": {"podSelector": {}, "egress": [{"to": [{"domainNames": ["api.example.com"]}], "ports": [{"port": 443}]}]},
    }));
    dns.set("api.example.com", 600, cluster.fabric.outside().addresses());
    cluster.start_agents();
    let outside = cluster.fabric.outside();
    for family in Family::ALL {
        let (to, other) = (outside.at(family, 443), outside.at(family, 444));
        let probe = Probe::tcp(&cluster.pod("pod-1-1"), to);
        let until = Instant::now() + PATIENCE;
        while !cluster.fabric.probe(&probe).passed() {
            assert!(Instant::now() < until, "the name is not reached");
            std::thread::sleep(Duration::from_millis(10));
        }
        let answer = ask(&cluster, NODE, "x/pod-1-1", &to.to_string());
        assert_eq!((&answer["verdict"], &answer["certain"]), (&json!("allowed"), &json!(true)), "{answer:#}");
        let side = &answer["connections"][0]["sides"][0];
        let rule = side["policies"]["allowed_by"].as_str().expect("a rule");
        assert!(rule.ends_with("outside spec.egress[0]"), "{rule}");
        assert!(side["kernel"]["rule"].to_string().contains("_names"), "{side:#}");
        let answer = ask(&cluster, NODE, "x/pod-1-1", &other.to_string());
        assert_eq!((&answer["verdict"], &answer["certain"]), (&json!("denied"), &json!(true)), "{answer:#}");
    }
}

fn simulated() {
    let cluster = running(Wiring::Routed, &[]);
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let live = ["--kubeconfig", &kubeconfig];
    let (code, answer, err) = explain(&cluster, "node-2", "x/pod-1-1", "x/pod-2-1:80", &live);
    assert_eq!((code, &answer["simulator"]["verdict"]), (0, &json!("allowed")), "{answer:#}{err}");
    assert_eq!(answer["simulator"]["disagreements"], json!([]));
    let (code, answer, _) = explain(&cluster, "node-2", "x/pod-2-2", "x/pod-2-1:80", &live);
    assert_eq!((code, &answer["simulator"]["verdict"]), (1, &json!("denied")), "{answer:#}");
    // The node of the source has nothing against it; who else is asked knows who has.
    let (code, answer, _) = explain(&cluster, "node-1", "x/pod-1-1", "x/pod-2-1:81", &live);
    assert_eq!((code, &answer["verdict"], &answer["simulator"]["verdict"]), (1, &json!("allowed"), &json!("denied")));
    // Files that are not what the cluster has.
    let items: Vec<Value> =
        ["namespaces", "nodes", "pods"].into_iter().flat_map(|plural| cluster.api.objects(plural)).collect();
    let file = cluster.kubeconfig().with_extension("old.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    std::fs::write(&file, list.to_string()).expect("a temporary file");
    let path = file.display().to_string();
    let (code, answer, err) = explain(&cluster, "node-2", "x/pod-2-2", "x/pod-2-1:80", &["-f", &path]);
    _ = std::fs::remove_file(&file);
    assert_eq!(code, 3, "{answer:#}{err}");
    let lines = answer["simulator"]["disagreements"].to_string();
    assert!(
        lines.contains("ingress of x/pod-2-1 over IPv4: allowed for the simulator, denied for the agent"),
        "{lines}"
    );
}

fn denied() {
    use std::io::BufRead;
    let cluster = running(Wiring::Routed, &["--flow-interval", "100ms"]);
    let flows = |more: &[&str]| {
        let output = program().arg("flows").arg("--socket").arg(cluster.socket("node-2")).args(more).output();
        let output = output.expect("the program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(flows(&[]), "no denied connection is remembered\n");
    let mut command = program();
    command.args(["flows", "--follow", "--socket"]).arg(cluster.socket("node-2"));
    let mut following = command.stdout(std::process::Stdio::piped()).spawn().expect("the program");
    let mut lines = std::io::BufReader::new(following.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let probe = Probe::tcp(&cluster.pod("pod-2-2"), cluster.at("pod-2-1", Family::V4, 80));
    assert!(!cluster.fabric.probe(&probe).passed());
    let line = lines.next().expect("a line");
    for part in ["denied ingress  x/pod-2-2 (", ") → x/pod-2-1 (", "TCP 80", "isolated by x/only-first"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(flows(&["-n", "x"]).contains("x/pod-2-2 (") && flows(&["--pod", "x/pod-2-1"]).contains("x/only-first"));
    assert_eq!(flows(&["-n", "y"]), "no denied connection of these pods is remembered\n");
    let summary: Value = serde_json::from_str(flows(&["--summary"]).lines().next().expect("a line")).expect("JSON");
    assert_eq!((&summary["source"], &summary["destination"]), (&json!("x/pod-2-2"), &json!("x/pod-2-1")));
    following.kill().expect("it follows");
    following.wait().expect("its end");
}
