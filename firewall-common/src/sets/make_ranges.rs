//! Writing and reading sets of [`super::ranges`].

use super::{
    FIRST, LINE_WORDS, Line, Lines, SIZES, USED, high, low,
    ranges::{self, ALIKE, BITS, BORDERS, ENTRIES, MAX_BORDERS, NO_BORDER, PER_LINE, entry},
};

/// Values of an entry of the directory.
const BLOCK: u32 = 1 << 16;
/// Values of an entry of a line of entries.
const PART: u32 = 1 << 12;

/// The set has no room for another block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Takes lines that are not in use and writes them; the first one's number.
pub trait Room {
    /// As above.
    fn place(&mut self, lines: &[[u64; LINE_WORDS]]) -> Result<u32, NoRoom>;
}

/// Blocks that will stand in a set that is still to be made.
#[derive(Debug, Default)]
pub struct Planned {
    /// Their lines.
    pub lines: Vec<[u64; LINE_WORDS]>,
    /// The number of the first one.
    pub first: u32,
}

impl Room for Planned {
    fn place(&mut self, lines: &[[u64; LINE_WORDS]]) -> Result<u32, NoRoom> {
        let at = self.first + self.lines.len() as u32;
        self.lines.extend_from_slice(lines);
        Ok(at)
    }
}

/// The lines of a set that are not in use.
pub struct Rest<'a, S> {
    /// The set.
    pub set: &'a S,
    /// Its lines.
    pub lines: u32,
}

impl<'a, S: Lines> Rest<'a, S> {
    /// Those of this set, as its head says.
    pub fn of(set: &'a S) -> Self {
        Self { set, lines: set.line(0).map_or(0, |head| high(head.load(USED))) }
    }
}

/// Are the values from `lowest` to `highest` all `inside`, or all not?
pub fn is_all<S: Lines>(set: &S, (lowest, highest): (u32, u32), inside: bool) -> bool {
    if lowest == highest {
        return ranges::contains(set, lowest) == Some(u32::from(inside));
    }
    (lowest >> 16..=highest >> 16).all(|index| {
        let from = if index == lowest >> 16 { lowest & 0xffff } else { 0 };
        let to = if index == highest >> 16 { (highest & 0xffff) + 1 } else { BLOCK };
        let Some(line) = set.line(FIRST + index / PER_LINE) else { return false };
        let number = entry(line, index % PER_LINE);
        if number & 3 == ALIKE {
            return (number & 4 != 0) == inside;
        }
        let Some(flips) = decode(set, number, (0, BLOCK)) else { return false };
        let before = flips.partition_point(|flip| *flip <= from);
        (before % 2 == 1) == inside && flips.get(before).is_none_or(|flip| *flip >= to)
    })
}

impl<S: Lines> Room for Rest<'_, S> {
    fn place(&mut self, lines: &[[u64; LINE_WORDS]]) -> Result<u32, NoRoom> {
        let head = self.set.line(0).ok_or(NoRoom)?;
        let at = low(head.load(USED));
        if at + lines.len() as u32 > self.lines {
            return Err(NoRoom);
        }
        for (nth, words) in lines.iter().enumerate() {
            let line = self.set.line(at + nth as u32).ok_or(NoRoom)?;
            for (word, value) in words.iter().enumerate() {
                line.store(word, *value);
            }
        }
        head.store(USED, u64::from(at + lines.len() as u32) | u64::from(self.lines) << 32);
        Ok(at)
    }
}

/// The entry for values from `start` on, where membership changes in front of each of `flips` and is `inside` before.
fn encode(room: &mut dyn Room, (start, length): (u32, u32), inside: bool, flips: &[u32]) -> Result<u32, NoRoom> {
    let first = u32::from(inside) << 2;
    if flips.is_empty() {
        return Ok(ALIKE | first);
    }
    if flips.len() <= MAX_BORDERS && !flips.contains(&start) {
        return Ok(room.place(&[borders(flips)])? << 3 | first | BORDERS);
    }
    if flips.first() == Some(&start) {
        return encode(room, (start, length), !inside, &flips[1..]);
    }
    if length == BLOCK { entries(room, inside, flips) } else { bits(room, (start, length), inside, flips) }
}

fn borders(flips: &[u32]) -> [u64; LINE_WORDS] {
    let mut line = [0; LINE_WORDS];
    for at in 0..MAX_BORDERS {
        let border = flips.get(at).map_or(NO_BORDER, |flip| (flip - 1) as u16);
        line[at / 4] |= u64::from(border) << (at % 4 * 16);
    }
    line
}

