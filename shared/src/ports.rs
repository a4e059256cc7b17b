//! Protocols, ports and sets of them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A transport protocol that NetworkPolicy v1 knows (C4: none stands for another).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// All three, in their fixed order.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The name as the Kubernetes API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }

    /// Reads a name in any case.
    pub fn parse_lenient(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The lowest port number; 0 is no port that anything can be reached on.
pub const MIN_PORT: u16 = 1;
/// The highest port number.
pub const MAX_PORT: u16 = u16::MAX;

/// A closed interval of ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The protocol of all ports in it.
    pub protocol: Protocol,
    /// First port.
    pub from: u16,
    /// Last port, not below `from`.
    pub to: u16,
}

impl PortRange {
    /// One port.
    pub fn single(protocol: Protocol, port: u16) -> Self {
        PortRange { protocol, from: port, to: port }
    }

    /// Every port of a protocol.
    pub fn all_of(protocol: Protocol) -> Self {
        PortRange { protocol, from: MIN_PORT, to: MAX_PORT }
    }

    /// Whether the port is in it.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && self.from <= port && port <= self.to
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (MIN_PORT, MAX_PORT) => write!(f, "{} *", self.protocol),
            (from, to) if from == to => write!(f, "{} {from}", self.protocol),
            (from, to) => write!(f, "{} {from}-{to}", self.protocol),
        }
    }
}

/// A set of (protocol, port): sorted, disjoint, not adjoining intervals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// No port.
    pub const EMPTY: PortSet = PortSet(Vec::new());

    /// Every port of every protocol (A8).
    pub fn all() -> Self {
        PortSet(Protocol::ALL.into_iter().map(PortRange::all_of).collect())
    }

    /// The intervals, sorted.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything is in it.
    pub fn is_all(&self) -> bool {
        self.0.len() == 3 && self.0.iter().all(|r| r.from == MIN_PORT && r.to == MAX_PORT)
    }

    /// Whether a port is in it.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.0.iter().any(|r| r.contains(protocol, port))
    }

    /// Both together.
    pub fn union(&self, other: &PortSet) -> PortSet {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// What is in both.
    pub fn intersection(&self, other: &PortSet) -> PortSet {
        let mut out = Vec::new();
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            if x.protocol == y.protocol {
                let (from, to) = (x.from.max(y.from), x.to.min(y.to));
                if from <= to {
                    out.push(PortRange { protocol: x.protocol, from, to });
                }
            }
            if (x.protocol, x.to) <= (y.protocol, y.to) {
                a.next();
            } else {
                b.next();
            }
        }
        PortSet(out)
    }

    /// What is here and not in `other`.
    pub fn difference(&self, other: &PortSet) -> PortSet {
        self.intersection(&other.complement())
    }

    /// What is not in it.
    fn complement(&self) -> PortSet {
        let mut out = Vec::new();
        for protocol in Protocol::ALL {
            let mut next = u32::from(MIN_PORT);
            for range in self.0.iter().filter(|r| r.protocol == protocol) {
                push_gap(&mut out, protocol, next, u32::from(range.from));
                next = u32::from(range.to) + 1;
            }
            push_gap(&mut out, protocol, next, u32::from(MAX_PORT) + 1);
        }
        PortSet(out)
    }

    /// Only the ports of one protocol.
    pub fn of_protocol(&self, protocol: Protocol) -> PortSet {
        PortSet(self.0.iter().copied().filter(|r| r.protocol == protocol).collect())
    }
}

/// Pushes `[from, end)` when it is not empty.
fn push_gap(out: &mut Vec<PortRange>, protocol: Protocol, from: u32, end: u32) {
    if from < end
        && let (Ok(from), Ok(to)) = (u16::try_from(from), u16::try_from(end - 1))
    {
        out.push(PortRange { protocol, from, to });
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut out: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match out.last_mut() {
                Some(last) if last.protocol == range.protocol && u32::from(range.from) <= u32::from(last.to) + 1 => {
                    last.to = last.to.max(range.to);
                }
                _ => out.push(range),
            }
        }
        PortSet(out)
    }
}

impl From<PortRange> for PortSet {
    fn from(range: PortRange) -> Self {
        PortSet(vec![range])
    }
}

impl fmt::Display for PortSet {
    /// `all ports`, `TCP 80,443 UDP 53`, or `no port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all ports");
        }
        if self.is_empty() {
            return f.write_str("no port");
        }
        let mut last = None;
        for range in &self.0 {
            if last == Some(range.protocol) {
                f.write_str(",")?;
            } else {
                if last.is_some() {
                    f.write_str(" ")?;
                }
                write!(f, "{} ", range.protocol)?;
            }
            last = Some(range.protocol);
            match (range.from, range.to) {
                (MIN_PORT, MAX_PORT) => f.write_str("*")?,
                (from, to) if from == to => write!(f, "{from}")?,
                (from, to) => write!(f, "{from}-{to}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u16, u16)]) -> PortSet {
        ranges.iter().map(|&(from, to)| PortRange { protocol: Protocol::Tcp, from, to }).collect()
    }

    #[test]
    fn union_joins_overlapping_and_adjoining_ranges() {
        assert_eq!(set(&[(80, 90), (85, 100), (101, 101)]), set(&[(80, 101)]));
        assert_eq!(set(&[(1, 65535), (65535, 65535)]), set(&[(1, 65535)]));
    }

    #[test]
    fn algebra_agrees_with_membership() {
        let sets = [set(&[]), set(&[(1, 65535)]), set(&[(80, 90), (100, 100)]), set(&[(85, 120)]), PortSet::all()];
        for a in &sets {
            for b in &sets {
                for port in [1, 79, 80, 84, 85, 90, 91, 100, 101, 120, 121, 65535] {
                    for protocol in Protocol::ALL {
                        let (x, y) = (a.contains(protocol, port), b.contains(protocol, port));
                        assert_eq!(a.union(b).contains(protocol, port), x || y);
                        assert_eq!(a.intersection(b).contains(protocol, port), x && y);
                        assert_eq!(a.difference(b).contains(protocol, port), x && !y, "{a} - {b} at {protocol} {port}");
                    }
                }
            }
        }
    }

    #[test]
    fn shows_protocols_once() {
        let shown = set(&[(80, 80), (443, 450)]).union(&PortRange::single(Protocol::Udp, 53).into()).to_string();
        assert_eq!(shown, "TCP 80,443-450 UDP 53");
    }
}
