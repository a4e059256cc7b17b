//! Whether a namespace denies by default, judged by what becomes of a pod that is new in it (A1, A3).
//!
//! A policy named default-deny proves nothing: another one beside it that allows everything undoes
//! it, and policies for single pods say nothing of the next one.

use crate::cluster::ClusterIndex;
use crate::policy::{Direction, NetworkPolicy, Rule};
use crate::selector::Labels;
use std::sync::Arc;

/// What binds a new pod of a namespace in one direction.
#[derive(Debug, Clone, Default)]
pub struct DefaultDeny {
    /// The policies that isolate a pod without any label, by name.
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// The first of them that allows every peer on every port, and the number of that rule: with it
    /// nothing is denied.
    pub undone_by: Option<(Arc<NetworkPolicy>, usize)>,
}

impl DefaultDeny {
    /// What binds a new pod.
    pub fn of(index: &ClusterIndex, namespace: &str, direction: Direction) -> Self {
        // A pod without labels is what only policies for all pods select.
        let newcomer = Labels::default();
        let binds = |p: &&Arc<NetworkPolicy>| p.rules(direction).is_some() && p.pod_selector.matches(&newcomer);
        let policies: Vec<_> = index.policies_of(namespace).filter(binds).cloned().collect();
        let undone_by = policies.iter().find_map(|p| Some((p.clone(), allow_all(p, direction)?)));
        DefaultDeny { policies, undone_by }
    }

    /// Whether a new pod is denied what no rule allows.
    pub fn is_in_force(&self) -> bool {
        !self.policies.is_empty() && self.undone_by.is_none()
    }
}

/// The first rule that allows every peer on every port.
fn allow_all(policy: &NetworkPolicy, direction: Direction) -> Option<usize> {
    let open = |rule: &Rule| rule.peers.is_none() && rule.ports.is_none();
    policy.rules(direction)?.iter().position(open)
}
