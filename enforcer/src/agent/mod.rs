//! The loop that joins the parts: updates of the cluster in, transactions out, and everything that
//! has to be looked after meanwhile.
//!
//! ```text
//! watch ──▶ State ──▶ Programmer ──▶ kernel
//!             ▲            ▲
//!           updates      retry, drift, node checks, counters: by timers
//! ```
//!
//! Nothing is touched in the kernel before the first full list of everything. After that nothing is
//! ever opened for want of news: what was enforced stays until something better is known.

pub mod charge;
mod denied;
mod explain;
mod generations;
pub mod learning;
mod lookout;
pub mod names;
mod programmer;
mod state;

pub use names::{Names, Touched};
pub use programmer::{Drift, ProgramError, Programmed, Programmer};
pub use state::{Effect, State};

use crate::explain::Questions;
use crate::flows::{Denials, Feed};
use crate::kernel::{CommitError, Kernel, Queueing};
use crate::node::{self, Severity};
use crate::observe::objects::{self, Identities, Objects};
use crate::observe::text;
use crate::observe::{ByDirection, ByKind, ByPolicy, ByResult, CommitResult, Heartbeat, Metrics, Readiness, Status};
use crate::render::{self, Changed, Options, UnknownPods};
use crate::watch::{Update, Watched};
use charge::Charge;
use denied::Denied;
use futures::{FutureExt, Stream, StreamExt};
use generations::Generations;
use ipnet::IpNet;
use learning::Learning;
use lookout::{Look, Lookout};
use netsim_shared::cluster::Key;
use netsim_shared::compile::Modes;
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::dns::DomainName;
use netsim_shared::policy::Direction;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::{Instant as Timer, MissedTickBehavior, interval, sleep_until};

/// How an agent behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// How rulesets are made.
    pub options: Options,
    /// How policies are understood.
    pub modes: Modes,
    /// The ranges of this node's pods; empty: what its Node object says.
    pub pod_cidrs: Vec<IpNet>,
    /// The name of our table.
    pub table: String,
    /// How long changes are collected before they go to the kernel together.
    pub coalesce: Duration,
    /// How often it is looked whether somebody else changed our table.
    pub verify_interval: Duration,
    /// Whether the settings of `br_netfilter` are made where they are needed.
    pub manage_sysctls: bool,
    /// The network namespace that the kernel handle works in; `None`: that of the process.
    pub netns: Option<PathBuf>,
    /// How names are resolved.
    pub names: names::Config,
    /// Whose answers to pods are read.
    pub learning: learning::Config,
    /// How often a denied connection is told again while it goes on.
    pub flow_interval: Duration,
}

/// What an agent tells about itself.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    /// Metrics.
    pub metrics: Metrics,
    /// Whether the kernel holds what was compiled.
    pub readiness: Readiness,
    /// What the `status` command shows.
    pub status: Status,
    /// That the loop goes round.
    pub heartbeat: Heartbeat,
    /// What is wrong with policies, in the API server.
    pub objects: Option<Objects>,
    /// Denied connections; whoever wants them subscribes.
    pub flows: Feed,
    /// What is asked of the agent.
    pub questions: Questions,
    /// Whether the node's table is not another's.
    pub charge: Charge,
}

/// How often counters are read.
const COUNTERS_INTERVAL: Duration = Duration::from_secs(5);
/// How often the loop goes round at least.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The first and the longest pause before the kernel is asked again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How many lines of a drift are logged.
const DRIFT_LINES: usize = 20;
/// At most so many updates are taken in before the rest of the loop has its turn.
const UPDATES_AT_ONCE: usize = 1000;

/// What `/status` shows.
#[derive(Debug, Serialize)]
struct Shown {
    node: String,
    version: &'static str,
    table: String,
    mode: &'static str,
    unknown_pods: &'static str,
    pod_cidrs: Vec<String>,
    ready: bool,
    reasons: Vec<String>,
    programmed_generation: u64,
    pods: usize,
    local_pods: usize,
    policies: usize,
    names: usize,
    unresolved_names: Vec<String>,
    dns_learning: String,
    peer_sets: usize,
    chains: usize,
    sets: usize,
    elements: usize,
    denied_packets: BTreeMap<&'static str, u64>,
    findings: Vec<String>,
}

