//! A DNS server, on loopback or in a namespace, that answers as it is told: names with addresses that come and go, answers that
//! take turns, failures. Enough of the protocol for a resolver that asks for A and AAAA.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// It answers.
    #[default]
    Up,
    /// It answers SERVFAIL.
    Fails,
    /// It does not answer.
    Silent,
}

/// What a name stands for.
#[derive(Debug, Clone, Default)]
struct Zone {
    addresses: Vec<IpAddr>,
    ttl: u32,
    /// How many addresses an answer has; the next answer goes on with the next ones.
    at_once: usize,
    next: usize,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    names: BTreeMap<String, Zone>,
    asked: usize,
    ended: bool,
}

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts one that knows no name.
    ///
    /// # Panics
    /// If there is no socket to be had on loopback.
    pub fn start() -> Self {
        Self::serve(UdpSocket::bind("127.0.0.1:0").expect("a socket on loopback"))
    }

    /// Starts one at an address, over UDP and TCP, in the network namespace of the calling thread.
    ///
    /// # Panics
    /// If the address is not to be had.
    pub fn start_at(address: SocketAddr) -> Self {
        let server = Self::serve(UdpSocket::bind(address).expect("the address"));
        let listener = TcpListener::bind(address).expect("the address");
        let state = Arc::clone(&server.state);
        // It listens until the process ends.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve_stream(stream, &state));
            }
        });
        server
    }

    fn serve(socket: UdpSocket) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let received = socket.recv_from(&mut buffer);
                if lock(&shared).ended {
                    return;
                }
                let Ok((length, from)) = received else { continue };
                if let Some(answer) = answer(&buffer[..length], &mut lock(&shared)) {
                    _ = socket.send_to(&answer, from);
                }
            }
        });
        DnsServer { address, state, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on a name stands for these addresses, all of them in each answer.
    pub fn set(&self, name: &str, ttl: u32, addresses: impl IntoIterator<Item = IpAddr>) {
        self.rotate(name, ttl, usize::MAX, addresses);
    }

    /// From now on a name stands for these addresses, some of them in each answer.
    pub fn rotate(&self, name: &str, ttl: u32, at_once: usize, addresses: impl IntoIterator<Item = IpAddr>) {
        let zone = Zone { addresses: addresses.into_iter().collect(), ttl, at_once, next: 0 };
        lock(&self.state).names.insert(name.to_owned(), zone);
    }

    /// From now on it behaves so.
    pub fn be(&self, mood: Mood) {
        lock(&self.state).mood = mood;
    }

    /// How many questions came so far.
    pub fn asked(&self) -> usize {
        lock(&self.state).asked
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        lock(&self.state).ended = true;
        _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Answers over TCP until the other end has enough.
fn serve_stream(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).ok()?;
        let answer = answer(&query, &mut lock(state))?;
        let framed = [&u16::try_from(answer.len()).ok()?.to_be_bytes()[..], &answer].concat();
        // In two pieces, as it may happen.
        let (head, tail) = framed.split_at(framed.len() / 2);
        stream.set_nodelay(true).ok()?;
        stream.write_all(head).ok()?;
        stream.write_all(tail).ok()?;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;

/// The answer to a question; none to what is no question, or while it is silent.
fn answer(query: &[u8], state: &mut State) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let question = query.get(HEADER..at + 4)?;
    state.asked += 1;
    let (code, addresses, ttl) = match (state.mood, state.names.get_mut(&labels.join("."))) {
        (Mood::Silent, _) => return None,
        (Mood::Fails, _) => (2, Vec::new(), 0),
        (Mood::Up, None) => (3, Vec::new(), 0),
        (Mood::Up, Some(zone)) => {
            let fits = |address: &&IpAddr| (kind == A && address.is_ipv4()) || (kind == AAAA && address.is_ipv6());
            let all: Vec<IpAddr> = zone.addresses.iter().filter(fits).copied().collect();
            let count = zone.at_once.min(all.len());
            let turn: Vec<IpAddr> = (0..count).map(|n| all[(zone.next + n) % all.len()]).collect();
            if count < all.len() {
                zone.next = (zone.next + count) % all.len();
            }
            (0, turn, zone.ttl)
        }
    };
    let mut message = query.get(..2)?.to_vec();
    // An answer, recursion desired and available.
    message.extend([0x81, 0x80 | code]);
    message.extend([1, u16::try_from(addresses.len()).ok()?, 0, 0].map(u16::to_be_bytes).concat());
    message.extend(question);
    for address in addresses {
        // The name is the one of the question.
        message.extend([0xc0, 0x0c]);
        message.extend([if address.is_ipv4() { A } else { AAAA }, 1].map(u16::to_be_bytes).concat());
        message.extend(ttl.to_be_bytes());
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        message.extend(u16::try_from(octets.len()).ok()?.to_be_bytes());
        message.extend(octets);
    }
    Some(message)
}
