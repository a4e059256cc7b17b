//! A difference for programs: `docs/schemas/diff.schema.json`.

use super::{Names, Places, fate_word, lines, notes, rule_fate, word};
use crate::load::Loaded;
use crate::report::answer_json::{ForeignJson, SCHEMA_VERSION};
use netsim_shared::compile::EndpointId;
use netsim_shared::diagnostic::Place;
use netsim_shared::difference::{Both, Cause, Change, Difference, Fate, Lone, Reason, Say, Unit, UnitId};
use netsim_shared::list::{Entity, Reach};
use netsim_shared::net::{Family, to_blocks};
use netsim_shared::object::Path;
use netsim_shared::policy::Direction;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

/// Writes it, a change a line.
pub fn write(out: &mut dyn Write, difference: &Difference, sides: Both<&Loaded>) -> io::Result<()> {
    let counts = difference.counts();
    let counts = json!({
        "opened": counts.opened,
        "closed": counts.closed,
        "changed": counts.changed,
        "incomplete": counts.incomplete,
        "unknown": counts.unknown,
        "added": difference.lone.new.names.len(),
        "removed": difference.lone.old.names.len(),
    });
    let (names, mut places) = (Names::new(difference), Places::default());
    let mut causes = Causes::default();
    write!(out, "{{\"schemaVersion\":\"{SCHEMA_VERSION}\",\"counts\":{counts},\"changes\":[")?;
    for (i, change) in difference.changes.iter().enumerate() {
        write!(
            out,
            "{}{}",
            if i > 0 { ",\n" } else { "\n" },
            change_json(difference, change, &names, &mut places, &mut causes)
        )?;
    }
    write!(out, "\n],\"causes\":[")?;
    for (i, cause) in causes.in_order().into_iter().enumerate() {
        write!(out, "{}{}", if i > 0 { ",\n" } else { "\n" }, cause_json(difference, cause, &mut places))?;
    }
    let used = used(&difference.changes, |change| &change.destinations);
    let named = used.into_iter().filter_map(|id| difference.destinations.get(id as usize));
    let named: Vec<&str> = named.filter(|unit| unit.pattern.is_some()).map(|unit| unit.name.as_str()).collect();
    write!(out, "\n],\"names\":{}", json!(named))?;
    write!(out, ",\"groups\":{},\"policies\":{}", groups(difference, sides), policies(difference, &mut places))?;
    for (key, lone) in [("added", &difference.lone.new), ("removed", &difference.lone.old)] {
        write!(out, ",\n\"{key}\":{}", lone_json(lone))?;
    }
    let foreign = difference
        .foreign
        .map(|list| list.iter().map(|p| json!(ForeignJson::from(p.as_ref()))).collect::<Vec<Value>>());
    let incomplete = json!({"old": foreign.old, "new": foreign.new});
    writeln!(out, ",\n\"incomplete\":{incomplete},\"notes\":{}}}", json!(notes(difference)))
}

fn ranges(reach: &Reach) -> Value {
    let range = |(range, family): (netsim_shared::ports::PortRange, Option<Family>)| {
        let mut value = json!(range);
        if let (Some(fields), Some(family)) = (value.as_object_mut(), family) {
            fields.insert("family".to_owned(), family.as_str().into());
        }
        value
    };
    reach.ranges().map(range).collect()
}

/// The names of units; addresses outside as their blocks.
fn names(units: &[Unit], ids: &[UnitId]) -> Vec<String> {
    let units = ids.iter().filter_map(|id| units.get(*id as usize));
    let names = units.flat_map(|unit| match &unit.outside {
        Some((family, ranges)) => {
            ranges.iter().flat_map(|range| to_blocks(*family, *range)).map(|net| net.to_string()).collect()
        }
        None => vec![unit.name.clone()],
    });
    names.collect()
}

/// The causes of all changes, numbered: changes have many in common.
#[derive(Default)]
struct Causes<'d>(HashMap<(*const Cause, &'d [UnitId]), (usize, &'d Reason)>);

impl<'d> Causes<'d> {
    fn number(&mut self, reason: &'d Reason) -> usize {
        let next = self.0.len();
        self.0.entry((Arc::as_ptr(&reason.cause), &reason.of)).or_insert((next, reason)).0
    }

    fn in_order(self) -> Vec<&'d Reason> {
        let mut all: Vec<(usize, &Reason)> = self.0.into_values().collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, reason)| reason).collect()
    }
}

fn change_json<'d>(
    difference: &Difference,
    change: &'d Change,
    known: &Names<'_>,
    places: &mut Places,
    causes: &mut Causes<'d>,
) -> Value {
    let mut value = Map::new();
    value.insert("kind".to_owned(), word(change.kind).into());
    value.insert("sources".to_owned(), names(&difference.sources, &change.sources).into());
    value.insert("destinations".to_owned(), names(&difference.destinations, &change.destinations).into());
    for (key, reach) in [("opened", &change.gained), ("closed", &change.lost), ("unknown", &change.unknown)] {
        if !reach.is_empty() {
            value.insert(key.to_owned(), ranges(reach));
        }
    }
    let numbers: Vec<usize> = change.reasons.iter().map(|reason| causes.number(reason)).collect();
    value.insert("causes".to_owned(), numbers.into());
    let said = lines(difference, known, change, places);
    let said: Vec<String> = said.into_iter().map(|line| format!("{}: {}", line.about, line.text)).collect();
    value.insert("reasons".to_owned(), said.into());
    value.insert("incomplete".to_owned(), change.incomplete.into());
    value.into()
}

