//! From what was typed to what is meant: with the options that the configuration adds.

use super::{Config, Setting, is_configurable, settings};
use clap::error::ErrorKind;
use clap::{ArgMatches, Command};
use netsim_shared::diagnostic::Diagnostic;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Why there is nothing to do. Help and version are among it.
#[derive(Debug)]
pub enum Unparsed {
    /// What clap says about what was typed.
    Usage(clap::Error),
    /// The configuration cannot be read, or something in it is wrong.
    Config(Vec<Diagnostic>),
}

/// Reads the configuration: the one that was named, or the one that is found.
pub type Read<'r> = &'r dyn Fn(Option<&Path>, &Command) -> Result<Option<Config>, Vec<Diagnostic>>;

/// Parses `words`; `program` makes the command line.
///
/// # Errors
/// When what was typed or the configuration is wrong, or help is wanted.
pub fn parse(
    program: &dyn Fn() -> Command,
    words: &[OsString],
    read: Read<'_>,
) -> Result<(ArgMatches, Vec<Setting>), Unparsed> {
    let first = program().try_get_matches_from(words);
    let typed = match &first {
        Ok(matches) => matches.clone(),
        // The configuration may have the option that is missing.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            let lenient = program().ignore_errors(true).try_get_matches_from(words);
            lenient.map_err(Unparsed::Usage)?
        }
        Err(_) => return first.map(|matches| (matches, Vec::new())).map_err(Unparsed::Usage),
    };
    let mut built = program();
    built.build();
    let settings = added(&built, &typed, read).map_err(Unparsed::Config)?;
    if settings.is_empty() {
        return first.map(|matches| (matches, settings)).map_err(Unparsed::Usage);
    }
    match program().try_get_matches_from(settings::with_settings(words, &built, &settings)) {
        Ok(matches) => Ok((matches, settings)),
        Err(error) => Err(match settings::explain(&error, &settings, &built) {
            Some(diagnostic) => Unparsed::Config(vec![diagnostic]),
            None => Unparsed::Usage(error),
        }),
    }
}

fn added(built: &Command, typed: &ArgMatches, read: Read<'_>) -> Result<Vec<Setting>, Vec<Diagnostic>> {
    let Some((name, typed)) = typed.subcommand() else { return Ok(Vec::new()) };
    let Some(command) = built.find_subcommand(name).filter(|command| is_configurable(command)) else {
        return Ok(Vec::new());
    };
    if typed.get_flag("no_config") {
        return Ok(Vec::new());
    }
    let named: Option<&PathBuf> = typed.get_one("config");
    match read(named.map(PathBuf::as_path), built)? {
        Some(config) => settings::settings(&config, command, typed).map_err(|error| vec![error]),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use clap::{arg, value_parser};

    fn program() -> Command {
        let report = Command::new("report").args([
            arg!(--out <FILE> "to").required(true),
            arg!(--size <N> "size").value_parser(value_parser!(u8)),
            arg!(<WORD> "a word"),
        ]);
        Command::new("netsim")
            .arg(arg!(--config <FILE> "file").global(true).value_parser(value_parser!(PathBuf)).required(false))
            .arg(arg!(no_config: --"no-config" "none").global(true))
            .subcommand(report)
    }

    fn parsed(yaml: &str, typed: &str) -> Result<ArgMatches, String> {
        let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
        let read = |_: Option<&Path>, built: &Command| file::read(yaml, "netsim.yaml", PathBuf::new(), built).map(Some);
        match parse(&program, &words, &read) {
            Ok((matches, _)) => Ok(matches),
            Err(Unparsed::Usage(error)) => Err(error.to_string()),
            Err(Unparsed::Config(wrong)) => Err(wrong.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn a_required_option_may_stand_in_the_file() {
        let matches = parsed("report: {out: a.html}", "netsim report word").unwrap();
        let (_, report) = matches.subcommand().unwrap();
        assert_eq!(report.get_one::<String>("out").map(String::as_str), Some("a.html"));
        assert_eq!(report.get_one::<String>("WORD").map(String::as_str), Some("word"));
    }

    #[test]
    fn what_is_missing_still_is() {
        for (yaml, typed) in [
            ("", "netsim report word"),
            ("report: {out: a.html}", "netsim report word --no-config"),
            ("report: {out: a.html}", "netsim report"),
        ] {
            let said = parsed(yaml, typed).unwrap_err();
            assert!(said.contains("required arguments were not provided"), "{said}");
        }
    }

    #[test]
    fn bad_usage_is_told_before_the_file_is_read() {
        let said = parsed("nonsense: 1", "netsim report --ut a word").unwrap_err();
        assert!(said.contains("unexpected argument '--ut'"), "{said}");
    }

    #[test]
    fn a_bad_value_is_told_with_its_place() {
        let said = parsed("out: a\nsize: 300\n", "netsim report word").unwrap_err();
        assert!(said.contains("--> netsim.yaml:2:7") && said.contains("'300' for '--size <N>'"), "{said}");
    }
}
