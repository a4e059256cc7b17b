//! Rules that allow everything, however they are written.

use crate::lint::Context;
use netsim_shared::compile::blocks::ranges_of;
use netsim_shared::net::{Family, family_of};
use netsim_shared::policy::{Peer, PortMatch, Rule};
use netsim_shared::ports::PortSet;

/// Whether a rule allows every peer on every port.
pub fn is_open(context: &Context<'_>, rule: &Rule) -> bool {
    every_port(rule) && every_peer(context, rule)
}

/// Whether a rule is good for every port.
fn every_port(rule: &Rule) -> bool {
    let range = |port: &PortMatch| match port {
        PortMatch::Range(range) => Some(*range),
        PortMatch::Named(_) => None,
    };
    rule.ports.as_ref().is_none_or(|ports| ports.iter().filter_map(range).collect::<PortSet>().is_all())
}

/// Whether a rule is good for every peer: it names none, or together its items hold all pods and all
/// addresses of the families in use.
fn every_peer(context: &Context<'_>, rule: &Rule) -> bool {
    every_peer_of(context, rule, context.compiled.families())
}

/// Whether a rule is good for every peer, as far as these families go.
pub fn every_peer_of(context: &Context<'_>, rule: &Rule, families: &[Family]) -> bool {
    let Some(peers) = &rule.peers else { return true };
    // A block holds the pods with its addresses too, where the provider follows B5.
    let all_pods = context.compiled.modes().ip_block_matches_pods || peers.iter().any(is_every_pod);
    all_pods && families.iter().all(|family| holds_family(peers, *family))
}

/// Whether an item selects all pods of all namespaces.
fn is_every_pod(peer: &Peer) -> bool {
    match peer {
        Peer::Pods { namespaces: Some(namespaces), pods } => namespaces.is_everything() && pods.is_everything(),
        Peer::Pods { namespaces: None, .. } | Peer::Block(_) => false,
    }
}

/// Whether the blocks among the items hold all addresses of a family.
fn holds_family(peers: &[Peer], family: Family) -> bool {
    let blocks = peers.iter().filter_map(|peer| match peer {
        Peer::Block(block) if family_of(&block.cidr) == family => Some(ranges_of(block)),
        _ => None,
    });
    let mut ranges: Vec<_> = blocks.flatten().collect();
    ranges.sort_unstable_by_key(|range| range.first);
    let mut next = Some(0_u128);
    for range in ranges {
        match next {
            Some(missing) if range.first <= missing && missing <= range.last => {
                next = if range.last == family.last() { None } else { Some(range.last + 1) };
            }
            _ => {}
        }
    }
    next.is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use netsim_shared::policy::IpBlock;

    #[test]
    fn halves_make_a_whole_and_holes_do_not() {
        let block = |cidr: &str, except: &[&str]| {
            let except = except.iter().map(|e| e.parse().unwrap()).collect();
            Peer::Block(IpBlock { cidr: cidr.parse().unwrap(), except })
        };
        let whole = |peers: &[Peer]| holds_family(peers, Family::V4);
        assert!(whole(&[block("0.0.0.0/0", &[])]));
        assert!(whole(&[block("128.0.0.0/1", &[]), block("0.0.0.0/1", &[])]));
        assert!(whole(&[block("0.0.0.0/0", &["10.0.0.0/8"]), block("10.0.0.0/8", &[])]));
        assert!(!whole(&[block("0.0.0.0/0", &["10.0.0.0/8"]), block("10.0.0.0/9", &[])]));
        assert!(!whole(&[block("::/0", &[])]));
    }
}
