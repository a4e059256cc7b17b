//! The difference of two clusters: which connections were opened and closed, and by which policies.
//!
//! Who is in both is matched by workload, and bare pods by name; addresses and the names of a
//! workload's pods play no part. What stands on one side only is told apart from changes
//! (`lone`). Each cluster's relation is worked out by classes as for a list; a workload's class
//! before and its class after are one combined class (`units`), and only pairs of combined classes
//! that differ are expanded (`compare`). So the cost follows what the policies of both sides
//! distinguish. Why a connection changed is found for each direction by itself (`cause`): the reason in
//! the egress of a source is told once for all destinations, and the one in the ingress of a destination
//! once for all sources, not once for each pair.

mod cause;
mod compare;
mod lone;
mod names;
mod side;
mod units;

use crate::cluster::{ClusterIndex, Key};
use crate::compile::{Compiled, EndpointId};
use crate::dns::NamePattern;
use crate::list::{Reach, rest_on_assumptions};
use crate::net::{AddressRange, Family};
use crate::object::ForeignPolicy;
use crate::policy::NetworkPolicy;
use crate::ports::PortSet;
pub use cause::{Cause, Reason, Say};
pub use lone::{Lone, LonePair};
use rustc_hash::{FxHashMap, FxHashSet};
use side::Side;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One cluster of the two.
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'c> {
    /// Its objects.
    pub index: &'c ClusterIndex,
    /// What was compiled from them.
    pub compiled: &'c Compiled,
}

/// A value for the old side and one for the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Both<T> {
    /// Of the old side.
    pub old: T,
    /// Of the new side.
    pub new: T,
}

impl<T> Both<T> {
    /// The same done to both.
    pub fn map<'b, U>(&'b self, mut to: impl FnMut(&'b T) -> U) -> Both<U> {
        Both { old: to(&self.old), new: to(&self.new) }
    }

    /// The old one and the new one.
    pub fn each(&self) -> [&T; 2] {
        [&self.old, &self.new]
    }
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// With addresses outside the cluster.
    pub outside: bool,
    /// Only connections from or to these namespaces; empty: all.
    pub namespaces: Vec<Box<str>>,
    /// Only these ports; `None`: all.
    pub ports: Option<PortSet>,
}

/// The number of a unit among the sources, or among the destinations.
pub type UnitId = u32;

/// What is told as one: pods of a workload that come out alike on both sides, or addresses outside.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name, as in a list.
    pub name: String,
    /// Its namespace; `None` for addresses outside.
    pub namespace: Option<Box<str>>,
    /// The pods, or the workload, before and after: any of the one with any of the other.
    pub members: Both<Vec<EndpointId>>,
    /// The addresses outside.
    pub outside: Option<(Family, Vec<AddressRange>)>,
    /// The names outside: by name, whatever their addresses are (G6b).
    pub pattern: Option<NamePattern>,
    /// Whether it is one pod on both sides, so that a connection with itself is not looked at (A6).
    single: bool,
    /// The node that all of it is known to run on.
    node: Both<Option<Box<str>>>,
}

/// What became of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nothing was open, and now something is.
    Opened,
    /// Something was open, and now nothing is.
    Closed,
    /// Something was open and is, on other ports.
    Changed,
    /// It cannot be told whether these ports were opened or closed.
    Unknown,
}

/// Connections that changed in the same way: from each of the sources to each of the destinations, but
/// for a pod and itself ([`Difference::pairs`]).
#[derive(Debug, Clone)]
pub struct Change {
    /// What became of them.
    pub kind: Kind,
    /// The ports that were opened.
    pub gained: Reach,
    /// The ports that were closed.
    pub lost: Reach,
    /// The ports that cannot be told.
    pub unknown: Reach,
    /// Why, by direction: what is said of a source's egress holds to each of the destinations, and what is
    /// said of a destination's ingress from each of the sources. Empty where it cannot be told.
    pub reasons: Vec<Reason>,
    /// Whether policies that were not understood could change it (H2).
    pub incomplete: bool,
    /// From these, sorted.
    pub sources: Vec<UnitId>,
    /// To these, sorted.
    pub destinations: Vec<UnitId>,
}

/// What became of a policy, or of a rule of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
    /// It says what it said.
    Same,
}

