//! Nothing is asked for that is not needed: metadata where that is enough, no pods that have finished, lists
//! compressed.

use crate::{Updates, cluster, key, keys, listed, object, pod, pod_lists, pod_of, pod_watches, whole_pod};
use netsim_enforcer::watch::{Update, Watched};
use netsim_shared::object::{Namespace, Object};
use netsim_testkit::apiserver::ApiServer;
use serde_json::{Value, json};

fn namespace_of(update: &Update) -> Option<&Namespace> {
    match update {
        Update::Apply(Object::Namespace(namespace)) => Some(namespace),
        _ => None,
    }
}

/// A namespace with labels, an annotation that the index looks at, and a spec that nobody does.
fn labelled(name: &str, team: &str) -> Value {
    let mut namespace = object("v1", "Namespace", None, name);
    namespace["metadata"]["labels"] = json!({"team": team});
    namespace["spec"] = json!({"finalizers": ["x".repeat(10_000)]});
    namespace
}

/// What is told of namespaces by a list, by changes, and by a list after changes were lost.
fn told_of_namespaces(server: &ApiServer) -> Vec<Update> {
    let (mut updates, first) = Updates::in_sync(server);
    let mut told = first;
    server.apply(labelled("red", "pink"));
    server.apply(labelled("new", "blue"));
    told.extend(updates.until("the new one", |update| namespace_of(update).is_some_and(|n| &*n.name == "new")));
    server.delete("namespaces", "", "new");
    told.extend(updates.until("its end", |update| matches!(update, Update::Delete(Watched::Namespaces, _))));
    server.hold_watches();
    server.delete("namespaces", "", "red");
    server.compact();
    server.release_watches();
    told.extend(updates.until("a list", |update| matches!(update, Update::Listed(Watched::Namespaces, _))));
    let of_namespaces = |update: &Update| match update {
        Update::Delete(kind, _) | Update::Listed(kind, _) => *kind == Watched::Namespaces,
        update => namespace_of(update).is_some(),
    };
    told.retain(of_namespaces);
    told
}

#[test]
fn of_namespaces_only_metadata_is_sent_and_a_server_that_sends_more_is_understood() {
    let light = ApiServer::start(vec![labelled("red", "red"), labelled("a", "none")]);
    let whole = ApiServer::start(vec![labelled("red", "red"), labelled("a", "none")]);
    whole.send_whole_objects();
    let told = told_of_namespaces(&light);
    assert_eq!(told, told_of_namespaces(&whole));
    let teams: Vec<_> =
        told.iter().filter_map(namespace_of).map(|n| (&*n.name, n.labels.get("team").unwrap())).collect();
    assert_eq!(teams, [("a", "none"), ("red", "red"), ("red", "pink"), ("new", "blue"), ("a", "none")]);
    assert_eq!(listed(&told, Watched::Namespaces), [keys("", ["a", "red"]), keys("", ["a"])]);

    let [light, whole] = [light.sent("namespaces"), whole.sent("namespaces")];
    assert!(light.lists < 3_000 && whole.lists > 30_000, "{light:?} {whole:?}");
    assert!(light.watches < 6_000 && whole.watches > 30_000, "{light:?} {whole:?}");
}

#[test]
fn only_namespaces_are_asked_for_by_their_metadata() {
    let server = ApiServer::start(cluster(1));
    let (_, first) = Updates::in_sync(&server);
    let pod = first.iter().find_map(pod_of).unwrap();
    assert_eq!((pod.spec.node.as_deref(), pod.addresses.len()), (Some("n1"), 1));
}

fn phase(name: &str, phase: &str) -> Value {
    let mut pod = pod(name);
    pod["status"]["phase"] = phase.into();
    pod
}

#[test]
fn pods_that_have_finished_are_not_sent_and_one_that_finishes_goes() {
    let mut objects = cluster(1);
    objects.extend([phase("done", "Succeeded"), phase("lost", "Failed"), phase("to-come", "Pending")]);
    let server = ApiServer::start(objects);
    let (mut updates, first) = Updates::in_sync(&server);
    assert_eq!(listed(&first, Watched::Pods), [keys("a", ["p00000", "to-come"])]);
    let targets = server.targets();
    let asked = "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
    let of_pods: Vec<_> = targets.iter().filter(|target| target.starts_with("/api/v1/pods?")).collect();
    assert!(of_pods.len() == 2 && of_pods.iter().all(|target| target.contains(asked)), "{of_pods:#?}");

    // Whatever becomes of those that have finished, nothing is told of it.
    server.apply(phase("done", "Failed"));
    server.delete("pods", "a", "done");
    for (name, end) in [("p00000", "Succeeded"), ("to-come", "Failed")] {
        server.apply(phase(name, end));
        server.delete("pods", "a", name);
        // A pod of the same name is another one.
        server.apply(phase(name, "Running"));
        let came = updates.until(name, |update| pod_of(update).is_some());
        let [Update::Delete(Watched::Pods, gone), Update::Apply(_)] = came.as_slice() else { panic!("{came:#?}") };
        assert_eq!(*gone, key("a", name));
    }
    // The revision at which one finished counts as seen: nothing is lost, and nothing is listed again.
    server.apply(phase("to-come", "Succeeded"));
    updates.until("the end", |update| matches!(update, Update::Delete(..)));
    let revision = server.revision();
    server.compact();
    server.cut_watches();
    updates.until_marker(&server, "marker");
    let targets = server.targets();
    assert!(pod_watches(&targets)[1].ends_with(&format!("resourceVersion={revision}")), "{targets:#?}");
    assert_eq!(pod_lists(&server), 1);
}

#[test]
fn a_pod_that_finishes_while_nobody_watches_is_missing_in_the_list() {
    let server = ApiServer::start(cluster(2));
    let (mut updates, _) = Updates::in_sync(&server);
    server.hold_watches();
    server.apply(phase("p00000", "Failed"));
    server.compact();
    server.release_watches();
    let came = updates.until("a list", |update| matches!(update, Update::Listed(Watched::Pods, _)));
    assert_eq!(listed(&came, Watched::Pods), [keys("a", ["p00001"])]);
}

#[test]
fn long_lists_come_compressed() {
    let server = ApiServer::start((0..600).map(whole_pod).collect());
    let (_, first) = Updates::in_sync(&server);
    assert_eq!(first.iter().filter_map(pod_of).count(), 600);
    let sent = server.sent("pods");
    assert!(sent.lists > 600 * 2_000 && sent.lists_on_wire * 4 < sent.lists, "{sent:?}");
}

#[test]
fn watches_of_agents_that_began_together_do_not_end_together() {
    let server = ApiServer::start(cluster(1));
    let agents: Vec<Updates> = (0..8).map(|_| Updates::of(&server)).collect();
    server.wait_for_watches("pods", agents.len());
    let targets = server.targets();
    let lasts = |target: &&String| {
        let (_, rest) = target.split_once("timeoutSeconds=").unwrap();
        rest.split('&').next().unwrap().parse::<u64>().unwrap()
    };
    let mut all: Vec<u64> = pod_watches(&targets).iter().map(lasts).collect();
    all.sort_unstable();
    all.dedup();
    assert!(all.iter().all(|lasts| (190..=290).contains(lasts)) && all.len() > 2, "{all:?}");
}
