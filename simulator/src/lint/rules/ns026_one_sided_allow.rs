//! NS026: allowed at one end, and never at the other (A4).

use super::page;
use super::peers::{Item, items_of};
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::compile::side::{CompiledRule, GroupId, PeerClass, PeerId, Side};
use netsim_shared::compile::{EndpointId, Entry, PeerIds};
use netsim_shared::net::{Family, PerFamily};
use netsim_shared::object::Path;
use netsim_shared::policy::Direction;
use netsim_shared::ports::PortSet;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub const RULE: Rule = Rule {
    id: "NS026",
    name: "one-sided-allow",
    severity: Severity::Warning,
    summary: "an allowed peer whose own policies never let the connection pass",
    neighbours: &[],
    page: page!("NS026"),
    check,
};

/// So many policies of the other end are named.
const POLICIES: usize = 3;

fn check(context: &Context<'_>) -> Vec<Found> {
    let mut ends = Ends::new(context);
    let mut found = Vec::new();
    for direction in Direction::ALL {
        for slot in context.compiled.side(direction).slots() {
            let subjects = ends.of(context.selected(&slot.policy));
            if subjects.is_empty() {
                continue;
            }
            for item in items_of(slot, direction) {
                if let Some(rule) = slot.rules.get(item.rule) {
                    found.extend(ends.judge(&item, rule, &subjects));
                }
            }
        }
    }
    found
}

/// The number of a class of endpoints that nothing tells apart at either end.
type EndId = usize;

/// What tells endpoints apart.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    ingress: GroupId,
    egress: GroupId,
    as_peer: PerFamily<Option<PeerIds>>,
}

impl Kind {
    fn of(entry: &Entry) -> Self {
        Kind { ingress: entry.ingress, egress: entry.egress, as_peer: entry.as_peer }
    }

    fn group(&self, direction: Direction) -> GroupId {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }

    /// What it is to rules of a direction; with every block that may hold its address, so that
    /// what is not known is never told to be denied.
    fn peer(&self, family: Family, direction: Direction) -> Option<PeerId> {
        let ids = self.as_peer.get(family).as_ref()?;
        Some(match direction {
            Direction::Ingress => ids.source.maybe,
            Direction::Egress => ids.destination.maybe,
        })
    }
}

/// All endpoints by class.
struct Ends<'x, 'c> {
    context: &'x Context<'c>,
    kinds: Vec<Kind>,
    members: Vec<Vec<EndpointId>>,
    class_of: HashMap<EndpointId, EndId>,
    /// What the rules of a group allow with a peer: asked often.
    allowed: HashMap<(Direction, GroupId, PeerId), PortSet>,
    /// The ports that a group allows with anybody.
    offered: HashMap<(Direction, GroupId), PortSet>,
    /// What sets of classes are called: the same ones are told again and again.
    names: HashMap<Vec<EndId>, String>,
    /// The classes that a selector term matches, as peers of a direction.
    matching: HashMap<(Direction, u32), Vec<EndId>>,
}

/// The ports that the rules of a group allow with anybody, or more.
fn offered(side: &Side, group: GroupId) -> PortSet {
    let rules = side.policies_of(group).flat_map(|slot| &slot.rules);
    let of_rule = |rule: &CompiledRule| match side.direction {
        // What a name stands for is the peer's matter there.
        Direction::Egress if !rule.names.is_empty() => PortSet::all(),
        _ => side.rule_ports(rule, side.names_between(group, &PeerClass::default())),
    };
    rules.fold(PortSet::EMPTY, |all, rule| all.union(&of_rule(rule)))
}

/// What becomes of the connections that an item opens.
struct Closed {
    /// The ports of one of them.
    ports: PortSet,
    /// The ends that do not let them pass.
    peers: BTreeSet<EndId>,
}

