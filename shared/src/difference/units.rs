//! Who is in both: matched by workload or name, and sorted into combined classes.

use super::side::Side;
use super::{Both, Unit, UnitId};
use crate::compile::{EndpointId, EndpointKey};
use crate::evaluate::node_of;
use crate::list::InRole;
use crate::net::{AddressRange, Family};
use crate::object::{ForeignPolicy, WorkloadKind};
use crate::query::resolve::blocks_name;
use crate::relation::ClassId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is matched: a workload by its kind and name, a bare pod by its name.
type MatchKey = (Box<str>, Option<WorkloadKind>, Box<str>);

/// A workload or a bare pod that is on both sides.
struct Match {
    namespace: Box<str>,
    /// `ns/deploy/name`; empty for bare pods, of which several may be told together.
    workload: String,
    /// Pods that have the same name on both sides, and templates.
    paired: Vec<Both<EndpointId>>,
    /// Pods with other names: each old one may have become any of the new ones.
    loose: Both<Vec<EndpointId>>,
}

/// All that is on both sides.
pub(super) struct Matching(Vec<Match>);

impl Matching {
    /// Matches two sides; gives back what is on one of them only, too.
    pub(super) fn new(sides: &Both<Side<'_>>) -> (Self, Both<FxHashSet<EndpointId>>) {
        let mut groups: BTreeMap<MatchKey, Both<Vec<EndpointId>>> = BTreeMap::new();
        let key = |endpoint: &crate::compile::Endpoint| -> MatchKey {
            let namespace = endpoint.key.namespace.clone();
            match &endpoint.workload {
                Some((kind, name)) => (namespace, Some(*kind), name.clone()),
                None => (namespace, None, endpoint.key.name.clone()),
            }
        };
        for (id, entry) in sides.old.compiled.entries() {
            groups.entry(key(&entry.endpoint)).or_default().old.push(id);
        }
        for (id, entry) in sides.new.compiled.entries() {
            groups.entry(key(&entry.endpoint)).or_default().new.push(id);
        }
        let (mut matched, mut lone) = (Vec::new(), Both::<FxHashSet<EndpointId>>::default());
        for ((namespace, kind, name), members) in groups {
            if members.old.is_empty() || members.new.is_empty() {
                lone.old.extend(members.old);
                lone.new.extend(members.new);
                continue;
            }
            let workload = kind.map(|kind| format!("{namespace}/{}/{name}", kind.short())).unwrap_or_default();
            let (paired, loose) = pair_up(sides, &members);
            matched.push(Match { namespace, workload, paired, loose });
        }
        (Matching(matched), lone)
    }

    /// How many workloads and bare pods there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many have an address of some family on one side only, though the family is in use on both.
    pub(super) fn uneven(&self, sides: &Both<Side<'_>>) -> usize {
        let families = |side: &Side<'_>, id: &EndpointId| -> Vec<Family> {
            side.compiled.entry(*id).map(|entry| entry.endpoint.families().collect()).unwrap_or_default()
        };
        let differ = |old: &EndpointId, new: &EndpointId| {
            let (old, new) = (families(&sides.old, old), families(&sides.new, new));
            let used = |family: &Family| sides.each().iter().all(|s| s.compiled.families().contains(family));
            Family::ALL.iter().filter(|f| used(f)).any(|f| old.contains(f) != new.contains(f))
        };
        let uneven = |m: &&Match| {
            m.paired.iter().any(|both| differ(&both.old, &both.new))
                || m.loose.old.first().zip(m.loose.new.first()).is_some_and(|(old, new)| differ(old, new))
        };
        self.0.iter().filter(uneven).count()
    }
}

