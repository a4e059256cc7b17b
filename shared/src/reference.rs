//! A second evaluator, naive on purpose: each clause of `docs/semantics.md` once, as it is written.
//!
//! It shares the objects with the compiled form and nothing else: no classes, no numbers, no sets.
//! The tests demand that both give the same answer to everything.

use crate::cluster::ClusterIndex;
use crate::compile::{Address, Endpoint, Modes};
use crate::dns::NamePattern;
use crate::evaluate::Outcome;
use crate::net::Family;
use crate::policy::{Direction, NetworkPolicy, Peer, PortMatch, Rule};
use crate::ports::Protocol;
use crate::selector::{Condition, Labels, Selector};
use ipnet::IpNet;
use std::net::IpAddr;

/// One end of a connection, as the reference sees it.
#[derive(Debug, Clone, Copy)]
pub enum End<'e> {
    /// A pod or a workload.
    Endpoint(&'e Endpoint),
    /// An address that belongs to no pod.
    Address(IpAddr),
}

/// Three-valued: what can be told of something that may not be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tri {
    Yes,
    No,
    /// Assumed not to be (B8): unknown when strict.
    Assumed,
    /// Cannot be told.
    Open,
}

/// Judges one connection in one family; `None` when an end has no address in it.
pub fn judge(
    index: &ClusterIndex,
    modes: &Modes,
    source: End<'_>,
    destination: End<'_>,
    protocol: Protocol,
    port: u16,
    family: Family,
) -> Option<Outcome> {
    if !has(source, family) || !has(destination, family) {
        return None;
    }
    // A6: a pod reaches itself. A template stands for several pods, so it is not "itself".
    if let (End::Endpoint(a), End::Endpoint(b)) = (source, destination)
        && a.key == b.key
        && a.key.kind.is_none()
    {
        return Some(Outcome::Allowed);
    }
    // D2: a pod and its own node.
    let own_node = own_node(index, source, destination);
    if own_node == Tri::Yes {
        return Some(Outcome::Allowed);
    }
    // A4: both sides.
    let egress = side(index, modes, Direction::Egress, source, destination, destination, protocol, port, family);
    let ingress = side(index, modes, Direction::Ingress, destination, source, destination, protocol, port, family);
    Some(match (egress, ingress) {
        (Tri::Yes, Tri::Yes) => Outcome::Allowed,
        _ if own_node == Tri::Open => Outcome::Unknown,
        (Tri::No, _) | (_, Tri::No) => Outcome::Denied,
        (Tri::Open, _) | (_, Tri::Open) => Outcome::Unknown,
        _ if modes.strict => Outcome::Unknown,
        _ => Outcome::Denied,
    })
}

fn has(end: End<'_>, family: Family) -> bool {
    match end {
        End::Endpoint(e) => *e.addresses.get(family) != Address::Absent,
        End::Address(address) => Family::of(address) == family,
    }
}

/// D2, D1: whether one end is a pod and the other its own node (or on its network).
fn own_node(index: &ClusterIndex, a: End<'_>, b: End<'_>) -> Tri {
    let (Some(pod), host) = (match (is_node(index, a), is_node(index, b)) {
        (None, Some(node)) => (pod_of(a), node),
        (Some(node), None) => (pod_of(b), node),
        _ => return Tri::No,
    }) else {
        return Tri::No;
    };
    match (&pod.node, host) {
        (Some(a), Some(b)) if **a == *b => Tri::Yes,
        (Some(_), Some(_)) => Tri::No,
        _ => Tri::Open,
    }
}

fn pod_of(end: End<'_>) -> Option<&Endpoint> {
    match end {
        End::Endpoint(e) if !e.host_network => Some(e),
        _ => None,
    }
}

/// Whether an end is a node or on a node's network; if so the node's name, if that is known.
fn is_node(index: &ClusterIndex, end: End<'_>) -> Option<Option<String>> {
    let by_address = |address: IpAddr| -> Option<String> {
        let listed = index.nodes().find(|node| node.addresses.contains(&address)).map(|node| node.name.to_string());
        let of_pods = || {
            // Pods that take no part say nothing (D3); should pods disagree, the first name is taken.
            let on = |pod: &&std::sync::Arc<crate::object::Pod>| {
                ClusterIndex::absence(pod).is_none() && pod.host_addresses.contains(&address)
            };
            index.pods().filter(on).filter_map(|pod| pod.spec.node.as_ref()).min().map(ToString::to_string)
        };
        listed.or_else(of_pods)
    };
    match end {
        End::Address(address) => by_address(address).map(Some),
        End::Endpoint(e) if e.host_network => {
            let known = Family::ALL.into_iter().find_map(|f| match e.addresses.get(f) {
                Address::Known(address) => by_address(*address),
                _ => None,
            });
            Some(e.node.as_ref().map(ToString::to_string).or(known))
        }
        End::Endpoint(_) => None,
    }
}

