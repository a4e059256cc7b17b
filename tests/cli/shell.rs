//! The program among shells: help, completions, colours, pipes, and as a plugin of kubectl.

use crate::assert_answer;
use crate::run::{PROGRAM, Scratch, netsim, quiet, run};
use std::io::{BufRead, BufReader};

const COMMANDS: [&str; 6] = ["can-reach", "list", "matrix", "report", "snapshot", "completions"];

#[test]
fn help() {
    assert_answer!("help", netsim("--help").exits(0));
    for command in COMMANDS {
        assert_answer!(format!("help-{command}"), netsim(&format!("{command} --help")).exits(0));
    }
}

/// Every command, and every option of one, has its place in docs/commands.md or on a page of its own.
#[test]
fn the_documentation_names_every_command_and_option() {
    for command in COMMANDS {
        let mut text = crate::run::text_of("docs/commands.md");
        let page = format!("docs/commands/{command}.md");
        if crate::run::root().join(&page).exists() {
            text.push_str(&format!("\n#{}", crate::run::text_of(&page)));
        }
        assert!(text.contains(&format!("\n## {command}\n")), "no section about {command}");
        for word in netsim(&format!("{command} --help")).out.split_whitespace() {
            let option = word.trim_matches(|c: char| !c.is_ascii_alphabetic() && c != '-');
            if option.starts_with("--") && option.len() > 2 {
                assert!(text.contains(&format!("`{option}")), "{command}: nothing about {option}");
            }
        }
    }
}

#[test]
fn bad_usage_ends_with_2() {
    for (name, arguments) in [
        ("nothing", ""),
        ("command", "can-rech"),
        ("option", "list --namespce shop"),
        ("no-destination", "can-reach -f examples/shop shop/deploy/api"),
        ("format", "matrix -f examples/shop -o dot"),
        ("expect", "can-reach -f examples/shop shop/deploy/api shop/svc/db --expect mixed"),
        ("shell", "completions tcsh"),
    ] {
        assert_answer!(format!("usage-{name}"), netsim(arguments).exits(2));
    }
}

#[test]
fn completions() {
    let script = netsim("completions bash").exits(0);
    assert!(script.out.starts_with("_netsim()"), "{script}");
    for command in COMMANDS {
        assert!(script.out.contains(command), "{command} cannot be completed");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(!netsim(&format!("completions {shell}")).exits(0).out.is_empty());
    }
}

#[test]
fn version() {
    let version = format!("netsim {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(netsim("--version").exits(0).out, version);
}

#[cfg(unix)]
#[test]
fn as_a_plugin_it_calls_itself_so() {
    let scratch = Scratch::new();
    let plugin = scratch.path().join("kubectl-netsim");
    std::os::unix::fs::symlink(PROGRAM, &plugin).unwrap();
    let help = run("kubectl netsim --help", quiet(&plugin).arg("--help")).exits(0);
    help.clone().says("Usage: kubectl netsim [OPTIONS] <COMMAND>");
    let usage = run("kubectl netsim can-reach", quiet(&plugin).arg("can-reach")).exits(2);
    usage.says("Usage: kubectl netsim can-reach <SRC> <DST>");
}

#[test]
fn colours_only_where_they_are_asked_for() {
    let denied = "can-reach -f examples/shop shop/deploy/frontend shop/svc/db:5432";
    let list = "list -f examples/shop -n payments";
    let wrong = "list -f tests/cli/inputs/wrong-two.yaml";
    for arguments in [denied, list, wrong] {
        let escapes = |options: &str| {
            let answer = netsim(&format!("{arguments}{options}"));
            answer.out.contains('\u{1b}') || answer.err.contains('\u{1b}')
        };
        assert!(!escapes(""), "a pipe has no colours: {arguments}");
        assert!(!escapes(" --color auto"), "a pipe has no colours: {arguments}");
        assert!(!escapes(" --color never"), "{arguments}");
        assert!(escapes(" --color always"), "{arguments}");
    }
    let plain = netsim(denied);
    let coloured = netsim(&format!("{denied} --color always"));
    assert_eq!(anstream::adapter::strip_str(&coloured.out).to_string(), plain.out);
}

#[test]
fn what_programs_read_has_no_colours() {
    for format in ["json", "csv", "md", "dot"] {
        let answer = netsim(&format!("list -f examples/shop -o {format} --color always")).exits(0);
        assert!(!answer.out.contains('\u{1b}'), "{format}");
    }
    let answer =
        netsim("can-reach -f examples/shop shop/deploy/frontend shop/svc/db:5432 -o json --color always").exits(1);
    assert!(!answer.out.contains('\u{1b}'));
}

/// A reader that leaves after the first line, as `head -1` does, is no failure.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let scratch = Scratch::new();
    let pods: String = (0..400)
        .map(|i| format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{i:03}, namespace: x}}\nspec: {{containers: [{{name: main}}]}}\n"))
        .collect();
    let file = scratch.file("pods.yaml", &pods);
    for arguments in [
        vec!["list", "-f", &file, "--expand"],
        vec!["list", "-f", &file, "--expand", "-o", "json"],
        vec!["list", "-f", &file, "--expand", "-o", "csv"],
        vec!["matrix", "-f", &file, "--expand"],
        vec!["matrix", "-f", &file, "--expand", "-o", "csv"],
        vec!["matrix", "-f", &file, "--expand", "-o", "json"],
        vec!["completions", "bash"],
    ] {
        let mut child = quiet(PROGRAM).args(&arguments).spawn().unwrap();
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let rest = child.wait_with_output().unwrap();
        let said = String::from_utf8(rest.stderr).unwrap();
        assert!(!said.contains("panicked") && !said.contains("error"), "{arguments:?}: {said}");
        assert_eq!(rest.status.code(), Some(0), "{arguments:?}: {said}");
    }
}
