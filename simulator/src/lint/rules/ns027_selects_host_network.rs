//! NS027: policies for pods on the host's network, which they do not reach (D1).

use super::page;
use super::words::objects;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::compile::EndpointId;
use netsim_shared::object::Path;
use netsim_shared::policy::NetworkPolicy;
use std::collections::BTreeMap;

pub const RULE: Rule = Rule {
    id: "NS027",
    name: "selects-host-network",
    severity: Severity::Warning,
    summary: "a policy that selects pods on their node's network, on which no policy has an effect",
    neighbours: &["kubescape C-0041", "kube-bench 5.2.5", "Trivy KSV-0009", "Checkov CKV_K8S_19"],
    page: page!("NS027"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let mut hosts: BTreeMap<&str, Vec<EndpointId>> = BTreeMap::new();
    for (id, entry) in context.compiled.entries().filter(|(_, entry)| entry.endpoint.host_network) {
        hosts.entry(entry.endpoint.key.namespace.as_ref()).or_default().push(id);
    }
    if hosts.is_empty() {
        return Vec::new();
    }
    // A policy for all pods of a namespace is not made for these.
    let policies = context.index.policies().filter(|policy| !policy.pod_selector.is_everything());
    let found = policies.filter_map(|policy| {
        let hosts = hosts.get(policy.namespace.as_ref())?.iter().copied();
        let selected: Vec<EndpointId> = hosts.filter(|id| matches(context, policy, *id)).collect();
        (!selected.is_empty()).then(|| found(context, policy, &selected))
    });
    found.collect()
}

fn matches(context: &Context<'_>, policy: &NetworkPolicy, id: EndpointId) -> bool {
    context.endpoint(id).is_some_and(|endpoint| policy.pod_selector.matches(&endpoint.labels))
}

fn found(context: &Context<'_>, policy: &NetworkPolicy, selected: &[EndpointId]) -> Found {
    let carriers = context.carriers(selected.iter().copied());
    let names = objects(carriers.iter().map(|(carrier, _)| &carrier.object));
    let (are, them) = if selected.len() == 1 && carriers.iter().all(|(c, _)| c.object.kind.as_ref() == "Pod") {
        ("is on its node's network", "it")
    } else {
        ("are on their nodes' network", "them")
    };
    let who =
        if carriers.iter().all(|(c, _)| c.object.kind.as_ref() == "Pod") { names } else { format!("pods of {names}") };
    let nothing_else = context.selected(policy).is_empty();
    let effect = if nothing_else { "so it has no effect".to_owned() } else { format!("so it has no effect on {them}") };
    let message = format!("this policy selects {who}, which {are}: {effect}");
    let mut found = Found::in_policy(policy, Path::spec().key("podSelector"), message)
        .help("guard them by the firewall of their nodes, or run them without `hostNetwork: true`");
    for (carrier, _) in carriers.iter().take(3) {
        let what = format!("{} uses the node's network", carrier.object);
        found = found.related(what, carrier.origin.place_of(&carrier.pod_spec.key("hostNetwork")));
    }
    found
}
