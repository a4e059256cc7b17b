//! The metrics of where flows go.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The label of a place that flows go to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySink {
    /// `falcosidekick` or `events`.
    pub sink: &'static str,
}

/// Handles of the metrics about where flows go; clones share the values.
#[derive(Debug, Clone, Default)]
pub struct SinkMetrics {
    /// What was taken.
    sent: Family<BySink, Counter>,
    /// Tries that failed.
    failures: Family<BySink, Counter>,
    /// Flows that did not get there.
    lost: Family<BySink, Counter>,
}

impl SinkMetrics {
    /// The names get their endings from their types.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("flow_sink_sent", "Messages about flows that a sink took", self.sent.clone());
        registry.register("flow_sink_failures", "Times that a sink did not take a message", self.failures.clone());
        registry.register("flow_sink_lost", "Flows that were not told to a sink", self.lost.clone());
    }

    /// Those of a sink, which are there from now on.
    pub fn of(&self, sink: &'static str) -> OfSink {
        let label = BySink { sink };
        let of = |family: &Family<BySink, Counter>| family.get_or_create_owned(&label);
        OfSink { sent: of(&self.sent), failures: of(&self.failures), lost: of(&self.lost) }
    }
}

/// Handles of the metrics of one sink.
#[derive(Debug, Clone)]
pub struct OfSink {
    /// Messages that it took.
    pub sent: Counter,
    /// Times that it did not take one.
    pub failures: Counter,
    /// Flows that were not told: too many at once, or it did not take them for too long.
    pub lost: Counter,
}
