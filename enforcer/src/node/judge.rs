//! From facts to findings: pure.

use super::facts::{CALL_IP6TABLES, CALL_IPTABLES, Conntrack, FILTER_TAGGED, Facts, IPVS_CONNTRACK, Ipvs, Subject};
use super::finding::{Finding, FindingKind, Severity};
use super::foreign::{Drops, Foreign, Table};
use super::links::{Link, pod_bridges, pod_switches};
use super::sysctl::dotted;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// From which share of the table on connections are nearly too many, in percent.
const NEARLY_FULL: u64 = 90;

/// Chains of others that enforce network policy, by how their names begin.
const ENFORCER_CHAINS: [(&str, &str); 7] = [
    ("cali-", "Calico"),
    ("filter-cali-", "Calico"),
    ("CILIUM_", "Cilium"),
    ("KUBE-NWPLCY", "kube-router"),
    ("KUBE-POD-FW", "kube-router"),
    ("WEAVE-NPC", "Weave Net"),
    ("ANTREA-", "Antrea"),
];
/// Tables of nftables of others that enforce network policy.
const ENFORCER_TABLES: [(&str, &str); 2] = [("kube-network-policies", "kube-network-policies"), ("calico", "Calico")];
/// Interfaces of others that enforce network policy.
const ENFORCER_LINKS: [(&str, &str); 3] =
    [("cilium_host", "Cilium"), ("antrea-gw0", "Antrea"), ("ovn-k8s-mp0", "OVN-Kubernetes")];

/// Why a setting could not be made, by its path.
pub(super) type RefusedSettings = BTreeMap<&'static str, String>;

/// All that there is to say about the facts, what matters most first.
pub(super) fn judge(facts: &Facts, pod_blocks: &[IpNet], refused: &RefusedSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    unread(facts, &mut findings);
    bridges(facts, pod_blocks, refused, &mut findings);
    switches(&facts.links, &mut findings);
    if let Some(ipvs) = facts.ipvs {
        findings.extend(judge_ipvs(ipvs));
    }
    conntrack(facts, &mut findings);
    findings.extend(second_enforcers(&facts.links, &facts.foreign));
    foreign(&facts.foreign, &mut findings);
    forwarding(facts, &mut findings);
    findings.extend(accept_local(&facts.accept_local));
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    findings
}

fn unread(facts: &Facts, findings: &mut Vec<Finding>) {
    for unread in &facts.unread {
        // Whether packets pass the rules by is what has to be known.
        let severity = match unread.what {
            Subject::Links | Subject::BridgeFilter | Subject::Ipvs => Severity::Blocks,
            Subject::Foreign | Subject::Conntrack | Subject::Forwarding | Subject::AcceptLocal => Severity::Warns,
        };
        findings.push(Finding::new(
            severity,
            FindingKind::Unreadable,
            format!("cannot read {}: {}", unread.what, unread.error),
            "run the agent in the network namespace of the node, with the capability CAP_NET_ADMIN and /proc mounted",
        ));
    }
}

fn bridges(facts: &Facts, pod_blocks: &[IpNet], refused: &RefusedSettings, findings: &mut Vec<Finding>) {
    let bridges: Vec<&Link> = pod_bridges(&facts.links, pod_blocks).collect();
    // Where the settings are unreadable, that has been said.
    if bridges.is_empty() || facts.unread.iter().any(|unread| unread.what == Subject::BridgeFilter) {
        return;
    }
    let Some(filter) = facts.bridge_filter else {
        findings.push(Finding::new(
            Severity::Blocks,
            FindingKind::BridgeFilterMissing,
            format!(
                "pods hang on {}, and br_netfilter is not loaded: what they send to each other passes all rules by",
                list("the bridge", "the bridges", bridges.iter().map(|bridge| bridge.name.as_str())),
            ),
            "on the node, run `modprobe br_netfilter` and put `br_netfilter` into a file in /etc/modules-load.d",
        ));
        return;
    };
    for (family, path, all) in [("IPv4", CALL_IPTABLES, filter.ipv4), ("IPv6", CALL_IP6TABLES, filter.ipv6)] {
        let own = |bridge: &Link| if path == CALL_IPTABLES { bridge.own_filter.0 } else { bridge.own_filter.1 };
        let open = bridges.iter().filter(|bridge| !all && !own(bridge)).map(|bridge| bridge.name.as_str());
        if let Some(open) = list_of(open) {
            findings.push(Finding::new(
                Severity::Blocks,
                FindingKind::BridgeUnfiltered,
                format!(
                    "`{}` is 0: {family} packets between pods on {open} pass all rules by{}",
                    dotted(path),
                    because(refused, path)
                ),
                set_on_node(path),
            ));
        }
    }
    if !filter.tagged {
        findings.push(Finding::new(
            Severity::Blocks,
            FindingKind::BridgeTagsUnfiltered,
            format!(
                "`{}` is 0: a pod on {} that can send raw frames gets past all rules with a VLAN tag of 0, \
                 which the receiver takes for none{}",
                dotted(FILTER_TAGGED),
                list("the bridge", "the bridges", bridges.iter().map(|bridge| bridge.name.as_str())),
                because(refused, FILTER_TAGGED)
            ),
            set_on_node(FILTER_TAGGED),
        ));
    }
}

