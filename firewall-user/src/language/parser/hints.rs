//! Words of other firewalls, and what to write instead.

use super::{Parser, selector, shorten, unsupported};
use crate::language::{diagnostic::Diagnostic, lexer::Kind, names};

/// Words that people know from iptables, ufw, pf or firewalld, with what nftables says instead.
#[rustfmt::skip]
const FOREIGN: &[(&str, &str)] = &[
    ("allow", "write `accept` behind the matches: `tcp dport 22 accept`"),
    ("deny", "write `drop` behind the matches: `tcp dport 23 drop`"),
    ("block", "write `drop` behind the matches: `tcp dport 23 drop`"),
    ("pass", "write `accept` behind the matches: `tcp dport 22 accept`"),
    ("permit", "write `accept` behind the matches: `tcp dport 22 accept`"),
    ("ACCEPT", "verdicts are lower case: `accept`"),
    ("DROP", "verdicts are lower case: `drop`"),
    ("REJECT", "statements are lower case: `reject`"),
    ("LOG", "write `log prefix \"..\"`"),
    ("RETURN", "verdicts are lower case: `return`"),
    ("dport", "say which protocol's port: `tcp dport 22`, `udp dport 53`, or `meta l4proto { tcp, udp } th dport 53`"),
    ("sport", "say which protocol's port: `tcp sport 22`, `udp sport 53`, or `meta l4proto { tcp, udp } th sport 53`"),
    ("port", "write `tcp dport 22`, with the protocol and the side"),
    ("saddr", "say which family's address: `ip saddr 192.0.2.1` or `ip6 saddr 2001:db8::1`"),
    ("daddr", "say which family's address: `ip daddr 192.0.2.1` or `ip6 daddr 2001:db8::1`"),
    ("from", "write `ip saddr 192.0.2.1` or `ip6 saddr 2001:db8::1`"),
    ("to", "write `ip daddr 192.0.2.1` or `ip6 daddr 2001:db8::1`"),
    ("src", "write `ip saddr 192.0.2.1` or `ip6 saddr 2001:db8::1`"),
    ("proto", "write `meta l4proto tcp`, or just `tcp dport 22`"),
    ("protocol", "write `meta l4proto tcp`, or just `tcp dport 22`"),
    ("l4proto", "write `meta l4proto tcp`"),
    ("nfproto", "write `meta nfproto ipv4`"),
    ("state", "write `ct state established,related`"),
    ("conntrack", "write `ct state established,related`"),
    ("established", "write `ct state established,related accept`"),
    ("interface", "write `iifname \"eth0\"` or `oifname \"eth0\"`"),
    ("in", "write `iifname \"eth0\"` for packets that come in by an interface"),
    ("out", "write `oifname \"eth0\"` for packets that leave by an interface"),
    ("length", "write `meta length 100`"),
    ("any", "a rule without a match applies to every packet: leave the word out"),
    ("ipv4", "write `ip saddr ..`, or `meta nfproto ipv4`"),
    ("ipv6", "write `ip6 saddr ..`, or `meta nfproto ipv6`"),
    ("ufw", "ufw's commands are another language: a rule reads `tcp dport 22 accept`"),
    ("iptables", "iptables' commands are another language: `iptables-translate` turns one into nftables"),
    ("ip6tables", "iptables' commands are another language: `ip6tables-translate` turns one into nftables"),
    ("nft", "leave `nft` out: a file holds what follows it"),
    ("COMMIT", "this looks like iptables-save output: `iptables-restore-translate -f FILE` turns it into nftables"),
];

