//! `report`: the page's data, the pictures, and what cannot be told.

use crate::assert_answer;
use crate::run::{Answer, Scratch, netsim};
use netsim_shared::survey::Survey;
use netsim_testkit::synthetic::{Format, Synthetic};
use serde_json::Value;

const SHOP: &str = "-f examples/shop";
const NODES: &str = "-f tests/fixtures/clause-D2-own-node/cluster.yaml -f tests/fixtures/clause-D2-own-node/plain.yaml \
                     -f tests/fixtures/clause-D2-own-node/nodes.yaml -f tests/fixtures/clause-D2-own-node/deny-all.yaml";
const FOREIGN: &str = "-f tests/fixtures/clause-H2-kinds-not-understood/cluster.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/policies.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/foreign.yaml";

/// The data of a page, as its script reads it.
#[track_caller]
fn data(answer: &Answer) -> Value {
    let block = answer.out.split_once("<script type=\"application/json\" id=\"data\">").expect("a data block").1;
    let text = block.split_once("</script>").expect("its end").0;
    assert!(!text.contains('<'), "what could end the block is escaped");
    serde_json::from_str(text).unwrap()
}

fn survey(data: &Value) -> Survey {
    serde_json::from_value(data["survey"].clone()).unwrap()
}

#[test]
fn pictures() {
    for (name, input) in [("shop", SHOP), ("dual", "-f tests/cli/inputs/dual-stack.yaml")] {
        for format in ["svg", "dot"] {
            let answer = netsim(&format!("report {input} -o {format}")).exits(0);
            assert_answer!(format!("report-{name}-{format}"), answer);
        }
    }
    assert_answer!("report-namespace-dot", netsim(&format!("report {SHOP} -n analytics -o dot")).exits(0));
    assert_answer!("report-unknown-dot", netsim(&format!("report {NODES} -o dot")).exits(3));
    assert_answer!("report-foreign-dot", netsim(&format!("report {FOREIGN} -o dot")).exits(3));
}

/// Where there are too many workloads to read, namespaces stand for them.
#[test]
fn pictures_of_many_workloads() {
    let scratch = Scratch::new();
    Synthetic::new(300, 8, 3).write_to(Format::Yaml, scratch.path()).unwrap();
    let dot = netsim(&format!("report -f {} -o dot", scratch.path().display())).exits(0);
    assert_answer!("report-many-dot", dot);
    let svg = netsim(&format!("report -f {} -o svg", scratch.path().display())).exits(0).out;
    assert!(svg.contains(">ns-00</text>") && !svg.contains("class=\"workload\""), "{svg}");
}

#[test]
fn questions_that_do_not_fit() {
    for (name, options) in [
        ("namespace", "-n shpo"),
        ("label", "--tenant-label tenent"),
        ("label-unknown", "--tenant-label zzz"),
        ("out", "--out /nowhere/report.html"),
    ] {
        assert_answer!(format!("report-bad-{name}"), netsim(&format!("report {SHOP} {options}")).exits(2));
    }
}

/// A browser that obeys the page's policy fetches nothing and runs nothing but the page's own script.
#[test]
fn the_page_stands_alone() {
    let page = netsim(&format!("report {SHOP}")).exits(0).out;
    let policy = page.split_once("Content-Security-Policy\" content=\"").unwrap().1.split_once('"').unwrap().0;
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let without_data = page.split("<script type=\"application/json\"").next().unwrap();
    for word in ["http:", "https:", "src=", "@import", "url(http"] {
        let allowed = page.matches("http://www.w3.org/2000/svg").count();
        let found = page.matches(word).count() - if word == "http:" { allowed } else { 0 };
        assert_eq!(found, 0, "{word}");
    }
    assert!(!without_data.contains('{') || without_data.contains("<style>"), "every place is filled");
}

#[test]
fn the_page_holds_the_survey() {
    let shop = data(&netsim(&format!("report {SHOP} --tenant-label tenant")).exits(0));
    assert_eq!(shop["schemaVersion"], "1");
    assert_eq!(shop["title"], "examples/shop");
    assert_eq!(shop["tenantLabel"], "tenant");
    // The findings are those of `lint`.
    let lint = netsim(&format!("lint {SHOP} -o json")).exits(1).json();
    let told = |findings: &serde_json::Value| -> Vec<(String, u64)> {
        let one = |f: &serde_json::Value| (f["rule"].as_str().unwrap().to_owned(), f["line"].as_u64().unwrap());
        findings.as_array().unwrap().iter().map(one).collect()
    };
    assert_eq!(told(&shop["findings"]), told(&lint["findings"]));
    assert!(!told(&shop["findings"]).is_empty());
    assert_eq!(shop["incomplete"], serde_json::json!([]));
    let survey = survey(&shop);
    // The verdicts are those of `list`.
    let list = netsim(&format!("list {SHOP} --no-outside -o json")).exits(0).json();
    let mut open = Vec::new();
    for (i, from) in survey.entities.iter().enumerate().filter(|(_, e)| e.namespace.is_some()) {
        for (j, to) in survey.entities.iter().enumerate().filter(|(_, e)| e.namespace.is_some()) {
            let reach = &survey.reaches[survey.reach(i, j).unwrap() as usize];
            if !reach.open.is_empty() {
                let ports: Vec<(u64, u64)> =
                    reach.open.iter().map(|(_, a, b)| (u64::from(*a), u64::from(*b))).collect();
                open.push((to.name.clone(), from.name.clone(), ports));
            }
        }
    }
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listed = list["connections"].as_array().unwrap().iter().map(|connection| {
        let ports = connection["ports"].as_array().unwrap();
        let ports = ports.iter().map(|p| (p["from"].as_u64().unwrap(), p["to"].as_u64().unwrap())).collect();
        (text(&connection["dst"]), text(&connection["src"]), ports)
    });
    let mut listed: Vec<_> = listed.collect();
    open.sort();
    listed.sort();
    assert_eq!(open, listed);
}

#[test]
fn what_is_not_the_whole_truth_ends_with_3() {
    let unknown = data(&netsim(&format!("report {NODES}")).exits(3).says("cannot be told"));
    assert!(survey(&unknown).reaches.iter().any(|reach| reach.unknown.is_some()));
    let foreign = data(&netsim(&format!("report {FOREIGN}")).exits(3).says("not understood"));
    let named = foreign["incomplete"].as_array().unwrap();
    assert!(!named.is_empty() && named.iter().all(|policy| policy["at"].as_str().is_some()), "{named:?}");
}

#[test]
fn a_file_is_written_whole() {
    let scratch = Scratch::new();
    let file = scratch.path().join("report.html");
    let answer = netsim(&format!("report {SHOP} --out {}", file.display())).exits(0);
    assert_eq!(answer.out, "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), netsim(&format!("report {SHOP}")).out);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}

/// Sizes are by classes, not by pairs: three thousand pods have nine million of them.
#[test]
fn a_page_of_many_pods_stays_small() {
    let size = |pods: usize| {
        let scratch = Scratch::new();
        Synthetic { owners: true, ..Synthetic::new(pods, 20, 10) }.write_to(Format::JsonList, scratch.path()).unwrap();
        netsim(&format!("report -f {}", scratch.path().display())).exits(0).out.len()
    };
    let page = size(3000);
    assert!(page < 1_500_000, "{page} bytes");
}
