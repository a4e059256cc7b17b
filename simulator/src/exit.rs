//! Exit codes: denied is not failure, failure is not unknown. One table, used by all commands.

use crate::args::Expect;
use netsim_shared::query::Verdict;
use std::process::ExitCode;

/// Why the process ends. The numbers are documented in `docs/commands/README.md` and in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Allowed, or done.
    Ok,
    /// Not allowed, or an assertion that does not hold.
    NotAllowed,
    /// Bad usage or bad input.
    Bad,
    /// Unknown, or incomplete.
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::NotAllowed => 1,
            Exit::Bad => 2,
            Exit::Unknown => 3,
        })
    }
}

impl Exit {
    /// How an answer ends the process. An incomplete answer is never more than unknown.
    pub fn of_answer(verdict: Verdict, incomplete: bool, expect: Option<Expect>) -> Exit {
        match (verdict, expect.unwrap_or(Expect::Allowed)) {
            (Verdict::Unknown, _) => Exit::Unknown,
            _ if incomplete => Exit::Unknown,
            (Verdict::Allowed, Expect::Allowed) | (Verdict::Denied, Expect::Denied) => Exit::Ok,
            (Verdict::Allowed | Verdict::Denied | Verdict::Mixed, _) => Exit::NotAllowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_code() {
        use Verdict::{Allowed, Denied, Mixed, Unknown};
        for (verdict, plain, denied) in [
            (Allowed, Exit::Ok, Exit::NotAllowed),
            (Denied, Exit::NotAllowed, Exit::Ok),
            (Mixed, Exit::NotAllowed, Exit::NotAllowed),
            (Unknown, Exit::Unknown, Exit::Unknown),
        ] {
            assert_eq!(Exit::of_answer(verdict, false, None), plain);
            assert_eq!(Exit::of_answer(verdict, false, Some(Expect::Allowed)), plain);
            assert_eq!(Exit::of_answer(verdict, false, Some(Expect::Denied)), denied);
            assert_eq!(Exit::of_answer(verdict, true, None), Exit::Unknown);
        }
    }
}
