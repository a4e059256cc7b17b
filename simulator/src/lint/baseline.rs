//! The findings that were there when a team began: a file that is checked in and grows shorter.

use super::Finding;
use netsim_shared::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The version of the file.
const VERSION: u32 = 1;

/// A baseline.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    findings: Vec<Entry>,
}

/// A finding as the file holds it. The fingerprint tells it; the rest is for readers of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What tells it.
    pub fingerprint: String,
    /// The number of its rule.
    pub rule: String,
    /// What it is about.
    pub object: String,
    /// The part of that.
    pub path: String,
}

impl Baseline {
    /// A baseline of all that was found.
    pub fn of(findings: &[Finding]) -> Self {
        let mut entries: Vec<Entry> = findings
            .iter()
            .map(|finding| Entry {
                fingerprint: finding.fingerprint.clone(),
                rule: finding.rule.id.to_owned(),
                object: finding.object.to_string(),
                path: finding.path.clone(),
            })
            .collect();
        // Not by line: lines that move must not change the file.
        entries.sort_by(|a, b| (&a.rule, &a.object, &a.path).cmp(&(&b.rule, &b.object, &b.path)));
        Baseline { version: VERSION, findings: entries }
    }

    /// Reads the file's text; `name` is what messages call it.
    ///
    /// # Errors
    /// When it is not a baseline.
    pub fn read(name: &str, text: &str) -> Result<Self, Diagnostic> {
        let read: Baseline = serde_json::from_str(text).map_err(|error| {
            let message = format!("`{name}` is not a baseline: {error}");
            Diagnostic::error(message).help("write it anew with --write-baseline")
        })?;
        if read.version != VERSION {
            let message =
                format!("`{name}` is a baseline of version {}, this netsim reads version {VERSION}", read.version);
            return Err(Diagnostic::error(message).help("write it anew with --write-baseline"));
        }
        Ok(read)
    }

    /// Its text: one finding a line, so that changes of it are read easily.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which would be a fault of netsim's own types.
    pub fn text(&self) -> serde_json::Result<String> {
        let mut out = format!("{{\n  \"version\": {VERSION},\n  \"findings\": [");
        for (i, entry) in self.findings.iter().enumerate() {
            out.push_str(if i > 0 { ",\n    " } else { "\n    " });
            out.push_str(&serde_json::to_string(entry)?);
        }
        out.push_str(if self.findings.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" });
        Ok(out)
    }

    /// The fingerprints that it holds.
    pub fn fingerprints(&self) -> HashSet<&str> {
        self.findings.iter().map(|entry| entry.fingerprint.as_str()).collect()
    }

    /// What it holds that was not found.
    pub fn stale(&self, found: &[Finding]) -> Vec<Entry> {
        let found: HashSet<&str> = found.iter().map(|finding| finding.fingerprint.as_str()).collect();
        self.findings.iter().filter(|entry| !found.contains(entry.fingerprint.as_str())).cloned().collect()
    }
}
