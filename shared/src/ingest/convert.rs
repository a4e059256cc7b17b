//! From manifests to typed objects. What is wrong is told by its path in the object.

use super::kind::Kind;
use super::names;
use super::raw;
use crate::diagnostic::{Severity, nearest};
use crate::dns::NamePattern;
use crate::net::{is_within, read_cidr};
use crate::object::{
    AccessRule, ClusterNode, ContainerPort, EndpointSlice, ForeignPolicy, Life, NAMESPACE_NAME_LABEL, Namespace,
    Object, Origin, Owner, Path, Pod, PodSpec, Powers, Role, RoleBinding, Service, ServiceKind, ServicePort, SlicePort,
    Subject, TargetPort, Workload,
};
use crate::policy::{IpBlock, MAX_DOMAIN_NAMES, NamedPort, NetworkPolicy, Peer, PolicyKind, PortMatch, Rule};
use crate::ports::{PortRange, Protocol};
use crate::selector::{Condition, Labels, Requirement, Selector};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// Something wrong at a path of an object.
#[derive(Debug)]
pub struct Problem {
    pub severity: Severity,
    pub path: Path,
    pub message: String,
    pub help: Option<String>,
    /// The rule of `netsim lint` that it is about, if any.
    pub rule: Option<&'static str>,
}

/// What is found wrong while one object is read.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    fn push(&mut self, severity: Severity, path: &Path, message: impl Into<String>, help: Option<String>) {
        self.0.push(Problem { severity, path: path.clone(), message: message.into(), help, rule: None });
    }

    /// Says of what `read` finds wrong which rule of `netsim lint` it is about.
    fn under<T>(&mut self, rule: &'static str, read: impl FnOnce(&mut Problems) -> T) -> T {
        let before = self.0.len();
        let done = read(self);
        for problem in self.0.get_mut(before..).unwrap_or_default() {
            problem.rule.get_or_insert(rule);
        }
        done
    }

    fn error(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, path, message, Some(help.into()));
    }

    fn has_error(&self) -> bool {
        self.0.iter().any(|p| p.severity == Severity::Error)
    }
}

/// What reading an object needs to know from around it.
pub struct Context<'c> {
    /// The namespace of namespaced objects that name none.
    pub default_namespace: &'c str,
    /// The object's `apiVersion`.
    pub api_version: &'c str,
    /// The object's kind as it is written.
    pub kind: &'c str,
    /// Where it stands.
    pub origin: Origin,
}

impl Context<'_> {
    /// Where an object stands, with what its annotations say of findings.
    fn origin_of(&self, metadata: Option<&raw::Metadata>) -> Origin {
        let accepted = metadata.and_then(|m| m.annotations.as_ref()?.allow.as_deref());
        Origin { accepted: accepted.map(Into::into), ..self.origin.clone() }
    }
}

/// Reads one object of a known kind. Gives no objects when an error was found.
///
/// # Errors
/// What the deserializer found: the manifest does not have the kind's shape.
pub fn read<'de, D: Deserializer<'de>>(
    kind: Kind,
    deserializer: D,
    context: Context<'_>,
) -> Result<(Vec<Object>, Problems), D::Error> {
    let mut problems = Problems::default();
    let p = &mut problems;
    let objects = match kind {
        Kind::Namespace => namespace(raw::Namespace::deserialize(deserializer)?, context, p)
            .map(Object::Namespace)
            .into_iter()
            .collect(),
        Kind::Pod => pod(raw::Pod::deserialize(deserializer)?, context, p)
            .map(|pod| Object::Pod(Box::new(pod)))
            .into_iter()
            .collect(),
        Kind::Workload(_) => workload(kind, raw::Workload::deserialize(deserializer)?, context, p)
            .map(Object::Workload)
            .into_iter()
            .collect(),
        Kind::Service => {
            service(raw::Service::deserialize(deserializer)?, context, p).map(Object::Service).into_iter().collect()
        }
        Kind::EndpointSlice => slice(raw::EndpointSlice::deserialize(deserializer)?, context, p)
            .map(Object::EndpointSlice)
            .into_iter()
            .collect(),
        Kind::Endpoints => endpoints(raw::Endpoints::deserialize(deserializer)?, context, p)
            .into_iter()
            .map(Object::EndpointSlice)
            .collect(),
        Kind::Node => node(raw::Node::deserialize(deserializer)?, context, p).map(Object::Node).into_iter().collect(),
        Kind::NetworkPolicy => network_policy(raw::NetworkPolicy::deserialize(deserializer)?, context, p)
            .map(Object::NetworkPolicy)
            .into_iter()
            .collect(),
        Kind::EgressDomainPolicy => {
            egress_domain_policy(raw::EgressDomainPolicy::deserialize(deserializer)?, context, p)
                .map(Object::NetworkPolicy)
                .into_iter()
                .collect()
        }
        Kind::Role => role(raw::Role::deserialize(deserializer)?, context, p).map(Object::Role).into_iter().collect(),
        Kind::RoleBinding => role_binding(raw::RoleBinding::deserialize(deserializer)?, context, p)
            .map(Object::RoleBinding)
            .into_iter()
            .collect(),
        Kind::Foreign => {
            foreign(raw::Head::deserialize(deserializer)?, context, p).map(Object::Foreign).into_iter().collect()
        }
        Kind::Other => Vec::new(),
    };
    Ok((if problems.has_error() { Vec::new() } else { objects }, problems))
}

