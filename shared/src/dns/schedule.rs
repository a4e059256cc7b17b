//! When to ask for which name: before its addresses end, again after failures, and never all at once.
//!
//! A state machine without a clock. Each family of a name is asked for on its own: a server may answer one and fail at
//! the other.

use super::answer::Outcome;
use super::clock::{Clock, HEARTBEAT, Moment, Timestamp};
use super::name::DomainName;
use crate::net::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How a schedule behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// A name is asked for at most this often after an answer. A shorter time to live counts as this.
    pub min: Duration,
    /// A name is asked for at least this often after an answer.
    pub max: Duration,
    /// A name without addresses is asked for at least this often: somebody may be waiting for it.
    pub empty_max: Duration,
    /// How soon to ask again after a first failure; the time doubles with each further one.
    pub retry_first: Duration,
    /// At most this long after a failure.
    pub retry_max: Duration,
    /// The most questions without an answer.
    pub in_flight: usize,
    /// The most questions a second, but for a burst of `in_flight` after a pause.
    pub per_second: u32,
    /// A question without an answer for this long is lost, and counts as failed.
    pub lost: Duration,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        ScheduleOptions {
            min: Duration::from_secs(30),
            max: Duration::from_secs(60 * 60),
            empty_max: Duration::from_secs(5 * 60),
            retry_first: Duration::from_secs(5),
            retry_max: Duration::from_secs(2 * 60),
            in_flight: 16,
            per_second: 50,
            lost: Duration::from_secs(60),
        }
    }
}

/// A random number from the caller, so that agents that started together do not ask together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(pub u32);

impl Jitter {
    /// A part of a time: from none to nearly all of it, as the number says.
    fn of(self, time: Duration) -> Duration {
        let whole = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let part = (u128::from(whole) * u128::from(self.0)) >> 32;
        Duration::from_millis(u64::try_from(part).unwrap_or(whole))
    }
}

/// A question to ask: A or AAAA of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// The name.
    pub name: DomainName,
    /// The family.
    pub family: Family,
}

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With addresses; the least time to live of them.
    Addresses(Duration),
    /// With "there is nothing", and how long that may be kept, where the server said so.
    Nothing(Option<Duration>),
    /// With a failure.
    Failed,
}

