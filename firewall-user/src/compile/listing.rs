//! An image and a manifest as text for people.

use std::{collections::HashMap, fmt::Write, io, ops::Range};

use firewall_common::{
    image::{DECIDES, Hook, Image, Insn, NEGATE, NO_RULE, POLICY, Part, Target},
    packet::Field,
};

use serde::Deserialize;

use super::{
    CellRecord, Filling, HoleRecord, Manifest, ObjectRecord, QuotaRecord, RuleRecord, numbers::Numbers, records::parsed,
};
use crate::language::{
    Diagnostics, Ruleset, json,
    print::{self, CounterRef, Hole, Object, Shown},
    ruleset::{Content, Quota},
};

/// Every instruction on a line, then constants and intervals: for tests and for debugging.
pub fn image_listing(image: &Image) -> String {
    let mut out = String::new();
    for part in Part::ALL {
        let entry = image.settings.entry[part as usize];
        // The hooks that every ruleset has, and what else there is.
        if entry != Target::ACCEPT || part as usize <= Hook::Postrouting as usize {
            let _ = writeln!(out, "{} -> {}", part.name(), target(entry));
        }
    }
    let _ = writeln!(out, "uses {:#x}", image.settings.uses);
    for (at, insn) in image.insns.iter().enumerate() {
        let _ = writeln!(out, "{at:4} {}", instruction(insn));
    }
    for (at, constant) in image.constants.iter().enumerate() {
        let words = constant.map(|word| format!("{word:08x}")).join(":");
        let _ = writeln!(out, "constant {at} {words}");
    }
    for (at, interval) in image.intervals.iter().enumerate() {
        let _ = writeln!(out, "interval {at} {:#x}-{:#x}", interval.low, interval.high);
    }
    out
}

fn target(target: Target) -> String {
    match target {
        Target::ACCEPT => "accept".to_owned(),
        Target::DROP => "drop".to_owned(),
        target if target.is_synproxy() => format!("synproxy {}", target.segment_size()),
        target if target.is_reject() => {
            let (kind, code) = target.answer();
            format!("reject {kind}:{code}")
        }
        target if target.is_next() => format!("next from {}", target.number()),
        Target(index) => index.to_string(),
    }
}

fn attribution(rule: u32) -> String {
    match rule {
        NO_RULE => "-".to_owned(),
        rule if rule & POLICY != 0 => format!("policy {}", rule & !POLICY),
        rule => format!("rule {rule}"),
    }
}

fn instruction(insn: &Insn) -> String {
    let Insn { op, field, flags, reserved: _, rule, mask, low, high, extra, pass, fail } = *insn;
    let not = if flags & NEGATE != 0 { "not " } else { "" };
    let decides = if flags & DECIDES != 0 { " decides" } else { "" };
    let body = match op {
        1 if field == 0 && low == 0 => "always".to_owned(),
        1 => format!("range {} & {mask:#x} in {low:#x}-{high:#x}", field_name(field)),
        2 => format!("masked {} == {low} & {high}", field_name(field)),
        3 => format!("range {} in {low}-{high}", field_name(field)),
        4 => format!("set {} & {mask:#x} in {low}+{high}", field_name(field)),
        5 => format!("set {} in {low}+{high}", field_name(field)),
        6 => format!("counter {low}"),
        7 => format!("log {low}"),
        16 => format!(
            "{} = ({} & {mask:#x} ^ {low:#x}) >> {} << {}",
            field_name(extra as u8),
            field_name(field),
            high & 0xff,
            high >> 8
        ),
        18 => format!("{} & {mask:#x} = {} << {high}", field_name(extra as u8), field_name(field)),
        19 => format!("write {low:#x} & {mask:#x} = {} >> {} << {}", field_name(field), high & 0xff, high >> 8),
        17 => format!("{} = fetch {low}", field_name(extra as u8)),
        64 => "notrack".to_owned(),
        40 if low == 0 => format!("key {extra} = {mask:#x}"),
        40 => format!("key {extra} = {low} words {} & {mask:#x} >> {high}", field_name(field)),
        41 if high.trailing_zeros() >= 8 => format!("in set {low}, {extra:#x}"),
        41 => format!("{} & {mask:#x} in set {low}, {extra:#x}", field_name(field)),
        42 => format!("change {} of set {low}, {high} ticks, {extra:#x}", extra & 3),
        43 => format!("element of set {low}: statement {high}, constant {mask}, {extra:#x}"),
        44 => format!("connections in set {low}: {high}, {extra:#x}"),
        48 => format!("limit of packets, constant {low}, cell {extra}"),
        49 => format!("limit of bytes, constant {low}, cell {extra}"),
        50 => format!("quota, constant {low}, cell {extra}"),
        32 => format!("{} = read {low}+{high:#x} of {mask:#x}", field_name(extra as u8)),
        33 => format!("{} = way back, {low:#x}, {high:#x}", field_name(extra as u8)),
        34 => format!("option {low}+{high:#x} of {mask:#x} = {}", field_name(extra as u8)),
        35 => format!("{} = largest segment", field_name(extra as u8)),
        65 => format!("nat {mask:#x} addresses {low} ports {}-{}", high & 0xffff, high >> 16),
        _ => format!("op {op}"),
    };
    format!("[{}]{decides} {not}{body} ? {} : {}", attribution(rule), target(pass), target(fail))
}

