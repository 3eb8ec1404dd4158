//! Slot words, liveness and claims; claims also with several threads at once.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use rstest::rstest;

use super::{CLAIM_TICKS, Claim, Slot, SlotWords, WAYS, alternate, claim, home, tag};
use crate::conntrack::{Phase, State};

/// A bucket's slot words on the host.
#[derive(Debug, Default)]
struct Words([AtomicU64; WAYS]);

impl Words {
    fn of(words: [u64; WAYS]) -> Self {
        Self(words.map(AtomicU64::new))
    }

    fn slot(&self, way: usize) -> Slot {
        Slot(self.load(way))
    }
}

impl SlotWords for Words {
    fn load(&self, way: usize) -> u64 {
        self.0[way].load(Ordering::Relaxed)
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        self.0[way].compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

const NOW: u32 = 1_000;

/// A slot word by a short name, so many ticks before it expires (or after it did).
fn word(kind: &str, left: i32) -> u64 {
    let state = match kind {
        "free" => return 0,
        "syn sent" => State::new(Phase::SynSent),
        "syn recv" => State::new(Phase::SynRecv).replied(),
        "unreplied" => State::new(Phase::Open),
        "replied" => State::new(Phase::Open).replied(),
        "stream" => State::new(Phase::Open).replied().assured(),
        "established" => State::new(Phase::Established).replied().assured(),
        "one-sided" => State::new(Phase::Established),
        "time wait" => State::new(Phase::TimeWait).replied().assured(),
        "claimed" => State::new(Phase::Claimed).replied().assured(),
        other => panic!("no such slot: {other}"),
    };
    Slot::new(0x12_3456, state, NOW.wrapping_add_signed(left)).0
}

/// Everything that [`word`] knows.
const KINDS: [&str; 10] = [
    "free",
    "syn sent",
    "syn recv",
    "unreplied",
    "replied",
    "stream",
    "established",
    "one-sided",
    "time wait",
    "claimed",
];

/// Is some CPU writing to this place?
fn is_held(slot: Slot) -> bool {
    slot.state().phase() == Phase::Claimed as u8 && slot.expires().wrapping_sub(NOW) as i32 > 0
}

/// A bucket full of established connections but for the words given, which stand from way 1 on.
fn bucket(words: &[(&str, i32)]) -> Words {
    let mut all = [word("established", 100_000); WAYS];
    for (way, (kind, left)) in words.iter().enumerate() {
        all[way + 1] = word(kind, *left);
    }
    Words::of(all)
}

#[rstest]
#[case::free(&[("free", 0)], Some((1, false)))]
#[case::expired(&[("established", 0)], Some((1, false)))]
#[case::long_expired(&[("syn sent", -5_000)], Some((1, false)))]
#[case::a_claim_that_nobody_finished(&[("claimed", 0)], Some((1, false)))]
#[case::free_before_embryonic(&[("syn sent", 1), ("free", 0)], Some((2, false)))]
#[case::expired_before_embryonic(&[("unreplied", 1), ("stream", -1)], Some((2, false)))]
#[case::the_first_of_free_and_expired(&[("stream", -1), ("free", 0)], Some((1, false)))]
#[case::the_embryonic_one_nearest_its_end(&[("syn sent", 400), ("unreplied", 30), ("syn recv", 200)], Some((2, true)))]
#[case::a_stream_picked_up_and_unanswered(&[("one-sided", 1_000_000)], Some((1, true)))]
#[case::established_is_never_taken(&[("established", 1)], None)]
#[case::nor_what_was_answered(&[("replied", 1), ("stream", 1)], None)]
#[case::nor_what_was_just_closed(&[("time wait", 1)], None)]
#[case::nor_what_is_being_written(&[("claimed", 1)], None)]
fn a_claim(#[case] words: &[(&str, i32)], #[case] expected: Option<(usize, bool)>) {
    let slots = bucket(words);
    let before: Vec<_> = (0..WAYS).map(|way| slots.load(way)).collect();
    let claimed = claim(&slots, NOW, true);
    assert_eq!(claimed, expected.map(|(way, evicted)| Claim { way, evicted }));
    for (way, before) in before.into_iter().enumerate() {
        if claimed.is_some_and(|claim| claim.way == way) {
            assert_eq!(slots.slot(way).state().phase(), Phase::Claimed as u8);
            assert!(!slots.slot(way).is_live(NOW), "readers pass over it");
        } else {
            assert_eq!(slots.load(way), before, "way {way} is untouched");
        }
    }
}

#[test]
fn nothing_alive_is_put_out_unless_allowed() {
    let slots = bucket(&[("syn sent", 1), ("unreplied", 1), ("one-sided", 1)]);
    assert_eq!(claim(&slots, NOW, false), None);
    assert_eq!(claim(&slots, NOW, true), Some(Claim { way: 1, evicted: true }));
    assert_eq!(claim(&slots, NOW, true), Some(Claim { way: 2, evicted: true }));
    assert_eq!(claim(&slots, NOW, true), Some(Claim { way: 3, evicted: true }));
    assert_eq!(claim(&slots, NOW, true), None, "the claims hold");
    assert_eq!(claim(&slots, NOW + CLAIM_TICKS - 1, true), None);
    assert_eq!(claim(&slots, NOW + CLAIM_TICKS, true), Some(Claim { way: 1, evicted: false }), "and run out");
}

/// Loses every race: the word is never what it was.
struct Contended;

impl SlotWords for Contended {
    fn load(&self, _: usize) -> u64 {
        0
    }

    fn compare_exchange(&self, _: usize, _: u64, _: u64) -> bool {
        false
    }
}

#[test]
fn a_lost_race_gives_nothing() {
    assert_eq!(claim(&Contended, NOW, true), None);
}

#[rstest]
#[case::well_before(1_000, 1_500, true)]
#[case::one_tick_before(1_000, 1_001, true)]
#[case::at_its_end(1_000, 1_000, false)]
#[case::after_its_end(1_000, 999, false)]
#[case::the_clock_wraps_before_its_end(u32::MAX - 5, 10, true)]
#[case::the_clock_has_wrapped_since_its_end(3, u32::MAX - 10, false)]
#[case::at_the_wrap(0, 0, false)]
#[case::five_days_over_the_wrap(u32::MAX, 1_609_324, true)]
fn a_connection_lives_until_it_expires(#[case] now: u32, #[case] expires: u32, #[case] lives: bool) {
    for phase in [Phase::SynSent, Phase::Established, Phase::Open] {
        assert_eq!(Slot::new(1, State::new(phase), expires).is_live(now), lives, "{phase:?}");
    }
    for phase in [Phase::Free, Phase::Claimed] {
        assert!(!Slot::new(1, State::new(phase), expires).is_live(now), "{phase:?}");
    }
}

/// Several threads take places of one bucket, write them and give them back: no two are ever in the same place.
#[rstest]
fn no_place_is_claimed_twice(#[values(2, 4)] threads: usize, #[values(false, true)] may_evict: bool) {
    const ROUNDS: usize = 20_000;
    let slots = Words::default();
    let owners: [AtomicUsize; WAYS] = Default::default();
    let start = Barrier::new(threads);
    let work = |me: usize| {
        start.wait();
        let mut claims = 0;
        for round in 0..ROUNDS {
            let Some(Claim { way, .. }) = claim(&slots, NOW, may_evict) else { continue };
            assert_eq!(owners[way].swap(me, Ordering::SeqCst), 0, "way {way} has an owner");
            assert_eq!(slots.slot(way).state().phase(), Phase::Claimed as u8);
            owners[way].store(0, Ordering::SeqCst);
            // Given back, or left alive and embryonic: then only evictions find room.
            let left = if may_evict || round % 2 == 0 { word("syn sent", 1 + (round % 50) as i32) } else { 0 };
            let left = if may_evict { left } else { 0 };
            slots.0[way].store(left, Ordering::SeqCst);
            claims += 1;
        }
        claims
    };
    let claims: usize = thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (1..=threads).map(|me| scope.spawn(move || work(me))).collect();
        handles.into_iter().map(|handle| handle.join().expect("no two owners")).sum()
    });
    assert!(claims >= ROUNDS, "somebody gets a place in most rounds: {claims}");
}

