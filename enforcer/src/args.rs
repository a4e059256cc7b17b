//! The command line, as it is typed. Nothing here is looked up or opened.

use crate::agent::{learning, names};
use crate::observe::log::Format;
use crate::observe::{falcosidekick, pod_events};
use crate::render;
use clap::{Args, Parser, Subcommand, ValueEnum};
use http::Uri;
use ipnet::IpNet;
use netsim::args::{ClusterArgs, InputArgs, NameArgs};
use netsim_shared::dns::refuse::{Refusals, private_ranges};
use netsim_shared::dns::store::StoreOptions;
use netsim_shared::net::{family_of, read_cidr};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Enforces Kubernetes NetworkPolicy on a node with nftables: the same compiled rules that `netsim`
/// answers from.
#[derive(Debug, Parser)]
#[command(
    name = "netsim-enforcer",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Exit codes:
  0  done; verify: the kernel holds what is wanted; status: the agent is ready; explain: allowed
  1  verify: the kernel holds something else; status: the agent is not ready; explain: denied;
     prepare-node: something is left to be made
  2  bad usage, bad input, or something that could not be done
  3  explain: it is not certain, or those who were asked do not agree

Examples:
  netsim-enforcer run --node-name \"$NODE_NAME\"
  netsim-enforcer render -f manifests/ --node-name node-1
  netsim-enforcer verify --kubeconfig ~/.kube/config --node-name node-1"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the cluster and enforce its policies on this node, until told to stop
    #[command(after_help = "\
What was put into the kernel stays when the agent stops: a node is never opened by a stop, a crash \
or an upgrade. `netsim-enforcer cleanup` takes it out.")]
    Run(Box<Run>),
    /// Print the ruleset of a node as `nft -f` reads it; needs no privileges
    #[command(after_help = "\
Examples:
  netsim-enforcer render -f manifests/ --node-name node-1
  netsim-enforcer render --context prod --node-name node-1 | less
  kubectl get ns,nodes,pods,netpol -A -o json | netsim-enforcer render -f - --node-name node-1")]
    Render(Render),
    /// Compare what the kernel holds with what a node should have; exit 1 when it differs
    Verify(Verify),
    /// Ask the agent of this node how it is
    Status(Status),
    /// Show the connections that this node denied lately
    #[command(after_help = "\
Examples:
  netsim-enforcer flows
  netsim-enforcer flows --follow -n shop
  netsim-enforcer flows --pod shop/db -o json
  netsim-enforcer flows --summary > denied.jsonl")]
    Flows(Flows),
    /// Ask what this node would do with a connection, and why: the kernel, the policies, and whether they agree
    #[command(after_help = "\
A node judges its own pods: the egress of a source that runs on it, the ingress of a destination that does.

Examples:
  netsim-enforcer explain shop/web shop/db:5432
  netsim-enforcer explain shop/web 10.96.0.10:53/UDP
  netsim-enforcer explain shop/web shop/db:5432 -f manifests/")]
    Explain(Explain),
    /// Take our table out of the kernel: from then on nothing is enforced on this node
    Cleanup(Cleanup),
    /// Load br_netfilter and make the bridge settings that enforcement needs, once
    PrepareNode(PrepareNode),
}

/// How rulesets are made.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Ruleset")]
pub struct RulesetArgs {
    /// The node whose pods are enforced for, by the name of its Node object
    #[arg(long, value_name = "NAME", env = "NODE_NAME", value_parser = node_name)]
    pub node_name: String,
    /// A range of this node's pod addresses; repeatable [default: what the Node object says]
    #[arg(long = "pod-cidr", value_name = "CIDR", value_parser = cidr)]
    pub pod_cidrs: Vec<IpNet>,
    /// What happens to addresses in the node's pod range that no pod is known to have yet
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = UnknownPods::Deny)]
    pub unknown_pods: UnknownPods,
    /// Count and log what would be denied, and drop nothing
    #[arg(long)]
    pub audit: bool,
    /// The bits of the connection mark that are the enforcer's: adjoining ones, at least 2
    #[arg(long, value_name = "MASK", default_value = "0xffff0000", value_parser = mark_mask)]
    pub mark_mask: u32,
    /// Log denied packets to the agent, as many as --log-denied-rate says; all are counted
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub log_denied: bool,
    /// How many denied packets a second are logged in each direction
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub log_denied_rate: u32,
    /// The netlink log group that denied packets are logged to
    #[arg(long, value_name = "GROUP", default_value_t = 4712)]
    pub log_group: u16,
}

