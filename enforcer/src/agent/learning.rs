//! DNS answers on their way to pods: held by a task of its own until what they say is in force, so that a pod reaches a
//! name at its first try, and a wildcard stands for the names that pods ask for.
//!
//! ```text
//! kernel queue ── packet ──▶ task ── Seen ───▶ agent ── commit ──▶ kernel
//!      ▲                     │  ▲                │
//!      └────── accept ───────┘  └──── Round ─────┘
//! ```
//!
//! The task lets a packet go after [`PATIENCE`](crate::learn::held::PATIENCE), whatever the agent is busy with. Without the
//! task, or the whole agent, packets pass unread: the rules say so. What was not learned is denied.

use super::charge::Following;
use crate::kernel::queue::{AsyncQueue, Event, Packet};
use crate::kernel::{Error, Kernel};
use crate::learn::held::Round;
use crate::learn::{Held, Learned, Learner};
use crate::observe::names::LearningMetrics;
use futures::FutureExt;
use netsim_shared::dns::NamePattern;
use netsim_shared::dns::answer::Outcome;
use netsim_shared::dns::wire::SeenAnswer;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant as Timer, sleep, sleep_until};

/// Whose answers are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The resolvers that pods ask; none: nothing is learned.
    pub resolvers: Vec<IpAddr>,
    /// The netfilter queue.
    pub queue: u16,
}

/// How many packets the kernel holds at most; others pass.
const LENGTH: u32 = 1024;
/// How many times answers are handed to the agent before it took any.
const AHEAD: usize = 256;
/// When the queue is asked for again after somebody else had it, or it failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers that packets are held for.
#[derive(Debug)]
pub struct Seen {
    /// To be told when they are in force.
    pub round: Round,
    /// What they say.
    pub answers: Vec<SeenAnswer>,
}

/// The agent's end of it.
#[derive(Debug)]
pub struct Learning {
    seen: mpsc::Receiver<Seen>,
    rounds: mpsc::UnboundedSender<Round>,
    patterns: watch::Sender<Arc<BTreeSet<NamePattern>>>,
    why_not: watch::Receiver<Option<String>>,
    task: Option<JoinHandle<()>>,
}

impl Learning {
    /// Nothing is learned, and why.
    pub fn off(why: String) -> Self {
        let (_, seen) = mpsc::channel(1);
        Learning {
            seen,
            rounds: mpsc::unbounded_channel().0,
            patterns: watch::channel(Arc::default()).0,
            why_not: watch::channel(Some(why)).1,
            task: None,
        }
    }

    /// Begins to listen. To be called within a runtime.
    pub fn start(kernel: Kernel, number: u16, charge: Following, metrics: LearningMetrics) -> Self {
        let (to_agent, seen) = mpsc::channel(AHEAD);
        let (rounds, of_agent) = mpsc::unbounded_channel();
        let (patterns, wanted) = watch::channel(Arc::default());
        let (why, why_not) = watch::channel(Some("the queue of answers is not open yet".to_owned()));
        let listener = Listener {
            seen: to_agent,
            rounds: of_agent,
            wanted,
            learner: Learner::default(),
            held: Held::default(),
            metrics,
        };
        let task = tokio::spawn(listener.listen(kernel, number, charge, why));
        Learning { seen, rounds, patterns, why_not, task: Some(task) }
    }

