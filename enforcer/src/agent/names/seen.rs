//! The addresses that names stood for not long ago. New connections to them are denied; those that were established
//! while they counted go on, also when they are judged again by a later generation (G3).

use super::Now;
use netsim_shared::dns::{DomainName, NamePattern, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::time::{Duration, Instant};

/// How long after the end of an address connections to it go on: as long as the kernel remembers one that is silent
/// (`nf_conntrack_tcp_timeout_established`).
pub const SEEN_FOR: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// The most addresses that are remembered.
const MOST: usize = 131_072;

/// The names and addresses that were seen, each with the moment at which it is forgotten.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    names: BTreeMap<DomainName, BTreeMap<IpAddr, Instant>>,
}

/// The same as it is saved: times of day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Saved(BTreeMap<DomainName, BTreeMap<IpAddr, Timestamp>>);

impl Seen {
    /// A name stands for an address for so long.
    pub fn put(&mut self, name: &DomainName, address: IpAddr, left: Duration, now: Instant) {
        let until = now.checked_add(left + SEEN_FOR).unwrap_or(now);
        let end = self.names.entry(name.clone()).or_default().entry(address).or_insert(until);
        *end = until.max(*end);
    }

    /// Whether a name stood for any address.
    pub fn knows(&self, name: &DomainName) -> bool {
        self.names.contains_key(name)
    }

    /// Forgets what is long ago, and the oldest if it is too much.
    pub fn prune(&mut self, now: Instant) {
        let mut least = now;
        let mut ends: Vec<Instant> = self.names.values().flat_map(BTreeMap::values).copied().collect();
        if ends.len() > MOST {
            let too_many = ends.len() - MOST;
            let (_, last, _) = ends.select_nth_unstable(too_many - 1);
            least = now.max(*last);
        }
        self.names.retain(|_, addresses| {
            addresses.retain(|_, end| *end > least);
            !addresses.is_empty()
        });
    }

    /// The addresses of the names that a pattern matches, and how long each is remembered.
    pub fn matching<'s>(
        &'s self,
        pattern: &'s NamePattern,
        now: Instant,
    ) -> impl Iterator<Item = (IpAddr, Duration)> + 's {
        // Names below one stand together, behind it.
        let first = match pattern {
            NamePattern::Exact(name) => Bound::Included(name),
            NamePattern::Below(parent) => Bound::Excluded(parent),
        };
        let names = self.names.range::<DomainName, _>((first, Bound::Unbounded));
        let addresses = names.take_while(|(name, _)| pattern.matches(name)).flat_map(|(_, addresses)| addresses);
        addresses.map(move |(address, end)| (*address, end.saturating_duration_since(now)))
    }

    /// To be written.
    pub fn to_saved(&self, now: Now) -> Saved {
        let at = |end: &Instant| now.wall.after(end.saturating_duration_since(now.steady));
        let of = |addresses: &BTreeMap<IpAddr, Instant>| addresses.iter().map(|(a, end)| (*a, at(end))).collect();
        Saved(self.names.iter().map(|(name, addresses)| (name.clone(), of(addresses))).collect())
    }

    /// What was written. A clock that is behind makes nothing last for longer than it could have been meant to.
    pub fn from_saved(saved: Saved, now: Now) -> Seen {
        let most = SEEN_FOR + Duration::from_secs(2 * 60 * 60);
        let end = |at: Timestamp| now.steady.checked_add(at.since(now.wall).min(most)).unwrap_or(now.steady);
        let of = |addresses: BTreeMap<IpAddr, Timestamp>| addresses.into_iter().map(|(a, at)| (a, end(at))).collect();
        let mut seen = Seen { names: saved.0.into_iter().map(|(name, addresses)| (name, of(addresses))).collect() };
        seen.prune(now.steady);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now { wall: Timestamp(1_700_000_000_000), steady: Instant::now() }
    }

    fn later(now: Now, time: Duration) -> Now {
        Now { wall: now.wall.after(time), steady: now.steady + time }
    }

    fn addresses(seen: &Seen, pattern: &str, now: Now) -> Vec<String> {
        seen.matching(&pattern.parse().unwrap(), now.steady).map(|(address, _)| address.to_string()).collect()
    }

    #[test]
    fn addresses_are_remembered_for_days_after_their_end() {
        let (mut seen, begun) = (Seen::default(), now());
        let put = |seen: &mut Seen, name: &str, address: &str, now: Now| {
            seen.put(&name.parse().unwrap(), address.parse().unwrap(), Duration::from_secs(90), now.steady);
        };
        put(&mut seen, "a.example.com", "192.0.2.1", begun);
        put(&mut seen, "b.a.example.com", "192.0.2.2", begun);
        put(&mut seen, "example.com", "192.0.2.3", begun);
        put(&mut seen, "example.org", "192.0.2.4", begun);
        assert_eq!(addresses(&seen, "*.example.com", begun), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(addresses(&seen, "example.com", begun), ["192.0.2.3"]);
        let last = later(begun, SEEN_FOR + Duration::from_secs(89));
        put(&mut seen, "example.org", "192.0.2.4", last);
        seen.prune(last.steady);
        assert_eq!(addresses(&seen, "*.example.com", last).len(), 2);
        seen.prune(later(last, Duration::from_secs(1)).steady);
        assert_eq!(addresses(&seen, "*.example.com", last).len(), 0);
        assert_eq!(addresses(&seen, "example.org", last), ["192.0.2.4"]);
    }

    #[test]
    fn what_was_saved_is_read_with_what_it_had_left() {
        let (mut seen, begun) = (Seen::default(), now());
        seen.put(&"a.example.com".parse().unwrap(), "192.0.2.1".parse().unwrap(), Duration::ZERO, begun.steady);
        let text = serde_json::to_string(&seen.to_saved(begun)).unwrap();
        let read = |at: Now| Seen::from_saved(serde_json::from_str(&text).unwrap(), at);
        let hour = Duration::from_secs(3600);
        let left =
            |seen: &Seen, at: Now| seen.matching(&"a.example.com".parse().unwrap(), at.steady).next().map(|l| l.1);
        let at = later(begun, hour);
        assert_eq!(left(&read(at), at), Some(SEEN_FOR - hour));
        // A clock a year behind.
        let at = Now { wall: begun.wall.before(hour * 24 * 365), steady: begun.steady };
        assert_eq!(left(&read(at), at), Some(SEEN_FOR + hour * 2));
        let at = later(begun, SEEN_FOR);
        assert_eq!(left(&read(at), at), None);
    }

    #[test]
    fn the_oldest_are_forgotten_when_it_is_too_much() {
        let (mut seen, begun) = (Seen::default(), now());
        let name: DomainName = "a.example.com".parse().unwrap();
        for n in 0..u32::try_from(MOST).unwrap() + 10 {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + n).into();
            seen.put(&name, address, Duration::from_secs(n.into()), begun.steady);
        }
        seen.prune(begun.steady);
        let first = seen.matching(&"a.example.com".parse().unwrap(), begun.steady).map(|(address, _)| address).next();
        assert_eq!(first, Some("10.0.0.10".parse().unwrap()));
    }
}
