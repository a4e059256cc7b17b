//! What is summed up, and what is written, without an API server. With one: `tests/watch/pod_events.rs`.

use super::*;
use crate::flows::{End, Flow, PodRef, Reason, Verdict};
use netsim_shared::policy::Direction;
use std::collections::BTreeMap;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits { interval: Duration::from_secs(300), collect: SECOND, per_minute: 30 };

fn pod(name: &str, last: u8) -> End {
    let pod =
        PodRef { namespace: "x".into(), name: name.into(), uid: format!("u-{name}").into(), labels: BTreeMap::new() };
    End { ip: [10, 0, 0, last].into(), pod: Some(pod) }
}

fn outside(last: u8) -> End {
    End { ip: [203, 0, 113, last].into(), pod: None }
}

fn flow(source: End, destination: End, port: u16, packets: u64) -> Flow {
    Flow {
        first: Timestamp::UNIX_EPOCH,
        last: Timestamp::UNIX_EPOCH,
        node: "n1".into(),
        verdict: Verdict::Denied,
        reason: Reason::Policy,
        direction: Direction::Ingress,
        source,
        destination,
        protocol: "TCP".into(),
        port: Some(port),
        packets,
        isolated_by: vec!["x/db".into()],
    }
}

#[test]
fn notes_say_who_what_and_why() {
    let note = |flows: &[Flow]| {
        let mut sums = Sums::new(LIMITS);
        let now = Instant::now();
        flows.iter().for_each(|flow| assert_eq!(sums.take(flow, now), Taken::Yes));
        let (subject, sum) = sums.due(now + SECOND).unwrap();
        (subject.reason(), sum.note(&subject))
    };
    let one = flow(pod("web", 1), pod("db", 2), 5432, 3);
    let denied = |text: &str| ("ConnectionDenied", text.to_owned());
    assert_eq!(
        note(std::slice::from_ref(&one)),
        denied("3 packets from x/web to TCP 5432 denied by ingress policy x/db")
    );
    let mut other = flow(outside(9), pod("db", 2), 53, 1);
    (other.protocol, other.isolated_by) = ("UDP".into(), vec!["x/all".into(), "x/db".into()]);
    assert_eq!(
        note(&[one.clone(), other.clone(), one.clone()]),
        denied(
            "6 packets from x/web to TCP 5432 and 1 from 203.0.113.9 to UDP 53 denied by ingress policies x/all, x/db"
        )
    );
    let many: Vec<Flow> = (1..200).map(|n| flow(outside(n), pod("db", 2), 80, 1)).collect();
    assert_eq!(
        note(&many),
        denied(
            "1 packet from 203.0.113.1 to TCP 80, 1 from 203.0.113.10 to TCP 80, 1 from 203.0.113.11 to TCP 80, \
             1 from 203.0.113.12 to TCP 80, 1 from 203.0.113.13 to TCP 80 and 194 others denied by ingress policy x/db"
        )
    );
    let mut out = flow(pod("web", 1), outside(7), 443, 2);
    (out.direction, out.verdict, out.isolated_by) = (Direction::Egress, Verdict::Audited, vec!["x/web".into()]);
    let text = "2 packets to 203.0.113.7 at TCP 443 would be denied by egress policy x/web";
    assert_eq!(note(&[out]), ("ConnectionWouldBeDenied", text.to_owned()));
    let mut nameless = flow(outside(7), pod("db", 2), 443, 1);
    (nameless.protocol, nameless.port, nameless.reason) = ("ICMP".into(), None, Reason::NamelessAddress);
    nameless.isolated_by.clear();
    let text = "1 packet from 203.0.113.7 over ICMP denied: link-local, multicast and broadcast addresses are no pod's";
    assert_eq!(note(&[nameless]), denied(text));
}

