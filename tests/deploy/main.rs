//! What is in `deploy/`: kustomize and helm render the same objects, these are what Kubernetes takes, ask for no more
//! than they need, and name options, metrics and headings that there are.
//!
//! It takes the programs kubectl, helm and promtool, which `make setup` puts into `target/tools`. `NETSIM_NO_HELM=1`
//! leaves out what needs them. `main` moves the process into a private network namespace, where an agent runs.
#![allow(clippy::unwrap_used)]

mod alerts;
mod dashboard;
mod expressions;
mod objects;
mod rbac;
mod tools;

use libtest_mimic::{Arguments, Trial};

/// A test by its name.
pub(crate) type Test = (&'static str, fn());

fn main() {
    let arguments = Arguments::from_args();
    if !arguments.list {
        netsim_testkit::netns::enter();
    }
    let left_out = std::env::var_os("NETSIM_NO_HELM").is_some_and(|value| value == "1");
    let modules: [(&str, &[Test], bool); 5] = [
        ("objects", &objects::TESTS, true),
        ("rbac", &rbac::TESTS, false),
        ("alerts", &alerts::TESTS, true),
        ("dashboard", &dashboard::TESTS, true),
        ("expressions", &expressions::TESTS, false),
    ];
    let trials = modules.into_iter().flat_map(|(module, tests, takes_tools)| {
        tests.iter().map(move |&(name, test)| {
            let trial = Trial::test(format!("{module}::{name}"), move || {
                test();
                Ok(())
            });
            trial.with_ignored_flag(takes_tools && left_out)
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
