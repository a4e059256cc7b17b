//! The table of rules, one file each.

mod access;
mod containers;
mod default_deny;
mod dns;
mod ns000_unreadable;
mod ns001_no_ingress_default_deny;
mod ns004_policy_selects_no_pod;
mod ns012_no_dns;
mod ns013_no_dns_over_tcp;
mod ns014_cidr_not_canonical;
mod ns015_except_outside_cidr;
mod ns016_block_covers_pods;
mod ns017_block_covers_services;
mod ns018_reaches_metadata;
mod ns019_one_family_only;
mod ns020_port_name_unknown;
mod ns021_port_name_differs;
mod ns022_service_port;
mod ns023_bad_end_port;
mod ns024_protocol_omitted;
mod ns027_selects_host_network;
mod ns028_network_powers;
mod ns029_from_outside;
mod ns030_writes_policies;
mod parts;
mod reach;
mod words;

use super::Rule;

/// All rules, by number.
pub static RULES: &[&Rule] = &[
    &ns000_unreadable::RULE,
    &ns001_no_ingress_default_deny::RULE,
    &ns004_policy_selects_no_pod::RULE,
    &ns012_no_dns::RULE,
    &ns013_no_dns_over_tcp::RULE,
    &ns014_cidr_not_canonical::RULE,
    &ns015_except_outside_cidr::RULE,
    &ns016_block_covers_pods::RULE,
    &ns017_block_covers_services::RULE,
    &ns018_reaches_metadata::RULE,
    &ns019_one_family_only::RULE,
    &ns020_port_name_unknown::RULE,
    &ns021_port_name_differs::RULE,
    &ns022_service_port::RULE,
    &ns023_bad_end_port::RULE,
    &ns024_protocol_omitted::RULE,
    &ns027_selects_host_network::RULE,
    &ns028_network_powers::RULE,
    &ns029_from_outside::RULE,
    &ns030_writes_policies::RULE,
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
