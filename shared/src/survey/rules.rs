//! Policies with their rules, and what each rule's peers hold of the kinds of peers.

use super::cells::{ports_of, protocol_number};
use super::lines::Lines;
use super::{Group, MAY_V4, MAY_V6, NamedNumber, Peers, Policy, Rule, SURE_V4, SURE_V6, Side};
use crate::compile::side::{self, CompiledRule, GroupId, NOT_ISOLATED, NameId, PeerClass, PeerTerms};
use crate::dns::name::join;
use crate::net::{Family, PerFamily};
use crate::object::Path;
use crate::policy::{Direction, NamedPort, NetworkPolicy, Peer, PortMatch};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::collections::HashMap;

/// A kind of peers: its class in each family, surely and perhaps (B8).
pub(super) type Kind = PerFamily<Option<(PeerClass, PeerClass)>>;

/// One direction in the making.
pub(super) struct Direct<'c> {
    pub(super) direction: Direction,
    side: &'c side::Side,
    policy_numbers: &'c HashMap<(&'c str, &'c str), u32>,
    kinds: Vec<Kind>,
    kind_numbers: HashMap<Kind, u32>,
    groups: Vec<GroupId>,
    group_numbers: FxHashMap<GroupId, u32>,
    names: Vec<(u8, String)>,
    name_numbers: FxHashMap<NameId, u32>,
    peers: Vec<(&'c PeerTerms, Vec<String>)>,
    peer_numbers: FxHashMap<&'c PeerTerms, u32>,
}

impl<'c> Direct<'c> {
    pub(super) fn new(side: &'c side::Side, policy_numbers: &'c HashMap<(&'c str, &'c str), u32>) -> Self {
        Direct {
            direction: side.direction,
            side,
            policy_numbers,
            kinds: Vec::new(),
            kind_numbers: HashMap::new(),
            groups: vec![NOT_ISOLATED],
            group_numbers: [(NOT_ISOLATED, 0)].into_iter().collect(),
            names: Vec::new(),
            name_numbers: FxHashMap::default(),
            peers: Vec::new(),
            peer_numbers: FxHashMap::default(),
        }
    }

    /// The number of a kind of peers.
    pub(super) fn kind(&mut self, kind: Kind) -> u32 {
        let kinds = &mut self.kinds;
        *self.kind_numbers.entry(kind).or_insert_with_key(|kind| {
            kinds.push(kind.clone());
            number(kinds.len() - 1)
        })
    }

    /// The number of a group.
    pub(super) fn group(&mut self, id: GroupId) -> u32 {
        let groups = &mut self.groups;
        *self.group_numbers.entry(id).or_insert_with(|| {
            groups.push(id);
            number(groups.len() - 1)
        })
    }

