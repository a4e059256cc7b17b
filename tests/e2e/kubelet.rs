//! Kubelets for the nodes of a fabric: they run what the API server says is to run on their nodes,
//! and tell it how that goes. One thread does it for all of them.
//!
//! What they do not do: no seccomp profile, no limits of memory and CPU, no AppArmor, and all
//! images are the one that `deploy/image/collect.sh` makes, under whatever tag.

use crate::container::{OUTER, Plan, inside};
use crate::pod::{self, Image, Node, Probe};
use crate::relay::{Gate, Relay};
use crate::server::{SYSTEM, Server, eventually};
use netsim_shared::net::Family;
use netsim_testkit::command::{root, text_of};
use netsim_testkit::netns::{Fabric, Place};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often it looks. Probes are asked as often, whatever their period: a test is in a hurry.
const TICK: Duration = Duration::from_millis(100);
/// How long a container that ended stays ended.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How often a node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(8);

/// The kubelets of all nodes, until this is dropped.
pub struct Kubelets {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Cuts the nodes off from the API server.
    pub gate: Arc<Gate>,
    /// Where the logs of all containers are: `NAMESPACE.POD.CONTAINER.log`.
    pub logs: PathBuf,
}

struct Loop {
    server: Arc<Server>,
    nodes: BTreeMap<String, Place>,
    folder: PathBuf,
    image: Image,
    service: (String, String),
    pods: BTreeMap<String, Pod>,
    beaten: Option<Instant>,
}

/// A pod that was started.
struct Pod {
    name: String,
    node: String,
    object: Value,
    /// Of the containers that have to end first, how many have.
    initialized: usize,
    init: Container,
    containers: Vec<Container>,
    ending: Option<Instant>,
    told: Value,
}

/// A container of a pod, which may be running.
#[derive(Default)]
struct Container {
    process: Option<(Child, PathBuf)>,
    restarts: u32,
    ended: Option<Instant>,
    failing: Option<Instant>,
    started: bool,
    ready: bool,
}

impl Kubelets {
    /// Begins.
    pub fn start(server: &Arc<Server>, fabric: &Fabric, relay: &Relay, folder: &Path) -> Self {
        let gate = Arc::new(Gate::default());
        let service = eventually("the Service default/kubernetes", || {
            server.get("/api/v1/namespaces/default/services/kubernetes").ok_or_else(|| "it is not there".to_owned())
        });
        let address = service["spec"]["clusterIP"].as_str().expect("an address").to_owned();
        let port = service["spec"]["ports"][0]["port"].as_u64().expect("a port");
        let at = SocketAddr::new(address.parse().expect("an address"), u16::try_from(port).expect("a port"));
        let nodes: BTreeMap<String, Place> = fabric.nodes().into_iter().map(|n| (n.name().to_owned(), n)).collect();
        for (name, place) in &nodes {
            let added = place.exec(|| Command::new("ip").args(["addr", "add", &address, "dev", "lo"]).status());
            assert!(added.is_ok_and(|status| status.success()), "no address of the API server in {name}");
            relay.door(Some(place), at, &gate);
            node_root(&folder.join("nodes").join(name));
        }
        for part in ["containers", "logs", "pods"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        let mut kubelets = Loop {
            server: Arc::clone(server),
            nodes,
            folder: folder.to_owned(),
            image: make_image(folder),
            service: (address, port.to_string()),
            pods: BTreeMap::new(),
            beaten: None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                kubelets.turn();
                thread::sleep(TICK);
            }
        });
        Kubelets { stop, thread: Some(thread), gate, logs: folder.join("logs") }
    }

    /// All that the containers have logged so far.
    pub fn log(&self) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(&self.logs).expect("the logs").flatten() {
            all.push_str(&fs::read_to_string(entry.path()).expect("a log"));
        }
        all
    }

    /// Whether the thread is at work: it ends by itself only by a panic.
    pub fn assert_alive(&self) {
        assert!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the kubelets have ended");
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It has told why.
            _ = thread.join();
        }
    }
}

