//! The rules of others: chains of nftables, which also hold what `iptables-nft` makes, and those of
//! legacy iptables.

use super::legacy;
use super::netlink::{attribute, attributes, dump, put, text, u32_at};
use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use std::fmt;

const NFT_MSG_GETCHAIN: u16 = (10 << 8) | 4;
const NFT_MSG_GETRULE: u16 = (10 << 8) | 7;
const NFT_MSG_GETFLOWTABLE: u16 = (10 << 8) | 23;
/// `struct nfgenmsg`: the family, and zeros for every family.
const BODY: usize = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_FLOWTABLE_TABLE: u16 = 1;
const NFTA_FLOWTABLE_NAME: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_TARGET_NAME: u16 = 1;
const NFTA_TARGET_INFO: u16 = 3;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NF_DROP: u32 = 0;
const XT_CT_NOTRACK: u8 = 1;
/// Before connection tracking, which is at -200.
const RAW: i32 = -300;

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableFamily {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Frames on a bridge.
    Bridge,
}

/// A table of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Of nftables.
    Nft(TableFamily, String),
    /// Of legacy iptables, for IPv6 or not.
    Legacy {
        /// Whether it is one of `ip6tables`.
        ipv6: bool,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Table::Nft(family, name) => {
                let family = match family {
                    TableFamily::Inet => "inet",
                    TableFamily::Ip => "ip",
                    TableFamily::Ip6 => "ip6",
                    TableFamily::Bridge => "bridge",
                };
                write!(f, "table {family} {name}")
            }
            Table::Legacy { ipv6: false, name } => write!(f, "iptables-legacy table {name}"),
            Table::Legacy { ipv6: true, name } => write!(f, "ip6tables-legacy table {name}"),
        }
    }
}

/// How a chain drops what it does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drops {
    /// Its policy is to drop.
    ByPolicy,
    /// Its last rule drops or rejects everything.
    ByLastRule,
}

/// A chain of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Where it is.
    pub table: Table,
    /// Its name.
    pub name: String,
    /// For chains that the kernel calls for forwarded packets: whether it drops what it does not allow.
    pub drops_forwarded: Option<Drops>,
    /// Whether it exempts packets from connection tracking.
    pub untracks: bool,
}

/// A flow table of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowTable {
    /// Where it is.
    pub table: Table,
    /// Its name.
    pub name: String,
}

/// What others have in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Foreign {
    /// Their chains.
    pub chains: Vec<Chain>,
    /// Their flow tables.
    pub flow_tables: Vec<FlowTable>,
    /// The tables of legacy iptables that could not be listed, with the reason.
    pub unlisted: Vec<(Table, String)>,
}

/// A chain that the kernel calls.
#[derive(Clone, Copy)]
struct Base {
    hook: u32,
    priority: i32,
    filter: bool,
}

impl Base {
    const PREROUTING: u32 = 0;
    const FORWARD: u32 = 2;
    const OUTPUT: u32 = 3;

    fn filters_forwarded(self) -> bool {
        self.filter && self.hook == Self::FORWARD
    }

    fn is_raw(self) -> bool {
        matches!(self.hook, Self::PREROUTING | Self::OUTPUT) && self.priority <= RAW
    }
}

/// All but the table of our own. It lists what nftables has, and runs the program of legacy
/// iptables if the kernel says that there are legacy tables; that program waits for its lock.
pub(super) fn list(own_table: &str) -> Result<Foreign, Errno> {
    let mut foreign = Foreign::default();
    list_chains(own_table, &mut foreign)?;
    for message in dump_tolerant(NFT_MSG_GETFLOWTABLE, &[0; BODY])? {
        let Some((table, rest)) = table_of(&message, NFTA_FLOWTABLE_TABLE) else { continue };
        if !is_own(&table, own_table) {
            let name = attribute(rest, NFTA_FLOWTABLE_NAME).map(text).unwrap_or_default();
            foreign.flow_tables.push(FlowTable { table, name });
        }
    }
    for ipv6 in [false, true] {
        legacy::list(ipv6, &mut foreign);
    }
    Ok(foreign)
}

/// A kernel that does not know the question has none of what is asked for.
fn dump_tolerant(kind: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    match dump(Some(NETFILTER), kind, body) {
        Err(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::INVAL) => Ok(Vec::new()),
        other => other,
    }
}

fn is_own(table: &Table, own: &str) -> bool {
    matches!(table, Table::Nft(TableFamily::Inet, name) if name == own)
}

/// The table that a message is about, and the attributes; `None` for families that do not concern us.
fn table_of(message: &[u8], number: u16) -> Option<(Table, &[u8])> {
    let family = match message.first()? {
        1 => TableFamily::Inet,
        2 => TableFamily::Ip,
        7 => TableFamily::Bridge,
        10 => TableFamily::Ip6,
        _ => return None,
    };
    let rest = message.get(BODY..)?;
    Some((Table::Nft(family, text(attribute(rest, number)?)), rest))
}

