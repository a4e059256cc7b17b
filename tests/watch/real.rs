//! What a real API server does that the one of these tests only imitates. The first test runs against
//! both; everything about the real one is ignored unless it is asked for, see CONTRIBUTING.md.

use crate::{Updates, key, object};
use netsim_enforcer::watch::{Update, Watched, connect};
use netsim_shared::ingest::ingest;
use netsim_shared::object::Object;
use netsim_shared::policy::NetworkPolicy;
use netsim_testkit::apiserver::ApiServer;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a real server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whatever holds objects and is watched.
trait Server {
    /// What the watch connects with.
    fn watch(&self) -> Updates;
    /// Creates or replaces an object of the namespace.
    fn apply(&self, object: Value);
    fn delete(&self, plural: &str, name: &str);
    /// The namespace that all of it happens in; there may be others.
    fn namespace(&self) -> &str;
}

/// A pod that is never started, wherever it is.
fn idle_pod(namespace: &str, name: &str) -> Value {
    let mut pod = object("v1", "Pod", Some(namespace), name);
    pod["metadata"]["labels"] = json!({"app": name});
    pod["spec"] = json!({
        "nodeSelector": {"netsim.example/no-node-has-this": "true"},
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "registry.example/none:1", "ports": [{"name": "http", "containerPort": 80}]}],
    });
    pod
}

fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    let mut policy = object("networking.k8s.io/v1", "NetworkPolicy", Some(namespace), name);
    policy["spec"] = spec;
    policy
}

fn place(object: &Object) -> Option<(&str, &str)> {
    match object {
        Object::Pod(pod) => Some((&pod.namespace, &pod.name)),
        Object::NetworkPolicy(policy) => Some((&policy.namespace, &policy.name)),
        _ => None,
    }
}

/// What is there comes before its list is said to be complete; then what changes, in its order.
fn lists_come_first_and_changes_in_order(server: &dyn Server) {
    let namespace = server.namespace();
    let deny = |ports: Value| json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}]});
    server.apply(idle_pod(namespace, "there"));
    server.apply(policy(namespace, "there", deny(json!([{"port": 80}]))));
    let mut updates = server.watch();
    let first = updates.listed_all();
    for (kind, plural) in [(Watched::Pods, "pods"), (Watched::Policies, "networkpolicies")] {
        let complete = first.iter().position(|update| matches!(update, Update::Listed(k, _) if *k == kind)).unwrap();
        let Update::Listed(_, keys) = &first[complete] else { unreachable!() };
        assert!(keys.contains(&key(namespace, "there")), "{plural}: {keys:?}");
        let ours = |update: &Update| match update {
            Update::Apply(object) => kind_of(object) == Some(kind) && place(object) == Some((namespace, "there")),
            _ => false,
        };
        assert_eq!(
            first[..complete].iter().filter(|update| ours(update)).count(),
            1,
            "{plural}: before it is complete"
        );
    }
    server.apply(idle_pod(namespace, "new"));
    server.delete("pods", "there");
    server.delete("pods", "new");
    server.apply(idle_pod(namespace, "last"));
    // A real cluster adds its own to a pod, such as a condition: those are updates of the same pod.
    let of_ours = |update: &Update| match update {
        Update::Apply(object) => place(object).filter(|(ns, _)| *ns == namespace).map(|(_, name)| format!("+{name}")),
        Update::Delete(_, (ns, name)) if **ns == *namespace => Some(format!("-{name}")),
        _ => None,
    };
    let came = updates.until("the last pod", |update| of_ours(update).as_deref() == Some("+last"));
    let mut order: Vec<String> = came.iter().filter_map(of_ours).collect();
    order.dedup();
    let gone = |name: &str| order.iter().position(|o| *o == format!("-{name}"));
    assert!(gone("there").is_some() && gone("there") < gone("new"), "{order:?}");
    assert!(order.iter().position(|o| o == "+new") < gone("new"), "{order:?}");
    assert!(order.iter().rposition(|o| o == "+new") < gone("new"), "nothing comes of a pod that is gone: {order:?}");

    server.apply(policy(namespace, "there", deny(json!([{"port": 81}, {"port": 8000, "endPort": 8080}]))));
    server.delete("networkpolicies", "there");
    let came = updates
        .until("the policy's end", |update| *update == Update::Delete(Watched::Policies, key(namespace, "there")));
    assert_eq!(
        came.iter().filter_map(of_ours).filter(|o| o.ends_with("there")).collect::<Vec<_>>(),
        ["+there", "-there"]
    );
}

