//! DNS names outside the cluster (G6): by the names in rules, or by the addresses that are known of a name; and
//! whether the name can be looked up at all (G6a).

use super::resolve::Named;
use super::{Connection, Judged, Verdict, alike, on_any_port, on_port};
use crate::cluster_dns::{ClusterDns, Lookup};
use crate::compile::Compiled;
use crate::dns::NamePattern;
use crate::evaluate::{Judgement, Outcome, Party, RuleRef};
use crate::names::{Outside, wanted};
use crate::net::Family;
use crate::policy::{Direction, NetworkPolicy};
use crate::ports::{PortSet, Protocol};
use std::net::IpAddr;
use std::sync::Arc;

/// What rules say of a name, whatever it stands for.
#[derive(Debug, Clone)]
pub struct NameJudgement {
    /// What it comes to.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
    /// The policies that isolate the source for egress.
    pub isolated_by: Vec<Arc<NetworkPolicy>>,
    /// The first rule that allows it by name.
    pub allowed_by: Option<RuleRef>,
    /// Whether it is allowed whatever the name is.
    pub open: bool,
    /// Of a question about every port: those that are allowed.
    pub ports: Option<PortSet>,
}

impl NameJudgement {
    fn new(verdict: Verdict, why: impl Into<String>) -> Self {
        let why = why.into();
        NameJudgement { verdict, why, isolated_by: Vec::new(), allowed_by: None, open: false, ports: None }
    }
}

/// The part of a connection that is there because it goes to a name.
#[derive(Debug, Clone)]
pub struct ToName {
    /// The name.
    pub name: NamePattern,
    /// The address that it stands for, where the connection is judged by that.
    pub address: Option<IpAddr>,
    /// What rules say of it, before it has to be looked up (G6a).
    pub by_rules: Verdict,
    /// Whether the source can look names up.
    pub lookup: Lookup,
}

impl ToName {
    /// Why the name cannot be looked up, or why that cannot be told; `None` where nothing keeps the source from it.
    pub fn no_lookup(&self, compiled: &Compiled, source: &Named) -> Option<String> {
        let list = |policies: &[Arc<NetworkPolicy>]| {
            let names: Vec<String> = policies.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
            names.join(", ")
        };
        let why = match &self.lookup {
            Lookup::Open | Lookup::NotShown => return None,
            Lookup::NoRule => {
                let Party::Endpoint(id) = source.party else { return None };
                let group = compiled.entry(id).map(|entry| entry.egress).unwrap_or_default();
                let policies = Outside::of(compiled, group).isolated_by;
                let by = list(&policies);
                format!("{} is isolated for egress by {by}, and no rule can be for DNS (UDP 53)", source.name)
            }
            Lookup::Closed { server, decision } => {
                let to = compiled.entry(server.id).map(|e| e.endpoint.key.to_string()).unwrap_or_default();
                let sides =
                    [(&decision.egress, &source.name, Direction::Egress), (&decision.ingress, &to, Direction::Ingress)];
                let closed = sides.into_iter().filter(|(judgement, ..)| !judgement.allows());
                let closed = closed.map(|(j, who, direction)| {
                    format!("{who} is isolated for {direction} by {} and no rule allows it", list(&j.isolated_by))
                });
                let closed: Vec<String> = closed.collect();
                let word = if decision.outcome == Outcome::Denied { "is denied" } else { "cannot be told" };
                format!("{} {} to {to} {word}: {}", server.protocol, server.port, closed.join("; "))
            }
        };
        let told = !matches!(&self.lookup, Lookup::Closed { decision, .. } if decision.outcome != Outcome::Denied);
        Some(match (self.by_rules, told) {
            (Verdict::Allowed, true) => format!("the name is allowed, but it cannot be looked up: {why}"),
            (Verdict::Allowed, false) => {
                format!("the name is allowed, but whether it can be looked up is unknown: {why}")
            }
            (Verdict::Denied, true) => format!("nor can it be looked up: {why}"),
            (Verdict::Mixed | Verdict::Unknown, true) => format!("and it cannot be looked up: {why}"),
            (_, false) => format!("whether it can be looked up is unknown, too: {why}"),
        })
    }
}

