//! Policies that deny by default and allow what is named: written together, so that nothing that was
//! named breaks when they are applied.
//!
//! ```text
//! cluster + needs ── default-denies ── compile ── what is denied then ── rules ── compile ── proof
//! ```
//!
//! The last step asks every need again. What is not allowed even then is told, never left out, and
//! whether it is allowed today.

pub mod flows;
mod name;
mod needs;
mod rules;
mod select;

pub(crate) use name::free;
pub use needs::{Destined, Need, Sources, Whole, needs_of};

use crate::cluster::ClusterIndex;
use crate::compile::Compiled;
use crate::default_deny::DefaultDeny;
use crate::evaluate::{Addresses, Decision, Outcome, Party, allowed_ports, evaluate, families_between};
use crate::net::Family;
use crate::object::{Object, Origin};
use crate::policy::{Direction, NetworkPolicy, PolicyKind};
use crate::ports::{PortRange, PortSet, Protocol};
use crate::query::Verdict;
use crate::query::name::judge_name;
use crate::selector::Selector;
use rules::Drafts;
use std::collections::BTreeSet;

/// Namespaces of the cluster itself: a default-deny there is not suggested without being asked for.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wish<'w> {
    /// The namespaces that may get policies; empty: all with pods but those of the system.
    pub namespaces: &'w [String],
    /// Whether pods that get an egress default-deny may ask the cluster's DNS.
    pub dns: bool,
    /// The connections that have to work.
    pub needs: &'w [Need],
}

/// A policy and why it is there.
#[derive(Debug, Clone)]
pub struct Suggested {
    /// The policy.
    pub policy: NetworkPolicy,
    /// Why, in words.
    pub why: Vec<String>,
}

/// A need that is not met whatever is suggested.
#[derive(Debug, Clone)]
pub struct Unmet {
    /// The need, in words.
    pub need: String,
    /// Who names it.
    pub by: String,
    /// Why not.
    pub why: String,
    /// Whether it works today: then what is suggested would break it.
    pub works_today: bool,
}

/// What to apply.
#[derive(Debug, Clone, Default)]
pub struct Suggestion {
    /// The policies, by namespace.
    pub policies: Vec<Suggested>,
    /// What is not allowed even with them.
    pub unmet: Vec<Unmet>,
    /// What has to be said besides.
    pub notes: Vec<String>,
}

/// Writes the policies. `before` is the cluster, compiled; needs name its endpoints.
pub fn suggest(index: &ClusterIndex, before: &Compiled, wish: &Wish<'_>) -> Suggestion {
    let mut out = Suggestion::default();
    let scope = scope(index, before, wish.namespaces);
    let denies = default_denies(index, before, &scope, &mut out.notes);
    let (mut with_more, mut denied) = (index.clone(), before.clone());
    apply(&mut with_more, &mut denied, &denies);
    let mut drafts = Drafts::new(index, &denied, &scope);
    if wish.dns {
        let without: Vec<&str> = denies
            .iter()
            .filter(|deny| deny.policy.egress.is_some())
            .map(|deny| deny.policy.namespace.as_ref())
            .collect();
        drafts.allow_dns(&without);
    }
    for need in wish.needs {
        for (direction, open) in sides(&denied, need) {
            if !open {
                drafts.allow(need, direction);
            }
        }
    }
    let allows = drafts.into_policies(index);
    let mut after = denied;
    apply(&mut with_more, &mut after, &allows);
    out.policies = denies;
    out.policies.extend(allows);
    out.policies.sort_by(|a, b| a.policy.namespace.cmp(&b.policy.namespace));
    out.unmet = wish.needs.iter().filter_map(|need| unmet(before, &after, &scope, need)).collect();
    out
}

/// The namespaces that may get policies.
fn scope(index: &ClusterIndex, compiled: &Compiled, asked: &[String]) -> BTreeSet<Box<str>> {
    if !asked.is_empty() {
        return asked.iter().map(|name| name.as_str().into()).collect();
    }
    let pods =
        |name: &str| compiled.in_namespace(name).filter_map(|id| compiled.entry(id)).any(|e| !e.endpoint.host_network);
    let names = index.namespace_names().into_iter().filter(|name| !SYSTEM_NAMESPACES.contains(name) && pods(name));
    names.map(Into::into).collect()
}

