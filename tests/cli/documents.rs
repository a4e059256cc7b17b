//! The commands of the documentation do what it says.
//!
//! Every block of shell in the files below is run, line by line, from a folder that has `examples` in
//! it. Its lines must begin with `netsim` or `cargo run --bin netsim --`. A block of `text` that follows at once is what they
//! print on standard output. A comment before the block says what is different about it:
//!
//! ```text
//! <!-- test: exit 1 -->          the last line ends with this code
//! <!-- test: cluster -->         there is a live cluster with the context `prod`
//! <!-- test: helm -->            the program named is there; it prints manifests
//! <!-- test: enforcer -->        run by the enforcer's tests, which have its program
//! <!-- test: skip: WHY -->       not run
//! ```
//!
//! Several are separated by commas. A block that cannot be run and does not say so fails the test.

use crate::live::objects;
use crate::run::{Answer, PROGRAM, Scratch, quiet, root, run, text_of};
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::documents::{Block, blocks};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const DOCUMENTS: [&str; 4] = ["README.md", "docs/commands.md", "docs/commands/report.md", "examples/shop/README.md"];
/// Documents whose links are followed.
const LINKED: [&str; 12] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benches/README.md",
    "deploy/README.md",
    "docs/commands.md",
    "docs/commands/report.md",
    "docs/enforcer.md",
    "docs/inputs.md",
    "docs/semantics.md",
];
/// Why a block need not be run.
const EXCUSES: [&str; 2] = ["make", "installs"];
/// Programs that lines may pipe from or into, and what stands for them here.
const PROGRAMS: [(&str, &str); 3] = [
    ("helm", "cat \"$ROOT/tests/cli/inputs/rendered.yaml\""),
    ("kubectl", "cat \"$ROOT/tests/cli/inputs/dump.json\""),
    ("dot", "grep -c digraph >/dev/null && echo '<svg/>'"),
];

/// How a block is run.
#[derive(Debug, Default)]
struct How {
    code: i32,
    cluster: bool,
    programs: Vec<&'static str>,
    skipped: bool,
}

impl How {
    fn of(block: &Block) -> Self {
        let mut how = How::default();
        for marker in &block.markers {
            match marker.split_once(' ') {
                Some(("exit", code)) => how.code = code.parse().unwrap(),
                Some(("skip:", why)) if EXCUSES.contains(&why) => how.skipped = true,
                None if marker == "enforcer" => how.skipped = true,
                None if marker == "cluster" => how.cluster = true,
                _ => match PROGRAMS.iter().find(|(name, _)| name == marker) {
                    Some((name, _)) => how.programs.push(name),
                    None => panic!("{}: the test does not know `{marker}`", block.place),
                },
            }
        }
        how
    }
}

/// A folder to run blocks in: `examples` as in the repository, and `bin` with the programs.
fn place_to_run() -> Scratch {
    let scratch = Scratch::new();
    symlink(root().join("examples"), scratch.path().join("examples")).unwrap();
    let bin = scratch.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(PROGRAM, bin.join("netsim")).unwrap();
    scratch
}

fn run_block(block: &Block, how: &How) -> Vec<String> {
    let mut wrong = Vec::new();
    let scratch = place_to_run();
    for (name, does) in PROGRAMS.iter().filter(|(name, _)| how.programs.contains(name)) {
        let file = scratch.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{does}\n"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let server = how.cluster.then(|| ApiServer::start(objects(&text_of("tests/cli/inputs/dump.json"))));
    let kubeconfig = match &server {
        Some(server) => scratch.file("kubeconfig", &server.kubeconfig().replace("kind-a", "prod")),
        None => "/nowhere/kubeconfig".to_owned(),
    };
    let mut printed = String::new();
    for (i, line) in block.lines.iter().enumerate() {
        let line = line.replace("cargo run --bin netsim -- ", "netsim ");
        let starts: Vec<&str> = ["netsim"].into_iter().chain(how.programs.iter().copied()).collect();
        if !starts.contains(&line.split_whitespace().next().unwrap_or_default()) {
            wrong.push(format!("{}: `{line}` cannot be run and has no marker", block.place));
            continue;
        }
        let mut command = quiet("/bin/sh");
        command.args(["-c", &line]).current_dir(scratch.path()).env("KUBECONFIG", &kubeconfig).env("ROOT", root());
        command.env("PATH", format!("{}:/usr/bin:/bin", scratch.path().join("bin").display()));
        let answer: Answer = run(&line, &mut command);
        let code = if i + 1 == block.lines.len() { how.code } else { 0 };
        if answer.code != code {
            wrong.push(format!("{}: ends with another code than {code}\n{answer}", block.place));
        }
        printed.push_str(&answer.out);
    }
    if let Some(output) = block.output.as_ref().filter(|output| **output != printed) {
        wrong.push(format!("{}: prints\n{printed}and the text says\n{output}", block.place));
    }
    wrong
}

#[test]
fn the_commands_of_the_documentation_work() {
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let found = blocks(document, &text_of(document));
        assert!(!found.is_empty(), "{document} has no shell block");
        for block in &found {
            let how = How::of(block);
            if !how.skipped {
                wrong.extend(run_block(block, &how));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Every relative link of the documents leads somewhere.
#[test]
fn links_lead_somewhere() {
    for document in LINKED {
        let folder = root().join(document).parent().unwrap().to_owned();
        for part in text_of(document).split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            let relative = !file.is_empty() && !target.contains("://");
            assert!(!relative || folder.join(file).exists(), "{document}: {target} leads nowhere");
        }
    }
}
