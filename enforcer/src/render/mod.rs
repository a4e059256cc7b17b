//! The compiled policies and the pods of one node as a ruleset. Pure: no clock, no kernel.
//!
//! A pod that comes or goes anywhere in the cluster is one element in each of two maps, whatever
//! the number of policies: its address leads to the chain of its class (see [`classes`]), and a
//! class chain looks the pod of this node, the protocol and the port up in a hash set. Addresses
//! that no pod is known to have go through a small map of ranges, made of the policies' blocks.

mod classes;
pub mod frame;

use crate::ruleset::elements::List;
use crate::ruleset::{Chain, Elements, Key, Name, Rule, Ruleset, Set, SetKind, Statement, Verdict};
use classes::{Classes, keep};
use ipnet::IpNet;
use netsim_shared::compile::side::{GroupId, NOT_ISOLATED, PeerId, Side};
use netsim_shared::compile::{Address, Compiled, EndpointId, Entry};
use netsim_shared::net::{Family, PerFamily, from_number};
use netsim_shared::policy::Direction;
use rustc_hash::{FxHashSet, FxHasher};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// What happens to packets of addresses in the pod range of this node that no pod is known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownPods {
    /// They pass: a pod can be reached between its start and its rules.
    Allow,
    /// They are dropped, but for those of the node itself: a pod is closed until it is programmed.
    #[default]
    Deny,
}

/// How a ruleset is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name of this node.
    pub node: Box<str>,
    /// What happens to pods that are not known yet.
    pub unknown_pods: UnknownPods,
    /// Denials are counted and logged, and nothing is dropped.
    pub audit: bool,
    /// The bits of the connection mark that are ours: adjoining ones.
    pub mark_mask: u32,
    /// The netlink log group of the audit mode.
    pub log_group: u16,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            node: Box::default(),
            unknown_pods: UnknownPods::default(),
            audit: false,
            mark_mask: 0xffff_0000,
            log_group: 4712,
        }
    }
}

impl Options {
    /// The mark of a generation.
    pub fn stamp(&self, generation: u32) -> u32 {
        (generation << self.mark_mask.trailing_zeros()) & self.mark_mask
    }

    /// The highest generation that the mask has room for; 0 stands for no stamp.
    pub fn last_generation(&self) -> u32 {
        self.mark_mask >> self.mark_mask.trailing_zeros()
    }
}

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    addresses: PerFamily<Option<IpAddr>>,
    ingress: GroupId,
    egress: GroupId,
}

impl Local {
    fn addresses(&self) -> Vec<IpAddr> {
        Family::ALL.into_iter().filter_map(|family| *self.addresses.get(family)).collect()
    }

    fn group(&self, direction: Direction) -> GroupId {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// What changed in the compiled form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Pods alone: the addresses that they had and have.
    PodsAt(Vec<IpAddr>),
    /// Anything else.
    Anything,
}

/// Makes rulesets of one node and keeps what the next one can be made from.
#[derive(Debug)]
pub struct Renderer {
    options: Options,
    pod_cidrs: Vec<IpNet>,
    stamp: u32,
    /// Of the compiled form that the classes were made of.
    epoch: Option<u64>,
    local_pods: usize,
    local_addresses: FxHashSet<IpAddr>,
    ingress: Classes,
    egress: Classes,
    ruleset: Ruleset,
}

/// A ruleset made from nothing: what `netsim-enforcer render` prints and `verify` compares with.
/// `generation` is the one that judged connections are stamped with.
pub fn render(compiled: &Compiled, options: &Options, pod_cidrs: &[IpNet], generation: u32) -> Ruleset {
    let mut renderer = Renderer::new(options.clone());
    renderer.set_generation(generation);
    renderer.set_pod_cidrs(pod_cidrs.to_vec());
    renderer.all(compiled);
    renderer.ruleset
}

impl Renderer {
    /// A renderer that has made nothing yet.
    pub fn new(options: Options) -> Self {
        let stamp = options.stamp(1);
        Renderer {
            options,
            pod_cidrs: Vec::new(),
            stamp,
            epoch: None,
            local_pods: 0,
            local_addresses: FxHashSet::default(),
            ingress: Classes::default(),
            egress: Classes::default(),
            ruleset: Ruleset::default(),
        }
    }

