//! What it costs an API server to tell all nodes of the pods that come and go: today's way, and the ways that
//! `docs/scale.md` weighs, by simulation. Nothing is timed and nothing is random: the same figures come out everywhere.
//!
//! The clusters are synthetic ones and go through netsim's own compiler, which says which pods the rules of a node
//! refer to. Sizes are those of JSON that is really made. A minute of a cluster's life goes through a model of the
//! controller: a change waits until its slice is written, a slice is written no sooner than a pause after its first
//! change, and there are so many writes a second.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::side::{NOT_ISOLATED, TermId};
use netsim_shared::compile::{Compiled, Entry, Modes};
use netsim_shared::object::Object;
use netsim_shared::policy::Direction;
use netsim_testkit::apiserver::packed;
use netsim_testkit::realistic::{dressed, life};
use netsim_testkit::synthetic::Synthetic;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// How many pods a node has.
const PODS_OF_NODE: usize = 30;
/// How long is simulated, in ms.
const TIME: u64 = 60_000;
/// How long the first change of a slice waits for others, in ms.
const PAUSE: u64 = 500;
/// How many writes a second a controller is given.
const WRITES: u64 = 200;
/// How many nodes are looked at for which pods matter to them.
const SAMPLE: usize = 24;
/// How many pods of a Deployment are replaced in a row.
const ROLLOUT: usize = 30;

/// What a slice has besides its records, with what the API server adds: UID, revision, owner, managed fields.
fn head() -> usize {
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:netsim.dev/namespace": {}}}, "f:records": {}});
    let object = json!({
        "apiVersion": "netsim.dev/v1alpha1", "kind": "PodSlice",
        "metadata": {
            "name": "ns-00-x7k2p", "generation": 1234, "resourceVersion": "123456789", "uid": id,
            "creationTimestamp": "2026-11-20T08:15:30Z", "labels": {"netsim.dev/namespace": "ns-00"},
            "managedFields": [{
                "apiVersion": "netsim.dev/v1alpha1", "fieldsType": "FieldsV1", "fieldsV1": fields,
                "manager": "netsim-controller", "operation": "Update", "time": "2026-11-20T08:15:30Z",
            }],
        },
        "records": [],
    });
    json!({"type": "MODIFIED", "object": object}).to_string().len() + 1
}

/// A pod with its labels.
fn full_record(pod: &Value) -> String {
    let ports = &pod["spec"]["containers"][0]["ports"];
    json!({
        "name": pod["metadata"]["name"], "addresses": [pod["status"]["podIP"]], "node": pod["spec"]["nodeName"],
        "labels": pod["metadata"]["labels"], "ports": ports,
    })
    .to_string()
}

/// A pod with the number of what it is to policies.
fn short_record(pod: &Value, identity: usize) -> String {
    json!({
        "name": pod["metadata"]["name"], "addresses": [pod["status"]["podIP"]], "node": pod["spec"]["nodeName"],
        "identity": identity,
    })
    .to_string()
}

/// What differs from cluster to cluster.
struct Cluster {
    pods: usize,
    nodes: usize,
    /// The namespace of each pod.
    namespaces: Vec<usize>,
    /// Which of the nodes looked at each pod matters to.
    matters: Vec<u32>,
    /// How many namespaces each of these nodes has to know pods of.
    known_namespaces: f64,
    /// How many different sets of labels, ports and namespace there are.
    identities: usize,
    /// The average length of records, and of an identity's object.
    full: usize,
    short: usize,
    identity: usize,
}