impl RulesetArgs {
    /// As the renderer takes them.
    pub fn options(&self) -> render::Options {
        render::Options {
            node: self.node_name.as_str().into(),
            unknown_pods: match self.unknown_pods {
                UnknownPods::Allow => render::UnknownPods::Allow,
                UnknownPods::Deny => render::UnknownPods::Deny,
            },
            audit: self.audit,
            mark_mask: self.mark_mask,
            log_denied: self.log_denied,
            log_group: self.log_group,
            log_rate: self.log_denied_rate,
            ..render::Options::default()
        }
    }
}

/// Where `render`, `verify` and `explain` have the cluster from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Input")]
pub struct Input {
    /// Manifests: a file, a directory (read recursively), a glob, or - for standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub files: Vec<String>,
    /// The namespace of objects in files that name none
    #[arg(long, value_name = "NS", default_value = "default")]
    pub default_namespace: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub cluster: ClusterArgs,
}

impl Input {
    /// Whether a cluster was named at all.
    pub fn is_given(&self) -> bool {
        let cluster = &self.cluster;
        !self.files.is_empty() || cluster.context.is_some() || cluster.kubeconfig.is_some() || cluster.in_cluster
    }

    /// As the simulator loads it, understood as the agent does.
    pub fn args(&self) -> InputArgs {
        InputArgs {
            files: self.files.clone(),
            default_namespace: self.default_namespace.clone(),
            cluster: self.cluster.clone(),
            ip_block_matches_pods: true,
            // Those are for questions about pods that are not there yet.
            pod_cidrs: Vec::new(),
            strict: false,
            host_network_pods: false,
            // What names stand for is filled in on the node.
            names: NameArgs::default(),
        }
    }
}

/// What happens to pods that are not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownPods {
    /// They are open from their start until they are programmed
    Allow,
    /// They are closed until they are programmed
    Deny,
}

/// The table in the kernel.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kernel")]
pub struct KernelArgs {
    /// The name of the nftables table, of family inet
    #[arg(long, value_name = "NAME", default_value = "netsim", value_parser = table_name)]
    pub table: String,
    /// The network namespace to work in, such as /proc/1/ns/net [default: that of the process]
    #[arg(long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
}

/// `run`
#[derive(Debug, Clone, Args)]
pub struct Run {
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub ruleset: RulesetArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub kernel: KernelArgs,
    /// The kubeconfig file [default: in a pod its service account, else what kubectl uses]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// Where metrics, health and status are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9470", value_parser = listen, help_heading = "Agent")]
    pub listen: SocketAddr,
    /// The socket where root of this node gets denied flows and explanations; `none`: there is no socket
    #[arg(long, value_name = "PATH", default_value = SOCKET, value_parser = any_path, help_heading = "Agent")]
    pub socket: PathBuf,
    /// How long changes are collected before they go to the kernel together: 5ms, 1s
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = time, help_heading = "Agent")]
    pub coalesce: Duration,
    /// How often to look whether somebody else changed the table
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = period, help_heading = "Agent")]
    pub verify_interval: Duration,
    /// Keep the table from being changed or flushed by others while the agent runs (Linux 6.9)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, help_heading = "Kernel")]
    pub own_table: bool,
    /// Load br_netfilter and set net.bridge.bridge-nf-call-* where bridges need it
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, help_heading = "Kernel")]
    pub manage_sysctls: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub names: NamesArgs,
    /// How often a denied connection is told again while it goes on
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = period, help_heading = "Denied connections")]
    pub flow_interval: Duration,
    /// Append denied connections to a file, as JSON lines; - for standard output [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Denied connections")]
    pub flow_log: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub sinks: SinkArgs,
    /// The form of the log on standard error
    #[arg(long, value_enum, value_name = "FORM", default_value_t = LogFormat::Text, help_heading = "Agent")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or by part: info,netsim_enforcer::agent=debug
    #[arg(long, value_name = "FILTER", default_value = "info", env = "NETSIM_LOG", help_heading = "Agent")]
    pub log: String,
}

