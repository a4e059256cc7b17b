//! What the packets of probes and flows carry, and the book of what arrived where.

use std::collections::HashMap;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Clock readings travel in packets as nanoseconds since this.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const MAGIC: [u8; 4] = *b"nsim";

/// One message on the wire: in a datagram, or one after another in a stream. Listeners send back
/// what they get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// Which flow; 0 for a probe, which no book is kept of.
    pub(super) flow: u32,
    /// Not zero: the listener is to send messages of its own, one every so many milliseconds.
    pub(super) stream_every: u32,
    pub(super) sequence: u64,
    pub(super) sent: Instant,
}

impl Message {
    /// Its length in bytes.
    pub(super) const LENGTH: usize = 28;

    /// What a probe sends.
    pub(super) fn probe() -> Self {
        Self { flow: 0, stream_every: 0, sequence: 0, sent: Instant::now() }
    }

    pub(super) fn encode(&self) -> [u8; Self::LENGTH] {
        let sent = self.sent.saturating_duration_since(*START).as_nanos() as u64;
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.flow.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.stream_every.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[20..].copy_from_slice(&sent.to_be_bytes());
        bytes
    }

    /// `None` for bytes that are not one of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.get(..Self::LENGTH)?.try_into().ok()?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        (bytes[..4] == MAGIC).then(|| Self {
            flow: word(4),
            stream_every: word(8),
            sequence: long(12),
            sent: *START + Duration::from_nanos(long(20)),
        })
    }
}

/// A message of a flow that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its number, from 0.
    pub sequence: u64,
    /// When it was sent, by whoever sent it first: what comes back bears the time of the request.
    pub sent: Instant,
    /// When it came in.
    pub received: Instant,
}

/// Arrivals by flow. Flows are entered before their first packet; others are not recorded.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    flows: Mutex<HashMap<u32, Vec<Arrival>>>,
    grown: Condvar,
}

impl Ledger {
    pub(super) fn open(&self, flow: u32) {
        lock(&self.flows).insert(flow, Vec::new());
    }

    pub(super) fn note(&self, message: &Message, received: Instant) {
        if let Some(arrivals) = lock(&self.flows).get_mut(&message.flow) {
            arrivals.push(Arrival { sequence: message.sequence, sent: message.sent, received });
            self.grown.notify_all();
        }
    }

    pub(super) fn arrivals(&self, flow: u32) -> Vec<Arrival> {
        lock(&self.flows).get(&flow).cloned().unwrap_or_default()
    }

    /// Waits for an arrival that fits.
    pub(super) fn wait(&self, flow: u32, within: Duration, fits: impl Fn(&Arrival) -> bool) -> Option<Arrival> {
        let mut seen = 0;
        wait(&self.flows, &self.grown, within, |flows| {
            let arrivals = flows.get(&flow).map(Vec::as_slice).unwrap_or_default();
            let found = arrivals.iter().skip(seen).find(|a| fits(a)).copied();
            seen = arrivals.len();
            found
        })
    }
}

/// A lock that a panic elsewhere does not spoil: that panic is the message, not this.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until something is found in what a mutex guards.
pub(super) fn wait<T, R>(
    mutex: &Mutex<T>,
    changed: &Condvar,
    within: Duration,
    mut find: impl FnMut(&T) -> Option<R>,
) -> Option<R> {
    let deadline = Instant::now() + within;
    let mut guard = lock(mutex);
    loop {
        if let Some(found) = find(&guard) {
            return Some(found);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        guard = changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        LazyLock::force(&START);
        let message = Message { flow: 7, stream_every: 2, sequence: u64::MAX - 1, sent: Instant::now() };
        assert_eq!(Message::decode(&message.encode()), Some(message));
        assert_eq!(Message::decode(b"something else that is long enough"), None);
        assert_eq!(Message::decode(b"nsim"), None);
    }
}
