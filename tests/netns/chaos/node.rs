//! What happens to the agent itself: upgrades, a second one, clocks that jump, a disk that is full.

use crate::cluster::{Agent, Cluster, PATIENCE, policy};
use libtest_mimic::Trial;
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::dns::{DnsServer, Mood};
use netsim_testkit::netns::{Counter, Flow, Outcome, Packets, Place, Probe, Storm, Try, Wiring};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NODE: &str = "node-2";
const NAME: &str = "api.example.com";
/// Another name, whose addresses do not count for long.
const SHORT: &str = "short.example.com";
/// The longest that something allowed may be lost while only an agent comes or goes: its rules stay, so this is what a
/// busy machine does by itself.
const NO_OUTAGE: Duration = Duration::from_millis(500);

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 5] = [
        ("upgrades_with_other_options_under_probing", upgrades),
        ("of_two_agents_started_at_once_one_does_everything", two_at_once),
        ("a_clock_that_jumps_ends_nothing_and_keeps_nothing", clock_jumps),
        ("a_full_disk_costs_what_is_saved_of_names_and_nothing_else", full_disk_of_names),
        ("a_full_disk_costs_lines_about_flows_and_nothing_else", full_disk_of_flows),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("chaos::node::{name}"), move || {
                test();
                Ok(())
            })
        })
        .collect()
}

/// Only pod-1-1 may reach pod-2-1, on TCP 80.
fn only_first() -> Value {
    policy(
        "x",
        "only-first",
        json!({
            "podSelector": {"matchLabels": {"app": "pod-2-1"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "pod-1-1"}}}], "ports": [{"port": 80}]}],
        }),
    )
}

