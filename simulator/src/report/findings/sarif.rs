//! SARIF 2.1.0, for code scanning.
//!
//! Paths are relative to the repository, and fingerprints say nothing of lines, so that a finding
//! stays the same one when lines move.

use super::{Root, file_in_repository, page_of};
use crate::lint::{Finding, RULES, Report, Rule, Severity};
use netsim_shared::diagnostic::Place;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Where the schema of the form is to be had.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The name of our fingerprint; its version grows when what is hashed changes.
const FINGERPRINT: &str = "netsim/v1";

/// Writes the log.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let root = Root::find();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "netsim",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": RULES.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {"SRCROOT": {"description": {"text": "the root of the repository"}}},
            "results": report.findings.iter().map(|finding| result(finding, &root)).collect::<Vec<_>>(),
        }],
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// What code scanning sorts by, from 0 to 10, as CVSS has it.
fn security_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "8.0",
        Severity::Warning => "5.5",
        Severity::Info => "2.0",
    }
}

fn descriptor(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.page, "markdown": rule.page},
        "helpUri": page_of(rule.id),
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {
            "tags": ["security", "kubernetes", "networkpolicy"],
            "precision": "high",
            "problem.severity": match rule.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "recommendation",
            },
            "security-severity": security_severity(rule.severity),
        },
    })
}

fn result(finding: &Finding, root: &Root) -> Value {
    let object = &finding.object;
    let mut message = finding.message.clone();
    if let Some(help) = &finding.help {
        message.push_str(&format!("\n{help}"));
    }
    let mut location = json!({});
    if !object.name.is_empty() {
        location["logicalLocations"] =
            json!([{"kind": "object", "name": &*object.name, "fullyQualifiedName": object.to_string()}]);
    }
    if let Some(physical) = finding.place.as_ref().and_then(|place| physical(place, root)) {
        location["physicalLocation"] = physical;
    }
    let related: Vec<Value> = finding
        .related
        .iter()
        .filter_map(|(what, place)| {
            Some(json!({"physicalLocation": physical(place.as_ref()?, root)?, "message": {"text": what}}))
        })
        .collect();
    let mut result = json!({
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.iter().position(|rule| rule.id == finding.rule.id),
        "level": level(finding.severity),
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: finding.fingerprint},
    });
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    result
}

fn physical(place: &Place, root: &Root) -> Option<Value> {
    let file = file_in_repository(place, root)?;
    let mut region = json!({"startLine": place.line, "startColumn": place.column});
    if place.width > 1 {
        region["endColumn"] = (place.column.saturating_add(place.width)).into();
    }
    if let Some(text) = &place.text {
        region["snippet"] = json!({"text": &**text});
    }
    Some(json!({"artifactLocation": {"uri": uri(&file), "uriBaseId": "SRCROOT"}, "region": region}))
}

/// A path as a relative URI.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
