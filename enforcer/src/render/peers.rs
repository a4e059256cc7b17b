//! Who the isolated pods of this node may talk to in one direction: sets of addresses, and for each
//! group of pods the lines that look them up.
//!
//! A set holds the pods that the selectors of a rule match, and rules with the same selectors share
//! it; only rules of policies that isolate pods *of this node* count. A pod that comes or goes
//! anywhere in the cluster is an element of the sets whose selectors match it, and no rule changes.
//!
//! Why not one map from addresses to chains, which would be one lookup whatever the rules: an element
//! that goes to a chain makes the kernel walk through all such maps of the table at each change, and
//! at 50,000 elements that was measured to take 30 ms, against 40 µs for an element of a set.

use super::{Local, NamesSet, frame};
use crate::ruleset::elements::List;
use crate::ruleset::{
    COMMENT_MAX, CT_ESTABLISHED, Chain, Elements, Field, Key, Name, Rule, Set, SetKind, Statement, Verdict,
};
use netsim_shared::compile::blocks::BlockId;
use netsim_shared::compile::side::{GroupId, NOT_ISOLATED, NameId, PeerClass, PeerId, PeerTerms, Side, TermId};
use netsim_shared::compile::tier::Action;
use netsim_shared::dns::NamePattern;
use netsim_shared::evaluate::side_ports;
use netsim_shared::net::{Family, PerFamily, from_number};
use netsim_shared::policy::Direction;
use netsim_shared::ports::{PortRange, PortSet};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// The number of a set of peers, as in its name.
type SetId = u32;

/// What makes a set of peers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Spec {
    /// Pods that any of these terms matches.
    Terms(Box<[TermId]>),
    /// Pods that a group may talk to on just these ports.
    Exactly(GroupId, PortSet),
    /// Pods with ports of these names, which count there (C3); `None`: all pods.
    Named(Option<PeerTerms>, Box<[NameId]>),
}

/// Sets that never change. They are known by what is in them, and have numbers like all others: a
/// hash of it in the name could be made to fit another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Content {
    /// Ranges of addresses.
    Ranges(Family, Vec<(u128, u128)>),
    /// Ports.
    Ports(PortSet),
    /// What names stand for: sorted, each once. Its elements are not the ruleset's.
    Names(Arc<[NamePattern]>),
}

/// What is allowed to a group, one lookup each.
#[derive(Debug, Clone)]
enum Line {
    /// Every peer, on these ports.
    Everyone(Ports),
    /// The peers of a set, on these ports.
    Set(SetId, Ports),
    /// The peers of a set, on the ports that are in it.
    Named(SetId),
    /// Addresses in ranges, on these ports.
    Ranges(PerFamily<Option<SetId>>, Ports),
    /// Addresses that names stand for, on these ports.
    Names(SetId, Ports),
}

/// Ports by the number of their set; `None`: every port of every protocol.
type Ports = Option<SetId>;
/// What a group's rules allow, by their peers: numbers of ports, and names of them.
type ByPeers = BTreeMap<Option<PeerTerms>, (PortSet, BTreeSet<NameId>)>;

/// The sets that a peer is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Membership {
    sets: Vec<SetId>,
    named: Vec<(SetId, Vec<PortRange>)>,
}

/// The peers of a direction.
#[derive(Debug, Default)]
pub struct Peers {
    ids: FxHashMap<Spec, SetId>,
    contents: FxHashMap<Content, SetId>,
    last_id: SetId,
    by_term: FxHashMap<TermId, Vec<SetId>>,
    exactly: BTreeMap<GroupId, Vec<(PortSet, SetId)>>,
    named: Vec<(SetId, Option<PeerTerms>, Box<[NameId]>)>,
    groups: BTreeMap<GroupId, Vec<Line>>,
    members: FxHashMap<PeerId, Arc<Membership>>,
    /// Who had which address when the sets were made.
    placed: FxHashMap<IpAddr, PeerId>,
}

/// Where chains and sets go.
pub trait Out {
    /// A chain.
    fn chain(&mut self, name: Name, chain: Chain);
    /// A set.
    fn set(&mut self, name: Name, set: Set);
    /// The elements that a set had last.
    fn last(&self, name: &str) -> Elements;
}

