//! Random clusters, policies, modes and changes, dense in edge cases.
//!
//! Everything is drawn from tiny vocabularies, so that labels, names, ports and addresses collide
//! all the time. Each object is made twice at once: as the manifest that a person would write and as
//! the typed object that it means ([`Written`]); the second reading is independent of `ingest`, so
//! that the parser can be tested against it. What is printed when a property fails is the manifests
//! as YAML: they can be saved as a fixture as they are.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::Modes;
use netsim_shared::diagnostic::Severity;
use netsim_shared::dns::{NameMap, NamePattern, refuse::Refusals, refuse::private_ranges};
use netsim_shared::ingest::ingest;
use netsim_shared::net::Family;
use netsim_shared::object::{
    ClusterNode, ContainerPort, Life, NAMESPACE_NAME_LABEL, Namespace, Object, Origin, Owner, Pod, PodSpec, Service,
    ServiceKind, ServicePort, TargetPort, Workload, WorkloadKind,
};
use netsim_shared::policy::{IpBlock, NamedPort, NetworkPolicy, Peer, PolicyKind, PortMatch, Rule};
use netsim_shared::ports::{MAX_PORT, MIN_PORT, PortRange, Protocol};
use netsim_shared::selector::{Condition, Labels, Requirement, Selector};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The namespaces; the first is what manifests without one mean.
pub const NAMESPACES: [&str; 4] = ["default", "a", "b", "c"];
/// The keys of pods' labels.
const POD_KEYS: [&str; 2] = ["app", "tier"];
/// Their values: an empty one, and those that YAML reads as something else unless they are quoted.
const POD_VALUES: [&str; 4] = ["red", "blue", "", "1"];
/// The keys of namespaces' labels.
const NAMESPACE_KEYS: [&str; 2] = ["team", NAMESPACE_NAME_LABEL];
/// Their values: names of namespaces among them.
const NAMESPACE_VALUES: [&str; 4] = ["red", "true", "a", "b"];
/// The names of ports.
const PORT_NAMES: [&str; 2] = ["http", "dns"];
/// The numbers of ports, and the ends of ranges of them.
const PORTS: [u16; 6] = [MIN_PORT, 80, 81, 82, 65534, MAX_PORT];
/// The addresses of pods.
const V4: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.0.0.127", "10.0.0.128", "10.0.1.1"];
/// The same of the other family.
const V6: [&str; 4] = ["fd00::1", "fd00::2", "fd00:0:0:1::1", "ffff::1"];
/// The nodes with their addresses.
const NODES: [(&str, &str, &str); 3] = [
    ("n0", "192.168.0.10", "fd00:ffff::10"),
    ("n1", "192.168.0.11", "fd00:ffff::11"),
    ("n2", "10.0.0.2", "fd00:ffff::12"),
];
/// The IPv4 blocks of policies; many lie in one another, side by side, or add up.
const BLOCKS_V4: [&str; 14] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.0.0.0/23",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.0.0.0/25",
    "10.0.0.128/25",
    "10.0.0.1/32",
    "10.0.0.2/32",
    "192.168.0.0/16",
    "192.168.0.10/32",
    "255.255.255.255/32",
];
/// The IPv6 blocks.
const BLOCKS_V6: [&str; 9] = [
    "::/0",
    "::/1",
    "8000::/1",
    "fd00::/63",
    "fd00::/64",
    "fd00:0:0:1::/64",
    "fd00::1/128",
    "fd00:ffff::/120",
    "ffff::/16",
];
/// Names outside the cluster.
pub const NAMES: [&str; 4] = ["example.com", "a.example.com", "b.a.example.com", "c.example.com"];
/// What policies write of them.
const PATTERNS: [&str; 6] =
    ["example.com", "a.example.com", "b.a.example.com", "*.example.com", "*.a.example.com", "other.example"];
/// The ranges of pod addresses that nodes or modes name.
const POD_RANGES: [&str; 5] = ["10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/23", "fd00::/64", "fd00:0:0:1::/64"];

/// Addresses that are no pod's, or stand for one: in blocks and out of them, the first and the last
/// of a family, and those of nodes.
pub const OUTSIDE: [&str; 12] = [
    "0.0.0.0",
    "8.8.8.8",
    "10.0.0.1",
    "10.0.0.200",
    "192.168.0.10",
    "192.168.0.11",
    "255.255.255.255",
    "::",
    "2001:db8::1",
    "fd00::1",
    "fd00:ffff::10",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

/// Something as it is written in a manifest, and what it means.
#[derive(Clone, PartialEq)]
pub struct Written<T> {
    /// What stands in the manifest; `Null` where nothing stands.
    pub text: Value,
    /// What it means.
    pub means: T,
}

/// An object.
pub type Manifest = Written<Object>;

impl<T> fmt::Debug for Written<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_yaml(&self.text, true))
    }
}

