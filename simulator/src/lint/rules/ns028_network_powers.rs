//! NS028: containers that may change or forge what their pod sends.

use super::containers::{self, Container};
use super::page;
use crate::lint::{Carrier, Context, Found, Named, Rule, Severity};
use netsim_shared::ingest::yaml::Value;
use netsim_shared::object::{Path, Powers};
use std::collections::BTreeMap;

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
    let mut carriers: BTreeMap<Named, (Carrier, Powers)> = BTreeMap::new();
    // On the node's network there is no policy to get around.
    for (_, entry) in context.compiled.entries().filter(|(_, entry)| !entry.endpoint.host_network) {
        let powers = context.pod_spec(&entry.endpoint).map(|spec| spec.powers).unwrap_or_default();
        if powers != Powers::default() {
            let carrier = context.carrier(&entry.endpoint);
            carriers.entry(carrier.object.clone()).or_insert((carrier, powers));
        }
    }
    carriers.values().flat_map(|(carrier, powers)| in_carrier(carrier, *powers)).collect()
}

fn in_carrier(carrier: &Carrier, powers: Powers) -> Vec<Found> {
    let mut found = Vec::new();
    containers::each(carrier, |container| found.extend(in_container(carrier, container)));
    if found.is_empty() {
        // The text of the containers is not kept, or the workload's template says otherwise than its pods.
        let (has, can) = match powers {
            Powers { privileged: true, .. } => ("is privileged", PRIVILEGED),
            Powers { net_admin: true, net_raw: true, .. } => ("has the capabilities NET_ADMIN and NET_RAW", NET_ADMIN),
            Powers { net_admin: true, .. } => ("has the capability NET_ADMIN", NET_ADMIN),
            _ => ("has the capability NET_RAW", NET_RAW),
        };
        found.push(carrier.found(carrier.pod_spec.clone(), format!("one of its containers {has}: {can}")).help(HELP));
    }
    found
}

const PRIVILEGED: &str = "it can reach the node's network, and so get around every policy";
const NET_ADMIN: &str = "it can change the addresses, routes and rules of its pod's network";
const NET_RAW: &str = "it can forge packets that seem to come from other pods";
const HELP: &str = "take it away, or keep the pod to a namespace of its own that no tenant can write to";

fn in_container(carrier: &Carrier, container: &Container<'_>) -> Option<Found> {
    let context = container.node.get("securityContext")?;
    let path = container.path.key("securityContext");
    let name = container.name();
    if context.get("privileged").is_some_and(|value| value.value == Value::Bool(true)) {
        let message = format!("container `{name}` is privileged: {PRIVILEGED}");
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
        "NET_RAW" => NET_RAW,
        _ => NET_ADMIN,
    };
    let all: Vec<&str> = powers.iter().map(|(_, name)| name.as_str()).collect();
    let message = format!("container `{name}` has the {} {}: {can}", capability(all.len()), all.join(" and "));
    let path: Path = path.index(*first);
    Some(carrier.found(path, message).help(HELP))
}

fn capability(count: usize) -> &'static str {
    if count == 1 { "capability" } else { "capabilities" }
}
