//! A difference of two clusters, one file a form; here what the forms have in common.

pub mod json;
pub mod markdown;
pub mod text;

use super::diagnostics::foreign_name;
use super::summary::{Whole, shortened};
use crate::load::source::is_live;
use netsim_shared::diagnostic::Place;
use netsim_shared::difference::{
    Both, Cause, Change, Difference, Fate, Kind, Lone, LonePair, Reason, Say, Unit, UnitId,
};
use netsim_shared::evaluate::RuleRef;
use netsim_shared::list::{Entity, Reach};
use netsim_shared::net::{AddressRange, Family};
use netsim_shared::object::{ForeignPolicy, Path};
use netsim_shared::policy::{Direction, NetworkPolicy};
use netsim_shared::ports::PortSet;
use netsim_shared::query::resolve::blocks_name;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How many names of a namespace are shown before `and N more`.
const SHOWN: usize = 5;
/// How many namespaces are shown where connections come from or go to.
const NAMESPACES: usize = 10;
/// How many of those that a reason is about are shown.
const CONCERNED: usize = 3;
/// How many policies of which the same is said have a line of their own, with their place.
const LINES_ALIKE: usize = 3;
/// How many lines of reasons are shown for each direction.
const LINES: usize = 8;

/// The word for what became of connections.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Opened => "opened",
        Kind::Closed => "closed",
        Kind::Changed => "changed",
        Kind::Unknown => "unknown",
    }
}

/// `2 things`, `1 thing`
pub fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// The difference in one line.
pub fn headline(difference: &Difference) -> String {
    let counts = difference.counts();
    let mut parts = Vec::new();
    let mut told = false;
    for (n, what) in [
        (counts.opened, "opened"),
        (counts.closed, "closed"),
        (counts.changed, "on other ports"),
        (counts.incomplete, "changed, but incomplete"),
        (counts.unknown, "unknown"),
    ] {
        if n > 0 {
            parts.push(if told { format!("{n} {what}") } else { format!("{} {what}", count(n, "connection")) });
            told = true;
        }
    }
    if !told {
        parts.push("no connection changed".to_owned());
    }
    for (lone, what) in [(&difference.lone.new, "added"), (&difference.lone.old, "removed")] {
        if !lone.names.is_empty() {
            parts.push(format!("{} {what}", count(lone.names.len(), "workload")));
        }
    }
    parts.join(", ")
}

/// Which policies are not the same on both sides, if any.
pub fn policies(difference: &Difference) -> Option<String> {
    let mut by_fate: BTreeMap<Fate, Vec<String>> = BTreeMap::new();
    for ((namespace, name), both) in &difference.policies {
        let Some(policy) = both.new.as_ref().or(both.old.as_ref()) else { continue };
        by_fate.entry(difference.fate(policy)).or_default().push(format!("{namespace}/{name}"));
    }
    let parts: Vec<String> =
        by_fate.into_iter().map(|(fate, names)| format!("{} {}", fate_word(fate), shortened(&names, SHOWN))).collect();
    (!parts.is_empty()).then(|| format!("policies: {}", parts.join("; ")))
}

/// The word for what became of a policy.
pub fn fate_word(fate: Fate) -> &'static str {
    match fate {
        Fate::Added => "added",
        Fate::Removed => "removed",
        Fate::Changed => "changed",
        Fate::Same => "unchanged",
    }
}

/// Names of sources and destinations in few words.
pub struct Names<'d> {
    difference: &'d Difference,
    sources: Whole<'d>,
    destinations: Whole<'d>,
}

