//! Objects of a table: counters, quotas, limits and SYN proxies with a name.

use super::{Parsed, Parser};
use crate::language::{
    ast::{Command, Object, Spanned},
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    stateful::{Content, ObjectKind, Quota, Synproxy},
};

/// Objects that nftables has and rampart refuses, with the reason.
const REFUSED: &[(&str, &str, &str)] = &[
    ("ct", "helper", "helpers are parsers of the kernel's own connection tracking, which rampart does not use"),
    ("ct", "expectation", "it belongs to helpers of the kernel's own connection tracking, which rampart does not use"),
    ("ct", "timeout", "lifetimes of connections are settings of rampart, not of a rule"),
    ("secmark", "", "labels of security modules cannot be put on packets from XDP"),
];

impl Parser<'_> {
    /// The kind of the object whose declaration begins here; `Err` for one that is refused.
    pub(super) fn object_kind(&self) -> Option<Parsed<ObjectKind>> {
        let word = self.word()?;
        if let Some(kind) = ObjectKind::named(word) {
            return Some(Ok(kind));
        }
        let matches = |(first, second, _): &&(&str, &str, &str)| {
            *first == word && (second.is_empty() || self.word_at(1) == Some(*second))
        };
        let (first, second, reason) = REFUSED.iter().find(matches)?;
        let what = format!("{first} {second}");
        Some(Err(
            Diagnostic::error(self.here(), format!("`{}` objects are not supported", what.trim_end())).help(*reason)
        ))
    }

    /// `add counter inet t c { .. }`
    pub(super) fn add_object(&mut self, kind: ObjectKind) -> Parsed<Command> {
        self.bump();
        let table = self.table_name()?;
        let name = self.name(kind.name())?;
        if self.at_mark(Mark::BraceOpen) {
            return Ok(Command::Object(table, self.object_body(kind, name)?));
        }
        let content = match kind {
            ObjectKind::Counter if self.at_separator() || self.peek().kind == Kind::End => {
                Content::Counter { packets: 0, bytes: 0 }
            }
            ObjectKind::Counter => self.counter_values()?,
            ObjectKind::Quota => Content::Quota(self.quota_values()?),
            ObjectKind::Limit => Content::Limit(self.limit_values()?),
            ObjectKind::Synproxy => return Err(self.unexpected("`{` after the synproxy's name")),
        };
        Ok(Command::Object(table, Object { name, comment: None, content }))
    }

    /// `counter c { .. }` in a table.
    pub(super) fn object_in_table(&mut self, kind: ObjectKind) -> Parsed<Object> {
        self.bump();
        let name = self.name(kind.name())?;
        self.object_body(kind, name)
    }

    fn object_body(&mut self, kind: ObjectKind, name: Spanned) -> Parsed<Object> {
        let (mut comment, mut content, mut proxy) = (None, None, Synproxy::default());
        self.block(kind.name(), &mut |parser| {
            if parser.at_word("comment") {
                parser.comment(&mut comment)?;
                return parser.end_of_part();
            }
            content = Some(match kind {
                ObjectKind::Counter => parser.counter_values()?,
                ObjectKind::Quota => Content::Quota(parser.quota_values()?),
                ObjectKind::Limit => Content::Limit(parser.limit_values()?),
                ObjectKind::Synproxy => {
                    if !parser.synproxy_part(&mut proxy)? {
                        return Err(parser.unexpected("`mss`, `wscale`, `timestamp` or `sack-perm`"));
                    }
                    while parser.synproxy_part(&mut proxy)? {}
                    Content::Synproxy(proxy)
                }
            });
            parser.end_of_part()
        })?;
        let content = match (content, kind) {
            (Some(content), _) => content,
            (None, ObjectKind::Counter) => Content::Counter { packets: 0, bytes: 0 },
            (None, ObjectKind::Quota) => Content::Quota(Quota { over: false, bytes: 0, used: 0 }),
            (None, ObjectKind::Limit) => {
                return Err(Diagnostic::error(name.span, "a limit needs its `rate`"));
            }
            (None, ObjectKind::Synproxy) => Content::Synproxy(proxy),
        };
        Ok(Object { name, comment, content })
    }

    /// An object's braces may close on the line of its last part.
    fn end_of_part(&mut self) -> Parsed<()> {
        if self.at_mark(Mark::BraceClose) {
            return Ok(());
        }
        self.end_statement("this part of the object")
    }

    /// `packets 5 bytes 700`
    fn counter_values(&mut self) -> Parsed<Content> {
        let mut numbers = [0; 2];
        for (word, number) in ["packets", "bytes"].into_iter().zip(&mut numbers) {
            if self.take_word(word).is_none() {
                return Err(self.unexpected(&format!("`{word}` and a number")));
            }
            *number = self.number_below(u64::MAX, "a number")?.0;
        }
        let [packets, bytes] = numbers;
        Ok(Content::Counter { packets, bytes })
    }
}
