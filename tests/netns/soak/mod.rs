//! The soak: an agent at work for as long as one likes, in a cluster that never rests. A normal run is bounded;
//! `NETSIM_SOAK_MINUTES=60 cargo test -p netsim-enforcer --test netns -- soak --nocapture` is the long one.
//!
//! Pods, labels, policies and names change at a steady rate. All the time a denied connection is tried, an allowed one
//! is tried, and another one lasts. From time to time the cluster stands still: then the kernel has to hold what a fresh
//! agent would put there, and every pod of the fabric has to reach exactly what the simulator says. At the end nothing
//! may have grown.

mod churn;
mod figures;

use crate::cluster::{Agent, Cluster, PATIENCE, policy};
use churn::{Churn, OTHER_NODES};
use figures::{Metrics, Sample};
use libtest_mimic::Trial;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::dns::NameMap;
use netsim_shared::dns::refuse::Refusals;
use netsim_shared::evaluate::{Outcome as Verdict, Party, evaluate};
use netsim_shared::ingest::ingest;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::dns::DnsServer;
use netsim_testkit::netns::{Counter, Flow, Outcome, Packets, Place, Probe, Prober, Storm, Try, Wiring};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Changes in the API server each second.
const RATE: u32 = 50;
/// How long the bounded run changes things, and how long that is between two looks.
const BOUNDED: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));
/// The same between two looks of the long run.
const LONG: Duration = Duration::from_secs(60);
/// What comes before the first sample that counts: memory that is kept is not memory that grows.
const WARM_UP: Duration = Duration::from_secs(5);
/// The longest that something allowed may be lost: what a busy machine does by itself, over an hour.
const NO_OUTAGE: Duration = Duration::from_secs(2);
/// Four bits: fifteen generations, so that numbers come round all the time.
const MARK_MASK: &str = "0xf0000000";
/// Pods of the fabric on each node; the first two have their objects for good.
const ON_NODE: u8 = 5;
const FIXED: u8 = 2;
const PORTS: [u16; 3] = [80, 81, 8080];
const NODE: &str = "node-1";

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("soak::nothing_grows_and_nothing_leaks", || {
        soak();
        Ok(())
    })]
}

/// Hosts that names stand for.
fn hosts() -> Vec<[IpAddr; 2]> {
    (1..=4)
        .map(|n: u8| [IpAddr::from([198, 51, 100, n]), IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, n.into()])])
        .collect()
}

