//! What is read from bytes, or asked of the routing table: `tcp option maxseg size`, `frag id`, `@nh,8,8`, `fib ..`.

use super::{Parsed, Parser, unsupported};
use crate::language::{
    ast::Left,
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    names,
    reading::{Base, Fib, FibResult, Reading, Side},
    ruleset::{Selector, Transport},
    source::Span,
};

/// Words that start a match of this kind, with one or more words behind them.
pub(super) const WORDS: &[&str] =
    &["exthdr", "hbh", "dst", "rt", "rt0", "srh", "frag", "mh", "esp", "ah", "comp", "igmp", "arp", "fib"];

/// Other names of options: `sack0` stands for the first block of `sack`.
const OPTION_NAMES: &[(&str, &str)] =
    &[("mss", "maxseg"), ("sack-permitted", "sack-perm"), ("sack0", "sack"), ("noop", "nop"), ("echo", "timestamp")];

/// Options of which other blocks than the first have a name, but whose presence and length are the same.
const BLOCKS: &[&str] = &["sack1", "sack2", "sack3"];

/// Bits of a TCP header (RFC 9293 section 3.1).
const TCP_HEADER_BITS: u128 = 60 * 8;

impl Parser<'_> {
    /// A reading, if one stands here.
    pub(super) fn reading(&mut self) -> Parsed<Option<Left>> {
        let start = self.here();
        let selector = if self.at_mark(Mark::At) {
            self.raw()?
        } else if self.route_mtu() {
            Selector::RouteMtu
        } else {
            let Some(found) = self.found()? else { return Ok(None) };
            Selector::Reading(found)
        };
        let span = start.to(self.previous());
        Ok(Some(Left { selector, hash: None, operations: Vec::new(), more: Vec::new(), span }))
    }

    /// `rt mtu`, `rt ip mtu` where a value stands; read past.
    fn route_mtu(&mut self) -> bool {
        let Some(word) = self.word_at(1).filter(|_| self.selectors && self.at_word("rt")) else { return false };
        let words = if word == "mtu" { 2 } else { 3 };
        let is_mtu = route(word, self.word_at(2)) == Some("mtu");
        for _ in 0..if is_mtu { words } else { 0 } {
            self.bump();
        }
        is_mtu
    }

    fn found(&mut self) -> Parsed<Option<Reading>> {
        Ok(Some(match (self.word(), self.word_at(1)) {
            (Some("tcp"), Some("option")) => self.tcp_option()?,
            (Some(word @ "ip"), Some(of @ "option")) | (Some(word @ "sctp"), Some(of @ "chunk")) => {
                let group = format!("{word} {of}");
                self.bump();
                self.bump();
                self.part(&group)?
            }
            (Some("exthdr"), _) => self.extension()?,
            (Some("srh" | "rt0"), Some("sid" | "addr")) => self.segment()?,
            (Some("rt"), Some(word)) if route(word, self.word_at(2)).is_some() => {
                let word = route(word, self.word_at(2)).unwrap_or_default();
                return Err(unsupported::field("rt", word, self.here()).unwrap_or_else(|| self.unexpected("a field")));
            }
            (Some("fib"), _) => self.fib()?,
            (Some(word), _) if WORDS.contains(&word) => {
                let group = word.to_owned();
                self.bump();
                self.field_of(&group)?
            }
            (Some(_) | None, _) => return Ok(None),
        }))
    }

    /// The field behind its group's words.
    fn field_of(&mut self, group: &str) -> Parsed<Reading> {
        let known = || Reading::names(group).collect::<Vec<_>>().join(", ");
        if group == "arp" && matches!(self.word(), Some("saddr" | "daddr")) {
            return self.arp_address();
        }
        let Some(name) = self.word() else {
            return Err(self.unexpected(&format!("a field behind `{group}`: {}", known())));
        };
        let Some(found) = Reading::named(group, name) else {
            let error = Diagnostic::error(self.here(), format!("unknown field `{name}` behind `{group}`"));
            return Err(match names::nearest(name, Reading::names(group)) {
                Some(near) => error.help(format!("did you mean `{group} {near}`?")),
                None if known().is_empty() => error.help("it is there or not: `exists`, `missing`"),
                None => error.help(format!("`{group}` knows: {}", known())),
            });
        };
        self.bump();
        Ok(found)
    }

    /// `saddr ip`, `daddr ether` behind `arp`
    fn arp_address(&mut self) -> Parsed<Reading> {
        let side = self.spanned();
        let of = self.word().unwrap_or_default();
        let Some(found) = Reading::named("arp", &format!("{} {of}", side.text)) else {
            return Err(self.unexpected(&format!("`ip` or `ether` behind `arp {}`", side.text)));
        };
        self.bump();
        Ok(found)
    }

    /// `lsrr`, `data`: an option or chunk, or a field of it.
    fn part(&mut self, of: &str) -> Parsed<Reading> {
        let of_this = || Reading::groups().filter_map(|group| group.strip_prefix(of)?.strip_prefix(' '));
        let Some(word) = self.word() else { return Err(self.unexpected(&format!("a name behind `{of}`"))) };
        let name = match OPTION_NAMES.iter().find(|(other, _)| of == "tcp option" && *other == word) {
            Some((_, name)) => name,
            None => word,
        };
        if !of_this().any(|known| known == name) {
            let error = Diagnostic::error(self.here(), format!("unknown name `{word}` behind `{of}`"));
            let mut known: Vec<_> = of_this().collect();
            known.sort_unstable();
            known.dedup();
            return Err(match names::nearest(word, known.iter().copied()) {
                Some(near) => error.help(format!("did you mean `{of} {near}`?")),
                None => error.help(format!("known names: {}", known.join(", "))),
            });
        }
        let group = format!("{of} {name}");
        self.bump();
        if group == "ip option rr" && matches!(self.word(), Some("ptr" | "addr")) {
            let error = Diagnostic::error(self.here(), "where a route has been recorded cannot be looked at");
            return Err(error.help("the kernel writes into this option before nftables' rules see it, and behind XDP"));
        }
        let field = self.word().filter(|field| Reading::named(&group, field).is_some());
        if field.is_some() {
            return self.field_of(&group);
        }
        let first = if BLOCKS.contains(&&group[of.len() + 1..]) { "tcp option sack" } else { &group };
        if let Some(found) = self.word().and_then(|field| Reading::named(first, field)) {
            self.bump();
            return Ok(found);
        }
        self.presence(first, &group)
    }

    /// Behind an option alone stands whether it is there.
    fn presence(&mut self, group: &str, written: &str) -> Parsed<Reading> {
        let found = Reading::named(group, "");
        match (self.word(), found) {
            (Some(word), Some(found)) if !names::PRESENCES.iter().any(|(name, _)| *name == word) => {
                if self.starts_value() {
                    return Ok(found);
                }
                self.field_of(written)
            }
            (_, Some(found)) => Ok(found),
            (_, None) => self.field_of(written),
        }
    }

    /// Does what stands here go on with a match whose left side is complete?
    fn starts_value(&self) -> bool {
        matches!(self.word(), Some("vmap" | "eq" | "ne" | "and" | "or" | "xor" | "set" | "map"))
    }

    fn tcp_option(&mut self) -> Parsed<Reading> {
        self.bump();
        self.bump();
        if self.at_mark(Mark::At) {
            return self.raw_option();
        }
        if self.peek().kind != Kind::Number {
            return self.part("tcp option");
        }
        let (kind, span) = self.number("the number of an option")?;
        let Ok(kind) = u8::try_from(kind) else {
            return Err(Diagnostic::error(span, "a TCP option's number has 8 bits"));
        };
        let Some(group) = Reading::option(kind) else {
            return match self.word() {
                Some("length" | "size" | "count" | "kind") => {
                    let error = Diagnostic::error(self.here(), "fields of an option without a name");
                    Err(error.help(format!("its bytes always work: `tcp option @{kind},8,8` is the length")))
                }
                _ => Ok(Reading::OptionKind(kind)),
            };
        };
        match self.word().filter(|field| Reading::named(group, field).is_some()) {
            Some(_) => self.field_of(group),
            None => self.presence(group, group),
        }
    }

    /// `exthdr frag`
    fn extension(&mut self) -> Parsed<Reading> {
        self.bump();
        let name = self.word().unwrap_or_default().to_owned();
        let Some(found) = Reading::named(&format!("exthdr {name}"), "") else {
            return Err(self.unexpected("an extension header: hbh, rt, frag, dst, mh"));
        };
        self.bump();
        Ok(found)
    }

    /// `srh sid[1]`, `rt0 addr[1]`
    fn segment(&mut self) -> Parsed<Reading> {
        self.bump();
        self.bump();
        self.expect_mark(Mark::BracketOpen, "`[`")?;
        let (number, span) = self.number("the number of a segment")?;
        self.expect_mark(Mark::BracketClose, "`]`")?;
        match number {
            1 | 2 => Ok(Reading::Segment(number as u8)),
            _ => {
                let error = Diagnostic::error(span, "only the first two segments can be looked at: 1 and 2");
                Err(error.help("of others nft 1.0.6 does not know the type"))
            }
        }
    }

    /// `@nh,8,8`
    fn raw(&mut self) -> Parsed<Selector> {
        let start = self.bump();
        let name = self.word().unwrap_or_default();
        let Some(base) = Base::named(name) else {
            let error = Diagnostic::error(start.to(self.here()), "unknown start of a raw payload");
            return Err(error.help("write `@ll`, `@nh`, `@th` or `@ih`, with offset and length in bits: `@th,16,16`"));
        };
        self.bump();
        let (offset, length, span) = self.extent()?;
        let span = start.to(span);
        let Ok(offset) = u16::try_from(offset) else {
            return Err(Diagnostic::error(span, "an offset beyond 65,535 bits"));
        };
        Ok(match (base, offset, length) {
            (Base::Transport, 0, 16) => Selector::SourcePort(Transport::Any),
            (Base::Transport, 16, 16) => Selector::DestinationPort(Transport::Any),
            (Base::Link | Base::Network | Base::Transport | Base::Inner, _, length) => {
                Selector::Reading(Reading::Raw(base, offset, length))
            }
        })
    }

    /// `,8,8`: offset and length in bits.
    fn extent(&mut self) -> Parsed<(u128, u8, Span)> {
        self.expect_mark(Mark::Comma, "`,`")?;
        let (offset, _) = self.number("an offset in bits")?;
        self.expect_mark(Mark::Comma, "`,`")?;
        let (length, span) = self.number("a length in bits")?;
        match length {
            1..=128 if offset % 8 + length <= 128 => Ok((offset, length as u8, span)),
            _ => Err(Diagnostic::error(span, "raw payload has 1 to 128 bits, within 16 bytes")),
        }
    }

    /// `tcp option @255,8,8`
    fn raw_option(&mut self) -> Parsed<Reading> {
        let start = self.bump();
        let (kind, span) = self.number("the number of an option")?;
        let Ok(kind) = u8::try_from(kind) else {
            return Err(Diagnostic::error(span, "a TCP option's number has 8 bits"));
        };
        let (offset, length, span) = self.extent()?;
        let span = start.to(span);
        if offset + u128::from(length) > TCP_HEADER_BITS - 160 {
            return Err(Diagnostic::error(span, "no TCP header has so many bytes of options"));
        }
        if let Some(found) = Reading::of_option(kind, offset as u16, length) {
            return Ok(found);
        }
        if !offset.is_multiple_of(8) || !length.is_multiple_of(8) || Reading::option(kind).is_some() {
            let error = Diagnostic::error(span, "these bits of an option have no name");
            return Err(error.help("nft 1.0.6 cannot print them: of options that it has names for, use these"));
        }
        Ok(Reading::RawOption(kind, offset as u16, length))
    }

    /// `fib saddr . iif oif`
    fn fib(&mut self) -> Parsed<Reading> {
        let start = self.bump();
        let mut asked = Asked::default();
        loop {
            let Some(word) = self.word() else {
                return Err(self.unexpected("what `fib` asks about: saddr, daddr, mark, iif, oif"));
            };
            let word = word.to_owned();
            let span = self.bump();
            asked.add(&word, span)?;
            if self.take_mark(Mark::Dot).is_none() {
                break;
            }
        }
        let result = match self.word() {
            Some("oif") => FibResult::Oif,
            Some("oifname") => FibResult::OifName,
            Some("type") => FibResult::Type,
            Some(_) | None => return Err(self.unexpected("what `fib` answers: oif, oifname or type")),
        };
        let end = self.bump();
        let Some(destination) = asked.destination else {
            return Err(Diagnostic::error(start.to(end), "`fib` needs an address to ask about: saddr or daddr"));
        };
        let fib = Fib { destination, mark: asked.mark, interface: asked.interface, v6: false, result };
        match unanswered(fib) {
            Some(reason) => {
                Err(Diagnostic::error(start.to(end), "the routing table cannot be asked this").help(reason))
            }
            None => Ok(Reading::Fib(fib)),
        }
    }
}

