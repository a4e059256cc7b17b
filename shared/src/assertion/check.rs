//! From tests to what came of them.

use super::reach::{Allowance, Beyond, Parts, Reachability, Scope};
use super::resolve::{self, Found, Goal};
use super::{Assertion, Isolated, Only, Suite, Test, isolation};
use crate::cluster::ClusterIndex;
use crate::cluster_dns::ClusterDns;
use crate::compile::{Compiled, EndpointId, PeerIds, pod_cidrs};
use crate::diagnostic::Diagnostic;
use crate::dns::NamePattern;
use crate::evaluate::{Note, Party};
use crate::names::Outside;
use crate::net::{AddressRange, Family, PerFamily, from_number, to_blocks, without};
use crate::policy::Direction;
use crate::ports::{PortSet, Protocol};
use crate::query::resolve::{Destination, Named, Selection, blocks_name};
use crate::query::{
    Answer, Asked, Connection, Judged, Resolver, Verdict, answer, combine, connection, decision_notes, name,
};
use ipnet::IpNet;
use rayon::prelude::*;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// More connections than this are counted and not shown.
pub(super) const MAX_CONNECTIONS: usize = 100;

/// From this many pairs on, what is in order is left out as sets before pairs are asked.
const MANY_PAIRS: usize = 16;
/// More pairs than this are asked only where fewer do not show that a test fails.
const MAX_PAIRS: usize = 20_000;

/// What came of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It holds.
    Ok,
    /// It cannot be told, or policies that were not understood could change it (H2).
    Unknown,
    /// It does not hold.
    Failed,
}

impl Status {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Unknown => "unknown",
            Status::Failed => "failed",
        }
    }
}

/// Connections that make a test fail or that cannot be told.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Who connects, in the words of the test.
    pub source: String,
    /// To whom.
    pub destination: String,
    /// The answer, with these connections only.
    pub answer: Answer,
    /// For each connection all ports that are open, where it was not asked about one.
    pub open: Vec<Option<PortSet>>,
}

/// What came of a test, and why.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What came of it.
    pub status: Status,
    /// What makes it so; none when it holds.
    pub findings: Vec<Finding>,
    /// How many connections are not among the findings, because there are too many.
    pub more: usize,
    /// What has to be said with it.
    pub notes: Vec<String>,
    /// Whether it holds only as long as pods without an address lie in no partial block (B8).
    pub assumed: bool,
}

/// Checks tests against a cluster.
#[derive(Debug)]
pub struct Checker<'c> {
    index: &'c ClusterIndex,
    compiled: &'c Compiled,
    default_namespace: &'c str,
    reachability: OnceLock<Reachability<'c>>,
    alike: OnceLock<Vec<u32>>,
}

