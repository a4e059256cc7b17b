//! What is told about input: kind, place, help. Rendering is plain text; colour is the caller's.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How bad it is. An error makes the run fail, a warning does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Read, but probably not what was meant.
    Warning,
    /// Could not be read or is not valid: the run fails.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// A place in a source, with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file name, `<stdin>`, or the name of a live list.
    pub source: Arc<str>,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// The text of that line, where it is known.
    pub text: Option<Box<str>>,
    /// How many characters from `column` are meant (at least 1).
    pub width: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// The place of some bytes of a text.
pub fn place_at(source: impl Into<Arc<str>>, text: &str, span: &Range<usize>) -> Place {
    let start = span.start.min(text.len());
    let before = text.get(..start).unwrap_or_default();
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(begin..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let meant = text.get(span.clone()).and_then(|text| text.lines().next()).unwrap_or_default();
    Place {
        source: source.into(),
        line: u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX).saturating_add(1),
        column: count(before.get(begin..).unwrap_or_default()).saturating_add(1),
        text: Some(line.into()),
        width: count(meant.trim_end()).max(1),
    }
}

/// One message about the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the run fails because of it.
    pub severity: Severity,
    /// A lower-case sentence fragment; the user's input stands in backticks.
    pub message: String,
    /// Where, if it has a place.
    pub place: Option<Place>,
    /// What to do about it.
    pub help: Option<String>,
    /// The rule of `netsim lint` that it is about, where it has one of its own: `NS014`.
    pub rule: Option<&'static str>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Error, message: message.into(), place: None, help: None, rule: None }
    }

    /// A warning without a place yet.
    pub fn warning(message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(message) }
    }

    /// The same with a place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same with help.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Lines longer than this are cut around the place (one-line JSON may have megabytes in a line).
const SNIPPET_WIDTH: usize = 100;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n  --> {place}")?;
            if let Some(text) = &place.text {
                let (text, column) = excerpt(text, place.column as usize);
                let number = place.line.to_string();
                let gutter = " ".repeat(number.len());
                let room = text.chars().count().saturating_sub(column - 1).max(1);
                let marks = "^".repeat((place.width.max(1) as usize).min(room));
                write!(f, "\n {gutter} |\n {number} | {text}\n {gutter} | {}{marks}", " ".repeat(column - 1))?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

/// Cuts a long line so that `column` stays visible; returns the cut line and the column in it.
fn excerpt(text: &str, column: usize) -> (String, usize) {
    let clean: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let column = column.clamp(1, clean.len() + 1);
    if clean.len() <= SNIPPET_WIDTH {
        return (clean.into_iter().collect(), column);
    }
    let start = (column - 1).saturating_sub(SNIPPET_WIDTH / 2);
    let end = (start + SNIPPET_WIDTH).min(clean.len());
    let lead = if start > 0 { "…" } else { "" };
    let tail = if end < clean.len() { "…" } else { "" };
    let cut: String = clean.get(start..end).unwrap_or_default().iter().collect();
    (format!("{lead}{cut}{tail}"), column - start + lead.chars().count())
}

/// The candidate nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.72)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_place_marks_and_help() {
        let place =
            Place { source: "a.yaml".into(), line: 12, column: 9, text: Some("  cidr: 300.0.0.0/8".into()), width: 11 };
        let shown =
            Diagnostic::error("`300.0.0.0/8` is not a CIDR").at(place).help("write it as 10.0.0.0/8").to_string();
        assert_eq!(
            shown,
            "error: `300.0.0.0/8` is not a CIDR\n  --> a.yaml:12:9\n    |\n 12 |   cidr: 300.0.0.0/8\n    |         ^^^^^^^^^^^\n  = help: write it as 10.0.0.0/8"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let (cut, column) = excerpt(&format!("{}X{}", "a".repeat(500), "b".repeat(500)), 501);
        assert_eq!(cut.chars().nth(column - 1), Some('X'));
        assert!(cut.chars().count() <= SNIPPET_WIDTH + 2);
    }

    #[test]
    fn nearest_finds_a_slip_and_refuses_a_stranger() {
        assert_eq!(nearest("podselector", ["ingress", "podSelector"]), Some("podSelector"));
        assert_eq!(nearest("zzz", ["ingress", "podSelector"]), None);
    }
}
