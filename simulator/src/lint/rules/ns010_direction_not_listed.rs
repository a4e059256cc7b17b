//! NS010: rules of a direction that `policyTypes` does not list (A2).

use super::page;
use super::written::is_empty;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy};

pub const RULE: Rule = Rule {
    id: "NS010",
    name: "direction-not-listed",
    severity: Severity::Error,
    summary: "rules of a direction that `policyTypes` does not list: they have no effect",
    neighbours: &[],
    page: page!("NS010"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let policies = context.index.policies();
    policies.flat_map(|policy| Direction::ALL.into_iter().filter_map(|d| judge(context, policy, d))).collect()
}

fn judge(context: &Context<'_>, policy: &NetworkPolicy, direction: Direction) -> Option<Found> {
    // What the policy isolates for is known; only the rules that it does not use have to be looked up.
    if policy.rules(direction).is_some() {
        return None;
    }
    let path = Path::spec().key(direction.field());
    let document = context.written(policy)?;
    if is_empty(document.at(&path.0)) {
        return None;
    }
    let policy_type = direction.policy_type();
    let message = format!("the {direction} rules have no effect: `policyTypes` does not list {policy_type}");
    let listed = policy.origin.place_of(&Path::spec().key("policyTypes"));
    let open = match direction {
        Direction::Ingress => "anybody may connect to its pods",
        Direction::Egress => "its pods may connect to anything",
    };
    let help = format!(
        "add `{policy_type}` to `policyTypes`, or remove the rules; as it stands {open}, as far as this policy goes"
    );
    Some(Found::in_policy(policy, path, message).help(help).related("the types that count", listed))
}
