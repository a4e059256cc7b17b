//! The command line, as it is typed: one file a command. Nothing here is looked up or opened.

mod can_reach;
mod diff;
mod input;
mod list;
mod snapshot;

pub use can_reach::{AnswerFormat, CanReach, Expect};
pub use diff::{Diff, DiffFormat, DiffTelling, FailOn, WhatIf};
pub use input::{ClusterArgs, InputArgs};
pub use list::{List, ListFilter, ListFormat, Matrix, MatrixFormat};
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
    /// Show which connections a change opens and closes, and by which policies
    #[command(
        mut_arg("files", |arg| arg.help("Read on both sides, before OLD and NEW: written as these; repeatable")),
        after_help = "\
OLD and NEW:
  k8s/  a.yaml  'k8s/*.yaml'  -   a directory, file, glob or standard input, as -f elsewhere
  main:k8s/  HEAD~1:./deploy      what git has in a revision; HEAD: is all of it
  live  live:prod                 a live cluster, by the context of the kubeconfig
A path that exists wins over the other readings. Paths in a revision count from the root of the
repository, with ./ in front from the current directory.

Exit codes:
  0  done, or no such change with --fail-on
  1  a change that --fail-on asks about, or any with --exit-code
  2  bad usage or bad input
  3  something cannot be told, or policies were not understood

Examples:
  netsim diff main:k8s/ k8s/
  netsim diff HEAD~1: HEAD: -o md
  netsim diff live:prod k8s/ --fail-on opened
  netsim diff -f cluster.json main:policies/ policies/
  netsim diff before.yaml after.yaml -n shop --port 5432"
    )]
    Diff(Diff),
    /// Show which connections would change if objects were applied or policies deleted
    #[command(
        mut_arg("files", |arg| arg.help("Objects that are added, or replace those of their name: written as for --base")),
        after_help = "\
POLICIES of --delete: shop/db, or netpol/db or db in the namespace of -n or --default-namespace.

Exit codes: as those of diff.

Examples:
  netsim what-if -f new-policy.yaml --context prod
  netsim what-if -f policies/ --base snapshot.json --fail-on closed
  netsim what-if --delete shop/default-deny --base k8s/"
    )]
    WhatIf(WhatIf),
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
