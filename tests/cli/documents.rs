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
//! <!-- test: git -->             the folder is a git repository, and its branch origin/main has the same
//! <!-- test: needs lint -->      not run before there is that command; then the marker has to go
//! <!-- test: enforcer -->        run by the enforcer's tests, which have its program
//! <!-- test: e2e -->             run by the end-to-end tests, which have a cluster
//! <!-- test: skip: WHY -->       not run
//! ```
//!
//! A block behind `<!-- file: NAME -->` is a file that is there when the blocks of its document run.
//! Several markers are separated by commas. A block that cannot be run and does not say so fails the test.

use crate::generated::commands;
use crate::live::objects;
use crate::run::{Answer, PROGRAM, Scratch, copy, quiet, repository, root, run, text_of};
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::documents::{Block, blocks, files};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Folders whose documents are all looked at, and the documents beside them.
const FOLDERS: [&str; 3] = ["docs", "examples", "deploy"];
const DOCUMENTS: [&str; 1] = ["README.md"];
/// Documents with commands of other programs, which other tests run or nothing can.
const OF_OTHERS: [&str; 3] = ["docs/enforcer.md", "docs/semantics.md", "deploy/README.md"];
/// Documents whose links are followed, beside those of the folders.
const LINKED: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benches/README.md"];
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
    git: bool,
    programs: Vec<&'static str>,
    skipped: bool,
}

impl How {
    fn of(block: &Block) -> Self {
        let mut how = How::default();
        for marker in &block.markers {
            match marker.split_once(' ') {
                Some(("exit", code)) => how.code = code.parse().unwrap(),
                Some(("needs", command)) if commands().iter().any(|known| known == command) => {
                    panic!("{}: there is `netsim {command}` now, take the marker `needs {command}` out", block.place)
                }
                Some(("needs", _)) => how.skipped = true,
                Some(("skip:", why)) if EXCUSES.contains(&why) => how.skipped = true,
                None if marker == "enforcer" || marker == "e2e" => how.skipped = true,
                None if marker == "cluster" => how.cluster = true,
                None if marker == "git" => how.git = true,
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
    copy(&root().join("examples"), &scratch.path().join("examples"));
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
    let document = block.place.split(':').next().unwrap();
    for (name, body) in files(&text_of(document)) {
        scratch.file(&name, &body);
    }
    if how.git {
        repository(scratch.path());
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
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", scratch.path().join("bin").display()));
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
    let mut documents: Vec<String> = DOCUMENTS.map(String::from).to_vec();
    documents.extend(FOLDERS.iter().flat_map(|folder| documents_of(folder)));
    documents.retain(|document| !OF_OTHERS.contains(&document.as_str()));
    for document in documents {
        let found = blocks(&document, &text_of(&document));
        let of_a_command = document.starts_with("docs/commands/") || DOCUMENTS.contains(&document.as_str());
        assert!(!found.is_empty() || !of_a_command, "{document} has no shell block");
        for block in &found {
            let how = How::of(block);
            if !how.skipped {
                wrong.extend(run_block(block, &how));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// All documents in a folder and those below it.
fn documents_of(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(documents_of(&path));
        } else if path.ends_with(".md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every relative link of the documents leads somewhere, to a heading too.
#[test]
fn links_lead_somewhere() {
    let mut documents: Vec<String> = LINKED.map(String::from).to_vec();
    documents.extend(FOLDERS.iter().flat_map(|folder| documents_of(folder)));
    let mut wrong = Vec::new();
    for document in documents {
        let (text, folder) = (text_of(&document), root().join(&document).parent().unwrap().to_owned());
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root().join(&document) } else { folder.join(file) };
            let there = path.exists()
                && (heading.is_empty() || anchors(&fs::read_to_string(&path).unwrap()).iter().any(|a| a == heading));
            if !there {
                wrong.push(format!("{document}: {target} leads nowhere"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}
