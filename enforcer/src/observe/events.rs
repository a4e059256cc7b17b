//! Events in the API server, and what its answers to writers mean: shared by all who write there.

use super::text::{beginning, shortened, within};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Error;
use kube::core::Status;
use netsim::load::live::chain;

/// The rule that allows to make Events.
pub const RULE: &str = r#"{apiGroups: ["events.k8s.io"], resources: [events], verbs: [create]}"#;
/// What reports Events.
const CONTROLLER: &str = "netsim.dev/enforcer";
/// The longest name of a field manager, and of what reports an event, in bytes.
pub const MAX_MANAGER: usize = 128;
/// The longest note of an Event in bytes.
const MAX_NOTE: usize = 1000;
/// The most bytes of an object's name in that of an Event about it.
const MAX_FRONT: usize = 200;

/// What an Event is about.
#[derive(Debug)]
pub struct Occasion<'o> {
    /// The object, which has a namespace and a name.
    pub regarding: ObjectReference,
    /// Why, in CamelCase.
    pub reason: &'static str,
    /// What was done.
    pub action: &'static str,
    /// The same in words.
    pub note: &'o str,
    /// Occasions with the same number and object have one Event.
    pub digest: u64,
}

/// An Event of type `Warning` that a node makes now.
pub fn event(node: &str, occasion: Occasion<'_>) -> Event {
    let Occasion { regarding, reason, action, note, digest } = occasion;
    let name = regarding.name.as_deref().unwrap_or_default();
    let front = beginning(name, MAX_FRONT).trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{front}.{digest:016x}")),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some("Warning".to_owned()),
        reason: Some(reason.to_owned()),
        action: Some(action.to_owned()),
        note: Some(shortened(note, MAX_NOTE)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(within(node, MAX_MANAGER)),
        regarding: Some(regarding),
        ..Event::default()
    }
}

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Taken,
    /// It was there, or its object goes with its namespace.
    Needless,
    /// It is no use to try again.
    Refused,
    /// It may be taken later.
    Passing,
}

/// What the answer to its making means.
pub fn fate(answer: &Result<Event, Error>) -> Fate {
    let Err(error) = answer else { return Fate::Taken };
    match code(error) {
        Some(409) => Fate::Needless,
        Some(403) if message(error).contains("being terminated") => Fate::Needless,
        Some(403 | 404 | 422) => Fate::Refused,
        _ => Fate::Passing,
    }
}

/// The status of an answer, if it was the server that refused.
pub fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What the server said, if it was the server that refused.
pub fn message(error: &Error) -> &str {
    match error {
        Error::Api(status) => &status.message,
        _ => "",
    }
}

/// A failure in words. `rule` is the one that allows what was asked.
pub fn told(error: &Error, rule: &str) -> String {
    let mut text = match error {
        Error::Api(status) => {
            let Status { code, message, .. } = &**status;
            if message.is_empty() { chain(error) } else { format!("{code} {message}") }
        }
        _ => chain(error),
    };
    if code(error) == Some(403) {
        text.push_str(&format!("; a ClusterRole with this rule, bound to the agent, allows it: {rule}"));
    }
    text
}