/// A policy about a pod that nobody watches.
fn toggled(on: bool) -> Value {
    let types = if on { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
    policy("x", "toggled", json!({"podSelector": {"matchLabels": {"app": "pod-2-2"}}, "policyTypes": types}))
}

fn running(options: &[&str]) -> Cluster {
    let cluster = Cluster::running(2, 2, Wiring::Bridged, options);
    cluster.change(&[NODE], |api| {
        api.apply(only_first());
    });
    cluster
}

/// Waits until something is so, for which there is nothing to be told by.
fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The value of a metric that may not be there yet.
fn metric(agent: &Agent, name: &str) -> f64 {
    let (_, text) = agent.get("/metrics");
    let lines = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// How often an agent said something.
fn said(agent: &Agent, text: &str) -> usize {
    agent.log().lines().filter(|line| line.contains(text)).count()
}

/// Connections that are allowed and others that are denied, all the time, and one that lasts.
struct Watchers {
    allowed: Storm,
    denied: Storm,
    leaked: Vec<Counter>,
    flow: Flow,
    began: Instant,
}

impl Watchers {
    fn new(cluster: &Cluster) -> Self {
        let server = cluster.pod("pod-2-1");
        server.listen(Protocol::Tcp, 80);
        let first = cluster.pod("pod-1-1");
        let strangers = [cluster.pod("pod-1-2"), cluster.pod("pod-2-2"), cluster.fabric.outside()];
        let to = |family| server.at(family, 80);
        let denied = |place: &Place| Family::ALL.map(|family| Probe::tcp(place, to(family)));
        let leaked = |place: &Place| {
            Family::ALL.map(|family| {
                let from = place.address(family).expect("both families");
                server.count(&Packets::any().from(from).port(Protocol::Tcp, 80))
            })
        };
        let flow = cluster.fabric.flow(&first, to(Family::V4), Protocol::Tcp).every(Duration::from_millis(10)).start();
        let denied: Vec<Probe> = strangers.iter().flat_map(denied).collect();
        let allowed = Family::ALL.map(|family| Probe::tcp(&first, to(family)));
        Watchers {
            leaked: strangers.iter().flat_map(leaked).collect(),
            denied: cluster.fabric.storm(denied).every(Duration::from_millis(4)).start(),
            allowed: cluster.fabric.storm(allowed).every(Duration::from_millis(8)).start(),
            flow,
            began: Instant::now(),
        }
    }

    /// Goes on for a while, then judges: nothing that is denied has passed, and what is allowed was not lost.
    fn finish(self) {
        let now = Instant::now();
        assert!(self.allowed.wait_tries(now, 50) && self.denied.wait_tries(now, 100));
        assert!(self.flow.wait_at_client(now, PATIENCE).is_some(), "the connection ended: {:?}", self.flow.broken());
        let gap = self.flow.longest_gap(self.began);
        assert!(self.denied.stop().iter().all(|t| t.outcome == Outcome::Lost), "what is denied got an answer");
        let leaked: u64 = self.leaked.iter().map(Counter::packets).sum();
        assert_eq!(leaked, 0, "packets of what is denied arrived");
        let allowed = self.allowed.stop();
        let outage = Try::longest_outage(&allowed);
        let length = self.began.elapsed();
        println!(
            "{} allowed connections in {length:?}: longest outage {outage:?}, longest pause {gap:?}",
            allowed.len()
        );
        assert!(outage < NO_OUTAGE, "what is allowed was lost for {outage:?}");
        assert!(gap < NO_OUTAGE, "an established connection had a pause of {gap:?}");
    }
}

/// The status of a page of whoever answers at a socket; 0 if nobody does.
fn ask_socket(path: &Path, page: &str) -> u16 {
    let mut answer = String::new();
    let asked = UnixStream::connect(path).and_then(|mut stream| {
        write!(stream, "GET {page} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    if asked.is_err() {
        return 0;
    }
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// Waits until one agent does all there is to do on a node: it is ready, tells of denied connections, and is the one
/// who answers at the socket.
fn does_everything(cluster: &Cluster, agent: &Agent) {
    agent.wait_ready();
    until("the socket is not the owner's", || ask_socket(&cluster.socket(NODE), "/readyz") == 200);
    let told = metric(agent, "netsim_enforcer_denied_flows_total");
    until("the owner tells of no denied connections", || metric(agent, "netsim_enforcer_denied_flows_total") > told);
}

fn upgrades() {
    let mut cluster = running(&[]);
    let watchers = Watchers::new(&cluster);
    // What one version has and the next one has not.
    let options: [&[&str]; 5] = [
        &["--flow-interval", "300ms", "--unknown-pods", "allow"],
        &["--log-denied", "false", "--coalesce", "20ms"],
        &["--mark-mask", "0xf0000000", "--flow-interval", "300ms"],
        &["--log-group", "4713", "--flow-interval", "1s"],
        &["--flow-interval", "300ms"],
    ];
    for round in 0..10 {
        let mut old = cluster.agents.remove(NODE).expect("an agent");
        let options = options[round % options.len()];
        let start = |cluster: &Cluster| cluster.agent_with(NODE, |command| _ = command.args(options));
        // The cluster does not stand still for it.
        cluster.api.apply(toggled(round % 2 == 0));
        let new = match round % 4 {
            // As a DaemonSet does by default.
            0 => {
                assert_eq!(old.terminate(), 0);
                start(&cluster)
            }
            // The next one comes while the one before it ends.
            1 => {
                old.ask_to_end();
                let new = start(&cluster);
                assert_eq!(old.wait_end(), 0);
                new
            }
            // It is there before, and waits: as with `maxSurge`.
            2 => {
                let new = start(&cluster);
                new.wait_message("belongs to another process");
                new.wait_status(503);
                assert_eq!(old.terminate(), 0);
                new
            }
            _ => {
                old.kill();
                start(&cluster)
            }
        };
        new.wait_ready();
        cluster.agents.insert(NODE.to_owned(), new);
    }
    does_everything(&cluster, &cluster.agents[NODE]);
    watchers.finish();
    cluster.verify(NODE, &[]).unwrap_or_else(|differs| panic!("{differs}"));
}

fn two_at_once() {
    let mut cluster = running(&["--flow-interval", "300ms"]);
    let watchers = Watchers::new(&cluster);
    for round in 0..2 {
        cluster.agents.remove(NODE).expect("an agent").kill();
        let two = [cluster.agent(NODE), cluster.agent(NODE)];
        until("none of them owns the table", || two.iter().any(|agent| said(agent, "the table is in place") > 0));
        let [a, b] = two;
        let (mut owner, other) = if said(&a, "the table is in place") > 0 { (a, b) } else { (b, a) };
        other.wait_message("belongs to another process");
        let reasons = other.wait_status(503);
        assert!(reasons.contains("another process"), "{reasons}");
        does_everything(&cluster, &owner);
        let before = owner.programmed();
        cluster.api.apply(toggled(round % 2 == 0));
        owner.wait_programmed(before + 1);
        assert_eq!(said(&other, "the table is in place"), 0, "there are two owners");
        if round == 1 {
            assert_eq!(owner.terminate(), 0);
        } else {
            owner.kill();
        }
        does_everything(&cluster, &other);
        assert!(said(&other, "cannot be asked for") <= 1, "{}", other.log());
        cluster.agents.insert(NODE.to_owned(), other);
    }
    watchers.finish();
}

fn outside(n: u8) -> [IpAddr; 2] {
    let n6 = u16::from(n);
    [Ipv4Addr::new(198, 51, 100, n).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, n6).into()]
}

/// A directory that is gone afterwards, and what was mounted there.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netsim-chaos-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }

    /// A disk of its own, of so many bytes; only this process and what it starts have it mounted.
    fn disk(name: &str, size: usize) -> Self {
        let directory = Directory::new(name);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&directory.0);
        assert!(mount.status().expect("the program `mount`").success());
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let filler = OpenOptions::new().append(true).create(true).open(self.path("filler"));
        let mut filler = filler.expect("a file");
        while filler.write_all(&[0; 512]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.path("filler")).expect("what took the room");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = Command::new("umount").args(["-q", "-l"]).arg(&self.0).status();
        _ = fs::remove_dir_all(&self.0);
    }
}

/// A cluster with a pod that may go to names on port 443 and nowhere else, besides what [`only_first`] says.
struct World {
    cluster: Cluster,
    dns: DnsServer,
}

impl World {
    fn new(options: &[&str]) -> Self {
        let dns = DnsServer::start();
        let server = dns.address().to_string();
        let names = ["--dns-server", &server, "--dns-learn", "false", "--dns-min-ttl", "1s"];
        let cluster = Cluster::new(2, 2, Wiring::Bridged, &[&names, options].concat());
        (1..=4).flat_map(outside).for_each(|address| cluster.fabric.add_outside_address(address));
        cluster.fabric.outside().listen(Protocol::Tcp, 443);
        cluster.api.install("netsim.dev/v1alpha1", "EgressDomainPolicy");
        cluster.api.apply(only_first());
        cluster.api.apply(json!({
            "apiVersion": "netsim.dev/v1alpha1", "kind": "EgressDomainPolicy",
            "metadata": {"namespace": "x", "name": "outside"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "pod-2-2"}},
                "egress": [{"to": [{"domainNames": [NAME, SHORT]}], "ports": [{"port": 443}]}],
            },
        }));
        World { cluster, dns }
    }

    fn to(&self, n: u8, family: Family) -> Probe {
        let address = outside(n).into_iter().find(|a| Family::of(*a) == family).expect("both families");
        Probe::tcp(&self.cluster.pod("pod-2-2"), SocketAddr::new(address, 443))
    }

    fn reached(&self, n: u8) -> usize {
        let probes = Family::ALL.map(|family| self.to(n, family));
        self.cluster.fabric.probe_all(&probes).iter().filter(|outcome| outcome.passed()).count()
    }

    /// Waits until new connections come through in both families, or in none.
    fn wait(&self, n: u8, reached: bool) {
        let wanted = if reached { 2 } else { 0 };
        until(&format!("address {n} does not come to be reached: {reached}"), || self.reached(n) == wanted);
    }
}

