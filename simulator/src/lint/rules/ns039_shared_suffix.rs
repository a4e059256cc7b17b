//! NS039: wildcards for names that anybody can have, so that data can be sent to anybody.

use super::page;
use super::parts::names;
use super::shared_suffixes::below;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::dns::NamePattern;

pub const RULE: Rule = Rule {
    id: "NS039",
    name: "shared-suffix",
    severity: Severity::Warning,
    summary: "a wildcard for names that anybody can get: storage, content delivery, hosting, public suffixes",
    neighbours: &[],
    page: page!("NS039"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let found = names(context).filter_map(|at| {
        let NamePattern::Below(parent) = at.pattern else { return None };
        let shared = below(parent)?;
        let place = if shared.itself { String::new() } else { format!(" below {}", shared.suffix) };
        let message = format!("`{}` stands for names{place} that anybody can get: {}", at.pattern, shared.what);
        let mut help = "whoever takes such a name can be sent data: write the names that are needed".to_owned();
        if shared.itself {
            help.push_str(&format!(", such as `NAME.{}`", shared.suffix));
        }
        Some(at.found(message).help(help))
    });
    found.collect()
}
