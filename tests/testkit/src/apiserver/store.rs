//! The objects with all their versions, as etcd keeps them: a list at any revision and a watch from
//! any revision can be answered, unless that revision was compacted.

use super::apply::{self, Managers};
use super::query::{Query, key_token};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where an object is in the order of lists: namespace (empty for none), name.
pub type Key = (String, String);

/// The kinds every API server serves, objects or not: group, version, plural, kind, namespaced.
const BUILT_IN: [(&str, &str, &str, &str, bool); 20] = [
    ("", "v1", "namespaces", "Namespace", false),
    ("", "v1", "nodes", "Node", false),
    ("", "v1", "pods", "Pod", true),
    ("", "v1", "replicationcontrollers", "ReplicationController", true),
    ("", "v1", "secrets", "Secret", true),
    ("", "v1", "services", "Service", true),
    ("", "v1", "configmaps", "ConfigMap", true),
    ("apps", "v1", "daemonsets", "DaemonSet", true),
    ("apps", "v1", "deployments", "Deployment", true),
    ("apps", "v1", "replicasets", "ReplicaSet", true),
    ("apps", "v1", "statefulsets", "StatefulSet", true),
    ("batch", "v1", "cronjobs", "CronJob", true),
    ("batch", "v1", "jobs", "Job", true),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true),
    ("events.k8s.io", "v1", "events", "Event", true),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", true),
];

/// One kind and its objects.
#[derive(Clone)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
    /// Built-in kinds: lists of theirs leave out `kind` and `apiVersion` on the items.
    typed: bool,
    /// Custom kinds: whether their definition is there.
    pub served: bool,
    objects: BTreeMap<Key, Vec<Version>>,
    /// Who answers for what in the status of objects.
    managers: BTreeMap<Key, Managers>,
}

/// What an object is from a revision on; `None`: deleted.
#[derive(Clone)]
struct Version {
    revision: u64,
    object: Option<Arc<Value>>,
}

impl Kind {
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// An object as it is now.
    pub fn newest(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)?.last()?.object.as_ref()
    }

    /// The objects as they were at a revision, by namespace and name.
    pub fn at(&self, revision: u64) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter().filter_map(move |(key, versions)| {
            let then = versions.iter().rev().find(|version| version.revision <= revision)?;
            Some((key, then.object.as_ref()?))
        })
    }
}

/// What happened to an object.
#[derive(Clone, Copy)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

/// One change, as a watch tells it.
#[derive(Clone)]
pub struct Event {
    pub revision: u64,
    /// The index of its kind.
    pub kind: usize,
    pub key: Key,
    pub change: Change,
    pub object: Arc<Value>,
    /// What it was before, if it was.
    pub before: Option<Arc<Value>>,
}

/// Why there is no answer.
pub enum Refusal {
    /// No such resource.
    NotFound,
    /// The revision was compacted.
    Expired,
}

/// The objects, with the revision counter that lists and watches go by.
#[derive(Clone)]
pub struct Store {
    kinds: Vec<Kind>,
    revision: u64,
    /// What came before this revision is forgotten.
    compacted: u64,
    /// The changes since then, by revision.
    events: Vec<Event>,
}

impl Store {
    pub fn new() -> Self {
        let built_in = BUILT_IN.map(|(group, version, plural, kind, namespaced)| Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced,
            typed: true,
            served: true,
            objects: BTreeMap::new(),
            managers: BTreeMap::new(),
        });
        Self { kinds: built_in.into(), revision: 0, compacted: 0, events: Vec::new() }
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision before which everything is forgotten.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// All kinds, those that are not served, too.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Serves a custom kind.
    pub fn install(&mut self, api_version: &str, kind: &str) {
        let index = self.index_for(api_version, kind, true);
        self.kinds[index].served = true;
    }

    /// Deletes the objects of a custom kind, and serves it no longer.
    pub fn uninstall(&mut self, plural: &str) {
        let Some(index) = self.kinds.iter().position(|kind| kind.plural == plural && !kind.typed) else { return };
        let keys: Vec<Key> = self.kinds[index].at(self.revision).map(|(key, _)| key.clone()).collect();
        for (namespace, name) in keys {
            self.delete(plural, &namespace, &name);
        }
        self.kinds[index].served = false;
    }