/// A test whose words were looked up.
enum Ready<'t> {
    Allowed(Found),
    Denied(Found),
    OnlyFrom(Found, &'t Only),
    OnlyTo(Found, &'t Only),
    Isolated(isolation::Ready, &'t Isolated),
}

impl<'c> Checker<'c> {
    /// For a cluster; words that name no namespace are looked for in the default one.
    pub fn new(index: &'c ClusterIndex, compiled: &'c Compiled, default_namespace: &'c str) -> Self {
        Checker { index, compiled, default_namespace, reachability: OnceLock::new(), alike: OnceLock::new() }
    }

    /// Checks the tests of a suite that are wanted; `None` for the others.
    ///
    /// # Errors
    /// Everything that tests name and the input does not have.
    pub fn check(
        &self,
        suite: &Suite,
        wanted: impl Fn(&Test) -> bool,
    ) -> Result<Vec<Option<Checked>>, Vec<Diagnostic>> {
        let default_namespace = suite.namespace.as_deref().unwrap_or(self.default_namespace);
        let resolver = Resolver { index: self.index, compiled: self.compiled, default_namespace };
        let wanted: Vec<bool> = suite.tests.iter().map(wanted).collect();
        let looked_up: Vec<Option<Result<Ready<'_>, Vec<Diagnostic>>>> = suite
            .tests
            .par_iter()
            .zip(&wanted)
            .map(|(test, wanted)| wanted.then(|| self.look_up(&resolver, &test.assertion)))
            .collect();
        let (mut ready, mut wrong) = (Vec::new(), Vec::new());
        for one in looked_up {
            match one.transpose() {
                Ok(one) => ready.push(one),
                Err(diagnostics) => wrong.extend(diagnostics),
            }
        }
        if wrong.is_empty() {
            Ok(ready.par_iter().map(|one| one.as_ref().map(|one| self.one(&resolver, one))).collect())
        } else {
            Err(wrong)
        }
    }

    fn look_up<'t>(&self, resolver: &Resolver<'_>, test: &'t Assertion) -> Result<Ready<'t>, Vec<Diagnostic>> {
        Ok(match test {
            Assertion::Allowed(ends) => Ready::Allowed(resolve::ends(resolver, ends)?),
            Assertion::Denied(ends) => Ready::Denied(resolve::ends(resolver, ends)?),
            Assertion::OnlyFrom(only) => Ready::OnlyFrom(resolve::ends(resolver, &only.ends)?, only),
            Assertion::OnlyTo(only) => Ready::OnlyTo(resolve::ends(resolver, &only.ends)?, only),
            Assertion::Isolated(isolated) => Ready::Isolated(isolation::look_up(resolver, isolated)?, isolated),
        })
    }

    fn one(&self, resolver: &Resolver<'_>, ready: &Ready<'_>) -> Checked {
        let mut found = Collected::default();
        match ready {
            Ready::Allowed(ends) => self.expect(resolver, ends, Expected::Allowed, &mut found),
            Ready::Denied(ends) => self.expect(resolver, ends, Expected::Denied, &mut found),
            Ready::OnlyFrom(ends, only) => {
                self.expect(resolver, ends, Expected::Reached, &mut found);
                self.only_from(resolver, ends, only, &mut found);
                self.incomplete("others", &shown(&ends.to), &mut found);
            }
            Ready::OnlyTo(ends, only) => {
                self.expect(resolver, ends, Expected::Reached, &mut found);
                self.only_to(resolver, ends, only, &mut found);
                let from: Vec<&str> = ends.from.iter().map(|source| source.shown.as_str()).collect();
                self.incomplete(&from.join(", "), "others", &mut found);
            }
            Ready::Isolated(ready, isolated) => {
                isolation::check(self, resolver, ready, &isolated.by, &mut found);
                let each = isolated.by.to_string();
                self.incomplete(&format!("one {each}"), "another", &mut found);
            }
        }
        found.finish()
    }

    /// The relation, worked out when a test first asks about everybody.
    pub(super) fn reachability(&self) -> &Reachability<'c> {
        self.reachability.get_or_init(|| {
            let ranges: Vec<IpNet> = pod_cidrs(self.index, self.compiled.modes()).into_iter().copied().collect();
            Reachability::new(self.compiled, &ranges)
        })
    }

    /// The endpoints that come out alike, each group as its first and how many they are.
    pub(super) fn groups(&self, endpoints: &RoaringBitmap) -> Vec<(EndpointId, usize)> {
        let alike = self.alike.get_or_init(|| alike(self.compiled));
        let mut places: FxHashMap<u32, usize> = FxHashMap::default();
        let mut groups: Vec<(EndpointId, usize)> = Vec::new();
        for id in endpoints {
            let number = alike.get(id as usize).copied().unwrap_or(u32::MAX);
            let at = *places.entry(number).or_insert(groups.len());
            match groups.get_mut(at) {
                Some((_, count)) => *count += 1,
                None => groups.push((id, 1)),
            }
        }
        groups
    }

    /// The policies that were not understood make everything that is said of everybody incomplete.
    fn incomplete(&self, source: &str, destination: &str, found: &mut Collected) {
        let foreign: Vec<_> = self.index.foreign_policies().cloned().collect();
        if foreign.is_empty() {
            return;
        }
        found.doubt_failures(&foreign);
        if found.findings.is_empty() {
            let answer =
                Answer { verdict: Verdict::Denied, connections: Vec::new(), notes: Vec::new(), incomplete: foreign };
            let (source, destination) = (source.to_owned(), destination.to_owned());
            found.findings.push((Status::Unknown, Finding { source, destination, answer, open: Vec::new() }));
        }
    }

    /// Asks every pair of ends.
    fn expect(&self, resolver: &Resolver<'_>, ends: &Found, expected: Expected, found: &mut Collected) {
        for source in &ends.from {
            for goal in &ends.to {
                let mut touched = source.touched.clone();
                touched.join(&goal.touched);
                let (mut selection, mut destination) = (source.selection.clone(), goal.destination.clone());
                let mut left_out = 0;
                if expected != Expected::Denied {
                    left_out = self.leave_out_reached(&mut selection, &mut destination);
                }
                if left_out > 0 && nobody(&selection, &destination) {
                    continue;
                }
                // Where very many are left, enough of them show that the test fails: the others are only counted.
                let rest = selection.parties.split_off(askable(&selection, &destination));
                let asked =
                    |selection| answer(resolver, selection, destination.clone(), goal.protocol, touched.clone());
                let mut answer = asked(selection);
                if !rest.is_empty() {
                    if answer.connections.iter().any(|connection| expected.is_broken_by(connection)) {
                        *found.more.entry(Status::Failed).or_default() += rest.len() * ends_of(&destination);
                    } else {
                        let parties = rest;
                        let others = asked(Selection { parties, ..Selection::default() });
                        answer.verdict = combine([answer.verdict, others.verdict]);
                        answer.connections.extend(others.connections);
                        answer.notes.extend(others.notes);
                    }
                }
                if left_out > 0 {
                    answer.verdict = combine([answer.verdict, Verdict::Allowed]);
                }
                if answer.connections.is_empty() && answer.notes.is_empty() {
                    answer.notes.push("there is no pair of different pods to ask about".to_owned());
                }
                found.assumed |= answer.connections.iter().any(rests_on_assumption);
                let breaks = answer.connections.iter().any(|connection| expected.is_broken_by(connection));
                let untold = answer.connections.iter().any(|connection| connection.verdict == Verdict::Unknown);
                let absent = answer.verdict == Verdict::Unknown && !untold;
                let status = match (answer.incomplete.is_empty(), breaks, untold || absent) {
                    (true, true, _) => Status::Failed,
                    (true, false, false) => {
                        answer.notes.into_iter().for_each(|note| found.note(note));
                        continue;
                    }
                    (false, _, _) | (true, false, true) => Status::Unknown,
                };
                answer.connections.retain(|connection| {
                    expected.is_broken_by(connection) || (!breaks && connection.verdict == Verdict::Unknown)
                });
                let mut open = vec![None; answer.connections.len()];
                for (connection, open) in answer.connections.iter_mut().zip(&mut open) {
                    if expected == Expected::Denied {
                        self.show_a_port(connection, open);
                    }
                }
                let (source, destination) = (source.shown.clone(), goal.shown.clone());
                found.push(status, Finding { source, destination, answer, open });
            }
        }
    }

    /// Of a question about many pairs, leaves out the pods that are surely reached by all sources, and the sources
    /// that surely reach everybody: these are sets, where pairs are asked one by one. How many ends were left out.
    fn leave_out_reached(&self, selection: &mut Selection, destination: &mut Destination) -> usize {
        let Destination::Parties { reached, .. } = destination else { return 0 };
        let before = selection.parties.len() + reached.len();
        let few = selection.parties.len() * reached.len() < MANY_PAIRS;
        // What is incomplete is told with its pairs.
        if few || selection.absent.is_some() || self.index.foreign_policies().next().is_some() {
            return 0;
        }
        let mut by_ports: BTreeMap<(Option<u16>, Option<Protocol>), RoaringBitmap> = BTreeMap::new();
        for one in reached.iter() {
            if let Party::Endpoint(id) = one.who.party {
                by_ports.entry((one.port, one.protocol)).or_default().insert(id);
            }
        }
        let mut known: FxHashMap<_, RoaringBitmap> = FxHashMap::default();
        let outside = reached.iter().any(|one| matches!(one.who.party, Party::Address(_)));
        let mut missed: BTreeMap<(Option<u16>, Option<Protocol>), RoaringBitmap> = BTreeMap::new();
        selection.parties.retain(|who| {
            let mut all = !outside && matches!(who.party, Party::Endpoint(_));
            let classes = self.reachability().classes_of(who.party, Direction::Egress);
            for (asked, wanted) in &by_ports {
                // Of sources that come out alike one is looked at.
                let open = known.entry((classes.clone(), *asked)).or_insert_with(|| {
                    self.reachability().surely_reached(who.party, &resolve::ports(asked.0, asked.1))
                });
                let mut left = wanted - &*open;
                // Nobody is asked about himself.
                if let Party::Endpoint(id) = who.party
                    && self.compiled.entry(id).is_some_and(|entry| !entry.endpoint.is_template())
                {
                    left.remove(id);
                }
                all &= left.is_empty();
                *missed.entry(*asked).or_default() |= left;
            }
            !all
        });
        reached.retain(|one| match one.who.party {
            Party::Endpoint(id) => missed.get(&(one.port, one.protocol)).is_some_and(|missed| missed.contains(id)),
            Party::Address(_) => true,
        });
        before - selection.parties.len() - reached.len()
    }

    /// A question about every port is answered by the ports that are open; why is seen on one of them.
    fn show_a_port(&self, connection: &mut Connection, open: &mut Option<PortSet>) {
        let (Judged::Ports(by_family), Some(destination)) = (&connection.judged, &connection.destination) else {
            return;
        };
        let ports = by_family.iter().fold(PortSet::EMPTY, |all, (_, ports)| all.union(ports));
        if !ports.is_empty() {
            let source = (&connection.source, connection.sources);
            let destination = (destination, connection.destinations);
            (*connection, *open) = self.on_example_port(source, destination, &ports);
        }
    }

    fn only_from(&self, resolver: &Resolver<'_>, ends: &Found, only: &Only, found: &mut Collected) {
        let fine = [ends.sources()];
        for goal in &ends.to {
            let mut violations = Violations::default();
            match &goal.destination {
                Destination::Name { name, port, .. } => {
                    self.to_name_from_others(resolver, goal, name, *port, &fine, &mut violations);
                }
                Destination::Parties { reached, hides_source, .. } => {
                    let asked = reached.iter().map(|one| (&one.who, resolve::ports(one.port, one.protocol)));
                    for near in self.nears(Direction::Ingress, asked) {
                        let scope = Scope { ports: &near.ports, endpoints: None, outside: only.outside };
                        let party = near.who.party;
                        let beyond = self.reachability().beyond(Direction::Ingress, party, scope, &fine);
                        self.violations(resolver, Direction::Ingress, &near, beyond, &mut violations);
                        if let (Some(service), true) = (hides_source, only.outside) {
                            self.outside_through(service, &near, &fine, &mut violations);
                        }
                    }
                }
            }
            found.violations("others", &goal.shown, violations);
        }
    }

    fn only_to(&self, resolver: &Resolver<'_>, ends: &Found, only: &Only, found: &mut Collected) {
        let (mut fine, names) = (ends.goals(), ends.names().collect::<Vec<_>>());
        // What a name stands for is in order, too, where it is known.
        let mut not_known = Vec::new();
        for (name, ports) in &names {
            match self.compiled.modes().names.of_pattern(name) {
                Some(addresses) => {
                    let mut allowance = Allowance::on(ports.clone());
                    addresses.into_iter().for_each(|address| allowance.add(Party::Address(address), &[]));
                    allowance.sort();
                    fine.push(allowance);
                }
                None => not_known.push((name.to_string(), ports)),
            }
        }
        let everything = PortSet::all();
        for source in &ends.from {
            let mut violations = Violations::default();
            let asked = source.selection.parties.iter().map(|who| (who, everything.clone()));
            for near in self.nears(Direction::Egress, asked) {
                let scope = Scope { ports: &near.ports, endpoints: None, outside: only.outside };
                let mut beyond = self.reachability().beyond(Direction::Egress, near.who.party, scope, &fine);
                let outside = std::mem::take(&mut beyond.outside);
                for (family, ranges, ports) in outside {
                    // Any address may be one of a name's, which is not resolved (G6).
                    let of_names = not_known.iter().map(|(_, ports)| ports).fold(PortSet::EMPTY, |a, b| a.union(b));
                    let doubted = ports.intersection(&of_names);
                    if !doubted.is_empty() {
                        let names: Vec<&str> = not_known.iter().map(|(name, _)| name.as_str()).collect();
                        violations.unknown_addresses(&near, family, &ranges, &doubted, &names.join(", "));
                    }
                    beyond.outside.push((family, ranges, ports.difference(&of_names)));
                }
                beyond.outside.retain(|(_, _, ports)| !ports.is_empty());
                self.violations(resolver, Direction::Egress, &near, beyond, &mut violations);
                if only.outside {
                    self.other_names(&near, &names, &mut violations);
                }
            }
            found.violations(&source.shown, "others", violations);
        }
    }

    /// Names that rules let a source reach, beyond those that are in order.
    fn other_names(&self, near: &Near, fine: &[(&NamePattern, PortSet)], out: &mut Violations) {
        let Party::Endpoint(id) = near.who.party else { return };
        let Some(entry) = self.compiled.entry(id) else { return };
        let outside = Outside::of(self.compiled, entry.egress);
        let patterns: BTreeSet<&NamePattern> = outside.names.iter().map(|grant| &grant.to).collect();
        if patterns.is_empty() {
            return;
        }
        let open = outside.open(entry.endpoint.families());
        let dns = ClusterDns::of(self.index, self.compiled);
        for pattern in patterns {
            // What is open to every address is told of addresses.
            let by_name = outside.by_pattern(pattern).difference(&open);
            let in_order = fine.iter().filter(|(name, _)| pattern.is_within(name));
            let left = in_order.fold(by_name, |left, (_, ports)| left.difference(ports));
            let Some(first) = left.ranges().first() else { continue };
            let asked = name::Asked { name: pattern, protocol: Some(first.protocol), port: Some(first.from) };
            for judged in name::to_name(self.compiled, &dns, &near.who, near.count, &asked) {
                let status = match judged.verdict {
                    Verdict::Denied => continue,
                    Verdict::Unknown => Status::Unknown,
                    Verdict::Allowed | Verdict::Mixed => Status::Failed,
                };
                let single = matches!(left.ranges(), [range] if range.from == range.to);
                if let Some(list) = out.room(status) {
                    list.push((judged, (!single).then(|| left.clone())));
                }
            }
        }
    }

    /// What is asked about everybody else, ends that come out alike once.
    fn nears<'w>(&self, direction: Direction, asked: impl Iterator<Item = (&'w Named, PortSet)>) -> Vec<Near> {
        let mut places = FxHashMap::default();
        let mut nears: Vec<Near> = Vec::new();
        for (who, ports) in asked {
            // Hosts differ by their node, pieces of blocks by their addresses.
            let alone = match who.party {
                Party::Endpoint(id) => {
                    self.compiled.entry(id).is_some_and(|e| e.endpoint.host_network).then(|| who.name.clone())
                }
                Party::Address(_) => Some(who.name.clone()),
            };
            let key = (self.reachability().classes_of(who.party, direction), ports.ranges().to_vec(), alone);
            let at = *places.entry(key).or_insert(nears.len());
            match nears.get_mut(at) {
                Some(near) => near.count += 1,
                None => nears.push(Near { who: who.clone(), count: 1, ports }),
            }
        }
        nears
    }

    /// Makes connections of what is beyond.
    fn violations(
        &self,
        resolver: &Resolver<'_>,
        direction: Direction,
        near: &Near,
        beyond: Beyond,
        out: &mut Violations,
    ) {
        out.assumed |= beyond.assumed;
        let Beyond { sure, doubtful, outside, .. } = beyond;
        for (status, parts) in [(Status::Failed, sure), (Status::Unknown, doubtful)] {
            for (id, count, ports) in self.ordered(parts) {
                if let Some(list) = out.room(status) {
                    let far = resolver.name_of(id);
                    list.push(self.example(direction, near, (far, count), &ports));
                }
            }
        }
        for (family, ranges, ports) in outside {
            if let Some(list) = out.room(Status::Failed)
                && let Some(far) = piece(family, &ranges)
            {
                list.push(self.example(direction, near, (far, 1), &ports));
            }
        }
    }

    /// Groups that come out alike, in the order of their first.
    pub(super) fn ordered(&self, parts: Parts) -> Vec<(EndpointId, usize, PortSet)> {
        let groups = parts.iter().flat_map(|(endpoints, ports)| {
            self.groups(endpoints).into_iter().map(|(first, count)| (first, count, ports.clone()))
        });
        let mut ordered: Vec<_> = groups.collect();
        ordered.sort_by_key(|(first, _, _)| *first);
        ordered
    }

    fn example(&self, direction: Direction, near: &Near, far: (Named, usize), ports: &PortSet) -> Example {
        let here = (&near.who, near.count);
        let there = (&far.0, far.1);
        let (source, destination) = match direction {
            Direction::Egress => (here, there),
            Direction::Ingress => (there, here),
        };
        self.on_example_port(source, destination, ports)
    }

    /// Judges a pair on one of the ports that are open between them: one that the destination listens on, if there is
    /// one.
    pub(super) fn on_example_port(
        &self,
        source: (&Named, usize),
        destination: (&Named, usize),
        ports: &PortSet,
    ) -> Example {
        let listens = match destination.0.party {
            Party::Endpoint(id) => self.compiled.entry(id).and_then(|entry| {
                let open = |port: &&crate::object::ContainerPort| ports.contains(port.protocol, port.port);
                entry.endpoint.ports.iter().find(open).map(|port| (port.protocol, port.port))
            }),
            Party::Address(_) => None,
        };
        let first = ports.ranges().first().map(|range| (range.protocol, range.from));
        let (protocol, port) = listens.or(first).unwrap_or((Protocol::Tcp, 1));
        let asked = Asked { port: Some(port), protocol: Some(protocol), hides_source: None };
        let single = matches!(ports.ranges(), [range] if range.from == range.to);
        (connection(self.compiled, source, destination, &asked), (!single).then(|| ports.clone()))
    }

    /// From outside through a Service that hides the source (E3).
    fn outside_through(&self, service: &str, near: &Near, fine: &[Allowance], out: &mut Violations) {
        for family in self.compiled.families() {
            let whole = AddressRange { first: 0, last: family.last() };
            let holes: Vec<AddressRange> =
                fine.iter().flat_map(|allowance| allowance.outside.get(*family)).copied().collect();
            let left = without(whole, &holes);
            let Some(far) = piece(*family, &left) else { continue };
            let [range] = near.ports.ranges() else { continue };
            let asked = Asked { port: Some(range.from), protocol: Some(range.protocol), hides_source: Some(service) };
            let judged = connection(self.compiled, (&far, 1), (&near.who, near.count), &asked);
            let status = if judged.verdict == Verdict::Allowed { Status::Failed } else { Status::Unknown };
            if let Some(list) = out.room(status) {
                list.push((judged, None));
            }
        }
    }

    /// Who else reaches a name outside, whose addresses are not known (G6).
    fn to_name_from_others(
        &self,
        resolver: &Resolver<'_>,
        goal: &Goal,
        name: &NamePattern,
        port: Option<u16>,
        fine: &[Allowance],
        out: &mut Violations,
    ) {
        let mut others: RoaringBitmap = self.compiled.entries().map(|(id, _)| id).collect();
        for allowance in fine {
            others -= &allowance.endpoints;
        }
        let dns = ClusterDns::of(self.index, self.compiled);
        let asked = name::Asked { name, protocol: goal.protocol, port };
        for (id, count) in self.groups(&others) {
            for judged in name::to_name(self.compiled, &dns, &resolver.name_of(id), count, &asked) {
                let status = match judged.verdict {
                    Verdict::Denied => continue,
                    Verdict::Unknown => Status::Unknown,
                    Verdict::Allowed | Verdict::Mixed => Status::Failed,
                };
                if let Some(list) = out.room(status) {
                    list.push((judged, None));
                }
            }
        }
    }
}

