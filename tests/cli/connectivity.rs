//! `netsim test`: files of tests, what is wrong with them, and results in every form.

use crate::assert_answer;
use crate::run::{Answer, Scratch, netsim, netsim_reading, root, text_of};
use crate::schemas::{fits_schema, of_yaml, schema};
use netsim_shared::assertion;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const INPUTS: &str = "tests/cli/inputs/connectivity";
const FORMATS: [&str; 4] = ["text", "json", "junit", "tap"];

fn test(file: &str, options: &str) -> Answer {
    netsim(format!("test {INPUTS}/{file} {options}").trim_end())
}

#[test]
fn the_example_in_every_form() {
    for format in FORMATS {
        let answer = netsim(&format!("test examples/shop -o {format}")).exits(1);
        assert_answer!(format!("test-shop-{format}"), answer);
    }
}

#[test]
fn what_does_not_hold_in_every_form() {
    for format in FORMATS {
        assert_answer!(format!("test-broken-{format}"), test("broken.netsim.yaml", &format!("-o {format}")).exits(1));
    }
}

#[test]
fn what_cannot_be_told_in_every_form() {
    for format in FORMATS {
        assert_answer!(format!("test-untold-{format}"), test("untold.netsim.yaml", &format!("-o {format}")).exits(3));
    }
    assert_answer!("test-foreign", test("foreign.netsim.yaml", "").exits(3));
}

/// Everything that is wrong is told at once, each at its place; nothing is checked.
#[test]
fn wrong_files_in_full() {
    for name in ["wrong", "names", "version", "headless", "two", "elsewhere", "empty", "unclosed"] {
        assert_answer!(format!("test-bad-{name}"), test(&format!("{name}.netsim.yaml"), "").exits(2));
    }
    let several = format!("test {INPUTS}/kustomization.yaml examples/shop/shop.yaml {INPUTS}/broken.netsim.yaml");
    assert_answer!("test-bad-manifests", netsim(&several).exits(2));
    assert_answer!("test-bad-paths", netsim("test nowhere.netsim.yaml tests/fixtures 'no*.netsim.yaml'").exits(2));
    assert_answer!("test-bad-filter", netsim("test examples/shop --filter datenbank").exits(2));
    assert_answer!("test-bad-usage", netsim("test").exits(2));
}

/// Every option has its place in the command's page.
/// One that fails counts for more than one that cannot be told.
#[test]
fn exit_codes() {
    let both = format!("test {INPUTS}/untold.netsim.yaml {INPUTS}/broken.netsim.yaml");
    netsim(&both).exits(1).says("14 tests: 1 ok, 10 failed, 3 unknown");
    test("untold.netsim.yaml", "--filter frontend").exits(0).says("1 test: 1 ok");
    test("untold.netsim.yaml", "--filter PROCESSOR").exits(3).says("3 tests: 0 ok, 3 unknown");
    netsim("test examples/shop --filter 'the shop'").exits(1).says("3 tests: 2 ok, 1 failed");
}

/// `input` is what is read, unless the command line names something else.
#[test]
fn inputs_of_the_command_line_replace_those_of_the_file() {
    let scratch = Scratch::new();
    let head = "apiVersion: netsim.dev/v1alpha1\nkind: ConnectivityTest\n";
    let tests = "tests:\n  - denied: {from: here/client, to: 'here/server:8081'}\n";
    let near = root().join("tests/cli/inputs/near.yaml");
    let shop = root().join("examples/shop");
    let right = scratch.file("right.netsim.yaml", &format!("{head}input: {}\n{tests}", near.display()));
    netsim(&format!("test {right}")).exits(0).says("1 test: 1 ok");
    netsim(&format!("test {right} -f examples/shop")).exits(2).says("no namespace `here` in the input");
    let wrong = scratch.file("wrong.netsim.yaml", &format!("{head}input: {}\n{tests}", shop.display()));
    netsim(&format!("test {wrong}")).exits(2).says("no namespace `here` in the input");
    netsim(&format!("test {wrong} {right} -f tests/cli/inputs/near.yaml")).exits(0).says("2 tests: 2 ok");
    // Both clusters in one run.
    netsim(&format!("test {right} examples/shop --filter here/")).exits(0).says("1 test: 1 ok");
    // Without either it is standard input.
    let none = scratch.file("none.netsim.yaml", &format!("{head}{tests}"));
    netsim_reading(&format!("test {none}"), &text_of("tests/cli/inputs/near.yaml")).exits(0).says("1 test: 1 ok");
    netsim_reading(&format!("test {right}"), "").exits(0).says("1 test: 1 ok");
    netsim_reading(&format!("test {wrong} -f -"), &text_of("tests/cli/inputs/near.yaml")).exits(0);
}

