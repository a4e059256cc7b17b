//! From the index to the form that both readers share, and its upkeep when objects change.
//!
//! Everything that selectors, blocks and port names can tell of a pod is worked out once and kept as
//! small numbers (see [`side`]). A pod that comes is looked up by its labels and costs microseconds,
//! whatever the size of the cluster; a policy that changes makes its own namespace be looked at
//! again, and others only where it brings a selector that was not there.

pub mod blocks;
pub mod endpoint;
mod interner;
pub mod matcher;
pub mod side;
pub mod tier;

use crate::cluster::{Change, ClusterIndex, Key};
use crate::dns::NameMap;
use crate::net::{AddressRange, Family, PerFamily, family_of};
use crate::object::{Pod, WorkloadKind};
use crate::policy::Direction;
use blocks::CidrClassId;
pub use endpoint::{Address, Endpoint, EndpointKey};
use interner::Interner;
use ipnet::IpNet;
use matcher::{LabelsId, Matcher};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use side::{GroupId, NamespaceId, PeerId, Scope, Shape, Side};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Behaviour that providers differ in (clauses marked **mode**), with the stated defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes {
    /// `ipBlock` matches the addresses of pods too (B5); default `true`.
    pub ip_block_matches_pods: bool,
    /// hostNetwork pods are treated as ordinary pods (D1); default `false`.
    pub host_network_pods: bool,
    /// Assumptions about addresses that are not known turn into unknown (B8); default `false`.
    pub strict: bool,
    /// The ranges of pod addresses; empty: those that nodes name (B8).
    pub pod_cidrs: Vec<IpNet>,
    /// What is known of the addresses that names stand for (G6); default nothing.
    pub names: NameMap,
}

impl Default for Modes {
    fn default() -> Self {
        Modes {
            ip_block_matches_pods: true,
            host_network_pods: false,
            strict: false,
            pod_cidrs: Vec::new(),
            names: NameMap::default(),
        }
    }
}

/// The number of an endpoint.
pub type EndpointId = u32;

/// An endpoint and what was worked out for it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// What isolates it for ingress.
    pub ingress: GroupId,
    /// What isolates it for egress.
    pub egress: GroupId,
    /// What it is to the rules of others, for each family that it has an address in.
    pub as_peer: PerFamily<Option<PeerIds>>,
    namespace: NamespaceId,
    labels: LabelsId,
}

impl Entry {
    /// What isolates it for a direction.
    pub fn group(&self, direction: Direction) -> GroupId {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// The classes of an endpoint as a peer in one family. Where its address is not known there are two
/// answers (B8): with the blocks that surely hold it, and with those that may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerIds {
    /// As a source, to ingress rules.
    pub source: Certainty<PeerId>,
    /// As a destination, to egress rules.
    pub destination: Certainty<PeerId>,
}

/// Two answers about an address that is not known; the same twice when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Certainty<T> {
    /// What surely holds.
    pub surely: T,
    /// What may hold.
    pub maybe: T,
}

#[derive(Debug, Clone)]
struct NamespaceState {
    /// Its labels among the namespaces' label sets.
    labels: LabelsId,
    /// Whether files mention it without defining it (B4).
    synthesized: bool,
    endpoints: Vec<EndpointId>,
    /// The shapes worked out so far: ingress and egress.
    shapes: FxHashMap<LabelsId, (Shape, Shape)>,
}

/// The compiled cluster.
#[derive(Debug, Clone)]
pub struct Compiled {
    modes: Modes,
    epoch: u64,
    families: Vec<Family>,
    names: Interner<Box<str>>,
    namespaces: Vec<NamespaceState>,
    namespace_matcher: Matcher,
    pod_matcher: Matcher,
    ingress: Side,
    egress: Side,
    endpoints: Vec<Option<Entry>>,
    free: Vec<EndpointId>,
    by_key: FxHashMap<EndpointKey, EndpointId>,
    by_address: FxHashMap<IpAddr, EndpointId>,
    /// Who has an address besides the one in `by_address`: a reused one, until the old pod is gone (D3).
    also_at: FxHashMap<IpAddr, Vec<EndpointId>>,
    /// How many endpoints have an address of a family.
    addressed: PerFamily<usize>,
    /// The workloads of pods that take no part and so have no endpoint.
    absent: FxHashMap<Key, (WorkloadKind, Box<str>)>,
    nodes: FxHashMap<IpAddr, Box<str>>,
    /// What pods say of their nodes' addresses: the nodes, and how many pods say so.
    said_nodes: FxHashMap<IpAddr, BTreeMap<Box<str>, usize>>,
    /// How many numbers there were when it was made anew.
    numbers_at_first: usize,
}