impl Cluster {
    /// `narrow`: without the policies whose peers are in (nearly) all namespaces.
    fn new(pods: usize, narrow: bool) -> Self {
        let nodes = pods.div_ceil(PODS_OF_NODE);
        let synthetic = Synthetic { nodes, ..Synthetic::new(pods, pods / 100, 10) };
        let broad = |object: &Object| match object {
            Object::NetworkPolicy(policy) => ["web-public", "db-egress", "cache-range"].contains(&&*policy.name),
            _ => false,
        };
        let index = ClusterIndex::new(synthetic.objects().into_iter().filter(|object| !(narrow && broad(object))));
        let compiled = Compiled::new(&index, &Modes::default());
        let entries: Vec<&Entry> = compiled.entries().map(|(_, entry)| entry).collect();
        let mut matters = vec![0u32; entries.len()];
        let mut known_namespaces = 0;
        for bit in 0..SAMPLE {
            let node = format!("node-{}", bit * nodes / SAMPLE);
            let mut known = HashSet::new();
            let terms = Direction::ALL.map(|direction| referred(&compiled, &entries, &node, direction));
            let mut seen = HashMap::new();
            for (entry, matters) in entries.iter().zip(&mut matters) {
                let sets = term_sets(&compiled, entry);
                let wanted = *seen.entry(sets).or_insert_with(|| {
                    let of = |direction: Direction, set: u32| compiled.side(direction).term_set(set).iter();
                    of(Direction::Ingress, sets.0).any(|term| terms[0].contains(term))
                        || of(Direction::Egress, sets.1).any(|term| terms[1].contains(term))
                });
                if wanted {
                    *matters |= 1 << bit;
                    known.insert(entry.endpoint.key.namespace.clone());
                }
            }
            known_namespaces += known.len();
        }
        let mut names = BTreeMap::new();
        let namespaces = entries.iter().map(|entry| {
            let next = names.len();
            *names.entry(entry.endpoint.key.namespace.clone()).or_insert(next)
        });
        let namespaces = namespaces.collect();
        let identities: HashSet<_> = entries.iter().map(|e| (&e.endpoint.key.namespace, &e.endpoint.labels)).collect();
        let sample: Vec<Value> = (0..200).map(|i| dressed(&synthetic.pod(i * pods / 200), i)).collect();
        let average = |size: &dyn Fn(&Value) -> usize| sample.iter().map(size).sum::<usize>() / sample.len() + 1;
        let of_labels = |pod: &Value| pod["metadata"]["labels"].to_string().len();
        Cluster {
            pods,
            nodes,
            namespaces,
            matters,
            known_namespaces: known_namespaces as f64 / SAMPLE as f64,
            identities: identities.len(),
            full: average(&|pod| full_record(pod).len()),
            short: average(&|pod| short_record(pod, 123_456).len()),
            identity: average(&of_labels) + head(),
        }
    }

    /// The share of all pods that the rules of a node refer to.
    fn share(&self) -> f64 {
        let all: u32 = self.matters.iter().map(|nodes| nodes.count_ones()).sum();
        f64::from(all) / (self.matters.len() * SAMPLE) as f64
    }
}

/// The terms in rules for pods of a node.
fn referred(compiled: &Compiled, entries: &[&Entry], node: &str, direction: Direction) -> HashSet<TermId> {
    let side = compiled.side(direction);
    let local = entries.iter().filter(|entry| entry.endpoint.node.as_deref() == Some(node));
    let groups: HashSet<_> = local.map(|entry| entry.group(direction)).filter(|group| *group != NOT_ISOLATED).collect();
    let rules = groups.into_iter().flat_map(|group| side.policies_of(group)).flat_map(|slot| &slot.rules);
    rules.filter_map(|rule| rule.peers.as_ref()).flat_map(|peers| peers.terms.iter().copied()).collect()
}

/// What the terms of both directions say of a pod.
fn term_sets(compiled: &Compiled, entry: &Entry) -> (u32, u32) {
    let Some(peer) = entry.as_peer.v4 else { return (0, 0) };
    let of = |direction, id| compiled.side(direction).peer_class(id).map_or(0, |class| class.terms);
    (of(Direction::Ingress, peer.source.surely), of(Direction::Egress, peer.destination.surely))
}

/// How pods are spread over slices.
struct Slices {
    /// The slice of each pod.
    of: Vec<usize>,
    /// How many records each slice has.
    records: Vec<usize>,
    /// Slices of each namespace that may have room.
    open: HashMap<usize, Vec<usize>>,
    room: usize,
}

impl Slices {
    fn new(cluster: &Cluster, room: usize) -> Self {
        let mut slices = Slices { of: Vec::new(), records: Vec::new(), open: HashMap::new(), room };
        for namespace in &cluster.namespaces {
            let slice = slices.place(*namespace);
            slices.of.push(slice);
        }
        slices
    }

    /// A place in a slice of the namespace.
    fn place(&mut self, namespace: usize) -> usize {
        let open = self.open.entry(namespace).or_default();
        while let Some(slice) = open.last().copied() {
            if self.records[slice] < self.room {
                self.records[slice] += 1;
                return slice;
            }
            open.pop();
        }
        open.push(self.records.len());
        self.records.push(1);
        self.records.len() - 1
    }

