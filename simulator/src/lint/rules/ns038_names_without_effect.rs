//! NS038: names that restrict nothing, because the same pods may go to every public address anyway (A3).
//!
//! Judged by effect: by what all rules for the same pods come to on the addresses that a name can stand for (G5).

use super::covers::selector_implies;
use super::page;
use super::parts::{RuleAt, fewest, overlap, rules_of};
use super::peers::rule_path;
use super::words::objects;
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::compile::blocks::CidrClassId;
use netsim_shared::compile::side::{CompiledRule, GroupId, PolicySlot, Side};
use netsim_shared::compile::{EndpointId, pod_cidrs};
use netsim_shared::dns::refuse::public_ranges;
use netsim_shared::net::{AddressRange, Family, family_of, without};
use netsim_shared::policy::{Direction, PolicyKind};
use netsim_shared::ports::{PortRange, PortSet, Protocol};
use std::collections::{BTreeMap, BTreeSet};

pub const RULE: Rule = Rule {
    id: "NS038",
    name: "names-without-effect",
    severity: Severity::Warning,
    summary: "names beside a rule that lets the same pods connect to every public address",
    neighbours: &[],
    page: page!("NS038"),
    check,
};

/// Lookups: that they may go to any server undoes no list of names.
const DNS: u16 = 53;

fn check(context: &Context<'_>) -> Vec<Found> {
    let side = context.compiled.side(Direction::Egress);
    let named: Vec<&PolicySlot> = side.slots().filter(|slot| holds_names(slot)).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let judge = Judge { context, side, public: public_classes(context, side) };
    let mut known = BTreeMap::new();
    named.into_iter().flat_map(|slot| judge.policy(slot, &mut known)).collect()
}

fn holds_names(slot: &PolicySlot) -> bool {
    slot.policy.kind == PolicyKind::EgressDomainPolicy
}

/// The classes of the addresses that names can stand for, of each family in use.
fn public_classes(context: &Context<'_>, side: &Side) -> Vec<(Family, BTreeSet<CidrClassId>)> {
    let pods = pod_cidrs(context.index, context.compiled.modes());
    let of_family = |family: Family| {
        let inside: Vec<AddressRange> =
            pods.iter().filter(|net| family_of(net) == family).map(|net| AddressRange::from(*net)).collect();
        let public: Vec<AddressRange> =
            public_ranges(family).into_iter().flat_map(|range| without(range, &inside)).collect();
        let ranges = side.blocks.ranges(family);
        let ranges = ranges.filter(|(range, _)| public.iter().any(|public| overlap(range, public)));
        (family, ranges.map(|(_, class)| class).collect())
    };
    context.compiled.families().iter().map(|family| of_family(*family)).collect()
}

/// A rule of another policy: its policy and number.
#[derive(Clone, Copy)]
struct Line<'c> {
    slot: &'c PolicySlot,
    number: usize,
    rule: &'c CompiledRule,
}

impl PartialEq for Line<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule)
    }
}

/// What is open to some pods beside the names.
#[derive(Clone)]
struct Beside<'c> {
    lines: Vec<Line<'c>>,
    open: Vec<(Family, PortSet)>,
}

/// Why names restrict nothing for some pods.
struct Undone<'c> {
    families: Vec<Family>,
    ports: PortSet,
    by: Vec<Line<'c>>,
    pods: BTreeSet<EndpointId>,
}

struct Judge<'x, 'c> {
    context: &'x Context<'c>,
    side: &'c Side,
    public: Vec<(Family, BTreeSet<CidrClassId>)>,
}

