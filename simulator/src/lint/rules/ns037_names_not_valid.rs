//! NS037: names that are none, and names where none are taken.

use super::{found_while_reading, page};
use crate::lint::{Rule, Severity};

pub const RULE: Rule = Rule {
    id: "NS037",
    name: "names-not-valid",
    severity: Severity::Error,
    summary: "`domainNames` in a place that takes none, or an entry of them that is no name",
    neighbours: &[],
    page: page!("NS037"),
    check: found_while_reading,
};
