//! What the kernel holds against what it should hold.

use crate::kernel::{ChainContents, Contents, SetContents, describe};
use crate::ruleset::canonical::{Renaming, class_of, reached, rename};
use crate::ruleset::text::{KeyText, RuleText};
use crate::ruleset::{Elements, Key, Name, Ruleset, Verdict};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

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

/// The same contents with names that do not hang on history, see [`crate::ruleset::canonical`].
pub fn canonical_contents(contents: &Contents) -> Contents {
    let contents = without_nothing(contents);
    let renaming = Renaming::of(&elements_of(&contents));
    let expression = |text: &String| {
        let words = text.split(' ').map(|word| renaming.name(word).map_or_else(|| word.to_owned(), |w| w.to_string()));
        words.collect::<Vec<_>>().join(" ")
    };
    let chains = contents.chains.iter().filter_map(|(name, chain)| {
        let rules = chain.rules.iter().map(|rule| rule.iter().map(expression).collect()).collect();
        Some((renaming.name(name)?, ChainContents { hook: chain.hook.clone(), rules }))
    });
    let sets = contents.sets.iter().filter_map(|(name, set)| {
        let elements = renaming.elements(&set.elements);
        Some((renaming.name(name)?, SetContents { elements, ..set.clone() }))
    });
    Contents { chains: chains.collect(), sets: sets.collect(), unknown: contents.unknown.clone() }
}

fn elements_of(contents: &Contents) -> BTreeMap<Name, &Elements> {
    contents.sets.iter().map(|(name, set)| (name.clone(), &set.elements)).collect()
}

/// Without what does nothing: the nft program turns the bytes of a protocol around before it looks
/// for ranges of ports. That is one byte, so nothing happens, and we leave it out.
fn without_nothing(contents: &Contents) -> Contents {
    let nothing = |expression: &String| expression.starts_with("byteorder ") && expression.ends_with(", 1)");
    let mut contents = contents.clone();
    let rules = contents.chains.values_mut().flat_map(|chain| &mut chain.rules);
    rules.for_each(|rule| rule.retain(|expression| !nothing(expression)));
    contents
}

/// The differences of a ruleset and a table that is not like it, as a person reads them: with the
/// names that things have in the kernel, and wanted rules as nft writes them.
///
/// # Errors
/// What nftables cannot express.
pub fn readable(wanted: &Ruleset, found: &Contents) -> Result<Vec<String>, String> {
    let mut found = without_nothing(found);
    let wanted = rename(wanted, &Renaming::towards(wanted, &elements_of(&found)));
    // Classes that nothing leads to do nothing.
    let reached = reached(&elements_of(&found));
    let idle = |name: &Name, known: bool| !known && class_of(name).is_some_and(|class| !reached.contains(class));
    found.chains.retain(|name, _| !idle(name, wanted.chains.contains_key(name)));
    found.sets.retain(|name, _| !idle(name, wanted.sets.contains_key(name)));
    let lines = differences(&Contents::expected(&wanted)?, &found);
    let rules = wanted.chains.values().flat_map(|chain| &chain.rules);
    let texts = rules.filter_map(|rule| Some((describe(rule).ok()?.join(" "), RuleText(rule).to_string())));
    let texts: FxHashMap<String, String> = texts.collect();
    let line = |line: String| {
        let rule = line.split_at_checked(SIGN.len()).filter(|(sign, _)| sign.starts_with("  "));
        rule.and_then(|(sign, rule)| Some(format!("{sign}{}", texts.get(rule)?))).unwrap_or(line)
    };
    Ok(lines.into_iter().map(line).collect())
}

/// What is before a rule in a line of [`differences`].
const SIGN: &str = "  - ";

/// The generation that a table stamps connections with, as its first rule says.
pub fn generation(contents: &Contents, mark_mask: u32) -> Option<u32> {
    let words = contents.chains.get("forward")?.rules.first()?.iter().flat_map(|text| text.split(' '));
    let mut numbers = words.filter_map(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let stamp = numbers.rfind(|number| number & !mark_mask == 0 && *number != mark_mask && *number != 0)?;
    Some(stamp >> mark_mask.trailing_zeros())
}
