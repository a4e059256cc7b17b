//! What happens in the cluster of the soak: one change of the API server after the other, always the same ones
//! from the same seed. Names of objects, values of labels, names of hosts and selectors are new all the time, as
//! those of rollouts are: what an agent never forgets grows by them.

use super::super::cluster::{namespace, policy};
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::dns::DnsServer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How many pods there are, about.
pub const PODS: usize = 1000;
/// Namespaces of what comes and goes.
const NAMESPACES: usize = 10;
const POLICIES: usize = 80;
const DOMAIN_POLICIES: usize = 10;
/// The nodes whose pods are no more than objects, besides those of the fabric.
pub const OTHER_NODES: std::ops::RangeInclusive<u8> = 3..=10;
/// Addresses of pods on a node.
const ON_NODE: u8 = 120;
/// Addresses of pods on the nodes that have a fabric.
const ON_FABRIC: u8 = 60;

/// Random numbers that are the same each time: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or_default()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct Pod {
    namespace: String,
    name: String,
    labels: BTreeMap<&'static str, String>,
    /// What its port `http` is.
    port: u16,
    slot: Option<Slot>,
}

/// A place for a pod: a node and its addresses there.
#[derive(Clone, Copy)]
struct Slot {
    node: u8,
    host: u8,
}

impl Slot {
    fn addresses(self) -> [IpAddr; 2] {
        let Slot { node, host } = self;
        [IpAddr::from([10, 244, node, host]), IpAddr::from([0xfd00, 0x244, node.into(), 0, 0, 0, 0, host.into()])]
    }
}

/// The objects that come and go, and what comes next.
pub struct Churn {
    random: Random,
    /// Counts up, for names that were never there.
    fresh: usize,
    pods: Vec<Pod>,
    /// Pods that wait for their addresses.
    waiting: Vec<Pod>,
    /// Objects of pods that have ended, and hold no addresses.
    ended: Vec<(String, String)>,
    free: Vec<Slot>,
    policies: Vec<(String, String)>,
    domain_policies: Vec<(String, String)>,
    /// What each name stands for: it is one of these, by its number.
    hosts: Vec<[IpAddr; 2]>,
    /// All names so far with their addresses.
    pub names: Vec<(String, [IpAddr; 2])>,
}

impl Churn {
    /// Begins with all pods and policies; the addresses up to `taken` of the fabric's nodes are somebody else's.
    pub fn new(api: &ApiServer, dns: &DnsServer, taken: u8, hosts: Vec<[IpAddr; 2]>) -> Self {
        let on = |node: u8, first: u8, last: u8| (first..=last).map(move |host| Slot { node, host });
        let others = OTHER_NODES.flat_map(|node| on(node, 1, ON_NODE));
        let mut free: Vec<Slot> = others.collect();
        // Taken from the end: the fabric's pods come first.
        free.extend((1..=2).flat_map(|node| on(node, taken + 1, ON_FABRIC)).rev());
        let mut churn = Churn {
            random: Random(1),
            fresh: 0,
            pods: Vec::new(),
            waiting: Vec::new(),
            ended: Vec::new(),
            free,
            policies: Vec::new(),
            domain_policies: Vec::new(),
            hosts,
            names: Vec::new(),
        };
        for n in 0..NAMESPACES {
            api.apply(namespace(&format!("ns-{n}"), json!({"team": format!("t{}", n % 4)})));
        }
        while churn.pods.len() < PODS {
            churn.create(api);
            churn.give_address(api);
        }
        while churn.policies.len() < POLICIES {
            churn.change_policy(api);
        }
        while churn.domain_policies.len() < DOMAIN_POLICIES {
            churn.change_domain_policy(api, dns);
        }
        churn
    }

    /// One change.
    pub fn step(&mut self, api: &ApiServer, dns: &DnsServer) {
        match self.random.below(100) {
            0..25 if self.pods.len() + self.waiting.len() < PODS => self.create(api),
            0..45 if !self.waiting.is_empty() => self.give_address(api),
            0..65 => self.end(api),
            65..82 => self.relabel(api),
            82..94 => self.change_policy(api),
            94..96 => self.relabel_namespace(api),
            _ => self.change_domain_policy(api, dns),
        }
    }

