//! Who else: from one end to everybody at the other, by the relation of classes.
//!
//! The relation is worked out once. A question about one end then looks at the blocks that its class is in; what is
//! in order is taken off as sets, and what is left are the offenders.

use crate::compile::{Address, Compiled, EndpointId, Entry};
use crate::evaluate::{Addresses, Party, own_node};
use crate::list::relations_of;
use crate::net::{AddressRange, Family, PerFamily, to_number, without};
use crate::policy::Direction;
use crate::ports::PortSet;
use crate::relation::{Block, ClassId, Relation, Role};
use ipnet::IpNet;
use rayon::iter::ParallelIterator;
use roaring::{MultiOps, RoaringBitmap};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;

/// All that may connect, ready to be asked about one end.
#[derive(Debug)]
pub struct Reachability<'c> {
    compiled: &'c Compiled,
    relations: Vec<Indexed>,
    hosts: RoaringBitmap,
}

/// A relation and where to look in it.
#[derive(Debug)]
struct Indexed {
    family: Family,
    addresses: Addresses,
    sources: InRole,
    destinations: InRole,
    blocks: Vec<IndexedBlock>,
}

/// One role: which class somebody is of, and which blocks a class is in.
#[derive(Debug, Default)]
struct InRole {
    class_of: Vec<Option<ClassId>>,
    members: Vec<RoaringBitmap>,
    /// Every range of addresses with its class, sorted.
    ranges: Vec<(AddressRange, ClassId)>,
    /// The addresses of a class that lie outside the cluster: pods' own and their ranges are left out.
    outside: BTreeMap<ClassId, Vec<AddressRange>>,
    /// The classes in `outside`.
    with_outside: RoaringBitmap,
    blocks_of: Vec<Vec<u32>>,
}

#[derive(Debug)]
struct IndexedBlock {
    block: Block,
    /// The endpoints of the classes, worked out when first asked for.
    sources: OnceLock<RoaringBitmap>,
    destinations: OnceLock<RoaringBitmap>,
}

/// What is in order: these, on these ports.
#[derive(Debug, Clone, Default)]
pub struct Allowance {
    /// Pods and workloads.
    pub endpoints: RoaringBitmap,
    /// Addresses outside, sorted and apart.
    pub outside: PerFamily<Vec<AddressRange>>,
    /// The ports.
    pub ports: PortSet,
}

impl Allowance {
    /// Nobody yet, on these ports.
    pub fn on(ports: PortSet) -> Self {
        Allowance { ports, ..Allowance::default() }
    }

    /// Puts the addresses in order, after the last party.
    pub fn sort(&mut self) {
        for family in Family::ALL {
            let ranges = self.outside.get_mut(family);
            ranges.sort_unstable();
            ranges.dedup();
        }
    }

    /// Takes in a party; a piece of a block comes with its blocks.
    pub fn add(&mut self, party: Party, blocks: &[IpNet]) {
        match party {
            Party::Endpoint(id) => _ = self.endpoints.insert(id),
            Party::Address(address) if blocks.is_empty() => {
                let first = to_number(address);
                self.outside.get_mut(Family::of(address)).push(AddressRange { first, last: first });
            }
            Party::Address(address) => {
                self.outside.get_mut(Family::of(address)).extend(blocks.iter().map(AddressRange::from));
            }
        }
    }
}

/// What is asked beyond what is in order.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'s> {
    /// On which ports.
    pub ports: &'s PortSet,
    /// Only about these; `None`: about all.
    pub endpoints: Option<&'s RoaringBitmap>,
    /// Also about addresses outside the cluster.
    pub outside: bool,
}

/// Endpoints with the ports they are reached on, or reach on; those of different parts are different.
pub type Parts = Vec<(RoaringBitmap, PortSet)>;

