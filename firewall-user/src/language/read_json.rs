//! JSON as `nft -j list ruleset` prints it and `nft -j -f` reads it (libnftables-json(5)), to the text it stands for.
//!
//! ```text
//! JSON -> value -> objects, forms -> text -> lexer, parser, check
//! ```
//!
//! So what JSON means is what the text means, by the same parser and the same checker. Each piece of the text knows the
//! bytes of the document it came from: messages are about those.

mod expression;
mod forms;
mod leaf;
mod objects;
mod sets;
mod template;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use self::{value::Node, writer::Writer};
use super::{
    diagnostic::{Diagnostic, Diagnostics},
    source::Origins,
};

/// What a writing function gives: nothing, or the message that stands for it.
type Made<T> = Result<T, Diagnostic>;

/// A text in the making, and what is wrong with its document.
struct Translator {
    out: Writer,
    problems: Vec<Diagnostic>,
    /// Expressions being written inside one another.
    nesting: usize,
    /// Are strings names of interfaces? One may be called `100`, or `10.0.0.1`.
    interfaces: bool,
}

impl Translator {
    fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }
}

/// A document and the text it stands for.
pub(super) struct Document {
    root: Node,
    /// Number of the text's source.
    pub(super) made: u32,
}

impl Document {
    /// Where a byte of the document is, as one would get there.
    pub(super) fn path(&self, offset: u32) -> String {
        let path = self.root.path_to(offset);
        if path.is_empty() { "the whole document".to_owned() } else { path }
    }
}

/// Is this text a JSON document? No ruleset starts with a brace.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Reads source `number` and adds the text it stands for. `None` when there is none: that has been said.
pub(super) fn read(diagnostics: &mut Diagnostics, number: u32) -> Option<Document> {
    let text = diagnostics.sources.get(number).map(|source| source.text.clone())?;
    let root = match value::read(&text, number) {
        Ok(root) => root,
        Err(problem) => {
            diagnostics.push(problem);
            return None;
        }
    };
    match translate(&root) {
        Ok((text, origins, problems)) => {
            for problem in problems {
                diagnostics.push(problem);
            }
            let made = diagnostics.sources.add_made(text, origins);
            Some(Document { root, made })
        }
        Err(problem) => {
            diagnostics.push(problem);
            None
        }
    }
}

fn translate(root: &Node) -> Made<(String, Origins, Vec<Diagnostic>)> {
    let objects = root.get("nftables");
    let Some(objects) = objects else {
        let error = Diagnostic::error(root.span, "`nftables` is missing: this is not what nft prints or reads");
        return Err(error.help("`nft -j list ruleset` prints `{\"nftables\": [ .. ]}`"));
    };
    let Some(items) = objects.items() else {
        return Err(Diagnostic::error(objects.span, format!("`nftables` is an array, not {}", objects.what())));
    };
    let mut translator = Translator { out: Writer::default(), problems: Vec::new(), nesting: 0, interfaces: false };
    translator.document(items);
    let (text, origins) = translator.out.finish();
    Ok((text, origins, translator.problems))
}

/// The start of a text, for a message.
fn shorten(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let start: String = text.chars().take(40).map(shown).collect();
    if start.len() < text.len() { format!("{start}...") } else { start }
}