/// Judges by the names in rules whether a party reaches a name on a port (`None`: on every one), and says why.
pub fn judge_name(
    compiled: &Compiled,
    source: Party,
    name: &NamePattern,
    protocol: Option<Protocol>,
    port: Option<u16>,
) -> NameJudgement {
    let Party::Endpoint(id) = source else {
        return NameJudgement::new(Verdict::Unknown, "neither end is a pod: no policy of this cluster decides it");
    };
    let Some(entry) = compiled.entry(id) else { return NameJudgement::new(Verdict::Unknown, "the pod is gone") };
    let who = &entry.endpoint.key;
    let outside = Outside::of(compiled, entry.egress);
    let wanted = wanted(protocol, port);
    let of_wanted = |ports: &PortSet| ports.intersection(&wanted);
    if outside.isolated_by.is_empty() {
        let mut judgement = NameJudgement::new(Verdict::Allowed, format!("no policy isolates {who} for egress"));
        judgement.open = true;
        return judgement;
    }
    let open = of_wanted(&outside.open(entry.endpoint.families()));
    let by_name = of_wanted(&outside.by_pattern(name));
    let surely = open.union(&by_name);
    let maybe = surely.union(&of_wanted(&outside.open_to_some()));
    let named = outside.names.iter().find(|g| name.is_within(&g.to) && !of_wanted(&g.ports).is_empty());
    let everywhere = outside.everywhere.iter().find(|grant| !of_wanted(&grant.ports).is_empty());
    let policies = || {
        let names: Vec<String> = outside.isolated_by.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
        names.join(", ")
    };
    let (verdict, why) = if open == wanted {
        let rule = everywhere.map(|grant| grant.rule.name()).unwrap_or_default();
        let to = if everywhere.is_some_and(|g| g.to.is_none()) { "everywhere" } else { "every address" };
        (Verdict::Allowed, format!("{rule} allows it to {to}"))
    } else if surely == wanted {
        let by = named.map(|grant| format!("{} allows `{}`", grant.rule.name(), grant.to));
        (Verdict::Allowed, by.unwrap_or_else(|| format!("all rules of {} together allow it", policies())))
    } else if maybe != surely {
        let blocks = outside.blocks.iter().filter(|g| !of_wanted(&g.ports).is_empty());
        let blocks = blocks.map(|grant| format!("{} ({})", grant.rule.name(), grant.to));
        let whole = outside.everywhere.iter().filter(|g| !of_wanted(&g.ports).is_empty());
        let whole = whole.filter_map(|g| Some(format!("{} (every {} address)", g.rule.name(), g.to?)));
        let rules: Vec<String> = blocks.chain(whole).collect();
        let why = format!("it depends on the addresses of the name, which was not resolved: {}", rules.join(", "));
        (Verdict::Unknown, why)
    } else if surely.is_empty() {
        (Verdict::Denied, format!("{who} is isolated for egress by {}; {}", policies(), no_rule(&outside, &wanted)))
    } else {
        (Verdict::Mixed, format!("{surely} allowed (name a port to see why)"))
    };
    NameJudgement {
        verdict,
        why,
        allowed_by: named.filter(|_| !by_name.is_empty()).map(|grant| grant.rule.clone()),
        open: open == wanted,
        ports: port.is_none().then_some(surely),
        isolated_by: outside.isolated_by,
    }
}

/// Why no rule allows a name on some ports.
fn no_rule(outside: &Outside, wanted: &PortSet) -> String {
    let on_port = |ports: &PortSet| !ports.intersection(wanted).is_empty();
    if outside.names.iter().any(|grant| on_port(&grant.ports)) {
        return "no rule with that port has this name".to_owned();
    }
    let to_pods = |policy: &Arc<NetworkPolicy>| {
        let rules = policy.egress.iter().flatten();
        let mut ranges = rules.filter(|rule| rule.peers.is_some()).map(|rule| match &rule.ports {
            None => PortSet::all(),
            Some(ports) => ports
                .iter()
                .filter_map(|port| match port {
                    crate::policy::PortMatch::Range(range) => Some(*range),
                    crate::policy::PortMatch::Named(_) => None,
                })
                .collect(),
        });
        ranges.any(|ports| on_port(&ports))
    };
    if outside.isolated_by.iter().any(to_pods) {
        "the rules of that port name pods only, and a name outside is no pod".to_owned()
    } else {
        "no rule allows that port to addresses outside".to_owned()
    }
}

