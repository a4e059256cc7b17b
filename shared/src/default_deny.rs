//! Whether a namespace denies by default, judged by what becomes of a pod that is new in it (A1, A3).
//!
//! A policy named default-deny proves nothing: another one beside it that allows everything undoes
//! it, and policies for single pods say nothing of the next one.

use crate::cluster::ClusterIndex;
use crate::compile::Compiled;
use crate::compile::blocks::ranges_of;
use crate::net::{Family, family_of};
use crate::policy::{Direction, NetworkPolicy, Peer, PortMatch, Rule};
use crate::ports::PortSet;
use crate::selector::Labels;
use std::sync::Arc;

/// What binds a new pod of a namespace in one direction.
#[derive(Debug, Clone, Default)]
pub struct DefaultDeny<'i> {
    /// The policies that isolate a pod without any label, by name.
    pub policies: Vec<&'i Arc<NetworkPolicy>>,
    /// The first of them that allows every peer on every port, and the number of that rule: with it
    /// nothing is denied.
    pub undone_by: Option<(&'i Arc<NetworkPolicy>, usize)>,
}

impl<'i> DefaultDeny<'i> {
    /// What binds a new pod. Of `compiled` modes and families count.
    pub fn of(index: &'i ClusterIndex, compiled: &Compiled, namespace: &str, direction: Direction) -> Self {
        // A pod without labels is what only policies for all pods select.
        let newcomer = Labels::default();
        let binds = |p: &&Arc<NetworkPolicy>| p.rules(direction).is_some() && p.pod_selector.matches(&newcomer);
        let policies: Vec<_> = index.policies_of(namespace).filter(binds).collect();
        let open = |p: &NetworkPolicy| p.rules(direction)?.iter().position(|rule| allows_everything(compiled, rule));
        let undone_by = policies.iter().find_map(|p| Some((*p, open(p)?)));
        DefaultDeny { policies, undone_by }
    }

    /// Whether a new pod is denied what no rule allows.
    pub fn is_in_force(&self) -> bool {
        !self.policies.is_empty() && self.undone_by.is_none()
    }
}

/// Whether a rule allows every peer on every port, however it is written.
pub fn allows_everything(compiled: &Compiled, rule: &Rule) -> bool {
    every_port(rule) && is_for_every_peer(compiled, rule, compiled.families())
}

/// Whether a rule is good for every port.
fn every_port(rule: &Rule) -> bool {
    let range = |port: &PortMatch| match port {
        PortMatch::Range(range) => Some(*range),
        PortMatch::Named(_) => None,
    };
    rule.ports.as_ref().is_none_or(|ports| ports.iter().filter_map(range).collect::<PortSet>().is_all())
}

/// Whether a rule is good for every peer, as far as these families go: it names none, or together its
/// items hold all pods and all addresses.
pub fn is_for_every_peer(compiled: &Compiled, rule: &Rule, families: &[Family]) -> bool {
    let Some(peers) = &rule.peers else { return true };
    // A block holds the pods with its addresses too, where the provider follows B5.
    let all_pods = compiled.modes().ip_block_matches_pods || peers.iter().any(is_every_pod);
    all_pods && families.iter().all(|family| holds_family(peers, *family))
}

/// Whether an item selects all pods of all namespaces.
fn is_every_pod(peer: &Peer) -> bool {
    match peer {
        Peer::Pods { namespaces: Some(namespaces), pods } => namespaces.is_everything() && pods.is_everything(),
        Peer::Pods { namespaces: None, .. } | Peer::Block(_) | Peer::Names(_) => false,
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
    use crate::policy::IpBlock;

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
