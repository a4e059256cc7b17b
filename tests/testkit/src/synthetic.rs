//! Deterministic clusters of any size: the same kinds of namespaces, pods, services and policies in
//! every one, so that figures of different sizes, and of different programs, can be compared.
//!
//! Objects are made one after another while they are written; nothing keeps the whole cluster.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::ingest::{Ingested, ingest};
use netsim_shared::object::Object;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::ser::{Formatter, PrettyFormatter};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs::{File, create_dir_all};
use std::io::{self, BufWriter, Write};
use std::path::Path;

const APPS: [(&str, u16); 5] = [("web", 80), ("api", 8080), ("db", 5432), ("cache", 6379), ("worker", 9090)];
const TIERS: [&str; 3] = ["front", "back", "data"];
const TEAMS: [&str; 3] = ["red", "blue", "green"];
/// What a ReplicaSet's name has behind its Deployment's.
const REVISION: &str = "7c9f6d5b8d";

/// What kind of cluster to make.
#[derive(Debug, Clone)]
pub struct Synthetic {
    /// How many pods; they take turns through the namespaces.
    pub pods: usize,
    /// How many namespaces.
    pub namespaces: usize,
    /// How many policies in each namespace.
    pub policies_per_namespace: usize,
    /// How many nodes; pods take turns through them.
    pub nodes: usize,
    /// Whether pods belong to ReplicaSets of Deployments rather than standing alone.
    pub owners: bool,
    /// Another seed gives other peers and ports.
    pub seed: u64,
}

/// How manifests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON objects, one a line, between `---`.
    JsonDocuments,
    /// One `List`, as `kubectl get -o json` prints it.
    JsonList,
    /// YAML in block style between `---`.
    Yaml,
    /// One `List` in YAML, as `kubectl get -o yaml` prints it.
    YamlList,
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from((z ^ (z >> 31)) % end).unwrap_or_default()
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        list.get(self.below(list.len())).copied()
    }
}

/// What is said of a pod by its number.
struct PodFacts {
    namespace: String,
    name: String,
    deployment: String,
    labels: Value,
    spec: Value,
    address: String,
    host: String,
}

impl Synthetic {
    /// A cluster of pods without owners, on 20 nodes.
    pub fn new(pods: usize, namespaces: usize, policies_per_namespace: usize) -> Self {
        Synthetic { pods, namespaces: namespaces.max(1), policies_per_namespace, nodes: 20, owners: false, seed: 1 }
    }

    fn namespace_name(i: usize) -> String {
        format!("ns-{i:02}")
    }

