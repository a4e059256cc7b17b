//! NS013: isolated pods that look names up over UDP only.

use super::dns::groups;
use super::page;
use super::parts::rules_of;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::cluster_dns::ClusterDns;
use netsim_shared::evaluate::RuleRef;
use netsim_shared::policy::{Direction, NetworkPolicy};
use netsim_shared::ports::Protocol;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const RULE: Rule = Rule {
    id: "NS013",
    name: "no-dns-over-tcp",
    severity: Severity::Info,
    summary: "pods that are isolated for egress and can look names up over UDP but not over TCP",
    neighbours: &[],
    page: page!("NS013"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let dns = ClusterDns::of(context.index, context.compiled);
    if !dns.serves(Protocol::Tcp) {
        return Vec::new();
    }
    let mut half: BTreeMap<(Box<str>, Box<str>, usize), Arc<NetworkPolicy>> = BTreeMap::new();
    for group in groups(context).into_keys() {
        let Some(RuleRef { policy, rule, .. }) = dns.allowed_by(group, Protocol::Udp) else { continue };
        if dns.allowed_by(group, Protocol::Tcp).is_none() {
            half.insert((policy.namespace.clone(), policy.name.clone(), rule), policy);
        }
    }
    let found = half.into_iter().filter_map(|((_, _, index), policy)| {
        let at = rules_of(&policy).find(|at| at.direction == Direction::Egress && at.index == index)?;
        let message = "names can be looked up over UDP only: answers that are too long for it never come";
        let help = "add the same port with `protocol: TCP`";
        Some(at.found(at.path().key("ports"), message).help(help))
    });
    found.collect()
}
