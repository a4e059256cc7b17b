//! One question, judged twice: by the rules that the kernel was given, and by the policies. Pure.

use super::answer::{Connection, End, Held, Miss, Policies, Side, Verdict};
use super::questions::Words;
use crate::render::frame::{deny_chain, unknown_chain};
use crate::render::{Options, UnknownPods};
use crate::ruleset::text::RuleText;
use crate::ruleset::walk::{Packet, Taken, taken_from, walk_at};
use crate::ruleset::{Hook, Name, Ruleset, TimedElements};
use ipnet::IpNet;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Address, Compiled, Entry};
use netsim_shared::dns::NamePattern;
use netsim_shared::evaluate::{Judgement, Party, RuleRef, evaluate, node_of};
use netsim_shared::explain::{Asked, advise};
use netsim_shared::net::Family;
use netsim_shared::policy::{Direction, Peer, PortMatch};
use netsim_shared::ports::Protocol;
use netsim_shared::query::resolve::{Destination, Named, Reached, Selection};
use netsim_shared::query::target::{Target, TargetKind, parse_destination, parse_target};
use netsim_shared::query::{QueryError, Resolver};
use std::net::IpAddr;
use std::time::Instant;

/// What a node knows.
pub struct Facts<'a> {
    /// The objects.
    pub index: &'a ClusterIndex,
    /// What was compiled of them.
    pub compiled: &'a Compiled,
    /// How rulesets are made.
    pub options: &'a Options,
    /// The ranges of this node's pods.
    pub pod_cidrs: &'a [IpNet],
    /// What the kernel was given; `None` when that is not known.
    pub ruleset: Option<&'a Ruleset>,
    /// What its timed sets were given.
    pub timed: &'a TimedElements,
    /// The moment that is asked about.
    pub now: Instant,
    /// Whether one of these names stands for an address.
    pub stands_for: &'a dyn Fn(&[NamePattern], IpAddr) -> bool,
}

/// A question, with what its words stand for.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who connects.
    pub source: Named,
    /// To whom.
    pub destination: Named,
    /// On which protocol.
    pub protocol: Protocol,
    /// On which port.
    pub port: u16,
    /// What was decided on the way.
    pub notes: Vec<String>,
}

/// Finds what the words of a question stand for.
///
/// # Errors
/// When there is no such thing, or not one.
pub fn find(facts: &Facts<'_>, words: &Words) -> Result<Question, String> {
    let told = |error: QueryError| {
        // The words are the simulator's, which has an input.
        let message = error.message.replace(" in the input", " that this node knows of");
        error.help.map_or(message.clone(), |help| format!("{message}; {help}"))
    };
    let word = parse_destination(&words.destination)?;
    let Some(port) = word.port else {
        return Err(format!("which port? write `{}:80`, or `{}:53/UDP`", words.destination, words.destination));
    };
    let protocol = word.protocol.unwrap_or(Protocol::Tcp);
    let resolver = Resolver { index: facts.index, compiled: facts.compiled, default_namespace: "default" };
    let one = |word: &str, target: Target| -> Result<(Named, Vec<String>), String> {
        let target = single(word, target)?;
        let Selection { parties, notes, absent } = resolver.source(&target, None).map_err(told)?;
        match <[Named; 1]>::try_from(parties) {
            Ok([who]) => Ok((who, notes)),
            Err(_) => Err(absent.unwrap_or_else(|| format!("`{word}` stands for more than one"))),
        }
    };
    let (source, mut notes) = one(&words.source, parse_target(&words.source)?)?;
    let (destination, more) = one(&words.destination, word.target)?;
    notes.extend(more);
    let selection = Selection { parties: vec![destination], ..Selection::default() };
    let on_port = resolver.on_ports(selection, Some(&port), Some(protocol)).map_err(told)?;
    let Destination::Parties { mut reached, .. } = on_port else {
        return Err(format!("`{}` is a name", words.destination));
    };
    let Some(Reached { who, port: Some(port), .. }) = reached.pop() else {
        return Err(format!("`{}` has no such port", words.destination));
    };
    Ok(Question { source, destination: who, protocol, port, notes })
}