fn because(refused: &RefusedSettings, path: &str) -> String {
    refused.get(path).map(|reason| format!("; it could not be set: {reason}")).unwrap_or_default()
}

fn set_on_node(path: &str) -> String {
    let name = dotted(path);
    format!("on the node, run `sysctl -w {name}=1` and put `{name} = 1` into a file in /etc/sysctl.d")
}

fn switches(links: &[Link], findings: &mut Vec<Finding>) {
    if let Some(switches) = list_of(pod_switches(links).map(|switch| switch.name.as_str())) {
        findings.push(Finding::new(
            Severity::Blocks,
            FindingKind::SwitchBypasses,
            format!(
                "pods hang on the Open vSwitch datapath {switches}: what they send to each other passes netfilter by"
            ),
            "use the network policy of the network plugin of this node; netsim cannot enforce it there",
        ));
    }
}

fn judge_ipvs(ipvs: Ipvs) -> Option<Finding> {
    (ipvs.services > 0 && !ipvs.conntrack).then(|| {
        Finding::new(
            Severity::Blocks,
            FindingKind::IpvsUntracked,
            format!(
                "IPVS has {} virtual services and `{}` is 0: their packets are not tracked, so that it cannot be \
                 told which pods talk",
                ipvs.services,
                dotted(IPVS_CONNTRACK)
            ),
            format!("{}; kube-proxy does that when it runs in IPVS mode", set_on_node(IPVS_CONNTRACK)),
        )
    })
}

fn conntrack(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(conntrack) = facts.conntrack else {
        if !facts.unread.iter().any(|unread| unread.what == Subject::Conntrack) {
            findings.push(Finding::new(
                Severity::Warns,
                FindingKind::ConntrackMissing,
                "connection tracking is not loaded: the first of our rules asks the kernel for it",
                "if that is refused, load `nf_conntrack` on the node (CONFIG_NF_CONNTRACK, CONFIG_NFT_CT)",
            ));
        }
        return;
    };
    let Conntrack { usage, sctp, tcp_loose, tcp_liberal } = conntrack;
    if let Some((count, max)) = usage
        && max > 0
        && count.saturating_mul(100) >= max.saturating_mul(NEARLY_FULL)
    {
        findings.push(Finding::new(
            Severity::Warns,
            FindingKind::ConntrackNearlyFull,
            format!("{count} of {max} connections are tracked: when the table is full, new ones are dropped"),
            "raise `net.netfilter.nf_conntrack_max` on the node, or find who opens so many",
        ));
    }
    if !sctp {
        findings.push(Finding::new(
            Severity::Warns,
            FindingKind::SctpUntracked,
            "the kernel does not track SCTP: rules that allow SCTP ports of isolated pods cannot be told to match, so it is denied",
            "use a kernel with CONFIG_NF_CT_PROTO_SCTP where pods need SCTP",
        ));
    }
    if tcp_loose == Some(false) {
        findings.push(Finding::new(
            Severity::Notes,
            FindingKind::TcpTracking,
            "`net.netfilter.nf_conntrack_tcp_loose` is 0: TCP connections that are older than connection tracking are invalid",
            "",
        ));
    }
    if tcp_liberal == Some(true) {
        findings.push(Finding::new(
            Severity::Notes,
            FindingKind::TcpTracking,
            "`net.netfilter.nf_conntrack_tcp_be_liberal` is 1: TCP segments outside of the window belong to their connection",
            "",
        ));
    }
}

