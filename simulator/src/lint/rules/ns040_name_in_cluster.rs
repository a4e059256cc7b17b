//! NS040: names of Services and pods, whose addresses no answer may bring (G5).

use super::page;
use super::parts::{NameAt, names};
use crate::lint::{Context, Found, Rule, Severity};
use netsim_shared::cluster_dns::flow;
use netsim_shared::dns::NamePattern;
use netsim_shared::object::{NAMESPACE_NAME_LABEL, Path, Service, ServiceKind, ServicePort, TargetPort};
use netsim_shared::policy::PortMatch;

pub const RULE: Rule = Rule {
    id: "NS040",
    name: "name-in-cluster",
    severity: Severity::Warning,
    summary: "a Service or pod of the cluster as a name: names never stand for addresses inside",
    neighbours: &[],
    page: page!("NS040"),
    check,
};

/// The domain of nearly every cluster.
const CLUSTER: [&str; 2] = ["cluster", "local"];

/// What a name means inside a cluster.
#[derive(Debug, PartialEq, Eq)]
enum Inside<'n> {
    /// The Service of a namespace and name. Whether the name can mean anything else, outside.
    Service { namespace: &'n str, name: &'n str, only_here: bool },
    /// A namespace's Services.
    Services { namespace: &'n str, only_here: bool },
    /// Anything inside.
    Cluster,
}

fn check(context: &Context<'_>) -> Vec<Found> {
    names(context).filter_map(|at| judge(context, &at)).collect()
}

fn judge(context: &Context<'_>, at: &NameAt<'_>) -> Option<Found> {
    let defined = |namespace: &str, name: &str| context.index.service(namespace, name);
    let has_services = |wanted: &str| context.index.services().any(|service| service.namespace.as_ref() == wanted);
    let (namespace, name) = match inside(at.pattern)? {
        Inside::Service { namespace, name, only_here } if only_here || defined(namespace, name).is_some() => {
            (Some(namespace), Some(name))
        }
        Inside::Services { namespace, only_here } if only_here || has_services(namespace) => (Some(namespace), None),
        Inside::Cluster => (None, None),
        Inside::Service { .. } | Inside::Services { .. } => return None,
    };
    let service = namespace.zip(name).and_then(|(namespace, name)| defined(namespace, name));
    if service.is_some_and(|service| leads_outside(service)) {
        return None;
    }
    let what = match (namespace, name) {
        (Some(namespace), Some(name)) => format!("Service {namespace}/{name}"),
        (Some(namespace), None) => format!("the Services of namespace {namespace}"),
        _ => "Services and pods of the cluster".to_owned(),
    };
    let message =
        format!("`{}` means {what}, and names never stand for addresses inside: nothing is allowed", at.pattern);
    let found = at.found(message).help(match service {
        Some(service) => help(at, service),
        None if namespace == Some("default") && name == Some("kubernetes") => {
            "allow the addresses of the API server by `ipBlock` in a NetworkPolicy".to_owned()
        }
        None => "select the pods in a NetworkPolicy, by `podSelector` and `namespaceSelector`, and name their ports"
            .to_owned(),
    });
    Some(match service {
        Some(service) => {
            let place = service.origin.place_of(&Path::spec().key("selector"));
            found.related(format!("Service {}/{}", service.namespace, service.name), place)
        }
        None => found,
    })
}

/// What a pattern means inside a cluster, if it can mean anything there.
fn inside(pattern: &NamePattern) -> Option<Inside<'_>> {
    let (name, wildcard) = match pattern {
        NamePattern::Exact(name) => (name, false),
        NamePattern::Below(parent) => (parent, true),
    };
    let labels: Vec<&str> = name.labels().collect();
    let (front, of_cluster) = match labels.as_slice() {
        [front @ .., a, b] if [*a, *b] == CLUSTER => (front, true),
        all => (all, false),
    };
    let at = front.iter().rposition(|label| *label == "svc");
    // `svc` is no top-level domain, so what ends with it is meant for here.
    let only_here = of_cluster || at == Some(front.len().wrapping_sub(1));
    let before = at.and_then(|at| front.get(..at));
    match before {
        Some([.., name, namespace]) => Some(Inside::Service { namespace, name, only_here }),
        Some([namespace]) if wildcard => Some(Inside::Services { namespace, only_here }),
        _ if of_cluster => Some(Inside::Cluster),
        // As programs write it that rely on search domains.
        None if !wildcard => match front {
            [name, namespace] => Some(Inside::Service { namespace, name, only_here: false }),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the answers to a Service's name may be addresses outside: it stands for another name, or for endpoints
/// that somebody else gives.
fn leads_outside(service: &Service) -> bool {
    match &service.kind {
        ServiceKind::ExternalName(_) => true,
        ServiceKind::Headless => service.selector.is_none(),
        ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::LoadBalancer => false,
    }
}

/// The rule that allows what was meant.
fn help(at: &NameAt<'_>, service: &Service) -> String {
    let Some(selector) = &service.selector else {
        return "it leads to the addresses of its endpoints: allow these by `ipBlock` in a NetworkPolicy".to_owned();
    };
    let mut peer = format!("podSelector: {{matchLabels: {}}}", flow(selector));
    if service.namespace != at.rule.policy.namespace {
        let namespace = &service.namespace;
        peer = format!("namespaceSelector: {{matchLabels: {{{NAMESPACE_NAME_LABEL}: {namespace}}}}}, {peer}");
    }
    let asked = |port: &&ServicePort| match &at.rule.rule.ports {
        None => true,
        Some(ports) => ports.iter().any(|asked| match asked {
            PortMatch::Range(range) => range.contains(port.protocol, port.port),
            PortMatch::Named(_) => false,
        }),
    };
    let wanted: Vec<&ServicePort> = match service.ports.iter().filter(asked).collect::<Vec<_>>() {
        none if none.is_empty() => service.ports.iter().collect(),
        some => some,
    };
    let ports = wanted.into_iter().map(|port| {
        let number = match &port.target {
            _ if service.kind == ServiceKind::Headless => port.port.to_string(),
            TargetPort::Number(number) => number.to_string(),
            TargetPort::Name(name) => name.to_string(),
        };
        format!("{{protocol: {}, port: {number}}}", port.protocol)
    });
    let ports = ports.collect::<Vec<String>>().join(", ");
    let ports = if ports.is_empty() { String::new() } else { format!(", ports: [{ports}]") };
    format!("allow its pods in `egress` of a NetworkPolicy: `- {{to: [{{{peer}}}]{ports}}}`")
}
