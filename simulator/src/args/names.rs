//! What is known of names outside: options that most commands share.

use clap::Args;
use std::path::PathBuf;

/// What names outside stand for.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Names outside")]
pub struct NameArgs {
    /// What names stand for, as YAML or JSON: api.example.com: [203.0.113.10]; any other name has no address
    #[arg(long, value_name = "FILE", conflicts_with = "resolve")]
    pub dns_map: Option<PathBuf>,
    /// Ask DNS what the names in policies stand for, and the one that is asked about
    #[arg(long)]
    pub resolve: bool,
    /// The DNS server that --resolve asks; repeatable [default: those of the system]
    #[arg(long = "dns-server", value_name = "ADDRESS")]
    pub dns_servers: Vec<String>,
    /// A range of private addresses that names may stand for; repeatable
    #[arg(long, value_name = "CIDR")]
    pub dns_allow_private: Vec<String>,
}