/// The name of an object; an error where it has none.
fn name_of(metadata: Option<&raw::Metadata>, context: &Context<'_>, problems: &mut Problems) -> Option<Box<str>> {
    let given = metadata.and_then(|m| m.name.as_deref()).filter(|n| !n.is_empty()).map(Into::into);
    let found = given.or_else(|| generated_name(metadata?.generate_name.as_deref()?, &context.origin));
    if found.is_none() {
        let path = Path::default().key("metadata").key("name");
        problems.error(&path, format!("this {} has no `metadata.name`", context.kind), "give it a name");
    }
    found
}

/// The API server adds a suffix of its own to `generateName`. Here it is one that stays the same
/// from run to run and that no two places share, so that objects of one prefix stay apart.
fn generated_name(prefix: &str, origin: &Origin) -> Option<Box<str>> {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    (&origin.source, origin.text_at, origin.line, &origin.within).hash(&mut hasher);
    let suffix = hasher.finish() % 0x10_0000;
    (!prefix.is_empty()).then(|| format!("{prefix}{suffix:05x}").into())
}

/// Namespace and name of an object; an error where it has no name.
fn key_of(
    metadata: Option<&raw::Metadata>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<(Box<str>, Box<str>)> {
    let name = name_of(metadata, context, problems)?;
    let namespace = metadata.and_then(|m| m.namespace.as_deref()).filter(|n| !n.is_empty());
    Some((namespace.unwrap_or(context.default_namespace).into(), name))
}

fn labels(map: raw::StringMap) -> Labels {
    map.unwrap_or_default().into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

fn namespace(raw: raw::Namespace, context: Context<'_>, problems: &mut Problems) -> Option<Namespace> {
    let name = name_of(raw.metadata.as_ref(), &context, problems)?;
    let origin = context.origin_of(raw.metadata.as_ref());
    let labels = labels(raw.metadata.and_then(|m| m.labels)).with(NAMESPACE_NAME_LABEL, &name);
    Some(Namespace { name, labels, origin })
}

fn owner(references: Option<Vec<raw::OwnerReference>>) -> Option<Owner> {
    let controller = references?.into_iter().find(|r| r.controller == Some(true))?;
    Some(Owner { kind: controller.kind?.into(), name: controller.name?.into() })
}

/// `path` is only built when something is wrong, which is seldom.
fn addresses(path: impl Fn() -> Path, texts: impl IntoIterator<Item = String>, problems: &mut Problems) -> Vec<IpAddr> {
    let mut out: Vec<IpAddr> = Vec::new();
    for text in texts.into_iter().filter(|text| !text.is_empty() && text != "None") {
        match text.parse() {
            Ok(address) if !out.contains(&address) => out.push(address),
            Ok(_) => {}
            Err(_) => {
                problems.error(&path(), format!("`{text}` is not an IP address"), "write it as 10.0.0.1 or 2001:db8::1")
            }
        }
    }
    out
}

fn holders(one: Option<String>, many: Option<Vec<raw::IpHolder>>) -> impl Iterator<Item = String> {
    one.into_iter().chain(many.unwrap_or_default().into_iter().filter_map(|holder| holder.ip))
}

fn protocol(text: Option<&str>, path: &Path, problems: &mut Problems) -> Option<Protocol> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Some(Protocol::Tcp) };
    let exact = Protocol::ALL.into_iter().find(|p| p.as_str() == text);
    if exact.is_none() {
        let help = Protocol::parse_lenient(text).map_or_else(
            || "the protocols are TCP, UDP and SCTP; ICMP cannot be named in a NetworkPolicy".to_owned(),
            |meant| format!("write it as `{meant}`"),
        );
        problems.error(&path.key("protocol"), format!("`{text}` is not a protocol"), help);
    }
    exact
}

fn port_number(number: i64, path: &Path, problems: &mut Problems) -> Option<u16> {
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        problems.error(path, format!("`{number}` is not a port"), "ports are numbers from 1 to 65535");
    }
    port
}

