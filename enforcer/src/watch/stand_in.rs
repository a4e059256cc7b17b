//! What takes the place of a policy that cannot be read: one that selects the same pods and
//! allows nothing. Closed is what its author can notice and repair; open is not.

use netsim_shared::cluster::Key;
use netsim_shared::ingest::ingest_json;
use netsim_shared::object::Object;
use netsim_shared::policy::PolicyKind;
use serde_json::{Value, json};

/// The stand-in for the policy with this namespace, name and text.
///
/// As much of the policy is kept as can be read: its `podSelector`, or else all pods of its
/// namespace; of a NetworkPolicy its `policyTypes`, or else both. `None` without a namespace and a
/// name, which no object of an API server lacks.
pub fn stand_in(kind: PolicyKind, api_version: &str, (namespace, name): &Key, text: &str) -> Option<Object> {
    let written: Value = serde_json::from_str(text).unwrap_or_default();
    let spec = &written["spec"];
    let everyone = json!({});
    let both = json!(["Ingress", "Egress"]);
    let selectors = [&spec["podSelector"], &everyone].into_iter().filter(|selector| selector.is_object());
    let source = format!("the stand-in for an unreadable {}", kind.kind()).into();
    let read = |selector: &Value, types: &Value| {
        let spec = match kind {
            PolicyKind::NetworkPolicy => json!({"podSelector": selector, "policyTypes": types}),
            // It isolates for egress, and for nothing else, whatever it says.
            PolicyKind::EgressDomainPolicy => json!({"podSelector": selector, "egress": []}),
        };
        let policy = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        let mut ingested = ingest_json(&source, &policy.to_string(), api_version, kind.kind());
        ingested.objects.pop()
    };
    let is_written = |types: &&Value| types.as_array().is_some_and(|types| !types.is_empty());
    selectors
        .flat_map(|selector| {
            [&spec["policyTypes"], &both].into_iter().filter(is_written).map(move |types| (selector, types))
        })
        .find_map(|(selector, types)| read(selector, types))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::policy::NetworkPolicy;

    fn stand_in_of(kind: PolicyKind, api_version: &str, spec: Value) -> NetworkPolicy {
        let text = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": spec}).to_string();
        let stand_in = stand_in(kind, api_version, &("a".into(), "p".into()), &text);
        let Some(Object::NetworkPolicy(policy)) = stand_in else { panic!("{text}") };
        assert_eq!((policy.kind, &*policy.namespace, policy.own_name()), (kind, "a", "p"));
        for rules in [&policy.ingress, &policy.egress] {
            assert!(rules.as_ref().is_none_or(Vec::is_empty), "nothing is allowed");
        }
        policy
    }

    fn stand_in_for(spec: Value) -> NetworkPolicy {
        stand_in_of(PolicyKind::NetworkPolicy, "networking.k8s.io/v1", spec)
    }

    #[test]
    fn of_a_policy_with_names_only_egress_is_closed() {
        let of = |spec| stand_in_of(PolicyKind::EgressDomainPolicy, "netsim.dev/v1alpha1", spec);
        let web = json!({"matchLabels": {"app": "web"}});
        let whole = of(json!({"podSelector": web, "egress": [{"to": [{"domainNames": ["a..b"]}]}]}));
        assert!(whole.pod_selector.to_string().contains("web"));
        assert_eq!((whole.ingress, whole.egress), (None, Some(Vec::new())));
        let everyone = of(json!({"podSelector": 7, "policyTypes": ["Ingress"]}));
        assert_eq!(everyone.pod_selector, stand_in_for(json!({})).pod_selector);
        assert_eq!((everyone.ingress, everyone.egress), (None, Some(Vec::new())));
    }

    #[test]
    fn what_can_be_read_is_kept_and_the_rest_is_closed() {
        let web = json!({"matchLabels": {"app": "web"}});
        let of = |policy: NetworkPolicy| {
            (policy.pod_selector.to_string(), policy.ingress.is_some(), policy.egress.is_some())
        };
        let whole = stand_in_for(json!({"podSelector": web, "policyTypes": ["Egress"], "egress": 7}));
        assert_eq!(of(whole.clone()), (whole.pod_selector.to_string(), false, true));
        assert!(whole.pod_selector.to_string().contains("web"));
        let types = stand_in_for(json!({"podSelector": web, "policyTypes": ["Ingres"]}));
        assert_eq!(of(types), (whole.pod_selector.to_string(), true, true));
        // Without `policyTypes` they depend on rules that cannot be read.
        let none = stand_in_for(json!({"podSelector": web, "ingress": [{"form": []}]}));
        assert_eq!(of(none), (whole.pod_selector.to_string(), true, true));
        let everyone = stand_in_for(json!({})).pod_selector.to_string();
        let selector = stand_in_for(json!({"podSelector": {"matchLabel": {}}, "policyTypes": ["Ingress"]}));
        assert_eq!(of(selector), (everyone.clone(), true, false));
        for spec in [json!(null), json!(5), json!({"podSelector": [], "policyTypes": {}})] {
            assert_eq!(of(stand_in_for(spec)), (everyone.clone(), true, true));
        }
    }
}
