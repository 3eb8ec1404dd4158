use super::{Part, Read, read};
use crate::{
    packet::{Field, Packet},
    parse::{Start, parse},
};

const REGISTER: usize = Field::Register as usize;

/// What is read of a frame, as the words of a value; `None` when it does not have it.
fn value(frame: &[u8], part: Part, first: u16, bytes: u8) -> Option<[u32; 4]> {
    run(frame, Read { part, first, bytes, presence: false })
}

fn is_there(frame: &[u8], part: Part) -> bool {
    run(frame, Read { part, first: 0, bytes: 1, presence: true }).expect("every packet has an answer")[0] == 1
}

fn run(frame: &[u8], what: Read) -> Option<[u32; 4]> {
    let mut packet = Packet::EMPTY;
    parse(frame, Start::ETHERNET, &mut packet).expect("a packet");
    packet.set(Field::IifIndex, 2);
    let mut insn = what.operands();
    insn.extra = REGISTER as u32;
    read(frame, &insn, &mut packet).then(|| [0, 1, 2, 3].map(|word| packet.words[REGISTER + word]))
}

fn ethernet(ether_type: u16) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &ether_type.to_be_bytes()].concat()
}

fn ipv4(options: &[u8], protocol: u8, upper: &[u8]) -> Vec<u8> {
    let total = (20 + options.len() + upper.len()) as u16;
    let mut frame = ethernet(0x0800);
    frame.push(0x45 + (options.len() / 4) as u8);
    frame.push(0);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend(options);
    frame.extend(upper);
    frame
}

fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((rest.len() as u16).to_be_bytes());
    frame.extend([next, 64]);
    frame.extend([1; 32]);
    frame.extend(rest);
    frame
}

fn tcp(options: &[u8]) -> Vec<u8> {
    let mut segment =
        vec![0, 7, 0, 22, 0, 0, 0, 1, 0, 0, 0, 2, ((20 + options.len() as u8) / 4) << 4, 2, 1, 0, 0, 0, 0, 0];
    segment.extend(options);
    segment
}

