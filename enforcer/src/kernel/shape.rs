//! Sets without their elements, as the kernel knows them.

use super::expressions::address_bytes;
use super::message::{Attributes, Writer};
use super::uapi::*;
use crate::ruleset::SetKind;
use netsim_shared::net::Family;
use std::fmt;

// nft's numbers for what keys are made of; those of a concatenation are shifted together.
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;
const TYPE_BITS: u32 = 6;

/// What the kernel is told about a set, and tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    flags: u32,
    key_type: u32,
    /// In bytes, every field of a concatenation padded to four.
    key_length: u32,
    data_type: Option<u32>,
    /// The lengths of the fields, for concatenations of intervals only.
    fields: Vec<u32>,
    /// Whether elements end after a time that they need not have, or their number is limited: never with ours.
    limited: bool,
}

impl Shape {
    /// The shape of a kind.
    ///
    /// No size is given: that makes the kernel take hash tables that grow. With a size it takes
    /// tables of that size. `NFT_SET_CONCAT` belongs to intervals only: it selects their backend.
    pub fn of(kind: SetKind) -> Shape {
        let fields = fields(kind);
        let concatenation = kind.is_interval() && fields.len() > 1;
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        Shape {
            flags: flag(kind.is_map(), NFT_SET_MAP)
                | flag(kind.is_interval(), NFT_SET_INTERVAL)
                | flag(kind.is_timed(), NFT_SET_TIMEOUT)
                | flag(concatenation, NFT_SET_CONCAT),
            key_type: fields.iter().fold(0, |number, (kind, _)| (number << TYPE_BITS) | kind),
            key_length: fields.iter().map(|(_, length)| length.next_multiple_of(4)).sum(),
            data_type: kind.is_map().then_some(NFT_DATA_VERDICT),
            fields: if concatenation { fields.iter().map(|(_, length)| *length).collect() } else { Vec::new() },
            limited: false,
        }
    }

    /// Writes the attributes of a new set, but for its names.
    pub fn write(&self, writer: &mut Writer) {
        writer.number(NFTA_SET_FLAGS, self.flags);
        writer.number(NFTA_SET_KEY_TYPE, self.key_type);
        writer.number(NFTA_SET_KEY_LEN, self.key_length);
        if let Some(data_type) = self.data_type {
            writer.number(NFTA_SET_DATA_TYPE, data_type);
        }
        if !self.fields.is_empty() {
            writer.nested(NFTA_SET_DESC, |w| {
                w.nested(NFTA_SET_DESC_CONCAT, |w| {
                    for length in &self.fields {
                        w.nested(NFTA_LIST_ELEM, |w| w.number(NFTA_SET_FIELD_LEN, *length));
                    }
                });
            });
        }
    }

    /// The shape of a set that the kernel sent.
    pub fn read(attributes: &Attributes<'_>) -> Shape {
        let description = attributes.inner(NFTA_SET_DESC);
        let list = description.as_ref().and_then(|d| d.inner(NFTA_SET_DESC_CONCAT));
        let length = |(_, field): (u16, _)| Attributes(field).number(NFTA_SET_FIELD_LEN);
        Shape {
            flags: attributes.number(NFTA_SET_FLAGS).unwrap_or_default(),
            key_type: attributes.number(NFTA_SET_KEY_TYPE).unwrap_or_default(),
            key_length: attributes.number(NFTA_SET_KEY_LEN).unwrap_or_default(),
            data_type: attributes.number(NFTA_SET_DATA_TYPE),
            fields: list.map(|list| list.filter_map(length).collect()).unwrap_or_default(),
            limited: attributes.find(NFTA_SET_TIMEOUT).is_some()
                || description.is_some_and(|d| d.find(NFTA_SET_DESC_SIZE).is_some()),
        }
    }

    /// The kind that has this shape, if it is one of ours.
    pub fn kind(&self) -> Option<SetKind> {
        Family::ALL.into_iter().flat_map(kinds).find(|kind| Shape::of(*kind) == *self)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { flags, key_type, key_length, .. } = self;
        write!(f, "flags {flags:#x}, key type {key_type} of {key_length} bytes")?;
        self.data_type.map_or(Ok(()), |data| write!(f, ", data type {data:#x}"))?;
        f.write_str(if self.limited { ", limited in size or time" } else { "" })
    }
}

fn kinds(family: Family) -> [SetKind; 7] {
    [
        SetKind::Addresses(family),
        SetKind::AddressMap(family),
        SetKind::RangeMap(family),
        SetKind::Pairs(family),
        SetKind::Ports(family),
        SetKind::L4Ports,
        SetKind::Timed(family),
    ]
}

/// How long the keys of a kind are, every field padded to four bytes.
pub fn key_bytes(kind: SetKind) -> usize {
    let address = kind.family().map_or(0, address_bytes);
    match kind {
        SetKind::Addresses(_) | SetKind::AddressMap(_) | SetKind::RangeMap(_) | SetKind::Timed(_) => address,
        SetKind::Pairs(_) => 2 * address,
        SetKind::Ports(_) | SetKind::L4Ports => address + 4 + 4,
    }
}

/// The types and lengths of the fields of a key.
fn fields(kind: SetKind) -> Vec<(u32, u32)> {
    let address = match kind.family() {
        Some(Family::V6) => (IPV6_ADDR, 16),
        Some(Family::V4) | None => (IPV4_ADDR, 4),
    };
    match kind {
        SetKind::Addresses(_) | SetKind::AddressMap(_) | SetKind::RangeMap(_) | SetKind::Timed(_) => vec![address],
        SetKind::Pairs(_) => vec![address, address],
        SetKind::Ports(_) => vec![address, (INET_PROTO, 1), (INET_SERVICE, 2)],
        SetKind::L4Ports => vec![(INET_PROTO, 1), (INET_SERVICE, 2)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_known_by_its_shape() {
        for kind in Family::ALL.into_iter().flat_map(kinds) {
            assert_eq!(Shape::of(kind).kind(), Some(kind));
            assert_eq!(Shape::of(kind).key_length as usize, key_bytes(kind));
            let mut writer = Writer::default();
            Shape::of(kind).write(&mut writer);
            assert_eq!(Shape::read(&Attributes(writer.bytes())), Shape::of(kind));
        }
    }
}
