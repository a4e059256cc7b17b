//! `netsim.yaml`: where it is found, what it sets, and what is said when it is wrong.

use crate::assert_answer;
use crate::run::{Answer, PROGRAM, Scratch, netsim, quiet, root, run, run_reading, text_of, words};
use std::fs;
use std::process::Command;

/// A repository with `examples`, a configuration, and folders below it.
fn repository(config: &str) -> Scratch {
    let scratch = Scratch::new();
    std::os::unix::fs::symlink(root().join("examples"), scratch.path().join("examples")).unwrap();
    fs::create_dir_all(scratch.path().join(".git")).unwrap();
    fs::create_dir_all(scratch.path().join("deep/er")).unwrap();
    scratch.file("netsim.yaml", config);
    scratch
}

fn command(scratch: &Scratch, folder: &str, arguments: &str) -> Command {
    let mut command = quiet(PROGRAM);
    command.args(words(arguments)).current_dir(scratch.path().join(folder));
    command
}

fn in_folder(scratch: &Scratch, folder: &str, arguments: &str) -> Answer {
    run(&format!("netsim {arguments}"), &mut command(scratch, folder, arguments))
}

const SHOP: &str = "filename: [examples/shop]\n";

#[test]
fn it_says_what_was_not_typed() {
    let scratch = repository(
        "filename: [examples/shop]\nport: 5432\ncan-reach: {explain: true}\nlist: {namespace: payments, no-outside: true}\n",
    );
    let typed = |arguments: &str| netsim(arguments).exits(0).out;
    let list = in_folder(&scratch, "", "list").exits(0);
    assert_eq!(list.out, typed("list -f examples/shop --port 5432 -n payments --no-outside"));
    let list = in_folder(&scratch, "", "list -n shop --port 6379").exits(0);
    assert_eq!(list.out, typed("list -f examples/shop --port 6379 -n shop --no-outside"));
    let question = "shop/deploy/frontend shop/svc/api:8080";
    let answer = in_folder(&scratch, "", &format!("reach {question}")).exits(0);
    assert_eq!(answer.out, typed(&format!("can-reach -f examples/shop {question} --explain")));
}

#[test]
fn it_is_found_above_up_to_the_repository() {
    let scratch = repository(SHOP);
    in_folder(&scratch, "", "list").exits(0);
    let answer = in_folder(&scratch, "deep/er", "can-reach --explain shop/deploy/frontend shop/svc/api:8080").exits(0);
    answer.says("../../examples/shop/shop.yaml:");
    fs::create_dir(scratch.path().join("deep/.git")).unwrap();
    in_folder(&scratch, "deep/er", "list").exits(2).says("cannot use kubeconfig");
}

#[test]
fn it_can_be_named_and_refused() {
    let scratch = repository("color: nevr\n");
    scratch.file("deep/other.yaml", "filename: [../examples/shop]\n");
    in_folder(&scratch, "", "list --config deep/other.yaml").exits(0);
    in_folder(&scratch, "", "--config deep/other.yaml list").exits(0);
    let mut by_variable = command(&scratch, "", "list");
    run("list", by_variable.env("NETSIM_CONFIG", "deep/other.yaml")).exits(0);
    let mut refused = command(&scratch, "", "list -f examples/shop --no-config");
    run("list", refused.env("NETSIM_CONFIG", "gone.yaml")).exits(0);
    assert_answer!("config-gone", in_folder(&scratch, "", "list --config gone.yaml").exits(2));
}

/// Help, completions and the version are there even if the file is wrong.
#[test]
fn a_wrong_file_does_not_hide_the_help() {
    let scratch = repository("colour: never\n");
    for arguments in ["--help", "list --help", "--version", "completions bash"] {
        in_folder(&scratch, "", arguments).exits(0);
    }
    in_folder(&scratch, "", "list -f examples/shop").exits(2);
}

#[test]
fn a_source_that_is_typed_replaces_those_of_the_file() {
    let scratch = repository("filename: [gone]\n");
    in_folder(&scratch, "", "list -f examples/shop").exits(0);
    for source in ["--context prod", "--kubeconfig gone", "--in-cluster"] {
        let answer = in_folder(&scratch, "", &format!("list {source}")).exits(2);
        assert!(!answer.err.contains("`gone` does not exist"), "{answer}");
    }
    assert_answer!("config-missing-file", in_folder(&scratch, "", "list --strict").exits(2));
    let scratch = repository("context: prod\n");
    in_folder(&scratch, "", "list -f examples/shop").exits(0);
}

