//! What the node module finds and sets, on real network namespaces: bridges, veths, rules of nft and
//! of both variants of iptables.
//!
//! The program runs itself again inside of namespaces of its own before any test, so that nothing
//! outside is seen or touched. It needs `unshare`, `ip`, `nft` and the iptables programs; without
//! them, or without the right to make namespaces, it fails.
#![allow(clippy::unwrap_used)]

use libtest_mimic::{Arguments, Failed, Trial};
use netsim_enforcer::node::{Change, Depth, Finding, FindingKind, Node, Options, Severity, inspect, prepare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const INSIDE: &str = "NETSIM_NODE_TEST_INSIDE";
const SETTINGS: [&str; 3] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-filter-vlan-tagged"];

type Test = fn(&Namespace);

fn main() -> ExitCode {
    let args = Arguments::from_args();
    if !args.list && std::env::var_os(INSIDE).is_none() {
        return run_inside();
    }
    if !args.list {
        // Our own place for the names of namespaces and for the lock of iptables.
        command("mount -t tmpfs tmpfs /run");
        fs::create_dir_all("/run/netns").unwrap();
    }
    let tests: [(&str, Test); 13] = [
        ("an_empty_node_is_ready", an_empty_node_is_ready),
        ("bridge_settings_are_found_made_and_watched", bridge_settings_are_found_made_and_watched),
        ("nothing_is_set_when_not_asked_to", nothing_is_set_when_not_asked_to),
        ("what_cannot_be_set_blocks_with_its_reason", what_cannot_be_set_blocks_with_its_reason),
        ("settings_of_a_single_bridge_count", settings_of_a_single_bridge_count),
        ("the_namespace_is_that_of_the_thread", the_namespace_is_that_of_the_thread),
        ("rules_see_packets_between_pods_after_preparation", rules_see_packets_between_pods_after_preparation),
        ("drops_of_nftables_chains_are_found", drops_of_nftables_chains_are_found),
        ("drops_of_both_variants_of_iptables_are_found", drops_of_both_variants_of_iptables_are_found),
        ("exemptions_from_tracking_are_found", exemptions_from_tracking_are_found),
        ("other_enforcers_are_found", other_enforcers_are_found),
        ("forwarding_sources_and_tracking_are_found", forwarding_sources_and_tracking_are_found),
        ("looking_changes_nothing", looking_changes_nothing),
    ];
    let trials = tests.map(|(name, test)| Trial::test(name, move || in_new_namespace(test))).into();
    libtest_mimic::run(&args, trials).exit_code()
}

/// Runs this program again where it is root of namespaces of its own.
fn run_inside() -> ExitCode {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.arg("--").arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    match unshare.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("error: the tests in their own namespaces failed, or these could not be made ({status})");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: cannot run `unshare` (package util-linux): {error}");
            ExitCode::FAILURE
        }
    }
}

/// A network namespace, whose thread runs the test.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed));
        command(&format!("ip netns add {name}"));
        Self { name }
    }

    /// Runs something on a thread that is inside.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> thread::Result<T> {
        let work = || {
            let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(work).join())
    }

    /// Hangs another namespace, a pod, on a bridge of this one.
    fn add_pod(&self, bridge: &str, port: &str, address: &str) -> Namespace {
        let pod = Namespace::new();
        command(&format!("ip link add {port} type veth peer name eth0 netns {}", pod.name));
        command(&format!("ip link set {port} master {bridge} up"));
        command(&format!("ip -n {} addr add {address}/24 dev eth0 nodad", pod.name));
        command(&format!("ip -n {} link set eth0 up", pod.name));
        pod
    }
}

fn in_new_namespace(test: fn(&Namespace)) -> Result<(), Failed> {
    let namespace = Namespace::new();
    namespace.run(|| test(&namespace)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default().into()
    })
}

/// Runs a command in the namespace of the thread and gives what it prints.
fn command(line: &str) -> String {
    run(line, line.split_whitespace().collect())
}

