//! What DNS answers say that are on their way to pods: from queued packets to
//! [`SeenAnswer`]s. Pure: no kernel, no clock.
//!
//! ```text
//! kernel::queue ── bytes ── packet ─┬─ datagram ───────────┬─ message ── dns::wire ── SeenAnswer
//!                                   └─ segment ── stream ──┘
//! ```
//!
//! A packet is held while what it completes is brought into force, and no longer than [`held::PATIENCE`]
//! (see [`Held`]). Of an answer in several segments only the last one needs to be held: before it is
//! there, nobody can read the answer.
//!
//! # A loop around it
//!
//! 1. At the start [`Kernel::queueing`](crate::kernel::Kernel::queueing); with a way to queue, put
//!    [`render::learn::parts`](crate::render::learn::parts) into the ruleset, and listen
//!    ([`Kernel::queue`](crate::kernel::Kernel::queue), [`AsyncQueue`](crate::kernel::queue::AsyncQueue)).
//! 2. An event is a packet: [`Learner::read`] it, unless it was cut. [`Learned::Answers`] go to the store, and the
//!    packet to [`Held::hold`]; so does [`Learned::Repeats`] while [`Held::holds`] its ends. Anything else is accepted
//!    at once, and so are answers that change nothing.
//! 3. A commit begins: [`Held::commit`]. It is in force: accept what [`Held::committed`] gives.
//! 4. At [`Held::deadline`], accept what [`Held::overdue`] gives.

pub mod held;
pub mod packet;
pub mod stream;

pub use held::Held;

use netsim_shared::dns::wire::{DecodeError, SeenAnswer, decode};
use packet::{Body, Ends, PacketError};
use std::fmt;
use stream::{StreamError, Streams};

/// What a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// Answers: hold it until they are in force.
    Answers {
        /// From whom to whom.
        ends: Ends,
        /// The answers that are complete with it; at least one.
        answers: Vec<SeenAnswer>,
        /// Messages that are complete with it and are no answers about addresses.
        others: Vec<DecodeError>,
    },
    /// It repeats what an earlier packet of this way said: hold it while [`Held::holds`] that one, so
    /// that it does not overtake it.
    Repeats(Ends),
    /// Nothing to wait for.
    Nothing(Nothing),
}

/// Why there is nothing to learn from a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nothing {
    /// It cannot be read.
    Packet(PacketError),
    /// Its messages are no answers about addresses.
    Others(Vec<DecodeError>),
    /// A part of a message whose rest will come, or no data at all.
    Part,
    /// A part of a stream that was open before it was looked at, or is no longer followed.
    Stray,
    /// Its stream makes no sense, and is no longer followed.
    Stream(StreamError),
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nothing::Packet(error) => error.fmt(f),
            Nothing::Others(errors) => {
                for (i, error) in errors.iter().enumerate() {
                    write!(f, "{}{error}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Nothing::Part => f.write_str("a part of a message"),
            Nothing::Stray => f.write_str("a part of a stream that is not followed"),
            Nothing::Stream(StreamError::TooFarAhead) => {
                f.write_str("a part of a stream with too much missing before it")
            }
            Nothing::Stream(StreamError::Contradiction) => f.write_str("a part of a stream that contradicts itself"),
        }
    }
}

/// Reads packets of answers, and remembers what of them is incomplete.
#[derive(Debug, Default)]
pub struct Learner {
    streams: Streams,
}

impl Learner {
    /// Reads a packet, from its IP header on. Not for packets that were cut.
    pub fn read(&mut self, packet: &[u8]) -> Learned {
        let packet = match packet::read(packet) {
            Ok(packet) => packet,
            Err(error) => return Learned::Nothing(Nothing::Packet(error)),
        };
        let ends = packet.ends;
        match packet.body {
            Body::Datagram(message) => learned(ends, [message].into_iter()),
            Body::Segment(segment) => match self.streams.take(ends, &segment) {
                Err(error) => Learned::Nothing(Nothing::Stream(error)),
                Ok(None) => Learned::Nothing(Nothing::Stray),
                Ok(Some(brought)) if !brought.messages.is_empty() => {
                    let learned = learned(ends, brought.messages.iter().map(Vec::as_slice));
                    let nothing = matches!(learned, Learned::Nothing(_));
                    if nothing && brought.repeats { Learned::Repeats(ends) } else { learned }
                }
                Ok(Some(brought)) if brought.repeats => Learned::Repeats(ends),
                Ok(Some(_)) => Learned::Nothing(Nothing::Part),
            },
        }
    }

    /// How many streams are followed, and how many bytes of incomplete messages are kept.
    pub fn size(&self) -> (usize, usize) {
        (self.streams.len(), self.streams.bytes())
    }
}

