//! What pairs come to, coded: distinct columns of the listing, and then the rows that they tell apart.

use super::{Missing, Ports, Reach};
use crate::compile::{Compiled, EndpointId};
use crate::evaluate::{Addresses, Party, own_node, side_ports};
use crate::list::{Entity, Listing, Pair};
use crate::net::Family;
use crate::policy::Direction;
use crate::ports::{PortSet, Protocol};
use rustc_hash::FxHashMap;

/// Runs of (how many, number of a reach).
pub(super) type Column = Vec<(u32, u32)>;

/// The number of "denied".
const DENIED: u32 = 0;

/// Every pair of a listing.
pub(super) struct Cells {
    /// What pairs come to.
    pub(super) reaches: Vec<Reach>,
    /// The distinct columns over the listing's sources.
    pub(super) columns: Vec<Column>,
    /// The column of each of the listing's destinations.
    pub(super) column_of: Vec<u32>,
}

/// The numbers of distinct reaches.
struct Numbers {
    reaches: Vec<Reach>,
    numbers: FxHashMap<Reach, u32>,
    /// The same by what the listing says, so that the frequent case makes no copies.
    seen: FxHashMap<(crate::list::Reach, Option<Missing>, bool), u32>,
}

impl Numbers {
    fn of(&mut self, reach: &crate::list::Reach, unknown: Option<Missing>, own_node: bool) -> u32 {
        let key = (reach.clone(), unknown, own_node);
        if let Some(known) = self.seen.get(&key) {
            return *known;
        }
        let only = |family| {
            let limited = reach.in_one_family.iter().filter(move |(f, _)| *f == family);
            limited.flat_map(|(_, ports)| ports_of(ports)).collect()
        };
        let (only_v4, only_v6) = (only(Family::V4), only(Family::V6));
        let coded = Reach { open: ports_of(&reach.ports), only_v4, only_v6, unknown, own_node };
        let number = *self.numbers.entry(coded).or_insert_with_key(|coded| {
            self.reaches.push(coded.clone());
            u32::try_from(self.reaches.len() - 1).unwrap_or(u32::MAX)
        });
        self.seen.insert(key, number);
        number
    }
}

/// A set of ports, coded.
pub(super) fn ports_of(set: &PortSet) -> Vec<Ports> {
    set.ranges().iter().map(|range| (protocol_number(range.protocol), range.from, range.to)).collect()
}

/// The number of a protocol.
pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    (0..).zip(Protocol::ALL).find(|(_, other)| *other == protocol).map_or(0, |(number, _)| number)
}

impl Cells {
    pub(super) fn new(compiled: &Compiled, listing: &Listing<'_>) -> Self {
        let mut numbers = Numbers {
            reaches: vec![Reach::default()],
            numbers: [(Reach::default(), DENIED)].into_iter().collect(),
            seen: FxHashMap::default(),
        };
        let mut columns = Distinct::default();
        let mut column_of = Vec::with_capacity(listing.destinations.len());
        let mut column = Runs::default();
        let (mut source_at, mut current): (usize, Option<&Entity>) = (0, None);
        let mut finish = |column: &mut Runs, column_of: &mut Vec<u32>| {
            column_of.push(columns.number(std::mem::take(column).finish(listing.sources.len())));
        };
        listing.for_each(
            |_| true,
            |source, destination, pair| {
                // Pairs come by destination and then by source, each in the order of its list.
                while !listing.destinations.get(column_of.len()).is_none_or(|d| std::ptr::eq(d, destination)) {
                    finish(&mut column, &mut column_of);
                    source_at = 0;
                }
                if !current.is_some_and(|current| std::ptr::eq(current, destination)) {
                    (current, source_at) = (Some(destination), 0);
                }
                while !listing.sources.get(source_at).is_none_or(|s| std::ptr::eq(s, source)) {
                    source_at += 1;
                }
                let number = if listing.is_single(source) && source.members == destination.members {
                    // That a pod reaches itself is known of the entity (A6). Here stands what rules say, so
                    // that pods which are alike have the same row and column.
                    itself(compiled, source, &mut numbers)
                } else {
                    let hosts = || (source.host_network != destination.host_network).then_some((source, destination));
                    match pair {
                        Pair::Open(reach) => {
                            let own = reach.ports.is_all() && hosts().is_some_and(|(a, b)| all_own(compiled, a, b));
                            numbers.of(reach, None, own)
                        }
                        Pair::Unknown(reach) => {
                            let node = hosts().is_some_and(|(a, b)| unclear(compiled, a, b));
                            numbers.of(reach, Some(if node { Missing::Node } else { Missing::Address }), false)
                        }
                    }
                };
                column.push_at(source_at, number);
            },
        );
        while column_of.len() < listing.destinations.len() {
            finish(&mut column, &mut column_of);
        }
        Cells { reaches: numbers.reaches, columns: columns.items, column_of }
    }