fn container_ports(
    path: impl Fn() -> Path,
    containers: Vec<raw::Container>,
    problems: &mut Problems,
    out: &mut Vec<ContainerPort>,
) {
    for (i, container) in containers.into_iter().enumerate() {
        for (j, port) in container.ports.unwrap_or_default().into_iter().enumerate() {
            // Most ports have nothing wrong: the path is only built when something is.
            let path = || path().index(i).key("ports").index(j);
            let Some(number) = port.container_port else {
                problems.error(&path(), "a container port without `containerPort`", "give the number it listens on");
                continue;
            };
            let valid = u16::try_from(number).ok().filter(|n| *n > 0);
            let Some(number) = valid.or_else(|| port_number(number, &path().key("containerPort"), problems)) else {
                continue;
            };
            let known = match port.protocol.as_deref() {
                None | Some("TCP") => Some(Protocol::Tcp),
                Some("UDP") => Some(Protocol::Udp),
                other => protocol(other, &path(), problems),
            };
            let Some(protocol) = known else { continue };
            let host_port = port.host_port.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
            out.push(ContainerPort { name: port.name.map(Into::into), port: number, protocol, host_port });
        }
    }
}

fn pod_spec(
    path: impl Fn() -> Path,
    map: raw::StringMap,
    spec: Option<raw::PodSpec>,
    problems: &mut Problems,
) -> PodSpec {
    let spec = spec.unwrap_or_default();
    let mut ports = Vec::new();
    let containers = || spec.containers.iter().chain(&spec.init_containers).flatten();
    let powers = powers(containers());
    container_ports(|| path().key("containers"), spec.containers.unwrap_or_default(), problems, &mut ports);
    // Native sidecars run beside the containers; other init containers are gone before them (C3).
    let mut inits = spec.init_containers.unwrap_or_default();
    for init in &mut inits {
        if init.restart_policy.as_deref() != Some("Always") {
            init.ports = None;
        }
    }
    container_ports(|| path().key("initContainers"), inits, problems, &mut ports);
    PodSpec {
        labels: labels(map),
        ports,
        host_network: spec.host_network.unwrap_or(false),
        node: spec.node_name.filter(|n| !n.is_empty()).map(Into::into),
        service_account: spec.service_account_name.filter(|n| !n.is_empty()).map(Into::into),
        powers,
    }
}

fn powers<'c>(containers: impl Iterator<Item = &'c raw::Container>) -> Powers {
    let mut powers = Powers::default();
    for context in containers.filter_map(|c| c.security_context.as_ref()) {
        powers.privileged |= context.privileged == Some(true);
        for name in context.capabilities.iter().filter_map(|c| c.add.as_ref()).flatten() {
            let name = name.strip_prefix("CAP_").unwrap_or(name);
            powers.net_admin |= matches!(name, "NET_ADMIN" | "ALL");
            powers.net_raw |= matches!(name, "NET_RAW" | "ALL");
        }
    }
    powers
}

fn pod(raw: raw::Pod, context: Context<'_>, problems: &mut Problems) -> Option<Pod> {
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let metadata = raw.metadata.unwrap_or_default();
    let origin = context.origin_of(Some(&metadata));
    let spec = pod_spec(Path::spec, metadata.labels, raw.spec, problems);
    let status = raw.status.unwrap_or_default();
    let path = |key| move || Path::default().key("status").key(key);
    let host_addresses = addresses(path("hostIP"), holders(status.host_ip, status.host_ips), problems);
    let mut own = addresses(path("podIP"), holders(status.pod_ip, status.pod_ips), problems);
    if spec.host_network && own.is_empty() {
        own = host_addresses.clone();
    }
    let life = match status.phase.as_deref() {
        Some("Succeeded" | "Failed") => Life::Terminal,
        None | Some("") if own.is_empty() => Life::Manifest,
        Some("Running" | "Unknown") if spec.host_network => Life::Live,
        _ if own.is_empty() => Life::Waiting,
        _ => Life::Live,
    };
    Some(Pod {
        namespace,
        name,
        uid: metadata.uid.unwrap_or_default().into(),
        owner: owner(metadata.owner_references),
        spec,
        life,
        addresses: own,
        host_addresses,
        origin,
    })
}

fn workload(kind: Kind, raw: raw::Workload, context: Context<'_>, problems: &mut Problems) -> Option<Workload> {
    let Kind::Workload(kind) = kind else { return None };
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let mut path = Path::spec();
    let mut spec = raw.spec.unwrap_or_default();
    if let Some(inner) = spec.job_template.take() {
        path = path.key("jobTemplate").key("spec");
        spec = inner.spec.unwrap_or_default();
    }
    let path = path.key("template");
    let template = spec.template.unwrap_or_default();
    let map = template.metadata.and_then(|m| m.labels);
    let template = pod_spec(|| path.key("spec"), map, template.spec, problems);
    let origin = context.origin_of(raw.metadata.as_ref());
    let owner = owner(raw.metadata.and_then(|m| m.owner_references));
    Some(Workload { kind, namespace, name, template, owner, origin })
}

