//! Slot words, liveness and claims; claims also with several threads at once.

use std::{
    cell::Cell,
    sync::{
        Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use rstest::rstest;

use super::{CLAIM_TICKS, Claim, Slot, SlotWords, Victim, WAYS, alternate, home, preferred, tag};
use crate::conntrack::{Phase, State};

/// A bucket's slot words, as all CPUs share them.
#[derive(Debug, Default)]
struct Words([AtomicU64; WAYS]);

impl Words {
    fn of(words: [u64; WAYS]) -> Self {
        Self(words.map(AtomicU64::new))
    }

    fn slot(&self, way: usize) -> Slot {
        Slot(self.0[way].load(Ordering::Relaxed))
    }

    fn words(&self) -> [u64; WAYS] {
        std::array::from_fn(|way| self.slot(way).0)
    }
}

/// A bucket as one CPU sees it.
#[derive(Debug)]
struct View<'words> {
    words: &'words Words,
    noted: Cell<u64>,
}

impl SlotWords for View<'_> {
    fn load(&self, way: usize) -> u64 {
        self.words.slot(way).0
    }

    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        self.words.0[way].compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn note(&self, value: u64) {
        self.noted.set(value);
    }

    fn noted(&self) -> u64 {
        self.noted.get()
    }
}

/// Claims a place as one CPU does.
fn claim(home: &Words, alternate: &Words, now: u32) -> Option<Claim> {
    let view = |words| View { words, noted: Cell::new(0) };
    super::claim(&view(home), &view(alternate), LAST, (now, false))
}

const NOW: u32 = 1_000;
/// The place that is preferred: the one at which a survey looks last.
const LAST: usize = WAYS - 1;

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
        "last ack" => State::new(Phase::LastAck).replied().assured(),
        "time wait" => State::new(Phase::TimeWait).replied().assured(),
        "claimed" => State::new(Phase::Claimed).replied().assured(),
        other => panic!("no such slot: {other}"),
    };
    Slot::new(0x12_3456, state, NOW.wrapping_add_signed(left)).0
}

/// Everything that [`word`] knows.
const KINDS: [&str; 11] = [
    "free",
    "syn sent",
    "syn recv",
    "unreplied",
    "replied",
    "stream",
    "established",
    "one-sided",
    "last ack",
    "time wait",
    "claimed",
];

/// Can this place be taken without putting anybody out?
fn is_room(slot: Slot) -> bool {
    let ended = slot.expires().wrapping_sub(NOW) as i32 <= 0;
    ended || slot.state().phase() == Phase::Free as u8
}

/// May this connection be put out: is it embryonic, is it over?
fn is_embryonic(slot: Slot) -> bool {
    slot.is_live(NOW) && slot.state().is_embryonic()
}

fn is_over(slot: Slot) -> bool {
    slot.is_live(NOW) && slot.state().has_ended()
}

/// One of these questions.
type MayGo = fn(Slot) -> bool;

fn any_words() -> impl Strategy<Value = [u64; WAYS]> {
    // Mostly full: what is taken when there is no room is the question.
    let left = prop_oneof![20 => 1_i32..2_000_000, 1 => -100_i32..1];
    let kinds = prop::sample::select(KINDS.to_vec()).prop_filter("rarely free", |kind| *kind != "free");
    let kinds = prop_oneof![3 => Just("established"), 3 => kinds, 1 => Just("free")];
    prop::array::uniform7((kinds, left).prop_map(|(kind, left)| word(kind, left)))
}

/// A bucket full of established connections but for the words given, which stand from way 1 on.
fn bucket(words: &[(&str, i32)]) -> Words {
    let mut all = [word("established", 100_000); WAYS];
    for (way, (kind, left)) in words.iter().enumerate() {
        all[way + 1] = word(kind, *left);
    }
    Words::of(all)
}