impl<'x, 'c> Ends<'x, 'c> {
    fn new(context: &'x Context<'c>) -> Self {
        let mut numbers: HashMap<Kind, EndId> = HashMap::new();
        let mut members: Vec<Vec<EndpointId>> = Vec::new();
        let mut class_of = HashMap::new();
        for (id, entry) in context.compiled.entries() {
            let number = *numbers.entry(Kind::of(entry)).or_insert_with(|| {
                members.push(Vec::new());
                members.len() - 1
            });
            if let Some(of_class) = members.get_mut(number) {
                of_class.push(id);
            }
            class_of.insert(id, number);
        }
        let mut kinds: Vec<(EndId, Kind)> = numbers.into_iter().map(|(kind, number)| (number, kind)).collect();
        kinds.sort_unstable_by_key(|(number, _)| *number);
        let kinds: Vec<Kind> = kinds.into_iter().map(|(_, kind)| kind).collect();
        let mut matching: HashMap<(Direction, u32), Vec<EndId>> = HashMap::new();
        for direction in Direction::ALL {
            let side = context.compiled.side(direction);
            for (number, kind) in kinds.iter().enumerate() {
                let ids = Family::ALL.into_iter().filter_map(|family| kind.peer(family, direction));
                let sets: BTreeSet<u32> = ids.filter_map(|id| side.peer_class(id)).map(|class| class.terms).collect();
                for term in sets.into_iter().flat_map(|set| side.term_set(set)) {
                    let found = matching.entry((direction, *term)).or_default();
                    if found.last() != Some(&number) {
                        found.push(number);
                    }
                }
            }
        }
        Ends {
            context,
            kinds,
            members,
            class_of,
            allowed: HashMap::new(),
            offered: HashMap::new(),
            names: HashMap::new(),
            matching,
        }
    }

    /// The classes of endpoints.
    fn of(&self, ids: &[EndpointId]) -> Vec<EndId> {
        let classes: BTreeSet<EndId> = ids.iter().filter_map(|id| self.class_of.get(id)).copied().collect();
        classes.into_iter().collect()
    }

    fn judge(&mut self, item: &Item<'_>, rule: &CompiledRule, subjects: &[EndId]) -> Option<Found> {
        let peers = self.matching.remove(&(item.direction, item.term))?;
        let closed = if self.is_one_pod(subjects, &peers) { None } else { self.closed(item, rule, subjects, &peers) };
        self.matching.insert((item.direction, item.term), peers);
        Some(self.told(item, subjects, &closed?))
    }

    /// A pod and itself: that is never denied (A6).
    fn is_one_pod(&self, subjects: &[EndId], peers: &[EndId]) -> bool {
        let ([one], [other]) = (subjects, peers) else { return false };
        let members = self.members.get(*one).map_or(&[][..], Vec::as_slice);
        let template = |id| self.context.endpoint(id).is_some_and(|endpoint| endpoint.is_template());
        one == other && members.len() == 1 && !members.iter().any(|id| template(*id))
    }

    /// `None` when the other end lets any of the connections pass, or when there are none.
    fn closed(&mut self, item: &Item<'_>, rule: &CompiledRule, subjects: &[EndId], peers: &[EndId]) -> Option<Closed> {
        let other = match item.direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let (own_side, other_side) = (self.context.compiled.side(item.direction), self.context.compiled.side(other));
        // Cheaper than all pairs, and mostly the end of it.
        let open = |peer: &EndId| {
            let group = self.kinds.get(*peer).map(|kind| kind.group(other));
            group.is_none_or(|group| other_side.policies_of(group).next().is_none())
        };
        if peers.iter().any(open) {
            return None;
        }
        let mut closed = Closed { ports: PortSet::EMPTY, peers: BTreeSet::new() };
        for family in Family::ALL {
            // What of either end decides, so that pairs that come out alike are looked at once.
            let of_subject = |id: &EndId| {
                let kind = self.kinds.get(*id)?;
                Some((kind.group(item.direction), kind.peer(family, other)?))
            };
            let of_peer = |id: &EndId| {
                let kind = self.kinds.get(*id)?;
                let class = own_side.peer_class(kind.peer(family, item.direction)?)?;
                Some((kind.group(other), PeerClass { names: class.names, ..PeerClass::default() }))
            };
            let mut here: BTreeMap<GroupId, BTreeSet<PeerId>> = BTreeMap::new();
            for (own_group, as_peer) in subjects.iter().filter_map(of_subject) {
                here.entry(own_group).or_default().insert(as_peer);
            }
            let there: BTreeSet<(GroupId, PeerClass)> = peers.iter().filter_map(of_peer).collect();
            if !here.is_empty() {
                closed.peers.extend(peers.iter().filter(|id| of_peer(id).is_some()));
            }
            for ((own_group, as_peers), (group, names)) in here.iter().flat_map(|s| there.iter().map(move |p| (s, p))) {
                let ports = own_side.rule_ports(rule, own_side.names_between(*own_group, names));
                if ports.is_empty() {
                    continue;
                }
                // Mostly the ports are offered to nobody, and nobody has to be looked at one by one.
                let offered = self.offered.entry((other, *group)).or_insert_with(|| offered(other_side, *group));
                let looked_at = if offered.intersection(&ports).is_empty() { None } else { Some(as_peers) };
                for as_peer in looked_at.into_iter().flatten() {
                    let allowed = self.allowed.entry((other, *group, *as_peer)).or_insert_with(|| {
                        let Some(class) = other_side.peer_class(*as_peer) else { return PortSet::EMPTY };
                        let names = other_side.names_between(*group, class);
                        let rules = other_side.policies_of(*group).flat_map(|slot| &slot.rules);
                        let having = rules.filter(|rule| other_side.rule_has_peer(rule, class));
                        having.fold(PortSet::EMPTY, |all, rule| all.union(&other_side.rule_ports(rule, names)))
                    });
                    if !allowed.intersection(&ports).is_empty() {
                        return None;
                    }
                }
                if closed.ports != ports {
                    closed.ports = closed.ports.union(&ports);
                }
            }
        }
        (!closed.ports.is_empty()).then_some(closed)
    }