/// Who is at the other end beyond what is in order.
#[derive(Debug, Default)]
pub struct Beyond {
    /// These surely.
    pub sure: Parts,
    /// Of these it cannot be told (B8).
    pub doubtful: Parts,
    /// These addresses outside.
    pub outside: Vec<(Family, Vec<AddressRange>, PortSet)>,
    /// Whether there would be more if blocks held the addresses of pods that have none (B8).
    pub assumed: bool,
}

impl<'c> Reachability<'c> {
    /// Works out the relation. `pod_ranges` are the known ranges of pod addresses, which are not outside.
    pub fn new(compiled: &'c Compiled, pod_ranges: &[IpNet]) -> Self {
        let indexed = |(family, kind)| Indexed::new(compiled, family, kind, pod_ranges);
        let relations = relations_of(compiled).map(indexed).collect();
        let hosts = compiled.entries().filter(|(_, e)| e.endpoint.host_network).map(|(id, _)| id).collect();
        Reachability { compiled, relations, hosts }
    }

    /// What the relation can tell of a party as a source (egress) or destination (ingress): its class in each
    /// family, for each way to take addresses that are not known.
    pub fn classes_of(&self, party: Party, direction: Direction) -> Vec<Option<ClassId>> {
        self.relations.iter().map(|r| r.near(direction).class_of(r.family, party)).collect()
    }

    /// Who beyond what is in order `near` reaches (egress), or is reached by (ingress).
    pub fn beyond(&self, direction: Direction, near: Party, scope: Scope<'_>, fine: &[Allowance]) -> Beyond {
        let mut beyond = Beyond::default();
        for family in Family::ALL {
            let of = |kind| self.relations.iter().find(|r| r.family == family && r.addresses == kind);
            let Some(surely) = of(Addresses::Surely) else { continue };
            let sure = self.parts(surely, direction, near, scope, fine);
            if let Some(maybe) = of(Addresses::Maybe) {
                for (endpoints, ports) in less(self.parts(maybe, direction, near, scope, fine), &sure) {
                    let doubted = self.doubted(near, &endpoints);
                    beyond.assumed |= doubted.len() < endpoints.len();
                    let not_its_own = doubted
                        .into_iter()
                        .filter(|id| own_node(self.compiled, near, Party::Endpoint(*id)) != Some(true));
                    add(&mut beyond.doubtful, not_its_own.collect(), &ports);
                }
            }
            for (endpoints, ports) in sure {
                add(&mut beyond.sure, endpoints, &ports);
            }
            // Who reaches what outside from outside is not this cluster's to say.
            if scope.outside && matches!(near, Party::Endpoint(_)) {
                beyond.outside.extend(surely.outside(direction, near, scope, fine));
            }
        }
        beyond
    }

    /// The endpoints that `from` surely reaches on all of these ports, in every family that the two have in common.
    /// Others may be reached too: those that an exemption of single pairs lets through.
    pub fn surely_reached(&self, from: Party, ports: &PortSet) -> RoaringBitmap {
        let scope = Scope { ports, endpoints: None, outside: false };
        let (mut open, mut closed) = (RoaringBitmap::new(), RoaringBitmap::new());
        for relation in self.relations.iter().filter(|r| r.addresses == Addresses::Surely) {
            if relation.near(Direction::Egress).class_of(relation.family, from).is_none() {
                continue;
            }
            let parts = self.parts(relation, Direction::Egress, from, scope, &[]);
            let reached = parts.into_iter().filter(|(_, on)| ports.difference(on).is_empty());
            let reached = reached.fold(RoaringBitmap::new(), |all, (endpoints, _)| all | endpoints);
            closed |= relation.far(Direction::Egress).all_endpoints() - &reached;
            open |= reached;
        }
        open - closed
    }

    /// Of which of these endpoints, that only an address which is not known lets pass, nothing is assumed (B8).
    fn doubted(&self, near: Party, endpoints: &RoaringBitmap) -> RoaringBitmap {
        let near_is_host = match near {
            Party::Endpoint(id) => self.hosts.contains(id),
            Party::Address(address) => self.compiled.node_at(address).is_some(),
        };
        if self.compiled.modes().strict || near_is_host { endpoints.clone() } else { endpoints & &self.hosts }
    }

