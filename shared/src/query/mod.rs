//! Questions as people ask them: from whom to whom, on which port; and their answers.

pub mod name;
pub mod resolve;
pub mod target;

use crate::cluster::ClusterIndex;
use crate::compile::{Compiled, PeerIds};
use crate::evaluate::{Decision, Note, Outcome, Party, allowed_ports, evaluate, families_between, node_unclear};
use crate::net::{Family, PerFamily};
use crate::object::ForeignPolicy;
use crate::policy::Direction;
use crate::ports::{PortRange, PortSet, Protocol};
use crate::selector::Selector;
use name::judge_name;
use resolve::{Destination, Named, Reached};
pub use resolve::{QueryError, Resolver};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use target::{Target, parse_destination, parse_target};

/// What a question comes to (H1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every connection that was asked about is allowed.
    Allowed,
    /// Every one is denied.
    Denied,
    /// Some are allowed and some denied.
    Mixed,
    /// It cannot be told.
    Unknown,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
            Verdict::Mixed => "mixed",
            Verdict::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A question in words.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The source word.
    pub source: String,
    /// The destination word.
    pub destination: String,
    /// The protocol; `None`: TCP where a port is asked, every one where none is.
    pub protocol: Option<Protocol>,
    /// Narrows the source.
    pub source_selector: Option<Selector>,
    /// Narrows the destination.
    pub destination_selector: Option<Selector>,
}

/// How a connection was judged.
#[derive(Debug, Clone)]
pub enum Judged {
    /// A port: one decision for each family that the two have in common.
    Port(Vec<Decision>),
    /// Any port: the ports that are allowed, for each family.
    Ports(Vec<(Family, PortSet)>),
    /// A DNS name, not resolved (G6): why.
    Name(String),
    /// Not by rules: why it cannot be told, or why not at all.
    Other(String),
}

/// The answer about connections that come out alike.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Who connects; the first of `sources` of them.
    pub source: Named,
    /// How many sources come out alike.
    pub sources: usize,
    /// To whom; the first of `destinations` of them. `None` for a name outside.
    pub destination: Option<Named>,
    /// What to call the destination.
    pub destination_name: String,
    /// How many destinations come out alike.
    pub destinations: usize,
    /// The protocol; `None` for every one.
    pub protocol: Option<Protocol>,
    /// The port at the destination; `None` for every one.
    pub port: Option<u16>,
    /// What it comes to.
    pub verdict: Verdict,
    /// How it was judged.
    pub judged: Judged,
}

/// The answer to a question.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it comes to.
    pub verdict: Verdict,
    /// The connections that it is about, alike ones together.
    pub connections: Vec<Connection>,
    /// What has to be said with it.
    pub notes: Vec<String>,
    /// Policies that were not understood and could change it (H2).
    pub incomplete: Vec<Arc<ForeignPolicy>>,
}

