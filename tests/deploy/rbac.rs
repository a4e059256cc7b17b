//! What the agent may ask of the API server is what it asks.

use crate::Test;
use crate::tools::file;
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::command::{Scratch, quiet, run, words};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub const TESTS: [Test; 2] = [
    ("the_role_is_what_the_agent_asks", the_role_is_what_the_agent_asks),
    ("the_agent_works_with_what_it_is_given", the_agent_works_with_what_it_is_given),
];

const PROGRAM: &str = env!("CARGO_BIN_EXE_netsim-enforcer");
/// How long is waited for what should come at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs what follows a folder, where nothing but this folder can be written, as the file systems of a container are.
const PLACE: &str = r#"
mount --bind "$1" "$1"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
shift
exec setpriv --no-new-privs --inh-caps=-all "$@"
"#;

/// Verb, group and resource.
type Right = (String, String, String);

/// The agent, with the arguments of the DaemonSet and what the container is given; it ends with the test.
struct Agent {
    child: Child,
    log: Receiver<Value>,
    _scratch: Scratch,
}

impl Agent {
    /// In a mount namespace of its own, where nothing but its folder can be written, with the capabilities that the
    /// container has, and no way to more.
    fn start(server: &ApiServer) -> Self {
        let scratch = Scratch::new();
        let folder = scratch.path().display().to_string();
        let kubeconfig = scratch.file("kubeconfig", &server.kubeconfig());
        let [set] = &file("deploy/kustomize/base/daemonset.yaml")[..] else { panic!("one DaemonSet") };
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        let own = |argument: &String| match argument.split_once('=') {
            Some(("--node-name", _)) => "--node-name=node-1".to_owned(),
            Some(("--listen", _)) => "--listen=127.0.0.1:0".to_owned(),
            Some(("--socket", _)) => format!("--socket={folder}/enforcer.sock"),
            _ => argument.clone(),
        };
        let added = container["securityContext"]["capabilities"]["add"].as_array().unwrap();
        let kept: String = added.iter().map(|name| format!(",+{}", name.as_str().unwrap().to_lowercase())).collect();
        let mut command = quiet("unshare");
        command.args([
            "--mount",
            "/bin/sh",
            "-ec",
            PLACE,
            "sh",
            &folder,
            &format!("--bounding-set=-all{kept}"),
            PROGRAM,
        ]);
        command.args(crate::objects::arguments(container).iter().map(own)).args(["--kubeconfig", &kubeconfig]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Read to its end, so that the agent never waits for a reader. What is no log of the agent's is told as it is.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Agent { child, log, _scratch: scratch }
    }

    /// The line of its log with this message.
    fn wait(&self, message: &str) -> Value {
        let mut before = Vec::new();
        loop {
            let Ok(line) = self.log.recv_timeout(PATIENCE) else { panic!("`{message}` is not in {before:#?}") };
            if line["fields"]["message"] == message {
                return line;
            }
            before.push(line);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The right that a request needs, or none for what everybody may ask.
fn right(target: &str) -> Option<Right> {
    let (method, target) = target.split_once(' ').unwrap_or(("GET", target));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, named) = match rest {
        [] => return None,
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, part] => (format!("{resource}/{part}"), true),
        other => panic!("{other:?}"),
    };
    let verb = match method {
        "GET" if query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1") => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PATCH" => "patch",
        "PUT" => "update",
        "DELETE" => "delete",
        other => panic!("{other}"),
    };
    Some((verb.to_owned(), group.to_owned(), resource))
}

/// What a role allows, one by one.
fn rights(role: &Value) -> BTreeSet<Right> {
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                rights.extend(texts(rule, "verbs").into_iter().map(|verb| (verb, group.clone(), resource.clone())));
            }
        }
    }
    rights
}

fn the_role_is_what_the_agent_asks() {
    let mut objects = file("tests/enforcer_cli/data/cluster.yaml");
    let pod = objects.iter().find(|object| object["kind"] == "Pod" && object["spec"]["nodeName"] == "node-1").unwrap();
    // A wildcard, and nobody whose answers could be learned from: something to tell.
    objects.push(json!({
        "apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
        "metadata": {"name": "wild", "namespace": pod["metadata"]["namespace"], "generation": 1},
        "spec": {"podSelector": {}, "egress": [{"to": [{"domainNames": ["*.example.com"]}]}]},
    }));
    let server = ApiServer::start(objects);
    let _agent = Agent::start(&server);
    let asked = |targets: &[String]| targets.iter().filter_map(|target| right(target)).collect::<BTreeSet<_>>();
    let roles = file("deploy/kustomize/base/rbac.yaml");
    let role = roles.iter().find(|object| object["kind"] == "ClusterRole").unwrap();
    let allowed = rights(role);
    // A right that is never used ends this in vain, with all requests; so does the last of those that are.
    server.wait_for_requests("each right of the role is used", |targets| allowed.is_subset(&asked(targets)));
    let beyond: Vec<Right> = asked(&server.targets()).difference(&allowed).cloned().collect();
    assert!(beyond.is_empty(), "asked for, and not allowed: {beyond:?}");
}

/// As the DaemonSet runs it, it enforces, and can read what it has to know about the node.
fn the_agent_works_with_what_it_is_given() {
    let server = ApiServer::start(file("tests/enforcer_cli/data/cluster.yaml"));
    let agent = Agent::start(&server);
    let starting = agent.wait("starting");
    let address = starting["fields"]["address"].as_str().unwrap().to_owned();
    agent.wait("the table is in place");
    let status = loop {
        let line = format!("status -o json --address {address}");
        let answer = run(&line, quiet(PROGRAM).args(words(&line)));
        if answer.code == 0 {
            break answer.json();
        }
        assert_eq!(answer.code, 1, "{answer}");
        // There is nothing to be told by but the answer itself.
        std::thread::sleep(Duration::from_millis(20));
    };
    let findings: Vec<&str> =
        status["findings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let unread: Vec<&&str> = findings.iter().filter(|finding| finding.contains("cannot")).collect();
    assert!(unread.is_empty(), "{findings:#?}");
}