    fn told(&mut self, item: &Item<'_>, subjects: &[EndId], closed: &Closed) -> Found {
        let (subject, peer) = (self.name(subjects.iter().copied()), self.name(closed.peers.iter().copied()));
        let ports = if closed.ports.is_all() { "any port".to_owned() } else { closed.ports.to_string() };
        let other = if item.direction == Direction::Egress { Direction::Ingress } else { Direction::Egress };
        let (message, help) = match item.direction {
            Direction::Egress => (
                format!("{subject} may connect to {peer} here, but no policy there lets it in on {ports}"),
                format!("allow it by an ingress rule for {peer}, or remove this item"),
            ),
            Direction::Ingress => (
                format!("{peer} may connect to {subject} here, but no policy there lets it out on {ports}"),
                format!("allow it by an egress rule for {peer}, or remove this item"),
            ),
        };
        let found = Found::in_policy(item.policy, item.path(), message).help(help);
        let groups: BTreeSet<GroupId> =
            closed.peers.iter().filter_map(|peer| self.kinds.get(*peer)).map(|kind| kind.group(other)).collect();
        let side = self.context.compiled.side(other);
        let mut policies: Vec<_> = groups.into_iter().flat_map(|group| side.policies_of(group)).collect();
        // Where a rule would be added, before what denies or gives to everybody.
        policies.sort_by_key(|slot| {
            let policy = &slot.policy;
            (policy.pod_selector.is_everything(), slot.rules.is_empty(), &policy.namespace, &policy.name)
        });
        policies.dedup_by(|a, b| std::ptr::eq(*a, *b));
        policies.into_iter().take(POLICIES).fold(found, |found, slot| {
            let policy = &slot.policy;
            let what = format!("{}/{} isolates the other end", policy.namespace, policy.name);
            found.related(what, policy.origin.place_of(&Path::spec().key(other.field())))
        })
    }

    /// `shop/deploy/api`, or what stands for several.
    fn name(&mut self, classes: impl Iterator<Item = EndId>) -> String {
        let classes: Vec<EndId> = classes.collect();
        if let Some(known) = self.names.get(&classes) {
            return known.clone();
        }
        let name = self.find_name(&classes);
        self.names.insert(classes, name.clone());
        name
    }

    fn find_name(&self, classes: &[EndId]) -> String {
        let ids = classes.iter().filter_map(|class| self.members.get(*class)).flatten();
        let endpoints: Vec<_> = ids.filter_map(|id| self.context.endpoint(*id)).collect();
        let names: BTreeSet<String> = endpoints
            .iter()
            .map(|endpoint| match &endpoint.workload {
                Some((kind, name)) => format!("{}/{}/{name}", endpoint.key.namespace, kind.short()),
                None => endpoint.key.to_string(),
            })
            .collect();
        let namespaces: BTreeSet<&str> = endpoints.iter().map(|endpoint| endpoint.key.namespace.as_ref()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match (names.as_slice(), namespaces.first(), namespaces.len()) {
            ([one], _, _) => (*one).to_owned(),
            ([one, two], _, _) => format!("{one} or {two}"),
            (many, Some(namespace), 1) => format!("any of {} workloads of namespace {namespace}", many.len()),
            (many, _, count) => format!("any of {} workloads of {count} namespaces", many.len()),
        }
    }
}