/// Where a program has its time from; a file says how far off that is.
struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    fn new(directory: &Directory) -> Self {
        let places = fs::read_dir("/usr/lib").expect("libraries").flatten().map(|entry| entry.path());
        let library = places
            .chain(["/usr/lib64".into(), "/usr/local/lib".into()])
            .map(|place: PathBuf| place.join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .expect("libfaketime, of the package `faketime`: `make setup` installs it");
        let clock = Clock { file: directory.path("clock"), library };
        clock.jump("+0");
        clock
    }

    fn jump(&self, by: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, by).and_then(|()| fs::rename(&new, &self.file)).expect("a file");
    }

    /// Only the wall clock: the one for measuring never jumps.
    fn prepare(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        let settings = ["FAKETIME_NO_CACHE", "DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"];
        settings.into_iter().for_each(|name| _ = command.env(name, "1"));
        command.env("FAKETIME_DISABLE_SHM", "1");
    }
}

fn clock_jumps() {
    let directory = Directory::new("clock");
    let (clock, state) = (Clock::new(&directory), directory.path("state.json").display().to_string());
    let mut world = World::new(&["--dns-state", &state]);
    world.dns.set(NAME, 3600, outside(1));
    world.dns.set(SHORT, 1, outside(2));
    let start = |world: &mut World, options: &[&str]| {
        let agent = world.cluster.agent_with(NODE, |command| {
            clock.prepare(command);
            command.args(options);
        });
        agent.wait_ready();
        world.cluster.agents.insert(NODE.to_owned(), agent);
    };
    let grace = ["--dns-grace", "1s"];
    start(&mut world, &grace);
    (1..=2).for_each(|n| world.wait(n, true));
    let watchers = Watchers::new(&world.cluster);
    let storm = |world: &World, n| {
        let probes = Family::ALL.map(|family| world.to(n, family));
        world.cluster.fabric.storm(probes).every(Duration::from_millis(10)).start()
    };
    let kept = storm(&world, 1);
    let to = world.to(1, Family::V4).to();
    let flow = world.cluster.fabric.flow(&world.cluster.pod("pod-2-2"), to, Protocol::Tcp).start();
    let written = || {
        let Ok(state) = serde_json::from_slice::<Value>(&fs::read(&state).unwrap_or_default()) else { return 0 };
        state["written"].as_u64().unwrap_or_default()
    };
    // Hours forward and back while it runs: nothing ends before its time, and what is short ends in time.
    let hour = 3_600_000;
    for (n, (jump, hours)) in [("+3h", 3_i64), ("-6h", -6), ("+9000h", 9000)].into_iter().enumerate() {
        clock.jump(jump);
        // The program believes in it: otherwise nothing here would be shown.
        let seen = || {
            let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
            let off = i64::try_from(written()).expect("a time") - i64::try_from(now).expect("a time");
            (off - hours * hour).abs() < hour / 60
        };
        until("the agent does not see the clock jump", seen);
        let other = if n % 2 == 0 { 3 } else { 2 };
        world.dns.set(SHORT, 1, outside(other));
        world.wait(other, true);
        world.wait(5 - other, false);
    }
    let asked = world.dns.asked();
    assert!(asked < 150, "the agent asked {asked} times: a step of the clock makes questions due");
    // Behind when it comes back: what was saved has what it had, and says that something is odd.
    world.dns.be(Mood::Fails);
    world.cluster.agents.get_mut(NODE).expect("an agent").kill();
    clock.jump("-6h");
    start(&mut world, &grace);
    world.cluster.agents[NODE].wait_message("is from the future");
    assert!(kept.wait_tries(Instant::now(), 50));
    let outage = Try::longest_outage(&kept.stop());
    assert!(outage < NO_OUTAGE, "a name was lost for {outage:?}");
    // Even further behind, and never more than an answer could give it now.
    world.cluster.agents.get_mut(NODE).expect("an agent").kill();
    clock.jump("-9000h");
    let begun = Instant::now();
    start(&mut world, &["--dns-grace", "1s", "--dns-max-ttl", "3s", "--dns-stale", "1s"]);
    world.wait(1, false);
    let lived = begun.elapsed();
    println!("with the clock years behind, an address that could have four seconds had {lived:?}");
    assert!(lived < Duration::from_secs(12), "an address lived for {lived:?}");
    // Ahead when it comes back: all of that time counts as passed.
    world.dns.be(Mood::Up);
    assert_eq!(world.cluster.agents.get_mut(NODE).expect("an agent").terminate(), 0);
    start(&mut world, &grace);
    world.wait(1, true);
    until("nothing is written", || ends_in(&state, NAME) > Duration::from_secs(1800));
    world.dns.be(Mood::Fails);
    world.cluster.agents.get_mut(NODE).expect("an agent").kill();
    clock.jump("-8997h");
    start(&mut world, &grace);
    assert_eq!(world.reached(1), 0, "hours after its end, an address counts: {}", world.cluster.agents[NODE].log());
    let now = Instant::now();
    assert!(flow.wait_at_client(now, PATIENCE).is_some(), "an established one ended: {:?}", flow.broken());
    let gap = flow.longest_gap(begun);
    assert!(gap < NO_OUTAGE, "an established connection had a pause of {gap:?}");
    watchers.finish();
}

