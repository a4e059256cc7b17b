//! From text to objects: YAML and JSON, many documents, lists of objects.
//!
//! JSON takes a fast way (serde_json). Everything else, and everything in which something is wrong,
//! goes through a tree whose nodes know their places ([`yaml`]), so that messages point at them.
//! Documents are independent and read in parallel.

mod convert;
mod de;
pub(crate) mod document;
pub mod kind;
mod names;
mod raw;
pub mod yaml;

use crate::diagnostic::{Diagnostic, Severity, nearest};
use crate::object::{Object, Origin, Path, place_in};
use crate::selector::Selector;
use convert::{Context, Problems};
use de::FitError;
use document::{Document, LineCounter, documents, json_list, peek_json, printed_list};
use kind::{Kind, classify};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use yaml::{Node, Value};

/// What came out of one or more sources.
#[derive(Debug, Default)]
pub struct Ingested {
    /// The objects, in the order of the input.
    pub objects: Vec<Object>,
    /// What is wrong, in the order of the input.
    pub diagnostics: Vec<Diagnostic>,
    /// How many objects were left out because their kind says nothing about connectivity.
    pub ignored: BTreeMap<String, usize>,
}

impl Ingested {
    /// Whether anything is wrong that must make the run fail (H3).
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    fn and(mut self, other: Ingested) -> Ingested {
        self.extend(other);
        self
    }

    /// Takes in what another source gave.
    pub fn extend(&mut self, other: Ingested) {
        self.objects.extend(other.objects);
        self.diagnostics.extend(other.diagnostics);
        for (kind, count) in other.ignored {
            *self.ignored.entry(kind).or_default() += count;
        }
    }
}

/// Whose text is kept, so that their parts can be named with their lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// That of policies: what explains a verdict.
    Policies,
    /// That of every object: what is asked about pods, Services and roles too.
    Everything,
}

/// Reads one source. `name` is what messages call it; objects that name no namespace get
/// `default_namespace`.
pub fn ingest(name: &str, bytes: &[u8], default_namespace: &str) -> Ingested {
    ingest_keeping(name, bytes, default_namespace, Keep::Policies)
}

/// The same, and more texts are kept.
pub fn ingest_keeping(name: &str, bytes: &[u8], default_namespace: &str, keep: Keep) -> Ingested {
    let source: Arc<str> = name.into();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
            let place = place_in(&source, valid, (1, 1), valid.len()..valid.len());
            let help = "Kubernetes manifests are UTF-8 text; is this the right file?";
            let diagnostic = Diagnostic::error("not UTF-8 text").at(place).help(help);
            return Ingested { diagnostics: vec![diagnostic], ..Ingested::default() };
        }
    };
    let reader = Reader { source: &source, default_namespace, keep, most: usize::MAX };
    let documents = documents(text).into_par_iter().map(|document| reader.document(&document));
    documents.reduce(Ingested::default, Ingested::and)
}

/// How much is told of one object that came from the API server. Such an object is one line, and each message has
/// a copy of it: a policy of a megabyte with as many untidy CIDRs as have room would take gigabytes.
const MOST_OF_ONE: usize = 20;

/// Reads one JSON object whose kind is known from where it came: items of lists and objects in
/// watch events of the API server name none themselves. `source` is what messages call that place.
/// Of many things that are wrong with it the first are told, errors before warnings, and how many others there are.
pub fn ingest_json(source: &Arc<str>, json: &str, api_version: &str, kind: &str) -> Ingested {
    // The API server gives every namespaced object a namespace.
    let reader = Reader { source, default_namespace: "default", keep: Keep::Policies, most: MOST_OF_ONE };
    reader.any_item(&Document::whole(json), &ItemKind { api_version, kind })
}

struct Reader<'r> {
    source: &'r Arc<str>,
    default_namespace: &'r str,
    keep: Keep,
    /// How much is told of one object at most.
    most: usize,
}

