//! Test cases as folders: objects, and what is expected of them.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::Modes;
use netsim_shared::dns::refuse::Refusals;
use netsim_shared::dns::{DomainName, NameMap};
use netsim_shared::ingest::{Ingested, from_yaml, ingest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A case: `case.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, in a line.
    pub title: String,
    /// The name of the upstream end-to-end test that it rebuilds.
    pub upstream: Option<String>,
    /// Why it comes out so.
    pub about: String,
    /// The clauses of `docs/semantics.md` that it proves.
    pub clauses: Vec<String>,
    /// One or more states of the cluster and what is expected of each.
    pub steps: Vec<Step>,
    /// Its folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A state of the cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it is.
    pub name: String,
    /// The cluster under `_clusters/` that the files are put over.
    pub cluster: Option<String>,
    /// The objects; later ones replace earlier ones of the same name.
    #[serde(default)]
    pub files: Vec<String>,
    /// The modes of compilation.
    #[serde(default)]
    pub modes: StepModes,
    /// Truth tables over all pairs of pods but the diagonal.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// Single questions.
    #[serde(default)]
    pub asks: Vec<Ask>,
    /// A part of the diagnostic with which the load must fail.
    pub error: Option<String>,
}

/// The modes of a step.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StepModes {
    strict: bool,
    pod_cidr: Vec<String>,
    ip_block_pods: Option<bool>,
    host_network_pods: bool,
    /// What names stand for; all other names have no address.
    dns_map: Option<BTreeMap<DomainName, Vec<IpAddr>>>,
}

/// A truth table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The ports that share it: `80/TCP`.
    pub ports: Vec<String>,
    /// The verdict of every pair.
    pub default: String,
    /// The pairs that differ; the last that matches wins.
    #[serde(default)]
    pub except: Vec<Except>,
}

/// Pairs that differ from a table's default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Except {
    /// Sources: `ns/pod`, with `*` for any.
    pub from: String,
    /// Destinations, likewise.
    pub to: String,
    /// Their verdict.
    pub verdict: String,
}

/// A single question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The source word.
    pub from: String,
    /// The destination word.
    pub to: String,
    /// The protocol.
    pub protocol: Option<String>,
    /// allowed, denied, mixed, unknown or error.
    pub verdict: String,
    /// A part of what is said with it.
    pub says: Option<String>,
    /// Whether policies that were not understood could change it.
    #[serde(default)]
    pub incomplete: bool,
}

impl Table {
    /// The verdict of a pair.
    pub fn verdict(&self, from: &str, to: &str) -> &str {
        let hits = |e: &&Except| covers(&e.from, from) && covers(&e.to, to);
        self.except.iter().rev().find(hits).map_or(&self.default, |e| &e.verdict)
    }
}

/// A map with everything in it; nothing of it may be refused.
fn names(known: &BTreeMap<DomainName, Vec<IpAddr>>) -> NameMap {
    let mut map = NameMap::new(Refusals::default(), true);
    for (name, addresses) in known {
        let refused = map.insert(name.clone(), addresses.iter().copied());
        assert!(refused.is_empty(), "{name}: {refused:?}");
    }
    map
}

/// Whether a pattern such as `x/*` covers `ns/pod`.
fn covers(pattern: &str, name: &str) -> bool {
    let (Some((pn, pp)), Some((n, p))) = (pattern.split_once('/'), name.split_once('/')) else { return false };
    (pn == "*" || pn == n) && (pp == "*" || pp == p)
}

/// The folder of all fixtures.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// All cases, by name.
///
/// # Panics
/// When a case cannot be read: a broken fixture must not pass unseen.
pub fn cases() -> Vec<Case> {
    let entries = std::fs::read_dir(root()).expect("tests/fixtures is there");
    let mut folders: Vec<PathBuf> =
        entries.map(|e| e.expect("a readable entry").path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
        .into_iter()
        .filter(|folder| !folder.file_name().is_some_and(|n| n.to_string_lossy().starts_with('_')))
        .map(|folder| {
            let text = std::fs::read_to_string(folder.join("case.yaml"))
                .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let mut case: Case = from_yaml(&text)
                .unwrap_or_else(|e| panic!("{}/case.yaml: {} at {:?}", folder.display(), e.message, e.span));
            case.folder = folder;
            case
        })
        .collect()
}

impl Step {
    /// Reads the step's objects.
    ///
    /// # Panics
    /// When a file cannot be read.
    pub fn load(&self, folder: &Path) -> Ingested {
        let base = self.cluster.iter().map(|name| root().join("_clusters").join(format!("{name}.yaml")));
        let mut all = Ingested::default();
        for path in base.chain(self.files.iter().map(|file| folder.join(file))) {
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            all.extend(ingest(&path.file_name().unwrap_or_default().to_string_lossy(), &bytes, "default"));
        }
        all
    }

    /// The modes of compilation.
    ///
    /// # Panics
    /// When a pod range is no CIDR.
    pub fn modes(&self) -> Modes {
        Modes {
            ip_block_matches_pods: self.modes.ip_block_pods.unwrap_or(true),
            host_network_pods: self.modes.host_network_pods,
            strict: self.modes.strict,
            pod_cidrs: self.modes.pod_cidr.iter().map(|c| c.parse().expect("a CIDR")).collect(),
            names: self.modes.dns_map.as_ref().map(names).unwrap_or_default(),
        }
    }

    /// The step's cluster.
    pub fn index(&self, folder: &Path) -> ClusterIndex {
        ClusterIndex::new(self.load(folder).objects)
    }
}
