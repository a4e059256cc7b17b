//! Properties over random clusters that are dense in edge cases: the compiled form, the list and the
//! naive reference give the same answer to everything, and a form that was kept up to date answers as
//! a new one does.
//!
//! A normal run is the same each time. `PROPTEST_CASES=20000 cargo test --test differential` looks
//! further, from another seed each time (`PROPTEST_RNG_SEED` repeats one). What fails is printed as
//! manifests, ready to be saved as a fixture.

use netsim_shared::assertion::{API_VERSION, Checker, KIND, Status, parse};
use netsim_shared::cluster::{Change, ClusterIndex, Key};
use netsim_shared::compile::{Address, Compiled, Endpoint, EndpointId, EndpointKey, Modes};
use netsim_shared::evaluate::{Addresses, Exemption, Note, Outcome, Party, allowed_ports, evaluate, own_node};
use netsim_shared::ingest::ingest;
use netsim_shared::net::{AddressRange, Family, from_number};
use netsim_shared::object::{Life, Object, Owner, WorkloadKind};
use netsim_shared::policy::{Direction, Peer, PortMatch};
use netsim_shared::ports::{MAX_PORT, MIN_PORT, Protocol};
use netsim_shared::query::{Question, Resolver, Verdict, ask, combine};
use netsim_shared::reference::{End, judge};
use netsim_testkit::arbitrary::{self, Cluster, Manifest, Op, closed, cluster, op, outside, read, to_yaml};
use netsim_testkit::property::{Checked, check};
use netsim_testkit::synthetic::{Format, Synthetic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use netsim_shared::list::{Entity, Listing, Options, Pair, Reach};

fn fail(why: String) -> Checked {
    Err(TestCaseError::fail(why))
}

/// One end of connections, for both evaluators.
#[derive(Clone)]
enum Side {
    Endpoint(EndpointId, Arc<Endpoint>),
    Address(IpAddr),
}

impl Side {
    fn party(&self) -> Party {
        match self {
            Side::Endpoint(id, _) => Party::Endpoint(*id),
            Side::Address(address) => Party::Address(*address),
        }
    }

    fn end(&self) -> End<'_> {
        match self {
            Side::Endpoint(_, endpoint) => End::Endpoint(endpoint),
            Side::Address(address) => End::Address(*address),
        }
    }

    fn name(&self) -> String {
        match self {
            Side::Endpoint(_, endpoint) => endpoint.key.to_string(),
            Side::Address(address) => address.to_string(),
        }
    }
}

/// A cluster, compiled, and what is asked of it.
struct World {
    index: ClusterIndex,
    modes: Modes,
    compiled: Compiled,
    ports: Vec<u16>,
}

impl World {
    fn new(cluster: &Cluster) -> Self {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &cluster.modes);
        let ports = interesting_ports(&index);
        World { index, modes: cluster.modes.clone(), compiled, ports }
    }

    fn endpoint(&self, id: EndpointId) -> Side {
        Side::Endpoint(id, self.compiled.entry(id).expect("a listed endpoint").endpoint.clone())
    }

    fn endpoints(&self) -> Vec<Side> {
        self.compiled.entries().map(|(id, entry)| Side::Endpoint(id, entry.endpoint.clone())).collect()
    }

    /// Every pair of endpoints, and every endpoint with every outside address, both ways.
    fn pairs(&self) -> Vec<(Side, Side)> {
        let inside = self.endpoints();
        let addresses: Vec<Side> = outside(&Family::ALL).into_iter().map(Side::Address).collect();
        let all = || inside.iter().chain(&addresses);
        let pairs = all().flat_map(|a| all().map(move |b| (a.clone(), b.clone())));
        pairs.filter(|(a, b)| !matches!((a, b), (Side::Address(_), Side::Address(_)))).collect()
    }

    fn questions(&self) -> impl Iterator<Item = (Protocol, u16, Family)> + '_ {
        Protocol::ALL.into_iter().flat_map(move |protocol| {
            self.ports.iter().flat_map(move |port| Family::ALL.into_iter().map(move |family| (protocol, *port, family)))
        })
    }

    fn judge(&self, a: &Side, b: &Side, protocol: Protocol, port: u16, family: Family) -> Option<Outcome> {
        judge(&self.index, &self.modes, a.end(), b.end(), protocol, port, family)
    }
}

/// Both ends of the port space, and every number that occurs, with its neighbours.
fn interesting_ports(index: &ClusterIndex) -> Vec<u16> {
    let rules =
        index.policies().flat_map(|policy| Direction::ALL.into_iter().filter_map(|d| policy.rules(d)).flatten());
    let of_rules = rules.flat_map(|rule| rule.ports.iter().flatten()).flat_map(|port| match port {
        PortMatch::Range(range) => vec![range.from, range.to],
        PortMatch::Named(_) => Vec::new(),
    });
    let of_pods = index.pods().flat_map(|pod| &pod.spec.ports).map(|port| port.port);
    let of_templates = index.workloads().flat_map(|workload| &workload.template.ports).map(|port| port.port);
    let numbers = of_rules.chain(of_pods).chain(of_templates).chain([MIN_PORT, MAX_PORT]);
    let near = numbers.flat_map(|n| [n.saturating_sub(1).max(MIN_PORT), n, n.saturating_add(1)]);
    near.collect::<BTreeSet<u16>>().into_iter().collect()
}

