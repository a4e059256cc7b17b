//! Expressions of Prometheus, looked at for what they name. Whether they are expressions, promtool says.

use crate::Test;
use netsim_enforcer::observe::metrics::TextFormat;
use netsim_enforcer::observe::policies::OfPolicy;
use netsim_enforcer::observe::{ByPolicy, Metrics};
use netsim_testkit::command::text_of;
use std::collections::{BTreeMap, BTreeSet};

pub const TESTS: [Test; 1] = [("names_are_found", names_are_found)];

/// The labels that come with the target: from the PodMonitor, and from Prometheus itself.
const TARGET: [&str; 7] = ["node", "job", "instance", "namespace", "pod", "container", "endpoint"];

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub metrics: BTreeSet<String>,
    pub labels: BTreeSet<String>,
}

/// The words and signs of an expression; strings are left out.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = expression.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '"' || c == '\'' {
            while rest.next_if(|next| *next != c).is_some() {}
            rest.next();
        } else if c.is_ascii_alphanumeric() || "_:$".contains(c) {
            let mut word = c.to_string();
            while let Some(next) = rest.next_if(|next| next.is_ascii_alphanumeric() || "_:.".contains(*next)) {
                word.push(next);
            }
            tokens.push(word);
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}

/// Metrics and labels of an expression.
pub fn named(expression: &str) -> Named {
    let tokens = tokens(expression);
    let (mut named, mut in_selector, mut in_list, mut in_range) = (Named::default(), false, false, false);
    for (i, token) in tokens.iter().enumerate() {
        let next = tokens.get(i + 1).map(String::as_str).unwrap_or_default();
        let before = i.checked_sub(1).map(|i| tokens[i].as_str()).unwrap_or_default();
        let is_word = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        match token.as_str() {
            "{" => in_selector = true,
            "}" => in_selector = false,
            "[" => in_range = true,
            "]" => in_range = false,
            "(" => in_list = ["by", "without", "on", "ignoring"].contains(&before),
            ")" => in_list = false,
            _ if !is_word || in_range => {}
            _ if in_selector || in_list => _ = named.labels.insert(token.clone()),
            "by" | "without" | "on" | "ignoring" | "and" | "or" | "unless" | "bool" | "offset" => {}
            // An aggregation may have its labels before what it aggregates.
            _ if next == "(" || ["by", "without"].contains(&next) => {}
            _ => _ = named.metrics.insert(token.clone()),
        }
    }
    named
}

/// The metrics of the agent with their labels, which the document has and a test keeps true.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::new();
    // What has no value for any label yet is not there.
    metrics.will_watch("pods");
    drop(metrics.sink("events"));
    let (namespace, policy) = ("x".to_owned(), "p".to_owned());
    let of = OfPolicy { kind: "networkpolicies", namespace: namespace.clone(), policy: policy.clone() };
    drop(metrics.of_policies.programmed_generation.get_or_create(&of));
    drop(metrics.policy_denied_packets.get_or_create(&ByPolicy { direction: "ingress", namespace, policy }));
    let text = metrics.encode(TextFormat::Prometheus).unwrap();
    let types: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let document = text_of("docs/enforcer.md");
    let rows = document.lines().filter(|line| line.starts_with("| `netsim_enforcer_"));
    let labels: BTreeMap<&str, BTreeSet<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[3].split('`').skip(1).step_by(2).map(str::to_owned);
            (cells[1].trim_matches('`'), labels.collect())
        })
        .collect();
    let mut exported = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
    for (name, kind) in types {
        let own = labels.get(name).unwrap_or_else(|| panic!("{name} is not in the document"));
        if kind == "histogram" {
            for ending in ["_sum", "_count"] {
                exported.insert(format!("{name}{ending}"), own.clone());
            }
            let with_bound = own.iter().cloned().chain(["le".to_owned()]).collect();
            exported.insert(format!("{name}_bucket"), with_bound);
        } else {
            exported.insert(name.to_owned(), own.clone());
        }
    }
    exported
}

/// What expressions name and there is not.
pub fn unknown<'e>(expressions: impl IntoIterator<Item = &'e str>) -> Vec<String> {
    let exported = exported();
    let mut unknown = Vec::new();
    for expression in expressions {
        let named = named(expression);
        let mut labels: BTreeSet<&str> = BTreeSet::from(TARGET);
        assert!(!named.metrics.is_empty(), "it names nothing: {expression}");
        for metric in &named.metrics {
            match exported.get(metric) {
                Some(own) => labels.extend(own.iter().map(String::as_str)),
                None => unknown.push(format!("no metric `{metric}`: {expression}")),
            }
        }
        let others = named.labels.iter().filter(|label| !labels.contains(label.as_str()));
        unknown.extend(others.map(|label| format!("no label `{label}`: {expression}")));
    }
    unknown
}

fn names_are_found() {
    let of = |metrics: &[&str], labels: &[&str]| Named {
        metrics: metrics.iter().map(|text| (*text).to_owned()).collect(),
        labels: labels.iter().map(|text| (*text).to_owned()).collect(),
    };
    let quantile = "histogram_quantile(0.9, sum by (node, le) (rate(a_bucket{x=~\"b|c\", y!=\"}\"}[10m]))) > 2";
    assert_eq!(named(quantile), of(&["a_bucket"], &["node", "le", "x", "y"]));
    assert_eq!(named("count(count by (v) (a)) > 1 or vector(0)"), of(&["a"], &["v"]));
    assert_eq!(named("sum(rate(a[$__rate_interval])) without (x) / on (y) b offset 5m"), of(&["a", "b"], &["x", "y"]));
    assert_eq!(named("time() - a{node=~\"$node\"}"), of(&["a"], &["node"]));
    let unknown = unknown([
        "netsim_enforcer_ready{kind=\"x\"}",
        "netsim_enforcer_readi",
        "sum by (node, kind) (netsim_enforcer_events_total)",
    ]);
    assert_eq!(unknown.len(), 2, "{unknown:?}");
}
