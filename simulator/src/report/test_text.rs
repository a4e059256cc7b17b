//! Results of tests for people: a line a test, and why under each that does not hold.

use super::{answer_text, style};
use crate::commands::can_reach::Asked;
use crate::commands::test::{Counts, Result, Results};
use netsim_shared::assertion::{Assertion, Status};
use std::io::{self, Write};

/// How many connections of a test are explained.
const MAX_EXPLAINED: usize = 3;

/// Writes the results.
pub fn write(out: &mut dyn Write, results: &[Results<'_>]) -> io::Result<()> {
    for suite in results {
        for result in &suite.results {
            one(out, suite, result)?;
        }
    }
    writeln!(out, "\n{}", summary(&Counts::of(results)))
}

/// How many there are of each.
pub fn summary(counts: &Counts) -> String {
    let tests = if counts.all() == 1 { "test" } else { "tests" };
    let mut line = format!("{} {tests}: {} ok", counts.all(), counts.ok);
    if counts.failed > 0 {
        line += &format!(", {} failed", counts.failed);
    }
    if counts.unknown > 0 {
        line += &format!(", {} unknown", counts.unknown);
    }
    line
}

fn one(out: &mut dyn Write, suite: &Results<'_>, result: &Result<'_>) -> io::Result<()> {
    let (colour, quiet) = (style::status(result.checked.status), style::QUIET);
    let word = match result.checked.status {
        Status::Ok => "ok",
        Status::Failed => "FAIL",
        Status::Unknown => "unknown",
    };
    let place = &result.test.place;
    writeln!(
        out,
        "{colour}{word:<7}{colour:#}  {}  {quiet}{}:{}{quiet:#}",
        result.test.title, place.source, place.line
    )?;
    let mut text = Vec::new();
    details(&mut text, suite, result)?;
    for line in String::from_utf8_lossy(&text).lines() {
        if line.is_empty() {
            writeln!(out)?;
        } else {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

/// Writes why a test does not hold, and what has to be said with it.
pub fn details(out: &mut dyn Write, suite: &Results<'_>, result: &Result<'_>) -> io::Result<()> {
    let checked = result.checked;
    if let (Some(because), true) = (&result.test.because, checked.status != Status::Ok) {
        writeln!(out, "because: {because}")?;
    }
    let (mut room, mut left_out) = (MAX_EXPLAINED, checked.more);
    for (i, finding) in checked.findings.iter().enumerate() {
        // A finding without a connection says in its notes what is missing.
        let count = finding.answer.connections.len();
        if i > 0 && room == 0 {
            left_out += count;
            continue;
        }
        let (source, destination) = (finding.source.as_str(), finding.destination.as_str());
        let asked = Asked { source, destination, answer: &finding.answer, loaded: suite.loaded };
        if i > 0 {
            writeln!(out)?;
        }
        left_out += answer_text::write_some(out, &asked, true, room, &finding.open)?;
        answer_text::rest(out, &asked)?;
        room = room.saturating_sub(count.max(1));
    }
    if left_out > 0 {
        writeln!(out, "\n… and {left_out} more (-o json has more of them)")?;
    }
    // What an isolation leaves out has to be seen even when it holds.
    if checked.status != Status::Ok || matches!(result.test.assertion, Assertion::Isolated(_)) {
        for note in &checked.notes {
            writeln!(out, "note: {note}")?;
        }
    }
    Ok(())
}

/// What a test comes to, in one line.
pub fn headline(result: &Result<'_>) -> String {
    let checked = result.checked;
    let count = checked.more + checked.findings.iter().map(|f| f.answer.connections.len().max(1)).sum::<usize>();
    let first = checked.findings.first().map(|finding| {
        let incomplete = if finding.answer.incomplete.is_empty() { "" } else { ", incomplete" };
        format!("{}{incomplete}: {} → {}", finding.answer.verdict, finding.source, finding.destination)
    });
    let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
    format!("{}{more}", first.unwrap_or_else(|| checked.status.as_str().to_owned()))
}

/// The same without colours, for other forms.
pub fn plain_details(suite: &Results<'_>, result: &Result<'_>) -> io::Result<String> {
    let mut text = Vec::new();
    details(&mut text, suite, result)?;
    Ok(anstream::adapter::strip_str(&String::from_utf8_lossy(&text)).to_string())
}
