//! The peers of this node's pods in one direction, in classes: two peers are of one class when the
//! same rules of the policies that isolate pods *of this node* match them. What other nodes' policies
//! tell apart does not count here.

use super::{Local, frame};
use crate::ruleset::elements::List;
use crate::ruleset::{Chain, Elements, Field, Key, Name, Set, SetKind, Statement, Verdict};
use netsim_shared::compile::blocks::{BlockId, CidrClassId};
use netsim_shared::compile::side::{GroupId, NOT_ISOLATED, PeerClass, PeerId, PolicyId, Side, TermId};
use netsim_shared::evaluate::side_ports;
use netsim_shared::net::{Family, PerFamily};
use netsim_shared::ports::PortSet;
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The number of a class in names; 0 is the class that nothing matches.
pub type ClassId = u32;
/// What no rule of this node's policies matches.
pub const NOTHING: ClassId = 0;

/// A rule of a policy that isolates a pod of this node.
type RuleId = (PolicyId, u32);

/// What makes a class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct ClassKey {
    /// The rules that match, sorted.
    rules: Box<[RuleId]>,
    /// Where rules ask for port names of the peer (C3): the number of its table of names.
    names: u32,
}

/// Ranges of at most so many ports are single elements of a hash set: cheaper to change and to look
/// up than an interval.
const FEW_PORTS: u16 = 16;

/// The classes of a direction.
#[derive(Debug, Default)]
pub struct Classes {
    by_term: FxHashMap<TermId, Vec<RuleId>>,
    by_block: FxHashMap<BlockId, Vec<RuleId>>,
    of_everyone: Vec<RuleId>,
    /// Rules with named ports.
    named: FxHashSet<RuleId>,
    /// The pods of this node by what isolates them.
    groups: FxHashMap<GroupId, Vec<PerFamily<Option<IpAddr>>>>,
    /// Which of those groups a policy isolates.
    groups_of: FxHashMap<PolicyId, Vec<GroupId>>,
    of_peer: FxHashMap<PeerId, ClassId>,
    of_cidr: FxHashMap<CidrClassId, ClassId>,
    ids: FxHashMap<ClassKey, ClassId>,
    /// What each class may reach, or be reached by, by family; `None`: nothing.
    allowed: FxHashMap<ClassId, PerFamily<Option<Allowed>>>,
    last_id: ClassId,
}

/// The elements of a class's sets.
#[derive(Debug, Clone)]
struct Allowed {
    /// The chain that looks them up.
    chain: Name,
    /// Pods that it may talk to on every port of every protocol.
    any: Elements,
    /// Single ports.
    ports: Elements,
    /// Ranges of ports.
    ranges: Elements,
}

impl Allowed {
    fn new(chain: Name, lists: Lists) -> Self {
        let elements = |list: List| list.into_iter().collect();
        Allowed { chain, any: elements(lists.any), ports: elements(lists.ports), ranges: elements(lists.ranges) }
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.ports.is_empty() && self.ranges.is_empty()
    }
}

/// The elements that a class's sets are made of.
#[derive(Debug, Default)]
struct Lists {
    any: List,
    ports: List,
    ranges: List,
}

impl Lists {
    fn add(&mut self, address: IpAddr, ports: &PortSet) {
        if ports.is_all() {
            self.any.push((Key::Address(address), None));
            return;
        }
        for range in ports.ranges() {
            let key = |first, last| (Key::Port { address, protocol: range.protocol, first, last }, None);
            if range.to - range.from < FEW_PORTS {
                self.ports.extend((range.from..=range.to).map(|port| key(port, port)));
            } else {
                self.ranges.push(key(range.from, range.to));
            }
        }
    }
}

impl Classes {
    /// Works out which rules count for the node's pods. Numbers of classes are kept from before
    /// where a class stayed what it was.
    pub fn new(side: &Side, locals: &[Local], before: &Classes) -> Self {
        let mut classes = Classes { last_id: before.last_id, ..Classes::default() };
        for local in locals {
            let group = local.group(side.direction);
            if group != NOT_ISOLATED {
                classes.groups.entry(group).or_default().push(local.addresses);
            }
        }
        for group in classes.groups.keys() {
            for policy in side.group_of(*group).iter().flat_map(|group| group.policies.iter()) {
                classes.groups_of.entry(*policy).or_default().push(*group);
            }
        }
        for policy in classes.groups_of.keys() {
            let rules = side.slot(*policy).map_or(&[][..], |slot| slot.rules.as_slice());
            for (index, rule) in (0..).zip(rules) {
                let id = (*policy, index);
                match &rule.peers {
                    None => classes.of_everyone.push(id),
                    Some(peers) => {
                        peers.terms.iter().for_each(|term| classes.by_term.entry(*term).or_default().push(id));
                        peers.blocks.iter().for_each(|block| classes.by_block.entry(*block).or_default().push(id));
                    }
                }
                if !rule.names.is_empty() {
                    classes.named.insert(id);
                }
            }
        }
        classes
    }

