//! A listing with its holes: what is read from the kernel is put in later, without the ruleset.

use std::ops::Range;

use super::{CounterRef, Object, Shown};
use crate::language::ruleset::{Content, Quota};

/// What is put in a hole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hole {
    /// The numbers of a rule's counter; as they were written.
    Counter(CounterRef, (u64, u64)),
    /// What a rule's quota says.
    Quota(CounterRef, Quota),
    /// What an object of a table says.
    Content((usize, usize), Content),
    /// The handle of an object, as a comment.
    Handle(Object),
}

/// A ruleset as it was written, and where in it what is live stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// The text.
    pub text: String,
    /// The holes in order: which bytes of the text are replaced, and by what.
    pub holes: Vec<(Range<usize>, Hole)>,
}

impl Template {
    pub(super) fn hole(&mut self, hole: Hole) {
        let start = self.text.len();
        if let Some(text) = hole.shown(&Shown::as_written()) {
            self.text.push_str(&text);
        }
        self.holes.push((start..self.text.len(), hole));
    }

    /// The text with what `shown` knows.
    pub fn fill(&self, shown: &Shown<'_>) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (place, hole) in &self.holes {
            out.push_str(&self.text[at..place.start]);
            if let Some(text) = hole.shown(shown) {
                out.push_str(&text);
            }
            at = place.end;
        }
        out.push_str(&self.text[at..]);
        out
    }
}

impl Hole {
    fn shown(&self, shown: &Shown<'_>) -> Option<String> {
        Some(match *self {
            Self::Counter(counter, written) => counter_text((shown.counter)(counter, written)),
            Self::Quota(at, quota) => {
                let used = (shown.quota)(at, (quota.used, quota.bytes));
                quota_text(quota, used)
            }
            Self::Content(at, written) => content_text(&(shown.content)(at, written)),
            Self::Handle(object) => handle_text((shown.handle)(object)?),
        })
    }
}

/// `packets 1 bytes 60`
pub fn counter_text((packets, bytes): (u64, u64)) -> String {
    format!("packets {packets} bytes {bytes}")
}

/// `over 10 mbytes used 60 bytes`
pub fn quota_text(quota: Quota, used: u64) -> String {
    Quota { used, ..quota }.text()
}

/// ` # handle 7`
pub fn handle_text(handle: u64) -> String {
    format!(" # handle {handle}")
}

/// What stands between an object's braces.
fn content_text(content: &Content) -> String {
    match content {
        Content::Counter { packets, bytes } => counter_text((*packets, *bytes)),
        Content::Quota(quota) => quota.text(),
        Content::Limit(limit) => limit.text(),
        Content::Synproxy(proxy) => proxy.parts().into_iter().flatten().collect::<Vec<_>>().join("\n\t\t"),
    }
}
