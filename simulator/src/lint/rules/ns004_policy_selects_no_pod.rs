//! NS004: policies that select no pod.

use super::page;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::diagnostic::nearest;
use netsim_shared::object::Path;
use netsim_shared::policy::NetworkPolicy;

pub const RULE: Rule = Rule {
    id: "NS004",
    name: "policy-selects-no-pod",
    severity: Severity::Warning,
    summary: "a policy whose `podSelector` matches no pod of its namespace",
    neighbours: &["kube-linter dangling-networkpolicy"],
    page: page!("NS004"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let idle = context.index.policies().filter(|policy| {
        // An empty selector means the pods to come as well: a default-deny may be there before them.
        !policy.pod_selector.is_everything() && !selects_any(context, policy)
    });
    idle.map(|policy| found(context, policy)).collect()
}

/// Whether it matches any pod, those on nodes' networks and those that take no part among them: they
/// are another rule's matter.
fn selects_any(context: &Context<'_>, policy: &NetworkPolicy) -> bool {
    let waiting = || context.index.pods().filter(|pod| pod.namespace == policy.namespace);
    !context.selected(policy).is_empty()
        || context.in_namespace(&policy.namespace).any(|(_, e)| policy.pod_selector.matches(&e.labels))
        || waiting().any(|pod| policy.pod_selector.matches(&pod.spec.labels))
}

fn found(context: &Context<'_>, policy: &NetworkPolicy) -> Found {
    let path = Path::spec().key("podSelector");
    let message = format!("no pod of namespace {} has the labels `{}`", policy.namespace, policy.pod_selector);
    let found = Found::in_policy(policy, path, message);
    let mut values: Vec<String> = context
        .in_namespace(&policy.namespace)
        .flat_map(|(_, endpoint)| endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")))
        .collect();
    values.sort();
    values.dedup();
    match nearest(&policy.pod_selector.to_string(), values.iter().map(String::as_str)) {
        Some(meant) => found.help(format!("pods there have `{meant}`: was that meant?")),
        None if values.is_empty() => found.help("the input has no pod in that namespace"),
        None => found.help("correct the selector, or remove the policy"),
    }
}
