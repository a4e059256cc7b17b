//! The compiled policies and the pods of one node as a ruleset. Pure: no clock, no kernel.
//!
//! A packet of a pod of this node goes to the chain of its group, the pods that the same policies
//! isolate; there its peer is looked up in sets of addresses (see `peers`), and its port in sets of
//! ports. Addresses that no pod is known to have are in ranges, made of the policies' blocks.

pub mod frame;
pub mod learn;
mod peers;

use crate::ruleset::{Chain, Elements, Key, Name, Ruleset, Set, SetKind, Verdict};
use ipnet::IpNet;
use netsim_shared::compile::side::{GroupId, NOT_ISOLATED, PeerId};
use netsim_shared::compile::{Address, Compiled, EndpointId, Entry};
use netsim_shared::dns::NamePattern;
use netsim_shared::net::{Family, PerFamily};
use netsim_shared::policy::Direction;
pub use peers::group_of_chain;
use peers::{Out, Peers};
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Whether denied packets are logged; they are counted in any case.
    pub log_denied: bool,
    /// The netlink log group that they are logged to.
    pub log_group: u16,
    /// How many packets a second are logged in each direction, and as many of unknown pods.
    pub log_rate: u32,
    /// A group of pods with more lines than this to look through gets others: one for each distinct
    /// set of ports, with sets of peers of its own. A packet's way does not get longer with the
    /// number of policies that isolate a pod.
    pub many_lines: usize,
    /// How answers of DNS to pods with names in their rules are held; `None`: they are not.
    pub learning: Option<learn::Learning>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            node: Box::default(),
            unknown_pods: UnknownPods::default(),
            audit: false,
            mark_mask: 0xffff_0000,
            log_denied: true,
            log_group: 4712,
            log_rate: 100,
            many_lines: 16,
            learning: None,
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

/// What a timed set of the ruleset is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesSet {
    /// The names.
    pub patterns: Arc<[NamePattern]>,
    /// Their addresses of this family.
    pub family: Family,
    /// Those that they stood for not long ago as well: established connections to them go on (G3).
    pub seen: bool,
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
    /// Of the compiled form that the sets were made of.
    epoch: Option<u64>,
    local_pods: usize,
    /// The groups of the node's pods.
    groups: BTreeSet<(Direction, GroupId)>,
    /// How often all was made.
    makings: u64,
    local_addresses: FxHashSet<IpAddr>,
    ingress: Peers,
    egress: Peers,
    ruleset: Ruleset,
    names: BTreeMap<Name, NamesSet>,
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
            groups: BTreeSet::new(),
            makings: 0,
            local_addresses: FxHashSet::default(),
            ingress: Peers::default(),
            egress: Peers::default(),
            ruleset: Ruleset::default(),
            names: BTreeMap::new(),
        }
    }

    /// The last ruleset that was made.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// The timed sets of the last ruleset, and what each is to hold.
    pub fn names(&self) -> &BTreeMap<Name, NamesSet> {
        &self.names
    }

    /// How many pods of this node are known.
    pub fn local_pods(&self) -> usize {
        self.local_pods
    }

    /// The groups that pods of this node are in, by the numbers of the compiled form that was rendered last; and a
    /// number that is another one when they, or policies, may be others.
    pub fn groups(&self) -> (u64, impl Iterator<Item = (Direction, GroupId)> + '_) {
        (self.makings, self.groups.iter().copied())
    }

    /// How many sets of peers there are, both directions together.
    pub fn peer_sets(&self) -> usize {
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
            self.ruleset.chains.extend(frame::chains(&self.options, &self.pod_cidrs, self.stamp));
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
        let addressed: Vec<(IpAddr, &Entry)> = compiled
            .entries()
            .flat_map(|(id, entry)| Family::ALL.into_iter().filter_map(move |f| Some((owned(id, entry, f)?, entry))))
            .collect();
        let chains = frame::chains(&self.options, &self.pod_cidrs, self.stamp);
        let mut new = Next { old: &self.ruleset, new: Ruleset { chains, ..Ruleset::default() } };
        let isolated = |direction: &Direction| locals.iter().any(|local| local.group(*direction) != NOT_ISOLATED);
        let isolated: Vec<Direction> = Direction::ALL.into_iter().filter(isolated).collect();
        new.chain(frame::NAMELESS.into(), frame::nameless(&isolated));
        // Numbers of before have a meaning as long as the compiled form was not made anew.
        let same_numbers = self.epoch == Some(compiled.epoch());
        for (direction, last) in [(Direction::Ingress, &mut self.ingress), (Direction::Egress, &mut self.egress)] {
            let side = compiled.side(direction);
            let before = std::mem::take(last);
            let before = if same_numbers { before } else { before.without_numbers() };
            let used: Vec<(IpAddr, PeerId)> = addressed
                .iter()
                .filter_map(|(address, entry)| Some((*address, peer_of(entry, direction, Family::of(*address))?)))
                .collect();
            *last = Peers::new(side, &locals, &used, self.options.many_lines, &before);
            last.write(side, &locals, &used, &mut new);
            for family in Family::ALL {
                let elements = dispatch(&locals, direction, family, &self.options);
                new.set(frame::pods_map(direction, family), Set::new(SetKind::AddressMap(family), elements));
                let elements = itself(&locals, direction, family);
                new.set(frame::self_set(direction, family), Set::new(SetKind::Pairs(family), elements));
            }
        }
        if let Some(learning) = &self.options.learning {
            learn(learning, &locals, &self.egress, &mut new);
        }
        self.ruleset = new.new;
        let sets = [(Direction::Ingress, &self.ingress), (Direction::Egress, &self.egress)];
        let sets = sets.into_iter().flat_map(|(direction, peers)| peers.names_sets(compiled.side(direction)));
        self.names = sets.collect();
        self.local_pods = locals.len();
        let groups = |local: &Local| Direction::ALL.map(|direction| (direction, local.group(direction)));
        self.groups = locals.iter().flat_map(groups).collect();
        self.makings += 1;
        self.local_addresses = locals.iter().flat_map(Local::addresses).collect();
        self.epoch = Some(compiled.epoch());
    }

    /// The same, when only pods of other nodes changed: `addresses` are those that they had and have.
    fn remote(&mut self, compiled: &Compiled, addresses: &[IpAddr]) {
        for (direction, peers) in [(Direction::Ingress, &mut self.ingress), (Direction::Egress, &mut self.egress)] {
            for address in addresses {
                let entry = compiled.at_address(*address).and_then(|id| compiled.entry(id));
                let peer = entry.and_then(|entry| peer_of(entry, direction, Family::of(*address)));
                let sets = &mut self.ruleset.sets;
                peers.update(compiled.side(direction), *address, peer, |name, change| {
                    if let Some(set) = sets.get_mut(name) {
                        change(&mut Arc::make_mut(set).elements);
                    }
                });
            }
        }
    }
}