/// Members of the same name belong together; of the others any old one may have become any new one.
fn pair_up(sides: &Both<Side<'_>>, members: &Both<Vec<EndpointId>>) -> (Vec<Both<EndpointId>>, Both<Vec<EndpointId>>) {
    let key_of = |side: &Side<'_>, id: EndpointId| side.compiled.entry(id).map(|e| e.endpoint.key.clone());
    let old: FxHashMap<EndpointKey, EndpointId> =
        members.old.iter().filter_map(|id| Some((key_of(&sides.old, *id)?, *id))).collect();
    let (mut paired, mut loose) = (Vec::new(), Both::<Vec<EndpointId>>::default());
    let mut found: FxHashSet<EndpointId> = FxHashSet::default();
    for new in &members.new {
        match key_of(&sides.new, *new).and_then(|key| old.get(&key)) {
            Some(old) => {
                found.insert(*old);
                paired.push(Both { old: *old, new: *new });
            }
            None => loose.new.push(*new),
        }
    }
    loose.old.extend(members.old.iter().filter(|id| !found.contains(id)));
    // A pod that came is compared with all that were there, one that went with all that are.
    match (loose.old.is_empty(), loose.new.is_empty()) {
        (true, false) => loose.old.clone_from(&members.old),
        (false, true) => loose.new.clone_from(&members.new),
        _ => {}
    }
    (paired, loose)
}

/// What a unit is besides its classes.
pub(super) struct Marks<'m> {
    /// The namespaces that are wanted; empty: all.
    pub(super) wanted: &'m [Box<str>],
    /// The policies that were not understood.
    pub(super) foreign: &'m Both<Vec<Arc<ForeignPolicy>>>,
}

impl Marks<'_> {
    fn is_wanted(&self, namespace: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| **wanted == *namespace)
    }

    fn is_touched(&self, namespace: &str) -> bool {
        self.foreign.each().into_iter().flatten().any(|policy| policy.namespace.as_deref() == Some(namespace))
    }
}

/// What a member is on one side, in one role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct OnSide {
    /// Its class in each compared relation.
    pub(super) classes: Vec<Option<ClassId>>,
    /// Whether it is on its node's network (D1).
    pub(super) host: bool,
    /// Whether the node that it runs on is known, where that counts (D2).
    pub(super) node_known: bool,
}

/// What all units of a combined class are, in one role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct ClassOf {
    pub(super) sides: Both<OnSide>,
    /// Whether it is inside the cluster.
    pub(super) inside: bool,
    /// Whether it lies in a wanted namespace.
    pub(super) wanted: bool,
    /// Whether a policy of its namespace was not understood.
    pub(super) touched: bool,
}

/// The units of a role, and the classes that they fall into.
#[derive(Default)]
pub(super) struct Role {
    pub(super) units: Vec<Unit>,
    pub(super) classes: Vec<(ClassOf, Vec<UnitId>)>,
}

/// Both roles.
pub(super) struct Roles {
    pub(super) sources: Role,
    pub(super) destinations: Role,
}

/// Which role is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    Source,
    Destination,
}

impl Roles {
    pub(super) fn new(
        sides: &Both<Side<'_>>,
        families: &[Family],
        matching: &Matching,
        marks: &Marks<'_>,
        outside: bool,
    ) -> Self {
        let relations = sides.map(|side| side.among(families).collect::<Vec<_>>());
        let has_hosts = sides.map(|side| side.compiled.entries().any(|(_, entry)| entry.endpoint.host_network));
        let role = |which| {
            let builder = Builder { sides, relations: &relations, has_hosts, marks, role: which };
            let mut found = builder.inside(matching);
            if outside {
                found.extend(families.iter().flat_map(|family| builder.outside(*family)));
            }
            Role::of(found)
        };
        Roles { sources: role(As::Source), destinations: role(As::Destination) }
    }
}

impl Role {
    fn of(units: Vec<(ClassOf, Unit)>) -> Self {
        let mut role = Role::default();
        let mut numbers: FxHashMap<ClassOf, usize> = FxHashMap::default();
        for (id, (class, unit)) in (0..).zip(units) {
            role.units.push(unit);
            match numbers.get(&class) {
                Some(number) => {
                    if let Some((_, members)) = role.classes.get_mut(*number) {
                        members.push(id);
                    }
                }
                None => {
                    numbers.insert(class.clone(), role.classes.len());
                    role.classes.push((class, vec![id]));
                }
            }
        }
        role
    }
}

