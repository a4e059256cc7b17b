//! All pairs, asked of classes: who reaches whom, on which ports, in one family.
//!
//! Sources fall into classes by (what isolates them for egress, what ingress rules can tell of
//! them), destinations by (what isolates them for ingress, what egress rules can tell of them).
//! What the rules let through is taken apart into *passes*: ports, the classes of peers on them, and
//! all the classes that let just that through, whichever policies say it. A pass of ingress and one
//! of egress that have ports in common make a *block* of the answer: a set of source classes times
//! a set of destination classes, and the ports. So the cost follows the number of different things
//! that policies say, not of policies, and not of pods.
//!
//! Exemptions of single pairs (a pod and itself, A6; a pod and its own node, D2) are the caller's.

use crate::compile::side::{Group, GroupId, NOT_ISOLATED, NameId, PeerClass, PeerTerms, PolicySlot, Side, TermId};
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
    groups: Vec<(GroupId, Range<ClassId>)>,
}

/// The relation in one family.
#[derive(Debug)]
pub struct Relation {
    /// The family.
    pub family: Family,
    /// The sources.
    pub sources: Role,
    /// The destinations.
    pub destinations: Role,
    /// What destinations let in.
    ingress: Passes,
    /// What sources let out.
    egress: Passes,
}

/// Sources that reach destinations on the same ports.
#[derive(Debug)]
pub struct Block {
    /// The ports.
    pub ports: PortSet,
    /// The classes of sources.
    pub sources: RoaringBitmap,
    /// The classes of destinations.
    pub destinations: RoaringBitmap,
}

/// Ports that some classes of a role let through, and to or from whom.
#[derive(Debug)]
struct Pass {
    ports: PortSet,
    /// The classes of the other role.
    peers: RoaringBitmap,
    /// The classes that let this through.
    members: RoaringBitmap,
}

/// All passes of a role. Those of one class have disjoint ports.
#[derive(Debug)]
struct Passes {
    all: Vec<Pass>,
    /// The numbers of the passes of each group of the role.
    of_group: Vec<Vec<u32>>,
}

impl Role {
    fn new(compiled: &Compiled, direction: Direction, family: Family, addresses: Addresses) -> Self {
        /// Either, so that both are sorted together.
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        enum Member {
            Endpoint(EndpointId),
            Outside(AddressRange),
        }
        // The role's own group is of one direction, its class as a peer of the other.
        let other = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let peers = compiled.side(other);
        let inside = compiled.entries().filter_map(|(id, entry)| {
            let ids = entry.as_peer.get(family).as_ref()?;
            let (group, peer) = match direction {
                Direction::Egress => (entry.egress, ids.source.pick(addresses)),
                Direction::Ingress => (entry.ingress, ids.destination.pick(addresses)),
            };
            Some(((group, peers.peer_class(peer)?.clone()), Member::Endpoint(id)))
        });
        let in_use = compiled.families().contains(&family);
        let ranges = in_use.then(|| peers.blocks.ranges(family)).into_iter().flatten();
        let outside = ranges.map(|(range, cidr)| ((NOT_ISOLATED, peers.outside_peer(cidr)), Member::Outside(range)));
        let mut members: Vec<((GroupId, PeerClass), Member)> = inside.chain(outside).collect();
        members.par_sort_unstable();
        let mut role = Role { classes: Vec::new(), keys: Vec::new(), groups: Vec::new() };
        for (id, alike) in (0_u32..).zip(members.chunk_by(|(a, _), (b, _)| a == b)) {
            let mut class = Class::default();
            for (_, member) in alike {
                match member {
                    Member::Endpoint(endpoint) => class.endpoints.push(*endpoint),
                    Member::Outside(range) => class.outside.push(*range),
                }
            }
            let Some((key, _)) = alike.first() else { continue };
            match role.groups.last_mut() {
                Some((last, range)) if *last == key.0 => range.end = id + 1,
                _ => role.groups.push((key.0, id..id + 1)),
            }
            role.keys.push(key.clone());
            role.classes.push(class);
        }
        role
    }

    /// What each class is, in the order of `classes`: the group that isolates its members, and what they
    /// are to the rules of the other role.
    pub fn keys(&self) -> &[(GroupId, PeerClass)] {
        &self.keys
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        all
    }