/// Answers a question.
///
/// # Errors
/// When a word cannot be read, or names something that is not in the input (E4).
pub fn ask(resolver: &Resolver<'_>, question: &Question) -> Result<Answer, QueryError> {
    let source_word = parse_target(&question.source).map_err(QueryError::new)?;
    let destination_word = parse_destination(&question.destination).map_err(QueryError::new)?;
    let protocol = match (question.protocol, destination_word.protocol) {
        (Some(a), Some(b)) if a != b => {
            return Err(QueryError::new(format!("the destination says {b}, the option says {a}: give one protocol")));
        }
        (a, b) => a.or(b),
    };
    let source = resolver.source(&source_word, question.source_selector.as_ref())?;
    let port = destination_word.port.as_ref();
    let selector = question.destination_selector.as_ref();
    let destination = resolver.destination(&destination_word.target, port, protocol, selector)?;
    let mut notes = source.notes;
    let mut absent = source.absent;
    let mut connections = Vec::new();
    match destination {
        Destination::Name { name, port, notes: more } => {
            notes.extend(more);
            let groups = alike(resolver.compiled, source.parties.into_iter().map(|who| (who, ())), false);
            let wanted = protocol.unwrap_or(Protocol::Tcp);
            for (who, (), sources) in groups {
                let (verdict, why) = judge_name(resolver.compiled, who.party, wanted, port);
                connections.push(Connection {
                    source: who,
                    sources,
                    destination: None,
                    destination_name: name.clone(),
                    destinations: 1,
                    protocol: Some(wanted),
                    port,
                    verdict,
                    judged: Judged::Name(why),
                });
            }
        }
        Destination::Parties { reached, hides_source, notes: more, absent: gone } => {
            notes.extend(more);
            absent = absent.or(gone);
            let several = source.parties.len() > 1 || reached.len() > 1;
            connections = pairs(resolver.compiled, source.parties, reached, several, hides_source.as_deref());
        }
    }
    let mut verdict = combine(connections.iter().map(|c| c.verdict));
    if let Some(why) = absent {
        notes.push(why);
        verdict = Verdict::Unknown;
    }
    notes.extend(decision_notes(&connections));
    let incomplete = incomplete_for(
        resolver.index,
        resolver.compiled,
        &source_word,
        &destination_word.target,
        resolver.default_namespace,
        &connections,
    );
    Ok(Answer { verdict, connections, notes, incomplete })
}

/// What verdicts come to together.
pub fn combine(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let seen: BTreeSet<u8> = verdicts.into_iter().map(|v| v as u8).collect();
    let has = |v: Verdict| seen.contains(&(v as u8));
    match (has(Verdict::Unknown), has(Verdict::Mixed) || (has(Verdict::Allowed) && has(Verdict::Denied))) {
        // Some are allowed and some denied: that is so whatever the unknown ones are.
        (_, true) => Verdict::Mixed,
        (true, false) => Verdict::Unknown,
        _ if has(Verdict::Allowed) => Verdict::Allowed,
        _ if has(Verdict::Denied) => Verdict::Denied,
        _ => Verdict::Unknown,
    }
}

/// What rules, and the exemptions of pairs, can tell of a party.
type Signature = (u32, u32, PerFamily<Option<PeerIds>>, Option<std::net::IpAddr>, String);

/// Parties that come out alike are judged once. Grouped by signature, in the order of first coming.
fn alike<T: Clone + Eq + std::hash::Hash>(
    compiled: &Compiled,
    parties: impl Iterator<Item = (Named, T)>,
    nodes_matter: bool,
) -> Vec<(Named, T, usize)> {
    let mut numbers: HashMap<(Signature, T), usize> = HashMap::new();
    let mut groups: Vec<(Named, T, usize)> = Vec::new();
    for (who, extra) in parties {
        let signature: Signature = match who.party {
            Party::Address(address) => (0, 0, PerFamily::default(), Some(address), String::new()),
            Party::Endpoint(id) => match compiled.entry(id) {
                None => continue,
                Some(entry) => {
                    let host = entry.endpoint.host_network || nodes_matter;
                    let node = if host {
                        format!("{:?}{}", entry.endpoint.node, entry.endpoint.host_network)
                    } else {
                        String::new()
                    };
                    (entry.ingress, entry.egress, entry.as_peer, None, node)
                }
            },
        };
        let at = *numbers.entry((signature, extra.clone())).or_insert(groups.len());
        match groups.get_mut(at) {
            Some((_, _, count)) => *count += 1,
            None => groups.push((who, extra, 1)),
        }
    }
    groups
}

