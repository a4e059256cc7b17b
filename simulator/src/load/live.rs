//! Reads a live cluster: lists what netsim needs through the API server, once, and hands back
//! the bytes as they came.
//!
//! Nothing is decoded into typed objects here, so that a cluster and a file take the same path
//! through the ingest. Only `get` and `list` are ever asked of the server, and never Secrets or
//! ConfigMaps.

use netsim_shared::ingest::kind::{Kind, PROVIDER_GROUPS, classify};
use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{Request, StatusCode, header};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// What the names of live lists begin with.
pub const LIVE: &str = "cluster ";

/// How many items one page holds at most; what `kubectl` asks for.
const PAGE_LIMIT: usize = 500;
/// How often one list starts again after its continue token expired.
const MAX_RESTARTS: usize = 3;
/// The pause before each retry of a request which failed for a passing reason.
const RETRY_PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1000)];
/// The longest pause taken on a server's word (`Retry-After`).
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may be silent during an answer; kube waits for ever by default.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of foreign error text is repeated, in characters: a proxy may send a whole page.
const MAX_MESSAGE: usize = 300;

/// Where the cluster is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterRef {
    /// The kubeconfig context; `None` is the current one.
    pub context: Option<String>,
    /// The kubeconfig file; `None` is `$KUBECONFIG`, then `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Use the pod's service account, whatever kubeconfig there is.
    pub in_cluster: bool,
}

/// One page of one kind's list as the API server sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePage {
    /// What a message calls it, such as `cluster kind-a: networkpolicies`.
    pub source: String,
    /// The list object, JSON, untouched. Items of built-in kinds carry no `kind` of their own.
    pub json: Vec<u8>,
    /// How many items the page holds.
    pub items: usize,
}

/// How much is read of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What decides connectivity.
    Connectivity,
    /// Besides, who may change it: roles and their bindings.
    WithAccess,
}

/// What a cluster gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The pages, in a fixed order of kinds; the pages of one list follow each other.
    pub pages: Vec<LivePage>,
    /// What could not be read although the rest could, in the order met; each says what that means.
    pub warnings: Vec<String>,
}

/// Why a cluster could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveError {
    /// The configuration is missing, unreadable or incomplete, or its credentials cannot be had.
    Config {
        /// Where it was looked for.
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kubeconfig has no such context.
    UnknownContext {
        /// The context asked for.
        context: String,
        /// The contexts there are, in the file's order.
        known: Vec<String>,
        /// Which kubeconfig.
        from: String,
    },
    /// The API server cannot be reached, or went away, after all retries.
    Connect {
        /// Its address.
        server: String,
        /// What the connection said.
        reason: String,
    },
    /// The credentials may not read something netsim cannot do without.
    Forbidden {
        /// The resource's plural name, such as `networkpolicies`.
        resource: String,
        /// Its API group; empty for the core group.
        group: String,
        /// The verb which is missing.
        verb: &'static str,
        /// The server's own words.
        message: String,
    },
    /// Any other refusal or an answer which makes no sense.
    Api {
        /// The request's path.
        path: String,
        /// The HTTP status, e.g. 500.
        code: u16,
        /// The server's own words, or what is wrong with its answer.
        message: String,
    },
    /// The loader itself cannot run, such as from inside an async runtime.
    Runtime(String),
}

impl fmt::Display for LiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { from, reason } => write!(f, "cannot use {from}: {reason}"),
            Self::UnknownContext { context, known, from } if known.is_empty() => {
                write!(f, "no context {context:?} in {from}: it has no contexts at all")
            }
            Self::UnknownContext { context, known, from } => {
                write!(f, "no context {context:?} in {from}; it has: {}", known.join(", "))
            }
            Self::Connect { server, reason } => {
                write!(f, "cannot reach the API server {server}: {reason}")
            }
            Self::Forbidden { resource, group, verb, message } => write!(
                f,
                "not allowed to {verb} {} in all namespaces: {message}\n\
                 a ClusterRole with this rule, bound to the user, allows it: {}",
                qualified(resource, group),
                rbac_rule(resource, group, verb),
            ),
            Self::Api { path, code: 401, message } => write!(
                f,
                "GET {path}: 401: {message} (the API server does not accept the credentials; \
                 they may have expired)"
            ),
            Self::Api { path, code, message } => write!(f, "GET {path}: {code}: {message}"),
            Self::Runtime(reason) => write!(f, "cannot start the cluster client: {reason}"),
        }
    }
}