impl<'d> Names<'d> {
    /// Of a difference.
    pub fn new(difference: &'d Difference) -> Self {
        fn whole(units: &[Unit]) -> Whole<'_> {
            let but_names = units.iter().filter(|unit| unit.pattern.is_none());
            Whole::new(but_names.map(|unit| unit.namespace.as_deref()), SHOWN)
        }
        Names { difference, sources: whole(&difference.sources), destinations: whole(&difference.destinations) }
    }

    /// Where connections come from.
    pub fn sources(&self, change: &Change) -> String {
        few(&self.sources, &self.difference.sources, &change.sources, NAMESPACES)
    }

    /// Where they go.
    pub fn destinations(&self, change: &Change) -> String {
        few(&self.destinations, &self.difference.destinations, &change.destinations, NAMESPACES)
    }

    /// Whose egress or ingress something is said of; nothing where it is that of all in a change.
    fn concerned(&self, change: &Change, direction: Direction, ids: &[UnitId]) -> Option<String> {
        let (whole, units, all) = match direction {
            Direction::Egress => (&self.sources, &self.difference.sources, &change.sources),
            Direction::Ingress => (&self.destinations, &self.difference.destinations, &change.destinations),
        };
        (ids.len() < all.len()).then(|| few(whole, units, ids, CONCERNED))
    }
}

/// The first namespaces, and how many there are more; where there are more, with one name each.
fn few(whole: &Whole<'_>, all: &[Unit], ids: &[UnitId], most: usize) -> String {
    let parts_by = |whole: &Whole<'_>| parts(whole, all, ids);
    let told = parts_by(whole);
    if told.len() <= most { told.join(", ") } else { shortened(&parts_by(&whole.showing(1)), most) }
}

/// Addresses outside are told as the blocks that they make up together.
fn parts(whole: &Whole<'_>, all: &[Unit], ids: &[UnitId]) -> Vec<String> {
    let units: Vec<&Unit> = ids.iter().filter_map(|id| all.get(*id as usize)).collect();
    let mut ranges: BTreeMap<Family, Vec<AddressRange>> = BTreeMap::new();
    let mut outside = 0;
    for (family, more) in units.iter().filter_map(|unit| unit.outside.as_ref()) {
        outside += 1;
        ranges.entry(*family).or_default().extend(more);
    }
    let merged: Vec<String> = if outside > 0 && outside == whole.outside() {
        units.iter().filter(|unit| unit.outside.is_some()).map(|unit| unit.name.clone()).collect()
    } else {
        ranges.into_iter().map(|(family, ranges)| blocks_name(family, &joined(ranges))).collect()
    };
    let inside = units.iter().filter(|unit| unit.namespace.is_some());
    let mut parts = whole.parts(inside.map(|unit| (unit.namespace.as_deref(), unit.name.as_str())), None);
    let named: Vec<&str> = units.iter().filter(|unit| unit.pattern.is_some()).map(|unit| unit.name.as_str()).collect();
    if !named.is_empty() {
        parts.push(shortened(&named, SHOWN));
    }
    parts.extend(whole.parts(merged.iter().map(|name| (None, name.as_str())), None));
    parts
}

/// Ranges that follow one another are one.
fn joined(mut ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    ranges.sort_unstable();
    let mut out: Vec<AddressRange> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.last.checked_add(1) == Some(range.first) => last.last = range.last,
            _ => out.push(range),
        }
    }
    out
}

/// What became of the ports.
pub fn ports(change: &Change) -> String {
    match change.kind {
        Kind::Opened => ports_of(&change.gained),
        Kind::Closed => ports_of(&change.lost),
        Kind::Unknown => ports_of(&change.unknown),
        Kind::Changed => {
            let parts = [("opened", &change.gained), ("closed", &change.lost)];
            let parts = parts.iter().filter(|(_, reach)| !reach.is_empty());
            parts.map(|(word, reach)| format!("{word} {}", ports_of(reach))).collect::<Vec<_>>().join("; ")
        }
    }
}

/// Ports in few words: nearly all are told by those that are not among them.
fn ports_of(reach: &Reach) -> String {
    let others = PortSet::all().difference(&reach.ports);
    if reach.in_one_family.is_empty() && !others.is_empty() && others.ranges().len() < reach.ports.ranges().len() {
        format!("all but {others}")
    } else {
        reach.to_string()
    }
}

/// What is told as one.
pub struct Entry<'d> {
    /// What became of which connections. Where several changes are told as one, not each source has to
    /// have to do with each destination.
    pub change: Cow<'d, Change>,
    /// How many connections it stands for.
    connections: usize,
}