fn service(raw: raw::Service, context: Context<'_>, problems: &mut Problems) -> Option<Service> {
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let spec = raw.spec.unwrap_or_default();
    let path = Path::spec();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let kind = match spec.r#type.as_deref() {
        Some("ExternalName") => ServiceKind::ExternalName(spec.external_name.unwrap_or_default().into()),
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        None | Some("" | "ClusterIP") if headless => ServiceKind::Headless,
        None | Some("" | "ClusterIP") => ServiceKind::ClusterIp,
        Some(other) => {
            let help = "the types are ClusterIP, NodePort, LoadBalancer and ExternalName";
            problems.error(&path.key("type"), format!("`{other}` is not a type of Service"), help);
            return None;
        }
    };
    let mut ports = Vec::new();
    for (i, port) in spec.ports.unwrap_or_default().into_iter().enumerate() {
        let path = path.key("ports").index(i);
        let Some(number) = port.port else {
            problems.error(&path, "a Service port without `port`", "give the port that clients use");
            continue;
        };
        let Some(number) = port_number(number, &path.key("port"), problems) else { continue };
        let Some(protocol) = protocol(port.protocol.as_deref(), &path, problems) else { continue };
        let target = match port.target_port {
            None | Some(raw::IntOrString::Int(0)) => TargetPort::Number(number),
            Some(raw::IntOrString::Int(n)) => match port_number(n, &path.key("targetPort"), problems) {
                Some(n) => TargetPort::Number(n),
                None => continue,
            },
            Some(raw::IntOrString::String(name)) if name.is_empty() => TargetPort::Number(number),
            Some(raw::IntOrString::String(name)) => TargetPort::Name(name.into()),
        };
        let name = port.name.filter(|n| !n.is_empty()).map(Into::into);
        let node_port = port.node_port.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
        ports.push(ServicePort { name, port: number, target, node_port, protocol });
    }
    let cluster = spec.cluster_ip.into_iter().chain(spec.cluster_ips.unwrap_or_default());
    let cluster_addresses = addresses(|| path.key("clusterIP"), cluster, problems);
    let balancer = raw.status.and_then(|s| s.load_balancer).and_then(|b| b.ingress);
    let outside = spec.external_ips.unwrap_or_default().into_iter().chain(holders(spec.load_balancer_ip, balancer));
    let external_addresses = addresses(|| path.key("externalIPs"), outside, problems);
    // An empty selector selects nothing: such a Service has its endpoints from elsewhere (E2).
    let selector = spec.selector.filter(|s| !s.is_empty()).map(|map| match_labels(labels(Some(map))).collect());
    let keeps_source = spec.external_traffic_policy.as_deref() == Some("Local");
    Some(Service {
        namespace,
        name,
        kind,
        selector,
        ports,
        cluster_addresses,
        external_addresses,
        keeps_source,
        origin: context.origin_of(raw.metadata.as_ref()),
    })
}

fn slice_ports(path: &Path, raw: Option<Vec<raw::SlicePort>>, problems: &mut Problems) -> Vec<SlicePort> {
    let mut out = Vec::new();
    for (i, port) in raw.unwrap_or_default().into_iter().enumerate() {
        let path = path.key("ports").index(i);
        let number = match port.port {
            None => None,
            Some(n) => match port_number(n, &path.key("port"), problems) {
                None => continue,
                some => some,
            },
        };
        let Some(protocol) = protocol(port.protocol.as_deref(), &path, problems) else { continue };
        out.push(SlicePort { name: port.name.unwrap_or_default().into(), port: number, protocol });
    }
    out
}

fn slice(raw: raw::EndpointSlice, context: Context<'_>, problems: &mut Problems) -> Option<EndpointSlice> {
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let labels = labels(raw.metadata.and_then(|m| m.labels));
    let service = labels.get("kubernetes.io/service-name").unwrap_or_default().into();
    let names = raw.address_type.as_deref() == Some("FQDN");
    let endpoints = raw.endpoints.unwrap_or_default().into_iter().filter(|_| !names);
    let texts = endpoints.flat_map(|endpoint| endpoint.addresses.unwrap_or_default());
    let addresses = addresses(|| Path::default().key("endpoints"), texts, problems);
    let ports = slice_ports(&Path::default(), raw.ports, problems);
    Some(EndpointSlice { namespace, name, service, addresses, ports, origin: context.origin })
}

fn endpoints(raw: raw::Endpoints, context: Context<'_>, problems: &mut Problems) -> Vec<EndpointSlice> {
    let Some((namespace, name)) = key_of(raw.metadata.as_ref(), &context, problems) else { return Vec::new() };
    let path = Path::default().key("subsets");
    let mut out = Vec::new();
    for (i, subset) in raw.subsets.unwrap_or_default().into_iter().enumerate() {
        let path = path.index(i);
        let texts = holders(None, subset.addresses).chain(holders(None, subset.not_ready_addresses));
        let addresses = addresses(|| path.key("addresses"), texts, problems);
        let ports = slice_ports(&path, subset.ports, problems);
        let slice_name = format!("{name}#{i}").into();
        out.push(EndpointSlice {
            namespace: namespace.clone(),
            name: slice_name,
            service: name.clone(),
            addresses,
            ports,
            origin: context.origin.clone(),
        });
    }
    out
}