/// A pod or an address: a node knows nothing else.
fn single(word: &str, target: Target) -> Result<Target, String> {
    const FORMS: &str = "a node answers about pods (`ns/pod`) and addresses";
    match target {
        Target::Object { namespace, kind: None | Some(TargetKind::Pod), name } => {
            Ok(Target::Object { namespace, kind: Some(TargetKind::Pod), name })
        }
        Target::Address(address) => Ok(Target::Address(address)),
        Target::Name(_) => Err(format!("`{word}` is a DNS name; {FORMS}: ask about an address that it stands for")),
        Target::Object { .. } | Target::Everything(_) | Target::Block(_) => {
            Err(format!("`{word}` is no single pod; {FORMS}; `netsim can-reach` knows workloads and Services"))
        }
    }
}

/// What an end is to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A pod of it.
    Here,
    /// An address of the range of its pods that no pod is known to have.
    UnknownPod,
    /// The node itself, or something on its network.
    ThisNode,
    /// A pod of another node, where that is known.
    Pod(Option<String>),
    /// Another node, or something on its network.
    Node,
    /// Anything else.
    Outside,
}

impl Place {
    fn of(facts: &Facts<'_>, party: Party) -> Self {
        let this = &*facts.options.node;
        match party {
            Party::Endpoint(id) => {
                let node = node_of(facts.compiled, id);
                match facts.compiled.entry(id).is_some_and(|entry| entry.endpoint.host_network) {
                    true if node == Some(this) => Place::ThisNode,
                    true => Place::Node,
                    false if node == Some(this) => Place::Here,
                    false => Place::Pod(node.map(str::to_owned)),
                }
            }
            Party::Address(address) => match facts.compiled.node_at(address) {
                Some(node) if node == this => Place::ThisNode,
                Some(_) => Place::Node,
                None if facts.pod_cidrs.iter().any(|block| block.contains(&address)) => Place::UnknownPod,
                None => Place::Outside,
            },
        }
    }

    fn is_bound_here(&self) -> bool {
        matches!(self, Place::Here | Place::UnknownPod)
    }
}

/// An end in a family.
struct Whom {
    named: Named,
    place: Place,
    address: Option<IpAddr>,
}

/// What this node does with what is asked, in each family that both ends have.
pub fn connections(facts: &Facts<'_>, question: &Question) -> Vec<Connection> {
    let of = |named: &Named, family| {
        let address = match named.party {
            Party::Address(address) => Some(address),
            Party::Endpoint(id) => facts.compiled.entry(id).and_then(|entry| address_of(entry, family)),
        };
        Whom { named: named.clone(), place: Place::of(facts, named.party), address }
    };
    let (source, destination) = (question.source.party, question.destination.party);
    let families = netsim_shared::evaluate::families_between(facts.compiled, source, destination);
    let connection =
        |family| connection(facts, question, family, &of(&question.source, family), &of(&question.destination, family));
    families.into_iter().map(connection).collect()
}

fn address_of(entry: &Entry, family: Family) -> Option<IpAddr> {
    match entry.endpoint.addresses.get(family) {
        Address::Known(address) => Some(*address),
        _ => entry.endpoint.host_addresses.iter().copied().find(|address| Family::of(*address) == family),
    }
}