    fn leave(&mut self, slice: usize, namespace: usize) {
        self.records[slice] -= 1;
        let open = self.open.entry(namespace).or_default();
        if !open.contains(&slice) {
            open.push(slice);
        }
    }
}

/// What came out of a minute.
#[derive(Default)]
struct Outcome {
    writes: u64,
    bytes: u64,
    waits: Vec<u64>,
}

impl Outcome {
    fn wait(&mut self, part: usize) -> u64 {
        self.waits.sort_unstable();
        self.waits.get(self.waits.len() * part / 100).copied().unwrap_or_default()
    }
}

/// The pods that are replaced, in the order of time: all over the cluster, or Deployment by Deployment.
fn churn(cluster: &Cluster, rate: usize, rollouts: bool) -> impl Iterator<Item = (u64, usize)> {
    let count = rate * usize::try_from(TIME / 1000).unwrap_or_default();
    let (pods, namespaces) = (cluster.pods, cluster.pods / 100);
    (0..count).map(move |i| {
        let pod = match rollouts {
            // Pods take turns through the namespaces.
            true => (i / ROLLOUT * 7919) % namespaces + (i % ROLLOUT) * namespaces,
            false => i * 7919,
        };
        ((i * 1000 / rate) as u64, pod % pods)
    })
}

/// Shared slices, with so many records at most and of such a length.
fn shared(cluster: &Cluster, room: usize, record: usize, rate: usize, rollouts: bool) -> Outcome {
    let mut slices = Slices::new(cluster, room);
    let mut outcome = Outcome::default();
    // When the changes of a slice came that is not written yet, and the slices in the order of their first change.
    let mut changes: HashMap<usize, Vec<u64>> = HashMap::new();
    let mut waiting: VecDeque<(u64, usize)> = VecDeque::new();
    let mut events = churn(cluster, rate, rollouts).peekable();
    for write in 0.. {
        let now = write * 1000 / WRITES;
        while let Some((at, pod)) = events.next_if(|(at, _)| *at <= now) {
            let (namespace, old) = (cluster.namespaces[pod], slices.of[pod]);
            // The new pod comes before the old one goes.
            let new = slices.place(namespace);
            slices.leave(old, namespace);
            slices.of[pod] = new;
            for slice in [new, old] {
                let changes = changes.entry(slice).or_default();
                if changes.is_empty() {
                    waiting.push_back((at, slice));
                }
                changes.push(at);
            }
        }
        match waiting.front() {
            Some((first, _)) if first + PAUSE <= now => {}
            Some(_) => continue,
            None if events.peek().is_none() => break,
            None => continue,
        }
        let Some((_, slice)) = waiting.pop_front() else { break };
        outcome.writes += 1;
        outcome.bytes += (head() + slices.records[slice] * record) as u64;
        outcome.waits.extend(changes.remove(&slice).unwrap_or_default().into_iter().map(|at| now - at));
    }
    outcome
}

/// Slices for each node of what its rules refer to: writes and bytes for all nodes, by those looked at. Here nothing
/// bounds the writes, to see how many it would take.
fn of_each_node(cluster: &Cluster, room: usize, rate: usize, rollouts: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut due: HashMap<(usize, usize), u64> = HashMap::new();
    let length = (head() + room * cluster.short) as u64;
    for (at, pod) in churn(cluster, rate, rollouts) {
        for bit in (0..SAMPLE).filter(|bit| cluster.matters[pod] & (1 << bit) != 0) {
            // Within a node's slices pods are in the order of namespaces.
            let slice = (bit, (cluster.namespaces[pod] * 100 + pod / (cluster.pods / 100)) / room);
            let due = due.entry(slice).or_insert(0);
            if *due <= at {
                *due = at + PAUSE;
                outcome.writes += 1;
                outcome.bytes += length;
            }
        }
    }
    let scale = |count: u64| count * cluster.nodes as u64 / SAMPLE as u64;
    Outcome { writes: scale(outcome.writes), bytes: scale(outcome.bytes), waits: Vec::new() }
}

fn mega(bytes: f64) -> String {
    match bytes {
        b if b >= 1e10 => format!("{:.0} GB", b / 1e9),
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b if b >= 1e7 => format!("{:.0} MB", b / 1e6),
        b if b >= 1e5 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} kB", b / 1e3),
    }
}

