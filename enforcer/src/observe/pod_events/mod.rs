//! Makes Events on pods whose connections were denied, so that `kubectl describe pod` says why nothing arrives.
//!
//! ```text
//! Feed ──▶ Sums: one a pod, direction and interval, a few a minute ──▶ Event ──▶ API server
//! ```
//!
//! Each Event is a new object: the API server lets nobody change the note of one that is there. What it does not take
//! for a while is summed up with what comes, so that a failure costs no memory.

mod sums;

pub use sums::{Limits, Subject, Sum, Sums, Taken};

use super::events::{self, Fate, Occasion, code, event, fate, told};
use super::sinks::OfSink;
use super::text::hash;
use crate::flows::Subscription;
use crate::watch::Backoff;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, Error};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};

/// The most Events in a minute: what a node that is under attack may ask of the API server.
pub const PER_MINUTE: usize = 30;
/// How long is waited for more before the first Event of a pod.
pub const COLLECT: Duration = Duration::from_secs(1);
/// How long the API server may take for one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How quickly is written.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often is told.
    pub limits: Limits,
    /// The longest pause after a failure.
    pub longest: Duration,
}

impl Pace {
    /// With at most one Event of a pod and direction in this time.
    pub fn every(interval: Duration) -> Self {
        let limits = Limits { interval, collect: COLLECT, per_minute: PER_MINUTE };
        Pace { limits, longest: Duration::from_secs(120) }
    }
}

/// What the API server answered; nothing in time.
type Answer = Option<Result<Event, Error>>;

struct Writer {
    client: Client,
    node: String,
    sums: Sums,
    metrics: OfSink,
    backoff: Backoff,
    /// What failures were logged since it last took one.
    complained: BTreeSet<u16>,
}

/// Makes Events of what comes, until nothing can come any more.
pub async fn run(client: Client, node: String, pace: Pace, flows: Subscription, metrics: OfSink) {
    let Subscription { recent, mut coming } = flows;
    let sums = Sums::new(pace.limits);
    let mut writer =
        Writer { client, node, sums, metrics, backoff: Backoff::up_to(pace.longest), complained: BTreeSet::new() };
    recent.iter().for_each(|flow| writer.take(flow));
    let mut writing: Option<BoxFuture<'static, (Subject, Sum, Answer)>> = None;
    loop {
        if writing.is_none()
            && let Some((subject, sum)) = writer.sums.due(Instant::now())
        {
            writing = Some(writer.write(subject, sum));
        }
        let next = if writing.is_none() { writer.sums.next() } else { None };
        tokio::select! {
            biased;
            (subject, sum, answer) = written(&mut writing) => {
                writing = None;
                writer.took(subject, sum, answer);
            }
            () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
            flow = coming.recv() => match flow {
                Ok(flow) => writer.take(&flow),
                Err(RecvError::Lagged(missed)) => _ = writer.metrics.lost.inc_by(missed),
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// What is being written; never, when nothing is.
async fn written<T>(writing: &mut Option<BoxFuture<'static, T>>) -> T {
    match writing {
        Some(writing) => writing.await,
        None => std::future::pending().await,
    }
}

impl Writer {
    fn take(&mut self, flow: &crate::flows::Flow) {
        if self.sums.take(flow, Instant::now()) == Taken::TooMany {
            self.metrics.lost.inc();
        }
    }

    fn write(&self, subject: Subject, sum: Sum) -> BoxFuture<'static, (Subject, Sum, Answer)> {
        let event = pod_event(&self.node, &subject, &sum, Timestamp::now());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &subject.namespace);
        Box::pin(async move {
            let answer = timeout(PATIENCE, api.create(&PostParams::default(), &event)).await.ok();
            (subject, sum, answer)
        })
    }

    fn took(&mut self, subject: Subject, sum: Sum, answer: Answer) {
        match answer.as_ref().map_or(Fate::Passing, fate) {
            Fate::Taken => {
                self.metrics.sent.inc();
                self.complained.clear();
                return;
            }
            // The pod goes with its namespace.
            Fate::Needless => return,
            Fate::Refused => _ = self.metrics.lost.inc_by(sum.flows()),
            Fate::Passing => self.sums.give_back(subject, sum, Instant::now() + self.backoff.pause()),
        }
        self.metrics.errors.inc();
        let error = answer.and_then(Result::err);
        if self.complained.insert(error.as_ref().and_then(code).unwrap_or_default()) {
            let text = error.map_or_else(|| format!("no answer within {PATIENCE:?}"), |e| told(&e, events::RULE));
            tracing::warn!("what is denied cannot be told by Events on pods: {text}");
        }
    }
}

/// The Event of a pod.
fn pod_event(node: &str, subject: &Subject, sum: &Sum, now: Timestamp) -> Event {
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(subject.namespace.to_string()),
        name: Some(subject.name.to_string()),
        uid: Some(subject.uid.to_string()).filter(|uid| !uid.is_empty()),
        ..ObjectReference::default()
    };
    let direction = subject.direction().field();
    // One of its own each time, and so on each node, in case a pod has moved.
    let digest = hash([&*subject.uid, direction, node, &now.as_nanosecond().to_string()]);
    let note = sum.note(subject);
    event(node, Occasion { regarding, reason: subject.reason(), action: "Enforce", note: &note, digest })
}

#[cfg(test)]
mod tests;