impl Manifest {
    /// The same under another name.
    pub fn named(mut self, name: &str) -> Self {
        if let Some(place) = self.text.pointer_mut("/metadata/name") {
            *place = name.into();
        }
        let name = name.into();
        match &mut self.means {
            Object::Namespace(o) => o.name = name,
            Object::Pod(o) => o.name = name,
            Object::Workload(o) => o.name = name,
            Object::Service(o) => o.name = name,
            Object::EndpointSlice(o) => o.name = name,
            Object::Node(o) => o.name = name,
            Object::NetworkPolicy(o) => o.name = o.kind.name_of(&name),
            Object::Foreign(o) => o.name = name,
            Object::Role(o) => o.name = name,
            Object::RoleBinding(o) => o.name = name,
        }
        self
    }
}

/// A cluster, as manifests, and the modes to look at it with.
#[derive(Clone, PartialEq)]
pub struct Cluster {
    /// The objects; their names are unique.
    pub manifests: Vec<Manifest>,
    /// The modes.
    pub modes: Modes,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n# {:?}", self.modes)?;
        self.manifests.iter().try_for_each(|manifest| write!(f, "---\n{manifest:?}"))
    }
}

impl Cluster {
    /// The objects, read from the manifests by `ingest`.
    ///
    /// # Panics
    /// When `ingest` finds an error: only valid manifests are made here.
    pub fn index(&self) -> ClusterIndex {
        ClusterIndex::new(self.manifests.iter().flat_map(read))
    }
}

/// What `ingest` reads in a manifest.
///
/// # Panics
/// When it finds an error: only valid manifests are made here.
pub fn read(manifest: &Manifest) -> Vec<Object> {
    let text = manifest.text.to_string();
    let ingested = ingest("manifest.json", text.as_bytes(), NAMESPACES[0]);
    let errors = ingested.diagnostics.iter().find(|d| d.severity == Severity::Error);
    assert!(errors.is_none(), "a valid manifest is refused: {errors:?}\n{text}");
    ingested.objects
}

/// A change of a cluster.
#[derive(Clone)]
pub enum Op {
    /// An object comes, or changes.
    Apply(Box<Manifest>),
    /// An object that was applied before is applied again.
    Again(usize),
    /// A pod goes: which of those that are there.
    DeletePod(usize),
    /// A policy goes.
    DeletePolicy(usize),
    /// A namespace goes.
    DeleteNamespace(usize),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Apply(manifest) => write!(f, "apply\n{manifest:?}"),
            Op::Again(which) => write!(f, "apply what is there: manifest {which}"),
            Op::DeletePod(which) => write!(f, "delete pod {which}"),
            Op::DeletePolicy(which) => write!(f, "delete policy {which}"),
            Op::DeleteNamespace(which) => write!(f, "delete namespace {which}"),
        }
    }
}

/// Random clusters.
pub fn cluster() -> impl Strategy<Value = Cluster> {
    let objects = (
        NAMESPACES.map(|name| weighted(0.6, namespace(name))),
        vec(pod(), 1..=7),
        vec(workload(), 0..=2),
        NODES.map(|(name, ..)| weighted(0.4, node(name))),
        vec(policy(), 1..=6),
        weighted(0.1, service()),
    );
    (objects, modes()).prop_map(|((namespaces, pods, workloads, nodes, policies, service), modes)| {
        let number = |prefix: &'static str, list: Vec<Manifest>| {
            list.into_iter().enumerate().map(move |(i, m)| m.named(&format!("{prefix}{i}")))
        };
        let manifests = namespaces
            .into_iter()
            .flatten()
            .chain(nodes.into_iter().flatten())
            .chain(number("w", workloads))
            .chain(number("p", pods))
            .chain(number("np", policies))
            .chain(service)
            .collect();
        Cluster { manifests, modes }
    })
}

/// Random changes: mostly of what [`cluster`] makes, as it makes it.
pub fn op() -> impl Strategy<Value = Op> {
    let name = |prefix: &'static str| (0..5_usize).prop_map(move |i| format!("{prefix}{i}"));
    let called = |(manifest, name): (Manifest, String)| -> Op { Op::Apply(Box::new(manifest.named(&name))) };
    let namespaces = NAMESPACES.map(namespace);
    let nodes = NODES.map(|(name, ..)| node(name));
    let any_of = |list: Vec<BoxedStrategy<Manifest>>| {
        (0..list.len(), list).prop_map(|(which, mut all)| Op::Apply(Box::new(all.swap_remove(which))))
    };
    prop_oneof![
        6 => (pod(), name("p")).prop_map(called),
        6 => (policy(), name("np")).prop_map(called),
        4 => any_of(namespaces.into_iter().map(Strategy::boxed).collect()),
        1 => any_of(nodes.into_iter().map(Strategy::boxed).collect()),
        1 => (workload(), name("w")).prop_map(called),
        1 => service().prop_map(|manifest| Op::Apply(Box::new(manifest))),
        2 => any::<usize>().prop_map(Op::Again),
        4 => any::<usize>().prop_map(Op::DeletePod),
        4 => any::<usize>().prop_map(Op::DeletePolicy),
        2 => any::<usize>().prop_map(Op::DeleteNamespace),
    ]
}

