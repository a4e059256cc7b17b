//! Rulesets on their way into the kernel and out of it, in a network namespace of the bench's own:
//! the first load, one change after another as an agent makes them, and reading everything back.
//!
//! Medians hide what a user notices, so that events of pods are also told as a distribution.

use criterion::Criterion;
use netsim_benches::{NODE, PODS, cluster_of_nodes, listed, object, options, policy};
use netsim_enforcer::agent::{Names, Programmer, State, names};
use netsim_enforcer::drift::differences;
use netsim_enforcer::kernel::{Contents, Kernel, Ownership};
use netsim_enforcer::observe::NamesMetrics;
use netsim_enforcer::render::{Changed, Renderer};
use netsim_enforcer::transaction::{Op, Transaction, between, replace};
use netsim_enforcer::watch::{Update, Watched};
use netsim_shared::object::{Object, Pod};
use netsim_testkit::synthetic::Synthetic;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How many pods come or go for the distribution.
const EVENTS: usize = 2_000;
/// One in so many of them is of this node: far more than in a cluster of 455 nodes, because these
/// are the dear ones.
const LOCAL_EVERY: usize = 10;

/// An agent without watches: what it does between an event and the kernel's answer.
struct Agent {
    state: State,
    programmer: Programmer,
    names: Names,
    runtime: Runtime,
}

impl Agent {
    fn new(cluster: &Synthetic, kernel: &Kernel) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let programmer = Programmer::new(kernel.clone(), options());
        let names = Names::start(names::Config::default(), NamesMetrics::default());
        let mut agent = Agent { state: listed(cluster, Vec::new()), programmer, names, runtime };
        agent.program();
        agent
    }

    fn program(&mut self) {
        if let (Some(changed), Some(compiled)) = (self.state.take_changed(), self.state.compiled()) {
            let wanted = self.names.wanted(Some(compiled));
            let done = self.runtime.block_on(self.programmer.program(compiled, &changed, &wanted));
            done.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// From the event to the kernel's answer.
    fn take(&mut self, update: Update) -> Duration {
        let start = Instant::now();
        self.state.take(update);
        self.program();
        start.elapsed()
    }
}

fn gone(pod: &Pod) -> Update {
    Update::Delete(Watched::Pods, (pod.namespace.clone(), pod.name.clone()))
}

fn come(pod: &Pod) -> Update {
    Update::Apply(Object::Pod(Box::new(pod.clone())))
}

fn kernel(table: &str) -> Kernel {
    Kernel::open(None, table, Ownership::Owned).unwrap_or_else(|error| panic!("{error}"))
}

fn commit(kernel: &Kernel, transaction: Transaction) -> Duration {
    let start = Instant::now();
    let bytes = kernel.commit(transaction).wait().unwrap_or_else(|error| panic!("{error}")).bytes;
    let took = start.elapsed();
    assert!(bytes > 0, "a change of nothing");
    took
}

/// One line of a distribution.
fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let index = ((times.len() - 1) as f64 * share) as usize;
        times[index].as_secs_f64() * 1e3
    };
    let (median, p90, p99, most) = (at(0.5), at(0.9), at(0.99), at(1.0));
    println!("{what:<32} {:>5} events  median {median:.2}  p90 {p90:.2}  p99 {p99:.2}  max {most:.2} ms", times.len());
}

/// Pods come and go at random, each at once in the kernel.
fn distribution(agent: &mut Agent) {
    let here = |pod: &&Arc<Pod>| pod.spec.node.as_deref() == Some(NODE);
    let all: Vec<Arc<Pod>> = agent.state.index().pods().cloned().collect();
    let (local, remote): (Vec<Arc<Pod>>, Vec<Arc<Pod>>) = all.into_iter().partition(|pod| here(&pod));
    let mut absent = std::collections::HashSet::new();
    let (mut of_local, mut of_remote) = (Vec::new(), Vec::new());
    // The same walk every time.
    let mut random = 1_u64;
    for n in 0..EVENTS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, times) = if n % LOCAL_EVERY == 0 { (&local, &mut of_local) } else { (&remote, &mut of_remote) };
        // Few enough that most come back.
        let pick = usize::try_from(random >> 33).unwrap_or_default() % from.len().min(500);
        let pod = &from[pick * (from.len() / from.len().min(500))];
        let key = (pod.namespace.clone(), pod.name.clone());
        let update = if absent.remove(&key) {
            come(pod)
        } else {
            absent.insert(key);
            gone(pod)
        };
        times.push(agent.take(update));
    }
    let every = of_local.iter().chain(&of_remote).copied().collect();
    tell("pods of other nodes", of_remote);
    tell("pods of this node", of_local);
    tell(&format!("all, one in {LOCAL_EVERY} of this node"), every);
}

