//! Our table through one socket: committed, read back, counted.

use super::batch::{Batch, request};
use super::dump::{Contents, Dump, Reading, TableInfo, counted};
use super::elements::Names;
use super::error::{CommitError, Error};
use super::message::{Attributes, HEADER, Message, Writer, array};
use super::nft::Text;
use super::socket::Socket;
use super::uapi::*;
use crate::ruleset::Name;
use crate::transaction::Transaction;
use rustix::io::Errno;
use std::collections::BTreeMap;

/// How often the table is read before giving up because others keep changing theirs.
const ATTEMPTS: usize = 16;

/// Whether others may change our table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Nobody but us, as long as we live; afterwards it stays, and whoever comes next may take it.
    /// Linux 6.9; before that it is as with [`Ownership::Shared`].
    Owned,
    /// Anybody with the privilege.
    Shared,
}

/// A transaction that came to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The generation of the node's ruleset that it made; `None` if others changed theirs at the
    /// same moment, so that it is not known whether they changed ours as well.
    pub generation: Option<u32>,
    /// How long the batch was.
    pub bytes: usize,
}

/// What the counters of a chain have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A connection to nf_tables about one table. The kernel knows the owner of a table by its socket:
/// as long as this lives, so does the ownership.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    name: Text,
    table: String,
    flags: u32,
}

/// Why a request was cut short.
enum Cut {
    /// Others changed their tables meanwhile: ask again.
    Interrupted,
    Failed(Error),
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread. Nothing is changed.
    pub fn open(table: &str, ownership: Ownership) -> Result<Netlink, Error> {
        let name = Text::name(table).ok_or_else(|| Error::Name(table.to_owned()))?;
        let mut netlink = Netlink { socket: Socket::open()?, name, table: table.to_owned(), flags: 0 };
        let wanted = NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST;
        if ownership == Ownership::Owned && netlink.takes_flags(wanted)? {
            netlink.flags = wanted;
        }
        Ok(netlink)
    }

    /// Whether tables that it creates are its own. Not so before Linux 6.9, where a table with an
    /// owner would vanish together with him.
    pub fn owns(&self) -> bool {
        self.flags & NFT_TABLE_F_OWNER != 0
    }

