//! Rulesets that do the same, made equal: which number a class has hangs on what was there before.

use super::{Chain, Elements, Name, Ruleset, Set, Statement, Verdict};
use rustc_hash::FxHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

/// What numbered names have in common: `ingress4_class7`, `ingress4_class7_ports`.
const NUMBERED: &str = "_class";
/// Maps of ranges have a name after their content, classes included: `ingress_blocks4_1f00ba12`.
const BY_CONTENT: &str = "_blocks";

/// New names: classes are named after their content, those that nothing leads to have none.
#[derive(Debug)]
pub struct Renaming {
    classes: BTreeMap<Name, Name>,
    /// Maps of ranges, where they are not just called without what stands for their content.
    blocks: BTreeMap<Name, Name>,
}

impl Renaming {
    /// For a table with these sets.
    pub fn of(sets: &BTreeMap<Name, &Elements>) -> Self {
        let mut classes = BTreeMap::new();
        for name in reached(sets) {
            let mut hasher = FxHasher::default();
            for (suffix, elements) in parts(sets, &name) {
                (suffix, elements.sorted()).hash(&mut hasher);
            }
            let place = name.split(NUMBERED).next().unwrap_or_default();
            classes.insert(name.clone(), format!("{place}{NUMBERED}_{:016x}", hasher.finish()).into());
        }
        Renaming { classes, blocks: BTreeMap::new() }
    }

    /// From the names in a ruleset to those of a table that is meant to be like it: classes are the
    /// same where most of the same addresses lead to them. What has no counterpart gets a number
    /// that is in neither, and what nothing leads to no name.
    pub fn towards(ruleset: &Ruleset, sets: &BTreeMap<Name, &Elements>) -> Self {
        let in_table = |name: &Name| match base_of_blocks(name) {
            Some(base) => sets.range::<str, _>((Bound::Included(base), Bound::Unbounded)).next(),
            None => sets.get_key_value(name),
        };
        let same = |name: &Name| in_table(name).filter(|(found, _)| base_of_blocks(found) == base_of_blocks(name));
        let (mut votes, mut blocks) = (BTreeMap::<(Name, Name), usize>::new(), BTreeMap::new());
        for (name, set) in &ruleset.sets {
            let Some((counterpart, elements)) = same(name) else { continue };
            if base_of_blocks(name).is_some() {
                blocks.insert(name.clone(), counterpart.clone());
            }
            for (key, verdict) in set.elements.iter() {
                let chain = |verdict: &Option<Verdict>| verdict.as_ref().and_then(target).cloned();
                if let (Some(ours), Some(theirs)) = (chain(verdict), elements.get(key).and_then(chain)) {
                    *votes.entry((ours, theirs)).or_default() += 1;
                }
            }
        }
        let mut votes: Vec<((Name, Name), usize)> = votes.into_iter().collect();
        votes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let (mut classes, mut taken) = (BTreeMap::new(), BTreeSet::new());
        for ((ours, theirs), _) in votes {
            let place = |name: &Name| name.split_once(NUMBERED).map(|(place, _)| place.to_owned());
            let both = place(&ours).is_some() && place(&ours) == place(&theirs);
            if both && !classes.contains_key(&ours) && taken.insert(theirs.clone()) {
                classes.insert(ours, theirs);
            }
        }
        // Those that nothing leads to any more are known by what they allow.
        let own: BTreeMap<Name, &Elements> =
            ruleset.sets.iter().map(|(name, set)| (name.clone(), &set.elements)).collect();
        let number = |name: &str| class_of(name)?.rsplit_once(NUMBERED)?.1.parse::<u32>().ok();
        let mut last = own.keys().chain(sets.keys()).filter_map(|name| number(name)).max().unwrap_or(0);
        for class in reached(&own) {
            if classes.contains_key(&class) {
                continue;
            }
            let place = class.split(NUMBERED).next().unwrap_or_default();
            let from = format!("{place}{NUMBERED}");
            let mut near = sets.range::<str, _>((Bound::Included(&*from), Bound::Unbounded));
            let near = near
                .by_ref()
                .map(|(name, _)| name)
                .take_while(|name| name.starts_with(&from))
                .filter_map(|name| class_of(name));
            let like =
                near.map(Name::from).find(|name| !taken.contains(name) && parts(sets, name) == parts(&own, &class));
            let name = like.unwrap_or_else(|| {
                last += 1;
                format!("{from}{last}").into()
            });
            taken.insert(name.clone());
            classes.insert(class, name);
        }
        Renaming { classes, blocks }
    }

