//! A ruleset as nft reads and prints it: for people, for `render`, and to compare with what
//! `nft list table` says.

use super::timed::{Time, TimedElements};
use super::{
    CT_ESTABLISHED, CT_INVALID, CT_RELATED, CT_UNTRACKED, Field, Hook, Key, Rule, Ruleset, SetKind, Statement, Verdict,
    Via,
};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::fmt::{self, Write};
use std::time::Instant;

/// The table as text for `nft -f`. Deterministic: names and elements are sorted.
pub fn table(name: &str, ruleset: &Ruleset) -> String {
    table_at(name, ruleset, &TimedElements::default(), Instant::now())
}

/// The table with the elements of its timed sets, and the time that each has left at a moment.
pub fn table_at(name: &str, ruleset: &Ruleset, timed: &TimedElements, now: Instant) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    _ = write_table(&mut out, name, ruleset, timed, now);
    out
}

fn write_table(out: &mut String, name: &str, ruleset: &Ruleset, timed: &TimedElements, now: Instant) -> fmt::Result {
    writeln!(out, "table inet {name} {{")?;
    for (name, set) in &ruleset.sets {
        let word = if set.kind.is_map() { "map" } else { "set" };
        writeln!(out, "\t{word} {name} {{\n\t\ttype {}", type_of(set.kind))?;
        if set.kind.is_interval() {
            writeln!(out, "\t\tflags interval")?;
        }
        if set.kind.is_timed() {
            writeln!(out, "\t\tflags timeout")?;
        }
        if let Some(comment) = &set.comment {
            writeln!(out, "\t\tcomment \"{comment}\"")?;
        }
        let of_ruleset = set.elements.sorted().into_iter().map(|(key, value)| {
            let verdict = value.as_ref().map(|verdict| format!(" : {verdict}")).unwrap_or_default();
            format!("{}{verdict}", KeyText(key))
        });
        let timed = timed.of(name, now).map(|(address, left)| format!("{address} timeout {}", Time(left)));
        let elements: Vec<String> = of_ruleset.chain(timed).collect();
        for (i, element) in elements.iter().enumerate() {
            let before = if i == 0 { "\t\telements = { " } else { ",\n\t\t\t     " };
            write!(out, "{before}{element}")?;
        }
        writeln!(out, "{}\t}}\n", if elements.is_empty() { "" } else { " }\n" })?;
    }
    for (i, (name, chain)) in ruleset.chains.iter().enumerate() {
        let gap = if i == 0 { "" } else { "\n" };
        writeln!(out, "{gap}\tchain {name} {{")?;
        if let Some(hook) = chain.hook {
            writeln!(out, "\t\ttype filter hook {hook} priority filter - {}; policy accept;", -hook.priority())?;
        }
        for rule in &chain.rules {
            writeln!(out, "\t\t{}", RuleText(rule))?;
        }
        writeln!(out, "\t}}")?;
    }
    writeln!(out, "}}")
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Forward | Hook::AfterForward => "forward",
            Hook::Output | Hook::AfterOutput => "output",
        })
    }
}

fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

fn type_of(kind: SetKind) -> String {
    let address = kind.family().map_or("", address_type);
    match kind {
        SetKind::Addresses(_) | SetKind::Timed(_) => address.to_owned(),
        SetKind::AddressMap(_) | SetKind::RangeMap(_) => format!("{address} : verdict"),
        SetKind::Pairs(_) => format!("{address} . {address}"),
        SetKind::Ports(_) => format!("{address} . inet_proto . inet_service"),
        SetKind::L4Ports => "inet_proto . inet_service".to_owned(),
    }
}

/// A key as nft writes it.
pub struct KeyText<'k>(pub &'k Key);

