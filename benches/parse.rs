//! From text to objects, by format; throughput in bytes of text.

use criterion::{BenchmarkId, Criterion, Throughput};
use netsim_benches::cluster;
use netsim_shared::ingest::ingest;
use netsim_testkit::synthetic::Format;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("parse");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    for pods in [1_000, 10_000] {
        for format in [Format::JsonDocuments, Format::JsonList, Format::Yaml, Format::YamlList] {
            let text = cluster(pods).text(format);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(format!("{format:?}"), pods), |bencher| {
                bencher.iter_with_large_drop(|| ingest("bench", text.as_bytes(), "default"));
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
