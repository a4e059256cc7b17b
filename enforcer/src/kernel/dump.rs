//! What the kernel has of our table, as a plain value, and what it should have.

use super::elements::{Names, Wire, from_wire, from_wire_timed};
use super::expressions::describe;
use super::message::{Attributes, Message};
use super::nft::describe_rule;
use super::shape::Shape;
use super::uapi::*;
use crate::ruleset::{Comment, Elements, Hook, Name, Ruleset, SetKind};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Our table as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// The table itself.
    pub table: TableInfo,
    /// The generation of the node's ruleset that this was read at.
    pub generation: u32,
    /// What is in the table.
    pub contents: Contents,
}

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableInfo {
    /// Its flags.
    pub flags: u32,
    /// The netlink port of the socket that owns it, if it has an owner.
    pub owner: Option<u32>,
}

/// What is in a table, as far as it matters to packets: handles, comments and counts do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Chains by name.
    pub chains: BTreeMap<Name, ChainContents>,
    /// Sets and maps by name.
    pub sets: BTreeMap<Name, SetContents>,
    /// Whatever else there is; nothing of ours.
    pub unknown: Vec<String>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainContents {
    /// Where the kernel calls it, if it does.
    pub hook: Option<ChainHook>,
    /// The rules in their order, and of each the expressions.
    pub rules: Vec<Vec<String>>,
}

/// How the kernel calls a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainHook {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// The number of the hook.
    pub hook: u32,
    /// Lower ones come earlier.
    pub priority: i32,
    /// Whether packets pass that no rule has decided on.
    pub accepts: bool,
}

/// A set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetContents {
    /// What its elements look like; a description if it is none of our kinds.
    pub kind: Result<SetKind, String>,
    /// Its elements.
    pub elements: Elements,
    /// Elements that cannot be ours.
    pub unknown: Vec<String>,
    /// What it is for, where it says.
    pub comment: Comment,
    /// The elements of a timed set, and how long each has left; `None`: for ever. They are not part of what a ruleset
    /// says, see [`crate::ruleset::timed`].
    pub timed: BTreeMap<IpAddr, Option<Duration>>,
}

impl SetContents {
    fn empty(kind: Result<SetKind, String>, comment: Comment) -> Self {
        SetContents { kind, elements: Elements::default(), unknown: Vec::new(), comment, timed: BTreeMap::new() }
    }
}

impl From<Hook> for ChainHook {
    fn from(hook: Hook) -> Self {
        let number = match hook {
            Hook::Forward | Hook::AfterForward => NF_INET_FORWARD,
            Hook::Output | Hook::AfterOutput => NF_INET_LOCAL_OUT,
        };
        ChainHook { kind: "filter".to_owned(), hook: number, priority: hook.priority(), accepts: true }
    }
}

impl Contents {
    /// What is read back when a ruleset was loaded and nobody changed it; an error says what
    /// nftables cannot express.
    pub fn expected(ruleset: &Ruleset) -> Result<Contents, String> {
        let mut contents = Contents::default();
        for (name, chain) in &ruleset.chains {
            let rules = chain.rules.iter().map(describe).collect::<Result<_, _>>()?;
            contents.chains.insert(name.clone(), ChainContents { hook: chain.hook.map(ChainHook::from), rules });
        }
        for (name, set) in &ruleset.sets {
            let empty = SetContents::empty(Ok(set.kind), set.comment.clone());
            contents.sets.insert(name.clone(), SetContents { elements: set.elements.clone(), ..empty });
        }
        Ok(contents)
    }

    /// Takes in the table itself: only who owns it may differ.
    pub(super) fn table(&mut self, table: TableInfo) {
        let flags = table.flags & !(NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST);
        if flags != 0 {
            let dormant =
                if flags & NFT_TABLE_F_DORMANT == 0 { "" } else { ": it is dormant, none of its rules is in force" };
            self.unknown.push(format!("table flags {flags:#x}{dormant}"));
        }
    }

    /// Takes in a chain of the table, if it is one.
    pub(super) fn chain(&mut self, table: &str, message: &Message<'_>) {
        let attributes = message.attributes();
        let Some(name) = attributes.text(NFTA_CHAIN_NAME).filter(|_| attributes.text(NFTA_CHAIN_TABLE) == Some(table))
        else {
            return;
        };
        let hook = attributes.inner(NFTA_CHAIN_HOOK).map(|hook| ChainHook {
            kind: attributes.text(NFTA_CHAIN_TYPE).unwrap_or_default().to_owned(),
            hook: hook.number(NFTA_HOOK_HOOKNUM).unwrap_or_default(),
            priority: hook.number(NFTA_HOOK_PRIORITY).unwrap_or_default().cast_signed(),
            accepts: attributes.number(NFTA_CHAIN_POLICY) == Some(NF_ACCEPT.cast_unsigned()),
        });
        self.chains.entry(name.into()).or_default().hook = hook;
    }