/// The root folder of a node, as far as pods can see it.
fn node_root(folder: &Path) {
    for part in ["proc", "run", "var/lib"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    let flags = nix::mount::MsFlags::MS_BIND | nix::mount::MsFlags::MS_REC;
    let none = None::<&str>;
    nix::mount::mount(Some("/proc"), &folder.join("proc"), none, flags, none).expect("/proc of a node");
}

/// The image, made as the Dockerfile makes it.
fn make_image(folder: &Path) -> Image {
    let image = folder.join("image");
    let made = Command::new(root().join("deploy/image/collect.sh"))
        .arg(env!("CARGO_BIN_EXE_netsim-enforcer"))
        .arg(&image)
        .output()
        .expect("deploy/image/collect.sh");
    assert!(made.status.success(), "deploy/image/collect.sh: {}", String::from_utf8_lossy(&made.stderr));
    for part in ["proc", "sys", "dev", "etc"] {
        fs::create_dir_all(image.join(part)).expect("a folder");
    }
    Image::read(image, &text_of("deploy/Dockerfile"))
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The time as the API writes it.
pub fn now() -> String {
    k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Loop {
    fn turn(&mut self) {
        if self.beaten.is_none_or(|at| at.elapsed() > HEARTBEAT) {
            self.beat();
        }
        let objects = self.server.list(&format!("/api/v1/namespaces/{SYSTEM}/pods"));
        let mut there = Vec::new();
        for object in objects {
            let uid = text(&object, "/metadata/uid").to_owned();
            let Some(node) = pod::node_of(&object).filter(|node| self.nodes.contains_key(*node)) else { continue };
            if text(&object, "/spec/nodeName").is_empty() {
                self.bind(&object, node);
                continue;
            }
            if !self.pods.contains_key(&uid) {
                if object["metadata"].get("deletionTimestamp").is_some() {
                    self.forget(&object);
                    continue;
                }
                let pod = Pod {
                    name: text(&object, "/metadata/name").to_owned(),
                    node: node.to_owned(),
                    initialized: 0,
                    init: Container::default(),
                    containers: list(&object["spec"]["containers"]).iter().map(|_| Container::default()).collect(),
                    ending: None,
                    told: Value::Null,
                    object: object.clone(),
                };
                self.pods.insert(uid.clone(), pod);
            }
            there.push(uid.clone());
            let mut pod = self.pods.remove(&uid).expect("it was put there");
            let over = if object["metadata"].get("deletionTimestamp").is_some() {
                self.end(&mut pod, &object)
            } else {
                self.go_on(&mut pod);
                false
            };
            if over {
                self.forget(&object);
            } else {
                self.pods.insert(uid, pod);
            }
        }
        // Deleted by force.
        self.pods.retain(|uid, _| there.contains(uid));
    }

    /// Each node says that it lives and is ready.
    fn beat(&mut self) {
        for (name, place) in &self.nodes {
            let addresses = place.addresses();
            let mut all: Vec<Value> =
                addresses.iter().map(|a| json!({"type": "InternalIP", "address": a.to_string()})).collect();
            all.push(json!({"type": "Hostname", "address": name}));
            let room = json!({"pods": "110", "cpu": "4", "memory": "8Gi"});
            let ready = json!({
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                "lastHeartbeatTime": now(), "lastTransitionTime": now(),
            });
            let status =
                json!({"status": {"addresses": all, "conditions": [ready], "capacity": room, "allocatable": room}});
            let path = format!("/api/v1/nodes/{name}/status");
            if let Err(refused) = self.server.ask("PATCH", &path, "application/merge-patch+json", Some(&status)) {
                // It may be about to go.
                assert!([404, 409].contains(&refused.code), "{name} cannot tell that it lives: {refused:?}");
            }
        }
        self.beaten = Some(Instant::now());
    }

    /// What a scheduler does for a DaemonSet; where there is one, it may have been faster.
    fn bind(&self, pod: &Value, node: &str) {
        let name = text(pod, "/metadata/name");
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": SYSTEM},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}/binding");
        if let Err(refused) = self.server.ask("POST", &path, "application/json", Some(&binding)) {
            assert!([404, 409].contains(&refused.code), "a pod is not bound: {refused:?}");
        }
    }

    /// Says that a pod is gone.
    fn forget(&self, pod: &Value) {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}", text(pod, "/metadata/name"));
        let uid = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}});
        if let Err(refused) = self.server.ask("DELETE", &path, "application/json", Some(&uid)) {
            assert!([404, 409].contains(&refused.code), "a pod is not forgotten: {refused:?}");
        }
    }

    /// Ends a pod, gently first; whether it has ended.
    fn end(&self, pod: &mut Pod, object: &Value) -> bool {
        let first = pod.ending.is_none();
        let began = *pod.ending.get_or_insert_with(Instant::now);
        let grace = Duration::from_secs(object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30));
        let mut running = false;
        for container in pod.containers.iter_mut().chain([&mut pod.init]) {
            if container.has_ended().is_some() {
                continue;
            }
            if first {
                container.signal(rustix::process::Signal::TERM);
            } else if began.elapsed() > grace {
                container.signal(rustix::process::Signal::KILL);
            }
            running |= container.process.is_some();
        }
        !running
    }

    fn go_on(&self, pod: &mut Pod) {
        let init = list(&pod.object["spec"]["initContainers"]).to_vec();
        if pod.initialized < init.len() {
            match pod.init.has_ended() {
                Some(0) => {
                    pod.init = Container::default();
                    pod.initialized += 1;
                }
                Some(_) => pod.init.restarts += 1,
                None => {}
            }
            if let Some(next) = init.get(pod.initialized) {
                self.start(&pod.object, next, &mut pod.init, &pod.node);
            }
        }
        let containers = list(&pod.object["spec"]["containers"]).to_vec();
        if pod.initialized == init.len() {
            for (spec, container) in containers.iter().zip(&mut pod.containers) {
                if container.has_ended().is_some() {
                    container.restarts += 1;
                }
                self.start(&pod.object, spec, container, &pod.node);
                self.ask(spec, container, &pod.node);
            }
        }
        let status = self.status(pod, init.len(), &containers);
        if status != pod.told {
            let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}/status", pod.name);
            let kind = "application/strategic-merge-patch+json";
            // It is told again when somebody else was faster.
            if self.server.ask("PATCH", &path, kind, Some(&json!({"status": status}))).is_ok() {
                pod.told = status;
            }
        }
    }

    fn start(&self, pod: &Value, spec: &Value, container: &mut Container, node: &str) {
        if container.process.is_some() || container.ended.is_some_and(|at| at.elapsed() < BACK_OFF) {
            return;
        }
        let (name, place) = (text(pod, "/metadata/name"), &self.nodes[node]);
        let address = address(place).to_string();
        let volume = |volume: &Value| self.volume(pod, volume, node);
        let around = Node {
            image: &self.image,
            address: &address,
            service: (&self.service.0, &self.service.1),
            volume: &volume,
        };
        let plan = pod::plan(pod, spec, &around);
        for mount in &plan.mounts {
            let target = inside(&plan.root, &mount.target);
            fs::create_dir_all(&target).unwrap_or_else(|e| panic!("{}: {e}", target.display()));
        }
        let stem = format!("{SYSTEM}.{name}.{}", text(spec, "/name"));
        let file = self.folder.join("containers").join(format!("{stem}.plan"));
        write(&file, &plan);
        let log = self.folder.join("logs").join(format!("{stem}.log"));
        let log = || File::options().create(true).append(true).open(&log).expect("a log");
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.arg(OUTER).arg(&file).stdin(Stdio::piped()).stdout(log()).stderr(log());
        let pid = file.with_extension("pid");
        _ = fs::remove_file(&pid);
        let child = place.spawn(&mut command).expect("this program again");
        container.process = Some((child, pid));
        (container.failing, container.ended, container.started, container.ready) = (None, None, false, false);
    }

    /// The folder of a volume.
    fn volume(&self, pod: &Value, volume: &Value, node: &str) -> PathBuf {
        let name = text(volume, "/name");
        let own = self.folder.join("pods").join(text(pod, "/metadata/uid")).join(name);
        if let Some(path) = volume.pointer("/hostPath/path").and_then(Value::as_str) {
            let folder = inside(&self.folder.join("nodes").join(node), Path::new(path));
            match text(volume, "/hostPath/type") {
                "DirectoryOrCreate" | "" => fs::create_dir_all(&folder).expect("a folder"),
                "Directory" => assert!(folder.is_dir(), "there is no `{path}` on `{node}`"),
                other => panic!("the tests do not know hostPaths of type `{other}`"),
            }
            return folder;
        }
        fs::create_dir_all(&own).expect("a folder");
        if volume.get("emptyDir").is_some() {
        } else if let Some(secret) = volume.pointer("/secret/secretName").and_then(Value::as_str) {
            self.secret(secret, &own);
        } else if let Some(sources) = volume.pointer("/projected/sources") {
            for source in list(sources) {
                self.project(pod, source, &own);
            }
        } else {
            panic!("the tests do not know the volume {volume}");
        }
        own
    }

    fn secret(&self, name: &str, folder: &Path) {
        let secret = self.server.get(&format!("/api/v1/namespaces/{SYSTEM}/secrets/{name}"));
        let secret = secret.unwrap_or_else(|| panic!("there is no secret `{name}`"));
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let bytes = decode(value.as_str().unwrap_or_default());
            fs::write(folder.join(key), bytes).expect("a file");
        }
    }

    fn project(&self, pod: &Value, source: &Value, folder: &Path) {
        if let Some(token) = source.get("serviceAccountToken") {
            let account = text(pod, "/spec/serviceAccountName");
            let bound = json!({
                "apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
            });
            let seconds = token["expirationSeconds"].as_u64().unwrap_or(3600);
            let request = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": {"expirationSeconds": seconds, "boundObjectRef": bound},
            });
            let path = format!("/api/v1/namespaces/{SYSTEM}/serviceaccounts/{account}/token");
            let made = self.server.create(&path, &request);
            fs::write(folder.join(text(token, "/path")), text(&made, "/status/token")).expect("a file");
        } else if let Some(map) = source.get("configMap") {
            let path = format!("/api/v1/namespaces/{SYSTEM}/configmaps/{}", text(map, "/name"));
            let found = self.server.get(&path).unwrap_or_else(|| panic!("there is no {path}"));
            for item in list(&map["items"]) {
                let text = found["data"][text(item, "/key")].as_str().unwrap_or_default().to_owned();
                fs::write(folder.join(self::text(item, "/path")), text).expect("a file");
            }
        } else if let Some(downward) = source.get("downwardAPI") {
            for item in list(&downward["items"]) {
                assert_eq!(item["fieldRef"]["fieldPath"], "metadata.namespace", "the tests do not know {item}");
                fs::write(folder.join(text(item, "/path")), SYSTEM).expect("a file");
            }
        } else {
            panic!("the tests do not know the source {source}");
        }
    }

    /// Asks a container for its health, and kills it where that says so.
    fn ask(&self, spec: &Value, container: &mut Container, node: &str) {
        if container.process.is_none() {
            return;
        }
        let place = &self.nodes[node];
        let address = address(place).to_string();
        let asked = |name: &str| {
            let probe = pod::probe(spec, name, &address)?;
            Some((place.exec(|| is_well(&probe)), probe.patience))
        };
        let (kind, live) = if container.started { ("livenessProbe", true) } else { ("startupProbe", false) };
        match asked(kind) {
            Some((false, patience)) => {
                if container.failing.get_or_insert_with(Instant::now).elapsed() > patience {
                    container.signal(rustix::process::Signal::KILL);
                }
                container.ready &= live;
                if !live {
                    return;
                }
            }
            Some((true, _)) | None => (container.failing, container.started) = (None, true),
        }
        container.ready = asked("readinessProbe").is_none_or(|(well, _)| well);
    }

    fn status(&self, pod: &Pod, init: usize, containers: &[Value]) -> Value {
        let initialized = pod.initialized == init;
        let ready = initialized && pod.containers.iter().all(|c| c.ready && c.process.is_some());
        let running = initialized && pod.containers.iter().any(|c| c.process.is_some());
        let told_at = |kind: &str, value: &str| {
            // It is the time of the change that is told, not of the telling.
            let before = list(&pod.told["conditions"]).iter().find(|c| c["type"] == kind && c["status"] == value);
            before.map_or_else(|| json!(now()), |c| c["lastTransitionTime"].clone())
        };
        let condition = |kind: &str, is: bool| {
            let value = if is { "True" } else { "False" };
            json!({"type": kind, "status": value, "lastTransitionTime": told_at(kind, value)})
        };
        let began = |index: usize| pod.told["containerStatuses"][index]["state"]["running"]["startedAt"].clone();
        let statuses: Vec<Value> = containers
            .iter()
            .zip(&pod.containers)
            .enumerate()
            .map(|(index, (spec, container))| {
                let at = Some(began(index)).filter(Value::is_string).unwrap_or_else(|| json!(now()));
                let state = match container.process {
                    Some(_) => json!({"running": {"startedAt": at}, "waiting": null}),
                    None => json!({"waiting": {"reason": "PodInitializing"}, "running": null}),
                };
                json!({
                    "name": spec["name"], "image": spec["image"], "imageID": "", "ready": container.ready,
                    "started": container.started, "restartCount": container.restarts, "state": state,
                })
            })
            .collect();
        let address = address(&self.nodes[&pod.node]).to_string();
        json!({
            "phase": if running { "Running" } else { "Pending" },
            "conditions": [
                condition("Initialized", initialized), condition("Ready", ready), condition("ContainersReady", ready),
                condition("PodScheduled", true),
            ],
            "hostIP": address, "podIP": address, "podIPs": [{"ip": address}],
            "startTime": pod.told["startTime"].as_str().map_or_else(now, str::to_owned),
            "containerStatuses": statuses,
        })
    }
}

