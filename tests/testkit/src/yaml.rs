//! YAML as JSON values, for tests that look into files of other programs.

use netsim_shared::ingest::yaml::{Node, Value};
use serde_json::{Map, json};

/// A text of one document as JSON.
///
/// # Panics
/// If it is not YAML.
pub fn json(text: &str) -> serde_json::Value {
    let node = Node::parse_one(text).unwrap_or_else(|error| panic!("{}: {:?}\n{text}", error.message, error.span));
    of(&node)
}

fn of(node: &Node<'_>) -> serde_json::Value {
    match &node.value {
        Value::Null => json!(null),
        Value::Bool(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Text(value) => json!(value),
        Value::List(items) => items.iter().map(of).collect(),
        Value::Map(entries) => {
            let fields = entries.iter().map(|(key, value)| (key.text().unwrap_or_default().into_owned(), of(value)));
            serde_json::Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}
