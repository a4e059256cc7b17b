//! The netlink module against the real kernel. Every test is a process of its own in a network
//! namespace of its own, so that nothing here touches the machine's rules and no test another's.
//!
//! Needs root, or user namespaces that anybody may create; `unshare`, `nft` and `ip`.

#![allow(clippy::unwrap_used, reason = "these are tests, which clippy does not see without the standard harness")]

use libtest_mimic::{Arguments, Failed, Trial};
use netsim_enforcer::drift::differences;
use netsim_enforcer::kernel::nflog::{Event, Reader};
use netsim_enforcer::kernel::queue::{self, Queue};
use netsim_enforcer::kernel::{
    CommitError, Committed, Contents, Error, Kernel, Netlink, Ownership, Queueing, TableInfo, describe,
};
use netsim_enforcer::ruleset::elements::List;
use netsim_enforcer::ruleset::text::table_at;
use netsim_enforcer::ruleset::timed::Left;
use netsim_enforcer::ruleset::{
    COMMENT_MAX, CT_INVALID, CT_UNTRACKED, Chain, Elements, Field, Hook, Key, Name, Rule, Ruleset, Set, SetKind,
    Statement, TimedElements, Verdict, Via,
};
use netsim_enforcer::transaction::{Op, Transaction, replace};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TABLE: &str = "netsim";
/// Says to this program which test it is, once it is in its namespace.
const TEST: &str = "NETSIM_KERNEL_TEST";

const TESTS: &[(&str, fn())] = &[
    ("every_statement_is_shown_as_described", every_statement_is_shown_as_described),
    ("nft_lists_what_was_loaded", nft_lists_what_was_loaded),
    ("every_kind_of_set_comes_back_and_changes", every_kind_of_set_comes_back_and_changes),
    ("nft_writes_the_same_sets", nft_writes_the_same_sets),
    ("ranges_change_one_by_one", ranges_change_one_by_one),
    ("timed_elements_are_read_with_what_they_have_left", timed_elements_are_read_with_what_they_have_left),
    ("the_kernel_takes_out_what_ended", the_kernel_takes_out_what_ended),
    (
        "timed_elements_are_moved_and_taken_out_whatever_is_there",
        timed_elements_are_moved_and_taken_out_whatever_is_there,
    ),
    ("a_table_is_replaced_with_its_timed_elements", a_table_is_replaced_with_its_timed_elements),
    ("timed_sets_are_told_by_what_they_are_for", timed_sets_are_told_by_what_they_are_for),
    ("a_large_map_is_loaded_changed_and_read", a_large_map_is_loaded_changed_and_read),
    ("thousands_of_sets_and_chains_are_one_batch", thousands_of_sets_and_chains_are_one_batch),
    ("a_refused_batch_names_the_object_and_changes_nothing", a_refused_batch_names_the_object_and_changes_nothing),
    ("what_nftables_cannot_express_is_not_sent", what_nftables_cannot_express_is_not_sent),
    ("nobody_else_changes_an_owned_table", nobody_else_changes_an_owned_table),
    ("a_table_outlives_its_killed_owner_and_is_replaced", a_table_outlives_its_killed_owner_and_is_replaced),
    ("a_table_outlives_its_killed_owner_and_is_adopted", a_table_outlives_its_killed_owner_and_is_adopted),
    ("a_second_owner_is_told_of_the_first", a_second_owner_is_told_of_the_first),
    ("changes_by_others_are_seen", changes_by_others_are_seen),
    ("the_generation_tells_of_others", the_generation_tells_of_others),
    ("counters_are_summed_by_chain", counters_are_summed_by_chain),
    ("marks_are_cleared_where_they_are_old", marks_are_cleared_where_they_are_old),
    ("a_logged_packet_is_read", a_logged_packet_is_read),
    ("how_to_queue_is_found_out_and_changes_nothing", how_to_queue_is_found_out_and_changes_nothing),
    ("rules_that_queue_are_shown_and_listed", rules_that_queue_are_shown_and_listed),
    ("a_queue_has_one_listener", a_queue_has_one_listener),
    ("more_than_can_be_read_passes_and_is_told", more_than_can_be_read_passes_and_is_told),
    ("the_thread_works_in_its_namespace", the_thread_works_in_its_namespace),
    ("without_privilege_it_says_what_is_missing", without_privilege_it_says_what_is_missing),
];

/// Not a test: what the tests of ownership start and kill.
const OWNER: &str = "owner";
/// Not a test: what the one about privilege starts.
const UNPRIVILEGED: &str = "unprivileged";

fn main() -> ExitCode {
    match std::env::var(TEST) {
        Ok(name) if name == OWNER => own_a_table_until_killed(),
        Ok(name) if name == UNPRIVILEGED => println!("{}", Netlink::open(TABLE, Ownership::Owned).unwrap_err()),
        Ok(name) => {
            run("ip", &["link", "set", "lo", "up"]);
            let test = TESTS.iter().find(|(test, _)| *test == name);
            test.unwrap_or_else(|| panic!("there is no test `{name}`")).1();
        }
        Err(_) => {
            let trials = TESTS.iter().map(|(name, _)| Trial::test(*name, || in_namespace(name))).collect();
            return libtest_mimic::run(&Arguments::from_args(), trials).exit_code();
        }
    }
    ExitCode::SUCCESS
}

/// Runs a test in a process in a new network namespace.
fn in_namespace(name: &str) -> Result<(), Failed> {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command.arg("--net").arg(std::env::current_exe()?).env(TEST, name).output();
    let output = output.map_err(|e| format!("`unshare` (of util-linux) could not be run: {e}"))?;
    if output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let help = if told.contains("unshare:") {
        "\nTHIS TIER NEEDS NETWORK NAMESPACES: run it as root, or allow users to create user namespaces"
    } else {
        ""
    };
    Err(format!("{}\n{told}{help}", String::from_utf8_lossy(&output.stdout)).into())
}

// What tests are made of.

fn run(program: &str, args: &[&str]) -> String {
    let (success, told) = try_run(program, args);
    assert!(success, "{program} {args:?}: {told}");
    told
}

fn try_run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("`{program}`: {e}"));
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

fn nft(command: &str) -> String {
    run("nft", &[command])
}

fn open(ownership: Ownership) -> Netlink {
    Netlink::open(TABLE, ownership).unwrap_or_else(|e| panic!("{e}"))
}

fn name(text: &str) -> Name {
    Arc::from(text)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> Key {
    Key::Address(ip(text))
}

fn range(first: &str, last: &str) -> Key {
    Key::Range(ip(first), ip(last))
}

fn l4ports(protocol: Protocol, first: u16, last: u16) -> Key {
    Key::L4Ports { protocol, first, last }
}

fn port(address: &str, protocol: Protocol, first: u16, last: u16) -> Key {
    assert_eq!(first, last);
    Key::Port { address: ip(address), protocol, port: first }
}

fn goto(chain: &str) -> Option<Verdict> {
    Some(Verdict::Goto(name(chain)))
}

fn ipv4(n: usize) -> Key {
    Key::Address(Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap()).into())
}

/// A ruleset from nothing.
fn load(ruleset: &Ruleset) -> Transaction {
    let mut ops = vec![Op::AddTable];
    ops.extend(ruleset.chains.iter().map(|(name, chain)| Op::AddChain(name.clone(), chain.hook)));
    ops.extend(ruleset.sets.iter().map(|(name, set)| Op::AddSet(name.clone(), set.kind, set.comment.clone())));
    for (name, set) in &ruleset.sets {
        let elements = set.elements.sorted().into_iter().map(|(key, value)| (*key, value.clone())).collect();
        ops.push(Op::AddElements(name.clone(), set.kind, elements));
    }
    for (name, chain) in &ruleset.chains {
        ops.extend(chain.rules.iter().map(|rule| Op::AddRule(name.clone(), rule.clone())));
    }
    Transaction { ops }
}

fn set(kind: SetKind, elements: impl IntoIterator<Item = (Key, Option<Verdict>)>) -> Arc<Set> {
    Arc::new(Set::new(kind, elements.into_iter().collect()))
}

fn chain(hook: Option<Hook>, rules: Vec<Rule>) -> Arc<Chain> {
    Arc::new(Chain { hook, rules })
}

