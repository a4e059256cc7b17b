//! Whether isolated pods can look names up.
//!
//! Shared by NS012 and NS013. Asked by group: pods that the same policies isolate come out alike.

use super::parts::is_private;
use crate::lint::{Context, Found};
use netsim_shared::compile::side::{CompiledRule, GroupId, NOT_ISOLATED, PeerClass, PolicySlot, Side};
use netsim_shared::compile::{Address, EndpointId, Entry};
use netsim_shared::net::Family;
use netsim_shared::object::{NAMESPACE_NAME_LABEL, Path};
use netsim_shared::policy::{Direction, NetworkPolicy, Peer, PolicyKind, PortMatch, Rule};
use netsim_shared::ports::Protocol;
use netsim_shared::selector::{Condition, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The port that names are asked on.
const PORT: u16 = 53;
const SYSTEM_NAMESPACE: &str = "kube-system";
/// Services by which clusters make their DNS known, wherever it runs.
const SERVICES: [&str; 4] = ["kube-dns", "coredns", "dns-default", "rke2-coredns-rke2-coredns"];
const LABEL: &str = "k8s-app";
const DNS: &str = "kube-dns";
const NODE_LOCAL: &str = "node-local-dns";
/// Where NodeLocal DNSCache listens on every node.
const NODE_LOCAL_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));

/// One end that answers lookups, as rules see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Server {
    class: PeerClass,
    protocol: Protocol,
    port: u16,
}

/// How the cluster looks names up.
pub struct Dns<'c> {
    side: &'c Side,
    servers: BTreeSet<Server>,
    /// How to select the pods: namespace and labels. `None` when only their nodes' addresses lead to them.
    selected_by: Option<(String, String)>,
    /// The addresses of those on their nodes' network.
    hosts: BTreeSet<IpAddr>,
    node_local: bool,
    known: bool,
}

/// The groups of isolated pods, without those that may go nowhere: these need no names.
pub fn groups(context: &Context<'_>) -> BTreeMap<GroupId, Vec<EndpointId>> {
    let side = context.compiled.side(Direction::Egress);
    let mut groups: BTreeMap<GroupId, Vec<EndpointId>> = BTreeMap::new();
    for (id, entry) in context.compiled.entries().filter(|(_, entry)| entry.egress != NOT_ISOLATED) {
        groups.entry(entry.egress).or_default().push(id);
    }
    groups.retain(|group, _| side.policies_of(*group).any(|slot| !slot.rules.is_empty()));
    groups
}

impl<'c> Dns<'c> {
    /// Finds what serves names: the Services of kube-system and of known names, and pods labelled as
    /// DNS; where there are none, whatever serves port 53 over UDP.
    pub fn of(context: &Context<'c>) -> Self {
        let serves = |protocol: Protocol| {
            move |port: &&netsim_shared::object::ServicePort| port.port == PORT && port.protocol == protocol
        };
        let fronts = context.fronts();
        let all: Vec<_> =
            fronts.iter().filter(|front| front.service.ports.iter().any(|port| serves(Protocol::Udp)(&port))).collect();
        let usual: Vec<_> = all
            .iter()
            .filter(|f| f.service.namespace.as_ref() == SYSTEM_NAMESPACE || SERVICES.contains(&f.service.name.as_ref()))
            .copied()
            .collect();
        let labelled: Vec<(EndpointId, &Entry)> = context
            .compiled
            .in_namespace(SYSTEM_NAMESPACE)
            .filter_map(|id| Some((id, context.compiled.entry(id)?)))
            .filter(|(_, entry)| entry.endpoint.labels.get(LABEL) == Some(DNS))
            .collect();
        let mut dns = Dns {
            side: context.compiled.side(Direction::Egress),
            servers: BTreeSet::new(),
            hosts: BTreeSet::new(),
            selected_by: Some((SYSTEM_NAMESPACE.to_owned(), format!("{{{LABEL}: {DNS}}}"))),
            node_local: context
                .in_namespace(SYSTEM_NAMESPACE)
                .any(|(_, endpoint)| endpoint.labels.get(LABEL) == Some(NODE_LOCAL)),
            known: true,
        };
        let mut seen: BTreeSet<EndpointId> = BTreeSet::new();
        let services = if usual.is_empty() && labelled.is_empty() { all } else { usual };
        for front in &services {
            for id in &front.pods {
                let Some(entry) = context.compiled.entry(*id) else { continue };
                seen.insert(*id);
                for port in front.service.ports.iter().filter(|port| port.port == PORT) {
                    let Some(target) = front.target(port, &entry.endpoint) else { continue };
                    dns.add(context, entry, port.protocol, target);
                }
            }
        }
        if let Some(front) = services.first() {
            let on_hosts = front.pods.iter().all(|id| context.endpoint(*id).is_some_and(|e| e.host_network));
            let labels = front.service.selector.as_ref().map(flow).unwrap_or_default();
            dns.selected_by = (!on_hosts).then(|| (front.service.namespace.to_string(), labels));
        } else if !labelled.is_empty() && labelled.iter().all(|(_, entry)| entry.endpoint.host_network) {
            dns.selected_by = None;
        }
        for (_, entry) in labelled.iter().filter(|(id, _)| !seen.contains(id)) {
            dns.add(context, entry, Protocol::Udp, PORT);
            dns.add(context, entry, Protocol::Tcp, PORT);
        }
        if dns.servers.is_empty() {
            dns.serving_pods(context);
        }
        dns.known = !dns.servers.is_empty();
        dns
    }