impl fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::Address(address) => write!(f, "{address}"),
            Key::Range(first, last) if first == last => write!(f, "{first}"),
            Key::Range(first, last) => write!(f, "{first}-{last}"),
            Key::Pair(a, b) => write!(f, "{a} . {b}"),
            Key::Port { address, protocol, port } => write!(f, "{address} . {} . {port}", l4(*protocol)),
            Key::L4Ports { protocol, first, last } if first == last => write!(f, "{} . {first}", l4(*protocol)),
            Key::L4Ports { protocol, first, last } => write!(f, "{} . {first}-{last}", l4(*protocol)),
        }
    }
}

fn l4(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// A rule as nft writes it.
pub struct RuleText<'r>(pub &'r Rule);

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, statement) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char(' ')?;
            }
            statement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statement::CtState(states) => {
                let named = [
                    (CT_ESTABLISHED, "established"),
                    (CT_RELATED, "related"),
                    (CT_INVALID, "invalid"),
                    (CT_UNTRACKED, "untracked"),
                ];
                let names: Vec<&str> = named.iter().filter(|(bit, _)| states & bit != 0).map(|(_, n)| *n).collect();
                write!(f, "ct state {}", names.join(","))
            }
            Statement::CtMark { mask, value } => write!(f, "ct mark & 0x{mask:08x} == 0x{value:08x}"),
            Statement::SetCtMark { mask, value } => {
                write!(f, "ct mark set ct mark & 0x{:08x} | 0x{value:08x}", !mask)
            }
            Statement::CtOriginal => f.write_str("ct direction original"),
            Statement::CtReply => f.write_str("ct direction reply"),
            Statement::L4Protocol(1) => f.write_str("meta l4proto icmp"),
            Statement::L4Protocol(6) => f.write_str("meta l4proto tcp"),
            Statement::L4Protocol(17) => f.write_str("meta l4proto udp"),
            Statement::L4Protocol(58) => f.write_str("meta l4proto ipv6-icmp"),
            Statement::L4Protocol(number) => write!(f, "meta l4proto {number}"),
            Statement::CtOriginalPort(port) => write!(f, "ct original proto-dst {port}"),
            Statement::SourceIsLocal => f.write_str("fib saddr type local"),
            Statement::CameByItsRoute => f.write_str("fib saddr . iif oif exists"),
            Statement::Icmpv6Type(first, last) if first == last => write!(f, "icmpv6 type {first}"),
            Statement::Icmpv6Type(first, last) => write!(f, "icmpv6 type {first}-{last}"),
            Statement::InBlock(field, block) => write!(f, "{field} {block}"),
            Statement::InSet(fields, set) => {
                for (i, field) in fields.iter().enumerate() {
                    write!(f, "{}{field}", if i == 0 { "" } else { " . " })?;
                }
                write!(f, " @{set}")
            }
            Statement::Vmap(field, map) => write!(f, "{field} vmap @{map}"),
            Statement::Counter => f.write_str("counter"),
            Statement::Limit(rate) => write!(f, "limit rate {rate}/second burst {rate} packets"),
            Statement::Log { group, prefix } => write!(f, "log prefix \"{prefix}\" group {group} snaplen 128"),
            // As nft lists each of them.
            Statement::Queue { number, via: Via::Native } => write!(f, "queue flags bypass to {number}"),
            Statement::Queue { number, via: Via::Compat } => write!(f, "queue num {number} bypass"),
            Statement::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = |family: &Family| match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        match self {
            Field::CtSource(family) => write!(f, "ct original {} saddr", ip(family)),
            Field::CtDestination(family) => write!(f, "ct reply {} saddr", ip(family)),
            Field::CtOriginalDestination(family) => write!(f, "ct original {} daddr", ip(family)),
            Field::Protocol => f.write_str("meta l4proto"),
            Field::SourcePort => f.write_str("th sport"),
            Field::DestinationPort => f.write_str("th dport"),
            Field::Source(family) => write!(f, "{} saddr", ip(family)),
            Field::Destination(family) => write!(f, "{} daddr", ip(family)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}
