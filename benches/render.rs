//! The ruleset of one node of a large cluster: made from nothing and brought up to date, and what
//! leads from one to the next. Nothing here touches a kernel.

use criterion::Criterion;
use netsim_benches::{NODE, PODS, cluster_of_nodes, listed, object, options, policy};
use netsim_enforcer::agent::State;
use netsim_enforcer::render::{Changed, Renderer};
use netsim_enforcer::ruleset::Ruleset;
use netsim_enforcer::transaction::{between, replace};
use netsim_enforcer::watch::{Update, Watched};
use netsim_shared::object::Object;
use netsim_testkit::synthetic::Synthetic;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// An agent without a kernel.
struct Pure {
    state: State,
    renderer: Renderer,
    held: Ruleset,
}

impl Pure {
    /// Takes an update in and makes the transaction for it, as an agent does; how long that took.
    fn take(&mut self, update: Update) -> Duration {
        let start = Instant::now();
        self.state.take(update);
        let changed = self.state.take_changed();
        if let (Some(compiled), Some(changed)) = (self.state.compiled(), changed) {
            self.renderer.update(compiled, &changed);
            black_box(between(&self.held, self.renderer.ruleset()));
            self.held = self.renderer.ruleset().clone();
        }
        start.elapsed()
    }
}

/// The coming and the going of a pod that is not in the cluster yet.
fn coming_and_going(cluster: &Synthetic, node: &str) -> (Object, (Box<str>, Box<str>)) {
    let mut pod = cluster.pod(PODS);
    pod["spec"]["nodeName"] = node.into();
    let pod = object(pod);
    let Object::Pod(read) = &pod else { panic!("a pod is read as a pod") };
    let key = (read.namespace.clone(), read.name.clone());
    (pod, key)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let cluster = cluster_of_nodes(PODS);
    let state = listed(&cluster, Vec::new());
    let compiled = state.compiled().expect("everything is listed");
    let local = compiled.entries().find(|(_, entry)| entry.endpoint.node.as_deref() == Some(NODE));
    let local = local.expect("every node has pods").1.endpoint.key.namespace.clone();
    let fresh = || {
        let mut renderer = Renderer::new(options());
        renderer.update(compiled, &Changed::Anything);
        renderer
    };
    let renderer = fresh();
    let full = renderer.ruleset().clone();
    println!(
        "{PODS} pods: {} of the node, {} sets of peers, {} sets, {} chains, {} elements",
        renderer.local_pods(),
        renderer.peer_sets(),
        full.sets.len(),
        full.chains.len(),
        full.sets.values().map(|set| set.elements.len()).sum::<usize>(),
    );

    let mut group = criterion.benchmark_group(format!("render at {PODS} pods"));
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.bench_function("from nothing", |b| b.iter_with_large_drop(fresh));
    group.bench_function("anew, nothing differs", |b| {
        let mut renderer = fresh();
        b.iter(|| renderer.update(compiled, &Changed::Anything).sets.len());
    });
    let mut other = fresh();
    let one = Changed::PodsAt(vec!["10.95.95.95".parse().expect("an address")]);
    group.bench_function("an address of another node, nothing differs", |b| {
        b.iter(|| other.update(compiled, &one).sets.len());
    });
    group.bench_function("the transaction that replaces all", |b| {
        b.iter_with_large_drop(|| replace(true, &full));
    });
    group.bench_function("between nothing and all", |b| {
        b.iter_with_large_drop(|| between(&Ruleset::default(), &full));
    });
    // Equal and made apart: nothing is shared, so that everything is compared.
    group.bench_function("between all and the same made apart", |b| {
        let apart = fresh().ruleset().clone();
        b.iter_with_large_drop(|| between(&full, &apart));
    });
    let less = {
        let mut ruleset = full.clone();
        let largest = ruleset.sets.values_mut().max_by_key(|set| set.elements.len()).expect("sets");
        let key = *largest.elements.iter().next().expect("elements").0;
        std::sync::Arc::make_mut(largest).elements.remove(&key);
        ruleset
    };
    group.bench_function("between all and one element less", |b| {
        b.iter(|| between(&full, &less));
    });
    group.finish();

    let mut pure = Pure { renderer: fresh(), held: full.clone(), state: listed(&cluster, Vec::new()) };
    // The first one looks at everything again: the renderer is another state's.
    pure.take(Update::Apply(policy("ns-00", "fresh", "api")));
    let mut group = criterion.benchmark_group(format!("event to transaction at {PODS} pods"));
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for (whose, node) in [("of another node", "node-8"), ("of this node", NODE)] {
        let (pod, key) = coming_and_going(&cluster, node);
        let (come, go) = (Update::Apply(pod), Update::Delete(Watched::Pods, key));
        group.bench_function(format!("a pod {whose} comes"), |bencher| {
            bencher.iter_custom(|times| {
                let each = (0..times).map(|_| {
                    let took = pure.take(come.clone());
                    pure.take(go.clone());
                    took
                });
                each.sum()
            });
        });
        group.bench_function(format!("a pod {whose} goes"), |bencher| {
            bencher.iter_custom(|times| {
                let each = (0..times).map(|_| {
                    pure.take(come.clone());
                    pure.take(go.clone())
                });
                each.sum()
            });
        });
    }
    let namespaces: Vec<Box<str>> = pure.state.index().namespaces().map(|ns| ns.name.clone()).collect();
    let here: Vec<Box<str>> = pure
        .state
        .index()
        .pods()
        .filter(|pod| pod.spec.node.as_deref() == Some(NODE))
        .map(|pod| pod.namespace.clone())
        .collect();
    let elsewhere = namespaces.into_iter().find(|name| !here.contains(name)).expect("a namespace without pods here");
    for (whose, namespace) in [("a namespace without pods here", elsewhere), ("a namespace with pods here", local)] {
        let other = ["api", "web"].map(|app| Update::Apply(policy(&namespace, "fresh", app)));
        group.bench_function(format!("a policy of {whose} changes"), |bencher| {
            bencher.iter_custom(|times| (0..times).zip(other.iter().cycle()).map(|(_, u)| pure.take(u.clone())).sum());
        });
    }
    group.finish();
    criterion.final_summary();
}
