use super::*;
use crate::{bytes::PacketBytes, parse, parse::Start};

fn parsed(frame: &[u8]) -> Packet {
    let mut packet = Packet::EMPTY;
    parse::parse(frame, Start::ETHERNET, &mut packet).expect("well-formed");
    let _ = PacketBytes::length(frame);
    packet
}

/// An IPv4 segment of TCP, 40 bytes behind an Ethernet header.
fn segment(ttl: u8, flags: u8, fragment: u16) -> Vec<u8> {
    let mut frame = vec![0x00, 0x00, 0x5e, 0x00, 0x53, 0x01, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x02, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 40, 0, 1]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([ttl, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
    frame.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    frame
}

const ACK: u8 = 0x10;

#[test]
fn what_the_stack_must_see_is_not_plain() {
    assert!(is_plain(&parsed(&segment(64, ACK, 0))));
    assert!(is_plain(&parsed(&segment(2, ACK, 0x4000))));
    for (name, frame) in [
        ("time to live", segment(1, ACK, 0)),
        ("no time to live", segment(0, ACK, 0)),
        ("FIN", segment(64, ACK | FIN, 0)),
        ("RST", segment(64, RST, 0)),
        ("SYN", segment(64, SYN, 0)),
        ("first fragment", segment(64, ACK, 0x2000)),
    ] {
        assert!(!is_plain(&parsed(&frame)), "{name}");
    }
    let mut tagged = segment(64, ACK, 0);
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
    assert!(!is_plain(&parsed(&tagged)), "VLAN tag");
    let mut options = segment(64, ACK, 0);
    options[14] = 0x46;
    options[17] = 44;
    options.splice(34..34, [1, 1, 1, 0]);
    assert!(!is_plain(&parsed(&options)), "options");
    let mut icmp = segment(64, ACK, 0);
    icmp[23] = 1;
    assert!(!is_plain(&parsed(&icmp)), "ICMP");
}

#[test]
fn only_frames_to_the_interface_itself_are_for_it() {
    let packet = parsed(&segment(64, ACK, 0));
    let device = |address| Device { flags: IN, address, ifindex: 2 };
    assert!(is_for(&packet, &device([0x0000_5e00, 0x5301_0000])));
    assert!(!is_for(&packet, &device([0x0000_5e00, 0x5302_0000])));
    assert!(!is_for(&packet, &device([0x0100_5e00, 0x5301_0000])));
}

#[test]
fn one_hop_further_is_what_the_kernel_makes() {
    for ttl in 1..=255_u16 {
        for check in (0..=u16::MAX).step_by(127).chain([0, 1, 0xfeff, 0xff00, 0xfffe, 0xffff]) {
            let word = ttl << 8 | 6;
            let sum = u32::from(check) + 0x100;
            let kernel = (sum + u32::from(sum >= 0xffff)) as u16;
            assert_eq!(one_hop_further(word, check), (word - 0x100, kernel), "ttl {ttl}, checksum {check:#x}");
        }
    }
}

#[test]
fn connections_are_added_when_they_stand() {
    let state = |phase: Phase| State(phase as u8);
    let packet = parsed(&segment(64, ACK, 0));
    assert!(may_be_added(&packet, state(Phase::Established)));
    for phase in [Phase::SynRecv, Phase::SynSent, Phase::FinWait, Phase::TimeWait, Phase::Close] {
        assert!(!may_be_added(&packet, state(phase)), "{phase:?}");
    }
    assert!(!may_be_added(&parsed(&segment(64, ACK | FIN, 0)), state(Phase::Established)));
}
