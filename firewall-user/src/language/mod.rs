//! The nftables language: text to a checked [`Ruleset`], and back to text.
//!
//! ```text
//! text -> lexer -> parser -> ast -> check -> ruleset -> print, json
//! ```
//!
//! Whatever nftables has and this does not is refused by name, with its place; nothing is skipped, nothing is read as
//! something else. `docs/LANGUAGE.md` lists what is supported.

mod ast;
mod check;
pub mod clock;
mod connection;
mod data;
mod diagnostic;
pub mod flowtable;
mod hash;
pub mod json;
pub mod lexer;
pub mod names;
mod nat;
mod parser;
pub mod print;
mod read_json;
pub mod reading;
pub mod ruleset;
mod selector;
mod sets;
pub mod source;
pub mod stateful;
#[cfg(test)]
mod tests;
pub mod types;

use std::path::{Path, PathBuf};

pub use self::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    ruleset::Ruleset,
};
use self::{ruleset::File, source::Span};

/// What a text cannot say about the machine it is read on.
pub struct Options<'a> {
    /// Finds an interface's index by its name, for `iif` and `oif`.
    pub interface: &'a dyn Fn(&str) -> Option<u32>,
    /// Where included files without a path are looked for. `nft` looks in `/etc`.
    pub include_directories: Vec<PathBuf>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { interface: &|_| None, include_directories: vec![PathBuf::from("/etc")] }
    }
}

/// A ruleset, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The ruleset.
    pub ruleset: Ruleset,
    /// Warnings only.
    pub warnings: Diagnostics,
}

/// Reads and checks a ruleset file.
pub fn parse_file(path: &Path, options: &Options<'_>) -> Result<Parsed, Diagnostics> {
    match source::read(path) {
        Ok(text) => parse_named(path.display().to_string(), text, options),
        Err(error) => Err(Diagnostics::unread(error.to_string())),
    }
}

/// Checks a ruleset that is already in memory; `name` stands for it in messages.
pub fn parse_text(name: &str, text: &str, options: &Options<'_>) -> Result<Parsed, Diagnostics> {
    match source::check_text(Path::new(name), text.as_bytes().to_vec()) {
        Ok(text) => parse_named(name.to_owned(), text, options),
        Err(error) => Err(Diagnostics::unread(error.to_string())),
    }
}

fn parse_named(name: String, text: String, options: &Options<'_>) -> Result<Parsed, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let number = diagnostics.sources.add(name, text, None);
    let is_json = diagnostics.sources.get(number).is_some_and(|source| read_json::is_json(&source.text));
    let document = if is_json { read_json::read(&mut diagnostics, number) } else { None };
    let parsed = document.as_ref().map_or(number, |document| document.made);
    let commands = if is_json && document.is_none() {
        Vec::new()
    } else {
        parser::parse(&mut diagnostics, parsed, &options.include_directories)
    };
    let outcome = check::check(commands, &mut diagnostics, options.interface);
    if let Some(document) = &document {
        diagnostics.explain(|span| (span.source == number).then(|| format!("at {}", document.path(span.start))));
    }
    diagnostics.sort();
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let files = diagnostics.sources.iter().filter(|source| source.origins.is_none());
    let files = files.map(|source| File { name: source.name.clone(), text: source.text.clone() }).collect();
    let ruleset = Ruleset::checked(outcome.tables, files, outcome.interfaces);
    if ruleset.is_empty() {
        let span = Span { source: number, start: 0, end: 0 };
        let warning = Diagnostic::warning(span, "no base chain in this ruleset: it accepts every packet");
        diagnostics.push(warning);
    }
    Ok(Parsed { ruleset, warnings: diagnostics })
}