    /// Gives every peer in use and every range outside its class. Done in one go, so that a class
    /// whose rules changed can keep its number when most of its peers stay together: then they need
    /// not move.
    pub fn assign(&mut self, side: &Side, peers: impl Iterator<Item = PeerId>, before: &Classes) {
        let mut members: FxHashMap<ClassKey, (PeerClass, Vec<PeerId>, Vec<CidrClassId>)> = FxHashMap::default();
        let mut seen = FxHashSet::default();
        for id in peers.filter(|id| seen.insert(*id)) {
            let Some(peer) = side.peer_class(id) else { continue };
            members.entry(self.key(side, peer)).or_insert_with(|| (peer.clone(), vec![], vec![])).1.push(id);
        }
        let mut cidrs = FxHashSet::default();
        let ranges = Family::ALL.into_iter().flat_map(|family| side.blocks.ranges(family));
        for (_, cidr) in ranges.filter(|(_, cidr)| cidrs.insert(*cidr)) {
            let peer = side.outside_peer(cidr);
            let key = self.key(side, &peer);
            members.entry(key).or_insert_with(|| (peer, vec![], vec![])).2.push(cidr);
        }
        let mut members: Vec<_> = members.into_iter().collect();
        // The largest first; ties by their first member, so that it does not hang on the hashing.
        members.sort_unstable_by_key(|(_, (_, peers, cidrs))| {
            (std::cmp::Reverse(peers.len() + cidrs.len()), peers.first().copied(), cidrs.first().copied())
        });
        let kept: FxHashSet<ClassId> = members.iter().filter_map(|(key, _)| before.ids.get(key)).copied().collect();
        let mut taken = kept;
        for (key, (peer, peers, cidrs)) in members {
            let inherited = || {
                let was = peers.iter().filter_map(|peer| before.of_peer.get(peer));
                let was = was.chain(cidrs.iter().filter_map(|cidr| before.of_cidr.get(cidr)));
                was.copied().find(|id| *id != NOTHING && !taken.contains(id))
            };
            let id = match before.ids.get(&key) {
                _ if key.rules.is_empty() => NOTHING,
                Some(id) => *id,
                None => inherited().unwrap_or_else(|| self.next_id()),
            };
            taken.insert(id);
            self.define(side, id, key, &peer);
            self.of_peer.extend(peers.into_iter().map(|peer| (peer, id)));
            self.of_cidr.extend(cidrs.into_iter().map(|cidr| (cidr, id)));
        }
    }

    fn next_id(&mut self) -> ClassId {
        self.last_id += 1;
        self.last_id
    }

    /// The class of a peer; a class that was not there is made.
    pub fn of_peer(&mut self, side: &Side, id: PeerId) -> ClassId {
        if let Some(class) = self.of_peer.get(&id) {
            return *class;
        }
        let Some(peer) = side.peer_class(id) else { return NOTHING };
        let key = self.key(side, peer);
        let class = match self.ids.get(&key) {
            Some(class) => *class,
            None if key.rules.is_empty() => NOTHING,
            None => {
                let class = self.next_id();
                self.define(side, class, key, peer);
                class
            }
        };
        self.of_peer.insert(id, class);
        class
    }

    /// The class of an address outside the cluster, or of a pod that is not known.
    pub fn of_cidr(&self, cidr: CidrClassId) -> ClassId {
        self.of_cidr.get(&cidr).copied().unwrap_or(NOTHING)
    }

    /// The rules that match a peer.
    fn key(&self, side: &Side, peer: &PeerClass) -> ClassKey {
        let by_term = side.term_set(peer.terms).iter().filter_map(|term| self.by_term.get(term));
        let by_block = side.blocks.blocks_of(peer.cidr).iter().filter_map(|block| self.by_block.get(block));
        let matched = by_term.chain(by_block).flatten().chain(&self.of_everyone);
        let mut rules: Vec<RuleId> = matched.copied().collect();
        rules.sort_unstable();
        rules.dedup();
        let by_name = peer.names != 0 && rules.iter().any(|rule| self.named.contains(rule));
        ClassKey { rules: rules.into(), names: if by_name { peer.names } else { 0 } }
    }

