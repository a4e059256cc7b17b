//! From who is named to the parties of connections. What is not in the input is an error at its place.

use super::reach::Allowance;
use super::{Assertion, Ends, Form, Suite, Who};
use crate::diagnostic::{Diagnostic, Place};
use crate::dns::NamePattern;
use crate::ports::{PortRange, PortSet, Protocol};
use crate::query::resolve::{Destination, Selection};
use crate::query::{QueryError, Resolver, Touched};
use crate::suggest::{Need, Sources, Whole};

/// Sources that were looked up.
#[derive(Debug, Clone)]
pub struct Source {
    /// What to call them.
    pub shown: String,
    /// Who they are.
    pub selection: Selection,
    /// Which namespaces they are named in.
    pub touched: Touched,
}

/// Destinations that were looked up.
#[derive(Debug, Clone)]
pub struct Goal {
    /// What to call them.
    pub shown: String,
    /// Where they lead.
    pub destination: Destination,
    /// The protocol that was asked for.
    pub protocol: Option<Protocol>,
    /// Which namespaces they are named in.
    pub touched: Touched,
}

/// Both ends, looked up.
#[derive(Debug, Clone)]
pub struct Found {
    /// From these.
    pub from: Vec<Source>,
    /// To those.
    pub to: Vec<Goal>,
}

/// The ports that a question is about.
pub fn ports(port: Option<u16>, protocol: Option<Protocol>) -> PortSet {
    match (port, protocol) {
        (Some(port), protocol) => PortRange::single(protocol.unwrap_or(Protocol::Tcp), port).into(),
        (None, Some(protocol)) => PortRange::all_of(protocol).into(),
        (None, None) => PortSet::all(),
    }
}

fn at(error: QueryError, place: &Place) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(error.message).at(place.clone());
    diagnostic.help = error.help;
    diagnostic
}

fn touched(resolver: &Resolver<'_>, who: &Who) -> Touched {
    let mut touched = Touched::default();
    if let Form::Word(target) = &who.form {
        touched.add(target, resolver.default_namespace);
    }
    touched
}

fn selection(
    resolver: &Resolver<'_>,
    who: &Who,
    word: impl Fn() -> Result<Selection, QueryError>,
) -> Result<Selection, QueryError> {
    match &who.form {
        Form::Word(_) => word(),
        Form::Pods { namespace, namespaces, pods } => {
            // A selector of pods alone is about one namespace, as in a policy.
            let own = namespaces.is_none().then_some(resolver.default_namespace);
            resolver.labelled(namespace.as_deref().or(own), namespaces.as_ref(), pods)
        }
    }
}

/// Looks a source up.
///
/// # Errors
/// When it is not in the input.
pub fn source(resolver: &Resolver<'_>, who: &Who) -> Result<Source, Diagnostic> {
    let word = || match &who.form {
        Form::Word(target) => resolver.source(target, None),
        Form::Pods { .. } => Ok(Selection::default()),
    };
    let selection = selection(resolver, who, word).map_err(|error| at(error, &who.place))?;
    let mut touched = touched(resolver, who);
    for named in &selection.parties {
        touched.add_party(resolver.compiled, named.party);
    }
    Ok(Source { shown: who.shown.clone(), selection, touched })
}

/// Looks a destination up.
///
/// # Errors
/// When it, or its port, is not in the input.
pub fn goal(resolver: &Resolver<'_>, who: &Who) -> Result<Goal, Diagnostic> {
    let found = match &who.form {
        Form::Word(target) => resolver.destination(target, who.port.as_ref(), who.protocol, None),
        Form::Pods { .. } => selection(resolver, who, || Ok(Selection::default()))
            .and_then(|selection| resolver.on_ports(selection, who.port.as_ref(), who.protocol)),
    };
    let destination = found.map_err(|error| at(error, &who.place))?;
    let mut touched = touched(resolver, who);
    if let Destination::Parties { reached, .. } = &destination {
        for one in reached {
            touched.add_party(resolver.compiled, one.who.party);
        }
    }
    Ok(Goal { shown: who.shown.clone(), destination, protocol: who.protocol, touched })
}

/// Looks both ends up.
///
/// # Errors
/// All that is not in the input.
pub fn ends(resolver: &Resolver<'_>, ends: &Ends) -> Result<Found, Vec<Diagnostic>> {
    let from = all(&ends.from, |who| source(resolver, who));
    let to = all(&ends.to, |who| goal(resolver, who));
    match (from, to) {
        (Ok(from), Ok(to)) => Ok(Found { from, to }),
        (from, to) => Err([from.err(), to.err()].into_iter().flatten().flatten().collect()),
    }
}