struct Builder<'b, 'c> {
    sides: &'b Both<Side<'c>>,
    relations: &'b Both<Vec<usize>>,
    has_hosts: Both<bool>,
    marks: &'b Marks<'b>,
    role: As,
}

/// Members that came out alike so far.
#[derive(Default)]
struct Alike {
    members: Both<Vec<EndpointId>>,
}

impl Builder<'_, '_> {
    fn on_side(&self, side: &Side<'_>, relations: &[usize], has_hosts: bool, id: EndpointId) -> OnSide {
        OnSide {
            classes: match self.role {
                As::Source => side.source_classes(id, relations),
                As::Destination => side.destination_classes(id, relations),
            },
            host: side.compiled.entry(id).is_some_and(|entry| entry.endpoint.host_network),
            // Without a host there is nothing that a node could decide.
            node_known: !has_hosts || node_of(side.compiled, id).is_some(),
        }
    }

    fn before(&self, id: EndpointId) -> OnSide {
        self.on_side(&self.sides.old, &self.relations.old, self.has_hosts.old, id)
    }

    fn after(&self, id: EndpointId) -> OnSide {
        self.on_side(&self.sides.new, &self.relations.new, self.has_hosts.new, id)
    }

    /// Workloads and bare pods, those of one that are alike together; sorted by name.
    fn inside(&self, matching: &Matching) -> Vec<(ClassOf, Unit)> {
        let mut alike: BTreeMap<(&str, &str, Both<OnSide>), Alike> = BTreeMap::new();
        let mut parts: FxHashMap<&str, usize> = FxHashMap::default();
        for m in &matching.0 {
            let mut put = |sides: Both<OnSide>, old: &[EndpointId], new: &[EndpointId]| {
                let place = alike.entry((&m.namespace, &m.workload, sides)).or_insert_with(|| {
                    *parts.entry(m.workload.as_str()).or_default() += 1;
                    Alike::default()
                });
                place.members.old.extend(old);
                place.members.new.extend(new);
            };
            for both in &m.paired {
                put(Both { old: self.before(both.old), new: self.after(both.new) }, &[both.old], &[both.new]);
            }
            let mut sorted = Both::<BTreeMap<OnSide, Vec<EndpointId>>>::default();
            for id in &m.loose.old {
                sorted.old.entry(self.before(*id)).or_default().push(*id);
            }
            for id in &m.loose.new {
                sorted.new.entry(self.after(*id)).or_default().push(*id);
            }
            for (old, before) in &sorted.old {
                for (new, after) in &sorted.new {
                    put(Both { old: old.clone(), new: new.clone() }, before, after);
                }
            }
        }
        let mut units: Vec<(ClassOf, Unit)> = alike
            .into_iter()
            .map(|((namespace, workload, sides), Alike { mut members })| {
                for list in [&mut members.old, &mut members.new] {
                    list.sort_unstable();
                    list.dedup();
                }
                let whole = !workload.is_empty() && parts.get(workload) == Some(&1);
                let name = if whole { workload.to_owned() } else { self.name(&members) };
                let class = ClassOf {
                    sides,
                    inside: true,
                    wanted: self.marks.is_wanted(namespace),
                    touched: self.marks.is_touched(namespace),
                };
                let unit = Unit {
                    name,
                    namespace: Some(namespace.into()),
                    single: self.is_single(&members),
                    node: Both {
                        old: common_node(&self.sides.old, &members.old),
                        new: common_node(&self.sides.new, &members.new),
                    },
                    members,
                    outside: None,
                    pattern: None,
                };
                (class, unit)
            })
            .collect();
        units.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        units
    }

