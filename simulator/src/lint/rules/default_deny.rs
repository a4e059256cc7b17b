//! Whether a namespace denies by default, judged by what becomes of a pod that is new in it (A1, A3).
//!
//! Shared by NS001 and NS002. A policy named default-deny proves nothing: another one beside it that
//! allows everything undoes it, and policies for single pods say nothing of the next one.

use crate::lint::{Context, Found, Named};
use netsim_shared::default_deny::DefaultDeny;
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy};
use std::sync::Arc;

/// What the two directions say in other words.
pub struct Words {
    /// What an open pod does.
    pub who: &'static str,
    /// The policy type that isolates.
    pub policy_type: &'static str,
    /// What must be given back when everything is denied.
    pub needed: &'static str,
}

/// The namespaces with pods in which a new one is open in a direction.
pub fn check_direction(context: &Context<'_>, direction: Direction, words: &Words) -> Vec<Found> {
    let names = context.index.namespace_names();
    names.into_iter().filter_map(|name| judge(context, name, direction, words)).collect()
}

fn judge(context: &Context<'_>, namespace: &str, direction: Direction, words: &Words) -> Option<Found> {
    let pods: Vec<_> = context.in_namespace(namespace).filter(|(_, e)| !e.host_network).collect();
    if pods.is_empty() {
        return None;
    }
    let found = DefaultDeny::of(context.index, context.compiled, namespace, direction);
    if let Some((policy, rule)) = found.undone_by {
        return Some(defeated(namespace, policy, rule, direction, &found.policies));
    }
    if found.is_in_force() {
        return None;
    }
    let open = pods.iter().filter(|(id, _)| !context.is_isolated(*id, direction)).count();
    let today = match (open, pods.len()) {
        (0, 1) => "its pod is isolated by a policy of its own, the next one is not".to_owned(),
        (0, all) => format!("all {all} pods are isolated by policies of their own, the next one is not"),
        (1, 1) => "so does its pod today".to_owned(),
        (open, all) if open == all => format!("so do all {all} pods today"),
        (open, all) => format!("so do {open} of {all} pods today"),
    };
    let message = format!("a new pod of namespace {namespace} {}: {today}", words.who);
    let help = format!(
        "add a policy with `podSelector: {{}}` and `policyTypes: [{}]` and no rules, and one for {}; \
         `netsim suggest` writes them",
        words.policy_type, words.needed
    );
    let origin = context.origin_of_namespace(namespace);
    Some(
        Found::new(Named::namespace(namespace), &origin, Path::default().key("metadata").key("name"), message)
            .help(help),
    )
}

/// The rules at which NS001 or NS002 says that they undo a default-deny: policy, and number of the rule.
pub fn told<'c>(context: &Context<'c>, direction: Direction) -> Vec<(&'c NetworkPolicy, usize)> {
    let names = context.index.namespace_names().into_iter();
    let with_pods = names.filter(|name| context.in_namespace(name).any(|(_, e)| !e.host_network));
    let undone = |name| DefaultDeny::of(context.index, context.compiled, name, direction).undone_by;
    with_pods.filter_map(undone).map(|(policy, rule)| (policy.as_ref(), rule)).collect()
}

fn defeated(
    namespace: &str,
    policy: &NetworkPolicy,
    rule: usize,
    direction: Direction,
    binding: &[&Arc<NetworkPolicy>],
) -> Found {
    let path = Path::spec().key(direction.field()).index(rule);
    let message = format!("this rule allows all {direction} to every pod of namespace {namespace}");
    let denying = binding.iter().find(|other| other.name != policy.name);
    match denying {
        Some(other) => Found::in_policy(policy, path, format!("{message}: what {} denies has no effect", other.name))
            .related(format!("{} isolates the same pods", other.name), other.origin.place_of(&Path::spec())),
        None => Found::in_policy(policy, path, message),
    }
    .help("remove the rule, or narrow it to the peers and ports that are needed")
}
