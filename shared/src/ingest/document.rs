//! Splits a source into documents and JSON lists into items, without reading what is in them.

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A piece of a source that holds one document or one item of a JSON list.
#[derive(Debug, Clone)]
pub struct Document<'t> {
    /// Its text.
    pub text: &'t str,
    /// Line and column at which the text begins, counted from 1.
    pub at: (u32, u32),
    /// The line of the first thing in it that is neither blank nor a comment.
    pub first_line: u32,
    kept: OnceLock<Arc<str>>,
}

impl<'t> Document<'t> {
    fn new(text: &'t str, at: (u32, u32), first_line: u32) -> Self {
        Document { text, at, first_line, kept: OnceLock::new() }
    }

    /// A source that is one document, without blanks before it.
    pub fn whole(text: &'t str) -> Self {
        Document::new(text, (1, 1), 1)
    }

    /// Its text for objects to keep: one copy for all that are in it.
    pub fn kept_text(&self) -> Arc<str> {
        self.kept.get_or_init(|| self.text.into()).clone()
    }
}

/// Splits at lines that are `---`; concatenated JSON values are split too.
///
/// A line that starts with `---` ends a document wherever it stands, block scalars included, so
/// that no YAML has to be understood for this.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    pieces(text).into_par_iter().flat_map_iter(|(piece, line)| values(piece, line)).collect()
}

/// What lies between the markers, and the line that each begins on.
fn pieces(text: &str) -> Vec<(&str, u32)> {
    let mut out = Vec::new();
    let mut push = |from: usize, to: usize, line: usize| {
        out.push((text.get(from..to).unwrap_or_default(), u32::try_from(line).unwrap_or(u32::MAX)));
    };
    // Large files are one document more often than not, which is quickly seen.
    let marked = text.contains("\n---") || text.contains("\n...");
    let searched = if marked { text } else { text.lines().next().unwrap_or_default() };
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (line, row) in (1..).zip(searched.split_inclusive('\n')) {
        let after = row.strip_prefix("---").or_else(|| row.strip_prefix("..."));
        if after.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_whitespace())) {
            push(start, at, start_line);
            // What follows the marker on its line belongs to the document.
            (start, start_line) = (at + 3, line);
        }
        at += row.len();
    }
    push(start, text.len(), start_line);
    out
}

/// The documents of a piece: none where it is blank, several where it is several JSON values.
fn values(text: &str, line: u32) -> Vec<Document<'_>> {
    let mut rows = (line..).zip(text.lines().map(str::trim_start));
    let Some((first_line, row)) = rows.find(|(_, row)| !row.is_empty() && !row.starts_with('#')) else {
        return Vec::new();
    };
    if row.starts_with('{') && text.trim_start().starts_with('{') {
        let values = json_values(text);
        if values.len() > 1 {
            let mut counter = LineCounter::new(text, (line, 1));
            return values.into_iter().map(|value| counter.document(value)).collect();
        }
    }
    // A directive has no place in a Kubernetes manifest, and a marker's own line may hold a comment.
    vec![Document::new(text, (line, 1), first_line)]
}

/// The values of a text of several JSON values; empty when it is not such a text.
fn json_values(text: &str) -> Vec<&str> {
    // One value that ends with its line is by far the most frequent document: not worth a pass.
    let trimmed = text.trim_end();
    let single_line = !trimmed.contains('\n');
    if single_line && !trimmed.contains("}{") && !trimmed.contains("} {") {
        return Vec::new();
    }
    let lines = trimmed.lines().filter(|l| !l.trim().is_empty());
    if !single_line && lines.clone().all(|l| l.starts_with('{') && l.trim_end().ends_with('}')) {
        return lines.collect();
    }
    if single_line || trimmed.contains("\n}\n{") {
        let stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        return stream.map(|value| value.map(RawValue::get)).collect::<Result<_, _>>().unwrap_or_default();
    }
    Vec::new()
}

/// The head of a JSON object, as far as it can be had without reading all of it.
#[derive(Debug, Default)]
pub struct JsonHead {
    pub api_version: Option<String>,
    pub kind: Option<String>,
    /// It has `items` before its kind is known, or its kind ends with `List`.
    pub list: bool,
}

