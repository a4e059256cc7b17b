//! What is known of names: the addresses that they stand for now, those that they stood for, and how the last questions
//! ended. Pure: the time is handed in.

use super::Now;
use super::seen::Seen;
use crate::render::NamesSet;
use crate::ruleset::timed::Left;
use netsim_shared::dns::answer::{Failure, Outcome, Reading};
use netsim_shared::dns::refuse::{Reason, Refusals, Refused};
use netsim_shared::dns::store::{Changes, Effect, Standing, Store, StoreOptions};
use netsim_shared::dns::{DomainName, NamePattern};
use netsim_shared::net::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How the last question about a family of a name ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Last {
    /// With addresses.
    Addresses,
    /// The name exists and has none of the family.
    NoAddress,
    /// There is no such name.
    NoSuchName,
    /// All addresses were refused (G5).
    AllRefused(Refused),
    /// The resolver failed.
    Failed(Failure),
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Last::Addresses => f.write_str("it has addresses"),
            Last::NoAddress => f.write_str("it has no address"),
            Last::NoSuchName => f.write_str("there is no such name"),
            Last::AllRefused(Refused { address, reason }) => write!(f, "its address {address} is refused: {reason}"),
            Last::Failed(failure) => failure.fmt(f),
        }
    }
}

/// What an answer, or time, changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// The names whose addresses, or the ends of these, are others now.
    pub names: BTreeSet<DomainName>,
    /// The addresses that came or stay longer, and for how long from now on: all that changed, unless something `went`.
    pub came: Vec<(DomainName, IpAddr, Duration)>,
    /// Whether addresses went, too.
    pub went: bool,
    /// Addresses that were too many (G3b).
    pub evicted: Vec<(DomainName, IpAddr)>,
    /// Addresses that were refused (G5).
    pub refused: Vec<Refused>,
}

impl Touched {
    /// Adds what something else changed.
    pub fn extend(&mut self, other: Touched) {
        self.names.extend(other.names);
        self.came.extend(other.came);
        self.went |= other.went;
        self.evicted.extend(other.evicted);
        self.refused.extend(other.refused);
    }

    /// Whether a pattern matches a name that was touched.
    pub fn matches(&self, patterns: &[NamePattern]) -> bool {
        self.names.iter().any(|name| patterns.iter().any(|pattern| pattern.matches(name)))
    }
}

/// What is known of names.
#[derive(Debug, Clone)]
pub struct Known {
    store: Store,
    seen: Seen,
    last: BTreeMap<(DomainName, Family), Last>,
    /// When the store was asked last: what it says is left is left from then on.
    read: Instant,
}

impl Known {
    /// Nothing yet.
    pub fn new(options: StoreOptions, now: Now) -> Self {
        Known::from(Store::new(options, now.wall), Seen::default(), now)
    }

    /// What was known when it was saved.
    pub fn from(store: Store, mut seen: Seen, now: Now) -> Self {
        for (name, held) in store.all() {
            seen.put(name, held.address, held.left, now.steady);
        }
        Known { store, seen, last: BTreeMap::new(), read: now.steady }
    }

    /// The addresses that names stand for now.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The addresses that names stood for.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes in what came of a question about a family of a name, whoever asked it.
    pub fn take(
        &mut self,
        name: &DomainName,
        family: Family,
        reading: Reading,
        refusals: &Refusals,
        inside: impl Fn(IpAddr) -> bool,
        now: Now,
    ) -> Touched {
        let (mut refused, mut found) = (Vec::new(), Vec::new());
        let last = match reading.outcome {
            Outcome::Addresses(all) => {
                (found, refused) = refusals.sift(all);
                found.retain(|one| {
                    let inside = inside(one.address);
                    if inside {
                        refused.push(Refused { address: one.address, reason: Reason::PodRange });
                    }
                    !inside
                });
                match refused.first().filter(|_| found.is_empty()) {
                    Some(refused) => Last::AllRefused(*refused),
                    None => Last::Addresses,
                }
            }
            Outcome::NoAddress => Last::NoAddress,
            Outcome::NoSuchName => Last::NoSuchName,
            Outcome::Failed(failure) => Last::Failed(failure),
        };
        let changes = match &last {
            Last::Failed(_) => self.store.failed(name, family, now.wall),
            _ => self.store.answered(name, family, &found, now.wall),
        };
        self.last.insert((name.clone(), family), last);
        Touched { refused, ..self.follow(changes, now) }
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Now) -> Touched {
        let changes = self.store.advance(now.wall);
        self.seen.prune(now.steady);
        self.follow(changes, now)
    }