impl StdError for LiveError {}

/// One resource to list over all namespaces.
struct Resource {
    group: String,
    version: String,
    /// The plural, as in the path.
    plural: String,
    /// What sources and progress call it.
    label: String,
    /// What cannot be known without it; `None` if netsim cannot do without it.
    lost: Option<&'static str>,
}

/// The built-in resources, in the order they are listed: group, version, plural, and what is lost
/// without them (`None`: it is fatal).
const BUILT_IN: [(&str, &str, &str, Option<&str>); 13] = [
    ("", "v1", "namespaces", None),
    ("", "v1", "pods", None),
    ("", "v1", "services", Some("services cannot be named or resolved")),
    ("", "v1", "nodes", Some("node addresses and labels are unknown")),
    ("", "v1", "replicationcontrollers", Some(NO_OWNER)),
    ("apps", "v1", "deployments", Some(NO_OWNER)),
    ("apps", "v1", "statefulsets", Some(NO_OWNER)),
    ("apps", "v1", "daemonsets", Some(NO_OWNER)),
    ("apps", "v1", "replicasets", Some(NO_OWNER)),
    ("batch", "v1", "jobs", Some(NO_OWNER)),
    ("batch", "v1", "cronjobs", Some(NO_OWNER)),
    ("discovery.k8s.io", "v1", "endpointslices", Some("services without selector have no backends")),
    ("networking.k8s.io", "v1", "networkpolicies", None),
];
/// Who may write policies, for those who ask.
const ACCESS: [(&str, &str, &str, Option<&str>); 4] = [
    (RBAC_GROUP, "v1", "roles", Some(NO_ACCESS)),
    (RBAC_GROUP, "v1", "clusterroles", Some(NO_ACCESS)),
    (RBAC_GROUP, "v1", "rolebindings", Some(NO_ACCESS)),
    (RBAC_GROUP, "v1", "clusterrolebindings", Some(NO_ACCESS)),
];
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const NO_ACCESS: &str = "who may write policies is not known";
const NO_OWNER: &str = "such workloads cannot be named, only their pods";
/// The group of netsim's own policies. They decide as the built-in ones do, but a cluster may not have them.
const OWN_GROUP: &str = "netsim.dev";
const FOREIGN_LOST: &str = "policies of this kind may be in force without netsim knowing";

