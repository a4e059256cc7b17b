//! All connections, by pod or by groups of pods that come out alike.
//!
//! The relation of classes ([`crate::relation`]) is worked out once for each family; what is listed
//! are entities: single pods, or pods of one workload (or bare pods of one namespace) that no rule
//! tells apart. Exemptions of single pairs (A6, D2) are put in here.

use crate::compile::{Address, Compiled, EndpointId};
use crate::evaluate::{Addresses, Party, own_node};
use crate::net::{AddressRange, Family, to_blocks};
use crate::ports::{PortRange, PortSet};
use crate::query::resolve::blocks_name;
use crate::relation::{ClassId, Relation, Role};
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
    /// Whether it is on its node's network (D1).
    pub host_network: bool,
    /// Its class in each worked-out relation, as a source and as a destination.
    roles: Vec<(Option<ClassId>, Option<ClassId>)>,
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
    /// With addresses outside the cluster.
    pub outside: bool,
}

/// All connections.
#[derive(Debug)]
pub struct Listing<'c> {
    compiled: &'c Compiled,
    /// What takes part, sorted by name; the outside last.
    pub entities: Vec<Entity>,
    relations: Vec<Worked>,
    hosts: Vec<usize>,
}

/// One relation, worked out: for each class of destinations the sources by ports.
#[derive(Debug)]
struct Worked {
    family: Family,
    addresses: Addresses,
    source_class: Vec<Option<ClassId>>,
    destination_class: Vec<Option<ClassId>>,
    outside_sources: Vec<(ClassId, Vec<AddressRange>)>,
    outside_destinations: Vec<(ClassId, Vec<AddressRange>)>,
    source_count: usize,
    rows: Vec<Vec<(u32, RoaringBitmap)>>,
    ports: Vec<PortSet>,
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
    fn new(compiled: &Compiled, family: Family, addresses: Addresses) -> Self {
        let relation = Relation::new(compiled, family, addresses);
        let most = compiled.entries().map(|(id, _)| id as usize + 1).max().unwrap_or(0);
        let of_role = |role: &Role| {
            let (mut class_of, mut outside) = (vec![None; most], Vec::new());
            for (class, members) in (0..).zip(&role.classes) {
                for id in &members.endpoints {
                    if let Some(place) = class_of.get_mut(*id as usize) {
                        *place = Some(class);
                    }
                }
                if !members.outside.is_empty() {
                    outside.push((class, members.outside.clone()));
                }
            }
            (class_of, outside)
        };
        let (source_class, outside_sources) = of_role(&relation.sources);
        let (destination_class, outside_destinations) = of_role(&relation.destinations);
        type Row = Vec<(PortSet, RoaringBitmap)>;
        let groups: Vec<(u32, Vec<Row>)> = relation.blocks(
            |range| (range.start, vec![Row::new(); range.len()]),
            |(first, rows), block| {
                for class in block.destinations {
                    let Some(row) = rows.get_mut((class - *first) as usize) else { continue };
                    match row.iter_mut().find(|(ports, _)| ports == block.ports) {
                        Some((_, sources)) => *sources |= block.sources,
                        None => row.push((block.ports.clone(), block.sources.clone())),
                    }
                }
            },
        );
        let mut ports = Vec::new();
        let mut numbers: FxHashMap<PortSet, u32> = FxHashMap::default();
        let mut number = |set: PortSet| {
            *numbers.entry(set).or_insert_with_key(|set| {
                ports.push(set.clone());
                u32::try_from(ports.len() - 1).unwrap_or(u32::MAX)
            })
        };
        // The groups come in the order of their classes.
        let rows = groups.into_iter().flat_map(|(_, rows)| rows);
        let rows = rows.map(|row| row.into_iter().map(|(set, sources)| (number(set), sources)).collect()).collect();
        Worked {
            family,
            addresses,
            source_class,
            destination_class,
            outside_sources,
            outside_destinations,
            source_count: relation.sources.classes.len(),
            rows,
            ports,
        }
    }
}

