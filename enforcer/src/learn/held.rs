//! Which packets wait for what: the commit that brings what they say into force, or the end of
//! patience.

use super::packet::Ends;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a packet is held at most. Resolvers ask again after a second or more.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// A commit, by which packets can wait for it. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round(u64);

#[derive(Debug)]
struct Waiting {
    id: u32,
    ends: Ends,
    round: u64,
    since: Instant,
}

/// Packets that are held.
#[derive(Debug, Default)]
pub struct Held {
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    round: u64,
}

impl Held {
    /// Holds a packet for the next commit.
    pub fn hold(&mut self, id: u32, ends: Ends, now: Instant) {
        self.waiting.push_back(Waiting { id, ends, round: self.round, since: now });
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a packet of this way is held.
    pub fn holds(&self, ends: Ends) -> bool {
        self.waiting.iter().any(|waiting| waiting.ends == ends)
    }

    /// A commit begins that has in it what all packets held so far say. Tell [`Held::committed`] when
    /// it is done.
    pub fn commit(&mut self) -> Round {
        let round = Round(self.round);
        self.round += 1;
        round
    }

    /// A commit is in force: the packets that waited for it, or for one before it, in their order.
    /// When a commit fails, tell nothing: a later one or the end of patience lets them go.
    pub fn committed(&mut self, round: Round) -> Vec<u32> {
        // Rounds never go down from front to back.
        let count = self.waiting.partition_point(|waiting| waiting.round <= round.0);
        self.waiting.drain(..count).map(|waiting| waiting.id).collect()
    }

    /// The packets that have waited for too long.
    pub fn overdue(&mut self, now: Instant) -> Vec<u32> {
        let late = |waiting: &Waiting| now.saturating_duration_since(waiting.since) >= PATIENCE;
        let count = self.waiting.iter().take_while(|waiting| late(waiting)).count();
        self.waiting.drain(..count).map(|waiting| waiting.id).collect()
    }

    /// When the first of them will have waited for too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::testing::ends;
    use super::*;

    #[test]
    fn packets_wait_for_their_commit_or_until_time_is_up() {
        let (mut held, start) = (Held::default(), Instant::now());
        let (a, b) = (ends("10.96.0.10:53", "10.0.0.1:1"), ends("10.96.0.10:53", "10.0.0.2:1"));
        assert_eq!((held.deadline(), held.overdue(start)), (None, vec![]));
        held.hold(1, a, start);
        let first = held.commit();
        held.hold(2, b, start + Duration::from_millis(10));
        let second = held.commit();
        held.hold(3, a, start + Duration::from_millis(20));
        assert_eq!((held.len(), held.deadline()), (3, Some(start + PATIENCE)));
        assert!(held.holds(a) && held.holds(b));
        assert!(held.overdue(start + PATIENCE - Duration::from_millis(1)).is_empty());
        assert_eq!(held.committed(first), [1]);
        assert!(held.holds(a));
        assert_eq!(held.overdue(start + PATIENCE + Duration::from_millis(10)), [2]);
        assert!(held.committed(second).is_empty());
        // A later commit answers for the earlier ones.
        let third = held.commit();
        held.hold(4, b, start + Duration::from_millis(30));
        assert_eq!(held.committed(third), [3]);
        let last = held.commit();
        assert!(last > third);
        assert_eq!(held.committed(last), [4]);
        assert!(held.is_empty() && !held.holds(a));
    }
}
