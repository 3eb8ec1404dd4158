//! Entering a translated connection: a port that nobody has, the aliases, and the first entry.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_loop};
use firewall_common::{
    flow::{Endpoint, Tuple},
    nat::{self, RANDOM},
    table::{self, Entry, OVERFLOWED, Slot, WAYS},
    verdict::Reason,
};

use super::{
    TRIES, has_ports, is_ping, is_written_here,
    known::{is_left_over, place_of},
    lost, put,
};
use crate::{
    bucket, conntrack, maps,
    verifier::{self, forget},
    work::Work,
};

/// Enters a new connection whose addresses are translated: its first entry and the aliases. The number of the reason to drop
/// its packet, 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_enter(path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return Reason::Internal as u32 };
    work.first_key = work.key;
    work.first_from_high = work.source_is_high;
    // SAFETY: the helper has no arguments.
    work.random = unsafe { bpf_get_prandom_u32() };
    work.tried = 0;
    work.entered = 0;
    let mut context = path;
    // SAFETY: the callback has the signature that the helper calls it with, and the context outlives the call.
    unsafe { bpf_loop(TRIES, try_port as *mut c_void, (&raw mut context).cast(), 0) };
    if forget(&work.entered) == DONE && is_written_here(work, true) {
        settle(work);
    }
    match forget(&work.entered) {
        DONE => 0,
        FULL => Reason::TableFull as u32,
        _ => Reason::NatExhausted as u32,
    }
}

/// Puts the source that was chosen into the packet. A function of its own, for the stack's sake.
#[inline(never)]
fn settle(work: &mut Work) {
    verifier::frame();
    let (address, port) = (work.translated.addresses[0], work.translated.ports[0] as u16);
    put(work, true, address, port, true);
}

/// [`Work::entered`]
const DONE: u32 = 1;
const FULL: u32 = 2;
const SAME: u32 = 3;

/// Tries one port; 1 ends the loop.
extern "C" fn try_port(_: u64, context: *mut c_void) -> i64 {
    verifier::frame();
    // SAFETY: `nat_enter` passes its argument and waits for the loop to end.
    let path = unsafe { *context.cast::<u32>() };
    let Some(work) = maps::work_of(path) else { return 1 };
    let tried = work.tried;
    work.tried = tried + 1;
    let flexible = has_ports(work) || is_ping(work);
    if tried != 0 && !flexible {
        return 1;
    }
    set_port(work, tried);
    if !reserve(work, 0) {
        if forget(&work.entered) == SAME {
            // Nothing changes: an ordinary connection.
            aim_first(work, 0, 0);
            work.entered = if conntrack::enter(work) { DONE } else { FULL };
        }
        return i64::from(work.entered != 0);
    }
    i64::from(enter_first(work))
}

/// The source port to try: that of the packet, if it may be kept; then others from a random one on.
#[inline(always)]
fn set_port(work: &mut Work, tried: u32) {
    let old = work.original.ports[0] as u16;
    let range = if work.nat_ports != 0 { work.nat_ports } else { nat::ports_like(old) };
    let range = if is_ping(work) && work.nat_ports == 0 { 0xffff << 16 } else { range };
    let (first, last) = (range & 0xffff, range >> 16);
    let is_kept =
        work.nat_flags & RANDOM == 0 && (work.nat_ports == 0 || (u32::from(old) >= first && u32::from(old) <= last));
    let port = if (tried == 0 && is_kept) || !(has_ports(work) || is_ping(work)) {
        u32::from(old)
    } else {
        let count = (last.wrapping_sub(first) & 0xffff) + 1;
        // Few ports are tried one after the other, each once. Among many each try is as good as random: steps, the same for all or
        // each connection's own, come through rows of ports that are taken.
        let place = if count <= TRIES {
            work.random.wrapping_add(tried) % count
        } else {
            ((u64::from(mixed_with(work.random, tried)) * u64::from(count)) >> 32) as u32
        };
        first + place
    };
    if is_ping(work) {
        // The end that answers has the identifier plus a number of its own, see `flow::query_ports`.
        let more = (work.original.ports[1] as u16).wrapping_sub(old);
        work.translated.ports[1] = u32::from((port as u16).wrapping_add(more));
    }
    work.translated.ports[0] = port & 0xffff;
}

/// A number that looks random for each try (the finalizer of MurmurHash3, 32 bits).
#[inline(always)]
fn mixed_with(random: u32, tried: u32) -> u32 {
    let value = random.wrapping_add(tried.wrapping_mul(0x9e37_79b9));
    let value = (value ^ value >> 16).wrapping_mul(0x85eb_ca6b);
    let value = (value ^ value >> 13).wrapping_mul(0xc2b2_ae35);
    value ^ value >> 16
}

