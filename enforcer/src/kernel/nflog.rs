//! Packets that rules have logged to a netlink group: who talked to whom.

use super::error::Error;
use super::expressions::LOG_BYTES;
use super::message::{Head, Message, Messages, Writer, array, kind};
use super::netlink::Answer;
use super::socket::Socket;
use super::uapi::*;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

const WHAT: &str = "logged packets";
/// How long the kernel may hold packets back in order to send several at once, in 10 ms.
const HOLD_BACK: u32 = 10;
/// Packets with more extension headers than this are not looked into.
const EXTENSIONS: usize = 8;

/// A packet that a rule has logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What the rule said with it.
    pub prefix: String,
    /// Who sent it.
    pub source: IpAddr,
    /// Who it was sent to.
    pub destination: IpAddr,
    /// The number of the protocol.
    pub protocol: u8,
    /// Source and destination port, where the protocol has ports and they are in what was copied.
    pub ports: Option<(u16, u16)>,
    /// The number of the hook.
    pub hook: u8,
    /// The index of the interface it came in by.
    pub input: Option<u32>,
    /// The index of the interface it was to leave by.
    pub output: Option<u32>,
}

/// What a reader sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A packet.
    Packet(Logged),
    /// A packet that was cut too short or made no sense.
    Garbled,
    /// Packets came faster than they were read; some are missing here.
    Lost,
}

/// Reads the packets of one group in one network namespace.
#[derive(Debug)]
pub struct Reader {
    socket: Socket,
    waiting: VecDeque<Event>,
}

impl Reader {
    /// Binds a group in the network namespace of the calling thread. A group has one reader.
    pub fn open(group: u16) -> Result<Reader, Error> {
        let mut socket = Socket::open()?;
        // struct nfulnl_msg_config_mode: range, mode, padding.
        let [a, b, c, d] = LOG_BYTES.to_be_bytes();
        configure(&mut socket, group, |w| w.bytes_attribute(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]))?;
        configure(&mut socket, group, |w| {
            w.bytes_attribute(NFULA_CFG_MODE, &[a, b, c, d, NFULNL_COPY_PACKET, 0]);
            w.number(NFULA_CFG_TIMEOUT, HOLD_BACK);
        })?;
        Ok(Reader { socket, waiting: VecDeque::new() })
    }

    /// The next event, if there is one by now. When there is none, wait until [`Reader::as_fd`] can
    /// be read from.
    pub fn poll(&mut self) -> Result<Option<Event>, Error> {
        self.next(false)
    }

    /// The next event; waits for it some seconds, then gives `None`.
    pub fn wait(&mut self) -> Result<Option<Event>, Error> {
        self.next(true)
    }

    fn next(&mut self, wait: bool) -> Result<Option<Event>, Error> {
        while self.waiting.is_empty() {
            let received = if wait { self.socket.receive() } else { self.socket.receive_now() };
            match received {
                Ok(messages) => events(messages, &mut self.waiting),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::NOBUFS) => return Ok(Some(Event::Lost)),
                Err(errno) => return Err(Error::Talk { what: WHAT, errno }),
            }
        }
        Ok(self.waiting.pop_front())
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn configure(socket: &mut Socket, group: u16, body: impl FnOnce(&mut Writer)) -> Result<(), Error> {
    let seq = socket.numbers(1);
    let message = kind(NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG);
    let mut writer = Writer::default();
    writer.message(Head { kind: message, flags: NLM_F_ACK, seq, family: NFPROTO_UNSPEC, resource: group }, body);
    socket.ask(writer.bytes(), seq, |_| ()).map_err(|answer| match answer {
        Answer::Refused(errno) => Error::Refused { what: WHAT, errno },
        Answer::Lost(errno) => Error::Talk { what: WHAT, errno },
        Answer::Interrupted => Error::NoAnswer { what: WHAT },
    })
}

fn events(messages: Messages<'_>, events: &mut VecDeque<Event>) {
    let packets = messages.filter(|message| message.kind == kind(NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET));
    events.extend(packets.map(|message| logged(&message).map_or(Event::Garbled, Event::Packet)));
}

