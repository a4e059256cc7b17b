//! The enforcer's documents say what is so: their commands run and print what stands there, and the
//! tables of options, metrics, log messages, chains and tests are those of the program.
//!
//! Blocks of shell that are marked `enforcer` are run, line by line, with `netsim-enforcer` on the
//! path and `examples` in the folder:
//!
//! ```text
//! <!-- test: enforcer -->             as any user
//! <!-- test: enforcer, namespace -->  as root of a network namespace of its own
//! <!-- test: enforcer, kubectl -->    there is a `kubectl`, which prints manifests
//! <!-- test: e2e -->                  run by the end-to-end tests, which have a cluster
//! <!-- test: skip: WHY -->            not run
//! ```
#![allow(clippy::unwrap_used)]

use clap::CommandFactory;
use netsim_enforcer::args::Cli;
use netsim_enforcer::observe::metrics::TextFormat;
use netsim_enforcer::observe::policies::OfPolicy;
use netsim_enforcer::observe::{ByPolicy, Metrics};
use netsim_enforcer::render::{Options, render};
use netsim_shared::compile::Compiled;
use netsim_testkit::arbitrary::cluster;
use netsim_testkit::documents::{Block, blocks};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

const PROGRAM: &str = env!("CARGO_BIN_EXE_netsim-enforcer");
const DOCUMENT: &str = "docs/enforcer.md";
/// How many random clusters are looked at for names of sets and chains.
const CLUSTERS: usize = 60;
/// Why a block need not be run.
const EXCUSES: [&str; 5] = ["skip: root", "skip: trace", "skip: node", "skip: installs", "skip: make"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text under a heading, up to the next one of its level or above.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let level = heading.split(' ').next().unwrap();
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`")) + 1;
    let body = &text[start + heading.len()..];
    let ends = (1..=level.len()).filter_map(|n| body.find(&format!("\n{} ", "#".repeat(n))));
    &body[..ends.min().unwrap_or(body.len())]
}

/// The cells of the rows of tables, their heads left out.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("| ---");
    let body = (0..lines.len()).filter(|i| {
        lines[*i].starts_with('|') && !is_rule(lines[*i]) && !lines.get(i + 1).is_some_and(|next| is_rule(next))
    });
    body.map(|i| lines[i].trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A folder that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("netsim-enforcer-docs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("bin")).unwrap();
        symlink(root().join("examples"), path.join("examples")).unwrap();
        symlink(PROGRAM, path.join("bin/netsim-enforcer")).unwrap();
        let kubectl = path.join("bin/kubectl");
        fs::write(&kubectl, "#!/bin/sh\ncat \"$ROOT/tests/cli/inputs/dump.json\"\n").unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a block as one script that ends with its first failure.
fn run(block: &Block) -> Output {
    let scratch = Scratch::new();
    let lines: Vec<String> = block
        .lines
        .iter()
        .map(|line| line.replace("cargo run --bin netsim-enforcer -- ", "netsim-enforcer "))
        .collect();
    let mut command = if block.is_marked("namespace") {
        let mut unshare = Command::new("unshare");
        unshare.arg("--net");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.arg("/bin/sh");
        unshare
    } else {
        Command::new("/bin/sh")
    };
    command.args(["-ec", &lines.join("\n")]).current_dir(&scratch.0).env_clear().env("HOME", "/nowhere");
    let path = format!("{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", scratch.0.display());
    command.env("PATH", path).env("KUBECONFIG", "/nowhere").env("ROOT", root()).output().unwrap()
}

#[test]
fn the_commands_of_the_documentation_work() {
    let mut wrong = Vec::new();
    for document in ["README.md", DOCUMENT, "deploy/README.md"] {
        let mut ran = 0;
        for block in blocks(document, &text_of(document)) {
            let about_us = block.lines.iter().any(|line| line.contains("netsim-enforcer"));
            let excused =
                block.is_marked("e2e") || block.markers.iter().any(|marker| EXCUSES.contains(&marker.as_str()));
            if !block.is_marked("enforcer") {
                // What is about the simulator is run by its own tests.
                if !excused && (about_us || document != "README.md") {
                    wrong.push(format!("{}: neither run nor excused", block.place));
                }
                continue;
            }
            ran += 1;
            let output = run(&block);
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if !output.status.success() {
                wrong.push(format!("{}: {}\n{out}{err}", block.place, output.status));
            }
            if let Some(expected) = block.output.as_ref().filter(|expected| **expected != *out) {
                wrong.push(format!("{}: prints\n{out}{err}and the text says\n{expected}", block.place));
            }
        }
        assert!(ran > 0 || document == "deploy/README.md", "{document} has nothing to run");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_option_is_in_its_table_and_no_other() {
    let text = text_of(DOCUMENT);
    let options = |heading: &str| -> BTreeSet<String> {
        let words = rows(section(&text, heading)).into_iter().flat_map(|row| quoted(row[0]).collect::<Vec<_>>());
        words.filter_map(|word| Some(word.split(' ').next()?.strip_prefix("--")?.to_owned())).collect()
    };
    let shared = |command: &str| match command {
        "run" => vec!["### Ruleset options"],
        "render" | "verify" => vec!["### Ruleset options", "### Input options"],
        "explain" => vec!["### Input options"],
        _ => vec![],
    };
    for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let longs = command.get_arguments().filter_map(|argument| argument.get_long());
        let wanted: BTreeSet<String> =
            longs.filter(|long| !["help", "version"].contains(long)).map(str::to_owned).collect();
        let own = format!("### {name}");
        let told = [vec![own.as_str()], shared(name)].concat().into_iter().flat_map(options).collect();
        assert_eq!(wanted, told, "{name}");
    }
}

#[test]
fn every_metric_is_in_the_table_and_no_other() {
    let metrics = Metrics::new();
    metrics.will_watch("pods");
    metrics.sink("events");
    let of_policy = OfPolicy { kind: "networkpolicies", namespace: String::new(), policy: String::new() };
    drop(metrics.of_policies.programmed_generation.get_or_create(&of_policy));
    metrics.will_tell("log");
    let policy = ByPolicy { direction: "ingress", namespace: "x".into(), policy: "p".into() };
    drop(metrics.policy_denied_packets.get_or_create(&policy));
    let exported = metrics.encode(TextFormat::Prometheus).unwrap();
    let exported: BTreeSet<(&str, &str)> =
        exported.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let text = text_of(DOCUMENT);
    let told = rows(section(&text, "## Metrics")).into_iter().map(|row| (row[0].trim_matches('`'), row[1]));
    assert_eq!(exported, told.collect());
    // Elsewhere, too, nothing is named that is not there.
    for document in [DOCUMENT, "README.md", "ARCHITECTURE.md", "deploy/README.md"] {
        for word in text_of(document).split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("netsim_enforcer_") {
                assert!(exported.iter().any(|(name, _)| *name == word), "{document}: there is no metric `{word}`");
            }
        }
    }
}

