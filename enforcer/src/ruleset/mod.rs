//! What our one nftables table is to hold, as a plain value: it can be printed, compared and tested
//! without a kernel. `render` makes it, `transaction` compares two of them, `kernel` sends the
//! difference.

pub mod canonical;
pub mod elements;
pub mod text;
pub mod timed;
pub mod walk;

pub use elements::Elements;
use ipnet::IpNet;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
pub use timed::TimedElements;

/// The name of a chain or set.
pub type Name = Arc<str>;

/// The priority of our base chains: after destination NAT (-100), before the filter chains of
/// others (0), so that what they accept was not denied by us, and what they drop stays dropped.
pub const PRIORITY: i32 = -10;

/// The content of the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// The chains by name.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// The sets and maps by name.
    pub sets: BTreeMap<Name, Arc<Set>>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Where the kernel calls it; `None` for a chain that only rules go to.
    pub hook: Option<Hook>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// The hooks that we use. What a pod and its own node say to each other passes neither of them from
/// the outside (D2): it leaves by `output` with a local source, or comes in by `input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Packets that pass through the node.
    Forward,
    /// Packets that the node sends.
    Output,
    /// Packets that pass through the node, when the chain at [`Hook::Forward`] has let them pass.
    AfterForward,
    /// Packets that the node sends, when the chain at [`Hook::Output`] has let them pass.
    AfterOutput,
}

impl Hook {
    /// The priority of our chain there.
    pub fn priority(self) -> i32 {
        match self {
            Hook::Forward | Hook::Output => PRIORITY,
            Hook::AfterForward | Hook::AfterOutput => PRIORITY + 1,
        }
    }
}

/// A rule: statements that are worked off until one of them does not match.
pub type Rule = Vec<Statement>;

/// A match, a statement or a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The state of the connection is one of these bits.
    CtState(u32),
    /// The bits of the connection mark in `mask` are `value`.
    CtMark {
        /// The bits looked at.
        mask: u32,
        /// What they have to be.
        value: u32,
    },
    /// Sets the bits of the connection mark in `mask` to `value`, others stay.
    SetCtMark {
        /// The bits that are written.
        mask: u32,
        /// What they become.
        value: u32,
    },
    /// The packet goes the way in which its connection was opened.
    CtOriginal,
    /// The packet goes the other way.
    CtReply,
    /// The protocol in the packet has this number.
    L4Protocol(u8),
    /// The connection was opened to this port, before NAT. Only behind [`Statement::L4Protocol`] of a
    /// protocol with ports: nft 1.0 cannot print it otherwise.
    CtOriginalPort(u16),
    /// The source address is one of the node's own.
    SourceIsLocal,
    /// The packet came in by an interface by which its source address is reached. Only at
    /// [`Hook::Forward`] and [`Hook::AfterForward`].
    CameByItsRoute,
    /// An ICMPv6 message whose type is in the closed interval.
    Icmpv6Type(u8, u8),
    /// A field that is an address lies in a block.
    InBlock(Field, IpNet),
    /// The fields, one after another, are in a set.
    InSet(Vec<Field>, Name),
    /// The verdict that a map has for a field; goes on when it has none.
    Vmap(Field, Name),
    /// Counts packets and bytes.
    Counter,
    /// Goes on for so many packets a second, with a burst of as many.
    Limit(u32),
    /// Sends a copy of the packet's head to a netlink log group.
    Log {
        /// The group.
        group: u16,
        /// What is said with it.
        prefix: &'static str,
    },
    /// Hands the packet to whoever listens to a queue; it passes on from there, and at once when
    /// nobody listens. Either way the rest of the chains at this hook does not see it.
    Queue {
        /// The number of the queue.
        number: u16,
        /// How the kernel is told.
        via: Via,
    },
    /// Ends the rule.
    Verdict(Verdict),
}

/// `ct state established`, as a bit of [`Statement::CtState`].
pub const CT_ESTABLISHED: u32 = 2;
/// What hands packets to a queue. Kernels have one, the other, both or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The statement of nftables (CONFIG_NFT_QUEUE).
    Native,
    /// The target `NFQUEUE` of iptables, in a rule of nftables (CONFIG_NFT_COMPAT,
    /// CONFIG_NETFILTER_XT_TARGET_NFQUEUE). nft lists such rules, but cannot load them.
    Compat,
}