    /// The index of a kind by its place in paths.
    pub fn kind(&self, group: &str, version: &str, plural: &str) -> Option<usize> {
        let is = |k: &Kind| k.served && k.group == group && k.version == version && k.plural == plural;
        self.kinds.iter().position(is)
    }

    /// Creates or replaces an object as it is given, but for its revision and, if it has none, its
    /// UID: a new one when it is created, the old one when it is replaced. Policies and custom objects
    /// have a generation, which counts what their spec was; custom objects keep the status that they had.
    pub fn apply(&mut self, mut object: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let namespace = text(&object["metadata"]["namespace"]);
        let name = text(&object["metadata"]["name"]);
        assert!(
            !api_version.is_empty() && !kind.is_empty() && !name.is_empty(),
            "an object needs apiVersion, kind and metadata.name: {object}"
        );
        let index = self.index_for(&api_version, &kind, !namespace.is_empty());
        self.kinds[index].served = true;
        let key = (namespace, name);
        self.revision += 1;
        let before = self.kinds[index].newest(&key);
        let change = if before.is_some() { Change::Modified } else { Change::Added };
        let fresh = || format!("00000000-0000-4000-8000-{:012x}", self.revision);
        let uid = before.map_or_else(fresh, |before| text(&before["metadata"]["uid"]));
        let typed = self.kinds[index].typed;
        let is_counted = !typed || kind == "NetworkPolicy";
        let mut generation = 1;
        if let Some(before) = before.filter(|_| is_counted) {
            generation = before["metadata"]["generation"].as_i64().unwrap_or(1);
            generation += i64::from(before["spec"] != object["spec"]);
        }
        if let Some(status) = before.filter(|_| !typed && object.get("status").is_none()).and_then(|b| b.get("status"))
        {
            object["status"] = status.clone();
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.entry("uid").or_insert(uid.into());
            if is_counted {
                metadata.entry("generation").or_insert(generation.into());
            }
            metadata.insert("resourceVersion".to_owned(), self.revision.to_string().into());
        }
        self.record(index, key, change, object);
    }