impl Entry<'_> {
    /// How many connections there are, and of how many that could be; nothing where it goes without saying.
    pub fn size(&self, difference: &Difference) -> Option<String> {
        let all = difference.count(&self.change);
        match self.connections {
            _ if self.change.kind == Kind::Unknown => None,
            n if n < all => Some(format!("{n} of {}", count(all, "connection"))),
            n if n > 1 => Some(count(n, "connection")),
            _ => None,
        }
    }
}

/// What is told: each change by itself, or, where there are more than `most`, those of the same kind and
/// ports as one.
pub fn entries(difference: &Difference, most: usize) -> Vec<Entry<'_>> {
    if difference.changes.len() <= most {
        let alone = |change| Entry { change: Cow::Borrowed(change), connections: difference.count(change) };
        return difference.changes.iter().map(alone).collect();
    }
    let mut alike: HashMap<(Kind, bool, [&Reach; 3]), Vec<&Change>> = HashMap::new();
    for change in &difference.changes {
        let key = (change.kind, change.incomplete, [&change.gained, &change.lost, &change.unknown]);
        alike.entry(key).or_default().push(change);
    }
    let together = |changes: Vec<&'_ Change>| {
        let connections = difference.count_all(changes.iter().copied());
        together(&changes).map(|change| Entry { change: Cow::Owned(change), connections })
    };
    let mut entries: Vec<Entry<'_>> = alike.into_values().filter_map(together).collect();
    entries.sort_by_cached_key(|entry| {
        let change = &entry.change;
        (change.kind, change.incomplete, Reverse(entry.connections), change.destinations.clone(), ports(change))
    });
    entries
}

/// Changes of the same kind and ports as one, which is about all that they are about.
fn together(changes: &[&Change]) -> Option<Change> {
    fn all<'c>(ids: impl Iterator<Item = &'c Vec<UnitId>>) -> Vec<UnitId> {
        ids.flatten().copied().collect::<BTreeSet<UnitId>>().into_iter().collect()
    }
    let mut reasons: Vec<Reason> = Vec::new();
    let mut places: HashMap<*const Cause, usize> = HashMap::new();
    for reason in changes.iter().flat_map(|change| &change.reasons) {
        let place = *places.entry(Arc::as_ptr(&reason.cause)).or_insert(reasons.len());
        match reasons.get_mut(place) {
            Some(known) => known.of.extend(&reason.of),
            None => reasons.push(reason.clone()),
        }
    }
    for reason in &mut reasons {
        reason.of.sort_unstable();
        reason.of.dedup();
    }
    reasons.sort_by_key(|reason| Reverse(reason.of.len()));
    Some(Change {
        reasons,
        sources: all(changes.iter().map(|change| &change.sources)),
        destinations: all(changes.iter().map(|change| &change.destinations)),
        ..(*changes.first()?).clone()
    })
}

/// One line of a reason: what it says, and where that stands.
pub struct Line {
    /// The direction that it is about, and whose it is where it is not that of all.
    pub about: String,
    /// What it says.
    pub text: String,
    /// The place of the policy or rule.
    pub place: Option<Place>,
}

/// Finds places, each once: a document is read again for it.
#[derive(Default)]
pub struct Places(HashMap<(*const NetworkPolicy, Path), Option<Place>>);

impl Places {
    /// The place of a part of a policy. A line in an API server's answer tells nobody anything.
    pub fn of(&mut self, policy: &Arc<NetworkPolicy>, path: &Path) -> Option<Place> {
        if is_live(&policy.origin.source) {
            return None;
        }
        let key = (Arc::as_ptr(policy), path.clone());
        self.0.entry(key).or_insert_with(|| policy.origin.place_of(path)).clone()
    }
}

/// What is said of a policy or a rule.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Saying {
    direction: Direction,
    start: &'static str,
    fate: Option<&'static str>,
    /// Where it is not about all ports of the change.
    ports: Option<String>,
}

