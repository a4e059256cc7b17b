//! What the API server sends to one agent: how large pods are and what of them is used, the first list, plain and
//! compressed, and the events of a pod's life. Bytes of JSON, without a server and without timing.

use netsim_testkit::apiserver::packed;
use netsim_testkit::realistic::{STAGES, dressed, life};
use netsim_testkit::synthetic::Synthetic;
use serde_json::{Value, json};

/// How many pods the cluster has, unless the first argument says it.
const PODS: usize = 50_000;
/// How many objects a page of a list has.
const PAGE: usize = 500;

/// A page as it is sent.
fn page(items: &[Value]) -> String {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": "x"}, "items": items})
        .to_string()
}

/// Bytes of all pages, plain and compressed, and of the largest page.
fn pages(objects: impl Iterator<Item = Value>) -> (usize, usize, usize) {
    let (mut plain, mut wire, mut largest) = (0, 0, 0);
    let mut objects = objects.peekable();
    while objects.peek().is_some() {
        let text = page(&objects.by_ref().take(PAGE).collect::<Vec<_>>());
        plain += text.len();
        wire += packed(&text).map_or(text.len(), |packed| packed.len());
        largest = largest.max(text.len());
    }
    (plain, wire, largest)
}

fn part(pod: &Value, path: &str) -> usize {
    pod.pointer(path).map_or(0, |part| part.to_string().len())
}

/// What the agent takes of a pod, as JSON.
fn used(pod: &Value) -> usize {
    let at = |path: &str| pod.pointer(path).cloned().unwrap_or_default();
    json!({
        "metadata": {"name": at("/metadata/name"), "namespace": at("/metadata/namespace"), "uid": at("/metadata/uid"),
            "labels": at("/metadata/labels"), "ownerReferences": at("/metadata/ownerReferences")},
        "spec": {"nodeName": at("/spec/nodeName"), "serviceAccountName": at("/spec/serviceAccountName"),
            "containers": [{"ports": at("/spec/containers/0/ports")}]},
        "status": {"phase": at("/status/phase"), "podIPs": at("/status/podIPs"), "hostIPs": at("/status/hostIPs")},
    })
    .to_string()
    .len()
}

/// A namespace as the API server has it.
fn namespace(plain: &Value) -> Value {
    let mut whole = plain.clone();
    whole["metadata"]["uid"] = "0f8fad5b-d9cb-469f-a165-70867728950e".into();
    whole["metadata"]["resourceVersion"] = "1234567".into();
    whole["metadata"]["creationTimestamp"] = "2026-11-20T08:15:30Z".into();
    let fields =
        json!({"f:metadata": {"f:labels": {".": {}, "f:env": {}, "f:kubernetes.io/metadata.name": {}, "f:team": {}}}});
    whole["metadata"]["managedFields"] = json!([{
        "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": "kubectl-create",
        "operation": "Update", "time": "2026-11-20T08:15:30Z",
    }]);
    whole["spec"] = json!({"finalizers": ["kubernetes"]});
    whole["status"] = json!({"phase": "Active"});
    whole
}

fn main() {
    let pods = std::env::args().nth(1).and_then(|pods| pods.parse().ok()).unwrap_or(PODS);
    let cluster = Synthetic { nodes: pods.div_ceil(110), ..Synthetic::new(pods, pods / 100, 10) };
    let sample: Vec<Value> = (0..1000).map(|i| dressed(&cluster.pod(i * pods / 1000), i)).collect();
    let mean = |size: &dyn Fn(&Value) -> usize| sample.iter().map(size).sum::<usize>() / sample.len();
    let size = mean(&|pod| pod.to_string().len());
    println!("| of a pod | bytes | share |\n| --- | --- | --- |");
    let row = |name: &str, bytes: usize| println!("| {name} | {bytes} | {} % |", bytes * 100 / size);
    row("all", size);
    row("`managedFields`", mean(&|pod| part(pod, "/metadata/managedFields")));
    row("`metadata` without them", mean(&|pod| part(pod, "/metadata") - part(pod, "/metadata/managedFields")));
    row("`spec`", mean(&|pod| part(pod, "/spec")));
    row("`status`", mean(&|pod| part(pod, "/status")));
    row("what the agent uses", mean(&used));

    println!("\n| the first list | plain | compressed | largest page |\n| --- | --- | --- | --- |");
    let lists = |name: &str, (plain, wire, largest): (usize, usize, usize)| {
        let mega = |bytes: usize| bytes as f64 / 1e6;
        println!("| {name} | {:.2} MB | {:.2} MB | {:.2} MB |", mega(plain), mega(wire), mega(largest));
    };
    lists("pods", pages(cluster.pods().enumerate().map(|(i, pod)| dressed(&pod, i))));
    lists("policies", pages(cluster.policies()));
    lists("namespaces, whole", pages(cluster.namespaces().map(|plain| namespace(&plain))));
    let partial = |plain: Value| json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": namespace(&plain)["metadata"]});
    lists("namespaces, metadata", pages(cluster.namespaces().map(partial)));

    println!("\n| a pod's life | bytes of the event |\n| --- | --- |");
    let lines = life(&cluster.pod(0), 0);
    for (stage, bytes) in STAGES.iter().zip(&lines) {
        println!("| {stage} | {bytes} |");
    }
    println!("| all | {} |", lines.iter().sum::<usize>());
    let unfiltered = lines.iter().sum::<usize>() + lines.last().copied().unwrap_or_default();
    println!("| all, if finished pods were not left out | {unfiltered} |");
}