/// What of an answer does not depend on single connections.
pub(crate) struct Asked<'q> {
    /// The name.
    pub name: &'q NamePattern,
    /// The protocol; `None`: TCP with a port, every one without.
    pub protocol: Option<Protocol>,
    /// The port; `None`: every one.
    pub port: Option<u16>,
}

/// From sources to a DNS name outside: one connection for the name, or one for each of its addresses that come out
/// differently.
pub(crate) fn to_name(
    compiled: &Compiled,
    dns: &ClusterDns<'_>,
    source: &Named,
    sources: usize,
    asked: &Asked<'_>,
) -> Vec<Connection> {
    let lookup = match source.party {
        Party::Endpoint(id) => dns.lookup(id, Protocol::Udp),
        Party::Address(_) => Lookup::Open,
    };
    let by_rules = judge_name(compiled, source.party, asked.name, asked.protocol, asked.port);
    let known = match source.party {
        Party::Endpoint(_) => compiled.modes().names.of_pattern(asked.name),
        Party::Address(_) => None,
    };
    let judged = match known {
        None => vec![(None, by_rules.verdict, Judged::Name(Box::new(by_rules)))],
        Some(addresses) => by_addresses(compiled, source, asked, by_rules, &addresses),
    };
    // Addresses that come out alike are one connection.
    let mut connections: Vec<Connection> = Vec::new();
    for (address, verdict, judged) in judged {
        let known = connections.iter_mut().find(|c| c.verdict == verdict && come_out_alike(&c.judged, &judged));
        if let Some(known) = known {
            known.destinations += 1;
            continue;
        }
        connections.push(Connection {
            source: source.clone(),
            sources,
            destination: address.map(|address: IpAddr| Named::one(address.to_string(), Party::Address(address))),
            destination_name: match address {
                Some(address) => format!("{} ({address})", asked.name),
                None => asked.name.to_string(),
            },
            destinations: 1,
            protocol: asked.protocol.or(asked.port.map(|_| Protocol::Tcp)),
            port: asked.port,
            verdict,
            judged,
            to_name: Some(Box::new(ToName {
                name: asked.name.clone(),
                address,
                by_rules: verdict,
                lookup: lookup.clone(),
            })),
        });
    }
    connections.iter_mut().for_each(look_up_first);
    connections
}

/// What cannot be looked up is not reached by name (G6a).
fn look_up_first(connection: &mut Connection) {
    let Some(to_name) = &connection.to_name else { return };
    let verdict = match &to_name.lookup {
        Lookup::Open | Lookup::NotShown => return,
        Lookup::NoRule => Verdict::Denied,
        Lookup::Closed { decision, .. } if decision.outcome == Outcome::Denied => Verdict::Denied,
        Lookup::Closed { .. } => Verdict::Unknown,
    };
    if connection.verdict == Verdict::Denied || connection.verdict == verdict {
        return;
    }
    connection.verdict = verdict;
}

