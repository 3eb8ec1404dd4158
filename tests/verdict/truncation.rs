//! Frames cut at every length: dropped at the layer that the cut is in, whatever the rules say.

use std::ops::Range;

use firewall_common::verdict::{Layer, Reason};
use firewall_tests::packet::{Extension, Frame, IcmpVersion, Ipv4, Ipv6, Network, Upper};
use firewall_tests::topology::{CLIENT, CLIENT6, SERVER, SERVER6};
use firewall_user::kernel::Side;
use rstest::rstest;

use super::{
    EVERYTHING, ONLY_SSH,
    support::{
        Firewall,
        packets::{cut, datagram, ping, syn},
        table::{SIDES, check_rows},
    },
};

const ETHERNET: usize = 14;

/// The shortest part of a frame that the kernel takes for a test: at tc, the network header must be whole.
fn shortest(side: Side, frame: &Frame) -> usize {
    match (side, &frame.network) {
        (Side::Xdp, _) => ETHERNET,
        (Side::TcIngress | Side::TcEgress, Network::Ipv6(_)) => ETHERNET + 40,
        (Side::TcIngress | Side::TcEgress, _) => ETHERNET + 20,
    }
}

/// The layer that a packet is malformed at whose length fields fit so many bytes. An IPv6 packet without any payload
/// is none that could carry TCP: its length is wrong.
fn layer(frame: &Frame, upper: &Range<usize>, length: usize) -> Layer {
    let is_v6_tcp = matches!((&frame.network, &frame.upper), (Network::Ipv6(_), Upper::Tcp(_)));
    if length < upper.start || length == ETHERNET + 40 && is_v6_tcp { Layer::Network } else { Layer::Transport }
}

/// A packet: its name, where its upper-layer header is, the packet.
fn packets() -> Vec<(&'static str, Range<usize>, Frame)> {
    let v4 = |upper: Upper| Frame::new(Ipv4::new(CLIENT, SERVER), upper);
    let v6 = |upper: Upper| Frame::new(Ipv6::new(CLIENT6, SERVER6), upper);
    let options = Ipv4 { options: vec![1; 12], ..Ipv4::new(CLIENT, SERVER) };
    let extensions = Ipv6::new(CLIENT6, SERVER6).with([Extension::hop_by_hop(), Extension::destination_options()]);
    vec![
        ("TCP", 34..54, v4(syn(22).into())),
        ("TCP behind options", 46..66, Frame::new(options, syn(22))),
        ("UDP", 34..42, v4(datagram(22).into())),
        ("ICMP", 34..42, v4(ping(IcmpVersion::V4).into())),
        ("TCP, IPv6", 54..74, v6(syn(22).into())),
        ("TCP behind extension headers", 70..90, Frame::new(extensions, syn(22))),
        ("UDP, IPv6", 54..62, v6(datagram(22).into())),
        ("ICMPv6", 54..62, v6(ping(IcmpVersion::V6).into())),
        ("SCTP", 34..46, v4(Upper::Raw(132, vec![0; 12]))),
    ]
}

/// The same with a length field that fits what is left.
fn shortened(frame: &Frame, length: usize) -> Vec<u8> {
    let mut frame = frame.clone();
    match &mut frame.network {
        Network::Ipv4(ipv4) => ipv4.total_length = Some((length - ETHERNET) as u16),
        Network::Ipv6(ipv6) => ipv6.payload_length = Some(length.saturating_sub(ETHERNET + 40) as u16),
        Network::Arp(_) | Network::Raw(..) => {}
    }
    cut(&frame, length)
}

#[rstest]
#[case::under_policy_drop(ONLY_SSH)]
#[case::under_policy_accept(EVERYTHING)]
fn a_frame_cut_anywhere_is_dropped(#[case] rules: &str) {
    let firewall = Firewall::new(rules);
    for (name, upper, frame) in packets() {
        assert_eq!(frame.bytes().len(), upper.end, "{name}");
        for side in SIDES {
            let lengths = || shortest(side, &frame)..upper.end;
            // A length field that tells of more than there is makes it the network layer's fault at any length.
            let torn = lengths().map(|length| (length, cut(&frame, length), Layer::Network));
            let short = lengths().map(|length| (length, shortened(&frame, length), layer(&frame, &upper, length)));
            let rows: Vec<_> = torn.chain(short).collect();
            let frames: Vec<_> = rows.iter().map(|(_, bytes, _)| bytes.clone()).collect();
            let outcomes = firewall.judge_all(side, &frames);
            let layers = outcomes.into_iter().map(|outcome| outcome.map_err(Reason::layer));
            check_rows(
                rows.iter()
                    .zip(layers)
                    .map(|((length, _, layer), got)| (format!("{name}, {length} bytes, {side:?}"), Err(*layer), got)),
            );
        }
    }
}

#[test]
fn each_cut_has_its_own_reason() {
    let firewall = Firewall::new(EVERYTHING);
    let of_packet = [
        Reason::TcpTruncated,
        Reason::TcpTruncated,
        Reason::UdpTruncated,
        Reason::IcmpTruncated,
        Reason::TcpTruncated,
        Reason::TcpTruncated,
        Reason::UdpTruncated,
        Reason::Icmpv6Truncated,
        Reason::SctpTruncated,
    ];
    let mut rows = Vec::new();
    for ((name, upper, frame), reason) in packets().into_iter().zip(of_packet) {
        let (fixed, network) = match frame.network {
            Network::Ipv4(_) => (34, Reason::Ipv4Truncated),
            _ => (54, Reason::Ipv6Truncated),
        };
        rows.extend((ETHERNET..fixed).map(|length| (format!("{name}, {length}"), cut(&frame, length), Err(network))));
        let transport = upper.clone().filter(|length| layer(&frame, &upper, *length) == Layer::Transport);
        rows.extend(transport.map(|length| (format!("{name}, {length}"), shortened(&frame, length), Err(reason))));
    }
    firewall.check_frames(Side::Xdp, rows);
}