fn kind_of(object: &Object) -> Option<Watched> {
    match object {
        Object::Pod(_) => Some(Watched::Pods),
        Object::NetworkPolicy(_) => Some(Watched::Policies),
        _ => None,
    }
}

struct Imitated(ApiServer);

impl Server for Imitated {
    fn watch(&self) -> Updates {
        Updates::of(&self.0)
    }

    fn apply(&self, object: Value) {
        self.0.apply(object);
    }

    fn delete(&self, plural: &str, name: &str) {
        self.0.delete(plural, "a", name);
    }

    fn namespace(&self) -> &str {
        "a"
    }
}

#[test]
fn the_imitated_server_lists_first_and_tells_changes_in_order() {
    let server =
        Imitated(ApiServer::start(vec![object("v1", "Namespace", None, "a"), object("v1", "Node", None, "n1")]));
    lists_come_first_and_changes_in_order(&server);
}

/// A namespace of a real cluster, which goes away with the test and takes everything with it.
struct Real {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Real {
    fn new() -> Self {
        let asked = std::env::var("NETSIM_REAL_API").is_ok_and(|value| value == "1");
        let kubeconfig = std::env::var_os("KUBECONFIG").filter(|_| asked).map(PathBuf::from);
        let kubeconfig = kubeconfig.expect("this needs a real API server: NETSIM_REAL_API=1 and KUBECONFIG=<one file>");
        let runtime = crate::runtime();
        let client = runtime.block_on(connect(Some(&kubeconfig), None)).unwrap();
        let mut real = Real { runtime, client, kubeconfig, namespace: String::new() };
        let named = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "netsim-test-"}});
        let (status, made) = real.ask("POST", "/api/v1/namespaces", Some(&named));
        assert_eq!(status, 201, "{made}");
        real.namespace = made["metadata"]["name"].as_str().unwrap().to_owned();
        // Before there is one, no pod may be made.
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", real.namespace);
        real.wait("the service account of the namespace", || real.ask("GET", &account, None).0 == 200);
        real
    }

    /// Asks the server: status and body.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(bytes).unwrap();
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(value) => (if method == "POST" { 201 } else { 200 }, value),
            Err(kube::Error::Api(status)) => (status.code, serde_json::to_value(&*status).unwrap()),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// What it says of itself.
    fn version(&self) -> String {
        self.ask("GET", "/version", None).1["gitVersion"].as_str().unwrap_or("?").to_owned()
    }

    /// Whether it keeps the field, which came with Kubernetes 1.22.
    fn knows_end_port(&self) -> bool {
        let spec = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80, "endPort": 90}]}]});
        let path = self.path("networkpolicies");
        let (status, made) = self.ask("POST", &path, Some(&policy(&self.namespace, "end-port", spec)));
        // One that is stricter says that there is no such field.
        status == 201 && made["spec"]["ingress"][0]["ports"][0].get("endPort").is_some()
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let ends = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < ends, "waited in vain for {what}");
            // The server is asked again, and not in a tight loop.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn path(&self, plural: &str) -> String {
        let group = if plural == "pods" { "/api/v1" } else { "/apis/networking.k8s.io/v1" };
        format!("{group}/namespaces/{}/{plural}", self.namespace)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if !self.namespace.is_empty() {
            let (status, answer) = self.ask("DELETE", &format!("/api/v1/namespaces/{}", self.namespace), None);
            if status != 200 {
                eprintln!("the namespace `{}` was not deleted: {answer}", self.namespace);
            }
        }
    }
}

impl Server for Real {
    fn watch(&self) -> Updates {
        Updates::with(self.kubeconfig.clone())
    }

    fn apply(&self, object: Value) {
        let plural = if object["kind"] == "Pod" { "pods" } else { "networkpolicies" };
        let name = object["metadata"]["name"].as_str().unwrap();
        let (mut status, mut answer) = self.ask("POST", &self.path(plural), Some(&object));
        if status == 409 {
            (status, answer) = self.ask("PUT", &format!("{}/{name}", self.path(plural)), Some(&object));
        }
        assert!(status < 300, "{answer}");
    }

