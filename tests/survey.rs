//! The survey, read as its readers read it: what its rules add up to is what its verdicts say, for all
//! pairs of all fixtures and of random clusters, and both are what the evaluator answers.
#![allow(clippy::unwrap_used)]

use ipnet::IpNet;
use netsim_shared::cluster::{ClusterIndex, Key};
use netsim_shared::compile::{Compiled, EndpointKey, Modes};
use netsim_shared::evaluate::{Addresses, Party, allowed_ports, own_node};
use netsim_shared::list::{Listing, Options};
use netsim_shared::net::Family;
use netsim_shared::object::WorkloadKind;
use netsim_shared::ports::{PortRange, PortSet, Protocol};
use netsim_shared::survey::{
    Entity, MAY_V4, MAY_V6, Missing, NamedNumber, Policy, Ports, Rule, SURE_V4, SURE_V6, Side, Survey,
};
use netsim_testkit::{arbitrary, fixture, property, synthetic::Synthetic};
use proptest::test_runner::TestCaseError;
use std::collections::BTreeSet;

fn survey(index: &ClusterIndex, compiled: &Compiled, only: &[String]) -> Survey {
    let listing = Listing::new(compiled, Options { expand: false, outside: true });
    let survey = Survey::new(index, compiled, &listing, only);
    // Only what a reader of the text gets to know counts.
    let text = serde_json::to_string(&survey).unwrap();
    let read: Survey = serde_json::from_str(&text).unwrap();
    assert_eq!(read, survey, "it is read back as it was written");
    read
}

fn set(ports: &[Ports]) -> PortSet {
    let protocol = |number: u8| *Protocol::ALL.get(usize::from(number)).expect("a protocol");
    ports.iter().map(|(number, from, to)| PortRange { protocol: protocol(*number), from: *from, to: *to }).collect()
}

const FAMILIES: [(Family, u8, u8, u8); 2] = [(Family::V4, 1, SURE_V4, MAY_V4), (Family::V6, 2, SURE_V6, MAY_V6)];

/// How a rule's peers hold a kind.
fn how(side: &Side, rule: &Rule, kind: u32) -> u8 {
    let Some(peers) = rule.peers else { return SURE_V4 | SURE_V6 };
    let holds = side.peers[peers as usize].holds.iter();
    let within = |runs: &[(u32, u32)]| runs.iter().any(|(first, count)| (*first..first + count).contains(&kind));
    holds.filter(|(_, runs)| within(runs)).fold(0, |all, (how, _)| all | how)
}

/// The ports that one end's rules leave open to the other; `wanted` says how a rule must hold the peer.
fn open(survey: &Survey, side: &Side, ingress: bool, group: u32, kind: u32, wanted: u8) -> PortSet {
    let group = &side.groups[group as usize];
    if group.policies.is_empty() {
        return PortSet::all();
    }
    let names: &[NamedNumber] = if ingress { &group.names } else { &side.kinds[kind as usize] };
    let mut all = PortSet::EMPTY;
    for policy in &group.policies {
        let policy: &Policy = &survey.policies[*policy as usize];
        let rules = if ingress { &policy.ingress } else { &policy.egress };
        for rule in rules.as_ref().expect("a policy of a group isolates in its direction") {
            if how(side, rule, kind) & wanted == 0 {
                continue;
            }
            all = all.union(&set(&rule.ports));
            for (name, port) in names.iter().filter(|(name, _)| rule.names.contains(name)) {
                let (protocol, _) = side.names[*name as usize];
                all = all.union(&set(&[(protocol, *port, *port)]));
            }
        }
    }
    all
}

/// What the rules add up to in a family.
fn explained(survey: &Survey, from: &Entity, to: &Entity, wanted: u8) -> PortSet {
    let egress = open(survey, &survey.egress, false, from.egress, to.as_destination.unwrap(), wanted);
    egress.intersection(&open(survey, &survey.ingress, true, to.ingress, from.as_source.unwrap(), wanted))
}

