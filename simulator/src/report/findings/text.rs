//! For people: each finding with the line that it is about, and how many there are.

use crate::lint::{Finding, Report, Severity};
use crate::report::style;
use netsim_shared::diagnostic::Diagnostic;
use std::io::{self, Write};

/// Writes the findings.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for finding in &report.findings {
        one(out, finding)?;
    }
    summary(out, report)
}

fn one(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let colour = match finding.severity {
        Severity::Error => style::ERROR,
        Severity::Warning => style::WARNING,
        Severity::Info => style::BOLD,
    };
    let quiet = style::QUIET;
    writeln!(out, "{colour}{}[{}]{colour:#}: {}", finding.severity.as_str(), finding.rule.id, finding.message)?;
    // The place and the help look as they do in every other message.
    let mut diagnostic = Diagnostic::error("");
    diagnostic.place = finding.place.clone();
    diagnostic.help = finding.help.clone();
    for line in diagnostic.to_string().lines().skip(1) {
        writeln!(out, "{line}")?;
    }
    if !finding.object.name.is_empty() {
        let path = if finding.place.is_none() { format!(" {}", finding.path) } else { String::new() };
        writeln!(out, "  {quiet}= in: {}{path}{quiet:#}", finding.object)?;
    }
    for (what, place) in &finding.related {
        let place = place.as_ref().map_or(String::new(), |place| format!("  {}:{}", place.source, place.line));
        writeln!(out, "  {quiet}= see: {what}{place}{quiet:#}")?;
    }
    writeln!(out)
}

fn summary(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let counts = [
        (Severity::Error, "error", "errors"),
        (Severity::Warning, "warning", "warnings"),
        (Severity::Info, "info", "infos"),
    ];
    let mut parts: Vec<String> = counts
        .into_iter()
        .map(|(severity, one, many)| (count(severity), one, many))
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    if parts.is_empty() {
        parts.push("nothing found".to_owned());
    }
    if report.accepted > 0 {
        parts.push(format!("{} accepted by annotation", report.accepted));
    }
    if report.in_baseline > 0 {
        parts.push(format!("{} in the baseline", report.in_baseline));
    }
    writeln!(out, "{}", parts.join(", "))?;
    if let Some(finding) = report.findings.first() {
        writeln!(out, "`netsim explain-rule {}` tells more about a rule", finding.rule.id)?;
    }
    if !report.stale.is_empty() {
        writeln!(out, "no longer found, so --write-baseline can take them out of the baseline:")?;
    }
    for entry in &report.stale {
        writeln!(out, "  {} {} {}", entry.rule, entry.object, entry.path)?;
    }
    Ok(())
}
