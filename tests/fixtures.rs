//! Every fixture: the compiled form, the reference and the list give what the case expects.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, EndpointId, Modes};
use netsim_shared::diagnostic::Severity;
use netsim_shared::evaluate::{Outcome, Party, evaluate, families_between};
use netsim_shared::list::{Listing, Options, Pair};
use netsim_shared::ports::Protocol;
use netsim_shared::query::{Judged, Question, Resolver, ask};
use netsim_shared::reference::{End, judge};
use netsim_testkit::fixture::{Ask, Case, Step, Table, cases};
use std::collections::{BTreeMap, BTreeSet};

/// The clauses that fixtures can prove; F is for kinds that are not read yet, G but G6 needs DNS.
const CLAUSES: &[&str] = &[
    "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "C1", "C2", "C3",
    "C4", "C5", "D1", "D2", "D3", "D4", "E1", "E2", "E3", "E4", "G6", "H1", "H2", "H3",
];

#[test]
fn every_fixture_comes_out_as_expected() {
    let cases = cases();
    assert!(cases.len() > 90, "only {} cases were found", cases.len());
    let (mut checks, mut wrong) = (0, Vec::new());
    for case in &cases {
        for step in &case.steps {
            let found = check(case, step);
            checks += found.0;
            let name = case.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            wrong.extend(found.1.into_iter().map(|w| format!("{name}: {}: {w}", step.name)));
        }
    }
    assert!(wrong.is_empty(), "{} of {checks} checks came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
    println!("{} cases, {checks} checks", cases.len());
}

#[test]
fn every_clause_has_a_fixture_named_after_it() {
    let names: BTreeSet<String> = cases()
        .iter()
        .filter_map(|c| c.folder.file_name()?.to_str()?.strip_prefix("clause-").map(str::to_owned))
        .collect();
    let missing: Vec<&&str> =
        CLAUSES.iter().filter(|clause| !names.iter().any(|n| n.split('-').next() == Some(**clause))).collect();
    assert!(missing.is_empty(), "no fixture for {missing:?}");
}

#[test]
fn all_traffic_cases_of_the_upstream_suite_are_there() {
    let upstream: BTreeSet<String> = cases().into_iter().filter_map(|c| c.upstream).collect();
    // The UDP and SCTP suites repeat three names of the TCP suite each.
    assert_eq!(cases().iter().filter(|c| c.upstream.is_some()).count(), 48);
    assert_eq!(upstream.len(), 42, "{upstream:#?}");
}

fn check(case: &Case, step: &Step) -> (usize, Vec<String>) {
    let ingested = step.load(&case.folder);
    let errors: Vec<String> =
        ingested.diagnostics.iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string).collect();
    if let Some(fragment) = &step.error {
        let placed = ingested.diagnostics.iter().all(|d| d.place.is_some());
        let hit = errors.iter().any(|e| e.contains(fragment.as_str())) && placed;
        return (1, if hit { Vec::new() } else { vec![format!("wanted an error about {fragment:?}, got {errors:?}")] });
    }
    if !errors.is_empty() {
        return (1, vec![format!("does not load: {}", errors.join("\n"))]);
    }
    let modes = step.modes();
    let index = ClusterIndex::new(ingested.objects);
    let compiled = Compiled::new(&index, &modes);
    let (mut count, mut wrong) = (0, Vec::new());
    for table in &step.tables {
        let (checks, errors) = check_table(&index, &compiled, &modes, table);
        count += checks;
        wrong.extend(errors);
    }
    for question in &step.asks {
        count += 1;
        wrong.extend(check_ask(&index, &compiled, question));
    }
    (count, wrong)
}

