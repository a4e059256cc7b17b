//! What all connections share, and how a request is answered.

use super::answer::{Answer, expired_list, failure, full, no_such_path, not_found, too_large_revision, turned_away};
use super::discovery;
use super::http::Request;
use super::query::Query;
use super::store::{Refusal, Store, VERBATIM, spelled};
use super::traffic::Traffic;
use super::watch::{Control, Watch};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What all connections share.
pub struct State {
    shared: Mutex<Shared>,
    /// Told after every change of `shared` and of `stopping`.
    changed: Condvar,
    stopping: AtomicBool,
}

/// The part of it that changes.
pub struct Shared {
    pub store: Store,
    pub control: Control,
    pub faults: Faults,
    /// The target of every request, with the method in front if that is not `GET`.
    pub log: Vec<String>,
    pub traffic: Traffic,
    /// The texts of objects that are sent as they were given.
    pub texts: Vec<String>,
}

/// Accidents to come.
#[derive(Default)]
pub struct Faults {
    pub forbidden: Vec<String>,
    pub hidden: Vec<String>,
    pub expirations: usize,
    pub drops: usize,
    pub failures: Vec<(u16, String)>,
    /// How many requests get 429, and after how many seconds they are to come again.
    pub turned_away: (usize, u32),
    /// Requests with a continue token get 500.
    pub failing_continues: bool,
    /// Nothing is answered and nothing is sent, and connections stay.
    pub frozen: bool,
    /// How many bytes are sent at a time, and the pause before each.
    pub dribble: Option<(usize, Duration)>,
    /// Watches from a compacted revision are refused by status, not by an event.
    pub expires_by_status: bool,
    /// Whole objects are sent to those who want metadata only.
    pub whole_only: bool,
}

impl State {
    pub fn new(store: Store) -> Self {
        let (control, faults, traffic) = (Control::default(), Faults::default(), Traffic::default());
        let shared = Shared { store, control, faults, log: Vec::new(), traffic, texts: Vec::new() };
        Self { shared: Mutex::new(shared), changed: Condvar::new(), stopping: AtomicBool::new(false) }
    }

    /// A lock whose holder panicked still guards whole values here.
    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer with the texts that were given for objects.
    pub fn spelled(&self, answer: String) -> String {
        // Nearly all have none, and need no lock.
        if answer.contains(VERBATIM) { spelled(answer, &self.lock().texts) } else { answer }
    }

    /// Changes what is shared and lets the watches look at it.
    pub fn change<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        let changed = change(&mut self.lock());
        self.notify();
        changed
    }

    /// Lets everybody who waits look again.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits for a change, or for so long.
    pub fn wait<'s>(&self, shared: MutexGuard<'s, Shared>, at_most: Option<Duration>) -> MutexGuard<'s, Shared> {
        match at_most {
            None => self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.changed.wait_timeout(shared, time).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Whether connections have to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Makes connections end, or lets them be again.
    pub fn set_stopping(&self, stopping: bool) {
        // Under the lock, so that nobody who has just looked goes to sleep afterwards.
        self.change(|_| self.stopping.store(stopping, Ordering::SeqCst));
    }

    /// Waits until anything is answered; at once if connections have to end.
    pub fn wait_thawed(&self) {
        let mut shared = self.lock();
        while shared.faults.frozen && !self.is_stopping() {
            shared = self.wait(shared, None);
        }
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request) -> Answer {
        let mut shared = self.lock();
        let (method, target) = (request.method.as_str(), request.target.as_str());
        shared.log.push(if method == "GET" { target.to_owned() } else { format!("{method} {target}") });
        self.notify();
        let faults = &mut shared.faults;
        if faults.drops > 0 {
            faults.drops -= 1;
            return Answer::Nothing;
        }
        if !faults.failures.is_empty() {
            let (status, text) = faults.failures.remove(0);
            return Answer::Text { status, text };
        }
        if let (1.., seconds) = faults.turned_away {
            faults.turned_away.0 -= 1;
            return turned_away(seconds);
        }
        match method {
            "GET" => shared.answer(target, &request.accept),
            // Watches wait on the lock, and see what was written when it is free.
            _ => shared.write(request),
        }
    }
}