/// How many numbers that nothing uses may there be beside the used ones, and as many as those.
const SPARE_NUMBERS: usize = 1000;

/// The families in use: of the pod ranges and of any pod's address that is known, else of Services,
/// else IPv4. Pods that take no part do not count (D3).
fn families_of(index: &ClusterIndex, modes: &Modes) -> Vec<Family> {
    let pods = index.pods().filter(|pod| ClusterIndex::absence(pod).is_none()).flat_map(|pod| &pod.addresses);
    families_with(index, modes, pods.copied().map(Family::of))
}

fn families_with(index: &ClusterIndex, modes: &Modes, of_pods: impl Iterator<Item = Family>) -> Vec<Family> {
    let ranges = modes.pod_cidrs.iter().chain(index.nodes().flat_map(|node| &node.pod_cidrs)).map(family_of);
    let mut families: Vec<Family> = ranges.chain(of_pods).collect();
    if families.is_empty() {
        families.extend(index.services().flat_map(|s| &s.cluster_addresses).copied().map(Family::of));
    }
    families.sort_unstable();
    families.dedup();
    if families.is_empty() { vec![Family::V4] } else { families }
}

/// The known ranges of pod addresses (B8): those that are given, else those of the nodes.
pub fn pod_cidrs<'c>(index: &'c ClusterIndex, modes: &'c Modes) -> Vec<&'c IpNet> {
    if modes.pod_cidrs.is_empty() {
        index.nodes().flat_map(|node| &node.pod_cidrs).collect()
    } else {
        modes.pod_cidrs.iter().collect()
    }
}

fn pod_ranges(index: &ClusterIndex, modes: &Modes) -> PerFamily<Vec<AddressRange>> {
    let nets = pod_cidrs(index, modes);
    PerFamily::from_fn(|family| {
        nets.iter().filter(|n| family_of(n) == family).map(|n| AddressRange::from(*n)).collect()
    })
}

impl Compiled {
    /// Compiles a cluster.
    pub fn new(index: &ClusterIndex, modes: &Modes) -> Self {
        let mut compiled = Compiled {
            modes: modes.clone(),
            epoch: 0,
            families: families_of(index, modes),
            names: Interner::default(),
            namespaces: Vec::new(),
            namespace_matcher: Matcher::default(),
            pod_matcher: Matcher::default(),
            ingress: Side::new(Direction::Ingress),
            egress: Side::new(Direction::Egress),
            endpoints: Vec::new(),
            free: Vec::new(),
            by_key: FxHashMap::default(),
            by_address: FxHashMap::default(),
            also_at: FxHashMap::default(),
            addressed: PerFamily::default(),
            absent: FxHashMap::default(),
            nodes: FxHashMap::default(),
            said_nodes: FxHashMap::default(),
            numbers_at_first: 0,
        };
        // Policies first: label sets that come later find their selectors through the inverted index.
        for policy in index.policies() {
            let key = (policy.namespace.clone(), policy.name.clone());
            compiled.set_policy(index, &key);
        }
        for name in index.namespace_names() {
            compiled.namespace_id(index, name);
        }
        compiled.rebuild_blocks(index);
        // What pods are is found in parallel; their numbers are given one after another.
        let pods: Vec<&Arc<Pod>> = index.pods().collect();
        let endpoints: Vec<_> = pods.par_iter().map(|pod| compiled.endpoint_of(index, pod)).collect();
        for (pod, endpoint) in pods.into_iter().zip(endpoints) {
            compiled.put_pod(index, pod, endpoint);
        }
        for workload in index.standing_workloads() {
            let endpoint = Endpoint::of_workload(workload, &compiled.families, modes.host_network_pods);
            compiled.insert(index, Arc::new(endpoint));
        }
        for node in index.nodes() {
            for address in &node.addresses {
                compiled.nodes.entry(*address).or_insert_with(|| node.name.clone());
            }
        }
        compiled.numbers_at_first = compiled.numbers();
        compiled
    }

