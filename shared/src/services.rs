//! The pods behind Services (E1).

use crate::cluster::ClusterIndex;
use crate::compile::{Compiled, Endpoint, EndpointId};
use crate::object::{Service, ServiceKind, ServicePort, TargetPort};
use crate::selector::Condition;
use std::collections::{BTreeSet, HashMap};

/// A Service whose selector matches pods.
#[derive(Debug)]
pub struct Front<'c> {
    /// The Service.
    pub service: &'c Service,
    /// The pods behind it.
    pub pods: Vec<EndpointId>,
}

impl Front<'_> {
    /// The port that clients of one of its ports end at on a pod; a headless Service maps none (E2a).
    pub fn target(&self, port: &ServicePort, endpoint: &Endpoint) -> Option<u16> {
        match &port.target {
            _ if self.service.kind == ServiceKind::Headless => Some(port.port),
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => {
                let fits = endpoint.ports.iter().find(|p| p.protocol == port.protocol && p.name.as_ref() == Some(name));
                fits.map(|p| p.port)
            }
        }
    }

    /// `shop/web`
    pub fn name(&self) -> String {
        format!("{}/{}", self.service.namespace, self.service.name)
    }
}

/// All Services that lead to pods of the input.
pub fn fronts<'c>(index: &'c ClusterIndex, compiled: &'c Compiled) -> Vec<Front<'c>> {
    fronts_of(index, compiled, |_| true)
}

/// Those of the Services that are wanted.
///
/// A selector is tried only on the pods that have the rarest of its labels.
pub fn fronts_of<'c>(
    index: &'c ClusterIndex,
    compiled: &'c Compiled,
    wanted: impl Fn(&Service) -> bool,
) -> Vec<Front<'c>> {
    let services = || index.services().filter(|s| wanted(s)).filter_map(|s| Some((s, s.selector.as_ref()?)));
    let namespaces: BTreeSet<&str> = services().map(|(service, _)| service.namespace.as_ref()).collect();
    let mut by_label: HashMap<(&str, &str, &str), Vec<EndpointId>> = HashMap::new();
    for namespace in namespaces {
        for id in compiled.in_namespace(namespace) {
            let Some(entry) = compiled.entry(id) else { continue };
            for (key, value) in entry.endpoint.labels.iter() {
                by_label.entry((namespace, key, value)).or_default().push(id);
            }
        }
    }
    let behind = |(service, selector): (&'c std::sync::Arc<Service>, &crate::selector::Selector)| {
        let lists = selector.requirements().iter().filter_map(|requirement| match &requirement.condition {
            Condition::In(values) => {
                let key = (service.namespace.as_ref(), requirement.key.as_ref(), values.first()?.as_ref());
                Some(by_label.get(&key).map_or(&[][..], Vec::as_slice))
            }
            _ => None,
        });
        let rarest = lists.min_by_key(|list| list.len())?;
        let matches = |id: &EndpointId| compiled.entry(*id).is_some_and(|e| selector.matches(&e.endpoint.labels));
        let pods: Vec<EndpointId> = rarest.iter().copied().filter(matches).collect();
        (!pods.is_empty()).then_some(Front { service: service.as_ref(), pods })
    };
    services().filter_map(behind).collect()
}