fn list_chains(own_table: &str, foreign: &mut Foreign) -> Result<(), Errno> {
    for message in dump_tolerant(NFT_MSG_GETCHAIN, &[0; BODY])? {
        let Some((table, rest)) = table_of(&message, NFTA_CHAIN_TABLE) else { continue };
        if is_own(&table, own_table) {
            continue;
        }
        let name = attribute(rest, NFTA_CHAIN_NAME).map(text).unwrap_or_default();
        let base = attribute(rest, NFTA_CHAIN_HOOK).and_then(|hook| {
            let kind = attribute(rest, NFTA_CHAIN_TYPE).map(text);
            Some(Base {
                hook: be32(attribute(hook, NFTA_HOOK_HOOKNUM)?)?,
                priority: be32(attribute(hook, NFTA_HOOK_PRIORITY)?)? as i32,
                filter: kind.as_deref() == Some("filter"),
            })
        });
        let policy_drops = attribute(rest, NFTA_CHAIN_POLICY).and_then(be32) == Some(NF_DROP);

        let mut chain = Chain { table, name, drops_forwarded: None, untracks: false };
        if base.is_some_and(Base::filters_forwarded) {
            chain.drops_forwarded = if policy_drops {
                Some(Drops::ByPolicy)
            } else {
                rules(message[0], &chain)?.last().is_some_and(|rule| drops_all(rule)).then_some(Drops::ByLastRule)
            };
        }
        // The chain itself, and in the table that is there for it also those that it jumps to.
        let in_raw_table = matches!(&chain.table, Table::Nft(_, name) if name == "raw");
        if base.is_some_and(Base::is_raw) || in_raw_table {
            chain.untracks = rules(message[0], &chain)?.iter().any(|rule| untracks(rule));
        }
        foreign.chains.push(chain);
    }
    Ok(())
}

/// The rules of a chain, each as the list of its expressions.
fn rules(family: u8, chain: &Chain) -> Result<Vec<Vec<u8>>, Errno> {
    let Table::Nft(_, table) = &chain.table else { return Ok(Vec::new()) };
    let mut body = vec![family, 0, 0, 0];
    put(&mut body, NFTA_RULE_TABLE, format!("{table}\0").as_bytes());
    put(&mut body, NFTA_RULE_CHAIN, format!("{}\0", chain.name).as_bytes());
    match dump(Some(NETFILTER), NFT_MSG_GETRULE, &body) {
        // It went away in between.
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(messages) => Ok(messages
            .iter()
            .filter_map(|message| attribute(message.get(BODY..)?, NFTA_RULE_EXPRESSIONS))
            .map(<[u8]>::to_vec)
            .collect()),
    }
}

/// The expressions of a rule: their names and what they hold.
fn expressions(rule: &[u8]) -> impl Iterator<Item = (String, &[u8])> {
    attributes(rule).map(|(_, expression)| {
        let name = attribute(expression, NFTA_EXPR_NAME).map(text).unwrap_or_default();
        (name, attribute(expression, NFTA_EXPR_DATA).unwrap_or_default())
    })
}

/// Whether a rule drops or rejects whatever comes to it.
fn drops_all(rule: &[u8]) -> bool {
    for (name, data) in expressions(rule) {
        match name.as_str() {
            "counter" | "log" => {}
            "reject" => return true,
            "target" => return attribute(data, NFTA_TARGET_NAME).map(text).as_deref() == Some("REJECT"),
            "immediate" => {
                let register = attribute(data, NFTA_IMMEDIATE_DREG).and_then(be32);
                let code = attribute(data, NFTA_IMMEDIATE_DATA)
                    .and_then(|data| attribute(data, NFTA_DATA_VERDICT))
                    .and_then(|verdict| attribute(verdict, NFTA_VERDICT_CODE))
                    .and_then(be32);
                return register == Some(NFT_REG_VERDICT) && code == Some(NF_DROP);
            }
            _ => return false,
        }
    }
    false
}

/// Whether a rule exempts packets from connection tracking.
fn untracks(rule: &[u8]) -> bool {
    expressions(rule).any(|(name, data)| match name.as_str() {
        "notrack" => true,
        "target" => match attribute(data, NFTA_TARGET_NAME).map(text).as_deref() {
            Some("NOTRACK") => true,
            // `struct xt_ct_target_info` begins with its flags.
            Some("CT") => attribute(data, NFTA_TARGET_INFO)
                .and_then(|info| info.get(..2))
                .is_some_and(|flags| u16::from_ne_bytes([flags[0], flags[1]]) & u16::from(XT_CT_NOTRACK) != 0),
            _ => false,
        },
        _ => false,
    })
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be(u32_at(value, 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_as_their_programs_name_them() {
        assert_eq!(Table::Legacy { ipv6: false, name: "raw".into() }.to_string(), "iptables-legacy table raw");
        assert_eq!(Table::Nft(TableFamily::Inet, "x".into()).to_string(), "table inet x");
    }
}
