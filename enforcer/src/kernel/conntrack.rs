//! The marks of tracked connections, all of them at once.
//!
//! A generation that is kept in the connection mark wraps around some day. Before an old number is
//! used again, no connection may carry it any more.

use super::error::Error;
use super::message::{Head, Message, Writer, array, kind};
use super::netlink::{Answer, errno};
use super::socket::Socket;
use super::uapi::*;
use rustix::io::Errno;

const WHAT: &str = "the tracked connections";
/// Messages are sent together up to this length.
const BYTES: usize = 64 << 10;
/// How often the connections are listed before giving up.
const ATTEMPTS: usize = 16;

/// A connection, as far as the kernel needs to know which one is meant.
struct Connection {
    family: u8,
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
}

/// Sets the bits of `mask` to 0 in the mark of every connection where they are neither 0 nor
/// `except`; other bits stay. Gives how many connections that were.
///
/// Connections that are marked meanwhile are not surely seen: no rule may give the old numbers any
/// more when this is called.
pub(super) fn clear_marks(socket: &mut Socket, mask: u32, except: u32) -> Result<usize, Error> {
    let stale = list(socket, |mark| mark & mask != 0 && mark & mask != except)?;
    let mut cleared = 0;
    let mut rest = stale.iter().peekable();
    while rest.peek().is_some() {
        let mut writer = Writer::default();
        let (mut starts, mut count) = (Vec::new(), 0);
        while let Some(connection) = rest.next_if(|_| writer.len() < BYTES) {
            starts.push(writer.len());
            writer.message(head(IPCTNL_MSG_CT_NEW, 0, connection.family), |w| {
                w.bytes_attribute(CTA_TUPLE_ORIG | NESTED, &connection.tuple);
                if let Some(zone) = &connection.zone {
                    w.bytes_attribute(CTA_ZONE, zone);
                }
                w.number(CTA_MARK, 0);
                w.number(CTA_MARK_MASK, mask);
            });
            count += 1;
        }
        let first = socket.numbers(count);
        for (seq, start) in (first..).zip(&starts) {
            writer.set_number(*start, seq);
            writer.set_flags(*start, NLM_F_ACK);
        }
        socket.send(writer.bytes()).map_err(|errno| Error::Talk { what: WHAT, errno })?;
        cleared += answers(socket, first, count)?;
    }
    Ok(cleared)
}

/// Reads the answers to so many messages. A connection that has gone meanwhile has no mark either.
fn answers(socket: &mut Socket, first: u32, count: u32) -> Result<usize, Error> {
    let (mut done, mut missing, mut refused) = (0, count, None);
    while missing > 0 {
        let messages = socket.receive().map_err(|errno| match errno {
            Errno::AGAIN => Error::NoAnswer { what: WHAT },
            errno => Error::Talk { what: WHAT, errno },
        })?;
        for message in messages.filter(|message| message.seq.wrapping_sub(first) < count) {
            if message.kind != NLMSG_ERROR {
                continue;
            }
            missing -= 1;
            match errno(&message) {
                None => done += 1,
                Some(Errno::NOENT) => {}
                Some(errno) => refused = Some(errno),
            }
        }
    }
    refused.map_or(Ok(done), |errno| Err(Error::Refused { what: "a change of the marks of connections", errno }))
}

/// The connections of both families with such a mark.
fn list(socket: &mut Socket, wanted: impl Fn(u32) -> bool) -> Result<Vec<Connection>, Error> {
    for _ in 0..ATTEMPTS {
        let mut found = Vec::new();
        let seq = socket.numbers(1);
        let mut writer = Writer::default();
        writer.message(Head { seq, ..head(IPCTNL_MSG_CT_GET, NLM_F_DUMP, NFPROTO_UNSPEC) }, |_| ());
        match socket.ask(writer.bytes(), seq, |message| found.extend(read(message).filter(|(mark, _)| wanted(*mark)))) {
            Ok(()) => return Ok(found.into_iter().map(|(_, connection)| connection).collect()),
            Err(Answer::Interrupted) => {}
            Err(Answer::Refused(errno)) => return Err(Error::Refused { what: WHAT, errno }),
            Err(Answer::Lost(errno)) => return Err(Error::Talk { what: WHAT, errno }),
        }
    }
    Err(Error::Unsteady)
}

fn read(message: &Message<'_>) -> Option<(u32, Connection)> {
    let attributes = message.attributes();
    // A kernel without marks sends none.
    let mark = attributes.find(CTA_MARK).and_then(|value| array(value, 0)).map(u32::from_be_bytes)?;
    let connection = Connection {
        family: message.family(),
        tuple: attributes.find(CTA_TUPLE_ORIG)?.to_vec(),
        zone: attributes.find(CTA_ZONE).map(<[u8]>::to_vec),
    };
    Some((mark, connection))
}

fn head(message: u16, flags: u16, family: u8) -> Head {
    Head { kind: kind(NFNL_SUBSYS_CTNETLINK, message), flags, seq: 0, family, resource: 0 }
}

/// Connection tracking insists on the flag of attributes that hold attributes.
const NESTED: u16 = 0x8000;
