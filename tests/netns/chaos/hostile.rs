//! Objects that are malformed or meant to harm, in namespaces beside one that behaves well. The ordinary run has fewer;
//! `NETSIM_HOSTILE_OBJECTS=10000 cargo test -p netsim-enforcer --test netns -- hostile --nocapture` is the whole one.

mod objects;

use crate::cluster::{Agent, Cluster, Line, PATIENCE, namespace, pod, policy};
use libtest_mimic::Trial;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::netns::{Counter, Outcome, Packets, Probe, Storm, Try, Wiring};
use objects::{FORGED, Generator, Hostile};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

/// How many objects the ordinary run has.
const FEW: usize = 400;
/// The most memory that the agent may ever have had, a debug build, in KiB.
const MOST_MEMORY: usize = 600 * 1024;
/// The longest message of a line in the log: an object's author decides what is in it, not how much.
const LONGEST_MESSAGE: usize = 4096;
/// The longest that something allowed may be lost: what a busy machine does by itself.
const NO_OUTAGE: Duration = Duration::from_secs(2);
const NODE: &str = "node-1";

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 2] = [("objects_meant_to_harm", hostile), ("a_greedy_tenant", greedy)];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(format!("hostile::{name}"), move || {
            test();
            Ok(())
        })
    };
    tests.into_iter().map(trial).collect()
}

fn whole() -> Option<usize> {
    std::env::var("NETSIM_HOSTILE_OBJECTS").ok().map(|n| n.parse().expect("a number of objects"))
}

/// Two nodes, the first with an agent. Of the namespace `x`, only pod-2-1 may reach pod-1-1. The third pod of each node
/// belongs to the namespace `h-0`, whose tenant is the one who means harm.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(2, 3, Wiring::Bridged, &[]);
    cluster.api.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
    (0..objects::NAMESPACES).for_each(|n| cluster.api.apply(namespace(&format!("h-{n}"), json!({"harm": "yes"}))));
    for n in 1..=2 {
        let name = format!("pod-{n}-3");
        cluster.api.delete("pods", "x", &name);
        let addresses = cluster.pod(&name).addresses();
        cluster.api.apply(pod("h-0", &name, json!({"app": "h"}), &format!("node-{n}"), &addresses));
    }
    cluster.api.apply(only("pod-1-1", "pod-2-1"));
    cluster.api.apply(only("pod-1-2", "nobody"));
    cluster.pod("pod-1-1").listen(Protocol::Tcp, 80);
    cluster.pod("pod-1-2").listen(Protocol::Tcp, 80);
    let agent = cluster.agent(NODE);
    agent.wait_ready();
    cluster.agents.insert(NODE.to_owned(), agent);
    cluster
}

/// Only one pod may reach another.
fn only(to: &str, from: &str) -> Value {
    let from = json!([{"from": [{"podSelector": {"matchLabels": {"app": from}}}], "ports": [{"port": 80}]}]);
    let selector = json!({"matchLabels": {"app": to}});
    policy("x", &format!("only-{to}"), json!({"podSelector": selector, "policyTypes": ["Ingress"], "ingress": from}))
}

/// Connections of the good namespace whose verdict never changes.
struct Watchers {
    allowed: Storm,
    denied: Storm,
    leaked: Vec<Counter>,
}

impl Watchers {
    fn start(cluster: &Cluster) -> Self {
        let server = cluster.pod("pod-1-1");
        let to = |family| cluster.at("pod-1-1", family, 80);
        let strangers =
            [cluster.pod("pod-1-2"), cluster.pod("pod-2-2"), cluster.pod("pod-2-3"), cluster.fabric.outside()];
        let denied = strangers.iter().flat_map(|place| Family::ALL.map(|family| Probe::tcp(place, to(family))));
        let leaked = strangers.iter().flat_map(|place| {
            Family::ALL.map(|family| {
                let from = place.address(family).expect("both families");
                server.count(&Packets::any().from(from).port(Protocol::Tcp, 80))
            })
        });
        let allowed = Family::ALL.map(|family| Probe::tcp(&cluster.pod("pod-2-1"), to(family)));
        Watchers {
            leaked: leaked.collect(),
            denied: cluster.fabric.storm(denied.collect::<Vec<_>>()).every(Duration::from_millis(5)).start(),
            allowed: cluster.fabric.storm(allowed).every(Duration::from_millis(10)).start(),
        }
    }

