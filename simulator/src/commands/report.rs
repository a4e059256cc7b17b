//! `netsim report`

use super::lint::{Input, Judged};
use crate::Failure;
use crate::args::{ListFilter, Report, ReportFormat};
use crate::commands::filter::Filter;
use crate::exit::Exit;
use crate::lint::Settings;
use crate::load::{LoadError, Loaded, load, modes};
use crate::report::connections::{Connections, UnknownPair};
use crate::report::picture::Picture;
use crate::report::{diagnostics, html, output};
use netsim_shared::diagnostic::nearest;
use netsim_shared::list::{Listing, Options};
use netsim_shared::query::QueryError;
use netsim_shared::survey::Survey;
use std::collections::BTreeSet;
use std::io::Write;

/// Writes the report. One that is not the whole truth ends with the code of what is unknown.
pub fn run(args: &Report) -> Result<Exit, Failure> {
    let (loaded, findings) = read(args)?;
    let namespaces = ListFilter { namespaces: args.namespaces.clone(), source: None, destination: None, port: None };
    let filter = Filter::new(&namespaces, &loaded, &args.input.default_namespace)?;
    if let Some(label) = &args.tenant_label {
        known_label(&loaded, label)?;
    }
    let listing = Listing::new(&loaded.compiled, Options { expand: false, outside: true });
    let connections = Connections { index: &loaded.index, listing: &listing, filter: &filter, expand: false };
    let survey = Survey::new(&loaded.index, &loaded.compiled, &listing, &args.namespaces);
    let picture = Picture::new(&survey);
    let write = |out: &mut dyn Write| match args.output {
        ReportFormat::Html => {
            let page = html::Page::new(args, &loaded, &listing, &survey, &picture, &findings);
            html::write(out, &page)
        }
        ReportFormat::Svg => picture.svg(out),
        ReportFormat::Dot => picture.dot(out),
    };
    output::to(&args.out, write)?;
    Ok(connections.finish(unknown_pairs(&survey)))
}

/// Reads the cluster; for the page, with what lint finds, which pictures do not show.
fn read(args: &Report) -> Result<(Loaded, Vec<html::ReportFinding>), Failure> {
    if args.output != ReportFormat::Html {
        return Ok((load(&args.input, &mut diagnostics::print)?, Vec::new()));
    }
    modes(&args.input)?;
    let input = Input::read(&args.input)?;
    if input.ingested.has_errors() {
        return Err(LoadError(input.ingested.diagnostics).into());
    }
    input.ingested.diagnostics.iter().for_each(diagnostics::print);
    let Judged { loaded, report } = input.judge(&args.input, &Settings::default(), None)?;
    Ok((loaded, report.findings.iter().map(Into::into).collect()))
}

/// A label that no namespace has names no tenants.
fn known_label(loaded: &Loaded, label: &str) -> Result<(), QueryError> {
    let labels: BTreeSet<&str> =
        loaded.index.namespaces().flat_map(|namespace| namespace.labels.iter().map(|(key, _)| key)).collect();
    if labels.contains(label) {
        return Ok(());
    }
    let mut error = QueryError::new(format!("no namespace has the label `{label}`"));
    error.help = match nearest(label, labels.iter().copied()) {
        Some(meant) => Some(format!("did you mean `{meant}`?")),
        None if labels.is_empty() => None,
        None => Some(format!("their labels are {}", labels.into_iter().collect::<Vec<_>>().join(", "))),
    };
    Err(error)
}

fn unknown_pairs(survey: &Survey) -> Vec<UnknownPair> {
    let is_unknown = |reach: u32| survey.reaches.get(reach as usize).is_some_and(|reach| reach.unknown.is_some());
    if !survey.reaches.iter().any(|reach| reach.unknown.is_some()) {
        return Vec::new();
    }
    let mut unknown = Vec::new();
    for (d, destination) in survey.entities.iter().enumerate() {
        for (s, source) in survey.entities.iter().enumerate() {
            let itself = s == d && source.single;
            if !itself && survey.reach(s, d).is_some_and(is_unknown) {
                unknown.push(UnknownPair::new(&source.name, &destination.name));
            }
        }
    }
    unknown
}
