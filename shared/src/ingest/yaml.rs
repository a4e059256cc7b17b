//! One YAML document as a tree in which every node knows its place.
//!
//! JSON is read by it too (it is YAML), when a message needs the place of something. Scalars are
//! typed as the Kubernetes tools do it (YAML 1.1: `yes` is a boolean, `010` is eight), because what
//! they would refuse must be refused here.

use crate::object::Step;
use granit_parser::{Event, Parser, ScalarStyle, Span};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// More nodes than this in one document, aliases expanded, are an attack and not a manifest.
const MAX_NODES: usize = 20_000_000;
/// More aliased nodes than this are an attack ("billion laughs").
const MAX_ALIASED_NODES: usize = 100_000;
/// Deeper nesting than this occurs in no Kubernetes object.
const MAX_DEPTH: usize = 100;

/// A node of the tree and its byte range in the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// What it is.
    pub value: Value<'a>,
    /// Its bytes in the document.
    pub span: Range<usize>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// Any other number, as it is written.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Node<'a>>),
    /// A mapping, in the order of the document; keys are unique.
    Map(Vec<(Node<'a>, Node<'a>)>),
}

/// Why a document could not be read, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct YamlError {
    /// What is wrong.
    pub message: String,
    /// The bytes that are meant.
    pub span: Range<usize>,
}

/// A mapping or list that is being read.
enum Open<'a> {
    List { items: Vec<Node<'a>>, start: usize, anchor: usize },
    Map { entries: Vec<(Node<'a>, Node<'a>)>, key: Option<Node<'a>>, start: usize, anchor: usize },
}

impl<'a> Node<'a> {
    /// Reads a text of one document; an empty one is null.
    ///
    /// # Errors
    /// The first thing that is not YAML, or is a duplicate key.
    pub fn parse_one(text: &'a str) -> Result<Node<'a>, YamlError> {
        let mut open: Vec<Open<'a>> = Vec::new();
        let mut anchors: HashMap<usize, (Node<'a>, usize)> = HashMap::new();
        let mut root: Option<Node<'a>> = None;
        let (mut nodes, mut aliased) = (0_usize, 0_usize);
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|e| {
                let at = e.marker().byte_offset().unwrap_or(text.len());
                YamlError { message: format!("not valid YAML: {}", e.info()), span: at..at + 1 }
            })?;
            let span = byte_range(&span, text);
            let fail = |message: &str| Err(YamlError { message: message.to_owned(), span: span.clone() });
            nodes += 1;
            if nodes > MAX_NODES || open.len() > MAX_DEPTH {
                return fail("the document is nested too deeply or has too many nodes for a Kubernetes object");
            }
            let (node, anchor) = match event {
                Event::Scalar(value, style, anchor, tag) => {
                    let forced_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                    let plain = style == ScalarStyle::Plain && !forced_text;
                    (Node { value: if plain { plain_scalar(value) } else { Value::Text(value) }, span }, anchor)
                }
                Event::SequenceStart(_, anchor, _) => {
                    open.push(Open::List { items: Vec::new(), start: span.start, anchor });
                    continue;
                }
                Event::MappingStart(_, anchor, _) => {
                    open.push(Open::Map { entries: Vec::new(), key: None, start: span.start, anchor });
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(Open::List { items, start, anchor }) => {
                        (Node { value: Value::List(items), span: start..span.end.max(start) }, anchor)
                    }
                    Some(Open::Map { entries, start, anchor, .. }) => {
                        let entries = merge_keys(entries)?;
                        (Node { value: Value::Map(entries), span: start..span.end.max(start) }, anchor)
                    }
                    None => return fail("an end without a beginning"),
                },
                Event::Alias(id) => match anchors.get(&id) {
                    Some((node, size)) => {
                        aliased += size;
                        if aliased > MAX_ALIASED_NODES {
                            return fail("the document's aliases expand to more nodes than a Kubernetes object has");
                        }
                        (node.clone(), 0)
                    }
                    None => return fail("an alias to an anchor that is not complete"),
                },
                Event::DocumentStart(..) if root.is_some() => {
                    return fail("a second document where one was expected");
                }
                _ => continue,
            };
            if anchor != 0 {
                let size = node.size();
                anchors.insert(anchor, (node.clone(), size));
            }
            attach(&mut open, &mut root, node)?;
        }
        Ok(root.unwrap_or(Node { value: Value::Null, span: 0..0 }))
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A part, if it is there.
    pub fn at(&self, path: &[Step]) -> Option<&Node<'a>> {
        path.iter().try_fold(self, |here, step| match (step, &here.value) {
            (Step::Key(key), _) => here.get(key),
            (Step::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        })
    }

    /// A key's node and its value.
    fn entry(&self, key: &str) -> Option<&(Node<'a>, Node<'a>)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text().as_deref() == Some(key)),
            _ => None,
        }
    }

    /// The text of a scalar as a mapping key would have it.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match &self.value {
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Bool(b) => Some(b.to_string().into()),
            Value::Integer(i) => Some(i.to_string().into()),
            Value::Float(x) => Some(x.to_string().into()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The bytes of a part; where it is missing, of the last part on the way that is there.
    /// A value is preferred; for a long one (list or mapping) its key, or its first line, is meant.
    pub fn span_of(&self, path: &[Step]) -> Range<usize> {
        let mut here = self;
        let mut best = self.span.clone();
        for step in path {
            let next = match (step, &here.value) {
                (Step::Key(key), _) => here.entry(key).map(|(k, v)| {
                    let nested = matches!(v.value, Value::List(_) | Value::Map(_) | Value::Null);
                    (v, if nested { k.span.clone() } else { v.span.clone() })
                }),
                (Step::Index(index), Value::List(items)) => items.get(*index).map(|v| (v, v.span.clone())),
                _ => None,
            };
            let Some((node, span)) = next else { break };
            (here, best) = (node, span);
        }
        best
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|(k, v)| k.size() + v.size()).sum::<usize>(),
            _ => 0,
        }
    }
}

