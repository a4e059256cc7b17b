//! `status`, asked of a running agent and of nobody.

use crate::run::{Answer, Namespace, PROGRAM, Scratch, enforcer, quiet, text_of};
use crate::{Test, assert_answer};
use netsim_testkit::apiserver::ApiServer;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub const TESTS: [Test; 6] = [
    ("an_agent_that_explains", an_agent_that_explains),
    ("the_socket_is_not_stolen_and_goes_with_its_agent", the_socket_is_not_stolen_and_goes_with_its_agent),
    ("an_agent_that_is_ready", an_agent_that_is_ready),
    ("an_agent_that_is_not_ready", an_agent_that_is_not_ready),
    ("cleanup_is_refused_while_an_agent_owns_the_table", cleanup_is_refused_while_an_agent_owns_the_table),
    ("nobody_is_there", nobody_is_there),
];

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent and what it talks to; all of it ends with the test.
struct Agent {
    child: Child,
    log: Receiver<String>,
    address: String,
    namespace: Namespace,
    socket: String,
    _server: ApiServer,
    _scratch: Scratch,
}

/// The objects of the test cluster, as an API server has them.
fn objects() -> Vec<Value> {
    let documents = text_of(crate::run::CLUSTER);
    let documents = documents.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap());
    documents.collect()
}

impl Agent {
    fn start(server: ApiServer) -> Self {
        let (namespace, scratch) = (Namespace::new(), Scratch::new());
        let kubeconfig = scratch.file("kubeconfig", &server.kubeconfig());
        let mut command = quiet(PROGRAM);
        command.args(["run", "--node-name", "node-1", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        let socket = scratch.path().join("agent.sock").display().to_string();
        command.args(["--netns", &namespace.path(), "--kubeconfig", &kubeconfig]);
        command.arg("--socket").arg(&socket).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Read to its end, so that the agent never waits for a reader.
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line)));
        let address = String::new();
        let mut agent = Agent { child, log, address, namespace, socket, _server: server, _scratch: scratch };
        let line: Value = serde_json::from_str(&agent.wait("\"starting\"")).unwrap();
        agent.address = line.pointer("/fields/address").or(line.get("address")).unwrap().as_str().unwrap().to_owned();
        agent
    }

    /// The line of its log that says this.
    fn wait(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            let Ok(line) = self.log.recv_timeout(PATIENCE) else {
                panic!("`{text}` is not in:\n{}", before.join("\n"))
            };
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
    }

    /// Its status, as soon as that is as wanted: it is made anew about once a second.
    fn status(&self, options: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = enforcer(&format!("status --address {} {options}", self.address));
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{answer}");
            // There is nothing to be told by but the answer itself.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Without what is said about the machine.
fn without_notes(mut answer: Answer) -> Answer {
    answer.out = answer.out.split_inclusive('\n').filter(|line| !line.starts_with("note: ")).collect();
    answer
}

fn an_agent_that_is_ready() {
    let agent = Agent::start(ApiServer::start(objects()));
    agent.wait("the table is in place");
    assert_answer!("status-ready", without_notes(agent.status("", |answer| answer.code == 0)));
    // Root is told the same by the socket.
    assert_answer!("status-socket", without_notes(enforcer(&format!("status --socket {}", agent.socket)).exits(0)));
    let json = agent.status("-o json", |answer| answer.code == 0).json();
    assert_eq!((&json["ready"], &json["node"], &json["local_pods"]), (&true.into(), &"node-1".into(), &2.into()));
    assert_eq!(json["pod_cidrs"], serde_json::json!(["10.244.1.0/24", "fd00:10:244:1::/64"]));
    // What is shown and what is served are the same.
    let mut text = String::new();
    let mut stream = TcpStream::connect(&agent.address).unwrap();
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut text).unwrap();
    let served: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        served.as_object().unwrap().keys().collect::<Vec<_>>(),
        json.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    // The kernel holds what the files say.
    agent.namespace.enforcer("verify -f tests/enforcer_cli/data/cluster.yaml --node-name node-1").exits(0);
}

