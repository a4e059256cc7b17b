//! Which entries of the file a command line takes, and as which arguments.

use super::{Config, Entry, Takes, commands, options, takes};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, ValueHint};
use netsim_shared::diagnostic::{Diagnostic, Place, nearest};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Options that say where the cluster is. Whoever names one of them means none of the others.
pub const SOURCES: [&str; 4] = ["filename", "context", "kubeconfig", "in-cluster"];
/// Arguments of commands which compare clusters, by their ids: they say what is compared, and `filename` is more of it.
/// What all commands share is not meant for these.
const SIDES: [&str; 2] = ["sides", "base"];

/// An argument that comes from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The long name of the option, without the dashes.
    pub key: String,
    /// `--key=value`, or `--key`.
    pub argument: String,
    /// Where the value stands.
    pub place: Place,
    /// Whether it stands there for all commands.
    pub shared: bool,
}

/// What the file adds to a command line. `command` is built, and `typed` are its matches.
///
/// # Errors
/// When a value of the file has another shape than this command wants.
pub fn settings(config: &Config, command: &Command, typed: &ArgMatches) -> Result<Vec<Setting>, Diagnostic> {
    let is_typed = |arg: &Arg| {
        let source = typed.value_source(arg.get_id().as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let all_typed: Vec<&Arg> = command.get_arguments().filter(|arg| is_typed(arg)).collect();
    // Sources are taken together: from the command line, or else the command's own, or else the shared ones.
    let own = |entry: &Entry| entry.command.as_deref() == Some(command.get_name());
    let is_source = |key: &str| SOURCES.contains(&key);
    let source_is_typed = all_typed.iter().any(|arg| arg.get_long().is_some_and(is_source));
    let compares = compares(command);
    let own_source = config.entries.iter().any(|entry| own(entry) && is_source(&entry.key));
    let mut found = Vec::new();
    for (long, arg) in options(command) {
        let mine = |entry: &&Entry| entry.key == long && own(entry);
        let shared = |entry: &&Entry| entry.key == long && entry.command.is_none();
        let source = is_source(long);
        let entry = config.entries.iter().find(mine);
        let entry =
            entry.or_else(|| config.entries.iter().find(shared).filter(|_| !source || !(own_source || compares)));
        let Some(entry) = entry else { continue };
        let contradicted = all_typed.iter().any(|other| contradict(command, arg, other));
        if is_typed(arg) || contradicted || (source && source_is_typed) {
            continue;
        }
        entry.value.fits(long, arg).map_err(|error| {
            let name = command.get_name();
            let help = format!("`{name}` wants it so; set another for it under `{name}:`");
            if entry.command.is_none() { error.help(help) } else { error }
        })?;
        found.extend(arguments(entry, long, arg, &config.folder));
    }
    Ok(found)
}

/// Whether a command compares clusters.
pub fn compares(command: &Command) -> bool {
    command.get_arguments().any(|arg| SIDES.contains(&arg.get_id().as_str()))
}

fn contradict(command: &Command, a: &Arg, b: &Arg) -> bool {
    let names = |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|other| other.get_id() == b.get_id());
    names(a, b) || names(b, a)
}

fn arguments(entry: &Entry, long: &str, arg: &Arg, folder: &Path) -> Vec<Setting> {
    let shared = entry.command.is_none();
    let setting = |argument: String, place: Place| Setting { key: long.to_owned(), argument, place, shared };
    let values = entry.value.values();
    let place = || entry.value.place().clone();
    let times = |n: usize| (0..n).map(|_| setting(format!("--{long}"), place())).collect();
    let resolved = |text: &str| if is_path(arg) { resolve(folder, text) } else { text.to_owned() };
    match takes(arg) {
        Some(Takes::Nothing | Takes::Times) => match values.first().map(|(text, _)| text.as_str()) {
            Some("true") => times(1),
            Some(text) => times(text.parse().unwrap_or(0)),
            None => Vec::new(),
        },
        Some(Takes::Joined(delimiter)) if !values.is_empty() => {
            let all: Vec<String> = values.iter().map(|(text, _)| resolved(text)).collect();
            vec![setting(format!("--{long}={}", all.join(&delimiter.to_string())), place())]
        }
        _ => values.into_iter().map(|(text, at)| setting(format!("--{long}={}", resolved(&text)), at)).collect(),
    }
}

/// Whether the value of an option is a path.
pub fn is_path(arg: &Arg) -> bool {
    matches!(
        arg.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath | ValueHint::ExecutablePath
    )
}

/// A path of the file, as seen from where netsim runs. `-` is standard input or output.
fn resolve(folder: &Path, text: &str) -> String {
    if text == "-" || folder.as_os_str().is_empty() { text.to_owned() } else { folder.join(text).display().to_string() }
}

/// The command line with the settings right after the command's name, before all that was typed to it.
pub fn with_settings(typed: &[OsString], program: &Command, settings: &[Setting]) -> Vec<OsString> {
    let at = command_at(typed, program).map_or(typed.len(), |at| at + 1);
    let (before, after) = typed.split_at(at);
    let added = settings.iter().map(|setting| OsString::from(&setting.argument));
    before.iter().cloned().chain(added).chain(after.iter().cloned()).collect()
}

/// The index of the command's name: the first word that is neither an option nor the value of one.
fn command_at(typed: &[OsString], program: &Command) -> Option<usize> {
    let takes_the_next = |word: &OsStr| {
        let word = word.to_string_lossy();
        let arg = match word.strip_prefix("--") {
            Some(long) => program.get_arguments().find(|arg| arg.get_long() == Some(long)),
            None => {
                program.get_arguments().find(|arg| arg.get_short().is_some() && arg.get_short() == word.chars().last())
            }
        };
        arg.is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut words = typed.iter().enumerate().skip(1);
    while let Some((i, word)) = words.next() {
        if !word.as_encoded_bytes().starts_with(b"-") {
            return Some(i);
        }
        if takes_the_next(word) {
            words.next();
        }
    }
    None
}

/// What clap has against a value of the file, with its place.
pub fn explain(error: &clap::Error, settings: &[Setting], program: &Command) -> Option<Diagnostic> {
    use clap::error::{ContextKind, ContextValue};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let value = text(ContextKind::InvalidValue);
    let of = |name: &str| {
        let long = name.strip_prefix("--")?.split([' ', '=', '[']).next()?;
        let mut all = settings.iter().filter(|setting| setting.key == long);
        let exact = all.clone().find(|s| value.as_ref().is_some_and(|v| s.argument == format!("--{long}={v}")));
        exact.or_else(|| all.next())
    };
    let names = [text(ContextKind::InvalidArg), text(ContextKind::PriorArg)];
    let setting = names.iter().flatten().find_map(|name| of(name))?;
    let shown = error.to_string();
    let first = shown.lines().next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    let diagnostic = Diagnostic::error(message).at(setting.place.clone());
    let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) else { return Some(diagnostic) };
    let near = nearest(value.as_deref().unwrap_or_default(), valid.iter().map(String::as_str));
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let takes_it = |command: &&Command| {
        let arg = options(command).find(|(long, _)| *long == setting.key).map(|(_, arg)| arg);
        arg.is_some_and(|arg| arg.get_possible_values().iter().any(|known| Some(known.get_name()) == value.as_deref()))
    };
    let other = commands(program).find(takes_it).filter(|_| setting.shared).map(Command::get_name);
    let other = other.map_or(String::new(), |name| format!("; what is meant for `{name}` belongs under `{name}:`"));
    Some(diagnostic.help(format!("it can be {}{near}{other}", valid.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::read;
    use clap::{ArgAction, arg, value_parser};
    use std::path::PathBuf;

    /// A program with one option of each sort.
    fn program() -> Command {
        let list = Command::new("list").visible_alias("ls").args([
            arg!(-f --filename <PATH> "files").action(ArgAction::Append).value_hint(ValueHint::AnyPath),
            arg!(--context <NAME> "a cluster"),
            arg!(--out <FILE> "to").value_parser(value_parser!(PathBuf)),
            arg!(--strict "strict"),
            arg!(--lax "lax").conflicts_with("strict"),
            arg!(-v --verbose ... "more"),
            arg!(--tag <TAG> "tags").value_delimiter(','),
            arg!(--level <LEVEL> "level").value_parser(["low", "high"]),
            arg!([word] "a word"),
        ]);
        let color = arg!(-C --color <WHEN> "colours").global(true).value_parser(["never", "always"]);
        let diff = Command::new("diff").args([
            arg!(-f --filename <PATH> "both").action(ArgAction::Append),
            arg!(sides: <SIDE> "sides").num_args(2),
        ]);
        Command::new("netsim").arg(color).subcommand(list).subcommand(diff)
    }

    fn added(yaml: &str, folder: &str, typed: &[&str]) -> Vec<String> {
        let mut built = program();
        built.build();
        let config = read(yaml, "netsim.yaml", PathBuf::from(folder), &built).unwrap();
        let words: Vec<OsString> = ["netsim"].iter().chain(typed).map(OsString::from).collect();
        let matches = program().try_get_matches_from(&words).unwrap();
        let (name, of_command) = matches.subcommand().unwrap();
        let found = settings(&config, built.find_subcommand(name).unwrap(), of_command).unwrap();
        let all = with_settings(&words, &built, &found);
        program().try_get_matches_from(&all).unwrap();
        all.into_iter().skip(1).map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn every_sort_of_option_is_added_after_the_command() {
        let yaml =
            "color: never\nlist:\n  filename: [a, b]\n  strict: true\n  verbose: 2\n  tag: [x, 1.10]\n  level: low\n";
        assert_eq!(
            added(yaml, "", &["list", "word"]),
            [
                "list",
                "--filename=a",
                "--filename=b",
                "--strict",
                "--verbose",
                "--verbose",
                "--tag=x,1.10",
                "--level=low",
                "--color=never",
                "word"
            ]
        );
    }

    #[test]
    fn what_is_typed_wins() {
        let yaml = "level: low\nstrict: true\nlist: {level: high}\n";
        assert_eq!(added(yaml, "", &["list"]), ["list", "--strict", "--level=high"]);
        assert_eq!(added(yaml, "", &["list", "--level", "low"]), ["list", "--strict", "--level", "low"]);
        assert_eq!(added(yaml, "", &["list", "--lax"]), ["list", "--level=high", "--lax"], "a conflict is dropped");
        assert_eq!(added("lax: true", "", &["list", "--strict"]), ["list", "--strict"], "the other way round, too");
    }

    #[test]
    fn a_flag_that_is_off_is_not_given() {
        assert_eq!(added("strict: true\nlist: {strict: false}", "", &["list"]), ["list"]);
        assert_eq!(added("verbose: false", "", &["list"]), ["list"]);
    }

    #[test]
    fn sources_are_taken_together() {
        let yaml = "filename: [a]\n";
        assert_eq!(added(yaml, "", &["list", "--context", "x"]), ["list", "--context", "x"]);
        assert_eq!(added("filename: [a]\nlist: {context: x}", "", &["list"]), ["list", "--context=x"]);
    }

    #[test]
    fn what_all_read_is_not_what_is_compared() {
        assert_eq!(added("filename: [a]", "", &["diff", "old", "new"]), ["diff", "old", "new"]);
        let own = added("diff: {filename: [a]}", "", &["diff", "old", "new"]);
        assert_eq!(own, ["diff", "--filename=a", "old", "new"]);
    }

    #[test]
    fn paths_start_at_the_file() {
        let yaml = "filename: [a, '-', /b]\nout: c\nlist: {context: d}\n";
        assert_eq!(added(yaml, "..", &["list", "-f", "x"]), ["list", "--out=../c", "-f", "x"]);
        let yaml = "filename: [a, '-', /b]\n";
        assert_eq!(
            added(yaml, "..", &["ls", "word"]),
            ["ls", "--filename=../a", "--filename=-", "--filename=/b", "word"]
        );
    }

    #[test]
    fn the_command_is_found_behind_global_options() {
        for typed in [["-C", "never", "list"], ["--color", "never", "list"]] {
            let all = added("strict: true", "", &typed);
            assert_eq!(all.last().map(String::as_str), Some("--strict"), "{all:?}");
        }
        assert_eq!(added("strict: true", "", &["--color=never", "list"]), ["--color=never", "list", "--strict"]);
    }
}
