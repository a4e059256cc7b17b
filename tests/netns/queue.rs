//! DNS answers on their way to pods: held until they are told to go on, all others never.

use libtest_mimic::Trial;
use netsim_enforcer::kernel::queue::{AsyncQueue, Event, Packet, Queue};
use netsim_enforcer::kernel::{Contents, Kernel, Ownership, Queueing};
use netsim_enforcer::learn::packet::Ends;
use netsim_enforcer::learn::{Learned, Learner, Nothing};
use netsim_enforcer::render::learn::{Learning, Parts, parts, pods_set};
use netsim_enforcer::ruleset::text::table;
use netsim_enforcer::ruleset::{Chain, Hook, Key, Ruleset, Set, SetKind, Statement, Verdict};
use netsim_enforcer::transaction::replace;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::netns::{Fabric, Layout, Place, Wiring};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const TABLE: &str = "netsim";
const QUEUE: u16 = 4712;
/// More than anything here holds at once.
const LENGTH: u32 = 4096;
/// What is not there after so long will not come: answers take well under a millisecond.
const QUIET: Duration = Duration::from_millis(60);
/// What has to come may take so long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

type Test = fn(Wiring);

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, Test); 9] = [
        ("an_answer_waits_for_its_verdict", waits),
        ("what_is_no_answer_for_a_pod_that_learns_is_not_queued", not_queued),
        ("a_stream_of_answers_waits_at_the_segment_that_completes_one", streams),
        ("an_answer_of_a_service_is_known_by_what_was_asked", service),
        ("a_cache_on_the_node_is_heard_tracked_or_not", cache),
        ("an_answer_from_elsewhere_than_its_resolver_is_not_heard", forged),
        ("a_thousand_answers_are_all_released", thousand),
        ("a_full_queue_lets_pass_what_it_cannot_hold", full),
        ("answers_pass_when_nobody_listens_any_more", nobody),
    ];
    let with = |wiring: Wiring| {
        tests.map(move |(name, test)| {
            let name = format!("queue::{wiring:?}::{name}").to_lowercase();
            Trial::test(name, move || {
                test(wiring);
                Ok(())
            })
        })
    };
    let latency = Trial::test("queue::figures_of_the_time_that_holding_takes", || {
        latency();
        Ok(())
    });
    // `--ignored` prints them.
    Wiring::ALL.into_iter().flat_map(with).chain([latency.with_ignored_flag(true)]).collect()
}

/// The node with pods that ask, a resolver beside them and one elsewhere.
struct World {
    fabric: Fabric,
    kernel: Kernel,
}

const NAME: &str = "www.example.com";
/// A Service, and a cache on the node.
const SERVICE: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
const CACHE: [&str; 2] = ["169.254.20.10", "fd00:169::10"];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn of(family: Family, both: [&str; 2]) -> IpAddr {
    ip(if family == Family::V4 { both[0] } else { both[1] })
}

impl World {
    /// The pod `learner` learns from both resolvers.
    fn new(wiring: Wiring) -> World {
        let mut layout = Layout::new().node("node-1", wiring).node("node-2", wiring);
        let pods = [("learner", 1, 1), ("other", 1, 2), ("near", 1, 53), ("far", 2, 53), ("stranger", 2, 54)];
        for (name, node, host) in pods {
            let v6 = IpAddr::from([0xfd00, 0x244, node, 0, 0, 0, 0, host]);
            let v4 = IpAddr::from([10, 244, node as u8, host as u8]);
            layout = layout.pod(name, format!("node-{node}"), [v4, v6]);
        }
        let fabric = Fabric::build(&layout);
        let kernel = Kernel::open(Some(fabric.node("node-1").netns_path()), TABLE, Ownership::Owned);
        let world = World { fabric, kernel: kernel.unwrap_or_else(|e| panic!("{e}")) };
        world.load();
        world
    }