/// What is not said of a bucket is full of established connections. The place taken: which bucket, which way, and
/// whether a connection had to go.
#[rstest]
#[case::free_at_home(&[("free", 0)], &[("free", 0)], Some(("home", 1, false)))]
#[case::expired_is_as_good(&[("established", 0)], &[("free", 0)], Some(("home", 1, false)))]
#[case::long_expired(&[("syn sent", -5_000)], &[], Some(("home", 1, false)))]
#[case::a_claim_that_nobody_finished(&[("claimed", 0)], &[], Some(("home", 1, false)))]
#[case::the_first_of_free_and_expired(&[("stream", -1), ("free", 0)], &[], Some(("home", 1, false)))]
#[case::free_before_embryonic(&[("syn sent", 1), ("free", 0)], &[], Some(("home", 2, false)))]
#[case::expired_before_embryonic(&[("unreplied", 1), ("stream", -1)], &[], Some(("home", 2, false)))]
#[case::free_elsewhere_before_embryonic(&[("syn sent", 1)], &[("syn sent", 1), ("free", 0)], Some(("alternate", 2, false)))]
#[case::home_is_full(&[], &[("stream", -1)], Some(("alternate", 1, false)))]
#[case::the_embryonic_one_nearest_its_end(
    &[("syn sent", 400), ("unreplied", 30), ("syn recv", 200)],
    &[("syn sent", 1)],
    Some(("home", 2, true)),
)]
#[case::an_embryonic_one_elsewhere(&[], &[("syn sent", 2), ("unreplied", 1)], Some(("alternate", 2, true)))]
#[case::picked_up_and_unanswered(&[("one-sided", 1_000_000)], &[], Some(("home", 1, true)))]
#[case::established_is_never_taken(&[("established", 1)], &[("established", 1)], None)]
#[case::nor_what_was_answered(&[("replied", 1)], &[("stream", 1)], None)]
#[case::nor_what_is_being_closed(&[("last ack", 1)], &[], None)]
#[case::nor_what_is_being_written(&[("claimed", 1)], &[("claimed", 1)], None)]
fn a_claim(
    #[case] home: &[(&str, i32)],
    #[case] alternate: &[(&str, i32)],
    #[case] expected: Option<(&str, usize, bool)>,
) {
    let (home, alternate) = (bucket(home), bucket(alternate));
    let before = [home.words(), alternate.words()];
    let claimed = claim(&home, &alternate, NOW);
    let expected = expected.map(|(bucket, way, put_out)| Claim {
        elsewhere: bucket == "alternate",
        way,
        victim: if put_out { Victim::Embryonic } else { Victim::Nobody },
        word: Slot(0),
    });
    assert_eq!(who(claimed), expected);
    for (elsewhere, words) in [(false, &home), (true, &alternate)] {
        for (way, before) in before[usize::from(elsewhere)].into_iter().enumerate() {
            if claimed.is_some_and(|claim| claim.way == way && claim.elsewhere == elsewhere) {
                assert_eq!(words.slot(way).state().phase(), Phase::Claimed as u8);
                assert!(!words.slot(way).is_live(NOW), "readers pass over it");
            } else {
                assert_eq!(words.slot(way).0, before, "way {way} is untouched");
            }
        }
    }
}

/// A claim but for the word that its place had.
fn who(claimed: Option<Claim>) -> Option<Claim> {
    claimed.map(|claim| Claim { word: Slot(0), ..claim })
}

/// The preferred place is taken when it is free, whatever else is; when it is not, it is like any other.
#[rstest]
#[case::free(3, Some(("home", 3, Victim::Nobody)))]
#[case::not_free(2, Some(("home", 1, Victim::Nobody)))]
fn a_claim_of_the_preferred_place(#[case] preferred: usize, #[case] expected: Option<(&str, usize, Victim)>) {
    let view = |words| View { words, noted: Cell::new(0) };
    let (home, alternate) = (bucket(&[("free", 0), ("syn sent", 1), ("stream", -1)]), bucket(&[("free", 0)]));
    let claimed = super::claim(&view(&home), &view(&alternate), preferred, (NOW, false));
    let expected =
        expected.map(|(bucket, way, victim)| Claim { elsewhere: bucket == "alternate", way, victim, word: Slot(0) });
    assert_eq!(who(claimed), expected);
}

/// What is over makes room when nothing embryonic is there, whatever the settings say.
#[rstest]
#[case::at_home(&[("replied", 1), ("time wait", 9)], &[], Some(("home", 2, Victim::Answered)))]
#[case::elsewhere(&[("last ack", 1)], &[("time wait", 9)], Some(("alternate", 1, Victim::Answered)))]
#[case::the_one_nearest_its_end(&[("time wait", 9), ("time wait", 5)], &[("time wait", 7)], Some(("home", 2, Victim::Answered)))]
#[case::embryonic_first(&[("time wait", 1)], &[("syn sent", 99)], Some(("alternate", 1, Victim::Embryonic)))]
#[case::free_first(&[("time wait", 1)], &[("free", 0)], Some(("alternate", 1, Victim::Nobody)))]
fn a_claim_of_what_is_over(
    #[case] home: &[(&str, i32)],
    #[case] alternate: &[(&str, i32)],
    #[case] expected: Option<(&str, usize, Victim)>,
) {
    check_claim(home, alternate, false, expected);
}