    /// The places in `groups` of the groups that some classes belong to.
    fn groups_of(&self, classes: &RoaringBitmap) -> impl Iterator<Item = usize> {
        // Classes come sorted by group: from one group's end on to the next.
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = classes.range(next..).next()?;
            let at = self.groups.partition_point(|(_, range)| range.end <= first);
            next = self.groups.get(at)?.1.end;
            Some(at)
        })
    }
}

/// What one rule says of a port: what it does, to which peers, with which number for the name that
/// it gives the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Says<'c> {
    action: Action,
    peers: Option<&'c PeerTerms>,
    named: Option<(NameId, u16)>,
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
        let all = role.all();
        let of_block = |block: u32| {
            let (within, without): (Vec<_>, Vec<_>) =
                by_cidr.iter().partition(|(cidr, _)| side.blocks.holds(block, **cidr));
            let union = |list: Vec<(&u32, &RoaringBitmap)>| list.into_iter().map(|(_, bits)| bits).union();
            // Blocks often hold nearly everything (all but a few exceptions), or nearly nothing.
            if within.len() <= without.len() { union(within) } else { &all - union(without) }
        };
        let by_block = (0..side.blocks.count()).into_par_iter().map(of_block).collect();
        let union = |list: &Vec<&RoaringBitmap>| list.iter().copied().union();
        let by_term = sets_of_term.par_iter().map(|(term, list)| (*term, union(list))).collect();
        PeerBits { side, all, by_term, by_block, by_name }
    }

    fn of_rule(&self, peers: Option<&PeerTerms>) -> Cow<'_, RoaringBitmap> {
        let Some(peers) = peers else { return Cow::Borrowed(&self.all) };
        let terms = peers.terms.iter().filter_map(|term| self.by_term.get(term));
        let blocks = peers.blocks.iter().filter_map(|block| self.by_block.get(*block as usize));
        let mut parts = terms.chain(blocks);
        match (parts.next(), parts.next()) {
            (None, _) => Cow::Owned(RoaringBitmap::new()),
            (Some(one), None) => Cow::Borrowed(one),
            (Some(one), Some(two)) => Cow::Owned([one, two].into_iter().chain(parts).union()),
        }
    }

    /// What the rules of a group say of which ports. The port sets of the parts are disjoint.
    fn row(&self, group: GroupId) -> Vec<(PortSet, Vec<Says<'c>>)> {
        let names = self.side.group_of(group).map_or(&[][..], |Group { names, .. }| names);
        let slots: Vec<&PolicySlot> = self.side.policies_of(group).collect();
        if slots.is_empty() {
            let everyone = Says { action: Action::Accept, peers: None, named: None };
            return vec![(PortSet::all(), vec![everyone])];
        }
        let mut flat: Vec<(PortRange, Says<'c>)> = Vec::new();
        for rule in slots.iter().flat_map(|slot| &slot.rules) {
            let says = Says { action: rule.action, peers: rule.peers.as_ref(), named: None };
            flat.extend(self.side.rule_ports(rule, names).ranges().iter().map(|range| (*range, says)));
            if self.side.direction == Direction::Egress {
                for name in &rule.names {
                    let Some(protocol) = self.side.name_protocol(*name) else { continue };
                    for (port, _) in self.by_name.get(name).into_iter().flatten() {
                        flat.push((PortRange::single(protocol, *port), Says { named: Some((*name, *port)), ..says }));
                    }
                }
            }
        }
        let mut parts: Vec<(Vec<PortRange>, Vec<Says<'c>>)> = Vec::new();
        for segment in segments(flat.iter().map(|(range, _)| *range)) {
            let here = flat.iter().filter(|(range, _)| range.contains(segment.protocol, segment.from));
            let mut said: Vec<Says<'c>> = here.map(|(_, says)| *says).collect();
            if said.iter().all(|says| says.action == Action::Accept) {
                // Order says nothing here; in one order alike ones are found to be alike.
                said.sort_unstable();
                said.dedup();
            }
            match parts.iter_mut().find(|(_, other)| *other == said) {
                _ if said.is_empty() => {}
                Some((ranges, _)) => ranges.push(segment),
                None => parts.push((vec![segment], said)),
            }
        }
        parts.into_iter().map(|(ranges, said)| (ranges.into_iter().collect(), said)).collect()
    }

    /// The classes that may, as rules say.
    fn flatten(&self, said: &[Says<'c>]) -> RoaringBitmap {
        let region = |says: &Says<'c>| {
            let peers = self.of_rule(says.peers);
            let Some((name, port)) = says.named else { return peers };
            let having = self.by_name.get(&name).into_iter().flatten().find(|(p, _)| *p == port);
            Cow::Owned(having.map_or_else(RoaringBitmap::new, |(_, having)| having & peers.as_ref()))
        };
        if said.iter().all(|says| says.action == Action::Accept) {
            // The frequent case without the copies that the general one needs.
            let regions: Vec<Cow<'_, RoaringBitmap>> = said.iter().map(region).collect();
            return regions.iter().map(AsRef::as_ref).union();
        }
        let rules = said.iter().map(|says| (says.action, region(says).into_owned())).collect();
        flatten(&self.all, &RoaringBitmap::new(), &[Tier { rules, end: TierEnd::Deny }])
    }

    /// What the groups of a role let through.
    fn passes(&self, role: &Role) -> Passes {
        let rows: Vec<_> = role.groups.par_iter().map(|(group, _)| self.row(*group)).collect();
        let mut numbers: FxHashMap<&(PortSet, Vec<Says<'c>>), u32> = FxHashMap::default();
        let mut distinct: Vec<(&(PortSet, Vec<Says<'c>>), RoaringBitmap)> = Vec::new();
        let mut of_group = Vec::with_capacity(rows.len());
        for (row, (_, range)) in rows.iter().zip(&role.groups) {
            let mut number = |part| {
                let number = *numbers.entry(part).or_insert_with(|| {
                    distinct.push((part, RoaringBitmap::new()));
                    u32::try_from(distinct.len() - 1).unwrap_or(u32::MAX)
                });
                if let Some((_, members)) = distinct.get_mut(number as usize) {
                    members.insert_range(range.clone());
                }
                number
            };
            of_group.push(row.iter().map(&mut number).collect());
        }
        let pass = |((ports, said), members): (&(PortSet, Vec<Says<'c>>), RoaringBitmap)| {
            let peers = self.flatten(said);
            Pass { ports: ports.clone(), peers, members }
        };
        Passes { all: distinct.into_par_iter().map(pass).collect(), of_group }
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

impl Relation {
    /// Sorts everything into classes, and finds what each lets through.
    pub fn new(compiled: &Compiled, family: Family, addresses: Addresses) -> Self {
        let role = |direction| Role::new(compiled, direction, family, addresses);
        let (sources, destinations) = rayon::join(|| role(Direction::Egress), || role(Direction::Ingress));
        let (ingress, egress) = rayon::join(
            || PeerBits::new(compiled.side(Direction::Ingress), &sources).passes(&destinations),
            || PeerBits::new(compiled.side(Direction::Egress), &destinations).passes(&sources),
        );
        Relation { family, sources, destinations, ingress, egress }
    }

    /// All blocks. Those of a pair of classes have disjoint ports: the pair's ports are their union.
    pub fn blocks(&self) -> impl ParallelIterator<Item = Block> {
        self.ingress.all.par_iter().flat_map_iter(|incoming| {
            // Only sources that are let in have to be looked at.
            let groups = self.sources.groups_of(&incoming.peers);
            let mut candidates: Vec<u32> =
                groups.filter_map(|at| self.egress.of_group.get(at)).flatten().copied().collect();
            candidates.sort_unstable();
            candidates.dedup();
            candidates.into_iter().filter_map(|number| {
                let outgoing = self.egress.all.get(number as usize)?;
                let ports = incoming.ports.intersection(&outgoing.ports);
                if ports.is_empty() || outgoing.peers.is_disjoint(&incoming.members) {
                    return None;
                }
                let sources = &incoming.peers & &outgoing.members;
                let destinations = &outgoing.peers & &incoming.members;
                (!sources.is_empty()).then_some(Block { ports, sources, destinations })
            })
        })
    }

    /// How many pairs of classes there are in all blocks: a figure for benches and reports.
    pub fn count_pairs(&self) -> u64 {
        self.blocks().map(|block| block.sources.len() * block.destinations.len()).sum()
    }
}
