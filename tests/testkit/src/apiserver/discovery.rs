//! Which groups and resources are served.

use super::store::{Kind, Store, group_version};
use serde_json::{Value, json};

/// `/apis`
pub fn groups(store: &Store) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for kind in store.kinds().iter().filter(|kind| kind.served && !kind.group.is_empty()) {
        if !names.contains(&kind.group.as_str()) {
            names.push(&kind.group);
        }
    }
    let groups: Vec<Value> = names.iter().filter_map(|name| group(store, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`; the version first met is the preferred one.
pub fn group(store: &Store, name: &str) -> Option<Value> {
    let mut versions: Vec<Value> = Vec::new();
    for kind in store.kinds().iter().filter(|kind| kind.served && kind.group == name && !name.is_empty()) {
        let version = json!({"groupVersion": kind.api_version(), "version": kind.version});
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let preferred = versions.first()?.clone();
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name,
        "versions": versions, "preferredVersion": preferred,
    }))
}

/// `/api/<version>`, `/apis/<group>/<version>`
pub fn resources(store: &Store, group: &str, version: &str) -> Option<Value> {
    let served = store.kinds().iter().filter(|kind| kind.served && kind.group == group && kind.version == version);
    let resource = |kind: &Kind, name: &str, verbs: &[&str]| {
        json!({
            "name": name, "singularName": kind.kind.to_lowercase(),
            "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs,
        })
    };
    let mut resources: Vec<Value> = Vec::new();
    for kind in served {
        resources.push(resource(kind, &kind.plural, &["get", "list", "watch"]));
        resources.push(resource(kind, &format!("{}/status", kind.plural), &["get"]));
    }
    (!resources.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": group_version(group, version), "resources": resources,
        })
    })
}
