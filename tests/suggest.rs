//! What is suggested keeps its promise on random clusters: what was named is allowed afterwards, or is
//! said not to be; what was not named is denied by default; and the YAML says the policy.
//!
//! `PROPTEST_CASES=20000 cargo test --test suggest` looks further, from another seed each time.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, EndpointId};
use netsim_shared::default_deny::DefaultDeny;
use netsim_shared::evaluate::{Outcome, Party, evaluate, families_between};
use netsim_shared::explain::GENERATED_LABELS;
use netsim_shared::ingest::ingest;
use netsim_shared::manifest::policy_yaml;
use netsim_shared::object::Object;
use netsim_shared::policy::{Direction, NetworkPolicy};
use netsim_shared::ports::Protocol;
use netsim_shared::query::resolve::Named;
use netsim_shared::suggest::{Destined, Need, SYSTEM_NAMESPACES, Suggestion, Whole, Wish, suggest};
use netsim_testkit::arbitrary::{cluster, policy};
use netsim_testkit::property::check;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::cell::Cell;

/// The policy that a text says.
fn read_back(text: &str) -> NetworkPolicy {
    let read = ingest("suggested.yaml", text.as_bytes(), "default");
    assert!(read.diagnostics.is_empty(), "{:?}\n{text}", read.diagnostics);
    match read.objects.into_iter().next() {
        Some(Object::NetworkPolicy(policy)) => policy,
        other => panic!("{other:?}\n{text}"),
    }
}

fn need(compiled: &Compiled, from: usize, to: usize, protocol: usize, port: u16) -> Option<Need> {
    let ids: Vec<EndpointId> = compiled.entries().map(|(id, _)| id).collect();
    let named = |at: usize| {
        let id = *ids.get(at % ids.len().max(1))?;
        Some(Named::one(compiled.entry(id)?.endpoint.key.to_string(), Party::Endpoint(id)))
    };
    let (source, destination) = (named(from)?, named(to)?);
    (source.party != destination.party).then(|| Need {
        source,
        source_whole: Whole::No,
        destination: Destined::Party(destination),
        destination_whole: Whole::No,
        protocol: Protocol::ALL.get(protocol % 3).copied(),
        port: Some(port),
        by: format!("{from}-{to}-{port}"),
    })
}

/// Whether rules can name it: a pod off its node's network, with labels of its own, whose namespace is
/// not one of the system's.
fn can_be_named(compiled: &Compiled, party: Party) -> bool {
    let Party::Endpoint(id) = party else { return true };
    compiled.entry(id).is_some_and(|entry| {
        let e = &entry.endpoint;
        let labelled = e.labels.iter().any(|(key, _)| !GENERATED_LABELS.contains(&key));
        !e.host_network && labelled && !SYSTEM_NAMESPACES.contains(&e.key.namespace.as_ref())
    })
}

/// The cluster with what was suggested, as it is read from its YAML.
fn applied(index: &ClusterIndex, suggestion: &Suggestion) -> ClusterIndex {
    let mut after = index.clone();
    for suggested in &suggestion.policies {
        let read = read_back(&policy_yaml(&suggested.policy, &suggested.why));
        assert_eq!(read, suggested.policy);
        after.apply(Object::NetworkPolicy(read));
    }
    after
}

#[test]
fn what_is_named_is_allowed_and_the_rest_is_denied() {
    let (met, unmet) = (Cell::new(0_u32), Cell::new(0_u32));
    let wishes = vec((0..50_usize, 0..50_usize, 0..3_usize, 1..100_u16), 0..6);
    check(400, (cluster(), wishes), |(cluster, wishes)| {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &cluster.modes);
        let needs: Vec<Need> =
            wishes.into_iter().filter_map(|(from, to, p, port)| need(&compiled, from, to, p, port)).collect();
        let suggestion = suggest(&index, &compiled, &Wish { namespaces: &[], dns: false, needs: &needs });
        let after = applied(&index, &suggestion);
        let compiled = Compiled::new(&after, &cluster.modes);
        for need in &needs {
            let told = suggestion.unmet.iter().any(|unmet| unmet.by == need.by && unmet.need == need.to_string());
            let Destined::Party(destination) = &need.destination else { continue };
            let families = families_between(&compiled, need.source.party, destination.party);
            let open = !families.is_empty()
                && families.iter().all(|family| {
                    let protocol = need.protocol.unwrap_or(Protocol::Tcp);
                    let port = need.port.unwrap_or(1);
                    let decision = evaluate(&compiled, need.source.party, destination.party, protocol, port, *family);
                    decision.is_some_and(|decision| decision.outcome == Outcome::Allowed)
                });
            if told == open {
                return Err(TestCaseError::fail(format!("{need}: told as unmet: {told}, open: {open}")));
            }
            let ends = [need.source.party, destination.party];
            if !open && !families.is_empty() && ends.iter().all(|party| can_be_named(&compiled, *party)) {
                return Err(TestCaseError::fail(format!("{need} could have been allowed: {:?}", suggestion.unmet)));
            }
            let count = if open { &met } else { &unmet };
            count.set(count.get() + 1);
        }
        for suggested in suggestion.policies.iter().filter(|s| s.policy.name.starts_with("default-deny")) {
            for direction in Direction::ALL.into_iter().filter(|d| suggested.policy.rules(*d).is_some()) {
                let found = DefaultDeny::of(&after, &compiled, &suggested.policy.namespace, direction);
                if !found.is_in_force() {
                    return Err(TestCaseError::fail(format!("{} {direction}", suggested.policy.namespace)));
                }
            }
        }
        Ok(())
    });
    assert!(met.get() > 300 && unmet.get() < met.get(), "{} met, {} not", met.get(), unmet.get());
}

#[test]
fn every_policy_survives_its_yaml() {
    check(500, policy(), |manifest| {
        let Object::NetworkPolicy(policy) = manifest.means else { return Ok(()) };
        // A policy for nothing cannot be written: an API server fills in the types.
        if policy.ingress.is_some() || policy.egress.is_some() {
            let read = read_back(&policy_yaml(&policy, &["why\nand why".to_owned()]));
            prop_assert_eq!(&read, &policy);
        }
        Ok(())
    });
}