    /// Loads the rules, and sees to it that they are read and listed as they are.
    fn load(&self) {
        let queueing = self.kernel.queueing().wait().unwrap_or_else(|e| panic!("{e}"));
        let Some(via) = queueing.via() else {
            let Queueing::Unavailable { why } = queueing else { unreachable!() };
            panic!("THIS TEST NEEDS A KERNEL THAT CAN QUEUE PACKETS: {why}");
        };
        let mut resolvers: Vec<IpAddr> =
            ["near", "far"].iter().flat_map(|pod| self.fabric.pod(pod).addresses()).collect();
        resolvers.extend(SERVICE.map(ip));
        resolvers.extend(CACHE.map(ip));
        let Parts { mut chains, mut sets } = parts(&Learning { resolvers, queue: QUEUE, via });
        for family in Family::ALL {
            let learner = self.fabric.pod("learner").address(family).expect("both families");
            let elements = [(Key::Address(learner), None)].into_iter().collect();
            sets.insert(pods_set(family), Arc::new(Set::new(SetKind::Addresses(family), elements)));
        }
        // What judges lets packets of established flows go early.
        for (name, hook) in [("forward", Hook::Forward), ("output", Hook::Output)] {
            let rules = vec![vec![Statement::CtReply, Statement::Verdict(Verdict::Accept)]];
            chains.insert(name.into(), Arc::new(Chain { hook: Some(hook), rules }));
        }
        let ruleset = Ruleset { chains, sets };
        let committed = self.kernel.commit(replace(false, &ruleset)).wait();
        committed.unwrap_or_else(|e| panic!("{e}\n{}", table(TABLE, &ruleset)));
        let dump = self.kernel.read().wait().expect("the table is read").expect("there is a table");
        assert_eq!(dump.contents, Contents::expected(&ruleset).expect("it can be expressed"));
        let listed = self.fabric.node("node-1").try_nft("list ruleset\n").unwrap_or_else(|e| panic!("nft: {e}"));
        assert_eq!(listed.matches(&format!(" {QUEUE}")).count(), 12, "{listed}");
    }

    fn queue(&self, length: u32) -> Queue {
        self.kernel.queue(QUEUE, length).wait().unwrap_or_else(|e| panic!("{e}"))
    }

    fn at(&self, pod: &str, family: Family, port: u16) -> SocketAddr {
        self.fabric.pod(pod).at(family, port)
    }

    fn ask(&self, pod: &str, server: SocketAddr) -> Client {
        let client = self.client(pod, server);
        client.ask(1);
        client
    }

    fn client(&self, pod: &str, server: SocketAddr) -> Client {
        let place = self.fabric.pod(pod);
        let family = Family::of(server.ip());
        let from = SocketAddr::new(place.address(family).expect("both families"), 0);
        let socket = place.exec(|| UdpSocket::bind(from)).expect("a socket");
        socket.connect(server).expect("a route");
        Client(socket)
    }
}

/// A resolver of a pod, over UDP.
struct Client(UdpSocket);

impl Client {
    fn ask(&self, id: u16) {
        self.0.send(&query(id, NAME)).expect("the query is sent");
    }

    /// The number of the next answer.
    fn answered(&self, within: Duration) -> Option<u16> {
        self.0.set_read_timeout(Some(within)).expect("a timeout");
        let mut buffer = [0; 512];
        match self.0.recv(&mut buffer) {
            Ok(length) => {
                assert!(length > query(1, NAME).len(), "an answer");
                Some(u16::from_be_bytes([buffer[0], buffer[1]]))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

// A server that has one answer for everything.

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut query = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a short label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// With as many addresses as there have to be for a message in several segments.
fn answer(query: &[u8], addresses: u16) -> Vec<u8> {
    let [high, low] = addresses.to_be_bytes();
    let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, high, low, 0, 0, 0, 0], &query[12..]].concat();
    for n in 0..addresses {
        let [high, low] = n.to_be_bytes();
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, high, low]);
    }
    answer
}

fn bind_udp(place: &Place, at: SocketAddr) -> UdpSocket {
    place.exec(|| UdpSocket::bind(at)).unwrap_or_else(|e| panic!("{at} in `{place}`: {e}"))
}

/// Answers on a port of an address until the test is over.
fn serve_udp(place: &Place, at: SocketAddr) {
    let socket = bind_udp(place, at);
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            _ = socket.send_to(&answer(&buffer[..length], 1), from);
        }
    });
}

