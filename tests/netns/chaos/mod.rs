//! What clusters do to an agent, done on purpose: the shipped program, real packets all the time, and the promises of
//! `docs/enforcer.md` held against what arrives.

mod api;
mod hostile;
mod node;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    [api::trials, node::trials, hostile::trials].iter().flat_map(|trials| trials()).collect()
}
