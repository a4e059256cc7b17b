//! What the counters of the table say about directions and policies. Pure: what they are is handed in.

use crate::kernel::Count;
use crate::render::{frame, group_of_chain};
use crate::ruleset::{Chain, Name, Ruleset};
use netsim_shared::cluster::Key;
use netsim_shared::compile::Compiled;
use netsim_shared::policy::Direction;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A chain with a counter.
#[derive(Debug)]
struct Counted {
    chain: Arc<Chain>,
    direction: Direction,
    /// What it said last; 0 from when its rules were written anew.
    last: u64,
    /// For a chain of a group: the policies that isolate it.
    policies: Option<Arc<[Key]>>,
}

/// Follows the counters. Totals are of all tables since the start.
#[derive(Debug, Default)]
pub struct Denials {
    chains: BTreeMap<Name, Counted>,
    totals: BTreeMap<Direction, u64>,
    /// Packets by policy that were not told yet; `Some(0)` for a policy that itself was not.
    by_policy: BTreeMap<(Direction, Key), Option<u64>>,
}

impl Denials {
    /// The kernel holds this ruleset from now on. Has to be told of each: rules that are written anew
    /// count from nothing.
    pub fn follow(&mut self, ruleset: &Ruleset, compiled: &Compiled) {
        let mut before = std::mem::take(&mut self.chains);
        for (name, chain) in &ruleset.chains {
            let known = before.remove(name);
            let group = group_of_chain(name);
            let end = || {
                Direction::ALL.into_iter().find(|d| [frame::deny_chain(*d), frame::unknown_chain(*d)].contains(name))
            };
            let Some(direction) = group.map(|(direction, _)| direction).or_else(end) else { continue };
            let policies = group.map(|(direction, group)| {
                let side = compiled.side(direction);
                let isolate = || side.policies_of(group).map(|slot| (&slot.policy.namespace, &slot.policy.name));
                let same = |known: &&Arc<[Key]>| {
                    let mut pairs = known.iter().zip(isolate());
                    known.len() == isolate().count() && pairs.all(|((a, b), (ns, name))| (a, b) == (ns, name))
                };
                let before = known.as_ref().and_then(|known| known.policies.as_ref()).filter(same);
                before.cloned().unwrap_or_else(|| isolate().map(|(ns, name)| (ns.clone(), name.clone())).collect())
            });
            let last = known.filter(|known| known.chain == *chain).map_or(0, |known| known.last);
            for policy in policies.iter().flat_map(|policies| policies.iter()) {
                self.by_policy.entry((direction, policy.clone())).or_insert(Some(0));
            }
            self.chains.insert(name.clone(), Counted { chain: chain.clone(), direction, last, policies });
        }
    }

    /// The whole table was put in place anew, and counts from nothing.
    pub fn restart(&mut self) {
        self.chains.values_mut().for_each(|counted| counted.last = 0);
    }

    /// Takes in what the counters say; gives how many packets more each direction has denied.
    pub fn take(&mut self, counters: &BTreeMap<Name, Count>) -> Vec<(Direction, u64)> {
        let mut news = BTreeMap::from(Direction::ALL.map(|direction| (direction, 0)));
        for (name, counted) in &mut self.chains {
            let now = counters.get(name).map_or(0, |count| count.packets);
            // Less than before: somebody else wrote it anew.
            let more = now.checked_sub(counted.last).unwrap_or(now);
            counted.last = now;
            match &counted.policies {
                None => *news.entry(counted.direction).or_default() += more,
                Some(policies) if more > 0 => {
                    for policy in policies.iter() {
                        let sum = self.by_policy.entry((counted.direction, policy.clone())).or_default();
                        *sum = Some(sum.unwrap_or(0) + more);
                    }
                }
                Some(_) => {}
            }
        }
        for (direction, more) in &news {
            *self.totals.entry(*direction).or_default() += more;
        }
        news.into_iter().collect()
    }

    /// How many packets each direction has denied since the start.
    pub fn totals(&self) -> impl Iterator<Item = (Direction, u64)> + '_ {
        Direction::ALL.into_iter().map(|direction| (direction, self.totals.get(&direction).copied().unwrap_or(0)))
    }

    /// How many packets more were denied to pods that a policy isolates; 0 for one that is new.
    pub fn by_policy(&mut self) -> Vec<(Direction, Key, u64)> {
        let news = self.by_policy.iter_mut().filter_map(|((direction, policy), more)| {
            let more = more.take()?;
            Some((*direction, policy.clone(), more))
        });
        news.collect()
    }

    /// Forgets policies that are gone, and says which.
    pub fn forget(&mut self, exists: impl Fn(&Key) -> bool) -> Vec<(Direction, Key)> {
        let in_use: BTreeSet<&Key> =
            self.chains.values().flat_map(|c| c.policies.iter().flat_map(|p| p.iter())).collect();
        let gone = |(_, policy): &&(Direction, Key)| !exists(policy) && !in_use.contains(policy);
        let gone: Vec<(Direction, Key)> = self.by_policy.keys().filter(gone).cloned().collect();
        gone.iter().for_each(|key| _ = self.by_policy.remove(key));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Options, render};
    use netsim_shared::cluster::ClusterIndex;
    use netsim_shared::compile::Modes;

    const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: a}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.1.2, podIPs: [{ip: 10.0.1.2}]}
