//! `netsim-enforcer prepare-node`: what an agent without the privileges for it needs to find made.

use super::{DIFFERS, Failure, OK, print};
use crate::args::PrepareNode;
use crate::node::bridge_settings;
use netsim_shared::diagnostic::Diagnostic;

/// Loads the module and makes the settings, and says what it changed.
///
/// # Errors
/// When the root of the node cannot be entered.
pub fn run(args: &PrepareNode) -> Result<u8, Failure> {
    if let Some(root) = &args.root {
        let entered = std::os::unix::fs::chroot(root).and_then(|()| std::env::set_current_dir("/"));
        entered.map_err(|error| {
            let error = Diagnostic::error(format!("cannot enter `{}`: {error}", root.display()));
            Failure(vec![error.help("it takes CAP_SYS_CHROOT, and the root of the node mounted there").to_string()])
        })?;
    }
    let (changes, left) = bridge_settings();
    for change in &changes {
        print(&format!("{change}\n"))?;
    }
    if left.is_empty() {
        print("packets between pods of a bridge pass the rules\n")?;
        return Ok(OK);
    }
    for what in left {
        eprintln!("{}", Diagnostic::error(what).help("run it privileged, with the root of the node as --root"));
    }
    Ok(DIFFERS)
}
