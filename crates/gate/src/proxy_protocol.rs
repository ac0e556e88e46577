//! The header by which a target learns who its client is: PROXY protocol, version 2, as HAProxy specifies it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, on behalf of somebody else.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header for a client at `source` that came to us at `destination`.
pub(crate) fn header(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(VERSION_AND_COMMAND);
    // A listener for both families sees IPv4 clients in IPv6 clothes.
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([TCP_OVER_IPV4, 0, 12]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (from, to) => {
            header.extend([TCP_OVER_IPV6, 0, 36]);
            header.extend(as_ipv6(from).octets());
            header.extend(as_ipv6(to).octets());
        }
    }
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(source: &str, destination: &str, expected: &[u8]) {
        let header = header(source.parse().unwrap(), destination.parse().unwrap());
        assert_eq!(&header[..12], b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a");
        assert_eq!(&header[12..], expected);
    }

    #[test]
    fn ipv4() {
        let expected = [0x21, 0x11, 0, 12, 10, 1, 2, 3, 10, 9, 8, 7, 0x30, 0x39, 0x18, 0xeb];
        check("10.1.2.3:12345", "10.9.8.7:6379", &expected);
        check("[::ffff:10.1.2.3]:12345", "[::ffff:10.9.8.7]:6379", &expected);
    }

    #[test]
    fn ipv6() {
        let mut expected = vec![0x21, 0x21, 0, 36];
        expected.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([0, 80, 1, 187]);
        check("[2001:db8::1]:80", "[::1]:443", &expected);
    }
}
