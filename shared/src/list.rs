//! All connections, by pod or by groups of pods that come out alike.
//!
//! The relation of classes ([`crate::relation`]) is worked out once for each family; what is listed
//! are entities: single pods, or pods of one workload (or bare pods of one namespace) that no rule
//! tells apart. Exemptions of single pairs (A6, D2) are put in here.

use crate::compile::side::GroupId;
use crate::compile::{Address, Compiled, EndpointId, Entry};
use crate::dns::NamePattern;
use crate::evaluate::{Addresses, Party, own_node};
use crate::names::{Names, ports_to_name};
use crate::net::{AddressRange, Family, PerFamily, to_blocks};
use crate::ports::{PortRange, PortSet};
use crate::query::resolve::blocks_name;
use crate::relation::{Block, ClassId, Relation, Role};
use rayon::iter::ParallelIterator;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// What is listed as one.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Its name: `ns/pod`, `ns/deploy/name`, `ns/first-pod+4`, or addresses outside.
    pub name: String,
    /// Its namespace; `None` for addresses outside.
    pub namespace: Option<Box<str>>,
    /// The pods (or the workload that stands for its pods).
    pub members: Vec<EndpointId>,
    /// The addresses outside, as blocks.
    pub blocks: Vec<String>,
    /// The names outside: by name, whatever their addresses are (G6b).
    pub pattern: Option<NamePattern>,
    /// Whether it is on its node's network (D1).
    pub host_network: bool,
    /// What it is in each worked-out relation: a class of sources, or a row of destinations.
    roles: Vec<Option<u32>>,
}

/// The ports of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Reach {
    /// The ports that are open in every family the two have in common.
    pub ports: PortSet,
    /// Ports that are open in one of two common families only (B6).
    pub in_one_family: Vec<(Family, PortSet)>,
}

impl Reach {
    /// The reach of a pair, given its ports in each family that the two have in common.
    pub fn of_families(by_family: impl IntoIterator<Item = (Family, PortSet)>) -> Self {
        let sets: Vec<(Family, PortSet)> = by_family.into_iter().collect();
        let everywhere = sets.iter().map(|(_, set)| set.clone()).reduce(|a, b| a.intersection(&b)).unwrap_or_default();
        let in_one_family = sets
            .iter()
            .map(|(family, set)| (*family, set.difference(&everywhere)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        Reach { ports: everywhere, in_one_family }
    }

    /// Whether no port is open.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.in_one_family.is_empty()
    }

    /// The ranges with the family that they are limited to, if any.
    pub fn ranges(&self) -> impl Iterator<Item = (PortRange, Option<Family>)> {
        let limited = self.in_one_family.iter().flat_map(|(f, ports)| ports.ranges().iter().map(|r| (*r, Some(*f))));
        self.ports.ranges().iter().map(|r| (*r, None)).chain(limited)
    }

    /// The same with another set of ports kept only.
    pub fn only(&self, wanted: &PortSet) -> Reach {
        Reach {
            ports: self.ports.intersection(wanted),
            in_one_family: self
                .in_one_family
                .iter()
                .map(|(family, ports)| (*family, ports.intersection(wanted)))
                .filter(|(_, ports)| !ports.is_empty())
                .collect(),
        }
    }
}

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.ports.is_empty() || self.in_one_family.is_empty() {
            write!(f, "{}", self.ports)?;
        }
        for (i, (family, ports)) in self.in_one_family.iter().enumerate() {
            let comma = if i > 0 || !self.ports.is_empty() { ", " } else { "" };
            write!(f, "{comma}{family} only: {ports}")?;
        }
        Ok(())
    }
}

/// How to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Pod by pod.
    pub expand: bool,
    /// With addresses and names outside the cluster.
    pub outside: bool,
}

/// All connections.
#[derive(Debug)]
pub struct Listing<'c> {
    compiled: &'c Compiled,
    /// Who connects, sorted by name; the outside last.
    pub sources: Vec<Entity>,
    /// To whom, sorted by name; the outside last. What comes out alike as a source need not as a
    /// destination: the two are grouped apart, which keeps both short.
    pub destinations: Vec<Entity>,
    relations: Vec<Worked>,
    names: Names,
    /// A name that is listed with all that reach it, not only by name.
    asked: Option<NamePattern>,
}

