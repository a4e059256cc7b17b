//! Packets counted where they arrive: the proof that not one got through.

use super::place::Place;
use netsim_shared::ports::Protocol;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which packets are meant; all of them, until it is narrowed down.
#[derive(Debug, Clone, Default)]
pub struct Packets {
    conditions: String,
}

impl Packets {
    /// All packets.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only those from this address.
    pub fn from(self, source: IpAddr) -> Self {
        self.and(&format!("{} saddr {source}", family(source)))
    }

    /// Only those to this address.
    pub fn to(self, destination: IpAddr) -> Self {
        self.and(&format!("{} daddr {destination}", family(destination)))
    }

    /// Only those of this protocol to this port.
    pub fn port(self, protocol: Protocol, port: u16) -> Self {
        self.and(&format!("{} dport {port}", protocol.as_str().to_lowercase()))
    }

    /// Only those of this protocol from this port: answers.
    pub fn source_port(self, protocol: Protocol, port: u16) -> Self {
        self.and(&format!("{} sport {port}", protocol.as_str().to_lowercase()))
    }

    /// Only those that fit this match, as nft writes it.
    pub fn and(mut self, condition: &str) -> Self {
        _ = write!(self.conditions, "{condition} ");
        self
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// Counts until it is dropped; made by [`Place::count`].
#[derive(Debug)]
pub struct Counter {
    place: Place,
    table: String,
}

impl Counter {
    pub(super) fn start(place: &Place, packets: &Packets) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let table = format!("netns_count_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let conditions = &packets.conditions;
        place.nft(&format!(
            "table inet {table} {{\n\
               counter seen {{ }}\n\
               chain arriving {{\n\
                 type filter hook prerouting priority -450\n\
                 iif != \"lo\" {conditions} counter name seen\n\
               }}\n\
             }}\n"
        ));
        Self { place: place.clone(), table }
    }

    /// How many there were so far.
    pub fn packets(&self) -> u64 {
        let text = self
            .place
            .try_nft(&format!("list counter inet {} seen\n", self.table))
            .unwrap_or_else(|e| panic!("the counter in `{}`: {e}", self.place));
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        let count = words.next().and_then(|word| word.parse().ok());
        count.unwrap_or_else(|| panic!("nft shows a counter without a count: {text}"))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Somebody may have flushed all of it.
        let _ = self.place.try_nft(&format!("delete table inet {}\n", self.table));
    }
}
