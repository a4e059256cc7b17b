//! Why: which rules nearly allowed a connection, and the smallest change that would.

use crate::cluster::ClusterIndex;
use crate::cluster_dns::{ClusterDns, Lookup};
use crate::compile::{Address, Compiled};
use crate::evaluate::{Decision, Exemption, Judgement, Party, RuleRef};
use crate::manifest::rule_yaml;
use crate::net::Family;
use crate::object::{NAMESPACE_NAME_LABEL, Origin, Path};
use crate::policy::{Direction, IpBlock, NetworkPolicy, Peer, PolicyKind, PortMatch, Rule};
use crate::ports::{PortRange, Protocol};
use crate::query::{Connection, Verdict};
use crate::selector::{Labels, Requirement, Selector};
use crate::suggest::free;
use ipnet::IpNet;
use std::sync::Arc;

/// The connection that is explained.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Who connects.
    pub source: Party,
    /// To whom.
    pub destination: Party,
    /// On which protocol.
    pub protocol: Protocol,
    /// On which port.
    pub port: u16,
    /// In which family.
    pub family: Family,
    /// The blocks that an address outside stands for, where it stands for more than itself.
    pub blocks: Vec<IpNet>,
}

/// A rule that would allow it but for little.
#[derive(Debug, Clone)]
pub struct NearMiss {
    /// The rule.
    pub rule: RuleRef,
    /// The part of the policy that does not fit: the ports, or the nearest peer.
    pub path: Path,
    /// What does not fit, in words.
    pub why: String,
    /// How many things do not fit.
    pub misses: usize,
}

/// A rule to add to a policy.
#[derive(Debug, Clone)]
pub struct Change {
    /// The policy that isolates and could let it through.
    pub policy: Arc<NetworkPolicy>,
    /// To which list the rule is added.
    pub direction: Direction,
    /// The rule.
    pub rule: Rule,
    /// How many pods (or workloads) the policy selects: all of them get the rule.
    pub selected: usize,
}

/// The nearest rules of one side and the change that would make it allow the connection.
#[derive(Debug, Clone, Default)]
pub struct Advice {
    /// The rules that nearly allow it, nearest first.
    pub near: Vec<NearMiss>,
    /// The narrowest rule that would allow it; `None` when no rule of a NetworkPolicy can say it.
    pub change: Option<Change>,
}

/// A party's features that rules ask for.
struct Traits {
    /// Namespace, the namespace's labels and its own; `None` for what is no pod.
    pod: Option<(Box<str>, Labels, Labels)>,
    address: Option<std::net::IpAddr>,
}

impl Traits {
    fn of(index: &ClusterIndex, compiled: &Compiled, party: Party, family: Family) -> Self {
        match party {
            Party::Address(address) => Traits { pod: None, address: Some(address) },
            Party::Endpoint(id) => {
                let Some(entry) = compiled.entry(id) else { return Traits { pod: None, address: None } };
                let endpoint = &entry.endpoint;
                let namespace = &endpoint.key.namespace;
                let labels = index.namespace_labels(namespace);
                let pod = (!endpoint.host_network).then(|| (namespace.clone(), labels, endpoint.labels.clone()));
                let address = match endpoint.addresses.get(family) {
                    Address::Known(address) => Some(*address),
                    _ => None,
                };
                Traits { pod, address }
            }
        }
    }
}

