//! Why a connection changed: what each direction's policies said before, and what they say now.

use super::side::{ClassKey, Side};
use super::{Both, UnitId};
use crate::compile::side::{GroupId, NOT_ISOLATED, PeerClass, PolicyId};
use crate::evaluate::{RuleRef, side_ports};
use crate::list::Reach;
use crate::net::Family;
use crate::policy::{Direction, NetworkPolicy};
use crate::ports::PortSet;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A reason of a change, and whom it is about.
#[derive(Debug, Clone)]
pub struct Reason {
    /// What it is; one and the same where it is shared by several changes.
    pub cause: Arc<Cause>,
    /// The sources whose egress it is about, or the destinations whose ingress.
    pub of: Vec<UnitId>,
}

/// What became of what the policies say.
#[derive(Debug, Clone)]
pub enum Cause {
    /// The policies of one direction say something else of these ports.
    Policies {
        /// The egress of the source, or the ingress of the destination.
        direction: Direction,
        /// Whether they let the ports pass now, or did before.
        gained: bool,
        /// The ports.
        ports: Reach,
        /// What they said.
        before: Say,
        /// What they say.
        after: Say,
    },
    /// They are a pod and its own node on one side only (D2).
    OwnNode {
        /// Whether they are now, or were before.
        gained: bool,
    },
}

/// What the policies of one direction say of some ports.
#[derive(Debug, Clone)]
pub enum Say {
    /// Nothing isolates the pod, or it is an address outside, which policies do not bind.
    NotIsolated,
    /// These rules allow them, together.
    Allowed(Vec<RuleRef>),
    /// No rule allows them; these policies isolate the pod.
    Denied(Vec<Arc<NetworkPolicy>>),
}

/// The same in numbers, so that equal reasons are found to be equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum CauseKey {
    Policies { direction: Direction, gained: bool, ports: Vec<(Family, PortSet)>, says: Both<SayKey> },
    OwnNode { gained: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum SayKey {
    NotIsolated,
    Allowed(Vec<(PolicyId, usize)>),
    Denied(Box<[PolicyId]>),
}

/// The ports that changed in a family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Moved {
    pub(super) family: Family,
    pub(super) gained: PortSet,
    pub(super) lost: PortSet,
}

/// A source and a destination, each as a class of a side, in one family.
pub(super) struct Ends<'k> {
    pub(super) source: &'k ClassKey,
    pub(super) destination: &'k ClassKey,
}

impl<'k> Ends<'k> {
    /// Whom a direction isolates, and who that is to it.
    fn of(&self, direction: Direction) -> (GroupId, &'k PeerClass) {
        match direction {
            Direction::Egress => (self.source.0, &self.destination.1),
            Direction::Ingress => (self.destination.0, &self.source.1),
        }
    }
}

/// A side, a direction, whom it isolates, and a peer.
type Asked = (bool, Direction, GroupId, PeerClass);

/// Finds reasons, and keeps what it worked out on the way.
#[derive(Default)]
pub(super) struct Finder {
    rules: FxHashMap<(Asked, PortSet), Vec<(PolicyId, usize)>>,
    same: FxHashMap<(Direction, GroupId, GroupId), bool>,
}

impl Finder {
    /// What one direction has to do with the ports of a family that changed between two classes.
    pub(super) fn find(
        &mut self,
        sides: &Both<Side<'_>>,
        ends: &Both<Ends<'_>>,
        direction: Direction,
        moved: &Moved,
        found: &mut Vec<CauseKey>,
    ) {
        let (old, new) = (ends.old.of(direction), ends.new.of(direction));
        // What is open on both sides as far as this direction goes has its reason in the other.
        if !moved.gained.is_empty() && old.0 != NOT_ISOLATED {
            let before = ports_between(&sides.old, direction, old);
            let ports = moved.gained.difference(&before);
            if !ports.is_empty() {
                let after = self.allowed(sides, true, direction, new, &ports);
                let says = Both { old: denied(&sides.old, direction, old.0), new: after };
                add(found, direction, true, moved.family, ports, says);
            }
        }
        if !moved.lost.is_empty() && new.0 != NOT_ISOLATED {
            let after = ports_between(&sides.new, direction, new);
            let ports = moved.lost.difference(&after);
            if !ports.is_empty() {
                let before = self.allowed(sides, false, direction, old, &ports);
                let says = Both { old: before, new: denied(&sides.new, direction, new.0) };
                add(found, direction, false, moved.family, ports, says);
            }
        }
    }

