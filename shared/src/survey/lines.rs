//! The lines of many parts of few texts: each text is read once, whatever the number of parts.

use crate::ingest::yaml::Node;
use crate::object::{Origin, Path, Step};
use std::collections::HashMap;
use std::sync::Arc;

/// Parts of objects by the text that they stand in.
#[derive(Default)]
pub(super) struct Lines<'o> {
    by_text: HashMap<*const u8, Vec<(usize, &'o Origin, Path)>>,
    /// The lines found; those of the object where nothing better is known.
    found: Vec<u32>,
}

impl<'o> Lines<'o> {
    /// Asks for the line of a part; the answer has the number that is given back.
    pub(super) fn ask(&mut self, origin: &'o Origin, path: Path) -> usize {
        let number = self.found.len();
        self.found.push(origin.line);
        if let Some(text) = origin.text.as_ref().filter(|_| origin.line > 0) {
            self.by_text.entry(text.as_ptr()).or_default().push((number, origin, path));
        }
        number
    }

    /// The lines that were asked for.
    pub(super) fn find(mut self) -> Vec<u32> {
        for parts in self.by_text.values() {
            let Some(text) = parts.first().and_then(|(_, origin, _)| origin.text.as_ref()) else { continue };
            let Ok(root) = Node::parse_one(text) else { continue };
            let starts = line_starts(text);
            for (number, origin, path) in parts {
                let full: Vec<Step> = origin.within.0.iter().chain(&path.0).cloned().collect();
                let at = root.span_of(&full).start;
                let before = starts.partition_point(|start| *start <= at).saturating_sub(1);
                if let Some(line) = self.found.get_mut(*number) {
                    *line = origin.text_at.0.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
                }
            }
        }
        self.found
    }
}

fn line_starts(text: &Arc<str>) -> Vec<usize> {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
    [0].into_iter().chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::ingest;
    use crate::object::Object;

    #[test]
    fn lines_are_those_of_the_places() {
        let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: x}\nspec:\n  \
                      podSelector: {}\n  ingress:\n  - from:\n    - podSelector: {}\n  - {}\n";
        let list = format!("kind: List\napiVersion: v1\nitems:\n- {}", policy.trim_end().replace('\n', "\n  "));
        for text in [policy.to_owned(), format!("---\n{policy}---\n{policy}"), list] {
            let read = ingest("a.yaml", text.as_bytes(), "default");
            let mut origins = Vec::new();
            for object in &read.objects {
                let Object::NetworkPolicy(policy) = object else { panic!("{object:?}") };
                origins.push(&policy.origin);
            }
            assert!(!origins.is_empty(), "{:?}", read.diagnostics);
            let (mut lines, mut expected) = (Lines::default(), Vec::new());
            for origin in origins {
                for rule in 0..2 {
                    let path = Path::spec().key("ingress").index(rule);
                    expected.push(origin.place_of(&path).map_or(0, |place| place.line));
                    lines.ask(origin, path);
                }
            }
            assert_eq!(lines.find(), expected, "{text}");
        }
    }
}
