//! Faults: whatever breaks, nothing that policy denies passes, and nothing that it allows is lost for
//! longer than the repair.

use crate::cluster::{Agent, Cluster, pod, policy, program};
use libtest_mimic::Trial;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::netns::{Counter, Outcome, Packets, Probe, Storm, Try, Wiring};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The longest that something allowed may be lost while only an agent comes or goes: its rules stay,
/// so this is what a busy machine does by itself.
pub const NO_OUTAGE: Duration = Duration::from_millis(500);

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 14] = [
        ("nothing_is_touched_before_everything_is_listed", nothing_before_lists),
        ("killed_at_random_points_of_changes", killed),
        ("terminated_it_leaves_everything_enforced_and_cleanup_removes_it", terminated),
        ("a_restart_replaces_under_probing", restarted),
        ("others_cannot_flush_or_edit_the_table", flush_is_refused),
        ("a_flush_where_the_table_is_shared_is_repaired", flush_is_repaired),
        ("an_edit_where_the_table_is_shared_is_repaired", edit_is_repaired),
        ("the_api_server_is_gone", api_gone),
        ("watches_expire", watches_expire),
        ("objects_that_cannot_be_read", unreadable),
        ("policies_with_names_come_and_go_with_their_definition", definition),
        ("a_second_agent_is_not_ready_and_changes_nothing", second_agent),
        ("audit_denies_nothing_and_tells_what_it_would", audit),
        ("others_reset_the_bridge_setting", bridge_reset),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("faults::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

/// Only pod-1-1 may reach pod-2-1, on TCP 80.
pub fn only_first() -> Value {
    policy(
        "x",
        "only-first",
        json!({
            "podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "pod-1-1"}}}], "ports": [{"port": 80}]}],
        }),
    )
}

/// Whether the pods of namespace x may reach pod-2-2.
pub fn toggled(on: bool) -> Value {
    let peers =
        if on { json!([{"podSelector": {}}]) } else { json!([{"podSelector": {"matchLabels": {"no": "body"}}}]) };
    policy(
        "x",
        "toggled",
        json!({"podSelector": {"matchLabels": {"app": "pod-2-2"}}, "policyTypes": ["Ingress"], "ingress": [{"from": peers}]}),
    )
}

/// Connections that are allowed and others that are denied, all the time.
pub struct Watchers {
    pub allowed: Storm,
    denied: Storm,
    leaked: Vec<Counter>,
}

impl Watchers {
    pub fn new(cluster: &Cluster) -> Self {
        let server = cluster.pod("pod-2-1");
        server.listen(Protocol::Tcp, 80);
        let to = |family| cluster.at("pod-2-1", family, 80);
        let first = cluster.pod("pod-1-1");
        let others = [cluster.pod("pod-1-2"), cluster.pod("pod-2-2"), cluster.fabric.outside()];
        let denied = others.iter().flat_map(|place| Family::ALL.map(|family| Probe::tcp(place, to(family))));
        let leaked = others.iter().flat_map(|place| {
            Family::ALL.map(|family| {
                let from = place.address(family).expect("both families");
                server.count(&Packets::any().from(from).port(Protocol::Tcp, 80))
            })
        });
        Watchers {
            leaked: leaked.collect(),
            denied: cluster.fabric.storm(denied.collect::<Vec<_>>()).every(Duration::from_millis(2)).start(),
            allowed: cluster
                .fabric
                .storm(Family::ALL.map(|family| Probe::tcp(&first, to(family))))
                .every(Duration::from_millis(4))
                .start(),
        }
    }

    /// Goes on for a while, then says how long what is allowed was lost at most; nothing that is
    /// denied has passed.
    pub fn finish(self) -> Duration {
        let now = Instant::now();
        assert!(self.allowed.wait_tries(now, 50) && self.denied.wait_tries(now, 100));
        let denied = self.denied.stop();
        assert!(denied.iter().all(|t| t.outcome == Outcome::Lost), "what is denied got an answer");
        let leaked: u64 = self.leaked.iter().map(Counter::packets).sum();
        assert_eq!(leaked, 0, "packets of what is denied arrived");
        Try::longest_outage(&self.allowed.stop())
    }
}

fn running(options: &[&str]) -> Cluster {
    let cluster = Cluster::running(2, 2, Wiring::Bridged, options);
    cluster.change(&["node-2"], |api| {
        api.apply(only_first());
    });
    cluster
}

fn nothing_before_lists() {
    let mut cluster = Cluster::new(2, 2, Wiring::Routed, &[]);
    cluster.api.apply(only_first());
    cluster.api.forbid("networkpolicies");
    let agent = cluster.agent("node-2");
    agent.wait_log("four lists", |lines| (lines.iter().filter(|l| l.message == "listed").count() == 4).then_some(()));
    let reasons = agent.wait_status(503);
    assert!(reasons.contains("networkpolicies"), "{reasons}");
    let node = cluster.fabric.node("node-2");
    assert!(node.try_nft("list table inet netsim").is_err(), "a table before everything is known");
    cluster.api.allow_all();
    agent.wait_ready();
    cluster.agents.insert("node-2".to_owned(), agent);
    assert!(Watchers::new(&cluster).finish() < NO_OUTAGE);
}

fn killed() {
    let mut cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    // Points of time that differ from run to run would hide what one of them found.
    for round in 0..10_u64 {
        let agent = cluster.agents.get_mut("node-2").expect("an agent");
        for n in 0..6 {
            cluster.api.apply(toggled(n % 2 == 0));
            let address = [format!("10.244.1.{}", 100 + n).parse().expect("an address")];
            cluster.api.apply(pod("x", &format!("extra-{n}"), json!({"app": "extra"}), "node-1", &address));
            // A busy wait of microseconds: the point at which it dies is what is varied.
            let until = Instant::now() + Duration::from_micros((round * 7 + n * 13) * 97 % 3000);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        agent.kill();
        let agent = cluster.agent("node-2");
        agent.wait_ready();
        cluster.agents.insert("node-2".to_owned(), agent);
    }
    let outage = watchers.finish();
    assert!(outage < NO_OUTAGE, "what is allowed was lost for {outage:?}");
}

fn terminated() {
    let mut cluster = running(&[]);
    let node = cluster.fabric.node("node-2");
    let watchers = Watchers::new(&cluster);
    let code = cluster.agents.get_mut("node-2").expect("an agent").terminate();
    assert_eq!(code, 0);
    assert!(watchers.finish() < NO_OUTAGE);
    let netns = node.netns_path().to_owned();
    let cleaned = program().arg("cleanup").arg("--netns").arg(&netns).output().expect("the program");
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    assert_eq!(node.try_nft("list ruleset").expect("nft").trim(), "", "cleanup left something");
    let to = cluster.at("pod-2-1", Family::V4, 80);
    assert_eq!(cluster.fabric.probe(&Probe::tcp(&cluster.pod("pod-1-2"), to)), Outcome::Reached);
}

fn restarted() {
    let mut cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    for _ in 0..5 {
        cluster.agents.get_mut("node-2").expect("an agent").terminate();
        let agent = cluster.agent("node-2");
        agent.wait_ready();
        cluster.agents.insert("node-2".to_owned(), agent);
    }
    let outage = watchers.finish();
    assert!(outage < NO_OUTAGE, "what is allowed was lost for {outage:?}");
}

fn flush_is_refused() {
    let cluster = running(&[]);
    let node = cluster.fabric.node("node-2");
    let watchers = Watchers::new(&cluster);
    node.nft("table inet other { chain c { type filter hook forward priority 5; }; }");
    for _ in 0..20 {
        _ = node.try_nft("flush ruleset");
        assert!(node.try_nft("delete table inet netsim").is_err());
        assert!(node.try_nft("flush chain inet netsim forward").is_err());
        assert!(node.try_nft("add element inet netsim ingress_peers4 { 10.244.1.2 : accept }").is_err());
    }
    let outage = watchers.finish();
    assert!(outage < NO_OUTAGE, "what is allowed was lost for {outage:?}");
    let agent = &cluster.agents["node-2"];
    agent.wait_status(200);
    assert!(agent.metric("netsim_enforcer_drift_total") < 0.5, "somebody changed the table");
}

fn flush_is_repaired() {
    let cluster = running(&["--own-table", "false"]);
    let node = cluster.fabric.node("node-2");
    for round in 1..=3 {
        node.nft("flush ruleset");
        cluster.agents["node-2"].wait_metric("netsim_enforcer_drift_total", f64::from(round));
        cluster.agents["node-2"].wait_metric("netsim_enforcer_repairs_total", f64::from(round));
        cluster.agents["node-2"].wait_status(200);
        assert!(Watchers::new(&cluster).finish() < NO_OUTAGE);
    }
}

fn edit_is_repaired() {
    let cluster = running(&["--own-table", "false"]);
    let node = cluster.fabric.node("node-2");
    let edits = [
        "add element inet netsim ingress_pods4 { 10.99.0.1 : accept }",
        "delete element inet netsim ingress_pods4 { 10.244.2.1 }",
        "insert rule inet netsim forward accept",
        "flush chain inet netsim judge",
        "add chain inet netsim stranger",
        "add set inet netsim strange { type ipv4_addr; }",
    ];
    for (n, edit) in (1_u32..).zip(edits) {
        node.nft(edit);
        let agent = &cluster.agents["node-2"];
        agent.wait_metric("netsim_enforcer_repairs_total", f64::from(n));
        agent.wait_status(200);
    }
    assert!(Watchers::new(&cluster).finish() < NO_OUTAGE);
    // Changes of others' tables are none of ours.
    let before = cluster.agents["node-2"].metric("netsim_enforcer_drift_total");
    node.nft("table inet other { chain c { type filter hook forward priority 5; }; }");
    cluster.change(&["node-2"], |api| api.apply(toggled(true)));
    assert!((cluster.agents["node-2"].metric("netsim_enforcer_drift_total") - before).abs() < 0.5);
}

fn api_gone() {
    let cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    cluster.api.stop_serving();
    let reasons = cluster.agents["node-2"].wait_status(503);
    assert!(reasons.contains("watch"), "{reasons}");
    // What changes meanwhile comes with the end of it.
    cluster.api.apply(toggled(false));
    let gone = Instant::now();
    assert!(watchers.allowed.wait_tries(gone, 100));
    let before = cluster.agents["node-2"].programmed();
    cluster.api.resume();
    cluster.agents["node-2"].wait_programmed(before + 1);
    cluster.agents["node-2"].wait_status(200);
    assert!(watchers.finish() < NO_OUTAGE);
    let to = cluster.at("pod-2-2", Family::V4, 80);
    assert_eq!(cluster.fabric.probe(&Probe::tcp(&cluster.pod("pod-1-1"), to)), Outcome::Lost);
}

fn watches_expire() {
    let cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    for on in [false, true, false] {
        let before = cluster.agents["node-2"].programmed();
        cluster.api.hold_watches();
        cluster.api.apply(toggled(on));
        cluster.api.compact();
        cluster.api.release_watches();
        cluster.agents["node-2"].wait_programmed(before + 1);
    }
    assert!(watchers.finish() < NO_OUTAGE);
}

fn unreadable() {
    let cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    let spec = |cidr: &str| json!({"podSelector": {"matchLabels": {"app": "pod-2-2"}}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]});
    let probe = Probe::tcp(&cluster.pod("pod-1-1"), cluster.at("pod-2-2", Family::V4, 80));
    cluster.change(&["node-2"], |api| api.apply(policy("x", "odd", spec("10.244.0.0/16"))));
    assert!(cluster.fabric.probe(&probe).passed());
    // It closes what it selects, and is told of.
    cluster.change(&["node-2"], |api| api.apply(policy("x", "odd", spec("10.244.0.0/99"))));
    assert_eq!(cluster.fabric.probe(&probe), Outcome::Lost);
    let agent = &cluster.agents["node-2"];
    agent.wait_message("10.244.0.0/99");
    assert!(agent.metric("netsim_enforcer_unreadable_objects_total") > 0.5);
    for (n, nonsense) in
        [json!(7), json!("text"), json!([]), json!({"podSelector": 3}), Value::Null].into_iter().enumerate()
    {
        cluster.api.apply(policy("y", &format!("nonsense-{n}"), nonsense));
    }
    cluster.change(&["node-2"], |api| api.apply(policy("x", "odd", spec("10.244.0.0/16"))));
    assert!(cluster.fabric.probe(&probe).passed());
    assert!(watchers.finish() < NO_OUTAGE);
}

fn definition() {
    let cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    let probe = Probe::tcp(&cluster.pod("pod-2-2"), cluster.at("pod-1-1", Family::V4, 80));
    assert!(cluster.fabric.probe(&probe).passed());
    let names = |names: Value| {
        json!({
            "apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
            "metadata": {"namespace": "x", "name": "out"},
            "spec": {"podSelector": {"matchLabels": {"app": "pod-2-2"}}, "egress": [{"to": [{"domainNames": names}]}]},
        })
    };
    // The definition comes while the agents run, and what it brings isolates.
    cluster.change(&["node-2"], |api| api.apply(names(json!(["*.example.com"]))));
    assert_eq!(cluster.fabric.probe(&probe), Outcome::Lost);
    // The node of the pod says what it cannot do, and no other has anything to say.
    let nodes = |policies: &[Value]| policies[0]["status"]["nodes"].as_array().cloned().unwrap_or_default();
    cluster.api.wait_for_objects("the status", "egressdomainpolicies", |policies| !nodes(policies).is_empty());
    let [entry] = &nodes(&cluster.api.objects("egressdomainpolicies"))[..] else { panic!("one node") };
    assert_eq!((&entry["name"], &entry["conditions"][0]["type"]), (&json!("node-2"), &json!("UnsupportedWildcard")));
    // Pods whose connections are denied have Events, too.
    let of_policies =
        |events: &[Value]| events.iter().filter(|event| event["regarding"]["kind"] == "EgressDomainPolicy").count();
    cluster.api.wait_for_objects("the event", "events", |events| of_policies(events) == 1);
    // What cannot be read isolates as well.
    cluster.api.apply(names(json!(["10.0.0.1"])));
    cluster.agents["node-2"].wait_message("`10.0.0.1` is an address");
    assert_eq!(cluster.fabric.probe(&probe), Outcome::Lost);
    cluster.change(&["node-2"], |api| api.uninstall("egressdomainpolicies"));
    assert!(cluster.fabric.probe(&probe).passed());
    cluster.agents["node-2"].wait_message("the watch works again");
    cluster.agents["node-2"].wait_ready();
    assert!(watchers.finish() < NO_OUTAGE);
}

fn second_agent() {
    let cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    let second: Agent = cluster.agent("node-2");
    second.wait_message("belongs to another process");
    let reasons = second.wait_status(503);
    assert!(reasons.contains("another process"), "{reasons}");
    cluster.change(&["node-2"], |api| api.apply(toggled(true)));
    assert!(watchers.finish() < NO_OUTAGE);
}

fn audit() {
    let cluster = running(&["--audit"]);
    let to = cluster.at("pod-2-1", Family::V4, 80);
    let server = cluster.pod("pod-2-1");
    server.listen(Protocol::Tcp, 80);
    let probe = Probe::tcp(&cluster.pod("pod-1-2"), to);
    assert_eq!(cluster.fabric.probe(&probe), Outcome::Reached);
    let agent = &cluster.agents["node-2"];
    let told = agent.wait_message("would be denied");
    assert_eq!(told.fields["source_pod"], "x/pod-1-2");
    assert_eq!(told.fields["destination_pod"], "x/pod-2-1");
    assert_eq!(told.fields["isolated_by"], "x/only-first");
    assert_eq!(told.fields["port"], 80);
    agent.wait_metric("netsim_enforcer_denied_packets_total", 1.0);
}

fn bridge_reset() {
    let cluster = running(&[]);
    let node = cluster.fabric.node("node-2");
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    node.exec(|| std::fs::write(setting, "0")).expect("a setting");
    cluster.agents["node-2"].wait_message("set `net.bridge.bridge-nf-call-iptables` from 0 to 1");
    assert_eq!(node.exec(|| std::fs::read_to_string(setting)).expect("a setting").trim(), "1");
    assert!(Watchers::new(&cluster).finish() < NO_OUTAGE);
}
