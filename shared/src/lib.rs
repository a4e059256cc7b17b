//! The pure core of netsim: Kubernetes NetworkPolicy from text to verdict.
//!
//! ```text
//! bytes ── ingest ──▶ objects ── cluster ──▶ ClusterIndex ── compile ──▶ Compiled ─┬─▶ evaluate (a verdict and its reason)
//!                                                                                   ├─▶ relation (all pairs, by classes)
//!                                                                                   └─▶ the enforcer's renderer
//! ```
//!
//! Everything here is values in, values out: no file system, no clock, no environment, no async. The
//! one exception is `dns::resolver`, behind the feature `resolver`, which asks DNS.
//! What a verdict means is written in `docs/semantics.md`; comments name its clauses as `(A3)`.
//! [`mod@reference`] is a second, naive evaluator written straight from that document; the tests
//! demand that it and the compiled form agree.

pub mod assertion;
pub mod cluster;
pub mod cluster_dns;
pub mod compile;
#[cfg(feature = "crd")]
pub mod crd;
pub mod default_deny;
pub mod diagnostic;
pub mod difference;
pub mod dns;
pub mod evaluate;
pub mod explain;
pub mod ingest;
pub mod list;
pub mod manifest;
pub mod names;
pub mod net;
pub mod object;
pub mod policy;
pub mod ports;
pub mod query;
pub mod reference;
pub mod relation;
pub mod selector;
pub mod services;
pub mod suggest;
pub mod survey;
