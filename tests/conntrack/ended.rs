//! Events of connections that end without a packet: because their time runs out, for another one, by a command. Each is told of once,
//! or is counted.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use firewall_common::{
    event::{End, Event, Kind},
    table::Slot,
};
use firewall_tests::topology::INTERFACE;
use firewall_user::kernel::{Events, Instance, Side, interface_index};

use super::{
    pressure::{OPEN, answer, question, stranger, syn},
    support::Firewall,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// What is told until so many connections have ended in this way, by how they did.
fn told(events: &mut Events, end: End, wanted: u64) -> BTreeMap<u32, u64> {
    let (mut ended, deadline) = (BTreeMap::new(), Instant::now() + PATIENCE);
    while ended.get(&(end as u32)).copied().unwrap_or(0) < wanted {
        assert!(Instant::now() < deadline, "{wanted} should have ended, {ended:?} did");
        events.keep_listening().expect("still here");
        while let Some(event) = events.next() {
            if event.kind == Kind::Closed as u32 {
                *ended.entry(event.log).or_default() += 1;
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    ended
}

fn judge(instance: &Instance, side: Side, frame: &firewall_tests::packet::Frame) {
    let ifindex = interface_index(INTERFACE).expect("interface");
    instance.judge(side, &frame.bytes(), ifindex, 1).expect("judged");
}

/// Three tables full of handshakes that nobody completes: what began has ended or is there, and each of both is told or counted.
#[test]
fn who_makes_room_is_told_or_counted() {
    let firewall = Firewall::new(OPEN);
    firewall.open(|instance| {
        let flood = instance.flow_capacity() * 3;
        let mut events = instance.events(false).expect("events");
        let (lost, before) = (instance.lost_events().expect("lost"), instance.flow_stats().expect("statistics"));
        let mut told: Vec<Event> = Vec::new();
        for number in 0..flood {
            judge(instance, Side::Xdp, &syn(number));
            if number % 512 == 0 {
                events.keep_listening().expect("still here");
                told.extend(std::iter::from_fn(|| events.next()));
            }
        }
        told.extend(std::iter::from_fn(|| events.next()));
        let lost = instance.lost_events().expect("lost") - lost;
        let after = instance.flow_stats().expect("statistics");
        let (entered, evicted) = (after.entered - before.entered, after.evicted_embryonic - before.evicted_embryonic);
        assert_eq!(entered, u64::from(flood));
        let of = |kind: Kind| told.iter().filter(move |event| event.kind == kind as u32);
        assert!(of(Kind::Closed).count() > 0);
        for event in of(Kind::Closed) {
            assert_eq!(event.log, End::Evicted as u32);
            let number = event.source[0]
                - u32::from(match stranger(0) {
                    std::net::IpAddr::V4(address) => address,
                    std::net::IpAddr::V6(_) => unreachable!("IPv4"),
                });
            assert!(number < flood, "{number}");
            assert_eq!((event.destination_port & 0xffff, event.numbers[0]), (22, 1));
        }
        assert_eq!((of(Kind::New).count() + of(Kind::Closed).count()) as u64 + lost, entered + evicted);
    });
}

#[test]
fn who_is_killed_is_told() {
    let firewall = Firewall::new(OPEN);
    firewall.open(|instance| {
        let mut events = instance.events(false).expect("events");
        for number in 0..100 {
            judge(instance, Side::Xdp, &question(number));
        }
        let forgetter = instance.forgetter().expect("the table");
        let flows: Vec<_> = instance.flows().expect("flows").map(|flow| flow.expect("flow")).collect();
        assert_eq!(flows.iter().filter(|flow| forgetter.forget(flow)).count(), 100);
        assert_eq!(instance.flows().expect("flows").count(), 0);
        // One of them begins anew before anybody looked.
        judge(instance, Side::Xdp, &question(7));
        let ended = told(&mut events, End::Killed, 100);
        assert_eq!(ended, BTreeMap::from([(End::Killed as u32, 100)]));
    });
    assert_eq!(firewall.flows().len(), 1);
}

#[test]
fn whose_time_runs_out_is_told_with_what_it_carried() {
    let firewall = Firewall::new(OPEN);
    firewall.apply_set(OPEN, "[conntrack.timeouts]\nudp_timeout = \"1s\"\nudp_timeout_stream = \"1s\"\n");
    firewall.open(|instance| {
        // What ended before somebody listened is old news.
        for number in 200..300 {
            judge(instance, Side::Xdp, &question(number));
        }
        let deadline = Instant::now() + PATIENCE;
        while instance.flows().expect("flows").count() > 0 {
            assert!(Instant::now() < deadline, "they do not end");
            thread::sleep(Duration::from_millis(100));
        }
        let mut events = instance.events(false).expect("events");
        for number in 0..100 {
            judge(instance, Side::Xdp, &question(number));
            judge(instance, Side::TcEgress, &answer(number));
        }
        let mut found = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while found.len() < 100 {
            assert!(Instant::now() < deadline, "{} of 100 ended", found.len());
            events.keep_listening().expect("still here");
            found.extend(std::iter::from_fn(|| events.next()).filter(|event| event.kind == Kind::Closed as u32));
            thread::sleep(Duration::from_millis(100));
        }
        for event in &found {
            assert_eq!(event.log, End::Timeout as u32);
            assert_eq!((event.numbers[0], event.numbers[2]), (1, 1), "a question and an answer");
            assert_eq!(event.destination_port & 0xffff, 53, "as its first packet had it");
            assert_eq!(Slot(u64::from(event.state) << 32).state().name(), "REPLIED");
        }
        assert_eq!(found.len(), 100);
    });
}
