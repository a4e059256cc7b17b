//! A Kubernetes API server for tests, inside the test process: real HTTP/1.1 on a port of its own,
//! with the lists, paging, refusals and accidents which a client must cope with.
//!
//! Layers, from the inside: `Store` holds the objects, `State::answer` turns one request into
//! one `Answer`, and `connection` speaks HTTP on a thread per connection. A watch becomes another
//! kind of `Answer`, written as a stream by `connection`; its waiting threads must end on
//! `State::stopping`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

/// The longest request head in bytes, against a client gone wrong.
const MAX_HEAD: u64 = 64 * 1024;

/// The kinds every API server serves, objects or not: group, version, plural, kind, namespaced.
const BUILT_IN: [(&str, &str, &str, &str, bool); 15] = [
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
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true),
];

/// A running server; dropping it closes every connection and ends its threads.
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
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
            store.insert(object);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("the address just bound");
        let state = Arc::new(State::new(store));
        let accepting = {
            let state = Arc::clone(&state);
            thread::spawn(move || accept(&listener, &state))
        };
        Self { address, state, accepting: Some(accepting) }
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
        for target in lock(&self.state.log).iter() {
            let path = target.split('?').next().unwrap_or_default();
            *counts.entry(path.to_owned()).or_insert(0) += 1;
        }
        counts
    }

    /// The target of every request so far (path and query), in order.
    pub fn targets(&self) -> Vec<String> {
        lock(&self.state.log).clone()
    }

    /// From now on answers 403 to lists of the resource, given by its plural (`nodes`), in any
    /// group.
    pub fn forbid(&self, plural: &str) {
        lock(&self.state.faults).forbidden.push(plural.to_owned());
    }

    /// From now on answers 404 as if the resource, given by its plural, did not exist.
    pub fn hide(&self, plural: &str) {
        lock(&self.state.faults).hidden.push(plural.to_owned());
    }

    /// Answers 410 `Expired` to the next request with a continue token. Calls add up.
    pub fn expire_next_continue(&self) {
        lock(&self.state.faults).expirations += 1;
    }

    /// Closes the connection of each of the next `n` requests instead of answering. Calls add up.
    pub fn drop_next_connections(&self, n: usize) {
        lock(&self.state.faults).drops += n;
    }

    /// Answers the next request with this status and text, such as 503. Calls queue up.
    pub fn fail_next(&self, status: u16, text: &str) {
        lock(&self.state.faults).failures.push((status, text.to_owned()));
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        // Wakes `accept`, which looks at `stopping` first.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            // A panic there has been reported by its thread.
            let _ = accepting.join();
        }
    }
}

/// What all connections share.
struct State {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    log: Mutex<Vec<String>>,
    stopping: AtomicBool,
}

/// Accidents to come.
#[derive(Default)]
struct Faults {
    forbidden: Vec<String>,
    hidden: Vec<String>,
    expirations: usize,
    drops: usize,
    failures: Vec<(u16, String)>,
}

/// What a request gets.
enum Answer {
    /// A whole JSON document.
    Full { status: u16, body: Value },
    /// Text from something in front of the API server.
    Text { status: u16, text: String },
    /// The connection is closed without a word.
    Nothing,
}

impl State {
    fn new(store: Store) -> Self {
        Self {
            store: Mutex::new(store),
            faults: Mutex::new(Faults::default()),
            log: Mutex::new(Vec::new()),
            stopping: AtomicBool::new(false),
        }
    }