fn field_name(field: u8) -> String {
    const NAMES: &[(u8, &str)] = &[
        (0, "zero"),
        (1, "nfproto"),
        (2, "l4proto"),
        (3, "l4header"),
        (4, "saddr"),
        (8, "daddr"),
        (12, "sport"),
        (13, "dport"),
        (14, "icmp"),
        (15, "ctstate"),
        (16, "iif"),
        (17, "oif"),
        (18, "iifname"),
        (22, "oifname"),
        (26, "tcpflags"),
        (27, "length"),
        (28, "fragment"),
        (29, "mark"),
        (30, "ctmark"),
        (31, "ethertype"),
    ];
    if let Some(register) = field.checked_sub(Field::Register as u8) {
        return format!("register {register}");
    }
    NAMES
        .iter()
        .find(|(number, _)| *number == field)
        .map_or_else(|| format!("field {field}"), |(_, name)| (*name).to_owned())
}

/// Packets and bytes of a counter slot.
pub type Counts<'a> = &'a dyn Fn(u32) -> (u64, u64);

/// What is read from the kernel's maps for a listing.
#[derive(Clone, Copy)]
pub struct Live<'a> {
    /// Packets and bytes of a counter slot.
    pub counts: Counts<'a>,
    /// The word of a limit's or quota's cell.
    pub cell: &'a dyn Fn(&CellRecord) -> u64,
}

/// As much of a manifest as a listing in text needs: a ruleset of 100,000 rules is listed without reading it again.
#[derive(Debug, Deserialize)]
pub struct Printed {
    /// The canonical text.
    canonical: String,
    /// What in it is live.
    holes: Vec<HoleRecord>,
    /// The interfaces it names.
    interfaces: Vec<(u32, String)>,
}

impl Printed {
    /// The slots of its counters.
    pub fn counters(&self) -> impl Iterator<Item = u32> + Clone {
        self.holes.iter().filter_map(|hole| match hole.2 {
            Filling::Counter(slot) => Some(slot),
            Filling::Quota(..) | Filling::Handle(_) => None,
        })
    }

    /// The slots of its quotas.
    pub fn quotas(&self) -> impl Iterator<Item = u32> + Clone {
        self.holes.iter().filter_map(|hole| match &hole.2 {
            Filling::Quota(cell, _) => Some(cell.slot),
            Filling::Counter(_) | Filling::Handle(_) => None,
        })
    }

    /// Writes the listing, piece by piece.
    pub fn write(&self, live: Live<'_>, handles: bool, out: &mut dyn io::Write) -> io::Result<()> {
        write(&self.canonical, &self.holes, live, handles, out)
    }

    /// Writes the listing as JSON, in the schema of `nft -j list ruleset`. The text with its counts is read again, and says all but the
    /// handles, which stand in the order of the text: so the records of all rules need not be.
    pub fn write_json(&self, live: Live<'_>, out: &mut dyn io::Write) -> Result<io::Result<()>, Diagnostics> {
        let mut text = Vec::with_capacity(self.canonical.len() * 2);
        let _ = self.write(live, false, &mut text);
        let ruleset = parsed(&String::from_utf8_lossy(&text), &self.interfaces)?;
        drop(text);
        let handles = self.holes.iter().filter_map(|hole| match hole.2 {
            Filling::Handle(handle) => Some(handle),
            Filling::Counter(_) | Filling::Quota(..) => None,
        });
        let handles: HashMap<Object, u64> = print::objects(&ruleset).zip(handles).collect();
        let shown = Shown { handle: &|object| handles.get(&object).copied(), ..Shown::as_written() };
        Ok(written(&ruleset, &shown, out))
    }
}

/// Writes objects as they come.
fn written(ruleset: &Ruleset, shown: &Shown<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    let mut result = out.write_all(b"{\"nftables\":[");
    let mut is_first = true;
    json::each(ruleset, shown, &mut |object| {
        if result.is_ok() {
            let comma: &[u8] = if std::mem::take(&mut is_first) { b"" } else { b"," };
            result = out.write_all(comma).and_then(|()| serde_json::to_writer(&mut *out, &object).map_err(Into::into));
        }
    });
    result.and_then(|()| out.write_all(b"]}\n"))
}