/// Somebody that an entity stands for.
fn party(compiled: &Compiled, survey: &Survey, entity: &Entity) -> Party {
    let word = entity.word.as_ref().unwrap_or(&entity.name);
    let Some(namespace) = entity.namespace else {
        let block = word.split([' ', ',']).next().unwrap();
        return Party::Address(block.parse::<IpNet>().unwrap_or_else(|_| panic!("{word}")).network());
    };
    let namespace = &*survey.namespaces[namespace as usize].name;
    let name = word.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('/')).expect("its namespace comes first");
    let Some((kind, name)) = name.split_once('/') else {
        let key: Key = (namespace.into(), name.into());
        return Party::Endpoint(compiled.find(&EndpointKey::pod(&key)).expect("a pod"));
    };
    let kind = WorkloadKind::ALL.into_iter().find(|k| k.short() == kind).expect("a kind of workload");
    let mut entries = compiled.entries().filter(|(_, entry)| &*entry.endpoint.key.namespace == namespace);
    let of_workload = entries.find(|(_, e)| e.endpoint.workload.as_ref().is_some_and(|w| w.0 == kind && &*w.1 == name));
    Party::Endpoint(of_workload.expect("a pod of the workload").0)
}

/// Checks all pairs; gives back how many there are.
fn check(index: &ClusterIndex, modes: &Modes, only: &[String]) -> Result<usize, String> {
    let compiled = Compiled::new(index, modes);
    let listing = Listing::new(&compiled, Options { expand: false, outside: true });
    let survey = survey(index, &compiled, only);
    let mut pairs = 0;
    for (i, from) in survey.entities.iter().enumerate() {
        for (j, to) in survey.entities.iter().enumerate() {
            let Some(reach) = survey.reach(i, j) else { continue };
            let reach = &survey.reaches[reach as usize];
            let fail = |why: String| Err(format!("{} → {}: {why}\n{reach:?}\n{from:?}\n{to:?}", from.name, to.name));
            let (everywhere, mut may_differ, mut by_family) = (set(&reach.open), false, Vec::new());
            for (family, bit, sure, may) in FAMILIES {
                if from.families & to.families & bit == 0 {
                    continue;
                }
                let surely = explained(&survey, from, to, sure);
                may_differ |= explained(&survey, from, to, sure | may) != surely;
                by_family.push((family, surely));
            }
            pairs += 1;
            let common = by_family.iter().map(|(_, set)| set.clone()).reduce(|a, b| a.intersection(&b));
            let common = common.unwrap_or_default();
            if reach.own_node {
                if everywhere != PortSet::all() || from.host == to.host {
                    return fail("no pod and its own node".to_owned());
                }
            } else if everywhere != common {
                return fail(format!("the rules add up to {common}, the verdict is {everywhere}"));
            }
            for (family, only) in [(Family::V4, &reach.only_v4), (Family::V6, &reach.only_v6)] {
                let of_family = by_family.iter().find(|(f, _)| *f == family).map(|(_, set)| set.difference(&common));
                if !reach.own_node && of_family.clone().unwrap_or_default() != set(only) {
                    return fail(format!("over {family:?} only the rules add up to {of_family:?}"));
                }
            }
            let doubt = modes.strict || from.host || to.host;
            match reach.unknown {
                Some(Missing::Address) if !(doubt && may_differ) => return fail("no address decides it".to_owned()),
                Some(Missing::Node) if from.host == to.host => return fail("no node decides it".to_owned()),
                None if doubt && may_differ && !reach.own_node => return fail("an address decides it".to_owned()),
                _ => {}
            }
            // And all of that is what the evaluator says of one of them.
            let (a, b) = (party(&compiled, &survey, from), party(&compiled, &survey, to));
            if i == j && from.single {
                continue;
            }
            // Of several pods that are listed together some may be on the node (D2): the list says so beside
            // its verdicts.
            let listed = |list: &[netsim_shared::list::Entity], name: &str| list.iter().any(|e| e.name == name);
            let alone = from.pods * to.pods == 1
                && listed(&listing.sources, &from.name)
                && listed(&listing.destinations, &to.name);
            if from.namespace.is_some() && to.namespace.is_some() && !alone && own_node(&compiled, a, b) != Some(false)
            {
                continue;
            }
            if a == b {
                continue;
            }
            for (family, surely) in by_family {
                let asked = allowed_ports(&compiled, a, b, family, Addresses::Surely);
                let told = if reach.own_node { PortSet::all() } else { surely };
                // Blocks outside may hold a node's address, which one address of them may be.
                let node = from.namespace.is_none() || to.namespace.is_none();
                if asked != told && !(node && asked.is_all()) {
                    return fail(format!("the evaluator says {asked}, the survey {told}"));
                }
            }
        }
    }
    Ok(pairs)
}

