//! Packets as short as a table's cells.
//!
//! A packet goes from the client to the server, or the other way, or from and to wherever a row says; its family
//! follows from its addresses.

use std::net::IpAddr;

use firewall_tests::{
    packet::{Arp, Ethernet, Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Network, Tcp, Udp, Upper, flag::SYN},
    topology::{CLIENT, CLIENT_MAC, CLIENT6, SERVER, SERVER6},
};

/// The port that a client's packets come from.
pub const CLIENT_PORT: u16 = 40000;

/// The first segment of a connection to a port.
pub fn syn(port: u16) -> Tcp {
    Tcp::new(CLIENT_PORT, port, SYN)
}

/// A datagram to a port.
pub fn datagram(port: u16) -> Udp {
    Udp::new(CLIENT_PORT, port)
}

/// From the client to the server.
pub fn v4(upper: impl Into<Upper>) -> Frame {
    between(CLIENT, SERVER, upper)
}

/// The same over IPv6.
pub fn v6(upper: impl Into<Upper>) -> Frame {
    between(CLIENT6, SERVER6, upper)
}

/// From the server to the client.
pub fn back_v4(upper: impl Into<Upper>) -> Frame {
    between(SERVER, CLIENT, upper)
}

/// The same over IPv6.
pub fn back_v6(upper: impl Into<Upper>) -> Frame {
    between(SERVER6, CLIENT6, upper)
}

/// A ping.
pub fn ping(version: IcmpVersion) -> Icmp {
    Icmp::echo_request(version, 7, 1)
}

/// To the server, from this address.
pub fn from(source: &str, upper: impl Into<Upper>) -> Frame {
    match address(source) {
        source @ IpAddr::V4(_) => between(source, SERVER, upper),
        source @ IpAddr::V6(_) => between(source, SERVER6, upper),
    }
}

/// From the client, to this address.
pub fn to(destination: &str, upper: impl Into<Upper>) -> Frame {
    match address(destination) {
        destination @ IpAddr::V4(_) => between(CLIENT, destination, upper),
        destination @ IpAddr::V6(_) => between(CLIENT6, destination, upper),
    }
}

/// From one address to another, to the server's hardware address unless the server sends it.
pub fn between(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, upper: impl Into<Upper>) -> Frame {
    let (source, destination) = (source.into(), destination.into());
    let is_servers = [IpAddr::V4(SERVER), SERVER6.into()].contains(&source);
    let ethernet = if is_servers { Ethernet::to_client() } else { Ethernet::to_server() };
    let network: Network = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ipv4::new(source, destination).into(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ipv6::new(source, destination).into(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("{source} and {destination}"),
    };
    Frame::new(network, upper).ethernet(ethernet)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no address"))
}

/// The first `length` bytes of a frame.
pub fn cut(frame: &Frame, length: usize) -> Vec<u8> {
    let mut bytes = frame.bytes();
    bytes.truncate(length);
    bytes
}

/// A packet in a word: `tcp:22`, `udp6:53` and `sctp:5` are to that port, `icmp:8` and `icmpv6:128` of that type,
/// `proto:47` of that protocol, `arp`; an address alone is where a `tcp:22` comes from.
pub fn word(word: &str) -> Frame {
    let (name, number) = word.split_once(':').unwrap_or((word, "0"));
    let port = || number.parse::<u16>().unwrap_or_else(|_| panic!("`{word}`: no port"));
    let kind = || number.parse::<u8>().unwrap_or_else(|_| panic!("`{word}`: no number below 256"));
    let sctp = || Upper::Raw(132, [&CLIENT_PORT.to_be_bytes()[..], &port().to_be_bytes(), &[0; 8]].concat());
    match name {
        "tcp" => v4(syn(port())),
        "tcp6" => v6(syn(port())),
        "udp" => v4(datagram(port())),
        "udp6" => v6(datagram(port())),
        "sctp" => v4(sctp()),
        "sctp6" => v6(sctp()),
        "icmp" => v4(Icmp::v4(kind(), 0)),
        "icmpv6" => v6(Icmp::v6(kind(), 0)),
        "proto" => v4(Upper::Raw(kind(), vec![0; 20])),
        "proto6" => v6(Upper::Raw(kind(), vec![0; 20])),
        "arp" => Frame::without_ip(Arp::request(CLIENT_MAC, CLIENT, SERVER)),
        _ => from(word, syn(22)),
    }
}
