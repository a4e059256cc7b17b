//! Names in policies, with packets: the agent as it runs, in this process, and a DNS server that answers as it is told.

use crate::cluster::{Cluster, PATIENCE};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use ipnet::IpNet;
use libtest_mimic::Trial;
use netsim_enforcer::agent::{self, Config, Reports, learning, names};
use netsim_enforcer::kernel::{Kernel, Ownership};
use netsim_enforcer::observe::metrics::TextFormat;
use netsim_enforcer::render::Options;
use netsim_enforcer::watch::{Update, Watched};
use netsim_shared::cluster::Key;
use netsim_shared::compile::Modes;
use netsim_shared::dns::refuse::Refusals;
use netsim_shared::dns::store::StoreOptions;
use netsim_shared::net::Family;
use netsim_shared::object::Object;
use netsim_shared::ports::Protocol;
use netsim_testkit::dns::{DnsServer, Mood};
use netsim_testkit::netns::{Fabric, Layout, Outcome, Probe, Try, Wiring};
use serde_json::json;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

pub const NODE: &str = "node-1";
const NAME: &str = "api.example.com";
/// The longest that something allowed may be lost on a busy machine.
const NO_OUTAGE: Duration = Duration::from_millis(500);

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 10] = [
        ("a_name_is_reached_once_it_is_resolved_and_nothing_else_is", resolved),
        ("expiry_stops_new_connections_and_no_established_ones", expiry),
        ("a_rule_that_goes_cuts_what_it_allowed", rule_goes),
        ("while_the_resolver_fails_what_was_known_is_kept", resolver_fails),
        ("without_an_agent_addresses_hold_and_end_by_themselves", agent_gone),
        ("a_restart_begins_with_what_was_known", restarted),
        ("a_hundred_rotating_addresses_are_all_reached", rotation),
        ("an_address_that_comes_to_be_a_pods_is_no_names", becomes_a_pod),
        ("the_agent_as_shipped_resolves_reports_and_restarts", shipped),
        ("others_who_edit_the_sets_of_names_are_put_right", edited),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("names::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

pub fn outside(n: u8) -> [IpAddr; 2] {
    let n6 = u16::from(n);
    [Ipv4Addr::new(198, 51, 100, n).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, n6).into()]
}

/// Addresses count for two seconds after an answer, and are asked for every second.
fn short() -> StoreOptions {
    let second = Duration::from_secs(1);
    StoreOptions { min_ttl: second, grace: second, ..StoreOptions::default() }
}

/// Two pods on a node, and an outside with many addresses.
struct World {
    fabric: Fabric,
    dns: DnsServer,
    directory: PathBuf,
    /// Private ranges that names may lead into.
    opted_in: Vec<IpNet>,
}

impl World {
    fn new(test: &str) -> Self {
        let addresses = (1..=100).flat_map(outside);
        let fabric = Fabric::build(&Layout::grid(1, 2, Wiring::Routed).outside(addresses));
        fabric.outside().listen(Protocol::Tcp, 443);
        fabric.outside().listen(Protocol::Tcp, 80);
        let directory = std::env::temp_dir().join(format!("netsim-names-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        World { fabric, dns: DnsServer::start(), directory, opted_in: Vec::new() }
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// Starts the agent and tells it of the cluster.
    fn agent(&self, store: StoreOptions) -> Agent {
        self.agent_with(store, Ownership::Owned)
    }

    fn agent_with(&self, store: StoreOptions, ownership: Ownership) -> Agent {
        let netns = self.fabric.node(NODE).netns_path().to_owned();
        let names = names::Config {
            servers: vec![self.dns.address()],
            state: Some(self.state()),
            store,
            refusals: Refusals { opted_in: self.opted_in.clone(), ..Refusals::default() },
        };
        let agent = Agent::on(netns, names, learning::Config::default(), ownership);
        agent.tell(&self.cluster());
        agent
    }

    fn cluster(&self) -> String {
        pods(&self.fabric) + &to_names(&[NAME])
    }

    fn to(&self, n: u8, family: Family, port: u16) -> Probe {
        let address = outside(n).into_iter().find(|a| Family::of(*a) == family).expect("both families");
        Probe::tcp(&self.fabric.pod("pod-1-1"), SocketAddr::new(address, port))
    }

    fn reaches(&self, n: u8, family: Family, port: u16) -> bool {
        self.fabric.probe(&self.to(n, family, port)).passed()
    }

    /// Waits until what is known of addresses is on disk: it is written beside the loop.
    fn wait_state(&self, addresses: &[IpAddr]) {
        let until = Instant::now() + PATIENCE;
        let has = |text: String| addresses.iter().all(|address| text.contains(&format!("\"{address}\"")));
        while !std::fs::read_to_string(self.state()).is_ok_and(has) {
            assert!(Instant::now() < until, "nothing is written");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until new connections come through, or do not.
    fn wait(&self, n: u8, family: Family, reached: bool) {
        let until = Instant::now() + PATIENCE;
        while self.reaches(n, family, 443) != reached {
            assert!(Instant::now() < until, "address {n} ({family}) does not come to be reached: {reached}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The namespace and the two pods.
pub fn pods(fabric: &Fabric) -> String {
    let mut text = "{apiVersion: v1, kind: Namespace, metadata: {name: x}}\n---\n".to_owned();
    for name in ["pod-1-1", "pod-1-2"] {
        let ips: Vec<String> = fabric.pod(name).addresses().iter().map(|a| format!("{{ip: '{a}'}}")).collect();
        text += &format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{namespace: x, name: {name}, labels: {{app: {name}}}}}, \
             spec: {{nodeName: {NODE}, containers: [{{name: c}}]}}, \
             status: {{phase: Running, podIPs: [{}]}}}}\n---\n",
            ips.join(", ")
        );
    }
    text
}

/// The policy: `pod-1-1` may go to names, on port 443.
fn to_names(names: &[&str]) -> String {
    format!(
        "{{apiVersion: netsim.dev/v1alpha1, kind: EgressDomainPolicy, metadata: {{namespace: x, name: outside}}, \
         spec: {{podSelector: {{matchLabels: {{app: pod-1-1}}}}, \
         egress: [{{to: [{{domainNames: [{}]}}], ports: [{{port: 443}}]}}]}}}}\n",
        names.join(", ")
    )
}

/// A policy about the other pod, which makes all connections be judged again.
const UNRELATED: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: x, name: other}, \
                         spec: {podSelector: {matchLabels: {app: pod-1-2}}, policyTypes: [Ingress, Egress]}}";

pub struct Agent {
    updates: UnboundedSender<Update>,
    pub reports: Reports,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts one that works in a network namespace.
    pub fn on(netns: PathBuf, names: names::Config, learning: learning::Config, ownership: Ownership) -> Self {
        let kernel = Kernel::open(Some(&netns), "netsim", ownership).expect("a netlink socket");
        let config = Config {
            options: Options { node: NODE.into(), ..Options::default() },
            modes: Modes::default(),
            pod_cidrs: Vec::new(),
            table: "netsim".to_owned(),
            coalesce: Duration::from_millis(1),
            verify_interval: Duration::from_millis(200),
            manage_sysctls: true,
            netns: Some(netns),
            names,
            learning,
            flow_interval: Duration::from_secs(10),
        };
        Agent::start(config, kernel)
    }

    fn start(config: Config, kernel: Kernel) -> Self {
        let (updates, receiver) = unbounded();
        let (kill, killed) = oneshot::channel();
        let reports = Reports::default();
        let told = reports.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                // Dropped in the middle of whatever it does: nothing is said or written any more.
                tokio::select! {
                    () = agent::run(config, kernel, receiver, told, std::future::pending()) => {}
                    _ = killed => {}
                }
            });
        });
        Agent { updates, reports, kill: Some(kill), thread: Some(thread) }
    }

    fn apply(&self, yaml: &str) -> Vec<Object> {
        let ingested = netsim_shared::ingest::ingest("test", yaml.as_bytes(), "default");
        assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
        for object in &ingested.objects {
            self.updates.unbounded_send(Update::Apply(object.clone())).expect("a running agent");
        }
        ingested.objects
    }

    /// Everything that there is.
    pub fn tell(&self, yaml: &str) {
        let objects = self.apply(yaml);
        for kind in Watched::ALL {
            let keys: HashSet<Key> = objects
                .iter()
                .filter(|object| Watched::of(object) == Some(kind))
                .filter_map(|object| match object {
                    Object::Namespace(ns) => Some((Box::default(), ns.name.clone())),
                    Object::Pod(pod) => Some((pod.namespace.clone(), pod.name.clone())),
                    Object::NetworkPolicy(p) => Some((p.namespace.clone(), p.name.clone())),
                    _ => None,
                })
                .collect();
            self.updates.unbounded_send(Update::Listed(kind, keys)).expect("a running agent");
        }
        self.wait_metric("netsim_enforcer_programmed_generation", |n| n > 0.5);
    }

    /// Makes a change, and waits until it is in the kernel.
    fn change(&self, yaml: &str) -> Instant {
        let before = self.metric("netsim_enforcer_programmed_generation");
        self.apply(yaml);
        self.wait_metric("netsim_enforcer_programmed_generation", |n| n > before);
        Instant::now()
    }

    pub fn metric(&self, name: &str) -> f64 {
        let text = self.reports.metrics.encode(TextFormat::Prometheus).expect("metrics");
        let lines = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn wait_metric(&self, name: &str, fits: impl Fn(f64) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !fits(self.metric(name)) {
            assert!(Instant::now() < until, "{name} is {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a SIGKILL would.
    pub fn kill(&mut self) {
        drop(self.kill.take());
        self.thread.take().expect("it runs").join().expect("it did not panic");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.kill.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn resolved() {
    let world = World::new("resolved");
    let agent = world.agent(short());
    agent.wait_metric("netsim_enforcer_dns_names_unresolved", |n| n > 0.5);
    for family in Family::ALL {
        assert!(!world.reaches(1, family, 443), "a name that was never resolved is denied");
    }
    // Denied, and yet the node is as ready as it can be.
    assert!(!agent.reports.readiness.reasons().iter().any(|reason| reason.contains("dns") || reason.contains(NAME)));
    world.dns.set(NAME, 1, outside(1));
    for family in Family::ALL {
        world.wait(1, family, true);
        assert!(!world.reaches(1, family, 80), "another port");
        assert!(!world.reaches(2, family, 443), "another address");
    }
    agent.wait_metric("netsim_enforcer_dns_names_unresolved", |n| n < 0.5);
    // What points inside is refused, and what was known stays for its time.
    world.dns.set(NAME, 1, world.fabric.pod("pod-1-2").addresses());
    agent.wait_metric("netsim_enforcer_dns_refused_addresses_total", |n| n > 1.5);
    world.fabric.pod("pod-1-2").listen(Protocol::Tcp, 443);
    let pod = world.fabric.pod("pod-1-2").at(Family::V4, 443);
    assert!(!world.fabric.probe(&Probe::tcp(&world.fabric.pod("pod-1-1"), pod)).passed(), "a pod is no name");
}

fn expiry() {
    let world = World::new("expiry");
    world.dns.set(NAME, 1, outside(1));
    let mut agent = world.agent(short());
    let begun = Instant::now();
    let flows = Family::ALL.map(|family| {
        world.wait(1, family, true);
        world.fabric.flow(&world.fabric.pod("pod-1-1"), world.to(1, family, 443).to(), Protocol::Tcp).start()
    });
    world.dns.set(NAME, 1, outside(2));
    for family in Family::ALL {
        world.wait(2, family, true);
        world.wait(1, family, false);
    }
    // Judged again by a later generation, several times.
    for text in [UNRELATED, &UNRELATED.replace("[Ingress, Egress]", "[Ingress]"), UNRELATED] {
        let changed = agent.change(text);
        for flow in &flows {
            flow.wait_until_sent(changed, 20);
            assert!(flow.wait_at_client(changed, Duration::from_secs(2)).is_some(), "{:?}", flow.broken());
        }
        assert!(!Family::ALL.into_iter().any(|family| world.reaches(1, family, 443)), "still denied to new ones");
    }
    // And by another agent, which has to know of what was before it.
    world.wait_state(&outside(2));
    agent.kill();
    let agent = world.agent(short());
    let changed = agent.change(&UNRELATED.replace("[Ingress, Egress]", "[Ingress]"));
    for flow in &flows {
        flow.wait_until_sent(changed, 20);
        assert!(flow.wait_at_client(changed, Duration::from_secs(2)).is_some(), "{:?}", flow.broken());
    }
    assert!(!Family::ALL.into_iter().any(|family| world.reaches(1, family, 443)), "denied to new ones as ever");
    for flow in &flows {
        let gap = flow.longest_gap(begun + Duration::from_secs(1));
        assert!(gap < NO_OUTAGE, "an established connection had a pause of {gap:?}");
    }
}

fn rule_goes() {
    let world = World::new("rule");
    world.dns.set(NAME, 1, outside(1));
    world.dns.set("other.example.com", 1, outside(3));
    let agent = world.agent(short());
    let flows = Family::ALL.map(|family| {
        world.wait(1, family, true);
        world.fabric.flow(&world.fabric.pod("pod-1-1"), world.to(1, family, 443).to(), Protocol::Tcp).start()
    });
    let cut = agent.change(&to_names(&["other.example.com"]));
    for flow in &flows {
        flow.wait_until_sent(cut, 60);
        assert!(flow.at_server().iter().all(|arrival| arrival.sent <= cut), "it goes on without a rule");
    }
    for family in Family::ALL {
        world.wait(3, family, true);
        assert!(!world.reaches(1, family, 443));
    }
    // Allowed again, they go on.
    let back = agent.change(&to_names(&[NAME]));
    for flow in &flows {
        assert!(flow.wait_at_server(back, Duration::from_secs(15)).is_some(), "{:?}", flow.broken());
    }
}

fn resolver_fails() {
    let world = World::new("fails");
    world.dns.set(NAME, 1, outside(1));
    let agent = world.agent(short());
    Family::ALL.into_iter().for_each(|family| world.wait(1, family, true));
    world.dns.be(Mood::Fails);
    agent.wait_metric("netsim_enforcer_dns_names_kept", |n| n > 0.5);
    let storm = world.fabric.storm(Family::ALL.map(|family| world.to(1, family, 443))).every(Duration::from_millis(5));
    let storm = storm.start();
    // Three times as long as an answer counts.
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        assert!(storm.wait_tries(Instant::now(), 50));
    }
    let outage = Try::longest_outage(&storm.stop());
    assert!(outage < NO_OUTAGE, "lost for {outage:?}");
    world.dns.set(NAME, 1, outside(2));
    world.dns.be(Mood::Up);
    for family in Family::ALL {
        world.wait(2, family, true);
        world.wait(1, family, false);
    }
}

fn agent_gone() {
    let world = World::new("gone");
    world.dns.set(NAME, 1, outside(1));
    let mut agent = world.agent(StoreOptions { grace: Duration::from_secs(3), ..short() });
    let flow = {
        world.wait(1, Family::V4, true);
        world.fabric.flow(&world.fabric.pod("pod-1-1"), world.to(1, Family::V4, 443).to(), Protocol::Tcp).start()
    };
    let before = world.dns.asked();
    let until = Instant::now() + PATIENCE;
    while world.dns.asked() < before + 2 {
        assert!(Instant::now() < until, "nothing is asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    agent.kill();
    let killed = Instant::now();
    assert!(world.reaches(1, Family::V4, 443), "it ends with its time, not with the agent");
    world.wait(1, Family::V4, false);
    let after = killed.elapsed();
    assert!(after > Duration::from_secs(2) && after < Duration::from_secs(6), "it ended after {after:?}");
    let now = Instant::now();
    assert!(flow.wait_at_client(now, Duration::from_secs(2)).is_some(), "established ones go on");
}

fn restarted() {
    let world = World::new("restarted");
    world.dns.set(NAME, 600, outside(1));
    let mut agent = world.agent(short());
    Family::ALL.into_iter().for_each(|family| world.wait(1, family, true));
    world.wait_state(&outside(1));
    world.dns.be(Mood::Silent);
    let storm = world.fabric.storm(Family::ALL.map(|family| world.to(1, family, 443))).every(Duration::from_millis(2));
    let storm = storm.start();
    for _ in 0..5 {
        agent.kill();
        agent = world.agent(short());
        assert!(storm.wait_tries(Instant::now(), 50));
    }
    let outage = Try::longest_outage(&storm.stop());
    assert!(outage < NO_OUTAGE, "lost for {outage:?}");
    // A file that is damaged is begun afresh, and nothing else happens.
    agent.kill();
    std::fs::write(world.state(), "{").expect("a file");
    let agent = world.agent(short());
    world.wait(1, Family::V4, false);
    world.dns.be(Mood::Up);
    world.wait(1, Family::V4, true);
    drop(agent);
}

fn rotation() {
    let world = World::new("rotation");
    let all: Vec<IpAddr> = (1..=100).map(|n| outside(n)[0]).collect();
    world.dns.rotate(NAME, 1, 25, all);
    let agent = world.agent(StoreOptions { grace: Duration::from_secs(60), ..short() });
    agent.wait_metric("netsim_enforcer_dns_addresses", |n| n > 99.5);
    let probes: Vec<Probe> = (1..=100).map(|n| world.to(n, Family::V4, 443)).collect();
    let until = Instant::now() + PATIENCE;
    loop {
        let lost = world.fabric.probe_all(&probes).iter().filter(|outcome| !outcome.passed()).count();
        if lost == 0 {
            return;
        }
        assert!(Instant::now() < until, "{lost} of 100 addresses are not reached");
    }
}

fn becomes_a_pod() {
    let mut world = World::new("pod");
    world.opted_in = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a range")).into();
    let pod = world.fabric.pod("pod-1-2");
    pod.listen(Protocol::Tcp, 443);
    world.dns.set(NAME, 1, pod.addresses());
    let agent = world.agent(short());
    let probes = Family::ALL.map(|family| Probe::tcp(&world.fabric.pod("pod-1-1"), pod.at(family, 443)));
    let reached = || world.fabric.probe_all(&probes).iter().filter(|outcome| outcome.passed()).count();
    agent.wait_metric("netsim_enforcer_dns_refused_addresses_total", |n| n > 1.5);
    assert_eq!(reached(), 0, "a pod is no name");
    // As long as nobody knows of a pod there, it is an address like others.
    let key = ("x".into(), "pod-1-2".into());
    agent.updates.unbounded_send(Update::Delete(Watched::Pods, key)).expect("a running agent");
    let until = Instant::now() + PATIENCE;
    while reached() < 2 {
        assert!(Instant::now() < until, "the name does not come to be reached");
    }
    let others: String = world.cluster().split("---\n").filter(|text| text.contains("name: pod-1-2")).collect();
    agent.change(&others);
    assert_eq!(reached(), 0, "it is a pod's from the commit on");
}

/// How many addresses the state of names has that count for more than a minute from now on.
fn count_for_long(state: &[u8]) -> usize {
    fn ends(value: &serde_json::Value, of_addresses: bool, out: &mut Vec<u128>) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| ends(value, of_addresses || key == "addresses", out));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| ends(item, false, out)),
            end if of_addresses => out.extend(end.as_u64().map(u128::from)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    serde_json::from_slice(state).iter().for_each(|value| ends(value, false, &mut all));
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    all.into_iter().filter(|end| *end > now.as_millis() + 60_000).count()
}

fn shipped() {
    let dns = DnsServer::start();
    let directory = std::env::temp_dir().join(format!("netsim-names-{}-shipped", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let state = directory.join("state.json").display().to_string();
    let server = dns.address().to_string();
    let options = ["--dns-server", &server, "--dns-state", &state, "--dns-min-ttl", "1s", "--dns-grace", "2s"];
    let mut cluster = Cluster::new(1, 1, Wiring::Bridged, &options);
    cluster.api.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
    cluster.api.apply(json!({
        "apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
        "metadata": {"namespace": "x", "name": "outside"},
        "spec": {"podSelector": {}, "egress": [{"to": [{"domainNames": [NAME]}], "ports": [{"port": 443}]}]},
    }));
    cluster.start_agents();
    let outside = cluster.fabric.outside();
    outside.listen(Protocol::Tcp, 443);
    let probes = Family::ALL.map(|family| Probe::tcp(&cluster.pod("pod-1-1"), outside.at(family, 443)));
    let reached = |cluster: &Cluster| cluster.fabric.probe_all(&probes).iter().filter(|o| o.passed()).count();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // It says so in its log, its status and the object's, and is ready all the same.
    cluster.agents[NODE].wait_message("stands for no address, so connections to it are denied: there is no such name");
    assert_eq!(reached(&cluster), 0);
    let why = format!("{NAME}: there is no such name");
    until("the status says nothing", &|| cluster.agents[NODE].get("/status").1.contains(&why));
    let in_api = || cluster.api.objects("egressdomainpolicies").iter().any(|o| o.to_string().contains("NeverResolved"));
    until("the object says nothing", &in_api);
    dns.set(NAME, 1, outside.addresses());
    until("the name is not reached", &|| reached(&cluster) == 2);
    until("the object still says so", &|| !in_api());
    // It asks again and again, and nothing of that is a change of rules.
    let (asked, programmed) = (dns.asked(), cluster.agents[NODE].programmed());
    until("nothing is asked", &|| dns.asked() >= asked + 4);
    assert_eq!(cluster.agents[NODE].programmed(), programmed);
    // Killed, and started again, while no server answers.
    dns.set(NAME, 600, outside.addresses());
    until("nothing is written", &|| std::fs::read(&state).is_ok_and(|text| count_for_long(&text) == 2));
    dns.be(Mood::Silent);
    let storm = cluster.fabric.storm(probes.clone()).every(Duration::from_millis(2)).start();
    for _ in 0..3 {
        cluster.agents.get_mut(NODE).expect("an agent").kill();
        assert!(storm.wait_tries(Instant::now(), 20));
        let agent = cluster.agent(NODE);
        agent.wait_ready();
        cluster.agents.insert(NODE.to_owned(), agent);
    }
    assert!(storm.wait_tries(Instant::now(), 50));
    let outage = Try::longest_outage(&storm.stop());
    assert!(outage < NO_OUTAGE, "lost for {outage:?}");
    assert_eq!(cluster.agents.get_mut(NODE).expect("an agent").terminate(), 0);
    _ = std::fs::remove_dir_all(&directory);
}

fn edited() {
    let world = World::new("edited");
    world.dns.set(NAME, 600, outside(1));
    let agent = world.agent(short());
    Family::ALL.into_iter().for_each(|family| world.wait(1, family, true));
    // Nobody can while the agent owns the table.
    let node = world.fabric.node(NODE);
    let listed = node.try_nft("list table inet netsim").expect("nft");
    let set = listed.lines().find_map(|line| line.trim().strip_prefix("set egress4_names")).expect("a set of names");
    let set = format!("egress4_names{}", set.trim_end_matches(" {"));
    assert!(listed.contains(&format!("comment \"{NAME}\"")), "{listed}");
    let add = format!("add element inet netsim {set} {{ 198.51.100.9 timeout 1h }}");
    assert!(node.try_nft(&add).is_err());
    drop(agent);
    // Of what somebody did while nobody looked, nothing is left.
    node.nft(&add);
    assert!(world.reaches(9, Family::V4, 443));
    let agent = world.agent(short());
    assert_eq!(world.fabric.probe(&world.to(9, Family::V4, 443)), Outcome::Lost);
    assert!(world.reaches(1, Family::V4, 443));
    drop(agent);
    // Where everybody may, it is found and put right, and so is what is taken out.
    node.nft("delete table inet netsim");
    let agent = world.agent_with(short(), Ownership::Shared);
    let find = || {
        let listed = node.try_nft("list table inet netsim").expect("nft");
        let number = listed.lines().find_map(|line| line.trim().strip_prefix("set egress4_names")).expect("a set");
        number.trim_end_matches(" {").to_owned()
    };
    let edits = [
        ("add element inet netsim egress4_namesN { 198.51.100.9 timeout 1h }", 9),
        ("add element inet netsim egress4_namesN { 198.51.100.9 }", 9),
        ("add element inet netsim egress4_seenN { 198.51.100.9 timeout 1h }", 9),
        ("delete element inet netsim egress4_namesN { 198.51.100.1 }", 9),
        ("flush set inet netsim egress4_seenN", 9),
    ];
    for (n, (edit, denied)) in (1..).zip(edits) {
        node.nft(&edit.replace('N', &find()));
        agent.wait_metric("netsim_enforcer_drift_total", |count| count > f64::from(n) - 0.5);
        agent.wait_metric("netsim_enforcer_repairs_total", |count| count > f64::from(n) - 0.5);
        assert!(!world.reaches(denied, Family::V4, 443), "after `{edit}`");
        assert!(world.reaches(1, Family::V4, 443), "after `{edit}`");
    }
    // What ends, comes and is asked for again all the time is no drift.
    world.dns.set("short.example.com", 1, outside(2));
    agent.change(&to_names(&[NAME, "short.example.com"]));
    world.wait(2, Family::V4, true);
    let asked = world.dns.asked();
    let until = Instant::now() + PATIENCE;
    while world.dns.asked() < asked + 6 {
        assert!(Instant::now() < until, "nothing is asked");
        // Others make the generation of the node's ruleset another, so that the table is read.
        node.nft("add table inet other; delete table inet other");
    }
    assert!(agent.metric("netsim_enforcer_drift_total") < 5.5, "what ended was taken for drift");
}
