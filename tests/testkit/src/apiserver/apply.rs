//! Server-side apply: what several managers say about one value, each answering for its own part.
//!
//! As the API server does it, but for this: which lists are maps is written here and not in a schema, defaults and
//! conversions do not exist, and a list or an object that has become empty goes with its last part.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The lists whose items have a name, and the field which that is. All others are one value.
const MAPS: [(&str, &str); 2] = [("nodes", "name"), ("conditions", "type")];

/// One step into a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    /// The item of a list with this name in this field.
    Item(&'static str, String),
}

/// The parts that a manager answers for.
pub type Owned = BTreeSet<Path>;

/// The way to a part.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

/// Managers and what they answer for.
pub type Managers = BTreeMap<String, Owned>;

/// Makes what `manager` says so, and takes back what it said before and says no longer.
///
/// # Errors
/// Another manager says something else, and `force` is not given: its name and the part.
pub fn apply(
    live: &mut Value,
    managers: &mut Managers,
    manager: &str,
    said: &Value,
    force: bool,
) -> Result<(), String> {
    let mut leaves = Vec::new();
    collect(said, &mut Vec::new(), None, &mut leaves);
    for (path, value) in &leaves {
        let differs = value.as_ref().is_some_and(|value| find(live, &path.0).is_some_and(|there| there != value));
        let others = managers.iter().filter(|(other, owned)| *other != manager && owned.contains(path));
        if let Some((other, _)) = others.into_iter().find(|_| differs && !force) {
            return Err(format!("conflict with {other:?}: {}", shown(path)));
        }
    }
    for (path, value) in &leaves {
        let Some(value) = value else { continue };
        let changes = find(live, &path.0) != Some(value);
        for (other, owned) in managers.iter_mut() {
            if changes && other != manager {
                owned.remove(path);
            }
        }
        *make(live, &path.0) = value.clone();
    }
    let now: Owned = leaves.into_iter().map(|(path, _)| path).collect();
    let before = managers.insert(manager.to_owned(), now.clone()).unwrap_or_default();
    // In their order an item comes before its parts, and goes as a whole when nobody else has anything in it.
    for path in before.difference(&now) {
        if !managers.values().flatten().any(|owned| owned.0.starts_with(&path.0)) {
            remove(live, &path.0);
        }
    }
    managers.retain(|_, owned| !owned.is_empty());
    Ok(())
}

fn shown(path: &Path) -> String {
    path.0.iter().fold(String::new(), |text, step| match step {
        Step::Field(name) => format!("{text}.{name}"),
        Step::Item(field, name) => format!("{text}[{field}={name:?}]"),
    })
}

/// The key of a list that is a map.
fn key_of(list: Option<&str>) -> Option<&'static str> {
    MAPS.iter().find(|(name, _)| list == Some(*name)).map(|(_, key)| *key)
}

/// The parts of a value with what they are; an item of a list is a part of its own.
fn collect(value: &Value, at: &mut Vec<Step>, list: Option<&str>, parts: &mut Vec<(Path, Option<Value>)>) {
    match (value, key_of(list)) {
        (Value::Object(fields), _) => {
            for (name, field) in fields {
                at.push(Step::Field(name.clone()));
                collect(field, at, Some(name), parts);
                at.pop();
            }
        }
        (Value::Array(items), Some(key)) => {
            for item in items {
                at.push(Step::Item(key, item[key].as_str().unwrap_or_default().to_owned()));
                parts.push((Path(at.clone()), None));
                collect(item, at, None, parts);
                at.pop();
            }
        }
        _ => parts.push((Path(at.clone()), Some(value.clone()))),
    }
}

fn find<'v>(value: &'v Value, path: &[Step]) -> Option<&'v Value> {
    let Some((first, rest)) = path.split_first() else { return Some(value) };
    let next = match first {
        Step::Field(name) => value.get(name),
        Step::Item(key, name) => value.as_array()?.iter().find(|item| item[*key] == **name),
    };
    find(next?, rest)
}

fn make<'v>(value: &'v mut Value, path: &[Step]) -> &'v mut Value {
    let Some((first, rest)) = path.split_first() else { return value };
    let next = match first {
        Step::Field(name) => &mut value[name.as_str()],
        Step::Item(key, name) => {
            if !value.is_array() {
                *value = Value::Array(Vec::new());
            }
            let Value::Array(items) = value else { unreachable!("just made") };
            let at = items.iter().position(|item| item[*key] == **name).unwrap_or_else(|| {
                items.push(serde_json::json!({*key: name}));
                items.len() - 1
            });
            &mut items[at]
        }
    };
    make(next, rest)
}

/// Takes a part out, and what is empty without it.
fn remove(value: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    let is_empty = |value: &Value| {
        value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
    };
    match first {
        Step::Field(name) => {
            let Some(fields) = value.as_object_mut() else { return };
            if let Some(field) = fields.get_mut(name) {
                remove(field, rest);
                if rest.is_empty() || is_empty(field) {
                    fields.remove(name);
                }
            }
        }
        Step::Item(key, name) => {
            let Some(items) = value.as_array_mut() else { return };
            if let Some(at) = items.iter().position(|item| item[*key] == **name) {
                remove(&mut items[at], rest);
                if rest.is_empty() || is_empty(&items[at]) {
                    items.remove(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, message: &str) -> Value {
        json!({"nodes": [{"name": name, "conditions": [{"type": "T", "message": message}]}]})
    }

    #[test]
    fn managers_answer_for_their_own_entries_only() {
        let (mut live, mut managers) = (Value::Null, Managers::new());
        apply(&mut live, &mut managers, "a", &node("a", "1"), false).unwrap();
        apply(&mut live, &mut managers, "b", &node("b", "1"), false).unwrap();
        apply(&mut live, &mut managers, "a", &node("a", "2"), false).unwrap();
        let both = json!({"nodes": [node("a", "2")["nodes"][0], node("b", "1")["nodes"][0]]});
        assert_eq!(live, both);
        // A condition that is no longer said goes, its entry stays.
        apply(&mut live, &mut managers, "b", &json!({"nodes": [{"name": "b"}]}), false).unwrap();
        assert_eq!(live["nodes"][1], json!({"name": "b"}));
        apply(&mut live, &mut managers, "a", &json!({}), false).unwrap();
        assert_eq!(live, json!({"nodes": [{"name": "b"}]}));
        apply(&mut live, &mut managers, "b", &json!({}), false).unwrap();
        assert_eq!((live, managers.len()), (json!({}), 0));
    }

    #[test]
    fn who_says_something_else_has_to_force_it() {
        let (mut live, mut managers) = (Value::Null, Managers::new());
        apply(&mut live, &mut managers, "a", &node("a", "1"), false).unwrap();
        apply(&mut live, &mut managers, "b", &node("a", "1"), false).unwrap();
        let conflict = apply(&mut live, &mut managers, "b", &node("a", "2"), false).unwrap_err();
        assert_eq!(conflict, r#"conflict with "a": .nodes[name="a"].conditions[type="T"].message"#);
        assert_eq!(live, node("a", "1"));
        apply(&mut live, &mut managers, "b", &node("a", "2"), true).unwrap();
        assert_eq!(live, node("a", "2"));
        // What both say stays until both have taken it back.
        apply(&mut live, &mut managers, "b", &json!({}), false).unwrap();
        assert_eq!(live, json!({"nodes": [{"name": "a", "conditions": [{"type": "T"}]}]}));
        apply(&mut live, &mut managers, "a", &json!({}), false).unwrap();
        assert_eq!(live, json!({}));
    }
}