/// `ct state invalid`, as a bit of [`Statement::CtState`].
pub const CT_INVALID: u32 = 1;
/// `ct state related`, as a bit of [`Statement::CtState`].
pub const CT_RELATED: u32 = 4;
/// `ct state untracked`, as a bit of [`Statement::CtState`].
pub const CT_UNTRACKED: u32 = 64;

/// What a rule or a map looks at. The addresses of a connection are the same for all of its packets,
/// those of the other direction included, and are those after NAT of the destination and before NAT
/// of the source: the ones that policy means (E1). Ports are read from packets, because nft 1.0
/// can neither read nor print rules with those of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Who opened the connection: `ct original ip saddr`.
    CtSource(Family),
    /// Who it was opened to: `ct reply ip saddr`.
    CtDestination(Family),
    /// Who it was opened to before NAT, such as a Service: `ct original ip daddr`.
    CtOriginalDestination(Family),
    /// The protocol in the packet: `meta l4proto`.
    Protocol,
    /// The source port in the packet: `th sport`.
    SourcePort,
    /// The destination port in the packet: `th dport`.
    DestinationPort,
    /// The source address in the packet: `ip saddr`.
    Source(Family),
    /// The destination address in the packet: `ip daddr`.
    Destination(Family),
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It leaves our table.
    Accept,
    /// It is gone.
    Drop,
    /// On with the rule after the jump that led here.
    Return,
    /// To a chain, and back at its end.
    Jump(Name),
    /// To a chain, and at its end back to where the last jump came from.
    Goto(Name),
}

/// A set, or a map to verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What its elements look like.
    pub kind: SetKind,
    /// Its elements; none in sets whose elements come and go by themselves, see [`timed`].
    pub elements: Elements,
    /// What it is for, where its elements do not say.
    pub comment: Comment,
}

/// A text that `nft list` shows with a set: at most [`COMMENT_MAX`] bytes, without quotes.
pub type Comment = Option<Name>;

/// What nft takes.
pub const COMMENT_MAX: usize = 127;

impl Set {
    /// A set without a comment.
    pub fn new(kind: SetKind, elements: Elements) -> Self {
        Set { kind, elements, comment: None }
    }
}

/// The shapes of sets that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// Addresses. Keys: [`Key::Address`].
    Addresses(Family),
    /// Addresses to verdicts. Keys: [`Key::Address`].
    AddressMap(Family),
    /// Ranges of addresses to verdicts. Keys: [`Key::Range`], disjoint.
    RangeMap(Family),
    /// Pairs of addresses. Keys: [`Key::Pair`].
    Pairs(Family),
    /// Address, protocol and port. Keys: [`Key::Port`].
    Ports(Family),
    /// Protocol and ranges of ports. Keys: [`Key::L4Ports`], disjoint.
    L4Ports,
    /// Addresses, each with an end of its own, at which the kernel takes it out. They are not part of
    /// the ruleset, see [`timed`]. Keys: [`Key::Address`].
    Timed(Family),
}

impl SetKind {
    /// Whether its elements have verdicts.
    pub fn is_map(self) -> bool {
        matches!(self, SetKind::AddressMap(_) | SetKind::RangeMap(_))
    }

    /// Whether its elements are intervals.
    pub fn is_interval(self) -> bool {
        matches!(self, SetKind::RangeMap(_) | SetKind::L4Ports)
    }

    /// Whether its elements end by themselves.
    pub fn is_timed(self) -> bool {
        matches!(self, SetKind::Timed(_))
    }

    /// The family of its addresses, if it has any.
    pub fn family(self) -> Option<Family> {
        match self {
            SetKind::Addresses(f)
            | SetKind::AddressMap(f)
            | SetKind::RangeMap(f)
            | SetKind::Pairs(f)
            | SetKind::Ports(f)
            | SetKind::Timed(f) => Some(f),
            SetKind::L4Ports => None,
        }
    }
}

/// The key of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An address.
    Address(IpAddr),
    /// A closed interval of addresses.
    Range(IpAddr, IpAddr),
    /// Two addresses.
    Pair(IpAddr, IpAddr),
    /// A port of an address.
    Port {
        /// The address.
        address: IpAddr,
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// Ports of a protocol.
    L4Ports {
        /// The protocol.
        protocol: Protocol,
        /// First port.
        first: u16,
        /// Last port, not below `first`.
        last: u16,
    },
}

/// The number of a protocol in IP headers.
pub fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