#[test]
fn an_output_file_beside_the_text() {
    let scratch = Scratch::new();
    let path = scratch.path().join("report.xml");
    let options = format!("-o junit --out {}", path.display());
    let answer = netsim(&format!("test examples/shop {options}")).exits(1).says("12 tests: 11 ok, 1 failed");
    let plain = netsim("test examples/shop").exits(1);
    assert_eq!(answer.out, plain.out);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), netsim("test examples/shop -o junit").out);
    netsim("test examples/shop --out /nowhere/report.xml").exits(2).says("/nowhere/report.xml");
}

/// A directory is searched for files of tests, and manifests beside them are read without a word about the tests.
#[test]
fn directories_and_globs() {
    let answer = netsim("test 'examples/*/*.netsim.yaml'").exits(1);
    assert_eq!(answer.out, netsim("test examples").out);
    assert_eq!(answer.out, netsim("test examples/shop examples/shop/connectivity.netsim.yaml").out);
    assert_eq!(netsim("matrix -f examples/shop").exits(0).err.matches("ConnectivityTest").count(), 0);
}

#[test]
fn junit_is_read_back() {
    for command in ["examples/shop", "tests/cli/inputs/connectivity/untold.netsim.yaml"] {
        let xml = netsim(&format!("test {command} -o junit")).out;
        let document = roxmltree::Document::parse(&xml).unwrap();
        let report = netsim(&format!("test {command} -o json")).json();
        let root = document.root_element();
        for (attribute, field) in [("tests", "tests"), ("failures", "failed"), ("errors", "unknown")] {
            assert_eq!(root.attribute(attribute).unwrap(), report["summary"][field].to_string(), "{command}");
        }
        let cases = root.descendants().filter(|node| node.has_tag_name("testcase"));
        let tests = report["files"][0]["tests"].as_array().unwrap();
        assert_eq!(cases.clone().count(), tests.len());
        for (case, test) in cases.zip(tests) {
            assert_eq!(case.attribute("name"), test["name"].as_str());
            assert_eq!(case.attribute("line").unwrap(), test["line"].to_string());
            let child = case.children().find(|node| node.is_element()).map(|node| node.tag_name().name());
            let wanted = match test["status"].as_str().unwrap() {
                "ok" => None,
                "failed" => Some("failure"),
                _ => Some("error"),
            };
            assert_eq!(child, wanted);
        }
    }
}

#[test]
fn json_fits_its_schema() {
    for command in [
        "test examples/shop".to_owned(),
        format!("test {INPUTS}/broken.netsim.yaml"),
        format!("test {INPUTS}/untold.netsim.yaml"),
        format!("test {INPUTS}/foreign.netsim.yaml"),
        format!("test {INPUTS}/untold.netsim.yaml {INPUTS}/broken.netsim.yaml --filter frontend"),
    ] {
        fits_schema("test-report", &["can-reach"], &format!("{command} -o json"));
    }
}