/// A1–A3: whether a side allows the connection.
#[allow(clippy::too_many_arguments, reason = "the question has this many parts, and a struct would hide them")]
fn side(
    index: &ClusterIndex,
    modes: &Modes,
    direction: Direction,
    subject: End<'_>,
    peer: End<'_>,
    destination: End<'_>,
    protocol: Protocol,
    port: u16,
    family: Family,
) -> Tri {
    // D1: only pods with an address of their own are isolated.
    let End::Endpoint(subject) = subject else { return Tri::Yes };
    if subject.host_network {
        return Tri::Yes;
    }
    let selects = |policy: &NetworkPolicy| {
        policy.namespace == subject.key.namespace && matches(&policy.pod_selector, &subject.labels)
    };
    let mut isolated = false;
    let mut best = Tri::No;
    for policy in index.policies().filter(|policy| selects(policy)) {
        let Some(rules) = policy.rules(direction) else { continue };
        isolated = true;
        for rule in rules {
            if !port_fits(rule, destination, protocol, port) {
                continue;
            }
            best = match (best, peer_fits(index, modes, &policy.namespace, rule, peer, family)) {
                (Tri::Yes, _) | (_, Tri::Yes) => Tri::Yes,
                (Tri::Open, _) | (_, Tri::Open) => Tri::Open,
                (Tri::Assumed, _) | (_, Tri::Assumed) => Tri::Assumed,
                _ => Tri::No,
            };
        }
    }
    if isolated { best } else { Tri::Yes }
}

/// C1–C4: whether a rule's ports hold the port.
fn port_fits(rule: &Rule, destination: End<'_>, protocol: Protocol, port: u16) -> bool {
    let Some(ports) = &rule.ports else { return true };
    ports.iter().any(|item| match item {
        PortMatch::Range(range) => range.protocol == protocol && port >= range.from && port <= range.to,
        PortMatch::Named(named) => match destination {
            // C3: only pods have named ports, on the protocol of the rule.
            End::Endpoint(e) if !e.host_network => {
                named.protocol == protocol
                    && e.ports.iter().any(|p| {
                        p.protocol == protocol && p.port == port && p.name.as_deref() == Some(named.name.as_ref())
                    })
            }
            _ => false,
        },
    })
}

/// A8, B1–B8: whether a rule's peers hold an end.
fn peer_fits(index: &ClusterIndex, modes: &Modes, own: &str, rule: &Rule, peer: End<'_>, family: Family) -> Tri {
    let Some(peers) = &rule.peers else { return Tri::Yes };
    let mut best = Tri::No;
    for item in peers {
        let fits = match (item, peer) {
            (Peer::Pods { namespaces, pods }, End::Endpoint(e)) if !e.host_network => {
                let in_scope = match namespaces {
                    None => e.key.namespace.as_ref() == own,
                    Some(selector) => matches(selector, &namespace_labels(index, &e.key.namespace)),
                };
                if in_scope && matches(pods, &e.labels) { Tri::Yes } else { Tri::No }
            }
            (Peer::Pods { .. }, _) => Tri::No,
            // G5: names stand for what is outside.
            (Peer::Names(_), End::Endpoint(_)) => Tri::No,
            (Peer::Names(patterns), End::Address(address)) => named(modes, patterns, address),
            (Peer::Block(block), End::Address(address)) => yes(in_block(&block.cidr, &block.except, address)),
            (Peer::Block(_), End::Endpoint(e)) if !e.host_network && !modes.ip_block_matches_pods => Tri::No,
            (Peer::Block(block), End::Endpoint(e)) => match e.addresses.get(family) {
                Address::Known(address) => yes(in_block(&block.cidr, &block.except, *address)),
                Address::Absent => Tri::No,
                Address::Unknown => unknown_in_block(index, modes, &block.cidr, &block.except, family, e.host_network),
            },
        };
        best = match (best, fits) {
            (Tri::Yes, _) | (_, Tri::Yes) => Tri::Yes,
            (Tri::Open, _) | (_, Tri::Open) => Tri::Open,
            (Tri::Assumed, _) | (_, Tri::Assumed) => Tri::Assumed,
            _ => Tri::No,
        };
    }
    best
}

