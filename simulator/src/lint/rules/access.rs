//! Which roles let their holders write policies (RBAC).

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::diagnostic::Place;
use netsim_shared::object::{AccessRule, Path, Role, RoleBinding};
use netsim_shared::selector::{Requirement, Selector};
use std::collections::BTreeSet;

/// The kinds of policies: API group, resource, and what to call them.
const POLICIES: [(&str, &str, &str); 2] = [
    ("networking.k8s.io", "networkpolicies", "NetworkPolicies"),
    ("netsim.dev", "egressdomainpolicies", "EgressDomainPolicies"),
];
const ACCESS_GROUP: &str = "rbac.authorization.k8s.io";
/// What changes objects, in the order of messages.
const VERBS: [&str; 4] = ["create", "update", "patch", "delete"];

/// What a role lets its holders do to policies.
#[derive(Debug, Clone)]
pub struct Grant {
    /// `create, update and delete NetworkPolicies`
    pub what: String,
    /// What to do about it.
    pub help: String,
    /// The rule that says so, in words, and where it stands; `None` for a role that every cluster has and
    /// the input has not.
    pub rule: Option<(String, Option<Place>)>,
}

/// What the role of a binding lets its holders do; `None` when it cannot write policies, or is not known.
pub fn grant(index: &ClusterIndex, binding: &RoleBinding) -> Option<Grant> {
    let namespace = if binding.cluster_role { None } else { binding.namespace.as_deref() };
    match index.role(namespace, &binding.role) {
        Some(role) => of_role(index, role, &mut BTreeSet::new()),
        None if binding.cluster_role => built_in(index, &binding.role),
        None => None,
    }
}

/// The ClusterRoles that every cluster has. What a cluster adds to them by labels counts too.
fn built_in(index: &ClusterIndex, name: &str) -> Option<Grant> {
    let whole = |what: &str, help: String| Some(Grant { what: what.to_owned(), help, rule: None });
    match name {
        "cluster-admin" => whole("do everything", "bind a role that has only what is needed".to_owned()),
        "admin" | "edit" => whole(
            "create, update, patch and delete NetworkPolicies",
            format!("bind a role of your own that has no `networkpolicies`: `{name}` includes them"),
        ),
        "view" => {
            let label = "rbac.authorization.k8s.io/aggregate-to-view";
            let selector: Selector = [Requirement::equals(label, "true")].into_iter().collect();
            aggregated(index, &selector, &mut BTreeSet::new())
        }
        _ => None,
    }
}

fn of_role<'i>(index: &'i ClusterIndex, role: &'i Role, seen: &mut BTreeSet<&'i str>) -> Option<Grant> {
    let own = (0..).zip(&role.rules).find_map(|(i, rule): (usize, _)| {
        let (what, help) = of_rule(rule)?;
        let path = Path::default().key("rules").index(i);
        let said = format!("{} {}, {path}, allows it", role.kind(), role.name);
        Some(Grant { what, help, rule: Some((said, role.origin.place_of(&path))) })
    });
    // ClusterRoles may aggregate each other in a circle.
    let first_time = role.namespace.is_some() || seen.insert(&role.name);
    let mut selectors = role.aggregates.iter().filter(|_| first_time);
    own.or_else(|| selectors.find_map(|selector| aggregated(index, selector, seen)))
}

fn aggregated<'i>(index: &'i ClusterIndex, selector: &Selector, seen: &mut BTreeSet<&'i str>) -> Option<Grant> {
    let mut roles = index.roles().filter(|role| role.namespace.is_none() && selector.matches(&role.labels));
    roles.find_map(|role| if seen.contains(role.name.as_ref()) { None } else { of_role(index, role, seen) })
}