    /// Nothing denied has passed; how long what is allowed was lost at most.
    fn finish(self) -> Duration {
        let now = Instant::now();
        assert!(self.allowed.wait_tries(now, 20) && self.denied.wait_tries(now, 40));
        assert!(self.denied.stop().iter().all(|t| t.outcome == Outcome::Lost), "what is denied got an answer");
        let leaked: u64 = self.leaked.iter().map(Counter::packets).sum();
        assert_eq!(leaked, 0, "packets of what is denied arrived");
        Try::longest_outage(&self.allowed.stop())
    }
}

/// Changes a policy of the good namespace, and back: how long each takes until packets tell.
fn change(cluster: &Cluster) -> Duration {
    let probe = Probe::tcp(&cluster.pod("pod-2-2"), cluster.at("pod-1-2", Family::V4, 80));
    let mut longest = Duration::ZERO;
    for (from, passes) in [("pod-2-2", true), ("nobody", false)] {
        let begun = Instant::now();
        cluster.api.apply(only("pod-1-2", from));
        while cluster.fabric.probe(&probe).passed() != passes {
            assert!(begun.elapsed() < 6 * PATIENCE, "the change is not in force");
        }
        longest = longest.max(begun.elapsed());
    }
    longest
}

/// What an agent has and holds.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    chains: f64,
    sets: f64,
    elements: f64,
    policies: usize,
}

fn held(agent: &Agent) -> Held {
    let value = |name: &str| agent.metric(&format!("netsim_enforcer_table_{name}"));
    let (_, text) = agent.get("/metrics");
    let policies =
        text.lines().filter(|line| line.starts_with("netsim_enforcer_policy_programmed_generation{")).count();
    Held { chains: value("chains"), sets: value("sets"), elements: value("elements"), policies }
}

/// A line of the status of a process, in KiB.
fn memory(agent: &Agent, key: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("the agent lives");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line of the status");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

fn wait(what: &str, done: impl Fn() -> Result<(), String>) {
    let deadline = Instant::now() + if whole().is_some() { 6 * PATIENCE } else { 2 * PATIENCE };
    while let Err(why) = done() {
        assert!(Instant::now() < deadline, "{what}: {}", why.chars().take(3000).collect::<String>());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lines(agent: &Agent) -> Vec<Line> {
    agent.wait_log("anything", |lines| Some(lines.to_vec()))
}

/// Every line of the text is one that a scraper reads.
fn check_metrics(agent: &Agent) {
    let (status, text) = agent.get("/metrics");
    assert_eq!(status, 200);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let read = sample(line).filter(|value| value.parse::<f64>().is_ok());
        assert!(read.is_some(), "no line of metrics: {line:?}");
    }
}

/// The value of a line of metrics, behind a name and labels in quotes.
fn sample(line: &str) -> Option<&str> {
    let name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let Some((before, mut rest)) = line.split_once('{') else {
        return line.split_once(' ').filter(|(before, _)| name(before)).map(|(_, value)| value);
    };
    if !name(before) {
        return None;
    }
    loop {
        let (label, after) = rest.split_once("=\"")?;
        if !name(label) {
            return None;
        }
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => _ = chars.next().filter(|(_, c)| matches!(c, '\\' | '"' | 'n'))?,
                (at, '"') => break at,
                _ => {}
            }
        };
        rest = after.get(end + 1..)?;
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.strip_prefix("} "),
        }
    }
}

fn apply(api: &ApiServer, hostile: &Hostile) {
    let metadata = match hostile.namespace.as_str() {
        "" => json!({"name": hostile.name}),
        namespace => json!({"name": hostile.name, "namespace": namespace}),
    };
    let object = json!({"apiVersion": hostile.api_version, "kind": hostile.kind, "metadata": metadata});
    api.apply_text(object, &hostile.text);
}

