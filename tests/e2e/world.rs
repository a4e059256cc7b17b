//! A cluster for a test: nodes and pods as network namespaces and as objects of the API server, the
//! kubelets, and the two that have to agree: `netsim`, who reads the cluster, and packets.

use crate::kubelet::{Kubelets, now};
use crate::relay::Relay;
use crate::server::{PATIENCE, SYSTEM, Server, Target, eventually};
use crate::shell::{Printed, Shell};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::command::Scratch;
use netsim_testkit::netns::{
    self, Counter, Fabric, Layout, Outcome, Packets, Place, Probe, Prober, Storm, Try, Wiring,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The port that all pods listen on.
pub const PORT: u16 = 80;

/// The longest that something allowed may be lost while only an agent comes or goes: its rules stay,
/// so this is what a busy machine does by itself.
pub const NO_OUTAGE: Duration = Duration::from_millis(1000);

/// What nodes with a bridge have set at boot, or let the component `bridge` set.
pub const BRIDGE: [&str; 3] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
    "/proc/sys/net/bridge/bridge-nf-filter-vlan-tagged",
];

struct Outside {
    target: Target,
    relay: Relay,
    _folder: Scratch,
}

static OUTSIDE: OnceLock<Outside> = OnceLock::new();

/// Leaves the network of the machine, but for the way to the API server. First thing in `main`.
pub fn go_private() {
    let folder = Scratch::new();
    let target = Target::from_environment();
    let relay = Relay::start(folder.path(), &target.address);
    netns::enter();
    assert!(OUTSIDE.set(Outside { target, relay, _folder: folder }).is_ok(), "twice");
}

/// A pod of a test.
#[derive(Debug, Clone)]
pub struct Member {
    /// The short name of its namespace.
    pub namespace: String,
    /// Its name, which is that of its place, too.
    pub name: String,
}

/// The cluster. Dropping it leaves nothing in the API server.
pub struct World {
    pub kubelets: Kubelets,
    pub fabric: Fabric,
    pub shell: Shell,
    pub server: Arc<Server>,
    /// What sets apart all names of this test from those of others.
    pub id: String,
    pub members: Vec<Member>,
    /// Of which families the server holds addresses of pods.
    pub families: Vec<Family>,
    /// Of which families it holds ranges of nodes: only where pods may be is known, all others are closed.
    ranges: Vec<Family>,
    _clear: Clear,
    pub folder: Scratch,
}

struct Clear(Arc<Server>, String);

impl Drop for Clear {
    fn drop(&mut self) {
        // As it stands when a test failed, too.
        self.0.clear(&self.1);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.kubelets.log();
            let last: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("the last lines of containers:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            let pods = self.shell.run("kubectl -n netsim-system describe pods");
            eprintln!("{}", pods.out);
        }
    }
}