/// Lists the cluster's objects. Blocks until done; `progress` is called after each page with the
/// resource and how many of its items have come so far (fewer again if a list had to restart).
///
/// # Errors
/// No usable configuration, no connection, or one of namespaces, pods and network policies cannot
/// be listed. Anything else which cannot be listed becomes a warning.
pub fn fetch(
    cluster: &ClusterRef,
    extent: Extent,
    progress: &mut dyn FnMut(&str, usize),
) -> Result<Fetched, LiveError> {
    // Blocking a runtime's own thread would panic inside tokio.
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(LiveError::Runtime("called from inside an async runtime".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| LiveError::Runtime(e.to_string()))?;
    let fetched = runtime.block_on(async {
        let (name, config) = find_config(cluster).await?;
        let server = Server::new(&name, config)?;
        fetch_all(&server, extent, progress).await
    });
    // A name lookup or a credential plugin may still run: the result does not wait for it.
    runtime.shutdown_background();
    fetched
}

async fn fetch_all(
    server: &Server,
    extent: Extent,
    progress: &mut dyn FnMut(&str, usize),
) -> Result<Fetched, LiveError> {
    let mut fetched = Fetched::default();
    let access: &[_] = if extent == Extent::WithAccess { &ACCESS } else { &[] };
    for (group, version, plural, lost) in BUILT_IN.iter().chain(access).copied() {
        let resource = Resource {
            group: (*group).to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            label: plural.to_owned(),
            lost,
        };
        fetch_resource(server, &resource, &mut fetched, progress).await?;
    }
    for resource in further_policies(server, &mut fetched.warnings).await? {
        fetch_resource(server, &resource, &mut fetched, progress).await?;
    }
    Ok(fetched)
}

/// Lists one resource into `fetched`, as pages or as a warning.
async fn fetch_resource(
    server: &Server,
    resource: &Resource,
    fetched: &mut Fetched,
    progress: &mut dyn FnMut(&str, usize),
) -> Result<(), LiveError> {
    let name = qualified(&resource.plural, &resource.group);
    match list(server, resource, progress).await {
        Ok(pages) => fetched.pages.extend(pages),
        // Its definition has gone since it was told of.
        Err(Failed::Refused { code: 404, .. }) if resource.group == OWN_GROUP => {}
        Err(failed) => {
            let Some(lost) = resource.lost else {
                return Err(failed.into_error(&resource.plural, &resource.group));
            };
            let why = match failed {
                Failed::Refused { code: 403, message, .. } => {
                    let rule = rbac_rule(&resource.plural, &resource.group, "list");
                    format!("{message}; ClusterRole rule: {rule}")
                }
                Failed::Refused { code, message, .. } if code != 401 => format!("{code}: {message}"),
                // Without a connection or with bad credentials nothing that follows can work.
                fatal => return Err(fatal.into_error(&resource.plural, &resource.group)),
            };
            let warning = format!("cluster {}: cannot list {name}: {lost} ({why})", server.name);
            fetched.warnings.push(warning);
        }
    }
    Ok(())
}

/// Lists one resource completely, over all namespaces.
async fn list(
    server: &Server,
    resource: &Resource,
    progress: &mut dyn FnMut(&str, usize),
) -> Result<Vec<LivePage>, Failed> {
    let base = match resource.group.as_str() {
        "" => format!("/api/{}/{}", resource.version, resource.plural),
        group => format!("/apis/{group}/{}/{}", resource.version, resource.plural),
    };
    let mut restarts = 0;
    let mut pages: Vec<LivePage> = Vec::new();
    let mut total = 0;
    let mut token = String::new();
    loop {
        let mut target = format!("{base}?limit={PAGE_LIMIT}");
        if !token.is_empty() {
            target.push_str("&continue=");
            push_percent_encoded(&mut target, &token);
        }
        let json = match server.get(&target).await {
            // The token outlived the server's history. Going on from its replacement would mix
            // two states of the cluster in one list, so the list starts again.
            Err(Failed::Refused { code: 410, .. }) if !token.is_empty() && restarts < MAX_RESTARTS => {
                restarts += 1;
                pages.clear();
                total = 0;
                token.clear();
                continue;
            }
            other => other?,
        };
        let head: ListHead = parse(&target, &json)?;
        let items = head.items.map_or(0, |items| items.len());
        total += items;
        pages.push(LivePage { source: format!("{LIVE}{}: {}", server.name, resource.label), json, items });
        progress(&resource.label, total);
        match head.metadata.next.filter(|next| !next.is_empty()) {
            None => return Ok(pages),
            // A server which answers with the token it was given would keep us here for ever.
            Some(next) if next == token => {
                return Err(Failed::nonsense(&target, "the continue token does not advance"));
            }
            Some(next) => token = next,
        }
    }
}

/// What paging needs of a list object.
#[derive(Deserialize)]
struct ListHead {
    #[serde(default)]
    metadata: ListMeta,
    // Old servers send `null` for an empty list. Not defaulted: an answer without is no list.
    items: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize, Default)]