/// Answers in portions of so many bytes, each a segment.
fn serve_tcp(place: &Place, at: SocketAddr, addresses: u16, portion: usize) {
    let listener = place.exec(|| TcpListener::bind(at)).unwrap_or_else(|e| panic!("{at} in `{place}`: {e}"));
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true).expect("an option");
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                if stream.read_exact(&mut query).is_err() {
                    break;
                }
                let framed = framed(&answer(&query, addresses));
                if framed.chunks(portion).any(|part| stream.write_all(part).is_err()) {
                    break;
                }
            }
        }
    });
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).expect("a short message").to_be_bytes()[..], message].concat()
}

/// The next packet that is held.
#[track_caller]
fn held(queue: &mut Queue) -> Packet {
    match queue.wait().unwrap_or_else(|e| panic!("{e}")) {
        Some(Event::Packet(packet)) => {
            assert!(!packet.cut && !packet.without_checksum && !packet.joined, "{packet:?}");
            packet
        }
        other => panic!("no packet: {other:?}"),
    }
}

#[track_caller]
fn nothing_held(queue: &mut Queue) {
    assert_eq!(queue.poll(), Ok(None));
}

#[track_caller]
fn learned(packet: &Packet) -> (Ends, u16) {
    let learned = Learner::default().read(&packet.payload);
    let Learned::Answers { ends, answers, others } = &learned else { panic!("nothing learned: {learned:?}") };
    let ([answer], []) = (answers.as_slice(), others.as_slice()) else { panic!("not one answer: {learned:?}") };
    assert_eq!((answer.answer.question.as_str(), answer.answer.records.len()), (NAME, 1));
    (*ends, answer.id)
}

fn waits(wiring: Wiring) {
    let world = World::new(wiring);
    let mut queue = world.queue(LENGTH);
    for (family, server) in Family::ALL.into_iter().flat_map(|f| ["near", "far"].map(|server| (f, server))) {
        let at = world.at(server, family, 53);
        serve_udp(&world.fabric.pod(server), at);
        let client = world.ask("learner", at);
        let packet = held(&mut queue);
        assert_eq!(packet.hook, 2);
        let ends = Ends { source: at, destination: client.0.local_addr().expect("it is bound") };
        assert_eq!(learned(&packet), (ends, 1));
        assert_eq!(client.answered(QUIET), None, "{family} {server}: it was not held");
        queue.accept(&[packet.id]).expect("a verdict");
        assert_eq!(client.answered(PATIENCE), Some(1));
        // It is gone: once more is told, and hurts nobody.
        queue.accept(&[packet.id]).expect("a verdict");
        assert_eq!(queue.wait(), Ok(Some(Event::Refused(rustix::io::Errno::NOENT))));
        nothing_held(&mut queue);
    }
}

fn not_queued(wiring: Wiring) {
    let world = World::new(wiring);
    let mut queue = world.queue(LENGTH);
    for family in Family::ALL {
        let (near, stranger) = (world.at("near", family, 53), world.at("stranger", family, 53));
        let elsewhere = world.at("far", family, 5353);
        serve_udp(&world.fabric.pod("near"), near);
        serve_udp(&world.fabric.pod("stranger"), stranger);
        serve_udp(&world.fabric.pod("far"), elsewhere);
        // A pod that does not learn, a server that is no resolver, another port of one that is.
        for (pod, server) in [("other", near), ("learner", stranger), ("learner", elsewhere)] {
            assert_eq!(world.ask(pod, server).answered(PATIENCE), Some(1), "{pod} {server}");
            nothing_held(&mut queue);
        }
        // Who asks from that port, and is answered.
        let learner = world.fabric.pod("learner");
        let socket = learner.exec(|| UdpSocket::bind(learner.at(family, 53))).expect("a socket");
        let client = Client(socket);
        client.0.connect(elsewhere).expect("a route");
        client.ask(1);
        assert_eq!(client.answered(PATIENCE), Some(1));
        nothing_held(&mut queue);
        // And the resolver asks the pod.
        serve_udp(&learner, learner.at(family, 5300));
        assert_eq!(world.ask("near", learner.at(family, 5300)).answered(PATIENCE), Some(1));
        nothing_held(&mut queue);
    }
}

