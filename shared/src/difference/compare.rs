//! Pairs of combined classes, before and after.

use super::cause::{Cause, CauseKey, Ends, Finder, Moved, Reason};
use super::side::{ClassKey, Classes, Places, Side};
use super::units::{ClassOf, OnSide, Role, Roles, place_among};
use super::{Both, Change, Kind, Options, Unit, UnitId, is_itself};
use crate::compile::side::{GroupId, NOT_ISOLATED};
use crate::list::{NO_PORT, Reach, Reaches};
use crate::net::Family;
use crate::object::ForeignPolicy;
use crate::policy::Direction;
use crate::ports::PortSet;
use crate::relation::ClassId;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of the list without a reason.
const NO_CAUSE: Number = 0;

/// The relations of a compared family, among those that classes are given in.
struct Compared {
    family: Family,
    /// Where they are in `ClassOf`.
    at: Both<Places>,
}

/// What two sides are compared by.
pub(super) struct Comparison<'c, 'm> {
    sides: &'m Both<Side<'c>>,
    roles: &'m Roles,
    options: &'m Options,
    relations: Both<Vec<usize>>,
    families: Vec<Compared>,
    strict: Both<bool>,
    /// Whether a policy of the whole cluster was not understood.
    all_touched: bool,
    sources: Judged,
    destinations: Judged,
    /// What became of ports, over all threads.
    deltas: Mutex<Numbered<Delta>>,
    /// Lists of reasons, over all threads; the first one is empty.
    causes: Mutex<Numbered<Vec<CauseKey>>>,
    /// Over all threads.
    resolved: Mutex<Resolved>,
}

/// What was found.
pub(super) struct Found {
    pub(super) changes: Vec<Change>,
    pub(super) alike_unknown: usize,
}

/// What became of the ports of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Delta {
    /// `None` where nothing that can be told changed.
    kind: Option<Kind>,
    moved: Vec<Moved>,
    /// In each family that the two have in common on both sides.
    unknown: Vec<(Family, PortSet)>,
    /// Whether something is unknown on both sides alike.
    alike_unknown: bool,
}

/// The numbers of the port sets of a pair in one family: what is sure, and what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct InFamily {
    sure: Both<u32>,
    maybe: Both<u32>,
    /// Whether what is unknown on both sides rests on the same.
    alike: bool,
}

/// Whether a pair is a pod and its own node, on each side (D2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OwnNode {
    Yes,
    No,
    Unclear,
}

/// The number of a [`Delta`], of a list of reasons, or of what a class is to policies.
type Number = u32;

/// What a part of the sources or destinations is: the number of a class, or, behind those of all classes,
/// a single unit.
type PartId = u32;

/// What became of a pair of classes.
#[derive(Debug, Clone, Copy)]
struct Told {
    delta: Number,
    alike_unknown: bool,
}

/// Reasons with policies in place of numbers, by the families that the connections have.
type Resolved = FxHashMap<(CauseKey, Vec<Family>), Arc<Cause>>;

/// Parts, or units, each with its reasons.
type WithReasons = Vec<(u32, Number)>;

/// What is found of a destination: the sources from which the same became of it for the same reason in its
/// own ingress, each with the reasons in its own egress.
struct Row {
    destination: PartId,
    delta: Number,
    incomplete: bool,
    ingress: Number,
    sources: WithReasons,
}

/// Distinct values, numbered. Which number a value gets depends on the threads; nothing else does.
#[derive(Debug)]
struct Numbered<T> {
    items: Vec<Arc<T>>,
    numbers: FxHashMap<Arc<T>, Number>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered { items: Vec::new(), numbers: FxHashMap::default() }
    }
}

impl<T: Eq + std::hash::Hash> Numbered<T> {
    fn number(&mut self, item: T) -> Number {
        if let Some(number) = self.numbers.get(&item) {
            return *number;
        }
        let number = Number::try_from(self.items.len()).unwrap_or(Number::MAX);
        let item = Arc::new(item);
        self.items.push(item.clone());
        self.numbers.insert(item, number);
        number
    }

