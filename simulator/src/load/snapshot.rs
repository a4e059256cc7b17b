//! Writes a cluster's lists as one file which netsim reads back, without what netsim has no use
//! for: a snapshot gets attached to tickets, so that it must not carry what containers run with.
//!
//! Pod specs, pod statuses and node statuses are reduced to named fields, so that a field which
//! Kubernetes adds later stays out; other objects lose only what is known to be of no use.

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::live::LivePage;

/// The annotation in which `kubectl apply` keeps a copy of the whole object, environment included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const POD_SPEC: [&str; 9] = [
    "containers",
    "ephemeralContainers",
    "hostNetwork",
    "hostname",
    "initContainers",
    "nodeName",
    "restartPolicy",
    "serviceAccountName",
    "subdomain",
];
/// Of an init container `restartPolicy` tells a sidecar, whose ports count.
const CONTAINER: [&str; 4] = ["name", "ports", "restartPolicy", "securityContext"];
const SECURITY_CONTEXT: [&str; 2] = ["capabilities", "privileged"];
const POD_STATUS: [&str; 6] = ["conditions", "hostIP", "hostIPs", "phase", "podIP", "podIPs"];
const NODE_SPEC: [&str; 2] = ["podCIDR", "podCIDRs"];
const NODE_STATUS: [&str; 2] = ["addresses", "conditions"];
/// Conditions say whether a pod is ready; their messages may quote anything.
const CONDITION: [&str; 2] = ["status", "type"];

/// What a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotCounts {
    /// All objects written.
    pub items: usize,
    /// The same by kind, as `apiVersion/Kind`, in the order first met.
    pub kinds: Vec<(String, usize)>,
    /// Objects left out because they are Secrets.
    pub withheld: usize,
}

/// Writes every item of all pages, in their order, as one `List`, one item a line. Items get their
/// `apiVersion` and `kind`, which the API server leaves to the list, in first place.
///
/// # Errors
/// What `out` gives; `InvalidData`, naming the page, for a page which is not a list of objects.
pub fn write_snapshot(pages: &[LivePage], out: &mut dyn Write) -> io::Result<SnapshotCounts> {
    let mut counts = SnapshotCounts::default();
    out.write_all(br#"{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":""},"items":["#)?;
    for page in pages {
        let invalid = |what: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", page.source))
        };
        let list: RawList = serde_json::from_slice(&page.json).map_err(|e| invalid(&e))?;
        for raw in list.items.unwrap_or_default() {
            // One item at a time is decoded: a page of pods takes several times its size so.
            let mut item: Map<String, Value> = serde_json::from_str(raw.get()).map_err(|e| invalid(&e))?;
            let own = |item: &mut Map<String, Value>, key| match item.remove(key) {
                Some(Value::String(own)) => own,
                _ => String::new(),
            };
            let mut api_version = own(&mut item, "apiVersion");
            let mut kind = own(&mut item, "kind");
            if kind.is_empty() {
                kind.push_str(list.kind.strip_suffix("List").unwrap_or(&list.kind));
                api_version.clone_from(&list.api_version);
            }
            if kind.is_empty() || api_version.is_empty() {
                return Err(invalid(&"an item of no kind in a list which does not tell it"));
            }
            if kind == "Secret" {
                counts.withheld += 1;
                continue;
            }
            reduce(&kind, &mut item);
            out.write_all(if counts.items == 0 { b"\n" } else { b",\n" })?;
            write_item(&api_version, &kind, &item, out)?;
            counts.add(format!("{api_version}/{kind}"));
        }
    }
    out.write_all(b"\n]}\n")?;
    Ok(counts)
}

impl SnapshotCounts {
    fn add(&mut self, kind: String) {
        self.items += 1;
        // From the end: pages of one kind follow each other.
        match self.kinds.iter_mut().rev().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.kinds.push((kind, 1)),
        }
    }
}

/// A list whose items are not decoded yet.
#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

fn write_item(api_version: &str, kind: &str, item: &Map<String, Value>, mut out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{\"apiVersion\":")?;
    serde_json::to_writer(&mut out, api_version)?;
    out.write_all(b",\"kind\":")?;
    serde_json::to_writer(&mut out, kind)?;
    for (key, value) in item {
        out.write_all(b",")?;
        serde_json::to_writer(&mut out, key)?;
        out.write_all(b":")?;
        serde_json::to_writer(&mut out, value)?;
    }
    out.write_all(b"}")
}

/// Takes out of an object what netsim does not need.
fn reduce(kind: &str, item: &mut Map<String, Value>) {
    reduce_metadata(item);
    match kind {
        "Pod" => {
            within(item, "spec", reduce_pod_spec);
            within(item, "status", |status| keep(status, &POD_STATUS));
        }
        "Node" => {
            within(item, "spec", |spec| keep(spec, &NODE_SPEC));
            within(item, "status", |status| keep(status, &NODE_STATUS));
        }
        "CronJob" => within(item, "spec", |spec| {
            within(spec, "jobTemplate", |job| {
                reduce_metadata(job);
                within(job, "spec", reduce_workload_spec);
            });
        }),
        "ReplicationController" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
            within(item, "spec", reduce_workload_spec)
        }
        // It tells of nodes, not of the policy.
        "EgressDomainPolicy" => _ = item.remove("status"),
        _ => {}
    }
    within(item, "status", |status| {
        if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
            for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
                keep(condition, &CONDITION);
            }
        }
    });
}

fn reduce_metadata(object: &mut Map<String, Value>) {
    within(object, "metadata", |metadata| {
        metadata.remove("managedFields");
        within(metadata, "annotations", |annotations| {
            annotations.remove(LAST_APPLIED);
        });
    });
}

fn reduce_workload_spec(spec: &mut Map<String, Value>) {
    within(spec, "template", |template| {
        reduce_metadata(template);
        within(template, "spec", reduce_pod_spec);
    });
}

fn reduce_pod_spec(spec: &mut Map<String, Value>) {
    keep(spec, &POD_SPEC);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let Some(Value::Array(containers)) = spec.get_mut(list) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            keep(container, &CONTAINER);
            within(container, "securityContext", |context| keep(context, &SECURITY_CONTEXT));
        }
    }
}

/// Drops every field but those named.
fn keep(object: &mut Map<String, Value>, fields: &[&str]) {
    object.retain(|field, _| fields.contains(&field.as_str()));
}

/// Runs `change` on the object in the field, if there is one.
fn within(object: &mut Map<String, Value>, field: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    if let Some(Value::Object(inner)) = object.get_mut(field) {
        change(inner);
    }
}