    fn parts(
        &self,
        relation: &Indexed,
        direction: Direction,
        near: Party,
        scope: Scope<'_>,
        fine: &[Allowance],
    ) -> Parts {
        let mut parts = Parts::new();
        for block in relation.blocks_of(direction, near) {
            let ports = block.block.ports.intersection(scope.ports);
            if ports.is_empty() {
                continue;
            }
            let mut far = match scope.endpoints {
                Some(wanted) => relation.far_endpoints(direction, block) & wanted,
                None => relation.far_endpoints(direction, block).clone(),
            };
            // A pod always reaches itself (A6); a template stands for several, of which one may reach another.
            if let Party::Endpoint(id) = near
                && self.compiled.entry(id).is_some_and(|entry| !entry.endpoint.is_template())
            {
                far.remove(id);
            }
            add(&mut parts, far, &ports);
        }
        for allowance in fine {
            parts = less(parts, &[(allowance.endpoints.clone(), allowance.ports.clone())]);
        }
        parts
    }
}

/// Adds endpoints on ports; parts stay apart.
fn add(parts: &mut Parts, mut endpoints: RoaringBitmap, ports: &PortSet) {
    let mut split = Parts::new();
    for (there, on) in parts.iter_mut() {
        if endpoints.is_empty() {
            break;
        }
        if there.is_disjoint(&endpoints) {
            continue;
        }
        let both = &*there & &endpoints;
        endpoints -= &both;
        *there -= &both;
        split.push((both, on.union(ports)));
    }
    parts.retain(|(there, _)| !there.is_empty());
    parts.extend(split);
    if !endpoints.is_empty() {
        match parts.iter_mut().find(|(_, on)| on == ports) {
            Some((there, _)) => *there |= endpoints,
            None => parts.push((endpoints, ports.clone())),
        }
    }
}

/// What is left of parts without others.
fn less(parts: Parts, others: &[(RoaringBitmap, PortSet)]) -> Parts {
    let mut left = Parts::new();
    for (mut endpoints, ports) in parts {
        for (others, without) in others {
            if endpoints.is_disjoint(others) {
                continue;
            }
            let both = &endpoints & others;
            endpoints -= &both;
            let ports = ports.difference(without);
            if !ports.is_empty() {
                add(&mut left, both, &ports);
            }
        }
        if !endpoints.is_empty() {
            add(&mut left, endpoints, &ports);
        }
    }
    left
}

impl Indexed {
    fn new(compiled: &Compiled, family: Family, addresses: Addresses, pod_ranges: &[IpNet]) -> Self {
        let relation = Relation::new(compiled, family, addresses);
        let blocks: Vec<Block> = relation.blocks().collect();
        let inside = Inside::new(compiled, family, pod_ranges);
        let role = |role: &Role, classes: fn(&Block) -> &RoaringBitmap| InRole::new(role, &inside, &blocks, classes);
        let sources = role(&relation.sources, |block| &block.sources);
        let destinations = role(&relation.destinations, |block| &block.destinations);
        let indexed = |block| IndexedBlock { block, sources: OnceLock::new(), destinations: OnceLock::new() };
        Indexed { family, addresses, sources, destinations, blocks: blocks.into_iter().map(indexed).collect() }
    }

    fn near(&self, direction: Direction) -> &InRole {
        match direction {
            Direction::Egress => &self.sources,
            Direction::Ingress => &self.destinations,
        }
    }

    fn far(&self, direction: Direction) -> &InRole {
        match direction {
            Direction::Egress => &self.destinations,
            Direction::Ingress => &self.sources,
        }
    }

    fn blocks_of(&self, direction: Direction, near: Party) -> impl Iterator<Item = &IndexedBlock> {
        let role = self.near(direction);
        let class = role.class_of(self.family, near);
        let numbers = class.and_then(|class| role.blocks_of.get(class as usize)).into_iter().flatten();
        numbers.filter_map(|number| self.blocks.get(*number as usize))
    }

