//! The objects themselves.

use crate::Test;
use crate::tools::{COMPONENTS, folder, kustomized, selections, templated};
use clap::Parser;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use netsim_enforcer::args::{Cli, Command};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub const TESTS: [Test; 7] = [
    ("kustomize_and_helm_render_the_same", kustomize_and_helm_render_the_same),
    ("every_object_is_what_its_kind_takes", every_object_is_what_its_kind_takes),
    ("the_agent_has_what_it_needs_and_no_more", the_agent_has_what_it_needs_and_no_more),
    ("only_the_bridge_component_is_privileged", only_the_bridge_component_is_privileged),
    ("all_arguments_are_options", all_arguments_are_options),
    ("the_example_is_what_it_says", the_example_is_what_it_says),
    ("values_that_make_no_sense_are_refused", values_that_make_no_sense_are_refused),
];

/// Kind and name.
type Name = (String, String);

fn name(object: &Value) -> Name {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn by_name(objects: Vec<Value>) -> BTreeMap<Name, Value> {
    let count = objects.len();
    let objects: BTreeMap<Name, Value> = objects.into_iter().map(|object| (name(&object), object)).collect();
    assert_eq!(objects.len(), count, "an object is there twice: {:?}", objects.keys());
    objects
}

/// What Helm says of itself in labels and annotations.
fn without_helm(mut object: Value) -> Value {
    let own = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"];
    for part in ["labels", "annotations"] {
        let Some(Value::Object(entries)) = object["metadata"].get_mut(part) else { continue };
        entries.retain(|key, _| !own.contains(&key.as_str()) && !key.starts_with("helm.sh/"));
        if entries.is_empty() {
            object["metadata"].as_object_mut().unwrap().remove(part);
        }
    }
    object
}

/// All that is rendered, with where it is from.
fn everything() -> Vec<(String, Vec<Value>)> {
    let mut all = vec![("cleanup".to_owned(), folder("cleanup")), ("example".to_owned(), folder("example"))];
    for selection in selections() {
        let components: Vec<&str> = selection.iter().map(|(component, _)| *component).collect();
        let settings: Vec<&str> = selection.iter().map(|(_, setting)| *setting).collect();
        all.push((format!("kustomize {components:?}"), kustomized(&components)));
        all.push((format!("helm {settings:?}"), crate::tools::documents(&templated(&settings).exits(0).out)));
    }
    all
}

fn daemon_sets(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects.iter().filter(|object| object["kind"] == "DaemonSet")
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The containers of a pod, those that run first included.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "initContainers").chain(list(pod, "containers"))
}

/// Where two values differ, each with what kustomize and what helm makes of it.
fn differences(path: &str, one: &Value, other: &Value) -> Vec<String> {
    let keys = |value: &Value| -> Vec<String> {
        match value {
            Value::Object(fields) => fields.keys().cloned().collect(),
            Value::Array(items) => (0..items.len()).map(|i| i.to_string()).collect(),
            _ => Vec::new(),
        }
    };
    if one == other {
        return Vec::new();
    }
    let both: BTreeSet<String> = keys(one).into_iter().chain(keys(other)).collect();
    if std::mem::discriminant(one) != std::mem::discriminant(other) || both.is_empty() {
        return vec![format!("{path}: kustomize {one}, helm {other}")];
    }
    let part = |value: &Value, key: &str| match value {
        Value::Array(items) => key.parse::<usize>().ok().and_then(|i| items.get(i).cloned()).unwrap_or_default(),
        value => value.get(key).cloned().unwrap_or_default(),
    };
    both.iter().flat_map(|key| differences(&format!("{path}/{key}"), &part(one, key), &part(other, key))).collect()
}

fn kustomize_and_helm_render_the_same() {
    for selection in selections() {
        let components: Vec<&str> = selection.iter().map(|(component, _)| *component).collect();
        let settings: Vec<&str> = selection.iter().map(|(_, setting)| *setting).collect();
        let mut wanted = by_name(kustomized(&components));
        // Helm makes the namespace, or finds it.
        wanted.remove(&("Namespace".to_owned(), "netsim-system".to_owned())).expect("the namespace");
        let rendered = crate::tools::documents(&templated(&settings).exits(0).out);
        let rendered = by_name(rendered.into_iter().map(without_helm).collect());
        assert_eq!(wanted.keys().collect::<Vec<_>>(), rendered.keys().collect::<Vec<_>>(), "{components:?}");
        for (name, object) in wanted {
            let differences = differences("", &object, &rendered[&name]);
            assert!(differences.is_empty(), "{components:?} {name:?}:\n{}", differences.join("\n"));
        }
    }
}

