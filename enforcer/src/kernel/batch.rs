//! A transaction as the messages of one batch, and from an answer back to the object it is about.

use super::elements::{LIST_BYTES, Names, Wire, to_wire, to_wire_timed};
use super::error::CommitError;
use super::expressions::{expressions, name, verdict_code};
use super::message::{Attributes, HEADER, Head, Messages, NETFILTER, Writer, kind};
use super::nft::{Builder, Text};
use super::shape::Shape;
use super::uapi::*;
use crate::ruleset::elements::Value;
use crate::ruleset::{COMMENT_MAX, Hook, Key, SetKind};
use crate::transaction::{Op, Transaction};
use rustc_hash::FxHashSet;
use std::borrow::Cow;
use std::time::Duration;

/// The largest item of a list of elements: two keys of 32 bytes, a name of 255, and headers.
const ITEM_BYTES: usize = 512;
const _: () = assert!(LIST_BYTES + ITEM_BYTES <= u16::MAX as usize);

/// Messages that the kernel takes all or none of.
pub struct Batch<'a> {
    transaction: &'a Transaction,
    table: &'a Text,
    writer: Writer,
    /// The number of the first message, which begins the batch.
    first: u32,
    /// Where each message begins, and of which change it is a part (the batch's own of none).
    messages: Vec<(usize, Option<usize>)>,
}