/// Random modes, the default ones most often.
pub fn modes() -> impl Strategy<Value = Modes> {
    let rarely = || prop_oneof![4 => Just(false), 1 => Just(true)];
    let ranges = prop_oneof![3 => Just(Vec::new()), 1 => vec(select(&POD_RANGES[..]), 1..3)];
    let names = prop_oneof![2 => Just(NameMap::default()), 1 => name_map()];
    (rarely(), rarely(), any::<bool>(), ranges, names).prop_map(
        |(no_pods, host_network_pods, strict, ranges, names)| Modes {
            ip_block_matches_pods: !no_pods,
            host_network_pods,
            strict,
            pod_cidrs: ranges.into_iter().map(net).collect(),
            names,
        },
    )
}

/// What names stand for: addresses outside, of pods and of nodes, as far as they are not refused.
fn name_map() -> impl Strategy<Value = NameMap> {
    let addresses = prop_oneof![2 => select(&OUTSIDE[..]), 1 => select(&V4[..])];
    let known = vec((select(&NAMES[..]), vec(addresses, 0..4)), 0..5);
    let ranges = prop_oneof![3 => Just(Vec::new()), 1 => vec(select(&POD_RANGES[..]), 1..3)];
    (known, ranges, any::<bool>(), any::<bool>()).prop_map(|(known, ranges, private, complete)| {
        let opted_in = Family::ALL.into_iter().flat_map(|family| private_ranges().get(family).to_vec());
        let refusals = Refusals {
            pods: ranges.into_iter().map(net).collect(),
            opted_in: opted_in.filter(|_| private).collect(),
            ..Refusals::default()
        };
        let mut map = NameMap::new(refusals, complete);
        for (name, addresses) in known {
            map.insert(name.parse().expect("a name"), addresses.into_iter().map(address));
        }
        map
    })
}

/// The same names, and no other stands for anything: what lists tell of addresses (G6b).
pub fn closed(names: &NameMap) -> NameMap {
    let opted_in = Family::ALL.map(Family::whole).to_vec();
    let mut closed = NameMap::new(Refusals { opted_in, ..Refusals::default() }, true);
    for (name, addresses) in names.names() {
        closed.insert(name.clone(), addresses.iter().copied());
    }
    closed
}

/// A namespace that is defined.
fn namespace(name: &'static str) -> impl Strategy<Value = Manifest> {
    labels(&NAMESPACE_KEYS, &NAMESPACE_VALUES).prop_map(move |labels| {
        let text = object("v1", "Namespace", metadata(name, None, &labels));
        // B4: the control plane's label is there whatever the manifest says.
        let labels = labels.means.with(NAMESPACE_NAME_LABEL, name);
        let means = Object::Namespace(Namespace { name: name.into(), labels, origin: Origin::default() });
        Written { text, means }
    })
}

/// A node with a part of its addresses and ranges.
fn node(name: &'static str) -> impl Strategy<Value = Manifest> {
    let own = NODES.iter().filter(move |(n, ..)| *n == name).flat_map(|(_, v4, v6)| [*v4, *v6]).collect::<Vec<_>>();
    let addresses = (proptest::bool::weighted(0.7), proptest::bool::weighted(0.5));
    (addresses, vec(select(&POD_RANGES[..]), 0..3)).prop_map(move |((v4, v6), ranges)| {
        let given: Vec<&str> = own.iter().zip([v4, v6]).filter(|(_, given)| *given).map(|(a, _)| *a).collect();
        let mut text = object("v1", "Node", json!({"name": name}));
        if let Some(first) = ranges.first() {
            text["spec"] = json!({"podCIDR": first, "podCIDRs": ranges});
        }
        if !given.is_empty() {
            let listed = given.iter().map(|a| json!({"type": "InternalIP", "address": a}));
            let host = json!({"type": "Hostname", "address": name});
            text["status"] = json!({"addresses": listed.chain([host]).collect::<Vec<_>>()});
        }
        let addresses = given.iter().map(|a| address(a)).collect();
        let mut distinct = ranges;
        distinct.dedup();
        let pod_cidrs = distinct.into_iter().map(net).collect();
        let means = ClusterNode { name: name.into(), addresses, pod_cidrs, origin: Origin::default() };
        Written { text, means: Object::Node(means) }
    })
}

