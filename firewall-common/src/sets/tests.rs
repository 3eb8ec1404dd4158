//! Sets against what the standard library makes of the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::AtomicU64,
};

use super::{
    KEY_WORDS, Key, Kind, LINE_WORDS, Lines,
    change::{self, FULL, KNOWN, NEW},
    hash::{self, NEVER, NOWHERE},
    make::{self, Memory, Spec},
    make_ranges::{self, Rest},
    make_shapes, ranges,
    run::Scratch,
    shapes,
};

struct Element<'a> {
    key: &'a Key,
    extras: &'a [u64; 8],
    expires: u32,
    refresh: bool,
}

fn scratch(key: &Key, tick: u32) -> Scratch {
    let mut scratch = Scratch { key: *key, whole: *key, ..Scratch::EMPTY };
    scratch.probe.tick = tick;
    scratch
}

fn put<S: Lines>(set: &S, element: &Element<'_>, tick: u32) -> u32 {
    let mut scratch = Scratch { extras: *element.extras, ..scratch(element.key, tick) };
    scratch.probe.expires = element.expires;
    scratch.operation = if element.refresh { change::UPDATE } else { change::ADD };
    change::change_whole(set, &mut scratch).expect("a whole set")
}

fn remove<S: Lines>(set: &S, key: &Key, tick: u32) -> bool {
    let mut scratch = Scratch { operation: change::DELETE, ..scratch(key, tick) };
    change::change_whole(set, &mut scratch).expect("a whole set") == KNOWN
}

fn find<S: Lines>(set: &S, key: &Key, tick: u32) -> u32 {
    let mut scratch = scratch(key, tick);
    hash::find(set, &mut scratch).expect("a whole set");
    scratch.probe.place
}

const SECRET: [u64; 8] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6c,
    0xc0ac_29b7_c97c_50dd,
    0x3f84_d5b5_b547_0917,
];

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u32) -> u32 {
        (self.next() >> 20) as u32 % limit
    }
}

fn spec(kind: Kind, key_words: u32, room: u32) -> Spec {
    Spec { kind, key_words, data_words: 0, counts: false, ends: true, cells: 0, connections: 0, room, limit: room }
}

fn key(words: &[u32]) -> [u32; KEY_WORDS] {
    let mut key = [0; KEY_WORDS];
    key[..words.len()].copy_from_slice(words);
    key
}

#[test]
fn a_hash_holds_what_a_map_holds() {
    for words in [1, 2, 4, 5, 9, 15] {
        for ends in [false, true] {
            let memory = Memory::new(&Spec { ends, data_words: 3, ..spec(Kind::Hash, words, 500) }, SECRET);
            let set = memory.lines();
            let form = super::Form(super::Line::load(&memory.0[0], super::FORM));
            let (mut model, mut numbers) = (BTreeMap::new(), Numbers(u64::from(words) + 1));
            let mut tick = 10;
            for _ in 0..20_000 {
                let number = numbers.below(900);
                let mut parts = vec![7; words as usize];
                parts[words as usize - 1] = number;
                let key = key(&parts);
                model.retain(|_, (expires, _)| *expires > tick);
                let data = [number, tick, 5];
                let known = model.get(&number).copied();
                match numbers.below(4) {
                    0 => assert_eq!(remove(&set, &key, tick), model.remove(&number).is_some()),
                    1 => tick += numbers.below(3),
                    _ => {
                        let expires = if number % 3 == 0 { NEVER } else { tick + 1 + numbers.below(300) };
                        let extras = make::extras(form, (&data, &[]), (0, 0), (0, 0));
                        let element = Element { key: &key, extras: &extras, expires, refresh: true };
                        match put(&set, &element, tick) {
                            NEW => assert!(model.insert(number, (expires, data)).is_none()),
                            KNOWN => model.get_mut(&number).expect("known").0 = expires,
                            _ => assert!(known.is_none() && model.len() > 200, "{}", model.len()),
                        }
                    }
                }
                let place = find(&set, &key, tick);
                let there = model.get(&number).filter(|(expires, _)| *expires > tick);
                assert_eq!(place != NOWHERE, there.is_some());
            }
            let found = make::elements(&set, tick);
            let found: BTreeMap<u32, (u32, [u32; 3])> = found
                .iter()
                .map(|one| (one.key[words as usize - 1], (one.expires, [one.data[0], one.data[1], one.data[2]])))
                .collect();
            model.retain(|_, (expires, _)| *expires > tick);
            assert_eq!(found, model);
        }
    }
}

