//! The text that a JSON document stands for, and which byte of the document each piece of it came from.

use crate::language::source::{Origins, Span};

/// Text in the making.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) text: String,
    origins: Origins,
}

impl Writer {
    /// Adds a piece as it is.
    pub(super) fn glued(&mut self, piece: &str, from: Span) {
        self.origins.note(self.text.len() as u32, from);
        self.text.push_str(piece);
    }

    /// Adds a piece with a blank in front.
    pub(super) fn word(&mut self, piece: &str, from: Span) {
        self.blank();
        self.glued(piece, from);
    }

    /// A blank, where there is none yet.
    pub(super) fn blank(&mut self) {
        if !self.text.ends_with([' ', '\n']) && !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    /// The end of a line.
    pub(super) fn line(&mut self) {
        self.text.push('\n');
    }

    /// What was written, and where it came from.
    pub(super) fn finish(self) -> (String, Origins) {
        (self.text, self.origins)
    }
}
