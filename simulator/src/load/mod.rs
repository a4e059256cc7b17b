//! From sources to an index and a compiled cluster. The one place that reads.

pub mod files;
pub mod git;
pub mod live;
pub(crate) mod progress;
pub mod snapshot;
pub mod source;

use crate::args::{ClusterArgs, InputArgs};
use live::ClusterRef;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::ingest::{Ingested, ingest};
use netsim_shared::net::read_cidr;
use netsim_shared::object::Object;
use progress::Progress;
use source::Source;

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
    load_from(&sources(args)?, args, warn)
}

/// Reads sources in their order and compiles them together, understood as `args` say. Later objects
/// replace earlier ones. Warnings go to `warn`.
///
/// # Errors
/// When anything could not be read: nothing is skipped in silence (H3).
pub fn load_from(sources: &[Source], args: &InputArgs, warn: &mut dyn FnMut(&Diagnostic)) -> Result<Loaded, LoadError> {
    let modes = modes(args)?;
    let mut progress = Progress::new();
    let objects = read(sources, args, &mut progress, warn)?;
    progress.say(|| format!("compiling {} objects", objects.len()));
    let index = ClusterIndex::new(objects);
    let compiled = Compiled::new(&index, &modes);
    Ok(Loaded { index, compiled })
}

/// Reads the objects of sources, in their order. Warnings go to `warn`.
///
/// # Errors
/// When anything could not be read, or when there is nothing that decides connectivity.
pub fn read_objects(
    sources: &[Source],
    args: &InputArgs,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Vec<Object>, LoadError> {
    read(sources, args, &mut Progress::new(), warn)
}

fn read(
    sources: &[Source],
    args: &InputArgs,
    progress: &mut Progress,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Vec<Object>, LoadError> {
    let (mut all, mut wrong) = (Ingested::default(), Vec::new());
    // Paths that follow one another are read together: a file that two of them name is read once.
    for run in sources.chunk_by(|a, b| matches!((a, b), (Source::Path(_), Source::Path(_)))) {
        let read = match run {
            [Source::Revision(revision)] => git::read(revision, &args.default_namespace, warn),
            [Source::Live(cluster)] => read_live(cluster, args, progress, warn),
            paths => {
                let paths: Vec<String> = paths.iter().filter_map(Source::path).map(str::to_owned).collect();
                files::read(&paths, &args.default_namespace, progress)
            }
        };
        match read {
            Ok(ingested) => all.extend(ingested),
            Err(LoadError(diagnostics)) => wrong.extend(diagnostics),
        }
    }
    if !wrong.is_empty() || all.has_errors() {
        wrong.append(&mut all.diagnostics);
        return Err(LoadError(wrong));
    }
    all.diagnostics.iter().for_each(&mut *warn);
    if all.objects.is_empty() {
        let ignored: Vec<String> = all.ignored.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let found = if ignored.is_empty() { "nothing at all".to_owned() } else { ignored.join(", ") };
        let error = Diagnostic::error("the input holds no object that decides connectivity");
        return Err(LoadError::one(error.help(format!(
            "found: {found}; pods, workloads, namespaces, services and NetworkPolicies are looked at"
        ))));
    }
    Ok(all.objects)
}

/// What the input options name: files, standard input where something is piped in, or a cluster.
fn sources(args: &InputArgs) -> Result<Vec<Source>, LoadError> {
    let live = is_live(&args.cluster);
    if live && !args.files.is_empty() {
        let error = Diagnostic::error("files and a live cluster cannot be read together");
        return Err(LoadError::one(error.help("give either -f, or --context, --kubeconfig or --in-cluster")));
    }
    if !args.files.is_empty() {
        return Ok(args.files.iter().cloned().map(Source::Path).collect());
    }
    if !live && files::stdin_is_piped() {
        return Ok(vec![Source::Path("-".to_owned())]);
    }
    Ok(vec![Source::Live(cluster_ref(&args.cluster))])
}

fn read_live(
    cluster: &ClusterRef,
    args: &InputArgs,
    progress: &mut Progress,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Ingested, LoadError> {
    let fetched = live::fetch(cluster, &mut |what, count| {
        progress.say(|| format!("reading {what}: {count}"));
    })
    .map_err(|error| {
        let mut diagnostic = Diagnostic::error(error.to_string());
        if *cluster == ClusterRef::default() {
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
pub fn is_live(args: &ClusterArgs) -> bool {
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
