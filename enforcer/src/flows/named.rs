//! From a logged packet to who was denied what, and by which policies. Pure.

use super::tag::{Cause, Tag, Way};
use super::{End, PodRef, Reason};
use crate::kernel::nflog::Logged;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Entry};
use netsim_shared::policy::Direction;
use std::net::IpAddr;

/// A logged packet with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Why it was denied.
    pub reason: Reason,
    /// Which end was bound.
    pub direction: Direction,
    /// Who opened the connection; of a packet without one, who sent it.
    pub source: End,
    /// Who it was opened to.
    pub destination: End,
    /// The number of its protocol.
    pub protocol: u8,
    /// The port that it was opened to.
    pub port: Option<u16>,
    /// The policies that isolate the bound end.
    pub isolated_by: Vec<Box<str>>,
}

/// Names a packet. `None` when it is not one that our rules have logged.
pub fn named(logged: &Logged, compiled: &Compiled, index: &ClusterIndex) -> Option<Named> {
    let Tag { direction, cause, way } = Tag::read(&logged.prefix)?;
    let (source, destination, port) = match way {
        Way::Original => (logged.source, logged.destination, logged.ports.map(|(_, port)| port)),
        Way::Reply => (logged.destination, logged.source, logged.ports.map(|(port, _)| port)),
        // Which of the ports was asked for is not known.
        Way::Stray => (logged.source, logged.destination, None),
    };
    let subject = match direction {
        Direction::Ingress => destination,
        Direction::Egress => source,
    };
    let reason = match (cause, way) {
        (Cause::UnknownPod, _) => Reason::UnknownPod,
        (Cause::Known, Way::Stray) => Reason::NoConnection,
        (Cause::Known, _) if is_nameless(subject) => Reason::NamelessAddress,
        (Cause::Known, _) => Reason::Policy,
    };
    let isolated_by = match (reason, entry(subject, compiled)) {
        (Reason::Policy | Reason::NoConnection, Some(entry)) => {
            let policies = compiled.side(direction).policies_of(entry.group(direction));
            let names = policies.map(|slot| format!("{}/{}", slot.policy.namespace, slot.policy.name).into());
            let mut names: Vec<Box<str>> = names.collect();
            names.sort_unstable();
            names
        }
        _ => Vec::new(),
    };
    let end = |ip| End { ip, pod: entry(ip, compiled).and_then(|entry| pod(entry, index)) };
    Some(Named {
        reason,
        direction,
        source: end(source),
        destination: end(destination),
        protocol: logged.protocol,
        port,
        isolated_by,
    })
}

/// Whether an address is one that the chain `nameless` denies, and no pod has.
fn is_nameless(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    }
}

fn entry(address: IpAddr, compiled: &Compiled) -> Option<&Entry> {
    compiled.at_address(address).and_then(|id| compiled.entry(id))
}

fn pod(entry: &Entry, index: &ClusterIndex) -> Option<PodRef> {
    let key = &entry.endpoint.key;
    if key.kind.is_some() {
        return None;
    }
    let known = index.pod(&(key.namespace.clone(), key.name.clone()));
    Some(PodRef {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: known.map(|pod| pod.uid.clone()).unwrap_or_default(),
        labels: entry.endpoint.labels.iter().map(|(key, value)| (key.into(), value.into())).collect(),
    })
}

/// A protocol as people write it.
pub fn protocol_name(number: u8) -> Box<str> {
    match number {
        1 => "ICMP".into(),
        6 => "TCP".into(),
        17 => "UDP".into(),
        58 => "ICMPv6".into(),
        132 => "SCTP".into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::compile::Modes;

    const CLUSTER: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, uid: u-1, labels: {app: a, tier: web}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.1.2, podIPs: [{ip: 10.0.1.2}, {ip: 'fd00:1::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, labels: {app: b}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.2.2, podIPs: [{ip: 10.0.2.2}, {ip: 'fd00:2::2'}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: z-deny, namespace: x}
spec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one-port, namespace: x}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}
";

    fn logged(prefix: &str, source: &str, destination: &str) -> Logged {
        Logged {
            prefix: prefix.into(),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            ports: Some((40_000, 443)),
            hook: 2,
            input: None,
            output: None,
        }
    }

    fn told(logged: &Logged) -> Option<String> {
        let ingested = netsim_shared::ingest::ingest("test", CLUSTER.as_bytes(), "default");
        assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
        let index = ClusterIndex::new(ingested.objects);
        let compiled = Compiled::new(&index, &Modes::default());
        let named = named(logged, &compiled, &index)?;
        let Named { reason, direction, source, destination, port, isolated_by, .. } = named;
        Some(format!("{reason:?} {direction} {source} > {destination} {port:?} by {}", isolated_by.join(",")))
    }

    #[test]
    fn a_denied_packet_has_names() {
        let policy = "Policy ingress x/b > x/a Some(443) by x/one-port,x/z-deny";
        assert_eq!(told(&logged("ingress", "10.0.2.2", "10.0.1.2")).as_deref(), Some(policy));
        assert_eq!(told(&logged("ingress", "fd00:2::2", "fd00:1::2")).as_deref(), Some(policy));
        // The reply of a connection that was cut is of that connection.
        let reply = Logged { ports: Some((443, 40_000)), ..logged("ingress reply", "10.0.1.2", "10.0.2.2") };
        assert_eq!(told(&reply).as_deref(), Some(policy));
    }

    #[test]
    fn what_is_not_about_policies_is_told_as_what_it_is() {
        let told = |prefix, a, b| told(&logged(prefix, a, b)).unwrap();
        // The pod is known by now, and was not.
        let unknown = "UnknownPod ingress x/b > x/a Some(443) by ";
        assert_eq!(told("ingress unknown", "10.0.2.2", "10.0.1.2"), unknown);
        let nobody = "UnknownPod egress 10.0.1.99 > 203.0.113.1 Some(443) by ";
        assert_eq!(told("egress unknown", "10.0.1.99", "203.0.113.1"), nobody);
        let nameless = "NamelessAddress egress fe80::1 > x/a Some(443) by ";
        assert_eq!(told("egress", "fe80::1", "fd00:1::2"), nameless);
        let many = "NamelessAddress ingress x/b > 224.0.0.251 Some(443) by ";
        assert_eq!(told("ingress", "10.0.2.2", "224.0.0.251"), many);
        let stray = "NoConnection ingress x/b > x/a None by x/one-port,x/z-deny";
        assert_eq!(told("ingress stray", "10.0.2.2", "10.0.1.2"), stray);
    }

    #[test]
    fn what_others_log_is_not_ours() {
        assert_eq!(told(&logged("their drop: ", "10.0.2.2", "10.0.1.2")), None);
    }
}