/// Runs commands of nft.
fn nft(script: &str) -> String {
    run(script, vec!["nft", script])
}

fn run(shown: &str, words: Vec<&str>) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `{}`: {error}", words[0]));
    assert!(output.status.success(), "`{shown}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn set(path: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{path}"), value).unwrap_or_else(|error| panic!("`{path}`: {error}"));
}

fn get(path: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap().trim().to_owned()
}

/// A bridge with a pod, which netfilter does not see.
fn open_bridge() {
    command("ip link add cni0 type bridge");
    command("ip link add veth1 type veth peer name eth0");
    command("ip link set veth1 master cni0");
    for setting in SETTINGS {
        set(&format!("bridge/{setting}"), "0");
    }
}

fn options() -> Options {
    Options::new("netsim")
}

fn blocking(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().filter(|f| f.severity == Severity::Blocks).map(|f| f.kind).collect()
}

/// What is said about a kind of finding.
fn said(kind: FindingKind) -> Vec<String> {
    inspect(&options()).into_iter().filter(|finding| finding.kind == kind).map(|finding| finding.message).collect()
}

const OPEN: [FindingKind; 3] =
    [FindingKind::BridgeUnfiltered, FindingKind::BridgeUnfiltered, FindingKind::BridgeTagsUnfiltered];

fn an_empty_node_is_ready(_: &Namespace) {
    let checked = prepare(options());
    assert!(checked.is_ready(), "{checked:?}");
}

fn bridge_settings_are_found_made_and_watched(_: &Namespace) {
    open_bridge();
    assert_eq!(blocking(&inspect(&options())), OPEN);
    assert_eq!(get("bridge/bridge-nf-call-iptables"), "0");

    let mut node = Node::new(options());
    let first = node.check(Depth::Full);
    assert!(first.is_ready(), "{first:?}");
    let changed: Vec<String> = first.changes.iter().map(ToString::to_string).collect();
    assert_eq!(changed, SETTINGS.map(|name| format!("set `net.bridge.{name}` from 0 to 1")));
    for setting in SETTINGS {
        assert_eq!(get(&format!("bridge/{setting}")), "1");
    }

    let second = node.check(Depth::Quick);
    assert_eq!(second.changes, []);
    assert_eq!(second.findings, first.findings);

    set("bridge/bridge-nf-call-iptables", "0");
    let third = node.check(Depth::Quick);
    let expected = Change::Set { name: "net.bridge.bridge-nf-call-iptables".to_owned(), from: 0, to: 1 };
    assert_eq!(third.changes, [expected]);
    assert!(third.is_ready());
    let reset: Vec<_> = third.findings.iter().filter(|f| f.kind == FindingKind::SettingReset).collect();
    assert_eq!(reset.len(), 1);
    assert!(reset[0].message.contains("`net.bridge.bridge-nf-call-iptables` to 0 1 times"), "{}", reset[0]);
}

fn nothing_is_set_when_not_asked_to(_: &Namespace) {
    open_bridge();
    let checked = prepare(Options { manage_sysctls: false, ..options() });
    assert_eq!(checked.changes, []);
    assert_eq!(blocking(&checked.findings), OPEN);
    assert_eq!(get("bridge/bridge-nf-call-iptables"), "0");
    // The other end of a pod's veth is not enough, it has to hang on the bridge.
    command("ip link set veth1 nomaster");
    assert!(prepare(Options { manage_sysctls: false, ..options() }).is_ready());
    // An address of the block of the pods is enough, without any pod.
    command("ip addr add 10.9.0.1/24 dev cni0");
    let pod_blocks = vec!["10.9.0.0/16".parse().unwrap()];
    assert_eq!(blocking(&inspect(&Options { pod_blocks, ..options() })), OPEN);
}

