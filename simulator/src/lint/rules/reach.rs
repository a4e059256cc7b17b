//! On which pods a rule's ports are looked at: for ingress those that its policy isolates, for egress
//! those that its peers hold (C3).
//!
//! Pods are counted by what they declare and by the classes of the compiled form, so that the cost does
//! not grow with their number.

use super::parts::RuleAt;
use crate::lint::Context;
use netsim_shared::compile::side::{CompiledRule, PeerId, PeerTerms, PolicySlot};
use netsim_shared::compile::{EndpointId, Entry};
use netsim_shared::net::Family;
use netsim_shared::object::ContainerPort;
use netsim_shared::policy::{Direction, Peer, Rule};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

type PolicyKey<'c> = (&'c str, &'c str);

/// A rule of a policy that isolates a pod of the input.
#[derive(Debug, Clone, Copy)]
pub struct Site<'r> {
    /// The rule.
    pub at: RuleAt<'r>,
    compiled: &'r CompiledRule,
}

/// What is known of the pods of all rules.
pub struct Reach<'r, 'c> {
    context: &'r Context<'c>,
    /// The distinct lists of container ports.
    declared: Vec<&'r [ContainerPort]>,
    slots: BTreeMap<(Direction, PolicyKey<'r>), &'r PolicySlot>,
    selected: HashMap<PolicyKey<'r>, BTreeSet<usize>>,
    classes: BTreeMap<PeerId, Class>,
    held: RefCell<HashMap<PeerTerms, Rc<Vec<PeerId>>>>,
}

#[derive(Default)]
struct Class {
    declared: BTreeSet<usize>,
    pods: Vec<EndpointId>,
}

/// What an endpoint is to egress rules.
fn as_destination(context: &Context<'_>, entry: &Entry) -> impl Iterator<Item = PeerId> {
    Family::ALL
        .into_iter()
        .filter_map(|family| entry.as_peer.get(family).as_ref())
        .map(|ids| context.presumed(&ids.destination))
}

impl<'r, 'c> Reach<'r, 'c> {
    /// Looks at all pods once.
    pub fn of(context: &'r Context<'c>) -> Self {
        let mut numbers: HashMap<&'r [ContainerPort], usize> = HashMap::new();
        let mut reach = Reach {
            context,
            declared: Vec::new(),
            slots: BTreeMap::new(),
            selected: HashMap::new(),
            classes: BTreeMap::new(),
            held: RefCell::default(),
        };
        let mut groups: BTreeSet<(u32, usize)> = BTreeSet::new();
        let mut senders: BTreeSet<u32> = BTreeSet::new();
        for (id, entry) in context.compiled.entries().filter(|(_, entry)| !entry.endpoint.host_network) {
            let ports = entry.endpoint.ports.as_slice();
            let number = *numbers.entry(ports).or_insert_with(|| {
                reach.declared.push(ports);
                reach.declared.len() - 1
            });
            groups.insert((entry.ingress, number));
            senders.insert(entry.egress);
            for peer in as_destination(context, entry) {
                let class = reach.classes.entry(peer).or_default();
                class.declared.insert(number);
                if class.pods.last() != Some(&id) {
                    class.pods.push(id);
                }
            }
        }
        for (group, number) in groups {
            for slot in context.compiled.side(Direction::Ingress).policies_of(group) {
                let key = key_of(slot);
                reach.slots.insert((Direction::Ingress, key), slot);
                reach.selected.entry(key).or_default().insert(number);
            }
        }
        for group in senders {
            for slot in context.compiled.side(Direction::Egress).policies_of(group) {
                reach.slots.insert((Direction::Egress, key_of(slot)), slot);
            }
        }
        reach
    }

