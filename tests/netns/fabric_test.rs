//! The fabric itself, so that what other tests say about filters is about filters.

use libtest_mimic::{Failed, Trial};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use netsim_testkit::netns::{Fabric, Layout, Outcome, Packets, Place, Probe, Prober, Try, Wiring};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A body that is run for each wiring.
type Body = fn(Wiring);

const EACH: &[(&str, Body)] = &[
    ("every_pair_reaches_each_other", every_pair_reaches_each_other),
    ("a_drop_loses_what_it_says_and_nothing_else", a_drop_loses_what_it_says_and_nothing_else),
    ("what_a_filter_answers_is_told_apart", what_a_filter_answers_is_told_apart),
    ("pods_of_one_family_have_only_that", pods_of_one_family_have_only_that),
    ("an_address_is_used_again", an_address_is_used_again),
    ("the_outside_has_any_number_of_addresses", the_outside_has_any_number_of_addresses),
    ("a_flow_is_cut_and_comes_back", a_flow_is_cut_and_comes_back),
    ("a_server_sends_by_itself", a_server_sends_by_itself),
    ("a_storm_sees_a_short_drop", a_storm_sees_a_short_drop),
    ("a_service_leads_to_its_backends", a_service_leads_to_its_backends),
    ("a_counter_sees_what_was_not_answered", a_counter_sees_what_was_not_answered),
    ("programs_run_in_places", programs_run_in_places),
];

/// The tests of this module.
pub fn trials() -> Vec<Trial> {
    let each = EACH.iter().flat_map(|(name, body)| {
        Wiring::ALL.map(|wiring| {
            let name = format!("fabric::{name}::{}", format!("{wiring:?}").to_lowercase());
            Trial::test(name, move || -> Result<(), Failed> {
                body(wiring);
                Ok(())
            })
        })
    });
    each.chain([Trial::test("fabric::it_is_quick", || {
        it_is_quick();
        Ok(())
    })])
    .collect()
}

/// Everything that a probe can be, from and to all of these, but for a place and itself.
fn all_probes(places: &[Place], port: u16) -> Vec<Probe> {
    let mut probes = Vec::new();
    for from in places {
        for to in places.iter().filter(|to| *to != from) {
            for family in Family::ALL {
                probes.extend(Protocol::ALL.map(|protocol| Probe::new(from, to.at(family, port), protocol)));
                probes.push(Probe::echo(from, to.at(family, 0).ip()));
            }
        }
    }
    probes
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn listen_all(place: &Place, port: u16) {
    Protocol::ALL.iter().for_each(|protocol| place.listen(*protocol, port));
}

fn ask(probes: &[Probe]) -> Vec<Outcome> {
    Prober::default().confirm_lost().run(probes)
}

/// Fails with those that came out otherwise.
fn assert_outcomes(probes: &[Probe], wanted: impl Fn(&Probe) -> Outcome) {
    let wrong: Vec<String> = probes
        .iter()
        .zip(ask(probes))
        .filter(|(probe, got)| *got != wanted(probe))
        .map(|(probe, got)| format!("{probe}: wanted {:?}, got {got:?}", wanted(probe)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} probes:\n{}", wrong.len(), probes.len(), wrong.join("\n"));
}

fn every_pair_reaches_each_other(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(2, 2, wiring));
    let places = [fabric.pods(), fabric.nodes(), vec![fabric.outside()]].concat();
    for place in &places {
        listen_all(place, 80);
    }
    assert_outcomes(&all_probes(&places, 80), |_| Outcome::Reached);
    assert_outcomes(&all_probes(&places, 81), |probe| {
        if probe.protocol().is_none() { Outcome::Reached } else { Outcome::Refused }
    });
    for place in &places {
        let own: Vec<Probe> = Family::ALL.map(|family| Probe::tcp(place, place.at(family, 80))).to_vec();
        assert_outcomes(&own, |_| Outcome::Reached);
    }
}

fn a_drop_loses_what_it_says_and_nothing_else(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(2, 2, wiring));
    let pods = fabric.pods();
    for pod in &pods {
        listen_all(pod, 80);
    }
    let victim = fabric.pod("pod-1-1");
    fabric.node("node-1").nft(&format!(
        "table inet t {{ chain c {{ type filter hook forward priority -10;\n\
           ip daddr {} tcp dport 80 drop\n ip6 daddr {} udp dport 80 drop\n ip daddr {} sctp dport 80 drop\n\
         }}; }}",
        victim.at(Family::V4, 0).ip(),
        victim.at(Family::V6, 0).ip(),
        victim.at(Family::V4, 0).ip(),
    ));
    let (v4, v6) = (victim.at(Family::V4, 80), victim.at(Family::V6, 80));
    let dropped = |probe: &Probe| {
        (probe.to() == v4 && matches!(probe.protocol(), Some(Protocol::Tcp | Protocol::Sctp)))
            || (probe.to() == v6 && probe.protocol() == Some(Protocol::Udp))
    };
    let probes = all_probes(&pods, 80);
    assert_eq!(probes.iter().filter(|p| dropped(p)).count(), 9);
    assert_outcomes(&probes, |probe| if dropped(probe) { Outcome::Lost } else { Outcome::Reached });
    // A node's own packets pass another hook.
    assert_outcomes(&[Probe::tcp(&fabric.node("node-1"), v4)], |_| Outcome::Reached);
    assert_outcomes(&[Probe::tcp(&fabric.node("node-2"), v4)], |_| Outcome::Lost);
}

