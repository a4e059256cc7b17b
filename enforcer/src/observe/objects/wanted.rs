//! From what a node knows of names to what is to be said about policies. Pure.

use crate::watch::{Update, Watched};
use netsim_shared::cluster::{ClusterIndex, Key};
use netsim_shared::crd::{UNRESOLVED, UNSUPPORTED_WILDCARD};
use netsim_shared::dns::{DomainName, NamePattern};
use netsim_shared::object::Pod;
use netsim_shared::policy::{NetworkPolicy, Peer, PolicyKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most names that a message lists.
const LISTED: usize = 5;

/// Which objects of the API server the policies are: their own names, with UID and generation.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// By what the index calls them.
    by_key: BTreeMap<Key, (Box<str>, i64)>,
}

impl Identities {
    /// Takes in what an update says about them.
    pub fn take(&mut self, update: &Update) {
        match update {
            Update::Identified { kind: kind @ PolicyKind::EgressDomainPolicy, key, uid, generation } => {
                let name = kind.name_of(&key.1);
                self.by_key.insert((key.0.clone(), name), (uid.clone(), *generation));
            }
            Update::Delete(Watched::DomainPolicies, key) => _ = self.by_key.remove(key),
            Update::Listed(Watched::DomainPolicies, keys) => self.by_key.retain(|key, _| keys.contains(key)),
            _ => {}
        }
    }
}

/// A policy that counts on this node, and its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its namespace and own name.
    pub key: Key,
    /// Its UID.
    pub uid: Box<str>,
    /// Its generation.
    pub generation: i64,
    /// What its rules name.
    pub patterns: BTreeSet<NamePattern>,
}

/// The policies with names that select pods of this node.
pub fn subjects(index: &ClusterIndex, identities: &Identities, node: &str) -> Vec<Subject> {
    let policies: Vec<&NetworkPolicy> = index
        .policies()
        .map(|policy| &**policy)
        .filter(|policy| policy.kind == PolicyKind::EgressDomainPolicy)
        .collect();
    if policies.is_empty() {
        return Vec::new();
    }
    let mut local: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    let is_bound = |pod: &&Pod| {
        pod.spec.node.as_deref() == Some(node) && !pod.spec.host_network && ClusterIndex::absence(pod).is_none()
    };
    for pod in index.pods().map(|pod| &**pod).filter(is_bound) {
        local.entry(&pod.namespace).or_default().push(pod);
    }
    let counts = |policy: &&NetworkPolicy| {
        let pods = local.get(&*policy.namespace);
        pods.is_some_and(|pods| pods.iter().any(|pod| policy.pod_selector.matches(&pod.spec.labels)))
    };
    let subject = |policy: &NetworkPolicy| {
        let (uid, generation) = identities.by_key.get(&(policy.namespace.clone(), policy.name.clone()))?.clone();
        let key = (policy.namespace.clone(), policy.own_name().into());
        Some(Subject { key, uid, generation, patterns: patterns(policy) })
    };
    policies.into_iter().filter(counts).filter_map(subject).collect()
}

fn patterns(policy: &NetworkPolicy) -> BTreeSet<NamePattern> {
    let peers = policy.egress.iter().flatten().flat_map(|rule| rule.peers.iter().flatten());
    let names = peers.filter_map(|peer| match peer {
        Peer::Names(patterns) => Some(patterns),
        Peer::Pods { .. } | Peer::Block(_) => None,
    });
    names.flatten().cloned().collect()
}

/// What is wrong with a policy on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// These wildcards stand for nothing here.
    UnsupportedWildcard {
        /// The wildcards, sorted.
        patterns: Vec<NamePattern>,
        /// Why, as a clause.
        because: String,
    },
    /// These names never had an address.
    Unresolved {
        /// The names, sorted.
        names: Vec<DomainName>,
    },
}

impl Problem {
    /// The type of the condition, which is the reason of the Event as well.
    pub fn condition(&self) -> &'static str {
        match self {
            Problem::UnsupportedWildcard { .. } => UNSUPPORTED_WILDCARD,
            Problem::Unresolved { .. } => UNRESOLVED,
        }
    }

    /// The reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Problem::UnsupportedWildcard { .. } => "OnlyExactNames",
            Problem::Unresolved { .. } => "NeverResolved",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::UnsupportedWildcard { patterns, because } => {
                let stand = if patterns.len() == 1 { "stands" } else { "stand" };
                write!(
                    f,
                    "{} {stand} for nothing, so connections to such names are denied: {because}",
                    listed(patterns)
                )
            }
            Problem::Unresolved { names } => {
                write!(f, "{} never had an address, so connections there are denied", listed(names))
            }
        }
    }
}

/// The first few, and how many more there are.
fn listed(names: &[impl fmt::Display]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(LISTED);
    match shown.as_slice() {
        names if more > 0 => format!("{} and {more} more", names.join(", ")),
        [front @ .., last] if !front.is_empty() => format!("{} and {last}", front.join(", ")),
        names => names.concat(),
    }
}

/// What is to be said about one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which object it is.
    pub uid: Box<str>,
    /// Which text of it.
    pub generation: i64,
    /// What is wrong, at least one thing, each kind once.
    pub problems: Vec<Problem>,
}

/// What is to be said, by namespace and own name of the policy.
pub type Reports = BTreeMap<Key, Report>;

