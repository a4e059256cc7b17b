//! A cluster made real: its pods as network namespaces, its nodes with the rulesets that the enforcer
//! renders for them, and the question that everything here is about: does the kernel do what the
//! simulator answers?

use netsim_enforcer::kernel::{Kernel, Ownership};
use netsim_enforcer::render::{Changed, Options, Renderer, render};
use netsim_enforcer::ruleset::text::table;
use netsim_enforcer::ruleset::{Name, TimedElements};
use netsim_enforcer::transaction::replace;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Address, Compiled, EndpointId, Modes};
use netsim_shared::dns::refuse::Refusals;
use netsim_shared::dns::{DomainName, NameMap, NamePattern};
use netsim_shared::evaluate::{Outcome, Party, evaluate};
use netsim_shared::net::Family;
use netsim_shared::object::{ClusterNode, Life, Object, Origin, Pod};
use netsim_shared::policy::{Direction, Peer, PortMatch};
use netsim_shared::ports::{MAX_PORT, Protocol};
use netsim_testkit::netns::{Fabric, Layout, Place, Probe, Prober, Wiring};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The name of our table in these tests.
pub const TABLE: &str = "netsim";
/// Nodes of clusters that name none.
const NODES: [&str; 2] = ["node-1", "node-2"];

/// A cluster and its packets.
pub struct World {
    pub fabric: Fabric,
    pub index: ClusterIndex,
    pub compiled: Compiled,
    kernels: BTreeMap<Box<str>, Kernel>,
    outside: Vec<IpAddr>,
    modes: Modes,
    generation: u32,
    loaded: bool,
    /// See [`Options::many_lines`].
    pub many_lines: usize,
}

/// One end of a probe.
struct End {
    party: Party,
    place: Place,
    address: IpAddr,
    name: String,
}

/// Whether a host can have an address, and one that is not the fabric's own.
fn usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let fabric = (a, b) == (172, 31) || (a, b & 0xc0) == (100, 64);
            a > 0 && a < 224 && !v4.is_loopback() && !v4.is_link_local() && !fabric
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            a & 0xe000 != 0 && a < 0xfe00 && !(a == 0xfd00 && (b == 0x31 || b == 0x64))
        }
    }
}

/// The name of a pod's namespace.
pub fn pod_place(namespace: &str, name: &str) -> String {
    format!("{namespace}.{name}")
}

/// Makes a cluster live: every pod that takes part gets a node and an address if it has none, the
/// workloads of files get two pods each.
fn enliven(index: &ClusterIndex) -> Vec<Object> {
    let named: Vec<Box<str>> = index.nodes().map(|node| node.name.clone()).collect();
    let nodes: Vec<Box<str>> = if named.is_empty() { NODES.map(Into::into).to_vec() } else { named };
    let of_nodes: BTreeSet<IpAddr> = index.nodes().flat_map(|node| node.addresses.clone()).collect();
    let mut objects: Vec<Object> = Vec::new();
    objects.extend(index.namespaces().map(|namespace| Object::Namespace((**namespace).clone())));
    objects.extend(index.policies().map(|policy| Object::NetworkPolicy((**policy).clone())));
    let mut pods: Vec<Pod> =
        index.pods().filter(|pod| ClusterIndex::absence(pod).is_none()).map(|p| (**p).clone()).collect();
    for workload in index.standing_workloads() {
        pods.extend((0..2).map(|replica| Pod {
            namespace: workload.namespace.clone(),
            name: format!("{}-{}-{replica}", workload.kind.short(), workload.name).into(),
            uid: Box::default(),
            spec: workload.template.clone(),
            owner: None,
            life: Life::Manifest,
            addresses: Vec::new(),
            host_addresses: Vec::new(),
            origin: Origin::default(),
        }));
    }
    let mut taken = of_nodes;
    for (i, pod) in pods.iter_mut().enumerate() {
        let node = pod.spec.node.get_or_insert_with(|| nodes[i % nodes.len()].clone());
        if !nodes.contains(node) {
            *node = nodes[i % nodes.len()].clone();
        }
        pod.life = Life::Live;
        pod.host_addresses.clear();
        if pod.spec.host_network {
            pod.addresses.clear();
            continue;
        }
        pod.addresses.retain(|address| usable(*address) && taken.insert(*address));
        if pod.addresses.is_empty() {
            let n = u16::try_from(i + 1).expect("few pods");
            let [high, low] = n.to_be_bytes();
            let both = [IpAddr::from([10, 77, high, low]), IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, n])];
            // Some of one family only.
            pod.addresses = if i % 5 == 4 { both[1..].to_vec() } else { both.to_vec() };
            taken.extend(both);
        }
    }
    objects.extend(pods.into_iter().map(|pod| Object::Pod(Box::new(pod))));
    objects.extend(nodes.into_iter().map(|name| {
        let addresses = index.node(&name).map(|node| node.addresses.clone()).unwrap_or_default();
        Object::Node(ClusterNode { name, addresses, pod_cidrs: Vec::new(), origin: Origin::default() })
    }));
    objects
}