/// A ruleset in the making. What is as it was last is taken over, so that it need not be compared.
struct Next<'r> {
    old: &'r Ruleset,
    new: Ruleset,
}

impl Out for Next<'_> {
    fn chain(&mut self, name: Name, chain: Chain) {
        let chain = keep(self.old.chains.get(&name), chain);
        self.new.chains.insert(name, chain);
    }

    fn set(&mut self, name: Name, set: Set) {
        let set = keep(self.old.sets.get(&name), set);
        self.new.sets.insert(name, set);
    }

    fn last(&self, name: &str) -> Elements {
        self.old.sets.get(name).map(|set| set.elements.clone()).unwrap_or_default()
    }
}

fn keep<T: PartialEq>(old: Option<&Arc<T>>, new: T) -> Arc<T> {
    match old {
        Some(old) if **old == new => old.clone(),
        _ => Arc::new(new),
    }
}

/// Adds what holds the answers to the node's pods that may reach names, if there are any.
fn learn(learning: &learn::Learning, locals: &[Local], egress: &Peers, out: &mut Next<'_>) {
    let groups = egress.groups_with_names();
    let learners: Vec<&Local> = locals.iter().filter(|local| groups.contains(&local.egress)).collect();
    if learners.is_empty() {
        return;
    }
    for family in Family::ALL {
        let addresses = learners.iter().filter_map(|local| *local.addresses.get(family));
        let elements = addresses.map(|address| (Key::Address(address), None)).collect();
        out.set(learn::pods_set(family), Set::new(SetKind::Addresses(family), elements));
    }
    let learn::Parts { chains, sets } = learn::parts(learning);
    for (name, chain) in chains {
        out.chain(name, Arc::unwrap_or_clone(chain));
    }
    for (name, set) in sets {
        out.set(name, Arc::unwrap_or_clone(set));
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

/// The node's pods in a direction: isolated ones to the chain of their group. Others are only named where
/// unknown ones are closed.
fn dispatch(locals: &[Local], direction: Direction, family: Family, options: &Options) -> Elements {
    let of = |local: &Local| {
        let verdict = match local.group(direction) {
            NOT_ISOLATED if options.unknown_pods == UnknownPods::Allow => return None,
            NOT_ISOLATED => Verdict::Return,
            group => Verdict::Goto(peers::group_chain(direction, group, family)),
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
