//! NS009: rules that allow everything to the pods that they are for.

use super::default_deny::told;
use super::page;
use super::peers::rule_path;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::default_deny::allows_everything;
use netsim_shared::policy::{Direction, NetworkPolicy};

pub const RULE: Rule = Rule {
    id: "NS009",
    name: "allow-all-rule",
    severity: Severity::Warning,
    summary: "a rule that allows every peer on every port",
    neighbours: &[],
    page: page!("NS009"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for direction in Direction::ALL {
        let told = told(context, direction);
        for policy in context.index.policies() {
            for (number, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
                let by_another = told.iter().any(|(p, n)| std::ptr::eq(*p, policy.as_ref()) && *n == number);
                if !by_another && allows_everything(context.compiled, rule) {
                    found.push(allows_all(policy, direction, number, rule.peers.is_some()));
                }
            }
        }
    }
    found
}

fn allows_all(policy: &NetworkPolicy, direction: Direction, number: usize, in_disguise: bool) -> Found {
    let whom = match policy.pod_selector.is_everything() {
        true => format!("every pod of namespace {}", policy.namespace),
        false => format!("the pods `{}`", policy.pod_selector),
    };
    let message = match (direction, in_disguise) {
        (Direction::Ingress, false) => format!("this rule lets everybody connect to {whom}, on every port"),
        (Direction::Egress, false) => format!("this rule lets {whom} connect to everything, on every port"),
        (Direction::Ingress, true) => {
            format!("the peers of this rule come to everybody: all may connect to {whom}, on every port")
        }
        (Direction::Egress, true) => {
            format!("the peers of this rule come to everything: {whom} may connect to all of it, on every port")
        }
    };
    let others = policy.rules(direction).is_some_and(|rules| rules.len() > 1);
    let help = match others {
        true => "rules add up: the others beside it have no effect; name the peers, or at least the ports",
        false => "name the peers, or at least the ports",
    };
    Found::in_policy(policy, rule_path(direction, number), message).help(help)
}