/// How long the addresses of a name count from when the state was written, by what is written.
fn ends_in(state: &str, name: &str) -> Duration {
    let state: Value = fs::read(state).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let names = state["answers"]["names"].as_array().cloned().unwrap_or_default();
    let of_name = names.iter().filter(|one| one["name"] == name);
    let ends = of_name.flat_map(|one| one["addresses"].as_object().cloned().unwrap_or_default());
    let last = ends.filter_map(|(_, end)| end.as_u64()).max().unwrap_or_default();
    Duration::from_millis(last.saturating_sub(state["written"].as_u64().unwrap_or_default()))
}

fn full_disk_of_names() {
    // Room for two files of one page each, and some.
    let disk = Directory::disk("names", 16 * 1024);
    let state = disk.path("state.json");
    let mut world = World::new(&["--dns-state", state.to_str().expect("a path"), "--dns-grace", "1s"]);
    world.dns.set(NAME, 3600, outside(1));
    world.dns.set(SHORT, 1, outside(2));
    let agent = world.cluster.agent(NODE);
    agent.wait_ready();
    world.cluster.agents.insert(NODE.to_owned(), agent);
    (1..=2).for_each(|n| world.wait(n, true));
    let watchers = Watchers::new(&world.cluster);
    let read = || fs::read_to_string(&state).unwrap_or_default();
    until("nothing is written", || read().contains("198.51.100.1\"") && read().contains("198.51.100.2\""));
    let agent = &world.cluster.agents[NODE];
    // A file that is being replaced leaves room.
    until("writing never fails", || {
        disk.fill();
        metric(agent, "netsim_enforcer_dns_state_failures_total") > 0.5
    });
    let old = read();
    serde_json::from_str::<Value>(&old).expect("the old file, whole");
    // Names and policies go on.
    world.dns.set(SHORT, 1, outside(3));
    world.wait(3, true);
    world.wait(2, false);
    world.cluster.change(&[NODE], |api| api.apply(toggled(true)));
    agent.wait_metric("netsim_enforcer_dns_state_failures_total", 2.0);
    assert_eq!(said(agent, "the state of names, cannot be written"), 1, "{}", agent.log());
    assert_eq!(read(), old, "the old file is another");
    agent.wait_status(200);
    // A restart in the middle of it begins with what was written.
    world.cluster.agents.get_mut(NODE).expect("an agent").kill();
    let agent = world.cluster.agent(NODE);
    agent.wait_ready();
    let known = agent.wait_message("read what was known of names");
    assert!(known.fields["addresses"].as_u64() >= Some(2), "{known:?}");
    // There is room again.
    world.wait(3, true);
    agent.wait_metric("netsim_enforcer_dns_state_failures_total", 1.0);
    disk.make_room();
    agent.wait_message("the state of names is written again");
    until("what is new is not written", || read().contains("198.51.100.3\""));
    assert_eq!(said(&agent, "the state of names, cannot be written"), 1);
    world.cluster.agents.insert(NODE.to_owned(), agent);
    watchers.finish();
}

