//! Elements that end by themselves: the addresses that names stand for (G3).
//!
//! The kernel counts their time down and takes them out, be the agent alive or not. They come and go without a new
//! ruleset, so they are kept beside it: two rulesets are compared without a clock. What is noted here is when an element
//! will end in the kernel, as far as that is known: an element that ended is no drift, one that nobody put there is, and
//! so is one that is missing before its time.
//!
//! Pure: the time is handed in, as the kernel counts it, without the time that a machine sleeps.

use super::{Name, Ruleset};
use crate::transaction::Op;
use netsim_shared::net::Family;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How far apart the end of an element in the kernel and the one noted here may be: the time between the note and the
/// commit, and between the kernel's answer and the comparison.
pub const TOLERANCE: Duration = Duration::from_secs(10);

/// An end that is moved by less than this stays where it is.
const WORTH: Duration = Duration::from_secs(1);

/// Addresses, and how long each is to stay.
pub type Left = BTreeMap<IpAddr, Duration>;

/// The elements of timed sets, by the names of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TimedElements {
    sets: BTreeMap<Name, BTreeMap<IpAddr, Instant>>,
}

impl TimedElements {
    /// How many have not ended.
    pub fn len(&self, now: Instant) -> usize {
        self.sets.values().flat_map(BTreeMap::values).filter(|end| **end > now).count()
    }

    /// The elements of a set that have not ended.
    pub fn of(&self, set: &str, now: Instant) -> impl Iterator<Item = (IpAddr, Duration)> {
        let all = self.sets.get(set).into_iter().flatten();
        all.map(move |(address, end)| (*address, end.saturating_duration_since(now)))
            .filter(|(_, left)| !left.is_zero())
    }

    /// Whether an address is in a set.
    pub fn holds(&self, set: &str, address: IpAddr, now: Instant) -> bool {
        self.sets.get(set).and_then(|set| set.get(&address)).is_some_and(|end| *end > now)
    }

    /// Whether an address is in any set.
    pub fn holds_any(&self, address: IpAddr, now: Instant) -> bool {
        self.sets.values().filter_map(|set| set.get(&address)).any(|end| *end > now)
    }

    /// Follows a ruleset: sets that it does not have are forgotten, and those that it has and that are not known yet get
    /// what `wanted` says. Gives what belongs into the transaction that creates them.
    pub fn follow(&mut self, ruleset: &Ruleset, mut wanted: impl FnMut(&Name) -> Left, now: Instant) -> Vec<Op> {
        self.sets.retain(|name, _| ruleset.sets.contains_key(name));
        let mut ops = Vec::new();
        for (name, set) in ruleset.sets.iter().filter(|(_, set)| set.kind.is_timed()) {
            let Some(family) = set.kind.family().filter(|_| !self.sets.contains_key(name)) else { continue };
            let mut new = wanted(name);
            new.retain(|address, left| Family::of(*address) == family && !left.is_zero());
            self.sets.insert(name.clone(), new.iter().map(|(address, left)| (*address, end(now, *left))).collect());
            if !new.is_empty() {
                ops.push(Op::AddTimed(name.clone(), family, new.into_iter().collect()));
            }
        }
        ops
    }

    /// Adds elements, or lets them stay longer; what is not named stays as it is. Gives what that takes in the kernel.
    pub fn join(&mut self, set: &Name, family: Family, more: &Left, now: Instant) -> Vec<Op> {
        let Some(held) = self.sets.get_mut(set) else { return Vec::new() };
        let longer = |address: &IpAddr, left: Duration| match held.get(address) {
            Some(old) => end(now, left) > *old + WORTH,
            None => true,
        };
        let come: Vec<(IpAddr, Duration)> =
            more.iter().filter(|(address, left)| longer(address, **left)).map(|(a, left)| (*a, *left)).collect();
        if come.is_empty() {
            return Vec::new();
        }
        held.extend(come.iter().map(|(address, left)| (*address, end(now, *left))));
        vec![Op::Retime(set.clone(), family, come)]
    }

