//! What happens to the agent itself: upgrades, a second one, clocks that jump, a disk that is full.

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    Vec::new()
}