/// A Service: it says nothing of who may talk, but of the families in use.
fn service() -> impl Strategy<Value = Manifest> {
    let addresses = prop_oneof![Just("10.96.0.1"), Just("fd00:96::1"), Just("None")];
    (a_namespace(), addresses, a_port()).prop_map(|(namespace, own, port)| {
        let mut text = object("v1", "Service", metadata("s", Some(namespace), &Written::default()));
        text["spec"] = json!({"clusterIP": own, "ports": [{"port": port, "targetPort": "http"}]});
        let target = TargetPort::Name("http".into());
        let means = Service {
            namespace: namespace.into(),
            name: "s".into(),
            kind: if own == "None" { ServiceKind::Headless } else { ServiceKind::ClusterIp },
            selector: None,
            ports: vec![ServicePort { name: None, port, target, node_port: None, protocol: Protocol::Tcp }],
            cluster_addresses: if own == "None" { Vec::new() } else { vec![address(own)] },
            external_addresses: Vec::new(),
            keeps_source: false,
            origin: Origin::default(),
        };
        Written { text, means: Object::Service(means) }
    })
}

/// A controller that is, or is not, among the workloads of a cluster.
fn owner() -> impl Strategy<Value = Written<Option<Owner>>> {
    const KINDS: [&str; 5] = ["ReplicaSet", "Deployment", "StatefulSet", "Job", "Foreman"];
    let owned = (select(&KINDS[..]), select(&["w0", "w1"][..]), proptest::bool::weighted(0.8));
    let owned = owned.prop_map(|(kind, name, controls)| Written {
        text: json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": controls, "uid": "u"}]),
        means: controls.then(|| Owner { kind: kind.into(), name: name.into() }),
    });
    prop_oneof![2 => Just(Written { text: Value::Null, means: None }), 1 => owned]
}

/// What pods and templates have, but for labels: `spec` and its meaning without them.
fn pod_spec() -> impl Strategy<Value = Written<PodSpec>> {
    let port = (weighted(0.7, select(&PORT_NAMES[..])), a_port(), a_protocol()).prop_map(|(name, port, protocol)| {
        let mut text = Map::new();
        put(&mut text, "name", name.map(Value::from));
        put(&mut text, "containerPort", Some(port.into()));
        put(&mut text, "protocol", protocol.map(|p| p.as_str().into()));
        let protocol = protocol.unwrap_or(Protocol::Tcp);
        let means = ContainerPort { name: name.map(Into::into), port, protocol, host_port: None };
        Written { text: text.into(), means }
    });
    let container = |port: BoxedStrategy<Written<ContainerPort>>| vec(port, 0..3);
    let port = port.boxed();
    let host = prop_oneof![8 => Just(None), 1 => Just(Some(false)), 3 => Just(Some(true))];
    let init = prop_oneof![4 => Just(None), 1 => (any::<bool>(), container(port.clone())).prop_map(Some)];
    (vec(container(port), 0..=2), init, host, weighted(0.5, 0..NODES.len())).prop_map(
        |(containers, init, host, node)| {
            let node = node.and_then(|i| NODES.get(i)).map(|(name, ..)| *name);
            let texts = |ports: &[Written<ContainerPort>]| ports.iter().map(|p| p.text.clone()).collect::<Vec<_>>();
            let container = |(i, ports): (usize, &Vec<_>)| json!({"name": format!("c{i}"), "ports": texts(ports)});
            let mut text = Map::new();
            put(&mut text, "nodeName", node.map(Value::from));
            put(&mut text, "hostNetwork", host.map(Value::from));
            let listed: Vec<Value> = containers.iter().enumerate().map(container).collect();
            put(&mut text, "containers", Some(listed.into()));
            let mut ports: Vec<ContainerPort> = containers.into_iter().flatten().map(|p| p.means).collect();
            if let Some((stays, of_init)) = init {
                let restart = if stays { json!("Always") } else { Value::Null };
                let init = json!([{"name": "i", "restartPolicy": restart, "ports": texts(&of_init)}]);
                put(&mut text, "initContainers", Some(init));
                // C3: the ports of init containers that stay count.
                ports.extend(of_init.into_iter().filter(|_| stays).map(|p| p.means));
            }
            let labels = Labels::default();
            let means = PodSpec {
                labels,
                ports,
                host_network: host == Some(true),
                node: node.map(Into::into),
                ..PodSpec::default()
            };
            Written { text: text.into(), means }
        },
    )
}

