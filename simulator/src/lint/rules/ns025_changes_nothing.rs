//! NS025: rules and policies that others make superfluous.

use super::covers::{Cover, Line, lines_of, selector_implies};
use super::page;
use super::parts::fewest;
use super::peers::rule_path;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::default_deny::allows_everything;
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy};
use std::collections::{BTreeMap, HashSet};

pub const RULE: Rule = Rule {
    id: "NS025",
    name: "changes-nothing",
    severity: Severity::Info,
    summary: "a rule or policy without which everything would be as it is",
    neighbours: &[],
    page: page!("NS025"),
    check,
};

fn check(context: &Context<'_>) -> Vec<Found> {
    let covers = Direction::ALL.map(|direction| Cover::new(context, context.compiled.side(direction)));
    let mut by_namespace: BTreeMap<&str, Neighbourhood<'_, '_>> = BTreeMap::new();
    for cover in &covers {
        for slot in cover.side.slots() {
            let here = by_namespace.entry(slot.policy.namespace.as_ref()).or_default();
            let lines = lines_of(slot, cover.side).into_iter();
            // What covers because it allows everything is NS009's matter.
            let lines = lines.map(|line| (line, allows_everything(context.compiled, line.rule))).collect();
            here.parts.push(Part { policy: slot.policy.as_ref(), cover, lines });
        }
    }
    by_namespace.into_values().flat_map(Neighbourhood::judge).collect()
}

/// A policy in one direction.
struct Part<'x, 'c> {
    policy: &'x NetworkPolicy,
    cover: &'x Cover<'x, 'c>,
    /// Its rules, and whether they allow everything.
    lines: Vec<(Line<'x>, bool)>,
}

/// The policies of a namespace, and what of them was found superfluous so far: of two that say the
/// same one must stay.
#[derive(Default)]
struct Neighbourhood<'x, 'c> {
    parts: Vec<Part<'x, 'c>>,
    gone: HashSet<(Direction, *const NetworkPolicy, usize)>,
}

/// Why something is superfluous.
struct Reason<'l, 'c> {
    /// The rules that allow what it allows.
    rules: Vec<&'l Line<'c>>,
    /// Whether it allows all that the one rule allows, too.
    mutual: bool,
}

impl<'x, 'c> Neighbourhood<'x, 'c> {
    fn judge(mut self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut policies: Vec<&NetworkPolicy> = self.parts.iter().map(|part| part.policy).collect();
        // Of two that say the same a NetworkPolicy stays: every provider knows that kind.
        policies.sort_by(|a, b| (b.kind, &b.name).cmp(&(a.kind, &a.name)));
        policies.dedup_by(|a, b| a.name == b.name);
        policies.retain(|policy| match self.policy(policy) {
            Some(finding) => {
                found.push(finding);
                self.parts.retain(|part| part.policy.name != policy.name);
                false
            }
            None => true,
        });
        for policy in policies {
            for at in (0..self.parts.len()).rev() {
                found.extend(self.rules(policy, at));
            }
        }
        found
    }

    /// The rules of parts of policies that are for all the pods of a policy, but for those that
    /// were found superfluous or allow everything.
    fn beside<'s>(&'s self, part: &'s Part<'x, 'c>) -> impl Iterator<Item = &'s Line<'x>> {
        let wide = self.parts.iter().filter(|other| {
            other.cover.side.direction == part.cover.side.direction
                && selector_implies(&part.policy.pod_selector, &other.policy.pod_selector)
        });
        let lines = wide.flat_map(|other| other.lines.iter().filter(|(_, open)| !open).map(|(line, _)| line));
        lines.filter(|line| {
            !self.gone.contains(&(part.cover.side.direction, std::ptr::from_ref(line.policy), line.number))
        })
    }