fn connection(facts: &Facts<'_>, question: &Question, family: Family, source: &Whom, destination: &Whom) -> Connection {
    let end = |of: &Whom| End { name: of.named.name.clone(), ip: of.address };
    let mut answer = Connection {
        family: family.to_string(),
        source: end(source),
        destination: end(destination),
        protocol: question.protocol.to_string(),
        port: question.port,
        verdict: Verdict::Unknown,
        not_judged: None,
        passes: None,
        sides: Vec::new(),
        doubts: Vec::new(),
    };
    if let Some(why) = never_judged(source, destination) {
        (answer.verdict, answer.not_judged) = (Verdict::Allowed, Some(why));
        return answer;
    }
    for of in [source, destination] {
        if let (Party::Endpoint(id), Some(address), Place::Here | Place::Pod(_)) =
            (of.named.party, of.address, &of.place)
            && facts.compiled.at_address(address) != Some(id)
        {
            let other = facts.compiled.at_address(address).and_then(|id| facts.compiled.entry(id));
            let other = other.map_or("another pod".to_owned(), |entry| entry.endpoint.key.to_string());
            answer
                .doubts
                .push(format!("{address} is the address of {other} as well, and the kernel goes by addresses"));
        }
    }
    let packet = source.address.zip(destination.address).map(|(from, to)| Packet {
        source: from,
        destination: to,
        protocol: Some(question.protocol),
        port: question.port,
        source_port: 0,
        reply: false,
        tracked: true,
        established: false,
        mark: 0,
        icmpv6: None,
        from_node: source.place == Place::ThisNode,
    });
    let here = source.place.is_bound_here() || destination.place.is_bound_here();
    // What does not pass here has no verdict here.
    let walked = facts.ruleset.zip(packet).filter(|_| here);
    answer.passes =
        walked.map(|(ruleset, packet)| walk_at(ruleset, facts.timed, facts.now, Hook::Forward, packet).passes);
    answer.sides = Vec::from([
        side(facts, question, family, Direction::Egress, source, destination, packet),
        side(facts, question, family, Direction::Ingress, destination, source, packet),
    ]);
    if let Some(why) = walked.and_then(|(ruleset, packet)| nameless(facts, ruleset, packet)) {
        (answer.verdict, answer.not_judged) = (Verdict::Denied, Some(why));
        return answer;
    }
    for side in answer.sides.iter().filter(|side| side.disagrees()) {
        answer.doubts.push(format!(
            "the rules in the kernel and the policies do not agree about the {} of {}",
            side.direction, side.of
        ));
    }
    let judged: Vec<bool> =
        answer.sides.iter().filter(|side| side.here).filter_map(|side| Some(side.kernel.as_ref()?.allowed)).collect();
    answer.verdict = match (here, walked) {
        (false, _) => Verdict::Elsewhere,
        (true, None) => Verdict::Unknown,
        (true, Some(_)) if !answer.doubts.is_empty() => Verdict::Unknown,
        (true, Some(_)) => Verdict::of(judged.iter().all(|allowed| *allowed)),
    };
    answer
}

/// Why no rule anywhere judges a connection, if none does.
fn never_judged(source: &Whom, destination: &Whom) -> Option<String> {
    let (from, to) = (&source.named, &destination.named);
    match (&source.place, &destination.place) {
        (Place::Here, Place::Here) if from.party == to.party => {
            Some("a pod always reaches itself, and the packets do not leave it (A6)".to_owned())
        }
        (Place::ThisNode, Place::Here | Place::UnknownPod) | (Place::Here | Place::UnknownPod, Place::ThisNode) => {
            Some("a pod and its own node always reach each other, whatever the policies (D2)".to_owned())
        }
        (Place::ThisNode, Place::ThisNode) => Some("both are on the node's own network (D1)".to_owned()),
        _ => None,
    }
}

/// Why a packet is denied before any policy is asked, if it is (I5).
fn nameless(facts: &Facts<'_>, ruleset: &Ruleset, packet: Packet) -> Option<String> {
    let taken = taken_from(ruleset, facts.timed, facts.now, &Name::from(crate::render::frame::NAMELESS), packet);
    (!taken.is_empty()).then(|| {
        "link-local addresses, multicast and broadcast between pods are denied as a whole while a pod of the node is \
         isolated (I5)"
            .to_owned()
    })
}

fn side(
    facts: &Facts<'_>,
    question: &Question,
    family: Family,
    direction: Direction,
    subject: &Whom,
    peer: &Whom,
    packet: Option<Packet>,
) -> Side {
    let mut side = Side {
        direction: direction.field().to_owned(),
        of: subject.named.name.clone(),
        here: subject.place.is_bound_here(),
        judged_by: None,
        unbound: None,
        kernel: None,
        policies: None,
    };
    match &subject.place {
        Place::Here | Place::UnknownPod => {
            side.judged_by = Some(facts.options.node.to_string());
            side.kernel = facts.ruleset.zip(packet).map(|(ruleset, packet)| held(facts, ruleset, direction, packet));
            side.policies = Some(policies(facts, question, family, direction, subject, peer));
        }
        Place::Pod(node) => side.judged_by.clone_from(node),
        Place::ThisNode | Place::Node => {
            side.unbound = Some("policies do not bind what is on a node's network".to_owned())
        }
        Place::Outside => side.unbound = Some("policies bind pods only".to_owned()),
    }
    side
}

