//! NS003: pods that policies forgot.

use super::page;
use crate::lint::{Context, Found, Named, Rule, Severity};
use netsim_shared::compile::Endpoint;
use netsim_shared::object::{Path, WorkloadKind};
use netsim_shared::policy::Direction;
use std::collections::BTreeMap;

pub const RULE: Rule = Rule {
    id: "NS003",
    name: "pod-without-policy",
    severity: Severity::Warning,
    summary: "a pod that no policy selects, in a namespace with policies for other pods",
    neighbours: &["kube-linter non-isolated-pod", "Trivy KSV-0038", "Checkov CKV2_K8S_6", "kubescape C-0260"],
    page: page!("NS003"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    context.index.namespace_names().into_iter().flat_map(|name| forgotten(context, name)).collect()
}

fn forgotten(context: &Context<'_>, namespace: &str) -> Vec<Found> {
    let pods = context.in_namespace(namespace).filter(|(_, endpoint)| !endpoint.host_network);
    let is_selected = |id| Direction::ALL.into_iter().any(|direction| context.is_isolated(id, direction));
    let (selected, bare): (Vec<_>, Vec<_>) = pods.partition(|(id, _)| is_selected(*id));
    // Where nothing is selected the namespace is open as a whole, and NS001 and NS002 say that once.
    if selected.is_empty() {
        return Vec::new();
    }
    let mut groups: BTreeMap<(Option<WorkloadKind>, &str), Vec<&Endpoint>> = BTreeMap::new();
    for (_, endpoint) in bare {
        let of_workload = endpoint.workload.as_ref().map(|(kind, name)| (Some(*kind), name.as_ref()));
        groups.entry(of_workload.unwrap_or((None, &endpoint.key.name))).or_default().push(endpoint);
    }
    let found = groups.into_iter().filter_map(|((kind, name), pods)| {
        let pod = pods.iter().min_by_key(|pod| &pod.key)?;
        let carrier = context.carrier(pod);
        let whole = kind.map(|kind| Named::new(kind.kind(), namespace, name));
        let whom = match (whole, pods.len()) {
            (None, _) => format!("pod {name}"),
            (Some(whole), _) if pod.is_template() => format!("the pods of {whole}"),
            (Some(whole), 1) => format!("the pod of {whole}"),
            (Some(whole), count) => format!("the {count} pods of {whole}"),
        };
        let message = format!("no policy selects {whom}: everybody may connect to it, and it to everything");
        let message = if pods.len() > 1 || pod.is_template() {
            message.replace("to it, and it to", "to them, and they to")
        } else {
            message
        };
        let help = match pod.labels.is_empty() {
            true => format!("a policy with `podSelector: {{}}` would select it, as every pod of namespace {namespace}"),
            false => format!(
                "add a policy for the labels `{}`, or a default-deny for namespace {namespace}",
                stable_labels(pod)
            ),
        };
        Some(carrier.found(Path::default().key("metadata").key("name"), message).help(help))
    });
    found.collect()
}

/// The labels without those that a controller gives to each pod or revision.
fn stable_labels(pod: &Endpoint) -> String {
    const MADE: [&str; 6] = [
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "controller-uid",
    ];
    let labels = pod.labels.iter().filter(|(key, _)| !MADE.contains(key));
    labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