#[test]
fn points_agree_with_the_reference() {
    let counts: RefCell<BTreeMap<String, u64>> = RefCell::default();
    check(1200, cluster(), |cluster| {
        let world = World::new(&cluster);
        for (a, b) in world.pairs() {
            for (protocol, port, family) in world.questions() {
                let decision = evaluate(&world.compiled, a.party(), b.party(), protocol, port, family);
                let got = decision.as_ref().map(|d| d.outcome);
                let wanted = world.judge(&a, &b, protocol, port, family);
                if got != wanted {
                    let question = format!("{} → {} {protocol} {port} {family}", a.name(), b.name());
                    return fail(format!("{question}: compiled {got:?}, reference {wanted:?}"));
                }
                if let Some(decision) = decision {
                    let isolated = [&decision.egress, &decision.ingress].map(|j| !j.isolated_by.is_empty());
                    let exempt = decision.exemption.map(|e| match e {
                        Exemption::SamePod => "itself",
                        Exemption::OwnNode(_) => "own node",
                    });
                    let what = format!("{:?} isolated {isolated:?} exempt {exempt:?}", decision.outcome);
                    *counts.borrow_mut().entry(what).or_default() += 1;
                }
            }
        }
        Ok(())
    });
    // A generator that no longer reaches the edge cases must not pass unseen.
    let counts = counts.into_inner();
    let total: u64 = counts.values().sum();
    println!("{total} points: {counts:#?}");
    for wanted in [
        "Allowed isolated [false, false] exempt None",
        "Allowed isolated [true, true] exempt None",
        "Denied isolated [false, true] exempt None",
        "Denied isolated [true, false] exempt None",
        "Denied isolated [true, true] exempt None",
        "Unknown isolated [false, true] exempt None",
        "Unknown isolated [true, false] exempt None",
        "Allowed isolated [true, true] exempt Some(\"itself\")",
        "Allowed isolated [false, true] exempt Some(\"own node\")",
    ] {
        let count = counts.get(wanted).copied().unwrap_or(0);
        assert!(count * 5000 > total, "only {count} of {total} points are: {wanted}");
    }
}

#[test]
fn allowed_ports_are_those_that_are_allowed() {
    check(800, cluster(), |cluster| {
        let world = World::new(&cluster);
        for (a, b) in world.pairs() {
            let sets = Family::ALL.map(|family| {
                (family, allowed_ports(&world.compiled, a.party(), b.party(), family, Addresses::Surely))
            });
            for (protocol, port, family) in world.questions() {
                let one = evaluate(&world.compiled, a.party(), b.party(), protocol, port, family).map(|d| d.outcome);
                let set = sets.iter().find(|(f, _)| *f == family).map(|(_, set)| set).expect("both families");
                if set.contains(protocol, port) != (one == Some(Outcome::Allowed)) {
                    let question = format!("{} → {} {protocol} {port} {family}", a.name(), b.name());
                    return fail(format!("{question}: {one:?}, but all allowed ports are {set}"));
                }
                // Strictly, what only unknown addresses could allow is what cannot be told (B8).
                if world.modes.strict && own_node(&world.compiled, a.party(), b.party()).is_some() {
                    let maybe = allowed_ports(&world.compiled, a.party(), b.party(), family, Addresses::Maybe);
                    let open = matches!(one, Some(Outcome::Allowed | Outcome::Unknown));
                    if maybe.contains(protocol, port) != open {
                        let question = format!("{} → {} {protocol} {port} {family}", a.name(), b.name());
                        return fail(format!("{question}: {one:?}, but all that may be allowed are {maybe}"));
                    }
                }
            }
        }
        Ok(())
    });
}

/// Whether a question about these outcomes may come to a verdict (H1).
fn is_honest(verdict: Verdict, outcomes: &[Outcome]) -> bool {
    let has = |outcome| outcomes.contains(&outcome);
    let wanted = match (has(Outcome::Allowed), has(Outcome::Denied), has(Outcome::Unknown)) {
        // Some are allowed and some denied, whatever the others are: both words are true.
        (true, true, true) => return matches!(verdict, Verdict::Mixed | Verdict::Unknown),
        (true, true, false) => Verdict::Mixed,
        (true, false, false) => Verdict::Allowed,
        (false, true, false) => Verdict::Denied,
        _ => Verdict::Unknown,
    };
    verdict == wanted
}

#[test]
fn questions_are_answered_as_their_points_are() {
    check(500, cluster(), |cluster| {
        let world = World::new(&cluster);
        let resolver = Resolver { index: &world.index, compiled: &world.compiled, default_namespace: "default" };
        let word = |side: &Side| match side {
            Side::Endpoint(_, e) if e.key.kind.is_none() => format!("{}/pod/{}", e.key.namespace, e.key.name),
            other => other.name(),
        };
        for (a, b) in world.pairs() {
            // An address that a pod has stands for the pod in a question.
            let of_a_pod = |side: &Side| match side {
                Side::Address(address) => world.compiled.at_address(*address).is_some(),
                Side::Endpoint(..) => false,
            };
            if of_a_pod(&a) || of_a_pod(&b) {
                continue;
            }
            let judged = |wanted: Option<(Protocol, u16)>| -> Vec<Outcome> {
                let asked = world.questions().filter(|(p, port, _)| wanted.is_none_or(|w| w == (*p, *port)));
                asked.filter_map(|(p, port, family)| world.judge(&a, &b, p, port, family)).collect()
            };
            let bracketed = |word: String| if word.contains("::") { format!("[{word}]") } else { word };
            for (port, protocol) in
                [None, Some(80)].into_iter().flat_map(|port| [(port, None), (port, Some(Protocol::Udp))])
            {
                if port.is_some_and(|port| !world.ports.contains(&port)) {
                    continue;
                }
                let destination = port.map_or_else(|| word(&b), |port| format!("{}:{port}", bracketed(word(&b))));
                let question = Question { source: word(&a), destination, protocol, ..Question::default() };
                let outcomes = match (port, protocol) {
                    (Some(port), protocol) => judged(Some((protocol.unwrap_or(Protocol::Tcp), port))),
                    (None, None) => judged(None),
                    (None, Some(protocol)) => {
                        world.ports.iter().flat_map(|port| judged(Some((protocol, *port)))).collect()
                    }
                };
                match ask(&resolver, &question) {
                    Ok(answer) if is_honest(answer.verdict, &outcomes) => {}
                    Ok(answer) => {
                        let points: BTreeSet<Outcome> = outcomes.into_iter().collect();
                        return fail(format!("{question:?}: answered {}, points {points:?}", answer.verdict));
                    }
                    Err(error) => return fail(format!("{question:?}: {}", error.message)),
                }
            }
        }
        Ok(())
    });
}