impl<'a> Batch<'a> {
    /// Writes a transaction; a new table gets the flags.
    pub fn new(transaction: &'a Transaction, table: &'a Text, table_flags: u32) -> Result<Batch<'a>, CommitError> {
        let mut batch = Batch { transaction, table, writer: Writer::default(), first: 0, messages: Vec::new() };
        batch.control(NFNL_MSG_BATCH_BEGIN);
        let mut builder = Builder::new(table);
        for (index, op) in transaction.ops.iter().enumerate() {
            batch
                .op(index, op, table_flags, &mut builder)
                .map_err(|reason| CommitError::Invalid { object: batch.object(index), reason })?;
        }
        Ok(batch)
    }

    /// A batch that creates the table, or takes it over if it has no owner.
    pub fn adopting(transaction: &'a Transaction, table: &'a Text, table_flags: u32) -> Batch<'a> {
        let mut batch = Batch { transaction, table, writer: Writer::default(), first: 0, messages: Vec::new() };
        batch.control(NFNL_MSG_BATCH_BEGIN);
        batch.table(Some(0), NLM_F_CREATE, table_flags);
        batch
    }

    /// Asks for an acknowledgement of the last message, and ends the batch. Without the end the
    /// kernel judges it, says what it thinks, and forgets it.
    ///
    /// One acknowledgement does: errors come unasked, and if there is none the kernel has done
    /// everything up to and with the last message.
    pub fn finish(&mut self, commit: bool) {
        if let Some((start, _)) = self.messages.last() {
            self.writer.set_flags(*start, NLM_F_ACK);
        }
        if commit {
            self.control(NFNL_MSG_BATCH_END);
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.messages.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is nothing in it yet but its own beginning.
    pub fn is_empty(&self) -> bool {
        self.messages.iter().all(|(_, op)| op.is_none())
    }

    /// Gives the messages their numbers, from `first` on.
    pub fn number(&mut self, first: u32) {
        self.first = first;
        for (index, (start, _)) in (0_u32..).zip(&self.messages) {
            self.writer.set_number(*start, first.wrapping_add(index));
        }
    }

    /// The messages.
    pub fn bytes(&self) -> &[u8] {
        self.writer.bytes()
    }

    /// Whether a number is that of one of the messages.
    pub fn has(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.first) < self.len()
    }

    /// What the message with a number is about, and where in it the kernel points.
    pub fn name(&self, seq: u32, offset: Option<usize>) -> String {
        let message = self.messages.get(seq.wrapping_sub(self.first) as usize);
        let Some((start, Some(index))) = message.copied() else {
            return format!("the change of table `{}`", self.table_name());
        };
        let object = self.object(index);
        let element = offset.and_then(|offset| self.element(index, start, offset));
        element.map_or_else(|| object.clone(), |element| format!("{object}: element {element}"))
    }

    fn table_name(&self) -> Cow<'_, str> {
        AsRef::<std::ffi::CStr>::as_ref(self.table).to_string_lossy()
    }

    /// A change's object by name.
    fn object(&self, index: usize) -> String {
        match self.transaction.ops.get(index) {
            None | Some(Op::AddTable | Op::DeleteTable) => format!("table `{}`", self.table_name()),
            Some(Op::AddSet(set, ..) | Op::DeleteSet(set)) => format!("set `{set}`"),
            Some(Op::AddElements(set, ..) | Op::DeleteElements(set, ..)) => format!("set `{set}`"),
            Some(Op::AddTimed(set, ..) | Op::Retime(set, ..) | Op::EndTimed(set, ..)) => format!("set `{set}`"),
            Some(Op::AddChain(chain, _) | Op::DeleteChain(chain) | Op::FlushChain(chain)) => format!("chain `{chain}`"),
            Some(Op::AddRule(chain, _)) => {
                let before = self.transaction.ops.iter().take(index + 1);
                let count = before.filter(|op| matches!(op, Op::AddRule(other, _) if other == chain)).count();
                format!("chain `{chain}`: rule {count} of those added")
            }
        }
    }

    /// The element that lies at a place in a message.
    fn element(&self, index: usize, start: usize, offset: usize) -> Option<String> {
        let kind = match self.transaction.ops.get(index)? {
            Op::AddElements(_, kind, _) | Op::DeleteElements(_, kind, _) => *kind,
            Op::AddTimed(_, family, _) | Op::Retime(_, family, _) | Op::EndTimed(_, family, _) => {
                SetKind::Timed(*family)
            }
            _ => return None,
        };
        if offset < HEADER + NETFILTER {
            return None;
        }
        let message = Messages(self.bytes().get(start..)?).next()?;
        let (attribute, item) = Attributes(message.raw.get(offset..)?).next()?;
        if attribute != NFTA_LIST_ELEM {
            return None;
        }
        Some(Wire::read(kind, item, &mut Names::default())?.name(kind))
    }

    fn control(&mut self, message: u16) {
        self.messages.push((self.writer.len(), None));
        let head = Head { kind: message, flags: 0, seq: 0, family: NFPROTO_UNSPEC, resource: NFNL_SUBSYS_NFTABLES };
        self.writer.message(head, |_| ());
    }

    fn message(&mut self, index: Option<usize>, message: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.begin(index, message, flags);
        body(&mut self.writer);
        self.writer.close(start);
    }

    fn begin(&mut self, index: Option<usize>, message: u16, flags: u16) -> usize {
        self.messages.push((self.writer.len(), index));
        self.writer.open(request(message, flags))
    }

    fn table(&mut self, index: Option<usize>, flags: u16, table_flags: u32) {
        let table = self.table_name().into_owned();
        self.message(index, NFT_MSG_NEWTABLE, flags, |w| {
            w.text(NFTA_TABLE_NAME, &table);
            w.number(NFTA_TABLE_FLAGS, table_flags);
        });
    }

    fn op(&mut self, index: usize, op: &Op, table_flags: u32, builder: &mut Builder) -> Result<(), String> {
        let table = self.table_name().into_owned();
        let at = Some(index);
        match op {
            Op::AddTable => self.table(at, NLM_F_CREATE | NLM_F_EXCL, table_flags),
            Op::DeleteTable => self.message(at, NFT_MSG_DELTABLE, 0, |w| w.text(NFTA_TABLE_NAME, &table)),
            Op::AddSet(set, kind, comment) => {
                name(set)?;
                if comment.as_ref().is_some_and(|comment| comment.len() > COMMENT_MAX || comment.contains(['\0', '"']))
                {
                    return Err(format!("a comment has at most {COMMENT_MAX} bytes, and neither NUL nor quotes"));
                }
                let id = u32::try_from(index).unwrap_or(u32::MAX);
                self.message(at, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL, |w| {
                    w.text(NFTA_SET_TABLE, &table);
                    w.text(NFTA_SET_NAME, set);
                    Shape::of(*kind).write(w);
                    w.number(NFTA_SET_ID, id);
                    if let Some(comment) = comment {
                        let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
                        let head = [NFTNL_UDATA_SET_COMMENT, length];
                        w.bytes_attribute(NFTA_SET_USERDATA, &[&head, comment.as_bytes(), &[0]].concat());
                    }
                });
            }
            Op::DeleteSet(set) => {
                name(set)?;
                self.message(at, NFT_MSG_DELSET, 0, |w| {
                    w.text(NFTA_SET_TABLE, &table);
                    w.text(NFTA_SET_NAME, set);
                });
            }
            Op::AddChain(chain, hook) => {
                let hook = hook.map(|hook| (nftnl_hook(hook), hook.priority()));
                self.messages.push((self.writer.len(), at));
                self.writer.finished(builder.chain(&name(chain)?, hook), NLM_F_CREATE | NLM_F_EXCL);
            }
            Op::DeleteChain(chain) => {
                name(chain)?;
                self.message(at, NFT_MSG_DELCHAIN, 0, |w| {
                    w.text(NFTA_CHAIN_TABLE, &table);
                    w.text(NFTA_CHAIN_NAME, chain);
                });
            }
            Op::FlushChain(chain) => {
                name(chain)?;
                self.message(at, NFT_MSG_DELRULE, 0, |w| {
                    w.text(NFTA_RULE_TABLE, &table);
                    w.text(NFTA_RULE_CHAIN, chain);
                });
            }
            Op::AddRule(chain, rule) => {
                let expressions = expressions(rule)?;
                let message = builder.rule(&name(chain)?, &expressions);
                let message = message.ok_or_else(|| format!("{} expressions are too many", expressions.len()))?;
                self.messages.push((self.writer.len(), at));
                self.writer.finished(message, NLM_F_CREATE | NLM_F_APPEND);
            }
            Op::AddElements(set, kind, elements) => {
                check_chains(elements)?;
                self.elements(index, ADD_NEW, set, &to_wire(*kind, elements)?)?;
            }
            Op::DeleteElements(set, kind, elements) => self.elements(index, DELETE, set, &to_wire(*kind, elements)?)?,
            Op::AddTimed(set, family, elements) => {
                self.elements(index, ADD_NEW, set, &to_wire_timed(*family, elements.iter().copied())?)?;
            }
            // An element that is there cannot be added anew, nor one be deleted that is not there. So first it is made
            // sure that it is there, whatever its time, and then it is deleted.
            Op::Retime(set, family, elements) => {
                let wire = to_wire_timed(*family, elements.iter().copied())?;
                for message in [ADD, DELETE, ADD_NEW] {
                    self.elements(index, message, set, &wire)?;
                }
            }
            Op::EndTimed(set, family, addresses) => {
                let for_the_moment = addresses.iter().map(|address| (*address, Duration::from_secs(1)));
                let wire = to_wire_timed(*family, for_the_moment)?;
                for message in [ADD, DELETE] {
                    self.elements(index, message, set, &wire)?;
                }
            }
        }
        Ok(())
    }

    /// Messages with as many elements as fit.
    fn elements(&mut self, index: usize, (message, flags): (u16, u16), set: &str, wire: &[Wire]) -> Result<(), String> {
        name(set)?;
        let table = self.table_name().into_owned();
        let mut rest = wire.iter().peekable();
        while rest.peek().is_some() {
            let start = self.begin(Some(index), message, flags);
            self.writer.text(NFTA_SET_ELEM_LIST_TABLE, &table);
            self.writer.text(NFTA_SET_ELEM_LIST_SET, set);
            let list = self.writer.begin_nested(NFTA_SET_ELEM_LIST_ELEMENTS);
            while let Some(element) = rest.next_if(|_| self.writer.len() - list < LIST_BYTES) {
                element.write(&mut self.writer, message == NFT_MSG_NEWSETELEM);
            }
            self.writer.end(list);
            self.writer.close(start);
        }
        Ok(())
    }
}

