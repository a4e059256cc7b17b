//! Every question of `examples/shop/README.md`, as its table answers them.

use crate::assert_answer;
use crate::run::{netsim, text_of};

struct Row {
    from: String,
    to: String,
    verdict: String,
}

fn rows() -> Vec<Row> {
    let text = text_of("examples/shop/README.md");
    let table = text.lines().skip_while(|line| !line.starts_with("| from | to | answer |")).skip(2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace(['`', '*'], "")).collect();
            let [_, from, to, verdict, ..] = cells.as_slice() else { panic!("not a row: {line}") };
            Row { from: from.clone(), to: to.clone(), verdict: verdict.clone() }
        })
        .collect()
}

#[test]
fn every_answer_of_the_table_holds() {
    let rows = rows();
    assert!(rows.len() >= 10, "the table of examples/shop/README.md was not found");
    let mut wrong = Vec::new();
    for row in rows {
        let answer = netsim(&format!("can-reach -f examples/shop {} {}", row.from, row.to));
        let code = match row.verdict.as_str() {
            "allowed" => 0,
            "denied" | "mixed" => 1,
            _ => 3,
        };
        if answer.out.split_whitespace().next() != Some(&row.verdict) || answer.code != code {
            wrong.push(format!("the table says {}\n{answer}", row.verdict));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn some_answers_in_full() {
    for (name, arguments) in [
        ("shop-allowed", "can-reach -f examples/shop shop/deploy/frontend shop/svc/api:8080"),
        ("shop-allowed-explained", "can-reach -f examples/shop shop/deploy/frontend shop/svc/api:8080 --explain"),
        ("shop-mistake", "can-reach -f examples/shop shop/deploy/api analytics/svc/collector:4318"),
        ("shop-mistake-json", "can-reach -f examples/shop shop/deploy/api analytics/svc/collector:4318 -o json"),
        ("shop-mistake-yaml", "can-reach -f examples/shop shop/deploy/api analytics/svc/collector:4318 -o yaml"),
        ("shop-outside", "can-reach -f examples/shop payments/deploy/gateway 203.0.113.20:443"),
        ("shop-from-outside", "can-reach -f examples/shop 203.0.113.9 ingress/svc/controller:443 --explain"),
        ("shop-named-port", "can-reach -f examples/shop monitoring/deploy/prometheus payments/sts/db:5432"),
    ] {
        assert_answer!(name, netsim(arguments));
    }
}

/// The correction that the README of the example proposes makes the mistake go away.
#[test]
fn the_correction_of_the_mistake_corrects_it() {
    let scratch = crate::run::Scratch::new();
    let readme = text_of("examples/shop/README.md");
    let peer = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let analytics = text_of("examples/shop/analytics.yaml");
    let (start, rest) =
        analytics.split_once("  name: collector\n  namespace: analytics\nspec:\n  podSelector:").unwrap();
    let (rule, end) = rest.split_once("      ports:\n").unwrap();
    let head = "  name: collector\n  namespace: analytics\nspec:\n  podSelector:";
    let corrected = format!("{start}{head}{rule}{peer}      ports:\n{end}");
    let file = scratch.file("analytics.yaml", &corrected);
    netsim(&format!("can-reach -f examples/shop -f {file} shop/deploy/api analytics/svc/collector:4318")).exits(0);
}
