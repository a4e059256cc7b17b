//! Makes what stands in the API server what is to be said there, in its own time.

use super::wanted::{Problem, Report, Reports};
use crate::observe::events::{self, Fate, MAX_MANAGER, Occasion, code, fate, message, told};
use crate::observe::text::{hash, shortened, within};
use crate::watch::Backoff;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use netsim_shared::cluster::Key;
use netsim_shared::crd::{self, EgressDomainPolicy, EgressDomainPolicyStatus, NodeStatus};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// The longest message of a condition in bytes, so that a status of many nodes stays small.
const MAX_MESSAGE: usize = 500;
/// How many policies a page of the first list has.
const PAGE: u32 = 500;

/// How quickly is written.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The pause after each request.
    pub gap: Duration,
    /// How long is waited for more changes, so that a policy of all nodes is not written by all of them at once: up to
    /// twice as long, at random.
    pub collect: Duration,
    /// The longest pause after a failure.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { gap: Duration::from_millis(200), collect: Duration::from_secs(1), longest: Duration::from_secs(120) }
    }
}

/// Takes what is to be said; clones have one writer. Dropping the last of them ends it; what was said stays.
#[derive(Debug, Clone)]
pub struct Objects {
    wanted: watch::Sender<Option<Reports>>,
}

impl Objects {
    /// From now on exactly this is to be said. Never waits.
    pub fn want(&self, reports: Reports) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.as_ref() != Some(&reports);
            *wanted = Some(reports);
            changed
        });
    }
}

/// Starts the writer of a node. Nothing is asked before [`Objects::want`] is called for the first time, which has to
/// wait until everything was listed: what a former agent of this node has said is taken back then, unless it is still
/// to be said. Has to be called inside a tokio runtime.
pub fn start(client: &Client, node: &str, pace: Pace) -> Objects {
    let (wanted, changes) = watch::channel(None);
    let writer = Writer {
        client: client.clone(),
        node: node.to_owned(),
        manager: manager(node),
        pace,
        changes,
        said: BTreeMap::new(),
        told: BTreeSet::new(),
        complained: BTreeSet::new(),
    };
    tokio::spawn(writer.run());
    Objects { wanted }
}

/// What this node has said about a policy.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    uid: Box<str>,
    entry: NodeStatus,
}

/// UID, generation and type of a condition.
type Told = (Box<str>, i64, String);

struct Writer {
    client: Client,
    node: String,
    manager: String,
    pace: Pace,
    changes: watch::Receiver<Option<Reports>>,
    said: BTreeMap<Key, Said>,
    /// The Events that there are.
    told: BTreeSet<Told>,
    /// What failures were logged.
    complained: BTreeSet<(Verb, u16)>,
}

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    List,
    Patch,
    Create,
}

impl Verb {
    /// The rule that allows it.
    fn rule(self) -> &'static str {
        match self {
            Verb::List => r#"{apiGroups: ["netsim.dev"], resources: [egressdomainpolicies], verbs: [list, watch]}"#,
            Verb::Patch => r#"{apiGroups: ["netsim.dev"], resources: [egressdomainpolicies/status], verbs: [patch]}"#,
            Verb::Create => events::RULE,
        }
    }
}