#[test]
fn a_full_hash_gets_room_when_elements_end() {
    let memory = Memory::new(&spec(Kind::Hash, 1, 100), SECRET);
    let set = memory.lines();
    let add = |number: u32, tick: u32| {
        let element = Element { key: &key(&[number]), extras: &[0; 8], expires: tick + 5, refresh: false };
        put(&set, &element, tick)
    };
    for number in 0..100 {
        assert_eq!(add(number, 10), NEW);
    }
    assert_eq!(add(100, 10), FULL);
    let later: Vec<u32> = (0..40).map(|_| add(1000, 16)).collect();
    assert!(later.contains(&NEW), "{later:?}");
    assert_eq!(make::elements(&set, 16).len(), 1);
}

#[test]
fn threads_that_add_and_remove_leave_each_element_once_or_not_at_all() {
    let memory = Memory::new(&spec(Kind::Hash, 4, 3000), SECRET);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                let set = memory.lines();
                let mut numbers = Numbers(thread + 99);
                for _ in 0..50_000 {
                    let key = key(&[1, 2, 3, numbers.below(500)]);
                    if numbers.below(3) == 0 {
                        remove(&set, &key, 10);
                    } else {
                        let element = Element { key: &key, extras: &[0; 8], expires: NEVER, refresh: false };
                        put(&set, &element, 10);
                    }
                    find(&set, &key, 10);
                }
            });
        }
    });
    let set = memory.lines();
    for number in 0..500 {
        let key = key(&[1, 2, 3, number]);
        let element = Element { key: &key, extras: &[0; 8], expires: NEVER, refresh: false };
        put(&set, &element, 10);
        let times = make::elements(&set, 10).iter().filter(|one| one.key == key).count();
        assert_eq!(times, 1, "{number}");
    }
    let count = super::low(super::Line::load(&memory.0[0], super::COUNT));
    assert_eq!(count as usize, make::elements(&set, 10).len());
}

fn joined(values: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == *value => *last = *value,
            _ => found.push((*value, *value)),
        }
    }
    found
}

#[test]
fn ranges_hold_what_a_set_of_numbers_holds() {
    for dense in [false, true] {
        let memory = Memory::new(&spec(Kind::Ranges, 4, 200_000), SECRET);
        let set = memory.lines();
        let (mut model, mut numbers) = (BTreeSet::new(), Numbers(5));
        let mut room = Rest { set: &set, lines: memory.0.len() as u32 };
        for round in 0..1500 {
            let lowest = numbers.below(1 << 18);
            let length = if dense && round % 9 != 0 { numbers.below(3) } else { numbers.below(9000) };
            let highest = (lowest + length).min((1 << 18) - 1);
            let inside = numbers.below(3) != 0;
            make_ranges::assign(&set, &mut room, (lowest, highest), inside).expect("room");
            for value in lowest..=highest {
                if inside {
                    model.insert(value);
                } else {
                    model.remove(&value);
                }
            }
            for value in [lowest.saturating_sub(1), lowest, highest, highest + 1, numbers.below(1 << 19)] {
                assert_eq!(ranges::contains(&set, value), Some(u32::from(model.contains(&value))), "{value}");
            }
        }
        for value in 0..1 << 18 {
            assert_eq!(ranges::contains(&set, value), Some(u32::from(model.contains(&value))), "{value}");
        }
        assert_eq!(make_ranges::intervals(&set), Some(joined(&model)));
        let (directory, planned) = make_ranges::plan(4, &joined(&model));
        let again = Memory::new(&spec(Kind::Ranges, 4, planned.lines.len() as u32), SECRET);
        make_ranges::write(&again.lines(), &directory, &planned).expect("room");
        assert_eq!(make_ranges::intervals(&again.lines()), Some(joined(&model)));
        for value in (0..1 << 18).step_by(3) {
            assert_eq!(ranges::contains(&again.lines(), value), Some(u32::from(model.contains(&value))), "{value}");
        }
    }
}

