//! The enforcer's watch, against the test API server: what comes, in which order, and what is done
//! about the accidents of a connection.
#![allow(clippy::unwrap_used)]

mod domains;
mod light;
mod pod_events;
mod real;
mod reports;
mod silent;

use futures::StreamExt;
use kube::Client;
use netsim_enforcer::watch::{Update, Watched, connect, watch};
use netsim_shared::cluster::Key;
use netsim_shared::object::{Object, Pod};
use netsim_shared::policy::{NetworkPolicy, PolicyKind};
use netsim_testkit::apiserver::ApiServer;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long is waited for what should come at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A kubeconfig file that goes away with the test.
struct Config(PathBuf);

impl Config {
    fn new(text: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("netsim-watch-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl AsRef<Path> for Config {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The updates of a watch that runs in a thread of its own.
struct Updates {
    channel: Receiver<Update>,
    /// What came so far.
    seen: Vec<Update>,
}

impl Updates {
    /// Watches as the node `n1`.
    fn of(server: &ApiServer) -> Self {
        Self::with(Config::new(&server.kubeconfig()))
    }

    /// The same by a kubeconfig.
    fn with(kubeconfig: impl AsRef<Path> + Send + 'static) -> Self {
        Self::by(move || async move { connect(Some(kubeconfig.as_ref()), None).await.unwrap() })
    }

    /// The same by a client.
    fn by<F: Future<Output = Client>>(client: impl FnOnce() -> F + Send + 'static) -> Self {
        let (sender, channel) = channel();
        std::thread::spawn(move || {
            runtime().block_on(async {
                let client = client().await;
                let mut updates = std::pin::pin!(watch(&client, "n1"));
                while let Some(update) = updates.next().await {
                    if sender.send(update).is_err() {
                        break;
                    }
                }
            });
        });
        Self { channel, seen: Vec::new() }
    }

    /// Watches, and has all lists.
    fn in_sync(server: &ApiServer) -> (Self, Vec<Update>) {
        let mut updates = Self::of(server);
        let first = updates.sync(server);
        (updates, first)
    }

    /// Waits until it has all lists and watches.
    fn sync(&mut self, server: &ApiServer) -> Vec<Update> {
        let first = self.listed_all();
        for kind in Watched::ALL.into_iter().filter(|kind| server.serves(kind.plural())) {
            server.wait_for_watches(kind.plural(), 1);
        }
        first
    }

    fn next(&mut self) -> Update {
        let update = self.channel.recv_timeout(PATIENCE);
        let update = update.unwrap_or_else(|_| panic!("nothing came; before: {:#?}", self.tail()));
        self.seen.push(update.clone());
        update
    }

    fn tail(&self) -> &[Update] {
        &self.seen[self.seen.len().saturating_sub(8)..]
    }

    /// All updates up to one that is wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&Update) -> bool) -> Vec<Update> {
        let (mut taken, ends) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < ends, "waited in vain for {what}; last: {:#?}", self.tail());
            let update = self.next();
            let done = wanted(&update);
            taken.push(update);
            if done {
                return taken;
            }
        }
    }

    /// All updates up to the last of those that a condition wants one of each kind for.
    fn until_all(&mut self, what: &str, kind: impl Fn(&Update) -> Option<Watched>) -> Vec<Update> {
        let mut missing = HashSet::from(Watched::ALL);
        let mut taken = Vec::new();
        while !missing.is_empty() {
            taken.extend(self.until(&format!("{what} of {missing:?}"), |update| kind(update).is_some()));
            missing.remove(&taken.last().and_then(&kind).unwrap());
        }
        taken
    }

    fn listed_all(&mut self) -> Vec<Update> {
        self.until_all("the lists", |update| match update {
            Update::Listed(kind, _) => Some(*kind),
            _ => None,
        })
    }

    /// All updates up to the pod with this name, which this makes: everything that happened to pods
    /// before has come by then.
    fn until_marker(&mut self, server: &ApiServer, name: &str) -> Vec<Update> {
        server.apply(pod(name));
        self.until(name, |update| pod_of(update).is_some_and(|pod| &*pod.name == name))
    }
}