/// A policy or rule, or several, of which something is said.
struct Said<'r> {
    names: String,
    /// What to look up the place of.
    at: Option<(&'r Arc<NetworkPolicy>, Path)>,
    of: Vec<UnitId>,
}

/// Why a change came about, line by line. The same is said once: of several policies in one line.
pub fn lines(difference: &Difference, names: &Names<'_>, change: &Change, places: &mut Places) -> Vec<Line> {
    let mut order: Vec<Saying> = Vec::new();
    let mut sayings: HashMap<Saying, BTreeMap<String, Said<'_>>> = HashMap::new();
    let mut node = None;
    for reason in &change.reasons {
        let Cause::Policies { direction, gained, ports, .. } = &*reason.cause else {
            let Cause::OwnNode { gained } = &*reason.cause else { continue };
            node = Some(if *gained { "it is the pod's own node now" } else { "it is no longer the pod's own node" });
            continue;
        };
        let whole = if *gained { &change.gained } else { &change.lost };
        let ports = (ports != whole).then(|| ports_of(ports));
        for (start, fate, said) in say(difference, reason) {
            let saying = Saying { direction: *direction, start, fate, ports: ports.clone() };
            let all = sayings.entry(saying).or_insert_with_key(|saying| {
                order.push(saying.clone());
                BTreeMap::new()
            });
            match all.get_mut(&said.names) {
                Some(known) => known.of.extend(said.of),
                None => _ = all.insert(said.names.clone(), said),
            }
        }
    }
    order.sort_by_key(|saying| saying.direction == Direction::Ingress);
    let mut lines: Vec<Line> = Vec::new();
    let mut left_out = BTreeMap::new();
    let mut shown = BTreeMap::new();
    for saying in order {
        let mut all: Vec<Said<'_>> = sayings.remove(&saying).unwrap_or_default().into_values().collect();
        let Saying { direction, start, fate, ports } = saying;
        // Who isolates besides is told in one line, as it has no place of its own.
        if all.len() > LINES_ALIKE || (fate.is_none() && all.len() > 1) {
            let names: Vec<&str> = all.iter().map(|said| said.names.as_str()).collect();
            let of = all.iter().flat_map(|said| &said.of).copied().collect();
            all = vec![Said { names: shortened(&names, SHOWN), at: None, of }];
        }
        for mut said in all {
            let n: &mut usize = shown.entry(direction.field()).or_default();
            *n += 1;
            if *n > LINES {
                *left_out.entry(direction.field()).or_insert(0) += 1;
                continue;
            }
            said.of.sort_unstable();
            said.of.dedup();
            let concerned = names.concerned(change, direction, &said.of);
            let of = concerned.map(|who| format!(" of {who}")).unwrap_or_default();
            let fate = fate.map(|fate| format!(" ({fate})")).unwrap_or_default();
            let ports = ports.as_ref().map(|ports| format!(", for {ports}")).unwrap_or_default();
            lines.push(Line {
                about: format!("{}{of}", direction.field()),
                text: format!("{start} {}{fate}{ports}", said.names),
                place: said.at.and_then(|(policy, path)| places.of(policy, &path)),
            });
        }
    }
    let more = |(direction, n): (&str, usize)| Line {
        about: direction.to_owned(),
        text: format!("and {}", count(n, "more reason")),
        place: None,
    };
    lines.extend(left_out.into_iter().map(more));
    lines.extend(node.map(|text| Line { about: "node".to_owned(), text: text.to_owned(), place: None }));
    lines
}