impl Ended {
    /// How a question ended whose answer came to this, with the negative time to live of the answer.
    pub fn of(outcome: &Outcome, negative_ttl: Option<Duration>) -> Self {
        match outcome {
            Outcome::Addresses(found) => Ended::Addresses(found.iter().map(|f| f.ttl).min().unwrap_or_default()),
            Outcome::NoAddress | Outcome::NoSuchName => Ended::Nothing(negative_ttl),
            Outcome::Failed(_) => Ended::Failed,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Asked for at this moment.
    Due(Moment),
    /// Asked for since this moment.
    Asked(Moment),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    state: State,
    /// Failures in a row.
    failures: u32,
}

/// When to ask for which name. See the [module](self).
#[derive(Debug, Clone)]
pub struct Schedule {
    options: ScheduleOptions,
    clock: Clock,
    entries: BTreeMap<Query, Entry>,
    due: BTreeSet<(Moment, Query)>,
    asked: BTreeSet<(Moment, Query)>,
    /// When the questions of the past would have ended at one question every `1 s / per_second`.
    paced: Moment,
}

impl Schedule {
    /// A schedule without names.
    pub fn new(options: ScheduleOptions, now: Timestamp) -> Self {
        let clock = Clock::new(now);
        let paced = clock.now();
        Schedule { options, clock, entries: BTreeMap::new(), due: BTreeSet::new(), asked: BTreeSet::new(), paced }
    }

    /// Sets the names to ask for: new ones are due at once, in both families, and others are dropped.
    pub fn watch(&mut self, names: &BTreeSet<DomainName>, now: Timestamp) {
        let now = self.clock.read(now);
        let unneeded: Vec<Query> = self.entries.keys().filter(|query| !names.contains(&query.name)).cloned().collect();
        for query in unneeded {
            self.set(&query, None);
        }
        for name in names {
            for family in Family::ALL {
                let query = Query { name: name.clone(), family };
                if !self.entries.contains_key(&query) {
                    self.set(&query, Some(Entry { state: State::Due(now), failures: 0 }));
                }
            }
        }
    }

    /// Tells that the addresses of a watched name are known for as long, from a store that was read back: it waits for
    /// up to half of that time, so that names without addresses go first. Only before it is asked for, and not meant for
    /// addresses that are stale: those are to be asked for at once.
    pub fn known(&mut self, query: &Query, left: Duration, jitter: Jitter, now: Timestamp) {
        let now = self.clock.read(now);
        if let Some(Entry { state: State::Due(_), failures: 0 }) = self.entries.get(query) {
            let wait = jitter.of(left.min(self.options.max) / 2);
            self.set(query, Some(Entry { state: State::Due(now.after(wait)), failures: 0 }));
        }
    }

    /// How long to sleep before [`take_due`](Self::take_due): never longer than a [`HEARTBEAT`], and none if something
    /// is due.
    pub fn next_due(&mut self, now: Timestamp) -> Duration {
        let now = self.clock.read(now);
        let lost = self.asked.first().map(|(since, _)| now.until(since.after(self.options.lost)));
        let due = self.due.first().filter(|_| self.asked.len() < self.options.in_flight.max(1));
        let due = due.map(|(due, _)| now.until(*due).max(now.until(self.may_ask_at())));
        [lost, due].into_iter().flatten().fold(HEARTBEAT, Duration::min)
    }

    /// The questions to ask now, the longest due first: as many as the bounds allow. Each is to be told as
    /// [`done`](Self::done).
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Query> {
        let now = self.clock.read(now);
        let lost: Vec<Query> = self
            .asked
            .iter()
            .take_while(|(since, _)| since.after(self.options.lost) <= now)
            .map(|(_, query)| query.clone())
            .collect();
        for query in lost {
            self.end(&query, Ended::Failed, Jitter(0), now);
        }
        let mut taken = Vec::new();
        while self.asked.len() < self.options.in_flight.max(1) && self.may_ask_at() <= now {
            let Some((_, query)) = self.due.first().filter(|(due, _)| *due <= now).cloned() else { break };
            let failures = self.entries.get(&query).map_or(0, |entry| entry.failures);
            self.set(&query, Some(Entry { state: State::Asked(now), failures }));
            self.paced = self.paced.max(now).after(self.pace());
            taken.push(query);
        }
        taken
    }

    /// Tells how a question ended. False when nobody waits for it: the name is not watched any more, or the question
    /// counted as lost.
    pub fn done(&mut self, query: &Query, ended: Ended, jitter: Jitter, now: Timestamp) -> bool {
        let now = self.clock.read(now);
        let waited_for = matches!(self.entries.get(query), Some(Entry { state: State::Asked(_), .. }));
        if waited_for {
            self.end(query, ended, jitter, now);
        }
        waited_for
    }

    /// How many questions are without an answer.
    pub fn in_flight(&self) -> usize {
        self.asked.len()
    }

    fn end(&mut self, query: &Query, ended: Ended, jitter: Jitter, now: Moment) {
        let failures = match (ended, self.entries.get(query)) {
            (Ended::Failed, Some(entry)) => entry.failures.saturating_add(1),
            _ => 0,
        };
        let options = &self.options;
        let wait = match ended {
            // At three quarters of its time, or a little before; what ends is asked for in good time.
            Ended::Addresses(ttl) => {
                let ttl = ttl.min(options.max);
                ttl / 4 * 3 - jitter.of(ttl / 8)
            }
            Ended::Nothing(ttl) => {
                let ttl = ttl.unwrap_or(options.min).min(options.empty_max);
                ttl - jitter.of(ttl / 8)
            }
            Ended::Failed => {
                let doubled = options.retry_first.saturating_mul(1 << (failures.saturating_sub(1)).min(16));
                let wait = doubled.min(options.retry_max);
                wait - jitter.of(wait / 4)
            }
        };
        let wait = if failures == 0 { wait.max(options.min) } else { wait };
        self.set(query, Some(Entry { state: State::Due(now.after(wait)), failures }));
    }

    /// The one place where entries change, and the queues with them.
    fn set(&mut self, query: &Query, entry: Option<Entry>) {
        let old = match entry {
            Some(entry) => self.entries.insert(query.clone(), entry),
            None => self.entries.remove(query),
        };
        match old.map(|entry| entry.state) {
            Some(State::Due(at)) => _ = self.due.remove(&(at, query.clone())),
            Some(State::Asked(since)) => _ = self.asked.remove(&(since, query.clone())),
            None => {}
        }
        match entry.map(|entry| entry.state) {
            Some(State::Due(at)) => _ = self.due.insert((at, query.clone())),
            Some(State::Asked(since)) => _ = self.asked.insert((since, query.clone())),
            None => {}
        }
    }

    /// The time between two questions.
    fn pace(&self) -> Duration {
        Duration::from_secs(1) / self.options.per_second.clamp(1, 1000)
    }

    /// When the next question may be asked: a burst may run ahead of the pace.
    fn may_ask_at(&self) -> Moment {
        let ahead = u32::try_from(self.options.in_flight.max(1) - 1).unwrap_or(u32::MAX);
        self.paced.before(self.pace().saturating_mul(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_700_000_000_000;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp(START + milliseconds)
    }

    fn names(count: usize) -> BTreeSet<DomainName> {
        (0..count).map(|n| format!("n{n}.example").parse().unwrap()).collect()
    }

    fn schedule(count: usize) -> Schedule {
        let mut schedule = Schedule::new(ScheduleOptions::default(), at(0));
        schedule.watch(&names(count), at(0));
        schedule
    }

    /// Sleeps as the loop does until something is due; returns when that is, in milliseconds.
    fn sleep(schedule: &mut Schedule, mut now: u64) -> (u64, Vec<Query>) {
        loop {
            now += u64::try_from(schedule.next_due(at(now)).as_millis()).unwrap();
            let taken = schedule.take_due(at(now));
            if !taken.is_empty() {
                return (now, taken);
            }
        }
    }

    #[test]
    fn both_families_are_asked_for_at_once_and_again_in_good_time() {
        let mut schedule = schedule(1);
        assert_eq!(schedule.next_due(at(0)), Duration::ZERO);
        let taken = schedule.take_due(at(0));
        assert_eq!(taken.iter().map(|q| q.family).collect::<Vec<_>>(), Family::ALL);
        assert!(schedule.done(&taken[0], Ended::Addresses(secs(3600)), Jitter(0), at(0)));
        assert!(schedule.done(&taken[1], Ended::Nothing(Some(secs(900))), Jitter(0), at(0)));
        assert!(!schedule.done(&taken[0], Ended::Failed, Jitter(0), at(0)), "it is not asked for now");
        assert_eq!(sleep(&mut schedule, 0), (300_000, vec![taken[1].clone()]));
        assert!(schedule.done(&taken[1], Ended::Nothing(None), Jitter(0), at(300_000)));
        assert_eq!(sleep(&mut schedule, 300_000), (330_000, vec![taken[1].clone()]));
        schedule.done(&taken[1], Ended::Addresses(secs(100_000)), Jitter(0), at(330_000));
        assert_eq!(sleep(&mut schedule, 330_000), (2_700_000, vec![taken[0].clone()]));
    }

    #[test]
    fn failures_are_retried_later_and_later() {
        let mut schedule = schedule(1);
        let query = schedule.take_due(at(0)).remove(0);
        schedule.done(&query, Ended::Failed, Jitter(0), at(0));
        // The other one is never answered, and lost after a minute.
        let mut waits = Vec::new();
        let (mut now, mut last) = (0, 0);
        while waits.len() < 7 {
            let (later, taken) = sleep(&mut schedule, now);
            now = later;
            if taken.contains(&query) {
                waits.push((now - last) / 1000);
                last = now;
                schedule.done(&query, Ended::Failed, Jitter(0), at(now));
            }
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 120, 120]);
        let mut schedule = self::schedule(1);
        let query = schedule.take_due(at(0)).remove(0);
        schedule.done(&query, Ended::Failed, Jitter(u32::MAX), at(0));
        assert_eq!(sleep(&mut schedule, 0).0, 3751);
    }

    #[test]
    fn many_names_are_spread() {
        let mut schedule = schedule(100);
        assert_eq!(schedule.take_due(at(0)).len(), 16);
        assert_eq!(schedule.take_due(at(1000)).len(), 0, "sixteen have no answer");
        let asked: Vec<Query> = schedule.asked.iter().map(|(_, q)| q.clone()).collect();
        for query in asked {
            schedule.done(&query, Ended::Addresses(secs(60)), Jitter(0), at(1000));
        }
        assert_eq!(schedule.take_due(at(1000)).len(), 16);
    }

    #[test]
    fn names_with_known_addresses_wait() {
        let mut schedule = schedule(2);
        let query = Query { name: "n0.example".parse().unwrap(), family: Family::V4 };
        schedule.known(&query, secs(600), Jitter(1 << 31), at(0));
        assert_eq!(schedule.take_due(at(0)).len(), 3);
        assert!(!schedule.take_due(at(149_999)).contains(&query));
        assert!(schedule.take_due(at(150_000)).contains(&query));
    }

    #[test]
    fn a_dropped_name_is_not_asked_for_again() {
        let mut schedule = schedule(1);
        let taken = schedule.take_due(at(0));
        schedule.watch(&BTreeSet::new(), at(0));
        assert!(!schedule.done(&taken[0], Ended::Failed, Jitter(0), at(0)));
        assert_eq!((schedule.next_due(at(0)), schedule.in_flight()), (HEARTBEAT, 0));
    }

    #[test]
    fn a_clock_that_jumps_neither_stops_it_nor_makes_all_due() {
        for jump in [0, START / 2, START + 1000 * 86_400 * 400] {
            let mut schedule = schedule(1);
            let queries = schedule.take_due(at(0));
            for query in &queries {
                schedule.done(query, Ended::Addresses(secs(3600)), Jitter(0), at(0));
            }
            assert_eq!(schedule.take_due(Timestamp(jump)), [], "after a jump to {jump}");
            let mut minutes = 0;
            while schedule.take_due(Timestamp(jump + minutes * 60_000)).is_empty() {
                minutes += 1;
            }
            assert!((40..=45).contains(&minutes), "{minutes} minutes after a jump to {jump}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take,
        Done(prop::sample::Index, Ended, u32),
        Watch(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let ended = prop_oneof![
            prop::sample::select(vec![0, 10, 60, 600, 100_000]).prop_map(|n| Ended::Addresses(secs(n))),
            prop::option::of(0..1000_u64).prop_map(|n| Ended::Nothing(n.map(secs))),
            Just(Ended::Failed),
        ];
        let step = prop_oneof![
            3 => Just(Step::Take),
            4 => (any::<prop::sample::Index>(), ended, any::<u32>()).prop_map(|(i, e, j)| Step::Done(i, e, j)),
            1 => (0..6_usize).prop_map(Step::Watch),
        ];
        let time = prop_oneof![Just(0), 0..1000_u64, 0..60_000_u64];
        prop::collection::vec((time, step), 1..200)
    }

    proptest! {
        /// What must hold whatever happens, checked against plain notes of what happened.
        #[test]
        fn the_bounds_hold(steps in steps(), in_flight in 1..5_usize, per_second in 1..20_u32) {
            let options = ScheduleOptions { in_flight, per_second, ..ScheduleOptions::default() };
            let mut schedule = Schedule::new(options, at(0));
            // Query: since when asked for; or since when waiting, and between which times it is due.
            let mut open: BTreeMap<Query, u64> = BTreeMap::new();
            let mut waiting: BTreeMap<Query, (u64, u64)> = BTreeMap::new();
            let mut failures: BTreeMap<Query, u32> = BTreeMap::new();
            let mut asked: Vec<u64> = Vec::new();
            let mut now = 0;
            for (time, step) in steps {
                now += time;
                match step {
                    Step::Watch(count) => {
                        let watched = names(count);
                        schedule.watch(&watched, at(now));
                        open.retain(|q, _| watched.contains(&q.name));
                        waiting.retain(|q, _| watched.contains(&q.name));
                        failures.retain(|q, _| watched.contains(&q.name));
                        for name in &watched {
                            for family in Family::ALL {
                                let query = Query { name: name.clone(), family };
                                if !open.contains_key(&query) {
                                    waiting.entry(query).or_insert((now, now));
                                }
                            }
                        }
                    }
                    Step::Take => {
                        let sleep = schedule.next_due(at(now));
                        let lost: Vec<Query> =
                            open.iter().filter(|(_, since)| *since + 60_000 <= now).map(|(q, _)| q.clone()).collect();
                        for query in &lost {
                            open.remove(query);
                            let count = failures.entry(query.clone()).or_default();
                            *count += 1;
                            let wait = (5000_u64 << (*count - 1).min(10)).min(120_000);
                            waiting.insert(query.clone(), (now + wait, now + wait));
                        }
                        let taken = schedule.take_due(at(now));
                        prop_assert!(taken.is_empty() || sleep == Duration::ZERO, "told to sleep for {sleep:?}");
                        for query in &taken {
                            let (earliest, _) = waiting.remove(query).expect("it waits");
                            prop_assert!(earliest <= now, "{query:?} is early by {}", earliest - now);
                            open.insert(query.clone(), now);
                            asked.push(now);
                        }
                        // Whatever must be asked for by now is, unless a bound stands against it.
                        let window = 1000 / u64::from(per_second) * in_flight as u64;
                        let recent = asked.iter().filter(|t| **t + window > now).count();
                        if open.len() < in_flight && recent == 0 {
                            let late = waiting.iter().find(|(_, (_, latest))| *latest <= now);
                            prop_assert!(late.is_none(), "{late:?} should have been asked for");
                        }
                    }
                    Step::Done(index, ended, jitter) => {
                        if open.is_empty() {
                            continue;
                        }
                        let query = open.keys().nth(index.index(open.len())).unwrap().clone();
                        open.remove(&query);
                        prop_assert!(schedule.done(&query, ended, Jitter(jitter), at(now)));
                        let count = failures.entry(query.clone()).or_default();
                        *count = if ended == Ended::Failed { *count + 1 } else { 0 };
                        let (earliest, latest) = match ended {
                            Ended::Addresses(ttl) => {
                                let ttl = u64::try_from(ttl.as_millis()).unwrap().min(3_600_000);
                                ((ttl * 5 / 8).max(30_000), (ttl * 3 / 4).max(30_000))
                            }
                            Ended::Nothing(ttl) => {
                                let ttl = ttl.map_or(30_000, |t| u64::try_from(t.as_millis()).unwrap()).min(300_000);
                                ((ttl * 7 / 8).max(30_000), ttl.max(30_000))
                            }
                            Ended::Failed => {
                                let wait = (5000_u64 << (*count - 1).min(10)).min(120_000);
                                (wait * 3 / 4, wait)
                            }
                        };
                        waiting.insert(query, (now + earliest, now + latest));
                    }
                }
                prop_assert_eq!(schedule.in_flight(), open.len());
                prop_assert!(open.len() <= in_flight);
                prop_assert_eq!(schedule.due.len(), waiting.len());
                // In any time: a burst, and the pace.
                for (i, first) in asked.iter().enumerate() {
                    let within = (asked.len() - i) as u64;
                    let time = asked[asked.len() - 1] - first;
                    let pace = 1000 / u64::from(per_second);
                    prop_assert!(within <= in_flight as u64 + time / pace + 1, "{within} questions in {time} ms");
                }
            }
        }

        #[test]
        fn no_clock_makes_it_sleep_for_longer_than_a_heartbeat(walls in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut schedule = schedule(3);
            for wall in walls {
                let wall = Timestamp(wall);
                prop_assert!(schedule.next_due(wall) <= HEARTBEAT);
                for query in schedule.take_due(wall) {
                    schedule.done(&query, Ended::Addresses(secs(3600)), Jitter(0), wall);
                }
            }
        }
    }
}
