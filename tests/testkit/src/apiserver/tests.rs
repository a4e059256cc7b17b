//! The server, through real HTTP.

use super::*;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};

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
    let names: Vec<&str> = groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    let built_in =
        ["apps", "batch", "discovery.k8s.io", "events.k8s.io", "networking.k8s.io", "rbac.authorization.k8s.io"];
    assert_eq!(names, [built_in.as_slice(), &["cilium.io"]].concat());
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

/// The lines of a watch, as a client without any cleverness reads them.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn open(server: &ApiServer, target: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut lines = Self(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.0.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Transfer-Encoding: chunked"), "{head}");
        lines
    }

    /// The next line, the end in order (`Ok(None)`), or a connection that broke off.
    fn raw(&mut self) -> Result<Option<String>, ()> {
        let mut size = String::new();
        if self.0.read_line(&mut size).map_err(|_| ())? == 0 {
            return Err(());
        }
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).map_err(|_| ())?;
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(size);
        Ok((size > 0).then(|| String::from_utf8(chunk).unwrap().trim_end_matches('\n').to_owned()))
    }

    /// The next event: its type, the name of its object, the revision.
    fn event(&mut self) -> (String, String, String) {
        let event: Value = serde_json::from_str(&self.raw().unwrap().expect("an event")).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &event["object"]["metadata"];
        (text(&event["type"]), text(&metadata["name"]), text(&metadata["resourceVersion"]))
    }
}

fn event(change: &str, name: &str, revision: u64) -> (String, String, String) {
    (change.to_owned(), name.to_owned(), revision.to_string())
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a"}})
}

#[test]
fn a_watch_tells_changes_in_order_from_its_revision_on() {
    let server = ApiServer::start(pods(2));
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    assert_eq!(watch.event(), event("ADDED", "p00001", 2));
    server.apply(pod("x"));
    server.apply(pod("x"));
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    server.delete("pods", "a", "x");
    server.apply(pod("x"));
    assert_eq!(watch.event(), event("ADDED", "x", 3));
    assert_eq!(watch.event(), event("MODIFIED", "x", 4));
    assert_eq!(watch.event(), event("DELETED", "x", 6));
    assert_eq!(watch.event(), event("ADDED", "x", 7));
    let mut late = Lines::open(&server, "/api/v1/namespaces/a/pods?watch=1&resourceVersion=4");
    assert_eq!([late.event(), late.event()], [event("DELETED", "x", 6), event("ADDED", "x", 7)]);
    let (_, list) = get(&server, "/api/v1/pods");
    assert_eq!(list["metadata"]["resourceVersion"], "7");
}

#[test]
fn a_uid_lives_as_long_as_its_object() {
    let server = ApiServer::start(vec![pod("x")]);
    let uid = || get(&server, "/api/v1/pods").1["items"][0]["metadata"]["uid"].clone();
    let first = uid();
    server.apply(pod("x"));
    assert_eq!(uid(), first);
    server.delete("pods", "a", "x");
    server.apply(pod("x"));
    assert_ne!(uid(), first);
}

#[test]
fn lists_and_watches_can_be_of_one_name() {
    let server = ApiServer::start(pods(3));
    let selector = "fieldSelector=metadata.name%3Dp00001";
    let (_, list) = get(&server, &format!("/api/v1/pods?{selector}"));
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let mut watch = Lines::open(&server, &format!("/api/v1/pods?watch=true&resourceVersion=3&{selector}"));
    server.apply(pods(3).remove(0));
    server.apply(pods(3).remove(1));
    assert_eq!(watch.event(), event("MODIFIED", "p00001", 5));
    assert_eq!(get(&server, "/api/v1/pods?fieldSelector=spec.hostname%3Dx").0, 400);
    assert_eq!(get(&server, "/api/v1/nodes?fieldSelector=spec.nodeName%3Dx").0, 400);
    assert_eq!(get(&server, "/api/v1/pods?labelSelector=a").0, 400);
}