/// What is said of policies and rules: how it starts, what became of them, which they are.
fn say<'r>(difference: &Difference, reason: &'r Reason) -> Vec<(&'static str, Option<&'static str>, Said<'r>)> {
    let Cause::Policies { gained, before, after, .. } = &*reason.cause else { return Vec::new() };
    let (closed, open) = if *gained { (before, after) } else { (after, before) };
    let Say::Denied(isolating) = closed else { return Vec::new() };
    let name = |policy: &NetworkPolicy| format!("{}/{}", policy.namespace, policy.name);
    let said = |names, at| Said { names, at, of: reason.of.clone() };
    match open {
        Say::NotIsolated => {
            let start = if *gained { "no longer isolated by" } else { "now isolated by" };
            let of = |policy: &'r Arc<NetworkPolicy>| {
                (start, Some(policy_fate(difference, policy)), said(name(policy), Some((policy, Path::default()))))
            };
            isolating.iter().map(of).collect()
        }
        Say::Allowed(rules) => {
            let start = if *gained { "allowed by" } else { "no longer allowed by" };
            let of = |rule: &'r RuleRef| {
                let fate = rule_fate(difference, rule, *gained);
                (start, Some(fate), said(rule.name(), Some((&rule.policy, rule.path()))))
            };
            let mut all: Vec<_> = rules.iter().map(of).collect();
            let own = |policy: &Arc<NetworkPolicy>| rules.iter().any(|rule| rule.policy.name == policy.name);
            if !*gained && !isolating.iter().all(own) {
                let names: Vec<String> = isolating.iter().map(|policy| name(policy)).collect();
                all.extend(names.into_iter().map(|name| ("isolated by", None, said(name, None))));
            }
            all
        }
        Say::Denied(_) => Vec::new(),
    }
}

/// What a policy that did not change does otherwise is because of labels.
const SELECTS_OTHERWISE: &str = "unchanged, but selects otherwise";

fn policy_fate(difference: &Difference, policy: &NetworkPolicy) -> &'static str {
    match difference.fate(policy) {
        Fate::Same => SELECTS_OTHERWISE,
        fate => fate_word(fate),
    }
}

/// What became of a rule: whether the other side's policy has it, too.
pub fn rule_fate(difference: &Difference, rule: &RuleRef, is_new: bool) -> &'static str {
    let key = (rule.policy.namespace.clone(), rule.policy.name.clone());
    let Some(both) = difference.policies.get(&key) else { return SELECTS_OTHERWISE };
    let other = if is_new { &both.old } else { &both.new };
    let Some(other) = other else { return if is_new { "policy added" } else { "policy removed" } };
    let own = rule.policy.rules(rule.direction).unwrap_or_default();
    let others = other.rules(rule.direction).unwrap_or_default();
    match own.get(rule.rule) {
        Some(rule) if others.contains(rule) => "policy changed",
        _ if own.len() == others.len() => "rule changed",
        _ if is_new => "rule added",
        _ => "rule removed",
    }
}

/// `main:k8s/a.yaml:12`
pub fn shown(place: &Place) -> String {
    format!("{}:{}", place.source, place.line)
}

/// A workload that is on one side only, and its connections in few words.
pub struct LoneWorkload {
    /// Its name.
    pub name: String,
    /// `from` or `to`, who, and on which ports.
    pub rows: Vec<(&'static str, String, String)>,
}

/// What is on one side only, by name.
pub fn lone(lone: &Lone) -> Vec<LoneWorkload> {
    fn whole(list: &[Entity]) -> Whole<'_> {
        Whole::new(list.iter().map(|entity| entity.namespace.as_deref()), SHOWN)
    }
    fn member(entity: &Entity) -> (Option<&str>, &str) {
        (entity.namespace.as_deref(), &entity.name)
    }
    let (sources, destinations) = (whole(&lone.sources), whole(&lone.destinations));
    type Rows<'l> = BTreeMap<String, Vec<&'l Entity>>;
    let mut by_name: BTreeMap<&str, (Rows<'_>, Rows<'_>)> =
        lone.quiet.iter().map(|name| (name.as_str(), Default::default())).collect();
    for pair in &lone.pairs {
        let (Some(source), Some(destination)) =
            (lone.sources.get(pair.source), lone.destinations.get(pair.destination))
        else {
            continue;
        };
        let reach = reach(pair);
        if lone.lone_destinations.get(pair.destination) == Some(&true) {
            by_name.entry(&destination.name).or_default().0.entry(reach.clone()).or_default().push(source);
        }
        if lone.lone_sources.get(pair.source) == Some(&true) {
            by_name.entry(&source.name).or_default().1.entry(reach).or_default().push(destination);
        }
    }
    let workload = |(name, (from, to)): (&str, (Rows<'_>, Rows<'_>))| {
        // The workload itself is left out of its own list and makes it no less whole.
        let own = (from.values().chain(to.values()).flatten().find(|e| e.name == name))
            .and_then(|e| e.namespace.clone())
            .or_else(|| name.split_once('/').map(|(namespace, _)| namespace.into()));
        let but = Some((own.as_deref(), name));
        let rows =
            from.into_iter().map(|(ports, who)| ("from", sources.summary(who.into_iter().map(member), but), ports));
        let to =
            to.into_iter().map(|(ports, who)| ("to", destinations.summary(who.into_iter().map(member), but), ports));
        LoneWorkload { name: name.to_owned(), rows: rows.chain(to).collect() }
    };
    by_name.into_iter().map(workload).collect()
}

