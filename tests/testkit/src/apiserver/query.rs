//! What the query of a request asks for, and continue tokens.

use super::store::Key;
use serde_json::Value;
use std::time::Duration;

/// The parameters of a list or a watch.
#[derive(Default)]
pub struct Query {
    /// The most items in the answer; 0 is no limit.
    pub limit: usize,
    /// Where to go on from, from a continue token: the revision of the first page (0: any) and the
    /// key after which this page begins.
    pub from: Option<(u64, Key)>,
    /// Asks for a stream of changes.
    pub watch: bool,
    /// `resourceVersion`; `None` and 0 say "any".
    pub revision: Option<u64>,
    /// `resourceVersionMatch=NotOlderThan`.
    pub not_older_than: bool,
    /// `sendInitialEvents=true`: the watch begins with what there is.
    pub initial_events: bool,
    /// `allowWatchBookmarks=true`.
    pub bookmarks: bool,
    /// `timeoutSeconds`: how long the watch may last.
    pub timeout: Option<Duration>,
    /// `fieldSelector`.
    pub selector: FieldSelector,
    /// `fieldManager`: who writes.
    pub manager: Option<String>,
    /// `force=true`: an apply takes over what others said.
    pub force: bool,
    /// By the header `Accept`: only the metadata of objects is wanted.
    pub metadata_only: bool,
}

/// The fields that objects are selected by: the path as a JSON pointer, whether it has to be equal, and the value.
#[derive(Default)]
pub struct FieldSelector(Vec<(&'static str, bool, String)>);

impl FieldSelector {
    fn parse(text: &str) -> Result<Self, String> {
        let term = |term: &str| {
            let unknown = || format!("field label not supported: {term}");
            let (field, value) = term.split_once('=').ok_or_else(unknown)?;
            let (field, equal) = field.strip_suffix('!').map_or((field, true), |field| (field, false));
            let path = match field {
                "metadata.name" => "/metadata/name",
                "metadata.namespace" => "/metadata/namespace",
                "status.phase" => "/status/phase",
                "spec.nodeName" => "/spec/nodeName",
                _ => return Err(unknown()),
            };
            Ok((path, equal, value.trim_start_matches('=').to_owned()))
        };
        text.split(',').filter(|text| !text.is_empty()).map(term).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a kind, given by its plural, can be selected by these fields: only pods by more than their names.
    ///
    /// # Errors
    /// Which field the kind does not know.
    pub fn fits(&self, plural: &str) -> Result<(), String> {
        let foreign = |(path, ..): &&(&str, bool, String)| plural != "pods" && !path.starts_with("/metadata/");
        self.0.iter().find(foreign).map_or(Ok(()), |(path, ..)| Err(format!("field label not supported: {path}")))
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it selects an object. What an object does not say is empty.
    pub fn selects(&self, object: &Value) -> bool {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        self.0.iter().all(|(path, equal, value)| (text(path) == value) == *equal)
    }
}

impl Query {
    /// Reads a query; parameters that say nothing here are ignored.
    ///
    /// # Errors
    /// What makes no sense, in words.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decoded(value).ok_or_else(|| format!("{name} is not escaped as it should be"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} is not a number: {value}"));
            match name {
                _ if value.is_empty() => {}
                "limit" => parsed.limit = usize::try_from(number()?).unwrap_or(usize::MAX),
                "continue" => parsed.from = Some(token_key(&value).ok_or("continue key is not valid")?),
                "watch" => parsed.watch = value == "true" || value == "1",
                "resourceVersion" => parsed.revision = Some(number()?),
                "resourceVersionMatch" => parsed.not_older_than = value == "NotOlderThan",
                "sendInitialEvents" => parsed.initial_events = value == "true",
                "allowWatchBookmarks" => parsed.bookmarks = value == "true",
                "timeoutSeconds" => parsed.timeout = Some(Duration::from_secs(number()?)),
                "fieldManager" => parsed.manager = Some(value),
                "force" => parsed.force = value == "true",
                "fieldSelector" => parsed.selector = FieldSelector::parse(&value)?,
                "labelSelector" => return Err("this test server does not select by labels".to_owned()),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// A continue token: opaque to clients, and with characters which must be escaped in a query.
pub fn key_token(revision: u64, key: &Key) -> String {
    let hex: String = format!("{}/{}", key.0, key.1).bytes().map(|b| format!("{b:02x}")).collect();
    format!("v1+{revision}/{hex}==")
}

fn token_key(token: &str) -> Option<(u64, Key)> {
    let (revision, hex) = token.strip_prefix("v1+")?.strip_suffix("==")?.split_once('/')?;
    let (namespace, name) = from_hex(hex)?.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    Some((revision.parse().ok()?, (namespace, name)))
}

fn from_hex(hex: &str) -> Option<String> {
    String::from_utf8(hex_bytes(hex)?).ok()
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    Some(digits?.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n * 16 + d) as u8).collect())
}

/// A query value, where an unescaped `+` means a blank.
fn percent_decoded(value: &str) -> Option<String> {
    let value = value.replace('+', " ");
    let mut parts = value.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        decoded.extend(hex_bytes(code)?);
        decoded.extend(rest.as_bytes());
    }
    String::from_utf8(decoded).ok()
}
