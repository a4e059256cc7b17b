//! Addresses that no name may stand for (G5): an answer comes from outside and must not open a way inside.

use super::answer::Found;
use crate::net::{AddressRange, Family, PerFamily, without};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// `0.0.0.0/8`, `::`
    Unspecified,
    /// `127.0.0.0/8`, `::1`
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`: also where clouds serve the credentials of a machine.
    LinkLocal,
    /// `224.0.0.0/4`, `ff00::/8`
    Multicast,
    /// `255.255.255.255`
    Broadcast,
    /// IPv4 in the clothes of IPv6 where no translator stands between: `::ffff:0:0/96`, `::/96`
    MappedIpv4,
    /// A range that pods have their addresses from.
    PodRange,
    /// A range that Services have their addresses from.
    ServiceRange,
    /// An address or a range of nodes.
    NodeRange,
    /// Private and not opted in: `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, `fc00::/7`, `100.64.0.0/10`,
    /// `198.18.0.0/15`, `240.0.0.0/4`, `fec0::/10`, `64:ff9b:1::/48`
    Private,
}

impl Reason {
    /// A word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unspecified => "unspecified",
            Reason::Loopback => "loopback",
            Reason::LinkLocal => "link-local",
            Reason::Multicast => "multicast",
            Reason::Broadcast => "broadcast",
            Reason::MappedIpv4 => "mapped-ipv4",
            Reason::PodRange => "pod-range",
            Reason::ServiceRange => "service-range",
            Reason::NodeRange => "node-range",
            Reason::Private => "private",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Unspecified => "it is no address of a host",
            Reason::Loopback => "it is a loopback address",
            Reason::LinkLocal => "it is a link-local address",
            Reason::Multicast => "it is a multicast address",
            Reason::Broadcast => "it is the broadcast address",
            Reason::MappedIpv4 => "it is an IPv4 address written as IPv6",
            Reason::PodRange => "it lies in the pod range",
            Reason::ServiceRange => "it lies in the Service range",
            Reason::NodeRange => "it lies in the node range",
            Reason::Private => "it is private, and its range is not opted in",
        })
    }
}

/// Which addresses are refused besides those that always are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusals {
    /// The ranges of pods.
    pub pods: Vec<IpNet>,
    /// The ranges of Services.
    pub services: Vec<IpNet>,
    /// The ranges or addresses of nodes.
    pub nodes: Vec<IpNet>,
    /// Private ranges that names may lead into; [`private_ranges`] for all of them.
    pub opted_in: Vec<IpNet>,
}

/// An address that was refused, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refused {
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub reason: Reason,
}

/// How many addresses were refused, by reason.
pub type Counts = BTreeMap<Reason, u64>;

impl Refusals {
    /// Why an address is refused, if it is.
    pub fn reason(&self, address: IpAddr) -> Option<Reason> {
        if let Some(reason) = always(address) {
            return Some(reason);
        }
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        for (nets, reason) in
            [(&self.pods, Reason::PodRange), (&self.services, Reason::ServiceRange), (&self.nodes, Reason::NodeRange)]
        {
            if within(nets) {
                return Some(reason);
            }
        }
        if within(private_ranges().get(Family::of(address))) && !within(&self.opted_in) {
            return Some(Reason::Private);
        }
        // A translator would carry it on to the IPv4 address inside.
        translated(address).and_then(|inner| self.reason(inner.into()))
    }

    /// Parts the addresses of an answer into those that count and those that are refused.
    pub fn sift(&self, found: Vec<Found>) -> (Vec<Found>, Vec<Refused>) {
        let mut refused = Vec::new();
        let kept = found
            .into_iter()
            .filter(|Found { address, .. }| match self.reason(*address) {
                Some(reason) => {
                    refused.push(Refused { address: *address, reason });
                    false
                }
                None => true,
            })
            .collect();
        (kept, refused)
    }
}

/// Adds refused addresses to counts.
pub fn count(counts: &mut Counts, refused: &[Refused]) {
    for one in refused {
        *counts.entry(one.reason).or_default() += 1;
    }
}