/// What a rule allows, and what to do about it.
fn of_rule(rule: &AccessRule) -> Option<(String, String)> {
    let has = |list: &[Box<str>], wanted: &str| {
        list.iter().any(|word| matches!(word.as_ref(), "*") || word.as_ref() == wanted)
    };
    let mut kinds: Vec<_> = POLICIES
        .iter()
        .filter(|(group, resource, _)| has(&rule.groups, group) && has(&rule.resources, resource))
        .collect();
    if rule.groups.iter().any(|group| group.as_ref() == "*") {
        // Whoever may do everything does not need the list.
        kinds.truncate(1);
    }
    if !kinds.is_empty() {
        // A request that makes an object has no name yet: names never allow it.
        let possible = VERBS.iter().filter(|verb| rule.names.is_empty() || **verb != "create");
        let mut verbs: Vec<&str> = possible.copied().filter(|verb| has(&rule.verbs, verb)).collect();
        if rule.names.is_empty()
            && rule.verbs.iter().any(|verb| verb.as_ref() == "deletecollection")
            && !verbs.contains(&"delete")
        {
            verbs.push("delete");
        }
        if !verbs.is_empty() {
            let verbs: Vec<String> = verbs.into_iter().map(str::to_owned).collect();
            let verbs = super::words::all_of(&verbs);
            let all_of = |what: fn(&(&str, &str, &str)) -> String| {
                super::words::all_of(&kinds.iter().map(|kind| what(kind)).collect::<Vec<String>>())
            };
            let policies = all_of(|(_, _, plural)| (*plural).to_owned());
            let what = match &rule.names[..] {
                [] => format!("{verbs} {policies}"),
                names => format!("{verbs} the {policies} {}", names.join(", ")),
            };
            let resources = all_of(|(_, resource, _)| format!("`{resource}`"));
            let help = format!("take {resources} out of the role, or bind a role that does not have them");
            return Some((what, help));
        }
    }
    if !rule.names.is_empty() {
        return None;
    }
    let any = |resources: &[&str]| resources.iter().any(|resource| has(&rule.resources, resource));
    if has(&rule.groups, "") && has(&rule.verbs, "impersonate") && any(&["users", "groups", "serviceaccounts"]) {
        let help = "take `impersonate` out of the role, or say by `resourceNames` whom it is for";
        return Some(("impersonate those who may write NetworkPolicies".to_owned(), help.to_owned()));
    }
    let roles = has(&rule.groups, ACCESS_GROUP) && any(&["roles", "clusterroles"]);
    let raises = rule.verbs.iter().find(|verb| matches!(verb.as_ref(), "bind" | "escalate"));
    raises.filter(|_| roles).map(|verb| {
        let what = format!("`{verb}` roles, and so get the right to write NetworkPolicies");
        let help = "take `bind` and `escalate` out of the role, or say by `resourceNames` which roles they are for";
        (what, help.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "networking.k8s.io";
    const RESOURCE: &str = "networkpolicies";

    fn rule(groups: &str, resources: &str, verbs: &str, names: &str) -> AccessRule {
        let list = |text: &str| text.split_whitespace().map(Into::into).collect();
        AccessRule { groups: list(groups), resources: list(resources), verbs: list(verbs), names: list(names) }
    }

    fn what(groups: &str, resources: &str, verbs: &str, names: &str) -> Option<String> {
        of_rule(&rule(groups, resources, verbs, names)).map(|(what, _)| what)
    }

    #[test]
    fn only_writing_counts() {
        assert_eq!(what(GROUP, RESOURCE, "get list watch", ""), None);
        assert_eq!(what("apps", RESOURCE, "*", ""), None);
        assert_eq!(what(GROUP, "ingresses", "*", ""), None);
        assert_eq!(what(GROUP, RESOURCE, "patch get", "").as_deref(), Some("patch NetworkPolicies"));
        assert_eq!(what("*", "*", "*", "").as_deref(), Some("create, update, patch and delete NetworkPolicies"));
        assert_eq!(what(GROUP, "*", "deletecollection", "").as_deref(), Some("delete NetworkPolicies"));
    }

    #[test]
    fn policies_of_names_are_policies() {
        let names = "egressdomainpolicies";
        assert_eq!(what("netsim.dev", names, "create get", "").as_deref(), Some("create EgressDomainPolicies"));
        assert_eq!(what(GROUP, names, "create", ""), None);
        assert_eq!(what("*", names, "patch", "").as_deref(), Some("patch EgressDomainPolicies"));
        let both = (format!("{GROUP} netsim.dev"), format!("{RESOURCE} {names}"));
        let said = what(&both.0, &both.1, "update", "");
        assert_eq!(said.as_deref(), Some("update NetworkPolicies and EgressDomainPolicies"));
    }

    #[test]
    fn names_allow_changes_and_never_to_make_one() {
        assert_eq!(what(GROUP, RESOURCE, "create deletecollection", "web"), None);
        assert_eq!(what(GROUP, RESOURCE, "create update", "web").as_deref(), Some("update the NetworkPolicies web"));
        assert_eq!(what(ACCESS_GROUP, "roles", "bind", "view"), None);
        assert!(what(ACCESS_GROUP, "roles", "bind", "").is_some());
    }
}
