//! A live cluster: the same answers as from files, and a snapshot that keeps them.

use crate::assert_answer;
use crate::run::{Scratch, netsim, text_of};
use netsim_testkit::apiserver::ApiServer;
use serde_json::Value;

/// The objects of a `kubectl get -o json` dump.
pub fn objects(dump: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(dump).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// A test cluster and the kubeconfig for it.
struct Cluster {
    server: ApiServer,
    scratch: Scratch,
    kubeconfig: String,
}

impl Cluster {
    fn start() -> Self {
        let server = ApiServer::start(objects(&text_of("tests/cli/inputs/dump.json")));
        let scratch = Scratch::new();
        let kubeconfig = scratch.file("kubeconfig", &server.kubeconfig());
        Cluster { server, scratch, kubeconfig }
    }
}

/// Where a rule was read is another place in a file than in a cluster.
fn without_places(mut answer: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("file");
                fields.remove("line");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}

const QUESTIONS: [(&str, i32); 3] =
    [("x/client x/svc/web:80", 0), ("x/client x/web-7d9c-aaaaa:81", 1), ("x/deploy/web x/client:80", 0)];

#[test]
fn a_cluster_and_its_snapshot_answer_alike() {
    let cluster = Cluster::start();
    let live = format!("--kubeconfig {} --context kind-a", cluster.kubeconfig);
    let snapshot = cluster.scratch.path().join("snapshot.json").display().to_string();
    assert_answer!("live-snapshot", netsim(&format!("snapshot {live} --out {snapshot}")).exits(0));
    for (question, code) in QUESTIONS {
        let from_cluster = netsim(&format!("can-reach {live} {question} -o json")).exits(code);
        for file in [snapshot.as_str(), "tests/cli/inputs/dump.json"] {
            let from_file = netsim(&format!("can-reach -f {file} {question} -o json")).exits(code);
            assert_eq!(without_places(from_cluster.json()), without_places(from_file.json()), "{file} {question}");
        }
    }
    let list = netsim(&format!("list {live}")).exits(0);
    assert_eq!(list.out, netsim(&format!("list -f {snapshot}")).out);
    assert!(!cluster.server.requests().keys().any(|path| path.contains("secrets")));
}

#[test]
fn live_answers_in_full() {
    let cluster = Cluster::start();
    let live = format!("--kubeconfig {} --context kind-a", cluster.kubeconfig);
    assert_answer!("live-denied", netsim(&format!("can-reach {live} x/client x/web-7d9c-aaaaa:81")).exits(1));
    cluster.server.forbid("nodes");
    assert_answer!("live-no-nodes", netsim(&format!("can-reach {live} x/client x/svc/web:80")).exits(0));
    cluster.server.forbid("networkpolicies");
    assert_answer!("live-forbidden", netsim(&format!("can-reach {live} x/client x/svc/web:80")).exits(2));
}

/// Of a live cluster lint says objects and their parts, and asks who may write policies; a snapshot
/// keeps that where it is asked to.
#[test]
fn lint_of_a_live_cluster() {
    let cluster = Cluster::start();
    let live = format!("--kubeconfig {} --context kind-a", cluster.kubeconfig);
    for object in [
        r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "lost", "namespace": "x"},
            "spec": {"podSelector": {"matchLabels": {"app": "lost"}}, "policyTypes": ["Ingress"]}}"#,
        r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "policies"},
            "rules": [{"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create"]}]}"#,
    ] {
        cluster.server.apply(serde_json::from_str(object).unwrap());
    }
    assert_answer!("live-lint", netsim(&format!("lint {live} --select NS004")).exits(1));
    assert!(cluster.server.requests().keys().any(|path| path.contains("clusterrolebindings")));
    assert!(!netsim(&format!("snapshot {live}")).out.contains("ClusterRole"));
    let snapshot = netsim(&format!("snapshot {live} --with-rbac")).exits(0);
    assert!(snapshot.out.contains("ClusterRole"), "{snapshot}");
    let file = cluster.scratch.file("snapshot.json", &snapshot.out);
    netsim(&format!("lint -f {file} --select NS004")).exits(1);
    cluster.server.forbid("clusterroles");
    assert_answer!("live-lint-forbidden", netsim(&format!("lint {live} --select NS023")).exits(0));
}

#[test]
fn a_snapshot_goes_to_standard_output_and_keeps_secrets_out() {
    let cluster = Cluster::start();
    let saved = netsim(&format!("snapshot --kubeconfig {}", cluster.kubeconfig)).exits(0);
    assert_eq!(saved.json()["kind"], "List");
    assert!(text_of("tests/cli/inputs/dump.json").contains("not-for-others"));
    assert!(!saved.out.contains("not-for-others"), "{saved}");
    assert!(saved.err.starts_with("saved "), "{saved}");
}

#[test]
fn clusters_that_cannot_be_read() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.kubeconfig.clone();
    assert_answer!("live-context", netsim(&format!("list --kubeconfig {kubeconfig} --context kind-c")).exits(2));
    let Cluster { server, scratch: _scratch, .. } = cluster;
    drop(server);
    assert_answer!("live-unreachable", netsim(&format!("can-reach --kubeconfig {kubeconfig} x/a x/b:80")).exits(2));
    assert_answer!("live-snapshot-unreachable", netsim(&format!("snapshot --kubeconfig {kubeconfig}")).exits(2));
}