/// Whether the first media type that a client takes is only the metadata of objects.
fn wants_metadata(accept: &str, watch: bool) -> bool {
    let wanted = if watch { "as=PartialObjectMetadata" } else { "as=PartialObjectMetadataList" };
    let mut parts = accept.split(',').next().unwrap_or_default().split(';').map(str::trim);
    parts.next() == Some("application/json")
        && [wanted, "g=meta.k8s.io", "v=v1"]
            .iter()
            .all(|part| accept.split([',', ';']).any(|given| given.trim() == *part))
}

impl Shared {
    fn answer(&mut self, target: &str, accept: &str) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let or_not_found = |document: Option<Value>| document.map_or_else(not_found, full);
        match segments.as_slice() {
            ["api"] => full(json!({"kind": "APIVersions", "versions": ["v1"]})),
            ["apis"] => full(discovery::groups(&self.store)),
            ["apis", group] => or_not_found(discovery::group(&self.store, group)),
            ["api", version] => or_not_found(discovery::resources(&self.store, "", version)),
            ["apis", group, version] => or_not_found(discovery::resources(&self.store, group, version)),
            ["api", version, rest @ ..] => self.collection("", version, rest, query, accept),
            ["apis", group, version, rest @ ..] => self.collection(group, version, rest, query, accept),
            _ => not_found(),
        }
    }

    /// Answers a list or a watch: `rest` is what follows the version in the path.
    fn collection(&mut self, group: &str, version: &str, rest: &[&str], query: &str, accept: &str) -> Answer {
        let (namespace, plural) = match rest {
            [plural] => (None, *plural),
            ["namespaces", namespace, plural] => (Some(*namespace), *plural),
            _ => return not_found(),
        };
        let mut query = match Query::parse(query).and_then(|query| query.selector.fits(plural).map(|()| query)) {
            Ok(query) => query,
            Err(message) => return failure(400, "BadRequest", &message),
        };
        query.metadata_only = !self.faults.whole_only && wants_metadata(accept, query.watch);
        if self.faults.hidden.iter().any(|hidden| hidden == plural) {
            return not_found();
        }
        if let Some(refusal) = self.refusal(group, plural, if query.watch { "watch" } else { "list" }) {
            return refusal;
        }
        let Some(kind) = self.store.kind(group, version, plural) else { return no_such_path() };
        if query.watch {
            return self.watch(kind, namespace, query);
        }
        if query.from.is_some() && self.faults.failing_continues {
            return failure(500, "InternalError", "etcdserver: request timed out");
        }
        if query.from.is_some() && self.faults.expirations > 0 {
            self.faults.expirations -= 1;
            return expired_list();
        }
        match self.store.list(kind, namespace, &query) {
            Ok(list) => full(list),
            Err(Refusal::NotFound) => not_found(),
            Err(Refusal::Expired) => expired_list(),
        }
    }

    /// Why somebody may not do that, if they may not.
    pub fn refusal(&self, group: &str, resource: &str, verb: &str) -> Option<Answer> {
        if !self.faults.forbidden.iter().any(|forbidden| forbidden == resource) {
            return None;
        }
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let message = format!(
            "{qualified} is forbidden: User \"tester\" cannot {verb} resource \"{resource}\" in API \
             group \"{group}\" at the cluster scope"
        );
        Some(failure(403, "Forbidden", &message))
    }

    fn watch(&mut self, kind: usize, namespace: Option<&str>, query: Query) -> Answer {
        if query.initial_events && !(query.not_older_than && query.bookmarks) {
            let message = "sendInitialEvents requires resourceVersionMatch=NotOlderThan and allowWatchBookmarks";
            return failure(422, "Invalid", message);
        }
        let asked = query.revision.unwrap_or(0);
        if asked > self.store.revision() {
            let message = format!("Too large resource version: {asked}, current: {}", self.store.revision());
            return too_large_revision(&message);
        }
        let from_the_past = asked > 0 && !query.initial_events;
        if from_the_past && asked < self.store.compacted() && self.faults.expires_by_status {
            let message = format!("too old resource version: {asked} ({})", self.store.compacted());
            return failure(410, "Expired", &message);
        }
        Answer::Watch(Box::new(Watch::new(self, kind, namespace, query)))
    }
}
