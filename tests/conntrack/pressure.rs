//! More than there is room for, and several processors at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use firewall_common::{event::Kind, verdict::Reason};
use firewall_tests::{
    packet::{Frame, Tcp, Udp},
    topology::SERVER,
};
use firewall_user::kernel::{Instance, Side};

use super::support::{FLOWS, Firewall, packets::between, sequence::flags};

pub(crate) const OPEN: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established counter accept comment \"established\"
        tcp dport 22 ct state new accept
        udp dport 53 accept
    }
    chain output { type filter hook output priority filter; policy accept; }
}";

/// An address of 198.18.0.0/15 (RFC 2544).
pub(crate) fn stranger(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc612_0000 + number).into()
}

pub(crate) fn syn(number: u32) -> Frame {
    between(stranger(number), SERVER, Tcp::new(40000, 22, flags("S")))
}

pub(crate) fn question(number: u32) -> Frame {
    between(stranger(number), SERVER, Udp::new(40000, 53))
}

pub(crate) fn answer(number: u32) -> Frame {
    between(SERVER, stranger(number), Udp::new(53, 40000))
}

/// A SYN flood of ten times the table, and a connection of real sockets that goes on through it.
#[test]
fn a_flood_of_ten_tables_puts_out_no_connection() {
    let firewall = Firewall::new(OPEN);
    let listener = firewall.pair.server.run(|| TcpListener::bind((SERVER, 22))).expect("a listener");
    let mut here = firewall.pair.client.run(|| TcpStream::connect((SERVER, 22))).expect("a connection");
    let (mut there, _) = listener.accept().expect("the other end");
    let mut talk = || {
        here.write_all(b"there").expect("it is open");
        there.read_exact(&mut [0; 5]).expect("it is open");
        there.write_all(b"and back").expect("it is open");
        here.read_exact(&mut [0; 8]).expect("it is open");
    };
    talk();
    let before = firewall.open(|instance| instance.flow_stats().expect("statistics"));
    let flood = firewall.open(Instance::flow_capacity) * 10;
    for first in (0..flood).step_by(flood as usize / 10) {
        let wave = first..first + flood / 10;
        let passed = firewall.judging(|passes| wave.clone().filter(|number| passes(Side::Xdp, &syn(*number))).count());
        assert_eq!(passed, wave.len(), "one that is not answered makes room for the next");
        talk();
    }
    let after = firewall.open(|instance| instance.flow_stats().expect("statistics"));
    assert_eq!(after.entered - before.entered, u64::from(flood));
    assert_eq!((after.refused, after.evicted_answered), (0, 0));
    let capacity = u64::from(flood / 10);
    assert!(after.evicted_embryonic >= u64::from(flood) - capacity, "{after:?}");
    let ours = firewall.flows().into_iter().filter(|flow| flow.slot.state().name() == "ESTABLISHED");
    assert_eq!(ours.count(), 1);
}

/// Answered questions: they are kept, but are not worth more than a newcomer when the settings say so.
fn fill(firewall: &Firewall, numbers: std::ops::Range<u32>) {
    firewall.judging(|passes| {
        for number in numbers {
            if passes(Side::Xdp, &question(number)) {
                passes(Side::TcEgress, &answer(number));
            }
        }
    });
}

#[test]
fn a_full_table_refuses_or_evicts_as_it_is_told() {
    let firewall = Firewall::new(OPEN);
    let room = firewall.open(Instance::flow_capacity);
    let lasting = "[conntrack.timeouts]\nudp_timeout = 3600\n";
    firewall.apply_set(OPEN, lasting);
    fill(&firewall, 0..room * 2);
    let stats = || firewall.open(|instance| instance.flow_stats().expect("statistics"));
    let full = stats();
    assert!(full.refused > 0 && full.evicted_answered == 0, "{full:?}");
    assert_eq!(firewall.dropped(Reason::TableFull), full.refused);
    firewall.apply_set(OPEN, &format!("[conntrack]\nwhen_full = \"evict-lru\"\n{lasting}"));
    let newcomers = room * 2..room * 2 + 500;
    let count = newcomers.len();
    let passed = firewall.judging(|passes| newcomers.filter(|number| passes(Side::Xdp, &question(*number))).count());
    assert_eq!(passed, count, "everybody finds a place");
    let after = stats();
    assert_eq!(after.refused, full.refused);
    assert!(after.evicted_answered > 0, "{after:?}");
}