#[test]
fn a_dense_set_of_ports_changes_without_new_lines() {
    let mut model: BTreeSet<u32> = (0..1 << 16).filter(|port| port % 2 == 0).collect();
    let (directory, planned) = make_ranges::plan(1, &joined(&model));
    let memory = Memory::new(&spec(Kind::Ranges, 1, planned.lines.len() as u32), SECRET);
    let set = memory.lines();
    make_ranges::write(&set, &directory, &planned).expect("room");
    let mut none = Rest { set: &set, lines: 0 };
    for (low, high, inside) in
        [(1, 1, true), (64, 127, true), (65_472, 65_535, false), (4095, 4095, true), (3, 60, false)]
    {
        make_ranges::assign(&set, &mut none, (low, high), inside).expect("no room is needed");
        (low..=high).for_each(|port| assert_eq!(ranges::contains(&set, port), Some(u32::from(inside)), "{port}"));
        if inside {
            model.extend(low..=high);
        } else {
            model.retain(|port| !(low..=high).contains(port));
        }
        assert_eq!(make_ranges::intervals(&set), Some(joined(&model)));
    }
    assert!(make_ranges::assign(&set, &mut none, (60, 70), true).is_err(), "two words are not one store");
}

#[test]
fn ranges_at_the_ends_of_all_numbers() {
    let memory = Memory::new(&spec(Kind::Ranges, 1 << 16, 100), SECRET);
    let set = memory.lines();
    let mut room = Rest { set: &set, lines: memory.0.len() as u32 };
    make_ranges::assign(&set, &mut room, (0, u32::MAX), true).expect("room");
    assert_eq!(make_ranges::intervals(&set), Some(vec![(0, u32::MAX)]));
    make_ranges::assign(&set, &mut room, (0, 0), false).expect("room");
    make_ranges::assign(&set, &mut room, (u32::MAX, u32::MAX), false).expect("room");
    assert_eq!(make_ranges::intervals(&set), Some(vec![(1, u32::MAX - 1)]));
    for (value, inside) in [(0, 0), (1, 1), (0xffff, 1), (0x1_0000, 1), (u32::MAX - 1, 1), (u32::MAX, 0)] {
        assert_eq!(ranges::contains(&set, value), Some(inside), "{value:#x}");
    }
    let (directory, planned) = make_ranges::plan(1 << 16, &[(0, 0), (5, 0x2_0000), (u32::MAX, u32::MAX)]);
    let again = Memory::new(&spec(Kind::Ranges, 1 << 16, planned.lines.len() as u32), SECRET);
    make_ranges::write(&again.lines(), &directory, &planned).expect("room");
    assert_eq!(make_ranges::intervals(&again.lines()), Some(vec![(0, 0), (5, 0x2_0000), (u32::MAX, u32::MAX)]));
}

