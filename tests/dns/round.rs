//! The whole round: schedule, resolver, refusals and store, through hours of a clock that is handed in.

use crate::server::{Server, address, alias, bytes};
use hickory_resolver::proto::op::ResponseCode as Code;
use hickory_resolver::proto::rr::RecordType;
use netsim_shared::dns::answer::{Found, Outcome, Reading};
use netsim_shared::dns::refuse::{Counts, Reason, Refusals, count};
use netsim_shared::dns::resolver::Resolver;
use netsim_shared::dns::schedule::{Ended, Jitter, Schedule, ScheduleOptions};
use netsim_shared::dns::store::{Effect, Store, StoreOptions};
use netsim_shared::dns::{DomainName, Timestamp};
use netsim_shared::net::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MINUTE: u64 = 60_000;

/// The loop as an agent runs it, with a set that stands for the kernel's.
struct Agent {
    resolver: Resolver,
    schedule: Schedule,
    store: Store,
    refusals: Refusals,
    refused: Counts,
    /// What the kernel would hold: each address and when its timeout runs out.
    set: BTreeMap<(DomainName, IpAddr), u64>,
    now: u64,
    questions: usize,
}

impl Agent {
    fn new(server: &Server, names: &[&str]) -> Self {
        let now = 1_700_000_000_000;
        let mut schedule = Schedule::new(ScheduleOptions::default(), Timestamp(now));
        let names: BTreeSet<DomainName> = names.iter().map(|name| name.parse().unwrap()).collect();
        schedule.watch(&names, Timestamp(now));
        Agent {
            resolver: Resolver::new(&[server.address], Duration::from_secs(20)).unwrap(),
            schedule,
            store: Store::new(StoreOptions::default(), Timestamp(now)),
            refusals: Refusals::default(),
            refused: Counts::new(),
            set: BTreeMap::new(),
            now,
            questions: 0,
        }
    }

    fn follow(&mut self, changes: netsim_shared::dns::store::Changes) {
        for change in changes.list {
            let key = (change.name, change.address);
            match change.effect {
                Effect::Added { left } | Effect::Retimed { left, .. } => {
                    _ = self.set.insert(key, self.now + u64::try_from(left.as_millis()).unwrap());
                }
                Effect::Gone => _ = self.set.remove(&key),
            }
        }
    }

    /// Runs for a while; `each` looks at the addresses whenever something happened.
    async fn run(&mut self, minutes: u64, mut each: impl FnMut(u64, &[IpAddr])) {
        let (begun, end) = (self.now, self.now + minutes * MINUTE);
        while self.now < end {
            let sleep = self.schedule.next_due(Timestamp(self.now));
            self.now += u64::try_from(sleep.as_millis()).unwrap();
            let now = Timestamp(self.now);
            self.set.retain(|_, end| self.now < *end);
            let changes = self.store.advance(now);
            self.follow(changes);
            for query in self.schedule.take_due(now) {
                self.questions += 1;
                let answered = self.resolver.ask(&query.name, query.family).await;
                let negative = answered.as_ref().ok().and_then(|answer| answer.negative_ttl);
                let reading = answered.map_or_else(Reading::from, |answer| answer.read());
                let ended = Ended::of(&reading.outcome, negative);
                let changes = match reading.outcome {
                    Outcome::Addresses(found) => {
                        let (kept, refused) = self.refusals.sift(found);
                        count(&mut self.refused, &refused);
                        self.store.answered(&query.name, query.family, &kept, now)
                    }
                    Outcome::NoAddress | Outcome::NoSuchName => {
                        self.store.answered(&query.name, query.family, &[], now)
                    }
                    Outcome::Failed(_) => self.store.failed(&query.name, query.family, now),
                };
                self.follow(changes);
                self.schedule.done(&query, ended, Jitter(0x8000_0000), now);
            }
            let held: BTreeSet<IpAddr> = self.store.all().map(|(_, held)| held.address).collect();
            let addresses: Vec<IpAddr> = self.set.keys().map(|(_, address)| *address).collect();
            assert_eq!(held, addresses.iter().copied().collect(), "the set does not follow the store");
            each((self.now - begun) / MINUTE, &addresses);
        }
    }
}

#[tokio::test]
async fn a_hundred_rotating_addresses_all_come_to_count() {
    let turn = AtomicUsize::new(0);
    let server = Server::start(move |question| {
        if question.asked.kind == RecordType::AAAA {
            return bytes(&[question.answer(vec![])]);
        }
        let first = turn.fetch_add(8, Ordering::Relaxed);
        let list = (first..first + 8).map(|n| address("s3.example.com", 60, &format!("192.0.2.{}", n % 100)));
        bytes(&[question.answer(list.collect())])
    })
    .await;
    let mut agent = Agent::new(&server, &["S3.Example.com."]);
    let mut most = 0;
    agent.run(20, |_, addresses| most = most.max(addresses.len())).await;
    // A time to live of a minute and the grace of one: what was handed out last is there, the rest has ended.
    assert!((16..=32).contains(&most), "{most} addresses at a time");
    let turn = AtomicUsize::new(0);
    let server = Server::start(move |question| {
        let first = turn.fetch_add(8, Ordering::Relaxed);
        let list = (first..first + 8).map(|n| address("s3.example.com", 3600, &format!("192.0.2.{}", n % 100)));
        bytes(&[question.answer(list.collect())])
    })
    .await;
    let mut agent = Agent::new(&server, &["s3.example.com"]);
    // Programs ask far more often than the agent does; each of their answers joins the others.
    for second in 0..30 {
        let name: DomainName = "s3.example.com".parse().unwrap();
        let reading = agent.resolver.ask(&name, Family::V4).await.unwrap().read();
        let Outcome::Addresses(found) = reading.outcome else { panic!("{reading:?}") };
        _ = agent.store.answered(&name, Family::V4, &found, Timestamp(agent.now + second * 1000));
    }
    assert_eq!(agent.store.len(), 100);
}