fn shown(goals: &[Goal]) -> String {
    goals.iter().map(|goal| goal.shown.as_str()).collect::<Vec<_>>().join(", ")
}

/// Endpoints that no rule tells apart have the same number.
fn alike(compiled: &Compiled) -> Vec<u32> {
    let mut numbers: FxHashMap<(u32, u32, PerFamily<Option<PeerIds>>), u32> = FxHashMap::default();
    let mut of = Vec::new();
    for (id, entry) in compiled.entries() {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let number = *numbers.entry((entry.ingress, entry.egress, entry.as_peer)).or_insert(next);
        let at = id as usize;
        if of.len() <= at {
            of.resize(at + 1, u32::MAX);
        }
        if let Some(place) = of.get_mut(at) {
            *place = number;
        }
    }
    of
}

/// Addresses outside as a party: judged by their first one.
fn piece(family: Family, ranges: &[AddressRange]) -> Option<Named> {
    let party = Party::Address(from_number(family, ranges.first()?.first));
    let blocks = ranges.iter().flat_map(|range| to_blocks(family, *range)).collect();
    Some(Named { name: blocks_name(family, ranges), party, blocks })
}

/// A connection, and all ports that are open if it is on one of several.
type Example = (Connection, Option<PortSet>);

/// One end that is asked about everybody at the other.
struct Near {
    who: Named,
    count: usize,
    ports: PortSet,
}