/// Addresses outside that a cluster's policies tell apart, and two that none is likely to name.
fn interesting_addresses(index: &ClusterIndex) -> Vec<IpAddr> {
    let rules = index.policies().flat_map(|p| Direction::ALL.into_iter().filter_map(|d| p.rules(d)).flatten());
    let blocks = rules.filter_map(|rule| rule.peers.as_ref()).flatten().filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods { .. } | Peer::Names(_) => None,
    });
    let nets = blocks.flat_map(|block| block.except.iter().chain([&block.cidr]));
    let ends = nets.flat_map(|net| {
        let family = netsim_shared::net::family_of(net);
        let (first, last) =
            (netsim_shared::net::to_number(net.network()), netsim_shared::net::to_number(net.broadcast()));
        let around =
            [first.checked_sub(1), Some(first), Some(last), last.checked_add(1).filter(|n| *n <= family.last())];
        around.into_iter().flatten().map(move |n| netsim_shared::net::from_number(family, n))
    });
    let always = ["203.0.113.7", "2001:db8::7"].map(|a| a.parse().expect("an address"));
    let all: BTreeSet<IpAddr> = ends.chain(always).filter(|a| usable(*a)).collect();
    all.into_iter().collect()
}

/// What the names of a cluster's policies stand for: addresses outside, of which some belong to several names. No other
/// name stands for anything.
fn names(index: &ClusterIndex) -> NameMap {
    let rules = index.policies().flat_map(|p| p.rules(Direction::Egress)).flatten();
    let peers = rules.filter_map(|rule| rule.peers.as_ref()).flatten();
    let patterns = peers.filter_map(|peer| if let Peer::Names(patterns) = peer { Some(patterns) } else { None });
    let names: BTreeSet<DomainName> = patterns
        .flatten()
        .map(|pattern| match pattern {
            NamePattern::Exact(name) => name.clone(),
            NamePattern::Below(parent) => format!("www.{parent}").parse().expect("a name"),
        })
        .collect();
    let mut map = NameMap::new(Refusals::default(), true);
    for (n, name) in (10_u8..200).zip(names) {
        let number = if n.is_multiple_of(3) { 9 } else { n };
        let addresses = [IpAddr::from([198, 51, 100, number]), [0x2001, 0xdb8, 1, 0, 0, 0, 0, n.into()].into()];
        assert!(map.insert(name, addresses).is_empty(), "documentation addresses are refused");
    }
    map
}

/// Numbers that rules and pods name, and their neighbours.
fn interesting_ports(index: &ClusterIndex) -> Vec<u16> {
    let rules = index.policies().flat_map(|p| Direction::ALL.into_iter().filter_map(|d| p.rules(d)).flatten());
    let of_rules = rules.flat_map(|rule| rule.ports.iter().flatten()).flat_map(|port| match port {
        PortMatch::Range(range) if range.to < MAX_PORT => vec![range.from, range.to, range.to + 1],
        PortMatch::Range(range) => vec![range.from, range.to],
        PortMatch::Named(_) => Vec::new(),
    });
    let of_pods = index.pods().flat_map(|pod| &pod.spec.ports).map(|port| port.port);
    of_rules.chain(of_pods).chain([80]).filter(|port| *port > 0).collect::<BTreeSet<_>>().into_iter().collect()
}

