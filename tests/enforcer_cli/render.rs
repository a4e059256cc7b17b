//! `render`: the text, and what is said about what is not in it.

use crate::run::{CLUSTER, enforcer, enforcer_reading, text_of};
use crate::{Test, assert_answer};

pub const TESTS: [Test; 4] = [
    ("rulesets_in_full", rulesets_in_full),
    ("what_is_left_out_is_said", what_is_left_out_is_said),
    ("what_cannot_be_read_is_said", what_cannot_be_read_is_said),
    ("standard_input_is_a_file_like_others", standard_input_is_a_file_like_others),
];

fn rulesets_in_full() {
    assert_answer!("render-node-1", enforcer(&format!("render -f {CLUSTER} --node-name node-1")).exits(0));
    assert_answer!("render-node-2", enforcer(&format!("render -f {CLUSTER} --node-name node-2")).exits(0));
    let options = "--audit --log-group 7 --mark-mask 0x0000ff00 --table policies --pod-cidr 10.244.0.0/16";
    let other = enforcer(&format!("render -f {CLUSTER} --node-name node-2 {options}")).exits(0);
    assert_answer!("render-other-options", other);
    let open = enforcer(&format!("render -f {CLUSTER} --node-name node-1 --unknown-pods allow")).exits(0);
    assert!(!open.out.contains("10.244.1.0/24"), "{open}");
}

fn what_is_left_out_is_said() {
    for (name, arguments) in [
        ("no-address", "-f tests/enforcer_cli/data/no-address.yaml --node-name node-1"),
        ("unknown-node", &format!("-f {CLUSTER} --node-name node-3 --pod-cidr 10.244.3.0/24")),
        ("manifests", "-f examples/shop --node-name node-1"),
    ] {
        assert_answer!(format!("warning-{name}"), without_text(enforcer(&format!("render {arguments}")).exits(0)));
    }
    let open = enforcer(&format!("render -f {CLUSTER} --node-name node-3 --unknown-pods allow")).exits(0);
    assert!(!open.err.contains("range"), "{open}");
    assert_eq!(enforcer(&format!("render -f {CLUSTER} --node-name node-1")).err, "");
}

fn what_cannot_be_read_is_said() {
    for (name, arguments) in [
        ("file", "-f nowhere.yaml"),
        ("both", &format!("-f {CLUSTER} --context prod")),
        ("cluster", "--kubeconfig /nowhere/config"),
        ("nothing", "-f tests/cli/inputs/empty"),
    ] {
        assert_answer!(format!("input-{name}"), enforcer(&format!("render {arguments} --node-name node-1")).exits(2));
    }
}

fn standard_input_is_a_file_like_others() {
    let file = enforcer(&format!("render -f {CLUSTER} --node-name node-1"));
    assert_eq!(enforcer_reading("render -f - --node-name node-1", &text_of(CLUSTER)).exits(0).out, file.out);
}

/// The ruleset itself is not what is looked at.
fn without_text(mut answer: crate::run::Answer) -> crate::run::Answer {
    assert!(answer.out.starts_with("# The ruleset of node"), "{answer}");
    answer.out = "…\n".to_owned();
    answer
}
