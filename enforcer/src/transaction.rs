//! From one ruleset to another: the exact, minimal list of changes, in an order that the kernel
//! takes. Adding what is there or deleting what is not fails a whole batch, so nothing is left to
//! chance.

use crate::ruleset::{Hook, Key, Name, Rule, SetKind, Verdict};

/// One change of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates the table.
    AddTable,
    /// Deletes the table and all that is in it.
    DeleteTable,
    /// Creates an empty set.
    AddSet(Name, SetKind),
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
    AddElements(Name, SetKind, Vec<(Key, Option<Verdict>)>),
    /// Takes elements out of a set.
    DeleteElements(Name, SetKind, Vec<(Key, Option<Verdict>)>),
}

/// Changes that happen all at once or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The changes, in order.
    pub ops: Vec<Op>,
}
