//! The metrics, all with the prefix `netsim_enforcer_`.

use super::names::NamesMetrics;
use super::policies::PolicyMetrics;
use super::sinks::SinkMetrics;
use netsim_shared::policy::Direction;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

/// A gauge of a number that need not be whole.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// The label of what concerns a kind of object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByKind {
    /// What the kind is called, in lower case and plural: `pods`.
    pub kind: &'static str,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitResult {
    /// The kernel took it.
    Ok,
    /// The kernel refused it; what was there still is.
    Refused,
    /// It is not known whether the kernel took it.
    Unknown,
}

impl EncodeLabelValue for CommitResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            CommitResult::Ok => "ok",
            CommitResult::Refused => "refused",
            CommitResult::Unknown => "unknown",
        })
    }
}

/// The label of commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByResult {
    /// How it ended.
    pub result: CommitResult,
}

/// The label of packets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDirection {
    /// `ingress` or `egress`, as seen from the isolated pod: [`Direction::field`].
    pub direction: &'static str,
}

/// The labels of what concerns a policy in a direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByPolicy {
    /// `ingress` or `egress`, as seen from the isolated pod.
    pub direction: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name, as netsim says it.
    pub policy: String,
}

/// The label of where denied connections are told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySink {
    /// `log`, for the file or output of `--flow-log`; each sink has a word of its own.
    pub sink: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildInfo {
    version: &'static str,
}

