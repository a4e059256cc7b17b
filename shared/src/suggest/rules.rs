//! Rules, gathered by the pods that they are for, and made policies.

use super::name::{as_name, free};
use super::select::Selectors;
use super::{Destined, Need, Suggested, Whole};
use crate::cluster::ClusterIndex;
use crate::cluster_dns::{self, ClusterDns};
use crate::compile::{Address, Compiled, Endpoint};
use crate::dns::NamePattern;
use crate::evaluate::Party;
use crate::net::Family;
use crate::object::{NAMESPACE_NAME_LABEL, Origin};
use crate::policy::{Direction, IpBlock, NetworkPolicy, Peer, PolicyKind, PortMatch, Rule};
use crate::ports::{PortRange, Protocol};
use crate::query::resolve::Named;
use crate::selector::{Condition, Requirement, Selector};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// What can be told apart of peers, in an order that reads well: pods nearby, pods elsewhere, addresses, names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum PeerKey {
    Pods { namespaces: Option<Selector>, pods: Selector },
    Block(IpNet),
    Name(NamePattern),
}

impl From<PeerKey> for Peer {
    fn from(key: PeerKey) -> Self {
        match key {
            PeerKey::Pods { namespaces, pods } => Peer::Pods { namespaces, pods },
            PeerKey::Block(cidr) => Peer::Block(IpBlock { cidr, except: Vec::new() }),
            PeerKey::Name(name) => Peer::Names(vec![name]),
        }
    }
}

/// The pods that a policy is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SubjectKey {
    namespace: Box<str>,
    selector: Selector,
}

/// The ports of each peer; no port stands for every one.
type Ports = BTreeMap<(Direction, PeerKey), BTreeSet<Option<PortMatch>>>;

/// What is to be allowed to them: the ports of each peer; no port stands for every one.
#[derive(Debug, Clone, Default)]
struct Draft {
    /// Whom it is called after.
    called: Option<String>,
    ports: Ports,
    why: BTreeSet<String>,
}

/// All that is gathered.
pub struct Drafts<'c> {
    index: &'c ClusterIndex,
    compiled: &'c Compiled,
    scope: &'c BTreeSet<Box<str>>,
    selectors: Selectors<'c>,
    drafts: BTreeMap<SubjectKey, Draft>,
    dns: Vec<Suggested>,
    /// Whether policies with names are in use here: where nobody enforces them they allow nothing.
    names: bool,
}

impl<'c> Drafts<'c> {
    /// Nothing yet.
    pub fn new(index: &'c ClusterIndex, compiled: &'c Compiled, scope: &'c BTreeSet<Box<str>>) -> Self {
        let selectors = Selectors::new(compiled);
        let names = index.policies().any(|policy| policy.kind == PolicyKind::EgressDomainPolicy);
        Drafts { index, compiled, scope, selectors, drafts: BTreeMap::new(), dns: Vec::new(), names }
    }

