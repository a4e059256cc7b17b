//! What was found out about a node, as values.

use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing, nothing to do.
    Notes,
    /// Policy is enforced, but something works against it or is at its limit.
    Warns,
    /// Policy would not be enforced: the node must not be called ready.
    Blocks,
}

/// What a finding is about; one of them can be found several times, for several things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A fact could not be read, so that what follows from it is not known.
    Unreadable,
    /// `br_netfilter` is not loaded and a bridge carries pods.
    BridgeFilterMissing,
    /// A bridge that carries pods does not show its packets to netfilter.
    BridgeUnfiltered,
    /// A bridge shows its packets to netfilter, but not those with a VLAN tag.
    BridgeTagsUnfiltered,
    /// Pods hang on a switch that passes their packets by netfilter.
    SwitchBypasses,
    /// A setting of ours is undone again and again.
    SettingReset,
    /// IPVS moves packets past connection tracking.
    IpvsUntracked,
    /// There is no connection tracking yet.
    ConntrackMissing,
    /// The table of connections is nearly full.
    ConntrackNearlyFull,
    /// The kernel does not track SCTP.
    SctpUntracked,
    /// How strict connection tracking is with TCP differs from the kernel's default.
    TcpTracking,
    /// Somebody exempts packets from connection tracking.
    Untracked,
    /// Somebody forwards established flows past the rules.
    FlowTable,
    /// Somebody's rules drop what is forwarded unless they allow it.
    ForeignDrop,
    /// Another enforcer of network policy is at work.
    SecondEnforcer,
    /// The tables of legacy iptables cannot be listed.
    LegacyUnlisted,
    /// The node does not forward packets.
    ForwardingOff,
    /// Packets that claim to come from the node itself are let in.
    LocalSourcesAccepted,
    /// The kernel lacks something that the rules need.
    KernelLacks,
    /// The process may not do what it has to.
    NotPermitted,
    /// The kernel refused a change for another reason.
    Refused,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// What was found, and what follows from it.
    pub message: String,
    /// What helps.
    pub fix: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        kind: FindingKind,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { severity, kind, message: message.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}
