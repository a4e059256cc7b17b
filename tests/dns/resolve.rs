//! One question to one or two servers: what comes back.

use crate::server::{Asked, Question, Server, address, alias, bytes, start_of_authority};
use hickory_resolver::proto::op::ResponseCode as Code;
use hickory_resolver::proto::rr::RecordType;
use netsim_shared::dns::DomainName;
use netsim_shared::dns::answer::{Failure, Outcome, Reading, ResponseCode};
use netsim_shared::dns::resolver::{Resolver, ResolverError};
use netsim_shared::net::Family;
use std::net::SocketAddr;
use std::time::Duration;

const WWW: &str = "www.example.com";

/// Long enough for a loaded machine; only the tests of silence wait for it, and their clock is paused.
const PATIENCE: Duration = Duration::from_secs(20);

async fn ask_all(servers: &[SocketAddr], name: &str, family: Family) -> Reading {
    let resolver = Resolver::new(servers, PATIENCE).unwrap();
    let name: DomainName = name.parse().unwrap();
    resolver.ask(&name, family).await.map_or_else(Reading::from, |answer| answer.read())
}

async fn ask(server: &Server, name: &str, family: Family) -> Reading {
    ask_all(&[server.address], name, family).await
}

/// Addresses with their times to live in seconds.
fn found(reading: &Reading) -> Vec<(String, u64)> {
    match &reading.outcome {
        Outcome::Addresses(list) => list.iter().map(|f| (f.address.to_string(), f.ttl.as_secs())).collect(),
        other => panic!("{other:?}"),
    }
}

fn one(address: &str, ttl: u64) -> Vec<(String, u64)> {
    vec![(address.to_owned(), ttl)]
}

fn www_only(question: &Question) -> Vec<Vec<u8>> {
    bytes(&[question.answer(vec![address(WWW, 60, "192.0.2.1")])])
}

#[tokio::test]
async fn each_address_has_its_own_time_and_the_least_of_its_chain() {
    let server = Server::start(|question| {
        bytes(&[question.answer(vec![
            alias(WWW, 600, "cdn.example.net"),
            alias("cdn.example.net", 20, "edge.example.org"),
            address("edge.example.org", 300, "192.0.2.1"),
            address("edge.example.org", 10, "192.0.2.2"),
        ])])
    })
    .await;
    let reading = ask(&server, WWW, Family::V4).await;
    assert_eq!(found(&reading), [one("192.0.2.1", 20), one("192.0.2.2", 10)].concat());
    assert_eq!((reading.chain.len(), reading.ignored), (3, 0));
}

#[tokio::test]
async fn nothing_there_is_told_apart_from_failure() {
    let server = Server::start(|question| {
        let mut message = match question.asked.name.as_str() {
            "missing.example.com." => question.code(Code::NXDomain, vec![]),
            "empty.example.com." => question.answer(vec![]),
            "dangling.example.com." => question.answer(vec![alias("dangling.example.com", 60, "gone.example.com")]),
            "refused.example.com." => question.code(Code::Refused, vec![]),
            _ => question.code(Code::ServFail, vec![]),
        };
        message.add_authority(start_of_authority("example.com", 900, 77));
        bytes(&[message])
    })
    .await;
    for (name, outcome) in [
        ("missing.example.com", Outcome::NoSuchName),
        ("empty.example.com", Outcome::NoAddress),
        ("dangling.example.com", Outcome::NoAddress),
        ("refused.example.com", Outcome::Failed(Failure::Code(ResponseCode::Refused))),
        ("broken.example.com", Outcome::Failed(Failure::Code(ResponseCode::ServerFailure))),
    ] {
        assert_eq!(ask(&server, name, Family::V4).await.outcome, outcome, "{name}");
    }
    let resolver = Resolver::new(&[server.address], PATIENCE).unwrap();
    let answer = resolver.ask(&"missing.example.com".parse().unwrap(), Family::V6).await.unwrap();
    assert_eq!(answer.negative_ttl, Some(Duration::from_secs(77)));
}