/// The ranges that are private, and can be opted in.
pub fn private_ranges() -> PerFamily<&'static [IpNet]> {
    const fn v4(a: u8, b: u8, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length))
    }
    const fn v6(a: u16, b: u16, c: u16, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length))
    }
    static V4: [IpNet; 6] =
        [v4(10, 0, 8), v4(172, 16, 12), v4(192, 168, 16), v4(100, 64, 10), v4(198, 18, 15), v4(240, 0, 4)];
    static V6: [IpNet; 3] = [v6(0xfc00, 0, 0, 7), v6(0xfec0, 0, 0, 10), v6(0x64, 0xff9b, 1, 48)];
    PerFamily { v4: &V4, v6: &V6 }
}

/// The addresses that names stand for where nothing is opted in and no range of the cluster is public, sorted: of
/// IPv4 what is not refused, of IPv6 what is in use.
pub fn public_ranges(family: Family) -> Vec<AddressRange> {
    let range = |text: &str| text.parse::<IpNet>().ok().as_ref().map(AddressRange::from);
    match family {
        Family::V4 => {
            let never = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4"].into_iter().filter_map(range);
            let private = private_ranges().get(family).iter().map(AddressRange::from);
            without(AddressRange { first: 0, last: family.last() }, &never.chain(private).collect::<Vec<_>>())
        }
        // No other addresses are given to networks (RFC 4291, 2.4).
        Family::V6 => range("2000::/3").into_iter().collect(),
    }
}

/// Why an address is refused whatever the options are.
fn always(address: IpAddr) -> Option<Reason> {
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Some(Reason::Broadcast),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some(Reason::Unspecified),
        IpAddr::V4(v4) if v4.is_loopback() => Some(Reason::Loopback),
        IpAddr::V4(v4) if v4.is_link_local() => Some(Reason::LinkLocal),
        IpAddr::V4(v4) if v4.is_multicast() => Some(Reason::Multicast),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) if v6.is_unspecified() => Some(Reason::Unspecified),
        IpAddr::V6(v6) if v6.is_loopback() => Some(Reason::Loopback),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Reason::LinkLocal),
        IpAddr::V6(v6) if v6.is_multicast() => Some(Reason::Multicast),
        // `to_ipv4` knows both forms, mapped and compatible.
        IpAddr::V6(v6) if v6.to_ipv4().is_some() => Some(Reason::MappedIpv4),
        IpAddr::V6(_) => None,
    }
}

