//! What is made from the command line is up to date: the tables of options in `docs/commands/`, the schema of
//! `netsim.yaml`, man pages and completions. A table stands between two comments:
//!
//! ```text
//! <!-- generated: options -->
//! <!-- end -->
//! ```
//!
//! `NETSIM_UPDATE_DOCS=1 cargo test -p netsim --test cli generated` writes what is not up to date.

use crate::run::{Scratch, netsim, root, text_of};
use clap::{Arg, Command, CommandFactory};
use netsim::args::Cli;
use netsim_testkit::documents::fenced;
use netsim_testkit::yaml::json;
use serde_json::Value;
use std::fs;

const UPDATE: &str = "NETSIM_UPDATE_DOCS=1 cargo test -p netsim --test cli generated";
const INDEX: &str = "docs/commands/README.md";
const SCHEMA: &str = "docs/schemas/config.schema.json";
/// Headings of options that several commands share.
const SHARED: [&str; 3] = ["Input", "Names outside", "Live cluster"];

fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

/// The names of all commands that are shown.
pub fn commands() -> Vec<String> {
    shown(&program()).map(|command| command.get_name().to_owned()).collect()
}

fn shown(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set())
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional());
    shown.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
}

/// A small letter at the beginning, unless it begins a name; no full stop at the end.
fn fragment(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

/// Text for a cell of a page of `docs/commands/`.
fn cell(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\n', " ").replace('<', "\\<");
    let mut parts = text.split("docs/schemas/");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(".json").map_or(part.len(), |at| at + ".json".len());
        out += &format!("[{}](../schemas/{}){}", &part[..end], &part[..end], &part[end..]);
    }
    out
}

fn row(arg: &Arg) -> String {
    let takes = arg.get_action().takes_values();
    let names = arg.get_value_names().unwrap_or_default().first().map_or("VALUE".to_owned(), ToString::to_string);
    let value = if takes { format!(" {names}") } else { String::new() };
    let short = arg.get_short().map(|short| format!("`-{short}{value}`, "));
    let option = format!("{}`--{}{value}`", short.unwrap_or_default(), arg.get_long().unwrap());
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (help, default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), Some(default.trim_end_matches(']').to_owned())),
        None if takes => {
            let defaults: Vec<String> =
                arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
            (help, Some(defaults.join(", ")).filter(|text| !text.is_empty()))
        }
        None => (help, None),
    };
    let values: Vec<String> = if takes && !arg.is_hide_possible_values_set() {
        let shown = arg.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
        let text = |value: clap::builder::PossibleValue| {
            let help = value.get_help().map(|help| fragment(&help.to_string())).filter(|help| help != value.get_name());
            format!("`{}`{}", value.get_name(), help.map_or(String::new(), |help| format!(" ({help})")))
        };
        shown.map(text).collect()
    } else {
        Vec::new()
    };
    let values = if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
    let default = default.map_or(String::new(), |default| format!("; default: {default}"));
    let variable = arg.get_env().map_or(String::new(), |name| format!("; variable: `{}`", name.to_string_lossy()));
    let required = if arg.is_required_set() { "; required" } else { "" };
    let meaning = format!("{}{values}{default}{variable}{required}", fragment(&help));
    format!("| {} | {} |\n", option.replace('|', "\\|"), cell(&meaning))
}

fn table(rows: &[String]) -> String {
    format!("| option | meaning |\n| --- | --- |\n{}", rows.concat())
}

/// The options that several commands share, with the heading of each.
fn shared(program: &Command) -> Vec<(&'static str, String, String)> {
    let mut found: Vec<(&str, String, String)> = Vec::new();
    for arg in shown(program).flat_map(options) {
        let heading = arg.get_help_heading().and_then(|own| SHARED.into_iter().find(|heading| *heading == own));
        let long = arg.get_long().unwrap();
        if let Some(heading) = heading.filter(|_| !found.iter().any(|(_, known, _)| known == long)) {
            found.push((heading, long.to_owned(), row(arg)));
        }
    }
    found
}

fn options_of(program: &Command, command: &Command) -> String {
    let shared = shared(program);
    let is_shared = |arg: &&Arg| shared.iter().any(|(_, _, known)| *known == row(arg));
    let own: Vec<String> = options(command).filter(|arg| !arg.is_global_set() && !is_shared(arg)).map(row).collect();
    let common: Vec<String> =
        options(command).filter(is_shared).map(|arg| format!("`--{}`", arg.get_long().unwrap())).collect();
    let mut parts = Vec::new();
    if !own.is_empty() {
        parts.push(table(&own));
    }
    if !common.is_empty() {
        parts.push(format!("Of the [input](README.md#input-options):\n{}.\n", wrapped(&common)));
    }
    parts.push("And those of [every command](README.md#options-of-every-command).\n".to_owned());
    parts.join("\n")
}