fn what_a_filter_answers_is_told_apart(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(1, 2, wiring));
    let (from, to) = (fabric.pod("pod-1-1"), fabric.pod("pod-1-2"));
    let node = fabric.node("node-1");
    node.nft(
        "table inet t { chain c { type filter hook forward priority -10;\n\
           th dport 1 reject with icmpx admin-prohibited\n\
           th dport 2 reject with icmpx port-unreachable\n\
           tcp dport 3 reject with tcp reset\n\
         }; chain out { type filter hook output priority -10; th dport 4 drop; }; }",
    );
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let probe = |port| [Probe::new(&from, to.at(family, port), protocol)];
            assert_outcomes(&probe(1), |_| Outcome::Prohibited);
            assert_outcomes(&probe(2), |_| Outcome::Prohibited);
            assert_outcomes(&probe(3), |_| Outcome::Refused);
            assert_outcomes(&[Probe::new(&node, to.at(family, 4), protocol)], |_| Outcome::Lost);
        }
    }
    let nowhere: [IpAddr; 2] = [ip("192.0.2.200"), ip("2001:db8:f::1")];
    for address in nowhere {
        assert_outcomes(&[Probe::tcp(&from, SocketAddr::new(address, 80))], |_| Outcome::Unreachable);
    }
}

fn pods_of_one_family_have_only_that(wiring: Wiring) {
    let [v4, v6]: [IpAddr; 2] = [ip("10.9.0.1"), ip("fd00:9::1")];
    let layout = Layout::grid(1, 1, wiring).pod("four", "node-1", [v4]).pod("six", "node-1", [v6]);
    let fabric = Fabric::build(&layout.pod("none", "node-1", []));
    let (four, six, both) = (fabric.pod("four"), fabric.pod("six"), fabric.pod("pod-1-1"));
    assert_eq!((four.address(Family::V6), six.address(Family::V4)), (None, None));
    let to = |address| SocketAddr::new(address, 80);
    assert_outcomes(&[Probe::tcp(&both, to(v4)), Probe::tcp(&both, to(v6))], |_| Outcome::Refused);
    assert_outcomes(&[Probe::tcp(&four, to(v6)), Probe::udp(&six, to(v4))], |_| Outcome::Unreachable);
    assert_outcomes(&[Probe::udp(&four, both.at(Family::V4, 80))], |_| Outcome::Refused);
    assert_outcomes(&[Probe::udp(&six, both.at(Family::V6, 80))], |_| Outcome::Refused);
    assert_outcomes(&[Probe::sctp(&fabric.pod("none"), to(v4))], |_| Outcome::Unreachable);
}

