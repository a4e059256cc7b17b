//! Which text of each policy was taken in, and which one the kernel holds.
//!
//! A policy that cannot be read counts with the generation of that text: what the kernel holds of it is the stand-in,
//! which was made from this very text, and `unreadable_objects` tells of it.

use crate::observe::policies::{OfPolicy, PolicyMetrics};
use crate::watch::{Update, Watched};
use netsim_shared::cluster::Key;
use netsim_shared::compile::Compiled;
use netsim_shared::compile::side::GroupId;
use netsim_shared::object::Object;
use netsim_shared::policy::{Direction, NetworkPolicy, PolicyKind};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// A policy: its kind, and what the index calls it.
type Which = (PolicyKind, Key);

/// `metadata.generation` of policies.
#[derive(Debug, Default)]
pub struct Generations {
    /// What was told of the next policy of each kind.
    told: FxHashMap<PolicyKind, (Key, i64)>,
    /// The text that was taken in last.
    taken: FxHashMap<Key, i64>,
    /// The policies whose text the kernel holds.
    held: BTreeSet<Which>,
    /// Which making of the ruleset these are of.
    making: u64,
    /// Something was taken in that `held` may have other numbers for.
    changed: bool,
}

impl Generations {
    /// Takes in what an update says about them.
    pub fn take(&mut self, update: &Update) {
        match update {
            Update::Identified { kind, key, generation, .. } => {
                let key = (key.0.clone(), kind.name_of(&key.1));
                self.told.insert(*kind, (key, *generation));
            }
            // Not before: between the two a commit may come.
            Update::Apply(Object::NetworkPolicy(policy)) => self.applied(policy),
            Update::Delete(Watched::Policies | Watched::DomainPolicies, key) => _ = self.taken.remove(key),
            Update::Listed(Watched::Policies, keys) => self.retain(PolicyKind::NetworkPolicy, |key| keys.contains(key)),
            Update::Listed(Watched::DomainPolicies, keys) => {
                self.retain(PolicyKind::EgressDomainPolicy, |key| keys.contains(key));
            }
            _ => {}
        }
    }

    fn applied(&mut self, policy: &NetworkPolicy) {
        let Some((key, generation)) = self.told.remove(&policy.kind) else { return };
        if (&key.0, &key.1) == (&policy.namespace, &policy.name) {
            self.changed |= self.taken.insert(key, generation) != Some(generation);
        }
    }

    fn retain(&mut self, kind: PolicyKind, is_there: impl Fn(&Key) -> bool) {
        let front = PolicyKind::EgressDomainPolicy.name_of("");
        let is_of_kind = |key: &Key| key.1.starts_with(&*front) == (kind == PolicyKind::EgressDomainPolicy);
        self.taken.retain(|key, _| !is_of_kind(key) || is_there(key));
    }

    /// The kernel holds what was taken in. `groups` are those of the pods of this node, with a number that is another
    /// one when they may be others than at the last call: changes of other pods cost nothing here.
    pub fn programmed(
        &mut self,
        compiled: &Compiled,
        (making, groups): (u64, impl IntoIterator<Item = (Direction, GroupId)>),
        metrics: &PolicyMetrics,
    ) {
        if std::mem::replace(&mut self.making, making) == making {
            return self.unchanged(metrics);
        }
        let mut held = BTreeSet::new();
        for (direction, group) in groups {
            for slot in compiled.side(direction).policies_of(group) {
                let policy = &slot.policy;
                held.insert((policy.kind, (policy.namespace.clone(), policy.name.clone())));
            }
        }
        for gone in self.held.difference(&held) {
            metrics.programmed_generation.remove(&label(gone));
        }
        self.held = held;
        self.changed = false;
        self.show(metrics);
    }

    /// The kernel holds what was taken in, and nothing changed but numbers: a policy was written anew and says the same.
    pub fn unchanged(&mut self, metrics: &PolicyMetrics) {
        if std::mem::take(&mut self.changed) {
            self.show(metrics);
        }
    }

    fn show(&self, metrics: &PolicyMetrics) {
        for which in &self.held {
            // A server that counts no generations gives no number to show.
            if let Some(generation) = self.taken.get(&which.1) {
                metrics.programmed_generation.get_or_create(&label(which)).set(*generation);
            }
        }
    }
}