    /// Why one direction lets ports pass: the first rules that allow them.
    fn allowed(
        &mut self,
        sides: &Both<Side<'_>>,
        new: bool,
        direction: Direction,
        (group, peer): (GroupId, &PeerClass),
        ports: &PortSet,
    ) -> SayKey {
        if group == NOT_ISOLATED {
            return SayKey::NotIsolated;
        }
        let asked = ((new, direction, group, peer.clone()), ports.clone());
        let rules = self.rules.entry(asked).or_insert_with(|| {
            let side = if new { &sides.new } else { &sides.old };
            let side = side.compiled.side(direction);
            let names = side.names_between(group, peer);
            let ids = side.group_of(group).map_or(&[][..], |group| &group.policies);
            let (mut left, mut rules) = (ports.clone(), Vec::new());
            for (id, slot) in ids.iter().filter_map(|id| Some((*id, side.slot(*id)?))) {
                for (number, rule) in slot.rules.iter().enumerate().filter(|(_, rule)| side.rule_has_peer(rule, peer)) {
                    let of_rule = side.rule_ports(rule, names);
                    if !left.intersection(&of_rule).is_empty() {
                        left = left.difference(&of_rule);
                        rules.push((id, number));
                    }
                }
            }
            rules
        });
        SayKey::Allowed(rules.clone())
    }

    /// Whether the same policies judge two classes on both sides.
    pub(super) fn judged_alike(&mut self, sides: &Both<Side<'_>>, ends: &Both<Ends<'_>>) -> bool {
        Direction::ALL.into_iter().all(|direction| {
            let (old, new) = (ends.old.of(direction).0, ends.new.of(direction).0);
            *self.same.entry((direction, old, new)).or_insert_with(|| {
                let policies = |side: &Side<'_>, group| -> Vec<Arc<NetworkPolicy>> {
                    let side = side.compiled.side(direction);
                    let mut all: Vec<_> = side.policies_of(group).map(|slot| slot.policy.clone()).collect();
                    all.sort_by(|a, b| a.name.cmp(&b.name));
                    all
                };
                policies(&sides.old, old) == policies(&sides.new, new)
            })
        })
    }
}

fn ports_between(side: &Side<'_>, direction: Direction, (group, peer): (GroupId, &PeerClass)) -> PortSet {
    side_ports(side.compiled.side(direction), group, peer)
}

fn denied(side: &Side<'_>, direction: Direction, group: GroupId) -> SayKey {
    SayKey::Denied(side.compiled.side(direction).group_of(group).map(|g| g.policies.clone()).unwrap_or_default())
}

/// Reasons that differ in the family alone are one.
fn add(
    found: &mut Vec<CauseKey>,
    direction: Direction,
    gained: bool,
    family: Family,
    ports: PortSet,
    says: Both<SayKey>,
) {
    for known in found.iter_mut() {
        if let CauseKey::Policies { direction: d, gained: g, ports: all, says: s } = known
            && (*d, *g) == (direction, gained)
            && *s == says
        {
            all.push((family, ports));
            return;
        }
    }
    found.push(CauseKey::Policies { direction, gained, ports: vec![(family, ports)], says });
}

impl CauseKey {
    /// The same with policies in place of numbers. `families` are those that the connections have.
    pub(super) fn resolve(&self, sides: &Both<Side<'_>>, families: &[Family]) -> Cause {
        match self {
            CauseKey::OwnNode { gained } => Cause::OwnNode { gained: *gained },
            CauseKey::Policies { direction, gained, ports, says } => {
                let of = |family: &Family| ports.iter().find(|(f, _)| f == family).map(|(_, set)| set.clone());
                Cause::Policies {
                    direction: *direction,
                    gained: *gained,
                    ports: Reach::of_families(families.iter().map(|f| (*f, of(f).unwrap_or_default()))),
                    before: says.old.resolve(&sides.old, *direction),
                    after: says.new.resolve(&sides.new, *direction),
                }
            }
        }
    }
}

impl SayKey {
    fn resolve(&self, side: &Side<'_>, direction: Direction) -> Say {
        let side = side.compiled.side(direction);
        let policy = |id: &PolicyId| side.slot(*id).map(|slot| slot.policy.clone());
        match self {
            SayKey::NotIsolated => Say::NotIsolated,
            SayKey::Allowed(rules) => {
                let rule =
                    |(id, rule): &(PolicyId, usize)| Some(RuleRef { policy: policy(id)?, direction, rule: *rule });
                Say::Allowed(rules.iter().filter_map(rule).collect())
            }
            SayKey::Denied(ids) => Say::Denied(ids.iter().filter_map(policy).collect()),
        }
    }
}
