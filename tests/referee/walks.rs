//! Random walks: connections whose packets come in any order, and what each is to the kernel's connection tracking and
//! to ours.

use std::net::Ipv4Addr;

use firewall_tests::{
    packet::{Frame, Icmp, IcmpVersion, Tcp, Udp, Upper},
    topology::SERVER,
};

use super::{differences, seed};
use crate::support::{
    both::{Both, Way},
    near::Random,
    packets::between,
    sequence::{STATES, flags},
};

/// Connections at once, each with packets of a length of its own.
const WALKS: usize = 150;
/// Packets of each.
const STEPS: usize = 14;
const OPENING: usize = 5;
const LAST: usize = STEPS - 1;

/// What a connection's packets look like.
type Make = fn(usize, Way, &mut Random) -> Frame;

fn peer(walk: usize) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, walk as u8)
}

fn directed(walk: usize, way: Way, upper: impl Into<Upper>) -> Frame {
    let (source, destination) = if way == Way::In { (peer(walk), SERVER) } else { (SERVER, peer(walk)) };
    between(source, destination, upper)
}

/// Openings come first, a reset comes last. What follows a reset is not compared: `nf_conntrack` forgets a connection that
/// is reset before it was answered, and here it is in the state CLOSE for its ten seconds. Nor are openings in the middle
/// of a connection, which `nf_conntrack` remembers to have ignored.
fn segment(walk: usize, step: usize, way: Way, random: &mut Random) -> Frame {
    let letters: &[&str] = match step {
        0..OPENING => &["S", "S", "SA", "SA", "A", "A", "FA", "SF", "."],
        LAST => &["R", "RA", "A", "S"],
        _ => &["A", "A", "PA", "FA", "FA", "SF", "."],
    };
    let flags = flags(random.pick(letters));
    let (source, destination) = if way == Way::In { (40000, 443) } else { (443, 40000) };
    directed(walk, way, Tcp::new(source, destination, flags))
}

/// A connection that begins as it should.
fn handshake(step: usize) -> Option<&'static str> {
    [Some("S"), Some("SA"), Some("A")].get(step).copied().flatten()
}

fn datagram(walk: usize, way: Way, _: &mut Random) -> Frame {
    let (source, destination) = if way == Way::In { (40000, 53) } else { (53, 40000) };
    directed(walk, way, Udp::new(source, destination))
}

fn ping(walk: usize, way: Way, random: &mut Random) -> Frame {
    let id = random.pick(&[7, 7, 9]);
    let message = if random.one_in(2) {
        Icmp::echo_request(IcmpVersion::V4, id, 1)
    } else {
        Icmp::echo_reply(IcmpVersion::V4, id, 1)
    };
    directed(walk, way, message)
}

/// Step by step, all walks at once. If the counts differ anywhere, the walks one after another, to find those that
/// make the difference.
fn check(make: impl Fn(usize, usize, Way, &mut Random) -> Frame, ways: impl Fn(usize, usize, &mut Random) -> Way) {
    let seed = seed();
    println!("seed {seed} (RAMPART_SEED={seed} repeats it)");
    let mut random = Random::new(seed);
    let mut packet = |walk, step| {
        let way = ways(walk, step, &mut random);
        (way, make(walk, step, way, &mut random).payload(&vec![0; walk]))
    };
    let walks: Vec<Vec<_>> = (0..WALKS).map(|walk| (0..STEPS).map(|step| packet(walk, step)).collect()).collect();
    let mut both = Both::new();
    both.replace(STATES);
    for step in 0..STEPS {
        for (way, frame) in walks.iter().map(|walk| &walk[step]) {
            both.send(*way, frame);
        }
    }
    let (ours, theirs) = both.counted();
    if ours == theirs {
        return;
    }
    let mut both = Both::new();
    let told: Vec<_> = walks.iter().filter_map(|walk| first_difference(&mut both, walk)).take(SHOWN).collect();
    panic!("seed {seed}\n{}{}", differences(&ours, &theirs), told.concat());
}

/// Walks that are shown when they differ.
const SHOWN: usize = 5;

/// Packet by packet, up to the first that is counted differently.
fn first_difference(both: &mut Both, walk: &[(Way, Frame)]) -> Option<String> {
    both.replace(STATES);
    let mut taken = Vec::new();
    for (way, frame) in walk {
        taken.push(format!("{way:?} {}", told(frame)));
        both.send(*way, frame);
        let (ours, theirs) = both.counted();
        if ours != theirs {
            return Some(format!("{}\n{}", taken.join(", "), differences(&ours, &theirs)));
        }
    }
    None
}

/// A packet in few words.
fn told(frame: &Frame) -> String {
    match &frame.upper {
        Upper::Tcp(tcp) => {
            let letters = ["F", "S", "R", "P", "A", "U"].iter().enumerate();
            letters.filter(|(bit, _)| tcp.flags & 1 << bit != 0).map(|(_, letter)| *letter).collect()
        }
        Upper::Icmp(icmp) => format!("type {} id {}", icmp.kind, icmp.rest >> 16),
        other => format!("{}", other.protocol()),
    }
}

fn either(_: usize, _: usize, random: &mut Random) -> Way {
    random.pick(&[Way::In, Way::Out])
}

#[test]
fn tcp_connections() {
    // Half of them begin with a handshake, from outside or from inside.
    let is_proper = |walk: usize, step: usize| if walk.is_multiple_of(2) { handshake(step) } else { None };
    let make = |walk: usize, step: usize, way: Way, random: &mut Random| {
        let mut frame = segment(walk, step, way, random);
        if let (Some(letters), Upper::Tcp(tcp)) = (is_proper(walk, step), &mut frame.upper) {
            tcp.flags = flags(letters);
        }
        frame
    };
    let ways = |walk: usize, step: usize, random: &mut Random| match is_proper(walk, step) {
        Some(_) => [Way::In, Way::Out][(walk / 2 + step) % 2],
        None => either(walk, step, random),
    };
    check(make, ways);
}

#[test]
fn datagrams() {
    let make: Make = datagram;
    check(|walk, _, way, random| make(walk, way, random), either);
}

#[test]
fn pings() {
    let make: Make = ping;
    check(|walk, _, way, random| make(walk, way, random), either);
}
