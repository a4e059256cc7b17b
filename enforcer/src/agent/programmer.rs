//! What the kernel holds, and how it gets to hold what was compiled.
//!
//! Established connections carry the generation that judged them in their mark. A change that may
//! deny something begins a new generation in the same transaction, so that every connection is
//! judged again at its next packet. The numbers come round again; before one is used a second time,
//! marks that still bear an old one are cleared.

use super::names::{Touched, Wanted};
use crate::drift::differences;
use crate::kernel::{CommitError, Contents, Dump, Error, Kernel};
use crate::render::{Changed, Options, Renderer};
use crate::ruleset::{Name, Ruleset, TimedElements};
use crate::transaction::{Op, Transaction, between, may_deny, replace};
use ipnet::IpNet;
use netsim_shared::compile::Compiled;
use std::fmt;
use std::time::Instant;

/// A change that the kernel took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programmed {
    /// How many sets, chains, rules and elements it touched; 0: nothing had to be done.
    pub size: usize,
    /// Whether the whole table was replaced.
    pub replaced: bool,
    /// Whether connections were made to be judged again.
    pub judged_again: bool,
    /// How many connections' marks were cleared, if they were.
    pub swept: Option<usize>,
}

/// Why the kernel does not hold what was compiled.
#[derive(Debug)]
pub enum ProgramError {
    /// Asking it failed.
    Kernel(Error),
    /// It did not take a transaction, or that is not known.
    Commit(CommitError),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Kernel(error) => error.fmt(f),
            ProgramError::Commit(error) => error.fmt(f),
        }
    }
}

impl From<Error> for ProgramError {
    fn from(error: Error) -> Self {
        ProgramError::Kernel(error)
    }
}

impl From<CommitError> for ProgramError {
    fn from(error: CommitError) -> Self {
        ProgramError::Commit(error)
    }
}

/// What somebody else did to our table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// What differs, one line each.
    pub differences: Vec<String>,
}

/// Brings rulesets into the kernel.
#[derive(Debug)]
pub struct Programmer {
    kernel: Kernel,
    options: Options,
    renderer: Renderer,
    /// What the kernel holds; `None` when that is not known, or nothing of ours.
    held: Option<Ruleset>,
    /// What its timed sets hold, when it is known what it holds.
    timed: TimedElements,
    /// The generation of the node's ruleset at which it was known to hold that.
    seen_at: Option<u32>,
    generation: u32,
    /// The generation at which all stamps were cleared: no connection bears a number that comes
    /// after it in the round, until it comes round to this one again.
    swept_at: u32,
    total: u64,
}

impl Programmer {
    /// Nothing is changed yet.
    pub fn new(kernel: Kernel, options: Options) -> Self {
        let renderer = Renderer::new(options.clone());
        Programmer {
            kernel,
            options,
            renderer,
            held: None,
            timed: TimedElements::default(),
            seen_at: None,
            generation: 0,
            swept_at: 0,
            total: 0,
        }
    }

    /// The ruleset that is wanted, and how it was made.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// How many changes the kernel took.
    pub fn generation(&self) -> u64 {
        self.total
    }

    /// Whether the kernel is known to hold the last ruleset.
    pub fn is_programmed(&self) -> bool {
        self.held.is_some()
    }

    /// The ranges of this node's pods.
    pub fn set_pod_cidrs(&mut self, pod_cidrs: Vec<IpNet>) {
        self.renderer.set_pod_cidrs(pod_cidrs);
    }

    /// The ruleset that the kernel holds, when that is known.
    pub fn held(&self) -> Option<&Ruleset> {
        self.held.as_ref()
    }

    /// What the timed sets of the kernel hold, as far as it is known.
    pub fn timed(&self) -> &TimedElements {
        &self.timed
    }

    /// Takes in what changed and makes the kernel hold it; what sets of names are to hold comes from `wanted`, in the
    /// same transaction that creates them. After an error the kernel enforces what
    /// it did before, or all of the new, and the next call puts everything in place anew.
    ///
    /// # Errors
    /// When the kernel could not be asked, or did not take the change.
    pub async fn program(
        &mut self,
        compiled: &Compiled,
        changed: &Changed,
        wanted: &Wanted<'_>,
    ) -> Result<Programmed, ProgramError> {
        self.renderer.update(compiled, changed);
        let Some(held) = self.held.take() else { return self.replace(wanted).await };
        let mut transaction = between(&held, self.renderer.ruleset());
        let judged_again = may_deny(&transaction);
        let mut swept = None;
        if judged_again {
            swept = self.next_generation().await?;
            transaction = between(&held, self.renderer.ruleset());
        }
        transaction.ops.extend(self.new_timed(wanted));
        // An address that comes to be a pod's stands for no name any more, from the same moment on (G5).
        if self.concerns_timed(changed, wanted) {
            transaction.ops.extend(self.changed_timed(wanted, None));
        }
        let size = transaction.size();
        if size > 0 {
            // What the kernel refuses, it does not do; but then it does not hold what we think.
            self.commit(transaction).await?;
        }
        self.held = Some(self.renderer.ruleset().clone());
        Ok(Programmed { size, replaced: false, judged_again, swept })
    }