/// The workloads of the manifests that make a pod or a workload, the nearest first.
fn makers(cluster: &Cluster, namespace: &str, owner: Option<&Owner>) -> Vec<(WorkloadKind, Box<str>)> {
    let mut makers = Vec::new();
    let mut next = owner.cloned();
    while let Some(owner) = next.take() {
        for manifest in &cluster.manifests {
            if let Object::Workload(w) = &manifest.means {
                let made = w.kind.kind() == &*owner.kind && w.name == owner.name && &*w.namespace == namespace;
                if made && !makers.contains(&(w.kind, w.name.clone())) {
                    makers.push((w.kind, w.name.clone()));
                    next = w.owner.clone();
                }
            }
        }
    }
    makers
}

#[test]
fn endpoints_are_what_takes_part() {
    check(800, cluster(), |cluster| {
        let world = World::new(&cluster);
        let mut wanted = BTreeSet::new();
        let mut stood_for = BTreeSet::new();
        for manifest in &cluster.manifests {
            let Object::Pod(pod) = &manifest.means else { continue };
            let makers = makers(&cluster, &pod.namespace, pod.owner.as_ref());
            stood_for.extend(makers.into_iter().map(|(kind, name)| (pod.namespace.clone(), kind, name)));
            // D3: finished pods and those without an address are no endpoints.
            if !matches!(pod.life, Life::Manifest | Life::Live) {
                continue;
            }
            let key = EndpointKey::pod(&(pod.namespace.clone(), pod.name.clone()));
            wanted.insert(key.clone());
            let Some(entry) = world.compiled.find(&key).and_then(|id| world.compiled.entry(id)) else { continue };
            let endpoint = &entry.endpoint;
            prop_assert_eq!(&endpoint.labels, &pod.spec.labels);
            prop_assert_eq!(&endpoint.ports, &pod.spec.ports);
            // D1
            prop_assert_eq!(endpoint.host_network, pod.spec.host_network && !cluster.modes.host_network_pods);
            for family in Family::ALL {
                let known = pod.addresses.iter().find(|a| Family::of(**a) == family);
                let in_use = world.compiled.families().contains(&family);
                let address = match known {
                    Some(address) => Address::Known(*address),
                    None if pod.addresses.is_empty() && in_use => Address::Unknown,
                    None => Address::Absent,
                };
                prop_assert_eq!(*endpoint.addresses.get(family), address, "{} {}", key, family);
            }
        }
        for manifest in &cluster.manifests {
            let Object::Workload(w) = &manifest.means else { continue };
            // D4: what has pods, or is made by another, does not stand for itself.
            let made = !makers(&cluster, &w.namespace, w.owner.as_ref()).is_empty();
            if !made && !stood_for.contains(&(w.namespace.clone(), w.kind, w.name.clone())) {
                wanted.insert(EndpointKey { namespace: w.namespace.clone(), name: w.name.clone(), kind: Some(w.kind) });
            }
        }
        let got: BTreeSet<EndpointKey> = world.compiled.entries().map(|(_, e)| e.endpoint.key.clone()).collect();
        prop_assert_eq!(got, wanted, "endpoints got, wanted");
        Ok(())
    });
}

/// What a listing says of each pair of entities: open ports, and whether more cannot be told.
fn listed(listing: &Listing<'_>) -> BTreeMap<(String, String), (Reach, bool)> {
    let mut pairs = BTreeMap::new();
    let key = |entity: &Entity| format!("{}{:?}", entity.name, entity.members);
    listing.for_each(
        |_| true,
        |source, destination, pair| {
            let said = match pair {
                Pair::Open(reach) => (reach.clone(), false),
                Pair::Unknown(reach) => (reach.clone(), true),
            };
            let twice = pairs.insert((key(source), key(destination)), said);
            assert!(twice.is_none(), "{} → {} is listed twice", source.name, destination.name);
        },
    );
    pairs
}