fn byte_range(span: &Span, text: &str) -> Range<usize> {
    let start = span.start.byte_offset().unwrap_or(0).min(text.len());
    start..span.end.byte_offset().unwrap_or(start).clamp(start, text.len())
}

/// Puts a finished node where it belongs.
fn attach<'a>(open: &mut [Open<'a>], root: &mut Option<Node<'a>>, node: Node<'a>) -> Result<(), YamlError> {
    match open.last_mut() {
        None => *root = Some(node),
        Some(Open::List { items, .. }) => items.push(node),
        Some(Open::Map { entries, key, .. }) => match key.take() {
            None => {
                if node.text().is_none() {
                    let message = "a mapping key that is neither text nor a number".to_owned();
                    return Err(YamlError { message, span: node.span });
                }
                *key = Some(node);
            }
            Some(k) => entries.push((k, node)),
        },
    }
    Ok(())
}

/// Refuses duplicate keys and resolves `<<`: what a mapping says itself wins over what it merges.
fn merge_keys<'a>(entries: Vec<(Node<'a>, Node<'a>)>) -> Result<Vec<(Node<'a>, Node<'a>)>, YamlError> {
    let is_merge = |key: &Node<'_>| matches!(&key.value, Value::Text(text) if text == "<<");
    let has_merge = entries.iter().any(|(key, _)| is_merge(key));
    let mut out: Vec<(Node<'a>, Node<'a>)> = Vec::with_capacity(entries.len());
    let mut merged = Vec::new();
    // Small mappings, nearly all there are, are compared pairwise; large ones (data) by a set.
    let mut seen = std::collections::HashSet::new();
    for (key, value) in entries {
        if has_merge && is_merge(&key) {
            match value.value {
                Value::Map(entries) => merged.extend(entries),
                Value::List(items) => {
                    for item in items {
                        if let Value::Map(entries) = item.value {
                            merged.extend(entries);
                        }
                    }
                }
                _ => {}
            }
            continue;
        }
        let duplicate = if out.len() < 16 {
            out.iter().any(|(k, _)| k.text() == key.text())
        } else {
            if seen.is_empty() {
                seen.extend(out.iter().filter_map(|(k, _)| k.text().map(Cow::into_owned)));
            }
            !seen.insert(key.text().unwrap_or_default().into_owned())
        };
        if duplicate {
            let name = key.text().unwrap_or_default().into_owned();
            return Err(YamlError { message: format!("the key `{name}` occurs twice"), span: key.span });
        }
        out.push((key, value));
    }
    for (key, value) in merged {
        if !out.iter().any(|(k, _)| k.text() == key.text()) {
            out.push((key, value));
        }
    }
    Ok(out)
}

