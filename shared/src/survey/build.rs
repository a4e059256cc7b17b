//! From a listing and the compiled form to the survey.

use super::cells::Cells;
use super::lines::Lines;
use super::rules::{self, Direct, Kind, number};
use super::{At, Entity, Namespace, Policy, Survey};
use crate::cluster::ClusterIndex;
use crate::compile::{Compiled, EndpointId, Entry, PeerIds};
use crate::list::Listing;
use crate::net::{AddressRange, Family, PerFamily, family_of, to_blocks};
use crate::object::Origin;
use crate::policy::Direction;
use crate::query::resolve::blocks_name;
use ipnet::IpNet;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Who is listed: what becomes an [`Entity`], and where the listing has it.
struct Found {
    entity: Entity,
    namespace: Option<Box<str>>,
    /// Its number among the listing's sources and destinations.
    source: Option<usize>,
    destination: Option<usize>,
    /// What it is to rules; of a block, the class of its addresses.
    members: Members,
}

enum Members {
    /// The first of pods that are alike.
    Pods(EndpointId),
    /// Addresses outside: their class in the blocks of ingress and of egress rules.
    Outside { family: Family, as_source: Option<u32>, as_destination: Option<u32> },
}

/// The numbers of files.
#[derive(Default)]
struct Files {
    names: Vec<String>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Files {
    fn at(&mut self, origin: &Origin) -> Option<At> {
        if origin.line == 0 {
            return None;
        }
        let names = &mut self.names;
        let file = self.numbers.entry(origin.source.clone()).or_insert_with(|| {
            names.push(origin.source.to_string());
            number(names.len() - 1)
        });
        Some((*file, origin.line))
    }
}

impl Survey {
    /// Surveys a cluster: what a listing says of it, by class, and why. With `only`, what has no end in
    /// these namespaces is left out. The listing must not be pod by pod.
    pub fn new(index: &ClusterIndex, compiled: &Compiled, listing: &Listing<'_>, only: &[String]) -> Self {
        let cells = Cells::new(compiled, listing);
        let mut files = Files::default();
        let mut found = pods(compiled, listing, &mut files);
        found.extend(outside(compiled, listing));
        if !only.is_empty() {
            found = connected(found, &cells, only);
        }
        let mut survey = Survey::default();
        let namespace_numbers = survey.name_namespaces(index, &found, only);

        let kept = |policy: &&Arc<crate::policy::NetworkPolicy>| namespace_numbers.contains_key(&*policy.namespace);
        let policies: Vec<_> = index.policies().filter(kept).collect();
        let key = |policy: &'_ Arc<crate::policy::NetworkPolicy>| (policy.namespace.clone(), policy.name.clone());
        let keys: Vec<_> = policies.iter().map(|policy| key(policy)).collect();
        let numbers = keys.iter().zip(0..).map(|((namespace, name), at)| ((namespace.as_ref(), name.as_ref()), at));
        let numbers: HashMap<(&str, &str), u32> = numbers.collect();
        let mut ingress = Direct::new(compiled.side(Direction::Ingress), &numbers);
        let mut egress = Direct::new(compiled.side(Direction::Egress), &numbers);

        let mut lines = Lines::default();
        survey.policies = policies
            .iter()
            .map(|policy| {
                let namespace = namespace_numbers.get(&*policy.namespace).copied().unwrap_or_default();
                rules::policy(policy, namespace, files.at(&policy.origin))
            })
            .collect();
        for direct in [&mut ingress, &mut egress] {
            for slot in compiled.side(direct.direction).slots() {
                let key = (slot.policy.namespace.as_ref(), slot.policy.name.as_ref());
                let Some(at) = numbers.get(&key).map(|at| *at as usize) else { continue };
                // The index holds the policy that was compiled.
                let (Some(row), Some(policy)) = (survey.policies.get_mut(at), policies.get(at)) else { continue };
                let rules = direct.rules(policy, &slot.rules, &mut lines);
                match direct.direction {
                    Direction::Ingress => row.ingress = Some(rules),
                    Direction::Egress => row.egress = Some(rules),
                }
            }
        }
        place(&mut survey.policies, &lines.find());

        for who in &mut found {
            who.entity.namespace = who.namespace.as_ref().and_then(|n| namespace_numbers.get(n)).copied();
            explain(compiled, who, &mut ingress, &mut egress);
        }
        let sources: Vec<usize> = found.iter().filter_map(|who| who.source).collect();
        let destinations: Vec<usize> = found.iter().filter_map(|who| who.destination).collect();
        let (rows, columns, column_of) = cells.over(&sources, &destinations);
        let (mut rows, mut column_of) = (rows.into_iter(), column_of.into_iter());
        for who in &mut found {
            who.entity.row = who.source.and_then(|_| rows.next());
            who.entity.column = who.destination.and_then(|_| column_of.next());
        }
        survey.entities = found.into_iter().map(|who| who.entity).collect();
        (survey.ingress, survey.egress) = (ingress.finish(), egress.finish());
        (survey.reaches, survey.columns, survey.files) = (cells.reaches, columns, files.names);
        survey
    }

