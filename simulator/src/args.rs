//! The command line, as it is typed. Nothing here is looked up or opened.

use clap::{Args, Parser, Subcommand, ValueEnum};
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
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
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
    /// Which live cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `can-reach`
#[derive(Debug, Args)]
pub struct CanReach {
    /// Who connects
    #[arg(value_name = "SRC")]
    pub source: String,
    /// To whom, and on which port
    #[arg(value_name = "DST")]
    pub destination: String,
    /// The protocol [default: tcp with a port, every one without]
    #[arg(long, value_name = "tcp|udp|sctp")]
    pub protocol: Option<String>,
    /// The namespace of words that name none [default: that of --default-namespace]
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Only the pods of SRC with these labels, as kubectl -l
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Only the pods of DST with these labels
    #[arg(long, value_name = "SELECTOR")]
    pub dst_selector: Option<String>,
    /// Say why when it is allowed too; a denial always says why
    #[arg(long)]
    pub explain: bool,
    /// Make it an assertion: exit 0 only when the answer is this
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub expect: Option<Expect>,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Text, value_name = "FORMAT")]
    pub output: AnswerFormat,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// What an assertion expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// Everything that was asked about is allowed.
    Allowed,
    /// Everything is denied.
    Denied,
}

impl Expect {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Expect::Allowed => "allowed",
            Expect::Denied => "denied",
        }
    }
}

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people.
    Text,
    /// For programs: docs/schemas/can-reach.schema.json.
    Json,
    /// The same as YAML.
    Yaml,
}

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
