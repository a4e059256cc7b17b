//! The addresses that the names of this node's policies stand for (G): asked for, kept, and handed to the sets in the
//! kernel.
//!
//! ```text
//!              ┌── due ── schedule ── resolver ──┐
//! names of ────┤                                 ├─▶ Known ── wanted ──▶ Programmer ──▶ timed sets
//! the ruleset  └── --dns-state ──────────────────┘      │
//!                                                       └──▶ --dns-state, metrics, status
//! ```
//!
//! Nothing that is enforced waits for DNS, and readiness does not depend on it: a name that is not resolved is denied,
//! and told (G4). The kernel counts the time of addresses down, so that they end in time when the agent is not there.

mod known;
mod saved;
mod seen;

pub use known::{Known, Last, Touched};
pub use seen::SEEN_FOR;

use crate::observe::{ByReason, ByResolution, NamesMetrics};
use crate::render::NamesSet;
use crate::ruleset::Name;
use crate::ruleset::timed::Left;
use ipnet::IpNet;
use netsim_shared::compile::Compiled;
use netsim_shared::dns::answer::{Answer, Failure, Outcome, Reading};
use netsim_shared::dns::refuse::{Reason, Refusals};
use netsim_shared::dns::resolver::{Resolver, TIMEOUT};
use netsim_shared::dns::schedule::{Ended, Jitter, Query, Schedule, ScheduleOptions};
use netsim_shared::dns::store::StoreOptions;
use netsim_shared::dns::wire::SeenAnswer;
use netsim_shared::dns::{DomainName, NamePattern, Timestamp};
use netsim_shared::net::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio::time::{Instant as Timer, sleep_until};

/// A file that was written later than this is from the future.
const AHEAD: Duration = Duration::from_secs(60);
/// What is known is written at most so often.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A moment: as the wall clock shows it, and as the kernel counts time.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The steady clock.
    pub steady: Instant,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        // A clock before 1970 is no reason to stop.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall: Timestamp(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)), steady: Instant::now() }
    }
}

/// How names are resolved.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The servers to ask; empty: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Where what is known is kept.
    pub state: Option<PathBuf>,
    /// Which addresses no name may stand for, besides those of this node and of pods.
    pub refusals: Refusals,
    /// For how long addresses count.
    pub store: StoreOptions,
}

/// Something that happened: to be handed to [`Names::take`].
#[derive(Debug)]
pub enum Event {
    /// Something is due.
    Due,
    /// A question was answered, or not.
    Answered(Query, Result<Answer, Failure>),
    /// What is known was written, or not.
    Saved(io::Result<()>),
    /// A task ended without saying anything.
    Lost,
}

/// Names: what is known of them, and who finds out more.
pub struct Names {
    config: Config,
    known: Known,
    schedule: Schedule,
    resolver: Option<Arc<Resolver>>,
    tasks: JoinSet<Event>,
    due: Timer,
    /// The sets of the last ruleset.
    followed: BTreeSet<Name>,
    watched: BTreeSet<DomainName>,
    wildcards: BTreeSet<NamePattern>,
    refusals: Refusals,
    metrics: NamesMetrics,
    random: RandomState,
    /// What was told already: names without addresses, names that fail, addresses that were refused or too many.
    told: BTreeSet<DomainName>,
    failing: BTreeSet<DomainName>,
    refused: BTreeSet<(DomainName, Reason)>,
    evicted: BTreeSet<DomainName>,
    unsaved: bool,
    saving: bool,
    save_fails: bool,
    saved: Option<Instant>,
}

impl Names {
    /// Reads what was known. Nothing is asked before there are names.
    pub fn start(config: Config, metrics: NamesMetrics) -> Self {
        let now = Now::read();
        let min = config.store.min_ttl;
        let schedule = ScheduleOptions { min, ..ScheduleOptions::default() };
        Names {
            known: load(&config, now),
            schedule: Schedule::new(schedule, now.wall),
            resolver: None,
            tasks: JoinSet::new(),
            due: Timer::now(),
            followed: BTreeSet::new(),
            watched: BTreeSet::new(),
            wildcards: BTreeSet::new(),
            refusals: config.refusals.clone(),
            config,
            metrics,
            random: RandomState::new(),
            told: BTreeSet::new(),
            failing: BTreeSet::new(),
            refused: BTreeSet::new(),
            evicted: BTreeSet::new(),
            unsaved: false,
            saving: false,
            save_fails: false,
            saved: None,
        }
    }

    /// What the timed sets are to hold now.
    pub fn wanted<'n>(&'n self, compiled: Option<&'n Compiled>) -> Wanted<'n> {
        Wanted { known: &self.known, refusals: &self.refusals, compiled, now: Instant::now() }
    }

