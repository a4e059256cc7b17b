//! Random clusters: every pair of them, on a choice of ports, in the kernel and in the simulator.
//!
//! A normal run is the same each time. `NETSIM_NETNS_CLUSTERS=2000 cargo test -p netsim-enforcer
//! --test netns random` looks further, from another seed each time. What fails is printed whole,
//! as manifests that are ready to become a fixture.

use crate::world::World;
use libtest_mimic::{Failed, Trial};
use netsim_testkit::arbitrary::cluster;
use netsim_testkit::netns::Wiring;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// How many clusters a normal run makes.
const CLUSTERS: u32 = 80;
/// About how many probes of each are made.
const PROBES: usize = 1500;

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("random::kernel_equals_simulator", kernel_equals_simulator)]
}

fn kernel_equals_simulator() -> Result<(), Failed> {
    let asked = std::env::var("NETSIM_NETNS_CLUSTERS").ok().map(|n| n.parse::<u32>().expect("a number of clusters"));
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if asked.is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    let mut runner = TestRunner::new(config);
    let mut probes = 0;
    for round in 0..asked.unwrap_or(CLUSTERS) {
        let cluster = cluster().new_tree(&mut runner).expect("a cluster").current();
        let wiring = Wiring::ALL[round as usize % 2];
        let mut world = World::new(&cluster.index(), &cluster.modes, wiring);
        world.program();
        let total = world.count();
        let step = total.div_ceil(PROBES).max(1);
        // Another part of the whole in each round.
        let checked = world.check(|number| (number * 7919 + round as usize).is_multiple_of(step));
        probes += checked.map_err(|wrong| format!("cluster {round} ({wiring:?}):\n{wrong}\n{cluster:?}"))?;
    }
    println!("random: {probes} probes came out as answered");
    Ok(())
}
