//! What is printed and what is put into the kernel are the same; `verify` and `cleanup` on a kernel.

use crate::run::{Answer, CLUSTER, Namespace, PROGRAM, Scratch, enforcer, quiet, run};
use crate::{Test, assert_answer};
use clap::Parser;
use netsim_enforcer::args::{Cli, Command};
use netsim_enforcer::commands::render::Desired;
use netsim_enforcer::kernel::{Kernel, Ownership};
use netsim_enforcer::transaction::replace;
use netsim_testkit::command::{root, words};
use rustix::process::{Pid, Signal};
use std::io::{BufRead, BufReader};
use std::path::Path;

pub const TESTS: [Test; 7] = [
    ("text_and_netlink_make_the_same_table", text_and_netlink_make_the_same_table),
    ("a_text_takes_the_place_of_the_one_before", a_text_takes_the_place_of_the_one_before),
    ("verify_finds_what_was_changed", verify_finds_what_was_changed),
    ("verify_knows_the_options", verify_knows_the_options),
    ("cleanup_leaves_nothing_of_ours", cleanup_leaves_nothing_of_ours),
    ("cleanup_that_stays_ends_when_told", cleanup_that_stays_ends_when_told),
    ("a_node_is_prepared_once", a_node_is_prepared_once),
];

const NODE_1: &str = "-f tests/enforcer_cli/data/cluster.yaml --node-name node-1";

/// Puts what `render` would print for these arguments into the kernel, as the agent does.
fn commit(namespace: &Namespace, arguments: &str) {
    let mut line = words(&format!("netsim-enforcer render {arguments}"));
    for word in line.iter_mut().filter(|word| word.starts_with("tests/")) {
        *word = root().join(&word).display().to_string();
    }
    let Command::Render(args) = Cli::try_parse_from(line).unwrap().command else { panic!("not render") };
    let desired = Desired::load(&args.input, &args.ruleset).unwrap();
    let path = namespace.path();
    let kernel = Kernel::open(Some(Path::new(&path)), &args.table, Ownership::Shared).unwrap();
    kernel.commit(replace(false, &desired.ruleset(1))).wait().unwrap();
}

/// The lines of a table, with the elements of a set sorted: nft prints them in the kernel's order.
fn listing(namespace: &Namespace, table: &str) -> Vec<String> {
    let listed = namespace.nft(&format!("list table inet {table}")).exits(0);
    let mut lines: Vec<String> = Vec::new();
    let mut elements: Option<String> = None;
    for line in listed.out.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let text = match elements.take() {
            Some(before) => format!("{before} {line}"),
            None => line.to_owned(),
        };
        let Some(inner) = text.strip_prefix("elements = {") else {
            lines.push(text);
            continue;
        };
        match inner.strip_suffix('}') {
            None => elements = Some(text),
            Some(inner) => {
                let mut each: Vec<&str> = inner.split(',').map(str::trim).collect();
                each.sort_unstable();
                lines.push(format!("elements {}", each.join(", ")));
            }
        }
    }
    blocks(&lines)
}

/// Sets and chains by name, each with its lines: their order is that of their creation.
fn blocks(lines: &[String]) -> Vec<String> {
    let mut blocks: Vec<String> = lines[1..].split(|line| line == "}").map(|block| block.join("\n")).collect();
    blocks.sort_unstable();
    blocks
}

fn text_and_netlink_make_the_same_table() {
    for arguments in [
        NODE_1.to_owned(),
        format!("-f {CLUSTER} --node-name node-2"),
        format!("{NODE_1} --audit --log-group 7 --table policies"),
        format!("{NODE_1} --mark-mask 0x00000ff0 --unknown-pods allow"),
        format!("-f {CLUSTER} --node-name node-3 --pod-cidr 10.244.3.0/24 --pod-cidr fd00:10:244:3::/64"),
    ] {
        let table = if arguments.contains("policies") { "policies" } else { "netsim" };
        let (by_text, by_netlink) = (Namespace::new(), Namespace::new());
        by_text.load(&enforcer(&format!("render {arguments}")).exits(0).out);
        commit(&by_netlink, &arguments);
        let (text, netlink) = (listing(&by_text, table), listing(&by_netlink, table));
        assert!(text.len() > 10, "{text:#?}");
        for (text, netlink) in text.iter().zip(&netlink) {
            assert_eq!(text, netlink, "{arguments}");
        }
        assert_eq!(text.len(), netlink.len(), "{arguments}");
        // What nft lists it can load: nothing of ours is beyond the nft of the node.
        let listed = by_netlink.nft(&format!("list table inet {table}")).exits(0).out;
        let again = Namespace::new();
        again.load(&listed);
        assert_eq!(listing(&again, table), netlink, "{arguments}");
    }
}

fn a_text_takes_the_place_of_the_one_before() {
    let namespace = Namespace::new();
    namespace.load(&enforcer(&format!("render -f {CLUSTER} --node-name node-2")).exits(0).out);
    let text = enforcer(&format!("render {NODE_1}")).exits(0).out;
    namespace.load(&text);
    let once = listing(&namespace, "netsim");
    namespace.load(&text);
    assert_eq!(listing(&namespace, "netsim"), once);
    namespace.enforcer(&format!("verify {NODE_1}")).exits(0);
}

