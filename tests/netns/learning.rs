//! Names learned from the answers that pods get, with packets: the agent as it runs, and a DNS server that pods ask.

use crate::names::{Agent, NODE, outside, pods};
use libtest_mimic::Trial;
use netsim_enforcer::agent::{learning, names};
use netsim_enforcer::kernel::Ownership;
use netsim_shared::dns::answer::Outcome;
use netsim_shared::dns::wire::decode;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::dns::DnsServer;
use netsim_testkit::netns::{Fabric, Layout, Probe, Wiring};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const QUEUE: u16 = 4712;
/// The addresses of the resolver that is configured, and of one that is not.
const RESOLVER: u8 = 101;
const OTHER_RESOLVER: u8 = 102;
/// What resolvers of programs wait before they ask again is longer.
const ASKED_AGAIN: Duration = Duration::from_millis(500);

type Test = fn(Wiring);

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, Test); 5] = [
        ("a_name_is_reached_at_the_first_try", first_try),
        ("over_tcp_too", over_tcp),
        ("only_what_a_policy_names_is_learned_and_only_from_its_resolvers", only_what_is_named),
        ("other_names_on_an_address_are_what_they_are", shared_address),
        ("an_agent_that_is_killed_denies_what_it_did_not_learn_and_nothing_else", killed),
    ];
    let with = |wiring: Wiring| {
        tests.map(move |(name, test)| {
            Trial::test(format!("learning::{wiring:?}::{name}").to_lowercase(), move || {
                test(wiring);
                Ok(())
            })
        })
    };
    let figures = Trial::test("learning::figures_of_the_time_that_learning_takes", || {
        figures();
        Ok(())
    });
    // `--ignored` prints them.
    Wiring::ALL.into_iter().flat_map(with).chain([figures.with_ignored_flag(true)]).collect()
}

struct World {
    fabric: Fabric,
    dns: DnsServer,
    other: DnsServer,
    directory: PathBuf,
}

