//! The rules of `netsim lint`, each on manifests that say themselves what is found in them.
//!
//! A folder `tests/lints/NS004/` holds clusters for the rule NS004, one a file. A line on which the
//! rule has to find something ends with `# finds NS004`, or `# finds NS004: part of the message`.
//! Nothing else may be found, and each rule needs a file with findings and one without any.
//!
//! The examples on the pages of `docs/lints/` are clusters too: the comment `<!-- finds: NS004 -->` or
//! `<!-- finds: nothing -->` stands before them.
//!
//! What a rule says of the effect of policies is tried on random clusters besides.
#![allow(clippy::unwrap_used)]

use netsim::lint::{Context, Finding, RULES, Rule, Settings, lint, of_diagnostics, twins};
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Endpoint, Modes, pod_cidrs};
use netsim_shared::dns::refuse::public_ranges;
use netsim_shared::evaluate::{Addresses, Party, allowed_ports};
use netsim_shared::ingest::{Keep, ingest_keeping};
use netsim_shared::net::{Family, from_number};
use netsim_shared::object::Object;
use netsim_shared::policy::{Direction, NetworkPolicy, Peer, PolicyKind, PortMatch};
use netsim_shared::ports::{PortRange, PortSet, Protocol};
use netsim_testkit::arbitrary::{Cluster, cluster, outside};
use netsim_testkit::command::{root, text_of};
use netsim_testkit::documents::examples;
use netsim_testkit::property::check;
use proptest::test_runner::TestCaseError;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What a rule finds in a text of manifests.
fn findings(rule: &'static Rule, name: &str, text: &str) -> Vec<Finding> {
    let ingested = ingest_keeping(name, text.as_bytes(), "default", Keep::Everything);
    if ingested.has_errors() {
        return of_diagnostics(&ingested.diagnostics);
    }
    let twins = twins(&ingested.objects);
    let index = ClusterIndex::new(ingested.objects);
    let compiled = Compiled::new(&index, &Modes::default());
    let context = Context::new(&index, &compiled, twins, &ingested.diagnostics);
    let settings = Settings { select: vec![rule.id], ..Settings::default() };
    let report = lint(&context, &settings, None);
    assert!(report.remarks.is_empty(), "{name}: {:?}", report.remarks);
    report.findings
}

/// The lines that end with `# finds NS004: words`, with the words.
fn expected(rule: &Rule, text: &str) -> Vec<(u32, String)> {
    let mark = format!("# finds {}", rule.id);
    let lines = (1..).zip(text.lines());
    lines
        .filter_map(|(line, text)| {
            let words = text.split_once(&mark)?.1;
            Some((line, words.strip_prefix(':').unwrap_or(words).trim().to_owned()))
        })
        .collect()
}