/// That there is no room is told once a second, not with each packet.
#[test]
fn a_full_table_is_told_of_once_a_second() {
    let firewall = Firewall::new(OPEN);
    let room = firewall.open(Instance::flow_capacity);
    firewall.apply_set(OPEN, "[conntrack.timeouts]\nudp_timeout = 3600\n");
    fill(&firewall, 0..room * 2);
    let refused_before = firewall.dropped(Reason::TableFull);
    let (told, took) = firewall.open(|instance| {
        let mut events = instance.events(false).expect("events");
        let started = Instant::now();
        let ifindex = firewall_user::kernel::interface_index(firewall_tests::topology::INTERFACE).expect("interface");
        for number in room * 2..room * 2 + 2000 {
            instance.judge(Side::Xdp, &question(number).bytes(), ifindex, 1).expect("judge");
        }
        let took = started.elapsed();
        let mut told = 0;
        while let Some(event) = events.next() {
            told += u64::from(event.kind == Kind::TableFull as u32);
        }
        (told, took)
    });
    let refused = firewall.dropped(Reason::TableFull) - refused_before;
    assert!(told >= 1 && told <= took.as_secs() + 2, "told {told} times of {refused} in {took:?}");
    assert!(refused > told, "{refused} were refused");
}

/// Two processors see the first packets of the same flows at once. Each flow is entered, at most once by each of them, and
/// nothing is entered that nobody sent.
#[test]
fn two_processors_enter_the_same_flows() {
    const NUMBER: u32 = 3000;
    let firewall = Firewall::new(OPEN);
    let send = || {
        firewall.judging(|passes| {
            let passed = (0..NUMBER).filter(|number| passes(Side::Xdp, &question(*number))).count();
            assert_eq!(passed, NUMBER as usize);
        });
    };
    thread::scope(|scope| {
        scope.spawn(send);
        scope.spawn(send);
    });
    let mut entries: BTreeMap<u64, u32> = BTreeMap::new();
    for flow in firewall.flows() {
        assert_eq!(flow.slot.state().name(), "UNREPLIED");
        let key = flow.entry.key;
        let address = [key.low[0], key.high[0]].into_iter().find(|one| *one != u64::from(SERVER.to_bits()));
        *entries.entry(address.expect("a stranger")).or_default() += 1;
    }
    let expected: BTreeSet<u64> = (0..NUMBER).map(|number| u64::from(0xc612_0000 + number)).collect();
    assert_eq!(entries.keys().copied().collect::<BTreeSet<_>>(), expected);
    assert!(entries.values().all(|count| *count <= 2), "{entries:?}");
    // From now on everybody finds the same one.
    for number in [0, NUMBER / 2, NUMBER - 1] {
        assert_eq!(firewall.egress(&answer(number)), Ok(()));
    }
    let replied = firewall.flows().into_iter().filter(|flow| flow.slot.state().is_replied()).count();
    assert_eq!(replied, 3);
}

/// One processor uses flows while another takes places from them, and user space forgets them: whatever is found is whole.
#[test]
fn flows_are_used_recycled_and_forgotten_at_once() {
    let firewall = Firewall::new(OPEN);
    let room = firewall.open(Instance::flow_capacity);
    let stop = AtomicBool::new(false);
    let known = 0..room * 4;
    thread::scope(|scope| {
        for half in 0..2 {
            let (firewall, stop, known) = (&firewall, &stop, known.clone());
            scope.spawn(move || {
                firewall.judging(|passes| {
                    let deadline = Instant::now() + Duration::from_secs(3);
                    for number in known.cycle().skip(half * 1000) {
                        assert!(passes(Side::Xdp, &question(number)), "a question finds room");
                        if number % 3 == 0 {
                            passes(Side::TcEgress, &answer(number));
                        }
                        if Instant::now() > deadline {
                            break;
                        }
                    }
                });
                stop.store(true, Ordering::Relaxed);
            });
        }
        let (firewall, stop) = (&firewall, &stop);
        scope.spawn(move || {
            firewall.open(|instance| {
                let forgetter = instance.forgetter().expect("the table");
                let mut forgotten = 0;
                while !stop.load(Ordering::Relaxed) {
                    for flow in instance.flows().expect("flows").map(|flow| flow.expect("flow")) {
                        forgotten += u32::from(flow.entry.key.tail % 2 == 0 && forgetter.forget(&flow));
                    }
                }
                assert!(forgotten > 0, "nothing was there to forget");
            });
        });
    });
    let strangers = u64::from(0xc612_0000_u32)..u64::from(0xc612_0000 + known.end);
    for flow in firewall.flows() {
        let key = flow.entry.key;
        let ends = [key.low[0], key.high[0]];
        assert!(ends.contains(&u64::from(SERVER.to_bits())), "{flow:?}");
        assert!(ends.iter().any(|end| strangers.contains(end)), "{flow:?}");
        assert_eq!(key.protocol(), 17, "{flow:?}");
    }
    assert!(FLOWS > 0 && firewall.ingress(&question(0)) == Ok(()), "it works on");
}
