//! Which kinds are read, which are named as not understood, and which do not matter.

use crate::object::WorkloadKind;

/// What is done with an object of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// v1 Namespace
    Namespace,
    /// v1 Pod
    Pod,
    /// A workload with a pod template.
    Workload(WorkloadKind),
    /// v1 Service
    Service,
    /// v1 Endpoints
    Endpoints,
    /// discovery.k8s.io EndpointSlice
    EndpointSlice,
    /// v1 Node
    Node,
    /// networking.k8s.io NetworkPolicy
    NetworkPolicy,
    /// netsim.dev EgressDomainPolicy
    EgressDomainPolicy,
    /// rbac.authorization.k8s.io Role or ClusterRole
    Role,
    /// rbac.authorization.k8s.io RoleBinding or ClusterRoleBinding
    RoleBinding,
    /// A policy of another provider (H2).
    Foreign,
    /// Of no matter for connectivity: counted.
    Other,
}

/// API groups of network policy providers: what is called a policy there can change a verdict.
pub const PROVIDER_GROUPS: &[&str] = &[
    "policy.networking.k8s.io",
    "cilium.io",
    "crd.projectcalico.org",
    "projectcalico.org",
    "crd.antrea.io",
    "k8s.ovn.org",
    "security.istio.io",
    "policy.linkerd.io",
    "kuma.io",
    "netsim.dev",
    "kubeovn.io",
    "network.openshift.io",
];

/// Kinds of those groups that decide connectivity without `Policy` in their name.
const PROVIDER_KINDS: &[&str] = &[
    "EgressFirewall",
    "EgressNetworkPolicy",
    "Tier",
    "GlobalNetworkSet",
    "NetworkSet",
    "Server",
    "ServerAuthorization",
    "MeshTrafficPermission",
];

/// Sorts a kind.
pub fn classify(api_version: &str, kind: &str) -> Kind {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let workload = || WorkloadKind::ALL.into_iter().find(|k| k.kind() == kind).map(Kind::Workload);
    let known = match group {
        "" => match kind {
            "Namespace" => Some(Kind::Namespace),
            "Pod" => Some(Kind::Pod),
            "Service" => Some(Kind::Service),
            "Endpoints" => Some(Kind::Endpoints),
            "Node" => Some(Kind::Node),
            "ReplicationController" => workload(),
            _ => None,
        },
        "apps" | "batch" => workload(),
        "extensions" if kind != "NetworkPolicy" => workload(),
        "extensions" | "networking.k8s.io" if kind == "NetworkPolicy" => Some(Kind::NetworkPolicy),
        "discovery.k8s.io" if kind == "EndpointSlice" => Some(Kind::EndpointSlice),
        "netsim.dev" if kind == "EgressDomainPolicy" => Some(Kind::EgressDomainPolicy),
        "rbac.authorization.k8s.io" => match kind {
            "Role" | "ClusterRole" => Some(Kind::Role),
            "RoleBinding" | "ClusterRoleBinding" => Some(Kind::RoleBinding),
            _ => None,
        },
        _ => None,
    };
    if let Some(known) = known {
        return known;
    }
    let provider = PROVIDER_GROUPS.iter().any(|g| group == *g || group.ends_with(&format!(".{g}")));
    let decides = kind.ends_with("Policy") || PROVIDER_KINDS.contains(&kind);
    // A NetworkPolicy of any group is one that its author expects to be enforced.
    if (provider && decides) || kind.ends_with("NetworkPolicy") { Kind::Foreign } else { Kind::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_sorted_by_group() {
        assert_eq!(classify("networking.k8s.io/v1", "NetworkPolicy"), Kind::NetworkPolicy);
        assert_eq!(classify("crd.projectcalico.org/v1", "NetworkPolicy"), Kind::Foreign);
        assert_eq!(classify("cilium.io/v2", "CiliumClusterwideNetworkPolicy"), Kind::Foreign);
        assert_eq!(classify("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"), Kind::Foreign);
        assert_eq!(classify("netsim.dev/v1alpha1", "EgressDomainPolicy"), Kind::EgressDomainPolicy);
        assert_eq!(classify("netsim.dev/v1alpha1", "ConnectivityTest"), Kind::Other);
        assert_eq!(classify("apps/v1", "Deployment"), Kind::Workload(WorkloadKind::Deployment));
        assert_eq!(classify("v1", "ConfigMap"), Kind::Other);
        assert_eq!(classify("policy/v1", "PodSecurityPolicy"), Kind::Other);
        assert_eq!(classify("serving.knative.dev/v1", "Service"), Kind::Other);
    }
}
