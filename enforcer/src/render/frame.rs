//! The part of the ruleset that does not depend on policies: hooks, the way of a packet through
//! them, and what happens to what is denied.
//!
//! ```text
//! forward ─┬─ stamped by this generation: accept
//! output ──┘                 └─ judge ─┬─ not tracked ─ untracked: by the packet's own addresses
//!                                      ├─ egress ─ is the source a pod of this node? ─ its group ─ peers, ports
//!                                      ├─ ingress ─ is the destination? ─ its group ─ peers, ports
//!                                      └─ stamp
//! ```
//!
//! A connection is judged when it has no stamp of the current generation in its mark: when it is
//! new, and again after every change that may deny something. What is looked at are the addresses of
//! the connection, the same for the packets of both directions, and the port it was opened to, so
//! replies of a connection that is denied now are cut as well.

use super::{Options, UnknownPods};
use crate::flows::tag::{Cause, Tag, Way};
use crate::ruleset::{CT_INVALID, CT_RELATED, CT_UNTRACKED, Chain, Field, Hook, Name, Rule, Statement, Verdict};
use ipnet::IpNet;
use netsim_shared::net::{Family, family_of};
use netsim_shared::policy::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `4` or `6`, as names end.
pub fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}

/// The map of the node's pods in a direction: isolated ones to their chain.
pub fn pods_map(direction: Direction, family: Family) -> Name {
    format!("{direction}_pods{}", digit(family)).into()
}

/// The node's isolated pods, each with itself.
pub fn self_set(direction: Direction, family: Family) -> Name {
    format!("{direction}_self{}", digit(family)).into()
}

/// The chain that ends what a direction denies.
pub fn deny_chain(direction: Direction) -> Name {
    format!("deny_{direction}").into()
}

/// The chain that ends what a direction denies because no pod is known to have the address: it says
/// so in the log, which nobody could tell later, when the pod is known.
pub fn unknown_chain(direction: Direction) -> Name {
    format!("unknown_{direction}").into()
}

/// The chain that writes denied packets to the log.
fn log_chain(tag: &str, direction: Direction) -> Name {
    format!("log_{tag}{direction}").into()
}

/// Who is bound by a direction: the source by egress, the destination by ingress.
pub fn subject_field(direction: Direction, family: Family) -> Field {
    match direction {
        Direction::Ingress => Field::CtDestination(family),
        Direction::Egress => Field::CtSource(family),
    }
}

/// The other end.
pub fn peer_field(direction: Direction, family: Family) -> Field {
    match direction {
        Direction::Ingress => Field::CtSource(family),
        Direction::Egress => Field::CtDestination(family),
    }
}

/// A rule of one verdict.
pub fn only(verdict: Verdict) -> Rule {
    vec![Statement::Verdict(verdict)]
}

fn jump(chain: &str) -> Rule {
    only(Verdict::Jump(chain.into()))
}

fn goto(chain: &str) -> Rule {
    only(Verdict::Goto(chain.into()))
}

/// ICMPv6 messages that always pass (C5): multicast listener and neighbour discovery.
const NEIGHBOUR_DISCOVERY: [(u8, u8); 2] = [(130, 137), (143, 143)];

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Errors about a connection, such as "packet too big", pass (C5).
fn error_about_connection(protocol: u8) -> Rule {
    vec![Statement::CtState(CT_RELATED), Statement::L4Protocol(protocol), Statement::Verdict(Verdict::Accept)]
}

/// The chain that denies what pods of one bridge say to each other without the addresses that policy
/// knows them by: link-local ones in either place, and those of many. Routers pass none of it, so
/// nothing else is forwarded so. As long as no pod of the node is isolated there is nothing to deny.
pub fn nameless(isolated: &[Direction]) -> Chain {
    let (mut rules, v4, v6) = (Vec::new(), Family::V4, Family::V6);
    let mut deny = |direction: Direction, field: Field, block: &str| {
        if let Ok(block) = block.parse() {
            let verdict = Verdict::Goto(deny_chain(direction));
            rules.push(vec![Statement::InBlock(field, block), Statement::Verdict(verdict)]);
        }
    };
    if !isolated.is_empty() {
        deny(Direction::Egress, Field::CtSource(v6), "fe80::/10");
        deny(Direction::Ingress, Field::CtDestination(v6), "fe80::/10");
    }
    if isolated.contains(&Direction::Ingress) {
        deny(Direction::Ingress, Field::CtDestination(v4), "224.0.0.0/4");
        deny(Direction::Ingress, Field::CtDestination(v4), "255.255.255.255/32");
        deny(Direction::Ingress, Field::CtDestination(v6), "ff00::/8");
    }
    Chain { hook: None, rules }
}