fn streams(wiring: Wiring) {
    // Longer than a segment.
    const ADDRESSES: u16 = 200;
    let world = World::new(wiring);
    let mut queue = world.queue(LENGTH);
    let mut learner = Learner::default();
    // Portions that split lengths and records, and all at once, which the kernel takes apart.
    let servers = [("near", 333), ("far", usize::MAX)];
    for (family, (server, portion)) in Family::ALL.into_iter().flat_map(|f| servers.map(|server| (f, server))) {
        let at = world.at(server, family, 53);
        serve_tcp(&world.fabric.pod(server), at, ADDRESSES, portion);
        let place = world.fabric.pod("learner");
        let connecting = thread::spawn(move || place.exec(|| TcpStream::connect(at)).expect("a connection"));
        // The opening, and what is left of the connection before.
        while !connecting.is_finished() {
            if let Ok(Some(Event::Packet(packet))) = queue.poll() {
                let learned = learner.read(&packet.payload);
                assert!(matches!(learned, Learned::Nothing(Nothing::Part) | Learned::Repeats(_)), "{learned:?}");
                queue.accept(&[packet.id]).expect("a verdict");
            }
            thread::yield_now();
        }
        let mut stream = connecting.join().expect("the client");
        // One question after another on one connection.
        for id in [7, 8] {
            stream.write_all(&framed(&query(id, NAME))).expect("the query is sent");
            let expected = framed(&answer(&query(id, NAME), ADDRESSES));
            let (mut received, mut parts) = (vec![0; expected.len()], 0);
            let last = loop {
                let packet = held(&mut queue);
                match learner.read(&packet.payload) {
                    Learned::Answers { answers, others, .. } => {
                        let [answer] = answers.as_slice() else { panic!("not one answer: {answers:?}") };
                        assert_eq!((answer.id, answer.answer.records.len()), (id, usize::from(ADDRESSES)));
                        assert_eq!(others, []);
                        break packet;
                    }
                    Learned::Nothing(Nothing::Part) => parts += 1,
                    Learned::Repeats(_) => {}
                    other => panic!("{other:?}"),
                }
                queue.accept(&[packet.id]).expect("a verdict");
            };
            assert!(parts > 1, "{parts}");
            // What came before it can be read, the end of the answer cannot.
            stream.set_read_timeout(Some(QUIET)).expect("a timeout");
            let mut length = 0;
            let end = loop {
                match stream.read(&mut received[length..]) {
                    Ok(more @ 1..) => length += more,
                    end => break end,
                }
            };
            assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "{family} {server}");
            queue.accept(&[last.id]).expect("a verdict");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.read_exact(&mut received[length..]).expect("the rest");
            assert_eq!(received, expected);
        }
    }
}

fn service(wiring: Wiring) {
    let world = World::new(wiring);
    let mut queue = world.queue(LENGTH);
    for family in Family::ALL {
        // The servers behind it have another port, and one is none of the resolvers.
        let at = SocketAddr::new(of(family, SERVICE), 53);
        for server in ["near", "stranger"] {
            let backend = world.at(server, family, 5353);
            serve_udp(&world.fabric.pod(server), backend);
            let _service = world.fabric.node("node-1").service(Protocol::Udp, at, &[backend]);
            let client = world.ask("learner", at);
            let packet = held(&mut queue);
            assert_eq!(learned(&packet).0.source, backend);
            assert_eq!(client.answered(QUIET), None);
            queue.accept(&[packet.id]).expect("a verdict");
            assert_eq!(client.answered(PATIENCE), Some(1));
        }
        nothing_held(&mut queue);
    }
}

/// A pod answers for a resolver.
fn forged(wiring: Wiring) {
    let world = World::new(wiring);
    let mut queue = world.queue(LENGTH);
    // On one bridge nobody can tell who sent it.
    let servers: &[&str] = if wiring == Wiring::Bridged { &["far"] } else { &["near", "far"] };
    for (family, server) in Family::ALL.into_iter().flat_map(|f| servers.iter().map(move |server| (f, *server))) {
        let at = world.at(server, family, 53);
        let accomplice = world.fabric.pod("other");
        own_address(&accomplice, at.ip());
        let forger = bind_udp(&accomplice, at);
        // The resolver itself says nothing.
        let _silent = bind_udp(&world.fabric.pod(server), at);
        let client = world.ask("learner", at);
        forger.send_to(&answer(&query(1, NAME), 1), client.0.local_addr().expect("it is bound")).expect("it is sent");
        assert_eq!(client.answered(PATIENCE), Some(1), "{family} {server}");
        nothing_held(&mut queue);
    }
}