impl World {
    fn new(test: &str, wiring: Wiring) -> Self {
        let addresses = (1..=OTHER_RESOLVER).flat_map(outside);
        let fabric = Fabric::build(&Layout::grid(1, 2, wiring).outside(addresses));
        fabric.outside().listen(Protocol::Tcp, 443);
        let serve = |n| fabric.outside().exec(move || DnsServer::start_at(SocketAddr::new(outside(n)[0], 53)));
        let (dns, other) = (serve(RESOLVER), serve(OTHER_RESOLVER));
        let name = format!("netsim-learning-{}-{test}-{wiring:?}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        World { fabric, dns, other, directory }
    }

    fn agent(&self) -> Agent {
        self.agent_with(&[outside(RESOLVER)[0]])
    }

    fn agent_with(&self, resolvers: &[IpAddr]) -> Agent {
        let netns = self.fabric.node(NODE).netns_path().to_owned();
        let names = names::Config {
            // Nothing can be asked for here: what is known was learned.
            servers: vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 9)],
            state: Some(self.directory.join("state.json")),
            ..names::Config::default()
        };
        let learning = learning::Config { resolvers: resolvers.to_vec(), queue: QUEUE };
        let agent = Agent::on(netns, names, learning, Ownership::Owned);
        agent.tell(&self.cluster());
        if !resolvers.is_empty() {
            agent.wait_metric("netsim_enforcer_dns_learning", |n| n > 0.5);
        }
        agent
    }

    /// `pod-1-1` may ask both resolvers, and go to the names below `w.example.com`.
    fn cluster(&self) -> String {
        let mut text = pods(&self.fabric);
        let servers: Vec<String> =
            [RESOLVER, OTHER_RESOLVER].map(|n| format!("{{ipBlock: {{cidr: '{}/32'}}}}", outside(n)[0])).into();
        text += &format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: x, name: dns}}, \
             spec: {{podSelector: {{matchLabels: {{app: pod-1-1}}}}, policyTypes: [Egress], egress: [{{to: [{}], \
             ports: [{{protocol: UDP, port: 53}}, {{port: 53}}]}}]}}}}\n---\n",
            servers.join(", ")
        );
        text + "{apiVersion: netsim.dev/v1alpha1, kind: EgressDomainPolicy, metadata: {namespace: x, name: outside}, \
                spec: {podSelector: {matchLabels: {app: pod-1-1}}, \
                egress: [{to: [{domainNames: ['*.w.example.com']}], ports: [{port: 443}]}]}}\n"
    }

    /// Asks as a program would, once; what came within `ASKED_AGAIN`.
    fn ask(&self, resolver: u8, name: &str, family: Family) -> Option<Vec<IpAddr>> {
        let pod = self.fabric.pod("pod-1-1");
        let from = SocketAddr::new(pod.address(Family::V4).expect("an address"), 0);
        let socket = pod.exec(|| UdpSocket::bind(from)).expect("a socket");
        socket.connect(SocketAddr::new(outside(resolver)[0], 53)).expect("a route");
        socket.set_read_timeout(Some(ASKED_AGAIN)).expect("a timeout");
        socket.send(&query(name, family)).expect("the question is sent");
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).ok()?;
        addresses(&buffer[..length])
    }

    /// The same until an answer comes.
    fn look_up(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let until = Instant::now() + crate::cluster::PATIENCE;
        loop {
            if let Some(addresses) = self.ask(RESOLVER, name, family) {
                return addresses;
            }
            assert!(Instant::now() < until, "no answer about {name}");
        }
    }

    fn look_up_over_tcp(&self, name: &str) -> Vec<IpAddr> {
        let server = SocketAddr::new(outside(RESOLVER)[0], 53);
        let mut stream = self.fabric.pod("pod-1-1").exec(|| TcpStream::connect(server)).expect("a connection");
        stream.set_read_timeout(Some(crate::cluster::PATIENCE)).expect("a timeout");
        let query = query(name, Family::V4);
        let framed = [&u16::try_from(query.len()).expect("short").to_be_bytes()[..], &query].concat();
        stream.write_all(&framed).expect("the question is sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).expect("the rest of it");
        addresses(&answer).expect("addresses")
    }

    /// Waits until what was learned is on disk: it is written beside the loop, once a second.
    fn wait_state(&self, address: IpAddr) {
        let until = Instant::now() + crate::cluster::PATIENCE;
        let has = |text: String| text.contains(&format!("\"{address}\""));
        while !std::fs::read_to_string(self.directory.join("state.json")).is_ok_and(has) {
            assert!(Instant::now() < until, "nothing is written");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn reaches(&self, address: IpAddr) -> bool {
        let to = SocketAddr::new(address, 443);
        self.fabric.probe(&Probe::tcp(&self.fabric.pod("pod-1-1"), to)).passed()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn query(name: &str, family: Family) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a short label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, if family == Family::V4 { 1 } else { 28 }, 0, 1]);
    query
}

fn addresses(message: &[u8]) -> Option<Vec<IpAddr>> {
    match decode(message).ok()?.answer.read().outcome {
        Outcome::Addresses(found) => Some(found.into_iter().map(|found| found.address).collect()),
        _ => Some(Vec::new()),
    }
}

fn first_try(wiring: Wiring) {
    let world = World::new("first", wiring);
    let agent = world.agent();
    for n in 1..=60 {
        world.dns.set(&format!("n{n}.w.example.com"), 30, outside(n));
    }
    for n in 1..=60 {
        let family = if n % 3 == 0 { Family::V6 } else { Family::V4 };
        let address = outside(n).into_iter().find(|address| Family::of(*address) == family).expect("both families");
        assert!(!world.reaches(address), "{address} before anybody asked");
        assert_eq!(world.look_up(&format!("n{n}.w.example.com"), family), [address]);
        assert!(world.reaches(address), "{address} at the first try, after {n} names");
    }
    assert!(agent.metric("netsim_enforcer_dns_held_answers_total") > 59.5);
    assert!(agent.metric("netsim_enforcer_dns_late_answers_total") < 0.5, "each was in force before it went on");
}

fn over_tcp(wiring: Wiring) {
    let world = World::new("tcp", wiring);
    let _agent = world.agent();
    for n in 1..=20 {
        let name = format!("n{n}.w.example.com");
        world.dns.set(&name, 30, outside(n));
        assert_eq!(world.look_up_over_tcp(&name), [outside(n)[0]]);
        assert!(world.reaches(outside(n)[0]), "at the first try, after {n} names");
    }
}

fn only_what_is_named(wiring: Wiring) {
    let world = World::new("only", wiring);
    let agent = world.agent();
    for (name, n) in
        [("w.example.com", 1), ("a.example.com", 2), ("xw.example.com", 3), ("a.w.example.com.evil.org", 4)]
    {
        world.dns.set(name, 30, outside(n));
        assert_eq!(world.look_up(name, Family::V4), [outside(n)[0]]);
        assert!(!world.reaches(outside(n)[0]), "{name}");
    }
    // What the other one says is not believed, and goes on unread.
    world.other.set("b.w.example.com", 30, outside(5));
    assert_eq!(world.ask(OTHER_RESOLVER, "b.w.example.com", Family::V4), Some(vec![outside(5)[0]]));
    assert!(!world.reaches(outside(5)[0]));
    // Nor what leads inside (G5).
    world.dns.set("c.w.example.com", 30, world.fabric.pod("pod-1-2").addresses());
    world.fabric.pod("pod-1-2").listen(Protocol::Tcp, 443);
    let inside = world.look_up("c.w.example.com", Family::V4);
    assert!(inside.iter().all(|address| !world.reaches(*address)), "{inside:?}");
    assert!(agent.metric("netsim_enforcer_dns_refused_addresses_total") > 0.5);
    // Several names at once, from one program.
    world.dns.set("d.w.example.com", 30, [outside(6), outside(7), outside(8)].concat());
    let all = world.look_up("d.w.example.com", Family::V4);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|address| world.reaches(*address)), "all of an answer");
}

