//! An interface without Ethernet header: the same rules, at tc.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    thread,
    time::{Duration, Instant},
};

use firewall_tests::{
    netns::Namespace,
    packet::{Frame, Icmp, IcmpVersion, Summary, Tcp, Udp, flag},
    sockets::{Outcome, TcpEcho, tcp_connect, udp_echo},
    topology::{CLIENT, SERVER},
};

use crate::support::{
    live::Live,
    packets::{between, syn, v4},
};

/// The far end of a tun interface: packets written here come in by it, packets read here left by it.
struct Tunnel {
    file: File,
}

/// Name of the interface.
const TUN: &str = "tun0";

/// `TUNSETIFF` (`include/uapi/linux/if_tun.h`).
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

impl Tunnel {
    /// Opens the far end of [`TUN`] in a namespace.
    fn open(namespace: &Namespace) -> Self {
        namespace.run(|| {
            let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
            let file = file.expect("there is /dev/net/tun");
            // `struct ifreq`: sixteen bytes of name, then the flags.
            let mut request = [0_u8; 40];
            request[..TUN.len()].copy_from_slice(TUN.as_bytes());
            request[16..18].copy_from_slice(&((libc::IFF_TUN | libc::IFF_NO_PI) as u16).to_ne_bytes());
            #[expect(unsafe_code, reason = "nix has no wrapper for this request")]
            // SAFETY: the request is as large as `struct ifreq` and lives until the call returns.
            let answer = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
            assert_eq!(answer, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
            Self { file }
        })
    }

    /// A packet, from its network header on, comes in.
    fn write(&mut self, frame: &Frame) {
        self.file.write_all(&frame.packet()).expect("a tun takes packets");
    }

    /// The first packet that left and is `wanted`.
    fn read(&mut self, patience: Duration, wanted: impl Fn(&Summary) -> bool) -> Option<Summary> {
        self.read_whole(patience, wanted).map(|(summary, _)| summary)
    }

    /// The same, with its bytes.
    fn read_whole(&mut self, patience: Duration, wanted: impl Fn(&Summary) -> bool) -> Option<(Summary, Vec<u8>)> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 2048];
        while Instant::now() < deadline {
            match self.file.read(&mut buffer) {
                Ok(length) => {
                    let ether_type: [u8; 2] = if buffer[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
                    let frame = [&[0; 12][..], &ether_type, &buffer[..length]].concat();
                    if let Some(summary) = Summary::of(&frame).filter(&wanted) {
                        return Some((summary, buffer[..length].to_vec()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
                Err(error) => panic!("reading from a tun: {error}"),
            }
        }
        None
    }
}

#[test]
fn rules_apply_without_an_ethernet_header() {
    let host = Namespace::new("tun");
    host.ip(&format!("tuntap add dev {TUN} mode tun"));
    let mut tunnel = Tunnel::open(&host);
    host.ip(&format!("address add {SERVER}/24 dev {TUN}"));
    host.ip(&format!("link set {TUN} up"));
    let live = Live::apply(
        &host,
        "table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            iifname \"tun0\" tcp dport 22 counter accept
            ct state established,related accept
        }
        chain output { type filter hook output priority filter; policy accept; udp dport 9 drop; }
    }",
    );
    assert_eq!(live.attachment(TUN), ("tc".to_owned(), "tcx".to_owned()));
    // Nobody listens: the kernel's reset tells that a segment got as far as that.
    let patience = Duration::from_secs(10);
    let reset =
        |port| move |seen: &Summary| seen.ports == Some((port, 40000)) && seen.tcp_flags == Some(flag::RST | flag::ACK);
    tunnel.write(&v4(syn(23)));
    tunnel.write(&v4(Icmp::echo_request(IcmpVersion::V4, 7, 1)));
    tunnel.write(&v4(syn(22)));
    let first =
        tunnel.read(patience, |seen| seen.ports == Some((23, 40000)) || seen.icmp == Some((0, 0)) || reset(22)(seen));
    assert_eq!(first.and_then(|seen| seen.ports), Some((22, 40000)), "only what was let in is answered");
    // A question of the host's leaves, and the answer comes in.
    let socket = host.run(|| std::net::UdpSocket::bind((SERVER, 5000))).expect("a socket");
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    for port in [9, 53] {
        // One that may not leave is an error, or silence.
        drop(socket.send_to(b"?", (CLIENT, port)));
    }
    let asked = tunnel.read(patience, |seen| seen.ports.is_some_and(|(source, _)| source == 5000));
    assert_eq!(asked.and_then(|seen| seen.ports), Some((5000, 53)), "port 9 stays inside");
    tunnel.write(&between(CLIENT, SERVER, Udp::new(54, 5000)).payload(b"not asked"));
    tunnel.write(&between(CLIENT, SERVER, Udp::new(53, 5000)).payload(b"!"));
    let mut buffer = [0; 16];
    let (length, from) = socket.recv_from(&mut buffer).expect("the answer");
    assert_eq!((&buffer[..length], from.port()), (&b"!"[..], 53));
}

/// Refused packets are answered without an Ethernet header as well, those that come in and those of this host, and handshakes are made in
/// a server's place.
#[test]
fn answers_have_no_ethernet_header_either() {
    let host = Namespace::new("tun");
    host.set_parameter("net/ipv4/tcp_syncookies", "2");
    host.ip(&format!("tuntap add dev {TUN} mode tun"));
    let mut tunnel = Tunnel::open(&host);
    host.ip(&format!("address add {SERVER}/24 dev {TUN}"));
    host.ip(&format!("link set {TUN} up"));
    let _web = TcpEcho::start(&host, (SERVER, 80));
    let _live = Live::apply(
        &host,
        "table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            tcp dport 80 ct state != established synproxy mss 1460
            ct state established,related accept
            tcp dport 22 reject with tcp reset
            udp dport 53 reject
        }
        chain output { type filter hook output priority filter; policy accept; tcp dport 23 reject with tcp reset; udp dport 9 reject; }
    }",
    );
    let patience = Duration::from_secs(10);
    tunnel.write(&v4(syn(22)));
    let reset = tunnel.read(patience, |seen| seen.ports == Some((22, 40000))).expect("a reset");
    assert_eq!(reset.tcp_flags, Some(flag::RST | flag::ACK));
    tunnel.write(&between(CLIENT, SERVER, Udp::new(40000, 53)).payload(b"?"));
    let (error, bytes) = tunnel.read_whole(patience, |seen| seen.icmp.is_some()).expect("an error");
    assert_eq!((error.icmp, error.source), (Some((3, 3)), SERVER.into()));
    assert_eq!(bytes[28..48].len(), 20);
    assert_eq!(bytes[28 + 9], 17, "the packet is quoted");
    // A handshake: a cookie is answered, and who brings it back is connected to the service.
    let segment = |flags, seq, ack| v4(Tcp { window: 8000, ..Tcp::new(40000, 80, flags).at(seq, ack) });
    tunnel.write(&segment(flag::SYN, 1000, 0));
    let (promise, bytes) = tunnel.read_whole(patience, |seen| seen.ports == Some((80, 40000))).expect("a cookie");
    assert_eq!(promise.tcp_flags, Some(flag::SYN | flag::ACK));
    let cookie = u32::from_be_bytes(bytes[24..28].try_into().expect("four bytes"));
    tunnel.write(&segment(flag::ACK, 1001, cookie.wrapping_add(7)));
    tunnel.write(&segment(flag::ACK, 1001, cookie.wrapping_add(1)));
    tunnel.write(&segment(flag::ACK | flag::PSH, 1001, cookie.wrapping_add(1)).payload(b"hello"));
    let is_data = |bytes: &[u8]| bytes.ends_with(b"hello");
    let deadline = Instant::now() + patience;
    while !tunnel.read_whole(patience, |seen| seen.ports == Some((80, 40000))).is_some_and(|(_, bytes)| is_data(&bytes))
    {
        assert!(Instant::now() < deadline, "the server's answer");
    }
    // Programs of this host are told.
    assert_eq!(tcp_connect(&host, (CLIENT, 23), patience), Outcome::Refused);
    assert_eq!(udp_echo(&host, (CLIENT, 9), patience), Outcome::Refused);
}
