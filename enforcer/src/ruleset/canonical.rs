//! Rulesets that do the same, made equal: which number a class has hangs on what was there before.

use super::{Chain, Elements, Name, Ruleset, Set, Statement, Verdict};
use rustc_hash::FxHasher;
use std::collections::BTreeMap;
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
}

impl Renaming {
    /// For a table with these sets.
    pub fn of(sets: &BTreeMap<Name, &Elements>) -> Self {
        let verdicts = sets.values().flat_map(|elements| elements.iter()).filter_map(|(_, value)| value.as_ref());
        let mut classes = BTreeMap::new();
        for name in verdicts.filter_map(target).filter(|name| name.contains(NUMBERED)) {
            if classes.contains_key(name) {
                continue;
            }
            let mut hasher = FxHasher::default();
            let from_here = (Bound::Included(&**name), Bound::Unbounded);
            let near = sets.range::<str, _>(from_here).take_while(|(set, _)| set.starts_with(&**name));
            for (set, elements) in near.filter(|(set, _)| class_of(set) == Some(name)) {
                (set.get(name.len()..), elements.sorted()).hash(&mut hasher);
            }
            let place = name.split(NUMBERED).next().unwrap_or_default();
            classes.insert(name.clone(), format!("{place}{NUMBERED}_{:016x}", hasher.finish()).into());
        }
        Renaming { classes }
    }

    /// The new name of a chain or set; `None` when it is of a class that nothing leads to.
    pub fn name(&self, name: &str) -> Option<Name> {
        if let Some(class) = class_of(name) {
            return Some(format!("{}{}", self.classes.get(class)?, name.get(class.len()..).unwrap_or_default()).into());
        }
        let blocks = name.find(BY_CONTENT).and_then(|at| name.get(..at + BY_CONTENT.len() + 1));
        Some(blocks.unwrap_or(name).into())
    }

    /// A text with the new names of classes, with their old ones again.
    pub fn undo(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let old = self.classes.iter().find(|(_, new)| word.contains(NUMBERED) && word.starts_with(&***new));
            match old {
                Some((old, new)) => out.extend([&**old, word.get(new.len()..).unwrap_or_default()]),
                None => out.push_str(word),
            }
        }
        out
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
    let renaming = Renaming::of(&ruleset.sets.iter().map(|(name, set)| (name.clone(), &set.elements)).collect());
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

/// The class chain that a name is of: itself, or the one whose set it is.
fn class_of(name: &str) -> Option<&str> {
    let (before, after) = name.split_once(NUMBERED)?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    name.get(..before.len() + NUMBERED.len() + digits)
}
