//! `netsim snapshot`

use crate::Failure;
use crate::args::Snapshot;
use crate::exit::Exit;
use crate::load::progress::Progress;
use crate::load::{LoadError, cluster_ref, live, snapshot};
use crate::report::diagnostics;
use netsim_shared::diagnostic::Diagnostic;
use std::io::Write;
use std::path::Path;

/// Fetches the cluster and writes it; says on standard error what was saved.
pub fn run(args: &Snapshot) -> Result<Exit, Failure> {
    let mut progress = Progress::new();
    let extent = if args.with_rbac { live::Extent::WithAccess } else { live::Extent::Connectivity };
    let fetched = live::fetch(&cluster_ref(&args.cluster), extent, &mut |what, count| {
        progress.say(|| format!("reading {what}: {count}"));
    });
    drop(progress);
    let fetched = fetched.map_err(|error| LoadError(vec![Diagnostic::error(error.to_string())]))?;
    for warning in &fetched.warnings {
        diagnostics::print(&Diagnostic::warning(warning.clone()));
    }
    let counts = if args.out == Path::new("-") {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let counts = snapshot::write_snapshot(&fetched.pages, &mut out)?;
        out.flush()?;
        counts
    } else {
        // Written beside and moved: a snapshot is there whole or not at all.
        let partial = args.out.with_extension("partial");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&partial)?);
        let counts = snapshot::write_snapshot(&fetched.pages, &mut out)?;
        out.flush()?;
        std::fs::rename(&partial, &args.out)?;
        counts
    };
    let kinds: Vec<String> = counts.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    diagnostics::say(&format!("saved {} objects: {}", counts.items, kinds.join(", ")));
    Ok(Exit::Ok)
}