fn learned<'m>(ends: Ends, messages: impl Iterator<Item = &'m [u8]>) -> Learned {
    let (mut answers, mut others) = (Vec::new(), Vec::new());
    for message in messages {
        match decode(message) {
            Ok(answer) => answers.push(answer),
            Err(error) => others.push(error),
        }
    }
    if answers.is_empty() {
        return Learned::Nothing(Nothing::Others(others));
    }
    Learned::Answers { ends, answers, others }
}

#[cfg(test)]
mod tests {
    use super::packet::Segment;
    use super::packet::testing::{ends, tcp, udp};
    use super::*;
    use netsim_shared::dns::answer::{Outcome, ResponseCode};

    /// An answer with one address, as a server that does not compress names sends it.
    fn answer(id: u16, name: &str, address: [u8; 4]) -> Vec<u8> {
        let mut labels: Vec<u8> = name.split('.').flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat()).collect();
        labels.push(0);
        let header = [&id.to_be_bytes()[..], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
        let record = [&labels[..], &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &address].concat();
        [&header[..], &labels, &[0, 1, 0, 1], &record].concat()
    }

    fn query(id: u16) -> Vec<u8> {
        let mut query = answer(id, "www.example.com", [192, 0, 2, 1]);
        query[2] = 1;
        query
    }

    fn way() -> Ends {
        ends("10.96.0.10:53", "10.0.0.1:4711")
    }

    #[track_caller]
    fn ids(learned: Learned) -> Vec<u16> {
        let Learned::Answers { ends, answers, .. } = learned else { panic!("no answers: {learned:?}") };
        assert_eq!(ends, way());
        answers.iter().map(|answer| answer.id).collect()
    }

    #[test]
    fn an_answer_in_a_datagram_is_learned() {
        let packet = udp(way(), &answer(7, "www.example.com", [192, 0, 2, 1]));
        let Learned::Answers { answers, others, .. } = Learner::default().read(&packet) else { panic!("nothing") };
        assert_eq!(others, []);
        let [seen] = answers.as_slice() else { panic!("not one answer: {answers:?}") };
        assert_eq!((seen.id, seen.truncated, seen.answer.code), (7, false, ResponseCode::NoError));
        assert_eq!(seen.answer.question.as_str(), "www.example.com");
        let Outcome::Addresses(found) = seen.answer.read().outcome else { panic!("no addresses") };
        assert_eq!(found.iter().map(|found| found.address.to_string()).collect::<Vec<_>>(), ["192.0.2.1"]);
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let mut learner = Learner::default();
        assert_eq!(learner.read(&udp(way(), &query(1))), Learned::Nothing(Nothing::Others(vec![DecodeError::Query])));
        let Learned::Nothing(Nothing::Others(errors)) = learner.read(&udp(way(), b"?")) else { panic!("an answer") };
        assert!(matches!(errors[..], [DecodeError::Malformed(_)]));
        let Learned::Nothing(nothing) = learner.read(b"?") else { panic!("a packet") };
        assert!(nothing.to_string().starts_with("no packet: "), "{nothing}");
    }

    #[test]
    fn answers_in_a_stream_come_with_the_segment_that_completes_them() {
        let mut learner = Learner::default();
        let frame = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
        let stream = [
            frame(&answer(1, "www.example.com", [192, 0, 2, 1])),
            frame(&query(2)),
            frame(&answer(3, "api.example.com", [192, 0, 2, 2])),
            frame(&query(4)),
        ];
        let bytes = stream.concat();
        let first = stream[0].len();
        let third = first + stream[1].len() + stream[2].len();
        let mut read = |from: usize, to: usize| {
            let sequence = 1000 + u32::try_from(from).unwrap();
            let segment = Segment { sequence, opens: false, resets: false, payload: &bytes[from..to] };
            learner.read(&tcp(way(), segment))
        };
        assert_eq!(read(0, first), Learned::Nothing(Nothing::Stray));
        let opening = Segment { sequence: 999, opens: true, resets: false, payload: b"" };
        assert_eq!(learner.read(&tcp(way(), opening)), Learned::Nothing(Nothing::Part));
        let mut read = |from: usize, to: usize| {
            let sequence = 1000 + u32::try_from(from).unwrap();
            let segment = Segment { sequence, opens: false, resets: false, payload: &bytes[from..to] };
            learner.read(&tcp(way(), segment))
        };
        assert_eq!(read(0, first - 1), Learned::Nothing(Nothing::Part));
        assert_eq!(read(first + 1, third), Learned::Nothing(Nothing::Part));
        assert_eq!(ids(read(first - 1, first + 1)), [1, 3]);
        assert_eq!(read(first - 1, first + 1), Learned::Repeats(way()));
        assert_eq!(read(0, first), Learned::Repeats(way()));
        // The end of what was seen, and a query: nothing new, but it must not overtake.
        assert_eq!(read(third - 1, bytes.len()), Learned::Repeats(way()));
        assert_eq!(learner.size(), (1, 0));
    }
}
