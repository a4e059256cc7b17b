//! The JSON schema of `netsim.yaml`, from the command line: editors complete and check by it.

use super::{Takes, commands, options, takes};
use clap::{Arg, Command};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The schema. `program` is the built command line.
pub fn schema(program: &Command) -> Value {
    let mut shared: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut properties = Map::new();
    for command in commands(program) {
        let mut own = Map::new();
        for (long, arg) in options(command) {
            let property = property(arg);
            let known = shared.entry(long).or_default();
            if !known.contains(&property) {
                known.push(property.clone());
            }
            own.insert(long.to_owned(), property);
        }
        properties.insert(
            command.get_name().to_owned(),
            json!({
                "description": format!("Options of `netsim {}`.", command.get_name()),
                "type": ["object", "null"],
                "properties": own,
                "additionalProperties": false,
            }),
        );
    }
    for (long, forms) in shared {
        let value = match forms.as_slice() {
            [one] => one.clone(),
            several => {
                json!({"description": format!("--{long} of the commands that have it."), "anyOf": several})
            }
        };
        match properties.get_mut(long) {
            // A command of the same name: the shape of the value tells which is meant.
            Some(command) => *command = json!({"description": command["description"], "anyOf": [command, value]}),
            None => _ = properties.insert(long.to_owned(), value),
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "netsim.yaml",
        "description": "Options of netsim by their long names, for all commands, or under the name of one.",
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(arg: &Arg) -> Value {
    let description = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let one = scalar(arg);
    let mut property = match takes(arg) {
        Some(Takes::Nothing) => json!({"type": "boolean"}),
        Some(Takes::Times) => json!({"type": ["boolean", "integer"]}),
        Some(Takes::Several | Takes::Joined(_)) => json!({"anyOf": [one, {"type": "array", "items": one}]}),
        Some(Takes::One) | None => one,
    };
    property["description"] = json!(description);
    property
}

fn scalar(arg: &Arg) -> Value {
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if values.is_empty() {
        return json!({"type": ["string", "number"]});
    }
    if values == ["true", "false"] {
        return json!({"type": "boolean"});
    }
    json!({"enum": values})
}
