//! The state table: a set-associative array, found by hash, its places claimed by compare-and-swap.
//!
//! A bucket is 1 KiB: a line of eight slot words, a line of asides, and seven entries of 128 bytes. What decides about
//! an entry (whose it is, in which state, until when) is its 64-bit **slot word**: tag, state and expiry change
//! together in one atomic step, so an entry can be recycled under a reader's eyes and the reader notices. An entry
//! needs no collector: whoever looks for room takes a free place, an expired one, or an embryonic one, in this order.
//!
//! Two buckets are looked at: the home bucket of the hash and, once the home bucket has overflowed, its alternate.

use crate::{
    conntrack::{Aside, Phase, State, Terms, Window},
    flow::FlowKey,
};

/// Entries in a bucket.
pub const WAYS: usize = 7;

/// A connection. 128 bytes, the first of its two cache lines holding what a packet of an established flow reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// Which connection.
    pub key: FlowKey,
    /// When it began, ticks.
    pub created: u32,
    /// 1 if the packet that began it came from the higher end of the key, else 0.
    pub originator_is_high: u16,
    /// TCP: what each direction was opened with, original and reply.
    pub terms: [Terms; 2],
    /// Packets, by direction: original, reply. Added to without atomics: two CPUs counting one direction of one flow
    /// at the same instant may lose one of the two.
    pub packets: [u64; 2],
    /// Bytes from the network header on, by direction.
    pub bytes: [u64; 2],
    /// The rule that let it in.
    pub rule: u32,
    /// The generation that rule belongs to.
    pub generation: u32,
    /// Connection mark.
    pub mark: u32,
    /// Interface the first packet came in by, 0 if it was made here.
    pub ifindex: u32,
    /// TCP: the window of each direction, original and reply. Written without atomics, see the head of
    /// `firewall-ebpf/src/conntrack.rs`.
    pub windows: [Window; 2],
}

crate::shared!(Entry = 128);

impl Entry {
    /// An entry from its bytes, as they lie in the map on a little-endian machine.
    #[cfg(feature = "user")]
    pub fn from_words(words: [u64; 16]) -> Self {
        let [low0, low1, high0, high1, tail, began, packets0, packets1, bytes0, bytes1, rule, mark, windows @ ..] =
            words;
        let halves = |word: u64| (word as u32, (word >> 32) as u32);
        let (created, begun) = halves(began);
        let window = |[first, second]: [u64; 2]| {
            let ((end, max_end), (max_ack, max_win)) = (halves(first), halves(second));
            Window { end, max_end, max_ack, max_win }
        };
        let [original0, original1, reply0, reply1] = windows;
        let (rule, generation) = halves(rule);
        let (mark, ifindex) = halves(mark);
        Self {
            key: FlowKey { low: [low0, low1], high: [high0, high1], tail },
            created,
            originator_is_high: begun as u16,
            terms: [Terms((begun >> 16) as u8), Terms((begun >> 24) as u8)],
            packets: [packets0, packets1],
            bytes: [bytes0, bytes1],
            rule,
            generation,
            mark,
            ifindex,
            windows: [window([original0, original1]), window([reply0, reply1])],
        }
    }

    /// The entry as it lies in the map on a little-endian machine: what [`Entry::from_words`] reads.
    #[cfg(feature = "user")]
    pub fn to_words(&self) -> [u64; 16] {
        let Self {
            key,
            created,
            originator_is_high,
            terms,
            packets,
            bytes,
            rule,
            generation,
            mark,
            ifindex,
            windows: [original, reply],
        } = *self;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let begun = u32::from(originator_is_high) | u32::from(terms[0].0) << 16 | u32::from(terms[1].0) << 24;
        let window = |window: Window| [pair(window.end, window.max_end), pair(window.max_ack, window.max_win)];
        let ([original0, original1], [reply0, reply1]) = (window(original), window(reply));
        [
            key.low[0],
            key.low[1],
            key.high[0],
            key.high[1],
            key.tail,
            pair(created, begun),
            packets[0],
            packets[1],
            bytes[0],
            bytes[1],
            pair(rule, generation),
            pair(mark, ifindex),
            original0,
            original1,
            reply0,
            reply1,
        ]
    }
}

