//! What names stand for, as a simulation is told (G6): nothing, some of it, or everything.

use super::refuse::{Refusals, Refused};
use super::{DomainName, NamePattern};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Names and their addresses. Addresses that are refused (G5) never get in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameMap {
    addresses: BTreeMap<DomainName, BTreeSet<IpAddr>>,
    refusals: Refusals,
    complete: bool,
}

impl NameMap {
    /// A map without names. `complete`: names that it does not get have no address; otherwise what they
    /// stand for is not known.
    pub fn new(refusals: Refusals, complete: bool) -> Self {
        NameMap { addresses: BTreeMap::new(), refusals, complete }
    }

    /// Says what a name stands for: with none of `addresses` for nothing. Gives those that are refused.
    pub fn insert(&mut self, name: DomainName, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Refused> {
        let known = self.addresses.entry(name).or_default();
        let mut refused = Vec::new();
        for address in addresses {
            match self.refusals.reason(address) {
                Some(reason) => refused.push(Refused { address, reason }),
                None => _ = known.insert(address),
            }
        }
        refused
    }

    /// The addresses of a name; `None` where they are not known.
    pub fn of(&self, name: &DomainName) -> Option<Vec<IpAddr>> {
        match self.addresses.get(name) {
            Some(addresses) => Some(addresses.iter().copied().collect()),
            None => self.complete.then(Vec::new),
        }
    }

    /// The addresses of all that a pattern means; `None` where they are not known.
    pub fn of_pattern(&self, pattern: &NamePattern) -> Option<Vec<IpAddr>> {
        self.knows(pattern).then(|| self.matching(pattern).into_iter().collect())
    }

    /// Whether all that a pattern stands for is known.
    pub fn knows(&self, pattern: &NamePattern) -> bool {
        self.complete || pattern.exact().is_some_and(|name| self.addresses.contains_key(name))
    }

    /// The addresses that are known of what a pattern stands for, sorted.
    pub fn matching(&self, pattern: &NamePattern) -> BTreeSet<IpAddr> {
        match pattern.exact() {
            Some(name) => self.addresses.get(name).cloned().unwrap_or_default(),
            None => {
                let matched = self.addresses.iter().filter(|(name, _)| pattern.matches(name));
                matched.flat_map(|(_, addresses)| addresses).copied().collect()
            }
        }
    }

    /// Whether a name may stand for an address: it is not refused (G5).
    pub fn may_be_named(&self, address: IpAddr) -> bool {
        self.refusals.reason(address).is_none()
    }

    /// The names that it has, and their addresses.
    pub fn names(&self) -> impl Iterator<Item = (&DomainName, &BTreeSet<IpAddr>)> {
        self.addresses.iter()
    }
}
