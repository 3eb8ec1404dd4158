//! Making sets, filling them and reading them back: what only user space does.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    COUNT, DATA_WORDS, FACTOR, FIRST, FORM, Form, KEY_WORDS, Key, Kind, LINE, LINE_WORDS, Line, Lines, MEMBERS, PLACES,
    SIZES, USED,
    connections::PER_LINE as PER_LINE_MEMBERS,
    hash::{HELD, STRIDE, WAYS},
    high, low,
    ranges::PER_LINE,
    shapes::MAX_SHAPES,
};

impl Line for &[AtomicU64; LINE_WORDS] {
    fn load(self, word: usize) -> u64 {
        self[word].load(Ordering::Acquire)
    }

    fn store(self, word: usize, value: u64) {
        self[word].store(value, Ordering::Release);
    }

    fn exchange(self, word: usize, old: u64, new: u64) -> bool {
        self[word].compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn add(self, word: usize, value: u64) {
        self[word].fetch_add(value, Ordering::SeqCst);
    }

    fn fetch_add(self, word: usize, value: u64) -> u64 {
        self[word].fetch_add(value, Ordering::SeqCst)
    }
}

/// Memory of a set on the host.
#[derive(Debug, Default)]
pub struct Memory(pub Vec<[AtomicU64; LINE_WORDS]>);

impl<'a> Lines for &'a [[AtomicU64; LINE_WORDS]] {
    type Line = &'a [AtomicU64; LINE_WORDS];

    fn line(&self, index: u32) -> Option<Self::Line> {
        self.get(index as usize)
    }
}

impl Memory {
    /// Memory for a set, made.
    pub fn new(spec: &Spec, secret: [u64; LINE_WORDS]) -> Self {
        let mut lines = Vec::new();
        lines.resize_with(spec.lines() as usize, || [const { AtomicU64::new(0) }; LINE_WORDS]);
        let memory = Self(lines);
        spec.begin(&memory.lines(), secret);
        memory
    }

    /// Its lines.
    pub fn lines(&self) -> &[[AtomicU64; LINE_WORDS]] {
        &self.0
    }
}

/// What a set is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How.
    pub kind: Kind,
    /// Words of a key; with shapes, that of the shape included. Ranges: entries of the directory.
    pub key_words: u32,
    /// Words of data.
    pub data_words: u32,
    /// Does each element count?
    pub counts: bool,
    /// May elements end?
    pub ends: bool,
    /// Limits and quotas that each element has.
    pub cells: u32,
    /// Connections that are counted for each element at most; for all elements together, with no room for any.
    pub connections: u32,
    /// Room for so many elements (prefixes, with shapes; lines of blocks, in ranges).
    pub room: u32,
    /// At most so many.
    pub limit: u32,
}

impl Spec {
    /// Buckets: about half full when there is no more room.
    fn buckets(&self) -> u64 {
        (u64::from(self.room) * 2).div_ceil(7).max(8)
    }

    fn directory(&self) -> u64 {
        u64::from(self.key_words).div_ceil(u64::from(PER_LINE))
    }

    fn key_log(&self) -> u64 {
        u64::from(self.key_words.div_ceil(2).next_power_of_two().trailing_zeros())
    }

    fn has_keys(&self) -> bool {
        self.kind != Kind::Ranges && self.key_words > 1
    }

    /// Words of the extras, and which is which.
    fn extras(&self) -> (u64, u64) {
        let mut at = u64::from(self.data_words.div_ceil(2));
        let mut bits = u64::from(self.data_words) << 32;
        let mut part = |has: bool, words: u64, from: u32| {
            if has {
                bits |= (at | 8) << from;
                at += words;
            }
        };
        part(self.counts, 2, 40);
        part(self.ends, 1, 44);
        part(self.cells > 0, u64::from(self.cells), 48);
        part(self.kind == Kind::Shapes, 1, 52);
        (at, bits)
    }

    /// Words that stand beside a key.
    pub fn extra_words(&self) -> u64 {
        self.extras().0
    }

    /// The word that says all this.
    pub fn form(&self) -> Form {
        if self.kind == Kind::Ranges {
            return Form(Kind::Ranges as u64 | 1 << 8);
        }
        let (extras, bits) = self.extras();
        let keys = if self.has_keys() { 1 << 18 | self.key_log() << 16 } else { 0 };
        let log = u64::from(extras.max(1).next_power_of_two().trailing_zeros());
        let extras = if extras > 0 { 1 << 26 | log << 24 } else { 0 };
        Form(self.kind as u64 | u64::from(self.key_words) << 8 | keys | extras | bits)
    }

    /// Line where masks, keys and extras start, and how many lines there are in all.
    fn places(&self) -> (u64, u64, u64, u64) {
        let form = self.form();
        if self.kind == Kind::Ranges {
            let end = u64::from(FIRST) + self.directory() + u64::from(self.room);
            return (0, 0, 0, end);
        }
        let each = |has: bool, log: u64| if has { (self.buckets() << log) * 8 / LINE_WORDS as u64 } else { 0 };
        let masks = u64::from(FIRST) + self.buckets();
        let keys = masks + if self.kind == Kind::Shapes { u64::from(MAX_SHAPES) } else { 0 };
        let extras = keys + each(form.has_keys(), self.key_log());
        let end = extras + each(form.has_extras(), u64::from(form.extra_words().trailing_zeros()));
        (masks, keys, extras, end)
    }