/// With `evict-lru`, when nothing embryonic is there.
#[rstest]
#[case::what_was_answered(&[("replied", 9)], &[], Some(("home", 1, Victim::Answered)))]
#[case::what_is_closed(&[("last ack", 9)], &[], Some(("home", 1, Victim::Answered)))]
#[case::the_one_nearest_its_end(&[("time wait", 9), ("replied", 5)], &[("replied", 7)], Some(("home", 2, Victim::Answered)))]
#[case::or_the_one_elsewhere(&[("last ack", 9)], &[("replied", 7)], Some(("alternate", 1, Victim::Answered)))]
#[case::embryonic_first(&[("replied", 1)], &[("syn sent", 99)], Some(("alternate", 1, Victim::Embryonic)))]
#[case::free_first(&[("replied", 1)], &[("free", 0)], Some(("alternate", 1, Victim::Nobody)))]
#[case::never_what_is_assured(&[("established", 1)], &[("stream", 1)], None)]
#[case::nor_what_is_being_written(&[("claimed", 1)], &[], None)]
fn a_claim_that_may_evict(
    #[case] home: &[(&str, i32)],
    #[case] alternate: &[(&str, i32)],
    #[case] expected: Option<(&str, usize, Victim)>,
) {
    check_claim(home, alternate, true, expected);
}

#[track_caller]
fn check_claim(home: &[(&str, i32)], alternate: &[(&str, i32)], evict: bool, expected: Option<(&str, usize, Victim)>) {
    let view = |words| View { words, noted: Cell::new(0) };
    let (home, alternate) = (bucket(home), bucket(alternate));
    let claimed = super::claim(&view(&home), &view(&alternate), LAST, (NOW, evict));
    let expected =
        expected.map(|(bucket, way, victim)| Claim { elsewhere: bucket == "alternate", way, victim, word: Slot(0) });
    assert_eq!(who(claimed), expected);
}

#[test]
fn a_claim_holds_for_some_ticks() {
    let (home, alternate) = (bucket(&[("syn sent", 100), ("unreplied", 200)]), bucket(&[]));
    let at_home = |way, victim| Some(Claim { elsewhere: false, way, victim, word: Slot(0) });
    assert_eq!(who(claim(&home, &alternate, NOW)), at_home(1, Victim::Embryonic));
    assert_eq!(who(claim(&home, &alternate, NOW)), at_home(2, Victim::Embryonic));
    assert_eq!(claim(&home, &alternate, NOW), None);
    assert_eq!(claim(&home, &alternate, NOW + CLAIM_TICKS - 1), None);
    assert_eq!(who(claim(&home, &alternate, NOW + CLAIM_TICKS)), at_home(1, Victim::Nobody));
}

/// Another CPU is always faster.
struct Contended(Cell<u64>);

impl SlotWords for Contended {
    fn load(&self, _: usize) -> u64 {
        0
    }

    fn compare_exchange(&self, _: usize, _: u64, _: u64) -> bool {
        false
    }

    fn note(&self, value: u64) {
        self.0.set(value);
    }

    fn noted(&self) -> u64 {
        self.0.get()
    }
}

#[test]
fn a_lost_race_gives_nothing() {
    let contended = Contended(Cell::new(0));
    assert_eq!(super::claim(&contended, &contended, LAST, (NOW, false)), None);
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

/// Several threads take places of the same two buckets, write to them and give them back, or leave them to be put out:
/// no two are ever in the same place.
#[rstest]
fn no_place_is_claimed_twice(#[values(2, 4)] threads: usize, #[values(false, true)] leave: bool) {
    const ROUNDS: usize = 20_000;
    let buckets = [Words::default(), Words::default()];
    let owners: [[AtomicUsize; WAYS]; 2] = Default::default();
    let start = Barrier::new(threads);
    let work = |me: usize| {
        start.wait();
        let mut claims = 0;
        for round in 0..ROUNDS {
            let (home, other) = (me % 2, 1 - me % 2);
            let Some(Claim { elsewhere, way, .. }) = claim(&buckets[home], &buckets[other], NOW) else { continue };
            let bucket = if elsewhere { other } else { home };
            assert_eq!(owners[bucket][way].swap(me, Ordering::SeqCst), 0, "way {way} has an owner");
            assert_eq!(buckets[bucket].slot(way).state().phase(), Phase::Claimed as u8);
            owners[bucket][way].store(0, Ordering::SeqCst);
            let left = if leave { word("syn sent", 1 + (round % 50) as i32) } else { word("free", 0) };
            buckets[bucket].0[way].store(left, Ordering::SeqCst);
            claims += 1;
        }
        claims
    };
    let claims: usize = thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (1..=threads).map(|me| scope.spawn(move || work(me))).collect();
        handles.into_iter().map(|handle| handle.join().expect("no two owners")).sum()
    });
    assert!(claims >= ROUNDS / 2, "somebody gets a place in most rounds: {claims}");
}

