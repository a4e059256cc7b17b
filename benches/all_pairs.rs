//! The whole relation: by classes, and as a list of connections.

use criterion::{BenchmarkId, Criterion};
use netsim_benches::cluster;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::evaluate::Addresses;
use netsim_shared::list::{Listing, Options};
use netsim_shared::net::Family;
use netsim_shared::relation::Relation;
use std::time::Duration;

fn list(compiled: &Compiled, expand: bool) -> usize {
    let listing = Listing::new(compiled, Options { expand, outside: true });
    let mut count = 0;
    listing.for_each(|_| true, |_, _, _| count += 1);
    count
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("all_pairs");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    let modes = Modes::default();
    for pods in [100, 300, 1_000, 3_000, 10_000, 100_000] {
        let index = cluster(pods).index();
        let compiled = Compiled::new(&index, &modes);
        group.bench_function(BenchmarkId::new("classes", pods), |bencher| {
            bencher.iter(|| Relation::new(&compiled, Family::V4, Addresses::Surely).count_pairs());
        });
        group.bench_function(BenchmarkId::new("compile + classes", pods), |bencher| {
            bencher.iter_with_large_drop(|| {
                let compiled = Compiled::new(&index, &modes);
                Relation::new(&compiled, Family::V4, Addresses::Surely).count_pairs();
                compiled
            });
        });
        if pods <= 10_000 {
            group.bench_function(BenchmarkId::new("list", pods), |bencher| bencher.iter(|| list(&compiled, false)));
        }
        if pods <= 3_000 {
            group.bench_function(BenchmarkId::new("list pod by pod", pods), |bencher| {
                bencher.iter(|| list(&compiled, true));
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
