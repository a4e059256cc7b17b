//! What differs in a label cannot reach each other.

use super::check::{Checker, Collected, MAX_CONNECTIONS, Status, Violations};
use super::reach::{Allowance, Scope};
use super::resolve::{Goal, Source, all, allowances, goal, source};
use super::{Except, Isolated, Label};
use crate::compile::{EndpointId, Entry};
use crate::diagnostic::{Diagnostic, nearest};
use crate::evaluate::Party;
use crate::policy::Direction;
use crate::ports::PortSet;
use crate::query::Resolver;
use crate::query::resolve::Destination;
use crate::relation::ClassId;
use crate::selector::Labels;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

/// The number of a value of the label.
type ValueId = u32;

/// An isolation whose words were looked up.
pub(super) struct Ready {
    /// The values of the label, and who has each.
    values: Vec<(String, RoaringBitmap)>,
    except: Vec<Exception>,
    notes: Vec<String>,
}

/// An exception that was looked up.
struct Exception {
    /// Who connects; `None`: everybody.
    from: Option<RoaringBitmap>,
    /// To whom, and on which ports.
    to: Vec<Allowance>,
}

fn value_of(resolver: &Resolver<'_>, entry: &Entry, by: &Label) -> Option<String> {
    let endpoint = &entry.endpoint;
    let labels = match by {
        Label::OfPod(_) => endpoint.labels.clone(),
        Label::OfNamespace(_) => resolver.index.namespace_labels(&endpoint.key.namespace),
    };
    labels.get(by.key()).map(str::to_owned)
}

/// Looks the label and the exceptions up.
///
/// # Errors
/// When nobody has the label, or an exception names somebody who is not there.
pub(super) fn look_up(resolver: &Resolver<'_>, isolated: &Isolated) -> Result<Ready, Vec<Diagnostic>> {
    let mut by_value: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
    let mut without: BTreeSet<String> = BTreeSet::new();
    for (id, entry) in resolver.compiled.entries() {
        match (value_of(resolver, entry, &isolated.by), &isolated.by) {
            (Some(value), _) => _ = by_value.entry(value).or_default().insert(id),
            (None, Label::OfNamespace(_)) => _ = without.insert(entry.endpoint.key.namespace.to_string()),
            (None, Label::OfPod(_)) => _ = without.insert(entry.endpoint.key.to_string()),
        }
    }
    let mut wrong = Vec::new();
    if by_value.is_empty() {
        wrong.push(nobody(resolver, isolated));
    }
    let mut except = Vec::new();
    for exception in &isolated.except {
        match look_up_exception(resolver, exception) {
            Ok(found) => except.push(found),
            Err(diagnostics) => wrong.extend(diagnostics),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut notes = Vec::new();
    let key = isolated.by.key();
    if !without.is_empty() {
        let few: Vec<&str> = without.iter().take(5).map(String::as_str).collect();
        let more = if without.len() > 5 { format!(" and {} more", without.len() - 5) } else { String::new() };
        notes.push(format!("without the label `{key}` and left out: {}{more}", few.join(", ")));
    }
    if let (1, Some(value)) = (by_value.len(), by_value.keys().next()) {
        notes.push(format!("`{key}` has one value only, `{value}`: there is nothing to keep apart"));
    }
    Ok(Ready { values: by_value.into_iter().collect(), except, notes })
}

fn nobody(resolver: &Resolver<'_>, isolated: &Isolated) -> Diagnostic {
    let key = isolated.by.key();
    let (what, labels): (&str, Vec<Labels>) = match &isolated.by {
        Label::OfPod(_) => ("pod", resolver.compiled.entries().map(|(_, e)| e.endpoint.labels.clone()).collect()),
        Label::OfNamespace(_) => {
            let names = resolver.index.namespace_names();
            ("namespace with pods", names.into_iter().map(|name| resolver.index.namespace_labels(name)).collect())
        }
    };
    let keys: BTreeSet<&str> = labels.iter().flat_map(|labels| labels.iter().map(|(key, _)| key)).collect();
    let error = Diagnostic::error(format!("no {what} has the label `{key}`")).at(isolated.place.clone());
    match nearest(key, keys.iter().copied()) {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None if keys.is_empty() => error,
        None => error.help(format!("there is {}", keys.into_iter().take(12).collect::<Vec<_>>().join(", "))),
    }
}

fn look_up_exception(resolver: &Resolver<'_>, except: &Except) -> Result<Exception, Vec<Diagnostic>> {
    let only_pods = |parties: Vec<Party>, who: &super::Who| {
        if parties.iter().all(|party| matches!(party, Party::Endpoint(_))) {
            return Ok(());
        }
        let error = Diagnostic::error(format!("`{}` is not in the cluster", who.shown)).at(who.place.clone());
        Err(error.help("isolation is about pods: exceptions name pods, workloads and Services"))
    };
    let from = except.from.as_ref().map(|from| {
        all(from, |who| {
            let found: Source = source(resolver, who)?;
            only_pods(found.selection.parties.iter().map(|named| named.party).collect(), who)?;
            Ok(found)
        })
    });
    let to = except.to.as_ref().map(|to| {
        all(to, |who| {
            let found: Goal = goal(resolver, who)?;
            match &found.destination {
                Destination::Parties { reached, .. } => only_pods(reached.iter().map(|r| r.who.party).collect(), who)?,
                Destination::Name { .. } => only_pods(vec![OUTSIDE], who)?,
            }
            Ok(found)
        })
    });
    match (from.transpose(), to.transpose()) {
        (Ok(from), Ok(to)) => {
            let endpoint = |party| match party {
                Party::Endpoint(id) => Some(id),
                Party::Address(_) => None,
            };
            let parties = |from: Vec<Source>| {
                let all = from.into_iter().flat_map(|source| source.selection.parties);
                all.filter_map(|named| endpoint(named.party)).collect()
            };
            let everybody = || {
                let endpoints = resolver.compiled.entries().map(|(id, _)| id).collect();
                vec![Allowance { endpoints, ..Allowance::on(PortSet::all()) }]
            };
            Ok(Exception { from: from.map(parties), to: to.map_or_else(everybody, |to| allowances(&to)) })
        }
        (from, to) => Err([from.err(), to.err()].into_iter().flatten().flatten().collect()),
    }
}

/// Some address outside, which a name stands for.
const OUTSIDE: Party = Party::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));