    /// Numbers the namespaces that are in question: all, or with `only` those of what is left.
    fn name_namespaces(&mut self, index: &ClusterIndex, found: &[Found], only: &[String]) -> HashMap<Box<str>, u32> {
        let mut names: BTreeSet<&str> = found.iter().filter_map(|who| who.namespace.as_deref()).collect();
        match only {
            [] => names.extend(index.namespace_names()),
            only => names.extend(only.iter().map(String::as_str)),
        }
        let mut numbers = HashMap::new();
        for name in names {
            numbers.insert(name.into(), number(self.namespaces.len()));
            if only.iter().any(|wanted| wanted == name) {
                self.only.push(number(self.namespaces.len()));
            }
            let defined = index.namespace(name);
            let labels = defined.map(|n| n.labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
            let name = name.to_owned();
            self.namespaces.push(Namespace { name, labels: labels.unwrap_or_default(), defined: defined.is_some() });
        }
        numbers
    }
}

/// Puts the lines in the place of the numbers under which they were asked for.
fn place(policies: &mut [Policy], lines: &[u32]) {
    for policy in policies {
        for rule in [&mut policy.ingress, &mut policy.egress].into_iter().flatten().flatten() {
            rule.line = lines.get(rule.line as usize).copied().unwrap_or_default();
        }
    }
}

/// What pods have in common that are one entity: their places in the listing, what isolates them, whether
/// they are on the host's network, and what they are to the rules of others.
type Alike = (Option<usize>, Option<usize>, u32, u32, bool, [Option<PeerIds>; 2]);

/// The pods of a workload, or those of a namespace without one, by what they have in common.
#[derive(Default)]
struct Parts {
    numbers: FxHashMap<Alike, usize>,
    parts: Vec<(Alike, Vec<EndpointId>)>,
}

/// Pods, or templates, that come out alike for the same reasons.
fn pods(compiled: &Compiled, listing: &Listing<'_>, files: &mut Files) -> Vec<Found> {
    let places = |entities: &[crate::list::Entity]| -> FxHashMap<EndpointId, usize> {
        let numbered = entities.iter().enumerate();
        numbered.flat_map(|(at, entity)| entity.members.iter().map(move |id| (*id, at))).collect()
    };
    let (sources, destinations) = (places(&listing.sources), places(&listing.destinations));
    let mut all: Vec<(EndpointId, &Entry)> = compiled.entries().collect();
    all.sort_by(|(_, a), (_, b)| a.endpoint.key.cmp(&b.endpoint.key));
    let mut groups: BTreeMap<(Box<str>, String), Parts> = BTreeMap::new();
    for (id, entry) in all {
        let endpoint = &entry.endpoint;
        let (source, destination) = (sources.get(&id).copied(), destinations.get(&id).copied());
        let as_peer = Family::ALL.map(|family| *entry.as_peer.get(family));
        let alike = (source, destination, entry.ingress, entry.egress, endpoint.host_network, as_peer);
        let workload = endpoint.workload.as_ref().map(|(kind, name)| format!("{}/{name}", kind.short()));
        let parts = groups.entry((endpoint.key.namespace.clone(), workload.unwrap_or_default())).or_default();
        let next = parts.parts.len();
        let at = *parts.numbers.entry(alike).or_insert(next);
        match parts.parts.get_mut(at) {
            Some((_, members)) => members.push(id),
            None => parts.parts.push((alike, vec![id])),
        }
    }
    let mut found = Vec::new();
    for ((namespace, workload), Parts { parts, .. }) in groups {
        let whole = parts.len() == 1 && !workload.is_empty();
        for ((source, destination, .., host, _), members) in parts {
            let Some((id, entry)) = members.first().and_then(|id| Some((*id, compiled.entry(*id)?))) else { continue };
            let first = entry.endpoint.key.to_string();
            let name = match members.len() {
                _ if whole => format!("{namespace}/{workload}"),
                0 | 1 => first.clone(),
                more => format!("{first}+{}", more - 1),
            };
            let entity = Entity {
                word: (members.len() > 1 && !whole).then_some(first),
                name,
                pods: number(members.len()),
                single: members.len() == 1 && !entry.endpoint.is_template(),
                host,
                families: entry.endpoint.families().fold(0, |all, family| all | family_bit(family)),
                at: files.at(&entry.endpoint.origin),
                ..Entity::default()
            };
            let namespace = Some(namespace.clone());
            found.push(Found { entity, namespace, source, destination, members: Members::Pods(id) });
        }
    }
    found.sort_by(|a, b| (&a.namespace, &a.entity.name).cmp(&(&b.namespace, &b.entity.name)));
    found
}

fn family_bit(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}

/// Addresses outside, by what rules can tell of them in each role. Blocks that come out as the same in
/// both roles are one.
fn outside(compiled: &Compiled, listing: &Listing<'_>) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for family in compiled.families().iter().copied() {
        for (direction, entities) in
            [(Direction::Ingress, &listing.sources), (Direction::Egress, &listing.destinations)]
        {
            let places = blocks_of(entities, family);
            let mut by_class: BTreeMap<u32, Vec<AddressRange>> = BTreeMap::new();
            for (range, class) in compiled.side(direction).blocks.ranges(family) {
                by_class.entry(class).or_default().push(range);
            }
            for (class, ranges) in by_class {
                let first = ranges.first().map_or(0, |range| range.first);
                // Without the outside in the listing there is none here.
                let within = |(range, _): &&(AddressRange, usize)| range.first <= first && first <= range.last;
                let Some(at) = places.iter().find(within).map(|(_, at)| *at) else { continue };
                let name = blocks_name(family, &ranges);
                let known = found.iter_mut().find(|who| {
                    who.entity.name == name && matches!(who.members, Members::Outside { family: f, .. } if f == family)
                });
                let who = match known {
                    Some(who) => who,
                    None => {
                        let block = ranges.first().and_then(|range| to_blocks(family, *range).into_iter().next());
                        let word = block.map(|block| block.to_string()).filter(|word| *word != name);
                        let entity = Entity { name, word, families: family_bit(family), ..Entity::default() };
                        let members = Members::Outside { family, as_source: None, as_destination: None };
                        found.push(Found { entity, namespace: None, source: None, destination: None, members });
                        let Some(who) = found.last_mut() else { continue };
                        who
                    }
                };
                let Members::Outside { as_source, as_destination, .. } = &mut who.members else { continue };
                match direction {
                    Direction::Ingress => (who.source, *as_source) = (Some(at), Some(class)),
                    Direction::Egress => (who.destination, *as_destination) = (Some(at), Some(class)),
                }
            }
        }
    }
    found
}

/// Where a listing has the addresses of a family.
fn blocks_of(entities: &[crate::list::Entity], family: Family) -> Vec<(AddressRange, usize)> {
    let blocks = entities.iter().enumerate().flat_map(|(at, e)| e.blocks.iter().map(move |block| (block, at)));
    let nets = blocks.filter_map(|(block, at)| Some((block.parse::<IpNet>().ok()?, at)));
    nets.filter(|(net, _)| family_of(net) == family).map(|(net, at)| ((&net).into(), at)).collect()
}

/// Those in some namespaces, and those with a pair with one of them that is not plainly denied.
fn connected(found: Vec<Found>, cells: &Cells, only: &[String]) -> Vec<Found> {
    let wanted = |who: &Found| who.namespace.as_ref().is_some_and(|n| only.iter().any(|wanted| **wanted == **n));
    let (mut as_source, mut as_destination) = (BTreeSet::new(), BTreeSet::new());
    let wanted_sources: BTreeSet<usize> = found.iter().filter(|w| wanted(w)).filter_map(|w| w.source).collect();
    for destination in found.iter().filter(|w| wanted(w)).filter_map(|w| w.destination) {
        as_source.extend(cells.column(destination).enumerate().filter(|(_, reach)| *reach != 0).map(|(at, _)| at));
    }
    for destination in found.iter().filter_map(|w| w.destination).collect::<BTreeSet<_>>() {
        let mut reached = cells.column(destination).enumerate().filter(|(_, reach)| *reach != 0);
        if reached.any(|(source, _)| wanted_sources.contains(&source)) {
            as_destination.insert(destination);
        }
    }
    let is_kept = |who: &Found| {
        wanted(who)
            || who.source.is_some_and(|at| as_source.contains(&at))
            || who.destination.is_some_and(|at| as_destination.contains(&at))
    };
    found.into_iter().filter(is_kept).collect()
}

/// Numbers what isolates an entity, and what it is to the rules of others.
fn explain(compiled: &Compiled, who: &mut Found, ingress: &mut Direct<'_>, egress: &mut Direct<'_>) {
    match who.members {
        Members::Pods(id) => {
            let Some(entry) = compiled.entry(id) else { return };
            who.entity.ingress = ingress.group(entry.ingress);
            who.entity.egress = egress.group(entry.egress);
            let kind = |direction: Direction| -> Kind {
                let side = compiled.side(direction);
                PerFamily::from_fn(|family| {
                    let ids = (*entry.as_peer.get(family))?;
                    let ids = match direction {
                        Direction::Ingress => ids.source,
                        Direction::Egress => ids.destination,
                    };
                    Some((side.peer_class(ids.surely)?.clone(), side.peer_class(ids.maybe)?.clone()))
                })
            };
            who.entity.as_source = Some(ingress.kind(kind(Direction::Ingress)));
            who.entity.as_destination = Some(egress.kind(kind(Direction::Egress)));
        }
        Members::Outside { family, as_source, as_destination } => {
            let kind = |direction: Direction, class: u32| -> Kind {
                let class = compiled.side(direction).outside_peer(class);
                PerFamily::from_fn(|f| (f == family).then(|| (class.clone(), class.clone())))
            };
            who.entity.as_source = as_source.map(|class| ingress.kind(kind(Direction::Ingress, class)));
            who.entity.as_destination = as_destination.map(|class| egress.kind(kind(Direction::Egress, class)));
        }
    }
}
