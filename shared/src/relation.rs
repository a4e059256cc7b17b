//! All pairs, asked of classes: who reaches whom, on which ports, in one family.
//!
//! Sources fall into classes by (what isolates them for egress, what ingress rules can tell of
//! them), destinations by (what isolates them for ingress, what egress rules can tell of them).
//! The answer is a list of *blocks*: a set of source classes times a set of destination classes,
//! and the ports. It is found group by group, so that its cost follows the number of classes and
//! rules, not of pods.
//!
//! Exemptions of single pairs (a pod and itself, A6; a pod and its own node, D2) are the caller's.

use crate::compile::side::{Group, GroupId, NOT_ISOLATED, NameId, PeerClass, PolicySlot, Side, TermId};
use crate::compile::tier::{Action, Tier, TierEnd, flatten};
use crate::compile::{Compiled, EndpointId};
use crate::evaluate::Addresses;
use crate::net::{AddressRange, Family};
use crate::policy::Direction;
use crate::ports::{MAX_PORT, PortRange, PortSet, Protocol};
use rayon::prelude::*;
use roaring::{MultiOps, RoaringBitmap};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::ops::Range;

/// The number of a class among the sources, or among the destinations.
pub type ClassId = u32;

/// Members that no rule tells apart in a role.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// The endpoints in it.
    pub endpoints: Vec<EndpointId>,
    /// The addresses outside the cluster in it.
    pub outside: Vec<AddressRange>,
}

/// One role: the sources or the destinations.
#[derive(Debug)]
pub struct Role {
    /// The classes, sorted by the group that isolates them.
    pub classes: Vec<Class>,
    /// What each class is: the group that isolates it, and its class as a peer.
    keys: Vec<(GroupId, PeerClass)>,
    /// Which classes belong to each group; groups sorted, so that ranges follow one another.
    groups: Vec<(GroupId, Range<u32>)>,
}

/// The relation in one family.
#[derive(Debug)]
pub struct Relation<'c> {
    compiled: &'c Compiled,
    /// The family.
    pub family: Family,
    /// The sources.
    pub sources: Role,
    /// The destinations.
    pub destinations: Role,
}

/// Sources that reach destinations on the same ports.
#[derive(Debug)]
pub struct Block<'b> {
    /// The ports.
    pub ports: &'b PortSet,
    /// The classes of sources.
    pub sources: &'b RoaringBitmap,
    /// The classes of destinations, all isolated by the same policies.
    pub destinations: &'b RoaringBitmap,
}

impl Role {
    fn new(compiled: &Compiled, direction: Direction, family: Family, addresses: Addresses) -> Self {
        // The role's own group is of one direction, its class as a peer of the other.
        let other = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let peers = compiled.side(other);
        let mut members: FxHashMap<(GroupId, PeerClass), Class> = FxHashMap::default();
        for (id, entry) in compiled.entries() {
            let Some(ids) = entry.as_peer.get(family) else { continue };
            let (group, peer) = match direction {
                Direction::Egress => (entry.egress, ids.source.pick(addresses)),
                Direction::Ingress => (entry.ingress, ids.destination.pick(addresses)),
            };
            let Some(peer) = peers.peer_class(peer) else { continue };
            members.entry((group, peer.clone())).or_default().endpoints.push(id);
        }
        if compiled.families().contains(&family) {
            for (range, cidr) in peers.blocks.ranges(family) {
                let key = (NOT_ISOLATED, peers.outside_peer(cidr));
                members.entry(key).or_default().outside.push(range);
            }
        }
        let mut sorted: Vec<_> = members.into_iter().collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut groups: Vec<(GroupId, Range<u32>)> = Vec::new();
        for (id, ((group, _), _)) in (0_u32..).zip(&sorted) {
            match groups.last_mut() {
                Some((last, range)) if last == group => range.end = id + 1,
                _ => groups.push((*group, id..id + 1)),
            }
        }
        let (keys, classes) = sorted.into_iter().unzip();
        Role { classes, keys, groups }
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        all
    }
}

/// The classes of one role by what the rules of the other side's direction can tell of them.
struct PeerBits<'c> {
    side: &'c Side,
    all: RoaringBitmap,
    by_term: FxHashMap<TermId, RoaringBitmap>,
    by_block: Vec<RoaringBitmap>,
    by_name: FxHashMap<NameId, Vec<(u16, RoaringBitmap)>>,
}

