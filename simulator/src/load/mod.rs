//! From the input options to an index and a compiled cluster. The one place that reads files.

pub(crate) mod config;
pub mod files;
pub mod live;
pub(crate) mod progress;
pub mod snapshot;

use crate::args::{ClusterArgs, InputArgs};
use live::{ClusterRef, Extent};
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::ingest::{Ingested, Keep, ingest_keeping};
use netsim_shared::net::read_cidr;
use netsim_shared::object::Object;
use progress::Progress;
use std::path::Path;

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
    let ingested = read(args, Depth::Connectivity, warn)?;
    if ingested.has_errors() {
        return Err(LoadError(ingested.diagnostics));
    }
    ingested.diagnostics.iter().for_each(&mut *warn);
    compile(ingested, &modes)
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What decides connectivity, with places in policies.
    Connectivity,
    /// Besides, who may change it; with places in all objects of files.
    Everything,
}

/// Indexes and compiles what was read.
///
/// # Errors
/// When none of it decides connectivity.
pub fn compile(ingested: Ingested, modes: &Modes) -> Result<Loaded, LoadError> {
    let decides = |object: &Object| !matches!(object, Object::Role(_) | Object::RoleBinding(_));
    if !ingested.objects.iter().any(decides) {
        let ignored: Vec<String> = ingested.ignored.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let found = if ignored.is_empty() { "nothing at all".to_owned() } else { ignored.join(", ") };
        let error = Diagnostic::error("the input holds no object that decides connectivity");
        return Err(LoadError::one(error.help(format!(
            "found: {found}; pods, workloads, namespaces, services and NetworkPolicies are looked at"
        ))));
    }
    let mut progress = Progress::new();
    progress.say(|| format!("compiling {} objects", ingested.objects.len()));
    let index = ClusterIndex::new(ingested.objects);
    let compiled = Compiled::new(&index, modes);
    Ok(Loaded { index, compiled })
}

/// Whether a live cluster is what options come to.
pub fn is_live(args: &InputArgs) -> bool {
    args.files.is_empty() && (names_cluster(&args.cluster) || !files::stdin_is_piped())
}

/// Reads the input without judging it: what is wrong with manifests is among the diagnostics. What
/// could not be read of a live cluster goes to `warn`.
///
/// # Errors
/// When files or the cluster cannot be read at all.
pub fn read(args: &InputArgs, depth: Depth, warn: &mut dyn FnMut(&Diagnostic)) -> Result<Ingested, LoadError> {
    let (keep, extent) = match depth {
        Depth::Connectivity => (Keep::Policies, Extent::Connectivity),
        Depth::Everything => (Keep::Everything, Extent::WithAccess),
    };
    let progress = &mut Progress::new();
    let live = names_cluster(&args.cluster);
    if live && !args.files.is_empty() {
        let error = Diagnostic::error("files and a live cluster cannot be read together");
        return Err(LoadError::one(error.help("give either -f, or --context, --kubeconfig or --in-cluster")));
    }
    if !args.files.is_empty() {
        return files::read(&args.files, &args.default_namespace, keep, progress);
    }
    if !is_live(args) {
        return files::read(&["-".to_owned()], &args.default_namespace, keep, progress);
    }
    let fetched = live::fetch(&cluster_ref(&args.cluster), extent, &mut |what, count| {
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
        // Lines of an API server's answer tell nobody anything.
        all.extend(ingest_keeping(&page.source, &page.json, &args.default_namespace, Keep::Policies));
    }
    Ok(all)
}

/// A file's text, or that of standard input where the path is `-`; and what messages call it.
///
/// # Errors
/// When it cannot be read.
pub fn text_of(path: &Path) -> Result<(String, String), LoadError> {
    let stdin = path == Path::new("-");
    let name = if stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let text = if stdin { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    match text {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(LoadError::one(Diagnostic::error(format!("`{name}` cannot be read: {error}")))),
    }
}

/// Whether options name a live cluster.
pub fn names_cluster(args: &ClusterArgs) -> bool {
    args.context.is_some() || args.kubeconfig.is_some() || args.in_cluster
}

/// The live cluster that options name.
pub fn cluster_ref(args: &ClusterArgs) -> ClusterRef {
    ClusterRef { context: args.context.clone(), kubeconfig: args.kubeconfig.clone(), in_cluster: args.in_cluster }
}

/// The modes that options choose.
///
/// # Errors
/// When a range of addresses cannot be read.
pub fn modes(args: &InputArgs) -> Result<Modes, LoadError> {
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
