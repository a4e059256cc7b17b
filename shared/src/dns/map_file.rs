//! A file that says what names stand for: a map from names to lists of addresses, as YAML or JSON.

use super::DomainName;
use crate::diagnostic::{Diagnostic, Place, place_at};
use crate::ingest::yaml::{Node, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

/// An address and where it stands.
pub type Placed = (IpAddr, Place);

/// What a file says: for each name its addresses.
pub type MapFile = BTreeMap<DomainName, Vec<Placed>>;

const FORM: &str = "write `api.example.com: [203.0.113.10, \"2001:db8::1\"]`";

/// Reads a file; `source` is what messages call it.
///
/// # Errors
/// Everything that is no name, no address, or not in its place.
pub fn read(source: &str, text: &str) -> Result<MapFile, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { source, text, wrong: Vec::new(), map: MapFile::new() };
    match Node::parse_one(text) {
        Err(error) => reader.wrong(&error.span, error.message, None),
        Ok(root) => reader.top(&root),
    }
    if reader.wrong.is_empty() { Ok(reader.map) } else { Err(reader.wrong) }
}

struct Reader<'t> {
    source: &'t str,
    text: &'t str,
    wrong: Vec<Diagnostic>,
    map: MapFile,
}

impl Reader<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        place_at(self.source, self.text, span)
    }

    fn wrong(&mut self, span: &Range<usize>, message: impl Into<String>, help: Option<&str>) {
        let mut error = Diagnostic::error(message.into()).at(self.place(span));
        error.help = help.map(str::to_owned);
        self.wrong.push(error);
    }

    fn top(&mut self, root: &Node<'_>) {
        let entries = match &root.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            _ => return self.wrong(&root.span, "a DNS map has names and their addresses", Some(FORM)),
        };
        for (key, value) in entries {
            let name: DomainName = match key.text().unwrap_or_default().parse() {
                Ok(name) => name,
                Err(error) => {
                    self.wrong(&key.span, error.to_string(), error.help().as_deref());
                    continue;
                }
            };
            let mut addresses = Vec::new();
            match &value.value {
                Value::List(items) => {
                    for item in items {
                        addresses.extend(self.address(item));
                    }
                }
                Value::Null => {
                    let help = format!("for a name that stands for no address write `{name}: []`");
                    self.wrong(&key.span, format!("`{name}` has no list of addresses"), Some(&help));
                }
                Value::Map(_) => {
                    self.wrong(&key.span, format!("the addresses of `{name}` are a list"), Some(FORM));
                }
                // One address needs no brackets.
                _ => addresses.extend(self.address(value)),
            }
            if self.map.contains_key(&name) {
                let message = format!("the name `{name}` is there twice: case and a final dot make no difference");
                self.wrong(&key.span, message, None);
            }
            self.map.insert(name, addresses);
        }
    }

    fn address(&mut self, node: &Node<'_>) -> Option<Placed> {
        let text = node.text().unwrap_or_default();
        match text.parse() {
            Ok(address) => Some((address, self.place(&node.span))),
            Err(_) => {
                let message = match node.value {
                    Value::List(_) | Value::Map(_) | Value::Null => "an address is missing here".to_owned(),
                    _ => format!("`{text}` is no IP address"),
                };
                let help = if text.parse::<ipnet::IpNet>().is_ok() {
                    "a name stands for single addresses, not for ranges"
                } else {
                    FORM
                };
                self.wrong(&node.span, message, Some(help));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read() {
        let yaml =
            "API.example.com.: [203.0.113.10, \"2001:db8::1\"]\none.example.com: 203.0.113.11\ngone.example.com: []\n";
        let json = r#"{"api.example.com": ["203.0.113.10", "2001:db8::1"], "one.example.com": "203.0.113.11", "gone.example.com": []}"#;
        let plain = |text| -> Vec<(String, Vec<String>)> {
            let map = read("map.yaml", text).unwrap();
            let mut all: Vec<(String, Vec<String>)> = map
                .into_iter()
                .map(|(name, addresses)| {
                    (name.to_string(), addresses.into_iter().map(|(address, _)| address.to_string()).collect())
                })
                .collect();
            all.sort();
            all
        };
        assert_eq!(plain(yaml), plain(json));
        assert_eq!(plain(yaml).len(), 3);
        assert_eq!(plain(yaml)[0], ("api.example.com".to_owned(), vec!["203.0.113.10".into(), "2001:db8::1".into()]));
        assert!(plain("").is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, message, line, column) in [
            ("- api.example.com\n", "a DNS map has names", 1, 1),
            ("x: [1.2.3.4]\n", "`x`", 1, 1),
            ("'*.example.com': [1.2.3.4]\n", "*.example.com", 1, 1),
            ("a.example:\n  - 1.2.3.4\n  - 1.2.3\n", "`1.2.3` is no IP address", 3, 5),
            ("a.example: [10.0.0.0/8]\n", "`10.0.0.0/8` is no IP address", 1, 13),
            ("a.example:\n", "`a.example` has no list of addresses", 1, 1),
            ("a.example: []\nA.example.: []\n", "is there twice", 2, 1),
            ("a.example: [\n", "not valid YAML", 1, 12),
        ] {
            let wrong = read("map.yaml", text).unwrap_err();
            let told = wrong[0].to_string();
            assert!(wrong[0].message.contains(message), "{text}: {told}");
            let place = wrong[0].place.clone().unwrap();
            assert_eq!((place.line, place.column), (line, column), "{text}: {told}");
        }
    }
}
