//! Splits a source into documents and JSON lists into items, without reading what is in them.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// A piece of a source that holds one document or one item of a JSON list.
#[derive(Debug, Clone, Copy)]
pub struct Document<'t> {
    /// Its text.
    pub text: &'t str,
    /// Line and column at which the text begins, counted from 1.
    pub at: (u32, u32),
    /// The line of the first thing in it that is neither blank nor a comment.
    pub first_line: u32,
}

/// Splits at lines that are `---`; concatenated JSON values and JSON lines are split too.
///
/// A line that starts with `---` ends a document wherever it stands, block scalars included, so
/// that no YAML has to be understood for this.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let mut out = Vec::new();
    let (mut start, mut start_line, mut line) = (0_usize, 1_u32, 1_u32);
    let mut at = 0_usize;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.starts_with(b"---") && rest.get(3).is_none_or(|b| b.is_ascii_whitespace()) {
            push_document(&mut out, text.get(start..at).unwrap_or_default(), start_line);
            // What follows the marker on its line belongs to the document.
            (start, start_line) = (at + 3, line);
        } else if rest.starts_with(b"...") && rest.get(3).is_none_or(|b| b.is_ascii_whitespace()) {
            push_document(&mut out, text.get(start..at).unwrap_or_default(), start_line);
            (start, start_line) = (at + 3, line);
        }
        match rest.iter().position(|b| *b == b'\n') {
            Some(end) => {
                at += end + 1;
                line = line.saturating_add(1);
            }
            None => break,
        }
    }
    push_document(&mut out, text.get(start..).unwrap_or_default(), start_line);
    out
}

fn push_document<'t>(out: &mut Vec<Document<'t>>, text: &'t str, line: u32) {
    let mut first_line = line;
    let mut content = None;
    for (i, row) in text.lines().enumerate() {
        let row = row.trim_start();
        if !row.is_empty() && !row.starts_with('#') {
            first_line = line.saturating_add(u32::try_from(i).unwrap_or(u32::MAX));
            content = Some(row);
            break;
        }
    }
    let Some(row) = content else { return };
    if row.starts_with('{') && text.trim_start().starts_with('{') {
        let values = json_values(text);
        if values.len() > 1 {
            let mut counter = LineCounter::new(text, (line, 1));
            out.extend(values.into_iter().map(|value| counter.document(value)));
            return;
        }
    }
    // A directive has no place in a Kubernetes manifest, and a marker's own line may hold a comment.
    out.push(Document { text, at: (line, 1), first_line });
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
            while let Some(key) = map.next_key::<String>()? {
                match key.as_str() {
                    "apiVersion" => self.0.api_version = map.next_value()?,
                    "kind" => self.0.kind = map.next_value()?,
                    "items" => self.0.list = true,
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                    }
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

#[derive(serde::Deserialize)]
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

/// Finds the places of pieces of a text that come in its order.
struct LineCounter<'t> {
    text: &'t str,
    offset: usize,
    line: u32,
    column: u32,
}

impl<'t> LineCounter<'t> {
    fn new(text: &'t str, at: (u32, u32)) -> Self {
        LineCounter { text, offset: 0, line: at.0, column: at.1 }
    }

    fn document(&mut self, piece: &'t str) -> Document<'t> {
        let offset = (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let between = self.text.get(self.offset..offset).unwrap_or_default();
        let newlines = between.bytes().filter(|b| *b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
        let columns = between.rsplit('\n').next().unwrap_or_default().chars().count();
        let columns = u32::try_from(columns).unwrap_or(u32::MAX);
        self.column = if newlines > 0 { columns.saturating_add(1) } else { self.column.saturating_add(columns) };
        self.offset = offset;
        Document { text: piece, at: (self.line, self.column), first_line: self.line }
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
    fn the_head_is_read_without_the_rest() {
        let head = peek_json(r#"{"apiVersion":"v1","kind":"Pod","spec":"#);
        assert_eq!((head.api_version.as_deref(), head.kind.as_deref(), head.list), (Some("v1"), Some("Pod"), false));
        assert!(peek_json(r#"{"apiVersion":"v1","items":["#).list);
    }
}