fn full_disk_of_flows() {
    let disk = Directory::disk("flows", 16 * 1024);
    let log = disk.path("flows.jsonl");
    let mut cluster = Cluster::new(2, 2, Wiring::Bridged, &["--flow-interval", "100ms"]);
    cluster.api.apply(only_first());
    let agent = cluster.agent_with(NODE, |command| _ = command.arg("--flow-log").arg(&log));
    agent.wait_ready();
    cluster.agents.insert(NODE.to_owned(), agent);
    let watchers = Watchers::new(&cluster);
    let agent = &cluster.agents[NODE];
    // It fills the disk by itself.
    let warning = agent.wait_message("denied connections cannot be written to");
    assert_eq!(warning.level, "WARN");
    let failures = "netsim_enforcer_flow_sink_failures_total";
    agent.wait_metric(failures, 20.0);
    assert_eq!(said(agent, "denied connections cannot be written to"), 1, "{}", agent.log());
    // Nobody else misses anything.
    let told = metric(agent, "netsim_enforcer_denied_flows_total");
    until("nothing is told", || metric(agent, "netsim_enforcer_denied_flows_total") > told);
    cluster.change(&[NODE], |api| api.apply(toggled(true)));
    assert_eq!(ask_socket(&cluster.socket(NODE), "/flows"), 200);
    agent.wait_status(200);
    // Somebody makes room, as those do who rotate logs in place.
    let before = metric(agent, failures);
    assert!(before > 19.5);
    OpenOptions::new().write(true).truncate(true).open(&log).expect("the log");
    agent.wait_message("denied connections are written to");
    until("nothing is written", || fs::metadata(&log).is_ok_and(|there| there.len() > 2000));
    let text = fs::read_to_string(&log).expect("the log");
    // The first one may end a line that was cut off, the last one may be on its way.
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    for line in &lines[..lines.len() - 1] {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("`{line}`: {error}"));
    }
    watchers.finish();
}
