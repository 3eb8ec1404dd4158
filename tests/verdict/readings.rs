//! What is read from bytes: options, extension headers, chunks, raw payload; there, not there, cut short.

use firewall_tests::{
    packet::{Extension, Frame, Ipv4, Ipv6, Upper},
    topology::{CLIENT, CLIENT6, SERVER, SERVER6},
};

use super::support::{
    packets::{datagram, syn, v4, v6},
    table::{SIDES, check_matches},
};

fn tcp(options: &[u8]) -> Frame {
    let mut segment = syn(22);
    segment.options = options.to_vec();
    v4(segment)
}

fn with_options(options: &[u8]) -> Frame {
    Frame::new(Ipv4 { options: options.to_vec(), ..Ipv4::new(CLIENT, SERVER) }, datagram(53))
}

fn behind(extensions: Vec<Extension>) -> Frame {
    Frame::new(Ipv6::new(CLIENT6, SERVER6).with(extensions), syn(22))
}

fn sctp(chunks: &[u8]) -> Frame {
    v4(Upper::Raw(132, [&[0, 7, 0, 22, 0, 0, 0, 9, 0, 0, 0, 0], chunks].concat()))
}

fn packet(word: &str) -> Frame {
    match word {
        "mss" => tcp(&[2, 4, 5, 180]),
        "late-mss" => tcp(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 2, 4, 2, 0]),
        "short-mss" => tcp(&[2, 2, 1, 1]),
        "bare" => tcp(&[]),
        "udp" => v4(datagram(53)),
        "udp6" => v6(datagram(53)),
        "route" => with_options(&[131, 7, 4, 192, 0, 2, 9, 0]),
        "malformed" => with_options(&[7, 7, 4, 0, 0, 0, 0, 200]),
        "fragment" => behind(vec![Extension::fragment(0, true, 9)]),
        "routing" => behind(vec![Extension::routing(), Extension::destination_options()]),
        "data" => sctp(&[0, 3, 0, 8, 0, 0, 0, 5]),
        "init" => sctp(&[1, 0, 0, 4]),
        "esp" => v4(Upper::Raw(50, vec![0, 0, 0, 5, 0, 0, 0, 1])),
        "esp-short" => v4(Upper::Raw(50, vec![0, 0])),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_read_from_bytes() {
    for side in SIDES {
        check_matches(
            side,
            "",
            packet,
            &[
                ("tcp option maxseg exists", "mss late-mss short-mss", "bare udp udp6 routing"),
                ("tcp option maxseg missing", "bare udp udp6 routing", "mss late-mss short-mss"),
                ("tcp option maxseg size 1460", "mss", "late-mss short-mss bare udp"),
                ("tcp option maxseg size != 1460", "late-mss", "mss short-mss bare udp"),
                ("tcp option maxseg size { 1-600, 9000 }", "late-mss", "mss bare"),
                ("tcp option timestamp tsecr 2", "late-mss", "mss bare"),
                ("ip option lsrr exists", "route", "malformed bare udp6"),
                ("ip option rr missing", "route malformed bare udp", "udp6 routing"),
                ("ip option lsrr addr 3221225993", "route", "malformed udp"),
                ("exthdr frag exists", "fragment", "routing udp6 bare"),
                ("exthdr frag missing", "routing udp6", "fragment bare"),
                ("frag more-fragments 1 frag id 9", "fragment", "routing udp6 bare"),
                ("rt type 253", "routing", "fragment udp6 bare"),
                ("exthdr dst exists", "routing", "fragment udp6"),
                ("sctp chunk data exists", "data", "init udp"),
                ("sctp chunk data missing", "init udp bare", "data"),
                ("sctp chunk data tsn 5", "data", "init udp"),
                ("sctp vtag 9", "data init", "udp esp"),
                ("esp spi 5", "esp", "esp-short data udp"),
                ("@th,0,32 5", "esp", "esp-short udp"),
                ("@nh,72,8 17", "udp", "bare esp"),
                ("th dport 53", "udp udp6", "bare esp-short"),
                ("@nh,0,4 6", "udp6 fragment", "udp bare"),
            ],
        );
    }
}
