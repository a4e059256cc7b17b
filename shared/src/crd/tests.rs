//! The schema agrees with what is read, is one that an API server takes, and is the one in `deploy/crd/`.

use super::*;
use crate::dns::NamePattern;
use crate::ingest::ingest_json;
use cel::{Context, Program, Value as CelValue};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use netsim_testkit::yaml;
use proptest::prelude::*;
use regex::Regex;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const FILE: &str = "deploy/crd/netsim.dev_egressdomainpolicies.yaml";
const EXAMPLE: &str = "examples/egress-domain-policy.yaml";
const UPDATE: &str = "NETSIM_UPDATE_DOCS=1 cargo test -p netsim-shared --lib crd";
const HEAD: &str = "# Made from shared/src/crd.rs; not to be edited by hand.\n";

static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new(NAME_PATTERN).unwrap());

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

fn definition() -> Value {
    without_fractions(serde_json::to_value(EgressDomainPolicy::crd()).unwrap())
}

/// `65535.0` is written as `65535`, as everybody else does.
fn without_fractions(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(without_fractions).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, without_fractions(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

fn schema() -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Whether the schema takes a name, as an API server counts: in characters.
fn takes(name: &str) -> bool {
    PATTERN.is_match(name) && name.chars().count() <= MAX_NAME_TEXT as usize
}

fn netsim_takes(name: &str) -> bool {
    name.parse::<NamePattern>().is_ok()
}

#[test]
fn the_file_is_made_from_the_types() {
    let should = format!("{HEAD}{}", serde_saphyr::to_string(&definition()).unwrap());
    let written = fs::read_to_string(path(FILE)).unwrap_or_default();
    if written != should && std::env::var_os("NETSIM_UPDATE_DOCS").is_some() {
        fs::create_dir_all(path(FILE).parent().unwrap()).unwrap();
        fs::write(path(FILE), &should).unwrap();
    } else {
        assert!(written == should, "{FILE} is not up to date; {UPDATE}");
    }
    let read: CustomResourceDefinition = serde_json::from_value(yaml::json(&should)).unwrap();
    assert_eq!(read, EgressDomainPolicy::crd());
}

#[test]
fn the_constants_are_those_of_the_type() {
    assert_eq!(EgressDomainPolicy::group(&()), GROUP);
    assert_eq!(EgressDomainPolicy::version(&()), VERSION);
    assert_eq!(EgressDomainPolicy::kind(&()), KIND);
    assert_eq!(EgressDomainPolicy::plural(&()), PLURAL);
    let names = &definition()["spec"]["names"];
    assert_eq!(names["shortNames"], json!(["edp"]));
    assert_eq!(definition()["spec"]["versions"][0]["subresources"], json!({"status": {}}));
}

/// The rules of a structural schema, and those of `apiextensions.k8s.io/v1` that can be told from the schema alone.
fn check_structure(schema: &Value, at: &str, found: &mut Vec<String>) {
    let Some(fields) = schema.as_object() else { return found.push(format!("{at}: is no object")) };
    let kind = schema["type"].as_str().unwrap_or_default();
    if !["object", "array", "string", "integer", "boolean", "number"].contains(&kind) {
        found.push(format!("{at}: no type"));
    }
    for key in fields.keys() {
        let allowed = match key.as_str() {
            "type" | "description" | "default" | "enum" | "nullable" | "x-kubernetes-validations" => true,
            "title" => at.is_empty(),
            "properties" | "required" | "additionalProperties" => kind == "object",
            "items" | "minItems" | "maxItems" | "x-kubernetes-list-type" | "x-kubernetes-list-map-keys" => {
                kind == "array"
            }
            "maxLength" | "minLength" | "pattern" => kind == "string",
            "minimum" | "maximum" => kind == "integer",
            "format" => ["int32", "int64", "date-time"].contains(&schema["format"].as_str().unwrap_or_default()),
            _ => false,
        };
        if !allowed {
            found.push(format!("{at}: `{key}`"));
        }
    }
    if fields.contains_key("properties") && fields.contains_key("additionalProperties") {
        found.push(format!("{at}: both properties and additionalProperties"));
    }
    let properties = schema["properties"].as_object();
    for required in schema["required"].as_array().into_iter().flatten() {
        if !properties.is_some_and(|properties| properties.contains_key(required.as_str().unwrap())) {
            found.push(format!("{at}: {required} is required and not there"));
        }
    }
    if let Some(default) = fields.get("default")
        && !fields["enum"].as_array().unwrap().contains(default)
    {
        found.push(format!("{at}: the default is none of the values"));
    }
    for (name, property) in properties.into_iter().flatten() {
        check_structure(property, &format!("{at}.{name}"), found);
    }
    if let Some(values) = fields.get("additionalProperties") {
        check_structure(values, &format!("{at}{{}}"), found);
    }
    if kind == "array" {
        check_structure(&schema["items"], &format!("{at}[]"), found);
        // Keys of a map's entries: required, and no lists or objects.
        let keys = schema["x-kubernetes-list-map-keys"].as_array();
        if keys.is_some() != (schema["x-kubernetes-list-type"] == "map") {
            found.push(format!("{at}: keys without a map, or a map without keys"));
        }
        for key in keys.into_iter().flatten() {
            let required = schema["items"]["required"].as_array().is_some_and(|required| required.contains(key));
            if !required || schema["items"]["properties"][key.as_str().unwrap()]["type"] != "string" {
                found.push(format!("{at}: the key {key}"));
            }
        }
    }
    // A rule in a list costs once an item, and an API server refuses a schema that could cost too much.
    if fields.contains_key("x-kubernetes-validations") {
        for rule in schema["x-kubernetes-validations"].as_array().unwrap() {
            let field = rule["fieldPath"].as_str().unwrap().trim_start_matches('.');
            if !properties.is_some_and(|properties| properties.contains_key(field)) {
                found.push(format!("{at}: a rule is about `{field}`"));
            }
        }
    }
}

#[test]
fn the_schema_is_structural() {
    let mut found = Vec::new();
    check_structure(&schema(), "", &mut found);
    assert_eq!(found, Vec::<String>::new());
    // What the test above would miss if it looked at nothing.
    let mut wrong = schema();
    wrong["properties"]["spec"]["properties"]["egress"]["items"]["$ref"] = "#/x".into();
    wrong["properties"]["status"]["properties"]["nodes"]["items"]["required"] = json!([]);
    wrong["properties"]["spec"]["properties"]["podSelector"]["type"] = Value::Null;
    check_structure(&wrong, "", &mut found);
    let expected = [
        ".spec.egress[]: `$ref`",
        ".spec.podSelector: no type",
        ".spec.podSelector: `properties`",
        ".status.nodes: the key \"name\"",
    ];
    assert_eq!(found, expected);
}

/// How often a rule can be evaluated, at the least: the product of the longest lists around it.
fn most_evaluations(schema: &Value, around: u64, found: &mut Vec<u64>) {
    if schema.get("x-kubernetes-validations").is_some() {
        found.push(around);
    }
    for property in schema["properties"].as_object().into_iter().flat_map(|properties| properties.values()) {
        most_evaluations(property, around, found);
    }
    if schema["type"] == "array" {
        most_evaluations(&schema["items"], around * schema["maxItems"].as_u64().unwrap_or(1_000_000), found);
    }
}

#[test]
fn rules_are_evaluated_a_bounded_number_of_times() {
    let mut found = Vec::new();
    most_evaluations(&schema(), 1, &mut found);
    found.sort_unstable();
    // An API server's budget for one rule is 10,000,000 units, and none of these costs a hundred.
    assert_eq!(found, [64, 64 * 64]);
}

/// The first message of the rules of a schema that a value breaks.
fn broken(schema: &Value, value: &Value) -> Option<String> {
    let rules = schema["x-kubernetes-validations"].as_array().unwrap();
    rules.iter().find_map(|rule| {
        let program = Program::compile(rule["rule"].as_str().unwrap()).unwrap();
        let mut context = Context::default();
        context.add_variable("self", value).unwrap();
        match program.execute(&context).unwrap() {
            CelValue::Bool(true) => None,
            CelValue::Bool(false) => Some(rule["message"].as_str().unwrap().to_owned()),
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn the_rules_say_what_they_should() {
    let schema = schema();
    let spec = &schema["properties"]["spec"]["properties"];
    let port = &spec["egress"]["items"]["properties"]["ports"]["items"];
    let needs = Some("endPort needs port, where the range begins".to_owned());
    let less = Some("endPort must not be less than port".to_owned());
    for (value, expected) in [
        (json!({"protocol": "TCP"}), &None),
        (json!({"protocol": "TCP", "port": 443}), &None),
        (json!({"protocol": "TCP", "port": 443, "endPort": 443}), &None),
        (json!({"protocol": "TCP", "port": 443, "endPort": 444}), &None),
        (json!({"protocol": "TCP", "port": 443, "endPort": 442}), &less),
        (json!({"protocol": "TCP", "endPort": 442}), &needs),
    ] {
        assert_eq!(broken(port, &value), *expected, "{value}");
    }
    let expression = &spec["podSelector"]["properties"]["matchExpressions"]["items"];
    for (operator, values, fits) in [
        ("In", json!(["a"]), true),
        ("NotIn", json!(["a", "b"]), true),
        ("In", json!([]), false),
        ("NotIn", Value::Null, false),
        ("Exists", Value::Null, true),
        ("DoesNotExist", json!([]), true),
        ("Exists", json!(["a"]), false),
    ] {
        let mut value = json!({"key": "app", "operator": operator});
        if !values.is_null() {
            value["values"] = values;
        }
        assert_eq!(broken(expression, &value).is_none(), fits, "{value}");
    }
}

/// Whether netsim reads a policy without an error.
fn netsim_reads(policy: &Value) -> bool {
    let ingested = ingest_json(&"test".into(), &policy.to_string(), "netsim.dev/v1alpha1", KIND);
    ingested.objects.len() == 1 && !ingested.has_errors()
}

fn policy(egress: Value) -> Value {
    json!({
        "apiVersion": "netsim.dev/v1alpha1", "kind": KIND, "metadata": {"name": "p", "namespace": "a"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "egress": egress},
    })
}

#[test]
fn what_the_schema_takes_and_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let names = |n: usize| (0..n).map(|i| format!("n{i}.example.com")).collect::<Vec<_>>();
    let with_ports = |ports: Value| policy(json!([{"to": [{"domainNames": ["a.example.com"]}], "ports": ports}]));
    for good in [
        policy(json!([])),
        policy(json!([{"to": [{"domainNames": names(25)}, {"domainNames": ["*.example.com"]}]}])),
        with_ports(json!([])),
        with_ports(json!([{}, {"port": 1}, {"protocol": "UDP", "port": 65535}, {"protocol": "SCTP"}])),
        with_ports(json!([{"port": 8000, "endPort": 9000}])),
    ] {
        assert!(validator.is_valid(&good), "{good}: {:?}", validator.iter_errors(&good).collect::<Vec<_>>());
        assert!(netsim_reads(&good), "{good}");
        let typed: EgressDomainPolicy = serde_json::from_value(good.clone()).unwrap();
        let again = serde_json::to_value(&typed).unwrap();
        assert!(validator.is_valid(&again), "{again}");
    }
    for bad in [
        policy(json!([{}])),
        policy(json!([{"to": []}])),
        policy(json!([{"to": [{}]}])),
        policy(json!([{"to": [{"domainNames": []}]}])),
        policy(json!([{"to": [{"domainNames": names(26)}]}])),
        policy(json!([{"to": [{"domainNames": ["10.0.0.1"]}]}])),
        policy(json!([{"to": [{"domainNames": [7]}]}])),
        with_ports(json!([{"port": "https"}])),
        with_ports(json!([{"port": 0}])),
        with_ports(json!([{"port": 65536}])),
        with_ports(json!([{"protocol": "ICMP"}])),
        with_ports(json!([{"protocol": "tcp"}])),
        json!({"apiVersion": "netsim.dev/v1alpha1", "kind": KIND, "metadata": {"name": "p"}, "spec": {"egress": []}}),
        json!({"apiVersion": "netsim.dev/v1alpha1", "kind": KIND, "metadata": {"name": "p"}}),
    ] {
        assert!(!validator.is_valid(&bad), "{bad}");
        // Without a selector, netsim warns.
        assert!(!netsim_reads(&bad) || bad["spec"]["podSelector"].is_null(), "{bad}");
    }
}

#[test]
fn the_example_is_one() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let text = fs::read_to_string(path(EXAMPLE)).unwrap();
    let value = yaml::json(&text);
    assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
    assert!(netsim_reads(&value));
    let typed: EgressDomainPolicy = serde_json::from_value(value).unwrap();
    let names = typed.spec.egress.iter().flat_map(|rule| &rule.to).flat_map(|peer| &peer.domain_names);
    assert!(names.inspect(|name| assert!(netsim_takes(name), "{name}")).count() > 1);
}

#[test]
fn the_roles_are_for_the_kind_and_leave_the_status_to_agents() {
    let text = fs::read_to_string(path("deploy/crd/roles.yaml")).unwrap();
    let roles: Vec<Value> = text.split("---\n").map(yaml::json).collect();
    let mut verbs = Vec::new();
    for role in &roles {
        assert_eq!(
            (&role["apiVersion"], &role["kind"]),
            (&json!("rbac.authorization.k8s.io/v1"), &json!("ClusterRole"))
        );
        let [rule] = role["rules"].as_array().unwrap().as_slice() else { panic!("{role}") };
        assert_eq!((&rule["apiGroups"], &rule["resources"]), (&json!([GROUP]), &json!([PLURAL])));
        verbs.extend(rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned()));
    }
    verbs.sort();
    assert_eq!(verbs, ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
}

#[test]
fn names_that_both_take_and_names_that_both_refuse() {
    let label = "a".repeat(63);
    let long = format!("{}com", "a.".repeat(125));
    for good in [
        "example.com",
        "Example.COM.",
        "*.example.com",
        "*.Example.com.",
        "_dmarc.example.com",
        "a_.b_.example",
        "r3---sn-abc.example.com",
        "1.example",
        "3.2.1.example",
        "a.1a",
        "a.1-a",
        "a.00x7",
        "a.0xg",
        "a.0x1-g",
        "a.0b1",
        "a.0-1a",
        "xn--bcher-kva.example",
        "bücher.example",
        "BÜCHER.example.",
        "*.bücher.example",
        "例え。テスト",
        "faß.example",
        &format!("{label}.com"),
        &format!("a.{label}"),
        &long,
    ] {
        assert_eq!((takes(good), netsim_takes(good)), (true, true), "{good}");
    }
    for bad in [
        "",
        ".",
        "localhost",
        "kubernetes.",
        "10.0.0.1",
        "[2001:db8::1]",
        "2001:db8::1",
        "10.0.0.0/8",
        "127.1",
        "a.127",
        "a.0x",
        "a.0x7f",
        "a.0X7F.",
        "a.007",
        "https://Example.com/login",
        "example.com/login",
        "example.com:443",
        "example..com",
        ".example.com",
        "example.com..",
        "exam ple.com",
        "example.com ",
        "example.com\n",
        "exam!ple.com",
        "-a.example.com",
        "a-.example.com",
        "a.com-",
        "a.1-",
        "*",
        "*.",
        "*.com",
        "*.com.",
        "*.10.0.0.1",
        "**.example.com",
        "*example.com",
        "www.*.example.com",
        "*.*.example.com",
        "*.bücher.*",
        "bücher.example/login",
        &format!("a{label}.com"),
        &format!("a.a{label}"),
        &format!("{long}.com"),
    ] {
        assert_eq!((takes(bad), netsim_takes(bad)), (false, false), "{bad:?}");
    }
}

/// Texts near to names: labels with everything that makes a difference.
fn near_names() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        6 => "[a-zA-Z0-9_-]{0,6}",
        3 => "0[xX]?[0-9a-gA-G_-]{0,4}",
        2 => "[0-9]{1,3}[-_a-z]{0,2}[0-9]{0,2}",
        2 => "[aü。ß\u{ad}*é-]{1,4}",
        1 => "[a-z]{60,66}",
        1 => "xn--[a-z0-9-]{1,8}",
        1 => "[ -~]{1,3}",
    ];
    let labels = prop::collection::vec(label, 1..5).prop_map(|labels| labels.join("."));
    ("(\\*\\.)?", labels, "\\.{0,2}").prop_map(|(front, labels, dots)| format!("{front}{labels}{dots}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_schema_refuses_what_netsim_refuses_and_nothing_else(name in near_names()) {
        if netsim_takes(&name) {
            prop_assert!(takes(&name), "refused although it is a name: {name:?}");
        } else if takes(&name) {
            // What the schema's documentation says it cannot tell.
            let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
            let excused = !name.is_ascii()
                || name.to_ascii_lowercase().contains("xn--")
                || name.trim_start_matches("*.").trim_end_matches('.').len() + 2 > crate::dns::name::MAX_NAME
                || (last.len() > crate::dns::name::MAX_LABEL && last.starts_with(|c: char| c.is_ascii_digit()));
            prop_assert!(excused, "taken although it is no name: {name:?}");
        }
    }

    #[test]
    fn nothing_that_netsim_takes_is_refused(name in "\\PC{0,40}|[aA.*üß。_-]{0,12}") {
        prop_assert!(takes(&name) || !netsim_takes(&name), "{name:?}");
    }
}
