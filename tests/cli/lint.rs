//! `lint` and `explain-rule`: every form, what makes it fail, what is accepted, the baseline. What each
//! rule finds is tested in `tests/lints.rs`.

use crate::assert_answer;
use crate::run::{PROGRAM, Scratch, netsim, quiet, root, run, text_of};
use serde_json::Value;
use std::fs;

/// Two findings and one that its namespace accepts; the other rules are left out, as there will be more.
const INPUT: &str = "-f tests/cli/inputs/lint --select NS001,NS004";
const WRONG: &str = "-f tests/cli/inputs/lint-wrong.yaml";

#[test]
fn forms() {
    for (name, options) in
        [("text", ""), ("json", " -o json"), ("github", " -o github"), ("gitlab", " -o gitlab"), ("junit", " -o junit")]
    {
        assert_answer!(format!("lint-{name}"), netsim(&format!("lint {INPUT}{options}")).exits(1));
        assert_answer!(format!("lint-wrong-{name}"), netsim(&format!("lint {WRONG}{options}")).exits(2));
    }
    assert_answer!("lint-nothing", netsim("lint -f tests/cli/inputs/lint --select NS023").exits(0));
}

#[test]
fn what_makes_it_fail() {
    for (options, code) in [
        ("", 1),
        ("--fail-on error", 0),
        ("--fail-on info", 1),
        ("--fail-on never", 0),
        ("--fail-on error --severity NS004=error", 1),
        ("--severity NS004=info,no-ingress-default-deny=info", 0),
        ("--ignore NS004 --severity NS001=info", 0),
        ("--ignore NS004,NS001", 0),
        ("-n tools", 0),
        ("-n tools -n shop", 1),
    ] {
        netsim(&format!("lint {INPUT} {options}")).exits(code);
    }
    // What cannot be read fails whatever is asked for.
    netsim(&format!("lint {WRONG} --fail-on never")).exits(2);
}

#[test]
fn options_that_name_nothing() {
    for (name, options) in [
        ("rules", "--select NS998,NS004 --ignore no-ingres-default-deny"),
        ("severity", "--severity NS001 --severity NS001=fatal,NS997=error"),
        ("namespace", "-n shp"),
        ("baseline", "--baseline nowhere.json"),
        ("not-a-baseline", "--baseline tests/cli/inputs/dump.json"),
        ("write-baseline", "--write-baseline"),
    ] {
        assert_answer!(
            format!("lint-bad-{name}"),
            netsim(&format!("lint -f tests/cli/inputs/lint {options}")).exits(2)
        );
    }
    assert_answer!("explain-rule-bad", netsim("explain-rule NS01").exits(2));
}

/// A baseline holds what there was; what is fixed is told, what is new fails.
#[test]
fn a_baseline_hides_what_it_holds() {
    let scratch = Scratch::new();
    let (baseline, manifests) = (scratch.path().join("baseline.json"), scratch.path().join("k8s"));
    fs::create_dir(&manifests).unwrap();
    for file in ["cluster.yaml", "policies.yaml"] {
        fs::write(manifests.join(file), text_of(&format!("tests/cli/inputs/lint/{file}"))).unwrap();
    }
    let lint = |options: &str| {
        let (manifests, baseline) = (manifests.display(), baseline.display());
        netsim(&format!("lint -f {manifests} --select NS001,NS004 --baseline {baseline} {options}"))
    };
    assert_answer!("lint-baseline-written", lint("--write-baseline").exits(0));
    insta::with_settings!({snapshot_path => root().join("tests/cli/snapshots"), prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("lint-baseline-file", fs::read_to_string(&baseline).unwrap());
    });
    assert_answer!("lint-baseline-same", lint("").exits(0));
    // Lines that move change nothing.
    let policies = fs::read_to_string(manifests.join("policies.yaml")).unwrap();
    fs::write(manifests.join("policies.yaml"), format!("# A comment.\n\n{policies}")).unwrap();
    lint("").exits(0).says("nothing found");
    // One is fixed, one is new.
    let changed = policies.replace("app: apis", "app: api").replace("    - {}\n", "    - {}\n    - {}\n");
    let changed = changed
        .replace("name: default-deny", "name: lost")
        .replace("podSelector: {}\n", "podSelector: {matchLabels: {app: lost}}\n");
    fs::write(manifests.join("policies.yaml"), changed).unwrap();
    assert_answer!("lint-baseline-changed", lint("").exits(1));
}

#[test]
fn output_goes_to_a_file_whole() {
    let scratch = Scratch::new();
    let file = scratch.path().join("lint.sarif");
    let answer = netsim(&format!("lint {INPUT} -o sarif --out {}", file.display())).exits(1);
    assert!(answer.out.contains("2 warnings"), "{answer}");
    let log: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    netsim(&format!("lint {INPUT} --out {}/missing/lint.txt", scratch.path().display()))
        .exits(2)
        .says("missing/lint.txt");
}

/// SARIF fits the schema of OASIS (whose pattern for languages has a bracket that had to be escaped); places are relative to the repository, also from below its root;
/// fingerprints are those of the JSON form.
#[test]
fn sarif() {
    let schema: Value = serde_json::from_str(&text_of("tests/cli/data/sarif-2.1.0.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (input, code) in
        [(INPUT, 1), (WRONG, 2), ("-f examples/shop", 1), ("-f tests/cli/inputs/lint --select NS023", 0)]
    {
        let log = netsim(&format!("lint {input} -o sarif")).exits(code).json();
        let wrong: Vec<String> =
            validator.iter_errors(&log).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for result in log["runs"][0]["results"].as_array().unwrap() {
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
            let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
            assert!(root().join(uri.as_str().unwrap()).exists(), "{uri}");
        }
    }
    let mut below = quiet(PROGRAM);
    below.current_dir(root().join("tests/cli")).args(["lint", "-f", "inputs/lint", "--select", "NS004", "-o", "sarif"]);
    let log = run("netsim", &mut below).json();
    let result = &log["runs"][0]["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "tests/cli/inputs/lint/policies.yaml");
    assert_eq!(place["region"]["startLine"], 27);
    let json = netsim("lint -f tests/cli/inputs/lint --select NS004 -o json").json();
    assert_eq!(result["partialFingerprints"]["netsim/v1"], json["findings"][0]["fingerprint"]);
}

#[test]
fn rules_are_explained() {
    let page = netsim("explain-rule ns004").exits(0);
    assert_eq!(page.out, text_of("docs/lints/NS004.md"));
    assert_eq!(netsim("explain-rule policy-selects-no-pod").exits(0).out, page.out);
    let all = netsim("explain-rule").exits(0);
    assert!(all.out.contains("NS001  warning  no-ingress-default-deny"), "{all}");
}

/// What an annotation says of no rule is told, and accepts nothing.
#[test]
fn annotations_that_name_no_rule() {
    let scratch = Scratch::new();
    let text =
        text_of("tests/cli/inputs/lint/cluster.yaml").replace("netsim.dev/allow: NS001", "netsim.dev/allow: NS999");
    let file = scratch.file("cluster.yaml", &text);
    assert_answer!("lint-annotation", netsim(&format!("lint -f {file} --select NS001")).exits(1));
}
