//! Words to bytes, read back by the parser of the program.

use firewall_common::{
    packet::{Field, Packet},
    parse::{Start, parse},
};
use rstest::rstest;

use super::{Spec, State, hex};

fn spec(text: &str) -> Result<Spec, String> {
    Spec::parse(&text.split(' ').collect::<Vec<_>>()).map_err(|error| error.to_string())
}

fn read(text: &str) -> Packet {
    let mut packet = Packet::EMPTY;
    let frame = spec(text).expect("a packet").frame();
    parse(&frame[..], Start::ETHERNET, &mut packet).expect("well-formed");
    packet
}

#[test]
fn a_segment_is_what_was_said() {
    let packet = read("tcp 198.51.100.7:1234 203.0.113.10:443 flags syn,ack ttl 3 payload 10");
    assert_eq!(packet.get(Field::SourceAddress), 0xc633_6407);
    assert_eq!(packet.get(Field::SourcePort), 6 << 16 | 0x4d2);
    assert_eq!(packet.get(Field::DestinationPort), 6 << 16 | 0x1bb);
    assert_eq!(packet.get(Field::TcpFlags) & 0xff, 0x12);
    assert_eq!(packet.get(Field::Ttl), 3);
    assert_eq!(packet.get(Field::Length), 50);
}

#[test]
fn every_protocol_is_well_formed() {
    for text in [
        "udp 198.51.100.7:1234 203.0.113.10:53 vlan 7",
        "udp [2001:db8::1]:5 [2001:db8::2]:53 payload 3",
        "tcp 2001:db8::1 [2001:db8::2]:53",
        "icmp 198.51.100.7 203.0.113.10",
        "icmp destination-unreachable/1 198.51.100.7 203.0.113.10 payload 28",
        "icmp6 echo 2001:db8::1 2001:db8::2",
        "sctp 198.51.100.7:1234 203.0.113.10:53",
        "47 198.51.100.7 203.0.113.10",
        "arp 198.51.100.7 203.0.113.10",
    ] {
        read(text);
    }
    assert_eq!(read("icmp6 echo 2001:db8::1 2001:db8::2").get(Field::IcmpType), 58 << 16 | 0x8000);
    assert_eq!(read("udp 192.0.2.1 192.0.2.2:53 vlan 7").get(Field::Vlan) & 0xfff, 7);
}

#[test]
fn a_segment_of_a_connection_that_stands_is_no_opening() {
    let spec = spec("tcp 198.51.100.7 203.0.113.10:443 state established").expect("a packet");
    assert_eq!((spec.state, spec.flags), (State::Established, 0x10));
}

#[rstest]
#[case("", "a packet begins with its protocol")]
#[case("tcp", "where it comes from is missing")]
#[case("tcp 192.0.2.1", "where it goes to is missing")]
#[case("tcp 192.0.2.1 192.0.2.2", "tcp needs a port to go to")]
#[case("tcp 192.0.2.1 [2001:db8::1]:22", "one address is IPv4")]
#[case("icmp 192.0.2.1:3 192.0.2.2", "icmp has no ports")]
#[case("icmp6 192.0.2.1 192.0.2.2", "icmp is of IPv4, icmp6 of IPv6")]
#[case("icmp nonsense 192.0.2.1 192.0.2.2", "is no type of ICMP")]
#[case("nonsense 192.0.2.1 192.0.2.2", "`nonsense` is no protocol")]
#[case("tcp 192.0.2.1 192.0.2.2:22 flags fast", "`fast` is no TCP flag")]
#[case("tcp 192.0.2.1 192.0.2.2:22 state related", "cannot be supposed")]
#[case("tcp 192.0.2.1 192.0.2.2:22 flags", "`flags` wants a value")]
#[case("tcp 192.0.2.1 192.0.2.2:22 colour red", "says nothing about a packet")]
fn what_is_wrong_is_said(#[case] text: &str, #[case] wanted: &str) {
    let words: Vec<_> = text.split_whitespace().collect();
    let error = Spec::parse(&words).expect_err(text).to_string();
    assert!(error.contains(wanted), "{error}");
}

#[test]
fn hexadecimal_digits_are_bytes() {
    assert_eq!(hex("02:00 ff"), Ok(vec![2, 0, 255]));
    assert_eq!(hex("0xff"), Ok(vec![255]));
    assert!(hex("f").is_err() && hex("zz").is_err());
}
