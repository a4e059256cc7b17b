//! What a node must be like for our rules to be enforced: found out at the start and again and
//! again, because others change it.
//!
//! ```text
//! netlink, /proc ── links, foreign, legacy, sysctl ──▶ Facts ── judge ──▶ Finding…
//! ```
//!
//! `judge` is pure; the others read the network namespace of the calling thread, so it has to be in
//! the one that the rules are for.

mod facts;
mod finding;
mod foreign;
mod judge;
mod legacy;
mod links;
mod netlink;
mod refusal;
mod sysctl;

pub use finding::{Finding, FindingKind, Severity};
pub use refusal::{Feature, explain_refusal};

use facts::{CALL_IP6TABLES, CALL_IPTABLES, FILTER_TAGGED, Facts, Subject, Unread};
use ipnet::IpNet;
use judge::RefusedSettings;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use sysctl::{Sysctls, dotted};

/// What the checks need to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of our table, which is not taken for one of somebody else.
    pub table: String,
    /// The blocks that the pods of this node get their addresses from, as far as they are known. A
    /// bridge with such an address carries pods even before there is one.
    pub pod_blocks: Vec<IpNet>,
    /// Whether to make the settings of `br_netfilter`, and to load it.
    pub manage_sysctls: bool,
    /// Where kernel settings are; another mount of it may be writable in a container.
    pub sysctl_root: PathBuf,
}

impl Options {
    /// For a table; everything else as is usual.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            pod_blocks: Vec::new(),
            manage_sysctls: true,
            sysctl_root: PathBuf::from("/proc/sys"),
        }
    }
}

/// How much to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What lets packets pass the rules by. Some system calls: fit for every few seconds.
    Quick,
    /// Also what others have in netfilter, which can be long lists and, for legacy iptables, runs
    /// programs that wait for a lock.
    Full,
}

/// Something that was changed on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A module was loaded.
    Loaded(&'static str),
    /// A setting was made.
    Set {
        /// Its name, as `sysctl` takes it.
        name: String,
        /// What it was.
        from: u64,
        /// What it is.
        to: u64,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Loaded(module) => write!(f, "loaded the kernel module `{module}`"),
            Change::Set { name, from, to } => write!(f, "set `{name}` from {from} to {to}"),
        }
    }
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What was changed on the node.
    pub changes: Vec<Change>,
    /// What there is to say about it now, what matters most first.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Whether policy is enforced on a node like this.
    pub fn is_ready(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Blocks)
    }
}

/// Looks at everything and changes nothing.
pub fn inspect(options: &Options) -> Vec<Finding> {
    let facts = facts::gather(&Sysctls::new(&options.sysctl_root), &options.table);
    judge::judge(&facts, &options.pod_blocks, &RefusedSettings::new())
}

/// Looks at everything once, and makes the settings that it may make.
pub fn prepare(options: Options) -> Checked {
    Node::new(options).check(Depth::Full)
}

/// Makes the settings of bridges, whether one carries pods or not: what was changed, and what is still
/// not as it has to be.
pub fn bridge_settings() -> (Vec<Change>, Vec<String>) {
    let mut node = Node::new(Options::new(""));
    let mut changes = Vec::new();
    let filter = match facts::bridge_filter(&node.sysctls) {
        Ok(None) if load_bridge_filter() => {
            changes.push(Change::Loaded("br_netfilter"));
            facts::bridge_filter(&node.sysctls)
        }
        read => read,
    };
    let filter = match filter {
        Ok(Some(filter)) => filter,
        Ok(None) => {
            return (Vec::new(), vec!["`br_netfilter` is not loaded, and `modprobe` did not load it".to_owned()]);
        }
        Err(error) => return (changes, vec![format!("cannot read the settings of bridges: {error}")]),
    };
    let mut facts = Facts { bridge_filter: Some(filter), ..Facts::default() };
    let mut refused = RefusedSettings::new();
    node.make_settings(&mut facts, &mut refused, &mut changes);
    let left = refused.iter().map(|(path, error)| format!("cannot set `{}`: {error}", dotted(path))).collect();
    (changes, left)
}