fn an_address_is_used_again(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(2, 2, wiring));
    let addresses = fabric.pod("pod-1-1").addresses();
    let others = [fabric.pod("pod-1-2"), fabric.pod("pod-2-1"), fabric.node("node-1"), fabric.outside()];
    let probes: Vec<Probe> = others
        .iter()
        .flat_map(|from| addresses.iter().flat_map(|a| Protocol::ALL.map(|p| Probe::new(from, (*a, 80).into(), p))))
        .collect();
    assert_outcomes(&probes, |_| Outcome::Refused);
    fabric.remove_pod("pod-1-1");
    assert!(ask(&probes).into_iter().all(|outcome| !outcome.passed()));
    for (name, node) in [("again", "node-1"), ("elsewhere", "node-2"), ("back", "node-1")] {
        let pod = fabric.add_pod(name, node, addresses.clone());
        pod.listen(Protocol::Tcp, 80);
        assert_outcomes(&probes, |probe| match probe.protocol() {
            Some(Protocol::Tcp) => Outcome::Reached,
            _ => Outcome::Refused,
        });
        fabric.remove_pod(name);
    }
}

fn the_outside_has_any_number_of_addresses(wiring: Wiring) {
    let more = ["203.0.113.9", "10.99.0.5", "2001:db8:1::9"].map(ip);
    let fabric = Fabric::build(&Layout::grid(1, 1, wiring).outside(more));
    let (pod, outside) = (fabric.pod("pod-1-1"), fabric.outside());
    outside.listen(Protocol::Udp, 53);
    let last: IpAddr = ip("198.51.100.1");
    fabric.add_outside_address(last);
    for address in more.into_iter().chain([last]) {
        assert_outcomes(&[Probe::udp(&pod, (address, 53).into())], |_| Outcome::Reached);
        let counter = pod.count(&Packets::any().from(address).port(Protocol::Tcp, 80));
        let back = Probe::tcp(&outside, pod.at(Family::of(address), 80)).source(address);
        assert_outcomes(&[back], |_| Outcome::Refused);
        assert_eq!(counter.packets(), 1);
    }
}

/// Drops what goes to a port, of connections old and new.
fn cut(node: &Place, protocol: Protocol, port: u16) {
    let protocol = protocol.as_str().to_lowercase();
    node.nft(&format!(
        "table inet cut {{ chain c {{ type filter hook forward priority -10; {protocol} dport {port} drop; }}; }}"
    ));
}

fn a_flow_is_cut_and_comes_back(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(1, 3, wiring));
    let (client, server, node) = (fabric.pod("pod-1-1"), fabric.pod("pod-1-2"), fabric.node("node-1"));
    for (protocol, family) in [(Protocol::Tcp, Family::V4), (Protocol::Udp, Family::V6)] {
        let flow = fabric.flow(&client, server.at(family, 7000), protocol).start();
        let other = fabric.flow(&client, server.at(family, 7001), protocol).start();
        let start = Instant::now();
        flow.wait_until_sent(start, 20);
        assert!(flow.wait_at_server(start, Duration::from_secs(5)).is_some());
        cut(&node, protocol, 7000);
        let cut = Instant::now();
        flow.wait_until_sent(cut, 50);
        other.wait_until_sent(cut, 50);
        assert!(other.wait_at_client(cut, Duration::from_secs(5)).is_some());
        let late: Vec<_> = flow.at_server().into_iter().filter(|a| a.sent >= cut).collect();
        assert!(late.is_empty(), "{late:?}");
        let broken = flow.longest_gap(cut);
        assert!(broken >= Duration::from_millis(50), "{broken:?}");
        node.nft("delete table inet cut");
        let healed = Instant::now();
        assert!(flow.wait_at_client(healed, Duration::from_secs(5)).is_some(), "{:?}", flow.broken());
        let gap = other.longest_gap(start);
        assert!(gap < Duration::from_millis(150), "a flow that nobody cut had a gap of {gap:?}");
        let numbers: Vec<u64> = other.at_client().iter().map(|a| a.sequence).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}