    fn far_endpoints<'b>(&self, direction: Direction, block: &'b IndexedBlock) -> &'b RoaringBitmap {
        let (classes, known) = match direction {
            Direction::Egress => (&block.block.destinations, &block.destinations),
            Direction::Ingress => (&block.block.sources, &block.sources),
        };
        let members = &self.far(direction).members;
        known.get_or_init(|| classes.iter().filter_map(|class| members.get(class as usize)).union())
    }

    fn outside(
        &self,
        direction: Direction,
        near: Party,
        scope: Scope<'_>,
        fine: &[Allowance],
    ) -> Vec<(Family, Vec<AddressRange>, PortSet)> {
        let role = self.far(direction);
        let mut of_class: BTreeMap<ClassId, PortSet> = BTreeMap::new();
        for block in self.blocks_of(direction, near) {
            let classes = match direction {
                Direction::Egress => &block.block.destinations,
                Direction::Ingress => &block.block.sources,
            };
            let ports = block.block.ports.intersection(scope.ports);
            if ports.is_empty() || classes.is_disjoint(&role.with_outside) {
                continue;
            }
            for class in classes & &role.with_outside {
                let all = of_class.entry(class).or_default();
                *all = all.union(&ports);
            }
        }
        let mut by_ports: BTreeMap<Vec<crate::ports::PortRange>, Vec<AddressRange>> = BTreeMap::new();
        for (class, ports) in of_class {
            let mut parts = vec![(role.outside.get(&class).cloned().unwrap_or_default(), ports)];
            for allowance in fine {
                let holes = allowance.outside.get(self.family);
                if !holes.is_empty() {
                    parts = parts.into_iter().flat_map(|part| split(part, holes, &allowance.ports)).collect();
                }
            }
            for (ranges, ports) in parts {
                by_ports.entry(ports.ranges().to_vec()).or_default().extend(ranges);
            }
        }
        let part = |(ports, mut ranges): (Vec<_>, Vec<AddressRange>)| {
            ranges.sort_unstable();
            (self.family, ranges, ports.into_iter().collect())
        };
        by_ports.into_iter().map(part).collect()
    }
}

/// Ranges within and without some others, on what is left of their ports.
fn split(
    (ranges, ports): (Vec<AddressRange>, PortSet),
    others: &[AddressRange],
    fine: &PortSet,
) -> Vec<(Vec<AddressRange>, PortSet)> {
    let apart: Vec<AddressRange> = ranges.iter().flat_map(|range| without(*range, others)).collect();
    let within: Vec<AddressRange> = ranges.iter().flat_map(|range| without(*range, &apart)).collect();
    let parts = [(within, ports.difference(fine)), (apart, ports)];
    parts.into_iter().filter(|(ranges, ports)| !ranges.is_empty() && !ports.is_empty()).collect()
}

/// The addresses of a family that belong to the cluster.
struct Inside {
    /// Known ranges of pod addresses.
    ranges: Vec<AddressRange>,
    /// Pods' addresses, sorted.
    pods: Vec<u128>,
}

impl Inside {
    fn new(compiled: &Compiled, family: Family, pod_ranges: &[IpNet]) -> Self {
        let address = |(_, entry): (EndpointId, &Entry)| match entry.endpoint.addresses.get(family) {
            Address::Known(address) if !entry.endpoint.host_network => Some(to_number(*address)),
            _ => None,
        };
        let mut pods: Vec<u128> = compiled.entries().filter_map(address).collect();
        pods.sort_unstable();
        pods.dedup();
        let of_family = pod_ranges.iter().filter(|net| crate::net::family_of(net) == family);
        Inside { ranges: of_family.map(AddressRange::from).collect(), pods }
    }

