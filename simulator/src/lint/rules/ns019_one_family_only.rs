//! NS019: blocks of everything that leave out a family (B6).

use super::page;
use super::parts::{BlockAt, blocks};
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::net::Family;
use netsim_shared::policy::Direction;
use netsim_shared::selector::Selector;
use std::collections::HashSet;

pub const RULE: Rule = Rule {
    id: "NS019",
    name: "one-family-only",
    severity: Severity::Warning,
    summary: "a block of all addresses of one family, on a cluster that uses both",
    neighbours: &[],
    page: page!("NS019"),
    check,
};

/// Pods in a direction: policies that select the same add up.
type Scope<'c> = (&'c str, &'c Selector, Direction);

fn scope<'c>(at: &BlockAt<'c>) -> Scope<'c> {
    (&at.rule.policy.namespace, &at.rule.policy.pod_selector, at.rule.direction)
}

fn check(context: &Context<'_>) -> Vec<Found> {
    if context.compiled.families().len() < 2 {
        return Vec::new();
    }
    let whole: Vec<BlockAt<'_>> = blocks(context).filter(BlockAt::is_whole_family).collect();
    let mut covered: HashSet<(Scope<'_>, Family)> = whole.iter().map(|at| (scope(at), at.family())).collect();
    // A rule without peers is about both.
    for at in super::parts::rules(context).filter(|at| at.rule.peers.is_none()) {
        let scope = (at.policy.namespace.as_ref(), &at.policy.pod_selector, at.direction);
        covered.extend(Family::ALL.map(|family| (scope, family)));
    }
    whole.iter().filter_map(|at| found(at, &covered)).collect()
}

fn found(at: &BlockAt<'_>, covered: &HashSet<(Scope<'_>, Family)>) -> Option<Found> {
    let other = match at.family() {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    if covered.contains(&(scope(at), other)) {
        return None;
    }
    let message = format!(
        "`{}` is every {} address and no {other} one: pods here have both, and this rule allows nothing over {other}",
        at.block.cidr,
        at.family()
    );
    let help =
        format!("add `- ipBlock: {{cidr: \"{}\"}}` beside it, with the exceptions that are due there", other.whole());
    Some(at.found(message).help(help))
}
