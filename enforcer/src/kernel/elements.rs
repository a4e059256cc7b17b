//! The elements of sets on the wire: the only part of a transaction that is large, and written here
//! directly.

use super::expressions::{address_bytes, verdict_code};
use super::message::{Attributes, Writer, array};
use super::shape::key_bytes;
use super::uapi::*;
use crate::ruleset::elements::Value;
use crate::ruleset::text::KeyText;
use crate::ruleset::{Elements, Key, Name, SetKind, Verdict, protocol_number};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// A list of elements is split before it gets longer; an attribute has to be below 64 KiB.
pub const LIST_BYTES: usize = 60_000;

/// An element as the kernel has it. Ranges of one field are two of them: one that begins, and one
/// behind the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire {
    key: Bytes,
    /// Whether a range ends before the key.
    end: bool,
    /// The highest key, for intervals of concatenations.
    key_end: Option<Bytes>,
    value: Value,
    /// How long it has left, in timed sets.
    left: Option<Duration>,
}

/// The bytes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bytes {
    bytes: [u8; 32],
    length: usize,
}

impl Bytes {
    fn new() -> Bytes {
        Bytes { bytes: [0; 32], length: 0 }
    }

    /// Appends a field, padded to four bytes.
    fn field(mut self, value: &[u8]) -> Bytes {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + value.len()) {
            place.copy_from_slice(value);
        }
        self.length += value.len().next_multiple_of(4);
        self
    }

    fn address(self, address: IpAddr) -> Bytes {
        match address {
            IpAddr::V4(address) => self.field(&address.octets()),
            IpAddr::V6(address) => self.field(&address.octets()),
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    fn read(value: &[u8], kind: SetKind) -> Option<Bytes> {
        (value.len() == key_bytes(kind)).then(|| Bytes::new().field(value))
    }

    fn get_address(&self, at: usize, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::V4 => Ipv4Addr::from(array::<4>(&self.bytes, at)?).into(),
            Family::V6 => Ipv6Addr::from(array::<16>(&self.bytes, at)?).into(),
        })
    }
}

/// The elements as they are sent, in the order in which that is done; an error says what is wrong.
pub fn to_wire(kind: SetKind, elements: &[(Key, Value)]) -> Result<Vec<Wire>, String> {
    let mut wire = Vec::with_capacity(if matches!(kind, SetKind::RangeMap(_)) { 2 } else { 1 } * elements.len());
    for (key, value) in elements {
        if value.is_some() != kind.is_map() {
            let lack = if kind.is_map() { "a map's element needs" } else { "a set's element has no" };
            return Err(format!("element {}: {lack} a verdict", KeyText(key)));
        }
        if !push(kind, key, value, &mut wire) {
            return Err(format!("element {}: not a key of this kind of set", KeyText(key)));
        }
    }
    if matches!(kind, SetKind::RangeMap(_)) {
        // Ascending, the end of a range before the beginning of the next: as nft does it, and as
        // the kernel's tree takes it best.
        wire.sort_unstable_by_key(|element| (element.key, !element.end));
    }
    Ok(wire)
}

/// The elements of a timed set as they are sent.
pub fn to_wire_timed(
    family: Family,
    elements: impl IntoIterator<Item = (IpAddr, Duration)>,
) -> Result<Vec<Wire>, String> {
    let wire = |(address, left)| {
        if Family::of(address) != family {
            return Err(format!("element {address}: not a key of this kind of set"));
        }
        Ok(Wire { left: Some(left), ..Wire::of(Bytes::new().address(address)) })
    };
    elements.into_iter().map(wire).collect()
}

