//! The kernel: a [`Transaction`] goes in through netlink, our table comes back out as a [`Dump`].
//!
//! ```text
//! Transaction ── batch ──▶ messages ── socket ──▶ kernel ── socket ──▶ messages ── dump ──▶ Dump
//!                ├ expressions, nft: rules (libnftnl)                     │
//!                └ shape, elements: sets and what is in them ─────────────┘
//! ```
//!
//! [`Netlink`] does it on the thread that it is used on, [`Kernel`] on a thread of its own in the
//! network namespace of the node. Everything unsafe is in `nft` and `socket`.

mod batch;
mod conntrack;
mod dump;
mod elements;
mod error;
mod expressions;
mod logging;
mod message;
mod netlink;
pub mod nflog;
mod nft;
pub mod queue;
mod queueing;
mod shape;
mod socket;
mod uapi;

pub use dump::{ChainContents, ChainHook, Contents, Dump, SetContents, TableInfo};
pub use error::{CommitError, Error, ThreadEnded};
pub use expressions::describe;
pub use netlink::{Committed, Count, Netlink, Ownership};
pub use queueing::Queueing;

use crate::ruleset::Name;
use crate::transaction::Transaction;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

impl Netlink {
    /// Sets the bits of `mask` to 0 in the mark of every tracked connection where they are neither
    /// 0 nor `except`; other bits stay. Gives how many connections that were.
    ///
    /// Connections that are marked meanwhile are not surely seen: no rule may give the old numbers
    /// any more when this is called.
    pub fn clear_marks(&mut self, mask: u32, except: u32) -> Result<usize, Error> {
        conntrack::clear_marks(self.socket(), mask, except)
    }
}

type Job = Box<dyn FnOnce(&mut Netlink) + Send>;

/// A handle of the netlink thread. What is asked of it is done in order, one after another. The
/// thread ends, and its ownership of the table with it, when the last handle is gone.
#[derive(Debug, Clone)]
pub struct Kernel {
    jobs: mpsc::Sender<Job>,
}

impl Kernel {
    /// Starts the thread, in a network namespace if one is given (`/proc/1/ns/net`), and opens the
    /// socket there. Returns when that is done.
    pub fn open(netns: Option<&Path>, table: &str, ownership: Ownership) -> Result<Kernel, Error> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, opened) = mpsc::channel();
        let (netns, table) = (netns.map(Path::to_owned), table.to_owned());
        let thread = move || {
            let netlink = netns.as_deref().map_or(Ok(()), enter).and_then(|()| Netlink::open(&table, ownership));
            match netlink {
                Ok(mut netlink) => {
                    // Nobody listens: then there will be no jobs either.
                    _ = ready.send(Ok(()));
                    queue.iter().for_each(|job| job(&mut netlink));
                }
                Err(error) => _ = ready.send(Err(error)),
            }
        };
        std::thread::Builder::new()
            .name("netlink".to_owned())
            .spawn(thread)
            .map_err(|error| Error::Socket(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
        opened.recv().map_err(|_| Error::ThreadEnded)??;
        Ok(Kernel { jobs })
    }

    /// See [`Netlink::commit`].
    pub fn commit(&self, transaction: Transaction) -> Reply<Committed, CommitError> {
        self.run(move |netlink| netlink.commit(&transaction))
    }

    /// See [`Netlink::adopt`].
    pub fn adopt(&self) -> Reply<(), CommitError> {
        self.run(Netlink::adopt)
    }

    /// See [`Netlink::read`].
    pub fn read(&self) -> Reply<Option<Dump>> {
        self.run(Netlink::read)
    }

    /// See [`Netlink::table`].
    pub fn table(&self) -> Reply<Option<TableInfo>> {
        self.run(Netlink::table)
    }

    /// See [`Netlink::generation`].
    pub fn generation(&self) -> Reply<u32> {
        self.run(Netlink::generation)
    }

    /// See [`Netlink::counters`].
    pub fn counters(&self) -> Reply<BTreeMap<Name, Count>> {
        self.run(Netlink::counters)
    }

    /// See [`Netlink::clear_marks`].
    pub fn clear_marks(&self, mask: u32, except: u32) -> Reply<usize> {
        self.run(move |netlink| netlink.clear_marks(mask, except))
    }

    /// Reads what is logged to a group in the thread's network namespace.
    pub fn log_reader(&self, group: u16) -> Reply<nflog::Reader> {
        self.run(move |_| nflog::Reader::open(group))
    }

    /// See [`Netlink::logging`].
    pub fn logging(&self) -> Reply<Result<(), String>> {
        self.run(Netlink::logging)
    }

    /// Listens to a queue in the thread's network namespace, see [`queue::Queue::open`].
    pub fn queue(&self, number: u16, length: u32) -> Reply<queue::Queue> {
        self.run(move |_| queue::Queue::open(number, length))
    }

    /// See [`Netlink::queueing`].
    pub fn queueing(&self) -> Reply<Queueing> {
        self.run(Netlink::queueing)
    }

    fn run<T, E>(&self, job: impl FnOnce(&mut Netlink) -> Result<T, E> + Send + 'static) -> Reply<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (answer, reply) = oneshot::channel();
        // If the thread is gone, so is the sender of the answer: the reply says it. That somebody
        // no longer wants the answer does not matter.
        _ = self.jobs.send(Box::new(move |netlink| _ = answer.send(job(netlink))));
        Reply(reply)
    }
}

/// What the netlink thread will answer: to be awaited, or to be waited for. The job is done even
/// if nobody does either.
#[derive(Debug)]
#[must_use = "what became of it is in the reply"]
pub struct Reply<T, E = Error>(oneshot::Receiver<Result<T, E>>);

impl<T, E: From<ThreadEnded>> Reply<T, E> {
    /// Blocks until the answer is there. Not for asynchronous code, which awaits instead.
    pub fn wait(self) -> Result<T, E> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(ThreadEnded.into()))
    }
}

impl<T, E: From<ThreadEnded>> Future for Reply<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(ThreadEnded.into())))
    }
}

/// Moves the calling thread into a network namespace.
///
/// # Errors
/// When there is none at the path, or it may not be entered.
pub fn enter(path: &Path) -> Result<(), Error> {
    let error = |errno| Error::Namespace { path: path.to_owned(), errno };
    let namespace = File::open(path).map_err(|e| error(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(error)
}