/// A bucket as it lies in the map.
#[derive(Debug)]
#[repr(C)]
pub struct Bucket {
    /// Slot words of the entries; the last one holds [`OVERFLOWED`].
    pub slots: [u64; WAYS + 1],
    /// What is noted of the entries' connections beside them, see [`Terms::NOTED`]; the last one is not used.
    pub asides: [Aside; WAYS + 1],
    /// The entries.
    pub entries: [Entry; WAYS],
}

/// Size of a bucket, bytes.
pub const BUCKET: usize = 1024;
const _: () = assert!(core::mem::size_of::<Bucket>() == BUCKET, "layout changed: move ABI_VERSION");

/// In the last word of a bucket's first line: some flow whose home this is lives in its alternate bucket.
pub const OVERFLOWED: u64 = 1;

/// A slot word: `tag << 40 | state << 32 | expires`. The tag is 24 bits of the key's hash; expiry is in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u64);

impl Slot {
    /// The word of an entry.
    #[inline(always)]
    pub const fn new(tag: u32, state: State, expires: u32) -> Self {
        Self((tag as u64) << 40 | (state.0 as u64) << 32 | expires as u64)
    }

    /// Hash bits of the key.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        (self.0 >> 40) as u32
    }

    /// State of the connection.
    #[inline(always)]
    pub const fn state(self) -> State {
        State((self.0 >> 32) as u8)
    }

    /// The tick it expires at.
    #[inline(always)]
    pub const fn expires(self) -> u32 {
        self.0 as u32
    }

    /// Is there a live connection in this place? Ticks wrap after 36 years, hence the signed difference.
    #[inline(always)]
    pub const fn is_live(self, now: u32) -> bool {
        self.is_used() && !self.is_expired(now)
    }

    /// Does the connection in this place count as one (`already_closed`, `net/netfilter/nf_conncount.c`)?
    #[inline(always)]
    pub const fn is_counted(self, now: u32) -> bool {
        let phase = self.state().phase();
        self.is_live(now) && phase != Phase::TimeWait as u8 && phase != Phase::Close as u8
    }

    #[inline(always)]
    const fn is_used(self) -> bool {
        let phase = self.state().phase();
        phase != Phase::Free as u8 && phase != Phase::Claimed as u8
    }

    #[inline(always)]
    const fn is_expired(self, now: u32) -> bool {
        self.expires().wrapping_sub(now) as i32 <= 0
    }
}

/// The tag of a hash: its upper 24 bits; the bucket number is taken from the lower ones.
#[inline(always)]
pub const fn tag(hash: u64) -> u32 {
    (hash >> 40) as u32
}

/// The home bucket of a hash, in a table of `mask + 1` buckets.
#[inline(always)]
pub const fn home(hash: u64, mask: u32) -> u32 {
    hash as u32 & mask
}

/// Where flows go whose home bucket is full: another bucket, given by other bits of the hash.
#[inline(always)]
pub const fn alternate(hash: u64, mask: u32) -> u32 {
    (hash as u32 ^ ((hash >> 17) as u32 | 1)) & mask
}

/// The place that a flow takes when it is free in its bucket, by yet other bits of the hash: who looks for the flow looks
/// there first, and the processor can fetch the entry before it has seen the slot words.
#[inline(always)]
pub const fn preferred(hash: u64) -> usize {
    ((hash >> 32) as u8 as usize * WAYS) >> 8
}

/// How much a place is worth keeping: the lower, the sooner it is given to somebody else.
///
/// 0: free or expired. 1 to 2^31: embryonic, by the time it has left, so that the one closest to its end goes first.
/// From [`ANSWERED`] on, likewise: answered, and to be taken when nothing less is there: one that has ended, or, if `evict` is
/// set, one that ends early. [`KEEP`]: not to be taken.
#[inline(always)]
fn worth(slot: Slot, now: u32, evict: bool) -> u64 {
    let (state, left) = (slot.state(), slot.expires().wrapping_sub(now) as u64);
    if slot.is_expired(now) {
        0
    } else if state.is_embryonic() {
        left
    } else if state.has_ended() || evict && state.ends_early() {
        ANSWERED + left
    } else {
        KEEP
    }
}

/// The worth of the first place that is not embryonic.
const ANSWERED: u64 = 1 << 32;
/// The worth of a place that is not to be taken.
const KEEP: u64 = 1 << 40;

