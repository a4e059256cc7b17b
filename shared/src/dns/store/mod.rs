//! The addresses that names stand for now, each with an end of its own (G3, G4).
//!
//! Per address: its end is when it was seen + its time to live, within bounds + a grace for programs that keep
//! answers a little longer. A new answer joins the old ones: providers hand out a few addresses of many at a time.
//!
//! While the resolver fails, what a name stood for is kept beyond its end, for a bounded time since the last answer
//! (G4a). "There is nothing" is an answer too: it lets the addresses run out.
//!
//! Each operation gives back what it changed, so that sets in the kernel, whose elements have timeouts, can follow.
//! The kernel is handed the time that is *left*, not a time of day: see [`clock`](super::clock).

mod saved;

pub use saved::{LoadError, Loaded};

use super::answer::Found;
use super::clock::{Clock, HEARTBEAT, Moment, Timestamp};
use super::name::{DomainName, NamePattern};
use crate::net::{Family, PerFamily};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

/// The bounds of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// An address counts at least this long, whatever its time to live.
    pub min_ttl: Duration,
    /// An address counts at most this long after an answer (and the grace).
    pub max_ttl: Duration,
    /// What is added for programs that keep answers longer than they may.
    pub grace: Duration,
    /// The most addresses of a name, in each family.
    pub per_name: usize,
    /// The most addresses of all names.
    pub total: usize,
    /// How long after the last answer addresses are kept while the resolver fails.
    pub stale: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            min_ttl: Duration::from_secs(30),
            max_ttl: Duration::from_secs(60 * 60),
            grace: Duration::from_secs(60),
            per_name: 256,
            total: 65_536,
            stale: Duration::from_secs(60 * 60),
        }
    }
}

impl StoreOptions {
    /// The longest that an address can be kept from now on, whatever happened before.
    pub fn longest(&self) -> Duration {
        self.max_ttl.max(self.min_ttl).saturating_add(self.grace).max(self.stale)
    }
}

/// An address is kept beyond its end from this long before it, so that its timeout in the kernel never runs out
/// between two visits.
const RENEW: Duration = Duration::from_secs(2 * HEARTBEAT.as_secs());

/// What became of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is new: put it into the set with this timeout.
    Added {
        /// The time left.
        left: Duration,
    },
    /// It stays, and its timeout is now this. That is longer than before, but for one case: when the resolver answers
    /// again, stale addresses that it does not name keep the grace alone.
    Retimed {
        /// The time left.
        left: Duration,
        /// Kept beyond its own end because the resolver fails (G4).
        stale: bool,
    },
    /// It counts no longer: take it out. The kernel may have done so already.
    Gone,
}

/// One change: what became of an address of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: DomainName,
    /// The address.
    pub address: IpAddr,
    /// What became of it.
    pub effect: Effect,
}

/// What an operation changed; each address of a name stands there at most once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "sets in the kernel follow by these"]
pub struct Changes {
    /// The changes, by name and address.
    pub list: Vec<Change>,
    /// Addresses that had to leave, or could not enter, because of the bounds: to be counted and told. Those that were
    /// in the store before also stand in `list`, as gone.
    pub evicted: Vec<(DomainName, IpAddr)>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.evicted.is_empty()
    }
}

/// An address of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: IpAddr,
    /// The time left, as of the last operation.
    pub left: Duration,
    /// Kept beyond its own end because the resolver fails (G4).
    pub stale: bool,
}

/// How a name stands in a family, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// How many addresses it has.
    pub addresses: usize,
    /// How many of them are beyond their own end.
    pub stale: usize,
    /// Since when the resolver fails, if it does.
    pub failing: Option<Duration>,
    /// How long ago addresses were last learned, if "there is nothing" was not answered since.
    pub answered: Option<Duration>,
}

/// An address with its two ends: its own, and the one that counts while the resolver fails.
#[derive(Debug, Clone, Copy)]
struct Ends {
    own: Moment,
    kept: Moment,
}

#[derive(Debug, Clone, Default)]
struct OfFamily {
    addresses: BTreeMap<IpAddr, Ends>,
    /// When the last answer with addresses came; none after an answer without.
    answered: Option<Moment>,
    /// Since when the resolver fails.
    failing: Option<Moment>,
}

impl OfFamily {
    fn is_blank(&self) -> bool {
        self.addresses.is_empty() && self.failing.is_none()
    }
}

/// The addresses of names. See the [module](self).
#[derive(Debug, Clone)]
pub struct Store {
    options: StoreOptions,
    clock: Clock,
    names: BTreeMap<DomainName, PerFamily<OfFamily>>,
    /// Every address by the end that counts.
    ends: BTreeSet<(Moment, DomainName, IpAddr)>,
}

/// What an operation did so far: for each address how it was before.
type Before = BTreeMap<(DomainName, IpAddr), Option<Ends>>;

