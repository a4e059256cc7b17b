//! From words to the parties of connections.

use super::target::{AskedPort, Target, TargetKind};
use crate::cluster::ClusterIndex;
use crate::compile::{Compiled, EndpointId, EndpointKey};
use crate::diagnostic::nearest;
use crate::dns::NamePattern;
use crate::dns::name::NameError;
use crate::evaluate::Party;
use crate::net::{AddressRange, Family, family_of, from_number, to_blocks};
use crate::object::{Service, ServiceKind, ServicePort, TargetPort, WorkloadKind};
use crate::policy::{Direction, NamedPort};
use crate::ports::Protocol;
use crate::selector::Selector;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A question that cannot be answered because it does not fit the cluster (E4), and what would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub help: Option<String>,
}

impl QueryError {
    /// One without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        QueryError { message: message.into(), help: None }
    }

    /// The same with a hint.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(word, known.iter().copied()) {
            Some(meant) => self.help(format!("did you mean `{meant}`?")),
            None if known.is_empty() || known.len() > 12 => self,
            None => self.help(format!("there is {}", known.join(", "))),
        }
    }
}

/// A party and what to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What to call it.
    pub name: String,
    /// Who it is.
    pub party: Party,
    /// The blocks that it stands for, where it is a piece of a block.
    pub blocks: Vec<IpNet>,
}

impl Named {
    /// Somebody who stands for himself alone.
    pub fn one(name: String, party: Party) -> Self {
        Named { name, party, blocks: Vec::new() }
    }
}

/// Who a word stands for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The parties.
    pub parties: Vec<Named>,
    /// What was decided on the way and has to be said.
    pub notes: Vec<String>,
    /// Why nobody of those that were named takes part (D3).
    pub absent: Option<String>,
}

/// A party and the port it is asked on.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Who.
    pub who: Named,
    /// On which port; `None`: on every one.
    pub port: Option<u16>,
    /// On which protocol; `None`: on every one.
    pub protocol: Option<Protocol>,
}

/// Where a question goes.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To these.
    Parties {
        /// Who and on which port.
        reached: Vec<Reached>,
        /// Whether the way leads through a Service that hides the sources outside (E3): its name.
        hides_source: Option<String>,
        /// What has to be said.
        notes: Vec<String>,
        /// Why nobody takes part (D3).
        absent: Option<String>,
    },
    /// To a DNS name outside, or to all below one.
    Name {
        /// The name.
        name: NamePattern,
        /// The port, if any.
        port: Option<u16>,
        /// What has to be said.
        notes: Vec<String>,
    },
}

/// A Service that a word names, and what has to be said about that.
type Via = (Arc<Service>, Vec<String>);

/// What resolving looks things up in.
#[derive(Debug, Clone, Copy)]
pub struct Resolver<'c> {
    /// The objects.
    pub index: &'c ClusterIndex,
    /// The compiled form.
    pub compiled: &'c Compiled,
    /// The namespace of words that name none.
    pub default_namespace: &'c str,
}

impl<'c> Resolver<'c> {
    /// Who a source word stands for; a selector narrows it.
    ///
    /// # Errors
    /// When nothing of that name is in the input.
    pub fn source(&self, target: &Target, selector: Option<&Selector>) -> Result<Selection, QueryError> {
        match target {
            Target::Name(name) => {
                Err(QueryError::new(format!("`{name}` is a DNS name: a source is a pod, a workload or an address")))
            }
            Target::Object { kind: Some(TargetKind::Service), name, .. } => {
                Err(QueryError::new(format!("a Service opens no connections: `svc/{name}` cannot be a source"))
                    .help("name the pods or the workload behind it"))
            }
            _ => self.select(target, selector, Direction::Ingress),
        }
    }