impl Writer {
    /// Until nobody can want anything any more.
    async fn run(mut self) {
        if self.changes.changed().await.is_err() {
            return;
        }
        let mut backoff = Backoff::up_to(self.pace.longest);
        while let Err(error) = self.recall().await {
            self.complain(Verb::List, &error);
            tokio::time::sleep(backoff.pause()).await;
        }
        loop {
            tokio::time::sleep(self.pace.collect + Backoff::at_random(self.pace.collect)).await;
            let wanted = self.changes.borrow_and_update().clone().unwrap_or_default();
            if self.round(&wanted).await {
                // Whatever is wanted meanwhile has the same server to go to.
                tokio::time::sleep(backoff.pause()).await;
                if self.changes.has_changed().is_err() {
                    return;
                }
            } else if self.changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Learns what a former agent of this node has said.
    async fn recall(&mut self) -> Result<(), Error> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource());
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = match api.list(&params).await {
                // There is no such kind, so nothing was said.
                Err(error) if code(&error) == Some(404) => return Ok(()),
                // The list began too long ago: once more.
                Err(error) if code(&error) == Some(410) && params.continue_token.is_some() => {
                    params.continue_token = None;
                    continue;
                }
                page => page?,
            };
            for object in page.items {
                self.recall_one(object);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    fn recall_one(&mut self, object: DynamicObject) {
        // What is wrong with the rest of an object, or with a status that somebody else has written, is none of ours.
        let status: EgressDomainPolicyStatus =
            serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
        let Some(entry) = status.nodes.into_iter().find(|entry| entry.name == self.node) else { return };
        let text = |text: Option<String>| text.unwrap_or_default().into_boxed_str();
        let key = (text(object.metadata.namespace), text(object.metadata.name));
        let uid = text(object.metadata.uid);
        for condition in &entry.conditions {
            let generation = condition.observed_generation.unwrap_or_default();
            self.told.insert((uid.clone(), generation, condition.type_.clone()));
        }
        self.said.insert(key, Said { uid, entry });
    }

    /// Writes what differs, one after another, until something else is wanted. Gives whether anything failed that is
    /// to be tried again.
    async fn round(&mut self, wanted: &Reports) -> bool {
        let mut failed = false;
        self.told.retain(|(uid, generation, _)| {
            wanted.values().any(|report| (&report.uid, report.generation) == (uid, *generation))
        });
        for (key, report) in wanted {
            if self.is_outdated() {
                return false;
            }
            let entry = self.entry(key, report);
            let said = Said { uid: report.uid.clone(), entry };
            if self.said.get(key) != Some(&said) {
                failed |= !self.say(key, Some(said)).await;
            }
            for problem in &report.problems {
                let told = (report.uid.clone(), report.generation, problem.condition().to_owned());
                if !self.told.contains(&told) {
                    failed |= !self.tell(key, report, problem, told).await;
                }
            }
        }
        let stale: Vec<Key> = self.said.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in stale {
            if self.is_outdated() {
                return false;
            }
            failed |= !self.say(&key, None).await;
        }
        failed
    }

    /// Whether something else is wanted than when the round began.
    fn is_outdated(&self) -> bool {
        self.changes.has_changed().unwrap_or(false)
    }

    /// The entry of this node for a report. A condition that was there keeps its time.
    fn entry(&self, key: &Key, report: &Report) -> NodeStatus {
        let before = self.said.get(key).filter(|said| said.uid == report.uid).map(|said| &said.entry.conditions);
        let condition = |problem: &Problem| {
            let type_ = problem.condition();
            let since = before.into_iter().flatten().find(|condition| condition.type_ == type_);
            Condition {
                type_: type_.to_owned(),
                status: "True".to_owned(),
                reason: problem.reason().to_owned(),
                message: shortened(&problem.to_string(), MAX_MESSAGE),
                observed_generation: Some(report.generation),
                last_transition_time: since.map_or_else(now, |condition| condition.last_transition_time.clone()),
            }
        };
        NodeStatus {
            name: self.node.clone(),
            observed_generation: Some(report.generation),
            conditions: report.problems.iter().map(condition).collect(),
        }
    }

    /// Makes the entry of this node so, or takes it out. Gives whether that is done.
    async fn say(&mut self, key: &Key, said: Option<Said>) -> bool {
        let (namespace, name) = key;
        let uid = said.as_ref().or(self.said.get(key)).map(|said| said.uid.clone()).unwrap_or_default();
        let nodes: Vec<&NodeStatus> = said.iter().map(|said| &said.entry).collect();
        let status = if nodes.is_empty() { json!({}) } else { json!({ "nodes": nodes }) };
        let patch = json!({
            "apiVersion": format!("{}/{}", crd::GROUP, crd::VERSION), "kind": crd::KIND,
            // An object that came in place of this one is another, about which nothing is known here.
            "metadata": {"namespace": namespace, "name": name, "uid": uid},
            "status": status,
        });
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource());
        let params = PatchParams::apply(&self.manager).force();
        let answer = api.patch_status(name, &params, &Patch::<Value>::Apply(patch)).await;
        tokio::time::sleep(self.pace.gap).await;
        if let Err(error) = &answer {
            // The policy is gone, as policies go, or another is there: what is to be said about that comes.
            let nowhere = code(error) == Some(404);
            // With its definition everything goes, and there is nothing to take out.
            let is_out = said.is_none() && nowhere;
            if !is_out && !is_gone(error, name) {
                self.complain(Verb::Patch, error);
                // A path that is missing is missing for good.
                if !nowhere {
                    return false;
                }
            }
        } else {
            self.complained.retain(|(verb, _)| *verb != Verb::Patch);
        }
        // What was refused for good counts as said, so that it is not tried again before something changes.
        match said {
            Some(said) => _ = self.said.insert(key.clone(), said),
            None => _ = self.said.remove(key),
        }
        true
    }

    /// Makes an Event, once in the whole cluster for each text of a policy. Gives whether that is done.
    async fn tell(&mut self, key: &Key, report: &Report, problem: &Problem, told: Told) -> bool {
        let event = event(&self.node, key, report, problem);
        let api: Api<Event> = Api::namespaced(self.client.clone(), &key.0);
        let answer = api.create(&PostParams::default(), &event).await;
        tokio::time::sleep(self.pace.gap).await;
        let fate = fate(&answer);
        match answer {
            Ok(_) => self.complained.retain(|(verb, _)| *verb != Verb::Create),
            // Another node was first, or the policy goes with its namespace.
            Err(_) if fate == Fate::Needless => {}
            Err(error) => {
                self.complain(Verb::Create, &error);
                // What is refused for good is not tried again: the status says the same.
                if fate == Fate::Passing {
                    return false;
                }
            }
        }
        self.told.insert(told);
        true
    }

    /// Logs a failure, unless it is like one that was logged.
    fn complain(&mut self, verb: Verb, error: &Error) {
        let code = code(error);
        if !self.complained.insert((verb, code.unwrap_or_default())) {
            return;
        }
        let mut text = told(error, verb.rule());
        if code == Some(404) {
            text.push_str("; the CustomResourceDefinition of EgressDomainPolicy may be an old one");
        }
        tracing::warn!("what is wrong with policies cannot be written to the API server: {text}");
    }
}

fn resource() -> ApiResource {
    ApiResource::erase::<EgressDomainPolicy>(&())
}

/// Whether the server says that there is no such object, or another one of that name.
fn is_gone(error: &Error, name: &str) -> bool {
    match code(error) {
        // Not the path: that is told without a name.
        Some(404) => message(error).contains(&format!("{name:?} not found")),
        Some(409) => true,
        Some(422) => message(error).contains("metadata.uid"),
        _ => false,
    }
}

fn now() -> Time {
    // To the second, as the API server keeps it, so that it comes back as it was.
    Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default())
}

