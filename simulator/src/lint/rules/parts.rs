//! The blocks and ports of policies, with the way to them.

use crate::lint::{Context, Found};
use netsim_shared::compile::blocks::ranges_of;
use netsim_shared::dns::NamePattern;
pub use netsim_shared::net::is_private;
use netsim_shared::net::{AddressRange, Family, family_of};
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, IpBlock, NetworkPolicy, Peer, Rule};

/// The place of a rule.
#[derive(Debug, Clone, Copy)]
pub struct RuleAt<'c> {
    /// Its policy.
    pub policy: &'c NetworkPolicy,
    /// Which list it is in.
    pub direction: Direction,
    /// Its index there.
    pub index: usize,
    /// The rule.
    pub rule: &'c Rule,
}

impl RuleAt<'_> {
    /// `spec.egress[1]`
    pub fn path(&self) -> Path {
        Path::spec().key(self.direction.field()).index(self.index)
    }

    /// `spec.egress[1].ports[0]`
    pub fn port_path(&self, port: usize) -> Path {
        self.path().key("ports").index(port)
    }

    /// Something about a part of the rule.
    pub fn found(&self, path: Path, message: impl Into<String>) -> Found {
        Found::in_policy(self.policy, path, message)
    }
}

/// All rules that have an effect on what their policies select.
pub fn rules<'s, 'c>(context: &'s Context<'c>) -> impl Iterator<Item = RuleAt<'c>> + 's {
    context.index.policies().flat_map(|policy| rules_of(policy))
}

/// The rules of a policy.
pub fn rules_of(policy: &NetworkPolicy) -> impl Iterator<Item = RuleAt<'_>> {
    Direction::ALL.into_iter().flat_map(move |direction| {
        let rules = policy.rules(direction).unwrap_or_default().iter().enumerate();
        rules.map(move |(index, rule)| RuleAt { policy, direction, index, rule })
    })
}

/// The place of a block.
#[derive(Debug, Clone, Copy)]
pub struct BlockAt<'c> {
    /// The rule that it is in.
    pub rule: RuleAt<'c>,
    /// Its index among the peers.
    pub index: usize,
    /// The block.
    pub block: &'c IpBlock,
}

impl BlockAt<'_> {
    /// `spec.egress[1].to[0].ipBlock.cidr`
    pub fn path(&self) -> Path {
        let peer = self.rule.path().key(self.rule.direction.peer_field()).index(self.index);
        peer.key("ipBlock").key("cidr")
    }

    /// Something about the block.
    pub fn found(&self, message: impl Into<String>) -> Found {
        self.rule.found(self.path(), message)
    }

    /// Its family.
    pub fn family(&self) -> Family {
        family_of(&self.block.cidr)
    }

    /// Whether its CIDR is every address of its family, whatever its exceptions.
    pub fn is_whole_family(&self) -> bool {
        self.block.cidr.prefix_len() == 0
    }

    /// What it holds.
    pub fn ranges(&self) -> Vec<AddressRange> {
        ranges_of(self.block)
    }
}

/// All blocks of a rule.
pub fn blocks_of(rule: RuleAt<'_>) -> impl Iterator<Item = BlockAt<'_>> {
    rule.rule.peers.iter().flatten().enumerate().filter_map(move |(index, peer)| match peer {
        Peer::Block(block) => Some(BlockAt { rule, index, block }),
        Peer::Pods { .. } | Peer::Names(_) => None,
    })
}

/// All blocks of all rules.
pub fn blocks<'s, 'c>(context: &'s Context<'c>) -> impl Iterator<Item = BlockAt<'c>> + 's {
    rules(context).flat_map(blocks_of)
}

/// The place of a pattern of names.
#[derive(Debug, Clone, Copy)]
pub struct NameAt<'c> {
    /// The rule that it is in.
    pub rule: RuleAt<'c>,
    /// The index of its item among the peers.
    pub item: usize,
    /// Its index there.
    pub index: usize,
    /// The pattern.
    pub pattern: &'c NamePattern,
}

impl NameAt<'_> {
    /// Something about the pattern, at `spec.egress[1].to[0].domainNames[2]`.
    pub fn found(&self, message: impl Into<String>) -> Found {
        let peer = self.rule.path().key(self.rule.direction.peer_field()).index(self.item);
        self.rule.found(peer.key("domainNames").index(self.index), message)
    }
}

/// All patterns of names of all rules.
pub fn names<'s, 'c>(context: &'s Context<'c>) -> impl Iterator<Item = NameAt<'c>> + 's {
    rules(context).flat_map(|rule| {
        let items = rule.rule.peers.iter().flatten().enumerate();
        items.flat_map(move |(item, peer)| {
            let patterns = match peer {
                Peer::Names(patterns) => patterns.as_slice(),
                Peer::Pods { .. } | Peer::Block(_) => &[],
            };
            patterns.iter().enumerate().map(move |(index, pattern)| NameAt { rule, item, index, pattern })
        })
    })
}

/// As few of some things as are found easily: the first that is enough by itself, else one after the other is
/// left out as long as the rest is enough. All of them must be.
pub fn fewest<T: Clone>(all: &[T], enough: impl Fn(&[T]) -> bool) -> Vec<T> {
    if let Some(one) = all.iter().find(|one| enough(std::slice::from_ref(*one))) {
        return vec![one.clone()];
    }
    let mut left = all.to_vec();
    for at in (0..left.len()).rev() {
        let mut fewer = left.clone();
        fewer.remove(at);
        if enough(&fewer) {
            left = fewer;
        }
    }
    left
}

/// Whether two ranges of one family have anything in common.
pub fn overlap(a: &AddressRange, b: &AddressRange) -> bool {
    a.first <= b.last && b.first <= a.last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_space_is_known_from_inside_and_around() {
        for (text, private) in [
            ("10.1.2.0/24", true),
            ("172.31.0.0/16", true),
            ("172.32.0.0/16", false),
            ("100.64.0.0/10", true),
            ("8.0.0.0/6", true),
            ("169.254.169.254/32", false),
            ("fd00::/8", true),
            ("2001:db8::/32", false),
        ] {
            assert_eq!(is_private(&text.parse().unwrap()), private, "{text}");
        }
    }
}
