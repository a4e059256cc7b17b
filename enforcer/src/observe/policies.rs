//! The metrics of single policies.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The labels of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfPolicy {
    /// What its kind is called, in lower case and plural: `networkpolicies`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its own name.
    pub policy: String,
}

/// Handles of the metrics about single policies; clones share the values.
#[derive(Debug, Clone, Default)]
pub struct PolicyMetrics {
    /// The generation of the text that the kernel holds, of policies that select pods of this node.
    pub programmed_generation: Family<OfPolicy, Gauge>,
}

impl PolicyMetrics {
    /// The names get their endings from their types.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Generation of a policy's text that the kernel holds";
        registry.register("policy_programmed_generation", help, self.programmed_generation.clone());
    }

    /// What is shown of a policy.
    pub fn generation_of(&self, kind: &'static str, namespace: &str, policy: &str) -> Option<i64> {
        let label = OfPolicy { kind, namespace: namespace.to_owned(), policy: policy.to_owned() };
        self.programmed_generation.get(&label).map(|gauge| gauge.get())
    }
}
