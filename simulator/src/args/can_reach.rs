//! `netsim can-reach`

use super::InputArgs;
use clap::{Args, ValueEnum};
use std::net::IpAddr;

/// `can-reach`
#[derive(Debug, Args)]
pub struct CanReach {
    /// Who connects
    #[arg(value_name = "SRC")]
    pub source: String,
    /// To whom, and on which port
    #[arg(value_name = "DST")]
    pub destination: String,
    /// The protocol [default: tcp with a port, every one without]
    #[arg(long, value_name = "tcp|udp|sctp")]
    pub protocol: Option<String>,
    /// The namespace of words that name none [default: that of --default-namespace]
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Only the pods of SRC with these labels, as kubectl -l
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Only the pods of DST with these labels
    #[arg(long, value_name = "SELECTOR")]
    pub dst_selector: Option<String>,
    /// Suppose that the DNS name DST stands for this address; repeatable
    #[arg(long, value_name = "ADDRESS")]
    pub at_ip: Vec<IpAddr>,
    /// Say why when it is allowed too; a denial always says why
    #[arg(long)]
    pub explain: bool,
    /// Make it an assertion: exit 0 only when the answer is this
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub expect: Option<Expect>,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Text, value_name = "FORMAT")]
    pub output: AnswerFormat,
    /// The input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// What an assertion expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// Everything that was asked about is allowed.
    Allowed,
    /// Everything is denied.
    Denied,
}

impl Expect {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Expect::Allowed => "allowed",
            Expect::Denied => "denied",
        }
    }
}

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people.
    Text,
    /// For programs: docs/schemas/can-reach.schema.json.
    Json,
    /// The same as YAML.
    Yaml,
}