impl Peers {
    /// Works out what is allowed to the groups of the node's pods. Sets that were there before keep
    /// their numbers.
    pub fn new(side: &Side, locals: &[Local], used: &[(IpAddr, PeerId)], many_lines: usize, before: &Peers) -> Self {
        let mut peers = Peers { last_id: before.last_id, ..Peers::default() };
        let groups: BTreeSet<GroupId> = locals.iter().map(|local| local.group(side.direction)).collect();
        for group in groups.into_iter().filter(|group| *group != NOT_ISOLATED) {
            let lines = match by_peers(side, group) {
                Some(by_peers) if count_lines(side, &by_peers) <= many_lines => {
                    peers.lines_by_rule(side, by_peers, before)
                }
                _ => peers.lines_by_ports(side, group, used, before),
            };
            peers.groups.insert(group, lines);
        }
        peers.index();
        peers
    }

    /// A line for each peer list of the group's rules.
    fn lines_by_rule(&mut self, side: &Side, by_peers: ByPeers, before: &Peers) -> Vec<Line> {
        let mut lines = Vec::new();
        for (peers, (ports, names)) in by_peers {
            if !names.is_empty() {
                let spec = Spec::Named(peers.clone(), names.into_iter().collect());
                lines.push(Line::Named(self.id(spec, before)));
            }
            if ports.is_empty() {
                continue;
            }
            let ports = self.ports(ports, before);
            let Some(PeerTerms { mut terms, blocks }) = peers else {
                lines.push(Line::Everyone(ports));
                continue;
            };
            let patterns: BTreeSet<&NamePattern> = blocks.iter().filter_map(|id| side.blocks.pattern(*id)).collect();
            if patterns.len() < blocks.len() {
                let held = |class| blocks.iter().any(|block: &BlockId| side.blocks.holds(*block, class));
                lines.push(Line::Ranges(self.ranges(side, held, before), ports));
            }
            if !patterns.is_empty() {
                lines.push(Line::Names(self.names(patterns, before), ports));
            }
            if !terms.is_empty() {
                terms.sort_unstable();
                lines.push(Line::Set(self.id(Spec::Terms(terms), before), ports));
            }
        }
        lines
    }

    /// A line for each distinct set of ports.
    fn lines_by_ports(&mut self, side: &Side, group: GroupId, used: &[(IpAddr, PeerId)], before: &Peers) -> Vec<Line> {
        let mut seen = FxHashSet::default();
        let pods = used.iter().map(|(_, peer)| *peer).filter(|peer| seen.insert(*peer));
        let of_pods: BTreeSet<PortSet> =
            pods.filter_map(|peer| side.peer_class(peer)).map(|peer| side_ports(side, group, peer)).collect();
        let outside = |class| side_ports(side, group, &side.outside_peer(class));
        let classes = Family::ALL.into_iter().flat_map(|family| side.blocks.ranges(family)).map(|(_, class)| class);
        let of_ranges: BTreeSet<PortSet> = classes.map(outside).collect();
        let mut lines = Vec::new();
        for ports in of_ranges.into_iter().filter(|ports| !ports.is_empty()) {
            let ranges = self.ranges(side, |class| outside(class) == ports, before);
            lines.push(Line::Ranges(ranges, self.ports(ports, before)));
        }
        for ports in of_pods.into_iter().filter(|ports| !ports.is_empty()) {
            let set = self.id(Spec::Exactly(group, ports.clone()), before);
            lines.push(Line::Set(set, self.ports(ports, before)));
        }
        for (ports, patterns) in names_by_ports(side, group) {
            lines.push(Line::Names(self.names(patterns, before), self.ports(ports, before)));
        }
        lines
    }