/// Gives a place one more address, behind nobody's back.
fn own_address(place: &Place, address: IpAddr) {
    let how: &[&str] = if address.is_ipv4() { &[] } else { &["nodad"] };
    let added = place.spawn(Command::new("ip").args(["addr", "add", &address.to_string(), "dev", "lo"]).args(how));
    assert!(added.and_then(|mut child| child.wait()).expect("`ip` runs").success());
}

fn cache(wiring: Wiring) {
    let world = World::new(wiring);
    let mut queue = world.queue(LENGTH);
    let node = world.fabric.node("node-1");
    for family in Family::ALL {
        let at = SocketAddr::new(of(family, CACHE), 53);
        own_address(&node, at.ip());
        serve_udp(&node, at);
        for tracked in [true, false] {
            if !tracked {
                let ip = if family == Family::V4 { "ip" } else { "ip6" };
                node.nft(&format!(
                    "table inet cache{ip} {{\n\
                       chain in {{\n type filter hook prerouting priority raw\n {ip} daddr {0} notrack\n }}\n\
                       chain out {{\n type filter hook output priority raw\n {ip} saddr {0} notrack\n }}\n\
                     }}\n",
                    at.ip()
                ));
            }
            // The kernel takes a moment to know a new IPv6 address.
            let other = world.client("other", at);
            let answered = (0..100).any(|id| {
                other.ask(id);
                other.answered(QUIET).is_some()
            });
            assert!(answered, "{family}, tracked: {tracked}");
            nothing_held(&mut queue);
            let client = world.ask("learner", at);
            let packet = held(&mut queue);
            assert_eq!((packet.hook, learned(&packet).0.source), (3, at));
            assert_eq!(client.answered(QUIET), None, "{family}, tracked: {tracked}");
            queue.accept(&[packet.id]).expect("a verdict");
            assert_eq!(client.answered(PATIENCE), Some(1));
        }
    }
}

fn thousand(wiring: Wiring) {
    const ALL: u16 = 1000;
    let world = World::new(wiring);
    for family in Family::ALL {
        let at = world.at("far", family, 53);
        serve_udp(&world.fabric.pod("far"), at);
        // As the agent does it: without blocking, and what waits is let go in portions.
        let queue = world.queue(LENGTH);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let listener = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut queue = AsyncQueue::new(queue).expect("a queue");
                let mut learner = Learner::default();
                let (mut stopped, mut waiting, mut seen) = (stopped, Vec::new(), 0);
                loop {
                    tokio::select! {
                        _ = &mut stopped => return seen,
                        event = queue.next() => match event {
                            Ok(Event::Packet(packet)) => {
                                assert!(matches!(learner.read(&packet.payload), Learned::Answers { .. }));
                                waiting.push(packet.id);
                                seen += 1;
                            }
                            other => panic!("{other:?}"),
                        },
                    }
                    if waiting.len() == 50 {
                        queue.accept(&std::mem::take(&mut waiting)).expect("verdicts");
                    }
                }
            })
        });
        let client = world.client("learner", at);
        for portion in 0..ALL / 50 {
            (0..50).for_each(|n| client.ask(portion * 50 + n));
            let mut answers: Vec<_> = (0..50).map(|_| client.answered(PATIENCE)).collect();
            answers.sort_unstable();
            assert_eq!(answers, (0..50).map(|n| Some(portion * 50 + n)).collect::<Vec<_>>());
        }
        stop.send(()).expect("it listens");
        assert_eq!(listener.join().expect("the listener"), ALL);
    }
}

