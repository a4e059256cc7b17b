use super::super::facts::{BridgeFilter, Unread};
use super::super::foreign::{Chain, FlowTable, TableFamily};
use super::*;

/// A node on which all is well: pods on a bridge that shows its packets.
fn well() -> Facts {
    let link = |index, name: &str, kind: &str, master| Link {
        index,
        name: name.to_owned(),
        kind: kind.to_owned(),
        master,
        ..Link::default()
    };
    Facts {
        links: vec![link(1, "lo", "", None), link(2, "cni0", "bridge", None), link(3, "veth1", "veth", Some(2))],
        bridge_filter: Some(BridgeFilter { ipv4: true, ipv6: true, tagged: true }),
        conntrack: Some(Conntrack {
            usage: Some((10, 1000)),
            sctp: true,
            tcp_loose: Some(true),
            tcp_liberal: Some(false),
        }),
        forwarding: (Some(true), Some(true)),
        ..Facts::default()
    }
}

fn found(facts: &Facts) -> Vec<Finding> {
    judge(facts, &[], &RefusedSettings::new())
}

/// What there is to say after a change.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<(Severity, FindingKind)> {
    let mut facts = well();
    change(&mut facts);
    let findings = found(&facts);
    for finding in &findings {
        let first = finding.message.chars().next().unwrap();
        assert!(first == '`' || !finding.message.ends_with('.'), "{finding}");
        assert!(finding.severity == Severity::Notes || !finding.fix.is_empty(), "{finding}");
    }
    findings.into_iter().map(|finding| (finding.severity, finding.kind)).collect()
}

fn chain(table: Table, name: &str) -> Chain {
    Chain { table, name: name.to_owned(), drops_forwarded: None, untracks: false }
}

fn nft(name: &str) -> Table {
    Table::Nft(TableFamily::Ip, name.to_owned())
}

use FindingKind as K;
use Severity::{Blocks, Notes, Warns};

#[test]
fn nothing_is_said_where_all_is_well() {
    assert_eq!(after(|_| ()), []);
}

#[test]
fn every_combination_of_bridge_settings_is_judged() {
    for bits in 0..32u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        let (ipv4, ipv6, tagged, own4, own6) = (bit(0), bit(1), bit(2), bit(3), bit(4));
        let mut expected = Vec::new();
        if !(ipv4 || own4) {
            expected.push((Blocks, K::BridgeUnfiltered));
        }
        if !(ipv6 || own6) {
            expected.push((Blocks, K::BridgeUnfiltered));
        }
        if !tagged {
            expected.push((Blocks, K::BridgeTagsUnfiltered));
        }
        let set = |facts: &mut Facts| {
            facts.bridge_filter = Some(BridgeFilter { ipv4, ipv6, tagged });
            facts.links[1].own_filter = (own4, own6);
        };
        assert_eq!(after(set), expected, "{bits:05b}");
        // Without pods on a bridge none of it matters.
        let without = |facts: &mut Facts| {
            set(facts);
            facts.links.pop();
        };
        assert_eq!(after(without), [], "{bits:05b}");
    }
}

#[test]
fn the_bridges_that_are_open_are_named_and_why_they_could_not_be_closed() {
    let mut facts = well();
    facts.bridge_filter = Some(BridgeFilter { ipv4: false, ipv6: true, tagged: true });
    let refused = RefusedSettings::from([(CALL_IPTABLES, "Read-only file system".to_owned())]);
    let findings = judge(&facts, &[], &refused);
    assert_eq!(
        findings[0].message,
        "`net.bridge.bridge-nf-call-iptables` is 0: IPv4 packets between pods on `cni0` pass all rules by; \
         it could not be set: Read-only file system"
    );
    assert!(findings[0].fix.contains("sysctl -w net.bridge.bridge-nf-call-iptables=1"));
}

