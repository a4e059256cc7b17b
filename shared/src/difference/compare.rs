//! Pairs of combined classes, before and after.

use super::cause::{CauseKey, Ends, Finder, Moved};
use super::side::{Places, Side};
use super::units::{ClassOf, Roles, place_among};
use super::{Both, Change, Kind, Options, Unit, UnitId, is_itself};
use crate::list::{NO_PORT, Reach, Reaches};
use crate::net::Family;
use crate::object::ForeignPolicy;
use crate::ports::PortSet;
use crate::relation::ClassId;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::sync::Arc;

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

/// What is found of one class of destinations: what changed, why, and from where.
struct Part {
    delta: Arc<Delta>,
    causes: Vec<CauseKey>,
    incomplete: bool,
    sources: Vec<UnitId>,
    destinations: Vec<UnitId>,
}

/// What became of the ports, why, and whether that is incomplete.
type Alike = (Arc<Delta>, Vec<CauseKey>, bool);

/// What a thread keeps from one destination to the next.
struct Scratch {
    reaches: Reaches,
    everything: u32,
    reached: Both<Vec<Vec<u32>>>,
    deltas: FxHashMap<[Option<InFamily>; 2], Option<Arc<Delta>>>,
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
        let families = families.iter().filter_map(compared).collect();
        Comparison {
            sides,
            roles,
            options,
            families,
            relations,
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
        let parts: Vec<(Vec<Part>, usize)> = groups
            .par_iter()
            .map_init(|| self.scratch(), |scratch, (rows, classes)| self.destinations(scratch, rows, classes))
            .collect();
        let alike_unknown = parts.iter().map(|(_, count)| count).sum();
        let changes = self.merge(parts.into_iter().flat_map(|(parts, _)| parts));
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

    /// What changed on the way to some classes of destinations whose rows are the same.
    fn destinations(&self, scratch: &mut Scratch, (rows, ..): &Rows, classes: &[usize]) -> (Vec<Part>, usize) {
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
            return (Vec::new(), 0);
        };
        let mut parts: Vec<FxHashMap<Alike, Vec<UnitId>>> = Vec::new();
        parts.resize_with(classes.len(), FxHashMap::default);
        let (mut single, mut alike_unknown) = (Vec::new(), 0);
        for (from, units) in &self.roles.sources.classes {
            if !(from.inside || to.inside) || !(from.wanted || to.wanted) {
                continue;
            }
            let mixed = from.inside
                && to.inside
                && from.sides.each().iter().zip(to.sides.each()).any(|(from, to)| from.host != to.host);
            if !mixed && self.is_same(scratch, from, to) {
                continue;
            }
            for (class, parts) in classes.iter().zip(&mut parts) {
                let Some((to, destinations)) = self.roles.destinations.classes.get(*class) else { continue };
                let incomplete = self.all_touched || from.touched || to.touched;
                let nodes = Both {
                    old: self.node(&from.sides.old, &to.sides.old),
                    new: self.node(&from.sides.new, &to.sides.new),
                };
                if !mixed {
                    if let Some(delta) = self.delta(scratch, from, to, nodes) {
                        alike_unknown += usize::from(delta.alike_unknown) * units.len() * destinations.len();
                        let causes = self.causes(scratch, from, to, &delta, nodes);
                        parts.entry((delta, causes, incomplete)).or_default().extend(units);
                    }
                    continue;
                }
                for (source, destination) in units.iter().flat_map(|s| destinations.iter().map(move |d| (*s, *d))) {
                    let nodes = self.nodes_of_units(source, destination, nodes);
                    if let Some(delta) = self.delta(scratch, from, to, nodes) {
                        alike_unknown += usize::from(delta.alike_unknown);
                        let causes = self.causes(scratch, from, to, &delta, nodes);
                        single.push(Part {
                            delta,
                            causes,
                            incomplete,
                            sources: vec![source],
                            destinations: vec![destination],
                        });
                    }
                }
            }
        }
        let mut found = single;
        for (class, parts) in classes.iter().zip(parts) {
            let Some((_, destinations)) = self.roles.destinations.classes.get(*class) else { continue };
            found.extend(parts.into_iter().map(|((delta, causes, incomplete), mut sources)| {
                sources.sort_unstable();
                Part { delta, causes, incomplete, sources, destinations: destinations.clone() }
            }));
        }
        (found, alike_unknown)
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
        let of =
            |reached: &[Vec<u32>], places: Places, from: &super::units::OnSide, to: &super::units::OnSide, strict| {
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
    fn node(&self, from: &super::units::OnSide, to: &super::units::OnSide) -> OwnNode {
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
    fn delta(&self, scratch: &mut Scratch, from: &ClassOf, to: &ClassOf, nodes: Both<OwnNode>) -> Option<Arc<Delta>> {
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
            return known.clone();
        }
        let families = self.families.iter().map(|c| c.family);
        let delta = Delta::new(families.zip(key), &scratch.reaches, self.options.ports.as_ref()).map(Arc::new);
        scratch.deltas.insert(key, delta.clone());
        delta
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

    fn causes(
        &self,
        scratch: &mut Scratch,
        from: &ClassOf,
        to: &ClassOf,
        delta: &Delta,
        nodes: Both<OwnNode>,
    ) -> Vec<CauseKey> {
        let mut found = Vec::new();
        for moved in &delta.moved {
            if moved.gained.is_empty() && moved.lost.is_empty() {
                continue;
            }
            if (nodes.old == OwnNode::Yes) != (nodes.new == OwnNode::Yes) {
                return vec![CauseKey::OwnNode { gained: nodes.new == OwnNode::Yes }];
            }
            let Some(compared) = self.families.iter().find(|c| c.family == moved.family) else { continue };
            if let Some(ends) = self.ends(compared, from, to) {
                scratch.finder.find(self.sides, &ends, moved, &mut found);
            }
        }
        found
    }

    /// Puts what has the same ports and the same reasons together: from the same sources first.
    fn merge(&self, parts: impl Iterator<Item = Part>) -> Vec<Change> {
        let mut by_sources: FxHashMap<(Alike, Vec<UnitId>), Vec<UnitId>> = FxHashMap::default();
        for part in parts {
            let key = ((part.delta, part.causes, part.incomplete), part.sources);
            by_sources.entry(key).or_default().extend(part.destinations);
        }
        let mut by_destinations: FxHashMap<(Alike, Vec<UnitId>), Vec<UnitId>> = FxHashMap::default();
        for ((alike, sources), mut destinations) in by_sources {
            destinations.sort_unstable();
            by_destinations.entry((alike, destinations)).or_default().extend(sources);
        }
        let mut changes: Vec<Change> = Vec::new();
        for (((delta, causes, incomplete), destinations), mut sources) in by_destinations {
            sources.sort_unstable();
            if self.is_nothing(&sources, &destinations) {
                continue;
            }
            let reach = |of: fn(&Moved) -> &PortSet| {
                Reach::of_families(delta.moved.iter().map(|moved| (moved.family, of(moved).clone())))
            };
            let families: Vec<Family> = delta.moved.iter().map(|moved| moved.family).collect();
            let change = |kind, gained, lost, unknown, causes| Change {
                kind,
                gained,
                lost,
                unknown,
                causes,
                incomplete,
                sources: sources.clone(),
                destinations: destinations.clone(),
            };
            let unknown = Reach::of_families(delta.unknown.iter().cloned());
            if let Some(kind) = delta.kind {
                let causes = causes.iter().map(|cause| cause.resolve(self.sides, &families)).collect();
                changes.push(change(kind, reach(|m| &m.gained), reach(|m| &m.lost), Reach::default(), causes));
            }
            if !unknown.is_empty() {
                changes.push(change(Kind::Unknown, Reach::default(), Reach::default(), unknown, Vec::new()));
            }
        }
        changes.sort_by_cached_key(|c| {
            let ports = [&c.gained, &c.lost, &c.unknown].map(ToString::to_string);
            (c.kind, c.incomplete, c.destinations.clone(), c.sources.clone(), ports)
        });
        changes
    }

    /// Whether there is only a pod and itself.
    fn is_nothing(&self, sources: &[UnitId], destinations: &[UnitId]) -> bool {
        let ([source], [destination]) = (sources, destinations) else { return false };
        let source = self.roles.sources.units.get(*source as usize);
        source.zip(self.roles.destinations.units.get(*destination as usize)).is_some_and(|(a, b)| is_itself(a, b))
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