    /// Deletes an object; whether there was one.
    pub fn delete(&mut self, plural: &str, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        let found = (0..self.kinds.len())
            .find_map(|i| Some((i, self.kinds[i].newest(&key).filter(|_| self.kinds[i].plural == plural)?)));
        let Some((index, object)) = found else { return false };
        let mut last = Value::clone(object);
        self.revision += 1;
        // A deletion is told with the object as it was last, at the revision of the deletion.
        last["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.kinds[index].managers.remove(&key);
        self.record(index, key, Change::Deleted, last);
        true
    }

    /// Makes what a manager says of the status of an object so: server-side apply.
    ///
    /// # Errors
    /// There is no such object (`None`), or another manager says something else.
    pub fn apply_status(
        &mut self,
        kind: usize,
        key: &Key,
        manager: &str,
        status: &Value,
        force: bool,
    ) -> Result<Arc<Value>, Option<String>> {
        let before = self.kinds[kind].newest(key).ok_or(None)?.clone();
        let mut object = Value::clone(&before);
        let managers = self.kinds[kind].managers.entry(key.clone()).or_default();
        let mut live = object["status"].take();
        apply::apply(&mut live, managers, manager, status, force).map_err(Some)?;
        object["status"] = live;
        if object["status"].is_null() {
            object.as_object_mut().into_iter().for_each(|fields| _ = fields.remove("status"));
        }
        // What changes nothing is no new revision.
        if object != *before {
            self.revision += 1;
            object["metadata"]["resourceVersion"] = self.revision.to_string().into();
            self.record(kind, key.clone(), Change::Modified, object);
        }
        self.kinds[kind].newest(key).cloned().ok_or(None)
    }

    fn record(&mut self, kind: usize, key: Key, change: Change, object: Value) {
        let (revision, object) = (self.revision, Arc::new(object));
        let now = (!matches!(change, Change::Deleted)).then(|| object.clone());
        let before = self.kinds[kind].newest(&key).cloned();
        self.kinds[kind].objects.entry(key.clone()).or_default().push(Version { revision, object: now });
        self.events.push(Event { revision, kind, key, change, object, before });
    }

    fn index_for(&mut self, api_version: &str, kind: &str, namespaced: bool) -> usize {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let same = |k: &Kind| k.group == group && k.version == version && k.kind == kind;
        self.kinds.iter().position(same).unwrap_or_else(|| {
            self.kinds.push(Kind {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural(kind),
                kind: kind.to_owned(),
                namespaced,
                typed: false,
                served: true,
                objects: BTreeMap::new(),
                managers: BTreeMap::new(),
            });
            self.kinds.len() - 1
        })
    }

    /// Forgets everything but what there is now.
    pub fn compact(&mut self) {
        self.compacted = self.revision;
        self.events.clear();
        for kind in &mut self.kinds {
            for versions in kind.objects.values_mut() {
                versions.drain(..versions.len() - 1);
            }
            kind.objects.retain(|_, versions| versions.iter().any(|version| version.object.is_some()));
        }
    }

    /// The changes after a revision, the oldest first.
    pub fn events_after(&self, revision: u64) -> &[Event] {
        let begin = self.events.partition_point(|event| event.revision <= revision);
        &self.events[begin..]
    }

    /// One page of a list.
    pub fn list(&self, kind: usize, namespace: Option<&str>, query: &Query) -> Result<Value, Refusal> {
        let kind = &self.kinds[kind];
        if !kind.namespaced && namespace.is_some() {
            return Err(Refusal::NotFound);
        }
        let (revision, after) = match &query.from {
            Some((1.., _)) if query.from.as_ref().is_some_and(|from| from.0 < self.compacted) => {
                return Err(Refusal::Expired);
            }
            // A token without a revision goes on without consistency.
            Some((0, key)) => (self.revision, Some(key)),
            Some((revision, key)) => (*revision, Some(key)),
            None => (self.revision, None),
        };
        let mut rest = kind
            .at(revision)
            .filter(|(key, object)| {
                namespace.is_none_or(|namespace| key.0 == namespace) && query.selector.selects(object)
            })
            .skip_while(|(key, _)| after.is_some_and(|after| *key <= after));
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let page: Vec<(&Key, &Arc<Value>)> = rest.by_ref().take(limit).collect();
        let remaining = rest.count();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let (Some((last, _)), 1..) = (page.last(), remaining) {
            metadata["continue"] = key_token(revision, last).into();
            // Nobody counts what a selector would select.
            if query.selector.is_empty() {
                metadata["remainingItemCount"] = remaining.into();
            }
        }
        if query.metadata_only {
            let items: Vec<Value> = page.into_iter().map(|(_, object)| metadata_of(object)).collect();
            let kind = "PartialObjectMetadataList";
            return Ok(json!({"kind": kind, "apiVersion": META, "metadata": metadata, "items": items}));
        }
        let item = |object: &Arc<Value>| {
            if let Some(verbatim) = verbatim(object) {
                return verbatim;
            }
            let mut object = Value::clone(object);
            if let (true, Some(fields)) = (kind.typed, object.as_object_mut()) {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            object
        };
        let mut list = json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(), "metadata": metadata,
        });
        // Put in as it is: `json!` would copy every object once more.
        list["items"] = page.into_iter().map(|(_, object)| item(object)).collect();
        Ok(list)
    }
}

/// What stands in answers for an object whose text is given: which text, and at which revision.
pub fn verbatim(object: &Value) -> Option<Value> {
    let number = object.get(VERBATIM)?;
    let revision = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    Some(format!("{VERBATIM}:{number}:{revision}@").into())
}

/// Puts texts in the place of what stands for them. `REVISION` in a text is the revision of the object.
pub fn spelled(answer: String, texts: &[String]) -> String {
    let begin = format!("\"{VERBATIM}:");
    let mut parts = answer.split(begin.as_str());
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (which, rest) = part.split_once("@\"").unwrap_or_default();
        let (number, revision) = which.split_once(':').unwrap_or_default();
        let text = number.parse::<usize>().ok().and_then(|number| texts.get(number));
        out.push_str(&text.map(|text| text.replace("REVISION", revision)).unwrap_or_default());
        out.push_str(rest);
    }
    out
}

/// The field of an object whose text is given.
pub const VERBATIM: &str = "@verbatim";

/// The `apiVersion` of objects that are only metadata.
const META: &str = "meta.k8s.io/v1";

/// An object without all but its metadata.
pub fn metadata_of(object: &Value) -> Value {
    if let Some(verbatim) = verbatim(object) {
        return verbatim;
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": object["metadata"]})
}

/// `group/version`, as `apiVersion` writes it.
pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The plural under which a custom kind is served.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    }
}