    fn fresh(&mut self) -> usize {
        self.fresh += 1;
        self.fresh
    }

    fn labels(&mut self) -> BTreeMap<&'static str, String> {
        let version = self.fresh();
        BTreeMap::from([
            ("app", format!("a{}", self.random.below(8))),
            ("role", format!("r{}", self.random.below(3))),
            // As `pod-template-hash`: it is never there again.
            ("version", format!("v{}", version / 20)),
        ])
    }

    fn namespace(&mut self) -> String {
        format!("ns-{}", self.random.below(NAMESPACES))
    }

    /// A pod that has no address yet.
    fn create(&mut self, api: &ApiServer) {
        let (namespace, labels, n) = (self.namespace(), self.labels(), self.fresh());
        let port = if self.random.one_in(2) { 80 } else { 8080 };
        let pod = Pod { namespace, name: format!("pod-{n}"), labels, port, slot: None };
        api.apply(pod.object("Pending"));
        self.waiting.push(pod);
    }

    /// Its address: one that another pod has just had, as often as not.
    fn give_address(&mut self, api: &ApiServer) {
        let Some(mut pod) = self.waiting.pop() else { return };
        let last = self.free.len() - 1;
        let from_end = if self.random.one_in(2) { self.random.below(8).min(last) } else { self.random.below(last + 1) };
        pod.slot = Some(self.free.remove(last - from_end));
        api.apply(pod.object("Running"));
        self.pods.push(pod);
    }

    /// The end of a pod: its object goes, or stays for a while without a claim to the address.
    fn end(&mut self, api: &ApiServer) {
        if self.ended.len() > 5 {
            let (namespace, name) = self.ended.remove(0);
            return api.delete("pods", &namespace, &name);
        }
        let index = self.random.below(self.pods.len());
        let pod = self.pods.swap_remove(index);
        if self.random.one_in(3) {
            api.apply(pod.object("Succeeded"));
            self.ended.push((pod.namespace, pod.name));
        } else {
            api.delete("pods", &pod.namespace, &pod.name);
        }
        self.free.extend(pod.slot);
    }

    fn relabel(&mut self, api: &ApiServer) {
        let labels = self.labels();
        let index = self.random.below(self.pods.len());
        self.pods[index].labels = labels;
        api.apply(self.pods[index].object("Running"));
    }

    fn relabel_namespace(&mut self, api: &ApiServer) {
        let (name, team, era) = (self.namespace(), self.random.below(4), self.fresh());
        api.apply(namespace(&name, json!({"team": format!("t{team}"), "era": format!("e{era}")})));
    }

    fn change_policy(&mut self, api: &ApiServer) {
        let full = self.policies.len() >= POLICIES;
        if full || (self.random.one_in(3) && !self.policies.is_empty()) {
            let index = self.random.below(self.policies.len());
            let (namespace, name) = self.policies.swap_remove(index);
            if full || self.random.one_in(2) {
                return api.delete("networkpolicies", &namespace, &name);
            }
            let spec = self.spec();
            api.apply(policy(&namespace, &name, spec));
            return self.policies.push((namespace, name));
        }
        let (namespace, n, spec) = (self.namespace(), self.fresh(), self.spec());
        let name = format!("policy-{n}");
        api.apply(policy(&namespace, &name, spec));
        self.policies.push((namespace, name));
    }

    fn spec(&mut self) -> Value {
        let types = [json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])][self.random.below(3)].clone();
        let (ingress, egress) = (self.rules("from"), self.rules("to"));
        json!({"podSelector": self.selector(), "policyTypes": types, "ingress": ingress, "egress": egress})
    }

    fn rules(&mut self, peers: &str) -> Vec<Value> {
        let mut rules = Vec::new();
        for _ in 0..=self.random.below(2) {
            let mut rule = json!({});
            if !self.random.one_in(8) {
                rule[peers] = (0..=self.random.below(2)).map(|_| self.peer()).collect();
            }
            if !self.random.one_in(3) {
                rule["ports"] = (0..=self.random.below(1)).map(|_| self.port()).collect();
            }
            rules.push(rule);
        }
        rules
    }

    fn selector(&mut self) -> Value {
        let (app, role) = (format!("a{}", self.random.below(8)), format!("r{}", self.random.below(3)));
        match self.random.below(6) {
            0 => json!({}),
            1 | 2 => json!({"matchLabels": {"app": app}}),
            3 => json!({"matchLabels": {"version": format!("v{}", self.fresh / 20)}}),
            4 => json!({"matchExpressions": [{"key": "role", "operator": "NotIn", "values": [role]}]}),
            _ => json!({"matchExpressions": [
                {"key": "app", "operator": "In", "values": [app, format!("a{}", self.fresh)]},
                {"key": "role", "operator": "Exists"},
            ]}),
        }
    }

    fn peer(&mut self) -> Value {
        let team = format!("t{}", self.random.below(4));
        match self.random.below(6) {
            0 | 1 => json!({"podSelector": self.selector()}),
            2 => json!({"namespaceSelector": {"matchLabels": {"team": team}}}),
            3 => json!({"namespaceSelector": {"matchLabels": {"team": team}}, "podSelector": self.selector()}),
            4 => {
                let node = self.random.below(10) + 1;
                json!({"ipBlock": {"cidr": format!("10.244.{node}.0/24"), "except": [format!("10.244.{node}.{}/32", self.random.below(200))]}})
            }
            _ => json!({"ipBlock": {"cidr": format!("2001:db8:{:x}::/48", self.fresh % 0x10000)}}),
        }
    }

    fn port(&mut self) -> Value {
        match self.random.below(5) {
            0 | 1 => json!({"port": 80}),
            2 => json!({"port": "http"}),
            3 => json!({"port": 80, "endPort": 81 + self.fresh % 9000}),
            _ => json!({"port": 1 + self.fresh % 65535, "protocol": "UDP"}),
        }
    }

    /// A policy with names comes or goes; half of its names were never asked for before.
    fn change_domain_policy(&mut self, api: &ApiServer, dns: &DnsServer) {
        if self.domain_policies.len() >= DOMAIN_POLICIES || (self.random.one_in(3) && !self.domain_policies.is_empty())
        {
            let index = self.random.below(self.domain_policies.len());
            let (namespace, name) = self.domain_policies.swap_remove(index);
            return api.delete("egressdomainpolicies", &namespace, &name);
        }
        let (namespace, n, app) = (self.namespace(), self.fresh(), self.random.below(8));
        let old = self.names.len().checked_sub(1 + self.random.below(4)).and_then(|i| self.names.get(i));
        let mut hosts: Vec<String> = old.map(|(name, _)| name.clone()).into_iter().collect();
        let (host, addresses) = (format!("h{n}.example.com"), self.hosts[n % self.hosts.len()]);
        // It counts for three seconds after an answer, see the options of the agent.
        dns.set(&host, 1, addresses);
        self.names.push((host.clone(), addresses));
        hosts.push(host);
        let name = format!("names-{n}");
        api.apply(json!({
            "apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "podSelector": {"matchLabels": {"app": format!("a{app}")}},
                "egress": [{"to": [{"domainNames": hosts}], "ports": [{"port": 80}]}],
            },
        }));
        self.domain_policies.push((namespace, name));
    }

    /// How many pods, policies and policies with names there are.
    pub fn sizes(&self) -> [usize; 3] {
        [self.pods.len() + self.waiting.len() + self.ended.len(), self.policies.len(), self.domain_policies.len()]
    }
}

impl Pod {
    fn object(&self, phase: &str) -> Value {
        let ips: Vec<String> = self.slot.into_iter().flat_map(Slot::addresses).map(|ip| ip.to_string()).collect();
        let status = match ips.first() {
            Some(first) => {
                let all: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
                json!({"phase": phase, "podIP": first, "podIPs": all})
            }
            None => json!({"phase": phase}),
        };
        let node = self.slot.map(|slot| format!("node-{}", slot.node));
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": self.labels},
            "spec": {
                "nodeName": node,
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": self.port}]}],
            },
            "status": status,
        })
    }
}
