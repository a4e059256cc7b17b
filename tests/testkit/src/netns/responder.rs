//! One thread that answers for all places of a fabric: sockets belong to the namespace they were
//! opened in, whoever reads them.

use super::message::{Ledger, Message, lock};
use super::sctp::{Chunk, Packet};
use super::sockets::{self, events, readable};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Accepts, echoes and keeps the ledger; its thread ends with it.
#[derive(Debug)]
pub(super) struct Responder {
    shared: Arc<Shared>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    served: Mutex<HashMap<u64, Served>>,
    ledger: Arc<Ledger>,
}

/// A socket, and the place that it stops with.
#[derive(Debug)]
struct Served {
    place: u64,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Listener(TcpListener),
    Stream(Connection),
    Datagrams(UdpSocket),
    Sctp(UdpSocket, SctpPorts),
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// The ports of a place on which SCTP is answered as if somebody listened.
pub(super) type SctpPorts = Arc<Mutex<HashSet<u16>>>;

/// A request to send by ourselves, for as long as the socket lives.
struct Stream {
    token: u64,
    peer: SocketAddr,
    flow: u32,
    every: Duration,
    next: Instant,
    sequence: u64,
}

/// The token of the pipe whose end means the end.
const STOP: u64 = 0;

impl Responder {
    pub(super) fn start() -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll");
        let (stopped, stop) = io::pipe().expect("a pipe");
        epoll.add(&stopped, readable(STOP)).expect("room in an epoll");
        let shared = Arc::new(Shared { epoll, served: Mutex::default(), ledger: Arc::default() });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.run();
                drop(stopped);
            })
        };
        Self { shared, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.shared.ledger)
    }

    pub(super) fn serve_tcp(&self, place: u64, listener: TcpListener) {
        self.shared.serve(place, Socket::Listener(listener), &mut lock(&self.shared.served));
    }

    pub(super) fn serve_udp(&self, place: u64, socket: UdpSocket) {
        self.shared.serve(place, Socket::Datagrams(socket), &mut lock(&self.shared.served));
    }

    pub(super) fn serve_sctp(&self, place: u64, socket: UdpSocket, ports: SctpPorts) {
        self.shared.serve(place, Socket::Sctp(socket, ports), &mut lock(&self.shared.served));
    }

    /// Closes whatever is served of a place.
    pub(super) fn forget(&self, place: u64) {
        lock(&self.shared.served).retain(|_, served| served.place != place);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was printed; tests that needed it have failed.
            let _ = thread.join();
        }
        lock(&self.shared.served).clear();
    }
}

impl Shared {
    fn serve(&self, place: u64, socket: Socket, served: &mut HashMap<u64, Served>) {
        static TOKEN: AtomicU64 = AtomicU64::new(STOP + 1);
        let token = TOKEN.fetch_add(1, Ordering::Relaxed);
        let event = readable(token);
        let added = match &socket {
            Socket::Listener(listener) => self.epoll.add(listener, event),
            Socket::Stream(connection) => self.epoll.add(&connection.stream, event),
            Socket::Datagrams(socket) | Socket::Sctp(socket, _) => self.epoll.add(socket, event),
        };
        added.expect("room in an epoll");
        served.insert(token, Served { place, socket });
    }

    fn run(&self) {
        let mut streams: Vec<Stream> = Vec::new();
        loop {
            let now = Instant::now();
            let wait = streams.iter().map(|s| s.next.saturating_duration_since(now)).min();
            let mut room = [EpollEvent::empty(); 256];
            for event in events(&self.epoll, &mut room, wait) {
                if event.data() == STOP {
                    return;
                }
                self.handle(event.data(), &mut streams);
            }
            self.tick(&mut streams);
        }
    }

