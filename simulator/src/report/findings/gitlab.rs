//! GitLab's Code Quality report: findings at the lines of a merge request.

use super::{Root, file_in_repository};
use crate::lint::{Finding, Report, Severity};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Writes the report.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let root = Root::find();
    let issues: Vec<Value> = report.findings.iter().map(|finding| issue(finding, &root)).collect();
    serde_json::to_writer_pretty(&mut *out, &issues)?;
    writeln!(out)
}

fn issue(finding: &Finding, root: &Root) -> Value {
    let severity = match finding.severity {
        Severity::Error => "critical",
        Severity::Warning => "major",
        Severity::Info => "info",
    };
    let mut description = format!("{}: {}", finding.rule.id, finding.message);
    if let Some(help) = &finding.help {
        description.push_str(&format!(" ({help})"));
    }
    // A path and a line are demanded; what is in no file is named by what it is read from.
    let place = finding.place.as_ref();
    let path = place.map(|place| file_in_repository(place, root).unwrap_or_else(|| place.source.to_string()));
    json!({
        "description": description,
        "check_name": format!("{} {}", finding.rule.id, finding.rule.name),
        "fingerprint": finding.fingerprint,
        "severity": severity,
        "location": {
            "path": path.unwrap_or_else(|| finding.object.to_string()),
            "lines": {"begin": place.map_or(1, |place| place.line)},
        },
    })
}
