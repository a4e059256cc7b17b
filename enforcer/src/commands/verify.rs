//! `netsim-enforcer verify`: what the kernel holds against what a node should have.

use super::render::Desired;
use super::{DIFFERS, Failure, OK};
use crate::args::Verify;
use crate::drift::{canonical_contents, differences, generation};
use crate::kernel::{Contents, Netlink, Ownership, enter};

/// Compares, and prints what differs.
///
/// # Errors
/// When the input or the kernel cannot be read.
pub fn run(args: &Verify) -> Result<u8, Failure> {
    let desired = Desired::load(&args.input, &args.ruleset)?;
    if let Some(netns) = &args.kernel.netns {
        enter(netns).map_err(Failure::new)?;
    }
    let mut netlink = Netlink::open(&args.kernel.table, Ownership::Shared).map_err(Failure::new)?;
    let Some(dump) = netlink.read().map_err(Failure::new)? else {
        println!("there is no table `inet {}`: nothing is enforced on this node", args.kernel.table);
        return Ok(DIFFERS);
    };
    let generation = generation(&dump.contents, desired.options.mark_mask).unwrap_or(1);
    let wanted = Contents::expected(&desired.ruleset(generation)).map_err(Failure::new)?;
    let wanted = canonical_contents(&wanted);
    let found = canonical_contents(&dump.contents);
    let lines = differences(&wanted, &found);
    if lines.is_empty() {
        println!("the kernel holds what node `{}` should have", desired.options.node);
        return Ok(OK);
    }
    println!(
        "the kernel holds something else than node `{}` should have (- missing, + too much):",
        desired.options.node
    );
    lines.iter().for_each(|line| println!("  {line}"));
    Ok(DIFFERS)
}
