//! The items of `from` and `to` that select pods.

use crate::lint::Context;
use netsim_shared::compile::side::{PolicySlot, TermId};
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy, Peer};
use netsim_shared::selector::Selector;

/// An item of a rule's peers that selects pods.
#[derive(Clone, Copy)]
pub struct Item<'c> {
    /// The policy.
    pub policy: &'c NetworkPolicy,
    /// The direction of the rule.
    pub direction: Direction,
    /// The number of the rule.
    pub rule: usize,
    /// The number of the item.
    pub number: usize,
    /// The namespaces; `None` for the policy's own.
    pub namespaces: Option<&'c Selector>,
    /// The pods there.
    pub pods: &'c Selector,
    /// The same in compiled form.
    pub term: TermId,
}

impl Item<'_> {
    /// Where it stands in the policy.
    pub fn path(&self) -> Path {
        rule_path(self.direction, self.rule).key(self.direction.peer_field()).index(self.number)
    }

    /// Whether the two are the same item of the same rule, but for their numbers.
    pub fn is_beside(&self, other: &Item<'_>) -> bool {
        std::ptr::eq(self.policy, other.policy) && (self.direction, self.rule) == (other.direction, other.rule)
    }
}

/// `spec.ingress[2]`
pub fn rule_path(direction: Direction, rule: usize) -> Path {
    Path::spec().key(direction.field()).index(rule)
}

/// The items of all policies that select pods, policy by policy and in their order there.
pub fn items<'c>(context: &Context<'c>) -> Vec<Item<'c>> {
    let sides = Direction::ALL.map(|direction| context.compiled.side(direction));
    sides.into_iter().flat_map(|side| side.slots().flat_map(|slot| items_of(slot, side.direction))).collect()
}

/// Those of a policy in a direction.
pub fn items_of(slot: &PolicySlot, direction: Direction) -> Vec<Item<'_>> {
    let policy = slot.policy.as_ref();
    let rules = policy.rules(direction).unwrap_or_default().iter().zip(&slot.rules);
    let mut items = Vec::new();
    for (rule, (written, compiled)) in rules.enumerate() {
        // Terms have the order of the items that select pods.
        let mut terms = compiled.peers.iter().flat_map(|peers| &peers.terms);
        for (number, peer) in written.peers.iter().flatten().enumerate() {
            if let Peer::Pods { namespaces, pods } = peer
                && let Some(term) = terms.next().copied()
            {
                items.push(Item { policy, direction, rule, number, namespaces: namespaces.as_ref(), pods, term });
            }
        }
    }
    items
}
