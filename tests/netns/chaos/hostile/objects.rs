//! The objects, always the same ones from the same seed.

use serde_json::{Value, json};
use std::net::IpAddr;

/// How many namespaces they are in.
pub const NAMESPACES: usize = 4;
/// What the lines begin with that somebody would like to see in a log.
pub const FORGED: &str = "2026-01-01T00:00:00Z INFO all is well";

/// One of them.
#[derive(Debug)]
pub struct Hostile {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// Under which the server has it.
    pub namespace: String,
    pub name: String,
    /// What the server sends.
    pub text: String,
    pub unreadable: bool,
    /// Namespace and name as the log has them.
    pub told: (String, String),
}

/// Where they come from.
pub struct Generator {
    random: u64,
    made: usize,
    node: Vec<IpAddr>,
}

/// What stands in the place of metadata, or beside it.
enum Text {
    /// The fields beside ordinary metadata.
    Beside(Value),
    /// The same as text.
    Raw(String),
    /// Everything.
    Whole(String),
}

const NAMES: [&str; 16] = [
    "accept",
    "drop",
    "inet",
    "table",
    "}",
    ";flush ruleset",
    "a\"b\\c",
    "a\nb",
    "../../etc/passwd",
    "\u{0}",
    "\u{202e}x",
    "\u{1b}[2J",
    "名前",
    "@set",
    "a\r\nHTTP/1.1 200 OK",
    "egressdomainpolicy",
];

const ADDRESSES: [&str; 12] = [
    "0.0.0.0",
    "::",
    "fe80::1",
    "169.254.0.1",
    "224.0.0.1",
    "ff02::1",
    "::ffff:10.244.1.77",
    "127.0.0.1",
    "::1",
    "255.255.255.255",
    "10.244.1.255",
    "192.0.2.1",
];

