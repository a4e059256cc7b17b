//! DNS over TCP: the segments of one direction of a connection become messages, each behind two bytes
//! of its length (RFC 1035, 4.2.2), in whatever portions, order and repetition they come.
//!
//! A stream is followed from its opening on. One that was open before anybody looked is not: where a
//! message begins in it would be guesswork, and what stands in the middle of an answer can be made to
//! look like another.

use super::packet::{Ends, Segment};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// How far a segment may be ahead of what is missing: above what servers send without being answered.
pub const WINDOW: usize = 256 << 10;
/// How many streams are followed; beyond, the one that was quiet for longest is forgotten.
pub const STREAMS: usize = 4096;
/// How many bytes of incomplete messages are kept of all streams together; beyond, likewise.
pub const BYTES: usize = 16 << 20;

/// The two bytes before each message.
const PREFIX: usize = 2;

/// Why a stream is no longer followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamError {
    /// A segment is further ahead than anybody would send.
    TooFarAhead,
    /// A segment says something else in the same place than one before it.
    Contradiction,
}

/// What a segment brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brought {
    /// The messages that are complete with it, in order, without their lengths.
    pub messages: Vec<Vec<u8>>,
    /// Whether it repeats bytes of messages that were complete before.
    pub repeats: bool,
}

/// One direction of a connection.
#[derive(Debug)]
struct Stream {
    /// The number of the first byte that belongs to no complete message.
    next: u32,
    /// What is known from there on; what is not is 0.
    buffer: Vec<u8>,
    /// Which bytes of the buffer are known: apart from each other, in order.
    known: Vec<Range<usize>>,
    /// When it was last heard of.
    heard: u64,
}

impl Stream {
    fn new(next: u32) -> Self {
        Stream { next, buffer: Vec::new(), known: Vec::new(), heard: 0 }
    }

    fn take(&mut self, sequence: u32, payload: &[u8]) -> Result<Brought, StreamError> {
        // Numbers come round; what is less than half of them ahead is ahead.
        let ahead = sequence.wrapping_sub(self.next).cast_signed();
        let old = usize::try_from(ahead.saturating_neg()).unwrap_or_default().min(payload.len());
        let payload = payload.get(old..).unwrap_or_default();
        let at = usize::try_from(ahead).unwrap_or_default();
        self.put(at, payload)?;
        Ok(Brought { messages: self.messages(), repeats: old > 0 })
    }

    fn put(&mut self, at: usize, payload: &[u8]) -> Result<(), StreamError> {
        if payload.is_empty() {
            return Ok(());
        }
        let new = at..at.saturating_add(payload.len());
        if new.end > WINDOW {
            return Err(StreamError::TooFarAhead);
        }
        for known in &self.known {
            let both = known.start.max(new.start)..known.end.min(new.end);
            if !both.is_empty() && self.buffer.get(both.clone()) != payload.get(both.start - at..both.end - at) {
                return Err(StreamError::Contradiction);
            }
        }
        if self.buffer.len() < new.end {
            self.buffer.resize(new.end, 0);
        }
        if let Some(place) = self.buffer.get_mut(new.clone()) {
            place.copy_from_slice(payload);
        }
        // One range of all that touch it.
        let touches = |known: &Range<usize>| known.start <= new.end && new.start <= known.end;
        let joined = self.known.iter().filter(|known| touches(known));
        let joined = joined.fold(new.clone(), |all, known| all.start.min(known.start)..all.end.max(known.end));
        self.known.retain(|known| !touches(known));
        let place = self.known.partition_point(|known| known.start < joined.start);
        self.known.insert(place, joined);
        Ok(())
    }

    /// Takes out what is complete.
    fn messages(&mut self) -> Vec<Vec<u8>> {
        let known = self.known.first().filter(|known| known.start == 0).map_or(0, |known| known.end);
        let (mut messages, mut at) = (Vec::new(), 0);
        while let Some(message) = self.buffer.get(at..known).and_then(message) {
            at += PREFIX + message.len();
            messages.push(message.to_vec());
        }
        if at > 0 {
            // At most `WINDOW`.
            self.next = self.next.wrapping_add(at as u32);
            self.buffer.drain(..at);
            self.known.retain_mut(|known| {
                *known = known.start.saturating_sub(at)..known.end.saturating_sub(at);
                known.start < known.end
            });
            self.buffer.shrink_to_fit();
        }
        messages
    }
}

/// The message that bytes begin with, if all of it is there.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<PREFIX>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// The streams that are followed.
#[derive(Debug, Default)]
pub struct Streams {
    streams: HashMap<Ends, Stream>,
    /// By when they were last heard of.
    order: BTreeMap<u64, Ends>,
    clock: u64,
    bytes: usize,
}

