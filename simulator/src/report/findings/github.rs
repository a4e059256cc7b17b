//! Annotations of GitHub Actions: workflow commands, one a finding.

use super::{Root, file_in_repository};
use crate::lint::{Finding, Report, Severity};
use std::io::{self, Write};

/// Writes the annotations, and the counts in plain words for the log.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let root = Root::find();
    for finding in &report.findings {
        one(out, finding, &root)?;
    }
    let accepted = report.accepted + report.in_baseline;
    writeln!(out, "{} findings, {accepted} accepted or in the baseline", report.findings.len())
}

fn one(out: &mut dyn Write, finding: &Finding, root: &Root) -> io::Result<()> {
    let command = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    let mut properties = Vec::new();
    if let Some(place) = &finding.place
        && let Some(file) = file_in_repository(place, root)
    {
        properties.push(format!("file={}", property(&file)));
        properties.push(format!("line={}", place.line));
        properties.push(format!("col={}", place.column));
    }
    properties.push(format!("title={}", property(&format!("{} {}", finding.rule.id, finding.rule.name))));
    let mut message = finding.message.clone();
    if !finding.object.name.is_empty() {
        message.push_str(&format!(" ({})", finding.object));
    }
    if let Some(help) = &finding.help {
        message.push_str(&format!("\n{help}"));
    }
    writeln!(out, "::{command} {}::{}", properties.join(","), data(&message))
}

/// What would end a command is escaped as the runner wants it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