    /// Pods that declare the port, without a Service that says so.
    fn serving_pods(&mut self, context: &Context<'c>) {
        for (_, entry) in context.compiled.entries() {
            let endpoint = &entry.endpoint;
            let has = |protocol| endpoint.ports.iter().any(|port| port.port == PORT && port.protocol == protocol);
            if !has(Protocol::Udp) || endpoint.labels.get(LABEL) == Some(NODE_LOCAL) {
                continue;
            }
            self.selected_by = (!endpoint.host_network).then(|| {
                let labels = endpoint.labels.iter().map(|(key, value)| format!("{key}: {value}"));
                (endpoint.key.namespace.to_string(), format!("{{{}}}", labels.collect::<Vec<String>>().join(", ")))
            });
            for protocol in [Protocol::Udp, Protocol::Tcp].into_iter().filter(|protocol| has(*protocol)) {
                self.add(context, entry, protocol, PORT);
            }
        }
    }

    fn add(&mut self, context: &Context<'c>, entry: &Entry, protocol: Protocol, port: u16) {
        for (family, ids) in Family::ALL.into_iter().filter_map(|family| Some((family, (*entry.as_peer.get(family))?)))
        {
            if let (true, Address::Known(address)) = (entry.endpoint.host_network, entry.endpoint.addresses.get(family))
            {
                self.hosts.insert(*address);
            }
            // Nothing is presumed of nodes: blocks may hold those whose addresses are not known.
            let host = entry.endpoint.host_network;
            let id = if host { ids.destination.maybe } else { context.presumed(&ids.destination) };
            let class = self.side.peer_class(id).cloned();
            self.servers.extend(class.map(|class| Server { class, protocol, port }));
        }
    }

    /// Whether names are served over a protocol at all.
    pub fn serves(&self, protocol: Protocol) -> bool {
        !self.known || self.servers.iter().any(|server| server.protocol == protocol)
    }

    /// The first rule that lets a group ask over a protocol.
    pub fn allowed_by(&self, group: GroupId, protocol: Protocol) -> Option<(&'c NetworkPolicy, usize)> {
        let servers: Vec<&Server> = self.servers.iter().filter(|server| server.protocol == protocol).collect();
        let local = self.side.outside_peer(self.side.blocks.class_of(NODE_LOCAL_ADDRESS));
        let lets = |rule: &CompiledRule| {
            let names_of = |class: &PeerClass| self.side.name_table(class.names);
            let to = |class: &PeerClass, port: u16| {
                self.side.rule_has_port(rule, names_of(class), protocol, port) && self.side.rule_has_peer(rule, class)
            };
            to(&local, PORT) || servers.iter().any(|server| to(&server.class, server.port))
        };
        let mut slots = self.side.policies_of(group);
        slots.find_map(|slot| {
            let written = slot.policy.rules(Direction::Egress).unwrap_or_default();
            let mut rules = slot.rules.iter().zip(written);
            let rule =
                rules.position(|(rule, written)| lets(rule) || (!self.known && may_be_for_dns(written, protocol)));
            Some((slot.policy.as_ref(), rule?))
        })
    }