    /// The last ruleset that was made.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// How many pods of this node are known.
    pub fn local_pods(&self) -> usize {
        self.local_pods
    }

    /// How many classes of peers there are, both directions together.
    pub fn classes(&self) -> usize {
        self.ingress.count() + self.egress.count()
    }

    /// The ranges of this node's pods: what lies in them and is not known is closed.
    pub fn set_pod_cidrs(&mut self, pod_cidrs: Vec<IpNet>) {
        self.epoch = None;
        self.pod_cidrs = pod_cidrs;
    }

    /// Stamps judged connections with another generation from now on.
    pub fn set_generation(&mut self, generation: u32) {
        self.stamp = self.options.stamp(generation);
        if !self.ruleset.chains.is_empty() {
            let frame = frame::chains(&self.options, &self.pod_cidrs, self.stamp);
            // Only chains that look at the stamp differ; those of isolated pods hold more by now.
            for name in ["forward", "output", "judge"] {
                if let Some(chain) = frame.get(name) {
                    self.ruleset.chains.insert(name.into(), chain.clone());
                }
            }
        }
    }

    /// Brings the ruleset up to date after changes.
    pub fn update(&mut self, compiled: &Compiled, changed: &Changed) -> &Ruleset {
        let is_of_node = |address: &IpAddr| {
            let owner = compiled.at_address(*address).and_then(|id| compiled.entry(id));
            self.local_addresses.contains(address) || owner.is_some_and(|entry| self.is_local(entry))
        };
        match changed {
            Changed::PodsAt(addresses) if self.epoch == Some(compiled.epoch()) && !addresses.iter().any(is_of_node) => {
                self.remote(compiled, addresses)
            }
            _ => self.all(compiled),
        }
        &self.ruleset
    }

    fn is_local(&self, entry: &Entry) -> bool {
        entry.endpoint.node.as_deref() == Some(&*self.options.node) && !entry.endpoint.host_network
    }