/// The address that a node is known by.
fn address(place: &Place) -> IpAddr {
    place.address(Family::V4).expect("nodes have both families")
}

fn write(file: &Path, plan: &Plan) {
    fs::write(file, serde_json::to_vec(plan).expect("JSON")).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

/// Base64, by the program that every node has.
fn decode(text: &str) -> Vec<u8> {
    let mut child =
        Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("base64");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("to be read");
    child.wait_with_output().expect("base64").stdout
}

/// Asks over HTTP, from where a kubelet does.
fn is_well(probe: &Probe) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&probe.at, probe.timeout)?;
        stream.set_read_timeout(Some(probe.timeout))?;
        write!(stream, "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", probe.path, probe.at)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask()
        .is_ok_and(|answer| answer.split(' ').nth(1).is_some_and(|code| code.starts_with('2') || code.starts_with('3')))
}

impl Container {
    /// Its exit code, once, when it has ended.
    fn has_ended(&mut self) -> Option<i32> {
        let (child, _) = self.process.as_mut()?;
        let status = child.try_wait().expect("a child")?;
        self.process = None;
        (self.ended, self.ready, self.started) = (Some(Instant::now()), false, false);
        Some(status.code().unwrap_or(137))
    }

    /// Sends a signal to process 1 of it.
    fn signal(&self, signal: rustix::process::Signal) {
        let Some((_, file)) = &self.process else { return };
        let pid = fs::read_to_string(file).ok().and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself.
            _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.process.take() {
            // Its end closes what ties process 1 to it.
            _ = child.kill();
            _ = child.wait();
        }
    }
}