fn main() {
    // Loud, and the end, where the kernel does not let us.
    netsim_testkit::netns::enter();
    let mut criterion = Criterion::default().configure_from_args();
    let cluster = cluster_of_nodes(PODS);
    let state = listed(&cluster, Vec::new());
    let mut renderer = Renderer::new(options());
    let full = renderer.update(state.compiled().expect("everything is listed"), &Changed::Anything).clone();
    let load = replace(false, &full);
    println!("{PODS} pods, {} policies: {} things to load", state.index().policies().count(), load.size());

    let mut group = criterion.benchmark_group(format!("kernel at {PODS} pods"));
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    let scratch = kernel("scratch");
    let nothing = || Transaction { ops: vec![Op::DeleteTable] };
    group.bench_function("load everything", |bencher| {
        bencher.iter_custom(|times| {
            let each = (0..times).map(|_| {
                let took = commit(&scratch, load.clone());
                commit(&scratch, nothing());
                took
            });
            each.sum()
        });
    });
    commit(&scratch, load.clone());
    group.bench_function("replace everything", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| commit(&scratch, replace(true, &full))).sum());
    });
    group.bench_function("read everything", |bencher| {
        bencher.iter(|| scratch.read().wait().expect("a table").expect("a table").contents.sets.len());
    });
    group.bench_function("read everything and compare", |bencher| {
        bencher.iter(|| {
            let dump = scratch.read().wait().expect("a table").expect("a table");
            let expected = Contents::expected(&full).expect("the kernel's form");
            assert_eq!(differences(&expected, &dump.contents).first(), None);
        });
    });
    let less = {
        let mut ruleset = full.clone();
        let largest = ruleset.sets.values_mut().max_by_key(|set| set.elements.len()).expect("sets");
        let key = *largest.elements.iter().next().expect("elements").0;
        Arc::make_mut(largest).elements.remove(&key);
        ruleset
    };
    let [out, back] = [between(&full, &less), between(&less, &full)];
    group.bench_function("one element out, commit alone", |bencher| {
        bencher.iter_custom(|times| {
            let each = (0..times).map(|_| {
                let took = commit(&scratch, out.clone());
                commit(&scratch, back.clone());
                took
            });
            each.sum()
        });
    });
    group.bench_function("one element in, commit alone", |bencher| {
        bencher.iter_custom(|times| {
            let each = (0..times).map(|_| {
                commit(&scratch, out.clone());
                commit(&scratch, back.clone())
            });
            each.sum()
        });
    });
    commit(&scratch, nothing());
    group.finish();

    let ours = kernel("netsim");
    let mut agent = Agent::new(&cluster, &ours);
    let mut group = criterion.benchmark_group(format!("event to commit at {PODS} pods"));
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for (whose, node) in [("of another node", "node-8"), ("of this node", NODE)] {
        let mut value = cluster.pod(PODS);
        value["spec"]["nodeName"] = node.into();
        let Object::Pod(pod) = object(value) else { panic!("a pod is read as a pod") };
        group.bench_function(format!("a pod {whose} comes"), |bencher| {
            bencher.iter_custom(|times| {
                let each = (0..times).map(|_| {
                    let took = agent.take(come(&pod));
                    agent.take(gone(&pod));
                    took
                });
                each.sum()
            });
        });
        group.bench_function(format!("a pod {whose} goes"), |bencher| {
            bencher.iter_custom(|times| {
                let each = (0..times).map(|_| {
                    agent.take(come(&pod));
                    agent.take(gone(&pod))
                });
                each.sum()
            });
        });
    }
    let home = agent.state.index().pods().find(|pod| pod.spec.node.as_deref() == Some(NODE));
    let home = home.expect("every node has pods").namespace.clone();
    let new = Update::Apply(policy(&home, "fresh", "api"));
    let old = || Update::Delete(Watched::Policies, (home.clone(), "fresh".into()));
    group.bench_function("a policy comes", |bencher| {
        bencher.iter_custom(|times| {
            let each = (0..times).map(|_| {
                let took = agent.take(new.clone());
                agent.take(old());
                took
            });
            each.sum()
        });
    });
    group.bench_function("a policy goes", |bencher| {
        bencher.iter_custom(|times| {
            let each = (0..times).map(|_| {
                agent.take(new.clone());
                agent.take(old())
            });
            each.sum()
        });
    });
    group.finish();
    criterion.final_summary();
    // Not criterion's, so that no filter of its stands for it.
    if std::env::args().any(|arg| arg == "--bench") {
        distribution(&mut agent);
    }
}