/// A node that is looked after.
#[derive(Debug)]
pub struct Node {
    options: Options,
    sysctls: Sysctls,
    /// What the last full check saw, for the quick ones.
    last: Facts,
    /// How often each setting was made. More than once means that somebody undoes it.
    made: BTreeMap<&'static str, u32>,
}

impl Node {
    /// Nothing is looked at yet.
    pub fn new(options: Options) -> Self {
        let sysctls = Sysctls::new(&options.sysctl_root);
        Self { options, sysctls, last: Facts::default(), made: BTreeMap::new() }
    }

    /// The blocks that pods get their addresses from may come to be known later.
    pub fn set_pod_blocks(&mut self, blocks: Vec<IpNet>) {
        self.options.pod_blocks = blocks;
    }

    /// Looks at the node, makes the settings that it may make, and says what there is to say. A
    /// quick check repeats what the last full one said about the rest.
    pub fn check(&mut self, depth: Depth) -> Checked {
        let mut facts = match depth {
            Depth::Full => facts::gather(&self.sysctls, &self.options.table),
            Depth::Quick => self.with_last(facts::gather_quick(&self.sysctls)),
        };
        let mut checked = Checked::default();
        let mut refused = RefusedSettings::new();
        if self.options.manage_sysctls {
            if facts.bridge_filter.is_none() && depth == Depth::Full && load_bridge_filter() {
                match facts::bridge_filter(&self.sysctls) {
                    Ok(filter) => {
                        facts.bridge_filter = filter;
                        checked.changes.extend(filter.map(|_| Change::Loaded("br_netfilter")));
                    }
                    Err(error) => facts.unread.push(Unread { what: Subject::BridgeFilter, error: error.to_string() }),
                }
            }
            self.make_settings(&mut facts, &mut refused, &mut checked.changes);
        }
        checked.findings = judge::judge(&facts, &self.options.pod_blocks, &refused);
        checked.findings.extend(self.resets());
        checked.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        if depth == Depth::Full {
            self.last = facts;
        }
        checked
    }

    fn with_last(&self, mut facts: Facts) -> Facts {
        facts.foreign = self.last.foreign.clone();
        facts.forwarding = self.last.forwarding;
        facts.accept_local = self.last.accept_local.clone();
        let slow = |what| matches!(what, Subject::Foreign | Subject::Forwarding | Subject::AcceptLocal);
        facts.unread.extend(self.last.unread.iter().filter(|unread| slow(unread.what)).cloned());
        facts
    }

    /// Also without a bridge that carries pods: the first one comes with the first pods, before the
    /// next check.
    fn make_settings(&mut self, facts: &mut Facts, refused: &mut RefusedSettings, changes: &mut Vec<Change>) {
        let Some(filter) = &mut facts.bridge_filter else { return };
        for (path, on) in
            [(CALL_IPTABLES, &mut filter.ipv4), (CALL_IP6TABLES, &mut filter.ipv6), (FILTER_TAGGED, &mut filter.tagged)]
        {
            if *on {
                continue;
            }
            match self.sysctls.set(path, 1) {
                Ok(()) => {
                    *on = true;
                    *self.made.entry(path).or_default() += 1;
                    changes.push(Change::Set { name: dotted(path), from: 0, to: 1 });
                }
                Err(error) => _ = refused.insert(path, error.to_string()),
            }
        }
    }

    fn resets(&self) -> impl Iterator<Item = Finding> {
        self.made.iter().filter(|(_, times)| **times > 1).map(|(path, times)| {
            Finding::new(
                Severity::Warns,
                FindingKind::SettingReset,
                format!(
                    "somebody on this node has set `{}` to 0 {} times since it was set to 1: until it is found, \
                     packets between pods of one bridge pass all rules by",
                    dotted(path),
                    times - 1
                ),
                "find who does it: files in /etc/sysctl.d, a configuration management, libvirt or a firewall service",
            )
        })
    }
}

/// Whether the program that loads modules says that it did. In a container it needs the modules of
/// the node and the capability CAP_SYS_MODULE; without them, what is missing is a finding.
fn load_bridge_filter() -> bool {
    Command::new("modprobe").arg("br_netfilter").output().is_ok_and(|output| output.status.success())
}
