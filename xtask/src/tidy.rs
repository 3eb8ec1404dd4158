//! `cargo xtask tidy`: the house rules that no compiler knows, from CONTRIBUTING.md.

mod rules;
mod source;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell;
use source::Source;

/// What a rule has to say about one line of one file.
pub(crate) struct Finding {
    /// Line number, from 1.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) what: String,
    /// Whether it fails the check or is only worth a look.
    pub(crate) weight: Weight,
}

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The check fails.
    Error,
    /// For a reviewer's eyes.
    Note,
}

pub(crate) fn run() -> Result<()> {
    let mut errors = 0;
    let files = files()?;
    for path in &files {
        let Ok(text) = fs::read_to_string(shell::root().join(path)) else { continue };
        for finding in check(path, &text) {
            let (word, one) = match finding.weight {
                Weight::Error => ("error", 1),
                Weight::Note => ("note", 0),
            };
            eprintln!("{path}:{}: {word}: {}", finding.line, finding.what);
            errors += one;
        }
    }
    if errors > 0 {
        bail!("{errors} house rules are broken");
    }
    println!("tidy        {} files", files.len());
    Ok(())
}

/// All rules on one file.
fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = rules::no_machine_paths(text);
    if Path::new(path).extension().is_some_and(|extension| extension == "rs") {
        let source = Source::new(text);
        findings.extend(rules::file_length(path, &source));
        findings.extend(rules::function_length(path, &source));
        findings.extend(rules::no_panics(path, &source));
        findings.extend(rules::unsafe_is_explained(&source));
    }
    findings
}

/// Every file that git knows or would add.
fn files() -> Result<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(shell::root()).output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
