//! The connections that have to work: from words to parties.

use crate::compile::Compiled;
use crate::dns::NamePattern;
use crate::evaluate::Party;
use crate::policy::Direction;
use crate::ports::Protocol;
use crate::query::resolve::{Destination, Named};
use crate::query::target::{Target, parse_destination, parse_target};
use crate::query::{QueryError, Resolver};
use std::collections::BTreeSet;
use std::fmt;

/// A connection that has to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Who connects.
    pub source: Named,
    /// Whether it stands for all its like: then rules say so, and hold for pods to come.
    pub source_whole: Whole,
    /// To whom.
    pub destination: Destined,
    /// The same of the destination.
    pub destination_whole: Whole,
    /// On which protocol; `None`: on every one.
    pub protocol: Option<Protocol>,
    /// On which port of the pod; `None`: on every one.
    pub port: Option<u16>,
    /// Who names it: a file and its line.
    pub by: String,
}

/// Where a need goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destined {
    /// To a pod or an address.
    Party(Named),
    /// To a DNS name outside.
    Name(NamePattern),
}

/// What a word names besides the single pods that it stands for today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whole {
    /// Nothing: a pod, a workload, addresses.
    No,
    /// Every pod of its namespace: `shop/*`.
    Namespace,
    /// Every pod: `*/*`.
    Cluster,
}

impl Whole {
    /// What a word names.
    pub fn of(target: &Target) -> Self {
        match target {
            Target::Everything(Some(_)) => Whole::Namespace,
            Target::Everything(None) => Whole::Cluster,
            _ => Whole::No,
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match &self.destination {
            Destined::Party(named) => named.name.clone(),
            Destined::Name(name) => name.to_string(),
        };
        write!(f, "{} → {to}", self.source.name)?;
        match (self.protocol, self.port) {
            (Some(protocol), Some(port)) => write!(f, " {protocol} {port}"),
            (Some(protocol), None) => write!(f, " {protocol}"),
            (None, Some(port)) => write!(f, " {port}"),
            (None, None) => Ok(()),
        }
    }
}

impl Need {
    /// The end that a direction binds.
    pub fn subject(&self, direction: Direction) -> Option<Party> {
        match (direction, &self.destination) {
            (Direction::Egress, _) => Some(self.source.party),
            (Direction::Ingress, Destined::Party(named)) => Some(named.party),
            (Direction::Ingress, Destined::Name(_)) => None,
        }
    }

    /// Why a side does not let it through although policies were suggested.
    pub fn why_not(&self, compiled: &Compiled, scope: &BTreeSet<Box<str>>, direction: Direction) -> String {
        let entry = self.subject(direction).and_then(|party| match party {
            Party::Endpoint(id) => compiled.entry(id),
            Party::Address(_) => None,
        });
        let Some(entry) = entry else { return format!("its {direction} cannot be told") };
        let key = &entry.endpoint.key;
        if !scope.contains(&key.namespace) {
            return format!("{direction} of {key} is denied, and {} is not to get policies", key.namespace);
        }
        let peer = match (direction, &self.destination) {
            (Direction::Ingress, _) => self.source.name.clone(),
            (Direction::Egress, Destined::Party(named)) => named.name.clone(),
            (Direction::Egress, Destined::Name(name)) => name.to_string(),
        };
        format!(
            "{direction} of {key} is denied: no rule can say it, because {key} or {peer} has no label of its own and no address that is known"
        )
    }
}

/// The connections that a pair of words stands for. `by` is who names them.
///
/// # Errors
/// When a word cannot be read, or names something that is not in the input (E4).
pub fn needs_of(
    resolver: &Resolver<'_>,
    source: &str,
    destination: &str,
    protocol: Option<Protocol>,
    by: &str,
) -> Result<Vec<Need>, QueryError> {
    let source_word = parse_target(source).map_err(QueryError::new)?;
    let word = parse_destination(destination).map_err(QueryError::new)?;
    let protocol = protocol.or(word.protocol);
    let sources = resolver.source(&source_word, None)?;
    let to = resolver.destination(&word.target, word.port.as_ref(), protocol, None)?;
    let sources = Sources { parties: &sources.parties, whole: Whole::of(&source_word) };
    Ok(sources.needs(&to, Whole::of(&word.target), protocol, by))
}

/// Who connects, and whether they stand for all their like.
pub struct Sources<'s> {
    /// Who.
    pub parties: &'s [Named],
    /// Whether they are all of something.
    pub whole: Whole,
}

impl Sources<'_> {
    /// What they need to reach a destination.
    pub fn needs(&self, to: &Destination, whole: Whole, protocol: Option<Protocol>, by: &str) -> Vec<Need> {
        // A port without a protocol is one of TCP, as everywhere.
        let with_default = |protocol: Option<Protocol>, port: Option<u16>| protocol.or(port.map(|_| Protocol::Tcp));
        let mut out = Vec::new();
        for source in self.parties {
            let mut push = |destination: Destined, protocol: Option<Protocol>, port: Option<u16>| {
                out.push(Need {
                    source: source.clone(),
                    source_whole: self.whole,
                    destination,
                    destination_whole: whole,
                    protocol: with_default(protocol, port),
                    port,
                    by: by.to_owned(),
                });
            };
            match to {
                Destination::Name { name, port, .. } => {
                    push(Destined::Name(name.clone()), protocol.or(Some(Protocol::Tcp)), *port);
                }
                Destination::Parties { reached, .. } => {
                    for to in reached.iter().filter(|to| to.who.party != source.party) {
                        push(Destined::Party(to.who.clone()), to.protocol.or(protocol), to.port);
                    }
                }
            }
        }
        out
    }
}
