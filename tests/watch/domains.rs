//! A kind that a cluster may not have: EgressDomainPolicies, whose definition has to be installed.

use crate::{Updates, cluster, key, keys, listed, object, policy, policy_of};
use netsim_enforcer::watch::{Update, Watched};
use netsim_shared::policy::{NetworkPolicy, PolicyKind};
use netsim_testkit::apiserver::ApiServer;
use serde_json::{Value, json};

const API_VERSION: &str = "netsim.dev/v1alpha1";
const PLURAL: &str = "egressdomainpolicies";

fn domain_policy(name: &str, names: Value) -> Value {
    let mut policy = object(API_VERSION, "EgressDomainPolicy", Some("a"), name);
    policy["spec"] =
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "egress": [{"to": [{"domainNames": names}]}]});
    policy
}

fn is_listed(update: &Update) -> bool {
    matches!(update, Update::Listed(Watched::DomainPolicies, _))
}

fn domain_policies(updates: &[Update]) -> Vec<&NetworkPolicy> {
    let of_kind = |policy: &&NetworkPolicy| policy.kind == PolicyKind::EgressDomainPolicy;
    updates.iter().filter_map(policy_of).filter(of_kind).collect()
}

fn failures(updates: &[Update]) -> usize {
    updates.iter().filter(|update| matches!(update, Update::Failing { kind: Watched::DomainPolicies, .. })).count()
}

#[test]
fn without_a_definition_there_are_none_until_it_is_installed() {
    let server = ApiServer::start(cluster(1));
    let (mut updates, first) = Updates::in_sync(&server);
    assert_eq!(listed(&first, Watched::DomainPolicies), [keys("a", [])]);
    assert_eq!(failures(&first), 0, "{first:#?}");

    server.install(API_VERSION, "EgressDomainPolicy");
    let came = updates.until("the list", is_listed);
    assert_eq!(listed(&came, Watched::DomainPolicies), [keys("a", [])]);
    assert!(
        !came.iter().any(|update| matches!(update, Update::Failing { .. } | Update::Recovered { .. })),
        "{came:#?}"
    );

    server.wait_for_watches(PLURAL, 1);
    server.apply(domain_policy("out", json!(["Db.Example.com", "*.example.com"])));
    let Update::Identified { kind, key: named, uid, generation: 1 } = updates.next() else {
        panic!("{:#?}", updates.tail())
    };
    assert_eq!((kind, named, uid.is_empty()), (PolicyKind::EgressDomainPolicy, key("a", "out"), false));
    let came = updates.next();
    let policy = policy_of(&came).unwrap();
    assert_eq!((policy.kind, &*policy.name), (PolicyKind::EgressDomainPolicy, "egressdomainpolicy/out"));
    assert_eq!((&policy.ingress, policy.egress.as_ref().map(Vec::len)), (&None, Some(1)));
    server.apply(domain_policy("out", json!(["db.example.com"])));
    assert!(matches!(updates.next(), Update::Identified { generation: 2, .. }));
    updates.next();
    server.delete(PLURAL, "a", "out");
    assert_eq!(updates.next(), Update::Delete(Watched::DomainPolicies, key("a", "egressdomainpolicy/out")));
}

#[test]
fn they_are_listed_by_what_the_index_calls_them() {
    let mut objects = cluster(1);
    // A NetworkPolicy of the same name.
    objects.extend([domain_policy("deny", json!(["a.example"])), domain_policy("out", json!(["b.example"]))]);
    let (_, first) = Updates::in_sync(&ApiServer::start(objects));
    let names = ["egressdomainpolicy/deny", "egressdomainpolicy/out"];
    assert_eq!(listed(&first, Watched::DomainPolicies), [keys("a", names)]);
    assert_eq!(listed(&first, Watched::Policies), [keys("a", ["deny"])]);
    assert_eq!(domain_policies(&first).len(), 2);
}

