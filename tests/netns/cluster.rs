//! A cluster in motion: the API server of the testkit, pods and nodes of the fabric, and on each node
//! the agent as it is shipped, a process of its own.

use netsim_shared::net::Family;
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::netns::{Fabric, Layout, Place, Wiring};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The cluster.
pub struct Cluster {
    pub fabric: Fabric,
    pub api: ApiServer,
    pub agents: BTreeMap<String, Agent>,
    kubeconfig: PathBuf,
    options: Vec<String>,
}

/// The program as it is shipped.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_netsim-enforcer"))
}

/// A namespace.
pub fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A policy; `spec` as it stands in manifests.
pub fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

/// A running pod.
pub fn pod(namespace: &str, name: &str, labels: Value, node: &str, addresses: &[IpAddr]) -> Value {
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": addresses[0].to_string(), "podIPs": ips},
    })
}

/// A node whose pods have addresses as in [`Layout::grid`].
fn node(n: usize, place: &Place) -> Value {
    let addresses: Vec<Value> =
        place.addresses().iter().map(|a| json!({"type": "InternalIP", "address": a.to_string()})).collect();
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": place.name()},
        "spec": {"podCIDR": format!("10.244.{n}.0/24"), "podCIDRs": [format!("10.244.{n}.0/24"), format!("fd00:244:{n:x}::/48")]},
        "status": {"addresses": addresses},
    })
}

impl Cluster {
    /// Nodes and pods as [`Layout::grid`] makes them: `pod-N-P` of namespace `x` with the labels
    /// `app: pod-N-P`. No agent runs yet.
    pub fn new(nodes: u8, pods: u8, wiring: Wiring, options: &[&str]) -> Self {
        let fabric = Fabric::build(&Layout::grid(nodes, pods, wiring));
        let mut objects = vec![namespace("x", json!({"team": "x"})), namespace("y", json!({}))];
        for (n, place) in (1..).zip(fabric.nodes()) {
            objects.push(node(n, &place));
            for p in 1..=pods {
                let name = format!("pod-{n}-{p}");
                let addresses = fabric.pod(&name).addresses();
                objects.push(pod("x", &name, json!({"app": name}), place.name(), &addresses));
            }
        }
        let api = ApiServer::start(objects);
        let port = api.url().rsplit(':').next().unwrap_or_default().to_owned();
        let kubeconfig = std::env::temp_dir().join(format!("netsim-netns-{}-{port}.yaml", std::process::id()));
        std::fs::write(&kubeconfig, api.kubeconfig()).expect("a temporary file");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Cluster { fabric, api, agents: BTreeMap::new(), kubeconfig, options }
    }

    /// The same with an agent on every node, all of them ready.
    pub fn running(nodes: u8, pods: u8, wiring: Wiring, options: &[&str]) -> Self {
        let mut cluster = Self::new(nodes, pods, wiring, options);
        cluster.start_agents();
        cluster
    }

    /// Starts an agent on every node and waits until they are ready.
    pub fn start_agents(&mut self) {
        let names: Vec<String> = self.fabric.nodes().iter().map(|node| node.name().to_owned()).collect();
        for name in names {
            let agent = self.agent(&name);
            self.agents.insert(name, agent);
        }
        self.agents.values().for_each(Agent::wait_ready);
    }

    /// Starts an agent, and does not wait for anything.
    pub fn agent(&self, node: &str) -> Agent {
        self.agent_logging(node, "info,netsim_enforcer=debug")
    }

    /// The same with a choice of what it logs. [`Self::change`] needs that of [`Self::agent`].
    pub fn agent_logging(&self, node: &str, filter: &str) -> Agent {
        Agent::start(self.command(node, filter))
    }

    /// The same with more options, or with surroundings of its own.
    pub fn agent_with(&self, node: &str, prepare: impl FnOnce(&mut Command)) -> Agent {
        let mut command = self.command(node, "info,netsim_enforcer=debug");
        prepare(&mut command);
        Agent::start(command)
    }

    fn command(&self, node: &str, filter: &str) -> Command {
        let mut command = program();
        command.args(["run", "--node-name", node, "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--log", filter]);
        if !self.options.iter().any(|option| option == "--verify-interval") {
            command.args(["--verify-interval", "200ms"]);
        }
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--netns").arg(self.fabric.node(node).netns_path());
        let socket = self.socket(node);
        command.arg("--socket").arg(&socket);
        command.args(&self.options);
        command
    }

    /// How the API server is reached.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the agent of a node is asked.
    pub fn socket(&self, node: &str) -> PathBuf {
        self.kubeconfig.with_extension(format!("{node}.sock"))
    }

    /// Whether the kernel of a node holds what a fresh render of the cluster says, by the command `verify`; if not,
    /// what differs.
    pub fn verify(&self, node: &str, options: &[&str]) -> Result<(), String> {
        let mut command = program();
        command.args(["verify", "--node-name", node]).args(options);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--netns").arg(self.fabric.node(node).netns_path());
        let output = command.output().expect("the program");
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
    }