    /// Works out what a class may talk to; `peer` is any of its members.
    fn define(&mut self, side: &Side, id: ClassId, key: ClassKey, peer: &PeerClass) {
        let groups = key.rules.iter().filter_map(|(policy, _)| self.groups_of.get(policy)).flatten();
        let mut groups: Vec<GroupId> = groups.copied().collect();
        groups.sort_unstable();
        groups.dedup();
        let mut lists: PerFamily<Lists> = PerFamily::default();
        for group in groups {
            let ports = side_ports(side, group, peer);
            for addresses in self.groups.get(&group).into_iter().flatten() {
                for family in Family::ALL {
                    if let Some(address) = addresses.get(family) {
                        lists.get_mut(family).add(*address, &ports);
                    }
                }
            }
        }
        let allowed = PerFamily::from_fn(|family| {
            let allowed = Allowed::new(chain_name(side, id, family), std::mem::take(lists.get_mut(family)));
            Some(allowed).filter(|allowed| !allowed.is_empty())
        });
        self.allowed.insert(id, allowed);
        self.ids.insert(key, id);
    }

    /// The chain of a class in a family; `None` where it is allowed nothing.
    pub fn chain(&self, class: ClassId, family: Family) -> Option<&Name> {
        self.allowed.get(&class).and_then(|allowed| allowed.get(family).as_ref()).map(|allowed| &allowed.chain)
    }

    /// The chains and sets of all classes.
    pub fn write(&self, side: &Side, chains: &mut impl FnMut(Name, Chain), sets: &mut impl FnMut(Name, Set)) {
        self.allowed.keys().for_each(|class| self.write_class(side, *class, chains, sets));
    }

    /// The chains and sets of one class.
    pub fn write_class(
        &self,
        side: &Side,
        class: ClassId,
        chains: &mut impl FnMut(Name, Chain),
        sets: &mut impl FnMut(Name, Set),
    ) {
        for family in Family::ALL {
            let Some(allowed) = self.allowed.get(&class).and_then(|allowed| allowed.get(family).as_ref()) else {
                continue;
            };
            let subject = frame::subject_field(side.direction, family);
            let chain = &allowed.chain;
            let mut rules = Vec::new();
            let mut look_up = |suffix: &str, kind: SetKind, elements: &Elements| {
                if elements.is_empty() {
                    return;
                }
                let name: Name = format!("{chain}_{suffix}").into();
                let found = |fields| [Statement::InSet(fields, name.clone()), Statement::Verdict(Verdict::Return)];
                if let SetKind::Addresses(_) = kind {
                    rules.push(found(vec![subject]).to_vec());
                } else {
                    // The port that was opened to is the destination's on the way there, and the
                    // source's on the way back.
                    let ways =
                        [(Statement::CtOriginal, Field::DestinationPort), (Statement::CtReply, Field::SourcePort)];
                    rules.extend(ways.map(|(way, port)| {
                        [way].into_iter().chain(found(vec![subject, Field::Protocol, port])).collect()
                    }));
                }
                sets(name, Set { kind, elements: elements.clone() });
            };
            look_up("any", SetKind::Addresses(family), &allowed.any);
            look_up("ports", SetKind::Ports(family), &allowed.ports);
            look_up("ranges", SetKind::PortRanges(family), &allowed.ranges);
            rules.push(frame::only(Verdict::Goto(frame::deny_chain(side.direction))));
            chains(chain.clone(), Chain { hook: None, rules });
        }
    }

    /// How many classes there are, the one that nothing matches left out.
    pub fn count(&self) -> usize {
        self.allowed.keys().filter(|id| **id != NOTHING).count()
    }
}

fn chain_name(side: &Side, class: ClassId, family: Family) -> Name {
    format!("{}{}_class{class}", side.direction, frame::digit(family)).into()
}

/// Keeps `Arc`s of what did not change, so that it need not be compared again.
pub fn keep<T: PartialEq>(old: Option<&Arc<T>>, new: T) -> Arc<T> {
    match old {
        Some(old) if **old == new => old.clone(),
        _ => Arc::new(new),
    }
}
