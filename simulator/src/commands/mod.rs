//! One file a command: load, ask, report, and the exit code.

pub mod can_reach;
pub mod completions;
pub mod filter;
pub mod list;
pub mod matrix;
pub mod report;
pub mod snapshot;
