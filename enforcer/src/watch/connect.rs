//! The client for the API server.

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use netsim::load::live::chain;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may be silent while something is expected of it. It sends a bookmark on each
/// watch about once a minute: after this time the connection is dead, whatever TCP believes.
const READ_TIMEOUT: Duration = Duration::from_secs(100);

/// There is no usable configuration.
#[derive(Debug)]
pub struct ConnectError {
    /// Where it was looked for.
    from: String,
    /// What is wrong.
    reason: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use {}: {}", self.from, self.reason)
    }
}

impl std::error::Error for ConnectError {}

/// A client for the cluster: by the kubeconfig if one or a context is named, else by the service
/// account if this runs in a pod, else by `$KUBECONFIG` or `~/.kube/config`. Nothing is asked of
/// the server yet. Has to be called inside a tokio runtime.
///
/// # Errors
/// What is wrong with the configuration, without the secrets in it.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ConnectError> {
    let named = kubeconfig.is_some() || context.is_some();
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let from = match kubeconfig {
        Some(path) => format!("kubeconfig `{}`", path.display()),
        None if in_pod && !named => "the service account of the pod".to_owned(),
        None => "the kubeconfig of the environment".to_owned(),
    };
    let config = if in_pod && !named {
        Config::incluster().map_err(|error| chain(&error))
    } else {
        from_kubeconfig(kubeconfig, context).await.map_err(|error| kubeconfig_reason(&error))
    };
    let client = config.and_then(|mut config| {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // The time counts from the question on, not from the answer before.
        config.reset_reader_on_write = true;
        // A failure has to be told when it happens; when to try again is decided by `backoff`.
        config.default_retry = false;
        Client::try_from(config).map_err(|error| chain(&error))
    });
    client.map_err(|reason| ConnectError { from, reason })
}

async fn from_kubeconfig(path: Option<&Path>, context: Option<&str>) -> Result<Config, KubeconfigError> {
    let kubeconfig = path.map_or_else(Kubeconfig::read, Kubeconfig::read_from)?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    // A proxy from the environment is not meant for this host itself.
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) {
        config.proxy_url = None;
    }
    Ok(config)
}

fn kubeconfig_reason(error: &KubeconfigError) -> String {
    match error {
        // The parser's own message quotes the lines around, which may hold a token.
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("not a kubeconfig: wrong YAML at line {}", place.line()),
            None => "not a kubeconfig: wrong YAML".to_owned(),
        },
        other => chain(other),
    }
}
