//! Fragments: a later one has no ports of its own and takes those of the first.
//!
//! The kernel's netfilter sees packets put together again; here each fragment is judged as the whole would be, once
//! its first fragment was accepted. Fragments that overtake their first one are judged as fragments: without ports,
//! `ct state invalid`.

use firewall_common::packet::{FRAGMENT_LATER, FRAGMENT_MORE, Field};

use crate::{maps, work::Work};

/// What is kept: [`WORDS`], and the identifier of an ICMP query.
pub type Words = [u32; 5];

/// The words that only the first fragment knows.
const WORDS: [Field; 4] = [Field::L4Header, Field::SourcePort, Field::DestinationPort, Field::IcmpType];

/// Gives a later fragment what its first one had.
#[inline(always)]
pub fn restore(work: &mut Work) {
    if work.packet.get(Field::Fragment) & FRAGMENT_LATER == 0 {
        return;
    }
    let key = key(work);
    // SAFETY: the value is copied at once; being overwritten meanwhile is the price of a reused identification.
    let Some(words) = (unsafe { maps::FRAGMENTS.get(&key) }).copied() else {
        return;
    };
    let [l4_header, source, destination, icmp_type, icmp_id] = words;
    for (field, word) in WORDS.into_iter().zip([l4_header, source, destination, icmp_type]) {
        work.packet.set(field, word);
    }
    work.packet.icmp_id = icmp_id;
}

/// Keeps what later fragments of an accepted packet will need.
#[inline(always)]
pub fn remember(work: &Work) {
    if work.packet.get(Field::Fragment) != FRAGMENT_MORE {
        return;
    }
    let [l4_header, source, destination, icmp_type] = WORDS.map(|field| work.packet.get(field));
    let words: Words = [l4_header, source, destination, icmp_type, work.packet.icmp_id];
    let key = key(work);
    // The map forgets its oldest entry when it is full, so this cannot fail for want of room; if it fails, later
    // fragments are judged as fragments.
    let _ = maps::FRAGMENTS.insert(&key, &words, 0);
}

/// Addresses, protocol and identification (RFC 791 section 3.2, RFC 8200 section 4.5).
#[inline(always)]
fn key(work: &Work) -> [u64; 5] {
    let half =
        |field, at| u64::from(work.packet.get_at(field, at)) << 32 | u64::from(work.packet.get_at(field, at + 1));
    let is_v4 = work.packet.get(Field::NfProto) == firewall_common::packet::NFPROTO_IPV4;
    let wide = |field, at| if is_v4 { u64::from(work.packet.get(field)) } else { half(field, at) };
    let protocol = u64::from(work.packet.get(Field::L4Proto)) << 32;
    [
        wide(Field::SourceAddress, 0),
        wide(Field::SourceAddress, 2),
        wide(Field::DestinationAddress, 0),
        wide(Field::DestinationAddress, 2),
        protocol | u64::from(work.packet.fragment_id),
    ]
}