fn soak() {
    let minutes = std::env::var("NETSIM_SOAK_MINUTES").ok().map(|n| n.parse::<u32>().expect("a number of minutes"));
    let (length, between) = minutes.map_or(BOUNDED, |minutes| (Duration::from_secs(60) * minutes, LONG));
    let dns = DnsServer::start();
    let server = dns.address().to_string();
    let names = ["--dns-server", &server, "--dns-learn", "false", "--dns-min-ttl", "3s", "--dns-grace", "2s"];
    let cluster = Cluster::new(2, ON_NODE, Wiring::Bridged, &[&["--mark-mask", MARK_MASK], &names[..]].concat());
    let mut world = World::new(&cluster, &dns);
    // Between changes, the agent says little: lines that are kept here are memory, too.
    let agent = cluster.agent_logging(NODE, "info");
    agent.wait_ready();
    let watchers = Watchers::start(&cluster);
    let began = Instant::now();
    let (mut samples, mut changes, mut looks) = (Vec::new(), 0_u32, 0_u32);
    let (mut changing, mut outage) = (Duration::ZERO, Duration::ZERO);
    let mut since: Option<(Metrics, Instant)> = None;
    let pause = Duration::from_secs(1) / RATE;
    let per_look = between.as_secs() * u64::from(RATE);
    let every = (length / 200).max(Duration::from_millis(250));
    while changing < length {
        let phase = Instant::now();
        let mut next = phase;
        let (allowed, denied) = (allowed_storm(&cluster), denied_storm(&cluster));
        let mut sampled = phase;
        // By their number, so that the clusters at points of rest are the same ones each time.
        for _ in 0..per_look {
            world.churn.step(&cluster.api, &dns);
            changes += 1;
            if began.elapsed() >= WARM_UP && sampled.elapsed() >= every {
                sampled = Instant::now();
                since.get_or_insert_with(|| (Metrics::of(&agent), sampled));
                samples.push(Sample::take(&agent, &cluster.fabric.node(NODE)));
            }
            // The pace of the load; what took longer is caught up with.
            next += pause;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        changing += phase.elapsed();
        world.wait_programmed(&agent);
        world.check();
        looks += 1;
        outage = outage.max(watchers.judge(allowed, denied));
        // So that the history of the API server does not grow; nothing is behind it now.
        cluster.api.compact();
    }
    let metrics = Metrics::of(&agent);
    let (before, counted) = since.expect("longer than it takes to warm up");
    let figures =
        Figures { samples, outage, changes, looks, changing, probes: world.probes, counted: counted.elapsed() };
    figures.tell(&metrics, &before, &world, &watchers);
}

struct Figures {
    samples: Vec<Sample>,
    outage: Duration,
    changes: u32,
    looks: u32,
    changing: Duration,
    probes: usize,
    counted: Duration,
}

impl Figures {
    /// Prints the table, and judges.
    fn tell(&self, metrics: &Metrics, before: &Metrics, world: &World<'_>, watchers: &Watchers) {
        let (table, grown) = figures::table(&self.samples);
        let rate = f64::from(self.changes) / self.changing.as_secs_f64();
        let [pods, policies, domain_policies] = world.churn.sizes();
        let ms = |name, quantile| metrics.quantile(before, name, quantile) * 1000.0;
        println!(
            "soak: {:.1} minutes, {} changes ({rate:.1} each second), {pods} pods, {policies} policies, \
             {domain_policies} policies with names",
            self.changing.as_secs_f64() / 60.0,
            self.changes
        );
        println!(
            "at {} points of rest {} probes came out as answered, and the table was a fresh one's",
            self.looks, self.probes
        );
        println!(
            "commits {}, from event to commit: half within {:.0} ms, 99 of 100 within {:.0} ms; in the kernel: {:.1} ms, {:.0} ms",
            metrics.value("commits_total"),
            ms("event_to_commit_seconds", 0.5),
            ms("event_to_commit_seconds", 0.99),
            ms("commit_duration_seconds", 0.5),
            ms("commit_duration_seconds", 0.99),
        );
        let (first, last) = (self.samples.first().expect("samples"), self.samples.last().expect("samples"));
        let processor = (last.value("processor time") - first.value("processor time")) / self.counted.as_secs_f64();
        let flow = watchers.flow.longest_gap(watchers.began);
        println!(
            "processor: {:.0} % of one; the longest pause of what is allowed: {flow:?} of a connection, {:?} of new ones\n\n{table}",
            processor * 100.0,
            self.outage
        );
        assert!(grown.is_empty(), "grew: {}", grown.join("; "));
        assert!(rate > 20.0, "the load was {rate:.1} changes a second only");
        assert!(metrics.value("conntrack_sweeps_total") > 0.5, "numbers of generations never came round");
        assert!(metrics.value("drift_total") < 0.5 && metrics.value("repairs_total") < 0.5, "it had to repair");
        assert!(metrics.value("unreadable_objects_total") < 0.5, "it could not read something");
        assert!(self.outage < NO_OUTAGE, "what is allowed was lost for {:?}", self.outage);
        assert!(flow < NO_OUTAGE, "a connection that stays allowed had a pause of {flow:?}");
    }
}

/// Connections whose verdict nothing of the churn can change.
struct Watchers {
    flow: Flow,
    began: Instant,
    leaked: Vec<Counter>,
}

impl Watchers {
    fn start(cluster: &Cluster) -> Self {
        let server = cluster.pod("pod-1-1");
        let to = server.at(Family::V4, 80);
        let flow = cluster.fabric.flow(&cluster.pod("pod-2-1"), to, Protocol::Tcp);
        let leaked = strangers(cluster).into_iter().flat_map(|place| {
            Family::ALL.map(|family| {
                let from = place.address(family).expect("both families");
                server.count(&Packets::any().from(from).port(Protocol::Tcp, 80))
            })
        });
        let leaked = leaked.collect();
        let flow = flow.every(Duration::from_millis(25)).start();
        Watchers { flow, began: Instant::now(), leaked }
    }

    /// Ends both, which have gone on until now: nothing denied has passed. How long what is allowed was lost at most.
    fn judge(&self, allowed: Storm, denied: Storm) -> Duration {
        assert!(denied.stop().iter().all(|t| t.outcome == Outcome::Lost), "what is denied got an answer");
        let leaked: u64 = self.leaked.iter().map(Counter::packets).sum();
        assert_eq!(leaked, 0, "packets of what is denied arrived");
        Try::longest_outage(&allowed.stop())
    }
}

fn allowed_storm(cluster: &Cluster) -> Storm {
    let probes = Family::ALL.map(|family| Probe::tcp(&cluster.pod("pod-2-1"), cluster.at("pod-1-1", family, 80)));
    cluster.fabric.storm(probes).every(Duration::from_millis(20)).start()
}

fn denied_storm(cluster: &Cluster) -> Storm {
    let to = |place: &Place| Family::ALL.map(|family| Probe::tcp(place, cluster.at("pod-1-1", family, 80)));
    let probes: Vec<Probe> = strangers(cluster).iter().flat_map(to).collect();
    cluster.fabric.storm(probes).every(Duration::from_millis(10)).start()
}

fn strangers(cluster: &Cluster) -> [Place; 3] {
    [cluster.pod("pod-1-2"), cluster.pod("pod-2-2"), cluster.fabric.outside()]
}

/// The cluster, and what is to be seen of it.
struct World<'c> {
    cluster: &'c Cluster,
    churn: Churn,
    probes: usize,
}

