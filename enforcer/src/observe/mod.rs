//! What the agent says about itself: metrics and health over HTTP, its log, and in the API server what policies it
//! cannot do. And where it tells of denied connections, beside their log.

mod events;
pub mod falcosidekick;
pub mod http;
pub mod log;
pub mod metrics;
pub mod names;
pub mod objects;
pub mod pod_events;
pub mod policies;
pub mod readiness;
pub mod server;
pub mod sinks;
pub mod socket;
pub(crate) mod text;

pub use metrics::{ByDirection, ByKind, ByPolicy, ByResult, BySink, CommitResult, Metrics};
pub use names::{ByReason, ByResolution, NamesMetrics};
pub use readiness::Readiness;
pub use server::{BindError, Heartbeat, Observed, Status, bind, serve};