    /// The rules of all policies that isolate a pod, by policy.
    pub fn sites(&self) -> impl Iterator<Item = Site<'r>> + '_ {
        self.slots.iter().flat_map(|((direction, _), slot)| {
            let direction = *direction;
            let rules = slot.policy.rules(direction).unwrap_or_default().iter().zip(&slot.rules).enumerate();
            rules.map(move |(index, (rule, compiled))| {
                let at = RuleAt { policy: &slot.policy, direction, index, rule };
                Site { at, compiled }
            })
        })
    }

    /// The distinct lists of container ports of the pods of a rule.
    pub fn declared(&self, site: &Site<'r>) -> Vec<&'r [ContainerPort]> {
        let numbers: BTreeSet<usize> = match site.at.direction {
            Direction::Ingress => self.selected.get(&site.key()).cloned().unwrap_or_default(),
            Direction::Egress => {
                let classes = self.held(site);
                classes.iter().filter_map(|id| self.classes.get(id)).flat_map(|c| c.declared.iter().copied()).collect()
            }
        };
        numbers.into_iter().filter_map(|number| self.declared.get(number).copied()).collect()
    }

    /// The pods of a rule. This goes by pods: for rules about which there is something to tell.
    pub fn pods(&self, site: &Site<'r>) -> Vec<EndpointId> {
        match site.at.direction {
            Direction::Ingress => {
                let selected = self.context.selected(site.at.policy).iter().copied();
                selected.filter(|id| self.holds(site, *id)).collect()
            }
            Direction::Egress => {
                let classes = self.held(site);
                let ids = classes.iter().filter_map(|id| self.classes.get(id)).flat_map(|c| c.pods.iter().copied());
                ids.collect::<BTreeSet<EndpointId>>().into_iter().collect()
            }
        }
    }

    /// Whether a pod is one of those of a rule.
    pub fn holds(&self, site: &Site<'r>, id: EndpointId) -> bool {
        let Some(entry) = self.context.compiled.entry(id).filter(|entry| !entry.endpoint.host_network) else {
            return false;
        };
        match site.at.direction {
            Direction::Ingress => {
                let mut slots = self.context.compiled.side(Direction::Ingress).policies_of(entry.ingress);
                slots.any(|slot| key_of(slot) == site.key())
            }
            Direction::Egress => {
                let classes = self.held(site);
                as_destination(self.context, entry).any(|peer| classes.binary_search(&peer).is_ok())
            }
        }
    }

    /// The classes that an egress rule's peers hold, sorted.
    fn held(&self, site: &Site<'r>) -> Rc<Vec<PeerId>> {
        let side = self.context.compiled.side(Direction::Egress);
        let all = || {
            let holds =
                |id: &PeerId| side.peer_class(*id).is_some_and(|class| side.rule_has_peer(site.compiled, class));
            Rc::new(self.classes.keys().copied().filter(holds).collect::<Vec<PeerId>>())
        };
        match &site.compiled.peers {
            None => all(),
            Some(terms) => self.held.borrow_mut().entry(terms.clone()).or_insert_with(all).clone(),
        }
    }
}

impl<'r> Site<'r> {
    fn key(&self) -> PolicyKey<'r> {
        (&self.at.policy.namespace, &self.at.policy.name)
    }

    /// The rule as it is read.
    pub fn rule(&self) -> &'r Rule {
        self.at.rule
    }

    /// Whether it names pods only: selectors and no block.
    pub fn names_pods_only(&self) -> bool {
        let peers = self.at.rule.peers.as_ref();
        peers.is_some_and(|peers| peers.iter().all(|peer| matches!(peer, Peer::Pods { .. })))
    }

    /// What to call its pods in a message.
    pub fn whose(&self) -> &'static str {
        match self.at.direction {
            Direction::Ingress => "pod that this policy selects",
            Direction::Egress if self.at.rule.peers.is_none() => "pod of the input",
            Direction::Egress => "pod that this rule leads to",
        }
    }
}

fn key_of(slot: &PolicySlot) -> PolicyKey<'_> {
    (&slot.policy.namespace, &slot.policy.name)
}