    fn follow(&mut self, changes: Changes, now: Now) -> Touched {
        self.read = now.steady;
        let (mut names, mut came, mut went) = (BTreeSet::new(), Vec::new(), false);
        for change in changes.list {
            match change.effect {
                Effect::Added { left } | Effect::Retimed { left, .. } => {
                    self.seen.put(&change.name, change.address, left, now.steady);
                    came.push((change.name.clone(), change.address, left));
                }
                Effect::Gone => went = true,
            }
            names.insert(change.name);
        }
        Touched { names, came, went, evicted: changes.evicted, refused: Vec::new() }
    }

    /// The questions of other names are of no interest any more.
    pub fn forget_questions(&mut self, watched: &BTreeSet<DomainName>) {
        self.last.retain(|(name, _), _| watched.contains(name));
    }

    /// What a set is to hold now, without the addresses that are refused.
    pub fn wanted(&self, set: &NamesSet, refused: impl Fn(IpAddr) -> bool, now: Instant) -> Left {
        let mut wanted = Left::new();
        let mut put = |address, left| {
            let longest = wanted.entry(address).or_insert(left);
            *longest = left.max(*longest);
        };
        let passed = now.saturating_duration_since(self.read);
        for pattern in &*set.patterns {
            if set.seen {
                self.seen.matching(pattern, now).for_each(|(address, left)| put(address, left));
                continue;
            }
            for name in self.store.matching(pattern) {
                for held in self.store.of(name, set.family) {
                    put(held.address, held.left.saturating_sub(passed));
                }
            }
        }
        wanted.retain(|address, left| Family::of(*address) == set.family && !left.is_zero() && !refused(*address));
        wanted
    }

    /// How a name stands in a family.
    pub fn standing(&self, name: &DomainName, family: Family) -> Standing {
        self.store.standing(name, family)
    }

    /// Why a name has no address, if it has none; `None` also while it was not asked for in both families.
    pub fn why_unresolved(&self, name: &DomainName) -> Option<&Last> {
        if Family::ALL.into_iter().any(|family| self.standing(name, family).addresses > 0) {
            return None;
        }
        let of = |family| self.last.get(&(name.clone(), family));
        let (v4, v6) = (of(Family::V4)?, of(Family::V6)?);
        // A family that is not there says less than any other reason.
        Some(if *v4 == Last::NoAddress { v6 } else { v4 })
    }

    /// Whether a name was asked for, and stood for no address as long as anybody remembers.
    pub fn never_resolved(&self, name: &DomainName) -> bool {
        self.why_unresolved(name).is_some() && !self.seen.knows(name)
    }

