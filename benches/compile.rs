//! From objects to the index and to the compiled form.

use criterion::{BatchSize, BenchmarkId, Criterion};
use netsim_benches::cluster;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(4));
    let modes = Modes::default();
    for pods in [1_000, 10_000, 100_000] {
        let objects = cluster(pods).objects();
        group.bench_function(BenchmarkId::new("index", pods), |bencher| {
            bencher.iter_batched(|| objects.clone(), ClusterIndex::new, BatchSize::PerIteration);
        });
        let index = ClusterIndex::new(objects);
        group.bench_function(BenchmarkId::new("compile", pods), |bencher| {
            bencher.iter_with_large_drop(|| Compiled::new(&index, &modes));
        });
    }
    group.finish();
    criterion.final_summary();
}
