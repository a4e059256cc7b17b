//! The cluster as an index of its objects. `apply` and `delete` say whether anything changed, so
//! that an unchanged event costs nothing further.

use crate::object::{
    ClusterNode, EndpointSlice, ForeignPolicy, Life, NAMESPACE_NAME_LABEL, Namespace, Object, Owner, Pod, Role,
    RoleBinding, Service, Workload, WorkloadKind,
};
use crate::policy::NetworkPolicy;
use crate::selector::{LabelSets, Labels};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Namespace and name.
pub type Key = (Box<str>, Box<str>);

/// What an `apply` or `delete` changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A namespace came, went or has other labels.
    Namespace(Box<str>),
    /// A pod came, went or changed.
    Pod(Key),
    /// A policy came, went or changed.
    Policy(Key),
    /// Something came, went or changed that pods are derived from: a workload or a node.
    Topology,
    /// Something that only questions look at: a Service, its endpoints, a foreign policy, a role.
    Lookup,
}

/// Kind, namespace (if it has one) and name.
type ForeignKey = (Box<str>, Option<Box<str>>, Box<str>);

/// Namespace (if it has one) and name.
type AccessKey = (Option<Box<str>>, Box<str>);

/// All objects of a cluster that decide connectivity, or who may change what decides it.
#[derive(Debug, Default, Clone)]
pub struct ClusterIndex {
    namespaces: BTreeMap<Box<str>, Arc<Namespace>>,
    pods: BTreeMap<Key, Arc<Pod>>,
    workloads: BTreeMap<(WorkloadKind, Key), Arc<Workload>>,
    services: BTreeMap<Key, Arc<Service>>,
    slices: BTreeMap<Key, Arc<EndpointSlice>>,
    nodes: BTreeMap<Box<str>, Arc<ClusterNode>>,
    policies: BTreeMap<Key, Arc<NetworkPolicy>>,
    foreign: BTreeMap<ForeignKey, Arc<ForeignPolicy>>,
    roles: BTreeMap<AccessKey, Arc<Role>>,
    role_bindings: BTreeMap<AccessKey, Arc<RoleBinding>>,
    /// The labels of pods.
    labels: LabelSets,
}

/// Puts a value in; `true` when the map did not hold an equal one.
fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, Arc<V>>, key: K, value: V) -> bool {
    match map.get_mut(&key) {
        Some(old) if **old == value => false,
        Some(old) => {
            *old = Arc::new(value);
            true
        }
        None => {
            map.insert(key, Arc::new(value));
            true
        }
    }
}