    /// What makes the elements of a set those that are wanted. Nothing for a set that is not known.
    pub fn become_these(&mut self, set: &Name, family: Family, wanted: &Left, now: Instant) -> Vec<Op> {
        let Some(held) = self.sets.get_mut(set) else { return Vec::new() };
        // What ended a while ago is in no dump of the kernel any more.
        held.retain(|_, end| *end + TOLERANCE > now);
        let wanted: BTreeMap<IpAddr, Duration> = wanted
            .iter()
            .filter(|(address, left)| Family::of(**address) == family && !left.is_zero())
            .map(|(address, left)| (*address, *left))
            .collect();
        let gone: Vec<IpAddr> =
            held.iter().filter(|(a, end)| **end > now && !wanted.contains_key(a)).map(|(a, _)| *a).collect();
        let differs = |address: &IpAddr, left: Duration| match held.get(address) {
            Some(old) => distance(*old, end(now, left)) > WORTH,
            None => true,
        };
        let come: Vec<(IpAddr, Duration)> =
            wanted.iter().filter(|(address, left)| differs(address, **left)).map(|(a, left)| (*a, *left)).collect();
        for address in &gone {
            held.remove(address);
        }
        held.extend(come.iter().map(|(address, left)| (*address, end(now, *left))));
        let mut ops = Vec::new();
        if !gone.is_empty() {
            ops.push(Op::EndTimed(set.clone(), family, gone));
        }
        if !come.is_empty() {
            ops.push(Op::Retime(set.clone(), family, come));
        }
        ops
    }

    /// What is otherwise in the kernel, one line each: `found` are the elements of its timed sets, and how long each has
    /// left, if it ends at all.
    pub fn differences<'f>(
        &self,
        found: impl Fn(&str) -> Option<&'f BTreeMap<IpAddr, Option<Duration>>>,
        now: Instant,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, held) in &self.sets {
            // A set that is missing is a difference of the ruleset.
            let Some(found) = found(name) else { continue };
            for (address, end) in held.iter().filter(|(address, _)| !found.contains_key(address)) {
                let left = end.saturating_duration_since(now);
                if left > TOLERANCE {
                    lines.push(format!("set `{name}` - {address} timeout {}", Time(left)));
                }
            }
            for (address, left) in found {
                match (held.get(address), left) {
                    (None, _) => lines.push(format!("set `{name}` + {address}")),
                    (Some(_), None) => lines.push(format!("set `{name}`: {address} never ends")),
                    (Some(wanted), Some(left)) if distance(*wanted, end(now, *left)) > TOLERANCE => {
                        let wanted = Time(wanted.saturating_duration_since(now));
                        lines.push(format!("set `{name}`: {address} ends in {}, should in {wanted}", Time(*left)));
                    }
                    (Some(_), Some(_)) => {}
                }
            }
        }
        lines
    }
}

fn end(now: Instant, left: Duration) -> Instant {
    // Nothing stays for longer than days.
    now.checked_add(left).unwrap_or(now)
}

fn distance(one: Instant, other: Instant) -> Duration {
    one.saturating_duration_since(other).max(other.saturating_duration_since(one))
}