    /// Whether the resolver fails for a name whose addresses are kept.
    pub fn is_kept(&self, name: &DomainName) -> bool {
        let standing = Family::ALL.map(|family| self.standing(name, family));
        standing.iter().any(|standing| standing.failing.is_some() && standing.addresses > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::dns::Timestamp;
    use netsim_shared::dns::answer::Found;
    use std::time::Duration;

    const START: u64 = 1_700_000_000_000;

    struct World {
        known: Known,
        begun: Instant,
    }

    impl World {
        fn new() -> Self {
            let begun = Instant::now();
            let now = Now { wall: Timestamp(START), steady: begun };
            World { known: Known::new(StoreOptions::default(), now), begun }
        }

        fn at(&self, seconds: u64) -> Now {
            Now { wall: Timestamp(START + seconds * 1000), steady: self.begun + Duration::from_secs(seconds) }
        }

        fn answer(&mut self, name: &str, addresses: &[(&str, u64)], seconds: u64) -> Touched {
            let found = addresses
                .iter()
                .map(|(a, ttl)| Found { address: a.parse().unwrap(), ttl: Duration::from_secs(*ttl) })
                .collect();
            let outcome = if addresses.is_empty() { Outcome::NoAddress } else { Outcome::Addresses(found) };
            self.outcome(name, Family::V4, outcome, seconds)
        }

        fn outcome(&mut self, name: &str, family: Family, outcome: Outcome, seconds: u64) -> Touched {
            let reading = Reading { outcome, chain: Vec::new(), ignored: 0 };
            let inside = |address: IpAddr| address == "198.51.100.66".parse::<IpAddr>().unwrap();
            let now = self.at(seconds);
            self.known.take(&name.parse().unwrap(), family, reading, &Refusals::default(), inside, now)
        }

        fn wanted(&self, patterns: &[&str], seen: bool, seconds: u64) -> Vec<(String, u64)> {
            let patterns = patterns.iter().map(|p| p.parse().unwrap()).collect();
            let set = NamesSet { patterns, family: Family::V4, seen };
            let wanted = self.known.wanted(&set, |_| false, self.at(seconds).steady);
            wanted.into_iter().map(|(address, left)| (address.to_string(), left.as_secs())).collect()
        }
    }

    fn one(address: &str, left: u64) -> Vec<(String, u64)> {
        vec![(address.to_owned(), left)]
    }

    #[test]
    fn a_set_holds_the_addresses_of_all_its_names_as_long_as_the_longest() {
        let mut world = World::new();
        world.answer("a.example.com", &[("198.51.100.1", 60), ("198.51.100.2", 60)], 0);
        let touched = world.answer("b.example.com", &[("198.51.100.1", 600)], 10);
        assert!(touched.matches(&["*.example.com".parse().unwrap()]));
        assert!(!touched.matches(&["a.example.com".parse().unwrap(), "example.com".parse().unwrap()]));
        let both = vec![("198.51.100.1".to_owned(), 650), ("198.51.100.2".to_owned(), 100)];
        // Some time after the last answer, which the store does not know of.
        assert_eq!(
            world.wanted(&["*.example.com"], false, 30),
            [("198.51.100.1".to_owned(), 640), ("198.51.100.2".to_owned(), 90)]
        );
        assert_eq!(world.wanted(&["b.example.com", "a.example.com"], false, 20), both);
        assert_eq!(world.wanted(&["example.com"], false, 20), []);
    }

    #[test]
    fn what_ended_stays_among_what_was_seen() {
        let mut world = World::new();
        world.answer("a.example.com", &[("198.51.100.1", 60)], 0);
        let touched = world.known.advance(world.at(120));
        assert_eq!(touched.names.len(), 1);
        assert_eq!(world.wanted(&["a.example.com"], false, 120), []);
        let seen = crate::agent::names::seen::SEEN_FOR.as_secs();
        assert_eq!(world.wanted(&["a.example.com"], true, 120), one("198.51.100.1", seen));
    }

    #[test]
    fn what_points_inside_does_not_count_and_is_told() {
        let mut world = World::new();
        let touched =
            world.answer("a.example.com", &[("10.0.0.1", 60), ("198.51.100.66", 60), ("198.51.100.1", 60)], 0);
        assert_eq!(touched.refused.iter().map(|r| r.reason).collect::<Vec<_>>(), [Reason::Private, Reason::PodRange]);
        assert_eq!(world.wanted(&["a.example.com"], false, 0), one("198.51.100.1", 120));
        // It came to be a pod's later.
        let set = NamesSet { patterns: vec!["a.example.com".parse().unwrap()].into(), family: Family::V4, seen: true };
        assert!(world.known.wanted(&set, |_| true, world.at(0).steady).is_empty());
    }

    #[test]
    fn it_is_told_why_a_name_has_no_address() {
        let mut world = World::new();
        let name = "a.example.com".parse().unwrap();
        world.outcome("a.example.com", Family::V6, Outcome::NoAddress, 0);
        assert_eq!(world.known.why_unresolved(&name), None);
        world.answer("a.example.com", &[("10.0.0.1", 60)], 0);
        let why = world.known.why_unresolved(&name).unwrap().to_string();
        assert_eq!(why, "its address 10.0.0.1 is refused: it is private, and its range is not opted in");
        world.outcome("a.example.com", Family::V4, Outcome::NoAddress, 1);
        world.outcome("a.example.com", Family::V6, Outcome::Failed(Failure::Timeout), 1);
        assert_eq!(world.known.why_unresolved(&name).unwrap().to_string(), "no answer came in time");
        assert!(world.known.never_resolved(&name));
        world.answer("a.example.com", &[("198.51.100.1", 60)], 2);
        assert_eq!(world.known.why_unresolved(&name), None);
        assert!(!world.known.is_kept(&name));
        world.outcome("a.example.com", Family::V4, Outcome::Failed(Failure::Timeout), 3);
        assert!(world.known.is_kept(&name));
        // It ended, and there is nothing any more: but it was there.
        world.answer("a.example.com", &[], 4);
        _ = world.known.advance(world.at(200));
        assert!(world.known.why_unresolved(&name).is_some() && !world.known.never_resolved(&name));
        world.known.forget_questions(&BTreeSet::new());
        assert!(world.known.last.is_empty());
    }
}
