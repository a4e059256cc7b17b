//! One direction of the compiled form: subjects with their rules, peers with their classes.
//!
//! For ingress the subject is the destination and the peer the source; for egress the other way.
//! A *group* is a set of policies that isolate the same pods (and the numbers that port names have
//! there); a *peer class* is what the rules can tell of a peer: which selector terms match it, in
//! which blocks its address lies, which numbers its port names have.

use super::blocks::{BlockId, Blocks, CidrClassId, Unaddressed};
use super::endpoint::Endpoint;
use super::interner::Interner;
use super::matcher::{Matcher, SelectorId};
use super::tier::Action;
use crate::cluster::Key;
use crate::policy::{Direction, NamedPort, NetworkPolicy, Peer, PortMatch};
use crate::ports::{PortRange, PortSet, Protocol};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The number of a namespace.
pub type NamespaceId = u32;
/// The number of a policy in a direction.
pub type PolicyId = u32;
/// The number of a distinct selector term.
pub type TermId = u32;
/// The number of a group of subjects.
pub type GroupId = u32;
/// The number of a class of peers.
pub type PeerId = u32;
/// The number of a used port name.
pub type NameId = u32;

/// The group of pods that nothing isolates.
pub const NOT_ISOLATED: GroupId = 0;

/// The namespaces of a selector term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The policy's own (B1).
    Own(NamespaceId),
    /// Those that a selector matches.
    Selected(SelectorId),
}

/// A pair of namespaces and pods in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term {
    /// The namespaces.
    pub scope: Scope,
    /// The pods there.
    pub pods: SelectorId,
}

/// A rule as the readers see it: numbers in place of selectors and blocks.
#[derive(Debug, Clone)]
pub struct CompiledRule {
    /// What it does; NetworkPolicy v1 only accepts.
    pub action: Action,
    /// Its peers; `None` for every peer.
    pub peers: Option<PeerTerms>,
    /// The numbers of its ports.
    pub ports: PortSet,
    /// The names of its ports.
    pub names: Box<[NameId]>,
}

/// The peers of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct PeerTerms {
    /// Pods by selectors.
    pub terms: Box<[TermId]>,
    /// Addresses: blocks, and patterns of names, which [`Blocks::pattern`] tells.
    pub blocks: Box<[BlockId]>,
}

/// A policy in one direction.
#[derive(Debug, Clone)]
pub struct PolicySlot {
    /// The policy it comes from.
    pub policy: Arc<NetworkPolicy>,
    /// Which pods of its namespace it isolates.
    pub subject: SelectorId,
    /// Its rules, in the order of its spec.
    pub rules: Vec<CompiledRule>,
}

/// Subjects that no rule tells apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Group {
    /// The policies that isolate them, sorted.
    pub policies: Box<[PolicyId]>,
    /// What port names stand for on them (ingress only: C3 asks the destination).
    pub names: Box<[(NameId, u16)]>,
}

/// Peers that no rule tells apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct PeerClass {
    /// The class of its address.
    pub cidr: CidrClassId,
    /// The selector terms that match it (a number of `Side::term_set`).
    pub terms: u32,
    /// What port names stand for on it (egress only), a number of `Side::name_table`.
    pub names: u32,
}

/// What selectors say of all pods of a namespace with the same labels.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// The policies that isolate them.
    pub policies: Box<[PolicyId]>,
    /// The terms that match them, a number of `Side::term_set`.
    pub terms: u32,
}

/// What taking in a policy made necessary.
#[derive(Debug, Default)]
pub struct Fallout {
    /// New terms: pods in their scope have to be looked at again.
    pub new_scopes: Vec<Scope>,
    /// New blocks or port names: every pod has to be looked at again.
    pub everything: bool,
}

/// One direction.
#[derive(Debug, Clone)]
pub struct Side {
    /// Which.
    pub direction: Direction,
    policies: Vec<Option<PolicySlot>>,
    ids: FxHashMap<Key, PolicyId>,
    by_namespace: FxHashMap<NamespaceId, Vec<PolicyId>>,
    terms: Interner<Term>,
    by_scope: FxHashMap<Scope, Vec<TermId>>,
    /// The blocks of this direction's rules.
    pub blocks: Blocks,
    names: Interner<NamedPort>,
    groups: Interner<Group>,
    term_sets: Interner<Box<[TermId]>>,
    name_tables: Interner<Box<[(NameId, u16)]>>,
    peers: Interner<PeerClass>,
}

impl Side {
    /// A direction without policies.
    pub fn new(direction: Direction) -> Self {
        let mut groups = Interner::default();
        groups.intern(&Group::default());
        let (mut term_sets, mut name_tables) = (Interner::default(), Interner::default());
        term_sets.intern(&Box::default());
        name_tables.intern(&Box::default());
        Side {
            direction,
            policies: Vec::new(),
            ids: FxHashMap::default(),
            by_namespace: FxHashMap::default(),
            terms: Interner::default(),
            by_scope: FxHashMap::default(),
            blocks: Blocks::default(),
            names: Interner::default(),
            groups,
            term_sets,
            name_tables,
            peers: Interner::default(),
        }
    }

