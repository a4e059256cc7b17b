//! What an agent tells of denied connections by Events on pods.

use crate::{Config, pod};
use netsim_enforcer::flows::{End, Feed, Flow, PodRef, Reason, Verdict};
use netsim_enforcer::observe::Metrics;
use netsim_enforcer::observe::pod_events::{Limits, Pace, run};
use netsim_enforcer::observe::sinks::OfSink;
use netsim_enforcer::watch::connect;
use netsim_shared::policy::Direction;
use netsim_testkit::apiserver::ApiServer;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const POST: &str = "POST /apis/events.k8s.io/v1/namespaces/a/events";

/// An agent's writer; dropping it is the end of the agent.
struct Agent {
    feed: Feed,
    metrics: OfSink,
    _runtime: Runtime,
}

impl Agent {
    fn on(server: &ApiServer, interval: Duration) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = Config::new(&server.kubeconfig());
        let client = runtime.block_on(connect(Some(config.as_ref()), None)).unwrap();
        let (feed, metrics) = (Feed::default(), Metrics::new().sink("events"));
        let limits = Limits { interval, collect: Duration::from_millis(1), per_minute: 30 };
        let pace = Pace { limits, longest: Duration::from_millis(50) };
        runtime.spawn(run(client, "n1".to_owned(), pace, feed.subscribe(), metrics.clone()));
        Agent { feed, metrics, _runtime: runtime }
    }

    /// Somebody outside was denied to reach the pod, as it is now.
    fn denied(&self, server: &ApiServer, pod: &str, packets: u64) {
        let pods = server.objects("pods");
        let object = pods.iter().find(|object| object["metadata"]["name"] == pod).unwrap();
        let uid = object["metadata"]["uid"].as_str().unwrap().into();
        let pod = PodRef { namespace: "a".into(), name: pod.into(), uid, labels: BTreeMap::new() };
        self.feed.publish(Flow {
            first: "2026-01-01T00:00:00Z".parse().unwrap(),
            last: "2026-01-01T00:00:01Z".parse().unwrap(),
            node: "n1".into(),
            verdict: Verdict::Denied,
            reason: Reason::Policy,
            direction: Direction::Ingress,
            source: End { ip: [203, 0, 113, 7].into(), pod: None },
            destination: End { ip: [10, 0, 0, 1].into(), pod: Some(pod) },
            protocol: "TCP".into(),
            port: Some(80),
            packets,
            isolated_by: vec!["a/deny".into()],
        });
    }

    /// Events that were taken, tries that failed, flows that were lost.
    fn until(&self, what: &str, wanted: impl Fn([u64; 3]) -> bool) {
        let counts = || [&self.metrics.sent, &self.metrics.errors, &self.metrics.lost].map(|counter| counter.get());
        let deadline = Instant::now() + crate::PATIENCE;
        while !wanted(counts()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", counts());
            std::thread::yield_now();
        }
    }
}

fn notes(server: &ApiServer) -> Vec<String> {
    server.objects("events").iter().map(|event| event["note"].as_str().unwrap().to_owned()).collect()
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn an_event_is_made_on_the_very_pod_and_only_one() {
    let server = ApiServer::start(vec![pod("web"), pod("db")]);
    let agent = Agent::on(&server, LONG);
    agent.denied(&server, "web", 3);
    server.wait_for_objects("an event", "events", |events| events.len() == 1);
    (0..500).for_each(|_| agent.denied(&server, "web", 1));
    agent.denied(&server, "db", 1);
    server.wait_for_objects("another pod's", "events", |events| events.len() == 2);
    let event = server.objects("events").into_iter().find(|event| event["regarding"]["name"] == "web").unwrap();
    let web = server.objects("pods").into_iter().find(|object| object["metadata"]["name"] == "web").unwrap();
    let regarding = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "a", "name": "web", "uid": web["metadata"]["uid"],
    });
    assert_eq!(event["regarding"], regarding);
    assert_eq!(event["note"], "3 packets from 203.0.113.7 to TCP 80 denied by ingress policy a/deny");
    let said = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    assert_eq!([said("type"), said("reason"), said("action")], ["Warning", "ConnectionDenied", "Enforce"]);
    assert_eq!([said("reportingController"), said("reportingInstance")], ["netsim.dev/enforcer", "n1"]);
    agent.until("two were taken", |counts| counts == [2, 0, 0]);
    // Another pod of the same name has its own.
    server.delete("pods", "a", "web");
    server.apply(pod("web"));
    agent.denied(&server, "web", 1);
    server.wait_for_objects("the new pod's", "events", |events| events.len() == 3);
}

#[test]
fn what_came_meanwhile_is_summed_up() {
    let server = ApiServer::start(vec![pod("web")]);
    server.fail_next(503, "busy");
    server.drop_next_connections(1);
    let agent = Agent::on(&server, Duration::from_millis(1));
    agent.denied(&server, "web", 3);
    agent.until("it was tried twice", |[_, errors, _]| errors >= 2);
    server.wait_for_objects("an event", "events", |events| events.len() == 1);
    // While nobody is allowed to.
    server.forbid("events");
    agent.denied(&server, "web", 5);
    agent.until("it was refused", |[_, _, lost]| lost == 1);
    server.allow_all();
    agent.denied(&server, "web", 7);
    server.wait_for_objects("another", "events", |events| events.len() == 2);
    let all: String = notes(&server).concat();
    assert!(all.contains("3 packets") && all.contains("7 packets") && !all.contains('5'), "{all}");
    let posts = server.targets().iter().filter(|target| target.starts_with(POST)).count();
    assert!(posts >= 4, "{posts}");
}

#[test]
fn with_its_namespace_a_pod_and_what_is_to_be_told_of_it_goes() {
    let server = ApiServer::start(vec![pod("web")]);
    let agent = Agent::on(&server, Duration::from_millis(1));
    let gone = "unable to create new content in namespace a because it is being terminated";
    server.fail_next(403, gone);
    agent.denied(&server, "web", 3);
    server.wait_for_requests("a try", |targets| targets.iter().any(|target| target.starts_with(POST)));
    agent.denied(&server, "web", 7);
    server.wait_for_objects("the next", "events", |events| events.len() == 1);
    agent.until("nothing is lost", |[sent, errors, lost]| (sent, errors, lost) == (1, 0, 0));
}