impl Store {
    /// An empty store.
    pub fn new(options: StoreOptions, now: Timestamp) -> Self {
        Store { options, clock: Clock::new(now), names: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// The bounds.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Takes in an answer about a family of a name: the addresses that were not refused. None at all is an answer as
    /// well, be it that the name does not exist, has no address, or that all were refused: what is there runs out.
    /// Addresses of the other family have no place in it and are not looked at.
    pub fn answered(&mut self, name: &DomainName, family: Family, found: &[Found], now: Timestamp) -> Changes {
        let mut before = self.begin(now);
        let now = self.clock.now();
        let of_name = self.names.entry(name.clone()).or_default().get_mut(family);
        let found: Vec<&Found> = found.iter().filter(|f| Family::of(f.address) == family).collect();
        let earlier = std::mem::replace(&mut of_name.answered, (!found.is_empty()).then_some(now));
        // The resolver is back: what was kept beyond its end has the grace to leave, but never more than it had (G4a).
        let to_leave = of_name
            .failing
            .take()
            .and(earlier)
            .map(|answered| answered.after(self.options.stale).min(now.after(self.options.grace)));

        let mut ends: BTreeMap<IpAddr, Ends> = BTreeMap::new();
        for (address, old) in &of_name.addresses {
            let own = to_leave.map_or(old.own, |end| old.own.max(end));
            ends.insert(*address, Ends { own, kept: own });
        }
        for one in found {
            let ttl = one.ttl.min(self.options.max_ttl).max(self.options.min_ttl);
            let end = now.after(ttl.saturating_add(self.options.grace));
            let new = Ends { own: end, kept: end };
            ends.entry(one.address)
                .and_modify(|old| {
                    if old.own < end {
                        *old = new
                    }
                })
                .or_insert(new);
        }
        for (address, ends) in ends {
            self.put(name, address, Some(ends), &mut before);
        }
        let evicted = self.hold_bounds(name, family, &mut before);
        let changes = self.finish(before, evicted);
        self.drop_if_blank(name);
        changes
    }

    /// The resolver failed to answer about a family of a name: SERVFAIL, REFUSED, a timeout. What the name stood for is
    /// kept beyond its end, for a bounded time since the last answer (G4).
    pub fn failed(&mut self, name: &DomainName, family: Family, now: Timestamp) -> Changes {
        // Marked first: what ends at this moment is kept.
        let at = self.clock.read(now);
        self.names.entry(name.clone()).or_default().get_mut(family).failing.get_or_insert(at);
        self.advance(now)
    }

    /// Lets time pass: what is past its end goes, and what is to be kept beyond it is.
    pub fn advance(&mut self, now: Timestamp) -> Changes {
        let before = self.begin(now);
        self.finish(before, Vec::new())
    }

    /// Forgets the names that no policy needs any more.
    pub fn retain(&mut self, mut needed: impl FnMut(&DomainName) -> bool, now: Timestamp) -> Changes {
        let mut before = self.begin(now);
        let unneeded: Vec<DomainName> = self.names.keys().filter(|name| !needed(name)).cloned().collect();
        for name in &unneeded {
            for family in Family::ALL {
                let addresses: Vec<IpAddr> = self.of(name, family).map(|held| held.address).collect();
                for address in addresses {
                    self.put(name, address, None, &mut before);
                }
            }
            self.names.remove(name);
        }
        self.finish(before, Vec::new())
    }

    /// The addresses of a name in a family, as of the last operation.
    pub fn of(&self, name: &DomainName, family: Family) -> impl Iterator<Item = Held> + '_ {
        let now = self.clock.now();
        let addresses = self.names.get(name).map(|of_name| &of_name.get(family).addresses);
        addresses.into_iter().flatten().map(move |(address, ends)| held(*address, *ends, now))
    }

    /// The names with addresses that a pattern matches, in the order of names.
    pub fn matching<'s>(&'s self, pattern: &'s NamePattern) -> impl Iterator<Item = &'s DomainName> {
        // Names below one stand together, behind it.
        let first = match pattern {
            NamePattern::Exact(name) => Bound::Included(name),
            NamePattern::Below(parent) => Bound::Excluded(parent),
        };
        self.names
            .range::<DomainName, _>((first, Bound::Unbounded))
            .take_while(|(name, _)| pattern.matches(name))
            .filter(|(_, of)| Family::ALL.iter().any(|f| !of.get(*f).addresses.is_empty()))
            .map(|(name, _)| name)
    }

    /// Every address of every name.
    pub fn all(&self) -> impl Iterator<Item = (&DomainName, Held)> {
        let now = self.clock.now();
        self.names.iter().flat_map(move |(name, of)| {
            let addresses = Family::ALL.into_iter().flat_map(|family| of.get(family).addresses.iter());
            addresses.map(move |(address, ends)| (name, held(*address, *ends, now)))
        })
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How a name stands in a family.
    pub fn standing(&self, name: &DomainName, family: Family) -> Standing {
        let Some(of) = self.names.get(name).map(|of_name| of_name.get(family)) else { return Standing::default() };
        let now = self.clock.now();
        Standing {
            addresses: of.addresses.len(),
            stale: of.addresses.values().filter(|ends| held_beyond(**ends, now)).count(),
            failing: of.failing.map(|since| since.until(now)),
            answered: of.answered.map(|at| at.until(now)),
        }
    }

    /// Reads the clock, and lets go or keep what is near its end.
    fn begin(&mut self, now: Timestamp) -> Before {
        let mut before = Before::new();
        let now = self.clock.read(now);
        let horizon = now.after(RENEW);
        let near: Vec<_> = self.ends.iter().take_while(|(end, ..)| *end <= horizon).cloned().collect();
        for (end, name, address) in near {
            let Some(of) = self.names.get(&name).map(|of| of.get(Family::of(address))) else { continue };
            let bound = match (of.failing, of.answered) {
                (Some(_), Some(answered)) => answered.after(self.options.stale),
                _ => end,
            };
            let Some(ends) = of.addresses.get(&address).copied() else { continue };
            if bound > end && bound > now {
                self.put(&name, address, Some(Ends { kept: bound, ..ends }), &mut before);
            } else if end <= now {
                self.put(&name, address, None, &mut before);
            }
        }
        before
    }

    /// Sets the ends of an address, or takes it out, and notes how it was before.
    fn put(&mut self, name: &DomainName, address: IpAddr, ends: Option<Ends>, before: &mut Before) {
        let addresses = &mut self.names.entry(name.clone()).or_default().get_mut(Family::of(address)).addresses;
        let old = match ends {
            Some(ends) => addresses.insert(address, ends),
            None => addresses.remove(&address),
        };
        if let Some(old) = old {
            self.ends.remove(&(old.kept, name.clone(), address));
        }
        if let Some(ends) = ends {
            self.ends.insert((ends.kept, name.clone(), address));
        }
        before.entry((name.clone(), address)).or_insert(old);
    }

    /// Takes out what is too much: of a family of a name, and of all. The soonest to end go first.
    fn hold_bounds(&mut self, name: &DomainName, family: Family, before: &mut Before) -> Vec<(DomainName, IpAddr)> {
        let mut evicted = Vec::new();
        let addresses = self.names.get(name).map(|of| &of.get(family).addresses);
        let mut by_end: Vec<(Moment, IpAddr)> =
            addresses.into_iter().flatten().map(|(address, ends)| (ends.kept, *address)).collect();
        by_end.sort_by_key(|(end, address)| (Reverse(*end), Reverse(*address)));
        for (_, address) in by_end.drain(self.options.per_name.min(by_end.len())..) {
            self.put(name, address, None, before);
            evicted.push((name.clone(), address));
        }
        while self.ends.len() > self.options.total {
            let Some((_, name, address)) = self.ends.first().cloned() else { break };
            self.put(&name, address, None, before);
            evicted.push((name, address));
        }
        evicted
    }

    /// The changes since `before`; names without anything to remember leave.
    fn finish(&mut self, before: Before, evicted: Vec<(DomainName, IpAddr)>) -> Changes {
        let now = self.clock.now();
        let mut list = Vec::new();
        for ((name, address), old) in before {
            let family = Family::of(address);
            let new = self.names.get(&name).and_then(|of| of.get(family).addresses.get(&address));
            let effect = match (old, new) {
                (None, None) => continue,
                (Some(_), None) => Effect::Gone,
                (None, Some(new)) => Effect::Added { left: now.until(new.kept) },
                (Some(old), Some(new)) if old.kept == new.kept => continue,
                // It ended, and came back before anybody looked: its timeout in the kernel has run out.
                (Some(old), Some(new)) if old.kept <= now => Effect::Added { left: now.until(new.kept) },
                (Some(_), Some(new)) => Effect::Retimed { left: now.until(new.kept), stale: new.own < new.kept },
            };
            list.push(Change { name, address, effect });
        }
        for Change { name, .. } in &list {
            self.drop_if_blank(name);
        }
        Changes { list, evicted }
    }

    /// Forgets a name that there is nothing to remember of.
    fn drop_if_blank(&mut self, name: &DomainName) {
        if self.names.get(name).is_some_and(|of| of.v4.is_blank() && of.v6.is_blank()) {
            self.names.remove(name);
        }
    }
}

/// Whether an address is past its own end and kept.
fn held_beyond(ends: Ends, now: Moment) -> bool {
    ends.own <= now && now < ends.kept
}

fn held(address: IpAddr, ends: Ends, now: Moment) -> Held {
    Held { address, left: now.until(ends.kept), stale: held_beyond(ends, now) }
}

#[cfg(test)]
mod tests;