#[test]
fn without_the_bridge_filter_pods_on_bridges_are_open() {
    assert_eq!(after(|facts| facts.bridge_filter = None), [(Blocks, K::BridgeFilterMissing)]);
    let no_pods = |facts: &mut Facts| {
        facts.bridge_filter = None;
        facts.links.pop();
    };
    assert_eq!(after(no_pods), []);
    // Unless the bridge has an address of the pods' block.
    let mut facts = well();
    no_pods(&mut facts);
    facts.links[1].addresses = vec!["fd00::1".parse().unwrap()];
    let findings = judge(&facts, &["fd00::/64".parse().unwrap()], &RefusedSettings::new());
    assert_eq!(findings[0].kind, K::BridgeFilterMissing);
}

#[test]
fn pods_on_open_vswitch_are_open() {
    assert_eq!(after(|facts| facts.links[1].kind = "openvswitch".to_owned()), [(Blocks, K::SwitchBypasses)]);
}

#[test]
fn ipvs_matters_with_services_and_without_tracking() {
    for (services, conntrack, expected) in
        [(0, false, vec![]), (0, true, vec![]), (3, true, vec![]), (3, false, vec![(Blocks, K::IpvsUntracked)])]
    {
        assert_eq!(after(|facts| facts.ipvs = Some(Ipvs { services, conntrack })), expected);
    }
}

#[test]
fn connection_tracking_is_judged() {
    let with = |change: fn(&mut Conntrack)| after(|facts| change(facts.conntrack.as_mut().unwrap()));
    assert_eq!(after(|facts| facts.conntrack = None), [(Warns, K::ConntrackMissing)]);
    assert_eq!(with(|c| c.usage = Some((899, 1000))), []);
    assert_eq!(with(|c| c.usage = Some((900, 1000))), [(Warns, K::ConntrackNearlyFull)]);
    assert_eq!(with(|c| c.usage = Some((u64::MAX, u64::MAX))), [(Warns, K::ConntrackNearlyFull)]);
    assert_eq!(with(|c| c.usage = Some((0, 0))), []);
    assert_eq!(with(|c| c.usage = None), []);
    assert_eq!(with(|c| c.sctp = false), [(Warns, K::SctpUntracked)]);
    assert_eq!(with(|c| c.tcp_loose = Some(false)), [(Notes, K::TcpTracking)]);
    assert_eq!(with(|c| c.tcp_liberal = Some(true)), [(Notes, K::TcpTracking)]);
    assert_eq!(with(|c| (c.tcp_loose, c.tcp_liberal) = (None, None)), []);
}

#[test]
fn what_others_drop_exempt_or_offload_is_told() {
    let with = |change: fn(&mut Foreign)| after(|facts| change(&mut facts.foreign));
    for drops in [Drops::ByPolicy, Drops::ByLastRule] {
        let found = after(|facts| {
            facts.foreign.chains = vec![Chain { drops_forwarded: Some(drops), ..chain(nft("filter"), "FORWARD") }];
        });
        assert_eq!(found, [(Warns, K::ForeignDrop)]);
    }
    assert_eq!(
        with(|foreign| foreign.chains = vec![Chain { untracks: true, ..chain(nft("raw"), "PREROUTING") }]),
        [(Warns, K::Untracked)]
    );
    assert_eq!(
        with(|foreign| foreign.flow_tables = vec![FlowTable { table: nft("fw"), name: "ft".to_owned() }]),
        [(Warns, K::FlowTable)]
    );
    assert_eq!(with(|foreign| foreign.chains = vec![chain(nft("nat"), "KUBE-SERVICES")]), []);
}

#[test]
fn tables_that_cannot_be_listed_are_told_once_for_each_reason() {
    let legacy = |ipv6, name: &str| Table::Legacy { ipv6, name: name.to_owned() };
    let mut facts = well();
    facts.foreign.unlisted = vec![
        (legacy(false, "filter"), "there is no `iptables` program".to_owned()),
        (legacy(true, "filter"), "there is no `iptables` program".to_owned()),
    ];
    let findings = found(&facts);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Notes);
    assert_eq!(
        findings[0].message,
        "the rules of others in ip6tables-legacy table filter, iptables-legacy table filter are not known: \
         there is no `iptables` program"
    );
}

