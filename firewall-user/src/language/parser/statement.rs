//! Statements: matches, `counter`, verdicts.

use super::{Parsed, Parser, unsupported};
use crate::language::{
    ast::{ExprKind, Left, Relation, Spanned, Statement, StatementKind, Verdict, VerdictKind},
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    ruleset::NatKind,
    source::Span,
    stateful::ObjectKind,
};

impl Parser<'_> {
    pub(super) fn statement(&mut self) -> Parsed<Statement> {
        let start = self.here();
        let kind = match self.word() {
            Some("counter") => self.counter()?,
            Some("log") => self.log()?,
            Some("add" | "update" | "delete" | "set") => self.set_update()?,
            Some("meter") => self.meter()?,
            Some("snat") => self.nat(NatKind::Source)?,
            Some("dnat") => self.nat(NatKind::Destination)?,
            Some("masquerade") => self.nat(NatKind::Masquerade)?,
            Some("redirect") => self.nat(NatKind::Redirect)?,
            Some("notrack") => {
                self.bump();
                StatementKind::NoTrack
            }
            // The older name of a meter.
            Some("flow") if self.word_at(1) == Some("table") => {
                self.bump();
                self.meter()?
            }
            Some("flow") => {
                self.bump();
                self.flow()?
            }
            Some("limit") => self.limit()?,
            Some("quota") => self.quota()?,
            Some("reject") => self.reject()?,
            Some("synproxy") => self.synproxy()?,
            Some("ct") if self.word_at(1) == Some("count") => self.connection_count()?,
            Some("accept" | "drop" | "return" | "continue" | "jump" | "goto") => {
                StatementKind::Verdict(self.verdict()?)
            }
            Some(_) | None => self.match_or_unknown()?,
        };
        Ok(Statement { kind, span: start.to(self.previous()) })
    }

    /// What was read last, for spans.
    pub(super) fn previous(&self) -> Span {
        let here = self.here();
        let Some(frame) = self.frames.last() else { return here };
        let token = frame.at.checked_sub(1).and_then(|at| frame.tokens.get(at));
        token.map_or(here, |token| self.span(*token))
    }

    fn match_or_unknown(&mut self) -> Parsed<StatementKind> {
        if let Some(left) = self.left_side()? {
            return self.relation(left);
        }
        Err(self.unknown_statement())
    }

    fn relation(&mut self, left: Left) -> Parsed<StatementKind> {
        if self.at_word("set") && left.operations.is_empty() && left.more.is_empty() {
            return self.assignment(left);
        }
        if let Some(word @ ("set" | "map")) = self.word() {
            let what = format!("`{word}` behind `{}`", self.text(left.span));
            let reason = if word == "map" {
                "a map gives a value to a statement, such as `meta mark set tcp dport map { 22 : 1 }`; verdicts come from `vmap`"
            } else {
                "one field is set at a time, to a whole value: `meta mark set meta mark & 0xff`"
            };
            return Err(unsupported::refusal(self.here(), &what, reason));
        }
        if self.take_word("vmap").is_some() {
            return Ok(StatementKind::Map(left, self.primary()?));
        }
        let relation = self.operator();
        let right = self.list()?;
        if self.take_mark(Mark::Slash).is_some() {
            let mask = self.list()?;
            if !matches!(mask.resolved().kind, ExprKind::List(_)) {
                let error = Diagnostic::error(mask.span, "a mask of one flag");
                return Err(error.help("write `tcp flags & syn == syn`; behind `/` stand several: `syn / syn,ack`"));
            }
            return Ok(StatementKind::Flags(left, relation, right, mask));
        }
        Ok(StatementKind::Match(left, relation, right))
    }

    fn operator(&mut self) -> Relation {
        let relation = match (self.peek().kind, self.word()) {
            (Kind::Mark(Mark::EqualsEquals), _) | (_, Some("eq")) => Relation::Equal,
            (Kind::Mark(Mark::NotEquals), _) | (_, Some("ne")) => Relation::NotEqual,
            (Kind::Mark(Mark::Not), _) | (_, Some("not")) => Relation::NoneOf,
            (Kind::Mark(Mark::Less), _) | (_, Some("lt")) => Relation::Less,
            (Kind::Mark(Mark::LessEquals), _) | (_, Some("le")) => Relation::LessEqual,
            (Kind::Mark(Mark::Greater), _) | (_, Some("gt")) => Relation::Greater,
            (Kind::Mark(Mark::GreaterEquals), _) | (_, Some("ge")) => Relation::GreaterEqual,
            _ => return Relation::Implicit,
        };
        self.bump();
        relation
    }

    fn counter(&mut self) -> Parsed<StatementKind> {
        if self.word_at(1) == Some("name") {
            self.bump();
            return self.object_use(ObjectKind::Counter);
        }
        if self.peek_at(1).kind == Kind::Text {
            self.bump();
            return Err(self.unexpected("`name` in front of a counter's name"));
        }
        let (packets, bytes) = self.plain_counter()?;
        Ok(StatementKind::Counter(packets, bytes))
    }

    /// `counter packets N bytes N`
    pub(super) fn plain_counter(&mut self) -> Parsed<(u64, u64)> {
        self.bump();
        let (mut packets, mut bytes) = (0, 0);
        loop {
            match self.word() {
                Some("packets") => packets = self.count()?,
                Some("bytes") => bytes = self.count()?,
                Some(_) | None => return Ok((packets, bytes)),
            }
        }
    }

    fn count(&mut self) -> Parsed<u64> {
        self.bump();
        let (value, span) = self.number("a number")?;
        u64::try_from(value).map_err(|_| Diagnostic::error(span, "a counter has 64 bits"))
    }

    /// `accept` and the like.
    pub(super) fn verdict(&mut self) -> Parsed<Verdict> {
        let start = self.here();
        let kind = match self.word() {
            Some("accept") => VerdictKind::Accept,
            Some("drop") => VerdictKind::Drop,
            Some("return") => VerdictKind::Return,
            Some("continue") => VerdictKind::Continue,
            Some("jump") => return self.jump(VerdictKind::Jump),
            Some("goto") => return self.jump(VerdictKind::Goto),
            Some(_) | None => return Err(self.unexpected("a verdict: accept, drop, jump, goto, return or continue")),
        };
        self.bump();
        Ok(Verdict { kind, span: start })
    }

    fn jump(&mut self, kind: impl FnOnce(Spanned) -> VerdictKind) -> Parsed<Verdict> {
        let start = self.bump();
        if self.at_mark(Mark::BraceOpen) {
            return Err(unsupported::refusal(
                self.here(),
                "a chain without a name",
                "give it one, so that listings, `why` and counters can name it: `chain NAME { .. }` and `jump NAME`",
            ));
        }
        let chain = if self.at_mark(Mark::Dollar) { self.chain_variable()? } else { self.name("chain")? };
        let span = start.to(chain.span);
        Ok(Verdict { kind: kind(chain), span })
    }

    /// `$name` where a chain's name stands.
    fn chain_variable(&mut self) -> Parsed<Spanned> {
        let value = self.variable()?;
        match &value.resolved().kind {
            ExprKind::Word(name) | ExprKind::Text(name) => Ok(Spanned { text: name.clone(), span: value.span }),
            ExprKind::Number(_)
            | ExprKind::Ipv4(_)
            | ExprKind::Ipv6(_)
            | ExprKind::Mac(_)
            | ExprKind::Time(_)
            | ExprKind::Range(..)
            | ExprKind::Prefix(..)
            | ExprKind::List(_)
            | ExprKind::Concat(_)
            | ExprKind::Binary(..)
            | ExprKind::Set(_)
            | ExprKind::Named(_)
            | ExprKind::Selector(_)
            | ExprKind::Map(..)
            | ExprKind::Any
            | ExprKind::Variable(_) => {
                Err(Diagnostic::error(value.span, "expected the name of a chain in this variable"))
            }
        }
    }

    /// A value alone, for messages about what should have been one.
    pub(super) fn unknown_statement(&self) -> Diagnostic {
        let Some(word) = self.word() else {
            if self.at_mark(Mark::Minus) {
                return self.iptables_option();
            }
            return self.unexpected("a match, a statement or a verdict");
        };
        if let Some(refusal) = unsupported::statement(word, self.here()) {
            return refusal;
        }
        self.foreign_statement(word)
    }
}
