//! Looks at the node again and again, on a thread of its own: a look can wait for the lock of
//! legacy iptables, and nothing that is to be enforced waits for a look.

use crate::kernel::{Error, enter};
use crate::node::{Checked, Depth, Node, Options};
use ipnet::IpNet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the node is looked at: what lets packets pass the rules by.
const INTERVAL: Duration = Duration::from_secs(5);
/// Every so many looks are thorough.
const FULL_EVERY: u32 = 12;

/// What a look found, or why there was none.
pub type Look = Result<Checked, Error>;

/// The thread that looks; it ends when this is dropped.
pub struct Lookout {
    blocks: SyncSender<Vec<IpNet>>,
    looks: mpsc::UnboundedReceiver<Look>,
}

impl Lookout {
    /// Begins to look, in a network namespace if one is given.
    pub fn start(options: Options, netns: Option<PathBuf>) -> Self {
        let (blocks, new_blocks) = sync_channel(16);
        let (found, looks) = mpsc::unbounded_channel();
        let failed = found.clone();
        let look = move || match netns.as_deref().map_or(Ok(()), enter) {
            Ok(()) => go_on(Node::new(options), &new_blocks, &found),
            Err(error) => _ = found.send(Err(error)),
        };
        if std::thread::Builder::new().name("lookout".to_owned()).spawn(look).is_err() {
            _ = failed.send(Err(Error::ThreadEnded));
        }
        Lookout { blocks, looks }
    }

    /// The blocks of this node's pods came to be known: it is looked at anew.
    pub fn set_pod_blocks(&self, blocks: Vec<IpNet>) {
        // A thread that is gone has said so, one that is sixteen behind has the last ones soon.
        _ = self.blocks.try_send(blocks);
    }

    /// The next look.
    pub async fn next(&mut self) -> Look {
        match self.looks.recv().await {
            Some(look) => look,
            None => std::future::pending().await,
        }
    }
}

fn go_on(mut node: Node, blocks: &Receiver<Vec<IpNet>>, found: &mpsc::UnboundedSender<Look>) {
    let mut looks = 0_u32;
    loop {
        let depth = if looks.is_multiple_of(FULL_EVERY) { Depth::Full } else { Depth::Quick };
        looks = looks.wrapping_add(1);
        if found.send(Ok(node.check(depth))).is_err() {
            return;
        }
        match blocks.recv_timeout(INTERVAL) {
            Ok(new) => node.set_pod_blocks(new),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
