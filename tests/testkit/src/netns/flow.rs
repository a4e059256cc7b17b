//! A connection that lasts, every message of which is accounted for.

use super::message::{Arrival, Ledger, Message, lock, wait};
use super::place::Place;
use netsim_shared::ports::Protocol;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a flow may take to come up, and waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a flow is to be; made by [`Fabric::flow`](super::Fabric::flow).
#[derive(Debug)]
#[must_use = "nothing is sent before `start`"]
pub struct FlowBuilder {
    from: Place,
    to: SocketAddr,
    protocol: Protocol,
    every: Duration,
    server_sends: bool,
    ledger: Arc<Ledger>,
}

/// One connection, on which the client sends a numbered message every so often and the server sends
/// each of them back, until it is stopped or dropped. Both ends write down what arrives.
///
/// A message bears the time at which it was written. "Nothing that was sent after `cut` arrived" is
/// therefore about the network alone, not about how quick somebody looked:
/// `flow.at_server().iter().all(|a| a.sent < cut)`. Over TCP, what is written while the path is cut
/// does arrive once it is open again, so ask before that.
#[derive(Debug)]
pub struct Flow {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    id: u32,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    local: Option<SocketAddr>,
    sent: Vec<Instant>,
    arrived: Vec<Arrival>,
    /// Why it could not start, or ended before it was stopped.
    broken: Option<String>,
}

impl FlowBuilder {
    pub(super) fn new(from: &Place, to: SocketAddr, protocol: Protocol, ledger: Arc<Ledger>) -> Self {
        assert!(protocol != Protocol::Sctp, "flows are TCP or UDP: the kernel may have no SCTP");
        let every = Duration::from_millis(2);
        Self { from: from.clone(), to, protocol, every, server_sends: false, ledger }
    }

    /// One message each so long, instead of each 2 ms.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// After the client's first message only the server sends (over TCP, the client's kernel still
    /// acknowledges).
    pub fn server_sends(mut self) -> Self {
        self.server_sends = true;
        self
    }

    /// Connects, and returns when the first message came back.
    ///
    /// # Panics
    /// If it does not within ten seconds.
    pub fn start(self) -> Flow {
        static ID: AtomicU32 = AtomicU32::new(1);
        let id = ID.fetch_add(1, Ordering::Relaxed);
        let (from, to, protocol, ledger) = (self.from.clone(), self.to, self.protocol, Arc::clone(&self.ledger));
        ledger.open(id);
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let ended = shared.run(id, &self);
                lock(&shared.state).broken = ended.err().map(|e| e.to_string());
                shared.changed.notify_all();
            })
        };
        let flow = Flow { shared, ledger, id, thread: Some(thread) };
        let up = flow.wait(|state| {
            let broken = state.broken.clone().map(Err);
            broken.or_else(|| (!state.arrived.is_empty()).then_some(Ok(())))
        });
        match up {
            Some(Ok(())) => flow,
            Some(Err(error)) => panic!("the {protocol} flow from `{from}` to {to} does not come up: {error}"),
            None => panic!("the {protocol} flow from `{from}` to {to} does not come up: no answer"),
        }
    }
}

/// The client's socket; neither reading nor writing blocks.
enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Socket {
    fn connect(flow: &FlowBuilder) -> io::Result<Self> {
        flow.from.exec(|| match flow.protocol {
            Protocol::Tcp => {
                let stream = TcpStream::connect_timeout(&flow.to, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Socket::Tcp(stream))
            }
            _ => {
                let any = super::sockets::any(netsim_shared::net::Family::of(flow.to.ip()));
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect(flow.to)?;
                socket.set_nonblocking(true)?;
                Ok(Socket::Udp(socket))
            }
        })
    }

    fn local(&self) -> io::Result<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.local_addr(),
            Socket::Udp(socket) => socket.local_addr(),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        }
    }

    /// `Ok(0)` when there is nothing more to do for now. A datagram that a filter or an ICMP error
    /// stops is lost, and the flow goes on.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => match stream.read(buffer) {
                Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                other => other,
            },
            Socket::Udp(socket) => Ok(socket.recv(buffer).unwrap_or(0)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => match stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                other => other,
            },
            Socket::Udp(socket) => {
                let _ = socket.send(bytes);
                Ok(bytes.len())
            }
        }
    }
}

