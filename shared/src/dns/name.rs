//! Names and patterns of names in their one canonical form (G1).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

/// The longest name in bytes, without a final dot.
pub const MAX_NAME: usize = 253;
/// The longest label in bytes.
pub const MAX_LABEL: usize = 63;

/// A name in canonical form: lower case, A-labels, no final dot, two labels or more, no address.
///
/// The order is that of DNS (RFC 4034, 6.1): by labels from the right, so that all names below one stand together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainName(Arc<str>);

impl DomainName {
    /// The name as text, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, from the left.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether this name has one or more whole labels in front of the other.
    pub fn is_below(&self, other: &DomainName) -> bool {
        self.0.strip_suffix(other.as_str()).is_some_and(|front| front.ends_with('.'))
    }

    /// Every pattern that matches this name, so that patterns can be looked up in a map: the name itself, then the
    /// wildcards from the nearest on.
    pub fn patterns(&self) -> impl Iterator<Item = NamePattern> + '_ {
        let parents = self.0.match_indices('.').map(|(at, _)| &self.0[at + 1..]);
        let wildcards = parents.filter(|parent| parent.contains('.'));
        std::iter::once(NamePattern::Exact(self.clone()))
            .chain(wildcards.map(|parent| NamePattern::Below(DomainName(parent.into()))))
    }
}

impl Ord for DomainName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.labels().rev().cmp(other.labels().rev())
    }
}

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem| NameError { text: text.to_owned(), problem };
        if text.contains('*') {
            return Err(wrong(Problem::WildcardForName));
        }
        canonical(text).map(|name| DomainName(name.into())).map_err(wrong)
    }
}

/// What a policy may write: a name, or `*.` and a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// The name itself and no other.
    Exact(DomainName),
    /// `*.` and this name: the names with one or more whole labels in front of it, and never itself.
    Below(DomainName),
}

impl NamePattern {
    /// Whether a name is meant.
    pub fn matches(&self, name: &DomainName) -> bool {
        match self {
            NamePattern::Exact(exact) => exact == name,
            NamePattern::Below(parent) => name.is_below(parent),
        }
    }

    /// Whether every name that is meant is meant by the other pattern, too.
    pub fn is_within(&self, wide: &NamePattern) -> bool {
        match (self, wide) {
            (NamePattern::Exact(name), wide) => wide.matches(name),
            (NamePattern::Below(parent), NamePattern::Below(above)) => parent == above || parent.is_below(above),
            (NamePattern::Below(_), NamePattern::Exact(_)) => false,
        }
    }

