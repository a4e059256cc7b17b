//! An API server that restarts, is restored, hangs, dribbles and breaks off. Whatever it does, what the agent knows
//! stays in force, and what changed meanwhile is enforced once it can be heard of.

use crate::cluster::{Cluster, PATIENCE, namespace, pod};
use crate::faults::{NO_OUTAGE, Watchers, only_first, toggled};
use libtest_mimic::Trial;
use netsim_shared::net::Family;
use netsim_testkit::apiserver::{ApiServer, Cut};
use netsim_testkit::netns::{Probe, Prober, Storm, Wiring};
use serde_json::json;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const NODE: &str = "node-2";

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 6] = [
        ("restarts_in_a_row", restarts),
        ("restored_from_a_backup", restored),
        ("a_partition_without_a_word", partition),
        ("bytes_dribble", dribble),
        ("watches_break_off_in_the_middle_of_a_line", truncated),
        ("lists_fail_midway_and_requests_are_refused", lists_fail),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("chaos::api::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

/// A cluster with an agent on the second node, where connections are denied and allowed all the time, and one that is
/// allowed or denied by what a test changes.
struct Stage {
    cluster: Cluster,
    watchers: Watchers,
    changed: Storm,
}

impl Stage {
    fn set() -> Self {
        let mut cluster = Self::unset();
        let agent = cluster.agent(NODE);
        agent.wait_ready();
        cluster.agents.insert(NODE.to_owned(), agent);
        Self::watched(cluster)
    }

    fn unset() -> Cluster {
        let cluster = Cluster::new(2, 2, Wiring::Bridged, &[]);
        cluster.api.apply(only_first());
        cluster.api.apply(toggled(true));
        cluster
    }

    fn watched(cluster: Cluster) -> Self {
        let probe = Probe::tcp(&cluster.pod("pod-1-1"), cluster.at("pod-2-2", Family::V4, 80));
        let changed = cluster.fabric.storm([probe]).every(Duration::from_millis(10)).start();
        Stage { watchers: Watchers::new(&cluster), changed, cluster }
    }

    fn api(&self) -> &ApiServer {
        &self.cluster.api
    }

    fn toggle(&self, on: bool) {
        self.api().apply(toggled(on));
    }

    /// Waits until pod-1-1 reaches pod-2-2, or no longer does. Gives how long that took.
    fn wait_enforced(&self, reaches: bool) -> Duration {
        let since = Instant::now();
        // One lost on a busy machine is not denied.
        let mut from = since;
        while from < since + PATIENCE {
            if let Some(found) = self.changed.wait_outcome(from, |outcome| outcome.passed() == reaches) {
                from = found.ended;
                if self.is_enforced(reaches) {
                    return found.ended - since;
                }
            }
        }
        panic!("not enforced ({reaches}) after {:?}:\n{}", since.elapsed(), self.cluster.agents[NODE].log());
    }

    fn is_enforced(&self, reaches: bool) -> bool {
        let probe = Probe::tcp(&self.cluster.pod("pod-1-1"), self.cluster.at("pod-2-2", Family::V4, 80));
        Prober::default().timeout(Duration::from_millis(500)).run(&[probe])[0].passed() == reaches
    }

    /// Goes on as it is for some connections: `reaches` stays so.
    fn stays(&self, reaches: bool) {
        let since = Instant::now();
        assert!(self.watchers.allowed.wait_tries(since, 50));
        assert!(self.is_enforced(reaches), "what is known does not stay in force");
    }

    /// Waits until the server has got more requests that are as wanted.
    fn wait_requests(&self, more: usize, wanted: impl Fn(&str) -> bool) {
        let count = |targets: &[String]| targets.iter().filter(|target| wanted(target)).count();
        let before = count(&self.api().targets());
        self.api().wait_for_requests("more requests", |targets| count(targets) >= before + more);
    }

    fn finish(self, what: &str, recovered: &[Duration]) {
        self.cluster.agents[NODE].wait_status(200);
        let outage = self.watchers.finish();
        println!(
            "chaos::api: {what}: enforced after {recovered:.2?}; the longest pause of what is allowed {outage:.2?}"
        );
        assert!(outage < NO_OUTAGE, "what is allowed was lost for {outage:?}");
    }
}

/// Makes all watches expire, and a change that comes with the lists only.
fn relist(stage: &Stage, change: impl FnOnce(&ApiServer)) {
    let api = stage.api();
    api.hold_watches();
    // Of each kind, so that none has seen the last revision.
    change(api);
    api.compact();
    api.release_watches();
}

fn restarts() {
    let stage = Stage::set();
    for on in [false, true, true, false] {
        stage.api().stop_serving();
        stage.toggle(on);
        stage.api().drop_next_connections(2);
        stage.api().resume();
        // Down again before the agent is through with it.
        stage.wait_requests(1, |_| true);
    }
    let last = stage.wait_enforced(false);
    stage.toggle(true);
    let after = stage.wait_enforced(true);
    stage.finish("restarts in a row, then a change", &[last, after]);
}

fn restored() {
    let stage = Stage::set();
    let backup = stage.api().backup();
    stage.toggle(false);
    for n in 0..20 {
        stage.api().apply(namespace("y", json!({"n": n.to_string()})));
    }
    stage.wait_enforced(false);
    stage.api().restart_from(&backup);
    // The past is what is true now; what is written from here on has revisions that the agent has seen already.
    let past = stage.wait_enforced(true);
    stage.toggle(false);
    let after = stage.wait_enforced(false);
    stage.finish("restored from a backup, then a change", &[past, after]);
}

fn partition() {
    let mut stage = Stage::set();
    // It heals by itself.
    stage.api().freeze();
    stage.toggle(false);
    stage.stays(true);
    stage.api().thaw();
    let healed = stage.wait_enforced(false);
    // Somebody cuts it.
    stage.api().freeze();
    stage.toggle(true);
    stage.stays(false);
    stage.api().stop_serving();
    stage.api().thaw();
    stage.api().resume();
    let cut = stage.wait_enforced(true);
    // An agent starts in the midst of it.
    stage.api().freeze();
    stage.toggle(false);
    stage.cluster.agents.get_mut(NODE).expect("an agent").kill();
    let agent = stage.cluster.agent(NODE);
    agent.wait_message("starting");
    stage.cluster.agents.insert(NODE.to_owned(), agent);
    stage.stays(true);
    stage.cluster.agents[NODE].wait_status(503);
    stage.api().thaw();
    let started = stage.wait_enforced(false);
    stage.finish("a silent partition that heals, is cut, sees an agent start", &[healed, cut, started]);
}

fn dribble() {
    let stage = Stage::set();
    stage.api().dribble(Some((8, Duration::from_millis(10))));
    let began = Instant::now();
    relist(&stage, |api| {
        for kind in ["a", "b"] {
            api.apply(namespace(kind, json!({})));
        }
        api.apply(toggled(false));
    });
    stage.stays(true);
    stage.wait_enforced(false);
    let listed = began.elapsed();
    stage.toggle(true);
    let watched = stage.wait_enforced(true);
    stage.api().dribble(None);
    stage.finish("800 bytes a second, by a list and by a watch", &[listed, watched]);
}

fn truncated() {
    let stage = Stage::set();
    let mut recovered = Vec::new();
    for (on, cut) in [(false, Cut::Broken), (true, Cut::InOrder), (false, Cut::Broken), (true, Cut::InOrder)] {
        stage.api().wait_for_watches("networkpolicies", 1);
        stage.api().cut_next_line("networkpolicies", cut);
        stage.toggle(on);
        recovered.push(stage.wait_enforced(on));
    }
    // Lines that are none, while a pod leaves what the policy selects.
    stage.toggle(false);
    stage.wait_enforced(false);
    let of = |app: &str| {
        let addresses = stage.cluster.pod("pod-2-2").addresses();
        pod("x", "pod-2-2", json!({"app": app}), NODE, &addresses)
    };
    let lines = [
        ("<html>busy</html>", "other", true),
        (r#"{"type":"MODIFIED","object":{"metadata":7}}"#, "pod-2-2", false),
        (r#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is away"}}"#, "other", true),
    ];
    for (n, (garbage, app, reaches)) in (1..).zip(lines) {
        // The server does not know of watches that the agent has given up: what counts is that it asked anew.
        let watches = |target: &&String| target.starts_with("/api/v1/pods?") && target.contains("watch=true");
        stage.api().wait_for_requests("a new watch", |targets| targets.iter().filter(watches).count() >= n);
        stage.api().send_line("pods", garbage);
        stage.api().apply(of(app));
        recovered.push(stage.wait_enforced(reaches));
    }
    stage.finish("lines that are cut (four) and garbage (three)", &recovered);
}

fn lists_fail() {
    let mut cluster = Stage::unset();
    // Before the pods of the fabric in lists, which are on the second page then.
    let extra = |n: u16| {
        let [high, low] = n.to_be_bytes();
        let address = [IpAddr::from([10, 250, high, low])];
        pod("x", &format!("a-{n:04}"), json!({"app": "extra"}), "node-9", &address)
    };
    (0..500).for_each(|n| cluster.api.apply(extra(n)));
    cluster.api.fail_continues(true);
    let agent = cluster.agent(NODE);
    cluster.api.wait_for_requests("second pages", |targets| second_pages(targets) >= 2);
    let node = cluster.fabric.node(NODE);
    assert!(node.try_nft("list table inet netsim").is_err(), "a table by the half of a list");
    cluster.api.fail_continues(false);
    agent.wait_ready();
    cluster.agents.insert(NODE.to_owned(), agent);
    let stage = Stage::watched(cluster);
    // The second page fails: what is on it is still there, and other kinds go on.
    stage.api().fail_continues(true);
    let began = Instant::now();
    relist(&stage, |api| {
        api.delete("pods", "x", "a-0007");
        let addresses = stage.cluster.pod("pod-2-2").addresses();
        api.apply(pod("x", "pod-2-2", json!({"app": "other"}), NODE, &addresses));
        api.apply(toggled(false));
    });
    let other = stage.wait_enforced(false);
    stage.wait_requests(1, |target| target.contains("continue="));
    stage.stays(false);
    stage.api().expire_next_continue();
    stage.api().fail_continues(false);
    // By the second page the pod is no longer what the policy selects.
    stage.wait_enforced(true);
    let midway = began.elapsed();
    // Too many requests, then failures for a while.
    stage.api().turn_away_next(5, 1);
    (0..5).for_each(|_| stage.api().fail_next(500, "etcdserver: leader changed"));
    let refused = Instant::now();
    relist(&stage, |api| {
        let addresses = stage.cluster.pod("pod-2-2").addresses();
        api.apply(pod("x", "pod-2-2", json!({"app": "pod-2-2"}), NODE, &addresses));
    });
    stage.wait_enforced(false);
    stage.finish("a second page fails (policies; pods), 429 and 500", &[other, midway, refused.elapsed()]);
}

fn second_pages(targets: &[String]) -> usize {
    targets.iter().filter(|target| target.contains("continue=")).count()
}
