//! Reading a live cluster, against the test API server: paging, accidents, refusals, and the
//! snapshot made of it.
#![allow(clippy::unwrap_used)]

#[path = "../simulator/src/load/live.rs"]
mod live;
#[path = "../simulator/src/load/snapshot.rs"]
mod snapshot;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use live::{ClusterRef, Extent, Fetched, LiveError, LivePage, fetch};
use netsim_shared::ingest::ingest;
use netsim_shared::object::Object;
use netsim_testkit::apiserver::ApiServer;
use serde_json::{Value, json};
use snapshot::{SnapshotCounts, write_snapshot};

/// A directory which goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("netsim-live-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn object(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn cluster_of(pods: usize) -> Vec<Value> {
    let mut objects = vec![
        object("v1", "Namespace", None, "a"),
        object("v1", "Node", None, "n1"),
        object("networking.k8s.io/v1", "NetworkPolicy", Some("a"), "deny"),
    ];
    objects.extend((0..pods).map(|i| object("v1", "Pod", Some("a"), &format!("p{i:05}"))));
    objects
}

fn fetch_from(server: &ApiServer) -> Result<Fetched, LiveError> {
    let scratch = Scratch::new();
    let kubeconfig = Some(scratch.file("config", &server.kubeconfig()));
    fetch(&ClusterRef { kubeconfig, ..ClusterRef::default() }, Extent::Connectivity, &mut |_, _| {})
}

fn pages_of<'a>(fetched: &'a Fetched, source: &str) -> Vec<&'a LivePage> {
    fetched.pages.iter().filter(|page| page.source == source).collect()
}

fn pod_names(fetched: &Fetched) -> Vec<String> {
    let mut names = Vec::new();
    for page in pages_of(fetched, "cluster kind-a: pods") {
        let list: Value = serde_json::from_slice(&page.json).unwrap();
        assert_eq!(list["kind"], "PodList");
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), page.items);
        names.extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
    }
    names
}

fn expected_names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("p{i:05}")).collect()
}

#[test]
fn large_lists_come_in_pages() {
    let server = ApiServer::start(cluster_of(1200));
    let scratch = Scratch::new();
    let kubeconfig = Some(scratch.file("config", &server.kubeconfig()));
    let mut seen = Vec::new();
    let cluster = ClusterRef { kubeconfig, ..ClusterRef::default() };
    let fetched =
        fetch(&cluster, Extent::Connectivity, &mut |resource, n| seen.push((resource.to_owned(), n))).unwrap();

    assert_eq!(pod_names(&fetched), expected_names(1200));
    let sizes: Vec<usize> = pages_of(&fetched, "cluster kind-a: pods").iter().map(|page| page.items).collect();
    assert_eq!(sizes, [500, 500, 200]);
    let progress: Vec<usize> = seen.iter().filter(|(r, _)| r == "pods").map(|(_, n)| *n).collect();
    assert_eq!(progress, [500, 1000, 1200]);
    assert_eq!(fetched.warnings, Vec::<String>::new());
    let requests = server.requests();
    assert_eq!(requests["/api/v1/pods"], 3);
    assert!(!requests.keys().any(|path| path.contains("secrets") || path.contains("configmaps")));
    assert!(!server.targets().iter().any(|target| target.contains("resourceVersion")));
    // Thirteen lists, two more pages of pods, and the groups.
    assert_eq!(server.targets().len(), 13 + 2 + 1, "{requests:?}");
}

#[test]
fn the_other_context_and_an_unknown_one() {
    let server = ApiServer::start(cluster_of(1));
    let scratch = Scratch::new();
    let kubeconfig = Some(scratch.file("config", &server.kubeconfig()));
    let mut cluster = ClusterRef { kubeconfig, context: Some("kind-b".into()), in_cluster: false };
    let fetched = fetch(&cluster, Extent::Connectivity, &mut |_, _| {}).unwrap();
    assert_eq!(pages_of(&fetched, "cluster kind-b: pods").len(), 1);
    cluster.context = Some("kind-c".into());
    let error = fetch(&cluster, Extent::Connectivity, &mut |_, _| {}).unwrap_err();
    assert!(matches!(&error, LiveError::UnknownContext { known, .. } if known == &["kind-a", "kind-b"]));
    let text = error.to_string();
    assert!(text.contains("\"kind-c\"") && text.contains("kind-a, kind-b"), "{text}");
}