/// What would make one side of a denied connection allow it.
pub fn advise(
    index: &ClusterIndex,
    compiled: &Compiled,
    asked: &Asked,
    direction: Direction,
    judgement: &Judgement,
) -> Advice {
    if judgement.allows() {
        return Advice::default();
    }
    let peer = match direction {
        Direction::Ingress => asked.source,
        Direction::Egress => asked.destination,
    };
    let peer = Traits::of(index, compiled, peer, asked.family);
    let mut near: Vec<NearMiss> = Vec::new();
    for policy in &judgement.isolated_by {
        for (i, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
            let reference = RuleRef { policy: policy.clone(), direction, rule: i };
            near.extend(near_miss(compiled, asked, rule, reference, &peer));
        }
    }
    near.sort_by_key(|miss| miss.misses);
    // What misses more is told only where nothing misses less.
    let least = near.first().map_or(0, |miss| miss.misses);
    near.retain(|miss| miss.misses == least);
    // A rule reaches every pod that its policy selects: the policy that selects fewest opens least.
    // Among equals one that nearly allows it already is where its author would look.
    let is_near = |policy: &Arc<NetworkPolicy>| near.iter().any(|miss| Arc::ptr_eq(&miss.rule.policy, policy));
    // Pods and addresses are allowed by a NetworkPolicy only.
    let candidates = judgement.isolated_by.iter().filter(|policy| policy.kind == PolicyKind::NetworkPolicy);
    let policy = candidates.min_by_key(|p| (selected(compiled, p), !is_near(p))).cloned();
    let change = policy.and_then(|policy| {
        let rule = narrowest_rule(&policy, asked, &peer)?;
        let selected = selected(compiled, &policy);
        Some(Change { policy, direction, rule, selected })
    });
    near.truncate(3);
    Advice { near, change }
}

/// What makes a connection to a name allowed: a rule for a policy that is there, or a new policy.
#[derive(Debug, Clone)]
pub enum Fix {
    /// A rule to add.
    Rule(Change),
    /// A policy to add, for the same pods as one that isolates them already: so it isolates none besides.
    Policy {
        /// The policy.
        policy: Box<NetworkPolicy>,
        /// How many pods (or workloads) it selects.
        selected: usize,
    },
}

impl Fix {
    /// The objects that are new or replace those that are there.
    pub fn applied(&self) -> NetworkPolicy {
        match self {
            Fix::Rule(change) => {
                let mut policy = change.policy.as_ref().clone();
                change.apply_to(&mut policy);
                policy
            }
            Fix::Policy { policy, .. } => policy.as_ref().clone(),
        }
    }
}

/// What would make a connection to a name outside allowed: what is missing of a rule for the name, and of the way to
/// the cluster's DNS.
pub fn advise_name(index: &ClusterIndex, compiled: &Compiled, connection: &Connection) -> Vec<Fix> {
    let (Some(to), Party::Endpoint(id)) = (&connection.to_name, connection.source.party) else { return Vec::new() };
    let Some(entry) = compiled.entry(id) else { return Vec::new() };
    let isolated_by: Vec<Arc<NetworkPolicy>> =
        compiled.side(Direction::Egress).policies_of(entry.egress).map(|slot| slot.policy.clone()).collect();
    let fix = |kind: PolicyKind, wish: &str, rule: Rule| {
        let fewest = |kind: Option<PolicyKind>| {
            let fits = isolated_by.iter().filter(|policy| kind.is_none_or(|kind| policy.kind == kind));
            fits.min_by_key(|policy| selected(compiled, policy)).cloned()
        };
        if let Some(policy) = fewest(Some(kind)) {
            let selected = selected(compiled, &policy);
            return Some(Fix::Rule(Change { policy, direction: Direction::Egress, rule, selected }));
        }
        let like = fewest(None)?;
        let policy = NetworkPolicy {
            kind,
            namespace: like.namespace.clone(),
            name: free(index, &like.namespace, &kind.name_of(wish), &[]).into(),
            pod_selector: like.pod_selector.clone(),
            ingress: None,
            egress: Some(vec![rule]),
            origin: Origin::default(),
        };
        Some(Fix::Policy { selected: selected(compiled, &policy), policy: Box::new(policy) })
    };
    let mut fixes = Vec::new();
    // A rule for a name that stands for no address allows nothing; of a question about every port, why is seen on one.
    let stands_for_nothing = compiled.modes().names.of_pattern(&to.name).is_some_and(|addresses| addresses.is_empty());
    if to.by_rules != Verdict::Allowed && !stands_for_nothing && connection.port.is_some() {
        let protocol = connection.protocol.unwrap_or(Protocol::Tcp);
        let range = PortMatch::Range(PortRange::single(protocol, connection.port.unwrap_or_default()));
        let rule = Rule { peers: Some(vec![Peer::Names(vec![to.name.clone()])]), ports: Some(vec![range]) };
        fixes.extend(fix(PolicyKind::EgressDomainPolicy, "allow-names", rule));
    }
    let dns = || ClusterDns::of(index, compiled);
    let for_dns = || dns().rule(&entry.endpoint.key.namespace);
    match &to.lookup {
        Lookup::Open | Lookup::NotShown => {}
        Lookup::NoRule => {
            fixes.extend(for_dns().and_then(|rule| fix(PolicyKind::NetworkPolicy, "allow-dns", rule)));
        }
        Lookup::Closed { server, decision } => {
            if !decision.egress.allows() {
                fixes.extend(for_dns().and_then(|rule| fix(PolicyKind::NetworkPolicy, "allow-dns", rule)));
            }
            let asked = Asked {
                source: connection.source.party,
                destination: Party::Endpoint(server.id),
                protocol: server.protocol,
                port: server.port,
                family: decision.family,
                blocks: Vec::new(),
            };
            let advice = advise(index, compiled, &asked, Direction::Ingress, &decision.ingress);
            fixes.extend(advice.change.map(Fix::Rule));
        }
    }
    fixes
}