impl ClusterIndex {
    /// An index of objects; a later object replaces an earlier one of the same kind and name.
    pub fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut index = ClusterIndex::default();
        for object in objects {
            index.apply(object);
        }
        index
    }

    /// Takes an object in. `None` when it was there already and is the same.
    pub fn apply(&mut self, object: Object) -> Option<Change> {
        let key = |namespace: &str, name: &str| -> Key { (namespace.into(), name.into()) };
        match object {
            Object::Namespace(o) => {
                let name = o.name.clone();
                put(&mut self.namespaces, name.clone(), o).then_some(Change::Namespace(name))
            }
            Object::Pod(mut o) => {
                let key = key(&o.namespace, &o.name);
                o.spec.labels = self.labels.shared(std::mem::take(&mut o.spec.labels));
                put(&mut self.pods, key.clone(), *o).then_some(Change::Pod(key))
            }
            Object::NetworkPolicy(o) => {
                let key = key(&o.namespace, &o.name);
                put(&mut self.policies, key.clone(), o).then_some(Change::Policy(key))
            }
            Object::Workload(o) => {
                put(&mut self.workloads, (o.kind, key(&o.namespace, &o.name)), o).then_some(Change::Topology)
            }
            Object::Node(o) => put(&mut self.nodes, o.name.clone(), o).then_some(Change::Topology),
            Object::Service(o) => put(&mut self.services, key(&o.namespace, &o.name), o).then_some(Change::Lookup),
            Object::EndpointSlice(o) => put(&mut self.slices, key(&o.namespace, &o.name), o).then_some(Change::Lookup),
            Object::Foreign(o) => {
                let key = (o.kind.clone(), o.namespace.clone(), o.name.clone());
                put(&mut self.foreign, key, o).then_some(Change::Lookup)
            }
            Object::Role(o) => put(&mut self.roles, (o.namespace.clone(), o.name.clone()), o).then_some(Change::Lookup),
            Object::RoleBinding(o) => {
                put(&mut self.role_bindings, (o.namespace.clone(), o.name.clone()), o).then_some(Change::Lookup)
            }
        }
    }

    /// Takes a pod out; `None` when it was not there.
    pub fn delete_pod(&mut self, namespace: &str, name: &str) -> Option<Change> {
        let key: Key = (namespace.into(), name.into());
        self.pods.remove(&key).map(|_| Change::Pod(key))
    }

    /// Takes a policy out; `None` when it was not there.
    pub fn delete_policy(&mut self, namespace: &str, name: &str) -> Option<Change> {
        let key: Key = (namespace.into(), name.into());
        self.policies.remove(&key).map(|_| Change::Policy(key))
    }

    /// Takes a namespace object out; `None` when it was not there.
    pub fn delete_namespace(&mut self, name: &str) -> Option<Change> {
        self.namespaces.remove(name).map(|_| Change::Namespace(name.into()))
    }

    /// Takes a node out; `None` when it was not there.
    pub fn delete_node(&mut self, name: &str) -> Option<Change> {
        self.nodes.remove(name).map(|_| Change::Topology)
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&Arc<ClusterNode>> {
        self.nodes.get(name)
    }

    /// The namespaces that are defined, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    /// A namespace that is defined.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(name)
    }

    /// The labels of a namespace; one that is not defined has its name alone (B4).
    pub fn namespace_labels(&self, name: &str) -> Labels {
        let defined = self.namespace(name).map(|namespace| namespace.labels.clone());
        defined.unwrap_or_else(|| Labels::default().with(NAMESPACE_NAME_LABEL, name))
    }

    /// A pod.
    pub fn pod(&self, key: &Key) -> Option<&Arc<Pod>> {
        self.pods.get(key)
    }

    /// All pods, by namespace and name.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// A policy.
    pub fn policy(&self, key: &Key) -> Option<&Arc<NetworkPolicy>> {
        self.policies.get(key)
    }

    /// All policies, by namespace and name.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<NetworkPolicy>> {
        self.policies.values()
    }

    /// The policies of a namespace, by name.
    pub fn policies_of(&self, namespace: &str) -> impl Iterator<Item = &Arc<NetworkPolicy>> {
        let from: Key = (namespace.into(), Box::default());
        self.policies.range(from..).take_while(move |((of, _), _)| of.as_ref() == namespace).map(|(_, policy)| policy)
    }

    /// A workload.
    pub fn workload(&self, kind: WorkloadKind, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(&(kind, (namespace.into(), name.into())))
    }

    /// All workloads.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// A Service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.services.get(&(namespace.into(), name.into()))
    }

    /// All Services, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The slices of a Service.
    pub fn slices_of<'s>(
        &'s self,
        namespace: &'s str,
        service: &'s str,
    ) -> impl Iterator<Item = &'s Arc<EndpointSlice>> {
        self.slices.values().filter(move |s| s.namespace.as_ref() == namespace && s.service.as_ref() == service)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<ClusterNode>> {
        self.nodes.values()
    }

    /// The policies that were not understood (H2).
    pub fn foreign_policies(&self) -> impl Iterator<Item = &Arc<ForeignPolicy>> {
        self.foreign.values()
    }

    /// The Roles (of a namespace) and ClusterRoles (`None`).
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// A Role of a namespace, or a ClusterRole.
    pub fn role(&self, namespace: Option<&str>, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(&(namespace.map(Into::into), name.into()))
    }

    /// The RoleBindings and ClusterRoleBindings.
    pub fn role_bindings(&self) -> impl Iterator<Item = &Arc<RoleBinding>> {
        self.role_bindings.values()
    }

    /// Every namespace that is defined or that something lies in.
    pub fn namespace_names(&self) -> BTreeSet<&str> {
        let keyed = self.pods.keys().chain(self.policies.keys()).chain(self.services.keys());
        let of_workloads = self.workloads.keys().map(|(_, key)| key);
        let mentioned = keyed.chain(of_workloads).map(|(namespace, _)| namespace.as_ref());
        self.namespaces.keys().map(AsRef::as_ref).chain(mentioned).collect()
    }

    /// The workload at the top of a chain of controllers: a pod's Deployment rather than its ReplicaSet.
    ///
    /// Where a controller is not in the input its kind and name are still known from the reference;
    /// a Deployment is then known by the name it gives to its ReplicaSets, which ends with the
    /// `pod-template-hash` of their pods.
    pub fn top_owner(&self, pod: &Pod) -> Option<(WorkloadKind, Box<str>)> {
        self.owners(pod).pop()
    }

    /// All workloads that a pod belongs to, the nearest first.
    fn owners(&self, pod: &Pod) -> Vec<(WorkloadKind, Box<str>)> {
        let (namespace, Some(owner)) = (&pod.namespace, &pod.owner) else { return Vec::new() };
        if WorkloadKind::parse(&owner.kind) == Some(WorkloadKind::ReplicaSet)
            && self.workload(WorkloadKind::ReplicaSet, namespace, &owner.name).is_none()
            && let Some(hash) = pod.spec.labels.get("pod-template-hash")
            && let Some(deployment) = owner.name.strip_suffix(hash).and_then(|name| name.strip_suffix('-'))
        {
            return vec![(WorkloadKind::Deployment, deployment.into())];
        }
        self.chain(namespace, owner)
    }

    /// The workloads from an owner upwards.
    fn chain(&self, namespace: &str, owner: &Owner) -> Vec<(WorkloadKind, Box<str>)> {
        let mut chain = Vec::new();
        let mut next = Some(owner);
        while let Some((owner, kind)) = next.and_then(|owner| Some((owner, WorkloadKind::parse(&owner.kind)?))) {
            // Owners that go round in a circle must end too.
            if chain.iter().any(|(k, name)| *k == kind && *name == owner.name) {
                break;
            }
            chain.push((kind, owner.name.clone()));
            next = self.workload(kind, namespace, &owner.name).and_then(|workload| workload.owner.as_ref());
        }
        chain
    }

    /// Whether the input holds a workload, or one that it makes, so that its pods decide what stands
    /// for itself.
    pub fn has_workload_of(&self, namespace: &str, (kind, name): &(WorkloadKind, Box<str>)) -> bool {
        let is_below = |w: &Workload| {
            let above = w.owner.as_ref().map(|owner| self.chain(namespace, owner)).unwrap_or_default();
            &*w.namespace == namespace && above.iter().any(|(k, n)| k == kind && n == name)
        };
        self.workload(*kind, namespace, name).is_some() || self.workloads.values().any(|w| is_below(w))
    }

    /// The workloads whose template stands for pods (D4): those that no pod of the input belongs to
    /// and that no other workload of the input makes.
    pub fn standing_workloads(&self) -> Vec<&Arc<Workload>> {
        let mut with_pods: BTreeSet<(WorkloadKind, &str, Box<str>)> = BTreeSet::new();
        for pod in self.pods.values() {
            with_pods.extend(self.owners(pod).into_iter().map(|(kind, name)| (kind, pod.namespace.as_ref(), name)));
        }
        let made_by_another = |w: &Workload| {
            let kind = w.owner.as_ref().and_then(|o| WorkloadKind::parse(&o.kind).map(|kind| (kind, &o.name)));
            kind.is_some_and(|(kind, name)| self.workload(kind, &w.namespace, name).is_some())
        };
        let has_pods = |w: &Workload| with_pods.contains(&(w.kind, w.namespace.as_ref(), w.name.clone()));
        self.workloads.values().filter(|w| !made_by_another(w) && !has_pods(w)).collect()
    }

    /// Why a pod takes no part in answers, if it does not (D3).
    pub fn absence(pod: &Pod) -> Option<&'static str> {
        match pod.life {
            Life::Manifest | Life::Live => None,
            Life::Waiting => Some("it has no address yet"),
            Life::Terminal => Some("it has finished"),
        }
    }
}