    /// The ranges of this node's pods, which no name may stand for.
    pub fn set_pod_cidrs(&mut self, pods: &[IpNet]) {
        self.refusals.pods.clone_from(&self.config.refusals.pods);
        self.refusals.pods.extend(pods);
    }

    /// Follows the sets of a ruleset: their names are asked for, others no longer. `no_wildcards` is why nothing is
    /// learned of names that cannot be asked for.
    pub fn follow(&mut self, sets: &BTreeMap<Name, NamesSet>, no_wildcards: Option<&str>) {
        // A set of that name is for the same names as before: no number is used twice.
        if sets.keys().eq(&self.followed) {
            return;
        }
        self.followed = sets.keys().cloned().collect();
        let patterns: BTreeSet<&NamePattern> = sets.values().flat_map(|set| &*set.patterns).collect();
        let exact: BTreeSet<DomainName> = patterns.iter().filter_map(|pattern| pattern.exact()).cloned().collect();
        let wildcards: BTreeSet<NamePattern> =
            patterns.into_iter().filter(|pattern| pattern.exact().is_none()).cloned().collect();
        for (pattern, why) in wildcards.difference(&self.wildcards).zip(no_wildcards.iter().cycle()) {
            tracing::warn!("`{pattern}` stands only for those of its names that are also written out: {why}");
        }
        self.wildcards = wildcards;
        if exact == self.watched {
            return;
        }
        let now = Now::read();
        self.schedule.watch(&exact, now.wall);
        for name in exact.difference(&self.watched) {
            for family in Family::ALL {
                let held = self.known.store().of(name, family);
                let jitter = self.jitter();
                // What is stale is asked for at once.
                if let Some(left) = held.map(|held| if held.stale { Duration::ZERO } else { held.left }).min() {
                    self.schedule.known(&Query { name: name.clone(), family }, left, jitter, now.wall);
                }
            }
        }
        self.known.forget_questions(&exact);
        let is_watched = |name: &DomainName| exact.contains(name);
        self.told.retain(is_watched);
        self.failing.retain(is_watched);
        self.evicted.retain(is_watched);
        self.refused.retain(|(name, _)| is_watched(name));
        self.watched = exact;
        self.due = Timer::now();
    }

    /// The next thing to be taken in. Nothing is lost if this is dropped.
    pub async fn next(&mut self) -> Event {
        let due = self.due;
        tokio::select! {
            Some(event) = self.tasks.join_next() => event.unwrap_or(Event::Lost),
            () = sleep_until(due) => Event::Due,
        }
    }

    /// Takes in what happened, and whatever else did meanwhile. Says which names have other addresses now.
    pub fn take(&mut self, event: Event, compiled: Option<&Compiled>) -> Touched {
        let mut touched = self.take_one(event, compiled);
        while let Some(event) = self.tasks.try_join_next() {
            touched.extend(self.take_one(event.unwrap_or(Event::Lost), compiled));
        }
        let now = Now::read();
        // Whatever came, something else may be due by now, or be asked in its place.
        touched.extend(self.known.advance(now));
        self.ask(now);
        self.tell_evicted(&touched);
        self.unsaved |= !touched.names.is_empty();
        self.save(now);
        self.due = Timer::now() + self.schedule.next_due(now.wall);
        if self.unsaved && !self.saving {
            let at = self.saved.map_or(now.steady, |saved| saved + SAVE_EVERY).max(now.steady);
            self.due = self.due.min(Timer::from_std(at));
        }
        touched
    }

    fn take_one(&mut self, event: Event, compiled: Option<&Compiled>) -> Touched {
        match event {
            Event::Due | Event::Lost => Touched::default(),
            Event::Saved(result) => {
                self.saving = false;
                match (result, &self.config.state) {
                    (Err(error), Some(path)) => {
                        self.metrics.state_failures.inc();
                        self.unsaved = true;
                        if !std::mem::replace(&mut self.save_fails, true) {
                            tracing::error!("`{}`, the state of names, cannot be written: {error}", path.display());
                        }
                    }
                    _ => {
                        if std::mem::replace(&mut self.save_fails, false) {
                            tracing::info!("the state of names is written again");
                        }
                    }
                }
                Touched::default()
            }
            Event::Answered(query, answered) => {
                let negative = answered.as_ref().ok().and_then(|answer| answer.negative_ttl);
                let reading = answered.map_or_else(Reading::from, |answer| answer.read());
                let ended = Ended::of(&reading.outcome, negative);
                let (jitter, now) = (self.jitter(), Now::read());
                if !self.schedule.done(&query, ended, jitter, now.wall) {
                    return Touched::default();
                }
                self.learn(&query.name, query.family, reading, compiled)
            }
        }
    }