/// Places that are not given back: there are seven, whoever asks and however often.
#[test]
fn a_bucket_holds_seven() {
    for _ in 0..200 {
        let slots = Words::default();
        let start = Barrier::new(4);
        let fill = || {
            start.wait();
            (0..20).filter_map(|_| claim(&slots, NOW, true)).inspect(|claim| assert!(!claim.evicted)).count()
        };
        let claims: usize = thread::scope(|scope| {
            let handles: Vec<_> = (0..4).map(|_| scope.spawn(fill)).collect();
            handles.into_iter().map(|handle| handle.join().expect("no eviction")).sum()
        });
        assert_eq!(claims, WAYS);
    }
}

#[test]
fn a_table_of_one_bucket_has_no_alternate() {
    for hash in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
        assert_eq!((home(hash, 0), alternate(hash, 0)), (0, 0));
    }
}

#[cfg(feature = "user")]
#[test]
fn an_entry_is_read_from_its_words() {
    use super::Entry;
    use crate::flow::FlowKey;
    let words = std::array::from_fn(|index| (index as u64 + 0x100) << 32 | (index as u64 + 1));
    let entry = Entry::from_words(words);
    let expected = Entry {
        key: FlowKey { low: [words[0], words[1]], high: [words[2], words[3]], tail: words[4] },
        created: 6,
        originator_is_high: 0x105,
        packets: [words[6], words[7]],
        bytes: [words[8], words[9]],
        rule: 11,
        generation: 0x10a,
        mark: 12,
        ifindex: 0x10b,
        reserved: [words[12], words[13], words[14], words[15]],
    };
    assert_eq!(entry, expected);
}