/// One relation, worked out: for each distinct row of destinations the classes of sources by ports.
#[derive(Debug)]
pub(crate) struct Worked {
    pub(crate) family: Family,
    pub(crate) addresses: Addresses,
    /// The class of each source.
    pub(crate) source: InRole,
    /// The row of each destination.
    pub(crate) destination: InRole,
    /// The row of each class of destinations.
    pub(crate) row_of_class: Vec<u32>,
    pub(crate) source_count: usize,
    /// Sources, and the ports on which they reach some destinations.
    blocks: Vec<(PortSet, RoaringBitmap)>,
    /// The numbers of the blocks of each distinct row.
    rows: Vec<Vec<u32>>,
    /// How many connections there are: pairs of endpoints, and a port.
    weight: u64,
}

/// Who is what in one role: a class of sources, or a row of destinations.
#[derive(Debug, Default)]
pub(crate) struct InRole {
    endpoints: Vec<Option<u32>>,
    pub(crate) outside: BTreeMap<u32, Vec<AddressRange>>,
}

impl InRole {
    pub(crate) fn new(role: &Role, number: impl Fn(ClassId) -> u32) -> Self {
        let mut out = InRole::default();
        for (class, members) in (0..).zip(&role.classes) {
            let number = number(class);
            for id in &members.endpoints {
                let at = *id as usize;
                if out.endpoints.len() <= at {
                    out.endpoints.resize(at + 1, None);
                }
                if let Some(place) = out.endpoints.get_mut(at) {
                    *place = Some(number);
                }
            }
            if !members.outside.is_empty() {
                out.outside.entry(number).or_default().extend(&members.outside);
            }
        }
        out
    }

    /// The number of an endpoint; `None` where it has no address of the family.
    pub(crate) fn of(&self, id: EndpointId) -> Option<u32> {
        self.endpoints.get(id as usize).copied().flatten()
    }
}

/// How many connections of endpoints a block stands for.
fn weight(relation: &Relation, block: &Block) -> u64 {
    let endpoints = |role: &Role, classes: &RoaringBitmap| -> u64 {
        classes.iter().filter_map(|class| role.classes.get(class as usize)).map(|c| c.endpoints.len() as u64).sum()
    };
    let ports: u64 = block.ports.ranges().iter().map(|range| u64::from(range.to - range.from) + 1).sum();
    endpoints(&relation.sources, &block.sources) * endpoints(&relation.destinations, &block.destinations) * ports
}

/// What one pair comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair<'p> {
    /// It is open on these ports.
    Open(&'p Reach),
    /// It cannot be told; `Reach` is what is surely open.
    Unknown(&'p Reach),
}

impl Worked {
    pub(crate) fn new(relation: &Relation, addresses: Addresses) -> Self {
        let found: Vec<Block> = relation.blocks().collect();
        let mut blocks_of_class: Vec<Vec<u32>> = vec![Vec::new(); relation.destinations.classes.len()];
        for (number, block) in (0..).zip(&found) {
            for class in &block.destinations {
                if let Some(list) = blocks_of_class.get_mut(class as usize) {
                    list.push(number);
                }
            }
        }
        // Classes that rules tell apart may still come out alike: equal rows become one.
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let mut numbers: FxHashMap<Vec<u32>, u32> = FxHashMap::default();
        let row_of_class: Vec<u32> = blocks_of_class
            .into_iter()
            .map(|row| {
                *numbers.entry(row).or_insert_with_key(|row| {
                    rows.push(row.clone());
                    u32::try_from(rows.len() - 1).unwrap_or(u32::MAX)
                })
            })
            .collect();
        Worked {
            family: relation.family,
            addresses,
            source: InRole::new(&relation.sources, |class| class),
            destination: InRole::new(&relation.destinations, |class| {
                row_of_class.get(class as usize).copied().unwrap_or(u32::MAX)
            }),
            source_count: relation.sources.classes.len(),
            weight: found.iter().map(|block| weight(relation, block)).sum(),
            blocks: found.into_iter().map(|block| (block.ports, block.sources)).collect(),
            rows,
            row_of_class,
        }
    }

    /// Puts down which ports each class of sources reaches a row of destinations on, as numbers of sets.
    pub(crate) fn reached(&self, row: Option<u32>, reached: &mut [u32], reaches: &mut Reaches) {
        reached.fill(NO_PORT);
        let row = row.and_then(|row| self.rows.get(row as usize));
        let blocks = row.into_iter().flatten().filter_map(|number| self.blocks.get(*number as usize));
        for (ports, sources) in blocks {
            let set = reaches.sets.number_of(ports);
            for source in sources {
                if let Some(place) = reached.get_mut(source as usize) {
                    *place = reaches.union(*place, set);
                }
            }
        }
    }
}

/// The relations of a cluster: in each family in use, and where an address is not known with both
/// answers about it (B8), the sure one first.
pub(crate) fn relations_of(compiled: &Compiled) -> impl Iterator<Item = (Family, Addresses)> + '_ {
    let is_unknown = |f: &Family, e: &Entry| *e.endpoint.addresses.get(*f) == Address::Unknown;
    let unaddressed = compiled.entries().any(|(_, e)| Family::ALL.iter().any(|f| is_unknown(f, e)));
    let kinds: &[Addresses] = if unaddressed { &[Addresses::Surely, Addresses::Maybe] } else { &[Addresses::Surely] };
    compiled.families().iter().flat_map(|family| kinds.iter().map(|kind| (*family, *kind)))
}

