//! NS005: peers that select no pod.

use super::meant::meant_label;
use super::ns008_split_peer::is_slip;
use super::page;
use super::peers::{Item, items};
use crate::lint::{Context, Found, Rule, Severity};
use std::collections::BTreeSet;

pub const RULE: Rule = Rule {
    id: "NS005",
    name: "peer-selects-no-pod",
    severity: Severity::Warning,
    summary: "an item of `from` or `to` whose selectors match no pod",
    neighbours: &["kube-linter dangling-networkpolicypeer-podselector"],
    page: page!("NS005"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let all = items(context);
    let empty = all.iter().filter(|item| !context.finds_pods(item.direction, item.term));
    empty.filter_map(|item| judge(context, item, &all)).collect()
}

fn judge(context: &Context<'_>, item: &Item<'_>, all: &[Item<'_>]) -> Option<Found> {
    let namespaces: Vec<&str> = match item.namespaces {
        None => vec![&item.policy.namespace],
        Some(selector) => context.selected_namespaces(selector),
    };
    let here = || namespaces.iter().flat_map(|name| context.labels_in(name));
    // Of a namespace without pods in the input nothing is known; one that is not there is NS006's.
    // Pods that take no part, such as those of a Job that has ended, come again.
    here().next()?;
    if here().any(|pods| pods.waits && item.pods.matches(&pods.labels)) || is_slip(context, item, all) {
        return None;
    }
    let place = match (item.namespaces, namespaces.as_slice()) {
        (_, [one]) => format!("namespace {one}"),
        (Some(selector), _) if selector.is_everything() => "any namespace".to_owned(),
        (Some(selector), many) => format!("the {} namespaces with `{selector}`", many.len()),
        (None, _) => format!("namespace {}", item.policy.namespace),
    };
    let path = item.path().key(if item.pods.is_everything() { "namespaceSelector" } else { "podSelector" });
    let on_node = here().any(|pods| pods.host_network && item.pods.matches(&pods.labels));
    if on_node {
        let labels =
            if item.pods.is_everything() { String::new() } else { format!(" with the labels `{}`", item.pods) };
        let message = format!("the pods of {place}{labels} are on their nodes' network, where no selector finds them");
        let help = "allow the addresses of the nodes by `ipBlock`";
        return Some(Found::in_policy(item.policy, path, message).help(help));
    }
    let found = Found::in_policy(item.policy, path, format!("no pod of {place} has the labels `{}`", item.pods));
    Some(match (elsewhere(context, item).as_slice(), meant_label(item.pods, here().map(|pods| &pods.labels))) {
        // A name that is right in another namespace is not misspelt.
        ([], Some(meant)) => found.help(format!("pods there have `{meant}`: was that meant?")),
        ([], None) => found.help("correct the selector, or remove the item"),
        ([one], _) if item.namespaces.is_none() => found.help(format!(
            "pods of namespace {one} have them: \
             a `podSelector` alone means the policy's own namespace, add a `namespaceSelector` to the item"
        )),
        ([one], _) => found.help(format!("pods of namespace {one} have them: was that namespace meant?")),
        (many, _) => found.help(format!("pods of the namespaces {} have them", many.join(", "))),
    })
}

/// Other namespaces with pods that would fit, a few of them.
fn elsewhere<'s>(context: &'s Context<'_>, item: &Item<'_>) -> Vec<&'s str> {
    let fitting = context.labels().filter(|(_, pods)| !pods.host_network && item.pods.matches(&pods.labels));
    let names: BTreeSet<&str> = fitting.map(|(name, _)| name).collect();
    names.into_iter().take(3).collect()
}