#[track_caller]
fn assert_holds(netlink: &mut Netlink, ruleset: &Ruleset) {
    let dump = netlink.read().unwrap().expect("there is a table");
    let expected = Contents::expected(ruleset).unwrap();
    if dump.contents == expected {
        return;
    }
    for (name, chain) in &expected.chains {
        let found = dump.contents.chains.get(name).unwrap_or_else(|| panic!("no chain {name}"));
        for (found, rule) in found.rules.iter().zip(&chain.rules) {
            assert_eq!(found, rule, "chain {name}");
        }
        assert_eq!(found, chain, "chain {name}");
    }
    for (name, set) in &expected.sets {
        let found = dump.contents.sets.get(name).unwrap_or_else(|| panic!("no set {name}"));
        assert_eq!((&found.kind, &found.unknown), (&set.kind, &set.unknown), "set {name}");
        assert_eq!(found.elements.sorted(), set.elements.sorted(), "set {name}");
    }
    panic!("there is more than there should be: {:#?}", dump.contents);
}

/// One set of every kind, with elements at the borders.
fn all_sets() -> BTreeMap<Name, Arc<Set>> {
    let (v4, v6) = (Family::V4, Family::V6);
    let all_ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let sets = [
        (
            "addresses4",
            set(SetKind::Addresses(v4), ["0.0.0.0", "10.0.0.1", "255.255.255.255"].map(|a| (address(a), None))),
        ),
        ("addresses6", set(SetKind::Addresses(v6), ["::", "fd00::1", all_ones].map(|a| (address(a), None)))),
        (
            "map4",
            set(
                SetKind::AddressMap(v4),
                [
                    (address("10.0.0.1"), goto("target")),
                    (address("10.0.0.2"), Some(Verdict::Jump(name("target")))),
                    (address("10.0.0.3"), Some(Verdict::Accept)),
                    (address("10.0.0.4"), Some(Verdict::Drop)),
                    (address("10.0.0.5"), Some(Verdict::Return)),
                ],
            ),
        ),
        ("map6", set(SetKind::AddressMap(v6), [(address("fd00::1"), goto("target"))])),
        (
            "ranges4",
            set(
                SetKind::RangeMap(v4),
                [
                    (range("0.0.0.0", "9.255.255.255"), Some(Verdict::Drop)),
                    // Neighbours.
                    (range("10.0.0.0", "10.0.0.255"), goto("target")),
                    (range("10.0.1.0", "10.0.1.255"), Some(Verdict::Accept)),
                    (range("10.0.2.0", "10.0.2.0"), goto("target")),
                    (range("10.0.2.1", "10.0.2.1"), goto("target")),
                    (range("192.168.0.7", "192.168.1.9"), goto("target")),
                    (range("255.0.0.0", "255.255.255.255"), Some(Verdict::Return)),
                ],
            ),
        ),
        ("ranges4_all", set(SetKind::RangeMap(v4), [(range("0.0.0.0", "255.255.255.255"), goto("target"))])),
        (
            "ranges6",
            set(
                SetKind::RangeMap(v6),
                [
                    (range("fd00::", "fd00::ffff"), goto("target")),
                    (range("fd00::1:0", "fd00::1:ffff"), Some(Verdict::Drop)),
                    (range("ff00::", all_ones), Some(Verdict::Accept)),
                ],
            ),
        ),
        ("ranges6_all", set(SetKind::RangeMap(v6), [(range("::", all_ones), goto("target"))])),
        ("pairs4", set(SetKind::Pairs(v4), [(Key::Pair(ip("10.0.0.1"), ip("10.0.0.2")), None)])),
        ("pairs6", set(SetKind::Pairs(v6), [(Key::Pair(ip("fd00::1"), ip("fd00::2")), None)])),
        (
            "ports4",
            set(
                SetKind::Ports(v4),
                [
                    (port("10.0.0.1", Protocol::Tcp, 80, 80), None),
                    (port("10.0.0.1", Protocol::Udp, 53, 53), None),
                    (port("10.0.0.1", Protocol::Sctp, 65535, 65535), None),
                ],
            ),
        ),
        ("ports6", set(SetKind::Ports(v6), [(port("fd00::1", Protocol::Tcp, 80, 80), None)])),
        (
            "l4ports",
            set(
                SetKind::L4Ports,
                [
                    (l4ports(Protocol::Sctp, 0, 65535), None),
                    (l4ports(Protocol::Tcp, 1, 79), None),
                    (l4ports(Protocol::Tcp, 80, 80), None),
                    (l4ports(Protocol::Udp, 80, 90), None),
                ],
            ),
        ),
        ("empty", set(SetKind::Addresses(v4), [])),
    ];
    sets.into_iter().map(|(key, value)| (name(key), value)).collect()
}

/// Every statement, and what `nft list` has to print for it.
fn all_rules() -> Vec<(Rule, &'static str)> {
    use Statement::*;
    let (v4, v6) = (Family::V4, Family::V6);
    let accept = || Verdict(self::Verdict::Accept);
    let block = |field, block: &str| vec![InBlock(field, block.parse().unwrap()), accept()];
    vec![
        (vec![CtState(CT_INVALID | CT_UNTRACKED), Verdict(self::Verdict::Drop)], "ct state invalid,untracked drop"),
        (vec![CtState(2), accept()], "ct state established accept"),
        (vec![CtMark { mask: 0xff00, value: 0x100 }, accept()], "ct mark & 0x0000ff00 == 0x00000100 accept"),
        (vec![SetCtMark { mask: 0xff00, value: 0x1200 }], "ct mark set ct mark & 0xffff12ff | 0x00001200"),
        (vec![SourceIsLocal, accept()], "fib saddr type local accept"),
        (vec![CameByItsRoute, accept()], "fib saddr . iif oif exists accept"),
        (vec![Icmpv6Type(133, 136), accept()], "icmpv6 type 133-136 accept"),
        (vec![Icmpv6Type(133, 133), accept()], "icmpv6 type nd-router-solicit accept"),
        (block(Field::CtSource(v4), "10.0.0.0/24"), "ct original ip saddr 10.0.0.0/24 accept"),
        (block(Field::CtSource(v4), "10.0.0.0/20"), "ct original ip saddr 10.0.0.0/20 accept"),
        (block(Field::CtSource(v4), "10.0.0.1/32"), "ct original ip saddr 10.0.0.1 accept"),
        (block(Field::CtDestination(v4), "10.0.0.0/24"), "ct reply ip saddr 10.0.0.0/24 accept"),
        (block(Field::CtSource(v6), "fd00::/64"), "ct original ip6 saddr fd00::/64 accept"),
        (block(Field::CtDestination(v6), "fd00::/61"), "ct reply ip6 saddr fd00::/61 accept"),
        (block(Field::Source(v4), "10.0.0.0/24"), "ip saddr 10.0.0.0/24 accept"),
        (block(Field::Destination(v4), "10.0.0.0/20"), "ip daddr 10.0.0.0/20 accept"),
        (block(Field::Source(v4), "0.0.0.0/0"), "ip saddr 0.0.0.0/0 accept"),
        (block(Field::Destination(v4), "10.0.0.1/32"), "ip daddr 10.0.0.1 accept"),
        (block(Field::Source(v6), "fd00::/64"), "ip6 saddr fd00::/64 accept"),
        (block(Field::Destination(v6), "fd00::/61"), "ip6 daddr fd00::/61 accept"),
        (block(Field::Source(v6), "::/0"), "ip6 saddr ::/0 accept"),
        (vec![InSet(vec![Field::Source(v4)], name("addresses4")), accept()], "ip saddr @addresses4 accept"),
        (vec![InSet(vec![Field::Destination(v6)], name("addresses6")), accept()], "ip6 daddr @addresses6 accept"),
        (
            vec![InSet(vec![Field::CtSource(v4)], name("addresses4")), accept()],
            "ct original ip saddr @addresses4 accept",
        ),
        (
            vec![InSet(vec![Field::CtSource(v4), Field::CtDestination(v4)], name("pairs4")), accept()],
            "ct original ip saddr . ct reply ip saddr @pairs4 accept",
        ),
        (
            vec![InSet(vec![Field::CtSource(v6), Field::CtDestination(v6)], name("pairs6")), accept()],
            "ct original ip6 saddr . ct reply ip6 saddr @pairs6 accept",
        ),
        (
            vec![InSet(vec![Field::Source(v4), Field::Destination(v4)], name("pairs4")), accept()],
            "ip saddr . ip daddr @pairs4 accept",
        ),
        (
            vec![InSet(vec![Field::Source(v6), Field::Destination(v6)], name("pairs6")), accept()],
            "ip6 saddr . ip6 daddr @pairs6 accept",
        ),
        (
            vec![InSet(vec![Field::CtSource(v4), Field::Protocol, Field::DestinationPort], name("ports4")), accept()],
            "ct original ip saddr . meta l4proto . th dport @ports4 accept",
        ),
        (
            vec![InSet(vec![Field::CtDestination(v6), Field::Protocol, Field::SourcePort], name("ports6")), accept()],
            "ct reply ip6 saddr . meta l4proto . th sport @ports6 accept",
        ),
        (
            vec![InSet(vec![Field::Protocol, Field::DestinationPort], name("l4ports")), accept()],
            "meta l4proto . th dport @l4ports accept",
        ),
        (vec![Vmap(Field::CtSource(v4), name("map4"))], "ct original ip saddr vmap @map4"),
        (vec![Vmap(Field::CtDestination(v6), name("map6"))], "ct reply ip6 saddr vmap @map6"),
        (vec![Vmap(Field::Source(v4), name("ranges4"))], "ip saddr vmap @ranges4"),
        (vec![Vmap(Field::Destination(v6), name("ranges6"))], "ip6 daddr vmap @ranges6"),
        (vec![CtOriginal, accept()], "ct direction original accept"),
        (vec![CtReply, accept()], "ct direction reply accept"),
        (vec![L4Protocol(1), accept()], "meta l4proto icmp accept"),
        (vec![L4Protocol(58), accept()], "meta l4proto ipv6-icmp accept"),
        (vec![L4Protocol(6), accept()], "meta l4proto tcp accept"),
        (vec![L4Protocol(17), CtOriginalPort(53), accept()], "meta l4proto udp ct original proto-dst 53 accept"),
        (
            vec![InSet(vec![Field::CtOriginalDestination(v4)], name("addresses4")), accept()],
            "ct original ip daddr @addresses4 accept",
        ),
        (block(Field::CtOriginalDestination(v6), "fd00::/64"), "ct original ip6 daddr fd00::/64 accept"),
        (vec![Counter], "counter packets 0 bytes 0"),
        (
            vec![Limit(5), Log { group: 7, prefix: "denied" }],
            "limit rate 5/second log prefix \"denied\" group 7 snaplen 128",
        ),
        (vec![Verdict(self::Verdict::Return)], "return"),
        (vec![Verdict(self::Verdict::Jump(name("target")))], "jump target"),
        (vec![Verdict(self::Verdict::Goto(name("target")))], "goto target"),
    ]
}

