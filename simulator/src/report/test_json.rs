//! Results of tests for programs: `docs/schemas/test-report.schema.json`.

use super::answer_json::{self, AnswerJson, SCHEMA_VERSION};
use crate::commands::can_reach::Asked;
use crate::commands::test::{Counts, Result, Results};
use serde::Serialize;

/// The results.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportJson {
    schema_version: &'static str,
    summary: SummaryJson,
    files: Vec<FileJson>,
}

#[derive(Debug, Serialize)]
struct SummaryJson {
    tests: usize,
    ok: usize,
    failed: usize,
    unknown: usize,
}

#[derive(Debug, Serialize)]
struct FileJson {
    file: String,
    tests: Vec<TestJson>,
}

#[derive(Debug, Serialize)]
struct TestJson {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
    assertion: &'static str,
    line: u32,
    status: &'static str,
    findings: Vec<AnswerJson>,
    more: usize,
    notes: Vec<String>,
    assumed: bool,
}

/// The results as JSON.
pub fn of(results: &[Results<'_>]) -> ReportJson {
    let counts = Counts::of(results);
    let summary = SummaryJson { tests: counts.all(), ok: counts.ok, failed: counts.failed, unknown: counts.unknown };
    let file = |suite: &Results<'_>| FileJson {
        file: suite.suite.source.to_string(),
        tests: suite.results.iter().map(|result| test(suite, result)).collect(),
    };
    ReportJson { schema_version: SCHEMA_VERSION, summary, files: results.iter().map(file).collect() }
}

fn test(suite: &Results<'_>, result: &Result<'_>) -> TestJson {
    let answer = |finding: &netsim_shared::assertion::Finding| {
        let (source, destination) = (finding.source.as_str(), finding.destination.as_str());
        let asked = Asked { source, destination, answer: &finding.answer, loaded: suite.loaded };
        answer_json::with_open(&asked, &finding.open)
    };
    TestJson {
        name: result.test.title.clone(),
        because: result.test.because.clone(),
        assertion: result.test.assertion.key(),
        line: result.test.place.line,
        status: result.checked.status.as_str(),
        findings: result.checked.findings.iter().map(answer).collect(),
        more: result.checked.more,
        notes: result.checked.notes.clone(),
        assumed: result.checked.assumed,
    }
}
