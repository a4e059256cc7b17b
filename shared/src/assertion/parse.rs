//! From YAML to tests. Everything that is wrong is told, each at its place.

use super::{API_VERSION, Assertion, Ends, Except, Form, Isolated, KIND, Label, Only, Suite, Test, Who};
use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::ingest::document::{Document, documents};
use crate::ingest::label_selector;
use crate::ingest::yaml::{Node, Value};
use crate::object::place_in;
use crate::ports::Protocol;
use crate::query::target::{AskedPort, parse_destination, parse_target};
use crate::selector::Selector;
use std::ops::Range;
use std::sync::Arc;

/// What a file may have.
pub const SUITE_KEYS: [&str; 5] = ["apiVersion", "kind", "namespace", "input", "tests"];
/// What a test asserts: one of these.
pub const ASSERTIONS: [&str; 5] = ["allowed", "denied", "onlyFrom", "onlyTo", "isolated"];
/// What a test may have.
pub const TEST_KEYS: [&str; 7] = ["name", "because", "allowed", "denied", "onlyFrom", "onlyTo", "isolated"];
/// What `allowed` and `denied` have.
pub const ENDS_KEYS: [&str; 2] = ["from", "to"];
/// What `onlyFrom` and `onlyTo` may have.
pub const ONLY_KEYS: [&str; 3] = ["from", "to", "outside"];
/// What `isolated` may have.
pub const ISOLATED_KEYS: [&str; 3] = ["by", "byPodLabel", "except"];
/// What an exception may have.
pub const EXCEPT_KEYS: [&str; 2] = ["from", "to"];
/// What pods are named by, where it is not by a word. Sources have no port.
pub const PODS_KEYS: [&str; 5] = ["namespace", "namespaceSelector", "podSelector", "port", "protocol"];

/// Reads a file of tests. `name` is what messages call it.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Suite, Vec<Diagnostic>> {
    let source: Arc<str> = name.into();
    let mut found: Vec<(Document<'_>, Node<'_>)> = Vec::new();
    for document in documents(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match Node::parse_one(document.text) {
            Ok(node) if node.value == Value::Null => {}
            Ok(node) => found.push((document, node)),
            Err(error) => {
                let place = place_in(&source, document.text, document.at, error.span);
                return Err(vec![Diagnostic::error(error.message).at(place)]);
            }
        }
    }
    let mut found = found.into_iter();
    let Some((document, node)) = found.next() else {
        return Err(vec![Diagnostic::error(format!("`{name}` is empty")).help(head())]);
    };
    let mut reader = Reader { source, document, wrong: Vec::new() };
    let suite = if reader.is_suite(&node) { reader.suite(&node) } else { None };
    if let (true, Some((second, node))) = (reader.wrong.is_empty(), found.next()) {
        let place = place_in(&reader.source, second.text, second.at, node.span.start..node.span.start + 1);
        let error = Diagnostic::error(format!("a second document: a file holds one {KIND}")).at(place);
        reader.wrong.push(error.help("make it a file of its own, or add its tests to the first"));
    }
    match suite {
        Some(suite) if reader.wrong.is_empty() => Ok(suite),
        _ => Err(reader.wrong),
    }
}

fn head() -> String {
    format!("a file of tests begins with `apiVersion: {API_VERSION}` and `kind: {KIND}`")
}

struct Reader<'t> {
    source: Arc<str>,
    document: Document<'t>,
    wrong: Vec<Diagnostic>,
}

