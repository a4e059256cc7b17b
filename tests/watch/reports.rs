//! What an agent writes about policies: status entries and Events.

use crate::{Config, object};
use netsim_enforcer::observe::objects::{Objects, Pace, Problem, Report, Reports, start};
use netsim_enforcer::watch::connect;
use netsim_testkit::apiserver::ApiServer;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const API_VERSION: &str = "netsim.dev/v1alpha1";
const PLURAL: &str = "egressdomainpolicies";
const STATUS: &str = "PATCH /apis/netsim.dev/v1alpha1/namespaces/a/egressdomainpolicies/p/status?";
const EVENTS: &str = "POST /apis/events.k8s.io/v1/namespaces/a/events";

/// An agent's writer; dropping it is the end of the agent.
struct Agent {
    objects: Objects,
    _runtime: Runtime,
}

impl Agent {
    fn on(server: &ApiServer, node: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = Config::new(&server.kubeconfig());
        let client = runtime.block_on(connect(Some(config.as_ref()), None)).unwrap();
        let quick = Duration::from_millis(1);
        let _inside = runtime.enter();
        let objects = start(&client, node, Pace { gap: quick, collect: quick, longest: quick * 50 });
        drop(_inside);
        Agent { objects, _runtime: runtime }
    }

    /// There is this to say about the policy, as it is now.
    fn wants(&self, server: &ApiServer, problems: &[Problem]) {
        let policy = &server.objects(PLURAL)[0]["metadata"];
        let report = Report {
            uid: policy["uid"].as_str().unwrap().into(),
            generation: policy["generation"].as_i64().unwrap(),
            problems: problems.to_vec(),
        };
        self.objects.want(Reports::from([(("a".into(), "p".into()), report)]));
    }
}

fn policy(name: &str) -> Value {
    let mut policy = object(API_VERSION, "EgressDomainPolicy", Some("a"), "p");
    policy["spec"] = json!({"podSelector": {}, "egress": [{"to": [{"domainNames": [name]}]}]});
    policy
}

fn wildcard() -> Problem {
    Problem::UnsupportedWildcard {
        patterns: vec!["*.example.com".parse().unwrap()],
        because: "answers are not learned here".into(),
    }
}

fn unresolved(name: &str) -> Problem {
    Problem::Unresolved { names: vec![name.parse().unwrap()] }
}

/// The nodes with the types of their conditions.
fn nodes(policies: &[Value]) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let none = Vec::new();
    let nodes = policies[0]["status"]["nodes"].as_array().unwrap_or(&none);
    let types = |node: &Value| node["conditions"].as_array().unwrap().iter().map(|c| text(&c["type"])).collect();
    nodes.iter().map(|node| (text(&node["name"]), types(node))).collect()
}

/// Waits until the nodes say this.
fn until(server: &ApiServer, expected: &[(&str, &[&str])]) {
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(node, types)| ((*node).to_owned(), types.iter().map(|t| (*t).to_owned()).collect()))
        .collect();
    server.wait_for_objects(&format!("{expected:?}"), PLURAL, |policies| nodes(policies) == expected);
}

fn count(server: &ApiServer, front: &str) -> usize {
    server.targets().iter().filter(|target| target.starts_with(front)).count()
}

#[test]
fn each_node_has_its_entry_and_there_is_one_event() {
    let server = ApiServer::start(vec![policy("*.example.com")]);
    let (one, two) = (Agent::on(&server, "n1"), Agent::on(&server, "n2"));
    one.wants(&server, &[wildcard()]);
    until(&server, &[("n1", &["UnsupportedWildcard"])]);
    two.wants(&server, &[wildcard(), unresolved("a.example.com")]);
    until(&server, &[("n1", &["UnsupportedWildcard"]), ("n2", &["UnsupportedWildcard", "Unresolved"])]);
    server.wait_for_objects("two events", "events", |events| events.len() == 2);
    server.wait_for_requests("an event of each", |targets| {
        targets.iter().filter(|target| target.starts_with(EVENTS)).count() == 3
    });

    let entry = &server.objects(PLURAL)[0]["status"]["nodes"][0];
    let condition = &entry["conditions"][0];
    assert_eq!((&entry["observedGeneration"], &condition["observedGeneration"]), (&json!(1), &json!(1)));
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("OnlyExactNames")));
    let text =
        "`*.example.com` stands for nothing, so connections to such names are denied: answers are not learned here";
    assert_eq!(condition["message"], text);
    let event = server.objects("events").into_iter().find(|event| event["reason"] == "UnsupportedWildcard").unwrap();
    assert_eq!(event["note"], format!("on node `n1`, and perhaps on others, which the status lists: {text}"));
    assert_eq!((&event["type"], &event["reportingInstance"]), (&json!("Warning"), &json!("n1")));
    let regarding = &event["regarding"];
    assert_eq!((&regarding["kind"], &regarding["name"]), (&json!("EgressDomainPolicy"), &json!("p")));
    assert_eq!(regarding["uid"], server.objects(PLURAL)[0]["metadata"]["uid"]);

    // What is over goes, and what others say stays.
    two.wants(&server, &[unresolved("a.example.com")]);
    until(&server, &[("n1", &["UnsupportedWildcard"]), ("n2", &["Unresolved"])]);
    one.objects.want(Reports::new());
    until(&server, &[("n2", &["Unresolved"])]);
    // Another text of the policy is another Event.
    server.apply(policy("*.example.org"));
    one.wants(&server, &[wildcard()]);
    server.wait_for_objects("a third event", "events", |events| events.len() == 3);
    two.objects.want(Reports::new());
    until(&server, &[("n1", &["UnsupportedWildcard"])]);
    let status = &server.objects(PLURAL)[0]["status"]["nodes"][0];
    assert_eq!(status["observedGeneration"], 2);
}