    /// The name, if the pattern has no wildcard: only such a pattern can be asked for.
    pub fn exact(&self) -> Option<&DomainName> {
        match self {
            NamePattern::Exact(name) => Some(name),
            NamePattern::Below(_) => None,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamePattern::Exact(name) => name.fmt(f),
            NamePattern::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl FromStr for NamePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem| NameError { text: text.to_owned(), problem };
        if matches!(text, "*" | "*." | "**" | "**.") {
            return Err(wrong(Problem::WildcardAlone));
        }
        let Some(parent) = text.strip_prefix("*.") else {
            let problem = if text.contains('*') { wildcard_problem(text) } else { None };
            return match problem {
                Some(problem) => Err(wrong(problem)),
                None => text.parse().map(NamePattern::Exact),
            };
        };
        if parent.contains('*') {
            return Err(wrong(Problem::WildcardElsewhere { instead: None }));
        }
        match canonical(parent) {
            Ok(name) if name.len() + 2 > MAX_NAME => Err(wrong(Problem::TooLong { bytes: name.len() + 2 })),
            Ok(name) => Ok(NamePattern::Below(DomainName(name.into()))),
            Err(Problem::OneLabel) => Err(wrong(Problem::WildcardTooWide)),
            Err(problem) => Err(wrong(problem)),
        }
    }
}

/// Patterns one after another, as people list them.
pub fn join(patterns: &[NamePattern]) -> String {
    patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is wrong with a `*` that is not `*.` in front, and what was probably meant.
fn wildcard_problem(text: &str) -> Option<Problem> {
    let rest = text.trim_start_matches(['*', '.']);
    let instead = (text.starts_with('*') && !rest.contains('*'))
        .then(|| canonical(rest).ok())
        .flatten()
        .map(|name| format!("*.{name}"));
    Some(Problem::WildcardElsewhere { instead })
}

macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

serde_as_text!(DomainName, NamePattern);

/// A text that is no name, or no pattern: what is wrong. [`help`](Self::help) says how to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    text: String,
    problem: Problem,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Empty,
    Url { host: Option<String> },
    Port { host: Option<String> },
    Address(IpAddr),
    Block(String),
    NumberLast,
    OneLabel,
    EmptyLabel { instead: Option<String> },
    LongLabel { label: String, bytes: usize },
    TooLong { bytes: usize },
    Character(char),
    HyphenAtEnd { label: String },
    NotIdna,
    WildcardForName,
    WildcardAlone,
    WildcardTooWide,
    WildcardElsewhere { instead: Option<String> },
}

impl NameError {
    /// How to write it, where that can be said.
    pub fn help(&self) -> Option<String> {
        let write = |name: &String| format!("write `{name}`");
        Some(match &self.problem {
            Problem::Empty => "write a name such as `db.example.com`".to_owned(),
            Problem::Url { host: Some(host) } => format!("{}: the name without scheme and path", write(host)),
            Problem::Url { host: None } => "write the name without scheme and path".to_owned(),
            Problem::Port { host: Some(host) } => format!("{}; the port belongs under the rule's ports", write(host)),
            Problem::Port { host: None } => "write the name alone; the port belongs under the rule's ports".to_owned(),
            Problem::Address(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                format!("addresses are written as blocks, `{address}/{bits}`, where the rule takes them")
            }
            Problem::Block(_) => "blocks of addresses have a place of their own in rules, such as `ipBlock`".to_owned(),
            Problem::OneLabel => {
                let label = self.text.trim_end_matches('.');
                format!("write the whole name, such as `{label}.example.com`: no search domain is added")
            }
            Problem::EmptyLabel { instead: Some(name) } => {
                format!("write `{name}`, or `*.{name}` for all names below it")
            }
            Problem::WildcardForName => "write one name; a `*` only makes sense in a policy".to_owned(),
            Problem::WildcardAlone => {
                "allow every address with the blocks `0.0.0.0/0` and `::/0`, where the rule takes blocks".to_owned()
            }
            Problem::WildcardTooWide => "write at least two labels behind `*.`, such as `*.example.com`".to_owned(),
            Problem::WildcardElsewhere { instead: Some(pattern) } => write(pattern),
            Problem::WildcardElsewhere { instead: None } => {
                "write `*.` in front of a name, such as `*.example.com`: it stands for one or more whole labels"
                    .to_owned()
            }
            Problem::NumberLast
            | Problem::EmptyLabel { instead: None }
            | Problem::LongLabel { .. }
            | Problem::TooLong { .. }
            | Problem::Character(_)
            | Problem::HyphenAtEnd { .. }
            | Problem::NotIdna => return None,
        })
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What somebody pasted may be a megabyte.
        let shown: String = self.text.chars().take(80).collect();
        let text = if shown.len() < self.text.len() { format!("{shown}…") } else { shown };
        match &self.problem {
            Problem::Empty => f.write_str("the name is empty"),
            Problem::Url { .. } => write!(f, "`{text}` is a URL, not a name"),
            Problem::Port { .. } => write!(f, "`{text}` has a port, which is no part of a name"),
            Problem::Address(_) => write!(f, "`{text}` is an address, not a name"),
            Problem::Block(_) => write!(f, "`{text}` is a block of addresses, not a name"),
            Problem::NumberLast => write!(f, "`{text}` is not a name: its last label is a number, as in an address"),
            Problem::OneLabel => write!(f, "`{text}` has one label, and a name has at least two"),
            Problem::EmptyLabel { .. } => write!(f, "`{text}` has an empty label: two dots, or one in front"),
            Problem::LongLabel { label, bytes } => {
                let label: String = label.chars().take(20).collect();
                write!(f, "the label `{label}…` has {bytes} bytes, and DNS takes at most {MAX_LABEL}")
            }
            Problem::TooLong { bytes } => write!(f, "`{text}` has {bytes} bytes, and DNS takes at most {MAX_NAME}"),
            Problem::Character(c) if c.is_whitespace() || c.is_control() => {
                write!(f, "`{}` has a blank or a control character in it", text.escape_debug())
            }
            Problem::Character(c) => {
                write!(f, "`{text}` has `{c}` in it: names are made of letters, digits, `-`, `_` and dots")
            }
            Problem::HyphenAtEnd { label } => {
                write!(f, "the label `{label}` of `{text}` begins or ends with `-`, which no host name does")
            }
            Problem::NotIdna => write!(f, "`{text}` is not a valid international name (IDNA)"),
            Problem::WildcardForName => write!(f, "`{text}` is a pattern, and one name is wanted here"),
            Problem::WildcardAlone => write!(f, "`{text}` would stand for every name"),
            Problem::WildcardTooWide => write!(f, "`{text}` would stand for every name under a top-level domain"),
            Problem::WildcardElsewhere { .. } => {
                write!(f, "`{text}` has a `*` that is not `*.` in front of a name")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// The canonical form of a text without wildcards.
fn canonical(text: &str) -> Result<String, Problem> {
    if text.is_empty() || text == "." {
        return Err(Problem::Empty);
    }
    if let Some(problem) = something_else(text) {
        return Err(problem);
    }
    if let Some(c) = text.chars().find(|c| c.is_ascii() && !is_name_byte(c.to_ascii_lowercase())) {
        return Err(Problem::Character(c));
    }
    let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY).map_err(|_| Problem::NotIdna)?;
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    // The mapping of IDNA may bring ASCII in, such as the `/` of `℀`.
    if let Some(c) = name.chars().find(|c| !is_name_byte(*c)) {
        return Err(Problem::Character(c));
    }
    for label in name.split('.') {
        if label.is_empty() {
            let rest = name.trim_start_matches('.');
            let instead = (rest.len() < name.len()).then(|| canonical(rest).ok()).flatten();
            return Err(Problem::EmptyLabel { instead });
        }
        if label.len() > MAX_LABEL {
            return Err(Problem::LongLabel { label: label.to_owned(), bytes: label.len() });
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(Problem::HyphenAtEnd { label: label.to_owned() });
        }
    }
    if name.len() > MAX_NAME {
        return Err(Problem::TooLong { bytes: name.len() });
    }
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Err(Problem::Address(address.into()));
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if is_number(last) {
        return Err(Problem::NumberLast);
    }
    if !name.contains('.') {
        return Err(Problem::OneLabel);
    }
    Ok(name.to_owned())
}

fn is_name_byte(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
}

/// Whether programs would read a name that ends in this label as an IPv4 address: `127.1`, `0x7f.0x1`.
fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix("0x").filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    digits.is_some() || label.bytes().all(|b| b.is_ascii_digit())
}

/// What people write where a name is wanted.
fn something_else(text: &str) -> Option<Problem> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
        return Some(Problem::Url { host: canonical(host).ok() });
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Problem::Address(address));
    }
    if text.parse::<ipnet::IpNet>().is_ok() {
        return Some(Problem::Block(text.to_owned()));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Some(Problem::Port { host: canonical(host).ok() });
    }
    let (host, _) = text.split_once('/')?;
    Some(Problem::Url { host: canonical(host).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn pattern(text: &str) -> NamePattern {
        text.parse().unwrap()
    }

    #[test]
    fn names_become_canonical() {
        for (text, canonical) in [
            ("Example.COM.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example.", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("faß.example", "xn--fa-hia.example"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("my_db.example.com", "my_db.example.com"),
            ("r3---sn-abc.example.com", "r3---sn-abc.example.com"),
            ("1.example", "1.example"),
            ("3.2.1.example", "3.2.1.example"),
        ] {
            assert_eq!(name(text).as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_and_how_to_write_it() {
        let told: Vec<String> = [
            "",
            ".",
            "localhost",
            "kubernetes.",
            "10.0.0.1",
            "[2001:db8::1]",
            "10.0.0.0/8",
            "127.1",
            "a.0x7f",
            "https://Example.com/login",
            "example.com/login",
            "example.com:443",
            "example..com",
            ".example.com",
            "exam ple.com",
            "exam!ple.com",
            "-a.example.com",
            "xn--a.example",
            "a.\u{200b}..com",
            "*",
            "*.com",
            "*.10.0.0.1",
            "**.example.com",
            "*example.com",
            "www.*.example.com",
            "*.*.example.com",
            &format!("{}.example.com", "a".repeat(64)),
            &format!("{}com", "a.".repeat(126)),
        ]
        .iter()
        .map(|text| {
            let error = text.parse::<NamePattern>().unwrap_err();
            error.help().map_or(error.to_string(), |help| format!("{error}; {help}"))
        })
        .collect();
        let expected = [
            "the name is empty; write a name such as `db.example.com`",
            "the name is empty; write a name such as `db.example.com`",
            "`localhost` has one label, and a name has at least two; write the whole name, such as \
             `localhost.example.com`: no search domain is added",
            "`kubernetes.` has one label, and a name has at least two; write the whole name, such as \
             `kubernetes.example.com`: no search domain is added",
            "`10.0.0.1` is an address, not a name; addresses are written as blocks, `10.0.0.1/32`, where the rule \
             takes them",
            "`[2001:db8::1]` is an address, not a name; addresses are written as blocks, `2001:db8::1/128`, where the \
             rule takes them",
            "`10.0.0.0/8` is a block of addresses, not a name; blocks of addresses have a place of their own in rules, \
             such as `ipBlock`",
            "`127.1` is not a name: its last label is a number, as in an address",
            "`a.0x7f` is not a name: its last label is a number, as in an address",
            "`https://Example.com/login` is a URL, not a name; write `example.com`: the name without scheme and path",
            "`example.com/login` is a URL, not a name; write `example.com`: the name without scheme and path",
            "`example.com:443` has a port, which is no part of a name; write `example.com`; the port belongs under the \
             rule's ports",
            "`example..com` has an empty label: two dots, or one in front",
            "`.example.com` has an empty label: two dots, or one in front; write `example.com`, or `*.example.com` for \
             all names below it",
            "`exam ple.com` has a blank or a control character in it",
            "`exam!ple.com` has `!` in it: names are made of letters, digits, `-`, `_` and dots",
            "the label `-a` of `-a.example.com` begins or ends with `-`, which no host name does",
            "`xn--a.example` is not a valid international name (IDNA)",
            "`a.\u{200b}..com` has an empty label: two dots, or one in front",
            "`*` would stand for every name; allow every address with the blocks `0.0.0.0/0` and `::/0`, where the \
             rule takes blocks",
            "`*.com` would stand for every name under a top-level domain; write at least two labels behind `*.`, such \
             as `*.example.com`",
            "`*.10.0.0.1` is an address, not a name; addresses are written as blocks, `10.0.0.1/32`, where the rule \
             takes them",
            "`**.example.com` has a `*` that is not `*.` in front of a name; write `*.example.com`",
            "`*example.com` has a `*` that is not `*.` in front of a name; write `*.example.com`",
            "`www.*.example.com` has a `*` that is not `*.` in front of a name; write `*.` in front of a name, such as \
             `*.example.com`: it stands for one or more whole labels",
            "`*.*.example.com` has a `*` that is not `*.` in front of a name; write `*.` in front of a name, such as \
             `*.example.com`: it stands for one or more whole labels",
            &format!("the label `{}…` has 64 bytes, and DNS takes at most 63", "a".repeat(20)),
            &format!("`{}…` has 255 bytes, and DNS takes at most 253", "a.".repeat(40)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_wildcard_is_whole_labels_and_never_the_name_behind_it() {
        let pattern = pattern("*.Example.com.");
        assert_eq!(pattern.to_string(), "*.example.com");
        for (text, matches) in [
            ("www.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("my-example.com", false),
            ("www.example.com.evil.example", false),
        ] {
            assert_eq!(pattern.matches(&name(text)), matches, "{text}");
        }
        assert!("*.example.com".parse::<DomainName>().is_err());
    }

    #[test]
    fn names_below_one_stand_together() {
        let mut names: Vec<DomainName> =
            ["b.example.com", "example.com", "xexample.com", "a.b.example.com", "example.net", "a.example.com"]
                .map(name)
                .into();
        names.sort();
        let texts: Vec<&str> = names.iter().map(DomainName::as_str).collect();
        let order = ["example.com", "a.example.com", "b.example.com", "a.b.example.com", "xexample.com", "example.net"];
        assert_eq!(texts, order);
    }

    #[test]
    fn serde_is_the_text() {
        let pattern: NamePattern = serde_json::from_str("\"*.EXAMPLE.com\"").unwrap();
        assert_eq!(serde_json::to_string(&pattern).unwrap(), "\"*.example.com\"");
        let error = serde_json::from_str::<DomainName>("\"10.0.0.1\"").unwrap_err().to_string();
        assert!(error.contains("`10.0.0.1` is an address"), "{error}");
    }

    /// Labels from a small alphabet, so that names meet.
    fn labels() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "B", "_a", "ü", "a-b", "com"]), 2..6)
    }

    proptest! {
        #[test]
        fn canonicalisation_is_idempotent(text in "\\PC{0,40}|[aA.*üß。_-]{0,12}|([a-zA-Z0-9]{1,5}\\.){1,5}[a-z]{2}") {
            if let Ok(once) = text.parse::<NamePattern>() {
                let shown = once.to_string();
                prop_assert_eq!(&shown.parse::<NamePattern>().unwrap(), &once);
                prop_assert!(shown.is_ascii() && shown.len() <= MAX_NAME && !shown.ends_with('.'));
                prop_assert_eq!(shown.to_ascii_lowercase(), shown.clone());
                prop_assert_eq!(&format!("{}.", shown.to_ascii_uppercase()).parse::<NamePattern>().unwrap(), &once);
            } else if let Err(error) = text.parse::<NamePattern>() {
                _ = (error.to_string(), error.help());
            }
        }

        #[test]
        fn matching_is_what_it_naively_is(of_name in labels(), of_pattern in labels(), wildcard: bool) {
            let name = name(&of_name.join("."));
            let parent = of_pattern.join(".");
            let pattern = pattern(&if wildcard { format!("*.{parent}") } else { parent });
            let lower = |labels: &[&str]| -> Vec<String> {
                labels.iter().map(|l| l.to_lowercase().replace('ü', "xn--tda")).collect()
            };
            let (of_name, of_pattern) = (lower(&of_name), lower(&of_pattern));
            let naive = if wildcard {
                of_name.len() > of_pattern.len() && of_name.ends_with(&of_pattern)
            } else {
                of_name == of_pattern
            };
            prop_assert_eq!(pattern.matches(&name), naive);
            prop_assert_eq!(name.patterns().any(|p| p == pattern), naive);
        }
    }
}
