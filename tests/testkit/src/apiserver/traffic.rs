//! How much is sent, by resource, and how lists are compressed.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::Write;

/// Answers from this length on are compressed for those who take that; watches never are. All of it as the API server
/// of Kubernetes does it, the level, too.
const COMPRESSED_FROM: usize = 128 * 1024;
const LEVEL: u32 = 4;

/// What was sent of a resource, in bytes, without the heads of HTTP.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Lists, as they are.
    pub lists: u64,
    /// Lists, as they went over the wire: compressed where the client takes that.
    pub lists_on_wire: u64,
    /// The lines of watches, bookmarks among them.
    pub watches: u64,
    /// How many lines that were.
    pub lines: u64,
}

/// What was sent so far, by the plural of the resource.
#[derive(Default)]
pub struct Traffic(BTreeMap<String, Sent>);

impl Traffic {
    /// The resource that a path without a name at its end is about.
    pub fn resource(target: &str) -> &str {
        let path = target.split('?').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// What was sent of a resource.
    pub fn of(&self, plural: &str) -> Sent {
        self.0.get(plural).copied().unwrap_or_default()
    }

    /// A list is sent.
    pub fn list(&mut self, plural: &str, length: usize, on_wire: usize) {
        let sent = self.0.entry(plural.to_owned()).or_default();
        sent.lists += length as u64;
        sent.lists_on_wire += on_wire as u64;
    }

    /// A line of a watch is sent.
    pub fn event(&mut self, plural: &str, length: usize) {
        let sent = self.0.entry(plural.to_owned()).or_default();
        sent.watches += length as u64;
        sent.lines += 1;
    }
}

/// The text compressed, if it is long enough for that.
pub fn packed(text: &str) -> Option<Vec<u8>> {
    if text.len() < COMPRESSED_FROM {
        return None;
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    packed.write_all(text.as_bytes()).ok()?;
    packed.finish().ok()
}
