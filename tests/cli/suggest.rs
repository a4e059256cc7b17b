//! `suggest`: what is written, what it makes possible, what is wrong with lists of flows.

use crate::assert_answer;
use crate::run::{Scratch, netsim, netsim_reading};

const OPEN: &str = "-f tests/cli/inputs/lint/cluster.yaml";

#[test]
fn policies_are_suggested() {
    for (name, options, code) in [
        ("deny-only", "--deny-only -n shop", 0),
        ("flows", "--flows tests/cli/inputs/flows.jsonl --no-dns", 0),
        ("one-namespace", "--flows tests/cli/inputs/flows.jsonl -n shop", 0),
    ] {
        assert_answer!(format!("suggest-{name}"), netsim(&format!("suggest {OPEN} {options}")).exits(code));
    }
    // A pod without labels cannot be named, neither here nor there.
    let flow = "{\"source\":\"tools/scratch\",\"destination\":\"shop/deploy/api:8080\"}\n";
    let unmet = netsim_reading(&format!("suggest {OPEN} --flows -"), flow).exits(1);
    assert!(unmet.out.is_empty());
    assert_answer!("suggest-unmet", unmet);
    let written = netsim_reading(&format!("suggest {OPEN} --flows - --keep-going"), flow).exits(1);
    assert!(written.out.contains("default-deny"), "{written}");
    // The default-deny of the shop is undone by another policy: that cannot be suggested away.
    assert_answer!("suggest-undone", netsim("suggest -f tests/cli/inputs/lint --deny-only -n shop").exits(0));
}

/// What is suggested, applied, allows what was named and denies the rest.
#[test]
fn what_is_suggested_works() {
    let scratch = Scratch::new();
    let policies = scratch.path().join("policies.yaml");
    let flows = "src,dst,protocol,from,to,family\nshop/deploy/api,198.51.100.7,TCP,443,443,\n203.0.113.9,shop/deploy/api,TCP,8080,8080,\n";
    let suggest = format!("suggest {OPEN} -n shop --flows - --out {}", policies.display());
    netsim_reading(&suggest, flows).exits(0).says("2 of 2 named connections allowed");
    let with = format!("{OPEN} -f {}", policies.display());
    for (question, code) in [
        ("shop/deploy/api 198.51.100.7:443", 0),
        ("shop/deploy/api 198.51.100.7:80", 1),
        ("203.0.113.9 shop/deploy/api:8080", 0),
        ("tools/build shop/deploy/api:8080", 1),
    ] {
        netsim(&format!("can-reach {with} {question}")).exits(code);
    }
    netsim(&format!("lint {with} -n shop --select NS001")).exits(0);
    netsim_reading(&suggest.replace(OPEN, &with), flows).exits(0).says("0 policies for 0 namespaces");
}

/// A name is allowed by name where such policies are in use, and otherwise by opening its port.
#[test]
fn names_are_suggested_where_policies_have_names() {
    let scratch = Scratch::new();
    let policies = scratch.path().join("policies.yaml");
    let flow = "{\"source\":\"shop/deploy/web\",\"destination\":\"www.partner.example:443\"}\n";
    let cluster = "-f examples/names/k8s/cluster.yaml";
    let all = "-f examples/names/k8s -n shop --flows - --out";
    netsim_reading(&format!("suggest {all} {}", policies.display()), flow).exits(0);
    let written = std::fs::read_to_string(&policies).expect("policies");
    assert!(written.contains("kind: EgressDomainPolicy") && !written.contains("ipBlock"), "{written}");
    for (name, code) in [("www.partner.example", 0), ("other.partner.example", 1)] {
        let with = format!("-f examples/names/k8s -f {}", policies.display());
        netsim(&format!("can-reach {with} shop/deploy/web {name}:443")).exits(code);
    }
    let open = netsim_reading(&format!("suggest {cluster} -n shop --flows -"), flow).exits(0);
    assert!(open.out.contains("0.0.0.0/0") && !open.out.contains("EgressDomainPolicy"), "{open}");
}

/// What the enforcer's audit let pass is allowed; what it denied only if that is asked for.
#[test]
fn what_the_enforcer_tells_is_understood() {
    let scratch = Scratch::new();
    let policies = scratch.path().join("policies.yaml");
    let suggest = format!("suggest -f examples/node --no-dns --flows - --out {}", policies.display());
    let audited = r#"{"verdict":"audited","reason":"policy","source":{"ip":"10.244.1.11","pod":{"namespace":"shop","name":"web"}},"destination":{"ip":"10.244.1.10","pod":{"namespace":"shop","name":"db"}},"protocol":"TCP","port":5432}"#;
    let denied = audited.replace("audited", "denied").replace("5432", "9187");
    let both = format!("{audited}\n{denied}\n");
    let question = |port| format!("can-reach -f examples/node -f {} shop/web shop/db:{port}", policies.display());
    netsim_reading(&suggest, &both).exits(0).says("1 flows that the enforcer denied were left out");
    netsim(&question(5432)).exits(0);
    netsim(&question(9187)).exits(1);
    netsim_reading(&format!("{suggest} --denied-flows"), &both).exits(0);
    netsim(&question(9187)).exits(0);
    let only_denied = netsim_reading("suggest -f examples/node --no-dns --flows -", &denied).exits(2);
    assert_answer!("suggest-bad-denied", only_denied);
}

#[test]
fn lists_of_flows_that_cannot_be_used() {
    for (name, flows) in [
        (
            "unknown",
            "{\"source\":\"shop/deploy/apii\",\"destination\":\"tools/build:22\"}\n{\"source\":\"nowhere/x\",\"destination\":\"tools/build:22\"}\n",
        ),
        (
            "json",
            "{\"source\":\"shop/deploy/api\"}\n{\"source\": \n{\"source\":\"shop/deploy/api\",\"destination\":\"tools/build:22\",\"protocol\":\"icmp\"}\n",
        ),
        ("csv", "who,whom\na,b\n"),
        ("empty", "\n"),
    ] {
        assert_answer!(
            format!("suggest-bad-{name}"),
            netsim_reading(&format!("suggest {OPEN} --flows -"), flows).exits(2)
        );
    }
    assert_answer!("suggest-bad-nothing", netsim(&format!("suggest {OPEN}")).exits(2));
    assert_answer!("suggest-bad-namespace", netsim(&format!("suggest {OPEN} --deny-only -n shp")).exits(2));
    let flows = "{\"source\":\"nowhere/x\",\"destination\":\"tools/build:22\"}\n{\"source\":\"shop/deploy/api\",\"destination\":\"tools/build:22\"}\n";
    netsim_reading(&format!("suggest {OPEN} --flows - --skip-unknown"), flows).says("1 flows were left out");
}
