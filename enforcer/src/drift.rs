//! What the kernel holds against what it should hold.

use crate::kernel::{ChainContents, Contents, SetContents, describe};
use crate::ruleset::canonical::{Renaming, is_unordered, numbered};
use crate::ruleset::text::{KeyText, RuleText};
use crate::ruleset::{Comment, Key, Name, Ruleset, Verdict};
use std::collections::{BTreeMap, BTreeSet};

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
        if wanted.comment != set.comment {
            let text = |comment: &Comment| comment.as_ref().map_or("nothing".to_owned(), |text| format!("`{text}`"));
            lines.push(format!("set `{name}` is for {}, should be for {}", text(&set.comment), text(&wanted.comment)));
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
    let rules = |chain: &ChainContents| chain.rules.iter().map(|rule| rule.join(" ")).collect();
    let renaming = Renaming::of(
        &contents.sets.iter().map(|(name, set)| (name.clone(), (&set.elements, &set.comment))).collect(),
        &contents.chains.iter().map(|(name, chain)| (name.clone(), rules(chain))).collect(),
    );
    renamed(&contents, &renaming)
}

/// Contents with other names, and the rules of groups in one order.
fn renamed(contents: &Contents, renaming: &Renaming) -> Contents {
    let chains = contents.chains.iter().map(|(name, chain)| {
        let with_names = |rule: &Vec<String>| rule.iter().map(|expression| renaming.words(expression)).collect();
        let mut rules: Vec<Vec<String>> = chain.rules.iter().map(with_names).collect();
        if is_unordered(name) {
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

/// Where nft has loaded the text of a ruleset, it swaps the bytes of nothing between a protocol and
/// a port.
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
    let found = renamed(&without_nothing(found), &Renaming::default());
    let expected = Contents::expected(wanted)?;
    let towards = Renaming::with(counterparts(&expected, &found));
    let rules = wanted.chains.values().flat_map(|chain| &chain.rules);
    let texts: BTreeMap<String, String> = rules
        .filter_map(|rule| Some((describe(rule).ok()?.join(" "), RuleText(rule).to_string())))
        .map(|(expressions, text)| (towards.words(&expressions), towards.words(&text)))
        .collect();
    let line = |line: String| {
        let rule = line.split_at_checked(SIGN.len()).filter(|(sign, _)| sign.starts_with("  "));
        rule.and_then(|(sign, rule)| Some(format!("{sign}{}", texts.get(rule)?))).unwrap_or(line)
    };
    Ok(differences(&renamed(&expected, &towards), &found).into_iter().map(line).collect())
}

/// What is before a rule in a line of [`differences`].
const SIGN: &str = "  - ";

/// Which numbered names of a table stand for which of another: sets that hold the same, or else most
/// of the same; groups that the same pods are in.
fn counterparts(wanted: &Contents, found: &Contents) -> BTreeMap<Name, Name> {
    let mut names: BTreeMap<Name, Name> = BTreeMap::new();
    let mut taken: BTreeSet<Name> = BTreeSet::new();
    let common = |a: &SetContents, b: &SetContents| {
        let shared = a.elements.iter().filter(|(key, value)| b.elements.get(key) == Some(value)).count();
        if a.comment == b.comment && a.elements == b.elements { usize::MAX } else { shared }
    };
    // What is the same on both sides first: it is nobody else's counterpart.
    for least in [usize::MAX, 1] {
        for (name, set) in wanted.sets.iter().filter(|(name, _)| numbered(name).is_some()) {
            if names.contains_key(name) {
                continue;
            }
            let alike = found.sets.iter().filter(|(other, contents)| {
                numbered(other) == numbered(name) && contents.kind == set.kind && !taken.contains(*other)
            });
            let best = alike.map(|(other, contents)| (common(set, contents), other)).max_by_key(|(count, _)| *count);
            if let Some((_, other)) = best.filter(|(count, _)| *count >= least) {
                taken.insert(other.clone());
                names.insert(name.clone(), other.clone());
            }
        }
    }
    // With nothing in common, it is what is called the same, if that is nobody's.
    for (name, set) in wanted.sets.iter().filter(|(name, _)| numbered(name).is_some()) {
        let same = found.sets.get_key_value(name).filter(|(_, contents)| contents.kind == set.kind);
        if let Some((other, _)) = same
            && !names.contains_key(name)
            && taken.insert(other.clone())
        {
            names.insert(name.clone(), other.clone());
        }
    }
    for (name, set) in &wanted.sets {
        let Some(other) = found.sets.get(name) else { continue };
        for (key, value) in set.elements.iter() {
            let group = |value: Option<&Option<Verdict>>| match value {
                Some(Some(Verdict::Goto(chain))) if numbered(chain).is_some() => Some(chain.clone()),
                _ => None,
            };
            if let (Some(ours), Some(theirs)) = (group(Some(value)), group(other.elements.get(key)))
                && !names.contains_key(&ours)
                && taken.insert(theirs.clone())
            {
                names.insert(ours, theirs);
            }
        }
    }
    // A group that no pod told apart is what is called the same; anything else without a counterpart
    // must not seem to be something that is there.
    let all = || wanted.sets.keys().chain(wanted.chains.keys());
    for name in all().filter(|name| numbered(name).is_some()) {
        let there = found.sets.contains_key(name) || found.chains.contains_key(name);
        if !there || names.contains_key(name) {
            continue;
        }
        let nobodys = found.chains.contains_key(name) && taken.insert(name.clone());
        let new = if nobodys { name.clone() } else { format!("{name}(wanted)").into() };
        names.insert(name.clone(), new);
    }
    names
}

/// The generation that a table stamps connections with, as its first rule says.
pub fn generation(contents: &Contents, mark_mask: u32) -> Option<u32> {
    let words = contents.chains.get("forward")?.rules.first()?.iter().flat_map(|text| text.split(' '));
    let mut numbers = words.filter_map(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    // The mask comes first, and the stamp of the last generation is the same number.
    let stamp = numbers.rfind(|number| number & !mark_mask == 0 && *number != 0)?;
    Some(stamp >> mark_mask.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generation_is_read_out_of_the_first_rule() {
        let (mask, generations) = (0xf000_0000, 1..=15);
        for generation in generations {
            let stamp: u32 = generation << 28;
            let options = crate::render::Options { mark_mask: mask, ..crate::render::Options::default() };
            let compiled = netsim_shared::compile::Compiled::new(&Default::default(), &Default::default());
            let ruleset = crate::render::render(&compiled, &options, &[], generation);
            let contents = Contents::expected(&ruleset).unwrap();
            assert_eq!(super::generation(&contents, mask), Some(generation), "{stamp:#x}");
        }
    }
}
