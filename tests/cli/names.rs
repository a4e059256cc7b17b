//! Names outside: questions, lists, differences and tests about them, and what is known of their addresses.

use crate::assert_answer;
use crate::run::{Scratch, netsim};
use crate::schemas::{fits_schema, schema};
use std::fs;
use std::net::{SocketAddr, UdpSocket};

const NAMES: &str = "-f examples/names/k8s";
const MAP: &str = "-f examples/names/k8s --dns-map examples/names/dns-map.yaml";
const CLAUSE: &str = "-f tests/fixtures/clause-G-names-in-policies/cluster.yaml -f tests/fixtures/clause-G-names-in-policies/policies.yaml";

#[test]
fn questions_about_names() {
    for (name, input, question, code) in [
        ("allowed", NAMES, "shop/deploy/web API.partner.example.:443 --explain", 0),
        ("wildcard", NAMES, "shop/deploy/web a.b.objects.example:443 --explain", 0),
        ("all-below", NAMES, "shop/deploy/web *.a.objects.example:443 --explain", 0),
        ("other-name", NAMES, "shop/deploy/web www.partner.example:443", 1),
        ("other-port", NAMES, "shop/deploy/web api.partner.example:80", 1),
        ("every-port", NAMES, "shop/deploy/web api.partner.example", 1),
        ("no-lookup", NAMES, "shop/deploy/worker smtp.partner.example:587", 1),
        ("no-lookup-either", NAMES, "shop/deploy/worker api.partner.example:443", 1),
        ("dns-not-shown", CLAUSE, "shop/web api.partner.example:443", 0),
        ("by-address", MAP, "shop/deploy/web api.partner.example:443 --explain", 0),
        ("shared-address", MAP, "shop/deploy/web www.partner.example:443 --explain", 0),
        ("no-address", MAP, "shop/deploy/web files.objects.example:443", 1),
        ("refused", MAP, "shop/deploy/web metadata.partner.example:443", 1),
        ("supposed", NAMES, "shop/deploy/web www.partner.example:443 --at-ip 203.0.113.99", 3),
        ("supposed-private", NAMES, "shop/deploy/web api.partner.example:443 --at-ip 10.1.2.3", 1),
        (
            "opted-in",
            NAMES,
            "shop/deploy/web api.partner.example:443 --at-ip 10.1.2.3 --dns-allow-private 10.1.0.0/16",
            0,
        ),
        ("json", NAMES, "shop/deploy/worker api.partner.example:443 -o json", 1),
    ] {
        assert_answer!(format!("names-{name}"), netsim(&format!("can-reach {input} {question}")).exits(code));
    }
}

/// A DNS server that knows `api.partner.example`, fails for names that begin with `smtp`, and denies all others.
/// It asks back what it was asked, in the same letters.
fn dns_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let asked = &bytes[12..length];
            let end = asked.iter().position(|byte| *byte == 0).unwrap() + 5;
            let (question, kind) = (&asked[..end], asked[end - 3]);
            let name = String::from_utf8_lossy(question).to_ascii_lowercase();
            let (code, answers) = match (name.contains("smtp"), name.contains("\u{3}api\u{7}partner"), kind) {
                (true, ..) => (2, 0),
                (_, true, 1) => (0, 1),
                (_, true, _) => (0, 0),
                _ => (3, 0),
            };
            let mut answer = vec![bytes[0], bytes[1], 0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0];
            answer.extend(question);
            if answers > 0 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 10]);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

#[test]
fn dns_is_asked_when_it_is_told_to() {
    let asking = format!("{NAMES} --resolve --dns-server {}", dns_server());
    for (name, command, code) in [
        ("there", "can-reach shop/deploy/web api.partner.example:443 --explain", 0),
        ("not-there", "can-reach shop/deploy/web gone.objects.example:443", 1),
        ("fails", "can-reach shop/deploy/worker smtp.partner.example:587", 1),
        ("list", "list --source shop/deploy/web", 0),
        ("json", "can-reach shop/deploy/web api.partner.example:443 -o json", 0),
    ] {
        let answer = netsim(&format!("{command} {asking}")).exits(code);
        assert_answer!(format!("names-resolved-{name}"), answer);
    }
}