fn a_server_sends_by_itself(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(2, 1, wiring));
    let (client, server) = (fabric.pod("pod-1-1"), fabric.pod("pod-2-1"));
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let flow = fabric.flow(&client, server.at(Family::V6, 7000), protocol).server_sends().start();
        let since = Instant::now();
        let arrival = flow.wait_at_client(since, Duration::from_secs(5)).expect("something from the server");
        assert!(arrival.sequence < 10_000);
        assert_eq!(flow.sent().len(), 1);
        cut(&fabric.node("node-1"), protocol, 9);
        // What the server sends leaves from the port that it listens on.
        fabric.node("node-1").nft(&format!(
            "table inet cut {{ chain d {{ type filter hook forward priority -9; {} sport 7000 drop; }}; }}",
            protocol.as_str().to_lowercase()
        ));
        let cut = Instant::now();
        assert!(flow.wait_at_client(cut, Duration::from_millis(100)).is_none());
        fabric.node("node-1").nft("delete table inet cut");
        assert!(flow.wait_at_client(Instant::now(), Duration::from_secs(5)).is_some());
    }
}

fn a_storm_sees_a_short_drop(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(2, 1, wiring));
    let (client, server) = (fabric.pod("pod-1-1"), fabric.pod("pod-2-1"));
    let node = fabric.node("node-2");
    for protocol in Protocol::ALL {
        server.listen(protocol, 80);
        let probes = [80, 81].map(|port| Probe::new(&client, server.at(Family::V4, port), protocol));
        let storm = fabric.storm(probes).start();
        assert!(storm.wait_tries(Instant::now(), 50));
        cut(&node, protocol, 80);
        let cut = Instant::now();
        assert!(storm.wait_outcome(cut, |outcome| outcome == Outcome::Lost).is_some());
        let healing = Instant::now();
        node.nft("delete table inet cut");
        let healed = Instant::now();
        assert!(storm.wait_tries(healed, 50));
        let tries = storm.stop();
        let of = |probe| tries.iter().filter(move |t| t.probe == probe);
        assert!(of(0).filter(|t| t.started >= cut && t.ended < healing).all(|t| t.outcome == Outcome::Lost));
        let outage = Try::longest_outage(of(0));
        assert!(outage >= Duration::from_millis(200), "{outage:?}");
        assert!(outage <= healed - cut + Duration::from_millis(200), "{protocol}: {outage:?} of {:?}", healed - cut);
        assert_eq!(Try::longest_outage(of(1)), Duration::ZERO);
    }
}

fn a_service_leads_to_its_backends(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(2, 2, wiring));
    let client = fabric.pod("pod-1-1");
    let backends = [fabric.pod("pod-1-2"), fabric.pod("pod-2-1")];
    let virtual_addresses = [SocketAddr::from(([10, 96, 0, 10], 80)), SocketAddr::new(ip("fd00:96::10"), 80)];
    for (family, at) in Family::ALL.into_iter().zip(virtual_addresses) {
        for protocol in Protocol::ALL {
            let to: Vec<SocketAddr> = backends.iter().map(|b| b.at(family, 8080)).collect();
            let service = fabric.node("node-1").service(protocol, at, &to);
            backends.iter().for_each(|b| b.listen(protocol, 8080));
            let from_client = Packets::any().from(client.at(family, 0).ip()).port(protocol, 8080);
            let counters: Vec<_> = backends.iter().map(|b| b.count(&from_client)).collect();
            let from = [&client, &client, &fabric.node("node-1")];
            assert_outcomes(&from.map(|f| Probe::new(f, at, protocol)), |_| Outcome::Reached);
            assert!(counters.iter().all(|c| c.packets() > 0), "{counters:?}");
            if protocol != Protocol::Sctp {
                let flow = fabric.flow(&client, service.address(), protocol).start();
                assert!(flow.wait_at_server(Instant::now(), Duration::from_secs(5)).is_some());
            }
            let masked = service.masquerade();
            let before: Vec<u64> = counters.iter().map(|c| c.packets()).collect();
            let twice = [0, 1].map(|_| Probe::new(&client, masked.address(), protocol));
            assert_outcomes(&twice, |_| Outcome::Reached);
            assert_eq!(before, counters.iter().map(|c| c.packets()).collect::<Vec<_>>());
            drop(masked);
            assert_outcomes(&[Probe::tcp(&client, at)], |_| Outcome::Unreachable);
        }
    }
}

