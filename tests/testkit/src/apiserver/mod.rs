//! A Kubernetes API server for tests, inside the test process: real HTTP/1.1 on a port of its own,
//! with the lists, paging, watches, refusals and accidents which a client must cope with. What
//! clients write is a status by server-side apply, and new objects.
//!
//! Layers, from the inside: `store` holds the objects with their history, `state` and `write` turn
//! one request into one `answer`, `watch` says what a watch tells next, and `http` speaks HTTP on
//! a thread per connection. Watches wait on one condition variable, so that a test which changes
//! something never has to wait by time.

mod answer;
mod apply;
mod discovery;
mod http;
mod query;
mod state;
mod store;
mod traffic;
mod watch;
mod write;

pub use traffic::{Sent, packed};
pub use watch::Cut;

use serde_json::Value;
use state::{Shared, State};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use store::Store;

/// How long a test waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// All that a server knew at a time; made by [`ApiServer::backup`].
pub struct Backup(Store);

/// A running server; dropping it closes every connection and ends its threads.
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl ApiServer {
    /// Serves these objects on a free port of the loopback address. Built-in kinds are served
    /// whether there are objects or not; any other kind is served, in the manner of a custom
    /// resource, if there is an object of it.
    ///
    /// # Panics
    /// If no port can be had, or an object has no `apiVersion`, `kind` or `metadata.name`: the test
    /// is at fault.
    pub fn start(objects: Vec<Value>) -> Self {
        let mut store = Store::new();
        for object in objects {
            store.apply(object);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("the address just bound");
        let server = Self { address, state: Arc::new(State::new(store)), accepting: Mutex::default() };
        server.serve(listener);
        server
    }

    fn serve(&self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let thread = thread::spawn(move || http::accept(&listener, &state));
        *self.accepting.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Its address, such as `http://127.0.0.1:40001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig, YAML, with the contexts `kind-a` (the current one) and `kind-b`, both for this
    /// server.
    pub fn kubeconfig(&self) -> String {
        let url = self.url();
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             current-context: kind-a\n\
             clusters:\n\
             - name: test\n  cluster:\n    server: {url}\n\
             users:\n\
             - name: tester\n  user:\n    token: test-token\n\
             contexts:\n\
             - name: kind-a\n  context:\n    cluster: test\n    user: tester\n\
             - name: kind-b\n  context:\n    cluster: test\n    user: tester\n    namespace: other\n"
        )
    }

    /// How many requests each path got so far, without queries, answered or not.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for target in &self.state.lock().log {
            let path = target.split('?').next().unwrap_or_default();
            *counts.entry(path.to_owned()).or_insert(0) += 1;
        }
        counts
    }

    /// The target of every request so far (path and query), in order; with the method in front if
    /// that is not `GET`.
    pub fn targets(&self) -> Vec<String> {
        self.state.lock().log.clone()
    }
}

/// What happens in the cluster.
impl ApiServer {
    /// Creates or replaces an object, however wrong it is. A replaced object keeps its UID unless
    /// it brings one.
    ///
    /// # Panics
    /// If it has no `apiVersion`, `kind` or `metadata.name`.
    pub fn apply(&self, object: Value) {
        self.state.change(|shared| shared.store.apply(object));
    }

    /// The same with a text that is sent for it, however wrong that is: only that it is JSON in brackets and quotes
    /// is up to the caller, since what is around it would be broken otherwise. `REVISION` in it becomes the object's
    /// revision. Requests for metadata only get all of it.
    ///
    /// # Panics
    /// If the object has no `apiVersion`, `kind` or `metadata.name`.
    pub fn apply_text(&self, mut object: Value, text: &str) {
        self.state.change(|shared| {
            object[store::VERBATIM] = shared.texts.len().into();
            shared.texts.push(text.to_owned());
            shared.store.apply(object);
        });
    }

    /// Deletes an object by the plural of its kind, its namespace (empty for none) and its name.
    ///
    /// # Panics
    /// If there is no such object.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let deleted = self.state.change(|shared| shared.store.delete(plural, namespace, name));
        assert!(deleted, "no such object: {plural} {namespace}/{name}");
    }

    /// Serves a custom kind from now on, objects or not, as if its definition had been installed.
    pub fn install(&self, api_version: &str, kind: &str) {
        self.state.change(|shared| shared.store.install(api_version, kind));
    }

    /// Deletes the definition of a custom kind, given by its plural: its objects are deleted, its
    /// watches end, and from then on its paths do not exist.
    pub fn uninstall(&self, plural: &str) {
        self.state.change(|shared| shared.store.uninstall(plural));
    }

    /// Whether a kind is served, by its plural.
    pub fn serves(&self, plural: &str) -> bool {
        self.state.lock().store.kinds().iter().any(|kind| kind.served && kind.plural == plural)
    }

    /// The objects of a kind, by its plural, in the order of lists.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.state.lock().objects(plural)
    }

    /// Waits until the objects of a kind are as wanted.
    ///
    /// # Panics
    /// If that does not happen in half a minute.
    pub fn wait_for_objects(&self, what: &str, plural: &str, wanted: impl Fn(&[Value]) -> bool) {
        self.wait_until(what, |shared| wanted(&shared.objects(plural)));
    }

    /// What was sent of a resource so far, by its plural.
    pub fn sent(&self, plural: &str) -> Sent {
        self.state.lock().traffic.of(plural)
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.state.lock().store.revision()
    }
}

/// Accidents of lists and of any request.
impl ApiServer {
    /// From now on answers 403 to requests for the resource, given by its plural (`nodes`), in any
    /// group.
    pub fn forbid(&self, plural: &str) {
        self.state.change(|shared| shared.faults.forbidden.push(plural.to_owned()));
    }

    /// Undoes all `forbid`.
    pub fn allow_all(&self) {
        self.state.change(|shared| shared.faults.forbidden.clear());
    }

    /// From now on answers 404 as if the resource, given by its plural, did not exist.
    pub fn hide(&self, plural: &str) {
        self.state.change(|shared| shared.faults.hidden.push(plural.to_owned()));
    }

    /// Undoes all `hide`.
    pub fn show_all(&self) {
        self.state.change(|shared| shared.faults.hidden.clear());
    }

    /// From now on sends whole objects to those, too, who asked for metadata only, as old servers do.
    pub fn send_whole_objects(&self) {
        self.state.change(|shared| shared.faults.whole_only = true);
    }

    /// Answers 410 `Expired` to the next request with a continue token. Calls add up.
    pub fn expire_next_continue(&self) {
        self.state.change(|shared| shared.faults.expirations += 1);
    }

    /// Closes the connection of each of the next `n` requests instead of answering. Calls add up.
    pub fn drop_next_connections(&self, n: usize) {
        self.state.change(|shared| shared.faults.drops += n);
    }

    /// Answers the next request with this status and text, such as 503. Calls queue up.
    pub fn fail_next(&self, status: u16, text: &str) {
        self.state.change(|shared| shared.faults.failures.push((status, text.to_owned())));
    }

    /// Answers 500 to all requests with a continue token, or no longer does so.
    pub fn fail_continues(&self, fail: bool) {
        self.state.change(|shared| shared.faults.failing_continues = fail);
    }

    /// Answers 429 to the next `n` requests, which are to come again after so many seconds.
    pub fn turn_away_next(&self, n: usize, seconds: u32) {
        self.state.change(|shared| shared.faults.turned_away = (n, seconds));
    }

    /// Neither answers nor sends anything, and leaves all connections open and takes new ones, until
    /// [`Self::thaw`]: what a network does that loses all packets.
    pub fn freeze(&self) {
        self.state.change(|shared| shared.faults.frozen = true);
    }

    /// Goes on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.state.change(|shared| shared.faults.frozen = false);
    }

    /// Sends so many bytes at a time, with a pause before each; or, without, as fast as it can.
    pub fn dribble(&self, dribble: Option<(usize, Duration)>) {
        self.state.change(|shared| shared.faults.dribble = dribble);
    }

    /// All that it knows.
    pub fn backup(&self) -> Backup {
        Backup(self.state.lock().store.clone())
    }

    /// Stops, and serves again what it knew at the time of a backup, from the revision of that time on: as a cluster
    /// whose etcd was restored.
    pub fn restart_from(&self, backup: &Backup) {
        self.stop_serving();
        self.state.change(|shared| shared.store = backup.0.clone());
        self.resume();
    }

    /// Closes all connections and refuses new ones until [`Self::resume`].
    pub fn stop_serving(&self) {
        self.state.set_stopping(true);
        // Wakes `accept`, which looks at `stopping` first.
        let woken = TcpStream::connect(self.address);
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Ok(_), Some(accepting)) = (woken, accepting) {
            // A panic there has been reported by its thread.
            let _ = accepting.join();
        }
    }

    /// Serves again after [`Self::stop_serving`], at the same address.
    ///
    /// # Panics
    /// If the port was taken meanwhile.
    pub fn resume(&self) {
        let listener = TcpListener::bind(self.address).expect("the port is still free");
        self.state.set_stopping(false);
        self.serve(listener);
    }
}

/// Accidents of watches.
impl ApiServer {
    /// Forgets all history: watches and continue tokens of before get 410 `Expired`, watches as an
    /// event in the stream.
    pub fn compact(&self) {
        self.state.change(|shared| shared.store.compact());
    }

    /// From now on tells new watches of an expired revision by HTTP status rather than by an event.
    pub fn expire_by_status(&self) {
        self.state.change(|shared| shared.faults.expires_by_status = true);
    }

    /// Ends each open watch of a resource, by its plural, in the middle of the line that it says next.
    pub fn cut_next_line(&self, plural: &str, cut: Cut) {
        self.state.change(|shared| shared.control.truncations.push((plural.to_owned(), cut)));
    }

    /// Breaks off all open watches, and comes back when they are gone.
    pub fn cut_watches(&self) {
        let cut = self.state.change(|shared| {
            shared.control.cuts += 1;
            shared.control.opened
        });
        self.wait_until("all watches are cut", |shared| shared.control.open.iter().all(|open| open.is_newer_than(cut)));
    }

    /// Ends all watches in order, those to come as soon as they have begun, or no longer does so.
    pub fn end_watches(&self, end: bool) {
        self.state.change(|shared| shared.control.ending = end);
    }

    /// Watches are taken, but nothing is sent on any until [`Self::release_watches`].
    pub fn hold_watches(&self) {
        self.state.change(|shared| shared.control.held = true);
    }

    /// Sends what was held.
    pub fn release_watches(&self) {
        self.state.change(|shared| shared.control.held = false);
    }

    /// Sends a bookmark on each open watch that takes them, and comes back when they are on their
    /// way. Not for watches that are held.
    pub fn send_bookmarks(&self) {
        let sent = self.state.change(|shared| {
            shared.control.bookmarks += 1;
            shared.control.bookmarks
        });
        self.wait_until("all bookmarks are sent", |shared| {
            shared.control.open.iter().all(|open| open.bookmarks_seen >= sent)
        });
    }

    /// Puts a line, whatever it is, into the open watches of a resource.
    pub fn send_line(&self, plural: &str, line: &str) {
        self.state.change(|shared| shared.control.lines.push((plural.to_owned(), line.to_owned())));
    }

    /// Waits until so many watches of a resource are open.
    ///
    /// # Panics
    /// If that does not happen in half a minute.
    pub fn wait_for_watches(&self, plural: &str, count: usize) {
        self.wait_until(&format!("{count} watches of {plural} are open"), |shared| {
            shared.control.open.iter().filter(|open| open.plural == plural).count() == count
        });
    }

    /// Waits until the targets of the requests so far are as wanted.
    ///
    /// # Panics
    /// If that does not happen in half a minute.
    pub fn wait_for_requests(&self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        self.wait_until(what, |shared| wanted(&shared.log));
    }

    fn wait_until(&self, what: &str, done: impl Fn(&Shared) -> bool) {
        let ends = Instant::now() + PATIENCE;
        let mut shared = self.state.lock();
        while !done(&shared) {
            let left = ends.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain until {what}; requests: {:#?}", shared.log);
            shared = self.state.wait(shared, Some(left));
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop_serving();
    }
}

#[cfg(test)]
mod tests;
