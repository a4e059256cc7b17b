//! The difference of two clusters that were loaded and compiled: one policy changed, and all removed.

use criterion::Criterion;
use netsim_benches::{cluster, policy};
use netsim_shared::cluster::{ClusterIndex, Key};
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::difference::{Both, Cluster, Difference, Options};
use std::time::Duration;

const PODS: usize = 10_000;

fn compare(old: &ClusterIndex, before: &Compiled, new: &ClusterIndex, after: &Compiled) -> Difference {
    let clusters = Both { old: Cluster { index: old, compiled: before }, new: Cluster { index: new, compiled: after } };
    Difference::new(clusters, &Options { outside: true, namespaces: Vec::new(), ports: None })
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group(format!("difference at {PODS} pods"));
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    let old = cluster(PODS).index();
    let before = Compiled::new(&old, &Modes::default());

    let mut one = old.clone();
    one.apply(policy("ns-00", "one-more", "api"));
    let mut none = old.clone();
    let policies: Vec<Key> = old.policies().map(|p| (p.namespace.clone(), p.name.clone())).collect();
    for (namespace, name) in &policies {
        none.delete_policy(namespace, name);
    }
    for (name, new) in [("nothing changed", &old), ("one policy more", &one), ("all policies removed", &none)] {
        let after = Compiled::new(new, &Modes::default());
        group.bench_function(name, |bencher| {
            bencher.iter_with_large_drop(|| compare(&old, &before, new, &after));
        });
    }
    group.finish();
    criterion.final_summary();
}