    /// Where a destination word leads.
    ///
    /// # Errors
    /// When nothing of that name, or no such port, is in the input (E4).
    pub fn destination(
        &self,
        target: &Target,
        port: Option<&AskedPort>,
        protocol: Option<Protocol>,
        selector: Option<&Selector>,
    ) -> Result<Destination, QueryError> {
        if let Target::Name(name) = target {
            let port = match port {
                None => None,
                Some(AskedPort::Number(number)) => Some(*number),
                Some(AskedPort::Name(word)) => {
                    return Err(QueryError::new(format!(
                        "the port `{word}` of `{name}` has to be a number: names of ports belong to pods"
                    )));
                }
            };
            return Ok(Destination::Name { name: name.clone(), port, notes: Vec::new() });
        }
        if let Some((service, notes)) = self.service_of(target, port.is_some())? {
            return self.through_service(&service, port, protocol, notes);
        }
        let selection = self.select(target, selector, Direction::Egress)?;
        self.on_ports(selection, port, protocol)
    }

    /// A port of these, or every one; names are looked up on each.
    ///
    /// # Errors
    /// When none of them has a port of that name (E4).
    pub fn on_ports(
        &self,
        selection: Selection,
        port: Option<&AskedPort>,
        protocol: Option<Protocol>,
    ) -> Result<Destination, QueryError> {
        let mut reached = Vec::new();
        let mut without = Vec::new();
        for who in &selection.parties {
            match port {
                None => reached.push(Reached { who: who.clone(), port: None, protocol }),
                Some(AskedPort::Number(number)) => {
                    reached.push(Reached { who: who.clone(), port: Some(*number), protocol })
                }
                Some(AskedPort::Name(name)) => {
                    let numbers = self.named_port(who.party, name, protocol.unwrap_or(Protocol::Tcp));
                    if numbers.is_empty() {
                        without.push(who.name.clone());
                    }
                    let on = |number| Reached { who: who.clone(), port: Some(number), protocol };
                    reached.extend(numbers.into_iter().map(on));
                }
            }
        }
        let mut notes = selection.notes;
        if let (Some(AskedPort::Name(name)), false) = (port, without.is_empty()) {
            if reached.is_empty() {
                let all: Vec<String> = selection.parties.iter().flat_map(|who| self.port_names(who.party)).collect();
                let error = QueryError::new(format!(
                    "`{}` has no {} port named `{name}`",
                    without.join("`, `"),
                    protocol.unwrap_or(Protocol::Tcp)
                ));
                return Err(error.suggest(name, all.iter().map(String::as_str)));
            }
            notes.push(format!("without a port named `{name}` and left out: {}", without.join(", ")));
        }
        Ok(Destination::Parties { reached, hides_source: None, notes, absent: selection.absent })
    }

    /// The Service that a word names, if it names one rather than a pod.
    fn service_of(&self, target: &Target, has_port: bool) -> Result<Option<Via>, QueryError> {
        match target {
            Target::Object { namespace, kind, name } => {
                let namespace = namespace.as_deref().unwrap_or(self.default_namespace);
                let service = self.index.service(namespace, name).cloned();
                match kind {
                    Some(TargetKind::Service) => {
                        let missing = || {
                            let names = self
                                .index
                                .services()
                                .filter(|s| s.namespace.as_ref() == namespace)
                                .map(|s| s.name.as_ref());
                            QueryError::new(format!("no Service `{name}` in namespace `{namespace}`"))
                                .suggest(name, names)
                        };
                        service.ok_or_else(missing).map(|service| Some((service, Vec::new())))
                    }
                    Some(_) => Ok(None),
                    None => {
                        let pod = self.index.pod(&(namespace.into(), name.as_str().into())).is_some();
                        Ok(match (service, pod) {
                            (Some(service), false) => Some((service, Vec::new())),
                            (Some(service), true) if has_port => {
                                let note = format!(
                                    "`{namespace}/{name}` is a Service and a pod; with a port the Service is meant (force it with svc/ or pod/)"
                                );
                                Some((service, vec![note]))
                            }
                            _ => None,
                        })
                    }
                }
            }
            Target::Address(address) => {
                let found = self
                    .index
                    .services()
                    .find(|s| s.cluster_addresses.contains(address) || s.external_addresses.contains(address));
                Ok(found.map(|service| {
                    (
                        service.clone(),
                        vec![format!("{address} is an address of the Service {}/{}", service.namespace, service.name)],
                    )
                }))
            }
            _ => Ok(None),
        }
    }

