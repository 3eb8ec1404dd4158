//! What each rule can match, read off its instructions.

use super::{
    Start,
    region::{Family, Interval, Part, Region, prefix_around, states},
};
use crate::{
    image::{DECIDES, Image, Insn, NEGATE, Op, REGISTER_WORDS, Target},
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6},
};

/// Regions that a rule is split into; one that would need more gets one around all of them.
const MAX_REGIONS: usize = 32;

/// Intervals of a set that are told apart, until a rule has few enough regions.
const LIMITS: [usize; 3] = [MAX_REGIONS, 4, 1];

/// Instructions looked at for one rule, over all ways through it.
const MAX_VISITS: usize = 1024;

/// Rules looked at to find that none of them can match.
const MAX_SKIPPED: usize = 4096;

/// What becomes of the packets of a region when they meet a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) region: Region,
    /// The rule's first instruction.
    pub(super) number: u32,
    /// Does the search end here, for every packet of the region that has not been decided on before? Not if a rule in front
    /// can send packets past this one.
    pub(super) is_final: bool,
    /// The instruction to go on with, the rule to go on at, or a verdict.
    pub(super) target: Target,
    /// The rule that decided, if the target is its verdict.
    pub(super) decides: Option<u32>,
}

/// One way through a rule's instructions.
#[derive(Clone)]
struct Way {
    region: Region,
    /// Tests that did not hold, with what they asked for, where the region could not say so.
    without: Vec<(u32, Region)>,
    /// The first instruction that is not said by the region: it must be run.
    open: Option<u32>,
    /// It has an item already.
    is_listed: bool,
}

impl Way {
    fn with(&self, region: Region) -> Self {
        Self { region, ..self.clone() }
    }

    fn open_at(mut self, insn: u32) -> Self {
        self.open = self.open.or(Some(insn));
        self
    }

    /// The first instruction that must be run.
    fn resume(&self) -> Option<u32> {
        let excluded = self.without.iter().find(|(_, region)| !region.is_disjoint(&self.region));
        let excluded = excluded.map(|(insn, _)| *insn);
        self.open.into_iter().chain(excluded).min()
    }
}

/// The ways on from a test: where it holds, where it does not.
struct Split {
    inside: Vec<Way>,
    outside: Vec<Way>,
}

pub(super) struct Reach<'a> {
    image: &'a Image,
    starts: &'a [Start],
    family: Family,
    /// Words that rules change, as bits: no region says anything about them.
    changing: u64,
    /// What can get to each rule.
    reached: Vec<Option<Region>>,
    items: Vec<Item>,
}

/// Everything rules do to packets of a family, in order of rules.
pub(super) fn items(image: &Image, starts: &[Start], family: Family) -> Vec<Item> {
    let changing = image.insns.iter().fold(REGISTER_WORDS, |words, insn| words | insn.written());
    let mut reach = Reach { image, starts, family, changing, reached: vec![None; starts.len()], items: Vec::new() };
    if let Some(first) = reach.reached.first_mut() {
        *first = Some(Region::all(family));
    }
    for at in 0..starts.len() {
        reach.rule(at);
    }
    reach.mark_skipped();
    reach.without_idle()
}

/// What a rule's ways lead to.
#[derive(Default)]
struct Found {
    items: Vec<Item>,
    /// Rules that are gone on to, by place, with what gets there.
    edges: Vec<(usize, Region)>,
    /// Does some way lead to the next rule?
    says_nothing: bool,
    visits: usize,
    /// Intervals of a set that are told apart.
    limit: usize,
}