#[test]
fn prefixes_cover_an_interval_and_nothing_else() {
    for (lowest, highest) in [(0, 255), (1, 254), (7, 7), (0, 0), (255, 255), (16, 31), (3, 200)] {
        let prefixes = make_shapes::prefixes(lowest, highest, 8);
        let mut next = lowest;
        for (start, host) in &prefixes {
            assert_eq!((*start, start & host), (next, 0));
            next = start + host + 1;
        }
        assert_eq!(next, highest + 1);
    }
    assert_eq!(make_shapes::prefixes(0, u128::MAX, 128), [(0, u128::MAX)]);
    assert_eq!(make_shapes::prefixes(1, u128::MAX, 128).len(), 128);
}

#[test]
fn shapes_find_the_element_that_a_key_is_in() {
    let memory = Memory::new(&spec(Kind::Shapes, 3, 4000), SECRET);
    let set = memory.lines();
    let mut numbers = Numbers(3);
    let mut model: Vec<[(u32, u32); 2]> = Vec::new();
    while model.len() < 60 {
        let one = [0, 1].map(|_| {
            let lowest = numbers.below(4000);
            (lowest, (lowest + numbers.below(300)).min(4095))
        });
        let overlaps = |other: &[(u32, u32); 2]| (0..2).all(|at| one[at].0 <= other[at].1 && other[at].0 <= one[at].1);
        if model.iter().any(overlaps) {
            continue;
        }
        let parts = one.map(|(lowest, highest)| {
            let prefixes = make_shapes::prefixes(u128::from(lowest), u128::from(highest), 16);
            prefixes.iter().map(|(start, host)| (vec![*start as u32], vec![!(*host as u32) & 0xffff])).collect()
        });
        for (mut key, mask) in make_shapes::product(&parts).expect("few") {
            key[0] = make_shapes::number(&set, &mask).expect("few") + 1;
            let element = Element { key: &key, extras: &[model.len() as u64; 8], expires: NEVER, refresh: false };
            assert_eq!(put(&set, &element, 10), NEW);
        }
        model.push(one);
    }
    for _ in 0..20_000 {
        let value = [numbers.below(4096), numbers.below(4096)];
        let mut scratch = scratch(&key(&[0, value[0], value[1]]), 10);
        shapes::find(&set, &mut scratch).expect("a whole set");
        let place = scratch.probe.place;
        let inside = model.iter().any(|one| (0..2).all(|at| (one[at].0..=one[at].1).contains(&value[at])));
        assert_eq!(place != NOWHERE, inside, "{value:?}");
    }
}

/// The same lines, of a set that evicts.
struct Evicting<'a>(&'a [[AtomicU64; LINE_WORDS]]);

impl<'a> Lines for Evicting<'a> {
    type Line = &'a [AtomicU64; LINE_WORDS];

    fn line(&self, index: u32) -> Option<Self::Line> {
        self.0.get(index as usize)
    }

    fn evicts(&self) -> bool {
        true
    }
}

/// Elements that a set counts.
fn count(memory: &Memory) -> u64 {
    super::Line::load(&memory.0[0], super::COUNT)
}

/// A set as an attacker would fill it: sources come, and one that somebody uses comes now and then.
struct Attacked {
    memory: Memory,
    tick: u32,
}

impl Attacked {
    const SIZE: u32 = 1000;
    const LIFE: u32 = 5000;

    fn new(words: u32) -> Self {
        Self { memory: Memory::new(&spec(Kind::Hash, words, Self::SIZE), SECRET), tick: 10 }
    }

    fn come(&self, key: &[u32]) -> u32 {
        let expires = self.tick + Self::LIFE;
        let element = Element { key: &self::key(key), extras: &[0; 8], expires, refresh: true };
        put(&Evicting(self.memory.lines()), &element, self.tick)
    }

    fn is_there(&self, key: &[u32]) -> bool {
        find(&self.memory.lines(), &self::key(key), self.tick) != NOWHERE
    }
}

