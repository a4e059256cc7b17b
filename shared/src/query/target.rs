//! The words of a question: what `SRC` and `DST` may look like, before anything is looked up.

use crate::dns::NamePattern;
use crate::dns::name::NameError;
use crate::object::WorkloadKind;
use crate::ports::Protocol;
use ipnet::IpNet;
use std::net::IpAddr;

/// What a word of a question names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Something in a namespace.
    Object {
        /// The namespace, if the word names one.
        namespace: Option<String>,
        /// The kind, if the word forces one.
        kind: Option<TargetKind>,
        /// Its name.
        name: String,
    },
    /// All pods of a namespace (`ns/*`), or of all (`*/*`: `None`).
    Everything(Option<String>),
    /// Addresses.
    Block(IpNet),
    /// One address.
    Address(IpAddr),
    /// A DNS name outside the cluster, or with `*.` in front all names below one.
    Name(NamePattern),
}

/// A kind that a word forces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// `pod/`
    Pod,
    /// `svc/`
    Service,
    /// `deploy/` and the others.
    Workload(WorkloadKind),
}

/// A port as a question names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedPort {
    /// A number.
    Number(u16),
    /// A name: of a Service's port, or of a container's.
    Name(String),
}

impl std::fmt::Display for AskedPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AskedPort::Number(number) => write!(f, "{number}"),
            AskedPort::Name(name) => f.write_str(name),
        }
    }
}

/// A destination word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationWord {
    /// What it names.
    pub target: Target,
    /// The port, if any.
    pub port: Option<AskedPort>,
    /// The protocol, where the word ends with `/udp`.
    pub protocol: Option<Protocol>,
}

impl TargetKind {
    fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "pod" | "pods" | "po" => Some(TargetKind::Pod),
            "svc" | "service" | "services" => Some(TargetKind::Service),
            other => WorkloadKind::parse(other).map(TargetKind::Workload),
        }
    }
}

/// Reads a word without a port.
///
/// # Errors
/// A message that says what forms there are.
pub fn parse_target(word: &str) -> Result<Target, String> {
    let unbracketed = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(word);
    if let Ok(address) = unbracketed.parse::<IpAddr>() {
        return Ok(Target::Address(address));
    }
    if let Ok(net) = unbracketed.parse::<IpNet>() {
        return Ok(Target::Block(net.trunc()));
    }
    let parts: Vec<&str> = word.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("`{word}` has an empty part; {FORMS}"));
    }
    let object = |namespace: Option<&str>, kind, name: &str| Target::Object {
        namespace: namespace.map(str::to_owned),
        kind,
        name: name.to_owned(),
    };
    match parts.as_slice() {
        ["*"] | ["*", "*"] => Ok(Target::Everything(None)),
        [namespace, "*"] => Ok(Target::Everything(Some((*namespace).to_owned()))),
        [name] => name_or_object(name),
        // `svc/x` forces the kind in the default namespace, as with kubectl.
        [first, name] => Ok(match TargetKind::parse(first) {
            Some(kind) => object(None, Some(kind), name),
            None => object(Some(first), None, name),
        }),
        [namespace, kind, name] => {
            let kind = TargetKind::parse(kind).ok_or_else(|| {
                format!("`{kind}` is not a kind of pod, service or workload: use pod, svc, deploy, sts, ds, rs, rc, job or cronjob")
            })?;
            Ok(object(Some(namespace), Some(kind), name))
        }
        _ => Err(format!("`{word}` has too many parts; {FORMS}")),
    }
}

const FORMS: &str = "write ns/pod, ns/deploy/name, ns/svc/name, ns/*, an IP address or a CIDR";

/// A word without `/`: a name in the default namespace, a Service's DNS name, or a name outside.
fn name_or_object(word: &str) -> Result<Target, String> {
    let labels: Vec<&str> = word.trim_end_matches('.').split('.').collect();
    Ok(match labels.as_slice() {
        [name] => Target::Object { namespace: None, kind: None, name: (*name).to_owned() },
        [service, namespace, "svc"] | [service, namespace, "svc", "cluster", "local"] => Target::Object {
            namespace: Some((*namespace).to_owned()),
            kind: Some(TargetKind::Service),
            name: (*service).to_owned(),
        },
        _ => Target::Name(word.parse().map_err(|error: NameError| match error.help() {
            Some(help) => format!("{error}; {help}"),
            None => error.to_string(),
        })?),
    })
}

