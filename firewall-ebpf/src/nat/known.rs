//! Known connections whose addresses are translated.

use firewall_common::{
    packet::Field,
    table::{Bucket, Entry, Slot},
};

use super::{CLASH, ERROR, KNOWN, REPLY};
use crate::{
    bucket, maps,
    verifier::{self, forget},
    work::Work,
};

/// An entry, and its slot word.
pub(super) fn place_of(bucket: u32, place: u32) -> Option<(*mut Bucket, &'static mut Entry, u64)> {
    let bucket = maps::bucket(bucket)?;
    // SAFETY: a place of the bucket; see the head of `conntrack.rs` for what another CPU can do to it meanwhile.
    unsafe {
        let word = bucket::slot_word(bucket, place).read_volatile();
        Some((bucket, &mut *bucket::entry(bucket, place), word))
    }
}

/// The connection that was found by one of its keys, as its first entry has it; sets [`Work::nat`].
///
/// How: [`JUDGED`] and [`QUOTED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_resolve(path: u32, how: u32) -> u32 {
    verifier::frame();
    if let Some(work) = maps::work_of(path) {
        work.nat = 0;
        work.nat_flags = 0;
        work.nat_ports = 0;
        // The error goes against the packet that it quotes.
        let against = u32::from(how & QUOTED != 0);
        work.source_is_high ^= against;
        if work.place != 0 && !resolve(work, how & JUDGED != 0) {
            work.place = 0;
        }
        work.source_is_high ^= against;
        if against != 0 {
            work.nat = if forget(&work.place) == 0 { 0 } else { forget(&work.nat) | ERROR };
        }
    }
    0
}

/// [`nat_resolve`]: the packet is on its way in, or was made here. One that was judged already and leaves now is found by keys
/// that nothing else may be found by.
pub const JUDGED: u32 = 1;
/// How a packet is taken that is judged now. What comes in by loopback was judged when it left, as it left.
#[inline(always)]
pub fn how_judged(work: &Work) -> u32 {
    if work.packet.get(Field::IifIndex) == super::local::LOOPBACK { 0 } else { JUDGED }
}

/// [`nat_resolve`]: it is an ICMP error, and what was found is the connection of the packet that it quotes. One that comes in is
/// about packets that left this host, as they left it.
pub const QUOTED: u32 = 2;

/// `false` when it is no connection, or not that of this packet.
#[inline(always)]
fn resolve(work: &mut Work, judged: bool) -> bool {
    let Some((bucket, found, word)) = place_of(forget(&work.bucket), forget(&work.place)) else { return false };
    if !found.is_alias() {
        return resolve_first(work, judged, found);
    }
    let is_reply = work.source_is_high != u32::from(found.is_from_high());
    let (first_bucket, first_place) = found.partner();
    work.first_bucket = first_bucket;
    work.first_place = first_place;
    let Some((_, first, first_word)) = place_of(forget(&work.first_bucket), forget(&work.first_place)) else {
        return false;
    };
    if !stands(work, found, first, first_word) {
        // The first entry has ended: so does its alias.
        let place = forget(&work.place);
        // SAFETY: an aligned word of a map value.
        let _ = unsafe { verifier::compare_exchange(bucket::slot_word(bucket, place), word, 0) };
        return false;
    }
    keep(bucket, forget(&work.place), word, first_word);
    let is_answers = found.generation == 0;
    work.bucket = first_bucket;
    work.place = first_place;
    work.slot = first_word;
    work.key = first.key;
    work.hash = u64::from(Slot(first_word).tag()) << 40;
    work.source_is_high = u32::from(first.is_from_high() != is_reply);
    work.nat = KNOWN | if is_reply { REPLY } else { 0 };
    if !ends(work, first) {
        work.nat = 0;
        return false;
    }
    if judged && !(is_answers && is_reply) {
        work.nat = CLASH;
        return false;
    }
    true
}

/// Does an alias that was found belong to a connection that goes on? `first` is where it points to.
#[inline(always)]
fn stands(work: &Work, alias: &Entry, first: &Entry, first_word: u64) -> bool {
    alias.partner().1 != 0 && alias.is_alias_of(&first.key) && !first.is_alias() && Slot(first_word).is_live(work.tick)
}

/// Is what was found an alias that has outlived its connection? `entered`: the new one's first entry is in its place already.
#[inline(never)]
pub(super) fn is_left_over(work: &Work, entered: bool) -> bool {
    verifier::frame();
    let Some((_, found, _)) = place_of(forget(&work.bucket), forget(&work.place)) else { return false };
    if !found.is_alias() {
        return false;
    }
    let (bucket, place) = found.partner();
    // An alias of the very connection that begins is that of an earlier one with the same ends, even if the new one has its place.
    let is_same = found.is_alias_of(&work.first_key);
    if is_same && entered && place == forget(&work.first_place) && bucket == forget(&work.first_bucket) {
        return true;
    }
    // Of others one that is young may be waiting for its connection: it is entered first.
    (is_same || work.tick.wrapping_sub(found.created) > 1)
        && place_of(bucket, place).is_some_and(|(_, first, first_word)| !stands(work, found, first, first_word))
}

#[inline(always)]
fn resolve_first(work: &mut Work, judged: bool, first: &Entry) -> bool {
    if first.partner().1 == 0 {
        return true;
    }
    let is_reply = work.source_is_high != u32::from(first.is_from_high());
    work.nat = KNOWN | if is_reply { REPLY } else { 0 };
    if !ends(work, first) {
        work.nat = 0;
        return false;
    }
    if judged && is_reply {
        work.nat = CLASH;
        return false;
    }
    true
}

/// Reads both ends as they are on either side of the translation. The alias of the answers must be there: it has them.
#[inline(always)]
fn ends(work: &mut Work, first: &Entry) -> bool {
    let (bucket, place) = first.partner();
    work.alias_bucket = bucket;
    work.alias_place = place;
    let Some((bucket, alias, word)) = place_of(forget(&work.alias_bucket), forget(&work.alias_place)) else {
        return false;
    };
    if !alias.is_alias_of(&first.key) || !Slot(word).is_live(work.tick) {
        return false;
    }
    keep(bucket, forget(&work.alias_place), word, work.slot);
    work.original.read_key(&first.key, first.is_from_high());
    work.translated.read_key(&alias.key, alias.is_from_high());
    true
}

/// An alias lives as long as the first entry, and is worth as much.
#[inline(always)]
fn keep(bucket: *mut Bucket, place: u32, word: u64, first: u64) {
    const TAG: u64 = 0xff_ffff << 40;
    let wanted = word & TAG | first & !TAG;
    if wanted != word {
        // SAFETY: an aligned word of a map value.
        let _ = unsafe { verifier::compare_exchange(bucket::slot_word(bucket, place), word, wanted) };
    }
}
