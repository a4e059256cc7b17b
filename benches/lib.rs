//! The clusters that the benches in `benches/*.rs` share.

use netsim_enforcer::agent::State;
use netsim_enforcer::render::Options;
use netsim_enforcer::watch::{Update, Watched};
use netsim_shared::cluster::Key;
use netsim_shared::compile::Modes;
use netsim_shared::object::Object;
use netsim_testkit::synthetic::{Synthetic, read};
use serde_json::{Value, json};
use std::collections::HashSet;

/// A synthetic cluster by its number of pods. Up to 3,000 they are those of the published figures
/// (10 namespaces of 8 policies); above, there are 100 pods and 10 policies to a namespace.
pub fn cluster(pods: usize) -> Synthetic {
    if pods <= 3_000 { Synthetic::new(pods, 10, 8) } else { Synthetic::new(pods, pods / 100, 10) }
}

/// The node that an agent is measured on.
pub const NODE: &str = "node-7";
/// How many pods a node has: as many as a kubelet takes unless it is told otherwise.
pub const PODS_OF_NODE: usize = 110;
/// The cluster that an agent is measured with: 500 namespaces and 5,000 policies, 455 nodes.
pub const PODS: usize = 50_000;

/// The same cluster on as many nodes as it takes.
pub fn cluster_of_nodes(pods: usize) -> Synthetic {
    on_nodes(cluster(pods), PODS_OF_NODE)
}

/// A cluster on as many nodes as it takes.
pub fn on_nodes(cluster: Synthetic, pods_of_node: usize) -> Synthetic {
    Synthetic { nodes: cluster.pods.div_ceil(pods_of_node), ..cluster }
}

/// How rulesets of [`NODE`] are made.
pub fn options() -> Options {
    Options { node: NODE.into(), ..Options::default() }
}

/// What an agent knows once it has listed everything. `more` are objects that come on top.
pub fn listed(cluster: &Synthetic, more: Vec<Object>) -> State {
    let mut state = State::new(Modes::default());
    let mut keys: [HashSet<Key>; Watched::ALL.len()] = Default::default();
    for object in cluster.objects().into_iter().chain(more) {
        // An agent asks for nothing else.
        let key = match &object {
            Object::Namespace(o) => (Box::default(), o.name.clone()),
            Object::Pod(o) => (o.namespace.clone(), o.name.clone()),
            Object::NetworkPolicy(o) => (o.namespace.clone(), o.name.clone()),
            _ => continue,
        };
        let kind = Watched::of(&object);
        if let Some((_, keys)) = Watched::ALL.iter().zip(&mut keys).find(|(other, _)| Some(**other) == kind) {
            keys.insert(key);
        }
        state.take(Update::Apply(object));
    }
    for (kind, keys) in Watched::ALL.into_iter().zip(keys) {
        state.take(Update::Listed(kind, keys));
    }
    state
}

/// A manifest as an object.
///
/// # Panics
/// If it cannot be read, or only with complaints: the bench is at fault.
pub fn object(value: Value) -> Object {
    let mut read = read([value].into_iter());
    assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
    read.objects.remove(0)
}

/// A policy of all pods of a namespace, with one rule, for the pods of an app.
pub fn policy(namespace: &str, name: &str, app: &str) -> Object {
    object(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "ingress": [{
                "from": [{ "podSelector": { "matchLabels": { "app": app } } }],
                "ports": [{ "port": 5432, "protocol": "TCP" }],
            }],
            "podSelector": {},
            "policyTypes": ["Ingress"],
        },
    }))
}