    /// The namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = Value> {
        (0..self.namespaces).map(|i| {
            let name = Self::namespace_name(i);
            let env = if i % 2 == 1 { "prod" } else { "dev" };
            let labels = json!({ "env": env, "kubernetes.io/metadata.name": name, "team": TEAMS[i % TEAMS.len()] });
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "labels": labels, "name": name } })
        })
    }

    fn pod_facts(&self, i: usize) -> PodFacts {
        let k = i / self.namespaces;
        let (app, port) = APPS[k % APPS.len()];
        let tier = TIERS[(k / 5) % TIERS.len()];
        let version = format!("v{}", (k / 15) % 2 + 1);
        let node = i % self.nodes.max(1);
        let ports = json!([
            { "containerPort": port, "name": "main", "protocol": "TCP" },
            { "containerPort": 9100, "name": "metrics", "protocol": "TCP" },
        ]);
        PodFacts {
            namespace: Self::namespace_name(i % self.namespaces),
            name: format!("{app}-{k:04}"),
            deployment: format!("{app}-{}-{tier}-{version}", k / 50),
            labels: json!({ "app": app, "tier": tier, "version": version }),
            spec: json!({
                "containers": [{ "image": "x", "name": "c", "ports": ports }],
                "nodeName": format!("node-{node}"),
            }),
            address: format!("10.{}.{}.{}", 64 + i / 62_500, (i / 250) % 250, i % 250 + 1),
            host: format!("192.0.{}.{}", 2 + node / 250, node % 250 + 1),
        }
    }

    /// A pod by its number; numbers from `pods` on give pods that are not in the cluster yet.
    pub fn pod(&self, i: usize) -> Value {
        let PodFacts { namespace, name, deployment, labels, spec, address, host } = self.pod_facts(i);
        let mut metadata = json!({ "labels": labels, "name": name, "namespace": namespace });
        if self.owners {
            metadata["ownerReferences"] = controller("ReplicaSet", &format!("{deployment}-{REVISION}"));
        }
        let status = json!({ "hostIP": host, "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status })
    }

    /// The pods.
    pub fn pods(&self) -> impl Iterator<Item = Value> {
        (0..self.pods).map(|i| self.pod(i))
    }

    /// The controllers of the pods, where these have owners.
    pub fn workloads(&self) -> impl Iterator<Item = Value> {
        let mut seen = std::collections::HashSet::new();
        let numbers = 0..if self.owners { self.pods } else { 0 };
        numbers.map(|i| self.pod_facts(i)).flat_map(move |facts| {
            let PodFacts { namespace, deployment, labels, mut spec, .. } = facts;
            if !seen.insert((namespace.clone(), deployment.clone())) {
                return Vec::new();
            }
            _ = spec.as_object_mut().and_then(|spec| spec.remove("nodeName"));
            let spec = json!({
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": spec },
            });
            let mut set = json!({ "name": format!("{deployment}-{REVISION}"), "namespace": namespace });
            set["ownerReferences"] = controller("Deployment", &deployment);
            let metadata = json!({ "name": deployment, "namespace": namespace });
            vec![
                json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec }),
                json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": set, "spec": spec }),
            ]
        })
    }

    /// The Services, one for each app of a namespace.
    pub fn services(&self) -> impl Iterator<Item = Value> {
        let pairs = (0..self.namespaces).flat_map(|i| APPS.map(|(app, _)| (i, app)));
        pairs.map(|(i, app)| {
            let ports = json!([{ "name": "main", "port": 80, "targetPort": "main" }]);
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": app, "namespace": Self::namespace_name(i) },
                "spec": { "ports": ports, "selector": { "app": app } },
            })
        })
    }

    /// The policies.
    pub fn policies(&self) -> impl Iterator<Item = Value> {
        let mut random = Random(self.seed);
        (0..self.namespaces).flat_map(move |i| {
            let all = self.policies_of(i, &mut random);
            all.into_iter().map(move |(name, spec)| {
                json!({
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "NetworkPolicy",
                    "metadata": { "name": name, "namespace": Self::namespace_name(i) },
                    "spec": spec,
                })
            })
        })
    }

    fn policies_of(&self, i: usize, random: &mut Random) -> Vec<(String, Value)> {
        let labels = |key: &str, value: &str| json!({ "matchLabels": { key: value } });
        let app = |name: &str| labels("app", name);
        let namespace = |i: usize| labels("kubernetes.io/metadata.name", &Self::namespace_name(i));
        let tcp = |port: u16| json!([{ "port": port, "protocol": "TCP" }]);
        let among = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let ingress = |pods: Value, from: Value, ports: Value| json!({ "ingress": [{ "from": from, "ports": ports }], "podSelector": pods, "policyTypes": ["Ingress"] });
        let egress =
            |pods: Value, rules: Value| json!({ "egress": rules, "podSelector": pods, "policyTypes": ["Egress"] });
        // An exception of its own for each namespace, inside 10.64.0.0/12 for 4,095 of them.
        let block = (i + 1) % 4096;
        let own_block = format!("10.{}.{}.0/24", 64 + block / 256, block % 256);
        let team = random.of(&TEAMS).unwrap_or_default();
        let peer = random.below(self.namespaces);
        let mut all: Vec<(String, Value)> = vec![
            ("default-deny".into(), json!({ "podSelector": {}, "policyTypes": ["Ingress"] })),
            ("db-from-api".into(), ingress(app("db"), json!([{ "podSelector": app("api") }]), tcp(5432))),
            (
                "api-from-web".into(),
                ingress(
                    app("api"),
                    json!([
                        { "podSelector": app("web") },
                        {
                            "namespaceSelector": labels("team", team),
                            "podSelector": among("tier", "In", &["front", "back"]),
                        },
                    ]),
                    json!([{ "port": "main", "protocol": "TCP" }]),
                ),
            ),
            (
                "web-public".into(),
                ingress(
                    app("web"),
                    json!([
                        { "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "172.16.0.0/12"] } },
                        { "namespaceSelector": {} },
                    ]),
                    tcp(80),
                ),
            ),
            (
                "metrics".into(),
                ingress(
                    json!({}),
                    json!([{ "namespaceSelector": namespace(0), "podSelector": app("worker") }]),
                    tcp(9100),
                ),
            ),
            (
                "db-egress".into(),
                egress(
                    app("db"),
                    json!([
                        {
                            "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }],
                            "to": [{ "namespaceSelector": {} }],
                        },
                        { "to": [{ "podSelector": app("db") }] },
                    ]),
                ),
            ),
            (
                "cache-range".into(),
                json!({
                    "egress": [{}],
                    "ingress": [{
                        "from": [{
                            "namespaceSelector": among("env", "NotIn", &["dev"]),
                            "podSelector": app("api"),
                        }],
                        "ports": [{ "endPort": 6500, "port": 6000, "protocol": "TCP" }],
                    }],
                    "podSelector": app("cache"),
                    "policyTypes": ["Ingress", "Egress"],
                }),
            ),
            (
                "worker-egress".into(),
                egress(
                    json!({ "matchExpressions": [
                        { "key": "app", "operator": "In", "values": ["worker"] },
                        { "key": "version", "operator": "Exists" },
                    ] }),
                    json!([
                        { "to": [{ "ipBlock": { "cidr": "10.64.0.0/12", "except": [own_block, "10.64.0.128/25"] } }] },
                        { "ports": tcp(8080), "to": [{ "namespaceSelector": namespace(peer) }] },
                    ]),
                ),
            ),
        ];
        for extra in 0..self.policies_per_namespace.saturating_sub(all.len()) {
            let tier = random.of(&TIERS).unwrap_or_default();
            let subject = json!({ "matchLabels": { "app": APPS[extra % APPS.len()].0, "tier": tier } });
            let peer = namespace(random.below(self.namespaces));
            let from = json!([{ "namespaceSelector": peer, "podSelector": app(APPS[random.below(APPS.len())].0) }]);
            let port = 7000 + u16::try_from(random.below(200)).unwrap_or_default();
            all.push((format!("extra-{extra}"), ingress(subject, from, tcp(port))));
        }
        all.truncate(self.policies_per_namespace);
        all
    }

    /// Everything.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        self.namespaces().chain(self.workloads()).chain(self.pods()).chain(self.services()).chain(self.policies())
    }

    /// Everything as one text.
    pub fn text(&self, format: Format) -> String {
        let mut out = Vec::new();
        // Neither a vector nor a cluster made here can fail to be written.
        _ = write(format, self.values(), &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Writes `namespaces`, `workloads` (if pods have owners), `pods`, `services` and `policies`
    /// into a folder.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn write_to(&self, format: Format, folder: &Path) -> io::Result<()> {
        create_dir_all(folder)?;
        let ending = if format == Format::JsonList { "json" } else { "yaml" };
        let file = |name: &str| File::create(folder.join(format!("{name}.{ending}"))).map(BufWriter::new);
        write(format, self.namespaces(), file("namespaces")?)?;
        if self.owners {
            write(format, self.workloads(), file("workloads")?)?;
        }
        write(format, self.pods(), file("pods")?)?;
        write(format, self.services(), file("services")?)?;
        write(format, self.policies(), file("policies")?)
    }

    /// Everything as objects.
    pub fn objects(&self) -> Vec<Object> {
        let (mut objects, mut values) = (Vec::new(), self.values());
        loop {
            // Piece by piece, so that the texts are never all there at once.
            let piece: Vec<Value> = values.by_ref().take(4096).collect();
            if piece.is_empty() {
                return objects;
            }
            objects.extend(read(piece.into_iter()).objects);
        }
    }

    /// Everything, indexed.
    pub fn index(&self) -> ClusterIndex {
        ClusterIndex::new(self.objects())
    }
}