/// Reads the head of a JSON object and stops as soon as it is known.
pub fn peek_json(text: &str) -> JsonHead {
    #[derive(Deserialize)]
    #[serde(field_identifier, rename_all = "camelCase")]
    enum Field {
        ApiVersion,
        Kind,
        Items,
        #[serde(other)]
        Other,
    }
    struct Peek<'o>(&'o mut JsonHead);
    impl<'de> DeserializeSeed<'de> for Peek<'_> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_map(self)
        }
    }
    impl<'de> Visitor<'de> for Peek<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Field>()? {
                match key {
                    Field::ApiVersion => self.0.api_version = map.next_value()?,
                    Field::Kind => self.0.kind = map.next_value()?,
                    Field::Items => self.0.list = true,
                    Field::Other => _ = map.next_value::<IgnoredAny>()?,
                }
                self.0.list |= self.0.kind.as_deref().is_some_and(|kind| kind.ends_with("List"));
                if self.0.list || (self.0.api_version.is_some() && self.0.kind.is_some()) {
                    // Enough is known; an error is the way to leave a visitor early.
                    return Err(serde::de::Error::custom("enough"));
                }
            }
            Ok(())
        }
    }
    let mut head = JsonHead::default();
    // Whether the text is JSON at all is found by whoever reads the rest of it.
    let _enough_or_broken = Peek(&mut head).deserialize(&mut serde_json::Deserializer::from_str(text));
    head
}

/// A list of objects whose items have not been read.
pub struct JsonList<'t> {
    pub api_version: Option<String>,
    pub kind: Option<String>,
    pub items: Vec<Document<'t>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawList<'t> {
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(borrow)]
    items: Option<Vec<&'t RawValue>>,
}

/// Splits a JSON list; `None` when it is not one.
pub fn json_list<'t>(document: &Document<'t>) -> Option<JsonList<'t>> {
    let raw: RawList<'t> = serde_json::from_str(document.text).ok()?;
    raw.kind.as_deref().filter(|kind| kind.ends_with("List"))?;
    let mut counter = LineCounter::new(document.text, document.at);
    let items = raw.items.unwrap_or_default().into_iter().map(|item| counter.document(item.get())).collect();
    Some(JsonList { api_version: raw.api_version, kind: raw.kind, items })
}

/// Splits a JSON list as `kubectl get -o json` prints it, by its lines alone: every item begins and
/// ends on a line of its own, with the same indent. `None` when it does not look so.
///
/// This is a guess, which is right if every item turns out to be a JSON object: what stands around
/// the items has been read here, and between them there are just commas.
pub fn printed_list<'t>(document: &Document<'t>) -> Option<JsonList<'t>> {
    const BEGIN: &str = "\"items\": [\n";
    let at = document.text.find(BEGIN)? + BEGIN.len();
    let (head, body) = document.text.split_at_checked(at)?;
    let indent = body.find('{')?;
    let mut items = Vec::new();
    let (mut from, mut start, mut more) = (at, None, true);
    let first_line = document.at.0 as usize + head.matches('\n').count();
    for (line, row) in (first_line..).zip(body.split_inclusive('\n')) {
        let to = from + row.len();
        let edge = row.get(..indent).zip(row.get(indent..)).filter(|(blank, _)| blank.bytes().all(|b| b == b' '));
        match (edge, start) {
            (Some((_, "{\n")), None) if more => start = Some((from + indent, u32::try_from(line).ok()?)),
            (Some((_, end @ ("}\n" | "},\n"))), Some((begin, line))) => {
                more = end == "},\n";
                let text = document.text.get(begin..=from + indent)?;
                items.push(Document::new(text, (line, u32::try_from(indent + 1).ok()?), line));
                start = None;
            }
            (_, Some(_)) => {}
            (_, None) => break,
        }
        from = to;
    }
    let around = [head, document.text.get(from..)?].concat();
    let raw: RawList<'_> = serde_json::from_str(&around).ok()?;
    let whole = !more && start.is_none() && raw.items.is_some_and(|items| items.is_empty());
    (whole && raw.kind.as_deref()?.ends_with("List")).then_some(JsonList {
        api_version: raw.api_version,
        kind: raw.kind,
        items,
    })
}

