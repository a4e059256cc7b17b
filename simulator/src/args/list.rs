//! `netsim list` and `netsim matrix`, which share their filter.

use super::InputArgs;
use clap::{Args, ValueEnum};

/// What to list.
#[derive(Debug, Clone, Args)]
pub struct ListFilter {
    /// Only connections from or to this namespace; repeatable
    #[arg(short, long = "namespace", value_name = "NS")]
    pub namespaces: Vec<String>,
    /// Only connections from these, written as SRC of can-reach
    #[arg(long, value_name = "SRC")]
    pub source: Option<String>,
    /// Only connections to these, written as DST of can-reach without a port
    #[arg(long, value_name = "DST")]
    pub destination: Option<String>,
    /// Only this port, such as 5432 or 53/udp
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
}

/// `list`
#[derive(Debug, Args)]
pub struct List {
    /// Pod by pod
    #[arg(long)]
    pub expand: bool,
    /// Leave out addresses outside the cluster
    #[arg(long)]
    pub no_outside: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = ListFormat::Text, value_name = "FORMAT")]
    pub output: ListFormat,
    /// What to list.
    #[command(flatten)]
    pub filter: ListFilter,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// How to print a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people: by destination.
    Text,
    /// For programs: docs/schemas/list.schema.json.
    Json,
    /// A row for each range of ports.
    Csv,
    /// A Markdown table.
    Md,
    /// A Graphviz graph.
    Dot,
}

/// `matrix`
#[derive(Debug, Args)]
pub struct Matrix {
    /// Pod by pod
    #[arg(long)]
    pub expand: bool,
    /// With addresses outside the cluster
    #[arg(long)]
    pub outside: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = MatrixFormat::Text, value_name = "FORMAT")]
    pub output: MatrixFormat,
    /// What to show.
    #[command(flatten)]
    pub filter: ListFilter,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// How to print a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MatrixFormat {
    /// For people.
    Text,
    /// For programs: docs/schemas/matrix.schema.json.
    Json,
    /// For spreadsheets.
    Csv,
    /// A Markdown table.
    Md,
}
