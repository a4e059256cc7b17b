//! Hands flows to all who want them.

use super::Flow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// How many of the last flows are kept for those who come later.
const RECENT: usize = 1000;
/// How far a subscriber may be behind before it misses some.
const BEHIND: usize = 1024;

/// Where flows are published. A handle: clones share it.
#[derive(Debug, Clone)]
pub struct Feed {
    recent: Arc<Mutex<VecDeque<Arc<Flow>>>>,
    sender: broadcast::Sender<Arc<Flow>>,
}

/// What a subscriber gets.
#[derive(Debug)]
pub struct Subscription {
    /// The flows of before, the oldest first.
    pub recent: Vec<Arc<Flow>>,
    /// Those that come. `Lagged` tells how many were missed.
    pub coming: broadcast::Receiver<Arc<Flow>>,
}

impl Default for Feed {
    fn default() -> Self {
        Feed { recent: Arc::default(), sender: broadcast::Sender::new(BEHIND) }
    }
}

impl Feed {
    /// Hands a flow to all subscribers. Waits for none of them.
    pub fn publish(&self, flow: Flow) {
        let flow = Arc::new(flow);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(flow.clone());
        // Under the lock, so that nobody who subscribes meanwhile gets it twice, or not at all. That
        // nobody listens is no failure.
        _ = self.sender.send(flow);
    }

    /// The last flows, and those that come, each once.
    pub fn subscribe(&self) -> Subscription {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Subscription { recent: recent.iter().cloned().collect(), coming: self.sender.subscribe() }
    }
}