/// Reads a word with an optional `:port`, and an optional `/udp` behind the port.
///
/// # Errors
/// A message that says what is wrong with it.
pub fn parse_destination(word: &str) -> Result<DestinationWord, String> {
    // A bare IPv6 address has colons of its own: only brackets set a port apart.
    let (head, tail) = if let Some(end) = word.rfind("]:") {
        (word.get(..=end).unwrap_or_default(), word.get(end + 2..))
    } else if word.parse::<IpAddr>().is_ok() || word.parse::<IpNet>().is_ok() {
        (word, None)
    } else {
        match word.rsplit_once(':') {
            Some((head, tail)) => (head, Some(tail)),
            None => (word, None),
        }
    };
    let target = parse_target(head)?;
    let Some(tail) = tail else { return Ok(DestinationWord { target, port: None, protocol: None }) };
    let (port, protocol) = match tail.split_once('/') {
        Some((port, name)) => {
            let protocol = Protocol::parse_lenient(name)
                .ok_or_else(|| format!("`{name}` is not a protocol: use tcp, udp or sctp"))?;
            (port, Some(protocol))
        }
        None => (tail, None),
    };
    let port = match port.parse::<u64>() {
        Ok(number) => match u16::try_from(number) {
            Ok(number) if number > 0 => AskedPort::Number(number),
            _ => return Err(format!("`{port}` is not a port: ports are numbers from 1 to 65535")),
        },
        Err(_) if port.is_empty() => return Err(format!("`{word}` ends with `:` but names no port")),
        Err(_) => AskedPort::Name(port.to_owned()),
    };
    Ok(DestinationWord { target, port: Some(port), protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(word: &str) -> String {
        match parse_destination(word) {
            Ok(w) => format!("{:?} {:?} {:?}", w.target, w.port, w.protocol),
            Err(e) => format!("error: {e}"),
        }
    }

    #[test]
    fn words_are_told_apart() {
        for (word, start) in [
            ("shop/web", "Object { namespace: Some(\"shop\"), kind: None, name: \"web\" } None"),
            ("shop/web:80", "Object { namespace: Some(\"shop\"), kind: None, name: \"web\" } Some(Number(80))"),
            (
                "shop/svc/web:http/udp",
                "Object { namespace: Some(\"shop\"), kind: Some(Service), name: \"web\" } Some(Name(\"http\")) Some(Udp)",
            ),
            ("svc/web:80", "Object { namespace: None, kind: Some(Service)"),
            (
                "db.shop.svc.cluster.local:5432",
                "Object { namespace: Some(\"shop\"), kind: Some(Service), name: \"db\" }",
            ),
            ("API.example.com.:443", "Name(Exact(DomainName(\"api.example.com\"))) Some(Number(443))"),
            ("*.example.com", "Name(Below(DomainName(\"example.com\"))) None"),
            ("10.0.0.1:80", "Address(10.0.0.1) Some(Number(80))"),
            ("[2001:db8::1]:80", "Address(2001:db8::1) Some(Number(80))"),
            ("2001:db8::1", "Address(2001:db8::1) None"),
            ("10.0.0.0/8:80", "Block(10.0.0.0/8) Some(Number(80))"),
            ("2001:db8::/32", "Block(2001:db8::/32) None"),
            ("shop/*:53/udp", "Everything(Some(\"shop\")) Some(Number(53)) Some(Udp)"),
            ("a/b/c/d", "error"),
            ("a//b", "error"),
            ("a/b:0", "error"),
            ("a/b:", "error"),
            ("a/b:70000", "error"),
            ("a/frob/b:1", "error"),
        ] {
            assert!(shown(word).starts_with(start), "{word}: {}", shown(word));
        }
    }
}
