//! Netlink messages as bytes: written one after another into one buffer, and read back.
//!
//! Reading never fails: what is cut off or garbled ends the iteration, and attributes that are not
//! there are `None`.

use super::uapi::NLM_F_REQUEST;

/// The length of a message's header.
pub const HEADER: usize = 16;
/// The length of the netfilter header that follows it.
pub const NETFILTER: usize = 4;
const ATTRIBUTE: usize = 4;
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

/// What a message begins with.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Subsystem and message, see [`kind`]; or a message of netlink itself.
    pub kind: u16,
    /// Flags; that it is a request goes without saying.
    pub flags: u16,
    /// The number by which its answers are known.
    pub seq: u32,
    /// The protocol family.
    pub family: u8,
    /// A group or subsystem, for messages that have one.
    pub resource: u16,
}

/// The kind of a subsystem's message.
pub const fn kind(subsystem: u16, message: u16) -> u16 {
    (subsystem << 8) | message
}

/// Messages, as they are written.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How long it is by now.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A message.
    pub fn message(&mut self, head: Head, body: impl FnOnce(&mut Writer)) {
        let start = self.open(head);
        body(self);
        self.close(start);
    }

    /// Begins a message that [`Writer::close`] ends.
    pub fn open(&mut self, head: Head) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&head.kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(head.flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&head.seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[head.family, 0]);
        self.bytes.extend_from_slice(&head.resource.to_be_bytes());
        start
    }

    /// Ends the message that began at `start`.
    pub fn close(&mut self, start: usize) {
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.patch(start, &length.to_ne_bytes());
    }

    /// A message that was built elsewhere, under other flags.
    pub fn finished(&mut self, message: &[u8], flags: u16) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.patch(start + 6, &(flags | NLM_F_REQUEST).to_ne_bytes());
    }

    /// Sets the number of the message that begins at `start`.
    pub fn set_number(&mut self, start: usize, seq: u32) {
        self.patch(start + 8, &seq.to_ne_bytes());
    }

    /// Sets flags of the message that begins at `start`.
    pub fn set_flags(&mut self, start: usize, flags: u16) {
        if let Some(&[a, b]) = self.bytes.get(start + 6..start + 8) {
            self.patch(start + 6, &(u16::from_ne_bytes([a, b]) | flags).to_ne_bytes());
        }
    }

    /// An attribute.
    pub fn bytes_attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value);
        self.end(start);
    }

    /// An attribute with a text that ends in NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.end(start);
    }

    /// An attribute with a number of 32 bits, in network order as all of netfilter's are.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.bytes_attribute(kind, &value.to_be_bytes());
    }

    /// An attribute with a number of 64 bits, in network order.
    pub fn long(&mut self, kind: u16, value: u64) {
        self.bytes_attribute(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.begin(kind | NESTED);
        body(self);
        self.end(start);
    }

    /// Begins an attribute that holds attributes; [`Writer::end`] ends it.
    pub fn begin_nested(&mut self, kind: u16) -> usize {
        self.begin(kind | NESTED)
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    /// Ends the attribute that began at `start`. Callers keep it below 64 KiB: names are checked,
    /// lists of elements are split.
    pub fn end(&mut self, start: usize) {
        debug_assert!(self.bytes.len() - start <= usize::from(u16::MAX));
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.patch(start, &length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn patch(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }
}

/// A message that was received.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Subsystem and message, or a message of netlink itself.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
    /// The number of the request that it answers.
    pub seq: u32,
    /// All of it, header included.
    pub raw: &'a [u8],
}

impl<'a> Message<'a> {
    /// What follows its header.
    pub fn payload(&self) -> &'a [u8] {
        self.raw.get(HEADER..).unwrap_or_default()
    }

    /// The protocol family of a netfilter message.
    pub fn family(&self) -> u8 {
        self.payload().first().copied().unwrap_or_default()
    }

    /// The attributes of a netfilter message.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes(self.payload().get(NETFILTER..).unwrap_or_default())
    }
}

/// The messages of a buffer.
#[derive(Debug, Clone)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32::from_ne_bytes(array(self.0, 0)?)).ok()?;
        if length < HEADER {
            return None;
        }
        let raw = self.0.get(..length)?;
        let message = Message {
            kind: u16::from_ne_bytes(array(raw, 4)?),
            flags: u16::from_ne_bytes(array(raw, 6)?),
            seq: u32::from_ne_bytes(array(raw, 8)?),
            raw,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes of a message or of another attribute.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The first attribute of a kind.
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find_map(|(k, value)| (k == kind).then_some(value))
    }

    /// The attributes in the first attribute of a kind.
    pub fn inner(&self, kind: u16) -> Option<Attributes<'a>> {
        self.find(kind).map(Attributes)
    }

    /// The text of an attribute.
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        let value = self.find(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }

    /// The number of an attribute, in network order.
    pub fn number(&self, kind: u16) -> Option<u32> {
        self.find(kind).and_then(|value| array(value, 0)).map(u32::from_be_bytes)
    }

    /// The number of 64 bits of an attribute, in network order.
    pub fn long(&self, kind: u16) -> Option<u64> {
        self.find(kind).and_then(|value| array(value, 0)).map(u64::from_be_bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16::from_ne_bytes(array(self.0, 0)?));
        let kind = u16::from_ne_bytes(array(self.0, 2)?) & KIND;
        let value = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// So many bytes from a place on.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        for seq in 0..3 {
            writer.message(Head { kind: kind(10, 4), flags: 0x40, seq, family: 1, resource: 7 }, |w| {
                w.text(1, "netsim");
                w.nested(2, |w| w.number(3, 0xdead_beef));
            });
        }
        let messages: Vec<_> = Messages(writer.bytes()).collect();
        assert_eq!(messages.iter().map(|m| m.seq).collect::<Vec<_>>(), [0, 1, 2]);
        for message in messages {
            assert_eq!((message.kind, message.flags, message.family()), (0x0a04, 0x41, 1));
            assert_eq!(message.attributes().text(1), Some("netsim"));
            assert_eq!(message.attributes().inner(2).unwrap().number(3), Some(0xdead_beef));
            assert_eq!(message.attributes().find(9), None);
        }
    }

    #[test]
    fn whatever_is_cut_off_or_garbled_ends_the_iteration() {
        let mut writer = Writer::default();
        writer.message(Head { kind: 1, flags: 0, seq: 1, family: 1, resource: 0 }, |w| w.text(1, "netsim"));
        let whole = writer.bytes();
        for end in 0..whole.len() {
            assert_eq!(Messages(&whole[..end]).count(), 0);
            Attributes(&whole[..end]).for_each(drop);
            for value in [0, 1, 3, 5, 0xff] {
                let mut garbled = whole.to_vec();
                garbled[end] = value;
                Messages(&garbled).flat_map(|m| m.attributes()).for_each(drop);
            }
        }
    }
}
