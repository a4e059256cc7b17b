//! Denied connections: from the kernel's log to the feed. Nothing here holds enforcement up: what
//! cannot be read, named or kept in time is counted and left out.

use super::charge::Following;
use super::{Config, Reports, State};
use crate::flows::Flow;
use crate::flows::Verdict;
use crate::flows::aggregate::{Aggregator, Moment, Taken};
use crate::flows::named::named;
use crate::kernel::Kernel;
use crate::kernel::nflog::{Event, Logged, Reader};
use crate::observe::ByDirection;
use prometheus_client::metrics::counter::Counter;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

/// How many logged packets may wait for the loop.
const WAITING: usize = 1024;
/// How many of them are taken in at once, before the rest of the loop has its turn.
const AT_ONCE: usize = 64;
/// When a log group that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is said at most that something was lost.
const SAID: Duration = Duration::from_secs(60);

/// What tells of denied connections.
#[derive(Debug)]
pub struct Denied {
    log: Option<mpsc::Receiver<Logged>>,
    aggregator: Aggregator,
    /// When it was last said that something was lost, and how much was lost by then.
    said: (Option<Instant>, u64),
}

impl Denied {
    /// Begins to listen. Where the kernel cannot log, the rules do not ask it to.
    pub async fn start(config: &mut Config, kernel: &Kernel, reports: &Reports) -> Self {
        let options = &mut config.options;
        if options.log_denied {
            let why = match kernel.logging().await {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(why),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = why {
                tracing::warn!("denied connections are counted but not told: {why}");
                options.log_denied = false;
            }
        }
        let log = options.log_denied.then(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            let (charge, lost) = (reports.charge.follow(), reports.metrics.flows_lost.clone());
            tokio::spawn(listen(kernel.clone(), options.log_group, charge, sender, lost));
            receiver
        });
        let verdict = if options.audit { Verdict::Audited } else { Verdict::Denied };
        let aggregator = Aggregator::new(options.node.clone(), verdict, config.flow_interval);
        Denied { log, aggregator, said: (None, 0) }
    }

    /// The next logged packet; never, when nothing is listened to.
    pub async fn next(&mut self) -> Logged {
        if let Some(log) = &mut self.log
            && let Some(logged) = log.recv().await
        {
            return logged;
        }
        std::future::pending().await
    }

    /// Takes in a packet, and others that wait.
    pub fn take(&mut self, first: Logged, state: &State, reports: &Reports) {
        let Some(compiled) = state.compiled() else { return };
        let more = std::iter::from_fn(|| self.log.as_mut()?.try_recv().ok()).take(AT_ONCE);
        for logged in std::iter::once(first).chain(more) {
            match named(&logged, compiled, state.index()).map(|named| self.aggregator.take(named, Moment::now())) {
                Some(Taken::First(flow)) => publish(*flow, reports),
                Some(Taken::Pending) => {}
                Some(Taken::Lost) | None => _ = reports.metrics.flows_lost.inc(),
            }
        }
    }

    /// Tells what goes on, and says so when something was lost.
    pub fn tell(&mut self, reports: &Reports) {
        let now = Instant::now();
        self.aggregator.due(now).into_iter().for_each(|flow| publish(flow, reports));
        let lost = reports.metrics.flows_lost.get();
        let (when, before) = self.said;
        if lost > before && when.is_none_or(|when| now.duration_since(when) >= SAID) {
            tracing::warn!(packets = lost - before, "some denied connections could not be told; all are counted");
            self.said = (Some(now), lost);
        }
    }

    /// Tells what is left, at the end.
    pub fn finish(&mut self, reports: &Reports) {
        self.aggregator.rest().into_iter().for_each(|flow| publish(flow, reports));
    }
}

/// Hands a flow to all who want it.
fn publish(flow: Flow, reports: &Reports) {
    let direction = ByDirection { direction: flow.direction.field() };
    reports.metrics.denied_flows.get_or_create(&direction).inc();
    let pod = |end: &crate::flows::End| end.pod.as_ref().map(|_| end.to_string()).unwrap_or_default();
    macro_rules! log {
        ($log:ident, $message:literal) => {
            tracing::$log!(
                node = %flow.node,
                direction = flow.direction.field(),
                source = %flow.source.ip,
                source_pod = pod(&flow.source),
                destination = %flow.destination.ip,
                destination_pod = pod(&flow.destination),
                protocol = %flow.protocol,
                port = flow.port,
                packets = flow.packets,
                isolated_by = flow.isolated_by.join(","),
                $message
            )
        };
    }
    match flow.verdict {
        Verdict::Audited => log!(warn, "audit: would be denied"),
        Verdict::Denied => log!(debug, "denied"),
    }
    reports.flows.publish(flow);
}

/// Reads a log group until nobody wants it any more. A group has one reader: if it is taken, that is
/// said once, and tried again. It is left to whoever has the table.
async fn listen(kernel: Kernel, group: u16, mut charge: Following, sender: mpsc::Sender<Logged>, lost: Counter) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = sender.closed() => return,
            here = charge.held() => if !here { return },
        }
        match kernel.log_reader(group).await {
            Ok(reader) => {
                if failing {
                    tracing::info!(group, "denied connections are told again");
                }
                let why = on_a_thread(reader, charge.clone(), sender.clone(), lost.clone()).await;
                if sender.is_closed() {
                    return;
                }
                tracing::error!(group, "denied connections are counted but not told: {why}");
            }
            Err(error) if !failing => {
                tracing::error!(group, "denied connections are counted but not told: {error}");
            }
            Err(_) => {}
        }
        failing = true;
        tokio::select! {
            () = sender.closed() => return,
            () = sleep(AGAIN) => {}
        }
    }
}

/// Reads on a thread of its own; says why it ended.
async fn on_a_thread(mut reader: Reader, charge: Following, sender: mpsc::Sender<Logged>, lost: Counter) -> String {
    let (ended, end) = oneshot::channel();
    let mut read = move || {
        loop {
            if charge.is_lost() {
                return "the table belongs to another process".to_owned();
            }
            match reader.wait() {
                Ok(Some(Event::Packet(logged))) => match sender.try_send(logged) {
                    Err(mpsc::error::TrySendError::Closed(_)) => return String::new(),
                    Err(mpsc::error::TrySendError::Full(_)) => _ = lost.inc(),
                    Ok(()) => {}
                },
                // How many were lost, the kernel does not say.
                Ok(Some(Event::Garbled | Event::Lost)) => _ = lost.inc(),
                Ok(None) if sender.is_closed() => return String::new(),
                Ok(None) => {}
                Err(error) => return error.to_string(),
            }
        }
    };
    let thread = std::thread::Builder::new().name("nflog".to_owned());
    if let Err(error) = thread.spawn(move || _ = ended.send(read())) {
        return error.to_string();
    }
    end.await.unwrap_or_else(|_| "the thread ended".to_owned())
}
