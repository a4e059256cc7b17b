//! Random clusters: every pair of them, on a choice of ports, in the kernel and in the simulator.
//!
//! A normal run is the same each time. `NETSIM_NETNS_CLUSTERS=2000 cargo test -p netsim-enforcer
//! --test netns random` looks further, from another seed each time. What fails is printed whole,
//! as manifests that are ready to become a fixture.

use crate::world::World;
use libtest_mimic::{Failed, Trial};
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::ingest::ingest;
use netsim_testkit::arbitrary::cluster;
use netsim_testkit::netns::Wiring;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// How many clusters a normal run makes.
const CLUSTERS: u32 = 80;
/// About how many probes of each are made.
const PROBES: usize = 1500;

pub fn trials() -> Vec<Trial> {
    let test = if std::env::var_os("NETSIM_NETNS_MANIFESTS").is_some() { given } else { kernel_equals_simulator };
    vec![Trial::test("random::kernel_equals_simulator", test)]
}

/// The same for a cluster in a file, whole, with both kinds of fabric.
fn given() -> Result<(), Failed> {
    let path = std::env::var("NETSIM_NETNS_MANIFESTS").expect("a path");
    let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    let ingested = ingest(&path, &bytes, "default");
    if ingested.has_errors() {
        return Err(format!("{:?}", ingested.diagnostics).into());
    }
    let index = ClusterIndex::new(ingested.objects);
    for wiring in Wiring::ALL {
        let mut world = World::new(&index, wiring);
        world.program();
        let probes = world.check(|_| true).map_err(|wrong| format!("{wiring:?}:\n{wrong}"))?;
        println!("{path} ({wiring:?}): {probes} probes came out as answered");
    }
    Ok(())
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
        let mut world = World::new(&cluster.index(), wiring);
        // Both ways to look peers up.
        world.many_lines = [16, 0, 2][round as usize % 3];
        world.program();
        let total = world.count();
        let step = total.div_ceil(PROBES).max(1);
        // Another part of the whole in each round, whatever comes in turn in the order of probes.
        let checked = world.check(|number| (FxBuildHasher.hash_one((number, round)) as usize).is_multiple_of(step));
        probes += checked.map_err(|wrong| format!("cluster {round} ({wiring:?}):\n{wrong}\n{cluster:?}"))?;
    }
    println!("random: {probes} probes came out as answered");
    Ok(())
}
