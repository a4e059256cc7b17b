//! NS024: ports without a protocol, which means TCP (C1), where another one is probably meant.

use super::page;
use super::reach::Reach;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::policy::{Direction, PortMatch};
use netsim_shared::ports::{PortRange, Protocol};
use std::collections::BTreeSet;

pub const RULE: Rule = Rule {
    id: "NS024",
    name: "protocol-omitted",
    severity: Severity::Info,
    summary: "a port without `protocol`, which means TCP, that is mostly used over UDP",
    neighbours: &[],
    page: page!("NS024"),
    check,
};

/// Ports that are used over UDP, by everybody or first of all.
const OVER_UDP: [(u16, &str); 11] = [
    (53, "DNS"),
    (123, "NTP"),
    (161, "SNMP"),
    (500, "IPsec"),
    (514, "syslog"),
    (1194, "OpenVPN"),
    (1812, "RADIUS"),
    (3478, "STUN"),
    (4500, "IPsec"),
    (8125, "StatsD"),
    (51820, "WireGuard"),
];

fn check(context: &Context<'_>) -> Vec<Found> {
    let reach = Reach::of(context);
    let mut found = Vec::new();
    for site in reach.sites() {
        let ports: Vec<&PortMatch> = site.rule().ports.iter().flatten().collect();
        for (index, port) in ports.iter().enumerate() {
            let PortMatch::Range(PortRange { protocol: Protocol::Tcp, from, to }) = port else { continue };
            let over_udp = |other: &&&PortMatch| {
                matches!(other, PortMatch::Range(range) if range.contains(Protocol::Udp, *from))
                    || matches!(other, PortMatch::Named(named) if named.protocol == Protocol::Udp)
            };
            if from != to || ports.iter().any(|other| over_udp(&other)) {
                continue;
            }
            // What the pods say is better than what is usual.
            let declared: BTreeSet<Protocol> = match site.at.direction {
                Direction::Egress if !site.names_pods_only() => BTreeSet::new(),
                _ => {
                    let ports = reach.declared(&site);
                    ports.into_iter().flatten().filter(|port| port.port == *from).map(|port| port.protocol).collect()
                }
            };
            let usual = OVER_UDP.iter().find(|(port, _)| port == from);
            let (why, meant) = match (declared.iter().next(), usual) {
                (Some(Protocol::Tcp), None) => continue,
                (Some(Protocol::Tcp), Some((_, what))) if declared.contains(&Protocol::Udp) => {
                    (format!("the pods serve {what} over UDP too"), Protocol::Udp)
                }
                (Some(Protocol::Tcp), Some(_)) => continue,
                (Some(other), _) => (format!("the pods declare {from} for {other}"), *other),
                (None, Some((_, what))) => (format!("{what} mostly goes over UDP"), Protocol::Udp),
                (None, None) => continue,
            };
            let path = site.at.port_path(index);
            let written = context.written(site.at.policy);
            let entry = written.as_ref().and_then(|written| written.at(&path.0));
            if entry.is_none_or(|entry| entry.get("protocol").is_some()) {
                continue;
            }
            let message = format!("port {from} without `protocol` means TCP, and {why}");
            let help = format!("write `protocol: {meant}`, and for both an entry each");
            found.push(site.at.found(path.key("port"), message).help(help));
        }
    }
    found
}