/// Enters an alias where no entry has its key, and notes where; `false` when one has, or when there is no room or no need
/// ([`Work::entered`]).
#[inline(never)]
fn reserve(work: &mut Work, kind: u32) -> bool {
    verifier::frame();
    // Seen from the answers both ends are translated; between the two places where a packet is written, only the second.
    let (first, ports) = if kind == 0 {
        (work.translated.addresses[0], [work.translated.ports[0], work.translated.ports[1]])
    } else if is_ping(work) {
        (work.original.addresses[0], [work.original.ports[0], work.original.ports[1]])
    } else {
        (work.original.addresses[0], [work.original.ports[0], work.translated.ports[1]])
    };
    let tuple = Tuple {
        source: Endpoint { address: first, port: ports[0] as u16 },
        destination: Endpoint { address: work.translated.addresses[1], port: ports[1] as u16 },
        protocol: work.first_key.protocol(),
        family: work.first_key.family(),
    };
    let (key, from_high) = tuple.key(work.first_key.zone());
    conntrack::aim(work, key, from_high);
    if work.key == work.first_key {
        work.entered = SAME;
        return false;
    }
    work.place = 0;
    conntrack::find(work);
    if forget(&work.place) != 0 {
        if !is_left_over(work, kind != 0) {
            return false;
        }
        free(forget(&work.bucket), forget(&work.place));
    }
    work.alias = 1 + kind;
    work.partner = [work.first_bucket, work.first_place];
    let entered = conntrack::enter(work);
    work.alias = 0;
    if !entered {
        work.entered = FULL;
        return false;
    }
    // Entered as a full barrier: of two CPUs that enter one key at the same instant at least one sees the other's here, and
    // whoever does tries another port.
    let (bucket, place) = (forget(&work.bucket), forget(&work.place));
    work.alias_bucket = bucket;
    work.alias_place = place;
    if is_twice(work) {
        free(bucket, place);
        return false;
    }
    true
}

/// Frees the place of an alias that is ours.
#[inline(always)]
pub fn free(bucket: u32, place: u32) {
    if let Some(bucket) = maps::bucket(bucket) {
        // SAFETY: an aligned word of a map value; and the entry is the caller's.
        unsafe { verifier::publish(bucket::slot_word(bucket, place), 0) };
    }
}

/// Are both ends translated, and each at another place? Where one program writes both, nobody sees one without the other.
#[inline(always)]
fn is_twofold(work: &Work) -> bool {
    if is_written_here(work, true) {
        return false;
    }
    let (original, translated) = (&work.original, &work.translated);
    let is_other = |end: usize| {
        original.addresses[end] != translated.addresses[end]
            || (!is_ping(work) && original.ports[end] != translated.ports[end])
    };
    is_other(1) && (is_other(0) || original.ports[0] != translated.ports[0])
}

/// Makes the work area that of the first entry again.
#[inline(always)]
fn aim_first(work: &mut Work, bucket: u32, place: u32) {
    conntrack::aim(work, work.first_key, work.first_from_high != 0);
    work.partner = [bucket, place];
}

/// Enters the first entry, makes the alias point to it, and enters the second alias if one is needed; `true`: it is done,
/// or there is no room.
#[inline(never)]
fn enter_first(work: &mut Work) -> bool {
    verifier::frame();
    let (bucket, place) = (forget(&work.alias_bucket), forget(&work.alias_place));
    aim_first(work, bucket, place);
    if !conntrack::enter(work) {
        free(bucket, place);
        work.entered = FULL;
        return true;
    }
    work.first_bucket = work.bucket;
    work.first_place = work.place;
    let (first_bucket, first_place) = (work.first_bucket, work.first_place);
    if let Some((_, alias, _)) = place_of(bucket, place) {
        alias.set_partner(first_bucket, first_place);
    }
    work.entered = DONE;
    if is_twofold(work) && !reserve(work, 1) {
        free(bucket, place);
        free(first_bucket, first_place);
        work.entered = 0;
        return false;
    }
    work.bucket = first_bucket;
    work.place = first_place;
    true
}

/// Is there another entry of the key that was entered just now?
#[inline(always)]
fn is_twice(work: &Work) -> bool {
    let mask = maps::BUCKET_MASK.load();
    let home = table::home(work.hash, mask);
    has_another(work, home) || (has_overflowed(home) && has_another(work, table::alternate(work.hash, mask)))
}

/// Can something of this bucket be in the alternate one? It is said before anything is entered there.
#[inline(always)]
fn has_overflowed(number: u32) -> bool {
    // SAFETY: an aligned word of a map value.
    maps::bucket(number)
        .is_some_and(|bucket| unsafe { bucket::slot_word(bucket, WAYS as u32 + 1).read_volatile() } & OVERFLOWED != 0)
}

#[inline(always)]
fn has_another(work: &Work, number: u32) -> bool {
    let Some(bucket) = maps::bucket(number) else { return false };
    let (mut another, tag) = (false, table::tag(work.hash));
    for way in 0..WAYS {
        // SAFETY: entries of the map, compared word by word; see `conntrack.rs`.
        let (word, entry) =
            unsafe { (bucket::slot_word(bucket, way as u32 + 1).read_volatile(), &(*bucket).entries[way]) };
        let is_mine = number == work.bucket && way as u32 + 1 == work.place;
        // The entry itself is another cache line.
        let slot = Slot(word);
        another |= !is_mine && slot.tag() == tag && slot.is_live(work.tick) && entry.key == work.key;
    }
    another
}

/// Fills an alias.
#[inline(always)]
pub fn write_alias(work: &Work, entry: &mut Entry) {
    entry.rule = nat::ALIAS;
    entry.generation = work.alias - 1;
    let first = work.first_key;
    entry.set_first_key(&first);
    lost::note(work, entry);
}
