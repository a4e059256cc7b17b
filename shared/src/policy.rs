//! Policies in the field's words: target, peer, port, rule. Typed, validated, canonical.

use crate::dns::NamePattern;
use crate::object::Origin;
use crate::ports::{PortRange, Protocol};
use crate::selector::Selector;
use ipnet::IpNet;
use std::fmt;

/// Which way a rule looks: who may come in, or where one may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Connections to the selected pods.
    Ingress,
    /// Connections from the selected pods.
    Egress,
}

impl Direction {
    /// Both, ingress first.
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    /// The name of the rule list in `spec`.
    pub fn field(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }

    /// The name among `policyTypes`.
    pub fn policy_type(self) -> &'static str {
        match self {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        }
    }

    /// The name of the peer list in a rule.
    pub fn peer_field(self) -> &'static str {
        match self {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field())
    }
}

/// The kinds of policy that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PolicyKind {
    /// `networking.k8s.io/v1`
    #[default]
    NetworkPolicy,
    /// `netsim.dev/v1alpha1`: pods may go to names outside (G).
    EgressDomainPolicy,
}

impl PolicyKind {
    /// The kind as manifests write it.
    pub fn kind(self) -> &'static str {
        match self {
            PolicyKind::NetworkPolicy => "NetworkPolicy",
            PolicyKind::EgressDomainPolicy => "EgressDomainPolicy",
        }
    }

    /// What a policy of this kind is called in its namespace: its name, with the kind in front where it is not
    /// NetworkPolicy, so that two kinds may use one name.
    pub fn name_of(self, name: &str) -> Box<str> {
        match self {
            PolicyKind::NetworkPolicy => name.into(),
            PolicyKind::EgressDomainPolicy => format!("{EGRESS_DOMAIN_POLICY}{name}").into(),
        }
    }
}

/// How many names an item of an EgressDomainPolicy has at most, as in ClusterNetworkPolicy.
pub const MAX_DOMAIN_NAMES: u32 = 25;

const EGRESS_DOMAIN_POLICY: &str = "egressdomainpolicy/";

/// A policy of a namespace: a NetworkPolicy, or an EgressDomainPolicy, which only has other peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace.
    pub namespace: Box<str>,
    /// What it is called there: its name, or `egressdomainpolicy/NAME` ([`PolicyKind::name_of`]).
    pub name: Box<str>,
    /// Which pods of its namespace it selects.
    pub pod_selector: Selector,
    /// The ingress rules, when it isolates for ingress (A2 already applied); `None` when it does not.
    pub ingress: Option<Vec<Rule>>,
    /// The egress rules, when it isolates for egress (A2 already applied); `None` when it does not.
    pub egress: Option<Vec<Rule>>,
    /// Where it was read.
    pub origin: Origin,
}

impl NetworkPolicy {
    /// `metadata.name`.
    pub fn own_name(&self) -> &str {
        self.name.strip_prefix(EGRESS_DOMAIN_POLICY).unwrap_or(&self.name)
    }

    /// The rules of a direction, or `None` when the policy does not isolate for it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// One rule: any of the peers, on any of the ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The peers; `None` stands for every peer, outside the cluster included (A8).
    pub peers: Option<Vec<Peer>>,
    /// The ports; `None` stands for every port of every protocol (A8).
    pub ports: Option<Vec<PortMatch>>,
}

/// One item of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods (B1): those that `pods` selects, in the namespaces in scope.
    Pods {
        /// `None`: the policy's own namespace; `Some`: the namespaces that it selects.
        namespaces: Option<Selector>,
        /// The pods there; a missing `podSelector` beside a `namespaceSelector` is everything (B1).
        pods: Selector,
    },
    /// Addresses (B5).
    Block(IpBlock),
    /// What these names stand for (G). Only in an EgressDomainPolicy.
    Names(Vec<NamePattern>),
}

/// A CIDR without its exceptions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpBlock {
    /// The block, canonical.
    pub cidr: IpNet,
    /// Sorted blocks inside `cidr` that do not belong to it.
    pub except: Vec<IpNet>,
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cidr)?;
        for (i, except) in self.except.iter().enumerate() {
            write!(f, "{}{except}", if i == 0 { " except " } else { "," })?;
        }
        Ok(())
    }
}

/// One item of `ports`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortMatch {
    /// Numbers: all of a protocol (C1), one port, or `port`..`endPort` (C2).
    Range(PortRange),
    /// A name, resolved on the destination pod (C3).
    Named(NamedPort),
}

/// A port name on a protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPort {
    /// The protocol that the rule names.
    pub protocol: Protocol,
    /// The port's name.
    pub name: Box<str>,
}

impl PortMatch {
    /// The protocol it is about.
    pub fn protocol(&self) -> Protocol {
        match self {
            PortMatch::Range(range) => range.protocol,
            PortMatch::Named(named) => named.protocol,
        }
    }
}

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortMatch::Range(range) => range.fmt(f),
            PortMatch::Named(named) => write!(f, "{} {}", named.protocol, named.name),
        }
    }
}