#[tokio::test]
async fn the_families_are_asked_for_apart() {
    let server = Server::start(|question| {
        bytes(&[match question.asked.kind {
            RecordType::A => question.code(Code::ServFail, vec![]),
            _ => question.answer(vec![address(WWW, 60, "2001:db8::1")]),
        }])
    })
    .await;
    assert!(matches!(ask(&server, WWW, Family::V4).await.outcome, Outcome::Failed(_)));
    assert_eq!(found(&ask(&server, WWW, Family::V6).await), one("2001:db8::1", 60));
}

#[tokio::test]
async fn names_are_asked_for_in_canonical_form_and_absolute() {
    let server = Server::start(|question| bytes(&[question.code(Code::NXDomain, vec![])])).await;
    for (name, asked) in [
        ("WWW.Example.COM.", "www.example.com."),
        ("bücher.example", "xn--bcher-kva.example."),
        ("_srv.example.com", "_srv.example.com."),
        ("r3---sn-abc.example.com", "r3---sn-abc.example.com."),
    ] {
        let before = server.asked().len();
        assert_eq!(ask(&server, name, Family::V4).await.outcome, Outcome::NoSuchName);
        // Once and no more: no search domain, although the name is not there.
        let expected = Asked { name: asked.to_owned(), kind: RecordType::A, tcp: false };
        assert_eq!(server.asked()[before..], [expected], "{name}");
    }
}

