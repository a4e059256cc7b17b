//! The Test Anything Protocol, version 14.

use super::yaml;
use serde::Serialize;
use std::io::{self, Write};

/// A test.
#[derive(Debug)]
pub struct Point {
    /// What it is called.
    pub title: String,
    /// Whether it holds.
    pub ok: bool,
    /// What is said of one that does not.
    pub diagnostic: Option<Diagnostic>,
}

/// What is said of a test that does not hold, as YAML below it.
#[derive(Debug, Serialize)]
pub struct Diagnostic {
    /// One line.
    pub message: String,
    /// `fail` or `unknown`.
    pub severity: &'static str,
    /// Where the test stands.
    pub at: At,
    /// All of it.
    pub details: String,
}

/// A line of a file.
#[derive(Debug, Serialize)]
pub struct At {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// Writes all points.
pub fn write(out: &mut dyn Write, points: &[Point]) -> io::Result<()> {
    writeln!(out, "TAP version 14\n1..{}", points.len())?;
    for (number, point) in (1..).zip(points) {
        let not = if point.ok { "" } else { "not " };
        writeln!(out, "{not}ok {number} - {}", escaped(&point.title))?;
        let Some(diagnostic) = &point.diagnostic else { continue };
        writeln!(out, "  ---")?;
        for line in yaml::to_string(diagnostic)?.lines() {
            // An empty line ends nothing in YAML, but some consumers take it for the end of the block.
            writeln!(out, "  {line}")?;
        }
        writeln!(out, "  ...")?;
    }
    Ok(())
}

/// A `#` would begin a directive, and a line break another line.
fn escaped(title: &str) -> String {
    let line: Vec<&str> = title.split_whitespace().collect();
    line.join(" ").replace('\\', "\\\\").replace('#', "\\#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_cannot_be_taken_for_directives() {
        let point = |title: &str| Point { title: title.into(), ok: true, diagnostic: None };
        let mut out = Vec::new();
        write(&mut out, &[point("a # TODO"), point("b\nnot ok 3"), point("c\\")]).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert_eq!(written, "TAP version 14\n1..3\nok 1 - a \\# TODO\nok 2 - b not ok 3\nok 3 - c\\\\\n");
    }
}