    /// The new name of a chain or set; `None` when it is of a class that nothing leads to.
    pub fn name(&self, name: &str) -> Option<Name> {
        if let Some(class) = class_of(name) {
            return Some(format!("{}{}", self.classes.get(class)?, name.get(class.len()..).unwrap_or_default()).into());
        }
        Some(self.blocks.get(name).cloned().unwrap_or_else(|| base_of_blocks(name).unwrap_or(name).into()))
    }

    /// Elements with the new names of chains.
    pub fn elements(&self, elements: &Elements) -> Elements {
        elements.iter().map(|(key, value)| (*key, value.as_ref().map(|verdict| self.verdict(verdict)))).collect()
    }

    fn verdict(&self, verdict: &Verdict) -> Verdict {
        let renamed = |chain: &Name| self.name(chain).unwrap_or_else(|| chain.clone());
        match verdict {
            Verdict::Goto(chain) => Verdict::Goto(renamed(chain)),
            Verdict::Jump(chain) => Verdict::Jump(renamed(chain)),
            Verdict::Accept | Verdict::Drop | Verdict::Return => verdict.clone(),
        }
    }
}

/// The same ruleset with new names.
pub fn canonical(ruleset: &Ruleset) -> Ruleset {
    rename(ruleset, &Renaming::of(&ruleset.sets.iter().map(|(name, set)| (name.clone(), &set.elements)).collect()))
}

/// A ruleset with other names; without classes that have none.
pub fn rename(ruleset: &Ruleset, renaming: &Renaming) -> Ruleset {
    let renamed = |name: &Name| renaming.name(name).unwrap_or_else(|| name.clone());
    let statement = |statement: &Statement| match statement {
        Statement::InSet(fields, set) => Statement::InSet(fields.clone(), renamed(set)),
        Statement::Vmap(field, map) => Statement::Vmap(*field, renamed(map)),
        Statement::Verdict(verdict) => Statement::Verdict(renaming.verdict(verdict)),
        other => other.clone(),
    };
    let chains = ruleset.chains.iter().filter_map(|(name, chain)| {
        let rules = chain.rules.iter().map(|rule| rule.iter().map(statement).collect()).collect();
        Some((renaming.name(name)?, Arc::new(Chain { hook: chain.hook, rules })))
    });
    let sets = ruleset.sets.iter().filter_map(|(name, set)| {
        let elements = renaming.elements(&set.elements);
        Some((renaming.name(name)?, Arc::new(Set { kind: set.kind, elements })))
    });
    Ruleset { chains: chains.collect(), sets: sets.collect() }
}

fn target(verdict: &Verdict) -> Option<&Name> {
    match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
        Verdict::Accept | Verdict::Drop | Verdict::Return => None,
    }
}

/// The classes that something leads to.
pub fn reached(sets: &BTreeMap<Name, &Elements>) -> BTreeSet<Name> {
    let verdicts = sets.values().flat_map(|elements| elements.iter()).filter_map(|(_, value)| value.as_ref());
    let mut reached = BTreeSet::new();
    for name in verdicts.filter_map(target).filter(|name| name.contains(NUMBERED)) {
        if !reached.contains(name) {
            reached.insert(name.clone());
        }
    }
    reached
}

/// The sets of a class: how their names end, and their elements.
fn parts<'s>(sets: &'s BTreeMap<Name, &Elements>, class: &str) -> Vec<(&'s str, &'s Elements)> {
    let near = sets.range::<str, _>((Bound::Included(class), Bound::Unbounded));
    let near = near.take_while(|(set, _)| set.starts_with(class)).filter(|(set, _)| class_of(set) == Some(class));
    near.map(|(set, elements)| (set.get(class.len()..).unwrap_or_default(), *elements)).collect()
}

/// What the name of a map of ranges begins with: all but what stands for its content.
fn base_of_blocks(name: &str) -> Option<&str> {
    name.find(BY_CONTENT).and_then(|at| name.get(..at + BY_CONTENT.len() + 1))
}

/// The class chain that a name is of: itself, or the one whose set it is.
pub fn class_of(name: &str) -> Option<&str> {
    let (before, after) = name.split_once(NUMBERED)?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    name.get(..before.len() + NUMBERED.len() + digits)
}