#[test]
fn what_is_no_longer_selected_is_told_as_deleted() {
    let on = |name: &str, node: &str, phase: &str| {
        let mut pod = pods(1).remove(0);
        pod["metadata"]["name"] = name.into();
        (pod["spec"]["nodeName"], pod["status"]["phase"]) = (node.into(), phase.into());
        pod
    };
    let server = ApiServer::start(vec![on("x", "n1", "Running"), on("y", "n2", "Running"), on("z", "n1", "Failed")]);
    let selector = "fieldSelector=spec.nodeName%3D%3Dn1,status.phase!%3DFailed";
    let (_, list) = get(&server, &format!("/api/v1/pods?limit=1&{selector}"));
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]["metadata"]["name"]), (1, &json!("x")));
    let mut watch = Lines::open(&server, &format!("/api/v1/pods?watch=true&resourceVersion=3&{selector}"));
    server.apply(on("y", "n2", "Pending"));
    server.apply(on("x", "n1", "Pending"));
    server.apply(on("x", "n1", "Failed"));
    server.delete("pods", "a", "x");
    server.apply(on("z", "n1", "Running"));
    server.delete("pods", "a", "z");
    assert_eq!(watch.event(), event("MODIFIED", "x", 5));
    let last: Value = serde_json::from_str(&watch.raw().unwrap().unwrap()).unwrap();
    let (kind, object) = (&last["type"], &last["object"]);
    assert_eq!((kind, &object["metadata"]["resourceVersion"]), (&json!("DELETED"), &json!("6")));
    assert_eq!(object["status"]["phase"], "Pending", "as it was when it was selected");
    assert_eq!([watch.event(), watch.event()], [event("ADDED", "z", 8), event("DELETED", "z", 9)]);
}

#[test]
fn what_is_sent_is_counted_by_resource() {
    let server = ApiServer::start(pods(3));
    let (_, list) = get(&server, "/api/v1/pods?limit=2");
    let length = list.to_string().len() as u64;
    let sent = server.sent("pods");
    assert_eq!((sent.lists, sent.lists_on_wire, sent.lines), (length, length, 0));
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=2");
    let line = watch.raw().unwrap().unwrap();
    let sent = server.sent("pods");
    assert_eq!((sent.watches, sent.lines), (line.trim_end().len() as u64 + 1, 1));
    assert_eq!(server.sent("nodes"), Default::default());
}

#[test]
fn a_list_may_come_as_a_stream() {
    let server = ApiServer::start(pods(2));
    let initial = "/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    assert_eq!(get(&server, initial).0, 422, "without bookmarks nothing can end the list");
    let mut watch = Lines::open(&server, &format!("{initial}&allowWatchBookmarks=true&resourceVersion=0"));
    assert_eq!([watch.event(), watch.event()], [event("ADDED", "p00000", 1), event("ADDED", "p00001", 2)]);
    let end: Value = serde_json::from_str(&watch.raw().unwrap().unwrap()).unwrap();
    assert_eq!((&end["type"], &end["object"]["kind"]), (&json!("BOOKMARK"), &json!("Pod")));
    assert_eq!(end["object"]["metadata"]["resourceVersion"], "2");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    server.apply(pod("x"));
    assert_eq!(watch.event(), event("ADDED", "x", 3));
}

#[test]
fn bookmarks_tell_the_revision_to_those_who_ask_for_them() {
    let server = ApiServer::start(pods(1));
    let mut with = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1&allowWatchBookmarks=true");
    let mut without = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    server.wait_for_watches("pods", 2);
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    server.send_bookmarks();
    assert_eq!(with.event(), event("BOOKMARK", "", 2));
    server.apply(pod("x"));
    assert_eq!([with.event(), without.event()], [event("ADDED", "x", 3), event("ADDED", "x", 3)]);
}