/// Handles of all metrics; clones share the values.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// 1 when what the kernel holds is what was compiled.
    pub ready: Gauge,
    /// The generation that the kernel holds.
    pub programmed_generation: Gauge,
    /// Pods of the cluster that were compiled.
    pub compiled_pods: Gauge,
    /// Pods of this node that policy can isolate.
    pub local_pods: Gauge,
    /// Policies of the cluster.
    pub policies: Gauge,
    /// Sets of peers that rules of this node look addresses up in.
    pub peer_sets: Gauge,
    /// Sets and maps in our table.
    pub table_sets: Gauge,
    /// Elements in them.
    pub table_elements: Gauge,
    /// Chains in our table.
    pub table_chains: Gauge,
    /// Events of the API server.
    pub events: Family<ByKind, Counter>,
    /// Events that changed nothing.
    pub updates_unchanged: Counter,
    /// Transactions sent to the kernel.
    pub commits: Family<ByResult, Counter>,
    /// How long the kernel took, in seconds.
    pub commit_duration: Histogram,
    /// From the first event of a change to its commit, in seconds.
    pub event_to_commit: Histogram,
    /// Changes in a transaction.
    pub transaction_ops: Histogram,
    /// How often our table was found changed by somebody else.
    pub drift: Counter,
    /// How often it was repaired.
    pub repairs: Counter,
    /// How often a watch was begun anew.
    pub watch_restarts: Family<ByKind, Counter>,
    /// 1 while a watch fails.
    pub watch_failing: Family<ByKind, Gauge>,
    /// Objects that could not be read.
    pub unreadable_objects: Family<ByKind, Counter>,
    /// Packets that were denied.
    pub denied_packets: Family<ByDirection, Counter>,
    /// Packets that were denied to pods that a policy isolates.
    pub policy_denied_packets: Family<ByPolicy, Counter>,
    /// Denied connections that were told.
    pub denied_flows: Family<ByDirection, Counter>,
    /// Logged packets that could not be read, named or kept.
    pub flows_lost: Counter,
    /// Flows that a sink could not be told.
    pub flow_sink_failures: Family<BySink, Counter>,
    /// How often connections were swept.
    pub conntrack_sweeps: Counter,
    /// When the kernel was last known to hold what was compiled, in seconds since 1970.
    pub last_sync_timestamp: FloatGauge,
    /// Names, and what they stand for.
    pub names: NamesMetrics,
    /// Single policies.
    pub of_policies: PolicyMetrics,
    /// Where flows go.
    pub sinks: SinkMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All of them at nothing.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("netsim_enforcer");
        let build = Family::<BuildInfo, Gauge>::default();
        build.get_or_create(&BuildInfo { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Always 1, with the version of the agent", build);

        // From half a millisecond to half a minute.
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 17));
        let metrics = Self {
            registry: Arc::default(),
            ready: Gauge::default(),
            programmed_generation: Gauge::default(),
            compiled_pods: Gauge::default(),
            local_pods: Gauge::default(),
            policies: Gauge::default(),
            peer_sets: Gauge::default(),
            table_sets: Gauge::default(),
            table_elements: Gauge::default(),
            table_chains: Gauge::default(),
            events: Family::default(),
            updates_unchanged: Counter::default(),
            commits: Family::default(),
            commit_duration: seconds(),
            event_to_commit: seconds(),
            transaction_ops: Histogram::new(exponential_buckets(1.0, 4.0, 10)),
            drift: Counter::default(),
            repairs: Counter::default(),
            watch_restarts: Family::default(),
            watch_failing: Family::default(),
            unreadable_objects: Family::default(),
            denied_packets: Family::default(),
            policy_denied_packets: Family::default(),
            denied_flows: Family::default(),
            flows_lost: Counter::default(),
            flow_sink_failures: Family::default(),
            conntrack_sweeps: Counter::default(),
            last_sync_timestamp: FloatGauge::default(),
            names: NamesMetrics::default(),
            of_policies: PolicyMetrics::default(),
            sinks: SinkMetrics::default(),
        };
        metrics.register(&mut registry);
        metrics.names.register(&mut registry);
        metrics.of_policies.register(&mut registry);
        metrics.sinks.register(&mut registry);
        metrics.begin_at_zero();
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// The names get their endings from their types and units: `_total`, `_seconds`.
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("ready", "1 when the kernel holds what was compiled", &self.ready),
            ("programmed_generation", "Generation that the kernel holds", &self.programmed_generation),
            ("compiled_pods", "Pods of the cluster that were compiled", &self.compiled_pods),
            ("local_pods", "Pods of this node that policy can isolate", &self.local_pods),
            ("policies", "Policies of the cluster", &self.policies),
            ("peer_sets", "Sets of peers that rules of this node look addresses up in", &self.peer_sets),
            ("table_sets", "Sets and maps in the table", &self.table_sets),
            ("table_elements", "Elements in the sets and maps of the table", &self.table_elements),
            ("table_chains", "Chains in the table", &self.table_chains),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("updates_unchanged", "Events that changed nothing", &self.updates_unchanged),
            ("drift", "Times that somebody else had changed the table", &self.drift),
            ("repairs", "Times that the table was repaired", &self.repairs),
            ("flows_lost", "Logged packets that could not be read, named or kept", &self.flows_lost),
            ("conntrack_sweeps", "Times that connections were swept", &self.conntrack_sweeps),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("events", "Events of the API server", self.events.clone());
        registry.register("commits", "Transactions sent to the kernel, by how they ended", self.commits.clone());
        registry.register("watch_restarts", "Times that a watch was begun anew", self.watch_restarts.clone());
        registry.register("watch_failing", "1 while a watch fails", self.watch_failing.clone());
        registry.register("unreadable_objects", "Objects that could not be read", self.unreadable_objects.clone());
        registry.register("denied_packets", "Packets that policy denied", self.denied_packets.clone());
        let by_policy = "Packets that were denied to pods that a policy isolates";
        registry.register("policy_denied_packets", by_policy, self.policy_denied_packets.clone());
        registry.register("denied_flows", "Denied connections that were told", self.denied_flows.clone());
        let failures = "Flows that a sink could not be told";
        registry.register("flow_sink_failures", failures, self.flow_sink_failures.clone());
        registry.register("transaction_ops", "Changes in a transaction", self.transaction_ops.clone());
        let commit = "Time that the kernel took for a transaction";
        registry.register_with_unit("commit_duration", commit, Unit::Seconds, self.commit_duration.clone());
        let event = "Time from the first event of a change to its commit";
        registry.register_with_unit("event_to_commit", event, Unit::Seconds, self.event_to_commit.clone());
        let sync = "When the kernel was last known to hold what was compiled";
        registry.register_with_unit("last_sync_timestamp", sync, Unit::Seconds, self.last_sync_timestamp.clone());
    }

    /// Values whose labels are known are there from the start, so that their first increase is seen.
    fn begin_at_zero(&self) {
        for result in [CommitResult::Ok, CommitResult::Refused, CommitResult::Unknown] {
            drop(self.commits.get_or_create(&ByResult { result }));
        }
        for direction in Direction::ALL {
            drop(self.denied_packets.get_or_create(&ByDirection { direction: direction.field() }));
            drop(self.denied_flows.get_or_create(&ByDirection { direction: direction.field() }));
        }
    }

    /// Flows will be told to a sink: its failures are there from now on.
    pub fn will_tell(&self, sink: &'static str) {
        drop(self.flow_sink_failures.get_or_create(&BySink { sink }));
    }

    /// A kind of object will be watched: its values are there from now on.
    pub fn will_watch(&self, kind: &'static str) {
        let kind = ByKind { kind };
        drop(self.events.get_or_create(&kind));
        drop(self.watch_restarts.get_or_create(&kind));
        drop(self.watch_failing.get_or_create(&kind));
        drop(self.unreadable_objects.get_or_create(&kind));
    }

    /// The kernel is known to hold a generation, now.
    pub fn synced(&self, generation: u64) {
        self.programmed_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        // A clock before 1970 is no reason to stop.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_sync_timestamp.set(now.as_secs_f64());
    }

    /// All values in a text format.
    pub fn encode(&self, format: TextFormat) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        match format {
            TextFormat::OpenMetrics => Ok(text),
            TextFormat::Prometheus => Ok(as_prometheus(&text)),
        }
    }
}

