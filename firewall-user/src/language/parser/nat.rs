//! Translation of addresses: `snat`, `dnat`, `masquerade`, `redirect`.

use super::{Parsed, Parser, unsupported};
use crate::language::{
    ast::{Expr, ExprKind, Nat, StatementKind},
    lexer::Mark,
    ruleset::NatKind,
};

impl Parser<'_> {
    /// `dnat ip to 192.0.2.1:80 random`
    pub(super) fn nat(&mut self, kind: NatKind) -> Parsed<StatementKind> {
        self.bump();
        let mut nat = Nat { kind, network: None, prefix: None, address: None, port: None, flags: Vec::new() };
        if matches!(kind, NatKind::Source | NatKind::Destination) {
            if self.at_word("ip") || self.at_word("ip6") {
                nat.network = Some(self.spanned());
            }
            self.nat_type(&mut nat)?;
            // The older form is without the word.
            let older = nat.network.is_none() && nat.prefix.is_none() && !self.at_separator();
            if self.take_word("to").is_none() && !older {
                return Err(self.unexpected("`to` and an address"));
            }
            self.nat_target(&mut nat)?;
        } else if self.take_word("to").is_some() {
            let _ = self.take_mark(Mark::Colon);
            nat.port = Some(self.data()?);
        }
        self.nat_flags(&mut nat)?;
        Ok(StatementKind::Nat(Box::new(nat)))
    }

    /// `prefix`; of `interval` and `addr . port` listings say nothing: what is translated to shows it.
    fn nat_type(&mut self, nat: &mut Nat) -> Parsed<()> {
        nat.prefix = self.take_word("prefix");
        if nat.prefix.is_some() || self.take_word("interval").is_some() || self.take_word("addr").is_none() {
            return Ok(());
        }
        if self.take_mark(Mark::Dot).is_some() && self.take_word("port").is_none() {
            return Err(self.unexpected("`port` behind `addr .`"));
        }
        Ok(())
    }

    fn nat_target(&mut self, nat: &mut Nat) -> Parsed<()> {
        if !self.at_mark(Mark::Colon) {
            nat.address = Some(self.nat_address()?);
        }
        if self.at_word("offset") {
            let reason = "nft 1.0.6 has no such word; a map says which port becomes which: `redirect to tcp dport map { 8080 : 80 }`";
            return Err(unsupported::refusal(self.here(), "`offset` in a translation", reason));
        }
        if nat.network.is_none() || nat.address.is_some() {
            if nat.prefix.is_none() && self.take_mark(Mark::Colon).is_some() {
                nat.port = Some(self.data()?);
            }
            return Ok(());
        }
        Err(self.unexpected("an address"))
    }

    /// An address, `[address]`, or a range of either.
    fn nat_address(&mut self) -> Parsed<Expr> {
        if !self.at_mark(Mark::BracketOpen) {
            return self.data();
        }
        let first = self.bracketed()?;
        if self.take_mark(Mark::Minus).is_none() {
            return Ok(first);
        }
        let last = if self.at_mark(Mark::BracketOpen) { self.bracketed()? } else { self.value()? };
        let span = first.span.to(last.span);
        Ok(Expr { kind: ExprKind::Range(Box::new(first), Box::new(last)), span })
    }

    /// `[2001:db8::1]`
    pub(super) fn bracketed(&mut self) -> Parsed<Expr> {
        self.bump();
        let value = self.value()?;
        self.expect_mark(Mark::BracketClose, "`]` after the address")?;
        Ok(value)
    }

    fn nat_flags(&mut self, nat: &mut Nat) -> Parsed<()> {
        while matches!(self.word(), Some("random" | "fully-random" | "persistent")) {
            nat.flags.push(self.spanned());
            if self.take_mark(Mark::Comma).is_none() {
                return Ok(());
            }
        }
        if nat.flags.is_empty() { Ok(()) } else { Err(self.unexpected("`random`, `fully-random` or `persistent`")) }
    }
}