/// What is to be said. `no_wildcards` is why this node cannot do wildcards, as a clause; `never_resolved` are the names
/// that were asked for and never had an address.
pub fn wanted(
    subjects: impl IntoIterator<Item = Subject>,
    no_wildcards: Option<&str>,
    never_resolved: &BTreeSet<DomainName>,
) -> Reports {
    let report = |subject: Subject| {
        let mut problems = Vec::new();
        let wildcards = || subject.patterns.iter().filter(|pattern| pattern.exact().is_none()).cloned();
        if let (Some(because), Some(_)) = (no_wildcards, wildcards().next()) {
            let because = because.to_owned();
            problems.push(Problem::UnsupportedWildcard { patterns: wildcards().collect(), because });
        }
        let exact = subject.patterns.iter().filter_map(NamePattern::exact);
        let names: Vec<DomainName> = exact.filter(|name| never_resolved.contains(name)).cloned().collect();
        if !names.is_empty() {
            problems.push(Problem::Unresolved { names });
        }
        let Subject { key, uid, generation, .. } = subject;
        (!problems.is_empty()).then_some((key, Report { uid, generation, problems }))
    };
    subjects.into_iter().filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::ingest::ingest_json;
    use netsim_shared::object::Object;
    use serde_json::{Value, json};
    use std::collections::HashSet;

    fn object(api_version: &str, kind: &str, value: &Value) -> Object {
        let mut ingested = ingest_json(&"test".into(), &value.to_string(), api_version, kind);
        assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
        ingested.objects.pop().unwrap()
    }

    fn pod(name: &str, node: &str, app: &str, host_network: bool, phase: &str) -> Object {
        let value = json!({
            "metadata": {"name": name, "namespace": "a", "labels": {"app": app}},
            "spec": {"nodeName": node, "hostNetwork": host_network, "containers": []},
            "status": {"phase": phase, "podIP": "10.0.0.1"},
        });
        object("v1", "Pod", &value)
    }

    fn domain_policy(name: &str, app: &str, names: Value) -> Object {
        let value = json!({
            "metadata": {"name": name, "namespace": "a"},
            "spec": {"podSelector": {"matchLabels": {"app": app}}, "egress": [{"to": [{"domainNames": names}]}]},
        });
        object("netsim.dev/v1alpha1", "EgressDomainPolicy", &value)
    }

    fn key(name: &str) -> Key {
        ("a".into(), name.into())
    }

    fn identified(names: &[&str]) -> Identities {
        let mut identities = Identities::default();
        for name in names {
            let (kind, uid) = (PolicyKind::EgressDomainPolicy, format!("u-{name}").into());
            identities.take(&Update::Identified { kind, key: key(name), uid, generation: 3 });
        }
        identities
    }

    fn subject(name: &str, patterns: &[&str]) -> Subject {
        let patterns = patterns.iter().map(|text| text.parse().unwrap()).collect();
        Subject { key: key(name), uid: format!("u-{name}").into(), generation: 3, patterns }
    }

    #[test]
    fn only_policies_of_pods_of_the_node_are_subjects() {
        let index = ClusterIndex::new([
            pod("web", "n1", "web", false, "Running"),
            pod("done", "n1", "done", false, "Succeeded"),
            pod("host", "n1", "host", true, "Running"),
            pod("far", "n2", "far", false, "Running"),
            domain_policy("web", "web", json!(["b.example.com", "*.example.com", "B.example.com."])),
            domain_policy("done", "done", json!(["*.example.com"])),
            domain_policy("host", "host", json!(["*.example.com"])),
            domain_policy("far", "far", json!(["*.example.com"])),
            domain_policy("nobody", "nobody", json!(["*.example.com"])),
            domain_policy("stranger", "web", json!(["*.example.com"])),
        ]);
        let identities = identified(&["web", "done", "host", "far", "nobody"]);
        assert_eq!(subjects(&index, &identities, "n1"), [subject("web", &["b.example.com", "*.example.com"])]);
        assert_eq!(subjects(&index, &identities, "n2"), [subject("far", &["*.example.com"])]);
    }

    #[test]
    fn identities_go_with_their_objects() {
        let mut identities = identified(&["a", "b", "c"]);
        let of_index = |name: &str| -> Key { ("a".into(), PolicyKind::EgressDomainPolicy.name_of(name)) };
        identities.take(&Update::Delete(Watched::DomainPolicies, of_index("a")));
        // What happens to other kinds is nothing to them.
        identities.take(&Update::Delete(Watched::Policies, key("b")));
        identities.take(&Update::Listed(Watched::Policies, HashSet::new()));
        assert_eq!(identities.by_key.keys().cloned().collect::<Vec<_>>(), [of_index("b"), of_index("c")]);
        identities.take(&Update::Listed(Watched::DomainPolicies, HashSet::from([of_index("c")])));
        assert_eq!(identities.by_key.keys().cloned().collect::<Vec<_>>(), [of_index("c")]);
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_else() {
        let both = subject("both", &["a.example.com", "b.example.com", "*.example.com", "*.example.org"]);
        let exact = subject("exact", &["b.example.com"]);
        let unresolved: BTreeSet<DomainName> = ["a.example.com", "c.example.com"].map(|n| n.parse().unwrap()).into();
        let reports = wanted([both.clone(), exact.clone()], Some("answers are not learned here"), &unresolved);
        assert_eq!(reports.keys().collect::<Vec<_>>(), [&key("both")]);
        let texts: Vec<String> = reports[&key("both")].problems.iter().map(ToString::to_string).collect();
        let expected = [
            "`*.example.com` and `*.example.org` stand for nothing, so connections to such names are denied: answers \
             are not learned here",
            "`a.example.com` never had an address, so connections there are denied",
        ];
        assert_eq!(texts, expected);
        assert!(wanted([both, exact], None, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn long_lists_are_counted() {
        let names: Vec<String> = (0..8).map(|i| format!("n{i}")).collect();
        assert_eq!(listed(&names), "`n0`, `n1`, `n2`, `n3`, `n4` and 3 more");
        assert_eq!(listed(&names[..3]), "`n0`, `n1` and `n2`");
        assert_eq!(listed(&names[..1]), "`n0`");
    }
}