    fn endpoint(&self, party: Party) -> Option<&'c Endpoint> {
        match party {
            Party::Endpoint(id) => self.compiled.entry(id).map(|entry| entry.endpoint.as_ref()),
            Party::Address(_) => None,
        }
    }

    /// Gathers the rule that lets a need through one side. What no rule can say is left to the proof
    /// at the end, which tells it.
    pub fn allow(&mut self, need: &Need, direction: Direction) {
        let Some(subject) = need.subject(direction).and_then(|party| self.endpoint(party)) else { return };
        if subject.host_network || !self.scope.contains(&subject.key.namespace) {
            return;
        }
        let (subject_whole, peer_whole) = match direction {
            Direction::Egress => (need.source_whole, need.destination_whole),
            Direction::Ingress => (need.destination_whole, need.source_whole),
        };
        let selector = match subject_whole {
            Whole::No => self.selectors.of(subject),
            Whole::Namespace | Whole::Cluster => Some(Selector::default()),
        };
        let Some(selector) = selector else { return };
        let namespace = &subject.key.namespace;
        let peers = match (direction, &need.destination) {
            (Direction::Ingress, _) => self.peers(namespace, &need.source, peer_whole),
            (Direction::Egress, Destined::Party(named)) => self.peers(namespace, named, peer_whole),
            (Direction::Egress, Destined::Name(name)) if self.names => vec![PeerKey::Name(name.clone())],
            (Direction::Egress, Destined::Name(_)) => {
                self.compiled.families().iter().map(|family| PeerKey::Block(family.whole())).collect()
            }
        };
        if peers.is_empty() {
            return;
        }
        let port = match (need.protocol, need.port) {
            (Some(protocol), Some(port)) => Some(PortMatch::Range(PortRange::single(protocol, port))),
            (Some(protocol), None) => Some(PortMatch::Range(PortRange::all_of(protocol))),
            (None, _) => None,
        };
        let called = match (&subject.workload, subject_whole) {
            (_, Whole::Namespace | Whole::Cluster) => "every-pod".to_owned(),
            (Some((_, name)), _) => name.to_string(),
            (None, _) => called_after(&selector, subject),
        };
        let draft = self.drafts.entry(SubjectKey { namespace: namespace.clone(), selector }).or_default();
        // Of several workloads that one selector means, the first in the alphabet: always the same.
        draft.called = Some(draft.called.take().map_or(called.clone(), |other| other.min(called)));
        if let (Destined::Name(name), false) = (&need.destination, self.names) {
            draft.why.insert(format!("The addresses of {name} are not known, so the port is open to every address."));
        }
        for peer in peers {
            draft.ports.entry((direction, peer)).or_default().insert(port.clone());
        }
    }

    /// A party as rules of a namespace name it; none where they cannot.
    fn peers(&mut self, own: &str, who: &Named, whole: Whole) -> Vec<PeerKey> {
        let Some(endpoint) = self.endpoint(who.party) else {
            let own = match who.party {
                Party::Address(address) => vec![IpNet::from(address)],
                Party::Endpoint(_) => Vec::new(),
            };
            let blocks = if who.blocks.is_empty() { own } else { who.blocks.clone() };
            return blocks.into_iter().map(PeerKey::Block).collect();
        };
        if endpoint.host_network {
            let known = Family::ALL.into_iter().filter_map(|family| match endpoint.addresses.get(family) {
                Address::Known(address) => Some(PeerKey::Block(IpNet::from(*address))),
                _ => None,
            });
            return known.collect();
        }
        let namespace = &endpoint.key.namespace;
        let pods = match whole {
            Whole::No => self.selectors.of(endpoint),
            Whole::Namespace | Whole::Cluster => Some(Selector::default()),
        };
        let namespaces = match whole {
            Whole::Cluster => Some(Selector::default()),
            _ if namespace.as_ref() == own => None,
            _ => Some(by_name(namespace)),
        };
        pods.map(|pods| PeerKey::Pods { namespaces, pods }).into_iter().collect()
    }

    /// Lets every pod of the namespaces ask the cluster's DNS, and the DNS pods be asked.
    pub fn allow_dns(&mut self, namespaces: &[&str]) {
        if namespaces.is_empty() {
            return;
        }
        let dns = ClusterDns::of(self.index, self.compiled);
        let (home, pods) = match dns.selected_by() {
            Some(by) => (by.namespace.clone(), by.pods.clone()),
            None => (cluster_dns::NAMESPACE.into(), Selector::default()),
        };
        let numbers: BTreeSet<u16> = dns.servers().map(|server| server.port).collect();
        let ports = if numbers.is_empty() { dns_ports([cluster_dns::PORT]) } else { dns_ports(numbers) };
        for namespace in namespaces {
            let home_of_others = (*namespace != &*home).then(|| by_name(&home));
            let peer = Peer::Pods { namespaces: home_of_others, pods: pods.clone() };
            let rule = Rule { peers: Some(vec![peer]), ports: Some(ports.clone()) };
            let why = format!("Lets every pod of {namespace} ask the cluster's DNS.");
            self.dns.push(self.dns_policy(namespace, Selector::default(), Direction::Egress, rule, why));
        }
        // Only where the DNS pods are closed, and where policies may be written.
        let closed = self.compiled.in_namespace(&home).filter_map(|id| self.compiled.entry(id)).any(|entry| {
            pods.matches(&entry.endpoint.labels)
                && self.compiled.side(Direction::Ingress).policies_of(entry.ingress).next().is_some()
        });
        if closed && self.scope.contains(&home) {
            let everyone = Peer::Pods { namespaces: Some(Selector::default()), pods: Selector::default() };
            let rule = Rule { peers: Some(vec![everyone]), ports: Some(ports) };
            self.dns.push(self.dns_policy(&home, pods, Direction::Ingress, rule, "Lets every pod ask.".to_owned()));
        }
    }

    fn dns_policy(&self, namespace: &str, pods: Selector, direction: Direction, rule: Rule, why: String) -> Suggested {
        let name = match direction {
            Direction::Egress => "allow-dns",
            Direction::Ingress => "allow-dns-queries",
        };
        let rules = |wanted| (wanted == direction).then(|| vec![rule.clone()]);
        let policy = NetworkPolicy {
            kind: PolicyKind::NetworkPolicy,
            namespace: namespace.into(),
            name: free(self.index, namespace, name, &[]).into(),
            pod_selector: pods,
            ingress: rules(Direction::Ingress),
            egress: rules(Direction::Egress),
            origin: Origin::default(),
        };
        Suggested { policy, why: vec![why] }
    }

    /// The policies: one for each set of pods.
    pub fn into_policies(self, index: &ClusterIndex) -> Vec<Suggested> {
        let mut out = self.dns;
        let mut taken: BTreeMap<Box<str>, Vec<Box<str>>> = BTreeMap::new();
        for suggested in &out {
            taken.entry(suggested.policy.namespace.clone()).or_default().push(suggested.policy.name.clone());
        }
        for (subject, draft) in self.drafts {
            let taken = taken.entry(subject.namespace.clone()).or_default();
            let wish = format!("allow-{}", as_name(&draft.called.clone().unwrap_or_default()));
            let (named, others): (Ports, Ports) =
                draft.ports.into_iter().partition(|((_, peer), _)| matches!(peer, PeerKey::Name(_)));
            // Names have a kind of their own.
            for (kind, ports) in [(PolicyKind::NetworkPolicy, others), (PolicyKind::EgressDomainPolicy, named)] {
                if ports.is_empty() {
                    continue;
                }
                let wish = kind.name_of(wish.trim_end_matches('-'));
                let name: Box<str> = free(index, &subject.namespace, &wish, taken).into();
                taken.push(name.clone());
                let policy = NetworkPolicy {
                    kind,
                    namespace: subject.namespace.clone(),
                    name,
                    pod_selector: subject.selector.clone(),
                    ingress: rules_of(&ports, Direction::Ingress),
                    egress: rules_of(&ports, Direction::Egress),
                    origin: Origin::default(),
                };
                out.push(Suggested { policy, why: draft.why.iter().cloned().collect() });
            }
        }
        out
    }
}

