//! What a rule found, and where.

use super::{Rule, Severity};
use netsim_shared::diagnostic::{Diagnostic, Place};
use netsim_shared::object::{Identity, Origin, Path};
use netsim_shared::policy::NetworkPolicy;
use std::collections::HashMap;
use std::fmt;

/// The object that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Named {
    /// Its kind; empty where it could not be read.
    pub kind: Box<str>,
    /// Its namespace, unless it is of the whole cluster.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
}

impl Named {
    /// An object of a namespace.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Named { kind: kind.into(), namespace: Some(namespace.into()), name: name.into() }
    }

    /// A namespace.
    pub fn namespace(name: &str) -> Self {
        Named { kind: "Namespace".into(), namespace: None, name: name.into() }
    }
}

impl From<Identity<'_>> for Named {
    fn from(identity: Identity<'_>) -> Self {
        Named { kind: identity.kind.into(), namespace: identity.namespace.map(Into::into), name: identity.name.into() }
    }
}

impl From<&NetworkPolicy> for Named {
    fn from(policy: &NetworkPolicy) -> Self {
        Named::new(policy.kind.kind(), &policy.namespace, policy.own_name())
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it is about.
    pub object: Named,
    /// Where that object stands.
    pub origin: Origin,
    /// The part of it that is meant.
    pub path: Path,
    /// What is wrong: a lower-case fragment, the user's words in backticks.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that have to do with it, and what is there.
    pub related: Vec<(String, Option<Place>)>,
}

impl Found {
    /// Something about a part of an object.
    pub fn new(object: Named, origin: &Origin, path: Path, message: impl Into<String>) -> Self {
        Found { object, origin: origin.clone(), path, message: message.into(), help: None, related: Vec::new() }
    }

    /// Something about a part of a policy.
    pub fn in_policy(policy: &NetworkPolicy, path: Path, message: impl Into<String>) -> Self {
        Found::new(policy.into(), &policy.origin, path, message)
    }

    /// The same with help.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with something else that has to do with it, and where that is.
    pub fn related(mut self, what: impl Into<String>, place: Option<Place>) -> Self {
        self.related.push((what.into(), place));
        self
    }

    /// The finding of a rule.
    pub fn under(self, rule: &'static Rule, severity: Severity) -> Finding {
        let path = self.path.to_string();
        Finding {
            rule,
            severity,
            fingerprint: fingerprint(&[rule.id, &self.object.to_string(), &path]),
            place: self.origin.place_of(&self.path),
            object: self.object,
            path,
            message: self.message,
            help: self.help,
            related: self.related,
        }
    }
}

/// What a rule has to say, ready to be told.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub object: Named,
    /// The part of it: `spec.ingress[1].from[0]`; empty for all of it.
    pub path: String,
    /// Where that stands.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<(String, Option<Place>)>,
    /// What stays the same while lines move: of rule, object and path.
    pub fingerprint: String,
}

impl Finding {
    /// Something that reading the input had to say.
    pub fn of_diagnostic(rule: &'static Rule, severity: Severity, diagnostic: &Diagnostic) -> Self {
        let source = diagnostic.place.as_ref().map_or("", |place| &place.source);
        Finding {
            rule,
            severity,
            object: Named::default(),
            path: String::new(),
            place: diagnostic.place.clone(),
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            related: Vec::new(),
            fingerprint: fingerprint(&[rule.id, source, &diagnostic.message]),
        }
    }
}

impl Finding {
    /// The same without places, for what stands in no file.
    pub fn without_places(self) -> Self {
        let related = self.related.into_iter().map(|(what, _)| (what, None)).collect();
        Finding { place: None, related, ..self }
    }
}

/// FNV-1a: it must be the same on every machine and in every release, and nobody has to be kept
/// from making two alike.
fn fingerprint(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// In the order of files and lines, then of rules.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let place = |f: &Finding| f.place.as_ref().map(|p| (p.source.clone(), p.line, p.column));
        (place(a), a.rule.id, &a.object, &a.path, &a.message).cmp(&(
            place(b),
            b.rule.id,
            &b.object,
            &b.path,
            &b.message,
        ))
    });
}

/// Findings of one rule about one part get their number behind their fingerprint.
pub fn number_twins(findings: &mut [Finding]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for finding in findings {
        let count = seen.entry(finding.fingerprint.clone()).or_default();
        *count += 1;
        if *count > 1 {
            finding.fingerprint = format!("{}-{count}", finding.fingerprint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_never_change() {
        // Baselines and code-scanning alerts of users hold them.
        assert_eq!(fingerprint(&["NS004", "NetworkPolicy shop/api", "spec.podSelector"]), "bad412d32d7de9f4");
        assert_ne!(fingerprint(&["a", "bc"]), fingerprint(&["ab", "c"]));
    }
}
