//! One question, one answer, with its reason.

use crate::compile::side::{CompiledRule, GroupId, PeerClass, PolicySlot, Side};
use crate::compile::tier::{Tier, TierEnd, flatten};
use crate::compile::{Address, Certainty, Compiled, EndpointId, Entry};
use crate::net::Family;
use crate::object::{NAMESPACE_NAME_LABEL, Path};
use crate::policy::{Direction, NetworkPolicy, Peer};
use crate::ports::{PortSet, Protocol};
use std::net::IpAddr;
use std::sync::Arc;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// A pod, or a workload that stands for its pods.
    Endpoint(EndpointId),
    /// An address that belongs to no pod.
    Address(IpAddr),
}

/// What is answered of one connection in one family (H1; *mixed* is of several connections).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It is allowed.
    Allowed,
    /// It is denied.
    Denied,
    /// It cannot be told from the input; the notes say what is missing.
    Unknown,
}

/// What the outcome rests on besides the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exemption {
    /// A pod always reaches itself (A6).
    SamePod,
    /// A pod and its own node always reach each other (D2).
    OwnNode(Box<str>),
}

/// Something that has to be said with an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// The answer would be another if a block held an address that is not known (B8).
    AddressNotKnown {
        /// Who has no address.
        who: String,
        /// The rule whose block could decide.
        rule: String,
        /// Whether it is on a node's network: then nothing is assumed.
        host: bool,
        /// Whether it was assumed to lie outside.
        assumed: bool,
    },
    /// The answer would be another if a name stood for an address, which is not known (G6).
    NameNotResolved {
        /// The address.
        address: String,
        /// The rule with the names.
        rule: String,
    },
    /// Whether these are a pod and its own node is not known (D2).
    NodeNotKnown {
        /// Whose node is not known.
        who: String,
    },
    /// A selector asks for labels of a namespace that the input does not define (B4).
    NamespaceNotDefined(Box<str>),
}

/// A rule of a policy.
#[derive(Debug, Clone)]
pub struct RuleRef {
    /// The policy.
    pub policy: Arc<NetworkPolicy>,
    /// Which list the rule is in.
    pub direction: Direction,
    /// Its index in that list.
    pub rule: usize,
}

impl RuleRef {
    /// `spec.ingress[1]`.
    pub fn path(&self) -> Path {
        Path::spec().key(self.direction.field()).index(self.rule)
    }

    /// `ns/name spec.ingress[1]`.
    pub fn name(&self) -> String {
        format!("{}/{} {}", self.policy.namespace, self.policy.name, self.path())
    }
}

/// One side's say: the source's egress, or the destination's ingress (A4).
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The policies that isolate this side; none: everything is allowed (A3).
    pub isolated_by: Vec<Arc<NetworkPolicy>>,
    /// The first rule that allows it.
    pub allowed_by: Option<RuleRef>,
}

impl Judgement {
    /// Whether this side allows it.
    pub fn allows(&self) -> bool {
        self.isolated_by.is_empty() || self.allowed_by.is_some()
    }
}

/// An answer with its reason.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The family it is about (B6).
    pub family: Family,
    /// The answer.
    pub outcome: Outcome,
    /// Why the rules do not matter, if they do not.
    pub exemption: Option<Exemption>,
    /// The source's say.
    pub egress: Judgement,
    /// The destination's say.
    pub ingress: Judgement,
    /// What has to be said with it.
    pub notes: Vec<Note>,
}

/// Which of two answers about unknown addresses is meant (B8, G6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Only blocks that surely hold a pod's address match it, and names that surely stand for an address.
    Surely,
    /// Blocks and names that may hold it match it too.
    Maybe,
}

impl<T: Copy> Certainty<T> {
    /// The answer that is meant.
    pub fn pick(&self, addresses: Addresses) -> T {
        match addresses {
            Addresses::Surely => self.surely,
            Addresses::Maybe => self.maybe,
        }
    }
}

/// A party with what evaluation needs of it.
struct Known<'c> {
    entry: Option<&'c Entry>,
    address: Option<IpAddr>,
    /// Whether a name may stand for its address (G5).
    may_be_named: bool,
}