/// What is not in order, as connections.
#[derive(Default)]
pub(super) struct Violations {
    lists: BTreeMap<Status, (Vec<Example>, usize)>,
    pub assumed: bool,
}

impl Violations {
    /// Where to put one more; `None` when it is only counted.
    pub fn room(&mut self, status: Status) -> Option<&mut Vec<Example>> {
        let (list, more) = self.lists.entry(status).or_default();
        if list.len() < MAX_CONNECTIONS {
            return Some(list);
        }
        *more += 1;
        None
    }

    /// Counts one more.
    pub fn count(&mut self, status: Status) {
        self.lists.entry(status).or_default().1 += 1;
    }

    fn unknown_addresses(&mut self, near: &Near, family: Family, ranges: &[AddressRange], on: &PortSet, names: &str) {
        let (Some(list), Some(far)) = (self.room(Status::Unknown), piece(family, ranges)) else { return };
        let why = format!("{on} is open to these addresses; whether they are those of {names} is not known");
        let first = on.ranges().first();
        let connection = Connection {
            source: near.who.clone(),
            sources: near.count,
            destination_name: far.name.clone(),
            destination: Some(far),
            destinations: 1,
            protocol: first.map(|range| range.protocol),
            port: first.map(|range| range.from),
            verdict: Verdict::Unknown,
            judged: Judged::Other(why),
            to_name: None,
        };
        let single = matches!(on.ranges(), [range] if range.from == range.to);
        list.push((connection, (!single).then(|| on.clone())));
    }
}