#[test]
fn a_pod_has_one_event_an_interval_with_all_that_came() {
    let (mut sums, begin) = (Sums::new(LIMITS), Instant::now());
    let one = flow(pod("web", 1), pod("db", 2), 5432, 1);
    assert_eq!(sums.next(), None);
    sums.take(&one, begin);
    assert_eq!(sums.next(), Some(begin + SECOND));
    assert!(sums.due(begin).is_none());
    assert_eq!(sums.due(begin + SECOND).unwrap().1.flows(), 1);
    assert_eq!(sums.next(), None);
    // The pod at the other end, the other direction, and another pod of that name have their own.
    let mut egress = one.clone();
    egress.direction = Direction::Egress;
    let mut again = one.clone();
    again.destination.pod.as_mut().unwrap().uid = "u-new".into();
    for other in [&egress, &again] {
        sums.take(other, begin + SECOND);
        assert!(sums.due(begin + 2 * SECOND).is_some());
    }
    for n in 2..1000 {
        sums.take(&one, begin + n * SECOND / 10);
    }
    let second = begin + SECOND + LIMITS.interval;
    assert_eq!(sums.next(), Some(second));
    assert_eq!(sums.due(second).unwrap().1.flows(), 998);
    // After a quiet time the next is told at once, and nothing is remembered.
    let later = second + 2 * LIMITS.interval;
    sums.take(&egress, later);
    assert_eq!(sums.next(), Some(later + SECOND));
    let unknown = flow(outside(1), outside(2), 80, 1);
    assert_eq!(sums.take(&unknown, later), Taken::OfNoPod);
}

#[test]
fn a_node_makes_so_many_a_minute_and_remembers_so_many_pods() {
    let (mut sums, begin) = (Sums::new(LIMITS), Instant::now());
    let of = |n: usize| flow(outside(1), pod(&format!("p{n:04}"), 2), 80, 1);
    for n in 0..1000 {
        assert_eq!(sums.take(&of(n), begin), Taken::Yes);
    }
    assert_eq!(sums.take(&of(1000), begin), Taken::TooMany);
    let (mut now, mut told) = (begin + SECOND, Vec::new());
    while let Some(next) = sums.next() {
        now = now.max(next);
        let (subject, _) = sums.due(now).unwrap();
        told.push((now, subject.name));
    }
    assert_eq!(told.len(), 1000);
    for (n, (at, name)) in told.iter().enumerate() {
        assert_eq!((&**name, at.duration_since(begin)), (&*format!("p{n:04}"), SECOND + 60 * (n / 30) as u32 * SECOND));
    }
    // Those that were told long ago make room.
    assert_eq!(sums.take(&of(1000), now), Taken::Yes);
}

#[test]
fn what_is_not_taken_is_told_with_what_comes() {
    let (mut sums, begin) = (Sums::new(LIMITS), Instant::now());
    let one = flow(pod("web", 1), pod("db", 2), 5432, 1);
    sums.take(&one, begin);
    let (subject, sum) = sums.due(begin + SECOND).unwrap();
    sums.take(&one, begin + SECOND);
    sums.take(&flow(outside(1), pod("other", 3), 80, 1), begin + SECOND);
    sums.give_back(subject.clone(), sum, begin + 10 * SECOND);
    assert_eq!(sums.next(), Some(begin + 10 * SECOND), "nor is anything else told before");
    let both = [sums.due(begin + 10 * SECOND).unwrap(), sums.due(begin + 10 * SECOND).unwrap()];
    assert_eq!(both.map(|(subject, sum)| (subject.name, sum.flows())), [("other".into(), 1), ("db".into(), 2)]);
}

#[test]
fn an_event_is_about_the_very_pod() {
    let (mut sums, now) = (Sums::new(LIMITS), Instant::now());
    sums.take(&flow(pod("web", 1), pod("db", 2), 5432, 1), now);
    let (subject, sum) = sums.due(now + SECOND).unwrap();
    let at = |second| pod_event("n1", &subject, &sum, Timestamp::from_second(second).unwrap());
    let (event, next) = (at(1), at(2));
    assert_ne!(event.metadata.name, next.metadata.name);
    let regarding = event.regarding.unwrap();
    assert_eq!((regarding.kind.as_deref(), regarding.uid.as_deref()), (Some("Pod"), Some("u-db")));
    assert_eq!((event.reason.as_deref(), event.type_.as_deref()), (Some("ConnectionDenied"), Some("Warning")));
    assert!(event.metadata.name.unwrap().starts_with("db."));
}