/// Compares what is listed of two entities with what the reference says of their members.
fn check_listing(cluster: &Cluster, expand: bool) -> Checked {
    let compiled = Compiled::new(&cluster.index(), &cluster.modes);
    let listing = Listing::new(&compiled, Options { expand, outside: true });
    // What names could stand for beyond what is known of them does not show in lists.
    let modes = Modes { names: closed(&cluster.modes.names), ..cluster.modes.clone() };
    let world = &World::new(&Cluster { modes, ..cluster.clone() });
    let said = listed(&listing);
    let nothing = (Reach::default(), false);
    let all: BTreeSet<EndpointId> = world.compiled.entries().map(|(id, _)| id).collect();
    for entities in [&listing.sources, &listing.destinations] {
        let ids: Vec<EndpointId> = entities.iter().flat_map(|e| e.members.iter().copied()).collect();
        if ids.len() != all.len() || ids.iter().copied().collect::<BTreeSet<_>>() != all {
            return fail(format!("the entities hold {ids:?} of {all:?}"));
        }
    }
    // Nodes' addresses have exemptions of their own, which are not of their block (D2).
    let of_nodes = |address: &IpAddr| world.compiled.node_at(*address).is_some();
    let samples = |entity: &Entity| -> Vec<Side> {
        let nets = entity.blocks.iter().map(|b| b.parse::<ipnet::IpNet>().expect("a block"));
        let ends: BTreeSet<IpAddr> = nets.flat_map(|net| [net.network(), net.broadcast()]).collect();
        let addresses = ends.into_iter().filter(|a| !of_nodes(a)).map(Side::Address).take(6);
        entity.members.iter().map(|id| world.endpoint(*id)).chain(addresses).collect()
    };
    let sampled = |entities: &'_ [Entity]| -> Vec<(String, bool, Vec<Side>)> {
        let inside = |entity: &Entity| entity.namespace.is_some();
        entities.iter().map(|e| (format!("{}{:?}", e.name, e.members), inside(e), samples(e))).collect()
    };
    let (all_sources, all_destinations) = (sampled(&listing.sources), sampled(&listing.destinations));
    for (source, from_inside, sources) in &all_sources {
        for (destination, to_inside, destinations) in &all_destinations {
            if !from_inside && !to_inside {
                continue;
            }
            let (reach, unknown) = said.get(&(source.clone(), destination.clone())).unwrap_or(&nothing);
            let single = sources.len() == 1 && destinations.len() == 1;
            let mut seen_unknown = false;
            for (a, b) in sources.iter().flat_map(|a| destinations.iter().map(move |b| (a, b))) {
                let exemption = Family::ALL.into_iter().find_map(|family| {
                    evaluate(&world.compiled, a.party(), b.party(), Protocol::Tcp, 80, family)?.exemption
                });
                if exemption.is_some() && !single {
                    continue;
                }
                for (protocol, port, family) in world.questions() {
                    let wanted = world.judge(a, b, protocol, port, family);
                    seen_unknown |= wanted == Some(Outcome::Unknown);
                    let limited = reach.in_one_family.iter().find(|(f, _)| *f == family);
                    let open = reach.ports.contains(protocol, port)
                        || limited.is_some_and(|(_, p)| p.contains(protocol, port));
                    // Ports "in every common family" say nothing of a family that is not common.
                    if wanted.is_some() && open != (wanted == Some(Outcome::Allowed)) {
                        let question = format!("{} → {} {protocol} {port} {family}", a.name(), b.name());
                        return fail(format!(
                            "{question}: reference {wanted:?}, listed {source} → {destination}: {reach}"
                        ));
                    }
                }
            }
            let talk = |a: &Side, b: &Side| {
                Family::ALL.into_iter().any(|family| world.judge(a, b, Protocol::Tcp, 80, family).is_some())
            };
            let somehow = sources.iter().any(|a| destinations.iter().any(|b| talk(a, b)));
            if !somehow && (!reach.is_empty() || *unknown) && !sources.is_empty() && !destinations.is_empty() {
                return fail(format!("{source} → {destination} is listed, but they have no family in common"));
            }
            if seen_unknown != *unknown {
                return fail(format!("{source} → {destination}: unknown {seen_unknown}, listed as unknown: {unknown}"));
            }
        }
    }
    Ok(())
}

#[test]
fn the_expanded_list_agrees_with_the_reference() {
    check(600, cluster(), |cluster| check_listing(&cluster, true));
}

#[test]
fn the_aggregated_list_says_the_same_of_each_member() {
    check(600, cluster(), |cluster| check_listing(&cluster, false));
}

/// A cluster that changes: the index, what was kept up to date, and what was applied to it.
struct Changing {
    index: ClusterIndex,
    compiled: Compiled,
    applied: Vec<Manifest>,
}

