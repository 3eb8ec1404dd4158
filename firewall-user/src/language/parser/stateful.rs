//! Statements that limit, count and refuse: `limit`, `quota`, `ct count`, `reject`, `synproxy`; and counters, quotas and
//! limits of a table by their names.

use super::{Parsed, Parser};
use crate::language::{
    ast::{ExprKind, RejectWith, StatementKind},
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    source::Span,
    stateful::{self, ICMP_CODES, ICMP6_CODES, Limit, ObjectKind, Per, Quota, Synproxy, Unreachable},
};

impl Parser<'_> {
    /// `limit rate ..` or `limit name ..`
    pub(super) fn limit(&mut self) -> Parsed<StatementKind> {
        self.bump();
        if self.at_word("name") {
            return self.object_use(ObjectKind::Limit);
        }
        Ok(StatementKind::Limit(self.limit_values()?))
    }

    /// `rate over 10 mbytes/second burst 5 mbytes`
    pub(super) fn limit_values(&mut self) -> Parsed<Limit> {
        let start = self.here();
        if self.take_word("rate").is_none() {
            return Err(self.unexpected("`rate` or `name` after `limit`"));
        }
        let over = self.take_word("over").is_some();
        if self.at_word("until") {
            let error = Diagnostic::error(self.here(), "`until` is not understood here, nor is it by nft 1.0.6");
            return Err(error.help("it is what `limit rate` means without any word: leave it out"));
        }
        let (rate, _) = self.number_below(u64::MAX, "the number of packets or bytes after `rate`")?;
        let (bytes, scale, per) = self.rate_unit()?;
        let Some(rate) = rate.checked_mul(scale) else { return Err(beyond(start.to(self.previous()))) };
        let burst = self.burst(bytes)?;
        let limit = Limit { over, bytes, rate, per, burst };
        let span = start.to(self.previous());
        if rate == 0 {
            return Err(Diagnostic::error(span, "a rate of 0 lets nothing through: the kernel refuses it"));
        }
        if limit.bucket().is_none() {
            return Err(beyond(span));
        }
        Ok(limit)
    }

    /// `/second`, `bytes/second`, `kbytes / second`: does it count bytes, how many are one, and the time.
    fn rate_unit(&mut self) -> Parsed<(bool, u64, Per)> {
        if self.take_mark(Mark::Slash).is_some() {
            return Ok((false, 1, self.per()?));
        }
        let span = self.here();
        let word = self.word().unwrap_or_default().to_owned();
        let (name, per) = word.split_once('/').map_or((&*word, None), |(name, per)| (name, Some(per)));
        let Some(scale) = stateful::unit(name) else { return Err(self.no_rate_unit(name)) };
        self.bump();
        let Some(per) = per else {
            self.expect_mark(Mark::Slash, "`/` and a time such as `second`")?;
            return Ok((true, scale, self.per()?));
        };
        match Per::ALL.into_iter().find(|known| known.name() == per) {
            Some(per) => Ok((true, scale, per)),
            None => Err(no_time(span, per)),
        }
    }

    fn per(&mut self) -> Parsed<Per> {
        let word = self.required_word("a time: second, minute, hour, day or week")?;
        let known = Per::ALL.into_iter().find(|known| known.name() == &*word.text);
        known.ok_or_else(|| no_time(word.span, &word.text))
    }

    fn no_rate_unit(&self, name: &str) -> Diagnostic {
        if name == "packets" {
            let error = Diagnostic::error(self.here(), "packets are counted without a word: `limit rate 10/second`");
            return error.help("`packets` stands behind `burst` only: `burst 5 packets`");
        }
        let error = self.unexpected("`/second` or `bytes/second` behind the rate");
        error.help("such as `limit rate 10/second` or `limit rate 10 mbytes/second`")
    }

    fn burst(&mut self, bytes: bool) -> Parsed<u32> {
        if self.take_word("burst").is_none() {
            return Ok(if bytes { 0 } else { firewall_common::limit::DEFAULT_BURST as u32 });
        }
        let (value, span) = self.number_below(u64::from(u32::MAX), "a number after `burst`")?;
        if bytes {
            let burst = value.checked_mul(self.byte_unit("of a limit of bytes")?);
            let burst = burst.and_then(|burst| u32::try_from(burst).ok());
            return burst.ok_or_else(|| Diagnostic::error(span, "a burst has at most 4294967295 bytes"));
        }
        if self.take_word("packets").is_none() {
            return Err(self.unexpected("`packets` behind the burst of a limit of packets"));
        }
        match u32::try_from(value) {
            Ok(0) | Err(_) => Err(Diagnostic::error(span, "a burst has at least one packet")),
            Ok(burst) => Ok(burst),
        }
    }

    /// `bytes`, `kbytes` or `mbytes`: how many bytes one is.
    fn byte_unit(&mut self, what: &str) -> Parsed<u64> {
        match self.word().and_then(stateful::unit) {
            Some(scale) => {
                self.bump();
                Ok(scale)
            }
            None => Err(self.unexpected(&format!("`bytes`, `kbytes` or `mbytes` behind the number {what}"))),
        }
    }

    /// A number of at most so much.
    pub(super) fn number_below(&mut self, most: u64, expected: &str) -> Parsed<(u64, Span)> {
        let (value, span) = self.number(expected)?;
        match u64::try_from(value) {
            Ok(value) if value <= most => Ok((value, span)),
            Ok(_) | Err(_) => Err(Diagnostic::error(span, format!("{value} is out of range: at most {most}"))),
        }
    }

    /// `quota ..` or `quota name ..`
    pub(super) fn quota(&mut self) -> Parsed<StatementKind> {
        self.bump();
        if self.at_word("name") {
            return self.object_use(ObjectKind::Quota);
        }
        Ok(StatementKind::Quota(self.quota_values()?))
    }

    /// `over 10 mbytes used 2 kbytes`
    pub(super) fn quota_values(&mut self) -> Parsed<Quota> {
        let start = self.here();
        let over = self.take_word("over").is_some();
        if !over {
            self.take_word("until");
        }
        let bytes = self.bytes("the number of bytes of the quota")?;
        let used = if self.take_word("used").is_some() { self.bytes("the bytes that are used")? } else { 0 };
        let span = start.to(self.previous());
        // Signed in the kernel (`nft_quota_do_init`, net/netfilter/nft_quota.c, Linux 6.18).
        if bytes > i64::MAX as u64 {
            return Err(beyond(span));
        }
        if used > bytes {
            return Err(Diagnostic::error(span, "more is used than there is"));
        }
        Ok(Quota { over, bytes, used })
    }

    fn bytes(&mut self, what: &str) -> Parsed<u64> {
        let (value, span) = self.number_below(u64::MAX, what)?;
        value.checked_mul(self.byte_unit("of a quota")?).ok_or_else(|| beyond(span))
    }

    /// `ct count ..`
    pub(super) fn connection_count(&mut self) -> Parsed<StatementKind> {
        let (over, count) = self.connection_limit()?;
        Ok(StatementKind::Connections { over, count })
    }

    /// `ct count over 20`: is it `over`, and how many.
    pub(super) fn connection_limit(&mut self) -> Parsed<(bool, u32)> {
        self.bump();
        self.bump();
        let over = self.take_word("over").is_some();
        let (count, _) = self.number_below(u64::from(u32::MAX), "a number of connections after `ct count`")?;
        Ok((over, count as u32))
    }

    /// `name "x"` behind `counter`, `quota`, `limit` or `synproxy`.
    pub(super) fn object_use(&mut self, kind: ObjectKind) -> Parsed<StatementKind> {
        self.bump();
        if let Some(left) = self.left_side()? {
            if self.take_word("map").is_none() {
                return Err(self.unexpected("`map` and `{ key : \"name\" }`"));
            }
            return Ok(StatementKind::ObjectMap(kind, left, self.primary()?));
        }
        if self.at_mark(Mark::Dollar) {
            let value = self.variable()?;
            return match &value.resolved().kind {
                ExprKind::Word(name) | ExprKind::Text(name) => {
                    let name = crate::language::ast::Spanned { text: name.clone(), span: value.span };
                    Ok(StatementKind::Object(kind, name))
                }
                _ => Err(Diagnostic::error(value.span, format!("expected the name of a {} here", kind.name()))),
            };
        }
        let name = self.string(&format!("the name of a {}", kind.name()))?;
        if kind == ObjectKind::Counter && matches!(self.word(), Some("packets" | "bytes")) {
            return Err(Diagnostic::error(
                self.here(),
                "what a named counter starts from is said where it is declared",
            ));
        }
        Ok(StatementKind::Object(kind, name))
    }

    /// `reject ..`
    pub(super) fn reject(&mut self) -> Parsed<StatementKind> {
        self.bump();
        if self.take_word("with").is_none() {
            return Ok(StatementKind::Reject(RejectWith::Default));
        }
        let start = self.here();
        let with = match self.word() {
            Some("tcp") => {
                self.bump();
                if self.take_word("reset").is_none() {
                    return Err(self.unexpected("`reset` after `reject with tcp`"));
                }
                RejectWith::Reset
            }
            Some("icmp") => RejectWith::Icmp(self.code("an ICMP code such as `port-unreachable`", ICMP_CODES)?),
            Some("icmpv6") => RejectWith::Icmp6(self.code("an ICMPv6 code such as `no-route`", ICMP6_CODES)?),
            Some("icmpx") => {
                let names = Unreachable::ALL.map(|code| (code.name(), code as u8));
                let code = self.code("a code such as `admin-prohibited`", &names)?;
                let known = Unreachable::ALL.into_iter().find(|known| *known as u8 == code);
                let Some(code) = known else {
                    return Err(Diagnostic::error(self.previous(), format!("there is no `icmpx` code {code}")));
                };
                RejectWith::Either(code)
            }
            Some(_) | None => return Err(self.unexpected("`tcp reset`, `icmp`, `icmpv6` or `icmpx` after `with`")),
        };
        let _ = start;
        Ok(StatementKind::Reject(with))
    }

    /// A code by name or number, behind `icmp` and perhaps `type`.
    fn code(&mut self, expected: &str, names: &[(&'static str, u8)]) -> Parsed<u8> {
        self.bump();
        self.take_word("type");
        if self.peek().kind == Kind::Number {
            let (value, span) = self.number(expected)?;
            // nft takes codes from 128 on for a mistake, and 256 for 0.
            return match u8::try_from(value) {
                Ok(code) if code < 128 => Ok(code),
                Ok(_) | Err(_) => Err(Diagnostic::error(span, format!("{value} is out of range: at most 127"))),
            };
        }
        let word = self.required_word(expected)?;
        if let Some((_, code)) = names.iter().find(|(name, _)| *name == &*word.text) {
            return Ok(*code);
        }
        let error = Diagnostic::error(word.span, format!("unknown code `{}`", word.text));
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        Err(match crate::language::names::nearest(&word.text, known.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("known: {}", known.join(", "))),
        })
    }

    /// `synproxy ..`
    pub(super) fn synproxy(&mut self) -> Parsed<StatementKind> {
        self.bump();
        if self.at_word("name") {
            return self.object_use(ObjectKind::Synproxy);
        }
        let mut proxy = Synproxy::default();
        while self.synproxy_part(&mut proxy)? {}
        Ok(StatementKind::Synproxy(proxy))
    }

    /// One of its words, if one stands here.
    pub(super) fn synproxy_part(&mut self, proxy: &mut Synproxy) -> Parsed<bool> {
        let Some(word @ ("mss" | "wscale" | "timestamp" | "sack-perm")) = self.word() else { return Ok(false) };
        match word {
            "mss" => {
                self.bump();
                proxy.mss = Some(self.number_below(0xffff, "a segment size after `mss`")?.0 as u16);
            }
            "wscale" => {
                self.bump();
                // RFC 7323 section 2.3.
                proxy.wscale = Some(self.number_below(14, "a window scale after `wscale`")?.0 as u8);
            }
            "timestamp" => {
                self.bump();
                proxy.timestamp = true;
            }
            _ => {
                self.bump();
                proxy.sack = true;
            }
        }
        Ok(true)
    }
}

/// Numbers that together are beyond the kernel's 64 bits.
fn beyond(span: Span) -> Diagnostic {
    Diagnostic::error(span, "these numbers are too large together: the kernel computes with 64 bits")
}

fn no_time(span: Span, word: &str) -> Diagnostic {
    let error = Diagnostic::error(span, format!("unknown time `{word}`"));
    error.help("a rate counts by second, minute, hour, day or week")
}