/// A time as nft writes it.
pub struct Time(pub Duration);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        let parts =
            [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
        for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{count}{unit}")?;
        }
        if millis > 0 || seconds == 0 { write!(f, "{millis}ms") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{Elements, Set, SetKind};
    use std::sync::Arc;

    const SET: &str = "egress4_names1";

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn left(elements: &[(&str, u64)]) -> Left {
        elements.iter().map(|(address, seconds)| (ip(address), secs(*seconds))).collect()
    }

    fn ruleset(sets: &[&str]) -> Ruleset {
        let set = || Arc::new(Set::new(SetKind::Timed(Family::V4), Elements::default()));
        Ruleset { sets: sets.iter().map(|name| (Name::from(*name), set())).collect(), ..Ruleset::default() }
    }

    fn filled(elements: &[(&str, u64)], now: Instant) -> TimedElements {
        let mut timed = TimedElements::default();
        timed.follow(&ruleset(&[SET]), |_| left(elements), now);
        timed
    }

    #[test]
    fn a_new_set_is_filled_in_the_transaction_that_creates_it() {
        let (mut timed, now) = (TimedElements::default(), Instant::now());
        // What has no time left, or is of the other family, does not get in.
        let wanted = left(&[("10.0.0.1", 35), ("10.0.0.2", 0), ("fd00::1", 35)]);
        let ops = timed.follow(
            &ruleset(&[SET, "other"]),
            |name| if &**name == SET { wanted.clone() } else { Left::new() },
            now,
        );
        assert_eq!(ops, [Op::AddTimed(SET.into(), Family::V4, vec![(ip("10.0.0.1"), secs(35))])]);
        assert!(timed.follow(&ruleset(&[SET]), |_| panic!("it is known"), now).is_empty());
        assert!(timed.holds(SET, ip("10.0.0.1"), now + secs(34)) && !timed.holds(SET, ip("10.0.0.1"), now + secs(35)));
        assert!(timed.follow(&ruleset(&[]), |_| panic!("there is none"), now).is_empty());
        assert_eq!(timed, TimedElements::default());
    }

    #[test]
    fn elements_come_stay_are_moved_and_go() {
        let now = Instant::now();
        let mut timed = filled(&[("10.0.0.1", 100), ("10.0.0.2", 100), ("10.0.0.3", 100), ("10.0.0.4", 10)], now);
        let later = now + secs(20);
        let wanted = left(&[("10.0.0.1", 80), ("10.0.0.2", 200), ("10.0.0.5", 30)]);
        // The fourth has ended by itself, and nobody misses it.
        assert_eq!(
            timed.become_these(&SET.into(), Family::V4, &wanted, later),
            [
                Op::EndTimed(SET.into(), Family::V4, vec![ip("10.0.0.3")]),
                Op::Retime(SET.into(), Family::V4, vec![(ip("10.0.0.2"), secs(200)), (ip("10.0.0.5"), secs(30))]),
            ]
        );
        assert_eq!(timed.of(SET, later).collect::<Left>(), wanted);
        assert!(timed.become_these(&SET.into(), Family::V4, &wanted, later).is_empty());
        // What joins takes nothing away, neither elements nor time.
        let mut joined = timed.clone();
        let more = left(&[("10.0.0.1", 90), ("10.0.0.2", 100), ("10.0.0.6", 10)]);
        assert_eq!(
            joined.join(&SET.into(), Family::V4, &more, later),
            [Op::Retime(SET.into(), Family::V4, vec![(ip("10.0.0.1"), secs(90)), (ip("10.0.0.6"), secs(10))])]
        );
        let all = left(&[("10.0.0.1", 90), ("10.0.0.2", 200), ("10.0.0.5", 30), ("10.0.0.6", 10)]);
        assert_eq!(joined.of(SET, later).collect::<Left>(), all);
        assert!(joined.join(&"unknown".into(), Family::V4, &more, later).is_empty());
        // It ended here, but the store keeps it: it is put in again.
        let ended = now + secs(51);
        let wanted = left(&[("10.0.0.1", 49), ("10.0.0.2", 169), ("10.0.0.5", 60)]);
        assert_eq!(
            timed.become_these(&SET.into(), Family::V4, &wanted, ended),
            [Op::Retime(SET.into(), Family::V4, vec![(ip("10.0.0.5"), secs(60))])]
        );
        assert!(timed.become_these(&"unknown".into(), Family::V4, &wanted, ended).is_empty());
    }

    #[test]
    fn what_ended_by_itself_is_no_drift_and_what_somebody_did_is() {
        let now = Instant::now();
        let timed = filled(&[("10.0.0.1", 5), ("10.0.0.2", 100)], now);
        let differences = |found: &[(&str, Option<u64>)], at: u64| {
            let found: BTreeMap<IpAddr, Option<Duration>> =
                found.iter().map(|(address, left)| (ip(address), left.map(secs))).collect();
            timed.differences(|name| (name == SET).then_some(&found), now + secs(at))
        };
        for (found, at) in [
            (&[("10.0.0.1", Some(5)), ("10.0.0.2", Some(100))][..], 0),
            // A commit that took its time; an element that has just ended, and one that is about to.
            (&[("10.0.0.1", Some(8)), ("10.0.0.2", Some(103))], 0),
            (&[("10.0.0.2", Some(97))], 0),
            (&[("10.0.0.1", Some(1)), ("10.0.0.2", Some(94))], 6),
            (&[("10.0.0.2", Some(1))], 99),
            (&[], 91),
            (&[], 200),
        ] {
            assert!(differences(found, at).is_empty(), "{found:?} after {at} s");
        }
        let ours = ("10.0.0.2", Some(100));
        assert_eq!(differences(&[], 0), [format!("set `{SET}` - 10.0.0.2 timeout 1m40s")]);
        assert_eq!(differences(&[ours, ("10.0.0.3", Some(9))], 0), [format!("set `{SET}` + 10.0.0.3")]);
        assert_eq!(differences(&[("10.0.0.2", None)], 0), [format!("set `{SET}`: 10.0.0.2 never ends")]);
        assert_eq!(
            differences(&[("10.0.0.2", Some(3600))], 0),
            [format!("set `{SET}`: 10.0.0.2 ends in 1h, should in 1m40s")]
        );
        assert_eq!(
            differences(&[("10.0.0.1", Some(60)), ("10.0.0.2", Some(100))], 0),
            [format!("set `{SET}`: 10.0.0.1 ends in 1m, should in 5s")]
        );
    }

    #[test]
    fn times_are_written_as_nft_reads_them() {
        for (millis, text) in [(35_000, "35s"), (1, "1ms"), (0, "0ms"), (93_784_005, "1d2h3m4s5ms"), (3_600_000, "1h")]
        {
            assert_eq!(Time(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