    /// The sets of what names stand for.
    fn names<'p>(&mut self, patterns: impl IntoIterator<Item = &'p NamePattern>, before: &Peers) -> SetId {
        self.content(Content::Names(patterns.into_iter().cloned().collect()), before)
    }

    fn ports(&mut self, ports: PortSet, before: &Peers) -> Ports {
        (!ports.is_all()).then(|| self.content(Content::Ports(ports), before))
    }

    /// The ranges of addresses whose class fits, adjoining ones joined.
    fn ranges(&mut self, side: &Side, fits: impl Fn(u32) -> bool, before: &Peers) -> PerFamily<Option<SetId>> {
        PerFamily::from_fn(|family| {
            let mut all: Vec<(u128, u128)> = Vec::new();
            for (range, _) in side.blocks.ranges(family).filter(|(_, class)| fits(*class)) {
                match all.last_mut() {
                    Some((_, last)) if *last + 1 == range.first => *last = range.last,
                    _ => all.push((range.first, range.last)),
                }
            }
            (!all.is_empty()).then(|| self.content(Content::Ranges(family, all), before))
        })
    }

    fn content(&mut self, content: Content, before: &Peers) -> SetId {
        number(&mut self.contents, &before.contents, content, &mut self.last_id)
    }

    fn id(&mut self, spec: Spec, before: &Peers) -> SetId {
        number(&mut self.ids, &before.ids, spec, &mut self.last_id)
    }

    fn index(&mut self) {
        for (spec, id) in &self.ids {
            match spec {
                Spec::Terms(terms) => terms.iter().for_each(|term| self.by_term.entry(*term).or_default().push(*id)),
                Spec::Exactly(group, ports) => self.exactly.entry(*group).or_default().push((ports.clone(), *id)),
                Spec::Named(peers, names) => self.named.push((*id, peers.clone(), names.clone())),
            }
        }
    }

    /// The sets that a peer is in.
    fn membership(&mut self, side: &Side, id: PeerId) -> Arc<Membership> {
        if let Some(known) = self.members.get(&id) {
            return known.clone();
        }
        let membership = side.peer_class(id).map(|peer| self.work_out(side, peer)).unwrap_or_default();
        let membership = Arc::new(membership);
        self.members.insert(id, membership.clone());
        membership
    }

    fn work_out(&self, side: &Side, peer: &PeerClass) -> Membership {
        let terms = side.term_set(peer.terms);
        let by_term = terms.iter().filter_map(|term| self.by_term.get(term)).flatten().copied();
        let exactly = self.exactly.iter().filter_map(|(group, sets)| {
            let ports = side_ports(side, *group, peer);
            sets.iter().find(|(of_set, _)| *of_set == ports).map(|(_, id)| *id)
        });
        let mut sets: Vec<SetId> = by_term.chain(exactly).collect();
        sets.sort_unstable();
        sets.dedup();
        let matched = |peers: &Option<PeerTerms>| {
            peers.as_ref().is_none_or(|peers| {
                peers.terms.iter().any(|term| terms.binary_search(term).is_ok())
                    || peers.blocks.iter().any(|block| side.blocks.holds(*block, peer.cidr))
            })
        };
        let ports = |names: &[NameId]| -> PortSet {
            let here = side.name_table(peer.names).iter().filter(|(name, _)| names.contains(name));
            here.filter_map(|(name, port)| Some(PortRange::single(side.name_protocol(*name)?, *port))).collect()
        };
        let named = self.named.iter().filter(|(_, peers, _)| matched(peers));
        let named = named.map(|(id, _, names)| (*id, ports(names).ranges().to_vec()));
        Membership { sets, named: named.filter(|(_, ports)| !ports.is_empty()).collect() }
    }

    /// Writes all chains and sets. `used` are the addresses of pods and what they are as peers.
    pub fn write(&mut self, side: &Side, locals: &[Local], used: &[(IpAddr, PeerId)], out: &mut impl Out) {
        let mut lists: FxHashMap<SetId, PerFamily<List>> = FxHashMap::default();
        for (address, peer) in used {
            let membership = self.membership(side, *peer);
            each_element(&membership, *address, |id, key| {
                lists.entry(id).or_default().get_mut(Family::of(*address)).push((key, None));
            });
        }
        self.placed = used.iter().copied().collect();
        for (spec, id) in &self.ids {
            for family in Family::ALL {
                let (name, kind) = self.set_name(side, spec, *id, family);
                // What stayed is taken over from the last ones.
                let mut elements = out.last(&name);
                elements.become_these(lists.get(id).map_or(&[], |lists| lists.get(family)));
                out.set(name, Set::new(kind, elements));
            }
        }
        for (content, id) in &self.contents {
            match content {
                Content::Ports(ports) => {
                    let keys = ports.ranges().iter().map(|PortRange { protocol, from, to }| {
                        (Key::L4Ports { protocol: *protocol, first: *from, last: *to }, None)
                    });
                    out.set(ports_set(side, *id), Set::new(SetKind::L4Ports, keys.collect()));
                }
                // A map, because what it says need not be said by the rule; verdicts that lead to no
                // chain cost nothing.
                Content::Ranges(family, ranges) => {
                    let key = |first, last| Key::Range(from_number(*family, first), from_number(*family, last));
                    let elements = ranges.iter().map(|(first, last)| (key(*first, *last), Some(Verdict::Return)));
                    let set = Set::new(SetKind::RangeMap(*family), elements.collect());
                    out.set(blocks_map(side, *id, *family), set);
                }
                Content::Names(patterns) => {
                    for (family, seen) in Family::ALL.into_iter().flat_map(|family| [(family, false), (family, true)]) {
                        let empty = Set::new(SetKind::Timed(family), Elements::default());
                        out.set(names_set(side, *id, family, seen), Set { comment: Some(comment(patterns)), ..empty });
                    }
                }
            }
        }
        for (group, lines) in &self.groups {
            for family in Family::ALL {
                let of_group = locals.iter().filter(|local| local.group(side.direction) == *group);
                if of_group.filter(|local| local.addresses.get(family).is_some()).count() > 0 {
                    let rules = rules(side, lines, family);
                    out.chain(group_chain(side.direction, *group, family), Chain { hook: None, rules });
                }
            }
        }
    }

    fn set_name(&self, side: &Side, spec: &Spec, id: SetId, family: Family) -> (Name, SetKind) {
        match spec {
            Spec::Terms(_) | Spec::Exactly(..) => (peers_set(side, id, family), SetKind::Addresses(family)),
            Spec::Named(..) => (named_set(side, id, family), SetKind::Ports(family)),
        }
    }

    /// Brings sets up to date where an address has another pod, or none: `to` gives the new
    /// elements of a set.
    pub fn update(
        &mut self,
        side: &Side,
        address: IpAddr,
        peer: Option<PeerId>,
        mut change: impl FnMut(&Name, &mut dyn FnMut(&mut Elements)),
    ) {
        let family = Family::of(address);
        let was = self.placed.get(&address).copied();
        let before = was.map(|peer| self.membership(side, peer)).unwrap_or_default();
        let after = peer.map(|peer| self.membership(side, peer)).unwrap_or_default();
        match peer {
            Some(peer) => self.placed.insert(address, peer),
            None => self.placed.remove(&address),
        };
        let name = |id: SetId, key: &Key| match key {
            Key::Address(_) => peers_set(side, id, family),
            _ => named_set(side, id, family),
        };
        let keys = |membership: &Membership| {
            let mut keys = BTreeSet::new();
            each_element(membership, address, |id, key| _ = keys.insert((id, key)));
            keys
        };
        let (before, after) = (keys(&before), keys(&after));
        for (id, key) in before.difference(&after) {
            change(&name(*id, key), &mut |elements| elements.remove(key));
        }
        for (id, key) in after.difference(&before) {
            change(&name(*id, key), &mut |elements| elements.insert(*key, None));
        }
    }

    /// Nothing but the numbers that are taken: what they stood for has no meaning any more.
    pub fn without_numbers(self) -> Self {
        Peers { last_id: self.last_id, ..Peers::default() }
    }

    /// The sets of what names stand for, by name.
    pub fn names_sets<'p>(&'p self, side: &'p Side) -> impl Iterator<Item = (Name, NamesSet)> + 'p {
        self.contents.iter().flat_map(move |(content, id)| {
            let patterns = if let Content::Names(patterns) = content { Some(patterns) } else { None };
            let each = Family::ALL.into_iter().flat_map(|family| [(family, false), (family, true)]);
            patterns.into_iter().flat_map(move |patterns| {
                let of = move |(family, seen)| (names_set(side, *id, family, seen), (family, seen));
                each.clone()
                    .map(of)
                    .map(|(name, (family, seen))| (name, NamesSet { patterns: patterns.clone(), family, seen }))
            })
        })
    }

    /// The groups that may reach names.
    pub fn groups_with_names(&self) -> BTreeSet<GroupId> {
        let names = |lines: &Vec<Line>| lines.iter().any(|line| matches!(line, Line::Names(..)));
        self.groups.iter().filter(|(_, lines)| names(lines)).map(|(group, _)| *group).collect()
    }

    /// How many sets of peers there are.
    pub fn count(&self) -> usize {
        self.ids.len()
    }
}

