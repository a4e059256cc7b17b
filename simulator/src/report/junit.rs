//! JUnit XML, as CI systems read it: suites of cases, each passed, failed, in error or skipped.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Cases that belong together: those of one file.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What CI systems group by.
    pub class: String,
    /// The file that it is about.
    pub file: String,
    /// The line in it.
    pub line: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a case ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Well.
    Passed,
    /// Not as it should.
    Failed(Problem),
    /// It could not be told.
    Error(Problem),
}

/// Why a case did not pass.
#[derive(Debug, Clone)]
pub struct Problem {
    /// A word for its kind.
    pub kind: String,
    /// One line.
    pub message: String,
    /// All of it.
    pub text: String,
}

/// Writes suites as one document.
pub fn write(out: &mut dyn Write, name: &str, suites: &[Suite]) -> io::Result<()> {
    let all = || suites.iter().flat_map(|suite| &suite.cases);
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, r#"<testsuites name="{}" {}>"#, escaped(name), counts(all()))?;
    for suite in suites {
        writeln!(out, r#"  <testsuite name="{}" {}>"#, escaped(&suite.name), counts(suite.cases.iter()))?;
        for case in &suite.cases {
            one(out, case)?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn counts<'c>(cases: impl Iterator<Item = &'c Case>) -> String {
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    for case in cases {
        tests += 1;
        match case.outcome {
            Outcome::Passed => {}
            Outcome::Failed(_) => failures += 1,
            Outcome::Error(_) => errors += 1,
        }
    }
    format!(r#"tests="{tests}" failures="{failures}" errors="{errors}" skipped="0""#)
}

fn one(out: &mut dyn Write, case: &Case) -> io::Result<()> {
    let (name, class, file) = (escaped(&case.name), escaped(&case.class), escaped(&case.file));
    write!(out, r#"    <testcase name="{name}" classname="{class}" file="{file}" line="{}""#, case.line)?;
    match &case.outcome {
        Outcome::Passed => return writeln!(out, "/>"),
        Outcome::Failed(problem) => element(out, "failure", problem)?,
        Outcome::Error(problem) => element(out, "error", problem)?,
    }
    writeln!(out, "    </testcase>")
}

fn element(out: &mut dyn Write, tag: &str, problem: &Problem) -> io::Result<()> {
    let (kind, message) = (escaped(&problem.kind), escaped(&problem.message));
    writeln!(out, ">")?;
    writeln!(out, r#"      <{tag} type="{kind}" message="{message}">{}</{tag}>"#, text(&problem.text))
}

/// Text between tags: line breaks stay as they are.
fn text(raw: &str) -> String {
    escape(raw, |c| matches!(c, '\n' | '\t'))
}

/// A value of an attribute: a line break would become a blank, so it is written as a number.
fn escaped(raw: &str) -> String {
    escape(raw, |_| false)
}

fn escape(raw: &str, plain: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if plain(c) => out.push(c),
            // Writing to a string cannot fail.
            '\t' | '\n' | '\r' => _ = write!(out, "&#{};", u32::from(c)),
            // XML 1.0 has no way to write these.
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, outcome: Outcome) -> Case {
        Case { name: name.into(), class: "a \"b\" <c>".into(), file: "x&y.yaml".into(), line: 3, outcome }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let nasty = "a <b> & \"c\" 'd' ]]> \u{1b}[1m\0 tab\tline\nnext\r é 日本 \u{ffff}";
        let clean: String = nasty.chars().filter(|c| !matches!(c, '\u{1b}' | '\0' | '\u{ffff}')).collect();
        let problem = || Problem { kind: "denied".into(), message: nasty.into(), text: nasty.into() };
        let cases = vec![
            case(nasty, Outcome::Passed),
            case("failed", Outcome::Failed(problem())),
            case("error", Outcome::Error(problem())),
        ];
        let suites = [Suite { name: nasty.into(), cases }, Suite { name: "none".into(), cases: Vec::new() }];
        let mut out = Vec::new();
        write(&mut out, "netsim", &suites).unwrap();
        let written = String::from_utf8(out).unwrap();
        let document = roxmltree::Document::parse(&written).unwrap();
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        let numbers = |node: &roxmltree::Node<'_, '_>| {
            ["tests", "failures", "errors", "skipped"].map(|name| node.attribute(name).unwrap().to_owned())
        };
        assert_eq!(numbers(&root), ["3", "1", "1", "0"]);
        let suites: Vec<_> = root.children().filter(|node| node.is_element()).collect();
        assert_eq!(numbers(&suites[0]), ["3", "1", "1", "0"]);
        assert_eq!(numbers(&suites[1]), ["0", "0", "0", "0"]);
        assert_eq!(suites[0].attribute("name"), Some(clean.as_str()));
        let cases: Vec<_> = suites[0].children().filter(|node| node.is_element()).collect();
        assert_eq!(cases[0].attribute("name"), Some(clean.as_str()));
        assert_eq!(cases[0].attribute("classname"), Some("a \"b\" <c>"));
        assert_eq!(cases[0].attribute("file"), Some("x&y.yaml"));
        assert_eq!(cases[0].attribute("line"), Some("3"));
        assert!(!cases[0].has_children());
        for (case, tag) in cases[1..].iter().zip(["failure", "error"]) {
            let element = case.children().find(|node| node.is_element()).unwrap();
            assert_eq!(element.tag_name().name(), tag);
            assert_eq!(element.attribute("type"), Some("denied"));
            assert_eq!(element.attribute("message"), Some(clean.as_str()));
            assert_eq!(element.text(), Some(clean.as_str()));
        }
    }
}
