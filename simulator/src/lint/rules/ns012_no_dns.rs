//! NS012: isolated pods that cannot look names up.

use super::dns::{about_egress, groups, spokesman};
use super::page;
use super::words::objects;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::cluster::Key;
use netsim_shared::cluster_dns::ClusterDns;
use netsim_shared::compile::EndpointId;
use netsim_shared::policy::{Direction, NetworkPolicy};
use netsim_shared::ports::Protocol;
use std::collections::BTreeMap;

pub const RULE: Rule = Rule {
    id: "NS012",
    name: "no-dns",
    severity: Severity::Warning,
    summary: "pods that are isolated for egress and cannot look names up over UDP",
    neighbours: &[],
    page: page!("NS012"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let side = context.compiled.side(Direction::Egress);
    let dns = ClusterDns::of(context.index, context.compiled);
    let mut cut_off: BTreeMap<Key, (&NetworkPolicy, Vec<EndpointId>)> = BTreeMap::new();
    for (group, ids) in groups(context) {
        if dns.allowed_by(group, Protocol::Udp).is_some() {
            continue;
        }
        let Some(slot) = spokesman(context, side, group) else { continue };
        let key = (slot.policy.namespace.clone(), slot.policy.name.clone());
        cut_off.entry(key).or_insert_with(|| (slot.policy.as_ref(), Vec::new())).1.extend(ids);
    }
    let found = cut_off.into_values().map(|(policy, ids)| {
        let carriers = context.carriers(ids.iter().copied());
        let who = objects(carriers.iter().map(|(carrier, _)| &carrier.object));
        let message = format!("{who} cannot look names up: no egress rule leads to {} over UDP", dns.who());
        about_egress(policy, message).help(dns.help())
    });
    found.collect()
}
