//! NS029: ways from outside the cluster to isolated pods, whose policies may not let it in (E3).

use super::containers;
use super::page;
use crate::lint::{Context, Found, Named, Rule, Severity};
use netsim_shared::compile::side::PolicySlot;
use netsim_shared::compile::{EndpointId, Entry};
use netsim_shared::diagnostic::Place;
use netsim_shared::ingest::yaml::{Node, Value};
use netsim_shared::net::family_of;
use netsim_shared::object::{Path, ServiceKind, ServicePort};
use netsim_shared::policy::{Direction, Peer};
use netsim_shared::ports::Protocol;
use netsim_shared::services::Front;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub const RULE: Rule = Rule {
    id: "NS029",
    name: "from-outside",
    severity: Severity::Warning,
    summary: "a hostPort, NodePort, load balancer or external address that leads to an isolated pod",
    neighbours: &["kubescape C-0044", "Trivy KSV-0024", "kube-linter exposed-services", "Polaris hostPortSet"],
    page: page!("NS029"),
    check,
};

/// What the policies of a pod say of connections from outside to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Outside {
    /// They come in whatever their source is, or nothing isolates the pod.
    Open,
    /// Some addresses are let in.
    Some,
    /// No address is.
    Nobody,
}

type Judged = HashMap<(u32, Protocol, u16), Outside>;

fn check(context: &Context<'_>) -> Vec<Found> {
    let mut judged = Judged::new();
    let fronts = context.fronts();
    let services = fronts.iter().filter_map(|front| by_service(context, front, &mut judged));
    let mut found: Vec<Found> = services.collect();
    found.extend(by_host_ports(context, &mut judged));
    found
}

fn judge(context: &Context<'_>, entry: &Entry, protocol: Protocol, port: u16, judged: &mut Judged) -> Outside {
    let side = context.compiled.side(Direction::Ingress);
    *judged.entry((entry.ingress, protocol, port)).or_insert_with(|| {
        let names = side.group_of(entry.ingress).map_or(&[][..], |group| &group.names);
        let mut slots = side.policies_of(entry.ingress).peekable();
        if slots.peek().is_none() {
            return Outside::Open;
        }
        let mut best = Outside::Nobody;
        let mut whole = BTreeSet::new();
        for slot in slots {
            let rules = slot.policy.rules(Direction::Ingress).unwrap_or_default().iter().zip(&slot.rules);
            for (rule, _) in rules.filter(|(_, compiled)| side.rule_has_port(compiled, names, protocol, port)) {
                let Some(peers) = &rule.peers else { return Outside::Open };
                for block in peers.iter().filter_map(|peer| match peer {
                    Peer::Block(block) => Some(block),
                    Peer::Pods { .. } | Peer::Names(_) => None,
                }) {
                    best = Outside::Some;
                    if block.cidr.prefix_len() == 0 && block.except.is_empty() {
                        whole.insert(family_of(&block.cidr));
                    }
                }
            }
        }
        let families = context.compiled.families();
        if families.iter().all(|family| whole.contains(family)) { Outside::Open } else { best }
    })
}

/// The policies that isolate pods, for the places.
fn isolating(context: &Context<'_>, ids: &[EndpointId]) -> Vec<(String, Option<Place>)> {
    let side = context.compiled.side(Direction::Ingress);
    let groups: BTreeSet<u32> = ids.iter().filter_map(|id| context.compiled.entry(*id)).map(|e| e.ingress).collect();
    let slots = groups.into_iter().flat_map(|group| side.policies_of(group));
    let by_name: BTreeMap<String, &PolicySlot> =
        slots.map(|slot| (format!("{}/{}", slot.policy.namespace, slot.policy.name), slot)).collect();
    let place = |slot: &PolicySlot| slot.policy.origin.place_of(&Path::spec().key("podSelector"));
    by_name.into_iter().take(3).map(|(name, slot)| (format!("{name} isolates the pods"), place(slot))).collect()
}

