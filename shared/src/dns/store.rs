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

use super::answer::Found;
use super::clock::{Clock, HEARTBEAT, Moment, Timestamp};
use super::name::{DomainName, NamePattern};
use crate::net::{Family, PerFamily};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
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

/// What is on disk says this of itself.
const FORMAT: &str = "netsim-dns-answers";
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    format: String,
    version: u64,
    saved: Timestamp,
    names: Vec<SavedName>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SavedName {
    name: DomainName,
    family: SavedFamily,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    answered: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failing: Option<Timestamp>,
    addresses: BTreeMap<IpAddr, Timestamp>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
enum SavedFamily {
    IPv4,
    IPv6,
}

/// A store that was read back.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The store.
    pub store: Store,
    /// How many addresses had ended since it was written.
    pub ended: usize,
    /// How many addresses were more than the bounds allow, which may have changed since.
    pub evicted: usize,
}

/// Why a saved store was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// It is something else.
    Foreign,
    /// It was written by another version, which says things that this one may misread.
    Version(u64),
    /// It says what it is, but cannot be what was written: how so.
    Corrupt(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Foreign => write!(f, "these are no saved DNS answers: `format` is not `{FORMAT}`"),
            LoadError::Version(version) => {
                write!(f, "the saved DNS answers have version {version}, and only version {VERSION} is known")
            }
            LoadError::Corrupt(why) => write!(f, "the saved DNS answers are damaged: {why}"),
        }
    }
}

impl std::error::Error for LoadError {}

impl Store {
    /// The store as a JSON value, to be written by the caller. Ends are times of day.
    pub fn to_json(&self) -> Value {
        let names = self.names.iter().flat_map(|(name, of)| Family::ALL.map(|family| (name, family, of.get(family))));
        let names = names.filter(|(.., of)| !of.is_blank()).map(|(name, family, of)| SavedName {
            name: name.clone(),
            family: match family {
                Family::V4 => SavedFamily::IPv4,
                Family::V6 => SavedFamily::IPv6,
            },
            answered: of.answered.map(|at| self.clock.wall_at(at)),
            failing: of.failing.map(|since| self.clock.wall_at(since)),
            addresses: of.addresses.iter().map(|(a, ends)| (*a, self.clock.wall_at(ends.own))).collect(),
        });
        let saved = Saved {
            format: FORMAT.to_owned(),
            version: VERSION,
            saved: self.clock.wall_at(self.clock.now()),
            names: names.collect(),
        };
        // Keys are texts and values numbers: there is nothing that JSON could not say.
        serde_json::to_value(saved).unwrap_or_default()
    }