/// Places that are not given back: there are seven in each of two buckets, whoever asks and however often.
#[test]
fn two_buckets_hold_fourteen() {
    for _ in 0..200 {
        let (home, alternate) = (Words::default(), Words::default());
        let start = Barrier::new(4);
        let fill = || {
            start.wait();
            let claims = (0..40).filter_map(|_| claim(&home, &alternate, NOW));
            claims.inspect(|claim| assert_eq!(claim.victim, Victim::Nobody)).count()
        };
        let claims: usize = thread::scope(|scope| {
            let handles: Vec<_> = (0..4).map(|_| scope.spawn(fill)).collect();
            handles.into_iter().map(|handle| handle.join().expect("no eviction")).sum()
        });
        assert_eq!(claims, 2 * WAYS);
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
    use crate::{
        conntrack::{Terms, Window},
        flow::FlowKey,
    };
    let words = std::array::from_fn(|index| (index as u64 + 0x100) << 32 | (index as u64 + 1));
    let entry = Entry::from_words(words);
    let expected = Entry {
        key: FlowKey { low: [words[0], words[1]], high: [words[2], words[3]], tail: words[4] },
        created: 6,
        originator_is_high: 0x105,
        terms: [Terms(0), Terms(0)],
        packets: [words[6], words[7]],
        bytes: [words[8], words[9]],
        rule: 11,
        generation: 0x10a,
        mark: 12,
        ifindex: 0x10b,
        windows: [
            Window { end: 13, max_end: 0x10c, max_ack: 14, max_win: 0x10d },
            Window { end: 15, max_end: 0x10e, max_ack: 16, max_win: 0x10f },
        ],
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
    fn a_preferred_place_is_one(hash in any::<u64>()) {
        prop_assert!(preferred(hash) < WAYS);
    }

    #[test]
    fn a_tag_fits_its_slot(hash in any::<u64>()) {
        prop_assert_eq!(Slot::new(tag(hash), State(0), 0).tag(), tag(hash));
    }

    #[test]
    fn a_claim_puts_out_only_what_may_go(home in any_words(), alternate in any_words()) {
        let buckets = [Words::of(home), Words::of(alternate)];
        let any = |may_go: MayGo| [home, alternate].concat().iter().any(|word| may_go(Slot(*word)));
        let at_home = |may_go: MayGo| home.iter().any(|word| may_go(Slot(*word)));
        let kinds: [(Victim, MayGo); 3] =
            [(Victim::Nobody, is_room), (Victim::Embryonic, is_embryonic), (Victim::Answered, is_over)];
        let expected = kinds.into_iter().find(|(_, may_go)| any(*may_go));
        let claimed = claim(&buckets[0], &buckets[1], NOW);
        prop_assert_eq!(claimed.map(|claim| claim.victim), expected.map(|(victim, _)| victim));
        if let (Some(Claim { elsewhere, way, victim: _, word: _ }), Some((_, may_go))) = (claimed, expected) {
            let taken = Slot(if elsewhere { alternate[way] } else { home[way] });
            prop_assert!(may_go(taken));
            // Of those that are over, the one nearest its end.
            prop_assert!(!elsewhere || !at_home(may_go) || claimed.is_some_and(|claim| claim.victim == Victim::Answered));
        }
    }
}

#[cfg(feature = "user")]
#[test]
fn an_entry_is_what_its_words_say() {
    let words: [u64; 16] = core::array::from_fn(|at| 0x0123_4567_89ab_cdef_u64.rotate_left(at as u32 * 4));
    assert_eq!(super::Entry::from_words(words).to_words(), words);
}
