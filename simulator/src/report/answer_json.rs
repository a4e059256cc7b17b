//! The answer of `can-reach` for programs: `docs/schemas/can-reach.schema.json`.

use crate::commands::can_reach::Asked;
use netsim_shared::cluster_dns::Lookup;
use netsim_shared::diagnostic::Place;
use netsim_shared::evaluate::{Exemption, Judgement, Outcome, Party, RuleRef};
use netsim_shared::explain::{Advice, Asked as Explained, Change, Fix, advise_both, advise_name};
use netsim_shared::manifest::policy_yaml;
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy};
use netsim_shared::ports::{PortRange, PortSet};
use netsim_shared::query::name::ToName;
use netsim_shared::query::{Connection, Judged};
use serde::Serialize;

/// The version of all JSON that netsim writes. It grows when something is removed or changes its
/// meaning; fields may be added at any time.
pub const SCHEMA_VERSION: &str = "1";

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerJson {
    schema_version: &'static str,
    source: String,
    destination: String,
    verdict: &'static str,
    connections: Vec<ConnectionJson>,
    notes: Vec<String>,
    incomplete: Vec<ForeignJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionJson {
    source: String,
    sources: usize,
    destination: String,
    destinations: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<DecisionJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_ports: Option<Vec<FamilyPortsJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_ports: Option<Vec<PortRange>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    isolated_by: Vec<PolicyJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_by: Option<RuleJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<NameJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NameJson {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    lookup: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lookup_reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    smallest_change: Vec<FixJson>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum FixJson {
    Rule(ChangeJson),
    #[serde(rename_all = "camelCase")]
    Policy {
        new_policy: String,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyPortsJson {
    family: &'static str,
    ports: Vec<PortRange>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DecisionJson {
    family: &'static str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemption: Option<String>,
    egress: SideJson,
    ingress: SideJson,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SideJson {
    allowed: bool,
    isolated_by: Vec<PolicyJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_by: Option<RuleJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nearly_allowed_by: Vec<NearJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    smallest_change: Option<ChangeJson>,
}

#[derive(Debug, Serialize)]
struct PolicyJson {
    namespace: String,
    name: String,
    #[serde(flatten)]
    place: Option<PlaceJson>,
}

#[derive(Debug, Serialize)]
struct PlaceJson {
    file: String,
    line: u32,
}

#[derive(Debug, Serialize)]
struct RuleJson {
    namespace: String,
    name: String,
    path: String,
    #[serde(flatten)]
    place: Option<PlaceJson>,
}

#[derive(Debug, Serialize)]
struct NearJson {
    #[serde(flatten)]
    rule: RuleJson,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeJson {
    #[serde(flatten)]
    rule: RuleJson,
    add_rule: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignJson {
    api_version: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
}

impl From<&netsim_shared::object::ForeignPolicy> for ForeignJson {
    fn from(policy: &netsim_shared::object::ForeignPolicy) -> Self {
        ForeignJson {
            api_version: policy.api_version.to_string(),
            kind: policy.kind.to_string(),
            namespace: policy.namespace.as_ref().map(ToString::to_string),
            name: policy.name.to_string(),
        }
    }
}

fn place(place: Option<Place>) -> Option<PlaceJson> {
    place.map(|p| PlaceJson { file: p.source.to_string(), line: p.line })
}

fn policy(policy: &NetworkPolicy) -> PolicyJson {
    PolicyJson {
        namespace: policy.namespace.to_string(),
        name: policy.name.to_string(),
        place: place(policy.origin.place_of(&Path::default())),
    }
}

fn rule(rule: &RuleRef, path: &Path) -> RuleJson {
    rule_at(&rule.policy, path)
}

fn rule_at(policy: &NetworkPolicy, path: &Path) -> RuleJson {
    RuleJson {
        namespace: policy.namespace.to_string(),
        name: policy.name.to_string(),
        path: path.to_string(),
        place: place(policy.origin.place_of(path)),
    }
}

fn side(judgement: &Judgement, advice: &Advice) -> SideJson {
    SideJson {
        allowed: judgement.allows(),
        isolated_by: judgement.isolated_by.iter().map(|p| policy(p)).collect(),
        allowed_by: judgement.allowed_by.as_ref().map(|r| rule(r, &r.path())),
        nearly_allowed_by: advice
            .near
            .iter()
            .map(|n| NearJson { rule: rule(&n.rule, &n.path), reason: n.why.clone() })
            .collect(),
        smallest_change: advice.change.as_ref().map(change_json),
    }
}

/// The word for an outcome.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::Unknown => "unknown",
    }
}

/// What an exemption says.
pub fn exemption(exemption: &Exemption) -> String {
    match exemption {
        Exemption::SamePod => "a pod always reaches itself".to_owned(),
        Exemption::OwnNode(node) => format!("a pod and its own node ({node}) always reach each other"),
    }
}

fn connection(asked: &Asked<'_>, c: &Connection) -> ConnectionJson {
    let (mut reason, mut decisions, mut allowed_ports) = (None, Vec::new(), None);
    let (mut isolated_by, mut allowed_by) = (Vec::new(), None);
    match &c.judged {
        Judged::Name(judged) => {
            reason = Some(judged.why.clone());
            allowed_by = judged.allowed_by.as_ref().map(|r| rule(r, &r.path()));
            isolated_by = judged.isolated_by.iter().map(|p| policy(p)).collect();
        }
        Judged::Other(why) => reason = Some(why.clone()),
        Judged::Ports(by_family) => {
            let of = |(family, ports): &(netsim_shared::net::Family, netsim_shared::ports::PortSet)| FamilyPortsJson {
                family: family.as_str(),
                ports: ports.ranges().to_vec(),
            };
            allowed_ports = Some(by_family.iter().map(of).collect());
        }
        Judged::Port(list) => {
            for decision in list {
                let advice = explained(c, decision.family)
                    .map(|e| advise_both(&asked.loaded.index, &asked.loaded.compiled, &e, decision));
                let of = |direction: Direction| {
                    let found = advice.as_ref().and_then(|both| both.iter().find(|(d, _)| *d == direction));
                    let advice = found.map(|(_, advice)| advice.clone()).unwrap_or_default();
                    // What lets a name pass is told once for all its addresses.
                    let change = advice.change.filter(|_| c.to_name.is_none());
                    Advice { change, ..advice }
                };
                decisions.push(DecisionJson {
                    family: decision.family.as_str(),
                    verdict: outcome(decision.outcome),
                    exemption: decision.exemption.as_ref().map(exemption),
                    egress: side(&decision.egress, &of(Direction::Egress)),
                    ingress: side(&decision.ingress, &of(Direction::Ingress)),
                });
            }
        }
    }
    ConnectionJson {
        source: c.source.name.clone(),
        sources: c.sources,
        destination: c.destination_name.clone(),
        destinations: c.destinations,
        protocol: c.protocol.map(|p| p.as_str()),
        port: c.port,
        verdict: c.verdict.as_str(),
        reason,
        decisions,
        allowed_ports,
        open_ports: None,
        isolated_by,
        allowed_by,
        name: c.to_name.as_ref().map(|to| name_json(asked, c, to)),
    }
}

fn name_json(asked: &Asked<'_>, c: &Connection, to: &ToName) -> NameJson {
    let compiled = &asked.loaded.compiled;
    let lookup = match &to.lookup {
        Lookup::Open => "allowed",
        Lookup::NotShown => "unknown",
        Lookup::NoRule => "denied",
        Lookup::Closed { decision, .. } => outcome(decision.outcome),
    };
    let fixes = advise_name(&asked.loaded.index, compiled, c);
    NameJson {
        name: to.name.to_string(),
        address: to.address.map(|address| address.to_string()),
        lookup,
        lookup_reason: to.no_lookup(compiled, &c.source),
        smallest_change: fixes.iter().map(fix_json).collect(),
    }
}

fn fix_json(fix: &Fix) -> FixJson {
    match fix {
        Fix::Rule(change) => FixJson::Rule(change_json(change)),
        Fix::Policy { policy, .. } => FixJson::Policy { new_policy: policy_yaml(policy, &[]) },
    }
}

fn change_json(change: &Change) -> ChangeJson {
    ChangeJson { rule: rule_at(&change.policy, &change.path()), add_rule: change.to_yaml() }
}

/// What is explained of a connection in a family.
pub fn explained(c: &Connection, family: netsim_shared::net::Family) -> Option<Explained> {
    let destination = c.destination.as_ref()?;
    // A piece of a block is asked by its first address and named by its blocks.
    let blocks = [&c.source, destination].into_iter().flat_map(|who| match who.party {
        Party::Address(address) if who.name != address.to_string() => who.blocks.clone(),
        _ => Vec::new(),
    });
    Some(Explained {
        source: c.source.party,
        destination: destination.party,
        protocol: c.protocol?,
        port: c.port?,
        family,
        blocks: blocks.collect(),
    })
}

/// The same with all ports that are open, of connections that stand for more than their own.
pub fn with_open(asked: &Asked<'_>, open: &[Option<PortSet>]) -> AnswerJson {
    let mut answer = of(asked);
    for (connection, ports) in answer.connections.iter_mut().zip(open) {
        connection.open_ports = ports.as_ref().map(|ports| ports.ranges().to_vec());
    }
    answer
}

/// The answer as JSON.
pub fn of(asked: &Asked<'_>) -> AnswerJson {
    AnswerJson {
        schema_version: SCHEMA_VERSION,
        source: asked.source.to_owned(),
        destination: asked.destination.to_owned(),
        verdict: asked.answer.verdict.as_str(),
        connections: asked.answer.connections.iter().map(|c| connection(asked, c)).collect(),
        notes: asked.answer.notes.clone(),
        incomplete: asked.answer.incomplete.iter().map(|f| ForeignJson::from(f.as_ref())).collect(),
    }
}