    /// Takes in, changes or (with `None`) takes out a policy.
    pub fn set_policy(
        &mut self,
        key: &Key,
        namespace: NamespaceId,
        policy: Option<&Arc<NetworkPolicy>>,
        pods: &mut Matcher,
        namespaces: &mut Matcher,
    ) -> Fallout {
        let mut fallout = Fallout::default();
        let known = self.ids.get(key).copied();
        let rules = policy.and_then(|policy| policy.rules(self.direction).map(|rules| (policy, rules)));
        let Some((policy, rules)) = rules else {
            if let Some(id) = known {
                self.ids.remove(key);
                if let Some(slot) = self.policies.get_mut(id as usize) {
                    *slot = None;
                }
                self.by_namespace.entry(namespace).or_default().retain(|other| *other != id);
            }
            return fallout;
        };
        let rules = rules.iter().map(|rule| self.lower(rule, namespace, pods, namespaces, &mut fallout)).collect();
        let slot = PolicySlot { policy: policy.clone(), subject: pods.selector(&policy.pod_selector), rules };
        match known {
            Some(id) => {
                if let Some(place) = self.policies.get_mut(id as usize) {
                    *place = Some(slot);
                }
            }
            None => {
                let id = u32::try_from(self.policies.len()).unwrap_or(u32::MAX);
                self.policies.push(Some(slot));
                self.ids.insert(key.clone(), id);
                self.by_namespace.entry(namespace).or_default().push(id);
            }
        }
        fallout
    }

    /// Lowers a rule of NetworkPolicy v1 into the tiered form.
    fn lower(
        &mut self,
        rule: &crate::policy::Rule,
        namespace: NamespaceId,
        pods: &mut Matcher,
        namespaces: &mut Matcher,
        fallout: &mut Fallout,
    ) -> CompiledRule {
        let peers = rule.peers.as_ref().map(|peers| {
            let (mut terms, mut blocks) = (Vec::new(), Vec::new());
            for peer in peers {
                match peer {
                    Peer::Block(block) => {
                        let (id, new) = self.blocks.intern(block);
                        fallout.everything |= new;
                        blocks.push(id);
                    }
                    Peer::Names(patterns) => {
                        for pattern in patterns {
                            let (id, new) = self.blocks.intern_names(pattern);
                            fallout.everything |= new;
                            blocks.push(id);
                        }
                    }
                    Peer::Pods { namespaces: selector, pods: pod_selector } => {
                        let scope = match selector {
                            None => Scope::Own(namespace),
                            Some(selector) => Scope::Selected(namespaces.selector(selector)),
                        };
                        let (id, new) = self.terms.intern(&Term { scope, pods: pods.selector(pod_selector) });
                        if new {
                            self.by_scope.entry(scope).or_default().push(id);
                            fallout.new_scopes.push(scope);
                        }
                        terms.push(id);
                    }
                }
            }
            PeerTerms { terms: terms.into(), blocks: blocks.into() }
        });
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        match &rule.ports {
            None => numbers.extend(Protocol::ALL.map(PortRange::all_of)),
            Some(ports) => {
                for port in ports {
                    match port {
                        PortMatch::Range(range) => numbers.push(*range),
                        PortMatch::Named(named) => {
                            let (id, new) = self.names.intern(named);
                            fallout.everything |= new;
                            names.push(id);
                        }
                    }
                }
            }
        }
        CompiledRule { action: Action::Accept, peers, ports: numbers.into_iter().collect(), names: names.into() }
    }

    /// What selectors say of pods with some labels in a namespace.
    /// `scopes` are the selectors that match the namespace.
    pub fn shape(&mut self, namespace: NamespaceId, scopes: &[SelectorId], labels: u32, pods: &Matcher) -> Shape {
        let candidates = self.by_namespace.get(&namespace).map_or(&[][..], Vec::as_slice);
        let isolates = |id: &&PolicyId| self.slot(**id).is_some_and(|slot| pods.matches(labels, slot.subject));
        let policies = candidates.iter().filter(isolates).copied().collect();
        let scopes = scopes.iter().map(|id| Scope::Selected(*id)).chain([Scope::Own(namespace)]);
        let in_scope = scopes.filter_map(|scope| self.by_scope.get(&scope)).flatten().copied();
        let matches = |id: &TermId| self.terms.get(*id).is_some_and(|term| pods.matches(labels, term.pods));
        let mut terms: Vec<TermId> = in_scope.filter(matches).collect();
        terms.sort_unstable();
        Shape { policies, terms: self.term_sets.intern(&terms.into()).0 }
    }

    /// The group of an endpoint of a shape.
    pub fn group(&mut self, shape: &Shape, endpoint: &Endpoint) -> GroupId {
        if endpoint.host_network || shape.policies.is_empty() {
            return NOT_ISOLATED;
        }
        let names = match self.direction {
            Direction::Ingress => self.names_of(endpoint),
            Direction::Egress => Box::default(),
        };
        self.groups.intern(&Group { policies: shape.policies.clone(), names }).0
    }