struct Agent {
    config: Config,
    reports: Reports,
    kernel: Kernel,
    programmer: Programmer,
    state: State,
    names: Names,
    learning: Learning,
    /// Why nothing was learned when it was last looked at, and the names without addresses then.
    reported: (Option<String>, BTreeSet<DomainName>),
    /// When the oldest change came that the kernel does not have.
    waiting_since: Option<Instant>,
    /// When the kernel is asked again after it did not take a change.
    retry: Option<(Timer, Duration)>,
    failing: BTreeMap<&'static str, String>,
    lookout: Lookout,
    findings: Vec<String>,
    /// What the counters of the table said.
    denials: Denials,
    /// Denied connections.
    denied: Denied,
    pod_cidrs: Vec<IpNet>,
    identities: Identities,
    generations: Generations,
    /// Something came that may change what is wrong with policies.
    unreported: bool,
    /// When drift is looked for next: a costly look is followed by a longer pause.
    verify_at: Timer,
}

/// Runs an agent until `end`. What it put into the kernel stays.
pub async fn run(
    mut config: Config,
    kernel: Kernel,
    updates: impl Stream<Item = Update> + Send,
    reports: Reports,
    end: impl Future<Output = ()>,
) {
    let mut node_options = node::Options::new(config.table.clone());
    node_options.manage_sysctls = config.manage_sysctls;
    node_options.pod_blocks.clone_from(&config.pod_cidrs);
    let denied = Denied::start(&mut config, &kernel, &reports).await;
    let learning = match learn(&config.learning, &kernel).await {
        Ok(learning) => {
            let queue = config.learning.queue;
            config.options.learning = Some(learning);
            Learning::start(kernel.clone(), queue, reports.charge.follow(), reports.metrics.names.learning.clone())
        }
        Err(why) => Learning::off(why),
    };
    let mut agent = Agent {
        programmer: Programmer::new(kernel.clone(), config.options.clone()),
        state: State::new(config.modes.clone()),
        names: Names::start(config.names.clone(), reports.metrics.names.clone()),
        learning,
        reported: Default::default(),
        waiting_since: None,
        retry: None,
        failing: BTreeMap::new(),
        lookout: Lookout::start(node_options, config.netns.clone()),
        findings: Vec::new(),
        denials: Denials::default(),
        denied,
        pod_cidrs: Vec::new(),
        identities: Identities::default(),
        generations: Generations::default(),
        unreported: true,
        verify_at: Timer::now(),
        config,
        reports,
        kernel,
    };
    agent.go(Box::pin(updates), end).await;
    agent.denied.finish(&agent.reports);
    agent.names.end().await;
}

/// How answers to pods are held; or why they are not.
async fn learn(config: &learning::Config, kernel: &Kernel) -> Result<render::learn::Learning, String> {
    if config.resolvers.is_empty() {
        return Err(
            "the answers that DNS gives to pods are not read: that takes --dns-server, and --dns-learn".to_owned()
        );
    }
    let queueing = kernel.queueing().await.map_err(|error| error.to_string());
    let via = match queueing.map(|queueing| queueing.via().ok_or(queueing)) {
        Ok(Ok(via)) => via,
        Ok(Err(Queueing::Unavailable { why })) | Err(why) => {
            let why = format!("the kernel cannot hold the answers that DNS gives to pods: {why}");
            tracing::warn!("{why}");
            return Err(why);
        }
        Ok(Err(other)) => return Err(format!("{other:?}")),
    };
    Ok(render::learn::Learning { resolvers: config.resolvers.clone(), queue: config.queue, via })
}