/// A pod in any phase, in a file or from a cluster.
pub fn pod() -> impl Strategy<Value = Manifest> {
    const PHASES: [Option<&str>; 11] = [
        None,
        None,
        None,
        Some(""),
        Some("Running"),
        Some("Running"),
        Some("Running"),
        Some("Pending"),
        Some("Unknown"),
        Some("Succeeded"),
        Some("Failed"),
    ];
    let own = prop_oneof![1 => Just(None), 2 => (weighted(0.7, select(&V4[..])), weighted(0.5, select(&V6[..]))).prop_map(Some)];
    // The pod's own node as a rule; 3 is none, and another's now and then.
    let host = prop_oneof![3 => Just(None), 6 => Just(Some(None)), 1 => (0..NODES.len()).prop_map(|i| Some(Some(i)))];
    let status = (select(&PHASES[..]), own, host, any::<bool>());
    let head = (a_namespace(), proptest::bool::weighted(0.5), labels(&POD_KEYS, &POD_VALUES), owner());
    (head, pod_spec(), status).prop_map(|((namespace, says_so, labels, owner), spec, (phase, own, host, host_dual))| {
        let node = spec.means.node.as_deref();
        let of_node = |name: &str| NODES.iter().find(|(n, ..)| *n == name);
        let host = host.and_then(|other| other.and_then(|i| NODES.get(i)).or_else(|| node.and_then(of_node)));
        let host: Vec<&str> =
            host.into_iter().flat_map(|(_, v4, v6)| [*v4, *v6]).take(1 + usize::from(host_dual)).collect();
        let (v4, v6) = own.unwrap_or_default();
        let own: Vec<&str> = v4.into_iter().chain(v6).collect();
        let mut status = Map::new();
        put(&mut status, "phase", phase.map(Value::from));
        let holders = |list: &[&str]| -> Value { list.iter().map(|ip| json!({"ip": ip})).collect() };
        for (one, many, list) in [("podIP", "podIPs", &own), ("hostIP", "hostIPs", &host)] {
            put(&mut status, one, list.first().map(|ip| (*ip).into()));
            put(&mut status, many, (list.len() > 1).then(|| holders(list)));
        }
        let hides_namespace = namespace == NAMESPACES[0] && !says_so;
        let mut metadata = metadata("p", (!hides_namespace).then_some(namespace), &labels);
        metadata["ownerReferences"] = owner.text;
        let mut text = object("v1", "Pod", metadata);
        text["spec"] = spec.text;
        if !status.is_empty() {
            text["status"] = status.into();
        }
        let parsed = |list: &[&str]| list.iter().map(|a| address(a)).collect::<Vec<_>>();
        let (own, host_addresses) = (parsed(&own), parsed(&host));
        let spec = PodSpec { labels: labels.means, ..spec.means };
        let addresses = if own.is_empty() && spec.host_network { host_addresses.clone() } else { own };
        let life = match phase.unwrap_or_default() {
            "Succeeded" | "Failed" => Life::Terminal,
            "" if addresses.is_empty() => Life::Manifest,
            "Pending" if addresses.is_empty() => Life::Waiting,
            _ if addresses.is_empty() && !spec.host_network => Life::Waiting,
            _ => Life::Live,
        };
        let means = Pod {
            namespace: namespace.into(),
            name: "p".into(),
            uid: "".into(),
            spec,
            owner: owner.means,
            life,
            addresses,
            host_addresses,
            origin: Origin::default(),
        };
        Written { text, means: Object::Pod(Box::new(means)) }
    })
}

/// A workload of any kind.
pub fn workload() -> impl Strategy<Value = Manifest> {
    (a_namespace(), select(&WorkloadKind::ALL[..]), labels(&POD_KEYS, &POD_VALUES), pod_spec(), owner()).prop_map(
        |(namespace, kind, labels, spec, owner)| {
            let group = match kind {
                WorkloadKind::ReplicationController => "v1",
                WorkloadKind::Job | WorkloadKind::CronJob => "batch/v1",
                _ => "apps/v1",
            };
            let mut metadata = metadata("w", Some(namespace), &Written::default());
            metadata["ownerReferences"] = owner.text;
            let mut text = object(group, kind.kind(), metadata);
            let template = json!({"template": {"metadata": {"labels": labels.text}, "spec": spec.text}});
            let in_job = kind == WorkloadKind::CronJob;
            text["spec"] = if in_job { json!({"jobTemplate": {"spec": template}}) } else { template };
            let means = Workload {
                kind,
                namespace: namespace.into(),
                name: "w".into(),
                template: PodSpec { labels: labels.means, ..spec.means },
                owner: owner.means,
                origin: Origin::default(),
            };
            Written { text, means: Object::Workload(means) }
        },
    )
}

/// A policy of any kind and shape that is valid.
pub fn policy() -> impl Strategy<Value = Manifest> {
    prop_oneof![6 => network_policy(), 1 => egress_domain_policy()]
}

