//! NS000: manifests that cannot be read.

use super::{found_while_reading, page};
use crate::lint::{Rule, Severity};

pub const RULE: Rule = Rule {
    id: "NS000",
    name: "unreadable",
    severity: Severity::Error,
    summary: "a manifest that cannot be read, or that an API server would refuse",
    neighbours: &[],
    page: page!("NS000"),
    check: found_while_reading,
};
