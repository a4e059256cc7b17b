//! Lists of flows that were seen: one a line, as JSON or CSV, as Hubble prints them, or as our enforcer
//! tells what it denies.

use crate::diagnostic::nearest;
use crate::ports::Protocol;
use serde::Deserialize;

/// A flow, in the words of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The line that it stands on, counted from 1.
    pub line: u32,
    /// Who connected.
    pub source: String,
    /// To whom, with the port.
    pub destination: String,
    /// On which protocol.
    pub protocol: Option<Protocol>,
}

/// A line that is no flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Which, counted from 1.
    pub line: u32,
    /// What is wrong with it.
    pub message: String,
}

/// Flows, and what is no flow.
#[derive(Debug, Clone, Default)]
pub struct Flows {
    /// The flows.
    pub flows: Vec<Flow>,
    /// What could not be read.
    pub bad: Vec<BadLine>,
    /// Flows that say nothing about what has to work: replies, and what was dropped.
    pub left_out: usize,
    /// Flows that the enforcer has dropped, where those are not asked for.
    pub denied: usize,
}

/// What is done with flows that our enforcer has dropped. Those that it let pass in audit mode are what
/// somebody relies on, and always taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Denied {
    /// They are left out: what is denied may well be denied on purpose.
    #[default]
    LeftOut,
    /// They are taken: somebody asks for them.
    Taken,
}

/// Reads a list. Lines that begin with `{` are JSON; otherwise the first line names the columns of a
/// table in CSV.
pub fn read(text: &str, denied: Denied) -> Flows {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut lines = lines.peekable();
    let mut out = Flows::default();
    let Some((_, first)) = lines.peek() else { return out };
    if first.trim_start().starts_with('{') {
        lines.for_each(|(number, line)| out.json(number, line, denied));
    } else {
        let header = lines.next();
        match header.map(|(number, line)| (number, Columns::of(line))) {
            Some((_, Ok(columns))) => lines.for_each(|(number, line)| out.row(number, line, &columns)),
            Some((line, Err(message))) => out.bad.push(BadLine { line, message }),
            None => {}
        }
    }
    out
}

#[derive(Deserialize)]
struct JsonFlow {
    flow: Option<Hubble>,
    source: Option<serde_json::Value>,
    destination: Option<serde_json::Value>,
    port: Option<u16>,
    protocol: Option<String>,
    /// Of the enforcer's alone, together with `verdict`.
    reason: Option<String>,
    verdict: Option<String>,
}

/// An end as the enforcer writes it.
#[derive(Deserialize)]
struct EnforcerEnd {
    ip: String,
    pod: Option<EnforcerPod>,
}

#[derive(Deserialize)]
struct EnforcerPod {
    namespace: String,
    name: String,
}

impl EnforcerEnd {
    fn word(self) -> String {
        self.pod.map_or(self.ip, |pod| format!("{}/pod/{}", pod.namespace, pod.name))
    }
}

#[derive(Deserialize)]
struct Hubble {
    verdict: Option<String>,
    is_reply: Option<bool>,
    source: Option<HubbleEnd>,
    destination: Option<HubbleEnd>,
    #[serde(rename = "IP")]
    ip: Option<HubbleIp>,
    l4: Option<std::collections::BTreeMap<String, HubblePorts>>,
}

#[derive(Deserialize)]
struct HubbleEnd {
    namespace: Option<String>,
    pod_name: Option<String>,
    workloads: Option<Vec<HubbleWorkload>>,
}

#[derive(Deserialize)]
struct HubbleWorkload {
    name: String,
    kind: String,
}

#[derive(Deserialize)]
struct HubbleIp {
    source: Option<String>,
    destination: Option<String>,
}

#[derive(Deserialize)]
struct HubblePorts {
    destination_port: Option<u16>,
}

impl HubbleEnd {
    /// The workload, which outlives its pods, else the pod.
    fn word(&self) -> Option<String> {
        let namespace = self.namespace.as_deref().filter(|n| !n.is_empty())?;
        let workload = self.workloads.iter().flatten().next();
        let workload = workload.map(|w| format!("{namespace}/{}/{}", w.kind.to_lowercase(), w.name));
        workload.or_else(|| Some(format!("{namespace}/pod/{}", self.pod_name.as_deref()?)))
    }
}

impl Flows {
    fn bad(&mut self, line: u32, message: impl Into<String>) {
        self.bad.push(BadLine { line, message: message.into() });
    }