impl Reach<'_> {
    fn rule(&mut self, at: usize) {
        let Some(region) = self.reached[at] else { return };
        let Start { index, next } = self.starts[at];
        let next = next.and_then(|next| self.place(next));
        let mut found = LIMITS.into_iter().find_map(|limit| {
            let way = Way { region, without: Vec::new(), open: None, is_listed: false };
            let mut found = Found { limit, ..Found::default() };
            self.explore(at, Target::at(index), way, &mut found).map(|()| found)
        });
        let mut found = found.take().unwrap_or_else(|| self.coarse(at, region));
        if let Some(next) = next {
            if found.says_nothing {
                self.reach(next, &region, &region);
            }
            Self::cover_jumps(index, (at, next), &region, &mut found);
        }
        for (place, part) in &found.edges {
            self.reach(*place, part, &region);
        }
        self.items.append(&mut found.items);
    }

    /// The part of what a rule is met by that goes on to another one.
    fn reach(&mut self, place: usize, part: &Region, outer: &Region) {
        let part = part.trimmed(outer);
        let known = &mut self.reached[place];
        *known = Some(known.map_or(part, |known| known.hull(&part).limited(&known)));
    }

    /// The place of a rule by its first instruction.
    fn place(&self, index: u32) -> Option<usize> {
        self.starts.binary_search_by_key(&index, |start| start.index).ok()
    }

    /// The rule is run for all that gets to it.
    fn coarse(&self, at: usize, region: Region) -> Found {
        let Start { index, .. } = self.starts[at];
        let end = self.starts.get(at + 1).map_or(self.image.insns.len(), |start| start.index as usize);
        let insns = &self.image.insns[index as usize..end];
        let targets = insns.iter().flat_map(|insn| [insn.pass, insn.fail]);
        let edges = targets.filter(|target| !target.is_verdict() && target.0 as usize >= end);
        let edges = edges.filter_map(|target| self.place(target.0)).chain(self.place(end as u32));
        let items = vec![Item { region, number: index, is_final: false, target: Target::at(index), decides: None }];
        Found { items, edges: edges.map(|place| (place, region)).collect(), says_nothing: true, ..Found::default() }
    }

    /// A chain that is jumped to from several regions of a rule is given the region around them: then the rule's own item
    /// must have all of that.
    fn cover_jumps(index: u32, (at, next): (usize, usize), outer: &Region, found: &mut Found) {
        let mut inner: Vec<usize> =
            found.edges.iter().map(|(place, _)| *place).filter(|to| (at + 1..next).contains(to)).collect();
        inner.sort_unstable();
        if !inner.windows(2).any(|pair| pair[0] == pair[1]) {
            return;
        }
        let regions = found.items.iter().map(|item| item.region).chain(found.edges.iter().map(|(_, region)| *region));
        if let Some(region) = regions.reduce(|all, one| all.hull(&one).trimmed(outer)) {
            found.items =
                vec![Item { region, number: index, is_final: false, target: Target::at(index), decides: None }];
        }
    }

    /// Follows a way to its ends; `None` when there are too many.
    fn explore(&self, rule: usize, to: Target, way: Way, found: &mut Found) -> Option<()> {
        found.visits += 1;
        if found.visits > MAX_VISITS || found.items.len() > MAX_REGIONS {
            return None;
        }
        if to.is_verdict() {
            Self::list(self.starts[rule].index, &way, (to, None), found);
            return Some(());
        }
        if to.0 != self.starts[rule].index
            && let Some(place) = self.place(to.0)
        {
            self.leave(rule, place, &way, found);
            return Some(());
        }
        let insn = *self.image.insns.get(to.0 as usize)?;
        self.run(rule, (to.0, &insn), way, found)
    }

    /// Gets to another rule.
    fn leave(&self, rule: usize, place: usize, way: &Way, found: &mut Found) {
        let Start { index, next } = self.starts[rule];
        let to = self.starts[place].index;
        if next == Some(to) {
            found.says_nothing = true;
        } else {
            Self::list(index, way, (Target::next(to), None), found);
            found.edges.push((place, way.region));
        }
    }

    fn list(number: u32, way: &Way, (target, decides): (Target, Option<u32>), found: &mut Found) {
        if way.is_listed {
            return;
        }
        let item = match way.resume() {
            Some(insn) => Item { region: way.region, number, is_final: false, target: Target::at(insn), decides: None },
            None => Item { region: way.region, number, is_final: target.is_verdict(), target, decides },
        };
        if found.items.last() != Some(&item) {
            found.items.push(item);
        }
    }

    fn run(&self, rule: usize, (at, insn): (u32, &Insn), mut way: Way, found: &mut Found) -> Option<()> {
        if insn.op == Op::Compute as u8 && insn.written() == 0 {
            // Only the rest of the rule looks at a register.
            return self.explore(rule, insn.pass, way.open_at(at), found);
        }
        if insn.op == Op::Read as u8 || insn.op == Op::Fib as u8 {
            let way = way.open_at(at);
            self.explore(rule, insn.fail, way.clone(), found)?;
            return self.explore(rule, insn.pass, way, found);
        }
        if !is_test(insn.op) {
            Self::list(self.starts[rule].index, &way, (Target::at(at), None), found);
            way.is_listed = true;
            if insn.fail != insn.pass {
                self.explore(rule, insn.fail, way.clone(), found)?;
            }
            return self.explore(rule, insn.pass, way, found);
        }
        let Split { inside, outside } = self.split((at, insn), &way, found.limit);
        let (pass, fail) = if insn.flags & NEGATE == 0 { (inside, outside) } else { (outside, inside) };
        for mut way in pass {
            if insn.flags & DECIDES != 0 {
                // Whoever comes here has been decided on: nothing but the verdict is left.
                let target = if insn.pass.is_verdict() { insn.pass } else { Target::next(insn.pass.0) };
                Self::list(self.starts[rule].index, &way, (target, Some(insn.rule)), found);
                way.is_listed = true;
            }
            self.explore(rule, insn.pass, way, found)?;
        }
        fail.into_iter().try_for_each(|way| self.explore(rule, insn.fail, way, found))
    }

    fn split(&self, (at, insn): (u32, &Insn), way: &Way, limit: usize) -> Split {
        let unknown = || {
            let way = way.clone().open_at(at);
            Split { inside: vec![way.clone()], outside: vec![way] }
        };
        if tested(insn) & self.changing != 0 {
            return unknown();
        }
        let intervals = match insn.op {
            op if op == Op::Range as u8 => Some(vec![(insn.low, insn.high)]),
            op if op == Op::Set32 as u8 => self.intervals(insn),
            op if op == Op::Masked128 as u8 || op == Op::Range128 as u8 || op == Op::Set128 as u8 => {
                return self.split_wide((at, insn), way, limit).unwrap_or_else(unknown);
            }
            _ => None,
        };
        intervals.and_then(|intervals| self.split_word((at, insn), &intervals, way, limit)).unwrap_or_else(unknown)
    }

    fn intervals(&self, insn: &Insn) -> Option<Vec<Interval>> {
        let (first, count) = (insn.low as usize, insn.high as usize);
        let set = self.image.intervals.get(first..first + count)?;
        Some(set.iter().map(|interval| (interval.low, interval.high)).collect())
    }

    /// Splits by intervals of a masked word; `None` when a region cannot say anything about it.
    fn split_word(&self, (at, insn): (u32, &Insn), set: &[Interval], way: &Way, limit: usize) -> Option<Split> {
        let (field, mask) = (insn.field, insn.mask);
        if field == Field::Zero as u8 || field == Field::NfProto as u8 {
            let value = match (field, self.family) {
                (0, _) => 0,
                (_, Family::V4) => NFPROTO_IPV4,
                (_, Family::V6) => NFPROTO_IPV6,
            } & mask;
            let holds = set.iter().any(|(low, high)| (*low..=*high).contains(&value));
            let (inside, outside) = if holds { (vec![way.clone()], vec![]) } else { (vec![], vec![way.clone()]) };
            return Some(Split { inside, outside });
        }
        let set = if field == Field::CtState as u8 { of_states(mask, set) } else { unmasked(mask, set)? };
        if set.len() > limit {
            let around = (set.first()?.0, set.last()?.1);
            let inside = Self::cut(at, field, &[around], way)?.into_iter().map(|way| way.open_at(at)).collect();
            return Some(Split { inside, outside: vec![way.clone().open_at(at)] });
        }
        let inside = Self::cut(at, field, &set, way)?;
        let outside = Self::cut(at, field, &gaps(field, &set), way)?;
        Some(Split { inside, outside })
    }

    /// The parts of a way where the word is in one of the intervals; `None` when a region has no interval for the word.
    fn cut(at: u32, field: u8, set: &[Interval], way: &Way) -> Option<Vec<Way>> {
        let address = [Field::SourceAddress, Field::DestinationAddress].into_iter().position(|one| one as u8 == field);
        if let Some(which) = address {
            if way.region.family == Family::V6 {
                return None;
            }
            let parts =
                set.iter().filter_map(|(low, high)| way.region.within_address(which, ((*low).into(), (*high).into())));
            return Some(parts.map(|region| way.with(region)).collect());
        }
        let word = Region::word_of(field)?;
        let part = |interval: &Interval| match way.region.within(word, *interval) {
            Part::Region(region) => Some(way.with(*region)),
            Part::Nothing => None,
            Part::Unsaid => Some(way.clone().open_at(at)),
        };
        Some(set.iter().filter_map(part).collect())
    }

    /// Splits by 128-bit values: IPv6 addresses, names of interfaces.
    fn split_wide(&self, (at, insn): (u32, &Insn), way: &Way, limit: usize) -> Option<Split> {
        let address =
            [Field::SourceAddress, Field::DestinationAddress].into_iter().position(|one| one as u8 == insn.field);
        let Some(which) = address.filter(|_| self.family == Family::V6) else {
            return self.split_name((at, insn), way);
        };
        let runs = self.runs(insn, limit)?;
        let (mut inside, mut outside, mut is_all) = (Vec::new(), way.clone(), false);
        for run in &runs {
            let around = prefix_around(*run);
            let Some(region) = way.region.within_address(which, around) else { continue };
            let is_exact = around == *run;
            let part = way.with(region);
            inside.push(if is_exact { part } else { part.open_at(at) });
            if is_exact {
                is_all |= region == way.region;
                outside.without.push((at, region));
            } else {
                outside = outside.open_at(at);
            }
        }
        Some(Split { inside, outside: if is_all { vec![] } else { vec![outside] } })
    }

    /// The runs of addresses that an instruction asks for.
    fn runs(&self, insn: &Insn, limit: usize) -> Option<Vec<(u128, u128)>> {
        let constant = |index: u32| self.image.constants.get(index as usize).map(joined);
        let (low, high) = (insn.low, insn.high);
        if insn.op == Op::Range128 as u8 {
            return Some(vec![(constant(low)?, constant(high)?)]);
        }
        if insn.op == Op::Masked128 as u8 {
            let (value, mask) = (constant(low)?, constant(high)?);
            let is_prefix = !mask & (!mask).wrapping_add(1) == 0 && value & !mask == 0;
            return is_prefix.then_some(vec![(value, value | !mask)]);
        }
        if high as usize > limit {
            let around = (constant(low)?, constant(low + 2 * high - 1)?);
            // If the ends make a prefix it would look as if all of it were asked for.
            return (prefix_around(around) != around).then_some(vec![around]);
        }
        (0..high).map(|at| Some((constant(low + 2 * at)?, constant(low + 2 * at + 1)?))).collect()
    }

    /// A name: the region only has its first word.
    fn split_name(&self, (at, insn): (u32, &Insn), way: &Way) -> Option<Split> {
        let word = Region::word_of(insn.field).filter(|_| insn.op == Op::Masked128 as u8)?;
        let value = self.image.constants.get(insn.low as usize)?[0];
        let mask = self.image.constants.get(insn.high as usize)?[0];
        let interval = *unmasked(mask, &[(value, value)])?.first()?;
        let inside = match way.region.within(word, interval) {
            Part::Region(region) => vec![way.with(*region).open_at(at)],
            Part::Nothing => vec![],
            Part::Unsaid => vec![way.clone().open_at(at)],
        };
        Some(Split { inside, outside: vec![way.clone().open_at(at)] })
    }

    /// A rule that some rule in front can send packets past does not end the search for all of them.
    fn mark_skipped(&mut self) {
        let mut items = self.items.iter_mut().peekable();
        let mut furthest = 0;
        for (at, start) in self.starts.iter().enumerate() {
            while let Some(item) = items.next_if(|item| item.number == start.index) {
                item.is_final &= furthest <= start.index;
            }
            let end = self.starts.get(at + 1).map_or(self.image.insns.len(), |next| next.index as usize);
            let insns = &self.image.insns[start.index as usize..end];
            let targets = insns.iter().flat_map(|insn| [insn.pass, insn.fail]).filter(|target| !target.is_verdict());
            furthest = targets.map(|target| target.0).fold(furthest, u32::max);
        }
    }

    /// Takes out what only leads to where the search goes anyway.
    fn without_idle(mut self) -> Vec<Item> {
        let items = std::mem::take(&mut self.items);
        items.into_iter().filter(|item| !self.is_idle(item)).collect()
    }

    fn is_idle(&self, item: &Item) -> bool {
        let Item { region, number, target, decides, is_final: _ } = item;
        if decides.is_some() || !target.is_next() {
            return false;
        }
        let (Some(from), Some(to)) = (self.place(*number), self.place(target.number())) else { return false };
        let mut between = self.reached[from + 1..to].iter().flatten();
        to - from <= MAX_SKIPPED && between.all(|reached| reached.is_disjoint(region))
    }
}

