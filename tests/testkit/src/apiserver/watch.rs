//! A watch: from which revision on it tells changes, and what it says next.

use super::answer::status;
use super::query::Query;
use super::state::{Shared, State};
use super::store::{Change, Event, Store, metadata_of, verbatim};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Instant;

/// What tests do to the watches that are open.
#[derive(Default)]
pub struct Control {
    /// No watch says anything.
    pub held: bool,
    /// How often all watches were cut.
    pub cuts: usize,
    /// How often a bookmark was sent.
    pub bookmarks: usize,
    /// Lines that are put into open watches: the plural of the resource, the line.
    pub lines: Vec<(String, String)>,
    /// The plurals of resources whose watches were to be cut in the middle of a line.
    pub truncations: Vec<(String, Cut)>,
    /// New and open watches end in order, at once.
    pub ending: bool,
    /// The watches that are open.
    pub open: Vec<Open>,
    /// How many watches were opened so far.
    pub opened: usize,
}

/// How a watch ends in the middle of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The stream ends in order, as by a proxy that has had enough.
    InOrder,
    /// The connection breaks off.
    Broken,
}

/// A watch that is open, as seen from outside.
pub struct Open {
    id: usize,
    pub plural: String,
    /// The bookmarks that it has sent; all of them when nobody asked it for any.
    pub bookmarks_seen: usize,
}

impl Open {
    /// Whether it was opened after so many others.
    pub fn is_newer_than(&self, opened: usize) -> bool {
        self.id > opened
    }
}

/// One watch.
pub struct Watch {
    id: usize,
    plural: String,
    kind: usize,
    namespace: Option<String>,
    query: Query,
    /// The revision up to which everything was told.
    seen: u64,
    /// What is said before any change.
    initial: VecDeque<String>,
    ends: Option<Instant>,
    cuts_seen: usize,
    lines_seen: usize,
    truncations_seen: usize,
}

/// What comes next on a watch.
pub enum Next {
    /// A line.
    Line(String),
    /// The stream ends in order.
    End,
    /// The connection breaks off.
    Cut,
}

impl Watch {
    /// A watch that begins now.
    pub fn new(shared: &mut Shared, kind: usize, namespace: Option<&str>, query: Query) -> Self {
        let (store, control) = (&shared.store, &mut shared.control);
        control.opened += 1;
        let mut watch = Self {
            id: control.opened,
            plural: store.kinds()[kind].plural.clone(),
            kind,
            namespace: namespace.map(str::to_owned),
            seen: query.revision.unwrap_or(0),
            initial: VecDeque::new(),
            ends: query.timeout.map(|timeout| Instant::now() + timeout),
            cuts_seen: control.cuts,
            lines_seen: control.lines.len(),
            truncations_seen: control.truncations.len(),
            query,
        };
        let bookmarks_seen = if watch.query.bookmarks { control.bookmarks } else { usize::MAX };
        let plural = watch.plural.clone();
        control.open.push(Open { id: watch.id, plural, bookmarks_seen });
        // Without a revision a watch begins with what there is, too; only no bookmark ends it.
        if watch.query.initial_events || watch.seen == 0 {
            watch.seen = store.revision();
            let there = store.kinds()[kind].at(watch.seen);
            let there = there.filter(|(key, object)| watch.covers(kind, key) && watch.query.selector.selects(object));
            let mut initial: VecDeque<String> = there.map(|(_, object)| watch.line("ADDED", object)).collect();
            if watch.query.initial_events {
                initial.push_back(watch.bookmark(store, json!({"k8s.io/initial-events-end": "true"})));
            }
            watch.initial = initial;
        }
        watch
    }