    /// Brings the compiled form up to date after a change of the index. What is left equals what
    /// [`Compiled::new`] would make, but for numbers that nothing uses any more. There are never more of these than of
    /// the others, about: each rollout brings labels that were never there, and none of them may stay for good.
    pub fn update(&mut self, index: &ClusterIndex, change: &Change) {
        self.follow(index, change);
        if self.numbers() > 2 * self.numbers_at_first + SPARE_NUMBERS {
            self.anew(index);
        }
    }

    /// How many numbers were given to distinct things.
    fn numbers(&self) -> usize {
        let matchers = self.namespace_matcher.numbers() + self.pod_matcher.numbers();
        self.names.items().len() + matchers + self.ingress.numbers() + self.egress.numbers()
    }

    fn follow(&mut self, index: &ClusterIndex, change: &Change) {
        match change {
            Change::Lookup => self.follow_families(index),
            Change::Topology => self.anew(index),
            Change::Namespace(name) => {
                let id = self.namespace_id(index, name);
                let (labels, synthesized) = self.labels_of(index, name);
                if let Some(state) = self.namespaces.get_mut(id as usize) {
                    (state.labels, state.synthesized) = (labels, synthesized);
                }
                self.refresh(&[id]);
            }
            Change::Policy(key) => {
                let namespace = self.namespace_id(index, &key.0);
                let fallout = self.set_policy(index, key);
                if fallout.everything {
                    self.rebuild_blocks(index);
                    self.refresh_all();
                    return;
                }
                let mut touched = vec![namespace];
                for scope in fallout.new_scopes {
                    match scope {
                        Scope::Own(id) => touched.push(id),
                        Scope::Selected(selector) => {
                            let states = (0..).zip(&self.namespaces);
                            let in_scope = states.filter(|(_, s)| self.namespace_matcher.matches(s.labels, selector));
                            touched.extend(in_scope.map(|(id, _): (u32, _)| id));
                        }
                    }
                }
                touched.sort_unstable();
                touched.dedup();
                self.refresh(&touched);
            }
            Change::Pod(key) => {
                let pod = index.pod(key);
                // A workload that gains its first or loses its last pod changes what takes part elsewhere.
                let workload = pod.and_then(|p| index.top_owner(p));
                let before = self.by_key.get(&EndpointKey::pod(key)).and_then(|id| self.entry(*id));
                let workload_before = match before {
                    Some(entry) => entry.endpoint.workload.clone(),
                    None => self.absent.get(key).cloned(),
                };
                let standing = |w: &Option<_>| w.as_ref().is_some_and(|w| index.has_workload_of(&key.0, w));
                if workload != workload_before && (standing(&workload) || standing(&workload_before)) {
                    self.anew(index);
                    return;
                }
                match pod {
                    Some(pod) => self.put_pod(index, pod, self.endpoint_of(index, pod)),
                    None => self.remove_pod(key),
                }
                self.follow_families(index);
            }
        }
    }

    /// A first or last address of a family changes where all endpoints without an address may be.
    fn follow_families(&mut self, index: &ClusterIndex) {
        let of_pods = Family::ALL.into_iter().filter(|family| *self.addressed.get(*family) > 0);
        if families_with(index, &self.modes, of_pods) != self.families {
            self.anew(index);
        }
    }

    fn anew(&mut self, index: &ClusterIndex) {
        let epoch = self.epoch + 1;
        *self = Compiled { epoch, ..Compiled::new(index, &self.modes) };
    }

    fn labels_of(&mut self, index: &ClusterIndex, name: &str) -> (LabelsId, bool) {
        (self.namespace_matcher.labels(&index.namespace_labels(name)), index.namespace(name).is_none())
    }

