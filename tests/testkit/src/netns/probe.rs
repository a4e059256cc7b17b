//! Single questions to the network, many at a time.

use super::engine::Engine;
use super::place::Place;
use super::sockets::Kind;
use netsim_shared::ports::Protocol;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

/// One question: does a packet get from here to there, and an answer back?
#[derive(Debug, Clone)]
pub struct Probe {
    pub(super) from: Place,
    pub(super) source: Option<IpAddr>,
    pub(super) to: SocketAddr,
    pub(super) kind: Kind,
}

impl Probe {
    /// With a new connection of this protocol.
    pub fn new(from: &Place, to: SocketAddr, protocol: Protocol) -> Self {
        let kind = match protocol {
            Protocol::Tcp => Kind::Tcp,
            Protocol::Udp => Kind::Udp,
            Protocol::Sctp => Kind::Sctp,
        };
        Self { from: from.clone(), source: None, to, kind }
    }

    /// With one SYN.
    pub fn tcp(from: &Place, to: SocketAddr) -> Self {
        Self::new(from, to, Protocol::Tcp)
    }

    /// With one datagram.
    pub fn udp(from: &Place, to: SocketAddr) -> Self {
        Self::new(from, to, Protocol::Udp)
    }

    /// With one INIT.
    pub fn sctp(from: &Place, to: SocketAddr) -> Self {
        Self::new(from, to, Protocol::Sctp)
    }

    /// With one ICMP echo request.
    pub fn echo(from: &Place, to: IpAddr) -> Self {
        Self { from: from.clone(), source: None, to: SocketAddr::new(to, 0), kind: Kind::Echo }
    }

    /// Where it starts.
    pub fn from(&self) -> &Place {
        &self.from
    }

    /// Where it goes; the port is 0 for an echo request.
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Its protocol; `None` for an echo request.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.kind {
            Kind::Tcp => Some(Protocol::Tcp),
            Kind::Udp => Some(Protocol::Udp),
            Kind::Sctp => Some(Protocol::Sctp),
            Kind::Echo => None,
        }
    }

    /// From this address of the source, instead of its first one.
    pub fn source(mut self, address: IpAddr) -> Self {
        self.source = Some(address);
        self
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol() {
            Some(protocol) => write!(f, "{} → {} {protocol}", self.from, self.to),
            None => write!(f, "{} → {} echo", self.from, self.to.ip()),
        }
    }
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Somebody listens there, and answered.
    Reached,
    /// It got there, where nobody listens: a TCP reset, an SCTP abort, or a port unreachable that
    /// comes from the address asked for. A filter that sends TCP resets cannot be told from this.
    Refused,
    /// An ICMP error of a filter on the way. Not noticed for SCTP, which is `Lost` then.
    Prohibited,
    /// No route: here or further on nobody knows a way there. Not noticed further on for SCTP.
    Unreachable,
    /// No answer came in time, or the packet was dropped before it left.
    Lost,
}

impl Outcome {
    /// Whether the packets of both directions got through.
    pub fn passed(self) -> bool {
        matches!(self, Outcome::Reached | Outcome::Refused)
    }
}

/// How probes are asked.
#[derive(Debug, Clone)]
pub struct Prober {
    timeout: Duration,
    confirm_lost: bool,
}

impl Default for Prober {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(80), confirm_lost: false }
    }
}

/// The most probes in flight on one thread.
const WINDOW: usize = 1024;

impl Prober {
    /// Gives up after this long, instead of 80 ms. Below a second, a TCP probe is a single SYN.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks a second time, with four times the patience, before it says [`Outcome::Lost`]: for a
    /// machine so busy that answers are late. Not for proofs that nothing ever gets through.
    pub fn confirm_lost(mut self) -> Self {
        self.confirm_lost = true;
        self
    }

    /// Asks all of them, and returns what came of each, in their order.
    pub fn run(&self, probes: &[Probe]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Lost; probes.len()];
        // Neighbours in this order share a namespace.
        let mut order: Vec<usize> = (0..probes.len()).collect();
        order.sort_by_key(|i| probes[*i].from.id());
        let ask = |order: &[usize], timeout: Duration| -> Vec<(usize, Outcome)> {
            let workers = thread::available_parallelism().map_or(1, usize::from).min(4);
            let share = order.len().div_ceil(workers).max(64);
            thread::scope(|scope| {
                let threads: Vec<_> =
                    order.chunks(share).map(|chunk| scope.spawn(move || ask(probes, chunk, timeout))).collect();
                threads
                    .into_iter()
                    .flat_map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            })
        };
        for (index, outcome) in ask(&order, self.timeout) {
            outcomes[index] = outcome;
        }
        if self.confirm_lost {
            order.retain(|i| outcomes[*i] == Outcome::Lost);
            for (index, outcome) in ask(&order, self.timeout * 4) {
                outcomes[index] = outcome;
            }
        }
        outcomes
    }
}

/// Asks some of the probes on the calling thread, which is left in some namespace.
fn ask(probes: &[Probe], which: &[usize], timeout: Duration) -> Vec<(usize, Outcome)> {
    let mut engine = Engine::new(timeout);
    let mut done = Vec::with_capacity(which.len());
    for (count, index) in which.iter().enumerate() {
        engine.launch(*index, &probes[*index]);
        if count % 16 == 15 {
            done.extend(engine.settle(Some(Duration::ZERO)));
        }
        while engine.in_flight() >= WINDOW {
            done.extend(engine.settle(None));
        }
    }
    while engine.in_flight() > 0 {
        done.extend(engine.settle(None));
    }
    done.extend(engine.settle(Some(Duration::ZERO)));
    done.into_iter().map(|settled| (settled.index, settled.outcome)).collect()
}