fn pairs(
    compiled: &Compiled,
    sources: Vec<Named>,
    reached: Vec<Reached>,
    several: bool,
    hides_source: Option<&str>,
) -> Vec<Connection> {
    // A pod among several does not ask about itself: that is always allowed (A6) and says nothing.
    let is_host = |who: &Named| match who.party {
        Party::Endpoint(id) => compiled.entry(id).is_some_and(|e| e.endpoint.host_network),
        Party::Address(address) => compiled.node_at(address).is_some(),
    };
    let nodes_matter = sources.iter().any(is_host) || reached.iter().any(|r| is_host(&r.who));
    let shared: BTreeSet<String> = {
        let names: BTreeSet<&String> = sources.iter().map(|s| &s.name).collect();
        reached.iter().filter(|r| names.contains(&r.who.name)).map(|r| r.who.name.clone()).collect()
    };
    // Those that are on both sides stand for themselves, so that the pair with itself can be left out.
    let mark =
        |who: &Named| if shared.len() <= 64 && shared.contains(&who.name) { who.name.clone() } else { String::new() };
    let sources = alike(
        compiled,
        sources.into_iter().map(|who| {
            let own = mark(&who);
            (who, own)
        }),
        nodes_matter,
    );
    let reached = alike(
        compiled,
        reached.into_iter().map(|r| {
            let own = mark(&r.who);
            (r.who, (own, r.port, r.protocol))
        }),
        nodes_matter,
    );
    let mut out = Vec::new();
    for (source, _, source_count) in &sources {
        for (who, (_, port, protocol), count) in &reached {
            let template = matches!(who.party, Party::Endpoint(id) if compiled.entry(id).is_some_and(|e| e.endpoint.is_template()));
            if several && source.party == who.party && !template && *source_count == 1 && *count == 1 {
                continue;
            }
            let (verdict, judged) = match (source.party, hides_source, port) {
                (Party::Address(address), Some(service), Some(port)) if compiled.node_at(address).is_none() => {
                    from_outside(compiled, service, who, protocol.unwrap_or(Protocol::Tcp), *port)
                }
                (_, _, Some(port)) => {
                    on_port(compiled, source.party, who.party, protocol.unwrap_or(Protocol::Tcp), *port)
                }
                (_, _, None) => on_any_port(compiled, source.party, who.party, *protocol),
            };
            out.push(Connection {
                source: source.clone(),
                sources: *source_count,
                destination: Some(who.clone()),
                destination_name: who.name.clone(),
                destinations: *count,
                protocol: port.map_or(*protocol, |_| Some(protocol.unwrap_or(Protocol::Tcp))),
                port: *port,
                verdict,
                judged,
            });
        }
    }
    out
}

fn on_port(compiled: &Compiled, source: Party, destination: Party, protocol: Protocol, port: u16) -> (Verdict, Judged) {
    let families = families_between(compiled, source, destination);
    let decisions: Vec<Decision> = families
        .into_iter()
        .filter_map(|family| evaluate(compiled, source, destination, protocol, port, family))
        .collect();
    if decisions.is_empty() {
        return (Verdict::Unknown, Judged::Other("the two have no address of the same family".into()));
    }
    let verdict = combine(decisions.iter().map(|d| match d.outcome {
        Outcome::Allowed => Verdict::Allowed,
        Outcome::Denied => Verdict::Denied,
        Outcome::Unknown => Verdict::Unknown,
    }));
    (verdict, Judged::Port(decisions))
}

fn on_any_port(
    compiled: &Compiled,
    source: Party,
    destination: Party,
    protocol: Option<Protocol>,
) -> (Verdict, Judged) {
    let wanted = protocol.map_or_else(PortSet::all, |p| PortRange::all_of(p).into());
    let families = families_between(compiled, source, destination);
    if families.is_empty() {
        return (Verdict::Unknown, Judged::Other("the two have no address of the same family".into()));
    }
    let ports: Vec<(Family, PortSet)> = families
        .into_iter()
        .map(|family| (family, allowed_ports(compiled, source, destination, family).intersection(&wanted)))
        .collect();
    let verdict = combine(ports.iter().map(|(_, ports)| {
        if *ports == wanted {
            Verdict::Allowed
        } else if node_unclear(compiled, source, destination) {
            Verdict::Unknown
        } else if ports.is_empty() {
            Verdict::Denied
        } else {
            Verdict::Mixed
        }
    }));
    (verdict, Judged::Ports(ports))
}

