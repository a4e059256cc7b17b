//! Whether what the kernel holds is what was compiled, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who has not been heard of yet.
const AGENT: &str = "agent";

/// The reasons why the agent is not ready, by who has them. A handle: clones share the reasons.
#[derive(Debug, Clone)]
pub struct Readiness {
    reasons: Arc<Mutex<BTreeMap<&'static str, Vec<String>>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Not ready: the agent is starting, until somebody calls [`Readiness::started`].
    pub fn new() -> Self {
        let reasons = BTreeMap::from([(AGENT, vec!["is starting".to_owned()])]);
        Self { reasons: Arc::new(Mutex::new(reasons)) }
    }

    /// Every component has said what it had to: from now on nothing but their reasons count.
    pub fn started(&self) -> bool {
        self.clear(AGENT)
    }

    /// Replaces the reasons of a component; without any it is ready. Gives whether that is a change.
    pub fn set<R: Into<String>>(&self, component: &'static str, reasons: impl IntoIterator<Item = R>) -> bool {
        let reasons: Vec<String> = reasons.into_iter().map(Into::into).collect();
        let mut all = self.lock();
        if all.get(component).map_or(&[][..], Vec::as_slice) == reasons {
            return false;
        }
        if reasons.is_empty() {
            all.remove(component);
        } else {
            all.insert(component, reasons);
        }
        true
    }

    /// A component is ready. Gives whether that is a change.
    pub fn clear(&self, component: &'static str) -> bool {
        self.set::<String>(component, [])
    }

    /// Whether nobody has a reason against it.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// All reasons, each with who has it: `node: br_netfilter is not loaded`.
    pub fn reasons(&self) -> Vec<String> {
        let all = self.lock();
        let lines = all.iter().flat_map(|(who, reasons)| reasons.iter().map(move |reason| format!("{who}: {reason}")));
        lines.collect()
    }

    /// Every change leaves the map whole, so one that panicked in between has harmed nothing.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<String>>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_nobody_has_a_reason_left() {
        let readiness = Readiness::new();
        let handle = readiness.clone();
        assert_eq!(readiness.reasons(), ["agent: is starting"]);
        assert!(handle.set("pods", ["first list not complete"]));
        assert!(handle.set("node", ["a", "b"]));
        assert!(readiness.started());
        assert_eq!(readiness.reasons(), ["node: a", "node: b", "pods: first list not complete"]);
        assert!(!handle.set("node", ["a", "b"]));
        assert!(handle.set("node", ["b"]));
        assert!(handle.clear("node"));
        assert!(!handle.clear("node"));
        assert!(!readiness.is_ready());
        assert!(handle.clear("pods"));
        assert!(readiness.is_ready());
        assert_eq!(readiness.reasons(), Vec::<String>::new());
    }
}
