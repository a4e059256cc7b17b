//! What answers lookups in a cluster, and who may ask it.
//!
//! The one place that knows how a cluster's DNS is found: rules of lint, suggestions and questions about
//! names stand on it.

use crate::cluster::ClusterIndex;
use crate::compile::side::{CompiledRule, GroupId, PeerClass, Side};
use crate::compile::{Address, Certainty, Compiled, EndpointId, Entry};
use crate::evaluate::{Decision, Outcome, Party, RuleRef, evaluate, families_between};
use crate::net::{Family, is_private};
use crate::object::{NAMESPACE_NAME_LABEL, Service};
use crate::policy::{Direction, IpBlock, Peer, PortMatch, Rule};
use crate::ports::{PortRange, Protocol};
use crate::selector::{Condition, Requirement, Selector};
use crate::services::{Front, fronts_of};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The port that names are asked on.
pub const PORT: u16 = 53;
/// Where the DNS of a cluster lives, unless the input shows another place.
pub const NAMESPACE: &str = "kube-system";
/// Services by which clusters make their DNS known, wherever it runs.
const SERVICES: [&str; 4] = ["kube-dns", "coredns", "dns-default", "rke2-coredns-rke2-coredns"];
const LABEL: &str = "k8s-app";
const DNS: &str = "kube-dns";
const NODE_LOCAL: &str = "node-local-dns";
/// Where NodeLocal DNSCache listens on every node.
pub const NODE_LOCAL_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));

/// One pod that answers lookups, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// The pod.
    pub id: EndpointId,
    /// Over this.
    pub protocol: Protocol,
    /// On this port of the pod.
    pub port: u16,
}

/// How the pods are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedBy {
    /// In this namespace.
    pub namespace: Box<str>,
    /// By these labels.
    pub pods: Selector,
}

/// One end that answers lookups, as rules see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    class: PeerClass,
    protocol: Protocol,
    port: u16,
}

/// How a cluster looks names up.
#[derive(Debug, Clone)]
pub struct ClusterDns<'c> {
    compiled: &'c Compiled,
    side: &'c Side,
    servers: BTreeSet<Server>,
    seen: BTreeSet<Seen>,
    selected_by: Option<SelectedBy>,
    /// Whether the input says how they are selected.
    told: bool,
    /// The addresses of those on their nodes' network.
    hosts: BTreeSet<IpAddr>,
    node_local: bool,
    known: bool,
}

/// Whether a pod can look names up.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// It can, as far as policies go.
    Open,
    /// The input does not show the cluster's DNS, and a rule of the pod may be for it.
    NotShown,
    /// It cannot: this connection to a server is denied, or cannot be told.
    Closed {
        /// The server.
        server: Server,
        /// Why.
        decision: Box<Decision>,
    },
    /// It cannot, wherever the servers are: no rule of the pod is for that port.
    NoRule,
}

