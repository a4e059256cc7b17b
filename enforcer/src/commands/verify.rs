//! `netsim-enforcer verify`: what the kernel holds against what a node should have.

use super::render::Desired;
use super::{DIFFERS, Failure, OK, print};
use crate::args::Verify;
use crate::drift::{canonical_contents, differences, generation, readable};
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
        print(&format!("there is no table `inet {}`: nothing is enforced on this node\n", args.kernel.table))?;
        return Ok(DIFFERS);
    };
    let generation = generation(&dump.contents, desired.options.mark_mask).unwrap_or(1);
    let wanted = desired.ruleset(generation);
    let expected = canonical_contents(&Contents::expected(&wanted).map_err(Failure::new)?);
    let mut lines = differences(&expected, &canonical_contents(&dump.contents));
    let node = &desired.options.node;
    if lines.is_empty() {
        print(&format!("the kernel holds what node `{node}` should have\n"))?;
        return Ok(OK);
    }
    // The names by which two tables are compared are nobody's.
    let named = readable(&wanted, &dump.contents).map_err(Failure::new)?;
    if !named.is_empty() {
        lines = named;
    }
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    print(&format!(
        "the kernel holds something else than node `{node}` should have (- missing, + too much):\n{lines}"
    ))?;
    Ok(DIFFERS)
}
