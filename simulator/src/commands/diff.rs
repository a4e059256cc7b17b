//! `netsim diff`

use crate::Failure;
use crate::args::{Diff, DiffFormat, DiffTelling, FailOnChange, InputArgs};
use crate::commands::filter::{known_namespaces, port};
use crate::exit::Exit;
use crate::load::names::Names;
use crate::load::source::Source;
use crate::load::{LoadError, Loaded, cluster_ref, load_from, names_cluster};
use crate::report::{diagnostics, difference as report};
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::difference::{Both, Cluster, Difference, Options};
use netsim_shared::query::QueryError;
use std::collections::BTreeSet;
use std::io::Write;

/// Compares the two sides.
pub fn run(args: &Diff) -> Result<Exit, Failure> {
    let sources = sources(args)?;
    let mut warn = once();
    let names = Names::read(&args.input.names)?;
    let old = load_from(&sources.old, &args.input, &names, &mut warn)?;
    let new = load_from(&sources.new, &args.input, &names, &mut warn)?;
    tell(Both { old: &old, new: &new }, &args.telling)
}

/// Prints a warning the first time: what both sides read is warned about once.
pub fn once() -> impl FnMut(&Diagnostic) {
    let mut said = BTreeSet::new();
    move |diagnostic| {
        if said.insert(diagnostic.to_string()) {
            diagnostics::print(diagnostic);
        }
    }
}

fn sources(args: &Diff) -> Result<Both<Vec<Source>>, LoadError> {
    let bad = |message: &str, help: &str| LoadError(vec![Diagnostic::error(message).help(help)]);
    let (old, new): (Vec<&String>, Vec<&String>) = match args.sides.as_slice() {
        [old, new] => ([old].into_iter().chain(&args.old).collect(), [new].into_iter().chain(&args.new).collect()),
        _ if args.old.is_empty() || args.new.is_empty() => {
            let help = "write `netsim diff OLD NEW`; --old and --new may stand for them";
            return Err(bad("there are no two sides to compare", help));
        }
        _ => (args.old.iter().collect(), args.new.iter().collect()),
    };
    let cluster = cluster_ref(&args.input.cluster);
    let parse = |word: &&String| Source::parse(word, &cluster);
    let common = || args.input.files.iter();
    let old: Vec<Source> = common().chain(old).map(|word| parse(&word)).collect();
    let new: Vec<Source> = common().chain(new).map(|word| parse(&word)).collect();
    if old.iter().any(Source::is_stdin) && new.iter().any(Source::is_stdin) {
        return Err(bad("standard input can be read for one side only", "give a file for the other"));
    }
    refuse_unused_cluster(&args.input, &[&old, &new])?;
    Ok(Both { old, new })
}

/// Cluster options that nothing uses are a mistake.
pub fn refuse_unused_cluster(input: &InputArgs, sides: &[&[Source]]) -> Result<(), LoadError> {
    let live = sides.iter().flat_map(|side| side.iter()).any(Source::is_live);
    if names_cluster(&input.cluster) && !live {
        let error = Diagnostic::error("the options name a live cluster, and nothing is read from one");
        return Err(LoadError(vec![error.help("write `live` where the cluster is meant")]));
    }
    Ok(())
}

/// Finds the difference, prints it, and gives the exit code.
pub fn tell(sides: Both<&Loaded>, telling: &DiffTelling) -> Result<Exit, Failure> {
    let options = options(sides, telling)?;
    let resolved: BTreeSet<&str> =
        sides.each().iter().flat_map(|side| &side.resolved).map(|(_, said)| said.as_str()).collect();
    resolved.into_iter().for_each(|said| diagnostics::say(&format!("note: {said}")));
    let clusters = sides.map(|side| Cluster { index: &side.index, compiled: &side.compiled });
    let difference = Difference::new(clusters, &options);
    let mut out = std::io::BufWriter::with_capacity(1 << 16, anstream::stdout().lock());
    match telling.output {
        DiffFormat::Text => report::text::write(&mut out, &difference)?,
        DiffFormat::Json => report::json::write(&mut out, &difference, sides)?,
        DiffFormat::Md => report::markdown::write(&mut out, &difference)?,
    }
    out.flush()?;
    drop(out);
    if telling.output != DiffFormat::Md {
        report::notes(&difference).iter().for_each(|note| diagnostics::say(note));
    }
    let fail_on = if telling.exit_code { Some(FailOnChange::Any) } else { telling.fail_on };
    Ok(exit(&difference, fail_on))
}

fn options(sides: Both<&Loaded>, telling: &DiffTelling) -> Result<Options, QueryError> {
    let known: BTreeSet<&str> = sides.each().into_iter().flat_map(|side| side.index.namespace_names()).collect();
    known_namespaces(&telling.namespaces, &known, "on either side")?;
    Ok(Options {
        outside: !telling.no_outside,
        namespaces: telling.namespaces.iter().map(|n| n.as_str().into()).collect(),
        ports: telling.port.as_deref().map(port).transpose()?,
    })
}

/// A change that is asked about is certain, whatever else cannot be told.
fn exit(difference: &Difference, fail_on: Option<FailOnChange>) -> Exit {
    let certain = || difference.changes.iter().filter(|change| !change.incomplete);
    let lone = difference.lone.each().iter().any(|lone| !lone.names.is_empty());
    let failed = match fail_on {
        None => false,
        Some(FailOnChange::Opened) => certain().any(|change| !change.gained.is_empty()),
        Some(FailOnChange::Closed) => certain().any(|change| !change.lost.is_empty()),
        Some(FailOnChange::Any) => lone || certain().any(|change| !change.gained.is_empty() || !change.lost.is_empty()),
    };
    if failed {
        Exit::NotAllowed
    } else if report::is_whole_truth(difference) {
        Exit::Ok
    } else {
        Exit::Unknown
    }
}
