//! A rule: its statements up to the end of the line.

use super::{Parsed, Parser};
use crate::language::{
    ast::{Rule, Statement, StatementKind},
    diagnostic::Diagnostic,
    source::Span,
};

/// Statements a rule may have. The kernel bounds a rule's expressions too (`NFT_RULE_MAXEXPRS`).
const MAX_STATEMENTS: usize = 128;

impl Parser<'_> {
    pub(super) fn rule(&mut self) -> Parsed<Rule> {
        let start = self.here();
        let mut statements: Vec<Statement> = Vec::new();
        let mut comment = None;
        while !self.at_separator() && !self.at_end_of_rule() {
            if self.at_word("comment") && !statements.is_empty() {
                self.comment(&mut comment)?;
                break;
            }
            statements.push(self.statement()?);
            if statements.len() > MAX_STATEMENTS {
                let message = format!("a rule has at most {MAX_STATEMENTS} statements");
                return Err(Diagnostic::error(self.here(), message));
            }
        }
        let Some(last) = statements.last() else { return Err(self.unexpected("a rule")) };
        nothing_behind_verdict(&statements)?;
        let span = start.to(last.span);
        Ok(Rule { statements, comment, span })
    }

    fn at_end_of_rule(&self) -> bool {
        use crate::language::lexer::{Kind, Mark};
        matches!(self.peek().kind, Kind::End | Kind::Mark(Mark::BraceClose))
    }
}

/// nftables refuses what stands behind a verdict in its rule, since no packet gets there.
fn nothing_behind_verdict(statements: &[Statement]) -> Parsed<()> {
    let verdict = statements.iter().position(ends_rule);
    match verdict.and_then(|at| statements.get(at + 1)) {
        Some(next) => Err(behind_verdict(next.span)),
        None => Ok(()),
    }
}

fn ends_rule(statement: &Statement) -> bool {
    use crate::language::ast::VerdictKind;
    match &statement.kind {
        StatementKind::Verdict(verdict) => !matches!(verdict.kind, VerdictKind::Continue),
        StatementKind::Nat(_) | StatementKind::Reject(_) => true,
        StatementKind::Match(..)
        | StatementKind::Flags(..)
        | StatementKind::Map(..)
        | StatementKind::Update(_)
        | StatementKind::Assign(..)
        | StatementKind::Counter(..)
        | StatementKind::NoTrack
        | StatementKind::Log(_)
        | StatementKind::Limit(_)
        | StatementKind::Quota(_)
        | StatementKind::Connections { .. }
        | StatementKind::Object(..)
        | StatementKind::ObjectMap(..)
        | StatementKind::Flow(_)
        | StatementKind::Synproxy(_) => false,
    }
}

fn behind_verdict(span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, "this stands behind the rule's verdict and has no effect");
    error.help("put matches, `counter` and `log` in front of the verdict, `comment` at the end")
}