/// The name of that chain.
pub const NAMELESS: &str = "nameless";

/// The chains that every ruleset has. `pod_cidrs` are the ranges of this node's pods, `stamp` the
/// current stamp.
pub fn chains(options: &Options, pod_cidrs: &[IpNet], stamp: u32) -> BTreeMap<Name, Arc<Chain>> {
    let mask = options.mark_mask;
    let stamped = || vec![Statement::CtMark { mask, value: stamp }, Statement::Verdict(Verdict::Accept)];
    let mut chains = BTreeMap::new();
    let mut add = |name: &str, hook: Option<Hook>, rules: Vec<Rule>| {
        chains.insert(Name::from(name), Arc::new(Chain { hook, rules }));
    };
    add("forward", Some(Hook::Forward), vec![stamped(), goto("judge")]);
    // What the node itself sends may reach its pods (D2). Others' packets leave by this hook only
    // where a proxy on the node keeps their source address, as IPVS does.
    let own = vec![Statement::SourceIsLocal, Statement::Verdict(Verdict::Accept)];
    add("output", Some(Hook::Output), vec![own, stamped(), goto("judge")]);
    let no_tuple = Statement::CtState(CT_INVALID | CT_UNTRACKED);
    add(
        "judge",
        None,
        vec![
            vec![no_tuple, Statement::Verdict(Verdict::Goto("untracked".into()))],
            error_about_connection(ICMP),
            error_about_connection(ICMPV6),
            jump("nameless"),
            jump("egress"),
            jump("ingress"),
            vec![Statement::SetCtMark { mask, value: stamp }],
        ],
    );
    let mut untracked: Vec<Rule> = NEIGHBOUR_DISCOVERY
        .iter()
        .map(|(first, last)| vec![Statement::Icmpv6Type(*first, *last), Statement::Verdict(Verdict::Accept)])
        .collect();
    untracked.extend([jump("untracked_egress"), jump("untracked_ingress")]);
    add("untracked", None, untracked);
    for direction in Direction::ALL {
        // A known pod is isolated or returns; what is left in the pods' range is not known yet.
        let dispatch = |field: &dyn Fn(Family) -> Field| {
            let known = Family::ALL.map(|family| vec![Statement::Vmap(field(family), pods_map(direction, family))]);
            let unknown = pod_cidrs.iter().filter(|_| options.unknown_pods == UnknownPods::Deny).map(|block| {
                let inside = Statement::InBlock(field(family_of(block)), *block);
                let end = if options.log_denied { unknown_chain(direction) } else { deny_chain(direction) };
                vec![inside, Statement::Verdict(Verdict::Goto(end))]
            });
            known.into_iter().chain(unknown).collect::<Vec<Rule>>()
        };
        add(direction.field(), None, dispatch(&|family| subject_field(direction, family)));
        // Of a packet without a connection nothing is known but its own addresses, and the chains
        // of isolated pods look at connections: there it matches nothing, and is denied.
        let of_packet = |family| match direction {
            Direction::Ingress => Field::Destination(family),
            Direction::Egress => Field::Source(family),
        };
        add(&format!("untracked_{direction}"), None, dispatch(&of_packet));
        for (chain, cause) in [(deny_chain(direction), Cause::Known), (unknown_chain(direction), Cause::UnknownPod)] {
            if cause == Cause::UnknownPod && (!options.log_denied || options.unknown_pods == UnknownPods::Allow) {
                continue;
            }
            let mut denied = vec![vec![Statement::Counter]];
            if options.log_denied {
                // One limit for all ways, so that none is told as another.
                let log = log_chain(if cause == Cause::Known { "" } else { "unknown_" }, direction);
                denied.push(vec![Statement::Limit(options.log_rate), Statement::Verdict(Verdict::Jump(log.clone()))]);
                add(&log, None, logged(options.log_group, direction, cause));
            }
            denied.push(only(if options.audit { Verdict::Return } else { Verdict::Drop }));
            add(&chain, None, denied);
        }
    }
    chains
}

/// Writes a packet to the log, with what cannot be seen in the packet itself.
fn logged(group: u16, direction: Direction, cause: Cause) -> Vec<Rule> {
    let log = |way| Statement::Log { group, prefix: Tag { direction, cause, way }.prefix() };
    let back = || Statement::Verdict(Verdict::Return);
    vec![
        vec![Statement::CtReply, log(Way::Reply), back()],
        vec![Statement::CtState(CT_INVALID | CT_UNTRACKED), log(Way::Stray), back()],
        vec![log(Way::Original)],
    ]
}
