//! NS001: namespaces whose pods anybody may connect to.

use super::default_deny::{Words, check_direction};
use super::page;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::policy::Direction;

pub const RULE: Rule = Rule {
    id: "NS001",
    name: "no-ingress-default-deny",
    severity: Severity::Warning,
    summary: "a namespace in which a new pod accepts connections from everywhere",
    neighbours: &[
        "kubescape C-0260",
        "kube-bench 5.3.2",
        "Trivy KSV-0038",
        "Checkov CKV2_K8S_6",
        "Polaris missingNetworkPolicy",
    ],
    page: page!("NS001"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let words = Words {
        who: "accepts connections from everywhere",
        policy_type: "Ingress",
        needed: "each connection that is needed",
    };
    check_direction(context, Direction::Ingress, &words)
}