fn cause_json(difference: &Difference, reason: &Reason, places: &mut Places) -> Value {
    match &*reason.cause {
        Cause::OwnNode { gained } => {
            json!({"ownNode": if *gained { "new" } else { "old" }, "of": names(&difference.sources, &reason.of)})
        }
        Cause::Policies { direction, gained, ports, before, after } => json!({
            "direction": direction.field(),
            "of": names(match direction {
                Direction::Egress => &difference.sources,
                Direction::Ingress => &difference.destinations,
            }, &reason.of),
            "effect": if *gained { "opened" } else { "closed" },
            "ports": ranges(ports),
            "old": say(difference, before, false, places),
            "new": say(difference, after, true, places),
        }),
    }
}

fn say(difference: &Difference, say: &Say, is_new: bool, places: &mut Places) -> Value {
    let at = |place: Option<Place>, value: &mut Value| {
        if let (Some(place), Some(fields)) = (place, value.as_object_mut()) {
            fields.insert("file".to_owned(), place.source.as_ref().into());
            fields.insert("line".to_owned(), place.line.into());
        }
    };
    match say {
        Say::NotIsolated => json!({"allowed": true, "isolatedBy": [], "allowedBy": []}),
        Say::Allowed(rules) => {
            let rules = rules.iter().map(|rule| {
                let (namespace, name) = (&rule.policy.namespace, &rule.policy.name);
                let fate = rule_fate(difference, rule, is_new);
                let path = rule.path();
                let mut value = json!({"namespace": namespace, "name": name, "path": path.to_string(), "fate": fate});
                at(places.of(&rule.policy, &path), &mut value);
                value
            });
            let rules: Vec<Value> = rules.collect();
            json!({"allowed": true, "isolatedBy": [], "allowedBy": rules})
        }
        Say::Denied(policies) => {
            let policies = policies.iter().map(|policy| {
                let fate = fate_word(difference.fate(policy));
                let mut value = json!({"namespace": policy.namespace, "name": policy.name, "fate": fate});
                at(places.of(policy, &Path::default()), &mut value);
                value
            });
            let policies: Vec<Value> = policies.collect();
            json!({"allowed": false, "isolatedBy": policies, "allowedBy": []})
        }
    }
}

/// The names of changes that stand for several pods.
fn groups(difference: &Difference, sides: Both<&Loaded>) -> Value {
    let keys = |side: &Loaded, ids: &[EndpointId]| -> Vec<String> {
        let mut keys: Vec<String> =
            ids.iter().filter_map(|id| Some(side.compiled.entry(*id)?.endpoint.key.to_string())).collect();
        keys.sort();
        keys
    };
    let mut groups = Vec::new();
    for (role, units, used) in [
        ("source", &difference.sources, used(&difference.changes, |change| &change.sources)),
        ("destination", &difference.destinations, used(&difference.changes, |change| &change.destinations)),
    ] {
        for unit in used.into_iter().filter_map(|id| units.get(id as usize)) {
            let (old, new) = (keys(sides.old, &unit.members.old), keys(sides.new, &unit.members.new));
            if unit.namespace.is_some() && [&old, &new].iter().any(|list| **list != [unit.name.clone()]) {
                groups.push(json!({"name": unit.name, "role": role, "old": old, "new": new}));
            }
        }
    }
    groups.into()
}

fn used(changes: &[Change], ids: fn(&Change) -> &Vec<UnitId>) -> BTreeSet<UnitId> {
    changes.iter().flat_map(ids).copied().collect()
}

fn policies(difference: &Difference, places: &mut Places) -> Value {
    let mut list = Vec::new();
    for ((namespace, name), both) in &difference.policies {
        let Some(policy) = both.new.as_ref().or(both.old.as_ref()) else { continue };
        let fate: Fate = difference.fate(policy);
        let mut value = json!({"namespace": namespace, "name": name, "fate": fate_word(fate)});
        if let (Some(place), Some(fields)) = (places.of(policy, &Path::default()), value.as_object_mut()) {
            fields.insert("file".to_owned(), place.source.as_ref().into());
            fields.insert("line".to_owned(), place.line.into());
        }
        list.push(value);
    }
    list.into()
}

fn lone_json(lone: &Lone) -> Value {
    let names = |entity: &Entity| -> Vec<String> {
        if entity.blocks.is_empty() { vec![entity.name.clone()] } else { entity.blocks.clone() }
    };
    let mut connections = Vec::new();
    for pair in &lone.pairs {
        let (Some(source), Some(destination)) =
            (lone.sources.get(pair.source), lone.destinations.get(pair.destination))
        else {
            continue;
        };
        connections.push(json!({
            "sources": names(source),
            "destinations": names(destination),
            "ports": ranges(&pair.reach),
            "unknown": pair.unknown,
        }));
    }
    json!({"workloads": lone.names, "connections": connections})
}
