//! The Kubernetes objects that decide connectivity, reduced to what decides it.

use crate::diagnostic::Place;
use crate::ingest::yaml::Node;
use crate::policy::NetworkPolicy;
use crate::ports::Protocol;
use crate::selector::{Labels, Selector};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// One step on the way to a part of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A field or key.
    Key(Box<str>),
    /// An index in a list.
    Index(usize),
}

/// The way to a part of an object, shown as `spec.ingress[1].from[0]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// `spec`, the root of most of what is named.
    pub fn spec() -> Self {
        Path::default().key("spec")
    }

    /// The same and a key.
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.into()))
    }

    /// The same and an index.
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        Path(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.contains(['.', '/']) => write!(f, "[\"{key}\"]")?,
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// Where an object was read.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The file name, `<stdin>`, or the name of a live list.
    pub source: Arc<str>,
    /// The line on which the object starts, counted from 1; 0 when it came from nowhere.
    pub line: u32,
    /// Where the text begins in the source: line and column, counted from 1.
    pub text_at: (u32, u32),
    /// The text that holds the object; kept where its parts are to be named with their lines
    /// ([`crate::ingest::Keep`]).
    pub text: Option<Arc<str>>,
    /// Where in the text the object is, when the text is a `List`.
    pub within: Path,
    /// The findings that its author accepts: the annotation [`ALLOW_ANNOTATION`], as it is written.
    pub accepted: Option<Box<str>>,
}

/// The annotation in which an object names the rules of `netsim lint` that are not to be applied to it.
pub const ALLOW_ANNOTATION: &str = "netsim.dev/allow";

/// Two objects that say the same are the same, wherever they stand.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Origin {}

impl Origin {
    /// The place of a part of the object; the place of the object where the part is not to be found.
    pub fn place_of(&self, path: &Path) -> Option<Place> {
        if self.line == 0 {
            return None;
        }
        let whole = Place { source: self.source.clone(), line: self.line, column: 1, text: None, width: 1 };
        let Some(text) = &self.text else { return Some(whole) };
        let Ok(root) = Node::parse_one(text) else { return Some(whole) };
        let full: Vec<Step> = self.within.0.iter().chain(&path.0).cloned().collect();
        let span = root.span_of(&full);
        Some(place_in(&self.source, text, self.text_at, span))
    }

    /// The place of the object itself.
    pub fn place(&self) -> Option<Place> {
        let place = Place { source: self.source.clone(), line: self.line, column: 1, text: None, width: 1 };
        (self.line > 0).then_some(place)
    }
}

/// The place of a byte range of a text that begins at `text_at` (line, column) of its source.
pub fn place_in(source: &Arc<str>, text: &str, text_at: (u32, u32), span: std::ops::Range<usize>) -> Place {
    let start = floor_boundary(text, span.start);
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line_text = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let lines_before = before.bytes().filter(|b| *b == b'\n').count();
    let in_line = before.get(line_start..).unwrap_or_default().chars().count();
    let meant = text.get(start..floor_boundary(text, span.end)).unwrap_or_default().lines().next().unwrap_or_default();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let on_first = lines_before == 0;
    Place {
        source: source.clone(),
        line: text_at.0.saturating_add(count(lines_before)),
        column: count(in_line).saturating_add(if on_first { text_at.1 } else { 1 }),
        // A text that starts in mid-line has lost the head of its first line, so columns would not fit.
        text: (!on_first || text_at.1 == 1).then(|| line_text.into()),
        width: count(meant.trim_end().chars().count().max(1)),
    }
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Box<str>,
    /// Its labels, `kubernetes.io/metadata.name` injected (B4).
    pub labels: Labels,
    /// Where it was read.
    pub origin: Origin,
}

/// The label that the control plane sets on every namespace (B4).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The kinds whose template stands for pods (D4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// apps/v1
    Deployment,
    /// apps/v1
    StatefulSet,
    /// apps/v1
    DaemonSet,
    /// apps/v1
    ReplicaSet,
    /// v1
    ReplicationController,
    /// batch/v1
    Job,
    /// batch/v1
    CronJob,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [WorkloadKind; 7] = [
        WorkloadKind::Deployment,
        WorkloadKind::StatefulSet,
        WorkloadKind::DaemonSet,
        WorkloadKind::ReplicaSet,
        WorkloadKind::ReplicationController,
        WorkloadKind::Job,
        WorkloadKind::CronJob,
    ];

    /// The kind as the API writes it.
    pub fn kind(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
            WorkloadKind::DaemonSet => "DaemonSet",
            WorkloadKind::ReplicaSet => "ReplicaSet",
            WorkloadKind::ReplicationController => "ReplicationController",
            WorkloadKind::Job => "Job",
            WorkloadKind::CronJob => "CronJob",
        }
    }

    /// The short name that kubectl takes and netsim prints.
    pub fn short(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "deploy",
            WorkloadKind::StatefulSet => "sts",
            WorkloadKind::DaemonSet => "ds",
            WorkloadKind::ReplicaSet => "rs",
            WorkloadKind::ReplicationController => "rc",
            WorkloadKind::Job => "job",
            WorkloadKind::CronJob => "cronjob",
        }
    }

    /// Reads any name that kubectl takes: kind, plural or short name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let singular = text.strip_suffix('s').unwrap_or(&text);
        Self::ALL.into_iter().find(|kind| {
            let full = kind.kind().to_ascii_lowercase();
            text == full
                || singular == full
                || text == kind.short()
                || (text == "cj" && *kind == WorkloadKind::CronJob)
                || (text == "deployments" && *kind == WorkloadKind::Deployment)
        })
    }
}