    /// Takes in the answers that pods get. Says which names have other addresses now.
    pub fn learned(&mut self, answers: Vec<SeenAnswer>, compiled: Option<&Compiled>) -> Touched {
        let mut touched = Touched::default();
        for SeenAnswer { answer, .. } in answers {
            tracing::debug!(name = %answer.question, family = %answer.family, "an answer to a pod");
            touched.extend(self.learn(&answer.question, answer.family, answer.read(), compiled));
        }
        self.tell_evicted(&touched);
        if !touched.names.is_empty() {
            // It is written in its own time.
            self.unsaved = true;
            self.due = self.due.min(Timer::now());
        }
        touched
    }

    /// Takes in what came of a question about a family of a name, whoever asked it.
    fn learn(&mut self, name: &DomainName, family: Family, reading: Reading, compiled: Option<&Compiled>) -> Touched {
        self.metrics.resolutions.get_or_create(&ByResolution::of(&reading.outcome)).inc();
        if reading.ignored > 0 {
            tracing::debug!(%name, records = reading.ignored, "records that have nothing to do with the question");
        }
        let failure = if let Outcome::Failed(failure) = &reading.outcome { Some(failure.clone()) } else { None };
        let touched =
            self.known.take(name, family, reading, &self.refusals, |address| is_inside(compiled, address), Now::read());
        for refused in &touched.refused {
            self.metrics.refused.get_or_create(&ByReason { reason: refused.reason.as_str() }).inc();
            if self.refused.insert((name.clone(), refused.reason)) {
                tracing::warn!(%name, address = %refused.address, "an answer is refused: {}", refused.reason);
            }
        }
        match failure {
            Some(failure) if self.known.is_kept(name) => {
                if self.failing.insert(name.clone()) {
                    tracing::warn!(%name, "cannot be asked for, its addresses are kept for a while: {failure}");
                }
            }
            _ => {
                if !self.known.is_kept(name) && self.failing.remove(name) {
                    tracing::info!(%name, "is answered again");
                }
            }
        }
        match self.known.why_unresolved(name) {
            Some(why) => {
                if self.watched.contains(name) && self.told.insert(name.clone()) {
                    tracing::warn!(%name, "stands for no address, so connections to it are denied: {why}");
                }
            }
            None => {
                if self.has_addresses(name) && self.told.remove(name) {
                    tracing::info!(%name, "stands for addresses now");
                }
            }
        }
        touched
    }

    fn has_addresses(&self, name: &DomainName) -> bool {
        Family::ALL.into_iter().any(|family| self.known.standing(name, family).addresses > 0)
    }

    /// Asks what is due.
    fn ask(&mut self, now: Now) {
        let due = self.schedule.take_due(now.wall);
        if due.is_empty() {
            return;
        }
        self.follow_servers();
        for query in due {
            let Some(resolver) = self.resolver.clone() else {
                let failure = Failure::Unreachable("there is no DNS server to ask".to_owned());
                self.tasks.spawn(std::future::ready(Event::Answered(query, Err(failure))));
                continue;
            };
            self.tasks.spawn(async move {
                let answered = resolver.ask(&query.name, query.family).await;
                Event::Answered(query, answered)
            });
        }
    }

    /// Finds the servers. Those of the node may become others.
    fn follow_servers(&mut self) {
        if self.resolver.is_some() && !self.config.servers.is_empty() {
            return;
        }
        let servers = &self.config.servers;
        let new = if servers.is_empty() { Resolver::of_system(TIMEOUT) } else { Resolver::new(servers, TIMEOUT) };
        match new {
            Ok(new) => {
                let list = |resolver: &Resolver| resolver.servers().collect::<Vec<_>>();
                if self.resolver.as_ref().map(|old| list(old)).as_ref() != Some(&list(&new)) {
                    tracing::info!(servers = ?list(&new), "names are asked for");
                    self.resolver = Some(Arc::new(new));
                }
            }
            // With those before it goes on.
            Err(error) => tracing::error!("{error}; give --dns-server"),
        }
    }

    fn tell_evicted(&mut self, touched: &Touched) {
        for (name, address) in &touched.evicted {
            self.metrics.evicted.inc();
            if self.evicted.insert(name.clone()) {
                tracing::warn!(%name, %address, "has more addresses than are kept: the soonest to end leave");
            }
        }
    }

    /// Writes what is known, beside the loop: a disk may be slow.
    fn save(&mut self, now: Now) {
        let Some(path) = self.config.state.clone() else {
            self.unsaved = false;
            return;
        };
        let early = self.saved.is_some_and(|saved| now.steady < saved + SAVE_EVERY);
        if !self.unsaved || self.saving || early {
            return;
        }
        (self.unsaved, self.saving, self.saved) = (false, true, Some(now.steady));
        let text = saved::to_text(&self.known, now);
        self.tasks.spawn_blocking(move || Event::Saved(saved::write(&path, &text)));
    }

