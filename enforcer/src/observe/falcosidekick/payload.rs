//! A flow as falcosidekick takes it: an event of Falco. Pure.
//!
//! What falcosidekick (2.x) refuses with 400: anything but JSON of these fields and types, a priority that it does not
//! know, no rule, no time, no output fields. `k8s.ns.name` and `k8s.pod.name` have to be text.

use crate::flows::{End, Flow, Reason, Verdict};
use crate::observe::text::shortened;
use jiff::Timestamp;
use k8s_openapi::jiff;
use netsim_shared::policy::Direction;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What Falco calls the source of events; `syscall` are its own.
const SOURCE: &str = "netsim";
/// The most bytes of a field: falcosidekick cuts longer ones itself, in the middle of characters.
const MAX_FIELD: usize = 500;

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Payload {
    output: String,
    priority: &'static str,
    rule: &'static str,
    time: String,
    source: &'static str,
    output_fields: BTreeMap<&'static str, Value>,
    hostname: Box<str>,
    tags: Vec<&'static str>,
}

impl Payload {
    /// A flow.
    pub fn of(flow: &Flow) -> Self {
        let priority = priority(flow.verdict);
        let port = flow.port.map(|port| format!(" {port}")).unwrap_or_default();
        let (source, destination) = (name_of(&flow.source), name_of(&flow.destination));
        let became = if flow.verdict == Verdict::Denied { "was denied" } else { "would be denied" };
        let policies = shortened(&flow.isolated_by.join(","), MAX_FIELD);
        let reason = json!(flow.reason);
        let text = format!(
            "{}{port} from {source} to {destination} {became} at {} (node={} source={} destination={} packets={} \
             reason={} isolated_by={policies})",
            flow.protocol,
            flow.direction.field(),
            flow.node,
            flow.source.ip,
            flow.destination.ip,
            flow.packets,
            reason.as_str().unwrap_or_default(),
        );
        let mut fields = BTreeMap::from([
            ("evt.time", json!(nanoseconds(flow.last))),
            ("fd.cip", json!(flow.source.ip)),
            ("fd.sip", json!(flow.destination.ip)),
            ("fd.l4proto", json!(flow.protocol.to_lowercase())),
            ("netsim.direction", json!(flow.direction.field())),
            ("netsim.first", json!(flow.first.to_string())),
            ("netsim.last", json!(flow.last.to_string())),
            ("netsim.packets", json!(flow.packets)),
            ("netsim.peer.ip", json!(flow.peer().ip)),
            ("netsim.policies", json!(policies)),
            ("netsim.reason", reason),
            ("netsim.verdict", json!(flow.verdict)),
        ]);
        fields.extend(flow.port.map(|port| ("fd.sport", json!(port))));
        if let Some(pod) = &flow.subject().pod {
            let labels: Vec<String> = pod.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            fields.insert("k8s.ns.name", json!(pod.namespace));
            fields.insert("k8s.pod.name", json!(pod.name));
            fields.insert("k8s.pod.labels", json!(shortened(&labels.join(", "), MAX_FIELD)));
            if !pod.uid.is_empty() {
                fields.insert("k8s.pod.uid", json!(pod.uid));
            }
        }
        if let Some(pod) = &flow.peer().pod {
            fields.insert("netsim.peer.ns.name", json!(pod.namespace));
            fields.insert("netsim.peer.pod.name", json!(pod.name));
        }
        Payload {
            output: output(flow.last, priority, &text),
            priority,
            rule: rule(flow),
            time: flow.last.to_string(),
            source: SOURCE,
            output_fields: fields,
            hostname: flow.node.clone(),
            tags: vec![flow.direction.field(), "kubernetes", "network", "netsim"],
        }
    }

    /// That flows were left out.
    pub fn left_out(flows: u64, node: &str, now: Timestamp) -> Self {
        let priority = priority(Verdict::Denied);
        let text = format!("{flows} denied flows were not told one by one (node={node})");
        Payload {
            output: output(now, priority, &text),
            priority,
            rule: "Denied flows left out",
            time: now.to_string(),
            source: SOURCE,
            output_fields: BTreeMap::from([("evt.time", json!(nanoseconds(now))), ("netsim.left_out", json!(flows))]),
            hostname: node.into(),
            tags: vec!["kubernetes", "network", "netsim"],
        }
    }
}

fn priority(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Denied => "Notice",
        Verdict::Audited => "Informational",
    }
}

/// What it is routed by: a text of its own for each direction, since in one the bound pod opened the connection, and
/// in the other it is the one that was to be reached.
fn rule(flow: &Flow) -> &'static str {
    match (flow.verdict, flow.reason, flow.direction) {
        (Verdict::Denied, Reason::Policy, Direction::Ingress) => "Ingress denied by network policy",
        (Verdict::Denied, Reason::Policy, Direction::Egress) => "Egress denied by network policy",
        (Verdict::Denied, Reason::UnknownPod, Direction::Ingress) => "Ingress denied to unknown pod",
        (Verdict::Denied, Reason::UnknownPod, Direction::Egress) => "Egress denied from unknown pod",
        (Verdict::Denied, Reason::NamelessAddress, Direction::Ingress) => "Ingress denied by kind of address",
        (Verdict::Denied, Reason::NamelessAddress, Direction::Egress) => "Egress denied by kind of address",
        (Verdict::Denied, Reason::NoConnection, Direction::Ingress) => "Ingress denied outside of connections",
        (Verdict::Denied, Reason::NoConnection, Direction::Egress) => "Egress denied outside of connections",
        (Verdict::Audited, _, Direction::Ingress) => "Ingress would be denied",
        (Verdict::Audited, _, Direction::Egress) => "Egress would be denied",
    }
}

/// As Falco puts it: the time of day and the priority first. What reformats outputs finds the text by that.
fn output(time: Timestamp, priority: &str, text: &str) -> String {
    format!("{}: {priority} {text}", time.strftime("%H:%M:%S.%9f"))
}

/// A pod by its name, anything else by its address.
fn name_of(end: &End) -> String {
    end.pod.as_ref().map_or_else(|| end.ip.to_string(), |pod| format!("{}/{}", pod.namespace, pod.name))
}

fn nanoseconds(time: Timestamp) -> u64 {
    // Before 1970, and after 2554, there is nothing to tell.
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}
