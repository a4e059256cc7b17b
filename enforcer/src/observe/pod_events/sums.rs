//! What is told of denied flows, when, and how they are summed up until then. Pure: the time is handed in.

use crate::flows::{Flow, PodRef, Reason, Verdict};
use netsim_shared::policy::Direction;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;
use tokio::time::Instant;

/// The most pods that are remembered, each direction for itself: more than a node has.
const MAX_PODS: usize = 1000;
/// The most connections that are told apart for a pod, and the most policies.
const MAX_KINDS: usize = 32;
/// The most of them that a note lists.
const LISTED: usize = 5;
/// What at most so many Events are made in.
const MINUTE: Duration = Duration::from_secs(60);

/// How often is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At least so long is between two Events of a pod in one direction.
    pub interval: Duration,
    /// How long is waited for more before the first.
    pub collect: Duration,
    /// The most Events in a minute.
    pub per_minute: usize,
}

/// What there is one Event about at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The namespace of the pod.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its UID; empty where it is not known.
    pub uid: Box<str>,
    ingress: bool,
    denied: bool,
}

impl Subject {
    fn of(flow: &Flow, pod: &PodRef) -> Self {
        Subject {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            ingress: flow.direction == Direction::Ingress,
            denied: flow.verdict == Verdict::Denied,
        }
    }

    /// The reason of the Event.
    pub fn reason(&self) -> &'static str {
        if self.denied { "ConnectionDenied" } else { "ConnectionWouldBeDenied" }
    }

    /// Which end of the connection the pod is.
    pub fn direction(&self) -> Direction {
        if self.ingress { Direction::Ingress } else { Direction::Egress }
    }
}

/// A kind of connection: the other end, the protocol, the port of the destination.
type Connection = (String, Box<str>, Option<u16>);

/// What came to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    flows: u64,
    packets: BTreeMap<Connection, u64>,
    /// Packets of connections that were too many to be told apart.
    others: u64,
    policies: BTreeSet<Box<str>>,
    by_address: bool,
}

impl Sum {
    fn add(&mut self, flow: &Flow) {
        let peer = flow.peer();
        let name = peer.pod.as_ref().map(|pod| format!("{}/{}", pod.namespace, pod.name));
        let connection = (name.unwrap_or_else(|| peer.ip.to_string()), flow.protocol.clone(), flow.port);
        self.flows += 1;
        self.count(connection, flow.packets);
        self.isolated_by(flow.isolated_by.iter().cloned());
        self.by_address |= flow.reason == Reason::NamelessAddress;
    }

    fn merge(&mut self, other: Sum) {
        self.flows += other.flows;
        self.others += other.others;
        other.packets.into_iter().for_each(|(connection, packets)| self.count(connection, packets));
        self.isolated_by(other.policies);
        self.by_address |= other.by_address;
    }

    fn count(&mut self, connection: Connection, packets: u64) {
        if self.packets.len() < MAX_KINDS || self.packets.contains_key(&connection) {
            *self.packets.entry(connection).or_default() += packets;
        } else {
            self.others += packets;
        }
    }

    fn isolated_by(&mut self, policies: impl IntoIterator<Item = Box<str>>) {
        for policy in policies {
            if self.policies.len() < MAX_KINDS {
                self.policies.insert(policy);
            }
        }
    }

    /// How many flows are in it.
    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// In words: `3 packets from x/web to TCP 5432 were denied by ingress policy x/db`. The most frequent ones first.
    pub fn note(&self, subject: &Subject) -> String {
        let mut connections: Vec<(&Connection, u64)> = self.packets.iter().map(|(c, packets)| (c, *packets)).collect();
        connections.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
        let others = self.others + connections.iter().skip(LISTED).map(|(_, packets)| packets).sum::<u64>();
        let mut parts = Vec::new();
        for ((peer, protocol, port), packets) in connections.into_iter().take(LISTED) {
            let mut part = counted(packets, parts.is_empty());
            _ = write!(part, " {} {peer}", if subject.ingress { "from" } else { "to" });
            match port {
                Some(port) if subject.ingress => _ = write!(part, " to {protocol} {port}"),
                Some(port) => _ = write!(part, " at {protocol} {port}"),
                None => _ = write!(part, " over {protocol}"),
            }
            parts.push(part);
        }
        if others > 0 {
            parts.push(format!("{others} others"));
        }
        let mut note = match parts.as_slice() {
            [front @ .., last] if !front.is_empty() => format!("{} and {last}", front.join(", ")),
            parts => parts.concat(),
        };
        note.push_str(if subject.denied { " denied" } else { " would be denied" });
        let policies: Vec<&str> = self.policies.iter().map(|policy| &**policy).collect();
        if let Some((first, more)) = policies.split_first() {
            let word = if more.is_empty() { "policy" } else { "policies" };
            _ = write!(note, " by {} {word} {first}", subject.direction().field());
            more.iter().take(LISTED - 1).for_each(|policy| _ = write!(note, ", {policy}"));
            if more.len() >= LISTED {
                _ = write!(note, " and {} more", more.len() + 1 - LISTED);
            }
        } else if self.by_address {
            note.push_str(": link-local, multicast and broadcast addresses are no pod's");
        }
        note
    }
}

