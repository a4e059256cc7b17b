//! What a kubelet reads from a pod object: containers with their arguments, mounts and capabilities,
//! and how they are asked for their health. What it does not know is never passed over.

use crate::container::{Mount, Plan};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a container of Kubernetes has when nothing is said about it.
const USUAL_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What the image says, by its Dockerfile.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pub root: PathBuf,
    pub entrypoint: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

impl Image {
    /// Reads the last stage of a Dockerfile.
    pub fn read(root: PathBuf, dockerfile: &str) -> Self {
        let mut image = Image { root, ..Image::default() };
        let (_, last) = dockerfile.rsplit_once("\nFROM ").expect("stages");
        for line in last.lines() {
            match line.split_once(' ') {
                Some(("ENTRYPOINT", words)) => image.entrypoint = serde_json::from_str(words).expect("a list"),
                Some(("ENV", pair)) => {
                    let (name, value) = pair.split_once('=').expect("NAME=VALUE");
                    image.environment.insert(name.to_owned(), value.to_owned());
                }
                Some(("USER" | "WORKDIR" | "CMD", _)) => panic!("the tests do not know `{line}` of the Dockerfile"),
                _ => {}
            }
        }
        image
    }
}

/// What is known of the node and the cluster when a pod is started.
pub struct Node<'a> {
    pub image: &'a Image,
    /// The address of the node, which is that of its pods on the host's network.
    pub address: &'a str,
    /// The address and the port of Service `default/kubernetes`.
    pub service: (&'a str, &'a str),
    /// The folder that stands for the volume of a pod, or why there is none.
    pub volume: &'a dyn Fn(&Value) -> PathBuf,
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn items(object: &Value) -> &[Value] {
    object.as_array().map_or(&[], Vec::as_slice)
}

/// A container of a pod, ready to run.
pub fn plan(pod: &Value, container: &Value, node: &Node<'_>) -> Plan {
    let spec = &pod["spec"];
    let name = text(container, "/name");
    assert_eq!(spec["hostNetwork"], true, "`{name}`: the tests know pods of the host's network only");
    for known in ["hostPID", "hostIPC", "shareProcessNamespace"] {
        assert!(spec.get(known).is_none_or(|value| *value == false), "`{name}`: the tests do not know `{known}`");
    }
    let image = text(container, "/image");
    let (path, _) = image.rsplit_once(':').unwrap_or_else(|| panic!("the image `{image}` has no tag"));
    assert_eq!(path.rsplit('/').next(), Some("netsim-enforcer"), "the tests have no image `{image}`");

    let environment = environment(pod, container, node);
    let words = |value: &Value| {
        items(value).iter().map(|word| expand(word.as_str().unwrap_or_default(), &environment)).collect::<Vec<_>>()
    };
    let command = words(&container["command"]);
    let mut program = if command.is_empty() { node.image.entrypoint.clone() } else { command };
    program.extend(words(&container["args"]));

    let security = &container["securityContext"];
    let either = |field: &str| security.get(field).or_else(|| spec["securityContext"].get(field)).cloned();
    for user in ["runAsUser", "runAsGroup"] {
        assert_eq!(either(user).unwrap_or(json!(0)), 0, "`{name}`: the tests know root only");
    }
    assert_eq!(security["readOnlyRootFilesystem"], true, "`{name}`: containers share the image of the tests");
    Plan {
        root: node.image.root.clone(),
        mounts: mounts(spec, container, node),
        program,
        privileged: security["privileged"] == true,
        capabilities: capabilities(&security["capabilities"]),
        no_new_privileges: security["allowPrivilegeEscalation"] == false,
        environment,
    }
}

fn environment(pod: &Value, container: &Value, node: &Node<'_>) -> BTreeMap<String, String> {
    let mut variables = node.image.environment.clone();
    variables.insert("HOSTNAME".into(), text(pod, "/spec/nodeName").into());
    variables.insert("KUBERNETES_SERVICE_HOST".into(), node.service.0.into());
    variables.insert("KUBERNETES_SERVICE_PORT".into(), node.service.1.into());
    for variable in items(&container["env"]) {
        let value = match variable.pointer("/valueFrom/fieldRef/fieldPath").and_then(Value::as_str) {
            Some("status.hostIP" | "status.podIP") => node.address.to_owned(),
            Some(path @ ("spec.nodeName" | "metadata.name" | "metadata.namespace" | "metadata.uid")) => {
                text(pod, &format!("/{}", path.replace('.', "/"))).to_owned()
            }
            Some(other) => panic!("the tests do not know the field `{other}` of variables"),
            None if variable.get("valueFrom").is_some() => panic!("the tests do not know {variable}"),
            None => expand(text(variable, "/value"), &variables),
        };
        variables.insert(text(variable, "/name").to_owned(), value);
    }
    variables
}

/// `$(NAME)` is its value where there is one, `$$` a dollar.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(more) = after.strip_prefix('$') {
            done.push('$');
            rest = more;
        } else if let Some((value, more)) = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
            .and_then(|(name, more)| Some((variables.get(name)?, more)))
        {
            done.push_str(value);
            rest = more;
        } else {
            done.push('$');
            rest = after;
        }
    }
    done + rest
}

