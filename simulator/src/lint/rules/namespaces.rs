//! What selectors of namespaces were meant for, where they match none. Shared by NS006, NS007 and NS031.

use crate::lint::Context;
use netsim_shared::object::NAMESPACE_NAME_LABEL;
use netsim_shared::selector::{Condition, Selector};

/// Every cluster has these, and few manifests define them.
pub const ALWAYS_THERE: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The names by which a selector asks for namespaces.
pub fn names_asked_for(selector: &Selector) -> impl Iterator<Item = &str> {
    let by_name = selector.requirements().iter().filter(|r| r.key.as_ref() == NAMESPACE_NAME_LABEL);
    let values = by_name.flat_map(|requirement| match &requirement.condition {
        Condition::In(values) => values.as_ref(),
        Condition::NotIn(_) | Condition::Exists | Condition::DoesNotExist => &[],
    });
    values.map(AsRef::as_ref)
}

/// Whether a name is not that of a namespace that is defined, or there in every cluster.
pub fn is_missing(context: &Context<'_>, name: &str) -> bool {
    context.index.namespace(name).is_none() && !ALWAYS_THERE.contains(&name)
}

/// Whether a selector matches nothing because it names namespaces that are missing, which NS031 tells.
pub fn is_told_as_missing(context: &Context<'_>, selector: &Selector) -> bool {
    let mut names = names_asked_for(selector).peekable();
    names.peek().is_some() && names.all(|name| is_missing(context, name))
}

/// The label of a selector that matches no namespace, where its value is the name of a namespace
/// and its key sounds as if names of namespaces were meant.
pub fn label_meant_as_name<'s>(context: &Context<'_>, selector: &'s Selector) -> Option<(&'s str, &'s str)> {
    if context.may_select_namespace(selector) {
        return None;
    }
    let asked = selector.requirements().iter().filter_map(|requirement| match &requirement.condition {
        Condition::In(values) if sounds_like_name(&requirement.key) => Some((requirement.key.as_ref(), values)),
        _ => None,
    });
    // Namespaces that every cluster has bear no such label, whether the input defines them or not.
    let is_name = |value: &str| match context.index.namespace(value) {
        Some(defined) => !selector.matches(&defined.labels),
        None => ALWAYS_THERE.contains(&value),
    };
    asked.flat_map(|(key, values)| values.iter().map(move |value| (key, value.as_ref()))).find(|(_, v)| is_name(v))
}

fn sounds_like_name(key: &str) -> bool {
    let last = key.rsplit('/').next().unwrap_or(key).to_ascii_lowercase();
    let last = last.replace(['-', '_', '.'], "");
    key != NAMESPACE_NAME_LABEL
        && matches!(last.as_str(), "name" | "namespace" | "ns" | "nsname" | "namespacename" | "metadataname")
}