fn what_cannot_be_set_blocks_with_its_reason(_: &Namespace) {
    open_bridge();
    fs::create_dir_all("/run/sys").unwrap();
    command("mount --bind /proc/sys /run/sys");
    command("mount -o remount,bind,ro /run/sys");
    let checked = prepare(Options { sysctl_root: "/run/sys".into(), ..options() });
    assert_eq!(checked.changes, []);
    assert_eq!(blocking(&checked.findings), OPEN);
    for finding in checked.findings.iter().filter(|f| f.severity == Severity::Blocks) {
        assert!(finding.message.contains("it could not be set: Read-only file system"), "{finding}");
    }
}

fn settings_of_a_single_bridge_count(_: &Namespace) {
    open_bridge();
    command("ip link set cni0 type bridge nf_call_iptables 1");
    assert_eq!(blocking(&inspect(&options())), OPEN[1..]);
    command("ip link set cni0 type bridge nf_call_ip6tables 1");
    assert_eq!(blocking(&inspect(&options())), OPEN[2..]);
}

fn the_namespace_is_that_of_the_thread(_: &Namespace) {
    open_bridge();
    let other = Namespace::new();
    other.run(|| assert!(prepare(options()).is_ready())).unwrap();
    assert_eq!(blocking(&inspect(&options())), OPEN);
    other.run(|| set("bridge/bridge-nf-call-iptables", "1")).unwrap();
    assert_eq!(get("bridge/bridge-nf-call-iptables"), "0");
}

fn rules_see_packets_between_pods_after_preparation(node: &Namespace) {
    command("ip link add cni0 type bridge");
    // With an address, so that the node has a way for what it rejects.
    command("ip addr add 10.9.0.1/24 dev cni0");
    command("ip link set cni0 up");
    let client = node.add_pod("cni0", "veth1", "10.9.0.2");
    let server = node.add_pod("cni0", "veth2", "10.9.0.3");
    for setting in SETTINGS {
        set(&format!("bridge/{setting}"), "0");
    }
    nft("add table inet netsim");
    nft("add chain inet netsim forward { type filter hook forward priority -10; }");
    nft("add rule inet netsim forward tcp flags syn reject with tcp reset");

    let address = SocketAddr::from((Ipv4Addr::new(10, 9, 0, 3), 80));
    let listener = server.run(|| TcpListener::bind(address).unwrap()).unwrap();
    let connect = || client.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(10))).unwrap();
    assert!(connect().is_ok(), "the rule was seen though the bridge does not show its packets");
    assert!(prepare(options()).is_ready());
    assert_eq!(connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(listener);
}

fn drops_of_nftables_chains_are_found(_: &Namespace) {
    nft("add table inet netsim");
    nft("add chain inet netsim forward { type filter hook forward priority -10; policy drop; }");
    nft("add table ip netsim");
    nft("add chain ip netsim hooked { type filter hook forward priority 0; policy drop; }");
    nft("add table inet fw");
    nft("add chain inet fw input { type filter hook input priority 0; policy drop; }");
    nft("add chain inet fw ends { type filter hook forward priority 5; }");
    nft("add rule inet fw ends ip saddr 10.0.0.0/8 accept");
    nft("add rule inet fw ends counter reject with icmpx admin-prohibited");
    nft("add table inet some");
    nft("add chain inet some forward { type filter hook forward priority 5; }");
    nft("add rule inet some forward ip saddr 10.0.0.0/8 drop");
    nft("add table bridge frames");
    nft("add chain bridge frames forward { type filter hook forward priority 0; }");
    nft("add rule bridge frames forward log drop");
    let found = said(FindingKind::ForeignDrop);
    assert_eq!(
        found,
        [
            "allowed traffic may still be dropped by others: chain `ends` of table inet fw drops or rejects at its end",
            "allowed traffic may still be dropped by others: chain `forward` of table bridge frames drops or rejects at its end",
            "allowed traffic may still be dropped by others: chain `hooked` of table ip netsim has the policy to drop",
        ]
    );
}

