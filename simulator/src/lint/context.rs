//! What rules look at: the cluster, and what several of them derive from it.

use super::finding::{Found, Named};
use super::rules::ALWAYS_THERE;
use netsim_shared::cluster::{ClusterIndex, Key};
use netsim_shared::compile::side::{PeerId, TermId};
use netsim_shared::compile::{Certainty, Compiled, Endpoint, EndpointId};
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::ingest::yaml::Node;
use netsim_shared::net::Family;
use netsim_shared::object::{NAMESPACE_NAME_LABEL, Object, Origin, Path, PodSpec, WorkloadKind};
use netsim_shared::policy::{Direction, NetworkPolicy};
use netsim_shared::selector::{Labels, Requirement, Selector};
use netsim_shared::services::{Front, fronts};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;

/// What is judged.
pub struct Context<'c> {
    /// The objects.
    pub index: &'c ClusterIndex,
    /// What was compiled from them.
    pub compiled: &'c Compiled,
    /// Objects that the input holds more than once.
    pub twins: Vec<Twin>,
    /// What reading the input had to say, of rules that read manifests as they are written.
    pub diagnostics: &'c [Diagnostic],
    selected: OnceLock<HashMap<Key, Vec<EndpointId>>>,
    found_terms: [OnceLock<HashSet<TermId>>; 2],
    labels: OnceLock<BTreeMap<&'c str, Vec<PodLabels>>>,
    namespaces: OnceLock<Vec<(&'c str, Labels)>>,
}

/// Labels that pods of a namespace have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodLabels {
    /// The labels.
    pub labels: Labels,
    /// Whether the pods take no part today: they wait for an address, or have ended (D3).
    pub waits: bool,
    /// Whether they are on their nodes' network, where no selector finds them (D1).
    pub host_network: bool,
}

/// An object of the input whose kind, namespace and name another one before it has too.
#[derive(Debug, Clone)]
pub struct Twin {
    /// Which.
    pub object: Named,
    /// Where it stands first.
    pub first: Origin,
    /// Where it stands again: the last one counts.
    pub again: Origin,
    /// Whether the two say the same.
    pub alike: bool,
}

/// The objects that are there more than once.
pub fn twins(objects: &[Object]) -> Vec<Twin> {
    let mut seen: HashMap<_, &Object> = HashMap::new();
    let twin = |object| {
        let before: &Object = seen.insert(Object::identity(object), object)?;
        Some(Twin {
            object: object.identity().into(),
            first: before.origin().clone(),
            again: object.origin().clone(),
            alike: before == object,
        })
    };
    objects.iter().filter_map(twin).collect()
}

/// The object that stands for pods where something is told about them: their workload, or the pod that
/// has none. Where the input does not have the workload, it stands where its first pod stands.
#[derive(Debug, Clone)]
pub struct Carrier {
    /// What it is.
    pub object: Named,
    /// Where it stands.
    pub origin: Origin,
    /// Where its pod spec is: `spec`, or `spec.template.spec`.
    pub pod_spec: Path,
}

impl<'c> Context<'c> {
    /// What is judged, and what is known of the input besides.
    pub fn new(
        index: &'c ClusterIndex,
        compiled: &'c Compiled,
        twins: Vec<Twin>,
        diagnostics: &'c [Diagnostic],
    ) -> Self {
        Context {
            index,
            compiled,
            twins,
            diagnostics,
            selected: OnceLock::new(),
            found_terms: Default::default(),
            labels: OnceLock::new(),
            namespaces: OnceLock::new(),
        }
    }

    /// The pods (and workloads that stand for theirs) that a policy selects and can bind (D1).
    pub fn selected(&self, policy: &NetworkPolicy) -> &[EndpointId] {
        let all = self.selected.get_or_init(|| {
            let mut all: HashMap<Key, Vec<EndpointId>> = HashMap::new();
            for (id, entry) in self.compiled.entries() {
                for direction in Direction::ALL {
                    for slot in self.compiled.side(direction).policies_of(entry.group(direction)) {
                        let ids = all.entry((slot.policy.namespace.clone(), slot.policy.name.clone())).or_default();
                        if ids.last() != Some(&id) {
                            ids.push(id);
                        }
                    }
                }
            }
            all
        });
        all.get(&(policy.namespace.clone(), policy.name.clone())).map_or(&[], Vec::as_slice)
    }

