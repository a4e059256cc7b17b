//! Names outside: lists, differences and answers say the same of them as a naive reading of the policies, and what is
//! advised lets a name pass.
#![allow(clippy::unwrap_used)]

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Endpoint, EndpointId, Modes};
use netsim_shared::difference::{Both, Cluster, Difference, Options as DifferenceOptions};
use netsim_shared::dns::{DomainName, NamePattern};
use netsim_shared::evaluate::Party;
use netsim_shared::explain::advise_name;
use netsim_shared::ingest::ingest;
use netsim_shared::list::{Listing, Options, Pair};
use netsim_shared::manifest::policy_yaml;
use netsim_shared::net::{Family, family_of};
use netsim_shared::object::Object;
use netsim_shared::policy::{Direction, NetworkPolicy, Peer, PortMatch, Rule};
use netsim_shared::ports::Protocol;
use netsim_shared::query::name::judge_name;
use netsim_shared::query::{Question, Resolver, Verdict, ask};
use netsim_testkit::arbitrary::{NAMES, cluster};
use netsim_testkit::property::{Checked, check};
use proptest::test_runner::TestCaseError;

/// What the policies say of a name that nothing is known of, read straight from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Naive {
    /// It is open whatever the name is.
    open: bool,
    /// A rule has the name.
    by_name: bool,
    /// A block could hold its address.
    perhaps: bool,
}

fn naive(index: &ClusterIndex, who: &Endpoint, name: &NamePattern, protocol: Protocol, port: u16) -> Naive {
    let selects = |policy: &NetworkPolicy| {
        policy.namespace == who.key.namespace && policy.pod_selector.matches(&who.labels) && policy.egress.is_some()
    };
    let isolating: Vec<_> = index.policies().filter(|policy| !who.host_network && selects(policy)).collect();
    if isolating.is_empty() {
        return Naive { open: true, by_name: false, perhaps: false };
    }
    let on_port = |rule: &&Rule| match &rule.ports {
        None => true,
        Some(ports) => ports.iter().any(|item| match item {
            PortMatch::Range(range) => range.contains(protocol, port),
            PortMatch::Named(_) => false,
        }),
    };
    let rules: Vec<&Rule> =
        isolating.iter().flat_map(|policy| policy.egress.iter().flatten()).filter(on_port).collect();
    let peers = || rules.iter().flat_map(|rule| rule.peers.iter().flatten());
    let whole = |family: Family| {
        peers().any(|peer| match peer {
            Peer::Block(block) => {
                family_of(&block.cidr) == family && block.cidr.prefix_len() == 0 && block.except.is_empty()
            }
            _ => false,
        })
    };
    let families: Vec<Family> = who.families().collect();
    let everywhere = rules.iter().any(|rule| rule.peers.is_none());
    Naive {
        open: everywhere || (!families.is_empty() && families.into_iter().all(whole)),
        by_name: peers().any(|peer| match peer {
            Peer::Names(patterns) => patterns.iter().any(|pattern| name.is_within(pattern)),
            _ => false,
        }),
        perhaps: peers().any(|peer| matches!(peer, Peer::Block(_))),
    }
}

const PORTS: [u16; 8] = [1, 53, 79, 80, 443, 8080, 8081, 65535];

fn questions() -> impl Iterator<Item = (Protocol, u16)> {
    Protocol::ALL.into_iter().flat_map(|protocol| PORTS.map(|port| (protocol, port)))
}

fn fail(why: String) -> Checked {
    Err(TestCaseError::fail(why))
}

fn endpoints(compiled: &Compiled) -> Vec<(EndpointId, &Endpoint)> {
    compiled.entries().map(|(id, entry)| (id, entry.endpoint.as_ref())).collect()
}

