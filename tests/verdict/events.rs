//! Events in a flood: limited for each rule and reason, what was not told is counted, and nothing waits.

use firewall_common::{
    event::{EVENTS_PER_AUTHOR, Event, Kind},
    verdict::Reason,
};
use firewall_tests::{
    packet::{Frame, Ipv4},
    topology::{CLIENT, INTERFACE, SERVER},
};
use firewall_user::kernel::{Events, Instance, Side, interface_index};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::support::{
    Firewall,
    packets::{datagram, syn, v4},
};

const RULES: &str = "table inet t { chain c { type filter hook input priority 0; policy accept;
    tcp dport 23 drop
    tcp dport 24 drop
    tcp dport 25 log drop
    }
}";

/// As many packets, one after another on one CPU.
fn send(instance: &Instance, frame: &Frame, count: u32) {
    let ifindex = interface_index(INTERFACE).expect("interface");
    instance.judge(Side::Xdp, &frame.bytes(), ifindex, count).expect("judged");
}

fn read(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next()).collect()
}

fn on_one_cpu() {
    let mut first = CpuSet::new();
    first.set(0).expect("CPU 0");
    sched_setaffinity(Pid::from_raw(0), &first).expect("CPU 0 is there");
}

/// Events of this kind and reason.
fn of(events: &[Event], kind: Kind, reason: Reason) -> Vec<&Event> {
    events.iter().filter(|event| (event.kind, event.reason) == (kind as u32, reason as u32)).collect()
}

#[test]
fn a_loud_rule_leaves_room_for_what_else_happens() {
    let firewall = Firewall::new(RULES);
    firewall.open(|instance| {
        on_one_cpu();
        let mut events = instance.events(false).expect("events");
        let before = instance.lost_events().expect("lost");
        // More than a tick's worth, however many ticks they take.
        send(instance, &v4(syn(23)), 200_000);
        send(instance, &v4(syn(24)), 1);
        send(instance, &Frame::new(Ipv4 { ihl: Some(4), ..Ipv4::new(CLIENT, SERVER) }, syn(22)), 1);
        send(instance, &v4(datagram(53)), 1);
        let told = read(&mut events);
        let loud = of(&told, Kind::Dropped, Reason::Rule);
        assert!(loud.len() as u32 > EVENTS_PER_AUTHOR && loud.len() < 100_000, "{}", loud.len());
        assert_eq!(of(&told, Kind::Dropped, Reason::Ipv4HeaderLength).len(), 1);
        assert_eq!(of(&told, Kind::New, Reason::None).len(), 1);
        assert_eq!(loud.iter().filter(|event| event.destination_port & 0xffff == 24).count(), 1);
        let lost = instance.lost_events().expect("lost") - before;
        assert_eq!(told.len() as u64 + lost, 200_003, "each is told or counted");
    });
}

#[test]
fn the_next_one_says_how_many_there_were() {
    let firewall = Firewall::new(RULES);
    firewall.open(|instance| {
        on_one_cpu();
        let mut events = instance.events(false).expect("events");
        let (mut told, mut more) = (0_u64, 0_u64);
        let mut count = |all: Vec<Event>| {
            for event in of(&all, Kind::Dropped, Reason::Rule) {
                told += 1;
                more += event.more;
            }
        };
        send(instance, &v4(syn(23)), 50_000);
        count(read(&mut events));
        // In the next tick there is room again.
        std::thread::sleep(std::time::Duration::from_millis(600));
        send(instance, &v4(syn(23)), 1);
        count(read(&mut events));
        assert_eq!(told + more, 50_001);
        assert!(more > 0);
    });
}

/// A rule that logs and drops has a budget for each.
#[test]
fn logs_are_limited_on_their_own() {
    let firewall = Firewall::new(RULES);
    firewall.open(|instance| {
        on_one_cpu();
        let mut events = instance.events(false).expect("events");
        let before = instance.lost_events().expect("lost");
        send(instance, &v4(syn(25)), 20_000);
        let told = read(&mut events);
        let (logged, dropped) = (of(&told, Kind::Logged, Reason::None), of(&told, Kind::Dropped, Reason::Rule));
        for some in [&logged, &dropped] {
            assert!(some.len() as u32 >= EVENTS_PER_AUTHOR, "{}", some.len());
        }
        let lost = instance.lost_events().expect("lost") - before;
        assert_eq!((logged.len() + dropped.len()) as u64 + lost, 40_000);
    });
}

/// Nobody reads: the ring fills up, packets are judged all the same, and each event that had no room is counted.
#[test]
fn a_full_ring_is_counted() {
    let firewall = Firewall::new(RULES);
    firewall.open(|instance| {
        on_one_cpu();
        let mut events = instance.events(false).expect("events");
        let before = instance.lost_events().expect("lost");
        let frames = [v4(syn(23)), v4(syn(24)), v4(syn(25))];
        // A mebibyte of records, of which each tick sends few.
        for _ in 0..20 {
            for frame in &frames {
                send(instance, frame, 5000);
            }
            std::thread::sleep(std::time::Duration::from_millis(300));
            events.keep_listening().expect("still here");
        }
        let told = read(&mut events).len() as u64;
        let lost = instance.lost_events().expect("lost") - before;
        // Port 25 logs and drops.
        assert_eq!(told + lost, 20 * 4 * 5000);
        // Each has a header; a byte of the ring stays free (`__bpf_ringbuf_reserve`).
        let room = ((1 << 20) - 1) / (size_of::<Event>() as u64 + 8);
        assert_eq!(told, room, "as many as there is room for");
    });
    assert_eq!(firewall.dropped(Reason::Rule), 20 * 3 * 5000);
}

/// Two CPUs drop as fast as they can while one reader reads: far more than 100,000 a second, and each event is told or counted.
#[test]
fn none_is_lost_uncounted_at_any_rate() {
    const EACH: u32 = 500_000;
    let firewall = Firewall::new(RULES);
    firewall.open(|instance| {
        let mut events = instance.events(false).expect("events");
        let before = instance.lost_events().expect("lost");
        // Threads of a process that is in the namespace are in it.
        let (frames, ifindex) = ([v4(syn(23)), v4(syn(24))], interface_index(INTERFACE).expect("interface"));
        let mut told = 0;
        std::thread::scope(|scope| {
            let senders = frames.map(|frame| {
                scope.spawn(move || {
                    for _ in 0..EACH / 5000 {
                        instance.judge(Side::Xdp, &frame.bytes(), ifindex, 5000).expect("judged");
                    }
                })
            });
            while senders.iter().any(|sender| !sender.is_finished()) {
                told += read(&mut events).len() as u64;
                events.keep_listening().expect("still here");
            }
        });
        told += read(&mut events).len() as u64;
        let lost = instance.lost_events().expect("lost") - before;
        assert_eq!(told + lost, 2 * u64::from(EACH));
        assert!(told > 0 && lost > 0, "{told} told, {lost} counted");
    });
    assert_eq!(firewall.dropped(Reason::Rule), 2 * u64::from(EACH));
}
