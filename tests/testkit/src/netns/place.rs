//! A pod, a node or the outside.

use super::count::{Counter, Packets};
use super::layout::of_family;
use super::message::lock;
use super::responder::{Responder, SctpPorts};
use super::sockets;
use super::space::Space;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::{fmt, io};

/// Where packets come from and go to: a pod, a node, or the outside. A handle; clones are the same
/// place. The namespace lives as long as a handle does.
#[derive(Clone)]
pub struct Place(Arc<Inner>);

struct Inner {
    id: u64,
    name: String,
    space: Space,
    addresses: Mutex<Vec<IpAddr>>,
    listening: Mutex<HashSet<(Protocol, u16)>>,
    sctp_ports: SctpPorts,
    responder: Arc<Responder>,
}

impl Place {
    pub(super) fn new(name: &str, space: Space, addresses: &[IpAddr], responder: &Arc<Responder>) -> Self {
        static ID: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(Inner {
            id: ID.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            space,
            addresses: Mutex::new(addresses.to_vec()),
            listening: Mutex::default(),
            sctp_ports: Arc::default(),
            responder: Arc::clone(responder),
        }))
    }

    /// Its name in the layout.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its addresses; the first of each family is what it opens connections from.
    pub fn addresses(&self) -> Vec<IpAddr> {
        lock(&self.0.addresses).clone()
    }

    /// Its first address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        of_family(&lock(&self.0.addresses), family)
    }

    /// A port of its first address of a family, to be asked for.
    ///
    /// # Panics
    /// If it has no address of that family; see [`Place::address`].
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        let address = self.address(family).unwrap_or_else(|| panic!("`{}` has no {family} address", self.name()));
        SocketAddr::new(address, port)
    }

    /// The path of its network namespace, for as long as it lives.
    pub fn netns_path(&self) -> &Path {
        self.0.space.path()
    }

    /// Runs a closure inside, on a thread of its own. Sockets opened there stay there, whoever uses
    /// them later.
    pub fn exec<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.space.run(work)
    }

    /// Starts a program inside. It lives in the test's mount namespace, so that paths mean the same.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.exec(|| command.spawn())
    }

    /// Runs `nft -f` with this text inside.
    ///
    /// # Panics
    /// If nft does not take it; see [`Place::try_nft`].
    pub fn nft(&self, text: &str) {
        self.try_nft(text).unwrap_or_else(|e| panic!("nft in `{}`: {e}\n{text}", self.name()));
    }

    /// Runs `nft -f` with this text inside, and returns what it prints, or what it complains of.
    pub fn try_nft(&self, text: &str) -> Result<String, String> {
        self.0.space.feed("nft", &["-f", "-"], text)
    }

    /// Listens on a port of all its addresses and answers: TCP connections and datagrams get back
    /// what they send, an SCTP association is accepted. It goes on until the place is removed;
    /// listening twice is listening.
    ///
    /// # Panics
    /// If another program has the port.
    pub fn listen(&self, protocol: Protocol, port: u16) {
        if lock(&self.0.listening).insert((protocol, port)) {
            self.listen_on(protocol, port, &self.addresses());
        }
    }

    /// Counts the packets that arrive here from other places, before any filter here sees them.
    pub fn count(&self, packets: &Packets) -> Counter {
        Counter::start(self, packets)
    }

    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn space(&self) -> &Space {
        &self.0.space
    }

    /// Whether it would answer on this address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        lock(&self.0.addresses).contains(&address)
    }

    /// Answers SCTP on these addresses from now on. Done before anybody listens, because otherwise
    /// the kernel says that it knows no such protocol.
    pub(super) fn answer_sctp(&self, addresses: &[IpAddr]) {
        self.exec(|| {
            for address in addresses {
                let socket = sockets::raw_sctp(*address)
                    .unwrap_or_else(|e| panic!("no raw SCTP socket for {address} of `{}`: {e}", self.name()));
                self.0.responder.serve_sctp(self.id(), socket, Arc::clone(&self.0.sctp_ports));
            }
        });
    }

    /// One more address, on which it listens as on the others.
    pub(super) fn add_address(&self, address: IpAddr) {
        lock(&self.0.addresses).push(address);
        self.answer_sctp(&[address]);
        for (protocol, port) in lock(&self.0.listening).iter() {
            self.listen_on(*protocol, *port, &[address]);
        }
    }

    /// One socket an address, so that answers leave from the address that was asked.
    fn listen_on(&self, protocol: Protocol, port: u16, addresses: &[IpAddr]) {
        let responder = &self.0.responder;
        self.exec(|| {
            for address in addresses {
                let at = SocketAddr::new(*address, port);
                let done = match protocol {
                    Protocol::Tcp => sockets::listener(at).map(|l| responder.serve_tcp(self.id(), l)),
                    Protocol::Udp => sockets::datagrams(at).map(|s| responder.serve_udp(self.id(), s)),
                    Protocol::Sctp => {
                        lock(&self.0.sctp_ports).insert(port);
                        Ok(())
                    }
                };
                done.unwrap_or_else(|e| panic!("`{}` cannot listen on {protocol} {at}: {e}", self.name()));
            }
        });
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Place {}
