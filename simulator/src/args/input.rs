//! Where objects come from: options that most commands share.

use super::NameArgs;
use clap::Args;
use std::path::PathBuf;

/// Which cluster.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Live cluster")]
pub struct ClusterArgs {
    /// The context of the kubeconfig (a live cluster)
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig file (a live cluster)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Use the service account of the pod that netsim runs in (a live cluster)
    #[arg(long)]
    pub in_cluster: bool,
}

/// Where the objects come from and how they are understood.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Manifests: a file, a directory (read recursively), a glob, or - for standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub files: Vec<String>,
    /// The namespace of objects in files that name none
    #[arg(long, value_name = "NS", default_value = "default")]
    pub default_namespace: String,
    /// A range of pod addresses, for pods that have none yet; repeatable [default: of the nodes]
    #[arg(long = "pod-cidr", value_name = "CIDR")]
    pub pod_cidrs: Vec<String>,
    /// Answer unknown rather than assume that an ipBlock holds no pods
    #[arg(long)]
    pub strict: bool,
    /// Whether an ipBlock matches the addresses of pods too (Cilium: false)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub ip_block_matches_pods: bool,
    /// Treat hostNetwork pods as ordinary pods, as some providers do
    #[arg(long)]
    pub host_network_pods: bool,
    /// What names outside stand for.
    #[command(flatten)]
    pub names: NameArgs,
    /// Which live cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