/// The port that a connection was opened to is the destination's on the way there, and the source's
/// on the way back.
const WAYS: [(Statement, Field); 2] =
    [(Statement::CtOriginal, Field::DestinationPort), (Statement::CtReply, Field::SourcePort)];

fn each_element(membership: &Membership, address: IpAddr, mut each: impl FnMut(SetId, Key)) {
    membership.sets.iter().for_each(|id| each(*id, Key::Address(address)));
    for (id, ports) in &membership.named {
        for PortRange { protocol, from, to } in ports {
            (*from..=*to).for_each(|port| each(*id, Key::Port { address, protocol: *protocol, port }));
        }
    }
}

/// The number of something: the one that it has, or had before, or else the next.
fn number<T: Hash + Eq>(
    numbers: &mut FxHashMap<T, SetId>,
    before: &FxHashMap<T, SetId>,
    of: T,
    last: &mut SetId,
) -> SetId {
    if let Some(number) = numbers.get(&of) {
        return *number;
    }
    let number = before.get(&of).copied().unwrap_or_else(|| {
        *last += 1;
        *last
    });
    numbers.insert(of, number);
    number
}

/// The rules of a group; `None` where one does more than accept, so that they cannot be looked at
/// one by one.
fn by_peers(side: &Side, group: GroupId) -> Option<ByPeers> {
    let mut by_peers = ByPeers::new();
    for rule in side.policies_of(group).flat_map(|slot| &slot.rules) {
        if rule.action != Action::Accept {
            return None;
        }
        let (ports, names) = by_peers.entry(rule.peers.clone()).or_default();
        match side.direction {
            // Names stand for ports of the group's own pods.
            Direction::Ingress => {
                let of_group = side.group_of(group).map_or(&[][..], |group| &group.names);
                *ports = ports.union(&side.rule_ports(rule, of_group));
            }
            Direction::Egress => {
                *ports = ports.union(&rule.ports);
                names.extend(rule.names.iter().copied());
            }
        }
    }
    Some(by_peers)
}

