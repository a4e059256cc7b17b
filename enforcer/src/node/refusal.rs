//! What the kernel means when it refuses a change: an error number says little, what was asked for
//! says the rest.

use super::finding::{Finding, FindingKind, Severity};
use crate::ruleset::{Field, SetKind, Statement, Via};
use crate::transaction::Op;
use rustix::io::Errno;
use std::collections::BTreeSet;

/// Something of the kernel that not every one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Tables for IPv4 and IPv6 together.
    InetTables,
    /// Matches on connections.
    Ct,
    /// Matches on the addresses of a connection in one family.
    CtAddresses,
    /// Whether an address is the node's own.
    Fib,
    /// Rates.
    Limit,
    /// Copies of packets to a listener.
    Log,
    /// Packets handed to a listener, by nftables itself or by the target of iptables.
    Queue(Via),
    /// Sets of several fields of which one is a range.
    ConcatenatedRanges,
}

impl Feature {
    /// What to look for in the configuration of a kernel.
    pub fn needs(self) -> &'static str {
        match self {
            Feature::InetTables => "tables of family inet (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)",
            Feature::Ct => "matches on connections (CONFIG_NFT_CT, CONFIG_NF_CONNTRACK_MARK)",
            Feature::CtAddresses => "`ct original ip saddr` (Linux 4.17)",
            Feature::Fib => "`fib` expressions (CONFIG_NFT_FIB_INET, CONFIG_NFT_FIB_IPV4, CONFIG_NFT_FIB_IPV6)",
            Feature::Limit => "`limit` expressions (CONFIG_NFT_LIMIT)",
            Feature::Log => "`log` expressions to a group (CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG)",
            Feature::Queue(Via::Native) => "`queue` expressions (CONFIG_NFT_QUEUE, CONFIG_NETFILTER_NETLINK_QUEUE)",
            Feature::Queue(Via::Compat) => {
                "the target NFQUEUE (CONFIG_NFT_COMPAT, CONFIG_NETFILTER_XT_TARGET_NFQUEUE, \
                 CONFIG_NETFILTER_NETLINK_QUEUE)"
            }
            Feature::ConcatenatedRanges => "sets of concatenated ranges (Linux 5.6)",
        }
    }

    /// Whether it is a matter of the kernel's age, not of its configuration.
    fn came_later(self) -> bool {
        matches!(self, Feature::CtAddresses | Feature::ConcatenatedRanges)
    }

    /// What a change needs.
    pub fn of(op: &Op) -> BTreeSet<Feature> {
        match op {
            Op::AddTable | Op::AddChain(..) => BTreeSet::from([Feature::InetTables]),
            Op::AddSet(_, kind, _) | Op::AddElements(_, kind, _) | Op::DeleteElements(_, kind, _) => match kind {
                SetKind::L4Ports => BTreeSet::from([Feature::ConcatenatedRanges]),
                SetKind::Addresses(_)
                | SetKind::AddressMap(_)
                | SetKind::RangeMap(_)
                | SetKind::Pairs(_)
                | SetKind::Ports(_)
                | SetKind::Timed(_) => BTreeSet::new(),
            },
            Op::AddTimed(..) | Op::Retime(..) | Op::EndTimed(..) => BTreeSet::new(),
            Op::AddRule(_, rule) => rule.iter().flat_map(Feature::of_statement).collect(),
            Op::DeleteTable | Op::DeleteSet(_) | Op::DeleteChain(_) | Op::FlushChain(_) => BTreeSet::new(),
        }
    }

    fn of_statement(statement: &Statement) -> Vec<Feature> {
        match statement {
            Statement::CtState(_)
            | Statement::CtOriginal
            | Statement::CtReply
            | Statement::CtOriginalPort(_)
            | Statement::CtMark { .. }
            | Statement::SetCtMark { .. } => vec![Feature::Ct],
            Statement::SourceIsLocal | Statement::CameByItsRoute => vec![Feature::Fib],
            Statement::InBlock(field, _) | Statement::Vmap(field, _) => Feature::of_field(*field).to_vec(),
            Statement::InSet(fields, _) => fields.iter().flat_map(|field| Feature::of_field(*field)).copied().collect(),
            Statement::Limit(_) => vec![Feature::Limit],
            Statement::Log { .. } => vec![Feature::Log],
            Statement::Queue { via, .. } => vec![Feature::Queue(*via)],
            Statement::L4Protocol(_) | Statement::Icmpv6Type(..) | Statement::Counter | Statement::Verdict(_) => {
                Vec::new()
            }
        }
    }

    fn of_field(field: Field) -> &'static [Feature] {
        match field {
            Field::CtSource(_) | Field::CtDestination(_) | Field::CtOriginalDestination(_) => {
                &[Feature::Ct, Feature::CtAddresses]
            }
            Field::Protocol | Field::SourcePort | Field::DestinationPort => &[],
            Field::Source(_) | Field::Destination(_) => &[],
        }
    }
}

