//! NS023: a range of ports that is none.

use super::{found_while_reading, page};
use crate::lint::{Rule, Severity};

pub const RULE: Rule = Rule {
    id: "NS023",
    name: "bad-end-port",
    severity: Severity::Error,
    summary: "an `endPort` without a number as `port`, or below it",
    neighbours: &[],
    page: page!("NS023"),
    check: found_while_reading,
};
