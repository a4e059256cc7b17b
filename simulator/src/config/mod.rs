//! `netsim.yaml`: options that everybody who works in a folder wants, by the names of the flags.
//!
//! ```text
//! typed ── clap ── which command ──┐
//! netsim.yaml ── file ── entries ──┴─ settings ── `--key=value` after the command's name ── clap again
//! ```
//!
//! Nothing here knows an option by name but those that say where the cluster is, and those of `trust`: what an option is
//! called, whether it is a flag or takes values, and which values are good, is asked of the [`clap::Command`]. So every
//! option of every command can be set. Nothing here opens a file; `load/config.rs` does.

pub mod file;
pub mod parse;
pub mod schema;
pub mod settings;
pub mod trust;

pub use file::{Config, Entry};
pub use settings::Setting;

use clap::{Arg, ArgAction, Command};
use netsim_shared::ingest::yaml::Node;
use std::path::Path;

/// What the file is called.
pub const FILE_NAME: &str = "netsim.yaml";
/// Options that cannot be set in a file, since they say which file it is.
const OF_THE_COMMAND_LINE: [&str; 2] = ["config", "no-config"];

/// The options that a command can be given by the file: those with a long name, but not help and version.
pub fn options(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    named
        .filter(|arg| takes(arg).is_some())
        .filter_map(|arg| arg.get_long().map(|long| (long, arg)))
        .filter(|(long, _)| !OF_THE_COMMAND_LINE.contains(long))
}

/// The commands that options can be set for: those that are shown, and have options of their own.
pub fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| is_configurable(command))
}

/// Whether options can be set for a command.
pub fn is_configurable(command: &Command) -> bool {
    !command.is_hide_set() && options(command).any(|(_, arg)| !arg.is_global_set())
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is there or not.
    Nothing,
    /// Nothing, but how often it is there counts.
    Times,
    /// One value.
    One,
    /// Several values: the option is repeated.
    Several,
    /// Several values in one, with this between them.
    Joined(char),
}

/// What an option takes; nothing for those which only print help.
pub fn takes(arg: &Arg) -> Option<Takes> {
    match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => Some(Takes::Nothing),
        ArgAction::Count => Some(Takes::Times),
        ArgAction::Append => Some(Takes::Several),
        ArgAction::Set => Some(arg.get_value_delimiter().map_or(Takes::One, Takes::Joined)),
        // Help, version, and what clap may yet invent.
        _ => None,
    }
}

/// Whether a file of that name is a manifest: it says of which kind, as no configuration does.
pub fn is_manifest(text: &str) -> bool {
    let says = |key: &str| ["kind", "apiVersion"].contains(&key);
    // Several documents are no tree; a line is enough.
    let by_line = text.lines().filter_map(|line| line.split_once(':')).any(|(key, _)| says(key));
    by_line || Node::parse_one(text).is_ok_and(|root| root.get("kind").or(root.get("apiVersion")).is_some())
}

/// Whether a file holds options of netsim. It often lies among manifests, and is none.
pub fn is_config(path: &Path, bytes: &[u8]) -> bool {
    path.file_name().is_some_and(|name| name == FILE_NAME) && !is_manifest(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;
    use std::path::PathBuf;

    fn program() -> Command {
        let mut program = Cli::command();
        program.build();
        program
    }

    /// What the file adds to a command line on which nothing but the command stands.
    fn added(yaml: &str, command: &Command) -> Vec<String> {
        let config = file::read(yaml, FILE_NAME, PathBuf::new(), &program());
        let config = config.unwrap_or_else(|wrong| panic!("{yaml}: {}", wrong[0]));
        let typed = Cli::command().ignore_errors(true).get_matches_from(["netsim", command.get_name()]);
        let (_, typed) = typed.subcommand().unwrap();
        let settings = settings::settings(&config, command, typed).unwrap();
        settings.into_iter().map(|setting| setting.argument).collect()
    }

    /// Every option of every command that there is can be set, for it alone or for all.
    #[test]
    fn every_option_can_be_set() {
        Cli::command().debug_assert();
        let program = program();
        assert!(commands(&program).count() > 3);
        for command in commands(&program) {
            let name = command.get_name();
            for (long, arg) in options(command) {
                let values = arg.get_possible_values();
                let value = values.first().map_or("word", |value| value.get_name());
                let (written, argument) = match takes(arg) {
                    Some(Takes::Nothing | Takes::Times) => ("true".to_owned(), format!("--{long}")),
                    _ => (value.to_owned(), format!("--{long}={value}")),
                };
                let own = format!("{name}: {{{long}: {written}}}");
                assert_eq!(added(&own, command), [argument.as_str()], "{name}: {own}");
                // What all commands share is not what is compared.
                if settings::SOURCES.contains(&long) && settings::compares(command) {
                    continue;
                }
                let shared = format!("{long}: {written}");
                assert_eq!(added(&shared, command), [argument.as_str()], "{name}: {shared}");
                if takes(arg) == Some(Takes::Several) {
                    let yaml = format!("{long}: [{value}, second]");
                    assert_eq!(added(&yaml, command), [argument, format!("--{long}=second")], "{name}: {yaml}");
                }
            }
        }
    }

    #[test]
    fn a_manifest_is_told_from_a_configuration() {
        for manifest in ["kind: Pod\n", "---\napiVersion: v1\n---\nx: 1\n", "{\"kind\": \"List\", \"items\": []}"] {
            assert!(is_manifest(manifest), "{manifest}");
        }
        for configuration in ["", "strict: true\n", "{strict: true}", "list:\n  kind: x\n", "filename: ["] {
            assert!(!is_manifest(configuration), "{configuration}");
        }
    }
}