proptest! {
    #[test]
    fn a_slot_word_holds_its_parts(tag in 0_u32..1 << 24, state in any::<u8>(), expires in any::<u32>()) {
        let slot = Slot::new(tag, State(state), expires);
        prop_assert_eq!((slot.tag(), slot.state(), slot.expires()), (tag, State(state), expires));
        prop_assert_eq!(Slot(slot.0), slot);
    }

    #[test]
    fn home_and_alternate_are_different_buckets(hash in any::<u64>(), bits in 1_u32..32) {
        let mask = (1 << bits) - 1;
        let (home, alternate) = (home(hash, mask), alternate(hash, mask));
        prop_assert!(home <= mask && alternate <= mask);
        prop_assert_ne!(home, alternate);
    }

    #[test]
    fn a_tag_fits_its_slot(hash in any::<u64>()) {
        prop_assert_eq!(Slot::new(tag(hash), State(0), 0).tag(), tag(hash));
    }

    #[test]
    fn a_claim_never_puts_out_what_must_stay(
        words in prop::array::uniform7((prop::sample::select(KINDS.to_vec()), -100_i32..2_000_000)),
    ) {
        let words = words.map(|(kind, left)| word(kind, left));
        let slots = Words::of(words);
        let places = || words.iter().map(|word| Slot(*word));
        let room = places().any(|slot| !slot.is_live(NOW) && !is_held(slot));
        let takeable = places().any(|slot| slot.is_live(NOW) && slot.state().is_embryonic());
        for may_evict in [false, true] {
            let claimed = claim(&slots, NOW, may_evict);
            prop_assert_eq!(claimed.is_some(), room || may_evict && takeable);
            if let Some(Claim { way, evicted }) = claimed {
                let slot = Slot(words[way]);
                prop_assert!(!is_held(slot));
                prop_assert!(!slot.is_live(NOW) || slot.state().is_embryonic());
                prop_assert_eq!(evicted, slot.is_live(NOW));
                prop_assert_eq!(evicted, !room);
                slots.0[way].store(words[way], Ordering::SeqCst);
            }
        }
    }
}