/// Whether somebody connects or is connected to: only the latter has a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl<'t> Reader<'t> {
    fn place(&self, span: &Range<usize>) -> Place {
        place_in(&self.source, self.document.text, self.document.at, span.clone())
    }

    fn error(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let error = Diagnostic::error(message).at(self.place(span));
        self.wrong.push(error.help(help));
    }

    /// Whether it is a file of tests at all; says what else it is.
    fn is_suite(&mut self, node: &Node<'t>) -> bool {
        let text = |key: &str| node.get(key).and_then(Node::text).map(|text| text.into_owned());
        let start = node.span.start..node.span.start + 1;
        let at = |key: &str| node.get(key).map_or(start.clone(), |node| node.span.clone());
        let file = self.source.rsplit('/').next().unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        if kind.as_deref() == Some("Kustomization") || file.starts_with("kustomization.") {
            let help = "render it and name the tests: kustomize build DIR | netsim test TESTS -f -";
            self.error(&start, "this is a kustomization, not a file of tests", help);
            return false;
        }
        match (version.as_deref(), kind.as_deref()) {
            (Some(API_VERSION), Some(KIND)) => return true,
            (_, Some(KIND)) => {
                let version = version.unwrap_or_default();
                let message = format!("the apiVersion `{version}` of {KIND} is not known");
                self.error(&at("apiVersion"), message, format!("write `apiVersion: {API_VERSION}`"));
            }
            (Some(API_VERSION), Some(other)) => {
                self.error(&at("kind"), format!("`{other}` is not a kind of {API_VERSION}"), head());
            }
            (Some(_), Some(other)) => {
                let help = format!("manifests are named with -f: netsim test TESTS -f {}", self.source);
                self.error(&at("kind"), format!("this is a manifest ({other}), not a file of tests"), help);
            }
            _ => self.error(&start, "this is not a file of tests: it has no `apiVersion` and `kind`", head()),
        }
        false
    }

    /// The entries of a mapping, of which none is unknown; `None`, and said, when it is no mapping.
    fn entries<'n>(&mut self, node: &'n Node<'t>, what: &str, known: &[&str]) -> Option<&'n [(Node<'t>, Node<'t>)]> {
        let Value::Map(entries) = &node.value else {
            self.error(&node.span, format!("{what} is a mapping"), format!("it has {}", known.join(", ")));
            return None;
        };
        for (key, _) in entries {
            let name = key.text().unwrap_or_default();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let help = match (nearest(&name, known.iter().copied()), name.as_ref()) {
                (_, "only") => {
                    "write onlyFrom (nothing else reaches `to`) or onlyTo (`from` reaches nothing else)".to_owned()
                }
                (_, "port" | "protocol") => "a source has no port: it is that of the destination".to_owned(),
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (None, _) => format!("{what} has {}", known.join(", ")),
            };
            self.error(&key.span, format!("{what} has no key `{name}`"), help);
        }
        Some(entries)
    }

    fn text(&mut self, node: &Node<'t>, what: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) if !text.trim().is_empty() => Some(text.clone().into_owned()),
            Value::Text(_) | Value::Null => {
                self.error(&node.span, format!("{what} is empty"), "write it, or leave the key out");
                None
            }
            Value::List(_) | Value::Map(_) => {
                self.error(&node.span, format!("{what} is text"), "write it in one piece");
                None
            }
            _ => {
                self.error(&node.span, format!("{what} is text"), "put it in quotes");
                None
            }
        }
    }

    fn flag(&mut self, node: &Node<'t>, what: &str) -> bool {
        if let Value::Bool(flag) = node.value {
            return flag;
        }
        self.error(&node.span, format!("{what} is true or false"), "write one of them");
        true
    }

    fn suite(&mut self, node: &Node<'t>) -> Option<Suite> {
        self.entries(node, "a file of tests", &SUITE_KEYS)?;
        let input = node.get("input").map_or(Vec::new(), |node| self.input(node));
        let namespace = node.get("namespace").and_then(|node| self.text(node, "`namespace`"));
        let mut tests = Vec::new();
        match node.get("tests") {
            Some(Node { value: Value::List(items), .. }) if !items.is_empty() => {
                tests.extend(items.iter().filter_map(|item| self.test(item)));
            }
            Some(other) => self.error(&other.span, "`tests` is a list with at least one test", "begin each with `- `"),
            None => {
                let start = node.span.start..node.span.start + 1;
                self.error(&start, "there are no `tests`", "add them: `tests:` and a list");
            }
        }
        Some(Suite { source: self.source.clone(), input, namespace, tests })
    }

    fn input(&mut self, node: &Node<'t>) -> Vec<(String, Place)> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut paths = Vec::new();
        for item in items {
            let Some(path) = self.text(item, "a path of `input`") else { continue };
            if path == "-" {
                let help = "name it on the command line, which replaces `input`: netsim test TESTS -f -";
                self.error(&item.span, "a file of tests cannot read standard input", help);
            }
            paths.push((path, self.place(&item.span)));
        }
        paths
    }

    fn test(&mut self, node: &Node<'t>) -> Option<Test> {
        let entries = self.entries(node, "a test", &TEST_KEYS)?;
        let name = node.get("name").and_then(|node| self.text(node, "`name`"));
        let because = node.get("because").and_then(|node| self.text(node, "`because`"));
        let mut asserted = entries.iter().filter(|(key, _)| key.text().is_some_and(|k| ASSERTIONS.contains(&&*k)));
        let Some((key, value)) = asserted.next() else {
            // A key that is not known is told already; it was probably meant to be one.
            let all_known = entries.iter().all(|(key, _)| key.text().is_some_and(|k| TEST_KEYS.contains(&&*k)));
            if all_known {
                let start = node.span.start..node.span.start + 1;
                self.error(&start, "this test asserts nothing", format!("give one of {}", ASSERTIONS.join(", ")));
            }
            return None;
        };
        if let Some((second, _)) = asserted.next() {
            let message = format!(
                "a test asserts one thing, not `{}` and `{}`",
                key.text().unwrap_or_default(),
                second.text().unwrap_or_default()
            );
            self.error(&second.span, message, "make it a test of its own");
        }
        let place = self.place(&key.span);
        let assertion = match key.text().unwrap_or_default().as_ref() {
            "allowed" => Assertion::Allowed(self.ends(value, "`allowed`", &ENDS_KEYS)?),
            "denied" => Assertion::Denied(self.ends(value, "`denied`", &ENDS_KEYS)?),
            "onlyFrom" => Assertion::OnlyFrom(self.only(value, "`onlyFrom`")?),
            "onlyTo" => Assertion::OnlyTo(self.only(value, "`onlyTo`")?),
            _ => Assertion::Isolated(self.isolated(value)?),
        };
        let title = name.unwrap_or_else(|| assertion.to_string());
        Some(Test { title, because, assertion, place })
    }

    fn ends(&mut self, node: &Node<'t>, what: &str, keys: &[&str]) -> Option<Ends> {
        let before = self.wrong.len();
        self.entries(node, what, keys)?;
        // What is missing is probably what has a key that is not known.
        let misspelt = self.wrong.len() > before;
        let mut end = |key: &str, end| match node.get(key) {
            Some(value) => self.all(value, key, end),
            None if misspelt => None,
            None => {
                let start = node.span.start..node.span.start + 1;
                self.error(&start, format!("{what} has no `{key}`"), "it needs `from` and `to`");
                None
            }
        };
        let (from, to) = (end("from", End::Source), end("to", End::Destination));
        Some(Ends { from: from?, to: to? })
    }

    fn only(&mut self, node: &Node<'t>, what: &str) -> Option<Only> {
        let ends = self.ends(node, what, &ONLY_KEYS);
        let outside = node.get("outside").is_none_or(|node| self.flag(node, "`outside`"));
        Some(Only { ends: ends?, outside })
    }

    fn isolated(&mut self, node: &Node<'t>) -> Option<Isolated> {
        self.entries(node, "`isolated`", &ISOLATED_KEYS)?;
        let by = match (node.get("by"), node.get("byPodLabel")) {
            (Some(by), None) => self.text(by, "`by`").map(|key| (Label::OfNamespace(key), self.place(&by.span))),
            (None, Some(by)) => self.text(by, "`byPodLabel`").map(|key| (Label::OfPod(key), self.place(&by.span))),
            (Some(_), Some(second)) => {
                self.error(&second.span, "`by` and `byPodLabel` in one assertion", "keep one of them");
                None
            }
            (None, None) => {
                let start = node.span.start..node.span.start + 1;
                let help = "write `by: LABEL` for a label of namespaces, `byPodLabel: LABEL` for one of pods";
                self.error(&start, "`isolated` has no `by`", help);
                None
            }
        };
        let except = match node.get("except").map(|node| (&node.value, &node.span)) {
            None => Vec::new(),
            Some((Value::List(items), _)) => items.iter().filter_map(|item| self.except(item)).collect(),
            Some((_, span)) => {
                self.error(span, "`except` is a list", "write `except: [{from: …, to: …}]`");
                Vec::new()
            }
        };
        let (by, place) = by?;
        Some(Isolated { by, except, place })
    }

    fn except(&mut self, node: &Node<'t>) -> Option<Except> {
        let entries = self.entries(node, "an exception", &EXCEPT_KEYS)?;
        if entries.is_empty() {
            self.error(&node.span, "an exception for everything", "name `from`, `to` or both");
            return None;
        }
        let from = node.get("from").map(|value| self.all(value, "from", End::Source));
        let to = node.get("to").map(|value| self.all(value, "to", End::Destination));
        // What could not be read must not become "everybody".
        Some(Except { from: optional(from)?, to: optional(to)? })
    }

    /// One or several.
    fn all(&mut self, node: &Node<'t>, key: &str, end: End) -> Option<Vec<Who>> {
        let Value::List(items) = &node.value else { return self.who(node, key, end).map(|who| vec![who]) };
        if items.is_empty() {
            self.error(&node.span, format!("`{key}` is empty"), "name somebody");
            return None;
        }
        let read: Vec<Option<Who>> = items.iter().map(|item| self.who(item, key, end)).collect();
        read.into_iter().collect()
    }

    fn who(&mut self, node: &Node<'t>, key: &str, end: End) -> Option<Who> {
        match &node.value {
            Value::Text(word) => self.word(word, &node.span, end),
            Value::Map(_) => self.pods(node, key, end),
            _ => {
                let help = "write a word such as shop/deploy/web, in quotes, or {namespace: …, podSelector: …}";
                self.error(&node.span, format!("`{key}` names nobody here"), help);
                None
            }
        }
    }

    fn word(&mut self, word: &str, span: &Range<usize>, end: End) -> Option<Who> {
        let place = self.place(span);
        let read = match (end, parse_destination(word)) {
            (End::Destination, read) => read.map(|word| (word.target, word.port, word.protocol)),
            (End::Source, Ok(read)) if read.port.is_some() => {
                Err(format!("`{word}` has a port: the port is that of the destination"))
            }
            (End::Source, _) => parse_target(word).map(|target| (target, None, None)),
        };
        match read {
            Ok((target, port, protocol)) => {
                Some(Who { shown: word.to_owned(), form: Form::Word(target), port, protocol, place })
            }
            Err(message) => {
                self.wrong.push(Diagnostic::error(message).at(place));
                None
            }
        }
    }

    fn pods(&mut self, node: &Node<'t>, key: &str, end: End) -> Option<Who> {
        let known = if end == End::Source { PODS_KEYS.get(..3).unwrap_or_default() } else { &PODS_KEYS };
        self.entries(node, &format!("`{key}`"), known)?;
        let namespace = node.get("namespace").map(|node| self.text(node, "`namespace`"));
        let namespaces = node.get("namespaceSelector").map(|node| self.selector(node, "`namespaceSelector`"));
        let pods = node.get("podSelector").map(|node| self.selector(node, "`podSelector`"));
        let port = node.get("port").map(|node| self.port(node));
        let protocol = node.get("protocol").map(|node| self.protocol(node));
        if namespace.is_some()
            && let Some(second) = node.get("namespaceSelector")
        {
            self.error(&second.span, "`namespace` beside `namespaceSelector`", "keep one of them");
            return None;
        }
        if namespace.is_none() && namespaces.is_none() && pods.is_none() {
            self.error(&node.span, format!("`{key}` names nobody"), "give a namespace, a selector, or both");
            return None;
        }
        let (namespace, namespaces) = (optional(namespace)?, optional(namespaces)?);
        let (pods, port, protocol) = (optional(pods)?.unwrap_or_default(), optional(port)?, optional(protocol)?);
        let mut shown = if pods.is_everything() { "all pods".to_owned() } else { format!("pods {pods}") };
        match (&namespace, &namespaces) {
            (Some(name), _) => shown += &format!(" of {name}"),
            (None, Some(all)) if all.is_everything() => shown += " of all namespaces",
            (None, Some(selector)) => shown += &format!(" of namespaces {selector}"),
            (None, None) => {}
        }
        if let Some(port) = &port {
            shown += &format!(":{port}");
        }
        if let Some(protocol) = protocol.filter(|protocol| port.is_none() || *protocol != Protocol::Tcp) {
            shown += &format!("/{}", protocol.as_str().to_lowercase());
        }
        let place = self.place(&node.span);
        Some(Who { shown, form: Form::Pods { namespace, namespaces, pods }, port, protocol, place })
    }

    fn selector(&mut self, node: &Node<'t>, what: &str) -> Option<Selector> {
        match &node.value {
            Value::Text(text) => match Selector::parse(text) {
                Ok(selector) => Some(selector),
                Err(message) => {
                    self.wrong.push(Diagnostic::error(message).at(self.place(&node.span)));
                    None
                }
            },
            Value::Map(entries) => {
                let is_plain = |(key, value): &(Node<'t>, Node<'t>)| {
                    let known = key.text().is_some_and(|k| matches!(&*k, "matchLabels" | "matchExpressions"));
                    !known && matches!(value.value, Value::Text(_))
                };
                if !entries.is_empty() && entries.iter().all(is_plain) {
                    let labels = entries.iter().filter_map(|(k, v)| Some(format!("{}={}", k.text()?, v.text()?)));
                    let labels: Vec<String> = labels.collect();
                    let help = format!("write \"{}\", or {{matchLabels: {{…}}}}", labels.join(","));
                    self.error(&node.span, format!("labels stand in {what} as they are"), help);
                    return None;
                }
                match label_selector(node) {
                    Ok(selector) => Some(selector),
                    Err(wrong) => {
                        for (error, help) in wrong {
                            let mut diagnostic = Diagnostic::error(error.message).at(self.place(&error.span));
                            diagnostic.help = help;
                            self.wrong.push(diagnostic);
                        }
                        None
                    }
                }
            }
            _ => {
                let help = "write it as for kubectl -l, \"app=web,tier!=cache\", or {matchLabels: {app: web}}";
                self.error(&node.span, format!("{what} is a label selector"), help);
                None
            }
        }
    }

    fn port(&mut self, node: &Node<'t>) -> Option<AskedPort> {
        let number = |number: i64| u16::try_from(number).ok().filter(|number| *number > 0);
        let read = match &node.value {
            Value::Integer(integer) => number(*integer).map(AskedPort::Number),
            Value::Text(text) => match text.parse::<i64>() {
                Ok(integer) => number(integer).map(AskedPort::Number),
                Err(_) if text.is_empty() => None,
                Err(_) => Some(AskedPort::Name(text.clone().into_owned())),
            },
            _ => None,
        };
        if read.is_none() {
            let given = node.text().unwrap_or_default().into_owned();
            self.error(&node.span, format!("`{given}` is not a port"), "a port is a number from 1 to 65535, or a name");
        }
        read
    }

    fn protocol(&mut self, node: &Node<'t>) -> Option<Protocol> {
        let given = node.text().unwrap_or_default();
        let read = Protocol::parse_lenient(&given);
        if read.is_none() {
            self.error(&node.span, format!("`{given}` is not a protocol"), "use TCP, UDP or SCTP");
        }
        read
    }
}

/// What is not there is no error; what is there and could not be read is one.
fn optional<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(read) => Some(read),
    }
}