fn entries(room: &mut dyn Room, mut inside: bool, flips: &[u32]) -> Result<u32, NoRoom> {
    let mut line = [0; LINE_WORDS];
    let mut rest = flips;
    for part in 0..BLOCK / PART {
        let here = rest.partition_point(|flip| *flip < (part + 1) * PART);
        let entry = encode(room, (part * PART, PART), inside, &rest[..here])?;
        line[part as usize / 2] |= u64::from(entry) << (part % 2 * 32);
        inside ^= here % 2 == 1;
        rest = &rest[here..];
    }
    Ok(room.place(&[line])? << 3 | ENTRIES)
}

fn bits(room: &mut dyn Room, (start, length): (u32, u32), inside: bool, flips: &[u32]) -> Result<u32, NoRoom> {
    let mut lines = [[0_u64; LINE_WORDS]; 8];
    let mut set = |from: u32, to: u32| {
        for value in from - start..to - start {
            lines[value as usize >> 9][value as usize >> 6 & 7] |= 1 << (value & 63);
        }
    };
    let mut from = inside.then_some(start);
    for flip in flips {
        match from.take() {
            Some(from) => set(from, *flip),
            None => from = Some(*flip),
        }
    }
    if let Some(from) = from {
        set(from, start + length);
    }
    Ok(room.place(&lines)? << 3 | BITS)
}

/// Where membership changes among the values of an entry, from `start` on.
fn decode<S: Lines>(set: &S, number: u32, (start, length): (u32, u32)) -> Option<Vec<u32>> {
    let mut flips = Vec::new();
    if number & 4 != 0 {
        flips.push(start);
    }
    match number & 3 {
        BORDERS => {
            let line = set.line(number >> 3)?;
            let all = (0..MAX_BORDERS).map(|at| (line.load(at / 4) >> (at % 4 * 16)) as u16);
            flips.extend(all.take_while(|border| *border != NO_BORDER).map(|border| u32::from(border) + 1));
        }
        ENTRIES => {
            let line = set.line(number >> 3)?;
            for part in 0..PER_LINE {
                for flip in decode(set, entry(line, part), (part * PART, PART))? {
                    toggle(&mut flips, flip);
                }
                // What is inside at the end of a part is not so in the next one by itself.
                if flips.len() % 2 == 1 {
                    toggle(&mut flips, (part + 1) * PART);
                }
            }
            if flips.last() == Some(&BLOCK) {
                flips.pop();
            }
        }
        BITS => {
            let mut inside = false;
            for value in 0..length {
                let line = set.line((number >> 3) + (value >> 9))?;
                let bit = line.load((value >> 6 & 7) as usize) >> (value & 63) & 1 == 1;
                if bit != inside {
                    flips.push(start + value);
                    inside = bit;
                }
            }
        }
        _ => {}
    }
    Some(flips)
}

/// Two changes at one place are none.
fn toggle(flips: &mut Vec<u32>, flip: u32) {
    if flips.last() == Some(&flip) {
        flips.pop();
    } else {
        flips.push(flip);
    }
}

/// Puts the values from `lowest` to `highest` in or takes them out.
pub fn assign<S: Lines>(
    set: &S,
    room: &mut dyn Room,
    (lowest, highest): (u32, u32),
    inside: bool,
) -> Result<(), NoRoom> {
    for index in lowest >> 16..=highest >> 16 {
        let from = if index == lowest >> 16 { lowest & 0xffff } else { 0 };
        let to = if index == highest >> 16 { (highest & 0xffff) + 1 } else { BLOCK };
        let line = set.line(FIRST + index / PER_LINE).ok_or(NoRoom)?;
        if assign_bits(set, entry(line, index % PER_LINE), (from, to), inside).is_some() {
            continue;
        }
        let number = if from == 0 && to == BLOCK {
            ALIKE | u32::from(inside) << 2
        } else {
            let flips = decode(set, entry(line, index % PER_LINE), (0, BLOCK)).ok_or(NoRoom)?;
            encode(room, (0, BLOCK), false, &assigned(&flips, (from, to), inside))?
        };
        put_entry(line, index % PER_LINE, number);
    }
    Ok(())
}

