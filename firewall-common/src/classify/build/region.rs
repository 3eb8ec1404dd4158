//! Sets of packets: an interval for each word that rules ask for.

use crate::{
    conntrack::CtState,
    packet::{Field, NO_L4},
};

/// Network families that have trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Words of which a region has an interval. The first two, the ports, are in every leaf entry; of the others an entry
/// has room for [`MAX_MORE`].
pub(super) const WORDS: [Field; 13] = [
    Field::SourcePort,
    Field::DestinationPort,
    Field::L4Proto,
    Field::IcmpType,
    Field::CtState,
    Field::IifIndex,
    Field::OifIndex,
    Field::IifName,
    Field::OifName,
    Field::Mark,
    Field::CtMark,
    Field::EtherType,
    Field::TcpFlags,
];

/// Words at the start of [`WORDS`] that every entry has.
pub(super) const PORTS: usize = 2;
const L4PROTO: usize = 2;
const ICMP: usize = 3;
const TCP_FLAGS: usize = 12;
/// Words with a protocol number in their upper half.
const TAGGED: [usize; 4] = [0, 1, ICMP, TCP_FLAGS];

/// Words behind the ports that a region can narrow down.
pub(super) const MAX_MORE: usize = 2;

pub(super) type Interval = (u32, u32);
const ALL: Interval = (0, u32::MAX);

/// Packets of one family. Source and destination address: any interval for IPv4; for IPv6 only prefixes, for that is what
/// a leaf entry can compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) family: Family,
    pub(super) addresses: [(u128, u128); 2],
    pub(super) words: [Interval; WORDS.len()],
}

/// Part of a region.
pub(super) enum Part {
    Region(Box<Region>),
    /// There are no such packets in it.
    Nothing,
    /// There may be, but an entry of a leaf has no room to say which.
    Unsaid,
}

fn overlap<T: Ord + Copy>(a: (T, T), b: (T, T)) -> Option<(T, T)> {
    let both = (a.0.max(b.0), a.1.min(b.1));
    (both.0 <= both.1).then_some(both)
}

impl Region {
    /// Every packet of the family.
    pub(super) const fn all(family: Family) -> Self {
        let top = match family {
            Family::V4 => u32::MAX as u128,
            Family::V6 => u128::MAX,
        };
        Self { family, addresses: [(0, top); 2], words: [ALL; WORDS.len()] }
    }

    /// Which word of [`WORDS`] a field is.
    pub(super) fn word_of(field: u8) -> Option<usize> {
        WORDS.iter().position(|word| *word as u8 == field)
    }

    /// The values a word can have, by what is known of it and of the others.
    pub(super) fn known(&self, word: usize) -> Interval {
        let own = self.words[word];
        let Some(protocol) = self.protocol_by_others(word) else { return own };
        let implied = match word {
            L4PROTO => (protocol, protocol),
            // A port word is of this protocol, or says that there is no port.
            _ if own.1 <= 0x00ff_ffff => (protocol << 16, protocol << 16 | 0xffff),
            _ => return own,
        };
        overlap(own, implied).unwrap_or(own)
    }

    /// The protocol, if another word than this one settles it.
    fn protocol_by_others(&self, word: usize) -> Option<u32> {
        let tagged = TAGGED.into_iter().filter(|other| *other != word).find_map(|other| {
            let (low, high) = self.words[other];
            (low >> 16 == high >> 16 && high < NO_L4).then_some(low >> 16)
        });
        let (low, high) = self.words[L4PROTO];
        tagged.or((word != L4PROTO && low == high).then_some(low))
    }

    /// Those whose word lies in the interval.
    pub(super) fn within(&self, word: usize, interval: Interval) -> Part {
        let known = self.known(word);
        let Some(both) = overlap(known, interval) else { return Part::Nothing };
        if both == known {
            return Part::Region(Box::new(*self));
        }
        let mut region = *self;
        region.words[word] = both;
        if !region.has_one_protocol() {
            return Part::Nothing;
        }
        region.forget_implied();
        if region.more().count() <= MAX_MORE { Part::Region(Box::new(region)) } else { Part::Unsaid }
    }

    /// Can the words be of one packet? A port word of TCP and another one of UDP cannot.
    fn has_one_protocol(&self) -> bool {
        let mut protocols = self.words[L4PROTO];
        for word in TAGGED {
            let (low, high) = self.words[word];
            if low >> 16 == high >> 16 && high < NO_L4 {
                match overlap(protocols, (low >> 16, low >> 16)) {
                    Some(both) => protocols = both,
                    None => return false,
                }
            }
        }
        true
    }

