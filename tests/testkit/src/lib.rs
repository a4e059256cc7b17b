//! What the tests and benches share.
//!
//! - [`fixture`]: cases in the policies' own language, `tests/fixtures/<case>/`
//! - [`arbitrary`]: random clusters and policies, dense in edge cases
//! - [`synthetic`]: deterministic clusters of any size
//! - [`command`]: programs from the outside
//! - [`realistic`]: what pods of real clusters have besides
//! - [`apiserver`]: an API server in the process
//! - [`dns`]: a DNS server that answers as it is told
//! - [`documents`]: the shell blocks of documents
//! - [`yaml`]: YAML as JSON values
//! - [`netns`]: pods and nodes as network namespaces, real packets between them (Linux)

pub mod apiserver;
pub mod arbitrary;
pub mod command;
pub mod dns;
pub mod documents;
pub mod fixture;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod property;
pub mod realistic;
pub mod synthetic;
pub mod yaml;