    /// The class of an endpoint as a peer, given the class of its address.
    pub fn peer(&mut self, shape: &Shape, endpoint: &Endpoint, cidr: CidrClassId) -> PeerId {
        let names = match self.direction {
            Direction::Egress if !endpoint.host_network => self.name_tables.intern(&self.names_of(endpoint)).0,
            _ => 0,
        };
        let terms = if endpoint.host_network { 0 } else { shape.terms };
        self.peers.intern(&PeerClass { cidr, terms, names }).0
    }

    /// The class that addresses outside the cluster have as peers.
    pub fn outside_peer(&self, cidr: CidrClassId) -> PeerClass {
        PeerClass { cidr, terms: 0, names: 0 }
    }

    /// What is known of an endpoint's address.
    pub fn unaddressed(&self, endpoint: &Endpoint, family: crate::net::Family) -> Unaddressed {
        self.blocks.unaddressed(family, endpoint.host_network)
    }

    fn names_of(&self, endpoint: &Endpoint) -> Box<[(NameId, u16)]> {
        if self.names.items().is_empty() || endpoint.ports.iter().all(|port| port.name.is_none()) {
            return Box::default();
        }
        let used = (0..).zip(self.names.items());
        let mut table: Vec<(NameId, u16)> =
            used.flat_map(|(id, named)| endpoint.resolve(named).map(move |port| (id, port))).collect();
        table.sort_unstable();
        table.dedup();
        table.into()
    }

    /// How many numbers were given so far.
    pub fn numbers(&self) -> usize {
        let of_peers = self.term_sets.items().len() + self.name_tables.items().len() + self.peers.items().len();
        let of_rules = self.terms.items().len() + self.blocks.numbers() + self.names.items().len();
        self.policies.len() + self.groups.items().len() + of_peers + of_rules
    }

    /// A policy.
    pub fn slot(&self, id: PolicyId) -> Option<&PolicySlot> {
        self.policies.get(id as usize).and_then(Option::as_ref)
    }

    /// All policies of this direction, those that isolate no pod among them.
    pub fn slots(&self) -> impl Iterator<Item = &PolicySlot> {
        self.policies.iter().flatten()
    }

    /// A group.
    pub fn group_of(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    /// The policies of a group.
    pub fn policies_of(&self, id: GroupId) -> impl Iterator<Item = &PolicySlot> {
        self.groups.get(id).into_iter().flat_map(|group| group.policies.iter()).filter_map(|id| self.slot(*id))
    }

    /// A class of peers.
    pub fn peer_class(&self, id: PeerId) -> Option<&PeerClass> {
        self.peers.get(id)
    }

    /// The terms of a number of a term set.
    pub fn term_set(&self, id: u32) -> &[TermId] {
        self.term_sets.get(id).map_or(&[], |terms| terms)
    }

    /// The port names and numbers of a number of a name table.
    pub fn name_table(&self, id: u32) -> &[(NameId, u16)] {
        self.name_tables.get(id).map_or(&[], |names| names)
    }

    /// The protocol of a port name.
    pub fn name_protocol(&self, id: NameId) -> Option<Protocol> {
        self.names.get(id).map(|named| named.protocol)
    }

    /// Whether a rule's peers hold a class.
    pub fn rule_has_peer(&self, rule: &CompiledRule, peer: &PeerClass) -> bool {
        let Some(peers) = &rule.peers else { return true };
        let terms = self.term_set(peer.terms);
        peers.terms.iter().any(|term| terms.binary_search(term).is_ok())
            || peers.blocks.iter().any(|block| self.blocks.holds(*block, peer.cidr))
    }

    /// Whether a rule's ports hold a port, given what names stand for on the destination.
    pub fn rule_has_port(&self, rule: &CompiledRule, names: &[(NameId, u16)], protocol: Protocol, port: u16) -> bool {
        rule.ports.contains(protocol, port)
            || rule
                .names
                .iter()
                .any(|name| self.name_protocol(*name) == Some(protocol) && names.binary_search(&(*name, port)).is_ok())
    }

    /// The ports of a rule, given what names stand for on the destination.
    pub fn rule_ports(&self, rule: &CompiledRule, names: &[(NameId, u16)]) -> PortSet {
        if rule.names.is_empty() {
            return rule.ports.clone();
        }
        let resolved = names.iter().filter(|(name, _)| rule.names.contains(name));
        let resolved = resolved.filter_map(|(name, port)| Some(PortRange::single(self.name_protocol(*name)?, *port)));
        rule.ports.ranges().iter().copied().chain(resolved).collect()
    }

    /// What port names stand for between a group and a peer: on the destination (C3).
    pub fn names_between(&self, group: GroupId, peer: &PeerClass) -> &[(NameId, u16)] {
        match self.direction {
            Direction::Ingress => self.groups.get(group).map_or(&[], |group| &group.names),
            Direction::Egress => self.name_table(peer.names),
        }
    }
}
