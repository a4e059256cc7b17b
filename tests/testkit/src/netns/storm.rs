//! New connections without a pause, for as long as something else happens.

use super::engine::{Engine, Settled};
use super::message::{lock, wait};
use super::probe::{Outcome, Probe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How a storm is to blow; made by [`Fabric::storm`](super::Fabric::storm).
#[derive(Debug)]
#[must_use = "nothing is sent before `start`"]
pub struct StormBuilder {
    probes: Vec<Probe>,
    every: Duration,
    patience: Duration,
}

/// Asks its probes in turn, each time with a new connection, until it is stopped or dropped.
///
/// What counts as got through is what was answered. That a request got through whose answer did not,
/// is seen by a [`Counter`](super::Counter) at the place that it went to.
#[derive(Debug)]
pub struct Storm {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One connection of a storm.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    /// Which of the probes it was.
    pub probe: usize,
    /// When its packet was sent.
    pub started: Instant,
    /// When the answer came, or patience ended.
    pub ended: Instant,
    /// What came of it.
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
struct Shared {
    tries: Mutex<Vec<Try>>,
    grown: Condvar,
    stop: AtomicBool,
}

impl StormBuilder {
    pub(super) fn new(probes: Vec<Probe>) -> Self {
        assert!(!probes.is_empty(), "a storm without probes");
        Self { probes, every: Duration::from_millis(1), patience: Duration::from_millis(250) }
    }

    /// One connection each so long, instead of each millisecond. A thread that was late catches up.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// How long an answer is waited for, instead of 250 ms; below a second each try is one SYN.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Lets go.
    pub fn start(self) -> Storm {
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.blow(&self))
        };
        Storm { shared, thread: Some(thread) }
    }
}

impl Shared {
    fn blow(&self, storm: &StormBuilder) {
        let mut engine = Engine::new(storm.patience);
        let mut next = Instant::now();
        let mut index = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                engine.launch(index, &storm.probes[index]);
                index = (index + 1) % storm.probes.len();
                next = (next + storm.every).max(Instant::now().checked_sub(storm.patience).unwrap_or(next));
            }
            let wait = next.saturating_duration_since(Instant::now());
            self.record(engine.settle(Some(wait)));
        }
        while engine.in_flight() > 0 {
            self.record(engine.settle(None));
        }
    }

    fn record(&self, settled: Vec<Settled>) {
        if settled.is_empty() {
            return;
        }
        let tries = settled.into_iter().map(|s| Try {
            probe: s.index,
            started: s.launched,
            ended: s.ended,
            outcome: s.outcome,
        });
        lock(&self.tries).extend(tries);
        self.grown.notify_all();
    }
}

impl Storm {
    /// All that are over so far, in the order in which they ended.
    pub fn tries(&self) -> Vec<Try> {
        lock(&self.shared.tries).clone()
    }

    /// Waits until there are so many tries that started at or after a time and are over; says whether
    /// that came true within ten seconds.
    #[must_use]
    pub fn wait_tries(&self, since: Instant, count: usize) -> bool {
        self.wait(|tries| (tries.iter().filter(|t| t.started >= since).count() >= count).then_some(())).is_some()
    }

    /// Waits for a try that started at or after a time and came out so; `None` after ten seconds.
    pub fn wait_outcome(&self, since: Instant, fits: impl Fn(Outcome) -> bool) -> Option<Try> {
        self.wait(|tries| tries.iter().find(|t| t.started >= since && fits(t.outcome)).copied())
    }

    /// Stops, waits for the answers that are under way, and returns all tries by their start.
    pub fn stop(mut self) -> Vec<Try> {
        self.end();
        let mut tries = self.tries();
        tries.sort_by_key(|t| t.started);
        tries
    }

    fn wait<R>(&self, find: impl Fn(&[Try]) -> Option<R>) -> Option<R> {
        wait(&self.shared.tries, &self.shared.grown, Duration::from_secs(10), |tries| find(tries))
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.end();
    }
}

impl Try {
    /// The longest time in which none of these got through: from the start of the first that was
    /// lost to the start of the next that passed. Give it the tries of one probe, or of probes that
    /// should come out alike, by their start.
    pub fn longest_outage<'a>(tries: impl IntoIterator<Item = &'a Try>) -> Duration {
        let (mut longest, mut began, mut last) = (Duration::ZERO, None, None);
        for attempt in tries {
            last = Some(attempt.started);
            if !attempt.outcome.passed() {
                began.get_or_insert(attempt.started);
            } else if let Some(began) = began.take() {
                longest = longest.max(attempt.started - began);
            }
        }
        // One that never ended.
        let open = began.zip(last).map_or(Duration::ZERO, |(began, last)| last - began);
        longest.max(open)
    }
}