/// The field manager of a node: each answers for its own entry.
fn manager(node: &str) -> String {
    within(&format!("netsim-enforcer/{node}"), MAX_MANAGER)
}

/// The Event about a problem. All nodes give it the same name, so that there is one of it.
fn event(node: &str, (namespace, name): &Key, report: &Report, problem: &Problem) -> Event {
    let reason = problem.condition();
    let digest = hash([&*report.uid, &report.generation.to_string(), reason]);
    let note = format!("on node `{node}`, and perhaps on others, which the status lists: {problem}");
    let regarding = ObjectReference {
        api_version: Some(format!("{}/{}", crd::GROUP, crd::VERSION)),
        kind: Some(crd::KIND.to_owned()),
        namespace: Some(namespace.to_string()),
        name: Some(name.to_string()),
        uid: Some(report.uid.to_string()),
        ..ObjectReference::default()
    };
    events::event(node, Occasion { regarding, reason, action: "Enforce", note: &note, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_bounds_and_apart() {
        assert_eq!(manager("node-1"), "netsim-enforcer/node-1");
        let long = |last: char| format!("{}{last}", "n".repeat(250));
        let (a, b) = (manager(&long('a')), manager(&long('b')));
        assert!(a.len() == MAX_MANAGER && b.len() == MAX_MANAGER && a != b, "{a} {b}");
    }

    #[test]
    fn nodes_give_one_event_one_name() {
        let patterns = vec!["*.example.com".parse().unwrap()];
        let problem = Problem::UnsupportedWildcard { patterns, because: "b".into() };
        let report = |generation| Report { uid: "u".into(), generation, problems: vec![problem.clone()] };
        let name = |node: &str, policy: &str, generation| {
            event(node, &("a".into(), policy.into()), &report(generation), &problem).metadata.name.unwrap()
        };
        assert_eq!(name("n1", "p", 1), name("n2", "p", 1));
        assert_ne!(name("n1", "p", 1), name("n1", "p", 2));
        let long = name("n1", &format!("{}-{}", "p".repeat(199), "q".repeat(50)), 1);
        assert!(long.starts_with(&format!("{}.", "p".repeat(199))) && long.len() <= 253, "{long}");
    }
}