/// What it means that the kernel refused `what` with an error; `op` is the change, where it is known.
pub fn explain_refusal(errno: Errno, what: &str, op: Option<&Op>) -> Finding {
    let features = op.map(Feature::of).unwrap_or_default();
    let needs = features.iter().map(|feature| feature.needs()).collect::<Vec<_>>().join(", ");
    let refused = format!("the kernel refused to {what}: {errno}");
    let adds = matches!(op, None | Some(Op::AddTable | Op::AddSet(..) | Op::AddChain(..) | Op::AddRule(..)));
    let (kind, fix) = match errno {
        Errno::PERM | Errno::ACCESS => (
            FindingKind::NotPermitted,
            "run the agent with the capability CAP_NET_ADMIN in the network namespace of the node".to_owned(),
        ),
        Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::PROTOTYPE | Errno::NOPROTOOPT if needs.is_empty() => (
            FindingKind::KernelLacks,
            "use a kernel with nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_CT, CONFIG_NFT_FIB_INET), \
             or load their modules"
                .to_owned(),
        ),
        Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::PROTOTYPE | Errno::NOPROTOOPT => {
            (FindingKind::KernelLacks, format!("use a kernel with {needs}, or load its modules"))
        }
        // An expression that is not known, or a thing referred to that is gone.
        Errno::NOENT if adds && !needs.is_empty() => (
            FindingKind::KernelLacks,
            format!(
                "use a kernel with {needs}, or load its modules; if it has them, somebody else has deleted a part of \
                 our table, which is then made anew"
            ),
        ),
        Errno::INVAL if features.iter().any(|feature| feature.came_later()) => {
            (FindingKind::KernelLacks, format!("an older kernel says so when it lacks {needs}: use a newer one"))
        }
        Errno::NOENT | Errno::EXIST | Errno::BUSY => (
            FindingKind::Refused,
            "somebody else has changed our table: it is read back and repaired; see to it that nobody flushes it".to_owned(),
        ),
        Errno::NOMEM | Errno::NOSPC | Errno::NFILE | Errno::TOOBIG => {
            (FindingKind::Refused, "give the node more memory, or the agent a higher limit of it".to_owned())
        }
        Errno::NOBUFS | Errno::MSGSIZE => (
            FindingKind::Refused,
            "raise `net.core.rmem_max` and `net.core.wmem_max` on the node, or give the agent the capability CAP_NET_ADMIN"
                .to_owned(),
        ),
        _ if needs.is_empty() => {
            (FindingKind::Refused, "please report this with the version of the kernel".to_owned())
        }
        _ => (
            FindingKind::Refused,
            format!("it needs {needs}; if the kernel has them, please report this with the version of the kernel"),
        ),
    };
    Finding::new(Severity::Blocks, kind, refused, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Verdict;
    use netsim_shared::net::Family;

    fn rule(statements: Vec<Statement>) -> Op {
        Op::AddRule("forward".into(), statements)
    }

    fn kind_and_fix(errno: Errno, op: Option<&Op>) -> (FindingKind, String) {
        let finding = explain_refusal(errno, "add a rule to chain `forward`", op);
        assert_eq!(finding.severity, Severity::Blocks);
        assert!(finding.message.starts_with("the kernel refused to add a rule to chain `forward`: "), "{finding}");
        assert!(!finding.fix.is_empty());
        (finding.kind, finding.fix)
    }

    #[test]
    fn a_missing_expression_is_named_with_its_option() {
        for (statement, option) in [
            (Statement::SourceIsLocal, "CONFIG_NFT_FIB_INET"),
            (Statement::CtState(1), "CONFIG_NFT_CT"),
            (Statement::SetCtMark { mask: 1, value: 1 }, "CONFIG_NF_CONNTRACK_MARK"),
            (Statement::Limit(1), "CONFIG_NFT_LIMIT"),
            (Statement::CameByItsRoute, "CONFIG_NFT_FIB_INET"),
            (Statement::CtOriginalPort(53), "CONFIG_NFT_CT"),
            (Statement::Queue { number: 1, via: Via::Native }, "CONFIG_NFT_QUEUE"),
            (Statement::Queue { number: 1, via: Via::Compat }, "CONFIG_NETFILTER_XT_TARGET_NFQUEUE"),
            (Statement::Log { group: 1, prefix: "" }, "CONFIG_NFT_LOG"),
            (Statement::Vmap(Field::CtSource(Family::V4), "m".into()), "Linux 4.17"),
            (Statement::InSet(vec![Field::Protocol, Field::CtDestination(Family::V6)], "s".into()), "Linux 4.17"),
        ] {
            let op = rule(vec![Statement::Counter, statement, Statement::Verdict(Verdict::Drop)]);
            for errno in [Errno::NOENT, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT] {
                let (kind, fix) = kind_and_fix(errno, Some(&op));
                assert_eq!(kind, FindingKind::KernelLacks);
                assert!(fix.contains(option), "{fix}");
            }
        }
    }

    #[test]
    fn old_kernels_and_missing_families_are_told() {
        let set = Op::AddSet("s".into(), SetKind::L4Ports, None);
        let (kind, fix) = kind_and_fix(Errno::INVAL, Some(&set));
        assert_eq!(kind, FindingKind::KernelLacks);
        assert!(fix.contains("Linux 5.6"), "{fix}");
        for op in [None, Some(&Op::AddTable)] {
            let (kind, fix) = kind_and_fix(Errno::OPNOTSUPP, op);
            assert_eq!(kind, FindingKind::KernelLacks);
            assert!(fix.contains("CONFIG_NF_TABLES_INET"), "{fix}");
        }
    }

    #[test]
    fn what_is_not_about_the_kernel_is_not_blamed_on_it() {
        let (kind, fix) = kind_and_fix(Errno::PERM, Some(&rule(vec![Statement::SourceIsLocal])));
        assert_eq!(kind, FindingKind::NotPermitted);
        assert!(fix.contains("CAP_NET_ADMIN"), "{fix}");
        let gone = Op::DeleteSet("s".into());
        assert_eq!(kind_and_fix(Errno::NOENT, Some(&gone)).0, FindingKind::Refused);
        for errno in [Errno::EXIST, Errno::BUSY, Errno::NOMEM, Errno::NOBUFS, Errno::INVAL, Errno::IO] {
            assert_eq!(kind_and_fix(errno, None).0, FindingKind::Refused, "{errno}");
        }
    }
}
