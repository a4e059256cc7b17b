//! The store by examples, against a naive one, and followed by a set with timeouts.

use super::*;
use crate::dns::clock::MAX_STEP;
use proptest::prelude::*;
use serde_json::Value;
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
fn an_address_that_comes_back_as_it_ends_is_new() {
    let (mut store, www) = (store(), name("www.example.com"));
    _ = store.answered(&www, Family::V4, &[found("192.0.2.1", 30)], at(0));
    let changes = store.answered(&www, Family::V4, &[found("192.0.2.1", 30)], at(90));
    assert_eq!(show(&changes, 90), ["90: 192.0.2.1 added for 90"]);
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
    let matching =
        |pattern: &str| -> Vec<String> { store.matching(&pattern.parse().unwrap()).map(ToString::to_string).collect() };
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
                        // Time alone brings nothing back: whatever is kept was never gone.
                        prop_assert!(!matches!(step, Step::Pass), "{key:?} was gone for a while");
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
