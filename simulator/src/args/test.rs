//! `netsim test`

use super::InputArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `test`
#[derive(Debug, Args)]
pub struct Test {
    /// Tests: a file, a directory (every *.netsim.yaml in it) or a glob
    #[arg(value_name = "FILE", required = true)]
    pub tests: Vec<String>,
    /// Only the tests whose name has this in it, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// How to print the results
    #[arg(short, long, value_enum, default_value_t = TestFormat::Text, value_name = "FORMAT")]
    pub output: TestFormat,
    /// Where to write the results; the text is printed too then
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// How to print results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TestFormat {
    /// For people.
    Text,
    /// For programs: docs/schemas/test-report.schema.json.
    Json,
    /// For CI systems: JUnit XML.
    Junit,
    /// The Test Anything Protocol, version 14.
    Tap,
}
