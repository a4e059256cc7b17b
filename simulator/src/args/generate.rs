//! `netsim generate`, for those who make packages.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `generate`
#[derive(Debug, Args)]
pub struct Generate {
    /// What to write
    #[arg(value_enum, value_name = "WHAT")]
    pub what: Generated,
    /// The folder to write to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Files that are made from the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// A man page for netsim and for each command.
    Man,
    /// A completion script for each shell.
    Completions,
    /// The JSON schema of netsim.yaml.
    ConfigSchema,
}