    fn get(&self, number: Number) -> Option<Arc<T>> {
        self.items.get(number as usize).cloned()
    }
}

/// What each class of a role is to the policies, in numbers that are equal where that is.
struct Judged {
    /// What isolates it.
    by: Vec<Number>,
    /// What it is to the rules of the other role.
    as_peer: Vec<Number>,
    /// Whether something isolates it, on some side.
    isolated: Vec<bool>,
}

/// What a thread keeps from one destination to the next.
struct Scratch {
    reaches: Reaches,
    everything: u32,
    reached: Both<Vec<Vec<u32>>>,
    deltas: FxHashMap<[Option<InFamily>; 2], Option<Told>>,
    /// The reasons in a direction, by the delta, what isolates, and the peer.
    causes: FxHashMap<(Direction, Number, Number, Number), Number>,
    finder: Finder,
}

/// Classes of destinations that the same sources reach on the same ports, on both sides.
type Rows = (Both<Vec<Option<u32>>>, Both<(bool, bool)>, bool, bool, bool);

impl<'c, 'm> Comparison<'c, 'm> {
    pub(super) fn new(
        sides: &'m Both<Side<'c>>,
        families: &[Family],
        roles: &'m Roles,
        options: &'m Options,
        foreign: &Both<Vec<Arc<ForeignPolicy>>>,
    ) -> Self {
        let relations = sides.map(|side| side.among(families).collect::<Vec<_>>());
        let places = |side: &Side<'_>, relations: &[usize], family| -> Option<Places> {
            let Places { surely, maybe } = side.places(family)?;
            Some(Places { surely: place_among(relations, Some(surely))?, maybe: place_among(relations, maybe) })
        };
        let compared = |family: &Family| {
            let old = places(&sides.old, &relations.old, *family)?;
            let new = places(&sides.new, &relations.new, *family)?;
            Some(Compared { family: *family, at: Both { old, new } })
        };
        let families: Vec<Compared> = families.iter().filter_map(compared).collect();
        let mut causes = Numbered::default();
        causes.number(Vec::new());
        let judged = |role, keys| Judged::new(sides, &relations, &families, role, keys);
        let (sources, destinations) =
            (judged(&roles.sources, |c| &c.source_keys), judged(&roles.destinations, |c| &c.destination_keys));
        Comparison {
            sides,
            roles,
            options,
            families,
            relations,
            sources,
            destinations,
            deltas: Mutex::default(),
            causes: Mutex::new(causes),
            resolved: Mutex::default(),
            strict: sides.map(|side| side.compiled.modes().strict),
            all_touched: foreign.each().into_iter().flatten().any(|policy| policy.namespace.is_none()),
        }
    }

    fn scratch(&self) -> Scratch {
        let mut reaches = Reaches::default();
        let everything = reaches.number(&PortSet::all());
        let buffers = |side: &Side<'_>, relations: &[usize]| -> Vec<Vec<u32>> {
            let count = |at: &usize| side.worked.get(*at).map_or(0, |w| w.source_count);
            relations.iter().map(|at| vec![NO_PORT; count(at)]).collect()
        };
        Scratch {
            reaches,
            everything,
            reached: Both {
                old: buffers(&self.sides.old, &self.relations.old),
                new: buffers(&self.sides.new, &self.relations.new),
            },
            deltas: FxHashMap::default(),
            causes: FxHashMap::default(),
            finder: Finder::default(),
        }
    }

    /// Everything that differs.
    pub(super) fn find(&self) -> Found {
        let mut by_rows: FxHashMap<Rows, Vec<usize>> = FxHashMap::default();
        let mut order: Vec<Rows> = Vec::new();
        for (number, (class, _)) in self.roles.destinations.classes.iter().enumerate() {
            let rows = self.rows_of(class);
            by_rows
                .entry(rows)
                .or_insert_with_key(|rows| {
                    order.push(rows.clone());
                    Vec::new()
                })
                .push(number);
        }
        let groups: Vec<(Rows, Vec<usize>)> =
            order.into_iter().filter_map(|rows| by_rows.remove_entry(&rows)).collect();
        // Few pieces, as each has to find out anew what it keeps in mind.
        let piece = groups.len().div_ceil(8 * rayon::current_num_threads()).max(1);
        let found: Vec<(Vec<Row>, usize)> = groups
            .par_chunks(piece)
            .map(|groups| {
                let mut scratch = self.scratch();
                let (mut rows, mut alike_unknown) = (Vec::new(), 0);
                for (same, classes) in groups {
                    alike_unknown += self.destinations(&mut scratch, same, classes, &mut rows);
                }
                (rows, alike_unknown)
            })
            .collect();
        let alike_unknown = found.iter().map(|(_, count)| count).sum();
        let changes = self.merge(found.into_iter().flat_map(|(rows, _)| rows));
        Found { changes, alike_unknown }
    }

    fn rows_of(&self, class: &ClassOf) -> Rows {
        let rows = |side: &Side<'_>, relations: &[usize], classes: &[Option<ClassId>]| {
            let row = |(at, class): (&usize, &Option<ClassId>)| class.and_then(|class| side.row(*at, class));
            relations.iter().zip(classes).map(row).collect()
        };
        let rows = Both {
            old: rows(&self.sides.old, &self.relations.old, &class.sides.old.classes),
            new: rows(&self.sides.new, &self.relations.new, &class.sides.new.classes),
        };
        (rows, class.sides.map(|side| (side.host, side.node_known)), class.inside, class.wanted, class.touched)
    }

    /// What changed on the way to some classes of destinations whose rows are the same; gives back how many
    /// connections are unknown on both sides alike.
    fn destinations(&self, scratch: &mut Scratch, (rows, ..): &Rows, classes: &[usize], found: &mut Vec<Row>) -> usize {
        let relations =
            [(&self.sides.old, &self.relations.old, &rows.old), (&self.sides.new, &self.relations.new, &rows.new)];
        for ((side, relations, rows), reached) in
            relations.into_iter().zip([&mut scratch.reached.old, &mut scratch.reached.new])
        {
            for ((at, row), reached) in relations.iter().zip(rows).zip(reached) {
                if let Some(worked) = side.worked.get(*at) {
                    worked.reached(*row, reached, &mut scratch.reaches);
                }
            }
        }
        let Some((to, _)) = classes.first().and_then(|class| self.roles.destinations.classes.get(*class)) else {
            return 0;
        };
        let mut alike: FxHashMap<(PartId, Number, bool, Number), WithReasons> = FxHashMap::default();
        let mut alike_unknown = 0;
        for (from_class, (from, units)) in self.roles.sources.classes.iter().enumerate() {
            if !(from.inside || to.inside) || !(from.wanted || to.wanted) {
                continue;
            }
            let mixed = from.inside
                && to.inside
                && from.sides.each().iter().zip(to.sides.each()).any(|(from, to)| from.host != to.host);
            if !mixed && self.is_same(scratch, from, to) {
                continue;
            }
            for to_class in classes {
                let Some((to, destinations)) = self.roles.destinations.classes.get(*to_class) else { continue };
                let pair = (from_class, *to_class);
                let incomplete = self.all_touched || from.touched || to.touched;
                let nodes = Both {
                    old: self.node(&from.sides.old, &to.sides.old),
                    new: self.node(&from.sides.new, &to.sides.new),
                };
                let mut put = |told: Told, (source, destination), [egress, ingress]: [Number; 2]| {
                    let place = alike.entry((destination, told.delta, incomplete, ingress)).or_default();
                    place.push((source, egress));
                };
                if !mixed {
                    if let Some(told) = self.delta(scratch, from, to, nodes) {
                        alike_unknown += usize::from(told.alike_unknown) * units.len() * destinations.len();
                        put(told, (part(from_class), part(*to_class)), self.causes(scratch, pair, told, nodes));
                    }
                    continue;
                }
                for (source, destination) in units.iter().flat_map(|s| destinations.iter().map(move |d| (*s, *d))) {
                    let nodes = self.nodes_of_units(source, destination, nodes);
                    if let Some(told) = self.delta(scratch, from, to, nodes) {
                        alike_unknown += usize::from(told.alike_unknown);
                        let parts = (
                            self.roles.sources.part_of_unit(source),
                            self.roles.destinations.part_of_unit(destination),
                        );
                        put(told, parts, self.causes(scratch, pair, told, nodes));
                    }
                }
            }
        }
        found.extend(alike.into_iter().map(|((destination, delta, incomplete, ingress), mut sources)| {
            sources.sort_unstable();
            Row { destination, delta, incomplete, ingress, sources }
        }));
        alike_unknown
    }

    /// Whether two classes surely reach each other on the same ports as before; the frequent case.
    fn is_same(&self, scratch: &Scratch, from: &ClassOf, to: &ClassOf) -> bool {
        self.families.iter().all(|compared| {
            let Some(pair) = self.in_family(scratch, compared, from, to) else { return true };
            pair.sure.old == pair.sure.new && pair.maybe == pair.sure
        })
    }

    /// The ports of a pair in a family, but for what nodes add (D2); `None` where it is not on both sides.
    fn in_family(&self, scratch: &Scratch, compared: &Compared, from: &ClassOf, to: &ClassOf) -> Option<InFamily> {
        let of = |reached: &[Vec<u32>], places: Places, from: &OnSide, to: &OnSide, strict| {
            let at = |place: usize| {
                let class = from.classes.get(place).copied().flatten()?;
                to.classes.get(place).copied().flatten()?;
                reached.get(place)?.get(class as usize).copied()
            };
            let sure = at(places.surely)?;
            let doubt = strict || from.host || to.host;
            Some((sure, if doubt { places.maybe.and_then(at).unwrap_or(sure) } else { sure }))
        };
        let old = of(&scratch.reached.old, compared.at.old, &from.sides.old, &to.sides.old, self.strict.old)?;
        let new = of(&scratch.reached.new, compared.at.new, &from.sides.new, &to.sides.new, self.strict.new)?;
        Some(InFamily { sure: Both { old: old.0, new: new.0 }, maybe: Both { old: old.1, new: new.1 }, alike: false })
    }

    /// Whether two classes, one of them on nodes' networks, may be pods and their own nodes.
    fn node(&self, from: &OnSide, to: &OnSide) -> OwnNode {
        if from.host != to.host && !(from.node_known && to.node_known) { OwnNode::Unclear } else { OwnNode::No }
    }

    /// The same of two units, whose nodes are known one by one.
    fn nodes_of_units(&self, source: UnitId, destination: UnitId, nodes: Both<OwnNode>) -> Both<OwnNode> {
        let unit = |units: &'m [Unit], id: UnitId| units.get(id as usize);
        let (Some(from), Some(to)) =
            (unit(&self.roles.sources.units, source), unit(&self.roles.destinations.units, destination))
        else {
            return nodes;
        };
        let host = |side: &Side<'_>, unit: &[u32]| {
            unit.first().and_then(|id| side.compiled.entry(*id)).is_some_and(|entry| entry.endpoint.host_network)
        };
        let of =
            |side: &Side<'_>, known: OwnNode, from: (&[u32], &Option<Box<str>>), to: (&[u32], &Option<Box<str>>)| {
                let own = from.1.is_some() && from.1 == to.1 && host(side, from.0) != host(side, to.0);
                if known == OwnNode::No && own { OwnNode::Yes } else { known }
            };
        Both {
            old: of(&self.sides.old, nodes.old, (&from.members.old, &from.node.old), (&to.members.old, &to.node.old)),
            new: of(&self.sides.new, nodes.new, (&from.members.new, &from.node.new), (&to.members.new, &to.node.new)),
        }
    }

    /// What became of a pair; `None` when nothing did.
    fn delta(&self, scratch: &mut Scratch, from: &ClassOf, to: &ClassOf, nodes: Both<OwnNode>) -> Option<Told> {
        let mut key: [Option<InFamily>; 2] = [None, None];
        for (compared, place) in self.families.iter().zip(&mut key) {
            let Some(mut pair) = self.in_family(scratch, compared, from, to) else { continue };
            let in_doubt = pair.sure.old != pair.maybe.old || pair.sure.new != pair.maybe.new;
            pair.alike = match (nodes.old, nodes.new) {
                (OwnNode::Unclear, OwnNode::Unclear) if !in_doubt => true,
                _ if !in_doubt => false,
                (old, new) if old == new => {
                    let ends = self.ends(compared, from, to)?;
                    scratch.finder.judged_alike(self.sides, &ends)
                }
                _ => false,
            };
            for (node, sure, maybe) in [
                (nodes.old, &mut pair.sure.old, &mut pair.maybe.old),
                (nodes.new, &mut pair.sure.new, &mut pair.maybe.new),
            ] {
                match node {
                    OwnNode::No => {}
                    OwnNode::Yes => (*sure, *maybe) = (scratch.everything, scratch.everything),
                    OwnNode::Unclear => *maybe = scratch.everything,
                }
            }
            *place = Some(pair);
        }
        if let Some(known) = scratch.deltas.get(&key) {
            return *known;
        }
        let families = self.families.iter().map(|c| c.family);
        let delta = Delta::new(families.zip(key), &scratch.reaches, self.options.ports.as_ref());
        let told =
            delta.map(|delta| Told { alike_unknown: delta.alike_unknown, delta: lock(&self.deltas).number(delta) });
        scratch.deltas.insert(key, told);
        told
    }

    fn ends<'k>(&'k self, compared: &Compared, from: &ClassOf, to: &ClassOf) -> Option<Both<Ends<'k>>> {
        let of = |side: &'k Side<'c>,
                  relations: &[usize],
                  place: usize,
                  from: &[Option<ClassId>],
                  to: &[Option<ClassId>]| {
            let classes = side.classes.get(*relations.get(place)?)?;
            let at = |list: &[Option<ClassId>]| Some(list.get(place).copied().flatten()? as usize);
            Some(Ends {
                source: classes.source_keys.get(at(from)?)?,
                destination: classes.destination_keys.get(at(to)?)?,
            })
        };
        let (from, to) = (&from.sides, &to.sides);
        let places = compared.at.map(|at| at.surely);
        Some(Both {
            old: of(&self.sides.old, &self.relations.old, places.old, &from.old.classes, &to.old.classes)?,
            new: of(&self.sides.new, &self.relations.new, places.new, &from.new.classes, &to.new.classes)?,
        })
    }

    /// The reasons in the egress of the source, and in the ingress of the destination.
    fn causes(
        &self,
        scratch: &mut Scratch,
        (from, to): (usize, usize),
        told: Told,
        nodes: Both<OwnNode>,
    ) -> [Number; 2] {
        if (nodes.old == OwnNode::Yes) != (nodes.new == OwnNode::Yes) {
            let delta = lock(&self.deltas).get(told.delta);
            let moved = delta.is_some_and(|delta| delta.kind.is_some());
            let cause = moved.then_some(CauseKey::OwnNode { gained: nodes.new == OwnNode::Yes });
            return [lock(&self.causes).number(cause.into_iter().collect()), NO_CAUSE];
        }
        let ends = [
            (Direction::Egress, (&self.sources, from), (&self.destinations, to)),
            (Direction::Ingress, (&self.destinations, to), (&self.sources, from)),
        ];
        ends.map(|(direction, (own, class), (other, peer))| {
            // What nothing isolates lets everything pass; most are like that, and this is asked for each pair.
            if own.isolated.get(class) != Some(&true) {
                return NO_CAUSE;
            }
            let at = |list: &[Number], class: usize| list.get(class).copied().unwrap_or_default();
            let (by, peer) = (at(&own.by, class), at(&other.as_peer, peer));
            let key = (direction, told.delta, by, peer);
            if let Some(known) = scratch.causes.get(&key) {
                return *known;
            }
            let causes = self.causes_of(scratch, direction, (from, to), told.delta);
            let number = lock(&self.causes).number(causes);
            scratch.causes.insert(key, number);
            number
        })
    }

    fn causes_of(
        &self,
        scratch: &mut Scratch,
        direction: Direction,
        (from, to): (usize, usize),
        delta: Number,
    ) -> Vec<CauseKey> {
        let mut found = Vec::new();
        let (Some((from, _)), Some((to, _)), Some(delta)) = (
            self.roles.sources.classes.get(from),
            self.roles.destinations.classes.get(to),
            lock(&self.deltas).get(delta),
        ) else {
            return found;
        };
        for moved in &delta.moved {
            let Some(compared) = self.families.iter().find(|c| c.family == moved.family) else { continue };
            if let Some(ends) = self.ends(compared, from, to) {
                scratch.finder.find(self.sides, &ends, direction, moved, &mut found);
            }
        }
        found
    }

    /// Puts together what became of the same ports: destinations that differ in what is said of their own
    /// ingress alone, then sources that differ in what is said of their own egress alone.
    fn merge(&self, rows: impl Iterator<Item = Row>) -> Vec<Change> {
        let mut by_sources: FxHashMap<(Number, bool, WithReasons), WithReasons> = FxHashMap::default();
        for row in rows {
            let key = (row.delta, row.incomplete, row.sources);
            by_sources.entry(key).or_default().push((row.destination, row.ingress));
        }
        let mut by_destinations: FxHashMap<(Number, bool, WithReasons), WithReasons> = FxHashMap::default();
        for ((delta, incomplete, sources), mut destinations) in by_sources {
            destinations.sort_unstable();
            by_destinations.entry((delta, incomplete, destinations)).or_default().extend(sources);
        }
        let found: Vec<_> = by_destinations.into_iter().collect();
        let change = |((delta, incomplete, destinations), sources): &((Number, bool, WithReasons), WithReasons)| {
            self.changes(*delta, *incomplete, sources, destinations)
        };
        let mut changes: Vec<Change> = found.par_iter().flat_map_iter(change).collect();
        changes.sort_by_cached_key(|c| {
            let ports = [&c.gained, &c.lost, &c.unknown].map(ToString::to_string);
            let size = c.sources.len().saturating_mul(c.destinations.len());
            (c.kind, c.incomplete, Reverse(size), c.destinations.clone(), c.sources.clone(), ports)
        });
        changes
    }

    /// What is told of some sources and destinations: what changed, and what is unknown.
    fn changes(
        &self,
        delta: Number,
        incomplete: bool,
        sources: &[(PartId, Number)],
        destinations: &[(PartId, Number)],
    ) -> Vec<Change> {
        let Some(delta) = lock(&self.deltas).get(delta) else { return Vec::new() };
        let (from, to) = (self.roles.sources.units_of(sources), self.roles.destinations.units_of(destinations));
        let units = |list: &[(UnitId, Number)]| list.iter().map(|(unit, _)| *unit).collect::<Vec<UnitId>>();
        let (from, to) = self.without_itself(from, to);
        let (sources, destinations) = (units(&from), units(&to));
        if sources.is_empty() || destinations.is_empty() {
            return Vec::new();
        }
        let reach = |of: fn(&Moved) -> &PortSet| {
            Reach::of_families(delta.moved.iter().map(|moved| (moved.family, of(moved).clone())))
        };
        let change = |kind, gained, lost, unknown, reasons| Change {
            kind,
            gained,
            lost,
            unknown,
            reasons,
            incomplete,
            sources: sources.clone(),
            destinations: destinations.clone(),
        };
        let mut found = Vec::new();
        if let Some(kind) = delta.kind {
            let families: Vec<Family> = delta.moved.iter().map(|moved| moved.family).collect();
            let reasons = [from, to].iter().flat_map(|units| self.reasons(units, &families)).collect();
            found.push(change(kind, reach(|m| &m.gained), reach(|m| &m.lost), Reach::default(), reasons));
        }
        let unknown = Reach::of_families(delta.unknown.iter().cloned());
        if !unknown.is_empty() {
            found.push(change(Kind::Unknown, Reach::default(), Reach::default(), unknown, Vec::new()));
        }
        found
    }

    /// Each reason once, with the units that have it.
    fn reasons(&self, units: &[(UnitId, Number)], families: &[Family]) -> Vec<Reason> {
        let mut by_number: BTreeMap<Number, Vec<UnitId>> = BTreeMap::new();
        for (unit, number) in units {
            by_number.entry(*number).or_default().push(*unit);
        }
        let mut by_cause: BTreeMap<CauseKey, Vec<UnitId>> = BTreeMap::new();
        for (number, units) in by_number {
            let causes = lock(&self.causes).get(number);
            for cause in causes.iter().flat_map(|causes| causes.iter()) {
                by_cause.entry(cause.clone()).or_default().extend(&units);
            }
        }
        let mut reasons: Vec<Reason> = Vec::new();
        for (cause, mut of) in by_cause {
            of.sort_unstable();
            let mut resolved = lock(&self.resolved);
            let known = resolved.entry((cause, families.to_vec()));
            let known = known.or_insert_with_key(|(cause, families)| Arc::new(cause.resolve(self.sides, families)));
            reasons.push(Reason { cause: known.clone(), of });
        }
        // What is about most comes first; the order of causes decides the rest.
        reasons.sort_by_key(|reason| (Reverse(reason.of.len()), reason.of.first().copied()));
        reasons
    }

    /// Leaves out a pod that would stand there for its connection with itself alone (A6).
    fn without_itself(&self, mut from: WithReasons, mut to: WithReasons) -> (WithReasons, WithReasons) {
        let same = |source: UnitId, destination: UnitId| {
            let source = self.roles.sources.units.get(source as usize);
            source.zip(self.roles.destinations.units.get(destination as usize)).is_some_and(|(a, b)| is_itself(a, b))
        };
        if let [(only, _)] = to.as_slice() {
            from.retain(|(source, _)| !same(*source, *only));
        }
        if let [(only, _)] = from.as_slice() {
            to.retain(|(destination, _)| !same(*only, *destination));
        }
        (from, to)
    }
}

