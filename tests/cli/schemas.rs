//! The JSON that netsim writes fits `docs/schemas/`, and those say something about every field.

use crate::run::{netsim, text_of};
use jsonschema::Validator;
use serde_json::{Value, json};

const NODES: &str = "-f tests/fixtures/clause-D2-own-node/cluster.yaml -f tests/fixtures/clause-D2-own-node/plain.yaml \
                     -f tests/fixtures/clause-D2-own-node/nodes.yaml -f tests/fixtures/clause-D2-own-node/deny-all.yaml";
const FOREIGN: &str = "-f tests/fixtures/clause-H2-kinds-not-understood/cluster.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/policies.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/foreign.yaml";
const BACKENDS: &str =
    "-f tests/fixtures/clause-E1-service-ports/cluster.yaml -f tests/fixtures/clause-E1-service-ports/number.yaml";
const SNAT: &str = "-f tests/fixtures/clause-E3-source-after-snat/cluster.yaml -f tests/fixtures/clause-E3-source-after-snat/from-client.yaml";

/// A schema as it is published.
pub fn schema(name: &str) -> Value {
    serde_json::from_str(&text_of(&format!("docs/schemas/{name}.schema.json"))).unwrap()
}

/// The schema as it is published lets fields be added; here a field that it does not know is a mistake.
fn strict(mut schema: Value) -> Value {
    fn close(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if fields.get("type") == Some(&json!("object")) {
                    fields.insert("unevaluatedProperties".to_owned(), json!(false));
                }
                fields.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    close(&mut schema);
    schema
}

fn validator(schema: &Value) -> Validator {
    assert!(jsonschema::meta::is_valid(schema));
    jsonschema::validator_for(schema).unwrap()
}

#[track_caller]
fn fits(validator: &Validator, command: &str) {
    let answer = netsim(command);
    let wrong: Vec<String> =
        validator.iter_errors(&answer.json()).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{}\n{answer}", wrong.join("\n"));
}

/// Fails unless what a command prints fits a schema that builds on others.
#[track_caller]
pub fn fits_schema(name: &str, others: &[&str], command: &str) {
    let strict_one = strict(schema(name));
    assert!(jsonschema::meta::is_valid(&strict_one));
    let resources = others.iter().map(|name| {
        let schema = strict(schema(name));
        let id = schema["$id"].as_str().unwrap().to_owned();
        (id, jsonschema::Resource::from_contents(schema))
    });
    let registry = jsonschema::Registry::new().extend(resources).unwrap().prepare().unwrap();
    let validator = jsonschema::options().with_registry(&registry).build(&strict_one).unwrap();
    fits(&validator, command);
}

/// A YAML text as JSON, as an editor sees it.
pub fn of_yaml(text: &str) -> Value {
    netsim_shared::ingest::from_yaml(text).unwrap_or_else(|error| panic!("{}\n{text}", error.message))
}

#[test]
fn can_reach() {
    let validator = validator(&strict(schema("can-reach")));
    for question in [
        "-f examples/shop shop/deploy/frontend shop/svc/api:8080".to_owned(),
        "-f examples/shop shop/frontend shop/svc/db:5432".to_owned(),
        "-f examples/shop 'shop/*' shop/svc/db:5432".to_owned(),
        "-f examples/shop '*/*' '*/*'".to_owned(),
        "-f examples/shop payments/deploy/gateway api.example.com:443".to_owned(),
        "-f examples/shop payments/deploy/gateway api.example.com".to_owned(),
        "-f examples/shop payments/deploy/gateway 198.51.100.0/23:443".to_owned(),
        "-f examples/shop payments/deploy/gateway [2001:db8::1]:443".to_owned(),
        "-f examples/shop shop/deploy/frontend shop/deploy/api".to_owned(),
        "-f tests/cli/inputs/dual-stack.yaml x/client x/web:443".to_owned(),
        "-f tests/cli/inputs/dual-stack.yaml x/client x/web".to_owned(),
        "-f tests/cli/inputs/dual-stack.yaml x/web x/web:443".to_owned(),
        format!("{BACKENDS} x/client y/svc/web:80"),
        format!("{NODES} 172.18.0.2 x/plain:80"),
        format!("{NODES} 172.18.0.2 x/web:80"),
        format!("{SNAT} 203.0.113.9 x/svc/balanced:80"),
        format!("{FOREIGN} x/a y/a:80"),
    ] {
        fits(&validator, &format!("can-reach {question} -o json"));
    }
}

#[test]
fn list() {
    let validator = validator(&strict(schema("list")));
    for input in
        ["-f examples/shop", "-f tests/cli/inputs/dual-stack.yaml", "-f tests/cli/inputs/dump.json", NODES, FOREIGN]
    {
        for options in ["", "--expand", "--no-outside", "--port 80"] {
            fits(&validator, &format!("list {input} {options} -o json"));
        }
    }
}

#[test]
fn matrix() {
    let validator = validator(&strict(schema("matrix")));
    for input in
        ["-f examples/shop", "-f tests/cli/inputs/dual-stack.yaml", "-f tests/cli/inputs/dump.json", NODES, FOREIGN]
    {
        for options in ["", "--expand", "--outside", "--port 80"] {
            fits(&validator, &format!("matrix {input} {options} -o json"));
        }
    }
    fits(&validator, "matrix -f examples/shop -n payments -o json");
}

#[test]
fn lint() {
    let validator = validator(&strict(schema("lint")));
    for input in [
        "-f examples/shop",
        "-f tests/cli/inputs/lint",
        "-f tests/cli/inputs/lint-wrong.yaml",
        "-f tests/cli/inputs/dump.json",
        "-f tests/cli/inputs/lint --select NS023",
    ] {
        fits(&validator, &format!("lint {input} -o json"));
    }
}

#[test]
fn diff() {
    let validator = validator(&strict(schema("diff")));
    let deny = "tests/fixtures/clause-D2-own-node/deny-all.yaml";
    let policies = "tests/fixtures/clause-H2-kinds-not-understood/policies.yaml";
    let namespaces = "examples/shop/namespaces.yaml";
    for command in [
        "diff examples/shop examples/shop".to_owned(),
        "diff examples/shop/shop.yaml examples/shop".to_owned(),
        "diff examples/shop examples/shop/shop.yaml".to_owned(),
        "what-if --base examples/shop --delete shop/default-deny --delete shop/db".to_owned(),
        "what-if --base tests/cli/inputs/dump.json --delete x/web".to_owned(),
        format!("diff {NODES} {namespaces} {deny}"),
        format!("diff {FOREIGN} {namespaces} {policies}"),
    ] {
        fits(&validator, &format!("{command} -o json"));
    }
}

#[test]
fn broken_output_does_not_fit() {
    let broken = |name: &str, command: &str, breaks: &[(&str, Option<Value>)]| {
        let validator = validator(&schema(name));
        let good = netsim(command).json();
        assert!(validator.is_valid(&good));
        for (pointer, value) in breaks {
            let mut bad = good.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = bad.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} is not in {good:#}"));
            match value {
                Some(value) => parent[key] = value.clone(),
                None => _ = parent.as_object_mut().unwrap().remove(key).unwrap(),
            }
            assert!(!validator.is_valid(&bad), "{name}: {pointer} = {value:?} fits");
        }
    };
    broken(
        "can-reach",
        "can-reach -f examples/shop shop/deploy/frontend shop/svc/db:5432 -o json",
        &[
            ("/schemaVersion", Some(json!("2"))),
            ("/schemaVersion", None),
            ("/verdict", Some(json!("maybe"))),
            ("/connections", None),
            ("/connections/0/port", Some(json!(0))),
            ("/connections/0/decisions/0/family", Some(json!("IPX"))),
            ("/connections/0/decisions/0/ingress/allowed", None),
            ("/connections/0/decisions/0/ingress/isolatedBy", Some(json!("shop/db"))),
            ("/incomplete", None),
        ],
    );
    broken(
        "list",
        "list -f examples/shop -o json",
        &[("/schemaVersion", Some(json!(1))), ("/connections", Some(json!({}))), ("/unknown", None)],
    );
    broken(
        "matrix",
        "matrix -f examples/shop -o json",
        &[
            ("/schemaVersion", None),
            ("/sources", Some(json!([1]))),
            ("/verdicts", Some(json!([["open"]]))),
            ("/incomplete", None),
        ],
    );
    broken(
        "diff",
        "what-if --base examples/shop --delete payments/ledger -o json",
        &[
            ("/schemaVersion", Some(json!("2"))),
            ("/counts/opened", Some(json!(-1))),
            ("/changes/0/kind", Some(json!("opend"))),
            ("/changes/0/causes", Some(json!(["ingress"]))),
            ("/causes/0/direction", Some(json!("both"))),
            ("/causes/0/of", None),
            ("/changes/0/sources", None),
            ("/added", None),
            ("/policies/0/fate", Some(json!("lost"))),
        ],
    );
    broken(
        "lint",
        "lint -f tests/cli/inputs/lint --select NS001 -o json",
        &[
            ("/schemaVersion", Some(json!("2"))),
            ("/findings", None),
            ("/findings/0/rule", Some(json!("KSV-0038"))),
            ("/findings/0/severity", Some(json!("fatal"))),
            ("/findings/0/line", Some(json!(0))),
            ("/findings/0/fingerprint", None),
        ],
    );
    let validator = validator(&schema("list"));
    let of = |ports: Value| {
        let pair = json!({"src": "a/b", "dst": "a/c", "ports": ports});
        json!({"schemaVersion": "1", "connections": [pair], "groups": [], "unknown": [], "incomplete": []})
    };
    assert!(validator.is_valid(&of(json!([{"protocol": "TCP", "from": 80, "to": 80}]))));
    assert!(!validator.is_valid(&of(json!([{"protocol": "ICMP", "from": 80, "to": 80}]))));
    assert!(!validator.is_valid(&of(json!([{"protocol": "TCP", "from": 80}]))));
    assert!(!validator.is_valid(&of(json!([80]))));
}

/// A schema without descriptions explains nothing.
#[test]
fn every_field_is_described() {
    fn walk(value: &Value, path: &str, wrong: &mut Vec<String>) {
        let Value::Object(fields) = value else {
            if let Value::Array(items) = value {
                items.iter().for_each(|item| walk(item, path, wrong));
            }
            return;
        };
        for (key, inner) in fields {
            let path = format!("{path}/{key}");
            if let ("properties", Value::Object(properties)) = (key.as_str(), inner) {
                for (name, property) in properties {
                    if property["description"].as_str().is_none_or(str::is_empty) {
                        wrong.push(format!("{path}/{name}"));
                    }
                }
            }
            walk(inner, &path, wrong);
        }
    }
    for name in ["can-reach", "diff", "list", "matrix", "lint", "test-report"] {
        let (schema, mut wrong) = (schema(name), Vec::new());
        walk(&schema, name, &mut wrong);
        assert!(wrong.is_empty(), "not described: {}", wrong.join(", "));
        assert_eq!(schema["properties"]["schemaVersion"]["const"], "1");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
    let (schema, mut wrong) = (schema("test"), Vec::new());
    walk(&schema, "test", &mut wrong);
    assert!(wrong.is_empty(), "not described: {}", wrong.join(", "));
    // What editors understand best.
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert!(jsonschema::meta::is_valid(&schema));
}
