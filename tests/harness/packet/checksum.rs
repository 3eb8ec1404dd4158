//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

/// The checksum over `parts`, as if they were one piece; all but the last one of even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What TCP, UDP and ICMPv6 put in front of their bytes before they sum them up: RFC 9293 section 3.1 for IPv4,
/// RFC 8200 section 8.1 for IPv6. Empty when the addresses are of different families.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = (length as u16).to_be_bytes();
            [&source.octets()[..], &destination.octets(), &[0, protocol], &length].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = (length as u32).to_be_bytes();
            [&source.octets()[..], &destination.octets(), &length, &[0, 0, 0, protocol]].concat()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, section 3: the sum is ddf2.
    #[test]
    fn example_of_the_rfc() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn an_odd_byte_counts_as_if_a_zero_followed() {
        assert_eq!(checksum(&[&[1, 2, 3]]), checksum(&[&[1, 2], &[3, 0]]));
    }
}
