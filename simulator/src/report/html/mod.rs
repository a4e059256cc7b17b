//! The report as one page: the survey as JSON, and a script that shows it. Nothing is fetched.
//!
//! Everything of the cluster is data: it stands in a block that browsers do not run, with `<` written so
//! that no name can end the block, and the script makes text of it, never markup. A policy in the page
//! allows this script and this style by their hashes and nothing else.

use super::answer_json::SCHEMA_VERSION;
use super::picture::Picture;
use crate::args::{InputArgs, Report};
use crate::lint::Finding;
use crate::load::Loaded;
use base64::Engine as _;
use netsim_shared::list::Listing;
use netsim_shared::object::Origin;
use netsim_shared::survey::Survey;
use serde::Serialize;
use std::io::{self, Write};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// The parts of the script, in the order in which they need each other.
const SCRIPT: [&str; 8] = [
    include_str!("data.js"),
    include_str!("dom.js"),
    include_str!("view.js"),
    include_str!("matrix.js"),
    include_str!("graph.js"),
    include_str!("panels.js"),
    include_str!("details.js"),
    include_str!("app.js"),
];

/// What the page shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<'r> {
    schema_version: &'static str,
    program: &'static str,
    /// Where the cluster was read, in words.
    title: String,
    /// The same as given with `-f`.
    inputs: &'r [String],
    /// What has to be said with all verdicts.
    notes: Vec<String>,
    /// Policies that were not understood (H2).
    incomplete: Vec<Foreign<'r>>,
    findings: &'r [ReportFinding],
    tenant_label: Option<&'r str>,
    /// The namespaces in the order in which the graph has them; their count stands for the outside.
    order: &'r [usize],
    survey: &'r Survey,
}

/// Something that a check of the policies found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportFinding {
    /// The name of the rule that found it.
    pub rule: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// What was found.
    pub message: String,
    /// The object that it is about, as `kind/name`.
    pub object: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The file it stands in.
    pub file: Option<String>,
    /// The line.
    pub line: Option<u32>,
    /// What to do about it.
    pub help: Option<String>,
}

impl From<&Finding> for ReportFinding {
    fn from(finding: &Finding) -> Self {
        ReportFinding {
            rule: finding.rule.id.to_owned(),
            severity: finding.severity.as_str().to_owned(),
            message: finding.message.clone(),
            object: format!("{}/{}", finding.object.kind, finding.object.name),
            namespace: finding.object.namespace.as_deref().map(str::to_owned),
            file: finding.place.as_ref().map(|place| place.source.to_string()),
            line: finding.place.as_ref().map(|place| place.line),
            help: finding.help.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Foreign<'r> {
    api_version: &'r str,
    kind: &'r str,
    namespace: Option<&'r str>,
    name: &'r str,
    at: Option<String>,
}

impl<'r> Page<'r> {
    /// What there is to show.
    pub fn new(
        args: &'r Report,
        loaded: &'r Loaded,
        listing: &Listing<'_>,
        survey: &'r Survey,
        picture: &'r Picture<'_>,
        findings: &'r [ReportFinding],
    ) -> Self {
        let at = |origin: &Origin| (origin.line > 0).then(|| format!("{}:{}", origin.source, origin.line));
        let incomplete = loaded.index.foreign_policies().map(|policy| Foreign {
            api_version: &policy.api_version,
            kind: &policy.kind,
            namespace: policy.namespace.as_deref(),
            name: &policy.name,
            at: at(&policy.origin),
        });
        let mut notes = Vec::new();
        if !survey.only.is_empty() {
            notes.push(format!(
                "Only what connects from or to {} is shown; other pairs were not asked about.",
                args.namespaces.join(", ")
            ));
        }
        if listing.has_hosts() {
            notes.push(
                "A pod and its own node always reach each other. Where pods of several nodes are shown as one, these \
                 pairs are not told apart: netsim list --expand shows them."
                    .to_owned(),
            );
        }
        if listing.rests_on_assumptions() {
            notes.push(
                "Pods without an address are assumed to lie in no partial ipBlock: --pod-cidr decides it, --strict \
                 refuses to assume."
                    .to_owned(),
            );
        }
        Page {
            schema_version: SCHEMA_VERSION,
            program: concat!("netsim ", env!("CARGO_PKG_VERSION")),
            title: title(&args.input),
            inputs: &args.input.files,
            notes,
            incomplete: incomplete.collect(),
            findings,
            tenant_label: args.tenant_label.as_deref(),
            order: picture.order(),
            survey,
        }
    }
}

/// Where the cluster was read, in words.
fn title(input: &InputArgs) -> String {
    let files: Vec<&str> = input.files.iter().map(|file| if file == "-" { "standard input" } else { file }).collect();
    match (files.as_slice(), &input.cluster.context) {
        ([], Some(context)) => format!("the cluster {context}"),
        ([], None) if input.cluster.in_cluster => "this cluster".to_owned(),
        ([], None) => "the cluster".to_owned(),
        (files, _) => files.join(", "),
    }
}

/// Writes the page.
///
/// # Errors
/// When it cannot be written.
pub fn write(out: &mut dyn Write, page: &Page<'_>) -> io::Result<()> {
    let script = format!("(() => {{\n\"use strict\";\n{}}})();\n", SCRIPT.concat());
    let data = serde_json::to_string(page)?.replace('<', "\\u003c");
    let title = format!("{} – who reaches whom", page.title);
    let mut rest = TEMPLATE;
    while let Some((before, place)) = rest.split_once('{') {
        out.write_all(before.as_bytes())?;
        let Some((name, after)) = place.split_once('}') else { return Err(io::Error::other("the page is not whole")) };
        match name {
            "title" => out.write_all(escaped(&title).as_bytes())?,
            "style" => out.write_all(STYLE.as_bytes())?,
            "style-hash" => out.write_all(hash(STYLE).as_bytes())?,
            "script" => out.write_all(script.as_bytes())?,
            "script-hash" => out.write_all(hash(&script).as_bytes())?,
            "data" => out.write_all(data.as_bytes())?,
            other => return Err(io::Error::other(format!("the page has no {other}"))),
        }
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// The hash by which the page's policy knows a script or style.
fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// Text as it stands in HTML and XML. What XML cannot hold is replaced.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Markup that is made of text would run what a name says.
    #[test]
    fn the_script_makes_no_markup() {
        for part in SCRIPT {
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch("]
            {
                assert!(!part.contains(way), "{way}");
            }
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"), "a style that fetches something");
    }

    #[test]
    fn nothing_in_the_page_ends_a_block_early() {
        assert!(!SCRIPT.concat().contains("</script") && !STYLE.contains("</style"));
        assert_eq!(
            escaped("</title><img onerror='x'>\u{1}&\""),
            "&lt;/title&gt;&lt;img onerror=&#39;x&#39;&gt;\u{fffd}&amp;&quot;"
        );
    }
}
