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
mod soak;
mod world;

use libtest_mimic::{Arguments, Trial};

fn main() {
    netsim_testkit::netns::enter();
    let modules: [fn() -> Vec<Trial>; 11] = [
        fabric_test::trials,
        fixtures::trials,
        random::trials,
        change::trials,
        faults::trials,
        names::trials,
        queue::trials,
        learning::trials,
        explain::trials,
        flows::trials,
        soak::trials,
    ];
    let trials = modules.into_iter().flat_map(|trials| trials()).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
