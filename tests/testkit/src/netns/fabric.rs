//! Nodes, pods and the outside, joined.

use super::flow::FlowBuilder;
use super::layout::{Layout, NodeSpec, PodSpec, Wiring, of_family};
use super::message::lock;
use super::place::Place;
use super::probe::{Outcome, Probe, Prober};
use super::responder::Responder;
use super::space::{Space, in_parallel};
use super::storm::StormBuilder;
use super::wiring::{self, BRIDGE, POD_GATEWAY, UNDERLAY, UP, bridge, child, link, port, route, route_via, unroute};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A cluster's network: dropping it frees all of it. Everything works through `&self`, so that pods
/// can come and go while probes and flows are under way.
#[derive(Debug)]
pub struct Fabric {
    responder: Arc<Responder>,
    underlay: Space,
    outside: Attached,
    nodes: BTreeMap<String, Node>,
    /// Locked for as long as a change takes: one at a time.
    pods: Mutex<Pods>,
}

/// A place, and the name of the link to it where it is attached.
#[derive(Debug)]
struct Attached {
    place: Place,
    device: String,
}

#[derive(Debug)]
struct Node {
    attached: Attached,
    spec: NodeSpec,
}

#[derive(Debug, Default)]
struct Pods {
    by_name: BTreeMap<String, Pod>,
    links: usize,
}

#[derive(Debug)]
struct Pod {
    attached: Attached,
    node: String,
}

/// Settings of a node whose pods are bridged: packets between them pass its hooks.
const BRIDGED: &[(&str, &str)] = &[("bridge/bridge-nf-call-iptables", "1"), ("bridge/bridge-nf-call-ip6tables", "1")];

impl Node {
    /// What the node's own packets to pods come from: a bridge has the gateway's address.
    fn sources(&self) -> &[IpAddr] {
        match self.spec.wiring {
            Wiring::Routed => &self.spec.addresses,
            Wiring::Bridged => &self.spec.gateway,
        }
    }

    /// In the node: a link to a pod.
    fn attach(&self, device: &str, pod: &Path, addresses: &[IpAddr]) -> String {
        match self.spec.wiring {
            Wiring::Routed => link(device, pod, addresses, &POD_GATEWAY, self.sources()),
            Wiring::Bridged => port(device, pod, addresses, self.sources()),
        }
    }

    /// In a pod: its addresses, and the way out; `siblings` are the other addresses on the bridge.
    fn pod(&self, addresses: &[IpAddr], siblings: &[IpAddr]) -> String {
        match self.spec.wiring {
            Wiring::Routed => child(addresses, &POD_GATEWAY),
            Wiring::Bridged => child(addresses, &self.spec.gateway) + &beside(addresses, siblings),
        }
    }

    /// In the underlay: the way to a pod.
    fn way(&self, pod: &[IpAddr]) -> String {
        let via = |a: &IpAddr| of_family(&self.spec.addresses, Family::of(*a)).expect("nodes have both families");
        pod.iter().map(|a| route_via(*a, via(a))).collect()
    }

    fn wait_running(&self, pods: &[&Pod]) {
        let mut interfaces: Vec<String> = pods.iter().map(|p| p.attached.device.clone()).collect();
        if self.spec.wiring == Wiring::Bridged && !pods.is_empty() {
            interfaces.push(BRIDGE.to_owned());
        }
        self.attached.place.space().wait_running(&interfaces);
    }
}

/// In a pod on a bridge: addresses that are reached without the gateway.
fn beside(own: &[IpAddr], siblings: &[IpAddr]) -> String {
    let known = siblings.iter().filter(|s| of_family(own, Family::of(**s)).is_some());
    known.map(|s| route(*s, UP, own)).collect()
}