impl Streams {
    /// How many are followed.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many bytes of incomplete messages there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in a segment; `None` when it belongs to no stream that is followed.
    ///
    /// # Errors
    /// When its stream is followed no longer because of it.
    pub fn take(&mut self, ends: Ends, segment: &Segment<'_>) -> Result<Option<Brought>, StreamError> {
        if segment.resets {
            self.forget(&ends);
            return Ok(None);
        }
        let first = segment.sequence.wrapping_add(u32::from(segment.opens));
        if segment.opens && self.streams.get(&ends).is_none_or(|stream| stream.next != first) {
            // Ports are used again.
            self.forget(&ends);
            self.streams.insert(ends, Stream::new(first));
        }
        self.clock += 1;
        let Some(stream) = self.streams.get_mut(&ends) else { return Ok(None) };
        self.order.remove(&stream.heard);
        stream.heard = self.clock;
        self.order.insert(self.clock, ends);
        let before = stream.buffer.capacity();
        let brought = stream.take(first, segment.payload);
        self.bytes = (self.bytes + stream.buffer.capacity()).saturating_sub(before);
        if brought.is_err() {
            self.forget(&ends);
        }
        while self.streams.len() > STREAMS || self.bytes > BYTES {
            let Some((_, quiet)) = self.order.first_key_value() else { break };
            let quiet = *quiet;
            self.forget(&quiet);
        }
        brought.map(Some)
    }

    fn forget(&mut self, ends: &Ends) {
        if let Some(stream) = self.streams.remove(ends) {
            self.order.remove(&stream.heard);
            self.bytes = self.bytes.saturating_sub(stream.buffer.capacity());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::testing::ends;
    use super::*;
    use proptest::prelude::*;

    fn a() -> Ends {
        ends("10.96.0.10:53", "10.0.0.1:4711")
    }

    fn segment(sequence: u32, payload: &[u8]) -> Segment<'_> {
        Segment { sequence, opens: false, resets: false, payload }
    }

    fn opening(sequence: u32) -> Segment<'static> {
        Segment { opens: true, ..segment(sequence, b"") }
    }

    fn opened(sequence: u32) -> Streams {
        let mut streams = Streams::default();
        assert_eq!(streams.take(a(), &opening(sequence)), Ok(Some(Brought::default())));
        streams
    }