/// A container port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerPort {
    /// Its name, if it has one.
    pub name: Option<Box<str>>,
    /// The port that the container listens on.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The node's port that leads to it, if any.
    pub host_port: Option<u16>,
}

/// What a pod, or a template of pods, has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodSpec {
    /// The labels.
    pub labels: Labels,
    /// The ports of its containers, then of its native sidecars (C3).
    pub ports: Vec<ContainerPort>,
    /// Whether it uses the node's network (D1).
    pub host_network: bool,
    /// The node it runs on, if known.
    pub node: Option<Box<str>>,
    /// The ServiceAccount it runs as; `None` for that of the namespace, `default`.
    pub service_account: Option<Box<str>>,
    /// What its containers may do to the network of their pod.
    pub powers: Powers,
}

/// What containers are given that lets them send what no policy foresees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Powers {
    /// `privileged: true`.
    pub privileged: bool,
    /// The capability NET_ADMIN is added.
    pub net_admin: bool,
    /// The capability NET_RAW is added.
    pub net_raw: bool,
}

/// The controller that made an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The controller's kind.
    pub kind: Box<str>,
    /// The controller's name.
    pub name: Box<str>,
}

/// Where a pod is in its life (D3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// A manifest without status: it stands for a pod to come, without an address (D4).
    Manifest,
    /// A pod of a cluster that takes part: it has an address, or the node's.
    Live,
    /// A pod of a cluster that has no address yet.
    Waiting,
    /// Succeeded or Failed.
    Terminal,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its UID, where the input has one.
    pub uid: Box<str>,
    /// Labels, ports, node.
    pub spec: PodSpec,
    /// Its controller.
    pub owner: Option<Owner>,
    /// Where it is in its life.
    pub life: Life,
    /// Its addresses, at most one a family.
    pub addresses: Vec<IpAddr>,
    /// The addresses of its node.
    pub host_addresses: Vec<IpAddr>,
    /// Where it was read.
    pub origin: Origin,
}

/// A workload with a pod template (D4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// What its pods have.
    pub template: PodSpec,
    /// Its controller (a ReplicaSet's Deployment, a Job's CronJob).
    pub owner: Option<Owner>,
    /// Where it was read.
    pub origin: Origin,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub kind: ServiceKind,
    /// Which pods it leads to; `None` when its endpoints are given by slices (E2).
    pub selector: Option<Selector>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its cluster addresses; empty when headless or in files.
    pub cluster_addresses: Vec<IpAddr>,
    /// Its addresses outside: load balancer and external ones.
    pub external_addresses: Vec<IpAddr>,
    /// Whether the source address survives on the way in from outside (`externalTrafficPolicy: Local`, E3).
    pub keeps_source: bool,
    /// Where it was read.
    pub origin: Origin,
}

/// The type of a Service, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// Reached inside the cluster, with a cluster address.
    ClusterIp,
    /// `clusterIP: None`: names lead to the pods themselves (E2).
    Headless,
    /// Reached on the nodes' ports too (E3).
    NodePort,
    /// Reached through a load balancer too (E3).
    LoadBalancer,
    /// Another name (E2).
    ExternalName(Box<str>),
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, if it has one.
    pub name: Option<Box<str>>,
    /// The port that clients use.
    pub port: u16,
    /// The port of the pods (E1).
    pub target: TargetPort,
    /// The port of every node that leads to it, where one is set.
    pub node_port: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
}

/// The pod port behind a Service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A name, resolved on each pod.
    Name(Box<str>),
}

/// The endpoints of a Service: an EndpointSlice, or Endpoints read as slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The Service it belongs to.
    pub service: Box<str>,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The ports: name of the Service's port, number (`None`: all), protocol.
    pub ports: Vec<SlicePort>,
    /// Where it was read.
    pub origin: Origin,
}