fn everything() -> Ruleset {
    let rules = all_rules().into_iter().map(|(rule, _)| rule).collect();
    let chains = [
        (name("target"), chain(None, vec![])),
        (name("forward"), chain(Some(Hook::Forward), rules)),
        (name("output"), chain(Some(Hook::Output), vec![vec![Statement::Counter]])),
        (name("later_forward"), chain(Some(Hook::AfterForward), vec![])),
        (name("later_output"), chain(Some(Hook::AfterOutput), vec![])),
    ];
    Ruleset { chains: chains.into(), sets: all_sets() }
}

/// A small table.
fn small() -> Ruleset {
    let rules = vec![
        vec![Statement::Vmap(Field::CtSource(Family::V4), name("peers"))],
        vec![Statement::Counter, Statement::Verdict(Verdict::Drop)],
    ];
    Ruleset {
        chains: [(name("class"), chain(None, vec![])), (name("forward"), chain(Some(Hook::Forward), rules))].into(),
        sets: [(
            name("peers"),
            set(
                SetKind::AddressMap(Family::V4),
                [(address("10.0.0.1"), goto("class")), (address("10.0.0.2"), goto("class"))],
            ),
        )]
        .into(),
    }
}

// The tests.

fn every_statement_is_shown_as_described() {
    let mut netlink = open(Ownership::Shared);
    assert_eq!(netlink.read(), Ok(None));
    netlink.commit(&load(&everything())).unwrap_or_else(|e| panic!("{e}"));
    assert_holds(&mut netlink, &everything());
    for (rule, text) in all_rules() {
        assert!(!describe(&rule).unwrap().is_empty(), "{text}");
    }
    netlink.commit(&Transaction { ops: vec![Op::DeleteTable] }).unwrap();
    assert_eq!(netlink.read(), Ok(None));
}

fn nft_lists_what_was_loaded() {
    let mut netlink = open(Ownership::Shared);
    netlink.commit(&load(&everything())).unwrap_or_else(|e| panic!("{e}"));
    let listed = nft("list table inet netsim");
    let rules: Vec<_> = listed.lines().map(str::trim).collect();
    let first = rules.iter().position(|line| line.starts_with("type filter hook forward")).unwrap();
    assert_eq!(rules[first], "type filter hook forward priority filter - 10; policy accept;");
    for ((_, expected), found) in all_rules().iter().zip(&rules[first + 1..]) {
        assert_eq!(found, expected);
    }
    let flat = listed.split_whitespace().collect::<Vec<_>>().join(" ");
    for set in [
        "set addresses4 { type ipv4_addr elements = { 0.0.0.0, 10.0.0.1, 255.255.255.255 } }",
        "map map4 { type ipv4_addr : verdict elements = { 10.0.0.1 : goto target, 10.0.0.2 : jump target, \
         10.0.0.3 : accept, 10.0.0.4 : drop, 10.0.0.5 : return } }",
        "map ranges4 { type ipv4_addr : verdict flags interval elements = { 0.0.0.0-9.255.255.255 : drop, \
         10.0.0.0/24 : goto target, 10.0.1.0/24 : accept, 10.0.2.0 : goto target, 10.0.2.1 : goto target, \
         192.168.0.7-192.168.1.9 : goto target, 255.0.0.0/8 : return } }",
        "map ranges6_all { type ipv6_addr : verdict flags interval elements = { ::/0 : goto target } }",
        "set pairs6 { type ipv6_addr . ipv6_addr elements = { fd00::1 . fd00::2 } }",
        "set ports6 { type ipv6_addr . inet_proto . inet_service elements = { fd00::1 . tcp . 80 } }",
        "set l4ports { type inet_proto . inet_service flags interval elements = { tcp . 1-79, tcp . 80, udp . 80-90, sctp . 0-65535 } }",
    ] {
        assert!(flat.contains(set), "{set}\n{listed}");
    }
}

fn every_kind_of_set_comes_back_and_changes() {
    let mut netlink = open(Ownership::Owned);
    let mut ruleset = everything();
    netlink.commit(&load(&ruleset)).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<_> = ruleset.sets.keys().cloned().collect();
    for set_name in names {
        let set = ruleset.sets.get_mut(&set_name).unwrap();
        let (kind, all) =
            (set.kind, set.elements.sorted().into_iter().map(|(k, v)| (*k, v.clone())).collect::<Vec<_>>());
        let change = |op: fn(Name, SetKind, List) -> Op, elements: &[(Key, Option<Verdict>)]| Transaction {
            ops: vec![op(set_name.clone(), kind, elements.to_vec())],
        };
        // Each of them alone, with all the others there, then all at once and back.
        for element in &all {
            netlink
                .commit(&change(Op::DeleteElements, std::slice::from_ref(element)))
                .unwrap_or_else(|e| panic!("{e}"));
            Arc::make_mut(ruleset.sets.get_mut(&set_name).unwrap()).elements.remove(&element.0);
            assert_holds(&mut netlink, &ruleset);
            netlink.commit(&change(Op::AddElements, std::slice::from_ref(element))).unwrap_or_else(|e| panic!("{e}"));
            Arc::make_mut(ruleset.sets.get_mut(&set_name).unwrap()).elements.insert(element.0, element.1.clone());
        }
        netlink.commit(&change(Op::DeleteElements, &all)).unwrap_or_else(|e| panic!("{e}"));
        let kept = ruleset.clone();
        Arc::make_mut(ruleset.sets.get_mut(&set_name).unwrap()).elements = Elements::default();
        assert_holds(&mut netlink, &ruleset);
        netlink.commit(&change(Op::AddElements, &all)).unwrap_or_else(|e| panic!("{e}"));
        ruleset = kept;
        assert_holds(&mut netlink, &ruleset);
    }
}

fn nft_writes_the_same_sets() {
    let mut netlink = open(Ownership::Shared);
    netlink.commit(&load(&everything())).unwrap_or_else(|e| panic!("{e}"));
    let ours = netlink.read().unwrap().unwrap().contents;
    let listed = nft("list table inet netsim");
    netlink.commit(&Transaction { ops: vec![Op::DeleteTable] }).unwrap();
    nft(&listed);
    let theirs = netlink.read().unwrap().unwrap().contents;
    for (name, set) in &ours.sets {
        assert_eq!(theirs.sets.get(name), Some(set), "set {name}");
    }
    // Between a protocol and a port nft swaps the bytes of nothing.
    let plain =
        |rule: &[String]| -> Vec<String> { rule.iter().filter(|e| !e.starts_with("byteorder")).cloned().collect() };
    for (name, chain) in &ours.chains {
        let found = theirs.chains.get(name).unwrap();
        assert_eq!((&found.hook, found.rules.len()), (&chain.hook, chain.rules.len()));
        for (found, expected) in found.rules.iter().zip(&chain.rules) {
            // nft reads the "or" of marks with a mask that is as good as ours.
            if !expected.iter().any(|e| e.contains("set mark")) {
                assert_eq!(&plain(found), expected, "chain {name}");
            }
        }
    }
}