fn node(raw: raw::Node, context: Context<'_>, problems: &mut Problems) -> Option<ClusterNode> {
    let name = name_of(raw.metadata.as_ref(), &context, problems)?;
    let spec = raw.spec.unwrap_or_default();
    let mut pod_cidrs: Vec<IpNet> = Vec::new();
    for text in spec.pod_cidr.into_iter().chain(spec.pod_cidrs.unwrap_or_default()).filter(|t| !t.is_empty()) {
        if let Some(net) = cidr(&text, &Path::spec().key("podCIDR"), problems)
            && !pod_cidrs.contains(&net)
        {
            pod_cidrs.push(net);
        }
    }
    // Host names stand among the addresses: they are no addresses.
    let listed = raw.status.and_then(|s| s.addresses).unwrap_or_default();
    let addresses = listed.into_iter().filter_map(|a| a.address?.parse().ok()).collect();
    Some(ClusterNode { name, addresses, pod_cidrs, origin: context.origin })
}

fn role(raw: raw::Role, context: Context<'_>, problems: &mut Problems) -> Option<Role> {
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let origin = context.origin_of(raw.metadata.as_ref());
    let boxed = |list: Option<Vec<String>>| list.unwrap_or_default().into_iter().map(Into::into).collect();
    let rules = raw.rules.unwrap_or_default().into_iter().map(|rule| AccessRule {
        groups: boxed(rule.api_groups),
        resources: boxed(rule.resources),
        verbs: boxed(rule.verbs),
        names: boxed(rule.resource_names),
    });
    let selectors = raw.aggregation_rule.and_then(|r| r.cluster_role_selectors).unwrap_or_default();
    let at = Path::default().key("aggregationRule").key("clusterRoleSelectors");
    let aggregates = selectors.into_iter().enumerate().map(|(i, raw)| selector(raw, &at.index(i), problems)).collect();
    Some(Role {
        namespace: (context.kind == "Role").then_some(namespace),
        name,
        labels: labels(raw.metadata.and_then(|m| m.labels)),
        rules: rules.collect(),
        aggregates,
        origin,
    })
}

fn role_binding(raw: raw::RoleBinding, context: Context<'_>, problems: &mut Problems) -> Option<RoleBinding> {
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let reference = raw.role_ref.unwrap_or_default();
    let Some(role) = reference.name.filter(|n| !n.is_empty()) else {
        let path = Path::default().key("roleRef").key("name");
        problems.error(&path, format!("this {} names no role", context.kind), "give `roleRef` a kind and a name");
        return None;
    };
    let namespaced = context.kind == "RoleBinding";
    let subjects = raw.subjects.unwrap_or_default().into_iter().map(|subject| {
        let of_pods = subject.kind.as_deref() == Some("ServiceAccount");
        Subject {
            namespace: subject.namespace.filter(|n| of_pods && !n.is_empty()).map(Into::into),
            kind: subject.kind.unwrap_or_default().into(),
            name: subject.name.unwrap_or_default().into(),
        }
    });
    Some(RoleBinding {
        subjects: subjects.collect(),
        namespace: namespaced.then_some(namespace),
        name,
        cluster_role: reference.kind.as_deref() != Some("Role"),
        role: role.into(),
        origin: context.origin_of(raw.metadata.as_ref()),
    })
}

fn foreign(raw: raw::Head, context: Context<'_>, problems: &mut Problems) -> Option<ForeignPolicy> {
    let name = name_of(raw.metadata.as_ref(), &context, problems)?;
    // Files may leave the namespace out of namespaced kinds; those known to be cluster-wide have none.
    let cluster_wide = ["Cluster", "Global", "Admin", "BaselineAdmin"].iter().any(|word| context.kind.contains(word))
        || context.kind == "Tier";
    let namespace = raw.metadata.and_then(|m| m.namespace).filter(|n| !n.is_empty());
    let namespace = namespace.or_else(|| (!cluster_wide).then(|| context.default_namespace.to_owned()));
    Some(ForeignPolicy {
        api_version: context.api_version.into(),
        kind: context.kind.into(),
        namespace: namespace.filter(|_| !cluster_wide).map(Into::into),
        name,
        origin: context.origin,
    })
}