impl World {
    /// Two nodes, the first with routed pods and the second with a bridge, and five pods in the
    /// namespaces `shop` and `lab`. No enforcer runs yet.
    pub fn new(what: &str) -> Self {
        let outside = OUTSIDE.get().expect("to have gone private");
        let folder = Scratch::new();
        let server = Arc::new(Server::connect(&outside.target, &outside.relay, folder.path()));
        println!("{what}: against a real API server {}", server.version);
        let id = format!("{:x}-{:x}", std::process::id(), Instant::now().elapsed().subsec_nanos());
        let id = format!("{id}{}", what.len());
        let clear = Clear(Arc::clone(&server), id.clone());
        let node = |n: u8| format!("netsim-e2e-{id}-{n}");
        let layout = Layout::new().node(node(1), Wiring::Routed).node(node(2), Wiring::Bridged);
        let fabric = Fabric::build(&layout);
        let mut ranges = Family::ALL.to_vec();
        for n in [1, 2] {
            let kept = server.create("/api/v1/nodes", &json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {
                    "name": node(n),
                    "labels": {"netsim.dev/e2e": id, "kubernetes.io/os": "linux", "kubernetes.io/hostname": node(n)},
                },
                "spec": {"podCIDR": format!("10.244.{n}.0/24"),
                    "podCIDRs": [format!("10.244.{n}.0/24"), format!("fd00:244:{n:x}::/64")]},
            }));
            if kept["spec"]["podCIDRs"].as_array().map_or(0, Vec::len) < 2 {
                ranges = vec![Family::V4];
            }
        }
        if ranges.len() < 2 {
            println!("LEFT OUT: IPv6 of new pods: this API server keeps one range of a node only");
        }
        let bridged = fabric.node(&node(2));
        bridged.exec(|| BRIDGE.iter().try_for_each(|setting| std::fs::write(setting, "1"))).expect("settings");
        let kubelets = Kubelets::start(&server, &fabric, &outside.relay, folder.path());
        let shell = Shell::new(&server, folder.path());
        let mut world = World {
            kubelets,
            fabric,
            shell,
            server,
            id,
            members: Vec::new(),
            families: vec![Family::V4],
            ranges,
            _clear: clear,
            folder,
        };
        world.namespace("shop", &json!({"team": "shop"}));
        world.namespace("lab", &json!({"team": "lab"}));
        world.add("shop", "web", 1, 1);
        world.add("shop", "client", 1, 2);
        world.add("shop", "db", 2, 1);
        world.add("shop", "job", 2, 2);
        world.add("lab", "visitor", 1, 3);
        world
    }

    /// The name of a namespace in the cluster.
    pub fn ns(&self, name: &str) -> String {
        format!("netsim-e2e-{}-{name}", self.id)
    }

    pub fn node(&self, n: u8) -> Place {
        self.fabric.node(&format!("netsim-e2e-{}-{n}", self.id))
    }

    /// Makes a namespace that pods may be made in.
    pub fn namespace(&self, name: &str, labels: &Value) {
        let mut labels = labels.clone();
        labels["netsim.dev/e2e"] = self.id.clone().into();
        labels["kubernetes.io/metadata.name"] = self.ns(name).into();
        let metadata = json!({"name": self.ns(name), "labels": labels});
        self.server
            .create("/api/v1/namespaces", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.ns(name));
        eventually("the account of the namespace", || self.server.get(&account).ok_or_else(|| "none".to_owned()));
    }

    /// The path of a pod.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", self.ns(namespace))
    }

    /// Makes a pod that runs, on a node and with the addresses of a number.
    pub fn add(&mut self, namespace: &str, name: &str, node: u8, number: u8) {
        let addresses = [
            IpAddr::from([10, 244, node, number]),
            IpAddr::from([0xfd00, 0x244, node.into(), 0, 0, 0, 0, number.into()]),
        ];
        let host = self.node(node);
        let place = self.fabric.add_pod(name, host.name(), addresses);
        place.listen(Protocol::Tcp, PORT);
        self.server.create(
            &format!("/api/v1/namespaces/{}/pods", self.ns(namespace)),
            &json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
                "spec": {
                    "nodeName": host.name(), "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "c", "image": "registry.example/none:1",
                        "ports": [{"name": "http", "containerPort": PORT}]}],
                },
            }),
        );
        let ips: Vec<Value> = addresses.iter().map(|a| json!({"ip": a.to_string()})).collect();
        let kept = self.server.merge(
            &format!("{}/status", self.path(namespace, name)),
            &json!({"status": {
                "phase": "Running", "podIP": addresses[0].to_string(), "podIPs": ips, "startTime": now(),
                "hostIP": host.address(Family::V4).expect("both families").to_string(),
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now()}],
            }}),
        );
        if kept["status"]["podIPs"].as_array().is_some_and(|ips| ips.len() == 2) {
            self.families = Family::ALL.to_vec();
        } else if self.members.is_empty() {
            println!("LEFT OUT: IPv6 between pods: this API server keeps one address of a pod only");
        }
        self.members.push(Member { namespace: namespace.to_owned(), name: name.to_owned() });
    }

    /// Takes a pod out.
    pub fn remove(&mut self, name: &str) {
        let at = self.members.iter().position(|m| m.name == name).expect("a pod");
        let member = self.members.remove(at);
        self.server.delete(&self.path(&member.namespace, name));
        self.fabric.remove_pod(name);
    }

    /// Creates or replaces a policy, as an operator does.
    pub fn apply(&self, object: &Value) {
        let file = self.folder.file("applied.json", &object.to_string());
        self.shell.does(&format!("kubectl apply -f {file}"));
    }

    /// A NetworkPolicy of a namespace.
    pub fn policy(&self, namespace: &str, name: &str, spec: Value) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": self.ns(namespace), "name": name}, "spec": spec,
        })
    }

    fn pairs(&self) -> Vec<(&Member, &Member)> {
        let others = |from: &Member| self.members.iter().filter(|to| to.name != from.name).collect::<Vec<_>>();
        self.members.iter().flat_map(|from| others(from).into_iter().map(move |to| (from, to))).collect()
    }

    /// What packets say: the pairs of pods between which all families pass, or none.
    fn passing(&self, families: &[Family]) -> Result<BTreeSet<String>, String> {
        let pairs = self.pairs();
        let mut found: Option<BTreeSet<String>> = None;
        for family in families {
            let probe = |(from, to): &(&Member, &Member)| {
                Probe::tcp(&self.fabric.pod(&from.name), self.fabric.pod(&to.name).at(*family, PORT))
            };
            let probes: Vec<Probe> = pairs.iter().map(probe).collect();
            let outcomes = Prober::default().confirm_lost().run(&probes);
            let passed = pairs.iter().zip(outcomes).filter(|(_, outcome)| outcome.passed());
            let passed: BTreeSet<String> = passed.map(|((from, to), _)| pair(from, to)).collect();
            if found.as_ref().is_some_and(|found| *found != passed) {
                return Err(format!("the families differ: {found:?} and {passed:?}"));
            }
            found = Some(passed);
        }
        Ok(found.unwrap_or_default())
    }

    /// What `netsim` answers from the same API server.
    fn answered(&self) -> BTreeSet<String> {
        let pairs = self.pairs();
        let ask = |(from, to): &(&Member, &Member)| {
            let Printed { code, out, err } = self.shell.run(&format!(
                "netsim can-reach --kubeconfig {} --context '{}' {}/{} {}/{}:{PORT}",
                self.server.kubeconfig.display(),
                self.server.context,
                self.ns(&from.namespace),
                from.name,
                self.ns(&to.namespace),
                to.name,
            ));
            assert!([0, 1].contains(&code), "netsim does not know: {out}{err}");
            (code == 0).then(|| pair(from, to))
        };
        let chunks: Vec<_> = pairs.chunks(pairs.len().div_ceil(3).max(1)).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = chunks
                .into_iter()
                .map(|chunk| scope.spawn(|| chunk.iter().filter_map(ask).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
        })
    }

    /// Exactly these pairs reach each other, all others do not: that is what `netsim` answers, and
    /// what packets do, as soon as the agents have heard of it.
    pub fn assert_reach(&self, what: &str, denied: &[&str]) {
        self.kubelets.assert_alive();
        let all: BTreeSet<String> = self.pairs().iter().map(|(from, to)| pair(from, to)).collect();
        for pair in denied {
            assert!(all.contains(*pair), "{what}: there is no pair {pair}");
        }
        let expected: BTreeSet<String> = all.into_iter().filter(|pair| !denied.contains(&pair.as_str())).collect();
        assert_eq!(self.answered(), expected, "{what}: netsim answers");
        self.assert_packets(what, &expected);
    }

    fn assert_packets(&self, what: &str, expected: &BTreeSet<String>) {
        eventually(what, || {
            let passing = self.passing(&self.families)?;
            let more: Vec<_> = passing.difference(expected).collect();
            let less: Vec<_> = expected.difference(&passing).collect();
            if more.is_empty() && less.is_empty() {
                Ok(())
            } else {
                Err(format!("passes: {more:?}, does not: {less:?}"))
            }
        });
    }

    /// Nobody reaches this pod, and it reaches nobody.
    pub fn assert_packets_closed(&self, what: &str, name: &str) {
        let of_it = |pair: &String| pair.split('>').any(|end| end == name);
        let passing = self.passing(&self.ranges).unwrap_or_else(|e| panic!("{what}: {e}"));
        let open: Vec<_> = passing.iter().filter(|pair| of_it(pair)).collect();
        assert!(open.is_empty(), "{what}: {open:?} pass");
    }

    /// All pods reach each other, whatever policies say.
    pub fn assert_open(&self, what: &str) {
        let all = self.pairs().iter().map(|(from, to)| pair(from, to)).collect();
        self.assert_packets(what, &all);
    }

    /// The pods of the DaemonSet in the API, by node.
    pub fn agents(&self) -> Vec<Value> {
        let selector = "labelSelector=app.kubernetes.io/name%3Dnetsim-enforcer";
        self.server.list(&format!("/api/v1/namespaces/{SYSTEM}/pods?{selector}"))
    }

    /// A node has a table, or not.
    pub fn has_table(&self, node: u8) -> bool {
        self.node(node).try_nft("list table inet netsim").is_ok()
    }

    /// Nothing of the enforcer is left on the nodes.
    pub fn assert_clean(&self) {
        for n in [1, 2] {
            let left = self.node(n).try_nft("list ruleset").expect("nft");
            assert_eq!(left.trim(), "", "node {n} has rules");
        }
    }

    /// No agent was refused anything.
    pub fn assert_no_refusal(&self) {
        let log = self.kubelets.log();
        let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        assert!(
            refused.is_empty(),
            "the account of the manifests may not do what the agent does:\n{}",
            refused.join("\n")
        );
    }

    /// Watches what is allowed and what is denied, all the time, until it is finished.
    pub fn watch(&self, allowed: &[(&str, &str)], denied: &[(&str, &str)]) -> Watch {
        let probes = |pairs: &[(&str, &str)]| -> Vec<Probe> {
            let each = |(from, to): &(&str, &str)| {
                let (from, to) = (self.fabric.pod(from), self.fabric.pod(to));
                self.families.iter().map(|f| Probe::tcp(&from, to.at(*f, PORT))).collect::<Vec<_>>()
            };
            pairs.iter().flat_map(each).collect()
        };
        let counter = |(from, to): &(&str, &str)| {
            let source = self.fabric.pod(from);
            let count = |family: &Family| {
                let from = source.address(*family).expect("both families");
                self.fabric.pod(to).count(&Packets::any().from(from).port(Protocol::Tcp, PORT))
            };
            self.families.iter().map(count).collect::<Vec<_>>()
        };
        let leaked = denied.iter().flat_map(counter).collect();
        let every = Duration::from_millis(5);
        Watch {
            leaked,
            denied: self.fabric.storm(probes(denied)).every(every).start(),
            allowed: self.fabric.storm(probes(allowed)).every(every).start(),
        }
    }
}