#[test]
fn every_rule_finds_what_its_fixtures_say() {
    let mut wrong = Vec::new();
    for rule in RULES {
        let folder = root().join("tests/lints").join(rule.id);
        let Ok(entries) = fs::read_dir(&folder) else {
            wrong.push(format!("{}: no folder tests/lints/{}", rule.id, rule.id));
            continue;
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let (mut with, mut without) = (0, 0);
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            let name = format!("tests/lints/{}/{}", rule.id, path.file_name().unwrap().to_string_lossy());
            let expected = expected(rule, &text);
            if expected.is_empty() {
                without += 1
            } else {
                with += 1
            }
            let found = findings(rule, &name, &text);
            let mut left: Vec<&Finding> = found.iter().collect();
            for (line, words) in expected {
                let fits = |f: &&Finding| {
                    f.rule.id == rule.id
                        && f.place.as_ref().is_some_and(|p| p.line == line)
                        && f.message.contains(&words)
                };
                match left.iter().position(fits) {
                    Some(at) => _ = left.remove(at),
                    None => wrong.push(format!("{name}:{line}: {} `{words}` is not found", rule.id)),
                }
            }
            for finding in left {
                let line = finding.place.as_ref().map_or(0, |p| p.line);
                wrong.push(format!("{name}:{line}: {} not expected: {}", finding.rule.id, finding.message));
            }
        }
        // What a rule finds while reading fails the run: without findings is what all others are.
        if with == 0 || without == 0 {
            wrong.push(format!("{}: {with} fixtures with findings, {without} without: one of each is needed", rule.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_belongs_to_a_rule() {
    for entry in fs::read_dir(root().join("tests/lints")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(RULES.iter().any(|rule| rule.id == name), "tests/lints/{name}: no such rule");
    }
}

/// Each page has the rule's title, and its examples are what they say.
#[test]
fn pages_tell_the_truth() {
    let mut wrong = Vec::new();
    for rule in RULES {
        let name = format!("docs/lints/{}.md", rule.id);
        let title = format!("# {}: {}", rule.id, rule.name);
        if rule.page.lines().next() != Some(title.as_str()) {
            wrong.push(format!("{name}: must begin with `{title}`"));
        }
        let mut said: BTreeMap<&str, usize> = BTreeMap::new();
        for example in examples(&name, &text_of(&name), "yaml", "finds") {
            let found = findings(rule, &example.place, &example.text);
            let found = found.iter().filter(|f| f.rule.id == rule.id).count();
            match example.says.as_str() {
                "nothing" if found == 0 => *said.entry("nothing").or_default() += 1,
                word if word == rule.id && found > 0 => *said.entry("something").or_default() += 1,
                word => wrong.push(format!("{}: {found} findings, said `{word}`", example.place)),
            }
        }
        if said.len() < 2 {
            wrong.push(format!("{name}: needs an example that is found and one that is not"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rules_are_a_table() {
    for pair in RULES.windows(2) {
        assert!(pair[0].id < pair[1].id, "{:?} {:?}", pair[0], pair[1]);
    }
    for rule in RULES {
        assert!(rule.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", rule.name);
        assert!(!rule.summary.ends_with('.') && rule.summary.len() < 100, "{}", rule.summary);
    }
}

/// The table on the index page is what the code says. `NETSIM_UPDATE_DOCS=1` writes it.
#[test]
fn the_index_is_the_table() {
    let path = root().join("docs/lints/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- generated: rules -->\n", "<!-- end -->");
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let mut table = "| rule | name | severity | finds | elsewhere |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for rule in RULES {
        table.push_str(&format!(
            "| [{id}]({id}.md) | {} | {} | {} | {} |\n",
            rule.name,
            rule.severity.as_str(),
            rule.summary,
            rule.neighbours.join(", "),
            id = rule.id,
        ));
    }
    let wanted = format!("{head}{begin}{table}{end}{tail}");
    if std::env::var_os("NETSIM_UPDATE_DOCS").is_some() {
        fs::write(&path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "docs/lints/README.md is stale: NETSIM_UPDATE_DOCS=1 cargo test -p netsim --test lints"
        );
    }
}

/// A rule of the table.
fn rule(id: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.id == id).unwrap()
}

/// Tries a property on random clusters, the same ones each time unless the environment says otherwise.
/// It returns how many findings it looked at: there must be some.
fn on_random_clusters(id: &'static str, property: impl Fn(&Cluster, &[Finding]) -> Result<(), String>) {
    let seen = Cell::new(0);
    check(1500, cluster(), |cluster| {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &cluster.modes);
        let context = Context::new(&index, &compiled, Vec::new(), &[]);
        let settings = Settings { select: vec![rule(id).id], ..Settings::default() };
        let found = lint(&context, &settings, None).findings;
        seen.set(seen.get() + found.len());
        property(&cluster, &found).map_err(TestCaseError::fail)
    });
    println!("{id}: {} findings", seen.get());
    assert!(seen.get() > 30, "{id}: only {} findings", seen.get());
}

/// The policy of a finding.
fn policy_of<'i>(index: &'i ClusterIndex, finding: &Finding) -> &'i NetworkPolicy {
    let kinds = [PolicyKind::NetworkPolicy, PolicyKind::EgressDomainPolicy];
    let kind = kinds.into_iter().find(|kind| kind.kind() == finding.object.kind.as_ref()).unwrap();
    let key = (finding.object.namespace.clone().unwrap(), kind.name_of(&finding.object.name));
    index.policy(&key).unwrap()
}

/// `spec.ingress[1].from[0]`: the direction and the numbers.
fn numbers_of(path: &str) -> (Direction, Vec<usize>) {
    let direction = if path.starts_with("spec.ingress") { Direction::Ingress } else { Direction::Egress };
    (direction, path.split(['[', ']']).filter_map(|part| part.parse().ok()).collect())
}

/// The ports of all pairs.
fn all_ports(index: &ClusterIndex, modes: &Modes) -> BTreeMap<String, PortSet> {
    let compiled = Compiled::new(index, modes);
    let inside = compiled.entries().map(|(id, entry)| (entry.endpoint.key.to_string(), Party::Endpoint(id)));
    let addresses = outside(&Family::ALL).into_iter().map(|address| (address.to_string(), Party::Address(address)));
    let parties: Vec<(String, Party)> = inside.chain(addresses).collect();
    let mut all = BTreeMap::new();
    for (from, source) in &parties {
        for (to, destination) in &parties {
            for (family, addresses) in
                Family::ALL.into_iter().flat_map(|f| [(f, Addresses::Surely), (f, Addresses::Maybe)])
            {
                let ports = allowed_ports(&compiled, *source, *destination, family, addresses);
                all.insert(format!("{from} to {to} {family} {addresses:?}"), ports);
            }
        }
    }
    all
}

#[test]
fn what_changes_nothing_can_be_removed() {
    on_random_clusters("NS025", |cluster, findings| {
        if findings.is_empty() {
            return Ok(());
        }
        let before = cluster.index();
        let mut after = before.clone();
        // From behind, so that the numbers of rules stay right.
        let mut sorted: Vec<&Finding> = findings.iter().collect();
        sorted.sort_by_key(|finding| std::cmp::Reverse(numbers_of(&finding.path).1));
        for finding in sorted {
            let mut policy = policy_of(&after, finding).clone();
            match numbers_of(&finding.path) {
                (_, numbers) if numbers.is_empty() => _ = after.delete_policy(&policy.namespace, &policy.name),
                (direction, numbers) => {
                    let rules = if direction == Direction::Ingress { &mut policy.ingress } else { &mut policy.egress };
                    rules.as_mut().unwrap().remove(numbers[0]);
                    after.apply(Object::NetworkPolicy(policy));
                }
            }
        }
        let (old, new) = (all_ports(&before, &cluster.modes), all_ports(&after, &cluster.modes));
        match old.iter().find(|(pair, ports)| new.get(*pair) != Some(*ports)) {
            Some((pair, ports)) => {
                let told: Vec<String> = findings.iter().map(|f| format!("{} {}", f.object, f.path)).collect();
                Err(format!("{pair}: {ports} before, {} after; told: {told:?}", new[pair]))
            }
            None => Ok(()),
        }
    });
}

#[test]
fn what_is_allowed_at_one_end_only_is_denied() {
    on_random_clusters("NS026", |cluster, findings| {
        let index = cluster.index();
        let compiled = Compiled::new(&index, &cluster.modes);
        for finding in findings {
            let policy = policy_of(&index, finding);
            let (direction, numbers) = numbers_of(&finding.path);
            let rule = &policy.rules(direction).unwrap()[numbers[0]];
            let Peer::Pods { namespaces, pods } = &rule.peers.as_ref().unwrap()[numbers[1]] else {
                return Err(format!("{} is no item with selectors", finding.path));
            };
            let numbered = |port: &PortMatch| match port {
                PortMatch::Range(range) => Some(*range),
                PortMatch::Named(_) => None,
            };
            let ports = rule.ports.as_ref();
            let ports = ports.map_or(PortSet::all(), |list| list.iter().filter_map(numbered).collect());
            let context = Context::new(&index, &compiled, Vec::new(), &[]);
            let in_scope = |name: &str| match namespaces {
                None => name == policy.namespace.as_ref(),
                Some(selector) => selector.matches(&context.index.namespace_labels(name)),
            };
            let subject = |e: &Endpoint| e.key.namespace == policy.namespace && policy.pod_selector.matches(&e.labels);
            let peer = |e: &Endpoint| in_scope(&e.key.namespace) && pods.matches(&e.labels);
            for (a, one) in compiled.entries().filter(|(_, e)| !e.endpoint.host_network && subject(&e.endpoint)) {
                for (b, other) in compiled.entries().filter(|(_, e)| !e.endpoint.host_network && peer(&e.endpoint)) {
                    if a == b && !one.endpoint.is_template() {
                        continue;
                    }
                    let (from, to) = if direction == Direction::Egress { (a, b) } else { (b, a) };
                    for family in Family::ALL {
                        let (from, to) = (Party::Endpoint(from), Party::Endpoint(to));
                        let allowed = allowed_ports(&compiled, from, to, family, Addresses::Maybe).intersection(&ports);
                        if !allowed.is_empty() {
                            let (one, other) = (&one.endpoint.key, &other.endpoint.key);
                            return Err(format!("{} {}: {one} and {other}: {allowed}", finding.object, finding.path));
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

/// Names restrict nothing just where the pods get to every public address without them.
#[test]
fn names_without_effect_are_those_beside_what_is_open() {
    let lookups = [Protocol::Udp, Protocol::Tcp].map(|protocol| PortRange::single(protocol, 53));
    let lookups: PortSet = lookups.into_iter().collect();
    on_random_clusters("NS038", |cluster, findings| {
        let index = cluster.index();
        let mut without = index.clone();
        let named = || index.policies().filter(|policy| policy.kind == PolicyKind::EgressDomainPolicy);
        for policy in named() {
            let mut policy = policy.as_ref().clone();
            policy.egress = Some(Vec::new());
            without.apply(Object::NetworkPolicy(policy));
        }
        let compiled = Compiled::new(&without, &cluster.modes);
        let inside = pod_cidrs(&index, &cluster.modes);
        let side = compiled.side(Direction::Egress);
        let public = |family: Family| {
            let ranges = side.blocks.ranges(family).flat_map(|(range, _)| [range.first, range.last]);
            let public = public_ranges(family);
            let ends = public.iter().flat_map(|range| [range.first, range.last]);
            let all = ranges.chain(ends).filter(|n| public.iter().any(|r| r.first <= *n && *n <= r.last));
            let all = all.map(|number| from_number(family, number));
            all.filter(|address| !inside.iter().any(|net| net.contains(address))).collect::<BTreeSet<_>>()
        };
        let mut expected: BTreeSet<String> = BTreeSet::new();
        let mut unsure: BTreeSet<String> = BTreeSet::new();
        for policy in named() {
            let bound = |e: &Endpoint| {
                !e.host_network && e.key.namespace == policy.namespace && policy.pod_selector.matches(&e.labels)
            };
            let pods: Vec<_> = compiled.entries().filter(|(_, entry)| bound(&entry.endpoint)).collect();
            for (number, rule) in policy.egress.iter().flatten().enumerate() {
                let name = format!("{}/{} spec.egress[{number}].to", policy.namespace, policy.own_name());
                if pods.is_empty() {
                    unsure.insert(name);
                    continue;
                }
                let ranges = rule.ports.as_ref().map(|ports| {
                    let range = |port: &PortMatch| match port {
                        PortMatch::Range(range) => Some(*range),
                        PortMatch::Named(_) => None,
                    };
                    ports.iter().filter_map(range).collect::<PortSet>()
                });
                let ports = ranges.unwrap_or_else(PortSet::all);
                for (pod, entry) in &pods {
                    let families = compiled.families().iter().filter(|f| entry.as_peer.get(**f).is_some());
                    for family in families {
                        let to = |address| Party::Address(address);
                        let open = public(*family).into_iter().fold(ports.clone(), |open, address| {
                            let from = Party::Endpoint(*pod);
                            let ports = allowed_ports(&compiled, from, to(address), *family, Addresses::Surely);
                            open.intersection(&ports)
                        });
                        if !open.is_empty() && (open == ports || !open.difference(&lookups).is_empty()) {
                            expected.insert(name.clone());
                        }
                    }
                }
            }
        }
        let found = findings.iter().map(|f| {
            let namespace = f.object.namespace.as_deref().unwrap_or_default();
            format!("{namespace}/{} {}", f.object.name, f.path)
        });
        let found: BTreeSet<String> = found.filter(|name| !unsure.contains(name)).collect();
        if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
    });
}

/// A policy of another kind is called by it, by annotations and fingerprints too, and gets help that it can follow.
#[test]
fn policies_are_called_by_their_kind() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: none}}, policyTypes: [Ingress]}
---
apiVersion: netsim.dev/v1alpha1
kind: EgressDomainPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: none}}
  egress: [{to: [{domainNames: [db.shop.svc]}]}]
---
apiVersion: netsim.dev/v1alpha1
kind: EgressDomainPolicy
metadata: {name: told, namespace: shop, annotations: {netsim.dev/allow: name-in-cluster}}
spec:
  podSelector: {matchLabels: {app: web}}
  egress: [{to: [{domainNames: [db.shop.svc]}]}]
";
    let unused = findings(rule("NS004"), "web.yaml", text);
    let names: Vec<String> = unused.iter().map(|finding| finding.object.to_string()).collect();
    assert_eq!(names, ["NetworkPolicy shop/web", "EgressDomainPolicy shop/web"]);
    assert_ne!(unused[0].fingerprint, unused[1].fingerprint);
    let inside: Vec<String> =
        findings(rule("NS040"), "web.yaml", text).iter().map(|finding| finding.object.to_string()).collect();
    assert_eq!(inside, ["EgressDomainPolicy shop/web"]);
    let no_dns = findings(rule("NS012"), "web.yaml", text);
    let [finding] = no_dns.as_slice() else { panic!("{no_dns:?}") };
    assert_eq!(
        (finding.object.to_string().as_str(), finding.path.as_str()),
        ("EgressDomainPolicy shop/told", "spec.egress")
    );
    let help = finding.help.as_deref().unwrap();
    assert!(help.starts_with("allow it in `egress`, in a NetworkPolicy for all pods: `- {to: "), "{help}");
}

/// The one mistake of the example, see its README.
#[test]
fn the_mistake_of_the_shop_is_found() {
    let files = ["namespaces", "shop", "payments", "analytics", "platform"];
    let text: Vec<String> = files.iter().map(|name| text_of(&format!("examples/shop/{name}.yaml"))).collect();
    let found = findings(rule("NS026"), "examples/shop", &text.join("\n---\n"));
    let found: Vec<String> = found.iter().map(|f| format!("{} {}", f.object, f.path)).collect();
    assert_eq!(found, ["NetworkPolicy shop/api spec.egress[3].to[0]"]);
    for quiet in ["NS003", "NS005", "NS006", "NS007", "NS008", "NS009", "NS010", "NS011", "NS025", "NS031", "NS032"] {
        let found = findings(rule(quiet), "examples/shop", &text.join("\n---\n"));
        assert!(found.is_empty(), "{quiet}: {found:?}");
    }
}
