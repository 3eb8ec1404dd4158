use super::*;
use crate::verdict::Reason;

fn packet(source: u32) -> Packet {
    let mut packet = Packet::EMPTY;
    packet.set(Field::NfProto, 2);
    packet.set(Field::SourceAddress, source);
    packet.set_at(Field::SourceAddress, 1, 77);
    packet
}

fn note(set: &mut DroppedSet, address: u32, now_ns: u64) {
    let packet = packet(address);
    let source = source(&packet).expect("an address");
    let place = set.place(&source);
    set.places[place].note(
        &source,
        &packet,
        Verdict::drop(Reason::Policy),
        By { now_ns, rule: 5, generation: 1, ifindex: 2 },
    );
}

#[test]
fn a_source_is_counted_where_it_is_known() {
    let mut set = DroppedSet::default();
    for now in 1..=3 {
        note(&mut set, 9, now);
    }
    let dropped = set.places[0];
    assert_eq!((dropped.packets, dropped.first_ns, dropped.last_ns), (3, 1, 3));
    assert_eq!(dropped.source, [9, 0, 0, 0], "what was left in the other words is no part of an IPv4 address");
    assert_eq!(dropped.reason, Reason::Policy as u32);
}

#[test]
fn the_one_silent_longest_gives_way() {
    let mut set = DroppedSet::default();
    for (now, address) in [1, 2, 3, 4].into_iter().enumerate() {
        note(&mut set, address, now as u64 + 1);
    }
    note(&mut set, 1, 10);
    note(&mut set, 5, 11);
    let mut there: Vec<_> = set.places.iter().map(|dropped| dropped.source[0]).collect();
    there.sort_unstable();
    assert_eq!(there, [1, 3, 4, 5]);
}

#[test]
fn two_cpus_know_more_than_one() {
    let one = Dropped { first_ns: 5, last_ns: 9, packets: 2, reason: 1, ..Dropped::default() };
    let other = Dropped { first_ns: 3, last_ns: 7, packets: 4, reason: 2, ..Dropped::default() };
    let both = one.with(other);
    assert_eq!((both.first_ns, both.last_ns, both.packets, both.reason), (3, 9, 6, 1));
    assert_eq!(both, other.with(one));
}

#[test]
fn neighbours_do_not_share_a_set() {
    let sets: std::collections::BTreeSet<_> = (0..256).map(|host| set(&[0xcb00_7100 + host, 0, 0, 0])).collect();
    assert!(sets.len() > 150, "{}", sets.len());
}

/// A packet that is forwarded has both interfaces, and is dropped at one of them.
#[test]
fn an_interface_is_told_as_it_is() {
    let mut packet = packet(9);
    packet.set(Field::IifIndex, 2);
    packet.set(Field::OifIndex, 3);
    assert_eq!((packet.interface(false), packet.interface(true)), (2, 3));
    let mut dropped = DroppedSet::default().places[0];
    let by = By { now_ns: 1, rule: 5, generation: 1, ifindex: packet.interface(false) };
    dropped.note(&source(&packet).expect("an address"), &packet, Verdict::drop(Reason::Policy), by);
    assert_eq!(dropped.ifindex, 2);
}
