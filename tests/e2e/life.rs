//! The whole life of an installation: before it, its start, changes, restarts, an upgrade, its end.

use crate::server::{SYSTEM, eventually};
use crate::world::{BRIDGE, World, timeout};
use netsim_testkit::command::root;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const EDP: &str = "/apis/netsim.dev/v1alpha1/namespaces";
/// What an operator writes: the base with a component, and the image.
fn overlay(folder: &Path, tag: &str) -> String {
    let folder = folder.join("overlay");
    fs::create_dir_all(&folder).expect("a folder");
    let up: String = folder.components().skip(1).map(|_| "../").collect();
    let base = format!("{up}{}/deploy/kustomize", root().display().to_string().trim_start_matches('/'));
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [{base}/base]\n\
         components: [{base}/components/bridge]\n\
         images: [{{name: netsim-enforcer, newName: registry.example.com/netsim-enforcer, newTag: {tag}}}]\n"
    );
    fs::write(folder.join("kustomization.yaml"), text).expect("a file");
    folder.display().to_string()
}

/// Only these may connect to `db`.
pub fn only(from: Value) -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": from, "ports": [{"port": "http"}]}],
    })
}

fn app(name: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"app": name}}})
}

pub fn from_start_to_end() {
    let mut world = World::new("from start to end");
    world.apply(&world.policy("shop", "db", only(json!([app("web")]))));
    world.assert_open("before the enforcer");

    start(&world);
    world.assert_reach("started", &["client>db", "job>db", "visitor>db"]);
    told(&world);
    change(&mut world);
    world.assert_reach("changed", &["newcomer>db", "job>db", "visitor>db"]);
    names(&world);
    disturb(&world);
    upgrade(&world);
    remove(&mut world);
    world.assert_no_refusal();
}

fn start(world: &World) {
    // What the component of bridges is for.
    world.node(2).exec(|| BRIDGE.iter().try_for_each(|setting| fs::write(setting, "0"))).expect("settings");
    let overlay = overlay(world.folder.path(), "0.1.0");
    world.shell.does(&format!("kubectl apply -k {overlay}"));
    world.shell.does(&format!("kubectl -n {SYSTEM} rollout status daemonset/netsim-enforcer {}", timeout()));
    let settings = world.node(2).exec(|| BRIDGE.map(|setting| fs::read_to_string(setting).expect("a setting")));
    assert_eq!(settings.map(|value| value.trim().to_owned()), ["1", "1", "1"], "the component of bridges did nothing");
    assert_eq!(world.agents().len(), 2);
    for n in [1, 2] {
        assert!(world.has_table(n), "node {n} has no table");
    }
    // What is in a pod is what its manifest says: no file of the image can be written, and nothing be mounted.
    let log = world.shell.does(&format!("kubectl -n {SYSTEM} logs daemonset/netsim-enforcer"));
    assert!(log.contains("the table is in place"), "{log}");
    let version =
        world.shell.does(&format!("kubectl -n {SYSTEM} exec ds/netsim-enforcer -- netsim-enforcer --version"));
    assert!(version.starts_with("netsim-enforcer "), "{version}");
}

/// What was denied is told by the agent of its node, over its socket, and by Events on the pods.
fn told(world: &World) {
    let agents = world.agents();
    let on_node = |agent: &&Value| agent["spec"]["nodeName"] == world.node(2).name();
    let agent = agents.iter().find(on_node).expect("an agent")["metadata"]["name"].as_str().expect("a name");
    let flows = format!("kubectl -n {SYSTEM} exec {agent} -- netsim-enforcer flows");
    eventually("the denied connections", || {
        let told = world.shell.does(&flows);
        if told.contains("job") && told.contains("db") { Ok(()) } else { Err(told) }
    });
    let events = format!("/apis/events.k8s.io/v1/namespaces/{}/events", world.ns("shop"));
    eventually("an Event on the pod", || {
        let events = world.server.list(&events);
        let ours = |e: &&Value| {
            e["regarding"]["kind"] == "Pod" && e["regarding"]["name"] == "db" && e["reason"] == "ConnectionDenied"
        };
        events.iter().find(ours).map(drop).ok_or_else(|| format!("{events:?}"))
    });
}