fn sources(folder: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

#[test]
fn messages_and_tests_that_are_named_are_there() {
    let text = text_of(DOCUMENT);
    let program = sources("enforcer/src");
    for row in rows(section(&text, "## Logs")) {
        let message = row[0].trim_matches('`');
        assert!(program.contains(&format!("\"{message}")), "the agent never says `{message}`");
    }
    let tests = sources("tests/netns");
    for row in rows(section(&text, "## How this is shown")) {
        for name in quoted(row[1]) {
            assert!(tests.contains(&format!("\"{name}\"")), "there is no test `{name}`");
        }
    }
}

/// What is before the number in names of what is counted.
const COUNTED: [&str; 7] = ["group", "peers", "named", "blocks", "ports", "names", "seen"];

/// Names as the document writes them: of IPv4, with `N` for numbers.
fn general(name: &str) -> String {
    let part = |part: &str| {
        let bare = part.trim_end_matches(|c: char| c.is_ascii_digit());
        match part.strip_suffix('6') {
            _ if bare != part && COUNTED.contains(&bare) => format!("{bare}N"),
            Some(start) => format!("{start}4"),
            None => part.to_owned(),
        }
    };
    name.split('_').map(part).collect::<Vec<_>>().join("_")
}

/// Rendered rulesets have no chain, set or map that the document does not explain.
#[test]
fn every_name_of_a_ruleset_is_explained() {
    let text = text_of(DOCUMENT);
    let told: BTreeSet<&str> =
        rows(section(&text, "## The ruleset")).into_iter().flat_map(|row| quoted(row[0]).collect::<Vec<_>>()).collect();
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(1), ..Config::default() });
    let mut seen = BTreeSet::new();
    for _ in 0..CLUSTERS {
        let cluster = cluster().new_tree(&mut runner).unwrap().current();
        let compiled = Compiled::new(&cluster.index(), &cluster.modes);
        let nodes: BTreeSet<Box<str>> = compiled.entries().filter_map(|(_, e)| e.endpoint.node.clone()).collect();
        for node in nodes {
            let ruleset = render(&compiled, &Options { node, ..Options::default() }, &[], 1);
            seen.extend(ruleset.chains.keys().chain(ruleset.sets.keys()).map(|name| general(name)));
        }
    }
    let unexplained: Vec<&String> = seen.iter().filter(|name| !told.contains(name.as_str())).collect();
    assert!(unexplained.is_empty(), "not explained: {unexplained:?}");
    let unseen: Vec<&&str> = told.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(unseen.is_empty(), "explained, and in no ruleset: {unseen:?}");
}