impl Shared {
    fn run(&self, id: u32, flow: &FlowBuilder) -> io::Result<()> {
        let mut socket = Socket::connect(flow)?;
        lock(&self.state).local = Some(socket.local()?);
        let (mut outgoing, mut incoming) = (Vec::new(), Vec::new());
        let (mut sequence, mut next) = (0, Instant::now());
        let stream_every = if flow.server_sends { flow.every.as_millis().max(1) as u32 } else { 0 };
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            // A stream that cannot leave must not fill up with old news.
            if now >= next && outgoing.is_empty() && !(flow.server_sends && sequence > 0) {
                let message = Message { flow: id, stream_every, sequence, sent: now };
                outgoing.extend(message.encode());
                sequence += 1;
                lock(&self.state).sent.push(now);
                self.changed.notify_all();
            }
            if now >= next {
                next = (next + flow.every).max(now);
            }
            if !outgoing.is_empty() {
                let written = socket.write(&outgoing)?;
                outgoing.drain(..written);
            }
            self.receive(&mut socket, &mut incoming)?;
            let wait = TimeSpec::from_duration(next.saturating_duration_since(Instant::now()));
            match ppoll(&mut [PollFd::new(socket.fd(), PollFlags::POLLIN)], Some(wait), None) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&self, socket: &mut Socket, incoming: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let received = Instant::now();
            incoming.extend_from_slice(&buffer[..length]);
            let whole = incoming.len() / Message::LENGTH * Message::LENGTH;
            let arrivals: Vec<Arrival> = incoming
                .drain(..whole)
                .as_slice()
                .chunks(Message::LENGTH)
                .filter_map(Message::decode)
                // The first one of a stream is the client's own, sent back.
                .map(|m| Arrival { sequence: m.sequence, sent: m.sent, received })
                .collect();
            lock(&self.state).arrived.extend(arrivals);
            self.changed.notify_all();
        }
    }
}

impl Flow {
    /// The address and port that the client sends from.
    pub fn local(&self) -> SocketAddr {
        lock(&self.shared.state).local.expect("a flow that is up has an address")
    }

    /// The times at which the client sent its messages, by their number.
    pub fn sent(&self) -> Vec<Instant> {
        lock(&self.shared.state).sent.clone()
    }

    /// The client's messages, as they arrived at the server.
    pub fn at_server(&self) -> Vec<Arrival> {
        self.ledger.arrivals(self.id)
    }

    /// What arrived at the client: its own messages sent back; with
    /// [`server_sends`](FlowBuilder::server_sends), after the first one those of the server.
    pub fn at_client(&self) -> Vec<Arrival> {
        lock(&self.shared.state).arrived.clone()
    }

    /// Why it ended although nobody stopped it, such as a reset.
    pub fn broken(&self) -> Option<String> {
        lock(&self.shared.state).broken.clone()
    }

    /// Waits until the client sent so many messages at or after a time: enough that one of them
    /// would have arrived.
    ///
    /// # Panics
    /// If it does not within ten seconds, such as because its TCP connection is stuck for longer
    /// than its buffers are.
    pub fn wait_until_sent(&self, since: Instant, count: usize) {
        let sent = |state: &State| state.sent.iter().rev().take_while(|s| **s >= since).count();
        self.wait(|state| (sent(state) >= count).then_some(()))
            .unwrap_or_else(|| panic!("the flow sent {} messages, not {count}", sent(&lock(&self.shared.state))));
    }

    /// Waits for a message sent at or after a time to arrive at the server; `None` after `within`.
    pub fn wait_at_server(&self, since: Instant, within: Duration) -> Option<Arrival> {
        self.ledger.wait(self.id, within, |a| a.sent >= since)
    }

    /// Waits for a message sent at or after a time to arrive at the client; `None` after `within`.
    pub fn wait_at_client(&self, since: Instant, within: Duration) -> Option<Arrival> {
        wait(&self.shared.state, &self.shared.changed, within, |state| {
            state.arrived.iter().rev().find(|a| a.sent >= since).copied()
        })
    }

    /// The longest time without an arrival at the client, from a time until now. A TCP connection
    /// that loses a single packet has a gap of about 200 ms; one left alone has the rate's.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let state = lock(&self.shared.state);
        let times = state.arrived.iter().map(|a| a.received).filter(|t| *t >= since);
        let (mut longest, mut last) = (Duration::ZERO, since);
        for time in times.chain([Instant::now()]) {
            longest = longest.max(time.saturating_duration_since(last));
            last = time;
        }
        longest
    }

    /// Stops sending; what arrived so far can still be asked for.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }

    fn wait<R>(&self, find: impl Fn(&State) -> Option<R>) -> Option<R> {
        wait(&self.shared.state, &self.shared.changed, PATIENCE, |state| find(state))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop();
    }
}
