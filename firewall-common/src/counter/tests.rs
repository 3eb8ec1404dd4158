//! Counting and adding up.

use super::{Counter, InterfaceCounters, PASSED};
use crate::verdict::Reason;

#[test]
fn a_counter_counts_packets_and_bytes() {
    let mut counter = Counter::default();
    counter.add(60);
    counter.add(u32::MAX);
    assert_eq!(counter, Counter { packets: 2, bytes: 60 + u64::from(u32::MAX) });
}

#[test]
fn cpus_are_added_up_by_direction_and_reason() {
    let (mut total, mut other) = (InterfaceCounters::ZERO, InterfaceCounters::ZERO);
    total.ingress[PASSED].add(100);
    other.ingress[PASSED].add(50);
    other.ingress[Reason::Policy as usize].add(60);
    other.egress[Reason::Rule as usize].add(70);
    total.add_up(&other);
    total.add_up(&InterfaceCounters::ZERO);
    assert_eq!(total.ingress[PASSED], Counter { packets: 2, bytes: 150 });
    assert_eq!(total.ingress[Reason::Policy as usize], Counter { packets: 1, bytes: 60 });
    assert_eq!(total.egress[Reason::Rule as usize], Counter { packets: 1, bytes: 70 });
    let all = total.ingress.iter().chain(&total.egress);
    assert_eq!(all.map(|counter| counter.packets).sum::<u64>(), 4);
}

#[test]
fn what_passed_is_counted_under_no_reason() {
    assert_eq!(PASSED, Reason::None as usize);
}