";

    fn policy(name: &str, ports: &str) -> String {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: x}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: [{{ports: [{ports}]}}]}}\n"
        )
    }

    fn compiled(policies: &[String]) -> Compiled {
        let text = format!("{PODS}{}", policies.concat());
        let ingested = netsim_shared::ingest::ingest("test", text.as_bytes(), "default");
        assert!(!ingested.has_errors(), "{:?}", ingested.diagnostics);
        Compiled::new(&ClusterIndex::new(ingested.objects), &Modes::default())
    }

    fn ruleset(compiled: &Compiled) -> Ruleset {
        render(compiled, &Options { node: "n1".into(), ..Options::default() }, &[], 1)
    }

    fn group(ruleset: &Ruleset) -> Name {
        let mut chains = ruleset.chains.keys().filter(|name| name.starts_with("ingress4_group"));
        chains.next().expect("a group").clone()
    }

    fn counters(of: &[(&Name, u64)]) -> BTreeMap<Name, Count> {
        of.iter().map(|(name, packets)| ((*name).clone(), Count { packets: *packets, ..Count::default() })).collect()
    }

    fn told(denials: &mut Denials) -> String {
        let each = denials.by_policy().into_iter().map(|(d, (_, name), more)| format!("{d} {name} {more}"));
        each.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_group_counts_for_each_policy_that_isolates_it() {
        let compiled = compiled(&[policy("p", "{port: 1}"), policy("q", "{port: 2}")]);
        let ruleset = ruleset(&compiled);
        let (group, mut denials) = (group(&ruleset), Denials::default());
        denials.follow(&ruleset, &compiled);
        assert_eq!(told(&mut denials), "ingress p 0, ingress q 0");
        let unknown = frame::unknown_chain(Direction::Ingress);
        let deny = frame::deny_chain(Direction::Ingress);
        let news = denials.take(&counters(&[(&group, 3), (&deny, 4), (&unknown, 5)]));
        assert_eq!(news, [(Direction::Ingress, 9), (Direction::Egress, 0)]);
        assert_eq!(told(&mut denials), "ingress p 3, ingress q 3");
        _ = denials.take(&counters(&[(&group, 5), (&deny, 6), (&unknown, 5)]));
        assert_eq!(told(&mut denials), "ingress p 2, ingress q 2");
        assert_eq!(denials.totals().collect::<Vec<_>>(), [(Direction::Ingress, 11), (Direction::Egress, 0)]);
    }

    #[test]
    fn what_is_written_anew_counts_from_nothing() {
        let first = compiled(&[policy("p", "{port: 1}")]);
        let (before, mut denials) = (ruleset(&first), Denials::default());
        let group = group(&before);
        denials.follow(&before, &first);
        _ = denials.take(&counters(&[(&group, 10)]));
        assert_eq!(told(&mut denials), "ingress p 10");
        // The same number, other rules, and by now more packets than before.
        let second = compiled(&[policy("p", "{port: 1}"), policy("q", "")]);
        let mut after = ruleset(&second);
        if let Some(chain) = after.chains.remove(&self::group(&after)) {
            after.chains.insert(group.clone(), chain);
        }
        denials.follow(&after, &second);
        _ = denials.take(&counters(&[(&group, 12)]));
        assert_eq!(told(&mut denials), "ingress p 12, ingress q 12");
        // The same table again after a flush.
        denials.restart();
        denials.follow(&after, &second);
        _ = denials.take(&counters(&[(&group, 13)]));
        assert_eq!(told(&mut denials), "ingress p 13, ingress q 13");
    }

    #[test]
    fn policies_that_go_are_forgotten_once_nothing_counts_for_them() {
        let (both, one) =
            (compiled(&[policy("p", "{port: 1}"), policy("q", "{port: 2}")]), compiled(&[policy("p", "{port: 1}")]));
        let mut denials = Denials::default();
        denials.follow(&ruleset(&both), &both);
        let exists = |(_, name): &Key| &**name == "p";
        assert_eq!(denials.forget(exists), []);
        denials.follow(&ruleset(&one), &one);
        assert_eq!(denials.forget(exists), [(Direction::Ingress, ("x".into(), "q".into()))]);
        assert_eq!(told(&mut denials), "ingress p 0");
        assert_eq!(told(&mut denials), "");
    }
}