impl World {
    /// Builds the pods and nodes of a cluster. Nothing is enforced yet.
    pub fn new(index: &ClusterIndex, wiring: Wiring) -> Self {
        // What is not known in a file is known in a live cluster.
        let live = ClusterIndex::new(enliven(index));
        let modes = Modes { ip_block_matches_pods: true, names: names(&live), ..Modes::default() };
        let mut layout = Layout::new();
        for node in live.nodes() {
            layout = layout.node_at(&*node.name, wiring, node.addresses.iter().copied().filter(|a| usable(*a)));
        }
        let inside: BTreeSet<IpAddr> =
            live.pods().flat_map(|p| &p.addresses).chain(live.nodes().flat_map(|n| &n.addresses)).copied().collect();
        let named = modes.names.names().flat_map(|(_, addresses)| addresses).copied();
        let outside: BTreeSet<IpAddr> =
            interesting_addresses(&live).into_iter().chain(named).filter(|a| !inside.contains(a)).collect();
        let outside: Vec<IpAddr> = outside.into_iter().collect();
        layout = layout.outside(outside.iter().copied());
        for pod in live.pods().filter(|pod| !pod.spec.host_network) {
            let node = pod.spec.node.as_deref().expect("every live pod has a node");
            layout = layout.pod(pod_place(&pod.namespace, &pod.name), node, pod.addresses.iter().copied());
        }
        let fabric = Fabric::build(&layout);
        let kernels = live
            .nodes()
            .map(|node| {
                let place = fabric.node(&node.name);
                let kernel = Kernel::open(Some(place.netns_path()), TABLE, Ownership::Owned);
                (node.name.clone(), kernel.unwrap_or_else(|error| panic!("node `{}`: {error}", node.name)))
            })
            .collect();
        let compiled = Compiled::new(&live, &modes);
        let mut world = World {
            fabric,
            index: live,
            compiled,
            kernels,
            outside,
            modes,
            generation: 0,
            loaded: false,
            many_lines: 16,
        };
        world.follow_nodes();
        world
    }

    /// The nodes have the addresses that the fabric gave them, and say so.
    fn follow_nodes(&mut self) {
        let names: Vec<Box<str>> = self.index.nodes().map(|node| node.name.clone()).collect();
        for name in names {
            let addresses = self.fabric.node(&name).addresses();
            let node = ClusterNode { name, addresses, pod_cidrs: Vec::new(), origin: Origin::default() };
            self.index.apply(Object::Node(node));
        }
        self.compiled = Compiled::new(&self.index, &self.modes);
    }

    /// Brings the policies of another cluster with the same pods into force.
    pub fn change_policies(&mut self, other: &ClusterIndex) {
        let old: Vec<_> = self.index.policies().map(|p| (p.namespace.clone(), p.name.clone())).collect();
        old.iter().for_each(|(namespace, name)| _ = self.index.delete_policy(namespace, name));
        for policy in other.policies() {
            self.index.apply(Object::NetworkPolicy((**policy).clone()));
        }
        self.compiled = Compiled::new(&self.index, &self.modes);
    }

    fn options(&self, node: &str) -> Options {
        Options { node: node.into(), many_lines: self.many_lines, ..Options::default() }
    }

    /// As the enforcer compiles: what names stand for is no matter of the ruleset, but of sets beside it.
    fn enforced(&self) -> Compiled {
        Compiled::new(&self.index, &Modes { names: NameMap::default(), ..self.modes.clone() })
    }

    /// Loads what the enforcer renders into every node.
    pub fn program(&mut self) {
        self.generation += 1;
        let enforced = self.enforced();
        let inside = |address: &IpAddr| enforced.at_address(*address).is_some() || enforced.node_at(*address).is_some();
        for (node, kernel) in &self.kernels {
            let mut renderer = Renderer::new(self.options(node));
            renderer.set_generation(self.generation);
            let ruleset = renderer.update(&enforced, &Changed::Anything).clone();
            let mut transaction = replace(self.loaded, &ruleset);
            let wanted = |set: &Name| {
                let of = renderer.names().get(set).filter(|of| !of.seen);
                let addresses = of.into_iter().flat_map(|of| &*of.patterns).flat_map(|p| self.modes.names.matching(p));
                addresses.filter(|a| !inside(a)).map(|address| (address, Duration::from_secs(3600))).collect()
            };
            transaction.ops.extend(TimedElements::default().follow(&ruleset, wanted, Instant::now()));
            let committed = kernel.commit(transaction).wait();
            committed.unwrap_or_else(|error| panic!("node `{node}`: {error}\n{}", table(TABLE, &ruleset)));
        }
        self.loaded = true;
    }

