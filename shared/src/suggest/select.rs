//! The shortest selector that people would write for a pod.

use crate::compile::{Compiled, Endpoint};
use crate::explain::GENERATED_LABELS;
use crate::selector::{Labels, Requirement, Selector};
use std::collections::HashMap;

/// The labels by which pods are called, the usual ones first.
const PREFERRED: [&str; 6] =
    ["app.kubernetes.io/name", "app", "k8s-app", "app.kubernetes.io/component", "name", "component"];

/// Selectors for pods, each worked out once.
pub struct Selectors<'c> {
    compiled: &'c Compiled,
    known: HashMap<(Box<str>, Labels), Option<Selector>>,
}

impl<'c> Selectors<'c> {
    /// Those of a cluster.
    pub fn new(compiled: &'c Compiled) -> Self {
        Selectors { compiled, known: HashMap::new() }
    }

    /// A selector that matches, in the pod's namespace, just the pods that have all its labels but the
    /// generated ones. `None` when it has none of these.
    pub fn of(&mut self, endpoint: &Endpoint) -> Option<Selector> {
        let kept = endpoint.labels.iter().filter(|(key, _)| !GENERATED_LABELS.contains(key));
        let labels: Labels = kept.collect();
        let namespace = &endpoint.key.namespace;
        let key = (namespace.clone(), labels);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let found = shortest(self.compiled, namespace, &key.1);
        self.known.insert(key, found.clone());
        found
    }
}

fn shortest(compiled: &Compiled, namespace: &str, labels: &Labels) -> Option<Selector> {
    if labels.is_empty() {
        return None;
    }
    let all: Vec<&Labels> = compiled
        .in_namespace(namespace)
        .filter_map(|id| compiled.entry(id))
        .filter(|entry| !entry.endpoint.host_network)
        .map(|entry| &entry.endpoint.labels)
        .collect();
    let select = |pairs: &[(&str, &str)]| -> Selector {
        pairs.iter().map(|(key, value)| Requirement::equals(key, value)).collect()
    };
    let pairs: Vec<(&str, &str)> = labels.iter().collect();
    let whole = select(&pairs);
    let meant = all.iter().filter(|labels| whole.matches(labels)).count();
    let same = |selector: &Selector| all.iter().filter(|labels| selector.matches(labels)).count() == meant;
    let preferred = PREFERRED.iter().filter_map(|key| Some((*key, labels.get(key)?)));
    let mut ordered: Vec<(&str, &str)> = preferred.collect();
    ordered.extend(pairs.iter().filter(|(key, _)| !PREFERRED.contains(key)));
    let single = ordered.iter().map(|pair| select(&[*pair])).find(|selector| same(selector));
    let pair = || {
        let first = ordered.iter().enumerate();
        let mut two = first.flat_map(|(i, a)| ordered.iter().skip(i + 1).map(move |b| [*a, *b]));
        two.find_map(|two| Some(select(&two)).filter(|selector| same(selector)))
    };
    single.or_else(pair).or(Some(whole))
}
