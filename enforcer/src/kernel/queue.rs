//! Packets that rules have queued: held by the kernel until they are told to go on.
//!
//! What waits when the socket goes away is dropped by the kernel, so a [`Queue`] that is dropped lets
//! everything go on first. A process that is killed cannot do that: what it held at that moment is
//! lost, and whoever waits for it asks again (resolvers do, after some seconds). Packets that come
//! when nobody listens pass, because the rules say `bypass`; packets that come when the queue is full
//! pass, because the queue is told to fail open.

use super::error::Error;
use super::message::{Head, Message, Messages, Writer, array, kind};
use super::netlink::errno;
use super::socket::{Readiness, Socket};
use super::uapi::*;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

const WHAT: &str = "queued packets";
/// More of a packet than this is not copied: longer ones do not exist.
const WHOLE: u32 = 0xffff;
/// Ids come round; half of them are before any one.
const LATER: u32 = u32::MAX / 4;

/// A packet that the kernel holds. It does so until its id is [accepted](Queue::accept).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// By which it is accepted.
    pub id: u32,
    /// The number of the hook.
    pub hook: u8,
    /// The index of the interface it came in by.
    pub input: Option<u32>,
    /// The index of the interface it is to leave by.
    pub output: Option<u32>,
    /// The packet, from its IP header on.
    pub payload: Vec<u8>,
    /// Whether the end of it is missing here.
    pub cut: bool,
    /// Whether its checksums are not there yet: hardware will make them. We do not ask for such.
    pub without_checksum: bool,
    /// Whether it is several packets that hardware will take apart. We do not ask for such.
    pub joined: bool,
}

/// What a queue has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A packet waits.
    Packet(Packet),
    /// A packet that made no sense; it went on.
    Garbled,
    /// Packets came faster than they were read. Those that are not seen here went on.
    Lost,
    /// The kernel did not take a verdict: it no longer holds the packet.
    Refused(Errno),
}

/// The one listener of a queue in one network namespace.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    number: u16,
    waiting: VecDeque<Event>,
    /// The last id that was seen.
    last: u32,
}