/// The patterns of a group's rules by the ports that are allowed with them. Rules with names only ever allow.
fn names_by_ports(side: &Side, group: GroupId) -> BTreeMap<PortSet, BTreeSet<&NamePattern>> {
    let mut by_pattern: BTreeMap<&NamePattern, PortSet> = BTreeMap::new();
    let rules = side.policies_of(group).flat_map(|slot| &slot.rules).filter(|rule| rule.action == Action::Accept);
    for rule in rules {
        let blocks = rule.peers.iter().flat_map(|peers| &peers.blocks);
        for pattern in blocks.filter_map(|id| side.blocks.pattern(*id)) {
            let ports = by_pattern.entry(pattern).or_default();
            *ports = ports.union(&rule.ports);
        }
    }
    let mut by_ports: BTreeMap<PortSet, BTreeSet<&NamePattern>> = BTreeMap::new();
    for (pattern, ports) in by_pattern.into_iter().filter(|(_, ports)| !ports.is_empty()) {
        by_ports.entry(ports).or_default().insert(pattern);
    }
    by_ports
}

fn count_lines(side: &Side, by_peers: &ByPeers) -> usize {
    let of_peers = |peers: &Option<PeerTerms>| {
        peers.as_ref().map_or(1, |peers| {
            let names = peers.blocks.iter().filter(|id| side.blocks.pattern(**id).is_some()).count();
            // What names stand for is looked up twice: what they stand for now, and what they stood for.
            let of_names = if names > 0 { 2 } else { 0 };
            usize::from(!peers.terms.is_empty()) + usize::from(peers.blocks.len() > names) + of_names
        })
    };
    by_peers.iter().map(|(peers, (_, names))| of_peers(peers) + usize::from(!names.is_empty())).sum()
}