/// The text formats of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older one of Prometheus, which everything understands.
    Prometheus,
}

impl TextFormat {
    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            TextFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The one that a client prefers, from its `Accept` header. OpenMetrics has to be asked for by
    /// name; everybody else gets the older format.
    pub fn preferred(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if name.eq_ignore_ascii_case("application/openmetrics-text") {
                open = f32::max(open, quality);
            } else if name.eq_ignore_ascii_case("text/plain") {
                plain = f32::max(plain, quality);
            }
        }
        if open > 0.0 && open >= plain { TextFormat::OpenMetrics } else { TextFormat::Prometheus }
    }
}

/// From OpenMetrics to the older format: there, the name of a counter has its ending in the lines
/// about it, too, and there are neither units nor an end.
fn as_prometheus(text: &str) -> String {
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let about = ["# HELP ", "# TYPE "].iter().find_map(|start| Some((*start, line.strip_prefix(start)?)));
        match about.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) if counters.contains(&name) => {
                out.extend([start, name, "_total ", rest, "\n"]);
            }
            None if line.starts_with('#') => {}
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_negotiated() {
        use TextFormat::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("application/json", Prometheus),
            ("text/plain", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0; q=0.5", OpenMetrics),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.3", Prometheus),
            ("application/openmetrics-text;q=many", Prometheus),
            // What Prometheus 2 and 3 send.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.1",
                OpenMetrics,
            ),
        ] {
            assert_eq!(TextFormat::preferred(accept), expected, "{accept}");
        }
    }

    #[test]
    fn the_older_format_names_counters_by_their_samples() {
        let text = "# HELP a_b Help for a_b.\n# TYPE a_b counter\na_b_total 1\n# HELP c Counter.\n# TYPE c gauge\n\
                    # UNIT c seconds\nc 2\n# EOF\n";
        let expected = "# HELP a_b_total Help for a_b.\n# TYPE a_b_total counter\na_b_total 1\n# HELP c Counter.\n\
                        # TYPE c gauge\nc 2\n";
        assert_eq!(as_prometheus(text), expected);
    }
}