fn network_policy(raw: raw::NetworkPolicy, context: Context<'_>, problems: &mut Problems) -> Option<NetworkPolicy> {
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let origin = context.origin_of(raw.metadata.as_ref());
    let path = Path::spec();
    let Some(spec) = raw.spec else {
        problems.error(&path, "this NetworkPolicy has no `spec`", "a policy needs at least `spec: {podSelector: {}}`");
        return None;
    };
    let pod_selector = subject(spec.pod_selector, "NetworkPolicy", problems);
    let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let ingress =
        rules(spec.ingress.unwrap_or_default(), &path.key("ingress"), "from", problems, |r| (r.from, r.ports));
    let egress = rules(spec.egress.unwrap_or_default(), &path.key("egress"), "to", problems, |r| (r.to, r.ports));
    let (mut isolates_in, mut isolates_out) = (true, has_egress);
    if let Some(types) = spec.policy_types.filter(|types| !types.is_empty()) {
        (isolates_in, isolates_out) = (false, false);
        for (i, text) in types.iter().enumerate() {
            match text.as_str() {
                "Ingress" => isolates_in = true,
                "Egress" => isolates_out = true,
                other => {
                    let meant = nearest(other, ["Ingress", "Egress"])
                        .map_or("the types are Ingress and Egress".to_owned(), |m| format!("did you mean `{m}`?"));
                    problems.error(&path.key("policyTypes").index(i), format!("`{other}` is not a policy type"), meant);
                }
            }
        }
        for (listed, count, field, name) in
            [(isolates_in, ingress.len(), "ingress", "Ingress"), (isolates_out, egress.len(), "egress", "Egress")]
        {
            if !listed && count > 0 {
                let message = format!("the {field} rules have no effect: `policyTypes` does not list {name}");
                let help = format!("add `{name}` to `policyTypes`, or remove the rules");
                problems.under("NS010", |p| p.push(Severity::Warning, &path.key(field), message, Some(help)));
            }
        }
    }
    Some(NetworkPolicy {
        kind: PolicyKind::NetworkPolicy,
        namespace,
        name,
        pod_selector,
        ingress: isolates_in.then_some(ingress),
        egress: isolates_out.then_some(egress),
        origin,
    })
}

/// Whom a policy selects; everybody where it does not say, which is told.
fn subject(raw: Option<raw::LabelSelector>, kind: &str, problems: &mut Problems) -> Selector {
    let path = Path::spec();
    if raw.is_none() {
        let message = format!("this {kind} has no `podSelector`: it selects all pods of its namespace");
        let help = "write `podSelector: {}` when all pods of the namespace are meant";
        problems.push(Severity::Warning, &path, message, Some(help.into()));
    }
    selector(raw.unwrap_or_default(), &path.key("podSelector"), problems)
}

/// An EgressDomainPolicy. It isolates for egress whatever its rules are (G2), and lists that are missing or
/// empty stand for nothing here: they are errors, so that nothing is opened by an omission.
fn egress_domain_policy(
    raw: raw::EgressDomainPolicy,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<NetworkPolicy> {
    let (namespace, name) = key_of(raw.metadata.as_ref(), &context, problems)?;
    let origin = context.origin_of(raw.metadata.as_ref());
    let path = Path::spec();
    let Some(spec) = raw.spec else {
        let help = "a policy needs at least `spec: {podSelector: {}, egress: []}`";
        problems.error(&path, "this EgressDomainPolicy has no `spec`", help);
        return None;
    };
    let pod_selector = subject(spec.pod_selector, "EgressDomainPolicy", problems);
    let mut egress = Vec::new();
    for (i, rule) in spec.egress.unwrap_or_default().into_iter().enumerate() {
        let (rule, path) = (rule.unwrap_or_default(), path.key("egress").index(i));
        let items = rule.to.unwrap_or_default();
        if items.is_empty() {
            let help = "write `to: [{domainNames: [api.example.com]}]`; here no list stands for everything";
            problems.under(names::RULE, |p| p.error(&path.key("to"), "this rule names nothing outside", help));
        }
        let peers = items.into_iter().enumerate();
        let peers = peers.map(|(j, item)| {
            let path = path.key("to").index(j).key("domainNames");
            Peer::Names(problems.under(names::RULE, |p| domain_names(item.unwrap_or_default(), &path, p)))
        });
        let peers = Some(peers.collect());
        let ports = rule.ports.filter(|ports| !ports.is_empty()).map(|ports| {
            let at = path.key("ports");
            let ports = ports.into_iter().enumerate();
            ports.filter_map(|(j, raw)| outside_port(raw.unwrap_or_default(), &at.index(j), problems)).collect()
        });
        egress.push(Rule { peers, ports });
    }
    Some(NetworkPolicy {
        kind: PolicyKind::EgressDomainPolicy,
        namespace,
        name: PolicyKind::EgressDomainPolicy.name_of(&name),
        pod_selector,
        ingress: None,
        egress: Some(egress),
        origin,
    })
}

fn domain_names(raw: raw::DomainPeer, path: &Path, problems: &mut Problems) -> Vec<NamePattern> {
    let texts = raw.domain_names.unwrap_or_default();
    if texts.is_empty() {
        problems.error(path, "this item has no `domainNames`", "write `domainNames: [api.example.com]`");
    }
    if texts.len() > MAX_DOMAIN_NAMES as usize {
        let message = format!("{} names in one item, and the API server takes {MAX_DOMAIN_NAMES}", texts.len());
        problems.error(path, message, "put the rest into further items of `to`");
    }
    let mut names = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        match text.as_deref().unwrap_or_default().parse::<NamePattern>() {
            Ok(name) => names.push(name),
            Err(error) => problems.push(Severity::Error, &path.index(i), error.to_string(), error.help()),
        }
    }
    names
}