/// G1, G5, G6: whether one of these names stands for an address.
fn named(modes: &Modes, patterns: &[NamePattern], address: IpAddr) -> Tri {
    let stands = |pattern: &NamePattern| {
        modes.names.names().any(|(name, addresses)| {
            let text = match pattern {
                NamePattern::Exact(exact) => name.as_str() == exact.as_str(),
                NamePattern::Below(parent) => name.as_str().ends_with(&format!(".{parent}")),
            };
            text && addresses.contains(&address)
        })
    };
    if patterns.iter().any(stands) {
        Tri::Yes
    } else if modes.names.may_be_named(address) && patterns.iter().any(|pattern| !modes.names.knows(pattern)) {
        Tri::Open
    } else {
        Tri::No
    }
}

fn yes(condition: bool) -> Tri {
    if condition { Tri::Yes } else { Tri::No }
}

fn in_block(cidr: &IpNet, except: &[IpNet], address: IpAddr) -> bool {
    cidr.contains(&address) && !except.iter().any(|e| e.contains(&address))
}

/// B8: a pod without an address.
fn unknown_in_block(
    index: &ClusterIndex,
    modes: &Modes,
    cidr: &IpNet,
    except: &[IpNet],
    family: Family,
    host: bool,
) -> Tri {
    let of_family = |net: &IpNet| Family::of(net.network()) == family;
    if !of_family(cidr) {
        return Tri::No;
    }
    if cidr.prefix_len() == 0 && except.is_empty() {
        return Tri::Yes;
    }
    if host {
        return Tri::Open;
    }
    let named: Vec<IpNet> = if modes.pod_cidrs.is_empty() {
        index.nodes().flat_map(|node| node.pod_cidrs.clone()).collect()
    } else {
        modes.pod_cidrs.clone()
    };
    let ranges: Vec<IpNet> = named.into_iter().filter(of_family).collect();
    let apart = |a: &IpNet, b: &IpNet| !a.contains(b) && !b.contains(a);
    let covers = |range: &IpNet| cidr.contains(range) && except.iter().all(|e| apart(e, range));
    // A range is out of reach when it is apart from the block, or wholly excepted. Exceptions may
    // also add up to a whole range; `IpNet::aggregate` joins them.
    let joined = IpNet::aggregate(&except.to_vec());
    let disjoint = |range: &IpNet| {
        apart(cidr, range)
            || joined.iter().any(|e| e.contains(range))
            || (range.contains(cidr) && joined.iter().any(|e| e.contains(cidr)))
    };
    if !ranges.is_empty() && ranges.iter().all(covers) {
        Tri::Yes
    } else if !ranges.is_empty() && ranges.iter().all(disjoint) {
        Tri::No
    } else {
        Tri::Assumed
    }
}

/// B4: a namespace's labels; one that is not defined has its name's label alone.
fn namespace_labels(index: &ClusterIndex, name: &str) -> Labels {
    match index.namespace(name) {
        Some(namespace) => namespace.labels.clone(),
        None => [("kubernetes.io/metadata.name", name)].into_iter().collect(),
    }
}

/// B2, B3: written out again, so that a slip in [`Selector::matches`] shows.
fn matches(selector: &Selector, labels: &Labels) -> bool {
    selector.requirements().iter().all(|requirement| {
        let values: Vec<&str> =
            labels.iter().filter(|(key, _)| *key == requirement.key.as_ref()).map(|(_, value)| value).collect();
        match &requirement.condition {
            Condition::In(wanted) => values.iter().any(|v| wanted.iter().any(|w| w.as_ref() == *v)),
            Condition::NotIn(unwanted) => values.iter().all(|v| unwanted.iter().all(|u| u.as_ref() != *v)),
            Condition::Exists => !values.is_empty(),
            Condition::DoesNotExist => values.is_empty(),
        }
    })
}
