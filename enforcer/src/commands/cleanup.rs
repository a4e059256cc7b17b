//! `netsim-enforcer cleanup`: nothing of ours is left in the kernel.

use super::{Failure, OK, print, told_to_stop};
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
    if args.stay {
        stay()?;
    }
    Ok(OK)
}

/// Until SIGTERM or SIGINT. As the first process of a container it has to ask for them: the kernel
/// does not give that one what it does not handle.
fn stay() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    runtime.block_on(async {
        let end = told_to_stop()?;
        print("staying until told to stop\n")?;
        end.await;
        Ok(())
    })
}
