//! Where things stand in a policy as it is written.

use crate::lint::Context;
use netsim_shared::ingest::yaml::{Node, Value};
use netsim_shared::object::Path;
use netsim_shared::policy::NetworkPolicy;

/// Where a selector asks for a value of a key: below `matchLabels`, or in an item of `matchExpressions`.
/// The selector itself where the text is not there.
pub fn path_of_value(context: &Context<'_>, policy: &NetworkPolicy, selector: &Path, key: &str, value: &str) -> Path {
    let Some(document) = context.written(policy) else { return selector.clone() };
    let text = |node: &Node<'_>, wanted: &str| node.text().as_deref() == Some(wanted);
    let labels = selector.key("matchLabels").key(key);
    if document.at(&labels.0).is_some_and(|node| text(node, value)) {
        return labels;
    }
    let expressions = selector.key("matchExpressions");
    let Some(Node { value: Value::List(list), .. }) = document.at(&expressions.0) else { return selector.clone() };
    let asks = |node: &Node<'_>| match node.get("values") {
        Some(Node { value: Value::List(values), .. }) if node.get("key").is_some_and(|node| text(node, key)) => {
            values.iter().position(|node| text(node, value))
        }
        _ => None,
    };
    let found = (0..).zip(list).find_map(|(number, node)| Some((number, asks(node)?)));
    found.map_or_else(|| selector.clone(), |(number, at)| expressions.index(number).key("values").index(at))
}

/// Whether a list or mapping is there and is empty, or is not there.
pub fn is_empty(node: Option<&Node<'_>>) -> bool {
    match node.map(|node| &node.value) {
        None | Some(Value::Null) => true,
        Some(Value::List(items)) => items.is_empty(),
        Some(Value::Map(entries)) => entries.is_empty(),
        Some(_) => false,
    }
}