impl Changing {
    fn new(cluster: &Cluster) -> Self {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &cluster.modes);
        Changing { index, compiled, applied: cluster.manifests.clone() }
    }

    fn apply(&mut self, manifest: &Manifest) -> Result<Option<Change>, TestCaseError> {
        let mut change = None;
        for object in read(manifest) {
            change = self.index.apply(object.clone());
            let again = self.index.apply(object);
            prop_assert!(again.is_none(), "the same object changed something again: {again:?}");
        }
        self.applied.push(manifest.clone());
        Ok(change)
    }

    fn change(&mut self, op: &Op) -> Result<Option<Change>, TestCaseError> {
        fn nth<T>(list: Vec<T>, n: usize) -> Option<T> {
            let count = list.len().max(1);
            list.into_iter().nth(n % count)
        }
        let pods = || self.index.pods().map(|p| (p.namespace.clone(), p.name.clone())).collect::<Vec<Key>>();
        let policies = || self.index.policies().map(|p| (p.namespace.clone(), p.name.clone())).collect::<Vec<Key>>();
        Ok(match op {
            Op::Apply(manifest) => self.apply(manifest)?,
            Op::Again(n) => match nth(self.applied.clone(), *n) {
                Some(manifest) => self.apply(&manifest)?,
                None => None,
            },
            Op::DeletePod(n) => nth(pods(), *n).and_then(|key| self.index.delete_pod(&key.0, &key.1)),
            Op::DeletePolicy(n) => nth(policies(), *n).and_then(|key| self.index.delete_policy(&key.0, &key.1)),
            Op::DeleteNamespace(n) => {
                nth(arbitrary::NAMESPACES.to_vec(), *n).and_then(|name| self.index.delete_namespace(name))
            }
        })
    }

    /// Compares what was kept up to date with what is made anew.
    fn check(&self, modes: &Modes) -> Checked {
        let (kept, new) = (&self.compiled, &Compiled::new(&self.index, modes));
        let keys = |compiled: &Compiled| -> BTreeSet<EndpointKey> {
            compiled.entries().map(|(_, e)| e.endpoint.key.clone()).collect()
        };
        prop_assert_eq!(keys(kept), keys(new), "kept, new");
        prop_assert_eq!(kept.families(), new.families(), "families kept, new");
        for name in arbitrary::NAMESPACES {
            let of = |compiled: &Compiled| -> BTreeSet<EndpointKey> {
                compiled
                    .in_namespace(name)
                    .map(|id| compiled.entry(id).expect("an entry").endpoint.key.clone())
                    .collect()
            };
            prop_assert_eq!(of(kept), of(new), "endpoints of {} kept, new", name);
            if new.in_namespace(name).next().is_some() {
                prop_assert_eq!(kept.is_synthesized(name), new.is_synthesized(name), "whether {} is synthesized", name);
            }
        }
        let key_at = |compiled: &Compiled, address: IpAddr| {
            compiled.at_address(address).map(|id| compiled.entry(id).map(|e| e.endpoint.key.clone()))
        };
        let addresses = self.index.pods().flat_map(|p| p.addresses.iter().chain(&p.host_addresses)).copied();
        for address in addresses.chain(outside(&Family::ALL)) {
            let has = |endpoint: &Endpoint| {
                Family::ALL.iter().any(|f| *endpoint.addresses.get(*f) == Address::Known(address))
            };
            // Of several pods that have it now, the order of their coming decides.
            if new.entries().filter(|(_, e)| !e.endpoint.host_network && has(&e.endpoint)).count() < 2 {
                prop_assert_eq!(key_at(kept, address), key_at(new, address), "who has {}: kept, new", address);
            }
            prop_assert_eq!(kept.node_at(address), new.node_at(address), "node with {}: kept, new", address);
        }
        let ports = interesting_ports(&self.index);
        let parties = |compiled: &Compiled| -> Vec<(String, Party)> {
            let endpoints = keys(compiled).into_iter().filter_map(|key| {
                let id = compiled.find(&key)?;
                Some((key.to_string(), Party::Endpoint(id)))
            });
            let addresses = outside(&Family::ALL).into_iter().map(|a| (a.to_string(), Party::Address(a)));
            endpoints.chain(addresses).collect()
        };
        let both: Vec<((String, Party), (String, Party))> = parties(kept).into_iter().zip(parties(new)).collect();
        for ((source, a), (_, x)) in &both {
            for ((destination, b), (_, y)) in &both {
                for family in Family::ALL {
                    let sets = [
                        allowed_ports(kept, *a, *b, family, Addresses::Surely),
                        allowed_ports(new, *x, *y, family, Addresses::Surely),
                    ];
                    let what = || format!("{source} → {destination} {family}");
                    prop_assert_eq!(&sets[0], &sets[1], "{}: ports kept, new", what());
                    // The rest of an answer is looked at where it is not simply allowed.
                    let denied = Protocol::ALL.into_iter().flat_map(|p| ports.iter().map(move |port| (p, *port)));
                    for (protocol, port) in denied.filter(|(protocol, port)| !sets[0].contains(*protocol, *port)) {
                        let of = |compiled, a, b| {
                            evaluate(compiled, a, b, protocol, port, family).map(|d| {
                                let isolated = [d.egress, d.ingress].map(|judgement| {
                                    let by =
                                        judgement.isolated_by.iter().map(|p| format!("{}/{}", p.namespace, p.name));
                                    by.collect::<BTreeSet<_>>()
                                });
                                (d.outcome, isolated, d.notes.len())
                            })
                        };
                        let (kept, new) = (of(kept, *a, *b), of(new, *x, *y));
                        prop_assert_eq!(kept, new, "{} {} {}: kept, new", what(), protocol, port);
                    }
                }
            }
        }
        let inside = Options { expand: true, outside: false };
        let name = |listing: &Listing<'_>| -> Vec<String> {
            let mut lines = Vec::new();
            listing.for_each(
                |_| true,
                |a, b, pair| {
                    let (word, reach) = match pair {
                        Pair::Open(reach) => ("open", reach),
                        Pair::Unknown(reach) => ("unknown", reach),
                    };
                    lines.push(format!("{} → {} {word} {reach}", a.name, b.name));
                },
            );
            lines.sort();
            lines
        };
        prop_assert_eq!(name(&Listing::new(kept, inside)), name(&Listing::new(new, inside)), "list kept, new");
        Ok(())
    }
}

#[test]
fn what_is_kept_up_to_date_answers_as_what_is_made_anew() {
    check(600, (cluster(), vec(op(), 1..12)), |(cluster, ops)| {
        let mut changing = Changing::new(&cluster);
        for (i, op) in ops.iter().enumerate() {
            if let Some(change) = changing.change(op)? {
                changing.compiled.update(&changing.index, &change);
                if let Err(why) = changing.check(&cluster.modes) {
                    return fail(format!("after change {} ({change:?}): {why}", i + 1));
                }
            }
        }
        Ok(())
    });
}