impl Queue {
    /// Binds a queue in the network namespace of the calling thread. It holds at most `length`
    /// packets; others pass.
    ///
    /// # Errors
    /// `Errno::BUSY` when somebody else has it.
    pub fn open(number: u16, length: u32) -> Result<Queue, Error> {
        let mut queue = Queue { socket: Socket::open()?, number, waiting: VecDeque::new(), last: 0 };
        let [a, b, c, d] = WHOLE.to_be_bytes();
        let seq = queue.socket.numbers(1);
        let mut writer = Writer::default();
        // All in one message, so that no packet is queued under other terms.
        writer.message(queue.head(NFQNL_MSG_CONFIG, NLM_F_ACK, seq), |w| {
            // struct nfqnl_msg_config_cmd: command, padding, family (of old kernels).
            w.bytes_attribute(NFQA_CFG_CMD, &[NFQNL_CFG_CMD_BIND, 0, 0, 0]);
            // struct nfqnl_msg_config_params: range, mode.
            w.bytes_attribute(NFQA_CFG_PARAMS, &[a, b, c, d, NFQNL_COPY_PACKET]);
            w.number(NFQA_CFG_QUEUE_MAXLEN, length);
            w.number(NFQA_CFG_MASK, NFQA_CFG_F_FAIL_OPEN);
            w.number(NFQA_CFG_FLAGS, NFQA_CFG_F_FAIL_OPEN);
        });
        queue.socket.send(writer.bytes()).map_err(talk)?;
        loop {
            // Packets may come before the answer: they are not to be forgotten.
            let messages: Vec<_> = match queue.socket.receive() {
                Ok(messages) => read(messages, queue.number).collect(),
                Err(Errno::AGAIN) => return Err(Error::NoAnswer { what: WHAT }),
                Err(errno) => return Err(talk(errno)),
            };
            let mut answer = None;
            for read in messages {
                match read {
                    Read::Answer { seq: of, errno } if of == seq => answer = Some(errno),
                    other => queue.take(other),
                }
            }
            match answer {
                // The kernel says the same to who may not and to who comes second.
                Some(Some(Errno::PERM)) if taken(number) => {
                    return Err(Error::Refused { what: WHAT, errno: Errno::BUSY });
                }
                Some(Some(errno)) => return Err(Error::Refused { what: WHAT, errno }),
                Some(None) => return Ok(queue),
                None => {}
            }
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The next event, if there is one by now. When there is none, wait until [`Queue::as_fd`] can be
    /// read from.
    pub fn poll(&mut self) -> Result<Option<Event>, Error> {
        self.next(false)
    }

    /// The next event; waits for it some seconds, then gives `None`.
    pub fn wait(&mut self) -> Result<Option<Event>, Error> {
        self.next(true)
    }

    /// Lets packets go on.
    pub fn accept(&self, ids: &[u32]) -> Result<(), Error> {
        for ids in ids.chunks(VERDICTS) {
            let mut writer = Writer::default();
            ids.iter().for_each(|id| self.verdict(&mut writer, NFQNL_MSG_VERDICT, *id));
            self.socket.send(writer.bytes()).map_err(talk)?;
        }
        Ok(())
    }

    /// Lets everything go on that the kernel holds, whether it was seen here or not.
    pub fn accept_all(&self) -> Result<(), Error> {
        let mut writer = Writer::default();
        self.verdict(&mut writer, NFQNL_MSG_VERDICT_BATCH, self.last.wrapping_add(LATER));
        self.socket.send(writer.bytes()).map_err(talk)
    }

    fn verdict(&self, writer: &mut Writer, message: u16, id: u32) {
        let [a, b, c, d] = NF_ACCEPT.cast_unsigned().to_be_bytes();
        let [e, f, g, h] = id.to_be_bytes();
        let seq = 0;
        writer.message(self.head(message, 0, seq), |w| w.bytes_attribute(NFQA_VERDICT_HDR, &[a, b, c, d, e, f, g, h]));
    }

    fn head(&self, message: u16, flags: u16, seq: u32) -> Head {
        Head { kind: kind(NFNL_SUBSYS_QUEUE, message), flags, seq, family: NFPROTO_UNSPEC, resource: self.number }
    }

    fn next(&mut self, wait: bool) -> Result<Option<Event>, Error> {
        while self.waiting.is_empty() {
            let received = if wait { self.socket.receive() } else { self.socket.receive_now() };
            let messages: Vec<_> = match received {
                Ok(messages) => read(messages, self.number).collect(),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::NOBUFS) => return Ok(Some(Event::Lost)),
                Err(errno) => return Err(talk(errno)),
            };
            messages.into_iter().for_each(|read| self.take(read));
        }
        Ok(self.waiting.pop_front())
    }

    fn take(&mut self, read: Read) {
        let event = match read {
            Read::Packet(packet) => {
                self.last = packet.id;
                Event::Packet(packet)
            }
            Read::Garbled(id) => {
                // Nobody else will. That it could not be sent shows at the next packet.
                id.into_iter().for_each(|id| _ = self.accept(&[id]));
                Event::Garbled
            }
            Read::Answer { errno: Some(errno), .. } => Event::Refused(errno),
            Read::Answer { errno: None, .. } => return,
        };
        self.waiting.push_back(event);
    }
}

/// How many verdicts are sent at once.
const VERDICTS: usize = 1024;

impl Drop for Queue {
    fn drop(&mut self) {
        // When that fails the kernel drops them, as it would have.
        _ = self.accept_all();
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A queue for asynchronous code.
#[derive(Debug)]
pub struct AsyncQueue {
    queue: Queue,
    readiness: Readiness,
}

impl AsyncQueue {
    /// To be called within a runtime, which panics otherwise.
    pub fn new(queue: Queue) -> Result<AsyncQueue, Error> {
        let readiness = queue.socket.readiness()?;
        Ok(AsyncQueue { queue, readiness })
    }

    /// The next event. Nothing is lost when this is given up before it is done.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.queue.poll()? {
                return Ok(event);
            }
            let mut ready = self.readiness.readable().await?;
            // Only when there is nothing after it was said that there may be something.
            match self.queue.poll()? {
                Some(event) => return Ok(event),
                None => ready.clear_ready(),
            }
        }
    }

    /// See [`Queue::accept`].
    pub fn accept(&self, ids: &[u32]) -> Result<(), Error> {
        self.queue.accept(ids)
    }
}

/// Whether a queue has a listener, in the network namespace of the calling thread.
fn taken(number: u16) -> bool {
    let queues = std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap_or_default();
    let numbers = queues.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    numbers.into_iter().any(|queue: u16| queue == number)
}

