//! The node agent: the compiled policies as one nftables table, kept true while the cluster changes.
//!
//! ```text
//! API server ── watch ──▶ ClusterIndex ─▶ Compiled ── render ──▶ Ruleset ── transaction ──▶ Transaction ── kernel ──▶ netlink
//!                         └────── netsim-shared ─────┘             (value)    old × new        (value)
//! ```
//!
//! `render` and `transaction` are pure; `watch`, `node`, `kernel` and `observe` do the talking;
//! `agent` joins them. What is promised and what is not is in `docs/enforcer.md`.

pub mod agent;
pub mod args;
pub mod commands;
pub mod drift;
pub mod explain;
pub mod flows;
pub mod kernel;
pub mod learn;
pub mod node;
pub mod observe;
pub mod render;
pub mod ruleset;
pub mod transaction;
pub mod watch;