/// How many connections, from one unit to another, came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Opened.
    pub opened: usize,
    /// Closed.
    pub closed: usize,
    /// Open on other ports.
    pub changed: usize,
    /// Any of these three, where policies that were not understood could change it.
    pub incomplete: usize,
    /// Not to be told.
    pub unknown: usize,
}

/// The address families that are in use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Families {
    /// On both sides: these are compared.
    pub shared: Vec<Family>,
    /// On one side only.
    pub lone: Both<Vec<Family>>,
    /// How many of what is in both have an address of a shared family on one side only.
    pub uneven: usize,
}

/// All that differs.
#[derive(Debug)]
pub struct Difference {
    /// Who connects, sorted by name; the outside last.
    pub sources: Vec<Unit>,
    /// To whom, sorted by name; the outside last, and of that names.
    pub destinations: Vec<Unit>,
    /// What became of connections between what is in both.
    pub changes: Vec<Change>,
    /// What is on one side only, and its connections.
    pub lone: Both<Lone>,
    /// How many workloads and bare pods are on both sides.
    pub matched: usize,
    /// The families.
    pub families: Families,
    /// Policies that are not the same on both sides.
    pub policies: BTreeMap<Key, Both<Option<Arc<NetworkPolicy>>>>,
    /// Policies that were not understood (H2).
    pub foreign: Both<Vec<Arc<ForeignPolicy>>>,
    /// How many connections are unknown on both sides, judged by the same policies.
    pub alike_unknown: usize,
    /// Whether answers of a side rest on assumptions about addresses (B8).
    pub assumes: Both<bool>,
    /// The source that is the same single pod as a destination, for each destination (A6).
    itself: Vec<Option<UnitId>>,
}

impl Difference {
    /// Compares two clusters.
    pub fn new(clusters: Both<Cluster<'_>>, options: &Options) -> Self {
        let foreign = clusters.map(|c| c.index.foreign_policies().cloned().collect::<Vec<_>>());
        let (old, new) = rayon::join(|| Side::new(clusters.old.compiled), || Side::new(clusters.new.compiled));
        let sides = Both { old, new };
        let families = families(&clusters.map(|c| c.compiled));
        let (matching, lone) = units::Matching::new(&sides);
        let marks = units::Marks { wanted: &options.namespaces, foreign: &foreign };
        let roles = units::Roles::new(&sides, &families.shared, &matching, &marks, options.outside);
        let found = compare::Comparison::new(&sides, &families.shared, &roles, options, &foreign).find();
        let uneven = matching.uneven(&sides);
        let assumes = sides.map(|side| rest_on_assumptions(&side.worked));
        let units::Roles { sources, mut destinations } = roles;
        let mut changes = found.changes;
        if options.outside {
            let compiled = clusters.map(|cluster| cluster.compiled);
            let first = destinations.units.len();
            let named = names::compare(&compiled, &sources.units, first, options, &foreign);
            destinations.units.extend(named.units);
            changes.extend(named.changes);
            // In the order of the others, among which names come last.
            changes.sort_by_key(|change| (change.kind, change.incomplete));
        }
        let Both { old, new } = sides;
        Difference {
            itself: itself(&sources.units, &destinations.units),
            sources: sources.units,
            destinations: destinations.units,
            changes,
            lone: Both { old: Lone::new(old, &lone.old, options), new: Lone::new(new, &lone.new, options) },
            matched: matching.count(),
            families: Families { uneven, ..families },
            policies: policies(&clusters),
            foreign,
            alike_unknown: found.alike_unknown,
            assumes,
        }
    }