/// Does an instruction of this number look at words and do nothing else? All others must be run.
const fn is_test(op: u8) -> bool {
    op == Op::Range as u8
        || op == Op::Set32 as u8
        || op == Op::Masked128 as u8
        || op == Op::Range128 as u8
        || op == Op::Set128 as u8
}

/// The words that a test looks at, as bits.
const fn tested(insn: &Insn) -> u64 {
    let words = if insn.op == Op::Range as u8 || insn.op == Op::Set32 as u8 { 1 } else { 0b1111 };
    words << (insn.field & 63)
}

fn joined(words: &[u32; 4]) -> u128 {
    words.iter().fold(0, |value, word| value << 32 | u128::from(*word))
}

/// The values that are in the intervals when masked: known when the mask leaves out low bits only.
fn unmasked(mask: u32, set: &[Interval]) -> Option<Vec<Interval>> {
    let host = !mask;
    if host & host.wrapping_add(1) != 0 {
        return None;
    }
    let part = |(low, high): &Interval| {
        let low = if low & host == 0 { *low } else { (low & mask).checked_add(host)?.checked_add(1)? };
        let high = high & mask | host;
        (low <= high && (low & mask) <= high).then_some((low, high))
    };
    Some(set.iter().filter_map(part).collect())
}

/// The runs of states that are in the intervals when masked.
fn of_states(mask: u32, set: &[Interval]) -> Vec<Interval> {
    let mut runs: Vec<Interval> = Vec::new();
    let mut before = false;
    for state in states() {
        let holds = set.iter().any(|(low, high)| (*low..=*high).contains(&(state & mask)));
        match runs.last_mut() {
            Some(run) if before && holds => run.1 = state,
            _ if holds => runs.push((state, state)),
            _ => {}
        }
        before = holds;
    }
    runs
}

/// What is between sorted, disjoint intervals.
fn gaps(field: u8, set: &[Interval]) -> Vec<Interval> {
    if field == Field::CtState as u8 {
        let inside = |state: u32| set.iter().any(|(low, high)| (*low..=*high).contains(&state));
        let rest: Vec<Interval> =
            states().into_iter().filter(|state| !inside(*state)).map(|state| (state, state)).collect();
        return of_states(u32::MAX, &rest);
    }
    let mut gaps = Vec::new();
    let mut next = Some(0);
    for (low, high) in set {
        if let Some(from) = next.filter(|from| from < low) {
            gaps.push((from, low - 1));
        }
        next = high.checked_add(1);
    }
    gaps.extend(next.map(|from| (from, u32::MAX)));
    gaps
}