impl<'c> ClusterDns<'c> {
    /// Finds what serves names: the Services of kube-system and of known names, and pods labelled as
    /// DNS; where there are none, whatever serves port 53 over UDP.
    pub fn of(index: &'c ClusterIndex, compiled: &'c Compiled) -> Self {
        let serves = |service: &Service| service.ports.iter().any(|p| p.port == PORT && p.protocol == Protocol::Udp);
        let all = fronts_of(index, compiled, serves);
        let usual: Vec<&Front<'_>> = all
            .iter()
            .filter(|f| f.service.namespace.as_ref() == NAMESPACE || SERVICES.contains(&f.service.name.as_ref()))
            .collect();
        let in_system: Vec<(EndpointId, &Entry)> =
            compiled.in_namespace(NAMESPACE).filter_map(|id| Some((id, compiled.entry(id)?))).collect();
        let is = |entry: &Entry, value| entry.endpoint.labels.get(LABEL) == Some(value);
        let labelled: Vec<&(EndpointId, &Entry)> = in_system.iter().filter(|(_, entry)| is(entry, DNS)).collect();
        let usual_pods = [Requirement::equals(LABEL, DNS)].into_iter().collect();
        let mut dns = ClusterDns {
            compiled,
            side: compiled.side(Direction::Egress),
            servers: BTreeSet::new(),
            seen: BTreeSet::new(),
            hosts: BTreeSet::new(),
            selected_by: Some(SelectedBy { namespace: NAMESPACE.into(), pods: usual_pods }),
            told: false,
            node_local: in_system.iter().any(|(_, entry)| is(entry, NODE_LOCAL)),
            known: true,
        };
        let mut seen: BTreeSet<EndpointId> = BTreeSet::new();
        let services = if usual.is_empty() && labelled.is_empty() { all.iter().collect() } else { usual };
        for front in &services {
            for id in &front.pods {
                let Some(entry) = compiled.entry(*id) else { continue };
                seen.insert(*id);
                for port in front.service.ports.iter().filter(|port| port.port == PORT) {
                    let Some(target) = front.target(port, &entry.endpoint) else { continue };
                    dns.add(entry, Server { id: *id, protocol: port.protocol, port: target });
                }
            }
        }
        if let Some(front) = services.first() {
            let on_hosts = front.pods.iter().all(|id| compiled.entry(*id).is_some_and(|e| e.endpoint.host_network));
            let pods = front.service.selector.clone().unwrap_or_default();
            dns.selected_by = (!on_hosts).then(|| SelectedBy { namespace: front.service.namespace.clone(), pods });
            dns.told = true;
        } else if !labelled.is_empty() && labelled.iter().all(|(_, entry)| entry.endpoint.host_network) {
            dns.selected_by = None;
        }
        for (id, entry) in labelled.into_iter().filter(|(id, _)| !seen.contains(id)) {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                dns.add(entry, Server { id: *id, protocol, port: PORT });
            }
        }
        if dns.servers.is_empty() {
            dns.serving_pods();
        }
        dns.known = !dns.servers.is_empty();
        let meant = || index.services().find(|service| is_meant_for_dns(service));
        if let (false, Some(service)) = (dns.known, meant()) {
            let (namespace, pods) = (service.namespace.clone(), service.selector.clone().unwrap_or_default());
            dns.selected_by = Some(SelectedBy { namespace, pods });
            dns.told = true;
        }
        dns.told |= dns.known;
        dns
    }

    /// Pods that declare the port, without a Service that says so.
    fn serving_pods(&mut self) {
        for (id, entry) in self.compiled.entries() {
            let endpoint = &entry.endpoint;
            let has = |protocol| endpoint.ports.iter().any(|port| port.port == PORT && port.protocol == protocol);
            if !has(Protocol::Udp) || endpoint.labels.get(LABEL) == Some(NODE_LOCAL) {
                continue;
            }
            self.selected_by = (!endpoint.host_network).then(|| SelectedBy {
                namespace: endpoint.key.namespace.clone(),
                pods: endpoint.labels.iter().map(|(key, value)| Requirement::equals(key, value)).collect(),
            });
            for protocol in [Protocol::Udp, Protocol::Tcp].into_iter().filter(|protocol| has(*protocol)) {
                self.add(entry, Server { id, protocol, port: PORT });
            }
        }
    }

    fn add(&mut self, entry: &Entry, server: Server) {
        self.servers.insert(server);
        for (family, ids) in Family::ALL.into_iter().filter_map(|family| Some((family, (*entry.as_peer.get(family))?)))
        {
            if let (true, Address::Known(address)) = (entry.endpoint.host_network, entry.endpoint.addresses.get(family))
            {
                self.hosts.insert(*address);
            }
            // Nothing is presumed of nodes: blocks may hold those whose addresses are not known.
            let host = entry.endpoint.host_network;
            let id = if host { ids.destination.maybe } else { self.presumed(&ids.destination) };
            let class = self.side.peer_class(id).cloned();
            let Server { protocol, port, .. } = server;
            self.seen.extend(class.map(|class| Seen { class, protocol, port }));
        }
    }

    /// The answer about an address that is not known which verdicts rest on (B8).
    fn presumed<T: Copy>(&self, certainty: &Certainty<T>) -> T {
        if self.compiled.modes().strict { certainty.maybe } else { certainty.surely }
    }

    /// Whether the input shows it.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whether on which node a pod is can decide whether it may ask (D2).
    pub fn is_on_nodes(&self) -> bool {
        let on_node = |s: &Server| self.compiled.entry(s.id).is_some_and(|entry| entry.endpoint.host_network);
        self.servers.iter().any(on_node)
    }

    /// What answers lookups.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    /// How the input says that its pods are selected; `None` also when only their nodes' addresses lead to them.
    pub fn selected_by(&self) -> Option<&SelectedBy> {
        self.selected_by.as_ref().filter(|_| self.told)
    }

    /// Whether names are served over a protocol at all.
    pub fn serves(&self, protocol: Protocol) -> bool {
        !self.known || self.servers.iter().any(|server| server.protocol == protocol)
    }

    /// The first rule that lets a group ask over a protocol.
    pub fn allowed_by(&self, group: GroupId, protocol: Protocol) -> Option<RuleRef> {
        let servers: Vec<&Seen> = self.seen.iter().filter(|server| server.protocol == protocol).collect();
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
            Some(RuleRef { policy: slot.policy.clone(), direction: Direction::Egress, rule: rule? })
        })
    }

    /// Whether a pod can ask over a protocol: the whole connection counts, also what isolates the servers.
    pub fn lookup(&self, source: EndpointId, protocol: Protocol) -> Lookup {
        let Some(entry) = self.compiled.entry(source) else { return Lookup::NotShown };
        // A pod on its node's network asks what the node asks.
        if entry.endpoint.host_network {
            return Lookup::Open;
        }
        let isolated = self.side.policies_of(entry.egress).next().is_some();
        if !self.known {
            return match self.allowed_by(entry.egress, protocol) {
                _ if !isolated => Lookup::Open,
                Some(_) => Lookup::NotShown,
                None => Lookup::NoRule,
            };
        }
        let mut worst: Option<(Server, Decision)> = None;
        for server in self.servers.iter().filter(|server| server.protocol == protocol) {
            let (from, to) = (Party::Endpoint(source), Party::Endpoint(server.id));
            for family in families_between(self.compiled, from, to) {
                let Some(decision) = evaluate(self.compiled, from, to, protocol, server.port, family) else { continue };
                match decision.outcome {
                    Outcome::Allowed => return Lookup::Open,
                    // What cannot be told may be open: it is kept before what is closed.
                    Outcome::Unknown => worst = Some((*server, decision)),
                    Outcome::Denied => worst = worst.or(Some((*server, decision))),
                }
            }
        }
        let local = Party::Address(NODE_LOCAL_ADDRESS);
        let cached = evaluate(self.compiled, Party::Endpoint(source), local, protocol, PORT, Family::V4);
        // A cache on the nodes that the input does not show counts where a rule is for it.
        let by_rule = |decision: &Decision| self.node_local || decision.egress.allowed_by.is_some();
        match worst {
            _ if cached.is_some_and(|d| d.outcome == Outcome::Allowed && by_rule(&d)) => Lookup::Open,
            Some((server, decision)) => Lookup::Closed { server, decision: Box::new(decision) },
            None => Lookup::NotShown,
        }
    }

    /// What to call the servers.
    pub fn who(&self) -> String {
        match &self.selected_by {
            Some(by) if self.known => format!("the DNS pods in namespace {}", by.namespace),
            None => "the DNS servers on the nodes' network".to_owned(),
            Some(_) => "any DNS server".to_owned(),
        }
    }

    /// The peers of a rule that lets pods of a namespace ask; none when it is not known how.
    fn peers(&self, own: Option<&str>) -> Vec<Peer> {
        let block = |address: &IpAddr| Peer::Block(IpBlock { cidr: IpNet::from(*address), except: Vec::new() });
        let mut peers: Vec<Peer> = match &self.selected_by {
            Some(by) => {
                let of_name = [Requirement::equals(NAMESPACE_NAME_LABEL, &by.namespace)].into_iter().collect();
                let namespaces = (own != Some(by.namespace.as_ref())).then_some(of_name);
                vec![Peer::Pods { namespaces, pods: by.pods.clone() }]
            }
            None => self.hosts.iter().map(block).collect(),
        };
        if self.node_local {
            peers.push(block(&NODE_LOCAL_ADDRESS));
        }
        peers
    }

    /// The ports of such a rule: UDP first.
    fn ports(&self) -> Vec<(Protocol, u16)> {
        let mut ports: BTreeSet<(Protocol, u16)> = self.servers.iter().map(|s| (s.protocol, s.port)).collect();
        if !self.known || self.node_local {
            ports.extend([(Protocol::Udp, PORT), (Protocol::Tcp, PORT)]);
        }
        let mut ports: Vec<(Protocol, u16)> = ports.into_iter().collect();
        ports.sort_by_key(|(protocol, port)| (*port, *protocol != Protocol::Udp));
        ports
    }

    /// The rule that lets pods of a namespace ask; `None` when the addresses that it has to name are not known.
    pub fn rule(&self, namespace: &str) -> Option<Rule> {
        let peers = self.peers(Some(namespace));
        let range = |(protocol, port)| PortMatch::Range(PortRange::single(protocol, port));
        let ports = self.ports().into_iter().map(range).collect();
        (!peers.is_empty()).then_some(Rule { peers: Some(peers), ports: Some(ports) })
    }

    /// What to do: the rule that is missing, as YAML.
    pub fn help(&self) -> String {
        let peers: Vec<String> = self.peers(None).iter().map(peer_in_flow).collect();
        if peers.is_empty() {
            return "allow the addresses of the nodes that DNS runs on, by `ipBlock`: selectors do not find it"
                .to_owned();
        }
        let ports = self.ports();
        let ports: Vec<String> =
            ports.iter().map(|(protocol, port)| format!("{{protocol: {protocol}, port: {port}}}")).collect();
        let rule = format!("- {{to: [{}], ports: [{}]}}", peers.join(", "), ports.join(", "));
        format!("allow it in `egress`, here or in a policy of its own for all pods: `{rule}`")
    }
}

/// Whether a Service without pods in the input is meant for DNS.
fn is_meant_for_dns(service: &Service) -> bool {
    let asked = service.ports.iter().any(|port| port.port == PORT && port.protocol == Protocol::Udp);
    asked && service.selector.is_some() && service.namespace.as_ref() == NAMESPACE
}

fn peer_in_flow(peer: &Peer) -> String {
    match peer {
        Peer::Block(block) => format!("{{ipBlock: {{cidr: \"{}\"}}}}", block.cidr),
        Peer::Pods { namespaces, pods } => {
            let namespaces = namespaces.as_ref().map(|n| format!("namespaceSelector: {{matchLabels: {}}}, ", flow(n)));
            format!("{{{}podSelector: {{matchLabels: {}}}}}", namespaces.unwrap_or_default(), flow(pods))
        }
        Peer::Names(_) => String::new(),
    }
}

/// A selector of labels as YAML.
pub fn flow(selector: &Selector) -> String {
    let pairs = selector.requirements().iter().filter_map(|requirement| match &requirement.condition {
        Condition::In(values) => Some(format!("{}: {}", requirement.key, values.first()?)),
        _ => None,
    });
    format!("{{{}}}", pairs.collect::<Vec<String>>().join(", "))
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