#[test]
fn bytes_of_headers_end_where_the_packet_ends() {
    let mut frame = ipv4(&[], 17, &[0, 7, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame.extend([9; 20]);
    assert_eq!(value(&frame, Part::Transport, 2, 2), Some([53, 0, 0, 0]));
    assert_eq!(value(&frame, Part::Transport, 8, 4), Some([0x0102_0304, 0, 0, 0]));
    assert_eq!(value(&frame, Part::Transport, 9, 4), None, "the last byte only fills the frame up");
    assert_eq!(value(&frame, Part::Inner, 0, 3), Some([0x0001_0203, 0, 0, 0]));
    assert_eq!(value(&frame, Part::Network, 12, 5), Some([0xc000_0201, 0xc000_0000, 0, 0]));
    assert_eq!(value(&frame, Part::Link, 12, 2), Some([0x0800, 0, 0, 0]));
    assert_eq!(value(&frame, Part::Network, 65_535, 16), None);
}

#[test]
fn a_later_fragment_has_no_header() {
    let mut frame = ipv4(&[], 17, &[0; 16]);
    frame[20] = 0;
    frame[21] = 5;
    assert_eq!(value(&frame, Part::Transport, 0, 2), None);
    assert_eq!(value(&frame, Part::Network, 6, 2), Some([5, 0, 0, 0]));
}

#[test]
fn tcp_options_are_found_behind_others() {
    let frame = ipv4(&[], 6, &tcp(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 2, 4, 5, 180]));
    assert!(is_there(&frame, Part::TcpOption(2)) && !is_there(&frame, Part::TcpOption(3)));
    assert_eq!(value(&frame, Part::TcpOption(2), 2, 2), Some([1460, 0, 0, 0]));
    assert_eq!(value(&frame, Part::TcpOption(8), 6, 4), Some([2, 0, 0, 0]));
    assert_eq!(value(&frame, Part::TcpOption(2), 4, 1), None, "beyond its length");
    assert!(!is_there(&ipv4(&[], 17, &[0, 7, 0, 9, 0, 8, 0, 0]), Part::TcpOption(2)));
    // A length of 0 counts as 1, the end of options does not end them.
    let odd = ipv4(&[], 6, &tcp(&[0, 254, 0, 2, 4, 1, 1, 1]));
    assert!(is_there(&odd, Part::TcpOption(2)));
}

#[test]
fn ip_options_are_there_when_all_are_right() {
    let options = |options: &[u8]| ipv4(options, 6, &tcp(&[]));
    let record = options(&[1, 7, 7, 4, 0, 0, 0, 0]);
    assert!(is_there(&record, Part::IpOption(7)));
    assert_eq!(value(&record, Part::IpOption(7), 1, 1), Some([7, 0, 0, 0]));
    let loose = options(&[131, 7, 4, 192, 0, 2, 9, 0]);
    assert!(is_there(&loose, Part::IpOption(131)) && !is_there(&loose, Part::IpOption(137)));
    assert_eq!(value(&loose, Part::IpOption(131), 3, 4), Some([0xc000_0209, 0, 0, 0]));
    assert!(is_there(&options(&[137, 7, 4, 192, 0, 2, 9, 0]), Part::IpOption(137)));
    assert!(is_there(&options(&[148, 4, 0, 0]), Part::IpOption(148)));
    assert!(!is_there(&options(&[148, 4, 0, 1]), Part::IpOption(148)), "another alert");
    assert!(!is_there(&options(&[7, 7, 4, 0, 0, 0, 0, 200]), Part::IpOption(7)), "what follows is malformed");
    assert!(!is_there(&options(&[7, 3, 4, 7, 3, 4, 0, 0]), Part::IpOption(7)), "twice");
    assert!(!is_there(&options(&[68, 3, 5, 0]), Part::IpOption(7)), "a timestamp too short");
}

#[test]
fn extension_headers_are_found_to_the_first_that_is_none() {
    let destination = [6, 0, 1, 4, 0, 0, 0, 0];
    let routing = [60, 0, 4, 9, 5, 6, 0, 7];
    let frame = ipv6(43, &[&routing[..], &destination, &tcp(&[])].concat());
    assert!(is_there(&frame, Part::Extension(43)) && is_there(&frame, Part::Extension(60)));
    assert!(!is_there(&frame, Part::Extension(0)) && !is_there(&frame, Part::Extension(44)));
    assert_eq!(value(&frame, Part::Extension(43), 2, 2), Some([0x0409, 0, 0, 0]));
    assert_eq!(value(&frame, Part::Extension(60), 0, 8), Some([0x0600_0104, 0, 0, 0]));
    assert_eq!(value(&ipv4(&[], 17, &[0, 7, 0, 9, 0, 8, 0, 0]), Part::Extension(43), 0, 1), None);
    let authenticated = [&[60, 4][..], &[0; 22], &destination, &tcp(&[])].concat();
    assert!(is_there(&ipv6(51, &authenticated), Part::Extension(60)), "behind an authentication header");
    let later = [&[60, 0, 0, 8, 0, 0, 0, 1][..], &destination].concat();
    assert!(is_there(&ipv6(44, &later), Part::Extension(44)));
    assert!(!is_there(&ipv6(44, &later), Part::Extension(60)), "in the middle of a payload");
}

#[test]
fn chunks_are_found_by_their_type() {
    let chunks = [0, 3, 0, 6, 1, 2, 0, 0, 11, 0, 0, 4];
    let frame = ipv4(&[], 132, &[&[0; 12][..], &chunks].concat());
    assert!(is_there(&frame, Part::Chunk(0)) && is_there(&frame, Part::Chunk(11)) && !is_there(&frame, Part::Chunk(1)));
    assert_eq!(value(&frame, Part::Chunk(0), 4, 2), Some([0x0102, 0, 0, 0]));
    assert_eq!(value(&frame, Part::Chunk(0), 4, 4), None, "beyond its length");
    let long = ipv4(&[], 132, &[&[0; 12][..], &[5, 0, 7, 0]].concat());
    assert!(is_there(&long, Part::Chunk(5)), "cut off by the packet's end");
    assert_eq!(value(&long, Part::Chunk(5), 0, 1), None);
}