/// A class as a part.
fn part(class: usize) -> PartId {
    PartId::try_from(class).unwrap_or(PartId::MAX)
}

/// What a thread that failed left behind is still whole: numbers are only added.
fn lock<T>(numbers: &Mutex<T>) -> MutexGuard<'_, T> {
    numbers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Role {
    fn part_of_unit(&self, unit: UnitId) -> PartId {
        part(self.classes.len()).saturating_add(unit)
    }

    /// The units of parts, sorted.
    fn units_of(&self, parts: &[(PartId, Number)]) -> WithReasons {
        let mut units = Vec::new();
        for (part, number) in parts {
            let at = *part as usize;
            match self.classes.get(at) {
                Some((_, members)) => units.extend(members.iter().map(|unit| (*unit, *number))),
                None => units.extend(UnitId::try_from(at - self.classes.len()).ok().map(|unit| (unit, *number))),
            }
        }
        units.sort_unstable();
        units
    }
}

impl Judged {
    fn new(
        sides: &Both<Side<'_>>,
        relations: &Both<Vec<usize>>,
        families: &[Compared],
        role: &Role,
        keys: fn(&Classes) -> &Vec<ClassKey>,
    ) -> Self {
        let key = |side: &'_ Side<'_>, relations: &[usize], place: usize, on_side: &OnSide| -> Option<ClassKey> {
            let classes = side.classes.get(*relations.get(place)?)?;
            keys(classes).get(on_side.classes.get(place).copied().flatten()? as usize).cloned()
        };
        let (mut by, mut as_peer) = (Numbered::default(), Numbered::default());
        let mut judged = Judged { by: Vec::new(), as_peer: Vec::new(), isolated: Vec::new() };
        for (class, _) in &role.classes {
            let keys = families.iter().map(|compared| Both {
                old: key(&sides.old, &relations.old, compared.at.old.surely, &class.sides.old),
                new: key(&sides.new, &relations.new, compared.at.new.surely, &class.sides.new),
            });
            let (groups, peers): (Vec<_>, Vec<_>) = keys
                .map(|both| {
                    let groups = both.map(|key| key.as_ref().map(|(group, _)| *group));
                    (groups, both.map(|key| key.as_ref().map(|(_, peer)| peer.clone())))
                })
                .unzip();
            let isolates = |group: &Option<GroupId>| group.is_some_and(|group| group != NOT_ISOLATED);
            judged.isolated.push(groups.iter().any(|both| both.each().into_iter().any(isolates)));
            judged.by.push(by.number(groups));
            judged.as_peer.push(as_peer.number(peers));
        }
        judged
    }
}