    fn json(&mut self, line: u32, text: &str, denied: Denied) {
        let read: JsonFlow = match serde_json::from_str(text) {
            Ok(read) => read,
            Err(error) => return self.bad(line, format!("not a flow: {error}")),
        };
        let (Some(source), Some(destination)) = (&read.source, &read.destination) else {
            return match read.flow {
                Some(flow) => self.hubble(line, &flow),
                None => self.bad(line, "a flow needs `source` and `destination`"),
            };
        };
        match (source.as_str(), destination.as_str()) {
            (Some(source), Some(destination)) => {
                self.flow(line, source, destination, read.port.map(|p| p.to_string()), read.protocol.as_deref());
            }
            _ if read.reason.is_some() => self.enforcer(line, read, denied),
            // Hubble without its envelope.
            _ => match serde_json::from_str(text) {
                Ok(flow) => self.hubble(line, &flow),
                Err(error) => self.bad(line, format!("not a flow: {error}")),
            },
        }
    }

    /// A denied connection. Its end need not be a pod that is still there.
    fn enforcer(&mut self, line: u32, read: JsonFlow, denied: Denied) {
        match read.verdict.as_deref() {
            Some("audited") => {}
            Some("denied") if denied == Denied::Taken => {}
            Some("denied") => return self.denied += 1,
            _ => return self.bad(line, "the verdict of a flow of the enforcer is `denied` or `audited`"),
        }
        // Addresses without a pod, and packets without a connection, are no matter of policies; nor are
        // protocols without ports (C5).
        let by_policy = read.reason.as_deref() == Some("policy");
        let protocol = read.protocol.filter(|protocol| Protocol::parse_lenient(protocol).is_some());
        let (Some(protocol), Some(port), true) = (protocol, read.port, by_policy) else {
            return self.left_out += 1;
        };
        let end = |value: Option<serde_json::Value>| serde_json::from_value(value.unwrap_or_default());
        match (end(read.source), end(read.destination)) {
            (Ok(source), Ok(destination)) => {
                let (source, destination) = (EnforcerEnd::word(source), EnforcerEnd::word(destination));
                self.flow(line, &source, &destination, Some(port.to_string()), Some(&protocol));
            }
            (Err(error), _) | (_, Err(error)) => self.bad(line, format!("not a flow of the enforcer: {error}")),
        }
    }

    fn hubble(&mut self, line: u32, flow: &Hubble) {
        let forwarded = flow.verdict.as_deref().is_none_or(|verdict| verdict == "FORWARDED");
        if !forwarded || flow.is_reply == Some(true) {
            self.left_out += 1;
            return;
        }
        let ip = |pick: fn(&HubbleIp) -> &Option<String>| flow.ip.as_ref().and_then(|ip| pick(ip).clone());
        let source = flow.source.as_ref().and_then(HubbleEnd::word).or_else(|| ip(|ip| &ip.source));
        let destination = flow.destination.as_ref().and_then(HubbleEnd::word).or_else(|| ip(|ip| &ip.destination));
        let ports = flow.l4.iter().flatten().find(|(name, _)| Protocol::parse_lenient(name).is_some());
        match (source, destination, ports) {
            (Some(source), Some(destination), Some((protocol, ports))) => {
                let port = ports.destination_port.map(|port| port.to_string());
                self.flow(line, &source, &destination, port, Some(protocol));
            }
            // What has no ports is no matter of policies (C5).
            (_, _, None) => self.left_out += 1,
            _ => self.bad(line, "this flow names no pod and no address at one of its ends"),
        }
    }

    fn row(&mut self, line: u32, text: &str, columns: &Columns) {
        let cells: Vec<&str> = text.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        let cell = |at: Option<usize>| at.and_then(|at| cells.get(at).copied()).filter(|cell| !cell.is_empty());
        let (Some(source), Some(destination)) = (cell(Some(columns.source)), cell(Some(columns.destination))) else {
            return self.bad(line, "a row needs a source and a destination");
        };
        // Ranges of `netsim list -o csv`: every port of a protocol, or a port.
        let port = match (cell(columns.port), cell(columns.to)) {
            (Some("1"), Some("65535")) => None,
            (Some(from), Some(to)) if from != to => {
                return self.bad(line, format!("a range of ports ({from} to {to}) is no flow: name single ports"));
            }
            (from, _) => from.map(str::to_owned),
        };
        self.flow(line, source, destination, port, cell(columns.protocol));
    }

    fn flow(&mut self, line: u32, source: &str, destination: &str, port: Option<String>, protocol: Option<&str>) {
        let protocol = match protocol.filter(|p| !p.is_empty()).map(|text| (text, Protocol::parse_lenient(text))) {
            Some((text, None)) => return self.bad(line, format!("`{text}` is not a protocol: use TCP, UDP or SCTP")),
            Some((_, some)) => some,
            None => None,
        };
        let bare = destination.parse::<std::net::Ipv6Addr>().is_ok();
        let destination = match port {
            Some(port) if bare => format!("[{destination}]:{port}"),
            Some(port) => format!("{destination}:{port}"),
            None => destination.to_owned(),
        };
        self.flows.push(Flow { line, source: source.to_owned(), destination, protocol });
    }
}

/// Where the columns of a table are.
struct Columns {
    source: usize,
    destination: usize,
    port: Option<usize>,
    to: Option<usize>,
    protocol: Option<usize>,
}

