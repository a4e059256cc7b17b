//! Denied connections, as they are told to people and programs.
//!
//! ```text
//! nft log ── kernel/nflog ──▶ Logged ── named ──▶ aggregated ──▶ Flow ── Feed ─┬─ JSON lines
//!                                                                              ├─ the socket
//!                                                                              ├─ falcosidekick
//!                                                                              └─ Events on pods
//! ```
//!
//! Enforcement waits for nobody here: who reads too slowly misses flows, and is told how many.

pub mod aggregate;
mod denials;
mod feed;
pub mod log;
pub mod named;
mod summary;
pub mod tag;

pub use denials::Denials;
pub use feed::{Feed, Subscription};
pub use summary::{Summary, summary};

use jiff::Timestamp;
use k8s_openapi::jiff;
use netsim_shared::policy::Direction;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// What became of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They were dropped.
    Denied,
    /// They passed, and would be dropped but for the audit mode.
    Audited,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Policies isolate the pod, and none of them allows the connection.
    Policy,
    /// The address is in the range of the node's pods, and no pod is known to have it.
    UnknownPod,
    /// Link-local, multicast or broadcast on a bridge with isolated pods (I5).
    NamelessAddress,
    /// The packet belongs to no connection that the kernel knows of, and its end is isolated (I4). Who
    /// opened what cannot be told.
    NoConnection,
}

/// A pod, as far as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its UID; empty where it is not known.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: Box<str>,
    /// Its labels.
    pub labels: BTreeMap<Box<str>, Box<str>>,
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct End {
    /// Its address.
    pub ip: IpAddr,
    /// The pod that has it, if one is known to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
}

/// Packets of one kind that were denied within a while: from one end to another, to one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// When the first of them was seen.
    #[serde(serialize_with = "as_text")]
    pub first: Timestamp,
    /// When the last of them was seen.
    #[serde(serialize_with = "as_text")]
    pub last: Timestamp,
    /// The node that denied.
    pub node: Box<str>,
    /// What became of them.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Which end policy bound: the destination by ingress, the source by egress.
    #[serde(serialize_with = "direction")]
    pub direction: Direction,
    /// Who opened the connection.
    pub source: End,
    /// Who it was opened to.
    pub destination: End,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, or the number of another one.
    pub protocol: Box<str>,
    /// The destination port, for protocols that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many packets were logged. The kernel logs a part of many; all are in the metrics.
    pub packets: u64,
    /// The policies that isolate the bound end in this direction: `namespace/name`, sorted.
    pub isolated_by: Vec<Box<str>>,
}

impl fmt::Display for End {
    /// `ns/pod`, as questions name it; an address where no pod is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => write!(f, "{}/{}", pod.namespace, pod.name),
            None => self.ip.fmt(f),
        }
    }
}

impl Flow {
    /// The end that policy bound: a pod of this node.
    pub fn subject(&self) -> &End {
        match self.direction {
            Direction::Ingress => &self.destination,
            Direction::Egress => &self.source,
        }
    }

    /// The other end.
    pub fn peer(&self) -> &End {
        match self.direction {
            Direction::Ingress => &self.source,
            Direction::Egress => &self.destination,
        }
    }
}

fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn direction<S: Serializer>(direction: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(direction.field())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who may not.
    pub fn flow() -> Flow {
        let end = |address: &str, name: &str| End {
            ip: address.parse().unwrap(),
            pod: Some(PodRef {
                namespace: "shop".into(),
                name: name.into(),
                uid: Box::default(),
                labels: BTreeMap::from([("app".into(), name.into())]),
            }),
        };
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        Flow {
            first: time,
            last: time,
            node: "node-1".into(),
            verdict: Verdict::Denied,
            reason: Reason::Policy,
            direction: Direction::Ingress,
            source: end("10.0.0.1", "frontend"),
            destination: end("10.0.0.2", "db"),
            protocol: "TCP".into(),
            port: Some(5432),
            packets: 1,
            isolated_by: vec!["shop/default-deny".into()],
        }
    }
}