struct ListMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Asks the server which policy kinds it serves that are not built in: our own, and those of other
/// providers. What cannot be asked becomes a warning.
async fn further_policies(server: &Server, warnings: &mut Vec<String>) -> Result<Vec<Resource>, LiveError> {
    let Some(served) = discover::<GroupList>(server, "/apis", warnings).await? else {
        return Ok(Vec::new());
    };
    let mut found: Vec<Resource> = Vec::new();
    for group in PROVIDER_GROUPS {
        let Some(served) = served.groups.iter().find(|served| served.name == *group) else {
            continue;
        };
        // All versions: a kind may be served in another one than the preferred. Of a kind served
        // in several, the first (the API server puts the preferred first) is enough.
        let preferred = served.preferred.iter().chain(&served.versions);
        let mut seen: Vec<&str> = Vec::new();
        for version in preferred.map(|v| v.version.as_str()) {
            if seen.contains(&version) {
                continue;
            }
            seen.push(version);
            let path = format!("/apis/{group}/{version}");
            let Some(list) = discover::<ResourceList>(server, &path, warnings).await? else {
                continue;
            };
            for resource in list.resources {
                let known = found.iter().any(|r| r.group == *group && r.plural == resource.name);
                if !known && resource.is_listable_policy(group) {
                    let own = *group == OWN_GROUP;
                    found.push(Resource {
                        group: (*group).to_owned(),
                        version: version.to_owned(),
                        // Plurals of others are often those of a built-in kind.
                        label: if own { resource.name.clone() } else { qualified(&resource.name, group) },
                        plural: resource.name,
                        lost: (!own).then_some(FOREIGN_LOST),
                    });
                }
            }
        }
    }
    Ok(found)
}