fn drops_of_both_variants_of_iptables_are_found(_: &Namespace) {
    command("iptables-nft -P FORWARD DROP");
    command("ip6tables-nft -A FORWARD -j REJECT");
    command("iptables-legacy -A FORWARD -j REJECT --reject-with icmp-admin-prohibited");
    command("ip6tables-legacy -P FORWARD DROP");
    command("ip6tables-legacy -P INPUT DROP");
    let found = said(FindingKind::ForeignDrop);
    let expected = [
        "chain `FORWARD` of ip6tables-legacy table filter has the policy to drop",
        "chain `FORWARD` of iptables-legacy table filter drops or rejects at its end",
        "chain `FORWARD` of table ip filter has the policy to drop",
        "chain `FORWARD` of table ip6 filter drops or rejects at its end",
    ];
    let expected = expected.map(|place| format!("allowed traffic may still be dropped by others: {place}"));
    assert_eq!(found, expected);
    assert_eq!(said(FindingKind::LegacyUnlisted), Vec::<String>::new());
}

fn exemptions_from_tracking_are_found(_: &Namespace) {
    nft("add table inet own");
    nft("add chain inet own early { type filter hook prerouting priority raw; }");
    nft("add rule inet own early udp dport 53 notrack");
    command("iptables-nft -t raw -N EXEMPT");
    command("iptables-nft -t raw -A EXEMPT -p udp -j CT --notrack");
    command("iptables-nft -t raw -A PREROUTING -p tcp -j CT --zone 7");
    command("ip6tables-legacy -t raw -A OUTPUT -p udp -j CT --notrack");
    let found = said(FindingKind::Untracked);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("chain `EXEMPT` of table ip raw exempts"), "{found:#?}");
    assert!(found[1].starts_with("chain `OUTPUT` of ip6tables-legacy table raw exempts"), "{found:#?}");
    assert!(found[2].starts_with("chain `early` of table inet own exempts"), "{found:#?}");
}

fn other_enforcers_are_found(_: &Namespace) {
    command("iptables-nft -N cali-FORWARD");
    command("ip6tables-legacy -N KUBE-NWPLCY-DEFAULT");
    command("ip link add cilium_host type veth peer name cilium_net");
    nft("add table inet kube-network-policies");
    nft("add chain inet kube-network-policies postrouting");
    let who: Vec<_> = said(FindingKind::SecondEnforcer);
    let who: Vec<_> = who.iter().map(|message| message.split(" seems").next().unwrap()).collect();
    assert_eq!(who, ["Calico", "Cilium", "kube-network-policies", "kube-router"]);
}

fn forwarding_sources_and_tracking_are_found(_: &Namespace) {
    command("ip link add veth1 type veth peer name veth2");
    let paths = ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/veth2/accept_local"];
    for path in paths {
        set(path, "0");
    }
    assert_eq!(said(FindingKind::ForwardingOff).len(), 2);
    assert_eq!(said(FindingKind::LocalSourcesAccepted), Vec::<String>::new());
    for path in paths {
        set(path, "1");
    }
    assert_eq!(said(FindingKind::ForwardingOff), Vec::<String>::new());
    let [local] = &said(FindingKind::LocalSourcesAccepted)[..] else { panic!("{:?}", inspect(&options())) };
    assert!(local.starts_with("`accept_local` is 1 for `veth2`:"), "{local}");
    set("netfilter/nf_conntrack_tcp_loose", "0");
    set("netfilter/nf_conntrack_tcp_be_liberal", "1");
    assert_eq!(said(FindingKind::TcpTracking).len(), 2);
}

fn looking_changes_nothing(_: &Namespace) {
    open_bridge();
    nft("add table inet fw");
    let before = nft("list ruleset");
    inspect(&options());
    assert_eq!(nft("list ruleset"), before);
    for names in ["ip_tables_names", "ip6_tables_names"] {
        assert_eq!(fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap(), "");
    }
    for setting in SETTINGS {
        assert_eq!(get(&format!("bridge/{setting}")), "0");
    }
}
