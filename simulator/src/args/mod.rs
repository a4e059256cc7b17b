//! The command line, as it is typed: one file a command. Nothing here is looked up or opened.

mod can_reach;
mod diff;
mod generate;
mod input;
mod lint;
mod list;
mod names;
mod report;
mod snapshot;
mod suggest;
mod test;

pub use can_reach::{AnswerFormat, CanReach, Expect};
pub use diff::{Diff, DiffFormat, DiffTelling, FailOnChange, WhatIf};
pub use generate::{Generate, Generated};
pub use input::{ClusterArgs, InputArgs};
pub use lint::{ExplainRule, FailOn, FindingFormat, Lint};
pub use list::{List, ListFilter, ListFormat, Matrix, MatrixFormat};
pub use names::NameArgs;
pub use report::{Report, ReportFormat};
pub use snapshot::Snapshot;
pub use suggest::Suggest;
pub use test::{Test, TestFormat};

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

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
  1  not allowed, a test that does not hold, or something found
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
    /// Read options from this file [default: netsim.yaml, here or in a folder above]
    #[arg(
        long,
        value_name = "FILE",
        env = "NETSIM_CONFIG",
        hide_env_values = true,
        global = true,
        display_order = 901
    )]
    pub config: Option<PathBuf>,
    /// Read options from no file, whatever --config says
    #[arg(long, global = true, display_order = 902)]
    pub no_config: bool,
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
  api.example.com:443     a DNS name outside (DST); DNS is asked with --resolve only
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
    /// Find what is probably not meant in policies, and ways around them
    #[command(after_help = "\
A finding is accepted where its object, or the namespace of that, has the annotation
netsim.dev/allow with the rule's number or name. `netsim explain-rule` tells about the rules.

Exit codes:
  0  nothing found at or above --fail-on
  1  something found
  2  bad usage, or manifests that cannot be read: then only these are told

Examples:
  netsim lint -f k8s/
  netsim lint -f k8s/ -o sarif --out netsim.sarif
  netsim lint -f k8s/ --baseline .netsim-baseline.json --write-baseline
  netsim lint --context prod -n shop --ignore NS011,NS024")]
    Lint(Lint),
    /// Print the page of a rule of lint, or list the rules
    #[command(after_help = "Examples:\n  netsim explain-rule NS001\n  netsim explain-rule")]
    ExplainRule(ExplainRule),
    /// Write the policies that deny by default and allow what is named
    #[command(after_help = "\
Every namespace with pods gets a default-deny where it has none, and the rules that the named
connections need, so that nothing that was named breaks when the policies are applied: netsim asks
every one of them again before it is done.

A flow is a line: {\"source\": \"shop/deploy/web\", \"destination\": \"shop/svc/api:8080\"}, a row of CSV with
the columns source, destination, port and protocol, or a line of `hubble observe -o json`.

Exit codes:
  0  every named connection is allowed with the policies
  1  some are not; they are told, and nothing is written that would break one that works today
  2  bad usage or bad input

Examples:
  netsim suggest -f k8s/ --flows flows.json > policies.yaml
  netsim suggest -f k8s/ --tests tests/connectivity.netsim.yaml
  netsim suggest --context prod -n shop --flows flows.csv --out shop.yaml")]
    Suggest(Suggest),
    /// Check assertions about who can reach whom, for CI
    #[command(after_help = "\
A file of tests:
  apiVersion: netsim.dev/v1alpha1
  kind: ConnectivityTest
  input: [k8s/]                         # relative to this file; -f and the like replace it
  tests:
    - name: customers get to the shop
      because: without it nobody buys
      allowed: {from: ingress/deploy/controller, to: 'shop/svc/frontend:80'}
    - denied: {from: ['shop/*', 203.0.113.0/24], to: 'payments/svc/ledger:9000'}
    - onlyFrom: {from: shop/deploy/api, to: 'shop/svc/db:5432'}
    - onlyTo: {from: shop/deploy/frontend, to: ['shop/svc/api:8080', kube-system/svc/kube-dns]}
    - isolated: {by: tenant, except: [{from: 'monitoring/*'}]}
Exit codes: 0 all hold, 1 some fail, 2 bad input, 3 none fails and some cannot be told.

Examples:
  netsim test tests/
  netsim test tests/ -f k8s/ -o junit --out report.xml
  netsim test tests/shop.netsim.yaml --context prod --filter db")]
    Test(Test),
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
POLICIES of --delete: shop/db, or netpol/db or db in the namespace of -n or --default-namespace;
shop/egressdomainpolicy/api for the other kind.

Exit codes: as those of diff.

Examples:
  netsim what-if -f new-policy.yaml --context prod
  netsim what-if -f policies/ --base snapshot.json --fail-on closed
  netsim what-if --delete shop/default-deny --base k8s/"
    )]
    WhatIf(WhatIf),
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
    /// Write files for packages: man pages, completions, the schema of netsim.yaml
    #[command(hide = true)]
    Generate(Generate),
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