/// One discovery document; `None`, with a warning, if the server does not give it.
async fn discover<T: DeserializeOwned>(
    server: &Server,
    path: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<T>, LiveError> {
    let why = match server.get(path).await.and_then(|json| parse(path, &json)) {
        Ok(document) => return Ok(Some(document)),
        Err(Failed::Refused { code, message, .. }) if code != 401 => format!("{code}: {message}"),
        Err(fatal) => return Err(fatal.into_error("", "")),
    };
    warnings.push(format!(
        "cluster {}: cannot ask {path} which kinds of policies there are: \
         policies of other providers may be in force without netsim knowing ({why})",
        server.name
    ));
    Ok(None)
}

#[derive(Deserialize)]
struct GroupList {
    groups: Vec<ServedGroup>,
}

#[derive(Deserialize)]
struct ServedGroup {
    name: String,
    #[serde(rename = "preferredVersion")]
    preferred: Option<ServedVersion>,
    #[serde(default)]
    versions: Vec<ServedVersion>,
}

#[derive(Deserialize)]
struct ServedVersion {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    resources: Vec<ServedResource>,
}

#[derive(Deserialize)]
struct ServedResource {
    name: String,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
}

impl ServedResource {
    fn is_listable_policy(&self, group: &str) -> bool {
        // What the ingest would name as not understood has to be asked for, so that it can.
        let kind = classify(&format!("{group}/v1"), &self.kind);
        let policy = matches!(kind, Kind::Foreign | Kind::EgressDomainPolicy);
        // A subresource such as `networkpolicies/status` carries the kind as well.
        policy && !self.name.contains('/') && self.verbs.iter().any(|verb| verb == "list")
    }
}

/// The connection to one cluster.
struct Server {
    client: Client,
    /// What messages call the cluster.
    name: String,
    /// Its address, for messages.
    url: String,
}

/// A request which failed after its retries.
enum Failed {
    /// No answer.
    Unreachable { server: String, reason: String },
    /// No credentials to send.
    Credentials { cluster: String, reason: String },
    /// An answer other than success, or one which makes no sense.
    Refused { path: String, code: u16, message: String },
}

impl Failed {
    fn nonsense(target: &str, what: impl fmt::Display) -> Self {
        let message = format!("unusable answer: {what}");
        Self::Refused { path: path_of(target), code: StatusCode::OK.as_u16(), message }
    }

    fn into_error(self, resource: &str, group: &str) -> LiveError {
        match self {
            Self::Unreachable { server, reason } => LiveError::Connect { server, reason },
            Self::Credentials { cluster, reason } => {
                LiveError::Config { from: format!("the credentials of {cluster}"), reason }
            }
            Self::Refused { code: 403, message, .. } => LiveError::Forbidden {
                resource: resource.to_owned(),
                group: (*group).to_owned(),
                verb: "list",
                message,
            },
            Self::Refused { path, code, message } => LiveError::Api { path, code, message },
        }
    }
}

impl Server {
    /// Must be called inside the runtime: kube starts a task for the client.
    fn new(name: &str, mut config: Config) -> Result<Self, LiveError> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        // kube's own retries may go on for minutes, which nobody at a terminal waits for.
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| LiveError::Config {
            from: format!("the configuration of {name}"),
            reason: client_reason(&error),
        })?;
        Ok(Self { client, name: name.to_owned(), url })
    }

    /// The body of a successful answer to `GET target`.
    async fn get(&self, target: &str) -> Result<Vec<u8>, Failed> {
        let mut pauses = RETRY_PAUSES.iter();
        loop {
            let (failed, retry_after) = match self.get_once(target).await {
                Ok(body) => return Ok(body),
                Err((failed, Retry::No)) => return Err(failed),
                Err((failed, Retry::After(at_least))) => (failed, at_least),
            };
            let Some(pause) = pauses.next() else { return Err(failed) };
            tokio::time::sleep(retry_after.max(*pause)).await;
        }
    }

    async fn get_once(&self, target: &str) -> Result<Vec<u8>, (Failed, Retry)> {
        let request = Request::get(target)
            .header(header::ACCEPT, "application/json")
            .body(kube::client::Body::empty())
            .map_err(|e| (Failed::nonsense(target, e), Retry::No))?;
        let answer = self.client.send(request).await.map_err(|e| self.transport(&e))?;
        let status = answer.status();
        let retry_after = answer.headers().get(header::RETRY_AFTER).cloned();
        let body = answer.into_body().collect_bytes().await.map_err(|e| self.transport(&e))?;
        if status.is_success() {
            return Ok(body.into());
        }
        let retry_after = retry_after.and_then(|v| v.to_str().ok()?.parse().ok());
        let retry = match status.as_u16() {
            429 | 502 | 503 | 504 => {
                let asked = Duration::from_secs(retry_after.unwrap_or(0));
                Retry::After(asked.min(MAX_RETRY_AFTER))
            }
            _ => Retry::No,
        };
        let (path, code) = (path_of(target), status.as_u16());
        Err((Failed::Refused { path, code, message: status_message(status, &body) }, retry))
    }

    fn transport(&self, error: &kube::Error) -> (Failed, Retry) {
        let reason = client_reason(error);
        if let kube::Error::Auth(_) = error {
            return (Failed::Credentials { cluster: self.name.clone(), reason }, Retry::No);
        }
        // A certificate does not become valid by trying again.
        let retry = if reason.contains("certificate") { Retry::No } else { Retry::After(Duration::ZERO) };
        (Failed::Unreachable { server: self.url.clone(), reason }, retry)
    }
}

/// Whether a failed request may be sent again.
enum Retry {
    No,
    After(Duration),
}

