//! EgressDomainPolicy as the API server knows it: its typed form, its CustomResourceDefinition, and the status that
//! agents write.
//!
//! Policies are not read through these types: `ingest` reads them as it reads everything, with messages that point at
//! the place. The schema here is what the API server refuses beforehand, and says the same (G1), which tests demand of
//! both. `deploy/crd/netsim.dev_egressdomainpolicies.yaml` is made from [`EgressDomainPolicy::crd`].

#[cfg(test)]
mod tests;

use crate::policy::MAX_DOMAIN_NAMES;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use kube_core::{CustomResourceExt, Resource};

/// The API group of netsim's own kinds.
pub const GROUP: &str = "netsim.dev";
/// The version that is served.
pub const VERSION: &str = "v1alpha1";
/// The kind.
pub const KIND: &str = "EgressDomainPolicy";
/// Its plural, as in paths.
pub const PLURAL: &str = "egressdomainpolicies";

/// The condition of a node that cannot do the wildcards of a policy.
pub const UNSUPPORTED_WILDCARD: &str = "UnsupportedWildcard";
/// The condition of a node where names of a policy never had an address.
pub const UNRESOLVED: &str = "Unresolved";

/// The most nodes that one status tells of, so that the agents of a large cluster cannot fill an object up.
pub const MAX_NODES: u32 = 500;
/// The longest text of a name: with the final dot that a name may have.
///
/// A text in Unicode with characters that IDNA leaves out could be longer, and still be a name. Nobody writes that.
pub const MAX_NAME_TEXT: u32 = 254;

/// What a name has to look like, in the syntax that the `regex` crate and Go's have in common.
///
/// In ASCII this is the whole of G1, G1a and G1b, but for the length of all labels together and, where it begins with a
/// digit, of the last one, and for A-labels that are none. A text with anything else is left to netsim, since only IDNA
/// can tell what it stands for.
pub const NAME_PATTERN: &str = concat!(
    r"^(\*\.)?(",
    // Labels, each with a dot.
    r"([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+",
    // The last one is no number: it begins with no digit,
    r"([A-Za-z_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?",
    // or after digits, or after `0x` and hexadecimal digits, comes something else.
    r"|([1-9][0-9]*|0[0-9]+)([A-Za-z_]|[A-Za-z_-][A-Za-z0-9_-]{0,61}[A-Za-z0-9_])",
    r"|0([A-WYZa-wyz_]|[A-WYZa-wyz_-][A-Za-z0-9_-]{0,61}[A-Za-z0-9_])",
    r"|0[xX][0-9A-Fa-f]*([G-Zg-z_]|[G-Zg-z_-][A-Za-z0-9_-]{0,61}[A-Za-z0-9_])",
    r")\.?",
    r"|[A-Za-z0-9_.-]*[^\x00-\x7F]([A-Za-z0-9_.-]|[^\x00-\x7F])*",
    r")$"
);

/// Allows pods of a namespace to reach names outside the cluster, and isolates them for egress: what neither this
/// policy nor another one allows is denied.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[kube(
    group = "netsim.dev",
    version = "v1alpha1",
    kind = "EgressDomainPolicy",
    plural = "egressdomainpolicies",
    singular = "egressdomainpolicy",
    shortname = "edp",
    category = "network-policies",
    namespaced,
    status = "EgressDomainPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Allows pods to reach names outside the cluster, and isolates them for egress: what no policy allows them is \
           denied.",
    printcolumn = r#"{"name": "Pod-Selector", "type": "string", "jsonPath": ".spec.podSelector",
        "description": "The pods that the policy is for"}"#,
    printcolumn = r#"{"name": "Problem", "type": "string", "jsonPath": ".status.nodes[*].conditions[*].type",
        "description": "What a node reports; empty when none has anything to report"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct EgressDomainPolicySpec {
    /// The pods of the policy's namespace that it is for; `{}` selects all of them. They are isolated for egress.
    #[schemars(transform = strict_selector)]
    pub pod_selector: LabelSelector,
    /// What they may reach, besides what other policies allow them. Without any the pods are isolated, and this policy
    /// allows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub egress: Vec<EgressRule>,
}

/// What the API server checks in selectors of its own kinds, and would not in one of ours.
fn strict_selector(schema: &mut Schema) {
    let Some(expressions) = schema.pointer_mut("/properties/matchExpressions") else { return };
    expressions["maxItems"] = 64.into();
    let items = &mut expressions["items"];
    items["properties"]["operator"]["enum"] = json!(["In", "NotIn", "Exists", "DoesNotExist"]);
    items["x-kubernetes-validations"] = json!([{
        "rule": "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 \
                 : !has(self.values) || size(self.values) == 0",
        "message": "In and NotIn need values, Exists and DoesNotExist take none",
        "fieldPath": ".values",
    }]);
}

/// Names, and the ports that may be reached at them.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// Where to: any of these. At least one is needed: there is no way to say "everything" here.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub to: Vec<EgressPeer>,
    /// The ports; without them every port of every protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<EgressPort>", length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Option<Vec<EgressPort>>,
}

/// Names outside the cluster.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EgressPeer {
    /// DNS names such as `db.example.com`, or `*.example.com` for all names below `example.com`, but not itself.
    /// Names are absolute, and upper case is lower case.
    #[schemars(
        length(min = 1, max = MAX_DOMAIN_NAMES),
        inner(length(max = MAX_NAME_TEXT), regex(pattern = NAME_PATTERN)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub domain_names: Vec<String>,
}

/// A port, a range of ports, or all ports of a protocol.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.endPort) || has(self.port)", "message": "endPort needs port, where the range begins",
        "reason": "FieldValueRequired", "fieldPath": ".port"},
    {"rule": "!has(self.endPort) || !has(self.port) || self.endPort >= self.port",
        "message": "endPort must not be less than port", "fieldPath": ".endPort"},
]))]
pub struct EgressPort {
    /// The protocol.
    #[serde(default)]
    pub protocol: EgressProtocol,
    /// The number of the port, or of the first one; without it all ports of the protocol. A name is not possible: what
    /// is outside the cluster has no names of ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The last port, where a range is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub end_port: Option<i32>,
}

/// A protocol with ports.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EgressProtocol {
    /// TCP
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP
    #[serde(rename = "SCTP")]
    Sctp,
}

/// What the agents of nodes report. Where nothing is reported, all is well, or there is no agent.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EgressDomainPolicyStatus {
    /// The nodes that have something to report about this policy, at most 500. Each agent writes its own entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MAX_NODES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub nodes: Vec<NodeStatus>,
}

/// What one node reports.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The generation of the policy that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,
    /// `UnsupportedWildcard`: the node cannot learn the addresses of names below a wildcard, so those names are denied.
    /// `Unresolved`: names never had an address, so they are denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}