impl<'c> Known<'c> {
    fn new(compiled: &'c Compiled, party: Party) -> Option<Self> {
        match party {
            Party::Endpoint(id) => Some(Known { entry: Some(compiled.entry(id)?), address: None, may_be_named: false }),
            Party::Address(address) => {
                let may_be_named = compiled.may_be_named(address);
                Some(Known { entry: None, address: Some(address), may_be_named })
            }
        }
    }

    fn has(&self, family: Family) -> bool {
        match (self.entry, self.address) {
            (Some(entry), _) => entry.as_peer.get(family).is_some(),
            (None, Some(address)) => Family::of(address) == family,
            (None, None) => false,
        }
    }

    fn group(&self, direction: Direction) -> GroupId {
        self.entry.map_or(0, |entry| entry.group(direction))
    }

    /// What it is to the rules of a direction of the other party.
    fn as_peer(&self, side: &Side, family: Family, addresses: Addresses) -> PeerClass {
        let ids = self.entry.and_then(|entry| *entry.as_peer.get(family));
        let id = ids.map(|ids| match side.direction {
            Direction::Ingress => ids.source.pick(addresses),
            Direction::Egress => ids.destination.pick(addresses),
        });
        let perhaps_named = self.may_be_named && addresses == Addresses::Maybe;
        let cidr = self.address.map_or(0, |address| match side.blocks.class_of(address) {
            class if perhaps_named => side.blocks.perhaps_named(class),
            class => class,
        });
        id.and_then(|id| side.peer_class(id).cloned()).unwrap_or_else(|| side.outside_peer(cidr))
    }

    fn is_unaddressed(&self, family: Family) -> bool {
        self.entry.is_some_and(|entry| *entry.endpoint.addresses.get(family) == Address::Unknown)
    }

    fn is_pod(&self) -> bool {
        self.entry.is_some_and(|entry| !entry.endpoint.host_network)
    }

