//! What a router and a firewall read of a packet, and the reset that a firewall answers with.
//!
//! IPv4 without fragments: all devices of a WAN have the same MTU, so nothing is ever fragmented.

use std::net::{Ipv4Addr, SocketAddrV4};

const IP_HEADER_BYTES: usize = 20;
const TCP_HEADER_BYTES: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The headers of one packet, for filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where it comes from; port 0 when it is neither TCP nor UDP.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub target: SocketAddrV4,
    /// Present when it is TCP.
    pub tcp: Option<Tcp>,
    /// The whole packet, with its headers.
    pub bytes: usize,
}

/// What a TCP segment says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    payload_bytes: u32,
}

impl Tcp {
    /// The first segment of a new connection.
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// The answer to the first segment.
    pub fn accepts(&self) -> bool {
        self.flags & (SYN | ACK) == SYN | ACK
    }

    /// The end of one direction.
    pub fn finishes(&self) -> bool {
        self.flags & FIN != 0
    }

    /// The abrupt end of a connection.
    pub fn resets(&self) -> bool {
        self.flags & RST != 0
    }

    /// Bytes of the stream that it carries.
    pub fn payload_bytes(&self) -> u32 {
        self.payload_bytes
    }
}

impl Header {
    /// `None` when it is no IPv4 packet that makes sense.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let version_and_words = *packet.first()?;
        let ip_bytes = usize::from(version_and_words & 0x0f) * 4;
        if version_and_words >> 4 != 4 || ip_bytes < IP_HEADER_BYTES {
            return None;
        }
        let protocol = *packet.get(9)?;
        let (source, target) = (ipv4(packet, 12)?, ipv4(packet, 16)?);
        let body = packet.get(ip_bytes..)?;
        let ports =
            if protocol == TCP || protocol == UDP { (u16_at(body, 0)?, u16_at(body, 2)?) } else { (0, 0) };
        let tcp = if protocol == TCP { Some(tcp(body)?) } else { None };
        Some(Self {
            source: SocketAddrV4::new(source, ports.0),
            target: SocketAddrV4::new(target, ports.1),
            tcp,
            bytes: packet.len(),
        })
    }

    /// The reset that makes the sender of this segment give up its connection (RFC 9293, 3.10.7.1), as if the
    /// target had sent it. `None` for what no reset answers: other protocols, and resets.
    pub(super) fn reset_to_source(&self) -> Option<Vec<u8>> {
        let tcp = self.tcp.filter(|tcp| !tcp.resets())?;
        let length = tcp.payload_bytes + u32::from(tcp.flags & SYN != 0) + u32::from(tcp.finishes());
        let (sequence, acknowledged, flags) = if tcp.flags & ACK == 0 {
            (0, tcp.sequence.wrapping_add(length), RST | ACK)
        } else {
            (tcp.acknowledged, 0, RST)
        };
        Some(segment(self.target, self.source, sequence, acknowledged, flags))
    }

    /// The reset that makes the target give up the connection, as if the source had sent it in the place of this
    /// segment.
    pub(super) fn reset_to_target(&self) -> Option<Vec<u8>> {
        let tcp = self.tcp.filter(|tcp| !tcp.resets())?;
        let flags = RST | (tcp.flags & ACK);
        Some(segment(self.source, self.target, tcp.sequence, tcp.acknowledged, flags))
    }
}

fn tcp(body: &[u8]) -> Option<Tcp> {
    let header_bytes = usize::from(*body.get(12)? >> 4) * 4;
    Some(Tcp {
        flags: *body.get(13)?,
        sequence: u32_at(body, 4)?,
        acknowledged: u32_at(body, 8)?,
        payload_bytes: body.len().checked_sub(header_bytes)? as u32,
    })
}

