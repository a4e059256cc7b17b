//! From the text of an object to what it says, and to what is done when it cannot be read.

use super::Watched;
use super::stand_in::stand_in;
use super::thin::Kind;
use netsim_shared::cluster::Key;
use netsim_shared::diagnostic::{Diagnostic, Severity};
use netsim_shared::ingest::ingest_json;
use netsim_shared::object::Object;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// What an object says.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// What is to be taken in; `None` when nothing can be.
    pub object: Option<Object>,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether `object` is not what was written, but all there is to be done.
    pub unreadable: bool,
}

/// What messages call the place that objects come from: one text a kind, which all objects share.
static SOURCES: LazyLock<[Arc<str>; Watched::ALL.len()]> =
    LazyLock::new(|| Watched::ALL.map(|kind| format!("API server: {kind}").into()));

/// An object of which the server sends the metadata only, and therefore says another kind.
#[derive(Deserialize)]
struct Partial<'t> {
    #[serde(borrow)]
    kind: Cow<'t, str>,
    #[serde(borrow)]
    metadata: &'t RawValue,
}

/// The text of an object of a kind, whatever the server calls it.
fn of_kind<K: Kind>(text: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Partial<'_>>(text) {
        Ok(Partial { kind, metadata }) if K::METADATA_ONLY && kind == "PartialObjectMetadata" => {
            format!("{{\"metadata\":{}}}", metadata.get()).into()
        }
        // Whole, or wrong.
        _ => text.into(),
    }
}

/// Whether an object has the namespace and the name that the API server has it under.
fn is_called(object: &Object, (namespace, name): &Key) -> bool {
    match object {
        Object::Namespace(it) => it.name == *name,
        Object::Node(it) => it.name == *name,
        Object::Pod(it) => (&it.namespace, &it.name) == (namespace, name),
        // With the name of the other kind's policy it would take the place of that one.
        Object::NetworkPolicy(it) => {
            let own = it.kind.name_of(name);
            &it.namespace == namespace && it.name == own && it.own_name() == &**name
        }
        _ => false,
    }
}

/// Reads the text of the object with this namespace and name.
pub fn read<K: Kind>(key: &Key, text: &str) -> Reading {
    let text = if K::METADATA_ONLY { &of_kind::<K>(text) } else { text };
    let source = &SOURCES[K::WATCHED as usize];
    let mut ingested = ingest_json(source, text, &K::api_version(), K::KIND);
    let object = ingested.objects.pop();
    let object = object.filter(|object| ingested.objects.is_empty() && Watched::of(object) == Some(K::WATCHED));
    // What calls itself a list must not speak for another object.
    let object = object.filter(|object| is_called(object, key));
    if object.is_some() && !ingested.has_errors() {
        return Reading { object, diagnostics: ingested.diagnostics, unreadable: false };
    }
    let mut diagnostics = ingested.diagnostics;
    if !diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        diagnostics.push(Diagnostic::error(format!("not a {}", K::KIND)));
    }
    let mut object = None;
    // A policy that is left out, or kept as it was, could leave open what it closes.
    if let Some(kind) = K::POLICY {
        let (namespace, name) = key;
        let message = format!(
            "{} `{namespace}/{name}` cannot be read: until it is repaired the pods that it selects are closed",
            K::KIND
        );
        diagnostics.push(Diagnostic::error(message).help("correct it as told above, or delete it"));
        object = stand_in(kind, &K::api_version(), key, text).filter(|object| is_called(object, key));
    }
    Reading { object, diagnostics, unreadable: true }
}
