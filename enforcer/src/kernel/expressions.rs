//! Statements as the expressions that nft itself would make of them, so that `nft list table`
//! prints our rules the way an operator would write them.

use super::nft::{Expr, Text};
use super::uapi::*;
use crate::ruleset::{Field, Rule, Statement, Verdict, Via};
use ipnet::IpNet;
use netsim_shared::net::Family;
use std::net::IpAddr;

/// How much of a packet a log message carries: enough for the headers that say who talks to whom.
pub const LOG_BYTES: u32 = 128;

/// The expressions of a rule; an error says what nftables cannot express.
pub fn expressions(rule: &Rule) -> Result<Vec<Expr>, String> {
    let mut encoder = Encoder::default();
    for statement in rule {
        encoder.statement(statement)?;
    }
    Ok(encoder.expressions)
}

/// What the kernel will show for a rule, see [`super::Dump`]; an error says what nftables cannot
/// express.
pub fn describe(rule: &Rule) -> Result<Vec<String>, String> {
    Ok(expressions(rule)?.iter().map(Expr::describe).collect())
}

/// A name, checked.
pub fn name(text: &str) -> Result<Text, String> {
    Text::name(text).ok_or_else(|| super::Error::Name(text.to_owned()).to_string())
}

/// The code of a verdict and the chain that it goes to.
pub fn verdict_code(verdict: &Verdict) -> (i32, Option<&str>) {
    match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Return => (NFT_RETURN, None),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
    }
}

#[derive(Default)]
struct Encoder {
    expressions: Vec<Expr>,
    /// What the rule has already made sure of: the inet family sees packets of both.
    family: Option<Family>,
}

