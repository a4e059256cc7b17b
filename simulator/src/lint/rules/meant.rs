//! Which labels a selector that finds nothing was meant for.

use netsim_shared::diagnostic::nearest;
use netsim_shared::selector::{Condition, Labels, Selector};
use std::collections::BTreeSet;

/// The label that is nearest to the one that a selector asks for and that none of these have:
/// another value of its key, or another key with its value.
pub fn meant_label<'l>(selector: &Selector, candidates: impl Iterator<Item = &'l Labels>) -> Option<String> {
    let all: Vec<&Labels> = candidates.collect();
    let candidates = all.iter().copied();
    let asked = selector.requirements().iter().filter_map(|requirement| match &requirement.condition {
        Condition::In(values) => Some((requirement, values)),
        Condition::NotIn(_) | Condition::Exists | Condition::DoesNotExist => None,
    });
    for (requirement, values) in asked {
        if candidates.clone().any(|labels| requirement.matches(labels)) {
            continue;
        }
        let key = requirement.key.as_ref();
        let there: BTreeSet<&str> = candidates.clone().filter_map(|labels| labels.get(key)).collect();
        if let Some(value) = values.iter().find_map(|value| nearest(value, there.iter().copied())) {
            return Some(format!("{key}={value}"));
        }
        let pairs: BTreeSet<(&str, &str)> = candidates.clone().flat_map(Labels::iter).collect();
        let same_value = pairs.iter().filter(|(_, value)| values.iter().any(|v| v.as_ref() == *value));
        let keys: Vec<&str> = same_value.map(|(key, _)| *key).collect();
        if let Some(other) = nearest(key, keys.iter().copied()).or(keys.first().copied())
            && let Some((_, value)) = pairs.iter().find(|(k, v)| *k == other && values.iter().any(|w| w.as_ref() == *v))
        {
            return Some(format!("{other}={value}"));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_value_or_another_key() {
        let pods = ["app=frontend,tier=web", "app=payments"];
        let pods = pods.map(|text| text.split(',').filter_map(|pair| pair.split_once('=')).collect::<Labels>());
        let meant = |text: &str| meant_label(&Selector::parse(text).unwrap(), pods.iter());
        assert_eq!(meant("app=fronted"), Some("app=frontend".to_owned()));
        assert_eq!(meant("tier=web,app=payment"), Some("app=payments".to_owned()));
        assert_eq!(meant("name=payments"), Some("app=payments".to_owned()));
        assert_eq!(meant("app=zzz"), None);
        assert_eq!(meant("!app"), None);
    }
}