/// The same manifests in the forms in which people and tools write them.
fn forms(manifests: &[Manifest]) -> Vec<(&'static str, String)> {
    let texts: Vec<serde_json::Value> = manifests.iter().map(|m| m.text.clone()).collect();
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("JSON");
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": texts});
    let each = |write: &dyn Fn(&serde_json::Value) -> String| texts.iter().map(write).collect::<Vec<String>>();
    vec![
        ("JSON, a line each", each(&ToString::to_string).join("\n")),
        ("JSON, several lines each", each(&pretty).join("\n")),
        ("JSON with ---", each(&pretty).join("\n---\n")),
        ("JSON with --- and CRLF", each(&pretty).join("\n---\n").replace('\n', "\r\n")),
        ("JSON list", list.to_string()),
        ("JSON list, several lines", pretty(&list)),
        ("YAML", format!("# a comment\n---\n{}", each(&|v| to_yaml(v, false)).join("---\n"))),
        ("YAML, lists set in", each(&|v| to_yaml(v, true)).join("--- # next\n# more\n")),
        ("YAML with CRLF", each(&|v| to_yaml(v, true)).join("---\n").replace('\n', "\r\n")),
        ("YAML list", to_yaml(&list, false)),
        ("JSON in YAML", each(&|v| format!("# {{}}\n{v}\n")).join("---\n")),
    ]
}

#[test]
fn every_form_of_the_manifests_gives_the_objects_that_they_mean() {
    check(500, cluster(), |cluster| {
        let meant: Vec<&Object> = cluster.manifests.iter().map(|m| &m.means).collect();
        for (form, text) in forms(&cluster.manifests) {
            let read = ingest("manifests", text.as_bytes(), arbitrary::NAMESPACES[0]);
            if read.has_errors() {
                let said: Vec<String> = read.diagnostics.iter().map(ToString::to_string).collect();
                return fail(format!("{form}: {}\n{text}", said.join("\n")));
            }
            let got: Vec<&Object> = read.objects.iter().collect();
            if let Some((got, meant)) = got.iter().zip(&meant).find(|(got, meant)| got != meant) {
                return fail(format!("{form}: read {got:#?}\nmeant {meant:#?}\n{text}"));
            }
            prop_assert_eq!(got.len(), meant.len(), "{}: objects read, meant", form);
        }
        Ok(())
    });
}

/// What a connection is to a test that speaks of everybody: allowed by policies, not known, or neither. What is
/// allowed whatever the policies say is neither.
fn by_policies(world: &World, a: &Side, b: &Side, ports: &[(Protocol, u16)]) -> (Status, bool) {
    let (mut status, mut assumed) = (Status::Ok, false);
    let itself = matches!((a, b), (Side::Endpoint(x, e), Side::Endpoint(y, _)) if x == y && !e.is_template());
    if itself {
        return (status, assumed);
    }
    for (protocol, port) in ports {
        for family in Family::ALL {
            let Some(decision) = evaluate(&world.compiled, a.party(), b.party(), *protocol, *port, family) else {
                continue;
            };
            // The naive evaluator has the last word on what is allowed.
            if decision.exemption.is_none() {
                let judged = world.judge(a, b, *protocol, *port, family);
                assert_eq!(judged, Some(decision.outcome), "{} → {}", a.name(), b.name());
            }
            if decision.egress.allows() && decision.ingress.allows() {
                return (Status::Failed, assumed);
            }
            for note in &decision.notes {
                match note {
                    Note::AddressNotKnown { assumed: true, .. } => assumed = true,
                    Note::AddressNotKnown { .. } => status = Status::Unknown,
                    _ => {}
                }
            }
        }
    }
    (status, assumed)
}

/// One address of every range that rules, pods or `nets` tell apart and that lies outside the cluster.
fn every_outside(world: &World, nets: &[ipnet::IpNet]) -> Vec<Side> {
    let rules =
        world.index.policies().flat_map(|policy| Direction::ALL.into_iter().filter_map(|d| policy.rules(d)).flatten());
    let peers = rules.flat_map(|rule| rule.peers.iter().flatten());
    let of_rules = peers.flat_map(|peer| match peer {
        Peer::Block(block) => [block.cidr].into_iter().chain(block.except.iter().copied()).collect(),
        Peer::Pods { .. } | Peer::Names(_) => Vec::new(),
    });
    let of_nodes = || world.index.nodes().flat_map(|node| &node.pod_cidrs).copied();
    let pods: Vec<ipnet::IpNet> =
        if world.modes.pod_cidrs.is_empty() { of_nodes().collect() } else { world.modes.pod_cidrs.clone() };
    let of_pods = world.compiled.entries().flat_map(|(_, entry)| {
        Family::ALL.into_iter().filter_map(|family| match entry.endpoint.addresses.get(family) {
            Address::Known(address) => Some(ipnet::IpNet::from(*address)),
            _ => None,
        })
    });
    let borders = of_rules.chain(of_pods).chain(pods.clone()).chain(nets.iter().copied()).flat_map(|net| {
        let (family, range) = (Family::of(net.network()), AddressRange::from(&net));
        [Some(range.first), range.last.checked_add(1)].map(|n| n.filter(|n| *n <= family.last()).map(|n| (family, n)))
    });
    let all = borders.flatten().chain(Family::ALL.map(|family| (family, 0)));
    let all: BTreeSet<IpAddr> = all.map(|(family, number)| from_number(family, number)).collect();
    let in_use = |a: &IpAddr| world.compiled.families().contains(&Family::of(*a));
    let outside = |a: &IpAddr| world.compiled.at_address(*a).is_none() && !pods.iter().any(|net| net.contains(a));
    all.into_iter().filter(|a| in_use(a) && outside(a)).map(Side::Address).collect()
}