#[test]
fn what_was_compacted_has_expired() {
    let server = ApiServer::start(pods(3));
    let token = get(&server, "/api/v1/pods?limit=2").1["metadata"]["continue"].clone();
    let next = format!("/api/v1/pods?limit=2&continue={}", escaped(token.as_str().unwrap()));
    server.hold_watches();
    let mut held = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=3");
    server.wait_for_watches("pods", 1);
    server.apply(pod("x"));
    // The page is of the revision of its list.
    assert_eq!(get(&server, &next).1["items"].as_array().unwrap().len(), 1);
    server.compact();
    assert_eq!(get(&server, &next).0, 410);
    server.release_watches();
    let mut late = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=3");
    for watch in [&mut held, &mut late] {
        let error: Value = serde_json::from_str(&watch.raw().unwrap().unwrap()).unwrap();
        assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
        assert_eq!(watch.raw(), Ok(None), "nothing follows an error");
    }
    server.expire_by_status();
    assert_eq!(get(&server, "/api/v1/pods?watch=true&resourceVersion=3").0, 410);
    let mut now = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=4");
    server.apply(pod("y"));
    assert_eq!(now.event(), event("ADDED", "y", 5));
    assert_eq!(get(&server, "/api/v1/pods?watch=true&resourceVersion=9").0, 504, "not there yet");
}

#[test]
fn watches_end_by_time_by_force_and_carry_garbage() {
    let server = ApiServer::start(pods(1));
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1&timeoutSeconds=0");
    assert_eq!(watch.raw(), Ok(None));
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1&timeoutSeconds=300");
    server.wait_for_watches("pods", 1);
    server.send_line("nodes", "of another");
    server.send_line("pods", "{garbage");
    assert_eq!(watch.raw(), Ok(Some("{garbage".to_owned())));
    server.cut_watches();
    assert_eq!(watch.raw(), Err(()));
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    server.apply(pod("x"));
    assert_eq!(watch.event(), event("ADDED", "x", 2), "garbage is for those who were there");
}

