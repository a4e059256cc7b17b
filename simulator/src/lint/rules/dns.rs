//! Whether isolated pods can look names up.
//!
//! Shared by NS012 and NS013. Asked by group: pods that the same policies isolate come out alike.

use crate::lint::{Context, Found};
use netsim_shared::compile::EndpointId;
use netsim_shared::compile::side::{GroupId, NOT_ISOLATED, PolicySlot, Side};
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy, PolicyKind};
use std::collections::BTreeMap;

/// The groups of isolated pods, without those that may go nowhere: these need no names.
pub fn groups(context: &Context<'_>) -> BTreeMap<GroupId, Vec<EndpointId>> {
    let side = context.compiled.side(Direction::Egress);
    let mut groups: BTreeMap<GroupId, Vec<EndpointId>> = BTreeMap::new();
    for (id, entry) in context.compiled.entries().filter(|(_, entry)| entry.egress != NOT_ISOLATED) {
        groups.entry(entry.egress).or_default().push(id);
    }
    groups.retain(|group, _| side.policies_of(*group).any(|slot| !slot.rules.is_empty()));
    groups
}

/// The policy at which something is told about a group: the one for most pods.
pub fn spokesman<'s>(context: &Context<'_>, side: &'s Side, group: GroupId) -> Option<&'s PolicySlot> {
    side.policies_of(group).max_by_key(|slot| {
        let policy = &slot.policy;
        (policy.pod_selector.is_everything(), context.selected(policy).len(), std::cmp::Reverse(&policy.name))
    })
}

/// Something about the egress of a policy.
pub fn about_egress(policy: &NetworkPolicy, message: String) -> Found {
    let has_rules = policy.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let has_list = has_rules || policy.kind == PolicyKind::EgressDomainPolicy;
    let path = Path::spec().key(if has_list { "egress" } else { "policyTypes" });
    Found::in_policy(policy, path, message)
}
