//! Changes to a text that keep it looking like a ruleset.

use proptest::{arbitrary::Arbitrary, prelude::*, sample::Index};

/// Words and values that mean something somewhere.
const WORDS: &[&str] = &[
    "accept",
    "drop",
    "jump",
    "goto",
    "return",
    "continue",
    "reject",
    "log",
    "counter",
    "limit",
    "quota",
    "meta",
    "ct",
    "ip",
    "ip6",
    "tcp",
    "udp",
    "th",
    "icmp",
    "icmpv6",
    "ether",
    "vlan",
    "arp",
    "fib",
    "exthdr",
    "saddr",
    "daddr",
    "sport",
    "dport",
    "mark",
    "state",
    "set",
    "map",
    "vmap",
    "add",
    "update",
    "delete",
    "create",
    "insert",
    "flush",
    "destroy",
    "table",
    "chain",
    "rule",
    "element",
    "ruleset",
    "inet",
    "netdev",
    "type",
    "typeof",
    "flags",
    "hook",
    "priority",
    "policy",
    "device",
    "timeout",
    "elements",
    "interval",
    "dynamic",
    "comment",
    "define",
    "redefine",
    "undefine",
    "include",
    "index",
    "handle",
    "dormant",
    "exists",
    "missing",
    "new",
    "established",
    "ipv4_addr",
    "inet_service",
    "verdict",
    "snat",
    "dnat",
    "masquerade",
    "redirect",
    "to",
    "random",
    "over",
    "rate",
    "second",
    "burst",
    "packets",
    "bytes",
    "size",
    "option",
    "maxseg",
    "numgen",
    "jhash",
    "mod",
    "offset",
    "0",
    "1",
    "22",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "340282366920938463463374607431768211456",
    "-1",
    "0x10",
    "0xffffffff",
    "007",
    "10.0.0.0/8",
    "192.0.2.1",
    "192.0.2.1-192.0.2.9",
    "255.255.255.255",
    "::",
    "::1",
    "2001:db8::/32",
    "ff:ff:ff:ff:ff:ff",
    "lo",
    "\"lo\"",
    "\"eth*\"",
    "*",
    "@s",
    "$x",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    ":",
    ".",
    "/",
    "-",
    "+",
    "=",
    "==",
    "!=",
    "!",
    "<",
    ">",
    "<=",
    ">=",
    "<<",
    ">>",
    "&",
    "|",
    "^",
    "\\",
    "\n",
    "\t",
    "\"",
    "#",
    "1h30m",
    "5s",
    "null",
    "true",
    "[]",
    "{}",
    "\"match\"",
    "\"op\"",
    "\"left\"",
    "\"right\"",
    "\"expr\"",
    "\"rule\"",
    "\"payload\"",
    "\"\\u00e9\"",
    "é",
    "\u{80}",
];

/// A change.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    /// A word goes.
    Remove(Index),
    /// A word stands twice.
    Double(Index),
    /// Two words change places.
    Exchange(Index, Index),
    /// A word of the language in the place of another.
    Replace(Index, Index),
    /// A word of the language more.
    Insert(Index, Index),
    /// The text ends here.
    Cut(Index),
    /// A piece of another text.
    Splice(Index, Index, Index),
    /// A word many times over.
    Repeat(Index, u8),
    /// A line goes somewhere else.
    MoveLine(Index, Index),
    /// One character becomes another.
    Character(Index, char),
}

impl Arbitrary for Mutation {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let at = any::<Index>;
        prop_oneof![
            3 => at().prop_map(Self::Remove),
            1 => at().prop_map(Self::Double),
            3 => (at(), at()).prop_map(|(a, b)| Self::Exchange(a, b)),
            6 => (at(), at()).prop_map(|(a, b)| Self::Replace(a, b)),
            3 => (at(), at()).prop_map(|(a, b)| Self::Insert(a, b)),
            1 => at().prop_map(Self::Cut),
            2 => (at(), at(), at()).prop_map(|(a, b, c)| Self::Splice(a, b, c)),
            1 => (at(), any::<u8>()).prop_map(|(a, times)| Self::Repeat(a, times)),
            2 => (at(), at()).prop_map(|(a, b)| Self::MoveLine(a, b)),
            1 => (at(), any::<char>()).prop_map(|(a, c)| Self::Character(a, c)),
        ]
        .boxed()
    }
}

/// The text with these changes, one after the other.
pub(crate) fn mutated(text: &str, mutations: &[Mutation], other: &str) -> String {
    mutations.iter().fold(text.to_owned(), |text, mutation| mutation.apply(&text, other))
}

/// A text in pieces: runs of letters and digits, and everything else one by one.
fn pieces(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (piece, behind) = rest.split_at(length);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

impl Mutation {
    fn apply(&self, text: &str, other: &str) -> String {
        let mut parts = pieces(text);
        if parts.is_empty() {
            return other.to_owned();
        }
        let length = parts.len();
        match self {
            Self::Remove(at) => {
                parts.remove(at.index(length));
            }
            Self::Double(at) => parts.insert(at.index(length), parts[at.index(length)]),
            Self::Exchange(a, b) => parts.swap(a.index(length), b.index(length)),
            Self::Replace(at, word) => parts[at.index(length)] = WORDS[word.index(WORDS.len())],
            Self::Insert(at, word) => {
                let at = at.index(length);
                parts.splice(at..at, [" ", WORDS[word.index(WORDS.len())], " "]);
            }
            Self::Cut(at) => parts.truncate(at.index(length)),
            Self::Splice(at, from, count) => {
                let theirs = pieces(other);
                let at = at.index(length);
                if !theirs.is_empty() {
                    let from = from.index(theirs.len());
                    let to = (from + count.index(40)).min(theirs.len());
                    parts.splice(at..at, theirs[from..to].iter().copied());
                }
            }
            Self::Repeat(at, times) => {
                let at = at.index(length);
                let again = vec![parts[at]; usize::from(*times)];
                parts.splice(at..at, again);
            }
            Self::MoveLine(from, to) => return moved(text, *from, *to),
            Self::Character(at, new) => {
                let at = at.index(text.chars().count());
                return text.chars().enumerate().map(|(n, c)| if n == at { *new } else { c }).collect();
            }
        }
        parts.concat()
    }
}

fn moved(text: &str, from: Index, to: Index) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return text.to_owned();
    }
    let line = lines.remove(from.index(lines.len()));
    lines.insert(to.index(lines.len() + 1), line);
    lines.join("\n") + "\n"
}