fn main() {
    let plain = Synthetic::new(1, 1, 0).pod(0);
    let lines = life(&plain, 0);
    let (life, whole) = (lines.iter().sum::<usize>() as f64, dressed(&plain, 0).to_string().len() as f64);
    println!("a pod: {} B; its life as watch events: {} B in {} lines\n", whole, life, lines.len());
    println!(
        "| pods | nodes | replaced a second | peers | way | objects | size | writes/s | to a node, a second | to all, a second | wait p50 | p99 | list, plain |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (pods, rate) in [(15_000, 10), (50_000, 33), (150_000, 100)] {
        for narrow in [false, true] {
            let cluster = Cluster::new(pods, narrow);
            let peers = format!("{:.1} %", cluster.share() * 100.0);
            let seconds = TIME as f64 / 1000.0;
            let row = |way: &str, objects: usize, size: f64, outcome: Option<Outcome>, to_node: f64, list: f64| {
                let (writes, p50, p99) = match outcome {
                    Some(mut o) => {
                        let writes = o.writes as f64 / seconds;
                        let known = !o.waits.is_empty();
                        let wait =
                            |ms: u64| if known { format!("{:.1} s", ms as f64 / 1000.0) } else { "≤ 0.5 s".into() };
                        let (p50, p99) = (o.wait(50), o.wait(99));
                        (format!("{writes:.0}"), wait(p50), wait(p99))
                    }
                    None => ("0".to_owned(), "0".to_owned(), "0".to_owned()),
                };
                println!(
                    "| {pods} | {} | {rate} | {peers} | {way} | {objects} | {} | {writes} | {} | {} | {p50} | {p99} | {} |",
                    cluster.nodes,
                    mega(size),
                    mega(to_node),
                    mega(to_node * cluster.nodes as f64),
                    mega(list),
                );
            };
            let all = cluster.pods as f64;
            if !narrow {
                row("pods themselves", cluster.pods, whole, None, life * rate as f64, whole * all);
            }
            let moves = [(false, "scattered"), (true, "rollouts")];
            for (rollouts, moves) in moves.into_iter().filter(|_| !narrow) {
                for (record, name) in [(cluster.full, "labels"), (cluster.short, "identities")] {
                    for room in [10, 30, 100] {
                        let outcome = shared(&cluster, room, record, rate, rollouts);
                        let objects = Slices::new(&cluster, room).records.len();
                        let mut bytes = outcome.bytes as f64 / seconds;
                        let mut list = objects as f64 * head() as f64 + all * record as f64;
                        if name == "identities" {
                            // With a rollout come new labels, and the old ones go.
                            let changes = if rollouts { 2.0 * rate as f64 / ROLLOUT as f64 } else { 0.0 };
                            bytes += changes * cluster.identity as f64;
                            list += (cluster.identities * cluster.identity) as f64;
                        }
                        let size = (head() + room * record) as f64;
                        let way = format!("shared, {name}, {room} a slice, {moves}");
                        row(&way, objects, size, Some(outcome), bytes, list);
                        if name == "identities" && room == 30 {
                            let part = cluster.known_namespaces / (cluster.pods as f64 / 100.0);
                            let way = format!("the same, only namespaces that the node needs, {moves}");
                            let outcome = shared(&cluster, room, record, rate, rollouts);
                            row(&way, objects, size, Some(outcome), bytes * part, list * part);
                        }
                    }
                }
            }
            for (rollouts, moves) in [(false, "scattered"), (true, "rollouts")] {
                let outcome = of_each_node(&cluster, 100, rate, rollouts);
                let bytes = outcome.bytes as f64 / seconds / cluster.nodes as f64;
                let each = cluster.share() * all;
                let objects = (each / 100.0).ceil() as usize * cluster.nodes;
                let list = each / 100.0 * head() as f64 + each * cluster.short as f64;
                let size = (head() + 100 * cluster.short) as f64;
                row(&format!("each node its own, 100 a slice, {moves}"), objects, size, Some(outcome), bytes, list);
            }
            if narrow {
                let part = cluster.known_namespaces / (cluster.pods as f64 / 100.0);
                println!(
                    "| {pods} | | | {peers} | a node needs {:.1} % of all namespaces | | | | | | | | |",
                    part * 100.0
                );
            }
        }
    }
    let text: String = (0..500).map(|i| full_record(&dressed(&Synthetic::new(500, 5, 0).pod(i), i)) + ",").collect();
    let ratio = packed(&text).map_or(0.0, |packed| text.len() as f64 / packed.len() as f64);
    println!("\nA list of records with labels is {ratio:.1} times smaller when it is compressed.");
}