    fn through_service(
        &self,
        service: &Arc<Service>,
        port: Option<&AskedPort>,
        protocol: Option<Protocol>,
        mut notes: Vec<String>,
    ) -> Result<Destination, QueryError> {
        let name = format!("{}/{}", service.namespace, service.name);
        if let ServiceKind::ExternalName(outside) = &service.kind {
            notes.push(format!("the Service {name} stands for the name {outside}"));
            let port = match port {
                Some(AskedPort::Number(number)) => Some(*number),
                None => None,
                Some(AskedPort::Name(word)) => {
                    let known = service.ports.iter().find(|p| p.name.as_deref() == Some(word));
                    Some(
                        known
                            .map(|p| p.port)
                            .ok_or_else(|| QueryError::new(format!("the Service {name} has no port named `{word}`")))?,
                    )
                }
            };
            let wrong = |error: NameError| QueryError {
                message: format!("the Service {name} stands for no name: {error}"),
                help: error.help(),
            };
            return Ok(Destination::Name { name: NamePattern::Exact(outside.parse().map_err(wrong)?), port, notes });
        }
        let ports = self.service_ports(service, &name, port, protocol)?;
        let mut reached: Vec<Reached> = Vec::new();
        let mut absent = None;
        match &service.selector {
            Some(selector) => {
                let backends = self.backends(service, selector);
                if backends.is_empty() {
                    let gone =
                        self.index.pods().any(|p| p.namespace == service.namespace && selector.matches(&p.spec.labels));
                    if !gone {
                        let labels =
                            self.compiled.in_namespace(&service.namespace).filter_map(|id| self.compiled.entry(id));
                        let mut labels: Vec<String> = labels.map(|e| e.endpoint.labels.to_string()).collect();
                        labels.sort();
                        labels.dedup();
                        return Err(QueryError::new(format!(
                            "the selector `{selector}` of the Service {name} matches no pod of its namespace"
                        ))
                        .suggest(&selector.to_string(), labels.iter().map(String::as_str)));
                    }
                    absent = Some(format!(
                        "no pod behind the Service {name} takes part: they have finished or have no address yet"
                    ));
                }
                for port in &ports {
                    for id in &backends {
                        let who = self.name_of(*id);
                        if let Some(number) = self.targets(*id, port, service, &who.name, &mut notes) {
                            reached.push(Reached {
                                who: who.clone(),
                                port: Some(number),
                                protocol: Some(port.protocol),
                            });
                        }
                    }
                }
                if reached.is_empty() && absent.is_none() {
                    let wanted: Vec<String> = ports
                        .iter()
                        .map(|p| match &p.target {
                            TargetPort::Name(name) => format!("`{name}`"),
                            TargetPort::Number(number) => number.to_string(),
                        })
                        .collect();
                    return Err(QueryError::new(format!(
                        "no pod behind the Service {name} has the target port {}",
                        wanted.join(", ")
                    )));
                }
            }
            None => self.through_slices(service, &ports, &name, &mut reached)?,
        }
        reached.dedup_by(|a, b| a.who == b.who && a.port == b.port && a.protocol == b.protocol);
        let outside_way =
            matches!(service.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer) && !service.keeps_source;
        Ok(Destination::Parties { reached, hides_source: outside_way.then_some(name), notes, absent })
    }

