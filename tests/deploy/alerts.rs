//! The alerts.

use crate::Test;
use crate::expressions::{named, unknown};
use crate::tools::{file, tool};
use netsim_testkit::command::{Scratch, text_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const TESTS: [Test; 3] = [
    ("alerts_name_what_there_is", alerts_name_what_there_is),
    ("alerts_say_what_they_mean", alerts_say_what_they_mean),
    ("alerts_fire_when_they_should", alerts_fire_when_they_should),
];

const RULES: &str = "deploy/kustomize/components/monitoring/prometheusrule.yaml";
/// The tests of the rules, as promtool takes them.
const CASES: &str = "tests/deploy/alerts.yaml";
/// Where the documents are.
const REPOSITORY: &str = "https://github.com/netsim-dev/netsim/blob/main/";

fn groups() -> Value {
    file(RULES)[0]["spec"]["groups"].clone()
}

fn alerts(groups: &Value) -> impl Iterator<Item = &Value> {
    groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}`: {value}"))
}

fn alerts_name_what_there_is() {
    let groups = groups();
    let wrong = unknown(alerts(&groups).map(|alert| text(alert, "expr")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// As the pages of a repository make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn alerts_say_what_they_mean() {
    let groups = groups();
    let mut names = BTreeSet::new();
    for alert in alerts(&groups) {
        let name = text(alert, "alert");
        assert!(names.insert(name) && name.starts_with("NetsimEnforcer"), "{name}");
        assert!(["critical", "warning", "info"].contains(&text(&alert["labels"], "severity")), "{name}");
        let annotations = &alert["annotations"];
        let (summary, description) = (text(annotations, "summary"), text(annotations, "description"));
        assert!(summary.ends_with('.') && description.ends_with('.'), "{name}");
        // A label is only filled in if the expression leaves it.
        let named = named(text(alert, "expr"));
        let all_kept = !text(alert, "expr").contains("by (");
        for label in format!("{summary} {description}").split("$labels.").skip(1) {
            let label: String = label.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(all_kept || named.labels.contains(&label), "{name}: no label `{label}`");
        }
        let place = text(annotations, "runbook_url").strip_prefix(REPOSITORY).unwrap_or_else(|| panic!("{name}"));
        let (path, wanted) = place.split_once('#').unwrap_or_else(|| panic!("{name}: no heading"));
        let document = text_of(path);
        let headings = document.lines().filter(|line| line.starts_with('#'));
        let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
        assert!(anchors.any(|known| known == wanted), "{name}: no heading for {place}");
    }
}

fn alerts_fire_when_they_should() {
    let scratch = Scratch::new();
    let rules = scratch.file("rules.yaml", &json!({"groups": groups()}).to_string());
    tool("promtool", &["check", "rules", &rules]).exits(0);
    // Of the texts, the tests have the summaries.
    let mut short = groups();
    for group in short.as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            rule["annotations"].as_object_mut().unwrap().retain(|key, _| key == "summary");
        }
    }
    scratch.file("rules.yaml", &json!({"groups": short}).to_string());
    let cases = text_of(CASES);
    let tested: Value = serde_saphyr::from_str(&cases).unwrap();
    let tests = tested["tests"].as_array().unwrap();
    let cases = scratch.file("cases.yaml", &cases);
    tool("promtool", &["test", "rules", &cases]).exits(0);
    // Each has been seen to fire, and to keep silent.
    let groups = groups();
    for alert in alerts(&groups) {
        let name = text(alert, "alert");
        let cases = tests.iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
        let fired: Vec<bool> = cases
            .filter(|case| case["alertname"] == name)
            .map(|case| case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()))
            .collect();
        assert!(fired.contains(&true) && fired.contains(&false), "{name} is not tested in {CASES}");
    }
}