fn write(text: &str, holes: &[HoleRecord], live: Live<'_>, handles: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let mut at = 0;
    for HoleRecord(start, end, filling) in holes {
        out.write_all(&text.as_bytes()[at..*start as usize])?;
        match filling {
            Filling::Handle(handle) if handles => out.write_all(print::handle_text(*handle).as_bytes())?,
            Filling::Handle(_) => {}
            Filling::Counter(slot) => out.write_all(print::counter_text((live.counts)(*slot)).as_bytes())?,
            Filling::Quota(cell, QuotaRecord { over, bytes }) => {
                let quota = Quota { over: *over, bytes: *bytes, used: 0 };
                // The kernel shows no more than there was.
                out.write_all(print::quota_text(quota, (live.cell)(cell).min(*bytes)).as_bytes())?;
            }
        }
        at = *end as usize;
    }
    out.write_all(&text.as_bytes()[at..])
}

/// The rules that are in force, as `nft list ruleset` prints them, with their counts.
pub fn listing(manifest: &Manifest, live: Live<'_>, handles: bool) -> String {
    let mut out = Vec::with_capacity(manifest.canonical.len());
    // Memory takes everything, and text with text in it is text.
    let _ = write(&manifest.canonical, &manifest.holes, live, handles, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The same as JSON, in one piece.
pub fn json(manifest: &Manifest, live: Live<'_>) -> Result<serde_json::Value, Diagnostics> {
    let Manifest { canonical, holes, interfaces, .. } = manifest.clone();
    let mut bytes = Vec::new();
    // Memory takes everything.
    let _ = Printed { canonical, holes, interfaces }.write_json(live, &mut bytes)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// The records of a ruleset's objects.
pub(super) struct Recorded<'a> {
    manifest: &'a Manifest,
    numbers: Numbers,
    /// By table: the number of its first set.
    first_set: Vec<usize>,
    /// By table: the number of its first object.
    first_object: Vec<usize>,
}

/// Where each of several lists starts when they stand one behind the other.
fn starts(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let next = |next: &mut usize, length| {
        *next += length;
        Some(*next - length)
    };
    lengths.scan(0, next).collect()
}

impl<'a> Recorded<'a> {
    pub(super) fn new(manifest: &'a Manifest, ruleset: &Ruleset) -> Self {
        let first_set = starts(ruleset.tables().iter().map(|table| table.sets.len()));
        let first_object = starts(ruleset.tables().iter().map(|table| table.objects.len()));
        Self { manifest, numbers: Numbers::of(ruleset), first_set, first_object }
    }

    /// What is put in the holes of the text.
    pub(super) fn holes(&self, holes: &[(Range<usize>, Hole)]) -> Vec<HoleRecord> {
        let record = |(place, hole): &(Range<usize>, Hole)| {
            Some(HoleRecord(place.start as u32, place.end as u32, self.filling(hole)?))
        };
        holes.iter().filter_map(record).collect()
    }

    fn filling(&self, hole: &Hole) -> Option<Filling> {
        let of_rule = |at: CounterRef| self.rule(at.table, at.chain, at.rule);
        Some(match *hole {
            Hole::Handle(object) => Filling::Handle(self.handle(object)?),
            Hole::Counter(at, _) => Filling::Counter(of_rule(at)?.counters.get(at.nth)?.slot),
            Hole::Quota(at, Quota { over, bytes, used: _ }) => {
                Filling::Quota(of_rule(at)?.quotas.get(at.nth)?.clone(), QuotaRecord { over, bytes })
            }
            Hole::Content(at, content) => {
                let record = self.named(at)?;
                match content {
                    Content::Counter { .. } => Filling::Counter(record.counter.as_ref()?.slot),
                    Content::Quota(_) => Filling::Quota(record.cell.clone()?, record.quota.clone()?),
                    Content::Limit(_) | Content::Synproxy(_) => return None,
                }
            }
        })
    }

    fn named(&self, (table, object): (usize, usize)) -> Option<&ObjectRecord> {
        self.manifest.objects.get(self.first_object[table] + object)
    }

    fn rule(&self, table: usize, chain: usize, rule: usize) -> Option<&RuleRecord> {
        self.manifest.rule(self.numbers.rule(table, chain, rule))
    }

    pub(super) fn handle(&self, object: Object) -> Option<u64> {
        match object {
            Object::Table(table) => self.manifest.tables.get(table).map(|table| table.handle),
            Object::Set(table, set) => self.manifest.sets.get(self.first_set[table] + set).map(|set| set.handle),
            Object::Named(table, object) => self.named((table, object)).map(|object| object.handle),
            Object::Chain(table, chain) => {
                self.manifest.chain(self.numbers.chain(table, chain)).map(|chain| chain.handle)
            }
            Object::Rule(table, chain, rule) => self.rule(table, chain, rule).map(|rule| rule.handle),
        }
    }
}
