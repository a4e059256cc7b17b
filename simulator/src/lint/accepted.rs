//! Findings that the authors of objects accept, by the annotation `netsim.dev/allow`.

use super::{Named, Rule, rule};
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::object::{ALLOW_ANNOTATION, Origin, Path};
use std::collections::HashMap;

/// What stands for every rule in the annotation.
const EVERY: &str = "all";

/// The annotations of namespaces, which are good for everything in them. Those of other objects
/// come with the findings.
pub struct Accepted<'i> {
    of_namespaces: HashMap<&'i str, &'i str>,
}

impl<'i> Accepted<'i> {
    /// Reads the annotations; what names no rule is told.
    pub fn of(index: &'i ClusterIndex, remarks: &mut Vec<Diagnostic>) -> Self {
        let mut of_namespaces = HashMap::new();
        for namespace in index.namespaces() {
            if let Some(text) = namespace.origin.accepted.as_deref() {
                of_namespaces.insert(namespace.name.as_ref(), text);
            }
        }
        let origins = index
            .namespaces()
            .map(|o| &o.origin)
            .chain(index.policies().map(|o| &o.origin))
            .chain(index.pods().map(|o| &o.origin))
            .chain(index.workloads().map(|o| &o.origin))
            .chain(index.services().map(|o| &o.origin))
            .chain(index.roles().map(|o| &o.origin))
            .chain(index.role_bindings().map(|o| &o.origin));
        for origin in origins {
            remarks.extend(words(origin.accepted.as_deref()).filter_map(|word| unknown(word, origin)));
        }
        Accepted { of_namespaces }
    }

    /// Whether a finding of a rule is accepted, by its object or by the namespace of that.
    pub fn holds(&self, rule: &Rule, object: &Named, origin: &Origin) -> bool {
        let of_namespace = object.namespace.as_deref().and_then(|name| self.of_namespaces.get(name)).copied();
        let mut named = words(origin.accepted.as_deref()).chain(words(of_namespace));
        named.any(|word| word == EVERY || word.eq_ignore_ascii_case(rule.id) || word == rule.name)
    }
}

/// `NS004, NS009`
fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split([',', ' ', '\n']).map(str::trim).filter(|word| !word.is_empty())
}

fn unknown(word: &str, origin: &Origin) -> Option<Diagnostic> {
    let error = rule(word).err().filter(|_| word != EVERY)?;
    let path = Path::default().key("metadata").key("annotations").key(ALLOW_ANNOTATION);
    let mut warning = Diagnostic::warning(format!("{path}: {}", error.message));
    warning.help = error.help;
    warning.place = origin.place_of(&path);
    Some(warning)
}