fn label((kind, (namespace, name)): &Which) -> OfPolicy {
    let front = kind.name_of("");
    let (watched, policy) = match kind {
        PolicyKind::NetworkPolicy => (Watched::Policies, &**name),
        PolicyKind::EgressDomainPolicy => (Watched::DomainPolicies, name.strip_prefix(&*front).unwrap_or(name)),
    };
    OfPolicy { kind: watched.plural(), namespace: namespace.to_string(), policy: policy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::cluster::ClusterIndex;
    use netsim_shared::compile::Modes;
    use netsim_shared::ingest::ingest_json;
    use serde_json::{Value, json};
    use std::collections::HashSet;

    fn object(api_version: &str, kind: &str, value: &Value) -> Object {
        ingest_json(&"test".into(), &value.to_string(), api_version, kind).objects.pop().unwrap()
    }

    fn policy(kind: PolicyKind, name: &str, app: &str) -> Object {
        let version = match kind {
            PolicyKind::NetworkPolicy => "networking.k8s.io/v1",
            PolicyKind::EgressDomainPolicy => "netsim.dev/v1alpha1",
        };
        let spec = json!({"podSelector": {"matchLabels": {"app": app}}, "egress": []});
        object(version, kind.kind(), &json!({"metadata": {"name": name, "namespace": "a"}, "spec": spec}))
    }

    fn told(kind: PolicyKind, name: &str, generation: i64) -> Update {
        Update::Identified { kind, key: ("a".into(), name.into()), uid: "u".into(), generation }
    }

    fn pod(app: &str) -> Object {
        let value = json!({
            "metadata": {"name": app, "namespace": "a", "labels": {"app": app}},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        });
        object("v1", "Pod", &value)
    }

    /// The groups of all pods.
    fn groups(compiled: &Compiled) -> Vec<(Direction, GroupId)> {
        let of = |d: Direction| compiled.entries().map(move |(_, entry)| (d, entry.group(d))).collect::<Vec<_>>();
        Direction::ALL.into_iter().flat_map(of).collect()
    }

    fn shown(metrics: &PolicyMetrics, name: &str) -> Option<i64> {
        metrics.generation_of("networkpolicies", "a", name).or(metrics.generation_of("egressdomainpolicies", "a", name))
    }

    #[test]
    fn only_what_is_in_the_kernel_and_binds_a_pod_of_the_node_counts() {
        use PolicyKind::{EgressDomainPolicy as Names, NetworkPolicy as Net};
        let (mut generations, metrics) = (Generations::default(), PolicyMetrics::default());
        let mut index = ClusterIndex::new([pod("web")]);
        for (kind, name, app, generation) in [(Net, "p", "web", 3), (Names, "q", "web", 5), (Net, "other", "db", 9)] {
            generations.take(&told(kind, name, generation));
            let applied = policy(kind, name, app);
            generations.take(&Update::Apply(applied.clone()));
            index.apply(applied);
        }
        let compiled = Compiled::new(&index, &Modes::default());
        assert_eq!(shown(&metrics, "p"), None, "not in the kernel yet");
        generations.programmed(&compiled, (1, groups(&compiled)), &metrics);
        let all = |metrics: &PolicyMetrics| ["p", "q", "other"].map(|name| shown(metrics, name));
        assert_eq!(all(&metrics), [Some(3), Some(5), None]);

        // A number that is told counts with its text, and when the kernel holds that.
        generations.take(&told(Net, "p", 4));
        generations.unchanged(&metrics);
        assert_eq!(shown(&metrics, "p"), Some(3));
        generations.take(&Update::Apply(policy(Names, "q", "web")));
        generations.unchanged(&metrics);
        assert_eq!(all(&metrics), [Some(3), Some(5), None]);
        generations.take(&Update::Apply(policy(Net, "p", "web")));
        generations.unchanged(&metrics);
        assert_eq!(all(&metrics), [Some(4), Some(5), None]);

        // Policies go, alone and by lists of their own kind, and with the pods that they bind.
        index.delete_policy("a", "p");
        generations.take(&Update::Delete(Watched::Policies, ("a".into(), "p".into())));
        generations.take(&Update::Listed(Watched::Policies, HashSet::new()));
        let compiled = Compiled::new(&index, &Modes::default());
        generations.programmed(&compiled, (1, groups(&compiled)), &metrics);
        assert_eq!(all(&metrics), [Some(4), Some(5), None], "nothing was made anew");
        generations.programmed(&compiled, (2, groups(&compiled)), &metrics);
        assert_eq!(all(&metrics), [None, Some(5), None]);
        generations.programmed(&compiled, (3, []), &metrics);
        assert_eq!(all(&metrics), [None; 3]);
        generations.take(&Update::Listed(Watched::DomainPolicies, HashSet::new()));
        assert!(generations.taken.is_empty());
    }
}
