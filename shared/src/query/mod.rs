//! Questions as people ask them: from whom to whom, on which port; and their answers.

pub mod name;
pub mod resolve;
pub mod target;

use crate::cluster::ClusterIndex;
use crate::cluster_dns::ClusterDns;
use crate::compile::{Compiled, PeerIds};
use crate::evaluate::{Addresses, Decision, Note, Outcome, Party, allowed_ports, evaluate, families_between, own_node};
use crate::net::{Family, PerFamily};
use crate::object::ForeignPolicy;
use crate::policy::Direction;
use crate::ports::{PortRange, PortSet, Protocol};
use crate::selector::Selector;
use name::{NameJudgement, ToName};
use resolve::{Destination, Named, Reached, Selection};
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
    /// A DNS name, by the names in rules (G6).
    Name(Box<NameJudgement>),
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
    /// To whom; the first of `destinations` of them. `None` for a name outside that is not judged by its addresses.
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
    /// What there is to know where it goes to a name outside.
    pub to_name: Option<Box<ToName>>,
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
    let mut touched = Touched::default();
    touched.add(&source_word, resolver.default_namespace);
    touched.add(&destination_word.target, resolver.default_namespace);
    Ok(answer(resolver, source, destination, protocol, touched))
}

/// Answers a question whose words were looked up: from these to those. The protocol is for names outside; `touched`
/// says which namespaces the words name.
pub fn answer(
    resolver: &Resolver<'_>,
    source: Selection,
    destination: Destination,
    protocol: Option<Protocol>,
    touched: Touched,
) -> Answer {
    let mut notes = source.notes;
    let mut absent = source.absent;
    let connections;
    match destination {
        Destination::Name { name, port, notes: more } => {
            notes.extend(more);
            let dns = ClusterDns::of(resolver.index, resolver.compiled);
            let asked = name::Asked { name: &name, protocol, port };
            connections = name::all_to_name(resolver.compiled, &dns, &source.parties, &asked);
            notes.extend(name::notes(resolver.compiled, &dns, &connections));
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
    let incomplete = incomplete_for(resolver.index, resolver.compiled, touched, &connections);
    Answer { verdict, connections, notes, incomplete }
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
type Signature = (u32, u32, PerFamily<Option<PeerIds>>, Option<std::net::IpAddr>, Option<(Option<Box<str>>, String)>);

/// Parties that come out alike.
struct Alike<T> {
    /// The first, who is named.
    who: Named,
    /// The place of the first among all.
    first: usize,
    /// Another, to be asked where the first would be asked about itself.
    another: Option<Named>,
    extra: T,
    count: usize,
}

/// Parties that come out alike are judged once: grouped by signature, in the order of first coming.
fn alike<'n, T: Clone + Eq + std::hash::Hash>(
    compiled: &Compiled,
    parties: impl Iterator<Item = (usize, &'n Named, T)>,
    nodes_matter: bool,
) -> Vec<Alike<T>> {
    let mut numbers: HashMap<(Signature, T), usize> = HashMap::new();
    let mut groups: Vec<Alike<T>> = Vec::new();
    for (first, who, extra) in parties {
        let signature: Signature = match who.party {
            Party::Address(address) => (0, 0, PerFamily::default(), Some(address), None),
            Party::Endpoint(id) => {
                let Some(entry) = compiled.entry(id) else { continue };
                // A node may be known by an address alone: where nodes matter, addresses do.
                let node =
                    nodes_matter.then(|| (entry.endpoint.node.clone(), format!("{:?}", entry.endpoint.addresses)));
                (entry.ingress, entry.egress, entry.as_peer, None, node)
            }
        };
        let at = *numbers.entry((signature, extra.clone())).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => {
                group.count += 1;
                group.another.get_or_insert_with(|| who.clone());
            }
            None => groups.push(Alike { who: who.clone(), first, another: None, extra, count: 1 }),
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
    let sources = sources.iter().enumerate().map(|(at, who)| (at, who, ()));
    let reached = reached.iter().enumerate().map(|(at, r)| (at, &r.who, (r.port, r.protocol)));
    let (host_sources, pod_sources): (Vec<_>, Vec<_>) = sources.partition(|(_, who, ())| is_host(compiled, who.party));
    let (hosts, pods): (Vec<_>, Vec<_>) = reached.partition(|(_, who, _)| is_host(compiled, who.party));
    let mut out = Vec::new();
    // On which node somebody is matters between a pod and a node only (D2).
    for (sources, reached, nodes_matter) in [
        (&pod_sources, &pods, false),
        (&pod_sources, &hosts, true),
        (&host_sources, &pods, true),
        (&host_sources, &hosts, false),
    ] {
        if !sources.is_empty() && !reached.is_empty() {
            let sources = alike(compiled, sources.iter().copied(), nodes_matter);
            let reached = alike(compiled, reached.iter().copied(), nodes_matter);
            out.extend(pairs_of_groups(compiled, &sources, &reached, several, hides_source));
        }
    }
    out.sort_by_key(|(order, _)| *order);
    out.into_iter().map(|(_, connection)| connection).collect()
}

/// All pairs of groups, each with the places of both.
fn pairs_of_groups(
    compiled: &Compiled,
    sources: &[Alike<()>],
    reached: &[Alike<(Option<u16>, Option<Protocol>)>],
    several: bool,
    hides_source: Option<&str>,
) -> Vec<((usize, usize), Connection)> {
    let mut out = Vec::new();
    for from in sources {
        for to in reached {
            let (port, protocol) = to.extra;
            let is_template = |who: &Named| match who.party {
                Party::Endpoint(id) => compiled.entry(id).is_some_and(|e| e.endpoint.is_template()),
                Party::Address(_) => false,
            };
            // A pod among several does not ask about itself: that is always allowed (A6) and says
            // nothing of the others.
            let (mut source, mut destination) = (&from.who, &to.who);
            if several && source.party == destination.party && !is_template(source) {
                match (&from.another, &to.another) {
                    (_, Some(another)) => destination = another,
                    (Some(another), None) => source = another,
                    (None, None) => continue,
                }
            }
            let asked = Asked { port, protocol, hides_source };
            let judged = connection(compiled, (source, from.count), (destination, to.count), &asked);
            out.push(((from.first, to.first), judged));
        }
    }
    out
}

/// What is asked of a pair.
pub(crate) struct Asked<'a> {
    /// The port; `None`: every one.
    pub port: Option<u16>,
    /// The protocol; `None`: TCP with a port, every one without.
    pub protocol: Option<Protocol>,
    /// The Service on the way that hides sources outside (E3).
    pub hides_source: Option<&'a str>,
}

/// Judges a pair, each of which stands for as many that come out alike.
pub(crate) fn connection(
    compiled: &Compiled,
    (source, sources): (&Named, usize),
    (destination, destinations): (&Named, usize),
    asked: &Asked<'_>,
) -> Connection {
    let (port, protocol) = (asked.port, asked.protocol);
    let (verdict, judged) = match (source.party, asked.hides_source, port) {
        (Party::Address(address), Some(service), Some(port)) if compiled.node_at(address).is_none() => {
            from_outside(compiled, service, destination, protocol.unwrap_or(Protocol::Tcp), port)
        }
        (_, _, Some(port)) => {
            on_port(compiled, source.party, destination.party, protocol.unwrap_or(Protocol::Tcp), port)
        }
        (_, _, None) => on_any_port(compiled, source.party, destination.party, protocol),
    };
    Connection {
        source: source.clone(),
        sources,
        destination: Some(destination.clone()),
        destination_name: destination.name.clone(),
        destinations,
        protocol: port.map_or(protocol, |_| Some(protocol.unwrap_or(Protocol::Tcp))),
        port,
        verdict,
        judged,
        to_name: None,
    }
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
    let of = |family, addresses| allowed_ports(compiled, source, destination, family, addresses).intersection(&wanted);
    let ports: Vec<(Family, PortSet)> =
        families.iter().map(|family| (*family, of(*family, Addresses::Surely))).collect();
    // Strictly, or about what is on a node's network, nothing is assumed of unknown addresses (B8).
    // Nor of what names stand for (G6).
    let named = matches!(destination, Party::Address(address) if compiled.may_be_named(address));
    let doubts = compiled.modes().strict || named || is_host(compiled, source) || is_host(compiled, destination);
    let verdict = combine(ports.iter().map(|(family, ports)| {
        if *ports == wanted {
            Verdict::Allowed
        } else if own_node(compiled, source, destination).is_none()
            || (doubts && *ports != of(*family, Addresses::Maybe))
        {
            Verdict::Unknown
        } else if ports.is_empty() {
            Verdict::Denied
        } else {
            Verdict::Mixed
        }
    }));
    (verdict, Judged::Ports(ports))
}

/// Whether it is on a node's network, or a node.
fn is_host(compiled: &Compiled, party: Party) -> bool {
    match party {
        Party::Endpoint(id) => compiled.entry(id).is_some_and(|e| e.endpoint.host_network),
        Party::Address(address) => compiled.node_at(address).is_some(),
    }
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
pub(crate) fn decision_notes(connections: &[Connection]) -> Vec<String> {
    let mut notes: BTreeSet<&Note> = BTreeSet::new();
    for connection in connections {
        if let Judged::Port(decisions) = &connection.judged {
            notes.extend(decisions.iter().flat_map(|d| &d.notes));
        }
    }
    notes.into_iter().map(|note| match note {
        Note::AddressNotKnown { who, rule, assumed: true, .. } => {
            format!("{who} has no address yet; it is assumed to lie outside the `ipBlock` of {rule} (--pod-cidr decides it)")
        }
        Note::AddressNotKnown { who, rule, host: false, .. } => {
            format!("{who} has no address yet; it may lie in the `ipBlock` of {rule} (--pod-cidr decides it)")
        }
        Note::AddressNotKnown { who, rule, .. } => {
            format!("{who} is on a node's network, whose address is not known: it may lie in the `ipBlock` of {rule}")
        }
        Note::NameNotResolved { address, rule } => {
            format!("whether the names of {rule} stand for {address} is not known (--dns-map or --resolve decides it)")
        }
        Note::NodeNotKnown { who } => format!(
            "the node of {who} is not known: if the two are a pod and its own node it is allowed, whatever the policies"
        ),
        Note::NamespaceNotDefined(name) => format!(
            "the namespace {name} is not defined in the input: a selector asks for its labels, of which only its name is known"
        ),
    }).collect()
}

/// The namespaces that a question is about.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    namespaces: BTreeSet<Box<str>>,
    all: bool,
}

impl Touched {
    /// Adds those of a word.
    pub fn add(&mut self, target: &Target, default_namespace: &str) {
        match target {
            Target::Object { namespace, .. } => {
                self.namespaces.insert(namespace.as_deref().unwrap_or(default_namespace).into());
            }
            Target::Everything(Some(namespace)) => _ = self.namespaces.insert(namespace.as_str().into()),
            Target::Everything(None) => self.all = true,
            Target::Address(_) | Target::Block(_) | Target::Name(_) => {}
        }
    }

    /// Adds those of another.
    pub fn join(&mut self, other: &Touched) {
        self.namespaces.extend(other.namespaces.iter().cloned());
        self.all |= other.all;
    }

    /// Adds that of a party.
    pub fn add_party(&mut self, compiled: &Compiled, party: Party) {
        if let Party::Endpoint(id) = party
            && let Some(entry) = compiled.entry(id)
            && !self.namespaces.contains(&entry.endpoint.key.namespace)
        {
            self.namespaces.insert(entry.endpoint.key.namespace.clone());
        }
    }
}

/// The policies that were not understood and could change an answer (H2): those of the namespaces of
/// its ends, and those of the whole cluster.
fn incomplete_for(
    index: &ClusterIndex,
    compiled: &Compiled,
    mut touched: Touched,
    connections: &[Connection],
) -> Vec<Arc<ForeignPolicy>> {
    for who in connections.iter().flat_map(|c| [Some(&c.source), c.destination.as_ref()]).flatten() {
        touched.add_party(compiled, who.party);
    }
    let touches = |policy: &Arc<ForeignPolicy>| {
        policy.namespace.as_ref().is_none_or(|n| touched.all || touched.namespaces.contains(n))
    };
    index.foreign_policies().filter(|policy| touches(policy)).cloned().collect()
}
