//! Telling both ends of a TCP connection that it is over: two resets, each where its receiver expects the next byte
//! (RFC 5961 section 3), sent from this host as if the other end had sent them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use firewall_common::{conntrack::Terms, packet::NFPROTO_IPV4, table::Entry, wire::tcp};

use super::KernelError;

/// Where a reset goes.
struct Reset {
    from: SocketAddr,
    to: SocketAddr,
    seq: u32,
}

/// Sends both resets of a connection. `false` when it has no numbers to do it with: it is not TCP, or was only seen one
/// way.
pub fn reset(entry: &Entry) -> Result<bool, KernelError> {
    let [original, reply] = &entry.windows;
    if entry.key.protocol() != tcp::PROTOCOL || original.max_win == 0 || reply.max_win == 0 {
        return Ok(false);
    }
    let (low, high) = ends(entry);
    let (client, server) = if entry.is_from_high() { (high, low) } else { (low, high) };
    // What a side has acknowledged is what it expects next; before it has, what the other one has sent.
    let expects = |side: usize| {
        let (own, peer) = (&entry.windows[side], &entry.windows[side ^ 1]);
        if entry.terms[side].has(Terms::ACKED) { own.max_ack } else { peer.end }
    };
    let resets =
        [Reset { from: client, to: server, seq: expects(1) }, Reset { from: server, to: client, seq: expects(0) }];
    for reset in resets {
        reset.send().map_err(KernelError::system(format!("reset to {}", reset.to)))?;
    }
    Ok(true)
}

fn ends(entry: &Entry) -> (SocketAddr, SocketAddr) {
    let address = |halves: [u64; 2]| {
        if u32::from(entry.key.family()) == NFPROTO_IPV4 {
            IpAddr::V4((halves[0] as u32).into())
        } else {
            IpAddr::V6((u128::from(halves[0]) << 64 | u128::from(halves[1])).into())
        }
    };
    let key = &entry.key;
    (SocketAddr::new(address(key.low), key.low_port()), SocketAddr::new(address(key.high), key.high_port()))
}

impl Reset {
    fn send(&self) -> io::Result<()> {
        let domain = if self.to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        #[expect(unsafe_code, reason = "the standard library has no raw sockets")]
        // SAFETY: plain numbers; the descriptor is ours.
        let socket = unsafe {
            let socket = libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW);
            if socket < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(socket)
        };
        let packet = self.packet();
        // The port of a raw socket's address means nothing, and must be 0 for IPv6.
        let address = SocketAddr::new(self.to.ip(), 0);
        let address = nix::sys::socket::SockaddrStorage::from(address);
        nix::sys::socket::sendto(socket.as_raw_fd(), &packet, &address, nix::sys::socket::MsgFlags::empty())?;
        Ok(())
    }

    /// The whole packet: `IPPROTO_RAW` has its header from us (ip(7), ipv6(7)).
    fn packet(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut packet = Vec::new();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                // Identification and checksum are filled in by the kernel.
                packet.extend([0x45, 0, 0, 20 + segment.len() as u8, 0, 0, 0x40, 0, 64, tcp::PROTOCOL, 0, 0]);
                packet.extend(from.octets());
                packet.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                packet.extend([0x60, 0, 0, 0, 0, segment.len() as u8, tcp::PROTOCOL, 64]);
                packet.extend(from.octets());
                packet.extend(to.octets());
            }
            _ => {}
        }
        packet.extend(segment);
        packet
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        segment.extend(self.seq.to_be_bytes());
        segment.extend([0, 0, 0, 0, 5 << 4, tcp::RST, 0, 0, 0, 0, 0, 0]);
        let sum = self.checksum(&segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// RFC 9293 section 3.1, RFC 8200 section 8.1.
    fn checksum(&self, segment: &[u8]) -> u16 {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let pseudo = [octets(self.from.ip()), octets(self.to.ip()), vec![0, tcp::PROTOCOL, 0, segment.len() as u8]];
        let bytes = [&pseudo.concat()[..], segment].concat();
        let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum over all, the checksum among it, is all ones.
    #[test]
    fn checksums_add_up() {
        for (from, to) in [("192.0.2.1:40000", "198.51.100.7:22"), ("[2001:db8::1]:40000", "[2001:db8::2]:443")] {
            let reset = Reset { from: from.parse().expect("one"), to: to.parse().expect("one"), seq: 0xdead_beef };
            assert_eq!(reset.checksum(&reset.segment()), 0, "{from}");
            let header = if reset.to.is_ipv4() { 20 } else { 40 };
            assert_eq!(reset.packet().len(), header + 20);
        }
    }
}
