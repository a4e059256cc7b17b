//! The metrics about names, and what they stand for.

use super::metrics::FloatGauge;
use netsim_shared::dns::answer::Outcome;
use netsim_shared::dns::refuse::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The label of questions about names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByResolution {
    /// How it ended: `addresses`, `no_address`, `no_such_name`, `failed`.
    pub result: &'static str,
}

impl ByResolution {
    const ALL: [&'static str; 4] = ["addresses", "no_address", "no_such_name", "failed"];

    /// What a question came to.
    pub fn of(outcome: &Outcome) -> Self {
        let result = match outcome {
            Outcome::Addresses(_) => "addresses",
            Outcome::NoAddress => "no_address",
            Outcome::NoSuchName => "no_such_name",
            Outcome::Failed(_) => "failed",
        };
        ByResolution { result }
    }
}

/// The label of refused addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    /// Why: [`Reason::as_str`].
    pub reason: &'static str,
}

const REASONS: [Reason; 10] = [
    Reason::Unspecified,
    Reason::Loopback,
    Reason::LinkLocal,
    Reason::Multicast,
    Reason::Broadcast,
    Reason::MappedIpv4,
    Reason::PodRange,
    Reason::ServiceRange,
    Reason::NodeRange,
    Reason::Private,
];

/// Handles of the metrics about names; clones share the values.
#[derive(Debug, Clone, Default)]
pub struct NamesMetrics {
    /// Names that are asked for.
    pub names: Gauge,
    /// Those of them that stand for no address.
    pub unresolved: Gauge,
    /// Those of them whose addresses are kept because the resolver fails.
    pub kept: Gauge,
    /// Addresses that names stand for.
    pub addresses: Gauge,
    /// Elements of timed sets that have not ended.
    pub elements: Gauge,
    /// Questions about names, by how they ended.
    pub resolutions: Family<ByResolution, Counter>,
    /// Addresses in answers that no name may stand for.
    pub refused: Family<ByReason, Counter>,
    /// Addresses that were too many.
    pub evicted: Counter,
    /// The age of the oldest answer that a name stands for addresses by, in seconds.
    pub oldest_answer: FloatGauge,
    /// How often the state of names could not be written.
    pub state_failures: Counter,
    /// About the answers that pods get.
    pub learning: LearningMetrics,
}

/// Handles of the metrics about answers of DNS to pods; clones share the values.
#[derive(Debug, Clone)]
pub struct LearningMetrics {
    /// 1 while they are read.
    pub active: Gauge,
    /// Packets that were held.
    pub held: Counter,
    /// Packets that went on before what they say was in force.
    pub late: Counter,
    /// Packets that came too fast, or made no sense; they passed.
    pub lost: Counter,
    /// How often the agent was too far behind to be told of answers.
    pub crowded: Counter,
    /// From the reading of answers to the kernel's answer, in seconds.
    pub commit: Histogram,
}

impl Default for LearningMetrics {
    fn default() -> Self {
        LearningMetrics {
            active: Gauge::default(),
            held: Counter::default(),
            late: Counter::default(),
            lost: Counter::default(),
            crowded: Counter::default(),
            commit: Histogram::new(exponential_buckets(0.0001, 2.0, 12)),
        }
    }
}

impl LearningMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("dns_learning", "Whether answers of DNS to pods are read", self.active.clone());
        registry.register("dns_held_answers", "Packets with answers that were held", self.held.clone());
        let late = "Packets that went on before what they say was in force";
        registry.register("dns_late_answers", late, self.late.clone());
        registry.register("dns_unread_answers", "Packets that passed unread", self.lost.clone());
        let crowded = "Times that the agent was too far behind to be told of answers";
        registry.register("dns_crowded", crowded, self.crowded.clone());
        let commit = "From the reading of answers until what they say is in force";
        registry.register_with_unit("dns_learning_duration", commit, Unit::Seconds, self.commit.clone());
    }
}

impl NamesMetrics {
    /// Registers them. Values whose labels are known are there from the start.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("dns_names", "Names that are asked for", self.names.clone());
        registry.register("dns_names_unresolved", "Names that stand for no address", self.unresolved.clone());
        let kept = "Names whose addresses are kept while they cannot be asked for";
        registry.register("dns_names_kept", kept, self.kept.clone());
        registry.register("dns_addresses", "Addresses that names stand for", self.addresses.clone());
        registry.register("dns_elements", "Addresses in the sets of names in the table", self.elements.clone());
        registry.register("dns_resolutions", "Questions about names, by how they ended", self.resolutions.clone());
        let refused = "Addresses in answers that no name may stand for";
        registry.register("dns_refused_addresses", refused, self.refused.clone());
        registry.register("dns_evicted_addresses", "Addresses of names that were too many", self.evicted.clone());
        let oldest = "Age of the oldest answer that a name stands for addresses by";
        registry.register_with_unit("dns_oldest_answer", oldest, Unit::Seconds, self.oldest_answer.clone());
        let failures = "Times that the state of names could not be written";
        registry.register("dns_state_failures", failures, self.state_failures.clone());
        self.learning.register(registry);
        ByResolution::ALL.iter().for_each(|result| drop(self.resolutions.get_or_create(&ByResolution { result })));
        REASONS.iter().for_each(|reason| drop(self.refused.get_or_create(&ByReason { reason: reason.as_str() })));
    }
}
