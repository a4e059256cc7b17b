//! Whether this kernel can log what is denied.

use super::error::{CommitError, Error};
use super::netlink::Netlink;
use crate::ruleset::Statement;
use crate::transaction::{Op, Transaction};

impl Netlink {
    /// Whether the kernel takes rules that log to a group, a part of many packets; else why not. It is
    /// asked to take one in a table of its own and a batch that it forgets: nothing is changed.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn logging(&mut self) -> Result<Result<(), String>, Error> {
        let rule = vec![Statement::Limit(1), Statement::Log { group: 0, prefix: "probe" }];
        let ops = vec![Op::AddTable, Op::AddChain("probe".into(), None), Op::AddRule("probe".into(), rule)];
        match self.would_take(&Transaction { ops }) {
            Ok(()) => Ok(Ok(())),
            Err(CommitError::Refused { errno, .. }) => {
                Ok(Err(format!("the kernel refuses the nftables statements `limit` and `log`: {errno}")))
            }
            Err(CommitError::NotSent(error) | CommitError::Unknown(error)) => Err(error),
            Err(error @ (CommitError::Invalid { .. } | CommitError::Owned { .. })) => Ok(Err(error.to_string())),
        }
    }
}