/// From outside through a Service that hides the source (E3): only what does not depend on it is known.
fn from_outside(compiled: &Compiled, service: &str, who: &Named, protocol: Protocol, port: u16) -> (Verdict, Judged) {
    let Party::Endpoint(id) = who.party else {
        return (
            Verdict::Unknown,
            Judged::Other(format!("the source address behind the Service {service} is not defined")),
        );
    };
    let Some(entry) = compiled.entry(id) else { return (Verdict::Unknown, Judged::Other(String::new())) };
    let side = compiled.side(Direction::Ingress);
    let names = side.group_of(entry.ingress).map_or(&[][..], |group| &group.names);
    let mut policies = side.policies_of(entry.ingress).peekable();
    if policies.peek().is_none() {
        return (Verdict::Allowed, Judged::Other(format!("no policy isolates {} for ingress", who.name)));
    }
    let open = |slot: &crate::compile::side::PolicySlot| {
        slot.rules.iter().any(|rule| rule.peers.is_none() && side.rule_has_port(rule, names, protocol, port))
    };
    match policies.find(|slot| open(slot)) {
        Some(slot) => {
            let why = format!("{}/{} allows it from every source", slot.policy.namespace, slot.policy.name);
            (Verdict::Allowed, Judged::Other(why))
        }
        None => {
            let why = format!(
                "the Service {service} hands connections from outside on with another source address (SNAT), which is not defined; externalTrafficPolicy: Local would keep it"
            );
            (Verdict::Unknown, Judged::Other(why))
        }
    }
}

/// The notes of the decisions, each once.
fn decision_notes(connections: &[Connection]) -> Vec<String> {
    let mut notes: BTreeSet<&Note> = BTreeSet::new();
    for connection in connections {
        if let Judged::Port(decisions) = &connection.judged {
            notes.extend(decisions.iter().flat_map(|d| &d.notes));
        }
    }
    notes.into_iter().map(|note| match note {
        Note::AssumedOutsideBlock { who, rules } => format!(
            "{who} has no address yet; it is assumed to lie in no `ipBlock` of {} (give --pod-cidr to decide it)", rules.join(", ")
        ),
        Note::NodeNotKnown { who } => format!(
            "the node of {who} is not known: if the two are a pod and its own node it is allowed, whatever the policies"
        ),
        Note::NamespaceNotDefined(name) => format!(
            "the namespace {name} is not defined in the input: a selector asks for its labels, of which only its name is known"
        ),
    }).collect()
}

/// The policies that were not understood and could change an answer (H2): those of the namespaces of
/// its ends, and those of the whole cluster.
fn incomplete_for(
    index: &ClusterIndex,
    compiled: &Compiled,
    source: &Target,
    destination: &Target,
    default_namespace: &str,
    connections: &[Connection],
) -> Vec<Arc<ForeignPolicy>> {
    let mut namespaces: BTreeSet<Box<str>> = BTreeSet::new();
    let mut all = false;
    for target in [source, destination] {
        match target {
            Target::Object { namespace, .. } => {
                namespaces.insert(namespace.as_deref().unwrap_or(default_namespace).into());
            }
            Target::Everything(Some(namespace)) => _ = namespaces.insert(namespace.as_str().into()),
            Target::Everything(None) => all = true,
            Target::Address(_) | Target::Block(_) | Target::Name(_) => {}
        }
    }
    for who in connections.iter().flat_map(|c| [Some(&c.source), c.destination.as_ref()]).flatten() {
        if let Party::Endpoint(id) = who.party
            && let Some(entry) = compiled.entry(id)
        {
            namespaces.insert(entry.endpoint.key.namespace.clone());
        }
    }
    let touches = |policy: &Arc<ForeignPolicy>| policy.namespace.as_ref().is_none_or(|n| all || namespaces.contains(n));
    index.foreign_policies().filter(|policy| touches(policy)).cloned().collect()
}
