//! The headers of packets: from whom to whom, and what is in them. Packets come from anybody; nothing
//! here panics.

use etherparse::{IpSlice, TcpSlice, UdpSlice, ip_number};
use std::fmt;
use std::net::SocketAddr;

/// Both ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Who sent it.
    pub source: SocketAddr,
    /// Who it was sent to.
    pub destination: SocketAddr,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'p> {
    /// From whom to whom.
    pub ends: Ends,
    /// What it is.
    pub body: Body<'p>,
}

/// What a packet is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'p> {
    /// A UDP datagram.
    Datagram(&'p [u8]),
    /// A TCP segment.
    Segment(Segment<'p>),
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'p> {
    /// The number of its first byte, or of the opening of the connection.
    pub sequence: u32,
    /// Whether it opens the connection.
    pub opens: bool,
    /// Whether it ends the connection at once.
    pub resets: bool,
    /// The bytes.
    pub payload: &'p [u8],
}

/// Why bytes are no packet that could carry an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketError {
    /// They are no packet, or not all of it: how so.
    Malformed(String),
    /// A part of a packet. Connection tracking puts packets together before rules see them.
    Fragment,
    /// Neither UDP nor TCP, but the protocol of this number.
    Protocol(u8),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketError::Malformed(why) => write!(f, "no packet: {why}"),
            PacketError::Fragment => f.write_str("a fragment of a packet"),
            PacketError::Protocol(number) => write!(f, "a packet of protocol {number}, neither UDP nor TCP"),
        }
    }
}

impl std::error::Error for PacketError {}

/// Reads a packet, from its IP header on.
///
/// # Errors
/// When it is not whole, or carries neither UDP nor TCP.
pub fn read(bytes: &[u8]) -> Result<Packet<'_>, PacketError> {
    let malformed = |error: &dyn fmt::Display| PacketError::Malformed(error.to_string());
    let ip = IpSlice::from_slice(bytes).map_err(|error| malformed(&error))?;
    if ip.is_fragmenting_payload() {
        return Err(PacketError::Fragment);
    }
    let (source, destination, payload) = (ip.source_addr(), ip.destination_addr(), ip.payload().payload);
    let ends = |from: u16, to: u16| Ends { source: (source, from).into(), destination: (destination, to).into() };
    match ip.payload_ip_number() {
        ip_number::UDP => {
            let udp = UdpSlice::from_slice(payload).map_err(|error| malformed(&error))?;
            Ok(Packet { ends: ends(udp.source_port(), udp.destination_port()), body: Body::Datagram(udp.payload()) })
        }
        ip_number::TCP => {
            let tcp = TcpSlice::from_slice(payload).map_err(|error| malformed(&error))?;
            let segment = Segment {
                sequence: tcp.sequence_number(),
                opens: tcp.syn(),
                resets: tcp.rst(),
                payload: tcp.payload(),
            };
            Ok(Packet { ends: ends(tcp.source_port(), tcp.destination_port()), body: Body::Segment(segment) })
        }
        other => Err(PacketError::Protocol(other.0)),
    }
}