fn verify_finds_what_was_changed() {
    let namespace = Namespace::new();
    let verify = || namespace.enforcer(&format!("verify {NODE_1}"));
    assert_answer!("verify-none", verify().exits(1));
    commit(&namespace, NODE_1);
    assert_answer!("verify-same", verify().exits(0));
    assert_answer!(
        "verify-other-node",
        namespace.enforcer(&format!("verify -f {CLUSTER} --node-name node-2")).exits(1)
    );
    namespace.nft("insert rule inet netsim forward tcp dport 22 accept").exits(0);
    namespace.nft("add element inet netsim ingress4_peers2 '{ 10.244.1.12 }'").exits(0);
    namespace.nft("delete element inet netsim ingress4_peers4 '{ 10.244.2.11 }'").exits(0);
    namespace.nft("add chain inet netsim mine").exits(0);
    assert_answer!("verify-edited", verify().exits(1));
    namespace.nft("flush chain inet netsim forward").exits(0);
    assert_answer!("verify-flushed", verify().exits(1));
    namespace.load(&enforcer(&format!("render {NODE_1}")).out);
    verify().exits(0);
}

/// What is a difference for one is none for another.
fn verify_knows_the_options() {
    let namespace = Namespace::new();
    let options = "--audit --table policies --mark-mask 0x00000ff0";
    namespace.load(&enforcer(&format!("render {NODE_1} {options}")).exits(0).out);
    namespace.enforcer(&format!("verify {NODE_1} {options}")).exits(0);
    assert_answer!("verify-audit", namespace.enforcer(&format!("verify {NODE_1} --table policies")).exits(1));
    // Of another time in the agent's life: the generation is what the table says.
    let text = enforcer(&format!("render {NODE_1}")).out.replace("0x00010000", "0x002a0000");
    namespace.load(&text);
    namespace.enforcer(&format!("verify {NODE_1}")).exits(0);
}

fn cleanup_leaves_nothing_of_ours() {
    let namespace = Namespace::new();
    namespace.load("table inet other { chain c { counter; }; }");
    let other = namespace.nft("list ruleset").out;
    commit(&namespace, NODE_1);
    assert_answer!("cleanup", namespace.enforcer("cleanup").exits(0));
    assert_eq!(namespace.nft("list ruleset").out, other);
    assert_answer!("cleanup-again", namespace.enforcer("cleanup").exits(0));
    let path = namespace.path();
    let owner = Kernel::open(Some(Path::new(&path)), "netsim", Ownership::Owned).unwrap();
    owner.commit(replace(false, &netsim_enforcer::ruleset::Ruleset::default())).wait().unwrap();
    assert_answer!("cleanup-owned", namespace.enforcer("cleanup").exits(2));
    drop(owner);
}

/// What a DaemonSet needs: it is clean first, then stays, and ends well.
fn cleanup_that_stays_ends_when_told() {
    let namespace = Namespace::new();
    commit(&namespace, NODE_1);
    let mut command = quiet(PROGRAM);
    let mut child = command.args(["cleanup", "--stay", "--netns", &namespace.path()]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().unwrap(), "deleted table `inet netsim`: nothing is enforced on this node any more");
    assert!(lines.any(|line| line == "staying until told to stop"));
    assert_eq!(namespace.nft("list ruleset").out, "");
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

/// In a network namespace of its own, whose settings are those of no other.
fn a_node_is_prepared_once() {
    let namespace = Namespace::new();
    let root = Scratch::new();
    let prepare = |arguments: &str| {
        let line = format!("prepare-node {arguments}");
        let mut command = quiet("ip");
        command.args(["netns", "exec", namespace.name(), PROGRAM]).args(words(&line));
        let shown = format!("netsim-enforcer {line}");
        let answer = run(shown.trim_end(), command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
        // Whether the module was there is the machine's.
        let out = answer.out.split_inclusive('\n').filter(|line| !line.starts_with("loaded "));
        Answer { out: out.collect(), ..answer }
    };
    assert_answer!("prepare-node", prepare("").exits(0));
    assert_answer!("prepare-node-again", prepare("").exits(0));
    assert_answer!("prepare-node-nowhere", prepare("--root /nowhere").exits(2));
    // What is no root of a node has neither settings nor modprobe.
    assert_answer!("prepare-node-empty", prepare(&format!("--root {}", root.path().display())).exits(1));
    // As a container has the node: its root, and all that is mounted there.
    let settings = root.path().join("proc");
    std::fs::create_dir(&settings).unwrap();
    let line = format!(
        "mount --rbind / {0} && ip netns exec {1} {PROGRAM} prepare-node --root {0}",
        settings.display(),
        namespace.name()
    );
    run(
        "prepare-node",
        quiet("unshare").args(["--mount", "/bin/sh", "-ec", &line]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )
    .exits(0)
    .says("packets between pods of a bridge pass the rules");
}