/// One finding for each of the others, however many traces it has left.
fn second_enforcers(links: &[Link], foreign: &Foreign) -> Vec<Finding> {
    let mut traces: BTreeMap<&str, String> = BTreeMap::new();
    for link in links {
        if let Some((_, who)) = ENFORCER_LINKS.iter().find(|(name, _)| *name == link.name) {
            traces.entry(who).or_insert_with(|| format!("the interface `{}`", link.name));
        }
    }
    for chain in &foreign.chains {
        let by_name = ENFORCER_CHAINS.iter().find(|(start, _)| chain.name.starts_with(start));
        let by_table = match &chain.table {
            Table::Nft(_, table) => ENFORCER_TABLES.iter().find(|(name, _)| name == table),
            Table::Legacy { .. } => None,
        };
        if let Some((_, who)) = by_name.or(by_table) {
            traces.entry(who).or_insert_with(|| format!("chain `{}` of {}", chain.name, chain.table));
        }
    }
    let found = traces.into_iter().map(|(who, trace)| {
        Finding::new(
            Severity::Warns,
            FindingKind::SecondEnforcer,
            format!("{who} seems to enforce network policy on this node, too ({trace}): only what both allow passes"),
            format!("switch off the network policy of {who}, or do not run netsim-enforcer here"),
        )
    });
    found.collect()
}

fn foreign(foreign: &Foreign, findings: &mut Vec<Finding>) {
    for chain in &foreign.chains {
        let place = format!("chain `{}` of {}", chain.name, chain.table);
        if let Some(drops) = chain.drops_forwarded {
            let how = match drops {
                Drops::ByPolicy => "has the policy to drop",
                Drops::ByLastRule => "drops or rejects at its end",
            };
            findings.push(Finding::new(
                Severity::Warns,
                FindingKind::ForeignDrop,
                format!("allowed traffic may still be dropped by others: {place} {how}"),
                "let it accept what is forwarded from and to the addresses of the pods",
            ));
        }
        if chain.untracks {
            findings.push(Finding::new(
                Severity::Warns,
                FindingKind::Untracked,
                format!(
                    "{place} exempts packets from connection tracking: of those it cannot be told which connection they belong to"
                ),
                "exempt no packets from or to the addresses of the pods",
            ));
        }
    }
    for table in &foreign.flow_tables {
        findings.push(Finding::new(
            Severity::Warns,
            FindingKind::FlowTable,
            format!(
                "flow table `{}` of {} forwards established flows past all rules: a change of policy does not cut them",
                table.name, table.table
            ),
            "do not offload flows from or to the addresses of the pods",
        ));
    }
    let mut reasons: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (table, reason) in &foreign.unlisted {
        reasons.entry(reason).or_default().insert(table.to_string());
    }
    for (reason, tables) in reasons {
        let tables: Vec<String> = tables.into_iter().collect();
        findings.push(Finding::new(
            Severity::Notes,
            FindingKind::LegacyUnlisted,
            format!("the rules of others in {} are not known: {reason}", tables.join(", ")),
            "with the iptables programs installed, it would be said whether they drop what policy allows",
        ));
    }
}

fn forwarding(facts: &Facts, findings: &mut Vec<Finding>) {
    let families = [
        ("IPv4", facts.forwarding.0, "net.ipv4.ip_forward"),
        ("IPv6", facts.forwarding.1, "net.ipv6.conf.all.forwarding"),
    ];
    // Where only one family is in use, only that one is on.
    let off: Vec<_> = families.iter().filter(|(_, on, _)| *on == Some(false)).collect();
    let on = families.iter().any(|(_, on, _)| *on == Some(true));
    for (family, _, name) in off {
        let (severity, unless) = if on {
            (Severity::Notes, " (nothing to do in a cluster without that family)")
        } else {
            (Severity::Warns, "")
        };
        findings.push(Finding::new(
            severity,
            FindingKind::ForwardingOff,
            format!("`{name}` is 0: the node forwards no {family} packets from and to pods{unless}"),
            format!("on the node, run `sysctl -w {name}=1`"),
        ));
    }
}

fn accept_local(interfaces: &[String]) -> Option<Finding> {
    let interfaces = list_of(interfaces.iter().map(String::as_str))?;
    Some(Finding::new(
        Severity::Warns,
        FindingKind::LocalSourcesAccepted,
        format!(
            "`accept_local` is 1 for {interfaces}: a pod may send packets with an address of the node, which is always allowed"
        ),
        "set `net.ipv4.conf.*.accept_local` to 0 for these interfaces",
    ))
}

/// Names in backticks after the singular or plural.
fn list<'a>(one: &str, many: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    format!("{} {}", if names.len() == 1 { one } else { many }, names.join(", "))
}

/// Names in backticks, if there are any.
fn list_of<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
