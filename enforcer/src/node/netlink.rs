//! Asking the kernel for lists over netlink: read only, and without the C libraries.
//!
//! A netlink socket belongs to the network namespace of the thread that opens it. That is why links
//! are asked for here and not read from `/sys/class/net`, which shows the namespace in which sysfs
//! was mounted, whoever reads it.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with};
use std::time::Duration;

/// A header: length, type, flags, sequence number, port.
const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
/// The list changed while it was made: it may lack what was there all the time.
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_TYPE_MASK: u16 = 0x3fff;
/// How often a list is asked for that changes while it is made.
const TRIES: usize = 8;
/// The kernel answers a dump while it is asked: an answer that does not come never will.
const PATIENCE: Duration = Duration::from_secs(5);

/// The messages of a dump, without their headers.
pub(super) fn dump(protocol: Option<Protocol>, kind: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    for _ in 0..TRIES {
        let mut messages = Vec::new();
        if dump_once(protocol, kind, body, &mut messages)? {
            return Ok(messages);
        }
    }
    Err(Errno::INTR)
}

/// Whether the list is whole.
fn dump_once(protocol: Option<Protocol>, kind: u16, body: &[u8], messages: &mut Vec<Vec<u8>>) -> Result<bool, Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let request = request(kind, body);
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;

    // The kernel makes its messages no larger than the buffers it has seen, and 32 KiB at most.
    let mut buffer = vec![0; 64 * 1024];
    let mut whole = true;
    loop {
        let length = match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, length)) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        let mut rest = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
        while rest.len() >= HEADER {
            let size = u32_at(rest, 0).ok_or(Errno::BADMSG)? as usize;
            let kind = u16_at(rest, 4).ok_or(Errno::BADMSG)?;
            let flags = u16_at(rest, 6).ok_or(Errno::BADMSG)?;
            let payload = rest.get(HEADER..size).ok_or(Errno::BADMSG)?;
            whole &= flags & NLM_F_DUMP_INTR == 0;
            match kind {
                // Both carry an error number, negative, or nothing.
                NLMSG_DONE | NLMSG_ERROR => {
                    return match u32_at(payload, 0).map_or(0, |code| (code as i32).saturating_neg()) {
                        0 => Ok(whole),
                        code => Err(Errno::from_raw_os_error(code)),
                    };
                }
                _ => messages.push(payload.to_vec()),
            }
            rest = rest.get(aligned(size)..).unwrap_or_default();
        }
    }
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    request
}

/// The attributes in a message, with their numbers.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let number = u16_at(rest, 2)? & NLA_TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((number, value))
    })
}

/// One attribute of a message.
pub(super) fn attribute(message: &[u8], number: u16) -> Option<&[u8]> {
    attributes(message).find(|(n, _)| *n == number).map(|(_, value)| value)
}

/// Appends an attribute.
pub(super) fn put(body: &mut Vec<u8>, number: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(number.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

/// A text, which the kernel ends with a zero.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_out_as_they_went_in() {
        let mut body = Vec::new();
        put(&mut body, 3, b"eth0\0");
        put(&mut body, 0x8000 | 18, &7u32.to_ne_bytes());
        assert_eq!(body.len() % 4, 0);
        let read: Vec<_> = attributes(&body).collect();
        assert_eq!(read, [(3, &b"eth0\0"[..]), (18, &7u32.to_ne_bytes()[..])]);
        assert_eq!(text(read[0].1), "eth0");
        assert_eq!(attribute(&body, 4), None);
    }

    #[test]
    fn attributes_that_are_cut_off_or_senseless_end_the_list() {
        let mut body = Vec::new();
        put(&mut body, 3, b"eth0\0");
        for length in 0..9 {
            assert_eq!(attributes(&body[..length]).count(), 0, "{length}");
        }
        assert_eq!(attributes(&[0; 8]).count(), 0);
        assert_eq!(attributes(&[0xff; 8]).count(), 0);
    }

    #[test]
    fn every_namespace_has_links_and_an_unknown_question_is_an_error() {
        assert!(!dump(None, 18, &[0; 16]).unwrap().is_empty());
        assert!(dump(None, 0x7fff, &[0; 16]).is_err());
    }
}
