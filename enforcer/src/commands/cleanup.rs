//! `netsim-enforcer cleanup`: nothing of ours is left in the kernel.

use super::{Failure, OK, print};
use crate::args::Cleanup;
use crate::kernel::{Netlink, Ownership, enter};
use crate::transaction::{Op, Transaction};

/// Takes the table out and clears our bits of the connections' marks.
///
/// # Errors
/// When the kernel refuses it, as it does while an agent runs that owns the table.
pub fn run(args: &Cleanup) -> Result<u8, Failure> {
    if let Some(netns) = &args.kernel.netns {
        enter(netns).map_err(Failure::new)?;
    }
    let mut netlink = Netlink::open(&args.kernel.table, Ownership::Owned).map_err(Failure::new)?;
    let table = &args.kernel.table;
    if netlink.table().map_err(Failure::new)?.is_some() {
        netlink.commit(&Transaction { ops: vec![Op::DeleteTable] }).map_err(Failure::new)?;
        print(&format!("deleted table `inet {table}`: nothing is enforced on this node any more\n"))?;
    } else {
        print(&format!("there is no table `inet {table}`\n"))?;
    }
    let cleared = netlink.clear_marks(args.mark_mask, 0).map_err(Failure::new)?;
    print(&format!("cleared the marks of {cleared} connections\n"))?;
    Ok(OK)
}