    /// The ports of a Service that are asked about (E4: one that it does not have is an error).
    fn service_ports<'s>(
        &self,
        service: &'s Service,
        name: &str,
        port: Option<&AskedPort>,
        protocol: Option<Protocol>,
    ) -> Result<Vec<&'s ServicePort>, QueryError> {
        let of_protocol = |p: &&ServicePort| protocol.is_none_or(|wanted| p.protocol == wanted);
        let Some(asked) = port else {
            return Ok(service.ports.iter().filter(of_protocol).collect());
        };
        let fits = |p: &&ServicePort| match asked {
            AskedPort::Number(number) => p.port == *number,
            AskedPort::Name(word) => p.name.as_deref() == Some(word),
        };
        let named: Vec<&ServicePort> = service.ports.iter().filter(fits).collect();
        let found: Vec<&ServicePort> =
            named.iter().copied().filter(|p| p.protocol == protocol.unwrap_or(Protocol::Tcp)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        // Without a protocol in the question a port of one other protocol is what was meant.
        if let ([one], None) = (named.as_slice(), protocol) {
            return Ok(vec![one]);
        }
        let word = match asked {
            AskedPort::Number(number) => number.to_string(),
            AskedPort::Name(word) => word.clone(),
        };
        if named.is_empty()
            && service.ports.is_empty()
            && service.selector.is_some()
            && let (AskedPort::Number(_), ServiceKind::Headless) = (asked, &service.kind)
        {
            return Err(QueryError::new(format!("the headless Service {name} lists no ports: ask a pod behind it")));
        }
        let have = service.ports.iter().map(|p| match &p.name {
            Some(n) => format!("{} ({n}, {})", p.port, p.protocol),
            None => format!("{} ({})", p.port, p.protocol),
        });
        let have: Vec<String> = have.collect();
        let target = service
            .ports
            .iter()
            .find(|p| matches!((&p.target, asked), (TargetPort::Number(t), AskedPort::Number(n)) if t == n));
        let error =
            QueryError::new(format!("the Service {name} has no {} port `{word}`", protocol.unwrap_or(Protocol::Tcp)));
        Err(match target {
            Some(p) => error.help(format!("{word} is the pods' port; the Service's is {}", p.port)),
            None if have.is_empty() => error.help("it has no ports at all"),
            None => error.help(format!("it has {}", have.join(", "))),
        })
    }

    /// The pods, or workloads, that a selector of a Service leads to.
    fn backends(&self, service: &Service, selector: &Selector) -> Vec<EndpointId> {
        let candidates = self.compiled.in_namespace(&service.namespace);
        let mut found: Vec<EndpointId> = candidates
            .filter(|id| self.compiled.entry(*id).is_some_and(|e| selector.matches(&e.endpoint.labels)))
            .collect();
        found.sort_by_key(|id| self.compiled.entry(*id).map(|e| e.endpoint.key.clone()));
        found
    }

    /// The pod port behind a Service port (E1); a pod without the named port is no backend of it.
    fn targets(
        &self,
        id: EndpointId,
        port: &ServicePort,
        service: &Service,
        who: &str,
        notes: &mut Vec<String>,
    ) -> Option<u16> {
        match &port.target {
            // Names lead to the pods themselves: clients use the Service's number there (E2).
            TargetPort::Number(_) | TargetPort::Name(_) if service.kind == ServiceKind::Headless => {
                if port.target != TargetPort::Number(port.port) {
                    let note = format!(
                        "{}/{} is headless: clients reach the pods on the port that they ask for, its targetPort is not used",
                        service.namespace, service.name
                    );
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                Some(port.port)
            }
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => {
                let entry = self.compiled.entry(id)?;
                let named = NamedPort { protocol: port.protocol, name: name.clone() };
                let number = entry.endpoint.resolve(&named).next();
                if number.is_none() {
                    notes.push(format!(
                        "{who} has no {} port named `{name}` and is no backend of {}/{}",
                        port.protocol, service.namespace, service.name
                    ));
                }
                number
            }
        }
    }

    /// A Service without selector: the addresses of its slices (E2).
    fn through_slices(
        &self,
        service: &Service,
        ports: &[&ServicePort],
        name: &str,
        reached: &mut Vec<Reached>,
    ) -> Result<(), QueryError> {
        for slice in self.index.slices_of(&service.namespace, &service.name) {
            for port in ports {
                let fits = slice.ports.iter().filter(|p| {
                    p.protocol == port.protocol && p.name.as_ref() == port.name.as_deref().unwrap_or_default()
                });
                for number in fits.map(|p| p.port.unwrap_or(port.port)) {
                    for address in &slice.addresses {
                        let who = match self.compiled.at_address(*address) {
                            Some(id) => self.name_of(id),
                            None => Named::one(address.to_string(), Party::Address(*address)),
                        };
                        reached.push(Reached { who, port: Some(number), protocol: Some(port.protocol) });
                    }
                }
            }
        }
        if reached.is_empty() {
            return Err(QueryError::new(format!(
                "the Service {name} has no selector, and no EndpointSlice gives it an address on that port"
            ))
            .help("add its EndpointSlices to the input"));
        }
        Ok(())
    }

    fn select(
        &self,
        target: &Target,
        selector: Option<&Selector>,
        blocks_of: Direction,
    ) -> Result<Selection, QueryError> {
        let mut selection = match target {
            Target::Address(address) => match self.compiled.at_address(*address) {
                Some(id) => {
                    let who = self.name_of(id);
                    let notes = vec![format!("{address} is the address of {}", who.name)];
                    Selection { parties: vec![who], notes, absent: None }
                }
                None => {
                    let node = self
                        .compiled
                        .node_at(*address)
                        .map(|node| format!("{address} is an address of the node {node}"));
                    let who = Named::one(address.to_string(), Party::Address(*address));
                    Selection { parties: vec![who], notes: node.into_iter().collect(), absent: None }
                }
            },
            Target::Block(net) => self.block(net, blocks_of),
            Target::Everything(namespace) => self.everything(namespace.as_deref(), selector)?,
            Target::Object { namespace, kind, name } => {
                self.object(namespace.as_deref().unwrap_or(self.default_namespace), *kind, name)?
            }
            Target::Name(name) => return Err(QueryError::new(format!("`{name}` is a DNS name"))),
        };
        if let Some(selector) = selector {
            let matches = |who: &Named| match who.party {
                Party::Endpoint(id) => self.compiled.entry(id).is_some_and(|e| selector.matches(&e.endpoint.labels)),
                Party::Address(_) => false,
            };
            selection.parties.retain(matches);
            if selection.parties.is_empty() && selection.absent.is_none() {
                return Err(QueryError::new(format!("no pod there matches the selector `{selector}`")));
            }
        }
        Ok(selection)
    }

    /// The pieces of a block that rules tell apart; each stands for itself by its first address.
    fn block(&self, net: &IpNet, direction: Direction) -> Selection {
        let (family, wanted) = (family_of(net), AddressRange::from(net));
        let mut pieces: BTreeMap<u32, Vec<AddressRange>> = BTreeMap::new();
        for (range, class) in self.compiled.side(direction).blocks.ranges(family) {
            let (first, last) = (range.first.max(wanted.first), range.last.min(wanted.last));
            if first <= last {
                pieces.entry(class).or_default().push(AddressRange { first, last });
            }
        }
        let parties = pieces.into_values().filter_map(|ranges| {
            let first = from_number(family, ranges.first()?.first);
            let blocks = ranges.iter().flat_map(|range| to_blocks(family, *range)).collect();
            Some(Named { name: blocks_name(family, &ranges), party: Party::Address(first), blocks })
        });
        let pods = self.compiled.entries().flat_map(|(_, e)| Family::ALL.map(|f| (e, *e.endpoint.addresses.get(f))));
        let inside = pods.filter(|(_, a)| matches!(a, crate::compile::Address::Known(a) if net.contains(a))).count();
        let note = (inside > 0)
            .then(|| format!("{inside} pods have addresses in {net}; it is judged as addresses outside the cluster"));
        Selection { parties: parties.collect(), notes: note.into_iter().collect(), absent: None }
    }

    fn everything(&self, namespace: Option<&str>, selector: Option<&Selector>) -> Result<Selection, QueryError> {
        let ids: Vec<EndpointId> = match namespace {
            None => self.compiled.entries().map(|(id, _)| id).collect(),
            Some(namespace) => {
                let known = self.index.namespace_names();
                if !known.contains(namespace) {
                    return Err(
                        QueryError::new(format!("no namespace `{namespace}` in the input")).suggest(namespace, known)
                    );
                }
                self.compiled.in_namespace(namespace).collect()
            }
        };
        let mut parties: Vec<Named> = ids.into_iter().map(|id| self.name_of(id)).collect();
        parties.sort_by(|a, b| a.name.cmp(&b.name));
        if parties.is_empty() && selector.is_none() {
            let place = namespace.map_or("the input".to_owned(), |n| format!("namespace `{n}`"));
            return Err(QueryError::new(format!("no pod in {place}")));
        }
        Ok(Selection { parties, ..Selection::default() })
    }

    /// The pods with these labels, in a namespace or in those with these labels; everywhere where neither is given.
    ///
    /// # Errors
    /// When there is no such namespace or pod.
    pub fn labelled(
        &self,
        namespace: Option<&str>,
        namespaces: Option<&Selector>,
        pods: &Selector,
    ) -> Result<Selection, QueryError> {
        let known = self.index.namespace_names();
        if let Some(name) = namespace.filter(|name| !known.contains(name)) {
            return Err(QueryError::new(format!("no namespace `{name}` in the input")).suggest(name, known));
        }
        let matches = |name: &str| {
            let labels = self.index.namespace_labels(name);
            namespace.is_none_or(|wanted| wanted == name) && namespaces.is_none_or(|wanted| wanted.matches(&labels))
        };
        let found: Vec<&str> = known.iter().copied().filter(|name| matches(name)).collect();
        if let (Some(selector), true) = (namespaces, found.is_empty()) {
            return Err(QueryError::new(format!("no namespace in the input matches the selector `{selector}`")));
        }
        let has = |id: &EndpointId| self.compiled.entry(*id).is_some_and(|e| pods.matches(&e.endpoint.labels));
        let ids = found.iter().flat_map(|name| self.compiled.in_namespace(name)).filter(has);
        let mut parties: Vec<Named> = ids.map(|id| self.name_of(id)).collect();
        parties.sort_by(|a, b| a.name.cmp(&b.name));
        if parties.is_empty() {
            let error = QueryError::new(format!("no pod there matches the selector `{pods}`"));
            let labels = found.iter().flat_map(|name| self.compiled.in_namespace(name));
            let labels = labels.filter_map(|id| self.compiled.entry(id)).map(|e| e.endpoint.labels.to_string());
            let labels: BTreeSet<String> = labels.collect();
            return Err(error.suggest(&pods.to_string(), labels.iter().map(String::as_str)));
        }
        Ok(Selection { parties, ..Selection::default() })
    }

    fn object(&self, namespace: &str, kind: Option<TargetKind>, name: &str) -> Result<Selection, QueryError> {
        let key = |kind| EndpointKey { namespace: namespace.into(), name: name.into(), kind };
        if matches!(kind, None | Some(TargetKind::Pod)) {
            if let Some(id) = self.compiled.find(&key(None)) {
                return Ok(Selection { parties: vec![self.name_of(id)], ..Selection::default() });
            }
            if let Some(why) =
                self.index.pod(&(namespace.into(), name.into())).and_then(|pod| ClusterIndex::absence(pod))
            {
                let absent = format!("the pod {namespace}/{name} takes no part: {why}");
                return Ok(Selection { absent: Some(absent), ..Selection::default() });
            }
        }
        let kinds: Vec<WorkloadKind> = match kind {
            Some(TargetKind::Workload(kind)) => vec![kind],
            None => WorkloadKind::ALL.to_vec(),
            Some(TargetKind::Pod | TargetKind::Service) => Vec::new(),
        };
        for workload in kinds {
            let Some(parties) = self.workload(namespace, workload, name) else { continue };
            let note = kind.is_none().then(|| format!("`{namespace}/{name}` is the {} of that name", workload.kind()));
            let absent = parties.is_empty().then(|| {
                format!(
                    "no pod of the {} {namespace}/{name} takes part: they have finished or have no address yet",
                    workload.kind()
                )
            });
            return Ok(Selection { parties, notes: note.into_iter().collect(), absent });
        }
        Err(self.not_found(namespace, kind, name))
    }

    /// The pods of a workload, or the workload itself where no pod stands for it; `None` when there is none.
    fn workload(&self, namespace: &str, kind: WorkloadKind, name: &str) -> Option<Vec<Named>> {
        let is_it = |id: &EndpointId| {
            self.compiled
                .entry(*id)
                .is_some_and(|e| e.endpoint.workload.as_ref().is_some_and(|(k, n)| *k == kind && n.as_ref() == name))
        };
        let mut ids: Vec<EndpointId> = self.compiled.in_namespace(namespace).filter(is_it).collect();
        // A ReplicaSet's pods belong to its Deployment; asked for by its own name it has them too.
        let owned: Vec<_> = self
            .index
            .pods()
            .filter(|pod| {
                pod.namespace.as_ref() == namespace
                    && pod
                        .owner
                        .as_ref()
                        .is_some_and(|o| o.name.as_ref() == name && WorkloadKind::parse(&o.kind) == Some(kind))
            })
            .collect();
        if ids.is_empty() {
            let keys = owned.iter().map(|pod| EndpointKey {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                kind: None,
            });
            ids.extend(keys.filter_map(|key| self.compiled.find(&key)));
        }
        if ids.is_empty() && owned.is_empty() && self.index.workload(kind, namespace, name).is_none() {
            return None;
        }
        let mut parties: Vec<Named> = ids.into_iter().map(|id| self.name_of(id)).collect();
        parties.sort_by(|a, b| a.name.cmp(&b.name));
        Some(parties)
    }

    fn not_found(&self, namespace: &str, kind: Option<TargetKind>, name: &str) -> QueryError {
        let namespaces = self.index.namespace_names();
        if !namespaces.contains(namespace) {
            return QueryError::new(format!("no namespace `{namespace}` in the input")).suggest(namespace, namespaces);
        }
        let (what, known): (&str, Vec<String>) = match kind {
            Some(TargetKind::Workload(kind)) => {
                let named = self.index.workloads().filter(|w| w.kind == kind && w.namespace.as_ref() == namespace);
                (kind.kind(), named.map(|w| w.name.to_string()).collect())
            }
            _ => {
                let pods = self.index.pods().filter(|p| p.namespace.as_ref() == namespace).map(|p| p.name.to_string());
                let workloads = self
                    .index
                    .workloads()
                    .filter(|w| w.namespace.as_ref() == namespace)
                    .map(|w| format!("{}/{}", w.kind.short(), w.name));
                let services = self
                    .index
                    .services()
                    .filter(|s| s.namespace.as_ref() == namespace)
                    .map(|s| format!("svc/{}", s.name));
                let what = if kind.is_some() { "pod" } else { "pod, workload or Service" };
                (
                    what,
                    pods.chain(workloads.filter(|_| kind.is_none()))
                        .chain(services.filter(|_| kind.is_none()))
                        .collect(),
                )
            }
        };
        let error = QueryError::new(format!("no {what} `{name}` in namespace `{namespace}`"));
        let plain = |full: &str| full.rsplit('/').next().unwrap_or_default().to_owned();
        match known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(name, &plain(a)).total_cmp(&strsim::jaro_winkler(name, &plain(b))))
        {
            Some(best) if strsim::jaro_winkler(name, &plain(best)) > 0.72 => {
                error.help(format!("did you mean `{namespace}/{best}`?"))
            }
            _ => error.suggest(name, known.iter().map(String::as_str)),
        }
    }

    /// An endpoint by its name.
    pub fn name_of(&self, id: EndpointId) -> Named {
        let name = self.compiled.entry(id).map(|e| e.endpoint.key.to_string()).unwrap_or_default();
        Named::one(name, Party::Endpoint(id))
    }

    fn named_port(&self, party: Party, name: &str, protocol: Protocol) -> Vec<u16> {
        let Party::Endpoint(id) = party else { return Vec::new() };
        let named = NamedPort { protocol, name: name.into() };
        let mut numbers: Vec<u16> =
            self.compiled.entry(id).into_iter().flat_map(|e| e.endpoint.resolve(&named)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn port_names(&self, party: Party) -> Vec<String> {
        let Party::Endpoint(id) = party else { return Vec::new() };
        let ports = self.compiled.entry(id).map(|e| e.endpoint.ports.as_slice()).unwrap_or_default();
        ports.iter().filter_map(|p| p.name.as_ref().map(ToString::to_string)).collect()
    }
}

/// What to call ranges of addresses: their blocks; few exceptions read better than many blocks.
pub fn blocks_name(family: Family, ranges: &[AddressRange]) -> String {
    let blocks: Vec<String> = ranges.iter().flat_map(|r| to_blocks(family, *r)).map(|net| net.to_string()).collect();
    if blocks.len() <= 3 {
        return blocks.join(", ");
    }
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let holes = crate::net::without(AddressRange { first: 0, last: family.last() }, &sorted);
    let holes: Vec<String> = holes.iter().flat_map(|r| to_blocks(family, *r)).map(|net| net.to_string()).collect();
    if holes.len() < blocks.len() {
        format!("{} except {}", family.whole(), holes.join(", "))
    } else {
        format!("{} and {} more blocks", blocks.get(..3).unwrap_or_default().join(", "), blocks.len() - 3)
    }
}
