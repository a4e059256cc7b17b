//! What the kernel holds against what it should hold.

use crate::kernel::{ChainContents, Contents, SetContents, describe};
use crate::ruleset::canonical::Renaming;
use crate::ruleset::text::{KeyText, RuleText};
use crate::ruleset::{Key, Ruleset, Verdict};
use rustc_hash::FxHashMap;

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
                let (has, should) = (chain.rules.len(), wanted.rules.len());
                lines.push(if has == should {
                    format!("chain `{name}` has other rules, or another order of them")
                } else {
                    format!("chain `{name}` has {has} rules, should have {should}")
                });
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

/// The same contents with names that do not hang on history, see [`crate::ruleset::canonical`], and
/// what leads back to the names that they have.
pub fn canonical_contents(contents: &Contents) -> (Contents, Renaming) {
    let renaming = Renaming::of(&contents.sets.iter().map(|(name, set)| (name.clone(), &set.elements)).collect());
    let expression = |text: &String| {
        let words = text.split(' ').map(|word| renaming.name(word).map_or_else(|| word.to_owned(), |w| w.to_string()));
        words.collect::<Vec<_>>().join(" ")
    };
    let chains = contents.chains.iter().filter_map(|(name, chain)| {
        let rules = chain.rules.iter().map(|rule| rule.iter().filter(|e| does_something(e)).map(expression).collect());
        let rules = rules.collect();
        Some((renaming.name(name)?, ChainContents { hook: chain.hook.clone(), rules }))
    });
    let sets = contents.sets.iter().filter_map(|(name, set)| {
        let elements = renaming.elements(&set.elements);
        Some((renaming.name(name)?, SetContents { elements, ..set.clone() }))
    });
    let contents = Contents { chains: chains.collect(), sets: sets.collect(), unknown: contents.unknown.clone() };
    (contents, renaming)
}

/// The nft program turns the bytes of a protocol around before it looks for ranges of ports. That is
/// one byte, so nothing happens, and we leave it out.
fn does_something(expression: &str) -> bool {
    !(expression.starts_with("byteorder ") && expression.ends_with(", 1)"))
}

/// Differences of canonical contents as a person reads them: rules as nft writes them where they are
/// the wanted ones, and classes with the names that they have in the kernel.
pub fn readable(lines: &[String], wanted: &Ruleset, found: &Renaming) -> Vec<String> {
    let rules = wanted.chains.values().flat_map(|chain| &chain.rules);
    let texts = rules.filter_map(|rule| Some((describe(rule).ok()?.join(" "), RuleText(rule).to_string())));
    let texts: FxHashMap<String, String> = texts.collect();
    let line = |line: &String| {
        let split = line.split_at_checked(RULE.len()).filter(|(sign, _)| sign.starts_with("  "));
        let text = split.and_then(|(sign, rule)| Some(format!("{sign}{}", texts.get(rule)?)));
        found.undo(&text.unwrap_or_else(|| line.clone()))
    };
    lines.iter().map(line).collect()
}

/// How long the sign before a rule is in a line of [`differences`].
const RULE: &str = "  - ";

/// The generation that a table stamps connections with, as its first rule says.
pub fn generation(contents: &Contents, mark_mask: u32) -> Option<u32> {
    let words = contents.chains.get("forward")?.rules.first()?.iter().flat_map(|text| text.split(' '));
    let mut numbers = words.filter_map(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let stamp = numbers.rfind(|number| number & !mark_mask == 0 && *number != mark_mask && *number != 0)?;
    Some(stamp >> mark_mask.trailing_zeros())
}