/// Where agents have their socket, unless told otherwise.
pub const SOCKET: &str = "/run/netsim/enforcer.sock";

impl Run {
    /// Where the socket is to be, if there is to be one.
    pub fn socket(&self) -> Option<&Path> {
        let off = ["", "none"].map(Path::new).contains(&self.socket.as_path());
        (!off).then_some(&self.socket)
    }
}

/// How names in policies are resolved.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Names in policies")]
pub struct NamesArgs {
    /// A DNS server to ask, such as 10.96.0.10 or 10.96.0.10:5353; repeatable [default: those of /etc/resolv.conf]
    #[arg(long = "dns-server", value_name = "ADDRESS", value_parser = dns_server)]
    pub dns_servers: Vec<SocketAddr>,
    /// Learn what names stand for from the answers that pods get from the servers of --dns-server; wildcards need it
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub dns_learn: bool,
    /// The netfilter queue that holds these answers
    #[arg(long, value_name = "NUMBER", default_value_t = 4712)]
    pub dns_queue: u16,
    /// The file that keeps what names stand for over a restart [default: none]
    #[arg(long, value_name = "FILE")]
    pub dns_state: Option<PathBuf>,
    /// A range of the cluster's pods, which no name may stand for; repeatable
    #[arg(long = "cluster-cidr", value_name = "CIDR", value_parser = cidr)]
    pub cluster_cidrs: Vec<IpNet>,
    /// A range of the cluster's Services, which no name may stand for; repeatable
    #[arg(long = "service-cidr", value_name = "CIDR", value_parser = cidr)]
    pub service_cidrs: Vec<IpNet>,
    /// A private range that names may stand for addresses of; repeatable [default: none]
    #[arg(long = "dns-allow-private", value_name = "CIDR", value_parser = private_cidr)]
    pub dns_allow_private: Vec<IpNet>,
    /// An address counts at least this long after an answer, whatever its time to live
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = period)]
    pub dns_min_ttl: Duration,
    /// An address counts at most this long after an answer
    #[arg(long, value_name = "TIME", default_value = "60m", value_parser = period)]
    pub dns_max_ttl: Duration,
    /// What is added to that, for programs that keep answers longer than they may
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub dns_grace: Duration,
    /// How long after the last answer addresses are kept while no server answers
    #[arg(long, value_name = "TIME", default_value = "60m", value_parser = time)]
    pub dns_stale: Duration,
    /// The most addresses of a name, in each family
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub dns_max_addresses: u16,
}

impl NamesArgs {
    /// Whose answers to pods are read.
    pub fn learning(&self) -> learning::Config {
        let resolvers = self.dns_servers.iter().filter(|_| self.dns_learn).map(SocketAddr::ip).collect();
        learning::Config { resolvers, queue: self.dns_queue }
    }

    /// As the agent takes them.
    pub fn config(&self) -> names::Config {
        names::Config {
            servers: self.dns_servers.clone(),
            state: self.dns_state.clone(),
            refusals: Refusals {
                pods: self.cluster_cidrs.clone(),
                services: self.service_cidrs.clone(),
                nodes: Vec::new(),
                opted_in: self.dns_allow_private.clone(),
            },
            store: StoreOptions {
                min_ttl: self.dns_min_ttl,
                max_ttl: self.dns_max_ttl,
                grace: self.dns_grace,
                per_name: self.dns_max_addresses.into(),
                stale: self.dns_stale,
                ..StoreOptions::default()
            },
        }
    }
}

/// Where denied connections are told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Denied connections")]
pub struct SinkArgs {
    /// Send denied connections to falcosidekick at this URL, http or https [default: none]
    #[arg(long, value_name = "URL", value_parser = falcosidekick_url)]
    pub falcosidekick: Option<Uri>,
    /// The certificates that vouch for falcosidekick, in PEM [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "falcosidekick")]
    pub falcosidekick_ca: Option<PathBuf>,
    /// Make at most one Event in this time on a pod and direction with denied connections; 0 for none at all
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time_or_zero)]
    pub pod_event_interval: Duration,
}

