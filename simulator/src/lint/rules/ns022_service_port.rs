//! NS022: the port of a Service where that of its pods is needed (E1).

use super::page;
use super::reach::{Reach, Site};
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::compile::EndpointId;
use netsim_shared::object::{Path, ServiceKind};
use netsim_shared::policy::{Direction, PortMatch};
use netsim_shared::ports::Protocol;
use netsim_shared::services::Front;
use std::collections::{BTreeSet, HashMap, HashSet};

pub const RULE: Rule = Rule {
    id: "NS022",
    name: "service-port",
    severity: Severity::Warning,
    summary: "the number of a Service's port where policies look at that of its pods",
    neighbours: &[],
    page: page!("NS022"),
    check,
};

/// A Service that maps a port to another number.
#[derive(Clone, Copy)]
struct Mapping<'f, 'c> {
    front: &'f Front<'c>,
    port: usize,
}

fn check(context: &Context<'_>) -> Vec<Found> {
    let fronts = context.fronts();
    let mut mapped: HashMap<(Protocol, u16), Vec<Mapping<'_, '_>>> = HashMap::new();
    for front in fronts.iter().filter(|front| front.service.kind != ServiceKind::Headless) {
        for (index, port) in front.service.ports.iter().enumerate() {
            mapped.entry((port.protocol, port.port)).or_default().push(Mapping { front, port: index });
        }
    }
    if mapped.is_empty() {
        return Vec::new();
    }
    let reach = Reach::of(context);
    let mut found = Vec::new();
    for site in reach.sites() {
        // Beside blocks the number may be meant for what lies outside.
        if site.at.direction == Direction::Egress && !site.names_pods_only() {
            continue;
        }
        for (index, port) in site.rule().ports.iter().flatten().enumerate() {
            let PortMatch::Range(range) = port else { continue };
            if range.from != range.to {
                continue;
            }
            let mappings = mapped.get(&(range.protocol, range.from)).into_iter().flatten();
            found.extend(judge(context, &reach, &site, index, (range.protocol, range.from), mappings));
        }
    }
    found
}

fn judge<'f, 'c: 'f>(
    context: &Context<'_>,
    reach: &Reach<'_, '_>,
    site: &Site<'_>,
    index: usize,
    (protocol, number): (Protocol, u16),
    mappings: impl Iterator<Item = &'f Mapping<'f, 'c>>,
) -> Option<Found> {
    let held = |mapping: &&Mapping<'_, '_>| mapping.front.pods.iter().any(|id| reach.holds(site, *id));
    let mappings: Vec<&Mapping<'_, '_>> = mappings.filter(held).collect();
    let first = mappings.first()?;
    let declared = reach.declared(site);
    if declared.iter().copied().flatten().any(|port| port.protocol == protocol && port.port == number) {
        return None;
    }
    let behind: HashSet<EndpointId> = mappings.iter().flat_map(|mapping| mapping.front.pods.iter().copied()).collect();
    if declared.iter().any(|ports| ports.is_empty()) {
        // A pod that declares no port may listen on any, unless such a Service says what it listens on.
        let silent = |id: &EndpointId| context.endpoint(*id).is_some_and(|endpoint| endpoint.ports.is_empty());
        if reach.pods(site).iter().any(|id| silent(id) && !behind.contains(id)) {
            return None;
        }
    }
    let mut targets: BTreeSet<u16> = BTreeSet::new();
    for mapping in &mappings {
        let port = mapping.front.service.ports.get(mapping.port)?;
        let pods = mapping.front.pods.iter().filter(|id| reach.holds(site, **id));
        targets.extend(pods.filter_map(|id| mapping.front.target(port, context.endpoint(*id)?)));
    }
    // Another entry of the rule has the right number, or some Service leads to this one.
    let has = |target: &u16| {
        site.rule().ports.iter().flatten().any(|port| match port {
            PortMatch::Range(range) => range.contains(protocol, *target),
            PortMatch::Named(named) => declared.iter().copied().flatten().any(|port| {
                port.port == *target && port.protocol == protocol && port.name.as_ref() == Some(&named.name)
            }),
        })
    };
    if targets.is_empty() || targets.contains(&number) || targets.iter().all(has) {
        return None;
    }
    let numbers: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let service = first.front.name();
    let message = format!(
        "{number} is the port of Service {service}, whose pods listen on {}: policies see the port of the pod",
        numbers.join(", ")
    );
    let port = first.front.service.ports.get(first.port)?;
    let help = match &port.target {
        netsim_shared::object::TargetPort::Name(name) => {
            format!("write `port: {}`, or its name: `port: {name}`", numbers.join("` and `port: "))
        }
        netsim_shared::object::TargetPort::Number(_) => format!("write `port: {}`", numbers.join("` and `port: ")),
    };
    let place = first.front.service.origin.place_of(&Path::spec().key("ports").index(first.port).key("port"));
    let path = site.at.port_path(index).key("port");
    Some(site.at.found(path, message).help(help).related(format!("Service {service} has the port {number}"), place))
}
