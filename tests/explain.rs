//! What is advised about a denial is true: the change allows the connection, and its YAML says the change.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::Compiled;
use netsim_shared::evaluate::{Outcome, Party, evaluate, families_between};
use netsim_shared::explain::{Asked, Change, advise_both};
use netsim_shared::ingest::ingest;
use netsim_shared::object::Object;
use netsim_shared::policy::{Direction, NetworkPolicy, Rule};
use netsim_shared::ports::Protocol;
use netsim_testkit::fixture::cases;

#[test]
fn the_smallest_change_allows_what_was_denied() {
    let (mut denials, mut without) = (0, 0);
    for case in cases() {
        for step in case.steps.iter().filter(|step| step.error.is_none()) {
            let index = step.index(&case.folder);
            let compiled = Compiled::new(&index, &step.modes());
            let parties: Vec<Party> = compiled.entries().map(|(id, _)| Party::Endpoint(id)).collect();
            let outside =
                ["192.0.2.1", "203.0.113.7", "2001:db8::7"].map(|a| Party::Address(a.parse().expect("an address")));
            for (source, destination) in
                parties.iter().flat_map(|a| parties.iter().chain(&outside).map(move |b| (*a, *b)))
            {
                for (source, destination) in [(source, destination), (destination, source)] {
                    for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
                        for family in families_between(&compiled, source, destination) {
                            let asked = Asked { source, destination, protocol, port, family, blocks: Vec::new() };
                            let decision = evaluate(&compiled, source, destination, protocol, port, family)
                                .expect("a common family");
                            if decision.outcome != Outcome::Denied {
                                continue;
                            }
                            denials += 1;
                            let advice = advise_both(&index, &compiled, &asked, &decision);
                            let changes: Vec<&Change> = advice.iter().filter_map(|(_, a)| a.change.as_ref()).collect();
                            let sides =
                                usize::from(!decision.egress.allows()) + usize::from(!decision.ingress.allows());
                            if changes.len() < sides {
                                // Nothing can name a host-network pod without an address.
                                without += 1;
                                continue;
                            }
                            let mut changed = index.clone();
                            for change in changes {
                                assert_eq!(read_back(change), change.rule, "{}", change.to_yaml());
                                // Both changes may be to one policy.
                                let key = (change.policy.namespace.clone(), change.policy.name.clone());
                                let mut policy =
                                    NetworkPolicy::clone(changed.policy(&key).expect("the policy is there"));
                                change.apply_to(&mut policy);
                                changed.apply(Object::NetworkPolicy(policy));
                            }
                            let recompiled = Compiled::new(&changed, &step.modes());
                            let after =
                                evaluate(&recompiled, source, destination, protocol, port, family).map(|d| d.outcome);
                            assert_eq!(
                                after,
                                Some(Outcome::Allowed),
                                "{} {}: {asked:?}",
                                case.folder.display(),
                                step.name
                            );
                        }
                    }
                }
            }
        }
    }
    assert!(denials > 1_000, "only {denials} denials were tried");
    assert!(without * 10 < denials, "{without} of {denials} denials had no change");
}

/// The rule of a change, from its YAML.
fn read_back(change: &Change) -> Rule {
    let (field, kind) = match change.direction {
        Direction::Ingress => ("ingress", "Ingress"),
        Direction::Egress => ("egress", "Egress"),
    };
    let rule: String = change.to_yaml().lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: x}}\nspec:\n  podSelector: {{}}\n  policyTypes: [{kind}]\n  {field}:\n{rule}"
    );
    let read = ingest("change.yaml", text.as_bytes(), "default");
    assert!(read.diagnostics.is_empty(), "{:?}\n{text}", read.diagnostics);
    let index = ClusterIndex::new(read.objects);
    let policy = index.policies().next().expect("one policy");
    policy.rules(change.direction).and_then(|rules| rules.first()).expect("one rule").clone()
}