/// What the rules of a direction say.
fn held(facts: &Facts<'_>, ruleset: &Ruleset, direction: Direction, packet: Packet) -> Held {
    let taken = taken_from(ruleset, facts.timed, facts.now, &Name::from(direction.field()), packet);
    // Where what is denied ends: of known pods, and of addresses that no pod is known to have.
    let ends = [deny_chain(direction), unknown_chain(direction)];
    let ended = taken.iter().position(|taken| ends.contains(&taken.chain));
    let allowed = ended.is_none();
    // What denies is where it was sent to the end from.
    let decided = taken.get(..ended.unwrap_or(taken.len())).unwrap_or_default().last();
    let text = |taken: &Taken| {
        let rule = ruleset.chains.get(&taken.chain)?.rules.get(taken.rule)?;
        Some(RuleText(rule).to_string())
    };
    Held { allowed, chain: decided.map(|taken| taken.chain.to_string()), rule: decided.and_then(text) }
}

/// What the policies of a direction say.
fn policies(
    facts: &Facts<'_>,
    question: &Question,
    family: Family,
    direction: Direction,
    subject: &Whom,
    peer: &Whom,
) -> Policies {
    let mut said = Policies { allowed: true, why: None, isolated_by: Vec::new(), allowed_by: None, near: Vec::new() };
    if subject.place == Place::UnknownPod {
        said.allowed = facts.options.unknown_pods == UnknownPods::Allow;
        let range = "the address is in the range of this node's pods, and no pod is known to have it";
        said.why = Some(if said.allowed { format!("{range}: --unknown-pods=allow") } else { format!("{range} yet") });
        return said;
    }
    let (source, destination) = (question.source.party, question.destination.party);
    let Some(decision) = evaluate(facts.compiled, source, destination, question.protocol, question.port, family) else {
        return said;
    };
    let judgement = match direction {
        Direction::Egress => decision.egress,
        Direction::Ingress => decision.ingress,
    };
    said.isolated_by = judgement.isolated_by.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
    if judgement.isolated_by.is_empty() {
        said.why = Some(format!("no policy isolates it for {direction}"));
        return said;
    }
    // What names stand for is no matter of the compiled form here.
    let by_name = || by_name(facts, question, direction, &judgement, peer);
    match judgement.allowed_by.clone().or_else(by_name) {
        Some(rule) => said.allowed_by = Some(rule.name()),
        None => {
            said.allowed = false;
            let asked = Asked {
                source,
                destination,
                protocol: question.protocol,
                port: question.port,
                family,
                blocks: Vec::new(),
            };
            let advice = advise(facts.index, facts.compiled, &asked, direction, &judgement);
            let miss = |near: netsim_shared::explain::NearMiss| Miss {
                policy: format!("{}/{}", near.rule.policy.namespace, near.rule.policy.name),
                path: near.path.to_string(),
                why: near.why,
            };
            said.near = advice.near.into_iter().map(miss).collect();
        }
    }
    said
}

/// The first rule that allows it because a name stands for the address.
fn by_name(
    facts: &Facts<'_>,
    question: &Question,
    direction: Direction,
    judgement: &Judgement,
    peer: &Whom,
) -> Option<RuleRef> {
    let Party::Address(address) = peer.named.party else { return None };
    let has_port = |port: &PortMatch| match port {
        PortMatch::Range(range) => {
            range.protocol == question.protocol && (range.from..=range.to).contains(&question.port)
        }
        PortMatch::Named(_) => false,
    };
    let has_peer = |peer: &Peer| matches!(peer, Peer::Names(patterns) if (facts.stands_for)(patterns, address));
    judgement.isolated_by.iter().find_map(|policy| {
        let rules = policy.rules(direction).unwrap_or_default();
        let allows = |rule: &netsim_shared::policy::Rule| {
            rule.ports.as_ref().is_none_or(|ports| ports.iter().any(has_port))
                && rule.peers.as_ref().is_some_and(|peers| peers.iter().any(has_peer))
        };
        let rule = rules.iter().position(allows)?;
        Some(RuleRef { policy: policy.clone(), direction, rule })
    })
}
