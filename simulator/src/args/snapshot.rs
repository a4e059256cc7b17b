//! `netsim snapshot`

use super::ClusterArgs;
use clap::Args;
use std::path::PathBuf;

/// `snapshot`
#[derive(Debug, Args)]
pub struct Snapshot {
    /// Where to write it
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    /// Which live cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
