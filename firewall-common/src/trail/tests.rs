use super::*;

fn packet(source: u32, destination: u32, sport: u32, dport: u32) -> Packet {
    let mut packet = Packet::EMPTY;
    packet.set(Field::NfProto, 2);
    packet.set(Field::L4Proto, 6);
    packet.set(Field::SourceAddress, source);
    packet.set(Field::DestinationAddress, destination);
    packet.set(Field::SourcePort, 6 << 16 | sport);
    packet.set(Field::DestinationPort, 6 << 16 | dport);
    packet
}

#[test]
fn a_filter_that_asks_nothing_takes_everything() {
    assert!(TrailFilter::default().matches(&Packet::EMPTY));
    assert!(TrailFilter::default().matches(&packet(1, 2, 3, 4)));
    assert!(TrailFilter::default().wants(0) && TrailFilter::default().wants(1));
}

#[test]
fn every_part_must_fit() {
    let all = TrailFilter {
        nfproto: 2,
        protocol: 6 | ASKED,
        source_port: 3 | ASKED,
        destination_port: 4 | ASKED,
        source: [0x0a00_0000, 0, 0, 0],
        source_mask: [0xff00_0000, 0, 0, 0],
        ..TrailFilter::default()
    };
    assert!(all.matches(&packet(0x0a01_0203, 9, 3, 4)));
    assert!(!all.matches(&packet(0x0b01_0203, 9, 3, 4)));
    assert!(!all.matches(&packet(0x0a01_0203, 9, 4, 3)));
    assert!(!TrailFilter { protocol: 0x11 | ASKED, ..all }.matches(&packet(0x0a01_0203, 9, 3, 4)));
    let mut portless = packet(0x0a01_0203, 9, 0, 0);
    portless.set(Field::SourcePort, NO_L4);
    assert!(!TrailFilter { source_port: ASKED, ..TrailFilter::default() }.matches(&portless));
}

#[test]
fn both_ways_is_asked_for() {
    let one = TrailFilter { destination_port: 0x16 | ASKED, ..TrailFilter::default() };
    let back = packet(1, 2, 22, 40000);
    assert!(!one.matches(&back));
    assert!(TrailFilter { flags: BOTH_WAYS, ..one }.matches(&back));
}

/// The word that is looked at first lets nothing go by that is asked for, and tells others apart.
#[test]
fn the_early_word_agrees_with_the_filter() {
    let none = TrailFilter::default();
    let address = |mask| ([0xc633_6407, 0, 0, 0], [mask, 0, 0, 0]);
    let mut filters = vec![
        none,
        TrailFilter { destination_port: 0x16 | ASKED, ..none },
        TrailFilter { source_port: 0x16 | ASKED, ..none },
        TrailFilter { protocol: 6 | ASKED, ..none },
        TrailFilter { protocol: 0x11 | ASKED, ..none },
    ];
    for mask in [u32::MAX, 0xffff_0000] {
        let (source, source_mask) = address(mask);
        filters.push(TrailFilter { source, source_mask, ..none });
        filters.push(TrailFilter { destination: source, destination_mask: source_mask, ..none });
        let (wide, wide_mask) = ([0x2001_0db8, 0, 0, 9], [u32::MAX, u32::MAX, u32::MAX, mask]);
        filters.push(TrailFilter { nfproto: 10, source: wide, source_mask: wide_mask, ..none });
    }
    let ends = [0xc633_6407_u32, 0xc633_6408, 0xcb00_710a];
    let mut told_apart = 0;
    for filter in filters.iter().flat_map(|filter| [*filter, TrailFilter { flags: BOTH_WAYS, ..*filter }]) {
        let filter = filter.aimed();
        for (from, to) in ends.iter().flat_map(|from| ends.map(|to| (*from, to))) {
            for (sport, dport) in [(22, 40000), (40000, 22), (5, 6)] {
                let packet = packet(from, to, sport, dport);
                assert!(filter.may_match(&packet) || !filter.matches(&packet), "{filter:?}: {packet:?}");
                told_apart += u32::from(!filter.may_match(&packet));
            }
        }
    }
    assert!(told_apart > 200, "{told_apart}");
}

#[test]
fn the_last_steps_are_kept() {
    let mut trail = Trail::EMPTY;
    for step in 0..STEPS as u32 + 3 {
        trail.steps[step as usize & (STEPS - 1)] = step;
    }
    trail.step_count = STEPS as u32 + 3;
    let (steps, is_cut) = trail.kept_steps();
    assert!(is_cut);
    assert_eq!(steps.collect::<Vec<_>>(), (3..STEPS as u32 + 3).collect::<Vec<_>>());
}
