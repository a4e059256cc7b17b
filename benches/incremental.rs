//! One object of a large cluster changes: the index takes it in, the compiled form is brought up to
//! date. What makes the object, and what undoes the change, is not timed.

use criterion::Criterion;
use netsim_benches::cluster;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::object::Object;
use netsim_testkit::synthetic::read;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PODS: usize = 50_000;

struct Cluster {
    index: ClusterIndex,
    compiled: Compiled,
}

impl Cluster {
    /// Takes in what an event says; how long it took.
    fn apply(&mut self, object: Object) -> Duration {
        let start = Instant::now();
        if let Some(change) = self.index.apply(object) {
            self.compiled.update(&self.index, &change);
        }
        start.elapsed()
    }

    /// Takes a pod out; how long it took.
    fn delete_pod(&mut self, namespace: &str, name: &str) -> Duration {
        let start = Instant::now();
        if let Some(change) = self.index.delete_pod(namespace, name) {
            self.compiled.update(&self.index, &change);
        }
        start.elapsed()
    }
}

fn object(value: Value) -> Object {
    let mut read = read([value].into_iter());
    assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
    read.objects.remove(0)
}

/// A policy of the first namespace with one rule, whose peer is given.
fn policy(peer: Value) -> Object {
    object(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": "db-from-api", "namespace": "ns-00" },
        "spec": {
            "ingress": [{ "from": [peer], "ports": [{ "port": 5432, "protocol": "TCP" }] }],
            "podSelector": { "matchLabels": { "app": "db" } },
            "policyTypes": ["Ingress"],
        },
    }))
}

fn namespace(team: &str) -> Object {
    let labels = json!({ "env": "dev", "kubernetes.io/metadata.name": "ns-00", "team": team });
    object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "labels": labels, "name": "ns-00" } }))
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group(format!("incremental at {PODS} pods"));
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let synthetic = cluster(PODS);
    let index = synthetic.index();
    let compiled = Compiled::new(&index, &Modes::default());
    let mut cluster = Cluster { index, compiled };

    let new_pod = object(synthetic.pod(PODS));
    let Object::Pod(pod) = &new_pod else { return };
    let (home, name) = (pod.namespace.clone(), pod.name.clone());
    group.bench_function("a pod comes", |bencher| {
        bencher.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    let took = cluster.apply(new_pod.clone());
                    cluster.delete_pod(&home, &name);
                    took
                })
                .sum()
        });
    });
    group.bench_function("a pod goes", |bencher| {
        bencher.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    cluster.apply(new_pod.clone());
                    cluster.delete_pod(&home, &name)
                })
                .sum()
        });
    });
    let api = policy(json!({ "podSelector": { "matchLabels": { "app": "api" } } }));
    let web = policy(json!({ "podSelector": { "matchLabels": { "app": "web" } } }));
    group.bench_function("a policy changes", |bencher| {
        bencher.iter_custom(|times| {
            (0..times).map(|i| cluster.apply(if i % 2 == 0 { web.clone() } else { api.clone() })).sum()
        });
    });
    let mut fresh = 0_u32;
    group.bench_function("a policy changes, peer new in every namespace", |bencher| {
        bencher.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    fresh += 1;
                    let pods = json!({ "matchLabels": { "app": format!("new-{fresh}") } });
                    cluster.apply(policy(json!({ "namespaceSelector": {}, "podSelector": pods })))
                })
                .sum()
        });
    });
    group.bench_function("a policy changes, block new", |bencher| {
        bencher.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    fresh += 1;
                    let cidr = format!("172.20.{}.{}/32", fresh / 256 % 256, fresh % 256);
                    cluster.apply(policy(json!({ "ipBlock": { "cidr": cidr } })))
                })
                .sum()
        });
    });
    let teams = ["blue", "green"].map(namespace);
    group.bench_function("a namespace is relabelled", |bencher| {
        bencher.iter_custom(|times| {
            (0..times).zip(teams.iter().cycle()).map(|(_, team)| cluster.apply(team.clone())).sum()
        });
    });
    group.finish();
    criterion.final_summary();
}
