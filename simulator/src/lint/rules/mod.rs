//! The table of rules, one file each.

mod access;
mod containers;
mod covers;
mod default_deny;
mod dns;
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
mod ns025_changes_nothing;
mod ns026_one_sided_allow;
mod ns027_selects_host_network;
mod ns028_network_powers;
mod ns029_from_outside;
mod ns030_writes_policies;
mod ns031_missing_namespace;
mod ns032_duplicate_name;
mod ns037_names_not_valid;
mod ns038_names_without_effect;
mod ns039_shared_suffix;
mod ns040_name_in_cluster;
mod parts;
mod peers;
mod reach;
mod shared_suffixes;
mod words;
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
    &ns025_changes_nothing::RULE,
    &ns026_one_sided_allow::RULE,
    &ns027_selects_host_network::RULE,
    &ns028_network_powers::RULE,
    &ns029_from_outside::RULE,
    &ns030_writes_policies::RULE,
    &ns031_missing_namespace::RULE,
    &ns032_duplicate_name::RULE,
    &ns037_names_not_valid::RULE,
    &ns038_names_without_effect::RULE,
    &ns039_shared_suffix::RULE,
    &ns040_name_in_cluster::RULE,
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
