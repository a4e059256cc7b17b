//! `list` and `matrix`: formats, filters, and what cannot be told.

use crate::assert_answer;
use crate::run::netsim;
use serde_json::json;

const SHOP: &str = "-f examples/shop";
const DUAL: &str = "-f tests/cli/inputs/dual-stack.yaml";
const REPLICAS: &str = "-f tests/cli/inputs/replicas.yaml";
const NODES: &str = "-f tests/fixtures/clause-D2-own-node/cluster.yaml -f tests/fixtures/clause-D2-own-node/plain.yaml \
                     -f tests/fixtures/clause-D2-own-node/nodes.yaml -f tests/fixtures/clause-D2-own-node/deny-all.yaml";
const FOREIGN: &str = "-f tests/fixtures/clause-H2-kinds-not-understood/cluster.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/policies.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/foreign.yaml";

#[test]
fn list_formats() {
    for format in ["text", "json", "csv", "md", "dot"] {
        assert_answer!(format!("list-shop-{format}"), netsim(&format!("list {SHOP} -o {format}")).exits(0));
        assert_answer!(format!("list-dual-{format}"), netsim(&format!("list {DUAL} -o {format}")).exits(0));
    }
}

#[test]
fn list_filters() {
    for (name, filter) in [
        ("namespace", "-n payments"),
        ("two-namespaces", "-n payments -n analytics --no-outside"),
        ("source", "--source shop/deploy/api"),
        ("destination", "--destination shop/svc/db"),
        ("address", "--destination 198.51.100.20"),
        ("port", "--port 5432"),
        ("udp-port", "--port 53/udp --no-outside"),
        ("ports", "--port 5000-7000/tcp -n shop --no-outside"),
        ("no-outside", "--no-outside"),
        ("nothing", "--source shop/deploy/cache --port 5432"),
    ] {
        assert_answer!(format!("list-filter-{name}"), netsim(&format!("list {SHOP} {filter}")).exits(0));
    }
}

#[test]
fn list_filters_that_name_nothing() {
    for (name, filter) in [
        ("namespace", "-n shpo"),
        ("source", "--source shop/svc/db"),
        ("destination", "--destination shop/svc/db:5432"),
        ("port", "--port http"),
    ] {
        assert_answer!(format!("list-bad-{name}"), netsim(&format!("list {SHOP} {filter}")).exits(2));
    }
}

#[test]
fn pods_that_no_rule_tells_apart_stand_together() {
    assert_answer!("list-replicas", netsim(&format!("list {REPLICAS}")).exits(0));
    assert_answer!("list-replicas-json", netsim(&format!("list {REPLICAS} -o json")).exits(0));
    assert_answer!("list-replicas-expand", netsim(&format!("list {REPLICAS} --expand")).exits(0));
}

/// The form that other programs rely on: a row a pair, a pair that is absent is denied.
#[test]
fn the_expanded_json_names_every_open_pair() {
    let list = netsim(&format!("list {REPLICAS} --expand --no-outside -o json")).exits(0).json();
    assert_eq!(list["schemaVersion"], "1");
    let one =
        json!({"src": "x/client", "dst": "x/web-7d9c-aaaaa", "ports": [{"protocol": "TCP", "from": 8080, "to": 8080}]});
    let connections = list["connections"].as_array().unwrap();
    assert!(connections.contains(&one), "{list:#}");
    let pods = ["x/client", "x/web-7d9c-aaaaa", "x/web-7d9c-bbbbb"];
    for source in pods {
        for destination in pods {
            let found = connections.iter().filter(|c| c["src"] == source && c["dst"] == destination);
            let open: Vec<_> = found.flat_map(|c| c["ports"].as_array().unwrap().clone()).collect();
            let on = |port: u64| {
                open.iter()
                    .any(|r| r["protocol"] == "TCP" && (r["from"].as_u64()..=r["to"].as_u64()).contains(&Some(port)))
            };
            for port in [80, 8080] {
                let asked = netsim(&format!("can-reach {REPLICAS} {source} {destination}:{port}"));
                assert_eq!(on(port), asked.code == 0, "{asked}");
            }
        }
    }
}

#[test]
fn lists_that_are_not_the_whole_truth_end_with_3() {
    for command in ["list", "list -o json", "list --expand", "matrix", "matrix -o json"] {
        let name = command.replace(" --", "-").replace(" -o ", "-");
        assert_answer!(format!("unknown-{name}"), netsim(&format!("{command} {NODES}")).exits(3));
        assert_answer!(format!("foreign-{name}"), netsim(&format!("{command} {FOREIGN}")).exits(3));
    }
}

#[test]
fn matrix_formats() {
    for format in ["text", "json", "csv", "md"] {
        assert_answer!(format!("matrix-shop-{format}"), netsim(&format!("matrix {SHOP} -o {format}")).exits(0));
        let with_port = netsim(&format!("matrix {SHOP} --port 5432 -o {format}")).exits(0);
        assert_answer!(format!("matrix-shop-5432-{format}"), with_port);
    }
}

#[test]
fn matrix_filters() {
    for (name, arguments) in [
        ("namespace", "-f examples/shop -n payments"),
        ("namespace-json", "-f examples/shop -n payments -o json"),
        ("outside", "-f examples/shop -n payments --outside"),
        ("rows-and-columns", "-f examples/shop --source 'shop/*' --destination 'payments/*'"),
        ("dual", "-f tests/cli/inputs/dual-stack.yaml"),
        ("dual-port", "-f tests/cli/inputs/dual-stack.yaml --port 443"),
        ("expand", "-f tests/cli/inputs/replicas.yaml --expand --port 8080"),
    ] {
        assert_answer!(format!("matrix-filter-{name}"), netsim(&format!("matrix {arguments}")).exits(0));
    }
}

/// What a filter leaves out is blank, never `denied`.
#[test]
fn a_filter_changes_no_verdict_of_the_matrix() {
    let table = |options: &str| {
        let json = netsim(&format!("matrix {SHOP} {options} -o json")).exits(0).json();
        let names = |key: &str| {
            json[key].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (sources, destinations) = (names("sources"), names("destinations"));
        let mut cells = std::collections::BTreeMap::new();
        for (source, row) in sources.iter().zip(json["verdicts"].as_array().unwrap()) {
            for (destination, cell) in destinations.iter().zip(row.as_array().unwrap()) {
                cells.insert((source.clone(), destination.clone()), cell.clone());
            }
        }
        cells
    };
    let whole = table("");
    for options in ["-n payments", "-n kube-system", "--source shop/deploy/api", "-n shop --destination shop/sts/db"] {
        for (pair, cell) in table(options) {
            assert!(cell.is_null() || whole.get(&pair) == Some(&cell), "{options} {pair:?}: {cell}");
        }
    }
}