/// How many pods (or workloads) a policy selects.
fn selected(compiled: &Compiled, policy: &NetworkPolicy) -> usize {
    let entries = compiled.in_namespace(&policy.namespace).filter_map(|id| compiled.entry(id));
    entries.filter(|e| !e.endpoint.host_network && policy.pod_selector.matches(&e.endpoint.labels)).count()
}

/// Both sides' advice about a denied decision; empty when an exemption decided.
pub fn advise_both(
    index: &ClusterIndex,
    compiled: &Compiled,
    asked: &Asked,
    decision: &Decision,
) -> [(Direction, Advice); 2] {
    let exempt = matches!(decision.exemption, Some(Exemption::SamePod | Exemption::OwnNode(_)));
    [(Direction::Egress, &decision.egress), (Direction::Ingress, &decision.ingress)].map(|(direction, judgement)| {
        let advice = if exempt { Advice::default() } else { advise(index, compiled, asked, direction, judgement) };
        (direction, advice)
    })
}

/// What keeps a rule from allowing it, if that is little enough to be worth telling.
fn near_miss(compiled: &Compiled, asked: &Asked, rule: &Rule, reference: RuleRef, peer: &Traits) -> Option<NearMiss> {
    let port_fits = rule.ports.as_ref().is_none_or(|ports| ports.iter().any(|port| port_fits(compiled, asked, port)));
    let path = reference.path();
    let direction = reference.direction;
    let missed = match &rule.peers {
        None => Some((Vec::new(), path.clone())),
        Some(peers) => peers
            .iter()
            .enumerate()
            .map(|(i, item)| {
                (
                    peer_misses(&reference.policy.namespace, item, peer, direction),
                    path.key(direction.peer_field()).index(i),
                )
            })
            .min_by_key(|(misses, _)| misses.len()),
    };
    let (misses, peer_path) = missed?;
    match (misses.len(), port_fits) {
        (0, true) => None,
        (0, false) => {
            let allowed: Vec<String> = rule.ports.iter().flatten().map(ToString::to_string).collect();
            let why = format!("all but the port: it allows {}", allowed.join(", "));
            Some(NearMiss { rule: reference, path: path.key("ports"), why, misses: 1 })
        }
        (count @ 1..=2, true) => {
            let why = format!("all but {}", misses.join(", and "));
            Some(NearMiss { rule: reference, path: peer_path, why, misses: count })
        }
        _ => None,
    }
}

fn port_fits(compiled: &Compiled, asked: &Asked, port: &PortMatch) -> bool {
    match (port, asked.destination) {
        (PortMatch::Range(range), _) => range.contains(asked.protocol, asked.port),
        (PortMatch::Named(named), Party::Endpoint(id)) => {
            named.protocol == asked.protocol
                && compiled
                    .entry(id)
                    .is_some_and(|e| !e.endpoint.host_network && e.endpoint.resolve(named).any(|p| p == asked.port))
        }
        (PortMatch::Named(_), Party::Address(_)) => false,
    }
}