#[test]
fn watches_can_be_made_to_end_at_once() {
    let server = ApiServer::start(pods(1));
    let mut open = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    server.end_watches(true);
    assert_eq!(open.raw(), Ok(None));
    assert_eq!(Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1").raw(), Ok(None));
    server.end_watches(false);
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    server.apply(pod("x"));
    assert_eq!(watch.event(), event("ADDED", "x", 2));
}

#[test]
fn a_stopped_server_refuses_and_comes_back_at_its_address() {
    let server = ApiServer::start(pods(1));
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    server.stop_serving();
    assert_eq!(watch.raw(), Err(()));
    assert!(TcpStream::connect(server.address).is_err());
    server.apply(pod("x"));
    server.resume();
    let mut watch = Lines::open(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    assert_eq!(watch.event(), event("ADDED", "x", 2));
}

/// The status and the body of a request that writes.
fn send(server: &ApiServer, method: &str, target: &str, content: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!("Host: test\r\nConnection: close\r\nContent-Type: {content}\r\nContent-Length: {}", body.len());
    write!(stream, "{method} {target} HTTP/1.1\r\n{head}\r\n\r\n{body}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

const DOMAINS: &str = "/apis/netsim.dev/v1alpha1/egressdomainpolicies";

fn domain_policy(port: u16) -> Value {
    json!({"apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
        "metadata": {"name": "p", "namespace": "a"}, "spec": {"port": port}})
}

#[test]
fn a_custom_kind_comes_and_goes_with_its_definition() {
    let server = ApiServer::start(Vec::new());
    assert_eq!(get(&server, DOMAINS), (404, Value::Null), "plain text, as of a path that nobody serves");
    assert_eq!(get(&server, "/apis/netsim.dev").0, 404);
    server.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
    assert_eq!(get(&server, "/apis/netsim.dev/v1alpha1").0, 200);
    assert_eq!(get(&server, DOMAINS).1["items"], json!([]));
    server.apply(domain_policy(1));
    assert_eq!(
        get(&server, &DOMAINS.replace("/egress", "/namespaces/a/egress")).1["items"][0]["kind"],
        "EgressDomainPolicy"
    );
    let mut watch = Lines::open(&server, &format!("{DOMAINS}?watch=true&resourceVersion=1"));
    server.uninstall("egressdomainpolicies");
    assert_eq!(watch.event(), event("DELETED", "p", 2));
    assert_eq!(watch.raw(), Ok(None));
    assert_eq!(get(&server, DOMAINS).0, 404);
    assert_eq!(get(&server, "/apis").1["groups"].as_array().unwrap().len(), 6);
    server.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
    assert_eq!(get(&server, DOMAINS).1["items"], json!([]));
}

#[test]
fn a_status_is_applied_by_several_managers() {
    let server = ApiServer::start(vec![domain_policy(1)]);
    let path = format!("{}/p/status", DOMAINS.replace("/egress", "/namespaces/a/egress"));
    let metadata = json!({"name": "p", "namespace": "a"});
    let apply = |manager: &str, metadata: &Value, status: Value| {
        let body = json!({"apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
            "metadata": metadata, "status": status});
        let target = format!("{path}?fieldManager={manager}&force=true");
        send(&server, "PATCH", &target, "application/apply-patch+yaml", &body)
    };
    let entry = |name: &str| json!({"nodes": [{"name": name}]});
    let mut watch = Lines::open(&server, &format!("{DOMAINS}?watch=true&resourceVersion=1"));
    assert_eq!(apply("a", &metadata, entry("n1")).1["status"], entry("n1"));
    assert_eq!(apply("b", &metadata, entry("n2")).1["status"], json!({"nodes": [{"name": "n1"}, {"name": "n2"}]}));
    assert_eq!([watch.event(), watch.event()], [event("MODIFIED", "p", 2), event("MODIFIED", "p", 3)]);
    // The spec belongs to its author, who does not touch the status.
    server.apply(domain_policy(2));
    let now = &server.objects("egressdomainpolicies")[0];
    assert_eq!((&now["metadata"]["generation"], &now["status"]["nodes"][1]["name"]), (&json!(2), &json!("n2")));
    assert_eq!(apply("a", &metadata, json!({})).1["status"], entry("n2"));
    assert_eq!(apply("a", &metadata, json!({})).1["metadata"]["resourceVersion"], "5", "nothing changes");

    assert_eq!(apply("c", &json!({"name": "p", "uid": "of another"}), json!({})).0, 422);
    assert_eq!(apply("c", &json!({"name": "q"}), json!({})).0, 400);
    assert_eq!(send(&server, "PATCH", &path, "application/apply-patch+yaml", &json!({})).0, 422);
    assert_eq!(send(&server, "PATCH", &path, "application/merge-patch+json", &json!({})).0, 415);
    assert_eq!(send(&server, "DELETE", &path, "application/json", &json!({})).0, 405);
    server.forbid("egressdomainpolicies/status");
    assert_eq!(apply("a", &metadata, entry("n1")).0, 403);
    server.allow_all();
    server.delete("egressdomainpolicies", "a", "p");
    assert_eq!(apply("a", &metadata, entry("n1")).0, 404);
    assert_eq!(apply("a", &json!({"name": "p", "uid": "of before"}), entry("n1")).0, 409);
}

#[test]
fn events_are_created_once_and_checked() {
    let server = ApiServer::start(Vec::new());
    let event = |name: &str, note: &str| {
        json!({"metadata": {"name": name}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Warning",
            "reportingController": "c", "reportingInstance": "i", "action": "Resolve", "reason": "Unresolved",
            "note": note, "regarding": {"kind": "Pod", "name": "x", "namespace": "a"}})
    };
    let create =
        |body: Value| send(&server, "POST", "/apis/events.k8s.io/v1/namespaces/a/events", "application/json", &body).0;
    assert_eq!(create(event("x.1", "n")), 201);
    assert_eq!(create(event("x.1", "n")), 409);
    assert_eq!(create(event("x.2", &"n".repeat(1025))), 422);
    let mut elsewhere = event("x.2", "n");
    elsewhere["regarding"]["namespace"] = "b".into();
    assert_eq!(create(elsewhere), 422);
    assert_eq!(server.objects("events").len(), 1);
    server.forbid("events");
    assert_eq!(create(event("x.3", "n")), 403);
    assert!(server.targets().last().unwrap().starts_with("POST /apis/events.k8s.io/"));
}