    /// Puts the whole ruleset in place of what is there, in one transaction.
    async fn replace(&mut self, wanted: &Wanted<'_>) -> Result<Programmed, ProgramError> {
        let there = self.kernel.read().await?;
        // Not the generation of what is there, whoever made it: connections keep on being stamped
        // with it until the very moment of the change.
        let text = there.as_ref().map(|dump| format!("{:?}", dump.contents.chains)).unwrap_or_default();
        let used = |generation: &u32| text.contains(&format!("0x{:08x}", self.options.stamp(*generation)));
        let after = self.generation % self.options.last_generation() + 1;
        let candidates = (after..=self.options.last_generation()).chain(1..after);
        self.generation = candidates.into_iter().find(|g| !used(g)).unwrap_or(1);
        // What bears a stamp from another life would pass unjudged; here it is judged by what is
        // there, and again by what comes.
        let swept = self.sweep().await?;
        self.renderer.set_generation(self.generation);
        let mut transaction = replace(there.is_some(), self.renderer.ruleset());
        self.timed = TimedElements::default();
        transaction.ops.extend(self.new_timed(wanted));
        let size = transaction.size();
        self.commit(transaction).await?;
        self.held = Some(self.renderer.ruleset().clone());
        Ok(Programmed { size, replaced: true, judged_again: true, swept: Some(swept) })
    }

    /// The elements of the sets of names that are new.
    fn new_timed(&mut self, wanted: &Wanted<'_>) -> Vec<Op> {
        let sets = self.renderer.names();
        let of = |name: &Name| sets.get(name).map(|set| wanted.of(set)).unwrap_or_default();
        self.timed.follow(self.renderer.ruleset(), of, wanted.now())
    }

    /// Whether a change may bear on what sets of names hold.
    fn concerns_timed(&self, changed: &Changed, wanted: &Wanted<'_>) -> bool {
        match changed {
            Changed::Anything => true,
            Changed::PodsAt(addresses) => addresses.iter().any(|a| self.timed.holds_any(*a, wanted.now())),
        }
    }

    /// What is other in the sets of names: in those that were touched, or in all.
    fn changed_timed(&mut self, wanted: &Wanted<'_>, touched: Option<&Touched>) -> Vec<Op> {
        let mut ops = Vec::new();
        for (name, set) in self.renderer.names() {
            match touched {
                // The frequent case costs by what came, not by what is there.
                Some(touched) if !touched.went => {
                    ops.extend(self.timed.join(name, set.family, &wanted.came(set, touched), wanted.now()));
                }
                Some(touched) if !touched.matches(&set.patterns) => {}
                _ => ops.extend(self.timed.become_these(name, set.family, &wanted.of(set), wanted.now())),
            }
        }
        ops
    }

    /// Makes the sets of names hold what is wanted where it was touched. That is no new
    /// ruleset and no new generation: what comes is allowed, and what ends ends for new connections only (G3). Gives how
    /// many elements were changed. Nothing happens while it is not known what the kernel holds: then all of it is put in
    /// place anew, with what is wanted by then.
    ///
    /// # Errors
    /// When the kernel did not take the change. Then it is not known what it holds.
    pub async fn renew(&mut self, wanted: &Wanted<'_>, touched: &Touched) -> Result<usize, ProgramError> {
        let Some(held) = self.held.take() else { return Ok(0) };
        let transaction = Transaction { ops: self.changed_timed(wanted, Some(touched)) };
        let size = transaction.size();
        if size > 0 {
            self.seen_at = self.kernel.commit(transaction).await?.generation;
        }
        self.held = Some(held);
        Ok(size)
    }

    async fn commit(&mut self, transaction: Transaction) -> Result<(), CommitError> {
        let committed = self.kernel.commit(transaction).await?;
        self.seen_at = committed.generation;
        self.total += 1;
        Ok(())
    }

    async fn next_generation(&mut self) -> Result<Option<usize>, Error> {
        let next = self.generation % self.options.last_generation() + 1;
        let swept = if next == self.swept_at { Some(self.sweep().await?) } else { None };
        self.generation = next;
        self.renderer.set_generation(next);
        Ok(swept)
    }

    /// Clears every stamp; those of the present generation may come again meanwhile.
    async fn sweep(&mut self) -> Result<usize, Error> {
        let swept = self.kernel.clear_marks(self.options.mark_mask, 0).await?;
        self.swept_at = self.generation;
        Ok(swept)
    }

    /// Whether somebody else changed our table since it was last known to be right. Cheap as long as
    /// nobody changes any table of the node. What drifted is no longer taken for programmed.
    ///
    /// # Errors
    /// When the kernel could not be asked.
    pub async fn drift(&mut self) -> Result<Option<Drift>, Error> {
        let Some(held) = &self.held else { return Ok(None) };
        let generation = self.kernel.generation().await?;
        if self.seen_at == Some(generation) {
            return Ok(None);
        }
        let dump = self.kernel.read().await?;
        let differences = deviations(held, &self.timed, dump.as_ref());
        if differences.is_empty() {
            self.seen_at = dump.map(|dump| dump.generation);
            return Ok(None);
        }
        self.held = None;
        Ok(Some(Drift { differences }))
    }
}

/// What of the kernel's table is otherwise than it was made, one line each.
pub fn deviations(held: &Ruleset, timed: &TimedElements, found: Option<&Dump>) -> Vec<String> {
    let Some(dump) = found else { return vec!["the table is gone".to_owned()] };
    match Contents::expected(held) {
        Ok(expected) => {
            let mut lines = differences(&expected, &dump.contents);
            let found = |set: &str| dump.contents.sets.get(set).map(|set| &set.timed);
            lines.extend(timed.differences(found, Instant::now()));
            lines
        }
        Err(error) => vec![error],
    }
}
