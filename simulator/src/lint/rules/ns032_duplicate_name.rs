//! NS032: two objects of one name.

use super::page;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::object::Path;

pub const RULE: Rule = Rule {
    id: "NS032",
    name: "duplicate-name",
    severity: Severity::Error,
    summary: "two objects of the same kind, namespace and name",
    neighbours: &[],
    page: page!("NS032"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let path = Path::default().key("metadata").key("name");
    let twins = context.twins.iter().map(|twin| {
        let (message, help) = match twin.alike {
            true => (
                format!("{} is there twice, and both say the same of what policies look at", twin.object),
                "remove one of them, before somebody changes only one",
            ),
            false => (
                format!("{} is there twice: this one counts, the one before it has no effect", twin.object),
                "give one of them another name, or put them together: applied in turn, the last one replaces the other",
            ),
        };
        let first = twin.first.place_of(&path);
        Found::new(twin.object.clone(), &twin.again, path.clone(), message).help(help).related("the first", first)
    });
    twins.collect()
}
