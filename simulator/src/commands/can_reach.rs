//! `netsim can-reach`

use crate::Failure;
use crate::args::{AnswerFormat, CanReach};
use crate::exit::Exit;
use crate::load::names::Names;
use crate::load::{Loaded, load_about};
use crate::report::{answer_json, answer_text, diagnostics, yaml};
use netsim_shared::dns::NamePattern;
use netsim_shared::ports::Protocol;
use netsim_shared::query::target::{Target, parse_destination};
use netsim_shared::query::{Answer, QueryError, Question, Resolver, ask};
use netsim_shared::selector::Selector;
use std::io::Write;

/// Everything a report needs to know of a question and its answer.
pub struct Asked<'a> {
    /// The source word as it was typed.
    pub source: &'a str,
    /// The destination word as it was typed.
    pub destination: &'a str,
    /// The answer.
    pub answer: &'a Answer,
    /// The cluster it is about.
    pub loaded: &'a Loaded,
}

/// Asks and prints the answer.
pub fn run(args: &CanReach) -> Result<Exit, Failure> {
    let question = question(args)?;
    let names = names(args)?;
    let loaded = load_about(&args.input, &names, &mut diagnostics::print)?;
    let namespace = args.namespace.as_deref().unwrap_or(&args.input.default_namespace);
    let resolver = Resolver { index: &loaded.index, compiled: &loaded.compiled, default_namespace: namespace };
    let mut answer = ask(&resolver, &question)?;
    let asked: Vec<&NamePattern> =
        answer.connections.iter().filter_map(|c| c.to_name.as_ref()).map(|to| &to.name).collect();
    let about = loaded
        .resolved
        .iter()
        .filter(|(name, _)| asked.is_empty() || asked.contains(&&NamePattern::Exact(name.clone())));
    let resolved: Vec<String> = about.map(|(_, said)| said.clone()).collect();
    answer.notes.extend(resolved);
    let asked = Asked { source: &args.source, destination: &args.destination, answer: &answer, loaded: &loaded };
    let mut out = std::io::BufWriter::new(anstream::stdout().lock());
    match args.output {
        AnswerFormat::Text => answer_text::write(&mut out, &asked, args.explain)?,
        AnswerFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &answer_json::of(&asked)).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        AnswerFormat::Yaml => out.write_all(yaml::to_string(&answer_json::of(&asked))?.as_bytes())?,
    }
    out.flush()?;
    drop(out);
    let exit = Exit::of_answer(answer.verdict, !answer.incomplete.is_empty(), args.expect);
    if let (Some(expected), true) = (args.expect, exit != Exit::Ok) {
        let incomplete = if answer.incomplete.is_empty() { "" } else { ", incomplete" };
        diagnostics::say(&format!("expected {}, but the answer is {}{incomplete}", expected.as_str(), answer.verdict));
    }
    Ok(exit)
}

fn question(args: &CanReach) -> Result<Question, QueryError> {
    let selector = |text: &Option<String>| text.as_deref().map(Selector::parse).transpose().map_err(QueryError::new);
    Ok(Question {
        source: args.source.clone(),
        destination: args.destination.clone(),
        protocol: args.protocol.as_deref().map(protocol).transpose()?,
        source_selector: selector(&args.selector)?,
        destination_selector: selector(&args.dst_selector)?,
    })
}

/// What is known of names, and of the one that is asked about.
fn names(args: &CanReach) -> Result<Names, Failure> {
    let names = Names::read(&args.input.names)?;
    let word = parse_destination(&args.destination).map_err(QueryError::new)?;
    match word.target {
        Target::Name(NamePattern::Exact(name)) => Ok(names.about(name, &args.at_ip)),
        _ if args.at_ip.is_empty() => Ok(names),
        _ => {
            let error = QueryError::new(format!("--at-ip: `{}` is no DNS name outside", args.destination));
            Err(error.help("an address is asked about as it stands: write it for DST").into())
        }
    }
}

/// Reads the name of a protocol.
pub fn protocol(text: &str) -> Result<Protocol, QueryError> {
    let message = || format!("`{text}` is not a protocol: use tcp, udp or sctp");
    Protocol::parse_lenient(text).ok_or_else(|| QueryError::new(message()))
}