/// The kind that a list gives to items that name none themselves (`PodList` holds pods).
struct ItemKind<'h> {
    api_version: &'h str,
    kind: &'h str,
}

impl Reader<'_> {
    fn document(&self, document: &Document<'_>) -> Ingested {
        if document.text.trim_start().starts_with('{')
            && let Some(done) = self.json_document(document)
        {
            return done;
        }
        self.yaml_document(document)
    }

    /// The fast way; `None` when this is not JSON, or when something is wrong with it.
    fn json_document(&self, document: &Document<'_>) -> Option<Ingested> {
        let head = peek_json(document.text);
        if head.list {
            let guessed = printed_list(document).and_then(|list| {
                let items = list.items.par_iter().map(|item| self.json_item(item, &list.item_kind()));
                items.try_reduce(Ingested::default, |all, one| Some(all.and(one)))
            });
            return guessed.or_else(|| {
                let list = json_list(document)?;
                let items = list.items.par_iter().map(|item| self.any_item(item, &list.item_kind()));
                Some(items.reduce(Ingested::default, Ingested::and))
            });
        }
        self.json_object(document, head.api_version.as_deref()?, head.kind.as_deref()?)
    }

    fn json_item(&self, item: &Document<'_>, from_list: &ItemKind<'_>) -> Option<Ingested> {
        let head = if from_list.kind.is_empty() { peek_json(item.text) } else { document::JsonHead::default() };
        let api_version = head.api_version.as_deref().unwrap_or(from_list.api_version);
        let kind = head.kind.as_deref().unwrap_or(from_list.kind);
        self.json_object(item, api_version, kind)
    }

    /// An item of a JSON list in which something may be wrong.
    fn any_item(&self, item: &Document<'_>, from_list: &ItemKind<'_>) -> Ingested {
        self.json_item(item, from_list).unwrap_or_else(|| match Node::parse_one(item.text) {
            Ok(node) => self.yaml_object(item, &node, item.first_line, &Path::default(), from_list, None),
            Err(error) => self.failure(item, error.message, error.span, None),
        })
    }

    fn json_object(&self, document: &Document<'_>, api_version: &str, kind: &str) -> Option<Ingested> {
        if kind.is_empty() {
            return None;
        }
        let known = classify(api_version, kind);
        if known == Kind::Other {
            // Still read to its end: a broken rest must not pass unseen.
            serde_json::from_str::<serde::de::IgnoredAny>(document.text).ok()?;
            return Some(ignored(kind));
        }
        let context = self.context(document, api_version, kind, known, Path::default());
        let mut deserializer = serde_json::Deserializer::from_str(document.text);
        let (objects, problems) = convert::read(known, &mut deserializer, context).ok()?;
        deserializer.end().ok()?;
        let node = if problems.0.is_empty() { None } else { Some(Node::parse_one(document.text).ok()?) };
        Some(self.finish(document, node.as_ref(), objects, problems))
    }

    fn yaml_document(&self, document: &Document<'_>) -> Ingested {
        let node = match Node::parse_one(document.text) {
            Ok(node) => node,
            Err(error) => {
                let templated = document.text.contains("{{").then(|| {
                    "this looks like a Helm template: render it first, `helm template CHART | netsim … -f -`".to_owned()
                });
                return self.failure(document, error.message, error.span, templated);
            }
        };
        match &node.value {
            Value::Null => Ingested::default(),
            Value::Map(_) => {
                let no_list = ItemKind { api_version: "", kind: "" };
                self.yaml_object(document, &node, document.first_line, &Path::default(), &no_list, None)
            }
            _ => self.not_an_object(document, node.span.clone()),
        }
    }

    fn yaml_object(
        &self,
        document: &Document<'_>,
        node: &Node<'_>,
        line: u32,
        within: &Path,
        from_list: &ItemKind<'_>,
        own: Option<&str>,
    ) -> Ingested {
        let text_of = |key: &str| node.get(key).and_then(Node::text);
        let api_version = text_of("apiVersion").unwrap_or(from_list.api_version.into());
        let kind = text_of("kind").unwrap_or(from_list.kind.into());
        if kind.is_empty() {
            return self.not_an_object(document, node.span.start..node.span.start + 1);
        }
        if let (Some(item_kind), Some(items)) = (kind.strip_suffix("List"), node.get("items")) {
            return self.yaml_items(
                document,
                items,
                &within.key("items"),
                &ItemKind { api_version: &api_version, kind: item_kind },
            );
        }
        let known = classify(&api_version, &kind);
        if known == Kind::Other {
            return ignored(&kind);
        }
        let mut context = self.context(document, &api_version, &kind, known, within.clone());
        context.origin.line = line;
        if let (Some(text), Some(kept)) = (own, &mut context.origin.text) {
            // Whoever looks for a part of it later need not read the whole list again.
            *kept = text.into();
            (context.origin.text_at, context.origin.within) = ((line, 1), Path::default().index(0));
        }
        match convert::read(known, node, context) {
            Ok((objects, problems)) => self.finish(document, Some(node), objects, problems),
            Err(error) => {
                let misplaced = names::misplaced(known, node, &error);
                let rule = misplaced.as_ref().map(|_| names::RULE);
                let help = misplaced.or_else(|| help_for(&error));
                let mut failed = self.failure(document, error.message, error.span.unwrap_or(node.span.clone()), help);
                failed.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.rule = rule);
                failed
            }
        }
    }

    fn yaml_items(&self, document: &Document<'_>, items: &Node<'_>, path: &Path, from_list: &ItemKind<'_>) -> Ingested {
        let mut all = Ingested::default();
        match &items.value {
            Value::Null => {}
            Value::List(list) => {
                let mut lines = LineCounter::new(document.text, document.at);
                for (i, item) in list.iter().enumerate() {
                    let (line, _) = lines.place(item.span.start);
                    let own = own_lines(document.text, item.span.clone());
                    all.extend(self.yaml_object(document, item, line, &path.index(i), from_list, own));
                }
            }
            _ => all.extend(self.failure(document, "`items` is not a list".into(), items.span.clone(), None)),
        }
        all
    }

    fn context<'c>(
        &'c self,
        document: &Document<'_>,
        api_version: &'c str,
        kind: &'c str,
        known: Kind,
        within: Path,
    ) -> Context<'c> {
        // Most commands point into policies only; keeping every pod's text would cost more than all else.
        let kept = matches!(known, Kind::NetworkPolicy | Kind::EgressDomainPolicy) || self.keep == Keep::Everything;
        let origin = Origin {
            source: self.source.clone(),
            line: document.first_line,
            text_at: document.at,
            text: kept.then(|| document.kept_text()),
            within,
            accepted: None,
        };
        Context { default_namespace: self.default_namespace, api_version, kind, origin }
    }

    /// Turns problems into diagnostics with places, which the object's node tells.
    fn finish(
        &self,
        document: &Document<'_>,
        node: Option<&Node<'_>>,
        objects: Vec<Object>,
        problems: Problems,
    ) -> Ingested {
        let mut problems = problems.0;
        let left_out = problems.len().saturating_sub(self.most);
        if left_out > 0 {
            problems.sort_by_key(|problem| problem.severity != Severity::Error);
            problems.truncate(self.most);
        }
        let diagnostics = problems.into_iter().map(|problem| {
            let span = node.map_or(0..0, |node| node.span_of(&problem.path.0));
            let place = place_in(self.source, document.text, document.at, span);
            let message = format!("{}: {}", problem.path, problem.message);
            Diagnostic {
                severity: problem.severity,
                message,
                place: Some(place),
                help: problem.help,
                rule: problem.rule,
            }
        });
        let more = (left_out > 0).then(|| Diagnostic::warning(format!("{left_out} more problems of this object")));
        let diagnostics = diagnostics.chain(more).collect();
        Ingested { diagnostics, objects, ignored: BTreeMap::new() }
    }

    fn failure(&self, document: &Document<'_>, message: String, span: Range<usize>, help: Option<String>) -> Ingested {
        let place = place_in(self.source, document.text, document.at, span);
        let diagnostic = Diagnostic { help, ..Diagnostic::error(message).at(place) };
        Ingested { diagnostics: vec![diagnostic], ..Ingested::default() }
    }

    fn not_an_object(&self, document: &Document<'_>, span: Range<usize>) -> Ingested {
        let place = place_in(self.source, document.text, document.at, span);
        let diagnostic = Diagnostic::warning("not a Kubernetes object: it has no `kind`; left out")
            .at(place)
            .help("every object needs `apiVersion` and `kind`; name the files you mean if others lie beside them");
        let mut left_out = ignored("(no kind)");
        left_out.diagnostics.push(diagnostic);
        left_out
    }
}