/// The field of `rt` that asks about the packet's route, behind a network layer or not.
fn route<'a>(word: &'a str, next: Option<&'a str>) -> Option<&'a str> {
    let field = if matches!(word, "ip" | "ip6") { next? } else { word };
    ["classid", "nexthop", "mtu", "ipsec"].into_iter().find(|known| *known == field)
}

/// What `bpf_fib_lookup` (Linux 6.18) does not tell programs, and what to write instead.
fn unanswered(fib: Fib) -> Option<&'static str> {
    match fib {
        Fib { result: FibResult::Type, .. } => None,
        Fib { destination: true, .. } => Some(
            "it does not tell programs broadcast addresses from unknown ones; `oifname` is where a forwarded packet leaves",
        ),
        Fib { result: FibResult::OifName, .. } => Some(
            "it knows interfaces by number: write `oif \"eth0\"`, or `iif oif missing` for the check of the way back",
        ),
        Fib { interface: Some(Side::Out), .. } => {
            Some("nor can nftables: a source is not reached by where the packet leaves")
        }
        Fib { .. } => None,
    }
}

/// What the routing table is asked about, so far.
#[derive(Default)]
struct Asked {
    destination: Option<bool>,
    mark: bool,
    interface: Option<Side>,
}

impl Asked {
    fn add(&mut self, word: &str, span: Span) -> Parsed<()> {
        let again = |first: &str, other: &str| {
            let message = format!("`fib` takes one of {first} and {other}, once");
            Err(Diagnostic::error(span, message))
        };
        match word {
            "saddr" | "daddr" if self.destination.is_some() => return again("saddr", "daddr"),
            "iif" | "oif" if self.interface.is_some() => return again("iif", "oif"),
            "saddr" | "daddr" => self.destination = Some(word == "daddr"),
            "iif" => self.interface = Some(Side::In),
            "oif" => self.interface = Some(Side::Out),
            "mark" => self.mark = true,
            _ => {
                let error = Diagnostic::error(span, format!("`fib` does not ask about `{word}`"));
                return Err(error.help("it asks about: saddr, daddr, mark, iif, oif"));
            }
        }
        Ok(())
    }
}
