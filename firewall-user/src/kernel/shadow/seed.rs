//! What a shadow's packet finds: copies of the live entries that it would meet.

use std::collections::BTreeSet;

use aya::maps::Array;

use firewall_common::{
    conntrack::{self, Phase, Segment, State, Terms, Window, ticks_of_seconds},
    flow::{Secret, Tuple},
    image::NO_RULE,
    packet::{Field, Packet},
    parse::{self, Start},
    table::{self, BUCKET, Entry, Slot},
    wire::tcp,
};

use super::{NOT_COPIED, Question, READ_ONLY, Shadow};
use crate::kernel::{Instance, KernelError, host, maps, raw::RawMap};

/// A bucket as the map gives it.
pub(super) type Words = [u64; BUCKET / 8];

/// What is known of a packet's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// What the live table knows.
    #[default]
    Live,
    /// Nothing: as if the packet were the first.
    Nothing,
    /// The connection stands, and the packet is of the side that began it.
    Established,
    /// The connection stands, and the packet is of the side that was called.
    Reply,
}

/// How long a connection that is only supposed lives, seconds.
const SUPPOSED_SECONDS: u32 = 60;

impl Shadow<'_> {
    /// Makes the private state what the live one is, as far as the packet can meet it.
    pub(super) fn restore(&mut self, buckets: &BTreeSet<u32>, question: &Question<'_>) -> Result<(), KernelError> {
        self.copy_state()?;
        for bucket in buckets {
            let words = match self.live {
                Some(live) if question.known == Known::Live => {
                    let table = maps::array::<Words>(&live.pins.state(), maps::FLOWS)?;
                    table.get(bucket, 0).map_err(KernelError::map(maps::FLOWS))?
                }
                _ => [0; BUCKET / 8],
            };
            self.flows()?.set(*bucket, words, 0).map_err(KernelError::map(maps::FLOWS))?;
        }
        if matches!(question.known, Known::Established | Known::Reply) {
            self.suppose(question)?;
        }
        Ok(())
    }

    /// Copies every state map that the program may read and write, but the large table.
    fn copy_state(&mut self) -> Result<(), KernelError> {
        let Some(live) = self.live else { return Ok(()) };
        for shape in &maps::STATE {
            if READ_ONLY.contains(&shape.name) || NOT_COPIED.contains(&shape.name) {
                continue;
            }
            let theirs = maps::open(&live.pins.state(), shape.name)?;
            let their_info = theirs.info().map_err(KernelError::map(shape.name))?;
            let ours = maps::data(&self.ebpf, shape.name)?;
            let our_info = ours.info().map_err(KernelError::map(shape.name))?;
            RawMap::new(ours.fd(), &our_info)?.become_like(&RawMap::new(theirs.fd(), &their_info)?)?;
        }
        self.copy_cells(live)
    }

    /// Copies the states of the limits and quotas that there are.
    fn copy_cells(&mut self, live: &Instance) -> Result<(), KernelError> {
        if self.cells.is_empty() {
            return Ok(());
        }
        let cells = live.cells(self.cells.iter().copied())?;
        let map = self.ebpf.map_mut(maps::CELLS);
        let map = map.ok_or_else(|| KernelError::Damaged(format!("the program has no map {}", maps::CELLS)))?;
        let mut ours = Array::<_, u64>::try_from(map).map_err(KernelError::map(maps::CELLS))?;
        cells.into_iter().try_for_each(|(slot, word)| ours.set(slot, word, 0)).map_err(KernelError::map(maps::CELLS))
    }

    /// Writes the connection that the packet is supposed to belong to.
    fn suppose(&mut self, question: &Question<'_>) -> Result<(), KernelError> {
        let Some(packet) = parsed(question) else { return Ok(()) };
        let secret = self.secret()?;
        let is_reply = question.known == Known::Reply;
        let (key, source_is_high) = Tuple::of(&packet).key(0);
        let hash = key.hash(&secret);
        let is_tcp = packet.get(Field::L4Proto) as u8 == tcp::PROTOCOL;
        let state = State::new(if is_tcp { Phase::Established } else { Phase::Open }).replied().assured();
        let now = host::tick();
        let (windows, terms) = windows(&packet, is_reply);
        let entry = Entry {
            key,
            created: now,
            originator_is_high: u16::from(source_is_high != is_reply),
            terms,
            packets: [1, 1],
            rule: NO_RULE,
            windows,
            ..Entry::default()
        };
        let home = table::home(hash, self.buckets - 1);
        let mut words: Words = [0; BUCKET / 8];
        let expires = now.wrapping_add(ticks_of_seconds(SUPPOSED_SECONDS));
        words[0] = Slot::new(table::tag(hash), state, expires).0;
        words[16..32].copy_from_slice(&entry.to_words());
        self.flows()?.set(home, words, 0).map_err(KernelError::map(maps::FLOWS))
    }

    fn secret(&self) -> Result<Secret, KernelError> {
        match self.live {
            Some(live) => live.control().map(|control| control.secret),
            None => Ok(Secret::default()),
        }
    }
}

/// The windows of a connection in the middle of which the packet is, of the originator and of the other side.
fn windows(packet: &Packet, is_reply: bool) -> ([Window; 2], [Terms; 2]) {
    if packet.get(Field::L4Proto) as u8 != tcp::PROTOCOL {
        return ([Window::default(); 2], [Terms::NONE; 2]);
    }
    let segment = Segment::of(packet);
    let (sender, sender_terms, receiver_terms) = conntrack::begin(&segment, Terms::LIBERAL);
    let receiver = Window {
        end: segment.ack,
        max_end: segment.ack.wrapping_add(segment.window),
        max_ack: segment.seq,
        max_win: sender.max_win.max(65_535),
    };
    if is_reply {
        ([receiver, sender], [receiver_terms, sender_terms])
    } else {
        ([sender, receiver], [sender_terms, receiver_terms])
    }
}

/// The packet as the parser of the program reads it.
fn parsed(question: &Question<'_>) -> Option<Packet> {
    let mut packet = Packet::EMPTY;
    parse::parse(question.frame, Start::ETHERNET, &mut packet).ok().map(|()| packet)
}
