//! `netsim lint` and `netsim explain-rule`

use super::InputArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `lint`
#[derive(Debug, Args)]
pub struct Lint {
    /// End with code 1 when something this bad is found
    #[arg(long, value_enum, default_value_t = FailOn::Warning, value_name = "SEVERITY")]
    pub fail_on: FailOn,
    /// Only these rules, by number or name; repeatable, or with commas
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub select: Vec<String>,
    /// Not these rules; repeatable, or with commas
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Another severity for a rule, such as NS011=warning; repeatable, or with commas
    #[arg(long, value_name = "RULE=SEVERITY", value_delimiter = ',')]
    pub severity: Vec<String>,
    /// Only findings about this namespace and what is in it; repeatable
    #[arg(short, long = "namespace", value_name = "NS")]
    pub namespaces: Vec<String>,
    /// Leave out the findings that this file holds
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write all findings to the file of --baseline instead of telling them
    #[arg(long, requires = "baseline")]
    pub write_baseline: bool,
    /// How to print the findings
    #[arg(short, long, value_enum, default_value_t = FindingFormat::Text, value_name = "FORMAT")]
    pub output: FindingFormat,
    /// Where to write them; the text is printed too then
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// From which severity on findings make the command fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Only what is surely wrong.
    Error,
    /// What is probably not meant, too.
    Warning,
    /// Everything.
    Info,
    /// Nothing: findings are only told.
    Never,
}

/// How to print findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindingFormat {
    /// For people, with the lines they are about.
    Text,
    /// For programs: docs/schemas/lint.schema.json.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
    /// Code Quality report of GitLab.
    Gitlab,
    /// JUnit XML, a test case a finding.
    Junit,
}

/// `explain-rule`
#[derive(Debug, Args)]
pub struct ExplainRule {
    /// The rule, by number or name; without it all rules are listed
    #[arg(value_name = "RULE")]
    pub rule: Option<String>,
}