/// What is told apart as a source: its value, its classes, the exceptions that it is in, and itself if it is on its
/// node's network.
type Cell = (ValueId, Vec<Option<ClassId>>, Vec<bool>, Option<EndpointId>);

/// Looks for connections between different values.
pub(super) fn check(checker: &Checker<'_>, resolver: &Resolver<'_>, ready: &Ready, by: &Label, found: &mut Collected) {
    ready.notes.iter().for_each(|note| found.note(note.clone()));
    let labelled: RoaringBitmap = ready.values.iter().fold(RoaringBitmap::new(), |all, (_, some)| all | some);
    let mut cells: BTreeMap<Cell, (EndpointId, usize)> = BTreeMap::new();
    for (number, (_, members)) in (0..).zip(&ready.values) {
        for id in members {
            let classes = checker.reachability().classes_of(Party::Endpoint(id), Direction::Egress);
            let in_exception = |e: &Exception| e.from.as_ref().is_none_or(|from| from.contains(id));
            let exceptions = ready.except.iter().map(in_exception).collect();
            let is_host = resolver.compiled.entry(id).is_some_and(|entry| entry.endpoint.host_network);
            cells.entry((number, classes, exceptions, is_host.then_some(id))).or_insert((id, 0)).1 += 1;
        }
    }
    let mut between: BTreeMap<(ValueId, ValueId), Violations> = BTreeMap::new();
    let mut total: BTreeMap<Status, usize> = BTreeMap::new();
    let mut assumed = false;
    for ((value, _, exceptions, _), (id, count)) in cells {
        let Some((_, own)) = ready.values.get(value as usize) else { continue };
        let others = &labelled - own;
        let in_force = ready.except.iter().zip(&exceptions).filter(|(_, applies)| **applies);
        let fine: Vec<Allowance> = in_force.flat_map(|(exception, _)| exception.to.iter().cloned()).collect();
        let scope = Scope { ports: &PortSet::all(), endpoints: Some(&others), outside: false };
        let beyond = checker.reachability().beyond(Direction::Egress, Party::Endpoint(id), scope, &fine);
        assumed |= beyond.assumed;
        for (status, parts) in [(Status::Failed, beyond.sure), (Status::Unknown, beyond.doubtful)] {
            if parts.is_empty() {
                continue;
            }
            for (number, (_, members)) in (0..).zip(&ready.values) {
                let of_value = parts.iter().map(|(endpoints, ports)| (endpoints & members, ports.clone()));
                for (far, far_count, ports) in checker.ordered(of_value.collect()) {
                    let violations = between.entry((value, number)).or_default();
                    let shown = total.entry(status).or_default();
                    *shown += 1;
                    if *shown > MAX_CONNECTIONS {
                        violations.count(status);
                    } else if let Some(list) = violations.room(status) {
                        let (from, to) = (resolver.name_of(id), resolver.name_of(far));
                        list.push(checker.on_example_port((&from, count), (&to, far_count), &ports));
                    }
                }
            }
        }
    }
    let name = |value: ValueId| {
        let value = ready.values.get(value as usize).map_or("", |(value, _)| value.as_str());
        format!("{}={value}", by.key())
    };
    for ((from, to), violations) in between {
        found.violations(&name(from), &name(to), violations);
    }
    found.assume(assumed);
}