/// A million sources in a set of a thousand, a tenth of it in each tick: nobody is refused, memory and count stay what they are, and who
/// comes again and again stays. Not all of them, as only some elements are looked at for the oldest one.
#[test]
fn a_million_sources_leave_room_for_who_is_there() {
    for words in [1, 4] {
        let mut attacked = Attacked::new(words);
        let of = |number: u32| [number, 0x2001_0db8, 7, 9][..words as usize].to_vec();
        let regular: Vec<_> = (0..100).map(|number| of(0xc000_0200 + number)).collect();
        let (mut came, mut lost) = (0, 0);
        for number in 0..1_000_000_u32 {
            if number % 100 == 0 {
                attacked.tick += 1;
                for one in &regular {
                    came += 1;
                    lost += u32::from(number > 0 && !attacked.is_there(one));
                    assert_ne!(attacked.come(one), FULL);
                }
            }
            assert_eq!(attacked.come(&of(number | 0x0100_0000)), NEW, "{number}");
        }
        println!("{lost} of {came}");
        assert!(lost < came / 1000, "{lost} of {came} were put out");
        assert_eq!(count(&attacked.memory), u64::from(Attacked::SIZE));
        let found = make::elements(&attacked.memory.lines(), attacked.tick);
        assert_eq!(found.len(), Attacked::SIZE as usize);
        // What is there beside is of the last ones that came.
        let last = |one: &&make::Found| one.key[0] & 0xff00_0000 == 0x0100_0000 && one.key[0] & 0xff_ffff < 950_000;
        assert!(found.iter().filter(last).count() < 100, "{}", found.iter().filter(last).count());
    }
}

/// One source has one element, however often it comes.
#[test]
fn one_source_takes_one_place() {
    let attacked = Attacked::new(1);
    assert_eq!(attacked.come(&[7]), NEW);
    for _ in 0..1_000_000 {
        assert_eq!(attacked.come(&[7]), KNOWN);
    }
    assert_eq!(count(&attacked.memory), 1);
}

/// Sources that all are at home in one bucket, as somebody would choose them who knew the secret: they fill the buckets behind it and
/// are refused then, and nobody else is.
#[test]
fn sources_that_collide_harm_nobody_else() {
    let attacked = Attacked::new(1);
    let head = &attacked.memory.0[0];
    let home = |source: u32| hash::home(head, source);
    let colliding: Vec<u32> = (0..u32::MAX).filter(|source| home(*source) == home(1)).take(2000).collect();
    let refused = colliding.iter().filter(|source| attacked.come(&[**source]) == FULL).count();
    let room = (hash::MAX_PROBES * hash::WAYS as u32) as usize;
    assert_eq!(colliding.len() - refused, room);
    let others: Vec<u32> = (0..10_000).map(|number| 0x0a00_0000 + number).filter(|one| home(*one) != home(1)).collect();
    let far = others.iter().filter(|one| home(**one).abs_diff(home(1)) > 2 * hash::MAX_PROBES);
    for source in far {
        assert_eq!(attacked.come(&[*source]), NEW, "{source:#x}");
        assert!(attacked.is_there(&[*source]));
    }
}

/// Elements without an end make no room, and a set that does not evict is full.
#[test]
fn what_has_no_end_stays() {
    let memory = Memory::new(&spec(Kind::Hash, 1, 100), SECRET);
    let set = Evicting(memory.lines());
    let add = |number: u32, expires: u32| {
        put(&set, &Element { key: &key(&[number]), extras: &[0; 8], expires, refresh: false }, 10)
    };
    assert!((0..100).all(|number| add(number, NEVER) == NEW));
    assert_eq!(add(100, NEVER), FULL);
    assert_eq!(add(101, 50), FULL);
    assert_eq!(count(&memory), 100);
    let other = Memory::new(&spec(Kind::Hash, 1, 100), SECRET);
    let lines = other.lines();
    let add =
        |number: u32| put(&lines, &Element { key: &key(&[number]), extras: &[0; 8], expires: 50, refresh: false }, 10);
    assert!((0..100).all(|number| add(number) == NEW));
    assert_eq!(add(100), FULL);
}