impl<'c> World<'c> {
    fn new(cluster: &'c Cluster, dns: &DnsServer) -> Self {
        let api = &cluster.api;
        api.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
        for n in OTHER_NODES {
            api.apply(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{n}")},
                "spec": {"podCIDRs": [format!("10.244.{n}.0/24"), format!("fd00:244:{n:x}::/48")]},
            }));
        }
        // Nobody but pod-2-1 may reach pod-1-1, and nothing that changes has a say in that.
        api.apply(policy(
            "x",
            "only-first",
            json!({
                "podSelector": {"matchLabels": {"app": "pod-1-1"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "pod-2-1"}}}], "ports": [{"port": 80}]}],
            }),
        ));
        for n in 1..=2 {
            (FIXED + 1..=ON_NODE).for_each(|p| api.delete("pods", "x", &format!("pod-{n}-{p}")));
        }
        for address in hosts().into_iter().flatten() {
            cluster.fabric.add_outside_address(address);
        }
        for place in cluster.fabric.pods().iter().chain([&cluster.fabric.outside()]) {
            PORTS.into_iter().for_each(|port| place.listen(Protocol::Tcp, port));
        }
        World { cluster, churn: Churn::new(api, dns, FIXED, hosts()), probes: 0 }
    }

    /// Waits until the kernel holds what a fresh agent would put there.
    fn wait_programmed(&self, agent: &Agent) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(differs) = self.cluster.verify(NODE, &["--mark-mask", MARK_MASK]) {
            assert!(Instant::now() < deadline, "the table is not what it should be:\n{differs}\n{}", agent.log());
        }
        agent.wait_status(200);
    }

    /// The objects as the simulator has them.
    fn compiled(&self) -> Compiled {
        let kinds = ["namespaces", "nodes", "pods", "networkpolicies", "egressdomainpolicies"];
        let items: Vec<Value> = kinds.iter().flat_map(|kind| self.cluster.api.objects(kind)).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let ingested = ingest("the API server", list.as_bytes(), "default");
        assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
        let mut names = NameMap::new(Refusals::default(), true);
        for (name, addresses) in &self.churn.names {
            assert!(names.insert(name.parse().expect("a name"), *addresses).is_empty(), "an address is refused");
        }
        let modes = Modes { ip_block_matches_pods: true, names, ..Modes::default() };
        Compiled::new(&ClusterIndex::new(ingested.objects), &modes)
    }

    /// Every pair with a pod of the node in it, as the simulator says.
    fn check(&mut self) {
        let compiled = self.compiled();
        let fabric = &self.cluster.fabric;
        let (mut probes, mut expected) = (Vec::new(), Vec::new());
        let ends: Vec<(Place, IpAddr)> = fabric
            .pods()
            .into_iter()
            .chain([fabric.outside()])
            .flat_map(|place| place.addresses().into_iter().map(move |address| (place.clone(), address)))
            .collect();
        for (a, b) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
            if a.0 == b.0 || Family::of(a.1) != Family::of(b.1) {
                continue;
            }
            for port in PORTS {
                if let Some(allowed) = allowed(&compiled, a.1, b.1, port) {
                    probes.push(Probe::tcp(&a.0, SocketAddr::new(b.1, port)).source(a.1));
                    expected.push(allowed);
                }
            }
        }
        self.probes += probes.len();
        let mut outcomes = Prober::default().run(&probes);
        // What names stand for may have to be asked for first, and a busy machine is late.
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (probe, outcome) in probes.iter().zip(&outcomes).zip(&expected).filter(|(_, e)| !**e).map(|(p, _)| p) {
                assert!(!outcome.passed(), "{probe:?} got through, which the simulator denies");
            }
            let late: Vec<usize> = (0..probes.len()).filter(|i| expected[*i] && !outcomes[*i].passed()).collect();
            let Some(first) = late.first() else { return };
            assert!(Instant::now() < deadline, "{:?} does not get through, {} in all", probes[*first], late.len());
            let again = Prober::default().run(&late.iter().map(|i| probes[*i].clone()).collect::<Vec<_>>());
            late.into_iter().zip(again).for_each(|(i, outcome)| outcomes[i] = outcome);
        }
    }
}

/// Whether the agent of the one node lets a connection pass; `None` if neither end is a pod of that node.
fn allowed(compiled: &Compiled, from: IpAddr, to: IpAddr, port: u16) -> Option<bool> {
    let local = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [10, 244, 1],
        IpAddr::V6(v6) => v6.segments()[..3] == [0xfd00, 0x244, 1],
    };
    if !local(from) && !local(to) {
        return None;
    }
    let party = |address| compiled.at_address(address).map_or(Party::Address(address), Party::Endpoint);
    // An address of the node's range that nobody is known to have is closed.
    if [from, to].iter().any(|address| local(*address) && compiled.at_address(*address).is_none()) {
        return Some(false);
    }
    let decision = evaluate(compiled, party(from), party(to), Protocol::Tcp, port, Family::of(from))?;
    assert!(decision.outcome != Verdict::Unknown, "{decision:?}");
    // The other node has no agent: each side is enforced where it is.
    let sides = [(from, &decision.egress), (to, &decision.ingress)];
    Some(decision.exemption.is_some() || sides.iter().all(|(address, side)| !local(*address) || side.allows()))
}