impl Fabric {
    /// Builds what a layout says, and returns when all of it carries packets.
    ///
    /// # Panics
    /// If the layout contradicts itself, or the kernel refuses.
    pub fn build(layout: &Layout) -> Self {
        check(layout);
        let responder = Arc::new(Responder::start());
        let underlay = Space::create("underlay", &[]);
        if layout.nodes.iter().any(|n| n.wiring == Wiring::Bridged) {
            assert_bridge_filter();
        }
        let outside = Attached {
            place: Place::new("outside", Space::create("outside", &[]), &layout.outside_addresses(), &responder),
            device: "outside".to_owned(),
        };
        let nodes = in_parallel(&layout.nodes, |spec| {
            let settings = if spec.wiring == Wiring::Bridged { BRIDGED } else { &[] };
            Place::new(&spec.name, Space::create(&spec.name, settings), &spec.addresses, &responder)
        });
        let nodes: BTreeMap<String, Node> = (0..)
            .zip(layout.nodes.iter().zip(nodes))
            .map(|(i, (spec, place))| {
                let attached = Attached { place, device: format!("node{i}") };
                (spec.name.clone(), Node { attached, spec: spec.clone() })
            })
            .collect();
        let pods = in_parallel(&layout.pods, |spec| {
            Place::new(&spec.name, Space::create(&spec.name, &[]), &spec.addresses, &responder)
        });
        let by_name: BTreeMap<String, Pod> = (0..)
            .zip(layout.pods.iter().zip(pods))
            .map(|(i, (spec, place))| {
                let attached = Attached { place, device: format!("veth{i}") };
                (spec.name.clone(), Pod { attached, node: spec.node.clone() })
            })
            .collect();
        let pods = Pods { links: by_name.len(), by_name };
        let fabric = Self { responder, underlay, outside, nodes, pods: Mutex::new(pods) };
        fabric.join(&lock(&fabric.pods));
        fabric
    }

    /// Joins everything for the first time: the underlay to nodes and the outside, these to pods.
    fn join(&self, pods: &Pods) {
        let on = |node: &str| pods.by_name.values().filter(|p| p.node == node).collect::<Vec<_>>();
        // Without addresses of its own the underlay could not say that it knows no way.
        let mut lines = String::from("link set lo up\naddr add 172.31.255.255/32 dev lo\n");
        lines.push_str("addr add fd00:31::ffff/128 dev lo\n");
        for attached in self.nodes.values().map(|n| &n.attached).chain([&self.outside]) {
            let Attached { place, device } = attached;
            lines.push_str(&link(device, place.netns_path(), &place.addresses(), &UNDERLAY, &[]));
        }
        lines.extend(pods.by_name.values().map(|p| self.nodes[&p.node].way(&p.attached.place.addresses())));
        self.underlay.ip(&lines);
        let nodes: Vec<&Node> = self.nodes.values().collect();
        in_parallel(&nodes, |node| {
            let place = &node.attached.place;
            let mut lines = child(&place.addresses(), &UNDERLAY);
            if node.spec.wiring == Wiring::Bridged {
                lines.push_str(&bridge(&node.spec.gateway));
            }
            for Pod { attached, .. } in on(place.name()) {
                lines.push_str(&node.attach(
                    &attached.device,
                    attached.place.netns_path(),
                    &attached.place.addresses(),
                ));
            }
            place.space().ip(&lines);
        });
        let outside = &self.outside.place;
        outside.space().ip(&child(&outside.addresses(), &UNDERLAY));
        let all: Vec<&Pod> = pods.by_name.values().collect();
        in_parallel(&all, |pod| {
            let place = &pod.attached.place;
            let siblings: Vec<IpAddr> = on(&pod.node)
                .into_iter()
                .filter(|p| p.attached.place != *place)
                .flat_map(|p| p.attached.place.addresses())
                .collect();
            place.space().ip(&self.nodes[&pod.node].pod(&place.addresses(), &siblings));
        });
        let uplinks = self.nodes.values().map(|n| &n.attached).chain([&self.outside]);
        self.underlay.wait_running(&uplinks.map(|a| a.device.clone()).collect::<Vec<_>>());
        in_parallel(&nodes, |node| node.wait_running(&on(node.attached.place.name())));
        let hosts = self.nodes.values().map(|n| &n.attached).chain([&self.outside]);
        let places: Vec<&Place> = all.iter().map(|p| &p.attached).chain(hosts).map(|a| &a.place).collect();
        self.underlay.wait_neighbours();
        in_parallel(&places, |place| {
            place.space().wait_neighbours();
            place.answer_sctp(&place.addresses());
        });
    }

