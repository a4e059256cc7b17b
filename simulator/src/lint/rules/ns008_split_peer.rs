//! NS008: two items where one with both selectors was meant.

use super::page;
use super::peers::{Item, items};
use crate::lint::{Context, Found, Rule, Severity};

pub const RULE: Rule = Rule {
    id: "NS008",
    name: "split-peer",
    severity: Severity::Warning,
    summary: "a namespace and pods as two items, where these pods of that namespace were meant",
    neighbours: &[],
    page: page!("NS008"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let all = items(context);
    all.iter().filter_map(|item| Some(found(context, item, partner(context, item, &all)?))).collect()
}

/// Whether an item selects nothing because it is one half of a slip.
pub fn is_slip(context: &Context<'_>, item: &Item<'_>, all: &[Item<'_>]) -> bool {
    partner(context, item, all).is_some()
}

/// The neighbour that names the namespaces for an item that names pods only.
fn partner<'a, 'c>(context: &Context<'_>, pods: &Item<'c>, all: &'a [Item<'c>]) -> Option<&'a Item<'c>> {
    // Pods that nobody has in the policy's own namespace, where a `podSelector` alone looks.
    let lost = pods.namespaces.is_none() && !context.finds_pods(pods.direction, pods.term);
    let own_ones = || context.labels_in(&pods.policy.namespace).any(|own| pods.pods.matches(&own.labels));
    if !lost || own_ones() {
        return None;
    }
    let beside = all.iter().filter(|other| other.is_beside(pods) && other.number.abs_diff(pods.number) == 1);
    let mut wide = beside.filter(|other| other.pods.is_everything() && !says_pods(context, other));
    wide.find(|other| {
        let namespaces = other.namespaces.map(|selector| context.selected_namespaces(selector)).unwrap_or_default();
        namespaces.iter().flat_map(|name| context.labels_in(name)).any(|there| pods.pods.matches(&there.labels))
    })
}

/// Whether an item has a `podSelector` of its own, be it an empty one: then all pods were meant.
fn says_pods(context: &Context<'_>, item: &Item<'_>) -> bool {
    context.written(item.policy).is_some_and(|node| node.at(&item.path().key("podSelector").0).is_some())
}

fn found(context: &Context<'_>, pods: &Item<'_>, wide: &Item<'_>) -> Found {
    let namespaces = wide.namespaces.map(|selector| context.selected_namespaces(selector)).unwrap_or_default();
    let whose = match (wide.namespaces, namespaces.as_slice()) {
        (_, [one]) => format!("namespace {one}"),
        (Some(selector), _) if selector.is_everything() => "every namespace".to_owned(),
        (_, many) => format!("{} namespaces", many.len()),
    };
    let own = &pods.policy.namespace;
    let message = format!(
        "these are two items: all pods of {whose}, and the pods `{}` of namespace {own}, which has none",
        pods.pods
    );
    let (later, earlier) = if pods.number > wide.number { (pods, wide) } else { (wide, pods) };
    let field = if later.number == pods.number { "podSelector" } else { "namespaceSelector" };
    let other = pods.policy.origin.place_of(&earlier.path());
    Found::in_policy(pods.policy, later.path(), message)
        .help(format!(
            "where these pods of {whose} are meant, take the `-` before `{field}` away: one item, both selectors"
        ))
        .related("the other item", other)
}
