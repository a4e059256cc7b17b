//! Many probes in flight on one thread: launched one by one, settled as answers come or time is up.

use super::message::Message;
use super::place::Place;
use super::probe::{Outcome, Probe};
use super::sctp::{Chunk, Packet};
use super::sockets::{self, IcmpError, Kind, any, events, readable};
use netsim_shared::net::Family;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A probe that is over.
pub(super) struct Settled {
    pub(super) index: usize,
    pub(super) outcome: Outcome,
    pub(super) launched: Instant,
    pub(super) ended: Instant,
}

struct Flight {
    index: usize,
    kind: Kind,
    to: IpAddr,
    /// `None` for SCTP, which shares a socket.
    socket: Option<OwnedFd>,
    launched: Instant,
}

/// Tokens of the sockets that SCTP probes share have this bit; those of single flights do not.
const SHARED: u64 = 1 << 63;

/// Belongs to one thread, which it moves from namespace to namespace.
pub(super) struct Engine {
    epoll: Epoll,
    timeout: Duration,
    at: Option<u64>,
    next: u64,
    flights: HashMap<u64, Flight>,
    deadlines: VecDeque<(Instant, u64)>,
    done: Vec<Settled>,
    shared: Vec<UdpSocket>,
    shared_by_source: HashMap<(u64, IpAddr), usize>,
    sctp_tags: HashMap<u32, u64>,
}

