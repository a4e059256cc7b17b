//! Label sets and label selectors (B2, B3).

use rustc_hash::FxHashSet;
use std::fmt;
use std::sync::Arc;

/// The labels of one object: sorted by key, keys unique.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value.as_ref())
    }

    /// Key and value, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with one label set.
    pub fn with(&self, key: &str, value: &str) -> Labels {
        self.iter().filter(|(k, _)| *k != key).chain([(key, value)]).collect()
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(Box<str>, Box<str>)> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        Labels(pairs.into())
    }
}

/// Sets of labels, each once: the pods of a workload have the same ones, and in a large cluster labels are much of
/// what is known of a pod.
#[derive(Debug, Clone, Default)]
pub struct LabelSets {
    sets: FxHashSet<Labels>,
    /// From how many on it is looked for those that nobody has any more.
    crowded: usize,
}

impl LabelSets {
    /// The same labels, in the place where others have them already.
    pub fn shared(&mut self, labels: Labels) -> Labels {
        if let Some(same) = self.sets.get(&labels) {
            return same.clone();
        }
        if self.sets.len() >= self.crowded {
            self.sets.retain(|set| Arc::strong_count(&set.0) > 1);
            self.crowded = 2 * self.sets.len() + 64;
        }
        self.sets.insert(labels.clone());
        labels
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}={value}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// One condition on one label key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label key.
    pub key: Box<str>,
    /// The condition on its value.
    pub condition: Condition,
}

/// What a requirement asks of a key's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// The key is there with one of these values (sorted; a `matchLabels` entry has just one).
    In(Box<[Box<str>]>),
    /// The key is missing or has none of these values.
    NotIn(Box<[Box<str>]>),
    /// The key is there.
    Exists,
    /// The key is missing.
    DoesNotExist,
}

impl Requirement {
    /// `key = value`, as in `matchLabels`.
    pub fn equals(key: &str, value: &str) -> Self {
        Requirement { key: key.into(), condition: Condition::In([value.into()].into()) }
    }

    /// Whether a label set fulfils it.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let among = |values: &[Box<str>]| value.is_some_and(|value| values.iter().any(|v| v.as_ref() == value));
        match &self.condition {
            Condition::In(values) => among(values),
            Condition::NotIn(values) => !among(values),
            Condition::Exists => value.is_some(),
            Condition::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Requirement {
    /// As `kubectl -l` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.condition {
            Condition::In(values) => match values.as_ref() {
                [one] => write!(f, "{key}={one}"),
                many => write!(f, "{key} in ({})", many.join(",")),
            },
            Condition::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Condition::Exists => write!(f, "{key}"),
            Condition::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// A label selector in canonical form: all requirements must hold; none selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Selector(Box<[Requirement]>);

impl Selector {
    /// The requirements, sorted.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether it selects everything of its kind (`{}`).
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it selects an object with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// Reads the syntax of `kubectl -l`: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// A message that names the part that could not be read.
    pub fn parse(text: &str) -> Result<Selector, String> {
        split_terms(text).into_iter().map(str::trim).filter(|term| !term.is_empty()).map(parse_term).collect()
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut sorted: Vec<Requirement> = requirements
            .into_iter()
            .map(|mut requirement| {
                if let Condition::In(values) | Condition::NotIn(values) = &mut requirement.condition {
                    let mut unique = values.to_vec();
                    unique.sort();
                    unique.dedup();
                    *values = unique.into();
                }
                requirement
            })
            .collect();
        sorted.sort();
        sorted.dedup();
        Selector(sorted.into())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("{}");
        }
        for (i, requirement) in self.0.iter().enumerate() {
            write!(f, "{}{requirement}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Splits at commas that are not inside parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn parse_term(term: &str) -> Result<Requirement, String> {
    let bad = || {
        format!(
            "`{term}` is not a selector term: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
        )
    };
    let made_of = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let requirement = |key: &str, condition: Condition| {
        let key = key.trim();
        let values_valid = match &condition {
            Condition::In(values) | Condition::NotIn(values) => values.iter().all(|v| made_of(v, "-_.")),
            Condition::Exists | Condition::DoesNotExist => true,
        };
        let valid = !key.is_empty() && made_of(key, "-_./") && values_valid;
        if valid { Ok(Requirement { key: key.into(), condition }) } else { Err(bad()) }
    };
    let one = |value: &str| [Box::<str>::from(value.trim())].into();
    if let Some(open) = term.find('(') {
        let inner = term.get(open + 1..).and_then(|rest| rest.strip_suffix(')')).ok_or_else(bad)?;
        let values: Box<[Box<str>]> = inner.split(',').map(|v| v.trim().into()).collect();
        let head = term.get(..open).unwrap_or_default().trim_end();
        return if let Some(key) = head.strip_suffix(" notin") {
            requirement(key, Condition::NotIn(values))
        } else if let Some(key) = head.strip_suffix(" in") {
            requirement(key, Condition::In(values))
        } else {
            Err(bad())
        };
    }
    if let Some((key, value)) = term.split_once("!=") {
        requirement(key, Condition::NotIn(one(value)))
    } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        requirement(key, Condition::In(one(value)))
    } else if let Some(key) = term.strip_prefix('!') {
        requirement(key, Condition::DoesNotExist)
    } else {
        requirement(term, Condition::Exists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(',').filter_map(|pair| pair.split_once('=')).collect()
    }

    #[test]
    fn equal_sets_are_kept_once_and_those_that_nobody_has_are_forgotten() {
        let mut sets = LabelSets::default();
        let first = sets.shared(labels("app=web,tier=front"));
        let second = sets.shared(labels("tier=front,app=web"));
        assert!(Arc::ptr_eq(&first.0, &second.0));
        for i in 0..10_000 {
            sets.shared(labels(&format!("pod-template-hash={i}")));
        }
        assert!(sets.sets.len() < 200, "{}", sets.sets.len());
        assert!(Arc::ptr_eq(&first.0, &sets.shared(labels("app=web,tier=front")).0));
    }

    #[test]
    fn not_in_and_does_not_exist_match_a_missing_key() {
        for text in ["app!=web", "app notin (web,db)", "!app"] {
            let selector = Selector::parse(text).unwrap();
            assert!(selector.matches(&labels("tier=front")), "{text}");
            assert!(!selector.matches(&labels("app=web")), "{text}");
        }
    }

    #[test]
    fn kubectl_syntax_round_trips() {
        for text in ["app=web", "app in (db,web)", "app notin (web)", "app", "!app", "a=1,b in (x,y),!c"] {
            assert_eq!(Selector::parse(&Selector::parse(text).unwrap().to_string()), Selector::parse(text));
        }
        assert!(Selector::parse("app in web)").is_err());
        assert!(Selector::parse("=x").is_err());
        assert!(Selector::parse("app in (app in (web)").is_err());
    }

    #[test]
    fn equal_selectors_have_one_canonical_form() {
        assert_eq!(Selector::parse("a in (x,y,x),b=1"), Selector::parse("b=1,a in (y,x)"));
    }
}
