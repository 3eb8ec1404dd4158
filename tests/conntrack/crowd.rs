//! A crowd at the door: who has been answered stays, who has not makes room, and a full table says no.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
};

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Frame, Tcp},
    topology::SERVER,
};
use firewall_user::kernel::{Instance, Side};

use super::support::{FLOWS, Firewall, packets::between, sequence::flags};

/// Answers pass; ssh may begin.
const SSH: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established counter accept comment \"established\"
        tcp dport 22 ct state new accept
    }
    chain output { type filter hook output priority filter; policy accept; }
}";

/// One of many clients: an address of 198.18.0.0/15 (RFC 2544), which stands for all of the internet.
#[derive(Clone, Copy)]
struct Client(u32);

impl Client {
    fn address(self) -> IpAddr {
        Ipv4Addr::from_bits(0xc612_0000 + self.0).into()
    }

    fn sends(self, letters: &str) -> Frame {
        between(self.address(), SERVER, Tcp::new(40000, 22, flags(letters)))
    }

    fn receives(self, letters: &str) -> Frame {
        between(SERVER, self.address(), Tcp::new(22, 40000, flags(letters)))
    }
}

/// These clients send this; how many get it through.
fn send(firewall: &Firewall, numbers: Range<u32>, letters: &str) -> usize {
    firewall.judging(|passes| numbers.filter(|number| passes(Side::Xdp, &Client(*number).sends(letters))).count())
}

/// These clients connect, one after another, three segments each; how many get a connection. One whose first segment is
/// dropped does not go on: its third would be taken for the middle of a connection.
fn connect(firewall: &Firewall, numbers: Range<u32>) -> usize {
    firewall.judging(|passes| {
        let connects = |client: Client| {
            let begins = passes(Side::Xdp, &client.sends("S"));
            let goes_on = || passes(Side::TcEgress, &client.receives("SA")) && passes(Side::Xdp, &client.sends("A"));
            assert!(!begins || goes_on(), "whose first segment passed, passes");
            begins
        };
        numbers.map(Client).filter(|client| connects(*client)).count()
    })
}

/// The ends of all connections.
fn addresses(firewall: &Firewall) -> BTreeSet<u64> {
    let server = u64::from(SERVER.to_bits());
    firewall
        .flows()
        .iter()
        .map(|flow| if flow.entry.key.low[0] == server { flow.entry.key.high[0] } else { flow.entry.key.low[0] })
        .collect()
}

#[test]
fn a_flood_puts_out_nobody_who_was_answered() {
    const FRIENDS: u32 = 1000;
    const FLOOD: u32 = 20_000;
    let firewall = Firewall::new(SSH);
    assert_eq!(connect(&firewall, 0..FRIENDS), FRIENDS as usize);
    let flood = send(&firewall, FRIENDS..FRIENDS + FLOOD, "S");
    assert_eq!(flood, FLOOD as usize, "one who has not been answered makes room for the next");
    let there = addresses(&firewall);
    let gone: Vec<_> = (0..FRIENDS).filter(|number| !there.contains(&u64::from(0xc612_0000 + number))).collect();
    assert!(gone.is_empty(), "put out: {gone:?}");
    let before = firewall.rule("established").0;
    let friends = send(&firewall, 0..FRIENDS, "PA");
    assert_eq!(friends, FRIENDS as usize);
    assert_eq!(firewall.rule("established").0 - before, u64::from(FRIENDS), "as packets of their connections");
    // The door is open still.
    let late = FRIENDS + FLOOD..FRIENDS + FLOOD + 100;
    assert_eq!(connect(&firewall, late), 100);
    assert_eq!(firewall.dropped(Reason::TableFull), 0);
}

#[test]
fn a_full_table_refuses_and_what_has_ended_makes_room() {
    let firewall = Firewall::new(SSH);
    let capacity = firewall.open(Instance::flow_capacity);
    // As many as were promised have room; far more than there are places have not.
    assert_eq!(connect(&firewall, 0..FLOWS), FLOWS as usize);
    let everybody = capacity + capacity / 2;
    let established = FLOWS as usize + connect(&firewall, FLOWS..everybody);
    assert!(established <= capacity as usize, "{established} of {capacity}");
    let full = everybody as usize - established;
    assert_eq!(firewall.dropped(Reason::TableFull), full as u64);
    assert_eq!(addresses(&firewall).len(), established, "each who got in is in");
    // Hardly a place is left for others: those who are there go on.
    let newcomers = everybody..everybody + 1000;
    let let_in = send(&firewall, newcomers, "S");
    assert!(let_in < 100, "{let_in} of 1,000 found room in a full table");
    assert_eq!(firewall.ingress(&Client(0).sends("PA")), Ok(()));
    // All hang up. A reset is remembered for ten seconds, but those who come find room at once.
    assert_eq!(send(&firewall, 0..everybody, "R"), established);
    let late = everybody + 1000..everybody + 2000;
    assert_eq!(connect(&firewall, late.clone()), late.len());
}
