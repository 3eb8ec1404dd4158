//! Selectors of several words: `ct original ip saddr`, `numgen inc mod 3 offset 5`.

use super::{Parsed, Parser, expression::MAX_NESTING};
use crate::language::{
    ast::{Hash, Left},
    diagnostic::Diagnostic,
    ruleset::{CtField, End, Generator, Network, Selector, Side, Source},
    source::Span,
};

/// Fields of a connection that one direction has.
const SIDED: &str =
    "ip saddr, ip daddr, ip6 saddr, ip6 daddr, proto-src, proto-dst, bytes, packets, avgpkt, zone, l3proto, protocol";

impl Parser<'_> {
    /// What stands behind `ct` when it begins with a direction: the field, and where it ends.
    pub(super) fn sided_field(&mut self) -> Parsed<Option<(Selector, Span)>> {
        let side = match self.word() {
            Some("original") => Side::Original,
            Some("reply") => Side::Reply,
            Some(_) | None => return Ok(None),
        };
        self.bump();
        let network = match self.word() {
            Some("ip") => Some(Network::Ip),
            Some("ip6") => Some(Network::Ip6),
            Some(_) | None => None,
        };
        if network.is_some() {
            self.bump();
        }
        let Some(word) = self.word() else { return Err(self.unexpected("a field of the connection")) };
        let field = match (word, network) {
            ("saddr", Some(network)) => CtField::Address(side, network, End::Source),
            ("daddr", Some(network)) => CtField::Address(side, network, End::Destination),
            ("saddr", None) => CtField::UnknownAddress(side, End::Source),
            ("daddr", None) => CtField::UnknownAddress(side, End::Destination),
            ("proto-src", None) => CtField::Port(side, End::Source),
            ("proto-dst", None) => CtField::Port(side, End::Destination),
            ("bytes", None) => CtField::Bytes(Some(side)),
            ("packets", None) => CtField::Packets(Some(side)),
            ("avgpkt", None) => CtField::Average(Some(side)),
            ("zone", None) => CtField::Zone(Some(side)),
            ("l3proto", None) => CtField::L3Proto,
            ("protocol", None) => CtField::Protocol,
            _ => {
                let message = format!("`{word}` is nothing that a direction of a connection has");
                return Err(Diagnostic::error(self.here(), message).help(format!("there are: {SIDED}")));
            }
        };
        let end = self.bump();
        Ok(Some((Selector::Ct(field), end)))
    }

    /// `numgen inc mod 3`, `symhash mod 2 offset 5`
    pub(super) fn generator(&mut self) -> Parsed<Left> {
        let is_numgen = self.at_word("numgen");
        let start = self.bump();
        let kind = match self.word() {
            _ if !is_numgen => Source::SymmetricHash,
            Some("inc") => Source::Increment,
            Some("random") => Source::Random,
            Some(_) | None => return Err(self.unexpected("`inc` or `random` behind `numgen`")),
        };
        if is_numgen {
            self.bump();
        }
        let (modulus, end) = self.modulus()?;
        let (offset, end) = self.offset(modulus)?.unwrap_or((0, end));
        let selector = Selector::Generated(Generator { kind, modulus, offset });
        Ok(Left { selector, hash: None, operations: Vec::new(), more: Vec::new(), span: start.to(end) })
    }

    /// `jhash ip saddr . tcp dport mod 4 seed 0x5 offset 10`
    pub(super) fn hash(&mut self) -> Parsed<Left> {
        let start = self.bump();
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.too_deep());
        }
        let key = self.left_side()?;
        self.nesting -= 1;
        let Some(key) = key else { return Err(self.unexpected("what of the packet is hashed, such as `ip saddr`")) };
        let (modulus, end) = self.modulus()?;
        let seed = if self.take_word("seed").is_some() {
            let (seed, span) = self.number("a number")?;
            let seed = u32::try_from(seed).map_err(|_| Diagnostic::error(span, "a seed has 32 bits"))?;
            Some((seed, span))
        } else {
            None
        };
        let end = seed.map_or(end, |(_, span)| span);
        let (offset, end) = self.offset(modulus)?.unwrap_or((0, end));
        let hash = Some(Box::new(Hash { key, modulus, seed: seed.map(|(seed, _)| seed), offset }));
        let selector = Selector::Random;
        Ok(Left { selector, hash, operations: Vec::new(), more: Vec::new(), span: start.to(end) })
    }

    /// `mod N`
    pub(super) fn modulus(&mut self) -> Parsed<(u32, Span)> {
        if self.take_word("mod").is_none() {
            return Err(self.unexpected("`mod` and how many numbers there are"));
        }
        let (modulus, end) = self.number("a number")?;
        match u32::try_from(modulus) {
            Ok(modulus) if modulus > 0 => Ok((modulus, end)),
            Ok(_) | Err(_) => Err(Diagnostic::error(end, "there are 1 to 4294967295 numbers")),
        }
    }

    /// `offset N`, if it is there.
    pub(super) fn offset(&mut self, modulus: u32) -> Parsed<Option<(u32, Span)>> {
        if self.take_word("offset").is_none() {
            return Ok(None);
        }
        let (offset, end) = self.number("a number")?;
        match u32::try_from(offset).ok().filter(|offset| offset.checked_add(modulus - 1).is_some()) {
            Some(offset) => Ok(Some((offset, end))),
            None => Err(Diagnostic::error(end, "with this offset the numbers have more than 32 bits")),
        }
    }
}
