//! `netsim suggest`

use super::InputArgs;
use clap::Args;
use std::path::PathBuf;

/// `suggest`
#[derive(Debug, Args)]
pub struct Suggest {
    /// A list of flows that have to work: JSON lines or CSV, - for standard input; repeatable
    #[arg(long, value_name = "FILE")]
    pub flows: Vec<PathBuf>,
    /// Tests whose connections have to work, as files of `netsim test`; repeatable
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub tests: Vec<String>,
    /// Deny by default and allow nothing: no connection is named
    #[arg(long, conflicts_with_all = ["flows", "tests"])]
    pub deny_only: bool,
    /// The namespaces that may get policies; repeatable [default: all with pods but kube-system]
    #[arg(short, long = "namespace", value_name = "NS")]
    pub namespaces: Vec<String>,
    /// Do not let pods ask the cluster's DNS
    #[arg(long)]
    pub no_dns: bool,
    /// Take flows that the enforcer denied as well, not only those that it let pass in audit mode
    #[arg(long)]
    pub denied_flows: bool,
    /// Leave out flows whose ends are not in the input, instead of failing
    #[arg(long)]
    pub skip_unknown: bool,
    /// Write the policies even if they break a named connection
    #[arg(long)]
    pub keep_going: bool,
    /// Where to write the policies
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}