impl<'c> PeerBits<'c> {
    fn new(side: &'c Side, role: &Role) -> Self {
        // Classes that share a term set, an address class or a name table are collected first, so
        // that what is said of the set is said once.
        let mut by_set: FxHashMap<u32, RoaringBitmap> = FxHashMap::default();
        let mut by_cidr: FxHashMap<u32, RoaringBitmap> = FxHashMap::default();
        let mut by_table: FxHashMap<u32, RoaringBitmap> = FxHashMap::default();
        for (id, (_, peer)) in (0..).zip(&role.keys) {
            by_set.entry(peer.terms).or_default().insert(id);
            by_cidr.entry(peer.cidr).or_default().insert(id);
            by_table.entry(peer.names).or_default().insert(id);
        }
        let mut sets_of_term: FxHashMap<TermId, Vec<&RoaringBitmap>> = FxHashMap::default();
        for (set, bits) in &by_set {
            for term in side.term_set(*set) {
                sets_of_term.entry(*term).or_default().push(bits);
            }
        }
        let mut cidrs_of_block: Vec<Vec<&RoaringBitmap>> = Vec::new();
        for (cidr, bits) in &by_cidr {
            for block in side.blocks.blocks_of(*cidr) {
                let at = *block as usize;
                if cidrs_of_block.len() <= at {
                    cidrs_of_block.resize_with(at + 1, Vec::new);
                }
                if let Some(list) = cidrs_of_block.get_mut(at) {
                    list.push(bits);
                }
            }
        }
        let mut by_name: FxHashMap<NameId, Vec<(u16, RoaringBitmap)>> = FxHashMap::default();
        for (table, bits) in &by_table {
            for (name, port) in side.name_table(*table) {
                let ports = by_name.entry(*name).or_default();
                match ports.iter_mut().find(|(p, _)| p == port) {
                    Some((_, all)) => *all |= bits,
                    None => ports.push((*port, bits.clone())),
                }
            }
        }
        let union = |list: &Vec<&RoaringBitmap>| list.iter().copied().union();
        PeerBits {
            side,
            all: role.all(),
            by_term: sets_of_term.par_iter().map(|(term, list)| (*term, union(list))).collect(),
            by_block: cidrs_of_block.par_iter().map(union).collect(),
            by_name,
        }
    }

    fn of_rule(&self, rule: &crate::compile::side::CompiledRule) -> Cow<'_, RoaringBitmap> {
        let Some(peers) = &rule.peers else { return Cow::Borrowed(&self.all) };
        let terms = peers.terms.iter().filter_map(|term| self.by_term.get(term));
        let blocks = peers.blocks.iter().filter_map(|block| self.by_block.get(*block as usize));
        let mut parts = terms.chain(blocks);
        match (parts.next(), parts.next()) {
            (None, _) => Cow::Owned(RoaringBitmap::new()),
            (Some(one), None) => Cow::Borrowed(one),
            (Some(one), Some(two)) => Cow::Owned([one, two].into_iter().chain(parts).union()),
        }
    }

    /// What a group lets through: ports, and the classes of peers on them. The port sets of the
    /// parts are disjoint.
    fn row(&self, group: GroupId) -> Vec<(PortSet, RoaringBitmap)> {
        let names = self.side.group_of(group).map_or(&[][..], |Group { names, .. }| names);
        let slots: Vec<&PolicySlot> = self.side.policies_of(group).collect();
        if slots.is_empty() {
            return vec![(PortSet::all(), self.all.clone())];
        }
        let rules = || slots.iter().flat_map(|slot| &slot.rules);
        // For each rule: what it says of which ports, to which peers.
        let plain: Vec<(Action, PortSet, Cow<'_, RoaringBitmap>)> =
            rules().map(|rule| (rule.action, self.side.rule_ports(rule, names), self.of_rule(rule))).collect();
        let mut by_name: Vec<(Action, PortRange, RoaringBitmap)> = Vec::new();
        if self.side.direction == Direction::Egress {
            for rule in rules().filter(|rule| !rule.names.is_empty()) {
                let peers = self.of_rule(rule);
                for name in &rule.names {
                    let Some(protocol) = self.side.name_protocol(*name) else { continue };
                    for (port, having) in self.by_name.get(name).into_iter().flatten() {
                        by_name.push((rule.action, PortRange::single(protocol, *port), having & peers.as_ref()));
                    }
                }
            }
        }
        let mut flat: Vec<(Action, PortRange, &RoaringBitmap)> = plain
            .iter()
            .flat_map(|(action, ports, peers)| {
                ports.ranges().iter().map(move |range| (*action, *range, peers.as_ref()))
            })
            .collect();
        flat.extend(by_name.iter().map(|(action, range, peers)| (*action, *range, peers)));
        let mut parts: Vec<(Vec<PortRange>, RoaringBitmap)> = Vec::new();
        for segment in segments(flat.iter().map(|(_, range, _)| *range)) {
            let here = flat.iter().filter(|(_, range, _)| range.contains(segment.protocol, segment.from));
            let peers = self.flatten(here.map(|(action, _, peers)| (*action, *peers)).collect());
            match parts.iter_mut().find(|(_, other)| *other == peers) {
                _ if peers.is_empty() => {}
                Some((ranges, _)) => ranges.push(segment),
                None => parts.push((vec![segment], peers)),
            }
        }
        parts.into_iter().map(|(ranges, peers)| (ranges.into_iter().collect(), peers)).collect()
    }

    fn flatten(&self, rules: Vec<(Action, &RoaringBitmap)>) -> RoaringBitmap {
        if rules.iter().all(|(action, _)| *action == Action::Accept) {
            // The frequent case without the copies that the general one needs.
            return rules.into_iter().map(|(_, peers)| peers).union();
        }
        let rules = rules.into_iter().map(|(action, peers)| (action, peers.clone())).collect();
        let tier = Tier { rules, end: TierEnd::Deny };
        flatten(&self.all, &RoaringBitmap::new(), &[tier])
    }
}