    /// What is told about a policy without which everything would be as it is.
    fn policy(&self, policy: &NetworkPolicy) -> Option<Found> {
        let mut isolating: Vec<&NetworkPolicy> = Vec::new();
        let mut rules: Vec<&Line<'_>> = Vec::new();
        for part in self.parts.iter().filter(|part| part.policy.name == policy.name) {
            let direction = part.cover.side.direction;
            // A policy that only denies is replaced by another one of that kind alone: one with rules
            // isolates too, but goes when its rules are not needed any more.
            let mut wide = self.parts.iter().filter(|other| {
                other.policy.name != policy.name
                    && other.cover.side.direction == direction
                    && selector_implies(&policy.pod_selector, &other.policy.pod_selector)
                    && (!part.lines.is_empty() || other.lines.is_empty())
            });
            isolating.push(wide.next()?.policy);
            let others: Vec<&Line<'_>> = self.beside(part).filter(|line| line.policy.name != policy.name).collect();
            for (line, _) in &part.lines {
                rules.extend(reason(part.cover, &others, line)?.rules);
            }
        }
        let mut helpers = if rules.is_empty() { isolating } else { rules.iter().map(|line| line.policy).collect() };
        helpers.sort_by(|a, b| a.name.cmp(&b.name));
        helpers.dedup_by(|a, b| a.name == b.name);
        let names: Vec<&str> = helpers.iter().map(|helper| helper.name.as_ref()).collect();
        let does = match (rules.is_empty(), names.len()) {
            (true, _) => "denies the same",
            (false, 1) => "isolates the same pods and allows the same or more",
            (false, _) => "isolate the same pods and together allow the same or more",
        };
        let message = format!("this policy changes nothing: {} {does}", names.join(", "));
        let path = Path::default().key("metadata").key("name");
        let found = Found::in_policy(policy, path, message)
            .help("remove it, unless it is there for the reader; what is named must stay then");
        Some(helpers.into_iter().fold(found, |found, helper| {
            found.related(format!("{} stays", helper.name), helper.origin.place_of(&Path::spec()))
        }))
    }

    /// What is told about the rules of a part of a policy.
    fn rules(&mut self, policy: &NetworkPolicy, at: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let Some(count) = self.parts.get(at).filter(|part| part.policy.name == policy.name).map(|p| p.lines.len())
        else {
            return found;
        };
        for number in (0..count).rev() {
            let Some(part) = self.parts.get(at) else { continue };
            let Some((line, _)) = part.lines.get(number) else { continue };
            let same = |other: &Line<'_>| std::ptr::eq(other.policy, line.policy) && other.number == line.number;
            let others: Vec<&Line<'_>> = self.beside(part).filter(|other| !same(other)).collect();
            let Some(reason) = reason(part.cover, &others, line) else { continue };
            let direction = part.cover.side.direction;
            found.push(told(line, direction, &reason));
            let key = (direction, std::ptr::from_ref(line.policy), number);
            self.gone.insert(key);
        }
        found
    }
}

/// The rules that make a rule superfluous, as few as are found easily.
fn reason<'l, 'c>(cover: &Cover<'_, '_>, others: &[&'l Line<'c>], line: &Line<'_>) -> Option<Reason<'l, 'c>> {
    if !cover.covers(others, line) {
        return None;
    }
    let rules = fewest(others, |fewer| cover.covers(fewer, line));
    let mutual = match rules.as_slice() {
        [one] => selector_implies(&one.policy.pod_selector, &line.policy.pod_selector) && cover.covers(&[line], one),
        _ => false,
    };
    Some(Reason { rules, mutual })
}

fn told(line: &Line<'_>, direction: Direction, reason: &Reason<'_, '_>) -> Found {
    let name = |other: &Line<'_>| {
        let path = rule_path(direction, other.number);
        match other.policy.name == line.policy.name {
            true => format!("{path} of the same policy"),
            false => format!("{path} of {}", other.policy.name),
        }
    };
    let (message, help) = match (reason.rules.as_slice(), reason.mutual) {
        ([one], true) => (
            format!("this rule says the same as {} for the same pods", name(one)),
            "remove one of the two; the other must stay",
        ),
        ([one], false) => (
            format!("this rule changes nothing: {} allows all of it to the same pods", name(one)),
            "remove it, or narrow the other one if that allows too much",
        ),
        (many, _) => (
            format!("this rule changes nothing: {} other rules together allow all of it to the same pods", many.len()),
            "remove it, or the others if this one says it better",
        ),
    };
    let found = Found::in_policy(line.policy, rule_path(direction, line.number), message).help(help);
    reason.rules.iter().fold(found, |found, other| {
        found.related(name(other), other.policy.origin.place_of(&rule_path(direction, other.number)))
    })
}