/// Whether some answer would be another if blocks held the addresses of pods that have none (B8).
pub(crate) fn rest_on_assumptions(relations: &[Worked]) -> bool {
    let differ = |family: Family| {
        let of = |kind| relations.iter().find(|w| w.family == family && w.addresses == kind);
        match (of(Addresses::Surely), of(Addresses::Maybe)) {
            (Some(a), Some(b)) => a.weight != b.weight,
            _ => false,
        }
    };
    Family::ALL.into_iter().any(differ)
}

impl<'c> Listing<'c> {
    /// Works out all connections.
    pub fn new(compiled: &'c Compiled, options: Options) -> Self {
        let worked = |(family, kind)| Worked::new(&Relation::new(compiled, family, kind), kind);
        Listing::of(compiled, options, relations_of(compiled).map(worked).collect(), |_| false)
    }

    /// Lists relations that were worked out already; what is `apart` stands in no group with the rest.
    pub(crate) fn of(
        compiled: &'c Compiled,
        options: Options,
        relations: Vec<Worked>,
        apart: impl Fn(EndpointId) -> bool,
    ) -> Self {
        let entities = |role: fn(&Worked) -> &InRole| {
            let mut entities = inside(compiled, &relations, role, options.expand, &apart);
            if options.outside {
                entities.extend(outside(&relations, role));
            }
            entities
        };
        let (sources, mut destinations) = (entities(|w| &w.source), entities(|w| &w.destination));
        let names = if options.outside { Names::of(compiled) } else { Names::default() };
        // Before the addresses, which come last.
        let at = destinations.iter().position(|entity| entity.namespace.is_none()).unwrap_or(destinations.len());
        destinations.splice(at..at, names.patterns().cloned().map(named));
        Listing { compiled, sources, destinations, relations, names, asked: None }
    }

    /// The same with one name outside in the place of all that rules have: with everybody who reaches it, by name or
    /// because egress is open.
    pub fn about_name(mut self, name: &NamePattern) -> Self {
        self.destinations.retain(|entity| entity.pattern.is_none());
        let at = self.destinations.iter().position(|e| e.namespace.is_none()).unwrap_or(self.destinations.len());
        self.destinations.insert(at, named(name.clone()));
        self.asked = Some(name.clone());
        self
    }

    /// Everything that a source reaches of a name outside, what is open to every address with it, and whether more
    /// cannot be told.
    pub fn all_to_name(&self, source: &Entity, pattern: &NamePattern) -> (PortSet, bool) {
        match source.members.first() {
            Some(id) => ports_to_name(self.compiled, *id, pattern),
            None => (PortSet::EMPTY, false),
        }
    }

