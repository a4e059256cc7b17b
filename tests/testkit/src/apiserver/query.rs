//! What the query of a request asks for, and continue tokens.

use super::store::Key;
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
}

/// The fields that every kind can be selected by.
#[derive(Default)]
pub struct FieldSelector {
    name: Option<String>,
    namespace: Option<String>,
}

impl FieldSelector {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            match term.replace("==", "=").split_once('=') {
                Some(("metadata.name", name)) => parsed.name = Some(name.to_owned()),
                Some(("metadata.namespace", namespace)) => parsed.namespace = Some(namespace.to_owned()),
                _ => return Err(format!("field label not supported: {term}")),
            }
        }
        Ok(parsed)
    }

    /// Whether it selects the object with this key.
    pub fn selects(&self, (namespace, name): &Key) -> bool {
        self.name.as_ref().is_none_or(|wanted| wanted == name)
            && self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
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