fn change(world: &mut World) {
    let ns = |world: &World, name: &str| format!("/api/v1/namespaces/{}", world.ns(name));
    let lab = json!({"namespaceSelector": {"matchLabels": {"team": "lab"}}});
    world.apply(&world.policy("shop", "db", only(json!([app("web"), lab]))));
    world.assert_reach("a policy was edited", &["client>db", "job>db"]);

    world.shell.does(&format!("kubectl -n {} label pod client app=web --overwrite", world.ns("shop")));
    world.assert_reach("a pod was relabelled", &["job>db"]);

    world.server.merge(&ns(world, "lab"), &json!({"metadata": {"labels": {"team": "other"}}}));
    world.assert_reach("a namespace was relabelled", &["job>db", "visitor>db"]);

    // Who was allowed is gone; who has its address now never was.
    world.remove("client");
    world.add("lab", "newcomer", 1, 2);
    world.assert_reach("an address was reused", &["newcomer>db", "job>db", "visitor>db"]);

    let quiet = json!({"podSelector": {"matchLabels": {"app": "visitor"}}, "policyTypes": ["Egress"]});
    world.apply(&world.policy("lab", "quiet", quiet));
    world.assert_reach(
        "a policy of egress came",
        &["newcomer>db", "job>db", "visitor>db", "visitor>web", "visitor>job", "visitor>newcomer"],
    );
    world.shell.does(&format!("kubectl -n {} delete networkpolicy quiet", world.ns("lab")));
    world.assert_reach("a policy went", &["newcomer>db", "job>db", "visitor>db"]);

    world.namespace("passing", &json!({}));
    world.add("passing", "guest", 2, 3);
    world.apply(&world.policy("passing", "closed", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})));
    let closed = |one: &str| [format!("{one}>guest"), format!("guest>{one}")];
    let mut denied: Vec<String> = ["web", "db", "job", "visitor", "newcomer"].iter().flat_map(|m| closed(m)).collect();
    denied.extend(["newcomer>db", "job>db", "visitor>db"].map(str::to_owned));
    world.assert_reach("a namespace came", &denied.iter().map(String::as_str).collect::<Vec<_>>());
    world.remove("guest");
    world.shell.does(&format!("kubectl delete namespace {} {}", world.ns("passing"), timeout()));
    // The same address, and no policy any more.
    world.add("shop", "fresh", 2, 3);
    world.assert_reach("a namespace went", &["newcomer>db", "job>db", "visitor>db", "fresh>db"]);
    world.remove("fresh");
}

/// Policies with names: that they isolate, and what is said about them in the API.
fn names(world: &World) {
    let policy = json!({
        "apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
        "metadata": {"namespace": world.ns("lab"), "name": "out"},
        "spec": {"podSelector": {"matchLabels": {"app": "visitor"}},
            "egress": [{"to": [{"domainNames": ["*.example.com"]}], "ports": [{"port": 443}]}]},
    });
    world.apply(&policy);
    world.assert_reach(
        "a policy with names",
        &["newcomer>db", "job>db", "visitor>db", "visitor>web", "visitor>job", "visitor>newcomer"],
    );
    let path = format!("{EDP}/{}/egressdomainpolicies/out", world.ns("lab"));
    eventually("the status of the policy", || {
        let policy = world.server.get(&path).expect("the policy");
        let nodes = policy["status"]["nodes"].as_array().cloned().unwrap_or_default();
        let [node] = &nodes[..] else { return Err(format!("{nodes:?}")) };
        assert_eq!(node["name"], world.node(1).name(), "only the node of its pod has something to say");
        assert_eq!(node["conditions"][0]["type"], "UnsupportedWildcard", "{node}");
        Ok(())
    });
    let events = format!("/apis/events.k8s.io/v1/namespaces/{}/events", world.ns("lab"));
    eventually("the Event", || {
        let events = world.server.list(&events);
        let ours = |e: &&Value| e["regarding"]["kind"] == "EgressDomainPolicy" && e["reason"] == "UnsupportedWildcard";
        events.iter().find(ours).map(drop).ok_or_else(|| format!("{events:?}"))
    });
    world.shell.does(&format!("kubectl -n {} delete egressdomainpolicy out", world.ns("lab")));
    world.assert_reach("the policy with names went", &["newcomer>db", "job>db", "visitor>db"]);
}