/// A list of words in lines that are not too long.
fn wrapped(words: &[String]) -> String {
    let mut lines = vec![String::new()];
    for (i, word) in words.iter().enumerate() {
        let word = if i + 1 < words.len() { format!("{word},") } else { word.clone() };
        let line = lines.last_mut().unwrap();
        if line.len() + word.len() > 110 {
            lines.push(word);
        } else {
            let space = if line.is_empty() { "" } else { " " };
            *line += &format!("{space}{word}");
        }
    }
    lines.join("\n")
}

fn generated(program: &Command, page: &str, what: &str) -> String {
    match what {
        "options" => {
            let name = page.strip_prefix("docs/commands/").and_then(|name| name.strip_suffix(".md"));
            let command = name.and_then(|name| program.find_subcommand(name));
            options_of(program, command.unwrap_or_else(|| panic!("{page}: no command of that name")))
        }
        "global options" => table(&options(program).filter(|arg| arg.is_global_set()).map(row).collect::<Vec<_>>()),
        "input options" => {
            let of = |heading| {
                let rows: Vec<String> =
                    shared(program).into_iter().filter(|(own, ..)| *own == heading).map(|(_, _, row)| row).collect();
                format!("{heading}:\n\n{}", table(&rows))
            };
            SHARED.map(of).join("\n")
        }
        "commands" => {
            let line = |command: &Command| {
                let name = command.get_name();
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
                let also = if aliases.is_empty() { String::new() } else { format!(" (also {})", aliases.join(", ")) };
                format!("| [{name}]({name}.md){also} | {} |\n", cell(&about))
            };
            format!("| command | what it does |\n| --- | --- |\n{}", shown(program).map(line).collect::<String>())
        }
        _ => panic!("{page}: nothing is known to generate `{what}`"),
    }
}

/// A page with its parts made anew, and what was made.
fn renewed(program: &Command, page: &str, text: &str) -> (String, Vec<String>) {
    let (mut out, mut rest, mut made) = (String::new(), text, Vec::new());
    while let Some((before, after)) = rest.split_once("<!-- generated: ") {
        let (what, after) = after.split_once(" -->").unwrap_or_else(|| panic!("{page}: a marker without an end"));
        let (_, after) = after.split_once("<!-- end -->").unwrap_or_else(|| panic!("{page}: `{what}` without an end"));
        let part = generated(program, page, what);
        out += &format!("{before}<!-- generated: {what} -->\n{part}<!-- end -->");
        made.push(what.to_owned());
        rest = after;
    }
    (out + rest, made)
}

/// Compares a file with what it should be, or writes it.
fn keep(path: &str, now: &str, should: &str, wrong: &mut Vec<String>) {
    if now == should {
    } else if std::env::var_os("NETSIM_UPDATE_DOCS").is_some() {
        fs::write(root().join(path), should).unwrap();
    } else {
        wrong.push(format!("{path} is not up to date; {UPDATE}"));
    }
}