    fn answer(&self, method: &str, target: &str) -> Answer {
        lock(&self.log).push(target.to_owned());
        {
            let mut faults = lock(&self.faults);
            if faults.drops > 0 {
                faults.drops -= 1;
                return Answer::Nothing;
            }
            if !faults.failures.is_empty() {
                let (status, text) = faults.failures.remove(0);
                return Answer::Text { status, text };
            }
        }
        if method != "GET" {
            return failure(405, "MethodNotAllowed", "this test server only reads".to_owned());
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match segments.as_slice() {
            ["api"] => full(json!({"kind": "APIVersions", "versions": ["v1"]})),
            ["apis"] => full(lock(&self.store).group_list()),
            ["apis", group] => self.or_not_found(lock(&self.store).group(group)),
            ["api", version] => self.or_not_found(lock(&self.store).resource_list("", version)),
            ["apis", group, version] => self.or_not_found(lock(&self.store).resource_list(group, version)),
            ["api", version, rest @ ..] => self.list("", version, rest, query),
            ["apis", group, version, rest @ ..] => self.list(group, version, rest, query),
            _ => not_found(),
        }
    }

    fn or_not_found(&self, document: Option<Value>) -> Answer {
        document.map_or_else(not_found, full)
    }

    /// Answers a list: `rest` is what follows the version in the path.
    fn list(&self, group: &str, version: &str, rest: &[&str], query: &str) -> Answer {
        let (namespace, plural) = match rest {
            [plural] => (None, *plural),
            ["namespaces", namespace, plural] => (Some(*namespace), *plural),
            _ => return not_found(),
        };
        let Ok(query) = ListQuery::parse(query) else {
            return failure(400, "BadRequest", "the query makes no sense".to_owned());
        };
        let mut faults = lock(&self.faults);
        if faults.hidden.iter().any(|hidden| hidden == plural) {
            return not_found();
        }
        if faults.forbidden.iter().any(|forbidden| forbidden == plural) {
            let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
            let message = format!(
                "{resource} is forbidden: User \"tester\" cannot list resource \"{plural}\" in API \
                 group \"{group}\" at the cluster scope"
            );
            return failure(403, "Forbidden", message);
        }
        if query.from.is_some() && faults.expirations > 0 {
            faults.expirations -= 1;
            return expired();
        }
        drop(faults);
        self.or_not_found(lock(&self.store).list(group, version, plural, namespace, &query))
    }
}

/// The parameters of a list.
#[derive(Default)]
struct ListQuery {
    /// The most items in the answer; 0 is no limit.
    limit: usize,
    /// The key to go on after, from a continue token.
    from: Option<Key>,
}

impl ListQuery {
    fn parse(query: &str) -> Result<Self, ()> {
        let mut parsed = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "limit" => parsed.limit = value.parse().map_err(|_| ())?,
                "continue" if !value.is_empty() => {
                    parsed.from = Some(token_key(&percent_decoded(value).ok_or(())?).ok_or(())?);
                }
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// Where an object is in the order of lists: namespace (empty for none), name.
type Key = (String, String);

/// One kind's objects.
struct Kind {
    group: String,
    version: String,
    plural: String,
    kind: String,
    namespaced: bool,
    /// Built-in kinds: lists of theirs leave out `kind` and `apiVersion` on the items.
    typed: bool,
    objects: BTreeMap<Key, Value>,
}

impl Kind {
    fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }
}

/// The objects, with the revision counter which a watch counts by.
struct Store {
    kinds: Vec<Kind>,
    revision: u64,
}

impl Store {
    fn new() -> Self {
        let built_in = BUILT_IN.map(|(group, version, plural, kind, namespaced)| Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced,
            typed: true,
            objects: BTreeMap::new(),
        });
        Self { kinds: built_in.into(), revision: 0 }
    }

    fn insert(&mut self, mut object: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let namespace = text(&object["metadata"]["namespace"]);
        let name = text(&object["metadata"]["name"]);
        assert!(
            !api_version.is_empty() && !kind.is_empty() && !name.is_empty(),
            "an object needs apiVersion, kind and metadata.name: {object}"
        );
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        self.revision += 1;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            let uid = format!("00000000-0000-4000-8000-{:012x}", self.revision);
            metadata.entry("uid").or_insert(uid.into());
            metadata.insert("resourceVersion".to_owned(), self.revision.to_string().into());
        }
        let same = |k: &Kind| k.group == group && k.version == version && k.kind == kind;
        let index = self.kinds.iter().position(same).unwrap_or_else(|| {
            self.kinds.push(Kind {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural(&kind),
                kind: kind.clone(),
                namespaced: !namespace.is_empty(),
                typed: false,
                objects: BTreeMap::new(),
            });
            self.kinds.len() - 1
        });
        self.kinds[index].objects.insert((namespace, name), object);
    }

