//! What this node would do with a connection, and why: what the kernel holds, what the policies say, and whether the two
//! agree.
//!
//! ```text
//! Words ── find ──▶ Question ─┬─ policies: evaluate ──▶ Policies ─┐
//!                             └─ kernel: walk ────────▶ Held ─────┴──▶ Connection ──▶ Explanation
//! ```
//!
//! A node judges its own pods only: the egress of a source that is its own, the ingress of a destination that is.

mod answer;
mod judge;
mod questions;

pub use answer::{Connection, End, Explanation, Held, KernelState, Miss, Policies, Side, Verdict, combine};
pub use judge::{Facts, Question, connections, find};
pub use questions::{AskError, Asked, Questions, Words};
