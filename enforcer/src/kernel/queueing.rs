//! Whether this kernel can hand packets to a queue, and how.

use super::error::{CommitError, Error};
use super::netlink::Netlink;
use crate::ruleset::{Statement, Via};
use crate::transaction::{Op, Transaction};

/// How packets get into a queue on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queueing {
    /// By the statement of nftables.
    Native,
    /// By the target of iptables, in a rule of nftables.
    Compat,
    /// Not at all.
    Unavailable {
        /// What the kernel said to both.
        why: String,
    },
}

impl Queueing {
    /// What to put into rules, if anything.
    pub fn via(&self) -> Option<Via> {
        match self {
            Queueing::Native => Some(Via::Native),
            Queueing::Compat => Some(Via::Compat),
            Queueing::Unavailable { .. } => None,
        }
    }
}

impl Netlink {
    /// Finds out how packets can be queued. The kernel is asked to take such a rule, in a table of its
    /// own and a batch that it forgets: nothing is changed.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn queueing(&mut self) -> Result<Queueing, Error> {
        let mut refusals = Vec::new();
        for (via, queueing) in [(Via::Native, Queueing::Native), (Via::Compat, Queueing::Compat)] {
            let rule = vec![Statement::Queue { number: 0, via }];
            let ops = vec![Op::AddTable, Op::AddChain("probe".into(), None), Op::AddRule("probe".into(), rule)];
            match self.would_take(&Transaction { ops }) {
                Ok(()) => return Ok(queueing),
                Err(CommitError::Refused { errno, .. }) => {
                    let what = match via {
                        Via::Native => "the nftables statement `queue`",
                        Via::Compat => "the iptables target `NFQUEUE`",
                    };
                    refusals.push(format!("{what}: {errno}"));
                }
                Err(CommitError::NotSent(error) | CommitError::Unknown(error)) => return Err(error),
                // Our own doing, of which there is none: no table is owned, and the rule makes sense.
                Err(error @ (CommitError::Invalid { .. } | CommitError::Owned { .. })) => {
                    refusals.push(error.to_string());
                }
            }
        }
        Ok(Queueing::Unavailable { why: format!("the kernel refuses {}", refusals.join(", and ")) })
    }
}