    /// Takes in a rule.
    pub(super) fn rule(&mut self, message: &Message<'_>) {
        let Some(chain) = message.attributes().text(NFTA_RULE_CHAIN) else {
            self.unknown.push("rule without a chain".to_owned());
            return;
        };
        let rule = describe_rule(message.raw).unwrap_or_else(|| vec![unread(message)]);
        self.chains.entry(chain.into()).or_default().rules.push(rule);
    }

    /// Takes in a set, without its elements.
    pub(super) fn set(&mut self, message: &Message<'_>) {
        let attributes = message.attributes();
        let Some(name) = attributes.text(NFTA_SET_NAME) else {
            self.unknown.push("set without a name".to_owned());
            return;
        };
        let shape = Shape::read(&attributes);
        let kind = shape.kind().ok_or_else(|| shape.to_string());
        self.sets.insert(name.into(), SetContents::empty(kind, comment(&attributes)));
    }
}

/// The comment of a set, among what libnftnl keeps with it.
fn comment(set: &Attributes<'_>) -> Comment {
    let mut rest = set.find(NFTA_SET_USERDATA)?;
    while let [kind, length, more @ ..] = rest {
        let (value, others) = more.split_at_checked(usize::from(*length))?;
        if *kind == NFTNL_UDATA_SET_COMMENT {
            let text = std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()?;
            return Some(text.into());
        }
        rest = others;
    }
    None
}

/// Elements of one set, as they come in.
pub(super) struct Reading<'a> {
    kind: SetKind,
    names: &'a mut Names,
    wire: Vec<Wire>,
    unknown: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(kind: SetKind, names: &'a mut Names) -> Self {
        Reading { kind, names, wire: Vec::new(), unknown: Vec::new() }
    }

    pub(super) fn message(&mut self, message: &Message<'_>) {
        for (_, item) in message.attributes().inner(NFTA_SET_ELEM_LIST_ELEMENTS).into_iter().flatten() {
            match Wire::read(self.kind, item, self.names) {
                Some(element) => self.wire.push(element),
                None => self.unknown.push(format!("element {item:02x?}")),
            }
        }
    }

    /// Whether all elements were seen; puts them into the set.
    pub(super) fn finish(self, set: &mut SetContents) -> bool {
        if let SetKind::Timed(family) = self.kind {
            let Some(timed) = from_wire_timed(family, &self.wire) else { return false };
            (set.timed, set.unknown) = (timed, self.unknown);
            return true;
        }
        let Some((elements, mut unknown)) = from_wire(self.kind, self.wire) else { return false };
        set.elements = elements;
        set.unknown = self.unknown;
        set.unknown.append(&mut unknown);
        true
    }
}

/// What the counters of a rule have counted.
pub(super) fn counted(message: &Message<'_>) -> Option<(Name, u64, u64)> {
    let attributes = message.attributes();
    let chain = attributes.text(NFTA_RULE_CHAIN)?;
    let (mut packets, mut bytes, mut any) = (0_u64, 0_u64, false);
    for (_, expression) in attributes.inner(NFTA_RULE_EXPRESSIONS)? {
        let expression = Attributes(expression);
        if expression.text(NFTA_EXPR_NAME) == Some("counter")
            && let Some(data) = expression.inner(NFTA_EXPR_DATA)
        {
            any = true;
            packets = packets.saturating_add(data.long(NFTA_COUNTER_PACKETS).unwrap_or_default());
            bytes = bytes.saturating_add(data.long(NFTA_COUNTER_BYTES).unwrap_or_default());
        }
    }
    any.then(|| (chain.into(), packets, bytes))
}

/// A message that could not be understood, so that it differs from any that can.
fn unread(message: &Message<'_>) -> String {
    let names = message.attributes().inner(NFTA_RULE_EXPRESSIONS).into_iter().flatten();
    let names: Vec<_> = names.map(|(_, e)| Attributes(e).text(NFTA_EXPR_NAME).unwrap_or("?").to_owned()).collect();
    format!("not understood: {}", names.join(", "))
}
