//! From one ruleset to another: the exact, minimal list of changes, in an order that the kernel
//! takes. Adding what is there or deleting what is not fails a whole batch, so nothing is left to
//! chance.

use crate::ruleset::{Comment, Hook, Key, Name, Rule, Ruleset, SetKind, Verdict};
use netsim_shared::net::Family;
use rustc_hash::FxHashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// An element with the verdict of a map.
pub type Element = (Key, Option<Verdict>);

/// One change of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates the table.
    AddTable,
    /// Deletes the table and all that is in it.
    DeleteTable,
    /// Creates an empty set.
    AddSet(Name, SetKind, Comment),
    /// Deletes a set that nothing refers to any more.
    DeleteSet(Name),
    /// Creates a chain without rules.
    AddChain(Name, Option<Hook>),
    /// Deletes a chain without rules that nothing refers to any more.
    DeleteChain(Name),
    /// Takes all rules out of a chain.
    FlushChain(Name),
    /// Adds a rule at the end of a chain.
    AddRule(Name, Rule),
    /// Adds elements to a set.
    AddElements(Name, SetKind, Vec<Element>),
    /// Takes elements out of a set.
    DeleteElements(Name, SetKind, Vec<Element>),
    /// Adds elements with the time that they have left to a timed set that is new in this transaction.
    AddTimed(Name, Family, Vec<(IpAddr, Duration)>),
    /// Makes addresses elements of a timed set with the time that they have left, be they in it or
    /// not: the kernel may have taken them out by now.
    Retime(Name, Family, Vec<(IpAddr, Duration)>),
    /// Takes addresses out of a timed set, where the kernel has not done so already.
    EndTimed(Name, Family, Vec<IpAddr>),
}

/// Changes that happen all at once or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The changes, in order.
    pub ops: Vec<Op>,
}

impl Transaction {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many sets, chains, rules and elements it touches.
    pub fn size(&self) -> usize {
        let of = |op: &Op| match op {
            Op::AddElements(_, _, elements) | Op::DeleteElements(_, _, elements) => elements.len(),
            Op::AddTimed(_, _, elements) | Op::Retime(_, _, elements) => elements.len(),
            Op::EndTimed(_, _, addresses) => addresses.len(),
            _ => 1,
        };
        self.ops.iter().map(of).sum()
    }
}

/// The whole ruleset in place of what is there, in one transaction: never a moment without rules.
/// `exists` says whether the kernel has our table.
pub fn replace(exists: bool, new: &Ruleset) -> Transaction {
    let mut ops = Vec::new();
    if exists {
        ops.push(Op::DeleteTable);
    }
    ops.push(Op::AddTable);
    ops.extend(between(&Ruleset::default(), new).ops);
    Transaction { ops }
}

/// What makes `new` of `old`, but for the elements of timed sets, which no ruleset has: see
/// [`TimedElements`](crate::ruleset::TimedElements).
///
/// New sets and chains come first, so that elements and rules can name them. What goes is taken
/// out before what comes is put in: a key may have another verdict, a range may grow. Sets and
/// chains go last, when nothing names them any more.
pub fn between(old: &Ruleset, new: &Ruleset) -> Transaction {
    let mut ops = Vec::new();
    let (mut deletions, mut additions) = (Vec::new(), Vec::new());
    for (name, set) in &new.sets {
        let before = old.sets.get(name);
        if before.is_some_and(|before| Arc::ptr_eq(before, set)) {
            continue;
        }
        let (gone, come) = match before {
            Some(before) => before.elements.changes_to(&set.elements),
            None => {
                ops.push(Op::AddSet(name.clone(), set.kind, set.comment.clone()));
                (Vec::new(), set.elements.iter().map(|(key, value)| (*key, value.clone())).collect())
            }
        };
        if !gone.is_empty() {
            deletions.push(Op::DeleteElements(name.clone(), set.kind, gone));
        }
        if !come.is_empty() {
            additions.push(Op::AddElements(name.clone(), set.kind, come));
        }
    }
    let (mut flushes, mut rules) = (Vec::new(), Vec::new());
    for (name, chain) in &new.chains {
        let before = old.chains.get(name);
        match before {
            Some(before) if before == chain => continue,
            Some(before) if !before.rules.is_empty() => flushes.push(Op::FlushChain(name.clone())),
            Some(_) => {}
            None => ops.push(Op::AddChain(name.clone(), chain.hook)),
        }
        rules.extend(chain.rules.iter().map(|rule| Op::AddRule(name.clone(), rule.clone())));
    }
    let gone_chains = || old.chains.iter().filter(|(name, _)| !new.chains.contains_key(*name));
    flushes.extend(gone_chains().filter(|(_, c)| !c.rules.is_empty()).map(|(name, _)| Op::FlushChain(name.clone())));
    ops.extend(deletions);
    ops.extend(flushes);
    ops.extend(additions);
    ops.extend(rules);
    let gone_sets = old.sets.keys().filter(|name| !new.sets.contains_key(*name));
    ops.extend(gone_sets.map(|name| Op::DeleteSet(name.clone())));
    ops.extend(gone_chains().map(|(name, _)| Op::DeleteChain(name.clone())));
    Transaction { ops }
}

