//! NS017: blocks for the addresses of Services, which no policy ever sees (E1).

use super::page;
use super::parts::{BlockAt, blocks};
use super::words::some_of;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::compile::Address;
use netsim_shared::net::{AddressRange, Family, PerFamily, to_number};
use netsim_shared::object::{Path, Service};
use std::collections::HashSet;

pub const RULE: Rule = Rule {
    id: "NS017",
    name: "block-covers-services",
    severity: Severity::Warning,
    summary: "an `ipBlock` for addresses of Services, which policies never see",
    neighbours: &[],
    page: page!("NS017"),
    check,
};

/// The widest block that is taken for a range of Services: what is wider is meant for more than them.
fn widest(family: Family) -> u8 {
    match family {
        Family::V4 => 12,
        Family::V6 => 64,
    }
}

fn check(context: &Context<'_>) -> Vec<Found> {
    let mut services: PerFamily<Vec<(u128, &Service)>> = PerFamily::default();
    for service in context.index.services() {
        for address in &service.cluster_addresses {
            services.get_mut(Family::of(*address)).push((to_number(*address), service));
        }
    }
    services.v4.sort_unstable_by_key(|(address, _)| *address);
    services.v6.sort_unstable_by_key(|(address, _)| *address);
    let mut ends: PerFamily<Vec<u128>> = PerFamily::from_fn(|family| addresses_of_ends(context, family));
    ends.v4.sort_unstable();
    ends.v6.sort_unstable();
    let found = blocks(context).filter_map(|at| {
        let family = at.family();
        if at.block.cidr.prefix_len() < widest(family) {
            return None;
        }
        let held = at.ranges();
        let all = services.get(family);
        let inside = |range: &AddressRange| {
            let from = all.partition_point(|(address, _)| *address < range.first);
            all.get(from..all.partition_point(|(address, _)| *address <= range.last)).unwrap_or_default()
        };
        let services: Vec<&Service> = held.iter().flat_map(inside).map(|(_, service)| *service).collect();
        let ends = ends.get(family);
        let has_ends = held.iter().any(|range| {
            let from = ends.partition_point(|address| *address < range.first);
            ends.get(from).is_some_and(|address| *address <= range.last)
        });
        // A block that also holds pods or nodes does have an effect, and another rule's say.
        (!services.is_empty() && !has_ends).then(|| found(&at, &services))
    });
    found.collect()
}

/// The addresses of pods and nodes: those that policies do see.
fn addresses_of_ends(context: &Context<'_>, family: Family) -> Vec<u128> {
    let pods = context.compiled.entries().filter_map(|(_, entry)| match entry.endpoint.addresses.get(family) {
        Address::Known(address) => Some(*address),
        _ => None,
    });
    let nodes = context.index.nodes().flat_map(|node| node.addresses.iter().copied());
    pods.chain(nodes).filter(|address| Family::of(*address) == family).map(to_number).collect()
}

fn found(at: &BlockAt<'_>, services: &[&Service]) -> Found {
    let mut seen = HashSet::new();
    let names: Vec<String> = services
        .iter()
        .map(|service| format!("{}/{}", service.namespace, service.name))
        .filter(|name| seen.insert(name.clone()))
        .collect();
    let what = if names.len() == 1 { "the address of Service" } else { "addresses of Services" };
    let message = format!(
        "`{}` holds {what} {}: policies see the addresses of pods, never those of Services",
        at.block,
        some_of(&names)
    );
    let help = match services {
        [service] => match &service.selector {
            Some(selector) => {
                let namespace = &service.namespace;
                format!("select its pods: `{selector}` in namespace {namespace}, and the ports that they listen on")
            }
            None => "it leads to the addresses of its endpoints: name these, and their ports".to_owned(),
        },
        _ => "select the pods behind them with `podSelector` and `namespaceSelector`".to_owned(),
    };
    let found = at.found(message).help(help);
    match services.first() {
        Some(service) => {
            let what = format!("Service {}/{} has such an address", service.namespace, service.name);
            found.related(what, service.origin.place_of(&Path::spec().key("clusterIP")))
        }
        None => found,
    }
}
