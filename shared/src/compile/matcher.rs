//! Which selectors match which label sets: asked once for each distinct pair, through an inverted
//! index of label pairs, and kept.

use super::interner::Interner;
use crate::selector::{Condition, Labels, Selector};
use rustc_hash::FxHashMap;

/// The number of a distinct selector.
pub type SelectorId = u32;
/// The number of a distinct label set.
pub type LabelsId = u32;

/// Distinct selectors and label sets and who matches whom.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    selectors: Interner<Selector>,
    label_sets: Interner<Labels>,
    /// For each label set the selectors that match it, sorted.
    matched: Vec<Vec<SelectorId>>,
    /// Selectors by a label pair that all they match must have.
    by_pair: FxHashMap<(Box<str>, Box<str>), Vec<SelectorId>>,
    /// Selectors that need no particular pair.
    by_none: Vec<SelectorId>,
}

impl Matcher {
    /// The number of a selector; a new one is tried on all label sets.
    pub fn selector(&mut self, selector: &Selector) -> SelectorId {
        let (id, new) = self.selectors.intern(selector);
        if new {
            self.file(id, selector);
            for (labels, matched) in self.label_sets.items().iter().zip(&mut self.matched) {
                if selector.matches(labels) {
                    // Numbers only grow, so the list stays sorted.
                    matched.push(id);
                }
            }
        }
        id
    }

    /// The number of a label set; a new one is tried on the selectors that its pairs lead to.
    pub fn labels(&mut self, labels: &Labels) -> LabelsId {
        let (id, new) = self.label_sets.intern(labels);
        if new {
            let pairs = labels.iter().map(|(key, value)| (Box::from(key), Box::from(value)));
            let led_to = pairs.filter_map(|pair| self.by_pair.get(&pair)).flatten();
            let candidates = led_to.chain(&self.by_none).copied();
            let mut matched: Vec<SelectorId> = candidates
                .filter(|id| self.selectors.get(*id).is_some_and(|selector| selector.matches(labels)))
                .collect();
            matched.sort_unstable();
            matched.dedup();
            self.matched.push(matched);
        }
        id
    }

    /// How many distinct selectors and label sets there were so far.
    pub fn numbers(&self) -> usize {
        self.selectors.items().len() + self.label_sets.items().len()
    }

    /// The selectors that match a label set, sorted.
    pub fn matching(&self, labels: LabelsId) -> &[SelectorId] {
        self.matched.get(labels as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether a selector matches a label set.
    pub fn matches(&self, labels: LabelsId, selector: SelectorId) -> bool {
        self.matching(labels).binary_search(&selector).is_ok()
    }

    fn file(&mut self, id: SelectorId, selector: &Selector) {
        let required = selector.requirements().iter().find_map(|r| match &r.condition {
            Condition::In(values) => Some((&r.key, values)),
            _ => None,
        });
        match required {
            Some((key, values)) => {
                for value in values {
                    self.by_pair.entry((key.clone(), value.clone())).or_default().push(id);
                }
            }
            None => self.by_none.push(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_of_coming_give_the_same() {
        let selectors = ["", "a=1", "a in (1,2),b", "a!=1", "!b", "b=x,a=1"].map(|s| Selector::parse(s).unwrap());
        let sets = ["a=1", "a=2,b=x", "b=x", "", "a=1,b=x"]
            .map(|text| -> Labels { text.split(',').filter_map(|pair| pair.split_once('=')).collect() });
        let (mut first, mut second) = (Matcher::default(), Matcher::default());
        selectors.iter().for_each(|s| _ = first.selector(s));
        sets.iter().for_each(|l| _ = first.labels(l));
        sets.iter().for_each(|l| _ = second.labels(l));
        selectors.iter().for_each(|s| _ = second.selector(s));
        for (l, labels) in (0..).zip(&sets) {
            for (s, selector) in (0..).zip(&selectors) {
                assert_eq!(first.matches(l, s), selector.matches(labels), "{selector} on {labels}");
                assert_eq!(second.matches(l, s), selector.matches(labels), "{selector} on {labels}");
            }
        }
    }
}
