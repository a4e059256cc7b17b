//! NS014: blocks that are written otherwise than they are read.

use super::page;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::ingest::yaml::{Node, Value};
use netsim_shared::net::read_cidr;
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy};

pub const RULE: Rule = Rule {
    id: "NS014",
    name: "cidr-not-canonical",
    severity: Severity::Error,
    summary: "an `ipBlock` with host bits or leading zeros: it is read as another block than it shows",
    neighbours: &[],
    page: page!("NS014"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    // Reading the input notices them all, so most inputs need no second look.
    if !context.diagnostics.iter().any(|diagnostic| diagnostic.rule == Some(RULE.id)) {
        return Vec::new();
    }
    context.index.policies().flat_map(|policy| in_policy(context, policy)).collect()
}

fn in_policy(context: &Context<'_>, policy: &NetworkPolicy) -> Vec<Found> {
    let Some(written) = context.written(policy) else { return Vec::new() };
    let mut cidrs: Vec<(Path, String)> = Vec::new();
    for direction in Direction::ALL {
        for rule in items(&written, &Path::spec().key(direction.field())) {
            for peer in items(&written, &rule.key(direction.peer_field())) {
                let block = peer.key("ipBlock");
                let paths = [block.key("cidr")].into_iter().chain(items(&written, &block.key("except")));
                cidrs.extend(paths.filter_map(|path| {
                    let text = written.at(&path.0)?.text()?.into_owned();
                    Some((path, text))
                }));
            }
        }
    }
    let found = |(path, text): (Path, String)| {
        let read = read_cidr(&text).ok().filter(|read| read.lenient)?;
        let message = format!("`{text}` is not canonical: it is read as `{}`", read.net);
        let help = format!("write `{}`, or correct it if another block is meant", read.net);
        Some(Found::in_policy(policy, path, message).help(help))
    };
    cidrs.into_iter().filter_map(found).collect()
}

/// The paths of the items of a list; none where there is no list.
fn items(written: &Node<'_>, list: &Path) -> Vec<Path> {
    match written.at(&list.0).map(|node| &node.value) {
        Some(Value::List(items)) => (0..items.len()).map(|index| list.index(index)).collect(),
        _ => Vec::new(),
    }
}
