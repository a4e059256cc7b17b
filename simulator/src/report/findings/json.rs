//! For programs: `docs/schemas/lint.schema.json`.

use super::page_of;
use crate::lint::{Finding, Report};
use crate::report::answer_json::SCHEMA_VERSION;
use netsim_shared::diagnostic::Place;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportJson<'r> {
    schema_version: &'static str,
    findings: Vec<FindingJson<'r>>,
    accepted: usize,
    in_baseline: usize,
    stale: &'r [crate::lint::baseline::Entry],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingJson<'r> {
    rule: &'static str,
    name: &'static str,
    severity: &'static str,
    message: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectJson<'r>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'r str,
    #[serde(flatten)]
    place: Option<PlaceJson<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<RelatedJson<'r>>,
    fingerprint: &'r str,
    help_uri: String,
}

#[derive(Serialize)]
struct ObjectJson<'r> {
    kind: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'r str>,
    name: &'r str,
}

#[derive(Serialize)]
struct PlaceJson<'r> {
    file: &'r str,
    line: u32,
    column: u32,
}

#[derive(Serialize)]
struct RelatedJson<'r> {
    message: &'r str,
    #[serde(flatten)]
    place: Option<PlaceJson<'r>>,
}

impl<'r> From<&'r Place> for PlaceJson<'r> {
    fn from(place: &'r Place) -> Self {
        PlaceJson { file: &place.source, line: place.line, column: place.column }
    }
}

impl<'r> From<&'r Finding> for FindingJson<'r> {
    fn from(finding: &'r Finding) -> Self {
        let object = &finding.object;
        let object = ObjectJson { kind: &object.kind, namespace: object.namespace.as_deref(), name: &object.name };
        FindingJson {
            rule: finding.rule.id,
            name: finding.rule.name,
            severity: finding.severity.as_str(),
            message: &finding.message,
            help: finding.help.as_deref(),
            object: (!object.name.is_empty()).then_some(object),
            path: &finding.path,
            place: finding.place.as_ref().map(Into::into),
            related: finding
                .related
                .iter()
                .map(|(message, place)| RelatedJson { message, place: place.as_ref().map(Into::into) })
                .collect(),
            fingerprint: &finding.fingerprint,
            help_uri: page_of(finding.rule.id),
        }
    }
}

/// Writes the findings.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let value = ReportJson {
        schema_version: SCHEMA_VERSION,
        findings: report.findings.iter().map(Into::into).collect(),
        accepted: report.accepted,
        in_baseline: report.in_baseline,
        stale: &report.stale,
    };
    serde_json::to_writer_pretty(&mut *out, &value)?;
    writeln!(out)
}