fn talk(errno: Errno) -> Error {
    Error::Talk { what: WHAT, errno }
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Packet(Packet),
    /// With its id, if that much can be read.
    Garbled(Option<u32>),
    Answer {
        seq: u32,
        errno: Option<Errno>,
    },
}

/// What messages say that are about a queue.
fn read(messages: Messages<'_>, number: u16) -> impl Iterator<Item = Read> {
    messages.filter_map(move |message| {
        if message.kind == NLMSG_ERROR {
            return Some(Read::Answer { seq: message.seq, errno: errno(&message) });
        }
        let of_queue = message.payload().get(2..4) == Some(&number.to_be_bytes()[..]);
        (message.kind == kind(NFNL_SUBSYS_QUEUE, NFQNL_MSG_PACKET) && of_queue).then(|| packet(&message))
    })
}

fn packet(message: &Message<'_>) -> Read {
    let attributes = message.attributes();
    // struct nfqnl_msg_packet_hdr: id, protocol of the hardware, hook.
    let Some(header) = attributes.find(NFQA_PACKET_HDR) else { return Read::Garbled(None) };
    let Some(id) = array(header, 0).map(u32::from_be_bytes) else { return Read::Garbled(None) };
    let (Some(hook), Some(payload)) = (header.get(6).copied(), attributes.find(NFQA_PAYLOAD)) else {
        return Read::Garbled(Some(id));
    };
    let length = attributes.number(NFQA_CAP_LEN).map(|length| length as usize);
    let info = attributes.number(NFQA_SKB_INFO).unwrap_or_default();
    Read::Packet(Packet {
        id,
        hook,
        input: attributes.number(NFQA_IFINDEX_INDEV),
        output: attributes.number(NFQA_IFINDEX_OUTDEV),
        payload: payload.to_vec(),
        cut: length.is_some_and(|length| length > payload.len()),
        without_checksum: info & NFQA_SKB_CSUMNOTREADY != 0,
        joined: info & NFQA_SKB_GSO != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(number: u16, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        let kind = kind(NFNL_SUBSYS_QUEUE, NFQNL_MSG_PACKET);
        writer.message(Head { kind, flags: 0, seq: 0, family: NFPROTO_IPV4, resource: number }, body);
        writer.bytes().to_vec()
    }

    fn whole() -> Vec<u8> {
        message(7, |w| {
            w.bytes_attribute(NFQA_PACKET_HDR, &[0, 0, 1, 2, 8, 0, 2]);
            w.number(NFQA_IFINDEX_INDEV, 3);
            w.number(NFQA_SKB_INFO, NFQA_SKB_CSUMNOTREADY);
            w.number(NFQA_CAP_LEN, 9);
            w.bytes_attribute(NFQA_PAYLOAD, b"packet");
        })
    }

    fn all(bytes: &[u8], number: u16) -> Vec<Read> {
        read(Messages(bytes), number).collect()
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let expected = Packet {
            id: 258,
            hook: 2,
            input: Some(3),
            output: None,
            payload: b"packet".to_vec(),
            cut: true,
            without_checksum: true,
            joined: false,
        };
        assert_eq!(all(&whole(), 7), [Read::Packet(expected)]);
        assert_eq!(all(&whole(), 8), []);
    }

    #[test]
    fn a_packet_that_lacks_something_is_known_by_its_id() {
        let header =
            |length: usize| message(7, |w| w.bytes_attribute(NFQA_PACKET_HDR, &[0, 0, 1, 2, 8, 0, 2][..length]));
        assert_eq!(all(&header(7), 7), [Read::Garbled(Some(258))]);
        assert_eq!(all(&header(6), 7), [Read::Garbled(Some(258))]);
        assert_eq!(all(&header(3), 7), [Read::Garbled(None)]);
        assert_eq!(all(&message(7, |_| ()), 7), [Read::Garbled(None)]);
    }

    proptest! {
        #[test]
        fn whatever_is_cut_off_or_garbled_is_borne(
            end in 0..100_usize,
            changes in prop::collection::vec((0..100_usize, any::<u8>()), 0..6),
        ) {
            let mut bytes = whole();
            bytes.truncate(end);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            _ = all(&bytes, 7);
        }
    }
}
