//! A real API server: what is asked of it, and what is left of a test in it, which is nothing.

use crate::relay::{Gate, Relay};
use netsim_enforcer::watch::connect;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How long anything may take before a test gives up: the machine may be a busy one.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The namespace that the manifests make.
pub const SYSTEM: &str = "netsim-system";

/// What the manifests make beside it, by the paths of the API. A cluster that has any of it is not
/// ours to work on.
const FIXED: [&str; 6] = [
    "/api/v1/namespaces/netsim-system",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/netsim-enforcer",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/netsim-enforcer",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/netsim-egressdomainpolicies-edit",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/netsim-egressdomainpolicies-view",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/egressdomainpolicies.netsim.dev",
];

/// Whether a cluster may be used. A `KUBECONFIG` that happens to be there is never enough.
pub fn is_asked_for() -> bool {
    std::env::var("NETSIM_REAL_API").is_ok_and(|value| value == "1") && std::env::var_os("KUBECONFIG").is_some()
}

/// What the kubeconfig says, before the network is private.
#[derive(Debug)]
pub struct Target {
    kubeconfig: Value,
    /// Host and port.
    pub address: String,
}

impl Target {
    /// The cluster of `KUBECONFIG`.
    pub fn from_environment() -> Self {
        let shown = Command::new("kubectl")
            .args(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"])
            .output()
            .expect("the program `kubectl`");
        assert!(shown.status.success(), "kubectl config view: {}", String::from_utf8_lossy(&shown.stderr));
        let mut kubeconfig: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        let url: http::Uri = cluster["server"].as_str().expect("a server").parse().expect("a URL");
        let host = url.host().expect("a host").to_owned();
        let tls = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        if tls && cluster.get("tls-server-name").is_none() {
            cluster["tls-server-name"] = host.trim_matches(['[', ']']).into();
        }
        Target { kubeconfig, address: format!("{host}:{port}") }
    }
}

/// A refusal: its code, and what was said.
#[derive(Debug)]
pub struct Refused {
    pub code: u16,
    pub message: String,
}

/// The API server, as one client of it.
pub struct Server {
    runtime: Runtime,
    client: kube::Client,
    /// A kubeconfig that works in the private network.
    pub kubeconfig: PathBuf,
    /// Its context.
    pub context: String,
    /// What the server says of itself.
    pub version: String,
}

impl Server {
    /// Connects, and sees that nothing is there that would be in the way.
    ///
    /// # Panics
    /// If there is, with what to do about it.
    pub fn connect(target: &Target, relay: &Relay, folder: &Path) -> Self {
        let door = relay.door(None, ([127, 0, 0, 1], 0).into(), &Arc::new(Gate::default()));
        let mut kubeconfig = target.kubeconfig.clone();
        let server = &mut kubeconfig["clusters"][0]["cluster"]["server"];
        let url: http::Uri = server.as_str().expect("a server").parse().expect("a URL");
        *server =
            format!("{}://{door}{}", url.scheme_str().unwrap_or("https"), url.path().trim_end_matches('/')).into();
        let path = folder.join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).expect("a file");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let client = runtime.block_on(connect(Some(&path), None)).unwrap_or_else(|e| panic!("{e}"));
        let context = kubeconfig["current-context"].as_str().unwrap_or_default().to_owned();
        let mut server = Server { runtime, client, kubeconfig: path, context, version: String::new() };
        let version = server.get("/version").expect("a version");
        server.version = version["gitVersion"].as_str().unwrap_or("?").to_owned();
        server.refuse_what_is_there();
        server
    }

    fn refuse_what_is_there(&self) {
        let nodes = self.list("/api/v1/nodes");
        assert!(
            nodes.is_empty(),
            "the cluster has nodes, `{}` among them: the enforcer that the manifests deploy would go to work there.\n\
             These tests want an API server with controllers and without nodes; tests/e2e/run starts one.\n\
             If a run of before left them: kubectl delete nodes,namespaces -l netsim.dev/e2e",
            nodes[0]["metadata"]["name"]
        );
        for path in FIXED {
            assert!(self.get(path).is_none(), "{path} is there already: the tests would change and remove it");
        }
    }