/// A port of something outside the cluster: ports have names on pods only.
fn outside_port(raw: raw::PolicyPort, path: &Path, problems: &mut Problems) -> Option<PortMatch> {
    match port_match(raw, path, problems)? {
        PortMatch::Named(named) => {
            let message = format!("the port `{}` has to be a number: names of ports belong to pods", named.name);
            let help = "write the number, such as `port: 443`";
            problems.under(names::RULE, |p| p.error(&path.key("port"), message, help));
            None
        }
        range => Some(range),
    }
}

type RawParts = (Option<Vec<Option<raw::Peer>>>, Option<Vec<Option<raw::PolicyPort>>>);

fn rules<R>(
    raw: Vec<Option<R>>,
    path: &Path,
    peer_field: &str,
    problems: &mut Problems,
    parts: impl Fn(R) -> RawParts,
) -> Vec<Rule> {
    let mut out = Vec::with_capacity(raw.len());
    for (i, rule) in raw.into_iter().enumerate() {
        let path = path.index(i);
        // An empty or missing list stands for everything (A8).
        let (peers, ports) = rule.map_or((None, None), &parts);
        let peers = peers.filter(|list| !list.is_empty()).map(|list| {
            let at = path.key(peer_field);
            list.into_iter()
                .enumerate()
                .filter_map(|(j, raw)| peer(raw.unwrap_or_default(), &at.index(j), problems))
                .collect()
        });
        let ports = ports.filter(|list| !list.is_empty()).map(|list| {
            let at = path.key("ports");
            list.into_iter()
                .enumerate()
                .filter_map(|(j, raw)| port_match(raw.unwrap_or_default(), &at.index(j), problems))
                .collect()
        });
        out.push(Rule { peers, ports });
    }
    out
}

fn peer(raw: raw::Peer, path: &Path, problems: &mut Problems) -> Option<Peer> {
    match (raw.ip_block, raw.pod_selector, raw.namespace_selector) {
        (Some(block), None, None) => ip_block(block, &path.key("ipBlock"), problems).map(Peer::Block),
        (Some(_), _, _) => {
            let help = "split it into two items: one with `ipBlock`, one with the selectors";
            problems.error(path, "`ipBlock` cannot stand beside a selector in one peer", help);
            None
        }
        (None, None, None) => {
            let help =
                "a peer needs `podSelector`, `namespaceSelector` or `ipBlock`; to allow every peer leave the list out";
            problems.error(path, "this peer has no field", help);
            None
        }
        (None, pods, namespaces) => {
            let namespaces = namespaces.map(|raw| selector(raw, &path.key("namespaceSelector"), problems));
            let pods = selector(pods.unwrap_or_default(), &path.key("podSelector"), problems);
            Some(Peer::Pods { namespaces, pods })
        }
    }
}

/// Reads a CIDR leniently and says so (B7).
fn cidr(text: &str, path: &Path, problems: &mut Problems) -> Option<IpNet> {
    match read_cidr(text) {
        Ok(read) => {
            if read.lenient {
                let message = format!("`{text}` is not a canonical CIDR: it is read as `{}`", read.net);
                let help = format!("write it as `{}`", read.net);
                problems.under("NS014", |p| p.push(Severity::Warning, path, message, Some(help)));
            }
            Some(read.net)
        }
        Err(message) => {
            problems.error(path, message, "a CIDR is an address and a prefix length, such as 10.0.0.0/8");
            None
        }
    }
}

fn ip_block(raw: raw::IpBlock, path: &Path, problems: &mut Problems) -> Option<IpBlock> {
    let Some(text) = raw.cidr else {
        problems.error(path, "this `ipBlock` has no `cidr`", "write `cidr: 10.0.0.0/8`");
        return None;
    };
    let whole = cidr(&text, &path.key("cidr"), problems)?;
    let mut except = Vec::new();
    for (i, text) in raw.except.unwrap_or_default().iter().enumerate() {
        let path = path.key("except").index(i);
        let Some(net) = cidr(text, &path, problems) else { continue };
        if is_within(&net, &whole) && net != whole {
            except.push(net);
        } else {
            let help = "every `except` must be a smaller block inside `cidr`; the API server refuses anything else";
            problems.under("NS015", |p| p.error(&path, format!("`{text}` does not lie inside `{whole}`"), help));
        }
    }
    except.sort();
    except.dedup();
    Some(IpBlock { cidr: whole, except })
}

