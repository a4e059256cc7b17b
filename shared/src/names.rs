//! What pods may reach outside by name (G6): patterns and ports, without asking what they stand for.

use crate::cluster::ClusterIndex;
use crate::compile::side::{GroupId, NOT_ISOLATED};
use crate::compile::{Compiled, EndpointId, Modes, pod_cidrs};
use crate::dns::refuse::Refusals;
use crate::dns::{DomainName, NamePattern};
use crate::evaluate::{Addresses, Party, RuleRef, allowed_ports};
use crate::net::{Family, PerFamily, family_of};
use crate::policy::{Direction, IpBlock, NetworkPolicy, Peer};
use crate::ports::{PortRange, PortSet, Protocol};
use ipnet::IpNet;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A rule of a group, and its ports.
#[derive(Debug, Clone)]
pub struct Grant<T> {
    /// To what.
    pub to: T,
    /// On which ports: numbers only, what is outside has no port names (C3).
    pub ports: PortSet,
    /// By which rule.
    pub rule: RuleRef,
}

/// What the egress rules of a group say of the outside, apart from single addresses.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The policies that isolate the group; none: everything is open.
    pub isolated_by: Vec<Arc<NetworkPolicy>>,
    /// To every address: of both families (`None`), or of one.
    pub everywhere: Vec<Grant<Option<Family>>>,
    /// To names.
    pub names: Vec<Grant<NamePattern>>,
    /// To some addresses, which names could stand for.
    pub blocks: Vec<Grant<IpBlock>>,
}

impl Outside {
    /// What a group may reach.
    pub fn of(compiled: &Compiled, group: GroupId) -> Self {
        let mut outside = Outside::default();
        for slot in compiled.side(Direction::Egress).policies_of(group) {
            outside.isolated_by.push(slot.policy.clone());
            let written = slot.policy.rules(Direction::Egress).unwrap_or_default();
            for (number, (rule, written)) in slot.rules.iter().zip(written).enumerate() {
                let reference = RuleRef { policy: slot.policy.clone(), direction: Direction::Egress, rule: number };
                if !rule.ports.is_empty() {
                    outside.add(written.peers.as_deref(), &rule.ports, &reference);
                }
            }
        }
        outside
    }

    fn add(&mut self, peers: Option<&[Peer]>, ports: &PortSet, rule: &RuleRef) {
        fn grant<T>(to: T, ports: &PortSet, rule: &RuleRef) -> Grant<T> {
            Grant { to, ports: ports.clone(), rule: rule.clone() }
        }
        let Some(peers) = peers else {
            self.everywhere.push(grant(None, ports, rule));
            return;
        };
        for peer in peers {
            match peer {
                Peer::Block(block) if block.cidr.prefix_len() == 0 && block.except.is_empty() => {
                    self.everywhere.push(grant(Some(family_of(&block.cidr)), ports, rule));
                }
                Peer::Block(block) => self.blocks.push(grant(block.clone(), ports, rule)),
                Peer::Names(patterns) => {
                    self.names.extend(patterns.iter().map(|pattern| grant(pattern.clone(), ports, rule)));
                }
                // What has a name outside is no pod.
                Peer::Pods { .. } => {}
            }
        }
    }

    /// The ports that are open to every address of these families, whatever names stand for.
    pub fn open(&self, families: impl IntoIterator<Item = Family>) -> PortSet {
        if self.isolated_by.is_empty() {
            return PortSet::all();
        }
        let of = |family| {
            let fits = self.everywhere.iter().filter(|grant| grant.to.is_none_or(|only| only == family));
            union(fits.map(|grant| &grant.ports))
        };
        let of_both = || union(self.everywhere.iter().filter(|grant| grant.to.is_none()).map(|grant| &grant.ports));
        families.into_iter().map(of).reduce(|a, b| a.intersection(&b)).unwrap_or_else(of_both)
    }

    /// The ports on which every name that a pattern means is allowed by name.
    pub fn by_pattern(&self, pattern: &NamePattern) -> PortSet {
        union(self.names.iter().filter(|grant| pattern.is_within(&grant.to)).map(|grant| &grant.ports))
    }

    /// The ports that are open to some addresses, or to those of one family.
    pub fn open_to_some(&self) -> PortSet {
        let blocks = self.blocks.iter().map(|grant| &grant.ports);
        union(blocks.chain(self.everywhere.iter().map(|grant| &grant.ports)))
    }

    /// The rules that allow some of these ports for names that a pattern means.
    pub fn rules(&self, pattern: &NamePattern, ports: &PortSet) -> Vec<RuleRef> {
        let fits =
            |grant: &&Grant<NamePattern>| pattern.is_within(&grant.to) && !grant.ports.intersection(ports).is_empty();
        let mut rules: Vec<RuleRef> = Vec::new();
        for grant in self.names.iter().filter(fits) {
            let same = |rule: &RuleRef| Arc::ptr_eq(&rule.policy, &grant.rule.policy) && rule.rule == grant.rule.rule;
            if !rules.iter().any(same) {
                rules.push(grant.rule.clone());
            }
        }
        rules
    }
}

fn union<'p>(sets: impl Iterator<Item = &'p PortSet>) -> PortSet {
    sets.flat_map(|set| set.ranges()).copied().collect()
}