/// An EgressDomainPolicy.
fn egress_domain_policy() -> impl Strategy<Value = Manifest> {
    let items = vec(vec(select(&PATTERNS[..]), 1..3), 1..3);
    let numbered =
        port_match().prop_filter("ports outside have no names", |port| !matches!(port.means, PortMatch::Named(_)));
    let rule = (items, prop_oneof![2 => Just(None), 3 => vec(numbered, 0..3).prop_map(Some)]);
    (a_namespace(), selector(&POD_KEYS, &POD_VALUES), vec(rule, 0..3)).prop_map(|(namespace, selector, rules)| {
        let mut means = Vec::new();
        let mut texts = Vec::new();
        for (items, ports) in rules {
            let mut text = Map::new();
            put(&mut text, "to", Some(items.iter().map(|names| json!({"domainNames": names})).collect()));
            put(&mut text, "ports", ports.as_ref().map(|list| list.iter().map(|p| p.text.clone()).collect()));
            texts.push(Value::from(text));
            let patterns = |names: &Vec<&str>| -> Vec<NamePattern> {
                names.iter().map(|name| name.parse().expect("a pattern")).collect()
            };
            let peers = items.iter().map(|names| Peer::Names(patterns(names))).collect();
            let ports: Option<Vec<PortMatch>> = ports.map(|list| list.into_iter().map(|p| p.means).collect());
            means.push(Rule { peers: Some(peers), ports: ports.filter(|list| !list.is_empty()) });
        }
        let metadata = metadata("edp", Some(namespace), &Written::default());
        let mut text = object("netsim.dev/v1alpha1", "EgressDomainPolicy", metadata);
        text["spec"] = json!({"podSelector": selector.text, "egress": texts});
        let policy = NetworkPolicy {
            kind: PolicyKind::EgressDomainPolicy,
            namespace: namespace.into(),
            name: PolicyKind::EgressDomainPolicy.name_of("edp"),
            pod_selector: selector.means,
            ingress: None,
            egress: Some(means),
            origin: Origin::default(),
        };
        Written { text, means: Object::NetworkPolicy(policy) }
    })
}

/// A NetworkPolicy.
fn network_policy() -> impl Strategy<Value = Manifest> {
    const TYPES: [Option<&[&str]>; 7] = [
        None,
        None,
        Some(&[]),
        Some(&["Ingress"]),
        Some(&["Egress"]),
        Some(&["Ingress", "Egress"]),
        Some(&["Egress", "Ingress"]),
    ];
    let list = |field| prop_oneof![1 => Just(None), 4 => vec(rule(field), 0..4).prop_map(Some)];
    let selector = prop_oneof![9 => selector(&POD_KEYS, &POD_VALUES).prop_map(Some), 1 => Just(None)];
    (a_namespace(), selector, select(&TYPES[..]), list("from"), list("to")).prop_map(
        |(namespace, selector, types, ingress, egress)| {
            let texts = |rules: &Vec<Written<Rule>>| rules.iter().map(|rule| rule.text.clone()).collect::<Value>();
            let mut spec = Map::new();
            put(&mut spec, "podSelector", selector.as_ref().map(|s| s.text.clone()));
            put(&mut spec, "policyTypes", types.map(Value::from));
            put(&mut spec, "ingress", ingress.as_ref().map(texts));
            put(&mut spec, "egress", egress.as_ref().map(texts));
            let mut text =
                object("networking.k8s.io/v1", "NetworkPolicy", metadata("np", Some(namespace), &Written::default()));
            text["spec"] = spec.into();
            // A2: without types every policy is about ingress, and about egress when it has such rules.
            let listed = |name: &str| types.filter(|t| !t.is_empty()).map(|types| types.contains(&name));
            let has_egress = egress.as_ref().is_some_and(|rules| !rules.is_empty());
            let (for_ingress, for_egress) = (listed("Ingress").unwrap_or(true), listed("Egress").unwrap_or(has_egress));
            let meant = |rules: Option<Vec<Written<Rule>>>| -> Vec<Rule> {
                rules.into_iter().flatten().map(|rule| rule.means).collect()
            };
            let means = NetworkPolicy {
                kind: PolicyKind::NetworkPolicy,
                namespace: namespace.into(),
                name: "np".into(),
                pod_selector: selector.map(|s| s.means).unwrap_or_default(),
                ingress: for_ingress.then(|| meant(ingress)),
                egress: for_egress.then(|| meant(egress)),
                origin: Origin::default(),
            };
            Written { text, means: Object::NetworkPolicy(means) }
        },
    )
}

/// A rule; `field` is `from` or `to`. Missing lists and empty ones mean the same (A8).
fn rule(field: &'static str) -> impl Strategy<Value = Written<Rule>> {
    let peers = prop_oneof![1 => Just(None), 5 => vec(peer(), 0..3).prop_map(Some)];
    let ports = prop_oneof![2 => Just(None), 5 => vec(port_match(), 0..4).prop_map(Some)];
    (peers, ports).prop_map(move |(peers, ports)| {
        let mut text = Map::new();
        put(&mut text, field, peers.as_ref().map(|list| list.iter().map(|p| p.text.clone()).collect()));
        put(&mut text, "ports", ports.as_ref().map(|list| list.iter().map(|p| p.text.clone()).collect()));
        let peers: Option<Vec<Peer>> = peers.map(|list| list.into_iter().map(|p| p.means).collect());
        let ports: Option<Vec<PortMatch>> = ports.map(|list| list.into_iter().map(|p| p.means).collect());
        let means = Rule { peers: peers.filter(|l| !l.is_empty()), ports: ports.filter(|l| !l.is_empty()) };
        Written { text: text.into(), means }
    })
}

