//! Real packets between pods that are network namespaces. A module a subject; `main` moves the whole
//! process into a private network namespace before anything else happens.

mod change;
mod cluster;
mod explain;
mod fabric_test;
mod faults;
mod fixtures;
mod flows;
mod learning;
mod names;
mod queue;
mod random;
mod sinks;
mod soak;
mod world;

use libtest_mimic::{Arguments, Trial};

fn main() {
    netsim_testkit::netns::enter();
    let modules: &[fn() -> Vec<Trial>] = &[
        fabric_test::trials,
        fixtures::trials,
        random::trials,
        change::trials,
        faults::trials,
        names::trials,
        queue::trials,
        learning::trials,
        flows::trials,
        sinks::trials,
        explain::trials,
        soak::trials,
    ];
    let trials = modules.iter().flat_map(|trials| trials()).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