fn mounts(spec: &Value, container: &Value, node: &Node<'_>) -> Vec<Mount> {
    let volumes = items(&spec["volumes"]);
    let mount = |mount: &Value| {
        let name = text(mount, "/name");
        let volume = volumes.iter().find(|volume| text(volume, "/name") == name);
        let volume = volume.unwrap_or_else(|| panic!("there is no volume `{name}`"));
        for unknown in ["subPath", "subPathExpr", "mountPropagation"] {
            assert!(mount.get(unknown).is_none(), "the tests do not know {mount}");
        }
        Mount {
            source: (node.volume)(volume),
            target: text(mount, "/mountPath").into(),
            read_only: mount["readOnly"] == true,
        }
    };
    items(&container["volumeMounts"]).iter().map(mount).collect()
}

fn capabilities(asked: &Value) -> Vec<String> {
    let names =
        |list: &str| items(&asked[list]).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let (drop, add) = (names("drop"), names("add"));
    let usual = USUAL_CAPABILITIES.iter().map(|name| (*name).to_owned());
    let all = drop.iter().any(|name| name == "ALL");
    let mut kept: Vec<String> = usual.filter(|name| !all && !drop.contains(name)).collect();
    kept.extend(add);
    kept
}

/// How a kubelet asks a container for its health: address and path.
pub fn probe(container: &Value, name: &str, node: &str) -> Option<Probe> {
    let probe = container.get(name)?;
    let get = probe.get("httpGet").unwrap_or_else(|| panic!("the tests do not know {probe}"));
    let port = match &get["port"] {
        Value::String(named) => {
            let port = items(&container["ports"]).iter().find(|port| port["name"] == *named);
            port.unwrap_or_else(|| panic!("there is no port `{named}`"))["containerPort"].as_u64()
        }
        number => number.as_u64(),
    };
    let port = u16::try_from(port.expect("a port")).expect("a port");
    let host: std::net::IpAddr = get["host"].as_str().unwrap_or(node).parse().expect("an address");
    let number = |field: &str, usual: u64| probe[field].as_u64().unwrap_or(usual);
    Some(Probe {
        at: (host, port).into(),
        path: text(get, "/path").to_owned(),
        timeout: std::time::Duration::from_secs(number("timeoutSeconds", 1)),
        patience: std::time::Duration::from_secs(number("periodSeconds", 10) * number("failureThreshold", 3)),
    })
}

/// A question for the health of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub at: std::net::SocketAddr,
    pub path: String,
    pub timeout: std::time::Duration,
    /// For how long it may fail.
    pub patience: std::time::Duration,
}

/// The name of the node that a pod is for: where it is, or where its DaemonSet wants it.
pub fn node_of(pod: &Value) -> Option<&str> {
    let bound = pod.pointer("/spec/nodeName").and_then(Value::as_str);
    bound.or_else(|| {
        let required = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
        let terms = pod.pointer(&format!("{required}/nodeSelectorTerms"))?;
        let fields = items(terms).iter().flat_map(|term| items(&term["matchFields"]));
        let mut named = fields.filter(|field| field["key"] == "metadata.name" && field["operator"] == "In");
        named.next()?.pointer("/values/0")?.as_str()
    })
}

/// What is true of this without a cluster.
pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 3] = [
        ("variables_are_filled_in", variables),
        ("capabilities_are_those_that_are_left", left),
        ("a_container_is_as_its_pod_says", whole),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("kubelet::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

fn variables() {
    let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let cases = [
        ("$(A)", "1"),
        ("x$(A)y", "x1y"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$", "$"),
        ("$(A", "$(A"),
        ("$A", "$A"),
    ];
    for (text, expected) in cases {
        assert_eq!(expand(text, &variables), expected, "{text}");
    }
}

fn left() {
    assert_eq!(capabilities(&json!({"drop": ["ALL"], "add": ["NET_ADMIN"]})), ["NET_ADMIN"]);
    assert_eq!(capabilities(&Value::Null), USUAL_CAPABILITIES);
    assert!(!capabilities(&json!({"drop": ["NET_RAW"]})).contains(&"NET_RAW".to_owned()));
}

fn whole() {
    let container = json!({
        "name": "c", "image": "example.com/a/netsim-enforcer:1", "args": ["run", "--node-name=$(NODE)"],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "ports": [{"name": "metrics", "containerPort": 9470}],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}, "failureThreshold": 6},
        "securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false},
        "volumeMounts": [{"name": "run", "mountPath": "/run/netsim"}],
    });
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "hostNetwork": true, "volumes": [{"name": "run", "hostPath": {"path": "/run/x"}}]},
    });
    let image = Image::read("/image".into(), "FROM a\nENV A=1\nFROM scratch\nENV PATH=/bin\nENTRYPOINT [\"/bin/e\"]\n");
    let volume = |volume: &Value| Path::new("/node").join(text(volume, "/hostPath/path").trim_start_matches('/'));
    let node = Node { image: &image, address: "10.0.0.1", service: ("10.96.0.1", "443"), volume: &volume };
    let plan = plan(&pod, &container, &node);
    assert_eq!(plan.program, ["/bin/e", "run", "--node-name=n1"]);
    assert_eq!(plan.environment["PATH"], "/bin");
    assert!(!plan.environment.contains_key("A"));
    let [mount] = plan.mounts.as_slice() else { panic!("{:?}", plan.mounts) };
    assert_eq!((mount.source.as_path(), mount.read_only), (Path::new("/node/run/x"), false));
    let probe = probe(&container, "livenessProbe", "10.0.0.1").expect("a probe");
    assert_eq!((probe.at.to_string().as_str(), probe.patience.as_secs()), ("10.0.0.1:9470", 60));
}