/// What is piped in is read where nothing else is named; the file names something.
#[test]
fn files_of_the_configuration_come_before_standard_input() {
    let scratch = repository(SHOP);
    let rendered = text_of("tests/cli/inputs/rendered.yaml");
    let mut piped = command(&scratch, "", "list");
    let answer = run_reading("list", &mut piped, &rendered).exits(0);
    assert_eq!(answer.out, netsim("list -f examples/shop").out);
    let mut asked = command(&scratch, "", "list -f -");
    run_reading("list -f -", &mut asked, &rendered).exits(0).says("web/deploy/front");
}

/// It may lie among the manifests, and a manifest may have its name.
#[test]
fn a_folder_is_read_without_it() {
    let scratch = repository("filename: ['.']\n");
    fs::remove_file(scratch.path().join("examples")).unwrap();
    scratch.file("dump.json", &text_of("tests/cli/inputs/dump.json"));
    let whole = in_folder(&scratch, "", "list").exits(0);
    assert_eq!(whole.out, netsim("list -f tests/cli/inputs/dump.json").out);
    scratch.file("netsim.yaml", &text_of("tests/cli/inputs/rendered.yaml"));
    in_folder(&scratch, "", "list -f .").exits(0).says("web/deploy/front");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (name, config, arguments) in [
        (
            "names",
            "colour: never\nlist:\n  explain: true\n  expnd: true\nlst: {a: 1}\nnonsense: 1\nconfig: x\n",
            "list",
        ),
        ("shapes", "strict: 5\nlist: {output: [json]}\nmatrix: true\nfilename: {a: b}\nnamespace:\n", "list"),
        ("value", "filename: [examples/shop]\ncolor: nevr\n", "list"),
        ("other-value", "filename: [examples/shop]\noutput: csv\n", "can-reach shop/deploy/api shop/svc/db"),
        ("bool", "filename: [examples/shop]\nip-block-matches-pods: perhaps\n", "list"),
        ("later", "filename: [examples/shop]\npod-cidr:\n  - 10.0.0.0/33\n", "list"),
        ("other-command", "namespace: [shop, payments]\nfilename: [examples/shop]\n", "can-reach frontend api"),
        ("not-a-map", "- filename\n", "list"),
        ("not-yaml", "filename: [examples/shop\ncolor: never\n", "list"),
        ("twice", "strict: true\nstrict: false\n", "list"),
    ] {
        let scratch = repository(config);
        assert_answer!(format!("config-wrong-{name}"), in_folder(&scratch, "", arguments).exits(2));
    }
}

#[test]
fn an_empty_file_sets_nothing() {
    for config in ["", "# nothing yet\n", "list:\n", "filename: []\n"] {
        in_folder(&repository(config), "", "list -f examples/shop").exits(0);
    }
}

/// The message that docs/configuration.md shows is the one that is printed.
#[test]
fn the_documentation_shows_what_is_said() {
    let scratch = repository("filename: [examples/shop]\ncolour: never\n");
    let said = in_folder(&scratch, "", "list").exits(2).err;
    let document = text_of("docs/configuration.md");
    assert!(document.contains(&format!("```text\n{said}```")), "{said}");
}

/// What lies in a repository that somebody else wrote cannot run programs or write elsewhere; what was named can.
#[test]
fn a_file_that_was_only_found_is_trusted_less() {
    let scratch = repository("kubeconfig: gone\nsnapshot: {out: ../saved.json}\n");
    assert_answer!("config-untrusted", in_folder(&scratch, "", "snapshot").exits(2));
    let named = in_folder(&scratch, "", "snapshot --config netsim.yaml").exits(2);
    named.says("cannot use kubeconfig gone").says("--out=../saved.json");
    let scratch = repository("snapshot: {out: saved.json}\n");
    in_folder(&scratch, "", "snapshot").exits(2).says("cannot use kubeconfig");
}
