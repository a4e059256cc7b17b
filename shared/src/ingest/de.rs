//! Serde over a YAML tree: errors carry the bytes of the node they are about.

use super::yaml::{Node, Value};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::ops::Range;

/// Why a node does not fit the type that was wanted.
#[derive(Debug)]
pub struct FitError {
    /// What is wrong.
    pub message: String,
    /// The bytes of the innermost node that does not fit.
    pub span: Option<Range<usize>>,
}

impl FitError {
    fn at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FitError {}

impl de::Error for FitError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        FitError { message: in_words(&message.to_string()), span: None }
    }
}

/// The words of serde, without the names of types that nobody who writes a manifest knows.
fn in_words(message: &str) -> String {
    let plain = message.replace("a sequence", "a list").replace("type: sequence", "type: list");
    match plain.split_once("expected struct ") {
        Some((before, name)) => {
            let rest = name.split_once(' ').map_or(String::new(), |(_, rest)| format!(" {rest}"));
            format!("{before}expected a mapping{rest}")
        }
        None => plain.replace("expected a map", "expected a mapping").replace("type: map", "type: mapping"),
    }
}

impl<'de> Deserializer<'de> for &'de Node<'_> {
    type Error = FitError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FitError> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Integer(i) => visitor.visit_i64(*i),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        }
        .map_err(|error| error.at(&self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FitError> {
        match &self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, FitError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FitError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier
    }
}

struct Items<'de, 'a>(std::slice::Iter<'de, Node<'a>>);

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = FitError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, FitError> {
        self.0.next().map(|node| seed.deserialize(node).map_err(|e| e.at(&node.span))).transpose()
    }
}

struct Entries<'de, 'a> {
    rest: std::slice::Iter<'de, (Node<'a>, Node<'a>)>,
    value: Option<&'de Node<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = FitError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FitError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        // A key is always text, even one that looks like a number.
        let text = key.text().unwrap_or_default();
        seed.deserialize(text.into_deserializer()).map(Some).map_err(|e: FitError| e.at(&key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FitError> {
        let value = self.value.take().ok_or_else(|| <FitError as de::Error>::custom("a value without a key"))?;
        seed.deserialize(value).map_err(|e| e.at(&value.span))
    }
}