    /// Lines that the connections of an element take.
    fn members_each(&self) -> u64 {
        u64::from(self.connections).div_ceil(u64::from(PER_LINE_MEMBERS))
    }

    /// Places that connections are counted for.
    fn counted_places(&self) -> u64 {
        if self.room == 0 { 1 } else { self.buckets() * u64::from(STRIDE) }
    }

    /// Lines of memory.
    pub fn lines(&self) -> u64 {
        self.places().3 + self.members_each() * self.counted_places()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        self.lines() * LINE as u64
    }

    /// Writes what the set is into memory that is all zero.
    pub fn begin<S: Lines>(&self, set: &S, secret: [u64; LINE_WORDS]) {
        let (masks, keys, extras, _) = self.places();
        let (Some(head), Some(numbers)) = (set.line(0), set.line(1)) else { return };
        for (word, value) in secret.into_iter().enumerate() {
            numbers.store(word, value);
        }
        let ranges = self.kind == Kind::Ranges;
        let sizes = if ranges { u64::from(self.key_words) } else { self.buckets() };
        head.store(SIZES, sizes | u64::from(self.limit) << 32);
        head.store(PLACES, keys | extras << 32);
        let used = u64::from(FIRST) + self.directory();
        head.store(MEMBERS, self.places().3 | self.members_each() << 32);
        head.store(USED, if ranges { used | self.lines() << 32 } else { masks << 32 });
        head.store(FACTOR, secret[FACTOR]);
        head.store(FORM, self.form().0);
    }
}

/// An element of a set of [`super::hash`], read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place.
    pub place: u32,
    /// Its key.
    pub key: Key,
    /// Words of data.
    pub data: [u32; DATA_WORDS],
    /// Packets and bytes, if it counts.
    pub counter: Option<(u64, u64)>,
    /// Its timeout, milliseconds; 0 for none.
    pub timeout: u64,
    /// Its limits and quotas.
    pub cells: [u64; 2],
    /// Number of the interval that it is part of.
    pub interval: u64,
    /// When it ends, ticks.
    pub expires: u32,
}

/// The elements of a set, those that have ended left out.
pub fn elements<S: Lines>(set: &S, tick: u32) -> Vec<Found> {
    let Some(head) = set.line(0) else { return Vec::new() };
    let mut found = Vec::with_capacity(low(head.load(COUNT)) as usize);
    for bucket in 0..low(head.load(SIZES)) {
        let Some(line) = set.line(FIRST + bucket) else { break };
        for slot in 0..WAYS {
            let word = line.load(slot);
            if low(word) > tick && low(word) != HELD {
                found.extend(element(set, bucket * STRIDE + slot as u32, word));
            }
        }
    }
    found
}

/// The element in a place whose slot is `word`.
pub fn element<S: Lines>(set: &S, place: u32, word: u64) -> Option<Found> {
    let head = set.line(0)?;
    let form = Form(head.load(FORM));
    let mut key = [0; KEY_WORDS];
    if form.has_keys() {
        let (line, first) = form.key(place);
        let line = set.line(low(head.load(PLACES)) + line)?;
        for (at, part) in key.iter_mut().enumerate().take(form.key_words() as usize) {
            *part = (line.load((first + at / 2) & 7) >> (at % 2 * 32)) as u32;
        }
    } else {
        key[0] = high(word);
    }
    let mut extras = [0; LINE_WORDS];
    if form.has_extras() {
        let (line, first) = form.extras(place);
        let line = set.line(high(head.load(PLACES)) + line)?;
        for (at, value) in extras.iter_mut().enumerate().take(form.extra_words() as usize) {
            *value = line.load((first + at) & 7);
        }
    }
    let mut data = [0; DATA_WORDS];
    for (at, part) in data.iter_mut().enumerate().take(form.data_words() as usize) {
        *part = (extras[at / 2] >> (at % 2 * 32)) as u32;
    }
    let one = |at: Option<usize>| at.map_or(0, |at| extras[at & 7]);
    Some(Found {
        place,
        key,
        data,
        counter: form.counter().map(|at| (extras[at & 7], extras[(at + 1) & 7])),
        timeout: one(form.timeout()),
        cells: form.cells().map_or([0; 2], |at| [extras[at & 7], extras[(at + 1) & 7]]),
        interval: one(form.interval()),
        expires: low(word),
    })
}

/// The extras of a new element.
pub fn extras(
    form: Form,
    (data, cells): (&[u32], &[u64]),
    counter: (u64, u64),
    (timeout, interval): (u64, u64),
) -> [u64; LINE_WORDS] {
    let mut extras = [0; LINE_WORDS];
    for (at, word) in data.iter().enumerate() {
        extras[(at / 2) & 7] |= u64::from(*word) << (at % 2 * 32);
    }
    if let Some(at) = form.counter() {
        (extras[at & 7], extras[(at + 1) & 7]) = counter;
    }
    if let Some(at) = form.cells() {
        cells.iter().enumerate().for_each(|(nth, cell)| extras[(at + nth) & 7] = *cell);
    }
    if let Some(at) = form.timeout() {
        extras[at & 7] = timeout;
    }
    if let Some(at) = form.interval() {
        extras[at & 7] = interval;
    }
    extras
}