fn shared_address(wiring: Wiring) {
    let world = World::new("shared", wiring);
    let _agent = world.agent();
    world.dns.set("mine.w.example.com", 30, outside(1));
    world.dns.set("theirs.example.org", 30, outside(1));
    assert_eq!(world.look_up("theirs.example.org", Family::V4), [outside(1)[0]]);
    assert!(!world.reaches(outside(1)[0]), "as long as no name that is allowed has the address");
    world.look_up("mine.w.example.com", Family::V4);
    // What is enforced is addresses: nobody can tell by which name a connection was opened.
    assert!(world.reaches(outside(1)[0]));
}

fn killed(wiring: Wiring) {
    let world = World::new("killed", wiring);
    let mut agent = world.agent();
    world.dns.set("known.w.example.com", 600, outside(90));
    world.look_up("known.w.example.com", Family::V4);
    world.wait_state(outside(90)[0]);
    for round in 1..=5 {
        let (during, after) = (outside(2 * round)[0], outside(2 * round + 1)[0]);
        let name = format!("n{round}.w.example.com");
        world.dns.set(&name, 30, [during]);
        // Answers come all the time, so that one of them is on its way when it is killed.
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| (0..40).filter_map(|_| world.ask(RESOLVER, &name, Family::V4)).count());
            agent.kill();
            assert!(asking.join().expect("no panic") > 0, "DNS goes on without the agent");
        });
        // Whether it was learned or not, nothing else is open, and what was known is.
        assert!(world.reaches(outside(90)[0]), "what was learned holds without the agent");
        assert!(!world.reaches(after));
        let new = format!("m{round}.w.example.com");
        world.dns.set(&new, 30, [after]);
        assert_eq!(world.look_up(&new, Family::V4), [after], "answers pass when nobody listens");
        assert!(!world.reaches(after), "what nobody learned is denied");
        agent = world.agent();
        assert_eq!(world.look_up(&new, Family::V4), [after]);
        assert!(world.reaches(after), "asked again, it is learned");
        world.look_up(&name, Family::V4);
        assert!(world.reaches(during));
    }
}

/// How long a question takes: of a pod that does not learn, and of one that does, for names that are new and for those
/// that are known.
fn figures() {
    let world = World::new("figures", Wiring::Routed);
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}.w.example.com")).collect();
    for (n, name) in (0_u16..).zip(&names) {
        world.dns.set(name, 300, [IpAddr::from([198, 51, (n >> 8) as u8, (n & 0xff) as u8])]);
    }
    let run = |what: &str, names: &[String]| {
        let mut times: Vec<Duration> = names
            .iter()
            .map(|name| {
                let begun = Instant::now();
                world.look_up(name, Family::V4);
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!("{what}: median {:?}, 99 % {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    };
    let off = world.agent_with(&[]);
    run("not learned", &names);
    drop(off);
    let agent = world.agent();
    run("learned, new names", &names);
    run("learned, known names", &names);
    println!("late: {}", agent.metric("netsim_enforcer_dns_late_answers_total"));
}