#[test]
fn names_that_cannot_be_used() {
    let scratch = Scratch::new();
    let map = scratch.path().join("map.yaml");
    fs::write(&map, "api.partner.example: [203.0.113.10]\nhttps://x.example: [1.2.3]\nb.example:\n").unwrap();
    let map = format!("--dns-map {}", map.display());
    for (name, options) in [
        ("map", map.as_str()),
        ("no-map", "--dns-map nowhere.yaml"),
        ("map-and-resolve", "--dns-map examples/names/dns-map.yaml --resolve"),
        ("server", "--resolve --dns-server dns.example"),
        ("server-alone", "--dns-server 192.0.2.53"),
        ("private", "--dns-allow-private 10.0.0.0/33"),
        ("at-ip-of-pod", "--at-ip 203.0.113.1"),
    ] {
        let question = if name == "at-ip-of-pod" { "shop/deploy/worker" } else { "api.partner.example:443" };
        let command = format!("can-reach {NAMES} shop/deploy/web {question} {options}");
        assert_answer!(format!("names-bad-{name}"), netsim(&command).exits(2));
    }
}

#[test]
fn lists_of_names() {
    for (name, command) in [
        ("list", "list --source shop/deploy/web"),
        ("list-everybody", "list"),
        ("list-of-name", "list --destination api.partner.example"),
        ("list-of-wildcard", "list --destination *.objects.example"),
        ("list-port", "list --port 587 --source shop/deploy/worker"),
        ("list-csv", "list -o csv --source shop/deploy/web"),
        ("list-json", "list -o json --source shop/deploy/web"),
        ("list-md", "list -o md --source shop/deploy/web"),
        ("list-no-outside", "list --no-outside --source shop/deploy/web"),
        ("matrix", "matrix --outside --port 443"),
    ] {
        assert_answer!(format!("names-{name}"), netsim(&format!("{command} {NAMES}")).exits(0));
    }
}

#[test]
fn differences_of_names() {
    let scratch = Scratch::new();
    let new = scratch.path().join("new.yaml");
    let policy = "apiVersion: netsim.dev/v1alpha1\nkind: EgressDomainPolicy\nmetadata: {name: partners, namespace: shop}\n\
                  spec:\n  podSelector: {matchLabels: {app: web}}\n  egress:\n    - to: [{domainNames: [api.partner.example]}]\n\
                  \x20     ports: [{port: 443}, {port: 8443}]\n    - to: [{domainNames: [new.partner.example]}]\n";
    fs::write(&new, policy).unwrap();
    let what_if = format!("what-if --base examples/names/k8s -f {}", new.display());
    for (name, options) in [("text", ""), ("md", " -o md"), ("json", " -o json"), ("port", " --port 443")] {
        assert_answer!(format!("names-what-if-{name}"), netsim(&format!("{what_if}{options}")).exits(0));
    }
    netsim(&format!("{what_if} --fail-on closed")).exits(1);
    let delete = "what-if --base examples/names/k8s --delete shop/egressdomainpolicy/partners";
    assert_answer!("names-what-if-delete", netsim(delete).exits(0));
}

#[test]
fn tests_about_names() {
    let scratch = Scratch::new();
    let tests = scratch.path().join("names.netsim.yaml");
    let text = "apiVersion: netsim.dev/v1alpha1\nkind: ConnectivityTest\ntests:\n\
                \x20 - allowed: {from: shop/deploy/web, to: 'api.partner.example:443'}\n\
                \x20 - denied: {from: shop/deploy/web, to: 'www.partner.example:443'}\n\
                \x20 - onlyTo: {from: shop/deploy/web, to: ['api.partner.example:443', 'kube-system/svc/kube-dns']}\n\
                \x20 - onlyTo: {from: shop/deploy/web, to: ['api.partner.example:443', '*.objects.example:443', 'kube-system/svc/kube-dns']}\n\
                \x20 - onlyFrom: {from: shop/deploy/web, to: 'api.partner.example:443'}\n";
    fs::write(&tests, text).unwrap();
    assert_answer!("names-test", netsim(&format!("test {} {NAMES}", tests.display())).exits(1));
    assert_answer!("names-test-map", netsim(&format!("test {} {MAP}", tests.display())).exits(1));
}

#[test]
fn the_schemas_know_names() {
    for question in ["shop/deploy/worker api.partner.example:443", "shop/deploy/web api.partner.example"] {
        for input in [NAMES, MAP] {
            fits_schema("can-reach", &[], &format!("can-reach {input} {question} -o json"));
        }
    }
    fits_schema("can-reach", &[], &format!("can-reach {CLAUSE} shop/web www.partner.example:443 -o json"));
    fits_schema("list", &[], &format!("list {NAMES} -o json"));
    fits_schema("diff", &[], "what-if --base examples/names/k8s --delete shop/egressdomainpolicy/partners -o json");
    assert!(schema("config").to_string().contains("dns-map"));
}
