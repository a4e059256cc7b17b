//! What became of connections to names outside: by the names in rules, whatever their addresses are (G6b).
//!
//! Pods that the same policies isolate on each side come out alike, so a pair of groups is compared once. Where the
//! outside is open to every address names add nothing: what became of that is told of addresses.

use super::{Both, Cause, Change, Kind, Options, Reason, Say, Unit, UnitId};
use crate::compile::Compiled;
use crate::compile::side::GroupId;
use crate::dns::NamePattern;
use crate::list::Reach;
use crate::names::Outside;
use crate::net::Family;
use crate::object::ForeignPolicy;
use crate::policy::Direction;
use crate::ports::{PortRange, PortSet};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The names that something is told about, as destinations, and what is told.
pub(super) struct Found {
    pub(super) units: Vec<Unit>,
    pub(super) changes: Vec<Change>,
}

/// What isolates a source on a side, and the families that it has addresses of.
type Place = (GroupId, Vec<Family>);

/// What became of a name for a source.
#[derive(Clone)]
struct Moved {
    pattern: NamePattern,
    kind: Kind,
    gained: PortSet,
    lost: PortSet,
    causes: Vec<usize>,
}

/// A policy by its address, and a rule of it: equal reasons are found to be equal.
type RuleKey = (usize, usize);

#[derive(PartialEq, Eq, Hash)]
struct CauseKey {
    gained: bool,
    ports: Vec<PortRange>,
    allowed: Vec<RuleKey>,
    denied: Vec<usize>,
}

/// What is told as one but for its sources: the kind, whether it is incomplete, and the ports gained and lost.
type Delta = (Kind, bool, Vec<PortRange>, Vec<PortRange>);
/// Sources, each with its causes.
type Sources = Vec<(UnitId, Vec<usize>)>;

/// Compares what the sources reach by name. The names come after `first - 1` other destinations.
pub(super) fn compare(
    compiled: &Both<&Compiled>,
    sources: &[Unit],
    first: usize,
    options: &Options,
    foreign: &Both<Vec<Arc<ForeignPolicy>>>,
) -> Found {
    let mut finder =
        Finder { compiled, outside: FxHashMap::default(), causes: Vec::new(), numbers: FxHashMap::default() };
    let is_incomplete = |unit: &Unit| {
        let touches = |policy: &Arc<ForeignPolicy>| {
            policy.namespace.is_none() || policy.namespace.as_deref() == unit.namespace.as_deref()
        };
        foreign.each().into_iter().flatten().any(touches)
    };
    let mut known: FxHashMap<Both<Place>, Vec<Moved>> = FxHashMap::default();
    let mut rows: BTreeMap<(NamePattern, Delta), Sources> = BTreeMap::new();
    for (id, unit) in (0..).zip(sources) {
        let Some(namespace) = &unit.namespace else { continue };
        if !options.namespaces.is_empty() && !options.namespaces.contains(namespace) {
            continue;
        }
        let Some(places) = finder.places(unit) else { continue };
        let moved = match known.get(&places) {
            Some(moved) => moved,
            None => {
                let moved = finder.moved(&places, options.ports.as_ref());
                known.entry(places).or_insert(moved)
            }
        };
        for Moved { pattern, kind, gained, lost, causes } in moved {
            let delta = (*kind, is_incomplete(unit), gained.ranges().to_vec(), lost.ranges().to_vec());
            rows.entry((pattern.clone(), delta)).or_default().push((id, causes.clone()));
        }
    }
    let patterns: BTreeSet<&NamePattern> = rows.keys().map(|(pattern, _)| pattern).collect();
    let numbers: BTreeMap<&NamePattern, UnitId> = patterns.iter().copied().zip((0..).skip(first)).collect();
    let mut told: BTreeMap<(Delta, Sources), Vec<UnitId>> = BTreeMap::new();
    for ((pattern, delta), sources) in &rows {
        let number = numbers.get(pattern).copied().unwrap_or_default();
        told.entry((delta.clone(), sources.clone())).or_default().push(number);
    }
    let changes = told.into_iter().map(|((delta, sources), destinations)| finder.change(delta, sources, destinations));
    Found { changes: changes.collect(), units: patterns.into_iter().cloned().map(unit).collect() }
}

fn unit(pattern: NamePattern) -> Unit {
    Unit {
        name: pattern.to_string(),
        namespace: None,
        members: Both::default(),
        outside: None,
        pattern: Some(pattern),
        single: false,
        node: Both::default(),
    }
}