#[tokio::test]
async fn an_outage_of_the_resolver_is_survived_for_an_hour_and_no_longer() {
    let up = Arc::new(AtomicUsize::new(1));
    let state = Arc::clone(&up);
    let server = Server::start(move |question| {
        bytes(&[match (state.load(Ordering::Relaxed), question.asked.kind) {
            (1, RecordType::A) => question.answer(vec![address("api.example.com", 30, "192.0.2.1")]),
            (2, RecordType::A) => question.answer(vec![address("api.example.com", 30, "192.0.2.2")]),
            (0, _) => question.code(Code::ServFail, vec![]),
            _ => question.answer(vec![]),
        }])
    })
    .await;
    let mut agent = Agent::new(&server, &["api.example.com"]);
    let only = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
    agent.run(10, |_, addresses| assert_eq!(addresses, only(&["192.0.2.1"]))).await;
    let before = agent.questions;
    up.store(0, Ordering::Relaxed);
    agent.run(50, |minute, addresses| assert_eq!(addresses, only(&["192.0.2.1"]), "minute {minute}")).await;
    let name: DomainName = "api.example.com".parse().unwrap();
    assert_eq!(agent.store.standing(&name, Family::V4).stale, 1);
    // Two families, at most every 90 seconds or so after the first minutes.
    assert!(agent.questions - before < 100, "{} questions", agent.questions - before);
    // Back again, elsewhere: the old address leaves after the grace.
    up.store(2, Ordering::Relaxed);
    let mut last = Vec::new();
    agent.run(6, |_, addresses| last = addresses.to_vec()).await;
    assert_eq!(last, only(&["192.0.2.2"]));
    up.store(0, Ordering::Relaxed);
    let mut gone = None;
    agent.run(90, |minute, addresses| gone = gone.or(addresses.is_empty().then_some(minute))).await;
    assert!(matches!(gone, Some(59..=61)), "gone after {gone:?} minutes");
}

#[tokio::test]
async fn a_name_that_is_gone_runs_out() {
    let server = Server::start(|question| {
        bytes(&[match (question.asked.kind, question.number) {
            (RecordType::A, 0..=1) => question.answer(vec![address("api.example.com", 30, "192.0.2.1")]),
            _ => question.code(Code::NXDomain, vec![]),
        }])
    })
    .await;
    let mut agent = Agent::new(&server, &["api.example.com"]);
    let mut sizes = Vec::new();
    agent.run(5, |_, addresses| sizes.push(addresses.len())).await;
    assert_eq!((sizes.first(), sizes.last()), (Some(&1), Some(&0)), "{sizes:?}");
}

#[tokio::test]
async fn answers_that_point_inside_are_refused() {
    let server = Server::start(|question| {
        let list = match question.asked.kind {
            RecordType::A => ["127.0.0.1", "169.254.169.254", "10.0.0.1", "10.244.0.9", "192.0.2.1"],
            _ => ["::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2001:db8::1"],
        };
        let mut records = vec![alias("rebind.example.com", 60, "x.example.net")];
        records.extend(list.map(|a| address("x.example.net", 60, a)));
        bytes(&[question.answer(records)])
    })
    .await;
    let mut agent = Agent::new(&server, &["rebind.example.com"]);
    agent.refusals.pods = vec!["10.244.0.0/16".parse().unwrap()];
    let mut last = Vec::new();
    agent.run(1, |_, addresses| last = addresses.to_vec()).await;
    assert_eq!(last, ["192.0.2.1", "2001:db8::1"].map(|a| a.parse::<IpAddr>().unwrap()));
    let reasons: Vec<Reason> = agent.refused.keys().copied().collect();
    assert_eq!(reasons, [Reason::Loopback, Reason::LinkLocal, Reason::MappedIpv4, Reason::PodRange, Reason::Private]);
}

#[tokio::test]
async fn a_restart_keeps_what_was_known() {
    let server = Server::start(|question| bytes(&[question.code(Code::ServFail, vec![])])).await;
    let mut agent = Agent::new(&server, &["api.example.com"]);
    let name: DomainName = "api.example.com".parse().unwrap();
    let found = [Found { address: "192.0.2.1".parse().unwrap(), ttl: Duration::from_secs(600) }];
    _ = agent.store.answered(&name, Family::V4, &found, Timestamp(agent.now));
    // Written, read back two minutes later, while the resolver is down.
    let saved = serde_json::to_string(&agent.store.to_json()).unwrap();
    agent.now += 2 * MINUTE;
    let value = serde_json::from_str(&saved).unwrap();
    agent.store = Store::from_json(&value, StoreOptions::default(), Timestamp(agent.now)).unwrap().store;
    let held: Vec<_> = agent.store.all().map(|(name, held)| ((name.clone(), held.address), held.left)).collect();
    assert_eq!(held.iter().map(|(_, left)| left.as_secs()).collect::<Vec<_>>(), [540]);
    agent.set = held.into_iter().map(|(key, left)| (key, agent.now + left.as_millis() as u64)).collect();
    agent.run(50, |minute, addresses| assert_eq!(addresses.len(), 1, "minute {minute}")).await;
}
