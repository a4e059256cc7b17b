//! What is probably not meant, told at the line where it stands.
//!
//! ```text
//! objects, compiled cluster ── Context ── rules (one file each) ── accepted? in the baseline? ── Report
//! ```
//!
//! Rules judge by effect where they can: not whether a default-deny is there, but whether pods are
//! isolated. A rule is a row of [`RULES`], a file below `rules/`, and a page below `docs/lints/`.

mod accepted;
pub mod baseline;
mod context;
mod finding;
mod rules;

pub use context::{Carrier, Context, Twin, twins};
pub use finding::{Finding, Found, Named};
pub use rules::RULES;

use accepted::Accepted;
use baseline::Baseline;
use netsim_shared::diagnostic::{self, Diagnostic, nearest};
use std::collections::BTreeMap;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably not meant.
    Warning,
    /// Surely wrong.
    Error,
}

impl Severity {
    /// All, the mildest first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Error];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// A rule of the linter.
pub struct Rule {
    /// Its number, which never changes its meaning: `NS001`.
    pub id: &'static str,
    /// Its name, for people: `no-ingress-default-deny`.
    pub name: &'static str,
    /// How bad its findings are, unless the user says otherwise.
    pub severity: Severity,
    /// What it finds, in one line.
    pub summary: &'static str,
    /// What other tools call it, or what is nearest to it there.
    pub neighbours: &'static [&'static str],
    /// Its page, Markdown.
    pub page: &'static str,
    /// Finds what it looks for.
    pub check: fn(&Context<'_>) -> Vec<Found>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// The rule of a number or name.
///
/// # Errors
/// A diagnostic that says which rule may have been meant.
pub fn rule(word: &str) -> Result<&'static Rule, Diagnostic> {
    let found = RULES.iter().find(|rule| rule.id.eq_ignore_ascii_case(word) || rule.name == word);
    found.copied().ok_or_else(|| {
        let names = RULES.iter().flat_map(|rule| [rule.id, rule.name]);
        let error = Diagnostic::error(format!("no rule `{word}`"));
        match nearest(word, names) {
            Some(meant) => error.help(format!("did you mean `{meant}`? `netsim explain-rule` lists the rules")),
            None => error.help("`netsim explain-rule` lists the rules"),
        }
    })
}

/// Which rules are applied, and how bad their findings are.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Only these rules, unless empty.
    pub select: Vec<&'static str>,
    /// Not these.
    pub ignore: Vec<&'static str>,
    /// Severities that differ from those of the table, by number.
    pub severity: BTreeMap<&'static str, Severity>,
    /// Only findings about these namespaces and what is in them, unless empty.
    pub namespaces: Vec<String>,
}

impl Settings {
    fn applies(&self, rule: &Rule) -> bool {
        (self.select.is_empty() || self.select.contains(&rule.id)) && !self.ignore.contains(&rule.id)
    }

    fn severity(&self, rule: &Rule) -> Severity {
        self.severity.get(rule.id).copied().unwrap_or(rule.severity)
    }

    fn concerns(&self, object: &Named) -> bool {
        let named = |name: &str| self.namespaces.iter().any(|wanted| wanted == name);
        self.namespaces.is_empty()
            || object.namespace.as_deref().is_some_and(named)
            || (object.kind.as_ref() == "Namespace" && named(&object.name))
    }
}

/// What the linter has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// What was found, by file and line.
    pub findings: Vec<Finding>,
    /// The rules that were applied.
    pub applied: Vec<&'static Rule>,
    /// How many findings objects accept by annotation.
    pub accepted: usize,
    /// How many findings the baseline holds.
    pub in_baseline: usize,
    /// What the baseline holds and is not found any more.
    pub stale: Vec<baseline::Entry>,
    /// What is wrong with the annotations.
    pub remarks: Vec<Diagnostic>,
}

/// Applies the rules to a cluster. `diagnostics` are what reading it had to say.
pub fn lint(context: &Context<'_>, settings: &Settings, baseline: Option<&Baseline>) -> Report {
    let mut report = Report::default();
    let accepted = Accepted::of(context.index, &mut report.remarks);
    let mut findings: Vec<Finding> = Vec::new();
    report.applied = RULES.iter().copied().filter(|rule| settings.applies(rule)).collect();
    for rule in &report.applied {
        let found = (rule.check)(context).into_iter().filter(|found| settings.concerns(&found.object));
        let (suppressed, kept): (Vec<Found>, Vec<Found>) =
            found.partition(|found| accepted.holds(rule, &found.object, &found.origin));
        report.accepted += suppressed.len();
        findings.extend(kept.into_iter().map(|found| found.under(rule, settings.severity(rule))));
    }
    // What has a rule of its own is found by that, with the object that it is about.
    let unruled = context.diagnostics.iter().filter(|diagnostic| diagnostic.rule.is_none());
    let unruled = unruled.flat_map(|diagnostic| of_diagnostics(std::slice::from_ref(diagnostic)));
    findings.extend(unruled.filter(|finding| settings.applies(finding.rule)));
    finding::sort(&mut findings);
    finding::number_twins(&mut findings);
    if let Some(baseline) = baseline {
        let fingerprints = baseline.fingerprints();
        let (known, new): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|finding| fingerprints.contains(finding.fingerprint.as_str()));
        report.in_baseline = known.len();
        report.stale = baseline.stale(&known);
        findings = new;
    }
    report.findings = findings;
    report
}

/// What is wrong with manifests, as findings.
pub fn of_diagnostics(diagnostics: &[Diagnostic]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = diagnostics
        .iter()
        .filter_map(|diagnostic| {
            let rule = rule(diagnostic.rule.unwrap_or(rules::UNREADABLE)).ok()?;
            let severity = match diagnostic.severity {
                diagnostic::Severity::Error => Severity::Error,
                diagnostic::Severity::Warning => Severity::Warning,
            };
            Some(Finding::of_diagnostic(rule, severity, diagnostic))
        })
        .collect();
    finding::number_twins(&mut findings);
    findings
}