#[test]
fn a_list_which_expires_starts_again() {
    let server = ApiServer::start(cluster_of(1200));
    server.expire_next_continue();
    let fetched = fetch_from(&server).unwrap();
    assert_eq!(pod_names(&fetched), expected_names(1200));
    // Page one, the expired one, and then all three.
    assert_eq!(server.requests()["/api/v1/pods"], 5);
}

#[test]
fn a_list_which_keeps_expiring_is_given_up() {
    let server = ApiServer::start(cluster_of(600));
    for _ in 0..4 {
        server.expire_next_continue();
    }
    let error = fetch_from(&server).unwrap_err();
    assert!(matches!(&error, LiveError::Api { path, code: 410, .. } if path == "/api/v1/pods"), "{error}");
    assert_eq!(server.requests()["/api/v1/pods"], 8);

    let server = ApiServer::start(cluster_of(600));
    for _ in 0..3 {
        server.expire_next_continue();
    }
    assert_eq!(pod_names(&fetch_from(&server).unwrap()).len(), 600);
}

#[test]
fn forbidden_nodes_are_a_warning() {
    let server = ApiServer::start(cluster_of(2));
    server.forbid("nodes");
    server.hide("cronjobs");
    let fetched = fetch_from(&server).unwrap();
    assert_eq!(pages_of(&fetched, "cluster kind-a: nodes"), Vec::<&LivePage>::new());
    let [nodes, cronjobs] = fetched.warnings.as_slice() else { panic!("{:?}", fetched.warnings) };
    assert!(nodes.starts_with("cluster kind-a: cannot list nodes: node addresses"), "{nodes}");
    assert!(nodes.contains(r#"{apiGroups: [""], resources: ["nodes"], verbs: ["list"]}"#), "{nodes}");
    assert!(cronjobs.starts_with("cluster kind-a: cannot list cronjobs.batch: "), "{cronjobs}");
    assert_eq!(pod_names(&fetched).len(), 2);
}

#[test]
fn what_netsim_cannot_do_without_is_an_error() {
    for (plural, group) in [("networkpolicies", "networking.k8s.io"), ("namespaces", ""), ("pods", "")] {
        let server = ApiServer::start(cluster_of(2));
        server.forbid(plural);
        let error = fetch_from(&server).unwrap_err();
        assert!(
            matches!(&error, LiveError::Forbidden { resource, group: g, verb: "list", .. }
                if resource == plural && g == group),
            "{error}"
        );
        let rule = format!(r#"{{apiGroups: ["{group}"], resources: ["{plural}"], verbs: ["list"]}}"#);
        assert!(error.to_string().contains(&rule), "{error}");

        let server = ApiServer::start(cluster_of(2));
        server.hide(plural);
        let error = fetch_from(&server).unwrap_err();
        assert!(matches!(error, LiveError::Api { code: 404, .. }), "{error}");
    }
}

#[test]
fn passing_failures_are_retried_and_lasting_ones_reported() {
    let server = ApiServer::start(cluster_of(600));
    server.drop_next_connections(2);
    assert_eq!(pod_names(&fetch_from(&server).unwrap()), expected_names(600));

    server.fail_next(503, "busy");
    server.fail_next(429, "slower");
    assert_eq!(pod_names(&fetch_from(&server).unwrap()).len(), 600);

    server.fail_next(500, &"x".repeat(10_000));
    let error = fetch_from(&server).unwrap_err();
    assert!(matches!(&error, LiveError::Api { code: 500, .. }), "{error}");
    assert!(error.to_string().chars().count() < 400, "{error}");

    server.fail_next(401, "who are you");
    let error = fetch_from(&server).unwrap_err().to_string();
    assert!(error.contains("does not accept the credentials"), "{error}");

    server.fail_next(200, "<html>log in first</html>");
    let error = fetch_from(&server).unwrap_err().to_string();
    assert!(error.contains("unusable answer"), "{error}");

    server.drop_next_connections(1000);
    let started = Instant::now();
    let error = fetch_from(&server).unwrap_err();
    assert!(matches!(&error, LiveError::Connect { server: s, .. } if s.contains("127.0.0.1")), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_server_which_is_not_there() {
    let server = ApiServer::start(Vec::new());
    let scratch = Scratch::new();
    let kubeconfig = Some(scratch.file("config", &server.kubeconfig()));
    drop(server);
    let error =
        fetch(&ClusterRef { kubeconfig, ..ClusterRef::default() }, Extent::Connectivity, &mut |_, _| {}).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LiveError::Connect { .. }) && text.contains("refused"), "{text}");
}

#[test]
fn foreign_policies_are_listed_and_may_be_refused() {
    let mut objects = cluster_of(1);
    objects.extend([
        object("cilium.io/v2", "CiliumNetworkPolicy", Some("a"), "c1"),
        object("cilium.io/v2", "CiliumEndpoint", Some("a"), "p00000"),
        object("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", None, "cnp"),
        object("policy.networking.k8s.io/v1alpha2", "AdminNetworkPolicy", None, "new"),
        object("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", None, "old"),
        object("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy", None, "default"),
        object("crd.projectcalico.org/v1", "NetworkPolicy", Some("a"), "calico"),
        object("k8s.ovn.org/v1", "EgressFirewall", Some("a"), "default"),
        object("example.org/v1", "UnrelatedPolicy", Some("a"), "u"),
    ]);
    let server = ApiServer::start(objects.clone());
    let fetched = fetch_from(&server).unwrap();
    let sources: Vec<&str> = fetched.pages.iter().skip(13).map(|page| page.source.as_str()).collect();
    assert_eq!(
        sources,
        [
            "cluster kind-a: clusternetworkpolicies.policy.networking.k8s.io",
            "cluster kind-a: adminnetworkpolicies.policy.networking.k8s.io",
            "cluster kind-a: baselineadminnetworkpolicies.policy.networking.k8s.io",
            "cluster kind-a: ciliumnetworkpolicies.cilium.io",
            "cluster kind-a: networkpolicies.crd.projectcalico.org",
            "cluster kind-a: egressfirewalls.k8s.ovn.org",
        ]
    );
    assert_eq!(fetched.warnings, Vec::<String>::new());

    server.forbid("ciliumnetworkpolicies");
    let fetched = fetch_from(&server).unwrap();
    let [warning] = fetched.warnings.as_slice() else { panic!("{:?}", fetched.warnings) };
    assert!(warning.contains("cannot list ciliumnetworkpolicies.cilium.io"), "{warning}");
    assert!(warning.contains("may be in force without netsim knowing"), "{warning}");
}

#[test]
fn our_own_policies_are_listed_where_there_are_any() {
    let policy = json!({"apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
        "metadata": {"name": "out", "namespace": "a"},
        "spec": {"podSelector": {}, "egress": [{"to": [{"domainNames": ["db.example.com"]}]}]},
        "status": {"nodes": [{"name": "n1", "conditions": [{"type": "Unresolved", "message": "SECRET"}]}]}});
    let mut objects = cluster_of(1);
    objects.push(policy.clone());
    let server = ApiServer::start(objects);
    let fetched = fetch_from(&server).unwrap();
    assert_eq!(fetched.warnings, Vec::<String>::new());
    let [page] = pages_of(&fetched, "cluster kind-a: egressdomainpolicies")[..] else { panic!("{:?}", fetched.pages) };
    let is_read = |text: &str| {
        let ingested = ingest("test", text.as_bytes(), "default");
        ingested
            .objects
            .iter()
            .any(|object| matches!(object, Object::NetworkPolicy(policy) if &*policy.name == "egressdomainpolicy/out"))
    };
    assert!(is_read(std::str::from_utf8(&page.json).unwrap()));
    let (_, text, counts) = snapshot(&fetched.pages);
    assert!(is_read(&text) && !text.contains("SECRET"), "{text}");
    assert!(counts.kinds.contains(&("netsim.dev/v1alpha1/EgressDomainPolicy".to_owned(), 1)), "{:?}", counts.kinds);

    // Without them all verdicts on egress may be wrong.
    server.forbid("egressdomainpolicies");
    let error = fetch_from(&server).unwrap_err();
    let rule = r#"{apiGroups: ["netsim.dev"], resources: ["egressdomainpolicies"], verbs: ["list"]}"#;
    assert!(matches!(&error, LiveError::Forbidden { .. }) && error.to_string().contains(rule), "{error}");
    // Who may not read them where they are not installed reads the cluster all the same.
    server.uninstall("egressdomainpolicies");
    assert_eq!(fetch_from(&server).unwrap().warnings, Vec::<String>::new());
    server.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
    server.allow_all();
    server.hide("egressdomainpolicies");
    let fetched = fetch_from(&server).unwrap();
    assert_eq!((pod_names(&fetched).len(), fetched.warnings.len()), (1, 0));
}

#[test]
fn configurations_which_cannot_be_used() {
    let scratch = Scratch::new();
    let fail = |path: &Path| {
        let kubeconfig = Some(path.to_owned());
        fetch(&ClusterRef { kubeconfig, ..ClusterRef::default() }, Extent::Connectivity, &mut |_, _| {}).unwrap_err()
    };
    let missing = fail(&scratch.0.join("missing"));
    assert!(matches!(&missing, LiveError::Config { from, .. } if from.ends_with("missing")), "{missing}");
    let secret = scratch.file("yaml", "apiVersion: v1\nusers: [{name: u, user: {token: s3cret}}\n");
    let text = fail(&secret).to_string();
    assert!(text.contains("wrong YAML at line") && !text.contains("s3cret"), "{text}");
    let none = scratch.file("none", "contexts: [{name: x, context: {cluster: c, user: u}}]\n");
    let text = fail(&none).to_string();
    assert!(text.contains("no current context is set; it has: x"), "{text}");
    let dangling = scratch.file("dangling", "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\n");
    assert!(matches!(fail(&dangling), LiveError::Config { .. }));
    let plugin = |script: &str| {
        let text = format!(
            "current-context: x\n\
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:9'}}}}]\n\
             users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, \
             command: sh, args: [-c, '{script}'], interactiveMode: Never}}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n"
        );
        fail(&scratch.file("plugin", &text)).to_string()
    };
    let text = plugin("echo s3cret; echo please log in >&2; exit 3");
    assert!(text.contains("please log in") && !text.contains("s3cret"), "{text}");
    let text = plugin("echo \"{token: s3cret\"");
    assert!(text.contains("than an ExecCredential") && !text.contains("s3cret"), "{text}");
}

#[test]
fn never_panics_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async { fetch(&ClusterRef::default(), Extent::Connectivity, &mut |_, _| {}) });
    assert!(matches!(error, Err(LiveError::Runtime(_))));
}

/// Run by `the_environment_is_read_as_kubectl_reads_it`, in an environment of its own.
#[test]
#[ignore = "a child process of another test"]
fn child_fetches_by_the_environment() {
    match fetch(&ClusterRef::default(), Extent::Connectivity, &mut |_, _| {}) {
        Ok(fetched) => println!("fetched {} pages", fetched.pages.len()),
        Err(error) => println!("failed: {error}"),
    }
}

#[test]
fn the_environment_is_read_as_kubectl_reads_it() {
    let server = ApiServer::start(cluster_of(1));
    let scratch = Scratch::new();
    let config = scratch.file("config", &server.kubeconfig());
    let child = |kubeconfig: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_fetches_by_the_environment", "--ignored", "--nocapture"])
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", &scratch.0)
            .env_remove("KUBERNETES_SERVICE_HOST")
            // Not for a loopback address.
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let missing = scratch.0.join("missing");
    let both = format!("{}:{}", missing.display(), config.display());
    assert!(child(&both).contains("fetched 13 pages"));
    let none = child(&missing.display().to_string());
    assert!(none.contains("failed: cannot use kubeconfig") && none.contains("missing"), "{none}");
    let home = child("");
    assert!(home.contains(".kube/config: cannot read it"), "{home}");
}

/// Objects with all that a snapshot must not hold, each marked `SECRET`.
fn telling_objects() -> Vec<Value> {
    let container = json!({
        "name": "c", "image": "SECRET", "command": ["SECRET"], "args": ["SECRET"],
        "env": [{"name": "P", "value": "SECRET"}], "envFrom": [{"secretRef": {"name": "SECRET"}}],
        "ports": [{"name": "http", "containerPort": 80}],
        "livenessProbe": {"exec": {"command": ["SECRET"]}},
        "lifecycle": {"preStop": {"exec": {"command": ["SECRET"]}}},
        "securityContext": {"capabilities": {"add": ["NET_RAW"]}, "runAsUser": 1},
    });
    let metadata = json!({
        "name": "x", "namespace": "a", "uid": "u-1", "labels": {"app": "x"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u-2"}],
        "managedFields": [{"manager": "SECRET"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "SECRET", "note": "kept"},
    });
    let spec = json!({
        "nodeName": "n1", "hostNetwork": true, "serviceAccountName": "sa",
        "containers": [container], "initContainers": [container], "ephemeralContainers": [container],
        "volumes": [{"name": "v", "secret": {"secretName": "SECRET"}}],
        "imagePullSecrets": [{"name": "SECRET"}],
    });
    let template = json!({"metadata": metadata, "spec": spec});
    let workload = |api_version: &str, kind: &str, spec: Value| {
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": "True", "message": "SECRET"}]}})
    };
    let status = json!({
        "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "1.2.3.4",
        "conditions": [{"type": "Ready", "status": "True", "message": "SECRET"}],
        "containerStatuses": [{"lastState": {"terminated": {"message": "SECRET"}}}],
    });
    vec![
        object("v1", "Namespace", None, "a"),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "SECRET"},
            "status": {"addresses": [{"type": "InternalIP", "address": "1.2.3.4"}],
                "images": [{"names": ["SECRET"]}], "nodeInfo": {"machineID": "SECRET"}}}),
        workload("v1", "ReplicationController", json!({"template": template})),
        workload("apps/v1", "Deployment", json!({"replicas": 2, "template": template})),
        workload("apps/v1", "StatefulSet", json!({"template": template})),
        workload("apps/v1", "DaemonSet", json!({"template": template})),
        workload("apps/v1", "ReplicaSet", json!({"template": template})),
        workload("batch/v1", "Job", json!({"template": template})),
        workload("batch/v1", "CronJob", json!({"jobTemplate": {"metadata": metadata, "spec": {"template": template}}})),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata}),
    ]
}

