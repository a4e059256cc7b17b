//! Rulesets that do the same, made equal: which number a class has, and which generation
//! connections are stamped with, hang on what was there before.

use super::{Chain, Elements, Name, Ruleset, Set, Statement, Verdict};
use rustc_hash::FxHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What numbered names have in common: `ingress4_class7`, `ingress4_class7_ports`.
const NUMBERED: &str = "_class";
/// Maps of ranges have a name after their content, classes included: `ingress_blocks4_1f00ba12`.
const BY_CONTENT: &str = "_blocks";

/// The same ruleset with classes named after their content, classes that nothing leads to left out,
/// and without the stamp.
pub fn canonical(ruleset: &Ruleset) -> Ruleset {
    let used: BTreeSet<&Name> = ruleset
        .sets
        .values()
        .flat_map(|set| set.elements.iter())
        .filter_map(|(_, value)| target(value.as_ref()?))
        .collect();
    let mut names: BTreeMap<&str, Name> = BTreeMap::new();
    for name in used.iter().filter(|name| name.contains(NUMBERED)) {
        let mut hasher = FxHasher::default();
        for (set, content) in
            ruleset.sets.range::<str, _>((std::ops::Bound::Included(&***name), std::ops::Bound::Unbounded))
        {
            if class_of(set) == Some(name) {
                let suffix = set.get(name.len()..).unwrap_or_default();
                (suffix, content.elements.sorted()).hash(&mut hasher);
            } else if !set.starts_with(&***name) {
                break;
            }
        }
        let place = name.split(NUMBERED).next().unwrap_or_default();
        names.insert(name, format!("{place}{NUMBERED}_{:016x}", hasher.finish()).into());
    }
    let renamed = |name: &Name| -> Option<Name> {
        let Some(class) = class_of(name) else {
            let blocks = name.find(BY_CONTENT).and_then(|at| name.get(..at + BY_CONTENT.len() + 1));
            return Some(blocks.map_or_else(|| name.clone(), Name::from));
        };
        let suffix = name.get(class.len()..).unwrap_or_default();
        Some(format!("{}{suffix}", names.get(class)?).into())
    };
    let verdict = |verdict: &Verdict| match verdict {
        Verdict::Goto(chain) => Verdict::Goto(renamed(chain).unwrap_or_else(|| chain.clone())),
        Verdict::Jump(chain) => Verdict::Jump(renamed(chain).unwrap_or_else(|| chain.clone())),
        other => other.clone(),
    };
    let statement = |statement: &Statement| match statement {
        Statement::InSet(fields, set) => Statement::InSet(fields.clone(), renamed(set).unwrap_or_else(|| set.clone())),
        Statement::Verdict(v) => Statement::Verdict(verdict(v)),
        Statement::CtMark { mask, .. } => Statement::CtMark { mask: *mask, value: 0 },
        Statement::SetCtMark { mask, .. } => Statement::SetCtMark { mask: *mask, value: 0 },
        Statement::Vmap(field, map) => Statement::Vmap(*field, renamed(map).unwrap_or_else(|| map.clone())),
        other => other.clone(),
    };
    let chains = ruleset.chains.iter().filter_map(|(name, chain)| {
        let rules = chain.rules.iter().map(|rule| rule.iter().map(statement).collect()).collect();
        Some((renamed(name)?, Arc::new(Chain { hook: chain.hook, rules })))
    });
    let sets = ruleset.sets.iter().filter_map(|(name, set)| {
        let elements: Elements = set.elements.iter().map(|(k, v)| (*k, v.as_ref().map(verdict))).collect();
        Some((renamed(name)?, Arc::new(Set { kind: set.kind, elements })))
    });
    Ruleset { chains: chains.collect(), sets: sets.collect() }
}

fn target(verdict: &Verdict) -> Option<&Name> {
    match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
        _ => None,
    }
}

/// The class chain that a name is of: itself, or the one whose set it is.
fn class_of(name: &str) -> Option<&str> {
    let (before, after) = name.split_once(NUMBERED)?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    name.get(..before.len() + NUMBERED.len() + digits)
}