/// The IPv4 address that an IPv6 address is translated to: NAT64 (`64:ff9b::/96`) and 6to4 (`2002::/16`).
fn translated(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let bits = u128::from(v6);
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => u32::try_from(bits & u128::from(u32::MAX)).ok().map(Ipv4Addr::from),
        [0x2002, ..] => u32::try_from((bits >> 80) & u128::from(u32::MAX)).ok().map(Ipv4Addr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn public_is_what_is_not_refused() {
        let refused =
            |address: u128| Refusals::default().reason(crate::net::from_number(Family::V4, address)).is_some();
        let ranges = public_ranges(Family::V4);
        assert!(ranges.len() > 5);
        for range in &ranges {
            assert!(!refused(range.first) && !refused(range.last), "{range:?}");
            assert!(refused(range.first - 1) && refused(range.last + 1), "{range:?}");
        }
        // Between them everything is refused: no range is missing.
        for pair in ranges.windows(2) {
            let between = pair[0].last + 1..pair[1].first;
            assert!(between.step_by(1 << 12).all(refused), "{pair:?}");
        }
        assert_eq!(ranges.last().map(|range| range.last), Some(0xdfff_ffff));
        let v6 = public_ranges(Family::V6);
        assert_eq!(v6.len(), 1);
        let ends = [v6[0].first, v6[0].last].map(|end| crate::net::from_number(Family::V6, end));
        assert_eq!(ends.map(|end| Refusals::default().reason(end)), [None, None]);
    }

    fn refusals() -> Refusals {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        Refusals {
            pods: nets(&["10.244.0.0/16", "2001:db8:1::/64"]),
            services: nets(&["10.96.0.0/12"]),
            nodes: nets(&["203.0.113.7/32", "192.168.1.0/24"]),
            opted_in: nets(&["192.168.0.0/16", "fd00:1::/32"]),
        }
    }

    #[test]
    fn each_range_has_its_reason() {
        for (address, reason) in [
            ("8.8.8.8", None),
            ("192.0.2.1", None),
            ("2001:4860:4860::8888", None),
            ("0.0.0.0", Some(Reason::Unspecified)),
            ("0.1.2.3", Some(Reason::Unspecified)),
            ("::", Some(Reason::Unspecified)),
            ("127.0.0.53", Some(Reason::Loopback)),
            ("::1", Some(Reason::Loopback)),
            ("169.254.169.254", Some(Reason::LinkLocal)),
            ("fe80::1", Some(Reason::LinkLocal)),
            ("224.0.0.1", Some(Reason::Multicast)),
            ("ff02::1", Some(Reason::Multicast)),
            ("255.255.255.255", Some(Reason::Broadcast)),
            ("::ffff:8.8.8.8", Some(Reason::MappedIpv4)),
            ("::8.8.8.8", Some(Reason::MappedIpv4)),
            ("10.244.3.4", Some(Reason::PodRange)),
            ("2001:db8:1::5", Some(Reason::PodRange)),
            ("10.96.0.1", Some(Reason::ServiceRange)),
            ("203.0.113.7", Some(Reason::NodeRange)),
            ("203.0.113.8", None),
            // Opted in, but a node's.
            ("192.168.1.9", Some(Reason::NodeRange)),
            ("192.168.2.9", None),
            ("10.1.2.3", Some(Reason::Private)),
            ("172.31.0.1", Some(Reason::Private)),
            ("172.32.0.1", None),
            ("100.100.100.200", Some(Reason::Private)),
            ("198.19.0.1", Some(Reason::Private)),
            ("240.0.0.1", Some(Reason::Private)),
            ("fd00:ec2::254", Some(Reason::Private)),
            ("fd00:1::5", None),
            ("fec0::1", Some(Reason::Private)),
            ("64:ff9b:1::1", Some(Reason::Private)),
            // Translators carry these on to the address inside.
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b::169.254.169.254", Some(Reason::LinkLocal)),
            ("64:ff9b::10.244.3.4", Some(Reason::PodRange)),
            ("2002:a00:1::1", Some(Reason::Private)),
            ("2002:808:808::1", None),
        ] {
            assert_eq!(refusals().reason(address.parse().unwrap()), reason, "{address}");
        }
    }

    #[test]
    fn refused_addresses_are_told_and_counted() {
        let found = |address: &str| Found { address: address.parse().unwrap(), ttl: Duration::from_secs(60) };
        let (kept, refused) = Refusals::default().sift(vec![found("127.0.0.1"), found("192.0.2.1"), found("::1")]);
        assert_eq!(kept, [found("192.0.2.1")]);
        let mut counts = Counts::new();
        count(&mut counts, &refused);
        count(&mut counts, &refused);
        assert_eq!(counts, Counts::from([(Reason::Loopback, 4)]));
    }

    proptest! {
        /// Opting everything in opens private ranges and nothing else.
        #[test]
        fn only_private_ranges_can_be_opted_in(bits: u128, v4: bool) {
            let address: IpAddr = if v4 { Ipv4Addr::from(bits as u32).into() } else { Ipv6Addr::from(bits).into() };
            let open = Refusals { opted_in: Family::ALL.map(Family::whole).to_vec(), ..refusals() };
            match (refusals().reason(address), open.reason(address)) {
                (Some(Reason::Private), None) | (None, None) => {}
                (closed, opened) => prop_assert_eq!(closed, opened),
            }
        }
    }
}
