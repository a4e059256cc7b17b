//! NS031: namespaces that are used and not defined.

use super::namespaces::{is_missing, names_asked_for};
use super::page;
use super::peers::{Item, items};
use super::written::path_of_value;
use crate::lint::{Context, Found, Named, Rule, Severity};
use netsim_shared::diagnostic::nearest;
use netsim_shared::object::{NAMESPACE_NAME_LABEL, Origin, Path};
use std::collections::BTreeMap;

pub const RULE: Rule = Rule {
    id: "NS031",
    name: "missing-namespace",
    severity: Severity::Warning,
    summary: "a namespace that objects lie in or policies name, and that is not defined",
    neighbours: &[],
    page: page!("NS031"),
    check,
};

/// So many other places are told.
const PLACES: usize = 3;

fn check(context: &Context<'_>) -> Vec<Found> {
    // Without a single definition the namespaces are kept elsewhere.
    if context.index.namespaces().next().is_none() {
        return Vec::new();
    }
    let mut inside: BTreeMap<&str, Vec<(Named, &Origin)>> = BTreeMap::new();
    for (name, origin, namespace) in objects(context) {
        if is_missing(context, namespace) {
            inside.entry(namespace).or_default().push((name, origin));
        }
    }
    let all = items(context);
    let mut named: BTreeMap<&str, Vec<&Item<'_>>> = BTreeMap::new();
    for item in &all {
        for name in item.namespaces.into_iter().flat_map(names_asked_for) {
            if is_missing(context, name) && !inside.contains_key(name) {
                named.entry(name).or_default().push(item);
            }
        }
    }
    let inside = inside.into_iter().filter_map(|(name, objects)| lies_in(context, name, objects));
    let named = named.into_iter().filter_map(|(name, items)| named_by(context, name, &items));
    inside.chain(named).collect()
}

/// What lies in namespaces.
fn objects<'c>(context: &Context<'c>) -> Vec<(Named, &'c Origin, &'c str)> {
    let index = context.index;
    let pods = index.pods().map(|o| (Named::new("Pod", &o.namespace, &o.name), &o.origin, o.namespace.as_ref()));
    let workloads =
        index.workloads().map(|o| (Named::new(o.kind.kind(), &o.namespace, &o.name), &o.origin, o.namespace.as_ref()));
    let services =
        index.services().map(|o| (Named::new("Service", &o.namespace, &o.name), &o.origin, o.namespace.as_ref()));
    let policies = index.policies().map(|o| (Named::from(o.as_ref()), &o.origin, o.namespace.as_ref()));
    pods.chain(workloads).chain(services).chain(policies).collect()
}

fn lies_in(context: &Context<'_>, name: &str, mut objects: Vec<(Named, &Origin)>) -> Option<Found> {
    objects.sort_by_key(|(_, origin)| (origin.source.clone(), origin.line));
    let ((first, origin), others) = objects.split_first()?;
    let others = match others.len() {
        0 => String::new(),
        1 => " and one more object".to_owned(),
        count => format!(" and {count} more objects"),
    };
    let lie = if others.is_empty() { "lies" } else { "lie" };
    let message = format!("{first}{others} {lie} in namespace {name}, which the input does not define");
    let path = Path::default().key("metadata").key("namespace");
    Some(Found::new(Named::namespace(name), origin, path, message).help(help(context, name)))
}

fn named_by(context: &Context<'_>, name: &str, items: &[&Item<'_>]) -> Option<Found> {
    let path = |item: &Item<'_>| {
        path_of_value(context, item.policy, &item.path().key("namespaceSelector"), NAMESPACE_NAME_LABEL, name)
    };
    let (first, others) = items.split_first()?;
    let message = format!("the input does not define namespace {name}");
    let found = Found::new(Named::namespace(name), &first.policy.origin, path(first), message);
    Some(others.iter().take(PLACES).fold(found.help(help(context, name)), |found, other| {
        let what = format!("{}/{} names it too", other.policy.namespace, other.policy.name);
        found.related(what, other.policy.origin.place_of(&path(other)))
    }))
}

fn help(context: &Context<'_>, name: &str) -> String {
    match nearest(name, context.index.namespaces().map(|namespace| namespace.name.as_ref())) {
        Some(meant) => format!("was namespace {meant} meant? If not, give netsim the definition of {name} too"),
        None => "give netsim its definition too: its labels decide which policies mean it".to_owned(),
    }
}