fn hostile() {
    let count = whole().unwrap_or(FEW);
    let cluster = cluster();
    let (agent, api) = (&cluster.agents[NODE], &cluster.api);
    let own_node = api.objects("nodes").into_iter().find(|node| node["metadata"]["name"] == NODE).expect("the node");
    let (before, alone, rss) = (held(agent), change(&cluster), memory(agent, "VmRSS:"));
    let watchers = Watchers::start(&cluster);
    let begun = Instant::now();
    let objects: Vec<Hostile> = Generator::new(7, &cluster.fabric.node(NODE).addresses()).take(count).collect();
    let bytes: usize = objects.iter().map(|object| object.text.len()).sum();
    objects.iter().for_each(|object| apply(api, object));
    let own =
        json!({"metadata": {"name": NODE, "resourceVersion": "REVISION"}, "spec": {"podCIDRs": ["10.244.1.0/999"]}});
    api.apply_text(own_node.clone(), &own.to_string());
    // What the API server takes, with a warning for each: as many untidy CIDRs as an object has room for.
    let untidy = if whole().is_some() { 30_000 } else { 2000 };
    let untidy: Vec<Value> =
        (0..untidy).map(|n| json!({"ipBlock": {"cidr": format!("10.{}.{}.1/24", n / 250, n % 250)}})).collect();
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": untidy}]});
    api.apply(policy("h-1", "untidy", spec));
    let meanwhile = change(&cluster);
    let expected = objects.iter().filter(|object| object.unreadable).count() + 1;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of objects")]
    let unreadable = || agent.metric("netsim_enforcer_unreadable_objects_total") as usize;
    wait("everything is read", || {
        let seen = unreadable();
        (seen >= expected).then_some(()).ok_or_else(|| format!("{seen} of {expected} could not be read"))
    });
    // The agent looks itself whether the kernel holds what it should; `verify` refuses a cluster that it cannot read.
    assert!(cluster.verify(NODE, &[]).is_err_and(|why| why.contains("error: ")), "a cluster that cannot be read");
    agent.wait_status(200);
    let read = begun.elapsed();
    // What a log and a scraper make of them.
    let log = lines(agent);
    let field = |line: &Line, name: &str| line.fields[name].as_str().unwrap_or_default().to_owned();
    let errors = log.iter().filter(|line| line.level == "ERROR" && line.message.starts_with("cannot be read"));
    let named: HashSet<(String, String)> = errors.map(|line| (field(line, "namespace"), field(line, "name"))).collect();
    let told = |object: &&Hostile| named.contains(&object.told);
    let untold: Vec<&Hostile> = objects.iter().filter(|object| object.unreadable && !told(object)).collect();
    let first = |list: &[&Hostile]| {
        format!("{:?}", list.iter().take(5).collect::<Vec<_>>()).chars().take(3000).collect::<String>()
    };
    let wrong: Vec<&Hostile> = objects.iter().filter(|object| !object.unreadable && told(object)).collect();
    let also: HashSet<_> = objects.iter().filter(|object| object.unreadable).map(|object| &object.told).collect();
    let same = |object: &&&Hostile| !also.contains(&object.told);
    let wrong: Vec<&Hostile> = wrong.iter().filter(same).copied().collect();
    let seen = unreadable();
    assert!(
        untold.is_empty() && wrong.is_empty() && seen == expected,
        "{seen} unreadable objects, not {expected}\n{} are not told: {}\n{} could be read: {}",
        untold.len(),
        first(&untold),
        wrong.len(),
        first(&wrong),
    );
    let of_untidy = log.iter().filter(|line| line.fields["name"] == "untidy").count();
    assert!((1..=30).contains(&of_untidy), "{of_untidy} lines of one object");
    for line in &log {
        let forged = line.fields.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
        let forged = forged.flat_map(str::lines).any(|line| line.starts_with(FORGED));
        assert!(!forged, "a line of the log is not the agent's: {line:?}");
        assert!(line.message.len() < LONGEST_MESSAGE, "a line of {} bytes: {line:.300?}", line.message.len());
    }
    let log_size: usize = log.iter().map(|line| line.message.len()).sum();
    check_metrics(agent);
    let node = cluster.fabric.node(NODE);
    let listed = node.try_nft("list table inet netsim").expect("nft reads the table");
    let with = change(&cluster);
    let (most, held_with) = (memory(agent, "VmHWM:"), held(agent));
    // They go again.
    let begun = Instant::now();
    let mut gone = BTreeSet::new();
    for object in &objects {
        if gone.insert((object.plural, &object.namespace, &object.name)) {
            api.delete(object.plural, &object.namespace, &object.name);
        }
    }
    api.delete("networkpolicies", "h-1", "untidy");
    api.apply(own_node);
    wait("everything is as before", || {
        let now = held(agent);
        (now == before).then_some(()).ok_or_else(|| format!("{before:?} {now:?}"))
    });
    wait("the table is as before", || cluster.verify(NODE, &[]));
    let away = begun.elapsed();
    agent.wait_status(200);
    check_metrics(agent);
    let after = change(&cluster);
    let outage = watchers.finish();
    println!(
        "{count} objects, {} KiB, {expected} unreadable: read and in force after {read:.1?}, gone after {away:.1?}; \
         the log of them {} KiB; a change of others: {alone:.0?} before, {meanwhile:.0?} behind all of them, {with:.0?} \
         beside them, {after:.0?} after; memory {} MiB before, {} MiB at most, {} MiB after; {held_with:?}, the table {} \
         KiB of text; the longest pause of what is allowed {outage:.0?}",
        bytes / 1024,
        log_size / 1024,
        rss / 1024,
        most / 1024,
        memory(agent, "VmRSS:") / 1024,
        listed.len() / 1024,
    );
    assert!(most < MOST_MEMORY, "the agent had {most} KiB");
    assert!(outage < NO_OUTAGE, "what is allowed was lost for {outage:?}");
    assert!(agent.metric("netsim_enforcer_drift_total") < 0.5, "it had to repair");
    // What no server sends: without a revision a client has to begin anew, and does not get lost in that.
    for (n, metadata) in ["null", "[]", "7", r#"{"name":"twice","name":"twice"}"#].into_iter().enumerate() {
        let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": format!("n-{n}"), "namespace": "h-1"}});
        api.apply_text(object, &format!(r#"{{"metadata":{metadata},"spec":{{}}}}"#));
    }
    change(&cluster);
    agent.wait_status(200);
}

fn greedy() {
    let many = std::env::var("NETSIM_GREEDY_POLICIES").ok().map(|n| n.parse().expect("a number of policies"));
    let (policies, blocks) = many.map_or((5, 100), |policies| (policies, 2000));
    let cluster = cluster();
    let (agent, api) = (&cluster.agents[NODE], &cluster.api);
    let (before, alone, rss) = (held(agent), change(&cluster), memory(agent, "VmRSS:"));
    let watchers = Watchers::start(&cluster);
    let begun = Instant::now();
    for n in 0..policies {
        let peers: Vec<Value> = (0..blocks).map(|block| objects::block(n * blocks + block)).collect();
        let ports = json!([{"port": 1000 + n}, {"port": 8000, "endPort": 8100 + n}, {"port": 53, "protocol": "UDP"}]);
        let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": peers, "ports": ports}]});
        api.apply(policy("h-0", &format!("greedy-{n}"), spec));
    }
    let meanwhile = change(&cluster);
    wait("the table is as it should be", || cluster.verify(NODE, &[]));
    let (in_force, held_with) = (begun.elapsed(), held(agent));
    let beside: Vec<Duration> = (0..3).map(|_| change(&cluster)).collect();
    let with = memory(agent, "VmRSS:");
    let begun = Instant::now();
    (0..policies).for_each(|n| api.delete("networkpolicies", "h-0", &format!("greedy-{n}")));
    wait("everything is as before", || {
        let now = held(agent);
        (now == before).then_some(()).ok_or_else(|| format!("{before:?} {now:?}"))
    });
    let away = begun.elapsed();
    let after = change(&cluster);
    let outage = watchers.finish();
    println!(
        "{policies} policies of {blocks} blocks: in force and verified after {in_force:.1?}, gone after {away:.1?}; a \
         change of others: {alone:.0?} before, {meanwhile:.0?} behind them, {beside:.0?} beside them, {after:.0?} after; \
         {before:?} before, {held_with:?} with them; memory {} MiB before, {} MiB with them, {} MiB at most, {} MiB after; \
         the longest pause of what is allowed {outage:.0?}",
        rss / 1024,
        with / 1024,
        memory(agent, "VmHWM:") / 1024,
        memory(agent, "VmRSS:") / 1024,
    );
    assert!(outage < NO_OUTAGE, "what is allowed was lost for {outage:?}");
}
