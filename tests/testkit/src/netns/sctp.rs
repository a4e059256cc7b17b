//! Just enough SCTP for one handshake step: the test kernel may have no SCTP sockets, so packets are
//! made and read by hand.

/// The chunks that probes know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Wants an association; bears the tag that answers must have.
    Init {
        /// The tag.
        tag: u32,
    },
    /// Somebody listens.
    InitAck,
    /// Nobody listens.
    Abort,
}

/// A packet with one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: u16,
    pub(super) destination: u16,
    /// The tag of the one that this is for; 0 with [`Chunk::Init`].
    pub(super) tag: u32,
    pub(super) chunk: Chunk,
}

impl Packet {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        // Window, streams out and in, first number.
        let init = |tag: u32| [&tag.to_be_bytes()[..], &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]].concat();
        match self.chunk {
            Chunk::Init { tag } => {
                bytes.extend([1, 0, 0, 20]);
                bytes.extend(init(tag));
            }
            Chunk::InitAck => {
                bytes.extend([2, 0, 0, 28]);
                bytes.extend(init(1));
                // A state cookie, which an answer must have.
                bytes.extend([0, 7, 0, 8, 1, 2, 3, 4]);
            }
            Chunk::Abort => bytes.extend([6, 0, 0, 4]),
        }
        let sum = crc32c(&bytes);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads what follows the IP header; `None` for chunks that probes do not know.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let chunk = match bytes.get(12)? {
            1 => Chunk::Init { tag: word(16)? },
            2 => Chunk::InitAck,
            6 => Chunk::Abort,
            _ => return None,
        };
        Some(Self { source: half(0)?, destination: half(2)?, tag: word(4)?, chunk })
    }
}

/// The checksum of SCTP, over a packet whose checksum field is zero.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        for (tag, chunk) in [(0, Chunk::Init { tag: 9 }), (9, Chunk::InitAck), (9, Chunk::Abort)] {
            let packet = Packet { source: 40_000, destination: 80, tag, chunk };
            assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        }
        assert_eq!(Packet::decode(&[0; 20]), None);
    }
}
