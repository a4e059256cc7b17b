//! Messages as they are seen on the wire: what is right is read, and nothing else does harm.

use crate::server::{address, alias, start_of_authority};
use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode as Code};
use hickory_resolver::proto::rr::{DNSClass, Name, RecordType};
use netsim_shared::dns::answer::{Outcome, ResponseCode};
use netsim_shared::dns::wire::{DecodeError, decode};
use netsim_shared::net::Family;
use proptest::prelude::*;
use std::time::Duration;

fn message(name: &str, kind: RecordType) -> Message {
    let mut message = Message::response(0x1234, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.add_answer(alias("www.example.com", 60, "cdn.example.net"));
    message.add_answer(address("cdn.example.net", 300, "192.0.2.1"));
    message.add_authority(start_of_authority("example.com", 900, 30));
    message.set_edns(Edns::new());
    message
}

fn refused(change: impl Fn(&mut Message)) -> String {
    let mut message = message("www.example.com.", RecordType::A);
    change(&mut message);
    decode(&message.to_vec().unwrap()).unwrap_err().to_string()
}

#[test]
fn an_answer_is_read_with_its_number_and_flags() {
    let mut message = message("wWw.EXAMPLE.com.", RecordType::A);
    message.metadata.truncation = true;
    let seen = decode(&message.to_vec().unwrap()).unwrap();
    assert_eq!((seen.id, seen.truncated), (0x1234, true));
    assert_eq!((seen.answer.question.as_str(), seen.answer.family), ("www.example.com", Family::V4));
    assert_eq!(seen.answer.code, ResponseCode::NoError);
    assert_eq!(seen.answer.negative_ttl, Some(Duration::from_secs(30)));
    let reading = seen.answer.read();
    let Outcome::Addresses(found) = &reading.outcome else { panic!("{reading:?}") };
    assert_eq!((found[0].address.to_string().as_str(), found[0].ttl.as_secs()), ("192.0.2.1", 60));
    assert_eq!(reading.ignored, 0);
}

#[test]
fn what_is_no_answer_about_addresses_is_told() {
    assert_eq!(refused(|m| m.metadata.message_type = MessageType::Query), "a query, not an answer");
    assert_eq!(refused(|m| m.metadata.op_code = OpCode::Notify), "an operation other than a query");
    assert_eq!(refused(|m| m.queries.clear()), "0 questions where one is expected");
    assert_eq!(refused(|m| m.queries.push(m.queries[0].clone())), "2 questions where one is expected");
    let other = refused(|m| m.queries[0].query_type = RecordType::MX);
    assert_eq!(other, "a question about IN MX, not about addresses");
    let other = refused(|m| m.queries[0].query_class = DNSClass::CH);
    assert_eq!(other, "a question about CH A, not about addresses");
    let single = refused(|m| m.queries[0].name = Name::from_ascii("kubernetes.").unwrap());
    assert_eq!(single, "`kubernetes.` has one label, and a name has at least two");
    assert!(matches!(decode(&[]), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode(&[0; 11]), Err(DecodeError::Malformed(_))));
    let whole = message("www.example.com.", RecordType::A).to_vec().unwrap();
    assert!(matches!(decode(&whole[..whole.len() - 20]), Err(DecodeError::Malformed(_))));
}

#[test]
fn a_dot_inside_a_label_is_no_border() {
    // A label of 11 bytes with dots in it: the name of somebody else.
    let label = Name::from_labels([&b"www.example"[..], b"com"]).unwrap();
    let mut message = message("www.example.com.", RecordType::A);
    message.answers[0].name = label.clone();
    let reading = decode(&message.to_vec().unwrap()).unwrap().answer.read();
    assert_eq!((reading.outcome, reading.ignored), (Outcome::NoAddress, 2));
    message.queries[0].name = label;
    assert!(matches!(decode(&message.to_vec().unwrap()), Err(DecodeError::Name(_))));
}

#[test]
fn codes_are_told_apart() {
    for (code, expected) in [
        (Code::NXDomain, ResponseCode::NoSuchName),
        (Code::ServFail, ResponseCode::ServerFailure),
        (Code::Refused, ResponseCode::Refused),
        (Code::NotImp, ResponseCode::Other(4)),
    ] {
        let mut message = message("www.example.com.", RecordType::AAAA);
        message.metadata.response_code = code;
        assert_eq!(decode(&message.to_vec().unwrap()).unwrap().answer.code, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(seen) = decode(&bytes) {
            _ = seen.answer.read();
        }
    }

    /// What is left of a message after bytes of it were changed, cut or moved.
    #[test]
    fn mutated_messages_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let mut bytes = message("www.example.com.", RecordType::A).to_vec().unwrap();
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(seen) = decode(&bytes) {
            let records = seen.answer.records.len();
            let reading = seen.answer.read();
            prop_assert!(reading.ignored <= records);
            if let Outcome::Addresses(found) = reading.outcome {
                prop_assert!(found.iter().all(|f| Family::of(f.address) == seen.answer.family));
            }
        }
    }
}
