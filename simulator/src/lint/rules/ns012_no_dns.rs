//! NS012: isolated pods that cannot look names up.

use super::dns::{about_egress, groups, spokesman};
use super::page;
use super::words::objects;
use crate::lint::{Context, Found, Named, Rule, Severity};
use netsim_shared::cluster::Key;
use netsim_shared::cluster_dns::ClusterDns;
use netsim_shared::compile::EndpointId;
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy, PolicyKind};
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

/// So many policies with names are pointed at.
const RELATED: usize = 3;

fn check(context: &Context<'_>) -> Vec<Found> {
    let side = context.compiled.side(Direction::Egress);
    let dns = ClusterDns::of(context.index, context.compiled);
    let mut cut_off: BTreeMap<Key, CutOff<'_>> = BTreeMap::new();
    for (group, ids) in groups(context) {
        if dns.allowed_by(group, Protocol::Udp).is_some() {
            continue;
        }
        let Some(slot) = spokesman(context, side, group) else { continue };
        let key = (slot.policy.namespace.clone(), slot.policy.name.clone());
        let policy = slot.policy.as_ref();
        let here = cut_off.entry(key).or_insert_with(|| CutOff { policy, pods: Vec::new(), named: BTreeMap::new() });
        here.pods.extend(ids);
        let named = side.policies_of(group).map(|slot| slot.policy.as_ref());
        let named = named.filter(|policy| policy.kind == PolicyKind::EgressDomainPolicy);
        let named = named.filter(|policy| policy.egress.as_ref().is_some_and(|rules| !rules.is_empty()));
        here.named.extend(named.map(|policy| (Named::from(policy), policy)));
    }
    cut_off.into_values().map(|cut_off| cut_off.told(context, &dns)).collect()
}

/// Pods that cannot look names up.
struct CutOff<'c> {
    /// The policy at which it is told.
    policy: &'c NetworkPolicy,
    pods: Vec<EndpointId>,
    /// The policies that allow names to any of them, in vain.
    named: BTreeMap<Named, &'c NetworkPolicy>,
}

impl CutOff<'_> {
    fn told(self, context: &Context<'_>, dns: &ClusterDns<'_>) -> Found {
        let carriers = context.carriers(self.pods.iter().copied());
        let who = objects(carriers.iter().map(|(carrier, _)| &carrier.object));
        let mut message = format!("{who} cannot look names up: no egress rule leads to {} over UDP", dns.who());
        if !self.named.is_empty() {
            message.push_str(&format!(", so the names in {} are of no use", objects(self.named.keys())));
        }
        let mut help = dns.help();
        if self.policy.kind == PolicyKind::EgressDomainPolicy {
            // That kind holds no such rule.
            help = help.replace("here or in a policy of its own for all pods", "in a NetworkPolicy for all pods");
        }
        let others = self.named.iter().filter(|(_, policy)| !std::ptr::eq(**policy, self.policy)).take(RELATED);
        others.fold(about_egress(self.policy, message).help(help), |found, (name, policy)| {
            found.related(format!("{name} allows names"), policy.origin.place_of(&Path::spec().key("egress")))
        })
    }
}