/// Connections that are allowed and others that are denied, all the time.
pub struct Watch {
    allowed: Storm,
    denied: Storm,
    leaked: Vec<Counter>,
}

impl Watch {
    /// Goes on for a moment, then sees that nothing denied has passed, and nothing allowed was lost.
    pub fn finish(self, what: &str) {
        let now = Instant::now();
        assert!(self.allowed.wait_tries(now, 50) && self.denied.wait_tries(now, 50), "{what}: no tries");
        let denied = self.denied.stop();
        let passed = denied.iter().filter(|t| t.outcome != Outcome::Lost).count();
        assert_eq!(passed, 0, "{what}: of {} connections that are denied so many got an answer", denied.len());
        let leaked: u64 = self.leaked.iter().map(Counter::packets).sum();
        assert_eq!(leaked, 0, "{what}: packets of what is denied arrived");
        let allowed = self.allowed.stop();
        let outage = Try::longest_outage(&allowed);
        assert!(outage < NO_OUTAGE, "{what}: what is allowed was lost for {outage:?}");
        println!("{what}: {} allowed connections, {} denied, longest loss {outage:?}", allowed.len(), denied.len());
    }
}

fn pair(from: &Member, to: &Member) -> String {
    format!("{}>{}", from.name, to.name)
}

/// For how long `kubectl` is to wait.
pub fn timeout() -> String {
    format!("--timeout={}s", PATIENCE.as_secs())
}
