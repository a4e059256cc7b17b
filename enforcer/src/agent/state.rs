//! The cluster as the agent knows it. Pure: updates go in, what they changed comes out.

use crate::render::{Changed, address_of};
use crate::watch::{Update, Watched};
use ipnet::IpNet;
use netsim_shared::cluster::{Change, ClusterIndex, Key};
use netsim_shared::compile::{Compiled, EndpointKey, Modes};
use netsim_shared::net::Family;
use netsim_shared::object::Object;
use netsim_shared::policy::PolicyKind;
use std::collections::HashSet;
use std::net::IpAddr;

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is different from before.
    Unchanged,
    /// Something is, or may be.
    Changed,
}

/// The objects of the cluster and what was compiled from them.
#[derive(Debug)]
pub struct State {
    modes: Modes,
    index: ClusterIndex,
    listed: HashSet<Watched>,
    /// Once everything was listed.
    compiled: Option<Compiled>,
    /// What changed since it was last taken.
    changed: Option<Changed>,
}

impl State {
    /// Nothing is known yet.
    pub fn new(modes: Modes) -> Self {
        State { modes, index: ClusterIndex::default(), listed: HashSet::new(), compiled: None, changed: None }
    }

    /// What is not listed yet. As long as there is anything, nothing is compiled: a cluster half
    /// known would be enforced wrongly.
    pub fn missing(&self) -> impl Iterator<Item = Watched> + '_ {
        Watched::ALL.into_iter().filter(|kind| !self.listed.contains(kind))
    }

    /// What was compiled, once everything was listed.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.compiled.as_ref()
    }

    /// The objects.
    pub fn index(&self) -> &ClusterIndex {
        &self.index
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> Option<Changed> {
        self.changed.take()
    }

    /// The ranges of a node's pods, as the node says.
    pub fn pod_cidrs(&self, node: &str) -> Vec<IpNet> {
        self.index.node(node).map(|node| node.pod_cidrs.clone()).unwrap_or_default()
    }

    /// Takes an update in.
    pub fn take(&mut self, update: Update) -> Effect {
        match update {
            Update::Apply(object) => {
                // Only what of it changes anything gets further.
                let before = self.addresses_in(&object);
                match self.index.apply(object) {
                    Some(change) => self.changed(&change, before),
                    None => Effect::Unchanged,
                }
            }
            Update::Delete(kind, key) => self.delete(kind, &key),
            Update::Listed(kind, keys) => self.listed(kind, &keys),
            Update::Identified { .. }
            | Update::Warned { .. }
            | Update::Unreadable { .. }
            | Update::Failing { .. }
            | Update::Recovered { .. } => Effect::Unchanged,
        }
    }

    fn listed(&mut self, kind: Watched, keys: &HashSet<Key>) -> Effect {
        let unlisted = |key: &Key| !keys.contains(key);
        let cluster_wide = |name: &str| -> Key { (Box::default(), name.into()) };
        let gone: Vec<Key> = match kind {
            Watched::Pods => self.index.pods().map(|pod| (pod.namespace.clone(), pod.name.clone())).collect(),
            // They share the index, and a list speaks for its own kind only.
            Watched::Policies => self.policies(PolicyKind::NetworkPolicy),
            Watched::DomainPolicies => self.policies(PolicyKind::EgressDomainPolicy),
            Watched::Namespaces => self.index.namespaces().map(|ns| cluster_wide(&ns.name)).collect(),
            Watched::Node => self.index.nodes().map(|node| cluster_wide(&node.name)).collect(),
        };
        let mut effect = Effect::Unchanged;
        for key in gone.iter().filter(|key| unlisted(key)) {
            if self.delete(kind, key) == Effect::Changed {
                effect = Effect::Changed;
            }
        }
        self.listed.insert(kind);
        if self.compiled.is_none() && self.missing().next().is_none() {
            self.compiled = Some(Compiled::new(&self.index, &self.modes));
            self.changed = Some(Changed::Anything);
            effect = Effect::Changed;
        }
        effect
    }

    fn policies(&self, kind: PolicyKind) -> Vec<Key> {
        let of_kind = self.index.policies().filter(|policy| policy.kind == kind);
        of_kind.map(|policy| (policy.namespace.clone(), policy.name.clone())).collect()
    }

    fn delete(&mut self, kind: Watched, key: &Key) -> Effect {
        let before = if kind == Watched::Pods { self.addresses_of(key) } else { Vec::new() };
        let change = match kind {
            Watched::Pods => self.index.delete_pod(&key.0, &key.1),
            Watched::Policies | Watched::DomainPolicies => self.index.delete_policy(&key.0, &key.1),
            Watched::Namespaces => self.index.delete_namespace(&key.1),
            Watched::Node => self.index.delete_node(&key.1),
        };
        change.map_or(Effect::Unchanged, |change| self.changed(&change, before))
    }

    fn changed(&mut self, change: &Change, addresses_before: Vec<IpAddr>) -> Effect {
        let Some(compiled) = &mut self.compiled else { return Effect::Changed };
        compiled.update(&self.index, change);
        let Change::Pod(key) = change else {
            self.changed = Some(Changed::Anything);
            return Effect::Changed;
        };
        let mut touched = addresses_before;
        touched.extend(self.addresses_of(key));
        if touched.is_empty() {
            // A pod without addresses before and after: nobody can tell.
            return Effect::Unchanged;
        }
        match &mut self.changed {
            Some(Changed::Anything) => {}
            Some(Changed::PodsAt(addresses)) => addresses.extend(touched),
            None => self.changed = Some(Changed::PodsAt(touched)),
        }
        Effect::Changed
    }

    fn addresses_in(&self, object: &Object) -> Vec<IpAddr> {
        match object {
            Object::Pod(pod) => self.addresses_of(&(pod.namespace.clone(), pod.name.clone())),
            _ => Vec::new(),
        }
    }

    fn addresses_of(&self, key: &Key) -> Vec<IpAddr> {
        let Some(compiled) = &self.compiled else { return Vec::new() };
        let entry = compiled.find(&EndpointKey::pod(key)).and_then(|id| compiled.entry(id));
        let addresses = |entry| Family::ALL.into_iter().filter_map(move |family| address_of(entry, family));
        entry.into_iter().flat_map(addresses).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::ingest::ingest_json;
    use serde_json::json;

    fn policy(api_version: &str, kind: &str) -> Update {
        let text = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"podSelector": {}, "egress": []}});
        let mut ingested = ingest_json(&"test".into(), &text.to_string(), api_version, kind);
        Update::Apply(ingested.objects.pop().unwrap())
    }

    fn names(state: &State) -> Vec<&str> {
        state.index().policies().map(|policy| &*policy.name).collect()
    }

    #[test]
    fn a_list_speaks_for_the_policies_of_its_own_kind() {
        let mut state = State::new(Modes::default());
        state.take(policy("networking.k8s.io/v1", "NetworkPolicy"));
        state.take(policy("netsim.dev/v1alpha1", "EgressDomainPolicy"));
        let both = ["egressdomainpolicy/p", "p"];
        assert_eq!(names(&state), both);
        let listed = |kind, name: &str| Update::Listed(kind, HashSet::from([("a".into(), name.into())]));
        assert_eq!(state.take(listed(Watched::Policies, "p")), Effect::Unchanged);
        assert_eq!(state.take(listed(Watched::DomainPolicies, "egressdomainpolicy/p")), Effect::Unchanged);
        assert_eq!(names(&state), both);
        assert_eq!(state.take(Update::Listed(Watched::DomainPolicies, HashSet::new())), Effect::Changed);
        assert_eq!(names(&state), ["p"]);
        state.take(policy("netsim.dev/v1alpha1", "EgressDomainPolicy"));
        assert_eq!(state.take(Update::Listed(Watched::Policies, HashSet::new())), Effect::Changed);
        assert_eq!(names(&state), ["egressdomainpolicy/p"]);
        let gone = Update::Delete(Watched::DomainPolicies, ("a".into(), "egressdomainpolicy/p".into()));
        assert_eq!(state.take(gone), Effect::Changed);
        assert_eq!(names(&state), [""; 0]);
    }
}