impl Agent {
    async fn go(&mut self, mut updates: Pin<Box<impl Stream<Item = Update>>>, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        for kind in Watched::ALL {
            self.reports.metrics.will_watch(word(kind));
        }
        self.reports.readiness.set("node", ["is not looked at yet"]);
        self.say_what_is_missing();
        self.reports.readiness.started();
        let every = |period| {
            let mut timer = interval(period);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer
        };
        let mut count = every(COUNTERS_INTERVAL);
        let mut beat = every(BEAT_INTERVAL);
        let mut verify = every(self.config.verify_interval);
        let mut tell = every(self.config.flow_interval.min(BEAT_INTERVAL));
        let mut questions = self.reports.questions.take();
        loop {
            self.reports.heartbeat.beat();
            let due = self.due();
            tokio::select! {
                biased;
                () = &mut end => return,
                () = async { sleep_until(due.unwrap_or_else(Timer::now)).await }, if due.is_some() => self.program().await,
                update = updates.next() => {
                    let Some(update) = update else { return };
                    self.take(update);
                    // What is there already comes along.
                    for _ in 0..UPDATES_AT_ONCE {
                        match updates.next().now_or_never() {
                            Some(Some(update)) => self.take(update),
                            _ => break,
                        }
                    }
                }
                seen = self.learning.next() => self.take_answers(seen).await,
                _ = verify.tick() => self.verify().await,
                event = self.names.next() => self.take_names(event).await,
                look = self.lookout.next() => self.take_look(look),
                _ = count.tick() => self.count().await,
                _ = beat.tick() => {
                    self.show();
                    self.report();
                }
                // What is due goes first, so that an answer is not about what will be in a moment.
                asked = explain::next(&mut questions), if due.is_none() || self.retry.is_some() => self.explain(asked),
                _ = tell.tick() => self.denied.tell(&self.reports),
                // What is denied before everything was listed waits until it can be named.
                logged = self.denied.next(), if self.state.compiled().is_some() => {
                    self.denied.take(logged, &self.state, &self.reports);
                }
            }
        }
    }

    /// When the kernel is to be brought up to date, if it is to be.
    fn due(&self) -> Option<Timer> {
        let since = self.waiting_since.filter(|_| self.state.compiled().is_some())?;
        Some(self.retry.map_or_else(|| Timer::from_std(since + self.config.coalesce), |(at, _)| at))
    }

    fn take(&mut self, update: Update) {
        let metrics = &self.reports.metrics;
        match &update {
            Update::Apply(object) => {
                let kind = Watched::of(object).unwrap_or(Watched::Node);
                metrics.events.get_or_create(&ByKind { kind: word(kind) }).inc();
            }
            Update::Delete(kind, _) => _ = metrics.events.get_or_create(&ByKind { kind: word(*kind) }).inc(),
            Update::Listed(kind, keys) => {
                tracing::info!(kind = word(*kind), count = keys.len(), "listed");
                metrics.watch_restarts.get_or_create(&ByKind { kind: word(*kind) }).inc();
            }
            Update::Identified { .. } => {}
            Update::Warned { kind, key, diagnostics } => {
                let (namespace, name) = named(key);
                for diagnostic in diagnostics.iter().map(tamed) {
                    tracing::warn!(kind = word(*kind), namespace, name, "{diagnostic}");
                }
            }
            Update::Unreadable { kind, key, diagnostics } => {
                metrics.unreadable_objects.get_or_create(&ByKind { kind: word(*kind) }).inc();
                let (namespace, name) = named(key);
                for diagnostic in diagnostics.iter().map(tamed) {
                    tracing::error!(kind = word(*kind), namespace, name, "cannot be read: {diagnostic}");
                }
            }
            Update::Failing { kind, error, retry_in } => {
                metrics.watch_failing.get_or_create(&ByKind { kind: word(*kind) }).set(1);
                if self.failing.insert(word(*kind), error.clone()).as_ref() != Some(error) {
                    tracing::warn!(kind = word(*kind), ?retry_in, "the watch fails: {error}");
                }
            }
            Update::Recovered { kind } => {
                metrics.watch_failing.get_or_create(&ByKind { kind: word(*kind) }).set(0);
                if self.failing.remove(word(*kind)).is_some() {
                    tracing::info!(kind = word(*kind), "the watch works again");
                }
            }
        }
        self.identities.take(&update);
        self.generations.take(&update);
        self.unreported |= !matches!(update, Update::Failing { .. } | Update::Recovered { .. });
        let listed = matches!(update, Update::Listed(..));
        let watch_changed = matches!(update, Update::Failing { .. } | Update::Recovered { .. });
        match self.state.take(update) {
            Effect::Changed => _ = self.waiting_since.get_or_insert_with(Instant::now),
            Effect::Unchanged => _ = metrics.updates_unchanged.inc(),
        }
        // Otherwise it has to be in the kernel first.
        if self.waiting_since.is_none() && self.programmer.is_programmed() {
            self.generations.unchanged(&metrics.of_policies);
        }
        if listed {
            self.say_what_is_missing();
        }
        if watch_changed {
            let reasons = self.failing.iter().map(|(kind, error)| format!("{kind}: {error}"));
            self.reports.readiness.set("watch", reasons);
        }
    }

    fn say_what_is_missing(&self) {
        let missing = self.state.missing().map(|kind| format!("{} are not listed yet", word(kind)));
        self.reports.readiness.set("cluster", missing);
    }