/// As JSON without the difference between 1 and 1.0.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Decodes and encodes: fields that the type does not have are lost by it.
fn there_and_back<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Kinds of the Prometheus operator, after its API, as far as they are used.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Custom<Spec> {
    api_version: String,
    kind: String,
    metadata: CustomMeta,
    spec: Spec,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CustomMeta {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PodMonitorSpec {
    selector: Selector,
    namespace_selector: NamespaceSelector,
    job_label: String,
    pod_metrics_endpoints: Vec<PodMetricsEndpoint>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NamespaceSelector {
    match_names: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PodMetricsEndpoint {
    port: String,
    path: String,
    interval: String,
    honor_labels: bool,
    relabelings: Vec<Relabeling>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Relabeling {
    source_labels: Vec<String>,
    target_label: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PrometheusRuleSpec {
    groups: Vec<Group>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    lasts: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn every_object_is_what_its_kind_takes() {
    let mut wrong = Vec::new();
    for (place, objects) in everything() {
        for object in objects {
            let read = match (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()) {
                ("v1", "Namespace") => there_and_back::<Namespace>(&object),
                ("v1", "ServiceAccount") => there_and_back::<ServiceAccount>(&object),
                ("v1", "ConfigMap") => there_and_back::<ConfigMap>(&object),
                ("apps/v1", "DaemonSet") => there_and_back::<DaemonSet>(&object),
                ("rbac.authorization.k8s.io/v1", "ClusterRole") => there_and_back::<ClusterRole>(&object),
                ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => there_and_back::<ClusterRoleBinding>(&object),
                ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
                    there_and_back::<CustomResourceDefinition>(&object)
                }
                ("monitoring.coreos.com/v1", "PodMonitor") => there_and_back::<Custom<PodMonitorSpec>>(&object),
                ("monitoring.coreos.com/v1", "PrometheusRule") => there_and_back::<Custom<PrometheusRuleSpec>>(&object),
                other => panic!("{place}: no type for {other:?}"),
            };
            match read {
                Ok(read) if plain(&read) == plain(&object) => {}
                Ok(read) => wrong.push(format!("{place} {:?}:\n{object:#}\nis read as\n{read:#}", name(&object))),
                Err(error) => wrong.push(format!("{place} {:?}: {error}", name(&object))),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a container of ours that is not privileged asks for, exactly.
fn hardened() -> Value {
    json!({
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsUser": 0,
        "runAsGroup": 0,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn the_agent_has_what_it_needs_and_no_more() {
    for (place, objects) in everything() {
        for set in daemon_sets(&objects) {
            let spec = &set["spec"];
            let pod = &spec["template"]["spec"];
            // Its own labels select its pods.
            for (key, value) in spec["selector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(&spec["template"]["metadata"]["labels"][key], value, "{place}");
            }
            assert_eq!(
                (&pod["hostNetwork"], &pod["hostPID"], &pod["hostIPC"]),
                (&json!(true), &Value::Null, &Value::Null)
            );
            assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]), "{place}: every node");
            assert_eq!(pod["priorityClassName"], "system-node-critical");
            assert_eq!(pod["dnsPolicy"], "Default", "{place}: it must not wait for the cluster's DNS");
            for container in containers(pod).filter(|container| container["securityContext"]["privileged"] != true) {
                assert_eq!(container["securityContext"], hardened(), "{place}");
            }
            for container in containers(pod) {
                let resources = &container["resources"];
                let part = |kind: &str, what: &str| resources[kind].get(what).is_some();
                assert!(part("requests", "cpu") && part("requests", "memory") && part("limits", "memory"), "{place}");
                assert!(!part("limits", "cpu"), "{place}: throttled, it would enforce late");
            }
            let mut folders: Vec<&str> = list(pod, "volumes")
                .map(|volume| volume["hostPath"]["path"].as_str().expect("a folder of the node"))
                .collect();
            folders.sort_unstable();
            let allowed: &[&str] = &["/", "/run/netsim", "/var/lib/netsim"];
            assert!(folders.iter().all(|folder| allowed.contains(folder)), "{place}: {folders:?}");
            let mounted = |folder: &str| {
                let volume = list(pod, "volumes").find(|volume| volume["hostPath"]["path"] == folder)?;
                let of =
                    |container: &&Value| list(container, "volumeMounts").any(|mount| mount["name"] == volume["name"]);
                Some(
                    containers(pod).filter(of).map(|container| container["name"].as_str().unwrap()).collect::<Vec<_>>(),
                )
            };
            // The root of the node is for the container that prepares it, and for no other.
            assert!(mounted("/").is_none_or(|names| names == ["prepare-node"]), "{place}");
        }
        let agent = daemon_sets(&objects).find(|set| set["metadata"]["name"] == "netsim-enforcer");
        let Some(agent) = agent else { continue };
        let update = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
        assert_eq!(agent["spec"]["updateStrategy"], update, "{place}: one node after another, one agent a node");
        let enforcer = &agent["spec"]["template"]["spec"]["containers"][0];
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(enforcer[probe]["httpGet"], json!({"path": path, "port": "metrics"}), "{place}");
        }
    }
}

fn only_the_bridge_component_is_privileged() {
    let privileged = |objects: &[Value]| -> Vec<String> {
        let pods = daemon_sets(objects).map(|set| &set["spec"]["template"]["spec"]);
        let all = pods.flat_map(containers).filter(|container| container["securityContext"]["privileged"] == true);
        all.map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    for (component, _) in COMPONENTS {
        let wanted: &[&str] = if component == "bridge" { &["prepare-node"] } else { &[] };
        let objects = kustomized(&[component]);
        assert_eq!(privileged(&objects), wanted, "{component}");
        let pod = &daemon_sets(&objects).next().unwrap()["spec"]["template"]["spec"];
        assert!(list(pod, "containers").all(|container| container["securityContext"] == hardened()), "{component}");
    }
    assert!(privileged(&kustomized(&[])).is_empty() && privileged(&folder("cleanup")).is_empty());
}

/// What Kubernetes makes of `$(NAME)`, by the variables of the container.
fn expanded(container: &Value, argument: &str) -> String {
    let values = [("spec.nodeName", "node-1.example.com"), ("status.hostIP", "192.0.2.1")];
    let mut text = argument.to_owned();
    for variable in list(container, "env") {
        let path = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().unwrap_or_default();
        let value = values.iter().find(|(known, _)| *known == path).map(|(_, value)| *value);
        let value = value.or(variable["value"].as_str()).expect("a value");
        text = text.replace(&format!("$({})", variable["name"].as_str().unwrap()), value);
    }
    assert!(!text.contains("$("), "a variable that there is not: {text}");
    text
}

/// The arguments of a container as the program gets them.
pub fn arguments(container: &Value) -> Vec<String> {
    assert_eq!(container.get("command"), None, "the image has its entry point");
    list(container, "args").map(|argument| expanded(container, argument.as_str().unwrap())).collect()
}

fn all_arguments_are_options() {
    let mut all = everything();
    let many = [
        "apiServer.host=10.0.0.1",
        "apiServer.port=6443",
        "port=9999",
        "dns.enabled=true",
        "bridge.enabled=true",
        "dns.servers={10.96.0.10,fd00::a}",
        "dns.allowPrivate={10.1.0.0/16}",
        "extraArgs={--unknown-pods=allow}",
    ];
    all.push(("helm with much".to_owned(), crate::tools::documents(&templated(&many).exits(0).out)));
    for (place, objects) in all {
        for set in daemon_sets(&objects) {
            let pod = &set["spec"]["template"]["spec"];
            for container in containers(pod) {
                let arguments = arguments(container);
                let line = ["netsim-enforcer".to_owned()].into_iter().chain(arguments.clone());
                let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{place}: {arguments:?}: {error}"));
                let (Command::Run(run), Some(port)) = (cli.command, container["ports"].get(0)) else { continue };
                assert_eq!(json!(run.listen.port()), port["containerPort"], "{place}: it is where it is looked for");
            }
        }
    }
}

fn the_example_is_what_it_says() {
    let objects = folder("example");
    let [set] = daemon_sets(&objects).collect::<Vec<_>>()[..] else { panic!("one DaemonSet") };
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example.com/netsim-enforcer:0.1.0");
    assert!(list(container, "args").any(|argument| argument == "--audit"));
}

fn values_that_make_no_sense_are_refused() {
    for wrong in
        ["audits=true", "audit=often", "port=0", "dns.servers=10.96.0.10", "image.digest=abc", "extraArgs={audit}"]
    {
        let answer = templated(&[wrong]);
        assert_ne!(answer.code, 0, "{wrong}: {answer}");
        assert!(answer.err.contains("values don't meet the specifications"), "{wrong}: {answer}");
    }
}