fn an_agent_that_is_not_ready() {
    let server = ApiServer::start(objects());
    server.forbid("pods");
    let agent = Agent::start(server);
    // The other kinds are listed, and of this one it is known why it is not.
    let settled = |answer: &Answer| answer.out.contains("403") && answer.out.matches("not listed").count() == 1;
    let answer = agent.status("", settled).exits(1).says("pods are not listed yet");
    assert_answer!("status-not-ready", without_notes(answer));
    let json = agent.status("-o json", settled).exits(1).json();
    assert_eq!(json["ready"], false);
    assert_eq!(agent.namespace.nft("list ruleset").out, "", "nothing before everything is listed");
}

fn cleanup_is_refused_while_an_agent_owns_the_table() {
    let mut agent = Agent::start(ApiServer::start(objects()));
    agent.wait("the table is in place");
    assert_answer!("cleanup-agent", agent.namespace.enforcer("cleanup").exits(2));
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    agent.namespace.enforcer("cleanup").exits(0).says("deleted table `inet netsim`");
}

fn an_agent_that_explains() {
    let agent = Agent::start(ApiServer::start(objects()));
    agent.wait("the table is in place");
    // Whatever the machine lacks is a reason not to be ready: the answers of this test do not depend on it.
    agent.status("", |answer| answer.code == 0);
    let explain = |words: &str| enforcer(&format!("explain {words} --socket {}", agent.socket));
    for (name, words) in EXPLAINED {
        assert_answer!(format!("explain-{name}"), explain(words));
    }
    let json = explain("shop/web shop/db:5432 -o json").json();
    assert_eq!((&json["node"], &json["kernel"]["as_programmed"]), (&"node-1".into(), &true.into()));
    let nothing = enforcer(&format!("flows --socket {}", agent.socket));
    assert_answer!("flows-none", nothing.exits(0));
    assert_eq!(enforcer(&format!("flows -o json --socket {}", agent.socket)).exits(0).out, "");
}

const EXPLAINED: [(&str, &str); 11] = [
    ("allowed", "shop/api shop/db:postgres"),
    ("denied", "shop/web shop/db:5432"),
    ("block", "198.51.100.7 shop/web:443"),
    ("node", "192.0.2.11 shop/web:443"),
    ("unknown-pod", "10.244.1.99 shop/api:80"),
    ("elsewhere", "shop/api monitoring/prometheus:9090/TCP"),
    ("simulated", "shop/web shop/db:5432 -f tests/enforcer_cli/data/cluster.yaml"),
    ("no-port", "shop/web shop/db"),
    ("no-pod", "shop/web shop/dc:80"),
    ("service", "shop/web svc/db:80"),
    ("name", "shop/web www.example.com:80"),
];

fn the_socket_is_not_stolen_and_goes_with_its_agent() {
    let mut agent = Agent::start(ApiServer::start(objects()));
    agent.wait("the table is in place");
    let stolen = netsim_enforcer::observe::socket::bind(std::path::Path::new(&agent.socket)).unwrap_err();
    assert!(stolen.to_string().contains("another process answers"), "{stolen}");
    let id = rustix::process::Pid::from_child(&agent.child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(agent.child.wait().unwrap().success());
    assert!(!std::path::Path::new(&agent.socket).exists());
    assert_answer!("explain-nobody", enforcer(&format!("explain shop/web shop/db:80 --socket {}", agent.socket)));
    assert_answer!("flows-nobody", enforcer(&format!("flows --socket {}", agent.socket)));
}

fn nobody_is_there() {
    assert_answer!("status-nobody", enforcer("status --address 127.0.0.1:1").exits(2));
    assert_answer!("status-nobody-json", enforcer("status -o json --socket /nowhere/enforcer.sock").exits(2));
    // Somebody who is no agent.
    let server = ApiServer::start(Vec::new());
    let address = server.url().split_once("://").unwrap().1.to_owned();
    assert_answer!("status-stranger", enforcer(&format!("status --address {address}")).exits(2));
}
