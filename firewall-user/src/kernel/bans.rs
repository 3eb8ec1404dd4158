//! Bans: sources that are dropped for a time, whatever the ruleset says. See [`firewall_common::guard`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    time::Duration,
};

use firewall_common::{
    conntrack::TICK_NS_SHIFT,
    guard::{self, Guard, REASON_BYTES, REASON_WORDS},
    sets::{
        FORM, Form, KEY_WORDS, Key, Kind, Line, Lines, SIZES, change, extras_at,
        hash::{NEVER, NOWHERE, WAYS},
        make::{self, Spec},
        make_shapes,
        run::Scratch,
    },
};

use super::{Instance, KernelError, Lock, SetMemory, What, host, maps, sets};
use crate::cli::values::Prefix;

/// A ban as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whose packets.
    pub source: Prefix,
    /// For how long; none: until it is lifted.
    pub time: Option<Duration>,
    /// Why, in at most 32 bytes.
    pub reason: String,
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banned {
    /// What was asked for.
    pub ban: Ban,
    /// How much time is left.
    pub left: Option<Duration>,
    /// Packets and bytes that it stopped.
    pub hits: (u64, u64),
}

/// Room that a set of bans starts with.
const ROOM: usize = 64;

fn spec(family: u32, count: usize) -> Spec {
    Spec {
        kind: Kind::Shapes,
        key_words: guard::key_words(family),
        data_words: REASON_WORDS as u32,
        counts: true,
        ends: true,
        cells: 0,
        connections: 0,
        room: (count * 2).max(ROOM) as u32,
        limit: u32::MAX,
    }
}

fn family_of(source: &Prefix) -> u32 {
    guard::family(source.words().0)
}

/// The key without its shape, and the mask that is the shape.
fn key(source: &Prefix) -> (Key, Key) {
    let (_, words, masks) = source.words();
    let count = guard::key_words(family_of(source)) as usize - 1;
    let (mut key, mut mask) = ([0; KEY_WORDS], [0; KEY_WORDS]);
    key[1..=count].copy_from_slice(&words[..count]);
    mask[1..=count].copy_from_slice(&masks[..count]);
    (key, mask)
}

fn reason_words(reason: &str) -> [u32; REASON_WORDS] {
    let mut words = [0; REASON_WORDS];
    for (at, byte) in reason.bytes().take(REASON_BYTES).enumerate() {
        words[at / 4] |= u32::from(byte) << (at % 4 * 8);
    }
    words
}

fn reason_text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ticks that last at least so long, from any moment of the present one on.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() >> TICK_NS_SHIFT).unwrap_or(u32::MAX).saturating_add(2)
}

fn time_of(ticks: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks) << TICK_NS_SHIFT)
}

/// Adds a ban, or lets one that is there begin anew; `None` when there is no room.
fn add<S: Lines>(set: &S, banned: &Banned, tick: u32) -> Option<bool> {
    let Banned { ban: Ban { source, time, reason }, left, hits } = banned;
    let (mut key, mask) = key(source);
    key[0] = make_shapes::number(set, &mask)? + 1;
    let form = Form(set.line(0)?.load(FORM));
    let timeout = time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let mut scratch = Scratch { key, operation: change::UPDATE, ..Scratch::EMPTY };
    scratch.probe.tick = tick;
    scratch.probe.expires = left.map_or(NEVER, |left| tick.saturating_add(ticks(left)).min(NEVER - 1));
    scratch.extras = make::extras(form, (&reason_words(reason), &[]), *hits, (timeout, 0));
    let wanted = scratch.extras;
    let what = change::change_whole(set, &mut scratch)?;
    if what == change::KNOWN && scratch.probe.place != NOWHERE {
        let (line, first) = form.extras(scratch.probe.place);
        let line = set.line(extras_at(set)? + line)?;
        // Programs count there, and read nothing else of it.
        let counter = form.counter().unwrap_or(usize::MAX);
        for (word, value) in wanted.into_iter().enumerate().take(form.extra_words() as usize) {
            if word != counter && word != counter + 1 {
                line.store((first + word) & 7, value);
            }
        }
    }
    (what != change::FULL).then_some(what == change::NEW)
}

