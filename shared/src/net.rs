//! Addresses, blocks and ranges of addresses. Each family is decided on its own (B6).

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The highest address as a number.
    pub fn last(self) -> u128 {
        match self {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        }
    }

    /// The block that holds the whole family.
    pub fn whole(self) -> IpNet {
        match self {
            Family::V4 => Ipv4Net::default().into(),
            Family::V6 => Ipv6Net::default().into(),
        }
    }

    /// The name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PerFamily<T> {
    /// The IPv4 value.
    pub v4: T,
    /// The IPv6 value.
    pub v6: T,
}

impl<T> PerFamily<T> {
    /// Makes one from a function.
    pub fn from_fn(mut make: impl FnMut(Family) -> T) -> Self {
        PerFamily { v4: make(Family::V4), v6: make(Family::V6) }
    }

    /// The value of a family.
    pub fn get(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The value of a family, to be changed.
    pub fn get_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// An address as a number within its family.
pub fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address that stands for a number; numbers beyond the family's last are cut to it.
pub fn from_number(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

/// A closed range of addresses of one family, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// First address.
    pub first: u128,
    /// Last address, not below `first`.
    pub last: u128,
}

impl From<&IpNet> for AddressRange {
    fn from(net: &IpNet) -> Self {
        AddressRange { first: to_number(net.network()), last: to_number(net.broadcast()) }
    }
}

/// The family of a block.
pub fn family_of(net: &IpNet) -> Family {
    Family::of(net.network())
}

/// Where networks put what is inside.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// Whether a block lies in private space, or holds some of it whole.
pub fn is_private(net: &IpNet) -> bool {
    let ranges = PRIVATE.iter().filter_map(|text| text.parse::<IpNet>().ok());
    ranges.into_iter().any(|range| is_within(net, &range) || is_within(&range, net))
}

/// Whether one block lies inside another (of the same family).
pub fn is_within(inner: &IpNet, outer: &IpNet) -> bool {
    family_of(inner) == family_of(outer) && outer.contains(inner)
}

/// The ranges of `whole` that are left without `holes`; sorted and disjoint.
pub fn without(whole: AddressRange, holes: &[AddressRange]) -> Vec<AddressRange> {
    let mut holes = holes.to_vec();
    holes.sort_unstable();
    let mut left = Vec::new();
    let mut next = Some(whole.first);
    for hole in holes {
        let Some(first) = next.filter(|n| *n <= whole.last) else { break };
        if hole.first > whole.last || hole.last < first {
            continue;
        }
        if hole.first > first {
            left.push(AddressRange { first, last: hole.first - 1 });
        }
        next = hole.last.checked_add(1);
    }
    if let Some(first) = next.filter(|n| *n <= whole.last) {
        left.push(AddressRange { first, last: whole.last });
    }
    left
}

/// The fewest blocks that cover a range exactly.
pub fn to_blocks(family: Family, range: AddressRange) -> Vec<IpNet> {
    match (from_number(family, range.first), from_number(family, range.last)) {
        (IpAddr::V4(first), IpAddr::V4(last)) => ipnet::Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => ipnet::Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
        _ => Vec::new(),
    }
}

/// A CIDR as it was written and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadCidr {
    /// The canonical block: host bits cleared.
    pub net: IpNet,
    /// Whether the text was not canonical (B7) and should be rewritten as `net`.
    pub lenient: bool,
}

/// Reads a CIDR leniently (B7): leading zeros in IPv4 octets are decimal, host bits are cleared.
///
/// # Errors
/// A message that says what is wrong.
pub fn read_cidr(text: &str) -> Result<ReadCidr, String> {
    let (address, length) = text.split_once('/').ok_or_else(|| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("`{text}` is an address, not a CIDR: write `{text}/32`"),
        Ok(IpAddr::V6(_)) => format!("`{text}` is an address, not a CIDR: write `{text}/128`"),
        Err(_) => format!("`{text}` is not a CIDR such as `10.0.0.0/8` or `2001:db8::/32`"),
    })?;
    let bad = || format!("`{text}` is not a CIDR such as `10.0.0.0/8` or `2001:db8::/32`");
    let address = address.parse::<IpAddr>().ok().or_else(|| read_padded_v4(address)).ok_or_else(bad)?;
    let digits = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    let length: u8 = if digits { length.parse().map_err(|_| bad())? } else { return Err(bad()) };
    // An IPv4-mapped IPv6 block means the IPv4 block to the API server's parser.
    let net = IpNet::new(address, length).map_err(|_| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        format!("`{text}` is not a CIDR: the prefix length is at most {most}")
    })?;
    let net = net.trunc();
    Ok(ReadCidr { net, lenient: !is_canonical(text, &net) })
}

/// Whether the text is the block but for the spelling of IPv6 (case, zeros).
fn is_canonical(text: &str, net: &IpNet) -> bool {
    text.parse::<IpNet>().is_ok_and(|read| read == *net) && (text == net.to_string() || net.network().is_ipv6())
}

/// IPv4 with leading zeros, which old API servers accepted and read as decimal.
fn read_padded_v4(text: &str) -> Option<IpAddr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| !p.is_empty() && p.len() <= 6 && p.bytes().all(|b| b.is_ascii_digit()))?;
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or(if part.bytes().all(|b| b == b'0') { Ok(0) } else { Err(()) })
            .ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_cidrs_are_canonicalised_and_said() {
        for (text, net, lenient) in [
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("192.168.0.5/24", "192.168.0.0/24", true),
            ("010.0.0.5/24", "10.0.0.0/24", true),
            ("10.0.0.0/08", "10.0.0.0/8", true),
            ("2001:DB8::/32", "2001:db8::/32", false),
            ("2001:db8::1/32", "2001:db8::/32", true),
            ("0.0.0.0/0", "0.0.0.0/0", false),
        ] {
            let read = read_cidr(text).unwrap();
            assert_eq!((read.net.to_string().as_str(), read.lenient), (net, lenient), "{text}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "300.0.0.0/8", "a/8", "10.0.0.0/", "10.0.0.0/+8", ""] {
            assert!(read_cidr(text).is_err(), "{text}");
        }
    }

    #[test]
    fn holes_leave_the_rest() {
        let range = |first, last| AddressRange { first, last };
        assert_eq!(without(range(0, 9), &[range(3, 4), range(0, 0)]), [range(1, 2), range(5, 9)]);
        assert_eq!(without(range(0, 9), &[range(0, 9)]), []);
        assert_eq!(without(range(5, u128::MAX), &[range(7, u128::MAX)]), [range(5, 6)]);
        assert_eq!(without(range(5, 9), &[range(0, 5), range(4, 6), range(20, 30)]), [range(7, 9)]);
    }

    #[test]
    fn ranges_become_blocks() {
        let blocks = to_blocks(Family::V4, AddressRange { first: 0, last: u128::from(u32::MAX) });
        assert_eq!(blocks, [Family::V4.whole()]);
        assert_eq!(to_blocks(Family::V6, AddressRange { first: 0, last: u128::MAX }), [Family::V6.whole()]);
    }
}