    /// What is listed of a source and a name outside, and whether more cannot be told.
    fn to_name(&self, source: &Entity, pattern: &NamePattern) -> (PortSet, bool) {
        // Whom a class of sources holds the same policies isolate.
        let Some(id) = source.members.first() else { return (PortSet::EMPTY, false) };
        match &self.asked {
            Some(name) => ports_to_name(self.compiled, *id, name),
            None => (self.names.beyond_open(self.compiled, *id, pattern), false),
        }
    }

    /// Visits every pair that is open on some port, or that cannot be told, by destination and then
    /// by source. `wanted` says which destinations are looked at.
    pub fn for_each<'l>(
        &'l self,
        wanted: impl Fn(&Entity) -> bool,
        mut visit: impl FnMut(&'l Entity, &'l Entity, Pair<'_>),
    ) {
        let mut reaches = Reaches::default();
        // What each class of sources reaches the destination on, in each relation.
        let mut reached: Vec<Vec<u32>> = self.relations.iter().map(|w| vec![NO_PORT; w.source_count]).collect();
        for destination in self.destinations.iter().filter(|entity| wanted(entity)) {
            if let Some(pattern) = &destination.pattern {
                // Sources of one group that have addresses of the same families come out alike.
                let mut known: FxHashMap<(GroupId, [bool; 2]), (Reach, bool)> = FxHashMap::default();
                for source in self.sources.iter().filter(|source| source.namespace.is_some()) {
                    let Some(entry) = source.members.first().and_then(|id| self.compiled.entry(*id)) else { continue };
                    let has = |family| entry.endpoint.families().any(|other| other == family);
                    let (reach, unknown) = known.entry((entry.egress, Family::ALL.map(has))).or_insert_with(|| {
                        let (ports, unknown) = self.to_name(source, pattern);
                        (Reach { ports, in_one_family: Vec::new() }, unknown)
                    });
                    match unknown {
                        true => visit(source, destination, Pair::Unknown(reach)),
                        false if !reach.is_empty() => visit(source, destination, Pair::Open(reach)),
                        false => {}
                    }
                }
                continue;
            }
            for ((worked, reached), row) in self.relations.iter().zip(&mut reached).zip(&destination.roles) {
                worked.reached(*row, reached, &mut reaches);
            }
            for source in &self.sources {
                // Who reaches what outside from outside is not this cluster's to say.
                if source.namespace.is_none() && destination.namespace.is_none() {
                    continue;
                }
                match self.pair(source, destination, &reached, &mut reaches) {
                    (NO_PORT, false) => {}
                    (id, false) => visit(source, destination, Pair::Open(reaches.get(id))),
                    (id, true) => visit(source, destination, Pair::Unknown(reaches.get(id))),
                }
            }
        }
    }

    /// What one pair comes to, and whether that is unknown.
    fn pair(&self, source: &Entity, destination: &Entity, reached: &[Vec<u32>], reaches: &mut Reaches) -> (u32, bool) {
        if self.is_single(source) && source.members == destination.members {
            return (reaches.everything(), false);
        }
        let mut sure = PerFamily { v4: None, v6: None };
        let mut unknown = false;
        for (i, worked) in self.relations.iter().enumerate() {
            let class = source.roles.get(i).copied().flatten();
            let (Some(class), Some(Some(_))) = (class, destination.roles.get(i)) else { continue };
            let set = reached.get(i).and_then(|r| r.get(class as usize)).copied().unwrap_or(NO_PORT);
            match worked.addresses {
                Addresses::Surely => *sure.get_mut(worked.family) = Some(set),
                Addresses::Maybe => {
                    let doubt = self.compiled.modes().strict || source.host_network || destination.host_network;
                    unknown |= doubt && *sure.get(worked.family) != Some(set);
                }
            }
        }
        let id = reaches.of_families(sure);
        if Family::ALL.iter().all(|family| sure.get(*family).is_none()) {
            // They have no address of the same family.
            return (id, false);
        }
        if source.host_network != destination.host_network {
            match self.own_node(source, destination) {
                Some(true) => return (reaches.everything(), false),
                Some(false) => {}
                None => unknown |= !reaches.get(id).ports.is_all(),
            }
        }
        (id, unknown)
    }