fn check_table(index: &ClusterIndex, compiled: &Compiled, modes: &Modes, table: &Table) -> (usize, Vec<String>) {
    let pods: BTreeMap<String, EndpointId> = compiled
        .entries()
        .filter(|(_, e)| !e.endpoint.is_template())
        .map(|(id, e)| (e.endpoint.key.to_string(), id))
        .collect();
    let mut listed: BTreeMap<(String, String), Vec<netsim_shared::list::Reach>> = BTreeMap::new();
    Listing::new(compiled, Options { expand: true, outside: false }).for_each(
        |_| true,
        |s, d, pair| {
            if let Pair::Open(reach) = pair {
                listed.entry((s.name.clone(), d.name.clone())).or_default().push(reach.clone());
            }
        },
    );
    let (mut count, mut wrong) = (0, Vec::new());
    for spec in &table.ports {
        let (port, protocol) = spec.split_once('/').expect("port/protocol");
        let (port, protocol): (u16, _) =
            (port.parse().expect("a port"), Protocol::parse_lenient(protocol).expect("a protocol"));
        for (from, a) in &pods {
            for (to, b) in pods.iter().filter(|(to, _)| *to != from) {
                let wanted = table.verdict(from, to);
                let (x, y) = (Party::Endpoint(*a), Party::Endpoint(*b));
                for family in families_between(compiled, x, y) {
                    count += 1;
                    let got = evaluate(compiled, x, y, protocol, port, family).map(|d| d.outcome);
                    let (ea, eb) = (
                        &compiled.entry(*a).expect("an entry").endpoint,
                        &compiled.entry(*b).expect("an entry").endpoint,
                    );
                    let second = judge(index, modes, End::Endpoint(ea), End::Endpoint(eb), protocol, port, family);
                    let reach = listed.get(&(from.clone(), to.clone())).map(Vec::as_slice).unwrap_or_default();
                    let in_list = reach.iter().any(|r| {
                        r.ports.contains(protocol, port)
                            || r.in_one_family.iter().any(|(f, p)| *f == family && p.contains(protocol, port))
                    });
                    let word = |o: Option<Outcome>| o.map_or("none".to_owned(), |o| format!("{o:?}").to_lowercase());
                    if word(got) != wanted
                        || word(second) != wanted
                        || (wanted != "unknown" && in_list != (wanted == "allowed"))
                    {
                        wrong.push(format!("{from} → {to} {spec} {family}: wanted {wanted}, compiled {got:?}, reference {second:?}, listed {in_list}"));
                    }
                }
            }
        }
    }
    (count, wrong)
}

fn check_ask(index: &ClusterIndex, compiled: &Compiled, question: &Ask) -> Option<String> {
    let resolver = Resolver { index, compiled, default_namespace: "default" };
    let asked = Question {
        source: question.from.clone(),
        destination: question.to.clone(),
        protocol: question.protocol.as_deref().map(|p| Protocol::parse_lenient(p).expect("a protocol")),
        ..Question::default()
    };
    let (verdict, said, incomplete) = match ask(&resolver, &asked) {
        Err(error) => ("error".to_owned(), format!("{} {}", error.message, error.help.unwrap_or_default()), false),
        Ok(answer) => {
            let lookups = answer.connections.iter();
            let lookups: Vec<String> =
                lookups.filter_map(|c| c.to_name.as_ref()?.no_lookup(compiled, &c.source)).collect();
            let reasons = answer.connections.iter().flat_map(|c| match &c.judged {
                Judged::Name(judged) => vec![judged.why.clone()],
                Judged::Other(why) => vec![why.clone()],
                Judged::Port(decisions) => decisions
                    .iter()
                    .flat_map(|d| [&d.egress, &d.ingress])
                    .flat_map(|j| {
                        let by = j.allowed_by.iter().map(|r| r.name());
                        j.isolated_by
                            .iter()
                            .map(|p| format!("{}/{}", p.namespace, p.name))
                            .chain(by)
                            .collect::<Vec<_>>()
                    })
                    .collect(),
                Judged::Ports(_) => Vec::new(),
            });
            let foreign = answer.incomplete.iter().map(|f| f.name.to_string());
            let names = answer.connections.iter().flat_map(|c| [c.source.name.clone(), c.destination_name.clone()]);
            let said: Vec<String> =
                reasons.chain(lookups).chain(answer.notes.clone()).chain(foreign).chain(names).collect();
            (answer.verdict.to_string(), said.join("\n"), !answer.incomplete.is_empty())
        }
    };
    let says = question.says.as_ref().is_none_or(|fragment| said.contains(fragment.as_str()));
    let good = verdict == question.verdict && says && incomplete == question.incomplete;
    (!good).then(|| {
        format!(
            "{} → {}: wanted {} saying {:?} (incomplete {}), got {verdict} (incomplete {incomplete}): {said}",
            question.from, question.to, question.verdict, question.says, question.incomplete
        )
    })
}