    fn delete(&self, plural: &str, name: &str) {
        let path = format!("{}/{name}", self.path(plural));
        let (status, answer) = self.ask("DELETE", &path, Some(&json!({"gracePeriodSeconds": 0})));
        assert_eq!(status, 200, "{answer}");
        self.wait(&format!("the end of {path}"), || self.ask("GET", &path, None).0 == 404);
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }
}

#[test]
#[ignore = "NOT RUN: needs a real API server, see `NETSIM_REAL_API` in CONTRIBUTING.md"]
fn a_real_server_lists_first_and_tells_changes_in_order() {
    lists_come_first_and_changes_in_order(&Real::new());
}

/// What we read of a policy, or that we do not.
fn read(policy: &Value) -> Result<NetworkPolicy, String> {
    let mut ingested = ingest("test", policy.to_string().as_bytes(), "default");
    match ingested.objects.pop() {
        Some(Object::NetworkPolicy(policy)) if !ingested.has_errors() => Ok(policy),
        _ => Err(format!("{:?}", ingested.diagnostics)),
    }
}

/// Specs that a server refuses, and we as well.
fn refused() -> Vec<(&'static str, Value)> {
    let from = |peer: Value| json!({"podSelector": {}, "ingress": [{"from": [peer]}]});
    let ports = |port: Value| json!({"podSelector": {}, "ingress": [{"ports": [port]}]});
    vec![
        ("except-outside", from(json!({"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.1.0/25"]}}))),
        ("except-equal", from(json!({"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.0/24"]}}))),
        ("no-cidr", from(json!({"ipBlock": {"cidr": "10.0.0.0"}}))),
        ("block-and-selector", from(json!({"ipBlock": {"cidr": "10.0.0.0/24"}, "podSelector": {}}))),
        ("empty-peer", from(json!({}))),
        ("named-end-port", ports(json!({"port": "http", "endPort": 90}))),
        ("end-port-alone", ports(json!({"endPort": 90}))),
        ("end-port-below", ports(json!({"port": 90, "endPort": 80}))),
        ("port-range", ports(json!({"port": 65536}))),
        ("protocol", ports(json!({"port": 80, "protocol": "ICMP"}))),
        ("policy-type", json!({"podSelector": {}, "policyTypes": ["Both"]})),
    ]
}

/// Specs whose directions are not said, and what a server says they are.
fn defaulted() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("plain", json!({"podSelector": {}}), json!(["Ingress"])),
        ("ingress", json!({"podSelector": {}, "ingress": [{}]}), json!(["Ingress"])),
        ("egress", json!({"podSelector": {}, "egress": [{}]}), json!(["Ingress", "Egress"])),
        ("empty-egress", json!({"podSelector": {}, "egress": []}), json!(["Ingress"])),
    ]
}

#[test]
fn we_refuse_and_complete_policies_as_real_servers_do() {
    for (name, spec) in refused() {
        assert!(read(&policy("a", name, spec)).is_err(), "{name}");
    }
    for (name, spec, types) in defaulted() {
        let mut whole = spec.clone();
        whole["policyTypes"] = types;
        let (short, whole) = (read(&policy("a", name, spec)).unwrap(), read(&policy("a", name, whole)).unwrap());
        assert_eq!(
            (short.ingress.is_some(), short.egress.is_some()),
            (whole.ingress.is_some(), whole.egress.is_some()),
            "{name}"
        );
    }
}

#[test]
#[ignore = "NOT RUN: needs a real API server, see `NETSIM_REAL_API` in CONTRIBUTING.md"]
fn a_real_server_refuses_and_completes_policies_as_we_do() {
    let real = Real::new();
    let ports = real.knows_end_port();
    let newer = |spec: &Value| !ports && spec.to_string().contains("endPort");
    for (name, spec) in refused() {
        if newer(&spec) {
            eprintln!("LEFT OUT: `{name}`: this API server does not know `endPort` ({})", real.version());
            continue;
        }
        let (status, answer) =
            real.ask("POST", &real.path("networkpolicies"), Some(&policy(&real.namespace, name, spec)));
        assert_eq!(status, 422, "{name}: {answer}");
    }
    for (name, spec, types) in defaulted() {
        let (status, made) =
            real.ask("POST", &real.path("networkpolicies"), Some(&policy(&real.namespace, name, spec)));
        assert_eq!((status, &made["spec"]["policyTypes"]), (201, &types), "{name}: {made}");
        // And what it gives back is read.
        read(&made).unwrap();
    }
}
