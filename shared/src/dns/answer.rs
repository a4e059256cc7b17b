//! What an answer says: the addresses that its chain of aliases leads to, and for how long.
//!
//! An answer comes from the network. Only records that hang on the question count; whatever else stands in it is
//! counted and left out (G5a).

use super::name::DomainName;
use crate::net::Family;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// More aliases than this in a row are not followed. Resolvers give up at about the same length.
pub const MAX_CHAIN: usize = 16;

/// A name as it stands in a record: any text, compared without case and without a final dot.
///
/// Aliases lead through names that no policy could write, so this is less strict than [`DomainName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName(Box<str>);

impl RecordName {
    /// From the presentation form of DNS, where a dot inside a label is escaped.
    pub fn new(text: &str) -> Self {
        RecordName(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase().into())
    }

    /// The name as text, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&DomainName> for RecordName {
    fn from(name: &DomainName) -> Self {
        RecordName(name.as_str().into())
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record of an answer section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose record it is.
    pub owner: RecordName,
    /// How long it may be kept.
    pub ttl: Duration,
    /// What it says.
    pub data: RecordData,
}

/// What a record says. Types that lead to no address do not stand in an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// The owner is another name for this one (CNAME).
    Alias(RecordName),
    /// An address of the owner (A, AAAA).
    Address(IpAddr),
}

/// What the server says about the question as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseCode {
    /// NOERROR
    NoError,
    /// NXDOMAIN: there is no such name.
    NoSuchName,
    /// SERVFAIL
    ServerFailure,
    /// REFUSED
    Refused,
    /// Any other code.
    Other(u16),
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseCode::NoError => f.write_str("NOERROR"),
            ResponseCode::NoSuchName => f.write_str("NXDOMAIN"),
            ResponseCode::ServerFailure => f.write_str("SERVFAIL"),
            ResponseCode::Refused => f.write_str("REFUSED"),
            ResponseCode::Other(code) => write!(f, "response code {code}"),
        }
    }
}

/// An answer as it came, to one question about one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for.
    pub question: DomainName,
    /// The family that was asked for: A or AAAA.
    pub family: Family,
    /// The response code.
    pub code: ResponseCode,
    /// The aliases and addresses of the answer section.
    pub records: Vec<Record>,
    /// How long "there is nothing" may be kept, where the server says so (its SOA record).
    pub negative_ttl: Option<Duration>,
}

/// An address and how long it may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Found {
    /// The address.
    pub address: IpAddr,
    /// The least time to live of its own record and of the aliases that lead to it.
    pub ttl: Duration,
}

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The name has addresses of the family; each stands here once, sorted.
    Addresses(Vec<Found>),
    /// The name exists and has no address of the family (NODATA).
    NoAddress,
    /// There is no such name (NXDOMAIN).
    NoSuchName,
    /// The resolver failed: nothing is known about the name.
    Failed(Failure),
}

/// Why nothing is known about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server said so.
    Code(ResponseCode),
    /// The aliases lead back to a name before.
    AliasLoop,
    /// More aliases in a row than [`MAX_CHAIN`].
    ChainTooLong,
    /// No answer came in time.
    Timeout,
    /// No answer came for another reason, in words.
    Unreachable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Code(code) => write!(f, "the server answered {code}"),
            Failure::AliasLoop => f.write_str("the aliases in the answer go round in a circle"),
            Failure::ChainTooLong => write!(f, "the answer has more than {MAX_CHAIN} aliases in a row"),
            Failure::Timeout => f.write_str("no answer came in time"),
            Failure::Unreachable(why) => write!(f, "no answer came: {why}"),
        }
    }
}

/// An answer that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What it comes to.
    pub outcome: Outcome,
    /// The names from the question on, along the aliases.
    pub chain: Vec<RecordName>,
    /// Records that do not hang on the question, are of the other family, or contradict the response code. They count
    /// for nothing; an answer that has any is worth a message.
    pub ignored: usize,
}

impl From<Failure> for Reading {
    fn from(failure: Failure) -> Self {
        Reading { outcome: Outcome::Failed(failure), chain: Vec::new(), ignored: 0 }
    }
}