    fn covers(&self, kind: usize, key: &super::store::Key) -> bool {
        kind == self.kind && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.0)
    }

    /// The plural of what is watched.
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// What a change looks like through the selector: an object that comes to be selected is added, one that is
    /// no longer selected is deleted, as it was.
    fn told(&self, event: &Event) -> Option<String> {
        let selects = |object: &Value| self.query.selector.selects(object);
        if !self.covers(event.kind, &event.key) {
            return None;
        }
        let deleted = matches!(event.change, Change::Deleted);
        match (event.before.as_deref().filter(|before| selects(before)), !deleted && selects(&event.object)) {
            (None, false) => None,
            (None, true) => Some(self.line("ADDED", &event.object)),
            (Some(_), true) => Some(self.line("MODIFIED", &event.object)),
            (Some(_), false) if deleted => Some(self.line("DELETED", &event.object)),
            (Some(before), false) => {
                let mut last = before.clone();
                last["metadata"]["resourceVersion"] = event.revision.to_string().into();
                Some(self.line("DELETED", &last))
            }
        }
    }

    fn line(&self, change: &str, object: &Value) -> String {
        if self.query.metadata_only { line(change, &metadata_of(object)) } else { line(change, object) }
    }

    /// Waits for the next thing to say.
    pub fn next(&mut self, state: &State) -> Next {
        let mut shared = state.lock();
        loop {
            if state.is_stopping() || shared.control.cuts > self.cuts_seen {
                return Next::Cut;
            }
            if !shared.control.held
                && !shared.faults.frozen
                && let Some(next) = self.ready(&mut shared)
            {
                // Somebody may wait until it is on its way.
                state.notify();
                return next;
            }
            shared = match self.ends {
                None => state.wait(shared, None),
                Some(ends) => match ends.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => state.wait(shared, Some(left)),
                    _ => return Next::End,
                },
            };
        }
    }

    fn ready(&mut self, shared: &mut Shared) -> Option<Next> {
        let (store, control) = (&shared.store, &mut shared.control);
        if control.ending {
            return Some(Next::End);
        }
        if let Some(line) = self.initial.pop_front() {
            return Some(Next::Line(line));
        }
        if self.seen == u64::MAX {
            return Some(Next::End);
        }
        if self.seen < store.compacted() {
            let text = format!("too old resource version: {} ({})", self.seen, store.compacted());
            // Nothing follows an error.
            self.seen = u64::MAX;
            return Some(Next::Line(line("ERROR", &status(410, "Expired", &text))));
        }
        let put_in = control.lines.iter().enumerate().skip(self.lines_seen);
        if let Some((i, (_, line))) = put_in.into_iter().find(|(_, (plural, _))| *plural == self.plural) {
            self.lines_seen = i + 1;
            return Some(Next::Line(line.clone()));
        }
        let told = |event: &Event| Some((event.revision, self.told(event)?));
        if let Some((revision, line)) = store.events_after(self.seen).iter().find_map(told) {
            self.seen = revision;
            return Some(Next::Line(line));
        }
        if !store.kinds()[self.kind].served {
            return Some(Next::End);
        }
        self.seen = store.revision();
        let bookmarks = control.bookmarks;
        let open = control.open.iter_mut().find(|open| open.id == self.id && open.bookmarks_seen < bookmarks);
        if let Some(open) = open {
            open.bookmarks_seen = bookmarks;
            return Some(Next::Line(self.bookmark(store, Value::Null)));
        }
        None
    }

    /// Whether the line that is next is to be cut.
    pub fn cut(&mut self, state: &State) -> Option<Cut> {
        let shared = state.lock();
        let new = shared.control.truncations.get(self.truncations_seen..).unwrap_or_default();
        let cut = new.iter().find(|(plural, _)| *plural == self.plural).map(|(_, cut)| *cut);
        self.truncations_seen = shared.control.truncations.len();
        cut
    }

    /// It is over.
    pub fn close(&self, shared: &mut Shared) {
        shared.control.open.retain(|open| open.id != self.id);
    }

    fn bookmark(&self, store: &Store, annotations: Value) -> String {
        let kind = &store.kinds()[self.kind];
        let mut metadata = json!({"resourceVersion": self.seen.to_string(), "creationTimestamp": null});
        if !annotations.is_null() {
            metadata["annotations"] = annotations;
        }
        let object = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata});
        self.line("BOOKMARK", &object)
    }
}

/// An event as it is sent: its type comes first, as every API server writes it.
fn line(change: &str, object: &Value) -> String {
    let verbatim = verbatim(object);
    let object = verbatim.as_ref().unwrap_or(object);
    format!("{{\"type\":\"{change}\",\"object\":{object}}}")
}