/// The rules of one direction: peers with the same ports in one rule.
fn rules_of(ports: &Ports, direction: Direction) -> Option<Vec<Rule>> {
    let mut by_ports: BTreeMap<Option<Vec<PortMatch>>, Vec<Peer>> = BTreeMap::new();
    for ((_, peer), ports) in ports.iter().filter(|((d, _), _)| *d == direction) {
        // Every port holds all others.
        let ports: Option<Vec<PortMatch>> = ports.iter().cloned().collect();
        by_ports.entry(ports.map(without_held)).or_default().push(peer.clone().into());
    }
    let rules: Vec<Rule> = by_ports.into_iter().map(|(ports, peers)| Rule { peers: Some(peers), ports }).collect();
    (!rules.is_empty()).then_some(rules)
}

/// Without ports that every port of their protocol holds.
fn without_held(ports: Vec<PortMatch>) -> Vec<PortMatch> {
    let whole: Vec<Protocol> = Protocol::ALL
        .into_iter()
        .filter(|protocol| ports.contains(&PortMatch::Range(PortRange::all_of(*protocol))))
        .collect();
    let kept = |port: &PortMatch| {
        !whole.contains(&port.protocol()) || *port == PortMatch::Range(PortRange::all_of(port.protocol()))
    };
    ports.into_iter().filter(kept).collect()
}

fn by_name(namespace: &str) -> Selector {
    [Requirement::equals(NAMESPACE_NAME_LABEL, namespace)].into_iter().collect()
}

fn dns_ports(numbers: impl IntoIterator<Item = u16>) -> Vec<PortMatch> {
    let both =
        |port| [Protocol::Udp, Protocol::Tcp].map(|protocol| PortMatch::Range(PortRange::single(protocol, port)));
    numbers.into_iter().flat_map(both).collect()
}

/// What a policy for pods without a workload is called: the value of the label that selects them.
fn called_after(selector: &Selector, endpoint: &Endpoint) -> String {
    let values = selector.requirements().iter().find_map(|requirement| match &requirement.condition {
        Condition::In(values) => values.first(),
        _ => None,
    });
    values.map_or_else(|| endpoint.key.name.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_holds_the_others() {
        let tcp = |port| PortMatch::Range(PortRange::single(Protocol::Tcp, port));
        let all = PortMatch::Range(PortRange::all_of(Protocol::Tcp));
        let udp = PortMatch::Range(PortRange::single(Protocol::Udp, 53));
        assert_eq!(without_held(vec![all.clone(), tcp(80), udp.clone()]), vec![all, udp]);
    }
}