/// Pods of the DaemonSet are deleted, and the API server is away.
fn disturb(world: &World) {
    let watch = world.watch(&[("web", "db"), ("job", "visitor")], &[("job", "db"), ("newcomer", "db")]);
    world.shell.does(&format!("kubectl -n {SYSTEM} delete pods -l app.kubernetes.io/name=netsim-enforcer"));
    world.shell.does(&format!("kubectl -n {SYSTEM} rollout status daemonset/netsim-enforcer {}", timeout()));
    watch.finish("all agents were deleted");

    let watch = world.watch(&[("web", "db"), ("job", "visitor")], &[("job", "db"), ("newcomer", "db")]);
    world.kubelets.gate.close();
    eventually("agents that are not ready", || {
        let ready = world.agents().iter().filter(|agent| is_ready(agent)).count();
        if ready == 0 { Ok(()) } else { Err(format!("{ready} are ready")) }
    });
    let everybody = world.policy(
        "shop",
        "others",
        json!({
            "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [app("db")]}],
        }),
    );
    world.apply(&everybody);
    watch.finish("the API server was away");
    world.kubelets.gate.open();
    // What changed meanwhile comes with the end of it.
    world.assert_reach(
        "the API server is back",
        &["newcomer>db", "job>db", "visitor>db", "newcomer>web", "job>web", "visitor>web"],
    );
    world.shell.does(&format!("kubectl -n {SYSTEM} rollout status daemonset/netsim-enforcer {}", timeout()));
    world.shell.does(&format!("kubectl -n {} delete networkpolicy others", world.ns("shop")));
    world.assert_reach("as before", &["newcomer>db", "job>db", "visitor>db"]);
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn upgrade(world: &World) {
    let before: Vec<Value> = world.agents().iter().map(|agent| agent["metadata"]["uid"].clone()).collect();
    let watch = world.watch(&[("web", "db"), ("job", "visitor")], &[("job", "db"), ("newcomer", "db")]);
    let overlay = overlay(world.folder.path(), "0.1.1");
    world.shell.does(&format!("kubectl apply -k {overlay}"));
    world.shell.does(&format!("kubectl -n {SYSTEM} rollout status daemonset/netsim-enforcer {}", timeout()));
    watch.finish("an upgrade");
    let agents = world.agents();
    assert_eq!(agents.len(), 2);
    for agent in agents {
        assert!(is_ready(&agent) && !before.contains(&agent["metadata"]["uid"]), "{}", agent["metadata"]["name"]);
        assert_eq!(agent["spec"]["containers"][0]["image"], "registry.example.com/netsim-enforcer:0.1.1");
    }
    world.assert_reach("upgraded", &["newcomer>db", "job>db", "visitor>db"]);
}

/// The three steps of the documents, one by one.
fn remove(world: &mut World) {
    let watch = world.watch(&[("web", "db"), ("job", "visitor")], &[("job", "db"), ("newcomer", "db")]);
    world.shell.does(&format!("kubectl -n {SYSTEM} delete daemonset netsim-enforcer --cascade=foreground"));
    assert_eq!(world.agents().len(), 0);
    watch.finish("without agents");
    // No agent, and so nobody who could open it.
    world.add("shop", "late", 2, 4);
    world.assert_packets_closed("a pod that came without an agent", "late");
    world.remove("late");

    let cleanup = root().join("deploy/kustomize/cleanup");
    world.shell.does(&format!("kubectl apply -k {}", cleanup.display()));
    world.shell.does(&format!("kubectl -n {SYSTEM} rollout status daemonset/netsim-enforcer-cleanup {}", timeout()));
    world.assert_clean();
    world.assert_open("removed");
    world.shell.does(&format!("kubectl delete -k {} {}", cleanup.display(), timeout()));
    let overlay = overlay(world.folder.path(), "0.1.1");
    world.shell.does(&format!("kubectl delete -k {overlay} --ignore-not-found {}", timeout()));
    world.server.assert_nothing_left();
}