    /// What of a range lies outside. A range that also holds pods keeps its form: only one that holds nothing else
    /// is left out.
    fn outside(&self, range: AddressRange) -> impl Iterator<Item = AddressRange> {
        let held = |range: &AddressRange| {
            let from = self.pods.partition_point(|pod| *pod < range.first);
            let to = self.pods.partition_point(|pod| *pod <= range.last);
            (to - from) as u128
        };
        without(range, &self.ranges).into_iter().filter(move |range| held(range) <= range.last - range.first)
    }
}

impl InRole {
    fn new(role: &Role, inside: &Inside, blocks: &[Block], classes: fn(&Block) -> &RoaringBitmap) -> Self {
        let mut out = InRole { blocks_of: vec![Vec::new(); role.classes.len()], ..InRole::default() };
        for (number, class) in (0..).zip(&role.classes) {
            for id in &class.endpoints {
                let at = *id as usize;
                if out.class_of.len() <= at {
                    out.class_of.resize(at + 1, None);
                }
                if let Some(place) = out.class_of.get_mut(at) {
                    *place = Some(number);
                }
            }
            out.members.push(class.endpoints.iter().copied().collect());
            out.ranges.extend(class.outside.iter().map(|range| (*range, number)));
            let outside: Vec<AddressRange> = class.outside.iter().flat_map(|range| inside.outside(*range)).collect();
            if !outside.is_empty() {
                out.outside.insert(number, outside);
                out.with_outside.insert(number);
            }
        }
        out.ranges.sort_unstable();
        for (number, block) in (0..).zip(blocks) {
            for class in classes(block) {
                if let Some(list) = out.blocks_of.get_mut(class as usize) {
                    list.push(number);
                }
            }
        }
        out
    }

    /// All that have a class.
    fn all_endpoints(&self) -> RoaringBitmap {
        self.members.iter().union()
    }

    fn class_of(&self, family: Family, party: Party) -> Option<ClassId> {
        match party {
            Party::Endpoint(id) => self.class_of.get(id as usize).copied().flatten(),
            Party::Address(address) => self.class_at(family, address),
        }
    }

    fn class_at(&self, family: Family, address: IpAddr) -> Option<ClassId> {
        if Family::of(address) != family {
            return None;
        }
        let number = to_number(address);
        let after = self.ranges.partition_point(|(range, _)| range.first <= number);
        let (range, class) = self.ranges.get(after.checked_sub(1)?)?;
        (number <= range.last).then_some(*class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{PortRange, Protocol};

    fn tcp(port: u16) -> PortSet {
        PortRange::single(Protocol::Tcp, port).into()
    }

    fn set(ids: &[u32]) -> RoaringBitmap {
        ids.iter().copied().collect()
    }

    #[test]
    fn parts_stay_apart() {
        let mut parts = Parts::new();
        add(&mut parts, set(&[1, 2]), &tcp(80));
        add(&mut parts, set(&[2, 3]), &tcp(443));
        let both = tcp(80).union(&tcp(443));
        parts.sort_by_key(|(ids, _)| ids.min());
        assert_eq!(parts, [(set(&[1]), tcp(80)), (set(&[2]), both), (set(&[3]), tcp(443))]);
        let left = less(parts, &[(set(&[1, 2]), tcp(80))]);
        assert_eq!(left, [(set(&[2, 3]), tcp(443))]);
    }

    #[test]
    fn ranges_are_split_at_what_is_fine() {
        let range = |first, last| AddressRange { first, last };
        let all = tcp(80).union(&tcp(443));
        let parts = split((vec![range(0, 99)], all.clone()), &[range(10, 19), range(50, 200)], &tcp(80));
        assert_eq!(
            parts,
            [(vec![range(10, 19), range(50, 99)], tcp(443)), (vec![range(0, 9), range(20, 49)], all.clone())]
        );
        assert_eq!(split((vec![range(10, 12)], tcp(80)), &[range(10, 19)], &tcp(80)), []);
    }
}
