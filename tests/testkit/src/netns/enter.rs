//! A private network and mount namespace for the whole process, so that nothing touches the host.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, io};

/// Where the names of network namespaces live, for us and for `ip netns`.
pub(super) const NAMES: &str = "/run/netns";

static ENTERED: OnceLock<()> = OnceLock::new();

/// Moves the process into a network and a mount namespace of its own; without root also into a user
/// namespace in which it is root. Call it first in `main`, before there is a second thread: threads
/// started later, and processes started by them, live in there too.
///
/// Where that is not possible it says why and ends the process with failure: packet tests that
/// cannot send packets have not passed.
pub fn enter() {
    if ENTERED.get().is_some() {
        return;
    }
    if let Err(error) = try_enter() {
        eprintln!(
            "error: cannot make a private network namespace: {error}\n\
             \n\
             The packet tests build pods and nodes as network namespaces. They need one of:\n\
             - root with CAP_SYS_ADMIN (in a container: `--privileged`), or\n\
             - unprivileged user namespaces: `sysctl user.max_user_namespaces` above 0, and where they exist\n  \
               `kernel.unprivileged_userns_clone=1` and `kernel.apparmor_restrict_unprivileged_userns=0`;\n\
             and the programs `ip` (iproute2) and `nft` (nftables).\n\
             Nothing was tested."
        );
        std::process::exit(1);
    }
    let _ = ENTERED.set(());
}

/// Keeps a forgotten [`enter`] from changing the host's network.
pub(super) fn assert_entered() {
    assert!(ENTERED.get().is_some(), "call `netns::enter()` first thing in `main`");
}

fn try_enter() -> Result<(), String> {
    let (uid, gid) = (Uid::current(), Gid::current());
    let private = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    match unshare(private) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            unshare(private | CloneFlags::CLONE_NEWUSER).map_err(|e| format!("unshare: {e}"))?;
            // Without this the kernel does not let us map our group.
            write("/proc/self/setgroups", "deny")?;
            write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
            write("/proc/self/gid_map", &format!("0 {gid} 1"))?;
        }
        Err(error) => return Err(format!("unshare: {error}")),
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|e| format!("mount / private: {e}"))?;
    // Ours alone, and writable without root: names of namespaces, and the lock of iptables.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).map_err(|e| format!("mount /run: {e}"))?;
    fs::create_dir(NAMES).map_err(|e| format!("create `{NAMES}`: {e}"))?;
    // A probe in flight is a socket.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| format!("getrlimit: {e}"))?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(|e| format!("setrlimit: {e}"))?;
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    run(Command::new("nft").arg("--version"))
}

fn write(path: impl AsRef<Path>, text: &str) -> Result<(), String> {
    let path = path.as_ref();
    fs::write(path, text).map_err(|e| format!("write `{text}` to `{}`: {e}", path.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!("the program `{program}` is not installed"),
        _ => format!("`{program}`: {e}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{program}`: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
