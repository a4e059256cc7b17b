//! From the input options to an index and a compiled cluster. The one place that reads files.

pub mod files;
pub mod live;
pub(crate) mod progress;
pub mod snapshot;

use crate::args::{ClusterArgs, InputArgs};
use live::ClusterRef;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::ingest::{Ingested, ingest};
use netsim_shared::net::read_cidr;
use progress::Progress;

/// A cluster that was read.
pub struct Loaded {
    /// Its objects.
    pub index: ClusterIndex,
    /// What was compiled from them.
    pub compiled: Compiled,
}

/// Why nothing could be read.
#[derive(Debug)]
pub struct LoadError(pub Vec<Diagnostic>);

impl LoadError {
    fn one(diagnostic: Diagnostic) -> Self {
        LoadError(vec![diagnostic])
    }
}

/// Reads and compiles the input. Warnings go to `warn`.
///
/// # Errors
/// When anything could not be read: nothing is skipped in silence (H3).
pub fn load(args: &InputArgs, warn: &mut dyn FnMut(&Diagnostic)) -> Result<Loaded, LoadError> {
    let modes = modes(args)?;
    let mut progress = Progress::new();
    let ingested = read(args, &mut progress, warn)?;
    if ingested.has_errors() {
        return Err(LoadError(ingested.diagnostics));
    }
    ingested.diagnostics.iter().for_each(&mut *warn);
    if ingested.objects.is_empty() {
        let ignored: Vec<String> = ingested.ignored.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let found = if ignored.is_empty() { "nothing at all".to_owned() } else { ignored.join(", ") };
        let error = Diagnostic::error("the input holds no object that decides connectivity");
        return Err(LoadError::one(error.help(format!(
            "found: {found}; pods, workloads, namespaces, services and NetworkPolicies are looked at"
        ))));
    }
    progress.say(|| format!("compiling {} objects", ingested.objects.len()));
    let index = ClusterIndex::new(ingested.objects);
    let compiled = Compiled::new(&index, &modes);
    Ok(Loaded { index, compiled })
}

fn read(args: &InputArgs, progress: &mut Progress, warn: &mut dyn FnMut(&Diagnostic)) -> Result<Ingested, LoadError> {
    let live = is_live(&args.cluster);
    if live && !args.files.is_empty() {
        let error = Diagnostic::error("files and a live cluster cannot be read together");
        return Err(LoadError::one(error.help("give either -f, or --context, --kubeconfig or --in-cluster")));
    }
    if !args.files.is_empty() {
        return files::read(&args.files, &args.default_namespace, progress);
    }
    if !live && files::stdin_is_piped() {
        return files::read(&["-".to_owned()], &args.default_namespace, progress);
    }
    let fetched = live::fetch(&cluster_ref(&args.cluster), &mut |what, count| {
        progress.say(|| format!("reading {what}: {count}"));
    })
    .map_err(|error| {
        let mut diagnostic = Diagnostic::error(error.to_string());
        if !live {
            diagnostic = diagnostic.help("to read manifests give -f PATH, or -f - for standard input");
        }
        LoadError::one(diagnostic)
    })?;
    for warning in &fetched.warnings {
        warn(&Diagnostic::warning(warning.clone()));
    }
    let mut all = Ingested::default();
    for page in &fetched.pages {
        all.extend(ingest(&page.source, &page.json, &args.default_namespace));
    }
    Ok(all)
}

/// Whether options name a live cluster.
pub(crate) fn is_live(args: &ClusterArgs) -> bool {
    args.context.is_some() || args.kubeconfig.is_some() || args.in_cluster
}

/// The live cluster that options name.
pub fn cluster_ref(args: &ClusterArgs) -> ClusterRef {
    ClusterRef { context: args.context.clone(), kubeconfig: args.kubeconfig.clone(), in_cluster: args.in_cluster }
}

fn modes(args: &InputArgs) -> Result<Modes, LoadError> {
    let mut pod_cidrs = Vec::new();
    for text in &args.pod_cidrs {
        let read =
            read_cidr(text).map_err(|message| LoadError::one(Diagnostic::error(format!("--pod-cidr: {message}"))))?;
        pod_cidrs.push(read.net);
    }
    Ok(Modes {
        ip_block_matches_pods: args.ip_block_matches_pods,
        host_network_pods: args.host_network_pods,
        strict: args.strict,
        pod_cidrs,
    })
}
