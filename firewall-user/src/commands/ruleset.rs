//! A ruleset as somebody named it on the command line: read, checked, and complained about.

use std::{
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{No, Session, complain, print_json};
use crate::{
    compile::{self, CompileError, Compiled, SCHEMA},
    config::{self, Config},
    kernel,
    language::{self, Diagnostic, Diagnostics, Options, Parsed, Ruleset, Severity, source},
};

/// What standard input is called in messages.
const STDIN: &str = "stdin";

/// Reads a ruleset that may be applied. `None` when it has errors: they have been said.
///
/// One without a chain is refused as well: it would accept every packet, and an empty file is more likely to be an
/// accident than a wish for that.
pub(super) fn read(session: &Session<'_>, file: &Path) -> Result<Option<Parsed>> {
    let progress = session.progress(&format!("reading {}", name(file)));
    let parsed = parse(file)?;
    drop(progress);
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(diagnostics) => {
            refuse(session, file, &diagnostics)?;
            return Ok(None);
        }
    };
    if parsed.ruleset.is_empty() {
        let nothing = "no chain in it, so it would accept every packet; `rampart stop` takes the firewall away";
        refuse(session, file, &Diagnostics::unread(format!("{}: {nothing}", name(file))))?;
        return Ok(None);
    }
    complain(&parsed.warnings.render(session.is_coloured()));
    Ok(Some(parsed))
}

/// Compiles a ruleset that nothing is known about from before.
pub(super) fn compiled(session: &Session<'_>, ruleset: &Ruleset) -> Result<Compiled, CompileError> {
    let _progress = session.progress("compiling");
    compile::compile(ruleset, None)
}

/// Reads the settings. `None` when they have errors: they have been said.
pub(super) fn settings(session: &Session<'_>) -> Result<Option<Config>> {
    let file = session.global.config.as_deref();
    match config::read(file) {
        Ok(config) => Ok(Some(config)),
        Err(diagnostics) => {
            refuse(session, file.unwrap_or(Path::new(config::DEFAULT_CONFIG)), &diagnostics)?;
            Ok(None)
        }
    }
}

fn parse(file: &Path) -> Result<Result<Parsed, Diagnostics>> {
    if file.as_os_str() != "-" {
        return Ok(language::parse_file(file, &options()));
    }
    Ok(text(file)?.and_then(|text| language::parse_text(STDIN, &text, &options())))
}

/// What of this machine a ruleset may ask for.
pub(super) fn options() -> Options<'static> {
    Options { interface: &kernel::interface_index, ..Options::default() }
}

/// The text of a file, or of standard input.
pub(super) fn text(file: &Path) -> Result<Result<String, Diagnostics>> {
    if file.as_os_str() != "-" {
        return Ok(source::read(file).map_err(|error| Diagnostics::unread(error.to_string())));
    }
    let mut bytes = Vec::new();
    let limit = source::MAX_SOURCE_BYTES + 1;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).context("reading standard input")?;
    if bytes.len() as u64 == limit {
        return Err(No(source::ReadError::TooLarge(STDIN.into()).to_string()).into());
    }
    let text = source::check_text(Path::new(STDIN), bytes);
    Ok(text.map_err(|error| Diagnostics::unread(error.to_string())))
}

/// What a file is called in messages.
pub(super) fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { STDIN.to_owned() } else { file.display().to_string() }
}

/// Says what is wrong: to people on standard error, and to programs that asked for it on standard output.
pub(super) fn refuse(session: &Session<'_>, file: &Path, diagnostics: &Diagnostics) -> Result<()> {
    match &diagnostics.unread {
        Some(message) => session.note(message),
        None => complain(&diagnostics.render(session.is_coloured())),
    }
    if session.global.json {
        print_json(&refusal(file, diagnostics))?;
    }
    Ok(())
}

fn refusal(file: &Path, diagnostics: &Diagnostics) -> Value {
    json!({
        "schema": SCHEMA,
        "ok": false,
        "file": name(file),
        "errors": listed(diagnostics, Severity::Error),
        "warnings": listed(diagnostics, Severity::Warning),
    })
}

/// Messages of one severity.
pub(super) fn listed(diagnostics: &Diagnostics, severity: Severity) -> Vec<Value> {
    let unread = diagnostics.unread.iter().filter(|_| severity == Severity::Error);
    let unread = unread.map(|message| json!({ "message": message }));
    let placed = diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity);
    unread.chain(placed.map(|diagnostic| one(diagnostics, diagnostic))).collect()
}

fn one(diagnostics: &Diagnostics, diagnostic: &Diagnostic) -> Value {
    let Diagnostic { severity: _, span, message, help, follows: _ } = diagnostic;
    let source = diagnostics.sources.get(span.source);
    let place = source.map(|source| source.place(span.start));
    json!({
        "file": source.map(|source| source.name.as_str()),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "message": message,
        "help": help,
    })
}

impl Session<'_> {
    /// May messages be coloured?
    pub(super) fn is_coloured(&self) -> bool {
        self.terminal.stderr && self.terminal.colour
    }
}