/// A TCP segment without payload.
fn segment(
    source: SocketAddrV4,
    target: SocketAddrV4,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(TCP_HEADER_BYTES);
    tcp.extend(source.port().to_be_bytes());
    tcp.extend(target.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    // Five words of header; no window, checksum to come, nothing urgent.
    tcp.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    let mut pseudo = Vec::with_capacity(12 + TCP_HEADER_BYTES);
    pseudo.extend(source.ip().octets());
    pseudo.extend(target.ip().octets());
    pseudo.extend([0, TCP, 0, TCP_HEADER_BYTES as u8]);
    pseudo.extend(&tcp);
    tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());

    // Version 4, five words; the length; not to be fragmented; 64 hops.
    let mut packet =
        vec![0x45, 0, 0, (IP_HEADER_BYTES + TCP_HEADER_BYTES) as u8, 0, 0, 0x40, 0, 64, TCP, 0, 0];
    packet.extend(source.ip().octets());
    packet.extend(target.ip().octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(tcp);
    packet
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks_exact(2).fold(0_u32, |sum, pair| {
        let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        (sum & 0xffff) + (sum >> 16)
    });
    !(sum as u16)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ipv4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    u32_at(bytes, at).map(Ipv4Addr::from_bits)
}

/// A segment with a payload, for tests of what routes it.
#[cfg(test)]
pub(super) fn sample(
    source: SocketAddrV4,
    target: SocketAddrV4,
    flags: &str,
    payload_bytes: usize,
) -> Vec<u8> {
    let flag = |name: char| match name {
        'S' => SYN,
        'F' => FIN,
        'R' => RST,
        _ => ACK,
    };
    let mut packet =
        segment(source, target, 1000, 2000, flags.chars().map(flag).fold(0, |all, flag| all | flag));
    packet.extend(std::iter::repeat_n(7, payload_bytes));
    packet
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn end(host: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 77, host, 1), port)
    }

    fn parsed(flags: &str, payload_bytes: usize) -> Header {
        Header::parse(&sample(end(1, 40_000), end(2, 6379), flags, payload_bytes)).unwrap()
    }

    #[test]
    fn a_segment_is_read() {
        let header = parsed("S", 0);
        assert_eq!((header.source, header.target, header.bytes), (end(1, 40_000), end(2, 6379), 40));
        assert!(header.tcp.unwrap().opens() && !header.tcp.unwrap().accepts());
        assert_eq!(parsed(".", 100).tcp.unwrap().payload_bytes(), 100);
    }

    #[test]
    fn checksums_are_right() {
        let packet = parsed("S", 0).reset_to_source().unwrap();
        // Over a range that contains a right checksum the sum is 0.
        assert_eq!(checksum(&packet[..20]), 0);
        let pseudo = [&packet[12..20], &[0, TCP, 0, 20], &packet[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn a_reset_fits_what_it_answers() {
        let read = |packet: Vec<u8>| Header::parse(&packet).unwrap();
        let to_syn = read(parsed("S", 0).reset_to_source().unwrap());
        assert_eq!((to_syn.source, to_syn.target), (end(2, 6379), end(1, 40_000)));
        let tcp = to_syn.tcp.unwrap();
        assert_eq!((tcp.flags, tcp.sequence, tcp.acknowledged), (RST | ACK, 0, 1001));
        let tcp = read(parsed(".", 10).reset_to_source().unwrap()).tcp.unwrap();
        assert_eq!((tcp.flags, tcp.sequence), (RST, 2000));
        let onwards = read(parsed(".", 10).reset_to_target().unwrap());
        assert_eq!((onwards.source, onwards.target), (end(1, 40_000), end(2, 6379)));
        assert_eq!(onwards.tcp.unwrap().sequence, 1000);
        assert_eq!(parsed("R", 0).reset_to_source(), None);
    }

    #[test]
    fn what_is_no_packet_is_nothing() {
        assert_eq!(Header::parse(&[]), None);
        assert_eq!(Header::parse(&[0x60; 40]), None);
        assert_eq!(Header::parse(&sample(end(1, 1), end(2, 2), "S", 0)[..30]), None);
    }
}