fn default_denies(
    index: &ClusterIndex,
    compiled: &Compiled,
    scope: &BTreeSet<Box<str>>,
    notes: &mut Vec<String>,
) -> Vec<Suggested> {
    let mut out = Vec::new();
    for namespace in scope {
        let mut missing = Vec::new();
        for direction in Direction::ALL {
            let found = DefaultDeny::of(index, compiled, namespace, direction);
            if let Some((policy, rule)) = &found.undone_by {
                notes.push(format!(
                    "{namespace} stays open for {direction}: {}/{} spec.{direction}[{rule}] allows everything; take that rule out first",
                    policy.namespace, policy.name
                ));
            } else if !found.is_in_force() {
                missing.push(direction);
            }
        }
        if missing.is_empty() {
            continue;
        }
        let name = match missing.as_slice() {
            [one] => format!("default-deny-{one}"),
            _ => "default-deny".to_owned(),
        };
        let rules = |direction| missing.contains(&direction).then(Vec::new);
        let words: Vec<String> = missing.iter().map(ToString::to_string).collect();
        out.push(Suggested {
            policy: NetworkPolicy {
                kind: PolicyKind::NetworkPolicy,
                namespace: namespace.clone(),
                name: name::free(index, namespace, &name, &[]).into(),
                pod_selector: Selector::default(),
                ingress: rules(Direction::Ingress),
                egress: rules(Direction::Egress),
                origin: Origin::default(),
            },
            why: vec![format!(
                "Denies all {} of every pod of {namespace} that no other policy allows.",
                words.join(" and ")
            )],
        });
    }
    out
}

/// Takes policies in. Endpoints keep their numbers, by which needs name them.
fn apply(index: &mut ClusterIndex, compiled: &mut Compiled, policies: &[Suggested]) {
    for suggested in policies {
        if let Some(change) = index.apply(Object::NetworkPolicy(suggested.policy.clone())) {
            compiled.update(index, &change);
        }
    }
}

/// Whether each side lets a need through, in every family that its ends have in common.
fn sides(compiled: &Compiled, need: &Need) -> [(Direction, bool); 2] {
    let destination = match &need.destination {
        Destined::Party(named) => named.party,
        Destined::Name(name) => {
            let judged = judge_name(compiled, need.source.party, name, need.protocol, need.port);
            let open = judged.verdict == Verdict::Allowed;
            return [(Direction::Egress, open), (Direction::Ingress, true)];
        }
    };
    let decisions = decisions(compiled, need, destination);
    let open = |side: fn(&Decision) -> bool| decisions.iter().all(|d| d.outcome == Outcome::Allowed || side(d));
    [(Direction::Egress, open(|d| d.egress.allows())), (Direction::Ingress, open(|d| d.ingress.allows()))]
}

/// A need without a port is about every port: it is met where every port is.
fn decisions(compiled: &Compiled, need: &Need, destination: Party) -> Vec<Decision> {
    let families = families_between(compiled, need.source.party, destination);
    let protocols = need.protocol.map_or(Protocol::ALL.to_vec(), |protocol| vec![protocol]);
    let ask = |family: Family, protocol: Protocol| {
        let port = need.port.or_else(|| closed_port(compiled, need.source.party, destination, family, protocol));
        evaluate(compiled, need.source.party, destination, protocol, port.unwrap_or(1), family)
    };
    families.iter().flat_map(|family| protocols.iter().filter_map(|p| ask(*family, *p))).collect()
}

/// A port of a protocol that is closed, if any is.
fn closed_port(
    compiled: &Compiled,
    source: Party,
    destination: Party,
    family: Family,
    protocol: Protocol,
) -> Option<u16> {
    let open = allowed_ports(compiled, source, destination, family, Addresses::Surely);
    let all: PortSet = PortRange::all_of(protocol).into();
    all.difference(&open).ranges().first().map(|range| range.from)
}

/// Why a need is not met, if it is not.
fn unmet(before: &Compiled, after: &Compiled, scope: &BTreeSet<Box<str>>, need: &Need) -> Option<Unmet> {
    let closed: Vec<Direction> = sides(after, need).into_iter().filter(|(_, open)| !open).map(|(d, _)| d).collect();
    let common = match &need.destination {
        Destined::Party(named) => !families_between(after, need.source.party, named.party).is_empty(),
        Destined::Name(_) => true,
    };
    if closed.is_empty() && common {
        return None;
    }
    let mut why: Vec<String> = closed.iter().map(|direction| need.why_not(after, scope, *direction)).collect();
    if !common {
        why.push("its ends have no address of the same family".to_owned());
    }
    let works_today = common && sides(before, need).iter().all(|(_, open)| *open);
    Some(Unmet { need: need.to_string(), by: need.by.clone(), why: why.join("; "), works_today })
}