fn a_counter_sees_what_was_not_answered(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(1, 2, wiring));
    let (from, to) = (fabric.pod("pod-1-1"), fabric.pod("pod-1-2"));
    let counter = to.count(&Packets::any().from(from.at(Family::V4, 0).ip()).port(Protocol::Udp, 80));
    // Answers are dropped, requests are not.
    to.nft("table inet t { chain c { type filter hook input priority 0; udp dport 80 drop; }; }");
    let probe = [Probe::udp(&from, to.at(Family::V4, 80))];
    assert_eq!(fabric.probe_all(&probe), [Outcome::Lost]);
    assert_eq!(counter.packets(), 1);
    assert_outcomes(&[Probe::tcp(&from, to.at(Family::V4, 80))], |_| Outcome::Refused);
    assert_eq!(counter.packets(), 1);
}

fn programs_run_in_places(wiring: Wiring) {
    let fabric = Fabric::build(&Layout::grid(1, 1, wiring));
    let (node, pod) = (fabric.node("node-1"), fabric.pod("pod-1-1"));
    let path = pod.netns_path().to_owned();
    let inode = |path: &Path| std::fs::metadata(path).expect("a namespace").ino();
    assert_eq!(inode(&path), pod.exec(|| inode(Path::new("/proc/thread-self/ns/net"))));
    let mut command = Command::new("ip");
    command.args(["-o", "link", "show"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = node.spawn(&mut command).and_then(Child::wait_with_output).expect("`ip` runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("veth0"), "{text}");
    assert_eq!(text.contains("cni0"), wiring == Wiring::Bridged, "{text}");
    fabric.remove_pod("pod-1-1");
    drop(pod);
    assert!(!path.exists());
}

/// Figures for whoever reads along; the bounds are for a machine that does other things as well.
fn it_is_quick() {
    for wiring in Wiring::ALL {
        let start = Instant::now();
        let fabric = Fabric::build(&Layout::grid(3, 3, wiring));
        let built = start.elapsed();
        let pods = fabric.pods();
        let probes: Vec<Probe> = (0..10).flat_map(|port| all_probes(&pods, 8000 + port)).collect();
        let start = Instant::now();
        let passed = fabric.probe_all(&probes).into_iter().filter(|o| o.passed()).count();
        let allowed = start.elapsed();
        for node in fabric.nodes() {
            node.nft("table inet t { chain c { type filter hook forward priority 0; policy drop; }; }");
        }
        let start = Instant::now();
        let lost = fabric.probe_all(&probes).into_iter().filter(|o| *o == Outcome::Lost).count();
        let denied = start.elapsed();
        println!(
            "{wiring:?}: built in {built:.0?}, {} probes: allowed in {allowed:.0?} ({passed} passed), denied in {denied:.0?} ({lost} lost)",
            probes.len(),
        );
        let start = Instant::now();
        fabric.remove_pod("pod-1-1");
        let removed = start.elapsed();
        let start = Instant::now();
        fabric.add_pod("new", "node-1", [IpAddr::from([10, 0, 0, 1])]);
        println!("{wiring:?}: a pod removed in {removed:.1?}, added in {:.1?}", start.elapsed());
        assert_eq!((passed * 100 / probes.len(), lost), (100, probes.len()));
        assert!(built < Duration::from_secs(3) && allowed < Duration::from_secs(3), "{built:?} {allowed:?}");
    }
}
