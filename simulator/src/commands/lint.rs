//! `netsim lint`

use crate::Failure;
use crate::args::{FailOn, FindingFormat, InputArgs, Lint};
use crate::commands::filter::known_namespaces;
use crate::exit::Exit;
use crate::lint::baseline::Baseline;
use crate::lint::{self, Context, Report, Settings, Severity, twins};
use crate::load::names::Names;
use crate::load::source::Source;
use crate::load::{self, Depth, LoadError, Loaded};
use crate::report::{diagnostics, findings, output};
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::ingest::Ingested;
use std::path::Path;

/// A cluster, and what there is to say of it.
pub struct Judged {
    /// The cluster.
    pub loaded: Loaded,
    /// What there is to say.
    pub report: Report,
}

/// Input that was read with all that rules look at.
pub struct Input {
    sources: Vec<Source>,
    /// What was read.
    pub ingested: Ingested,
}

impl Input {
    /// Reads it.
    pub fn read(args: &InputArgs) -> Result<Self, LoadError> {
        let sources = load::sources(args)?;
        let ingested = load::read(&sources, args, Depth::Everything, &mut diagnostics::print)?;
        Ok(Input { sources, ingested })
    }

    /// Compiles and judges it; nothing in it is wrong.
    pub fn judge(self, args: &InputArgs, settings: &Settings, baseline: Option<&Baseline>) -> Result<Judged, Failure> {
        let names = Names::read(&args.names)?;
        let Input { sources, mut ingested } = self;
        load::something_decides(&ingested)?;
        let read = std::mem::take(&mut ingested.diagnostics);
        let twins = twins(&ingested.objects);
        let index = ClusterIndex::new(ingested.objects);
        let loaded = load::compile(index, load::modes(args)?, &names, &mut diagnostics::print)?;
        loaded.say_resolved();
        known_namespaces(&settings.namespaces, &loaded.index.namespace_names(), "in the input")?;
        let context = Context::new(&loaded.index, &loaded.compiled, twins, &read);
        let mut report = lint::lint(&context, settings, baseline);
        if sources.iter().any(Source::is_live) {
            // Lines of an API server's answer tell nobody anything.
            report.findings = report.findings.into_iter().map(lint::Finding::without_places).collect();
        }
        report.remarks.iter().for_each(diagnostics::print);
        Ok(Judged { loaded, report })
    }
}

/// Finds, and tells what was found.
pub fn run(args: &Lint) -> Result<Exit, Failure> {
    let settings = settings(args).map_err(LoadError)?;
    // What is wrong with options is told before anything is read.
    load::modes(&args.input)?;
    let input = Input::read(&args.input)?;
    if input.ingested.has_errors() {
        return unreadable(args, &input.ingested);
    }
    let baseline = match &args.baseline {
        Some(path) if !args.write_baseline => Some(read_baseline(path)?),
        _ => None,
    };
    let Judged { loaded, report } = input.judge(&args.input, &settings, baseline.as_ref())?;
    if let (Some(path), true) = (&args.baseline, args.write_baseline) {
        return write_baseline(path, &report);
    }
    tell(args, &report)?;
    diagnostics::incomplete(&loaded.index);
    Ok(exit(args.fail_on, &report))
}

/// Whether what was found makes the command fail.
fn exit(fail_on: FailOn, report: &Report) -> Exit {
    let least = match fail_on {
        FailOn::Error => Severity::Error,
        FailOn::Warning => Severity::Warning,
        FailOn::Info => Severity::Info,
        FailOn::Never => return Exit::Ok,
    };
    let fails = report.findings.iter().any(|finding| finding.severity >= least);
    if fails { Exit::NotAllowed } else { Exit::Ok }
}

/// Manifests that cannot be read are findings too, so that they are told where findings are looked
/// for; what the others mean together is not judged then.
fn unreadable(args: &Lint, ingested: &Ingested) -> Result<Exit, Failure> {
    let report = Report { findings: lint::of_diagnostics(&ingested.diagnostics), ..Report::default() };
    tell(args, &report)?;
    diagnostics::say("the manifests cannot all be read: nothing else was judged");
    Ok(Exit::Bad)
}

fn tell(args: &Lint, report: &Report) -> Result<(), Failure> {
    output::to(&args.out, |out| findings::write(out, report, args.output))?;
    if output::is_file(&args.out) {
        output::to(Path::new(output::STDOUT), |out| findings::write(out, report, FindingFormat::Text))?;
    }
    Ok(())
}

/// The settings that options choose; all that is wrong with them is told together.
fn settings(args: &Lint) -> Result<Settings, Vec<Diagnostic>> {
    let mut wrong = Vec::new();
    let mut number =
        |word: &String| lint::rule(word.trim()).map(|rule| rule.id).map_err(|error| wrong.push(error)).ok();
    let select = args.select.iter().filter_map(&mut number).collect();
    let ignore = args.ignore.iter().filter_map(&mut number).collect();
    let mut severity = std::collections::BTreeMap::new();
    for word in &args.severity {
        let (rule, level) = word.split_once('=').unwrap_or((word, ""));
        let known = Severity::parse(level.trim()).ok_or_else(|| {
            let error = Diagnostic::error(format!("`{word}` sets no severity"));
            error.help("write RULE=error, RULE=warning or RULE=info; --ignore switches a rule off")
        });
        match (lint::rule(rule.trim()), known) {
            (Ok(rule), Ok(level)) => _ = severity.insert(rule.id, level),
            (rule, level) => wrong.extend([rule.err(), level.err()].into_iter().flatten()),
        }
    }
    if wrong.is_empty() {
        Ok(Settings { select, ignore, severity, namespaces: args.namespaces.clone() })
    } else {
        Err(wrong)
    }
}

fn read_baseline(path: &Path) -> Result<Baseline, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let diagnostic = Diagnostic::error(format!("the baseline `{name}` cannot be read: {error}"));
        LoadError(vec![diagnostic.help("--write-baseline makes it")])
    })?;
    Ok(Baseline::read(&name, &text).map_err(|error| LoadError(vec![error]))?)
}

fn write_baseline(path: &Path, report: &Report) -> Result<Exit, Failure> {
    let text = Baseline::of(&report.findings).text().map_err(std::io::Error::from)?;
    output::to(path, |out| out.write_all(text.as_bytes()))?;
    let count = report.findings.len();
    let findings = if count == 1 { "finding" } else { "findings" };
    diagnostics::say(&format!("wrote {count} {findings} to {}", path.display()));
    Ok(Exit::Ok)
}