fn push(kind: SetKind, key: &Key, value: &Value, wire: &mut Vec<Wire>) -> bool {
    let fits = |address: &IpAddr| Some(Family::of(*address)) == kind.family();
    let mut plain = |key, key_end| wire.push(Wire { key_end, value: value.clone(), ..Wire::of(key) });
    match (kind, key) {
        (SetKind::Addresses(_) | SetKind::AddressMap(_), Key::Address(address)) if fits(address) => {
            plain(Bytes::new().address(*address), None);
        }
        (SetKind::Pairs(_), Key::Pair(one, other)) if fits(one) && fits(other) => {
            plain(Bytes::new().address(*one).address(*other), None);
        }
        (SetKind::Ports(_), Key::Port { address, protocol, port }) if fits(address) => {
            plain(Bytes::new().address(*address).field(&[protocol_number(*protocol)]).field(&port.to_be_bytes()), None);
        }
        (SetKind::L4Ports, Key::L4Ports { protocol, first, last }) if first <= last => {
            let with = |port: &u16| Bytes::new().field(&[protocol_number(*protocol)]).field(&port.to_be_bytes());
            plain(with(first), Some(with(last)));
        }
        (SetKind::RangeMap(_), Key::Range(first, last)) if fits(first) && fits(last) && first <= last => {
            plain(Bytes::new().address(*first), None);
            // A range up to the last address of all has no end.
            if let Some(behind) = next(*last) {
                wire.push(Wire { end: true, ..Wire::of(Bytes::new().address(behind)) });
            }
        }
        _ => return false,
    }
    true
}

fn next(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).checked_add(1)?).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).checked_add(1)?).into(),
    })
}

fn before(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).checked_sub(1)?).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).checked_sub(1)?).into(),
    })
}

fn last(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::BROADCAST.into(),
        Family::V6 => Ipv6Addr::from(u128::MAX).into(),
    }
}

impl Wire {
    fn of(key: Bytes) -> Wire {
        Wire { key, end: false, key_end: None, value: None, left: None }
    }

