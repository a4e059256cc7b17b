//! Properties of the difference of two random clusters: expanded to pods and ports it is what the
//! reference says of the one without what it says of the other, it is empty between a cluster and
//! itself, and it is reversed when the sides are.

use netsim_shared::cluster::{ClusterIndex, Key};
use netsim_shared::compile::{Compiled, EndpointId, EndpointKey, Modes};
use netsim_shared::difference::{Both, Cause, Cluster, Difference, Kind, Options, Say, Unit};
use netsim_shared::evaluate::{Outcome, Party, evaluate};
use netsim_shared::list::Reach;
use netsim_shared::net::Family;
use netsim_shared::object::WorkloadKind;
use netsim_shared::policy::{Direction, PortMatch};
use netsim_shared::ports::{MAX_PORT, MIN_PORT, PortRange, PortSet, Protocol};
use netsim_shared::reference::{End, judge};
use netsim_testkit::arbitrary::{self, Op, closed, cluster, op, read};
use netsim_testkit::property::{Checked, check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A cluster, compiled.
struct World {
    index: ClusterIndex,
    modes: Modes,
    compiled: Compiled,
}

impl World {
    fn new(index: ClusterIndex, modes: &Modes) -> Self {
        let compiled = Compiled::new(&index, modes);
        World { index, modes: modes.clone(), compiled }
    }

    fn judge(&self, from: Who, to: Who, protocol: Protocol, port: u16, family: Family) -> Option<Outcome> {
        let endpoint = |who: Who| match who {
            Who::Endpoint(id) => self.compiled.entry(id).map(|entry| entry.endpoint.clone()),
            Who::Address(_) => None,
        };
        let (a, b) = (endpoint(from), endpoint(to));
        let a = match from {
            Who::Endpoint(_) => End::Endpoint(a.as_deref().expect("an endpoint")),
            Who::Address(address) => End::Address(address),
        };
        let b = match to {
            Who::Endpoint(_) => End::Endpoint(b.as_deref().expect("an endpoint")),
            Who::Address(address) => End::Address(address),
        };
        // What names could stand for beyond what is known of them does not show in differences.
        let modes = Modes { names: closed(&self.modes.names), ..self.modes.clone() };
        judge(&self.index, &modes, a, b, protocol, port, family)
    }

    /// Whether the rules do not matter between two (A6, D2).
    fn is_exempt(&self, from: Who, to: Who) -> bool {
        Family::ALL.into_iter().any(|family| {
            evaluate(&self.compiled, from.party(), to.party(), Protocol::Tcp, 80, family)
                .is_some_and(|decision| decision.exemption.is_some())
        })
    }

    fn key(&self, id: EndpointId) -> EndpointKey {
        self.compiled.entry(id).expect("an endpoint").endpoint.key.clone()
    }

    /// What an endpoint is matched by.
    fn matched_by(&self, id: EndpointId) -> (Box<str>, Option<WorkloadKind>, Box<str>) {
        let endpoint = &self.compiled.entry(id).expect("an endpoint").endpoint;
        let namespace = endpoint.key.namespace.clone();
        match &endpoint.workload {
            Some((kind, name)) => (namespace, Some(*kind), name.clone()),
            None => (namespace, None, endpoint.key.name.clone()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Endpoint(EndpointId),
    Address(IpAddr),
}

impl Who {
    fn party(self) -> Party {
        match self {
            Who::Endpoint(id) => Party::Endpoint(id),
            Who::Address(address) => Party::Address(address),
        }
    }
}

/// The cluster after some changes.
fn changed(index: &ClusterIndex, ops: &[Op], applied: &[arbitrary::Manifest]) -> ClusterIndex {
    fn nth<T>(list: Vec<T>, n: usize) -> Option<T> {
        let count = list.len().max(1);
        list.into_iter().nth(n % count)
    }
    let mut index = index.clone();
    for op in ops {
        match op {
            Op::Apply(manifest) => read(manifest).into_iter().for_each(|object| _ = index.apply(object)),
            Op::Again(n) => {
                let manifest = nth(applied.to_vec(), *n);
                manifest.iter().flat_map(read).for_each(|object| _ = index.apply(object));
            }
            Op::DeletePod(n) => {
                let pods: Vec<Key> = index.pods().map(|p| (p.namespace.clone(), p.name.clone())).collect();
                nth(pods, *n).and_then(|key| index.delete_pod(&key.0, &key.1));
            }
            Op::DeletePolicy(n) => {
                let policies: Vec<Key> = index.policies().map(|p| (p.namespace.clone(), p.name.clone())).collect();
                nth(policies, *n).and_then(|key| index.delete_policy(&key.0, &key.1));
            }
            Op::DeleteNamespace(n) => _ = index.delete_namespace(arbitrary::NAMESPACES[n % 4]),
        }
    }
    index
}

/// Both ends of the port space, and every number that occurs, with its neighbours.
fn interesting_ports(sides: &Both<World>) -> Vec<u16> {
    let of = |index: &ClusterIndex| -> Vec<u16> {
        let rules = index.policies().flat_map(|p| Direction::ALL.into_iter().filter_map(|d| p.rules(d)).flatten());
        let of_rules = rules.flat_map(|rule| rule.ports.iter().flatten()).flat_map(|port| match port {
            PortMatch::Range(range) => vec![range.from, range.to],
            PortMatch::Named(_) => Vec::new(),
        });
        let of_pods = index.pods().flat_map(|pod| &pod.spec.ports).map(|port| port.port);
        let of_templates = index.workloads().flat_map(|workload| &workload.template.ports).map(|port| port.port);
        of_rules.chain(of_pods).chain(of_templates).chain([MIN_PORT, MAX_PORT]).collect()
    };
    let numbers = of(&sides.old.index).into_iter().chain(of(&sides.new.index));
    let near = numbers.flat_map(|n| [n.saturating_sub(1).max(MIN_PORT), n, n.saturating_add(1)]);
    near.collect::<BTreeSet<u16>>().into_iter().collect()
}

const EVERYTHING: Options = Options { outside: true, namespaces: Vec::new(), ports: None };

fn difference(sides: &Both<World>, options: &Options) -> Difference {
    fn cluster(world: &World) -> Cluster<'_> {
        Cluster { index: &world.index, compiled: &world.compiled }
    }
    Difference::new(Both { old: cluster(&sides.old), new: cluster(&sides.new) }, options)
}

/// Whether a reach has a port in a family; a port in every common family is in this one.
fn has(reach: &Reach, protocol: Protocol, port: u16, family: Family) -> bool {
    let limited = reach.in_one_family.iter().find(|(f, _)| *f == family);
    reach.ports.contains(protocol, port) || limited.is_some_and(|(_, ports)| ports.contains(protocol, port))
}

/// What a difference says of each pair of units.
fn said(difference: &Difference) -> BTreeMap<(usize, usize), Vec<&netsim_shared::difference::Change>> {
    let mut said: BTreeMap<(usize, usize), Vec<_>> = BTreeMap::new();
    for change in &difference.changes {
        let mut pairs = BTreeSet::new();
        for (from, to) in difference.pairs(change) {
            let place = |list: &[Unit], unit: &Unit| list.iter().position(|u| std::ptr::eq(u, unit)).expect("a unit");
            pairs.insert((place(&difference.sources, from), place(&difference.destinations, to)));
        }
        for pair in pairs {
            said.entry(pair).or_default().push(change);
        }
    }
    said
}

/// The members of a unit before and after, each old one with each new one.
fn members(unit: &Unit, sides: &Both<World>) -> Vec<Both<Who>> {
    if let Some((family, ranges)) = &unit.outside {
        let ends = ranges.iter().flat_map(|range| [range.first, range.last]);
        let addresses: BTreeSet<IpAddr> = ends.map(|n| netsim_shared::net::from_number(*family, n)).collect();
        // Nodes' addresses have exemptions of their own, which are not of their block (D2).
        let of_nodes = |a: &IpAddr| [&sides.old, &sides.new].iter().any(|s| s.compiled.node_at(*a).is_some());
        let all = addresses.into_iter().filter(|a| !of_nodes(a)).take(6);
        return all.map(|a| Both { old: Who::Address(a), new: Who::Address(a) }).collect();
    }
    let each = |old: &EndpointId| {
        let old = Who::Endpoint(*old);
        unit.members.new.iter().map(move |new| Both { old, new: Who::Endpoint(*new) })
    };
    unit.members.old.iter().flat_map(each).collect()
}

fn check_difference(sides: &Both<World>, ports: &[u16], counts: &RefCell<BTreeMap<String, u64>>) -> Checked {
    let difference = difference(sides, &EVERYTHING);
    let said = said(&difference);
    for (i, from) in difference.sources.iter().enumerate() {
        for (j, to) in difference.destinations.iter().enumerate() {
            if from.namespace.is_none() && to.namespace.is_none() {
                continue;
            }
            let changes = said.get(&(i, j)).cloned().unwrap_or_default();
            let (sources, destinations) = (members(from, sides), members(to, sides));
            let single = sources.len() == 1 && destinations.len() == 1;
            for (a, b) in sources.iter().flat_map(|a| destinations.iter().map(move |b| (a, b))) {
                // A connection of a pod with itself is not one of two pods.
                let same = (a.old == b.old, a.new == b.new);
                let exempt = (sides.old.is_exempt(a.old, b.old), sides.new.is_exempt(a.new, b.new));
                if (exempt.0 || exempt.1) && (!single || same.0 || same.1) {
                    continue;
                }
                for family in difference.families.shared.iter().copied() {
                    for (protocol, port) in Protocol::ALL.into_iter().flat_map(|p| ports.iter().map(move |n| (p, *n))) {
                        let old = sides.old.judge(a.old, b.old, protocol, port, family);
                        let new = sides.new.judge(a.new, b.new, protocol, port, family);
                        let (Some(old), Some(new)) = (old, new) else { continue };
                        let told = |of: fn(&netsim_shared::difference::Change) -> &Reach| {
                            changes.iter().filter(|c| has(of(c), protocol, port, family)).count()
                        };
                        let told = (told(|c| &c.gained), told(|c| &c.lost), told(|c| &c.unknown));
                        let good = match (old, new) {
                            (Outcome::Unknown, Outcome::Unknown) => matches!(told, (0, 0, 0 | 1)),
                            (Outcome::Unknown, _) | (_, Outcome::Unknown) => told == (0, 0, 1),
                            (Outcome::Denied, Outcome::Allowed) => told == (1, 0, 0),
                            (Outcome::Allowed, Outcome::Denied) => told == (0, 1, 0),
                            _ => told == (0, 0, 0),
                        };
                        *counts.borrow_mut().entry(format!("{old:?} {new:?}")).or_default() += 1;
                        if !good {
                            return Err(TestCaseError::fail(format!(
                                "{} → {} {protocol} {port} {family}: {old:?} and then {new:?}, told as opened, \
                                 closed, unknown {told:?}",
                                from.name, to.name
                            )));
                        }
                    }
                }
            }
        }
    }
    for change in &difference.changes {
        check_causes(&difference, change)?;
    }
    check_who(sides, &difference)
}

/// Every port that changed has a reason, and the reasons are about what changed.
fn check_causes(difference: &Difference, change: &netsim_shared::difference::Change) -> Checked {
    let all = |reach: &Reach| reach.in_one_family.iter().fold(reach.ports.clone(), |all, (_, ports)| all.union(ports));
    for reason in &change.reasons {
        if let Cause::Policies { gained, before, after, .. } = &*reason.cause {
            let (closed, open) = if *gained { (before, after) } else { (after, before) };
            let denied = matches!(closed, Say::Denied(policies) if !policies.is_empty());
            let allowed = match open {
                Say::NotIsolated => true,
                Say::Allowed(rules) => !rules.is_empty(),
                Say::Denied(_) => false,
            };
            prop_assert!(denied && allowed, "{reason:?}");
        }
        let own = match &*reason.cause {
            Cause::Policies { direction: Direction::Ingress, .. } => &change.destinations,
            _ => &change.sources,
        };
        prop_assert!(!reason.of.is_empty() && reason.of.iter().all(|unit| own.contains(unit)), "{reason:?}");
    }
    let pairs = change.destinations.iter().flat_map(|to| change.sources.iter().map(move |from| (from, to)));
    for ((from, to), (gained, reach)) in
        pairs.flat_map(|pair| [(pair, (true, &change.gained)), (pair, (false, &change.lost))])
    {
        let mut explained = PortSet::EMPTY;
        for reason in &change.reasons {
            let is_own = |direction| reason.of.contains(if direction == Direction::Egress { from } else { to });
            match &*reason.cause {
                Cause::OwnNode { gained: g } if *g == gained && is_own(Direction::Egress) => {
                    explained = PortSet::all();
                }
                Cause::Policies { direction, gained: g, ports, .. } if *g == gained && is_own(*direction) => {
                    explained = explained.union(&all(ports));
                }
                _ => {}
            }
        }
        let left = all(reach).difference(&explained);
        prop_assert!(left.is_empty(), "no reason for {left} from {from} to {to} in {change:?}");
    }
    let kind = match (change.gained.is_empty(), change.lost.is_empty(), change.unknown.is_empty()) {
        (false, true, true) => matches!(change.kind, Kind::Opened | Kind::Changed),
        (true, false, true) => matches!(change.kind, Kind::Closed | Kind::Changed),
        (false, false, true) => change.kind == Kind::Changed,
        (true, true, false) => change.kind == Kind::Unknown,
        _ => false,
    };
    prop_assert!(kind, "{change:?}");
    prop_assert!(difference.count(change) > 0, "{change:?}");
    Ok(())
}

/// Who is in both is in a unit of each role, with the one of the same name if there is one; who is not is alone.
fn check_who(sides: &Both<World>, difference: &Difference) -> Checked {
    let ids = |world: &World| world.compiled.entries().map(|(id, _)| id).collect::<Vec<_>>();
    let groups = |world: &World| ids(world).into_iter().map(|id| world.matched_by(id)).collect::<BTreeSet<_>>();
    let (old, new) = (groups(&sides.old), groups(&sides.new));
    prop_assert_eq!(old.intersection(&new).count(), difference.matched);
    prop_assert_eq!(difference.lone.old.names.len(), old.difference(&new).count());
    prop_assert_eq!(difference.lone.new.names.len(), new.difference(&old).count());
    for units in [&difference.sources, &difference.destinations] {
        for id in ids(&sides.old) {
            let holds = |unit: &&Unit| unit.members.old.contains(&id);
            let in_both = new.contains(&sides.old.matched_by(id));
            prop_assert_eq!(units.iter().any(|u| holds(&u)), in_both, "{}", sides.old.key(id));
            let Some(same) = sides.new.compiled.find(&sides.old.key(id)) else { continue };
            if in_both && sides.old.matched_by(id) == sides.new.matched_by(same) {
                let together = units.iter().filter(holds).any(|unit| unit.members.new.contains(&same));
                prop_assert!(together, "{} is in no unit with itself", sides.old.key(id));
            }
        }
        for id in ids(&sides.new) {
            let in_both = old.contains(&sides.new.matched_by(id));
            prop_assert_eq!(units.iter().any(|u| u.members.new.contains(&id)), in_both, "{}", sides.new.key(id));
        }
    }
    Ok(())
}

#[test]
fn the_difference_is_what_the_reference_says_point_by_point() {
    let counts: RefCell<BTreeMap<String, u64>> = RefCell::default();
    check(500, (cluster(), vec(op(), 1..8)), |(cluster, ops)| {
        let old = cluster.index();
        let new = changed(&old, &ops, &cluster.manifests);
        let sides = Both { old: World::new(old, &cluster.modes), new: World::new(new, &cluster.modes) };
        check_difference(&sides, &interesting_ports(&sides), &counts)
    });
    // A generator that no longer makes changes must not pass unseen.
    let counts = counts.into_inner();
    println!("{counts:#?}");
    let total: u64 = counts.values().sum();
    for (wanted, at_least) in
        [("Allowed Denied", 100), ("Denied Allowed", 100), ("Unknown Unknown", 300), ("Unknown Allowed", 1000)]
    {
        let count = counts.get(wanted).copied().unwrap_or(0);
        assert!(count * at_least > total, "too few: {wanted} in {counts:?}");
    }
    assert!(["Denied Unknown", "Unknown Denied"].iter().all(|wanted| counts.contains_key(*wanted)), "{counts:?}");
}

#[test]
fn a_cluster_does_not_differ_from_itself() {
    check(400, cluster(), |cluster| {
        let world = || World::new(cluster.index(), &cluster.modes);
        let difference = difference(&Both { old: world(), new: world() }, &EVERYTHING);
        prop_assert!(difference.is_empty(), "{:?}", difference.changes);
        prop_assert!(difference.policies.is_empty());
        Ok(())
    });
}

/// Members of a unit, before and after.
type Ends = (Vec<EndpointKey>, Vec<EndpointKey>, String);

/// What is told of each connection, so that it can be compared with the reverse.
fn told(difference: &Difference, sides: &Both<World>, reverse: bool) -> BTreeSet<(Ends, Ends, String)> {
    let ends = |unit: &Unit| {
        let keys = |world: &World, ids: &[EndpointId]| {
            let mut keys: Vec<EndpointKey> = ids.iter().map(|id| world.key(*id)).collect();
            keys.sort();
            keys
        };
        let (old, new) = (keys(&sides.old, &unit.members.old), keys(&sides.new, &unit.members.new));
        let outside = if unit.namespace.is_none() { unit.name.clone() } else { String::new() };
        if reverse { (new, old, outside) } else { (old, new, outside) }
    };
    let kind = |kind| match kind {
        Kind::Opened if reverse => Kind::Closed,
        Kind::Closed if reverse => Kind::Opened,
        kind => kind,
    };
    let mut all = BTreeSet::new();
    for change in &difference.changes {
        let (gained, lost) = if reverse { (&change.lost, &change.gained) } else { (&change.gained, &change.lost) };
        let what = format!("{:?} +{gained} -{lost} ?{}", kind(change.kind), change.unknown);
        all.extend(difference.pairs(change).map(|(from, to)| (ends(from), ends(to), what.clone())));
    }
    all
}

#[test]
fn the_other_way_round_everything_is_reversed() {
    check(400, (cluster(), vec(op(), 1..8)), |(cluster, ops)| {
        let old = cluster.index();
        let new = changed(&old, &ops, &cluster.manifests);
        let world = |index: &ClusterIndex| World::new(index.clone(), &cluster.modes);
        let there = Both { old: world(&old), new: world(&new) };
        let back = Both { old: world(&new), new: world(&old) };
        let (a, b) = (difference(&there, &EVERYTHING), difference(&back, &EVERYTHING));
        prop_assert_eq!(told(&a, &there, false), told(&b, &back, true));
        prop_assert_eq!(a.alike_unknown, b.alike_unknown);
        prop_assert_eq!(&a.lone.old.names, &b.lone.new.names);
        prop_assert_eq!(&a.lone.new.names, &b.lone.old.names);
        Ok(())
    });
}

/// A filter only leaves out: what it shows is what the whole difference shows of these ports and namespaces.
#[test]
fn a_filter_changes_nothing_that_it_shows() {
    let of_port: PortSet = PortRange::single(Protocol::Tcp, 80).into();
    check(300, (cluster(), vec(op(), 1..8)), |(cluster, ops)| {
        let old = cluster.index();
        let new = changed(&old, &ops, &cluster.manifests);
        let sides = Both { old: World::new(old, &cluster.modes), new: World::new(new, &cluster.modes) };
        let options = Options { outside: true, namespaces: vec!["a".into()], ports: Some(of_port.clone()) };
        let points = |difference: &Difference| -> BTreeSet<(String, String, String)> {
            let mut points = BTreeSet::new();
            for change in &difference.changes {
                let only =
                    [&change.gained, &change.lost, &change.unknown].map(|reach| reach.only(&of_port).to_string());
                let wanted = |unit: &Unit| unit.namespace.as_deref() == Some("a");
                let pairs = difference.pairs(change).filter(|(from, to)| wanted(from) || wanted(to));
                let named = pairs.map(|(from, to)| (from.name.clone(), to.name.clone(), format!("{only:?}")));
                points.extend(named.filter(|_| only.iter().any(|text| text != "no port")));
            }
            points
        };
        let whole = points(&difference(&sides, &EVERYTHING));
        prop_assert_eq!(points(&difference(&sides, &options)), whole);
        Ok(())
    });
}