    fn namespace_id(&mut self, index: &ClusterIndex, name: &str) -> NamespaceId {
        let (id, new) = self.names.intern(&name.into());
        if new {
            let (labels, synthesized) = self.labels_of(index, name);
            let state = NamespaceState { labels, synthesized, endpoints: Vec::new(), shapes: FxHashMap::default() };
            self.namespaces.push(state);
        }
        id
    }

    fn set_policy(&mut self, index: &ClusterIndex, key: &Key) -> side::Fallout {
        let namespace = self.namespace_id(index, &key.0);
        let policy = index.policy(key);
        let mut fallout = side::Fallout::default();
        for side in [&mut self.ingress, &mut self.egress] {
            let more = side.set_policy(key, namespace, policy, &mut self.pod_matcher, &mut self.namespace_matcher);
            fallout.everything |= more.everything;
            fallout.new_scopes.extend(more.new_scopes);
        }
        fallout
    }

    fn rebuild_blocks(&mut self, index: &ClusterIndex) {
        let ranges = pod_ranges(index, &self.modes);
        self.ingress.blocks.rebuild(&ranges, &self.modes.names);
        self.egress.blocks.rebuild(&ranges, &self.modes.names);
    }

    fn endpoint_of(&self, index: &ClusterIndex, pod: &Pod) -> Option<Arc<Endpoint>> {
        Endpoint::of_pod(pod, index, &self.families, self.modes.host_network_pods).map(Arc::new)
    }

    fn put_pod(&mut self, index: &ClusterIndex, pod: &Pod, endpoint: Option<Arc<Endpoint>>) {
        match endpoint {
            Some(endpoint) => self.insert(index, endpoint),
            None => {
                let key = (pod.namespace.clone(), pod.name.clone());
                self.remove_pod(&key);
                if let Some(workload) = index.top_owner(pod) {
                    self.absent.insert(key, workload);
                }
            }
        }
    }

    fn remove_pod(&mut self, key: &Key) {
        self.absent.remove(key);
        self.remove(&EndpointKey::pod(key));
    }

    fn insert(&mut self, index: &ClusterIndex, endpoint: Arc<Endpoint>) {
        self.remove(&endpoint.key);
        let namespace = self.namespace_id(index, &endpoint.key.namespace);
        let labels = self.pod_matcher.labels(&endpoint.labels);
        let entry = self.classify(endpoint, namespace, labels);
        let id = self.free.pop().unwrap_or_else(|| {
            self.endpoints.push(None);
            u32::try_from(self.endpoints.len() - 1).unwrap_or(u32::MAX)
        });
        self.by_key.insert(entry.endpoint.key.clone(), id);
        if !entry.endpoint.is_template() && !self.absent.is_empty() {
            self.absent.remove(&(entry.endpoint.key.namespace.clone(), entry.endpoint.key.name.clone()));
        }
        for address in Self::own_addresses(&entry.endpoint) {
            // The pod that came last answers for an address, until it goes (D3).
            if let Some(other) = self.by_address.insert(address, id) {
                self.also_at.entry(address).or_default().push(other);
            }
        }
        for family in Self::known_families(&entry.endpoint) {
            *self.addressed.get_mut(family) += 1;
        }
        if let Some(node) = &entry.endpoint.node {
            for address in &entry.endpoint.host_addresses {
                *self.said_nodes.entry(*address).or_default().entry(node.clone()).or_default() += 1;
            }
        }
        if let Some(state) = self.namespaces.get_mut(namespace as usize) {
            state.endpoints.push(id);
        }
        if let Some(place) = self.endpoints.get_mut(id as usize) {
            *place = Some(entry);
        }
    }