/// The rules of a group's chain in a family.
fn rules(side: &Side, lines: &[Line], family: Family) -> Vec<Rule> {
    let (direction, peer) = (side.direction, frame::peer_field(side.direction, family));
    let itself = vec![frame::subject_field(direction, family), peer];
    let itself = Statement::InSet(itself, frame::self_set(direction, family));
    let mut rules = vec![vec![itself, Statement::Verdict(Verdict::Return)]];
    for line in lines {
        let (returns, in_set) = (Statement::Verdict(Verdict::Return), |set: Name| Statement::InSet(vec![peer], set));
        let (alternatives, ports) = match line {
            Line::Everyone(ports) => (vec![vec![returns]], ports),
            Line::Set(id, ports) => (vec![vec![in_set(peers_set(side, *id, family)), returns]], ports),
            Line::Ranges(ranges, ports) => {
                let Some(id) = ranges.get(family) else { continue };
                (vec![vec![Statement::Vmap(peer, blocks_map(side, *id, family))]], ports)
            }
            // A name that stands for an address no longer stops new connections to it, and no others (G3): those are
            // looked up among what it stood for when they are judged again.
            Line::Names(id, ports) => {
                let now = vec![in_set(names_set(side, *id, family, false)), returns.clone()];
                let established = Statement::CtState(CT_ESTABLISHED);
                let before = vec![established, in_set(names_set(side, *id, family, true)), returns];
                (vec![now, before], ports)
            }
            Line::Named(id) => {
                let set = named_set(side, *id, family);
                rules.extend(WAYS.map(|(way, port)| {
                    let fields = vec![peer, Field::Protocol, port];
                    vec![way, Statement::InSet(fields, set.clone()), Statement::Verdict(Verdict::Return)]
                }));
                continue;
            }
        };
        for matched in alternatives {
            match ports {
                None => rules.push(matched),
                Some(id) => rules.extend(WAYS.map(|(way, port)| {
                    let ports = Statement::InSet(vec![Field::Protocol, port], ports_set(side, *id));
                    [way, ports].into_iter().chain(matched.iter().cloned()).collect()
                })),
            }
        }
    }
    // Counted by group as well: so it is known which policies denied.
    rules.push(vec![Statement::Counter, Statement::Verdict(Verdict::Goto(frame::deny_chain(direction)))]);
    rules
}

/// The chain of a group of the node's pods.
pub fn group_chain(direction: Direction, group: GroupId, family: Family) -> Name {
    format!("{direction}{}_group{group}", frame::digit(family)).into()
}

/// The direction and group of a name that `group_chain` gave.
pub fn group_of_chain(name: &str) -> Option<(Direction, GroupId)> {
    let (start, group) = name.rsplit_once("_group")?;
    let direction = Direction::ALL
        .into_iter()
        .find(|direction| start.strip_prefix(direction.field()).is_some_and(|family| matches!(family, "4" | "6")))?;
    Some((direction, group.parse().ok()?))
}

fn peers_set(side: &Side, id: SetId, family: Family) -> Name {
    format!("{}{}_peers{id}", side.direction, frame::digit(family)).into()
}

fn named_set(side: &Side, id: SetId, family: Family) -> Name {
    format!("{}{}_named{id}", side.direction, frame::digit(family)).into()
}

fn ports_set(side: &Side, id: SetId) -> Name {
    format!("{}_ports{id}", side.direction).into()
}

fn blocks_map(side: &Side, id: SetId, family: Family) -> Name {
    format!("{}{}_blocks{id}", side.direction, frame::digit(family)).into()
}

/// What names stand for now, or stood for not long ago (`seen`).
fn names_set(side: &Side, id: SetId, family: Family, seen: bool) -> Name {
    let kind = if seen { "seen" } else { "names" };
    format!("{}{}_{kind}{id}", side.direction, frame::digit(family)).into()
}

/// The patterns as the comment of their sets: it tells operators what a set is for, and sets apart whose elements come
/// and go. What does not fit is told by its hash.
fn comment(patterns: &[NamePattern]) -> Name {
    let whole = patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if whole.len() <= COMMENT_MAX {
        return whole.into();
    }
    let mut hasher = DefaultHasher::new();
    whole.hash(&mut hasher);
    let mut text = String::new();
    let rest = |count: usize| format!("and {} more ({:016x})", patterns.len() - count, hasher.finish());
    for (count, pattern) in patterns.iter().enumerate() {
        let longer = format!("{text}{pattern}, ");
        if longer.len() + rest(count + 1).len() > COMMENT_MAX {
            return (text + &rest(count)).into();
        }
        text = longer;
    }
    whole.into()
}