fn object(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn pod(name: &str) -> Value {
    let mut pod = object("v1", "Pod", Some("a"), name);
    pod["spec"] = json!({"nodeName": "n1", "containers": [{"ports": [{"containerPort": 80}]}]});
    pod["status"] = json!({"phase": "Running", "podIP": "10.0.0.1"});
    pod
}

fn policy(name: &str, spec: Value) -> Value {
    let mut policy = object("networking.k8s.io/v1", "NetworkPolicy", Some("a"), name);
    policy["spec"] = spec;
    policy
}

/// A namespace, two nodes, a policy and pods.
fn cluster(pods: usize) -> Vec<Value> {
    let mut objects = vec![
        object("v1", "Namespace", None, "a"),
        object("v1", "Node", None, "n1"),
        object("v1", "Node", None, "n2"),
        policy("deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]})),
    ];
    objects.extend((0..pods).map(|i| pod(&format!("p{i:05}"))));
    objects
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

fn keys<const N: usize>(namespace: &str, names: [&str; N]) -> HashSet<Key> {
    names.iter().map(|name| key(namespace, name)).collect()
}

fn pod_of(update: &Update) -> Option<&Pod> {
    match update {
        Update::Apply(Object::Pod(pod)) => Some(pod),
        _ => None,
    }
}

fn policy_of(update: &Update) -> Option<&NetworkPolicy> {
    match update {
        Update::Apply(Object::NetworkPolicy(policy)) => Some(policy),
        _ => None,
    }
}

fn listed(updates: &[Update], wanted: Watched) -> Vec<HashSet<Key>> {
    let of_kind = |update: &Update| match update {
        Update::Listed(kind, keys) if *kind == wanted => Some(keys.clone()),
        _ => None,
    };
    updates.iter().filter_map(of_kind).collect()
}

/// The watches of pods that were asked for.
fn pod_watches(targets: &[String]) -> Vec<&String> {
    targets.iter().filter(|t| t.starts_with("/api/v1/pods?") && t.contains("watch=true")).collect()
}

/// How many lists of pods were asked for, first pages only.
fn pod_lists(server: &ApiServer) -> usize {
    let first = |target: &&String| {
        target.starts_with("/api/v1/pods?") && !target.contains("watch=true") && !target.contains("continue=")
    };
    server.targets().iter().filter(first).count()
}

#[test]
fn each_kind_is_listed_once_page_by_page_and_then_watched() {
    let server = ApiServer::start(cluster(1203));
    let (mut updates, mut first) = Updates::in_sync(&server);
    first.extend(updates.until_marker(&server, "marker"));
    for (kind, expected) in [
        (Watched::Namespaces, keys("", ["a"])),
        (Watched::Node, keys("", ["n1"])),
        (Watched::Policies, keys("a", ["deny"])),
        (Watched::Pods, (0..1203).map(|i| key("a", &format!("p{i:05}"))).collect()),
    ] {
        assert_eq!(listed(&first, kind), [expected], "{kind}");
    }
    let mut applied: BTreeMap<Box<str>, usize> = BTreeMap::new();
    for pod in first.iter().filter_map(pod_of) {
        *applied.entry(pod.name.clone()).or_default() += 1;
    }
    assert_eq!((applied.len(), applied.values().max()), (1204, Some(&1)));
    let complete = first.iter().position(|update| matches!(update, Update::Listed(Watched::Pods, _))).unwrap();
    assert_eq!(first[..complete].iter().filter_map(pod_of).count(), 1203, "all before the list is complete");
    assert!(first.iter().all(|update| !matches!(update, Update::Failing { .. } | Update::Recovered { .. })));

    let pages: Vec<String> = server.targets().into_iter().filter(|target| target.contains("limit=500")).collect();
    assert_eq!(pages.iter().filter(|page| page.starts_with("/api/v1/pods?")).count(), 3, "{pages:#?}");
    let of_node = |target: &&String| target.starts_with("/api/v1/nodes");
    let targets = server.targets();
    assert_eq!(targets.iter().filter(of_node).count(), 2);
    assert!(targets.iter().filter(of_node).all(|target| target.contains("fieldSelector=metadata.name%3Dn1")));
    assert!(targets.iter().filter(|t| t.contains("watch=true")).all(|t| t.contains("allowWatchBookmarks=true")));
}

#[test]
fn changes_come_in_order() {
    let server = ApiServer::start(cluster(1));
    let (mut updates, _) = Updates::in_sync(&server);
    server.apply(pod("x"));
    server.delete("pods", "a", "x");
    server.apply(pod("x"));
    let mut finished = pod("x");
    finished["status"]["phase"] = "Succeeded".into();
    server.apply(finished);
    let came = updates.until_marker(&server, "marker");
    let [first, Update::Delete(Watched::Pods, gone), second, Update::Delete(Watched::Pods, finished), _] =
        came.as_slice()
    else {
        panic!("{came:#?}")
    };
    let [first, second] = [first, second].map(|update| pod_of(update).unwrap());
    assert_eq!([gone, finished], [&key("a", "x"), &key("a", "x")]);
    assert_ne!(first.uid, second.uid);

    server.apply(object("v1", "Namespace", None, "b"));
    server.delete("namespaces", "", "b");
    let came = updates.until("b", |update| matches!(update, Update::Delete(..)));
    assert!(matches!(&came[0], Update::Apply(Object::Namespace(b)) if &*b.name == "b"));
    assert_eq!(came[1], Update::Delete(Watched::Namespaces, key("", "b")));

    // The heartbeats of another node are none of ours, a change of our own is.
    server.apply(object("v1", "Node", None, "n2"));
    server.apply(object("v1", "Node", None, "n1"));
    assert!(matches!(updates.next(), Update::Apply(Object::Node(node)) if &*node.name == "n1"));
}

#[test]
fn a_watch_that_is_cut_goes_on_from_its_last_bookmark() {
    let server = ApiServer::start(cluster(3));
    let (mut updates, _) = Updates::in_sync(&server);
    // The history of pods before this moment is lost, and the bookmark is all that tells them so.
    for _ in 0..5 {
        server.apply(object("v1", "Namespace", None, "a"));
    }
    server.send_bookmarks();
    server.compact();
    server.cut_watches();
    let came = updates.until_marker(&server, "marker");
    assert!(came.iter().all(|update| matches!(update, Update::Apply(_))), "{came:#?}");
    assert_eq!(pod_lists(&server), 1, "{:#?}", server.targets());
    let targets = server.targets();
    let revision = server.revision() - 1;
    let resumed = pod_watches(&targets);
    assert!(resumed[1].ends_with(&format!("resourceVersion={revision}")), "{resumed:#?}");
}

/// Lets history expire while one pod goes and one comes, and expects a list that says so.
fn expires(server: &ApiServer, tell: impl Fn(&ApiServer)) {
    let (mut updates, _) = Updates::in_sync(server);
    server.hold_watches();
    server.delete("pods", "a", "p00000");
    server.apply(pod("new"));
    server.compact();
    tell(server);
    server.release_watches();
    let came = updates.until("a list", |update| matches!(update, Update::Listed(Watched::Pods, _)));
    let of_pods: Vec<&Update> =
        came.iter().filter(|update| pod_of(update).is_some() || format!("{update:?}").contains("Pods")).collect();
    let [Update::Failing { error, .. }, Update::Apply(_), Update::Apply(_), Update::Listed(_, keys)] =
        of_pods.as_slice()
    else {
        panic!("{of_pods:#?}")
    };
    assert!(error.contains("too old resource version"), "{error}");
    assert_eq!(*keys, self::keys("a", ["p00001", "new"]));
    updates.until("the recovery", |update| *update == Update::Recovered { kind: Watched::Pods });
    updates.until_marker(server, "marker");
    assert_eq!(pod_lists(server), 2);
}

#[test]
fn history_that_expired_under_an_open_watch_is_listed_again() {
    expires(&ApiServer::start(cluster(2)), |_| {});
}

#[test]
fn history_that_expired_before_a_watch_is_listed_again() {
    expires(&ApiServer::start(cluster(2)), |server| {
        server.expire_by_status();
        server.cut_watches();
    });
}

#[test]
fn a_list_that_expires_between_its_pages_starts_again() {
    let server = ApiServer::start(cluster(501));
    server.expire_next_continue();
    let (_, first) = Updates::in_sync(&server);
    assert_eq!(listed(&first, Watched::Pods).iter().map(HashSet::len).collect::<Vec<_>>(), [501]);
    assert!(first.iter().any(|update| matches!(update, Update::Failing { kind: Watched::Pods, .. })));
}

#[test]
fn a_server_that_was_away_is_told_and_nothing_is_lost() {
    let server = ApiServer::start(cluster(2));
    let (mut updates, _) = Updates::in_sync(&server);
    server.stop_serving();
    let (mut failures, mut failing) = (0, HashSet::new());
    while failing.len() < Watched::ALL.len() || failures < 12 {
        let Update::Failing { kind, error, retry_in } = updates.next() else { panic!("{:#?}", updates.tail()) };
        assert!(retry_in >= Duration::from_millis(100) && retry_in <= Duration::from_secs(10), "{retry_in:?}");
        assert!(!failing.insert(kind) || retry_in <= Duration::from_millis(200), "{retry_in:?}");
        assert!(error.contains("onnect"), "{error}");
        failures += 1;
    }
    server.delete("pods", "a", "p00000");
    server.resume();
    let came = updates.until_all("recovery", |update| match update {
        Update::Recovered { kind } => Some(*kind),
        _ => None,
    });
    assert!(came.iter().all(|update| !matches!(update, Update::Listed(..))), "{came:#?}");
    let mut all = came;
    all.extend(updates.until_marker(&server, "marker"));
    assert!(all.contains(&Update::Delete(Watched::Pods, key("a", "p00000"))));
    assert_eq!(pod_lists(&server), 1, "it goes on from where it was");
}

#[test]
fn a_server_that_is_away_from_the_beginning_is_waited_for() {
    let server = ApiServer::start(cluster(2));
    server.stop_serving();
    let mut updates = Updates::of(&server);
    updates.until_all("failure", |update| match update {
        Update::Failing { kind, .. } => Some(*kind),
        _ => None,
    });
    server.resume();
    assert_eq!(listed(&updates.listed_all(), Watched::Pods), [keys("a", ["p00000", "p00001"])]);
}

#[test]
fn what_hangs_is_waited_for() {
    let server = ApiServer::start(cluster(1));
    let (mut updates, _) = Updates::in_sync(&server);
    server.hold_watches();
    server.apply(pod("x"));
    server.delete("pods", "a", "x");
    server.release_watches();
    let came = updates.until_marker(&server, "marker");
    assert_eq!(came.len(), 3, "{came:#?}");
}

#[test]
fn garbage_in_a_stream_leads_to_a_list() {
    let server = ApiServer::start(cluster(1));
    let (mut updates, _) = Updates::in_sync(&server);
    for (lists, garbage) in
        [(2, "<html>"), (3, r#"{"type":"ADDED","objekt":{}}"#), (4, r#"{"type":"ADDED","object":[1]}"#)]
    {
        server.send_line("pods", garbage);
        server.delete("pods", "a", "p00000");
        server.apply(pod("p00000"));
        let came = updates.until(garbage, |update| *update == Update::Recovered { kind: Watched::Pods });
        assert!(matches!(came[0], Update::Failing { kind: Watched::Pods, .. }), "{came:#?}");
        assert_eq!(listed(&came, Watched::Pods), [keys("a", ["p00000"])], "{garbage}");
        assert_eq!(pod_lists(&server), lists);
        server.wait_for_requests("the watch resumes", |targets| pod_watches(targets).len() == lists);
        updates.until_marker(&server, "marker");
        server.delete("pods", "a", "marker");
        updates.until("the marker goes", |update| matches!(update, Update::Delete(..)));
    }
}

#[test]
fn a_watch_that_ends_at_once_is_not_asked_for_in_a_tight_loop() {
    let server = ApiServer::start(cluster(1));
    let (mut updates, _) = Updates::in_sync(&server);
    let began = Instant::now();
    server.end_watches(true);
    server.wait_for_requests("several watches", |targets| pod_watches(targets).len() >= 5);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    server.end_watches(false);
    updates.until_marker(&server, "marker");
    assert_eq!(pod_lists(&server), 1);
}

#[test]
fn what_is_forbidden_says_which_rule_allows_it() {
    let server = ApiServer::start(cluster(1));
    server.forbid("networkpolicies");
    let mut updates = Updates::of(&server);
    let came = updates.until("a refusal", |update| matches!(update, Update::Failing { .. }));
    let Some(Update::Failing { kind: Watched::Policies, error, .. }) = came.last() else { panic!("{came:#?}") };
    let rule = r#"{apiGroups: ["networking.k8s.io"], resources: [networkpolicies], verbs: [list, watch]}"#;
    assert!(error.contains("cannot list resource") && error.contains(rule), "{error}");
    server.allow_all();
    updates.until("the recovery", |update| *update == Update::Recovered { kind: Watched::Policies });
}

#[test]
fn an_unreadable_policy_closes_what_it_selects() {
    let web = json!({"matchLabels": {"app": "web"}});
    let good = json!({"podSelector": web, "policyTypes": ["Ingress"], "ingress": [{}]});
    let bad = json!({"podSelector": web, "policyTypes": ["Ingress"], "ingress": [{"form": []}]});
    let server = ApiServer::start(vec![policy("listed", bad.clone()), policy("watched", good.clone())]);
    let (mut updates, first) = Updates::in_sync(&server);
    let before = first.iter().filter_map(policy_of).find(|policy| &*policy.name == "watched").unwrap().clone();
    assert_eq!(before.ingress.as_ref().map(Vec::len), Some(1));
    let unreadable = |updates: &[Update], name: &str| {
        let closed = updates.iter().filter_map(policy_of).find(|policy| &*policy.name == name).unwrap();
        assert_eq!(
            (&closed.pod_selector, &closed.ingress, &closed.egress),
            (&before.pod_selector, &Some(vec![]), &None)
        );
        let told = updates.iter().find_map(|update| match update {
            Update::Unreadable { kind: Watched::Policies, key, diagnostics } if &*key.1 == name => Some(diagnostics),
            _ => None,
        });
        let told: String = told.unwrap().iter().map(ToString::to_string).collect();
        assert!(told.contains("`form`") && told.contains(&format!("`a/{name}` cannot be read")), "{told}");
        assert!(told.contains("are closed"), "{told}");
    };
    unreadable(&first, "listed");
    assert_eq!(listed(&first, Watched::Policies), [keys("a", ["listed", "watched"])]);

    server.apply(policy("watched", bad));
    let came = updates.until("the unreadable", |update| matches!(update, Update::Unreadable { .. }));
    unreadable(&came, "watched");
    // Which text it is, is told of each.
    assert!(matches!(came[0], Update::Identified { kind: PolicyKind::NetworkPolicy, generation: 2, .. }), "{came:#?}");
    server.apply(policy("watched", good));
    assert!(matches!(updates.next(), Update::Identified { generation: 3, .. }));
    assert_eq!(policy_of(&updates.next()), Some(&before));
    server.apply(policy("watched", json!({"podSelector": {"matchLabel": {"app": "web"}}})));
    assert!(matches!(updates.next(), Update::Identified { generation: 4, .. }));
    let whole = updates.next();
    assert!(policy_of(&whole).is_some_and(|policy| policy.pod_selector.matches(&Default::default())), "{whole:#?}");
}

#[test]
fn an_unreadable_pod_stays_what_it_was() {
    let server = ApiServer::start(cluster(1));
    let (mut updates, _) = Updates::in_sync(&server);
    let mut bad = pod("p00000");
    bad["status"]["podIP"] = "not an address".into();
    server.apply(bad.clone());
    let Update::Unreadable { kind: Watched::Pods, key: told, diagnostics } = updates.next() else {
        panic!("{:#?}", updates.tail())
    };
    assert_eq!(told, key("a", "p00000"));
    assert!(diagnostics[0].to_string().contains("`not an address` is not an IP address"), "{diagnostics:#?}");
    // Nor does a list drop it.
    let first = Updates::of(&server).listed_all();
    assert_eq!(listed(&first, Watched::Pods), [keys("a", ["p00000"])]);
    assert_eq!(first.iter().filter_map(pod_of).count(), 0);
}

#[test]
fn warnings_are_passed_on() {
    let block = json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]});
    let server = ApiServer::start(vec![policy("lenient", block)]);
    let (_, first) = Updates::in_sync(&server);
    assert_eq!(first.iter().filter_map(policy_of).count(), 1);
    let warned = first.iter().find_map(|update| match update {
        Update::Warned { kind: Watched::Policies, key, diagnostics } => Some((key, diagnostics[0].to_string())),
        _ => None,
    });
    let (name, text) = warned.unwrap();
    assert_eq!(*name, key("a", "lenient"));
    assert!(text.contains("it is read as `10.0.0.0/8`"), "{text}");
}

#[test]
fn strange_and_huge_objects_survive() {
    let server = ApiServer::start(cluster(0));
    let (mut updates, _) = Updates::in_sync(&server);
    let mut strange = pod("strange");
    let text = "ü 漢字 🦀 \u{2028}\n\t\"\\ <&> \u{0} ".repeat(50_000);
    strange["metadata"]["annotations"] = json!({"note": text, "ключ": "значение"});
    strange["metadata"]["labels"] = json!({"app": "web", "größe": "🦀"});
    strange["unknown"] = json!({"deep": [[[[[[{"er": [1.5e300, -0, null, true]}]]]]]]});
    server.apply(strange.clone());
    let came = updates.until_marker(&server, "marker");
    let came = pod_of(&came[0]).unwrap();
    assert_eq!(came.spec.labels.get("größe"), Some("🦀"));
    // The same in a policy with a warning, for which the places in its text are looked for.
    let mut lenient =
        policy("lenient", json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.1.1.1/8"}}]}]}));
    lenient["metadata"]["annotations"] = json!({"note": "ü 漢字 🦀 \u{2028}\n\t\"\\ <&> \u{0} "});
    server.apply(lenient);
    let came =
        updates.until("the warning", |update| matches!(update, Update::Warned { .. } | Update::Unreadable { .. }));
    assert!(matches!(came.last(), Some(Update::Warned { .. })), "{came:#?}");
}

#[test]
fn configurations_that_cannot_be_used_say_why_without_secrets() {
    let runtime = runtime();
    let fail = |path: &PathBuf, context: Option<&str>| {
        runtime.block_on(connect(Some(path), context)).err().unwrap().to_string()
    };
    let missing = fail(&PathBuf::from("/nowhere/config"), None);
    assert!(missing.starts_with("cannot use kubeconfig `/nowhere/config`: "), "{missing}");
    let broken = Config::new("apiVersion: v1\nusers: [{name: u, user: {token: s3cret}}\n");
    let text = fail(&broken.0, None);
    assert!(text.contains("wrong YAML at line") && !text.contains("s3cret"), "{text}");
    let server = ApiServer::start(Vec::new());
    let config = Config::new(&server.kubeconfig());
    assert!(fail(&config.0, Some("other")).contains("other"));
    assert!(runtime.block_on(connect(Some(&config.0), Some("kind-b"))).is_ok());
}

/// A pod as a cluster has them, with what an agent does not want to know.
fn whole_pod(i: usize) -> Value {
    let mut pod = pod(&format!("web-{:08x}-{i:05}", i / 3));
    let fields: Vec<Value> = (0..40).map(|j| json!({format!("f:field{j}"): {"f:a": {}, "f:b": {}, ".": {}}})).collect();
    pod["metadata"]["managedFields"] = json!([{"manager": "kubelet", "operation": "Update", "fieldsV1": fields}]);
    pod["metadata"]["labels"] = json!({"app": "web", "pod-template-hash": format!("{:08x}", i / 3), "team": "a"});
    let env: Vec<Value> = (0..30).map(|j| json!({"name": format!("V{j}"), "value": "x".repeat(40)})).collect();
    pod["spec"]["containers"][0]["env"] = env.into();
    pod["status"]["podIP"] = format!("10.{}.{}.{}", i >> 16, (i >> 8) & 255, i & 255).into();
    pod["status"]["conditions"] = ["Ready", "Initialized", "PodScheduled"]
        .iter()
        .map(|t| json!({"type": t, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}))
        .collect();
    pod
}

#[test]
fn a_large_cluster_is_listed() {
    const PODS: usize = 5_000;
    let objects: Vec<Value> = (0..PODS).map(whole_pod).collect();
    let size = objects[0].to_string().len();
    let server = ApiServer::start(objects);

    // What the test's server and the way to it take is no time of ours.
    let began = Instant::now();
    let text = runtime().block_on(async {
        let config = Config::new(&server.kubeconfig());
        let client = connect(Some(&config.0), None).await.unwrap();
        client.request_text(http::Request::get("/api/v1/pods").body(Vec::new()).unwrap()).await.unwrap()
    });
    let served = began.elapsed();
    assert!(text.len() > PODS * size / 2);

    let began = Instant::now();
    let mut updates = Updates::of(&server);
    let first = updates.listed_all();
    let listed = began.elapsed();
    assert_eq!(first.iter().filter_map(pod_of).count(), PODS);
    println!("{PODS} pods of {size} bytes: served in {served:?}, served and read in {listed:?}");
}