    /// Asks for anything.
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: Option<&Value>) -> Result<Value, Refused> {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(bytes).expect("a request");
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(Refused { code: status.code, message: status.message.clone() }),
            Err(error) => Err(Refused { code: 0, message: error.to_string() }),
        }
    }

    /// An object, unless there is none.
    pub fn get(&self, path: &str) -> Option<Value> {
        match self.ask("GET", path, "application/json", None) {
            Ok(object) => Some(object),
            Err(Refused { code: 404, .. }) => None,
            Err(refused) => panic!("GET {path}: {} {}", refused.code, refused.message),
        }
    }

    /// The objects of a list; none where there is no such kind.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Makes an object.
    pub fn create(&self, path: &str, object: &Value) -> Value {
        self.ask("POST", path, "application/json", Some(object)).unwrap_or_else(|e| panic!("POST {path}: {e:?}"))
    }

    /// Changes an object as `kubectl patch --type merge` does.
    pub fn merge(&self, path: &str, change: &Value) -> Value {
        let patched = self.ask("PATCH", path, "application/merge-patch+json", Some(change));
        patched.unwrap_or_else(|e| panic!("PATCH {path}: {e:?}"))
    }

    /// Removes an object at once; nothing if it is gone already.
    pub fn delete(&self, path: &str) {
        let now = json!({"gracePeriodSeconds": 0});
        match self.ask("DELETE", path, "application/json", Some(&now)) {
            Ok(_) | Err(Refused { code: 404, .. }) => {}
            Err(refused) => panic!("DELETE {path}: {refused:?}"),
        }
    }

    /// Nothing of what the manifests make is there any more.
    pub fn assert_nothing_left(&self) {
        eventually("the end of what the manifests made", || {
            let left: Vec<_> = FIXED.iter().filter(|path| self.get(path).is_some()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are there")) }
        });
    }

    /// Takes out what the manifests and the tests have made: namespaces and nodes by their label.
    pub fn clear(&self, id: &str) {
        let selector = format!("labelSelector=netsim.dev/e2e%3D{id}");
        let mut namespaces: Vec<String> = vec![SYSTEM.to_owned()];
        for namespace in self.list(&format!("/api/v1/namespaces?{selector}")) {
            namespaces.extend(namespace["metadata"]["name"].as_str().map(str::to_owned));
        }
        for daemon_set in self.list(&format!("/apis/apps/v1/namespaces/{SYSTEM}/daemonsets")) {
            let name = daemon_set["metadata"]["name"].as_str().unwrap_or_default();
            self.delete(&format!("/apis/apps/v1/namespaces/{SYSTEM}/daemonsets/{name}"));
        }
        for path in &FIXED[1..] {
            self.delete(path);
        }
        for namespace in &namespaces {
            self.delete(&format!("/api/v1/namespaces/{namespace}"));
        }
        // A pod of a node waits for its kubelet, which may be gone.
        eventually("the end of the namespaces", || {
            for namespace in &namespaces {
                for pod in self.list(&format!("/api/v1/namespaces/{namespace}/pods")) {
                    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                    self.delete(&format!("/api/v1/namespaces/{namespace}/pods/{name}"));
                }
            }
            let left: Vec<_> =
                namespaces.iter().filter(|n| self.get(&format!("/api/v1/namespaces/{n}")).is_some()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are there")) }
        });
        for node in self.list(&format!("/api/v1/nodes?{selector}")) {
            self.delete(&format!("/api/v1/nodes/{}", node["metadata"]["name"].as_str().unwrap_or_default()));
        }
    }
}

/// Waits until something is so. There is nothing to be told by but the answer itself.
///
/// # Panics
/// If that takes too long, with what it is instead.
pub fn eventually<T>(what: &str, mut is_so: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match is_so() {
            Ok(value) => return value,
            Err(instead) => assert!(Instant::now() < deadline, "waited in vain for {what}: {instead}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
