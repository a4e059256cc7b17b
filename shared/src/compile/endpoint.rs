//! What takes part in a connection: a pod, or a workload that stands for the pods of its template.

use crate::cluster::{ClusterIndex, Key};
use crate::net::{Family, PerFamily};
use crate::object::{ContainerPort, Life, Origin, Pod, Workload, WorkloadKind};
use crate::policy::NamedPort;
use crate::selector::Labels;
use std::fmt;
use std::net::IpAddr;

/// The name of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The workload's kind; `None` for a pod.
    pub kind: Option<WorkloadKind>,
}

impl EndpointKey {
    /// The key of a pod.
    pub fn pod(key: &Key) -> Self {
        EndpointKey { namespace: key.0.clone(), name: key.1.clone(), kind: None }
    }
}

impl fmt::Display for EndpointKey {
    /// `ns/pod`, or `ns/deploy/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            None => write!(f, "{}/{}", self.namespace, self.name),
            Some(kind) => write!(f, "{}/{}/{}", self.namespace, kind.short(), self.name),
        }
    }
}

/// An endpoint's address in a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Address {
    /// It has none in this family.
    #[default]
    Absent,
    /// It will have one, which is not known (B8).
    Unknown,
    /// It has this one.
    Known(IpAddr),
}

/// A pod, or the pods of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its name.
    pub key: EndpointKey,
    /// Its labels.
    pub labels: Labels,
    /// Its container ports.
    pub ports: Vec<ContainerPort>,
    /// Whether it is on the node's network and so out of reach of policies (D1).
    pub host_network: bool,
    /// Its node, if known.
    pub node: Option<Box<str>>,
    /// Its address in each family.
    pub addresses: PerFamily<Address>,
    /// The addresses of its node, where the pod says them.
    pub host_addresses: Box<[IpAddr]>,
    /// The workload that it belongs to, or is.
    pub workload: Option<(WorkloadKind, Box<str>)>,
    /// Where it was read.
    pub origin: Origin,
}

impl Endpoint {
    /// The endpoint of a pod; `None` when the pod takes no part (D3).
    pub fn of_pod(pod: &Pod, index: &ClusterIndex, families: &[Family], hosts_are_pods: bool) -> Option<Self> {
        ClusterIndex::absence(pod).is_none().then(|| {
            let known = |family| pod.addresses.iter().copied().find(|a| Family::of(*a) == family);
            let unknown = pod.addresses.is_empty() && (pod.life == Life::Manifest || pod.spec.host_network);
            Endpoint {
                key: EndpointKey { namespace: pod.namespace.clone(), name: pod.name.clone(), kind: None },
                labels: pod.spec.labels.clone(),
                ports: pod.spec.ports.clone(),
                host_network: pod.spec.host_network && !hosts_are_pods,
                node: pod.spec.node.clone(),
                addresses: PerFamily::from_fn(|family| match known(family) {
                    Some(address) => Address::Known(address),
                    None if unknown && families.contains(&family) => Address::Unknown,
                    None => Address::Absent,
                }),
                host_addresses: pod.host_addresses.as_slice().into(),
                workload: index.top_owner(pod),
                origin: pod.origin.clone(),
            }
        })
    }

    /// The endpoint that stands for the pods of a workload's template (D4): no address, no node.
    pub fn of_workload(workload: &Workload, families: &[Family], hosts_are_pods: bool) -> Self {
        Endpoint {
            key: EndpointKey {
                namespace: workload.namespace.clone(),
                name: workload.name.clone(),
                kind: Some(workload.kind),
            },
            labels: workload.template.labels.clone(),
            ports: workload.template.ports.clone(),
            host_network: workload.template.host_network && !hosts_are_pods,
            node: workload.template.node.clone(),
            addresses: PerFamily::from_fn(
                |family| {
                    if families.contains(&family) { Address::Unknown } else { Address::Absent }
                },
            ),
            host_addresses: Box::default(),
            workload: Some((workload.kind, workload.name.clone())),
            origin: workload.origin.clone(),
        }
    }

    /// Whether it stands for several pods, of which one may talk to another.
    pub fn is_template(&self) -> bool {
        self.key.kind.is_some()
    }

    /// The families it has an address in, known or not.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(|family| *self.addresses.get(*family) != Address::Absent)
    }

    /// The numbers that a port name stands for here (C3): on one protocol, of all containers.
    pub fn resolve<'e>(&'e self, named: &'e NamedPort) -> impl Iterator<Item = u16> + 'e {
        let fits = |port: &&ContainerPort| port.protocol == named.protocol && port.name.as_ref() == Some(&named.name);
        self.ports.iter().filter(fits).map(|port| port.port)
    }
}