    fn group_list(&self) -> Value {
        let mut names: Vec<&str> = Vec::new();
        for kind in self.kinds.iter().filter(|kind| !kind.group.is_empty()) {
            if !names.contains(&kind.group.as_str()) {
                names.push(&kind.group);
            }
        }
        let groups: Vec<Value> = names.iter().filter_map(|name| self.group(name)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// One group's discovery; the version first met is the preferred one.
    fn group(&self, name: &str) -> Option<Value> {
        let mut versions: Vec<Value> = Vec::new();
        for kind in self.kinds.iter().filter(|kind| kind.group == name && !name.is_empty()) {
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

    fn resource_list(&self, group: &str, version: &str) -> Option<Value> {
        let served = self.kinds.iter().filter(|kind| kind.group == group && kind.version == version);
        let mut resources: Vec<Value> = Vec::new();
        for kind in served {
            let resource = |name: &str, verbs: &[&str]| {
                json!({
                    "name": name, "singularName": kind.kind.to_lowercase(),
                    "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs,
                })
            };
            resources.push(resource(&kind.plural, &["get", "list", "watch"]));
            resources.push(resource(&format!("{}/status", kind.plural), &["get"]));
        }
        if resources.is_empty() {
            return None;
        }
        Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": group_version(group, version), "resources": resources,
        }))
    }

    fn list(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: Option<&str>,
        query: &ListQuery,
    ) -> Option<Value> {
        let kind = self
            .kinds
            .iter()
            .find(|k| k.group == group && k.version == version && k.plural == plural)
            .filter(|kind| kind.namespaced || namespace.is_none())?;
        let mut rest = kind
            .objects
            .iter()
            .filter(|(key, _)| namespace.is_none_or(|namespace| key.0 == namespace))
            .skip_while(|(key, _)| query.from.as_ref().is_some_and(|from| *key <= from));
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let page: Vec<(&Key, &Value)> = rest.by_ref().take(limit).collect();
        let remaining = rest.count();
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let (Some((last, _)), 1..) = (page.last(), remaining) {
            metadata["continue"] = key_token(self.revision, last).into();
            metadata["remainingItemCount"] = remaining.into();
        }
        let items: Vec<Value> = page
            .into_iter()
            .map(|(_, object)| {
                let mut object = object.clone();
                if let (true, Some(fields)) = (kind.typed, object.as_object_mut()) {
                    fields.remove("kind");
                    fields.remove("apiVersion");
                }
                object
            })
            .collect();
        Some(json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
            "metadata": metadata, "items": items,
        }))
    }
}

fn group_version(group: &str, version: &str) -> String {
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

/// A continue token: opaque to clients, and with characters which must be escaped in a query.
fn key_token(revision: u64, key: &Key) -> String {
    let hex: String = format!("{}/{}", key.0, key.1).bytes().map(|b| format!("{b:02x}")).collect();
    format!("v1+{revision}/{hex}==")
}

fn token_key(token: &str) -> Option<Key> {
    let (_, hex) = token.strip_suffix("==")?.split_once('/')?;
    let (namespace, name) = from_hex(hex)?.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    Some((namespace, name))
}

fn from_hex(hex: &str) -> Option<String> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let bytes = digits?.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n * 16 + d) as u8).collect();
    String::from_utf8(bytes).ok()
}

/// A query value, where an unescaped `+` means a blank.
fn percent_decoded(value: &str) -> Option<String> {
    let value = value.replace('+', " ");
    let mut parts = value.split('%');
    let mut decoded = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        decoded.push_str(&from_hex(code)?);
        decoded.push_str(rest);
    }
    Some(decoded)
}

fn full(body: Value) -> Answer {
    Answer::Full { status: 200, body }
}

/// A `Status` object, as the API server sends with every failure.
fn failure(code: u16, reason: &str, message: String) -> Answer {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    Answer::Full { status: code, body }
}