/// Manifests as objects.
pub fn read(values: impl Iterator<Item = Value>) -> Ingested {
    let mut text = Vec::new();
    _ = write(Format::JsonDocuments, values, &mut text);
    ingest("synthetic", &text, "default")
}

fn controller(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "apps/v1", "controller": true, "kind": kind, "name": name, "uid": "0" }])
}

/// Writes manifests.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(format: Format, values: impl Iterator<Item = Value>, mut out: impl Write) -> io::Result<()> {
    match format {
        Format::JsonDocuments => {
            for value in values {
                out.write_all(b"---\n")?;
                value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, OneLine))?;
                out.write_all(b"\n")?;
            }
        }
        Format::JsonList => {
            let formatter = PrettyFormatter::with_indent(b"    ");
            List(RefCell::new(Some(values)))
                .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))?;
            out.write_all(b"\n")?;
        }
        Format::Yaml => {
            for value in values {
                out.write_all(b"---\n")?;
                write_yaml(&value, 0, false, &mut out)?;
            }
        }
        Format::YamlList => {
            out.write_all(b"apiVersion: v1\nitems:\n")?;
            for value in values {
                out.write_all(b"- ")?;
                write_yaml(&value, 2, true, &mut out)?;
            }
            out.write_all(b"kind: List\nmetadata:\n  resourceVersion: \"\"\n")?;
        }
    }
    out.flush()
}