impl Delta {
    fn new(
        families: impl Iterator<Item = (Family, Option<InFamily>)>,
        reaches: &Reaches,
        wanted: Option<&PortSet>,
    ) -> Option<Self> {
        let set = |number: u32| {
            let set = reaches.set(number);
            wanted.map_or(set.clone(), |wanted| set.intersection(wanted))
        };
        let mut delta = Delta { kind: None, moved: Vec::new(), unknown: Vec::new(), alike_unknown: false };
        let mut open = Both { old: false, new: false };
        for (family, pair) in families.filter_map(|(family, pair)| Some((family, pair?))) {
            let (sure, maybe) = (pair.sure.map(|n| set(*n)), pair.maybe.map(|n| set(*n)));
            let unknown = Both { old: maybe.old.difference(&sure.old), new: maybe.new.difference(&sure.new) };
            let twice = unknown.old.intersection(&unknown.new);
            let once = unknown.old.union(&unknown.new).difference(&twice);
            delta.alike_unknown |= pair.alike && !twice.is_empty();
            delta.unknown.push((family, if pair.alike { once } else { once.union(&twice) }));
            delta.moved.push(Moved {
                family,
                gained: sure.new.difference(&maybe.old),
                lost: sure.old.difference(&maybe.new),
            });
            open.old |= !maybe.old.is_empty();
            open.new |= !maybe.new.is_empty();
        }
        let any = |of: fn(&Moved) -> &PortSet| delta.moved.iter().any(|moved| !of(moved).is_empty());
        delta.kind = match (any(|m| &m.gained), any(|m| &m.lost)) {
            (false, false) => None,
            (true, false) if !open.old => Some(Kind::Opened),
            (false, true) if !open.new => Some(Kind::Closed),
            _ => Some(Kind::Changed),
        };
        let nothing = delta.kind.is_none() && delta.unknown.iter().all(|(_, set)| set.is_empty());
        (!nothing || delta.alike_unknown).then_some(delta)
    }
}