/// Packets for tests.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use std::net::IpAddr;

    /// A packet with these headers between that of IP and that of the protocol.
    pub fn ip(ends: Ends, protocol: u8, extensions: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(extensions.len() + body.len()).unwrap();
        let mut packet = match (ends.source.ip(), ends.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let [a, b] = (length + 20).to_be_bytes();
                let mut packet = vec![0x45, 0, a, b, 0, 0, 0, 0, 64, protocol, 0, 0];
                packet.extend(source.octets().into_iter().chain(destination.octets()));
                packet
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let [a, b] = length.to_be_bytes();
                let mut packet = vec![0x60, 0, 0, 0, a, b, protocol, 64];
                packet.extend(source.octets().into_iter().chain(destination.octets()));
                packet
            }
            _ => panic!("two families in one packet"),
        };
        packet.extend(extensions);
        packet.extend(body);
        packet
    }

    fn ports(ends: Ends) -> Vec<u8> {
        [ends.source.port().to_be_bytes(), ends.destination.port().to_be_bytes()].concat()
    }

    pub fn udp_body(ends: Ends, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 8).unwrap();
        [&ports(ends)[..], &length.to_be_bytes(), &[0, 0], payload].concat()
    }

    pub fn udp(ends: Ends, payload: &[u8]) -> Vec<u8> {
        ip(ends, 17, &[], &udp_body(ends, payload))
    }

    pub fn tcp(ends: Ends, segment: Segment<'_>) -> Vec<u8> {
        let flags = 0x10 | if segment.opens { 0x02 } else { 0 } | if segment.resets { 0x04 } else { 0 };
        // With an option, so that its length counts.
        let rest = [0, 0, 0, 0, 0x60, flags, 0xff, 0xff, 0, 0, 0, 0, 1, 1, 1, 0];
        ip(ends, 6, &[], &[&ports(ends)[..], &segment.sequence.to_be_bytes(), &rest, segment.payload].concat())
    }

    pub fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use proptest::prelude::*;

    fn all_ends() -> [Ends; 2] {
        [ends("10.96.0.10:53", "10.0.0.1:4711"), ends("[fd00::a]:53", "[fd00::1]:4711")]
    }

    fn segment() -> Segment<'static> {
        Segment { sequence: 0xdead_beef, opens: false, resets: false, payload: b"answer" }
    }

    #[test]
    fn datagrams_and_segments_are_read_in_both_families() {
        for ends in all_ends() {
            assert_eq!(read(&udp(ends, b"answer")), Ok(Packet { ends, body: Body::Datagram(b"answer") }));
            for (opens, resets) in [(false, false), (true, false), (false, true)] {
                let segment = Segment { opens, resets, ..segment() };
                assert_eq!(read(&tcp(ends, segment)), Ok(Packet { ends, body: Body::Segment(segment) }));
            }
        }
    }

    #[test]
    fn what_stands_behind_a_packet_does_not_belong_to_it() {
        for ends in all_ends() {
            let padded = [udp(ends, b"answer"), vec![0; 18]].concat();
            assert_eq!(read(&padded), Ok(Packet { ends, body: Body::Datagram(b"answer") }));
        }
    }

    #[test]
    fn headers_in_between_are_skipped() {
        let [v4, v6] = all_ends();
        // Hop-by-hop options, destination options, and the first of no further fragments.
        let headers =
            [60, 0, 1, 4, 0, 0, 0, 0, 44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 9];
        let packet = ip(v6, 0, &headers, &udp_body(v6, b"answer"));
        assert_eq!(read(&packet), Ok(Packet { ends: v6, body: Body::Datagram(b"answer") }));
        // Options of IPv4.
        let mut packet = ip(v4, 17, &[1, 1, 1, 0], &udp_body(v4, b"answer"));
        packet[0] = 0x46;
        assert_eq!(read(&packet), Ok(Packet { ends: v4, body: Body::Datagram(b"answer") }));
    }

    #[test]
    fn fragments_and_other_protocols_are_told() {
        let [v4, v6] = all_ends();
        for fragment in [[0x20, 0], [0, 1]] {
            let mut packet = udp(v4, b"answer");
            packet[6..8].copy_from_slice(&fragment);
            assert_eq!(read(&packet), Err(PacketError::Fragment));
            let header = [17, 0, 0, fragment[0] >> 5 | fragment[1] << 3, 0, 0, 0, 9];
            let packet = ip(v6, 44, &header, &udp_body(v6, b"answer"));
            assert_eq!(read(&packet), Err(PacketError::Fragment));
        }
        assert_eq!(read(&ip(v4, 1, &[], &[0; 8])), Err(PacketError::Protocol(1)));
        assert_eq!(read(&ip(v6, 58, &[], &[0; 8])), Err(PacketError::Protocol(58)));
    }

    #[test]
    fn whatever_is_cut_off_is_malformed() {
        for ends in all_ends() {
            for whole in [udp(ends, b"answer"), tcp(ends, segment())] {
                for end in 0..whole.len() {
                    assert!(matches!(read(&whole[..end]), Err(PacketError::Malformed(_))), "{end} of {whole:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn anything_is_borne(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = read(&bytes);
        }

        #[test]
        fn anything_that_looks_like_a_packet_is_borne(
            six in any::<bool>(),
            tcp_segment in any::<bool>(),
            end in 0..100_usize,
            changes in prop::collection::vec((0..70_usize, any::<u8>()), 0..8),
        ) {
            let ends = all_ends()[usize::from(six)];
            let mut packet = if tcp_segment { tcp(ends, segment()) } else { udp(ends, b"answer") };
            packet.truncate(end);
            for (at, value) in changes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(Packet { body: Body::Datagram(payload) | Body::Segment(Segment { payload, .. }), .. }) = read(&packet) {
                prop_assert!(payload.len() <= packet.len());
            }
        }
    }
}
