//! The rules of `netsim lint`, each on manifests that say themselves what is found in them.
//!
//! A folder `tests/lints/NS004/` holds clusters for the rule NS004, one a file. A line on which the
//! rule has to find something ends with `# finds NS004`, or `# finds NS004: part of the message`.
//! Nothing else may be found, and each rule needs a file with findings and one without any.
//!
//! The examples on the pages of `docs/lints/` are clusters too: the comment `<!-- finds: NS004 -->` or
//! `<!-- finds: nothing -->` stands before them.
#![allow(clippy::unwrap_used)]

use netsim::lint::{Context, Finding, RULES, Rule, Settings, lint, of_diagnostics, twins};
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::ingest::{Keep, ingest_keeping};
use netsim_testkit::command::{root, text_of};
use netsim_testkit::documents::examples;
use std::collections::BTreeMap;
use std::fs;

/// What a rule finds in a text of manifests.
fn findings(rule: &'static Rule, name: &str, text: &str) -> Vec<Finding> {
    let ingested = ingest_keeping(name, text.as_bytes(), "default", Keep::Everything);
    if ingested.has_errors() {
        return of_diagnostics(&ingested.diagnostics);
    }
    let twins = twins(&ingested.objects);
    let index = ClusterIndex::new(ingested.objects);
    let compiled = Compiled::new(&index, &Modes::default());
    let context = Context::new(&index, &compiled, twins, &ingested.diagnostics);
    let settings = Settings { select: vec![rule.id], ..Settings::default() };
    let report = lint(&context, &settings, None);
    assert!(report.remarks.is_empty(), "{name}: {:?}", report.remarks);
    report.findings
}

/// The lines that end with `# finds NS004: words`, with the words.
fn expected(rule: &Rule, text: &str) -> Vec<(u32, String)> {
    let mark = format!("# finds {}", rule.id);
    let lines = (1..).zip(text.lines());
    lines
        .filter_map(|(line, text)| {
            let words = text.split_once(&mark)?.1;
            Some((line, words.strip_prefix(':').unwrap_or(words).trim().to_owned()))
        })
        .collect()
}

#[test]
fn every_rule_finds_what_its_fixtures_say() {
    let mut wrong = Vec::new();
    for rule in RULES {
        let folder = root().join("tests/lints").join(rule.id);
        let Ok(entries) = fs::read_dir(&folder) else {
            wrong.push(format!("{}: no folder tests/lints/{}", rule.id, rule.id));
            continue;
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let (mut with, mut without) = (0, 0);
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            let name = format!("tests/lints/{}/{}", rule.id, path.file_name().unwrap().to_string_lossy());
            let expected = expected(rule, &text);
            if expected.is_empty() {
                without += 1
            } else {
                with += 1
            }
            let found = findings(rule, &name, &text);
            let mut left: Vec<&Finding> = found.iter().collect();
            for (line, words) in expected {
                let fits = |f: &&Finding| {
                    f.rule.id == rule.id
                        && f.place.as_ref().is_some_and(|p| p.line == line)
                        && f.message.contains(&words)
                };
                match left.iter().position(fits) {
                    Some(at) => _ = left.remove(at),
                    None => wrong.push(format!("{name}:{line}: {} `{words}` is not found", rule.id)),
                }
            }
            for finding in left {
                let line = finding.place.as_ref().map_or(0, |p| p.line);
                wrong.push(format!("{name}:{line}: {} not expected: {}", finding.rule.id, finding.message));
            }
        }
        // What a rule finds while reading fails the run: without findings is what all others are.
        if with == 0 || without == 0 {
            wrong.push(format!("{}: {with} fixtures with findings, {without} without: one of each is needed", rule.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_belongs_to_a_rule() {
    for entry in fs::read_dir(root().join("tests/lints")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(RULES.iter().any(|rule| rule.id == name), "tests/lints/{name}: no such rule");
    }
}

/// Each page has the rule's title, and its examples are what they say.
#[test]
fn pages_tell_the_truth() {
    let mut wrong = Vec::new();
    for rule in RULES {
        let name = format!("docs/lints/{}.md", rule.id);
        let title = format!("# {}: {}", rule.id, rule.name);
        if rule.page.lines().next() != Some(title.as_str()) {
            wrong.push(format!("{name}: must begin with `{title}`"));
        }
        let mut said: BTreeMap<&str, usize> = BTreeMap::new();
        for example in examples(&name, &text_of(&name), "yaml", "finds") {
            let found = findings(rule, &example.place, &example.text);
            let found = found.iter().filter(|f| f.rule.id == rule.id).count();
            match example.says.as_str() {
                "nothing" if found == 0 => *said.entry("nothing").or_default() += 1,
                word if word == rule.id && found > 0 => *said.entry("something").or_default() += 1,
                word => wrong.push(format!("{}: {found} findings, said `{word}`", example.place)),
            }
        }
        if said.len() < 2 {
            wrong.push(format!("{name}: needs an example that is found and one that is not"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rules_are_a_table() {
    for pair in RULES.windows(2) {
        assert!(pair[0].id < pair[1].id, "{:?} {:?}", pair[0], pair[1]);
    }
    for rule in RULES {
        assert!(rule.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", rule.name);
        assert!(!rule.summary.ends_with('.') && rule.summary.len() < 100, "{}", rule.summary);
    }
}

/// The table on the index page is what the code says. `NETSIM_UPDATE_DOCS=1` writes it.
#[test]
fn the_index_is_the_table() {
    let path = root().join("docs/lints/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- generated: rules -->\n", "<!-- end -->");
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let mut table = "| rule | name | severity | finds | elsewhere |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for rule in RULES {
        table.push_str(&format!(
            "| [{id}]({id}.md) | {} | {} | {} | {} |\n",
            rule.name,
            rule.severity.as_str(),
            rule.summary,
            rule.neighbours.join(", "),
            id = rule.id,
        ));
    }
    let wanted = format!("{head}{begin}{table}{end}{tail}");
    if std::env::var_os("NETSIM_UPDATE_DOCS").is_some() {
        fs::write(&path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "docs/lints/README.md is stale: NETSIM_UPDATE_DOCS=1 cargo test -p netsim --test lints"
        );
    }
}