    fn brought(messages: &[&[u8]], repeats: bool) -> Result<Option<Brought>, StreamError> {
        Ok(Some(Brought { messages: messages.iter().map(|m| m.to_vec()).collect(), repeats }))
    }

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let frame = |message: &Vec<u8>| [&u16::try_from(message.len()).unwrap().to_be_bytes(), &message[..]].concat();
        messages.iter().flat_map(frame).collect()
    }

    #[test]
    fn messages_come_with_the_segment_that_completes_them() {
        let mut streams = opened(99);
        let take = |streams: &mut Streams, sequence, payload: &[u8]| streams.take(a(), &segment(sequence, payload));
        assert_eq!(take(&mut streams, 100, &[0]), brought(&[], false));
        assert_eq!(take(&mut streams, 101, &[2, 7]), brought(&[], false));
        assert_eq!(take(&mut streams, 103, &[8, 0, 1, 9, 0, 0, 0]), brought(&[&[7, 8], &[9], &[]], false));
        // Again, and the last byte of the old with a new one.
        assert_eq!(take(&mut streams, 103, &[8, 0, 1, 9, 0, 0, 0]), brought(&[], true));
        assert_eq!(take(&mut streams, 106, &[9, 0, 0, 0, 1, 5]), brought(&[&[5]], true));
        // An acknowledgement, and a keepalive.
        assert_eq!(take(&mut streams, 112, &[]), brought(&[], false));
        assert_eq!(streams.bytes(), 0);
    }

    #[test]
    fn a_stream_is_followed_from_its_opening_to_its_reset() {
        let mut streams = Streams::default();
        assert_eq!(streams.take(a(), &segment(100, &[0, 1, 7])), Ok(None));
        let mut streams = opened(99);
        let back = Ends { source: a().destination, destination: a().source };
        assert_eq!(streams.take(back, &segment(100, &[0, 1, 7])), Ok(None));
        // The opening again changes nothing, another one begins anew.
        assert_eq!(streams.take(a(), &segment(100, &[0])), brought(&[], false));
        assert_eq!(streams.take(a(), &opening(99)), brought(&[], false));
        assert_eq!(streams.take(a(), &segment(101, &[1, 7])), brought(&[&[7]], false));
        assert_eq!(streams.take(a(), &opening(u32::MAX)), brought(&[], false));
        assert_eq!(streams.take(a(), &segment(0, &[0, 1, 8])), brought(&[&[8]], false));
        assert_eq!(streams.take(a(), &Segment { resets: true, ..segment(3, b"") }), Ok(None));
        assert_eq!(streams.take(a(), &segment(3, &[0, 1, 7])), Ok(None));
        assert_eq!((streams.len(), streams.order.len()), (0, 0));
    }

    #[test]
    fn what_contradicts_itself_or_is_far_ahead_is_given_up() {
        let mut streams = opened(99);
        assert_eq!(streams.take(a(), &segment(101, &[3, 1])), brought(&[], false));
        assert_eq!(streams.take(a(), &segment(102, &[2])), Err(StreamError::Contradiction));
        assert_eq!(streams.take(a(), &segment(100, &[0])), Ok(None));
        let mut streams = opened(99);
        assert_eq!(streams.take(a(), &segment(100 + WINDOW as u32, &[1])), Err(StreamError::TooFarAhead));
        assert!(streams.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_quiet_are_forgotten_first() {
        let mut streams = Streams::default();
        let with_port = |port: u16| Ends { destination: ([10, 0, 0, 1], port).into(), ..a() };
        // Each of them keeps nearly a window.
        let many = BYTES / WINDOW + 10;
        for port in 0..u16::try_from(many).unwrap() {
            streams.take(with_port(port), &opening(0)).unwrap();
            streams.take(with_port(port), &segment(WINDOW as u32 - 1, &[1])).unwrap();
            assert!(streams.bytes() <= BYTES);
        }
        assert_eq!(streams.len(), BYTES / WINDOW);
        assert!(!streams.streams.contains_key(&with_port(0)));
        for port in 0..u16::try_from(STREAMS + 10).unwrap() {
            streams.take(with_port(port), &opening(0)).unwrap();
            streams.take(with_port(0), &segment(1, &[])).unwrap();
        }
        assert_eq!((streams.len(), streams.order.len()), (STREAMS, STREAMS));
        assert!(streams.streams.contains_key(&with_port(0)));
        assert!(!streams.streams.contains_key(&with_port(1)));
    }

    /// The bytes of messages in portions that overlap and come in any order, more than once.
    fn portions() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Range<usize>>)> {
        let messages = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6);
        messages.prop_flat_map(|messages| {
            let length = framed(&messages).len();
            let cuts = prop::collection::vec(0..=length, 0..12);
            let more = prop::collection::vec((0..length, 1..=length), 0..12);
            (Just(messages), cuts, more).prop_flat_map(move |(messages, mut cuts, more)| {
                cuts.extend([0, length]);
                cuts.sort_unstable();
                cuts.dedup();
                let mut portions: Vec<_> = cuts.windows(2).map(|ends| ends[0]..ends[1]).collect();
                portions.extend(more.into_iter().map(|(at, count)| at..(at + count).min(length)));
                (Just(messages), Just(portions).prop_shuffle())
            })
        })
    }

    proptest! {
        /// Each message comes once, in order, with the segment before which a byte of it was missing.
        #[test]
        fn messages_come_out_as_they_went_in((messages, portions) in portions(), first in any::<u32>(), near in 0..100_u32) {
            let bytes = framed(&messages);
            for opening_number in [first, u32::MAX - near] {
                let mut streams = opened(opening_number);
                let mut known = vec![false; bytes.len()];
                let mut got: Vec<Vec<u8>> = Vec::new();
                for portion in &portions {
                    let done = framed(&got.clone()).len();
                    let sequence = opening_number.wrapping_add(1).wrapping_add(portion.start as u32);
                    let brought = streams.take(a(), &segment(sequence, &bytes[portion.clone()])).unwrap().unwrap();
                    prop_assert_eq!(brought.repeats, portion.start < done);
                    got.extend(brought.messages);
                    known[portion.clone()].fill(true);
                    let unbroken = known.iter().take_while(|known| **known).count();
                    let mut end = 0;
                    let complete = messages.iter().take_while(|m| { end += PREFIX + m.len(); end <= unbroken }).count();
                    prop_assert_eq!(&got[..], &messages[..complete]);
                }
                prop_assert_eq!(&got, &messages);
                prop_assert_eq!(streams.bytes(), 0);
            }
        }

        #[test]
        fn whatever_comes_is_borne(
            segments in prop::collection::vec(
                (any::<u16>(), 0..4_u16, any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..50)),
                0..50,
            ),
        ) {
            let mut streams = Streams::default();
            for (sequence, port, opens, resets, payload) in segments {
                let ends = Ends { destination: ([10, 0, 0, 1], port).into(), ..a() };
                let sequence = u32::from(sequence).wrapping_sub(100);
                _ = streams.take(ends, &Segment { sequence, opens, resets, payload: &payload });
                let bytes: usize = streams.streams.values().map(|stream| stream.buffer.capacity()).sum();
                prop_assert_eq!(bytes, streams.bytes());
                prop_assert_eq!(streams.streams.len(), streams.order.len());
            }
        }
    }
}
