//! NS011: policies that leave it to the API server what they isolate for (A2).

use super::page;
use super::written::is_empty;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::object::Path;
use netsim_shared::policy::NetworkPolicy;

pub const RULE: Rule = Rule {
    id: "NS011",
    name: "implicit-policy-types",
    severity: Severity::Info,
    summary: "a policy without `policyTypes`",
    neighbours: &[],
    page: page!("NS011"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    context.index.policies().filter_map(|policy| judge(context, policy)).collect()
}

fn judge(context: &Context<'_>, policy: &NetworkPolicy) -> Option<Found> {
    // What isolates for egress alone says so: without `policyTypes` ingress is always meant.
    policy.ingress.as_ref()?;
    let document = context.written(policy)?;
    let path = Path::spec().key("policyTypes");
    if !is_empty(document.at(&path.0)) {
        return None;
    }
    let spells = |field: &str| document.at(&Path::spec().key(field).0).is_some();
    let in_rules = policy.ingress.as_ref().is_some_and(|rules| !rules.is_empty());
    let out_rules = policy.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let (message, help) = match (in_rules || spells("ingress"), out_rules) {
        (true, true) => (
            "`policyTypes` is missing: the policy is about ingress, and for its rules about egress too",
            "write `policyTypes: [Ingress, Egress]`",
        ),
        (false, true) => (
            "`policyTypes` is missing: beside its egress rules the policy denies all ingress",
            "write `policyTypes: [Egress]` if ingress is not meant, else `policyTypes: [Ingress, Egress]`",
        ),
        (_, false) if spells("egress") => (
            "`policyTypes` is missing: the policy is about ingress alone, and its empty `egress` has no effect",
            "write `policyTypes: [Ingress, Egress]` to deny all egress, else `policyTypes: [Ingress]`",
        ),
        _ => ("`policyTypes` is missing: the policy is about ingress alone", "write `policyTypes: [Ingress]`"),
    };
    Some(Found::in_policy(policy, path, message).help(help))
}
