//! What of all connections is wanted: the filters that `list` and `matrix` share.

use crate::args::ListFilter;
use crate::commands::can_reach::protocol;
use crate::load::Loaded;
use ipnet::IpNet;
use netsim_shared::compile::EndpointId;
use netsim_shared::diagnostic::nearest;
use netsim_shared::dns::NamePattern;
use netsim_shared::evaluate::Party;
use netsim_shared::list::{Entity, Listing, Options, Reach};
use netsim_shared::ports::{PortRange, PortSet, Protocol};
use netsim_shared::query::resolve::{Destination, Named};
use netsim_shared::query::target::{Target, parse_destination, parse_target};
use netsim_shared::query::{QueryError, Resolver};
use std::collections::{BTreeSet, HashSet};

/// A filter that was looked up.
pub struct Filter {
    namespaces: Vec<String>,
    source: Option<Wanted>,
    destination: Option<Wanted>,
    ports: Option<PortSet>,
}

/// Who a word stands for.
enum Wanted {
    Endpoints(HashSet<EndpointId>),
    Addresses(IpNet),
    Name(NamePattern),
}

impl Wanted {
    fn has(&self, entity: &Entity) -> bool {
        match self {
            Wanted::Endpoints(ids) => entity.members.iter().any(|id| ids.contains(id)),
            Wanted::Addresses(net) => entity
                .blocks
                .iter()
                .any(|block| block.parse::<IpNet>().is_ok_and(|block| block.contains(net) || net.contains(&block))),
            Wanted::Name(name) => entity.pattern.as_ref() == Some(name),
        }
    }
}

impl Filter {
    /// Looks the words up.
    pub fn new(args: &ListFilter, loaded: &Loaded, default_namespace: &str) -> Result<Self, QueryError> {
        known_namespaces(&args.namespaces, &loaded.index.namespace_names(), "in the input")?;
        let default_namespace = args.namespaces.first().map_or(default_namespace, String::as_str);
        let resolver = Resolver { index: &loaded.index, compiled: &loaded.compiled, default_namespace };
        let source = args.source.as_deref().map(|word| {
            let target = parse_target(word).map_err(QueryError::new)?;
            match address(&target) {
                Some(net) => Ok(Wanted::Addresses(net)),
                None => resolver.source(&target, None).map(|selection| wanted(selection.parties)),
            }
        });
        let destination = args.destination.as_deref().map(|word| {
            let word = parse_destination(word).map_err(QueryError::new)?;
            if word.port.is_some() {
                return Err(QueryError::new("name the port with --port: a destination here has none".to_owned()));
            }
            if let Some(net) = address(&word.target) {
                return Ok(Wanted::Addresses(net));
            }
            match resolver.destination(&word.target, None, None, None)? {
                Destination::Parties { reached, .. } => Ok(wanted(reached.into_iter().map(|r| r.who).collect())),
                Destination::Name { name, .. } => Ok(Wanted::Name(name)),
            }
        });
        Ok(Filter {
            namespaces: args.namespaces.clone(),
            source: source.transpose()?,
            destination: destination.transpose()?,
            ports: args.port.as_deref().map(port).transpose()?,
        })
    }

    /// The name outside to which connections are wanted, if only these are.
    pub fn name(&self) -> Option<&NamePattern> {
        match &self.destination {
            Some(Wanted::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// All connections, with the name that is wanted, if one is.
    pub fn list<'c>(&self, loaded: &'c Loaded, options: Options) -> Listing<'c> {
        let listing = Listing::new(&loaded.compiled, options);
        match self.name() {
            Some(name) => listing.about_name(name),
            None => listing,
        }
    }

    /// Whether connections to this are wanted at all.
    pub fn wants_destination(&self, entity: &Entity) -> bool {
        self.destination.as_ref().is_none_or(|wanted| wanted.has(entity))
    }

    /// Whether connections from this are wanted at all.
    pub fn wants_source(&self, entity: &Entity) -> bool {
        self.source.as_ref().is_none_or(|wanted| wanted.has(entity))
    }

    /// Whether this lies in a namespace that is wanted.
    pub fn wants_namespace(&self, entity: &Entity) -> bool {
        self.namespaces.is_empty()
            || entity.namespace.as_ref().is_some_and(|n| self.namespaces.iter().any(|wanted| **wanted == **n))
    }

    /// Whether a pair is wanted.
    pub fn wants(&self, source: &Entity, destination: &Entity) -> bool {
        self.wants_source(source)
            && self.wants_destination(destination)
            && (self.wants_namespace(source) || self.wants_namespace(destination))
    }

    /// The wanted ports, if only some are.
    pub fn ports(&self) -> Option<&PortSet> {
        self.ports.as_ref()
    }

    /// What is wanted of a pair's ports.
    pub fn reach(&self, reach: &Reach) -> Reach {
        self.ports.as_ref().map_or_else(|| reach.clone(), |ports| reach.only(ports))
    }
}

/// Namespaces that are named and not known are a mistake; `place` says where they were looked for.
pub fn known_namespaces(named: &[String], known: &BTreeSet<&str>, place: &str) -> Result<(), QueryError> {
    let Some(name) = named.iter().find(|name| !known.contains(name.as_str())) else { return Ok(()) };
    let mut error = QueryError::new(format!("no namespace `{name}` {place}"));
    error.help = nearest(name, known.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
    Err(error)
}

fn address(target: &Target) -> Option<IpNet> {
    match target {
        Target::Address(address) => Some(IpNet::from(*address)),
        Target::Block(net) => Some(*net),
        _ => None,
    }
}

fn wanted(parties: Vec<Named>) -> Wanted {
    let ids = parties.into_iter().filter_map(|who| match who.party {
        Party::Endpoint(id) => Some(id),
        Party::Address(_) => None,
    });
    Wanted::Endpoints(ids.collect())
}

/// `5432`, `53/udp`, `6000-6500/tcp`
pub fn port(text: &str) -> Result<PortSet, QueryError> {
    let (numbers, protocol) = match text.split_once('/') {
        Some((numbers, name)) => (numbers, protocol(name)?),
        None => (text, Protocol::Tcp),
    };
    let (from, to) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| *n > 0);
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => Ok(PortRange { protocol, from, to }.into()),
        _ => Err(QueryError::new(format!("`{text}` is not a port: write 5432, 53/udp or 6000-6500"))),
    }
}
