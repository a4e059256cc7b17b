//! What the fuzz targets do with bytes. `tests/parsers.rs` takes this file in too, so that a bounded
//! run of the same is among the normal tests.

use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::{Compiled, EndpointId, Modes};
use netsim_shared::evaluate::{Addresses, Outcome, Party, allowed_ports, evaluate, families_between};
use netsim_shared::ingest::ingest;
use netsim_shared::list::{Listing, Options};
use netsim_shared::net::read_cidr;
use netsim_shared::ports::Protocol;
use netsim_shared::query::target::{parse_destination, parse_target};
use netsim_shared::query::{Question, Resolver, ask};
use netsim_shared::reference::{End, judge};
use netsim_shared::selector::Selector;

/// How many endpoints are tried with one another.
const ENDPOINTS: usize = 4;

/// Reads any bytes as manifests: nothing panics, every message renders and has a place inside the
/// text, and what was read can be compiled, evaluated and listed; both evaluators agree.
///
/// # Panics
/// When one of these does not hold.
pub fn ingest_anything(bytes: &[u8]) {
    let ingested = ingest("fuzz", bytes, "default");
    let lines = bytes.iter().filter(|b| **b == b'\n').count() + 1;
    for diagnostic in &ingested.diagnostics {
        assert!(!diagnostic.to_string().is_empty());
        if let Some(place) = &diagnostic.place {
            let line = place.line as usize;
            assert!((1..=lines).contains(&line) && place.column >= 1, "{place} of {lines} lines: {diagnostic}");
        }
    }
    let modes = Modes { strict: bytes.len().is_multiple_of(2), ..Modes::default() };
    let index = ClusterIndex::new(ingested.objects.clone());
    for object in ingested.objects {
        // The last of a name is what the index holds; taking it in again changes nothing.
        let mut again = index.clone();
        if again.apply(object.clone()).is_some() {
            assert!(again.apply(object).is_none());
        }
    }
    let compiled = Compiled::new(&index, &modes);
    let ids: Vec<EndpointId> = compiled.entries().map(|(id, _)| id).take(ENDPOINTS).collect();
    for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))) {
        let (Some(from), Some(to)) = (compiled.entry(a), compiled.entry(b)) else { continue };
        let (x, y) = (Party::Endpoint(a), Party::Endpoint(b));
        let ends = (End::Endpoint(&from.endpoint), End::Endpoint(&to.endpoint));
        for family in families_between(&compiled, x, y) {
            let open = allowed_ports(&compiled, x, y, family, Addresses::Surely);
            for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53), (Protocol::Sctp, u16::MAX)] {
                let outcome = evaluate(&compiled, x, y, protocol, port, family).map(|d| d.outcome);
                assert_eq!(outcome, judge(&index, &modes, ends.0, ends.1, protocol, port, family));
                assert_eq!(open.contains(protocol, port), outcome == Some(Outcome::Allowed));
            }
        }
    }
    if compiled.entries().count() <= 64 {
        let listing = Listing::new(&compiled, Options { expand: false, outside: true });
        listing.for_each(|_| true, |source, destination, _| assert_ne!(source.name.len() + destination.name.len(), 0));
    }
}

/// Reads the text as a selector, as the words of a question and as a CIDR: what is read shows itself
/// in a form that reads the same.
///
/// # Panics
/// When it does not.
pub fn read_words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(selector) = Selector::parse(text) {
        let shown = selector.to_string();
        if !selector.is_everything() {
            assert_eq!(Selector::parse(&shown).as_ref(), Ok(&selector), "{text:?} shows as {shown:?}");
        }
    }
    if let Ok(read) = read_cidr(text) {
        assert_eq!(read.net, read.net.trunc(), "{text:?}");
        let again = read_cidr(&read.net.to_string());
        assert!(again.is_ok_and(|again| again.net == read.net && !again.lenient), "{text:?}");
    }
    let _target = parse_target(text);
    let _destination = parse_destination(text);
    let index = ClusterIndex::default();
    let compiled = Compiled::new(&index, &Modes::default());
    let resolver = Resolver { index: &index, compiled: &compiled, default_namespace: "default" };
    let (source, destination) = text.split_once(' ').unwrap_or((text, text));
    let question = Question { source: source.into(), destination: destination.into(), ..Question::default() };
    match ask(&resolver, &question) {
        Ok(answer) => assert!(!answer.verdict.to_string().is_empty()),
        Err(error) => assert!(!error.message.is_empty()),
    }
}