    /// The connections that a change is about: source and destination.
    pub fn pairs<'d>(&'d self, change: &'d Change) -> impl Iterator<Item = (&'d Unit, &'d Unit)> {
        let sources = || change.sources.iter().filter_map(|id| self.sources.get(*id as usize));
        let destinations = change.destinations.iter().filter_map(|id| self.destinations.get(*id as usize));
        destinations.flat_map(move |to| sources().map(move |from| (from, to))).filter(|(from, to)| !is_itself(from, to))
    }

    /// How many connections a change is about; the addresses outside of a family count as one.
    pub fn count(&self, change: &Change) -> usize {
        self.count_all([change])
    }

    /// How many connections some changes of one kind are about; the addresses outside of a family count as
    /// one, also where several changes are about them.
    pub fn count_all<'d>(&self, changes: impl IntoIterator<Item = &'d Change>) -> usize {
        let mut inside = 0;
        let mut outside: FxHashSet<(Option<UnitId>, Option<UnitId>, Family)> = FxHashSet::default();
        for change in changes {
            let (sources, from) = parted(&change.sources, &self.sources);
            let (destinations, to) = parted(&change.destinations, &self.destinations);
            let same = |id: &UnitId| self.itself.get(*id as usize).copied().flatten();
            let itself = destinations.iter().filter_map(same).filter(|id| sources.binary_search(id).is_ok()).count();
            inside += (sources.len() * destinations.len()).saturating_sub(itself);
            outside.extend(to.iter().flat_map(|family| sources.iter().map(|id| (Some(*id), None, *family))));
            outside.extend(from.iter().flat_map(|family| destinations.iter().map(|id| (None, Some(*id), *family))));
        }
        inside + outside.len()
    }

    /// How many connections came to what.
    pub fn counts(&self) -> Counts {
        let of = |wanted: &dyn Fn(&Change) -> bool| self.count_all(self.changes.iter().filter(|c| wanted(c)));
        let told = |kind| of(&|change: &Change| change.kind == kind && !change.incomplete);
        Counts {
            opened: told(Kind::Opened),
            closed: told(Kind::Closed),
            changed: told(Kind::Changed),
            incomplete: of(&|change| change.kind != Kind::Unknown && change.incomplete),
            unknown: of(&|change| change.kind == Kind::Unknown),
        }
    }

    /// What became of a policy.
    pub fn fate(&self, policy: &NetworkPolicy) -> Fate {
        match self.policies.get(&(policy.namespace.clone(), policy.name.clone())) {
            None => Fate::Same,
            Some(Both { old: None, .. }) => Fate::Added,
            Some(Both { new: None, .. }) => Fate::Removed,
            Some(_) => Fate::Changed,
        }
    }

    /// Whether there is no difference that can be told, and nothing that cannot be told.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.lone.each().iter().all(|lone| lone.names.is_empty())
    }
}

/// Whether a source and a destination are one and the same pod.
fn is_itself(from: &Unit, to: &Unit) -> bool {
    from.single && to.single && from.members == to.members
}

/// The units that are inside, and the families of those that are outside.
fn parted(ids: &[UnitId], units: &[Unit]) -> (Vec<UnitId>, BTreeSet<Family>) {
    let outside = |id: &UnitId| units.get(*id as usize)?.outside.as_ref().map(|(family, _)| *family);
    let inside = ids.iter().copied().filter(|id| outside(id).is_none()).collect();
    (inside, ids.iter().filter_map(outside).collect())
}

fn itself(sources: &[Unit], destinations: &[Unit]) -> Vec<Option<UnitId>> {
    let singles = (0..).zip(sources).filter(|(_, unit)| unit.single).map(|(id, unit)| (&unit.members, id));
    let singles: FxHashMap<&Both<Vec<EndpointId>>, UnitId> = singles.collect();
    destinations.iter().map(|unit| singles.get(&unit.members).copied().filter(|_| unit.single)).collect()
}

fn families(compiled: &Both<&Compiled>) -> Families {
    let of = |side: &Compiled, other: &Compiled, shared: bool| -> Vec<Family> {
        side.families().iter().copied().filter(|family| other.families().contains(family) == shared).collect()
    };
    let Both { old, new } = compiled;
    Families {
        shared: of(old, new, true),
        lone: Both { old: of(old, new, false), new: of(new, old, false) },
        uneven: 0,
    }
}

fn policies(clusters: &Both<Cluster<'_>>) -> BTreeMap<Key, Both<Option<Arc<NetworkPolicy>>>> {
    let mut all: BTreeMap<Key, Both<Option<Arc<NetworkPolicy>>>> = BTreeMap::new();
    let key = |policy: &NetworkPolicy| (policy.namespace.clone(), policy.name.clone());
    for policy in clusters.old.index.policies() {
        all.entry(key(policy)).or_default().old = Some(policy.clone());
    }
    for policy in clusters.new.index.policies() {
        all.entry(key(policy)).or_default().new = Some(policy.clone());
    }
    all.retain(|_, both| both.old != both.new);
    all
}