/// Where bits stand for values, those of one word change by one store: packets see all of them as they were, or as they are.
fn assign_bits<S: Lines>(set: &S, number: u32, (from, to): (u32, u32), inside: bool) -> Option<()> {
    let last = to - 1;
    if number & 3 != ENTRIES || from >> 6 != last >> 6 {
        return None;
    }
    let bits = entry(set.line(number >> 3)?, from >> 12);
    if bits & 3 != BITS {
        return None;
    }
    let line = set.line((bits >> 3) + (from >> 9 & 7))?;
    let (word, mask) = ((from >> 6 & 7) as usize, u64::MAX >> (63 - (last - from)) << (from & 63));
    line.store(word, if inside { line.load(word) | mask } else { line.load(word) & !mask });
    Some(())
}

/// The changes after the values from `from` up to but without `to` are all `inside` or all not.
fn assigned(flips: &[u32], (from, to): (u32, u32), inside: bool) -> Vec<u32> {
    let before = flips.partition_point(|flip| *flip < from);
    let behind = flips.partition_point(|flip| *flip <= to);
    let mut result = flips[..before].to_vec();
    if (before % 2 == 1) != inside {
        result.push(from);
    }
    if (behind % 2 == 1) != inside && to < BLOCK {
        result.push(to);
    }
    result.extend_from_slice(&flips[behind..]);
    result
}

fn put_entry<L: Line>(line: L, index: u32, number: u32) {
    let (word, shift) = ((index / 2) as usize, index % 2 * 32);
    line.store(word, line.load(word) & !(0xffff_ffff << shift) | u64::from(number) << shift);
}

/// The directory's entries and the blocks of a set of these intervals: sorted, disjoint, not touching.
pub fn plan(entries: u32, intervals: &[(u32, u32)]) -> (Vec<u32>, Planned) {
    let first = FIRST + entries.div_ceil(PER_LINE);
    let mut planned = Planned { lines: Vec::new(), first };
    let mut directory = vec![ALIKE; entries as usize];
    let mut flips: Vec<u32> = Vec::new();
    let mut open = 0;
    for (lowest, highest) in intervals {
        if lowest >> 16 != open {
            close(&mut planned, &mut directory, (open, &mut flips));
            open = lowest >> 16;
        }
        flips.push(lowest & 0xffff);
        let last = highest >> 16;
        if last != open {
            close(&mut planned, &mut directory, (open, &mut flips));
            directory[open as usize + 1..last as usize].fill(ALIKE | 4);
            open = last;
            flips.push(0);
        }
        if highest & 0xffff != 0xffff {
            flips.push((highest & 0xffff) + 1);
        }
    }
    close(&mut planned, &mut directory, (open, &mut flips));
    (directory, planned)
}

fn close(planned: &mut Planned, directory: &mut [u32], (index, flips): (u32, &mut Vec<u32>)) {
    if let (Ok(number), Some(entry)) = (encode(planned, (0, BLOCK), false, flips), directory.get_mut(index as usize)) {
        *entry = number;
    }
    flips.clear();
}

/// Writes a plan into a set that was just made.
pub fn write<S: Lines>(set: &S, directory: &[u32], planned: &Planned) -> Option<()> {
    for (nth, words) in planned.lines.iter().enumerate() {
        let line = set.line(planned.first + nth as u32)?;
        for (word, value) in words.iter().enumerate() {
            line.store(word, *value);
        }
    }
    for (index, number) in directory.iter().enumerate() {
        if *number != ALIKE {
            put_entry(set.line(FIRST + index as u32 / PER_LINE)?, index as u32 % PER_LINE, *number);
        }
    }
    let head = set.line(0)?;
    let used = planned.first + planned.lines.len() as u32;
    head.store(USED, u64::from(used) | u64::from(high(head.load(USED))) << 32);
    Some(())
}

/// The intervals of a set: sorted, not touching.
pub fn intervals<S: Lines>(set: &S) -> Option<Vec<(u32, u32)>> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for index in 0..low(set.line(0)?.load(SIZES)) {
        let mut flips = decode(set, entry(set.line(FIRST + index / PER_LINE)?, index % PER_LINE), (0, BLOCK))?;
        if flips.len() % 2 == 1 {
            flips.push(BLOCK);
        }
        for pair in flips.chunks_exact(2) {
            let (from, to) = (index << 16 | pair[0], (u64::from(index) << 16) + u64::from(pair[1]) - 1);
            match found.last_mut() {
                Some((_, last)) if u64::from(*last) + 1 == u64::from(from) => *last = to as u32,
                Some(_) | None => found.push((from, to as u32)),
            }
        }
    }
    Some(found)
}