    /// The address of its socket.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Changes the table, all at once or not at all.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<Committed, CommitError> {
        let before = self.generation().map_err(CommitError::NotSent)?;
        let name = self.name.clone();
        let mut batch = Batch::new(transaction, &name, self.flags)?;
        if batch.is_empty() {
            return Ok(Committed { generation: Some(before), bytes: 0 });
        }
        self.deliver(&mut batch, true).map_err(|error| self.explain(error))?;
        // The kernel never uses 0.
        let next = before.checked_add(1).unwrap_or(1);
        let generation = self.generation().ok().filter(|after| *after == next);
        Ok(Committed { generation, bytes: batch.bytes().len() })
    }

    /// Takes over a table that the last owner left behind, as it is: from then on nobody else
    /// changes it. Creates an empty one if there is none, and does nothing if it is ours.
    ///
    /// A table that never had an owner cannot be taken over, only be deleted and created anew.
    pub fn adopt(&mut self) -> Result<(), CommitError> {
        let (nothing, name) = (Transaction::default(), self.name.clone());
        let mut batch = Batch::adopting(&nothing, &name, self.flags);
        self.deliver(&mut batch, true).map_err(|error| self.explain(error))
    }

    /// The number of the node's ruleset, which changes with every change to any table in this
    /// network namespace.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let mut generation = None;
        let what = "the generation of the ruleset";
        self.ask(what, NFT_MSG_GETGEN, 0, |_| (), |message| generation = message.attributes().number(NFTA_GEN_ID))
            .map_err(Cut::into_error)?;
        generation.ok_or(Error::NoAnswer { what })
    }

    /// The table itself; `None` if there is none.
    pub fn table(&mut self) -> Result<Option<TableInfo>, Error> {
        let mut info = None;
        let table = self.table.clone();
        let asked = self.ask(
            "the table",
            NFT_MSG_GETTABLE,
            0,
            |w| w.text(NFTA_TABLE_NAME, &table),
            |message| {
                let attributes = message.attributes();
                let flags = attributes.number(NFTA_TABLE_FLAGS).unwrap_or_default();
                info = Some(TableInfo { flags, owner: attributes.number(NFTA_TABLE_OWNER) });
            },
        );
        match asked {
            Ok(()) => Ok(info),
            Err(Cut::Failed(Error::Refused { errno: Errno::NOENT, .. })) => Ok(None),
            Err(cut) => Err(cut.into_error()),
        }
    }

    /// All of the table as it is; `None` if there is none.
    pub fn read(&mut self) -> Result<Option<Dump>, Error> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let Some(table) = self.table()? else { return Ok(None) };
            let contents = match self.contents(table) {
                Ok(contents) => contents,
                // It went away while it was read, or the kernel lost its place.
                Err(Cut::Interrupted | Cut::Failed(Error::Refused { errno: Errno::NOENT, .. })) => continue,
                Err(Cut::Failed(error)) => return Err(error),
            };
            // Parts read at different generations belong together if only we can change them.
            if (self.owns() && table.owner == Some(self.port())) || self.generation()? == generation {
                return Ok(Some(Dump { table, generation, contents }));
            }
        }
        Err(Error::Unsteady)
    }

    /// What the counters in the rules of each chain have counted, together.
    pub fn counters(&mut self) -> Result<BTreeMap<Name, Count>, Error> {
        for _ in 0..ATTEMPTS {
            let mut counts: BTreeMap<Name, Count> = BTreeMap::new();
            let table = self.table.clone();
            let asked = self.ask(
                "the counters",
                NFT_MSG_GETRULE,
                NLM_F_DUMP,
                |w| w.text(NFTA_RULE_TABLE, &table),
                |message| {
                    if let Some((chain, packets, bytes)) = counted(message) {
                        let count = counts.entry(chain).or_default();
                        count.packets = count.packets.saturating_add(packets);
                        count.bytes = count.bytes.saturating_add(bytes);
                    }
                },
            );
            match asked {
                Ok(()) => return Ok(counts),
                Err(Cut::Interrupted) => {}
                Err(cut) => return Err(cut.into_error()),
            }
        }
        Err(Error::Unsteady)
    }

    /// The socket, for what has nothing to do with the table.
    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Whether the kernel would create a table with such flags: it is asked to, in a batch without
    /// an end, which it forgets.
    fn takes_flags(&mut self, flags: u32) -> Result<bool, Error> {
        let nothing = Transaction::default();
        // Any name does but that of a table.
        let name = Text::name(&format!("netsim_probe_{}", self.port()));
        let name = name.ok_or_else(|| Error::Name("netsim_probe".to_owned()))?;
        match self.deliver(&mut Batch::adopting(&nothing, &name, flags), false) {
            Ok(()) => Ok(true),
            // Flags that it does not know.
            Err(CommitError::Refused { errno: Errno::OPNOTSUPP | Errno::INVAL, .. }) => Ok(false),
            Err(CommitError::Refused { errno, .. }) => Err(Error::Refused { what: "a table with an owner", errno }),
            Err(CommitError::NotSent(error) | CommitError::Unknown(error)) => Err(error),
            Err(CommitError::Invalid { .. } | CommitError::Owned { .. }) => Ok(false),
        }
    }

    /// Whether the kernel would take a change of a table that does not exist: it is asked to, in a
    /// batch without an end, which it forgets.
    pub(super) fn would_take(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        let name = Text::name(&format!("netsim_probe_{}", self.port()));
        let name = name.ok_or_else(|| CommitError::NotSent(Error::Name("netsim_probe".to_owned())))?;
        self.deliver(&mut Batch::new(transaction, &name, 0)?, false)
    }

    fn contents(&mut self, info: TableInfo) -> Result<Contents, Cut> {
        let table = self.table.clone();
        let mut contents = Contents::default();
        contents.table(info);
        let dump = NLM_F_DUMP;
        self.ask("the chains", NFT_MSG_GETCHAIN, dump, |_| (), |m| contents.chain(&table, m))?;
        let of_table = |w: &mut Writer| w.text(NFTA_RULE_TABLE, &table);
        self.ask("the rules", NFT_MSG_GETRULE, dump, of_table, |m| contents.rule(m))?;
        let of_table = |w: &mut Writer| w.text(NFTA_SET_TABLE, &table);
        self.ask("the sets", NFT_MSG_GETSET, dump, of_table, |m| contents.set(m))?;

        let mut names = Names::default();
        for (set, contents) in &mut contents.sets {
            let Ok(kind) = contents.kind else { continue };
            let mut reading = Reading::new(kind, &mut names);
            let of_set = |w: &mut Writer| {
                w.text(NFTA_SET_ELEM_LIST_TABLE, &table);
                w.text(NFTA_SET_ELEM_LIST_SET, set);
            };
            self.ask("the elements of a set", NFT_MSG_GETSETELEM, dump, of_set, |m| reading.message(m))?;
            if !reading.finish(contents) {
                return Err(Cut::Interrupted);
            }
        }

        let others = [
            ("object", NFT_MSG_GETOBJ, NFTA_OBJ_TABLE, NFTA_OBJ_NAME),
            ("flow table", NFT_MSG_GETFLOWTABLE, NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME),
        ];
        for (kind, message, in_table, name) in others {
            let each = |message: &Message<'_>| {
                let attributes = message.attributes();
                if attributes.text(in_table) == Some(&table) {
                    contents.unknown.push(format!("{kind} `{}`", attributes.text(name).unwrap_or_default()));
                }
            };
            self.ask("other objects of the table", message, dump, |w| w.text(in_table, &table), each)?;
        }
        Ok(contents)
    }

    /// Asks, and hands over the answers one by one.
    fn ask(
        &mut self,
        what: &'static str,
        message: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), Cut> {
        let seq = self.socket.numbers(1);
        let mut writer = Writer::default();
        // A dump ends by itself; a single answer is followed by an acknowledgement.
        let flags = if flags & NLM_F_DUMP == 0 { flags | NLM_F_ACK } else { flags };
        writer.message(super::message::Head { seq, ..request(message, flags) }, body);
        let answers = self.socket.ask(writer.bytes(), seq, each);
        answers.map_err(|answer| match answer {
            Answer::Interrupted => Cut::Interrupted,
            Answer::Refused(errno) => Cut::Failed(Error::Refused { what, errno }),
            Answer::Lost(Errno::NOBUFS) if flags & NLM_F_DUMP == NLM_F_DUMP => Cut::Interrupted,
            Answer::Lost(Errno::AGAIN) => Cut::Failed(Error::NoAnswer { what }),
            Answer::Lost(errno) => Cut::Failed(Error::Talk { what, errno }),
        })
    }

    /// Sends a batch and finds out what became of it.
    fn deliver(&mut self, batch: &mut Batch<'_>, commit: bool) -> Result<(), CommitError> {
        const WHAT: &str = "a change of the table";
        // Without the batch's end the last message is the one that is acknowledged, and with it the
        // one before.
        batch.finish(commit);
        let last = batch.len() - if commit { 2 } else { 1 };
        let first = self.socket.numbers(batch.len());
        batch.number(first);
        if let Err(errno) = self.socket.send(batch.bytes()) {
            return Err(CommitError::NotSent(Error::Talk { what: WHAT, errno }));
        }
        // The kernel has worked all of it off by now, and what it has to say lies in the queue. The
        // first answer is waited for nevertheless; when it is there, so are all.
        let (mut acknowledged, mut lost, mut waiting) = (false, None, true);
        let mut refusals: Vec<Refusal> = Vec::new();
        loop {
            let received = if waiting { self.socket.receive() } else { self.socket.receive_now() };
            match received {
                Ok(messages) => {
                    for message in messages.filter(|message| batch.has(message.seq)) {
                        waiting = false;
                        match Refusal::read(&message) {
                            Some(refusal) => refusals.push(refusal),
                            None => acknowledged |= message.kind == NLMSG_ERROR && message.seq == first + last,
                        }
                    }
                }
                Err(Errno::AGAIN) => break,
                // The queue ran over: what fitted is still there.
                Err(errno) => {
                    (lost, waiting) = (Some(errno), false);
                    if errno != Errno::NOBUFS {
                        break;
                    }
                }
            }
        }
        // Any error makes the kernel forget all of the batch, however many were lost besides.
        refusals.sort_by_key(|refusal| refusal.seq.wrapping_sub(first));
        match (refusals.first(), acknowledged, lost) {
            (Some(refusal), ..) => Err(CommitError::Refused {
                object: batch.name(refusal.seq, refusal.offset),
                errno: refusal.errno,
                detail: refusal.text.clone(),
                more: refusals.len() - 1,
            }),
            (None, true, _) => Ok(()),
            (None, false, Some(errno)) => Err(CommitError::Unknown(Error::Talk { what: WHAT, errno })),
            (None, false, None) => Err(CommitError::Unknown(Error::NoAnswer { what: WHAT })),
        }
    }

    /// Says who owns the table, where that is why it was not changed.
    fn explain(&mut self, error: CommitError) -> CommitError {
        let CommitError::Refused { errno: Errno::PERM, .. } = error else { return error };
        match self.table() {
            Ok(Some(TableInfo { owner: Some(port), .. })) if port != self.port() => {
                CommitError::Owned { table: self.table.clone(), port }
            }
            _ => error,
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was cut short by a change.
    Interrupted,
    /// The kernel said no.
    Refused(Errno),
    /// It could not be sent, or not all of the answer be received.
    Lost(Errno),
}

impl Socket {
    /// Sends a request and hands over its answers, up to the last one.
    pub(super) fn ask(&mut self, bytes: &[u8], seq: u32, mut each: impl FnMut(&Message<'_>)) -> Result<(), Answer> {
        self.send(bytes).map_err(Answer::Lost)?;
        let mut interrupted = false;
        loop {
            for message in self.receive().map_err(Answer::Lost)?.filter(|message| message.seq == seq) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    // Both carry an error number, 0 if all is well.
                    NLMSG_ERROR | NLMSG_DONE => {
                        return match errno(&message) {
                            Some(Errno::INTR) => Err(Answer::Interrupted),
                            Some(errno) => Err(Answer::Refused(errno)),
                            None if interrupted => Err(Answer::Interrupted),
                            None => Ok(()),
                        };
                    }
                    _ => each(&message),
                }
            }
        }
    }
}

