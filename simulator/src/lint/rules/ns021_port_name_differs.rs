//! NS021: port names that stand for different numbers on pods that should be alike (C3, E1).

use super::page;
use super::reach::{Reach, Site};
use super::words::pods;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::compile::EndpointId;
use netsim_shared::diagnostic::Place;
use netsim_shared::object::{Path, ServiceKind, TargetPort};
use netsim_shared::policy::{NamedPort, PortMatch};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub const RULE: Rule = Rule {
    id: "NS021",
    name: "port-name-differs",
    severity: Severity::Warning,
    summary: "a port name that stands for different numbers on pods behind one Service or of one workload",
    neighbours: &[],
    page: page!("NS021"),
    check,
};

/// Pods that should be alike, on which a name stands for different numbers.
struct Odd {
    /// `behind Service shop/web, which leads to 8080 on each of them`
    who: String,
    /// The Service, in words, and where it stands.
    place: Option<(String, Option<Place>)>,
    numbers: Vec<(EndpointId, u16)>,
}

fn check(context: &Context<'_>) -> Vec<Found> {
    let used: BTreeSet<&NamedPort> = super::parts::rules(context)
        .flat_map(|at| at.rule.ports.iter().flatten())
        .filter_map(|port| match port {
            PortMatch::Named(named) => Some(named),
            PortMatch::Range(_) => None,
        })
        .collect();
    if used.is_empty() {
        return Vec::new();
    }
    let mut odd: HashMap<&NamedPort, Vec<Odd>> = HashMap::new();
    behind_services(context, &used, &mut odd);
    of_workloads(context, &used, &mut odd);
    if odd.is_empty() {
        return Vec::new();
    }
    let reach = Reach::of(context);
    let mut found = Vec::new();
    for site in reach.sites() {
        for (index, port) in site.rule().ports.iter().flatten().enumerate() {
            let PortMatch::Named(named) = port else { continue };
            found.extend(odd.get(named).into_iter().flatten().find_map(|odd| judge(&reach, &site, index, named, odd)));
        }
    }
    found
}

/// What a name stands for on pods; `None` where it is the same on all.
fn numbers(context: &Context<'_>, ids: &[EndpointId], named: &NamedPort) -> Option<Vec<(EndpointId, u16)>> {
    let endpoints = ids.iter().filter_map(|id| Some((*id, context.endpoint(*id)?)));
    let numbers: Vec<(EndpointId, u16)> =
        endpoints.flat_map(|(id, endpoint)| endpoint.resolve(named).map(move |number| (id, number))).collect();
    let (_, first) = numbers.first()?;
    numbers.iter().any(|(_, number)| number != first).then_some(numbers)
}

/// A Service that leads to one number, in front of pods that give another one the name.
fn behind_services<'c>(
    context: &Context<'c>,
    used: &BTreeSet<&'c NamedPort>,
    odd: &mut HashMap<&'c NamedPort, Vec<Odd>>,
) {
    for front in context.fronts() {
        for (i, port) in front.service.ports.iter().enumerate() {
            let target = match (&front.service.kind, &port.target) {
                (ServiceKind::Headless, _) => port.port,
                (_, TargetPort::Number(number)) => *number,
                // A Service that goes by the name finds the number of each pod, as the policy does.
                (_, TargetPort::Name(_)) => continue,
            };
            for named in used.iter().filter(|named| named.protocol == port.protocol) {
                let Some(numbers) = numbers(context, &front.pods, named) else { continue };
                if !numbers.iter().any(|(_, number)| *number == target) {
                    continue;
                }
                let place = front.service.origin.place_of(&Path::spec().key("ports").index(i).key("targetPort"));
                let who = format!("behind Service {}, which leads to {target} on each of them", front.name());
                let place = Some((format!("Service {} leads to {target}", front.name()), place));
                odd.entry(named).or_default().push(Odd { who, place, numbers });
            }
        }
    }
}

/// Pods of one workload, of which a rollout has changed some.
fn of_workloads<'c>(context: &Context<'c>, used: &BTreeSet<&'c NamedPort>, odd: &mut HashMap<&'c NamedPort, Vec<Odd>>) {
    let mut workloads: BTreeMap<String, Vec<EndpointId>> = BTreeMap::new();
    let mut seen = HashMap::new();
    for (id, entry) in context.compiled.entries() {
        let Some((kind, name)) = &entry.endpoint.workload else { continue };
        let ports = seen.entry((*kind, &entry.endpoint.key.namespace, name)).or_insert_with(Vec::new);
        // Pods that declare the same are one for this question.
        if !ports.contains(&&entry.endpoint.ports) {
            ports.push(&entry.endpoint.ports);
            let name = format!("{} {}/{name}", kind.kind(), entry.endpoint.key.namespace);
            workloads.entry(name).or_default().push(id);
        }
    }
    for (name, ids) in workloads.into_iter().filter(|(_, ids)| ids.len() > 1) {
        for named in used {
            if let Some(numbers) = numbers(context, &ids, named) {
                let who = format!("on pods of {name}");
                odd.entry(named).or_default().push(Odd { who, place: None, numbers });
            }
        }
    }
}

fn judge(reach: &Reach<'_, '_>, site: &Site<'_>, index: usize, named: &NamedPort, odd: &Odd) -> Option<Found> {
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for (_, number) in odd.numbers.iter().filter(|(id, _)| reach.holds(site, *id)) {
        *counts.entry(*number).or_default() += 1;
    }
    if counts.len() < 2 {
        return None;
    }
    let by_number = odd.place.is_some();
    let said: Vec<String> = counts
        .iter()
        .map(|(number, count)| if by_number { format!("{number} on {}", pods(*count)) } else { number.to_string() })
        .collect();
    let message = format!("`{}` stands for {} {}", named.name, said.join(" and for "), odd.who);
    let help = if by_number {
        "give the pods one number, or let the Service go by the name: `targetPort: NAME`"
    } else {
        "a rollout may be under way: until it is over, connections to one of the numbers are denied on some of the pods"
    };
    let found = site.at.found(site.at.port_path(index).key("port"), message).help(help.replace("NAME", &named.name));
    Some(match &odd.place {
        Some((what, place)) => found.related(what.clone(), place.clone()),
        None => found,
    })
}
