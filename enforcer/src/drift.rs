//! What the kernel holds against what it should hold.

use crate::kernel::{ChainContents, Contents, SetContents};
use crate::ruleset::canonical::Renaming;
use crate::ruleset::text::KeyText;
use crate::ruleset::{Key, Verdict};

/// What a table lacks of, and has beyond, what it should have; one line each.
pub fn differences(expected: &Contents, found: &Contents) -> Vec<String> {
    let mut lines = Vec::new();
    for name in expected.chains.keys().filter(|name| !found.chains.contains_key(*name)) {
        lines.push(format!("chain `{name}` is missing"));
    }
    for (name, chain) in &found.chains {
        match expected.chains.get(name) {
            None => lines.push(format!("chain `{name}` is not ours")),
            Some(wanted) if wanted == chain => {}
            Some(wanted) if wanted.hook != chain.hook => lines.push(format!("chain `{name}` is hooked elsewhere")),
            Some(wanted) => {
                lines.push(format!(
                    "chain `{name}` has {} rules, should have {}",
                    chain.rules.len(),
                    wanted.rules.len()
                ));
                let missing = wanted.rules.iter().filter(|rule| !chain.rules.contains(rule));
                lines.extend(missing.map(|rule| format!("  - {}", rule.join(" "))));
                let more = chain.rules.iter().filter(|rule| !wanted.rules.contains(rule));
                lines.extend(more.map(|rule| format!("  + {}", rule.join(" "))));
            }
        }
    }
    for name in expected.sets.keys().filter(|name| !found.sets.contains_key(*name)) {
        lines.push(format!("set `{name}` is missing"));
    }
    for (name, set) in &found.sets {
        let Some(wanted) = expected.sets.get(name) else {
            lines.push(format!("set `{name}` is not ours"));
            continue;
        };
        if wanted.kind != set.kind {
            lines.push(format!("set `{name}` is of another type"));
            continue;
        }
        let (missing, more) = wanted.elements.changes_to(&set.elements);
        let element = |sign: char, (key, value): &(Key, Option<Verdict>)| {
            let verdict = value.as_ref().map(|verdict| format!(" : {verdict}")).unwrap_or_default();
            format!("set `{name}` {sign} {}{verdict}", KeyText(key))
        };
        lines.extend(missing.iter().map(|e| element('-', e)));
        lines.extend(more.iter().map(|e| element('+', e)));
        lines.extend(set.unknown.iter().map(|text| format!("set `{name}` + {text}")));
    }
    lines.extend(found.unknown.iter().map(|text| format!("{text} is not ours")));
    lines
}

/// The same contents with names that do not hang on history, see [`crate::ruleset::canonical`].
pub fn canonical_contents(contents: &Contents) -> Contents {
    let rules = |chain: &ChainContents| chain.rules.iter().map(|rule| rule.join(" ")).collect();
    let renaming = Renaming::of(
        &contents.sets.iter().map(|(name, set)| (name.clone(), &set.elements)).collect(),
        &contents.chains.iter().map(|(name, chain)| (name.clone(), rules(chain))).collect(),
    );
    let chains = contents.chains.iter().map(|(name, chain)| {
        let renamed = |rule: &Vec<String>| rule.iter().map(|expression| renaming.words(expression)).collect();
        let mut rules: Vec<Vec<String>> = chain.rules.iter().map(renamed).collect();
        if renaming.is_unordered(name) {
            rules.sort_unstable();
        }
        (renaming.name(name), ChainContents { hook: chain.hook.clone(), rules })
    });
    let sets = contents.sets.iter().map(|(name, set)| {
        let elements = renaming.elements(&set.elements);
        (renaming.name(name), SetContents { elements, ..set.clone() })
    });
    Contents { chains: chains.collect(), sets: sets.collect(), unknown: contents.unknown.clone() }
}

/// The generation that a table stamps connections with, as its first rule says.
pub fn generation(contents: &Contents, mark_mask: u32) -> Option<u32> {
    let words = contents.chains.get("forward")?.rules.first()?.iter().flat_map(|text| text.split(' '));
    let mut numbers = words.filter_map(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let stamp = numbers.rfind(|number| number & !mark_mask == 0 && *number != mark_mask && *number != 0)?;
    Some(stamp >> mark_mask.trailing_zeros())
}