    /// Writes what is known, before the end. What is being asked for does not matter any more.
    pub async fn end(&mut self) {
        let unsaved = self.unsaved || self.saving;
        self.tasks.abort_all();
        // A file that is being written is written to its end.
        while self.tasks.join_next().await.is_some() {}
        let Some(path) = self.config.state.as_ref().filter(|_| unsaved) else { return };
        if let Err(error) = saved::write(path, &saved::to_text(&self.known, Now::read())) {
            tracing::error!("`{}`, the state of names, cannot be written: {error}", path.display());
        }
    }

    /// A random number.
    fn jitter(&self) -> Jitter {
        #[expect(clippy::cast_possible_truncation, reason = "half of a random number is one")]
        Jitter(self.random.hash_one(Instant::now()) as u32)
    }

    /// The names that stand for no address, and why; those that were never asked for yet are not among them.
    pub fn unresolved(&self) -> Vec<String> {
        let why = |name: &DomainName| Some(format!("{name}: {}", self.known.why_unresolved(name)?));
        self.watched.iter().filter_map(why).collect()
    }

    /// The names that never stood for an address, as far as anybody remembers.
    pub fn never_resolved(&self) -> BTreeSet<DomainName> {
        self.watched.iter().filter(|name| self.known.never_resolved(name)).cloned().collect()
    }

    /// How many names are asked for.
    pub fn count(&self) -> usize {
        self.watched.len()
    }

    /// Brings metrics up to date.
    pub fn show(&self) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.names.set(gauge(self.watched.len()));
        metrics.addresses.set(gauge(self.known.store().len()));
        metrics.unresolved.set(gauge(self.unresolved().len()));
        let kept = self.watched.iter().filter(|name| self.known.is_kept(name)).count();
        metrics.kept.set(gauge(kept));
        let standing = |name| Family::ALL.map(|family| self.known.standing(name, family));
        let ages = self.watched.iter().flat_map(standing).filter_map(|standing| standing.answered);
        metrics.oldest_answer.set(ages.max().unwrap_or_default().as_secs_f64());
    }
}

/// What the timed sets are to hold at a moment.
pub struct Wanted<'n> {
    known: &'n Known,
    refusals: &'n Refusals,
    compiled: Option<&'n Compiled>,
    now: Instant,
}

impl Wanted<'_> {
    /// The addresses of a set, and how long each is to stay.
    pub fn of(&self, set: &NamesSet) -> Left {
        self.known.wanted(set, |address| self.is_refused(address), self.now)
    }

    /// The same of those that came or stay longer: nothing else of the set is looked at.
    pub fn came(&self, set: &NamesSet, touched: &Touched) -> Left {
        let more = if set.seen { SEEN_FOR } else { Duration::ZERO };
        let mut came = Left::new();
        for (name, address, left) in &touched.came {
            let meant = Family::of(*address) == set.family && set.patterns.iter().any(|pattern| pattern.matches(name));
            if meant && !left.is_zero() && !self.is_refused(*address) {
                let longest = came.entry(*address).or_insert(*left + more);
                *longest = (*left + more).max(*longest);
            }
        }
        came
    }

    /// What was refused by no rule when it came may be a pod's by now, or the options be others (G5).
    fn is_refused(&self, address: IpAddr) -> bool {
        self.refusals.reason(address).is_some() || is_inside(self.compiled, address)
    }

    /// The moment.
    pub fn now(&self) -> Instant {
        self.now
    }
}

/// Whether an address is a pod's or a node's.
fn is_inside(compiled: Option<&Compiled>, address: IpAddr) -> bool {
    compiled.is_some_and(|compiled| compiled.at_address(address).is_some() || compiled.node_at(address).is_some())
}

fn load(config: &Config, now: Now) -> Known {
    let new = || Known::new(config.store.clone(), now);
    let Some(path) = &config.state else { return new() };
    match saved::read(path, &config.store, now) {
        Ok(Some((known, ahead))) => {
            tracing::info!(addresses = known.store().len(), "read what was known of names");
            if ahead > AHEAD {
                tracing::warn!(
                    ?ahead,
                    "`{}`, the state of names, is from the future: the clock is behind, or was ahead",
                    path.display()
                );
            }
            known
        }
        Ok(None) => {
            tracing::info!("nothing is known of names yet: there is no `{}`", path.display());
            new()
        }
        Err(error) => {
            tracing::error!(
                "`{}`, the state of names, cannot be read, so names are resolved afresh: {error}",
                path.display()
            );
            new()
        }
    }
}
