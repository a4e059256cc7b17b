//! What rules surely allow together, whatever pods there are or will be.
//!
//! Judged by what selectors, blocks and ports say, not by today's pods: two rules that select the
//! same pods today by different labels need not do so tomorrow.

use super::namespaces::names_asked_for;
use crate::lint::Context;
use netsim_shared::compile::blocks::{Blocks, CidrClassId};
use netsim_shared::compile::side::{CompiledRule, NameId, PolicySlot, Side};
use netsim_shared::default_deny::is_for_every_peer;
use netsim_shared::dns::NamePattern;
use netsim_shared::net::Family;
use netsim_shared::object::NAMESPACE_NAME_LABEL;
use netsim_shared::policy::{NetworkPolicy, Peer, Rule};
use netsim_shared::ports::{PortSet, Protocol};
use netsim_shared::selector::{Condition, Requirement, Selector};

/// A rule of a policy.
#[derive(Clone, Copy)]
pub struct Line<'c> {
    /// The policy.
    pub policy: &'c NetworkPolicy,
    /// The number of the rule in its direction.
    pub number: usize,
    /// The rule as it is written.
    pub rule: &'c Rule,
    /// The same in compiled form.
    pub compiled: &'c CompiledRule,
}

/// The rules of a policy in one direction.
pub fn lines_of<'c>(slot: &'c PolicySlot, side: &Side) -> Vec<Line<'c>> {
    let policy = slot.policy.as_ref();
    let rules = policy.rules(side.direction).unwrap_or_default().iter().zip(&slot.rules);
    (0..).zip(rules).map(|(number, (rule, compiled))| Line { policy, number, rule, compiled }).collect()
}

/// What rules of one direction are compared by.
pub struct Cover<'x, 'c> {
    context: &'x Context<'c>,
    /// The direction.
    pub side: &'x Side,
    /// The classes of addresses, and those of pods without an address.
    classes: Vec<CidrClassId>,
}

/// A part of the peers of a rule that others allow as a whole or not at all.
enum Part<'c> {
    Everyone,
    Pods(&'c Peer),
    Addresses(CidrClassId),
    Names(&'c NamePattern),
}

impl<'x, 'c> Cover<'x, 'c> {
    /// For one direction.
    pub fn new(context: &'x Context<'c>, side: &'x Side) -> Self {
        Cover { context, side, classes: classes(&side.blocks) }
    }

    /// Whether all that a rule allows is allowed by others of policies for the same pods.
    pub fn covers(&self, others: &[&Line<'_>], line: &Line<'_>) -> bool {
        self.parts(line).iter().all(|part| {
            let having = others.iter().filter(|other| self.has(other, part, line));
            ports_are_among(self.side, line.compiled, having.map(|other| other.compiled))
        })
    }

    fn parts<'l>(&self, line: &Line<'l>) -> Vec<Part<'l>> {
        let (Some(peers), Some(compiled)) = (&line.rule.peers, &line.compiled.peers) else {
            return vec![Part::Everyone];
        };
        let pods = peers.iter().filter(|peer| matches!(peer, Peer::Pods { .. })).map(Part::Pods);
        let blocks = &self.side.blocks;
        // What names stand for changes, and is no part of what they say.
        let own = || compiled.blocks.iter().filter(|block| blocks.pattern(**block).is_none());
        let held = |class: &&CidrClassId| own().any(|block| blocks.holds(*block, **class));
        let addresses = if own().next().is_none() { &[][..] } else { self.classes.as_slice() };
        let addresses = addresses.iter().filter(held).map(|class| Part::Addresses(*class));
        pods.chain(names_of(peers).map(Part::Names)).chain(addresses).collect()
    }

    fn has(&self, other: &Line<'_>, part: &Part<'_>, line: &Line<'_>) -> bool {
        let (Some(peers), Some(compiled)) = (&other.rule.peers, &other.compiled.peers) else {
            // Names beside what is open restrict nothing: that is NS038's to tell.
            return !matches!(part, Part::Names(_));
        };
        match part {
            Part::Addresses(class) => {
                let blocks = &self.side.blocks;
                compiled.blocks.iter().any(|block| blocks.pattern(*block).is_none() && blocks.holds(*block, *class))
            }
            Part::Names(narrow) => names_of(peers).any(|wide| narrow.is_within(wide)),
            Part::Everyone => is_for_every_peer(self.context.compiled, other.rule, &Family::ALL),
            Part::Pods(narrow) => {
                peers.iter().any(|wide| peer_implies(self.context, &line.policy.namespace, narrow, wide))
                    || is_for_every_peer(self.context.compiled, other.rule, &Family::ALL)
            }
        }
    }
}

/// The patterns of names among the items.
fn names_of(peers: &[Peer]) -> impl Iterator<Item = &NamePattern> {
    peers.iter().flat_map(|peer| match peer {
        Peer::Names(patterns) => patterns.as_slice(),
        Peer::Pods { .. } | Peer::Block(_) => &[],
    })
}

