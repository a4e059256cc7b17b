//! NS002: namespaces whose pods may connect to anything.

use super::default_deny::{Words, check_direction};
use super::page;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::policy::Direction;

pub const RULE: Rule = Rule {
    id: "NS002",
    name: "no-egress-default-deny",
    severity: Severity::Warning,
    summary: "a namespace in which a new pod may open connections to everywhere",
    neighbours: &["kubescape C-0260", "kubescape C-0030", "kube-bench 5.3.2", "Polaris missingNetworkPolicy"],
    page: page!("NS002"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let words = Words {
        who: "opens connections to everywhere",
        policy_type: "Egress",
        needed: "each connection that is needed, DNS first",
    };
    check_direction(context, Direction::Egress, &words)
}
