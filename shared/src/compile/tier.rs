//! Tiers: the order in which policies have their say, and the algebra that flattens it away.
//!
//! A tier is a list of rules in order of priority and an end. NetworkPolicy v1 is one tier of Accept
//! rules whose end is "deny when isolated" (A3); kinds with priorities become more tiers, not more
//! code. [`flatten`] turns tiers into what is allowed, so that no reader ever walks priorities. It
//! works on any set: one yes or no, a set of ports, a bit set of classes.

use crate::ports::PortSet;
use roaring::RoaringBitmap;

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Allowed, finally.
    Accept,
    /// Denied, finally.
    Deny,
    /// Left to the next tier.
    Pass,
}

/// What becomes of that which no rule of a tier matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TierEnd {
    /// It is denied: the subject is isolated (A3).
    Deny,
    /// It goes to the next tier, and behind the last it is allowed.
    Next,
}

/// One tier as it applies to one subject and direction: its rules in order, and its end.
pub struct Tier<S> {
    /// What the rules match, in order of priority.
    pub rules: Vec<(Action, S)>,
    /// What becomes of the rest.
    pub end: TierEnd,
}

/// A set that tiers can be flattened over.
pub trait Region: Clone {
    /// Adds the other's elements.
    fn add(&mut self, other: &Self);
    /// Removes the other's elements.
    fn remove(&mut self, other: &Self);
    /// What is in both.
    fn common(&self, other: &Self) -> Self;
}

/// What is allowed of `everything`. `nothing` is the empty set.
pub fn flatten<S: Region>(everything: &S, nothing: &S, tiers: &[Tier<S>]) -> S {
    let (mut open, mut allowed) = (everything.clone(), nothing.clone());
    for tier in tiers {
        let mut passed = nothing.clone();
        for (action, region) in &tier.rules {
            let hit = region.common(&open);
            open.remove(&hit);
            match action {
                Action::Accept => allowed.add(&hit),
                Action::Pass => passed.add(&hit),
                Action::Deny => {}
            }
        }
        open.add(&passed);
        if tier.end == TierEnd::Deny {
            open = nothing.clone();
        }
    }
    allowed.add(&open);
    allowed
}

impl Region for bool {
    fn add(&mut self, other: &Self) {
        *self |= other;
    }
    fn remove(&mut self, other: &Self) {
        *self &= !other;
    }
    fn common(&self, other: &Self) -> Self {
        self & other
    }
}

impl Region for PortSet {
    fn add(&mut self, other: &Self) {
        *self = self.union(other);
    }
    fn remove(&mut self, other: &Self) {
        *self = self.difference(other);
    }
    fn common(&self, other: &Self) -> Self {
        self.intersection(other)
    }
}

impl Region for RoaringBitmap {
    fn add(&mut self, other: &Self) {
        *self |= other;
    }
    fn remove(&mut self, other: &Self) {
        *self -= other;
    }
    fn common(&self, other: &Self) -> Self {
        self & other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tiers walked for one element, as the clauses F1 and A3 tell it.
    fn walk(tiers: &[Tier<RoaringBitmap>], element: u32) -> bool {
        for tier in tiers {
            match tier.rules.iter().find(|(_, region)| region.contains(element)).map(|(action, _)| action) {
                Some(Action::Accept) => return true,
                Some(Action::Deny) => return false,
                Some(Action::Pass) if tier.end == TierEnd::Next => {}
                _ if tier.end == TierEnd::Deny => return false,
                _ => {}
            }
        }
        true
    }

    #[test]
    fn flattening_agrees_with_walking() {
        let everything: RoaringBitmap = (0..64).collect();
        let pick = |seed: u32| -> RoaringBitmap { (0..64).filter(|i| (i * 7 + seed * 13) % 5 < 2).collect() };
        for seed in 0..200_u32 {
            let tiers: Vec<Tier<RoaringBitmap>> = (0..seed % 4)
                .map(|t| Tier {
                    rules: (0..(seed + t) % 5)
                        .map(|r| {
                            (
                                [Action::Accept, Action::Deny, Action::Pass][((seed / 3 + r + t) % 3) as usize],
                                pick(seed + 31 * t + r),
                            )
                        })
                        .collect(),
                    end: if (seed + t).is_multiple_of(3) { TierEnd::Deny } else { TierEnd::Next },
                })
                .collect();
            let flat = flatten(&everything, &RoaringBitmap::new(), &tiers);
            for element in 0..64 {
                assert_eq!(flat.contains(element), walk(&tiers, element), "seed {seed}, element {element}");
            }
        }
    }
}