    fn handle(&self, token: u64, streams: &mut Vec<Stream>) {
        let mut served = lock(&self.served);
        // Gone between the event and now.
        let Some(Served { place, socket }) = served.get_mut(&token) else { return };
        let place = *place;
        match socket {
            Socket::Listener(listener) => {
                let accepted: Vec<TcpStream> = std::iter::from_fn(|| listener.accept().ok()).map(|(s, _)| s).collect();
                for stream in accepted {
                    if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_ok() {
                        let connection = Connection { stream, incoming: Vec::new(), outgoing: Vec::new() };
                        self.serve(place, Socket::Stream(connection), &mut served);
                    }
                }
            }
            Socket::Stream(connection) => {
                let peer = connection.stream.peer_addr();
                let open = connection.echo(|message, received| {
                    self.ledger.note(&message, received);
                    streams.extend(peer.as_ref().ok().and_then(|peer| Stream::wanted(&message, token, *peer)));
                });
                let writing = !connection.outgoing.is_empty();
                let flags = if writing { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
                let kept = self.epoll.modify(&connection.stream, &mut EpollEvent::new(flags, token));
                if !open || kept.is_err() {
                    served.remove(&token);
                }
            }
            Socket::Datagrams(socket) => {
                let mut buffer = [0; 2048];
                while let Some((length, peer)) = received(socket.recv_from(&mut buffer)) {
                    let arrived = Instant::now();
                    // An answer that cannot be sent is one that does not arrive.
                    let _ = socket.send_to(&buffer[..length], peer);
                    if let Some(message) = Message::decode(&buffer[..length]) {
                        self.ledger.note(&message, arrived);
                        streams.extend(Stream::wanted(&message, token, peer));
                    }
                }
            }
            Socket::Sctp(socket, ports) => {
                while let Some((packet, from)) = received(sockets::receive_sctp(socket)) {
                    answer_sctp(socket, ports, packet, from);
                }
            }
        }
    }

    /// Sends what is due of the streams, and forgets those whose socket is gone.
    fn tick(&self, streams: &mut Vec<Stream>) {
        let mut served = lock(&self.served);
        streams.retain_mut(|stream| {
            let Some(Served { socket, .. }) = served.get_mut(&stream.token) else { return false };
            let now = Instant::now();
            if stream.next <= now {
                let message =
                    Message { flow: stream.flow, stream_every: 0, sequence: stream.sequence, sent: Instant::now() };
                match socket {
                    // What is still waiting to leave must not grow without end.
                    Socket::Stream(connection) if connection.outgoing.is_empty() => {
                        connection.outgoing.extend(message.encode());
                        connection.flush();
                        stream.sequence += 1;
                    }
                    Socket::Datagrams(socket) => {
                        let _ = socket.send_to(&message.encode(), stream.peer);
                        stream.sequence += 1;
                    }
                    _ => {}
                }
                stream.next = now + stream.every;
            }
            true
        });
    }
}

impl Stream {
    fn wanted(message: &Message, token: u64, peer: SocketAddr) -> Option<Self> {
        let every = Duration::from_millis(u64::from(message.stream_every));
        let stream = Self { token, peer, flow: message.flow, every, next: Instant::now(), sequence: 0 };
        (message.stream_every > 0).then_some(stream)
    }
}

impl Connection {
    /// Reads all there is and sends it back; `false` when the connection is over.
    fn echo(&mut self, mut note: impl FnMut(Message, Instant)) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    let received = Instant::now();
                    self.incoming.extend_from_slice(&buffer[..length]);
                    self.outgoing.extend_from_slice(&buffer[..length]);
                    let whole = self.incoming.len() / Message::LENGTH * Message::LENGTH;
                    for bytes in self.incoming.drain(..whole).as_slice().chunks(Message::LENGTH) {
                        if let Some(message) = Message::decode(bytes) {
                            note(message, received);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.flush(),
                Err(_) => return false,
            }
        }
    }

    /// Sends what can be sent; `false` when the connection is over.
    fn flush(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(length) => _ = self.outgoing.drain(..length),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

fn answer_sctp(socket: &UdpSocket, ports: &SctpPorts, packet: Option<Packet>, from: IpAddr) {
    let Some(Packet { source, destination, chunk: Chunk::Init { tag }, .. }) = packet else { return };
    let chunk = if lock(ports).contains(&destination) { Chunk::InitAck } else { Chunk::Abort };
    let answer = Packet { source: destination, destination: source, tag, chunk };
    // An answer that cannot be sent is one that does not arrive.
    let _ = socket.send_to(&answer.encode(), SocketAddr::new(from, 0));
}

/// What was received, until nothing is left. ICMP errors about earlier answers are passed over.
fn received<T>(result: io::Result<T>) -> Option<T> {
    result.ok()
}
