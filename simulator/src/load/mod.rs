//! From sources to an index and a compiled cluster. The one place that reads.

pub(crate) mod config;
pub mod files;
pub mod git;
pub mod live;
pub mod names;
pub(crate) mod progress;
pub mod snapshot;
pub mod source;

use crate::args::{ClusterArgs, InputArgs};
use crate::report::diagnostics;
use live::{ClusterRef, Extent};
use names::{Known, Names};
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::dns::{DomainName, NameMap};
use netsim_shared::ingest::{Ingested, Keep, ingest_keeping};
use netsim_shared::net::read_cidr;
use netsim_shared::object::Object;
use progress::Progress;
use source::Source;
use std::path::Path;

/// A cluster that was read.
pub struct Loaded {
    /// Its objects.
    pub index: ClusterIndex,
    /// What was compiled from them.
    pub compiled: Compiled,
    /// What DNS answered, where it was asked.
    pub resolved: Vec<(DomainName, String)>,
}

/// Why nothing could be read.
#[derive(Debug)]
pub struct LoadError(pub Vec<Diagnostic>);

impl LoadError {
    fn one(diagnostic: Diagnostic) -> Self {
        LoadError(vec![diagnostic])
    }
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What decides connectivity, with places in policies.
    Connectivity,
    /// Besides, who may change it; with places in all objects of files.
    Everything,
}

impl Depth {
    fn keep(self) -> Keep {
        match self {
            Depth::Connectivity => Keep::Policies,
            Depth::Everything => Keep::Everything,
        }
    }

    fn extent(self) -> Extent {
        match self {
            Depth::Connectivity => Extent::Connectivity,
            Depth::Everything => Extent::WithAccess,
        }
    }
}

/// Reads and compiles the input. Warnings go to `warn`.
///
/// # Errors
/// When anything could not be read: nothing is skipped in silence (H3).
pub fn load(args: &InputArgs, warn: &mut dyn FnMut(&Diagnostic)) -> Result<Loaded, LoadError> {
    let loaded = load_about(args, &Names::read(&args.names)?, warn)?;
    loaded.say_resolved();
    Ok(loaded)
}

/// The same with what is known of names. What DNS answered is not said yet.
///
/// # Errors
/// When anything could not be read: nothing is skipped in silence (H3).
pub fn load_about(args: &InputArgs, names: &Names, warn: &mut dyn FnMut(&Diagnostic)) -> Result<Loaded, LoadError> {
    load_from(&sources(args)?, args, names, warn)
}

/// Reads sources in their order and compiles them together, understood as `args` say. Later objects
/// replace earlier ones. Warnings go to `warn`.
///
/// # Errors
/// When anything could not be read: nothing is skipped in silence (H3).
pub fn load_from(
    sources: &[Source],
    args: &InputArgs,
    names: &Names,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Loaded, LoadError> {
    let modes = modes(args)?;
    compile(ClusterIndex::new(read_objects(sources, args, warn)?), modes, names, warn)
}

/// Compiles an index, with what is known of names there.
///
/// # Errors
/// When DNS is to be asked and there is nobody to ask.
pub fn compile(
    index: ClusterIndex,
    modes: Modes,
    names: &Names,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Loaded, LoadError> {
    let mut progress = Progress::new();
    let Known { map, resolved } = names.of(&index, &modes, warn)?;
    progress.say(|| format!("compiling {} pods and {} policies", index.pods().count(), index.policies().count()));
    let compiled = Compiled::new(&index, &Modes { names: map, ..modes });
    Ok(Loaded { index, compiled, resolved })
}

impl Loaded {
    /// Says on standard error what DNS answered.
    pub fn say_resolved(&self) {
        for (_, said) in &self.resolved {
            diagnostics::say(&format!("note: {said}"));
        }
    }
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
    let ingested = read(sources, args, Depth::Connectivity, warn)?;
    if ingested.has_errors() {
        return Err(LoadError(ingested.diagnostics));
    }
    ingested.diagnostics.iter().for_each(&mut *warn);
    something_decides(&ingested)?;
    Ok(ingested.objects)
}

/// Reads sources, in their order, without judging them: what is wrong with manifests is among the
/// diagnostics. What could not be read of a live cluster goes to `warn`.
///
/// # Errors
/// When a source cannot be read at all; with it all else that was found wrong.
pub fn read(
    sources: &[Source],
    args: &InputArgs,
    depth: Depth,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Ingested, LoadError> {
    let mut progress = Progress::new();
    let (mut all, mut wrong) = (Ingested::default(), Vec::new());
    // Paths that follow one another are read together: a file that two of them name is read once.
    for run in sources.chunk_by(|a, b| matches!((a, b), (Source::Path(_), Source::Path(_)))) {
        let read = match run {
            [Source::Revision(revision)] => git::read(revision, &args.default_namespace, depth.keep(), warn),
            [Source::Live(cluster)] => read_live(cluster, args, depth, &mut progress, warn),
            paths => {
                let paths: Vec<String> = paths.iter().filter_map(Source::path).map(str::to_owned).collect();
                files::read(&paths, &args.default_namespace, depth.keep(), &mut progress)
            }
        };
        match read {
            Ok(ingested) => all.extend(ingested),
            Err(LoadError(diagnostics)) => wrong.extend(diagnostics),
        }
    }
    if wrong.is_empty() {
        return Ok(all);
    }
    wrong.append(&mut all.diagnostics);
    Err(LoadError(wrong))
}

/// Input in which nothing decides connectivity is a slip: nothing would be judged, and nobody would see.
///
/// # Errors
/// When that is so.
pub fn something_decides(ingested: &Ingested) -> Result<(), LoadError> {
    let decides = |object: &Object| !matches!(object, Object::Role(_) | Object::RoleBinding(_));
    if ingested.objects.iter().any(decides) {
        return Ok(());
    }
    let ignored: Vec<String> = ingested.ignored.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let found = if ignored.is_empty() { "nothing at all".to_owned() } else { ignored.join(", ") };
    let error = Diagnostic::error("the input holds no object that decides connectivity");
    Err(LoadError::one(error.help(format!(
        "found: {found}; pods, workloads, namespaces, services, NetworkPolicies and EgressDomainPolicies are looked at"
    ))))
}

/// What the input options name: files, standard input where something is piped in, or a cluster.
///
/// # Errors
/// When they name files and a cluster.
pub fn sources(args: &InputArgs) -> Result<Vec<Source>, LoadError> {
    let live = names_cluster(&args.cluster);
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
    depth: Depth,
    progress: &mut Progress,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Ingested, LoadError> {
    let fetched = live::fetch(cluster, depth.extent(), &mut |what, count| {
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
        names: NameMap::default(),
    })
}