/// Whether a transaction can take away anything that was allowed: then established flows have to be
/// judged again. What is only new, and elements of sets that allow, take nothing away; everything
/// else may. The elements of timed sets never do: where they end, new connections stop and established
/// ones go on (G3).
pub fn may_deny(transaction: &Transaction) -> bool {
    let new: FxHashSet<&Name> = transaction
        .ops
        .iter()
        .filter_map(|op| if let Op::AddChain(name, _) | Op::AddSet(name, ..) = op { Some(name) } else { None })
        .collect();
    transaction.ops.iter().any(|op| match op {
        Op::AddTable | Op::AddSet(..) | Op::AddChain(..) => false,
        Op::AddTimed(..) | Op::Retime(..) | Op::EndTimed(..) => false,
        Op::AddElements(name, kind, _) => kind.is_map() && !new.contains(name),
        Op::AddRule(chain, _) => !new.contains(chain),
        Op::DeleteTable | Op::DeleteSet(_) | Op::DeleteChain(_) | Op::FlushChain(_) | Op::DeleteElements(..) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{Chain, Set, Statement};

    fn ruleset(chains: &[(&str, &[Statement])], sets: &[(&str, &[&str])]) -> Ruleset {
        let rule = |statements: &[Statement]| if statements.is_empty() { vec![] } else { vec![statements.to_vec()] };
        let element = |text: &&str| (Key::Address(text.parse().unwrap()), None);
        Ruleset {
            chains: chains
                .iter()
                .map(|(name, rules)| (Name::from(*name), Arc::new(Chain { hook: None, rules: rule(rules) })))
                .collect(),
            sets: sets
                .iter()
                .map(|(name, keys)| {
                    let set = Set::new(SetKind::Addresses(Family::V4), keys.iter().map(element).collect());
                    (Name::from(*name), Arc::new(set))
                })
                .collect(),
        }
    }

    fn goto(chain: &str) -> [Statement; 1] {
        [Statement::Verdict(Verdict::Goto(chain.into()))]
    }

    #[test]
    fn nothing_to_do_between_equals() {
        let one = ruleset(&[("a", &goto("b")), ("b", &[])], &[("s", &["10.0.0.1"])]);
        assert!(between(&one, &one.clone()).is_empty());
        assert!(!may_deny(&between(&one, &one)));
    }

    #[test]
    fn exactly_what_differs_in_an_order_that_holds() {
        let old =
            ruleset(&[("a", &goto("b")), ("b", &[])], &[("gone", &["10.0.0.9"]), ("s", &["10.0.0.1", "10.0.0.2"])]);
        let new =
            ruleset(&[("a", &goto("c")), ("c", &[])], &[("come", &["10.0.0.8"]), ("s", &["10.0.0.2", "10.0.0.3"])]);
        let kind = SetKind::Addresses(Family::V4);
        let key = |text: &str| vec![(Key::Address(text.parse().unwrap()), None)];
        let name = Name::from;
        assert_eq!(
            between(&old, &new).ops,
            [
                Op::AddSet(name("come"), kind, None),
                Op::AddChain(name("c"), None),
                Op::DeleteElements(name("s"), kind, key("10.0.0.1")),
                Op::FlushChain(name("a")),
                Op::AddElements(name("come"), kind, key("10.0.0.8")),
                Op::AddElements(name("s"), kind, key("10.0.0.3")),
                Op::AddRule(name("a"), goto("c").to_vec()),
                Op::DeleteSet(name("gone")),
                Op::DeleteChain(name("b")),
            ]
        );
        assert!(may_deny(&between(&old, &new)));
    }

    #[test]
    fn more_allowed_elements_deny_nothing() {
        let old = ruleset(&[("a", &[])], &[("s", &["10.0.0.1"])]);
        let new = ruleset(&[("a", &[]), ("b", &goto("a"))], &[("s", &["10.0.0.1", "10.0.0.2"]), ("t", &["10.0.0.3"])]);
        assert!(!may_deny(&between(&old, &new)));
        assert!(may_deny(&between(&new, &old)));
    }
}
