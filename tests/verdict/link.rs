//! Ethernet: VLAN tags never carry a packet past the rules, other protocols pass.

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Arp, Ethernet, Frame, Network, Vlan, ether_type},
    topology::{CLIENT, CLIENT_MAC, SERVER},
};

use super::{
    EVERYTHING, ONLY_SSH,
    support::{
        Firewall,
        packets::{cut, syn, v4, v6},
        table::SIDES,
    },
};

fn vlan(tpid: u16, number: u16) -> Vlan {
    Vlan { tpid, tci: number }
}

fn tagged(frame: Frame, vlans: &[Vlan]) -> Frame {
    frame.ethernet(Ethernet { vlans: vlans.to_vec(), ..Ethernet::to_server() })
}

#[test]
fn a_tag_never_carries_a_packet_past_the_rules() {
    let firewall = Firewall::new(ONLY_SSH);
    let customer = |number| vlan(ether_type::VLAN, number);
    let service = vlan(ether_type::SERVICE_VLAN, 7);
    let stacks: [(&str, Vec<Vlan>); 8] = [
        ("no tag", vec![]),
        ("one tag", vec![customer(5)]),
        ("a priority tag", vec![customer(0xe000)]),
        ("the highest number", vec![customer(0xffff)]),
        ("two tags", vec![customer(5), customer(6)]),
        ("a service tag", vec![service]),
        ("a service tag around a tag", vec![service, customer(5)]),
        ("the tag of old switches", vec![vlan(0x9100, 5)]),
    ];
    for (name, stack) in stacks {
        let rows = [
            ("port 22", v4(syn(22)), Ok(())),
            ("port 23", v4(syn(23)), Err(Reason::Policy)),
            ("port 22, IPv6", v6(syn(22)), Ok(())),
            ("port 23, IPv6", v6(syn(23)), Err(Reason::Policy)),
        ];
        for side in SIDES {
            let tag = |(what, frame, outcome)| ((name, what), tagged(frame, &stack).bytes(), outcome);
            firewall.check_frames(side, rows.clone().map(tag));
        }
    }
}

#[test]
fn too_many_tags_and_half_a_tag_are_dropped() {
    let firewall = Firewall::new(EVERYTHING);
    let tags = |number| tagged(v4(syn(22)), &vec![vlan(ether_type::VLAN, 5); number]);
    let mixed = |tpid| tagged(v4(syn(22)), &[vlan(0x88a8, 1), vlan(0x8100, 2), vlan(tpid, 3)]);
    let rows = [
        ("two tags", tags(2).bytes(), Ok(())),
        ("three tags", tags(3).bytes(), Err(Reason::VlanTooManyTags)),
        ("ten tags", tags(10).bytes(), Err(Reason::VlanTooManyTags)),
        ("a third tag of 802.1ad", mixed(0x88a8).bytes(), Err(Reason::VlanTooManyTags)),
        ("a third tag of old switches", mixed(0x9100).bytes(), Err(Reason::VlanTooManyTags)),
        ("a tag of one byte", cut(&tags(1), 15), Err(Reason::VlanTruncated)),
        ("a tag of three bytes", cut(&tags(1), 17), Err(Reason::VlanTruncated)),
        ("a second tag of one byte", cut(&tags(2), 19), Err(Reason::VlanTruncated)),
        ("a second tag of three bytes", cut(&tags(2), 21), Err(Reason::VlanTruncated)),
        ("nothing behind the tag", cut(&tags(1), 18), Err(Reason::Ipv4Truncated)),
    ];
    for side in SIDES {
        firewall.check_frames(side, rows.clone());
    }
}

#[test]
fn arp_passes_whole_and_is_dropped_in_part() {
    let firewall = Firewall::new(ONLY_SSH);
    let arp = Frame::without_ip(Arp::request(CLIENT_MAC, CLIENT, SERVER));
    let whole = arp.bytes().len();
    let mut rows: Vec<_> =
        (15..whole).map(|length| (format!("{length} bytes"), cut(&arp, length), Err(Reason::ArpTruncated))).collect();
    rows.push(("whole".to_owned(), arp.bytes(), Ok(())));
    rows.push(("padded".to_owned(), [arp.bytes(), vec![0; 18]].concat(), Ok(())));
    rows.push(("behind a tag".to_owned(), arp.tagged(&[5]).bytes(), Ok(())));
    for side in SIDES {
        firewall.check_frames(side, rows.clone());
    }
}

#[test]
fn link_protocols_without_rules_pass() {
    let firewall = Firewall::new(ONLY_SSH);
    let raw = |ether_type| Frame::without_ip(Network::Raw(ether_type, vec![0x45; 46]));
    let rows = [
        ("LLDP", raw(0x88cc), Ok(())),
        ("LLC: a length and no EtherType", raw(46), Ok(())),
        ("MPLS", raw(0x8847), Ok(())),
        ("PPPoE session", raw(0x8864), Ok(())),
        ("802.1X", raw(0x888e), Ok(())),
        ("for experiments", raw(0x88b5), Ok(())),
        ("for experiments, behind a tag", raw(0x88b5).tagged(&[5]), Ok(())),
        ("one bit from IPv4", raw(0x0801), Ok(())),
        ("one bit from IPv6", raw(0x86dc), Ok(())),
    ];
    for side in SIDES {
        firewall.check_frames(side, rows.clone().map(|(name, frame, outcome)| (name, frame.bytes(), outcome)));
    }
}
