//! Many connections through one address: none shares what its answers come to with another one.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use firewall_common::{event::Kind, verdict::Reason};
use firewall_tests::{
    packet::{Frame, Tcp, Udp},
    topology::{CLIENT, INTERFACE, Neighbours, Pair},
};
use firewall_user::kernel::{Flow, Side};
use nix::sched::{CpuSet, sched_setaffinity};

use super::support::{Firewall, packets::between, sequence::flags};

/// Everything that leaves has one address.
const ONE_ADDRESS: &str =
    "table ip t { chain p { type nat hook postrouting priority srcnat; snat to 203.0.113.77; }; }";

/// An address of 198.18.0.0/15 (RFC 2544) behind the router.
fn inner(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc612_0000 + number).into()
}

/// The first packet of a connection: a thousand of each inner host, all of them from the same ports.
fn question(number: u32, to: u16) -> Frame {
    between(inner(number / 1000), CLIENT, Tcp::new(2000 + (number % 1000) as u16, to, flags("S")))
}

fn firewall(flows: u32) -> Firewall {
    Firewall::with_room(Pair::with(Neighbours::Known), ONE_ADDRESS, flows)
}

/// No two connections have the answers of the other, and each has some.
fn answers(flows: &[Flow]) -> HashSet<([u64; 2], [u64; 2], u64)> {
    let keys: Vec<_> = flows.iter().map(|flow| flow.answers.expect("a translated connection").key).collect();
    let different: HashSet<_> = keys.iter().map(|key| (key.low, key.high, key.tail)).collect();
    assert_eq!(different.len(), flows.len());
    different
}

#[test]
fn a_hundred_thousand_connections_share_an_address_and_no_port() {
    // Wide enough that no two buckets of the table are full, where the newest would take the place of another one.
    let firewall = firewall(1_000_000);
    // Two destinations: 50,000 of about 64,500 ports are taken towards each.
    let passed = firewall.judging(|passes| {
        (0..100_000).filter(|number| passes(Side::TcEgress, &question(number / 2, 53 + (number % 2) as u16))).count()
    });
    assert_eq!(passed, 100_000);
    let flows = firewall.flows();
    assert_eq!(flows.len(), 100_000);
    assert_eq!(answers(&flows).len(), 100_000);
    // And answers find their connections.
    let public = Ipv4Addr::new(203, 0, 113, 77);
    let some: Vec<_> = flows.iter().step_by(9973).map(|flow| flow.answers.expect("translated").key).collect();
    firewall.judging(|passes| {
        for key in &some {
            let is_low = key.low[0] == u64::from(public.to_bits());
            let (own, other) =
                if is_low { (key.low_port(), key.high_port()) } else { (key.high_port(), key.low_port()) };
            assert!(passes(Side::Xdp, &between(CLIENT, public, Tcp::new(other, own, flags("SA")))));
        }
    });
    let answered = firewall.flows().iter().filter(|flow| flow.slot.state().is_replied()).count();
    assert_eq!(answered, some.len());
}

#[test]
fn two_processors_give_no_port_twice() {
    const EACH: u32 = 8_000;
    let firewall = firewall(100_000);
    let on = |cpu: usize| {
        firewall.judging(|passes| {
            let mut cpus = CpuSet::new();
            cpus.set(cpu).expect("a processor");
            sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus).expect("two processors");
            // Both want the same ports at the same time.
            let number = |at: u32| 2 * (at % 1000) + 2000 * (at / 1000) + cpu as u32;
            let question = |at| between(inner(number(at)), CLIENT, Udp::new(2000 + (at % 1000) as u16, 53));
            (0..EACH).filter(|at| passes(Side::TcEgress, &question(*at))).count()
        })
    };
    let passed = std::thread::scope(|scope| {
        let other = scope.spawn(|| on(1));
        on(0) + other.join().expect("no panic")
    });
    let flows = firewall.flows();
    assert_eq!(flows.len(), passed);
    assert_eq!(passed, 2 * EACH as usize);
    assert_eq!(answers(&flows).len(), passed);
}

#[test]
fn when_every_port_is_taken_the_drop_has_a_reason_of_its_own() {
    let rules = ONE_ADDRESS.replace("snat to 203.0.113.77", "udp dport 53 snat to 203.0.113.77:5000-5009");
    let firewall = Firewall::new(&rules);
    let answers = firewall.judging(|passes| {
        let question = |number| between(inner(number), CLIENT, Udp::new(5000, 53));
        (0..12).map(|number| passes(Side::TcEgress, &question(number * 1000))).collect::<Vec<_>>()
    });
    assert_eq!(answers, [[true; 10].as_slice(), &[false; 2]].concat());
    assert_eq!(firewall.dropped_leaving(Reason::NatExhausted), 2);
    // That there is none left is told, once a second, with the packet that found none.
    let told = firewall.open(|instance| {
        let mut events = instance.events(false).expect("events");
        let question = |number| between(inner(number), CLIENT, Udp::new(5000, 53)).bytes();
        let ifindex = firewall_user::kernel::interface_index(INTERFACE).expect("interface");
        for number in 20..30 {
            instance.judge(Side::TcEgress, &question(number * 1000), ifindex, 1).expect("judged");
        }
        std::iter::from_fn(|| events.next()).collect::<Vec<_>>()
    });
    let count = |kind| told.iter().filter(|event| event.kind == kind as u32).count();
    assert_eq!(count(Kind::Dropped), 10);
    assert!((1..=2).contains(&count(Kind::NatExhausted)), "{told:?}");
    // Towards somebody else they are free.
    let other = between(inner(11_000), Ipv4Addr::new(192, 0, 2, 99), Udp::new(5000, 53));
    assert!(firewall.judging(|passes| passes(Side::TcEgress, &other)));
}