    /// Makes the ruleset anew.
    fn all(&mut self, compiled: &Compiled) {
        let owned = |id: EndpointId, entry: &Entry, family: Family| {
            address_of(entry, family).filter(|address| compiled.at_address(*address) == Some(id))
        };
        let locals: Vec<Local> = compiled
            .entries()
            .filter(|(_, entry)| self.is_local(entry))
            .map(|(id, entry)| {
                let addresses = PerFamily::from_fn(|family| owned(id, entry, family));
                Local { addresses, ingress: entry.ingress, egress: entry.egress }
            })
            .filter(|local| !local.addresses().is_empty())
            .collect();
        let mut new =
            Ruleset { chains: frame::chains(&self.options, &self.pod_cidrs, self.stamp), ..Ruleset::default() };
        let addressed: Vec<(IpAddr, &Entry)> = compiled
            .entries()
            .flat_map(|(id, entry)| Family::ALL.into_iter().filter_map(move |f| Some((owned(id, entry, f)?, entry))))
            .collect();
        for direction in Direction::ALL {
            let side = compiled.side(direction);
            let before = std::mem::take(self.classes_mut(direction));
            let mut classes = Classes::new(side, &locals, &before);
            let known: Vec<(IpAddr, PeerId)> = addressed
                .iter()
                .filter_map(|(address, entry)| Some((*address, peer_of(entry, direction, Family::of(*address))?)))
                .collect();
            classes.assign(side, known.iter().map(|(_, peer)| *peer), &before);
            let old = &self.ruleset;
            classes.write(
                side,
                &mut |name, chain| {
                    let chain = keep(old.chains.get(&name), chain);
                    new.chains.insert(name, chain);
                },
                &mut |name, set| {
                    let set = keep(old.sets.get(&name), set);
                    new.sets.insert(name, set);
                },
            );
            let mut peers: PerFamily<List> = PerFamily::default();
            for (address, peer) in known.iter().copied() {
                if let Some(verdict) = peer_verdict(&mut classes, side, peer, address) {
                    peers.get_mut(Family::of(address)).push((Key::Address(address), Some(verdict)));
                }
            }
            for family in Family::ALL {
                let pods = dispatch(&locals, direction, family, &self.options);
                let mut add = |name: Name, set: Set| {
                    let set = keep(old.sets.get(&name), set);
                    new.sets.insert(name, set);
                };
                add(frame::pods_map(direction, family), Set { kind: SetKind::AddressMap(family), elements: pods });
                // By far the largest: what stayed is taken over from the last one.
                let mut elements =
                    old.sets.get(&peers_map(direction, family)).map(|set| set.elements.clone()).unwrap_or_default();
                elements.become_these(peers.get(family));
                add(peers_map(direction, family), Set { kind: SetKind::AddressMap(family), elements });
                let blocks = block_elements(&classes, side, family);
                let blocks_name = (!blocks.is_empty()).then(|| blocks_map(direction, family, &blocks));
                let selves = itself(&locals, direction, family);
                if let Some(name) = &blocks_name {
                    add(name.clone(), Set { kind: SetKind::RangeMap(family), elements: blocks });
                }
                let has_selves = !selves.is_empty();
                add(self_set(direction, family), Set { kind: SetKind::Pairs(family), elements: selves });
                let rules = isolated(direction, family, has_selves, blocks_name);
                let name = frame::isolated_chain(direction, family);
                let chain = keep(old.chains.get(&name), Chain { hook: None, rules });
                new.chains.insert(name, chain);
            }
            *self.classes_mut(direction) = classes;
        }
        self.ruleset = new;
        self.local_pods = locals.len();
        self.local_addresses = locals.iter().flat_map(Local::addresses).collect();
        self.epoch = Some(compiled.epoch());
    }

    /// The same, when only pods of other nodes changed: `addresses` are those that they had and have.
    fn remote(&mut self, compiled: &Compiled, addresses: &[IpAddr]) {
        for direction in Direction::ALL {
            let side = compiled.side(direction);
            for address in addresses {
                let family = Family::of(*address);
                let entry = compiled.at_address(*address).and_then(|id| compiled.entry(id));
                let peer = entry.and_then(|entry| peer_of(entry, direction, family));
                let classes = match direction {
                    Direction::Ingress => &mut self.ingress,
                    Direction::Egress => &mut self.egress,
                };
                let count = classes.count();
                let verdict = peer.and_then(|peer| peer_verdict(classes, side, peer, *address));
                if let (true, Some(peer)) = (classes.count() > count, peer) {
                    let class = classes.of_peer(side, peer);
                    let (chains, sets) = (&mut self.ruleset.chains, &mut self.ruleset.sets);
                    classes.write_class(
                        side,
                        class,
                        &mut |name, chain| _ = chains.insert(name, Arc::new(chain)),
                        &mut |name, set| _ = sets.insert(name, Arc::new(set)),
                    );
                }
                if let Some(map) = self.ruleset.sets.get_mut(&peers_map(direction, family)) {
                    let elements = &mut Arc::make_mut(map).elements;
                    match verdict {
                        Some(verdict) => elements.insert(Key::Address(*address), Some(verdict)),
                        None => elements.remove(&Key::Address(*address)),
                    }
                }
            }
        }
    }