#[test]
fn with_their_definition_they_go() {
    let mut objects = cluster(1);
    objects.push(domain_policy("out", json!(["a.example"])));
    let server = ApiServer::start(objects);
    let (mut updates, _) = Updates::in_sync(&server);
    server.uninstall(PLURAL);
    let came = updates.until("the empty list", is_listed);
    assert_eq!(came[0], Update::Delete(Watched::DomainPolicies, key("a", "egressdomainpolicy/out")));
    assert_eq!(listed(&came, Watched::DomainPolicies), [keys("a", [])]);
    updates.until("the recovery", |update| *update == Update::Recovered { kind: Watched::DomainPolicies });
    server.install(API_VERSION, "EgressDomainPolicy");
    server.apply(domain_policy("new", json!(["a.example"])));
    let came = updates.until("the list", is_listed);
    assert_eq!(listed(&came, Watched::DomainPolicies), [keys("a", ["egressdomainpolicy/new"])]);
}

#[test]
fn that_they_are_gone_is_not_believed_at_once() {
    let mut objects = cluster(1);
    objects.push(domain_policy("out", json!(["a.example"])));
    let server = ApiServer::start(objects);
    let (mut updates, _) = Updates::in_sync(&server);
    // A server that says so for a while, as one that is starting: nothing is taken for gone.
    server.hide(PLURAL);
    server.cut_watches();
    let mut came = updates.until("a failure", |update| {
        matches!(update, Update::Failing { kind: Watched::DomainPolicies, error, .. } if error.contains("404"))
    });
    server.show_all();
    came.extend(updates.until("the recovery", |update| *update == Update::Recovered { kind: Watched::DomainPolicies }));
    assert!(!came.iter().any(|update| matches!(update, Update::Delete(..))), "{came:#?}");
    assert!(listed(&came, Watched::DomainPolicies).iter().all(|keys| keys.len() == 1), "{came:#?}");
    server.wait_for_watches(PLURAL, 1);

    // One that goes on saying so is believed, although it told of no deletion.
    server.hide(PLURAL);
    server.cut_watches();
    let came = updates.until(
        "the empty list",
        |update| matches!(update, Update::Listed(Watched::DomainPolicies, keys) if keys.is_empty()),
    );
    assert!(failures(&came) >= 5, "{came:#?}");
}

#[test]
fn what_is_forbidden_is_not_taken_for_absent() {
    let server = ApiServer::start(cluster(1));
    server.forbid(PLURAL);
    let mut updates = Updates::of(&server);
    let came = updates.until("a refusal", |update| matches!(update, Update::Failing { .. }));
    let Some(Update::Failing { kind: Watched::DomainPolicies, error, .. }) = came.last() else { panic!("{came:#?}") };
    let rule = r#"{apiGroups: ["netsim.dev"], resources: [egressdomainpolicies], verbs: [list, watch]}"#;
    assert!(error.contains(rule), "{error}");
    assert_eq!(listed(&came, Watched::DomainPolicies), []);
    server.allow_all();
    updates.until("the recovery", |update| *update == Update::Recovered { kind: Watched::DomainPolicies });
}

#[test]
fn an_unreadable_one_closes_the_egress_of_what_it_selects() {
    let mut objects = cluster(1);
    objects.push(domain_policy("out", json!(["10.0.0.1"])));
    objects.push(policy("out", json!({"podSelector": {}, "policyTypes": ["Ingress"]})));
    let (_, first) = Updates::in_sync(&ApiServer::start(objects));
    let [closed] = domain_policies(&first)[..] else { panic!("{first:#?}") };
    assert_eq!((&*closed.name, &closed.ingress, &closed.egress), ("egressdomainpolicy/out", &None, &Some(vec![])));
    assert!(closed.pod_selector.to_string().contains("web"));
    let told = first.iter().find_map(|update| match update {
        Update::Unreadable { kind: Watched::DomainPolicies, key, diagnostics } => Some((key, diagnostics)),
        _ => None,
    });
    let (named, diagnostics) = told.unwrap();
    assert_eq!(*named, key("a", "egressdomainpolicy/out"));
    let told: String = diagnostics.iter().map(ToString::to_string).collect();
    assert!(
        told.contains("`10.0.0.1` is an address") && told.contains("EgressDomainPolicy `a/out` cannot be read"),
        "{told}"
    );
}