/// What a question comes to for somebody who has to be allowed.
fn must_be_allowed(world: &World, a: &Side, b: &Side, protocol: Protocol, port: u16) -> Status {
    let outcomes = Family::ALL.into_iter().filter_map(|family| world.judge(a, b, protocol, port, family));
    let verdicts = outcomes.map(|outcome| match outcome {
        Outcome::Allowed => Verdict::Allowed,
        Outcome::Denied => Verdict::Denied,
        Outcome::Unknown => Verdict::Unknown,
    });
    match combine(verdicts) {
        Verdict::Allowed => Status::Ok,
        Verdict::Unknown => Status::Unknown,
        Verdict::Denied | Verdict::Mixed => Status::Failed,
    }
}

fn quoted(sides: &[&Side]) -> String {
    let word = |side: &&Side| match side {
        Side::Endpoint(_, e) if e.key.kind.is_none() => format!("\"{}/pod/{}\"", e.key.namespace, e.key.name),
        other => format!("\"{}\"", other.name()),
    };
    sides.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Runs one test, and compares what came of it.
fn check_assertion(world: &World, text: &str, wanted: Status, assumed: Option<bool>) -> Result<Status, TestCaseError> {
    let suite = format!("apiVersion: {API_VERSION}\nkind: {KIND}\ntests:\n  - {text}\n");
    let fail = |why: String| TestCaseError::fail(format!("{text}: {why}"));
    let suite = parse("test.yaml", &suite).map_err(|wrong| fail(format!("{wrong:?}")))?;
    let checker = Checker::new(&world.index, &world.compiled, "default");
    let checked = checker.check(&suite, |_| true).map_err(|wrong| fail(format!("{wrong:?}")))?;
    let checked = checked.into_iter().flatten().next().ok_or_else(|| fail("not checked".into()))?;
    let (status, found) = (checked.status, &checked.findings);
    if status != wanted {
        return Err(fail(format!("{status:?}, but pair by pair it is {wanted:?}; found {found:?}")));
    }
    // Every connection that is shown is what it is shown for.
    for connection in found.iter().flat_map(|finding| &finding.answer.connections) {
        if status == Status::Unknown && connection.verdict == Verdict::Denied {
            return Err(fail(format!("shown as not known: {connection:?}")));
        }
    }
    if let (Status::Ok, Some(assumed)) = (status, assumed)
        && checked.assumed != assumed
    {
        return Err(fail(format!("assumed: {}, but pair by pair {assumed}", checked.assumed)));
    }
    Ok(status)
}

fn worst(all: impl Iterator<Item = (Status, bool)>) -> (Status, bool) {
    all.fold((Status::Ok, false), |(status, assumed), (s, a)| (status.max(s), assumed || a))
}

#[test]
fn exclusive_assertions_agree_with_all_pairs() {
    let seen: RefCell<BTreeMap<(&str, Status), u64>> = RefCell::default();
    let protocols = [Protocol::Tcp, Protocol::Udp];
    check(300, (cluster(), any::<prop::sample::Index>(), any::<u64>()), |(cluster, at, mask)| {
        let world = World::new(&cluster);
        let inside = world.endpoints();
        if inside.is_empty() || world.index.foreign_policies().next().is_some() {
            return Ok(());
        }
        let subject = &inside[at.index(inside.len())];
        let port = world.ports[at.index(world.ports.len())];
        let protocol = protocols[at.index(2)];
        let is_subject = |side: &Side| side.name() == subject.name();
        let chosen = |i: usize| (mask >> (i % 64)) & 1 == 1;
        let others = || inside.iter().enumerate().filter(|(_, side)| !is_subject(side));
        let mut named: Vec<&Side> = others().filter(|(i, _)| chosen(*i)).map(|(_, side)| side).collect();
        let somewhere = Side::Address("203.0.113.7".parse().expect("an address"));
        let somewhere_net = ipnet::IpNet::from("203.0.113.7".parse::<IpAddr>().expect("an address"));
        let with_address = named.is_empty() || chosen(63);
        if with_address && world.compiled.at_address("203.0.113.7".parse().expect("an address")).is_some() {
            return Ok(());
        }
        if with_address {
            named.push(&somewhere);
        }
        let outside = every_outside(&world, &[somewhere_net]);
        let is_named = |side: &Side| named.iter().any(|other| other.name() == side.name());
        let count = |assertion: &'static str, status| *seen.borrow_mut().entry((assertion, status)).or_default() += 1;
        // The others: everybody who is not named, the subject's own pods among them if it is a template.
        for with_outside in [true, false] {
            let everybody = || inside.iter().chain(outside.iter().filter(|_| with_outside)).filter(|s| !is_named(s));
            let to = format!("{}:{port}/{}", quoted(&[subject]).trim_matches('"'), protocol.as_str().to_lowercase());
            let others = worst(everybody().map(|side| by_policies(&world, side, subject, &[(protocol, port)])));
            let may = named.iter().map(|side| (must_be_allowed(&world, side, subject, protocol, port), false));
            let wanted = worst(may.chain([others]));
            let ends = format!("{{from: [{}], to: \"{to}\", outside: {with_outside}}}", quoted(&named));
            count("onlyFrom", check_assertion(&world, &format!("onlyFrom: {ends}"), wanted.0, None)?);

            // The subject may reach those that are named, on one port; everything else is too much.
            let asked: Vec<(Protocol, u16)> =
                Protocol::ALL.into_iter().flat_map(|p| world.ports.iter().map(move |port| (p, *port))).collect();
            let beside: Vec<(Protocol, u16)> =
                asked.iter().copied().filter(|(p, number)| (*p, *number) != (protocol, port)).collect();
            let all = inside.iter().chain(outside.iter().filter(|_| with_outside));
            let others = worst(
                all.map(|side| by_policies(&world, subject, side, if is_named(side) { &beside } else { &asked })),
            );
            let may = named.iter().map(|side| (must_be_allowed(&world, subject, side, protocol, port), false));
            let wanted = worst(may.chain([others]));
            let on = format!(":{port}/{}", protocol.as_str().to_lowercase());
            let to: Vec<String> =
                named.iter().map(|side| format!("\"{}{on}\"", quoted(&[side]).trim_matches('"'))).collect();
            let from = quoted(&[subject]);
            let ends = format!("{{from: {from}, to: [{}], outside: {with_outside}}}", to.join(", "));
            count("onlyTo", check_assertion(&world, &format!("onlyTo: {ends}"), wanted.0, None)?);
        }
        // Isolation by every label that some pod or namespace has, with and without an exception.
        let resolver = Resolver { index: &world.index, compiled: &world.compiled, default_namespace: "default" };
        let label_of = |side: &Side, of_namespace: bool, key: &str| match side {
            Side::Endpoint(_, e) if of_namespace => {
                resolver.index.namespace_labels(&e.key.namespace).get(key).map(str::to_owned)
            }
            Side::Endpoint(_, e) => e.labels.get(key).map(str::to_owned),
            Side::Address(_) => None,
        };
        let mut keys: BTreeSet<(bool, String)> = BTreeSet::new();
        for side in &inside {
            let Side::Endpoint(_, e) = side else { continue };
            keys.extend(e.labels.iter().map(|(key, _)| (false, key.to_owned())));
            let of_namespace = resolver.index.namespace_labels(&e.key.namespace);
            keys.extend(of_namespace.iter().map(|(key, _)| (true, key.to_owned())));
        }
        let asked: Vec<(Protocol, u16)> =
            Protocol::ALL.into_iter().flat_map(|p| world.ports.iter().map(move |port| (p, *port))).collect();
        for (of_namespace, key) in keys.iter().take(4) {
            for excepted in [false, true] {
                let pairs = inside.iter().flat_map(|a| inside.iter().map(move |b| (a, b)));
                let apart = pairs.filter(|(a, b)| {
                    let (a, b) = (label_of(a, *of_namespace, key), label_of(b, *of_namespace, key));
                    a.is_some() && b.is_some() && a != b
                });
                let apart = apart.filter(|(a, _)| !excepted || !is_subject(a));
                let wanted = worst(apart.map(|(a, b)| by_policies(&world, a, b, &asked)));
                let by = if *of_namespace { "by" } else { "byPodLabel" };
                let except =
                    if excepted { format!(", except: [{{from: {}}}]", quoted(&[subject])) } else { String::new() };
                let text = format!("isolated: {{{by}: {key}{except}}}");
                count("isolated", check_assertion(&world, &text, wanted.0, Some(wanted.1))?);
            }
        }
        Ok(())
    });
    let seen = seen.into_inner();
    println!("{seen:#?}");
    for assertion in ["onlyFrom", "onlyTo", "isolated"] {
        for status in [Status::Ok, Status::Failed, Status::Unknown] {
            let count = seen.get(&(assertion, status)).copied().unwrap_or(0);
            assert!(count > 0, "no {assertion} came out as {status:?}");
        }
    }
}

/// Tests about more pairs than are asked one by one come out as all pairs together say.
#[test]
fn assertions_about_very_many_pairs_agree_with_all_of_them() {
    let synthetic = Synthetic::new(200, 4, 8);
    let read = ingest("synthetic.yaml", synthetic.text(Format::Yaml).as_bytes(), "default");
    assert!(!read.has_errors(), "{:?}", read.diagnostics);
    let index = ClusterIndex::new(read.objects);
    let compiled = Compiled::new(&index, &Modes::default());
    let ids: Vec<EndpointId> = compiled.entries().map(|(id, _)| id).collect();
    assert!(ids.len() * ids.len() > 30_000, "only {} pods", ids.len());
    let mut seen: BTreeSet<(&str, Status)> = BTreeSet::new();
    for (to, protocol, port) in
        [("*/*:8080", Protocol::Tcp, 8080), ("*/*:53/udp", Protocol::Udp, 53), ("*/*:1", Protocol::Tcp, 1)]
    {
        let pairs = ids.iter().flat_map(|a| ids.iter().filter(move |b| a != *b).map(move |b| (*a, *b)));
        let outcomes: BTreeSet<Outcome> = pairs
            .filter_map(|(a, b)| {
                let (a, b) = (Party::Endpoint(a), Party::Endpoint(b));
                evaluate(&compiled, a, b, protocol, port, Family::V4).map(|decision| decision.outcome)
            })
            .collect();
        for (key, wanted) in [("allowed", Outcome::Allowed), ("denied", Outcome::Denied)] {
            let suite =
                format!("apiVersion: {API_VERSION}\nkind: {KIND}\ntests:\n  - {key}: {{from: '*/*', to: '{to}'}}\n");
            let suite = parse("test.yaml", &suite).expect("a suite");
            let checked =
                Checker::new(&index, &compiled, "default").check(&suite, |_| true).expect("words of the input");
            let status = checked.into_iter().flatten().next().expect("one test").status;
            let holds = outcomes.iter().all(|outcome| *outcome == wanted);
            assert_eq!(status, if holds { Status::Ok } else { Status::Failed }, "{key} {to}: {outcomes:?}");
            seen.insert((key, status));
        }
    }
    assert!(seen.len() > 1, "{seen:?}");
}