/// Spaces behind commas and colons, as Python writes them.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// A `List` of values that are made while it is written.
struct List<I>(RefCell<Option<I>>);

impl<I: Iterator<Item = Value>> Serialize for List<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Items<'l, I>(&'l RefCell<Option<I>>);
        impl<I: Iterator<Item = Value>> Serialize for Items<'_, I> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.take().into_iter().flatten())
            }
        }
        let mut list = serializer.serialize_struct("List", 4)?;
        list.serialize_field("apiVersion", "v1")?;
        list.serialize_field("items", &Items(&self.0))?;
        list.serialize_field("kind", "List")?;
        list.serialize_field("metadata", &json!({ "resourceVersion": "" }))?;
        list.end()
    }
}

/// Block style as `kubectl get -o yaml` prints it: lists are not indented under their key.
/// `inline` is whether the first line has begun already.
fn write_yaml(value: &Value, indent: usize, inline: bool, out: &mut impl Write) -> io::Result<()> {
    let pad = |out: &mut dyn Write, first: bool| write!(out, "{:1$}", "", if first && inline { 0 } else { indent });
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (i, (key, value)) in map.iter().enumerate() {
                pad(out, i == 0)?;
                write!(out, "{}:", yaml_scalar(key))?;
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        writeln!(out)?;
                        write_yaml(value, indent + 2, false, out)?;
                    }
                    Value::Array(items) if !items.is_empty() => {
                        writeln!(out)?;
                        write_yaml(value, indent, false, out)?;
                    }
                    _ => {
                        write!(out, " ")?;
                        write_yaml(value, indent, true, out)?;
                    }
                }
            }
            Ok(())
        }
        Value::Array(items) if !items.is_empty() => items.iter().enumerate().try_for_each(|(i, item)| {
            pad(out, i == 0)?;
            write!(out, "- ")?;
            write_yaml(item, indent + 2, true, out)
        }),
        Value::String(text) => writeln!(out, "{}", yaml_scalar(text)),
        other => writeln!(out, "{other}"),
    }
}

/// Text as YAML: plain where it cannot be read as anything else.
fn yaml_scalar(text: &str) -> String {
    let safe = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/'));
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&text.to_ascii_lowercase().as_str());
    let address = text.starts_with(|c: char| c.is_ascii_digit()) && text.matches('.').count() > 1;
    if safe && (word || address) { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_formats_say_the_same() {
        let cluster = Synthetic { owners: true, ..Synthetic::new(200, 7, 10) };
        let formats = [Format::JsonDocuments, Format::JsonList, Format::Yaml, Format::YamlList];
        let shown = formats.map(|format| {
            let ingested = ingest("x", cluster.text(format).as_bytes(), "default");
            assert!(ingested.diagnostics.is_empty(), "{format:?}: {:?}", ingested.diagnostics);
            ingested.objects
        });
        assert!(shown.iter().all(|objects| *objects == cluster.objects()));
    }

    #[test]
    fn large_clusters_are_valid_and_have_what_was_asked() {
        let cluster = Synthetic::new(3_000, 1_000, 10);
        let index = cluster.index();
        assert_eq!((index.pods().count(), index.policies().count()), (3_000, 10_000));
        assert!(read(cluster.policies()).diagnostics.is_empty());
        let big = Synthetic::new(100_000, 1_000, 10);
        let addresses: HashSet<String> = (0..big.pods).map(|i| big.pod_facts(i).address).collect();
        assert_eq!(addresses.len(), big.pods);
        assert!(addresses.iter().all(|text| text.parse::<std::net::Ipv4Addr>().is_ok()));
    }
}