    fn end(&self, id: EndpointId, family: Family) -> Option<End> {
        let endpoint = &self.compiled.entry(id)?.endpoint;
        let Address::Known(address) = *endpoint.addresses.get(family) else { return None };
        if endpoint.host_network {
            return None;
        }
        let place = self.fabric.pod(&pod_place(&endpoint.key.namespace, &endpoint.key.name));
        Some(End { party: Party::Endpoint(id), place, address, name: endpoint.key.to_string() })
    }

    fn ends(&self, family: Family) -> Vec<End> {
        let pods = self.compiled.entries().filter_map(|(id, _)| self.end(id, family));
        let nodes = self.fabric.nodes().into_iter().filter_map(|place| {
            let address = place.address(family)?;
            let name = format!("node {}", place.name());
            Some(End { party: Party::Address(address), place, address, name })
        });
        let outside = self.outside.iter().filter(|address| Family::of(**address) == family).map(|address| End {
            party: Party::Address(*address),
            place: self.fabric.outside(),
            address: *address,
            name: address.to_string(),
        });
        pods.chain(nodes).chain(outside).collect()
    }

    /// How many probes there are to make.
    pub fn count(&self) -> usize {
        let ends = Family::ALL.map(|family| self.ends(family).len().pow(2));
        ends.into_iter().sum::<usize>() * interesting_ports(&self.index).len() * Protocol::ALL.len()
    }

    /// Probes pairs with a pod in them, on every interesting port and protocol, and compares with
    /// the simulator. `pick` leaves some out; it is asked with a running number. Gives how many
    /// probes were made.
    ///
    /// # Errors
    /// Everything that did not come out as answered.
    pub fn check(&self, mut pick: impl FnMut(usize) -> bool) -> Result<usize, String> {
        let ports = interesting_ports(&self.index);
        let (mut probes, mut expected) = (Vec::new(), Vec::new());
        let mut number = 0;
        for family in Family::ALL {
            let ends = self.ends(family);
            for (a, b) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
                let is_pod = |end: &End| matches!(end.party, Party::Endpoint(_));
                if !is_pod(a) && !is_pod(b) {
                    continue;
                }
                for (protocol, port) in ports.iter().flat_map(|port| Protocol::ALL.into_iter().map(move |p| (p, *port)))
                {
                    number += 1;
                    if !pick(number) {
                        continue;
                    }
                    let decision = evaluate(&self.compiled, a.party, b.party, protocol, port, family);
                    let Some(allowed) = decision.map(|d| d.outcome).filter(|o| *o != Outcome::Unknown) else {
                        continue;
                    };
                    let allowed = allowed == Outcome::Allowed;
                    probes.push(Probe::new(&a.place, SocketAddr::new(b.address, port), protocol).source(a.address));
                    expected.push((allowed, format!("{} -> {} {protocol} {port} ({family})", a.name, b.name)));
                }
            }
        }
        let mut outcomes = Prober::default().run(&probes);
        // Lost where it should have come through: once more, with patience, before it counts.
        let again: Vec<usize> = (0..probes.len()).filter(|i| expected[*i].0 && !outcomes[*i].passed()).collect();
        let patient = Prober::default().confirm_lost();
        let second = patient.run(&again.iter().map(|i| probes[*i].clone()).collect::<Vec<_>>());
        for (i, outcome) in again.into_iter().zip(second) {
            outcomes[i] = outcome;
        }
        let mut wrong = String::new();
        for ((allowed, what), outcome) in expected.iter().zip(&outcomes) {
            if *allowed != outcome.passed() {
                let word = if *allowed { "allowed" } else { "denied" };
                _ = writeln!(wrong, "{what}: answered {word}, in the kernel {outcome:?}");
            }
        }
        if wrong.is_empty() { Ok(probes.len()) } else { Err(format!("{wrong}{}", self.describe())) }
    }

    /// All that is needed to see why.
    fn describe(&self) -> String {
        let mut text = String::from("\nthe cluster:\n");
        for pod in self.index.pods() {
            _ = writeln!(
                text,
                "  {}/{} on {:?} {:?} {:?}",
                pod.namespace, pod.name, pod.spec.node, pod.addresses, pod.spec
            );
        }
        for node in self.index.nodes() {
            _ = writeln!(text, "  node {} {:?}", node.name, node.addresses);
            let ruleset = render(&self.enforced(), &self.options(&node.name), &[], self.generation);
            _ = writeln!(text, "{}", table(TABLE, &ruleset));
        }
        text
    }
}