    /// Takes out what other words say anyway.
    fn forget_implied(&mut self) {
        if let Some(protocol) = self.protocol_by_others(L4PROTO)
            && overlap(self.words[L4PROTO], (protocol, protocol)).is_some()
        {
            self.words[L4PROTO] = ALL;
        }
    }

    /// The words behind the ports that are narrowed down.
    pub(super) fn more(&self) -> impl Iterator<Item = usize> {
        (PORTS..WORDS.len()).filter(|word| self.words[*word] != ALL)
    }

    /// Those whose address (0: source, 1: destination) lies in the interval; for IPv6 it must be a prefix.
    pub(super) fn within_address(&self, which: usize, interval: (u128, u128)) -> Option<Self> {
        let mut region = *self;
        region.addresses[which] = overlap(self.addresses[which], interval)?;
        Some(region)
    }

    /// The smallest region that has all of both.
    pub(super) fn hull(&self, other: &Self) -> Self {
        let mut region = *self;
        for (own, other) in region.addresses.iter_mut().zip(&other.addresses) {
            *own = (own.0.min(other.0), own.1.max(other.1));
            if self.family == Family::V6 {
                *own = prefix_around(*own);
            }
        }
        for word in 0..WORDS.len() {
            let (own, other) = (self.known(word), other.known(word));
            region.words[word] = (own.0.min(other.0), own.1.max(other.1));
        }
        region.forget_implied();
        region
    }

    /// The same without what lies outside of `outer`, which has all of its packets, whatever the words of the hull say.
    pub(super) fn trimmed(mut self, outer: &Self) -> Self {
        for (own, outer) in self.addresses.iter_mut().zip(&outer.addresses) {
            *own = overlap(*own, *outer).unwrap_or(*outer);
        }
        for word in 0..WORDS.len() {
            self.words[word] = overlap(self.words[word], outer.words[word]).unwrap_or(outer.words[word]);
        }
        self.forget_implied();
        self.limited(outer)
    }

    /// The same, narrowed down in no more words than an entry has room for: those of `first` come first.
    pub(super) fn limited(mut self, first: &Self) -> Self {
        while self.more().count() > MAX_MORE {
            let word = self.more().find(|word| first.words[*word] == ALL).or_else(|| self.more().last());
            let Some(word) = word else { break };
            self.words[word] = ALL;
        }
        self
    }

    /// Is there no packet in both?
    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        let addresses = self.addresses.iter().zip(&other.addresses).any(|(a, b)| overlap(*a, *b).is_none());
        addresses || self.words.iter().zip(&other.words).any(|(a, b)| overlap(*a, *b).is_none())
    }

    /// Does it ask for addresses or ports?
    pub(super) fn asks_for_ends(&self) -> bool {
        let all = Self::all(self.family);
        self.addresses != all.addresses || self.words[..PORTS] != all.words[..PORTS]
    }
}

/// The smallest prefix that has both ends.
pub(super) const fn prefix_around((low, high): (u128, u128)) -> (u128, u128) {
    let different = low ^ high;
    let host = if different == 0 { 0 } else { u128::MAX >> different.leading_zeros() };
    (low & !host, low | host)
}

/// Values of `ct state` in order: a mask of them is no interval, but among these values it can be.
pub(super) fn states() -> [u32; 5] {
    let mut states = CtState::ALL.map(|state| state as u32);
    states.sort_unstable();
    states
}

/// The words that trees can ask for, with the interval of a region.
pub(super) fn columns(region: &Region) -> Vec<(u8, Interval)> {
    let mut columns = Vec::new();
    for (field, (low, high)) in [Field::SourceAddress, Field::DestinationAddress].into_iter().zip(region.addresses) {
        match region.family {
            Family::V4 => columns.push((field as u8, (low as u32, high as u32))),
            Family::V6 => {
                for (index, shift) in [96, 64, 32, 0].into_iter().enumerate() {
                    columns.push((field as u8 + index as u8, ((low >> shift) as u32, (high >> shift) as u32)));
                }
            }
        }
    }
    for (word, field) in WORDS.into_iter().enumerate() {
        columns.push((field as u8, region.known(word)));
    }
    columns
}