    fn is_single(&self, members: &Both<Vec<EndpointId>>) -> bool {
        let one = |side: &Side<'_>, list: &[EndpointId]| match list {
            [one] => side.compiled.entry(*one).is_some_and(|entry| !entry.endpoint.is_template()),
            _ => false,
        };
        one(&self.sides.old, &members.old) && one(&self.sides.new, &members.new)
    }

    /// What a part of a workload, or bare pods, are called: by their new names, and by the old ones too
    /// where those are others.
    fn name(&self, members: &Both<Vec<EndpointId>>) -> String {
        let names = |side: &Side<'_>, list: &[EndpointId]| {
            let mut names: Vec<String> =
                list.iter().filter_map(|id| Some(side.compiled.entry(*id)?.endpoint.key.to_string())).collect();
            names.sort();
            names
        };
        let short = |names: &[String]| match names {
            [] => String::new(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first}+{}", rest.len()),
        };
        let (old, new) = (names(&self.sides.old, &members.old), names(&self.sides.new, &members.new));
        if old == new { short(&new) } else { format!("{} (was {})", short(&new), short(&old)) }
    }

    /// The addresses outside of a family, cut where the classes of either side are.
    fn outside(&self, family: Family) -> Vec<(ClassOf, Unit)> {
        let mut borders: Vec<(u128, usize, ClassId)> = Vec::new();
        let relations = self.sides.old_and_new(self.relations);
        for (at, (side, relation)) in relations.iter().enumerate() {
            let Some(worked) = side.worked.get(*relation).filter(|w| w.family == family) else { continue };
            let in_role: &InRole = match self.role {
                As::Source => &worked.source,
                As::Destination => match side.classes.get(*relation) {
                    Some(classes) => &classes.destination,
                    None => continue,
                },
            };
            for (class, ranges) in &in_role.outside {
                borders.extend(ranges.iter().map(|range| (range.first, at, *class)));
            }
        }
        borders.sort_unstable();
        // The ranges of a relation follow one another without a gap: each border is a beginning.
        let mut now: Vec<Option<ClassId>> = vec![None; relations.len()];
        let mut pieces: BTreeMap<Vec<Option<ClassId>>, Vec<AddressRange>> = BTreeMap::new();
        for (i, (first, at, class)) in borders.iter().enumerate() {
            if let Some(place) = now.get_mut(*at) {
                *place = Some(*class);
            }
            let next = borders.get(i + 1).map(|(next, ..)| *next);
            if next == Some(*first) {
                continue;
            }
            let last = next.map_or(family.last(), |next| next - 1);
            let ranges = pieces.entry(now.clone()).or_default();
            match ranges.last_mut() {
                Some(before) if before.last.checked_add(1) == Some(*first) => before.last = last,
                _ => ranges.push(AddressRange { first: *first, last }),
            }
        }
        let split = self.relations.old.len();
        pieces
            .into_iter()
            .map(|(classes, ranges)| {
                let (old, new) = classes.split_at(split.min(classes.len()));
                let side =
                    |classes: &[Option<ClassId>]| OnSide { classes: classes.to_vec(), host: false, node_known: true };
                let sides = Both { old: side(old), new: side(new) };
                let class = ClassOf { sides, inside: false, wanted: self.marks.wanted.is_empty(), touched: false };
                let unit = Unit {
                    name: blocks_name(family, &ranges),
                    namespace: None,
                    members: Both::default(),
                    outside: Some((family, ranges)),
                    pattern: None,
                    single: false,
                    node: Both::default(),
                };
                (class, unit)
            })
            .collect()
    }
}

impl<'c> Both<Side<'c>> {
    /// The compared relations of the old side, then of the new one.
    fn old_and_new<'b>(&'b self, relations: &Both<Vec<usize>>) -> Vec<(&'b Side<'c>, usize)> {
        let old = relations.old.iter().map(|at| (&self.old, *at));
        old.chain(relations.new.iter().map(|at| (&self.new, *at))).collect()
    }
}

fn common_node(side: &Side<'_>, members: &[EndpointId]) -> Option<Box<str>> {
    let mut nodes = members.iter().map(|id| node_of(side.compiled, *id));
    let first = nodes.next()??;
    nodes.all(|node| node == Some(first)).then(|| first.into())
}

/// Where a relation is among those that are compared.
pub(super) fn place_among(relations: &[usize], wanted: Option<usize>) -> Option<usize> {
    wanted.and_then(|wanted| relations.iter().position(|at| *at == wanted))
}
