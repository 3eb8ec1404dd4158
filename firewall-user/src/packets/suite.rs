//! A file of packets with what is expected of each.
//!
//! ```text
//! # a comment
//! interface eth0 203.0.113.10/24
//! ssh from the office: in eth0 tcp 198.51.100.7 203.0.113.10:22 -> accept comment "office"
//! in eth0 tcp 192.0.2.1 203.0.113.10:23 -> drop reason policy
//! out eth0 udp 203.0.113.10:53 198.51.100.7:5353 state reply -> accept
//! ```

use std::net::{IpAddr, SocketAddr};

use super::Spec;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suite {
    /// Interfaces and their addresses, for a network namespace of the tests' own.
    pub interfaces: Vec<(String, Vec<(IpAddr, u8)>)>,
    /// The packets.
    pub cases: Vec<Case>,
}

/// A packet and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What a person calls it: its name, or its line.
    pub name: String,
    /// The line.
    pub line: usize,
    /// Does it leave?
    pub leaves: bool,
    /// By which interface.
    pub interface: String,
    /// The packet.
    pub packet: Spec,
    /// What is expected.
    pub wanted: Wanted,
}

/// What is expected of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `accept`, `drop` or `reject`.
    pub verdict: String,
    /// The reason's name.
    pub reason: Option<String>,
    /// The line of the rule that decides.
    pub line: Option<u32>,
    /// The comment of that rule.
    pub comment: Option<String>,
    /// Where it goes once it is translated.
    pub to: Option<String>,
    /// Where it comes from once it is translated.
    pub from: Option<String>,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SuiteError {
    line: usize,
    message: String,
}

impl Suite {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, SuiteError> {
        let mut suite = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line_number = at + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            suite.line(line, line_number).map_err(|message| SuiteError { line: line_number, message })?;
        }
        Ok(suite)
    }

    fn line(&mut self, line: &str, number: usize) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("interface ") {
            self.interfaces.push(interface(rest)?);
            return Ok(());
        }
        let Some((packet, wanted)) = line.split_once("->") else {
            return Err("a packet, `->`, and what is expected of it: accept, drop or reject".to_owned());
        };
        let (name, packet) = named(packet.trim());
        let mut words = packet.split_whitespace();
        let leaves = match words.next() {
            Some("in") => false,
            Some("out") => true,
            _ => return Err("a packet begins with `in IF` or `out IF`".to_owned()),
        };
        let interface = words.next().ok_or("`in` and `out` want an interface")?.to_owned();
        let words: Vec<_> = words.collect();
        let packet = Spec::parse(&words).map_err(|error| error.to_string())?;
        let wanted = expectation(wanted.trim())?;
        let name = name.map_or_else(|| format!("line {number}"), str::to_owned);
        self.cases.push(Case { name, line: number, leaves, interface, packet, wanted });
        Ok(())
    }
}

/// `NAME: in eth0 ...`
fn named(text: &str) -> (Option<&str>, &str) {
    for way in [": in ", ": out "] {
        if let Some(at) = text.find(way) {
            return (Some(text[..at].trim()), &text[at + 2..]);
        }
    }
    (None, text)
}

/// `eth0 203.0.113.10/24 2001:db8::1/64`
fn interface(text: &str) -> Result<(String, Vec<(IpAddr, u8)>), String> {
    let mut words = text.split_whitespace();
    let name = words.next().ok_or("`interface` wants a name")?;
    let address = |word: &str| {
        let (address, length) = word.split_once('/')?;
        Some((address.parse().ok()?, length.parse().ok()?))
    };
    let addresses = words.map(|word| address(word).ok_or_else(|| format!("`{word}` is no ADDRESS/LENGTH")));
    Ok((name.to_owned(), addresses.collect::<Result<_, _>>()?))
}

/// `accept`, `drop reason policy`, `drop line 14`, `accept comment "office" to 192.0.2.1:80`
fn expectation(text: &str) -> Result<Wanted, String> {
    let mut words = quoted_words(text)?.into_iter();
    let verdict = words.next().unwrap_or_default();
    if !matches!(verdict.as_str(), "accept" | "drop" | "reject") {
        return Err(format!("`{verdict}` cannot be expected; accept, drop and reject can"));
    }
    let mut wanted = Wanted { verdict, ..Wanted::default() };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` wants a value"))?;
        match word.as_str() {
            "reason" => wanted.reason = Some(value),
            "line" => wanted.line = Some(value.parse().map_err(|_| format!("`{value}` is no line"))?),
            "comment" => wanted.comment = Some(value),
            "to" => wanted.to = Some(end(value)?),
            "from" => wanted.from = Some(end(value)?),
            _ => return Err(format!("`{word}` cannot be expected; reason, line, comment, to and from can")),
        }
    }
    Ok(wanted)
}

fn end(text: String) -> Result<String, String> {
    let is_end = text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    if is_end { Ok(text) } else { Err(format!("`{text}` is neither ADDRESS nor ADDRESS:PORT")) }
}

/// Words, of which those in quotes may have blanks in them.
fn quoted_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(inner) => inner.split_once('"').ok_or("a quote that is not closed")?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_line_by_line() {
        let suite = Suite::parse(
            "# who gets in\n\ninterface eth0 203.0.113.10/24\n\
             office: in eth0 tcp 198.51.100.7 203.0.113.10:22 -> accept comment \"the office\" line 4\n\
             out eth0 udp 203.0.113.10:53 [2001:db8::1]:5 -> drop\n",
        );
        assert_eq!(suite.expect_err("two families").to_string(), "line 5: one address is IPv4 and the other one IPv6");
        let suite = Suite::parse(
            "interface eth0 203.0.113.10/24\nthe office: in eth0 tcp 198.51.100.7 203.0.113.10:22 -> accept comment \"the office\" line 4\n",
        )
        .expect("a suite");
        assert_eq!(suite.interfaces, [("eth0".to_owned(), vec![([203, 0, 113, 10].into(), 24)])]);
        let case = &suite.cases[0];
        assert_eq!((case.name.as_str(), case.leaves, case.line), ("the office", false, 2));
        assert_eq!((case.wanted.comment.as_deref(), case.wanted.line), (Some("the office"), Some(4)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, wanted) in [
            ("in eth0 tcp 192.0.2.1 192.0.2.2:22", "line 1: a packet, `->`"),
            ("\nsideways eth0 tcp 192.0.2.1 192.0.2.2:22 -> drop", "line 2: a packet begins with"),
            ("in eth0 tcp 192.0.2.1 192.0.2.2:22 -> maybe", "`maybe` cannot be expected"),
            ("in eth0 tcp 192.0.2.1 192.0.2.2:22 -> drop why", "`why` wants a value"),
            ("in eth0 tcp 192.0.2.1 192.0.2.2:22 -> drop comment \"a", "a quote that is not closed"),
            ("interface eth0 1.2.3.4", "is no ADDRESS/LENGTH"),
        ] {
            let error = Suite::parse(text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
