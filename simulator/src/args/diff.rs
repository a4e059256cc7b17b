//! `netsim diff` and `netsim what-if`, which print the same difference.

use super::InputArgs;
use clap::{Args, ValueEnum};

/// `diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// The old side, and the new one
    #[arg(value_names = ["OLD", "NEW"], num_args = 2)]
    pub sides: Vec<String>,
    /// More of the old side, read after OLD; repeatable
    #[arg(long, value_name = "SOURCE")]
    pub old: Vec<String>,
    /// More of the new side, read after NEW; repeatable
    #[arg(long, value_name = "SOURCE")]
    pub new: Vec<String>,
    /// What is told, and how.
    #[command(flatten)]
    pub telling: DiffTelling,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// `what-if`
#[derive(Debug, Args)]
pub struct WhatIf {
    /// What is there now: a path, REVISION:PATH, or live:CONTEXT; repeatable [default: live]
    #[arg(long, value_name = "SOURCE")]
    pub base: Vec<String>,
    /// Take this NetworkPolicy away; repeatable
    #[arg(long, value_name = "[NS/]NAME")]
    pub delete: Vec<String>,
    /// What is told, and how.
    #[command(flatten)]
    pub telling: DiffTelling,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// What of a difference is told, how, and which exit code it ends with.
#[derive(Debug, Args)]
pub struct DiffTelling {
    /// Only connections from or to this namespace; repeatable
    #[arg(short, long = "namespace", value_name = "NS")]
    pub namespaces: Vec<String>,
    /// Only this port, such as 5432 or 53/udp
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
    /// Leave out addresses outside the cluster
    #[arg(long)]
    pub no_outside: bool,
    /// Exit with 1 when there is a difference, as --fail-on any
    #[arg(long)]
    pub exit_code: bool,
    /// Exit with 1 when there is such a change
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "exit_code")]
    pub fail_on: Option<FailOnChange>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = DiffFormat::Text, value_name = "FORMAT")]
    pub output: DiffFormat,
}

/// Which difference makes the command fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOnChange {
    /// Ports of a connection were opened.
    Opened,
    /// Ports of a connection were closed.
    Closed,
    /// Any difference, workloads that came or went among them.
    Any,
}

/// How to print a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    Text,
    /// For programs: docs/schemas/diff.schema.json.
    Json,
    /// Markdown, fit for a comment on a pull request.
    Md,
}
