//! From who is named to the parties of connections. What is not in the input is an error at its place.

use super::reach::Allowance;
use super::{Assertion, Ends, Form, Suite, Who};
use crate::diagnostic::{Diagnostic, Place};
use crate::ports::{PortRange, PortSet, Protocol};
use crate::query::resolve::{Destination, Named, Selection};
use crate::query::{QueryError, Resolver, Touched};

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
    pub fn names(&self) -> impl Iterator<Item = (&str, PortSet)> {
        self.to.iter().filter_map(|goal| match &goal.destination {
            Destination::Name { name, port, .. } => Some((name.as_str(), ports(*port, goal.protocol))),
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

/// A connection that a test wants allowed.
#[derive(Debug, Clone)]
pub struct ToAllow {
    /// Who connects.
    pub source: Named,
    /// To whom.
    pub destination: WhereTo,
    /// The protocol; `None`: every one.
    pub protocol: Option<Protocol>,
    /// The port at the destination; `None`: every one.
    pub port: Option<u16>,
    /// The test that wants it.
    pub place: Place,
}

/// Where a wanted connection goes.
#[derive(Debug, Clone)]
pub enum WhereTo {
    /// To a pod, a workload or an address.
    Party(Named),
    /// To a DNS name outside.
    Name(String),
}

impl Suite {
    /// The connections that its tests want allowed: all of `allowed`, and those that `onlyFrom` and `onlyTo` name.
    ///
    /// # Errors
    /// All that is not in the input.
    pub fn to_allow(&self, resolver: &Resolver<'_>) -> Result<Vec<ToAllow>, Vec<Diagnostic>> {
        let default_namespace = self.namespace.as_deref().unwrap_or(resolver.default_namespace);
        let resolver = Resolver { default_namespace, ..*resolver };
        let (mut wanted, mut wrong) = (Vec::new(), Vec::new());
        for test in &self.tests {
            let named = match &test.assertion {
                Assertion::Allowed(ends) => ends,
                Assertion::OnlyFrom(only) | Assertion::OnlyTo(only) => &only.ends,
                Assertion::Denied(_) | Assertion::Isolated(_) => continue,
            };
            match ends(&resolver, named) {
                Ok(found) => wanted.extend(found.connections(&test.place)),
                Err(diagnostics) => wrong.extend(diagnostics),
            }
        }
        if wrong.is_empty() { Ok(wanted) } else { Err(wrong) }
    }
}

impl Found {
    fn connections(&self, place: &Place) -> Vec<ToAllow> {
        let mut all = Vec::new();
        for source in self.from.iter().flat_map(|source| &source.selection.parties) {
            let mut push = |destination: WhereTo, protocol: Option<Protocol>, port: Option<u16>| {
                let protocol = protocol.or(port.map(|_| Protocol::Tcp));
                all.push(ToAllow { source: source.clone(), destination, protocol, port, place: place.clone() });
            };
            for goal in &self.to {
                match &goal.destination {
                    Destination::Name { name, port, .. } => push(WhereTo::Name(name.clone()), goal.protocol, *port),
                    Destination::Parties { reached, .. } => {
                        for one in reached {
                            push(WhereTo::Party(one.who.clone()), one.protocol, one.port);
                        }
                    }
                }
            }
        }
        all
    }
}