#[test]
fn every_command_has_its_page_with_its_options() {
    let (program, mut wrong) = (program(), Vec::new());
    for name in commands() {
        let page = format!("docs/commands/{name}.md");
        let Ok(text) = fs::read_to_string(root().join(&page)) else {
            wrong.push(format!("{page} is not there"));
            continue;
        };
        if !text.starts_with(&format!("# {name}\n")) {
            wrong.push(format!("{page} has to begin with `# {name}`"));
        }
        let (should, made) = renewed(&program, &page, &text);
        if made != ["options"] {
            let markers = "<!-- generated: options -->\n<!-- end -->";
            wrong.push(format!("{page} has to have these lines once, where its options belong:\n{markers}"));
        }
        keep(&page, &text, &should, &mut wrong);
    }
    for entry in fs::read_dir(root().join("docs/commands")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = name == "README.md" || commands().iter().any(|command| name == format!("{command}.md"));
        if !known {
            wrong.push(format!("docs/commands/{name} is about no command"));
        }
    }
    let text = text_of(INDEX);
    let (should, made) = renewed(&program, INDEX, &text);
    assert_eq!(made, ["commands", "global options", "input options"], "{INDEX}");
    keep(INDEX, &text, &should, &mut wrong);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_stale_page_is_noticed() {
    let program = program();
    let page = "docs/commands/list.md";
    let (fresh, _) = renewed(&program, page, &text_of(page));
    let stale = fresh.replacen("| `--expand` |", "| `--expnd` |", 1);
    assert_ne!(stale, fresh);
    assert_eq!(renewed(&program, page, &stale).0, fresh);
}

#[test]
fn the_schema_of_the_configuration_is_up_to_date() {
    let scratch = Scratch::new();
    netsim(&format!("generate config-schema --out {}", scratch.path().display())).exits(0);
    let should = fs::read_to_string(scratch.path().join("config.schema.json")).unwrap();
    let now = fs::read_to_string(root().join(SCHEMA)).unwrap_or_default();
    let mut wrong = Vec::new();
    keep(SCHEMA, &now, &should, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The schema and the program agree on what is a good configuration.
#[test]
fn the_schema_takes_what_the_program_takes() {
    let schema: Value = serde_json::from_str(&text_of(SCHEMA)).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let scratch = Scratch::new();
    let agrees = |yaml: &str, good: bool| {
        let file = scratch.file("netsim.yaml", yaml);
        let taken = netsim(&format!("list -f examples/shop --config {file}"));
        assert_eq!(taken.code != 2, good, "{yaml}\n{taken}");
        let value = json(yaml);
        assert_eq!(validator.is_valid(&value), good, "the schema does not agree:\n{yaml}");
    };
    let examples = fenced(&text_of("docs/configuration.md"), "yaml");
    assert!(!examples.is_empty());
    for example in examples {
        agrees(&example, true);
    }
    for good in
        ["{}", "strict: true", "filename: a", "list: {namespace: shop}", "list: {namespace: [shop]}", "port: 80"]
    {
        agrees(good, true);
    }
    for bad in [
        "stict: true",
        "strict: 5",
        "color: nevr",
        "list: {explain: true}",
        "list: true",
        "filename: {a: b}",
        "can-reach: {namespace: [shop]}",
        "config: netsim.yaml",
        "[strict]",
    ] {
        agrees(bad, false);
    }
}

#[test]
fn every_command_has_a_man_page_with_its_options() {
    let (scratch, program) = (Scratch::new(), program());
    let folder = scratch.path().join("man/man1");
    netsim(&format!("generate man --out {}", folder.display())).exits(0);
    let page = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let escaped = |text: &str| text.replace('-', "\\-");
    let whole = page("netsim.1");
    assert!(whole.starts_with(".ie") && whole.contains("\n.TH netsim 1 "), "{whole}");
    for command in shown(&program) {
        let name = command.get_name();
        assert!(whole.contains(&escaped(&format!("netsim-{name}"))), "netsim.1 does not name {name}");
        let text = page(&format!("netsim-{name}.1"));
        for option in options(command) {
            let long = escaped(&format!("--{}", option.get_long().unwrap()));
            assert!(
                text.contains(&format!(".TP\n\\fB{long}\\fR")) || text.contains(&format!(", \\fB{long}\\fR")),
                "{name}: no {long}"
            );
        }
        let example = format!("netsim {name}").replace('-', "\\-");
        assert!(text.lines().any(|line| line.starts_with(&example)), "{name}: no example has a line of its own");
    }
    let pages = fs::read_dir(&folder).unwrap().count();
    assert_eq!(pages, commands().len() + 1, "there are pages of no command");
}

/// Where there is a `man`, it has nothing against the pages.
#[test]
fn man_understands_the_pages() {
    let scratch = Scratch::new();
    netsim(&format!("generate man --out {}", scratch.path().display())).exits(0);
    let there =
        |program: &str| std::process::Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there("man") || !there("groff") {
        return;
    }
    for entry in fs::read_dir(scratch.path()).unwrap() {
        let page = entry.unwrap().path();
        let mut man = std::process::Command::new("man");
        let shown = man.args(["-l", "--warnings", "-Tutf8"]).arg(&page).env("MANWIDTH", "100").output().unwrap();
        let said = String::from_utf8_lossy(&shown.stderr);
        assert!(shown.status.success() && said.is_empty(), "{}: {said}", page.display());
    }
}

#[test]
fn completions_for_every_shell() {
    let scratch = Scratch::new();
    netsim(&format!("generate completions --out {}", scratch.path().display())).exits(0);
    for file in ["netsim.bash", "_netsim", "netsim.fish", "netsim.elv", "_netsim.ps1"] {
        let script = fs::read_to_string(scratch.path().join(file)).unwrap();
        for command in commands() {
            assert!(script.contains(&command), "{file}: {command} cannot be completed");
        }
        assert!(!script.contains("generate"), "{file} completes what is hidden");
    }
}
