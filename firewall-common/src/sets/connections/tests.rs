use std::collections::BTreeSet;

use super::*;
use crate::sets::{
    Kind, LINE_WORDS,
    make::{Memory, Spec},
};

/// The connections that are there.
struct There(BTreeSet<u64>);

impl Table for There {
    fn is_there(&self, scratch: &mut Scratch) -> u32 {
        u32::from(self.0.contains(&scratch.asked))
    }
}

struct Counter {
    memory: Memory,
    there: There,
    scratch: Scratch,
    insn: Insn,
}

impl Counter {
    fn new(limit: u32, extra: u32) -> Self {
        let spec = Spec {
            kind: Kind::Hash,
            key_words: 1,
            data_words: 0,
            counts: false,
            ends: false,
            cells: 0,
            connections: limit + 2,
            room: 8,
            limit: 8,
        };
        let insn = Insn { high: limit, extra, ..Insn::default() };
        let there = There(BTreeSet::new());
        Self { memory: Memory::new(&spec, [3; LINE_WORDS]), there, scratch: Scratch::EMPTY, insn }
    }

    /// A packet of a connection meets the count of the element in `place`: does it hold?
    fn meets(&mut self, place: u32, hash: u64, tick: u32) -> bool {
        self.scratch.probe.place = place;
        self.scratch.probe.tag = place + 100;
        self.scratch.probe.tick = tick;
        for _ in 0..1000 {
            let answer = count(&self.memory.lines(), &self.there, &self.insn, hash, &mut self.scratch);
            if answer != run::AGAIN {
                assert_ne!(answer, run::BROKEN);
                return answer == run::YES;
            }
        }
        panic!("it never ends");
    }

    /// The same; a connection for which it does not hold begins.
    fn begins(&mut self, place: u32, hash: u64, tick: u32) -> bool {
        self.scratch.noted = [0; 2];
        let is_over = self.meets(place, hash, tick);
        if is_over {
            let [_, which] = self.scratch.noted;
            if self.scratch.noted[0] != 0 {
                take_out(&self.memory.lines(), which, hash).expect("a member");
            }
        } else {
            self.there.0.insert(hash);
        }
        !is_over
    }
}

/// Compared with the number of connections that are there, over many of them that begin and end.
#[test]
fn as_many_connections_as_allowed() {
    for (limit, extra) in [(0, OVER), (1, OVER), (3, OVER | ALONE), (20, OVER), (100, OVER)] {
        let mut counter = Counter::new(limit, extra);
        let mut random = 7_u64;
        for step in 0..5000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let hash = (random >> 33) % u64::from(limit * 2 + 3) + 1;
            let tick = 10 + step / 10;
            if (random >> 20).is_multiple_of(4) {
                counter.there.0.remove(&hash);
                // It is over, and its packets are not noted any more once they were longer ago than two ticks.
                continue;
            }
            let others = counter.there.0.iter().filter(|other| **other != hash).count() as u32;
            let began = counter.begins(0, hash, tick + step * 3);
            assert_eq!(began, others < limit, "limit {limit}, step {step}, {others} others");
            if !began {
                counter.there.0.remove(&hash);
            }
        }
    }
}

#[test]
fn elements_count_for_themselves_and_what_was_before_them_does_not_count() {
    let mut counter = Counter::new(2, OVER);
    for hash in [1, 2] {
        assert!(counter.begins(0, hash, 10) && counter.begins(1, hash + 10, 10));
    }
    assert!(!counter.begins(0, 3, 10) && !counter.begins(1, 13, 10));
    // Another element gets the place of the first one.
    counter.scratch.probe.tag = 7;
    counter.scratch.probe.place = 0;
    assert_eq!(count(&counter.memory.lines(), &counter.there, &counter.insn, 3, &mut counter.scratch), run::NO);
}

/// A connection that is not in the table yet counts for two ticks.
#[test]
fn a_connection_counts_before_it_is_in_the_table() {
    let mut counter = Counter::new(1, OVER);
    assert!(!counter.meets(0, 1, 10));
    assert!(counter.meets(0, 2, 10), "the first one is noted");
    assert!(counter.meets(0, 2, 11));
    assert!(!counter.meets(0, 3, 20), "they never came");
}

/// `ct count 2`, without `over`, holds up to two.
#[test]
fn up_to_so_many() {
    let mut counter = Counter::new(2, 0);
    assert!(counter.meets(0, 1, 10) && counter.meets(0, 2, 10));
    assert!(counter.meets(0, 1, 10));
    assert!(!counter.meets(0, 3, 10));
}