/// iptables options.
const OPTIONS: &[(&str, &str)] = &[
    (
        "A",
        "a rule stands in its chain's braces: `chain input { .. tcp dport 22 accept }`, or `add rule inet filter input tcp dport 22 accept`",
    ),
    ("I", "a rule stands in its chain's braces, or `insert rule inet filter input tcp dport 22 accept`"),
    ("P", "a policy stands in its chain: `type filter hook input priority filter; policy drop;`"),
    ("N", "`chain NAME { .. }` makes a chain"),
    ("p", "write `tcp dport 22`, or `meta l4proto tcp`"),
    ("s", "write `ip saddr 192.0.2.0/24`"),
    ("d", "write `ip daddr 192.0.2.0/24`"),
    ("i", "write `iifname \"eth0\"`"),
    ("o", "write `oifname \"eth0\"`"),
    ("j", "write the verdict alone: `accept`, `drop`, or `jump CHAIN`"),
    ("m", "write the match itself: `ct state established,related`"),
    ("dport", "write `tcp dport 22`"),
    ("sport", "write `tcp sport 22`"),
    ("state", "write `ct state established,related`"),
    ("ctstate", "write `ct state established,related`"),
];

pub(super) fn is_foreign(word: &str) -> bool {
    FOREIGN.iter().any(|(foreign, _)| *foreign == word)
}

fn advice(words: &'static [(&'static str, &'static str)], word: &str) -> Option<&'static str> {
    words.iter().find(|(known, _)| *known == word).map(|(_, advice)| *advice)
}

impl Parser<'_> {
    /// A word that starts no statement.
    pub(super) fn foreign_statement(&self, word: &str) -> Diagnostic {
        let error = Diagnostic::error(self.here(), format!("unknown word `{}` in a rule", shorten(word)));
        if let Some(advice) = advice(FOREIGN, word) {
            return error.help(advice);
        }
        let known = selector::words().chain(unsupported::KNOWN_STATEMENTS.iter().copied());
        match names::nearest(word, known) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None if self.peek_at(1).kind == Kind::Newline => error,
            None => error
                .help("a rule is made of matches such as `tcp dport 22`, statements such as `counter`, and a verdict"),
        }
    }

    /// A word that starts no command but is one of another firewall.
    pub(super) fn foreign_command(&self) -> Diagnostic {
        let Some(word) = self.word() else { return self.unexpected("`table`, `chain`, `set`, `element` or `rule`") };
        let error = Diagnostic::error(self.here(), format!("unknown command `{}`", shorten(word)));
        match advice(FOREIGN, word) {
            Some(advice) => error
                .help(advice)
                .help("rules stand in a chain, chains in a table: `table inet filter { chain input { .. } }`"),
            None => error,
        }
    }

    /// `-A INPUT`, `--dport`: options of iptables.
    pub(super) fn iptables_option(&self) -> Diagnostic {
        let dashes = (0..2).take_while(|ahead| self.is_minus(*ahead)).count();
        let option = self.word_at(dashes).unwrap_or("").to_owned();
        let shown = format!("{}{}", "-".repeat(dashes), shorten(&option));
        let word = self.span(self.peek_at(dashes));
        let error = Diagnostic::error(
            self.here().to(if option.is_empty() { self.here() } else { word }),
            format!("`{shown}` is an option of iptables, not a word of the nftables language"),
        );
        match advice(OPTIONS, &option) {
            Some(advice) => error.help(advice),
            None => error.help("`iptables-translate` turns an iptables command into nftables"),
        }
    }

    /// Is this the dash of an option, not the one of a range? `22 -j accept` has a blank on one side only.
    pub(super) fn at_option(&self) -> bool {
        let (dash, word) = (self.peek(), self.peek_at(1));
        let text = self.word_at(1).unwrap_or("");
        let before = self.frames.last().and_then(|frame| frame.tokens.get(frame.at.checked_sub(1)?));
        let apart = before.is_some_and(|before| before.end < dash.start);
        apart && dash.end == word.start && OPTIONS.iter().any(|(option, _)| *option == text)
    }

    fn is_minus(&self, ahead: usize) -> bool {
        use crate::language::lexer::Mark;
        self.peek_at(ahead).kind == Kind::Mark(Mark::Minus)
    }
}