/// Types a plain scalar as the Kubernetes tools do.
fn plain_scalar(text: Cow<'_, str>) -> Value<'_> {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if !numeric {
        return Value::Text(text);
    }
    if let Some(integer) = integer(&text) {
        return Value::Integer(integer);
    }
    let body = text.trim_start_matches(['-', '+']);
    let float = body.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'))
        && body.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match text.parse::<f64>() {
        Ok(number) if float => Value::Float(number),
        _ => Value::Text(text),
    }
}

/// Integers with the prefixes and underscores of YAML 1.1.
fn integer(text: &str) -> Option<i64> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !body.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let body = body.replace('_', "");
    let (radix, digits) = match body.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, body.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, body.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, body.get(2..)?),
        [b'0', _, ..] => (8, body.get(1..)?),
        _ => (10, body.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_typed_as_kubernetes_tools_do() {
        let node = Node::parse_one("[yes, 'yes', 010, 8080, ~, 1.5, v1.5, 10.0.0.0/8, 0x10, -1, 1e3, '']").unwrap();
        let Value::List(items) = node.value else { panic!("a list") };
        let shown: Vec<String> = items.iter().map(|n| format!("{:?}", n.value)).collect();
        assert_eq!(
            shown,
            [
                "Bool(true)",
                "Text(\"yes\")",
                "Integer(8)",
                "Integer(8080)",
                "Null",
                "Float(1.5)",
                "Text(\"v1.5\")",
                "Text(\"10.0.0.0/8\")",
                "Integer(16)",
                "Integer(-1)",
                "Float(1000.0)",
                "Text(\"\")"
            ]
        );
    }

    #[test]
    fn anchors_aliases_and_merge_keys() {
        let node = Node::parse_one("a: &x {p: 1, q: 2}\nb: *x\nc:\n  <<: *x\n  q: 3\n").unwrap();
        assert_eq!(node.get("b").unwrap().get("q").unwrap().value, Value::Integer(2));
        assert_eq!(node.get("c").unwrap().get("q").unwrap().value, Value::Integer(3));
        assert_eq!(node.get("c").unwrap().get("p").unwrap().value, Value::Integer(1));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = "[".repeat(5_000);
        assert!(Node::parse_one(&deep).is_err());
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let row = vec![format!("*a{}", i - 1); 10].join(",");
            laughs += &format!("a{i}: &a{i} [{row}]\n");
        }
        assert!(Node::parse_one(&laughs).unwrap_err().message.contains("aliases"));
        assert!(Node::parse_one("a: 1\na: 2").unwrap_err().message.contains("twice"));
    }

    #[test]
    fn places_are_bytes() {
        let text = "spec:\n  ingress:\n    - from:\n        - ipBlock: {cidr: 10.0.0.0/8}\n";
        let node = Node::parse_one(text).unwrap();
        let path = crate::object::Path::spec().key("ingress").index(0).key("from").index(0).key("ipBlock").key("cidr");
        assert_eq!(text.get(node.span_of(&path.0)), Some("10.0.0.0/8"));
    }
}