impl Encoder {
    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::CtState(bits) => {
                self.push(Expr::ct(NFT_CT_STATE, None, NFT_REG_1));
                self.masked(NFT_CMP_NEQ, *bits, 0);
            }
            Statement::CtMark { mask, value } => {
                self.push(Expr::ct(NFT_CT_MARK, None, NFT_REG_1));
                self.masked(NFT_CMP_EQ, *mask, *value);
            }
            Statement::SetCtMark { mask, value } => {
                self.push(Expr::ct(NFT_CT_MARK, None, NFT_REG_1));
                self.push(Expr::bitwise(NFT_REG_1, &(!mask).to_ne_bytes(), &(value & mask).to_ne_bytes()));
                self.push(Expr::ct_set(NFT_CT_MARK, NFT_REG_1));
            }
            Statement::CtOriginal => self.direction(IP_CT_DIR_ORIGINAL),
            Statement::CtReply => self.direction(IP_CT_DIR_REPLY),
            Statement::L4Protocol(number) => {
                self.push(Expr::meta(NFT_META_L4PROTO, NFT_REG_1));
                self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &[*number]));
            }
            Statement::CtOriginalPort(port) => {
                self.push(Expr::ct(NFT_CT_PROTO_DST, Some(IP_CT_DIR_ORIGINAL), NFT_REG_1));
                self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &port.to_be_bytes()));
            }
            Statement::SourceIsLocal => {
                self.push(Expr::source_type(NFT_REG_1));
                self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &RTN_LOCAL.to_ne_bytes()));
            }
            Statement::CameByItsRoute => {
                self.push(Expr::route_of_source(NFT_REG_1));
                // A byte, and the rest of the register.
                self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &[1, 0, 0, 0]));
            }
            Statement::Icmpv6Type(first, last) => self.icmpv6_type(*first, *last),
            Statement::InBlock(field, block) => self.in_block(*field, *block)?,
            Statement::InSet(fields, set) => {
                self.load(fields)?;
                self.push(Expr::lookup(NFT_REG_1, &name(set)?));
            }
            Statement::Vmap(field, map) => {
                self.load(&[*field])?;
                self.push(Expr::vmap(NFT_REG_1, &name(map)?));
            }
            Statement::Counter => self.push(Expr::counter()),
            Statement::Limit(rate) => self.push(Expr::limit(*rate, *rate)),
            Statement::Log { group, prefix } => {
                let prefix = Text::prefix(prefix)
                    .ok_or_else(|| format!("the log prefix `{prefix}` has to have 1 to 127 bytes and no NUL"))?;
                self.push(Expr::log(*group, &prefix, LOG_BYTES));
            }
            Statement::Queue { number, via: Via::Native } => self.push(Expr::queue(*number)),
            Statement::Queue { number, via: Via::Compat } => self.push(Expr::queue_target(*number)),
            Statement::Verdict(verdict) => {
                let (code, chain) = verdict_code(verdict);
                let chain = chain.map(name).transpose()?;
                self.push(Expr::verdict(code, chain.as_ref()));
            }
        }
        Ok(())
    }

    fn push(&mut self, expr: Expr) {
        self.expressions.push(expr);
    }

    fn direction(&mut self, direction: u8) {
        self.push(Expr::ct(NFT_CT_DIRECTION, None, NFT_REG_1));
        self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &[direction]));
    }

    /// Compares bits of a number in register 1; such numbers are in host order.
    fn masked(&mut self, operator: u32, mask: u32, value: u32) {
        self.push(Expr::bitwise(NFT_REG_1, &mask.to_ne_bytes(), &[0; 4]));
        self.push(Expr::cmp(NFT_REG_1, operator, &value.to_ne_bytes()));
    }

    fn icmpv6_type(&mut self, first: u8, last: u8) {
        self.only(Family::V6);
        self.push(Expr::meta(NFT_META_L4PROTO, NFT_REG_1));
        self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &[IPPROTO_ICMPV6]));
        self.push(Expr::payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, NFT_REG_1));
        if first == last {
            self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &[first]));
        } else {
            self.push(Expr::cmp(NFT_REG_1, NFT_CMP_GTE, &[first]));
            self.push(Expr::cmp(NFT_REG_1, NFT_CMP_LTE, &[last]));
        }
    }

    /// Whole bytes of a prefix are compared as such, others under a mask: so does nft.
    fn in_block(&mut self, field: Field, block: IpNet) -> Result<(), String> {
        let family = address_family(field).ok_or("only addresses lie in blocks")?;
        if family != Family::of(block.addr()) {
            return Err(format!("`{block}` is not of the family of the addresses that it is matched with"));
        }
        let (network, mask) = (octets(block.network()), octets(block.netmask()));
        let prefix = usize::from(block.prefix_len());
        if prefix > 0 && prefix.is_multiple_of(8) {
            let length = prefix / 8;
            self.load_field(field, NFT_REG_1, length);
            self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, network.get(..length).unwrap_or(&network)));
        } else {
            self.load_field(field, NFT_REG_1, network.len());
            self.push(Expr::bitwise(NFT_REG_1, &mask, &vec![0; mask.len()]));
            self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &network));
        }
        Ok(())
    }

    /// Loads fields into neighbouring registers, from the first one on.
    fn load(&mut self, fields: &[Field]) -> Result<(), String> {
        // Before the first of them: nft looks for what belongs together there.
        fields.iter().filter_map(|field| header(*field)).for_each(|(family, _)| self.only(family));
        let mut slot = 0;
        for field in fields {
            let slots = address_family(*field).map_or(1, |family| address_bytes(family) / 4);
            if slot + slots > NFT_REG32_COUNT {
                return Err("more fields than the kernel has registers for".to_owned());
            }
            self.load_field(*field, register(slot), address_family(*field).map_or(0, address_bytes));
            slot += slots;
        }
        Ok(())
    }

    /// Loads a field, or for header fields as much of it as is asked for.
    fn load_field(&mut self, field: Field, register: u32, length: usize) {
        if let Some((family, offset)) = header(field) {
            self.only(family);
            let length = u32::try_from(length).unwrap_or_default();
            return self.push(Expr::payload(NFT_PAYLOAD_NETWORK_HEADER, offset, length, register));
        }
        let by_family = |family| if family == Family::V4 { NFT_CT_SRC_IP } else { NFT_CT_SRC_IP6 };
        let opened_to = |family| if family == Family::V4 { NFT_CT_DST_IP } else { NFT_CT_DST_IP6 };
        self.push(match field {
            Field::CtSource(family) => Expr::ct(by_family(family), Some(IP_CT_DIR_ORIGINAL), register),
            Field::CtDestination(family) => Expr::ct(by_family(family), Some(IP_CT_DIR_REPLY), register),
            Field::CtOriginalDestination(family) => Expr::ct(opened_to(family), Some(IP_CT_DIR_ORIGINAL), register),
            Field::SourcePort => Expr::payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2, register),
            Field::DestinationPort => Expr::payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, register),
            // Header fields were dealt with above.
            Field::Protocol | Field::Source(_) | Field::Destination(_) => Expr::meta(NFT_META_L4PROTO, register),
        });
    }

    /// Goes on for packets of one family only.
    fn only(&mut self, family: Family) {
        if self.family == Some(family) {
            return;
        }
        self.family = Some(family);
        self.push(Expr::meta(NFT_META_NFPROTO, NFT_REG_1));
        let number = if family == Family::V4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        self.push(Expr::cmp(NFT_REG_1, NFT_CMP_EQ, &[number]));
    }
}

/// The family of a header field, and where it is in the header.
fn header(field: Field) -> Option<(Family, u32)> {
    match field {
        Field::Source(family) => Some((family, if family == Family::V4 { 12 } else { 8 })),
        Field::Destination(family) => Some((family, if family == Family::V4 { 16 } else { 24 })),
        Field::CtSource(_)
        | Field::CtDestination(_)
        | Field::CtOriginalDestination(_)
        | Field::Protocol
        | Field::SourcePort
        | Field::DestinationPort => None,
    }
}

fn address_family(field: Field) -> Option<Family> {
    match field {
        Field::CtSource(f)
        | Field::CtDestination(f)
        | Field::CtOriginalDestination(f)
        | Field::Source(f)
        | Field::Destination(f) => Some(f),
        Field::Protocol | Field::SourcePort | Field::DestinationPort => None,
    }
}

/// How many bytes an address has.
pub fn address_bytes(family: Family) -> usize {
    if family == Family::V4 { 4 } else { 16 }
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The register that begins at a slot of 32 bits. The kernel calls those at which one of 128 bits
/// begins by the name of that.
fn register(slot: usize) -> u32 {
    let slot = slot as u32;
    if slot.is_multiple_of(4) { NFT_REG_1 + slot / 4 } else { NFT_REG32_00 + slot }
}
