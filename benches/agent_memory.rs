//! What an agent takes in memory and processor time, and what it is sent: the program itself, built for
//! release, against the test API server with clusters of several sizes, in a network namespace of the
//! bench's own. The pods are as large as those of real clusters. Linux only, one run a size.
//!
//! `-- --program FILE` takes a program that is built already.

use netsim_benches::{NODE, cluster, cluster_of_nodes};
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::realistic::dressed;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long an agent may take until its table is in place.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it is left alone before it is looked at again.
const REST: Duration = Duration::from_secs(10);

/// A running agent and what it says; killed when dropped.
struct Agent {
    child: Child,
    said: Receiver<String>,
}

impl Agent {
    fn start(program: &PathBuf, kubeconfig: &PathBuf) -> Self {
        let mut command = Command::new(program);
        command.args(["run", "--node-name", NODE, "--listen", "127.0.0.1:0", "--kubeconfig"]).arg(kubeconfig);
        // As in a DaemonSet, whose namespace of its own is another one.
        command.arg("--netns").arg(format!("/proc/{}/ns/net", std::process::id()));
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the agent's program");
        let stderr = child.stderr.take().expect("a pipe");
        let (sender, said) = channel();
        // Reads on when nobody listens any more: an agent must not wait for its log.
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| _ = sender.send(line));
        });
        Agent { child, said }
    }

    /// Waits until it says something.
    fn wait_for(&self, text: &str) {
        let mut lines = Vec::new();
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return;
            }
            lines.push(line);
        }
        panic!("the agent does not say `{text}`:\n{}", lines.join("\n"));
    }

    /// The processor time that it has taken, in seconds: Linux counts it in hundredths for programs.
    fn cpu(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a running agent");
        let (_, fields) = text.rsplit_once(')').unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        ticks.sum::<f64>() / 100.0
    }

    /// A line of its `status`, in kB.
    fn status(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running agent");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kb| kb.parse().ok()).expect("a number")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The program that is named, or built beside this one.
fn program() -> PathBuf {
    let mut args = std::env::args().skip_while(|arg| arg != "--program");
    if let Some(program) = args.nth(1) {
        return program.into();
    }
    let built = Command::new(env!("CARGO")).args(["build", "--release", "-p", "netsim-enforcer"]).status();
    assert!(built.is_ok_and(|status| status.success()), "netsim-enforcer does not build");
    let here = std::env::current_exe().expect("the path of this program");
    here.ancestors().nth(2).expect("a target folder").join("netsim-enforcer")
}

fn objects(pods: usize) -> Vec<Value> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE },
        "spec": { "podCIDR": "10.200.0.0/24", "podCIDRs": ["10.200.0.0/24"] },
    });
    if pods == 0 {
        return vec![node];
    }
    let cluster = cluster_of_nodes(pods);
    let pods = cluster.pods().enumerate().map(|(i, pod)| dressed(&pod, i));
    cluster.namespaces().chain(pods).chain(cluster.policies()).chain([node]).collect()
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let program = program();
    netsim_testkit::netns::enter();
    let kubeconfig = std::env::temp_dir().join(format!("netsim-bench-{}.yaml", std::process::id()));
    let mut empty = 0;
    for pods in [0, 10_000, 50_000] {
        let api = ApiServer::start(objects(pods));
        fs::write(&kubeconfig, api.kubeconfig()).expect("a temporary file");
        let agent = Agent::start(&program, &kubeconfig);
        agent.wait_for("the table is in place");
        let policies = if pods == 0 { 0 } else { cluster(pods).policies().count() };
        let mut tell = |when: &str| {
            let (now, most) = (agent.status("VmRSS:"), agent.status("VmHWM:"));
            let anonymous = agent.status("RssAnon:");
            if pods == 0 && empty == 0 {
                empty = now;
            }
            let each = (now.saturating_sub(empty) * 1024).checked_div(u64::try_from(pods).unwrap_or_default());
            println!(
                "{pods:>6} pods, {policies:>5} policies, {when:<22} {now:>7} kB resident ({anonymous} anonymous), {most:>7} at most, {} B a pod",
                each.unwrap_or_default(),
            );
            let (pods, cpu) = (api.sent("pods"), agent.cpu());
            println!(
                "       {:.1} MB of pods in lists, {:.1} MB on the wire; {cpu:.2} s of processor time",
                pods.lists as f64 / 1e6,
                pods.lists_on_wire as f64 / 1e6,
            );
        };
        tell("in place");
        std::thread::sleep(REST);
        tell("10 s later");
        // The watch of pods begins anew with a list, while what was known stays.
        api.hold_watches();
        api.apply(cluster(1_000).pod(0));
        api.compact();
        api.release_watches();
        agent.wait_for("listed");
        std::thread::sleep(REST);
        tell("10 s after a relist");
    }
    _ = fs::remove_file(kubeconfig);
}