    /// Whether all pairs of two entities, one of them on nodes' networks, are a pod and its own node
    /// (D2); `None` when that is not known of some pair.
    fn own_node(&self, source: &Entity, destination: &Entity) -> Option<bool> {
        let mut all = !source.members.is_empty() && !destination.members.is_empty();
        for from in &source.members {
            for to in &destination.members {
                all &= own_node(self.compiled, Party::Endpoint(*from), Party::Endpoint(*to))?;
            }
        }
        Some(all)
    }

    /// The name of an endpoint.
    pub fn name_of(&self, id: EndpointId) -> Option<String> {
        self.compiled.entry(id).map(|entry| entry.endpoint.key.to_string())
    }

    /// Whether an entity is one pod, which always reaches itself (A6).
    pub fn is_single(&self, entity: &Entity) -> bool {
        match entity.members.as_slice() {
            [one] => self.compiled.entry(*one).is_some_and(|entry| !entry.endpoint.is_template()),
            _ => false,
        }
    }

    /// Whether pods on nodes' networks are listed: their pairs with pods of the same node are always
    /// open, which an aggregated list does not show one by one (D2).
    pub fn has_hosts(&self) -> bool {
        self.sources.iter().any(|entity| entity.host_network)
    }

    /// Whether some answer would be another if blocks held the addresses of pods that have none (B8).
    pub fn rests_on_assumptions(&self) -> bool {
        rest_on_assumptions(&self.relations)
    }
}

/// Names outside, as a destination.
fn named(pattern: NamePattern) -> Entity {
    Entity {
        name: pattern.to_string(),
        namespace: None,
        members: Vec::new(),
        blocks: Vec::new(),
        pattern: Some(pattern),
        host_network: false,
        roles: Vec::new(),
    }
}

/// The pods and workloads, alone or grouped, in a role.
fn inside(
    compiled: &Compiled,
    relations: &[Worked],
    role: fn(&Worked) -> &InRole,
    expand: bool,
    apart: &impl Fn(EndpointId) -> bool,
) -> Vec<Entity> {
    let mut ids: Vec<EndpointId> = compiled.entries().map(|(id, _)| id).collect();
    ids.sort_by_cached_key(|id| compiled.entry(*id).map(|e| e.endpoint.key.clone()));
    type GroupKey = (Box<str>, String, bool, Vec<Option<u32>>, (bool, u32));
    let mut groups: BTreeMap<GroupKey, Vec<EndpointId>> = BTreeMap::new();
    let mut sizes: FxHashMap<(Box<str>, String), usize> = FxHashMap::default();
    for id in ids {
        let Some(entry) = compiled.entry(id) else { continue };
        let roles = relations.iter().map(|w| role(w).of(id)).collect();
        let namespace = entry.endpoint.key.namespace.clone();
        let owner = entry.endpoint.workload.as_ref();
        let workload = owner.map(|(kind, name)| format!("{namespace}/{}/{name}", kind.short())).unwrap_or_default();
        *sizes.entry((namespace.clone(), workload.clone())).or_default() += 1;
        let own = (apart(id), if expand { id } else { 0 });
        groups.entry((namespace, workload, entry.endpoint.host_network, roles, own)).or_default().push(id);
    }
    let mut entities: Vec<Entity> = groups
        .into_iter()
        .map(|((namespace, workload, host_network, roles, _), members)| {
            let first = members.first().and_then(|id| compiled.entry(*id)).map(|e| e.endpoint.key.to_string());
            let first = first.unwrap_or_default();
            let whole = sizes.get(&(namespace.clone(), workload.clone())) == Some(&members.len());
            let name = match members.len() {
                _ if !expand && !workload.is_empty() && whole => workload,
                0 | 1 => first,
                more => format!("{first}+{}", more - 1),
            };
            Entity { name, namespace: Some(namespace), members, blocks: Vec::new(), pattern: None, host_network, roles }
        })
        .collect();
    entities.sort_by(|a, b| a.name.cmp(&b.name));
    entities
}