impl<'c> Judge<'_, 'c> {
    fn policy(&self, slot: &'c PolicySlot, known: &mut BTreeMap<GroupId, Beside<'c>>) -> Vec<Found> {
        let selected = self.context.selected(&slot.policy);
        let mut groups: BTreeMap<GroupId, BTreeSet<EndpointId>> = BTreeMap::new();
        for id in selected {
            if let Some(entry) = self.context.compiled.entry(*id) {
                groups.entry(entry.egress).or_default().insert(*id);
            }
        }
        let mut beside: Vec<(Beside<'c>, BTreeSet<EndpointId>)> = Vec::new();
        for (group, pods) in groups {
            let found = known.entry(group).or_insert_with(|| self.beside(self.side.policies_of(group)));
            beside.push((found.clone(), pods));
        }
        if beside.is_empty() {
            // Without pods what is surely for the same ones counts.
            let wide = self.side.slots().filter(|other| {
                other.policy.namespace == slot.policy.namespace
                    && selector_implies(&slot.policy.pod_selector, &other.policy.pod_selector)
            });
            beside.push((self.beside(wide), BTreeSet::new()));
        }
        let rules = rules_of(&slot.policy).zip(&slot.rules);
        rules.flat_map(|(at, compiled)| self.rule(&at, compiled, &beside, selected.len())).collect()
    }

    fn beside(&self, slots: impl Iterator<Item = &'c PolicySlot>) -> Beside<'c> {
        let others = slots.filter(|slot| !holds_names(slot));
        let lines =
            others.flat_map(|slot| (0..).zip(&slot.rules).map(move |(number, rule)| Line { slot, number, rule }));
        let lines: Vec<Line<'c>> = lines.collect();
        let open = self.public.iter().map(|(family, classes)| (*family, self.open(&lines, classes))).collect();
        Beside { lines, open }
    }

    /// The ports that rules allow to every address of some classes.
    fn open(&self, lines: &[Line<'_>], classes: &BTreeSet<CidrClassId>) -> PortSet {
        let mut open = PortSet::all();
        for class in classes {
            let peer = self.side.outside_peer(*class);
            let having = lines.iter().filter(|line| self.side.rule_has_peer(line.rule, &peer));
            let ports = having.fold(PortSet::EMPTY, |all, line| all.union(&line.rule.ports));
            open = open.intersection(&ports);
            if open.is_empty() {
                break;
            }
        }
        open
    }

    fn rule(
        &self,
        at: &RuleAt<'_>,
        compiled: &CompiledRule,
        beside: &[(Beside<'c>, BTreeSet<EndpointId>)],
        selected: usize,
    ) -> Vec<Found> {
        let mut all: Vec<Undone<'c>> = Vec::new();
        for (beside, pods) in beside {
            for ((family, open), (_, classes)) in beside.open.iter().zip(&self.public) {
                let ports = what_counts(&compiled.ports, open);
                let having: BTreeSet<EndpointId> =
                    pods.iter().copied().filter(|id| self.has_family(*id, *family)).collect();
                if ports.is_empty() || having.is_empty() != pods.is_empty() {
                    continue;
                }
                let enough = |lines: &[Line<'_>]| ports.difference(&self.open(lines, classes)).is_empty();
                let by = fewest(&beside.lines, enough);
                let same = |undone: &&mut Undone<'_>| undone.ports == ports && undone.by == by;
                match all.iter_mut().find(same) {
                    Some(undone) => {
                        undone.pods.extend(having);
                        if !undone.families.contains(family) {
                            undone.families.push(*family);
                        }
                    }
                    None => all.push(Undone { families: vec![*family], ports, by, pods: having }),
                }
            }
        }
        all.iter().map(|undone| self.told(at, compiled, undone, selected)).collect()
    }

    fn has_family(&self, id: EndpointId, family: Family) -> bool {
        self.context.compiled.entry(id).is_some_and(|entry| entry.as_peer.get(family).is_some())
    }

    fn told(&self, at: &RuleAt<'_>, compiled: &CompiledRule, undone: &Undone<'_>, selected: usize) -> Found {
        let name =
            |line: &Line<'_>| format!("{} of {}", rule_path(Direction::Egress, line.number), line.slot.policy.name);
        let ports = if undone.ports.is_all() { "every port".to_owned() } else { undone.ports.to_string() };
        let whole = undone.ports == compiled.ports;
        let (who, what) = match undone.by.as_slice() {
            [one] => (format!("{} lets", name(one)), "that rule"),
            many => (format!("{} rules together let", many.len()), "these rules"),
        };
        let pods = if undone.pods.len() == selected {
            "the same pods".to_owned()
        } else {
            let carriers = self.context.carriers(undone.pods.iter().copied());
            objects(carriers.iter().map(|(carrier, _)| &carrier.object))
        };
        let family = match undone.families.as_slice() {
            [one] if self.public.len() > 1 => format!("{one} address"),
            _ => "address".to_owned(),
        };
        let open = format!("{who} {pods} connect to every public {family}");
        let message = match whole {
            true => format!("names restrict nothing here: {open} on {ports}"),
            false => format!("on {ports} names restrict nothing: {open}"),
        };
        let help = format!(
            "rules add up: narrow {what}, so that the names count, or remove this one if everything is to be open"
        );
        let found = at.found(at.path().key("to"), message).help(help);
        undone.by.iter().fold(found, |found, line| {
            let policy = &line.slot.policy;
            found.related(name(line), policy.origin.place_of(&rule_path(Direction::Egress, line.number)))
        })
    }
}

/// The ports of a rule on which names are worth nothing.
fn what_counts(ports: &PortSet, open: &PortSet) -> PortSet {
    let both = ports.intersection(open);
    if both == *ports {
        return both;
    }
    let lookups = [Protocol::Udp, Protocol::Tcp].map(|protocol| PortRange::single(protocol, DNS));
    both.difference(&lookups.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &[PortRange]) -> PortSet {
        list.iter().copied().collect()
    }

    #[test]
    fn that_lookups_are_open_undoes_no_names() {
        let (web, lookups) = (PortRange::single(Protocol::Tcp, 443), PortRange::single(Protocol::Udp, DNS));
        let counts = |rule: &PortSet, open: &[PortRange]| what_counts(rule, &ports(open));
        assert_eq!(counts(&PortSet::all(), &[lookups]), PortSet::EMPTY);
        assert_eq!(counts(&PortSet::all(), &[lookups, web]), ports(&[web]));
        assert_eq!(counts(&ports(&[lookups]), &[lookups]), ports(&[lookups]));
        assert_eq!(counts(&ports(&[web]), &[lookups]), PortSet::EMPTY);
    }
}