    fn classes_mut(&mut self, direction: Direction) -> &mut Classes {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

/// The address of a pod that selectors can match; those of the host network have their node's (D1).
pub fn address_of(entry: &Entry, family: Family) -> Option<IpAddr> {
    match entry.endpoint.addresses.get(family) {
        Address::Known(address) if !entry.endpoint.host_network => Some(*address),
        _ => None,
    }
}

fn peer_of(entry: &Entry, direction: Direction, family: Family) -> Option<PeerId> {
    let ids = (*entry.as_peer.get(family))?;
    // The address is known, so what is sure is all there is.
    Some(match direction {
        Direction::Ingress => ids.source.surely,
        Direction::Egress => ids.destination.surely,
    })
}

/// What the map of peers has to say of an address, unless the ranges say the same.
fn peer_verdict(classes: &mut Classes, side: &Side, peer: PeerId, address: IpAddr) -> Option<Verdict> {
    let family = Family::of(address);
    let class = classes.of_peer(side, peer);
    let outside = classes.of_cidr(side.blocks.class_of(address));
    let (chain, as_outside) = (classes.chain(class, family), classes.chain(outside, family));
    let differs = class != outside && chain != as_outside;
    differs.then(|| Verdict::Goto(chain.cloned().unwrap_or_else(|| frame::deny_chain(side.direction))))
}

fn peers_map(direction: Direction, family: Family) -> Name {
    format!("{direction}_peers{}", frame::digit(family)).into()
}

fn self_set(direction: Direction, family: Family) -> Name {
    format!("{direction}_self{}", frame::digit(family)).into()
}

/// Intervals of one field are dear to change in place, so a map of ranges that changed is another
/// map: its name is of what is in it.
fn blocks_map(direction: Direction, family: Family, elements: &Elements) -> Name {
    let mut hasher = FxHasher::default();
    elements.sorted().hash(&mut hasher);
    format!("{direction}_blocks{}_{:08x}", frame::digit(family), hasher.finish() >> 32).into()
}

/// The node's pods in a direction: isolated ones to their chain. Others are only named where
/// unknown ones are closed.
fn dispatch(locals: &[Local], direction: Direction, family: Family, options: &Options) -> Elements {
    let of = |local: &Local| {
        let verdict = match local.group(direction) {
            NOT_ISOLATED if options.unknown_pods == UnknownPods::Allow => return None,
            NOT_ISOLATED => Verdict::Return,
            _ => Verdict::Goto(frame::isolated_chain(direction, family)),
        };
        Some((Key::Address((*local.addresses.get(family))?), Some(verdict)))
    };
    locals.iter().filter_map(of).collect()
}

/// The isolated pods of the node, which reach themselves (A6).
fn itself(locals: &[Local], direction: Direction, family: Family) -> Elements {
    let isolated = locals.iter().filter(|local| local.group(direction) != NOT_ISOLATED);
    let addresses = isolated.filter_map(|local| *local.addresses.get(family));
    addresses.map(|address| (Key::Pair(address, address), None)).collect()
}

/// Ranges outside the cluster that something is allowed with.
fn block_elements(classes: &Classes, side: &Side, family: Family) -> Elements {
    let mut ranges: Vec<(u128, u128, Verdict)> = Vec::new();
    for (range, cidr) in side.blocks.ranges(family) {
        let Some(chain) = classes.chain(classes.of_cidr(cidr), family) else { continue };
        let verdict = Verdict::Goto(chain.clone());
        match ranges.last_mut() {
            Some((_, last, same)) if *last + 1 == range.first && *same == verdict => *last = range.last,
            _ => ranges.push((range.first, range.last, verdict)),
        }
    }
    let key = |first, last| Key::Range(from_number(family, first), from_number(family, last));
    ranges.into_iter().map(|(first, last, verdict)| (key(first, last), Some(verdict))).collect()
}

/// The way of a packet of an isolated pod: itself, then pods that are known, then ranges.
fn isolated(direction: Direction, family: Family, has_selves: bool, blocks: Option<Name>) -> Vec<Rule> {
    let peer = frame::peer_field(direction, family);
    let mut rules = Vec::new();
    if has_selves {
        let pair = vec![frame::subject_field(direction, family), peer];
        let itself = Statement::InSet(pair, self_set(direction, family));
        rules.push(vec![itself, Statement::Verdict(Verdict::Return)]);
    }
    rules.push(vec![Statement::Vmap(peer, peers_map(direction, family))]);
    rules.extend(blocks.map(|name| vec![Statement::Vmap(peer, name)]));
    rules.push(frame::only(Verdict::Goto(frame::deny_chain(direction))));
    rules
}