/// The lines of an item of a YAML list, which are a list of one item by themselves; `None` where the
/// item shares its lines with others, or may refer to anchors elsewhere.
fn own_lines(text: &str, item: Range<usize>) -> Option<&str> {
    let start = text.get(..item.start)?.rfind('\n').map_or(0, |at| at + 1);
    let lead = text.get(start..item.start)?.trim();
    let end = item.start + text.get(item.clone())?.trim_end().len();
    let end = text.get(end..)?.find('\n').map_or(text.len(), |at| end + at);
    let lines = text.get(start..end)?;
    (lead == "-" && !lines.contains(['*', '&'])).then_some(lines)
}

fn ignored(kind: &str) -> Ingested {
    Ingested { ignored: BTreeMap::from([(kind.to_owned(), 1)]), ..Ingested::default() }
}

/// What to do about a shape that does not fit.
fn help_for(error: &FitError) -> Option<String> {
    let mut words = error.message.split('`').skip(1).step_by(2);
    if error.message.starts_with("unknown field") {
        let given = words.next()?;
        let known: Vec<&str> = words.collect();
        return nearest(given, known.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
    }
    error.message.contains("expected a string").then(|| "put it in quotes: labels and names are text".to_owned())
}

impl<'h> document::JsonList<'h> {
    fn item_kind(&'h self) -> ItemKind<'h> {
        let kind = self.kind.as_deref().unwrap_or_default();
        ItemKind {
            api_version: self.api_version.as_deref().unwrap_or_default(),
            kind: kind.strip_suffix("List").unwrap_or_default(),
        }
    }
}

/// Reads a YAML (or JSON) text of netsim's own, such as a test case, into a type.
///
/// # Errors
/// What does not fit, and the bytes it is about.
pub fn from_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, yaml::YamlError> {
    let node = Node::parse_one(text)?;
    T::deserialize(&node).map_err(|error| yaml::YamlError { message: error.message, span: error.span.unwrap_or(0..0) })
}

/// Reads a label selector as Kubernetes writes it, with `matchLabels` and `matchExpressions`.
///
/// # Errors
/// All that is wrong with it: the bytes it is about, and what to do.
pub(crate) fn label_selector(node: &Node<'_>) -> Result<Selector, Vec<(yaml::YamlError, Option<String>)>> {
    convert::label_selector(node).map_err(|wrong| match wrong {
        Ok(problems) => {
            let one = |problem: convert::Problem| {
                let span = node.span_of(&problem.path.0);
                (yaml::YamlError { message: problem.message, span }, problem.help)
            };
            problems.0.into_iter().map(one).collect()
        }
        Err(error) => {
            let help = help_for(&error);
            let span = error.span.unwrap_or(node.span.clone());
            vec![(yaml::YamlError { message: error.message, span }, help)]
        }
    })
}