impl Engine {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll"),
            timeout,
            at: None,
            next: 0,
            flights: HashMap::new(),
            deadlines: VecDeque::new(),
            done: Vec::new(),
            shared: Vec::new(),
            shared_by_source: HashMap::new(),
            sctp_tags: HashMap::new(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Sends a probe off; `index` comes back with its outcome.
    pub(super) fn launch(&mut self, index: usize, probe: &Probe) {
        if self.at != Some(probe.from.id()) {
            probe.from.space().enter();
            self.at = Some(probe.from.id());
        }
        let token = self.next;
        self.next += 1;
        let launched = Instant::now();
        let flight = Flight { index, kind: probe.kind, to: probe.to.ip(), socket: None, launched };
        let sent = match probe.kind {
            Kind::Sctp => self.launch_sctp(token, probe).map(|()| None),
            _ => self.launch_socket(token, probe).map(Some),
        };
        match sent {
            Ok(socket) => {
                self.flights.insert(token, Flight { socket, ..flight });
                self.deadlines.push_back((launched + self.timeout, token));
            }
            Err(error) => self.finish(flight, refused_locally(&error, probe)),
        }
    }

    fn launch_socket(&mut self, token: u64, probe: &Probe) -> io::Result<OwnedFd> {
        let socket = sockets::towards(probe.kind, probe.source, probe.to)?;
        let bytes: &[u8] = match (probe.kind, Family::of(probe.to.ip())) {
            (Kind::Udp, _) => &Message::probe().encode(),
            (Kind::Echo, Family::V4) => &[8, 0, 0, 0, 0, 0, 0, 1],
            (Kind::Echo, Family::V6) => &[128, 0, 0, 0, 0, 0, 0, 1],
            _ => &[],
        };
        let flags = if bytes.is_empty() {
            EpollFlags::EPOLLOUT
        } else {
            nix::unistd::write(&socket, bytes)?;
            EpollFlags::EPOLLIN
        };
        self.epoll.add(&socket, EpollEvent::new(flags, token))?;
        Ok(socket)
    }

    fn launch_sctp(&mut self, token: u64, probe: &Probe) -> io::Result<()> {
        // Unique in the process, so that neither answers nor conntrack mix probes up.
        static TAG: AtomicU32 = AtomicU32::new(1);
        let tag = TAG.fetch_add(1, Ordering::Relaxed);
        let source = 1024 + (tag % 60_000) as u16;
        let address = probe.source.unwrap_or(any(Family::of(probe.to.ip())));
        let at = match self.shared_by_source.get(&(probe.from.id(), address)) {
            Some(at) => *at,
            None => {
                let (socket, at) = (sockets::raw_sctp(address)?, self.shared.len());
                self.epoll.add(&socket, readable(SHARED | at as u64))?;
                self.shared.push(socket);
                self.shared_by_source.insert((probe.from.id(), address), at);
                at
            }
        };
        let packet = Packet { source, destination: probe.to.port(), tag: 0, chunk: Chunk::Init { tag } };
        self.shared[at].send_to(&packet.encode(), SocketAddr::new(probe.to.ip(), 0))?;
        self.sctp_tags.insert(tag, token);
        Ok(())
    }

    /// Waits until something is settled, or for at most so long, and returns all that is.
    pub(super) fn settle(&mut self, wait: Option<Duration>) -> Vec<Settled> {
        let now = Instant::now();
        let first = self.deadlines.front().map(|(deadline, _)| deadline.saturating_duration_since(now));
        let wait = match (wait, first) {
            _ if !self.done.is_empty() => Some(Duration::ZERO),
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b).or(Some(Duration::ZERO)),
        };
        // Whoever is over time by now has had its chance: everything that came is looked at first.
        let mut wait = wait;
        loop {
            let mut room = [EpollEvent::empty(); 256];
            let ready: Vec<u64> = events(&self.epoll, &mut room, wait).iter().map(EpollEvent::data).collect();
            let expired_before = Instant::now();
            for token in &ready {
                if token & SHARED != 0 {
                    self.read_sctp((token & !SHARED) as usize);
                } else {
                    self.look_at(*token);
                }
            }
            wait = Some(Duration::ZERO);
            if ready.len() < room.len() {
                self.expire(expired_before);
                return std::mem::take(&mut self.done);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((deadline, token)) = self.deadlines.front().copied() {
            if !self.flights.contains_key(&token) {
                self.deadlines.pop_front();
            } else if deadline <= now {
                self.deadlines.pop_front();
                self.land(token, Outcome::Lost);
            } else {
                return;
            }
        }
    }

    fn look_at(&mut self, token: u64) {
        let Some(Flight { kind, to, socket: Some(socket), .. }) = self.flights.get(&token) else { return };
        let outcome = match sockets::icmp_error(socket) {
            Some(IcmpError::Port(from)) if from == *to => Outcome::Refused,
            Some(IcmpError::Port(_) | IcmpError::Prohibited) => Outcome::Prohibited,
            Some(IcmpError::Unreachable) => Outcome::Unreachable,
            None if *kind == Kind::Tcp => match sockets::connect_error(socket) {
                None => Outcome::Reached,
                Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => Outcome::Refused,
                Some(error) if error.kind() == io::ErrorKind::TimedOut => Outcome::Lost,
                Some(_) => Outcome::Unreachable,
            },
            None => match nix::unistd::read(socket, &mut [0; 64]) {
                Ok(_) => Outcome::Reached,
                // Nothing there after all.
                Err(_) => return,
            },
        };
        self.land(token, outcome);
    }

    fn read_sctp(&mut self, at: usize) {
        while let Ok((packet, _)) = sockets::receive_sctp(&self.shared[at]) {
            let outcome = match packet.map(|p| p.chunk) {
                Some(Chunk::InitAck) => Outcome::Reached,
                Some(Chunk::Abort) => Outcome::Refused,
                Some(Chunk::Init { .. }) | None => continue,
            };
            // Every raw socket of a namespace sees the answers to all.
            if let Some(token) = packet.and_then(|p| self.sctp_tags.get(&p.tag)).copied() {
                self.land(token, outcome);
            }
        }
    }

    fn land(&mut self, token: u64, outcome: Outcome) {
        if let Some(flight) = self.flights.remove(&token) {
            self.finish(flight, outcome);
        }
    }

    fn finish(&mut self, flight: Flight, outcome: Outcome) {
        let Flight { index, launched, .. } = flight;
        self.done.push(Settled { index, outcome, launched, ended: Instant::now() });
    }
}

/// What it means when the kernel does not even send.
fn refused_locally(error: &io::Error, probe: &Probe) -> Outcome {
    match error.raw_os_error().map(Errno::from_raw) {
        // A filter on the way out dropped it.
        Some(Errno::EPERM) => Outcome::Lost,
        Some(Errno::EACCES) => Outcome::Prohibited,
        // An error that came back while it was sent.
        Some(Errno::ECONNREFUSED) => Outcome::Refused,
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL | Errno::EINVAL) => Outcome::Unreachable,
        _ => {
            panic!("cannot send a {:?} probe from `{}` to {}: {error}", probe.kind, Place::name(&probe.from), probe.to)
        }
    }
}