/// Ports as a question asks for them: one, those of a protocol, or all.
pub fn wanted(protocol: Option<Protocol>, port: Option<u16>) -> PortSet {
    match (protocol, port) {
        (protocol, Some(port)) => PortRange::single(protocol.unwrap_or(Protocol::Tcp), port).into(),
        (Some(protocol), None) => PortRange::all_of(protocol).into(),
        (None, None) => PortSet::all(),
    }
}

/// What the pods of a cluster may reach by name.
#[derive(Debug, Clone, Default)]
pub struct Names {
    of_group: FxHashMap<GroupId, Outside>,
    patterns: BTreeSet<NamePattern>,
}

impl Names {
    /// Of all groups that have rules with names.
    pub fn of(compiled: &Compiled) -> Self {
        let groups: BTreeSet<GroupId> = compiled.entries().map(|(_, entry)| entry.egress).collect();
        let of_group: FxHashMap<GroupId, Outside> = groups
            .into_iter()
            .filter(|group| *group != NOT_ISOLATED)
            .map(|group| (group, Outside::of(compiled, group)))
            .filter(|(_, outside)| !outside.names.is_empty())
            .collect();
        let mut names = Names { of_group, patterns: BTreeSet::new() };
        // What is open anyway needs no line.
        for (id, entry) in compiled.entries() {
            let Some(outside) = names.of_group.get(&entry.egress) else { continue };
            let patterns: BTreeSet<&NamePattern> = outside.names.iter().map(|grant| &grant.to).collect();
            let new: Vec<NamePattern> = patterns
                .into_iter()
                .filter(|pattern| !names.patterns.contains(pattern))
                .filter(|pattern| !names.beyond_open(compiled, id, pattern).is_empty())
                .cloned()
                .collect();
            names.patterns.extend(new);
        }
        names
    }

    /// The patterns that allow some pod more than is open to every address.
    pub fn patterns(&self) -> impl Iterator<Item = &NamePattern> {
        self.patterns.iter()
    }

    /// The ports on which an endpoint reaches names by name, without those that are open to every address.
    pub fn beyond_open(&self, compiled: &Compiled, id: EndpointId, pattern: &NamePattern) -> PortSet {
        let Some(entry) = compiled.entry(id) else { return PortSet::EMPTY };
        let Some(outside) = self.of_group.get(&entry.egress) else { return PortSet::EMPTY };
        outside.by_pattern(pattern).difference(&outside.open(entry.endpoint.families()))
    }
}

/// The ports on which an endpoint surely reaches a name, in whatever way, and whether there may be more. Where its
/// addresses are known it is reached on a port when each of them is.
pub fn ports_to_name(compiled: &Compiled, id: EndpointId, name: &NamePattern) -> (PortSet, bool) {
    let Some(entry) = compiled.entry(id) else { return (PortSet::EMPTY, false) };
    let outside = Outside::of(compiled, entry.egress);
    let open = outside.open(entry.endpoint.families());
    let Some(addresses) = compiled.modes().names.of_pattern(name) else {
        let surely = open.union(&outside.by_pattern(name));
        let more = !outside.open_to_some().difference(&surely).is_empty();
        return (surely, more);
    };
    let families: Vec<Family> = entry.endpoint.families().collect();
    let of_each = addresses.into_iter().filter(|address| families.contains(&Family::of(*address))).map(|address| {
        let (from, to) = (Party::Endpoint(id), Party::Address(address));
        allowed_ports(compiled, from, to, Family::of(address), Addresses::Surely)
    });
    (of_each.reduce(|a, b| a.intersection(&b)).unwrap_or(open), false)
}

/// The names without a wildcard that policies have: those that can be asked for.
pub fn exact_names(index: &ClusterIndex) -> BTreeSet<DomainName> {
    let rules = index.policies().flat_map(|policy| policy.rules(Direction::Egress).unwrap_or_default());
    let peers = rules.flat_map(|rule| rule.peers.iter().flatten());
    let patterns = peers.flat_map(|peer| match peer {
        Peer::Names(patterns) => patterns.as_slice(),
        Peer::Block(_) | Peer::Pods { .. } => &[],
    });
    patterns.filter_map(NamePattern::exact).cloned().collect()
}

/// The addresses of a cluster, which no name may stand for (G5), and the private ranges that names may lead into.
pub fn refusals(index: &ClusterIndex, modes: &Modes, opted_in: Vec<IpNet>) -> Refusals {
    let mut ranges = PerFamily::<Vec<IpNet>>::default();
    for net in pod_cidrs(index, modes) {
        ranges.get_mut(family_of(net)).push(*net);
    }
    let mut pods: Vec<IpNet> = Family::ALL.into_iter().flat_map(|family| ranges.get(family).clone()).collect();
    for pod in index.pods().filter(|pod| !pod.spec.host_network) {
        let alone = pod.addresses.iter().filter(|a| !ranges.get(Family::of(**a)).iter().any(|net| net.contains(*a)));
        pods.extend(alone.copied().map(IpNet::from));
    }
    let hosts = index.pods().flat_map(|pod| &pod.host_addresses);
    let nodes = index.nodes().flat_map(|node| &node.addresses).chain(hosts).copied().map(IpNet::from).collect();
    let services = index.services().flat_map(|s| &s.cluster_addresses).copied().map(IpNet::from).collect();
    Refusals {
        pods: IpNet::aggregate(&pods),
        services: IpNet::aggregate(&services),
        nodes: IpNet::aggregate(&nodes),
        opted_in,
    }
}