struct Finder<'f, 'c> {
    compiled: &'f Both<&'c Compiled>,
    outside: FxHashMap<(bool, GroupId), Arc<Outside>>,
    causes: Vec<Arc<Cause>>,
    numbers: FxHashMap<CauseKey, usize>,
}

impl Finder<'_, '_> {
    /// Where a unit is on each side; `None` where it is not on one.
    fn places(&self, unit: &Unit) -> Option<Both<Place>> {
        let of = |compiled: &Compiled, ids: &[u32]| -> Option<Place> {
            let entry = compiled.entry(*ids.first()?)?;
            Some((entry.egress, entry.endpoint.families().collect()))
        };
        let old = of(self.compiled.old, &unit.members.old)?;
        Some(Both { old, new: of(self.compiled.new, &unit.members.new)? })
    }

    fn outside(&mut self, new: bool, group: GroupId) -> Arc<Outside> {
        let compiled = if new { self.compiled.new } else { self.compiled.old };
        self.outside.entry((new, group)).or_insert_with(|| Arc::new(Outside::of(compiled, group))).clone()
    }

    /// What became of all names that either side has.
    fn moved(&mut self, places: &Both<Place>, wanted: Option<&PortSet>) -> Vec<Moved> {
        let (old, new) = (self.outside(false, places.old.0), self.outside(true, places.new.0));
        let open = Both { old: old.open(places.old.1.iter().copied()), new: new.open(places.new.1.iter().copied()) };
        let patterns: BTreeSet<&NamePattern> = old.names.iter().chain(&new.names).map(|grant| &grant.to).collect();
        let only = |ports: PortSet| wanted.map_or(ports.clone(), |wanted| ports.intersection(wanted));
        let mut all = Vec::new();
        for pattern in patterns {
            let (before, after) = (old.by_pattern(pattern), new.by_pattern(pattern));
            let full = Both { old: only(before.union(&open.old)), new: only(after.union(&open.new)) };
            let gained = only(after.difference(&full.old).difference(&open.new).difference(&open.old));
            let lost = only(before.difference(&full.new).difference(&open.old).difference(&open.new));
            if gained.is_empty() && lost.is_empty() {
                continue;
            }
            let kind = match (full.old.is_empty(), full.new.is_empty()) {
                (true, _) => Kind::Opened,
                (_, true) => Kind::Closed,
                (false, false) => Kind::Changed,
            };
            let mut causes = Vec::new();
            if !gained.is_empty() {
                causes.push(self.cause(true, &gained, &new, pattern, &old));
            }
            if !lost.is_empty() {
                causes.push(self.cause(false, &lost, &old, pattern, &new));
            }
            all.push(Moved { pattern: pattern.clone(), kind, gained, lost, causes });
        }
        all
    }

    /// Why ports were gained or lost: the rules of one side, and what isolates on the other.
    fn cause(&mut self, gained: bool, ports: &PortSet, by: &Outside, pattern: &NamePattern, other: &Outside) -> usize {
        let rules = by.rules(pattern, ports);
        let key = CauseKey {
            gained,
            ports: ports.ranges().to_vec(),
            allowed: rules.iter().map(|rule| (Arc::as_ptr(&rule.policy).addr(), rule.rule)).collect(),
            denied: other.isolated_by.iter().map(|policy| Arc::as_ptr(policy).addr()).collect(),
        };
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let (allowed, denied) = (Say::Allowed(rules), Say::Denied(other.isolated_by.clone()));
        let (before, after) = if gained { (denied, allowed) } else { (allowed, denied) };
        let ports = reach(ports.clone());
        self.causes.push(Arc::new(Cause::Policies { direction: Direction::Egress, gained, ports, before, after }));
        self.numbers.insert(key, self.causes.len() - 1);
        self.causes.len() - 1
    }

    fn change(&self, delta: Delta, sources: Sources, destinations: Vec<UnitId>) -> Change {
        let (kind, incomplete, gained, lost) = delta;
        let mut of_cause: BTreeMap<usize, Vec<UnitId>> = BTreeMap::new();
        for (id, causes) in &sources {
            for cause in causes {
                of_cause.entry(*cause).or_default().push(*id);
            }
        }
        let reasons = of_cause
            .into_iter()
            .filter_map(|(number, of)| Some(Reason { cause: self.causes.get(number)?.clone(), of }));
        Change {
            kind,
            gained: reach(gained.into_iter().collect()),
            lost: reach(lost.into_iter().collect()),
            unknown: Reach::default(),
            reasons: reasons.collect(),
            incomplete,
            sources: sources.into_iter().map(|(id, _)| id).collect(),
            destinations,
        }
    }
}

fn reach(ports: PortSet) -> Reach {
    Reach { ports, in_one_family: Vec::new() }
}
