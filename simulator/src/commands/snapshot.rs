//! `netsim snapshot`

use crate::Failure;
use crate::args::Snapshot;
use crate::exit::Exit;
use crate::load::progress::Progress;
use crate::load::snapshot::SnapshotCounts;
use crate::load::{LoadError, cluster_ref, live, snapshot};
use crate::report::{diagnostics, output};
use netsim_shared::diagnostic::Diagnostic;

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
    let mut counts = SnapshotCounts::default();
    output::to(&args.out, |out| {
        counts = snapshot::write_snapshot(&fetched.pages, out)?;
        Ok(())
    })?;
    let kinds: Vec<String> = counts.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    diagnostics::say(&format!("saved {} objects: {}", counts.items, kinds.join(", ")));
    Ok(Exit::Ok)
}
