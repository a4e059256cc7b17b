//! Many names in few words: `ns/*` where all of a namespace are meant, `*/*` where all are.

use std::collections::{BTreeMap, HashMap};

/// The namespace (`None` outside the cluster) and the name of what is summarised.
pub type Member<'m> = (Option<&'m str>, &'m str);

/// How many namespaces are shown.
const PARTS: usize = 24;

/// How many entities each namespace has, to say `ns/*` where all of them are meant.
#[derive(Clone)]
pub struct Whole<'t> {
    totals: HashMap<Option<&'t str>, usize>,
    /// How many names of a namespace are shown.
    shown: usize,
}

impl<'t> Whole<'t> {
    /// Of all entities, by their namespaces.
    pub fn new(namespaces: impl Iterator<Item = Option<&'t str>>, shown: usize) -> Self {
        let mut totals: HashMap<Option<&str>, usize> = HashMap::new();
        for namespace in namespaces {
            *totals.entry(namespace).or_default() += 1;
        }
        Whole { totals, shown }
    }

    /// The same with so many names of a namespace shown.
    pub fn showing(&self, shown: usize) -> Self {
        Whole { shown, ..self.clone() }
    }

    /// How many entities are outside the cluster.
    pub fn outside(&self) -> usize {
        self.totals.get(&None).copied().unwrap_or(0)
    }

    /// The members in few words. `but` is one that is left out and makes them no less whole.
    pub fn summary<'m>(&self, members: impl Iterator<Item = Member<'m>>, but: Option<Member<'_>>) -> String {
        shortened(&self.parts(members, but), PARTS)
    }

    /// The members, those of a namespace together.
    pub fn parts<'m>(&self, members: impl Iterator<Item = Member<'m>>, but: Option<Member<'_>>) -> Vec<String> {
        let mut by_namespace: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
        for (namespace, name) in members {
            by_namespace.entry(namespace).or_default().push(name);
        }
        let is_whole = |namespace: Option<&str>, names: &[&str]| {
            let total = self.totals.get(&namespace).copied().unwrap_or(0);
            let without_own =
                namespace.is_some() && but.is_some_and(|(n, name)| n == namespace && !names.contains(&name));
            names.len() + usize::from(without_own) == total
        };
        let mut inside = by_namespace.iter().filter(|(namespace, _)| namespace.is_some());
        let namespaces = self.totals.keys().filter(|n| n.is_some()).count();
        let every_pod =
            namespaces > 1 && inside.clone().count() == namespaces && inside.all(|(n, names)| is_whole(*n, names));
        let mut parts = Vec::new();
        if every_pod {
            parts.push("*/*".to_owned());
        }
        for (namespace, names) in &by_namespace {
            match namespace {
                Some(_) if every_pod => {}
                Some(n) if names.len() > 1 && is_whole(*namespace, names) => parts.push(format!("{n}/*")),
                Some(_) => parts.push(shortened(names, self.shown)),
                None if is_whole(None, names) => parts.push("every address outside".to_owned()),
                None => parts.push(names.join(", ")),
            }
        }
        parts
    }
}

/// The first names of a list, and how many there are more.
pub fn shortened<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown: Vec<&str> = names.iter().take(most).map(AsRef::as_ref).collect();
    let shown = shown.join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}