    /// An endpoint.
    pub fn endpoint(&self, id: EndpointId) -> Option<&'c Endpoint> {
        self.compiled.entry(id).map(|entry| entry.endpoint.as_ref())
    }

    /// The endpoints of a namespace.
    pub fn in_namespace<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = (EndpointId, &'c Endpoint)> + 's {
        self.compiled.in_namespace(namespace).filter_map(|id| Some((id, self.endpoint(id)?)))
    }

    /// The pod spec of an endpoint, or that of the template that it stands for.
    pub fn pod_spec(&self, endpoint: &Endpoint) -> Option<&'c PodSpec> {
        let key = &endpoint.key;
        match key.kind {
            Some(kind) => self.index.workload(kind, &key.namespace, &key.name).map(|workload| &workload.template),
            None => self.index.pod(&(key.namespace.clone(), key.name.clone())).map(|pod| &pod.spec),
        }
    }

    /// All Services that lead to pods, with these.
    pub fn fronts(&self) -> Vec<Front<'c>> {
        fronts(self.index, self.compiled)
    }

    /// The answer about an address that is not known which verdicts rest on: that blocks which may hold
    /// it do not (B8), or with `--strict`, where nothing is assumed, that they may.
    pub fn presumed<T: Copy>(&self, certainty: &Certainty<T>) -> T {
        if self.compiled.modes().strict { certainty.maybe } else { certainty.surely }
    }

    /// Whether any policy isolates an endpoint for a direction (A1).
    pub fn is_isolated(&self, id: EndpointId, direction: Direction) -> bool {
        let group = self.compiled.entry(id).map(|entry| entry.group(direction));
        group.is_some_and(|group| self.compiled.side(direction).policies_of(group).next().is_some())
    }

    /// Whether a peer in compiled form is any pod that takes part.
    pub fn finds_pods(&self, direction: Direction, term: TermId) -> bool {
        let [ingress, egress] = &self.found_terms;
        let place = if direction == Direction::Ingress { ingress } else { egress };
        let found = place.get_or_init(|| {
            let side = self.compiled.side(direction);
            let ids = self.compiled.entries().flat_map(|(_, entry)| {
                let ids = Family::ALL.into_iter().filter_map(|family| *entry.as_peer.get(family));
                ids.map(|ids| match direction {
                    Direction::Ingress => ids.source.surely,
                    Direction::Egress => ids.destination.surely,
                })
            });
            let classes: HashSet<PeerId> = ids.collect();
            let sets: HashSet<u32> =
                classes.into_iter().filter_map(|id| side.peer_class(id)).map(|class| class.terms).collect();
            sets.into_iter().flat_map(|set| side.term_set(set)).copied().collect()
        });
        found.contains(&term)
    }

    /// The different labels that pods have, by namespace.
    pub fn labels(&self) -> impl Iterator<Item = (&'c str, &PodLabels)> {
        self.all_labels().iter().flat_map(|(name, pods)| pods.iter().map(|pods| (*name, pods)))
    }

    /// The different labels that pods of a namespace have.
    pub fn labels_in(&self, namespace: &str) -> impl Iterator<Item = &PodLabels> {
        self.all_labels().get(namespace).into_iter().flatten()
    }

    fn all_labels(&self) -> &BTreeMap<&'c str, Vec<PodLabels>> {
        self.labels.get_or_init(|| {
            let mut all: BTreeMap<&str, HashSet<PodLabels>> = BTreeMap::new();
            for (_, entry) in self.compiled.entries() {
                let endpoint: &'c Endpoint = entry.endpoint.as_ref();
                let (labels, host_network) = (endpoint.labels.clone(), endpoint.host_network);
                let of_namespace = all.entry(endpoint.key.namespace.as_ref()).or_default();
                of_namespace.insert(PodLabels { labels, waits: false, host_network });
            }
            for pod in self.index.pods().filter(|pod| ClusterIndex::absence(pod).is_some()) {
                let (labels, host_network) = (pod.spec.labels.clone(), pod.spec.host_network);
                let of_namespace = all.entry(pod.namespace.as_ref()).or_default();
                of_namespace.insert(PodLabels { labels, waits: true, host_network });
            }
            let sorted = |pods: HashSet<PodLabels>| {
                let mut pods: Vec<PodLabels> = pods.into_iter().collect();
                pods.sort_by(|a, b| (&a.labels, a.waits).cmp(&(&b.labels, b.waits)));
                pods
            };
            all.into_iter().map(|(name, pods)| (name, sorted(pods))).collect()
        })
    }

    /// Every namespace that is defined or that something lies in, with its labels as far as they are
    /// known (B4).
    pub fn namespaces(&self) -> &[(&'c str, Labels)] {
        self.namespaces.get_or_init(|| {
            let names = self.index.namespace_names().into_iter();
            names.map(|name| (name, self.index.namespace_labels(name))).collect()
        })
    }

    /// The namespaces that a selector matches, as far as their labels are known (B4).
    pub fn selected_namespaces(&self, selector: &Selector) -> Vec<&'c str> {
        let all = self.namespaces().iter();
        all.filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| *name).collect()
    }

    /// Whether a selector matches a namespace, or names one of which only the name is known (B4).
    pub fn may_select_namespace(&self, selector: &Selector) -> bool {
        let of_name = |r: &&Requirement| r.key.as_ref() == NAMESPACE_NAME_LABEL;
        let by_name: Selector = selector.requirements().iter().filter(of_name).cloned().collect();
        let unknown = |name: &str| {
            !by_name.is_everything() && by_name.matches(&Labels::default().with(NAMESPACE_NAME_LABEL, name))
        };
        let mut names = self.namespaces().iter().map(|(name, _)| *name).chain(ALWAYS_THERE);
        names.any(|name| match self.index.namespace(name) {
            Some(defined) => selector.matches(&defined.labels),
            None => unknown(name) || selector.matches(&self.index.namespace_labels(name)),
        })
    }

    /// The namespaces that things lie in and that the input does not define.
    pub fn undefined_namespaces(&self) -> Vec<&'c str> {
        let names = self.namespaces().iter().map(|(name, _)| *name);
        names.filter(|name| self.index.namespace(name).is_none()).collect()
    }

    /// A policy as it is written, for what the typed form does not keep: defaults that were filled in,
    /// and the author's own spelling. `None` where the text is not there.
    pub fn written<'p>(&self, policy: &'p NetworkPolicy) -> Option<Node<'p>> {
        let document = Node::parse_one(policy.origin.text.as_deref()?).ok()?;
        document.at(&policy.origin.within.0).cloned()
    }

    /// Where a namespace stands: its own object, else the first thing in it.
    pub fn origin_of_namespace(&self, name: &str) -> Origin {
        let first = || {
            self.in_namespace(name)
                .map(|(_, endpoint)| endpoint.origin.clone())
                .min_by_key(|o| (o.source.clone(), o.line))
        };
        let defined = self.index.namespace(name).map(|namespace| namespace.origin.clone());
        defined.or_else(first).unwrap_or_default()
    }

    /// What to name where something is told about an endpoint.
    pub fn carrier(&self, endpoint: &Endpoint) -> Carrier {
        let namespace = &endpoint.key.namespace;
        let workload = endpoint.workload.as_ref().and_then(|(kind, name)| self.index.workload(*kind, namespace, name));
        match workload {
            Some(workload) => {
                let spec = Path::spec();
                let spec =
                    if workload.kind == WorkloadKind::CronJob { spec.key("jobTemplate").key("spec") } else { spec };
                Carrier {
                    object: Named::new(workload.kind.kind(), namespace, &workload.name),
                    origin: workload.origin.clone(),
                    pod_spec: spec.key("template").key("spec"),
                }
            }
            None => {
                // A workload that the input has not is known by name: what is told about its pods is told once.
                let object = match &endpoint.workload {
                    Some((kind, name)) => Named::new(kind.kind(), namespace, name),
                    None => Named::new("Pod", namespace, &endpoint.key.name),
                };
                Carrier { object, origin: endpoint.origin.clone(), pod_spec: Path::spec() }
            }
        }
    }

    /// The carriers of endpoints, each once, with how many of the endpoints it carries.
    pub fn carriers(&self, ids: impl IntoIterator<Item = EndpointId>) -> Vec<(Carrier, usize)> {
        let mut found: BTreeMap<Named, (Carrier, usize)> = BTreeMap::new();
        for endpoint in ids.into_iter().filter_map(|id| self.endpoint(id)) {
            let carrier = self.carrier(endpoint);
            found.entry(carrier.object.clone()).or_insert((carrier, 0)).1 += 1;
        }
        found.into_values().collect()
    }
}

impl Carrier {
    /// Something about a part of its pods' spec; an empty path is about all of it.
    pub fn found(&self, path: Path, message: impl Into<String>) -> Found {
        Found::new(self.object.clone(), &self.origin, path, message)
    }
}
