//! What the tests and benches share.
//!
//! - [`fixture`]: cases in the policies' own language, `tests/fixtures/<case>/`
//! - [`arbitrary`]: random clusters and policies, dense in edge cases
//! - [`synthetic`]: deterministic clusters of any size
//! - [`apiserver`]: an API server in the process

pub mod apiserver;
pub mod arbitrary;
pub mod fixture;
pub mod synthetic;