    /// Makes the kernel hold what is compiled.
    async fn program(&mut self) {
        self.follow_pod_cidrs();
        let changed = self.state.take_changed().unwrap_or(Changed::Anything);
        let Some(compiled) = self.state.compiled() else { return };
        let begun = Instant::now();
        let wanted = self.names.wanted(Some(compiled));
        let done = self.programmer.program(compiled, &changed, &wanted).await;
        let metrics = &self.reports.metrics;
        let result = match &done {
            Ok(_) => CommitResult::Ok,
            Err(ProgramError::Commit(CommitError::Unknown(_))) => CommitResult::Unknown,
            Err(_) => CommitResult::Refused,
        };
        match done {
            Ok(Programmed { size: 0, .. }) => {
                metrics.updates_unchanged.inc();
                self.programmed();
            }
            Ok(programmed) => {
                metrics.commits.get_or_create(&ByResult { result }).inc();
                metrics.commit_duration.observe(begun.elapsed().as_secs_f64());
                if let Some(since) = self.waiting_since {
                    metrics.event_to_commit.observe(since.elapsed().as_secs_f64());
                }
                #[expect(clippy::cast_precision_loss, reason = "a count of changes, far below 2^52")]
                metrics.transaction_ops.observe(programmed.size as f64);
                if let Some(connections) = programmed.swept {
                    metrics.conntrack_sweeps.inc();
                    tracing::info!(connections, "cleared the marks of connections");
                }
                let Programmed { size, replaced, judged_again, .. } = programmed;
                let took = self.waiting_since.map(|since| since.elapsed());
                tracing::debug!(size, replaced, judged_again, ?took, "programmed");
                if replaced {
                    self.denials.restart();
                    metrics.repairs.inc_by(u64::from(self.retry.is_some()));
                    tracing::info!(size, "the table is in place");
                }
                self.programmed();
            }
            Err(error) => {
                metrics.commits.get_or_create(&ByResult { result }).inc();
                self.not_programmed(&error);
            }
        }
        if self.programmer.is_programmed() {
            if let Some(compiled) = self.state.compiled() {
                self.denials.follow(self.programmer.renderer().ruleset(), compiled);
                self.count_by_policy();
            }
            // The names of a new ruleset are asked for.
            let sets = self.programmer.renderer().names();
            self.names.follow(sets, self.learning.why_not().as_deref());
            self.learning.follow(sets.values().flat_map(|set| &*set.patterns));
        }
        self.show();
    }

    /// The kernel did not take a change: it is asked again.
    fn not_programmed(&mut self, error: &ProgramError) {
        let pause = self.retry.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
        let message = match error {
            ProgramError::Commit(CommitError::Refused { object, errno, .. }) => {
                format!("{error} ({})", node::explain_refusal(*errno, object, None))
            }
            _ => error.to_string(),
        };
        self.reports.readiness.set("kernel", [message.clone()]);
        if matches!(error, ProgramError::Commit(CommitError::Owned { .. })) {
            self.reports.charge.set(false);
        }
        tracing::error!(retry_in = ?pause, "the kernel does not hold what was compiled: {message}");
        self.waiting_since.get_or_insert_with(Instant::now);
        self.retry = Some((Timer::now() + pause, pause));
    }

    /// Takes in what happened to names, and hands it to the kernel.
    async fn take_names(&mut self, event: names::Event) {
        let touched = self.names.take(event, self.state.compiled());
        if !touched.names.is_empty() {
            self.renew(&touched).await;
        }
    }

    /// Takes in answers to pods, and lets them go on when what they say is in force.
    async fn take_answers(&mut self, first: learning::Seen) {
        let begun = Instant::now();
        let (mut round, mut answers) = (first.round, first.answers);
        while let Some(more) = self.learning.more() {
            round = more.round;
            answers.extend(more.answers);
        }
        let touched = self.names.learned(answers, self.state.compiled());
        if !touched.names.is_empty() {
            self.renew(&touched).await;
        }
        if self.programmer.is_programmed() {
            self.reports.metrics.names.learning.commit.observe(begun.elapsed().as_secs_f64());
            self.learning.in_force(round);
        }
    }

