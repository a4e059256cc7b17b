//! The table of rules, one file each.

mod default_deny;
mod ns000_unreadable;
mod ns001_no_ingress_default_deny;
mod ns004_policy_selects_no_pod;
mod ns015_except_outside_cidr;
mod ns023_bad_end_port;

use super::Rule;

/// All rules, by number.
pub static RULES: &[&Rule] = &[
    &ns000_unreadable::RULE,
    &ns001_no_ingress_default_deny::RULE,
    &ns004_policy_selects_no_pod::RULE,
    &ns015_except_outside_cidr::RULE,
    &ns023_bad_end_port::RULE,
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