/// Every pod and workload that takes part is in one entity.
fn everybody_is_there(index: &ClusterIndex, modes: &Modes) {
    let compiled = Compiled::new(index, modes);
    let survey = survey(index, &compiled, &[]);
    let counted: u32 = survey.entities.iter().filter(|e| e.namespace.is_some()).map(|e| e.pods).sum();
    assert_eq!(counted as usize, compiled.entries().count());
    let names: BTreeSet<&str> = survey.entities.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names.len(), survey.entities.len(), "each has a name of its own");
    let policies: Vec<(&str, &str)> = survey
        .policies
        .iter()
        .map(|p| (survey.namespaces[p.namespace as usize].name.as_str(), p.name.as_str()))
        .collect();
    let indexed: Vec<(&str, &str)> = index.policies().map(|p| (p.namespace.as_ref(), p.name.as_ref())).collect();
    assert_eq!(policies, indexed);
}

#[test]
fn rules_add_up_to_the_verdicts_of_all_fixtures() {
    let (mut pairs, mut wrong) = (0, Vec::new());
    for case in fixture::cases() {
        for step in case.steps.iter().filter(|step| step.error.is_none()) {
            let (index, modes) = (step.index(&case.folder), step.modes());
            everybody_is_there(&index, &modes);
            match check(&index, &modes, &[]) {
                Ok(count) => pairs += count,
                Err(why) => wrong.push(format!("{}, {}: {why}", case.folder.display(), step.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(pairs > 1000, "only {pairs} pairs");
}

#[test]
fn rules_add_up_to_the_verdicts_of_random_clusters() {
    let property = |cluster: arbitrary::Cluster| {
        let index = cluster.index();
        everybody_is_there(&index, &cluster.modes);
        check(&index, &cluster.modes, &[]).map_err(TestCaseError::fail)?;
        let some: Vec<String> = index.namespace_names().into_iter().take(1).map(str::to_owned).collect();
        check(&index, &cluster.modes, &some).map_err(TestCaseError::fail)?;
        Ok(())
    };
    property::check(400, arbitrary::cluster(), property);
}

/// A survey of some namespaces says of their pairs what the survey of all says.
#[test]
fn a_part_says_what_the_whole_says() {
    let index = Synthetic::new(300, 6, 5).index();
    let compiled = Compiled::new(&index, &Modes::default());
    let (whole, part) = (survey(&index, &compiled, &[]), survey(&index, &compiled, &["ns-02".to_owned()]));
    assert!(part.entities.len() < whole.entities.len());
    let at = |survey: &Survey, name: &str| survey.entities.iter().position(|e| e.name == name);
    let mut asked = 0;
    for (i, from) in whole.entities.iter().enumerate() {
        for (j, to) in whole.entities.iter().enumerate() {
            let (Some(a), Some(b)) = (at(&part, &from.name), at(&part, &to.name)) else {
                let open = whole.reach(i, j).is_some_and(|reach| reach != 0);
                let ours = [from, to].into_iter().any(|e| e.name.starts_with("ns-02/"));
                assert!(!(open && ours), "{} → {} is missing", from.name, to.name);
                continue;
            };
            let Some(reach) = part.reach(a, b) else { continue };
            asked += 1;
            let told = &whole.reaches[whole.reach(i, j).unwrap() as usize];
            assert_eq!(&part.reaches[reach as usize], told, "{} → {}", from.name, to.name);
        }
    }
    assert!(asked > 100, "{asked}");
}
