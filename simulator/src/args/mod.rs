//! The command line, as it is typed: one file a command. Nothing here is looked up or opened.

mod can_reach;
mod input;
mod list;
mod report;
mod snapshot;

pub use can_reach::{AnswerFormat, CanReach, Expect};
pub use input::{ClusterArgs, InputArgs};
pub use list::{List, ListFilter, ListFormat, Matrix, MatrixFormat};
pub use report::{Report, ReportFormat};
pub use snapshot::Snapshot;

use clap::{Parser, Subcommand, ValueEnum};

/// What can reach what in a Kubernetes cluster, and why.
///
/// netsim reads manifests or a live cluster and answers what its NetworkPolicies allow, before
/// anything runs. It never sends a packet.
#[derive(Debug, Parser)]
#[command(
    name = "netsim",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Exit codes:
  0  allowed, or the command did what it was asked
  1  not allowed: denied, or mixed
  2  bad usage or bad input
  3  unknown, or incomplete because of policies that were not understood

Examples:
  netsim can-reach -f manifests/ shop/deploy/frontend shop/svc/api:8080
  helm template ./chart | netsim list -f -
  netsim matrix --context prod --port 5432"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// When to colour the output.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN", display_order = 900)]
    pub color: Color,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer whether SRC can reach DST, and why
    #[command(
        visible_alias = "reach",
        after_help = "\
SRC and DST:
  shop/web-0              a pod (or, without a pod of that name, the workload)
  shop/deploy/web         a workload: deploy, sts, ds, rs, rc, job, cronjob
  shop/svc/web:80         a Service and its port, by number or name (DST)
  shop/web:80             with a port a Service of that name is preferred; pod/ and svc/ force it
  shop/*   */*            all pods of a namespace, or of all
  203.0.113.7  10.0.0.0/8 addresses outside the cluster; IPv6 with a port is [2001:db8::1]:443
  api.example.com:443     a DNS name, not resolved (DST)
  :53/udp                 a port may name its protocol
Without a port every port is asked about.

Examples:
  netsim can-reach -f k8s/ shop/deploy/frontend payments/svc/gateway:https
  netsim can-reach -f k8s/ 'shop/*' payments/db-0:5432 --expect denied
  netsim can-reach -f k8s/ 'shop/*' -l app=web kube-system/svc/kube-dns:53 --protocol udp
  kubectl get ns,pods,svc,netpol -A -o json | netsim can-reach -f - shop/web-0 203.0.113.7:443
  netsim can-reach --context prod monitoring/prometheus-0 shop/svc/api:metrics --explain"
    )]
    CanReach(CanReach),
    /// List all connections that are allowed
    #[command(after_help = "\
Pods that no rule tells apart are listed together, under their workload; --expand lists pod by pod.

Examples:
  netsim list -f k8s/
  netsim list -f k8s/ -n shop --destination shop/svc/db
  netsim list -f k8s/ --expand -o json
  netsim list -f k8s/ -o dot | dot -Tsvg > connections.svg")]
    List(List),
    /// Show who can reach whom as a table
    #[command(after_help = "\
Examples:
  netsim matrix -f k8s/ --port 5432
  netsim matrix -f k8s/ -n shop -o md")]
    Matrix(Matrix),
    /// Write who reaches whom as a page for a browser, or as a picture
    #[command(after_help = "\
The page is one file that fetches nothing: a matrix and a graph of all workloads, the policies, and for each pair why.

Examples:
  netsim report -f k8s/ --out report.html
  netsim report -f k8s/ --tenant-label tenant > report.html
  netsim report -f k8s/ -n shop -o svg --out shop.svg")]
    Report(Report),
    /// Save what netsim needs of a live cluster in one file
    #[command(after_help = "\
The file holds no Secrets, no environment variables and no commands of containers.

Examples:
  netsim snapshot --context prod > prod.json
  netsim can-reach -f prod.json shop/web-0 shop/svc/api:80")]
    Snapshot(Snapshot),
    /// Print a shell completion script
    #[command(after_help = "Example:\n  netsim completions bash > /etc/bash_completion.d/netsim")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// When to colour.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Color {
    /// On terminals, and NO_COLOR is respected.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