/// All bans of a set.
fn read<S: Lines>(set: &S, family: u32, tick: u32) -> Vec<Banned> {
    make::elements(set, tick).iter().filter_map(|found| one(set, found, family, tick)).collect()
}

fn one<S: Lines>(set: &S, found: &make::Found, family: u32, tick: u32) -> Option<Banned> {
    let mask = make_shapes::mask(set, found.key[0].checked_sub(1)?)?;
    let length = mask.iter().map(|word| word.count_ones()).sum::<u32>() as u8;
    let words = &found.key[1..];
    let address = if family == 0 {
        IpAddr::V4(Ipv4Addr::from_bits(words[0]))
    } else {
        let bits = words[..4].iter().fold(0_u128, |bits, word| bits << 32 | u128::from(*word));
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    };
    let time = (found.timeout != 0).then(|| Duration::from_millis(found.timeout));
    let ban = Ban { source: Prefix::new(address, length)?, time, reason: reason_text(&found.data) };
    // A ban lasts until a tick ends: never shown as longer than it was asked for.
    let left = (found.expires != NEVER).then(|| time_of(found.expires - tick).min(time.unwrap_or_default()));
    Some(Banned { ban, left, hits: found.counter.unwrap_or_default() })
}

impl Instance {
    fn ban_memory(&self, family: u32) -> Result<Option<SetMemory>, KernelError> {
        let map = maps::open(&self.pins.state(), maps::NAMED_SETS)?;
        sets::get(map.fd().as_fd(), guard::slot(family))
    }

    /// Memory with these bans takes the place of what was there.
    fn put_bans(&self, family: u32, all: &[Banned]) -> Result<SetMemory, KernelError> {
        let map = maps::open(&self.pins.state(), maps::NAMED_SETS)?;
        let spec = spec(family, all.len());
        let (fd, memory) = sets::make(&spec)?;
        spec.begin(&memory.lines(), sets::secret()?);
        let tick = host::tick();
        if !all.iter().all(|one| add(&memory.lines(), one, tick).is_some()) {
            return Err(no_room());
        }
        sets::put(map.fd().as_fd(), guard::slot(family), fd.as_fd()).map_err(KernelError::system(maps::NAMED_SETS))?;
        Ok(memory)
    }

    /// Bans a source, and tells of it, as far as it can be told; `false` when it was banned already: then the time begins anew.
    pub fn ban(&self, _lock: &Lock, ban: &Ban) -> Result<bool, KernelError> {
        let family = family_of(&ban.source);
        let memory = match self.ban_memory(family)? {
            Some(memory) => memory,
            None => self.put_bans(family, &[])?,
        };
        let wanted = Banned { ban: ban.clone(), left: ban.time, hits: (0, 0) };
        let has_room = make::elements(&memory.lines(), host::tick()).len() < room(&memory);
        let added = if has_room { add(&memory.lines(), &wanted, host::tick()) } else { None };
        let is_new = if let Some(is_new) = added { is_new } else { self.grow(family, &memory, wanted)? };
        self.tell_until(family)?;
        let seconds = ban.time.map(|time| time.as_secs());
        let (source, reason) = (ban.source.to_string(), ban.reason.clone());
        let _ = self.journal().tell(What::Ban { source, seconds, reason, is_new });
        Ok(is_new)
    }

    /// More room, and one more ban in it.
    fn grow(&self, family: u32, memory: &SetMemory, wanted: Banned) -> Result<bool, KernelError> {
        let mut all = read(&memory.lines(), family, host::tick());
        let known = all.iter_mut().find(|one| one.ban.source == wanted.ban.source);
        let is_new = known.is_none();
        match known {
            Some(known) => *known = Banned { hits: known.hits, ..wanted },
            None => all.push(wanted),
        }
        self.put_bans(family, &all)?;
        Ok(is_new)
    }