/// What of a peer item does not fit.
fn peer_misses(own: &str, item: &Peer, peer: &Traits, direction: Direction) -> Vec<String> {
    let end = match direction {
        Direction::Ingress => "source",
        Direction::Egress => "destination",
    };
    match (item, &peer.pod) {
        (Peer::Pods { namespaces, pods }, Some((namespace, namespace_labels, labels))) => {
            let mut misses = Vec::new();
            match namespaces {
                None if namespace.as_ref() != own => {
                    misses.push(format!("the namespace: it looks at pods of {own} only, the {end} is in {namespace}"));
                }
                None => {}
                Some(selector) => {
                    misses.extend(label_misses(selector, namespace_labels, &format!("the namespace {namespace}")))
                }
            }
            misses.extend(label_misses(pods, labels, &format!("the {end}")));
            misses
        }
        // A selector never matches what is no pod: not nearly, not at all.
        (Peer::Pods { .. }, None) => vec![String::new(); 9],
        // Nor do names match what is inside, and which name was meant outside an address does not say.
        (Peer::Names(_), _) => vec![String::new(); 9],
        (Peer::Block(block), _) => match peer.address {
            Some(address) if block.cidr.contains(&address) => {
                let holes = block.except.iter().filter(|e| e.contains(&address));
                holes.map(|e| format!("the exception {e}, which holds the {end}'s address {address}")).collect()
            }
            // Any block would be "all but the address"; only those of pods and hosts nearby help.
            _ => vec![String::new(); 9],
        },
    }
}

fn label_misses(selector: &Selector, labels: &Labels, who: &str) -> Vec<String> {
    let missed = selector.requirements().iter().filter(|r| !r.matches(labels));
    missed
        .map(|r| {
            let has =
                labels.get(&r.key).map_or_else(|| "has no such label".to_owned(), |v| format!("has `{}={v}`", r.key));
            format!("a label: it wants `{r}`, {who} {has}")
        })
        .collect()
}

/// Labels that controllers put on single pods or generations: a rule must not name them.
pub const GENERATED_LABELS: &[&str] = &[
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
    "controller-uid",
    "job-name",
];

/// The rule that allows this peer on this port and as little else as labels can say.
fn narrowest_rule(policy: &NetworkPolicy, asked: &Asked, peer: &Traits) -> Option<Rule> {
    let block = |cidr| Peer::Block(IpBlock { cidr, except: Vec::new() });
    let items = match &peer.pod {
        Some((namespace, _, labels)) => {
            let kept = labels.iter().filter(|(key, _)| !GENERATED_LABELS.contains(key));
            let pods: Selector = kept.map(|(key, value)| Requirement::equals(key, value)).collect();
            let by_name = || [Requirement::equals(NAMESPACE_NAME_LABEL, namespace)].into_iter().collect();
            vec![Peer::Pods { namespaces: (*namespace != policy.namespace).then(by_name), pods }]
        }
        None if asked.blocks.is_empty() => vec![block(IpNet::from(peer.address?))],
        None => asked.blocks.iter().copied().map(block).collect(),
    };
    let port = PortMatch::Range(PortRange::single(asked.protocol, asked.port));
    Some(Rule { peers: Some(items), ports: Some(vec![port]) })
}

impl Change {
    /// Adds the rule to the policy, which may have had other changes since it was asked about.
    pub fn apply_to(&self, policy: &mut NetworkPolicy) {
        let rules = match self.direction {
            Direction::Ingress => policy.ingress.get_or_insert_default(),
            Direction::Egress => policy.egress.get_or_insert_default(),
        };
        rules.push(self.rule.clone());
    }

    /// The list that the rule goes into: `spec.ingress`.
    pub fn path(&self) -> Path {
        Path::spec().key(self.direction.field())
    }

    /// The rule as YAML, an item of that list, without indentation before it.
    pub fn to_yaml(&self) -> String {
        rule_yaml(self.direction, &self.rule)
    }
}
