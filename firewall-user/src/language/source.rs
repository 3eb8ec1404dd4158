//! Where text comes from: files, what was included from where, and what line a byte is on.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Bytes that one ruleset file may have. A list of a million addresses is about 20 MiB.
pub const MAX_SOURCE_BYTES: u64 = 64 * 1024 * 1024;

/// A piece of a source, by byte offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Number of the source in its [`Sources`].
    pub source: u32,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `other`; just `self` when they are in different sources.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        if self.source == other.source && other.end >= self.start { Self { end: other.end, ..self } } else { self }
    }

    /// The empty span where `self` ends.
    #[must_use]
    pub fn after(self) -> Self {
        Self { start: self.end, ..self }
    }
}

/// A place as people count: both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line number.
    pub line: u32,
    /// Column number.
    pub column: u32,
}

/// Which place of another source each piece of a text was made from.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<(u32, Span)>);

impl Origins {
    /// What is written from this offset on comes from there.
    pub fn note(&mut self, offset: u32, from: Span) {
        self.0.push((offset, from));
    }

    fn at(&self, offset: u32) -> Option<Span> {
        let piece = self.0.partition_point(|(start, _)| *start <= offset).checked_sub(1)?;
        self.0.get(piece).map(|(_, from)| *from)
    }
}

/// One text.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called in messages.
    pub name: String,
    /// The text.
    pub text: String,
    /// The `include` that brought it in.
    pub included_from: Option<Span>,
    /// For a text that was made from another one: which place each piece stands for.
    pub origins: Option<Origins>,
    lines: Vec<u32>,
}

impl Source {
    fn new(name: String, text: String, included_from: Option<Span>) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self { name, text, included_from, origins: None, lines }
    }

    /// Line and column of a byte.
    pub fn place(&self, offset: u32) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1] as usize;
        let column = self.text.get(start..offset as usize).map_or(0, |before| before.chars().count());
        Place { line: line as u32, column: column as u32 + 1 }
    }

    /// Line number of a byte: cheaper than its place.
    pub fn line(&self, offset: u32) -> u32 {
        self.lines.partition_point(|start| *start <= offset).max(1) as u32
    }

    /// The bytes of the line that `offset` is on, without its end.
    pub fn line_span(&self, offset: u32) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1] as usize;
        let end = self.lines.get(line).map_or(self.text.len(), |next| *next as usize - 1);
        (start, end)
    }
}

/// All texts of one ruleset.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    all: Vec<Source>,
}

impl Sources {
    /// Adds a text and gives its number.
    pub fn add(&mut self, name: String, text: String, included_from: Option<Span>) -> u32 {
        self.all.push(Source::new(name, text, included_from));
        self.all.len() as u32 - 1
    }

    /// Adds a text that was made from another source: messages about it are about that one.
    pub fn add_made(&mut self, text: String, origins: Origins) -> u32 {
        self.all.push(Source { origins: Some(origins), ..Source::new(String::new(), text, None) });
        self.all.len() as u32 - 1
    }

    /// The place that somebody wrote: the span itself, or where its text was made from.
    pub fn written(&self, span: Span) -> Span {
        let Some(origins) = self.get(span.source).and_then(|source| source.origins.as_ref()) else { return span };
        let last = span.end.saturating_sub(1).max(span.start);
        match (origins.at(span.start), origins.at(last)) {
            (Some(first), Some(last)) => first.to(last),
            _ => Span::default(),
        }
    }

    /// A source by its number.
    pub fn get(&self, number: u32) -> Option<&Source> {
        self.all.get(number as usize)
    }

    /// The text under a span.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.source).and_then(|source| source.text.get(span.start as usize..span.end as usize)).unwrap_or("")
    }

    /// All of them, in the order in which they were opened.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.all.iter()
    }

    /// How many `include`s deep a source is.
    pub fn depth(&self, number: u32) -> usize {
        let mut depth = 0;
        let mut at = self.get(number).and_then(|source| source.included_from);
        while let Some(span) = at {
            depth += 1;
            at = self.get(span.source).and_then(|source| source.included_from);
        }
        depth
    }
}

/// Why a file is not a ruleset text.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing of that name.
    #[error("{}: no such file", .0.display())]
    Missing(PathBuf),
    /// It is a directory.
    #[error("{}: is a directory, not a ruleset file", .0.display())]
    Directory(PathBuf),
    /// It is larger than [`MAX_SOURCE_BYTES`].
    #[error("{}: larger than {} MiB, the limit for a ruleset file", .0.display(), MAX_SOURCE_BYTES / 1024 / 1024)]
    TooLarge(PathBuf),
    /// It is not text.
    #[error("{}:{line}: {what} at byte {offset}: not a text file", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Line of the first byte that is not text.
        line: usize,
        /// Its offset.
        offset: usize,
        /// What is wrong with it.
        what: NotText,
    },
    /// The system refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What a byte that is not text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotText {
    /// A zero byte.
    Zero,
    /// No UTF-8 sequence.
    Utf8,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "zero byte",
            Self::Utf8 => "invalid UTF-8",
        })
    }
}

/// Reads a file as text.
pub fn read(path: &Path) -> Result<String, ReadError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.to_owned()),
        io::ErrorKind::IsADirectory => ReadError::Directory(path.to_owned()),
        _ => ReadError::Io { path: path.to_owned(), error },
    };
    let file = fs::File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_dir() {
        return Err(ReadError::Directory(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SOURCE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_SOURCE_BYTES {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    check_text(path, bytes)
}

/// Turns bytes into text, or says which byte is not.
pub fn check_text(path: &Path, bytes: Vec<u8>) -> Result<String, ReadError> {
    let refuse = |bytes: &[u8], offset: usize, what| {
        let line = bytes[..offset].split(|byte| *byte == b'\n').count();
        ReadError::NotText { path: path.to_owned(), line, offset, what }
    };
    let zero = bytes.iter().position(|byte| *byte == 0);
    match String::from_utf8(bytes) {
        Ok(text) => match zero {
            Some(offset) => Err(refuse(text.as_bytes(), offset, NotText::Zero)),
            None => Ok(text),
        },
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            match zero {
                Some(zero) if zero < offset => Err(refuse(error.as_bytes(), zero, NotText::Zero)),
                _ => Err(refuse(error.as_bytes(), offset, NotText::Utf8)),
            }
        }
    }
}