/// The configuration, and what to call the cluster in messages.
async fn find_config(cluster: &ClusterRef) -> Result<(String, Config), LiveError> {
    if cluster.in_cluster {
        return in_cluster_config();
    }
    let (from, kubeconfig) = match read_kubeconfig(cluster) {
        Ok(read) => read,
        // Inside a pod nobody has a kubeconfig: unless one was asked for, the service account is
        // what is meant.
        Err((_, error))
            if is_missing(&error)
                && cluster.kubeconfig.is_none()
                && cluster.context.is_none()
                && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() =>
        {
            return in_cluster_config();
        }
        Err((from, error)) => {
            return Err(LiveError::Config { from, reason: kubeconfig_reason(&error) });
        }
    };
    let context = cluster.context.clone().or_else(|| kubeconfig.current_context.clone());
    let Some(context) = context.filter(|name| !name.is_empty()) else {
        let reason = format!("no current context is set; it has: {}", names(&kubeconfig).join(", "));
        return Err(LiveError::Config { from, reason });
    };
    let Some(named) = kubeconfig.contexts.iter().find(|known| known.name == context) else {
        return Err(LiveError::UnknownContext { context, known: names(&kubeconfig), from });
    };
    let proxy_is_configured = named.context.as_ref().is_some_and(|found| {
        let cluster = kubeconfig.clusters.iter().find(|known| known.name == found.cluster);
        let proxy = cluster.and_then(|c| c.cluster.as_ref()?.proxy_url.as_deref());
        proxy.is_some_and(|url| !url.is_empty())
    });
    let options = KubeConfigOptions { context: Some(context.clone()), ..Default::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| LiveError::Config { from, reason: kubeconfig_reason(&error) })?;
    if !proxy_is_configured && bypasses_proxy(config.cluster_url.host().unwrap_or_default()) {
        config.proxy_url = None;
    }
    Ok((context, config))
}

fn in_cluster_config() -> Result<(String, Config), LiveError> {
    let config = Config::incluster()
        .map_err(|error| LiveError::Config { from: "the pod's service account".to_owned(), reason: chain(&error) })?;
    Ok(("in-cluster".to_owned(), config))
}

/// The kubeconfig and what messages call it, or the error and which file it is about. As with
/// `kubectl`, a file of a `$KUBECONFIG` list may be missing as long as another is there.
fn read_kubeconfig(cluster: &ClusterRef) -> Result<(String, Kubeconfig), (String, KubeconfigError)> {
    let list = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let mut paths: Vec<PathBuf> = match &cluster.kubeconfig {
        // A file named outright is one file, even with a `:` in its name.
        Some(path) => vec![path.clone()],
        None => std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()).collect(),
    };
    if paths.is_empty() {
        let Some(home) = std::env::home_dir() else {
            return Err(("kubeconfig ~/.kube/config".to_owned(), KubeconfigError::FindPath));
        };
        paths.push(home.join(".kube").join("config"));
    }
    let label = |path: &PathBuf| format!("kubeconfig {}", path.display());
    let mut found: Option<(String, Kubeconfig)> = None;
    let mut missing = None;
    for path in &paths {
        found = match (found, Kubeconfig::read_from(path)) {
            (None, Ok(first)) => Some((label(path), first)),
            (Some((from, merged)), Ok(next)) => match merged.merge(next) {
                Ok(merged) => Some((format!("{from}, {}", path.display()), merged)),
                Err(error) => return Err((label(path), error)),
            },
            (found, Err(error)) if is_missing(&error) => {
                missing.get_or_insert((label(path), error));
                found
            }
            (_, Err(error)) => return Err((label(path), error)),
        };
    }
    // There is at least one path, so that one of the two is there.
    found.ok_or_else(|| missing.unwrap_or_else(|| ("kubeconfig".to_owned(), KubeconfigError::FindPath)))
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(io, _) => io.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn names(kubeconfig: &Kubeconfig) -> Vec<String> {
    kubeconfig.contexts.iter().map(|context| context.name.clone()).collect()
}

/// Whether a proxy from the environment does not apply to `host`: kube takes `HTTPS_PROXY` for
/// every cluster, where other clients leave out loopback and what `NO_PROXY` lists.
fn bypasses_proxy(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let listed = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy"));
    listed.unwrap_or_default().split(',').any(|entry| no_proxy_matches(entry.trim(), host, address))
}

