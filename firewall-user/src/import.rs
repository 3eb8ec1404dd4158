//! Rules of iptables, as `iptables-save` prints them, to nftables: by the system's own translator, and with its gaps told.
//!
//! `iptables-restore-translate` (Debian's package `iptables`) leaves what it cannot translate in its output as a comment, and
//! forgets where `-I CHAIN 3` puts a rule. Here each such line is an error at its place in the file.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    thread,
};

use crate::language::{
    Diagnostic, Diagnostics,
    source::{Source, Span},
};

/// Which addresses the rules are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `iptables-save`
    Ipv4,
    /// `ip6tables-save`
    Ipv6,
}

impl Family {
    /// The program that translates.
    pub const fn translator(self) -> &'static str {
        match self {
            Self::Ipv4 => "iptables-restore-translate",
            Self::Ipv6 => "ip6tables-restore-translate",
        }
    }
}

/// Why there is no translation at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The program is not there.
    #[error("{0}: no such program; it is in the package iptables (`apt-get install iptables`)")]
    NoTranslator(&'static str),
    /// The system refused.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
}

/// A translation, or as much of it as there is.
#[derive(Debug)]
pub struct Translated {
    /// nftables commands; what could not be translated is a comment.
    pub text: String,
    /// What is wrong with the file, and what could not be translated.
    pub problems: Diagnostics,
}

/// Translates what `iptables-save` printed; `name` stands for it in messages.
pub fn translate(name: &str, saved: &str, family: Family) -> Result<Translated, ImportError> {
    let mut problems = Diagnostics::default();
    let source = problems.sources.add(name.to_owned(), saved.to_owned(), None);
    for problem in misunderstood(saved, source) {
        problems.push(problem);
    }
    if problems.has_errors() {
        return Ok(Translated { text: String::new(), problems });
    }
    let (output, complaint) = run(family, saved)?;
    match complaint {
        Some(complaint) => problems.push(refused(&complaint, problems.sources.get(source), source)),
        None => {
            for problem in left_out(&output, saved, source) {
                problems.push(problem);
            }
        }
    }
    problems.sort();
    Ok(Translated { text: without_dates(&output), problems })
}

/// Runs the translator: its output, and its complaint when it failed.
fn run(family: Family, saved: &str) -> Result<(String, Option<String>), ImportError> {
    let program = family.translator();
    let error = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ImportError::NoTranslator(program),
        _ => ImportError::Io(program, error),
    };
    let mut command = Command::new(program);
    command.args(["-f", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(error)?;
    let stdin = child.stdin.take();
    // Written beside reading: both pipes are finite. That it stops reading is told by its exit status.
    let done = thread::scope(|scope| {
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(saved.as_bytes())));
        child.wait_with_output()
    });
    let done = done.map_err(error)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let complaint = (!done.status.success()).then(|| text(&done.stderr));
    Ok((text(&done.stdout), complaint))
}

/// The lines of a text that are not empty, each with its place.
fn lines(text: &str, source: u32) -> impl Iterator<Item = (Span, &str)> {
    let mut at = 0;
    text.split('\n').filter_map(move |line| {
        let start = at + (line.len() - line.trim_start().len()) as u32;
        at += line.len() as u32 + 1;
        let line = line.trim();
        let span = Span { source, start, end: start + line.len() as u32 };
        (!line.is_empty()).then_some((span, line))
    })
}

/// A rule without the counters in front of it.
fn rule(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, rule)) => rule.trim_start(),
        None => line,
    }
}

/// What is in no file of `iptables-save`, or what the translator reads as something else.
fn misunderstood(saved: &str, source: u32) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut open = None;
    let mut tables = 0;
    for (span, line) in lines(saved, source) {
        let rule = rule(line);
        match rule.bytes().next() {
            Some(b'#') => {}
            Some(b'*') => {
                tables += 1;
                open = Some(span);
            }
            _ if open.is_none() => problems.push(not_saved(span)),
            Some(b':') => {}
            Some(b'-') => problems.extend(position(rule, span)),
            _ if rule == "COMMIT" => open = None,
            _ => problems.push(not_saved(span)),
        }
    }
    if let Some(table) = open {
        problems.push(Diagnostic::error(table, "this table has no COMMIT: the file is not whole"));
    } else if tables == 0 && problems.is_empty() {
        let nothing = Span { source, start: 0, end: 0 };
        problems.push(Diagnostic::error(nothing, "there is no table in this file").help(SAVED));
    }
    problems
}

