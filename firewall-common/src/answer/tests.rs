use super::*;

fn packet(words: &[(Field, u32)]) -> Packet {
    let mut packet = Packet::EMPTY;
    packet.set(Field::NfProto, 2);
    packet.set(Field::SourceAddress, 0xc000_0201);
    packet.set(Field::DestinationAddress, 0xc000_0202);
    packet.set(Field::L4Header, TCP | L4_PRESENT);
    for (field, value) in words {
        packet.set(*field, *value);
    }
    packet
}

#[test]
fn some_packets_are_never_answered() {
    let answered = |words: &[(Field, u32)], asked| kind(&packet(words), asked, 1).is_some();
    assert!(answered(&[], RESET) && answered(&[], ICMP) && answered(&[], EITHER));
    for (words, asked) in [
        (vec![(Field::Fragment, FRAGMENT_LATER)], EITHER),
        (vec![(Field::DestinationAddress, 0xe000_0001)], EITHER),
        (vec![(Field::DestinationAddress, 0xffff_ffff)], RESET),
        (vec![(Field::SourceAddress, 0)], ICMP),
        (vec![(Field::TcpFlags, TCP << 16 | RST)], RESET),
        (vec![(Field::L4Header, 0x11 | L4_PRESENT)], RESET),
        (vec![(Field::L4Header, TCP)], RESET),
        (vec![(Field::IcmpType, 1 << 16 | 0x3 << 8)], ICMP),
        (vec![(Field::IcmpType, 1 << 16 | 0xb << 8)], EITHER),
        (vec![(Field::IcmpType, 1 << 16 | 0xc8 << 8)], ICMP),
        (vec![], ICMP6),
    ] {
        assert!(!answered(&words, asked), "{words:?}");
    }
    assert!(answered(&[(Field::IcmpType, 1 << 16 | 0x8 << 8)], ICMP));
}

#[test]
fn codes_follow_the_family() {
    let six = |packet: Packet| {
        let mut packet = packet;
        packet.set(Field::NfProto, NFPROTO_IPV6);
        packet
    };
    let code = |packet: &Packet, code| kind(packet, EITHER, code).map(|kind| kind.code);
    assert_eq!([0, 1, 2, 3].map(|number| code(&packet(&[]), number)), [Some(0), Some(3), Some(1), Some(13)]);
    assert_eq!([0, 1, 2, 3].map(|number| code(&six(packet(&[])), number)), [Some(0), Some(4), Some(3), Some(1)]);
}

#[test]
fn sums_are_folded() {
    assert_eq!(fold(0), 0);
    assert_eq!(fold(0xffff), 0xffff);
    assert_eq!(fold(0x1_0000), 1);
    assert_eq!(fold(0xffff_ffff), 0xffff);
    assert_eq!(fold(u64::MAX), 0xffff);
}