fn logged(message: &Message<'_>) -> Option<Logged> {
    let attributes = message.attributes();
    let head = Headers::read(attributes.find(NFULA_PAYLOAD)?)?;
    Some(Logged {
        prefix: attributes.text(NFULA_PREFIX).unwrap_or_default().to_owned(),
        source: head.source,
        destination: head.destination,
        protocol: head.protocol,
        ports: head.ports,
        // struct nfulnl_msg_packet_hdr: protocol, hook, padding.
        hook: attributes.find(NFULA_PACKET_HDR).and_then(|header| header.get(2).copied()).unwrap_or_default(),
        input: attributes.number(NFULA_IFINDEX_INDEV),
        output: attributes.number(NFULA_IFINDEX_OUTDEV),
    })
}

/// What the headers of a packet say.
#[derive(Debug, PartialEq, Eq)]
struct Headers {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: Option<(u16, u16)>,
}

impl Headers {
    fn read(packet: &[u8]) -> Option<Headers> {
        match packet.first()? >> 4 {
            4 => Headers::read_v4(packet),
            6 => Headers::read_v6(packet),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Headers> {
        let protocol = *packet.get(9)?;
        let length = usize::from(packet.first()? & 0x0f) * 4;
        let fragment = u16::from_be_bytes(array(packet, 6)?) & 0x1fff;
        Some(Headers {
            source: Ipv4Addr::from(array::<4>(packet, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(packet, 16)?).into(),
            protocol,
            ports: (fragment == 0 && length >= 20).then(|| ports(protocol, packet, length)).flatten(),
        })
    }

    fn read_v6(packet: &[u8]) -> Option<Headers> {
        let source = Ipv6Addr::from(array::<16>(packet, 8)?).into();
        let destination = Ipv6Addr::from(array::<16>(packet, 24)?).into();
        let (mut protocol, mut at) = (*packet.get(6)?, 40);
        let mut later_fragment = false;
        for _ in 0..EXTENSIONS {
            let Some([next, length]) = array(packet, at) else { break };
            let length = match protocol {
                // Hop-by-hop options, routing, destination options.
                0 | 43 | 60 => (usize::from(length) + 1) * 8,
                44 => {
                    later_fragment = array(packet, at + 2).is_none_or(|field| u16::from_be_bytes(field) & 0xfff8 != 0);
                    8
                }
                _ => break,
            };
            (protocol, at) = (next, at + length);
            if later_fragment {
                break;
            }
        }
        let ports = if later_fragment { None } else { ports(protocol, packet, at) };
        Some(Headers { source, destination, protocol, ports })
    }
}

/// The ports of protocols that begin with them: TCP, UDP, DCCP, SCTP, UDP-Lite.
fn ports(protocol: u8, packet: &[u8], at: usize) -> Option<(u16, u16)> {
    if !matches!(protocol, 6 | 17 | 33 | 132 | 136) {
        return None;
    }
    Some((u16::from_be_bytes(array(packet, at)?), u16::from_be_bytes(array(packet, at + 2)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x1f, 0x90, 0, 53]);
        packet
    }

    fn v6(extension: &[u8], first: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, first, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend(Ipv6Addr::from(2).octets());
        packet.extend(extension);
        packet.extend([0x1f, 0x90, 0, 53]);
        packet
    }

    #[test]
    fn ports_are_read_behind_whatever_headers_there_are() {
        let head = Headers::read(&v4()).unwrap();
        assert_eq!(head.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!((head.protocol, head.ports), (17, Some((8080, 53))));

        let plain = Headers::read(&v6(&[], 6)).unwrap();
        assert_eq!((plain.protocol, plain.ports), (6, Some((8080, 53))));
        let with_options = Headers::read(&v6(&[6, 0, 0, 0, 0, 0, 0, 0], 60)).unwrap();
        assert_eq!((with_options.protocol, with_options.ports), (6, Some((8080, 53))));
        let first_fragment = Headers::read(&v6(&[6, 0, 0, 1, 0, 0, 0, 0], 44)).unwrap();
        assert_eq!((first_fragment.protocol, first_fragment.ports), (6, Some((8080, 53))));
        let later_fragment = Headers::read(&v6(&[6, 0, 0x10, 0, 0, 0, 0, 0], 44)).unwrap();
        assert_eq!((later_fragment.protocol, later_fragment.ports), (6, None));
    }

    #[test]
    fn whatever_is_cut_off_or_garbled_is_borne() {
        for whole in [v4(), v6(&[6, 0, 0, 0, 0, 0, 0, 0], 0)] {
            for end in 0..whole.len() {
                assert!(Headers::read(&whole[..end]).is_none_or(|head| head.ports.is_none()));
                for value in 0..=255 {
                    let mut garbled = whole.clone();
                    garbled[end] = value;
                    _ = Headers::read(&garbled);
                }
            }
        }
    }
}