    /// What to call the servers.
    pub fn who(&self) -> String {
        match &self.selected_by {
            Some((namespace, _)) if self.known => format!("the DNS pods in namespace {namespace}"),
            None => "the DNS servers on the nodes' network".to_owned(),
            Some(_) => "any DNS server".to_owned(),
        }
    }

    /// What to do: the rule that is missing, as YAML.
    pub fn help(&self) -> String {
        let mut peers: Vec<String> = match &self.selected_by {
            Some((namespace, labels)) => vec![format!(
                "{{namespaceSelector: {{matchLabels: {{{NAMESPACE_NAME_LABEL}: {namespace}}}}}, podSelector: {{matchLabels: {labels}}}}}"
            )],
            None => self.hosts.iter().map(|address| block_of(*address)).collect(),
        };
        if self.node_local {
            peers.push(block_of(NODE_LOCAL_ADDRESS));
        }
        if peers.is_empty() {
            return "allow the addresses of the nodes that DNS runs on, by `ipBlock`: selectors do not find it"
                .to_owned();
        }
        let mut ports: BTreeSet<(Protocol, u16)> = self.servers.iter().map(|s| (s.protocol, s.port)).collect();
        if !self.known || self.node_local {
            ports.extend([(Protocol::Udp, PORT), (Protocol::Tcp, PORT)]);
        }
        let mut ports: Vec<(Protocol, u16)> = ports.into_iter().collect();
        ports.sort_by_key(|(protocol, port)| (*port, *protocol != Protocol::Udp));
        let ports: Vec<String> =
            ports.iter().map(|(protocol, port)| format!("{{protocol: {protocol}, port: {port}}}")).collect();
        let rule = format!("- {{to: [{}], ports: [{}]}}", peers.join(", "), ports.join(", "));
        format!("allow it in `egress`, here or in a policy of its own for all pods: `{rule}`")
    }
}

/// A peer of one address.
fn block_of(address: IpAddr) -> String {
    format!("{{ipBlock: {{cidr: \"{address}/{}\"}}}}", if address.is_ipv4() { 32 } else { 128 })
}

/// Whether a rule may be meant for DNS pods that the input does not have: it names the port, or a port
/// name, or it allows every port with something that may be inside the cluster.
fn may_be_for_dns(rule: &Rule, protocol: Protocol) -> bool {
    let inside = |peer: &Peer| match peer {
        Peer::Pods { .. } => true,
        Peer::Block(block) => is_private(&block.cidr),
        Peer::Names(_) => false,
    };
    // A server is not found by a name that it would have to be asked for.
    if rule.peers.iter().flatten().any(|peer| matches!(peer, Peer::Names(_))) {
        return false;
    }
    match &rule.ports {
        None => rule.peers.as_ref().is_none_or(|peers| peers.iter().any(inside)),
        Some(ports) => ports.iter().any(|port| match port {
            PortMatch::Range(range) => range.contains(protocol, PORT),
            PortMatch::Named(named) => named.protocol == protocol,
        }),
    }
}

/// A selector of a Service as YAML.
pub fn flow(selector: &Selector) -> String {
    let pairs = selector.requirements().iter().filter_map(|requirement| match &requirement.condition {
        Condition::In(values) => Some(format!("{}: {}", requirement.key, values.first()?)),
        _ => None,
    });
    format!("{{{}}}", pairs.collect::<Vec<String>>().join(", "))
}

/// The policy at which something is told about a group: the one for most pods.
pub fn spokesman<'s>(context: &Context<'_>, side: &'s Side, group: GroupId) -> Option<&'s PolicySlot> {
    side.policies_of(group).max_by_key(|slot| {
        let policy = &slot.policy;
        (policy.pod_selector.is_everything(), context.selected(policy).len(), std::cmp::Reverse(&policy.name))
    })
}

/// Something about the egress of a policy.
pub fn about_egress(policy: &NetworkPolicy, message: String) -> Found {
    let has_rules = policy.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let has_list = has_rules || policy.kind == PolicyKind::EgressDomainPolicy;
    let path = Path::spec().key(if has_list { "egress" } else { "policyTypes" });
    Found::in_policy(policy, path, message)
}
