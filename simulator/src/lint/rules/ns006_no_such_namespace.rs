//! NS006: selectors that match no namespace.

use super::meant::meant_label;
use super::namespaces::{is_told_as_missing, label_meant_as_name};
use super::page;
use super::peers::{Item, items};
use crate::lint::{Context, Found, Rule, Severity};

pub const RULE: Rule = Rule {
    id: "NS006",
    name: "namespace-selector-matches-nothing",
    severity: Severity::Warning,
    summary: "a `namespaceSelector` that matches no namespace",
    neighbours: &[],
    page: page!("NS006"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    items(context).iter().filter_map(|item| judge(context, item)).collect()
}

fn judge(context: &Context<'_>, item: &Item<'_>) -> Option<Found> {
    let selector = item.namespaces?;
    let nothing_is_known = context.index.namespaces().next().is_none();
    if nothing_is_known
        || context.may_select_namespace(selector)
        || is_told_as_missing(context, selector)
        || label_meant_as_name(context, selector).is_some()
    {
        return None;
    }
    let message = format!("no namespace is matched by `{selector}`, so this item matches nothing");
    let found = Found::in_policy(item.policy, item.path().key("namespaceSelector"), message);
    let defined = || context.index.namespaces().map(|namespace| &namespace.labels);
    let undefined = context.undefined_namespaces();
    Some(match (meant_label(selector, defined()), undefined.as_slice()) {
        (Some(meant), _) => {
            let having = context.index.namespaces().filter(|namespace| {
                meant.split_once('=').is_some_and(|(key, value)| namespace.labels.get(key) == Some(value))
            });
            let names: Vec<&str> = having.map(|namespace| namespace.name.as_ref()).take(3).collect();
            let whose = if names.len() == 1 { "namespace" } else { "namespaces" };
            let have = if names.len() == 1 { "has" } else { "have" };
            found.help(format!("{whose} {} {have} `{meant}`: was that meant?", names.join(", ")))
        }
        (None, []) => found.help("correct the selector, or label the namespace that is meant"),
        (None, [one]) => found.help(format!(
            "correct the selector, or label the namespace that is meant; \
             of namespace {one} the input does not say the labels"
        )),
        (None, many) => found.help(format!(
            "correct the selector, or label the namespace that is meant; \
             of the namespaces {} the input does not say the labels",
            many.join(", ")
        )),
    })
}