fn peer() -> impl Strategy<Value = Written<Peer>> {
    let pods = selector(&POD_KEYS, &POD_VALUES);
    let namespaces = selector(&NAMESPACE_KEYS, &NAMESPACE_VALUES);
    let of_pods = (weighted(0.7, pods), weighted(0.6, namespaces)).prop_map(|(pods, namespaces)| {
        // A peer needs a field: `podSelector: {}` stands in where neither was drawn.
        let pods = if pods.is_none() && namespaces.is_none() { Some(Written::everything()) } else { pods };
        let mut text = Map::new();
        put(&mut text, "podSelector", pods.as_ref().map(|s| s.text.clone()));
        put(&mut text, "namespaceSelector", namespaces.as_ref().map(|s| s.text.clone()));
        let pods = pods.map(|s| s.means).unwrap_or_default();
        Written { text: text.into(), means: Peer::Pods { namespaces: namespaces.map(|s| s.means), pods } }
    });
    let of_block = prop_oneof![3 => ip_block(&BLOCKS_V4), 2 => ip_block(&BLOCKS_V6)]
        .prop_map(|block| Written { text: json!({"ipBlock": block.text}), means: Peer::Block(block.means) });
    prop_oneof![3 => of_pods, 2 => of_block]
}

/// A block; exceptions lie inside it, often in one another or side by side.
fn ip_block(pool: &'static [&'static str]) -> impl Strategy<Value = Written<IpBlock>> {
    let untidy = proptest::bool::weighted(0.1);
    (select(pool), vec(select(pool), 0..5), untidy).prop_map(|(text, except, untidy)| {
        let mut means = IpBlock { cidr: net(text), except: except.into_iter().map(net).collect() };
        let cidr = means.cidr;
        means.except.retain(|e| cidr.contains(e) && *e != cidr);
        // B7: host bits and leading zeros are read over.
        let shown = match cidr.broadcast() {
            IpAddr::V4(last) if untidy => format!("0{last}/{}", cidr.prefix_len()),
            last if untidy => format!("{last}/{}", cidr.prefix_len()),
            _ => text.to_owned(),
        };
        let mut block = Map::new();
        put(&mut block, "cidr", Some(shown.into()));
        put(
            &mut block,
            "except",
            (!means.except.is_empty()).then(|| means.except.iter().map(ToString::to_string).collect()),
        );
        means.except.sort();
        means.except.dedup();
        Written { text: block.into(), means }
    })
}

fn port_match() -> impl Strategy<Value = Written<PortMatch>> {
    let which = prop_oneof![
        1 => Just((None, None)),
        3 => a_port().prop_map(|port| (Some((port, port)), None)),
        3 => (a_port(), a_port()).prop_map(|(a, b)| (Some((a.min(b), a.max(b))), None)),
        3 => select(&PORT_NAMES[..]).prop_map(|name| (None, Some(name))),
    ];
    (a_protocol(), which, any::<bool>()).prop_map(|(protocol, (range, name), says_end)| {
        let mut text = Map::new();
        put(&mut text, "protocol", protocol.map(|p| p.as_str().into()));
        let protocol = protocol.unwrap_or(Protocol::Tcp);
        let means = match (range, name) {
            (_, Some(name)) => {
                put(&mut text, "port", Some(name.into()));
                PortMatch::Named(NamedPort { protocol, name: name.into() })
            }
            (Some((from, to)), None) => {
                put(&mut text, "port", Some(from.into()));
                put(&mut text, "endPort", (from < to || says_end).then(|| to.into()));
                PortMatch::Range(PortRange { protocol, from, to })
            }
            (None, None) => PortMatch::Range(PortRange { protocol, from: MIN_PORT, to: MAX_PORT }),
        };
        Written { text: text.into(), means }
    })
}

fn a_namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(NAMESPACES[0]), 3 => Just(NAMESPACES[1]), 1 => Just(NAMESPACES[2]), 1 => Just(NAMESPACES[3])]
}

fn a_port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(80), 1 => select(&PORTS[..])]
}

/// A protocol; `None` where it is left out, which means TCP (C1).
fn a_protocol() -> impl Strategy<Value = Option<Protocol>> {
    prop_oneof![
        3 => Just(None),
        2 => Just(Some(Protocol::Tcp)),
        2 => Just(Some(Protocol::Udp)),
        1 => Just(Some(Protocol::Sctp)),
    ]
}

impl Default for Written<Labels> {
    fn default() -> Self {
        Written { text: Value::Null, means: Labels::default() }
    }
}

impl Written<Selector> {
    /// `{}`
    fn everything() -> Self {
        Written { text: json!({}), means: Selector::default() }
    }
}

fn labels(keys: &'static [&str; 2], values: &'static [&str; 4]) -> impl Strategy<Value = Written<Labels>> {
    let [first, second] = keys;
    (weighted(0.7, select(&values[..])), weighted(0.4, select(&values[..]))).prop_map(|(a, b)| {
        let pairs: Vec<(&str, &str)> =
            [(*first, a), (*second, b)].into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        let map: Map<String, Value> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        let text = if map.is_empty() { Value::Null } else { map.into() };
        Written { text, means: pairs.into_iter().collect() }
    })
}