    async fn renew(&mut self, touched: &Touched) {
        let begun = Instant::now();
        let wanted = self.names.wanted(self.state.compiled());
        match self.programmer.renew(&wanted, touched).await {
            Ok(0) => {}
            Ok(size) => {
                let commits = &self.reports.metrics.commits;
                commits.get_or_create(&ByResult { result: CommitResult::Ok }).inc();
                self.reports.metrics.commit_duration.observe(begun.elapsed().as_secs_f64());
                tracing::debug!(size, "addresses of names");
            }
            Err(error) => {
                let unknown = matches!(error, ProgramError::Commit(CommitError::Unknown(_)));
                let result = if unknown { CommitResult::Unknown } else { CommitResult::Refused };
                self.reports.metrics.commits.get_or_create(&ByResult { result }).inc();
                self.not_programmed(&error);
            }
        }
    }

    /// The kernel is known to hold what was compiled.
    fn programmed(&mut self) {
        (self.waiting_since, self.retry) = (None, None);
        self.reports.readiness.clear("kernel");
        self.reports.charge.set(true);
        self.reports.metrics.synced(self.programmer.generation());
        if let Some(compiled) = self.state.compiled() {
            let groups = self.programmer.renderer().groups();
            self.generations.programmed(compiled, groups, &self.reports.metrics.of_policies);
        }
    }

    /// The ranges of the node's pods: as told, or as its Node object says.
    fn follow_pod_cidrs(&mut self) {
        let node = &self.config.options.node;
        let wanted =
            if self.config.pod_cidrs.is_empty() { self.state.pod_cidrs(node) } else { self.config.pod_cidrs.clone() };
        if wanted.is_empty()
            && self.config.options.unknown_pods == UnknownPods::Deny
            && !self.programmer.is_programmed()
        {
            tracing::warn!(
                node = %node,
                "the range of this node's pods is not known, so a pod is open until it is programmed: \
                 the Node object has no podCIDR; give --pod-cidr"
            );
        }
        if wanted != self.pod_cidrs {
            tracing::info!(pod_cidrs = ?wanted, "the range of this node's pods");
            self.programmer.set_pod_cidrs(wanted.clone());
            self.lookout.set_pod_blocks(wanted.clone());
            self.names.set_pod_cidrs(&wanted);
            self.pod_cidrs = wanted;
        }
    }

    async fn verify(&mut self) {
        if Timer::now() < self.verify_at {
            return;
        }
        let begun = Instant::now();
        match self.programmer.drift().await {
            Ok(None) => {}
            Ok(Some(drift)) => {
                self.reports.metrics.drift.inc();
                self.reports.readiness.set("kernel", ["somebody else changed the table; it is being repaired"]);
                let lines = drift.differences.len();
                tracing::error!(lines, "somebody else changed our table; it is put in place again");
                for line in drift.differences.iter().take(DRIFT_LINES) {
                    tracing::error!("  {line}");
                }
                self.waiting_since.get_or_insert_with(Instant::now);
                self.retry = Some((Timer::now(), RETRY.0));
            }
            Err(error) => {
                tracing::error!("the table cannot be checked: {error}");
                self.reports.readiness.set("kernel", [format!("the table cannot be checked: {error}")]);
                self.waiting_since.get_or_insert_with(Instant::now);
                self.retry.get_or_insert((Timer::now() + RETRY.0, RETRY.0));
            }
        }
        // Where others change their tables all the time, ours is not read all the time.
        self.verify_at = Timer::now() + begun.elapsed() * 10;
    }

    fn take_look(&mut self, look: Look) {
        let checked = match look {
            Ok(checked) => checked,
            Err(error) => {
                tracing::error!("the node cannot be looked at: {error}");
                self.reports.readiness.set("node", [format!("cannot be looked at: {error}")]);
                return;
            }
        };
        checked.changes.iter().for_each(|change| tracing::info!("{change}"));
        let blocking = checked.findings.iter().filter(|finding| finding.severity == Severity::Blocks);
        self.reports.readiness.set("node", blocking.map(ToString::to_string));
        let findings: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
        for finding in checked.findings.iter().filter(|finding| !self.findings.contains(&finding.to_string())) {
            match finding.severity {
                Severity::Blocks => tracing::error!("{finding}"),
                Severity::Warns => tracing::warn!("{finding}"),
                Severity::Notes => tracing::info!("{finding}"),
            }
        }
        self.findings = findings;
    }