    fn known_families(endpoint: &Endpoint) -> impl Iterator<Item = Family> + '_ {
        Family::ALL.into_iter().filter(|family| matches!(endpoint.addresses.get(*family), Address::Known(_)))
    }

    /// Its addresses, unless they are its node's, which many share.
    fn own_addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
        let known = |family| match endpoint.addresses.get(family) {
            Address::Known(address) if !endpoint.host_network => Some(*address),
            _ => None,
        };
        Family::ALL.into_iter().filter_map(known).collect()
    }

    fn remove(&mut self, key: &EndpointKey) {
        let Some(id) = self.by_key.remove(key) else { return };
        let Some(entry) = self.endpoints.get_mut(id as usize).and_then(Option::take) else { return };
        for address in Self::own_addresses(&entry.endpoint) {
            self.release(address, id);
        }
        for family in Self::known_families(&entry.endpoint) {
            *self.addressed.get_mut(family) -= 1;
        }
        if let Some(node) = &entry.endpoint.node {
            for address in &entry.endpoint.host_addresses {
                let Some(said) = self.said_nodes.get_mut(address) else { continue };
                match said.get_mut(node) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => _ = said.remove(node),
                }
            }
        }
        if let Some(state) = self.namespaces.get_mut(entry.namespace as usize) {
            state.endpoints.retain(|other| *other != id);
        }
        self.free.push(id);
    }

    /// Takes an address from an endpoint; another that has it too answers for it from now on.
    fn release(&mut self, address: IpAddr, id: EndpointId) {
        let others = self.also_at.get_mut(&address);
        if self.by_address.get(&address) != Some(&id) {
            others.into_iter().for_each(|others| others.retain(|other| *other != id));
            return;
        }
        match others.and_then(Vec::pop) {
            Some(other) => self.by_address.insert(address, other),
            None => self.by_address.remove(&address),
        };
    }

    /// Works out groups and classes of an endpoint.
    fn classify(&mut self, endpoint: Arc<Endpoint>, namespace: NamespaceId, labels: LabelsId) -> Entry {
        let (Some(state), ingress, egress) =
            (self.namespaces.get_mut(namespace as usize), &mut self.ingress, &mut self.egress)
        else {
            return Entry { endpoint, ingress: 0, egress: 0, as_peer: PerFamily::default(), namespace, labels };
        };
        let scopes = self.namespace_matcher.matching(state.labels);
        let (as_in, as_out) = state.shapes.entry(labels).or_insert_with(|| {
            let pods = &self.pod_matcher;
            (ingress.shape(namespace, scopes, labels, pods), egress.shape(namespace, scopes, labels, pods))
        });
        let blind = !self.modes.ip_block_matches_pods && !endpoint.host_network;
        let as_peer = PerFamily::from_fn(|family| {
            let class = |side: &mut Side, shape: &Shape| {
                let cidrs: Certainty<CidrClassId> = match endpoint.addresses.get(family) {
                    _ if blind => Certainty { surely: blocks::IN_NO_BLOCK, maybe: blocks::IN_NO_BLOCK },
                    Address::Known(address) => {
                        let class = side.blocks.inside(side.blocks.class_of(*address));
                        Certainty { surely: class, maybe: class }
                    }
                    _ => {
                        let unaddressed = side.unaddressed(&endpoint, family);
                        Certainty { surely: unaddressed.surely, maybe: unaddressed.maybe }
                    }
                };
                Certainty {
                    surely: side.peer(shape, &endpoint, cidrs.surely),
                    maybe: side.peer(shape, &endpoint, cidrs.maybe),
                }
            };
            (*endpoint.addresses.get(family) != Address::Absent)
                .then(|| PeerIds { source: class(ingress, as_in), destination: class(egress, as_out) })
        });
        let (ingress, egress) = (ingress.group(as_in, &endpoint), egress.group(as_out, &endpoint));
        Entry { endpoint, ingress, egress, as_peer, namespace, labels }
    }

    /// Works out the endpoints of some namespaces again.
    fn refresh(&mut self, namespaces: &[NamespaceId]) {
        for namespace in namespaces {
            let Some(state) = self.namespaces.get_mut(*namespace as usize) else { continue };
            state.shapes.clear();
            for id in state.endpoints.clone() {
                let Some(entry) = self.entry(id) else { continue };
                let (endpoint, labels) = (entry.endpoint.clone(), entry.labels);
                let entry = self.classify(endpoint, *namespace, labels);
                if let Some(place) = self.endpoints.get_mut(id as usize) {
                    *place = Some(entry);
                }
            }
        }
    }

    fn refresh_all(&mut self) {
        let all: Vec<NamespaceId> = (0..).take(self.namespaces.len()).collect();
        self.refresh(&all);
    }

    /// The modes it was compiled with.
    pub fn modes(&self) -> &Modes {
        &self.modes
    }

    /// Grows when everything was compiled anew, so that numbers of terms, groups, peers and endpoints
    /// lose their meaning. The classes of addresses lose it whenever a policy changes.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The families in use.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// One direction.
    pub fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// An endpoint by its number.
    pub fn entry(&self, id: EndpointId) -> Option<&Entry> {
        self.endpoints.get(id as usize).and_then(Option::as_ref)
    }

    /// The number of an endpoint.
    pub fn find(&self, key: &EndpointKey) -> Option<EndpointId> {
        self.by_key.get(key).copied()
    }

    /// The pod that has an address (host-network pods left out: theirs is the node's).
    pub fn at_address(&self, address: IpAddr) -> Option<EndpointId> {
        self.by_address.get(&address).copied()
    }

    /// The node that has an address: as nodes say, or else as pods that run there say.
    pub fn node_at(&self, address: IpAddr) -> Option<&str> {
        let said = || self.said_nodes.get(&address).and_then(|nodes| nodes.keys().next());
        self.nodes.get(&address).or_else(said).map(AsRef::as_ref)
    }

    /// Whether a name in a rule may stand for an address: there are such rules, and it is not refused (G5).
    pub fn may_be_named(&self, address: IpAddr) -> bool {
        self.egress.blocks.has_names() && self.modes.names.may_be_named(address)
    }

    /// All endpoints, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = (EndpointId, &Entry)> {
        (0..).zip(&self.endpoints).filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
    }

    /// The endpoints of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = EndpointId> {
        let state = self.names.find(namespace).and_then(|id| self.namespaces.get(id as usize));
        state.into_iter().flat_map(|state| state.endpoints.iter().copied())
    }

    /// Whether files mention a namespace without defining it, so that its labels are not known (B4).
    pub fn is_synthesized(&self, namespace: &str) -> bool {
        let state = self.names.find(namespace).and_then(|id| self.namespaces.get(id as usize));
        state.is_some_and(|state| state.synthesized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::ingest_json;
    use serde_json::{Value, json};

    #[test]
    fn what_was_there_once_does_not_stay_for_good() {
        let (mut index, modes) = (ClusterIndex::default(), Modes::default());
        let mut compiled = Compiled::new(&index, &modes);
        let apply = |index: &mut ClusterIndex, compiled: &mut Compiled, version: &str, kind: &str, object: Value| {
            let object = ingest_json(&"test".into(), &object.to_string(), version, kind).objects.remove(0);
            let change = index.apply(object).unwrap();
            compiled.update(index, &change);
        };
        for n in 0..3000 {
            let (version, block) = (format!("v{n}"), format!("2001:db8:{n:x}::/48"));
            let pod = json!({
                "metadata": {"namespace": "a", "name": "p", "labels": {"version": version}}, "spec": {"containers": []},
                "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
            });
            apply(&mut index, &mut compiled, "v1", "Pod", pod);
            let from = json!([{"podSelector": {"matchLabels": {"version": version}}}, {"ipBlock": {"cidr": block}}]);
            let policy = json!({
                "metadata": {"namespace": "a", "name": "p"},
                "spec": {"podSelector": {"matchLabels": {"version": version}}, "ingress": [{"from": from}]},
            });
            apply(&mut index, &mut compiled, "networking.k8s.io/v1", "NetworkPolicy", policy);
            assert!(compiled.numbers() <= 2 * compiled.numbers_at_first + SPARE_NUMBERS, "{}", compiled.numbers());
        }
        assert!(compiled.epoch() > 1, "it was never made anew");
        assert_eq!(compiled.numbers_at_first, Compiled::new(&index, &modes).numbers());
    }
}
