//! What the agent says about policies in the API server: a status entry of its node, and Events.
//!
//! ```text
//! index, Identities ── subjects ──▶ wanted ──▶ Objects::want ── newest only ──▶ writer ──▶ API server
//! ```
//!
//! `wanted` is pure. The writer is a task of its own, which enforcement never waits for. It needs these rights, and
//! does without the last two, once said so:
//!
//! ```yaml
//! - {apiGroups: [netsim.dev], resources: [egressdomainpolicies], verbs: [list, watch]}
//! - {apiGroups: [netsim.dev], resources: [egressdomainpolicies/status], verbs: [patch]}
//! - {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
//! ```
//!
//! The last is the one that [Events on pods](super::pod_events) need as well: all namespaces have pods, so it belongs in a
//! ClusterRole. No Event is ever changed, so `patch` is not needed.

mod wanted;
mod writer;

pub use wanted::{Identities, Problem, Report, Reports, Subject, subjects, wanted};
pub use writer::{Objects, Pace, start};
