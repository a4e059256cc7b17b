//! Properties of the ruleset over random clusters, without a kernel: a packet that walks through the
//! rulesets of the two nodes of a connection ends as `evaluate` says; a ruleset that was kept up to
//! date is the one made anew; and transactions lead from one to the other.
//!
//! `PROPTEST_CASES=20000 cargo test -p netsim-enforcer --test rendered` looks further.

use netsim_enforcer::explain::{self, Facts, Question};
use netsim_enforcer::render::{Changed, Options, Renderer, UnknownPods, render};
use netsim_enforcer::ruleset::canonical::canonical;
use netsim_enforcer::ruleset::text::table;
use netsim_enforcer::ruleset::walk::{Packet, walk, walk_at};
use netsim_enforcer::ruleset::{Chain, Elements, Hook, Name, Ruleset, Set, TimedElements};
use netsim_enforcer::transaction::{Op, Transaction, between, may_deny};
use netsim_shared::cluster::{Change, ClusterIndex, Key};
use netsim_shared::compile::{Address, Compiled, EndpointKey, Modes};
use netsim_shared::dns::{NameMap, NamePattern};
use netsim_shared::evaluate::{Exemption, Outcome, Party, evaluate};
use netsim_shared::net::Family;
use netsim_shared::policy::{Direction, PortMatch};
use netsim_shared::ports::Protocol;
use netsim_shared::query::resolve::Named;
use netsim_testkit::arbitrary::{self, Cluster, cluster, op, outside, read};
use netsim_testkit::property::{Checked, check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As the enforcer understands policies: blocks match the addresses of pods (B5), and what names stand for is in sets
/// that are filled apart from the ruleset.
fn modes(cluster: &Cluster) -> Modes {
    Modes { names: NameMap::default(), ..modes_with_names(cluster) }
}

/// The same for the evaluator, which is told what names stand for.
fn modes_with_names(cluster: &Cluster) -> Modes {
    let names = arbitrary::closed(&cluster.modes.names);
    Modes { ip_block_matches_pods: true, host_network_pods: false, names, ..cluster.modes.clone() }
}

/// What the sets of names hold: addresses that are neither pods nor nodes (G5).
fn fill(renderer: &Renderer, names: &NameMap, compiled: &Compiled, now: Instant) -> TimedElements {
    let inside = |address| compiled.at_address(address).is_some() || compiled.node_at(address).is_some();
    let mut timed = TimedElements::default();
    let wanted = |set: &Name| {
        let of = renderer.names().get(set).expect("every timed set is for names");
        let addresses = of.patterns.iter().flat_map(|pattern| names.matching(pattern)).filter(|a| !inside(*a));
        addresses.filter(|_| !of.seen).map(|address| (address, Duration::from_secs(60))).collect()
    };
    timed.follow(renderer.ruleset(), wanted, now);
    timed
}

fn options(node: &str) -> Options {
    Options { node: node.into(), ..Options::default() }
}

fn nodes(compiled: &Compiled) -> BTreeSet<Box<str>> {
    compiled.entries().filter_map(|(_, entry)| entry.endpoint.node.clone()).collect()
}

/// Lines by rules, lines by ports, and both in one ruleset.
fn many_lines() -> impl Strategy<Value = usize> {
    prop_oneof![Just(16), Just(0), Just(2)]
}

/// The ports that rules and pods name, with their neighbours.
fn ports(index: &ClusterIndex) -> BTreeSet<u16> {
    let rules = index.policies().flat_map(|p| Direction::ALL.into_iter().filter_map(|d| p.rules(d)).flatten());
    let of_rules = rules.flat_map(|rule| rule.ports.iter().flatten()).flat_map(|port| match port {
        PortMatch::Range(range) => vec![range.from, range.to],
        PortMatch::Named(_) => Vec::new(),
    });
    let of_pods = index.pods().flat_map(|pod| &pod.spec.ports).map(|port| port.port);
    let near = of_rules.chain(of_pods).chain([1, u16::MAX]);
    near.flat_map(|n| [n.saturating_sub(1).max(1), n, n.saturating_add(1)]).collect()
}

struct End {
    party: Party,
    address: IpAddr,
    /// The node whose ruleset its packets pass, for pods.
    node: Option<Box<str>>,
}

/// Everything that has an address which is its own.
fn ends(compiled: &Compiled) -> Vec<End> {
    let pods = compiled.entries().flat_map(|(id, entry)| {
        Family::ALL.into_iter().filter_map(move |family| match entry.endpoint.addresses.get(family) {
            Address::Known(address) if !entry.endpoint.host_network && compiled.at_address(*address) == Some(id) => {
                Some(End { party: Party::Endpoint(id), address: *address, node: entry.endpoint.node.clone() })
            }
            _ => None,
        })
    });
    let others = outside(&Family::ALL).into_iter().filter(|a| compiled.at_address(*a).is_none());
    pods.chain(others.map(|address| End { party: Party::Address(address), address, node: None })).collect()
}

fn packet(source: IpAddr, destination: IpAddr, protocol: Protocol, port: u16) -> Packet {
    // From a port that many rules name: it must not count.
    let (source_port, reply) = (80, false);
    let (tracked, established, mark, icmpv6, from_node) = (true, false, 0, None, false);
    Packet {
        source,
        destination,
        protocol: Some(protocol),
        port,
        source_port,
        reply,
        tracked,
        established,
        mark,
        icmpv6,
        from_node,
    }
}

/// What a ruleset denies on purpose: addresses that are no single pod's, which only pods of one bridge
/// get through to.
fn is_nameless(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

#[test]
fn a_packet_ends_as_the_evaluator_says() {
    check(400, (cluster(), many_lines()), |(cluster, many_lines)| {
        let index = cluster.index();
        let (compiled, now) = (Compiled::new(&index, &modes_with_names(&cluster)), Instant::now());
        let enforced = Compiled::new(&index, &modes(&cluster));
        let made = |node: Box<str>| {
            let mut renderer = Renderer::new(Options { many_lines, ..options(&node) });
            renderer.update(&enforced, &Changed::Anything);
            let timed = fill(&renderer, &compiled.modes().names, &enforced, now);
            (node, (renderer.ruleset().clone(), timed))
        };
        let rulesets: BTreeMap<Box<str>, (Ruleset, TimedElements)> = nodes(&enforced).into_iter().map(made).collect();
        let (ends, ports) = (ends(&compiled), ports(&index));
        for a in &ends {
            for b in &ends {
                let family = Family::of(a.address);
                let both_outside = a.node.is_none() && b.node.is_none();
                if family != Family::of(b.address) || both_outside || is_nameless(b.address) {
                    continue;
                }
                for protocol in Protocol::ALL {
                    for port in &ports {
                        let Some(decision) = evaluate(&compiled, a.party, b.party, protocol, *port, family) else {
                            continue;
                        };
                        let own_node = matches!(decision.exemption, Some(Exemption::OwnNode(_)));
                        // A pod without a node is under no ruleset.
                        let unbound = |end: &End| matches!(end.party, Party::Endpoint(_)) && end.node.is_none();
                        if own_node || decision.outcome == Outcome::Unknown || unbound(a) || unbound(b) {
                            continue;
                        }
                        let mut on: Vec<&(Ruleset, TimedElements)> =
                            [&a.node, &b.node].into_iter().flatten().map(|n| &rulesets[n]).collect();
                        on.dedup_by(|a, b| std::ptr::eq(*a, *b));
                        let packet = packet(a.address, b.address, protocol, *port);
                        let passes = on
                            .iter()
                            .all(|(ruleset, timed)| walk_at(ruleset, timed, now, Hook::Forward, packet).passes);
                        let back = Packet { reply: true, ..packet };
                        let passes_back =
                            on.iter().all(|(ruleset, timed)| walk_at(ruleset, timed, now, Hook::Forward, back).passes);
                        prop_assert_eq!(passes, passes_back, "packets of one connection end alike");
                        if passes != (decision.outcome == Outcome::Allowed) {
                            let why = format!(
                                "{} -> {} {protocol} {port}: evaluated {:?}, in the ruleset it {}",
                                a.address,
                                b.address,
                                decision.outcome,
                                if passes { "passes" } else { "is dropped" }
                            );
                            return Err(TestCaseError::fail(why));
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn what_a_node_explains_is_what_the_evaluator_says() {
    check(150, cluster(), |cluster| {
        let index = cluster.index();
        let (compiled, now) = (Compiled::new(&index, &modes_with_names(&cluster)), Instant::now());
        let enforced = Compiled::new(&index, &modes(&cluster));
        let ends = ends(&compiled);
        let ports = ports(&index);
        for node in nodes(&enforced) {
            let mut renderer = Renderer::new(options(&node));
            renderer.update(&enforced, &Changed::Anything);
            let names = &compiled.modes().names;
            let timed = fill(&renderer, names, &enforced, now);
            let inside = |address| enforced.at_address(address).is_some() || enforced.node_at(address).is_some();
            let stands_for = |patterns: &[NamePattern], address: IpAddr| {
                !inside(address) && patterns.iter().any(|pattern| names.matching(pattern).contains(&address))
            };
            let facts = Facts {
                index: &index,
                compiled: &enforced,
                options: &options(&node),
                pod_cidrs: &[],
                ruleset: Some(renderer.ruleset()),
                timed: &timed,
                now,
                stands_for: &stands_for,
            };
            for (a, b) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
                let family = Family::of(a.address);
                let is_pod = |end: &End| matches!(end.party, Party::Endpoint(_));
                if family != Family::of(b.address) || is_nameless(b.address) || !(is_pod(a) || is_pod(b)) {
                    continue;
                }
                for (protocol, port) in ports.iter().step_by(3).flat_map(|port| Protocol::ALL.map(|p| (p, *port))) {
                    let named = |end: &End| Named::one(end.address.to_string(), end.party);
                    let question =
                        Question { source: named(a), destination: named(b), protocol, port, notes: Vec::new() };
                    let Some(decision) = evaluate(&compiled, a.party, b.party, protocol, port, family) else {
                        continue;
                    };
                    let explained = explain::connections(&facts, &question);
                    let explained = explained.iter().find(|c| c.family == family.to_string()).expect("the family");
                    if matches!(decision.exemption, Some(Exemption::OwnNode(_))) || decision.outcome == Outcome::Unknown
                    {
                        continue;
                    }
                    // Of its own ends a node says what is so; others it leaves to others.
                    let sides = [(a, decision.egress.allows()), (b, decision.ingress.allows())];
                    let own: Vec<bool> =
                        sides.iter().filter(|(end, _)| end.node.as_ref() == Some(&node)).map(|(_, yes)| *yes).collect();
                    let wanted = match own.as_slice() {
                        _ if decision.exemption.is_some() && !own.is_empty() => explain::Verdict::Allowed,
                        [] => explain::Verdict::Elsewhere,
                        all => explain::Verdict::of(all.iter().all(|yes| *yes)),
                    };
                    let what = format!("{} -> {} {protocol} {port} on {node}: {explained:?}", a.address, b.address);
                    prop_assert_eq!(explained.verdict, wanted, "{}", what);
                    prop_assert!(explained.doubts.is_empty(), "{}", what);
                    if explained.not_judged.is_none() && !own.is_empty() {
                        prop_assert_eq!(explained.passes, Some(wanted == explain::Verdict::Allowed), "{}", what);
                    }
                }
            }
        }
        Ok(())
    });
}

/// Applies a transaction as the kernel does: what cannot be done is an error.
fn apply(ruleset: &Ruleset, transaction: &Transaction) -> Result<Ruleset, String> {
    let mut new = ruleset.clone();
    for op in &transaction.ops {
        let refused = |what: &str| Err(format!("{what}: {op:?}"));
        match op {
            Op::AddTable => {}
            Op::DeleteTable => new = Ruleset::default(),
            Op::AddSet(name, kind, comment) => {
                let set = Set { comment: comment.clone(), ..Set::new(*kind, Elements::default()) };
                if new.sets.insert(name.clone(), Arc::new(set)).is_some() {
                    return refused("exists");
                }
            }
            Op::AddChain(name, hook) => {
                if new.chains.insert(name.clone(), Arc::new(Chain { hook: *hook, rules: vec![] })).is_some() {
                    return refused("exists");
                }
            }
            Op::DeleteSet(name) => {
                let named = new.chains.values().any(|c| format!("{:?}", c.rules).contains(&format!("{name:?}")));
                if named || new.sets.remove(name).is_none() {
                    return refused("busy or missing");
                }
            }
            Op::DeleteChain(name) => {
                let text = format!("{name:?}");
                let by_rule = new.chains.values().any(|c| format!("{:?}", c.rules).contains(&text));
                let by_element =
                    new.sets.values().any(|s| s.elements.iter().any(|(_, v)| format!("{v:?}").contains(&text)));
                if by_rule || by_element || new.chains.remove(name).is_none() {
                    return refused("busy or missing");
                }
            }
            Op::FlushChain(name) => match new.chains.get_mut(name) {
                Some(chain) => Arc::make_mut(chain).rules.clear(),
                None => return refused("missing"),
            },
            Op::AddRule(name, rule) => match new.chains.get_mut(name) {
                Some(chain) => Arc::make_mut(chain).rules.push(rule.clone()),
                None => return refused("missing"),
            },
            Op::AddElements(name, _, elements) => {
                let Some(set) = new.sets.get_mut(name) else { return refused("missing") };
                for (key, value) in elements {
                    if set.elements.get(key).is_some() {
                        return refused("exists");
                    }
                    Arc::make_mut(set).elements.insert(*key, value.clone());
                }
            }
            // No ruleset has those.
            Op::AddTimed(name, ..) | Op::Retime(name, ..) | Op::EndTimed(name, ..) => {
                if !new.sets.get(name).is_some_and(|set| set.kind.is_timed()) {
                    return refused("missing");
                }
            }
            Op::DeleteElements(name, _, elements) => {
                let Some(set) = new.sets.get_mut(name) else { return refused("missing") };
                for (key, _) in elements {
                    if set.elements.get(key).is_none() {
                        return refused("missing");
                    }
                    Arc::make_mut(set).elements.remove(key);
                }
            }
        }
    }
    Ok(new)
}

/// A cluster under change, with a renderer for each node that follows it.
struct World {
    index: ClusterIndex,
    compiled: Compiled,
    renderers: BTreeMap<Box<str>, Renderer>,
    many_lines: usize,
}

impl World {
    fn new(cluster: &Cluster, many_lines: usize) -> Self {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &modes(cluster));
        let mut world = World { index, compiled, renderers: BTreeMap::new(), many_lines };
        world.follow_nodes();
        world
    }

    fn follow_nodes(&mut self) {
        for node in nodes(&self.compiled) {
            let (compiled, many_lines) = (&self.compiled, self.many_lines);
            self.renderers.entry(node.clone()).or_insert_with(|| {
                let mut renderer = Renderer::new(Options { many_lines, ..options(&node) });
                renderer.update(compiled, &Changed::Anything);
                renderer
            });
        }
    }

    fn addresses(&self, key: &Key) -> Vec<IpAddr> {
        let entry = self.compiled.find(&EndpointKey::pod(key)).and_then(|id| self.compiled.entry(id));
        let known = |family| match entry?.endpoint.addresses.get(family) {
            Address::Known(address) => Some(*address),
            _ => None,
        };
        Family::ALL.into_iter().filter_map(known).collect()
    }

    fn take(&mut self, change: &Change) -> Checked {
        let touched = if let Change::Pod(key) = change { Some(key) } else { None };
        let mut addresses = touched.map(|key| self.addresses(key)).unwrap_or_default();
        self.compiled.update(&self.index, change);
        addresses.extend(touched.iter().flat_map(|key| self.addresses(key)));
        let changed = if touched.is_some() { Changed::PodsAt(addresses) } else { Changed::Anything };
        for (node, renderer) in &mut self.renderers {
            let before = renderer.ruleset().clone();
            let after = renderer.update(&self.compiled, &changed).clone();
            let transaction = between(&before, &after);
            let applied = apply(&before, &transaction).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&applied, &after, "the transaction leads elsewhere: {:?}", transaction);
            prop_assert!(between(&after, &applied).is_empty());
            let anew = render(&self.compiled, &Options { many_lines: self.many_lines, ..options(node) }, &[], 1);
            let text = |ruleset: &Ruleset| table("netsim", &canonical(ruleset));
            prop_assert_eq!(text(&after), text(&anew), "node {}", node);
        }
        self.follow_nodes();
        Ok(())
    }
}

#[test]
fn kept_up_to_date_it_is_as_made_anew_and_transactions_lead_there() {
    check(200, (cluster(), vec(op(), 1..12), many_lines()), |(cluster, ops, many_lines)| {
        let mut world = World::new(&cluster, many_lines);
        let mut applied: Vec<arbitrary::Manifest> = cluster.manifests.clone();
        for op in ops {
            let changes: Vec<Change> = match op {
                arbitrary::Op::Apply(manifest) => {
                    applied.push((*manifest).clone());
                    read(&manifest).into_iter().filter_map(|o| world.index.apply(o)).collect()
                }
                arbitrary::Op::Again(which) => {
                    let objects = read(&applied[which % applied.len()]);
                    objects.into_iter().filter_map(|o| world.index.apply(o)).collect()
                }
                arbitrary::Op::DeletePod(which) => {
                    let keys: Vec<Key> = world.index.pods().map(|p| (p.namespace.clone(), p.name.clone())).collect();
                    let key = keys.get(which % keys.len().max(1));
                    key.and_then(|(ns, name)| world.index.delete_pod(ns, name)).into_iter().collect()
                }
                arbitrary::Op::DeletePolicy(which) => {
                    let keys: Vec<Key> =
                        world.index.policies().map(|p| (p.namespace.clone(), p.name.clone())).collect();
                    let key = keys.get(which % keys.len().max(1));
                    key.and_then(|(ns, name)| world.index.delete_policy(ns, name)).into_iter().collect()
                }
                arbitrary::Op::DeleteNamespace(which) => {
                    let names: Vec<String> = world.index.namespace_names().into_iter().map(str::to_owned).collect();
                    let name = names.get(which % names.len().max(1));
                    name.and_then(|name| world.index.delete_namespace(name)).into_iter().collect()
                }
            };
            for change in changes {
                world.take(&change)?;
            }
        }
        Ok(())
    });
}

/// What a transaction is said not to deny is not denied: every packet that passed still does.
#[test]
fn what_may_deny_is_known() {
    check(200, (cluster(), op()), |(cluster, op)| {
        let mut index = cluster.index();
        let compiled = Compiled::new(&index, &modes(&cluster));
        let arbitrary::Op::Apply(manifest) = op else { return Ok(()) };
        let before: Vec<(Box<str>, Ruleset)> =
            nodes(&compiled).into_iter().map(|n| (n.clone(), render(&compiled, &options(&n), &[], 1))).collect();
        read(&manifest).into_iter().for_each(|o| _ = index.apply(o));
        let after = Compiled::new(&index, &modes(&cluster));
        let (ends, ports) = (ends(&compiled), ports(&index));
        for (node, old) in before {
            let new = render(&after, &options(&node), &[], 1);
            if may_deny(&between(&old, &new)) {
                continue;
            }
            for (a, b) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
                if Family::of(a.address) != Family::of(b.address) || is_nameless(b.address) {
                    continue;
                }
                for (protocol, port) in Protocol::ALL.into_iter().flat_map(|p| ports.iter().map(move |port| (p, *port)))
                {
                    let packet = packet(a.address, b.address, protocol, port);
                    let (was, is) = (walk(&old, Hook::Forward, packet), walk(&new, Hook::Forward, packet));
                    prop_assert!(!was.passes || is.passes, "{} -> {} {protocol} {port}", a.address, b.address);
                }
            }
        }
        Ok(())
    });
}

fn ruleset_of(yaml: &str, options: &Options, pod_cidrs: &[&str]) -> Ruleset {
    let ingested = netsim_shared::ingest::ingest("test", yaml.as_bytes(), "default");
    assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
    let index = ClusterIndex::new(ingested.objects);
    let pod_cidrs: Vec<_> = pod_cidrs.iter().map(|c| c.parse().expect("a block")).collect();
    render(&Compiled::new(&index, &Modes::default()), options, &pod_cidrs, 1)
}

const TWO_PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: a}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.1.2, podIPs: [{ip: 10.0.1.2}, {ip: 'fd00:1::2'}], hostIP: 192.0.2.1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.1.3, podIPs: [{ip: 10.0.1.3}], hostIP: 192.0.2.1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a, namespace: x}
spec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}
";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_pod_that_is_not_known_yet_is_closed_unless_asked_otherwise() {
    let closed = ruleset_of(TWO_PODS, &options("n1"), &["10.0.1.0/24"]);
    let open = ruleset_of(TWO_PODS, &Options { unknown_pods: UnknownPods::Allow, ..options("n1") }, &["10.0.1.0/24"]);
    for (a, b) in [("10.0.1.9", "10.0.1.3"), ("10.0.1.3", "10.0.1.9"), ("203.0.113.1", "10.0.1.9")] {
        let packet = packet(ip(a), ip(b), Protocol::Tcp, 80);
        assert!(!walk(&closed, Hook::Forward, packet).passes, "{a} -> {b}");
        assert!(walk(&open, Hook::Forward, packet).passes, "{a} -> {b}");
        assert!(!walk(&closed, Hook::Forward, Packet { tracked: false, ..packet }).passes, "{a} -> {b} untracked");
        assert!(walk(&closed, Hook::Output, Packet { from_node: true, ..packet }).passes, "{a} -> {b} from the node");
    }
    // Known ones are judged as ever.
    assert!(walk(&closed, Hook::Forward, packet(ip("10.0.1.3"), ip("203.0.113.1"), Protocol::Tcp, 80)).passes);
    assert!(walk(&closed, Hook::Forward, packet(ip("10.0.1.3"), ip("10.0.1.2"), Protocol::Tcp, 80)).passes);
    assert!(!walk(&closed, Hook::Forward, packet(ip("10.0.1.3"), ip("10.0.1.2"), Protocol::Tcp, 81)).passes);
}

#[test]
fn packets_without_a_connection_pass_where_nothing_isolates() {
    let ruleset = ruleset_of(TWO_PODS, &options("n1"), &[]);
    let untracked = |a, b| Packet { tracked: false, ..packet(ip(a), ip(b), Protocol::Tcp, 80) };
    assert!(!walk(&ruleset, Hook::Forward, untracked("10.0.1.3", "10.0.1.2")).passes);
    assert!(!walk(&ruleset, Hook::Forward, untracked("10.0.1.2", "10.0.1.3")).passes);
    assert!(walk(&ruleset, Hook::Forward, untracked("10.0.1.3", "203.0.113.1")).passes);
    let discovery = Packet { icmpv6: Some(135), protocol: None, ..untracked("fd00:1::9", "fd00:1::2") };
    assert!(walk(&ruleset, Hook::Forward, discovery).passes);
    assert!(!walk(&ruleset, Hook::Forward, Packet { icmpv6: Some(128), ..discovery }).passes);
}

#[test]
fn a_judged_connection_is_stamped_and_judged_again_by_the_next_generation() {
    let opts = options("n1");
    let first = ruleset_of(TWO_PODS, &opts, &[]);
    let allowed = packet(ip("10.0.1.3"), ip("10.0.1.2"), Protocol::Tcp, 80);
    let end = walk(&first, Hook::Forward, Packet { mark: 0x17, ..allowed });
    assert_eq!((end.passes, end.mark), (true, 0x0001_0017));
    // A stamp of this generation is not looked behind; one of another is.
    let denied = packet(ip("10.0.1.2"), ip("10.0.1.3"), Protocol::Tcp, 80);
    assert!(walk(&first, Hook::Forward, Packet { mark: opts.stamp(1), ..denied }).passes);
    assert!(!walk(&first, Hook::Forward, Packet { mark: opts.stamp(2), ..denied }).passes);
}

/// What rules log says all that cannot be seen in the packet, and logging changes no verdict.
#[test]
fn what_is_denied_is_logged_with_the_reason_and_the_way() {
    let all = ["10.0.1.0/24"];
    let ruleset = ruleset_of(TWO_PODS, &options("n1"), &all);
    let denied = packet(ip("203.0.113.1"), ip("10.0.1.2"), Protocol::Tcp, 81);
    let outwards = packet(ip("10.0.1.2"), ip("203.0.113.1"), Protocol::Tcp, 80);
    let unknown = packet(ip("10.0.1.9"), ip("203.0.113.1"), Protocol::Tcp, 80);
    let (reply, tracked) = (true, false);
    let expected = [
        (denied, "ingress"),
        (Packet { reply, ..denied }, "ingress reply"),
        (Packet { tracked, ..denied }, "ingress stray"),
        (outwards, "egress"),
        (Packet { reply, ..outwards }, "egress reply"),
        (unknown, "egress unknown"),
        (Packet { reply, ..unknown }, "egress unknown reply"),
        (Packet { tracked, ..unknown }, "egress unknown stray"),
        (packet(ip("203.0.113.1"), ip("10.0.1.9"), Protocol::Tcp, 80), "ingress unknown"),
        (packet(ip("fe80::1"), ip("fd00:1::2"), Protocol::Tcp, 80), "egress"),
    ];
    for (packet, said) in expected {
        let end = walk(&ruleset, Hook::Forward, packet);
        assert_eq!((end.passes, end.logged), (false, vec![said]), "{packet:?}");
        let quiet = ruleset_of(TWO_PODS, &Options { log_denied: false, ..options("n1") }, &all);
        let end = walk(&quiet, Hook::Forward, packet);
        assert_eq!((end.passes, end.logged), (false, Vec::new()), "{packet:?}");
        let audit = ruleset_of(TWO_PODS, &Options { audit: true, ..options("n1") }, &all);
        let end = walk(&audit, Hook::Forward, packet);
        assert_eq!((end.passes, end.logged.first()), (true, Some(&said)), "{packet:?}");
    }
    let allowed = packet(ip("10.0.1.3"), ip("10.0.1.2"), Protocol::Tcp, 80);
    assert_eq!(walk(&ruleset, Hook::Forward, allowed).logged, [""; 0]);
}

#[test]
fn audit_drops_nothing_and_counts_the_same() {
    let audit = ruleset_of(TWO_PODS, &Options { audit: true, ..options("n1") }, &["10.0.1.0/24"]);
    for (a, b) in [("10.0.1.2", "10.0.1.3"), ("10.0.1.9", "10.0.1.2")] {
        assert!(walk(&audit, Hook::Forward, packet(ip(a), ip(b), Protocol::Tcp, 80)).passes);
    }
    let end = walk(&audit, Hook::Forward, packet(ip("10.0.1.2"), ip("10.0.1.3"), Protocol::Tcp, 80));
    assert_eq!(end.logged, ["egress"]);
}

const NAMES: &str = "
apiVersion: netsim.dev/v1alpha1
kind: EgressDomainPolicy
metadata: {name: outside, namespace: x}
spec:
  podSelector: {matchLabels: {app: a}}
  egress:
  - to: [{domainNames: [api.example.com, '*.example.org']}]
    ports: [{port: 443}]
  - to: [{domainNames: [api.example.net]}]
";

/// G3: what a name stood for is open to connections that are established, and to no others.
#[test]
fn what_a_name_stood_for_is_open_to_established_connections_only() {
    let yaml = format!("{}---{NAMES}", TWO_PODS.replace("policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]"));
    let now = Instant::now();
    for many_lines in [16, 0] {
        let ingested = netsim_shared::ingest::ingest("test", yaml.as_bytes(), "default");
        assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
        let compiled = Compiled::new(&ClusterIndex::new(ingested.objects), &Modes::default());
        let mut renderer = Renderer::new(Options { many_lines, ..options("n1") });
        renderer.update(&compiled, &Changed::Anything);
        let mut timed = TimedElements::default();
        let elements = |set: &Name| {
            let of = &renderer.names()[set];
            let any_port = of.patterns.iter().any(|pattern| pattern.to_string() == "api.example.net");
            let last = match (any_port, of.family) {
                (false, Family::V4) => ["198.51.100.1", "198.51.100.2"],
                (false, Family::V6) => ["2001:db8::1", "2001:db8::2"],
                (true, Family::V4) => ["198.51.100.3", "198.51.100.4"],
                (true, Family::V6) => ["2001:db8::3", "2001:db8::4"],
            };
            let count = if of.seen { 2 } else { 1 };
            last.iter().take(count).map(|address| (ip(address), Duration::from_secs(60))).collect()
        };
        timed.follow(renderer.ruleset(), elements, now);
        assert_eq!(renderer.names().len(), 8, "two lists of names, two families, and what was seen");
        for (source, net) in [("10.0.1.2", "198.51.100."), ("fd00:1::2", "2001:db8::")] {
            for (last, port, new, established) in [
                (1, 443, true, true),
                (2, 443, false, true),
                (1, 80, false, false),
                (2, 80, false, false),
                (3, 80, true, true),
                (4, 80, false, true),
                (5, 443, false, false),
            ] {
                let packet = packet(ip(source), ip(&format!("{net}{last}")), Protocol::Tcp, port);
                let passes = |packet: Packet| walk_at(renderer.ruleset(), &timed, now, Hook::Forward, packet).passes;
                assert_eq!(passes(packet), new, "{packet:?}");
                for reply in [false, true] {
                    assert_eq!(passes(Packet { established: true, reply, ..packet }), established, "{packet:?}");
                }
                let later = now + Duration::from_secs(61);
                assert!(!walk_at(renderer.ruleset(), &timed, later, Hook::Forward, packet).passes);
            }
        }
        // The sets say what they are for.
        let text = table("netsim", renderer.ruleset());
        assert!(text.contains("flags timeout\n\t\tcomment \"api.example.com, *.example.org\""), "{text}");
    }
}

/// Lists of names that are too long for a comment still make sets of their own.
#[test]
fn long_lists_of_names_are_told_apart() {
    let rule = |last: usize| {
        let names: Vec<String> =
            (0..24).chain([last]).map(|n| format!("a-rather-long-name-of-a-service-{n}.example.com")).collect();
        format!("  - to: [{{domainNames: [{}]}}]\n", names.join(", "))
    };
    let head = NAMES.split("  - to").next().expect("the head");
    let ruleset = ruleset_of(&format!("{TWO_PODS}---{head}{}{}", rule(30), rule(31)), &options("n1"), &[]);
    let comments: BTreeSet<_> = ruleset.sets.values().filter_map(|set| set.comment.clone()).collect();
    assert_eq!(comments.len(), 2);
    for comment in &comments {
        assert!(comment.len() <= 127 && comment.contains(" more ("), "{comment}");
    }
    assert_eq!(canonical(&ruleset).sets.len(), ruleset.sets.len());
}