/// Names that occur, and what policies write of them.
fn patterns() -> Vec<NamePattern> {
    let written = ["*.example.com", "*.a.example.com", "other.example", "*.b.a.example.com"];
    NAMES.iter().chain(&written).map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_name_is_judged_as_the_policies_read() {
    check(600, cluster(), |cluster| {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &Modes::default());
        for (id, who) in endpoints(&compiled) {
            for name in patterns() {
                for (protocol, port) in questions() {
                    let wanted = match naive(&index, who, &name, protocol, port) {
                        Naive { open: true, .. } | Naive { by_name: true, .. } => Verdict::Allowed,
                        Naive { perhaps: true, .. } => Verdict::Unknown,
                        _ => Verdict::Denied,
                    };
                    let judged = judge_name(&compiled, Party::Endpoint(id), &name, Some(protocol), Some(port));
                    if judged.verdict != wanted {
                        return fail(format!("{} → {name} {protocol} {port}: {wanted}, judged {judged:?}", who.key));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_list_has_the_names_that_rules_allow_beyond_what_is_open() {
    check(600, cluster(), |cluster| {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &Modes::default());
        for expand in [true, false] {
            let listing = Listing::new(&compiled, Options { expand, outside: true });
            let mut listed = Vec::new();
            listing.for_each(
                |to| to.pattern.is_some(),
                |from, to, pair| {
                    let (Pair::Open(reach) | Pair::Unknown(reach)) = pair;
                    assert!(reach.in_one_family.is_empty() && !reach.is_empty());
                    let pattern = to.pattern.clone().unwrap();
                    listed.extend(from.members.iter().map(|id| (*id, pattern.clone(), reach.ports.clone())));
                },
            );
            for (id, who) in endpoints(&compiled) {
                for name in NAMES {
                    let name: DomainName = name.parse().unwrap();
                    let exact = NamePattern::Exact(name.clone());
                    for (protocol, port) in questions() {
                        let says = naive(&index, who, &exact, protocol, port);
                        let mut of_pod =
                            listed.iter().filter(|(other, pattern, _)| *other == id && pattern.matches(&name));
                        let is_listed = of_pod.any(|(.., ports)| ports.contains(protocol, port));
                        if is_listed != (says.by_name && !says.open) {
                            return fail(format!(
                                "{} → {name} {protocol} {port}: {says:?}, listed {is_listed}",
                                who.key
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_list_about_a_name_has_all_that_reach_it() {
    check(300, cluster(), |cluster| {
        let index = cluster.index();
        // With what the modes know of names, too.
        let compiled = Compiled::new(&index, &cluster.modes);
        for name in patterns() {
            let listing = Listing::new(&compiled, Options { expand: true, outside: true }).about_name(&name);
            let mut listed = Vec::new();
            listing.for_each(
                |to| to.pattern.is_some(),
                |from, _, pair| {
                    let (Pair::Open(reach) | Pair::Unknown(reach)) = pair;
                    let unknown = matches!(pair, Pair::Unknown(_));
                    listed.extend(from.members.iter().map(|id| (*id, reach.ports.clone(), unknown)));
                },
            );
            for (id, who) in endpoints(&compiled) {
                let said = listed.iter().find(|(other, ..)| *other == id);
                // With addresses that are known the answer is about each of them.
                if compiled.modes().names.of_pattern(&name).is_some() {
                    continue;
                }
                for (protocol, port) in questions() {
                    let judged = judge_name(&compiled, Party::Endpoint(id), &name, Some(protocol), Some(port));
                    let open = said.is_some_and(|(_, ports, _)| ports.contains(protocol, port));
                    let unknown = said.is_some_and(|(.., unknown)| *unknown);
                    let good = match judged.verdict {
                        Verdict::Allowed => open,
                        Verdict::Unknown => !open && unknown,
                        Verdict::Denied | Verdict::Mixed => !open,
                    };
                    if !good {
                        return fail(format!(
                            "{} → {name} {protocol} {port}: {judged:?}, listed {open} {unknown}",
                            who.key
                        ));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_difference_tells_the_names_that_were_gained_and_lost() {
    check(600, (cluster(), cluster()), |(old, new)| {
        let indexes = Both { old: old.index(), new: new.index() };
        let compiled = indexes.map(|index| Compiled::new(index, &Modes::default()));
        let options = DifferenceOptions { outside: true, namespaces: Vec::new(), ports: None };
        let sides = Both {
            old: Cluster { index: &indexes.old, compiled: &compiled.old },
            new: Cluster { index: &indexes.new, compiled: &compiled.new },
        };
        let difference = Difference::new(sides, &options);
        for unit in difference.sources.iter().filter(|unit| unit.namespace.is_some()) {
            for pattern in patterns() {
                let changes = difference.changes.iter().filter(|change| {
                    difference
                        .pairs(change)
                        .any(|(from, to)| std::ptr::eq(from, unit) && to.pattern.as_ref() == Some(&pattern))
                });
                let changes: Vec<_> = changes.collect();
                let written = |index: &ClusterIndex| {
                    let peers =
                        index.policies().flat_map(|p| p.egress.iter().flatten()).flat_map(|r| r.peers.iter().flatten());
                    peers
                        .flat_map(|p| match p {
                            Peer::Names(n) => n.clone(),
                            _ => Vec::new(),
                        })
                        .any(|p| p == pattern)
                };
                let is_written = written(&indexes.old) || written(&indexes.new);
                for (a, b) in unit.members.old.iter().flat_map(|a| unit.members.new.iter().map(move |b| (*a, *b))) {
                    let (a, b) = (&compiled.old.entry(a).unwrap().endpoint, &compiled.new.entry(b).unwrap().endpoint);
                    for (protocol, port) in questions() {
                        let before = naive(&indexes.old, a, &pattern, protocol, port);
                        let after = naive(&indexes.new, b, &pattern, protocol, port);
                        let open = before.open || after.open;
                        let wanted = (
                            usize::from(is_written && !open && after.by_name && !before.by_name),
                            usize::from(is_written && !open && before.by_name && !after.by_name),
                        );
                        let told = (
                            changes.iter().filter(|c| c.gained.ports.contains(protocol, port)).count(),
                            changes.iter().filter(|c| c.lost.ports.contains(protocol, port)).count(),
                        );
                        // A pattern that no policy of the unit has is told by the wider one.
                        if told != wanted && !(told == (0, 0) && difference_by_wider(&difference, unit, &pattern)) {
                            return fail(format!(
                                "{} → {pattern} {protocol} {port}: {before:?} and then {after:?}, told {told:?}",
                                unit.name
                            ));
                        }
                        if told != (0, 0) && wanted == (0, 0) {
                            return fail(format!(
                                "{} → {pattern} {protocol} {port}: told, and nothing changed",
                                unit.name
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

/// Whether a wider pattern is told of a unit.
fn difference_by_wider(difference: &Difference, unit: &netsim_shared::difference::Unit, pattern: &NamePattern) -> bool {
    difference.changes.iter().any(|change| {
        difference.pairs(change).any(|(from, to)| {
            std::ptr::eq(from, unit)
                && to.pattern.as_ref().is_some_and(|wide| wide != pattern && pattern.is_within(wide))
        })
    })
}

#[test]
fn what_is_advised_lets_a_name_pass() {
    let asked = std::cell::Cell::new(0);
    check(600, cluster(), |cluster| {
        let index = cluster.index();
        let modes = Modes { names: Default::default(), ..cluster.modes.clone() };
        let compiled = Compiled::new(&index, &modes);
        for (_, who) in endpoints(&compiled).into_iter().filter(|(_, who)| !who.is_template()) {
            for (protocol, port) in [(Protocol::Tcp, 443), (Protocol::Udp, 53)] {
                let question = Question {
                    source: format!("{}/pod/{}", who.key.namespace, who.key.name),
                    destination: format!("api.partner.example:{port}"),
                    protocol: Some(protocol),
                    ..Question::default()
                };
                let resolver = Resolver { index: &index, compiled: &compiled, default_namespace: "default" };
                let answer = ask(&resolver, &question).map_err(|e| TestCaseError::fail(e.message))?;
                let [connection] = answer.connections.as_slice() else { return fail(format!("{answer:?}")) };
                if connection.verdict == Verdict::Allowed {
                    continue;
                }
                let fixes = advise_name(&index, &compiled, connection);
                let mut changed = index.clone();
                let before = changed.policies().count();
                for fix in &fixes {
                    let mut policy = fix.applied();
                    // Two rules may go to one policy.
                    if let netsim_shared::explain::Fix::Rule(change) = fix {
                        let key = (policy.namespace.clone(), policy.name.clone());
                        policy = NetworkPolicy::clone(changed.policy(&key).unwrap());
                        change.apply_to(&mut policy);
                    }
                    // What is told is what is meant.
                    let read = ingest("advice.yaml", policy_yaml(&policy, &[]).as_bytes(), "default");
                    let [Object::NetworkPolicy(read)] = read.objects.as_slice() else {
                        return fail(format!("{read:?}"));
                    };
                    changed.apply(Object::NetworkPolicy(read.clone()));
                }
                let new = changed.policies().count() - before;
                let recompiled = Compiled::new(&changed, &modes);
                // Nobody is isolated who was not.
                for (id, endpoint) in endpoints(&compiled) {
                    let isolated = |compiled: &Compiled, id| {
                        let group = compiled.entry(id).unwrap().egress;
                        compiled.side(Direction::Egress).policies_of(group).next().is_some()
                    };
                    let after = recompiled.find(&endpoint.key).unwrap();
                    if isolated(&compiled, id) != isolated(&recompiled, after) {
                        return fail(format!("{} is isolated by {fixes:?}", endpoint.key));
                    }
                }
                let resolver = Resolver { index: &changed, compiled: &recompiled, default_namespace: "default" };
                let after = ask(&resolver, &question).map_err(|e| TestCaseError::fail(e.message))?;
                // DNS servers on nodes whose addresses are not known cannot be named.
                let nameless = answer.connections.iter().any(|c| {
                    c.to_name
                        .as_ref()
                        .is_some_and(|to| matches!(&to.lookup, netsim_shared::cluster_dns::Lookup::Closed { .. }))
                });
                asked.set(asked.get() + 1);
                if after.verdict != Verdict::Allowed && !nameless {
                    return fail(format!(
                        "{question:?} is {} with {new} new policies: {fixes:?}\n{after:?}",
                        after.verdict
                    ));
                }
            }
        }
        Ok(())
    });
    assert!(asked.get() > 100, "{}", asked.get());
}
