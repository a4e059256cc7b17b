//! One file a command: load, ask, report, and the exit code.

pub mod can_reach;
pub mod completions;
pub mod diff;
pub mod filter;
pub mod list;
pub mod matrix;
pub mod snapshot;
pub mod what_if;