fn port_match(raw: raw::PolicyPort, path: &Path, problems: &mut Problems) -> Option<PortMatch> {
    let protocol = protocol(raw.protocol.as_deref(), path, problems)?;
    match (raw.port, raw.end_port) {
        (port, Some(end)) => problems.under("NS023", |problems| port_range(protocol, port, end, path, problems)),
        (None, None) => Some(PortMatch::Range(PortRange::all_of(protocol))),
        (Some(raw::IntOrString::Int(port)), None) => {
            let port = port_number(port, &path.key("port"), problems)?;
            Some(PortMatch::Range(PortRange::single(protocol, port)))
        }
        (Some(raw::IntOrString::String(name)), None) => {
            if name.parse::<u16>().is_ok() || !is_port_name(&name) {
                let help = "a port name has at most 15 lower-case letters, digits and `-`, with at least one letter; a number is written without quotes";
                problems.error(&path.key("port"), format!("`{name}` is not a port name"), help);
                return None;
            }
            Some(PortMatch::Named(NamedPort { protocol, name: name.into() }))
        }
    }
}

/// `port` to `endPort` (C2).
fn port_range(
    protocol: Protocol,
    port: Option<raw::IntOrString>,
    end: i64,
    path: &Path,
    problems: &mut Problems,
) -> Option<PortMatch> {
    let end_path = path.key("endPort");
    let from = match port {
        Some(raw::IntOrString::Int(port)) => port_number(port, &path.key("port"), problems)?,
        Some(raw::IntOrString::String(name)) => {
            let message = format!("`endPort` cannot go with the named port `{name}`");
            problems.error(&end_path, message, "give `port` as a number");
            return None;
        }
        None => {
            problems.error(&end_path, "`endPort` without `port`", "give the first port of the range as `port`");
            return None;
        }
    };
    let to = port_number(end, &end_path, problems)?;
    if to < from {
        let help = format!("write `port: {to}` and `endPort: {from}`");
        problems.error(&end_path, format!("`endPort` {to} lies below `port` {from}"), help);
        return None;
    }
    Some(PortMatch::Range(PortRange { protocol, from, to }))
}

/// Whether it is an IANA service name, as the API asks of port names.
fn is_port_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// The requirements of `matchLabels`.
fn match_labels(labels: Labels) -> impl Iterator<Item = Requirement> {
    let pairs: Vec<Requirement> = labels.iter().map(|(key, value)| Requirement::equals(key, value)).collect();
    pairs.into_iter()
}

/// Reads a selector that stands by itself.
///
/// # Errors
/// What is wrong in it, or else how it lacks the shape of one.
pub fn label_selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Selector, Result<Problems, D::Error>> {
    let mut problems = Problems::default();
    let raw = raw::LabelSelector::deserialize(deserializer).map_err(Err)?;
    let read = selector(raw, &Path::default(), &mut problems);
    if problems.has_error() { Err(Ok(problems)) } else { Ok(read) }
}

fn selector(raw: raw::LabelSelector, path: &Path, problems: &mut Problems) -> Selector {
    let mut requirements: Vec<Requirement> = match_labels(labels(raw.match_labels)).collect();
    for (i, expression) in raw.match_expressions.unwrap_or_default().into_iter().enumerate() {
        let path = path.key("matchExpressions").index(i);
        let Some(key) = expression.key.filter(|k| !k.is_empty()) else {
            problems.error(&path, "this expression has no `key`", "give the label key");
            continue;
        };
        let values: Box<[Box<str>]> = expression.values.unwrap_or_default().into_iter().map(Into::into).collect();
        let operator = expression.operator.unwrap_or_default();
        let needs_values = matches!(operator.as_str(), "In" | "NotIn");
        if matches!(operator.as_str(), "In" | "NotIn" | "Exists" | "DoesNotExist") && needs_values == values.is_empty()
        {
            let (message, help) = if needs_values {
                (format!("`{operator}` needs at least one value"), "give `values`, or use Exists or DoesNotExist")
            } else {
                (format!("`{operator}` takes no values"), "remove `values`, or use In or NotIn")
            };
            problems.error(&path.key("values"), message, help);
            continue;
        }
        let condition = match operator.as_str() {
            "In" => Condition::In(values),
            "NotIn" => Condition::NotIn(values),
            "Exists" => Condition::Exists,
            "DoesNotExist" => Condition::DoesNotExist,
            other => {
                let known = ["In", "NotIn", "Exists", "DoesNotExist"];
                let help = nearest(other, known)
                    .map_or("the operators are In, NotIn, Exists and DoesNotExist".to_owned(), |m| {
                        format!("did you mean `{m}`?")
                    });
                problems.error(&path.key("operator"), format!("`{other}` is not an operator"), help);
                continue;
            }
        };
        requirements.push(Requirement { key: key.into(), condition });
    }
    requirements.into_iter().collect()
}