impl SinkArgs {
    /// Where falcosidekick is, if it is told.
    pub fn falcosidekick(&self) -> Option<falcosidekick::Target> {
        let url = self.falcosidekick.clone()?;
        Some(falcosidekick::Target { url, ca: self.falcosidekick_ca.clone() })
    }

    /// How often Events are made on pods, if they are.
    pub fn pod_events(&self) -> Option<pod_events::Pace> {
        Some(self.pod_event_interval).filter(|interval| !interval.is_zero()).map(pod_events::Pace::every)
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }
}

/// `render`
#[derive(Debug, Clone, Args)]
pub struct Render {
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub input: Input,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub ruleset: RulesetArgs,
    /// The name of the nftables table, of family inet
    #[arg(long, value_name = "NAME", default_value = "netsim", value_parser = table_name)]
    pub table: String,
}

/// `verify`
#[derive(Debug, Clone, Args)]
pub struct Verify {
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub input: Input,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub ruleset: RulesetArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub kernel: KernelArgs,
}

/// `status`
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// Ask where the agent serves its status, for which one need not be root, instead of its socket: 127.0.0.1:9470
    #[arg(long, value_name = "ADDRESS", conflicts_with = "socket")]
    pub address: Option<SocketAddr>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "shared options")]
    pub socket: SocketArgs,
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t = Output::Text)]
    pub output: Output,
}

/// Forms of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// JSON
    Json,
}

/// Where an agent is asked.
#[derive(Debug, Clone, Args)]
pub struct SocketArgs {
    /// The socket of the agent
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
}

/// `flows`
#[derive(Debug, Clone, Args)]
pub struct Flows {
    /// Go on with those that come
    #[arg(short, long)]
    pub follow: bool,
    /// Summed up, without times, as JSON lines in one order: for `netsim suggest --flows` and for diff
    #[arg(long, conflicts_with = "follow")]
    pub summary: bool,
    /// Only those from or to pods of this namespace
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Only those from or to this pod
    #[arg(long, value_name = "NS/NAME", value_parser = pod_name)]
    pub pod: Option<(String, String)>,
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[expect(missing_docs, reason = "shared options")]
    pub socket: SocketArgs,
}

/// `explain`
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// Who connects: NS/POD or an address
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// To whom and on which port: NS/POD:80, 10.0.0.1:53/UDP; TCP unless said
    #[arg(value_name = "DESTINATION:PORT")]
    pub destination: String,
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[expect(missing_docs, reason = "shared options")]
    pub socket: SocketArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub input: Input,
}

/// `cleanup`
#[derive(Debug, Clone, Args)]
pub struct Cleanup {
    #[command(flatten)]
    #[expect(missing_docs, reason = "options of its own heading")]
    pub kernel: KernelArgs,
    /// The bits of the connection mark that were the enforcer's; they are cleared
    #[arg(long, value_name = "MASK", default_value = "0xffff0000", value_parser = mark_mask)]
    pub mark_mask: u32,
    /// Stay until told to stop, for a DaemonSet, whose containers have to
    #[arg(long)]
    pub stay: bool,
}

/// `prepare-node`
#[derive(Debug, Clone, Args)]
pub struct PrepareNode {
    /// Where the root of the node is mounted: its modprobe and its /proc are used [default: the own one]
    #[arg(long, value_name = "PATH")]
    pub root: Option<PathBuf>,
}

fn node_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = |label: &str| !label.is_empty() && label.chars().all(fits);
    if text.len() < 254 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err("a node's name is made of lower-case letters, digits, `-` and `.`: see `kubectl get nodes`".to_owned())
}

fn mark_mask(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
    let mask = number.ok_or("a mask is a number of 32 bits, such as 0xffff0000")?;
    let ones = mask.checked_shr(mask.trailing_zeros()).unwrap_or(0);
    if ones < 3 || ones & ones.wrapping_add(1) != 0 {
        return Err("the bits of the mask have to adjoin each other, and be 2 at least: 0xffff0000".to_owned());
    }
    Ok(mask)
}