#[test]
fn an_agent_goes_on_from_what_the_one_before_has_said() {
    let server = ApiServer::start(vec![policy("*.example.com")]);
    let first = Agent::on(&server, "n1");
    first.wants(&server, &[wildcard()]);
    server.wait_for_objects("an event", "events", |events| events.len() == 1);
    drop(first);
    let entry = server.objects(PLURAL)[0]["status"].clone();
    let (patches, events) = (count(&server, STATUS), count(&server, EVENTS));

    let second = Agent::on(&server, "n1");
    second.wants(&server, &[wildcard(), unresolved("a.example.com")]);
    until(&server, &[("n1", &["UnsupportedWildcard", "Unresolved"])]);
    server.wait_for_objects("an event", "events", |events| events.len() == 2);
    let now = server.objects(PLURAL)[0]["status"].clone();
    assert_eq!(now["nodes"][0]["conditions"][0], entry["nodes"][0]["conditions"][0], "since when it is so");
    assert_eq!((count(&server, STATUS), count(&server, EVENTS)), (patches + 1, events + 1));
    drop(second);

    // One that has nothing to say takes back what is no longer so.
    let third = Agent::on(&server, "n1");
    third.objects.want(Reports::new());
    until(&server, &[]);
}

#[test]
fn what_is_forbidden_is_tried_again_and_stops_nothing_else() {
    let server = ApiServer::start(vec![policy("*.example.com")]);
    server.forbid("egressdomainpolicies/status");
    let agent = Agent::on(&server, "n1");
    agent.wants(&server, &[wildcard()]);
    server.wait_for_objects("the event", "events", |events| events.len() == 1);
    server.wait_for_requests("it is tried again", |targets| {
        targets.iter().filter(|target| target.starts_with(STATUS)).count() >= 3
    });
    server.allow_all();
    until(&server, &[("n1", &["UnsupportedWildcard"])]);

    server.forbid("events");
    agent.wants(&server, &[wildcard(), unresolved("a.example.com")]);
    until(&server, &[("n1", &["UnsupportedWildcard", "Unresolved"])]);
    assert_eq!(server.objects("events").len(), 1);
}

#[test]
fn a_server_that_is_away_or_busy_is_waited_for() {
    let server = ApiServer::start(vec![policy("*.example.com")]);
    let agent = Agent::on(&server, "n1");
    server.fail_next(503, "busy");
    server.drop_next_connections(2);
    agent.wants(&server, &[wildcard()]);
    until(&server, &[("n1", &["UnsupportedWildcard"])]);
    server.wait_for_objects("the event", "events", |events| events.len() == 1);
    server.fail_next(500, "etcd is away");
    agent.objects.want(Reports::new());
    until(&server, &[]);
}

#[test]
fn a_policy_that_went_is_not_asked_for_again() {
    let server = ApiServer::start(vec![policy("*.example.com")]);
    let agent = Agent::on(&server, "n1");
    agent.wants(&server, &[wildcard()]);
    until(&server, &[("n1", &["UnsupportedWildcard"])]);
    server.wait_for_objects("the event", "events", |events| events.len() == 1);
    let before = count(&server, STATUS);
    server.delete(PLURAL, "a", "p");
    agent.objects.want(Reports::new());
    server.wait_for_requests("the entry is taken out", |targets| {
        targets.iter().filter(|target| target.starts_with(STATUS)).count() > before
    });
    // Another of the same name has a status and an Event of its own.
    server.apply(policy("*.example.org"));
    agent.wants(&server, &[wildcard()]);
    until(&server, &[("n1", &["UnsupportedWildcard"])]);
    server.wait_for_objects("its event", "events", |events| events.len() == 2);
    assert_eq!(count(&server, STATUS), before + 2);
}

#[test]
fn without_a_definition_there_is_nothing_to_say_until_it_is_installed() {
    let server = ApiServer::start(Vec::new());
    let agent = Agent::on(&server, "n1");
    agent.objects.want(Reports::new());
    server.wait_for_requests("the first list", |targets| {
        targets.iter().any(|target| target.starts_with("/apis/netsim.dev/v1alpha1/egressdomainpolicies?"))
    });
    server.apply(policy("*.example.com"));
    agent.wants(&server, &[wildcard()]);
    until(&server, &[("n1", &["UnsupportedWildcard"])]);
    server.wait_for_objects("the event", "events", |events| events.len() == 1);
    assert_eq!(server.targets().len(), 3, "{:#?}", server.targets());
    server.uninstall(PLURAL);
    agent.objects.want(Reports::new());
    server.wait_for_requests("the entry is taken out", |targets| {
        targets.iter().filter(|target| target.starts_with(STATUS)).count() == 2
    });
    server.apply(policy("*.example.com"));
    agent.wants(&server, &[wildcard()]);
    until(&server, &[("n1", &["UnsupportedWildcard"])]);
    assert_eq!(count(&server, STATUS), 3, "{:#?}", server.targets());
}