fn snapshot(pages: &[LivePage]) -> (Value, String, SnapshotCounts) {
    let mut bytes = Vec::new();
    let counts = write_snapshot(pages, &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    (serde_json::from_str(&text).unwrap(), text, counts)
}

#[test]
fn a_snapshot_holds_every_item_and_no_secrets() {
    let objects = telling_objects();
    let server = ApiServer::start(objects.clone());
    let fetched = fetch_from(&server).unwrap();
    let (list, text, counts) = snapshot(&fetched.pages);

    assert!(!text.contains("SECRET"), "{text}");
    assert_eq!(counts.items, objects.len());
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("List"), &json!("v1")));
    let mut expected: Vec<String> = Vec::new();
    for object in &objects {
        let text = |key: &str| object[key].as_str().unwrap();
        expected.push(format!("{}/{}", text("apiVersion"), text("kind")));
    }
    let mut kinds: Vec<String> = counts.kinds.iter().map(|(kind, _)| kind.clone()).collect();
    expected.sort();
    kinds.sort();
    assert_eq!(kinds, expected);
    // The head, one line an item, the tail.
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), objects.len() + 2);
    assert!(lines[1..=objects.len()].iter().all(|line| line.starts_with(r#"{"apiVersion":""#)));

    let items = list["items"].as_array().unwrap();
    let of_kind = |kind: &str| items.iter().find(|item| item["kind"] == kind).unwrap();
    let pod = of_kind("Pod");
    assert_eq!(pod["metadata"]["annotations"], json!({"note": "kept"}));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], json!("u-2"));
    assert_eq!((&pod["metadata"]["uid"], &pod["metadata"]["labels"]["app"]), (&json!("u-1"), &json!("x")));
    assert_eq!((&pod["spec"]["nodeName"], &pod["spec"]["hostNetwork"]), (&json!("n1"), &json!(true)));
    let kept = json!({"name": "c", "ports": [{"name": "http", "containerPort": 80}],
        "securityContext": {"capabilities": {"add": ["NET_RAW"]}}});
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        assert_eq!(pod["spec"][containers], json!([kept]));
    }
    assert_eq!(pod["status"]["conditions"], json!([{"type": "Ready", "status": "True"}]));
    assert_eq!((&pod["status"]["phase"], &pod["status"]["podIPs"][0]["ip"]), (&json!("Running"), &json!("10.0.0.1")));
    assert_eq!(of_kind("Node")["status"]["addresses"][0]["address"], json!("1.2.3.4"));
    assert_eq!(of_kind("NetworkPolicy")["spec"], json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    let template = &of_kind("CronJob")["spec"]["jobTemplate"]["spec"]["template"];
    assert_eq!(template["spec"]["containers"], json!([kept]));
    assert_eq!(template["metadata"]["labels"]["app"], json!("x"));
}

