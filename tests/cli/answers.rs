//! `can-reach`: verdicts, exit codes, assertions, reasons, and what is said about words.

use crate::assert_answer;
use crate::run::netsim;

/// A Service with two backends, of which a policy opens one.
const BACKENDS: &str =
    "-f tests/fixtures/clause-E1-service-ports/cluster.yaml -f tests/fixtures/clause-E1-service-ports/number.yaml";
/// A pod of plain manifests, which may run on any node.
const NODES: &str = "-f tests/fixtures/clause-D2-own-node/cluster.yaml -f tests/fixtures/clause-D2-own-node/plain.yaml \
                     -f tests/fixtures/clause-D2-own-node/nodes.yaml -f tests/fixtures/clause-D2-own-node/deny-all.yaml";
/// A policy of another provider in namespace x.
const FOREIGN: &str = "-f tests/fixtures/clause-H2-kinds-not-understood/cluster.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/policies.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/foreign.yaml";
const NEAR: &str = "-f tests/cli/inputs/near.yaml";
const SHOP: &str = "-f examples/shop";

/// Each verdict, and what its exit code is plain and as an assertion.
#[test]
fn exit_codes_of_verdicts() {
    for (input, question, verdict, plain, expect_allowed, expect_denied) in [
        (SHOP, "shop/deploy/frontend shop/svc/api:8080", "allowed", 0, 0, 1),
        (SHOP, "shop/deploy/frontend shop/svc/db:5432", "denied", 1, 1, 0),
        (BACKENDS, "x/client y/svc/web:80", "mixed", 1, 1, 1),
        (NODES, "172.18.0.2 x/plain:80", "unknown", 3, 3, 3),
        (FOREIGN, "x/a y/a:80", "allowed, incomplete", 3, 3, 3),
        (FOREIGN, "y/a x/a:81", "denied, incomplete", 3, 3, 3),
        (FOREIGN, "y/a z/a:80", "denied", 1, 1, 0),
    ] {
        for (expect, code) in [("", plain), (" --expect allowed", expect_allowed), (" --expect denied", expect_denied)]
        {
            let answer = netsim(&format!("can-reach {input} {question}{expect}")).exits(code);
            assert!(answer.out.starts_with(&format!("{verdict}  ")), "{answer}");
            let complains = answer.err.starts_with("expected ");
            assert_eq!(complains, !expect.is_empty() && code != 0, "{answer}");
        }
    }
}

#[test]
fn verdicts_in_full() {
    for (name, input, question) in [
        ("mixed", BACKENDS, "x/client y/svc/web:80"),
        ("unknown-node", NODES, "172.18.0.2 x/plain:80"),
        ("incomplete", FOREIGN, "x/a y/a:80"),
        ("incomplete-json", FOREIGN, "x/a y/a:80 -o json"),
        ("expected-denied", NEAR, "here/client here/server:8080 --expect denied"),
        ("expected-allowed", NEAR, "here/client here/server:8081 --expect allowed"),
    ] {
        assert_answer!(format!("verdict-{name}"), netsim(&format!("can-reach {input} {question}")));
    }
}

#[test]
fn what_nearly_allows_it_is_told() {
    for (name, question, missing) in [
        ("port", "here/client here/server:8081", "all but the port"),
        ("label", "here/other here/server:8080", "all but a label"),
        ("namespace", "there/client here/server:8080", "all but the namespace"),
    ] {
        let answer = netsim(&format!("can-reach {NEAR} {question}")).exits(1).says(missing);
        assert_answer!(format!("near-{name}"), answer.says("the smallest change"));
    }
}

/// The change that an answer proposes, put where the answer says, allows the connection.
#[test]
fn the_smallest_change_allows_it() {
    let scratch = crate::run::Scratch::new();
    let text = crate::run::text_of("tests/cli/inputs/near.yaml");
    for question in ["here/client here/server:8081", "here/other here/server:8080", "there/client here/server:8080"] {
        let answer = netsim(&format!("can-reach {NEAR} {question} -o json")).exits(1).json();
        let change = &answer["connections"][0]["decisions"][0]["ingress"]["smallestChange"];
        assert_eq!(change["path"], "spec.ingress");
        let rule: String = change["addRule"].as_str().unwrap().lines().map(|line| format!("    {line}\n")).collect();
        let changed = text.replace("  ingress:\n", &format!("  ingress:\n{rule}"));
        let line = change["line"].as_u64().unwrap() as usize;
        assert_eq!(text.lines().nth(line - 1), Some("  ingress:"), "{change}");
        let file = scratch.file("changed.yaml", &changed);
        netsim(&format!("can-reach -f {file} {question}")).exits(0);
    }
}

#[test]
fn words_that_name_two_things() {
    for (name, question) in [
        ("with-port", "here/client here/api:80"),
        ("without-port", "here/client here/api --explain"),
        ("forced-pod", "here/client here/pod/api:80"),
        ("forced-service", "here/client here/svc/api:web"),
    ] {
        assert_answer!(format!("word-{name}"), netsim(&format!("can-reach {NEAR} {question}")).exits(0));
    }
}