    /// The rules of a policy, with the numbers under which their lines were asked for.
    pub(super) fn rules<'p>(
        &mut self,
        policy: &'p NetworkPolicy,
        compiled: &'c [CompiledRule],
        lines: &mut Lines<'p>,
    ) -> Vec<Rule> {
        let written = policy.rules(self.direction).unwrap_or_default();
        let numbered = (0..).zip(written).zip(compiled);
        numbered
            .map(|((at, rule), compiled)| {
                let named = rule.ports.iter().flatten().filter_map(|port| match port {
                    PortMatch::Named(named) => Some(named),
                    PortMatch::Range(_) => None,
                });
                // Names were numbered in the order in which they are written.
                let names = compiled.names.iter().zip(named).map(|(id, named)| self.name(*id, named)).collect();
                let peers = compiled.peers.as_ref().map(|terms| {
                    let items = rule.peers.iter().flatten().map(|peer| in_words(peer, &policy.namespace));
                    self.peers_number(terms, items)
                });
                let asked = lines.ask(&policy.origin, Path::spec().key(self.direction.field()).index(at));
                Rule { line: number(asked), peers, ports: ports_of(&compiled.ports), names }
            })
            .collect()
    }

    fn name(&mut self, id: NameId, named: &NamedPort) -> u32 {
        let names = &mut self.names;
        *self.name_numbers.entry(id).or_insert_with(|| {
            names.push((protocol_number(named.protocol), named.name.to_string()));
            number(names.len() - 1)
        })
    }

    fn peers_number(&mut self, terms: &'c PeerTerms, items: impl Iterator<Item = String>) -> u32 {
        let peers = &mut self.peers;
        *self.peer_numbers.entry(terms).or_insert_with(|| {
            peers.push((terms, items.collect()));
            number(peers.len() - 1)
        })
    }

    /// The direction as data, when all policies, kinds and groups are known.
    pub(super) fn finish(self) -> Side {
        let names = |table: &[(NameId, u16)]| -> Vec<NamedNumber> {
            table.iter().filter_map(|(id, port)| Some((*self.name_numbers.get(id)?, *port))).collect()
        };
        let policy = |slot: &side::PolicySlot| {
            let key = (slot.policy.namespace.as_ref(), slot.policy.name.as_ref());
            self.policy_numbers.get(&key).copied()
        };
        let group = |id: &GroupId| Group {
            policies: self.side.policies_of(*id).filter_map(policy).collect(),
            names: self.side.group_of(*id).map_or_else(Vec::new, |group| names(&group.names)),
        };
        let table = |kind: &Kind| {
            let of_family = Family::ALL.into_iter().find_map(|family| kind.get(family).as_ref());
            // What port names stand for does not depend on the address.
            of_family.map_or_else(Vec::new, |(class, _)| names(self.side.name_table(class.names)))
        };
        let holds = |(terms, items): &(&PeerTerms, Vec<String>)| {
            let rule = CompiledRule {
                action: crate::compile::tier::Action::Accept,
                peers: Some((*terms).clone()),
                ports: crate::ports::PortSet::EMPTY,
                names: Box::default(),
            };
            let mut holds: Vec<(u8, Vec<(u32, u32)>)> = Vec::new();
            for (number, kind) in (0..).zip(&self.kinds) {
                let how = how_held(self.side, &rule, kind);
                if how == 0 {
                    continue;
                }
                let at = holds.iter().position(|(other, _)| *other == how).unwrap_or_else(|| {
                    holds.push((how, Vec::new()));
                    holds.len() - 1
                });
                let Some((_, runs)) = holds.get_mut(at) else { continue };
                match runs.last_mut() {
                    Some((first, count)) if *first + *count == number => *count += 1,
                    _ => runs.push((number, 1)),
                }
            }
            Peers { items: items.clone(), holds }
        };
        Side {
            groups: self.groups.iter().map(group).collect(),
            kinds: self.kinds.iter().map(table).collect(),
            peers: self.peers.par_iter().map(holds).collect(),
            names: self.names,
        }
    }
}

/// How a rule's peers hold a kind.
fn how_held(side: &side::Side, rule: &CompiledRule, kind: &Kind) -> u8 {
    let mut how = 0;
    for (family, sure, may) in [(Family::V4, SURE_V4, MAY_V4), (Family::V6, SURE_V6, MAY_V6)] {
        let Some((surely, perhaps)) = kind.get(family) else { continue };
        if side.rule_has_peer(rule, surely) {
            how |= sure;
        } else if perhaps != surely && side.rule_has_peer(rule, perhaps) {
            how |= may;
        }
    }
    how
}

/// A peer as one would say it.
fn in_words(peer: &Peer, own: &str) -> String {
    let pods = |selector: &crate::selector::Selector| match selector.is_everything() {
        true => "all pods".to_owned(),
        false => format!("pods with {selector}"),
    };
    match peer {
        Peer::Block(block) => block.to_string(),
        Peer::Names(patterns) => join(patterns),
        Peer::Pods { namespaces: None, pods: selector } => format!("{} in {own}", pods(selector)),
        Peer::Pods { namespaces: Some(namespaces), pods: selector } if namespaces.is_everything() => {
            format!("{} in every namespace", pods(selector))
        }
        Peer::Pods { namespaces: Some(namespaces), pods: selector } => {
            format!("{} in namespaces with {namespaces}", pods(selector))
        }
    }
}

/// A policy without its rules yet.
pub(super) fn policy(policy: &NetworkPolicy, namespace: u32, at: Option<super::At>) -> Policy {
    let selector = match policy.pod_selector.is_everything() {
        true => "all pods".to_owned(),
        false => format!("pods with {}", policy.pod_selector),
    };
    Policy { namespace, name: policy.name.to_string(), at, selector, ingress: None, egress: None }
}

pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
