//! NS020: port names that no pod has (C3).

use super::page;
use super::parts::{blocks_of, is_private};
use super::reach::{Reach, Site};
use super::words::some_of;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::diagnostic::nearest;
use netsim_shared::object::{ContainerPort, Path};
use netsim_shared::policy::{Direction, NamedPort, PortMatch};
use netsim_shared::services::Front;
use std::collections::BTreeSet;

pub const RULE: Rule = Rule {
    id: "NS020",
    name: "port-name-unknown",
    severity: Severity::Error,
    summary: "a port name that no pod concerned has, so that the entry allows nothing",
    neighbours: &[],
    page: page!("NS020"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let reach = Reach::of(context);
    let mut fronts = None;
    let mut found = Vec::new();
    for site in reach.sites() {
        let ports = site.rule().ports.iter().flatten().enumerate();
        let named = ports.filter_map(|(index, port)| match port {
            PortMatch::Named(named) => Some((index, named)),
            PortMatch::Range(_) => None,
        });
        for (index, named) in named {
            let declared = reach.declared(&site);
            if declared.iter().copied().flatten().any(|port| is(port, named)) {
                continue;
            }
            let fronts: &Vec<Front<'_>> = fronts.get_or_insert_with(|| context.fronts());
            found.extend(judge(context, &reach, &site, index, named, &declared, fronts));
        }
    }
    found
}

fn is(port: &ContainerPort, named: &NamedPort) -> bool {
    port.protocol == named.protocol && port.name.as_ref() == Some(&named.name)
}

fn judge(
    context: &Context<'_>,
    reach: &Reach<'_, '_>,
    site: &Site<'_>,
    index: usize,
    named: &NamedPort,
    declared: &[&[ContainerPort]],
    fronts: &[Front<'_>],
) -> Option<Found> {
    let path = site.at.port_path(index).key("port");
    let name = &named.name;
    if declared.is_empty() {
        // Peers that select no pod are another rule's matter, and private addresses may yet be those of pods.
        let mut blocks = blocks_of(site.at).peekable();
        let outside = blocks.peek().is_some() && blocks.all(|at| !is_private(&at.block.cidr));
        let message = format!("addresses outside the cluster have no port names: `{name}` allows nothing here");
        return outside.then(|| site.at.found(path, message).help("write the number of the port"));
    }
    let protocol = named.protocol;
    let message = format!("no {} has a {protocol} port named `{name}`: this entry allows nothing", site.whose());
    let found = site.at.found(path, message);
    let ports = || declared.iter().copied().flatten();
    if let Some(other) = ports().find(|port| port.name.as_ref() == Some(name)) {
        return Some(found.help(format!("`{name}` is {} there: write `protocol: {}`", other.protocol, other.protocol)));
    }
    // The name of a Service's port in place of the container's is the most frequent slip.
    let of_service = fronts.iter().find_map(|front| {
        let port = front.service.ports.iter().position(|p| p.protocol == protocol && p.name.as_ref() == Some(name))?;
        let id = front.pods.iter().find(|id| reach.holds(site, **id))?;
        let number = front.target(front.service.ports.get(port)?, context.endpoint(*id)?)?;
        let place = front.service.origin.place_of(&Path::spec().key("ports").index(port).key("name"));
        Some((front.name(), number, place))
    });
    if let Some((service, number, place)) = of_service {
        let help =
            format!("Service {service} calls its port so; on the pods it is port {number}: write `port: {number}`");
        return Some(found.help(help).related(format!("Service {service} has a port of that name"), place));
    }
    let names: BTreeSet<&str> =
        ports().filter(|port| port.protocol == protocol).filter_map(|port| port.name.as_deref()).collect();
    let help = match nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if names.is_empty() => {
            let whom =
                if site.at.direction == Direction::Ingress { "their containers" } else { "the containers there" };
            format!("{whom} name no {protocol} port: write the number, or name the container port")
        }
        None => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("{protocol} ports there are named {}", some_of(&names))
        }
    };
    Some(found.help(help))
}