    /// The node it is, or is on the network of: `None` when it is neither.
    fn node(&self, compiled: &'c Compiled) -> Option<Option<&'c str>> {
        match self.entry {
            Some(entry) if entry.endpoint.host_network => {
                let by_address = || {
                    entry.endpoint.families().find_map(|family| match entry.endpoint.addresses.get(family) {
                        Address::Known(address) => compiled.node_at(*address),
                        _ => None,
                    })
                };
                Some(entry.endpoint.node.as_deref().or_else(by_address))
            }
            Some(_) => None,
            None => compiled.node_at(self.address?).map(Some),
        }
    }

    fn name(&self) -> String {
        match (self.entry, self.address) {
            (Some(entry), _) => entry.endpoint.key.to_string(),
            (None, Some(address)) => address.to_string(),
            (None, None) => String::new(),
        }
    }
}

/// Whether two parties are a pod and a node.
enum NodeRelation {
    /// The pod's own node (D2).
    Own(Box<str>),
    /// One of them has a node that is not known: they may be.
    Unclear(String),
    /// No.
    No,
}

fn node_relation(compiled: &Compiled, a: &Known<'_>, b: &Known<'_>) -> NodeRelation {
    let (pod, host) = match (a.node(compiled), b.node(compiled)) {
        (None, Some(node)) if a.is_pod() => (a, node),
        (Some(node), None) if b.is_pod() => (b, node),
        _ => return NodeRelation::No,
    };
    let pod_node = pod.entry.and_then(|entry| entry.endpoint.node.as_deref());
    match (pod_node, host) {
        (Some(a), Some(b)) if a == b => NodeRelation::Own(a.into()),
        (Some(_), Some(_)) => NodeRelation::No,
        (None, _) => NodeRelation::Unclear(pod.name()),
        (_, None) => NodeRelation::Unclear(if std::ptr::eq(pod, a) { b.name() } else { a.name() }),
    }
}

/// The families in which two parties can talk.
pub fn families_between(compiled: &Compiled, source: Party, destination: Party) -> Vec<Family> {
    let (Some(a), Some(b)) = (Known::new(compiled, source), Known::new(compiled, destination)) else {
        return Vec::new();
    };
    Family::ALL.into_iter().filter(|family| a.has(*family) && b.has(*family)).collect()
}

/// Judges one connection in one family. `None` when they have no address of that family in common.
pub fn evaluate(
    compiled: &Compiled,
    source: Party,
    destination: Party,
    protocol: Protocol,
    port: u16,
    family: Family,
) -> Option<Decision> {
    let (a, b) = (Known::new(compiled, source)?, Known::new(compiled, destination)?);
    if !a.has(family) || !b.has(family) {
        return None;
    }
    let judge = |addresses| {
        let egress = judge_side(compiled.side(Direction::Egress), &a, &b, family, addresses, protocol, port);
        let ingress = judge_side(compiled.side(Direction::Ingress), &b, &a, family, addresses, protocol, port);
        (egress, ingress)
    };
    let (egress, ingress) = judge(Addresses::Surely);
    let allowed = egress.allows() && ingress.allows();
    let mut decision = Decision {
        family,
        outcome: if allowed { Outcome::Allowed } else { Outcome::Denied },
        exemption: None,
        egress,
        ingress,
        notes: Vec::new(),
    };
    if source == destination && a.entry.is_some_and(|entry| !entry.endpoint.is_template()) {
        (decision.outcome, decision.exemption) = (Outcome::Allowed, Some(Exemption::SamePod));
        return Some(decision);
    }
    note_namespaces(compiled, &decision.egress, &b, &mut decision.notes);
    note_namespaces(compiled, &decision.ingress, &a, &mut decision.notes);
    let relation = node_relation(compiled, &a, &b);
    if let NodeRelation::Own(node) = relation {
        (decision.outcome, decision.exemption) = (Outcome::Allowed, Some(Exemption::OwnNode(node)));
        return Some(decision);
    }
    if !allowed {
        // Blocks and names only ever add to what is allowed, so only a denial can rest on an assumption;
        // and where all is known there is none, and nothing to judge again.
        let open = a.is_unaddressed(family) || b.is_unaddressed(family) || b.may_be_named;
        let maybe = open.then(|| judge(Addresses::Maybe));
        if let Some((egress, ingress)) = maybe.filter(|(egress, ingress)| egress.allows() && ingress.allows()) {
            // A side that changed its mind did so for the address of its peer.
            let sides = [(&decision.egress, egress, &b), (&decision.ingress, ingress, &a)];
            for (_, after, peer) in sides.into_iter().filter(|(before, _, _)| !before.allows()) {
                let rule = after.allowed_by.map(|rule| rule.name()).unwrap_or_default();
                if let Some(address) = peer.address {
                    decision.outcome = Outcome::Unknown;
                    decision.notes.push(Note::NameNotResolved { address: address.to_string(), rule });
                    continue;
                }
                let host = !peer.is_pod();
                let assumed = !host && !compiled.modes().strict;
                decision.notes.push(Note::AddressNotKnown { who: peer.name(), rule, host, assumed });
                if !assumed {
                    decision.outcome = Outcome::Unknown;
                }
            }
        }
        if let NodeRelation::Unclear(who) = relation {
            decision.outcome = Outcome::Unknown;
            decision.notes.push(Note::NodeNotKnown { who });
        }
    }
    Some(decision)
}

fn judge_side(
    side: &Side,
    subject: &Known<'_>,
    peer: &Known<'_>,
    family: Family,
    addresses: Addresses,
    protocol: Protocol,
    port: u16,
) -> Judgement {
    let group = subject.group(side.direction);
    let peer = peer.as_peer(side, family, addresses);
    let names = side.names_between(group, &peer);
    let matches =
        |rule: &CompiledRule| side.rule_has_port(rule, names, protocol, port) && side.rule_has_peer(rule, &peer);
    let slots = || side.policies_of(group);
    let allowed = flatten(&true, &false, &tiers(slots(), matches));
    let by = |slot: &PolicySlot| slot.rules.iter().position(matches).map(|rule| (slot.policy.clone(), rule));
    let allowed_by = slots().find_map(by).filter(|_| allowed);
    Judgement {
        isolated_by: slots().map(|slot| slot.policy.clone()).collect(),
        allowed_by: allowed_by.map(|(policy, rule)| RuleRef { policy, direction: side.direction, rule }),
    }
}

/// The tiers that apply to a subject: NetworkPolicy v1 is one, and only for what it isolates (A3).
pub fn tiers<'s, S>(
    slots: impl Iterator<Item = &'s PolicySlot>,
    region: impl Fn(&'s CompiledRule) -> S,
) -> Vec<Tier<S>> {
    let mut slots = slots.peekable();
    if slots.peek().is_none() {
        return Vec::new();
    }
    let rules = slots.flat_map(|slot| &slot.rules).map(|rule| (rule.action, region(rule))).collect();
    vec![Tier { rules, end: TierEnd::Deny }]
}

/// Says when a selector asked for labels of a namespace that the input does not define (B4).
fn note_namespaces(compiled: &Compiled, judgement: &Judgement, peer: &Known<'_>, notes: &mut Vec<Note>) {
    let Some(entry) = peer.entry else { return };
    let namespace = &entry.endpoint.key.namespace;
    if !compiled.is_synthesized(namespace) {
        return;
    }
    let asks = |peer: &Peer| match peer {
        Peer::Pods { namespaces: Some(selector), .. } => {
            selector.requirements().iter().any(|r| r.key.as_ref() != NAMESPACE_NAME_LABEL)
        }
        _ => false,
    };
    let rules = judgement.isolated_by.iter().flat_map(|policy| {
        [Direction::Ingress, Direction::Egress].into_iter().filter_map(|d| policy.rules(d)).flatten()
    });
    let note = Note::NamespaceNotDefined(namespace.clone());
    if rules.filter_map(|rule| rule.peers.as_ref()).flatten().any(asks) && !notes.contains(&note) {
        notes.push(note);
    }
}

/// Every port on which one direction allows a group of subjects and a class of peers to talk.
pub fn side_ports(side: &Side, group: GroupId, peer: &PeerClass) -> PortSet {
    let names = side.names_between(group, peer);
    let region = |rule: &CompiledRule| {
        if side.rule_has_peer(rule, peer) { side.rule_ports(rule, names) } else { PortSet::EMPTY }
    };
    flatten(&PortSet::all(), &PortSet::EMPTY, &tiers(side.policies_of(group), region))
}

/// Every port on which one party reaches another in one family, exemptions included.
/// Where an address is not known, `addresses` says which blocks are taken to hold it (B8).
pub fn allowed_ports(
    compiled: &Compiled,
    source: Party,
    destination: Party,
    family: Family,
    addresses: Addresses,
) -> PortSet {
    let (Some(a), Some(b)) = (Known::new(compiled, source), Known::new(compiled, destination)) else {
        return PortSet::EMPTY;
    };
    if !a.has(family) || !b.has(family) {
        return PortSet::EMPTY;
    }
    let same = source == destination && a.entry.is_some_and(|entry| !entry.endpoint.is_template());
    if same || matches!(node_relation(compiled, &a, &b), NodeRelation::Own(_)) {
        return PortSet::all();
    }
    let ports = |side: &Side, subject: &Known<'_>, peer: &Known<'_>| {
        side_ports(side, subject.group(side.direction), &peer.as_peer(side, family, addresses))
    };
    let egress = ports(compiled.side(Direction::Egress), &a, &b);
    egress.intersection(&ports(compiled.side(Direction::Ingress), &b, &a))
}

/// The node that an endpoint runs on, where it is known.
pub fn node_of(compiled: &Compiled, id: EndpointId) -> Option<&str> {
    let known = Known::new(compiled, Party::Endpoint(id))?;
    known.node(compiled).unwrap_or_else(|| known.entry.and_then(|entry| entry.endpoint.node.as_deref()))
}

/// Whether they are a pod and its own node (D2); `None` when that is not known.
pub fn own_node(compiled: &Compiled, source: Party, destination: Party) -> Option<bool> {
    let (Some(a), Some(b)) = (Known::new(compiled, source), Known::new(compiled, destination)) else {
        return Some(false);
    };
    match node_relation(compiled, &a, &b) {
        NodeRelation::Own(_) => Some(true),
        NodeRelation::No => Some(false),
        NodeRelation::Unclear(_) => None,
    }
}