#[test]
fn other_enforcers_are_recognised_once_each() {
    let who = |facts: &Facts| -> Vec<String> {
        let findings = found(facts).into_iter().filter(|finding| finding.kind == K::SecondEnforcer);
        findings.map(|finding| finding.message.split(" seems").next().unwrap().to_owned()).collect()
    };
    for (table, name, expected) in [
        (nft("filter"), "cali-FORWARD", "Calico"),
        (nft("calico"), "filter-FORWARD", "Calico"),
        (Table::Legacy { ipv6: true, name: "filter".to_owned() }, "KUBE-NWPLCY-ABC", "kube-router"),
        (nft("kube-router-filter-ipv4"), "KUBE-POD-FW-ABC", "kube-router"),
        (nft("filter"), "WEAVE-NPC-DEFAULT", "Weave Net"),
        (nft("filter"), "CILIUM_FORWARD", "Cilium"),
        (Table::Nft(TableFamily::Inet, "kube-network-policies".to_owned()), "forward", "kube-network-policies"),
    ] {
        let mut facts = well();
        facts.foreign.chains = vec![chain(table.clone(), name), chain(table, name)];
        assert_eq!(who(&facts), [expected]);
    }
    let mut facts = well();
    facts.links[0].name = "cilium_host".to_owned();
    facts.foreign.chains = vec![chain(nft("filter"), "CILIUM_INPUT"), chain(nft("filter"), "cali-tw")];
    assert_eq!(who(&facts), ["Calico", "Cilium"]);
}

#[test]
fn forwarding_that_is_off_is_told_and_matters_less_when_the_other_family_is_on() {
    for (forwarding, expected) in [
        ((Some(true), Some(true)), vec![]),
        ((Some(true), None), vec![]),
        ((None, None), vec![]),
        ((Some(true), Some(false)), vec![(Notes, K::ForwardingOff)]),
        ((Some(false), Some(true)), vec![(Notes, K::ForwardingOff)]),
        ((Some(false), None), vec![(Warns, K::ForwardingOff)]),
        ((Some(false), Some(false)), vec![(Warns, K::ForwardingOff), (Warns, K::ForwardingOff)]),
    ] {
        assert_eq!(after(|facts| facts.forwarding = forwarding), expected, "{forwarding:?}");
    }
}

#[test]
fn local_sources_that_are_let_in_are_told() {
    assert_eq!(after(|facts| facts.accept_local = vec!["eth0".to_owned()]), [(Warns, K::LocalSourcesAccepted)]);
}

#[test]
fn what_is_not_known_blocks_where_packets_could_pass_by() {
    for (what, severity) in [
        (Subject::Links, Blocks),
        (Subject::BridgeFilter, Blocks),
        (Subject::Ipvs, Blocks),
        (Subject::Foreign, Warns),
        (Subject::Conntrack, Warns),
        (Subject::Forwarding, Warns),
        (Subject::AcceptLocal, Warns),
    ] {
        let found = after(|facts| {
            facts.unread = vec![Unread { what, error: "denied".to_owned() }];
            match what {
                Subject::BridgeFilter => facts.bridge_filter = None,
                Subject::Conntrack => facts.conntrack = None,
                _ => {}
            }
        });
        assert_eq!(found, [(severity, K::Unreadable)], "{what:?}");
    }
}

#[test]
fn what_matters_most_comes_first() {
    let found = after(|facts| {
        facts.conntrack = Some(Conntrack { usage: None, sctp: false, tcp_loose: Some(false), tcp_liberal: None });
        facts.bridge_filter = None;
    });
    assert_eq!(found, [(Blocks, K::BridgeFilterMissing), (Warns, K::SctpUntracked), (Notes, K::TcpTracking)]);
}
