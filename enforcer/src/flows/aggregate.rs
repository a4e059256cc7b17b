//! Packets put together: a connection is told at its first denied packet, then once in a while with the
//! number of those that came meanwhile, until none comes any more. Pure: time is handed in.

use super::named::{Named, protocol_name};
use super::{End, Flow, Reason, Verdict};
use k8s_openapi::jiff::Timestamp;
use netsim_shared::policy::Direction;
use rustc_hash::FxHashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many connections are put together at once. More are not told.
pub const MOST: usize = 4096;

/// What packets have to have in common to be told together. Source ports are not part of it: a client
/// takes another one for each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    reason: Reason,
    direction: Direction,
    source: EndKey,
    destination: EndKey,
    protocol: u8,
    port: Option<u16>,
}

/// An address may be another pod's by and by.
type EndKey = (IpAddr, Option<(Box<str>, Box<str>, Box<str>)>);

fn end_key(end: &End) -> EndKey {
    (end.ip, end.pod.as_ref().map(|pod| (pod.namespace.clone(), pod.name.clone(), pod.uid.clone())))
}

#[derive(Debug)]
struct Window {
    /// When what came meanwhile is told.
    ends: Instant,
    /// What came since it was told last.
    pending: Option<Flow>,
}

/// A moment, for measuring and for telling: the clock of the day may jump.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For measuring.
    pub instant: Instant,
    /// For telling.
    pub time: Timestamp,
}

impl Moment {
    /// This moment.
    pub fn now() -> Moment {
        Moment { instant: Instant::now(), time: Timestamp::now() }
    }
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the first of its kind, to be told at once.
    First(Box<Flow>),
    /// It will be told with others.
    Pending,
    /// There are too many connections at once.
    Lost,
}

/// Puts packets together.
#[derive(Debug)]
pub struct Aggregator {
    node: Box<str>,
    verdict: Verdict,
    window: Duration,
    most: usize,
    open: FxHashMap<Key, Window>,
}

impl Aggregator {
    /// One that tells what goes on once in a `window`, of at most [`MOST`] connections.
    pub fn new(node: Box<str>, verdict: Verdict, window: Duration) -> Self {
        Aggregator { node, verdict, window, most: MOST, open: FxHashMap::default() }
    }

    /// Takes a packet in.
    pub fn take(&mut self, named: Named, at: Moment) -> Taken {
        let key = Key {
            reason: named.reason,
            direction: named.direction,
            source: end_key(&named.source),
            destination: end_key(&named.destination),
            protocol: named.protocol,
            port: named.port,
        };
        if let Some(window) = self.open.get_mut(&key) {
            match &mut window.pending {
                Some(flow) => {
                    (flow.last, flow.packets) = (at.time, flow.packets + 1);
                    // As it is now: labels and policies may have changed.
                    (flow.source, flow.destination) = (named.source, named.destination);
                    flow.isolated_by = named.isolated_by;
                }
                None => window.pending = Some(flow(named, &self.node, self.verdict, at.time)),
            }
            return Taken::Pending;
        }
        if self.open.len() >= self.most {
            return Taken::Lost;
        }
        self.open.insert(key, Window { ends: at.instant + self.window, pending: None });
        Taken::First(Box::new(flow(named, &self.node, self.verdict, at.time)))
    }

    /// What has to be told now, the oldest first. What has gone quiet is forgotten.
    pub fn due(&mut self, now: Instant) -> Vec<Flow> {
        let mut due = Vec::new();
        let again = now + self.window;
        self.open.retain(|_, window| {
            if now < window.ends {
                return true;
            }
            window.ends = again;
            let pending = window.pending.take();
            let goes_on = pending.is_some();
            due.extend(pending);
            goes_on
        });
        due.sort_by_key(|flow| flow.first);
        due
    }

    /// What was not told yet, at the end.
    pub fn rest(&mut self) -> Vec<Flow> {
        let mut rest: Vec<Flow> = self.open.drain().filter_map(|(_, window)| window.pending).collect();
        rest.sort_by_key(|flow| flow.first);
        rest
    }
}

fn flow(named: Named, node: &str, verdict: Verdict, time: Timestamp) -> Flow {
    Flow {
        first: time,
        last: time,
        node: node.into(),
        verdict,
        reason: named.reason,
        direction: named.direction,
        source: named.source,
        destination: named.destination,
        protocol: protocol_name(named.protocol),
        port: named.port,
        packets: 1,
        isolated_by: named.isolated_by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(port: u16) -> Named {
        let flow = crate::flows::tests::flow();
        Named {
            reason: flow.reason,
            direction: flow.direction,
            source: flow.source,
            destination: flow.destination,
            protocol: 6,
            port: Some(port),
            isolated_by: flow.isolated_by,
        }
    }

    fn aggregator(most: usize) -> Aggregator {
        let new = Aggregator::new("n".into(), Verdict::Denied, Duration::from_secs(10));
        Aggregator { most, ..new }
    }

    fn at(start: Instant, seconds: u64) -> Moment {
        let time = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
        Moment { instant: start + Duration::from_secs(seconds), time }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let (start, mut all) = (Instant::now(), aggregator(10));
        let Taken::First(first) = all.take(named(80), at(start, 0)) else { panic!("not told") };
        assert_eq!((first.packets, first.port, &*first.protocol), (1, Some(80), "TCP"));
        for second in [1, 2, 9] {
            assert_eq!(all.take(named(80), at(start, second)), Taken::Pending);
        }
        assert_eq!(all.due(at(start, 9).instant), []);
        let due = all.due(at(start, 10).instant);
        let told = |flow: &Flow| (flow.packets, flow.first.as_second(), flow.last.as_second());
        assert_eq!(due.iter().map(told).collect::<Vec<_>>(), [(3, 1, 9)]);
        // It has gone quiet: what comes later is a first one again.
        assert_eq!(all.due(at(start, 20).instant), []);
        assert!(matches!(all.take(named(80), at(start, 21)), Taken::First(_)));
    }

    #[test]
    fn other_pods_and_ports_are_others() {
        let (start, mut all) = (Instant::now(), aggregator(10));
        let mut other = named(80);
        other.source.pod.as_mut().unwrap().uid = "another of this name".into();
        for named in [named(80), named(81), other] {
            assert!(matches!(all.take(named, at(start, 0)), Taken::First(_)));
        }
    }

    proptest! {
        /// Nothing is told twice, and nothing is forgotten.
        #[test]
        fn every_packet_is_told_pending_or_lost(
            steps in proptest::collection::vec((0u16..8, 0u64..6, any::<bool>()), 0..200),
            most in 1usize..6,
        ) {
            let (start, mut all) = (Instant::now(), aggregator(most));
            let (mut taken, mut told, mut lost, mut now) = (0u64, 0u64, 0u64, 0);
            for (port, later, look) in steps {
                now += later;
                taken += 1;
                match all.take(named(port), at(start, now)) {
                    Taken::First(flow) => told += flow.packets,
                    Taken::Pending => {}
                    Taken::Lost => lost += 1,
                }
                if look {
                    told += all.due(at(start, now).instant).iter().map(|flow| flow.packets).sum::<u64>();
                }
                prop_assert!(all.open.len() <= most);
                let pending: u64 = all.open.values().flat_map(|w| &w.pending).map(|flow| flow.packets).sum();
                prop_assert_eq!(told + pending + lost, taken);
            }
            told += all.rest().iter().map(|flow| flow.packets).sum::<u64>();
            prop_assert_eq!(told + lost, taken);
        }
    }
}