/// One port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port; empty when that has none.
    pub name: Box<str>,
    /// The number, or `None` for every port.
    pub port: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its name.
    pub name: Box<str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The ranges its pods' addresses come from.
    pub pod_cidrs: Vec<IpNet>,
    /// Where it was read.
    pub origin: Origin,
}

/// A policy of a kind that netsim does not understand (H2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignPolicy {
    /// `group/version`.
    pub api_version: Box<str>,
    /// The kind.
    pub kind: Box<str>,
    /// Its namespace; `None` when it is cluster-scoped.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// Where it was read.
    pub origin: Origin,
}

/// A Role, or a ClusterRole: what it lets its holders do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its namespace; `None` for a ClusterRole.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// Its labels, by which ClusterRoles are aggregated.
    pub labels: Labels,
    /// What it allows.
    pub rules: Vec<AccessRule>,
    /// The ClusterRoles whose rules it has too: those that any of these select.
    pub aggregates: Vec<Selector>,
    /// Where it was read.
    pub origin: Origin,
}

/// One rule of a role: any of the verbs on any of the resources of any of the groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessRule {
    /// API groups; `*` for every one.
    pub groups: Vec<Box<str>>,
    /// Resources, in the plural; `*` for every one.
    pub resources: Vec<Box<str>>,
    /// Verbs; `*` for every one.
    pub verbs: Vec<Box<str>>,
    /// Only objects of these names, if there are any.
    pub names: Vec<Box<str>>,
}

/// A RoleBinding, or a ClusterRoleBinding: who has a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleBinding {
    /// Its namespace, which the role is good for; `None` for a ClusterRoleBinding: every namespace.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// Whether its role is a ClusterRole.
    pub cluster_role: bool,
    /// The name of its role.
    pub role: Box<str>,
    /// Who has it.
    pub subjects: Vec<Subject>,
    /// Where it was read.
    pub origin: Origin,
}

/// Who is given a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: Box<str>,
    /// The namespace of a ServiceAccount.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
}

/// Any object that was understood, or is named as not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Namespace.
    Namespace(Namespace),
    /// A Pod.
    Pod(Box<Pod>),
    /// A workload.
    Workload(Workload),
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A Node.
    Node(ClusterNode),
    /// A NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// Another provider's policy.
    Foreign(ForeignPolicy),
    /// A Role or ClusterRole.
    Role(Role),
    /// A RoleBinding or ClusterRoleBinding.
    RoleBinding(RoleBinding),
}

impl Object {
    /// Its kind, namespace (if it has one) and name.
    pub fn identity(&self) -> Identity<'_> {
        let named = |kind, namespace, name| Identity { kind, namespace, name };
        match self {
            Object::Namespace(o) => named("Namespace", None, &o.name),
            Object::Pod(o) => named("Pod", Some(&o.namespace), &o.name),
            Object::Workload(o) => named(o.kind.kind(), Some(&o.namespace), &o.name),
            Object::Service(o) => named("Service", Some(&o.namespace), &o.name),
            Object::EndpointSlice(o) => named("EndpointSlice", Some(&o.namespace), &o.name),
            Object::Node(o) => named("Node", None, &o.name),
            Object::NetworkPolicy(o) => named(o.kind.kind(), Some(&o.namespace), o.own_name()),
            Object::Foreign(o) => named(&o.kind, o.namespace.as_deref(), &o.name),
            Object::Role(o) => named(o.kind(), o.namespace.as_deref(), &o.name),
            Object::RoleBinding(o) => named(o.kind(), o.namespace.as_deref(), &o.name),
        }
    }

    /// Where it was read.
    pub fn origin(&self) -> &Origin {
        match self {
            Object::Namespace(o) => &o.origin,
            Object::Pod(o) => &o.origin,
            Object::Workload(o) => &o.origin,
            Object::Service(o) => &o.origin,
            Object::EndpointSlice(o) => &o.origin,
            Object::Node(o) => &o.origin,
            Object::NetworkPolicy(o) => &o.origin,
            Object::Foreign(o) => &o.origin,
            Object::Role(o) => &o.origin,
            Object::RoleBinding(o) => &o.origin,
        }
    }
}

/// What tells an object from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity<'o> {
    /// Its kind.
    pub kind: &'o str,
    /// Its namespace, unless it is of the whole cluster.
    pub namespace: Option<&'o str>,
    /// Its name.
    pub name: &'o str,
}

impl Role {
    /// Its kind.
    pub fn kind(&self) -> &'static str {
        if self.namespace.is_some() { "Role" } else { "ClusterRole" }
    }
}

impl RoleBinding {
    /// Its kind.
    pub fn kind(&self) -> &'static str {
        if self.namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" }
    }
}
