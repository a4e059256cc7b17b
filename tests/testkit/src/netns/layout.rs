//! What a fabric is to look like.

use netsim_shared::net::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a node joins its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A veth and a host route for each pod.
    Routed,
    /// All pods are ports of a bridge that has the gateway's address: pods of one node meet on
    /// layer 2, and are seen by the node's hooks because of `br_netfilter`.
    Bridged,
}

impl Wiring {
    /// Both.
    pub const ALL: [Wiring; 2] = [Wiring::Routed, Wiring::Bridged];
}

/// Nodes, pods and addresses outside, to be built by [`Fabric::build`](super::Fabric::build).
#[derive(Debug, Clone, Default)]
pub struct Layout {
    pub(super) nodes: Vec<NodeSpec>,
    pub(super) pods: Vec<PodSpec>,
    pub(super) outside: Vec<IpAddr>,
}

#[derive(Debug, Clone)]
pub(super) struct NodeSpec {
    pub(super) name: String,
    pub(super) wiring: Wiring,
    /// One of each family.
    pub(super) addresses: Vec<IpAddr>,
    /// What pods on a bridge use as their gateway, one of each family.
    pub(super) gateway: Vec<IpAddr>,
}

#[derive(Debug, Clone)]
pub(super) struct PodSpec {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) addresses: Vec<IpAddr>,
}

impl Layout {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nodes `node-1`, `node-2`… with pods `pod-1-1`, `pod-1-2`… each, all with both families.
    pub fn grid(nodes: u8, pods: u8, wiring: Wiring) -> Self {
        let mut layout = Self::new();
        for n in 1..=nodes {
            layout = layout.node(format!("node-{n}"), wiring);
            for p in 1..=pods {
                let v4 = IpAddr::from([10, 244, n, p]);
                let v6 = IpAddr::from([0xfd00, 0x244, n.into(), 0, 0, 0, 0, p.into()]);
                layout = layout.pod(format!("pod-{n}-{p}"), format!("node-{n}"), [v4, v6]);
            }
        }
        layout
    }

    /// With a node that has addresses of its own choice.
    pub fn node(self, name: impl Into<String>, wiring: Wiring) -> Self {
        self.node_at(name, wiring, [])
    }

    /// With a node that has these addresses; a family that is missing gets one of the fabric's
    /// choice, because the underlay needs it.
    pub fn node_at(
        mut self,
        name: impl Into<String>,
        wiring: Wiring,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let n = u16::try_from(self.nodes.len() + 1).expect("fewer than 65,536 nodes");
        let [high, low] = n.to_be_bytes();
        let mut addresses: Vec<IpAddr> = addresses.into_iter().collect();
        let own = [IpAddr::from([172, 31, high, low]), IpAddr::from([0xfd00, 0x31, 0, 0, 0, 0, 0, n])];
        addresses
            .extend(own.into_iter().filter(|a| of_family(&addresses, Family::of(*a)).is_none()).collect::<Vec<_>>());
        let gateway =
            vec![IpAddr::from([100, 64 | (high & 63), low, 1]), IpAddr::from([0xfd00, 0x64, n, 0, 0, 0, 0, 1])];
        self.nodes.push(NodeSpec { name: name.into(), wiring, addresses, gateway });
        self
    }

    /// With a pod: addresses of either family or both.
    pub fn pod(
        mut self,
        name: impl Into<String>,
        node: impl Into<String>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let addresses = addresses.into_iter().collect();
        self.pods.push(PodSpec { name: name.into(), node: node.into(), addresses });
        self
    }

    /// With these addresses for the outside, instead of 203.0.113.7 and 2001:db8::7.
    pub fn outside(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.outside.extend(addresses);
        self
    }

    pub(super) fn outside_addresses(&self) -> Vec<IpAddr> {
        if self.outside.is_empty() {
            return vec![Ipv4Addr::new(203, 0, 113, 7).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).into()];
        }
        self.outside.clone()
    }
}

/// The first address of a family.
pub(super) fn of_family(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    addresses.iter().copied().find(|a| Family::of(*a) == family)
}