/// Judges a name by the addresses that it is known to stand for.
fn by_addresses(
    compiled: &Compiled,
    source: &Named,
    asked: &Asked<'_>,
    mut by_rules: NameJudgement,
    addresses: &[IpAddr],
) -> Vec<(Option<IpAddr>, Verdict, Judged)> {
    if addresses.is_empty() {
        if !by_rules.open {
            let isolated: Vec<String> =
                by_rules.isolated_by.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
            by_rules.verdict = Verdict::Denied;
            by_rules.allowed_by = None;
            by_rules.ports = by_rules.ports.map(|_| PortSet::EMPTY);
            by_rules.why = format!(
                "{} stands for no address, and {} is isolated for egress by {}",
                asked.name,
                source.name,
                isolated.join(", ")
            );
        }
        return vec![(None, by_rules.verdict, Judged::Name(Box::new(by_rules)))];
    }
    let families: Vec<Family> = match source.party {
        Party::Endpoint(id) => compiled.entry(id).map(|e| e.endpoint.families().collect()).unwrap_or_default(),
        Party::Address(_) => Vec::new(),
    };
    let of_families: Vec<IpAddr> =
        addresses.iter().copied().filter(|address| families.contains(&Family::of(*address))).collect();
    // A pod does not try addresses of a family that it has none of, unless there are no others.
    let tried = if of_families.is_empty() { addresses } else { &of_families };
    let judge = |address: &IpAddr| {
        let to = Party::Address(*address);
        let (verdict, judged) = match asked.port {
            Some(port) => on_port(compiled, source.party, to, asked.protocol.unwrap_or(Protocol::Tcp), port),
            None => on_any_port(compiled, source.party, to, asked.protocol),
        };
        (Some(*address), verdict, judged)
    };
    tried.iter().map(judge).collect()
}

fn come_out_alike(a: &Judged, b: &Judged) -> bool {
    let rule = |j: &Judgement| j.allowed_by.as_ref().map(RuleRef::name);
    match (a, b) {
        (Judged::Port(a), Judged::Port(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    (a.family, a.outcome, rule(&a.egress)) == (b.family, b.outcome, rule(&b.egress))
                        && a.exemption == b.exemption
                })
        }
        (Judged::Ports(a), Judged::Ports(b)) => a == b,
        (Judged::Other(a), Judged::Other(b)) => a == b,
        _ => false,
    }
}

/// From all of these sources, those that come out alike together.
pub(super) fn all_to_name(
    compiled: &Compiled,
    dns: &ClusterDns<'_>,
    sources: &[Named],
    asked: &Asked<'_>,
) -> Vec<Connection> {
    let parties = sources.iter().enumerate().map(|(at, who)| (at, who, ()));
    let groups = alike(compiled, parties, dns.is_on_nodes());
    groups.iter().flat_map(|group| to_name(compiled, dns, &group.who, group.count, asked)).collect()
}

/// What has to be said with connections to a name.
pub(super) fn notes(compiled: &Compiled, dns: &ClusterDns<'_>, connections: &[Connection]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut add = |note: String| {
        if !notes.contains(&note) {
            notes.push(note);
        }
    };
    for connection in connections {
        let (Some(to), Party::Endpoint(id)) = (&connection.to_name, connection.source.party) else { continue };
        let passes = connection.verdict != Verdict::Denied;
        match &to.lookup {
            Lookup::NotShown if passes => add(format!(
                "the input does not show the cluster's DNS: whether {} can look names up is not known",
                connection.source.name
            )),
            Lookup::Open if passes && dns.is_known() && dns.serves(Protocol::Tcp) => {
                if matches!(dns.lookup(id, Protocol::Tcp), Lookup::Closed { .. } | Lookup::NoRule) {
                    add(format!(
                        "{} can look names up over UDP only: answers that are too long for it never come",
                        connection.source.name
                    ));
                }
            }
            _ => {}
        }
        // Rules with names let addresses pass: which name led there nobody sees (G7).
        let by_name = matches!(&connection.judged, Judged::Name(judged) if !judged.isolated_by.is_empty());
        let has_names = || {
            let group = compiled.entry(id).map(|entry| entry.egress).unwrap_or_default();
            let wanted = wanted(connection.protocol, connection.port);
            Outside::of(compiled, group).names.iter().any(|grant| !grant.ports.intersection(&wanted).is_empty())
        };
        if connection.verdict == Verdict::Denied
            && to.address.is_none()
            && to.by_rules == Verdict::Denied
            && compiled.modes().names.of_pattern(&to.name).is_none()
            && by_name
            && has_names()
        {
            add(format!(
                "enforcement is by address: where {} shares one with a name that is allowed, it is reached all the same",
                to.name
            ));
        }
    }
    notes
}