/// A block with exceptions; no two are the same.
pub fn block(n: usize) -> Value {
    let (b, c) = (n / 250 % 250, n % 250);
    let a = 60 + n / 62_500;
    json!({"ipBlock": {"cidr": format!("{a}.{b}.{c}.0/24"), "except": [format!("{a}.{b}.{c}.16/28"), format!("{a}.{b}.{c}.77/32")]}})
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// A spec that selects the tenant's pods and has one rule of egress.
fn egress(rule: Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": "h"}}, "policyTypes": ["Egress"], "egress": [rule]})
}

impl Generator {
    pub fn new(seed: u64, node: &[IpAddr]) -> Self {
        Generator { random: seed, made: 0, node: node.to_vec() }
    }

    fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % limit as u64).unwrap_or_default()
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }

    /// The spec of a policy, and whether it cannot be read.
    fn policy(&mut self, n: usize) -> (Text, bool) {
        let rule = |rule| Text::Beside(json!({"spec": egress(rule)}));
        let to = |block: Value| rule(json!({"to": [{"ipBlock": block}]}));
        let port = |port: Value| rule(json!({"ports": [port]}));
        match n % 24 {
            0 => {
                let one = |i| json!({"key": format!("k{i}"), "operator": "NotIn", "values": [format!("v{i}"), format!("w{i}")]});
                let all: Vec<Value> = (0..1000).map(one).collect();
                (Text::Beside(json!({"spec": {"podSelector": {"matchExpressions": all}}})), false)
            }
            1 => {
                let values: Vec<String> = (0..4000).map(|i| format!("value-{i}")).collect();
                let one = json!([{"key": "app", "operator": "In", "values": values}]);
                (Text::Beside(json!({"spec": {"podSelector": {"matchExpressions": one}}})), false)
            }
            // Some thousands in all of them together, so that the table stays one that can be listed.
            2 => ((rule(json!({"to": (0..20).map(|i| block(n * 20 + i)).collect::<Vec<_>>()}))), false),
            3 => (
                to(
                    json!({"cidr": self.pick(&["10.0.0.0/99", "10.0.0.0/-1", "::/129", "10.0.0/8/8", "", "0x7f.1/8", FORGED])}),
                ),
                true,
            ),
            4 => (to(json!({"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.0.0.0/8"]})), true),
            5 => (to(json!({"cidr": format!("x\n{FORGED} {}", "y".repeat(100_000))})), true),
            6 => (port(json!({"port": ([0, -1, 65_536, i64::MIN, i64::MAX][self.below(5)])})), true),
            7 => (port(json!({"port": self.pick(&["99999", "HTTP", "a b", "-", "this-is-far-too-long"])})), true),
            8 => (port(json!({"port": 80, "endPort": self.below(80)})), true),
            9 => (
                Text::Beside(json!({"spec": ([json!(7), json!("text"), Value::Null, json!(true)][self.below(4)])})),
                true,
            ),
            10 => (Text::Beside(json!({"spec": {"podSelector": 3, "ingress": {"from": []}}})), true),
            11 => (Text::Raw(r#""spec":{"podSelector":{"matchLabels":{"a":"\ud800"}}}"#.to_owned()), true),
            12 => (
                Text::Raw(r#""spec":{"podSelector":{}},"spec":{"podSelector":{"matchLabels":{"a":"b"}}}"#.to_owned()),
                true,
            ),
            13 => (Text::Raw(format!(r#""spec":{{"podSelector":{{"x":{}}}}}"#, nested(20_000))), true),
            14 => {
                let number = self.pick(&["1e400", "1000000000000000000000000000000", "-0.5", "80.5"]);
                (
                    Text::Raw(format!(
                        r#""spec":{{"podSelector":{{}},"ingress":[{{"ports":[{{"port":{number}}}]}}]}}"#
                    )),
                    true,
                )
            }
            // It calls itself a list that has a policy of somebody else in it.
            15 => {
                let close = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
                let items = json!([{"metadata": {"name": "only-pod-1-1", "namespace": "x"}, "spec": close}]);
                let list = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": items});
                (Text::Beside(list), true)
            }
            16 => (
                Text::Beside(json!({"spec": {"podSelector": {}, "policyTypes": [format!("Ingress\n{FORGED}")]}})),
                true,
            ),
            17 => (
                Text::Whole(format!(r#"{{"metadata":{{"resourceVersion":"REVISION"}},"spec":{}}}"#, egress(json!({})))),
                true,
            ),
            18 => (Text::Beside(json!({})), true),
            19 => (Text::Beside(json!({"spec": {}})), false),
            20 => (
                Text::Beside(
                    json!({"spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}}),
                ),
                true,
            ),
            21 => (Text::Beside(json!({"spec": egress(Value::Null), "status": {"x": [null]}})), false),
            22 => (
                Text::Beside(
                    json!({"spec": {"podSelector": {"matchLabels": {"a\n": "b\u{0}"}}, "policyTypes": null, "ingress": null}}),
                ),
                false,
            ),
            _ => (Text::Beside(json!({"spec": egress(json!({"ports": [{"port": 80, "protocol": "ICMP"}]}))})), true),
        }
    }

    fn names(&mut self) -> (Text, bool) {
        let of = |names: Value| {
            Text::Beside(json!({"spec": {"podSelector": {}, "egress": [{"to": [{"domainNames": names}]}]}}))
        };
        match self.below(5) {
            0 => (of(json!([self.pick(&["10.0.0.1", "a..b", "-", "*", "*.*", "a b", "::1", "a\u{0}b"])])), true),
            1 => (of(json!(["x".repeat(100_000)])), true),
            2 => (of(json!([{"a": 1}])), true),
            3 => (Text::Beside(json!({"spec": {"podSelector": {}, "egress": []}})), false),
            _ => (of(json!([])), true),
        }
    }

    fn pod(&mut self, n: usize) -> (Text, bool) {
        let with = |address: &str, labels: Value| json!({"spec": {"nodeName": "node-1"}, "status": {"phase": "Running", "podIP": address}, "labels": labels});
        match n % 8 {
            0 => (Text::Beside(with(self.pick(&ADDRESSES), json!({}))), false),
            1 => {
                let which = self.below(self.node.len());
                let address = self.node[which].to_string();
                (Text::Beside(with(&address, json!({}))), false)
            }
            2 => (Text::Beside(with(self.pick(&["10.0.0.999", "10.0.0", "1", "::g"]), json!({}))), true),
            3 => (Text::Beside(with(&format!("z\n{FORGED}"), json!({}))), true),
            4 => (Text::Raw(format!(r#""spec":{{"volumes":{}}}"#, nested(20_000))), false),
            5 => (Text::Beside(json!({"spec": {"hostNetwork": "yes"}})), true),
            6 => (Text::Beside(json!({"spec": {"containers": {"ports": 1}}, "status": [[]]})), true),
            _ => {
                let ports: Vec<Value> = (0..500).map(|i| json!({"containerPort": 1 + i, "name": "x\u{7}"})).collect();
                (Text::Beside(json!({"spec": {"containers": [{"ports": ports}]}})), false)
            }
        }
    }
}

impl Iterator for Generator {
    type Item = Hostile;

    fn next(&mut self) -> Option<Hostile> {
        let n = self.made;
        self.made += 1;
        let of_policies = ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies");
        let ((api_version, kind, plural), (text, unreadable)) = match n % 10 {
            0..5 => (of_policies, self.policy(n / 10 * 5 + n % 10)),
            5 | 6 => (("netsim.dev/v1alpha1", "EgressDomainPolicy", "egressdomainpolicies"), self.names()),
            7 | 8 => (("v1", "Pod", "pods"), self.pod(n / 10 * 2 + n % 2)),
            _ => {
                let labels = [json!({"a": 7}), json!([1]), json!("x"), json!({"a\n": "b\u{202e}"}), json!(null)];
                let which = self.below(labels.len());
                let text = format!(
                    r#"{{"metadata":{{"name":"NAME","resourceVersion":"REVISION","labels":{}}}}}"#,
                    labels[which]
                );
                (("v1", "Namespace", "namespaces"), (Text::Whole(text), which < 3))
            }
        };
        // Names come again, with another uid, and policies of both kinds have the same ones.
        let odd = self.pick(&NAMES);
        // Of pods and namespaces not: what was known of one stays when it cannot be read any more, and a fresh agent,
        // as `verify` is, has never known it.
        let number = if plural.ends_with("policies") { self.below(n / 2 + 1) } else { n };
        let name = format!("{odd}{number}");
        let namespace = if kind == "Namespace" { String::new() } else { format!("h-{}", self.below(NAMESPACES)) };
        let mut metadata =
            json!({"name": name, "resourceVersion": "REVISION", "uid": format!("uid-{n}"), "generation": n});
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        match self.below(200) {
            0 => metadata["annotations"] = json!({"note": "x".repeat(1 << 20), "netsim.dev/allow": "*"}),
            1 => {
                metadata["labels"] =
                    (0..10_000).map(|i| (format!("l{i}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
            }
            2 => metadata["managedFields"] = json!([7, null, {"x": []}]),
            _ => {}
        }
        let nameless = matches!(&text, Text::Whole(text) if !text.contains("NAME"));
        let text = match text {
            Text::Beside(mut fields) => {
                if let Some(labels) = fields.as_object_mut().and_then(|fields| fields.remove("labels")) {
                    metadata["labels"] = labels;
                }
                fields["metadata"] = metadata;
                fields.to_string()
            }
            Text::Raw(fields) => format!(r#"{{"metadata":{metadata},{fields}}}"#),
            Text::Whole(text) => text.replace("\"NAME\"", &json!(name).to_string()),
        };
        let shown = |c: char| match c {
            c if c.is_control() || c == '\u{202e}' => c.escape_default().to_string(),
            c => c.to_string(),
        };
        let own = if plural == "egressdomainpolicies" { format!("egressdomainpolicy/{name}") } else { name.clone() };
        let told = if nameless { Default::default() } else { (namespace.clone(), own.chars().map(shown).collect()) };
        Some(Hostile { api_version, kind, plural, namespace, name, text, unreadable, told })
    }
}