/// The error number that a message carries, unless it is 0.
pub(super) fn errno(message: &Message<'_>) -> Option<Errno> {
    let number = array(message.payload(), 0).map(i32::from_ne_bytes).unwrap_or_default();
    (number != 0).then(|| Errno::from_raw_os_error(number.saturating_neg()))
}

impl Cut {
    fn into_error(self) -> Error {
        match self {
            Cut::Interrupted => Error::Unsteady,
            Cut::Failed(error) => error,
        }
    }
}

/// An error about one message of a batch.
struct Refusal {
    seq: u32,
    errno: Errno,
    /// Where in the message the attribute is that is to blame.
    offset: Option<usize>,
    text: Option<String>,
}

impl Refusal {
    fn read(message: &Message<'_>) -> Option<Refusal> {
        if message.kind != NLMSG_ERROR {
            return None;
        }
        let errno = errno(message)?;
        // The error number, then the header of the request or all of it, then attributes.
        let payload = message.payload();
        let repeated = array(payload, 4).map(u32::from_ne_bytes).unwrap_or_default() as usize;
        let repeated = if message.flags & NLM_F_CAPPED == 0 { repeated.next_multiple_of(4) } else { HEADER };
        let more = payload.get(4 + repeated..).filter(|_| message.flags & NLM_F_ACK_TLVS != 0).unwrap_or_default();
        let more = Attributes(more);
        // Extended errors are in host order.
        let offset = more.find(NLMSGERR_ATTR_OFFS).and_then(|value| array(value, 0)).map(u32::from_ne_bytes);
        Some(Refusal {
            seq: message.seq,
            errno,
            offset: offset.map(|offset| offset as usize),
            text: more.text(NLMSGERR_ATTR_MSG).map(str::to_owned),
        })
    }
}
