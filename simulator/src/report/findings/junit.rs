//! JUnit XML: a failed test case a finding, and a passed one a rule that found nothing.

use crate::lint::{Finding, Report};
use crate::report::junit::{Case, Outcome, Problem, Suite, write as write_suites};
use std::io::{self, Write};

/// Writes the report.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let found = |id: &str| report.findings.iter().any(|finding| finding.rule.id == id);
    let quiet = report.applied.iter().filter(|rule| !found(rule.id)).map(|rule| Case {
        name: rule.summary.to_owned(),
        class: format!("{} {}", rule.id, rule.name),
        file: String::new(),
        line: 0,
        outcome: Outcome::Passed,
    });
    let cases = report.findings.iter().map(case).chain(quiet).collect();
    write_suites(out, "netsim lint", &[Suite { name: "netsim lint".to_owned(), cases }])
}

fn case(finding: &Finding) -> Case {
    let (file, line) = finding.place.as_ref().map_or((String::new(), 0), |p| (p.source.to_string(), p.line));
    let mut text = format!("{file}:{line}\n{}", finding.message);
    if let Some(help) = &finding.help {
        text.push_str(&format!("\n{help}"));
    }
    let name = match (finding.object.name.is_empty(), finding.path.is_empty()) {
        (true, _) => format!("{file}:{line}"),
        (false, true) => finding.object.to_string(),
        (false, false) => format!("{} {}", finding.object, finding.path),
    };
    let kind = format!("{} {}", finding.rule.id, finding.severity.as_str());
    let outcome = Outcome::Failed(Problem { kind, message: finding.message.clone(), text });
    Case { name, class: format!("{} {}", finding.rule.id, finding.rule.name), file, line, outcome }
}