/// The slot words of a bucket that other CPUs use at the same time.
///
/// A trait, because the BPF target of rustc has no compare-and-swap on its atomic types (the instruction exists since
/// BPF v3, Linux 5.12): the eBPF crate brings its own, the host has the standard library's.
pub trait SlotWords {
    /// The word of place `way`, relaxed.
    fn load(&self, way: usize) -> u64;
    /// Replaces the word of place `way` by `new` if it is still `old`, as a full barrier; says whether it was.
    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool;

    /// Remembers a number for [`Self::noted`].
    fn note(&self, value: u64);

    /// The number that was noted last.
    ///
    /// In the kernel it is kept in a map value, of which the verifier knows nothing: with the best place so far in a
    /// register it would follow every order that seven places can be in.
    fn noted(&self) -> u64;
}

/// A place that was claimed: nobody else writes to it until its slot word is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// It is in the alternate bucket, not at home.
    pub elsewhere: bool,
    /// Which of the [`WAYS`] places.
    pub way: usize,
    /// Whom it was taken from.
    pub victim: Victim,
    /// The word that it had.
    pub word: Slot,
}

/// Whom a place was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Victim {
    /// Nobody: it was free, or what was there had expired.
    Nobody = 0,
    /// A live embryonic connection.
    Embryonic = 1,
    /// A live connection that was answered, and is not assured or is being closed.
    Answered = 2,
}

/// How long a claim holds if its owner never finishes, ticks: a program cannot be interrupted for that long, so it
/// only matters if the machine lost the CPU.
const CLAIM_TICKS: u32 = 8;

/// Claims a place for a new connection: its preferred one at home if that is free, or any free or expired one there, then one in the alternate bucket, then that of
/// the embryonic connection that is closest to its end, first at home; then that of the connection closest to its end of
/// those that have ended ([`State::has_ended`]) or, with `evict`, end early ([`State::ends_early`]). `None` when both buckets
/// are full of connections that are kept.
///
/// One attempt: when another CPU takes the same place at the same instant this one gets nothing; a packet cannot be
/// made to spin.
#[inline(always)]
pub fn claim<W: SlotWords>(home: &W, alternate: &W, preferred: usize, (now, evict): (u32, bool)) -> Option<Claim> {
    if worth(Slot(home.load(preferred)), now, evict) == 0 {
        return take(home, preferred as u64 & 7, (now, evict), false);
    }
    let here = survey(home, now, evict);
    if here < FREE_LIMIT {
        return take(home, here, (now, evict), false);
    }
    let there = survey(alternate, now, evict);
    if there < FREE_LIMIT || here >= ANSWERED << 3 && there < here {
        return take(alternate, there, (now, evict), true);
    }
    take(home, here, (now, evict), false)
}

/// What a survey finds is below this when the place is free.
const FREE_LIMIT: u64 = 1 << 3;

/// The place of a bucket that is worth the least: its worth, and in the lowest three bits which one it is.
#[inline(always)]
fn survey<W: SlotWords>(slots: &W, now: u32, evict: bool) -> u64 {
    slots.note(u64::MAX);
    for way in 0..WAYS {
        let candidate = worth(Slot(slots.load(way)), now, evict) << 3 | way as u64;
        if candidate < slots.noted() {
            slots.note(candidate);
        }
    }
    slots.noted()
}

/// Claims the place that a survey found, if it is still worth as little.
#[inline(always)]
fn take<W: SlotWords>(slots: &W, found: u64, (now, evict): (u32, bool), elsewhere: bool) -> Option<Claim> {
    let (way, worth_found) = (found as usize & 7, found >> 3);
    let word = slots.load(way);
    if worth_found >= KEEP || worth(Slot(word), now, evict) != worth_found {
        return None;
    }
    let claimed = Slot::new(0, State::CLAIMED, now.wrapping_add(CLAIM_TICKS)).0;
    slots.compare_exchange(way, word, claimed).then_some(Claim {
        elsewhere,
        way,
        victim: victim(worth_found),
        word: Slot(word),
    })
}

#[inline(always)]
const fn victim(worth: u64) -> Victim {
    if worth == 0 {
        Victim::Nobody
    } else if worth < ANSWERED {
        Victim::Embryonic
    } else {
        Victim::Answered
    }
}

#[cfg(test)]
mod tests;
