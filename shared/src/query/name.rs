//! DNS names outside the cluster, without asking DNS (G6).

use super::Verdict;
use crate::compile::{Compiled, EndpointId};
use crate::dns::DomainName;
use crate::evaluate::Party;
use crate::net::{Family, family_of};
use crate::policy::{Direction, Peer, PortMatch, Rule};
use crate::ports::Protocol;

/// Judges whether a party reaches a name on a port (`None`: on any), and says why.
pub fn judge_name(
    compiled: &Compiled,
    source: Party,
    name: &DomainName,
    protocol: Protocol,
    port: Option<u16>,
) -> (Verdict, String) {
    match source {
        Party::Address(_) => (Verdict::Unknown, "neither end is a pod: no policy of this cluster decides it".into()),
        Party::Endpoint(id) => judge_endpoint(compiled, id, name, protocol, port),
    }
}

fn judge_endpoint(
    compiled: &Compiled,
    id: EndpointId,
    asked: &DomainName,
    protocol: Protocol,
    port: Option<u16>,
) -> (Verdict, String) {
    let Some(entry) = compiled.entry(id) else { return (Verdict::Unknown, "the pod is gone".into()) };
    let who = &entry.endpoint.key;
    let slots: Vec<_> = compiled.side(Direction::Egress).policies_of(entry.egress).collect();
    if slots.is_empty() {
        return (Verdict::Allowed, format!("no policy isolates {who} for egress"));
    }
    let rules = slots.iter().flat_map(|slot| {
        let rules = slot.policy.rules(Direction::Egress).unwrap_or_default();
        (0..).zip(rules).map(move |(i, rule): (usize, &Rule)| {
            (format!("{}/{} spec.egress[{i}]", slot.policy.namespace, slot.policy.name), rule)
        })
    });
    let mut open = Vec::new();
    let (mut somewhere, mut covered, mut by_name) = (false, Vec::new(), None);
    for (name, rule) in rules.filter(|(_, rule)| port_fits(rule, protocol, port)) {
        somewhere = true;
        let Some(peers) = &rule.peers else {
            return (Verdict::Allowed, format!("{name} allows it to everywhere"));
        };
        for peer in peers {
            let block = match peer {
                Peer::Block(block) => block,
                Peer::Names(patterns) => {
                    let pattern = patterns.iter().find(|pattern| pattern.matches(asked));
                    by_name = by_name.or_else(|| pattern.map(|pattern| format!("{name} allows `{pattern}`")));
                    continue;
                }
                // A name outside is no pod.
                Peer::Pods { .. } => continue,
            };
            if block.cidr.prefix_len() == 0 && block.except.is_empty() {
                covered.push((family_of(&block.cidr), name.clone()));
            } else {
                open.push(format!("{name} ({block})"));
            }
        }
    }
    if let Some(why) = by_name {
        return (Verdict::Allowed, why);
    }
    let families: Vec<Family> = entry.endpoint.families().collect();
    let all_covered = !families.is_empty() && families.iter().all(|f| covered.iter().any(|(c, _)| c == f));
    if let (true, Some((_, name))) = (all_covered, covered.first()) {
        return (Verdict::Allowed, format!("{name} allows it to every address"));
    }
    open.extend(covered.into_iter().map(|(family, name)| format!("{name} (every {family} address)")));
    if !open.is_empty() {
        let why = format!("it depends on the addresses of the name, which was not resolved: {}", open.join(", "));
        return (Verdict::Unknown, why);
    }
    let why = if somewhere {
        "the rules of that port name pods only, and a name outside is no pod"
    } else {
        "no rule allows that port to addresses outside"
    };
    let policies: Vec<String> = slots.iter().map(|s| format!("{}/{}", s.policy.namespace, s.policy.name)).collect();
    (Verdict::Denied, format!("{who} is isolated for egress by {}; {why}", policies.join(", ")))
}

/// Whether a rule's ports hold a port; addresses outside have no named ports (C3).
fn port_fits(rule: &Rule, protocol: Protocol, port: Option<u16>) -> bool {
    let Some(ports) = &rule.ports else { return true };
    ports.iter().any(|item| match item {
        PortMatch::Range(range) => range.protocol == protocol && port.is_none_or(|p| range.contains(protocol, p)),
        PortMatch::Named(_) => false,
    })
}