fn by_service(context: &Context<'_>, front: &Front<'_>, judged: &mut Judged) -> Option<Found> {
    let service = front.service;
    let (way, path) = match service.kind {
        ServiceKind::NodePort => ("a port of every node leads", Path::spec().key("type")),
        ServiceKind::LoadBalancer => ("a load balancer leads", Path::spec().key("type")),
        _ if !service.external_addresses.is_empty() => ("external addresses lead", Path::spec().key("externalIPs")),
        _ => return None,
    };
    let mut ports: Vec<(&ServicePort, Outside)> = Vec::new();
    let mut concerned: BTreeSet<EndpointId> = BTreeSet::new();
    for port in &service.ports {
        let mut worst = Outside::Open;
        for id in &front.pods {
            let Some(entry) = context.compiled.entry(*id).filter(|entry| !entry.endpoint.host_network) else {
                continue;
            };
            let Some(target) = front.target(port, &entry.endpoint) else { continue };
            let outside = judge(context, entry, port.protocol, target, judged);
            // Clients keep their addresses, so that a rule for addresses does what it says.
            if outside == Outside::Open || (service.keeps_source && outside == Outside::Some) {
                continue;
            }
            worst = worst.max(outside);
            concerned.insert(*id);
        }
        if worst != Outside::Open {
            ports.push((port, worst));
        }
    }
    let (_, worst) = ports.iter().max_by_key(|(_, outside)| *outside)?;
    let numbers: Vec<String> = ports.iter().map(|(port, _)| format!("{} {}", port.protocol, port.port)).collect();
    let numbers = numbers.join(", ");
    let (what, help) = match worst {
        Outside::Nobody if service.keeps_source => (
            "no policy of its pods lets any address outside in: every client is denied",
            "allow their addresses by `ipBlock`: the Service keeps them; or make it a ClusterIP",
        ),
        Outside::Nobody => (
            "no policy of its pods lets any address outside in: clients come through only where the address of the pod's own node replaces theirs",
            "allow their addresses by `ipBlock`, with `externalTrafficPolicy: Local` so that they are kept; or make the Service a ClusterIP",
        ),
        _ => (
            "what comes that way may have the address of a node: whether the policies of its pods let it in cannot be told",
            "set `externalTrafficPolicy: Local`, which keeps the addresses of clients",
        ),
    };
    let message = format!("{way} to {numbers}, and {what}");
    let object = Named::new("Service", &service.namespace, &service.name);
    let mut found = Found::new(object, &service.origin, path, message).help(help);
    let ids: Vec<EndpointId> = concerned.into_iter().collect();
    for (what, place) in isolating(context, &ids) {
        found = found.related(what, place);
    }
    Some(found)
}

fn by_host_ports(context: &Context<'_>, judged: &mut Judged) -> Vec<Found> {
    let mut concerned: BTreeMap<(Protocol, u16, u16), Vec<EndpointId>> = BTreeMap::new();
    for (id, entry) in context.compiled.entries().filter(|(_, entry)| !entry.endpoint.host_network) {
        for port in &entry.endpoint.ports {
            let Some(host_port) = port.host_port else { continue };
            if judge(context, entry, port.protocol, port.port, judged) != Outside::Open {
                concerned.entry((port.protocol, port.port, host_port)).or_default().push(id);
            }
        }
    }
    let mut found = Vec::new();
    for ((protocol, port, host_port), ids) in concerned {
        for (carrier, _) in context.carriers(ids.iter().copied()) {
            let mut path = carrier.pod_spec.clone();
            containers::each(&carrier, |container| {
                let ports = container.node.get("ports").map(|ports| &ports.value);
                let Some(Value::List(items)) = ports else { return };
                let says = |item: &Node<'_>, key: &str, number: u16| {
                    item.get(key).is_some_and(|node| node.value == Value::Integer(i64::from(number)))
                };
                let fits = |item: &Node<'_>| says(item, "hostPort", host_port) && says(item, "containerPort", port);
                if let Some(index) = items.iter().position(fits) {
                    path = container.path.key("ports").index(index).key("hostPort");
                }
            });
            let message = format!(
                "port {host_port} of the node leads to {protocol} {port} of an isolated pod, and what comes that way may have the node's address"
            );
            let mut told = carrier
                .found(path, message)
                .help("allow the port to every peer if it is meant to be open, or take `hostPort` away");
            for (what, place) in isolating(context, &ids) {
                told = told.related(what, place);
            }
            found.push(told);
        }
    }
    found
}