    /// Makes a change and waits until the agents of these nodes have it in the kernel. Gives a time
    /// at which it was there.
    pub fn change(&self, nodes: &[&str], change: impl FnOnce(&ApiServer)) -> Instant {
        let before: Vec<usize> = nodes.iter().map(|node| self.agents[*node].programmed()).collect();
        change(&self.api);
        for (node, before) in nodes.iter().zip(before) {
            self.agents[*node].wait_programmed(before + 1);
        }
        Instant::now()
    }

    pub fn pod(&self, name: &str) -> Place {
        self.fabric.pod(name)
    }

    /// Where a pod listens.
    pub fn at(&self, pod: &str, family: Family, port: u16) -> SocketAddr {
        self.fabric.pod(pod).at(family, port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.agents.clear();
        _ = std::fs::remove_file(&self.kubeconfig);
        for node in self.fabric.nodes() {
            _ = std::fs::remove_file(self.socket(node.name()));
        }
    }
}

/// A line of an agent's log.
#[derive(Debug, Clone)]
pub struct Line {
    pub message: String,
    pub level: String,
    pub fields: Value,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<Line>, bool)>,
    grown: Condvar,
}

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    log: Arc<Log>,
}

impl Agent {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the agent's program");
        let log = Arc::new(Log::default());
        let (stderr, reader) = (child.stderr.take().expect("a pipe"), Arc::clone(&log));
        std::thread::spawn(move || {
            for text in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = parse(&text);
                reader.lines.lock().unwrap_or_else(PoisonError::into_inner).0.push(line);
                reader.grown.notify_all();
            }
            reader.lines.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            reader.grown.notify_all();
        });
        Agent { child, log }
    }

    /// Waits until its log is as wanted.
    ///
    /// # Panics
    /// If that takes too long, or it ended before, with the log.
    pub fn wait_log<T>(&self, what: &str, wanted: impl Fn(&[Line]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = wanted(&lines.0) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                panic!("the agent's log does not show {what}:\n{}", text(&lines.0));
            }
            lines = self.log.grown.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a message that contains a text.
    pub fn wait_message(&self, text: &str) -> Line {
        self.wait_log(text, |lines| lines.iter().find(|line| line.message.contains(text)).cloned())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        text(&self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// How many changes went into the kernel.
    pub fn programmed(&self) -> usize {
        count(&self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Waits until so many changes went into the kernel.
    pub fn wait_programmed(&self, wanted: usize) {
        self.wait_log(&format!("{wanted} changes in the kernel"), |lines| (count(lines) >= wanted).then_some(()));
    }

    /// Where it serves metrics and health.
    pub fn address(&self) -> SocketAddr {
        let line = self.wait_message("starting");
        let address = line.fields["address"].as_str().expect("an address").parse();
        address.expect("an address")
    }

    /// Asks it over HTTP: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address()).expect("the agent listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        (status, body.to_owned())
    }

    /// Waits until `/readyz` answers so.
    pub fn wait_status(&self, wanted: u16) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get("/readyz");
            if status == wanted {
                return body;
            }
            assert!(Instant::now() < deadline, "/readyz is {status}, not {wanted}: {body}");
            // There is nothing to be told by but the answer itself.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it is ready.
    pub fn wait_ready(&self) {
        self.wait_message("the table is in place");
        self.wait_status(200);
    }

    /// The value of a metric, of all its labels together.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let lines = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
        let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "no metric `{name}` in\n{text}");
        values.iter().sum()
    }

    /// Waits until a metric has at least this value.
    pub fn wait_metric(&self, name: &str, least: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(name) < least {
            assert!(Instant::now() < deadline, "{name} is {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running agent");
        self.child.wait().expect("its end");
    }

    /// SIGTERM, and its exit code.
    pub fn terminate(&mut self) -> i32 {
        self.ask_to_end();
        self.wait_end()
    }

    /// SIGTERM, and nothing is waited for.
    pub fn ask_to_end(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a running agent");
    }

    /// Waits for its end; its exit code.
    pub fn wait_end(&mut self) -> i32 {
        self.child.wait().expect("its end").code().expect("no signal ended it")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn text(lines: &[Line]) -> String {
    let lines: Vec<String> = lines.iter().map(|l| format!("{} {} {}", l.level, l.message, l.fields)).collect();
    lines.join("\n")
}

fn count(lines: &[Line]) -> usize {
    lines.iter().filter(|line| line.message == "programmed").count()
}

fn parse(text: &str) -> Line {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({"message": text}));
    let fields = value.get("fields").cloned().unwrap_or_else(|| value.clone());
    let string = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    Line { message: string(fields.get("message")), level: string(value.get("level")), fields }
}
