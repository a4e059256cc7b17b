//! One file a command: load, ask, report, and the exit code.

pub mod can_reach;
pub mod completions;
pub mod diff;
pub mod explain_rule;
pub mod filter;
pub mod generate;
pub mod lint;
pub mod list;
pub mod matrix;
pub mod report;
pub mod snapshot;
pub mod suggest;
pub mod test;
pub mod what_if;