const SAVED: &str = "`iptables-save` prints `*filter`, then `:INPUT DROP [0:0]` and `-A INPUT ..` lines, then `COMMIT`";

fn not_saved(span: Span) -> Diagnostic {
    Diagnostic::error(span, "this is not a line that `iptables-save` prints").help(SAVED)
}

/// Commands other than "at the end" and "at the start".
fn position(rule: &str, span: Span) -> Option<Diagnostic> {
    let mut words = rule.split_whitespace();
    match words.next()? {
        "-A" | "--append" => None,
        "-I" | "--insert" => {
            let number = words.nth(1).filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?;
            let error = Diagnostic::error(span, format!("the translator forgets that this is to be rule {number}"));
            (number != "1").then(|| error.help("write the rules in their order, each with `-A`: `iptables-save` does"))
        }
        other => {
            let error =
                Diagnostic::error(span, format!("`{other}` changes rules that are there: a file is all of them"));
            Some(error.help("`iptables-save` prints the rules that came of it"))
        }
    }
}

/// What the translator complained about. It says the line.
fn refused(complaint: &str, file: Option<&Source>, source: u32) -> Diagnostic {
    let number = |behind: &str| {
        let (_, rest) = complaint.split_once(behind)?;
        rest.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse::<usize>().ok()
    };
    let line = number("at line:").or_else(|| number(": line ")).unwrap_or(1);
    let text = file.map_or("", |file| file.text.as_str());
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let length = text[start..].lines().next().map_or(0, str::len);
    let span = Span { source, start: start as u32, end: (start + length) as u32 };
    let said = complaint.lines().next().unwrap_or("").split_once("): ").map_or("it failed", |(_, said)| said);
    let error = Diagnostic::error(span, format!("the translator refuses this: {said}"));
    match said {
        _ if said.starts_with("Set ") => error.help("it looks sets of `ipset` up in the kernel: they must be there"),
        _ if said.contains("host/network") => error.help("`--ip6` is for what `ip6tables-save` printed"),
        _ => error,
    }
}

/// Extensions of which people ask, and what nftables has instead.
const INSTEAD: &[(&str, &str)] = &[
    (
        "-m recent",
        "a dynamic set with a timeout does this: `update @seen { ip saddr timeout 60s limit rate 4/minute }`",
    ),
    ("-m hashlimit", "a dynamic set does this: `update @rates { ip saddr limit rate 5/second } accept`"),
    ("-m connlimit", "a dynamic set does this: `add @many { ip saddr ct count over 10 } drop`"),
    ("-m string", "looking into what packets carry is not part of a packet filter here"),
    ("-m physdev", "ports of a bridge are not seen at this place; `iifname` is the interface a packet comes in by"),
    ("-m geoip", "a named set of the country's prefixes does this"),
    ("-j NFLOG", "write `log prefix \"..\" group N`"),
    ("-j CT", "helpers and templates of connection tracking are not here"),
];

/// Rules that the translator left in its output as a comment.
fn left_out(output: &str, saved: &str, source: u32) -> Vec<Diagnostic> {
    let mut rules: Vec<(Span, String)> = Vec::new();
    let mut table = "";
    for (span, line) in lines(saved, source) {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let rule = rule(line);
        if rule.starts_with('-') {
            rules.push((span, plain(&format!("-t {table} {rule}"))));
        }
    }
    let comments = output.lines().filter_map(|line| line.strip_prefix("# -t "));
    let told = comments.map(|comment| {
        let wanted = plain(&format!("-t {comment}"));
        let found = rules.iter().position(|(_, rule)| *rule == wanted);
        // Each rule once: the same one may be there twice.
        let span = found.map_or(Span { source, start: 0, end: 0 }, |at| rules.swap_remove(at).0);
        let error = Diagnostic::error(span, "there is no translation of this rule");
        match INSTEAD.iter().find(|(extension, _)| comment.contains(extension)) {
            Some((_, instead)) => error.help(*instead),
            None => error.help("write it in nftables, or leave it out of the file"),
        }
    });
    told.collect()
}

/// A rule without quotes and blanks, which the translator does not keep.
fn plain(rule: &str) -> String {
    rule.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\\' | '\'')).collect()
}

/// The translator's own comments, but for what it left out, tell when it ran: the same file must give the same text.
fn without_dates(output: &str) -> String {
    let kept =
        output.lines().filter(|line| !line.starts_with("# Translated by") && !line.starts_with("# Completed on"));
    kept.flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[cfg(test)]
mod tests;
