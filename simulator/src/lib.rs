//! `netsim`: what can reach what in a Kubernetes cluster, and why. The library of the program of that
//! name; the enforcer loads manifests and clusters by it as well.
//!
//! ```text
//! args ── load (files, standard input, live) ── netsim_shared ── commands ── report ── exit code
//! ```

pub mod args;
mod commands;
pub mod config;
mod exit;
pub mod lint;
pub mod load;
mod report;

use args::{Cli, Color, Command};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use exit::Exit;
use std::ffi::OsString;
use std::process::ExitCode;

/// Does what the command line asks for, and gives the exit code.
pub fn run() -> ExitCode {
    let (matches, settings) = match typed() {
        Ok(typed) => typed,
        Err(failure) => return failure.report().into(),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cli.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let done = match cli.command {
        Command::CanReach(args) => commands::can_reach::run(&args),
        Command::List(args) => commands::list::run(&args),
        Command::Matrix(args) => commands::matrix::run(&args),
        Command::Lint(args) => commands::lint::run(&args),
        Command::ExplainRule(args) => commands::explain_rule::run(&args),
        Command::Suggest(args) => commands::suggest::run(&args),
        Command::Test(args) => commands::test::run(&args),
        Command::Diff(args) => commands::diff::run(&args),
        Command::WhatIf(args) => commands::what_if::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Snapshot(args) => commands::snapshot::run(&args),
        Command::Completions { shell } => commands::completions::run(shell, &command()),
        Command::Generate(args) => commands::generate::run(&args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let exit = failure.report();
            if exit != Exit::Ok {
                report::diagnostics::print_settings(&settings);
            }
            exit.into()
        }
    }
}

/// The command line, with what `netsim.yaml` adds to it. Help, version and bad usage end the process here.
fn typed() -> Result<(ArgMatches, Vec<config::Setting>), Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    config::parse::parse(&command, &words, &load::config::load).map_err(|error| match error {
        config::parse::Unparsed::Usage(error) => error.exit(),
        config::parse::Unparsed::Config(diagnostics) => Failure::Load(load::LoadError(diagnostics)),
    })
}

/// The command line; as the plugin `kubectl netsim` it calls itself so.
fn command() -> clap::Command {
    let called = std::env::args_os().next().unwrap_or_default();
    let stem = std::path::Path::new(&called).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let command = Cli::command();
    if stem.starts_with("kubectl") { command.bin_name("kubectl netsim") } else { command }
}

/// Why a command could not do what it was asked.
enum Failure {
    /// The input could not be read.
    Load(load::LoadError),
    /// The question does not fit the input, or the options do not fit each other.
    Question(netsim_shared::query::QueryError),
    /// The output could not be written.
    Output(std::io::Error),
}

impl From<load::LoadError> for Failure {
    fn from(error: load::LoadError) -> Self {
        Failure::Load(error)
    }
}

impl From<netsim_shared::query::QueryError> for Failure {
    fn from(error: netsim_shared::query::QueryError) -> Self {
        Failure::Question(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Output(error)
    }
}

impl Failure {
    fn report(self) -> Exit {
        match self {
            Failure::Load(error) => report::diagnostics::print_all(&error.0),
            Failure::Question(error) => report::diagnostics::print_question(&error),
            // A reader that has seen enough (`| head`) is no failure of the input.
            Failure::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Exit::Ok,
            Failure::Output(error) => report::diagnostics::print_output(&error),
        }
        Exit::Bad
    }
}