/// The addresses outside in a role; what comes out alike is one.
fn outside(relations: &[Worked], role: fn(&Worked) -> &InRole) -> Vec<Entity> {
    let mut out = Vec::new();
    for worked in relations.iter().filter(|w| w.addresses == Addresses::Surely) {
        for ranges in role(worked).outside.values() {
            let mut ranges = ranges.clone();
            ranges.sort_unstable();
            let first = ranges.first().map_or(0, |range| range.first);
            // Where addresses of pods are not known there is a second relation with numbers of its own.
            let of = |other: &Worked| {
                let holds = |ranges: &[AddressRange]| ranges.iter().any(|r| r.first <= first && first <= r.last);
                role(other).outside.iter().find(|(_, ranges)| holds(ranges)).map(|(number, _)| *number)
            };
            let roles = relations.iter().map(|other| if other.family == worked.family { of(other) } else { None });
            let blocks = ranges.iter().flat_map(|r| to_blocks(worked.family, *r)).map(|net| net.to_string()).collect();
            out.push(Entity {
                name: blocks_name(worked.family, &ranges),
                namespace: None,
                members: Vec::new(),
                blocks,
                pattern: None,
                host_network: false,
                roles: roles.collect(),
            });
        }
    }
    out
}

/// The number of the empty port set, and of the reach without a port.
pub(crate) const NO_PORT: u32 = 0;

/// Distinct port sets, numbered.
#[derive(Debug, Default)]
struct Interned {
    items: Vec<PortSet>,
    numbers: FxHashMap<PortSet, u32>,
}

impl Interned {
    fn number_of(&mut self, set: &PortSet) -> u32 {
        match self.numbers.get(set) {
            Some(id) => *id,
            None => self.number(set.clone()),
        }
    }

    fn number(&mut self, set: PortSet) -> u32 {
        if let Some(id) = self.numbers.get(&set) {
            return *id;
        }
        let id = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.items.push(set.clone());
        self.numbers.insert(set, id);
        id
    }

    fn get(&self, id: u32) -> PortSet {
        self.items.get(id as usize).cloned().unwrap_or_default()
    }
}

/// Distinct port sets and what they come to together, worked out once each.
#[derive(Debug)]
pub(crate) struct Reaches {
    sets: Interned,
    unions: FxHashMap<(u32, u32), u32>,
    reaches: Vec<Reach>,
    by_families: FxHashMap<(Option<u32>, Option<u32>), u32>,
}

impl Default for Reaches {
    fn default() -> Self {
        let mut sets = Interned::default();
        sets.number(PortSet::EMPTY);
        Reaches {
            sets,
            unions: FxHashMap::default(),
            reaches: vec![Reach::default()],
            by_families: FxHashMap::default(),
        }
    }
}

impl Reaches {
    /// The number of a set.
    pub(crate) fn number(&mut self, set: &PortSet) -> u32 {
        self.sets.number_of(set)
    }

    /// The set of a number.
    pub(crate) fn set(&self, number: u32) -> PortSet {
        self.sets.get(number)
    }

    /// The number of two sets together.
    fn union(&mut self, a: u32, b: u32) -> u32 {
        if a == NO_PORT || a == b {
            return b;
        }
        if let Some(known) = self.unions.get(&(a, b)) {
            return *known;
        }
        let both = self.sets.get(a).union(&self.sets.get(b));
        let number = self.sets.number(both);
        self.unions.insert((a, b), number);
        number
    }

    /// The reach of a pair, given its ports in each family that the two have in common.
    fn of_families(&mut self, by_family: PerFamily<Option<u32>>) -> u32 {
        if by_family.v4.unwrap_or(NO_PORT) == NO_PORT && by_family.v6.unwrap_or(NO_PORT) == NO_PORT {
            return NO_PORT;
        }
        let key = (by_family.v4, by_family.v6);
        if let Some(known) = self.by_families.get(&key) {
            return *known;
        }
        let common =
            Family::ALL.into_iter().filter_map(|family| Some((family, self.sets.get((*by_family.get(family))?))));
        self.reaches.push(Reach::of_families(common));
        let id = u32::try_from(self.reaches.len() - 1).unwrap_or(u32::MAX);
        self.by_families.insert(key, id);
        id
    }

    /// The reach of every port.
    fn everything(&mut self) -> u32 {
        let all = self.sets.number(PortSet::all());
        self.of_families(PerFamily { v4: Some(all), v6: None })
    }

    fn get(&self, id: u32) -> &Reach {
        static NOTHING: Reach = Reach { ports: PortSet::EMPTY, in_one_family: Vec::new() };
        self.reaches.get(id as usize).unwrap_or(&NOTHING)
    }
}
