//! NS018: pods that may ask the cloud's metadata service.

use super::page;
use super::parts::{RuleAt, blocks_of, rules};
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::net::{AddressRange, Family};
use netsim_shared::policy::{Direction, PortMatch};
use netsim_shared::ports::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const RULE: Rule = Rule {
    id: "NS018",
    name: "reaches-cloud-metadata",
    severity: Severity::Warning,
    summary: "an egress rule that lets pods reach 169.254.169.254, where clouds keep credentials",
    neighbours: &[],
    page: page!("NS018"),
    check,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));
/// It is asked over HTTP.
const PORT: u16 = 80;

fn check(context: &Context<'_>) -> Vec<Found> {
    let families = context.compiled.families();
    let has_port = |at: &RuleAt<'_>| match &at.rule.ports {
        None => true,
        Some(ports) => ports.iter().any(|port| match port {
            PortMatch::Range(range) => range.contains(Protocol::Tcp, PORT),
            PortMatch::Named(_) => false,
        }),
    };
    let egress = rules(context).filter(|at| at.direction == Direction::Egress && has_port(at));
    egress
        .flat_map(|at| if at.rule.peers.is_none() { vec![everything(&at)] } else { by_blocks(&at, families) })
        .collect()
}

/// A rule without peers.
fn everything(at: &RuleAt<'_>) -> Found {
    let message = format!("this rule names no peer, so its pods may ask the cloud's metadata service at {V4}");
    at.found(at.path(), message).help(help(V4, "name the peers; for all addresses write"))
}

fn by_blocks(at: &RuleAt<'_>, families: &[Family]) -> Vec<Found> {
    let reached = |block: super::parts::BlockAt<'_>| {
        let family = block.family();
        let address = match family {
            Family::V4 => V4,
            Family::V6 => V6,
        };
        let number = netsim_shared::net::to_number(address);
        let metadata = AddressRange { first: number, last: number };
        // A block of this one address is meant to reach it.
        let meant = block.block.cidr.prefix_len() == block.block.cidr.max_prefix_len();
        let reaches = block.ranges().iter().any(|range| super::parts::overlap(range, &metadata));
        (reaches && !meant && families.contains(&family)).then(|| {
            let message = format!("`{}` holds {address}, the cloud's metadata service", block.block);
            block.found(message).help(help_for(&block, address))
        })
    };
    blocks_of(*at).filter_map(reached).collect()
}

fn help_for(block: &super::parts::BlockAt<'_>, address: IpAddr) -> String {
    let except: Vec<String> = block.block.except.iter().map(ToString::to_string).chain([single(address)]).collect();
    format!("leave it out: `except: [{}]`", except.join(", "))
}

fn help(address: IpAddr, what: &str) -> String {
    format!("{what} `ipBlock: {{cidr: {}, except: [{}]}}`", Family::of(address).whole(), single(address))
}

fn single(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}