#[tokio::test]
async fn letters_come_in_random_case_and_answers_in_another_case_are_not_believed() {
    let server = Server::start(|question| {
        let mut message =
            question.answer(vec![address(WWW, 60, if question.asked.tcp { "192.0.2.1" } else { "192.0.2.66" })]);
        for query in &mut message.queries {
            let flipped: String = query
                .name
                .to_ascii()
                .chars()
                .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
                .collect();
            query.name = hickory_resolver::proto::rr::Name::from_ascii(flipped).unwrap();
        }
        bytes(&[message])
    })
    .await;
    assert_eq!(found(&ask(&server, WWW, Family::V4).await), one("192.0.2.1", 60));
    assert_eq!(server.asked().iter().map(|asked| asked.tcp).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let server = Server::start(|question| {
        let all: Vec<_> = (0..100).map(|n| address(WWW, 60, &format!("192.0.2.{n}"))).collect();
        if question.asked.tcp {
            return bytes(&[question.answer(all)]);
        }
        let mut cut = question.answer(all[..3].to_vec());
        cut.metadata.truncation = true;
        bytes(&[cut])
    })
    .await;
    assert_eq!(found(&ask(&server, WWW, Family::V4).await).len(), 100);
    assert_eq!(server.asked().iter().map(|asked| asked.tcp).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn garbage_over_udp_is_asked_for_again_over_tcp() {
    let server = Server::start(|question| {
        if question.asked.tcp {
            return www_only(question);
        }
        // The right number, and then nothing that makes sense.
        let id = question.message.metadata.id.to_be_bytes();
        vec![[&id[..], &[0x81, 0x80, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 0xc0, 0xc0, 0xc0]].concat()]
    })
    .await;
    assert_eq!(found(&ask(&server, WWW, Family::V4).await), one("192.0.2.1", 60));
}

#[tokio::test]
async fn answers_to_other_questions_are_not_believed() {
    let server = Server::start(|question| {
        let forged = |change: &dyn Fn(&mut hickory_resolver::proto::op::Message)| {
            let mut message = question.answer(vec![address(WWW, 60, "192.0.2.66")]);
            change(&mut message);
            message
        };
        let other = hickory_resolver::proto::rr::Name::from_ascii("bank.example.").unwrap();
        bytes(&[
            forged(&|message| message.metadata.id ^= 1),
            forged(&|message| message.queries[0].name = other.clone()),
            forged(&|message| message.queries[0].query_type = RecordType::AAAA),
            forged(&|message| message.queries.clear()),
            question.answer(vec![address(WWW, 60, "192.0.2.1")]),
        ])
    })
    .await;
    assert_eq!(found(&ask(&server, WWW, Family::V4).await), one("192.0.2.1", 60));
}

#[tokio::test]
async fn over_tcp_too_only_the_own_question_is_believed() {
    let server = Server::start(|question| {
        if !question.asked.tcp {
            let mut cut = question.answer(vec![]);
            cut.metadata.truncation = true;
            return bytes(&[cut]);
        }
        let mut message = question.answer(vec![address(WWW, 60, "192.0.2.66")]);
        message.queries[0].name = hickory_resolver::proto::rr::Name::from_ascii("bank.example.").unwrap();
        bytes(&[message])
    })
    .await;
    let reading = ask(&server, WWW, Family::V4).await;
    assert!(matches!(reading.outcome, Outcome::Failed(Failure::Unreachable(_))), "{reading:?}");
}

#[tokio::test]
async fn records_of_other_names_are_ignored_and_counted() {
    let server = Server::start(|question| {
        let mut message = question.answer(vec![
            address("bank.example", 60, "192.0.2.66"),
            address(WWW, 60, "192.0.2.1"),
            address(WWW, 60, "2001:db8::66"),
            alias("bank.example", 60, WWW),
        ]);
        message.add_additional(address(WWW, 60, "192.0.2.67"));
        bytes(&[message])
    })
    .await;
    let reading = ask(&server, WWW, Family::V4).await;
    assert_eq!((found(&reading), reading.ignored), (one("192.0.2.1", 60), 3));
}

#[tokio::test]
async fn aliases_in_a_circle_end() {
    let server = Server::start(|question| {
        bytes(&[question.answer(vec![alias(WWW, 60, "a.example"), alias("a.example", 60, WWW)])])
    })
    .await;
    assert_eq!(ask(&server, WWW, Family::V4).await.outcome, Outcome::Failed(Failure::AliasLoop));
}

/// The clock leaps ahead as soon as nothing happens, so nobody waits.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_a_timeout_over_udp_and_tcp() {
    let server = Server::start(|_| Vec::new()).await;
    assert_eq!(ask(&server, WWW, Family::V4).await.outcome, Outcome::Failed(Failure::Timeout));
    assert!(server.asked().iter().any(|asked| !asked.tcp), "{:?}", server.asked());
}

#[tokio::test(start_paused = true)]
async fn a_port_where_nobody_listens_is_a_failure() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = socket.local_addr().unwrap();
    drop(socket);
    let reading = ask_all(&[closed], WWW, Family::V4).await;
    let Outcome::Failed(failure) = reading.outcome else { panic!("{reading:?}") };
    assert!(matches!(failure, Failure::Timeout | Failure::Unreachable(_)), "{failure:?}");
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_and_remembered() {
    let broken = Server::start(|question| bytes(&[question.code(Code::ServFail, vec![])])).await;
    let refusing = Server::start(|question| bytes(&[question.code(Code::Refused, vec![])])).await;
    let good = Server::start(www_only).await;
    let addresses = [broken.address, refusing.address, good.address];
    let resolver = Resolver::new(&addresses, PATIENCE).unwrap();
    assert_eq!(resolver.servers().collect::<Vec<_>>(), addresses);
    let name: DomainName = WWW.parse().unwrap();
    for _ in 0..3 {
        assert_eq!(found(&resolver.ask(&name, Family::V4).await.unwrap().read()), one("192.0.2.1", 60));
    }
    assert_eq!([&broken, &refusing, &good].map(|server| server.asked().len()), [1, 1, 3]);
    let reading = ask_all(&[refusing.address, broken.address], WWW, Family::V4).await;
    assert_eq!(reading.outcome, Outcome::Failed(Failure::Code(ResponseCode::ServerFailure)));
}

#[test]
fn without_servers_there_is_no_resolver() {
    assert!(matches!(Resolver::new(&[], PATIENCE), Err(ResolverError::NoServers)));
}
