//! Every fixture of the simulator, replayed with packets: each step's cluster is made real, and every
//! pair of it is probed.

use crate::world::World;
use libtest_mimic::{Failed, Trial};
use netsim_testkit::fixture::{Case, cases};
use netsim_testkit::netns::Wiring;

pub fn trials() -> Vec<Trial> {
    let cases = cases().into_iter().enumerate();
    cases
        .map(|(i, case)| {
            let name = case.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let wiring = Wiring::ALL[i % Wiring::ALL.len()];
            Trial::test(format!("fixtures::{name}"), move || replay(&case, wiring))
        })
        .collect()
}

fn replay(case: &Case, wiring: Wiring) -> Result<(), Failed> {
    let mut last: Option<(World, Vec<String>)> = None;
    for step in case.steps.iter().filter(|step| step.error.is_none()) {
        let index = step.index(&case.folder);
        // Steps that differ in their policies alone share a fabric, as they do in life.
        let pods: Vec<String> = index.pods().map(|pod| format!("{pod:?}")).collect();
        let world = match last.take() {
            Some((mut world, same)) if same == pods && index.workloads().next().is_none() => {
                world.change_policies(&index);
                world
            }
            _ => World::new(&index, wiring),
        };
        let mut world = world;
        world.program();
        world.check(|_| true).map_err(|wrong| format!("{} ({wiring:?}): {}\n{wrong}", case.title, step.name))?;
        last = Some((world, pods));
    }
    Ok(())
}
