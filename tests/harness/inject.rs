//! Frames sent and received on a wire, past the network stack.

use std::{
    net::{SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind,
            recvfrom, send, sendto, setsockopt, socket,
            sockopt::{Mark, ReceiveTimeout},
        },
        time::TimeVal,
    },
};

use crate::netns::Namespace;

/// Long enough for a frame to arrive on the slowest of machines; reached only when it does not.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How often a wait looks at the clock, in microseconds.
const TICK: i64 = 10_000;

/// One end of a wire: what is sent leaves by the interface, what is received came in by it.
///
/// The kernel takes the outermost VLAN tag off before it shows a frame here. A frame that XDP drops is never shown;
/// one that the kernel's own netfilter drops later is.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Opens an interface of a namespace. Frames are kept from now on until they are received.
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        // The socket stays in the namespace that it was made in, whoever uses it.
        namespace.run(|| Self { socket: open(interface) })
    }

    /// Sends a frame out of the interface.
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()), "sending a frame of {} bytes", frame.len());
    }

    /// Sends a frame if the host lets it out: what watches its own packets may refuse one that is malformed.
    pub fn offer(&self, frame: &[u8]) -> bool {
        match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Err(Errno::ENOBUFS) => false,
            sent => {
                assert_eq!(sent, Ok(frame.len()), "sending a frame of {} bytes", frame.len());
                true
            }
        }
    }

    /// The first frame that is `wanted`, of those that came since the last call; `None` after `patience`.
    pub fn receive(&self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            match self.next() {
                Some(frame) if wanted(&frame) => return Some(frame),
                _ if Instant::now() >= deadline => return None,
                _ => {}
            }
        }
    }

    /// What came in until `enough` says so, or until `patience` is over: all of it, in order.
    pub fn collect(&self, patience: Duration, enough: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut frames = Vec::new();
        while !enough(&frames) && Instant::now() < deadline {
            frames.extend(self.next());
        }
        frames
    }

    /// The next frame that came in; `None` after one tick without.
    fn next(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
            Ok((_, Some(from))) if from.as_ref().sll_pkttype == nix::libc::PACKET_OUTGOING => None,
            Ok((length, _)) => {
                buffer.truncate(length);
                Some(buffer)
            }
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => None,
            Err(error) => panic!("receiving a frame: {error}"),
        }
    }
}

/// Packets sent by a host itself, through its whole network stack on the way out, as they are: no header is made for
/// them, and no connection stands behind them.
#[derive(Debug)]
pub struct Own {
    ipv4: OwnedFd,
    ipv6: OwnedFd,
}

impl Own {
    /// Packets with this mark, by which a routing rule can tell them from what the host sends of its own accord.
    pub fn open(namespace: &Namespace, mark: u32) -> Self {
        namespace.run(|| Self { ipv4: raw(AddressFamily::Inet, mark), ipv6: raw(AddressFamily::Inet6, mark) })
    }

    /// Sends a packet, from the network header on. Whether it was let go is not told.
    pub fn send(&self, packet: &[u8]) {
        let sent = if packet[0] >> 4 == 4 {
            let octets: [u8; 4] = packet[16..20].try_into().expect("four bytes");
            let to = SockaddrIn::from(SocketAddrV4::new(octets.into(), 0));
            sendto(self.ipv4.as_raw_fd(), packet, &to, MsgFlags::empty())
        } else {
            let octets: [u8; 16] = packet[24..40].try_into().expect("sixteen bytes");
            let to = SockaddrIn6::from(SocketAddrV6::new(octets.into(), 0, 0, 0));
            sendto(self.ipv6.as_raw_fd(), packet, &to, MsgFlags::empty())
        };
        // Netfilter's drop is EPERM; tc's is ENOBUFS, or nothing.
        let is_refusal = matches!(sent, Err(Errno::EPERM | Errno::ENOBUFS));
        assert!(is_refusal || sent == Ok(packet.len()), "sending a packet of {} bytes: {sent:?}", packet.len());
    }
}

/// A socket for whole packets (`IPPROTO_RAW`, raw(7)).
fn raw(family: AddressFamily, mark: u32) -> OwnedFd {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
    let socket = socket.expect("root may open a raw socket");
    setsockopt(&socket, Mark, &mark).expect("root may set a mark");
    socket
}

/// A packet socket bound to an interface, for every protocol.
fn open(interface: &str) -> OwnedFd {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
    let socket = socket.expect("root may open a packet socket");
    // Binding by an address that the kernel gave: its protocol is 0, which leaves the socket's.
    let address = getifaddrs()
        .expect("the interfaces can be listed")
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .unwrap_or_else(|| panic!("there is no interface {interface}"));
    bind(socket.as_raw_fd(), &address).unwrap_or_else(|error| panic!("binding to {interface}: {error}"));
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, TICK)).expect("a socket takes a timeout");
    socket
}