#[test]
fn a_snapshot_read_back_and_written_again_is_the_same() {
    let mut objects = telling_objects();
    objects.extend((0..700).map(|i| object("v1", "Pod", Some("b"), &format!("p{i}"))));
    let server = ApiServer::start(objects);
    let (_, first, counts) = snapshot(&fetch_from(&server).unwrap().pages);
    assert_eq!(first, snapshot(&fetch_from(&server).unwrap().pages).1);
    let page = LivePage { source: "snapshot".into(), json: first.clone().into(), items: counts.items };
    let (_, second, again) = snapshot(&[page]);
    assert_eq!((first, counts), (second, again));
}

#[test]
fn a_snapshot_withholds_secrets_and_refuses_what_is_no_list() {
    let page = |json: &str| LivePage { source: "here".into(), json: json.into(), items: 0 };
    let (list, _, counts) = snapshot(&[]);
    assert_eq!((&list["items"], counts), (&json!([]), SnapshotCounts::default()));
    let secrets = page(r#"{"kind":"SecretList","apiVersion":"v1","items":[{"data":{"x":"y"}}]}"#);
    let empty = page(r#"{"kind":"PodList","apiVersion":"v1","items":null}"#);
    let (list, _, counts) = snapshot(&[secrets, empty]);
    assert_eq!((&list["items"], counts.items, counts.withheld), (&json!([]), 0, 1));
    for wrong in ["[", "[]x", r#"{"items":[{}]}"#, r#"{"kind":"PodList","apiVersion":"v1","items":[1]}"#] {
        let error = write_snapshot(&[page(wrong)], &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("here: "), "{error}");
    }
}