    /// Reads a store back. What has ended since it was written is left out; the time in between counts in full, unless
    /// the clock is now behind: then it counts as none (G3c). No end is farther away than it could be from now on.
    ///
    /// # Errors
    /// When the value is something else, of another version, or damaged.
    pub fn from_json(value: &Value, options: StoreOptions, now: Timestamp) -> Result<Loaded, LoadError> {
        let header = Header::deserialize(value).map_err(|_| LoadError::Foreign)?;
        if header.format != FORMAT {
            return Err(LoadError::Foreign);
        }
        if header.version != VERSION {
            return Err(LoadError::Version(header.version));
        }
        let saved = Saved::deserialize(value).map_err(|e| LoadError::Corrupt(e.to_string()))?;

        // Everything is placed as it stood when it was written; then time passes.
        let mut store = Store::new(options, saved.saved);
        let (then, at) = (store.clock.now(), |stamp| store.clock.moment_at(stamp));
        let latest = then.after(store.options.longest());
        let mut names: BTreeMap<DomainName, PerFamily<OfFamily>> = BTreeMap::new();
        for one in saved.names {
            let family = match one.family {
                SavedFamily::IPv4 => Family::V4,
                SavedFamily::IPv6 => Family::V6,
            };
            let of = names.entry(one.name.clone()).or_default().get_mut(family);
            if !of.is_blank() {
                return Err(LoadError::Corrupt(format!("`{}` stands there twice for {family}", one.name)));
            }
            // Neither can lie in the future.
            of.answered = one.answered.map(|stamp| at(stamp).min(then));
            of.failing = one.failing.map(|stamp| at(stamp).min(then));
            for (address, stamp) in one.addresses {
                if Family::of(address) != family {
                    return Err(LoadError::Corrupt(format!("`{}` has `{address}` among {family} addresses", one.name)));
                }
                let end = at(stamp).min(latest);
                of.addresses.insert(address, Ends { own: end, kept: end });
            }
        }
        store.names = names;
        store.ends = store
            .names
            .iter()
            .flat_map(|(name, of)| {
                let addresses = Family::ALL.into_iter().flat_map(|family| of.get(family).addresses.iter());
                addresses.map(|(address, ends)| (ends.kept, name.clone(), *address))
            })
            .collect();
        store.clock.leap(now);
        let all = store.len();
        let mut before = store.begin(now);
        let ended = all - store.len();
        let names: Vec<DomainName> = store.names.keys().cloned().collect();
        let mut evicted = 0;
        for name in &names {
            for family in Family::ALL {
                evicted += store.hold_bounds(name, family, &mut before).len();
            }
        }
        _ = store.finish(before, Vec::new());
        Ok(Loaded { store, ended, evicted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::clock::MAX_STEP;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const START: u64 = 1_700_000_000_000;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(START + 1000 * seconds)
    }

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn found(address: &str, ttl: u64) -> Found {
        Found { address: address.parse().unwrap(), ttl: secs(ttl) }
    }

    fn store() -> Store {
        Store::new(StoreOptions::default(), at(0))
    }

    /// Lets time pass as the loop does, and gathers what changed.
    fn pass(store: &mut Store, from: u64, to: u64) -> Vec<String> {
        let mut told = Vec::new();
        for second in (from..to).step_by(60).skip(1).chain([to]) {
            told.extend(show(&store.advance(at(second)), second));
        }
        told
    }

    fn show(changes: &Changes, second: u64) -> Vec<String> {
        let list = changes.list.iter().map(|change| {
            let what = match change.effect {
                Effect::Added { left } => format!("added for {}", left.as_secs()),
                Effect::Retimed { left, stale } => {
                    format!("{} {}", if stale { "stale for" } else { "now for" }, left.as_secs())
                }
                Effect::Gone => "gone".to_owned(),
            };
            format!("{second}: {} {what}", change.address)
        });
        list.chain(changes.evicted.iter().map(|(_, address)| format!("{second}: {address} evicted"))).collect()
    }

    #[test]
    fn an_address_counts_for_its_time_within_bounds_and_the_grace() {
        let (mut store, www) = (store(), name("www.example.com"));
        let list = [found("192.0.2.1", 5), found("192.0.2.2", 100), found("192.0.2.3", 86_400)];
        let changes = store.answered(&www, Family::V4, &list, at(0));
        let expected = ["0: 192.0.2.1 added for 90", "0: 192.0.2.2 added for 160", "0: 192.0.2.3 added for 3660"];
        assert_eq!(show(&changes, 0), expected);
        let expected = ["120: 192.0.2.1 gone", "180: 192.0.2.2 gone", "3660: 192.0.2.3 gone"];
        assert_eq!(pass(&mut store, 0, 3660), expected);
        assert!(store.is_empty() && store.names.is_empty());
    }

    #[test]
    fn a_new_answer_joins_the_old_ones() {
        let (mut store, www) = (store(), name("www.example.com"));
        _ = store.answered(&www, Family::V4, &[found("192.0.2.1", 300), found("192.0.2.2", 300)], at(0));
        let changes = store.answered(&www, Family::V4, &[found("192.0.2.2", 30), found("192.0.2.3", 300)], at(10));
        assert_eq!(show(&changes, 10), ["10: 192.0.2.3 added for 360"]);
        let changes = store.answered(&www, Family::V4, &[found("192.0.2.1", 300)], at(20));
        assert_eq!(show(&changes, 20), ["20: 192.0.2.1 now for 360"]);
        assert_eq!(store.of(&www, Family::V4).count(), 3);
        assert_eq!(store.of(&www, Family::V6).count(), 0);
    }

    #[test]
    fn while_the_resolver_fails_addresses_are_kept_for_an_hour_since_the_last_answer() {
        let (mut store, www) = (store(), name("www.example.com"));
        _ = store.answered(&www, Family::V4, &[found("192.0.2.1", 60)], at(0));
        let changes = store.failed(&www, Family::V4, at(0));
        assert_eq!(show(&changes, 0), ["0: 192.0.2.1 stale for 3600"]);
        assert_eq!(pass(&mut store, 0, 3599), Vec::<String>::new());
        let standing = store.standing(&www, Family::V4);
        let expected = Standing { addresses: 1, stale: 1, failing: Some(secs(3599)), answered: Some(secs(3599)) };
        assert_eq!(standing, expected);
        assert_eq!(pass(&mut store, 3599, 3600), ["3600: 192.0.2.1 gone"]);
    }

    #[test]
    fn when_the_resolver_is_back_stale_addresses_leave_after_the_grace() {
        let (mut store, www) = (store(), name("www.example.com"));
        _ = store.answered(&www, Family::V4, &[found("192.0.2.1", 60), found("192.0.2.2", 60)], at(0));
        _ = store.failed(&www, Family::V4, at(50));
        assert_eq!(pass(&mut store, 50, 600), Vec::<String>::new());
        let changes = store.answered(&www, Family::V4, &[found("192.0.2.2", 60)], at(600));
        assert_eq!(show(&changes, 600), ["600: 192.0.2.1 now for 60", "600: 192.0.2.2 now for 120"]);
        assert_eq!(pass(&mut store, 600, 660), ["660: 192.0.2.1 gone"]);
    }

    #[test]
    fn no_such_name_lets_addresses_run_out_even_if_the_resolver_fails_after() {
        let (mut store, www) = (store(), name("www.example.com"));
        _ = store.answered(&www, Family::V4, &[found("192.0.2.1", 60)], at(0));
        assert!(store.answered(&www, Family::V4, &[], at(30)).is_empty());
        assert!(store.failed(&www, Family::V4, at(40)).is_empty());
        assert_eq!(pass(&mut store, 40, 120), ["120: 192.0.2.1 gone"]);
        assert!(store.answered(&www, Family::V4, &[], at(130)).is_empty());
        assert!(store.names.is_empty());
    }

    #[test]
    fn too_many_addresses_evict_the_soonest_to_end_and_say_so() {
        let options = StoreOptions { per_name: 2, total: 3, ..StoreOptions::default() };
        let mut store = Store::new(options, at(0));
        let changes = store.answered(
            &name("a.example"),
            Family::V4,
            &[found("192.0.2.1", 100), found("192.0.2.2", 300), found("192.0.2.3", 200)],
            at(0),
        );
        let expected =
            ["0: 192.0.2.2 added for 360", "0: 192.0.2.3 added for 260", "0: 192.0.2.1 evicted"].map(str::to_owned);
        assert_eq!(show(&changes, 0), expected);
        let list = [found("192.0.2.8", 400), found("192.0.2.9", 400)];
        let changes = store.answered(&name("b.example"), Family::V4, &list, at(0));
        let expected =
            ["0: 192.0.2.3 gone", "0: 192.0.2.8 added for 460", "0: 192.0.2.9 added for 460", "0: 192.0.2.3 evicted"];
        assert_eq!(show(&changes, 0), expected);
    }

    #[test]
    fn names_are_found_by_pattern_and_forgotten() {
        let mut store = store();
        for (i, text) in ["example.com", "a.example.com", "b.a.example.com", "xexample.com"].iter().enumerate() {
            _ = store.answered(&name(text), Family::V4, &[found(&format!("192.0.2.{i}"), 60)], at(0));
        }
        _ = store.failed(&name("failing.example.com"), Family::V4, at(0));
        let matching = |pattern: &str| -> Vec<String> {
            store.matching(&pattern.parse().unwrap()).map(ToString::to_string).collect()
        };
        assert_eq!(matching("*.example.com"), ["a.example.com", "b.a.example.com"]);
        assert_eq!(matching("example.com"), ["example.com"]);
        assert_eq!(matching("other.example"), Vec::<String>::new());
        let keep: NamePattern = "*.example.com".parse().unwrap();
        let changes = store.retain(|name| keep.matches(name), at(0));
        assert_eq!(show(&changes, 0), ["0: 192.0.2.0 gone", "0: 192.0.2.3 gone"]);
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn what_was_saved_is_read_back_without_what_ended() {
        let (mut before, www) = (store(), name("www.example.com"));
        _ = before.answered(&www, Family::V4, &[found("192.0.2.1", 60), found("192.0.2.2", 3600)], at(0));
        _ = before.answered(&www, Family::V6, &[found("2001:db8::1", 60)], at(0));
        _ = before.failed(&www, Family::V6, at(10));
        let read = |now| Store::from_json(&before.to_json(), StoreOptions::default(), now).unwrap();
        let left = |loaded: &Loaded| -> Vec<(String, u64)> {
            loaded.store.all().map(|(_, held)| (held.address.to_string(), held.left.as_secs())).collect()
        };
        let half_an_hour = read(at(1800));
        assert_eq!(left(&half_an_hour), [("192.0.2.2".to_owned(), 1860), ("2001:db8::1".to_owned(), 1800)]);
        assert_eq!(half_an_hour.ended, 1);
        assert!(half_an_hour.store.all().any(|(_, held)| held.stale), "the resolver failed when it was saved");
        assert_eq!(read(at(86_400)).ended, 3);
        // The clock is behind: how much time passed is not known.
        let behind = Store::from_json(&before.to_json(), StoreOptions::default(), Timestamp(5)).unwrap();
        assert_eq!(left(&behind)[0], ("192.0.2.1".to_owned(), 110));
        let few = StoreOptions { per_name: 1, ..StoreOptions::default() };
        assert_eq!(Store::from_json(&before.to_json(), few, at(10)).unwrap().evicted, 1);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let read = |json: &str| {
            let value = serde_json::from_str(json).unwrap();
            Store::from_json(&value, StoreOptions::default(), at(0)).map(|_| ()).unwrap_err().to_string()
        };
        let ours = |rest: &str| format!(r#"{{"format":"netsim-dns-answers","version":1,"saved":1{rest}}}"#);
        for (json, part) in [
            ("null", "`format` is not"),
            (r#"{"format":"other","version":1}"#, "`format` is not"),
            (r#"{"format":"netsim-dns-answers","version":2,"new":[]}"#, "version 2, and only version 1"),
            (&ours(""), "missing field `names`"),
            (&ours(r#","names":[{"name":"10.0.0.1","family":"IPv4","addresses":{}}]"#), "is an address"),
            (
                &ours(r#","names":[{"name":"a.example","family":"IPv6","addresses":{"192.0.2.1":5}}]"#),
                "`192.0.2.1` among IPv6",
            ),
            (&ours(r#","names":[{"name":"a.example","family":"IPv4","addresses":{"192.0.2.1":-5}}]"#), "invalid value"),
            (
                &ours(
                    r#","names":[{"name":"a.example","family":"IPv4","addresses":{"192.0.2.1":5}},
                    {"name":"A.example.","family":"IPv4","addresses":{"192.0.2.2":5}}]"#,
                ),
                "stands there twice",
            ),
        ] {
            let error = read(json);
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn a_clock_that_jumps_neither_drops_all_nor_keeps_for_ever() {
        let www = name("www.example.com");
        for jump in [0, START / 2, START + 1000 * 86_400 * 400, u64::MAX] {
            let mut store = store();
            _ = store.answered(&www, Family::V4, &[found("192.0.2.1", 600)], at(0));
            assert!(store.advance(Timestamp(jump)).is_empty(), "dropped by a jump to {jump}");
            let left = store.all().next().unwrap().1.left;
            assert!(left >= secs(660) - MAX_STEP && left <= secs(660), "{left:?} left after a jump to {jump}");
            if jump < u64::MAX {
                for minute in 1..=11 {
                    _ = store.advance(Timestamp(jump + minute * 60_000));
                }
                assert!(store.is_empty(), "kept for ever by a jump to {jump}");
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Answered { name: usize, family: Family, found: Vec<(u8, u64)> },
        Failed { name: usize, family: Family },
        Pass,
    }

    const NAMES: [&str; 3] = ["a.example", "b.a.example", "c.example"];

    fn address(family: Family, n: u8) -> IpAddr {
        match family {
            Family::V4 => IpAddr::from([192, 0, 2, n]),
            Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]),
        }
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let family = || prop::sample::select(vec![Family::V4, Family::V6]);
        let ttl = prop::sample::select(vec![0_u64, 1, 30, 45, 60, 300, 3600, 100_000]);
        let step = prop_oneof![
            3 => (0..3_usize, family(), prop::collection::vec((0..5_u8, ttl), 0..4))
                .prop_map(|(name, family, found)| Step::Answered { name, family, found }),
            2 => (0..3_usize, family()).prop_map(|(name, family)| Step::Failed { name, family }),
            3 => Just(Step::Pass),
        ];
        // Steps of up to a heartbeat, as the loop takes them.
        prop::collection::vec((0..60_000_u64, step), 1..120)
    }

    fn act(store: &mut Store, step: &Step, now: Timestamp) -> Changes {
        match step {
            Step::Answered { name: n, family, found } => {
                let list: Vec<Found> =
                    found.iter().map(|(a, ttl)| Found { address: address(*family, *a), ttl: secs(*ttl) }).collect();
                store.answered(&name(NAMES[*n]), *family, &list, now)
            }
            Step::Failed { name: n, family } => store.failed(&name(NAMES[*n]), *family, now),
            Step::Pass => store.advance(now),
        }
    }

    /// The same rules, written down as they are said in the clauses, without queues.
    #[derive(Default)]
    struct Naive {
        ends: BTreeMap<(usize, Family, IpAddr), u64>,
        answered: HashMap<(usize, Family), u64>,
        failing: BTreeSet<(usize, Family)>,
    }

    impl Naive {
        const HOUR: u64 = 3_600_000;

        fn act(&mut self, step: &Step, now: u64) {
            if let Step::Failed { name, family } = step {
                self.failing.insert((*name, *family));
            }
            self.ends.retain(|(name, family, _), end| {
                let key = (*name, *family);
                let kept = self.failing.contains(&key) && self.answered.get(&key).is_some_and(|a| now < a + Self::HOUR);
                now < *end || kept
            });
            let Step::Answered { name, family, found } = step else { return };
            let key = (*name, *family);
            if self.failing.remove(&key)
                && let Some(answered) = self.answered.get(&key)
            {
                let of_name = self.ends.iter_mut().filter(|((n, f, _), _)| (*n, *f) == key);
                of_name.for_each(|(_, end)| *end = (*end).max((now + 60_000).min(answered + Self::HOUR)));
            }
            for (a, ttl) in found {
                let end = now + 1000 * (ttl.clamp(&30, &3600) + 60);
                let known = self.ends.entry((*name, *family, address(*family, *a))).or_insert(end);
                *known = (*known).max(end);
            }
            _ = if found.is_empty() { self.answered.remove(&key) } else { self.answered.insert(key, now) };
        }

        fn all(&self) -> Vec<(String, IpAddr)> {
            let mut all: Vec<_> = self.ends.keys().map(|(n, _, a)| (NAMES[*n].to_owned(), *a)).collect();
            all.sort();
            all
        }
    }

    fn sorted(store: &Store) -> Vec<(String, IpAddr)> {
        let mut all: Vec<_> = store.all().map(|(name, held)| (name.to_string(), held.address)).collect();
        all.sort();
        all
    }

    proptest! {
        #[test]
        fn the_store_agrees_with_a_naive_one(steps in steps()) {
            let (mut store, mut naive, mut now) = (store(), Naive::default(), START);
            for (time, step) in &steps {
                now += time;
                _ = act(&mut store, step, Timestamp(now));
                naive.act(step, now);
                prop_assert_eq!(sorted(&store), naive.all());
                prop_assert_eq!(store.len(), naive.ends.len());
                for (_, held) in store.all() {
                    prop_assert!(held.left > Duration::ZERO && held.left <= store.options().longest());
                }
            }
        }

        /// A set with timeouts that follows the changes holds what the store holds, and no address that the store
        /// keeps drops out of it in between.
        #[test]
        fn a_set_that_follows_the_changes_is_the_store(steps in steps(), per_name in 1..6_usize, total in 1..12_usize) {
            let options = StoreOptions { per_name, total, ..StoreOptions::default() };
            let mut store = Store::new(options, at(0));
            let mut set: BTreeMap<(String, IpAddr), u64> = BTreeMap::new();
            let mut now = START;
            for (time, step) in &steps {
                now += time;
                set.retain(|_, end| now < *end);
                let changes = act(&mut store, step, Timestamp(now));
                for change in &changes.list {
                    let key = (change.name.to_string(), change.address);
                    match change.effect {
                        Effect::Added { left } => {
                            prop_assert!(set.insert(key, now + u64::try_from(left.as_millis()).unwrap()).is_none());
                        }
                        Effect::Retimed { left, .. } => {
                            prop_assert!(set.insert(key, now + u64::try_from(left.as_millis()).unwrap()).is_some());
                        }
                        Effect::Gone => _ = set.remove(&key),
                    }
                }
                prop_assert_eq!(set.keys().cloned().collect::<Vec<_>>(), sorted(&store));
                for (name, held) in store.all() {
                    let end = set[&(name.to_string(), held.address)];
                    prop_assert_eq!(end - now, u64::try_from(held.left.as_millis()).unwrap());
                }
                prop_assert!(store.len() <= total);
                for one in NAMES {
                    prop_assert!(Family::ALL.iter().all(|f| store.of(&name(one), *f).count() <= per_name));
                }
            }
        }

        #[test]
        fn no_clock_keeps_or_drops_more_than_it_may(steps in steps(), jumps in prop::collection::vec(any::<u64>(), 120)) {
            let mut store = store();
            for ((_, step), wall) in steps.iter().zip(jumps) {
                let before: Vec<(DomainName, Held)> = store.all().map(|(name, held)| (name.clone(), held)).collect();
                _ = act(&mut store, step, Timestamp(wall >> 20));
                for (name, held) in before {
                    let still = store.of(&name, Family::of(held.address)).any(|now| now.address == held.address);
                    prop_assert!(still || held.left <= MAX_STEP);
                }
                prop_assert!(store.all().all(|(_, held)| held.left <= store.options().longest()));
            }
        }

        #[test]
        fn saving_and_reading_back_changes_nothing(steps in steps(), away in 0..200_000_u64) {
            let (mut store, mut now) = (store(), START);
            for (time, step) in &steps {
                now += time;
                _ = act(&mut store, step, Timestamp(now));
            }
            let json = store.to_json();
            let text = serde_json::to_string(&json).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            let later = Timestamp(now + away);
            let loaded = Store::from_json(&value, StoreOptions::default(), later).unwrap();
            _ = store.advance(later);
            prop_assert_eq!(sorted(&loaded.store), sorted(&store));
            prop_assert_eq!(loaded.store.to_json(), store.to_json());
        }

        #[test]
        fn damaged_files_never_panic(steps in steps(), at in any::<prop::sample::Index>(), with in "[0-9a-z\"{}:,.-]{0,6}") {
            let (mut store, mut now) = (store(), START);
            for (time, step) in &steps {
                now += time;
                _ = act(&mut store, step, Timestamp(now));
            }
            let mut text = serde_json::to_string(&store.to_json()).unwrap();
            let from = at.index(text.len());
            text.replace_range(from..(from + with.len()).min(text.len()), &with);
            if let Ok(value) = serde_json::from_str::<Value>(&text)
                && let Ok(loaded) = Store::from_json(&value, StoreOptions::default(), Timestamp(now))
            {
                let longest = loaded.store.options().longest();
                prop_assert!(loaded.store.all().all(|(_, held)| held.left <= longest));
            }
        }
    }
}
