//! The dashboard.

use crate::Test;
use crate::expressions::unknown;
use crate::tools::tool;
use netsim_testkit::command::{Scratch, text_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const TESTS: [Test; 2] = [
    ("the_dashboard_holds_together", the_dashboard_holds_together),
    ("its_expressions_are_some", its_expressions_are_some),
];

const DASHBOARD: &str = "deploy/kustomize/components/monitoring/netsim-enforcer.json";

fn dashboard() -> Value {
    serde_json::from_str(&text_of(DASHBOARD)).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

fn targets(dashboard: &Value) -> impl Iterator<Item = &Value> {
    panels(dashboard).iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no `{key}`: {value}"))
}

fn the_dashboard_holds_together() {
    let dashboard = dashboard();
    // Whoever imports it has ids and data sources of their own.
    assert!(dashboard.get("id").is_none() && dashboard.get("uid").is_none());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource"));
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let panels = panels(&dashboard);
    let shown = panels.iter().filter(|panel| panel["type"] != "row");
    let queries = variables.iter().filter(|variable| variable["type"] == "query");
    for part in shown.chain(targets(&dashboard)).chain(queries) {
        assert_eq!(part["datasource"], source, "{part}");
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| number(panel, "id")).collect();
    assert_eq!(ids.len(), panels.len(), "an id is there twice");
    // No panel lies on another.
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = &panel["gridPos"];
        assert!(number(at, "x") + number(at, "w") <= 24, "{at}");
        for x in number(at, "x")..number(at, "x") + number(at, "w") {
            for y in number(at, "y")..number(at, "y") + number(at, "h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
        let mut names = BTreeSet::new();
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert!(names.insert(target["refId"].as_str().unwrap()), "{}", panel["title"]);
        }
    }
}

fn its_expressions_are_some() {
    let dashboard = dashboard();
    let expressions: Vec<&str> = targets(&dashboard).map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(!expressions.is_empty());
    let wrong = unknown(expressions.iter().copied());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Each as a rule, with the variables filled in as Grafana does.
    let filled = |text: &str| text.replace("$__rate_interval", "5m").replace("$node", "node-1|node-2");
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(i, text)| json!({"record": format!("r:{i}"), "expr": filled(text)}))
        .collect();
    let scratch = Scratch::new();
    let file = scratch.file("rules.yaml", &json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string());
    tool("promtool", &["check", "rules", &file]).exits(0);
}