fn full(wiring: Wiring) {
    let world = World::new(wiring);
    let mut queue = world.queue(4);
    let at = world.at("far", Family::V4, 53);
    serve_udp(&world.fabric.pod("far"), at);
    let client = world.client("learner", at);
    (0..10).for_each(|id| client.ask(id));
    let passed: Vec<_> = (0..6).map(|_| client.answered(PATIENCE)).collect();
    assert_eq!(passed, (4..10).map(Some).collect::<Vec<_>>());
    assert_eq!(client.answered(QUIET), None);
    let ids: Vec<u32> = (0..4).map(|_| held(&mut queue).id).collect();
    queue.accept(&ids).expect("verdicts");
    assert_eq!((0..4).map(|_| client.answered(PATIENCE)).collect::<Vec<_>>(), (0..4).map(Some).collect::<Vec<_>>());
}

fn nobody(wiring: Wiring) {
    let world = World::new(wiring);
    for family in Family::ALL {
        let at = world.at("near", family, 53);
        serve_udp(&world.fabric.pod("near"), at);
        // Nobody yet.
        assert_eq!(world.ask("learner", at).answered(PATIENCE), Some(1));
        // A queue that ends lets go what it holds, seen or not.
        let mut queue = world.queue(LENGTH);
        let clients: Vec<Client> = (0..3).map(|_| world.ask("learner", at)).collect();
        held(&mut queue);
        assert_eq!(clients[0].answered(QUIET), None);
        drop(queue);
        assert!(clients.iter().all(|client| client.answered(PATIENCE) == Some(1)));
        assert_eq!(world.ask("learner", at).answered(PATIENCE), Some(1));
        // A listener that is killed: what it held is lost, as its documentation says, and the next
        // question is answered.
        let killed = world.fabric.node("node-1").exec(bare_listener);
        let client = world.ask("learner", at);
        rustix::net::recv(&killed, &mut [0_u8; 4096][..], RecvFlags::empty()).expect("the packet");
        assert_eq!(client.answered(QUIET), None);
        drop(killed);
        assert_eq!(client.answered(QUIET), None);
        client.ask(2);
        assert_eq!(client.answered(PATIENCE), Some(2));
    }
}

/// A listener of the queue that ends as a killed process does.
fn bare_listener() -> rustix::fd::OwnedFd {
    // No program that another test starts meanwhile may inherit it: it would keep the queue.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(netlink::NETFILTER));
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).expect("an address");
    // nfnetlink_queue's message 2: bind (attribute 1), copy packets (attribute 2).
    let [high, low] = QUEUE.to_be_bytes();
    let body = [&[0, 0, high, low][..], &[8, 0, 1, 0, 1, 0, 0, 0], &[9, 0, 2, 0, 0, 0, 255, 255, 2, 0, 0, 0]].concat();
    let length = u32::try_from(16 + body.len()).expect("a short message");
    let head = [&length.to_ne_bytes()[..], &0x0302_u16.to_ne_bytes(), &0x5_u16.to_ne_bytes(), &[0; 8]].concat();
    rustix::net::send(&socket, &[head, body].concat(), SendFlags::empty()).expect("it is sent");
    let mut answer = [0; 64];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).expect("an answer");
    assert_eq!(&answer[16..20], &[0; 4], "the queue is bound: {:?}", &answer[..length]);
    socket
}

/// Prints what a question over UDP takes: without rules that queue, with nobody listening, and held
/// for as long as it takes to read the answer and let it go.
fn latency() {
    const ROUNDS: usize = 2000;
    let median = |client: &Client| {
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                client.ask(1);
                assert_eq!(client.answered(PATIENCE), Some(1));
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        (times[ROUNDS / 2], times[ROUNDS * 99 / 100])
    };
    let world = World::new(Wiring::Routed);
    let at = world.at("far", Family::V4, 53);
    serve_udp(&world.fabric.pod("far"), at);
    for _ in 0..3 {
        println!("a pod that does not learn: {:?}", median(&world.client("other", at)));
        println!("nobody listens:            {:?}", median(&world.client("learner", at)));
        let mut queue = world.queue(LENGTH);
        let client = world.client("learner", at);
        let listener = thread::spawn(move || {
            let mut learner = Learner::default();
            for _ in 0..ROUNDS {
                let packet = held(&mut queue);
                assert!(matches!(learner.read(&packet.payload), Learned::Answers { .. }));
                queue.accept(&[packet.id]).expect("a verdict");
            }
        });
        println!("held, read and let go:     {:?}", median(&client));
        listener.join().expect("the listener");
    }
}
