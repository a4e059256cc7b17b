//! What a container runtime does: a program in namespaces of its own, with the mounts and the
//! capabilities that it was given, and no others.
//!
//! This program starts itself again for it, twice: once to make the namespaces and to wait, and once
//! inside of them, as process 1, which becomes the container's program.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::pivot_root;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

/// The first arguments of this program in these parts.
pub const OUTER: &str = "--as-container";
pub const INNER: &str = "--as-init";
pub const EXEC: &str = "--as-exec";

/// A container, ready to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The root file system; it has a folder or file for each of the mounts.
    pub root: PathBuf,
    pub mounts: Vec<Mount>,
    pub program: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub privileged: bool,
    /// Without `CAP_`.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
}

/// A folder or file of the node that is seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// A path of the container, from outside.
pub fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Starts process 1 of new namespaces, writes its number beside the plan, and ends as it ends. If
/// whoever started this ends, all of it does.
pub fn outer(plan: &Path) -> ! {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC).expect("namespaces");
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program).arg(INNER).arg(plan).stdin(Stdio::null()).spawn().expect("process 1");
    let pid = rustix::process::Pid::from_child(&child);
    fs::write(plan.with_extension("pid"), pid.as_raw_nonzero().to_string()).expect("a file");
    // A process whose children live in another namespace may have no second thread.
    let mut starter = io::stdin();
    rustix::io::ioctl_fionbio(&starter, true).expect("a pipe");
    loop {
        if let Some(ended) = child.try_wait().expect("a child") {
            exit(ended.code().unwrap_or(137))
        }
        if starter.read(&mut [0]).is_ok() {
            // It ends with nothing, as nothing is ever written.
            _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Becomes the container's program.
pub fn inner(plan: &Path) -> ! {
    // Should the one that waits be killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).expect("prctl");
    let plan: Plan = serde_json::from_slice(&fs::read(plan).expect("the plan")).expect("a plan");
    set_up(&plan).unwrap_or_else(|error| panic!("a container's mounts: {error}"));
    confine(&plan);
    let error = Command::new(&plan.program[0]).args(&plan.program[1..]).env_clear().envs(&plan.environment).exec();
    eprintln!("{}: {error}", plan.program[0]);
    exit(127)
}

fn set_up(plan: &Plan) -> Result<(), String> {
    let none = None::<&str>;
    let root = plan.root.as_path();
    let bind = |source: &Path, target: &Path, read_only: bool| {
        let say = |e| format!("{} at {}: {e}", source.display(), target.display());
        mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(say)?;
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if read_only { mount(none, target, none, again, none).map_err(say) } else { Ok(()) }
    };
    let fresh = |kind: &str, target: &str, flags: MsFlags| {
        mount(Some(kind), &root.join(target), Some(kind), flags, none).map_err(|e| format!("{kind}: {e}"))
    };
    // Not that of the parent, whose root would move along.
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| format!("a mount namespace: {e}"))?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|e| format!("private: {e}"))?;
    bind(root, root, false)?;
    fresh("proc", "proc", MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC)?;
    let sys = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh("sysfs", "sys", if plan.privileged { sys } else { sys | MsFlags::MS_RDONLY })?;
    if !plan.privileged {
        // As runtimes do: settings of the node are not the container's.
        let settings = root.join("proc/sys");
        bind(&settings, &settings, true)?;
    }
    fresh("tmpfs", "dev", MsFlags::MS_NOSUID)?;
    for device in ["null", "zero", "full", "random", "urandom"] {
        let target = root.join("dev").join(device);
        File::create(&target).map_err(|e| format!("{}: {e}", target.display()))?;
        bind(&Path::new("/dev").join(device), &target, false)?;
    }
    for each in &plan.mounts {
        bind(&each.source, &inside(root, &each.target), each.read_only)?;
    }
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, root, none, read_only, none).map_err(|e| format!("a root that is read only: {e}"))?;
    std::env::set_current_dir(root).map_err(|e| e.to_string())?;
    pivot_root(".", ".").map_err(|e| format!("pivot_root: {e}"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|e| format!("umount: {e}"))?;
    std::env::set_current_dir("/").map_err(|e| e.to_string())
}

fn confine(plan: &Plan) {
    if !plan.privileged {
        let named =
            |name: &String| CapabilitySet::from_name(name).unwrap_or_else(|| panic!("there is no capability `{name}`"));
        keep(plan.capabilities.iter().map(named).collect());
    }
    if plan.no_new_privileges {
        set_no_new_privs(true).expect("prctl");
    }
}

/// Gives up all other capabilities, for good.
fn keep(kept: CapabilitySet) {
    for capability in CapabilitySet::all().iter().filter(|c| !kept.contains(*c)) {
        // A kernel does not know them all.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability).expect("a smaller bounding set");
        }
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).expect("fewer capabilities");
}

/// Runs a program inside of a container that runs, with what that has.
pub fn exec(pid: &str, program: &[String]) -> ! {
    let of = |what: &str| PathBuf::from(format!("/proc/{pid}/{what}"));
    let status = fs::read_to_string(of("status")).expect("a running container");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of the status");
        line.trim_start_matches(':').trim().to_owned()
    };
    let effective = u64::from_str_radix(&field("CapEff"), 16).expect("capabilities");
    let confined = field("NoNewPrivs") == "1";
    let environment = fs::read_to_string(of("environ")).expect("an environment");
    let namespaces: Vec<File> =
        ["ns/net", "ns/ipc", "ns/pid", "ns/mnt"].iter().map(|ns| File::open(of(ns)).expect("a namespace")).collect();
    for namespace in &namespaces {
        setns(namespace, CloneFlags::empty()).expect("to enter the container");
    }
    keep(CapabilitySet::from_bits_truncate(effective));
    if confined {
        set_no_new_privs(true).expect("prctl");
    }
    let variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
    let variables: BTreeMap<&str, &str> = variables.collect();
    let found = if program[0].contains('/') {
        program[0].clone()
    } else {
        let folders = variables.get("PATH").copied().unwrap_or("/usr/sbin:/usr/bin:/sbin:/bin").split(':');
        let at = folders.map(|folder| format!("{folder}/{}", program[0])).find(|path| Path::new(path).exists());
        at.unwrap_or_else(|| {
            eprintln!("exec: \"{}\": executable file not found in $PATH", program[0]);
            exit(126)
        })
    };
    let ended = Command::new(found).args(&program[1..]).env_clear().envs(variables).status().expect("the program");
    exit(ended.code().unwrap_or(137))
}