fn ranges_change_one_by_one() {
    // Any sequence of neighbouring, splitting and merging ranges, each step an exact difference.
    let mut netlink = open(Ownership::Owned);
    let mut ruleset = small();
    let ranges = name("ranges");
    let kind = SetKind::RangeMap(Family::V4);
    ruleset.sets.insert(ranges.clone(), set(kind, []));
    netlink.commit(&load(&ruleset)).unwrap_or_else(|e| panic!("{e}"));
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..150 {
        // Cut the space into ranges, leave some out, give them verdicts.
        let mut cuts: Vec<u64> = (0..random(9)).map(|_| random(64)).collect();
        cuts.extend([0, 64]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut wanted = Elements::default();
        for pair in cuts.windows(2) {
            let at = |n: u64| Ipv4Addr::from(u32::try_from(n << 26).unwrap_or(u32::MAX));
            let last = if pair[1] == 64 { u32::MAX } else { u32::try_from(pair[1] << 26).unwrap() - 1 };
            let verdict = match random(4) {
                0 => continue,
                1 => goto("class"),
                2 => Some(Verdict::Drop),
                _ => Some(Verdict::Return),
            };
            wanted.insert(Key::Range(at(pair[0]).into(), Ipv4Addr::from(last).into()), verdict);
        }
        let (gone, come) = ruleset.sets[&ranges].elements.changes_to(&wanted);
        let ops = vec![Op::DeleteElements(ranges.clone(), kind, gone), Op::AddElements(ranges.clone(), kind, come)];
        netlink.commit(&Transaction { ops: ops.clone() }).unwrap_or_else(|e| panic!("{e}: {ops:?}"));
        ruleset.sets.insert(ranges.clone(), Arc::new(Set::new(kind, wanted)));
        assert_holds(&mut netlink, &ruleset);
    }
}

/// The name of the timed set of [`timed`].
const NAMES: &str = "egress4_names1";

/// A table with timed sets, and a rule that looks one up.
fn timed() -> Ruleset {
    let set =
        |kind, comment: &str| Arc::new(Set { comment: Some(name(comment)), ..Set::new(kind, Elements::default()) });
    let lookup = Statement::InSet(vec![Field::CtDestination(Family::V4)], name(NAMES));
    let mut ruleset = small();
    ruleset.chains.insert(name("egress"), chain(None, vec![vec![lookup, Statement::Verdict(Verdict::Return)]]));
    ruleset.sets.insert(name(NAMES), set(SetKind::Timed(Family::V4), "api.example.com, *.example.org"));
    ruleset.sets.insert(name("egress6_names1"), set(SetKind::Timed(Family::V6), "api.example.com, *.example.org"));
    ruleset
}

fn commit(netlink: &mut Netlink, ops: Vec<Op>) {
    netlink.commit(&Transaction { ops: ops.clone() }).unwrap_or_else(|e| panic!("{e}: {ops:?}"));
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn elements(all: &[(&str, Duration)]) -> Vec<(IpAddr, Duration)> {
    all.iter().map(|(address, left)| (ip(address), *left)).collect()
}

/// What a timed set holds, and how long.
fn left(netlink: &mut Netlink, set: &str) -> BTreeMap<IpAddr, Option<Duration>> {
    netlink.read().unwrap().unwrap().contents.sets[set].timed.clone()
}

/// Waits until the kernel has taken all elements out of a set.
fn wait_until_empty(netlink: &mut Netlink, set: &str) {
    let until = Instant::now() + secs(10);
    while !left(netlink, set).is_empty() {
        assert!(Instant::now() < until, "elements of {set} do not end: {:?}", left(netlink, set));
    }
}

#[track_caller]
fn assert_left(netlink: &mut Netlink, set: &str, expected: &[(&str, Duration)]) {
    let found = left(netlink, set);
    let addresses: Vec<IpAddr> = expected.iter().map(|(address, _)| ip(address)).collect();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), addresses, "{found:?}");
    for (address, wanted) in elements(expected) {
        let has = found[&address].expect("it ends");
        assert!(has <= wanted && has + secs(5) > wanted, "{address} has {has:?} of {wanted:?}");
    }
}

fn timed_elements_are_read_with_what_they_have_left() {
    let mut netlink = open(Ownership::Owned);
    commit(&mut netlink, load(&timed()).ops);
    let v6 = [("fd00::1", secs(3600)), ("fd00::2", secs(5 * 86_400))];
    let v4 = [("10.0.0.1", secs(35)), ("10.0.0.2", secs(100_000)), ("255.255.255.255", secs(30))];
    commit(
        &mut netlink,
        vec![
            Op::AddTimed(name(NAMES), Family::V4, elements(&v4)),
            Op::AddTimed(name("egress6_names1"), Family::V6, elements(&v6)),
        ],
    );
    assert_left(&mut netlink, NAMES, &v4);
    assert_left(&mut netlink, "egress6_names1", &v6);
    // They are no part of the ruleset.
    let contents = netlink.read().unwrap().unwrap().contents;
    assert!(differences(&Contents::expected(&timed()).unwrap(), &contents).is_empty());
    let wrong = Op::AddTimed(name(NAMES), Family::V4, elements(&[("fd00::1", secs(1))]));
    let error = netlink.commit(&Transaction { ops: vec![wrong] }).unwrap_err().to_string();
    assert!(error.contains("fd00::1: not a key of this kind of set"), "{error}");
    // What is there is not added anew.
    let again = Op::AddTimed(name(NAMES), Family::V4, elements(&[("10.0.0.7", secs(9)), ("10.0.0.2", secs(9))]));
    let error = netlink.commit(&Transaction { ops: vec![again] }).unwrap_err().to_string();
    assert!(error.contains("set `egress4_names1`: element 10.0.0.2"), "{error}");
    assert_left(&mut netlink, NAMES, &v4);
}

fn the_kernel_takes_out_what_ended() {
    let mut netlink = open(Ownership::Owned);
    commit(&mut netlink, load(&timed()).ops);
    let before = netlink.generation().unwrap();
    // A time that is too short to be told is not for ever.
    let short = elements(&[("10.0.0.1", Duration::from_millis(50)), ("10.0.0.2", Duration::from_nanos(1))]);
    commit(&mut netlink, vec![Op::AddTimed(name(NAMES), Family::V4, short.clone())]);
    wait_until_empty(&mut netlink, NAMES);
    // Nobody is told of that: the generation is the one of our commit.
    assert_eq!(netlink.generation().unwrap(), before + 1);
    // What ended is added as if it had never been there, before and after the kernel has swept it up.
    for _ in 0..20 {
        commit(&mut netlink, vec![Op::Retime(name(NAMES), Family::V4, short.clone())]);
        wait_until_empty(&mut netlink, NAMES);
    }
    commit(&mut netlink, vec![Op::EndTimed(name(NAMES), Family::V4, vec![ip("10.0.0.1"), ip("10.0.0.2")])]);
    assert!(left(&mut netlink, NAMES).is_empty());
}