impl Answer {
    /// Follows the aliases from the question, and collects the addresses of all names on the way.
    pub fn read(&self) -> Reading {
        let mut aliases: BTreeMap<&RecordName, (&RecordName, Duration)> = BTreeMap::new();
        let mut ignored = 0;
        for record in &self.records {
            if let RecordData::Alias(target) = &record.data {
                match aliases.get_mut(&record.owner) {
                    None => _ = aliases.insert(&record.owner, (target, record.ttl)),
                    // The same record twice: the shorter time counts (RFC 2181, 5.2).
                    Some((known, ttl)) if *known == target => *ttl = (*ttl).min(record.ttl),
                    // A name has one alias. Which of two is meant cannot be known: the first is.
                    Some(_) => ignored += 1,
                }
            }
        }

        // The least time to live up to each name of the chain.
        let mut chain = vec![RecordName::from(&self.question)];
        let mut reached = BTreeMap::from([(RecordName::from(&self.question), Duration::MAX)]);
        let mut least = Duration::MAX;
        let mut broken = None;
        while let Some((target, ttl)) = chain.last().and_then(|name| aliases.remove(name)) {
            if reached.contains_key(target) {
                broken = Some(Failure::AliasLoop);
                break;
            }
            if chain.len() > MAX_CHAIN {
                broken = Some(Failure::ChainTooLong);
                break;
            }
            least = least.min(ttl);
            reached.insert(target.clone(), least);
            chain.push(target.clone());
        }
        ignored += aliases.len();

        let mut addresses: BTreeMap<IpAddr, Duration> = BTreeMap::new();
        let mut of_chain = 0;
        for record in &self.records {
            let RecordData::Address(address) = record.data else { continue };
            match reached.get(&record.owner) {
                Some(least) if Family::of(address) == self.family => {
                    of_chain += 1;
                    let ttl = record.ttl.min(*least);
                    addresses.entry(address).and_modify(|known| *known = (*known).min(ttl)).or_insert(ttl);
                }
                _ => ignored += 1,
            }
        }

        let found = addresses.into_iter().map(|(address, ttl)| Found { address, ttl }).collect::<Vec<_>>();
        let outcome = match (self.code, broken) {
            // An answer that contradicts itself gives nothing away.
            (ResponseCode::NoSuchName, _) => {
                ignored += of_chain;
                Outcome::NoSuchName
            }
            (ResponseCode::NoError, _) if !found.is_empty() => Outcome::Addresses(found),
            (ResponseCode::NoError, Some(failure)) => Outcome::Failed(failure),
            (ResponseCode::NoError, None) => Outcome::NoAddress,
            (code, _) => {
                ignored += of_chain;
                Outcome::Failed(Failure::Code(code))
            }
        };
        Reading { outcome, chain, ignored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn alias(owner: &str, target: &str, ttl: u64) -> Record {
        Record { owner: RecordName::new(owner), ttl: secs(ttl), data: RecordData::Alias(RecordName::new(target)) }
    }

    fn address(owner: &str, address: &str, ttl: u64) -> Record {
        let data = RecordData::Address(address.parse().unwrap());
        Record { owner: RecordName::new(owner), ttl: secs(ttl), data }
    }

    fn answer(records: Vec<Record>) -> Answer {
        Answer {
            question: "www.example.com".parse().unwrap(),
            family: Family::V4,
            code: ResponseCode::NoError,
            records,
            negative_ttl: None,
        }
    }

    fn found(list: &[(&str, u64)]) -> Outcome {
        Outcome::Addresses(list.iter().map(|(a, ttl)| Found { address: a.parse().unwrap(), ttl: secs(*ttl) }).collect())
    }

    #[test]
    fn the_least_time_to_live_of_the_chain_counts() {
        let reading = answer(vec![
            address("c.example.net", "192.0.2.1", 300),
            alias("b.example.net", "C.example.net.", 20),
            alias("WWW.example.com.", "b.example.net", 600),
            address("c.example.net", "192.0.2.2", 10),
        ])
        .read();
        assert_eq!(reading.outcome, found(&[("192.0.2.1", 20), ("192.0.2.2", 10)]));
        assert_eq!((reading.chain.len(), reading.ignored), (3, 0));
    }

    #[test]
    fn what_does_not_hang_on_the_question_is_ignored_and_counted() {
        let reading = answer(vec![
            address("www.example.com", "192.0.2.1", 60),
            address("bank.example", "192.0.2.66", 60),
            alias("bank.example", "www.example.com", 60),
            address("www.example.com", "2001:db8::1", 60),
            address("a\\.www.example.com", "192.0.2.67", 60),
        ])
        .read();
        assert_eq!(reading.outcome, found(&[("192.0.2.1", 60)]));
        assert_eq!(reading.ignored, 4);
    }

    #[test]
    fn a_second_alias_of_a_name_is_not_followed() {
        let reading = answer(vec![
            alias("www.example.com", "a.example", 60),
            alias("www.example.com", "b.example", 60),
            alias("www.example.com", "a.example", 30),
            address("a.example", "192.0.2.1", 90),
            address("b.example", "192.0.2.2", 90),
        ])
        .read();
        assert_eq!(reading.outcome, found(&[("192.0.2.1", 30)]));
        assert_eq!(reading.ignored, 2);
    }

    #[test]
    fn circles_and_long_chains_end() {
        let circle = answer(vec![alias("www.example.com", "a.example", 1), alias("a.example", "www.example.com", 1)]);
        assert_eq!(circle.read().outcome, Outcome::Failed(Failure::AliasLoop));
        let chain = |aliases: usize| {
            let step = |n| if n == 0 { "www.example.com".to_owned() } else { format!("n{n}.example") };
            let mut records: Vec<_> = (0..aliases).map(|n| alias(&step(n), &step(n + 1), 60)).collect();
            records.push(address(&step(aliases), "192.0.2.1", 60));
            answer(records).read()
        };
        assert_eq!(chain(MAX_CHAIN).outcome, found(&[("192.0.2.1", 60)]));
        assert_eq!(chain(MAX_CHAIN + 1).outcome, Outcome::Failed(Failure::ChainTooLong));
    }

    #[test]
    fn nothing_there_is_told_apart() {
        let with = |code, records| Answer { code, ..answer(records) }.read();
        let dangling = vec![alias("www.example.com", "gone.example", 60)];
        assert_eq!(with(ResponseCode::NoError, vec![]).outcome, Outcome::NoAddress);
        assert_eq!(with(ResponseCode::NoError, dangling.clone()).outcome, Outcome::NoAddress);
        assert_eq!(with(ResponseCode::NoSuchName, dangling).outcome, Outcome::NoSuchName);
        let reading = with(ResponseCode::NoSuchName, vec![address("www.example.com", "192.0.2.1", 60)]);
        assert_eq!((reading.outcome, reading.ignored), (Outcome::NoSuchName, 1));
        let failed = with(ResponseCode::ServerFailure, vec![]).outcome;
        assert_eq!(failed, Outcome::Failed(Failure::Code(ResponseCode::ServerFailure)));
    }

    proptest! {
        /// A walk that looks through all records at each step finds the same addresses.
        #[test]
        fn reading_agrees_with_a_naive_walk(
            edges in prop::collection::vec((0..6_usize, 0..6_usize, 0..100_u64), 0..8),
            leaves in prop::collection::vec((0..6_usize, 0..4_u8, 0..100_u64), 0..8),
        ) {
            let names = ["www.example.com", "a.example", "b.example", "c.example", "d.example", "e.example"];
            let mut records: Vec<_> = edges.iter().map(|(a, b, ttl)| alias(names[*a], names[*b], *ttl)).collect();
            records.extend(leaves.iter().map(|(n, a, ttl)| address(names[*n], &format!("192.0.2.{a}"), *ttl)));
            let total = records.len();
            let reading = answer(records).read();

            let (mut at, mut least, mut seen) = (0, u64::MAX, vec![0]);
            let mut naive: BTreeMap<u8, u64> = BTreeMap::new();
            loop {
                for (_, a, ttl) in leaves.iter().filter(|(n, ..)| *n == at) {
                    let ttl = (*ttl).min(least);
                    naive.entry(*a).and_modify(|t| *t = (*t).min(ttl)).or_insert(ttl);
                }
                let Some((_, next, _)) = edges.iter().find(|(a, ..)| *a == at) else { break };
                if seen.contains(next) {
                    break;
                }
                let ttl = edges.iter().filter(|(a, b, _)| a == &at && b == next).map(|(.., t)| *t).min().unwrap();
                (at, least) = (*next, least.min(ttl));
                seen.push(at);
            }
            let naive: Vec<(String, u64)> = naive.into_iter().map(|(a, t)| (format!("192.0.2.{a}"), t)).collect();
            match reading.outcome {
                Outcome::Addresses(list) => {
                    let list: Vec<_> = list.iter().map(|f| (f.address.to_string(), f.ttl.as_secs())).collect();
                    prop_assert_eq!(list, naive);
                }
                _ => prop_assert!(naive.is_empty()),
            }
            prop_assert!(reading.ignored <= total);
        }
    }
}