impl<'c> Listing<'c> {
    /// Works out all connections.
    pub fn new(compiled: &'c Compiled, options: Options) -> Self {
        let unaddressed = compiled
            .entries()
            .any(|(_, e)| Family::ALL.iter().any(|f| *e.endpoint.addresses.get(*f) == Address::Unknown));
        let kinds: &[Addresses] =
            if unaddressed { &[Addresses::Surely, Addresses::Maybe] } else { &[Addresses::Surely] };
        let wanted = compiled.families().iter().flat_map(|family| kinds.iter().map(|kind| (*family, *kind)));
        let relations: Vec<Worked> = wanted.map(|(family, kind)| Worked::new(compiled, family, kind)).collect();
        let mut entities = inside(compiled, &relations, options.expand);
        if options.outside {
            entities.extend(outside(&relations));
        }
        let is_host = |(_, entity): &(usize, &Entity)| entity.host_network;
        let hosts = entities.iter().enumerate().filter(is_host).map(|(i, _)| i).collect();
        Listing { compiled, entities, relations, hosts }
    }

    /// Visits every pair that is open on some port, or that cannot be told, by destination and then
    /// by source. `wanted` says which destinations are looked at.
    pub fn for_each(&self, wanted: impl Fn(&Entity) -> bool, mut visit: impl FnMut(&Entity, &Entity, Pair<'_>)) {
        let mut reaches = Reaches::default();
        // What each class of sources reaches the destination on, in each relation.
        let mut acc: Vec<Vec<u32>> = self.relations.iter().map(|w| vec![0; w.source_count]).collect();
        for (at, destination) in self.entities.iter().enumerate().filter(|(_, entity)| wanted(entity)) {
            for ((worked, acc), (_, class)) in self.relations.iter().zip(&mut acc).zip(&destination.roles) {
                acc.fill(0);
                let row = class.and_then(|class| worked.rows.get(class as usize));
                for (ports, sources) in row.into_iter().flatten() {
                    let Some(set) = worked.ports.get(*ports as usize) else { continue };
                    for source in sources {
                        if let Some(place) = acc.get_mut(source as usize) {
                            *place = reaches.add(*place, set);
                        }
                    }
                }
            }
            let destination_is_host = self.hosts.binary_search(&at).is_ok();
            for (from, source) in self.entities.iter().enumerate() {
                if source.namespace.is_none() && destination.namespace.is_none() {
                    continue;
                }
                let pair = self.pair(
                    from == at,
                    source,
                    destination,
                    &acc,
                    &mut reaches,
                    destination_is_host != source.host_network,
                );
                match pair {
                    (id, false) if !reaches.get(id).is_empty() => {
                        visit(source, destination, Pair::Open(reaches.get(id)))
                    }
                    (id, true) => visit(source, destination, Pair::Unknown(reaches.get(id))),
                    _ => {}
                }
            }
        }
    }

    /// What one pair comes to, and whether that is unknown.
    fn pair(
        &self,
        same: bool,
        source: &Entity,
        destination: &Entity,
        acc: &[Vec<u32>],
        reaches: &mut Reaches,
        host_and_pod: bool,
    ) -> (u32, bool) {
        if same && self.is_single(source) {
            return (reaches.everything(), false);
        }
        let mut by_family: Vec<(Family, u32)> = Vec::with_capacity(2);
        let mut unknown = false;
        for ((worked, acc), (roles, to)) in
            self.relations.iter().zip(acc).zip(source.roles.iter().zip(&destination.roles))
        {
            let (Some(class), Some(_)) = (roles.0, to.1) else { continue };
            let set = acc.get(class as usize).copied().unwrap_or(0);
            match worked.addresses {
                Addresses::Surely => by_family.push((worked.family, set)),
                Addresses::Maybe => {
                    let sure = by_family.last().map_or(0, |(_, set)| *set);
                    let doubt = self.compiled.modes().strict || source.host_network || destination.host_network;
                    unknown |= doubt && reaches.differ(sure, set);
                }
            }
        }
        let id = reaches.of_families(&by_family);
        if by_family.is_empty() {
            return (id, false);
        }
        if host_and_pod && !source.members.is_empty() && !destination.members.is_empty() {
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
        let mut all = true;
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
        !self.hosts.is_empty()
    }

    /// Whether some answer would be another if blocks held the addresses of pods that have none (B8).
    pub fn rests_on_assumptions(&self) -> bool {
        let total = |w: &Worked| w.rows.iter().flatten().map(|(_, sources)| sources.len()).sum::<u64>();
        let differ = |family: Family| {
            let of = |kind| self.relations.iter().find(|w| w.family == family && w.addresses == kind);
            match (of(Addresses::Surely), of(Addresses::Maybe)) {
                (Some(a), Some(b)) => total(a) != total(b) || a.ports != b.ports,
                _ => false,
            }
        };
        Family::ALL.into_iter().any(differ)
    }
}

/// The pods and workloads, alone or grouped.
fn inside(compiled: &Compiled, relations: &[Worked], expand: bool) -> Vec<Entity> {
    type Roles = Vec<(Option<ClassId>, Option<ClassId>)>;
    let mut by_key: Vec<(EndpointId, Roles)> = compiled
        .entries()
        .map(|(id, _)| {
            let of = |list: &Vec<Option<ClassId>>| list.get(id as usize).copied().flatten();
            (id, relations.iter().map(|w| (of(&w.source_class), of(&w.destination_class))).collect())
        })
        .collect();
    by_key.sort_by(|(a, _), (b, _)| {
        let key = |id: &EndpointId| compiled.entry(*id).map(|e| &e.endpoint.key);
        key(a).cmp(&key(b))
    });
    let mut groups: BTreeMap<(Box<str>, String, bool, Roles, u32), Vec<EndpointId>> = BTreeMap::new();
    let mut sizes: FxHashMap<(Box<str>, String), usize> = FxHashMap::default();
    for (id, roles) in by_key {
        let Some(entry) = compiled.entry(id) else { continue };
        let namespace = entry.endpoint.key.namespace.clone();
        let workload = entry
            .endpoint
            .workload
            .as_ref()
            .map(|(kind, name)| format!("{namespace}/{}/{name}", kind.short()))
            .unwrap_or_default();
        *sizes.entry((namespace.clone(), workload.clone())).or_default() += 1;
        let own = if expand { id } else { 0 };
        groups.entry((namespace, workload, entry.endpoint.host_network, roles, own)).or_default().push(id);
    }
    let mut entities: Vec<Entity> = groups
        .into_iter()
        .map(|((namespace, workload, host_network, roles, _), members)| {
            let first = members
                .first()
                .and_then(|id| compiled.entry(*id))
                .map(|e| e.endpoint.key.to_string())
                .unwrap_or_default();
            let whole = sizes.get(&(namespace.clone(), workload.clone())) == Some(&members.len());
            let name = match members.len() {
                _ if !expand && !workload.is_empty() && whole => workload,
                0 | 1 => first,
                more => format!("{first}+{}", more - 1),
            };
            Entity { name, namespace: Some(namespace), members, blocks: Vec::new(), host_network, roles }
        })
        .collect();
    entities.sort_by(|a, b| a.name.cmp(&b.name));
    entities
}

/// The addresses outside, in classes; what is alike as a source and as a destination is one.
fn outside(relations: &[Worked]) -> Vec<Entity> {
    let mut out = Vec::new();
    for (i, worked) in relations.iter().enumerate().filter(|(_, w)| w.addresses == Addresses::Surely) {
        // The borders of both roles cut the family; pieces that are alike in both are one entity.
        let mut pieces: BTreeMap<(Option<ClassId>, Option<ClassId>), Vec<AddressRange>> = BTreeMap::new();
        for (source, from) in &worked.outside_sources {
            for (destination, to) in &worked.outside_destinations {
                for (a, b) in from.iter().flat_map(|a| to.iter().map(move |b| (a, b))) {
                    let (first, last) = (a.first.max(b.first), a.last.min(b.last));
                    if first <= last {
                        pieces
                            .entry((Some(*source), Some(*destination)))
                            .or_default()
                            .push(AddressRange { first, last });
                    }
                }
            }
        }
        for (role, mut ranges) in pieces {
            ranges.sort_unstable();
            let blocks = ranges.iter().flat_map(|r| to_blocks(worked.family, *r)).map(|net| net.to_string()).collect();
            let mut roles = vec![(None, None); relations.len()];
            for (j, other) in relations.iter().enumerate().filter(|(_, w)| w.family == worked.family) {
                // Addresses outside are known: their classes differ between the relations in number only.
                let find = |list: &[(ClassId, Vec<AddressRange>)]| {
                    let first = ranges.first()?.first;
                    list.iter()
                        .find(|(_, rs)| rs.iter().any(|r| r.first <= first && first <= r.last))
                        .map(|(class, _)| *class)
                };
                let found =
                    if i == j { role } else { (find(&other.outside_sources), find(&other.outside_destinations)) };
                if let Some(place) = roles.get_mut(j) {
                    *place = found;
                }
            }
            let name = blocks_name(worked.family, &ranges);
            out.push(Entity { name, namespace: None, members: Vec::new(), blocks, host_network: false, roles });
        }
    }
    out
}

/// Distinct port sets and what they come to together, worked out once each.
#[derive(Debug)]
struct Reaches {
    sets: Vec<PortSet>,
    numbers: FxHashMap<PortSet, u32>,
    unions: FxHashMap<(u32, PortSet), u32>,
    reaches: Vec<Reach>,
    by_families: FxHashMap<Vec<(Family, u32)>, u32>,
}

impl Default for Reaches {
    fn default() -> Self {
        Reaches {
            sets: vec![PortSet::EMPTY],
            numbers: FxHashMap::from_iter([(PortSet::EMPTY, 0)]),
            unions: FxHashMap::default(),
            reaches: Vec::new(),
            by_families: FxHashMap::default(),
        }
    }
}

impl Reaches {
    fn number(&mut self, set: PortSet) -> u32 {
        if let Some(id) = self.numbers.get(&set) {
            return *id;
        }
        let id = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(set.clone());
        self.numbers.insert(set, id);
        id
    }

    fn set(&self, id: u32) -> PortSet {
        self.sets.get(id as usize).cloned().unwrap_or_default()
    }

    /// The set of a number with more ports.
    fn add(&mut self, id: u32, more: &PortSet) -> u32 {
        if let Some(known) = self.unions.get(&(id, more.clone())) {
            return *known;
        }
        let both = self.set(id).union(more);
        let number = self.number(both);
        self.unions.insert((id, more.clone()), number);
        number
    }

    fn differ(&self, a: u32, b: u32) -> bool {
        a != b
    }

    /// The reach of a pair, given its ports in each family that the two have in common.
    fn of_families(&mut self, by_family: &[(Family, u32)]) -> u32 {
        if let Some(known) = self.by_families.get(by_family) {
            return *known;
        }
        let sets: Vec<(Family, PortSet)> = by_family.iter().map(|(family, id)| (*family, self.set(*id))).collect();
        let everywhere = sets.iter().map(|(_, set)| set.clone()).reduce(|a, b| a.intersection(&b)).unwrap_or_default();
        let in_one_family = sets
            .iter()
            .map(|(family, set)| (*family, set.difference(&everywhere)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        self.reaches.push(Reach { ports: everywhere, in_one_family });
        let id = u32::try_from(self.reaches.len() - 1).unwrap_or(u32::MAX);
        self.by_families.insert(by_family.to_vec(), id);
        id
    }

    fn everything(&mut self) -> u32 {
        let all = self.number(PortSet::all());
        self.of_families(&[(Family::V4, all)])
    }

    fn get(&self, id: u32) -> &Reach {
        static NOTHING: Reach = Reach { ports: PortSet::EMPTY, in_one_family: Vec::new() };
        self.reaches.get(id as usize).unwrap_or(&NOTHING)
    }
}