    /// Adds a pod; its addresses may be those of one that was removed.
    ///
    /// # Panics
    /// If there is no such node, or the name or an address is taken.
    pub fn add_pod(&self, name: &str, node: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Place {
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        let on = self.nodes.get(node).unwrap_or_else(|| panic!("there is no node `{node}` for pod `{name}`"));
        let mut pods = lock(&self.pods);
        assert!(!pods.by_name.contains_key(name), "there is a pod `{name}` already");
        for address in &addresses {
            if let Some(owner) = self.owner(&pods, *address) {
                panic!("address {address} of pod `{name}` is that of `{owner}`");
            }
        }
        let place = Place::new(name, Space::create(name, &[]), &addresses, &self.responder);
        let device = format!("veth{}", pods.links);
        pods.links += 1;
        on.attached.place.space().ip(&on.attach(&device, place.netns_path(), &addresses));
        let siblings = siblings(&pods, on, name);
        let theirs: Vec<IpAddr> = siblings.iter().flat_map(Place::addresses).collect();
        place.space().ip(&on.pod(&addresses, &theirs));
        in_parallel(&siblings, |sibling| sibling.space().ip(&beside(&sibling.addresses(), &addresses)));
        self.underlay.ip(&on.way(&addresses));
        let pod = Pod { attached: Attached { place: place.clone(), device }, node: node.to_owned() };
        on.wait_running(&[&pod]);
        on.attached.place.space().wait_neighbours();
        place.space().wait_neighbours();
        place.answer_sctp(&addresses);
        pods.by_name.insert(name.to_owned(), pod);
        place
    }

    /// Removes a pod: when this returns its link is gone and its addresses are free.
    ///
    /// # Panics
    /// If there is no such pod.
    pub fn remove_pod(&self, name: &str) {
        let mut pods = lock(&self.pods);
        let pod = pods.by_name.remove(name).unwrap_or_else(|| panic!("there is no pod `{name}`"));
        let Attached { place, device } = &pod.attached;
        let node = &self.nodes[&pod.node];
        let addresses = place.addresses();
        let gone: String = addresses.iter().map(|a| unroute(*a)).collect();
        let mut lines = format!("link del {device}\n");
        if node.spec.wiring == Wiring::Bridged {
            lines.push_str(&gone);
        }
        node.attached.place.space().ip(&lines);
        self.underlay.ip(&gone);
        in_parallel(&siblings(&pods, node, name), |sibling| {
            let own = sibling.addresses();
            let known = addresses.iter().filter(|a| of_family(&own, Family::of(**a)).is_some());
            sibling.space().ip(&known.map(|a| unroute(*a)).collect::<String>());
        });
        self.responder.forget(place.id());
    }

    /// One more address for the outside, to be asked for and to ask from.
    ///
    /// # Panics
    /// If somebody has it.
    pub fn add_outside_address(&self, address: IpAddr) {
        if let Some(owner) = self.owner(&lock(&self.pods), address) {
            panic!("address {address} for the outside is that of `{owner}`");
        }
        let Attached { place, device } = &self.outside;
        place.space().ip(&wiring::own(address));
        place.space().wait_neighbours();
        self.underlay.ip(&route(address, device, &[]));
        place.add_address(address);
    }

    /// A pod by its name.
    ///
    /// # Panics
    /// If there is none.
    pub fn pod(&self, name: &str) -> Place {
        let pods = lock(&self.pods);
        let pod = pods.by_name.get(name).unwrap_or_else(|| panic!("there is no pod `{name}`"));
        pod.attached.place.clone()
    }

    /// A node by its name.
    ///
    /// # Panics
    /// If there is none.
    pub fn node(&self, name: &str) -> Place {
        let node = self.nodes.get(name).unwrap_or_else(|| panic!("there is no node `{name}`"));
        node.attached.place.clone()
    }

    /// The node that a pod is on.
    ///
    /// # Panics
    /// If there is no such pod.
    pub fn node_of(&self, pod: &str) -> Place {
        let pods = lock(&self.pods);
        let pod = pods.by_name.get(pod).unwrap_or_else(|| panic!("there is no pod `{pod}`"));
        self.nodes[&pod.node].attached.place.clone()
    }

    /// A machine outside of the cluster, with any number of addresses.
    pub fn outside(&self) -> Place {
        self.outside.place.clone()
    }

    /// All pods, by name.
    pub fn pods(&self) -> Vec<Place> {
        lock(&self.pods).by_name.values().map(|p| p.attached.place.clone()).collect()
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> Vec<Place> {
        self.nodes.values().map(|n| n.attached.place.clone()).collect()
    }

    /// Asks many questions at once, with the default patience; see [`Prober`] for another.
    pub fn probe_all(&self, probes: &[Probe]) -> Vec<Outcome> {
        Prober::default().run(probes)
    }

    /// Asks one question.
    pub fn probe(&self, probe: &Probe) -> Outcome {
        self.probe_all(std::slice::from_ref(probe))[0]
    }

    /// A connection that lasts: see [`Flow`](super::Flow). A place whose address is asked for listens
    /// on that port from now on; the backends of a service have to be told so.
    pub fn flow(&self, from: &Place, to: SocketAddr, protocol: Protocol) -> FlowBuilder {
        if let Some(owner) = self.owner(&lock(&self.pods), to.ip()) {
            owner.listen(protocol, to.port());
        }
        FlowBuilder::new(from, to, protocol, self.responder.ledger())
    }

    /// New connections without a pause, over all of these in turn: see [`Storm`](super::Storm).
    pub fn storm(&self, probes: impl IntoIterator<Item = Probe>) -> StormBuilder {
        StormBuilder::new(probes.into_iter().collect())
    }

    fn owner(&self, pods: &Pods, address: IpAddr) -> Option<Place> {
        let nodes = self.nodes.values().map(|n| &n.attached);
        let pods = pods.by_name.values().map(|p| &p.attached);
        nodes.chain(pods).chain([&self.outside]).map(|a| &a.place).find(|p| p.has(address)).cloned()
    }
}

/// The other pods on a bridge.
fn siblings(pods: &Pods, node: &Node, name: &str) -> Vec<Place> {
    let bridged = node.spec.wiring == Wiring::Bridged;
    let on_it = |p: &&Pod| bridged && p.node == node.spec.name && p.attached.place.name() != name;
    pods.by_name.values().filter(on_it).map(|p| p.attached.place.clone()).collect()
}

fn check(layout: &Layout) {
    let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
    let outside = layout.outside_addresses();
    let all = layout
        .nodes
        .iter()
        .map(|n| (n.name.as_str(), &n.addresses))
        .chain(layout.pods.iter().map(|p| (p.name.as_str(), &p.addresses)))
        .chain([("outside", &outside)]);
    for (name, addresses) in all {
        for address in addresses {
            if let Some(other) = owners.insert(*address, name) {
                panic!("address {address} is that of both `{other}` and `{name}`");
            }
        }
    }
    for PodSpec { name, node, .. } in &layout.pods {
        assert!(layout.nodes.iter().any(|n| n.name == *node), "there is no node `{node}` for pod `{name}`");
    }
    for (what, names) in [
        ("pods", layout.pods.iter().map(|p| &p.name).collect::<Vec<_>>()),
        ("nodes", layout.nodes.iter().map(|n| &n.name).collect()),
    ] {
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.into_iter().find(|name| !seen.insert(*name)) {
            panic!("two {what} are called `{twice}`");
        }
    }
}

/// Without it, packets between pods on one bridge pass no hook, and whatever a test says about them
/// is not about filters.
fn assert_bridge_filter() {
    assert!(
        Path::new("/proc/sys/net/bridge").exists(),
        "bridged nodes need the kernel module `br_netfilter`: load it (`modprobe br_netfilter`)"
    );
}