/// What the parser takes fits the schema for editors, and what it refuses for its form does not.
#[test]
fn the_schema_for_editors_agrees_with_the_parser() {
    let validator = jsonschema::validator_for(&schema("test")).unwrap();
    let fits = |file: &str| validator.is_valid(&of_yaml(&text_of(file)));
    for good in ["examples/shop/connectivity.netsim.yaml".to_owned()]
        .into_iter()
        .chain(["broken", "untold", "foreign", "names"].map(|name| format!("{INPUTS}/{name}.netsim.yaml")))
    {
        let wrong: Vec<String> = validator
            .iter_errors(&of_yaml(&text_of(&good)))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{good}: {}", wrong.join("\n"));
        assert!(assertion::parse(&good, &text_of(&good)).is_ok(), "{good}");
    }
    for bad in ["version", "headless"] {
        assert!(!fits(&format!("{INPUTS}/{bad}.netsim.yaml")), "{bad}");
    }
    // Every test of the file with mistakes is refused by both, one by one.
    let wrong = of_yaml(&text_of(&format!("{INPUTS}/wrong.netsim.yaml")));
    for test in wrong["tests"].as_array().unwrap() {
        both_refuse(&validator, &json!([test]), test);
    }
    for (good, test) in [
        (true, json!({"denied": {"from": "a/*", "to": {"podSelector": {}, "port": "http", "protocol": "TCP"}}})),
        (true, json!({"onlyTo": {"from": {"namespaceSelector": {}}, "to": ["10.0.0.0/8:53/udp"], "outside": false}})),
        (true, json!({"isolated": {"byPodLabel": "app", "except": [{"to": "a/b"}]}})),
        (false, json!({"denied": {"from": "a/*"}})),
        (false, json!({"denied": {"from": "", "to": "a/b"}})),
        (false, json!({"denied": {"from": {}, "to": "a/b"}})),
        (false, json!({"denied": {"from": [["a/b"]], "to": "a/b"}})),
        (false, json!({"isolated": {"by": 7}})),
        (false, json!({"name": 7, "isolated": {"by": "x"}})),
        (false, json!("allowed")),
    ] {
        if good {
            let suite = suite(&json!([test]));
            assert!(validator.is_valid(&suite), "{test}");
            assert!(assertion::parse("test", &suite.to_string()).is_ok(), "{test}");
        } else {
            both_refuse(&validator, &json!([test]), &test);
        }
    }
    both_refuse(&validator, &json!([]), &json!("no test"));
}

fn suite(tests: &Value) -> Value {
    json!({"apiVersion": assertion::API_VERSION, "kind": assertion::KIND, "tests": tests})
}

/// Words are the parser's alone: an editor cannot know their grammar.
const OF_WORDS: [&str; 2] = ["shop/frob/db", "app in web"];

fn both_refuse(validator: &jsonschema::Validator, tests: &Value, shown: &Value) {
    let suite = suite(tests);
    assert!(assertion::parse("test", &suite.to_string()).is_err(), "the parser takes {shown}");
    let is_of_words = OF_WORDS.iter().any(|word| shown.to_string().contains(word));
    assert!(is_of_words || !validator.is_valid(&suite), "the schema takes {shown}");
}

/// The keys of the schema are those of the parser.
#[test]
fn the_schema_has_the_parsers_keys() {
    let schema = schema("test");
    let keys = |at: &str| -> BTreeSet<String> {
        let properties = schema.pointer(&format!("{at}/properties")).and_then(Value::as_object);
        properties.unwrap_or_else(|| panic!("{at} has no properties")).keys().cloned().collect()
    };
    let of = |keys: &[&str]| -> BTreeSet<String> { keys.iter().map(|key| (*key).to_owned()).collect() };
    assert_eq!(keys(""), of(&assertion::SUITE_KEYS));
    assert_eq!(keys("/definitions/test"), of(&assertion::TEST_KEYS));
    assert_eq!(keys("/definitions/ends"), of(&assertion::ENDS_KEYS));
    assert_eq!(keys("/definitions/only"), of(&assertion::ONLY_KEYS));
    assert_eq!(keys("/definitions/isolated"), of(&assertion::ISOLATED_KEYS));
    assert_eq!(keys("/definitions/exception"), of(&assertion::EXCEPT_KEYS));
    assert_eq!(keys("/definitions/source/oneOf/1"), of(&assertion::PODS_KEYS[..3]));
    assert_eq!(keys("/definitions/destination/oneOf/1"), of(&assertion::PODS_KEYS));
    let alternatives = schema["definitions"]["test"]["oneOf"].as_array().unwrap();
    let required: Vec<&str> = alternatives.iter().map(|one| one["required"][0].as_str().unwrap()).collect();
    assert_eq!(required, assertion::ASSERTIONS);
    assert_eq!(schema["properties"]["apiVersion"]["const"], assertion::API_VERSION);
    assert_eq!(schema["properties"]["kind"]["const"], assertion::KIND);
}