/// Finds the places of pieces of a text; quick when they are asked for in its order.
pub struct LineCounter<'t> {
    text: &'t str,
    begin: (u32, u32),
    offset: usize,
    line: u32,
    column: u32,
}

impl<'t> LineCounter<'t> {
    /// Counts from where the text begins.
    pub fn new(text: &'t str, at: (u32, u32)) -> Self {
        LineCounter { text, begin: at, offset: 0, line: at.0, column: at.1 }
    }

    /// Line and column of a byte.
    pub fn place(&mut self, offset: usize) -> (u32, u32) {
        if offset < self.offset {
            *self = LineCounter::new(self.text, self.begin);
        }
        let between = self.text.get(self.offset..offset).unwrap_or_default();
        let newlines = between.bytes().filter(|b| *b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
        let columns = between.rsplit('\n').next().unwrap_or_default().chars().count();
        let columns = u32::try_from(columns).unwrap_or(u32::MAX);
        self.column = if newlines > 0 { columns.saturating_add(1) } else { self.column.saturating_add(columns) };
        self.offset = offset;
        (self.line, self.column)
    }

    fn document(&mut self, piece: &'t str) -> Document<'t> {
        let offset = (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let at = self.place(offset);
        Document::new(piece, at, at.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<(String, u32)> {
        documents(text).iter().map(|d| (d.text.trim().to_owned(), d.first_line)).collect()
    }

    #[test]
    fn documents_are_split_and_know_their_lines() {
        assert_eq!(
            shape("# head\n---\na: 1\n---\n# only a comment\n--- # x\nb: |\n  ----\n  x\n...\n---\nc: 1\n"),
            [("a: 1".into(), 3), ("# x\nb: |\n  ----\n  x".into(), 7), ("c: 1".into(), 12)]
        );
        assert_eq!(shape("{\"a\":1}\n{\"b\":2}\n"), [("{\"a\":1}".into(), 1), ("{\"b\":2}".into(), 2)]);
        assert_eq!(shape("{\n}\n{\n}"), [("{\n}".into(), 1), ("{\n}".into(), 3)]);
        assert_eq!(shape("{a: 1,\n b: 2}"), [("{a: 1,\n b: 2}".into(), 1)]);
    }

    #[test]
    fn printed_lists_are_split_by_lines() {
        let read = |text: &str| {
            let whole = Document::new(text, (1, 1), 1);
            let (slow, fast) = (json_list(&whole), printed_list(&whole));
            if let (Some(slow), Some(fast)) = (&slow, &fast) {
                let shape = |list: &JsonList<'_>| -> Vec<_> {
                    list.items.iter().map(|d| (d.text.to_owned(), d.at, d.first_line)).collect()
                };
                assert_eq!(shape(slow), shape(fast));
                assert_eq!((&slow.api_version, &slow.kind), (&fast.api_version, &fast.kind));
            }
            fast.map(|list| list.items.len())
        };
        let list = |items: &str| {
            format!("{{\n  \"apiVersion\": \"v1\",\n  \"items\": [\n{items}  ],\n  \"kind\": \"List\"\n}}\n")
        };
        assert_eq!(read(&list("    {\n      \"a\": {\n      }\n    },\n    {\n      \"b\": 1\n    }\n")), Some(2));
        // A comma too many, an end too few, items of other lists, a tail that is not JSON.
        assert_eq!(read(&list("    {\n    },\n")), None);
        assert_eq!(read(&list("    {\n")), None);
        assert_eq!(read(&list("    {\n    }\n    {\n    }\n")), None);
        assert_eq!(read(&list("    {\n    }\n").replace("\"kind\"", "kind")), None);
        assert_eq!(read("{\n  \"kind\": \"List\",\n  \"x\": {\"items\": [\n    {\n    }\n  ]}\n}"), None);
    }

    #[test]
    fn the_head_is_read_without_the_rest() {
        let head = peek_json(r#"{"apiVersion":"v1","kind":"Pod","spec":"#);
        assert_eq!((head.api_version.as_deref(), head.kind.as_deref(), head.list), (Some("v1"), Some("Pod"), false));
        assert!(peek_json(r#"{"apiVersion":"v1","items":["#).list);
    }
}
