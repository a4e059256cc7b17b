//! The containers of pods as they are written, for what is told about a part of one.

use crate::lint::Carrier;
use netsim_shared::ingest::yaml::{Node, Value};
use netsim_shared::object::{Path, Step};

/// Which lists a pod spec has containers in.
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// A container.
#[derive(Debug)]
pub struct Container<'n> {
    /// The way to it from the object.
    pub path: Path,
    /// What is written.
    pub node: &'n Node<'n>,
}

impl Container<'_> {
    /// Its name.
    pub fn name(&self) -> String {
        self.node.get("name").and_then(Node::text).map_or_else(|| "?".to_owned(), std::borrow::Cow::into_owned)
    }
}

/// Calls a function for each container of the pods that something carries; not at all where their text
/// is not known.
pub fn each(carrier: &Carrier, mut see: impl FnMut(&Container<'_>)) {
    let Some(root) = carrier.origin.text.as_deref().and_then(|text| Node::parse_one(text).ok()) else { return };
    for list in LISTS {
        let path = carrier.pod_spec.key(list);
        let full: Vec<Step> = carrier.origin.within.0.iter().chain(&path.0).cloned().collect();
        let Some(Value::List(items)) = root.at(&full).map(|node| &node.value) else { continue };
        for (index, node) in items.iter().enumerate() {
            see(&Container { path: path.index(index), node });
        }
    }
}
