use std::thread;

use super::*;
use crate::{
    limit::Bucket,
    sets::{
        Kind, LINE_WORDS,
        change::{self, change_whole},
        make::{Memory, Spec},
    },
};

const SPEC: Spec = Spec {
    kind: Kind::Hash,
    key_words: 1,
    data_words: 0,
    counts: true,
    ends: true,
    cells: 2,
    connections: 0,
    room: 100,
    limit: 100,
};

fn element(memory: &Memory, key: u32, cells: [u64; 2]) -> Scratch {
    let mut scratch = Scratch { operation: change::ADD, ..Scratch::EMPTY };
    scratch.key[0] = key;
    scratch.probe.tick = 10;
    scratch.probe.expires = u32::MAX;
    scratch.extras = super::super::make::extras(SPEC.form(), (&[], &cells), (0, 0), (0, 0));
    assert_eq!(change_whole(&memory.lines(), &mut scratch), Some(change::NEW));
    scratch
}

fn packets(rate: u64, nanoseconds: u64, burst: u64) -> [u32; 4] {
    let Bucket { cost, capacity } = Bucket::of_packets(rate, nanoseconds, burst).expect("numbers");
    [(cost >> 32) as u32, cost as u32, (capacity >> 32) as u32, capacity as u32]
}

fn passes(memory: &Memory, insn: &Insn, numbers: &[u32; 4], (length, now): (u32, u64), scratch: &Scratch) -> bool {
    meter(&memory.lines(), insn, ([numbers, numbers], length, now), scratch) == run::YES
}

/// Two CPUs take from one bucket while the clock goes on: together they get what there is, to the packet.
#[test]
fn two_threads_share_a_bucket() {
    let memory = Memory::new(&SPEC, [9; LINE_WORDS]);
    let scratch = element(&memory, 7, [0; 2]);
    let numbers = packets(1000, 1_000_000_000, 50);
    let insn = Insn { high: PACKETS, ..Insn::default() };
    // A packet every 0.1 ms for two seconds: ten times what is allowed.
    let run = |nth: u64| {
        let times = (0..20_000_u64).filter(|step| step % 2 == nth);
        times.filter(|step| passes(&memory, &insn, &numbers, (40, (1 << 40) | (step * 100_000)), &scratch)).count()
    };
    let taken: usize = thread::scope(|scope| {
        let threads = [0, 1].map(|nth| scope.spawn(move || run(nth)));
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
    });
    let allowed = 50 + 2000;
    assert!(taken <= allowed && taken * 100 >= allowed * 90, "{taken} of {allowed}");
}

/// The same one after the other, with nothing left to chance: the burst and the rate, exactly.
#[test]
fn a_bucket_gives_its_burst_and_its_rate() {
    let memory = Memory::new(&SPEC, [9; LINE_WORDS]);
    let scratch = element(&memory, 7, [0; 2]);
    let numbers = packets(1000, 1_000_000_000, 50);
    let insn = Insn { high: PACKETS, ..Insn::default() };
    let taken = (0..20_000_u64)
        .filter(|step| passes(&memory, &insn, &numbers, (40, (1 << 40) | (step * 100_000)), &scratch))
        .count();
    assert!((2049..=2050).contains(&taken), "{taken}");
}

#[test]
fn an_element_has_two_cells_and_each_element_its_own() {
    let memory = Memory::new(&SPEC, [9; LINE_WORDS]);
    let (first, second) = (element(&memory, 1, [0; 2]), element(&memory, 2, [0; 2]));
    let limit = packets(1, 1_000_000_000_000, 2);
    let quota = [0, 0, 0, 100];
    let limit_insn = Insn { high: PACKETS, ..Insn::default() };
    let quota_insn = Insn { high: QUOTA, extra: 1 | OVER, ..Insn::default() };
    for scratch in [&first, &second] {
        let limited = [1, 2, 3].map(|_| passes(&memory, &limit_insn, &limit, (40, 1 << 40), scratch));
        assert_eq!(limited, [true, true, false]);
        let over = [1, 2, 3].map(|_| passes(&memory, &quota_insn, &quota, (40, 1 << 40), scratch));
        assert_eq!(over, [false, false, true]);
    }
    let counter = Insn { high: COUNTER, ..Insn::default() };
    assert!(passes(&memory, &counter, &quota, (40, 0), &second));
}

#[test]
fn an_element_without_the_statement_passes() {
    let memory = Memory::new(&SPEC, [9; LINE_WORDS]);
    let scratch = element(&memory, 1, [NONE; 2]);
    let limit = packets(1, 1_000_000_000_000, 2);
    for extra in [0, 1, OVER, OVER | 1] {
        let insn = Insn { high: PACKETS, extra, ..Insn::default() };
        assert!((0..10).all(|_| passes(&memory, &insn, &limit, (40, 1 << 40), &scratch)), "{extra:#x}");
    }
}
