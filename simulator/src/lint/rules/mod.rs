//! The table of rules, one file each.

mod covers;
mod default_deny;
mod meant;
mod namespaces;
mod ns000_unreadable;
mod ns001_no_ingress_default_deny;
mod ns002_no_egress_default_deny;
mod ns003_pod_without_policy;
mod ns004_policy_selects_no_pod;
mod ns005_peer_selects_no_pod;
mod ns006_no_such_namespace;
mod ns007_name_label;
mod ns008_split_peer;
mod ns009_allow_all;
mod ns010_direction_not_listed;
mod ns011_implicit_policy_types;
mod ns015_except_outside_cidr;
mod ns023_bad_end_port;
mod ns025_changes_nothing;
mod ns026_one_sided_allow;
mod ns031_missing_namespace;
mod ns032_duplicate_name;
mod open;
mod peers;
mod written;

use super::Rule;
pub use namespaces::ALWAYS_THERE;

/// All rules, by number.
pub static RULES: &[&Rule] = &[
    &ns000_unreadable::RULE,
    &ns001_no_ingress_default_deny::RULE,
    &ns002_no_egress_default_deny::RULE,
    &ns003_pod_without_policy::RULE,
    &ns004_policy_selects_no_pod::RULE,
    &ns005_peer_selects_no_pod::RULE,
    &ns006_no_such_namespace::RULE,
    &ns007_name_label::RULE,
    &ns008_split_peer::RULE,
    &ns009_allow_all::RULE,
    &ns010_direction_not_listed::RULE,
    &ns011_implicit_policy_types::RULE,
    &ns015_except_outside_cidr::RULE,
    &ns023_bad_end_port::RULE,
    &ns025_changes_nothing::RULE,
    &ns026_one_sided_allow::RULE,
    &ns031_missing_namespace::RULE,
    &ns032_duplicate_name::RULE,
];

/// The rule of what cannot be read and has no rule of its own.
pub const UNREADABLE: &str = ns000_unreadable::RULE.id;

/// Of rules whose findings come from reading the input: when there are any, nothing else is judged.
fn found_while_reading(_: &super::Context<'_>) -> Vec<super::Found> {
    Vec::new()
}

/// The page of a rule.
macro_rules! page {
    ($id:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lints/", $id, ".md"))
    };
}
use page;
