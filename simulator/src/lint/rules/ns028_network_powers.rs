//! NS028: containers that may change or forge what their pod sends.

use super::containers::{self, Container};
use super::page;
use crate::lint::{Carrier, Context, Found, Rule, Severity};
use netsim_shared::compile::EndpointId;
use netsim_shared::ingest::yaml::Value;
use netsim_shared::object::{Path, Powers};

pub const RULE: Rule = Rule {
    id: "NS028",
    name: "network-powers",
    severity: Severity::Warning,
    summary: "a container that is privileged or adds NET_ADMIN or NET_RAW, and may get around policies",
    neighbours: &[
        "kubescape C-0057",
        "kube-bench 5.2.2",
        "Trivy KSV-0017",
        "Checkov CKV_K8S_16",
        "kube-linter privileged-container",
        "Polaris insecureCapabilities",
    ],
    page: page!("NS028"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let strong = context.compiled.entries().filter(|(_, entry)| {
        // On the node's network there is no policy to get around.
        !entry.endpoint.host_network
            && context.pod_spec(&entry.endpoint).is_some_and(|spec| spec.powers != Powers::default())
    });
    let ids: Vec<EndpointId> = strong.map(|(id, _)| id).collect();
    context.carriers(ids.iter().copied()).iter().flat_map(|(carrier, _)| in_carrier(carrier)).collect()
}

fn in_carrier(carrier: &Carrier) -> Vec<Found> {
    let mut found = Vec::new();
    containers::each(carrier, |container| found.extend(in_container(carrier, container)));
    if found.is_empty() {
        // The text is not known, or the workload says otherwise than its pods.
        let message = "its containers are privileged or add NET_ADMIN or NET_RAW: they can get around policies";
        found.push(carrier.found(carrier.pod_spec.clone(), message).help(HELP));
    }
    found
}

const HELP: &str = "take it away, or keep the pod to a namespace of its own that no tenant can write to";

fn in_container(carrier: &Carrier, container: &Container<'_>) -> Option<Found> {
    let context = container.node.get("securityContext")?;
    let path = container.path.key("securityContext");
    let name = container.name();
    if context.get("privileged").is_some_and(|value| value.value == Value::Bool(true)) {
        let message = format!(
            "container `{name}` is privileged: it can reach the node's network, and so get around every policy"
        );
        return Some(carrier.found(path.key("privileged"), message).help(HELP));
    }
    let path = path.key("capabilities").key("add");
    let added = match context.get("capabilities").and_then(|capabilities| capabilities.get("add")).map(|add| &add.value)
    {
        Some(Value::List(items)) => items.iter().enumerate(),
        _ => return None,
    };
    let powers: Vec<(usize, String)> = added
        .filter_map(|(index, item)| {
            let name = item.text()?;
            let name = name.strip_prefix("CAP_").unwrap_or(&name);
            matches!(name, "NET_ADMIN" | "NET_RAW" | "ALL").then(|| (index, name.to_owned()))
        })
        .collect();
    let (first, strongest) =
        ["ALL", "NET_ADMIN", "NET_RAW"].iter().find_map(|wanted| powers.iter().find(|(_, name)| name == wanted))?;
    let can = match strongest.as_str() {
        "NET_RAW" => "it can forge packets that seem to come from other pods",
        _ => "it can change the addresses, routes and rules of its pod's network",
    };
    let all: Vec<&str> = powers.iter().map(|(_, name)| name.as_str()).collect();
    let message = format!("container `{name}` has the {} {}: {can}", capability(all.len()), all.join(" and "));
    let path: Path = path.index(*first);
    Some(carrier.found(path, message).help(HELP))
}

fn capability(count: usize) -> &'static str {
    if count == 1 { "capability" } else { "capabilities" }
}