fn table_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && text.len() < 128 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("a table's name begins with a letter or `_`; letters, digits and `_-.` follow".to_owned())
}

fn cidr(text: &str) -> Result<IpNet, String> {
    read_cidr(text).map(|read| read.net)
}

/// An address of the node, with a port or without.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().ok().or_else(|| Some(SocketAddr::new(bare(text)?, LISTEN_PORT)));
    address.ok_or_else(|| {
        format!("it takes an address of the node, with a port if it is not {LISTEN_PORT}: 10.0.0.1, fd00::1, [::]:9470")
    })
}

/// An address that stands alone, in brackets or not.
fn bare(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.map_or_else(|| text.parse().ok(), |inner| inner.parse().ok().map(IpAddr::V6))
}

/// The port of metrics, health and status.
const LISTEN_PORT: u16 = 9470;

/// A path, or nothing.
fn any_path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

fn pod_name(text: &str) -> Result<(String, String), String> {
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            Ok(((*namespace).to_owned(), (*name).to_owned()))
        }
        _ => Err("a pod is named with its namespace: shop/db".to_owned()),
    }
}

/// An address, with a port or without.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    let server = text.parse().ok().or_else(alone);
    server
        .ok_or_else(|| "a DNS server is an address, with a port if it is not 53: 10.96.0.10, [fd00::a]:5353".to_owned())
}

/// A private range: others need not be opted in.
fn private_cidr(text: &str) -> Result<IpNet, String> {
    let net = cidr(text)?;
    let ranges = *private_ranges().get(family_of(&net));
    if ranges.iter().any(|range| range.contains(&net)) {
        return Ok(net);
    }
    let ranges = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(format!("only a range within a private one can be opted in: {ranges}"))
}

/// The longest time that is taken: what is meant is far below.
const LONGEST: Duration = Duration::from_secs(3600);

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a time is a number and a unit: 500us, 5ms, 1s")?;
    let time = match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err("the unit of a time is us, ms, s or m: 500us, 5ms, 1s".to_owned()),
    };
    if time > LONGEST { Err("it is 60m at most".to_owned()) } else { Ok(time) }
}

/// The same, where 0 needs no unit.
fn time_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { time(text) }
}

fn falcosidekick_url(text: &str) -> Result<Uri, String> {
    let example = "http://falcosidekick.falco.svc:2801";
    let url: Uri = text.parse().map_err(|error| format!("{error}: {example}"))?;
    let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if !["http", "https"].contains(&url.scheme_str().unwrap_or_default()) || authority.is_empty() {
        return Err(format!("it begins with http:// or https://, and a host follows: {example}"));
    }
    if authority.contains('@') || url.query().is_some() {
        return Err(format!("neither user and password nor a query can be in it: {example}"));
    }
    Ok(url)
}