/// Cuts ranges at each other's borders.
fn segments(ranges: impl Iterator<Item = PortRange>) -> Vec<PortRange> {
    let mut borders: Vec<(Protocol, u32)> =
        ranges.flat_map(|r| [(r.protocol, u32::from(r.from)), (r.protocol, u32::from(r.to) + 1)]).collect();
    borders.sort_unstable();
    borders.dedup();
    let pairs = borders.iter().zip(borders.iter().skip(1));
    pairs
        .filter(|((a, _), (b, _))| a == b)
        .filter_map(|((protocol, from), (_, next))| {
            let (from, to) = (u16::try_from(*from).ok()?, u16::try_from(next - 1).unwrap_or(MAX_PORT));
            Some(PortRange { protocol: *protocol, from, to })
        })
        .collect()
}

impl<'c> Relation<'c> {
    /// Sorts everything into classes.
    pub fn new(compiled: &'c Compiled, family: Family, addresses: Addresses) -> Self {
        let (sources, destinations) = rayon::join(
            || Role::new(compiled, Direction::Egress, family, addresses),
            || Role::new(compiled, Direction::Ingress, family, addresses),
        );
        Relation { compiled, family, sources, destinations }
    }

    /// Finds all blocks. `start` makes a state for each group of destinations, `visit` takes a block
    /// into it; the states come back in the order of the groups. Groups are worked on in parallel.
    ///
    /// The blocks of a pair of classes have disjoint ports: the pair's ports are their union.
    pub fn blocks<S: Send>(
        &self,
        start: impl Fn(&Range<ClassId>) -> S + Sync,
        visit: impl Fn(&mut S, Block<'_>) + Sync,
    ) -> Vec<S> {
        let (ingress, egress) = rayon::join(
            || PeerBits::new(self.compiled.side(Direction::Ingress), &self.sources),
            || PeerBits::new(self.compiled.side(Direction::Egress), &self.destinations),
        );
        // For each group of sources: its classes, and what it lets out.
        type Outgoing = (GroupId, RoaringBitmap, Vec<(PortSet, RoaringBitmap)>);
        let outgoing: Vec<Outgoing> = self
            .sources
            .groups
            .par_iter()
            .map(|(group, range)| {
                let row = if *group == NOT_ISOLATED { Vec::new() } else { egress.row(*group) };
                (*group, range.clone().collect(), row)
            })
            .collect();
        let group_of: Vec<u32> =
            (0_u32..).zip(&self.sources.groups).flat_map(|(at, (_, range))| range.clone().map(move |_| at)).collect();
        self.destinations
            .groups
            .par_iter()
            .map(|(group, range)| {
                let mut state = start(range);
                let destinations: RoaringBitmap = range.clone().collect();
                for (ports, peers) in ingress.row(*group) {
                    let everyone = peers.len() == ingress.all.len();
                    // Sources come sorted by group: walk the groups that occur.
                    let mut next = 0;
                    while let Some(first) = peers.range(next..).next() {
                        let at = group_of.get(first as usize).copied().unwrap_or(u32::MAX);
                        let (Some((group, members, row)), Some((_, span))) =
                            (outgoing.get(at as usize), self.sources.groups.get(at as usize))
                        else {
                            break;
                        };
                        next = span.end;
                        let sources = if everyone { Cow::Borrowed(members) } else { Cow::Owned(members & &peers) };
                        if *group == NOT_ISOLATED {
                            visit(&mut state, Block { ports: &ports, sources: &sources, destinations: &destinations });
                        }
                        for (out, reached) in row {
                            let both =
                                if out.is_all() { Cow::Borrowed(&ports) } else { Cow::Owned(ports.intersection(out)) };
                            if both.is_empty() {
                                continue;
                            }
                            let reached = reached & &destinations;
                            if !reached.is_empty() {
                                visit(&mut state, Block { ports: &both, sources: &sources, destinations: &reached });
                            }
                        }
                    }
                }
                state
            })
            .collect()
    }

    /// How many pairs of classes there are in all blocks: a figure for benches and reports.
    pub fn count_pairs(&self) -> u64 {
        let counts = self.blocks(|_| 0_u64, |count, block| *count += block.sources.len() * block.destinations.len());
        counts.into_iter().sum()
    }

    /// The block as ids of a class's endpoints: who is in a class of sources.
    pub fn source(&self, class: ClassId) -> Option<&Class> {
        self.sources.classes.get(class as usize)
    }

    /// Who is in a class of destinations.
    pub fn destination(&self, class: ClassId) -> Option<&Class> {
        self.destinations.classes.get(class as usize)
    }
}
