//! What is on one side only, and its connections there.

use super::Options;
use super::side::Side;
use crate::compile::{Compiled, EndpointId};
use crate::list::{self, Entity, Listing, Pair, Reach};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// What is on one side only.
#[derive(Debug, Default)]
pub struct Lone {
    /// Workloads and bare pods that are on this side only, sorted.
    pub names: Vec<String>,
    /// Who connects with them, or is one of them.
    pub sources: Vec<Entity>,
    /// The same as destinations.
    pub destinations: Vec<Entity>,
    /// Which of the sources are on this side only.
    pub lone_sources: Vec<bool>,
    /// Which of the destinations are.
    pub lone_destinations: Vec<bool>,
    /// Those of `names` that nothing reaches and that reach nothing.
    pub quiet: Vec<String>,
    /// Connections from or to what is on this side only.
    pub pairs: Vec<LonePair>,
}

/// A connection from or to what is on one side only.
#[derive(Debug, Clone)]
pub struct LonePair {
    /// Its place among the sources.
    pub source: usize,
    /// Its place among the destinations.
    pub destination: usize,
    /// What is open.
    pub reach: Reach,
    /// Whether more cannot be told.
    pub unknown: bool,
}

impl Lone {
    pub(super) fn new(side: Side<'_>, ids: &FxHashSet<EndpointId>, options: &Options) -> Self {
        if ids.is_empty() {
            return Lone::default();
        }
        let how = list::Options { expand: false, outside: options.outside };
        let listing = Listing::of(side.compiled, how, side.worked, |id| ids.contains(&id));
        let is_lone = |entity: &Entity| entity.members.first().is_some_and(|id| ids.contains(id));
        let is_wanted = |entity: &Entity| {
            let namespace = entity.namespace.as_deref();
            options.namespaces.is_empty() || options.namespaces.iter().any(|wanted| Some(&**wanted) == namespace)
        };
        let places: FxHashMap<*const Entity, usize> = [&listing.sources, &listing.destinations]
            .into_iter()
            .flat_map(|list| list.iter().enumerate().map(|(at, entity)| (std::ptr::from_ref(entity), at)))
            .collect();
        let place = |entity: &Entity| places.get(&std::ptr::from_ref(entity)).copied();
        let mut pairs = Vec::new();
        listing.for_each(
            |_| true,
            |source, destination, pair| {
                let itself = listing.is_single(source) && source.members == destination.members;
                let wanted = is_wanted(source) || is_wanted(destination);
                if itself || !wanted || !(is_lone(source) || is_lone(destination)) {
                    return;
                }
                let (Pair::Open(reach) | Pair::Unknown(reach)) = pair;
                let reach = options.ports.as_ref().map_or_else(|| reach.clone(), |ports| reach.only(ports));
                let unknown = matches!(pair, Pair::Unknown(_));
                if let (Some(source), Some(destination)) = (place(source), place(destination))
                    && (unknown || !reach.is_empty())
                {
                    pairs.push(LonePair { source, destination, reach, unknown });
                }
            },
        );
        let named = |ids: &mut dyn Iterator<Item = EndpointId>| -> BTreeSet<String> {
            ids.filter_map(|id| name(side.compiled, id, options)).collect()
        };
        let names = named(&mut ids.iter().copied());
        let of = |list: &'_ [Entity], at: usize| list.get(at).map(|e| e.members.clone()).unwrap_or_default();
        let mut talking = pairs
            .iter()
            .flat_map(|pair: &LonePair| {
                [of(&listing.sources, pair.source), of(&listing.destinations, pair.destination)]
            })
            .flatten()
            .collect::<FxHashSet<EndpointId>>()
            .into_iter();
        let quiet = names.difference(&named(&mut talking)).cloned().collect();
        let names = names.into_iter().collect();
        let lone_sources = listing.sources.iter().map(is_lone).collect();
        let lone_destinations = listing.destinations.iter().map(is_lone).collect();
        let Listing { sources, destinations, .. } = listing;
        Lone { names, sources, destinations, lone_sources, lone_destinations, quiet, pairs }
    }
}

/// The workload of an endpoint, or the bare pod, if it is wanted.
fn name(compiled: &Compiled, id: EndpointId, options: &Options) -> Option<String> {
    let endpoint = &compiled.entry(id)?.endpoint;
    let namespace = &endpoint.key.namespace;
    if !options.namespaces.is_empty() && !options.namespaces.contains(namespace) {
        return None;
    }
    Some(match &endpoint.workload {
        Some((kind, name)) => format!("{namespace}/{}/{name}", kind.short()),
        None => endpoint.key.to_string(),
    })
}