fn selector(keys: &'static [&str; 2], values: &'static [&str; 4]) -> impl Strategy<Value = Written<Selector>> {
    const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];
    let expression = (select(&keys[..]), select(&OPERATORS[..]), vec(select(&values[..]), 1..3));
    let drawn = (labels(keys, values), weighted(0.5, vec(expression, 0..3))).prop_map(|(labels, expressions)| {
        let mut text = Map::new();
        put(&mut text, "matchLabels", Some(labels.text).filter(|map| !map.is_null()));
        let mut requirements: Vec<Requirement> =
            labels.means.iter().map(|(key, value)| Requirement::equals(key, value)).collect();
        let mut listed = Vec::new();
        for (key, operator, values) in expressions.iter().flatten() {
            let boxed: Box<[Box<str>]> = values.iter().map(|v| Box::from(*v)).collect();
            let (condition, takes_values) = match *operator {
                "In" => (Condition::In(boxed), true),
                "NotIn" => (Condition::NotIn(boxed), true),
                "Exists" => (Condition::Exists, false),
                _ => (Condition::DoesNotExist, false),
            };
            requirements.push(Requirement { key: (*key).into(), condition });
            let mut one = json!({"key": key, "operator": operator});
            if takes_values {
                one["values"] = json!(values);
            }
            listed.push(one);
        }
        put(&mut text, "matchExpressions", expressions.map(|_| listed.into()));
        Written { text: text.into(), means: requirements.into_iter().collect() }
    });
    prop_oneof![1 => Just(Written::everything()), 2 => drawn]
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

fn metadata(name: &str, namespace: Option<&str>, labels: &Written<Labels>) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", Some(name.into()));
    put(&mut map, "namespace", namespace.map(Value::from));
    put(&mut map, "labels", Some(labels.text.clone()).filter(|map| !map.is_null()));
    map.into()
}

fn object(api_version: &str, kind: &str, metadata: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})
}

fn net<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the vocabulary holds CIDRs")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the vocabulary holds addresses")
}

/// The addresses of [`OUTSIDE`] of the families in use.
pub fn outside(families: &[Family]) -> Vec<IpAddr> {
    OUTSIDE.iter().map(|text| address(text)).filter(|a| families.contains(&Family::of(*a))).collect()
}

/// Writes a value as YAML in block style, as people write manifests; `indented`: lists are set in
/// from their key. What is nowhere (`null`) is left out.
pub fn to_yaml(value: &Value, indented: bool) -> String {
    let mut out = String::new();
    block(value, 0, indented, &mut out);
    out
}

fn block(value: &Value, indent: usize, indented: bool, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                out.push_str(&" ".repeat(indent));
                out.push_str(&scalar(&key.as_str().into()));
                out.push(':');
                let deeper = indent + if value.is_object() || indented { 2 } else { 0 };
                nested(value, deeper, indented, out);
            }
        }
        Value::Array(list) => {
            for value in list {
                out.push_str(&" ".repeat(indent));
                out.push('-');
                if is_block(value) {
                    // The first line of the item stands beside its dash.
                    let mut item = String::new();
                    block(value, indent + 2, indented, &mut item);
                    out.push(' ');
                    out.push_str(item.trim_start());
                } else {
                    nested(value, indent + 2, indented, out);
                }
            }
        }
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn nested(value: &Value, indent: usize, indented: bool, out: &mut String) {
    if is_block(value) {
        out.push('\n');
        block(value, indent, indented, out);
    } else {
        out.push(' ');
        out.push_str(&scalar(value));
        out.push('\n');
    }
}

/// Whether it takes lines of its own.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(|value| !value.is_null()),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

/// A value within a line; text is quoted where YAML would read it as something else.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else {
        return match value {
            Value::Object(_) => "{}".to_owned(),
            other => other.to_string(),
        };
    };
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "./-:".contains(c)) && !text.ends_with(':');
    if starts_well && plain && text.parse::<f64>().is_err() && !words.contains(&text.to_lowercase().as_str()) {
        text.clone()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_as_people_write_it() {
        let value = json!({"a": {"b": ["x", {"c": "1", "d": []}, [1, 2]], "e": {}}, "f": null, "g": "::/0", "h": "y"});
        let text =
            "a:\n  b:\n    - x\n    - c: \"1\"\n      d: []\n    - - 1\n      - 2\n  e: {}\ng: \"::/0\"\nh: \"y\"\n";
        assert_eq!(to_yaml(&value, true), text);
        let text = "a:\n  b:\n  - x\n  - c: \"1\"\n    d: []\n  - - 1\n    - 2\n  e: {}\ng: \"::/0\"\nh: \"y\"\n";
        assert_eq!(to_yaml(&value, false), text);
    }
}