    /// Writes it as an item of a list; verdicts and times only where elements are added.
    pub fn write(&self, writer: &mut Writer, with_value: bool) {
        writer.nested(NFTA_LIST_ELEM, |w| {
            if self.end {
                w.number(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
            }
            w.nested(NFTA_SET_ELEM_KEY, |w| w.bytes_attribute(NFTA_DATA_VALUE, self.key.get()));
            if let Some(end) = &self.key_end {
                w.nested(NFTA_SET_ELEM_KEY_END, |w| w.bytes_attribute(NFTA_DATA_VALUE, end.get()));
            }
            if let (Some(left), true) = (self.left, with_value) {
                // None at all would be for ever.
                let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                w.long(NFTA_SET_ELEM_TIMEOUT, left);
            }
            if let (Some(verdict), true) = (&self.value, with_value) {
                let (code, chain) = verdict_code(verdict);
                w.nested(NFTA_SET_ELEM_DATA, |w| {
                    w.nested(NFTA_DATA_VERDICT, |w| {
                        w.number(NFTA_VERDICT_CODE, code.cast_unsigned());
                        if let Some(chain) = chain {
                            w.text(NFTA_VERDICT_CHAIN, chain);
                        }
                    });
                });
            }
        });
    }

    /// Reads an item of a list; `None` if it has anything that ours do not have.
    pub fn read(kind: SetKind, item: &[u8], names: &mut Names) -> Option<Wire> {
        let (mut key, mut key_end, mut flags, mut value, mut left) = (None, None, 0, None, None);
        for (attribute, content) in Attributes(item) {
            let bytes = || Attributes(content).find(NFTA_DATA_VALUE).and_then(|value| Bytes::read(value, kind));
            match attribute {
                NFTA_SET_ELEM_KEY => key = Some(bytes()?),
                NFTA_SET_ELEM_KEY_END => key_end = Some(bytes()?),
                NFTA_SET_ELEM_FLAGS => flags = u32::from_be_bytes(array(content, 0)?),
                NFTA_SET_ELEM_DATA => value = Some(verdict(&Attributes(content).inner(NFTA_DATA_VERDICT)?, names)?),
                // What it had at first; what it has left counts.
                NFTA_SET_ELEM_TIMEOUT if kind.is_timed() => {}
                NFTA_SET_ELEM_EXPIRATION if kind.is_timed() => {
                    left = Some(Duration::from_millis(u64::from_be_bytes(array(content, 0)?)));
                }
                // A comment changes nothing.
                NFTA_SET_ELEM_USERDATA | NFTA_SET_ELEM_PAD => {}
                // A timeout, an object, a statement: it would not stay what it is.
                _ => return None,
            }
        }
        let end = flags == NFT_SET_ELEM_INTERVAL_END;
        (flags == 0 || end).then_some(Wire { key: key?, end, key_end, value, left })
    }

    /// As an error names it.
    pub fn name(&self, kind: SetKind) -> String {
        // Either end of a range is told by its own address.
        let address = || self.key.get_address(0, kind.family()?);
        let end = if self.end { address().and_then(before) } else { None };
        match (end, self.key(kind)) {
            (Some(last), _) => format!("the range up to {last}"),
            (None, Some(key)) => KeyText(&key).to_string(),
            (None, None) => format!("{:02x?}", self.key.get()),
        }
    }

    /// The key, for a range its beginning alone.
    fn key(&self, kind: SetKind) -> Option<Key> {
        let bytes = kind.family().map_or(0, address_bytes);
        let address = |at| self.key.get_address(at, kind.family()?);
        let port = |key: &Bytes| array(&key.bytes, bytes + 4).map(u16::from_be_bytes);
        let protocol = || {
            let number = *self.key.bytes.get(bytes)?;
            Protocol::ALL.into_iter().find(|protocol| protocol_number(*protocol) == number)
        };
        Some(match kind {
            SetKind::Addresses(_) | SetKind::AddressMap(_) | SetKind::RangeMap(_) | SetKind::Timed(_) => {
                Key::Address(address(0)?)
            }
            SetKind::Pairs(_) => Key::Pair(address(0)?, address(bytes)?),
            SetKind::Ports(_) => Key::Port { address: address(0)?, protocol: protocol()?, port: port(&self.key)? },
            SetKind::L4Ports => {
                let end = self.key_end.unwrap_or(self.key);
                // The protocol is not a range with ours.
                if end.bytes.get(..4) != self.key.bytes.get(..4) {
                    return None;
                }
                Key::L4Ports { protocol: protocol()?, first: port(&self.key)?, last: port(&end)? }
            }
        })
    }
}

/// The elements as we have them, and descriptions of those that ours cannot be; `None` when an
/// element was sent twice, as happens while the kernel resizes a hash table: then others were left
/// out.
pub fn from_wire(kind: SetKind, mut wire: Vec<Wire>) -> Option<(Elements, Vec<String>)> {
    let count = wire.len();
    wire.sort_unstable_by_key(|element| (element.key, !element.end));
    wire.dedup();
    if wire.len() != count {
        return None;
    }
    let (mut elements, mut unknown) = (Elements::default(), Vec::new());
    let mut rest = wire.into_iter().peekable();
    while let Some(element) = rest.next() {
        let key = if matches!(kind, SetKind::RangeMap(_)) {
            if element.end {
                // It ends the range before it, which has looked ahead; or none: nft begins so.
                continue;
            }
            let address = |element: &Wire| element.key.get_address(0, kind.family()?);
            let end = match rest.peek() {
                Some(next) => address(next).and_then(before),
                None => kind.family().map(last),
            };
            address(&element).zip(end).map(|(first, last)| Key::Range(first, last))
        } else {
            element.key(kind).filter(|_| !element.end && element.key_end.is_some() == kind.is_interval())
        };
        match key {
            Some(key) if element.value.is_some() == kind.is_map() => elements.insert(key, element.value),
            _ => unknown.push(format!("element {}", element.name(kind))),
        }
    }
    Some((elements, unknown))
}

/// The elements of a timed set, and how long each has left, if it ends at all; `None` when an element was sent twice, as
/// with [`from_wire`].
pub fn from_wire_timed(family: Family, wire: &[Wire]) -> Option<BTreeMap<IpAddr, Option<Duration>>> {
    let mut elements = BTreeMap::new();
    let address = |element: &Wire| element.key.get_address(0, family);
    let twice = wire.iter().any(|element| address(element).is_some_and(|a| elements.insert(a, element.left).is_some()));
    (!twice).then_some(elements)
}

/// Names that were seen, so that thousands of elements that go to one chain share its name.
#[derive(Debug, Default)]
pub struct Names(rustc_hash::FxHashSet<Name>);

impl Names {
    /// The name, as it was seen first.
    pub fn get(&mut self, name: &str) -> Name {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let new: Name = name.into();
        self.0.insert(new.clone());
        new
    }
}

fn verdict(attributes: &Attributes<'_>, names: &mut Names) -> Option<Verdict> {
    let mut chain = || attributes.text(NFTA_VERDICT_CHAIN).map(|name| names.get(name));
    match attributes.number(NFTA_VERDICT_CODE)?.cast_signed() {
        NF_ACCEPT => Some(Verdict::Accept),
        NF_DROP => Some(Verdict::Drop),
        NFT_RETURN => Some(Verdict::Return),
        NFT_JUMP => chain().map(Verdict::Jump),
        NFT_GOTO => chain().map(Verdict::Goto),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn there_and_back(kind: SetKind, elements: Vec<(Key, Value)>) {
        let mut writer = Writer::default();
        to_wire(kind, &elements).unwrap().iter().for_each(|element| element.write(&mut writer, true));
        let mut names = Names::default();
        let read = Attributes(writer.bytes()).map(|(_, item)| Wire::read(kind, item, &mut names).unwrap());
        let (found, unknown) = from_wire(kind, read.collect()).unwrap();
        assert!(unknown.is_empty());
        assert_eq!(found, elements.into_iter().collect());
    }

    #[test]
    fn ranges_keep_their_borders() {
        let range = |first: &str, last: &str| Key::Range(first.parse().unwrap(), last.parse().unwrap());
        let goto = || Some(Verdict::Goto(Arc::from("x")));
        let v4 = SetKind::RangeMap(Family::V4);
        there_and_back(v4, vec![(range("0.0.0.0", "255.255.255.255"), goto())]);
        there_and_back(
            v4,
            vec![
                (range("10.0.1.0", "10.0.1.255"), Some(Verdict::Drop)),
                (range("10.0.0.0", "10.0.0.255"), goto()),
                (range("10.0.2.1", "10.0.2.1"), goto()),
                (range("255.0.0.0", "255.255.255.255"), Some(Verdict::Accept)),
            ],
        );
        let v6 = SetKind::RangeMap(Family::V6);
        there_and_back(v6, vec![(range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), goto())]);
        there_and_back(v6, vec![(range("::", "::1"), goto()), (range("::2", "fd00::"), Some(Verdict::Return))]);
    }

    #[test]
    fn what_does_not_fit_its_set_is_refused_by_name() {
        let address = Key::Address("fd00::1".parse().unwrap());
        let wrong = to_wire(SetKind::Addresses(Family::V4), &[(address, None)]).unwrap_err();
        assert_eq!(wrong, "element fd00::1: not a key of this kind of set");
        let wrong = to_wire(SetKind::AddressMap(Family::V6), &[(address, None)]).unwrap_err();
        assert_eq!(wrong, "element fd00::1: a map's element needs a verdict");
    }

    #[test]
    fn an_element_that_comes_twice_says_that_others_are_missing() {
        let kind = SetKind::Addresses(Family::V4);
        let wire = to_wire(kind, &[(Key::Address("10.0.0.1".parse().unwrap()), None)]).unwrap();
        assert!(from_wire(kind, wire.clone()).is_some());
        assert!(from_wire(kind, [wire.clone(), wire].concat()).is_none());
    }
}
