//! `netsim report`

use super::InputArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `report`
#[derive(Debug, Args)]
pub struct Report {
    /// What to write
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Html, value_name = "FORMAT")]
    pub output: ReportFormat,
    /// Where to write it
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    /// Only what connects from or to this namespace; repeatable
    #[arg(short, long = "namespace", value_name = "NS")]
    pub namespaces: Vec<String>,
    /// The label of namespaces that names their tenant, to show which tenants reach which
    #[arg(long, value_name = "LABEL")]
    pub tenant_label: Option<String>,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A page with everything in it, for a browser.
    Html,
    /// A picture for documents.
    Svg,
    /// A Graphviz graph.
    Dot,
}