/// Whether an entry of `NO_PROXY` (`*`, a name, a domain, an address, a CIDR) covers the host.
fn no_proxy_matches(entry: &str, host: &str, address: Option<IpAddr>) -> bool {
    if entry.is_empty() {
        return false;
    }
    if let (Some(address), Some((net, length))) = (address, entry.split_once('/')) {
        let (Ok(net), Ok(length)) = (net.parse::<IpAddr>(), length.parse::<u32>()) else {
            return false;
        };
        // Compared from the top bit: what is left after the shift is the prefix.
        return match (address, net) {
            (IpAddr::V4(a), IpAddr::V4(n)) => {
                length <= 32 && (a.to_bits() ^ n.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(n)) => {
                length <= 128 && (a.to_bits() ^ n.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
            }
            _ => false,
        };
    }
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    entry == "*"
        || host.eq_ignore_ascii_case(domain)
        || host.to_ascii_lowercase().ends_with(&format!(".{}", domain.to_ascii_lowercase()))
}

/// `pods`, or `networkpolicies.networking.k8s.io`.
fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// The RBAC rule which allows it, as one line of YAML.
fn rbac_rule(resource: &str, group: &str, verb: &str) -> String {
    format!("{{apiGroups: [{group:?}], resources: [{resource:?}], verbs: [{verb:?}]}}")
}

fn path_of(target: &str) -> String {
    target.split('?').next().unwrap_or_default().to_owned()
}

fn parse<T: DeserializeOwned>(target: &str, json: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(json).map_err(|error| Failed::nonsense(target, error))
}

/// What an answer other than success says: a `Status` object's message, or the text itself, which
/// comes from something else than the API server.
fn status_message(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let text = match serde_json::from_slice::<Status>(body) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    if text.is_empty() {
        return status.canonical_reason().unwrap_or("no reason given").to_owned();
    }
    shortened(&text)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn kubeconfig_reason(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::FindPath => "there is no home directory to look in".to_owned(),
        KubeconfigError::ReadConfig(io, _) => format!("cannot read it: {io}"),
        // The parser's own message quotes the lines around, which may hold a token.
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("not a kubeconfig: wrong YAML at line {}", place.line()),
            None => "not a kubeconfig: wrong YAML".to_owned(),
        },
        other => chain(other),
    }
}

fn client_reason(error: &kube::Error) -> String {
    use kube::client::AuthError;
    match error {
        // Neither what the plugin printed nor how it was called is repeated, but for its standard
        // error: output, arguments and environment may hold a token.
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
            let said = shortened(String::from_utf8_lossy(&out.stderr).trim());
            format!("the credential plugin failed ({}): {said}", out.status)
        }
        kube::Error::Auth(AuthError::AuthExecParse(_)) => {
            "the credential plugin printed something else than an ExecCredential".to_owned()
        }
        // kube's own words for these only say that a request failed.
        kube::Error::Service(inner) => chain(inner.as_ref()),
        other => chain(other),
    }
}

/// An error with its causes, each once: many errors repeat their cause in their own text.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// Appends `text` so that it can stand in a query.
fn push_percent_encoded(target: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_takes_names_domains_addresses_and_blocks() {
        let covers = |entry: &str, host: &str| no_proxy_matches(entry, host, host.parse().ok());
        for (entry, host) in [
            ("*", "api.example.org"),
            ("example.org", "example.org"),
            ("example.org", "api.EXAMPLE.org"),
            (".example.org", "api.example.org"),
            ("*.example.org", "api.example.org"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("0.0.0.0/0", "10.1.2.3"),
            ("fd00::/8", "fd00::1"),
            ("::/0", "fd00::1"),
        ] {
            assert!(covers(entry, host), "{entry} {host}");
        }
        for (entry, host) in [
            ("", "example.org"),
            ("example.org", "badexample.org"),
            ("10.0.0.0/16", "10.1.2.3"),
            ("10.0.0.0/99", "10.1.2.3"),
            ("10.0.0.0/8", "fd00::1"),
            ("fd00::/8", "fe00::1"),
            ("10.0.0.0/8", "example.org"),
        ] {
            assert!(!covers(entry, host), "{entry} {host}");
        }
    }
}