fn not_found() -> Answer {
    failure(404, "NotFound", "the server could not find the requested resource".to_owned())
}

fn expired() -> Answer {
    let message = "The provided continue parameter is too old to display a consistent list result.";
    match failure(410, "Expired", message.to_owned()) {
        // The real server offers to go on without consistency.
        Answer::Full { status, mut body } => {
            body["metadata"] = json!({"continue": key_token(0, &Key::default())});
            Answer::Full { status, body }
        }
        other => other,
    }
}

/// Takes connections until told to stop, then closes them all and waits for their threads.
fn accept(listener: &TcpListener, state: &Arc<State>) {
    let mut connections: Vec<(Option<TcpStream>, JoinHandle<()>)> = Vec::new();
    for stream in listener.incoming() {
        if state.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        connections.retain(|(_, thread)| !thread.is_finished());
        let handle = stream.try_clone().ok();
        let state = Arc::clone(state);
        connections.push((handle, thread::spawn(move || connection(stream, &state))));
    }
    for (stream, thread) in connections {
        // Its thread sees the end of the stream. Without a handle nothing would wake the thread, so
        // nobody waits for it.
        if let Some(stream) = stream {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// Answers the requests of one connection until either side ends it.
fn connection(stream: TcpStream, state: &State) {
    // Small answers would wait for an acknowledgement otherwise.
    let _ = stream.set_nodelay(true);
    let Ok(write) = stream.try_clone() else { return };
    let mut write = io::BufWriter::new(write);
    let mut read = BufReader::new(stream);
    while let Ok(Some(request)) = read_request(&mut read) {
        if state.stopping.load(Ordering::SeqCst) {
            break;
        }
        let answer = state.answer(&request.method, &request.target);
        let (status, kind, body) = match answer {
            Answer::Nothing => break,
            Answer::Full { status, body } => (status, "application/json", body.to_string()),
            Answer::Text { status, text } => (status, "text/plain", text),
        };
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            reason_phrase(status),
            body.len()
        );
        let sent = write
            .write_all(head.as_bytes())
            .and_then(|()| write.write_all(body.as_bytes()))
            .and_then(|()| write.flush());
        if sent.is_err() || request.close {
            break;
        }
    }
    // The clone kept by `accept` would hold the connection open.
    let _ = read.get_ref().shutdown(Shutdown::Both);
}

struct Request {
    method: String,
    target: String,
    /// The client ends the connection after the answer.
    close: bool,
}

/// Reads one request and discards its body. `None` is the end of the connection.
fn read_request(read: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = read.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let (mut close, mut length) = (false, 0u64);
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "connection" => close = value.trim().eq_ignore_ascii_case("close"),
            "content-length" => {
                length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
            }
            _ => {}
        }
    }
    io::copy(&mut read.by_ref().take(length), &mut io::sink())?;
    Ok(Some(Request { method, target, close }))
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// A lock whose holder panicked still guards whole values here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(n: usize) -> Vec<Value> {
        let pod = |i| {
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("p{i:05}"), "namespace": if i % 2 == 0 { "a" } else { "b" }}})
        };
        (0..n).map(pod).collect()
    }

    /// The status and the body of one request on a connection of its own; status 0 is no answer.
    fn get(server: &ApiServer, target: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return (0, Value::Null) };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn escaped(token: &str) -> String {
        token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    }

    #[test]
    fn pages_hold_every_object_once_and_in_order() {
        let server = ApiServer::start(pods(11));
        let mut names = Vec::new();
        let mut target = "/api/v1/pods?limit=4".to_owned();
        let mut sizes = Vec::new();
        loop {
            let (status, list) = get(&server, &target);
            assert_eq!((status, &list["kind"]), (200, &json!("PodList")));
            let items = list["items"].as_array().unwrap();
            sizes.push(items.len());
            names.extend(items.iter().map(|item| {
                assert!(item.get("kind").is_none() && item.get("apiVersion").is_none());
                let metadata = &item["metadata"];
                format!("{}/{}", metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap())
            }));
            let Some(token) = list["metadata"]["continue"].as_str() else { break };
            assert_eq!(list["metadata"]["remainingItemCount"], json!(11 - names.len()));
            target = format!("/api/v1/pods?limit=4&continue={}", escaped(token));
        }
        assert_eq!(sizes, [4, 4, 3]);
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((names.len(), names), (11, sorted));
        assert_eq!(server.requests(), BTreeMap::from([("/api/v1/pods".to_owned(), 3)]));
        let (_, all) = get(&server, "/api/v1/pods");
        assert_eq!(all["items"].as_array().unwrap().len(), 11);
        let (_, of_one) = get(&server, "/api/v1/namespaces/b/pods");
        assert_eq!(of_one["items"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn discovery_tells_built_in_and_custom_kinds() {
        let custom = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": {"name": "c", "namespace": "a"}});
        let server = ApiServer::start(vec![custom]);
        assert_eq!(get(&server, "/api").1["versions"], json!(["v1"]));
        let (_, groups) = get(&server, "/apis");
        let names: Vec<&str> =
            groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["apps", "batch", "discovery.k8s.io", "networking.k8s.io", "cilium.io"]);
        let (_, list) = get(&server, "/apis/cilium.io/v2");
        assert_eq!(list["resources"][0]["name"], json!("ciliumnetworkpolicies"));
        let (_, items) = get(&server, "/apis/cilium.io/v2/ciliumnetworkpolicies");
        assert_eq!(items["items"][0]["kind"], json!("CiliumNetworkPolicy"));
        let (status, empty) = get(&server, "/apis/networking.k8s.io/v1/networkpolicies");
        assert_eq!((status, &empty["items"]), (200, &json!([])));
        for missing in ["/", "/apis/none", "/apis/cilium.io/v1", "/api/v1/unknowns", "/api/v1/a/b/c/d"] {
            assert_eq!(get(&server, missing).0, 404, "{missing}");
        }
    }

    #[test]
    fn accidents_happen_as_often_as_asked_for() {
        let server = ApiServer::start(pods(5));
        let token = get(&server, "/api/v1/pods?limit=2").1["metadata"]["continue"].clone();
        let next = format!("/api/v1/pods?limit=2&continue={}", escaped(token.as_str().unwrap()));
        server.expire_next_continue();
        assert_eq!(get(&server, "/api/v1/pods?limit=2").0, 200);
        let (status, gone) = get(&server, &next);
        assert_eq!((status, &gone["reason"]), (410, &json!("Expired")));
        assert_eq!(get(&server, &next).0, 200);
        server.drop_next_connections(2);
        assert_eq!([0, 0, 200], [0, 1, 2].map(|_| get(&server, "/api").0));
        server.fail_next(503, "busy");
        assert_eq!([503, 200], [0, 1].map(|_| get(&server, "/api").0));
        server.forbid("nodes");
        let (status, refusal) = get(&server, "/api/v1/nodes");
        assert_eq!((status, &refusal["reason"]), (403, &json!("Forbidden")));
        server.hide("pods");
        assert_eq!(get(&server, "/api/v1/pods").0, 404);
        assert_eq!(get(&server, "/api/v1/pods?limit=x").0, 400);
        assert_eq!(get(&server, "/api/v1/services?continue=%zz").0, 400);
    }

    #[test]
    fn a_dropped_server_is_gone_even_with_connections_open() {
        let server = ApiServer::start(Vec::new());
        let address = server.address;
        let mut idle = TcpStream::connect(address).unwrap();
        write!(idle, "GET /api HTTP/1.1\r\n\r\n").unwrap();
        let mut byte = [0];
        idle.read_exact(&mut byte).unwrap();
        let state = Arc::downgrade(&server.state);
        drop(server);
        assert!(state.upgrade().is_none(), "a thread still runs");
        let mut rest = Vec::new();
        assert!(idle.read_to_end(&mut rest).is_ok(), "closed, not hanging");
        assert!(TcpStream::connect(address).is_err());
    }
}