    /// Columns over other rows: `sources` are the numbers of the listing's sources that the rows stand
    /// for, `destinations` those of the columns wanted. Gives the row of each source, the distinct columns,
    /// and the column of each destination. Sources that come out alike everywhere share a row.
    pub(super) fn over(&self, sources: &[usize], destinations: &[usize]) -> (Vec<u32>, Vec<Column>, Vec<u32>) {
        let mut used: Vec<u32> = destinations.iter().filter_map(|d| self.column_of.get(*d)).copied().collect();
        used.sort_unstable();
        used.dedup();
        let decoded = |number: &u32| {
            let column = self.columns.get(*number as usize).map_or(&[][..], Vec::as_slice);
            column.iter().flat_map(|(count, reach)| std::iter::repeat_n(*reach, *count as usize)).collect()
        };
        let decoded: Vec<Vec<u32>> = used.iter().map(decoded).collect();
        let cell = |column: &Vec<u32>, source: usize| column.get(source).copied().unwrap_or(DENIED);
        let mut rows: Vec<u32> = vec![0; sources.len()];
        for column in &decoded {
            let mut finer: FxHashMap<(u32, u32), u32> = FxHashMap::default();
            for (row, source) in rows.iter_mut().zip(sources) {
                let next = u32::try_from(finer.len()).unwrap_or(u32::MAX);
                *row = *finer.entry((*row, cell(column, *source))).or_insert(next);
            }
        }
        let count = rows.iter().max().map_or(0, |last| *last as usize + 1);
        let mut standing: Vec<usize> = vec![0; count];
        for (row, source) in rows.iter().zip(sources) {
            if let Some(place) = standing.get_mut(*row as usize) {
                *place = *source;
            }
        }
        let mut columns = Distinct::default();
        let renumbered: FxHashMap<u32, u32> = used
            .iter()
            .zip(&decoded)
            .map(|(number, column)| {
                let mut runs = Runs::default();
                standing.iter().for_each(|source| runs.push(cell(column, *source)));
                (*number, columns.number(runs.finish(count)))
            })
            .collect();
        let column_of = |d: &usize| self.column_of.get(*d).and_then(|number| renumbered.get(number)).copied();
        (rows, columns.items, destinations.iter().map(|d| column_of(d).unwrap_or_default()).collect())
    }

    /// What a pair of the listing comes to.
    pub(super) fn column(&self, destination: usize) -> impl Iterator<Item = u32> {
        let column = self.column_of.get(destination).and_then(|number| self.columns.get(*number as usize));
        let runs = column.into_iter().flatten();
        runs.flat_map(|(count, reach)| std::iter::repeat_n(*reach, *count as usize))
    }
}

/// What rules say of a pod and another that is exactly alike.
fn itself(compiled: &Compiled, entity: &Entity, numbers: &mut Numbers) -> u32 {
    let Some(entry) = entity.members.first().and_then(|id| compiled.entry(*id)) else { return DENIED };
    let ports = |family: Family, addresses: Addresses| -> Option<PortSet> {
        let ids = (*entry.as_peer.get(family))?;
        let side = |direction, group, peer| {
            let side = compiled.side(direction);
            side.peer_class(peer).map_or(PortSet::EMPTY, |class| side_ports(side, group, class))
        };
        let egress = side(Direction::Egress, entry.egress, ids.destination.pick(addresses));
        let ingress = side(Direction::Ingress, entry.ingress, ids.source.pick(addresses));
        Some(egress.intersection(&ingress))
    };
    let sure = Family::ALL.map(|family| (family, ports(family, Addresses::Surely)));
    let common = || sure.iter().filter_map(|(_, set)| set.as_ref());
    let everywhere = common().cloned().reduce(|a, b| a.intersection(&b)).unwrap_or_default();
    let limited = sure.iter().filter_map(|(family, set)| Some((*family, set.as_ref()?.difference(&everywhere))));
    let in_one_family = limited.filter(|(_, set)| !set.is_empty()).collect();
    let doubt = compiled.modes().strict || entity.host_network;
    let unknown = doubt && sure.iter().any(|(family, set)| ports(*family, Addresses::Maybe) != *set);
    let reach = crate::list::Reach { ports: everywhere, in_one_family };
    numbers.of(&reach, unknown.then_some(Missing::Address), false)
}

fn pairs<'e>(a: &'e Entity, b: &'e Entity) -> impl Iterator<Item = (EndpointId, EndpointId)> + 'e {
    a.members.iter().flat_map(|from| b.members.iter().map(|to| (*from, *to)))
}

fn all_own(compiled: &Compiled, a: &Entity, b: &Entity) -> bool {
    let own = |(from, to)| own_node(compiled, Party::Endpoint(from), Party::Endpoint(to)) == Some(true);
    !a.members.is_empty() && !b.members.is_empty() && pairs(a, b).all(own)
}

fn unclear(compiled: &Compiled, a: &Entity, b: &Entity) -> bool {
    pairs(a, b).any(|(from, to)| own_node(compiled, Party::Endpoint(from), Party::Endpoint(to)).is_none())
}

/// Runs in the making.
#[derive(Default)]
struct Runs {
    runs: Column,
    length: usize,
}

impl Runs {
    fn push(&mut self, reach: u32) {
        self.length += 1;
        match self.runs.last_mut() {
            Some((count, last)) if *last == reach => *count += 1,
            _ => self.runs.push((1, reach)),
        }
    }

    fn push_at(&mut self, at: usize, reach: u32) {
        self.fill(at);
        self.push(reach);
    }

    fn fill(&mut self, length: usize) {
        let Some(missing) = length.checked_sub(self.length).filter(|missing| *missing > 0) else { return };
        self.length = length;
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        match self.runs.last_mut() {
            Some((count, DENIED)) => *count += missing,
            _ => self.runs.push((missing, DENIED)),
        }
    }

    /// The whole column; what is missing at its end is denied and goes without saying.
    fn finish(mut self, length: usize) -> Column {
        self.fill(length);
        if self.runs.last().is_some_and(|(_, reach)| *reach == DENIED) {
            self.runs.pop();
        }
        self.runs
    }
}

/// Distinct columns, numbered.
#[derive(Default)]
struct Distinct {
    items: Vec<Column>,
    numbers: FxHashMap<Column, u32>,
}

impl Distinct {
    fn number(&mut self, column: Column) -> u32 {
        *self.numbers.entry(column).or_insert_with_key(|column| {
            self.items.push(column.clone());
            u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
        })
    }
}