/// How often something is done: not without pause.
fn period(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time.is_zero() { Err("it has to be more than nothing: 1s".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn masks_adjoin() {
        assert_eq!(mark_mask("0xffff0000"), Ok(0xffff_0000));
        assert_eq!(mark_mask("12"), Ok(12));
        assert_eq!(mark_mask("0xffffffff"), Ok(u32::MAX));
        for wrong in ["0", "1", "0x80000000", "0xff00ff", "mask", ""] {
            assert!(mark_mask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["5", "ms", "", "1h", "-1s", "61m", "18446744073709551615m"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!((time("0s"), period("0s").is_err()), (Ok(Duration::ZERO), true));
    }

    #[test]
    fn an_agent_listens_on_an_address_with_a_port_or_without() {
        for (text, address) in [
            ("10.0.0.1", "10.0.0.1:9470"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("fd00::1", "[fd00::1]:9470"),
            ("[fd00::1]", "[fd00::1]:9470"),
            ("[fd00::1]:80", "[fd00::1]:80"),
        ] {
            assert_eq!(listen(text), Ok(address.parse().unwrap()));
        }
        for wrong in ["9470", ":9470", "node-1", "[10.0.0.1]", ""] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_socket_can_be_left_out() {
        let socket = |args: &[&str]| {
            let all = ["netsim-enforcer", "run", "--node-name", "n"].iter().chain(args);
            match Cli::try_parse_from(all).unwrap().command {
                Command::Run(run) => run.socket().map(Path::to_owned),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(socket(&[]), Some(SOCKET.into()));
        assert_eq!(socket(&["--socket=/tmp/a"]), Some("/tmp/a".into()));
        assert_eq!((socket(&["--socket", ""]), socket(&["--socket=none"])), (None, None));
    }

    #[test]
    fn servers_have_ports_and_only_what_is_private_is_opted_in() {
        for (text, server) in [
            ("10.96.0.10", "10.96.0.10:53"),
            ("10.96.0.10:5353", "10.96.0.10:5353"),
            ("fd00::a", "[fd00::a]:53"),
            ("[fd00::a]:5353", "[fd00::a]:5353"),
        ] {
            assert_eq!(dns_server(text), Ok(server.parse().unwrap()));
        }
        assert!(dns_server("dns.example.com").is_err());
        assert!(private_cidr("10.1.0.0/16").is_ok() && private_cidr("fd00::/64").is_ok());
        for wrong in ["8.8.8.0/24", "0.0.0.0/0", "10.0.0.0/7", "169.254.0.0/16", "10.0.0.0/99"] {
            assert!(private_cidr(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_and_intervals_of_sinks() {
        for url in ["http://falcosidekick.falco.svc:2801", "https://[fd00::1]/path/", "http://10.0.0.1"] {
            assert!(falcosidekick_url(url).is_ok(), "{url}");
        }
        let wrong =
            ["falcosidekick:2801", "/path", "ftp://a", "http://", "http://u:p@a", "http://a/?q=1", "http://a b"];
        for url in wrong {
            assert!(falcosidekick_url(url).is_err(), "{url}");
        }
        assert_eq!((time_or_zero("0"), time_or_zero("5m")), (Ok(Duration::ZERO), Ok(Duration::from_secs(300))));
        assert!(time_or_zero("5").is_err());
    }

    #[test]
    fn what_is_said_of_names_reaches_the_agent() {
        let parsed = |args: &[&str]| {
            let all = ["netsim-enforcer", "run", "--node-name", "n"].iter().chain(args);
            match Cli::try_parse_from(all).unwrap().command {
                Command::Run(run) => run.names.config(),
                other => panic!("{other:?}"),
            }
        };
        // Unless told otherwise, it is as the specification says.
        let config = parsed(&[]);
        assert_eq!((config.store, config.refusals), (StoreOptions::default(), Refusals::default()));
        assert!(config.servers.is_empty() && config.state.is_none());
        let config = parsed(&[
            "--dns-server=10.96.0.10",
            "--dns-server=[fd00::a]:5353",
            "--dns-state=/var/lib/netsim/names",
            "--cluster-cidr=10.244.0.0/16",
            "--service-cidr=10.96.0.0/12",
            "--dns-allow-private=10.0.0.0/8",
            "--dns-min-ttl=10s",
            "--dns-max-ttl=20m",
            "--dns-grace=0s",
            "--dns-stale=30m",
            "--dns-max-addresses=7",
        ]);
        assert_eq!(config.servers, ["10.96.0.10:53".parse().unwrap(), "[fd00::a]:5353".parse().unwrap()]);
        assert_eq!(config.state, Some("/var/lib/netsim/names".into()));
        let net = |text: &str| vec![text.parse::<IpNet>().unwrap()];
        let refusals = Refusals {
            pods: net("10.244.0.0/16"),
            services: net("10.96.0.0/12"),
            nodes: Vec::new(),
            opted_in: net("10.0.0.0/8"),
        };
        assert_eq!(config.refusals, refusals);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let store = StoreOptions {
            min_ttl: Duration::from_secs(10),
            max_ttl: minutes(20),
            grace: Duration::ZERO,
            stale: minutes(30),
            per_name: 7,
            ..StoreOptions::default()
        };
        assert_eq!(config.store, store);
    }

    #[test]
    fn nodes_have_names() {
        assert_eq!(node_name("ip-10-0-0-1.example.com").as_deref(), Ok("ip-10-0-0-1.example.com"));
        for wrong in ["", "Node-1", "node 1", "node..1", "."] {
            assert!(node_name(wrong).is_err(), "{wrong}");
        }
    }
}
