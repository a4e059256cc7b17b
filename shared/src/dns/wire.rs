//! DNS messages from bytes: answers as they are seen on the wire. Bytes come from anybody; nothing here panics.

use super::answer::{Answer, Record, RecordData, RecordName, ResponseCode};
use super::name::{DomainName, NameError};
use crate::net::Family;
use hickory_resolver::proto::op::{self, Message, MessageType, OpCode};
use hickory_resolver::proto::rr::{self, DNSClass, RData, RecordType};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// An answer that was seen on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAnswer {
    /// The number that ties it to its query.
    pub id: u16,
    /// Whether the server cut it: the program will ask again over TCP, and what is missing comes then.
    pub truncated: bool,
    /// The answer.
    pub answer: Answer,
}

/// Why bytes are no answer about addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// They are no DNS message: how so.
    Malformed(String),
    /// A query, not an answer.
    Query,
    /// An operation other than asking, such as an update.
    Operation,
    /// A message has one question; this one has another number of them.
    Questions(usize),
    /// The question is not about addresses: its type and class.
    OtherQuestion(String),
    /// The name asked for is none that a policy could have, such as one with a single label.
    Name(NameError),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Malformed(why) => write!(f, "no DNS message: {why}"),
            DecodeError::Query => f.write_str("a query, not an answer"),
            DecodeError::Operation => f.write_str("an operation other than a query"),
            DecodeError::Questions(count) => write!(f, "{count} questions where one is expected"),
            DecodeError::OtherQuestion(what) => write!(f, "a question about {what}, not about addresses"),
            DecodeError::Name(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes a message as it stands in a UDP datagram, or behind the two bytes of its length in TCP.
///
/// # Errors
/// When it is no answer to a question about the addresses of a name.
pub fn decode(bytes: &[u8]) -> Result<SeenAnswer, DecodeError> {
    let message = Message::from_vec(bytes).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    let answer = to_answer(&message)?;
    Ok(SeenAnswer { id: message.metadata.id, truncated: message.metadata.truncation, answer })
}

/// The answer that a message holds.
pub(super) fn to_answer(message: &Message) -> Result<Answer, DecodeError> {
    if message.metadata.message_type != MessageType::Response {
        return Err(DecodeError::Query);
    }
    if message.metadata.op_code != OpCode::Query {
        return Err(DecodeError::Operation);
    }
    let [question] = message.queries.as_slice() else { return Err(DecodeError::Questions(message.queries.len())) };
    let family = match (question.query_class, question.query_type) {
        (DNSClass::IN, RecordType::A) => Family::V4,
        (DNSClass::IN, RecordType::AAAA) => Family::V6,
        (class, kind) => return Err(DecodeError::OtherQuestion(format!("{class} {kind}"))),
    };
    Ok(Answer {
        question: to_domain_name(&question.name).map_err(DecodeError::Name)?,
        family,
        code: to_code(message.metadata.response_code),
        records: message.answers.iter().filter_map(to_record).collect(),
        negative_ttl: message.authorities.iter().find_map(negative_ttl),
    })
}

pub(super) fn to_domain_name(name: &rr::Name) -> Result<DomainName, NameError> {
    name.to_ascii().parse()
}

pub(super) fn to_code(code: op::ResponseCode) -> ResponseCode {
    match code {
        op::ResponseCode::NoError => ResponseCode::NoError,
        op::ResponseCode::NXDomain => ResponseCode::NoSuchName,
        op::ResponseCode::ServFail => ResponseCode::ServerFailure,
        op::ResponseCode::Refused => ResponseCode::Refused,
        other => ResponseCode::Other(other.into()),
    }
}

/// A record that can lead to an address. Signatures and other types have no say.
fn to_record(record: &rr::Record) -> Option<Record> {
    if record.dns_class != DNSClass::IN {
        return None;
    }
    let data = match &record.data {
        RData::A(address) => RecordData::Address(IpAddr::V4(address.0)),
        RData::AAAA(address) => RecordData::Address(IpAddr::V6(address.0)),
        RData::CNAME(target) => RecordData::Alias(RecordName::new(&target.0.to_ascii())),
        _ => return None,
    };
    Some(Record { owner: RecordName::new(&record.name.to_ascii()), ttl: to_ttl(record.ttl), data })
}

/// A time to live with the highest bit set is none at all (RFC 2181, 8).
fn to_ttl(seconds: u32) -> Duration {
    Duration::from_secs(if i32::try_from(seconds).is_ok() { seconds.into() } else { 0 })
}

/// How long "there is nothing" may be kept (RFC 2308, 5).
fn negative_ttl(record: &rr::Record) -> Option<Duration> {
    match &record.data {
        RData::SOA(soa) => Some(to_ttl(record.ttl).min(to_ttl(soa.minimum))),
        _ => None,
    }
}