fn reach(pair: &LonePair) -> String {
    match (pair.unknown, pair.reach.is_empty()) {
        (false, _) => pair.reach.to_string(),
        (true, true) => "unknown".to_owned(),
        (true, false) => format!("{}, others unknown", pair.reach),
    }
}

/// Whether nothing is unknown or incomplete.
pub fn is_whole_truth(difference: &Difference) -> bool {
    let unknown = difference.changes.iter().any(|change| change.kind == Kind::Unknown);
    let lone = difference.lone.each().iter().any(|lone| lone.pairs.iter().any(|pair| pair.unknown));
    !unknown && !lone && difference.foreign.each().iter().all(|list| list.is_empty())
}

/// What has to be said with a difference.
pub fn notes(difference: &Difference) -> Vec<String> {
    let mut notes = Vec::new();
    if difference.matched == 0 {
        notes.push("note: no workload is on both sides; is it the same cluster?".to_owned());
    }
    if difference.assumes.old || difference.assumes.new {
        notes.push(
            "note: pods without an address are assumed to lie in no partial ipBlock; --pod-cidr decides it, --strict \
             refuses to assume"
                .to_owned(),
        );
    }
    for (families, side) in [(&difference.families.lone.old, "OLD"), (&difference.families.lone.new, "NEW")] {
        for family in families {
            notes.push(format!(
                "note: {family} is in use in {side} only, and connections over it are not compared; --pod-cidr tells \
                 the families of pods without an address"
            ));
        }
    }
    if difference.families.uneven > 0 {
        notes.push(format!(
            "note: {} in another address family than before; what is compared is the families in common",
            match difference.families.uneven {
                1 => "1 workload has an address".to_owned(),
                n => format!("{n} workloads have an address"),
            }
        ));
    }
    if difference.alike_unknown > 0 {
        notes.push(format!(
            "note: {} unknown on both sides, judged by the same policies",
            match difference.alike_unknown {
                1 => "1 connection is".to_owned(),
                n => format!("{n} connections are"),
            }
        ));
    }
    let unknown = difference.counts().unknown;
    if unknown > 0 {
        notes.push(format!(
            "unknown: of {} it cannot be told whether it changed; it depends on addresses or nodes that the input \
             does not have",
            count(unknown, "connection")
        ));
    }
    let lone = difference.lone.each().iter().flat_map(|lone| &lone.pairs).filter(|pair| pair.unknown).count();
    if lone > 0 {
        notes.push(format!("unknown: {} of what was added or removed cannot be told", count(lone, "connection")));
    }
    let names = |list: &[Arc<ForeignPolicy>]| list.iter().map(|p| foreign_name(p)).collect::<Vec<_>>();
    let Both { old, new } = difference.foreign.map(|list| names(list));
    for (names, side) in if old == new { vec![(new, "both sides")] } else { vec![(old, "OLD"), (new, "NEW")] } {
        if !names.is_empty() {
            let policies = if names.len() == 1 { "policy" } else { "policies" };
            notes.push(format!(
                "incomplete: {} {policies} of {side} not understood, which could change this: {}",
                names.len(),
                shortened(&names, SHOWN)
            ));
        }
    }
    notes
}
