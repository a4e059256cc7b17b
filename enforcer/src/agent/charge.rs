//! Which agent of a node does what only one can do. The table belongs to one process; the log group, the queue of
//! answers and the socket are for that one, too, whoever came first.

use std::sync::Arc;
use tokio::sync::watch::{Receiver, Sender, channel};

/// Whether this agent is the node's, as far as it knows: it is until the kernel says that the table is another's.
#[derive(Debug, Clone)]
pub struct Charge(Arc<Sender<bool>>);

impl Default for Charge {
    fn default() -> Self {
        Charge(Arc::new(channel(true).0))
    }
}

impl Charge {
    /// The table is ours, or another's.
    pub(super) fn set(&self, ours: bool) {
        self.0.send_if_modified(|before| std::mem::replace(before, ours) != ours);
    }

    /// To be followed.
    pub fn follow(&self) -> Following {
        Following(self.0.subscribe())
    }
}

/// What follows a [`Charge`].
#[derive(Debug, Clone)]
pub struct Following(Receiver<bool>);

impl Following {
    /// Whether the table is another's.
    pub fn is_lost(&self) -> bool {
        !*self.0.borrow()
    }

    /// Waits until the table is not another's; `false` when the agent is gone.
    pub async fn held(&mut self) -> bool {
        self.0.wait_for(|ours| *ours).await.is_ok()
    }

    /// Waits until the table is another's.
    pub async fn lost(&mut self) {
        if self.0.wait_for(|ours| !*ours).await.is_err() {
            // The agent is gone, and with it whoever waits.
            std::future::pending::<()>().await;
        }
    }
}
