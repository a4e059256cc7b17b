//! The metrics of where flows are sent.

use super::metrics::{BySink, Metrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Handles of the metrics about where flows are sent; clones share the values.
#[derive(Debug, Clone, Default)]
pub struct SinkMetrics {
    /// What was taken.
    sent: Family<BySink, Counter>,
    /// Tries that failed.
    errors: Family<BySink, Counter>,
}

impl SinkMetrics {
    /// The names get their endings from their types.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("flow_sink_sent", "Messages about flows that a sink took", self.sent.clone());
        registry.register("flow_sink_errors", "Times that a sink did not take a message", self.errors.clone());
    }
}

impl Metrics {
    /// Those of a sink, which are there from now on.
    pub fn sink(&self, sink: &'static str) -> OfSink {
        let label = BySink { sink };
        let of = |family: &Family<BySink, Counter>| family.get_or_create_owned(&label);
        OfSink { sent: of(&self.sinks.sent), errors: of(&self.sinks.errors), lost: of(&self.flow_sink_failures) }
    }
}

/// Handles of the metrics of one sink.
#[derive(Debug, Clone)]
pub struct OfSink {
    /// Messages that it took.
    pub sent: Counter,
    /// Times that it did not take one.
    pub errors: Counter,
    /// Flows that were not told: too many at once, or it did not take them for too long.
    pub lost: Counter,
}
