//! NS007: a label that nobody sets in place of the one that every namespace has.

use super::namespaces::label_meant_as_name;
use super::page;
use super::peers::{Item, items};
use super::written::path_of_value;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::object::NAMESPACE_NAME_LABEL;

pub const RULE: Rule = Rule {
    id: "NS007",
    name: "namespace-name-label",
    severity: Severity::Warning,
    summary: "a label such as `name` where `kubernetes.io/metadata.name` was meant",
    neighbours: &[],
    page: page!("NS007"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    items(context).iter().filter_map(|item| judge(context, item)).collect()
}

fn judge(context: &Context<'_>, item: &Item<'_>) -> Option<Found> {
    let (key, value) = label_meant_as_name(context, item.namespaces?)?;
    let path = path_of_value(context, item.policy, &item.path().key("namespaceSelector"), key, value);
    let message = format!("namespace {value} does not have the label `{key}={value}`, so this item matches nothing");
    let help = format!("write `{NAMESPACE_NAME_LABEL}: {value}`: the control plane sets that on every namespace");
    Some(Found::in_policy(item.policy, path, message).help(help))
}
