//! Rulesets that do the same, made equal: the numbers in names, and the order of rules that hangs on
//! them, depend on what was there before.

use super::text::RuleText;
use super::{Chain, Comment, Elements, Name, Ruleset, Set, Statement, Verdict};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// New names: what has a number is named after its content.
#[derive(Debug, Default)]
pub struct Renaming {
    names: BTreeMap<Name, Name>,
}

impl Renaming {
    /// For a table with these sets, and chains with these rules as text of any form in which names
    /// are words of their own.
    pub fn of(sets: &BTreeMap<Name, (&Elements, &Comment)>, chains: &BTreeMap<Name, Vec<String>>) -> Self {
        let mut renaming = Renaming { names: BTreeMap::new() };
        for (name, (elements, comment)) in sets {
            if let Some(place) = numbered(name) {
                let new = by_content(place, &(comment, elements.sorted()));
                renaming.names.insert(name.clone(), new);
            }
        }
        for (name, rules) in chains {
            if let Some(place) = numbered(name) {
                let mut rules: Vec<String> = rules.iter().map(|rule| renaming.words(rule)).collect();
                rules.sort_unstable();
                let new = by_content(place, &rules);
                renaming.names.insert(name.clone(), new);
            }
        }
        renaming
    }

    /// With these names in place of others.
    pub fn with(names: BTreeMap<Name, Name>) -> Self {
        Renaming { names }
    }

    /// The new name of a chain or set.
    pub fn name(&self, name: &str) -> Name {
        self.names.get(name).cloned().unwrap_or_else(|| name.into())
    }

    /// A text with the new names.
    pub fn words(&self, text: &str) -> String {
        let new = |word: &str| {
            let bare = word.trim_start_matches('@');
            self.names.get(bare).map_or_else(|| word.to_owned(), |name| word.replace(bare, name))
        };
        text.split(' ').map(new).collect::<Vec<_>>().join(" ")
    }

    /// Elements with the new names of chains.
    pub fn elements(&self, elements: &Elements) -> Elements {
        elements.iter().map(|(key, value)| (*key, value.as_ref().map(|verdict| self.verdict(verdict)))).collect()
    }

    fn verdict(&self, verdict: &Verdict) -> Verdict {
        match verdict {
            Verdict::Goto(chain) => Verdict::Goto(self.name(chain)),
            Verdict::Jump(chain) => Verdict::Jump(self.name(chain)),
            Verdict::Accept | Verdict::Drop | Verdict::Return => verdict.clone(),
        }
    }
}

/// The same ruleset with new names, and rules in one order where it does not matter.
pub fn canonical(ruleset: &Ruleset) -> Ruleset {
    let rules = |chain: &Chain| chain.rules.iter().map(|rule| RuleText(rule).to_string()).collect();
    let renaming = Renaming::of(
        &ruleset.sets.iter().map(|(name, set)| (name.clone(), (&set.elements, &set.comment))).collect(),
        &ruleset.chains.iter().map(|(name, chain)| (name.clone(), rules(chain))).collect(),
    );
    let statement = |statement: &Statement| match statement {
        Statement::InSet(fields, set) => Statement::InSet(fields.clone(), renaming.name(set)),
        Statement::Vmap(field, map) => Statement::Vmap(*field, renaming.name(map)),
        Statement::Verdict(verdict) => Statement::Verdict(renaming.verdict(verdict)),
        other => other.clone(),
    };
    let chains = ruleset.chains.iter().map(|(name, chain)| {
        let mut rules: Vec<_> = chain.rules.iter().map(|rule| rule.iter().map(statement).collect()).collect();
        if is_unordered(name) {
            rules.sort_by_key(|rule| RuleText(rule).to_string());
        }
        (renaming.name(name), Arc::new(Chain { hook: chain.hook, rules }))
    });
    let sets = ruleset.sets.iter().map(|(name, set)| {
        let elements = renaming.elements(&set.elements);
        (renaming.name(name), Arc::new(Set { elements, ..(**set).clone() }))
    });
    Ruleset { chains: chains.collect(), sets: sets.collect() }
}

/// Whether a chain's rules may stand in any order: those of a group all say the same.
pub fn is_unordered(chain: &str) -> bool {
    numbered(chain).is_some()
}

/// What of a numbered name comes before the number: `ingress4_peers7`.
pub fn numbered(name: &str) -> Option<&str> {
    let place = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let has_number = place.len() < name.len();
    (has_number
        && ["_peers", "_named", "_blocks", "_ports", "_names", "_seen", "_group"]
            .iter()
            .any(|kind| place.ends_with(kind)))
    .then_some(place)
}

fn by_content(place: &str, content: &impl Hash) -> Name {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{place}_{:016x}", hasher.finish()).into()
}
