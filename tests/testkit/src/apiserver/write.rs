//! What clients write: a status by server-side apply, and new objects. With the checks of the API server that a client
//! could fall over.

use super::answer::{Answer, failure, full, no_such_path, not_found};
use super::http::Request;
use super::query::Query;
use super::state::Shared;
use super::store::Key;
use serde_json::Value;

/// The longest name of a field manager, and of what reports an event.
const MAX_MANAGER: usize = 128;
/// The longest note of an event in bytes.
const MAX_NOTE: usize = 1024;

impl Shared {
    /// The objects of a kind as they are now.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let revision = self.store.revision();
        let of_kind = self.store.kinds().iter().filter(|kind| kind.plural == plural);
        of_kind.flat_map(|kind| kind.at(revision).map(|(_, object)| Value::clone(object))).collect()
    }

    /// Answers a request that is no `GET`.
    pub fn write(&mut self, request: &Request) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(message) => return failure(400, "BadRequest", &message),
        };
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return failure(400, "BadRequest", "the body is no JSON");
        };
        match (request.method.as_str(), segments.as_slice()) {
            ("PATCH", ["apis", group, version, "namespaces", namespace, plural, name, "status"]) => {
                if request.content != "application/apply-patch+yaml" {
                    return failure(415, "UnsupportedMediaType", "this test server takes server-side apply only");
                }
                let key = ((*namespace).to_owned(), (*name).to_owned());
                self.apply_status(group, version, plural, &key, &query, &body)
            }
            ("POST", ["apis", group, version, "namespaces", namespace, plural]) => {
                self.create(group, version, plural, namespace, body)
            }
            _ => failure(405, "MethodNotAllowed", "this test server does not write that"),
        }
    }

    fn apply_status(
        &mut self,
        group: &str,
        version: &str,
        plural: &str,
        key: &Key,
        query: &Query,
        body: &Value,
    ) -> Answer {
        if let Some(refusal) = self.refusal(group, &format!("{plural}/status"), "patch") {
            return refusal;
        }
        let Some(kind) = self.store.kind(group, version, plural) else { return no_such_path() };
        let Some(manager) = query.manager.as_deref().filter(|manager| manager.len() <= MAX_MANAGER) else {
            return failure(422, "Invalid", "fieldManager: is required for apply patch, and has at most 128 bytes");
        };
        let served = &self.store.kinds()[kind];
        let metadata = &body["metadata"];
        if body["apiVersion"] != *served.api_version() || body["kind"] != *served.kind {
            return failure(400, "BadRequest", "apiVersion and kind have to be those of the object");
        }
        if metadata["name"] != *key.1 || metadata.get("namespace").is_some_and(|namespace| *namespace != *key.0) {
            return failure(400, "BadRequest", "name and namespace have to be those of the path");
        }
        let uid = metadata.get("uid");
        let Some(object) = served.newest(key) else {
            if let Some(uid) = uid {
                let message =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return failure(409, "Conflict", &message);
            }
            let message = format!("{plural}.{group} {:?} not found", key.1);
            return failure(404, "NotFound", &message);
        };
        if let Some(uid) = uid.filter(|uid| **uid != object["metadata"]["uid"]) {
            let message = format!(
                "{} {:?} is invalid: metadata.uid: Invalid value: {uid}: field is immutable",
                served.kind, key.1
            );
            return failure(422, "Invalid", &message);
        }
        // Anything but the status is ignored here.
        match self.store.apply_status(kind, key, manager, &body["status"], query.force) {
            Ok(object) => full(Value::clone(&object)),
            Err(Some(conflict)) => failure(409, "Conflict", &format!("Apply failed with 1 conflict: {conflict}")),
            Err(None) => not_found(),
        }
    }

    fn create(&mut self, group: &str, version: &str, plural: &str, namespace: &str, mut body: Value) -> Answer {
        if let Some(refusal) = self.refusal(group, plural, "create") {
            return refusal;
        }
        let Some(kind) = self.store.kind(group, version, plural) else { return no_such_path() };
        let served = &self.store.kinds()[kind];
        // As the API server fills in what a client left out.
        for (field, value) in [("apiVersion", served.api_version()), ("kind", served.kind.clone())] {
            if body.get(field).is_none() {
                body[field] = value.into();
            }
        }
        if body["metadata"].get("namespace").is_none() {
            body["metadata"]["namespace"] = namespace.into();
        }
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() || body["metadata"]["namespace"] != *namespace {
            return failure(400, "BadRequest", "the object needs a name, and the namespace of the path");
        }
        if (group, plural) == ("events.k8s.io", "events")
            && let Some(wrong) = wrong_event(&body)
        {
            return failure(422, "Invalid", &format!("Event.events.k8s.io {name:?} is invalid: {wrong}"));
        }
        if served.newest(&(namespace.to_owned(), name.clone())).is_some() {
            return failure(409, "AlreadyExists", &format!("{plural}.{group} {name:?} already exists"));
        }
        self.store.apply(body.clone());
        Answer::Full { status: 201, body }
    }
}

/// What the API server would refuse about an event.
fn wrong_event(event: &Value) -> Option<&'static str> {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let within = |field: &str, most: usize| !text(field).is_empty() && text(field).len() <= most;
    let checks = [
        (!text("eventTime").is_empty(), "eventTime: Required value"),
        (within("reportingController", MAX_MANAGER), "reportingController: Required value"),
        (within("reportingInstance", MAX_MANAGER), "reportingInstance: can have at most 128 characters"),
        (within("action", 128), "action: can have at most 128 characters"),
        (within("reason", 128), "reason: can have at most 128 characters"),
        (["Normal", "Warning"].contains(&text("type")), "type: has invalid value"),
        (text("note").len() <= MAX_NOTE, "note: can have at most 1024 characters"),
        (event["regarding"]["namespace"] == event["metadata"]["namespace"], "regarding.namespace: does not match"),
    ];
    checks.into_iter().find(|(right, _)| !right).map(|(_, wrong)| wrong)
}
