//! `include "file"`: where files are looked for, and wildcards.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Parsed, Parser};
use crate::language::{
    ast::Spanned,
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    source,
};

/// Files that may include one another; nftables has the same bound (`MAX_INCLUDE_DEPTH`).
const MAX_INCLUDE_DEPTH: usize = 16;
/// Files that one ruleset may be made of.
const MAX_FILES: usize = 4096;

impl Parser<'_> {
    /// `include "..."`: its text goes on here.
    pub(super) fn include(&mut self) -> Parsed<()> {
        let keyword = self.bump();
        if self.peek().kind != Kind::Text {
            return Err(self.unexpected("a quoted file name after `include`"));
        }
        let name = self.string("a quoted file name")?;
        self.end_statement("the file name")?;
        let name = Spanned { span: keyword.to(name.span), ..name };
        // Opened from last to first: the last one opened is read first.
        for path in self.included_files(&name)?.into_iter().rev() {
            self.open_file(&path, &name)?;
        }
        Ok(())
    }

    fn open_file(&mut self, path: &Path, name: &Spanned) -> Parsed<()> {
        let deep = self.diagnostics.sources.depth(name.span.source) + 1 >= MAX_INCLUDE_DEPTH;
        if deep || self.diagnostics.sources.iter().count() >= MAX_FILES {
            let message = format!("too many files include one another (at most {MAX_INCLUDE_DEPTH} deep)");
            return Err(Diagnostic::error(name.span, message));
        }
        let text = source::read(path).map_err(|error| Diagnostic::error(name.span, error.to_string()))?;
        let number = self.diagnostics.sources.add(path.display().to_string(), text, Some(name.span));
        self.open(number);
        Ok(())
    }

    /// The files that are meant. A name with wildcards may mean none; a plain one must be there.
    fn included_files(&self, name: &Spanned) -> Parsed<Vec<PathBuf>> {
        let text = &*name.text;
        let direct = text.starts_with('/') || text.starts_with("./") || text.starts_with("../");
        let here = PathBuf::new();
        let directories = if direct { std::slice::from_ref(&here) } else { self.include_directories };
        for directory in directories {
            let pattern = directory.join(text);
            if has_wildcard(text) {
                let found = glob(&pattern);
                if !found.is_empty() {
                    return Ok(found);
                }
            } else if pattern.exists() {
                return Ok(vec![pattern]);
            }
        }
        if has_wildcard(text) { Ok(Vec::new()) } else { Err(missing(name, direct, self.include_directories)) }
    }

    /// A separator must follow what was included, so that its last word and the next one here stay apart.
    pub(super) fn at_include(&self) -> bool {
        self.at_word("include") && self.peek_at(1).kind != Kind::Mark(Mark::BraceOpen)
    }
}

fn missing(name: &Spanned, direct: bool, directories: &[PathBuf]) -> Diagnostic {
    let error = Diagnostic::error(name.span, format!("no such file: {}", name.text));
    if direct {
        return error;
    }
    let places = directories.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(", ");
    error.help(format!("looked in {places}; `./{}` is relative to the working directory", name.text))
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Files that match a pattern, sorted; directories are left out, hidden files only match a pattern that starts so.
fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let part = component.as_os_str().to_string_lossy().into_owned();
        found = if has_wildcard(&part) {
            found.iter().flat_map(|directory| matching_entries(directory, &part)).collect()
        } else {
            found.iter().map(|directory| directory.join(&part)).filter(|path| path.exists()).collect()
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

fn matching_entries(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let visible = names.filter(|name| !name.starts_with('.') || pattern.starts_with('.'));
    visible.filter(|name| matches(pattern.as_bytes(), name.as_bytes())).map(|name| directory.join(name)).collect()
}

/// Does a name match a pattern of `*`, `?` and `[...]`? Never looks at a byte more than pattern times name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, n));
            p += 1;
        } else if let Some(length) = one(&pattern[p..], name[n]) {
            p += length;
            n += 1;
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            (p, n) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first item when it matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => class(pattern, byte),
        literal => (*literal == byte).then_some(1),
    }
}

fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let close = 2 + pattern.get(2..)?.iter().position(|byte| *byte == b']')?;
    let inside = &pattern[1..close];
    let (inside, wanted) = match inside {
        [b'!' | b'^', rest @ ..] => (rest, false),
        all => (all, true),
    };
    let ranges = inside.windows(3).any(|window| window[1] == b'-' && (window[0]..=window[2]).contains(&byte));
    ((inside.contains(&byte) || ranges) == wanted).then_some(close + 1)
}