fn classes(blocks: &Blocks) -> Vec<CidrClassId> {
    let addresses = Family::ALL.into_iter().flat_map(|family| blocks.ranges(family).map(|(_, class)| class));
    let kinds = Family::ALL.into_iter().flat_map(|family| [(family, false), (family, true)]);
    let unaddressed = kinds.map(|(family, host)| blocks.unaddressed(family, host));
    let mut all: Vec<CidrClassId> = addresses.chain(unaddressed.flat_map(|u| [u.surely, u.maybe])).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether the ports of a rule are among those of others, whatever port names stand for.
fn ports_are_among<'r>(side: &Side, rule: &CompiledRule, others: impl Iterator<Item = &'r CompiledRule>) -> bool {
    let (mut numbers, mut names): (PortSet, Vec<NameId>) = (PortSet::EMPTY, Vec::new());
    for other in others {
        numbers = numbers.union(&other.ports);
        names.extend(&other.names);
    }
    let whole = |protocol: Protocol| PortSet::all().of_protocol(protocol).difference(&numbers).is_empty();
    let named = |name: &NameId| names.contains(name) || side.name_protocol(*name).is_some_and(whole);
    let any = !rule.ports.is_empty() || !rule.names.is_empty();
    any && rule.ports.difference(&numbers).is_empty() && rule.names.iter().all(named)
}

/// Whether one selector matches all that another one matches, whatever labels there are.
pub fn selector_implies(narrow: &Selector, wide: &Selector) -> bool {
    let implied = |w: &Requirement| narrow.requirements().iter().any(|n| requirement_implies(n, w));
    wide.requirements().iter().all(implied)
}

fn requirement_implies(narrow: &Requirement, wide: &Requirement) -> bool {
    use Condition::{DoesNotExist, Exists, In, NotIn};
    let within = |a: &[Box<str>], b: &[Box<str>]| a.iter().all(|value| b.contains(value));
    narrow.key == wide.key
        && match (&narrow.condition, &wide.condition) {
            (In(a), In(b)) => within(a, b),
            (In(a), NotIn(b)) => !a.iter().any(|value| b.contains(value)),
            (NotIn(a), NotIn(b)) => within(b, a),
            (In(_) | Exists, Exists) | (DoesNotExist, DoesNotExist | NotIn(_)) => true,
            _ => false,
        }
}

/// Whether one item holds all pods that another one of the same namespace's policies holds.
fn peer_implies(context: &Context<'_>, own: &str, narrow: &Peer, wide: &Peer) -> bool {
    match (narrow, wide) {
        (Peer::Pods { namespaces: a, pods: x }, Peer::Pods { namespaces: b, pods: y }) => {
            selector_implies(x, y) && scope_implies(context, own, a.as_ref(), b.as_ref())
        }
        _ => false,
    }
}

fn scope_implies(context: &Context<'_>, own: &str, narrow: Option<&Selector>, wide: Option<&Selector>) -> bool {
    match (narrow, wide) {
        (None, None) => true,
        (None, Some(wide)) => surely_selects(context, wide, own),
        (Some(narrow), None) => all_named(narrow, |name| name == own),
        (Some(narrow), Some(wide)) => {
            selector_implies(narrow, wide) || all_named(narrow, |name| surely_selects(context, wide, name))
        }
    }
}

/// Whether a selector asks for namespaces by name, and something holds of each.
fn all_named(selector: &Selector, holds: impl Fn(&str) -> bool) -> bool {
    let mut names = names_asked_for(selector).peekable();
    names.peek().is_some() && names.all(holds)
}

/// Whether a selector matches a namespace, judged by labels that are known (B4).
fn surely_selects(context: &Context<'_>, selector: &Selector, name: &str) -> bool {
    let by_name_alone = selector.requirements().iter().all(|r| r.key.as_ref() == NAMESPACE_NAME_LABEL);
    let known = by_name_alone || context.index.namespace(name).is_some();
    known && selector.matches(&context.index.namespace_labels(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use netsim_shared::selector::Labels;

    #[test]
    fn what_is_implied_holds_for_all_labels() {
        let texts = ["", "a=1", "a in (1,2)", "a", "!a", "a!=1", "a notin (1,2)", "a=1,b=1", "b", "a=3"];
        let selectors = texts.map(|text| Selector::parse(text).unwrap());
        let mut sets: Vec<Labels> = Vec::new();
        for a in ["", "1", "2", "3"] {
            for b in ["", "1"] {
                let pairs = [("a", a), ("b", b)];
                sets.push(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect());
            }
        }
        for narrow in &selectors {
            for wide in &selectors {
                let holds = sets.iter().all(|labels| !narrow.matches(labels) || wide.matches(labels));
                assert_eq!(selector_implies(narrow, wide), holds, "{narrow} within {wide}");
            }
        }
    }
}