/// What a test found so far.
#[derive(Default)]
pub(super) struct Collected {
    findings: Vec<(Status, Finding)>,
    more: BTreeMap<Status, usize>,
    notes: BTreeSet<String>,
    assumed: bool,
}

impl Collected {
    pub fn note(&mut self, note: String) {
        self.notes.insert(note);
    }

    /// Whether something rests on an assumption.
    pub fn assume(&mut self, assumed: bool) {
        self.assumed |= assumed;
    }

    /// Takes in what is not in order between two ends.
    pub fn violations(&mut self, source: &str, destination: &str, violations: Violations) {
        self.assumed |= violations.assumed;
        for (status, (list, more)) in violations.lists {
            *self.more.entry(status).or_default() += more;
            if list.is_empty() {
                continue;
            }
            let (connections, open): (Vec<Connection>, Vec<Option<PortSet>>) = list.into_iter().unzip();
            let verdict = combine(connections.iter().map(|c| c.verdict));
            let notes = decision_notes(&connections);
            let answer = Answer { verdict, connections, notes, incomplete: Vec::new() };
            let (source, destination) = (source.to_owned(), destination.to_owned());
            self.push(status, Finding { source, destination, answer, open });
        }
    }

    /// Takes in a finding, as far as there is room.
    fn push(&mut self, status: Status, mut finding: Finding) {
        let of_status = self.findings.iter().filter(|(other, _)| *other == status);
        let there: usize = of_status.map(|(_, finding)| finding.answer.connections.len()).sum();
        let room = MAX_CONNECTIONS.saturating_sub(there);
        let connections = &mut finding.answer.connections;
        *self.more.entry(status).or_default() += connections.len().saturating_sub(room);
        if room == 0 && !connections.is_empty() {
            return;
        }
        connections.truncate(room);
        finding.open.resize(connections.len(), None);
        self.findings.push((status, finding));
    }

