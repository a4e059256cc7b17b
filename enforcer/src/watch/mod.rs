//! What the API server tells: pods, namespaces and policies of the whole cluster, and the own node,
//! as a stream of [`Update`]s.
//!
//! ```text
//! API server ── client ──▶ Observed ── kube's watcher over Thin<K> ──▶ kind ──▶ Updates
//!               connect     (opened)       (thin, read, stand_in)      × 5
//! ```
//!
//! Nothing is kept here: an object is reduced while its text is decoded, and handed on. Who consumes
//! the updates sets the pace: the stream is read no faster than it is polled.

mod backoff;
mod connect;
mod kind;
mod opened;
mod read;
mod stand_in;
mod thin;

pub use backoff::Backoff;
pub use connect::{ConnectError, connect};

use futures::Stream;
use futures::stream::{StreamExt, select_all};
use kube::Client;
use kube::runtime::watcher::Config;
use netsim_shared::cluster::Key;
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::object::Object;
use netsim_shared::policy::PolicyKind;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// How long a watch lasts at most until it is asked for again.
const WATCH_LASTS: Duration = Duration::from_secs(290);
/// Pods that may still have something to say. Those that have finished take no part (D3) and never begin again, so
/// the server leaves them out, and tells of a pod that finishes as it tells of one that is deleted.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Watched {
    /// All namespaces.
    Namespaces,
    /// The pods of all namespaces.
    Pods,
    /// The NetworkPolicies of all namespaces.
    Policies,
    /// The EgressDomainPolicies of all namespaces. Where their definition is not installed there are
    /// none.
    DomainPolicies,
    /// The one node that the agent runs on.
    Node,
}

impl Watched {
    /// All of them.
    pub const ALL: [Watched; 5] =
        [Watched::Namespaces, Watched::Pods, Watched::Policies, Watched::DomainPolicies, Watched::Node];

    /// The resource as the API names it.
    pub fn plural(self) -> &'static str {
        match self {
            Watched::Namespaces => "namespaces",
            Watched::Pods => "pods",
            Watched::Policies => "networkpolicies",
            Watched::DomainPolicies => "egressdomainpolicies",
            Watched::Node => "nodes",
        }
    }

    /// Which of them an object is; `None` of an object that is not watched.
    pub fn of(object: &Object) -> Option<Watched> {
        Some(match object {
            Object::Namespace(_) => Watched::Namespaces,
            Object::Pod(_) => Watched::Pods,
            Object::NetworkPolicy(policy) => match policy.kind {
                PolicyKind::NetworkPolicy => Watched::Policies,
                PolicyKind::EgressDomainPolicy => Watched::DomainPolicies,
            },
            Object::Node(_) => Watched::Node,
            _ => return None,
        })
    }
}

impl fmt::Display for Watched {
    /// The resource as the API names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}

/// One thing to take in. Updates of one kind come in the order of the API server; a pod that is
/// deleted and made again under its name comes as `Delete`, then `Apply`. An update may come again
/// after a list: applying is idempotent, deleting what is gone does nothing.
///
/// The namespace in the keys of namespaces and nodes is empty. The name in the keys of
/// EgressDomainPolicies is what the index calls them ([`PolicyKind::name_of`]).
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// It came, changed, or is told again by a list.
    Apply(Object),
    /// It went, or is a pod that has finished.
    Delete(Watched, Key),
    /// A list is complete: exactly these exist of the kind, everything else of it is gone. Until
    /// then what was known before stays true. The kind is in sync from here on.
    Listed(Watched, HashSet<Key>),
    /// Which text of a policy the next update of its kind is about, for those who report about it.
    Identified {
        /// Its kind.
        kind: PolicyKind,
        /// Its namespace and its own name, as the API server has them.
        key: Key,
        /// Which object of that name.
        uid: Box<str>,
        /// Which text of it.
        generation: i64,
    },
    /// It was read, with warnings.
    Warned {
        /// Its kind.
        kind: Watched,
        /// Its namespace and name.
        key: Key,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
    /// It exists and cannot be read. What was known of it before stays in force, except that an
    /// unreadable policy has just been replaced by one that closes the pods it selects.
    Unreadable {
        /// Its kind.
        kind: Watched,
        /// Its namespace and name; both empty where not even they can be read.
        key: Key,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
    /// The connection for a kind failed, and will be tried again: what is known of the kind may be
    /// out of date. Comes with every failure.
    Failing {
        /// The kind.
        kind: Watched,
        /// What failed.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// The server answers for a kind again. If the changes in between were lost to it, a list
    /// follows, and has been told when this comes.
    Recovered {
        /// The kind.
        kind: Watched,
    },
}

/// Watches the cluster. The stream never ends; dropping it closes the connections. Has to be polled
/// inside a tokio runtime with time and I/O.
///
/// Lists come in pages and ask for the newest state, not for whatever the server has in its cache:
/// an old list could bring back a pod or a policy that is known to be gone. What each of the ways to
/// ask costs is in `docs/scale.md`.
pub fn watch(client: &Client, node: &str) -> impl Stream<Item = Update> + Send + use<> {
    // Agents that began to watch at the same time, because the server did, do not all come back at the same time.
    let lasts = WATCH_LASTS - Backoff::at_random(WATCH_LASTS / 3);
    let everything = Config::default().timeout(u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX));
    let own_node = everything.clone().fields(&format!("metadata.name={node}"));
    let unfinished = everything.clone().fields(UNFINISHED);
    select_all([
        kind::updates::<thin::Namespaces>(client, everything.clone()).boxed(),
        kind::updates::<thin::Pods>(client, unfinished).boxed(),
        kind::updates::<thin::Policies>(client, everything.clone()).boxed(),
        kind::updates::<thin::DomainPolicies>(client, everything).boxed(),
        kind::updates::<thin::OwnNode>(client, own_node).boxed(),
    ])
}