    /// Which names matter.
    pub fn follow<'p>(&self, patterns: impl Iterator<Item = &'p NamePattern>) {
        let patterns: BTreeSet<NamePattern> = patterns.cloned().collect();
        self.patterns.send_if_modified(|known| {
            let changed = **known != patterns;
            *known = Arc::new(patterns);
            changed
        });
    }

    /// The next answers. Nothing is lost if this is dropped.
    pub async fn next(&mut self) -> Seen {
        match self.seen.recv().await {
            Some(seen) => seen,
            None => std::future::pending().await,
        }
    }

    /// More answers that are there already.
    pub fn more(&mut self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }

    /// What answers said is in force, up to this round.
    pub fn in_force(&self, round: Round) {
        // When nobody listens, nothing is held.
        _ = self.rounds.send(round);
    }

    /// Why nothing is learned, if nothing is.
    pub fn why_not(&self) -> Option<String> {
        self.why_not.borrow().clone()
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        // With the task goes its queue, and that lets go what it holds.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The task.
struct Listener {
    seen: mpsc::Sender<Seen>,
    rounds: mpsc::UnboundedReceiver<Round>,
    wanted: watch::Receiver<Arc<BTreeSet<NamePattern>>>,
    learner: Learner,
    held: Held,
    metrics: LearningMetrics,
}

impl Listener {
    async fn listen(
        mut self,
        kernel: Kernel,
        number: u16,
        mut charge: Following,
        why_not: watch::Sender<Option<String>>,
    ) {
        // Who has not the table could only hold answers up.
        while charge.held().await {
            let opened = kernel.queue(number, LENGTH).await.and_then(AsyncQueue::new);
            let why = match opened {
                Ok(mut queue) => {
                    tracing::info!(number, "answers of DNS to pods are read");
                    why_not.send_replace(None);
                    self.metrics.active.set(1);
                    tokio::select! {
                        ended = self.hold(&mut queue) => match ended {
                            Ok(()) => return,
                            Err(error) => error.to_string(),
                        },
                        () = charge.lost() => "the table belongs to another process".to_owned(),
                    }
                }
                Err(error) => error.to_string(),
            };
            self.metrics.active.set(0);
            // What was held went with the queue.
            (self.held, self.learner) = (Held::default(), Learner::default());
            let why = format!("the answers of DNS to pods cannot be read from queue {number}: {why}");
            let new = why_not.send_replace(Some(why.clone())).as_ref() != Some(&why);
            if new {
                tracing::error!(retry_in = ?AGAIN, "{why}");
            }
            sleep(AGAIN).await;
        }
    }

    /// Goes on until the agent is gone.
    async fn hold(&mut self, queue: &mut AsyncQueue) -> Result<(), Error> {
        loop {
            let deadline = self.held.deadline();
            tokio::select! {
                biased;
                round = self.rounds.recv() => {
                    let Some(round) = round else { return Ok(()) };
                    queue.accept(&self.held.committed(round))?;
                }
                () = sleep_until(deadline.map_or_else(Timer::now, Timer::from_std)), if deadline.is_some() => {
                    let late = self.held.overdue(Instant::now());
                    self.metrics.late.inc_by(late.len() as u64);
                    queue.accept(&late)?;
                }
                event = queue.next() => {
                    let mut answers = Vec::new();
                    let mut holds = self.take(queue, event?, &mut answers)?;
                    // What is there already comes along.
                    for _ in 1..AHEAD {
                        let Some(event) = queue.next().now_or_never() else { break };
                        holds |= self.take(queue, event?, &mut answers)?;
                    }
                    if holds {
                        let round = self.held.commit();
                        // An agent that is far behind does not get more: patience ends.
                        if self.seen.try_send(Seen { round, answers }).is_err() {
                            self.metrics.crowded.inc();
                        }
                    }
                }
            }
        }
    }

    /// Takes an event in. Whether a packet is held because of it.
    fn take(&mut self, queue: &AsyncQueue, event: Event, out: &mut Vec<SeenAnswer>) -> Result<bool, Error> {
        match event {
            Event::Packet(packet) => self.packet(queue, &packet, out),
            Event::Lost | Event::Garbled => {
                self.metrics.lost.inc();
                Ok(false)
            }
            Event::Refused(errno) => {
                tracing::debug!(%errno, "a packet was let go that the kernel no longer held");
                Ok(false)
            }
        }
    }

    fn packet(&mut self, queue: &AsyncQueue, packet: &Packet, out: &mut Vec<SeenAnswer>) -> Result<bool, Error> {
        let go = || queue.accept(&[packet.id]).map(|()| false);
        if packet.cut {
            self.metrics.lost.inc();
            return go();
        }
        let ends = match self.learner.read(&packet.payload) {
            Learned::Answers { ends, answers, .. } => {
                let wanted = self.wanted.borrow();
                let before = out.len();
                out.extend(answers.into_iter().filter(|answer| matters(answer, &wanted)));
                if out.len() == before {
                    return go();
                }
                self.metrics.held.inc();
                ends
            }
            Learned::Repeats(ends) if self.held.holds(ends) => ends,
            Learned::Repeats(_) => return go(),
            Learned::Nothing(nothing) => {
                tracing::trace!("nothing is learned: {nothing}");
                return go();
            }
        };
        self.held.hold(packet.id, ends, Instant::now());
        Ok(true)
    }
}

/// Whether an answer says something that a policy asks for. That a name has no address is learned by asking for it: pods
/// may ask for any number of names that do not exist.
fn matters(seen: &SeenAnswer, wanted: &BTreeSet<NamePattern>) -> bool {
    seen.answer.question.patterns().any(|pattern| wanted.contains(&pattern))
        && matches!(seen.answer.read().outcome, Outcome::Addresses(_))
}