fn counted(packets: u64, with_noun: bool) -> String {
    match (packets, with_noun) {
        (1, true) => "1 packet".to_owned(),
        (_, true) => format!("{packets} packets"),
        (_, false) => packets.to_string(),
    }
}

#[derive(Debug)]
struct Entry {
    /// Before this, nothing is told.
    not_before: Instant,
    sum: Sum,
}

/// What is to be told.
#[derive(Debug)]
pub struct Sums {
    limits: Limits,
    entries: BTreeMap<Subject, Entry>,
    /// When Events were made within the last minute, or so many of them.
    made: VecDeque<Instant>,
    /// Before this, nobody takes anything.
    paused: Option<Instant>,
}

impl Sums {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Self {
        Sums { limits, entries: BTreeMap::new(), made: VecDeque::new(), paused: None }
    }

    /// Takes a flow in. Gives whether it will be told: flows whose bound end is no known pod, and those of too many pods,
    /// are not.
    pub fn take(&mut self, flow: &Flow, now: Instant) -> Taken {
        let Some(pod) = &flow.subject().pod else { return Taken::OfNoPod };
        let subject = Subject::of(flow, pod);
        if !self.entries.contains_key(&subject) && self.entries.len() >= MAX_PODS {
            self.forget(now);
            if self.entries.len() >= MAX_PODS {
                return Taken::TooMany;
            }
        }
        let first = || Entry { not_before: now + self.limits.collect, sum: Sum::default() };
        let entry = self.entries.entry(subject).or_insert_with(first);
        if entry.sum.flows == 0 {
            entry.not_before = entry.not_before.max(now + self.limits.collect);
        }
        entry.sum.add(flow);
        Taken::Yes
    }

    /// When there is something to tell.
    pub fn next(&self) -> Option<Instant> {
        let first = self.waiting().map(|(_, entry)| entry.not_before).min()?;
        let limit = match self.made.front() {
            Some(oldest) if self.made.len() >= self.limits.per_minute => Some(*oldest + MINUTE),
            _ => None,
        };
        Some([limit, self.paused].into_iter().flatten().fold(first, Instant::max))
    }

    /// What is to be told now: that which has waited longest.
    pub fn due(&mut self, now: Instant) -> Option<(Subject, Sum)> {
        if self.next()? > now {
            return None;
        }
        let (subject, _) = self.waiting().min_by_key(|(subject, entry)| (entry.not_before, *subject))?;
        let subject = subject.clone();
        self.paused = None;
        while self.made.len() >= self.limits.per_minute {
            self.made.pop_front();
        }
        self.made.push_back(now);
        let entry = self.entries.get_mut(&subject)?;
        entry.not_before = now + self.limits.interval;
        let sum = std::mem::take(&mut entry.sum);
        self.forget(now);
        Some((subject, sum))
    }

    /// It was not taken: it is told with what comes meanwhile, not before a time.
    pub fn give_back(&mut self, subject: Subject, sum: Sum, not_before: Instant) {
        let entry = self.entries.entry(subject).or_insert_with(|| Entry { not_before, sum: Sum::default() });
        entry.not_before = not_before;
        entry.sum.merge(sum);
        self.paused = Some(not_before);
    }

    fn waiting(&self) -> impl Iterator<Item = (&Subject, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.sum.flows > 0)
    }

    /// Forgets those that nothing came of for so long that the next flow is told at once.
    fn forget(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.sum.flows > 0 || entry.not_before > now);
    }
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It will be told.
    Yes,
    /// There is nothing to make an Event on.
    OfNoPod,
    /// There are too many pods.
    TooMany,
}