/// Adding elements that must not be there.
const ADD_NEW: (u16, u16) = (NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL);
/// Adding elements that may be there.
const ADD: (u16, u16) = (NFT_MSG_NEWSETELEM, NLM_F_CREATE);
/// Deleting elements.
const DELETE: (u16, u16) = (NFT_MSG_DELSETELEM, 0);

/// Thousands of elements go to few chains: every name is checked once.
fn check_chains(elements: &[(Key, Value)]) -> Result<(), String> {
    let mut checked: FxHashSet<&str> = FxHashSet::default();
    for (_, chain) in elements.iter().filter_map(|(_, value)| value.as_ref()).map(verdict_code) {
        if let Some(chain) = chain
            && checked.insert(chain)
        {
            name(chain)?;
        }
    }
    Ok(())
}

/// The head of a message to nf_tables.
pub fn request(message: u16, flags: u16) -> Head {
    Head { kind: kind(NFNL_SUBSYS_NFTABLES, message), flags, seq: 0, family: NFPROTO_INET, resource: 0 }
}

fn nftnl_hook(hook: Hook) -> nftnl::Hook {
    match hook {
        Hook::Forward | Hook::AfterForward => nftnl::Hook::Forward,
        Hook::Output | Hook::AfterOutput => nftnl::Hook::Out,
    }
}
