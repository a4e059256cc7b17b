//! One connection after another in a cluster that is loaded.

use criterion::{BenchmarkId, Criterion};
use netsim_benches::cluster;
use netsim_shared::compile::{Compiled, EndpointKey, Modes};
use netsim_shared::evaluate::{Party, evaluate};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_shared::query::{Question, Resolver, ask};
use std::hint::black_box;
use std::time::Duration;

const PORTS: [u16; 4] = [80, 5432, 9100, 53];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("point");
    group.sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for pods in [3_000, 100_000] {
        let index = cluster(pods).index();
        let compiled = Compiled::new(&index, &Modes::default());
        let names: Vec<(String, Party)> = index
            .pods()
            .filter_map(|pod| {
                let key = EndpointKey { namespace: pod.namespace.clone(), name: pod.name.clone(), kind: None };
                Some((format!("{}/{}", pod.namespace, pod.name), Party::Endpoint(compiled.find(&key)?)))
            })
            .collect();
        // Far apart, so that neither the processor's caches nor the namespaces repeat.
        let steps = 0..997_usize;
        let pairs: Vec<_> = steps
            .filter_map(|i| {
                let (from, to) = (names.get(i * 7_919 % pods)?, names.get(i * 104_729 % pods)?);
                Some((from, to, PORTS[i % PORTS.len()]))
            })
            .collect();
        let mut next = pairs.iter().cycle();
        group.bench_function(BenchmarkId::new("evaluate", pods), |bencher| {
            bencher.iter(|| {
                let ((_, from), (_, to), port) = next.next()?;
                evaluate(&compiled, *from, *to, Protocol::Tcp, black_box(*port), Family::V4)
            });
        });
        let questions: Vec<Question> = pairs
            .iter()
            .map(|((from, _), (to, _), port)| Question {
                source: from.clone(),
                destination: format!("{to}:{port}"),
                ..Question::default()
            })
            .collect();
        let resolver = Resolver { index: &index, compiled: &compiled, default_namespace: "default" };
        let mut next = questions.iter().cycle();
        group.bench_function(BenchmarkId::new("ask", pods), |bencher| {
            bencher.iter(|| next.next().map(|question| ask(&resolver, black_box(question))));
        });
    }
    group.finish();
    criterion.final_summary();
}
