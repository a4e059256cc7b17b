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
    /// With roles and their bindings, for what `netsim lint` says of them; they name users
    #[arg(long)]
    pub with_rbac: bool,
    /// Which live cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
