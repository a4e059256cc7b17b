//! Objects as kube's watcher holds them: reduced while their text is decoded, so that no pod is
//! ever in memory whole.

use super::Watched;
use super::read::{Reading, read};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use netsim_shared::cluster::Key;
use netsim_shared::crd;
use netsim_shared::policy::PolicyKind;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

/// A kind of object. A type, because kube decodes objects without a place to pass anything in, and
/// the items of a list do not say what they are.
pub trait Kind: fmt::Debug + Clone + Send + Sync + 'static {
    /// Which of the watched it is.
    const WATCHED: Watched;
    /// Its API group; empty for the core group.
    const GROUP: &'static str = "";
    /// Its version.
    const VERSION: &'static str = "v1";
    /// Its kind, as the API writes it.
    const KIND: &'static str;
    /// Which policies they are, if they are.
    const POLICY: Option<PolicyKind> = None;
    /// Whether a cluster may not have the kind: a definition has to be installed.
    const OPTIONAL: bool = false;
    /// Whether the metadata of an object is all that is wanted of it.
    const METADATA_ONLY: bool = false;

    /// Its `apiVersion`.
    fn api_version() -> String {
        if Self::GROUP.is_empty() { Self::VERSION.to_owned() } else { format!("{}/{}", Self::GROUP, Self::VERSION) }
    }
}

/// Namespace
#[derive(Debug, Clone)]
pub struct Namespaces;
impl Kind for Namespaces {
    const WATCHED: Watched = Watched::Namespaces;
    const KIND: &'static str = "Namespace";
    const METADATA_ONLY: bool = true;
}

/// Pod
#[derive(Debug, Clone)]
pub struct Pods;
impl Kind for Pods {
    const WATCHED: Watched = Watched::Pods;
    const KIND: &'static str = "Pod";
}

/// NetworkPolicy
#[derive(Debug, Clone)]
pub struct Policies;
impl Kind for Policies {
    const WATCHED: Watched = Watched::Policies;
    const GROUP: &'static str = "networking.k8s.io";
    const KIND: &'static str = "NetworkPolicy";
    const POLICY: Option<PolicyKind> = Some(PolicyKind::NetworkPolicy);
}

/// EgressDomainPolicy
#[derive(Debug, Clone)]
pub struct DomainPolicies;
impl Kind for DomainPolicies {
    const WATCHED: Watched = Watched::DomainPolicies;
    const GROUP: &'static str = crd::GROUP;
    const VERSION: &'static str = crd::VERSION;
    const KIND: &'static str = crd::KIND;
    const POLICY: Option<PolicyKind> = Some(PolicyKind::EgressDomainPolicy);
    const OPTIONAL: bool = true;
}

/// Node
#[derive(Debug, Clone)]
pub struct OwnNode;
impl Kind for OwnNode {
    const WATCHED: Watched = Watched::Node;
    const KIND: &'static str = "Node";
}

/// An object of a kind: what kube has to know of it, and what it came to.
#[derive(Debug, Clone)]
pub struct Thin<K> {
    pub meta: ObjectMeta,
    /// What it says.
    pub reading: Reading,
    kind: PhantomData<K>,
}

impl<K: Kind> Thin<K> {
    /// Its namespace and name as the API server has them, empty where it has none.
    pub fn own_key(&self) -> Key {
        let part = |part: &Option<String>| part.as_deref().unwrap_or_default().into();
        (part(&self.meta.namespace), part(&self.meta.name))
    }

    /// The same as the index has them.
    pub fn key(&self) -> Key {
        let (namespace, name) = self.own_key();
        match K::POLICY {
            Some(kind) if !name.is_empty() => (namespace, kind.name_of(&name)),
            _ => (namespace, name),
        }
    }
}

/// The fields of an object that are needed whatever else is wrong with it: each of them by itself, the last one
/// of those that are there twice. An object that cannot be told from others could not be closed, or deleted.
fn head(text: &str) -> ObjectMeta {
    type Fields<'t> = HashMap<Cow<'t, str>, &'t RawValue>;
    let fields = |text| serde_json::from_str::<Fields<'_>>(text).unwrap_or_default();
    let metadata = fields(text).get("metadata").map(|metadata| fields(metadata.get())).unwrap_or_default();
    let string = |name: &str| metadata.get(name).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    ObjectMeta {
        name: string("name"),
        namespace: string("namespace"),
        resource_version: string("resourceVersion"),
        uid: string("uid"),
        generation: metadata.get("generation").and_then(|value| serde_json::from_str(value.get()).ok()),
        ..ObjectMeta::default()
    }
}

impl<'de, K: Kind> Deserialize<'de> for Thin<K> {
    /// Takes any JSON value: kube's watcher passes over an event that does not decode, so that
    /// whatever is wrong with an object has to be found in what it decodes to.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed from the answer's text: nothing is copied.
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let mut thin = Thin { meta: head(text), reading: Reading::default(), kind: PhantomData };
        thin.reading = read::<K>(&thin.own_key(), text);
        Ok(thin)
    }
}

impl<K: Kind> Resource for Thin<K> {
    type DynamicType = ();
    type Scope = kube::core::DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }
    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::WATCHED.plural().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
