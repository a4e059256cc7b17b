//! Help, and what is wrong with a command line.

use crate::run::{PROGRAM, enforcer, quiet, run};
use crate::{Test, assert_answer};

pub const TESTS: [Test; 4] = [
    ("help", help),
    ("bad_usage_ends_with_2", bad_usage_ends_with_2),
    ("the_node_comes_from_the_environment", the_node_comes_from_the_environment),
    ("an_agent_that_cannot_start_says_why", an_agent_that_cannot_start_says_why),
];

const COMMANDS: [&str; 8] = ["run", "render", "verify", "status", "flows", "explain", "cleanup", "prepare-node"];

fn help() {
    assert_answer!("help", enforcer("--help").exits(0));
    for command in COMMANDS {
        assert_answer!(format!("help-{command}"), enforcer(&format!("{command} --help")).exits(0));
    }
}

fn bad_usage_ends_with_2() {
    for (name, arguments) in [
        ("nothing", ""),
        ("command", "rendr"),
        ("option", "render -f examples/shop --node-nam node-1"),
        ("no-node", "render -f examples/shop"),
        ("node-empty", "render -f examples/shop --node-name ''"),
        ("node-name", "run --node-name Node_1"),
        ("mask", "run --node-name node-1 --mark-mask 0xff00ff00"),
        ("mask-text", "cleanup --mark-mask all"),
        ("mask-bit", "run --node-name node-1 --mark-mask 0x80000000"),
        ("table", "render -f examples/shop --node-name node-1 --table 'my table'"),
        ("time", "run --node-name node-1 --coalesce 5"),
        ("time-unit", "run --node-name node-1 --coalesce 1h"),
        ("time-none", "run --node-name node-1 --verify-interval 0s"),
        ("time-long", "run --node-name node-1 --coalesce 18446744073709551615s"),
        ("pod-cidr", "render -f examples/shop --node-name node-1 --pod-cidr 10.244.1.0"),
        ("listen", "run --node-name node-1 --listen 9470"),
        ("flows-pod", "flows --pod db"),
        ("explain-port", "explain shop/web"),
        ("unknown-pods", "verify --node-name node-1 --unknown-pods open"),
        ("log-group", "run --node-name node-1 --log-group 70000"),
    ] {
        assert_answer!(format!("usage-{name}"), enforcer(arguments).exits(2));
    }
}

fn the_node_comes_from_the_environment() {
    let in_environment = |name| {
        let mut command = quiet(PROGRAM);
        run("netsim-enforcer render", command.env("NODE_NAME", name).args(["render", "-f", crate::run::CLUSTER]))
    };
    let named = enforcer(&format!("render -f {} --node-name node-2", crate::run::CLUSTER)).exits(0);
    assert_eq!(in_environment("node-2").exits(0).out, named.out);
    // As it is where a manifest gives the variable and nothing fills it.
    in_environment("").exits(2).says("a node's name");
}

fn an_agent_that_cannot_start_says_why() {
    for (name, arguments) in [
        ("kubeconfig", "run --node-name node-1 --kubeconfig /nowhere/config"),
        ("netns", "run --node-name node-1 --netns /nowhere/netns"),
        ("log", "run --node-name node-1 --log agent=loud"),
    ] {
        assert_answer!(format!("start-{name}"), enforcer(arguments).exits(2));
    }
}