#[test]
fn many_at_once() {
    for (name, question, code) in [
        ("namespace", "'shop/*' shop/svc/db:5432", 1),
        ("everything", "'*/*' kube-system/svc/kube-dns:53/udp", 0),
        ("selected", "'shop/*' -l app=api shop/svc/db:5432", 0),
        ("selected-in-namespace", "-n shop '*' -l 'app in (api,migration)' sts/db:5432", 0),
        ("selected-destination", "shop/api '*/*:9090' --dst-selector app=prometheus", 1),
        ("selected-nobody", "'shop/*' -l app=nobody shop/svc/db:5432", 2),
    ] {
        assert_answer!(format!("many-{name}"), netsim(&format!("can-reach {SHOP} {question}")).exits(code));
    }
}

#[test]
fn addresses_and_names() {
    for (name, input, question, code) in [
        ("address", SHOP, "payments/deploy/gateway 198.51.100.20:443", 0),
        ("block", SHOP, "payments/deploy/gateway 198.51.100.0/23:443", 1),
        ("block-source", SHOP, "203.0.113.0/24 ingress/svc/controller:443", 0),
        ("ipv6", "-f tests/cli/inputs/dual-stack.yaml", "x/client [2001:db8::1]:443 --explain", 0),
        ("ipv6-source", "-f tests/cli/inputs/dual-stack.yaml", "2001:db8::1 x/web:443", 1),
        ("family-limited", "-f tests/cli/inputs/dual-stack.yaml", "x/client x/web:443", 1),
        ("every-port", "-f tests/cli/inputs/dual-stack.yaml", "x/client x/web", 1),
        ("every-port-denied", SHOP, "shop/deploy/cache payments/deploy/ledger", 1),
        ("pod-address", "-f tests/cli/inputs/dual-stack.yaml", "10.0.2.10 10.0.1.10:80", 0),
        ("name-denied", SHOP, "shop/deploy/frontend api.example.com:443", 1),
        ("name-allowed", SHOP, "kube-system/deploy/coredns api.example.com:443 --explain", 0),
        ("name-unknown", SHOP, "payments/deploy/gateway api.example.com:443", 3),
        ("service-name", SHOP, "shop/deploy/api db.shop.svc.cluster.local:5432", 0),
    ] {
        assert_answer!(format!("outside-{name}"), netsim(&format!("can-reach {input} {question}")).exits(code));
    }
}

#[test]
fn what_is_missing_is_suggested() {
    for (name, input, question) in [
        ("namespace", SHOP, "shp/deploy/frontend shop/svc/api:8080"),
        ("default-namespace", SHOP, "frontend api:8080"),
        ("workload", SHOP, "shop/deploy/frontnd shop/svc/api:8080"),
        ("any", SHOP, "shop/deploy/frontend shop/cach:6379"),
        ("service", SHOP, "shop/deploy/frontend shop/svc/apii:8080"),
        ("service-port", SHOP, "shop/deploy/frontend shop/svc/api:9999"),
        ("target-port", SHOP, "shop/deploy/api payments/svc/gateway:8443"),
        ("named-port", NEAR, "here/client here/server:htp"),
        ("selector", NEAR, "here/client here/svc/lost:80"),
        ("service-source", SHOP, "shop/svc/frontend shop/svc/api:8080"),
        ("name-source", SHOP, "api.example.com shop/svc/api:8080"),
    ] {
        assert_answer!(format!("missing-{name}"), netsim(&format!("can-reach {input} {question}")).exits(2));
    }
}

#[test]
fn words_that_cannot_be_read() {
    for (name, question) in [
        ("parts", "shop/deploy/api/8080 shop/svc/api:8080"),
        ("kind", "shop/frob/api shop/svc/api:8080"),
        ("empty-part", "shop//api shop/svc/api:8080"),
        ("port", "shop/deploy/frontend shop/svc/api:70000"),
        ("no-port", "shop/deploy/frontend shop/svc/api:"),
        ("protocol", "shop/deploy/frontend shop/svc/api:8080/icmp"),
        ("protocol-option", "shop/deploy/frontend shop/svc/api:8080 --protocol icmp"),
        ("two-protocols", "shop/deploy/frontend shop/svc/api:8080/udp --protocol tcp"),
        ("selector", "'shop/*' -l 'app in (' shop/svc/api:8080"),
        ("pod-cidr", "shop/deploy/frontend shop/svc/api:8080 --pod-cidr 10.0.0.0/33"),
    ] {
        assert_answer!(format!("word-bad-{name}"), netsim(&format!("can-reach {SHOP} {question}")).exits(2));
    }
}

#[test]
fn modes() {
    let ten = "-f tests/fixtures/clause-B8-pods-without-address/cluster.yaml \
               -f tests/fixtures/clause-B8-pods-without-address/ten.yaml x/deploy/client x/deploy/web:80";
    for (name, options, code) in [
        ("assumed", "", 1),
        ("strict", " --strict", 3),
        ("pod-cidr", " --strict --pod-cidr 10.0.0.0/16", 0),
        ("blocks-without-pods", " --strict --ip-block-matches-pods false", 1),
    ] {
        assert_answer!(format!("mode-{name}"), netsim(&format!("can-reach {ten}{options}")).exits(code));
    }
}