    /// What fails may be another way round: policies were not understood.
    fn doubt_failures(&mut self, foreign: &[std::sync::Arc<crate::object::ForeignPolicy>]) {
        for (status, finding) in &mut self.findings {
            *status = Status::Unknown;
            finding.answer.incomplete = foreign.to_vec();
        }
        let all = self.more.values().sum();
        self.more = BTreeMap::from([(Status::Unknown, all)]);
    }

    fn finish(self) -> Checked {
        let status = self.findings.iter().map(|(status, _)| *status).max().unwrap_or(Status::Ok);
        let of_status = self.findings.into_iter().filter(|(of, _)| *of == status);
        Checked {
            status,
            findings: of_status.map(|(_, finding)| finding).collect(),
            more: self.more.get(&status).copied().unwrap_or(0),
            notes: self.notes.into_iter().collect(),
            assumed: self.assumed,
        }
    }
}

/// What a question has to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Everything that was asked about is allowed.
    Allowed,
    /// The same, but where no port was named one that is open is enough.
    Reached,
    /// Nothing is allowed.
    Denied,
}

impl Expected {
    fn is_broken_by(self, connection: &Connection) -> bool {
        match (self, connection.verdict) {
            (_, Verdict::Unknown) => false,
            (Expected::Reached, Verdict::Mixed) => connection.port.is_some(),
            (Expected::Allowed | Expected::Reached, verdict) => verdict != Verdict::Allowed,
            (Expected::Denied, verdict) => verdict != Verdict::Denied,
        }
    }
}

/// How many ends a destination has.
fn ends_of(destination: &Destination) -> usize {
    match destination {
        Destination::Parties { reached, .. } => reached.len(),
        Destination::Name { .. } => 1,
    }
}

/// How many of the sources can be asked one by one about all ends of a destination.
fn askable(selection: &Selection, destination: &Destination) -> usize {
    (MAX_PAIRS / ends_of(destination).max(1)).clamp(1, selection.parties.len().max(1)).min(selection.parties.len())
}

/// Whether there is nobody at one of the ends.
fn nobody(selection: &Selection, destination: &Destination) -> bool {
    let unreached = matches!(destination, Destination::Parties { reached, .. } if reached.is_empty());
    selection.parties.is_empty() || unreached
}

fn rests_on_assumption(connection: &Connection) -> bool {
    let Judged::Port(decisions) = &connection.judged else { return false };
    let assumes = |note: &Note| matches!(note, Note::AddressNotKnown { assumed: true, .. });
    decisions.iter().flat_map(|decision| &decision.notes).any(assumes)
}
