//! NS015: an exception that lies outside of its block.

use super::{found_while_reading, page};
use crate::lint::{Rule, Severity};

pub const RULE: Rule = Rule {
    id: "NS015",
    name: "except-outside-cidr",
    severity: Severity::Error,
    summary: "an `except` that is not a smaller block inside its `cidr`",
    neighbours: &[],
    page: page!("NS015"),
    check: found_while_reading,
};