/// All of them, or all that is wrong.
pub fn all<T, R>(items: &[T], read: impl Fn(&T) -> Result<R, Diagnostic>) -> Result<Vec<R>, Vec<Diagnostic>> {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for item in items {
        match read(item) {
            Ok(one) => good.push(one),
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

impl Found {
    /// Everybody in `from`, on every port.
    pub fn sources(&self) -> Allowance {
        let mut allowance = Allowance::on(PortSet::all());
        for who in self.from.iter().flat_map(|source| &source.selection.parties) {
            allowance.add(who.party, &who.blocks);
        }
        allowance
    }

    /// Everybody in `to`, those on the same ports together; names outside are not among them.
    pub fn goals(&self) -> Vec<Allowance> {
        allowances(&self.to)
    }

    /// The DNS names in `to`, and their ports.
    pub fn names(&self) -> impl Iterator<Item = (&NamePattern, PortSet)> {
        self.to.iter().filter_map(|goal| match &goal.destination {
            Destination::Name { name, port, .. } => Some((name, ports(*port, goal.protocol))),
            Destination::Parties { .. } => None,
        })
    }
}

/// Everybody among these, those on the same ports together.
pub fn allowances(goals: &[Goal]) -> Vec<Allowance> {
    let mut all: Vec<Allowance> = Vec::new();
    for goal in goals {
        let Destination::Parties { reached, .. } = &goal.destination else { continue };
        for one in reached {
            let ports = ports(one.port, one.protocol);
            let at = all.iter().position(|allowance| allowance.ports == ports).unwrap_or_else(|| {
                all.push(Allowance::on(ports));
                all.len() - 1
            });
            if let Some(allowance) = all.get_mut(at) {
                allowance.add(one.who.party, &one.who.blocks);
            }
        }
    }
    all
}

impl Suite {
    /// The connections that its tests want allowed: all of `allowed`, and those that `onlyFrom` and `onlyTo` name.
    ///
    /// # Errors
    /// All that is not in the input.
    pub fn needs(&self, resolver: &Resolver<'_>) -> Result<Vec<Need>, Vec<Diagnostic>> {
        let default_namespace = self.namespace.as_deref().unwrap_or(resolver.default_namespace);
        let resolver = Resolver { default_namespace, ..*resolver };
        let (mut needs, mut wrong) = (Vec::new(), Vec::new());
        for test in &self.tests {
            let named = match &test.assertion {
                Assertion::Allowed(ends) => ends,
                Assertion::OnlyFrom(only) | Assertion::OnlyTo(only) => &only.ends,
                Assertion::Denied(_) | Assertion::Isolated(_) => continue,
            };
            match ends(&resolver, named) {
                Ok(found) => needs.extend(found.needs(named, &test.place)),
                Err(diagnostics) => wrong.extend(diagnostics),
            }
        }
        if wrong.is_empty() { Ok(needs) } else { Err(wrong) }
    }
}

impl Found {
    /// What the ends, as they are written, have to be able to do.
    fn needs(&self, written: &Ends, place: &Place) -> Vec<Need> {
        let by = format!("{}:{}", place.source, place.line);
        let whole = |who: &Who| match &who.form {
            Form::Word(target) => Whole::of(target),
            Form::Pods { .. } => Whole::No,
        };
        let mut all = Vec::new();
        for (source, who) in self.from.iter().zip(&written.from) {
            let sources = Sources { parties: &source.selection.parties, whole: whole(who) };
            for (goal, who) in self.to.iter().zip(&written.to) {
                all.extend(sources.needs(&goal.destination, whole(who), goal.protocol, &by));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assertion::parse;
    use crate::cluster::ClusterIndex;
    use crate::compile::{Compiled, Modes};
    use crate::ingest::ingest;

    const CLUSTER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: a, labels: {app: web}}
spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: a, labels: {app: client}}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: a}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
";

    fn suite(tests: &str) -> Suite {
        let text = format!("apiVersion: netsim.dev/v1alpha1\nkind: ConnectivityTest\nnamespace: a\ntests:\n{tests}");
        parse("t.yaml", &text).unwrap()
    }

    fn needs(tests: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
        let ingested = ingest("cluster.yaml", CLUSTER.as_bytes(), "default");
        assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
        let index = ClusterIndex::new(ingested.objects);
        let compiled = Compiled::new(&index, &Modes::default());
        let resolver = Resolver { index: &index, compiled: &compiled, default_namespace: "default" };
        let shown = |need: Need| format!("{need} {}", need.by);
        suite(tests).needs(&resolver).map(|all| all.into_iter().map(shown).collect())
    }

    #[test]
    fn what_tests_want_allowed() {
        let tests = "
  - allowed: {from: client, to: 'svc/web:80'}
  - denied: {from: web, to: client}
  - onlyFrom: {from: {podSelector: app=client}, to: {podSelector: app=web, port: http}}
  - onlyTo: {from: client, to: ['10.0.0.0/8:53/udp', 'api.example.com:443', pod/web]}
";
        let wanted = needs(tests).unwrap();
        assert_eq!(
            wanted,
            [
                "a/client → a/web TCP 8080 t.yaml:6",
                "a/client → a/web TCP 8080 t.yaml:8",
                "a/client → 10.0.0.0/8 UDP 53 t.yaml:9",
                "a/client → api.example.com TCP 443 t.yaml:9",
                "a/client → a/web t.yaml:9",
            ]
        );
        let wrong = needs("  - allowed: {from: cliend, to: 'svc/web:81'}\n").unwrap_err();
        assert_eq!(wrong.len(), 2);
    }

    /// A test without a name is called after what it asserts.
    #[test]
    fn titles() {
        let titles: Vec<String> = suite(
            "
  - {name: mine, denied: {from: a, to: b}}
  - denied: {from: [a, b], to: {namespaceSelector: {}, podSelector: app=x, port: 53, protocol: udp}}
  - onlyFrom: {from: {namespace: x}, to: 'c:80'}
  - onlyTo: {from: {namespaceSelector: tenant=t}, to: {podSelector: app, port: http}}
  - isolated: {byPodLabel: app}
",
        )
        .tests
        .into_iter()
        .map(|test| test.title)
        .collect();
        assert_eq!(
            titles,
            [
                "mine",
                "a, b may not reach pods app=x of all namespaces:53/udp",
                "only all pods of x may reach c:80",
                "all pods of namespaces tenant=t may reach only pods app:http",
                "isolated by the pod label app",
            ]
        );
    }
}