    async fn count(&mut self) {
        if !self.programmer.is_programmed() {
            return;
        }
        let counters = match self.kernel.counters().await {
            Ok(counters) => counters,
            Err(error) => {
                tracing::warn!("the counters cannot be read: {error}");
                return;
            }
        };
        let metrics = &self.reports.metrics;
        for (direction, more) in self.denials.take(&counters) {
            metrics.denied_packets.get_or_create(&ByDirection { direction: direction.field() }).inc_by(more);
        }
        self.count_by_policy();
        for (direction, policy) in self.denials.forget(|policy| self.state.index().policy(policy).is_some()) {
            self.reports.metrics.policy_denied_packets.remove(&by_policy(direction, policy));
        }
    }

    /// What was denied by policy: from nothing on for a policy that is new on this node.
    fn count_by_policy(&mut self) {
        for (direction, policy, more) in self.denials.by_policy() {
            let label = by_policy(direction, policy);
            self.reports.metrics.policy_denied_packets.get_or_create(&label).inc_by(more);
        }
    }

    /// Says what is wrong with policies on this node, once everything was listed.
    fn report(&mut self) {
        let Some(objects) = self.reports.objects.as_ref().filter(|_| self.state.compiled().is_some()) else { return };
        let news = (self.learning.why_not(), self.names.never_resolved());
        if std::mem::take(&mut self.unreported) || news != self.reported {
            let subjects = objects::subjects(self.state.index(), &self.identities, &self.config.options.node);
            objects.want(objects::wanted(subjects, news.0.as_deref(), &news.1));
            self.reported = news;
        }
    }

    fn show(&self) {
        let ruleset = self.programmer.renderer().ruleset();
        let elements = ruleset.sets.values().map(|set| set.elements.len()).sum();
        let options = &self.config.options;
        let shown = Shown {
            node: options.node.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            table: self.config.table.clone(),
            mode: if options.audit { "audit" } else { "enforce" },
            unknown_pods: if options.unknown_pods == UnknownPods::Deny { "deny" } else { "allow" },
            pod_cidrs: self.pod_cidrs.iter().map(ToString::to_string).collect(),
            ready: self.reports.readiness.is_ready(),
            reasons: self.reports.readiness.reasons(),
            programmed_generation: self.programmer.generation(),
            pods: self.state.index().pods().len(),
            local_pods: self.programmer.renderer().local_pods(),
            policies: self.state.index().policies().len(),
            names: self.names.count(),
            unresolved_names: self.names.unresolved(),
            dns_learning: self.learning.why_not().unwrap_or_else(|| "on".to_owned()),
            peer_sets: self.programmer.renderer().peer_sets(),
            chains: ruleset.chains.len(),
            sets: ruleset.sets.len(),
            elements,
            denied_packets: self.denials.totals().map(|(direction, sum)| (direction.field(), sum)).collect(),
            findings: self.findings.clone(),
        };
        let metrics = &self.reports.metrics;
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.compiled_pods.set(gauge(shown.pods));
        metrics.local_pods.set(gauge(shown.local_pods));
        metrics.policies.set(gauge(shown.policies));
        metrics.peer_sets.set(gauge(shown.peer_sets));
        metrics.table_chains.set(gauge(shown.chains));
        metrics.table_sets.set(gauge(shown.sets));
        metrics.table_elements.set(gauge(shown.elements));
        metrics.names.elements.set(gauge(self.programmer.timed().len(Instant::now())));
        self.names.show();
        if let Err(error) = self.reports.status.set(&shown) {
            tracing::error!("the status cannot be shown: {error}");
        }
    }
}

fn by_policy(direction: Direction, (namespace, policy): Key) -> ByPolicy {
    ByPolicy { direction: direction.field(), namespace: namespace.into(), policy: policy.into() }
}

/// The longest name that goes into a log, and the longest message.
const LOGGED: (usize, usize) = (253, 1000);

/// Namespace and name, as logs have them.
fn named((namespace, name): &Key) -> (String, String) {
    (text::tame(namespace, LOGGED.0), text::tame(name, LOGGED.0))
}

/// A message about an object, with what its author wrote in it made harmless.
fn tamed(diagnostic: &Diagnostic) -> Diagnostic {
    let tame = |said: &String| text::tame(said, LOGGED.1);
    Diagnostic { message: tame(&diagnostic.message), help: diagnostic.help.as_ref().map(tame), ..diagnostic.clone() }
}

/// A kind as labels and logs name it.
fn word(kind: Watched) -> &'static str {
    kind.plural()
}