    /// Lifts a ban; `false` when there is none of exactly these sources.
    pub fn unban(&self, _lock: &Lock, source: &Prefix) -> Result<bool, KernelError> {
        let family = family_of(source);
        let Some(memory) = self.ban_memory(family)? else { return Ok(false) };
        let (mut key, mask) = key(source);
        let Some(number) = make_shapes::known(&memory.lines(), &mask) else { return Ok(false) };
        key[0] = number + 1;
        let mut scratch = Scratch { key, operation: change::DELETE, ..Scratch::EMPTY };
        scratch.probe.tick = host::tick();
        let was_there = change::change_whole(&memory.lines(), &mut scratch) == Some(change::KNOWN);
        if make::elements(&memory.lines(), host::tick()).is_empty() {
            // No shape of a ban that is gone costs anything.
            self.put_bans(family, &[])?;
        }
        self.tell_until(family)?;
        if was_there {
            let _ = self.journal().tell(What::Unban { source: source.to_string() });
        }
        Ok(was_there)
    }

    /// Every ban in force, IPv4 first, by address.
    pub fn bans(&self) -> Result<Vec<Banned>, KernelError> {
        let mut all = Vec::new();
        for family in 0..2 {
            let Some(memory) = self.ban_memory(family)? else { continue };
            let mut found = read(&memory.lines(), family, host::tick());
            found.sort_by_key(|one| one.ban.source.parts());
            all.append(&mut found);
        }
        Ok(all)
    }

    /// Tells programs until when they must ask.
    fn tell_until(&self, family: u32) -> Result<(), KernelError> {
        let memory = self.ban_memory(family)?;
        let all = memory.map(|memory| make::elements(&memory.lines(), host::tick())).unwrap_or_default();
        let until = all.iter().map(|one| one.expires).max().unwrap_or(0);
        let mut map = maps::array::<Guard>(&self.pins.state(), maps::GUARD)?;
        let mut value = map.get(&0, 0).map_err(KernelError::map(maps::GUARD))?;
        value.bans_until[family as usize] = until;
        map.set(0, value, 0).map_err(KernelError::map(maps::GUARD))
    }
}

/// Bans that the memory was made for.
fn room(memory: &SetMemory) -> usize {
    let buckets = memory.lines().line(0).map_or(0, |head| Line::load(head, SIZES) as u32);
    buckets as usize * WAYS / 2
}

fn no_room() -> KernelError {
    KernelError::Limit("more than 256 different prefix lengths, or no room for another ban".to_owned())
}

#[cfg(test)]
mod tests {
    use firewall_common::sets::make::Memory;

    use super::*;

    fn ban(source: &str, seconds: Option<u64>, reason: &str) -> Banned {
        let time = seconds.map(Duration::from_secs);
        Banned {
            ban: Ban { source: source.parse().expect("a prefix"), time, reason: reason.to_owned() },
            left: time,
            hits: (3, 180),
        }
    }

    #[test]
    fn what_is_put_in_is_read_back() {
        let rows =
            [("203.0.113.9", 0), ("198.51.100.0/24", 0), ("0.0.0.0/0", 0), ("2001:db8::9", 1), ("2001:db8:7::/48", 1)];
        for (source, family) in rows {
            let memory = Memory::new(&spec(family, 0), [5; 8]);
            let wanted = ban(source, Some(600), "thirty-two bytes of good reasons");
            assert_eq!(add(&memory.lines(), &wanted, 100), Some(true), "{source}");
            assert_eq!(read(&memory.lines(), family, 100), std::slice::from_ref(&wanted), "{source}");
        }
    }

    /// Whoever is banned again stays banned for the time said last, and what was counted stays.
    #[test]
    fn a_second_ban_begins_anew() {
        let memory = Memory::new(&spec(0, 0), [5; 8]);
        add(&memory.lines(), &ban("203.0.113.9", Some(60), "ssh"), 100);
        let again = Banned { hits: (0, 0), ..ban("203.0.113.9", None, "http") };
        assert_eq!(add(&memory.lines(), &again, 150), Some(false));
        let found = read(&memory.lines(), 0, 150);
        assert_eq!(found, [Banned { hits: (3, 180), ..ban("203.0.113.9", None, "http") }]);
    }

    #[test]
    fn a_ban_ends_by_itself() {
        let memory = Memory::new(&spec(0, 0), [5; 8]);
        add(&memory.lines(), &ban("203.0.113.9", Some(10), ""), 100);
        let last = 100 + ticks(Duration::from_secs(10));
        assert_eq!(read(&memory.lines(), 0, last - 1).len(), 1);
        assert_eq!(read(&memory.lines(), 0, last), []);
    }
}