fn timed_elements_are_moved_and_taken_out_whatever_is_there() {
    let mut netlink = open(Ownership::Owned);
    commit(&mut netlink, load(&timed()).ops);
    let retime = |all: &[(&str, Duration)]| vec![Op::Retime(name(NAMES), Family::V4, elements(all))];
    let end = |all: &[&str]| vec![Op::EndTimed(name(NAMES), Family::V4, all.iter().map(|a| ip(a)).collect())];
    // One that is new; then longer, shorter, and beside others.
    for seconds in [100, 1000, 40] {
        commit(&mut netlink, retime(&[("10.0.0.1", secs(seconds))]));
        assert_left(&mut netlink, NAMES, &[("10.0.0.1", secs(seconds))]);
    }
    commit(&mut netlink, retime(&[("10.0.0.1", secs(70)), ("10.0.0.2", secs(80)), ("10.0.0.3", secs(90))]));
    let kept = [("10.0.0.1", secs(70)), ("10.0.0.3", secs(90))];
    commit(&mut netlink, end(&["10.0.0.2", "10.0.0.9"]));
    assert_left(&mut netlink, NAMES, &kept);
    commit(&mut netlink, end(&["10.0.0.2", "10.0.0.9"]));
    assert_left(&mut netlink, NAMES, &kept);
    // Out and in, and all in one.
    commit(&mut netlink, [end(&["10.0.0.1"]), retime(&[("10.0.0.1", secs(50))]), end(&["10.0.0.3"])].concat());
    assert_left(&mut netlink, NAMES, &[("10.0.0.1", secs(50))]);
    // At the very moment at which the kernel takes them out: a race that must not fail a batch.
    let many: Vec<(IpAddr, Duration)> =
        (0..200_u64).map(|n| (IpAddr::from([10, 1, 0, n as u8]), Duration::from_millis(1 + n / 2))).collect();
    commit(&mut netlink, vec![Op::Retime(name(NAMES), Family::V4, many.clone())]);
    for round in 0..100 {
        let half = |odd: usize| many.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>();
        let gone = half(round % 2).into_iter().map(|(address, _)| address).collect();
        let come = half((round + 1) % 2);
        commit(
            &mut netlink,
            vec![Op::EndTimed(name(NAMES), Family::V4, gone), Op::Retime(name(NAMES), Family::V4, come)],
        );
    }
    commit(&mut netlink, end(&["10.0.0.1"]));
    wait_until_empty(&mut netlink, NAMES);
    // As many as a store holds, in one batch.
    let all: Vec<(IpAddr, Duration)> =
        (0..65_536_u32).map(|n| (Ipv4Addr::from(0x0a02_0000 + n).into(), secs(100))).collect();
    for (what, op) in [
        ("added", Op::AddTimed as fn(Name, Family, Vec<(IpAddr, Duration)>) -> Op),
        ("moved", Op::Retime as fn(Name, Family, Vec<(IpAddr, Duration)>) -> Op),
    ] {
        let begun = Instant::now();
        commit(&mut netlink, vec![op(name(NAMES), Family::V4, all.clone())]);
        println!("{} {what}: {:?}", all.len(), begun.elapsed());
    }
    assert_eq!(left(&mut netlink, NAMES).len(), all.len());
    let mut times: Vec<Duration> = (0..200)
        .map(|n| {
            let begun = Instant::now();
            commit(&mut netlink, vec![Op::Retime(name(NAMES), Family::V4, all[n..=n].to_vec())]);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("one moved: median {:?}, worst {:?}", times[100], times[199]);
}

fn a_table_is_replaced_with_its_timed_elements() {
    let mut netlink = open(Ownership::Owned);
    let (mut known, now) = (TimedElements::default(), Instant::now());
    let wanted: Left = elements(&[("10.0.0.1", secs(100)), ("10.0.0.2", secs(200))]).into_iter().collect();
    let first = [replace(false, &timed()).ops, known.follow(&timed(), |_| wanted.clone(), now)].concat();
    commit(&mut netlink, first);
    let holds = |netlink: &mut Netlink, known: &TimedElements| -> Vec<String> {
        let contents = netlink.read().unwrap().unwrap().contents;
        known.differences(|set| contents.sets.get(set).map(|set| &set.timed), Instant::now())
    };
    assert_eq!(holds(&mut netlink, &known), Vec::<String>::new());
    // With what is left of them.
    let later = now + secs(50);
    let rest = |known: &TimedElements| known.of(NAMES, later).collect::<Left>();
    let mut moved = TimedElements::default();
    let again = [replace(true, &timed()).ops, moved.follow(&timed(), |_| rest(&known), later)].concat();
    commit(&mut netlink, again);
    assert_left(&mut netlink, NAMES, &[("10.0.0.1", secs(50)), ("10.0.0.2", secs(150))]);
    // What somebody else does to them is seen.
    drop(netlink);
    let mut netlink = open(Ownership::Shared);
    commit(&mut netlink, vec![Op::DeleteTable]);
    let mut known = TimedElements::default();
    let now = Instant::now();
    commit(&mut netlink, [replace(false, &timed()).ops, known.follow(&timed(), |_| wanted.clone(), now)].concat());
    assert_eq!(holds(&mut netlink, &known), Vec::<String>::new());
    nft("add element inet netsim egress4_names1 { 10.0.0.3 timeout 1h }");
    nft("add element inet netsim egress4_names1 { 10.0.0.4 }");
    nft("delete element inet netsim egress4_names1 { 10.0.0.2 }");
    let found = holds(&mut netlink, &known);
    assert!(found[0].starts_with("set `egress4_names1` - 10.0.0.2 timeout 3m"), "{found:?}");
    assert_eq!(found[1..], ["set `egress4_names1` + 10.0.0.3", "set `egress4_names1` + 10.0.0.4"]);
    nft("delete element inet netsim egress4_names1 { 10.0.0.3, 10.0.0.4, 10.0.0.1 }");
    nft("add element inet netsim egress4_names1 { 10.0.0.2 timeout 4m, 10.0.0.1 }");
    let found = holds(&mut netlink, &known);
    assert_eq!(found[0], "set `egress4_names1`: 10.0.0.1 never ends");
    assert!(found[1].starts_with("set `egress4_names1`: 10.0.0.2 ends in "), "{found:?}");
}

fn timed_sets_are_told_by_what_they_are_for() {
    let mut netlink = open(Ownership::Shared);
    let (mut known, now) = (TimedElements::default(), Instant::now());
    let wanted: Left = elements(&[("10.0.0.1", secs(4000)), ("10.0.0.2", secs(100_000))]).into_iter().collect();
    let ops = [replace(false, &timed()).ops, known.follow(&timed(), |_| wanted.clone(), now)].concat();
    commit(&mut netlink, ops);
    let ours = netlink.read().unwrap().unwrap().contents;
    assert_eq!(ours.sets[NAMES].comment.as_deref(), Some("api.example.com, *.example.org"));
    let listed = nft("list table inet netsim").split_whitespace().collect::<Vec<_>>().join(" ");
    let head =
        "set egress4_names1 { type ipv4_addr flags timeout comment \"api.example.com, *.example.org\" elements = {";
    assert!(listed.contains(head), "{listed}");
    assert!(listed.contains("10.0.0.1 timeout 1h6m40s expires 1h6m"), "{listed}");
    // What we write, nft reads.
    commit(&mut netlink, vec![Op::DeleteTable]);
    nft(&table_at(TABLE, &timed(), &known, now));
    let theirs = netlink.read().unwrap().unwrap().contents;
    assert_eq!(
        (&theirs.sets[NAMES].comment, &theirs.sets[NAMES].kind),
        (&ours.sets[NAMES].comment, &ours.sets[NAMES].kind)
    );
    assert_eq!(
        known.differences(|set| theirs.sets.get(set).map(|set| &set.timed), Instant::now()),
        Vec::<String>::new()
    );
    // A comment of the greatest length, and one that is too long.
    for (length, fits) in [(COMMENT_MAX, true), (COMMENT_MAX + 1, false)] {
        let comment = Some(name(&"x".repeat(length)));
        let op = Op::AddSet(name("long"), SetKind::Timed(Family::V4), comment.clone());
        let done = netlink.commit(&Transaction { ops: vec![op] });
        assert_eq!(done.is_ok(), fits, "{done:?}");
        let sets = netlink.read().unwrap().unwrap().contents.sets;
        if fits {
            assert_eq!(sets["long"].comment, comment);
            assert!(nft("list table inet netsim").contains(&"x".repeat(length)));
        }
    }
}

fn a_large_map_is_loaded_changed_and_read() {
    const COUNT: usize = 50_000;
    let mut netlink = open(Ownership::Owned);
    let mut ruleset = small();
    let peers = name("peers");
    let kind = SetKind::AddressMap(Family::V4);
    ruleset.sets.insert(peers.clone(), set(kind, (0..COUNT).map(|n| (ipv4(n), goto("class")))));
    let transaction = load(&ruleset);
    let start = Instant::now();
    let committed = netlink.commit(&transaction).unwrap_or_else(|e| panic!("{e}"));
    println!("{COUNT} elements: {:?}, {} bytes", start.elapsed(), committed.bytes);
    let start = Instant::now();
    let dump = netlink.read().unwrap().unwrap();
    println!("read back: {:?}", start.elapsed());
    assert_eq!(dump.contents, Contents::expected(&ruleset).unwrap());
    let mut times = Vec::new();
    for n in 0..200 {
        let element = vec![(ipv4(COUNT + n), goto("class"))];
        let start = Instant::now();
        netlink.commit(&Transaction { ops: vec![Op::AddElements(peers.clone(), kind, element.clone())] }).unwrap();
        let added = start.elapsed();
        netlink.commit(&Transaction { ops: vec![Op::DeleteElements(peers.clone(), kind, element)] }).unwrap();
        times.push((added, start.elapsed() - added));
    }
    let (mut added, mut deleted): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    added.sort_unstable();
    deleted.sort_unstable();
    println!("one more: median {:?}, worst {:?}", added[100], added[199]);
    println!("one less: median {:?}, worst {:?}", deleted[100], deleted[199]);
    assert_holds(&mut netlink, &ruleset);
    // All of them again, out and in.
    let all: Vec<_> = ruleset.sets[&peers].elements.iter().map(|(k, v)| (*k, v.clone())).collect();
    let ops = vec![Op::DeleteElements(peers.clone(), kind, all.clone()), Op::AddElements(peers, kind, all)];
    netlink.commit(&Transaction { ops }).unwrap_or_else(|e| panic!("{e}"));
    assert_holds(&mut netlink, &ruleset);
}

fn thousands_of_sets_and_chains_are_one_batch() {
    const COUNT: usize = 5_000;
    let mut ruleset = small();
    for n in 0..COUNT {
        let rule =
            vec![Statement::InSet(vec![Field::CtSource(Family::V4)], name(&format!("set{n}"))), Statement::Counter];
        ruleset.chains.insert(name(&format!("chain{n}")), chain(None, vec![rule]));
        ruleset.sets.insert(name(&format!("set{n}")), set(SetKind::Addresses(Family::V4), [(ipv4(n), None)]));
    }
    let mut netlink = open(Ownership::Owned);
    let transaction = load(&ruleset);
    let start = Instant::now();
    netlink.commit(&transaction).unwrap_or_else(|e| panic!("{e}"));
    println!("{COUNT} sets and chains: {:?}", start.elapsed());
    let start = Instant::now();
    assert_holds(&mut netlink, &ruleset);
    println!("read back and compared: {:?}", start.elapsed());
}

fn a_refused_batch_names_the_object_and_changes_nothing() {
    let mut netlink = open(Ownership::Owned);
    let ruleset = small();
    netlink.commit(&load(&ruleset)).unwrap();
    let peers = || name("peers");
    let kind = SetKind::AddressMap(Family::V4);
    let refused = |netlink: &mut Netlink, op: Op| {
        // Something that would succeed goes before and after it.
        let fine = |n| Op::AddElements(peers(), kind, vec![(ipv4(n), goto("class"))]);
        let wrong = netlink.commit(&Transaction { ops: vec![fine(100), op, fine(200)] }).unwrap_err();
        assert!(wrong.nothing_changed());
        assert_holds(netlink, &ruleset);
        wrong.to_string()
    };
    let there = Op::AddElements(peers(), kind, [7, 8, 2, 9].into_iter().map(|n| (ipv4(n), goto("class"))).collect());
    assert_eq!(
        refused(&mut netlink, there),
        "set `peers`: element 10.0.0.2: File exists (os error 17); nothing was changed"
    );
    let missing = Op::DeleteElements(peers(), kind, vec![(ipv4(2), goto("class")), (ipv4(3), goto("class"))]);
    assert_eq!(
        refused(&mut netlink, missing),
        "set `peers`: element 10.0.0.3: No such file or directory (os error 2); nothing was changed"
    );
    let nowhere = Op::AddElements(peers(), kind, vec![(ipv4(3), goto("nowhere"))]);
    assert!(refused(&mut netlink, nowhere).starts_with("set `peers`: element 10.0.0.3: No such file"));
    let busy = refused(&mut netlink, Op::DeleteChain(name("class")));
    assert!(busy.starts_with("chain `class`: Device or resource busy"), "{busy}");
    let there = refused(&mut netlink, Op::AddChain(name("class"), None));
    assert!(there.starts_with("chain `class`: File exists"), "{there}");
    let there = refused(&mut netlink, Op::AddSet(peers(), kind, None));
    assert!(there.starts_with("set `peers`: File exists"), "{there}");
    let rule = vec![Statement::InSet(vec![Field::Source(Family::V4)], name("nowhere"))];
    let nowhere = refused(&mut netlink, Op::AddRule(name("class"), rule));
    assert!(nowhere.starts_with("chain `class`: rule 1 of those added: No such file"), "{nowhere}");
    let there = refused(&mut netlink, Op::AddTable);
    assert!(there.starts_with("table `netsim`: File exists"), "{there}");
    let nonsense = refused(&mut netlink, Op::AddRule(name("class"), vec![Statement::Limit(0)]));
    assert!(nonsense.starts_with("chain `class`: rule 1 of those added: "), "{nonsense}");
    let rule = vec![Statement::Vmap(Field::Source(Family::V4), peers())];
    let looping = refused(&mut netlink, Op::AddRule(name("class"), rule));
    assert!(looping.starts_with("chain `class`: rule 1 of those added: Too many links"), "{looping}");
    // Many errors at once, and more than fit into the queue: it is refused all the same.
    for (count, all) in [(3000, true), (100_000, false)] {
        let many = (0..count).map(|n| Op::DeleteSet(name(&format!("s{n}")))).collect();
        let CommitError::Refused { object, more, .. } = netlink.commit(&Transaction { ops: many }).unwrap_err() else {
            panic!("it was not refused");
        };
        assert_eq!((object.as_str(), more == count - 1), ("set `s0`", all), "{more} more");
        assert_holds(&mut netlink, &ruleset);
    }
}

fn what_nftables_cannot_express_is_not_sent() {
    let mut netlink = open(Ownership::Shared);
    let mut invalid = |op: Op| {
        let wrong = netlink.commit(&Transaction { ops: vec![Op::AddTable, op] }).unwrap_err();
        assert!(matches!(wrong, CommitError::Invalid { .. }), "{wrong:?}");
        assert_eq!(netlink.read(), Ok(None));
        wrong.to_string()
    };
    let addresses = SetKind::Addresses(Family::V4);
    let told = invalid(Op::AddElements(name("s"), addresses, vec![(address("::1"), None)]));
    assert_eq!(told, "set `s`: element ::1: not a key of this kind of set; nothing was changed");
    invalid(Op::AddChain(name(&"x".repeat(256)), None));
    invalid(Op::AddSet(name(""), addresses, None));
    invalid(Op::DeleteSet(name("a\0b")));
    invalid(Op::AddRule(name("c"), vec![Statement::Counter; 129]));
    invalid(Op::AddRule(name("c"), vec![Statement::InSet(vec![Field::CtSource(Family::V6); 5], name("s"))]));
    let block = Statement::InBlock(Field::Source(Family::V6), "10.0.0.0/8".parse().unwrap());
    let told = invalid(Op::AddRule(name("c"), vec![block]));
    assert!(told.contains("`10.0.0.0/8` is not of the family"), "{told}");
    assert!(matches!(Netlink::open("", Ownership::Shared), Err(Error::Name(_))));
}

fn nobody_else_changes_an_owned_table() {
    let mut netlink = open(Ownership::Owned);
    assert!(netlink.owns(), "this kernel is older than 6.9");
    netlink.commit(&load(&small())).unwrap();
    let owner = Some(netlink.port());
    assert_eq!(netlink.table(), Ok(Some(TableInfo { flags: 6, owner })));
    for command in [
        "delete table inet netsim",
        "flush table inet netsim",
        "add element inet netsim peers { 10.0.0.9 : drop }",
        "delete element inet netsim peers { 10.0.0.1 }",
        "insert rule inet netsim forward accept",
        "flush chain inet netsim forward",
        "add chain inet netsim other",
        "add table inet netsim { flags dormant; }",
    ] {
        let (success, told) = try_run("nft", &[command]);
        assert!(!success && told.contains("Operation not permitted"), "{command}: {told}");
    }
    // This one leaves out what belongs to others.
    nft("add table inet bystander");
    nft("flush ruleset");
    assert!(!nft("list tables").contains("bystander"));
    assert_holds(&mut netlink, &small());
}

/// Loads a table, says so, and waits for its end.
fn own_a_table_until_killed() {
    let mut netlink = open(Ownership::Owned);
    netlink.commit(&load(&small())).unwrap_or_else(|e| panic!("{e}"));
    println!("{}", netlink.port());
    _ = std::io::stdin().read(&mut [0]);
}

/// An owner in a process of its own, and its port.
fn start_owner() -> (Child, u32) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(TEST, OWNER).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap_or_else(|e| panic!("{e}: {line}")))
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn a_table_outlives_its_killed_owner_and_is_replaced() {
    let (owner, _) = start_owner();
    kill(owner);
    let mut netlink = open(Ownership::Owned);
    assert_eq!(netlink.table(), Ok(Some(TableInfo { flags: 4, owner: None })));
    assert_holds(&mut netlink, &small());
    let mut transaction = load(&everything());
    transaction.ops.insert(0, Op::DeleteTable);
    netlink.commit(&transaction).unwrap_or_else(|e| panic!("{e}"));
    assert_holds(&mut netlink, &everything());
    let owner = Some(netlink.port());
    assert_eq!(netlink.table(), Ok(Some(TableInfo { flags: 6, owner })));
    assert!(!try_run("nft", &["delete table inet netsim"]).0);
}

fn a_table_outlives_its_killed_owner_and_is_adopted() {
    let (owner, _) = start_owner();
    kill(owner);
    let mut netlink = open(Ownership::Owned);
    netlink.adopt().unwrap_or_else(|e| panic!("{e}"));
    // Again does nothing.
    netlink.adopt().unwrap_or_else(|e| panic!("{e}"));
    assert_holds(&mut netlink, &small());
    assert!(!try_run("nft", &["delete table inet netsim"]).0);
    netlink.commit(&Transaction { ops: vec![Op::FlushChain(name("forward"))] }).unwrap();
    // What never had an owner cannot get one.
    nft("add table inet plain");
    let wrong = Netlink::open("plain", Ownership::Owned).unwrap().adopt().unwrap_err();
    assert!(wrong.to_string().starts_with("table `plain`: Operation not supported"), "{wrong}");
    let mut plain = Netlink::open("plain", Ownership::Owned).unwrap();
    plain.commit(&Transaction { ops: vec![Op::DeleteTable, Op::AddTable] }).unwrap();
    assert_eq!(plain.table().unwrap().unwrap().owner, Some(plain.port()));
}

fn a_second_owner_is_told_of_the_first() {
    let (owner, port) = start_owner();
    assert_eq!(port, owner.id());
    let mut netlink = open(Ownership::Owned);
    let mut transaction = load(&small());
    transaction.ops.insert(0, Op::DeleteTable);
    let expected = Err(CommitError::Owned { table: TABLE.to_owned(), port });
    assert_eq!(netlink.commit(&transaction).map(|_| ()), expected);
    assert_eq!(netlink.adopt(), expected);
    // It may look.
    assert_holds(&mut netlink, &small());
    kill(owner);
    netlink.commit(&transaction).unwrap_or_else(|e| panic!("{e}"));
}

fn changes_by_others_are_seen() {
    let mut netlink = open(Ownership::Shared);
    netlink.commit(&load(&small())).unwrap();
    assert_holds(&mut netlink, &small());
    let expected = Contents::expected(&small()).unwrap();
    let mut after = |command: &str| {
        nft(command);
        let contents = netlink.read().unwrap().unwrap().contents;
        assert_ne!(contents, expected, "{command}");
        contents
    };
    let contents = after("add element inet netsim peers { 10.0.0.9 : drop }");
    assert_eq!(contents.sets["peers"].elements.get(&address("10.0.0.9")), Some(&Some(Verdict::Drop)));
    after("delete element inet netsim peers { 10.0.0.9 }; delete element inet netsim peers { 10.0.0.1 }");
    after(
        "add element inet netsim peers { 10.0.0.1 : goto class }; insert rule inet netsim forward tcp dport 22 accept",
    );
    let handle = run("nft", &["-a", "list", "chain", "inet", TABLE, "forward"]);
    let handle = handle.lines().find(|line| line.contains("dport")).unwrap().rsplit(' ').next().unwrap().to_owned();
    let contents = after(&format!(
        "delete rule inet netsim forward handle {handle}; add set inet netsim odd {{ type inet_service; flags timeout; }}"
    ));
    assert!(contents.sets["odd"].kind.is_err());
    let contents = after("delete set inet netsim odd; add counter inet netsim foreign");
    assert_eq!(contents.unknown, ["object `foreign`"]);
    let contents = after("delete counter inet netsim foreign; add chain inet netsim foreign");
    assert!(contents.chains.contains_key("foreign"));
    after("delete chain inet netsim foreign; chain inet netsim forward { policy drop; }");
    nft("chain inet netsim forward { policy accept; }");
    assert_holds(&mut netlink, &small());
    // A table that sleeps looks the same, but enforces nothing.
    nft("table inet netsim { flags dormant; }");
    let contents = netlink.read().unwrap().unwrap().contents;
    assert_eq!(contents.unknown, ["table flags 0x1: it is dormant, none of its rules is in force"]);
    nft("delete table inet netsim");
    assert_eq!(netlink.read(), Ok(None));
}

fn the_generation_tells_of_others() {
    let mut netlink = open(Ownership::Owned);
    let before = netlink.generation().unwrap();
    let Committed { generation, .. } = netlink.commit(&load(&small())).unwrap();
    assert_eq!(generation, Some(before + 1));
    assert_eq!(netlink.generation(), Ok(before + 1));
    assert_eq!(netlink.read().unwrap().unwrap().generation, before + 1);
    assert_eq!(netlink.generation(), Ok(before + 1));
    nft("add table inet other");
    assert_ne!(netlink.generation(), Ok(before + 1));
    // Nothing to do does nothing.
    let nothing = Transaction { ops: vec![Op::AddElements(name("peers"), SetKind::AddressMap(Family::V4), vec![])] };
    let now = netlink.generation().unwrap();
    assert_eq!(netlink.commit(&nothing), Ok(Committed { generation: Some(now), bytes: 0 }));
    assert_eq!(netlink.commit(&Transaction::default()), Ok(Committed { generation: Some(now), bytes: 0 }));
}

/// Sends datagrams from here to a port of this host that hears them.
fn talk(to: &str, count: usize) {
    let server = UdpSocket::bind((ip(to), 0)).unwrap();
    let client = UdpSocket::bind((ip(to), 0)).unwrap();
    for _ in 0..count {
        client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
        server.recv(&mut [0; 16]).unwrap();
    }
}

fn counters_are_summed_by_chain() {
    let mut netlink = open(Ownership::Owned);
    let udp = |address: &str| {
        vec![Statement::InBlock(Field::Destination(Family::V4), address.parse().unwrap()), Statement::Counter]
    };
    let mut ruleset = small();
    ruleset.chains.insert(name("output"), chain(Some(Hook::Output), vec![udp("127.0.0.0/8"), udp("127.0.0.1/32")]));
    netlink.commit(&load(&ruleset)).unwrap();
    talk("127.0.0.1", 3);
    let counts = netlink.counters().unwrap();
    assert_eq!((counts["output"].packets, counts["output"].bytes), (6, 6 * (20 + 8 + 5)));
    assert_eq!(counts["forward"].packets, 0);
    assert!(!counts.contains_key("class"));
    // What they counted is no difference.
    assert_holds(&mut netlink, &ruleset);
}

fn marks_are_cleared_where_they_are_old() {
    const STAMP: u32 = 0xff00;
    /// A bit of somebody else.
    const FOREIGN: u32 = 0x1_0000;
    let mut netlink = open(Ownership::Owned);
    let rule = |mask, value| Op::AddRule(name("output"), vec![Statement::SetCtMark { mask, value }]);
    let restamp = |netlink: &mut Netlink, value| {
        let ops = vec![Op::FlushChain(name("output")), rule(FOREIGN, FOREIGN), rule(STAMP, value)];
        netlink.commit(&Transaction { ops }).unwrap();
    };
    let ops = vec![Op::AddTable, Op::AddChain(name("output"), Some(Hook::Output)), rule(FOREIGN, FOREIGN)];
    netlink.commit(&Transaction { ops }).unwrap();
    // Without a stamp, with old ones in both families, and with the current one.
    talk("127.0.0.1", 1);
    for (value, to, flows) in [(0x100, "127.0.0.1", 3), (0x200, "::1", 2), (0x300, "127.0.0.1", 4)] {
        restamp(&mut netlink, value);
        (0..flows).for_each(|_| talk(to, 1));
    }
    assert_eq!(netlink.clear_marks(STAMP, 0x300), Ok(5));
    assert_eq!(netlink.clear_marks(STAMP, 0x300), Ok(0));
    assert_eq!(netlink.clear_marks(STAMP, 0), Ok(4));
    assert_eq!(netlink.clear_marks(FOREIGN, 0), Ok(1 + 3 + 2 + 4));
    // More than one datagram's worth.
    restamp(&mut netlink, 0x400);
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    for port in 20_000..22_000 {
        let client = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    }
    assert_eq!(netlink.clear_marks(STAMP, 0), Ok(2000));
}

fn a_logged_packet_is_read() {
    let mut netlink = open(Ownership::Owned);
    let log = vec![Statement::Log { group: 7, prefix: "denied" }];
    let ops = vec![Op::AddTable, Op::AddChain(name("output"), Some(Hook::Output)), Op::AddRule(name("output"), log)];
    netlink.commit(&Transaction { ops }).unwrap();
    let mut reader = Reader::open(7).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(reader.poll(), Ok(None));
    for host in ["127.0.0.1", "::1"] {
        let server = UdpSocket::bind((ip(host), 0)).unwrap();
        let client = UdpSocket::bind((ip(host), 0)).unwrap();
        client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
        let Some(Event::Packet(packet)) = reader.wait().unwrap() else { panic!("no packet") };
        assert_eq!(packet.prefix, "denied");
        assert_eq!((packet.source, packet.destination, packet.protocol), (ip(host), ip(host), 17));
        let ports = (client.local_addr().unwrap().port(), server.local_addr().unwrap().port());
        assert_eq!(packet.ports, Some(ports));
        assert_eq!((packet.hook, packet.input, packet.output), (3, None, Some(1)));
    }
    // More than the queue holds.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    (0..200_000).for_each(|_| _ = client.send_to(b"hello", server.local_addr().unwrap()));
    let mut lost = false;
    while let Some(event) = reader.poll().unwrap() {
        lost |= event == Event::Lost;
    }
    assert!(lost, "the queue held all of them");
}

fn the_thread_works_in_its_namespace() {
    // A namespace that this process is not in, held by a process that waits for its end.
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up; echo ready; read _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let netns = format!("/proc/{}/ns/net", holder.id());
    let kernel = Kernel::open(Some(Path::new(&netns)), TABLE, Ownership::Owned).unwrap_or_else(|e| panic!("{e}"));
    let other = kernel.clone();
    kernel.commit(load(&small())).wait().unwrap_or_else(|e| panic!("{e}"));
    let dump = other.read().wait().unwrap().unwrap();
    assert_eq!(dump.contents, Contents::expected(&small()).unwrap());
    assert_eq!(kernel.generation().wait(), Ok(dump.generation));
    assert_eq!(kernel.table().wait(), Ok(Some(dump.table)));
    assert_eq!(kernel.clear_marks(0xff, 0).wait(), Ok(0));
    assert!(kernel.counters().wait().unwrap().contains_key("forward"));
    kernel.adopt().wait().unwrap();
    kernel.log_reader(9).wait().unwrap();
    // Nothing of it is here.
    assert_eq!(open(Ownership::Shared).table(), Ok(None));
    // As it is used by the agent.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(async { kernel.commit(load(&small())).await.unwrap_err() });
    assert!(refused.to_string().starts_with("table `netsim`: File exists"), "{refused}");
    kill(holder);
    let missing = Kernel::open(Some(Path::new("/nowhere")), TABLE, Ownership::Owned).unwrap_err();
    assert!(missing.to_string().starts_with("the network namespace `/nowhere` cannot be entered"), "{missing}");
}

fn without_privilege_it_says_what_is_missing() {
    // A user namespace of its own has no privilege over this network namespace.
    let mut command = Command::new("unshare");
    command.arg("--user").arg(std::env::current_exe().unwrap()).env(TEST, UNPRIVILEGED);
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let expected = "the kernel refused to give a table with an owner: Operation not permitted (os error 1); \
                    this needs CAP_NET_ADMIN in the network namespace\n";
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// How this kernel queues. One that does not is no kernel to test with, so that is told loudly.
fn queueing(netlink: &mut Netlink) -> Via {
    let queueing = netlink.queueing().unwrap_or_else(|e| panic!("{e}"));
    queueing.via().unwrap_or_else(|| panic!("THIS TEST NEEDS A KERNEL THAT CAN QUEUE PACKETS: {queueing:?}"))
}

fn how_to_queue_is_found_out_and_changes_nothing() {
    let mut netlink = open(Ownership::Owned);
    let generation = netlink.generation();
    let found = netlink.queueing().unwrap();
    assert_eq!(netlink.generation(), generation);
    assert_eq!(nft("list ruleset"), "");
    // Each of them by itself, as an operator would find out.
    let load = |via| {
        let rule = vec![Statement::Queue { number: 0, via }];
        let ops =
            vec![Op::AddTable, Op::AddChain(name("forward"), Some(Hook::Forward)), Op::AddRule(name("forward"), rule)];
        let mut netlink = Netlink::open("probe", Ownership::Shared).unwrap();
        let taken = netlink.commit(&Transaction { ops });
        if taken.is_ok() {
            netlink.commit(&Transaction { ops: vec![Op::DeleteTable] }).unwrap();
        }
        taken.is_ok()
    };
    match found {
        Queueing::Native => assert!(load(Via::Native)),
        Queueing::Compat => assert!(!load(Via::Native) && load(Via::Compat)),
        Queueing::Unavailable { why } => {
            assert!(!load(Via::Native) && !load(Via::Compat));
            assert!(why.contains("queue") && why.contains("NFQUEUE"), "{why}");
        }
    }
}

fn rules_that_queue_are_shown_and_listed() {
    let mut netlink = open(Ownership::Shared);
    let via = queueing(&mut netlink);
    let rules = |numbers: &[u16]| -> Ruleset {
        let rules = numbers.iter().map(|number| {
            vec![Statement::L4Protocol(17), Statement::CtOriginalPort(53), Statement::Queue { number: *number, via }]
        });
        let chains = [
            (name("forward"), chain(Some(Hook::Forward), vec![vec![Statement::Verdict(Verdict::Jump(name("held")))]])),
            (name("held"), chain(None, rules.clone().collect())),
            (name("after_output"), chain(Some(Hook::AfterOutput), rules.collect())),
        ];
        Ruleset { chains: chains.into(), sets: BTreeMap::new() }
    };
    let ruleset = rules(&[0, 4711, 65535]);
    netlink.commit(&load(&ruleset)).unwrap_or_else(|e| panic!("{e}"));
    assert_holds(&mut netlink, &ruleset);
    // Another number is another rule.
    let found = netlink.read().unwrap().unwrap().contents;
    assert_ne!(found, Contents::expected(&rules(&[0, 4711, 65534])).unwrap());
    let listed = nft("list table inet netsim");
    let queue = if via == Via::Native { "queue flags bypass to" } else { "queue num" };
    assert_eq!(
        listed.matches(&format!("meta l4proto udp ct original proto-dst 53 {queue} 4711")).count(),
        2,
        "{listed}"
    );
    assert_eq!(listed.matches("bypass").count(), 6, "{listed}");
}

fn a_queue_has_one_listener() {
    let first = Queue::open(7, 16).unwrap_or_else(|e| panic!("{e}"));
    let error = Queue::open(7, 16).map(|_| ()).unwrap_err();
    assert_eq!(error, Error::Refused { what: "queued packets", errno: rustix::io::Errno::BUSY });
    assert_eq!(Queue::open(8, 16).unwrap().number(), 8);
    drop(first);
    Queue::open(7, 16).unwrap();
}

fn more_than_can_be_read_passes_and_is_told() {
    let mut netlink = open(Ownership::Owned);
    let via = queueing(&mut netlink);
    let rule = vec![Statement::L4Protocol(17), Statement::Queue { number: 7, via }];
    let ops = vec![Op::AddTable, Op::AddChain(name("output"), Some(Hook::Output)), Op::AddRule(name("output"), rule)];
    netlink.commit(&Transaction { ops }).unwrap_or_else(|e| panic!("{e}"));
    let mut queue = Queue::open(7, u32::MAX).unwrap_or_else(|e| panic!("{e}"));
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let to = server.local_addr().unwrap();
    // Many clients, because what is held fills up the sender.
    const ALL: usize = 50_000;
    let clients: Vec<_> = (0..ALL / 100).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for client in &clients {
        (0..100).for_each(|_| _ = client.send_to(b"hello", to).unwrap());
    }
    // What was held is read, what was not has passed; and what is held goes on.
    let received = |server: &UdpSocket| std::iter::from_fn(|| server.recv(&mut [0; 8]).ok()).count();
    assert!(received(&server) > 0, "the queue held all of them");
    let (mut ids, mut lost) = (Vec::new(), false);
    while let Some(event) = queue.poll().unwrap() {
        match event {
            queue::Event::Packet(packet) => ids.push(packet.id),
            queue::Event::Lost => lost = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(lost && !ids.is_empty() && ids.len() < ALL, "{} of {ALL}, lost: {lost}", ids.len());
    let some = &ids[..100];
    queue.accept(some).unwrap();
    assert_eq!(received(&server), some.len());
    assert_eq!(queue.poll(), Ok(None));
    clients[0].send_to(b"hello", to).unwrap();
    assert!(matches!(queue.wait(), Ok(Some(queue::Event::Packet(_)))));
}