impl Columns {
    fn of(header: &str) -> Result<Self, String> {
        let names: Vec<String> =
            header.split(',').map(|name| name.trim().trim_matches('"').to_ascii_lowercase()).collect();
        let find = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
        let needed = |known: &[&str]| {
            find(known).ok_or_else(|| {
                let meant = known.iter().find_map(|k| nearest(k, names.iter().map(String::as_str)));
                let meant = meant.map_or(String::new(), |meant| format!(" (is `{meant}` it?)"));
                format!("the first line names no column `{}`{meant}: a list of flows is JSON lines or CSV with the columns source, destination, port, protocol", known[0])
            })
        };
        Ok(Columns {
            source: needed(&["source", "src"])?,
            destination: needed(&["destination", "dst"])?,
            port: find(&["port", "from"]),
            to: find(&["to"]),
            protocol: find(&["protocol"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let flows = read(text, Denied::LeftOut);
        let good = flows.flows.iter().map(|f| {
            let protocol = f.protocol.map_or(String::new(), |p| format!(" {p}"));
            format!("{}: {} > {}{protocol}", f.line, f.source, f.destination)
        });
        good.chain(flows.bad.iter().map(|b| format!("{}! {}", b.line, b.message))).collect()
    }

    #[test]
    fn lists_of_flows_are_read() {
        assert_eq!(
            shown(
                "{\"source\":\"a/b\",\"destination\":\"c/d\",\"port\":80,\"protocol\":\"tcp\"}\n\n{\"source\":\"a/b\",\"destination\":\"c/svc/d:http\"}"
            ),
            ["1: a/b > c/d:80 TCP", "3: a/b > c/svc/d:http"]
        );
        assert_eq!(
            shown(
                "src,dst,protocol,from,to,family\na/b,2001:db8::1,TCP,80,80,\na/b,c/d,UDP,1,65535,\na/b,c/d,TCP,1,9,\n"
            ),
            [
                "2: a/b > [2001:db8::1]:80 TCP",
                "3: a/b > c/d UDP",
                "4! a range of ports (1 to 9) is no flow: name single ports"
            ]
        );
        assert!(shown("from,whither\n")[0].contains("no column `source`"));
        assert!(shown("{\"source\":\"a\"}")[0].contains("needs `source` and `destination`"));
        assert!(shown("{\"source\":\"a\",\"destination\":\"b\",\"protocol\":\"icmp\"}")[0].contains("`icmp`"));
    }

    #[test]
    fn hubble_flows_are_read() {
        let flow = r#"{"flow":{"verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"203.0.113.7"},"l4":{"TCP":{"source_port":40000,"destination_port":443}},"source":{"namespace":"shop","pod_name":"api-1","workloads":[{"name":"api","kind":"Deployment"}]},"destination":{"identity":2}}}"#;
        assert_eq!(shown(flow), ["1: shop/deployment/api > 203.0.113.7:443 TCP"]);
        let reply = flow.replace("\"IP\"", "\"is_reply\":true,\"IP\"");
        assert_eq!((shown(&reply).len(), read(&reply, Denied::LeftOut).left_out), (0, 1));
        assert_eq!(read(&flow.replace("FORWARDED", "DROPPED"), Denied::Taken).left_out, 1);
    }

    #[test]
    fn flows_of_the_enforcer_are_read() {
        let flow = r#"{"first":"2026-01-01T00:00:00Z","verdict":"audited","reason":"policy","direction":"ingress","source":{"ip":"10.0.0.1","pod":{"namespace":"shop","name":"frontend-1","labels":{}}},"destination":{"ip":"fd00::7"},"protocol":"TCP","port":5432,"packets":3,"isolated_by":["shop/deny"]}"#;
        assert_eq!(shown(flow), ["1: shop/pod/frontend-1 > [fd00::7]:5432 TCP"]);
        // What was dropped counts only where that is asked for.
        let dropped = flow.replace("audited", "denied");
        let read_as = |denied| {
            let read = read(&dropped, denied);
            (read.flows.len(), read.denied, read.left_out)
        };
        assert_eq!((read_as(Denied::LeftOut), read_as(Denied::Taken)), ((0, 1, 0), (1, 0, 0)));
        for (was, is) in [("\"policy\"", "\"unknown-pod\""), ("TCP", "ICMP"), ("\"port\":5432,", "")] {
            let read = read(&flow.replace(was, is), Denied::Taken);
            assert_eq!((read.flows.len(), read.left_out, read.bad.len()), (0, 1, 0), "{is}");
        }
        assert!(shown(&flow.replace("audited", "perhaps"))[0].contains("`denied` or `audited`"));
        assert!(shown(&flow.replace("\"ip\":\"fd00::7\"", "\"ip\":7"))[0].contains("not a flow of the enforcer"));
    }
}
